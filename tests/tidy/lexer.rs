//! Just enough of Rust's lexical grammar to tell code from comments and literals.

/// `source` with comments, string and character literals blanked out, line breaks kept.
pub(crate) fn code_only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skip_literal(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            let blanked = chars[at..end].iter();
            out.extend(blanked.map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// The end of the comment or literal that starts at `at`, or `at` if none does.
fn skip_literal(chars: &[char], at: usize) -> usize {
    let after_word = at > 0 && is_word(chars[at - 1]);
    match chars[at] {
        '/' if chars.get(at + 1) == Some(&'/') => skip_until(chars, at, |c| c == '\n'),
        '/' if chars.get(at + 1) == Some(&'*') => skip_block_comment(chars, at),
        '"' => skip_quoted(chars, at + 1, '"'),
        '\'' => skip_char(chars, at),
        'r' | 'b' | 'c' if !after_word => skip_prefixed(chars, at),
        _ => at,
    }
}

fn skip_until(chars: &[char], from: usize, stop: impl Fn(char) -> bool) -> usize {
    let rest = chars[from..].iter();
    from + rest.take_while(|c| !stop(**c)).count()
}

fn skip_block_comment(chars: &[char], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Past the closing `quote`, from behind the opening one.
fn skip_quoted(chars: &[char], from: usize, quote: char) -> usize {
    let mut at = from;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// A character literal, or nothing where `'` starts a lifetime.
fn skip_char(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => skip_quoted(chars, at + 1, '\''),
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

/// `r"…"`, `r#"…"#`, `b"…"`, `b'…'`, `br"…"`, `c"…"`; not raw identifiers.
fn skip_prefixed(chars: &[char], at: usize) -> usize {
    let quote = skip_until(chars, at, |c| !matches!(c, 'r' | 'b' | 'c'));
    let raw = chars[at..quote].contains(&'r');
    let open = skip_until(chars, quote, |c| c != '#');
    let hashes = open - quote;
    match chars.get(open) {
        Some('"') if raw => {
            let mut end = open + 1;
            while end < chars.len() {
                let closing = chars[end + 1..].iter().take_while(|c| **c == '#').count();
                end += 1;
                if chars[end - 1] == '"' && closing >= hashes {
                    return end + hashes;
                }
            }
            end
        }
        Some('"') if hashes == 0 && quote - at == 1 => skip_quoted(chars, open + 1, '"'),
        Some('\'') if hashes == 0 && chars[at..quote] == ['b'] => skip_char(chars, open),
        _ => at,
    }
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Byte offsets of `word` in `code` where it stands as a whole word.
pub(crate) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| {
            let before = code[..*at].chars().next_back();
            let after = code[at + word.len()..].chars().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
}

/// The line number, from 1, of byte `at`.
pub(crate) fn line_at(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Where the unit tests start: `#[cfg(test)]` before `mod`. The length of `code` if nowhere.
pub(crate) fn tests_start(code: &str) -> usize {
    let is_start = |(at, found): &(usize, &str)| {
        let mut rest = code[at + found.len()..].trim_start();
        while let Some((_, behind)) = rest.strip_prefix("#[").and_then(|r| r.split_once(']')) {
            rest = behind.trim_start();
        }
        let rest = rest.strip_prefix("pub(crate)").unwrap_or(rest).trim_start();
        rest.starts_with("mod ")
    };
    let mut found = code.match_indices("#[cfg(test)]").filter(is_start);
    found.next().map_or(code.len(), |(at, _)| at)
}

/// Whether the file at `path` is unit tests as a whole.
pub(crate) fn is_tests_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.ends_with("_tests.rs") || path.contains("/tests/")
}

#[test]
fn comments_and_literals_are_blanked() {
    let check = |source: &str, expected: &str| {
        let blanked = code_only(source);
        let kept: Vec<&str> = blanked.split_whitespace().collect();
        assert_eq!(kept.join(" "), expected, "{source}");
        assert_eq!(blanked.matches('\n').count(), source.matches('\n').count());
    };
    check("a // b\nc", "a c");
    check("a /* b /* c */ d */ e", "a e");
    check(r#"a("b \" c", d)"#, "a( , d)");
    check(r###"a(r#"b " c"#) d"###, "a( ) d");
    check(r#"a(b"x", br"y", c"z") d"#, "a( , , ) d");
    check("f('x', '\\'', b'\\n', '\"') g", "f( , , , ) g");
    check("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}");
    check("let r#type = bar; // c", "let r#type = bar;");
    check("a /* never closed", "a");
    check("a \"never closed", "a");
    check("a r#\"never closed\"", "a");
    check("'", "'");
}

#[test]
fn tests_start_at_their_module() {
    assert_eq!(tests_start("ab\n#[cfg(test)]\nmod tests {}"), 3);
    assert_eq!(
        tests_start("#[cfg(test)]\nuse a;\n#[cfg(test)]\npub(crate) mod t;"),
        20
    );
    assert_eq!(
        tests_start("a\n#[cfg(test)]\n#[path = \"\"]\nmod tests;"),
        2
    );
    assert_eq!(tests_start("fn a() {}"), 9);
}

#[test]
fn words_are_whole() {
    let at: Vec<usize> = words("mio mio2 amio mio::x _mio", "mio").collect();
    assert_eq!(at, [0, 14]);
}
