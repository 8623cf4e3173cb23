//! Answers: a status, a body, and the fields that every answer of ours carries. Nothing of a
//! request gets into a field unless it is visible ASCII.

use std::io::Write as _;
use std::time::SystemTime;

use tiny_http::{Method, Request, StatusCode};

use crate::base::clock;
use crate::base::ids::random_hex;
use crate::mcp::error_without_id;

/// What every answer carries.
const ALWAYS: [(&str, &str); 5] = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
    ("Server", "dynamic-mcp"),
];

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

    /// Sends it, in one write. A client that is gone is no error.
    pub(super) fn send(self, request: Request, request_id: &str) {
        let bytes = self.into_bytes(request_id, *request.method() == Method::Head);
        let mut writer = request.into_writer();
        if let Err(error) = writer.write_all(&bytes).and_then(|()| writer.flush()) {
            log::debug!("{request_id}: the answer was not taken: {error}");
        }
    }

    fn into_bytes(self, request_id: &str, is_head: bool) -> Vec<u8> {
        let reason = StatusCode(self.status).default_reason_phrase();
        let date = clock::http_date(SystemTime::now());
        let mut bytes = Vec::with_capacity(512 + self.body.len());
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
            put(name, value);
        }
        if self.status != 204 {
            let _ = write!(bytes, "Content-Length: {}\r\n", self.body.len());
        }
        bytes.extend_from_slice(b"\r\n");
        if !is_head {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

fn is_visible(value: &str) -> bool {
    value.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

/// The request's own id where it is 1 to 128 visible ASCII characters, else a new one.
pub(super) fn request_id(request: &Request) -> String {
    let given = header(request, "x-request-id");
    let fits =
        |id: &&str| (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    given.filter(fits).map_or_else(random_hex, str::to_owned)
}

/// The first value of a request's field.
pub(super) fn header<'a>(request: &'a Request, name: &'static str) -> Option<&'a str> {
    let found = request
        .headers()
        .iter()
        .find(|header| header.field.equiv(name));
    found.map(|header| header.value.as_str().trim())
}

/// All values of a request's field as the one list that they mean (RFC 9110, section 5.3).
pub(super) fn combined(request: &Request, name: &'static str) -> Option<String> {
    let values: Vec<&str> = request
        .headers()
        .iter()
        .filter(|header| header.field.equiv(name))
        .map(|header| header.value.as_str().trim())
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// Whether a field occurs more than once.
pub(super) fn is_repeated(request: &Request, name: &'static str) -> bool {
    request
        .headers()
        .iter()
        .filter(|header| header.field.equiv(name))
        .count()
        > 1
}
