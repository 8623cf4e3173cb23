//! The MCP endpoint: checks of HTTP, then the message goes to `mcp`, whose verdict becomes a
//! status.

use super::request::Request;
use super::response::Answer;
use super::{Shared, protected};
use crate::auth::Caller;
use crate::mcp::{ClientHeaders, Reply, UnknownSession, Verdict};
use crate::tools::{CallContext, Client};

const ALLOWED_METHODS: &str = "POST, DELETE, OPTIONS";
/// What web pages of allowed origins may send.
const ALLOWED_HEADERS: &str = "content-type, accept, authorization, mcp-protocol-version, \
    mcp-session-id, last-event-id, mcp-method, mcp-name, x-mcp-admin-token, x-request-id";
/// Names of arguments that one preflight may ask for.
const MAX_ASKED_HEADERS: usize = 64;
const PARAM_PREFIX: &str = "mcp-param-";
/// What they may read.
const EXPOSED_HEADERS: &str = "mcp-session-id, www-authenticate, x-request-id";

pub(super) fn answer(shared: &Shared, request: &Request<'_>, request_id: &str) -> Answer {
    let origin = request.header("Origin");
    if !shared.rules.allows_origin(origin) {
        return Answer::error(
            403,
            "this Origin is not allowed; see MCP_HTTP_ALLOWED_ORIGINS",
        );
    }
    let answer = answer_of_origin(shared, request, request_id);
    match origin {
        Some(origin) => answer
            .with("Access-Control-Allow-Origin", origin)
            .with("Access-Control-Expose-Headers", EXPOSED_HEADERS)
            .with("Vary", "Origin"),
        None => answer,
    }
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
        ("DELETE", Some(caller)) => delete(shared, request, caller),
        _ => not_taken(),
    }
}

fn not_taken() -> Answer {
    Answer::error(405, "this endpoint takes POST, and DELETE to end a session")
        .with("Allow", ALLOWED_METHODS)
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
    let number = request
        .header("X-Gate-Request")
        .and_then(|number| number.parse().ok());
    let _entry = number
        .filter(|_| headers.is_modern())
        .map(|number| shared.under_way.enter(number, cancel.clone()));
    let context = CallContext {
        caller,
        request_id,
        cancel: &cancel,
        client: &Client::MUTE,
    };
    match shared.services.mcp.answer(request.body, &headers, &context) {
        Reply::Accepted => Answer::empty(202),
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
