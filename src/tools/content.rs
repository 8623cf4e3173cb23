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

pub(super) type Broken = (&'static str, &'static str);

/// Checks one content block: what of it breaks which rule.
pub(super) fn check_block(block: &Value) -> Result<(), Broken> {
    if !block.is_object() {
        return Err(("", "must be an object with a type"));
    }
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
            if resource.get("blob").is_some() {
                return base64(resource, "blob", ".resource.blob");
            }
            text(resource, "text", ".resource.text")
        }
        _ => Err((
            ".type",
            "must be one of text, image, audio, resource, resource_link",
        )),
    }
}

fn text(object: &Value, name: &str, path: &'static str) -> Result<(), Broken> {
    match object.get(name) {
        Some(Value::String(_)) => Ok(()),
        _ => Err((path, "must be a string")),
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
        check(json!("text"), Some("must be an object"));
    }
}
