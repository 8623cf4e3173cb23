//! What differs between tools, prompts and resources as authors make them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::domain::entry::Entry;
use crate::domain::failure::Failure;
use crate::domain::json::JsonText;
use crate::registry::Stored;
use crate::tools::{ToolSettings, Tools};

/// Fields of a definition, each as the text it has.
pub(super) type Fields = BTreeMap<String, JsonText>;

/// The names of a kind's built-ins, and what clients are told of them.
pub(super) struct Words {
    pub(super) create: &'static str,
    pub(super) update: &'static str,
    pub(super) delete: &'static str,
    pub(super) list: &'static str,
    pub(super) get: &'static str,
    /// Of these, in this order.
    pub(super) titles: [&'static str; 5],
    /// What listing does.
    pub(super) listing: &'static str,
    /// What listing with `includeCode` adds.
    pub(super) with_code: &'static str,
    /// What getting does.
    pub(super) showing: &'static str,
}

/// A kind of entries that authors make.
pub(super) trait Made: Stored {
    const WORDS: Words;
    /// Fields that each one has, beside its name.
    const REQUIRED: &'static [&'static str];
    /// The fields that its content may come from; only one of several is there.
    const BODY: &'static [&'static str];
    /// Other fields of which there is only one.
    const EXCLUSIVE: &'static [&'static str] = &[];

    /// JSON Schemas of the fields of a definition.
    fn properties(settings: &ToolSettings) -> Value;

    fn create_description() -> String;

    fn update_description() -> String;

    /// Puts defaults where there is nothing.
    fn complete(fields: &mut Fields, default_timeout_ms: u64);

    /// Why there can be none of that name, if so.
    fn reserved(_name: &str) -> Option<String> {
        None
    }

    /// Everything that is wrong or forbidden beyond limits, but for its code.
    fn vet(&self, tools: &Tools) -> Result<(), Failure>;

    /// Makes of an entry's fields what is shown of it.
    fn show(_entry: &Entry<Self>, _fields: &mut Fields) {}
}

/// For code, which has a time limit.
pub(super) fn complete_timeout(fields: &mut Fields, default_timeout_ms: u64) {
    if fields.contains_key("code") {
        let default = || JsonText::from_value(&default_timeout_ms);
        fields.entry("timeoutMs".to_owned()).or_insert_with(default);
    }
}
