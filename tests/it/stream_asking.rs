//! Clients of handshake revisions that are asked beside their call: on the call's own stream, and
//! on a pipe.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::stream_calls::{ask, begin, call_in};
use crate::support::engine::await_that;
use crate::support::events::Events;
use crate::support::pipe::{Home, Pipe};
use crate::support::server::Server;

const NAME: &str = "const { action, content } = await ctx.elicit('name', { message: 'Who?',
    requestedSchema: { type: 'object', properties: { name: { type: 'string' } } } });
    return action === 'accept' ? content.name : action;";
const WAITING: &str = "dynamic_mcp_client_questions_waiting";

fn ended(server: &Server, how: &str) -> f64 {
    server.metric(&format!(
        "dynamic_mcp_client_questions_total{{result=\"{how}\"}}"
    ))
}

/// The question that comes next, and its id.
fn question(events: &mut Events, method: &str) -> (Value, String) {
    let message = events.next().unwrap();
    assert_eq!(message["method"], method, "{message}");
    let id = message["id"].as_str().unwrap().to_owned();
    assert_eq!(id.len(), 32, "{message}");
    (message["params"].clone(), id)
}

fn answer(server: &Server, session: &str, id: &str, result: Value) -> u16 {
    let body = json!({"jsonrpc": "2.0", "id": id, "result": result});
    let fields = [("Mcp-Session-Id", session)];
    server.connect().post(&fields, &body.to_string()).status
}

fn call_tool(server: &Server, session: &str, name: &str) -> Events {
    let body = json!({
        "jsonrpc": "2.0", "id": "call", "method": "tools/call", "params": { "name": name },
    });
    let fields = [
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
        ("Mcp-Session-Id", session),
    ];
    Events::open(server.address, "POST", &fields, &body.to_string())
}

fn accept(name: &str) -> Value {
    json!({"action": "accept", "content": {"name": name}})
}

/// The call's own result, which is the end.
fn result(events: &mut Events) -> Value {
    let message = events.next().unwrap();
    assert_eq!(message["id"], "call", "{message}");
    assert_eq!(events.next(), None);
    message["result"]["structuredContent"].clone()
}

#[test]
fn a_client_is_asked_on_the_stream_of_its_call_and_answers_beside_it() {
    let server = Server::start(&[]);
    let session = begin(
        &server,
        json!({"elicitation": {}, "sampling": {}, "roots": {}}),
    );
    let mut events = call_in(&server, &session, NAME);
    events.assert_is_stream();
    let (params, id) = question(&mut events, "elicitation/create");
    assert_eq!(params["message"], "Who?");
    assert_eq!(server.metric(WAITING), 1.0);
    assert_eq!(answer(&server, &session, &id, accept("Ada")), 202);
    assert_eq!(result(&mut events)["result"], "Ada");
    assert_eq!(
        (server.metric(WAITING), ended(&server, "answered")),
        (0.0, 1.0)
    );
    // A second answer is nobody's.
    assert_eq!(answer(&server, &session, &id, accept("Eve")), 202);

    let code = "const [model, { roots }] = await Promise.all([
        ctx.sample('q', { messages: [{ role: 'user', content: { type: 'text', text: 'hi' } }],
            maxTokens: 9 }),
        ctx.listRoots('r')]);
        return [model.content.text, roots.length]";
    let mut events = call_in(&server, &session, code);
    let (params, id) = question(&mut events, "sampling/createMessage");
    assert_eq!(params["maxTokens"], 9);
    let said = json!({
        "role": "assistant", "model": "m", "content": {"type": "text", "text": "ho"},
    });
    answer(&server, &session, &id, said);
    let (params, id) = question(&mut events, "roots/list");
    assert_eq!(params, Value::Null);
    answer(&server, &session, &id, json!({"roots": []}));
    assert_eq!(result(&mut events)["result"], json!(["ho", 0]));
}

#[test]
fn only_the_session_that_was_asked_can_answer() {
    let server = Server::start(&[]);
    let session = begin(&server, json!({"elicitation": {}}));
    let other = begin(&server, json!({"elicitation": {}}));
    let mut events = call_in(&server, &session, NAME);
    let (_, id) = question(&mut events, "elicitation/create");
    assert_eq!(answer(&server, &other, &id, accept("Eve")), 202);
    let body = json!({"jsonrpc": "2.0", "id": id, "result": accept("Eve")});
    let nobodys = server.connect().post(&[], &body.to_string());
    assert_eq!(nobodys.status, 202);
    let modern = [("MCP-Protocol-Version", "2026-07-28")];
    let fields = [modern[0], ("Mcp-Session-Id", session.as_str())];
    assert_eq!(
        server.connect().post(&fields, &body.to_string()).status,
        202
    );
    assert_eq!(answer(&server, &session, &id, accept("Ada")), 202);
    assert_eq!(result(&mut events)["result"], "Ada");
}

#[test]
fn answers_that_do_not_fit_and_refusals_are_errors_of_the_code() {
    let server = Server::start(&[]);
    let session = begin(&server, json!({"elicitation": {}}));
    let code = format!("try {{ {NAME} }} catch (error) {{ return error.message }}");
    let mut events = call_in(&server, &session, &code);
    let (_, id) = question(&mut events, "elicitation/create");
    answer(&server, &session, &id, json!({"action": "perhaps"}));
    let unfit = "the client's answer does not fit what it was asked";
    assert_eq!(result(&mut events)["result"], unfit);

    let mut events = call_in(&server, &session, &code);
    let (_, id) = question(&mut events, "elicitation/create");
    let body = json!({"jsonrpc": "2.0", "id": id, "error": {"code": -1, "message": "not now"}});
    let fields = [("Mcp-Session-Id", session.as_str())];
    server.connect().post(&fields, &body.to_string());
    assert_eq!(result(&mut events)["result"], "the client refused: not now");
    assert_eq!(ended(&server, "refused"), 1.0);
}

#[test]
fn nobody_is_asked_what_was_not_declared() {
    let server = Server::start(&[]);
    let session = begin(&server, json!({"roots": {}}));
    let mut events = call_in(&server, &session, NAME);
    let message = events.json();
    let error = &message["result"]["structuredContent"]["error"];
    let text = error["message"].as_str().unwrap();
    assert!(
        text.contains("did not declare the capability elicitation"),
        "{text}"
    );
    let tool = json!({
        "name": "asks.first", "description": "d", "code": NAME,
        "requiresClientCapabilities": ["elicitation"],
    });
    server.create(tool);
    let answer = ask(
        &server,
        &session,
        "tools/call",
        json!({"name": "asks.first"}),
    );
    let error = &answer["result"]["structuredContent"]["error"];
    assert_eq!(error["kind"], "policy", "{answer}");
}

#[test]
fn a_question_ends_with_its_call_and_with_its_client() {
    let server = Server::start(&[]);
    let session = begin(&server, json!({"elicitation": {}}));
    let mut events = call_in(&server, &session, NAME);
    let (_, id) = question(&mut events, "elicitation/create");
    let note = json!({
        "jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "call"},
    });
    let fields = [("Mcp-Session-Id", session.as_str())];
    server.connect().post(&fields, &note.to_string());
    let cancelled = events.expect("notifications/cancelled");
    assert_eq!(cancelled["requestId"], id.as_str());
    assert_eq!(result(&mut events)["error"]["kind"], "cancelled");

    let mut events = call_in(&server, &session, NAME);
    question(&mut events, "elicitation/create");
    drop(events);
    await_that("nobody waits", || server.metric(WAITING) == 0.0);
    assert_eq!(ended(&server, "abandoned"), 2.0);
    let threw = r#"dynamic_mcp_tool_calls_total{kind="run_js_ephemeral",outcome="threw"}"#;
    await_that("its end", || server.metric(threw) == 1.0);
}

#[test]
fn the_client_s_time_is_not_the_code_s() {
    let server = Server::start(&[]);
    let session = begin(&server, json!({"elicitation": {}}));
    let tool = json!({
        "name": "slow.client", "description": "d", "timeoutMs": 1000,
        "code": format!("const began = Date.now(); {}", NAME.replace("content.name", "Date.now() - began")),
    });
    server.create(tool);
    let code_of = |events: &mut Events| question(events, "elicitation/create").1;
    let mut events = call_tool(&server, &session, "slow.client");
    let id = code_of(&mut events);
    // Longer than the code has: what is measured is that it may.
    std::thread::sleep(Duration::from_millis(1500));
    answer(&server, &session, &id, accept("Ada"));
    let waited = result(&mut events)["result"].as_u64().unwrap();
    assert!(waited >= 1500, "{waited}");
}

const ASKS: &str = "const ask = (key) => ctx.elicit(key, { message: 'Who?',
    requestedSchema: { type: 'object', properties: { name: { type: 'string' } } } });";

#[test]
fn code_that_asks_for_ever_ends_in_time() {
    let server = Server::start(&[]);
    let session = begin(&server, json!({"elicitation": {}}));
    server.create(json!({
        "name": "asks.ever", "description": "d", "timeoutMs": 1000,
        "code": format!("{ASKS} for (let n = 0; ; n++) try {{ await ask('k' + n) }} catch {{}}"),
    }));
    let began = Instant::now();
    let mut events = call_tool(&server, &session, "asks.ever");
    let mut asked = 0;
    let ended = loop {
        let message = events.next().unwrap();
        if message["id"] == "call" {
            break message;
        }
        asked += 1;
        let id = message["id"].as_str().unwrap();
        answer(&server, &session, id, json!({"action": "perhaps"}));
    };
    let error = &ended["result"]["structuredContent"]["error"];
    assert_eq!((asked, &error["kind"]), (64, &json!("timeout")), "{ended}");
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_cancelled_call_that_asked_for_much_asks_no_more() {
    let server = Server::start(&[]);
    let session = begin(&server, json!({"elicitation": {}}));
    let code = format!(
        "{ASKS} for (;;) await Promise.allSettled(Array.from({{ length: 300 }}, (_, n) => ask('k' + n)))"
    );
    let mut events = call_in(&server, &session, &code);
    question(&mut events, "elicitation/create");
    let note = json!({
        "jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "call"},
    });
    let began = Instant::now();
    let fields = [("Mcp-Session-Id", session.as_str())];
    server.connect().post(&fields, &note.to_string());
    events.expect("notifications/cancelled");
    assert_eq!(result(&mut events)["error"]["kind"], "cancelled");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn half_of_the_places_are_for_calls_whose_clients_need_not_answer() {
    let server = Server::start(&[("MCP_TOOL_MAX_CONCURRENCY", "2")]);
    let session = begin(&server, json!({"elicitation": {}}));
    let mut first = call_in(&server, &session, NAME);
    let (_, id) = question(&mut first, "elicitation/create");
    let mut second = call_in(&server, &session, NAME);
    let error = second.json()["result"]["structuredContent"]["error"].clone();
    let text = error["message"].as_str().unwrap();
    assert!(
        text.contains("too many calls wait for their clients"),
        "{error}"
    );
    answer(&server, &session, &id, accept("Ada"));
    assert_eq!(result(&mut first)["result"], "Ada");
}

#[test]
fn a_client_is_asked_on_its_pipe() {
    let home = Home::new();
    let mut pipe = Pipe::start(&home, &[]);
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {"elicitation": {}}});
    pipe.request(0, "initialize", &hello);
    assert_eq!(pipe.next()["result"]["protocolVersion"], "2025-06-18");
    pipe.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    pipe.run(1, NAME);
    let asked = pipe.next();
    assert_eq!(asked["method"], "elicitation/create", "{asked}");
    let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": accept("Ada")});
    pipe.send(&answer.to_string());
    let ended = pipe.next();
    assert_eq!(
        ended["result"]["structuredContent"]["result"], "Ada",
        "{ended}"
    );
}
