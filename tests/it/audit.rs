//! The audit log through the server: what is written of calls and refusals, that no secret gets
//! into it, and that what cannot be written does not happen.

use std::fs;
use std::path::{Path, PathBuf};

use dynamic_mcp::domain::image::ImageRef;
use serde_json::{Value, json};

use crate::support::daemon;
use crate::support::engine::{await_that, patience};
use crate::support::http::{call_body, failure};
use crate::support::server::{Folder, Server, run, stderr, stdout};

const ON: (&str, &str) = ("MCP_AUDIT_ENABLED", "true");
const TOKEN: &str = "tok-4f2a9c81d07be653";

fn log(folder: &Folder) -> PathBuf {
    folder.path().join(".dynamic-mcp/audit.log")
}

fn lines(folder: &Folder) -> Vec<Value> {
    let text = fs::read_to_string(log(folder)).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The lines but for the registry's, which stand a moment after each change.
fn lines_of_acts(folder: &Folder) -> Vec<Value> {
    let mut lines = lines(folder);
    lines.retain(|line| line["action"] != "registry.refresh");
    lines
}

/// `action result` of each of them, in order.
fn acts(folder: &Folder) -> Vec<String> {
    let lines = lines_of_acts(folder);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    lines
        .iter()
        .map(|line| format!("{} {}", text(&line["action"]), text(&line["result"])))
        .collect()
}

/// What `audit verify` says of the whole set, and whether it is content.
fn verify(folder: &Folder, more: &[&str]) -> (Option<i32>, String) {
    let files = fs::read_dir(folder.path().join(".dynamic-mcp")).unwrap();
    let files = files.map(|entry| entry.unwrap().path().to_str().unwrap().to_owned());
    let files: Vec<_> = files.filter(|path| path.contains("audit.log")).collect();
    let mut line = vec!["audit", "verify"];
    line.extend(files.iter().map(String::as_str));
    line.extend(more);
    let output = run(folder, &[], &line);
    (output.status.code(), stdout(&output) + &stderr(&output))
}

/// A failed run ran in it, too; what never ran did not.
#[test]
fn the_image_that_ran_is_in_the_result_and_in_the_log() {
    let image = ImageRef::parse("node:lts-slim").unwrap();
    let id = daemon().image(&image, patience()).unwrap().unwrap().id;
    let expected = json!({ "name": "node:lts-slim", "id": id });
    let mut server = Server::start(&[ON]);
    let folder = server.folder.clone();
    let codes = ["return 1", "throw new Error('x')", "return 1n"];
    for code in codes {
        let result = server.call("run_js_ephemeral", json!({ "code": code }));
        assert_eq!(result["_meta"]["dynamic-mcp/image"], expected, "{result}");
    }
    let refused = json!({ "code": "return 1", "image": "other:1" });
    let result = server.call("run_js_ephemeral", refused);
    assert_eq!(result.get("_meta"), None, "{result}");
    server.stop();
    let mut lines = lines_of_acts(&folder);
    lines.retain(|line| line["details"]["phase"] == "outcome");
    assert_eq!(lines.len(), codes.len());
    for line in lines {
        assert_eq!(line["details"]["image"], expected, "{line}");
    }
}

fn whole(folder: &Folder) -> String {
    let (code, text) = verify(folder, &[]);
    assert_eq!(code, Some(0), "{text}");
    text
}

/// One tool call with these header fields; its result, failed or not.
fn call(server: &Server, fields: &[(&str, &str)], name: &str, arguments: &Value) -> Value {
    let reply = server.connect().post(fields, &call_body(name, arguments));
    reply.json()["result"].clone()
}

fn tool(name: &str, code: &str) -> Value {
    json!({ "tool": { "name": name, "description": "d", "code": code } })
}

#[test]
fn every_act_has_its_lines_and_none_tells_a_secret() {
    const NEEDLES: [&str; 5] = [
        "needle-code",
        "needle-args",
        "needle-guess",
        "needle-result",
        TOKEN,
    ];
    // Request ids, of which one here is a secret, stand in the server's own log from debug on.
    let level = ("MCP_LOG_LEVEL", "info");
    let mut server = Server::start(&[ON, ("MCP_ADMIN_TOKEN", TOKEN), level]);
    let folder = server.folder.clone();
    let admin = [("x-mcp-admin-token", TOKEN), ("x-request-id", TOKEN)];
    let as_admin = |name: &str, arguments: Value| {
        let result = call(&server, &admin, name, &arguments);
        assert_eq!(result.get("isError"), None, "{name}: {result}");
    };
    let code = "const n = 'needle-code'; return { n, args, r: 'needle-' + 'result' }";
    as_admin("dynamic.tool.create", tool("audit.one", code));
    let patch = json!({ "name": "audit.one", "patch": { "title": "t" } });
    as_admin("dynamic.tool.update", patch);
    as_admin(
        "audit.one",
        json!({ "args": { "password": "needle-args" } }),
    );
    for enabled in [false, true] {
        let arguments = json!({ "name": "audit.one", "enabled": enabled });
        as_admin("dynamic.tool.enable", arguments);
    }
    let mut old = tool("audit.two", "return needle-code(");
    old["adminToken"] = json!(TOKEN);
    failure(&server.call("dynamic.tool.create", old));
    as_admin("dynamic.tool.delete", json!({ "name": "audit.one" }));
    server.call(
        "run_js_ephemeral",
        json!({ "code": "throw new Error('needle-result')" }),
    );
    // Fewer than make the server stop comparing.
    for guess in 0..9 {
        let guess = format!("needle-guess-{guess}");
        let fields = [("x-mcp-admin-token", guess.as_str())];
        let denied = call(
            &server,
            &fields,
            "dynamic.tool.delete",
            &json!({ "name": "x.y" }),
        );
        assert!(failure(&denied).starts_with("policy"));
    }
    failure(&server.call("dynamic.tool.list", json!({ "adminToken": "needle-guess" })));
    assert_eq!(server.metric("dynamic_mcp_audit_failed_total"), 0.0);
    // The registry's line may come in between.
    await_that("the log to be what the metrics say", || {
        let written = server.metric("dynamic_mcp_audit_written_total");
        let bytes = server.metric("dynamic_mcp_audit_bytes_total");
        written == lines(&folder).len() as f64
            && bytes == fs::metadata(log(&folder)).unwrap().len() as f64
    });
    let stderr = server.stderr();
    server.stop();

    let expected = [
        "server.start success",
        "engine.select success",
        "dynamic.tool.create success",
        "dynamic.tool.update success",
        "dynamic.exec success",
        "dynamic.exec success",
        "dynamic.tool.disable success",
        "dynamic.tool.enable success",
        "dynamic.tool.create error",
        "dynamic.tool.delete success",
        "run_js_ephemeral success",
        "run_js_ephemeral error",
        "dynamic.tool.delete denied",
        "dynamic.tool.delete denied",
        "dynamic.tool.delete denied",
        "dynamic.tool.delete denied",
        "dynamic.tool.delete denied",
        "http.auth denied",
        "dynamic.tool.delete denied",
        "server.stop success",
    ];
    assert_eq!(acts(&folder), expected);
    let text = fs::read_to_string(log(&folder)).unwrap();
    for needle in NEEDLES {
        assert!(!text.contains(needle), "{needle} in {text}");
        assert!(!stderr.contains(needle), "{needle} in {stderr}");
    }
    let lines = lines_of_acts(&folder);
    let (intent, outcome) = (&lines[4]["details"], &lines[5]["details"]);
    assert_eq!(
        (&intent["phase"], &outcome["phase"]),
        (&json!("intent"), &json!("outcome"))
    );
    assert_eq!(outcome["intentSeq"], lines[4]["seq"]);
    assert_eq!(
        (&outcome["revision"], &outcome["outcome"]),
        (&json!(2), &json!("ok"))
    );
    assert!(outcome["durationMs"].is_u64());
    assert_eq!(intent["digest"], lines[2]["details"]["digest"]);
    assert_eq!(lines[5]["target"], "audit.one");
    assert_eq!(lines[2]["actor"]["sub"], "local");
    assert_eq!(lines[2]["requestId"], "[REDACTED]");
    assert_eq!(lines[11]["details"]["outcome"], "threw");
    assert_eq!(lines[12]["details"]["reason"], "admin_token_wrong");
    assert_eq!(lines[18]["details"]["folded"], 4);
    assert!(
        lines
            .iter()
            .all(|line| line["instance"] == server.instance.as_str())
    );
    assert!(whole(&folder).starts_with("whole: "));
}

/// `target action reason` of the denials of a request.
fn denials(folder: &Folder, request_id: &str) -> Vec<String> {
    let mut lines = lines(folder);
    lines.retain(|line| line["requestId"] == request_id && line["result"] == "denied");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    lines
        .iter()
        .map(|line| {
            let reason = text(&line["details"]["reason"]);
            format!(
                "{} {} {reason}",
                text(&line["target"]),
                text(&line["action"])
            )
        })
        .collect()
}

#[test]
fn a_wrong_admin_token_is_written_once_whatever_it_came_with() {
    let mut server = Server::start(&[
        ON,
        ("MCP_PROFILE", "enterprise"),
        ("MCP_ADMIN_TOKEN", TOKEN),
    ]);
    let folder = server.folder.clone();
    let rpc = |method: &str, params: Value| {
        json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string()
    };
    let read = |uri: &str| rpc("resources/read", json!({ "uri": uri }));
    let config = "dynamic://service/runtime-config";
    let bodies = [
        ("list", rpc("tools/list", json!({}))),
        ("call", call_body("system.health", &json!({}))),
        ("read", read("dynamic://metrics/guard")),
        ("broken", "{".to_owned()),
        ("admin-read", read(config)),
        (
            "admin",
            call_body("dynamic.tool.delete", &json!({ "name": "x.y" })),
        ),
    ];
    let ask = |id: &str, token: &str, body: &str| {
        let fields = [("x-mcp-admin-token", token), ("x-request-id", id)];
        server.connect().post(&fields, body)
    };
    for (id, body) in &bodies {
        ask(id, "needle-wrong-one", body);
    }
    ask("right", TOKEN, &bodies[0].1);
    for number in 0..20 {
        let reply = ask("flood", &format!("needle-wrong-{number}"), &bodies[1].1);
        assert_eq!(reply.json()["result"].get("isError"), None);
    }
    server.stop();
    for (id, _) in &bodies[..4] {
        assert_eq!(
            denials(&folder, id),
            ["/mcp http.auth admin_token_wrong"],
            "{id}"
        );
    }
    let one = format!("{config} http.auth admin_token_wrong");
    assert_eq!(denials(&folder, "admin-read"), [one]);
    let one = "dynamic.tool.delete dynamic.tool.delete admin_token_wrong";
    assert_eq!(denials(&folder, "admin"), [one]);
    assert_eq!(denials(&folder, "right"), [""; 0]);
    // Of 20 the first 4 were compared. Of what is no admin act, 5 wrong tokens had been written.
    let throttled = "/mcp http.auth admin_token_throttled";
    assert_eq!(denials(&folder, "flood"), [throttled; 5]);
    let mut folded = lines(&folder);
    folded.retain(|line| line["details"].get("folded").is_some());
    let told = |line: &Value| {
        (
            line["details"]["reason"].clone(),
            line["details"]["folded"].clone(),
        )
    };
    let told: Vec<_> = folded.iter().map(told).collect();
    let expected = [("admin_token_throttled", 11), ("admin_token_wrong", 4)];
    assert_eq!(
        told,
        expected.map(|(why, count)| (json!(why), json!(count)))
    );
}

#[test]
fn each_act_waits_for_the_disk_where_asked_to() {
    let acts = 30;
    let server = Server::start(&[ON, ("MCP_AUDIT_SYNC", "each")]);
    server.create(json!({ "name": "sync.it", "description": "d", "code": "return 1" }));
    let synced = || server.metric("dynamic_mcp_audit_syncs_total");
    let before = synced();
    for number in 0..acts {
        let arguments = json!({ "name": "sync.it", "enabled": number % 2 == 0 });
        server.call("dynamic.tool.enable", arguments);
    }
    assert!(synced() >= before + f64::from(acts));
    drop(server);
    // Otherwise the disk follows soon.
    let server = Server::start(&[ON]);
    let synced = || server.metric("dynamic_mcp_audit_syncs_total");
    await_that("the first lines to be on the disk", || synced() >= 1.0);
}

#[test]
fn what_the_guard_refuses_is_written() {
    let mut server = Server::start(&[ON, ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "1")]);
    server.value("return 1");
    let refused = server.call("run_js_ephemeral", json!({ "code": "return 2" }));
    assert!(failure(&refused).starts_with("rate_limited"));
    let foreign = json!({ "code": "return 3", "image": "not-allowed:1" });
    assert!(failure(&server.call("run_js_ephemeral", foreign)).starts_with("policy"));
    server.stop();
    let lines = lines(&server.folder);
    let rejected = &lines[4];
    assert_eq!(rejected["action"], "guard.reject");
    assert_eq!(rejected["target"], "run_js_ephemeral");
    assert_eq!(rejected["details"]["reason"], "rate_limited");
    assert!(rejected["details"]["retryAfterMs"].as_u64() > Some(0));
    assert_eq!(acts(&server.folder)[5], "run_js_ephemeral denied");
    whole(&server.folder);
}

#[test]
fn nothing_runs_or_changes_that_cannot_be_audited() {
    let mut server = Server::start(&[ON]);
    let folder = server.folder.clone();
    server.create(json!({ "name": "kept.tool", "description": "d", "code": "return 1" }));
    let aside = folder.path().join("aside");
    fs::rename(log(&folder), &aside).unwrap();
    fs::write(log(&folder), "another's").unwrap();
    let runs = server.metric("dynamic_mcp_execution_duration_seconds_count{phase=\"run\"}");
    let refused = failure(&server.call("kept.tool", json!({})));
    assert!(
        refused.starts_with("internal: this act cannot be audited"),
        "{refused}"
    );
    let refused = failure(&server.call("dynamic.tool.delete", json!({ "name": "kept.tool" })));
    assert!(
        refused.starts_with("internal: this act cannot be audited"),
        "{refused}"
    );
    let after = server.metric("dynamic_mcp_execution_duration_seconds_count{phase=\"run\"}");
    assert_eq!(after, runs);
    assert!(server.metric("dynamic_mcp_audit_failed_total") >= 2.0);
    let list = server.call("dynamic.tool.list", json!({}));
    let tools = list["structuredContent"]["tools"].as_array().unwrap().len();
    assert_eq!(tools, 1, "reading goes on, and nothing was deleted");
    await_that("a server that is not ready", || server.readiness().0 == 503);
    let (_, checks) = server.readiness();
    assert_eq!(checks["audit"]["status"], "failed");
    assert_eq!(
        checks["audit"]["detail"],
        "another file is in its place: move it away"
    );

    fs::rename(&aside, log(&folder)).unwrap();
    await_that("a server that is ready again", || {
        server.readiness().0 == 200
    });
    let (_, checks) = server.readiness();
    assert!(
        checks["audit"]["detail"]
            .as_str()
            .unwrap()
            .starts_with("writable, ")
    );
    let answer = server.call("kept.tool", json!({}));
    assert_eq!(answer["structuredContent"]["result"], 1);
    server.stop();
    assert!(whole(&folder).contains(": file_replaced\n"));
}

#[test]
fn a_killed_server_s_log_goes_on_and_says_so() {
    let folder = Folder::new();
    let mut first = Server::start_in(&folder, &[ON]);
    first.value("return 1");
    let noted = lines(&folder).pop().unwrap()["hash"]
        .as_str()
        .unwrap()
        .to_owned();
    first.kill();
    let before = lines(&folder).len();
    let mut torn = fs::read(log(&folder)).unwrap();
    torn.extend_from_slice(b"{\"seq\":");
    fs::write(log(&folder), torn).unwrap();
    let mut second = Server::start_in(&folder, &[ON]);
    second.value("return 2");
    second.stop();
    let lines = lines(&folder);
    let start = &lines[before];
    assert_eq!(start["action"], "server.start");
    assert_eq!(start["details"]["chainBreak"]["reason"], "torn_line");
    assert_eq!(start["details"]["chainBreak"]["tornBytes"], 7);
    assert!(whole(&folder).contains("interrupted before"));
    let (code, text) = verify(&folder, &["--head", &noted]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("lines after the noted head"), "{text}");

    // Cut behind the noted line, and before it.
    let text = fs::read_to_string(log(&folder)).unwrap();
    let cut = |kept: usize| {
        let kept: String = text.split_inclusive('\n').take(kept).collect();
        fs::write(log(&folder), kept).unwrap();
    };
    cut(before);
    assert_eq!(verify(&folder, &["--head", &noted]).0, Some(0));
    cut(before - 1);
    let (code, found) = verify(&folder, &["--head", &noted]);
    assert_eq!(code, Some(1));
    assert!(found.contains("no line has the hash of --head"), "{found}");
    fs::write(log(&folder), text.replacen("local", "lokal", 1)).unwrap();
    let (code, found) = verify(&folder, &[]);
    assert_eq!(code, Some(1));
    assert!(found.contains("audit.log line 3 was changed"), "{found}");
}

#[test]
fn one_log_has_one_server() {
    let server = Server::start(&[ON]);
    let own = log(&server.folder);
    let other = Folder::new();
    let settings = [ON, ("MCP_AUDIT_FILE", own.to_str().unwrap())];
    let output = run(&other, &settings, &["serve"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("has a writer already"), "{text}");
}

#[test]
fn a_registry_that_others_changed_is_written() {
    let folder = Folder::new();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (one, two) = (path("one.log"), path("two.log"));
    let mut first = Server::start_in(&folder, &[ON, ("MCP_AUDIT_FILE", &one)]);
    let mut second = Server::start_in(&folder, &[ON, ("MCP_AUDIT_FILE", &two)]);
    first.create(json!({ "name": "their.tool", "description": "d", "code": "return 1" }));
    let refreshed = |path: &str| {
        let text = fs::read_to_string(Path::new(path)).unwrap();
        text.contains(r#""action":"registry.refresh""#)
    };
    await_that("the line of the other server", || refreshed(&two));
    first.stop();
    second.stop();
}

#[test]
fn an_import_is_audited_tool_by_tool_or_not_made() {
    let folder = Folder::new();
    let file = |code: &str| {
        let time = "2026-07-28T12:00:00.000Z";
        let one = |name: &str, code: &str| {
            json!({ "name": name, "description": "d", "code": code, "revision": 1,
                "createdAt": time, "updatedAt": time })
        };
        let tools = json!([
            one("import.one", code),
            one("import.two", "return 'needle-two'")
        ]);
        let text = json!({ "version": 1, "tools": tools }).to_string();
        fs::write(folder.path().join("in.json"), text).unwrap();
    };
    let import = |more: &[&str]| {
        let line = [&["tools", "import", "in.json"], more].concat();
        run(&folder, &[ON], &line)
    };
    file("return 'needle-one'");
    assert_eq!(
        stdout(&import(&[])),
        "2 tools added, 0 replaced, 0 unchanged\n"
    );
    assert_eq!(import(&[]).status.code(), Some(0), "nothing changes");
    file("return 'needle-new'");
    assert_eq!(import(&[]).status.code(), Some(1), "a collision");
    assert_eq!(import(&["replace"]).status.code(), Some(0));
    let expected = [
        "server.start success",
        "dynamic.tool.create success",
        "dynamic.tool.create success",
        "dynamic.tool.create success",
        "dynamic.tool.create success",
        "server.stop success",
        "server.start success",
        "server.stop success",
        "server.start success",
        "dynamic.tool.update success",
        "dynamic.tool.update error",
        "server.stop success",
        "server.start success",
        "dynamic.tool.update success",
        "dynamic.tool.update success",
        "server.stop success",
    ];
    assert_eq!(acts(&folder), expected);
    let lines = lines(&folder);
    assert_eq!(lines[1]["actor"]["client"], "tools import");
    for (number, target, phase) in [
        (1, "import.one", "intent"),
        (2, "import.two", "intent"),
        (3, "import.one", "outcome"),
        (4, "import.two", "outcome"),
        (9, "import.one", "intent"),
        (10, "import.one", "outcome"),
        (13, "import.one", "intent"),
        (14, "import.one", "outcome"),
    ] {
        let line = &lines[number];
        assert_eq!(line["target"], target, "{line}");
        assert_eq!(line["details"]["phase"], phase, "{line}");
        let digest = line["details"]["digest"].as_str().unwrap();
        assert!(digest.starts_with("sha256:"), "{line}");
    }
    assert_eq!(lines[14]["details"]["intentSeq"], lines[13]["seq"]);
    assert_eq!(lines[14]["details"]["revision"], 2);
    assert_eq!(lines[10]["details"]["outcome"], "invalid_arguments");
    assert!(!fs::read_to_string(log(&folder)).unwrap().contains("needle"));
    assert!(whole(&folder).starts_with("whole: 16 lines"));

    // A server writes to that log: whoever changes its tools needs a log as well.
    let server = Server::start_in(&folder, &[ON]);
    file("return 'needle-last'");
    let refused = import(&["replace"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("has a writer already"),
        "{refused:?}"
    );
    let tool = server.call("dynamic.tool.get", json!({ "name": "import.one" }));
    let code = &tool["structuredContent"]["tool"]["code"];
    assert_eq!(*code, "return 'needle-new'");
    let own = [ON, ("MCP_AUDIT_FILE", "import.log")];
    let done = run(&folder, &own, &["tools", "import", "in.json", "replace"]);
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
}
