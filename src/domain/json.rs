//! JSON carried byte for byte: schemas, arguments and results are never re-ordered or re-rounded
//! by us.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// One JSON value as its own text, known to be well-formed.
#[derive(Clone)]
pub struct JsonText(Box<RawValue>);

impl JsonText {
    /// Checks and keeps `text`.
    ///
    /// # Errors
    /// When `text` is not one JSON value.
    pub fn parse(text: String) -> Result<Self, serde_json::Error> {
        RawValue::from_string(text).map(Self)
    }

    /// `{}`.
    pub fn empty_object() -> Self {
        Self::from_value(&Value::Object(serde_json::Map::new()))
    }

    /// The text of `value`.
    pub fn from_value(value: &Value) -> Self {
        match serde_json::value::to_raw_value(value) {
            Ok(raw) => Self(raw),
            Err(error) => unreachable!("a Value is always JSON: {error}"),
        }
    }

    /// The text, as given.
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// The value that the text denotes.
    ///
    /// # Errors
    /// Where our reader is narrower than the grammar: nesting beyond 128 levels, lone surrogates.
    pub fn value(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_str(self.text())
    }
}

impl std::fmt::Debug for JsonText {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.text())
    }
}

impl PartialEq for JsonText {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Serialize for JsonText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self)
    }
}
