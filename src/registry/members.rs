//! One JSON object, member by member, each as the text it has. No error quotes a value.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::domain::json::JsonText;

/// Members that nobody asked for, by name.
pub(super) type Fields = BTreeMap<String, JsonText>;

/// The members of one JSON object as they stand in the text: taken out one by one, so that each
/// error names its field and what is left over is known.
#[derive(Debug)]
pub struct Members<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Members<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, String> {
        let pairs: Pairs<'a> =
            serde_json::from_str(text).map_err(|error| match error.classify() {
                // The reader's own words for what it found could quote a value.
                Category::Data => "must be a JSON object".to_owned(),
                _ => format!("it is no JSON: {error}"),
            })?;
        let mut members = BTreeMap::new();
        for (key, value) in pairs.0 {
            if members.insert(key, value).is_some() {
                return Err("a field is there twice".to_owned());
            }
        }
        Ok(Self(members))
    }

    pub(super) fn take<T: Deserialize<'a>>(
        &mut self,
        key: &str,
        rule: &str,
    ) -> Result<Option<T>, String> {
        let Some(value) = self.0.remove(key) else {
            return Ok(None);
        };
        match serde_json::from_str(value.get()) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(format!("{key} {rule}")),
        }
    }

    pub(super) fn required<T: Deserialize<'a>>(
        &mut self,
        key: &str,
        rule: &str,
    ) -> Result<T, String> {
        self.take(key, rule)?
            .ok_or_else(|| format!("{key} is missing"))
    }

    pub(super) fn rest(self) -> Result<Fields, String> {
        let mut fields = Fields::new();
        for (key, value) in self.0 {
            let value = serde_json::from_str(value.get()).map_err(|error| error.to_string())?;
            fields.insert(key, value);
        }
        Ok(fields)
    }
}

struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(InOrder).map(Pairs)
    }
}
