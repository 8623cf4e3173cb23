//! Many streams, clients that do not read, tools that never stop talking: what is held is bounded,
//! and is given back.

use std::time::Duration;

use serde_json::json;

use crate::stream_calls::{begin, call_in, call_modern};
use crate::stream_changes::{listen_to_tools, tool, try_listen};
use crate::support::engine::await_that;
use crate::support::server::Server;

const OPEN: &str = "dynamic_mcp_http_streams_open";
const CHANGED: &str = "notifications/tools/list_changed";
const SLOW: &str = "dynamic_mcp_http_slow_readers_total";
const DROPPED: &str = "dynamic_mcp_notifications_dropped_total";

#[test]
fn two_thousand_streams_take_no_threads_and_one_more_is_refused() {
    const STREAMS: usize = 2000;
    let server = Server::start(&[
        ("MCP_HTTP_MAX_CONNECTIONS", "4000"),
        ("MCP_HTTP_MAX_CONNECTIONS_PER_IP", "4000"),
    ]);
    let threads = || server.metric("dynamic_mcp_process_threads");
    let files = || server.metric("dynamic_mcp_process_open_fds");
    let first = listen_to_tools(&server);
    let (threads_before, files_before) = (threads(), files());
    let mut all = vec![first];
    all.extend((1..STREAMS).map(|_| listen_to_tools(&server)));
    assert_eq!(server.metric(OPEN), STREAMS as f64);
    assert!(
        threads() <= threads_before,
        "{} of {threads_before}",
        threads()
    );
    let mut refused = try_listen(&server, &json!(1), &json!({}));
    assert_eq!(refused.status, 503);
    assert!(refused.header("Retry-After").is_some());
    let refusal = refused.json();
    assert_eq!(
        (&refusal["error"]["code"], &refusal["id"]),
        (&json!(503), &json!(1))
    );
    // A call that would have something to say is answered all the same.
    let mut call = call_modern(
        &server,
        "ctx.progress(1); return 1",
        json!({"progressToken": 1}),
    );
    assert_eq!(call.json()["result"]["structuredContent"]["result"], 1);
    assert_eq!(server.metric("dynamic_mcp_http_streams_refused_total"), 2.0);
    server.create(tool("for.all"));
    for events in &mut all {
        events.expect(CHANGED);
    }
    all.truncate(1);
    await_that("their end", || server.metric(OPEN) == 1.0);
    await_that("no files held", || files() <= files_before + 8.0);
    assert_eq!(server.metric("dynamic_mcp_http_buffered_bytes"), 0.0);
    listen_to_tools(&server);
}

#[test]
fn a_tool_that_never_stops_talking_hurts_nobody() {
    let server = Server::start(&[]);
    let session = begin(&server, json!({}));
    let code = "for (let i = 0; i < 20000; i++) { ctx.progress(i); ctx.log('info', i); }
        return 'done'";
    let mut events = call_in(&server, &session, code);
    let mut all = events.rest();
    let last = all.pop().unwrap();
    assert_eq!(last["result"]["structuredContent"]["result"], "done");
    let told: Vec<_> = all
        .iter()
        .map(|note| note["params"]["progress"].as_u64().unwrap())
        .collect();
    assert!((100..10_000).contains(&told.len()), "{}", told.len());
    assert!(told.is_sorted_by(|one, next| one < next), "{told:?}");
    assert!(server.metric(DROPPED) >= 10_000.0);
}

#[test]
fn who_stops_reading_is_cut_off_and_holds_little() {
    let server = Server::start(&[("MCP_HTTP_WRITE_TIMEOUT_MS", "1000")]);
    // More than all buffers between the two take; it ends only when it is cancelled.
    let code = "const text = 'x'.repeat(60000);
        for (let i = 0; ; i++) {
            ctx.log('info', text);
            await new Promise(resolve => setTimeout(resolve, 5));
        }";
    let level = json!({"io.modelcontextprotocol/logLevel": "info"});
    let mut events = call_modern(&server, code, level);
    events.expect("notifications/message");
    await_that("the cut", || server.metric(SLOW) == 1.0);
    assert_eq!(server.metric(OPEN), 0.0);
    assert!(events.is_cut());
    // As for any client that goes.
    let cancelled = r#"dynamic_mcp_tool_calls_total{kind="run_js_ephemeral",outcome="cancelled"}"#;
    await_that("its end", || server.metric(cancelled) == 1.0);
    await_that("no bytes held", || {
        server.metric("dynamic_mcp_http_buffered_bytes") == 0.0
    });
}

#[test]
fn thousands_of_changes_are_told_in_few_words() {
    let server = Server::start(&[("MCP_TOOL_MAX_CALLS_PER_WINDOW", "100000")]);
    server.create(tool("often.changed"));
    let mut events = listen_to_tools(&server);
    let mut connection = server.connect();
    for round in 0..2000 {
        let change = json!({"name": "often.changed", "enabled": round % 2 == 1});
        connection.call("dynamic.tool.enable", change);
    }
    assert!(server.metric("dynamic_mcp_http_buffered_bytes") < 10_000.0);
    // Whatever was said so far, the last word comes after the last change.
    connection.call("dynamic.tool.create", json!({"tool": tool("last.change")}));
    let mut told = 0;
    loop {
        events.expect(CHANGED);
        told += 1;
        let listed = connection.rpc("tools/list", &json!({})).to_string();
        if listed.contains("last.change") && told > 1 {
            break;
        }
    }
    assert!(told < 500, "{told}");
}

#[test]
fn a_silent_call_becomes_a_stream_that_says_nothing() {
    let server = Server::start(&[]);
    let code = "await new Promise(resolve => setTimeout(resolve, 17000)); return 1";
    let mut events = call_modern(&server, code, json!({}));
    events.assert_is_stream();
    let last = events.rest().pop().unwrap();
    assert_eq!(last["result"]["structuredContent"]["result"], 1);
}

#[test]
fn an_open_stream_is_never_silent_for_long() {
    let server = Server::start(&[("MCP_HTTP_IDLE_TIMEOUT_MS", "1000")]);
    let mut events = listen_to_tools(&server);
    let later = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_secs(16));
            server.create(tool("late.tool"));
        });
        events.expect(CHANGED)
    });
    assert!(later["_meta"].is_object());
    assert!(events.comments > 0);
}
