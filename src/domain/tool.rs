//! A dynamic tool: its definition, the limits on each field (contract, section 4), its stored
//! record.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::asking::ClientCapability;
use super::json::JsonText;

/// A tool's name: `^[a-zA-Z][a-zA-Z0-9._:-]{2,63}$`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct ToolName(String);

/// A field that breaks its rule: the path from the tool's root and the rule, as one sentence.
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

impl ToolName {
    /// Checks `text` against the grammar; reserved names are the catalog's matter.
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

impl fmt::Display for ToolName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// An npm package that a tool's code imports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// By npm's naming rule.
    pub name: String,
    /// A version, range or tag of the package registry: 1 to 128 characters.
    pub version: String,
}

/// Everything an author decides about a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Definition {
    /// Shown to people; 1 to 120 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What the tool does, for the model that chooses it; 1 to 4000 characters.
    pub description: String,
    /// Container image; the server's default where `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Bound on one run, in milliseconds.
    pub timeout_ms: u64,
    /// Packages the code imports.
    #[serde(default)]
    pub dependencies: Vec<Dependency>,
    /// JSON Schema of the arguments; `None` is the original's `{"args":{…}}` shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<JsonText>,
    /// JSON Schema of the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<JsonText>,
    /// MCP tool annotations, passed through to clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<JsonText>,
    /// What a client must have declared to be able to call it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub requires_client_capabilities: BTreeSet<ClientCapability>,
    /// Body of `async function run(args, ctx)`; 1 to 200,000 characters.
    pub code: Arc<str>,
    /// Whether clients see it and may call it.
    pub enabled: bool,
}

impl Definition {
    /// Whether clients' lists show both alike.
    pub fn is_listed_as(&self, other: &Self) -> bool {
        self.enabled == other.enabled
            && self.title == other.title
            && self.description == other.description
            && self.input_schema == other.input_schema
            && self.output_schema == other.output_schema
            && self.annotations == other.annotations
    }
}

/// A tool as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Unique in its registry.
    pub name: ToolName,
    /// The author's part.
    pub definition: Definition,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
    /// 1 at creation, one more with every change.
    pub revision: u64,
}

/// Longest code, in characters.
pub const MAX_CODE_CHARS: usize = 200_000;
/// Longest description, in characters.
pub const MAX_DESCRIPTION_CHARS: usize = 4000;
/// Longest title, in characters.
pub const MAX_TITLE_CHARS: usize = 120;
/// Most dependencies a definition may name, whatever the server allows.
pub const MAX_DEPENDENCIES: usize = 64;
/// Shortest time limit, in milliseconds.
pub const MIN_TIMEOUT_MS: u64 = 1000;
/// Time limit where the author gives none, in milliseconds.
pub const DEFAULT_TIMEOUT_MS: u64 = 30_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_by_the_contract_s_pattern() {
        for good in ["abc", "a.b", "Math.add-2", "a:b_c", &"x".repeat(64)] {
            assert!(ToolName::parse(good).is_ok(), "{good}");
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
            assert!(ToolName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn underscored_spelling() {
        assert_eq!(
            ToolName::parse("a.b:c-d_e").unwrap().underscored(),
            "a_b_c-d_e"
        );
        let name = ToolName::parse("a.b:c-d_e").unwrap();
        assert!(name.underscored_bytes().eq(name.underscored().bytes()));
    }
}
