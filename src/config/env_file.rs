//! The env file's grammar: `KEY=VALUE` lines, optional quotes, comments. Nothing is expanded,
//! nothing is escaped, no line goes on.

use crate::base::secret::Secret;

/// One assignment.
#[derive(Clone, Debug)]
pub(super) struct Assignment<'a> {
    /// Counted from 1.
    pub(super) line: usize,
    /// Left of the first `=`.
    pub(super) key: &'a str,
    /// Right of it, quotes taken off; it may be a secret.
    pub(super) value: Secret,
}

/// A line that is no assignment, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadLine {
    pub(super) line: usize,
    pub(super) rule: &'static str,
}

/// The assignments of `text`, blank and comment lines left out.
pub(super) fn parse(text: &str) -> impl Iterator<Item = Result<Assignment<'_>, BadLine>> {
    let numbered = (1..).zip(text.lines());
    numbered.filter_map(|(line, content)| {
        let content = content.trim();
        if content.is_empty() || content.starts_with('#') {
            return None;
        }
        let parsed = assignment(content).map(|(key, value)| Assignment {
            line,
            key,
            value: Secret::new(value),
        });
        Some(parsed.map_err(|rule| BadLine { line, rule }))
    })
}

fn assignment(content: &str) -> Result<(&str, &str), &'static str> {
    let (key, value) = content.split_once('=').ok_or("expected KEY=VALUE")?;
    let is_name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let key = key.trim_end();
    if key.is_empty() || key.len() > 100 || !key.bytes().all(is_name) {
        return Err("expected KEY=VALUE with a key of capitals, digits and _");
    }
    let value = value.trim_start();
    let quote = value
        .chars()
        .next()
        .filter(|first| ['"', '\''].contains(first));
    let value = match quote {
        Some(quote) => quoted(value, quote)?,
        None => unquoted(value),
    };
    Ok((key, value))
}

fn quoted(value: &str, quote: char) -> Result<&str, &'static str> {
    let inner = value.strip_prefix(quote).unwrap_or(value);
    let (inside, after) = inner.split_once(quote).ok_or("a quote is not closed")?;
    let after = after.trim_start();
    match after.is_empty() || after.starts_with('#') {
        true => Ok(inside),
        false => Err("only a comment may follow the closing quote"),
    }
}

/// A `#` starts a comment after white space only: passwords may hold one.
fn unquoted(value: &str) -> &str {
    let comment = value
        .char_indices()
        .zip(std::iter::once(' ').chain(value.chars()))
        .find(|((_, character), before)| *character == '#' && before.is_whitespace());
    let end = comment.map_or(value.len(), |((at, _), _)| at);
    value.get(..end).unwrap_or(value).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_an_env_file() {
        let check = |line: &str, expected: Option<Result<(&str, &str), &str>>| {
            let parsed: Vec<_> = parse(line)
                .map(|result| match result {
                    Ok(found) => Ok((found.key.to_owned(), found.value.reveal().to_owned())),
                    Err(bad) => Err(bad.rule),
                })
                .collect();
            let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
            let expected: Vec<_> = expected.map(|found| found.map(owned)).into_iter().collect();
            assert_eq!(parsed, expected, "{line}");
        };
        for blank in ["", "   ", "# A=1", "  # x"] {
            check(blank, None);
        }
        check("A=1", Some(Ok(("A", "1"))));
        check("  A = 1  ", Some(Ok(("A", "1"))));
        check("A=", Some(Ok(("A", ""))));
        check("A=a b", Some(Ok(("A", "a b"))));
        check("A=1\r\n", Some(Ok(("A", "1"))));
        check("A=1 # one", Some(Ok(("A", "1"))));
        check("A=1#2", Some(Ok(("A", "1#2"))));
        check("A=# none", Some(Ok(("A", ""))));
        check("A=x=y", Some(Ok(("A", "x=y"))));
        check("A=\"a # b\" # c", Some(Ok(("A", "a # b"))));
        check("A='$HOME \\n'", Some(Ok(("A", "$HOME \\n"))));
        check("A=$B`id`${C}", Some(Ok(("A", "$B`id`${C}"))));
        check("A=it's", Some(Ok(("A", "it's"))));
        check("A", Some(Err("expected KEY=VALUE")));
        let bad_key = "expected KEY=VALUE with a key of capitals, digits and _";
        for line in ["=1", "export A=1", "a=1", "A-B=1", "\u{feff}A=1"] {
            check(line, Some(Err(bad_key)));
        }
        check("A=\"x", Some(Err("a quote is not closed")));
        check(
            "A=\"x\"y",
            Some(Err("only a comment may follow the closing quote")),
        );
    }

    #[test]
    fn lines_are_counted_from_one_with_blank_ones() {
        let lines: Vec<_> = parse("# c\n\nA=1\nB\n")
            .map(|result| result.map_or_else(|bad| bad.line, |found| found.line))
            .collect();
        assert_eq!(lines, [3, 4]);
    }
}
