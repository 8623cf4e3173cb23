//! Takes secrets out of what is to be written: by the names of fields, and wherever a secret of the
//! settings turns up.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::base::secret::Secret;

const REDACTED: &str = "[REDACTED]";
/// Keys whose values nobody may read, as they are without case and separators.
const SENSITIVE: &[&str] = &[
    "token",
    "password",
    "secret",
    "authorization",
    "cookie",
    "apikey",
    "bearer",
    "credential",
];
/// Shorter secrets are not looked for: they would turn up in every other word.
const MIN_SECRET_BYTES: usize = 4;

/// Takes secrets out of whatever is to be written.
#[derive(Default)]
pub(super) struct Redactor {
    /// Longest first: one may be a part of another.
    secrets: Vec<String>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Redactor({} secrets)", self.secrets.len())
    }
}

impl Redactor {
    pub(super) fn new(secrets: &[Secret]) -> Self {
        let long_enough = |secret: &&Secret| secret.reveal().len() >= MIN_SECRET_BYTES;
        let mut secrets: Vec<String> = secrets
            .iter()
            .filter(long_enough)
            .map(|secret| secret.reveal().to_owned())
            .collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { secrets }
    }

    pub(super) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut clean = Cow::Borrowed(text);
        for secret in &self.secrets {
            if clean.contains(secret.as_str()) {
                clean = Cow::Owned(clean.replace(secret.as_str(), REDACTED));
            }
        }
        clean
    }

    fn value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(&text).into_owned()),
            Value::Array(items) => items.into_iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) => Value::Object(self.map(fields)),
            plain => plain,
        }
    }

    pub(super) fn map(&self, fields: Map<String, Value>) -> Map<String, Value> {
        let clean = |(key, value): (String, Value)| match is_sensitive(&key) {
            true => (self.text(&key).into_owned(), json!(REDACTED)),
            false => (self.text(&key).into_owned(), self.value(value)),
        };
        fields.into_iter().map(clean).collect()
    }
}

/// Whether what goes by this name is a secret.
pub fn is_sensitive(key: &str) -> bool {
    let letters = key.chars().filter(|c| c.is_alphanumeric());
    let plain: String = letters.flat_map(char::to_lowercase).collect();
    SENSITIVE.iter().any(|word| plain.contains(word))
}
