//! What can go wrong with a daemon, each with its mend.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::ApiVersion;
use super::credentials::{BadCredential, TlsFault};
use crate::base::http1;
use crate::base::text::clip;
use crate::base::tls::tls_error;

/// The system's words for a full disk (strerror(3)), which daemons pass on.
const NO_SPACE: &str = "no space left on device";
const MAKE_SPACE: &str =
    "; make space on the daemon's disk (docker system df, docker system prune)";

/// A daemon could not be reached, or did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerError {
    /// There is no socket at the path; other sockets that exist are named.
    SocketMissing {
        /// The configured path.
        path: PathBuf,
        /// Sockets of other daemons on this machine.
        others: Vec<PathBuf>,
    },
    /// The socket exists, and this user may not open it.
    PermissionDenied {
        /// The configured path.
        path: PathBuf,
    },
    /// The socket exists, and no daemon listens on it.
    NotListening {
        /// The configured path.
        path: PathBuf,
    },
    /// No address is known for the host.
    HostUnknown(String),
    /// The host cannot be reached, or nothing listens at its port.
    HostUnreachable {
        /// As configured.
        host: String,
        /// As configured.
        port: u16,
        /// What the system says.
        kind: io::ErrorKind,
    },
    /// A file of ours that TLS needs cannot be used.
    Credential(BadCredential),
    /// The two sides do not trust each other.
    Tls(TlsFault),
    /// The connection broke.
    Unreachable(io::ErrorKind),
    /// The daemon did not answer in time.
    TimedOut,
    /// The daemon answered something that is not its API.
    Protocol(&'static str),
    /// The newest API that the daemon serves is too old for us.
    TooOld(ApiVersion),
    /// The oldest API that the daemon still serves is too new for us.
    TooNew(ApiVersion),
    /// The daemon refused.
    Api {
        /// HTTP status.
        status: u16,
        /// The daemon's own words, clipped to 500 bytes.
        message: String,
    },
    /// An image could not be pulled; the daemon's own words, clipped to 500 bytes.
    Pull(String),
}

impl DockerError {
    pub(super) fn api(status: u16, body: &[u8]) -> Self {
        let parsed: Option<serde_json::Value> = serde_json::from_slice(body).ok();
        let message = parsed
            .as_ref()
            .and_then(|value| value.get("message"))
            .and_then(|message| message.as_str())
            .map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
        Self::Api {
            status,
            message: clip(message.trim(), 500).to_owned(),
        }
    }

    pub(super) fn from_io(error: io::Error) -> Self {
        if let Some(error) = tls_error(&error) {
            return Self::Tls(TlsFault::of(error));
        }
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::TimedOut,
            io::ErrorKind::InvalidData => Self::Protocol("its framing is broken"),
            kind => Self::Unreachable(kind),
        }
    }

    /// Whether the daemon itself was not there, as against refusing something.
    pub fn is_unreachable(&self) -> bool {
        !matches!(
            self,
            Self::Api { .. } | Self::Pull(_) | Self::TooOld(_) | Self::TooNew(_)
        )
    }

    /// Whether the daemon may have done what it was asked all the same: it took the request, and
    /// its answer did not come, or not whole.
    pub fn is_in_doubt(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_) | Self::TimedOut | Self::Protocol(_)
        )
    }

    /// Whether the daemon's disk is full.
    pub fn is_out_of_space(&self) -> bool {
        matches!(self, Self::Api { message, .. } if message.contains(NO_SPACE))
    }

    /// Whether the thing asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Api { status: 404, .. })
    }
}

impl From<http1::Error> for DockerError {
    fn from(error: http1::Error) -> Self {
        match error {
            http1::Error::Io(error) => Self::from_io(error),
            http1::Error::Protocol(what) => Self::Protocol(what),
            http1::Error::TooLarge => Self::Protocol("the answer is too large"),
        }
    }
}

impl fmt::Display for DockerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SocketMissing { path, others } => {
                write!(
                    formatter,
                    "no Docker socket at {}: start Docker, or set DOCKER_HOST=unix://…",
                    path.display()
                )?;
                for (index, other) in others.iter().enumerate() {
                    let before = if index == 0 { " (found here: " } else { ", " };
                    write!(formatter, "{before}unix://{}", other.display())?;
                }
                if others.is_empty() {
                    Ok(())
                } else {
                    formatter.write_str(")")
                }
            }
            Self::PermissionDenied { path } => write!(
                formatter,
                "permission denied on {}: add this user to the socket's group (usermod -aG docker \
                 USER, then log in again), or use a rootless daemon through DOCKER_HOST",
                path.display()
            ),
            Self::NotListening { path } => write!(
                formatter,
                "no daemon listens on {}: start Docker (systemctl start docker)",
                path.display()
            ),
            Self::HostUnknown(host) => {
                write!(
                    formatter,
                    "no address is known for {host}: correct DOCKER_HOST"
                )
            }
            Self::HostUnreachable {
                host,
                port,
                kind: io::ErrorKind::ConnectionRefused,
            } => write!(
                formatter,
                "no daemon listens at {host} port {port}: start Docker there (dockerd -H \
                 tcp://…), or correct DOCKER_HOST"
            ),
            Self::HostUnreachable { host, port, kind } => write!(
                formatter,
                "the Docker daemon at {host} port {port} cannot be reached: {kind}"
            ),
            Self::Credential(bad) => write!(formatter, "{bad}"),
            Self::Tls(fault) => write!(formatter, "{fault}"),
            Self::Unreachable(kind) => write!(formatter, "the Docker daemon went away: {kind}"),
            Self::TimedOut => formatter.write_str("the Docker daemon did not answer in time"),
            Self::Protocol(what) => {
                write!(
                    formatter,
                    "this is no Docker daemon, or a proxy spoils its answers: {what}"
                )
            }
            Self::TooOld(newest) => write!(
                formatter,
                "the daemon offers Engine API {newest}; {} or newer is needed: upgrade Docker",
                super::version::OLDEST
            ),
            Self::TooNew(oldest) => write!(
                formatter,
                "the daemon serves Engine API {oldest} and newer alone, and this version of \
                 dynamic-mcp knows it up to {}: upgrade dynamic-mcp",
                super::version::NEWEST
            ),
            Self::Api { status, message } => {
                write!(formatter, "the Docker daemon refused ({status}): {message}")?;
                match self.is_out_of_space() {
                    true => formatter.write_str(MAKE_SPACE),
                    false => Ok(()),
                }
            }
            Self::Pull(message) => write!(
                formatter,
                "the image could not be pulled: {message}; pull or load it on the daemon by hand \
                 (docker pull, docker load)"
            ),
        }
    }
}

impl std::error::Error for DockerError {}
