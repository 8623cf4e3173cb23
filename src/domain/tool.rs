//! A dynamic tool: what its author decides about it. The limits on each field (contract, section 4)
//! stand in `limits`.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::asking::ClientCapability;
use super::entry::{
    Authored, Dependency, Entry, InvalidField, Kind, bytes_of, bytes_of_dependencies,
};
use super::json::JsonText;
use super::limits::{check_chars, check_object, check_program_sizes};
use super::program::Program;

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

/// A tool as it is stored.
pub type Tool = Entry<Definition>;

impl Authored for Definition {
    const KIND: Kind = Kind::Tool;

    fn is_listed_as(&self, other: &Self) -> bool {
        self.enabled == other.enabled
            && self.title == other.title
            && self.description == other.description
            && self.input_schema == other.input_schema
            && self.output_schema == other.output_schema
            && self.annotations == other.annotations
    }

    fn broken(&self, max_timeout_ms: u64, max_dependencies: usize) -> Vec<InvalidField> {
        let mut broken = Vec::new();
        if let Some(title) = &self.title {
            check_chars(&mut broken, "title", title, MAX_TITLE_CHARS);
        }
        check_chars(
            &mut broken,
            "description",
            &self.description,
            MAX_DESCRIPTION_CHARS,
        );
        if let Some(program) = self.program() {
            check_program_sizes(&mut broken, &program, max_timeout_ms, max_dependencies);
        }
        check_object(&mut broken, "inputSchema", self.input_schema.as_ref());
        check_object(&mut broken, "outputSchema", self.output_schema.as_ref());
        check_object(&mut broken, "annotations", self.annotations.as_ref());
        broken
    }

    fn program(&self) -> Option<Program> {
        Some(Program {
            code: Arc::clone(&self.code),
            image: self.image.clone(),
            timeout_ms: self.timeout_ms,
            dependencies: self.dependencies.clone(),
        })
    }

    fn body(&self) -> &str {
        &self.code
    }

    fn bytes(&self) -> usize {
        let texts = [
            Some(self.description.as_str()),
            Some(&self.code),
            self.title.as_deref(),
            self.image.as_deref(),
            self.input_schema.as_ref().map(JsonText::text),
            self.output_schema.as_ref().map(JsonText::text),
            self.annotations.as_ref().map(JsonText::text),
        ];
        bytes_of(texts) + bytes_of_dependencies(&self.dependencies)
    }
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
