//! A compiled schema: nodes in an arena that refer to each other by number. Data only; `compile`
//! writes it, `validate` reads it.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use super::number::Decimal;
use super::pattern::Pattern;

/// A node's place in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct NodeId(pub(super) usize);

impl NodeId {
    /// The document's own schema.
    pub(super) const ROOT: Self = Self(0);
}

/// One schema or subschema: what must hold, all of it.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// The schema is `false`.
    pub(super) never: bool,
    /// The target of `$ref`.
    pub(super) reference: Option<NodeId>,
    /// The other keywords, cheap ones first.
    pub(super) keywords: Vec<Keyword>,
}

/// One thing that must hold.
#[derive(Debug)]
pub(super) enum Keyword {
    /// `type`
    Type(TypeSet),
    /// `enum` and `const`: canonical texts of the values, and what to say.
    Values {
        texts: HashSet<String>,
        rule: String,
    },
    /// `minimum` and its three siblings.
    Bound(Comparison, Decimal, String),
    /// `multipleOf`, and the divisor as written.
    MultipleOf(Decimal, String),
    /// `minLength`, `maxItems` and the like.
    Size(Counted, Limit, u64),
    /// `pattern`
    Pattern(Pattern),
    /// `uniqueItems: true`
    UniqueItems,
    /// `prefixItems` and `items`.
    Items {
        prefix: Vec<NodeId>,
        rest: Option<NodeId>,
    },
    /// `contains`, `minContains`, `maxContains`.
    Contains { node: NodeId, min: u64, max: u64 },
    /// `required`
    Required(Vec<String>),
    /// `dependentRequired`
    DependentRequired(Vec<(String, Vec<String>)>),
    /// `properties`, `patternProperties`, `additionalProperties`.
    Properties {
        named: BTreeMap<String, NodeId>,
        patterns: Vec<(Pattern, NodeId)>,
        rest: Option<NodeId>,
    },
    /// `propertyNames`
    PropertyNames(NodeId),
    /// `dependentSchemas`
    DependentSchemas(Vec<(String, NodeId)>),
    /// `allOf`
    All(Vec<NodeId>),
    /// `anyOf`
    Any(Vec<NodeId>),
    /// `oneOf`
    One(Vec<NodeId>),
    /// `not`, and the start of what stands there.
    Not(NodeId, String),
    /// `if`, `then`, `else`.
    If {
        condition: NodeId,
        then: Option<NodeId>,
        otherwise: Option<NodeId>,
    },
}

/// How a number relates to a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    AtLeast,
    Above,
    AtMost,
    Below,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    Characters,
    Items,
    Properties,
}

/// Which side a count is bounded on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    AtLeast,
    AtMost,
}

/// A set of JSON types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TypeSet(u8);

/// Names on the wire and their texts in messages; the position is the bit.
const TYPES: [(&str, &str); 7] = [
    ("null", "null"),
    ("boolean", "a boolean"),
    ("integer", "an integer"),
    ("number", "a number"),
    ("string", "a string"),
    ("array", "an array"),
    ("object", "an object"),
];

impl TypeSet {
    /// Adds a type by its name; false where it is unknown or already there.
    pub(super) fn add(&mut self, name: &str) -> bool {
        let Some(bit) = TYPES.iter().position(|(known, _)| *known == name) else {
            return false;
        };
        let fresh = self.0 & (1 << bit) == 0;
        self.0 |= 1 << bit;
        fresh
    }

    /// Whether `value` is of one of the types; 1.0 is an integer.
    pub(super) fn has(self, value: &Value) -> bool {
        let bits: u8 = match value {
            Value::Null => 1,
            Value::Bool(_) => 1 << 1,
            Value::Number(number) if Decimal::of(number).is_integer() => 1 << 2 | 1 << 3,
            Value::Number(_) => 1 << 3,
            Value::String(_) => 1 << 4,
            Value::Array(_) => 1 << 5,
            Value::Object(_) => 1 << 6,
        };
        self.0 & bits != 0
    }

    /// `a string or null`.
    pub(super) fn text(self) -> String {
        let mut texts: Vec<_> = TYPES
            .iter()
            .enumerate()
            .filter(|(bit, _)| self.0 & (1 << bit) != 0)
            .map(|(_, (_, text))| *text)
            .collect();
        texts.reverse();
        texts.join(" or ")
    }
}

/// What a value is, for "got …": the type, or a number itself. Never a string's text.
pub(super) fn got(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn types_by_name() {
        let samples = [
            (json!(null), vec!["null"]),
            (json!(true), vec!["boolean"]),
            (json!(1), vec!["integer", "number"]),
            (json!(1.0), vec!["integer", "number"]),
            (json!(1e300), vec!["integer", "number"]),
            (json!(1.5), vec!["number"]),
            (json!(""), vec!["string"]),
            (json!([]), vec!["array"]),
            (json!({}), vec!["object"]),
        ];
        for (value, expected) in samples {
            for (name, _) in TYPES {
                let mut set = TypeSet::default();
                assert!(set.add(name) && !set.add(name));
                assert_eq!(set.has(&value), expected.contains(&name), "{value} {name}");
            }
        }
        assert!(!TypeSet::default().add("int"));
    }

    #[test]
    fn text_of_several() {
        let mut set = TypeSet::default();
        set.add("null");
        set.add("string");
        assert_eq!(set.text(), "a string or null");
    }
}
