//! An act's own part of its line: secrets taken out, texts clipped so that the JSON stays whole,
//! control characters escaped. No I/O.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::event::{ActResult, Event};
use super::redaction::Redactor;

/// Bytes of a line that are not the act's own: sequence, time, instance, chain, and the mark of a
/// break without its text.
pub(super) const FRAME_BYTES: usize = 600;
/// How long one text may be in a line, tried in this order until all fits.
const TEXT_LIMITS: [usize; 5] = [4096, 1024, 256, 64, 16];

/// The act's own part of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Body {
    /// `"action":…` to `"requestId":…`.
    pub(super) head: String,
    /// An object.
    pub(super) details: String,
}

impl Body {
    /// At most `max_event_bytes` once it is in its line.
    pub(super) fn new(
        event: &Event,
        result: ActResult,
        details: Map<String, Value>,
        redactor: &Redactor,
        max_event_bytes: usize,
    ) -> Self {
        let actor = &event.actor;
        let [issuer, subject, client] = [&actor.issuer, &actor.subject, &actor.client]
            .map(|text| text.as_deref().map(|text| redactor.text(text)));
        let (target, request) = (
            redactor.text(&event.target),
            redactor.text(&event.request_id),
        );
        let details = Value::Object(redactor.map(details));
        let mut body = Self {
            head: String::new(),
            details: r#"{"clipped":true}"#.to_owned(),
        };
        for limit in TEXT_LIMITS {
            let text = |text: &str| json_text(&Value::String(shorten(text, limit)));
            let known = |value: &Option<Cow<'_, str>>| match value {
                Some(known) => text(known),
                None => "null".to_owned(),
            };
            body.head = format!(
                r#""action":"{}","actor":{{"iss":{},"sub":{},"client":{}}},"target":{},"result":"{}","requestId":{}"#,
                event.action.as_str(),
                known(&issuer),
                known(&subject),
                known(&client),
                text(&target),
                result.as_str(),
                text(&request),
            );
            let shortened = json_text(&shorten_all(&details, limit));
            if body.head.len() + shortened.len() + FRAME_BYTES <= max_event_bytes {
                body.details = shortened;
                return body;
            }
        }
        body
    }
}

pub(super) fn json_text(value: &Value) -> String {
    escape_controls(value.to_string())
}

fn shorten_all(value: &Value, limit: usize) -> Value {
    match value {
        Value::String(text) => Value::String(shorten(text, limit)),
        Value::Array(items) => items.iter().map(|item| shorten_all(item, limit)).collect(),
        Value::Object(fields) => {
            let each =
                |(key, value): (&String, &Value)| (shorten(key, limit), shorten_all(value, limit));
            Value::Object(fields.iter().map(each).collect())
        }
        plain => plain.clone(),
    }
}

/// The beginning of `text` that has at most `limit` bytes in JSON, and how much there was more.
pub(super) fn shorten(text: &str, limit: usize) -> String {
    let mut written = 0;
    let fitting = text.char_indices().find(|(_, c)| {
        written += written_bytes(*c);
        written > limit
    });
    match fitting.and_then(|(at, _)| text.split_at_checked(at)) {
        Some((kept, rest)) => format!("{kept}…[{} bytes more]", rest.len()),
        None => text.to_owned(),
    }
}

/// Bytes of a character in the log.
fn written_bytes(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        _ if c < ' ' || moves_the_cursor(c) => 6,
        _ => c.len_utf8(),
    }
}

/// Characters that a terminal or an editor obeys instead of showing, beyond those that JSON
/// escapes: C1 controls, line and paragraph separators, marks of direction.
fn moves_the_cursor(c: char) -> bool {
    matches!(
        u32::from(c),
        0x7f..=0x9f | 0x61c | 0x200e | 0x200f | 0x2028..=0x202e | 0x2066..=0x2069 | 0xfeff
    )
}

/// In JSON such characters stand in texts only, where an escape means the same.
fn escape_controls(json: String) -> String {
    if !json.chars().any(moves_the_cursor) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        match moves_the_cursor(c) {
            true => escaped.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => escaped.push(c),
        }
    }
    escaped
}
