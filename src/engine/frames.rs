//! The frames spoken with the runner: one JSON object a line, the runner's behind the job's nonce.
//! Pure: bytes in, frames out.

use serde::{Deserialize, Deserializer, Serialize};

use crate::domain::asking::AskKind;
use crate::domain::json::JsonText;

/// What the server sends.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum ToRunner<'a> {
    /// The one job of a cell.
    #[serde(rename_all = "camelCase")]
    Job {
        nonce: &'a str,
        code: &'a str,
        /// JSON text, to be read by the runner's own `JSON.parse`.
        args: &'a str,
        /// Folder with the packages that the code may load; none where `None`.
        #[serde(skip_serializing_if = "Option::is_none")]
        layer: Option<&'a str>,
        result_limit: usize,
        /// Whether what `console` prints is to be told as logs too.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        console: bool,
    },
    /// Code to compile and not to run.
    Check { nonce: &'a str, code: &'a str },
    /// The answer to an `ask`; neither a value nor an error where none comes in this run.
    Answer {
        id: u64,
        /// JSON text, to be read as `args` are.
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a str>,
    },
    /// The call was cancelled; code that listens to `ctx.signal` may tidy up.
    Abort(bool),
}

impl ToRunner<'_> {
    /// The frame as a line.
    pub(super) fn encode(&self) -> Vec<u8> {
        // Serialising text, numbers and checked JSON cannot fail.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// What the runner says.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) enum FromRunner {
    /// It waits for a job.
    Ready {
        node: String,
    },
    /// Whether the job's layer is there: comes first, before the author's code can say anything,
    /// and only for jobs with a layer.
    Layer(bool),
    Log {
        level: String,
        data: JsonText,
    },
    Progress {
        done: Option<f64>,
        total: Option<f64>,
        message: Option<String>,
    },
    Ask {
        id: u64,
        kind: AskKind,
        key: String,
        params: JsonText,
    },
    Done(Done),
    Checked {
        error: Option<CompileError>,
    },
}

/// The end of a job, as the runner claims it.
#[derive(Debug, Deserialize, PartialEq)]
pub(super) struct Done {
    #[serde(default)]
    pub(super) ok: bool,
    /// It waits for answers that do not come in this run.
    #[serde(default)]
    pub(super) waiting: bool,
    #[serde(default, deserialize_with = "present")]
    pub(super) value: Option<JsonText>,
    #[serde(default, deserialize_with = "present")]
    pub(super) content: Option<JsonText>,
    pub(super) kind: Option<ClaimedKind>,
    pub(super) message: Option<String>,
    pub(super) line: Option<u32>,
    pub(super) column: Option<u32>,
}

/// The kinds of failure that a frame may claim; every other kind is the server's own to find.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum ClaimedKind {
    Threw,
    InvalidResult,
    OutputTooLarge,
}

/// A field that is there is there, also when it says `null`.
fn present<'de, D: Deserializer<'de>>(field: D) -> Result<Option<JsonText>, D::Error> {
    JsonText::deserialize(field).map(Some)
}

/// Why code does not compile.
#[derive(Debug, Deserialize, PartialEq)]
pub(super) struct CompileError {
    pub(super) message: String,
    pub(super) line: Option<u32>,
    pub(super) column: Option<u32>,
}

/// Cuts the runner's stream into frames. Lines without the nonce, lines that are no frame, and
/// lines beyond the limit are noise.
#[derive(Debug)]
pub(super) struct FrameReader {
    prefix: Vec<u8>,
    line: Vec<u8>,
    limit: usize,
    overlong: bool,
}

impl FrameReader {
    /// Reads bare frames, such as `ready`; [`FrameReader::expect_nonce`] ends that.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            prefix: Vec::new(),
            line: Vec::new(),
            limit,
            overlong: false,
        }
    }

    /// From now on only lines that start with `nonce` and a space are frames.
    pub(super) fn expect_nonce(&mut self, nonce: &str) {
        self.prefix = format!("{nonce} ").into_bytes();
    }

    /// Takes bytes in; every frame that they complete goes to `take`.
    pub(super) fn read(&mut self, mut bytes: &[u8], take: &mut dyn FnMut(FromRunner)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (head, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            self.append(head);
            if let Some(frame) = self.finish_line() {
                take(frame);
            }
        }
        self.append(bytes);
    }

    fn append(&mut self, bytes: &[u8]) {
        self.overlong |= self.line.len() + bytes.len() > self.limit;
        if self.overlong {
            self.line.clear();
        } else {
            self.line.extend_from_slice(bytes);
        }
    }

    fn finish_line(&mut self) -> Option<FromRunner> {
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.overlong) {
            return None;
        }
        serde_json::from_slice(line.strip_prefix(self.prefix.as_slice())?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chunks: &[&[u8]]) -> Vec<FromRunner> {
        let mut frames = Vec::new();
        let mut reader = FrameReader::new(100);
        reader.expect_nonce("n0");
        for chunk in chunks {
            reader.read(chunk, &mut |frame| frames.push(frame));
        }
        frames
    }

    #[test]
    fn frames_at_every_split_point_between_noise() {
        let stream = b"noise\n{\"done\":{\"ok\":true}}\nn1 {\"done\":{}}\nn0 not json\n\
                       n0 {\"done\":{\"ok\":true,\"value\":[1.0]}}\ntail";
        for split in 0..=stream.len() {
            let (left, right) = stream.split_at(split);
            let frames = read(&[left, right]);
            let [FromRunner::Done(done)] = frames.as_slice() else {
                panic!("{split}: {frames:?}")
            };
            assert_eq!(done.value.as_ref().unwrap().text(), "[1.0]");
        }
    }

    #[test]
    fn a_null_result_is_a_result() {
        let frames = read(&[b"n0 {\"done\":{\"ok\":true,\"value\":null}}\n"]);
        let [FromRunner::Done(done)] = frames.as_slice() else {
            panic!("{frames:?}")
        };
        assert_eq!(done.value.as_ref().unwrap().text(), "null");
        assert_eq!(done.content, None);
    }

    #[test]
    fn overlong_lines_are_noise_up_to_their_end() {
        let long = [b'x'; 101];
        let frames = read(&[
            &long,
            b"n0 {\"done\":{}}\n",
            b"n0 {\"done\":{\"ok\":true}}\n",
        ]);
        assert_eq!(frames.len(), 1);
    }

    #[test]
    fn a_frame_cannot_claim_the_server_s_kinds() {
        for kind in ["timeout", "out_of_memory", "internal", "busy", "policy"] {
            let line = format!("n0 {{\"done\":{{\"kind\":\"{kind}\",\"message\":\"m\"}}}}\n");
            assert_eq!(read(&[line.as_bytes()]), []);
        }
    }

    #[test]
    fn what_is_sent_is_one_line() {
        let job = |layer| ToRunner::Job {
            nonce: "n",
            code: "a\nb",
            args: "{\n}",
            layer,
            result_limit: 5,
            console: false,
        };
        let expected = b"{\"job\":{\"nonce\":\"n\",\"code\":\"a\\nb\",\"args\":\"{\\n}\",\"resultLimit\":5}}\n";
        assert_eq!(job(None).encode(), expected);
        let with_layer = String::from_utf8(job(Some("/layers/x")).encode()).unwrap();
        assert!(with_layer.contains(r#","layer":"/layers/x","resultLimit":5"#));
        assert_eq!(ToRunner::Abort(true).encode(), b"{\"abort\":true}\n");
    }
}
