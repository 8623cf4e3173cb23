//! Sessions of handshake clients over HTTP, and what hangs on them: signed ids that outlive
//! restarts, cancellation within a session only, headers that name arguments.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::engine::await_that;
use crate::support::http::{Connection, Reply, failure};
use crate::support::pipe::MODERN_META;
use crate::support::server::{Folder, Server};

const ID: &str = "Mcp-Session-Id";
const VERSION: &str = "MCP-Protocol-Version";
const PING: &str = r#"{"jsonrpc":"2.0","id":5,"method":"ping"}"#;
const NOTE: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
const ENDLESS: &str = "await new Promise(resolve => setTimeout(resolve, 1e6))";

/// Begins a session; its id.
fn begin(server: &Server, revision: &str) -> String {
    let params = json!({"protocolVersion": revision, "capabilities": {}, "clientInfo": {}});
    let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    let reply = server.connect().post(&[], &body.to_string());
    assert_eq!(reply.status, 200, "{reply:?}");
    let id = reply.header(ID).unwrap().to_owned();
    assert!(id.bytes().all(|byte| byte.is_ascii_graphic()), "{id}");
    id
}

fn post(server: &Server, id: &str, body: &str) -> Reply {
    server.connect().post(&[(ID, id)], body)
}

fn delete(server: &Server, fields: &[(&str, &str)]) -> Reply {
    server.connect().exchange("DELETE", "/mcp", fields, b"")
}

#[test]
fn a_session_from_its_handshake_to_its_end() {
    let server = Server::start(&[]);
    let (one, other) = (begin(&server, "2025-11-25"), begin(&server, "2025-11-25"));
    assert_ne!(one, other);
    let reply = post(&server, &one, PING);
    assert_eq!((reply.status, reply.header(ID)), (200, None));
    assert_eq!(post(&server, &one, NOTE).status, 202);
    // Nobody needs one.
    assert_eq!(server.connect().post(&[], PING).status, 200);
    assert_eq!(server.connect().post(&[], NOTE).status, 202);
    assert_eq!(server.metric("dynamic_mcp_http_sessions_active"), 2.0);

    let ended = delete(&server, &[(ID, &one)]);
    assert_eq!((ended.status, ended.text().as_str()), (200, ""));
    assert_eq!(delete(&server, &[(ID, &one)]).status, 404);
    let reply = post(&server, &one, PING);
    assert_eq!((reply.status, &reply.json()["id"]), (404, &json!(5)));
    assert!(reply.json()["error"]["code"].is_i64());
    assert_eq!(post(&server, &one, NOTE).status, 404);
    assert_eq!(post(&server, &other, PING).status, 200);

    assert_eq!(delete(&server, &[]).status, 400);
    let modern = delete(&server, &[(ID, &other), (VERSION, "2026-07-28")]);
    assert_eq!(modern.status, 405);
    assert_eq!(modern.header("Allow"), Some("GET, POST, DELETE, OPTIONS"));
    assert_eq!(post(&server, &other, PING).status, 200);
    assert_eq!(server.metric("dynamic_mcp_http_sessions_active"), 1.0);
    assert_eq!(
        server.metric("dynamic_mcp_http_sessions_created_total"),
        2.0
    );
    assert_eq!(
        server.metric("dynamic_mcp_http_sessions_expired_total"),
        0.0
    );
}

#[test]
fn ids_that_nobody_was_given() {
    let server = Server::start(&[]);
    let id = begin(&server, "2025-11-25");
    let elsewhere = begin(&Server::start(&[]), "2025-11-25");
    let later = id.replacen(".18", ".28", 1).replacen(".17", ".27", 1);
    let forged = [
        "x",
        "1.2025-11-25.0.0.0",
        &id[..id.len() - 1],
        &format!("{id}0"),
        &id.replace("2025-11-25", "2025-03-26"),
        &later,
        &elsewhere,
    ];
    for id in forged {
        assert_eq!(post(&server, id, PING).status, 404, "{id}");
        assert_eq!(delete(&server, &[(ID, id)]).status, 404, "{id}");
    }
    let twice = server.connect().post(&[(ID, &id), (ID, &id)], PING);
    assert_eq!(twice.status, 404);
    // A handshake begins anew, whatever it brings.
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25"}});
    let reply = post(&server, "x", &hello.to_string());
    assert_eq!((reply.status, reply.header(ID).is_some()), (200, true));
    // The stateless era knows none.
    let body =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{{MODERN_META}}}}}"#);
    let fields = [
        (VERSION, "2026-07-28"),
        ("Mcp-Method", "tools/list"),
        (ID, "x"),
    ];
    let reply = server.connect().post(&fields, &body);
    assert_eq!((reply.status, reply.header(ID)), (200, None));
}

#[test]
fn sessions_outlive_a_restart_and_hold_in_every_process_of_the_store() {
    let folder = Folder::new();
    let first = Server::start_in(&folder, &[]);
    let id = begin(&first, "2025-11-25");
    let key = folder.path().join(".dynamic-mcp/session.key");
    let mode = std::fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = Server::start_in(&folder, &[]);
    assert_eq!(post(&second, &id, PING).status, 200);
    drop(first);
    drop(second);
    let third = Server::start_in(&folder, &[]);
    assert_eq!(post(&third, &id, PING).status, 200);
    drop(third);
    std::fs::remove_file(key).unwrap();
    let fourth = Server::start_in(&folder, &[]);
    assert_eq!(post(&fourth, &id, PING).status, 404);
}

#[test]
fn a_session_remembers_what_its_handshake_settled_on() {
    let server = Server::start(&[]);
    let batch = format!("[{PING}]");
    let check = |revision: &str, version: &[(&str, &str)], expected: u16| {
        let id = begin(&server, revision);
        let fields = [&[(ID, id.as_str())], version].concat();
        let reply = server.connect().post(&fields, &batch);
        assert_eq!(reply.status, expected, "{revision} {version:?}");
    };
    check("2025-03-26", &[], 200);
    check("2025-06-18", &[], 400);
    check("2025-06-18", &[(VERSION, "2025-06-18")], 400);
    let unknown = server.connect().post(&[(ID, "x")], &batch);
    assert_eq!(unknown.status, 404);
}

#[test]
fn idle_sessions_are_not_counted() {
    let server = Server::start(&[("MCP_HTTP_SESSION_TTL_SECONDS", "1")]);
    let id = begin(&server, "2025-11-25");
    await_that("it is out of use", || {
        server.metric("dynamic_mcp_http_sessions_active") == 0.0
    });
    assert_eq!(
        server.metric("dynamic_mcp_http_sessions_expired_total"),
        1.0
    );
    assert_eq!(post(&server, &id, PING).status, 200);
    assert_eq!(server.metric("dynamic_mcp_http_sessions_active"), 1.0);
}

#[test]
fn a_cancellation_reaches_its_own_session_only() {
    let server = Server::start(&[("MCP_SANDBOX_WARM_POOL", "0")]);
    let (mine, theirs) = (begin(&server, "2025-11-25"), begin(&server, "2025-11-25"));
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "run_js_ephemeral", "arguments": {"code": ENDLESS}}});
    let start = |id: &str| {
        let mut connection: Connection = server.connect();
        let fields = [("Content-Type", "application/json"), (ID, id)];
        connection.request("POST", "/mcp", &fields, call.to_string().as_bytes());
        connection
    };
    let (mut my_call, mut their_call) = (start(&mine), start(&theirs));
    await_that("both run", || server.containers().len() >= 2);
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    assert_eq!(server.connect().post(&[], cancel).status, 202);
    assert_eq!(
        server
            .connect()
            .post(&[(VERSION, "2026-07-28")], cancel)
            .status,
        202
    );
    assert_eq!(post(&server, &mine, cancel).status, 202);
    let kind =
        |answer: Reply| answer.json()["result"]["structuredContent"]["error"]["kind"].clone();
    assert_eq!(kind(my_call.read(false)), "cancelled");
    await_that("one runs on", || server.containers().len() == 1);
    assert_eq!(post(&server, &theirs, cancel).status, 202);
    assert_eq!(kind(their_call.read(false)), "cancelled");
}

#[test]
fn headers_name_arguments_where_authors_want_it() {
    let server = Server::start(&[]);
    let schema = json!({"type": "object", "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "count": {"type": "integer", "x-mcp-header": "Count"}}});
    server.create(
        json!({"name": "by.region", "description": "d", "inputSchema": schema,
        "code": "return args"}),
    );
    let check = |arguments: &str, params: &[(&str, &str)], expected: (u16, Value)| {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{MODERN_META},"name":"by.region","arguments":{arguments}}}}}"#
        );
        let usual = [
            (VERSION, "2026-07-28"),
            ("Mcp-Method", "tools/call"),
            ("Mcp-Name", "by.region"),
        ];
        let fields: Vec<_> = usual.into_iter().chain(params.iter().copied()).collect();
        let reply = server.connect().post(&fields, &body);
        let code = reply.json()["error"]["code"].clone();
        assert_eq!((reply.status, code), expected, "{arguments} {params:?}");
    };
    let (good, bad) = ((200, Value::Null), (400, json!(-32020)));
    let arguments = r#"{"region":"eu","count":2}"#;
    let (region, count) = (("Mcp-Param-Region", "eu"), ("mcp-param-COUNT", "2"));
    check(arguments, &[region, count], good.clone());
    let encoded = ("Mcp-Param-Region", "=?base64?ZXU=?=");
    check(arguments, &[encoded, count], good.clone());
    check("{}", &[], good.clone());
    check(arguments, &[region], bad.clone());
    check(arguments, &[("Mcp-Param-Region", "us"), count], bad.clone());
    check(
        arguments,
        &[("Mcp-Param-Region", "=?base64?ZXU?="), count],
        bad.clone(),
    );
    check(arguments, &[region, region, count], bad.clone());
    check("{}", &[region], bad);
    // Neither handshake clients nor other tools know of it.
    let wrong = json!({"type": "object", "properties": {
        "list": {"type": "array", "x-mcp-header": "List"}}});
    let refused = server.call(
        "dynamic.tool.create",
        json!({"tool": {"name": "by.list", "description": "d", "inputSchema": wrong,
            "code": "return 1"}}),
    );
    assert!(
        failure(&refused).contains("fits into a header"),
        "{refused}"
    );
    let result = server.call("by.region", json!({"region": "eu", "count": 2}));
    assert_eq!(result.get("isError"), None, "{result}");

    let preflight = [
        ("Origin", "http://localhost:5173"),
        ("Access-Control-Request-Method", "POST"),
        (
            "Access-Control-Request-Headers",
            "mcp-param-region, x-evil, mcp-param-<x>",
        ),
    ];
    let reply = server
        .connect()
        .exchange("OPTIONS", "/mcp", &preflight, b"");
    let allowed = reply.header("Access-Control-Allow-Headers").unwrap();
    assert!(allowed.ends_with(", mcp-param-region"), "{allowed}");
    let exposed = reply.header("Access-Control-Expose-Headers").unwrap();
    assert!(exposed.contains("mcp-session-id"), "{exposed}");
}
