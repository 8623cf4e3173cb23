//! The client's side of an answer by a stream of events: its head, its chunks, its events.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::leaks;

/// Longest wait for an event.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer that is open.
pub(crate) struct Events {
    stream: BufReader<TcpStream>,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    /// Bytes of the body that are no whole event yet.
    body: String,
    /// The last chunk was read.
    is_over: bool,
    /// Comments so far.
    pub(crate) comments: usize,
}

impl Events {
    /// Sends a request and reads the head of its answer.
    pub(crate) fn open(
        address: SocketAddr,
        method: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> Self {
        leaks::note(address, fields, body.as_bytes());
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut head = format!("{method} /mcp HTTP/1.1\r\nHost: {address}\r\n");
        for (name, value) in fields {
            head += &format!("{name}: {value}\r\n");
        }
        let length = body.len();
        head += &format!("Content-Length: {length}\r\n\r\n");
        stream.write_all((head + body).as_bytes()).unwrap();
        let mut events = Self {
            stream: BufReader::new(stream),
            status: 0,
            headers: Vec::new(),
            body: String::new(),
            is_over: false,
            comments: 0,
        };
        events.read_head();
        events
    }

    fn read_head(&mut self) {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        self.status = line.split(' ').nth(1).unwrap().parse().unwrap();
        loop {
            line.clear();
            self.stream.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            self.headers.push((name.to_owned(), value.to_owned()));
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// What a stream of ours says of itself.
    pub(crate) fn assert_is_stream(&self) {
        assert_eq!(self.status, 200, "{:?}", self.headers);
        for (name, value) in [
            ("Content-Type", "text/event-stream"),
            ("Transfer-Encoding", "chunked"),
            ("Cache-Control", "no-store, no-transform"),
            ("X-Accel-Buffering", "no"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
            ("Referrer-Policy", "no-referrer"),
        ] {
            assert_eq!(self.header(name), Some(value), "{:?}", self.headers);
        }
        assert!(self.header("x-request-id").is_some());
        let hop = |name: &str| name.to_ascii_lowercase().starts_with("x-gate-");
        assert!(!self.headers.iter().any(|(name, _)| hop(name)));
        assert_eq!(self.header("Content-Length"), None);
    }

    /// The next message; `None` at the orderly end of the answer.
    pub(crate) fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.body.split_once("\n\n") {
                let event = event.to_owned();
                self.body = rest.to_owned();
                if event == ":" {
                    self.comments += 1;
                    continue;
                }
                let data = event.strip_prefix("data: ").unwrap();
                assert!(!data.contains('\n'), "one line: {event}");
                return Some(serde_json::from_str(data).unwrap());
            }
            if self.is_over {
                assert_eq!(self.body, "");
                return None;
            }
            self.read_chunk();
        }
    }

    fn read_chunk(&mut self) {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let length = usize::from_str_radix(line.trim_end(), 16).unwrap();
        let mut bytes = vec![0; length + 2];
        self.stream.read_exact(&mut bytes).unwrap();
        assert!(bytes.ends_with(b"\r\n"));
        bytes.truncate(length);
        self.body += &String::from_utf8(bytes).unwrap();
        self.is_over = length == 0;
    }

    /// All messages up to the end.
    pub(crate) fn rest(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// The next message must be this notification; its parameters.
    pub(crate) fn expect(&mut self, method: &str) -> Value {
        let message = self.next().expect("the stream has ended");
        assert_eq!(message["method"], method, "{message}");
        assert_eq!(message.get("id"), None, "{message}");
        message["params"].clone()
    }

    /// Whether the connection ended without the end of the answer.
    pub(crate) fn is_cut(&mut self) -> bool {
        let mut rest = Vec::new();
        let read = self.stream.read_to_end(&mut rest);
        read.is_err() || !rest.ends_with(b"0\r\n\r\n")
    }

    /// Sends another request on the same connection, after the end of this answer.
    pub(crate) fn then(mut self, method: &str, fields: &[(&str, &str)], body: &str) -> Self {
        assert!(self.is_over);
        let mut head = format!("{method} /mcp HTTP/1.1\r\nHost: localhost\r\n");
        for (name, value) in fields {
            head += &format!("{name}: {value}\r\n");
        }
        let length = body.len();
        head += &format!("Content-Length: {length}\r\n\r\n");
        let bytes = (head + body).into_bytes();
        self.stream.get_mut().write_all(&bytes).unwrap();
        self.is_over = false;
        self.headers.clear();
        self.read_head();
        self
    }

    /// The body of an answer that is no stream.
    pub(crate) fn json(&mut self) -> Value {
        let length = self.header("Content-Length").unwrap().parse().unwrap();
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }
}
