//! Answers that the gate makes itself: why, with which status, in which bytes. Nothing of the
//! request is echoed but a checked request id.

use crate::base::ids;
use std::fmt::Write as _;

/// `Retry-After` of every 503, in seconds.
const RETRY_AFTER_SECONDS: u32 = 1;

/// Sent as soon as a head that asks for it is accepted (RFC 9110 §10.1.1).
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Why the gate answers a client itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Not a request that every HTTP/1.1 party would read alike; says where.
    Malformed(&'static str),
    HeadTimeout,
    BodyTimeout,
    BodyTooLarge,
    UnknownExpectation,
    HeadTooLarge,
    UnknownCoding,
    /// The private server ended the connection instead of answering.
    BackendLost,
    TooManyConnections,
    TooManyFromAddress,
    QueueFull,
    BuffersFull,
    UnsupportedVersion,
}

impl Refusal {
    /// Label and status of every refusal, in the order of [`Refusal::index`].
    pub(super) const REASONS: [(&'static str, u16); 13] = [
        ("malformed", 400),
        ("head_timeout", 408),
        ("body_timeout", 408),
        ("body_too_large", 413),
        ("unknown_expectation", 417),
        ("head_too_large", 431),
        ("unknown_coding", 501),
        ("backend_lost", 502),
        ("too_many_connections", 503),
        ("too_many_from_address", 503),
        ("queue_full", 503),
        ("buffers_full", 503),
        ("unsupported_version", 505),
    ];

    pub(super) fn index(self) -> usize {
        match self {
            Self::Malformed(_) => 0,
            Self::HeadTimeout => 1,
            Self::BodyTimeout => 2,
            Self::BodyTooLarge => 3,
            Self::UnknownExpectation => 4,
            Self::HeadTooLarge => 5,
            Self::UnknownCoding => 6,
            Self::BackendLost => 7,
            Self::TooManyConnections => 8,
            Self::TooManyFromAddress => 9,
            Self::QueueFull => 10,
            Self::BuffersFull => 11,
            Self::UnsupportedVersion => 12,
        }
    }

    pub(super) fn status(self) -> u16 {
        Self::REASONS.get(self.index()).map_or(500, |entry| entry.1)
    }

    fn message(self) -> &'static str {
        match self {
            Self::Malformed(what) => what,
            Self::HeadTimeout => "request head took too long",
            Self::BodyTimeout => "request body took too long",
            Self::BodyTooLarge => "request body too large",
            Self::UnknownExpectation => "only 100-continue is understood in expect",
            Self::HeadTooLarge => "request head too large",
            Self::UnknownCoding => "only chunked is understood in transfer-encoding",
            Self::BackendLost => "request was lost inside the server",
            Self::TooManyConnections => "too many connections, retry later",
            Self::TooManyFromAddress => "too many connections from this address, retry later",
            Self::QueueFull => "too many requests are waiting, retry later",
            Self::BuffersFull => "too many unfinished requests, retry later",
            Self::UnsupportedVersion => "only HTTP/1.0 and HTTP/1.1 are spoken here",
        }
    }

    /// The complete answer. `request_id` is one that [`request_id`](super::head) accepted, or none.
    pub(super) fn answer(self, request_id: Option<&str>, ends: Ends, body: Body) -> Vec<u8> {
        let status = self.status();
        let json = format!(
            r#"{{"jsonrpc":"2.0","error":{{"code":{status},"message":"{}"}}}}"#,
            self.message()
        );
        let made;
        let request_id = match request_id {
            Some(given) => given,
            None => {
                made = ids::random_hex();
                &made
            }
        };
        let mut answer = format!(
            "HTTP/1.1 {status} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             x-request-id: {request_id}\r\nX-Content-Type-Options: nosniff\r\n\
             X-Frame-Options: DENY\r\nReferrer-Policy: no-referrer\r\nCache-Control: no-store\r\n",
            reason_phrase(status),
            json.len()
        );
        if status == 503 {
            let _ = write!(answer, "Retry-After: {RETRY_AFTER_SECONDS}\r\n");
        }
        if ends == Ends::Connection {
            answer.push_str("Connection: close\r\n");
        }
        answer.push_str("\r\n");
        if body == Body::Sent {
            answer.push_str(&json);
        }
        answer.into_bytes()
    }
}

/// What an answer is the end of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// The request only: another may follow.
    Request,
    /// The connection: `Connection: close`.
    Connection,
}

/// Whether an answer carries its body: none to HEAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Sent,
    Withheld,
}

fn reason_phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        408 => "Request Timeout",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_complete_and_honest_about_their_length() {
        let check = |refusal: Refusal, ends, body, expected: &[&str], absent: &[&str]| {
            let answer = refusal.answer(Some("id-1"), ends, body);
            let text = String::from_utf8(answer).unwrap();
            let (head, sent) = text.split_once("\r\n\r\n").unwrap();
            for part in expected {
                assert!(head.contains(part), "{part} not in {head}");
            }
            for part in absent {
                assert!(!head.contains(part), "{part} in {head}");
            }
            if body == Body::Sent {
                assert!(head.contains(&format!("Content-Length: {}", sent.len())));
                let json: serde_json::Value = serde_json::from_str(sent).unwrap();
                assert_eq!(json["error"]["code"], refusal.status());
                assert_eq!(json["jsonrpc"], "2.0");
                assert!(json.get("id").is_none());
            } else {
                assert_eq!(sent, "");
            }
        };
        check(
            Refusal::BodyTooLarge,
            Ends::Connection,
            Body::Sent,
            &[
                "HTTP/1.1 413 Content Too Large\r\n",
                "x-request-id: id-1\r\n",
                "X-Content-Type-Options: nosniff\r\n",
                "X-Frame-Options: DENY\r\n",
                "Referrer-Policy: no-referrer\r\n",
                "Cache-Control: no-store\r\n",
                "Connection: close",
            ],
            &["Retry-After"],
        );
        check(
            Refusal::QueueFull,
            Ends::Request,
            Body::Withheld,
            &["HTTP/1.1 503 Service Unavailable\r\n", "Retry-After: 1"],
            &["Connection"],
        );
    }

    #[test]
    fn every_refusal_has_a_row_of_its_own() {
        let all = [
            Refusal::Malformed("x"),
            Refusal::HeadTimeout,
            Refusal::BodyTimeout,
            Refusal::BodyTooLarge,
            Refusal::UnknownExpectation,
            Refusal::HeadTooLarge,
            Refusal::UnknownCoding,
            Refusal::BackendLost,
            Refusal::TooManyConnections,
            Refusal::TooManyFromAddress,
            Refusal::QueueFull,
            Refusal::BuffersFull,
            Refusal::UnsupportedVersion,
        ];
        let rows: Vec<usize> = all.iter().map(|refusal| refusal.index()).collect();
        assert_eq!(rows, (0..Refusal::REASONS.len()).collect::<Vec<_>>());
        for refusal in all {
            assert_ne!(reason_phrase(refusal.status()), "Error", "{refusal:?}");
        }
    }
}
