//! From an act to its line: secrets taken out, texts clipped, and the SHA-256 chain. A line's hash
//! covers every byte of the line before it, `prev` among them. No I/O.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::event::{ActResult, Event};
use crate::base::ids::{hex, unhex};
use crate::base::secret::Secret;
use crate::base::text::clip;

const REDACTED: &str = "[REDACTED]";
/// Keys whose values nobody may read, as they are without case and separators.
const SENSITIVE: &[&str] = &[
    "token",
    "password",
    "secret",
    "authorization",
    "cookie",
    "apikey",
    "bearer",
    "credential",
];
/// Shorter secrets are not looked for: they would turn up in every other word.
const MIN_SECRET_BYTES: usize = 4;

/// Before the hash at the end of a line.
const HASH_KEY: &str = r#","hash":""#;
/// After the hash.
const HASH_END: &str = "\"}";
const HASH_DIGITS: usize = 64;

/// Bytes of a line that are not the act's own: sequence, time, instance, chain, and the mark of a
/// break without its text.
pub(super) const FRAME_BYTES: usize = 600;
/// Longest name of an instance.
const MAX_INSTANCE_BYTES: usize = 64;
/// How long one text may be in a line, tried in this order until all fits.
const TEXT_LIMITS: [usize; 5] = [4096, 1024, 256, 64, 16];

/// Takes secrets out of whatever is to be written.
#[derive(Default)]
pub(super) struct Redactor {
    /// Longest first: one may be a part of another.
    secrets: Vec<String>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Redactor({} secrets)", self.secrets.len())
    }
}

impl Redactor {
    pub(super) fn new(secrets: &[Secret]) -> Self {
        let long_enough = |secret: &&Secret| secret.reveal().len() >= MIN_SECRET_BYTES;
        let mut secrets: Vec<String> = secrets
            .iter()
            .filter(long_enough)
            .map(|secret| secret.reveal().to_owned())
            .collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { secrets }
    }

    pub(super) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut clean = Cow::Borrowed(text);
        for secret in &self.secrets {
            if clean.contains(secret.as_str()) {
                clean = Cow::Owned(clean.replace(secret.as_str(), REDACTED));
            }
        }
        clean
    }

    fn value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(&text).into_owned()),
            Value::Array(items) => items.into_iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) => Value::Object(self.map(fields)),
            plain => plain,
        }
    }

    fn map(&self, fields: Map<String, Value>) -> Map<String, Value> {
        let clean = |(key, value): (String, Value)| match is_sensitive(&key) {
            true => (self.text(&key).into_owned(), json!(REDACTED)),
            false => (self.text(&key).into_owned(), self.value(value)),
        };
        fields.into_iter().map(clean).collect()
    }
}

fn is_sensitive(key: &str) -> bool {
    let letters = key.chars().filter(|c| c.is_alphanumeric());
    let plain: String = letters.flat_map(char::to_lowercase).collect();
    SENSITIVE.iter().any(|word| plain.contains(word))
}

/// The act's own part of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Body {
    /// `"action":…` to `"requestId":…`.
    head: String,
    /// An object.
    details: String,
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

fn json_text(value: &Value) -> String {
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
fn shorten(text: &str, limit: usize) -> String {
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

/// Why the next line does not simply follow the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChainBreak {
    /// In one word.
    pub(super) reason: &'static str,
    /// Acts that could not be written since.
    pub(super) unrecorded: u64,
    /// The end of a line that was never finished, taken out of the file.
    pub(super) torn: Option<Torn>,
}

/// A line that was never finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Torn {
    bytes: usize,
    digest: String,
    text: String,
}

impl Torn {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let beginning = bytes.get(..4096).unwrap_or(bytes);
        Self {
            bytes: bytes.len(),
            digest: format!("sha256:{}", hex(&Sha256::digest(bytes))),
            text: String::from_utf8_lossy(beginning).into_owned(),
        }
    }
}

impl ChainBreak {
    pub(super) fn new(reason: &'static str) -> Self {
        Self {
            reason,
            unrecorded: 0,
            torn: None,
        }
    }

    /// The object, of the text of the torn line as much as fits into `room` bytes.
    fn json(&self, after_seq: u64, room: usize) -> String {
        let mut object = json!({ "reason": self.reason, "afterSeq": after_seq });
        if let Value::Object(fields) = &mut object {
            if self.unrecorded > 0 {
                fields.insert("unrecorded".to_owned(), json!(self.unrecorded));
            }
            if let Some(torn) = &self.torn {
                let room = room.saturating_sub(64);
                fields.insert("tornBytes".to_owned(), json!(torn.bytes));
                fields.insert("tornDigest".to_owned(), json!(torn.digest));
                fields.insert("tornText".to_owned(), json!(shorten(&torn.text, room)));
            }
        }
        json_text(&object)
    }
}

/// Where the chain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// Of the last line; 0 before the first.
    pub(super) seq: u64,
    /// Of the last line; zeros before the first.
    pub(super) hash: [u8; 32],
}

impl Chain {
    /// Before the first line.
    pub(super) const START: Self = Self {
        seq: 0,
        hash: [0; 32],
    };

    /// The next line with its line end; the chain then stands at it.
    pub(super) fn seal(
        &mut self,
        body: &Body,
        time: &str,
        instance: &str,
        broken: Option<&ChainBreak>,
        max_event_bytes: usize,
    ) -> String {
        let after = self.seq;
        self.seq = self.seq.saturating_add(1);
        let instance = json_text(&json!(clip(instance, MAX_INSTANCE_BYTES)));
        let taken = body.head.len() + body.details.len() + FRAME_BYTES;
        let details = match broken {
            None => Cow::Borrowed(&body.details),
            Some(broken) => {
                let room = max_event_bytes.saturating_sub(taken);
                let rest = body.details.strip_prefix('{').unwrap_or_default();
                let comma = if rest == "}" { "" } else { "," };
                let mark = broken.json(after, room);
                Cow::Owned(format!("{{\"chainBreak\":{mark}{comma}{rest}"))
            }
        };
        let mut line = format!(
            r#"{{"seq":{},"ts":"{time}","instance":{instance},{},"details":{details},"prev":"{}""#,
            self.seq,
            body.head,
            hex(&self.hash),
        );
        self.hash = Sha256::digest(line.as_bytes()).into();
        line.push_str(HASH_KEY);
        line.push_str(&hex(&self.hash));
        line.push_str(HASH_END);
        line.push('\n');
        line
    }
}

/// A line that is what its hash says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) seq: u64,
    pub(super) prev: [u8; 32],
    pub(super) hash: [u8; 32],
    pub(super) action: String,
    /// What its `chainBreak` says.
    pub(super) broken: Option<String>,
}

/// Why a line is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineFault {
    /// Not a line of ours.
    Shape,
    /// Changed since it was written.
    Hash,
}

impl LineFault {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Shape => "is no line of an audit log",
            Self::Hash => "was changed: its hash is not that of its text",
        }
    }
}

/// Reads a line without its line end.
pub(super) fn read_line(line: &[u8]) -> Result<Sealed, LineFault> {
    #[derive(Deserialize)]
    struct Fields {
        seq: u64,
        action: String,
        details: Marked,
        prev: String,
        hash: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Marked {
        chain_break: Option<Mark>,
    }
    #[derive(Deserialize)]
    struct Mark {
        reason: String,
    }
    let tail = HASH_KEY.len() + HASH_DIGITS + HASH_END.len();
    let cut = line.len().checked_sub(tail).ok_or(LineFault::Shape)?;
    let (text, end) = line.split_at_checked(cut).ok_or(LineFault::Shape)?;
    if !end.starts_with(HASH_KEY.as_bytes()) {
        return Err(LineFault::Shape);
    }
    let fields: Fields = serde_json::from_slice(line).map_err(|_| LineFault::Shape)?;
    let digest: [u8; 32] = Sha256::digest(text).into();
    // The digits as we write them: capital ones are a change too.
    if fields.hash != hex(&digest) {
        return Err(LineFault::Hash);
    }
    Ok(Sealed {
        seq: fields.seq,
        prev: read_hash(&fields.prev).ok_or(LineFault::Shape)?,
        hash: digest,
        action: fields.action,
        broken: fields.details.chain_break.map(|mark| mark.reason),
    })
}

/// A hash as it is written: 64 hexadecimal digits.
pub(super) fn read_hash(digits: &str) -> Option<[u8; 32]> {
    unhex(digits)?.try_into().ok()
}
