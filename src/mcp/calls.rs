//! Requests that may run code: `tools/call`, and what it shares with `prompts/get` and
//! `resources/read`: what the client says beside the arguments, how it is reached meanwhile, and
//! what it is told when there is no result, or none yet.

use std::collections::{BTreeSet, HashMap};
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::capabilities::client_capabilities;
use super::classify::{Era, META_CAPABILITIES, META_LOG_LEVEL, Transport};
use super::contact::{Beside, CallContact};
use super::dispatch::read;
use super::jsonrpc::{Request, RequestId, RpcError, code};
use super::level::Level;
use super::notes::unknown_level;
use super::request_state::{self, Bound};
use super::session_token::Session;
use super::{Server, param_headers, pipe, wire};
use crate::base::clock::unix_millis;
use crate::base::text::clip;
use crate::domain::asking::ClientCapability;
use crate::domain::image::UsedImage;
use crate::domain::json::JsonText;
use crate::domain::run::Cancel;
use crate::tools::{Answers, Asked, Asking, CallContext, Client, NotCalled};

/// Bytes of an unknown name that are told back.
pub(super) const MAX_SHOWN_NAME: usize = 64;
/// Longest progress token, in bytes of JSON; with a longer one there is no progress.
const MAX_TOKEN_BYTES: usize = 1024;

/// How a request came in; a session is one of a handshake revision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Via<'a> {
    pub(super) era: Era,
    pub(super) transport: Transport<'a>,
    pub(super) session: Option<&'a Session>,
}

/// The client of one request, and the line to it while code runs.
#[derive(Debug)]
pub(super) struct Reached<'a> {
    client: Client,
    contact: CallContact<'a>,
}

impl Reached<'_> {
    /// The context of the request, with its client.
    pub(super) fn within<'a>(&'a self, context: &CallContext<'a>) -> CallContext<'a> {
        CallContext {
            client: &self.client,
            contact: &self.contact,
            ..*context
        }
    }
}

/// What a call brings beside its arguments; the parts of the stateless era mean nothing in others.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Beyond<'a> {
    #[serde(borrow, default, rename = "_meta")]
    meta: Option<HashMap<String, &'a RawValue>>,
    #[serde(borrow)]
    input_responses: Option<&'a RawValue>,
    #[serde(borrow)]
    request_state: Option<&'a RawValue>,
}

impl<'a> Beyond<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        let raw = self.meta.as_ref()?.get(name)?;
        Some(raw.get())
    }

    /// JSON text of a string or an integer.
    fn progress_token(&self) -> Option<&'a str> {
        let token = self.get("progressToken");
        token.filter(|token| token.len() <= MAX_TOKEN_BYTES && RequestId::parse(token).is_some())
    }

    /// From which level on the request wants logs.
    fn level(&self) -> Result<Option<Level>, RpcError> {
        let Some(text) = self.get(META_LOG_LEVEL) else {
            return Ok(None);
        };
        let name: Option<String> = serde_json::from_str(text).ok();
        let level = name.and_then(|name| Level::parse(&name));
        level.map(Some).ok_or_else(unknown_level)
    }
}

impl Server {
    pub(super) fn call_tool(
        &self,
        request: &Request<'_>,
        via: Via<'_>,
        context: &CallContext<'_>,
    ) -> Result<String, RpcError> {
        #[derive(Deserialize)]
        struct Params {
            name: String,
            arguments: Option<JsonText>,
        }
        let params: Params = read(request)?;
        let arguments = params.arguments.unwrap_or_else(JsonText::empty_object);
        if !arguments.text().starts_with('{') {
            return Err(RpcError::invalid_params(
                "params.arguments must be an object",
            ));
        }
        let bound = Bound {
            principal: context.caller.principal(),
            method: &request.method,
            name: &params.name,
            arguments: &arguments,
        };
        let reached = self.reach(request, via, bound, context.cancel)?;
        if let (Era::Modern, Transport::Http { headers, .. }) = (via.era, via.transport)
            && let Some(schema) = self.tools.author_schema(&reached.client, &params.name)
        {
            param_headers::check(&schema, &arguments, &headers.params)?;
        }
        let answer = self
            .tools
            .call(&reached.within(context), &params.name, &arguments)
            .map_err(|reason| refusal(reason, &params.name))?;
        let Some(asked) = &answer.asked else {
            return Ok(wire::call_result(&answer, via.era));
        };
        Ok(self.input_required(bound, asked, answer.image.as_ref()))
    }

    /// Questions to the client of a request that may have some, with what it is to bring back.
    pub(super) fn input_required(
        &self,
        bound: Bound<'_>,
        asked: &Asked,
        image: Option<&UsedImage>,
    ) -> String {
        let state = request_state::seal(&self.state_key, bound, &asked.so_far, seconds());
        wire::input_required(asked, &state, image)
    }

    /// The client of a request, as far as code that runs for it can reach it.
    pub(super) fn reach<'a>(
        &'a self,
        request: &'a Request<'_>,
        via: Via<'a>,
        bound: Bound<'a>,
        cancel: &'a Cancel,
    ) -> Result<Reached<'a>, RpcError> {
        let Via {
            era,
            transport,
            session,
        } = via;
        let beyond: Beyond<'_> = read(request)?;
        let (client, level) = match era {
            Era::Modern => (self.client(&beyond, bound)?, beyond.level()?),
            Era::Legacy => (
                client_of_handshake(transport, session),
                self.level(transport, session),
            ),
        };
        let beside = (client.asking == Asking::Beside).then(|| Beside {
            asks: &self.asks,
            client: session.map_or(pipe::CLIENT, |session| &session.id),
        });
        let contact = CallContact::new(
            transport.outlet(),
            &self.tools.metrics,
            bound.name,
            beyond.progress_token(),
            level,
            beside,
            cancel,
        );
        Ok(Reached { client, contact })
    }

    /// The client of a call of the stateless era.
    fn client(&self, beyond: &Beyond<'_>, bound: Bound<'_>) -> Result<Client, RpcError> {
        let open = |text: String| {
            request_state::open(&self.state_key, bound, &text, seconds()).ok_or_else(|| {
                RpcError::invalid_params(
                    "params.requestState does not belong to this call, or is too old: call anew, \
                     without it",
                )
            })
        };
        let declared = beyond.get(META_CAPABILITIES);
        let declared: Option<Value> = declared.and_then(|text| serde_json::from_str(text).ok());
        Ok(Client {
            asking: Asking::ByRounds,
            capabilities: client_capabilities(declared.as_ref()),
            earlier: read_part(beyond.request_state)?.map(open).transpose()?,
            answers: read_part::<Answers>(beyond.input_responses)?.unwrap_or_default(),
        })
    }
}

/// A part of the parameters that only some calls have; `null` is none.
fn read_part<'a, T: Deserialize<'a>>(part: Option<&'a RawValue>) -> Result<Option<T>, RpcError> {
    let read = part.map(|part| serde_json::from_str::<Option<T>>(part.get()));
    let read = read.transpose();
    read.map(Option::flatten)
        .map_err(|error| RpcError::invalid_params(format!("params: {error}")))
}

/// The client of a call of a handshake revision: what it declared is in its session's id, or known
/// of its pipe.
fn client_of_handshake(transport: Transport<'_>, session: Option<&Session>) -> Client {
    let declared = match transport {
        Transport::Stdio { pipe, .. } => pipe.settled().map(|(_, declared)| declared),
        Transport::Http { .. } => session.map(|session| session.capabilities),
    };
    match (declared, transport.outlet()) {
        (Some(capabilities), Some(_)) => Client {
            asking: Asking::Beside,
            capabilities,
            ..Client::MUTE
        },
        _ => Client::MUTE,
    }
}

fn seconds() -> u64 {
    unix_millis(SystemTime::now()) / 1000
}

/// Why there is no call, as the protocol says it.
fn refusal(reason: NotCalled, name: &str) -> RpcError {
    match reason {
        NotCalled::Unknown => RpcError::invalid_params(format!(
            "there is no tool named \"{}\", or it is disabled; tools/list has those there are",
            clip(name, MAX_SHOWN_NAME)
        )),
        NotCalled::Denied(denied) => RpcError::denied(denied),
        NotCalled::Incapable(required) => incapable(&required),
        NotCalled::ToolChanged => RpcError::invalid_params(
            "the tool has changed since it asked: call it anew, without params.requestState",
        ),
    }
}

fn incapable(required: &BTreeSet<ClientCapability>) -> RpcError {
    let names: Vec<_> = required.iter().map(|one| one.as_str()).collect();
    let needed = names.iter().map(|name| ((*name).to_owned(), json!({})));
    let needed: Map<String, Value> = needed.collect();
    let message = format!(
        "this tool asks its caller, who must declare the client capabilities it requires: {}",
        names.join(", ")
    );
    RpcError {
        data: Some(json!({ "requiredCapabilities": needed })),
        ..RpcError::new(code::MISSING_CAPABILITY, message)
    }
}
