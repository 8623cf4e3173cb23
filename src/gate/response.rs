//! Answers of a private server on their way to the client: where they end, and the head the client
//! gets instead. Pure.

use super::chunked::Decoder;
use super::head::has_prefix;
use super::limits::{MAX_HEAD_BYTES, MAX_HEADERS};
use std::io::Write as _;

/// The field of an answer in whose place a stream was opened. Clients neither send nor see it.
const STREAM_MARK: &str = "X-Gate-Stream";

/// The private server's answer cannot be relayed; its connection is of no further use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadAnswer;

/// What the request says about its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    /// HEAD: the answer has no body whatever its head says.
    pub(super) head_only: bool,
    /// HTTP/1.0: the answer must not be chunked; closing ends it.
    pub(super) is_http_10: bool,
}

#[derive(Debug)]
enum Stage {
    Head,
    Length(u64),
    Chunked(Decoder),
    Done,
}

/// The relay of one answer.
#[derive(Debug)]
pub(super) struct AnswerRelay {
    asked: Asked,
    stage: Stage,
    /// The head while it is incomplete.
    head: Vec<u8>,
    is_by_stream: bool,
}

impl AnswerRelay {
    pub(super) fn new(asked: Asked) -> Self {
        Self {
            asked,
            stage: Stage::Head,
            head: Vec::new(),
            is_by_stream: false,
        }
    }

    /// Whether the client is answered by a stream, and not by this.
    pub(super) fn is_by_stream(&self) -> bool {
        self.is_by_stream
    }

    /// Whether the head is still to come, so that nothing was written for the client yet.
    pub(super) fn awaits_head(&self) -> bool {
        matches!(self.stage, Stage::Head)
    }

    /// Whether more of the answer will follow without anybody's doing, so that sending may wait for
    /// it.
    pub(super) fn more_is_near(&self) -> bool {
        matches!(self.stage, Stage::Length(_))
    }

    /// Whether the answer is complete.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// Appends to `out` what the client gets for `input`; `closes` is asked once, when the head is
    /// complete, and adds `Connection: close`. Returns how much of `input` was used: all of it,
    /// unless the answer ends before.
    pub(super) fn advance(
        &mut self,
        input: &[u8],
        closes: bool,
        out: &mut Vec<u8>,
    ) -> Result<usize, BadAnswer> {
        if !self.awaits_head() {
            return self.relay_body(input, out);
        }
        // The usual case: the whole head in the first bytes, never copied.
        let (known, mut head) = (self.head.len(), std::mem::take(&mut self.head));
        let bytes = if known == 0 {
            input
        } else {
            head.extend_from_slice(input);
            &head
        };
        if let Some(used) = self.relay_head(bytes, closes, out)? {
            let body = bytes.get(used..).unwrap_or_default();
            return Ok(used - known + self.relay_body(body, out)?);
        }
        if known == 0 {
            head.extend_from_slice(input);
        }
        self.head = head;
        if self.head.len() > MAX_HEAD_BYTES {
            return Err(BadAnswer);
        }
        Ok(input.len())
    }

    /// Rewrites the head if `input` has all of it; returns its length.
    fn relay_head(
        &mut self,
        input: &[u8],
        closes: bool,
        out: &mut Vec<u8>,
    ) -> Result<Option<usize>, BadAnswer> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut fields);
        let used = match response.parse(input) {
            Ok(httparse::Status::Complete(used)) => used,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(BadAnswer),
        };
        let status = response.code.unwrap_or_default();
        let (mut length, mut chunked) = (None, false);
        for field in response.headers.iter() {
            if field.name.eq_ignore_ascii_case("content-length") {
                let text = str::from_utf8(field.value).map_err(|_| BadAnswer)?;
                length = Some(text.parse().map_err(|_| BadAnswer)?);
            }
            chunked |= field.name.eq_ignore_ascii_case("transfer-encoding");
            self.is_by_stream |= field.name.eq_ignore_ascii_case(STREAM_MARK);
        }
        let bodiless = matches!(status, 204 | 304);
        self.stage = match (length, chunked) {
            _ if status < 200 => return Err(BadAnswer),
            _ if bodiless || self.asked.head_only => Stage::Done,
            (_, true) => Stage::Chunked(Decoder::new(usize::MAX)),
            (Some(0), false) => Stage::Done,
            (Some(length), false) => Stage::Length(length),
            (None, false) => return Err(BadAnswer),
        };
        let reason = response.reason.unwrap_or_default();
        let _ = write!(out, "HTTP/1.1 {status} {reason}\r\n");
        for field in response.headers.iter() {
            if self.passes(field.name, bodiless) {
                out.extend_from_slice(field.name.as_bytes());
                out.extend_from_slice(b": ");
                out.extend_from_slice(field.value);
                out.extend_from_slice(b"\r\n");
            }
        }
        if closes || self.asked.is_http_10 {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
        Ok(Some(used))
    }

    fn passes(&self, name: &str, bodiless: bool) -> bool {
        let named = |other| name.eq_ignore_ascii_case(other);
        let framing = (named("transfer-encoding") && (bodiless || self.asked.is_http_10))
            || (named("content-length") && bodiless);
        let hop = named("connection") || named("keep-alive") || named("trailer");
        !framing && !hop && !named("upgrade") && !has_prefix(name, "x-gate-")
    }

    fn relay_body(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, BadAnswer> {
        let used = match &mut self.stage {
            Stage::Head => return Err(BadAnswer),
            Stage::Done => 0,
            Stage::Length(left) => {
                let wanted = usize::try_from(*left).unwrap_or(usize::MAX);
                let data = input.get(..wanted).unwrap_or(input);
                out.extend_from_slice(data);
                *left -= u64::try_from(data.len()).unwrap_or(*left);
                if *left == 0 {
                    self.stage = Stage::Done;
                }
                data.len()
            }
            Stage::Chunked(decoder) => {
                let is_http_10 = self.asked.is_http_10;
                let decoded = &mut |data: &[u8]| {
                    if is_http_10 {
                        out.extend_from_slice(data);
                    }
                };
                let used = decoder.decode(input, decoded).map_err(|_| BadAnswer)?;
                let done = decoder.is_done();
                if !is_http_10 {
                    out.extend_from_slice(input.get(..used).unwrap_or_default());
                }
                if done {
                    self.stage = Stage::Done;
                }
                used
            }
        };
        Ok(used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::tests::{every_split, mutated};

    const PLAIN: Asked = Asked {
        head_only: false,
        is_http_10: false,
    };
    const HEAD: Asked = Asked {
        head_only: true,
        is_http_10: false,
    };
    const OLD: Asked = Asked {
        head_only: false,
        is_http_10: true,
    };

    fn relay(parts: &[&[u8]], asked: Asked, closes: bool) -> Result<(String, bool), BadAnswer> {
        let mut relay = AnswerRelay::new(asked);
        let mut out = Vec::new();
        for part in parts {
            relay.advance(part, closes, &mut out)?;
        }
        Ok((String::from_utf8_lossy(&out).into_owned(), relay.is_done()))
    }

    #[test]
    fn answers_at_every_split_point() {
        let check = |asked, closes, input: &str, expected: &str| {
            for parts in every_split(input.as_bytes()) {
                let outcome = relay(&parts, asked, closes);
                assert_eq!(outcome, Ok((expected.to_owned(), true)), "{parts:?}");
            }
            for end in 0..input.len() {
                let (_, done) = relay(&[&input.as_bytes()[..end]], asked, closes).unwrap();
                assert!(!done, "complete after {end} bytes of {input}");
            }
        };
        let fixed = "HTTP/1.1 200 OK\r\nA: b\r\nX-Gate-Stream: 7\r\nContent-Length: 2\r\n\r\n";
        let passed = "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 2\r\n";
        check(
            PLAIN,
            false,
            &format!("{fixed}ok"),
            &format!("{passed}\r\nok"),
        );
        check(
            PLAIN,
            true,
            &format!("{fixed}ok"),
            &format!("{passed}Connection: close\r\n\r\nok"),
        );
        check(HEAD, false, fixed, &format!("{passed}\r\n"));
        check(
            PLAIN,
            false,
            "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nConnection: x\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
        );
        check(
            PLAIN,
            false,
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        );
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                       2\r\nok\r\n1\r\n!\r\n0\r\n\r\n";
        check(PLAIN, false, chunked, chunked);
        check(
            OLD,
            false,
            chunked,
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok!",
        );
    }

    #[test]
    fn what_follows_an_answer_is_left() {
        let fixed = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n0\r\n\r\n";
        let empty = "HTTP/1.1 204 No Content\r\n\r\n";
        for answer in [fixed, chunked, empty] {
            let input = format!("{answer}HTTP/1.1");
            for begin in 0..answer.len() {
                let mut relay = AnswerRelay::new(PLAIN);
                let (first, second) = input.as_bytes().split_at(begin);
                let mut out = Vec::new();
                assert_eq!(relay.advance(first, false, &mut out), Ok(begin));
                assert!(!relay.is_done());
                let used = relay.advance(second, false, &mut out);
                assert_eq!((used, relay.is_done()), (Ok(answer.len() - begin), true));
                assert_eq!(relay.advance(b"H", false, &mut out), Ok(0));
            }
        }
    }

    #[test]
    fn what_cannot_be_relayed_is_an_error() {
        for input in [
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz",
            "nonsense\r\n\r\n",
        ] {
            assert_eq!(
                relay(&[input.as_bytes()], PLAIN, false),
                Err(BadAnswer),
                "{input}"
            );
        }
        let endless = vec![b'a'; MAX_HEAD_BYTES + 1];
        let parts: [&[u8]; 2] = [b"HTTP/1.1 200 OK\r\nA: ", &endless];
        assert_eq!(relay(&parts, PLAIN, false), Err(BadAnswer));
    }

    #[test]
    fn mutated_answers_do_not_grow() {
        let valid = b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 5\r\n\r\nhello";
        for input in mutated(valid, 20_000) {
            if let Ok((out, _)) = relay(&[&input], PLAIN, true) {
                assert!(out.len() < 4 * valid.len());
            }
        }
    }
}
