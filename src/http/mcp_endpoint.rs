//! The MCP endpoint: checks of HTTP, then the message goes to `mcp`, whose verdict becomes a
//! status.

use std::sync::Arc;

use super::request::Request;
use super::response::Answer;
use super::stream::CallStream;
use super::{Shared, hang_up, protected};
use crate::auth::Caller;
use crate::mcp::{ClientHeaders, NoStream, Outlet, Reply, Subscription, UnknownSession, Verdict};
use crate::tools::{CallContext, Client, NoContact};

const ALLOWED_METHODS: &str = "GET, POST, DELETE, OPTIONS";
/// What web pages of allowed origins may send.
const ALLOWED_HEADERS: &str = "content-type, accept, authorization, mcp-protocol-version, \
    mcp-session-id, last-event-id, mcp-method, mcp-name, x-mcp-admin-token, x-request-id";
/// Names of arguments that one preflight may ask for.
const MAX_ASKED_HEADERS: usize = 64;
const PARAM_PREFIX: &str = "mcp-param-";

pub(super) fn answer(shared: &Shared, request: &Request<'_>, request_id: &str) -> Answer {
    let origin = request.header("Origin");
    if !shared.rules.allows_origin(origin) {
        return Answer::error(
            403,
            "this Origin is not allowed; see MCP_HTTP_ALLOWED_ORIGINS",
        );
    }
    answer_of_origin(shared, request, request_id).with_origin(origin)
}

fn answer_of_origin(shared: &Shared, request: &Request<'_>, request_id: &str) -> Answer {
    // Browsers ask before they send, and never with a token.
    let caller = match request.method {
        "OPTIONS" => None,
        _ => match protected::admit(shared, request, request_id) {
            Ok(caller) => Some(caller),
            Err(refusal) => return refusal,
        },
    };
    let answer = answer_caller(shared, request, request_id, caller.as_ref());
    if let Some(caller) = &caller {
        protected::record_wrong_admin_token(shared, request_id, caller);
    }
    answer
}

fn answer_caller(
    shared: &Shared,
    request: &Request<'_>,
    request_id: &str,
    caller: Option<&Caller>,
) -> Answer {
    if !shared.rules.allows_host(request.header("Host")) {
        return Answer::error(403, "this Host is not allowed; see MCP_HTTP_ALLOWED_HOSTS");
    }
    match (request.method, caller) {
        (_, None) => Answer::empty(204)
            .with("Allow", ALLOWED_METHODS)
            .with("Access-Control-Allow-Methods", ALLOWED_METHODS)
            .with("Access-Control-Allow-Headers", allowed_headers(request))
            .with("Access-Control-Max-Age", "600"),
        ("POST", Some(caller)) => post(shared, request, request_id, caller),
        ("GET", Some(caller)) => get(shared, request, request_id, caller),
        ("DELETE", Some(caller)) => delete(shared, request, caller),
        _ => not_taken(),
    }
}

fn not_taken() -> Answer {
    let message =
        "this endpoint takes POST, GET for a session's stream, and DELETE to end a session";
    Answer::error(405, message).with("Allow", ALLOWED_METHODS)
}

/// What a preflight may be told: the usual headers, and those of arguments that it asks for.
fn allowed_headers(request: &Request<'_>) -> String {
    let asked = request
        .header("Access-Control-Request-Headers")
        .unwrap_or_default();
    let asked = asked.split(',').map(str::trim).take(MAX_ASKED_HEADERS);
    let params = asked.filter(|name| param_name(name).is_some_and(is_plain));
    params.fold(ALLOWED_HEADERS.to_owned(), |list, name| {
        format!("{list}, {name}")
    })
}

/// The rest of a header's name behind `Mcp-Param-`.
fn param_name(name: &str) -> Option<&str> {
    let (prefix, rest) = name.split_at_checked(PARAM_PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PARAM_PREFIX).then_some(rest)
}

fn is_plain(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && name.bytes().all(is_part)
}

/// What the client says of its message in headers.
fn client_headers(request: &Request<'_>) -> Result<ClientHeaders, Answer> {
    if request.is_repeated("x-mcp-admin-token") {
        let message = "the header x-mcp-admin-token occurs twice";
        return Err(Answer::error(400, message));
    }
    // Given twice, a value is a list, which equals nothing that a message says.
    let text = |name| request.combined(name);
    let params = request.fields().iter().filter_map(|(name, value)| {
        let name = param_name(name)?;
        Some((name.to_ascii_lowercase(), (*value).to_owned()))
    });
    Ok(ClientHeaders {
        protocol_version: text("MCP-Protocol-Version"),
        method: text("Mcp-Method"),
        name: text("Mcp-Name"),
        session_id: text("Mcp-Session-Id"),
        params: params.collect(),
    })
}

/// Ends a session; the stateless era has none.
fn delete(shared: &Shared, request: &Request<'_>, caller: &Caller) -> Answer {
    let headers = match client_headers(request) {
        Ok(headers) => headers,
        Err(refusal) => return refusal,
    };
    if headers.is_modern() {
        return not_taken();
    }
    let Some(id) = headers.session_id else {
        return Answer::error(400, "DELETE ends the session that Mcp-Session-Id names");
    };
    match shared.services.mcp.end_session(&id, caller.principal()) {
        Ok(()) => Answer::empty(200),
        Err(UnknownSession) => Answer::error(404, "there is no such session"),
    }
}

fn post(shared: &Shared, request: &Request<'_>, request_id: &str, caller: &Caller) -> Answer {
    if let Some(refusal) = check_media_types(request) {
        return refusal;
    }
    let headers = match client_headers(request) {
        Ok(headers) => headers,
        Err(refusal) => return refusal,
    };
    let cancel = shared.services.mcp.new_cancel();
    let accepts_stream = accepts_stream(request);
    let stream = match (number(request), shared.streams.get()) {
        (Some(number), Some(streams)) if accepts_stream => {
            let origin = request.header("Origin");
            let stream = CallStream::new(streams, number, request_id, origin);
            Some(Arc::new(stream))
        }
        _ => None,
    };
    let _entry = number(request).map(|number| {
        let under_way = hang_up::Request {
            cancel: headers.is_modern().then(|| cancel.clone()),
            stream: stream.clone(),
        };
        shared.under_way.enter(number, under_way)
    });
    let context = CallContext {
        caller,
        request_id,
        cancel: &cancel,
        client: &Client::MUTE,
        contact: &NoContact,
    };
    let outlet = stream.as_deref().map(|stream| stream as &dyn Outlet);
    let mcp = &shared.services.mcp;
    match mcp.answer(request.body, &headers, outlet, &context) {
        Reply::Accepted => Answer::empty(202),
        Reply::Stream(_) if !accepts_stream => not_acceptable(),
        Reply::Stream(subscription) => listen(shared, request, request_id, subscription),
        Reply::Message { body, .. } if stream.is_some_and(|stream| stream.finish(&body)) => {
            Answer::by_stream()
        }
        Reply::Message {
            body,
            verdict,
            session_id,
        } => {
            let answer = match verdict {
                Verdict::Answered => Answer::json(200, body),
                Verdict::Malformed => Answer::json(400, body),
                Verdict::UnknownMethod | Verdict::UnknownSession => Answer::json(404, body),
                Verdict::Denied(denied) => {
                    protected::denial(shared, &denied, Answer::json(403, body))
                }
            };
            match session_id {
                Some(id) => answer.with("Mcp-Session-Id", id),
                None => answer,
            }
        }
    }
}

/// The stream of a session; the stateless era has none.
fn get(shared: &Shared, request: &Request<'_>, request_id: &str, caller: &Caller) -> Answer {
    let headers = match client_headers(request) {
        Ok(headers) => headers,
        Err(refusal) => return refusal,
    };
    let id = headers.session_id.as_deref();
    if headers.is_modern() || id.is_none() {
        return not_taken();
    }
    if !accepts_stream(request) {
        return not_acceptable();
    }
    match shared.services.mcp.session_stream(id, caller) {
        Ok(subscription) => listen(shared, request, request_id, subscription),
        Err(NoStream::NoSession) => not_taken(),
        Err(NoStream::Unknown) => Answer::error(404, "there is no such session"),
        Err(NoStream::Taken) => Answer::error(409, "this session has its stream already"),
    }
}

/// Opens the stream of who wants to hear of changes.
fn listen(
    shared: &Shared,
    request: &Request<'_>,
    request_id: &str,
    subscription: Subscription,
) -> Answer {
    let (Some(number), Some(streams)) = (number(request), shared.streams.get()) else {
        return Answer::error(503, "streams are not served yet").with("Retry-After", "1");
    };
    let head = Answer::stream()
        .with_origin(request.header("Origin"))
        .into_stream_head(request_id);
    match streams.open(number, head) {
        Ok(writer) => {
            shared.services.mcp.join(subscription, Arc::new(writer));
            Answer::by_stream()
        }
        Err(error) => Answer::error(503, &error.to_string()).with("Retry-After", "5"),
    }
}

/// The gate's number for a request.
fn number(request: &Request<'_>) -> Option<u64> {
    request.header("X-Gate-Request")?.parse().ok()
}

/// Whether the client says that it takes a stream of events; what it does not name, such as by a
/// wildcard, it is not sent.
fn accepts_stream(request: &Request<'_>) -> bool {
    request.combined("Accept").is_some_and(|accept| {
        let mut kinds = accept.split(',').map(media_type);
        kinds.any(|kind| kind.eq_ignore_ascii_case("text/event-stream"))
    })
}

fn not_acceptable() -> Answer {
    Answer::error(406, "Accept must list text/event-stream")
}

fn check_media_types(request: &Request<'_>) -> Option<Answer> {
    let content_type = request.header("Content-Type").unwrap_or_default();
    if !media_type(content_type).eq_ignore_ascii_case("application/json") {
        return Some(Answer::error(
            415,
            "the Content-Type must be application/json",
        ));
    }
    let accepts = request.combined("Accept").is_none_or(|accept| {
        accept.split(',').map(media_type).any(|kind| {
            [
                "application/json",
                "text/event-stream",
                "application/*",
                "text/*",
                "*/*",
            ]
            .iter()
            .any(|known| kind.eq_ignore_ascii_case(known))
        })
    });
    (!accepts).then(|| {
        Answer::error(
            406,
            "Accept must list application/json and text/event-stream",
        )
    })
}

fn media_type(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}
