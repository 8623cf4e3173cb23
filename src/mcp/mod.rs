//! The Model Context Protocol, knowing no HTTP and no Docker: messages in, replies out. One
//! endpoint serves both eras: handshake revisions up to 2025-11-25, and 2026-07-28, where each
//! request says its own revision.

mod asks;
mod calls;
mod capabilities;
mod classify;
mod client_state;
mod completion;
mod contact;
mod dispatch;
mod in_flight;
mod jsonrpc;
mod level;
mod listeners;
mod lists;
mod notes;
mod notifier;
mod outlet;
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

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use crate::auth::{Caller, Denied};
use crate::domain::principal::Principal;
use crate::domain::run::Cancel;
use crate::tools::Tools;
use asks::Asks;
use in_flight::InFlight;
use listeners::{Listeners, Whom};
use lists::Lists;

pub use classify::{ClientHeaders, is_answered_at_once};
pub use jsonrpc::{error_without_id, invalid_request};
pub use listeners::Subscription;
pub use notifier::Notifier;
pub use outlet::Outlet;
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
    /// A stream is to be opened, for [`Server::join`].
    Stream(Subscription),
}

/// Why a client gets no stream for its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoStream {
    /// It names no session, and whom nothing is told needs no stream.
    NoSession,
    /// The session is not one of this caller.
    Unknown,
    /// The session has one.
    Taken,
}

/// An MCP server over some transport.
#[derive(Debug)]
pub struct Server {
    tools: Arc<Tools>,
    sessions: Option<Arc<Sessions>>,
    state_key: SessionKey,
    in_flight: InFlight,
    asks: Asks,
    listeners: Arc<Listeners>,
    lists: Lists,
}

impl Server {
    /// A server of these tools; without `sessions` a handshake begins none. What clients carry from
    /// round to round of a call is signed with `key`.
    pub fn new(tools: Arc<Tools>, sessions: Option<Sessions>, key: SessionKey) -> Self {
        let asks = Asks::new(tools.guard.limits().max_concurrency / 2);
        Self {
            tools,
            sessions: sessions.map(Arc::new),
            state_key: key,
            in_flight: InFlight::default(),
            asks,
            listeners: Arc::default(),
            lists: Lists::default(),
        }
    }

    /// Ends a session, and what it has under way.
    ///
    /// # Errors
    /// [`UnknownSession`].
    pub fn end_session(&self, id: &str, principal: &Principal) -> Result<(), UnknownSession> {
        let sessions = self.sessions.as_ref().ok_or(UnknownSession)?;
        let ended = sessions.end(id, principal, SystemTime::now())?;
        self.listeners.end_session(&ended.id);
        self.in_flight.cancel_all(&ended.id);
        Ok(())
    }

    /// The stream that a session may have opened, one at a time.
    ///
    /// # Errors
    /// [`NoStream`].
    pub fn session_stream(
        &self,
        id: Option<&str>,
        caller: &Caller,
    ) -> Result<Subscription, NoStream> {
        let (Some(sessions), Some(id)) = (&self.sessions, id) else {
            return Err(NoStream::NoSession);
        };
        let session = sessions.find(id, caller.principal(), SystemTime::now());
        let session = session.map_err(|UnknownSession| NoStream::Unknown)?;
        if self.listeners.has_session(&session.id) {
            return Err(NoStream::Taken);
        }
        sessions.with_state(&session.id, |state| state.has_listened = true);
        Ok(Subscription {
            whom: Whom::Session(session.id),
            until: caller.expires(),
        })
    }

    /// Tells one of changes by its stream, from now on and until either end of it goes.
    pub fn join(&self, subscription: Subscription, outlet: Arc<dyn Outlet>) {
        self.listeners.join(subscription, outlet);
    }

    /// Ends all streams of changes, each with its last word; who comes later hears it at once.
    pub fn end_streams(&self) {
        self.listeners.end();
    }

    /// Watches the registry and tells of its changes, until what is returned is dropped. `pipe` is
    /// the one client of a server that has no more.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn watch(&self, pipe: Option<Arc<Pipe>>) -> io::Result<Notifier> {
        notifier::start(notifier::Parts {
            store: Arc::clone(&self.tools.store),
            listeners: Arc::clone(&self.listeners),
            sessions: self.sessions.clone(),
            pipe,
        })
    }

    /// Questions to clients that wait for their answers.
    pub fn waiting_questions(&self) -> usize {
        self.asks.waiting()
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
