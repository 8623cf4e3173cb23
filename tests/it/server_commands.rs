//! What operators see: commands and their exit codes, settings that are wrong, the admin token and
//! where it never shows, metrics.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::http::{ACCEPT, JSON, call_body, failure};
use crate::support::server::{Folder, Server, assert_promtool_is_content, run, stderr, stdout};

#[test]
fn all_that_is_wrong_with_settings_is_told_at_once() {
    let check = |settings: &[(&str, &str)], line: &[&str], expected: &[&str]| {
        let folder = Folder::new();
        let output = run(&folder, settings, line);
        let text = stderr(&output);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{line:?} {settings:?}: {text}"
        );
        for part in expected {
            assert!(text.contains(part), "{part} not in {text}");
        }
        assert_eq!(stdout(&output), "");
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 0, "something was started: {line:?} {settings:?}");
    };
    check(
        &[
            ("MCP_HTTP_WORKERS", "12abc"),
            ("MCP_TOOL_QUEUE_MS", ""),
            ("MCP_LOG_LEVEL", "loud"),
        ],
        &["--prot", "1", "--path", "mcp", "--dynamic-max-tools=0"],
        &[
            "MCP_HTTP_WORKERS",
            "MCP_TOOL_QUEUE_MS",
            "MCP_LOG_LEVEL",
            "--prot",
            "did you mean --port",
            "MCP_PATH",
            "MCP_DYNAMIC_MAX_TOOLS",
        ],
    );
    check(&[("MCP_PORT", "65536")], &[], &["MCP_PORT"]);
    check(
        &[("MCP_HOST", "0.0.0.0")],
        &[],
        &["MCP_HOST", "MCP_ALLOW_UNAUTHENTICATED"],
    );
    check(
        &[("MCP_DYNAMIC_BACKEND", "postgres")],
        &[],
        &["MCP_DYNAMIC_PG_URL"],
    );
    check(
        &[("DOCKER_HOST", "tcp://10.0.0.1:2375")],
        &[],
        &["DOCKER_HOST"],
    );
    check(
        &[("MCP_TOOL_MAX_CONCURRENCY", "57")],
        &[],
        &["MCP_TOOL_MAX_CONCURRENCY", "MCP_HTTP_WORKERS"],
    );
    check(
        &[("MCP_ADMIN_TOKEN_FILE", "/no/such/file")],
        &[],
        &["MCP_ADMIN_TOKEN_FILE", "does not exist"],
    );
    check(
        &[("MCP_REQUIRE_ADMIN_TOKEN", "true")],
        &[],
        &["MCP_ADMIN_TOKEN"],
    );
    check(&[], &["sevre"], &["did you mean serve"]);
    check(&[], &["call"], &["usage: dynamic-mcp call NAME [JSON]"]);
    check(&[], &["serve", "--port"], &["--port", "needs a value"]);
    check(
        &[],
        &["--env-file", "/no/such/file"],
        &["/no/such/file", "does not exist"],
    );
    check(
        &[
            ("MCP_ADMIN_TOKEN", "hunter2-hunter2-hunter2"),
            ("MCP_PORT", "hunter2"),
        ],
        &[],
        &["MCP_PORT"],
    );
}

#[test]
fn the_env_file_is_read_and_must_be_ours_alone() {
    let folder = Folder::new();
    let file = folder.path().join(".env");
    let write = |text: &str, mode: u32| {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    write("MCP_PATH=/from-file\nMCP_TOOL_QUEUE_MS=77\n", 0o600);
    let output = run(
        &folder,
        &[("MCP_TOOL_QUEUE_MS", "88")],
        &["config", "--dynamic-max-tools", "99"],
    );
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for (key, value, origin) in [
        ("MCP_PATH", "/from-file", "(.env line 1)"),
        ("MCP_TOOL_QUEUE_MS", "88", "(environment)"),
        ("MCP_DYNAMIC_MAX_TOOLS", "99", "(flag --dynamic-max-tools)"),
        ("MCP_HTTP_WORKERS", "64", "(default)"),
    ] {
        let start = format!("{key} = {value} ");
        let found = text
            .lines()
            .any(|line| line.starts_with(&start) && line.ends_with(origin));
        assert!(found, "{start}{origin} in {text}");
    }
    let refused = |text: &str, mode: u32, expected: &str| {
        write(text, mode);
        let output = run(&folder, &[], &["config"]);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(".env") && told.contains(expected), "{told}");
    };
    refused("MCP_PATH=/x\n", 0o666, "others");
    let foreign = "LD_PRELOAD (.env line 1): is no setting of dynamic-mcp, and this file may hold";
    refused("LD_PRELOAD=/x\n", 0o600, foreign);
    refused("MCP_PROT=1\n", 0o600, "did you mean MCP_PORT?");
    refused("MCP_NO_SUCH=1\n", 0o600, "MCP_NO_SUCH");
    write("MCP_PATH=/from-file\n", 0o600);
    let server = Server::start_in(&folder, &[]);
    assert_eq!(server.get("/from-file").status, 405);
}

#[test]
fn commands_that_only_tell() {
    let folder = Folder::new();
    let output = run(&folder, &[], &["--version"]);
    assert_eq!(
        stdout(&output),
        format!("dynamic-mcp {}\n", env!("CARGO_PKG_VERSION"))
    );
    let output = run(&folder, &[("MCP_PORT", "x")], &["--help"]);
    assert!(output.status.success() && stdout(&output).contains("MCP_TOOL_NAME_STYLE"));
    let brief = run(&folder, &[("MCP_PORT", "x")], &["-h"]);
    assert!(brief.status.success() && stdout(&brief).contains("audit verify FILE"));
    assert!(stdout(&brief).len() * 3 < stdout(&output).len());
    let output = run(
        &folder,
        &[("MCP_ADMIN_TOKEN", "correct-horse-battery-staple")],
        &["config"],
    );
    let text = stdout(&output);
    assert!(
        text.contains("MCP_ADMIN_TOKEN = ****") && !text.contains("horse"),
        "{text}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    // A reader that goes early is no error.
    let mut child = crate::support::server::program(&folder, &[])
        .arg("--help")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_client_of_one_line() {
    let settings = [("MCP_ADMIN_TOKEN", "correct-horse-battery-staple")];
    let mut server = Server::start(&settings);
    let port = server.address.port().to_string();
    let folder = Folder::new();
    let call = |line: &[&str], settings: &[(&str, &str)]| {
        let line: Vec<_> = ["call"]
            .iter()
            .chain(line)
            .chain(&["--port", &port])
            .copied()
            .collect();
        let output = run(&folder, settings, &line);
        (
            output.status.code().unwrap(),
            stdout(&output),
            stderr(&output),
        )
    };
    let (code, out, error) = call(
        &[
            "run_js_ephemeral",
            r#"{"code":"return args.a","args":{"a":[1,"é"]}}"#,
        ],
        &[],
    );
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &value["result"], &*error), (0, &json!([1, "é"]), ""));
    assert_eq!(call(&["system.health"], &[]).0, 0);
    let create = r#"{"tool":{"name":"one.line","description":"d","code":"return 'x'"}}"#;
    let (code, out, error) = call(&["dynamic.tool.create", create], &[]);
    assert_eq!((code, &*out), (1, ""));
    assert!(
        error.contains("policy: ") && error.contains("admin token"),
        "{error}"
    );
    let (code, _, error) = call(&["dynamic.tool.create", create], &settings);
    assert_eq!(code, 0, "{error}");
    let (code, out, _) = call(&["one_line", "{}"], &[]);
    assert!(code == 0 && out.contains("\"x\""), "{out}");
    let (code, out, error) = call(
        &[
            "run_js_ephemeral",
            r#"{"code":"\nthrow new Error('boom')"}"#,
        ],
        &[],
    );
    assert_eq!((code, &*out), (1, ""));
    assert!(
        error.contains("threw at line 2") && error.contains("boom"),
        "{error}"
    );
    let fails = |line: &[&str], expected: (i32, &str)| {
        let (code, out, error) = call(line, &[]);
        assert_eq!((code, &*out), (expected.0, ""), "{line:?}: {error}");
        assert!(
            error.starts_with("dynamic-mcp: ") && error.contains(expected.1),
            "{line:?}: {error}"
        );
    };
    fails(&["no.such.tool"], (1, "there is no tool named"));
    fails(&["system.health", "{"], (2, "not JSON"));
    fails(&["system.health", "[1]"], (2, "JSON object"));
    fails(&["system.health", "{}", "more"], (2, "usage"));
    let large = format!(r#"{{"code":"return 1 // {}"}}"#, "x".repeat(110_000));
    assert_eq!(call(&["run_js_ephemeral", &large], &[]).0, 0);
    let health = |settings: &[(&str, &str)]| {
        let output = run(&folder, settings, &["healthcheck", "--port", &port]);
        (
            output.status.code().unwrap(),
            stdout(&output),
            stderr(&output),
        )
    };
    let (code, out, _) = health(&[]);
    assert!(code == 0 && out.contains("\"ready\""), "{out}");
    server.stop();
    fails(&["system.health"], (1, "no server at"));
    let (code, out, error) = health(&[]);
    assert_eq!((code, &*out), (1, ""));
    assert!(error.contains("no server at"), "{error}");
    let folder = server.folder.clone();
    let nowhere = [("DOCKER_HOST", "unix:///nowhere/docker.sock"), settings[0]];
    let server = Server::start_in(&folder, &nowhere);
    let port = server.address.port().to_string();
    let output = run(&folder, &[], &["healthcheck", "--port", &port]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("not_ready") && stderr(&output).contains("/nowhere"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn starts_that_fail_say_why_and_leave_nothing() {
    let server = Server::start(&[]);
    let taken = server.address.port().to_string();
    let in_use = format!("127.0.0.1:{taken} is in use");
    for (setting, expected) in [
        (("MCP_PORT", &*taken), [&*in_use, "--port"]),
        (
            ("MCP_RUNTIME_DIR", "/dev/null"),
            ["/dev/null", "MCP_RUNTIME_DIR"],
        ),
        (
            ("MCP_DYNAMIC_STORE", "/dev/null/tools.json"),
            ["/dev/null/tools.json", "directory"],
        ),
        (
            ("MCP_SANDBOX_RUNTIME", "no-such-runtime"),
            [
                "no container runtime no-such-runtime (MCP_SANDBOX_RUNTIME)",
                "it has: io.containerd.runc.v2, io.containerd.runtime.v1.linux, runc",
            ],
        ),
    ] {
        let folder = Folder::new();
        let output = run(&folder, &[setting], &[]);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{setting:?}: {text}");
        for part in expected {
            assert!(text.contains(part), "{part} not in {text}");
        }
        assert_eq!(
            text.lines()
                .filter(|line| line.starts_with("dynamic-mcp: "))
                .count(),
            1
        );
        assert_eq!(folder.instances(), Vec::<String>::new(), "{setting:?}");
    }
}

#[test]
fn the_admin_token_is_asked_for_and_never_shown() {
    const TOKEN: &str = "correct-horse-battery-staple";
    const GUESS: &str = "wrong-guess-of-somebody";
    let folder = Folder::new();
    std::fs::write(folder.path().join("token"), format!("{TOKEN}\n")).unwrap();
    let token_file = folder.path().join("token");
    let named = ("MCP_ADMIN_TOKEN_FILE", token_file.to_str().unwrap());
    for (mode, warnings) in [(0o644, 1), (0o640, 0)] {
        std::fs::set_permissions(&token_file, std::fs::Permissions::from_mode(mode)).unwrap();
        let mut server = Server::start_in(&folder, &[named]);
        server.stop();
        let told = "MCP_ADMIN_TOKEN_FILE: every user can read ";
        assert_eq!(server.stderr().matches(told).count(), warnings, "{mode:o}");
    }
    let server = Server::start_in(&folder, &[named, ("MCP_LOG_LEVEL", "trace")]);
    let tool = |name: &str| json!({ "name": name, "description": "d", "code": "return [args, process.env]" });
    let ask = |name: &str, fields: &[(&str, &str)], arguments: &Value| {
        let reply = server.connect().post(fields, &call_body(name, arguments));
        (reply.status, reply.json()["result"].clone())
    };
    let header = [("x-mcp-admin-token", TOKEN)];
    let wrong = [("X-MCP-Admin-Token", GUESS)];
    let with = |mut arguments: Value, token: &str| {
        arguments["adminToken"] = token.into();
        arguments
    };
    let permitted = |name: &str, fields: &[(&str, &str)], arguments: &Value| {
        let (_, result) = ask(name, fields, arguments);
        assert_eq!(result.get("isError"), None, "{name} {result}");
        assert!(!result.to_string().contains(TOKEN), "{result}");
    };
    permitted(
        "dynamic.tool.create",
        &header,
        &json!({ "tool": tool("one.a") }),
    );
    permitted(
        "dynamic.tool.create",
        &[],
        &with(json!({ "tool": tool("one.b") }), TOKEN),
    );
    let acts = [
        ("create", json!({ "tool": tool("one.c") })),
        (
            "update",
            json!({ "name": "one.a", "patch": { "title": "x" } }),
        ),
        ("enable", json!({ "name": "one.a", "enabled": true })),
        ("list", json!({})),
        ("get", json!({ "name": "one.a" })),
        ("delete", json!({ "name": "one.a" })),
    ];
    for (act, arguments) in &acts {
        let name = format!("dynamic.tool.{act}");
        let denied = |fields: &[(&str, &str)], arguments: &Value, expected: &str| {
            let text = failure(&ask(&name, fields, arguments).1);
            assert!(
                text.starts_with("policy: ") && text.contains(expected),
                "{name}: {text}"
            );
        };
        denied(&[], arguments, "x-mcp-admin-token");
        denied(&[("Authorization", TOKEN)], arguments, "x-mcp-admin-token");
        if *act == "list" {
            // Few enough not to be throttled.
            denied(&wrong, arguments, "wrong");
            denied(&[], &with(arguments.clone(), GUESS), "wrong");
            denied(&[], &with(arguments.clone(), ""), "wrong");
            denied(&[("x-mcp-admin-token", &TOKEN[1..])], arguments, "wrong");
            denied(&wrong, &with(arguments.clone(), TOKEN), "wrong");
        }
    }
    let twice = [header[0], ("x-mcp-admin-token", GUESS)];
    let reply = server
        .connect()
        .post(&twice, &call_body("dynamic.tool.list", &json!({})));
    assert_eq!(reply.status, 400);
    // Calls need none, and what it is sent with does not reach the code.
    permitted("one.a", &[], &json!({}));
    permitted("one.a", &header, &json!({ "args": {} }));
    permitted("dynamic.tool.call", &header, &json!({ "name": "one.a" }));
    permitted("system.health", &[], &json!({}));
    for broken in [
        format!("{{\"adminToken\":\"{TOKEN}\""),
        call_body("dynamic.tool.get", &with(json!({ "name": 5 }), TOKEN)),
        call_body(
            "dynamic.tool.update",
            &with(json!({ "name": "one.a", "patch": {} }), TOKEN),
        ),
    ] {
        assert!(!server.connect().post(&[], &broken).text().contains(TOKEN));
    }
    for (act, arguments) in &acts {
        permitted(&format!("dynamic.tool.{act}"), &header, arguments);
    }
    let (text, store) = (
        server.stderr(),
        std::fs::read_to_string(folder.store()).unwrap(),
    );
    assert!(text.contains("TRACE") || text.contains("DEBUG"), "{text}");
    assert!(!text.contains(TOKEN) && !text.contains(GUESS), "{text}");
    assert!(
        !store.contains(TOKEN) && !store.contains("adminToken"),
        "{store}"
    );
    assert!(!server.get("/readyz").text().contains(TOKEN));
    assert!(text.contains("admin acts need the admin token"), "{text}");
}

#[test]
fn metrics_are_well_formed_count_and_name_nothing_foreign() {
    let server = Server::start(&[]);
    server.create(
        json!({ "name": "strange.tool", "description": "d", "code": "throw new Error('x')" }),
    );
    let mut connection = server.connect();
    connection.call("strange.tool", json!({}));
    connection.call("run_js_ephemeral", json!({ "code": "return 1" }));
    connection.rpc("strange/method", &json!({}));
    connection.exchange("GET", "/strange", &[], b"");
    connection.exchange("STRANGE", "/mcp", &[("x-request-id", "strange")], b"");
    connection.exchange(
        "POST",
        "/mcp",
        &[JSON, ACCEPT, ("Origin", "http://strange")],
        b"{}",
    );
    let mut broken = server.connect();
    broken.send(b"strange\r\n\r\n");
    assert_eq!(broken.read(false).status, 400);
    let plain = server.get("/metrics");
    assert_eq!(
        plain.header("Content-Type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let text = plain.text();
    assert!(!text.contains("strange"), "{text}");
    for (series, least) in [
        (
            "dynamic_mcp_http_requests_total{route=\"mcp\",status=\"200\"}",
            4.0,
        ),
        (
            "dynamic_mcp_http_requests_total{route=\"mcp\",status=\"405\"}",
            1.0,
        ),
        (
            "dynamic_mcp_http_requests_total{route=\"mcp\",status=\"403\"}",
            1.0,
        ),
        (
            "dynamic_mcp_http_requests_total{route=\"other\",status=\"404\"}",
            1.0,
        ),
        ("dynamic_mcp_http_refused_total{reason=\"malformed\"}", 1.0),
        (
            "dynamic_mcp_tool_calls_total{kind=\"builtin\",outcome=\"ok\"}",
            1.0,
        ),
        (
            "dynamic_mcp_tool_calls_total{kind=\"dynamic\",outcome=\"threw\"}",
            1.0,
        ),
        (
            "dynamic_mcp_tool_calls_total{kind=\"run_js_ephemeral\",outcome=\"ok\"}",
            1.0,
        ),
        (
            "dynamic_mcp_execution_duration_seconds_count{phase=\"run\"}",
            2.0,
        ),
        ("dynamic_mcp_registry_tools ", 1.0),
        ("dynamic_mcp_process_resident_memory_bytes ", 1e6),
        ("dynamic_mcp_process_threads ", 64.0),
    ] {
        assert!(server.metric(series) >= least, "{series} in {text}");
    }
    for series in [
        "pool_oldest_parked_seconds",
        "pool_refill_seconds_count",
        "dependency_installs_total{result=\"failed\"}",
        "dependency_install_seconds_count",
    ] {
        assert!(text.contains(&format!("\ndynamic_mcp_{series} ")), "{text}");
    }
    assert_promtool_is_content(&text);
    let packed = connection.exchange(
        "GET",
        "/metrics",
        &[("Accept-Encoding", "br, gzip;q=0.5")],
        b"",
    );
    assert_eq!(
        (packed.header("Content-Encoding"), packed.header("Vary")),
        (Some("gzip"), Some("Accept-Encoding"))
    );
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(&*packed.body)
        .read_to_string(&mut unpacked)
        .unwrap();
    let families = |text: &str| {
        text.lines()
            .filter(|line| line.starts_with("# TYPE"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(families(&unpacked), families(&text));
    for coding in ["identity", "gzip;q=0", "br"] {
        let reply = connection.exchange("GET", "/metrics", &[("Accept-Encoding", coding)], b"");
        assert_eq!(reply.header("Content-Encoding"), None, "{coding}");
    }
}

#[test]
fn logs_are_lines_that_nobody_else_can_write() {
    let server = Server::start(&[
        ("MCP_LOG_FORMAT", "json"),
        ("MCP_LOG_LEVEL", "debug"),
        ("MCP_NO_SUCH_SETTING", "1"),
    ]);
    let mut connection = server.connect();
    let id = [("x-request-id", "7f3a\u{22}-id")];
    connection.post(&id, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    server.create(json!({ "name": "logged", "description": "a\nb\u{1b}[31m", "code": "console.log('secret of a caller\\n{}'); return 1" }));
    server.call("logged", json!({}));
    let text = server.stderr();
    let banner_end = text.find("  try ").unwrap();
    let lines = text[banner_end..].lines().skip(1);
    let records: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for record in &records {
        assert!(
            record["ts"].is_string()
                && record["level"].is_string()
                && record["message"].is_string(),
            "{record}"
        );
    }
    let says = |part: &str| {
        records
            .iter()
            .any(|record| record["message"].as_str().unwrap().contains(part))
    };
    assert!(says("7f3a\"-id") && says("logged"), "{text}");
    assert!(
        text.contains("MCP_NO_SUCH_SETTING"),
        "an unknown variable is worth a warning: {text}"
    );
    assert!(!text.contains("secret of a caller"), "{text}");
}
