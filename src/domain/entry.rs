//! What is kept of a dynamic tool, prompt or resource alike: a name of its own among its kind, a
//! definition, and when and how often it changed.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::limits::{self, MAX_TIMEOUT_MS};
use super::program::Program;
use super::tool::MAX_DEPENDENCIES;

/// What can be made at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A tool.
    Tool,
    /// A prompt.
    Prompt,
    /// A resource, or a template of resources.
    Resource,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Tool, Self::Prompt, Self::Resource];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Resource => "resource",
        }
    }

    /// The name of many.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Tool => "tools",
            Self::Prompt => "prompts",
            Self::Resource => "resources",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What an author decides about an entry of one kind.
pub trait Authored: Clone + fmt::Debug + PartialEq + Serialize + DeserializeOwned {
    /// Which kind.
    const KIND: Kind;

    /// Every field that breaks a limit on its size or what a stored record must be, once.
    fn broken(&self, max_timeout_ms: u64, max_dependencies: usize) -> Vec<InvalidField>;

    /// Its code, with all that running it needs; `None` for what stands there as it is.
    fn program(&self) -> Option<Program>;

    /// Whether clients' lists show both alike.
    fn is_listed_as(&self, other: &Self) -> bool;

    /// What it comes to: its code, or what stands there as it is.
    fn body(&self) -> &str;

    /// What it takes of a registry's room, in bytes ([`bytes_of`]).
    fn bytes(&self) -> usize;

    /// What else no two entries of the kind may share, beside their names.
    fn address(&self) -> Option<String> {
        None
    }

    /// Checks everything that a new or changed definition must keep: sizes, the grammar of the
    /// image and of package names, no package twice.
    ///
    /// # Errors
    /// Every field that breaks its rule, once.
    fn check(&self, max_timeout_ms: u64, max_dependencies: usize) -> Result<(), Vec<InvalidField>> {
        let mut broken = self.broken(max_timeout_ms, max_dependencies);
        if let Some(program) = self.program() {
            limits::check_program_grammar(&mut broken, &program);
        }
        limits::none(broken)
    }

    /// Checks sizes alone, against the widest limits a server can have: what a stored record must
    /// keep. Records of the original pass, whose image and package names knew less grammar, and so
    /// do records made before an operator narrowed a setting.
    ///
    /// # Errors
    /// Every field that breaks its limit, once.
    fn check_sizes(&self) -> Result<(), Vec<InvalidField>> {
        limits::none(self.broken(MAX_TIMEOUT_MS, MAX_DEPENDENCIES))
    }
}

/// What texts take in memory, nearly: their bytes, and what points to each.
pub(super) fn bytes_of<'a>(texts: impl IntoIterator<Item = Option<&'a str>>) -> usize {
    let texts = texts.into_iter().flatten();
    texts.map(|text| text.len() + size_of::<String>()).sum()
}

/// What a list of packages takes.
pub(super) fn bytes_of_dependencies(dependencies: &[Dependency]) -> usize {
    let texts = dependencies.iter();
    bytes_of(texts.flat_map(|one| [Some(one.name.as_str()), Some(one.version.as_str())]))
}

/// Something made at run time, as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<D> {
    /// Unique among its kind in its registry.
    pub name: EntryName,
    /// The author's part.
    pub definition: D,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
    /// 1 at creation, one more with every change.
    pub revision: u64,
}

/// The name of a tool, prompt or resource: `^[a-zA-Z][a-zA-Z0-9._:-]{2,63}$`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct EntryName(String);

/// A field that breaks its rule: the path from the definition's root and the rule, as one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidField {
    /// Such as `name` or `dependencies[0].version`.
    pub path: String,
    /// What the field must be.
    pub rule: String,
}

impl fmt::Display for InvalidField {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.path, self.rule)
    }
}

impl std::error::Error for InvalidField {}

impl EntryName {
    /// Checks `text` against the grammar; reserved names are others' matter.
    ///
    /// # Errors
    /// The rule that `text` breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidField> {
        let starts_well = text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphabetic());
        let goes_on_well = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte));
        if (3..=64).contains(&text.len()) && starts_well && goes_on_well {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidField {
            path: "name".to_owned(),
            rule:
                "must be 3 to 64 characters: a letter, then letters, digits, '.', '_', ':' or '-'"
                    .to_owned(),
        })
    }

    /// The name as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The spelling for clients that refuse dots and colons: both become `_`.
    pub fn underscored(&self) -> String {
        underscored(&self.0)
    }

    /// The bytes of that spelling.
    pub fn underscored_bytes(&self) -> impl Iterator<Item = u8> {
        self.0.bytes().map(turned)
    }
}

/// The underscore spelling of any tool name, built-in or dynamic.
pub fn underscored(name: &str) -> String {
    name.replace(['.', ':'], "_")
}

/// Whether `given` is a name in either of its spellings.
pub fn is_spelling(given: &str, name: &str) -> bool {
    given == name || given.bytes().eq(name.bytes().map(turned))
}

fn turned(byte: u8) -> u8 {
    if matches!(byte, b'.' | b':') {
        b'_'
    } else {
        byte
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// An npm package that code imports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// By npm's naming rule.
    pub name: String,
    /// A version, range or tag of the package registry: 1 to 128 characters.
    pub version: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_by_the_contract_s_pattern() {
        for good in ["abc", "a.b", "Math.add-2", "a:b_c", &"x".repeat(64)] {
            assert!(EntryName::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "ab",
            "1abc",
            ".abc",
            "a b",
            "a/b",
            "añb",
            "abc\n",
            &"x".repeat(65),
        ] {
            assert!(EntryName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn underscored_spelling() {
        assert_eq!(
            EntryName::parse("a.b:c-d_e").unwrap().underscored(),
            "a_b_c-d_e"
        );
        let name = EntryName::parse("a.b:c-d_e").unwrap();
        assert!(name.underscored_bytes().eq(name.underscored().bytes()));
    }
}
