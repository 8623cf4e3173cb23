//! What clients say beside their calls: notifications, answers to questions of ours, and what they
//! want to be told.

use serde::Deserialize;

use super::classify::{Transport, check_version};
use super::client_state::ClientState;
use super::dispatch::{answered, malformed, read, unknown_session};
use super::jsonrpc::{Request, RequestId, Response, RpcError, cancelled_id, code, error_text};
use super::level::Level;
use super::listeners::{Filter, Subscription, Whom};
use super::session_token::Session;
use super::{CANCELLED, Reply, Server, UnknownSession, Verdict, pipe};
use crate::tools::CallContext;

/// The notification that ends a handshake.
const INITIALIZED: &str = "notifications/initialized";

/// A message that has no answer.
pub(super) enum Note<'a> {
    /// A notification: its method and parameters.
    Said(&'a str, Option<&'a str>),
    /// The answer to a request of ours.
    Answered(Response<'a>),
}

/// The one resource that a request is about.
#[derive(Deserialize)]
struct OfResource {
    uri: String,
}

impl Server {
    /// Takes what has no answer. Over HTTP only a session tells one client's requests and questions
    /// from another's, so without one a cancellation or an answer is taken and does nothing.
    pub(super) fn take_note(
        &self,
        note: &Note<'_>,
        transport: Transport<'_>,
        context: &CallContext<'_>,
    ) -> Reply {
        let headers = match transport {
            Transport::Http { headers, .. } => headers,
            Transport::Stdio { pipe, .. } => {
                match note {
                    // A cancellation took effect when the line was taken.
                    Note::Said(INITIALIZED, _) if pipe.settled().is_some() => {
                        let outlet = pipe.shared_outlet();
                        let subscription = Subscription {
                            whom: Whom::Pipe,
                            until: None,
                        };
                        self.listeners.join(subscription, outlet);
                    }
                    Note::Said(..) => {}
                    Note::Answered(response) => self.take_answer(pipe::CLIENT, response),
                }
                return Reply::Accepted;
            }
        };
        if let Err(error) = check_version(headers) {
            return malformed(None, &error);
        }
        if headers.is_modern() {
            return Reply::Accepted;
        }
        match self.session(transport, context) {
            Err(UnknownSession) => return unknown_session(None),
            Ok(Some(session)) => match note {
                Note::Said(CANCELLED, params) => {
                    if let Some(id) = cancelled_id(*params) {
                        self.in_flight.cancel(&session.id, &id);
                    }
                }
                Note::Said(..) => {}
                Note::Answered(response) => self.take_answer(&session.id, response),
            },
            Ok(None) => {}
        }
        Reply::Accepted
    }

    fn take_answer(&self, client: &str, response: &Response<'_>) {
        self.asks.answer(client, response.id, response.outcome());
    }

    /// `subscriptions/listen`.
    pub(super) fn listen(
        &self,
        request: &Request<'_>,
        transport: Transport<'_>,
        context: &CallContext<'_>,
    ) -> Reply {
        #[derive(Deserialize)]
        struct Params {
            notifications: Filter,
        }
        let honoured = read(request).and_then(|params: Params| params.notifications.honoured());
        let id = RequestId::parse(request.id);
        let id = id.ok_or_else(|| RpcError::new(code::INVALID_REQUEST, "the id cannot be read"));
        let whom = honoured.and_then(|filter| {
            let whom = Whom::Request {
                id: id?,
                filter,
                is_piped: matches!(transport, Transport::Stdio { .. }),
            };
            self.listeners.admit(&whom)?;
            Ok(whom)
        });
        match whom {
            Err(error) => answered(error_text(Some(request.id), &error), Verdict::Answered),
            Ok(whom) => Reply::Stream(Subscription {
                whom,
                until: context.caller.expires(),
            }),
        }
    }

    /// `logging/setLevel`. Who has no session is given an answer, and no logs.
    pub(super) fn set_level(
        &self,
        request: &Request<'_>,
        transport: Transport<'_>,
        session: Option<&Session>,
    ) -> Result<String, RpcError> {
        #[derive(Deserialize)]
        struct Params {
            level: String,
        }
        let params: Params = read(request)?;
        let level = Level::parse(&params.level).ok_or_else(unknown_level)?;
        self.set(transport, session, |state| {
            state.level = Some(level);
            Ok(())
        })
    }

    /// `resources/subscribe`: to any URI, whether there is such a resource or not yet.
    pub(super) fn subscribe(
        &self,
        request: &Request<'_>,
        transport: Transport<'_>,
        session: Option<&Session>,
    ) -> Result<String, RpcError> {
        let OfResource { uri } = read(request)?;
        self.set(transport, session, |state| state.subscribe(&uri))
    }

    /// `resources/unsubscribe`.
    pub(super) fn unsubscribe(
        &self,
        request: &Request<'_>,
        transport: Transport<'_>,
        session: Option<&Session>,
    ) -> Result<String, RpcError> {
        let OfResource { uri } = read(request)?;
        self.set(transport, session, |state| {
            state.unsubscribe(&uri);
            Ok(())
        })
    }

    fn set(
        &self,
        transport: Transport<'_>,
        session: Option<&Session>,
        act: impl FnOnce(&mut ClientState) -> Result<(), RpcError>,
    ) -> Result<String, RpcError> {
        match (transport, &self.sessions, session) {
            (Transport::Stdio { pipe, .. }, _, _) => pipe.with_state(act)?,
            (_, Some(sessions), Some(session)) => match sessions.with_state(&session.id, act) {
                Some(done) => done?,
                None => {
                    let message = "busy: too many sessions are in use; try again later";
                    return Err(RpcError::new(code::INTERNAL_ERROR, message));
                }
            },
            _ => {}
        }
        Ok("{}".to_owned())
    }

    /// From which level on the client of a handshake revision wants logs.
    pub(super) fn level(
        &self,
        transport: Transport<'_>,
        session: Option<&Session>,
    ) -> Option<Level> {
        match (transport, &self.sessions, session) {
            (Transport::Stdio { pipe, .. }, _, _) => pipe.with_state(|state| state.level),
            (_, Some(sessions), Some(session)) => {
                sessions.with_state(&session.id, |state| state.level)?
            }
            _ => None,
        }
    }
}

pub(super) fn unknown_level() -> RpcError {
    RpcError::invalid_params(
        "the level must be one of debug, info, notice, warning, error, critical, alert, emergency",
    )
}
