//! Content blocks that tool code made by hand: checked before they leave, because one malformed
//! block makes a client drop the whole answer (MCP 2025-06-18 and later, `ContentBlock`).

use serde_json::Value;

use crate::base::text::decode_base64;
use crate::domain::failure::{Failure, FailureKind};

/// Checks an array of content blocks.
pub(super) fn check_blocks(blocks: &Value) -> Result<(), Failure> {
    let list = blocks.as_array().map(Vec::as_slice).unwrap_or_default();
    for (index, block) in list.iter().enumerate() {
        check_block(block).map_err(|(field, rule)| {
            let message = format!("content block $[{index}]{field} {rule}");
            Failure::new(FailureKind::InvalidResult, message)
        })?;
    }
    Ok(())
}

/// Checked blocks as clients take them: without the members that are null, which they refuse.
pub(super) fn without_nulls(mut blocks: Value) -> Value {
    for block in blocks.as_array_mut().into_iter().flatten() {
        drop_nulls(block);
    }
    blocks
}

/// The same for one block. What stands in `_meta` is its author's.
pub(super) fn drop_nulls(block: &mut Value) {
    let Value::Object(members) = block else {
        return;
    };
    members.retain(|_, value| !value.is_null());
    for inner in ["annotations", "resource"] {
        if let Some(inner) = members.get_mut(inner) {
            drop_nulls(inner);
        }
    }
}

pub(super) type Broken = (&'static str, &'static str);

/// Checks one content block: what of it breaks which rule. A member that is null is none.
pub(super) fn check_block(block: &Value) -> Result<(), Broken> {
    if !block.is_object() {
        return Err(("", "must be an object with a type"));
    }
    optional(
        block,
        "annotations",
        Value::is_object,
        (".annotations", OBJECT),
    )?;
    optional(block, "_meta", Value::is_object, ("._meta", OBJECT))?;
    optional(block, "mimeType", Value::is_string, (".mimeType", STRING))?;
    optional(block, "title", Value::is_string, (".title", STRING))?;
    optional(
        block,
        "description",
        Value::is_string,
        (".description", STRING),
    )?;
    match block.get("type").and_then(Value::as_str) {
        Some("text") => text(block, "text", ".text"),
        Some("image" | "audio") => {
            base64(block, "data", ".data")?;
            text(block, "mimeType", ".mimeType")
        }
        Some("resource_link") => {
            text(block, "uri", ".uri")?;
            text(block, "name", ".name")
        }
        Some("resource") => {
            let resource = block.get("resource").unwrap_or(&Value::Null);
            text(resource, "uri", ".resource.uri")?;
            optional(
                resource,
                "_meta",
                Value::is_object,
                (".resource._meta", OBJECT),
            )?;
            let kind = (".resource.mimeType", STRING);
            optional(resource, "mimeType", Value::is_string, kind)?;
            let is_there = |name: &str| resource.get(name).is_some_and(|it| !it.is_null());
            match (is_there("text"), is_there("blob")) {
                (true, true) => Err((".resource", "must have text or blob, and not both")),
                (false, true) => base64(resource, "blob", ".resource.blob"),
                _ => text(resource, "text", ".resource.text"),
            }
        }
        _ => Err((
            ".type",
            "must be one of text, image, audio, resource, resource_link",
        )),
    }
}

const STRING: &str = "must be a string";
const OBJECT: &str = "must be an object";

fn optional(
    object: &Value,
    name: &str,
    fits: fn(&Value) -> bool,
    broken: Broken,
) -> Result<(), Broken> {
    match object.get(name) {
        Some(value) if !value.is_null() && !fits(value) => Err(broken),
        _ => Ok(()),
    }
}

fn text(object: &Value, name: &str, path: &'static str) -> Result<(), Broken> {
    match object.get(name) {
        Some(Value::String(_)) => Ok(()),
        _ => Err((path, STRING)),
    }
}

fn base64(object: &Value, name: &str, path: &'static str) -> Result<(), Broken> {
    match object.get(name).and_then(Value::as_str) {
        Some(text) if decode_base64(text).is_some() => Ok(()),
        _ => Err((
            path,
            "must be base64 text (RFC 4648, section 4, with padding)",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn blocks_that_clients_take_and_refuse() {
        let check = |block: Value, expected: Option<&str>| {
            let broken = check_blocks(&json!([block]))
                .err()
                .map(|failure| failure.message);
            assert_eq!(broken.is_some(), expected.is_some(), "{block}: {broken:?}");
            if let (Some(broken), Some(expected)) = (broken, expected) {
                assert!(broken.contains(expected), "{broken}");
            }
        };
        check(json!({"type": "text", "text": ""}), None);
        check(
            json!({"type": "image", "data": "aGk=", "mimeType": "image/png"}),
            None,
        );
        check(
            json!({"type": "audio", "data": "", "mimeType": "audio/wav"}),
            None,
        );
        check(
            json!({"type": "resource_link", "uri": "a:b", "name": "n"}),
            None,
        );
        check(
            json!({"type": "resource", "resource": {"uri": "a:b", "text": "t"}}),
            None,
        );
        check(
            json!({"type": "resource", "resource": {"uri": "a:b", "blob": "aGk="}}),
            None,
        );
        check(json!({"type": "text"}), Some("$[0].text must be a string"));
        check(json!({"type": "text", "text": 1}), Some("$[0].text"));
        check(
            json!({"type": "image", "data": "a=k=", "mimeType": "x"}),
            Some("base64"),
        );
        check(
            json!({"type": "image", "data": "aGk", "mimeType": "x"}),
            Some("base64"),
        );
        check(json!({"type": "image", "data": "aGk="}), Some(".mimeType"));
        check(json!({"type": "resource"}), Some(".resource.uri"));
        check(json!({"type": "video"}), Some(".type"));
        let text = |name: &str, value: Value| json!({"type": "text", "text": "t", name: value});
        for name in ["annotations", "_meta", "mimeType", "title"] {
            check(text(name, Value::Null), None);
            check(text(name, json!(1)), Some(&format!("$[0].{name} must be")));
        }
        let resource = |resource: Value| json!({"type": "resource", "resource": resource});
        let both = json!({"uri": "a:b", "text": "t", "blob": "aGk="});
        check(resource(both), Some("$[0].resource must have text or blob"));
        let kind = json!({"uri": "a:b", "text": "t", "mimeType": 1});
        check(resource(kind), Some(".resource.mimeType"));
        let nulls = json!({"uri": "a:b", "text": null, "blob": "aGk=", "_meta": null});
        check(resource(nulls), None);
        let none = json!({"uri": "a:b", "text": null, "blob": null});
        check(resource(none), Some(".resource.text must be a string"));
        check(json!("text"), Some("must be an object"));
    }

    #[test]
    fn members_that_are_null_are_left_out() {
        let resource = json!({"uri": "a:b", "text": "t", "blob": null, "mimeType": null});
        let blocks = json!([
            {"type": "text", "text": "t", "annotations": null, "_meta": {"x": null}},
            {"type": "text", "text": "t", "annotations": {"audience": null, "priority": 1}},
            {"type": "resource", "resource": resource, "title": null},
        ]);
        let expected = json!([
            {"type": "text", "text": "t", "_meta": {"x": null}},
            {"type": "text", "text": "t", "annotations": {"priority": 1}},
            {"type": "resource", "resource": {"uri": "a:b", "text": "t"}},
        ]);
        assert_eq!(without_nulls(blocks), expected);
    }
}
