//! Saying where and how a value does not fit, in words a model can act on. Decides nothing; every
//! text is clipped.

use std::io;

use serde_json::Value;

use super::error::Violation;
use crate::base::text::clip;

/// Longest text of one value or name, in bytes.
const EXCERPT_BYTES: usize = 60;
/// Longest path, in bytes.
const PATH_BYTES: usize = 300;
/// Longest message, in bytes.
const RULE_BYTES: usize = 600;
/// Most entries of a list that are shown.
const LISTED: usize = 20;

/// A place in the value, as a chain on the stack.
#[derive(Clone, Copy, Debug)]
pub(super) enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl Path<'_> {
    /// As in `$.items[2]["odd key"]`.
    pub(super) fn text(&self) -> String {
        let mut steps = Vec::new();
        let mut step = self;
        loop {
            match step {
                Path::Root => break,
                Path::Key(parent, name) if is_plain(name) => {
                    steps.push(format!(".{name}"));
                    step = parent;
                }
                Path::Key(parent, name) => {
                    steps.push(format!("[{}]", quoted(name)));
                    step = parent;
                }
                Path::Index(parent, index) => {
                    steps.push(format!("[{index}]"));
                    step = parent;
                }
            }
        }
        let mut text = "$".to_owned();
        text.extend(steps.into_iter().rev());
        clipped(&text, PATH_BYTES)
    }
}

/// Whether a name stands in a path without quotes.
fn is_plain(name: &str) -> bool {
    name.len() <= EXCERPT_BYTES
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .chars()
            .all(|next| next.is_ascii_alphanumeric() || next == '_')
}

/// One thing that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// The place, as text.
    pub(super) path: String,
    /// What must hold.
    pub(super) rule: String,
    /// What is there instead, where that helps.
    pub(super) got: Option<String>,
    /// The value there is of another type altogether.
    pub(super) wrong_type: bool,
}

impl Finding {
    /// A rule that is broken at `path`.
    pub(super) fn new(path: String, rule: String) -> Self {
        Self {
            path,
            rule: clipped(&rule, RULE_BYTES),
            got: None,
            wrong_type: false,
        }
    }

    /// The same, with what is there.
    pub(super) fn but_got(mut self, got: String) -> Self {
        self.got = Some(got);
        self
    }

    /// To be read behind the path.
    fn message(&self) -> String {
        match &self.got {
            Some(got) => format!("{}, got {got}", self.rule),
            None => self.rule.clone(),
        }
    }

    pub(super) fn into_violation(self) -> Violation {
        Violation {
            message: self.message(),
            path: self.path,
        }
    }
}

/// What to say when no alternative fits at `path`: all rules, where each is about the value as a
/// whole; else the findings of the alternative that came nearest.
pub(super) fn no_alternative(path: String, branches: &[Vec<Finding>]) -> Finding {
    let are_about_whole = branches
        .iter()
        .all(|branch| matches!(branch.as_slice(), [only] if only.path == path));
    if !are_about_whole {
        return nearest(path, branches);
    }
    let mut rules: Vec<&str> = Vec::new();
    for Finding { rule, .. } in branches.iter().flatten() {
        if !rules.contains(&rule.as_str()) {
            rules.push(rule);
        }
    }
    // "must be a or b" reads better than "must be a or must be b".
    let shared = "must be ";
    let text = if rules.iter().all(|rule| rule.starts_with(shared)) {
        let ends: Vec<_> = rules
            .iter()
            .filter_map(|rule| rule.strip_prefix(shared))
            .collect();
        format!("{shared}{}", ends.join(" or "))
    } else {
        rules.join(" or ")
    };
    Finding {
        got: branches.iter().flatten().find_map(|only| only.got.clone()),
        wrong_type: branches.iter().flatten().all(|only| only.wrong_type),
        ..Finding::new(path, text)
    }
}

fn nearest(path: String, branches: &[Vec<Finding>]) -> Finding {
    let best = branches.iter().enumerate().min_by_key(|(_, branch)| {
        let is_other_type = branch
            .iter()
            .any(|finding| finding.wrong_type && finding.path == path);
        (is_other_type, branch.len())
    });
    let (number, findings) = best.map_or((0, &[][..]), |(index, branch)| {
        (index + 1, branch.as_slice())
    });
    let details: Vec<_> = findings
        .iter()
        .take(3)
        .map(|finding| format!("{} {}", finding.path, finding.message()))
        .collect();
    let rule = format!(
        "must fit one of {} alternatives; nearest is number {number}: {}",
        branches.len(),
        details.join(", and ")
    );
    Finding::new(path, rule)
}

/// The start of a value's JSON text.
pub(super) fn excerpt(value: &Value) -> String {
    excerpt_of(value, EXCERPT_BYTES)
}

/// The start of a value's JSON text, in at most about `max_bytes`.
pub(super) fn excerpt_of(value: &Value, max_bytes: usize) -> String {
    let mut start = Start {
        bytes: Vec::new(),
        max_bytes: max_bytes + 1,
    };
    // An error only says that the start is full.
    drop(serde_json::to_writer(&mut start, value));
    let text = String::from_utf8_lossy(&start.bytes);
    clipped(text.trim_end_matches('\u{FFFD}'), max_bytes)
}

/// A name in quotes, clipped.
pub(super) fn quoted(name: &str) -> String {
    let start = clip(name, EXCERPT_BYTES);
    let ellipsis = if start.len() < name.len() { "…" } else { "" };
    let text = serde_json::to_string(start).unwrap_or_default();
    format!("{text}{ellipsis}")
}

/// The first of `texts`, with commas.
pub(super) fn listing(mut texts: impl Iterator<Item = String>) -> String {
    let mut list: Vec<_> = texts.by_ref().take(LISTED).collect();
    if texts.next().is_some() {
        list.push("…".to_owned());
    }
    list.join(", ")
}

fn clipped(text: &str, max_bytes: usize) -> String {
    let start = clip(text, max_bytes);
    let ellipsis = if start.len() < text.len() { "…" } else { "" };
    format!("{start}{ellipsis}")
}

/// A writer that stops when it is full.
struct Start {
    bytes: Vec<u8>,
    max_bytes: usize,
}

impl io::Write for Start {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        let room = self.max_bytes - self.bytes.len();
        let taken = more.get(..room.min(more.len())).unwrap_or(more);
        self.bytes.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths() {
        let root = Path::Root;
        let items = Path::Key(&root, "items");
        let third = Path::Index(&items, 2);
        let odd = Path::Key(&third, "a \"b\"");
        assert_eq!(root.text(), "$");
        assert_eq!(third.text(), "$.items[2]");
        assert_eq!(odd.text(), r#"$.items[2]["a \"b\""]"#);
        let long = "x".repeat(1000);
        assert!(Path::Key(&odd, &long).text().len() < 100);
    }

    #[test]
    fn excerpts_are_clipped_on_characters() {
        assert_eq!(excerpt(&json!({"a": [1, "x"]})), r#"{"a":[1,"x"]}"#);
        assert_eq!(excerpt_of(&json!("ééé"), 4), "\"é…");
        let text = excerpt(&json!(vec!["long"; 100_000]));
        assert!(text.ends_with('…') && text.len() < 70, "{text}");
        assert_eq!(
            listing((0..30).map(|n| n.to_string())).matches(',').count(),
            20
        );
    }
}
