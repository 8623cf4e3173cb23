//! The MCP endpoint: checks of HTTP, then the message goes to `mcp`, whose verdict becomes a
//! status.

use tiny_http::{Method, Request};

use super::Shared;
use super::response::{Answer, combined, header, is_repeated};
use crate::auth::Presented;
use crate::base::secret::Secret;
use crate::mcp::{ClientHeaders, Reply, Transport, Verdict};
use crate::tools::CallContext;

const ALLOWED_METHODS: &str = "POST, OPTIONS";
/// What web pages of allowed origins may send.
const ALLOWED_HEADERS: &str = "content-type, accept, authorization, mcp-protocol-version, \
    mcp-session-id, last-event-id, mcp-method, mcp-name, x-mcp-admin-token, x-request-id";
/// What they may read.
const EXPOSED_HEADERS: &str = "mcp-session-id, www-authenticate, x-request-id";

pub(super) fn answer(shared: &Shared, request: &mut Request, request_id: &str) -> Answer {
    let origin = header(request, "Origin").map(str::to_owned);
    if !shared.rules.allows_origin(origin.as_deref()) {
        return Answer::error(
            403,
            "this Origin is not allowed; see MCP_HTTP_ALLOWED_ORIGINS",
        );
    }
    if !shared.rules.allows_host(header(request, "Host")) {
        return Answer::error(403, "this Host is not allowed; see MCP_HTTP_ALLOWED_HOSTS");
    }
    let answer = match request.method() {
        Method::Post => post(shared, request, request_id),
        Method::Options => Answer::empty(204)
            .with("Allow", ALLOWED_METHODS)
            .with("Access-Control-Allow-Methods", ALLOWED_METHODS)
            .with("Access-Control-Allow-Headers", ALLOWED_HEADERS)
            .with("Access-Control-Max-Age", "600"),
        _ => Answer::error(405, "this endpoint takes POST").with("Allow", ALLOWED_METHODS),
    };
    match origin {
        Some(origin) => answer
            .with("Access-Control-Allow-Origin", origin)
            .with("Access-Control-Expose-Headers", EXPOSED_HEADERS)
            .with("Vary", "Origin"),
        None => answer,
    }
}

fn post(shared: &Shared, request: &mut Request, request_id: &str) -> Answer {
    if let Some(refusal) = check_media_types(request) {
        return refusal;
    }
    if is_repeated(request, "x-mcp-admin-token") {
        return Answer::error(400, "the header x-mcp-admin-token occurs twice");
    }
    // Given twice, a value is a list, which equals nothing that a message says.
    let text = |name| combined(request, name);
    let transport = Transport::Http(ClientHeaders {
        protocol_version: text("MCP-Protocol-Version"),
        method: text("Mcp-Method"),
        name: text("Mcp-Name"),
    });
    let presented = Presented {
        admin_token: header(request, "x-mcp-admin-token").map(Secret::new),
    };
    let caller = shared.services.authority.let_in(presented);
    let mut body = Vec::with_capacity(request.body_length().unwrap_or(0));
    // The gate has bounded and buffered the body: this reads what is there.
    if request.as_reader().read_to_end(&mut body).is_err() {
        return Answer::error(400, "the body did not arrive whole");
    }
    let cancel = shared.services.mcp.new_cancel();
    let number = header(request, "X-Gate-Request").and_then(|number| number.parse().ok());
    let _entry = number
        .filter(|_| transport.is_cancelled_by_hang_up())
        .map(|number| shared.under_way.enter(number, cancel.clone()));
    let context = CallContext {
        caller: &caller,
        request_id,
        cancel: &cancel,
    };
    match shared.services.mcp.answer(&body, &transport, &context) {
        Reply::Accepted => Answer::empty(202),
        Reply::Message { body, verdict } => {
            let status = match verdict {
                Verdict::Answered => 200,
                Verdict::Malformed => 400,
                Verdict::UnknownMethod => 404,
            };
            Answer::json(status, body)
        }
    }
}

fn check_media_types(request: &Request) -> Option<Answer> {
    let content_type = header(request, "Content-Type").unwrap_or_default();
    if !media_type(content_type).eq_ignore_ascii_case("application/json") {
        return Some(Answer::error(
            415,
            "the Content-Type must be application/json",
        ));
    }
    let accepts = combined(request, "Accept").is_none_or(|accept| {
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
