//! Rules on the text of files: openings, lengths, marks, `unsafe`, and words that do not belong.

use std::collections::BTreeMap;

use super::lexer::{code_only, is_tests_file, is_word, line_at, tests_start, words};
use super::{Violation, assert_none, lines_of, tree};

const LINE_CHARS: usize = 100;
/// Of a file of `src/`, without its unit tests.
const FILE_LINES: usize = 400;
const UNSAFE_HOMES: &[&str] = &["src/base/sys.rs", "src/engine/jail.rs", "src/engine/jail/"];

/// Marks of unfinished work. Split, so that this file does not contain them.
const MARKS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("to", "do!"),
    concat!("unimpl", "emented!"),
    concat!("#[ig", "nore"),
];

/// Paths and hosts of the place where somebody worked, and of package registries.
const WORKPLACE: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("registry.", "npmjs"),
    concat!("static.", "crates.io"),
    concat!("index.", "crates.io"),
    concat!("files.", "pythonhosted"),
    concat!("proxy.", "golang.org"),
];

fn check_opening(path: &str, text: &str) -> Vec<Violation> {
    if text.starts_with("//!") {
        return Vec::new();
    }
    let rule = "a file opens with //! saying what lives here and what never may";
    vec![Violation::new(path, 1, rule)]
}

fn check_line_lengths(path: &str, text: &str) -> Vec<Violation> {
    let code = code_only(text);
    let too_long = |(index, (line, code)): (usize, (&str, &str))| {
        // A literal may be as long as it is; what stands around it may not.
        let is_comment = line.trim_start().starts_with("//");
        let counted = if is_comment {
            line.to_owned()
        } else {
            without_literals(line, code)
        };
        let chars = counted.chars().count();
        let rule = format!("{chars} characters, at most {LINE_CHARS} in a line");
        (chars > LINE_CHARS).then(|| Violation::new(path, index + 1, rule))
    };
    let lines = text.lines().zip(code.lines());
    lines.enumerate().filter_map(too_long).collect()
}

/// Code whose literals were blanked, with each run of blanks behind its indentation as one.
fn without_literals(line: &str, code: &str) -> String {
    let words: Vec<_> = code.split_whitespace().collect();
    if words.is_empty() {
        return String::new();
    }
    let indentation = line.len() - line.trim_start().len();
    " ".repeat(indentation) + &words.join(" ")
}

/// Tables: read row by row, not from top to bottom.
const TABLES: &[&str] = &["src/config/settings.rs"];

fn check_file_length(path: &str, text: &str) -> Vec<Violation> {
    if is_tests_file(path) || TABLES.contains(&path) {
        return Vec::new();
    }
    let code = code_only(text);
    let lines = code[..tests_start(&code)].lines().count();
    if lines <= FILE_LINES {
        return Vec::new();
    }
    let rule = format!("{lines} lines without tests, at most {FILE_LINES}: split it by meaning");
    vec![Violation::new(path, lines, rule)]
}

fn check_unsafe(path: &str, text: &str) -> Vec<Violation> {
    if UNSAFE_HOMES.iter().any(|home| path.starts_with(home)) {
        return Vec::new();
    }
    let code = code_only(text);
    let rule = format!("unsafe lives in {} only", UNSAFE_HOMES.join(", "));
    let found = words(&code, "unsafe").chain(words(&code, "unsafe_code"));
    found
        .map(|at| Violation::new(path, line_at(&code, at), rule.as_str()))
        .collect()
}

/// Every line of `text` that contains one of `words`, comments included.
fn check_words(path: &str, text: &str, words: &[&str], why: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for word in words.iter().filter(|word| line.contains(**word)) {
            found.push(Violation::new(path, index + 1, format!("{word:?}: {why}")));
        }
    }
    found
}

fn check_marks(path: &str, text: &str) -> Vec<Violation> {
    check_words(path, text, MARKS, "finish it, or leave it out and say so")
}

fn check_workplace(path: &str, text: &str) -> Vec<Violation> {
    let why = "the repository speaks of the product alone";
    check_words(path, text, WORKPLACE, why)
}

fn check_empty(path: &str, text: &str) -> Vec<Violation> {
    if text.is_empty() {
        return vec![Violation::new(
            path,
            0,
            "an empty file says nothing: remove it",
        )];
    }
    Vec::new()
}

fn check_all(files: Vec<tree::SourceFile>, check: fn(&str, &str) -> Vec<Violation>) {
    let found: Vec<Violation> = files
        .iter()
        .flat_map(|file| check(&file.path, &file.text))
        .collect();
    assert_none(&found);
}

#[test]
fn files_say_what_lives_in_them() {
    check_all(tree::rust_files(), check_opening);
}

#[test]
fn lines_are_short() {
    check_all(tree::rust_files(), check_line_lengths);
}

#[test]
fn files_are_short() {
    check_all(tree::files("src", ".rs"), check_file_length);
}

/// Functions with blocks of `unsafe`, as `audit.md` names them, and how many each has.
fn unsafe_functions(path: &str, text: &str) -> BTreeMap<String, usize> {
    let code = code_only(text);
    let code = code.get(..tests_start(&code)).unwrap_or_default();
    let module = path.trim_start_matches("src/").trim_end_matches(".rs");
    let mut found = BTreeMap::new();
    for at in words(code, "unsafe") {
        let function = words(code, "fn").take_while(|&start| start < at).last();
        let name = code[function.unwrap() + 2..].trim_start();
        let name: String = name.chars().take_while(|&c| is_word(c)).collect();
        *found
            .entry(format!("{}::{name}", module.replace('/', "::")))
            .or_default() += 1;
    }
    found
}

#[test]
fn every_unsafe_block_is_argued_in_the_audit() {
    let files = tree::rust_files().into_iter();
    let files = files.filter(|file| file.path.starts_with("src/"));
    let found: BTreeMap<_, _> = files
        .flat_map(|file| unsafe_functions(&file.path, &file.text))
        .collect();
    let audit = tree::read("audit.md");
    let rows = audit
        .lines()
        .skip_while(|line| !line.starts_with("| function | blocks |"));
    let listed: BTreeMap<_, _> = rows
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            assert!(!cells[3].is_empty(), "{line}");
            (
                cells[1].trim_matches('`').to_owned(),
                cells[2].parse().unwrap(),
            )
        })
        .collect();
    assert_eq!(found, listed);
}

#[test]
fn unsafe_stays_in_its_rooms() {
    check_all(tree::rust_files(), check_unsafe);
}

#[test]
fn nothing_is_left_unfinished() {
    check_all(tree::rust_files(), check_marks);
}

#[test]
fn no_workplace_shows() {
    check_all(tree::files("", ""), check_workplace);
}

#[test]
fn no_file_is_empty() {
    check_all(tree::files("", ""), check_empty);
}

#[test]
fn each_rule_on_text_can_fail() {
    let check =
        |rule: fn(&str, &str) -> Vec<Violation>, path: &str, text: &str, expected: &[usize]| {
            assert_eq!(lines_of(&rule(path, text)), expected, "{path}: {text}");
        };
    check(check_opening, "src/a.rs", "//! Words.\n", &[]);
    check(check_opening, "src/a.rs", "use a;\n//! Words.\n", &[1]);
    check(check_opening, "src/a.rs", "", &[1]);

    let hundred = "ü".repeat(LINE_CHARS);
    check(
        check_line_lengths,
        "src/a.rs",
        &format!("a\n{hundred}\n"),
        &[],
    );
    check(
        check_line_lengths,
        "src/a.rs",
        &format!("a\n{hundred}x\n"),
        &[2],
    );

    let full = "a\n".repeat(FILE_LINES);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{full}}}\n");
    check(
        check_file_length,
        "src/a.rs",
        &format!("{full}{tests}"),
        &[],
    );
    check(
        check_file_length,
        "src/a.rs",
        &format!("{full}b\n{tests}"),
        &[FILE_LINES + 1],
    );
    check(
        check_file_length,
        "src/a/tests.rs",
        &format!("{full}b\n"),
        &[],
    );

    check(check_unsafe, "src/base/sys.rs", "unsafe { f() }", &[]);
    check(
        check_unsafe,
        "src/engine/jail/mount.rs",
        "unsafe { f() }",
        &[],
    );
    check(check_unsafe, "src/engine/pool.rs", "\nunsafe { f() }", &[2]);
    check(
        check_unsafe,
        "src/engine/pool.rs",
        "#![allow(unsafe_code)]",
        &[1],
    );
    check(
        check_unsafe,
        "src/engine/pool.rs",
        "// unsafe\nlet a = \"unsafe\";",
        &[],
    );

    check(check_empty, "deploy/a.yml", "", &[0]);
    check(check_empty, "deploy/a.yml", "a", &[]);

    for mark in MARKS {
        check(check_marks, "src/a.rs", &format!("a\nb {mark} c\n"), &[2]);
    }
    check(check_marks, "src/a.rs", "a todo list\n", &[]);
    for word in WORKPLACE {
        check(
            check_workplace,
            "deploy/a.yml",
            &format!("\nb: {word}x\n"),
            &[2],
        );
    }
    check(
        check_workplace,
        "deploy/a.yml",
        "network/a: crates.io\n",
        &[],
    );
}
