//! From a message to its reply: one match over the methods of each era.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::classify::{Era, Transport, check_posted, classify};
use super::jsonrpc::{
    Body, Message, Rejected, Request, RpcError, code, error_text, parse, result_text,
};
use super::revision::{self, ASSUMED, BATCHING, MODERN};
use super::{Reply, Server, Verdict, wire};
use crate::domain::json::JsonText;
use crate::tools::{CallContext, INSTRUCTIONS};

/// Tools on one page of a list. Many clients read the first page only, so it is large.
const PAGE: usize = 1000;

impl Server {
    /// Answers one body of a client.
    pub fn answer(&self, body: &[u8], transport: &Transport, context: &CallContext<'_>) -> Reply {
        match parse(body) {
            Err(error) => malformed(None, &error),
            Ok(Body::One(message)) => self.answer_one(message, transport, context),
            Ok(Body::Batch(messages)) => self.answer_batch(messages, transport, context),
        }
    }

    fn answer_one(
        &self,
        message: Result<Message<'_>, Rejected<'_>>,
        transport: &Transport,
        context: &CallContext<'_>,
    ) -> Reply {
        let request = match message {
            Err(rejected) => return malformed(rejected.id, &rejected.error),
            Ok(Message::Notification { .. } | Message::Response) => {
                return match check_posted(transport) {
                    Ok(()) => Reply::Accepted,
                    Err(error) => malformed(None, &error),
                };
            }
            Ok(Message::Request(request)) => request,
        };
        let era = match classify(&request, transport) {
            Ok(era) => era,
            Err(error) => return malformed(Some(request.id), &error),
        };
        let result = match era {
            Era::Legacy => self.legacy_method(&request, context),
            Era::Modern => self.modern_method(&request, context),
        };
        match result {
            Ok(result) => Reply::Message {
                body: result_text(request.id, &result),
                verdict: Verdict::Answered,
            },
            Err(error) => Reply::Message {
                body: error_text(Some(request.id), &error),
                verdict: match (era, error.code) {
                    (Era::Modern, code::METHOD_NOT_FOUND) => Verdict::UnknownMethod,
                    _ => Verdict::Answered,
                },
            },
        }
    }

    fn answer_batch(
        &self,
        messages: Vec<Result<Message<'_>, Rejected<'_>>>,
        transport: &Transport,
        context: &CallContext<'_>,
    ) -> Reply {
        let revision = match transport {
            Transport::Http(headers) => headers.protocol_version.as_deref().unwrap_or(ASSUMED),
            Transport::Stdio => BATCHING,
        };
        let unfit = messages.iter().any(|message| {
            matches!(message, Ok(Message::Request(request))
                if request.method == "initialize"
                    || !matches!(classify(request, transport), Ok(Era::Legacy)))
        });
        if revision != BATCHING || unfit {
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
        Reply::Message {
            body: format!("[{}]", bodies.join(",")),
            verdict: Verdict::Answered,
        }
    }

    fn legacy_method(
        &self,
        request: &Request<'_>,
        context: &CallContext<'_>,
    ) -> Result<String, RpcError> {
        match request.method.as_str() {
            "initialize" => initialize(request),
            "ping" => Ok("{}".to_owned()),
            "tools/list" => self.list_tools(request, Era::Legacy),
            "tools/call" => self.call_tool(request, Era::Legacy, context),
            _ => Err(method_not_found()),
        }
    }

    fn modern_method(
        &self,
        request: &Request<'_>,
        context: &CallContext<'_>,
    ) -> Result<String, RpcError> {
        match request.method.as_str() {
            "server/discover" => Ok(discover()),
            "tools/list" => self.list_tools(request, Era::Modern),
            "tools/call" => self.call_tool(request, Era::Modern, context),
            _ => Err(method_not_found()),
        }
    }

    fn list_tools(&self, request: &Request<'_>, era: Era) -> Result<String, RpcError> {
        #[derive(Deserialize)]
        struct Params {
            cursor: Option<String>,
        }
        let params: Params = read(request)?;
        let mut tools = self.tools.list();
        if let Some(cursor) = params.cursor.filter(|cursor| !cursor.is_empty()) {
            let after = decode_cursor(&cursor)
                .ok_or_else(|| RpcError::invalid_params("the cursor is not one of this list"))?;
            tools.retain(|tool| tool.name > after);
        }
        let more = tools.len() > PAGE;
        tools.truncate(PAGE);
        let next = tools
            .last()
            .filter(|_| more)
            .map(|tool| encode_cursor(&tool.name));
        Ok(wire::list_result(tools, next, era))
    }

    fn call_tool(
        &self,
        request: &Request<'_>,
        era: Era,
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
        let answer = self
            .tools
            .call(context, &params.name, &arguments)
            .map_err(|_| RpcError::invalid_params("there is no tool of that name"))?;
        Ok(wire::call_result(&answer, era))
    }
}

fn malformed(id: Option<&str>, error: &RpcError) -> Reply {
    Reply::Message {
        body: error_text(id, error),
        verdict: Verdict::Malformed,
    }
}

fn method_not_found() -> RpcError {
    RpcError::new(code::METHOD_NOT_FOUND, "this method is not served")
}

fn read<'a, T: Deserialize<'a>>(request: &Request<'a>) -> Result<T, RpcError> {
    serde_json::from_str(request.params.unwrap_or("{}"))
        .map_err(|error| RpcError::invalid_params(format!("params: {error}")))
}

fn capabilities() -> Value {
    json!({ "tools": {} })
}

fn initialize(request: &Request<'_>) -> Result<String, RpcError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Params {
        protocol_version: String,
    }
    let params: Params = read(request)?;
    let result = json!({
        "protocolVersion": revision::negotiate(&params.protocol_version),
        "capabilities": capabilities(),
        "serverInfo": wire::server_info(),
        "instructions": INSTRUCTIONS,
    });
    Ok(result.to_string())
}

fn discover() -> String {
    let mut result = Map::new();
    result.insert("supportedVersions".to_owned(), json!([MODERN]));
    result.insert("capabilities".to_owned(), capabilities());
    result.insert("instructions".to_owned(), INSTRUCTIONS.into());
    wire::cacheable(result, Era::Modern)
}

/// A page ends with the name it ended with: stable while tools come and go.
fn encode_cursor(name: &str) -> String {
    crate::base::ids::hex(name.as_bytes())
}

fn decode_cursor(cursor: &str) -> Option<String> {
    if cursor.len() > 512 {
        return None;
    }
    String::from_utf8(crate::base::ids::unhex(cursor)?).ok()
}
