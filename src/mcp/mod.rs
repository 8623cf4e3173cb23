//! The Model Context Protocol, knowing no HTTP and no Docker: messages in, replies out. One
//! endpoint serves both eras: handshake revisions up to 2025-11-25, and 2026-07-28, where each
//! request says its own revision.

mod calls;
mod classify;
mod completion;
mod dispatch;
mod in_flight;
mod jsonrpc;
mod lists;
mod paging;
mod param_headers;
mod pipe;
mod prompts;
mod rendered;
mod request_state;
mod resources;
mod revision;
mod session_token;
mod sessions;
mod wire;

use std::sync::Arc;
use std::time::SystemTime;

use crate::auth::Denied;
use crate::domain::principal::Principal;
use crate::domain::run::Cancel;
use crate::tools::Tools;
use in_flight::InFlight;
use lists::Lists;

pub use classify::{ClientHeaders, is_answered_at_once};
pub use jsonrpc::{error_without_id, invalid_request};
pub use pipe::{Line, Pipe};
pub use session_token::SessionKey;
pub use sessions::{SessionCounts, Sessions, UnknownSession};

/// The notification by which a client cancels a request of its own.
const CANCELLED: &str = "notifications/cancelled";

/// How a reply went, for the transport that has a status to show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A result, or an error of the method called.
    Answered,
    /// The message or its envelope is wrong.
    Malformed,
    /// A method that this revision does not have.
    UnknownMethod,
    /// The caller's token lacks scopes for it.
    Denied(Box<Denied>),
    /// The session that the request names is not one of this caller.
    UnknownSession,
}

/// What to send back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The message was a notification or an answer: there is nothing to send.
    Accepted,
    /// One JSON text.
    Message {
        /// UTF-8 JSON, one line.
        body: String,
        /// How it went.
        verdict: Verdict,
        /// The id of the session that begins with it; visible ASCII.
        session_id: Option<String>,
    },
}

/// An MCP server over some transport.
#[derive(Debug)]
pub struct Server {
    tools: Arc<Tools>,
    sessions: Option<Sessions>,
    state_key: SessionKey,
    in_flight: InFlight,
    lists: Lists,
}

impl Server {
    /// A server of these tools; without `sessions` a handshake begins none. What clients carry from
    /// round to round of a call is signed with `key`.
    pub fn new(tools: Arc<Tools>, sessions: Option<Sessions>, key: SessionKey) -> Self {
        Self {
            tools,
            sessions,
            state_key: key,
            in_flight: InFlight::default(),
            lists: Lists::default(),
        }
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`UnknownSession`].
    pub fn end_session(&self, id: &str, principal: &Principal) -> Result<(), UnknownSession> {
        let sessions = self.sessions.as_ref().ok_or(UnknownSession)?;
        sessions.end(id, principal, SystemTime::now()).map(|_| ())
    }

    /// Counts of sessions.
    pub fn session_counts(&self) -> SessionCounts {
        let now = SystemTime::now();
        let counts = self.sessions.as_ref().map(|sessions| sessions.counts(now));
        counts.unwrap_or_default()
    }

    /// A flag that ends what one message starts.
    pub fn new_cancel(&self) -> Cancel {
        self.tools.new_cancel()
    }
}
