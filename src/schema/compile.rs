//! From a schema document to nodes: the walk, its bounds, the dialect, and which keywords there
//! are. What each keyword's value must be stands in `keywords`, where a `$ref` leads in
//! `reference`.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::error::{SchemaError, SchemaFault};
use super::node::{Node, NodeId};
use crate::base::text::clip;

/// Deepest nesting of subschemas within each other.
const MAX_DEPTH: usize = 64;
/// Most subschemas of a document, booleans included.
const MAX_NODES: usize = 5000;

/// Keywords that say nothing about validity; `x-…` joins them.
const ANNOTATIONS: &[&str] = &[
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$comment",
    "format",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
];

/// Keywords that this file or `keywords` reads.
const KEYWORDS: &[&str] = &[
    "$schema",
    "$ref",
    "$anchor",
    "$defs",
    "definitions",
    "type",
    "enum",
    "const",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "items",
    "prefixItems",
    "contains",
    "minContains",
    "maxContains",
    "minItems",
    "maxItems",
    "uniqueItems",
    "properties",
    "patternProperties",
    "additionalProperties",
    "propertyNames",
    "required",
    "minProperties",
    "maxProperties",
    "dependentRequired",
    "dependentSchemas",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
];

/// Keywords of 2020-12 that draft-07 would ignore.
const NOT_IN_DRAFT_07: &[&str] = &[
    "$anchor",
    "prefixItems",
    "minContains",
    "maxContains",
    "dependentRequired",
    "dependentSchemas",
];

/// Keywords beside `$ref` that draft-07, which ignores them there, does not lose anything by.
const HARMLESS_BESIDE_REF: &[&str] = &["$ref", "$schema", "$id", "$defs", "definitions"];

/// How authors should write what is not supported.
const MENDS: &[(&str, &str)] = &[
    ("nullable", "add \"null\" to \"type\""),
    ("additionalItems", "use \"prefixItems\" and \"items\""),
    (
        "dependencies",
        "use \"dependentRequired\" or \"dependentSchemas\"",
    ),
    ("id", "leave it out"),
    ("$id", "leave it out; refer by \"#/$defs/…\" or \"$anchor\""),
    (
        "unevaluatedProperties",
        "use \"additionalProperties\" beside all \"properties\"",
    ),
    (
        "discriminator",
        "use \"const\" in each \"oneOf\" alternative",
    ),
];

/// The dialect of the whole document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Draft202012,
    Draft07,
}

impl Dialect {
    fn of_uri(uri: &str) -> Option<Self> {
        match uri.strip_suffix('#').unwrap_or(uri) {
            "https://json-schema.org/draft/2020-12/schema" => Some(Self::Draft202012),
            "http://json-schema.org/draft-07/schema" => Some(Self::Draft07),
            _ => None,
        }
    }
}

/// One object schema being compiled.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    /// The object as a value of the document: its address says where it is.
    pub(super) value: &'a Value,
    pub(super) map: &'a Map<String, Value>,
    /// How many subschemas it stands in.
    pub(super) depth: usize,
}

/// A `$ref` that waits until all nodes are known.
pub(super) struct Reference<'a> {
    pub(super) from: NodeId,
    pub(super) site: &'a Value,
    /// Without the `#`.
    pub(super) target: &'a str,
}

/// The state of one compilation.
pub(super) struct Compiler<'a> {
    pub(super) root: &'a Value,
    dialect: Dialect,
    pub(super) nodes: Vec<Node>,
    /// Nodes by the address of their schema in the document, which does not move meanwhile.
    pub(super) by_address: HashMap<*const Value, NodeId>,
    pub(super) anchors: HashMap<&'a str, NodeId>,
    pub(super) references: Vec<Reference<'a>>,
    pub(super) pattern_count: usize,
    pub(super) pattern_bytes: usize,
}

/// Compiles a document; the first node is its root.
pub(super) fn compile(root: &Value) -> Result<Vec<Node>, SchemaError> {
    let mut compiler = Compiler {
        root,
        dialect: Dialect::Draft202012,
        nodes: Vec::new(),
        by_address: HashMap::new(),
        anchors: HashMap::new(),
        references: Vec::new(),
        pattern_count: 0,
        pattern_bytes: 0,
    };
    compiler.dialect = compiler.declared_dialect(root)?;
    compiler.subschema(root, 0)?;
    compiler.resolve_references()?;
    Ok(compiler.nodes)
}

impl<'a> Compiler<'a> {
    /// Compiles the schema at `value`, unless that is done already.
    pub(super) fn subschema(
        &mut self,
        value: &'a Value,
        depth: usize,
    ) -> Result<NodeId, SchemaError> {
        if let Some(id) = self.by_address.get(&std::ptr::from_ref(value)) {
            return Ok(*id);
        }
        if depth > MAX_DEPTH {
            let reason = format!("subschemas must nest at most {MAX_DEPTH} deep");
            return Err(self.error(value, None, SchemaFault::TooLarge(reason)));
        }
        if self.nodes.len() == MAX_NODES {
            let reason = format!("a schema must have at most {MAX_NODES} subschemas");
            return Err(self.error(value, None, SchemaFault::TooLarge(reason)));
        }
        let id = NodeId(self.nodes.len());
        self.nodes.push(Node::default());
        self.by_address.insert(std::ptr::from_ref(value), id);
        let node = match value {
            Value::Bool(truth) => Node {
                never: !truth,
                ..Node::default()
            },
            Value::Object(map) => self.object(id, Site { value, map, depth })?,
            _ => return Err(self.invalid(value, None, "a schema must be an object or a boolean")),
        };
        if let Some(slot) = self.nodes.get_mut(id.0) {
            *slot = node;
        }
        Ok(id)
    }

    fn object(&mut self, id: NodeId, site: Site<'a>) -> Result<Node, SchemaError> {
        self.check_keywords(site)?;
        if self.declared_dialect(site.value)? != self.dialect && site.map.contains_key("$schema") {
            let reason = "must be that of the whole document";
            return Err(self.invalid(site.value, Some("$schema"), reason));
        }
        self.anchor(id, site)?;
        self.reference(id, site)?;
        for key in ["$defs", "definitions"] {
            if let Some(map) = self.object_of(site, key)? {
                for schema in map.values() {
                    self.subschema(schema, site.depth + 1)?;
                }
            }
        }
        Ok(Node {
            never: false,
            reference: None,
            keywords: self.keywords(site)?,
        })
    }

    fn declared_dialect(&self, schema: &Value) -> Result<Dialect, SchemaError> {
        let Some(uri) = schema.get("$schema") else {
            return Ok(Dialect::Draft202012);
        };
        uri.as_str().and_then(Dialect::of_uri).ok_or_else(|| {
            let fault = SchemaFault::NotSupported {
                what: "this dialect".to_owned(),
                mend: Some("leave \"$schema\" out, or use JSON Schema 2020-12"),
            };
            self.error(schema, Some("$schema"), fault)
        })
    }

    /// Refuses every keyword whose meaning would be lost.
    fn check_keywords(&self, site: Site<'a>) -> Result<(), SchemaError> {
        let is_draft_07 = self.dialect == Dialect::Draft07;
        let is_silenced = is_draft_07 && site.map.contains_key("$ref");
        for key in site.map.keys().map(String::as_str) {
            let is_annotation = ANNOTATIONS.contains(&key) || key.starts_with("x-");
            // A base changes nothing where all references are local to the document.
            let is_root_id = key == "$id" && std::ptr::eq(site.value, self.root);
            let fault = if is_annotation || is_root_id {
                continue;
            } else if !KEYWORDS.contains(&key) {
                let mend = MENDS.iter().find(|(keyword, _)| *keyword == key);
                SchemaFault::NotSupported {
                    what: format!("keyword \"{}\"", clip(key, 100)),
                    mend: mend.map(|(_, mend)| *mend),
                }
            } else if is_draft_07 && NOT_IN_DRAFT_07.contains(&key) {
                let reason = "is no keyword of draft-07: leave the root's \"$schema\" out";
                SchemaFault::Invalid(format!("\"{key}\" {reason}"))
            } else if is_silenced && !HARMLESS_BESIDE_REF.contains(&key) {
                let reason =
                    "is ignored beside \"$ref\" in draft-07: leave the root's \"$schema\" out";
                SchemaFault::Invalid(format!("\"{key}\" {reason}"))
            } else {
                continue;
            };
            return Err(self.error(site.value, Some(key), fault));
        }
        Ok(())
    }

    /// An error at `schema`, or at one of its keywords.
    pub(super) fn error(
        &self,
        schema: *const Value,
        keyword: Option<&str>,
        fault: SchemaFault,
    ) -> SchemaError {
        let mut pointer = String::new();
        locate(self.root, schema, &mut pointer);
        if let Some(keyword) = keyword {
            push_token(&mut pointer, keyword);
        }
        SchemaError::new(&pointer, fault)
    }

    /// An error of the author's.
    pub(super) fn invalid(
        &self,
        schema: &Value,
        keyword: Option<&str>,
        reason: &str,
    ) -> SchemaError {
        let reason = match keyword {
            Some(keyword) => format!("\"{}\" {reason}", clip(keyword, 100)),
            None => reason.to_owned(),
        };
        self.error(schema, keyword, SchemaFault::Invalid(reason))
    }
}

/// Appends the pointer from `tree` to the value that *is* `target`; false where it is not in there.
fn locate(tree: &Value, target: *const Value, pointer: &mut String) -> bool {
    if std::ptr::eq(tree, target) {
        return true;
    }
    let length = pointer.len();
    let mut step = |token: &str, child: &Value| {
        push_token(pointer, token);
        let found = locate(child, target, pointer);
        if !found {
            pointer.truncate(length);
        }
        found
    };
    match tree {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .any(|(index, item)| step(&index.to_string(), item)),
        Value::Object(map) => map.iter().any(|(name, item)| step(name, item)),
        _ => false,
    }
}

/// Appends one reference token (RFC 6901, section 3).
pub(super) fn push_token(pointer: &mut String, token: &str) {
    pointer.push('/');
    pointer.push_str(&token.replace('~', "~0").replace('/', "~1"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(schema: &Value, pointer: &str, text: &str) {
        let error = match compile(schema) {
            Ok(_) => panic!("{schema} compiled"),
            Err(error) => error,
        };
        assert_eq!(error.pointer, pointer, "{schema} {error}");
        assert!(error.to_string().contains(text), "{schema} {error}");
    }

    #[test]
    fn names_what_is_not_supported_and_where() {
        for (schema, pointer, text) in [
            (
                json!({"properties": {"a/b": {"unevaluatedProperties": false}}}),
                "/properties/a~1b/unevaluatedProperties",
                "keyword \"unevaluatedProperties\" is not supported yet (use",
            ),
            (
                json!({"allOf": [true, {"$dynamicRef": "#a"}]}),
                "/allOf/1/$dynamicRef",
                "at #/allOf/1/$dynamicRef: keyword \"$dynamicRef\" is not supported yet",
            ),
            (
                json!({"$defs": {"a": {"$id": "https://example.com/a"}}}),
                "/$defs/a/$id",
                "not supported yet",
            ),
            (
                json!({"nullable": true}),
                "/nullable",
                "add \"null\" to \"type\"",
            ),
            (
                json!({"$schema": "https://json-schema.org/draft/2019-09/schema"}),
                "/$schema",
                "this dialect is not supported yet (leave",
            ),
            (json!({"$schema": 1}), "/$schema", "not supported yet"),
            (
                json!({"items": {"pattern": "(?=a)"}}),
                "/items/pattern",
                "look-ahead in a pattern is not supported yet",
            ),
            (json!(1), "", "must be an object or a boolean"),
            (
                json!({"not": null}),
                "/not",
                "must be an object or a boolean",
            ),
        ] {
            check(&schema, pointer, text);
        }
    }

    #[test]
    fn draft_07_as_far_as_both_agree() {
        let draft = |mut schema: Value| {
            schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
            schema
        };
        for shared in [
            json!({"type": "object", "definitions": {"a": {"$ref": "#/definitions/b", "title": "t"}, "b": {}}}),
            json!({"$id": "https://example.com/root", "if": {}, "then": {}}),
        ] {
            assert!(compile(&draft(shared.clone())).is_ok(), "{shared}");
        }
        check(
            &draft(json!({"items": {"$ref": "#", "type": "array"}})),
            "/items/type",
            "ignored beside \"$ref\" in draft-07",
        );
        check(
            &draft(json!({"prefixItems": []})),
            "/prefixItems",
            "no keyword of draft-07",
        );
        check(&draft(json!({"items": [true]})), "/items", "prefixItems");
        check(
            &json!({"items": {"$schema": "http://json-schema.org/draft-07/schema#"}}),
            "/items/$schema",
            "that of the whole document",
        );
    }

    #[test]
    fn annotations_are_let_through() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": "https://example.com/tool", "$comment": "c", "title": "t", "description": "d",
            "default": 1, "examples": [{"$ref": 1}], "deprecated": true, "readOnly": true,
            "writeOnly": false, "format": "uri", "contentEncoding": "base64",
            "contentMediaType": "text/plain", "x-mcp-header": "Region",
        });
        assert!(compile(&schema).is_ok());
    }

    #[test]
    fn bounded_in_depth_and_number() {
        let nested = |depth: usize| (0..depth).fold(json!({}), |inner, _| json!({"not": inner}));
        assert!(compile(&nested(MAX_DEPTH)).is_ok());
        let error = compile(&nested(MAX_DEPTH + 1)).unwrap_err();
        assert!(matches!(error.fault, SchemaFault::TooLarge(_)), "{error}");

        let wide = |count: usize| json!({"anyOf": vec![true; count]});
        assert!(compile(&wide(MAX_NODES - 1)).is_ok());
        let error = compile(&wide(MAX_NODES)).unwrap_err();
        assert!(matches!(error.fault, SchemaFault::TooLarge(_)), "{error}");
    }

    #[test]
    fn long_names_are_clipped_in_errors() {
        let error = compile(&json!({"k".repeat(10_000): 1})).unwrap_err();
        assert!(error.to_string().len() < 1000, "{error}");
    }
}
