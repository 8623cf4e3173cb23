//! Docker Engine API client, written by hand over a Unix socket, TCP or TLS (API 1.41 and newer;
//! Podman's service speaks it too). It knows containers and images, nothing of tools; it never
//! calls the docker CLI.
//!
//! A connection serves one exchange: connecting costs microseconds, and a hijacked stream or a dead
//! daemon can then never be met on a kept connection.

mod attach;
mod connect;
mod containers;
mod credentials;
mod error;
mod exec;
mod images;
mod resolve;
mod system;
mod version;

use std::io::{BufReader, Read};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use crate::base::deadline::Deadline;
use crate::base::http1::{self, Body, Head};
use crate::config::DaemonAddress;

pub use attach::{Attached, Output};
pub use containers::{Container, Exit, State};
pub use credentials::{BadCredential, CredentialFault, TlsFault};
pub use error::DockerError;
pub use exec::Command;
pub use images::{Image, PullProgress};
pub use system::{DaemonHost, DaemonInfo};
pub use version::ApiVersion;

use connect::{Road, Socket};

/// Longest JSON answer that is read from the daemon, in bytes.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// A Docker daemon, by its address. Holds no connection; cheap to share.
#[derive(Debug)]
pub struct Daemon {
    road: Road,
    negotiated: Mutex<Option<Negotiated>>,
}

/// What the first exchange with a daemon told.
#[derive(Clone, Copy, Debug)]
struct Negotiated {
    version: ApiVersion,
    is_podman: bool,
}

/// An answer whose body is still to be read.
struct Answer {
    head: Head,
    stream: BufReader<Socket>,
}

impl Daemon {
    /// A client for the daemon at `address`; nothing is sent yet. Below `home` it looks for other
    /// daemons' sockets, to name them when this one is missing.
    pub fn new(address: DaemonAddress, home: Option<PathBuf>) -> Self {
        Self {
            road: Road::new(address, home),
            negotiated: Mutex::new(None),
        }
    }

    /// The API version agreed with the daemon, asked for on the first use and again after the
    /// daemon could not be reached (it may have been replaced).
    fn api_version(&self, deadline: Deadline) -> Result<ApiVersion, DockerError> {
        match self.negotiated() {
            Some(negotiated) => Ok(negotiated.version),
            None => self.info(deadline).map(|info| info.api_version),
        }
    }

    /// Whether the daemon is Podman's service; false while it has not been asked yet.
    pub fn is_podman(&self) -> bool {
        self.negotiated()
            .is_some_and(|negotiated| negotiated.is_podman)
    }

    fn negotiated(&self) -> Option<Negotiated> {
        *self
            .negotiated
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn remember(&self, negotiated: Option<Negotiated>) {
        *self
            .negotiated
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = negotiated;
    }

    /// One exchange on a path without version prefix, which every daemon answers.
    fn unversioned(
        &self,
        method: &str,
        path: &str,
        deadline: Deadline,
    ) -> Result<Value, DockerError> {
        self.send(method, path, &[], b"", deadline)?.json()
    }

    /// One exchange on a versioned path.
    fn exchange(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        deadline: Deadline,
    ) -> Result<Answer, DockerError> {
        let version = self.api_version(deadline)?;
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let headers: &[_] = if body.is_some() {
            &[("Content-Type", "application/json")]
        } else {
            &[]
        };
        self.send(
            method,
            &format!("/v{version}{path}"),
            headers,
            bytes.as_bytes(),
            deadline,
        )
    }

    fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        deadline: Deadline,
    ) -> Result<Answer, DockerError> {
        let sent = self.send_once(method, target, headers, body, deadline);
        if sent.as_ref().is_err_and(DockerError::is_unreachable) {
            self.remember(None);
            self.road.forget_credentials();
        }
        sent
    }

    fn send_once(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        deadline: Deadline,
    ) -> Result<Answer, DockerError> {
        let mut socket = self.road.connect(deadline)?;
        let mut all = vec![("Host", "docker")];
        if !headers.iter().any(|(name, _)| *name == "Connection") {
            all.push(("Connection", "close"));
        }
        all.extend_from_slice(headers);
        // A daemon that refuses early answers and then resets: the answer counts, not the write.
        let written = http1::write_request(&mut socket, method, target, &all, body);
        let mut stream = BufReader::new(socket);
        match (http1::read_head(&mut stream), written) {
            (Ok(head), _) => Ok(Answer { head, stream }),
            (Err(read), written) => match (DockerError::from(read), written) {
                // Over TLS the refusal of our certificate is read.
                (DockerError::Tls(fault), _) => Err(DockerError::Tls(fault)),
                (_, Err(error)) => Err(DockerError::from_io(error)),
                (error, Ok(())) => Err(error),
            },
        }
    }
}

impl Answer {
    fn body(self) -> Result<Body<BufReader<Socket>>, DockerError> {
        Ok(Body::new(self.stream, &self.head)?)
    }

    /// The answer, if its status is a success or 304 (already in that state).
    fn accepted(self) -> Result<Self, DockerError> {
        if (200..300).contains(&self.head.status) || matches!(self.head.status, 101 | 304) {
            return Ok(self);
        }
        let status = self.head.status;
        let bytes = self.body()?.read_all(MAX_ANSWER_BYTES).unwrap_or_default();
        Err(DockerError::api(status, &bytes))
    }

    fn json(self) -> Result<Value, DockerError> {
        let bytes = self.accepted()?.body()?.read_all(MAX_ANSWER_BYTES)?;
        serde_json::from_slice(&bytes).map_err(|_| DockerError::Protocol("the answer is no JSON"))
    }

    /// Reads a success to its end, and drops it.
    fn finish(self) -> Result<(), DockerError> {
        let mut body = self.accepted()?.body()?;
        let mut sink = [0; 4096];
        while body.read(&mut sink).map_err(DockerError::from_io)? > 0 {}
        Ok(())
    }
}

/// How long an ordinary exchange with a healthy daemon may take.
pub const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// Percent-encodes everything but unreserved characters (RFC 3986, section 2.3).
fn encode_component(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_components_are_encoded() {
        assert_eq!(
            encode_component("a/b:1@{\"x\"}~"),
            "a%2Fb%3A1%40%7B%22x%22%7D~"
        );
    }
}
