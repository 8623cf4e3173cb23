//! Messages of prompts: what authors and their code may give, what clients get (MCP 2026-07-28,
//! `PromptMessage`).

use serde_json::{Value, json};

use super::content::{check_block, drop_nulls};
use super::substitution::{TooLarge, Values};

/// Fields of messages and content blocks that are no text: their values are checked ones, or names.
const FIXED: [&str; 7] = [
    "role",
    "type",
    "data",
    "blob",
    "mimeType",
    "annotations",
    "_meta",
];

/// Most messages of one prompt.
pub(super) const MAX_MESSAGES: usize = 256;

/// Checks an array of messages; a content may be a text.
///
/// # Errors
/// The path from the array and the rule.
pub(super) fn check_messages(messages: &Value) -> Result<(), String> {
    let list = messages.as_array().map(Vec::as_slice).unwrap_or_default();
    if !messages.is_array() || list.len() > MAX_MESSAGES {
        return Err(format!(
            " must be an array of at most {MAX_MESSAGES} messages"
        ));
    }
    for (index, message) in list.iter().enumerate() {
        check_message(message).map_err(|rule| format!("[{index}]{rule}"))?;
    }
    Ok(())
}

fn check_message(message: &Value) -> Result<(), String> {
    let role = message.get("role").and_then(Value::as_str);
    if !matches!(role, Some("user" | "assistant")) {
        return Err(".role must be user or assistant".to_owned());
    }
    match message.get("content") {
        Some(Value::String(_)) => Ok(()),
        Some(block) => check_block(block).map_err(|(path, rule)| format!(".content{path} {rule}")),
        None => Err(".content is missing".to_owned()),
    }
}

/// Checked messages as clients take them.
pub(super) fn normalized(messages: Value) -> Value {
    let Value::Array(list) = messages else {
        return json!([]);
    };
    let blocks = list.into_iter().map(|message| {
        let mut content = match message.get("content") {
            Some(Value::String(text)) => json!({ "type": "text", "text": text }),
            block => block.cloned().unwrap_or_default(),
        };
        drop_nulls(&mut content);
        json!({ "role": message.get("role"), "content": content })
    });
    blocks.collect()
}

/// Puts values into the texts of normalized messages: whatever is no text for people or models, or
/// no name of one, stays as it is.
pub(super) fn substitute(messages: &mut Value, values: &mut Values<'_>) -> Result<(), TooLarge> {
    match messages {
        Value::String(text) => *text = values.put_into(text)?,
        Value::Array(list) => {
            for item in list {
                substitute(item, values)?;
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                if !FIXED.contains(&name.as_str()) {
                    substitute(field, values)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_authors_give() {
        let check = |messages: Value, expected: Option<&str>| {
            let broken = check_messages(&messages).err();
            assert_eq!(broken.as_deref(), expected, "{messages}");
        };
        let text = json!({ "type": "text", "text": "t" });
        check(json!([]), None);
        check(json!([{ "role": "user", "content": "t" }]), None);
        check(json!([{ "role": "assistant", "content": text }]), None);
        let rule = " must be an array of at most 256 messages";
        check(json!({}), Some(rule));
        check(Value::Array(vec![text.clone(); 257]), Some(rule));
        check(json!(["t"]), Some("[0].role must be user or assistant"));
        let system = json!({ "role": "system", "content": "t" });
        check(json!([system]), Some("[0].role must be user or assistant"));
        check(json!([{ "role": "user" }]), Some("[0].content is missing"));
        let broken = "[0].content.text must be a string";
        check(
            json!([{ "role": "user", "content": { "type": "text" } }]),
            Some(broken),
        );
        check(
            json!([{ "role": "user", "content": [text] }]),
            Some("[0].content must be an object with a type"),
        );
    }

    #[test]
    fn values_stand_in_texts_alone() {
        let audience = json!({ "audience": ["{{a}}"] });
        let image = json!({ "type": "image", "data": "{{a}}", "mimeType": "{{a}}",
            "annotations": audience });
        let link = json!({ "type": "resource_link", "uri": "x:{{a}}", "name": "{{a}}" });
        let mut with_null = image.clone();
        with_null["_meta"] = Value::Null;
        let given = json!([
            { "role": "user", "content": "say {{a}}", "other": 1 },
            { "role": "user", "content": with_null },
            { "role": "assistant", "content": link },
        ]);
        let mut messages = normalized(given);
        let lookup = |name: &str| (name == "a").then_some("type");
        substitute(&mut messages, &mut Values::new(&lookup)).unwrap();
        let text = json!({ "type": "text", "text": "say type" });
        let link = json!({ "type": "resource_link", "uri": "x:type", "name": "type" });
        let expected = json!([
            { "role": "user", "content": text },
            { "role": "user", "content": image },
            { "role": "assistant", "content": link },
        ]);
        assert_eq!(messages, expected);
    }
}
