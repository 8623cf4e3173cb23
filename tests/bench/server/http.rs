//! One connection and requests on it, over TCP or a Unix socket.

use std::io::{BufReader, Read, Write};

use dynamic_mcp::base::http1::{Body, read_head, write_request};

/// Far above any answer here.
const MAX_BYTES: usize = 64 << 20;

pub(crate) struct Connection<S: Read + Write>(BufReader<S>);

impl<S: Read + Write> Connection<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self(BufReader::new(stream))
    }

    pub(crate) fn request(&mut self, method: &str, target: &str, body: &str) -> (u16, String) {
        self.exchange(method, target, &[], body)
    }

    pub(crate) fn post(
        &mut self,
        target: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> (u16, String) {
        self.exchange("POST", target, fields, body)
    }

    fn exchange(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> (u16, String) {
        let usual = [
            ("Host", "localhost"),
            ("Content-Type", "application/json"),
            ("Accept", "application/json, text/event-stream"),
        ];
        let headers = [&usual, fields].concat();
        write_request(self.0.get_mut(), method, target, &headers, body.as_bytes()).unwrap();
        let head = read_head(&mut self.0).unwrap();
        let body = Body::new(&mut self.0, &head).unwrap();
        let text = String::from_utf8(body.read_all(MAX_BYTES).unwrap()).unwrap();
        (head.status, text)
    }
}
