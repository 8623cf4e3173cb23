//! MCP resources in both eras: what is listed and read by whom, and what is said of those that are
//! not there.

use std::fs;

use serde_json::{Value, json};

use crate::support::http::{Reply, failure};
use crate::support::pipe::{Home, MODERN_META, Pipe};
use crate::support::server::Server;

const ENTERPRISE: (&str, &str) = ("MCP_PROFILE", "enterprise");
const TOKEN: &str = "resource-token-77c0";
const ADMIN: (&str, &str) = ("x-mcp-admin-token", TOKEN);
const GUARD: &str = "dynamic://metrics/guard";
const META: &str = "dynamic://service/meta";
const CONFIG: &str = "dynamic://service/runtime-config";
const METHODS: [&str; 3] = [
    "resources/list",
    "resources/templates/list",
    "resources/read",
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Era {
    Legacy,
    Modern,
}

/// One request with these parameters (JSON members) and header fields.
fn ask(server: &Server, era: Era, method: &str, uri: &str, fields: &[(&str, &str)]) -> Reply {
    let mut members = Vec::new();
    if method == "resources/read" {
        members.push(format!(r#""uri":{}"#, json!(uri)));
    }
    let mut all = fields.to_vec();
    if era == Era::Modern {
        members.push(MODERN_META.to_owned());
        all.extend([
            ("MCP-Protocol-Version", "2026-07-28"),
            ("Mcp-Method", method),
        ]);
        if method == "resources/read" {
            all.push(("Mcp-Name", uri));
        }
    }
    let params = members.join(",");
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}}}}}"#);
    server.connect().post(&all, &body)
}

fn result(reply: &Reply) -> Value {
    let json = reply.json();
    assert_eq!((reply.status, json.get("error")), (200, None), "{json}");
    json["result"].clone()
}

fn listed(server: &Server, era: Era, fields: &[(&str, &str)]) -> Vec<String> {
    let list = result(&ask(server, era, "resources/list", "", fields));
    let uris = list["resources"].as_array().unwrap().iter();
    uris.map(|one| one["uri"].as_str().unwrap().to_owned())
        .collect()
}

fn read(server: &Server, era: Era, uri: &str, fields: &[(&str, &str)]) -> Value {
    let read = result(&ask(server, era, "resources/read", uri, fields));
    let [contents] = read["contents"].as_array().unwrap().as_slice() else {
        panic!("{read}")
    };
    assert_eq!(
        (&contents["uri"], &contents["mimeType"]),
        (&json!(uri), &json!("application/json"))
    );
    serde_json::from_str(contents["text"].as_str().unwrap()).unwrap()
}

#[test]
fn three_resources_tell_of_the_server() {
    let server = Server::start(&[ENTERPRISE, ("MCP_ADMIN_TOKEN", TOKEN)]);
    for era in [Era::Legacy, Era::Modern] {
        let list = result(&ask(&server, era, "resources/list", "", &[ADMIN]));
        for one in list["resources"].as_array().unwrap() {
            for member in ["uri", "name", "title", "description"] {
                assert!(!one[member].as_str().unwrap().is_empty(), "{one}");
            }
            assert_eq!(one["mimeType"], "application/json");
        }
        assert_eq!(list.get("nextCursor"), None);
        assert_eq!(listed(&server, era, &[ADMIN]), [GUARD, META, CONFIG]);
        assert_eq!(read(&server, era, GUARD, &[])["activeExecutions"], 0);
        let meta = read(&server, era, META, &[]);
        let service = json!(["dynamic-mcp", "enterprise", "docker", "file"]);
        let told = json!([
            meta["service"],
            meta["profile"],
            meta["engine"],
            meta["registry"]
        ]);
        assert_eq!(told, service, "{meta}");
        let config = read(&server, era, CONFIG, &[ADMIN]);
        assert!(
            config["settings"].as_array().unwrap().len() > 50,
            "{config}"
        );
        assert!(!config.to_string().contains(TOKEN));
        for method in METHODS {
            let result = result(&ask(&server, era, method, META, &[]));
            let modern = era == Era::Modern;
            assert_eq!(result.get("resultType").is_some(), modern, "{result}");
            assert_eq!(result["ttlMs"].is_u64(), modern, "{result}");
            assert_eq!(result["cacheScope"] == "private", modern, "{result}");
        }
        let templates = result(&ask(&server, era, "resources/templates/list", "", &[]));
        assert_eq!(templates["resourceTemplates"], json!([]));
    }
}

#[test]
fn what_one_may_not_read_is_not_there() {
    let mut server = Server::start(&[ENTERPRISE, ("MCP_ADMIN_TOKEN", TOKEN)]);
    for era in [Era::Legacy, Era::Modern] {
        let wrong = ("x-mcp-admin-token", "resource-guess-1");
        for fields in [&[][..], &[wrong]] {
            assert_eq!(listed(&server, era, fields), [GUARD, META], "{fields:?}");
            let mut told = Vec::new();
            for uri in [
                CONFIG,
                "dynamic://service/nothing",
                "",
                "é",
                "file:///etc/passwd",
            ] {
                // Only ASCII goes into a header as it is.
                let era = if uri.is_ascii() { era } else { Era::Legacy };
                let reply = ask(&server, era, "resources/read", uri, fields);
                let mut error = reply.json()["error"].clone();
                let code = if era == Era::Legacy { -32002 } else { -32602 };
                assert_eq!((reply.status, &error["code"]), (200, &json!(code)), "{uri}");
                assert_eq!(error["data"], json!({ "uri": uri }));
                error["data"] = Value::Null;
                error["code"] = Value::Null;
                told.push(error);
            }
            assert!(told.iter().all(|error| *error == told[0]), "{told:?}");
        }
    }
    let long = "x".repeat(8193);
    let reply = ask(&server, Era::Legacy, "resources/read", &long, &[]);
    assert_eq!(reply.json()["error"]["code"], -32602);
    assert_eq!(reply.json()["error"].get("data"), None);
    server.stop();
    let log = fs::read_to_string(server.folder.path().join(".dynamic-mcp/audit.log")).unwrap();
    let denied = |reason: &str| {
        log.lines().any(|line| {
            line.contains(CONFIG) && line.contains(r#""denied""#) && line.contains(reason)
        })
    };
    assert!(
        denied("admin_token_missing") && denied("admin_token_wrong"),
        "{log}"
    );
}

#[test]
fn settings_are_read_as_often_as_by_the_tool() {
    let limit = ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "3");
    let mut server = Server::start(&[ENTERPRISE, limit]);
    server.call("system.runtime_config", json!({}));
    for era in [Era::Legacy, Era::Modern] {
        read(&server, era, CONFIG, &[]);
    }
    for era in [Era::Legacy, Era::Modern] {
        let error = ask(&server, era, "resources/read", CONFIG, &[]).json()["error"].clone();
        assert_eq!(error["code"], 429, "{error}");
        assert!(error["data"]["retryAfterMs"].as_u64() > Some(0), "{error}");
    }
    let refused = server.call("system.runtime_config", json!({}));
    assert!(failure(&refused).starts_with("rate_limited"), "{refused}");
    // What everybody may read costs nobody a place in a window.
    for _ in 0..5 {
        read(&server, Era::Modern, META, &[]);
    }
    server.stop();
    let log = fs::read_to_string(server.folder.path().join(".dynamic-mcp/audit.log")).unwrap();
    assert_eq!(log.matches(r#""guard.reject""#).count(), 3, "{log}");
}

#[test]
fn the_small_profile_has_the_methods_and_no_resources() {
    let server = Server::start(&[]);
    for era in [Era::Legacy, Era::Modern] {
        assert_eq!(listed(&server, era, &[]), [""; 0]);
        let reply = ask(&server, era, "resources/read", META, &[]);
        assert!(reply.json()["error"]["code"].as_i64() < Some(-32000));
    }
    let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": { "name": "t", "version": "1" } });
    let capabilities = server.rpc("initialize", &hello)["result"]["capabilities"].clone();
    let declared = json!({ "listChanged": true, "subscribe": true });
    assert_eq!(capabilities["resources"], declared);
    let reply = ask(&server, Era::Modern, "server/discover", "", &[]);
    assert_eq!(result(&reply)["capabilities"]["resources"], declared);
    let cursor = json!({ "cursor": "zz" });
    for method in &METHODS[..2] {
        assert_eq!(
            server.rpc(method, &cursor)["error"]["code"],
            -32602,
            "{method}"
        );
    }
    // Without the group that tells of the server there is nothing to read in the large one either.
    let server = Server::start(&[ENTERPRISE, ("MCP_BUILTIN_GROUPS", "run_js,tool")]);
    assert_eq!(listed(&server, Era::Legacy, &[]), [""; 0]);
}

#[test]
fn the_user_at_the_pipe_reads_them_all() {
    let home = Home::new();
    let mut pipe = Pipe::start(&home, &[ENTERPRISE]);
    pipe.initialize("2025-11-25");
    pipe.request(1, "resources/list", &json!({}));
    assert_eq!(
        pipe.next()["result"]["resources"].as_array().unwrap().len(),
        3
    );
    let line = format!(
        r#"{{"jsonrpc":"2.0","id":2,"method":"resources/read","params":{{"uri":"{CONFIG}",{MODERN_META}}}}}"#
    );
    let answer = pipe.ask(&line);
    assert_eq!(answer["result"]["resultType"], "complete", "{answer}");
    pipe.finish();
}
