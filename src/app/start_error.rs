//! Why a server does not start, in words that name the mend.

use std::fmt;

use crate::audit::OpenError;
use crate::auth::KeysError;
use crate::engine::jail::JailRefusal;
use crate::http::HttpError;
use crate::registry::StoreError;

/// Why the server does not start.
#[derive(Debug)]
pub enum StartError {
    /// The registry cannot be opened.
    Registry(StoreError),
    /// This instance cannot be made known.
    Instance(std::io::Error),
    /// There is no key to sign sessions with.
    SessionKey(std::io::Error),
    /// There is no key to name installed packages with.
    LayerKey(std::io::Error),
    /// Stdin or stdout cannot be used.
    Stdio(std::io::Error),
    /// The operating system refused something basic.
    System(std::io::Error),
    /// Tokens could never be checked.
    Keys(KeysError),
    /// The audit log cannot be opened.
    Audit(OpenError),
    /// The start itself cannot be audited.
    Unaudited,
    /// The server cannot listen.
    Http(HttpError),
    /// The node engine was asked for, and its jail cannot be.
    Jail(JailRefusal),
    /// The daemon lacks the container runtime that was asked for.
    Runtime {
        /// MCP_SANDBOX_RUNTIME.
        asked: String,
        /// What it has.
        known: Vec<String>,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(error) => write!(formatter, "{error}"),
            Self::Instance(error) => {
                write!(
                    formatter,
                    "this instance cannot be recorded beside the registry: {error}"
                )
            }
            Self::LayerKey(error) => {
                write!(
                    formatter,
                    "layers.key beside the registry cannot be used: {error}"
                )
            }
            Self::SessionKey(error) => {
                write!(
                    formatter,
                    "session.key beside the registry cannot be used: {error}"
                )
            }
            Self::Stdio(error) => write!(formatter, "stdin and stdout cannot be used: {error}"),
            Self::System(error) => write!(formatter, "the system refuses: {error}"),
            Self::Keys(error) => write!(formatter, "{error}"),
            Self::Audit(error) => write!(formatter, "{error}"),
            Self::Unaudited => formatter.write_str(
                "the start cannot be audited; see the log, or set MCP_AUDIT_FAIL_CLOSED=false",
            ),
            Self::Http(error) => write!(formatter, "{error}"),
            Self::Jail(refusal) => write!(formatter, "the node engine cannot run: {refusal}"),
            Self::Runtime { asked, known } => write!(
                formatter,
                "the Docker daemon has no container runtime {asked} (MCP_SANDBOX_RUNTIME); it has: \
                 {}",
                known.join(", ")
            ),
        }
    }
}

impl std::error::Error for StartError {}
