//! From a message to its reply: one match over the methods of each era.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::calls::Via;
use super::capabilities::{client_capabilities, server_capabilities};
use super::classify::{ClientHeaders, Era, Transport, classify};
use super::in_flight::Flight;
use super::jsonrpc::{
    Body, Message, Rejected, Request, RequestId, RpcError, code, error_text, parse, result_text,
};
use super::lists::{Listed, View};
use super::notes::Note;
use super::outlet::Outlet;
use super::paging::{cursor, page};
use super::revision::{self, ASSUMED, BATCHING, MODERN};
use super::session_token::Session;
use super::{Reply, Server, UnknownSession, Verdict, wire};
use crate::tools::CallContext;

impl Server {
    /// Answers one body that came by HTTP. What is to reach the client before the answer goes to
    /// `outlet`, if there is one.
    pub fn answer(
        &self,
        body: &[u8],
        headers: &ClientHeaders,
        outlet: Option<&dyn Outlet>,
        context: &CallContext<'_>,
    ) -> Reply {
        self.answer_body(body, Transport::Http { headers, outlet }, context)
    }

    pub(super) fn answer_body(
        &self,
        body: &[u8],
        transport: Transport<'_>,
        context: &CallContext<'_>,
    ) -> Reply {
        match parse(body) {
            Err(error) => malformed(None, &error),
            Ok(Body::One(message)) => self.answer_one(message, transport, context),
            Ok(Body::Batch(messages)) => self.answer_batch(messages, transport, context),
        }
    }

    fn answer_one(
        &self,
        message: Result<Message<'_>, Rejected<'_>>,
        transport: Transport<'_>,
        context: &CallContext<'_>,
    ) -> Reply {
        match message {
            Err(rejected) => malformed(rejected.id, &rejected.error),
            Ok(Message::Notification { method, params }) => {
                self.take_note(&Note::Said(&method, params), transport, context)
            }
            Ok(Message::Response(response)) => {
                self.take_note(&Note::Answered(response), transport, context)
            }
            Ok(Message::Request(request)) => self.answer_request(&request, transport, context),
        }
    }

    fn answer_request(
        &self,
        request: &Request<'_>,
        transport: Transport<'_>,
        context: &CallContext<'_>,
    ) -> Reply {
        let era = match classify(request, transport) {
            Ok(era) => era,
            Err(error) => return malformed(Some(request.id), &error),
        };
        if era == Era::Legacy && request.method == "initialize" {
            return self.initialize(request, transport, context);
        }
        if era == Era::Modern && request.method == "subscriptions/listen" {
            return self.listen(request, transport, context);
        }
        let (mut of_session, mut session) = (None, None);
        if era == Era::Legacy {
            match self.session(transport, context) {
                Err(UnknownSession) => return unknown_session(Some(request.id)),
                Ok(None) => {}
                Ok(Some(found)) => {
                    of_session = RequestId::parse(request.id).map(|id| {
                        let cancel = context.cancel.clone();
                        self.in_flight.enter(&found.id, id, cancel)
                    });
                    // Whoever ended it meanwhile may have looked for its requests before.
                    let sessions = self.sessions.as_ref();
                    if sessions.is_some_and(|sessions| sessions.has_ended(&found.id)) {
                        return unknown_session(Some(request.id));
                    }
                    session = Some(found);
                }
            }
        }
        let flight = of_session.as_ref().or(transport.flight(request.id));
        let cancel = flight.map_or(context.cancel, Flight::cancel);
        let context = &CallContext { cancel, ..*context };
        let result = catch_unwind(AssertUnwindSafe(|| match era {
            Era::Legacy => self.legacy_method(request, transport, session.as_ref(), context),
            Era::Modern => self.modern_method(request, transport, context),
        }));
        let result = result.unwrap_or_else(|_| Err(self.defect(context)));
        // HTTP needs an answer, whoever still waits for it.
        let is_stdio = matches!(transport, Transport::Stdio { .. });
        if is_stdio && flight.is_some_and(Flight::is_cancelled_by_client) {
            return Reply::Accepted;
        }
        match result {
            Ok(result) => answered(result_text(request.id, &result), Verdict::Answered),
            Err(error) => {
                let body = error_text(Some(request.id), &error);
                let verdict = match (era, error.code, error.denied) {
                    (Era::Modern, code::METHOD_NOT_FOUND, _) => Verdict::UnknownMethod,
                    (Era::Modern, code::HEADER_MISMATCH | code::MISSING_CAPABILITY, _) => {
                        Verdict::Malformed
                    }
                    (_, _, Some(denied)) => Verdict::Denied(denied),
                    _ => Verdict::Answered,
                };
                answered(body, verdict)
            }
        }
    }

    fn defect(&self, context: &CallContext<'_>) -> RpcError {
        self.tools.metrics.count_panic();
        log::error!(
            "{}: a defect of the server; the panic stands above",
            context.request_id
        );
        let message = "internal error; the server's log has more under this request's id";
        RpcError::new(code::INTERNAL_ERROR, message)
    }

    fn answer_batch(
        &self,
        messages: Vec<Result<Message<'_>, Rejected<'_>>>,
        transport: Transport<'_>,
        context: &CallContext<'_>,
    ) -> Reply {
        let revision = match transport {
            Transport::Stdio { pipe, .. } => pipe.settled().map(|(revision, _)| revision),
            Transport::Http { headers, .. } => match self.session(transport, context) {
                Err(UnknownSession) => return unknown_session(None),
                Ok(session) => {
                    let of_session = session.map_or(ASSUMED, |session| session.revision);
                    Some(headers.protocol_version.as_deref().unwrap_or(of_session))
                }
            },
        };
        let unfit = messages.iter().any(|message| {
            matches!(message, Ok(Message::Request(request))
                if request.method == "initialize"
                    || !matches!(classify(request, transport), Ok(Era::Legacy)))
        });
        if revision != Some(BATCHING) || unfit {
            let message = "arrays of messages are not served in this protocol version";
            return malformed(None, &RpcError::new(code::INVALID_REQUEST, message));
        }
        let mut bodies = Vec::new();
        for message in messages {
            if let Reply::Message { body, .. } = self.answer_one(message, transport, context) {
                bodies.push(body);
            }
        }
        if bodies.is_empty() {
            return Reply::Accepted;
        }
        answered(format!("[{}]", bodies.join(",")), Verdict::Answered)
    }

    /// The session that a request of the handshake era names; none is needed.
    pub(super) fn session(
        &self,
        transport: Transport<'_>,
        context: &CallContext<'_>,
    ) -> Result<Option<Session>, UnknownSession> {
        let Transport::Http { headers, .. } = transport else {
            return Ok(None);
        };
        let (Some(sessions), Some(id)) = (&self.sessions, &headers.session_id) else {
            return Ok(None);
        };
        let principal = context.caller.principal();
        sessions.find(id, principal, SystemTime::now()).map(Some)
    }

    fn initialize(
        &self,
        request: &Request<'_>,
        transport: Transport<'_>,
        context: &CallContext<'_>,
    ) -> Reply {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Params {
            protocol_version: String,
            capabilities: Option<Value>,
        }
        let (revision, declared) = match read::<Params>(request) {
            Ok(params) => (
                revision::negotiate(&params.protocol_version),
                client_capabilities(params.capabilities.as_ref()),
            ),
            Err(error) => return answered(error_text(Some(request.id), &error), Verdict::Answered),
        };
        let result = json!({
            "protocolVersion": revision,
            "capabilities": server_capabilities(),
            "serverInfo": wire::SERVER_INFO,
            "instructions": self.tools.instructions(),
        });
        let session_id = match transport {
            Transport::Stdio { pipe, .. } => {
                pipe.settle(revision, declared);
                None
            }
            Transport::Http { .. } => self.sessions.as_ref().map(|sessions| {
                let principal = context.caller.principal();
                sessions.begin(principal, revision, declared, SystemTime::now())
            }),
        };
        Reply::Message {
            body: result_text(request.id, &result.to_string()),
            verdict: Verdict::Answered,
            session_id,
        }
    }

    fn legacy_method(
        &self,
        request: &Request<'_>,
        transport: Transport<'_>,
        session: Option<&Session>,
        context: &CallContext<'_>,
    ) -> Result<String, RpcError> {
        let via = Via {
            era: Era::Legacy,
            transport,
            session,
        };
        match request.method.as_str() {
            "ping" => Ok("{}".to_owned()),
            "tools/list" => self.list_tools(request, Era::Legacy, context),
            "tools/call" => self.call_tool(request, via, context),
            "logging/setLevel" => self.set_level(request, transport, session),
            "resources/subscribe" => self.subscribe(request, transport, session),
            "resources/unsubscribe" => self.unsubscribe(request, transport, session),
            "resources/list" => self.list_resources(request, Era::Legacy, context),
            "resources/templates/list" => self.list_resource_templates(request, Era::Legacy),
            "resources/read" => self.read_resource(request, via, context),
            "prompts/list" => self.list_prompts(request, Era::Legacy),
            "prompts/get" => self.get_prompt(request, via, context),
            "completion/complete" => self.complete(request, Era::Legacy, context),
            _ => Err(method_not_found()),
        }
    }

    fn modern_method(
        &self,
        request: &Request<'_>,
        transport: Transport<'_>,
        context: &CallContext<'_>,
    ) -> Result<String, RpcError> {
        let via = Via {
            era: Era::Modern,
            transport,
            session: None,
        };
        match request.method.as_str() {
            "server/discover" => Ok(discover(&self.tools.instructions())),
            "tools/list" => self.list_tools(request, Era::Modern, context),
            "tools/call" => self.call_tool(request, via, context),
            "resources/list" => self.list_resources(request, Era::Modern, context),
            "resources/templates/list" => self.list_resource_templates(request, Era::Modern),
            "resources/read" => self.read_resource(request, via, context),
            "prompts/list" => self.list_prompts(request, Era::Modern),
            "prompts/get" => self.get_prompt(request, via, context),
            "completion/complete" => self.complete(request, Era::Modern, context),
            _ => Err(method_not_found()),
        }
    }

    fn list_tools(
        &self,
        request: &Request<'_>,
        era: Era,
        context: &CallContext<'_>,
    ) -> Result<String, RpcError> {
        let view = View {
            own: self.tools.shows_admin_acts(context.caller).into(),
            era,
        };
        let make = || {
            let tools = self.tools.list(context.caller);
            let (tools, next) = page(request, tools, |tool| &tool.name)?;
            Ok(wire::tools_result(tools, next, era))
        };
        self.listed(request, Listed::Tools, self.tools.tools_mark(), view, make)
    }

    /// A page of a list; the first one as it is kept.
    pub(super) fn listed(
        &self,
        request: &Request<'_>,
        listed: Listed,
        mark: u64,
        view: View,
        make: impl FnOnce() -> Result<String, RpcError>,
    ) -> Result<String, RpcError> {
        if cursor(request)?.is_some() {
            return make();
        }
        self.lists.text(listed, mark, view, make)
    }
}

pub(super) fn answered(body: String, verdict: Verdict) -> Reply {
    Reply::Message {
        body,
        verdict,
        session_id: None,
    }
}

pub(super) fn malformed(id: Option<&str>, error: &RpcError) -> Reply {
    answered(error_text(id, error), Verdict::Malformed)
}

pub(super) fn unknown_session(id: Option<&str>) -> Reply {
    let message = "there is no such session: it has ended or is too old; initialize again";
    let error = RpcError::new(code::UNKNOWN_SESSION, message);
    answered(error_text(id, &error), Verdict::UnknownSession)
}

fn method_not_found() -> RpcError {
    RpcError::new(code::METHOD_NOT_FOUND, "this method is not served")
}

pub(super) fn read<'a, T: Deserialize<'a>>(request: &Request<'a>) -> Result<T, RpcError> {
    serde_json::from_str(request.params.unwrap_or("{}"))
        .map_err(|error| RpcError::invalid_params(format!("params: {error}")))
}

fn discover(instructions: &str) -> String {
    let mut result = Map::new();
    result.insert("supportedVersions".to_owned(), json!([MODERN]));
    result.insert("capabilities".to_owned(), server_capabilities());
    result.insert("instructions".to_owned(), instructions.into());
    wire::cacheable(result, Era::Modern)
}
