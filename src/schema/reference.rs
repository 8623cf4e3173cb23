//! `$ref` and `$anchor`, within one document only: tying references to nodes, and refusing those
//! that would go in circles.

use super::compile::{Compiler, Reference, Site};
use super::error::{SchemaError, SchemaFault};
use super::node::{Keyword, Node, NodeId};

/// Longest chain of schemas that look at one and the same value: references, `allOf` and the like.
const MAX_CHAIN: usize = 64;

impl<'a> Compiler<'a> {
    /// Notes the `$anchor` of a schema.
    pub(super) fn anchor(&mut self, id: NodeId, site: Site<'a>) -> Result<(), SchemaError> {
        let Some(value) = site.map.get("$anchor") else {
            return Ok(());
        };
        let legal = |name: &&str| {
            name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                && name
                    .chars()
                    .all(|next| next.is_ascii_alphanumeric() || "-_.".contains(next))
        };
        let Some(name) = value.as_str().filter(legal) else {
            let reason = "must be a name of letters, digits, \"-\", \"_\" and \".\"";
            return Err(self.invalid(site.value, Some("$anchor"), reason));
        };
        if self.anchors.insert(name, id).is_some() {
            return Err(self.invalid(site.value, Some("$anchor"), "must be unique"));
        }
        Ok(())
    }

    /// Notes the `$ref` of a schema.
    pub(super) fn reference(&mut self, id: NodeId, site: Site<'a>) -> Result<(), SchemaError> {
        let Some(value) = site.map.get("$ref") else {
            return Ok(());
        };
        let Some(text) = value.as_str() else {
            return Err(self.invalid(site.value, Some("$ref"), "must be a string"));
        };
        let Some(target) = text.strip_prefix('#') else {
            let fault = SchemaFault::NotSupported {
                what: "a reference out of the document".to_owned(),
                mend: Some("use \"#/$defs/…\""),
            };
            return Err(self.error(site.value, Some("$ref"), fault));
        };
        self.references.push(Reference {
            from: id,
            site: site.value,
            target,
        });
        Ok(())
    }

    /// Ties all references. A target in a place that no keyword leads to is compiled now, and may
    /// bring new ones.
    pub(super) fn resolve_references(&mut self) -> Result<(), SchemaError> {
        let mut by_anchor = Vec::new();
        while let Some(reference) = self.references.pop() {
            let Some(fragment) = percent_decoded(reference.target) else {
                let reason = "has a broken percent escape";
                return Err(self.invalid(reference.site, Some("$ref"), reason));
            };
            if !fragment.is_empty() && !fragment.starts_with('/') {
                by_anchor.push((reference, fragment));
                continue;
            }
            let Some(target) = self.root.pointer(&fragment) else {
                return Err(self.invalid(reference.site, Some("$ref"), "leads nowhere"));
            };
            let id = self.subschema(target, 0)?;
            self.tie(&reference, id);
        }
        for (reference, name) in by_anchor {
            let Some(id) = self.anchors.get(name.as_str()) else {
                let reason = "names no \"$anchor\" of the document";
                return Err(self.invalid(reference.site, Some("$ref"), reason));
            };
            self.tie(&reference, *id);
        }
        self.check_chains()
    }

    fn tie(&mut self, reference: &Reference<'_>, target: NodeId) {
        if let Some(node) = self.nodes.get_mut(reference.from.0) {
            node.reference = Some(target);
        }
    }

    /// Refuses schemas that apply themselves to the value that they are applied to, at once or by a
    /// detour.
    fn check_chains(&self) -> Result<(), SchemaError> {
        let mut lengths = vec![Chain::Unknown; self.nodes.len()];
        for index in 0..self.nodes.len() {
            if let Err((id, fault)) = measure(&self.nodes, NodeId(index), 0, &mut lengths) {
                let place = self.by_address.iter().find(|(_, known)| **known == id);
                let address = place.map_or(std::ptr::from_ref(self.root), |(address, _)| *address);
                return Err(self.error(address, None, fault));
            }
        }
        Ok(())
    }
}

/// How many schemas in a row look at one value, from a node on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chain {
    Unknown,
    /// On the way that is being measured.
    Open,
    Length(usize),
}

/// The longest chain from `id` on. The recursion is as deep as the bound at most.
fn measure(
    nodes: &[Node],
    id: NodeId,
    above: usize,
    lengths: &mut [Chain],
) -> Result<usize, (NodeId, SchemaFault)> {
    match lengths.get(id.0) {
        Some(Chain::Length(length)) => return Ok(*length),
        Some(Chain::Open) => {
            let reason = "the schema refers to itself without looking deeper into the value";
            return Err((id, SchemaFault::Invalid(reason.to_owned())));
        }
        _ => {}
    }
    let too_long = || {
        let reason = format!("more than {MAX_CHAIN} references and combinations in a row");
        (id, SchemaFault::TooLarge(reason))
    };
    if above > MAX_CHAIN {
        return Err(too_long());
    }
    set(lengths, id, Chain::Open);
    let mut longest = 0;
    for next in nodes.get(id.0).map(in_place).unwrap_or_default() {
        longest = longest.max(1 + measure(nodes, next, above + 1, lengths)?);
    }
    if longest > MAX_CHAIN {
        return Err(too_long());
    }
    set(lengths, id, Chain::Length(longest));
    Ok(longest)
}

fn set(lengths: &mut [Chain], id: NodeId, chain: Chain) {
    if let Some(slot) = lengths.get_mut(id.0) {
        *slot = chain;
    }
}

/// The schemas that `node` applies to its own value.
fn in_place(node: &Node) -> Vec<NodeId> {
    let mut ids: Vec<_> = node.reference.into_iter().collect();
    for keyword in &node.keywords {
        match keyword {
            Keyword::All(list) | Keyword::Any(list) | Keyword::One(list) => ids.extend(list),
            Keyword::Not(id, _) => ids.push(*id),
            Keyword::If {
                condition,
                then,
                otherwise,
            } => {
                ids.push(*condition);
                ids.extend(then.iter().chain(otherwise));
            }
            Keyword::DependentSchemas(list) => ids.extend(list.iter().map(|(_, id)| *id)),
            _ => {}
        }
    }
    ids
}

/// The text that a URI fragment stands for (RFC 3986, section 2.1); `None` where it is no UTF-8 or
/// broken.
fn percent_decoded(fragment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let code = digit()? * 16 + digit()?;
        bytes.push(u8::try_from(code).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use crate::schema::{Schema, SchemaFault};
    use serde_json::{Value, json};

    fn check(schema: &Value, instance: &Value, expected: bool) {
        let compiled = Schema::compile(schema).unwrap_or_else(|error| panic!("{schema}: {error}"));
        assert_eq!(
            compiled.validate(instance).is_ok(),
            expected,
            "{schema} {instance}"
        );
    }

    #[test]
    fn references_within_the_document() {
        let schema = json!({
            "$defs": {"a/b": {"type": "string"}, "c~d": {"$anchor": "Cd", "type": "null"}},
            "definitions": {"100%": {"type": "integer"}},
            "properties": {
                "slash": {"$ref": "#/$defs/a~1b"},
                "tilde": {"$ref": "#/$defs/c~0d"},
                "anchor": {"$ref": "#Cd"},
                "percent": {"$ref": "#/definitions/100%25"},
                "other": {"$ref": "#/properties/slash"},
                "beside": {"$ref": "#/$defs/a~1b", "minLength": 2},
                "odd": {"$ref": "#/x-parts/0/list/items"},
                "self": {"$ref": "#"},
            },
            "x-parts": [{"list": {"items": {"const": 7, "x-inner": true}}}],
        });
        for (instance, expected) in [
            (
                json!({"slash": "x", "tilde": null, "anchor": null, "percent": 1}),
                true,
            ),
            (json!({"slash": 1}), false),
            (json!({"tilde": 1}), false),
            (json!({"anchor": 1}), false),
            (json!({"percent": 1.5}), false),
            (json!({"other": 1}), false),
            (json!({"beside": "xx"}), true),
            (json!({"beside": "x"}), false),
            (json!({"beside": 10}), false),
            (json!({"odd": 7}), true),
            (json!({"odd": 8}), false),
            (json!({"self": {"self": {"slash": "x"}}}), true),
            (json!({"self": {"self": {"slash": 1}}}), false),
        ] {
            check(&schema, &instance, expected);
        }
    }

    #[test]
    fn recursion_through_the_value() {
        let tree = json!({
            "$ref": "#/$defs/node",
            "$defs": {"node": {
                "type": "object", "required": ["value"],
                "properties": {"value": {"type": "number"}, "kids": {"items": {"$ref": "#/$defs/node"}}},
            }},
        });
        check(
            &tree,
            &json!({"value": 1, "kids": [{"value": 2, "kids": []}]}),
            true,
        );
        check(
            &tree,
            &json!({"value": 1, "kids": [{"value": 2, "kids": [{}]}]}),
            false,
        );
    }

    #[test]
    fn refuses_circles_and_dead_ends() {
        for (schema, pointer) in [
            (json!({"$ref": "#"}), ""),
            (json!({"allOf": [{"$ref": "#"}]}), ""),
            (
                json!({"properties": {"a": {"not": {"$ref": "#/properties/a"}}}}),
                "/properties/a",
            ),
            (
                json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"if": {"$ref": "#/$defs/a"}, "then": true}}}),
                "/$defs/a",
            ),
            (json!({"items": {"$ref": "#/$defs/none"}}), "/items/$ref"),
            (json!({"items": {"$ref": "#none"}}), "/items/$ref"),
            (
                json!({"items": {"$ref": "#/items/type", "type": "null"}}),
                "",
            ),
            (json!({"items": {"$ref": 1}}), "/items/$ref"),
            (json!({"items": {"$ref": "#/%zz"}}), "/items/$ref"),
            (json!({"items": {"$anchor": "1"}}), "/items/$anchor"),
            (
                json!({"items": {"$anchor": "a"}, "not": {"$anchor": "a"}}),
                "/not/$anchor",
            ),
        ] {
            let error = Schema::compile(&schema).unwrap_err();
            assert!(
                matches!(error.fault, SchemaFault::Invalid(_)),
                "{schema} {error}"
            );
            if !pointer.is_empty() {
                assert_eq!(error.pointer, pointer, "{schema} {error}");
            }
        }
        for remote in ["https://example.com/s", "other.json#/a", "/a", ""] {
            let error = Schema::compile(&json!({"items": {"$ref": remote}})).unwrap_err();
            assert!(
                matches!(error.fault, SchemaFault::NotSupported { .. }),
                "{remote} {error}"
            );
        }
    }

    #[test]
    fn long_chains_of_references_are_refused() {
        let chain = |length: usize| {
            let defs: serde_json::Map<_, _> = (0..length)
                .map(|step| {
                    let next = json!({"$ref": format!("#/$defs/d{}", step + 1)});
                    (
                        format!("d{step}"),
                        if step + 1 == length { json!({}) } else { next },
                    )
                })
                .collect();
            json!({"$defs": defs})
        };
        assert!(Schema::compile(&chain(60)).is_ok());
        for length in [70, 4000] {
            let error = Schema::compile(&chain(length)).unwrap_err();
            assert!(matches!(error.fault, SchemaFault::TooLarge(_)), "{error}");
        }
    }
}
