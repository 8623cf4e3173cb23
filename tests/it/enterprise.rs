//! The enterprise profile: what it has beyond the small one, what it switches on, and to whom it
//! tells what.

use std::fs;

use serde_json::{Value, json};

use crate::support::http::failure;
use crate::support::server::{Folder, Server, run, stderr};

const ENTERPRISE: (&str, &str) = ("MCP_PROFILE", "enterprise");
const TOKEN: &str = "enterprise-token-5b1f";
const BEYOND: [&str; 4] = [
    "dev.echo",
    "system.guard_metrics",
    "system.runtime_config",
    "time.now",
];

fn names(server: &Server) -> Vec<String> {
    let list = server.rpc("tools/list", &json!({}));
    let tools = list["result"]["tools"].as_array().unwrap().iter();
    tools
        .map(|tool| tool["name"].as_str().unwrap().to_owned())
        .collect()
}

fn value(server: &Server, name: &str, arguments: Value) -> Value {
    let result = server.call(name, arguments);
    assert_eq!(result.get("isError"), None, "{name}: {result}");
    let value = result["structuredContent"].clone();
    let text = result["content"][0]["text"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), value);
    value
}

#[test]
fn the_small_profile_neither_lists_nor_calls_what_enterprise_has() {
    let server = Server::start(&[]);
    let listed = names(&server);
    for name in BEYOND {
        assert!(!listed.contains(&name.to_owned()), "{name}");
        let params = json!({ "name": name, "arguments": {} });
        assert_eq!(
            server.rpc("tools/call", &params)["error"]["code"],
            -32602,
            "{name}"
        );
        // Nobody may take the place either.
        let tool = json!({ "name": name, "description": "d", "code": "return 1" });
        failure(&server.call("dynamic.tool.create", json!({ "tool": tool })));
    }
    assert!(!server.folder.path().join(".dynamic-mcp/audit.log").exists());
}

#[test]
fn enterprise_has_more_tools_and_an_audit_log() {
    let server = Server::start(&[ENTERPRISE]);
    let listed = names(&server);
    for name in BEYOND {
        assert!(listed.contains(&name.to_owned()), "{name}: {listed:?}");
    }
    let echo = value(&server, "dev.echo", json!({ "message": "grüße" }));
    assert_eq!(echo, json!({ "message": "grüße", "length": 5 }));
    let echo = value(
        &server,
        "dev_echo",
        json!({ "message": "grüße", "uppercase": true }),
    );
    assert_eq!(echo, json!({ "message": "GRÜSSE", "length": 6 }));
    let long = json!({ "message": "x".repeat(10_001) });
    assert!(failure(&server.call("dev.echo", long)).starts_with("invalid_arguments"));
    assert!(server.folder.path().join(".dynamic-mcp/audit.log").exists());
}

#[test]
fn the_time_in_time_zones() {
    let server = Server::start(&[ENTERPRISE]);
    let utc = value(&server, "time.now", json!({}));
    let iso = utc["iso"].as_str().unwrap();
    assert!(iso.ends_with('Z') && iso.len() == 24, "{utc}");
    assert_eq!(utc["timeZone"], "UTC");
    assert!(utc["unixSeconds"].as_u64() > Some(1_780_000_000), "{utc}");
    for (zone, offset) in [
        ("Asia/Kathmandu", "+05:45"),
        ("Pacific/Marquesas", "-09:30"),
    ] {
        let there = value(&server, "time.now", json!({ "timeZone": zone }));
        assert!(there["iso"].as_str().unwrap().ends_with(offset), "{there}");
        assert_eq!(there["timeZone"], zone);
    }
    for wrong in [
        "../../../etc/passwd",
        "Europe",
        "Europe/Atlantis",
        "localtime",
        "+01",
    ] {
        let refused = failure(&server.call("time.now", json!({ "timeZone": wrong })));
        assert!(
            refused.starts_with("invalid_arguments: $.timeZone: "),
            "{refused}"
        );
        assert!(refused.contains("is no IANA time zone"), "{refused}");
    }
}

/// The machine's own `date` is asked, so both sides of every change of clocks come in time.
#[test]
fn every_time_zone_agrees_with_the_system() {
    let server = Server::start(&[ENTERPRISE]);
    let mut connection = server.connect();
    for zone in [
        "Africa/Casablanca",
        "America/New_York",
        "America/Nuuk",
        "America/Santiago",
        "Asia/Jerusalem",
        "Australia/Lord_Howe",
        "Europe/Berlin",
        "Europe/Dublin",
        "Pacific/Chatham",
    ] {
        let result = connection.call("time.now", json!({ "timeZone": zone }));
        let told = result["structuredContent"]["iso"]
            .as_str()
            .unwrap()
            .to_owned();
        let at = result["structuredContent"]["unixSeconds"].as_u64().unwrap();
        let date = std::process::Command::new("date")
            .env("TZ", zone)
            .args([&format!("-d@{at}"), "+%Y-%m-%dT%H:%M:%S %:z"])
            .output()
            .unwrap();
        let date = String::from_utf8(date.stdout).unwrap();
        let (time, offset) = date.trim().split_once(' ').unwrap();
        assert!(
            told.starts_with(time) && told.ends_with(offset),
            "{zone}: {told} {date}"
        );
    }
}

#[test]
fn the_guard_tells_what_it_let_through() {
    let server = Server::start(&[ENTERPRISE, ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "3")]);
    server.create(json!({ "name": "guard.one", "description": "d", "code": "return 1" }));
    server.call("guard.one", json!({}));
    server.call(
        "run_js_ephemeral",
        json!({ "code": "throw new Error('x')" }),
    );
    for _ in 0..3 {
        server.call("run_js_ephemeral", json!({ "code": "return 1" }));
    }
    let metrics = value(&server, "system.guard_metrics", json!({}));
    assert_eq!(metrics["activeExecutions"], 0);
    let limits = json!({ "maxConcurrency": 8, "maxCallsPerWindow": 3, "windowMs": 60000 });
    assert_eq!(metrics["limits"], limits);
    let counts = |scope: &str, counts: [u64; 5]| {
        let [total, allowed, rate, concurrency, failed] = counts;
        json!({
            "scope": scope, "total": total, "allowed": allowed, "rejectedRate": rate,
            "rejectedConcurrency": concurrency, "failed": failed,
        })
    };
    let expected = json!([
        counts("dynamic.exec.guard.one", [1, 1, 0, 0, 0]),
        counts("dynamic.tool.create", [1, 1, 0, 0, 0]),
        counts("run_js_ephemeral", [4, 3, 1, 0, 1]),
    ]);
    assert_eq!(metrics["scopes"], expected);
}

#[test]
fn settings_are_shown_to_admins_without_secrets() {
    let folder = Folder::new();
    fs::write(folder.path().join("token"), TOKEN).unwrap();
    let settings = [
        ENTERPRISE,
        ("MCP_ADMIN_TOKEN_FILE", "token"),
        ("MCP_HTTP_WORKERS", "24"),
    ];
    let server = Server::start_in(&folder, &settings);
    let denied = failure(&server.call("system.runtime_config", json!({})));
    assert!(denied.starts_with("policy: "), "{denied}");
    let shown = value(
        &server,
        "system.runtime_config",
        json!({ "adminToken": TOKEN }),
    );
    let of = |name: &str| {
        let all = shown["settings"].as_array().unwrap();
        let found = all.iter().find(|setting| setting["name"] == name).unwrap();
        (
            found["value"].clone(),
            found["origin"].as_str().unwrap().to_owned(),
        )
    };
    let origin = "environment, MCP_ADMIN_TOKEN_FILE".to_owned();
    assert_eq!(of("MCP_ADMIN_TOKEN"), (json!("****"), origin));
    assert_eq!(
        of("MCP_HTTP_WORKERS"),
        (json!("24"), "environment".to_owned())
    );
    assert_eq!(
        of("MCP_TOOL_QUEUE_MS"),
        (json!("10000"), "default".to_owned())
    );
    assert_eq!(of("MCP_PUBLIC_URL"), (Value::Null, "default".to_owned()));
    assert!(!shown.to_string().contains(TOKEN));
}

#[test]
fn with_tokens_enterprise_needs_an_admin_token() {
    let settings = [
        ENTERPRISE,
        ("MCP_AUTH_MODE", "jwt"),
        ("MCP_AUTH_JWKS_URL", "file:///nonexistent"),
        ("MCP_AUTH_ISSUER", "https://issuer.example"),
        ("MCP_AUTH_AUDIENCE", "a"),
    ];
    let output = run(&Folder::new(), &settings, &["serve"]);
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(text.contains("MCP_ADMIN_TOKEN: is missing"), "{text}");
}
