//! The rules of the house as tests of the source tree: direction of imports, who may name which
//! crate, marks and sizes of files, and the dependency ledger. Each rule is a pure function from
//! text to violations, run on the tree and, in its own test, on text that breaks it.

// All of this is test code: a panic is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod ledger;
mod lexer;
mod rooms;
mod text;
mod tree;

/// One broken rule: where, and what to do instead.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    path: String,
    /// From 1; 0 when the file as a whole is meant.
    line: usize,
    rule: String,
}

impl Violation {
    fn new(path: &str, line: usize, rule: impl Into<String>) -> Self {
        let (path, rule) = (path.to_owned(), rule.into());
        Self { path, line, rule }
    }
}

/// Fails the calling test with every violation on a line of its own.
fn assert_none(violations: &[Violation]) {
    let lines: Vec<String> = violations
        .iter()
        .map(|v| format!("{}:{}: {}", v.path, v.line, v.rule))
        .collect();
    assert!(
        lines.is_empty(),
        "{} rules of the house broken:\n{}\n",
        lines.len(),
        lines.join("\n")
    );
}

/// The lines that `violations` name, for self-tests.
fn lines_of(violations: &[Violation]) -> Vec<usize> {
    violations.iter().map(|v| v.line).collect()
}
