//! What a tool call gives back, in the shapes of the contract (section 4): a value with its text,
//! or a failure that an agent can act on.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::asking::Asked;
use crate::domain::failure::Failure;
use crate::domain::image::UsedImage;
use crate::domain::json::JsonText;

/// The result of `tools/call` (MCP 2026-07-28, `CallToolResult`), before a protocol revision shapes
/// it.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolAnswer {
    /// A JSON array of content blocks.
    pub content: JsonText,
    /// Any JSON value; older revisions take objects only.
    pub structured_content: Option<JsonText>,
    /// Whether the call failed.
    pub is_error: bool,
    /// The image that code ran in, where it did.
    pub image: Option<UsedImage>,
    /// What the client has to answer first; then there is nothing else yet.
    pub asked: Option<Asked>,
}

/// A call that did what it should, in logs and metrics.
pub(super) const OK: &str = "ok";
/// A call that goes on when its client has answered.
pub(super) const INPUT_REQUIRED: &str = "input_required";

fn text_blocks(text: &str) -> JsonText {
    #[derive(Serialize)]
    struct Block<'a> {
        r#type: &'static str,
        text: &'a str,
    }
    let r#type = "text";
    JsonText::from_value(&[Block { r#type, text }])
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl ToolAnswer {
    /// A sentence, and nothing for machines.
    pub(super) fn text(text: &str) -> Self {
        Self {
            content: text_blocks(text),
            structured_content: None,
            is_error: false,
            image: None,
            asked: None,
        }
    }

    /// A value, given as structured content and as its text.
    pub(super) fn value(value: JsonText) -> Self {
        Self {
            content: text_blocks(value.text()),
            structured_content: Some(value),
            is_error: false,
            image: None,
            asked: None,
        }
    }

    /// The value of a run without an `outputSchema`.
    pub(super) fn run_result(value: &JsonText, duration: Duration) -> Self {
        let (result, duration_ms) = (value.text(), millis(duration));
        let text = format!(r#"{{"ok":true,"result":{result},"durationMs":{duration_ms}}}"#);
        match JsonText::parse(text) {
            Ok(wrapped) => Self::value(wrapped),
            Err(error) => unreachable!("JSON around JSON is JSON: {error}"),
        }
    }

    /// Content blocks made by `ctx.content([...])`.
    pub(super) fn blocks(content: JsonText) -> Self {
        Self {
            content,
            structured_content: None,
            is_error: false,
            image: None,
            asked: None,
        }
    }

    /// Questions in place of a result.
    pub(super) fn asked(asked: Asked) -> Self {
        Self {
            content: JsonText::from_value(&json!([])),
            asked: Some(asked),
            structured_content: None,
            is_error: false,
            image: None,
        }
    }

    /// How a call with this answer ended, where it did not fail.
    pub(super) fn outcome(&self) -> &'static str {
        match self.asked {
            None => OK,
            Some(_) => INPUT_REQUIRED,
        }
    }

    /// A failure; the duration where something ran.
    pub(super) fn failure(failure: &Failure, duration: Duration) -> Self {
        let mut error = json!({ "kind": failure.kind, "message": failure.message });
        let mut put = |name: &str, value: Value| {
            if let Some(fields) = error.as_object_mut() {
                fields.insert(name.to_owned(), value);
            }
        };
        if let Some(line) = failure.line {
            put("line", line.into());
        }
        if let Some(column) = failure.column {
            put("column", column.into());
        }
        if let Some(retry) = failure.retry_after_ms {
            put("retryAfterMs", retry.into());
        }
        if !failure.stderr.is_empty() {
            put("stderr", failure.stderr.as_str().into());
        }
        let structured = json!({ "ok": false, "error": error, "durationMs": millis(duration) });
        Self {
            content: text_blocks(&failure_text(failure)),
            structured_content: Some(JsonText::from_value(&structured)),
            is_error: true,
            image: None,
            asked: None,
        }
    }

    /// The same failure with what there is to show all the same.
    pub(super) fn showing(mut self, name: &str, shown: &Value) -> Self {
        let structured = self.structured_content.take();
        let structured = structured.and_then(|text| text.value().ok());
        if let Some(Value::Object(mut fields)) = structured {
            fields.insert(name.to_owned(), shown.clone());
            self.structured_content = Some(JsonText::from_value(&Value::Object(fields)));
        }
        if let Ok(Value::Array(mut blocks)) = self.content.value() {
            blocks.push(json!({ "type": "text", "text": shown.to_string() }));
            self.content = JsonText::from_value(&Value::Array(blocks));
        }
        self
    }
}

/// The essentials in words: many clients show a model the text alone.
fn failure_text(failure: &Failure) -> String {
    let mut text = failure.kind.as_str().to_owned();
    match (failure.line, failure.column) {
        (Some(line), Some(column)) => {
            let _ = write!(text, " at line {line}, column {column}");
        }
        (Some(line), None) => {
            let _ = write!(text, " at line {line}");
        }
        _ => {}
    }
    let _ = write!(text, ": {}", failure.message);
    if let Some(retry) = failure.retry_after_ms {
        let _ = write!(text, "\nretry after {retry} ms");
    }
    if !failure.stderr.is_empty() {
        let _ = write!(text, "\nprinted (its end):\n{}", failure.stderr);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::FailureKind;

    #[test]
    fn a_run_s_value_keeps_its_own_text() {
        let value = JsonText::parse("{\"b\":1.0,\"a\":[]}".to_owned()).unwrap();
        let answer = ToolAnswer::run_result(&value, Duration::from_millis(7));
        let expected = r#"{"ok":true,"result":{"b":1.0,"a":[]},"durationMs":7}"#;
        assert_eq!(answer.structured_content.unwrap().text(), expected);
        assert_eq!(answer.content.value().unwrap()[0]["text"], expected);
    }

    #[test]
    fn a_failure_says_where_and_what() {
        let mut failure = Failure::new(FailureKind::Threw, "boom").retry_after(5);
        failure.line = Some(3);
        failure.column = Some(9);
        failure.stderr = "note".to_owned();
        let answer = ToolAnswer::failure(&failure, Duration::from_millis(2));
        assert!(answer.is_error);
        let expected = json!({"ok": false, "durationMs": 2, "error": {"kind": "threw",
            "message": "boom", "line": 3, "column": 9, "retryAfterMs": 5, "stderr": "note"}});
        assert_eq!(
            answer.structured_content.unwrap().value().unwrap(),
            expected
        );
        let text = "threw at line 3, column 9: boom\nretry after 5 ms\nprinted (its end):\nnote";
        assert_eq!(answer.content.value().unwrap()[0]["text"], text);
    }
}
