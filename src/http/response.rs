//! Answers: a status, a body, and the fields that every answer of ours carries. Nothing of a
//! request gets into a field unless it is visible ASCII.

use std::io::Write as _;
use std::time::SystemTime;

use tiny_http::StatusCode;

use crate::base::clock;
use crate::mcp::error_without_id;

/// What every answer carries.
const ALWAYS: [(&str, &str); 5] = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
    ("Server", "dynamic-mcp"),
];

/// A stream of events, and what is said of it to those on its way: compressed it would be held up.
const EVENTS: &str = "text/event-stream";
const KEPT_AS_IT_IS: &str = "no-store, no-transform";

/// What web pages may read.
const EXPOSED_HEADERS: &str = "mcp-session-id, www-authenticate, x-request-id";

/// An answer that is complete but for what every answer carries.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    content_type: &'static str,
    fields: Vec<(&'static str, String)>,
}

impl Answer {
    pub(super) fn empty(status: u16) -> Self {
        Self {
            status,
            body: Vec::new(),
            content_type: "",
            fields: Vec::new(),
        }
    }

    pub(super) fn json(status: u16, body: String) -> Self {
        let body = body.into_bytes();
        Self {
            status,
            body,
            content_type: "application/json",
            fields: Vec::new(),
        }
    }

    pub(super) fn text(content_type: &'static str, body: Vec<u8>) -> Self {
        Self {
            status: 200,
            body,
            content_type,
            fields: Vec::new(),
        }
    }

    /// The head of a stream of events.
    pub(super) fn stream() -> Self {
        Self {
            status: 200,
            body: Vec::new(),
            content_type: EVENTS,
            fields: vec![("X-Accel-Buffering", "no".to_owned())],
        }
    }

    /// What a request is answered with for the gate alone, which answers it by a stream.
    pub(super) fn by_stream() -> Self {
        Self::empty(204).with("X-Gate-Stream", "1")
    }

    /// The same for a web page of that origin.
    #[must_use]
    pub(super) fn with_origin(self, origin: Option<&str>) -> Self {
        match origin {
            Some(origin) => self
                .with("Access-Control-Allow-Origin", origin)
                .with("Access-Control-Expose-Headers", EXPOSED_HEADERS)
                .with("Vary", "Origin"),
            None => self,
        }
    }

    /// Its status line and fields, each with its line end, and nothing about the body's length.
    pub(super) fn into_stream_head(self, request_id: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write_fields(request_id, &mut bytes);
        bytes
    }

    /// An error of the transport, with the HTTP status as its code.
    pub(super) fn error(status: u16, message: &str) -> Self {
        Self::json(status, error_without_id(i32::from(status), message))
    }

    /// The same with one more field.
    #[must_use]
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// Appends all of it to `bytes`; without its body where it answers HEAD.
    pub(super) fn write(self, request_id: &str, is_head: bool, bytes: &mut Vec<u8>) {
        self.write_fields(request_id, bytes);
        if self.status != 204 {
            let _ = write!(bytes, "Content-Length: {}\r\n", self.body.len());
        }
        bytes.extend_from_slice(b"\r\n");
        if !is_head {
            bytes.extend_from_slice(&self.body);
        }
    }

    fn write_fields(&self, request_id: &str, bytes: &mut Vec<u8>) {
        let reason = StatusCode(self.status).default_reason_phrase();
        let date = clock::http_date(SystemTime::now());
        bytes.reserve(512 + self.body.len());
        let _ = write!(
            bytes,
            "HTTP/1.1 {} {reason}\r\nDate: {date}\r\n",
            self.status
        );
        let mut put = |name: &str, value: &str| {
            if is_visible(value) {
                for part in [name, ": ", value, "\r\n"] {
                    bytes.extend_from_slice(part.as_bytes());
                }
            }
        };
        for (name, value) in &self.fields {
            put(name, value);
        }
        if !self.content_type.is_empty() {
            put("Content-Type", self.content_type);
        }
        put("x-request-id", request_id);
        for (name, value) in ALWAYS {
            let value = match name {
                "Cache-Control" if self.content_type == EVENTS => KEPT_AS_IT_IS,
                _ => value,
            };
            put(name, value);
        }
    }
}

fn is_visible(value: &str) -> bool {
    value.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}
