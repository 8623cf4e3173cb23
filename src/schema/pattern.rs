//! `pattern`: a regular expression with its weight, so that a search can be charged for. How
//! ECMA-262 is rewritten for regex-lite, which matches in linear time, stands in `ecma`.

use regex_lite::{Regex, RegexBuilder};

use super::ecma::{self, invalid};
use super::error::SchemaFault;

/// Longest pattern, in characters.
const MAX_CHARS: usize = 1000;
/// Longest rewritten pattern, in bytes; a class of all but white space is 130.
const MAX_REWRITTEN_BYTES: usize = 16_384;
/// Sizes of the automaton, in bytes: the smallest that holds a pattern is its weight, the largest
/// the bound.
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
        let rewritten = ecma::rewritten(source)?;
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
                matches!(fault, SchemaFault::NotSupported { .. }),
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
