//! Which era a message belongs to, and whether its envelope is right: the table of MCP 2026-07-28,
//! basic/transports, in the order in which its rows are to be judged.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::in_flight::Flight;
use super::jsonrpc::{Request, RequestId, RpcError, code};
use super::outlet::Outlet;
use super::pipe::Pipe;
use super::revision::{self, MODERN};

/// What a client says beside its message; values as they came.
#[derive(Clone, Debug, Default)]
pub struct ClientHeaders {
    /// `MCP-Protocol-Version`.
    pub protocol_version: Option<String>,
    /// `Mcp-Method`.
    pub method: Option<String>,
    /// `Mcp-Name`.
    pub name: Option<String>,
    /// `Mcp-Session-Id`.
    pub session_id: Option<String>,
    /// `Mcp-Param-…`: each name in lower case, without that prefix, and its value.
    pub params: Vec<(String, String)>,
}

impl ClientHeaders {
    /// Whether they speak of the stateless era, where a client that goes away cancels what it
    /// asked for and where sessions are unknown.
    pub fn is_modern(&self) -> bool {
        self.protocol_version
            .as_deref()
            .is_some_and(revision::is_modern_date)
    }
}

/// How a message arrived.
#[derive(Clone, Copy, Debug)]
pub(super) enum Transport<'a> {
    /// With headers that must agree with it.
    Http {
        headers: &'a ClientHeaders,
        /// Beside the answer, where the client takes a stream of events for one.
        outlet: Option<&'a dyn Outlet>,
    },
    /// In a line of a pipe.
    Stdio {
        pipe: &'a Pipe,
        /// The line's requests that can be cancelled.
        flights: &'a [Flight],
    },
}

impl<'a> Transport<'a> {
    /// The way to the client beside the answer.
    pub(super) fn outlet(self) -> Option<&'a dyn Outlet> {
        match self {
            Self::Http { outlet, .. } => outlet,
            Self::Stdio { pipe, .. } => Some(pipe.outlet()),
        }
    }

    /// The request of that id, where the transport knew it before.
    pub(super) fn flight(self, id: &str) -> Option<&'a Flight> {
        let Self::Stdio { flights, .. } = self else {
            return None;
        };
        let id = RequestId::parse(id)?;
        flights.iter().find(|flight| *flight.id() == id)
    }
}

/// The era of a request whose envelope is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Era {
    /// After a handshake.
    Legacy,
    /// By itself.
    Modern,
}

const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// From which level on it wants logs, likewise.
pub(super) const META_LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// What the client declares, with each request anew.
pub(super) const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

#[derive(Deserialize)]
struct WithMeta<'a> {
    #[serde(borrow, default, rename = "_meta")]
    meta: Option<HashMap<String, &'a RawValue>>,
}

/// Judges a request's envelope.
pub(super) fn classify(request: &Request<'_>, transport: Transport<'_>) -> Result<Era, RpcError> {
    let params = request.params.unwrap_or("{}");
    let meta = serde_json::from_str::<WithMeta<'_>>(params)
        .map_err(|_| RpcError::invalid_params("params._meta must be an object"))?
        .meta
        .unwrap_or_default();
    let claimed = meta.get(META_VERSION).map(|raw| raw.get());
    let header = match transport {
        Transport::Http { headers, .. } => headers.protocol_version.as_deref(),
        Transport::Stdio { .. } => None,
    };
    let Some(claimed) = claimed else {
        if header.is_some_and(revision::is_modern_date) {
            return Err(short_meta(META_VERSION));
        }
        return legacy(request, header);
    };
    let claimed: String = serde_json::from_str(claimed).map_err(|_| short_meta(META_VERSION))?;
    if header.is_some_and(|header| header != claimed) {
        return Err(mismatch(
            "MCP-Protocol-Version differs from the version in params._meta",
        ));
    }
    if !meta
        .get(META_CAPABILITIES)
        .is_some_and(|raw| raw.get().starts_with('{'))
    {
        return Err(short_meta(META_CAPABILITIES));
    }
    if claimed != MODERN {
        return Err(unsupported(&claimed));
    }
    if let Transport::Http { headers, .. } = transport {
        check_headers(request, headers)?;
    }
    Ok(Era::Modern)
}

/// Judges the headers of a message that says nothing of its version itself: a notification, or an
/// answer to a request of ours.
pub(super) fn check_version(headers: &ClientHeaders) -> Result<(), RpcError> {
    match headers.protocol_version.as_deref() {
        None | Some(MODERN) => Ok(()),
        Some(version) if revision::known_legacy(version).is_some() => Ok(()),
        Some(version) if revision::is_modern_date(version) => Err(unsupported(version)),
        Some(_) => Err(unknown_version()),
    }
}

fn legacy(request: &Request<'_>, header: Option<&str>) -> Result<Era, RpcError> {
    let is_unknown = header.is_some_and(|version| revision::known_legacy(version).is_none());
    if is_unknown && request.method != "initialize" {
        return Err(unknown_version());
    }
    Ok(Era::Legacy)
}

fn unknown_version() -> RpcError {
    let message = "MCP-Protocol-Version names a version that is not served";
    RpcError::new(code::INVALID_REQUEST, message)
}

fn unsupported(version: &str) -> RpcError {
    RpcError {
        code: code::UNSUPPORTED_VERSION,
        message: "this protocol version is not served".to_owned(),
        data: Some(json!({ "supported": [MODERN], "requested": version })),
        denied: None,
    }
}

fn short_meta(key: &str) -> RpcError {
    RpcError::invalid_params(format!("params._meta[\"{key}\"] is missing or malformed"))
}

pub(super) fn mismatch(message: impl Into<String>) -> RpcError {
    RpcError::new(code::HEADER_MISMATCH, message)
}

fn check_headers(request: &Request<'_>, headers: &ClientHeaders) -> Result<(), RpcError> {
    if headers.protocol_version.is_none() {
        return Err(mismatch("the header MCP-Protocol-Version is missing"));
    }
    match headers.method.as_deref() {
        None => return Err(mismatch("the header Mcp-Method is missing")),
        Some(method) if method != request.method => {
            return Err(mismatch(
                "Mcp-Method differs from the method of the message",
            ));
        }
        Some(_) => {}
    }
    let params = request.params.unwrap_or("{}");
    let expected = match request.method.as_str() {
        "tools/call" | "prompts/get" => name_of(params),
        "resources/read" => uri_of(params),
        _ => return Ok(()),
    };
    let given = headers
        .name
        .as_deref()
        .ok_or(mismatch("the header Mcp-Name is missing"))?;
    let given = decode_header(given).ok_or(mismatch("Mcp-Name is no valid base64"))?;
    // A message without a name is the method's to refuse.
    match expected {
        Some(expected) if expected != given => {
            Err(mismatch("Mcp-Name differs from the name in the message"))
        }
        _ => Ok(()),
    }
}

/// What is called, as the method itself will read it; nothing where it will refuse the message.
/// Other members play no part, or a malformed one would hide this.
fn name_of(params: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let named = serde_json::from_str::<Named>(params).ok()?;
    Some(named.name)
}

fn uri_of(params: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        uri: String,
    }
    let named = serde_json::from_str::<Named>(params).ok()?;
    Some(named.uri)
}

/// Whether these headers are of a request that waits for nothing and runs nothing. What they say is
/// true or the request is refused ([`classify`]).
pub fn is_answered_at_once(
    protocol_version: Option<&str>,
    method: Option<&str>,
    name: Option<&str>,
) -> bool {
    protocol_version == Some(MODERN)
        && match method {
            Some("tools/call") => name.is_some_and(crate::tools::is_answered_at_once),
            Some(
                "server/discover"
                | "tools/list"
                | "prompts/list"
                | "resources/list"
                | "resources/templates/list"
                | "completion/complete",
            ) => true,
            _ => false,
        }
}

/// `=?base64?…?=` around text that a header cannot carry; anything else is literal.
pub(super) fn decode_header(value: &str) -> Option<String> {
    let Some(encoded) = value
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="))
    else {
        return Some(value.to_owned());
    };
    String::from_utf8(crate::base::text::decode_base64(encoded)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}},"name":"a.b"}"#;

    fn check(method: &str, params: &str, headers: [Option<&str>; 3], expected: Result<Era, i32>) {
        let request = Request {
            id: "1",
            method: method.to_owned(),
            params: Some(params),
        };
        let [protocol_version, name_of_method, name] = headers.map(|text| text.map(str::to_owned));
        let headers = ClientHeaders {
            protocol_version,
            method: name_of_method,
            name,
            ..ClientHeaders::default()
        };
        let found = classify(
            &request,
            Transport::Http {
                headers: &headers,
                outlet: None,
            },
        );
        assert_eq!(
            found.map_err(|error| error.code),
            expected,
            "{method} {params} {headers:?}"
        );
    }

    #[test]
    fn rows_of_the_table_in_order() {
        let (modern, call) = (Some("2026-07-28"), Some("tools/call"));
        check(
            "tools/call",
            FULL,
            [modern, call, Some("a.b")],
            Ok(Era::Modern),
        );
        check(
            "tools/call",
            FULL,
            [modern, call, Some("=?base64?YS5i?=")],
            Ok(Era::Modern),
        );
        check(
            "initialize",
            FULL,
            [modern, Some("initialize"), None],
            Ok(Era::Modern),
        );
        check(
            "tools/call",
            FULL,
            [Some("2025-11-25"), call, None],
            Err(-32020),
        );
        let v999 = FULL.replace("2026-07-28", "v999.0.0");
        check("tools/call", &v999, [modern, call, None], Err(-32020));
        check("tools/call", "{}", [modern, call, None], Err(-32602));
        let short = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#;
        check(
            "tools/list",
            short,
            [modern, Some("tools/list"), None],
            Err(-32602),
        );
        check(
            "tools/list",
            r#"{"_meta":5}"#,
            [None, None, None],
            Err(-32602),
        );
        check(
            "tools/call",
            &v999,
            [Some("v999.0.0"), None, None],
            Err(-32022),
        );
        let old = FULL.replace("2026-07-28", "2025-11-25");
        check(
            "tools/call",
            &old,
            [Some("2025-11-25"), call, None],
            Err(-32022),
        );
        check("tools/call", FULL, [None, call, Some("a.b")], Err(-32020));
        check("tools/call", FULL, [modern, None, Some("a.b")], Err(-32020));
        check(
            "tools/call",
            FULL,
            [modern, Some("Tools/Call"), Some("a.b")],
            Err(-32020),
        );
        check("tools/call", FULL, [modern, call, None], Err(-32020));
        check("tools/call", FULL, [modern, call, Some("a_b")], Err(-32020));
        // A member that plays no part here hides nothing.
        let more = FULL.replace("\"name\"", "\"uri\":5,\"name\"");
        check(
            "tools/call",
            &more,
            [modern, call, Some("a.b")],
            Ok(Era::Modern),
        );
        check(
            "tools/call",
            &more,
            [modern, call, Some("system.health")],
            Err(-32020),
        );
        check(
            "tools/call",
            FULL,
            [modern, call, Some("=?base64?YS5i=?=")],
            Err(-32020),
        );
    }

    #[test]
    fn headers_of_notifications() {
        let check = |version: Option<&str>, expected: Result<(), i32>| {
            let headers = ClientHeaders {
                protocol_version: version.map(str::to_owned),
                ..ClientHeaders::default()
            };
            let found = check_version(&headers).map_err(|error| error.code);
            assert_eq!(found, expected, "{version:?}");
        };
        check(None, Ok(()));
        check(Some("2025-06-18"), Ok(()));
        check(Some("2026-07-28"), Ok(()));
        check(Some("2027-01-01"), Err(-32022));
        check(Some("1999-01-01"), Err(-32600));
        check(Some(""), Err(-32600));
    }

    #[test]
    fn handshake_revisions() {
        check("tools/list", "{}", [None, None, None], Ok(Era::Legacy));
        check(
            "tools/list",
            "{}",
            [Some("2025-06-18"), None, None],
            Ok(Era::Legacy),
        );
        check(
            "tools/list",
            "{}",
            [Some("1999-01-01"), None, None],
            Err(-32600),
        );
        check(
            "initialize",
            "{}",
            [Some("1999-01-01"), None, None],
            Ok(Era::Legacy),
        );
    }
}
