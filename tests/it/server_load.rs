//! The server under load: what reads still answers, what runs is bounded and told when to come
//! back, and what is over leaves nothing in the process.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::engine::{await_that, patience};
use crate::support::http::{Connection, JSON, call_body, failure};
use crate::support::server::{Folder, Server};

const BUSY_LOOP: &str = "while (true) {}";
const NEVER: &str = "await new Promise(resolve => setTimeout(resolve, 1e6))";

fn send_call(server: &Server, name: &str, arguments: &Value) -> Connection {
    let mut connection = server.connect();
    let body = call_body(name, arguments);
    connection.request("POST", "/mcp", &[JSON], body.as_bytes());
    connection
}

fn send_run(server: &Server, code: &str) -> Connection {
    send_call(
        server,
        "run_js_ephemeral",
        &json!({ "code": code, "timeoutMs": 60_000 }),
    )
}

fn active(server: &Server) -> f64 {
    server.metric("dynamic_mcp_guard_active ")
}

/// The failure of a call, its kind checked, with its hint in milliseconds.
fn hinted(result: &Value, kind: &str) -> u64 {
    let text = failure(result);
    assert!(text.starts_with(&format!("{kind}: ")), "{text}");
    let hint = result["structuredContent"]["error"]["retryAfterMs"].as_u64();
    assert!(
        result["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("retry after")
    );
    hint.unwrap_or_else(|| panic!("no hint: {result}"))
}

/// The median time of an act.
fn median(mut act: impl FnMut()) -> Duration {
    let mut times: Vec<_> = (0..15)
        .map(|_| {
            let began = Instant::now();
            act();
            began.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

pub(crate) fn check_prompt(server: &Server, when: &str) {
    for path in ["/livez", "/readyz", "/metrics"] {
        let time = median(|| assert_ne!(server.get(path).status, 404));
        // 50 ms is the promise; tests share the machine.
        assert!(time < Duration::from_millis(250), "{path} {when}: {time:?}");
    }
    let time = median(|| drop(server.rpc("tools/list", &json!({}))));
    assert!(
        time < Duration::from_millis(500),
        "tools/list {when}: {time:?}"
    );
    let time = median(|| {
        let mut stateless = server.connect();
        stateless.send_health(&[]);
        assert_eq!(stateless.read(false).status, 200);
    });
    assert!(
        time < Duration::from_millis(250),
        "stateless health {when}: {time:?}"
    );
}

#[test]
fn whatever_runs_what_reads_still_answers() {
    let server = Server::start(&[
        ("MCP_SHUTDOWN_GRACE_SECONDS", "1"),
        ("MCP_TOOL_QUEUE_MS", "12000"),
        ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "1000"),
    ]);
    server.create(json!({ "name": "kept", "description": "d", "code": "return 1" }));
    let mut loops: Vec<_> = (0..8).map(|_| send_run(&server, BUSY_LOOP)).collect();
    await_that("the loops to run", || active(&server) == 8.0);
    check_prompt(&server, "beside eight loops");
    // All who may wait do, and more want to; others make tools.
    let mut others: Vec<_> = (0..60).map(|_| send_run(&server, NEVER)).collect();
    await_that("the queue to fill", || {
        server.metric("dynamic_mcp_guard_waiting ") == 48.0
    });
    let create = |n: usize| {
        let tool = json!({ "name": format!("tool.{n}"), "description": "d", "code": "return 1" });
        send_call(&server, "dynamic.tool.create", &json!({ "tool": tool }))
    };
    let mut creations: Vec<_> = (0..20).map(create).collect();
    check_prompt(&server, "beside a full queue");
    let kept = server.call(
        "dynamic.tool.enable",
        json!({ "name": "kept", "enabled": false }),
    );
    assert_eq!(
        kept["structuredContent"]["tool"]["enabled"], false,
        "{kept}"
    );
    // Those for whom there is no room are told at once, those who waited in vain in the end.
    let mut refused = 0;
    for connection in &mut others {
        let reply = connection.read(false);
        hinted(&reply.json()["result"], "busy");
        refused += 1;
    }
    assert_eq!(refused, 60);
    let mut made = 0.0;
    for connection in &mut creations {
        let result = connection.read(false).json()["result"].clone();
        match result.get("isError") {
            None => made += 1.0,
            Some(_) => drop(hinted(&result, "busy")),
        }
    }
    assert!(made > 0.0, "no tool could be made");
    assert_eq!(
        server.metric("dynamic_mcp_guard_rejected_total{kind=\"concurrency\"}"),
        60.0 + 20.0 - made
    );
    assert_eq!(active(&server), 8.0);
    loops.clear();
}

#[test]
fn many_who_ask_at_once_are_told_each_what_it_asked() {
    let server = Server::start(&[]);
    let _loop = send_run(&server, BUSY_LOOP);
    await_that("the loop to run", || active(&server) == 1.0);
    let mut clients: Vec<_> = (0..64).map(|_| server.connect()).collect();
    for round in 0..20 {
        for (index, client) in clients.iter_mut().enumerate() {
            let id = format!("{round}-{index}");
            client.send_health(&[("X-Request-Id", &id)]);
        }
        for (index, client) in clients.iter_mut().enumerate() {
            let reply = client.read(false);
            let id = format!("{round}-{index}");
            assert_eq!(
                (reply.status, reply.header("x-request-id")),
                (200, Some(&*id))
            );
            assert_eq!(reply.json()["result"]["structuredContent"]["status"], "ok");
        }
    }
    let counted = "dynamic_mcp_tool_calls_total{kind=\"builtin\",outcome=\"ok\"}";
    assert_eq!(server.metric(counted), 64.0 * 20.0);
    assert_eq!(active(&server), 1.0);
}

#[test]
fn acts_that_take_long_leave_workers_to_others() {
    let folder = Folder::new();
    let socket = folder.path().join("docker.sock");
    // A daemon that takes connections and never answers.
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let address = format!("unix://{}", socket.display());
    let server = Server::start_in(
        &folder,
        &[
            ("DOCKER_HOST", &address),
            ("MCP_SHUTDOWN_GRACE_SECONDS", "1"),
        ],
    );
    let tool = json!({ "name": "one", "description": "d", "code": "return 1" });
    let began = Instant::now();
    let mut creations: Vec<_> = (0..100)
        .map(|_| send_call(&server, "dynamic.tool.create", &json!({ "tool": tool })))
        .collect();
    await_that("some to be refused", || {
        server.metric("dynamic_mcp_guard_rejected_total{kind=\"concurrency\"}") >= 50.0
    });
    check_prompt(&server, "beside creations");
    // Were they over, this would have shown nothing.
    assert!(
        server.metric("dynamic_mcp_http_workers_busy ") >= 40.0,
        "{:?}",
        began.elapsed()
    );
    drop(creations.split_off(50));
}

#[test]
fn one_principal_has_its_share() {
    let server = Server::start(&[
        ("MCP_TOOL_MAX_CONCURRENCY_PER_PRINCIPAL", "1"),
        ("MCP_SHUTDOWN_GRACE_SECONDS", "1"),
        // Long enough for the first run to find its container on a busy machine.
        ("MCP_TOOL_QUEUE_MS", "3000"),
    ]);
    let _running = send_run(&server, NEVER);
    await_that("the run", || active(&server) == 1.0);
    let began = Instant::now();
    let refused = server.call("run_js_ephemeral", json!({ "code": "return 1" }));
    hinted(&refused, "busy");
    assert!(
        began.elapsed() >= Duration::from_millis(3000),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn each_scope_has_its_rate() {
    let server = Server::start(&[("MCP_TOOL_MAX_CALLS_PER_WINDOW", "3")]);
    server.create(json!({ "name": "one.a", "description": "d", "code": "return 1" }));
    server.create(json!({ "name": "one.b", "description": "d", "code": "return 1" }));
    for _ in 0..3 {
        server.value("return 1");
    }
    let refused = server.call("run_js_ephemeral", json!({ "code": "return 1" }));
    let hint = hinted(&refused, "rate_limited");
    assert!((1..=63_000).contains(&hint), "{hint}");
    // Other scopes are other counts, and both ways to a tool are one.
    server.call("one.a", json!({}));
    server.call("one_a", json!({}));
    server.call("dynamic.tool.call", json!({ "name": "one.a" }));
    for result in [
        server.call("one.a", json!({})),
        server.call("dynamic.tool.call", json!({ "name": "one_a" })),
    ] {
        hinted(&result, "rate_limited");
    }
    assert_eq!(
        server.call("one.b", json!({}))["structuredContent"]["ok"],
        true
    );
    // What does not run anything is not run either when its rate is used up.
    let create = |name: &str| {
        let tool = json!({ "name": name, "description": "d", "code": "return 1" });
        server.call("dynamic.tool.create", json!({ "tool": tool }))
    };
    create("one.c");
    hinted(&create("one.d"), "rate_limited");
    assert_eq!(server.rpc("ping", &json!({}))["result"], json!({}));
    assert_eq!(
        server.metric("dynamic_mcp_guard_rejected_total{kind=\"rate\"}"),
        4.0
    );
}

#[test]
fn after_the_hint_of_a_rate_limit_there_is_room() {
    let server = Server::start(&[
        ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "1"),
        ("MCP_TOOL_RATE_WINDOW_MS", "3000"),
    ]);
    let list = || server.call("dynamic.tool.list", json!({}));
    assert_eq!(list().get("isError"), None);
    let (hint, began) = (hinted(&list(), "rate_limited"), Instant::now());
    assert!((1..=3300).contains(&hint), "{hint}");
    await_that("the hint to pass", || {
        began.elapsed() >= Duration::from_millis(hint)
    });
    assert_eq!(list().get("isError"), None);
}

/// Sends an endless run of the stateless era, without awaiting its answer.
fn send_modern_run(server: &Server) -> Connection {
    let envelope = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"run_js_ephemeral","arguments":{{"code":"{BUSY_LOOP}","timeoutMs":60000}},{envelope}}}}}"#
    );
    let fields = [
        JSON,
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "run_js_ephemeral"),
    ];
    let mut modern = server.connect();
    modern.request("POST", "/mcp", &fields, body.as_bytes());
    modern
}

#[test]
fn who_hangs_up_cancels_in_the_stateless_era_only() {
    let server = Server::start(&[]);
    let modern = send_modern_run(&server);
    let code = "await new Promise(r => setTimeout(r, 5000)); return 1";
    let legacy = send_run(&server, code);
    await_that("both to run", || {
        active(&server) == 2.0 && server.containers().len() >= 2
    });
    drop((modern, legacy));
    let ended = |outcome: &str| {
        let labels = format!("{{kind=\"run_js_ephemeral\",outcome=\"{outcome}\"}}");
        server.metric(&format!("dynamic_mcp_tool_calls_total{labels}"))
    };
    // One ends long before its time limit, the other one returns to nobody.
    await_that("both to end", || active(&server) == 0.0);
    await_that("their outcomes", || {
        (ended("cancelled"), ended("ok")) == (1.0, 1.0)
    });
}

#[test]
fn who_hangs_up_waits_no_longer() {
    let server = Server::start(&[
        ("MCP_TOOL_MAX_CONCURRENCY", "1"),
        ("MCP_TOOL_QUEUE_MS", "600000"),
        ("MCP_SHUTDOWN_GRACE_SECONDS", "1"),
    ]);
    let running = send_run(&server, BUSY_LOOP);
    await_that("it to run", || active(&server) == 1.0);
    let waiting = |server: &Server| server.metric("dynamic_mcp_guard_waiting ");
    let modern = send_modern_run(&server);
    await_that("the next to wait", || waiting(&server) == 1.0);
    drop(modern);
    await_that("it to go", || waiting(&server) == 0.0);
    let calls = |outcome: &str| {
        let labels = format!("{{kind=\"run_js_ephemeral\",outcome=\"{outcome}\"}}");
        server.metric(&format!("dynamic_mcp_tool_calls_total{labels}"))
    };
    await_that("its outcome", || calls("cancelled") == 1.0);
    assert_eq!((active(&server), calls("timeout")), (1.0, 0.0));
    drop(running);
}

#[test]
fn calls_leave_nothing_in_the_process() {
    let server = Server::start(&[
        ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "1000000"),
        ("MCP_TOOL_QUEUE_MS", "30000"),
    ]);
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } } });
    server.create(json!({ "name": "kept", "description": "d", "code": "return args.n", "inputSchema": schema }));
    let mixed = |rounds: usize| {
        for n in 0..rounds {
            let mut connection = server.connect();
            match n % 25 {
                0 => drop(connection.call("kept", json!({ "n": n }))),
                1 => drop(connection.call("run_js_ephemeral", json!({ "code": "throw 1" }))),
                2 => drop(connection.call("kept", json!({ "n": "x" }))),
                3 => drop(connection.call(
                    "dynamic.tool.update",
                    json!({ "name": "kept", "patch": { "title": n.to_string() } }),
                )),
                4 => drop(connection.rpc("no/such", &json!({}))),
                5 => drop(connection.post(&[], "{")),
                6 => drop(send_run(&server, "return 1")),
                7 => drop(connection.exchange("GET", "/metrics", &[], b"")),
                8 => connection.send(b"POST /mcp HTTP/1.1\r\nHost:"),
                _ => drop(connection.call("system.health", json!({}))),
            }
        }
        await_that("all to be over", || {
            active(&server) == 0.0 && server.metric("dynamic_mcp_http_workers_busy ") == 0.0
        });
    };
    // The places of a warm server: both lanes' connections, the checker, the parked containers.
    mixed(16);
    let before = figures_at_rest(&server);
    mixed(200);
    let deadline = patience();
    let mut after = figures_at_rest(&server);
    while (after.0 > before.0 || after.1 > before.1) && deadline.remaining().is_some() {
        after = figures_at_rest(&server);
    }
    let more = after.0 > before.0 || after.1 > before.1;
    assert!(!more, "threads and files {before:?} became {after:?}");
}

/// Threads and open files, once they have stayed the same for a while and the pool is full.
fn figures_at_rest(server: &Server) -> (f64, f64) {
    let figure = |name: &str| server.metric(&format!("dynamic_mcp_process_{name} "));
    let mut last = ((0.0, 0.0), Instant::now());
    await_that("the process to be at rest", || {
        let now = (figure("threads"), figure("open_fds"));
        if now != last.0 || active(server) > 0.0 || server.containers().len() != 3 {
            last = (now, Instant::now());
        }
        last.1.elapsed() > Duration::from_millis(1500)
    });
    last.0
}
