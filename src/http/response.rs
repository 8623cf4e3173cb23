//! Answers: a status, a body, and the fields that every answer of ours carries. Nothing of a
//! request gets into a field unless it is visible ASCII.

use std::io::Cursor;

use tiny_http::{Header, Request, Response, StatusCode};

use crate::base::ids::random_hex;
use crate::mcp::error_without_id;

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

    /// Sends it. A client that is gone is no error.
    pub(super) fn send(self, request: Request, request_id: &str) {
        let mut fields = self.fields;
        if !self.content_type.is_empty() {
            fields.push(("Content-Type", self.content_type.to_owned()));
        }
        fields.push(("x-request-id", request_id.to_owned()));
        fields.push(("X-Content-Type-Options", "nosniff".to_owned()));
        fields.push(("X-Frame-Options", "DENY".to_owned()));
        fields.push(("Referrer-Policy", "no-referrer".to_owned()));
        fields.push(("Cache-Control", "no-store".to_owned()));
        fields.push(("Server", "dynamic-mcp".to_owned()));
        let headers = fields
            .iter()
            .filter_map(|(name, value)| field(name, value))
            .collect();
        let length = self.body.len();
        let response = Response::new(
            StatusCode(self.status),
            headers,
            Cursor::new(self.body),
            Some(length),
            None,
        );
        if let Err(error) = request.respond(response.with_chunked_threshold(usize::MAX)) {
            log::debug!("{request_id}: the answer was not taken: {error}");
        }
    }
}

fn field(name: &str, value: &str) -> Option<Header> {
    is_visible(value)
        .then(|| Header::from_bytes(name, value).ok())
        .flatten()
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
