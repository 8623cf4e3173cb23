//! Tools whose code asks the client: the rounds of a call, what a client may be asked, and what
//! becomes of a state that is not the client's own.

use serde_json::{Map, Value, json};

use crate::support::http::{Reply, failure};
use crate::support::pipe::{Home, Pipe};
use crate::support::server::{Folder, Server};

const NAME: &str = "await ctx.elicit('name', { message: 'Who are you?', requestedSchema: {
    type: 'object', properties: { name: { type: 'string' } }, required: ['name'] } })";

/// Capabilities of a client that can be asked everything.
fn everything() -> Value {
    json!({ "elicitation": {}, "sampling": {}, "roots": {} })
}

fn tool(name: &str, code: &str) -> Value {
    json!({ "name": name, "description": "d", "code": code })
}

/// The parameters of a call of 2026-07-28, with more of them.
fn params(capabilities: &Value, name: &str, arguments: &Value, more: Value) -> Value {
    let mut all = json!({
        "name": name,
        "arguments": arguments,
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": capabilities,
        },
    });
    let Value::Object(more) = more else {
        panic!("{more}")
    };
    all.as_object_mut().unwrap().extend(more);
    all
}

fn post(server: &Server, fields: &[(&str, &str)], params: &Value) -> Reply {
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
    let name = params["name"].as_str().unwrap();
    let usual = [
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", name),
    ];
    let fields: Vec<_> = usual.into_iter().chain(fields.iter().copied()).collect();
    server.connect().post(&fields, &body.to_string())
}

/// One round of a call without arguments by a client that can be asked everything.
fn round(server: &Server, name: &str, more: Value) -> Value {
    let reply = post(server, &[], &params(&everything(), name, &json!({}), more));
    assert_eq!(reply.status, 200, "{reply:?}");
    let answer = reply.json();
    assert_eq!(answer.get("error"), None, "{answer}");
    answer["result"].clone()
}

/// The questions of a result, and its state.
fn asked(result: &Value) -> (Map<String, Value>, String) {
    assert_eq!(result["resultType"], "input_required", "{result}");
    for absent in [
        "content",
        "isError",
        "structuredContent",
        "ttlMs",
        "cacheScope",
    ] {
        assert_eq!(result.get(absent), None, "{result}");
    }
    let info = &result["_meta"]["io.modelcontextprotocol/serverInfo"];
    assert_eq!(info["name"], "dynamic-mcp", "{result}");
    let questions = result["inputRequests"].as_object().unwrap().clone();
    (
        questions,
        result["requestState"].as_str().unwrap().to_owned(),
    )
}

/// The value that the code returned at last.
fn value(result: &Value) -> Value {
    assert_eq!(result["resultType"], "complete", "{result}");
    assert_eq!(result.get("isError"), None, "{result}");
    result["structuredContent"]["result"].clone()
}

fn accept(content: Value) -> Value {
    json!({ "action": "accept", "content": content })
}

fn answers(state: &str, responses: Value) -> Value {
    json!({ "requestState": state, "inputResponses": responses })
}

#[test]
fn a_call_asks_and_goes_on_with_the_answer() {
    let server = Server::start(&[]);
    server.create(tool("ask.name", &format!("const a = {NAME}; return a")));
    let first = round(&server, "ask.name", json!({}));
    let (questions, state) = asked(&first);
    let expected = json!({ "name": { "method": "elicitation/create", "params": {
        "message": "Who are you?", "requestedSchema": { "type": "object",
            "properties": { "name": { "type": "string" } }, "required": ["name"] } } } });
    assert_eq!(Value::Object(questions), expected);
    let answer = accept(json!({ "name": "Ada" }));
    let last = round(
        &server,
        "ask.name",
        answers(&state, json!({ "name": answer })),
    );
    assert_eq!(value(&last), answer);
    for action in ["decline", "cancel"] {
        let answer = json!({ "action": action });
        let last = round(
            &server,
            "ask.name",
            answers(&state, json!({ "name": answer })),
        );
        assert_eq!(value(&last), answer);
    }
    // Each round is a run, and counted.
    let asking = "dynamic_mcp_tool_calls_total{kind=\"dynamic\",outcome=\"input_required\"}";
    assert_eq!(server.metric(asking), 1.0);
}
