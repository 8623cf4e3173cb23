//! A tiny HTTP/1.1 client with full control of its bytes. Every answer that it reads is checked for
//! what all answers of the server carry.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use super::leaks;

/// Longest wait for bytes of an answer.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) const JSON: (&str, &str) = ("Content-Type", "application/json");
pub(crate) const ACCEPT: (&str, &str) = ("Accept", "application/json");

/// One answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let named = |(found, _): &&(String, String)| found.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .find(named)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// What every answer carries, and what none may.
    fn check(&self) {
        for (name, value) in [
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-store"),
        ] {
            assert_eq!(self.header(name), Some(value), "{name}: {self:?}");
        }
        let id = self.header("x-request-id").unwrap_or_default();
        assert!(!id.is_empty(), "no request id: {self:?}");
        if self.status == 503 && self.header("Retry-After").is_none() {
            // Probes say it without a hint: their readers poll.
            assert!(self.text().contains("not_ready"), "{self:?}");
        }
        if self.header("Content-Type") == Some("application/json") && !self.body.is_empty() {
            let json = self.json();
            let messages = json.as_array().cloned().unwrap_or(vec![json]);
            for message in messages {
                assert_ne!(message.get("id"), Some(&Value::Null), "{self:?}");
            }
        }
    }
}

/// A kept-alive connection.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: BufReader::new(stream),
            address,
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// Sends a request with `Host` and `Content-Length`, unless among the fields.
    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) {
        leaks::note(self.address, fields, body);
        let given = |name: &str| {
            fields
                .iter()
                .any(|(field, _)| field.eq_ignore_ascii_case(name))
        };
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !given("Host") {
            head += &format!("Host: {}\r\n", self.address);
        }
        if !given("Content-Length") && !given("Transfer-Encoding") && !body.is_empty() {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        for (name, value) in fields {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.send(&bytes);
    }

    /// The next answer. Panics when the connection ends before it does.
    pub(crate) fn read(&mut self, to_head: bool) -> Reply {
        self.try_read(to_head)
            .unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    pub(crate) fn try_read(&mut self, to_head: bool) -> std::io::Result<Reply> {
        let ended = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 || !line.ends_with("\r\n") {
                return Err(ended());
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let status = lines.first().and_then(|line| line.split(' ').nth(1));
        let status = status.and_then(|status| status.parse().ok()).unwrap();
        let headers = lines.iter().skip(1).map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_owned(), value.trim().to_owned())
        });
        let mut reply = Reply {
            status,
            headers: headers.collect(),
            body: Vec::new(),
        };
        if (100..200).contains(&status) {
            return Ok(reply);
        }
        assert_eq!(
            reply.header("Transfer-Encoding"),
            None,
            "lengths are known here"
        );
        let length = reply
            .header("Content-Length")
            .map_or(0, |text| text.parse().unwrap());
        if !to_head {
            reply.body = vec![0; length];
            self.stream.read_exact(&mut reply.body)?;
        }
        reply.check();
        Ok(reply)
    }

    /// Whether the server closes the connection without another byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0) | Err(_))
    }

    pub(crate) fn exchange(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        self.request(method, path, fields, body);
        self.read(method == "HEAD")
    }

    /// A POST to the MCP endpoint with the usual fields and these.
    pub(crate) fn post(&mut self, fields: &[(&str, &str)], body: &str) -> Reply {
        let all: Vec<_> = [JSON, ACCEPT]
            .into_iter()
            .chain(fields.iter().copied())
            .collect();
        self.exchange("POST", "/mcp", &all, body.as_bytes())
    }

    /// Sends a stateless `system.health` with the usual fields and these, without awaiting its
    /// answer.
    pub(crate) fn send_health(&mut self, fields: &[(&str, &str)]) {
        let usual = [
            JSON,
            ("MCP-Protocol-Version", "2026-07-28"),
            ("Mcp-Method", "tools/call"),
            ("Mcp-Name", "system.health"),
        ];
        let all: Vec<_> = usual.into_iter().chain(fields.iter().copied()).collect();
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let params = json!({ "name": "system.health", "_meta": meta });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        self.request("POST", "/mcp", &all, body.to_string().as_bytes());
    }

    /// The answer to one legacy request, whole.
    pub(crate) fn rpc(&mut self, method: &str, params: &Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let reply = self.post(&[], &body.to_string());
        assert_eq!(reply.status, 200, "{method} {params}: {reply:?}");
        reply.json()
    }

    /// The result of one tool call, failed or not.
    pub(crate) fn call(&mut self, name: &str, arguments: Value) -> Value {
        let params = json!({ "name": name, "arguments": arguments });
        let answer = self.rpc("tools/call", &params);
        assert!(answer.get("result").is_some(), "{name}: {answer}");
        answer["result"].clone()
    }
}

/// A call as a request's bytes, for those who send it and do not wait.
pub(crate) fn call_body(name: &str, arguments: &Value) -> String {
    let params = json!({ "name": name, "arguments": arguments });
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string()
}

/// `kind: message` of a failed call; beside an `outputSchema` it has its text alone.
pub(crate) fn failure(result: &Value) -> String {
    assert_eq!(result["isError"], true, "it must fail: {result}");
    let text = result["content"][0]["text"].as_str().unwrap();
    match &result["structuredContent"]["error"] {
        Value::Null => text.to_owned(),
        error => {
            let (kind, message) = (error["kind"].as_str(), error["message"].as_str());
            let (kind, message) = (kind.unwrap(), message.unwrap());
            assert!(text.starts_with(kind) && text.contains(message), "{result}");
            format!("{kind}: {message}")
        }
    }
}
