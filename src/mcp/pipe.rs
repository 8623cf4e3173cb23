//! The one client at the other end of a pipe, its lines, and what is known of them before they are
//! answered: lines are taken in the order in which they come, and answered in any.

use std::sync::{Arc, Mutex, PoisonError};

use super::Server;
use super::classify::Transport;
use super::client_state::ClientState;
use super::in_flight::Flight;
use super::jsonrpc::{Body, Message, RequestId, RpcError, cancelled_id, code, error_text, parse};
use super::outlet::Outlet;
use super::{CANCELLED, Reply};
use crate::tools::{CallContext, Capabilities};

/// A name that no session has.
pub(super) const CLIENT: &str = "pipe";

/// The client: what its handshake settled on, what it set since, and the way to it.
#[derive(Debug)]
pub struct Pipe {
    settled: Mutex<Option<(&'static str, Capabilities)>>,
    state: Mutex<ClientState>,
    outlet: Arc<dyn Outlet>,
}

impl Pipe {
    /// A client that has said nothing yet.
    pub fn new(outlet: Arc<dyn Outlet>) -> Self {
        Self {
            settled: Mutex::default(),
            state: Mutex::default(),
            outlet,
        }
    }

    pub(super) fn settle(&self, revision: &'static str, declared: Capabilities) {
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        *settled = Some((revision, declared));
    }

    /// Revision and capabilities, once there was a handshake.
    pub(super) fn settled(&self) -> Option<(&'static str, Capabilities)> {
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn with_state<T>(&self, act: impl FnOnce(&mut ClientState) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn outlet(&self) -> &dyn Outlet {
        &*self.outlet
    }

    pub(super) fn shared_outlet(&self) -> Arc<dyn Outlet> {
        Arc::clone(&self.outlet)
    }
}

/// A line that was taken from a pipe and is to be answered.
#[derive(Debug)]
pub struct Line {
    bytes: Vec<u8>,
    is_batch: bool,
    flights: Vec<Flight>,
}

impl Line {
    /// Whether its answer may take long: others are then not to wait for it.
    pub fn may_take_long(&self) -> bool {
        !self.flights.is_empty()
    }

    /// What it holds in memory, in bytes.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// An internal error as the answer to each of its requests that may take long.
    pub fn refusal(&self, message: &str) -> String {
        let error = RpcError::new(code::INTERNAL_ERROR, message);
        let texts: Vec<String> = self
            .flights
            .iter()
            .map(|flight| error_text(Some(flight.id().text()), &error))
            .collect();
        match texts.as_slice() {
            [] => error_text(None, &error),
            [one] if !self.is_batch => one.clone(),
            all => format!("[{}]", all.join(",")),
        }
    }
}

impl Server {
    /// Takes the next line. A cancellation takes effect here; requests that may take long are
    /// known from here on, so that a later line can cancel them.
    pub fn take_line(&self, bytes: Vec<u8>) -> Line {
        let (mut is_batch, mut flights) = (false, Vec::new());
        match parse(&bytes) {
            Ok(Body::One(Ok(message))) => flights.extend(self.take(&message)),
            Ok(Body::Batch(messages)) => {
                is_batch = true;
                let messages = messages.iter().filter_map(|message| message.as_ref().ok());
                flights.extend(messages.filter_map(|message| self.take(message)));
            }
            Ok(Body::One(Err(_))) | Err(_) => {}
        }
        Line {
            bytes,
            is_batch,
            flights,
        }
    }

    fn take(&self, message: &Message<'_>) -> Option<Flight> {
        match message {
            Message::Notification { method, params } if method == CANCELLED => {
                if let Some(id) = cancelled_id(*params) {
                    self.in_flight.cancel(CLIENT, &id);
                    self.listeners.cancel_piped(&id);
                }
                None
            }
            Message::Request(request) if !is_quick(&request.method) => {
                let id = RequestId::parse(request.id)?;
                Some(self.in_flight.enter(CLIENT, id, self.new_cancel()))
            }
            _ => None,
        }
    }

    /// Answers a line; `None` where nothing is to be sent.
    pub fn answer_line(
        &self,
        line: &Line,
        pipe: &Pipe,
        context: &CallContext<'_>,
    ) -> Option<String> {
        let flights = &line.flights;
        match self.answer_body(&line.bytes, Transport::Stdio { pipe, flights }, context) {
            Reply::Accepted => None,
            Reply::Message { body, .. } => Some(body),
            Reply::Stream(subscription) => {
                self.listeners.join(subscription, pipe.shared_outlet());
                None
            }
        }
    }
}

/// Methods that are answered from memory in microseconds, in the order of their lines.
fn is_quick(method: &str) -> bool {
    matches!(
        method,
        "initialize" | "ping" | "server/discover" | "subscriptions/listen"
    )
}
