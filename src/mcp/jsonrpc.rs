//! JSON-RPC 2.0 messages: bytes to requests, results and errors to text. An id is echoed exactly as
//! it came.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::auth::Denied;
use crate::domain::json::JsonText;

/// Codes of JSON-RPC 2.0 and of MCP 2026-07-28, and our own: those of the HTTP status beside them.
pub(super) mod code {
    pub(crate) const PARSE_ERROR: i32 = -32700;
    pub(crate) const INVALID_REQUEST: i32 = -32600;
    pub(crate) const METHOD_NOT_FOUND: i32 = -32601;
    pub(crate) const INVALID_PARAMS: i32 = -32602;
    pub(crate) const INTERNAL_ERROR: i32 = -32603;
    /// Of revisions before 2026-07-28; that one has `INVALID_PARAMS` in its place.
    pub(crate) const RESOURCE_NOT_FOUND: i32 = -32002;
    pub(crate) const UNKNOWN_SESSION: i32 = 404;
    pub(crate) const HEADER_MISMATCH: i32 = -32020;
    pub(crate) const MISSING_CAPABILITY: i32 = -32021;
    pub(crate) const UNSUPPORTED_VERSION: i32 = -32022;
    /// Ours: the HTTP status that goes with it.
    pub(crate) const FORBIDDEN: i32 = 403;
    pub(crate) const TOO_MANY_REQUESTS: i32 = 429;
}

/// An error to be sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RpcError {
    pub(super) code: i32,
    pub(super) message: String,
    pub(super) data: Option<Value>,
    /// For transports that say in their own way which scopes are needed.
    pub(super) denied: Option<Box<Denied>>,
}

impl RpcError {
    pub(super) fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
            denied: None,
        }
    }

    pub(super) fn denied(denied: Denied) -> Self {
        Self {
            code: code::FORBIDDEN,
            message: denied.to_string(),
            data: Some(json!({ "scopes": denied.scopes })),
            denied: Some(Box::new(denied)),
        }
    }

    pub(super) fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(code::INVALID_PARAMS, message)
    }
}

/// An id to compare requests by: one JSON text for however it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestId(String);

impl RequestId {
    /// `None` for what is no id: neither a string nor an integer.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if !is_id(text) {
            return None;
        }
        // Escapes can spell one string in many ways.
        let plain = serde_json::from_str::<String>(text);
        let plain = plain.and_then(|plain| serde_json::to_string(&plain));
        Some(Self(plain.unwrap_or_else(|_| text.to_owned())))
    }

    /// JSON text.
    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

/// One message of a client.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Message<'a> {
    Request(Request<'a>),
    Notification {
        method: String,
        params: Option<&'a str>,
    },
    /// An answer to a request of ours.
    Response(Response<'a>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request<'a> {
    /// JSON text: a string or an integer.
    pub(super) id: &'a str,
    pub(super) method: String,
    /// JSON text of an object.
    pub(super) params: Option<&'a str>,
}

/// A result, or else an error; JSON texts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Response<'a> {
    pub(super) id: &'a str,
    pub(super) result: Option<&'a str>,
    pub(super) error: Option<&'a str>,
}

impl Response<'_> {
    /// The result, or the message of the error.
    pub(super) fn outcome(&self) -> Result<JsonText, String> {
        #[derive(Deserialize)]
        struct Failed {
            message: String,
        }
        match (self.error, self.result) {
            (None, Some(result)) => {
                JsonText::parse(result.to_owned()).map_err(|error| error.to_string())
            }
            (error, _) => {
                let failed: Option<Failed> = serde_json::from_str(error.unwrap_or_default()).ok();
                Err(failed.map_or_else(String::new, |failed| failed.message))
            }
        }
    }
}

/// A message that cannot be taken, with its id where that could be read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rejected<'a> {
    pub(super) id: Option<&'a str>,
    pub(super) error: RpcError,
}

/// A body: one message, or an array of them.
#[derive(Debug, PartialEq)]
pub(super) enum Body<'a> {
    One(Result<Message<'a>, Rejected<'a>>),
    Batch(Vec<Result<Message<'a>, Rejected<'a>>>),
}

/// Most messages in a batch.
const MAX_BATCH: usize = 64;

/// Reads a body.
pub(super) fn parse(bytes: &[u8]) -> Result<Body<'_>, RpcError> {
    let not_json = |what: String| RpcError::new(code::PARSE_ERROR, what);
    let text = std::str::from_utf8(bytes).map_err(|_| not_json("the body is not UTF-8".into()))?;
    let whole: &RawValue =
        serde_json::from_str(text).map_err(|error| not_json(format!("not JSON: {error}")))?;
    if !whole.get().starts_with('[') {
        return Ok(Body::One(parse_one(whole.get())));
    }
    let parts: Vec<&RawValue> =
        serde_json::from_str(whole.get()).map_err(|error| not_json(error.to_string()))?;
    if parts.is_empty() || parts.len() > MAX_BATCH {
        let message = format!("a batch holds 1 to {MAX_BATCH} messages");
        return Err(RpcError::new(code::INVALID_REQUEST, message));
    }
    Ok(Body::Batch(
        parts
            .into_iter()
            .map(|part| parse_one(part.get()))
            .collect(),
    ))
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "raw")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    error: Option<&'a RawValue>,
}

/// A member as its text; `null` is a member too.
fn raw<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

fn parse_one(text: &str) -> Result<Message<'_>, Rejected<'_>> {
    let reject = |id, message: &str| Rejected {
        id,
        error: RpcError::new(code::INVALID_REQUEST, message),
    };
    if !text.starts_with('{') {
        return Err(reject(None, "a message must be an object"));
    }
    let envelope: Envelope<'_> = serde_json::from_str(text)
        .map_err(|error| reject(None, &format!("not JSON-RPC: {error}")))?;
    let id = envelope.id.map(RawValue::get);
    let readable_id = id.filter(|id| is_id(id));
    if envelope.jsonrpc.map(RawValue::get) != Some("\"2.0\"") {
        return Err(reject(readable_id, "\"jsonrpc\" must be \"2.0\""));
    }
    if id.is_some() && readable_id.is_none() {
        return Err(reject(None, "\"id\" must be a string or an integer"));
    }
    let Some(method) = envelope.method else {
        let result = envelope.result.map(RawValue::get);
        let error = envelope.error.map(RawValue::get);
        return match (id, result.or(error)) {
            (Some(id), Some(_)) => Ok(Message::Response(Response { id, result, error })),
            _ => Err(reject(readable_id, "\"method\" is missing")),
        };
    };
    let method: String = serde_json::from_str(method.get())
        .map_err(|_| reject(readable_id, "\"method\" must be a string"))?;
    let params = envelope.params.map(RawValue::get);
    if params.is_some_and(|params| !params.starts_with('{')) {
        return Err(reject(readable_id, "\"params\" must be an object"));
    }
    Ok(match readable_id {
        Some(id) => Message::Request(Request { id, method, params }),
        None => Message::Notification { method, params },
    })
}

/// The id of the request that a `notifications/cancelled` is about.
pub(super) fn cancelled_id(params: Option<&str>) -> Option<RequestId> {
    #[derive(Deserialize)]
    struct Params<'a> {
        #[serde(borrow, rename = "requestId")]
        request_id: &'a RawValue,
    }
    let params: Params<'_> = serde_json::from_str(params?).ok()?;
    RequestId::parse(params.request_id.get())
}

/// A string or an integer; the text is known to be JSON.
fn is_id(text: &str) -> bool {
    text.starts_with('"')
        || text
            .strip_prefix('-')
            .unwrap_or(text)
            .bytes()
            .all(|byte| byte.is_ascii_digit())
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: i32,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: &'a Option<Value>,
}

/// The text of a result; `result` is the text of a JSON object.
pub(super) fn result_text(id: &str, result: &str) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}")
}

/// The text of an error. Without a readable id the member is left out: clients cannot parse null.
pub(super) fn error_text(id: Option<&str>, error: &RpcError) -> String {
    let body = ErrorBody {
        code: error.code,
        message: &error.message,
        data: &error.data,
    };
    let body = serde_json::to_string(&body).unwrap_or_default();
    match id {
        Some(id) => format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{body}}}"),
        None => format!("{{\"jsonrpc\":\"2.0\",\"error\":{body}}}"),
    }
}

/// The text that answers what cannot even be taken as a message.
pub fn invalid_request(message: &str) -> String {
    error_without_id(code::INVALID_REQUEST, message)
}

/// The text of an error that a transport itself has to report, before or beside any message.
pub fn error_without_id(code: i32, message: &str) -> String {
    error_text(None, &RpcError::new(code, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(body: &str) -> (Option<String>, i32) {
        match parse(body.as_bytes()) {
            Err(error) => (None, error.code),
            Ok(Body::One(Err(rejected))) => (rejected.id.map(str::to_owned), rejected.error.code),
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn ids_come_back_as_they_came() {
        for id in ["0", "-7", "\"\"", "\"a\\u0062\"", "12345678901234567890123"] {
            let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"ping\"}}");
            let Ok(Body::One(Ok(Message::Request(request)))) = parse(body.as_bytes()) else {
                panic!("{id}");
            };
            assert_eq!(request.id, id);
            assert_eq!(
                result_text(id, "{}"),
                format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}")
            );
        }
    }

    #[test]
    fn ids_are_compared_by_what_they_say() {
        let same = |one: &str, other: &str| RequestId::parse(one) == RequestId::parse(other);
        assert!(same("1", "1") && same("\"a\"", "\"\\u0061\""));
        assert!(!same("1", "\"1\"") && !same("0", "-1"));
        assert!(!same("12345678901234567890123", "12345678901234567890124"));
        assert!(!same("\"\\ud800\"", "\"\\ud801\""));
        for none in ["null", "1.5", "{}", "true"] {
            assert_eq!(RequestId::parse(none), None, "{none}");
        }
        let check = |params: Option<&str>, expected: Option<&str>| {
            let found = cancelled_id(params);
            assert_eq!(found.as_ref().map(RequestId::text), expected, "{params:?}");
        };
        check(Some(r#"{"requestId":7,"reason":"x"}"#), Some("7"));
        check(Some(r#"{"requestId":null}"#), None);
        check(Some("{}"), None);
        check(None, None);
    }

    #[test]
    fn what_is_no_request_is_told_so() {
        let check = |body: &str, id: Option<&str>, code: i32| {
            assert_eq!(code_of(body), (id.map(str::to_owned), code), "{body}");
        };
        check("", None, -32700);
        check("{", None, -32700);
        check("{}x", None, -32700);
        check("1", None, -32600);
        check("\"x\"", None, -32600);
        check("{}", None, -32600);
        check("[]", None, -32600);
        check(r#"{"jsonrpc":"2.0","id":1}"#, Some("1"), -32600);
        check(
            r#"{"jsonrpc":"1.0","id":1,"method":"x"}"#,
            Some("1"),
            -32600,
        );
        check(r#"{"id":1,"method":"x"}"#, Some("1"), -32600);
        check(r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#, None, -32600);
        check(r#"{"jsonrpc":"2.0","id":1.5,"method":"x"}"#, None, -32600);
        check(r#"{"jsonrpc":"2.0","id":1e3,"method":"x"}"#, None, -32600);
        check(r#"{"jsonrpc":"2.0","id":{},"method":"x"}"#, None, -32600);
        check(r#"{"jsonrpc":"2.0","id":1,"method":5}"#, Some("1"), -32600);
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"x","params":[]}"#,
            Some("1"),
            -32600,
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}"#,
            None,
            -32600,
        );
        assert_eq!(parse(b"\xff{}").unwrap_err().code, -32700);
    }

    #[test]
    fn notifications_answers_and_batches() {
        let one = |text: &str| match parse(text.as_bytes()) {
            Ok(Body::One(Ok(message))) => format!("{message:?}"),
            other => panic!("{other:?}"),
        };
        assert!(one(r#"{"jsonrpc":"2.0","method":"a/b"}"#).starts_with("Notification"));
        let outcome = |text: &str| match parse(text.as_bytes()) {
            Ok(Body::One(Ok(Message::Response(response)))) => {
                (response.id.to_owned(), response.outcome())
            }
            other => panic!("{other:?}"),
        };
        let result = JsonText::parse("{\"a\":1.0}".to_owned()).unwrap();
        let given = outcome(r#"{"jsonrpc":"2.0","id":"x","result":{"a":1.0}}"#);
        assert_eq!(given, ("\"x\"".to_owned(), Ok(result)));
        for (error, message) in [(r#"{"code":1,"message":"no"}"#, "no"), ("7", "")] {
            let given = outcome(&format!(r#"{{"jsonrpc":"2.0","id":1,"error":{error}}}"#));
            assert_eq!(given, ("1".to_owned(), Err(message.to_owned())));
        }
        let batch = parse(br#"[{"jsonrpc":"2.0","method":"a"},1]"#);
        assert!(matches!(batch, Ok(Body::Batch(parts)) if parts.len() == 2 && parts[1].is_err()));
    }

    #[test]
    fn nesting_does_not_exhaust_the_stack() {
        let deep = "[".repeat(500_000);
        assert!(parse(deep.as_bytes()).is_err());
        let body = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"params\":{{\"a\":{}{}}}}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert!(matches!(parse(body.as_bytes()), Ok(Body::One(Ok(_)))));
    }
}
