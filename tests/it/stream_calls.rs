//! Calls that are answered by a stream of events: logs and progress before the result, in either
//! era and on a pipe, and what becomes of a call whose client goes.

use serde_json::{Value, json};

use crate::support::engine::await_that;
use crate::support::events::Events;
use crate::support::http::JSON;
use crate::support::pipe::{Home, Pipe};
use crate::support::server::Server;

const BOTH: (&str, &str) = ("Accept", "application/json, text/event-stream");
const OPEN: &str = "dynamic_mcp_http_streams_open";

/// Says where it stands, in three ways.
const TALKING: &str = "
    ctx.progress(1, 4, 'begun');
    ctx.log('info', { step: 1 });
    ctx.progress(1, 4, 'again');
    ctx.log('error', 'trouble\\nhere');
    console.warn('printed %d', 2);
    ctx.progress(2.5);
    return 'done';";
const ENDLESS: &str = "ctx.progress(1); await new Promise(resolve => setTimeout(resolve, 1e6))";

/// A session's id.
pub(crate) fn begin(server: &Server, capabilities: Value) -> String {
    let params = json!({
        "protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": {},
    });
    let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    let reply = server.connect().post(&[], &body.to_string());
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.header("Mcp-Session-Id").unwrap().to_owned()
}

/// A request of a session; its result.
pub(crate) fn ask(server: &Server, session: &str, method: &str, params: Value) -> Value {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let fields = [("Mcp-Session-Id", session)];
    server.connect().post(&fields, &body.to_string()).json()
}

/// A call of code in a session, with a progress token.
pub(crate) fn call_in(server: &Server, session: &str, code: &str) -> Events {
    let params = json!({
        "name": "run_js_ephemeral", "arguments": { "code": code },
        "_meta": { "progressToken": 7 },
    });
    let body = json!({"jsonrpc": "2.0", "id": "call", "method": "tools/call", "params": params});
    let fields = [JSON, BOTH, ("Mcp-Session-Id", session)];
    Events::open(server.address, "POST", &fields, &body.to_string())
}

/// A call of code by a client of the stateless era, with more in `_meta`.
pub(crate) fn call_modern(server: &Server, code: &str, more: Value) -> Events {
    let mut meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    meta.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let params = json!({
        "name": "run_js_ephemeral", "arguments": { "code": code }, "_meta": meta,
    });
    let body = json!({"jsonrpc": "2.0", "id": "call", "method": "tools/call", "params": params});
    let fields = [
        JSON,
        BOTH,
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "run_js_ephemeral"),
    ];
    Events::open(server.address, "POST", &fields, &body.to_string())
}

fn note(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "method": format!("notifications/{method}"), "params": params})
}

fn log(level: &str, data: Value) -> Value {
    let params = json!({"level": level, "logger": "run_js_ephemeral", "data": data});
    note("message", params)
}

/// What [`TALKING`] says, from a level on.
fn said(token: Value, least_is_info: bool) -> Vec<Value> {
    let progress = |mut params: Value| {
        params["progressToken"] = token.clone();
        note("progress", params)
    };
    let mut all = vec![progress(
        json!({"progress": 1, "total": 4, "message": "begun"}),
    )];
    if least_is_info {
        all.push(log("info", json!({"step": 1})));
    }
    all.push(log("error", json!("trouble\nhere")));
    if least_is_info {
        all.push(log("warning", json!("printed 2")));
    }
    all.push(progress(json!({"progress": 2.5})));
    all
}

/// Everything up to the end: what was said, and the result.
fn assert_said(events: &mut Events, expected: &[Value]) {
    let mut all = events.rest();
    let last = all.pop().unwrap();
    assert_eq!(last["id"], "call", "{last}");
    assert_eq!(last["result"]["structuredContent"]["result"], "done");
    assert_eq!(all, expected);
}

#[test]
fn logs_and_progress_come_before_the_result_in_both_eras() {
    let server = Server::start(&[]);
    let session = begin(&server, json!({}));
    let level = |level: &str| {
        ask(
            &server,
            &session,
            "logging/setLevel",
            json!({"level": level}),
        )
    };
    assert_eq!(level("info")["result"], json!({}));
    let mut events = call_in(&server, &session, TALKING);
    events.assert_is_stream();
    assert_said(&mut events, &said(json!(7), true));

    // The connection goes on.
    let body = r#"{"jsonrpc":"2.0","id":5,"method":"ping"}"#;
    let mut next = events.then("POST", &[JSON, BOTH], body);
    assert_eq!(
        next.json(),
        json!({"jsonrpc": "2.0", "id": 5, "result": {}})
    );

    level("error");
    let mut events = call_in(&server, &session, TALKING);
    assert_said(&mut events, &said(json!(7), false));
    assert_eq!(level("loud")["error"]["code"], -32602);

    let more = json!({
        "progressToken": "t\"1", "io.modelcontextprotocol/logLevel": "debug",
    });
    let mut events = call_modern(&server, TALKING, more);
    events.assert_is_stream();
    assert_said(&mut events, &said(json!("t\"1"), true));
    let mut refused = call_modern(
        &server,
        TALKING,
        json!({"io.modelcontextprotocol/logLevel": 1}),
    );
    assert_eq!(refused.json()["error"]["code"], -32602);
    await_that("no open streams", || server.metric(OPEN) == 0.0);
    assert_eq!(server.metric("dynamic_mcp_http_streams_total"), 3.0);
}

#[test]
fn who_asks_for_nothing_gets_json_at_once() {
    let server = Server::start(&[]);
    let mut events = call_modern(&server, TALKING, json!({}));
    assert_eq!(events.header("Content-Type"), Some("application/json"));
    assert_eq!(
        events.json()["result"]["structuredContent"]["result"],
        "done"
    );
    // A new session wants no logs, and a token alone asks for progress alone.
    let session = begin(&server, json!({}));
    let mut events = call_in(&server, &session, TALKING);
    let methods: Vec<_> = events
        .rest()
        .iter()
        .map(|it| it["method"].clone())
        .collect();
    assert_eq!(
        methods,
        [
            json!("notifications/progress"),
            json!("notifications/progress"),
            json!(null)
        ]
    );
    // Who does not say that it takes events gets none.
    let params = json!({
        "name": "run_js_ephemeral", "arguments": { "code": TALKING },
        "_meta": { "progressToken": 7 },
    });
    let answer = server.rpc("tools/call", &params);
    assert_eq!(answer["result"]["structuredContent"]["result"], "done");
    assert_eq!(server.metric("dynamic_mcp_http_streams_total"), 1.0);
}

#[test]
fn headers_of_the_gate_are_not_for_clients() {
    let server = Server::start(&[]);
    let session = begin(&server, json!({}));
    let mut waiting = call_in(&server, &session, "ctx.progress(1); return 'mine'");
    waiting.expect("notifications/progress");
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "run_js_ephemeral", "arguments": {"code": "ctx.progress(1); return 'theirs'"},
        "_meta": {"progressToken": 1},
    }});
    for number in 1..6 {
        let number = number.to_string();
        let fields = [
            JSON,
            BOTH,
            ("X-Gate-Stream", "1"),
            ("X-Gate-Request", &number),
            ("x-gate-warming", "1"),
        ];
        let mut events = Events::open(server.address, "POST", &fields, &body.to_string());
        events.assert_is_stream();
        events.expect("notifications/progress");
        let last = events.rest().pop().unwrap();
        assert_eq!(last["result"]["structuredContent"]["result"], "theirs");
    }
    let last = waiting.rest().pop().unwrap();
    assert_eq!(last["result"]["structuredContent"]["result"], "mine");
}

#[test]
fn a_client_that_goes_cancels_its_call_in_the_stateless_era_only() {
    let server = Server::start(&[("MCP_SANDBOX_WARM_POOL", "0")]);
    let mut events = call_modern(&server, ENDLESS, json!({"progressToken": 1}));
    events.expect("notifications/progress");
    assert_eq!(server.metric(OPEN), 1.0);
    drop(events);
    let cancelled = r#"dynamic_mcp_tool_calls_total{kind="run_js_ephemeral",outcome="cancelled"}"#;
    await_that("its end", || server.metric(cancelled) == 1.0);
    assert_eq!(server.metric(OPEN), 0.0);
    await_that("no containers", || server.containers().is_empty());

    let session = begin(&server, json!({}));
    let code = "ctx.progress(1); await new Promise(resolve => setTimeout(resolve, 1000)); return 1";
    let mut events = call_in(&server, &session, code);
    events.expect("notifications/progress");
    drop(events);
    await_that("no open streams", || server.metric(OPEN) == 0.0);
    let ended = r#"dynamic_mcp_tool_calls_total{kind="run_js_ephemeral",outcome="ok"}"#;
    await_that("its end", || server.metric(ended) == 1.0);
}

#[test]
fn a_cancelled_call_of_a_session_ends_its_stream() {
    let server = Server::start(&[]);
    let session = begin(&server, json!({}));
    let mut events = call_in(&server, &session, ENDLESS);
    events.expect("notifications/progress");
    let note = json!({
        "jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "call"},
    });
    let fields = [("Mcp-Session-Id", session.as_str())];
    assert_eq!(
        server.connect().post(&fields, &note.to_string()).status,
        202
    );
    let last = events.rest().pop().unwrap();
    assert_eq!(
        last["result"]["structuredContent"]["error"]["kind"],
        "cancelled"
    );
}

#[test]
fn calls_under_way_at_shutdown_end_with_their_answers() {
    let mut server = Server::start(&[("MCP_SHUTDOWN_GRACE_SECONDS", "1")]);
    let mut events = call_modern(&server, ENDLESS, json!({"progressToken": 1}));
    events.expect("notifications/progress");
    server.stop();
    let last = events.rest().pop().unwrap();
    assert_eq!(
        last["result"]["structuredContent"]["error"]["kind"],
        "cancelled"
    );
}

#[test]
fn logs_and_progress_on_a_pipe() {
    let home = Home::new();
    let mut pipe = Pipe::start(&home, &[]);
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/logLevel": "info",
        "progressToken": 7,
    });
    let params = json!({
        "name": "run_js_ephemeral", "arguments": { "code": TALKING }, "_meta": meta,
    });
    let call = json!({"jsonrpc": "2.0", "id": "call", "method": "tools/call", "params": params});
    pipe.send(&call.to_string());
    let said = said(json!(7), true);
    for expected in said {
        assert_eq!(pipe.next(), expected);
    }
    assert_eq!(pipe.next()["id"], "call");
}
