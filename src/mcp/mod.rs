//! The Model Context Protocol, knowing no HTTP and no Docker: messages in, replies out. One
//! endpoint serves both eras: handshake revisions up to 2025-11-25, and 2026-07-28, where each
//! request says its own revision.

mod classify;
mod dispatch;
mod jsonrpc;
mod revision;
mod wire;

use std::sync::Arc;

use crate::auth::Denied;
use crate::domain::run::Cancel;
use crate::tools::Tools;

pub use classify::{ClientHeaders, Transport};
pub use jsonrpc::error_without_id;

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
    },
}

/// An MCP server over some transport.
#[derive(Debug)]
pub struct Server {
    tools: Arc<Tools>,
}

impl Server {
    /// A server of these tools.
    pub fn new(tools: Arc<Tools>) -> Self {
        Self { tools }
    }

    /// A flag that ends what one message starts.
    pub fn new_cancel(&self) -> Cancel {
        self.tools.new_cancel()
    }
}
