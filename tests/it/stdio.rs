//! The real program over stdio: both eras on one pipe, calls that wait for nobody, cancellation,
//! bounds, and an end that leaves nothing.

use serde_json::{Value, json};

use crate::support::engine::await_that;
use crate::support::pipe::{Home, MODERN_META, Pipe};

const ENDLESS: &str = "await new Promise(resolve => setTimeout(resolve, 1e6))";

fn discover(id: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"server/discover","params":{{{MODERN_META}}}}}"#
    )
}

#[test]
fn a_probe_is_answered_at_once_and_leaves_no_trace() {
    let home = Home::new();
    // Nobody answers there: a start needs no daemon.
    let nowhere = [("DOCKER_HOST", "unix:///nonexistent/docker.sock")];
    let mut instances = [(); 3].map(|()| Pipe::start(&home, &nowhere));
    for instance in &mut instances {
        let answer = instance.ask(&discover("\"server-discover-probe-1\""));
        assert_eq!(answer["id"], "server-discover-probe-1");
        assert_eq!(answer["result"]["supportedVersions"], json!(["2026-07-28"]));
        let unknown = instance.ask(r#"{"jsonrpc":"2.0","id":0,"method":"what/ever"}"#);
        assert_eq!(
            (&unknown["id"], &unknown["error"]["code"]),
            (&json!(0), &json!(-32601))
        );
    }
    let [mut first, mut second, mut third] = instances;
    first.signal("TERM");
    assert_eq!(first.wait().0.code(), Some(0), "{}", first.stderr());
    assert_eq!(second.finish(), Vec::<Value>::new());
    assert_eq!(third.finish(), Vec::<Value>::new());
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn a_handshake_a_list_and_calls() {
    let home = Home::new();
    let mut pipe = Pipe::start(&home, &[]);
    pipe.initialize("2025-11-25");
    let listed = pipe.ask(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    let tools = listed["result"]["tools"].as_array().unwrap();
    assert!(!tools.is_empty());
    for tool in tools {
        let name = tool["name"].as_str().unwrap();
        let fits = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        assert!(
            (1..=64).contains(&name.len()) && name.chars().all(fits),
            "{name}"
        );
    }
    let tool = json!({"name": "math.add", "description": "Adds.", "code": "return args.a + 1"});
    let created = pipe.call("dynamic_tool_create", &json!({ "tool": tool }));
    assert_eq!(created.get("isError"), None, "{created}");
    for name in ["math_add", "math.add"] {
        let sum = pipe.call(name, &json!({"args": {"a": 41}}));
        assert_eq!(sum["structuredContent"]["result"], 42, "{sum}");
    }
    assert!(home.data().join("tools.json").exists());
    assert_eq!(pipe.finish(), Vec::<Value>::new());
    assert_eq!(home.instances(), Vec::<String>::new());
}

#[test]
fn eras_take_turns_on_one_pipe() {
    let home = Home::new();
    let mut pipe = Pipe::start(&home, &[]);
    let check = |pipe: &mut Pipe, method: &str, params: &str, pointer: &str, expected: &Value| {
        let line =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}}}}}"#);
        let answer = pipe.ask(&line);
        let found = answer.pointer(pointer).unwrap_or(&Value::Null);
        assert_eq!(found, expected, "{line}: {answer}");
    };
    let code = "/error/code";
    check(
        &mut pipe,
        "tools/list",
        MODERN_META,
        "/result/resultType",
        &json!("complete"),
    );
    check(
        &mut pipe,
        "tools/list",
        "",
        "/result/resultType",
        &Value::Null,
    );
    check(&mut pipe, "ping", "", "/result", &json!({}));
    pipe.initialize("2025-06-18");
    check(&mut pipe, "ping", MODERN_META, code, &json!(-32601));
    check(&mut pipe, "initialize", MODERN_META, code, &json!(-32601));
    check(
        &mut pipe,
        "server/discover",
        MODERN_META,
        code,
        &Value::Null,
    );
    check(&mut pipe, "server/discover", "", code, &json!(-32601));
    let old = MODERN_META.replace("2026-07-28", "2025-06-18");
    check(&mut pipe, "tools/list", &old, code, &json!(-32022));
    check(
        &mut pipe,
        "tools/list",
        &old,
        "/error/data/supported",
        &json!(["2026-07-28"]),
    );
    let short = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
    check(&mut pipe, "tools/list", short, code, &json!(-32602));
    check(&mut pipe, "tools/list", "", "/error", &Value::Null);
    pipe.finish();
}

#[test]
fn calls_hold_up_nobody_and_end_when_they_are_cancelled() {
    let home = Home::new();
    let mut pipe = Pipe::start(&home, &[]);
    pipe.run(1, ENDLESS);
    pipe.run(2, ENDLESS);
    assert_eq!(pipe.ask(&discover("3"))["id"], 3);
    pipe.request(4, "ping", &json!({}));
    assert_eq!(pipe.next()["id"], 4);
    pipe.request(5, "tools/list", &json!({}));
    assert_eq!(pipe.next()["id"], 5);
    pipe.run(6, "return 7");
    assert_eq!(pipe.next()["result"]["structuredContent"]["result"], 7);
    await_that("both run", || home.containers().len() >= 2);
    // Ids that nobody has are nobody's: neither the text "2" nor 8.
    pipe.cancel(8);
    pipe.send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"2"}}"#);
    pipe.cancel(1);
    await_that("the cancelled one is gone", || home.containers().len() == 1);
    // A call that is cancelled before anything could have been done for it.
    pipe.run(9, ENDLESS);
    pipe.cancel(9);
    pipe.cancel(2);
    await_that("the other one is gone", || home.containers().is_empty());
    pipe.run(10, "return 8");
    assert_eq!(pipe.next()["result"]["structuredContent"]["result"], 8);
    assert_eq!(
        pipe.finish(),
        Vec::<Value>::new(),
        "who cancels gets no answer"
    );
}

#[test]
fn whoever_goes_leaves_nothing_running() {
    for by_signal in [false, true] {
        let home = Home::new();
        let settings = [
            ("MCP_SANDBOX_WARM_POOL", "1"),
            ("MCP_SHUTDOWN_GRACE_SECONDS", "1"),
        ];
        let mut pipe = Pipe::start(&home, &settings);
        for id in 0..3 {
            pipe.run(id, ENDLESS);
        }
        await_that("the runs", || home.containers().len() >= 3);
        let instance = home.instances().remove(0);
        let (status, rest) = if by_signal {
            pipe.signal("TERM");
            pipe.wait()
        } else {
            pipe.close();
            pipe.wait()
        };
        assert_eq!(status.code(), Some(0), "{}", pipe.stderr());
        for answer in rest {
            let kind = &answer["result"]["structuredContent"]["error"]["kind"];
            assert_eq!(kind, "cancelled", "{answer}");
        }
        assert_eq!(home.instances(), Vec::<String>::new());
        let left = crate::support::engine::owned_by(&crate::support::daemon(), &instance);
        assert_eq!(left, []);
    }
}

#[test]
fn one_line_sent_by_a_script_is_answered() {
    let home = Home::new();
    let mut pipe = Pipe::start(&home, &[]);
    pipe.request(1, "tools/list", &json!({}));
    let rest = pipe.finish();
    assert_eq!(rest.len(), 1);
    assert!(rest[0]["result"]["tools"].is_array());
}

#[test]
fn a_call_sent_by_a_script_is_answered() {
    let home = Home::new();
    let mut pipe = Pipe::start(&home, &[]);
    pipe.run(1, "return 6 * 7");
    let rest = pipe.finish();
    assert_eq!(rest[0]["result"]["structuredContent"]["result"], 42);
}

#[test]
fn who_reads_no_answers_is_not_waited_for() {
    let home = Home::new();
    let mut deaf = Pipe::start_deaf(&home, &[("MCP_SHUTDOWN_GRACE_SECONDS", "300")]);
    deaf.run(1, ENDLESS);
    await_that("the run", || !home.containers().is_empty());
    let (status, _) = {
        deaf.close();
        deaf.wait()
    };
    assert_eq!(status.code(), Some(0), "{}", deaf.stderr());
}

#[test]
fn lines_that_are_too_long_or_no_messages() {
    let home = Home::new();
    let mut pipe = Pipe::start(&home, &[("MCP_HTTP_MAX_REQUEST_BYTES", "2000")]);
    let ping = |bytes: usize| {
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        format!("{ping}{}", " ".repeat(bytes - ping.len()))
    };
    let check = |pipe: &mut Pipe, line: &str, code: i64| {
        let answer = pipe.ask(line);
        assert_eq!(answer["error"]["code"], code, "{line}: {answer}");
        assert_eq!(answer.get("id"), None, "{answer}");
    };
    assert_eq!(pipe.ask(&ping(2000))["result"], json!({}));
    check(&mut pipe, &ping(2001), -32600);
    check(&mut pipe, &ping(5_000_000), -32600);
    check(&mut pipe, "{", -32700);
    check(&mut pipe, "1", -32600);
    check(
        &mut pipe,
        r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
        -32600,
    );
    check(
        &mut pipe,
        r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
        -32600,
    );
    pipe.send("\r\n  ");
    pipe.send(r#"{"jsonrpc":"2.0","method":"notifications/unknown"}"#);
    pipe.send(r#"{"jsonrpc":"2.0","id":5,"result":{}}"#);
    pipe.send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#);
    assert_eq!(pipe.ask(&ping(100))["result"], json!({}));
    assert_eq!(pipe.finish(), Vec::<Value>::new());
}

#[test]
fn arrays_where_they_were_agreed_on() {
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"tools/list"},{"jsonrpc":"2.0","method":"notifications/x"},{"jsonrpc":"2.0","id":3,"method":"what"}]"#;
    let home = Home::new();
    let mut pipe = Pipe::start(&home, &[]);
    pipe.initialize("2025-06-18");
    assert_eq!(pipe.ask(batch)["error"]["code"], -32600);
    pipe.initialize("2025-03-26");
    let answers = pipe.ask(batch);
    let ids: Vec<_> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["id"])
        .collect();
    assert_eq!(ids, [1, 2, 3]);
    let call = |id: u64, code: &str| {
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
            "params": {"name": "run_js_ephemeral", "arguments": {"code": code}}})
    };
    pipe.send(&json!([call(4, ENDLESS), call(5, "return 1")]).to_string());
    pipe.cancel(4);
    let answers = pipe.next();
    assert_eq!(answers.as_array().unwrap().len(), 1, "{answers}");
    assert_eq!(answers[0]["id"], 5);
    assert_eq!(pipe.finish(), Vec::<Value>::new());
}

#[test]
fn what_waits_is_bounded() {
    let home = Home::new();
    let settings = [
        ("MCP_HTTP_MAX_REQUEST_BYTES", "60000"),
        ("MCP_HTTP_BUFFER_BYTES", "65536"),
    ];
    let mut pipe = Pipe::start(&home, &settings);
    let long = format!("{ENDLESS} // {}", "x".repeat(40_000));
    pipe.run(1, &long);
    pipe.run(2, &long);
    let refused = pipe.next();
    assert_eq!(
        (&refused["id"], &refused["error"]["code"]),
        (&json!(2), &json!(-32603))
    );
    pipe.request(3, "ping", &json!({}));
    assert_eq!(pipe.next()["id"], 3);
    pipe.run(4, "return 1");
    assert_eq!(pipe.next()["id"], 4);
    pipe.cancel(1);
    await_that("the run is gone", || home.containers().is_empty());
    await_that("there is room again", || {
        pipe.run(5, &format!("return 2 // {}", "x".repeat(40_000)));
        pipe.next()["result"]["structuredContent"]["result"] == 2
    });
    pipe.finish();
}

#[test]
fn hundreds_of_requests_at_once_are_all_answered() {
    let home = Home::new();
    let mut pipe = Pipe::start(&home, &[]);
    for id in 0..500 {
        let params = json!({ "name": "system_health", "arguments": {} });
        pipe.request(id, "tools/call", &params);
    }
    let mut ids: Vec<_> = (0..500)
        .map(|_| pipe.next()["id"].as_u64().unwrap())
        .collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..500));
    pipe.finish();
}

#[test]
fn what_authors_spread_over_lines_stays_one_line() {
    let home = Home::new();
    std::fs::create_dir_all(home.data()).unwrap();
    let store = r#"{"version": 1, "tools": [{"name": "wide.tool", "description": "d",
        "code": "return 1", "inputSchema": {
            "type": "object",
            "properties": {}
        }, "timeoutMs": 30000, "enabled": true, "revision": 1, "dependencies": [],
        "image": "node:lts-slim",
        "createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": "2026-01-01T00:00:00.000Z"}]}"#;
    std::fs::write(home.data().join("tools.json"), store).unwrap();
    let mut pipe = Pipe::start(&home, &[]);
    let listed = pipe.ask(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    let tools = listed["result"]["tools"].as_array().unwrap();
    assert!(
        tools.iter().any(|tool| tool["name"] == "wide_tool"),
        "{listed}"
    );
    assert_eq!(pipe.finish(), Vec::<Value>::new());
}

#[test]
fn the_spawning_user_is_admin_unless_the_token_is_asked_for() {
    let token = "a-token-of-some-length";
    let check = |settings: &[(&str, &str)], argument: Option<&str>, allowed: bool| {
        let home = Home::new();
        let mut pipe = Pipe::start(&home, settings);
        let mut arguments = json!({});
        if let Some(argument) = argument {
            arguments["adminToken"] = json!(argument);
        }
        let listed = pipe.call("dynamic_tool_list", &arguments);
        assert_eq!(
            listed.get("isError").is_none(),
            allowed,
            "{settings:?}: {listed}"
        );
        pipe.finish();
    };
    let given = ("MCP_ADMIN_TOKEN", token);
    let required = ("MCP_REQUIRE_ADMIN_TOKEN", "true");
    check(&[], None, true);
    check(&[given], None, true);
    check(&[given, required], None, false);
    check(&[given, required], Some("wrong"), false);
    check(&[given, required], Some(token), true);
}
