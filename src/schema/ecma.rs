//! Regular expressions of ECMA-262 (with the `u` flag) in the syntax of regex-lite. What the
//! rewriting cannot keep the meaning of is refused, never approximated.

use std::iter::Peekable;
use std::str::Chars;

use super::error::SchemaFault;
use crate::base::text::clip;

/// Deepest nesting of groups; regex-lite itself stops at 50.
const MAX_OPEN_GROUPS: usize = 40;

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

/// The pattern in regex-lite's syntax; every character that is neither letter nor digit is escaped.
pub(super) fn rewritten(source: &str) -> Result<String, SchemaFault> {
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

impl Rewriting<'_> {
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
            _ if "^$\\.*+?()[]{}|/".contains(next) => next,
            _ => {
                let what =
                    format!("\"\\{next}\" is no escape with the flag u: leave its \"\\\" out");
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

/// An error of the author's.
pub(super) fn invalid(reason: &str) -> SchemaFault {
    SchemaFault::Invalid(format!("the pattern is not legal: {}", clip(reason, 200)))
}

fn unsupported(what: &str) -> SchemaFault {
    SchemaFault::NotSupported {
        what: format!("{what} in a pattern"),
        mend: None,
    }
}
