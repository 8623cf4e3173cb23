//! The SHA-256 chain: a line's hash covers every byte of the line before it, `prev` among them, and
//! `prev` is the hash of the line before. No I/O.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::record::{Body, FRAME_BYTES, json_text, shorten};
use crate::base::ids::{hex, unhex};
use crate::base::text::clip;

/// Before the hash at the end of a line.
const HASH_KEY: &str = r#","hash":""#;
/// After the hash.
const HASH_END: &str = "\"}";
const HASH_DIGITS: usize = 64;

/// Longest name of an instance.
const MAX_INSTANCE_BYTES: usize = 64;
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
