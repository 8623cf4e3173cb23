//! From the bytes a client sent to complete requests, one at a time. Pure: knows no socket and no
//! clock.

use super::answer::Refusal;
use super::chunked::{ChunkError, Decoder};
use super::head::{Framing, Head, Origin, Rejected, head_end};

/// A complete request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) head: Head,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// Bytes occupied.
    pub(super) fn held_bytes(&self) -> usize {
        self.head.held_bytes() + self.body.capacity()
    }
}

/// What the bytes so far amount to.
#[derive(Debug)]
pub(super) enum Progress {
    /// More bytes are needed.
    Incomplete,
    /// More bytes are needed, and the client waits for `100 Continue` before it sends them. Said
    /// once.
    Continue,
    Complete(Request),
    /// The request is refused and where the next one would start is unknown.
    Refused(Rejected),
}

/// Which deadline applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing of a next request is here.
    Idle,
    Head,
    Body,
}

/// Unread bytes of one connection and the request they are becoming.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    buffer: Vec<u8>,
    /// Where in `buffer` the unused bytes start.
    start: usize,
    /// Unused bytes already searched for the end of the head.
    scanned: usize,
    /// The one empty line allowed before a request line was skipped (RFC 9112 §2.2).
    skipped_line: bool,
    open: Option<Open>,
}

/// A request whose head is complete.
#[derive(Debug)]
struct Open {
    head: Head,
    body: Vec<u8>,
    decoder: Decoder,
    said_continue: bool,
}

impl Inbox {
    /// Adds bytes from the client. They are looked at by [`Inbox::advance`].
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes occupied.
    pub(super) fn held_bytes(&self) -> usize {
        let open = self.open.as_ref();
        self.buffer.capacity()
            + open.map_or(0, |open| open.body.capacity() + open.head.held_bytes())
    }

    /// Which part of a request is missing; exact after [`Inbox::advance`] said `Incomplete`.
    pub(super) fn phase(&self) -> Phase {
        match (&self.open, self.unused().is_empty()) {
            (Some(_), _) => Phase::Body,
            (None, true) => Phase::Idle,
            (None, false) => Phase::Head,
        }
    }

    /// The request id and whether the method is HEAD, of a request whose body is still coming.
    pub(super) fn open_head(&self) -> Option<&Head> {
        self.open.as_ref().map(|open| &open.head)
    }

    /// Goes on until a request is complete or bytes are missing.
    pub(super) fn advance(&mut self, max_body_bytes: usize, origin: Origin<'_>) -> Progress {
        if self.open.is_none() {
            match self.take_head(max_body_bytes, origin) {
                Ok(Some(open)) => self.open = Some(open),
                Ok(None) => return Progress::Incomplete,
                Err(rejected) => return Progress::Refused(rejected),
            }
        }
        let Some(mut open) = self.open.take() else {
            return Progress::Incomplete;
        };
        match self.take_body(&mut open) {
            Ok(true) => {
                self.skipped_line = false;
                self.shrink();
                Progress::Complete(Request {
                    head: open.head,
                    body: open.body,
                })
            }
            Ok(false) => {
                self.shrink();
                let says_continue = open.head.expects_continue && !open.said_continue;
                open.said_continue = true;
                self.open = Some(open);
                if says_continue {
                    Progress::Continue
                } else {
                    Progress::Incomplete
                }
            }
            Err(refusal) => Progress::Refused(Rejected {
                refusal,
                request_id: open.head.request_id,
            }),
        }
    }

    fn unused(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Gives memory back as soon as nothing is in it: an idle connection holds none.
    fn shrink(&mut self) {
        if self.unused().is_empty() {
            self.buffer = Vec::new();
            self.start = 0;
        }
    }

    fn take_head(
        &mut self,
        max_body_bytes: usize,
        origin: Origin<'_>,
    ) -> Result<Option<Open>, Rejected> {
        if !self.skipped_line && self.unused().starts_with(b"\r\n") {
            self.start += 2;
            self.scanned = 0;
            self.skipped_line = true;
            self.shrink();
        }
        let unused = self.buffer.get(self.start..).unwrap_or_default();
        let Some(length) = head_end(unused, self.scanned)? else {
            self.scanned = unused.len();
            return Ok(None);
        };
        let head = Head::parse(unused.get(..length).unwrap_or_default(), origin)?;
        if matches!(head.framing, Framing::Length(bytes) if bytes > max_body_bytes) {
            return Err(Rejected {
                refusal: Refusal::BodyTooLarge,
                request_id: head.request_id,
            });
        }
        self.start += length;
        self.scanned = 0;
        Ok(Some(Open {
            head,
            body: Vec::new(),
            decoder: Decoder::new(max_body_bytes),
            said_continue: false,
        }))
    }

    /// Moves what is here of the body; true when it is whole.
    fn take_body(&mut self, open: &mut Open) -> Result<bool, Refusal> {
        let unused = self.buffer.get(self.start..).unwrap_or_default();
        match open.head.framing {
            Framing::None => Ok(true),
            Framing::Length(total) => {
                let missing = total - open.body.len();
                let here = unused.get(..missing).unwrap_or(unused);
                open.body.extend_from_slice(here);
                self.start += here.len();
                Ok(open.body.len() == total)
            }
            Framing::Chunked => {
                let sink = &mut |data: &[u8]| open.body.extend_from_slice(data);
                match open.decoder.decode(unused, sink) {
                    Ok(used) => self.start += used,
                    Err(ChunkError::TooLarge) => return Err(Refusal::BodyTooLarge),
                    Err(ChunkError::Malformed) => {
                        return Err(Refusal::Malformed("chunked body is not well-formed"));
                    }
                }
                Ok(open.decoder.is_done())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::tests::{every_split, mutated};
    use std::net::{IpAddr, Ipv4Addr};

    const ORIGIN: Origin<'static> = Origin {
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        trusted_proxies: &[],
    };

    /// Feeds the parts and notes every step: bodies of complete requests, `100`, or a refusal.
    fn feed(parts: &[&[u8]], max_body_bytes: usize) -> Vec<String> {
        let mut inbox = Inbox::default();
        let mut steps = Vec::new();
        for part in parts {
            inbox.push(part);
            loop {
                match inbox.advance(max_body_bytes, ORIGIN) {
                    Progress::Incomplete => break,
                    Progress::Continue => steps.push("100".to_owned()),
                    Progress::Complete(Request { head, body }) => {
                        let body = String::from_utf8_lossy(&body);
                        steps.push(format!("{} {} {body}", head.method(), head.target()));
                    }
                    Progress::Refused(rejected) => {
                        steps.push(format!("{:?}", rejected.refusal));
                        return steps;
                    }
                }
            }
        }
        if inbox.phase() == Phase::Idle {
            assert_eq!(inbox.held_bytes(), 0, "an idle connection holds memory");
        }
        steps
    }

    #[test]
    fn requests_at_every_split_point() {
        let check = |input: &str, expected: &[&str]| {
            for parts in every_split(input.as_bytes()) {
                assert_eq!(feed(&parts, 16), expected, "{parts:?}");
            }
        };
        check("GET / HTTP/1.1\r\nHost: h\r\n\r\n", &["GET / "]);
        check("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", &["GET / "]);
        check(
            "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody\
             POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
             4\r\nbody\r\n2\r\n!!\r\n0\r\n\r\n\
             GET /c HTTP/1.1\r\nHost: h\r\n\r\nGET /unfinished",
            &["POST /a body", "POST /b body!!", "GET /c "],
        );
        check(
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
            &["POST / "],
        );
    }

    #[test]
    fn a_second_empty_line_before_a_request_is_refused() {
        let steps = feed(
            &[b"\r\n", b"\r\n", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"],
            16,
        );
        assert_eq!(steps, ["Malformed(\"request line is empty\")"]);
    }

    #[test]
    fn continue_is_said_once_and_only_when_awaited() {
        let head =
            "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
        let parts: [&[u8]; 3] = [head.as_bytes(), b"bo", b"dy"];
        assert_eq!(feed(&parts, 16), ["100", "POST / body"]);
        let at_once = format!("{head}body");
        assert_eq!(feed(&[at_once.as_bytes()], 16), ["POST / body"]);
        assert_eq!(feed(&parts, 3), ["BodyTooLarge"]);
    }

    #[test]
    fn bodies_up_to_the_limit_and_one_beyond() {
        let check = |bytes: usize, expected: &str| {
            let body = "x".repeat(bytes);
            let fixed =
                format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {bytes}\r\n\r\n{body}");
            assert_eq!(feed(&[fixed.as_bytes()], 16), [expected]);
            let chunked = format!(
                "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
                 1\r\nx\r\n{:x}\r\n{}\r\n0\r\n\r\n",
                bytes - 1,
                &body[1..]
            );
            assert_eq!(feed(&[chunked.as_bytes()], 16), [expected]);
        };
        check(16, &format!("POST / {}", "x".repeat(16)));
        check(17, "BodyTooLarge");
    }

    #[test]
    fn a_head_of_the_limit_and_one_byte_more() {
        let check = |bytes: usize, expected: &str| {
            let mut input = String::from("GET / HTTP/1.1\r\nHost: h\r\nX: \r\n\r\n");
            let padding = "x".repeat(bytes - input.len());
            input.insert_str(input.len() - 4, &padding);
            for part_bytes in [1, 7, input.len()] {
                let parts: Vec<&[u8]> = input.as_bytes().chunks(part_bytes).collect();
                assert_eq!(feed(&parts, 16), [expected]);
            }
        };
        check(16 * 1024, "GET / ");
        check(16 * 1024 + 1, "HeadTooLarge");
    }

    #[test]
    fn mutated_requests_are_answered_or_refused() {
        let valid = b"POST /a?b=c HTTP/1.1\r\nHost: localhost:80\r\nX-Request-Id: 1\r\n\
            Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n\
            GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
        for input in mutated(valid, 20_000) {
            for step in feed(&[&input], 8) {
                assert!(step.len() < 2 * valid.len(), "{step}");
            }
        }
    }
}
