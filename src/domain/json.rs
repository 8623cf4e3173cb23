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

    /// The text of `value`, whose maps have strings for keys.
    pub fn from_value(value: &impl Serialize) -> Self {
        match serde_json::value::to_raw_value(value) {
            Ok(raw) => Self(raw),
            Err(error) => unreachable!("values of ours are always JSON: {error}"),
        }
    }

    /// The text, as given.
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// The value that the text denotes. A number beyond every double is the largest one.
    ///
    /// # Errors
    /// Where our reader is narrower than the grammar: nesting beyond 128 levels, lone surrogates.
    pub fn value(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_str(self.text())
            .or_else(|_| serde_json::from_str(&within_doubles(self.text())))
    }
}

/// The same JSON with every number that no double can hold replaced by the largest one:
/// `JSON.parse` takes such numbers, our reader does not.
fn within_doubles(text: &str) -> String {
    let mut fitting = String::with_capacity(text.len());
    let mut rest = text;
    let mut in_string = false;
    while let Some(next) = rest.chars().next() {
        let length = match next {
            _ if in_string => {
                in_string = next != '"';
                if next == '\\' { 2 } else { next.len_utf8() }
            }
            '-' | '0'..='9' => rest
                .find(|part| !matches!(part, '-' | '+' | '.' | 'e' | 'E' | '0'..='9'))
                .unwrap_or(rest.len()),
            _ => {
                in_string = next == '"';
                next.len_utf8()
            }
        };
        let (token, behind) = rest.split_at_checked(length).unwrap_or((rest, ""));
        match token.parse::<f64>() {
            Ok(number) if number.is_infinite() && !in_string && length > 1 => {
                fitting.push_str(&format!("{:e}", f64::MAX.copysign(number)));
            }
            _ => fitting.push_str(token),
        }
        rest = behind;
    }
    fitting
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_that_only_javascript_reads() {
        let value = |text: &str| JsonText::parse(text.to_owned()).unwrap().value().unwrap();
        let check = |text: &str, expected: Value| assert_eq!(value(text), expected, "{text}");
        check("1e400", json!(f64::MAX));
        check("[-1e400,1.0,-0]", json!([-f64::MAX, 1.0, -0.0]));
        check(
            r#"{"1e400":"1e400 \"-1e999 \\","é\\":1e999}"#,
            json!({"1e400": "1e400 \"-1e999 \\", "é\\": f64::MAX}),
        );
        let lone = JsonText::parse(r#""\ud800""#.to_owned()).unwrap();
        assert!(lone.value().is_err());
    }
}
