//! `{{name}}` in texts of prompts and resource templates: the value of that name in its place.
//! Names that are none of the entry's stay as they stand there, and values are never looked into.

/// Most that values may make of the texts of one answer, in bytes.
pub(super) const MAX_BYTES: usize = 4 << 20;

/// Longest name with the space around it, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// The texts became larger than [`MAX_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// What stands for names, and how much of it there may still be.
pub(super) struct Values<'a> {
    lookup: &'a dyn Fn(&str) -> Option<&'a str>,
    left: usize,
}

impl<'a> Values<'a> {
    pub(super) fn new(lookup: &'a dyn Fn(&str) -> Option<&'a str>) -> Self {
        Self {
            lookup,
            left: MAX_BYTES,
        }
    }

    /// A text with the values in their places.
    pub(super) fn put_into(&mut self, text: &str) -> Result<String, TooLarge> {
        let (mut made, mut rest) = (String::with_capacity(text.len()), text);
        while let Some((before, behind)) = rest.split_once("{{") {
            self.push(&mut made, before)?;
            let found =
                named(behind).and_then(|(name, after)| Some(((self.lookup)(name.trim())?, after)));
            match found {
                Some((value, after)) => {
                    self.push(&mut made, value)?;
                    rest = after;
                }
                None => {
                    // One brace at a time: the next name may begin with the second.
                    self.push(&mut made, "{")?;
                    rest = rest.get(before.len() + 1..).unwrap_or_default();
                }
            }
        }
        self.push(&mut made, rest)?;
        Ok(made)
    }

    fn push(&mut self, made: &mut String, part: &str) -> Result<(), TooLarge> {
        self.left = self.left.checked_sub(part.len()).ok_or(TooLarge)?;
        made.push_str(part);
        Ok(())
    }
}

/// What stands before the next closing braces, if they are near, and what behind them.
fn named(text: &str) -> Option<(&str, &str)> {
    let mut pairs = text.as_bytes().windows(2).take(MAX_NAME_BYTES);
    let end = pairs.position(|pair| pair == b"}}")?;
    Some((text.get(..end)?, text.get(end + 2..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_values_and_nothing_else() {
        let lookup = |name: &str| match name {
            "a" => Some("one"),
            "b" => Some("{{a}}"),
            "none" => Some(""),
            _ => None,
        };
        let check = |text: &str, expected: &str| {
            let made = Values::new(&lookup).put_into(text);
            assert_eq!(made.as_deref(), Ok(expected), "{text}");
        };
        check("", "");
        check("x {{a}}{{ a }} y", "x oneone y");
        check("{{b}} {{none}}.", "{{a}} .");
        check("{{c}} {a} {{a} {{a", "{{c}} {a} {{a} {{a");
        check("{{{a}}} {{ {{a}}", "{one} {{ one");
        check("é{{a}}é", "éoneé");
    }

    #[test]
    fn what_many_places_make_of_a_long_value_has_an_end() {
        let long = "x".repeat(MAX_BYTES / 2);
        let lookup = |_: &str| Some(long.as_str());
        assert!(Values::new(&lookup).put_into("{{a}}{{a}}").is_ok());
        assert_eq!(Values::new(&lookup).put_into("{{a}}{{a}}."), Err(TooLarge));
        // However few braces are names, every byte is looked at a bounded number of times.
        let braces = "{{".repeat(100_000);
        let made = Values::new(&|_| None).put_into(&braces);
        assert_eq!(made.as_deref(), Ok(braces.as_str()));
    }
}
