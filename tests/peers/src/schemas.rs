//! Random schemas of the supported keywords and random values, from domains so small that they
//! often meet.

use serde_json::{Map, Value, json};

use crate::random::Random;

const NAMES: &[&str] = &["a", "b", "ab", "c", "é"];
const TEXTS: &[&str] = &[
    "", "a", "b", "ab", "aab", "A1", "12", "é", "😀", "a b", "a\n",
];
const PATTERNS: &[&str] = &[
    "a",
    "^a",
    "b$",
    "^[a-c]+$",
    r"\d",
    r"^\w*$",
    "^.$",
    r"\s",
    "^(?:a|b){1,2}$",
    "[^a]",
    r"^\S+$",
    "a|^$",
    r"\bab\b",
    "^a*?b?",
];
const TYPES: &[&str] = &[
    "null", "boolean", "integer", "number", "string", "array", "object",
];

fn number(random: &mut Random) -> Value {
    match random.below(12) {
        0 => json!(random.below(5) as f64 * 0.5),
        1 => json!(-(random.below(3) as i64)),
        2 => json!(random.below(4) as f64),
        3 => json!(random.below(30) as f64 / 10.0),
        4 => random.pick(&[
            json!(u64::MAX),
            json!(i64::MIN),
            json!(9_007_199_254_740_993u64),
            json!(1e300),
            json!(-1e-7),
            json!(0.0),
            json!(-0.0),
        ]),
        _ => json!(random.below(6)),
    }
}

/// A value of at most `depth` levels.
pub fn value(random: &mut Random, depth: usize) -> Value {
    let kinds = if depth == 0 { 5 } else { 9 };
    match random.below(kinds) {
        0 => Value::Null,
        1 => json!(random.one_in(2)),
        2 | 3 => number(random),
        4 => json!(random.pick(TEXTS)),
        5 | 6 => (0..random.below(4))
            .map(|_| value(random, depth - 1))
            .collect(),
        _ => {
            let mut map = Map::new();
            for _ in 0..random.below(4) {
                map.insert(random.pick(NAMES).to_owned(), value(random, depth - 1));
            }
            Value::Object(map)
        }
    }
}

/// A document with definitions that refer to each other at random.
pub fn document(random: &mut Random) -> Value {
    let mut root = object_schema(random, 3);
    let definitions: Map<_, _> = ["x", "y/z"]
        .iter()
        .map(|name| ((*name).to_owned(), schema(random, 2)))
        .collect();
    root.insert("$defs".to_owned(), Value::Object(definitions));
    Value::Object(root)
}

fn schema(random: &mut Random, depth: usize) -> Value {
    if random.one_in(8) {
        return json!(!random.one_in(3));
    }
    Value::Object(object_schema(random, depth))
}

fn object_schema(random: &mut Random, depth: usize) -> Map<String, Value> {
    let mut out = Map::new();
    for _ in 0..=random.below(3) {
        keyword(random, depth, &mut out);
    }
    out
}

fn keyword(random: &mut Random, depth: usize, out: &mut Map<String, Value>) {
    let mut set = |key: &str, value: Value| drop(out.insert(key.to_owned(), value));
    let kinds = if depth == 0 { 8 } else { 16 };
    match random.below(kinds) {
        0 | 1 => set("type", types(random)),
        2 => set(
            "enum",
            (0..1 + random.below(4)).map(|_| value(random, 1)).collect(),
        ),
        3 => set("const", value(random, 1)),
        4 => {
            let keys = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"];
            set(random.pick(&keys), number(random));
        }
        5 => {
            // The oracle divides floats: units on which that is exact, too.
            let units = [
                json!(1),
                json!(2),
                json!(4),
                json!(0.5),
                json!(0.25),
                json!(1.0),
            ];
            set("multipleOf", random.pick(&units));
        }
        6 => {
            let keys = [
                "minLength",
                "maxLength",
                "minItems",
                "maxItems",
                "minProperties",
                "maxProperties",
            ];
            set(random.pick(&keys), json!(random.below(4)));
        }
        7 => match random.below(4) {
            0 => set("pattern", json!(random.pick(PATTERNS))),
            1 => set("uniqueItems", json!(!random.one_in(4))),
            2 => set("required", names(random)),
            _ => set(
                "dependentRequired",
                json!({random.pick(NAMES): names(random)}),
            ),
        },
        8 | 9 => properties(random, depth, out),
        10 | 11 => items(random, depth, out),
        12 => {
            let list = (0..1 + random.below(3))
                .map(|_| schema(random, depth - 1))
                .collect();
            set(random.pick(&["allOf", "anyOf", "oneOf"]), list);
        }
        13 => set("not", schema(random, depth - 1)),
        14 => {
            for key in ["if", "then", "else"] {
                if !random.one_in(4) {
                    set(key, schema(random, depth - 1));
                }
            }
        }
        _ => set(
            "$ref",
            json!(random.pick(&["#", "#/$defs/x", "#/$defs/y~1z"])),
        ),
    }
}

fn types(random: &mut Random) -> Value {
    if !random.one_in(3) {
        return json!(random.pick(TYPES));
    }
    let first = random.below(TYPES.len());
    let second = (first + 1 + random.below(TYPES.len() - 1)) % TYPES.len();
    json!([TYPES[first], TYPES[second]])
}

fn names(random: &mut Random) -> Value {
    let first = random.below(NAMES.len());
    json!(&NAMES[first..(first + 1 + random.below(2)).min(NAMES.len())])
}

fn properties(random: &mut Random, depth: usize, out: &mut Map<String, Value>) {
    let mut set = |key: &str, value: Value| drop(out.insert(key.to_owned(), value));
    let named = |random: &mut Random, names: &[&str]| {
        let entries = (0..1 + random.below(3))
            .map(|_| (random.pick(names).to_owned(), schema(random, depth - 1)));
        Value::Object(entries.collect())
    };
    if !random.one_in(4) {
        set("properties", named(random, NAMES));
    }
    if random.one_in(3) {
        set("patternProperties", named(random, PATTERNS));
    }
    if random.one_in(3) {
        set("additionalProperties", schema(random, depth - 1));
    }
    if random.one_in(6) {
        set("propertyNames", schema(random, depth - 1));
    }
    if random.one_in(6) {
        set("dependentSchemas", named(random, NAMES));
    }
}

fn items(random: &mut Random, depth: usize, out: &mut Map<String, Value>) {
    let mut set = |key: &str, value: Value| drop(out.insert(key.to_owned(), value));
    if !random.one_in(3) {
        set("items", schema(random, depth - 1));
    }
    if random.one_in(3) {
        let prefix = (0..1 + random.below(2))
            .map(|_| schema(random, depth - 1))
            .collect();
        set("prefixItems", prefix);
    }
    if random.one_in(2) {
        set("contains", schema(random, depth - 1));
        if random.one_in(2) {
            set("minContains", json!(random.below(3)));
        }
        if random.one_in(2) {
            set("maxContains", json!(random.below(3)));
        }
    }
}
