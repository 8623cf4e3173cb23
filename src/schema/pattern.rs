//! `pattern`: regular expressions of ECMA-262 (with the `u` flag) rewritten for regex-lite, which matches in
//! linear time. What the rewriting cannot keep the meaning of is refused, never approximated.

use std::iter::Peekable;
use std::str::Chars;

use regex_lite::{Regex, RegexBuilder};

use super::error::SchemaFault;
use crate::base::text::clip;

/// Longest pattern, in characters.
const MAX_CHARS: usize = 1000;
/// Deepest nesting of groups; regex-lite itself stops at 50.
const MAX_OPEN_GROUPS: usize = 40;
/// Longest rewritten pattern, in bytes; a class of all but white space is 130.
const MAX_REWRITTEN_BYTES: usize = 16_384;
/// Sizes of the automaton, in bytes: the smallest that holds a pattern is its weight, the largest the bound.
const WEIGHTS: [usize; 4] = [1 << 10, 1 << 13, 1 << 16, 1 << 18];
/// An automaton of so many bytes costs one step for each byte of text.
const BYTES_PER_STEP: usize = 2048;

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    regex: Regex,
    /// The author's text, for messages.
    source: String,
    weight: usize,
}

impl Pattern {
    pub(super) fn compile(source: &str) -> Result<Self, SchemaFault> {
        if source.chars().count() > MAX_CHARS {
            return Err(SchemaFault::TooLarge(format!(
                "a pattern must have at most {MAX_CHARS} characters"
            )));
        }
        let too_large =
            || SchemaFault::TooLarge("the pattern is too large when expanded".to_owned());
        let rewritten = Rewriting::of(source)?;
        if rewritten.len() > MAX_REWRITTEN_BYTES {
            return Err(too_large());
        }
        for weight in WEIGHTS {
            match RegexBuilder::new(&rewritten).size_limit(weight).build() {
                Ok(regex) => {
                    return Ok(Self {
                        regex,
                        source: source.to_owned(),
                        weight,
                    });
                }
                // regex-lite has no error kinds; the text is pinned by a test below.
                Err(error) if error.to_string() == SIZE_LIMIT_TEXT => {}
                Err(error) => return Err(invalid(&error.to_string())),
            }
        }
        Err(too_large())
    }

    /// Whether the pattern is found anywhere in `text`.
    pub(super) fn is_in(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// Steps that a search of `text` costs at most.
    pub(super) fn cost(&self, text: &str) -> usize {
        text.len().saturating_mul(self.weight) / BYTES_PER_STEP
    }

    /// Memory that it holds, in bytes, as an upper bound.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// The author's text.
    pub(super) fn source(&self) -> &str {
        &self.source
    }
}

const SIZE_LIMIT_TEXT: &str = "compiled regex exceeded size limit";

type Range = (u32, u32);

const LAST: u32 = 0x10_FFFF;
const DIGIT: &[Range] = &[(0x30, 0x39)];
const WORD: &[Range] = &[(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)];
/// WhiteSpace and LineTerminator of ECMA-262, section 12.
const SPACE: &[Range] = &[
    (0x09, 0x0D),
    (0x20, 0x20),
    (0xA0, 0xA0),
    (0x1680, 0x1680),
    (0x2000, 0x200A),
    (0x2028, 0x2029),
    (0x202F, 0x202F),
    (0x205F, 0x205F),
    (0x3000, 0x3000),
    (0xFEFF, 0xFEFF),
];
const LINE_END: &[Range] = &[(0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029)];

/// One member of a class, or one escape.
enum Atom {
    Char(char),
    Set(Vec<Range>),
}

/// What stands before the next character.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Something that a quantifier may follow.
    Atom,
    /// Start, `(`, `|`, an assertion or a quantifier.
    Nothing,
}

struct Rewriting<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
    open_groups: usize,
}

impl Rewriting<'_> {
    fn of(source: &str) -> Result<String, SchemaFault> {
        let mut rewriting = Rewriting {
            rest: source.chars().peekable(),
            out: String::new(),
            open_groups: 0,
        };
        let mut before = Before::Nothing;
        while let Some(next) = rewriting.rest.next() {
            before = rewriting.term(next, before)?;
        }
        if rewriting.open_groups > 0 {
            return Err(invalid("a group is not closed"));
        }
        Ok(rewriting.out)
    }

    fn term(&mut self, next: char, before: Before) -> Result<Before, SchemaFault> {
        match next {
            '^' | '$' | '|' => self.out.push(next),
            '(' => self.open_group()?,
            ')' => {
                self.open_groups = self
                    .open_groups
                    .checked_sub(1)
                    .ok_or_else(|| invalid("a \")\" closes nothing"))?;
                self.out.push(')');
                return Ok(Before::Atom);
            }
            '*' | '+' | '?' | '{' => {
                if before == Before::Nothing {
                    return Err(invalid(&format!("nothing to repeat before \"{next}\"")));
                }
                self.quantifier(next)?;
            }
            '}' | ']' => return Err(invalid(&format!("\"{next}\" must be escaped"))),
            '.' => {
                self.push_class(&complement(LINE_END));
                return Ok(Before::Atom);
            }
            '[' => {
                self.class()?;
                return Ok(Before::Atom);
            }
            '\\' => match self.rest.peek() {
                Some(&boundary @ ('b' | 'B')) => {
                    self.rest.next();
                    self.out.push('\\');
                    self.out.push(boundary);
                }
                _ => {
                    match self.escape()? {
                        Atom::Char(literal) => self.push_char(literal),
                        Atom::Set(ranges) => self.push_class(&ranges),
                    }
                    return Ok(Before::Atom);
                }
            },
            literal => {
                self.push_char(literal);
                return Ok(Before::Atom);
            }
        }
        Ok(Before::Nothing)
    }

    /// Behind `(`. No group captures: there are no back-references to serve.
    fn open_group(&mut self) -> Result<(), SchemaFault> {
        self.open_groups += 1;
        if self.open_groups > MAX_OPEN_GROUPS {
            return Err(SchemaFault::TooLarge(format!(
                "groups in a pattern must nest at most {MAX_OPEN_GROUPS} deep"
            )));
        }
        self.out.push_str("(?:");
        if self.rest.next_if_eq(&'?').is_none() {
            return Ok(());
        }
        match self.rest.next() {
            Some(':') => Ok(()),
            Some('=' | '!') => Err(unsupported("look-ahead")),
            Some('<') => match self.rest.peek() {
                Some('=' | '!') => Err(unsupported("look-behind")),
                _ => self.group_name(),
            },
            _ => Err(invalid("\"(?\" must go on with \":\" or \"<name>\"")),
        }
    }

    fn group_name(&mut self) -> Result<(), SchemaFault> {
        let mut length = 0;
        for next in self.rest.by_ref() {
            match next {
                '>' if length > 0 => return Ok(()),
                _ if next.is_alphanumeric() || next == '_' || next == '$' => length += 1,
                _ => break,
            }
        }
        Err(invalid(
            "a group's name must be letters, digits, \"_\" and end with \">\"",
        ))
    }

    fn quantifier(&mut self, first: char) -> Result<(), SchemaFault> {
        self.out.push(first);
        if first == '{' {
            let digits = self.digits();
            let comma = self.rest.next_if_eq(&',').is_some();
            let more = if comma { self.digits() } else { String::new() };
            if digits.is_empty() || self.rest.next() != Some('}') {
                return Err(invalid("\"{\" must be escaped, or be {n}, {n,} or {n,m}"));
            }
            self.out.push_str(&digits);
            if comma {
                self.out.push(',');
                self.out.push_str(&more);
            }
            self.out.push('}');
        }
        if self.rest.next_if_eq(&'?').is_some() {
            self.out.push('?');
        }
        Ok(())
    }

    fn digits(&mut self) -> String {
        let mut digits = String::new();
        while let Some(digit) = self.rest.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        digits
    }

    /// Behind `[`.
    fn class(&mut self) -> Result<(), SchemaFault> {
        let negated = self.rest.next_if_eq(&'^').is_some();
        let mut ranges = Vec::new();
        loop {
            let Some(next) = self.rest.next() else {
                return Err(invalid("a class is not closed"));
            };
            if next == ']' {
                break;
            }
            match self.class_atom(next)? {
                Atom::Char(low) => ranges.push(self.range_from(low)?),
                Atom::Set(set) => {
                    ranges.extend(set);
                    if self.range_follows() {
                        return Err(invalid(
                            "a range in a class must go from character to character",
                        ));
                    }
                }
            }
        }
        ranges.sort_unstable();
        if negated {
            ranges = complement(&ranges);
        }
        self.push_class(&ranges);
        Ok(())
    }

    fn class_atom(&mut self, next: char) -> Result<Atom, SchemaFault> {
        if next != '\\' {
            return Ok(Atom::Char(next));
        }
        match self.rest.next_if(|&next| next == 'b' || next == '-') {
            Some('b') => Ok(Atom::Char('\u{8}')),
            Some(dash) => Ok(Atom::Char(dash)),
            None => self.escape(),
        }
    }

    /// Whether `-x` follows rather than a `-` that is the last member.
    fn range_follows(&self) -> bool {
        let mut ahead = self.rest.clone();
        ahead.next() == Some('-') && ahead.next().is_some_and(|next| next != ']')
    }

    fn range_from(&mut self, low: char) -> Result<Range, SchemaFault> {
        if !self.range_follows() {
            return Ok((u32::from(low), u32::from(low)));
        }
        self.rest.next();
        let high = match self.rest.next() {
            Some(next) => self.class_atom(next)?,
            None => return Err(invalid("a class is not closed")),
        };
        match high {
            Atom::Char(high) if low <= high => Ok((u32::from(low), u32::from(high))),
            _ => Err(invalid(
                "a range in a class must go from a lower to a higher character",
            )),
        }
    }

    /// Behind `\`, where `\b` and `\B` have been taken care of.
    fn escape(&mut self) -> Result<Atom, SchemaFault> {
        let Some(next) = self.rest.next() else {
            return Err(invalid("a \"\\\" ends the pattern"));
        };
        let literal = match next {
            'd' => return Ok(Atom::Set(DIGIT.to_vec())),
            'D' => return Ok(Atom::Set(complement(DIGIT))),
            'w' => return Ok(Atom::Set(WORD.to_vec())),
            'W' => return Ok(Atom::Set(complement(WORD))),
            's' => return Ok(Atom::Set(SPACE.to_vec())),
            'S' => return Ok(Atom::Set(complement(SPACE))),
            'p' | 'P' => return Err(unsupported("a class by Unicode property")),
            '1'..='9' | 'k' => return Err(unsupported("a back-reference")),
            't' => '\t',
            'n' => '\n',
            'v' => '\u{B}',
            'f' => '\u{C}',
            'r' => '\r',
            '0' if !self.rest.peek().is_some_and(char::is_ascii_digit) => '\0',
            'c' => match self.rest.next() {
                Some(letter) if letter.is_ascii_alphabetic() => {
                    char::from(u8::try_from(letter).unwrap_or(0) % 32)
                }
                _ => return Err(invalid("\"\\c\" must go on with a letter")),
            },
            'x' => scalar(self.hex(2)?)?,
            'u' => self.unicode_escape()?,
            _ if next.is_ascii_punctuation() || next == ' ' => next,
            _ => {
                let what = format!("\"\\{next}\" is no escape of ECMA-262");
                return Err(invalid(&what));
            }
        };
        Ok(Atom::Char(literal))
    }

    /// Behind `\u`: `{…}`, four digits, or a surrogate pair.
    fn unicode_escape(&mut self) -> Result<char, SchemaFault> {
        if self.rest.next_if_eq(&'{').is_some() {
            let mut code = None;
            for next in self.rest.by_ref() {
                match (next.to_digit(16), code) {
                    (Some(digit), Some(high @ 0..=LAST)) => code = Some(high * 16 + digit),
                    (Some(digit), None) => code = Some(digit),
                    (None, Some(code)) if next == '}' => return scalar(code),
                    _ => break,
                }
            }
            return Err(invalid(
                "\"\\u{\" must go on with hexadecimal digits and \"}\"",
            ));
        }
        let high = self.hex(4)?;
        if !(0xD800..0xDC00).contains(&high) {
            return scalar(high);
        }
        if self.rest.next() != Some('\\') || self.rest.next() != Some('u') {
            return scalar(high);
        }
        let low = self.hex(4)?;
        if !(0xDC00..0xE000).contains(&low) {
            return scalar(high);
        }
        scalar(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00))
    }

    fn hex(&mut self, digits: usize) -> Result<u32, SchemaFault> {
        let mut code = 0;
        for _ in 0..digits {
            let digit = self.rest.next().and_then(|next| next.to_digit(16));
            let wrong = || invalid(&format!("an escape needs {digits} hexadecimal digits"));
            code = code * 16 + digit.ok_or_else(wrong)?;
        }
        Ok(code)
    }

    fn push_char(&mut self, literal: char) {
        if literal.is_ascii_alphanumeric() {
            self.out.push(literal);
        } else {
            self.out
                .push_str(&format!("\\x{{{:X}}}", u32::from(literal)));
        }
    }

    fn push_class(&mut self, ranges: &[Range]) {
        if ranges.is_empty() {
            // `[]` of ECMA-262 matches nothing.
            self.out.push_str(r"[^\x{0}-\x{10FFFF}]");
            return;
        }
        self.out.push('[');
        for (low, high) in ranges {
            self.out
                .push_str(&format!("\\x{{{low:X}}}-\\x{{{high:X}}}"));
        }
        self.out.push(']');
    }
}

/// All characters that are in none of `ranges`, which are sorted by their start.
fn complement(ranges: &[Range]) -> Vec<Range> {
    let mut rest = Vec::new();
    let mut next = 0;
    for &(low, high) in ranges {
        if low > next {
            rest.push((next, low - 1));
        }
        next = next.max(high + 1);
    }
    if next <= LAST {
        rest.push((next, LAST));
    }
    rest.into_iter().filter_map(without_surrogates).collect()
}

/// A range whose ends are characters: surrogates are none. `None` where nothing is left.
fn without_surrogates((low, high): Range) -> Option<Range> {
    let low = if (0xD800..0xE000).contains(&low) {
        0xE000
    } else {
        low
    };
    let high = if (0xD800..0xE000).contains(&high) {
        0xD7FF
    } else {
        high
    };
    (low <= high).then_some((low, high))
}

fn scalar(code: u32) -> Result<char, SchemaFault> {
    char::from_u32(code).ok_or_else(|| invalid("an escape is no Unicode character"))
}

fn invalid(reason: &str) -> SchemaFault {
    SchemaFault::Invalid(format!("the pattern is not legal: {}", clip(reason, 200)))
}

fn unsupported(what: &str) -> SchemaFault {
    SchemaFault::NotSupported(format!("{what} in a pattern"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_ecma_finds() {
        for (pattern, text, expected) in [
            ("a+", "xaay", true),
            ("^a+$", "xaay", false),
            ("", "", true),
            (r"^\d{3}-\d{4}$", "555-1234", true),
            (r"^\d$", "\u{0663}", false),
            (r"^\w+$", "a_9", true),
            (r"^\W$", "é", true),
            (r"^\s$", "\u{FEFF}", true),
            (r"^\s$", "\u{85}", false),
            (r"^\S$", "\u{2003}", false),
            (r"^[\s\S]$", "\n", true),
            (r"^[^\s]$", "x", true),
            (r"^[^\S]$", " ", true),
            ("^.$", "\u{2028}", false),
            ("^.$", "😀", true),
            (r"^\/a\/$", "/a/", true),
            (r"^\u0041\x42\u{43}$", "ABC", true),
            (r"^\uD83D\uDE00$", "😀", true),
            (r"^\cJ\t\0$", "\n\t\0", true),
            (r"^[a\-z]$", "b", false),
            (r"^[a-]$", "-", true),
            (r"^[-a]$", "-", true),
            (r"^[+--]$", ",", true),
            ("^[[&&a]$", "[", true),
            ("^[&&]$", "&", true),
            ("^[~~^]$", "^", true),
            ("[]", "x", false),
            ("^[^]$", "\n", true),
            (r"^[\b]$", "\u{8}", true),
            (r"\bfoo\b", "a foo b", true),
            (r"\Boo", "foo", true),
            ("^(?:a|b)+$", "abab", true),
            ("^(?<year>[0-9]{4})$", "2026", true),
            ("^(a|)$", "", true),
            ("^a{2,}?$", "aaa", true),
            ("^a{2}$", "aaa", false),
            ("^# x$", "# x", true),
            ("^é$", "é", true),
            (r"^\$\{x\}$", "${x}", true),
            ("a$", "a\n", false),
            ("^b", "a\nb", false),
            (r"^[^\u{10}-\u{D7FF}]$", "\u{E000}", true),
            (r"^[\u{D7FF}-\u{E000}]$", "\u{E000}", true),
        ] {
            let compiled = Pattern::compile(pattern).unwrap_or_else(|fault| {
                panic!("{pattern}: {fault:?}");
            });
            assert_eq!(compiled.is_in(text), expected, "{pattern} {text:?}");
        }
    }

    #[test]
    fn refuses_what_it_lacks() {
        for pattern in [
            "(?=a)",
            "(?!a)",
            "(?<=a)",
            "(?<!a)",
            r"(a)\1",
            r"(?<x>a)\k<x>",
            r"\p{L}",
            r"[\P{L}]",
        ] {
            let fault = Pattern::compile(pattern).unwrap_err();
            assert!(
                matches!(fault, SchemaFault::NotSupported(_)),
                "{pattern} {fault:?}"
            );
        }
    }

    #[test]
    fn refuses_what_ecma_refuses() {
        for pattern in [
            "(",
            ")",
            "[",
            "]",
            "a{",
            "a}",
            "a{,2}",
            "a{2,1}",
            "*",
            "a**",
            "^*",
            r"\",
            r"\a",
            r"\Z",
            r"\A",
            r"\xg0",
            r"\u12",
            r"\uD83D",
            r"\uDE00",
            r"\u{110000}",
            r"\u{}",
            "(?i)a",
            "(?P<n>a)",
            "(?<>a)",
            r"\c1",
            r"\00",
            "[b-a]",
            r"[\d-z]",
            r"[a-\d]",
            "a{2",
            "a|*",
            r"\u{D800}",
            "[a",
            "(?",
            "a++",
        ] {
            let fault = Pattern::compile(pattern).unwrap_err();
            assert!(
                matches!(fault, SchemaFault::Invalid(_)),
                "{pattern} {fault:?}"
            );
        }
    }

    #[test]
    fn bounded_in_size_and_depth() {
        for pattern in [
            "a".repeat(1001),
            "(((a{1000}){1000}){1000}){1000}".to_owned(),
            r"\S".repeat(500),
            "(){4000000000}".to_owned(),
        ] {
            let fault = Pattern::compile(&pattern).unwrap_err();
            assert!(
                matches!(fault, SchemaFault::TooLarge(_)),
                "{pattern} {fault:?}"
            );
        }
        assert!(Pattern::compile(&("(".repeat(400) + &")".repeat(400))).is_err());
        assert!(Pattern::compile("^.{1,255}$").is_ok());
        assert!(Pattern::compile("^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$").is_ok());
    }

    #[test]
    fn heavier_patterns_cost_more() {
        let light = Pattern::compile("^[a-z]+$").unwrap();
        let heavy = Pattern::compile("(a?){500}b").unwrap();
        assert!(heavy.cost("aaaaaaaaaa") > 10 * light.cost("aaaaaaaaaa").max(1));
    }
}
