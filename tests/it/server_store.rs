//! The registry through the server: many writers at once, two servers on one file, crashes in the
//! middle of writes, files that cannot be read.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::engine::await_that;
use crate::support::http::{call_body, failure};
use crate::support::server::{Folder, Server, run, stderr};

fn tool(name: &str) -> Value {
    json!({ "name": name, "description": "d", "code": format!("return {name:?}") })
}

fn names(server: &Server) -> Vec<String> {
    let list = server.call("dynamic.tool.list", json!({}));
    let tools = list["structuredContent"]["tools"]
        .as_array()
        .unwrap()
        .clone();
    let name = |tool: Value| tool["name"].as_str().unwrap().to_owned();
    tools.into_iter().map(name).collect()
}

/// Creates all at once, from as many clients as there are names; what each was told.
fn create_at_once(servers: &[&Server], names: &[String]) -> Vec<Value> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let server = servers[index % servers.len()];
                scope.spawn(move || {
                    server.call("dynamic.tool.create", json!({ "tool": tool(name) }))
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

#[test]
fn twelve_creations_at_once_all_survive() {
    let mut server = Server::start(&[]);
    let wanted: Vec<String> = (0..12).map(|n| format!("tool.{n:02}")).collect();
    for result in create_at_once(&[&server], &wanted) {
        assert_eq!(result.get("isError"), None, "{result}");
    }
    assert_eq!(names(&server), wanted);
    let folder = server.folder.clone();
    server.stop();
    let server = Server::start_in(&folder, &[]);
    assert_eq!(names(&server), wanted);
    let result = server.call("tool.11", json!({}));
    assert_eq!(result["structuredContent"]["result"], "tool.11", "{result}");
}

#[test]
fn the_limit_of_tools_holds_under_a_rush() {
    let server = Server::start(&[("MCP_DYNAMIC_MAX_TOOLS", "50")]);
    let wanted: Vec<String> = (0..100).map(|n| format!("tool.{n:02}")).collect();
    let mut refused = 0;
    // As many at once as the server takes without refusing for want of a place.
    for some in wanted.chunks(25) {
        for result in create_at_once(&[&server], some) {
            if result.get("isError").is_some() {
                let text = failure(&result);
                assert!(
                    text.starts_with("policy: ") && text.contains("50"),
                    "{text}"
                );
                refused += 1;
            }
        }
    }
    assert_eq!((names(&server).len(), refused), (50, 50));
    let freed = names(&server)[0].clone();
    server.call("dynamic.tool.delete", json!({ "name": freed }));
    server.create(tool("one.more"));
}

#[test]
fn two_servers_share_one_store() {
    let folder = Folder::new();
    let one = Server::start_in(&folder, &[]);
    let other = Server::start_in(&folder, &[]);
    let wanted: Vec<String> = (0..8).map(|n| format!("tool.{n}")).collect();
    for result in create_at_once(&[&one, &other], &wanted) {
        assert_eq!(result.get("isError"), None, "{result}");
    }
    for server in [&one, &other] {
        await_that("the other server's tools", || names(server) == wanted);
        let list = server.rpc("tools/list", &json!({}))["result"]["tools"].clone();
        let listed = |name: &String| {
            let tools = list.as_array().unwrap();
            tools.iter().any(|tool| tool["name"] == **name)
        };
        assert!(wanted.iter().all(listed));
        let result = server.call("tool.3", json!({}));
        assert_eq!(result["structuredContent"]["result"], "tool.3", "{result}");
    }
    // A write meets what the other one wrote, seen before or not.
    let patch = |server: &Server, revision: u64| {
        let arguments = json!({ "name": "tool.0", "patch": { "title": revision.to_string() },
            "expectedRevision": revision });
        server.call("dynamic.tool.update", arguments)
    };
    for revision in 1..=6 {
        let (writer, loser) = if revision % 2 == 0 {
            (&one, &other)
        } else {
            (&other, &one)
        };
        let result = patch(writer, revision);
        assert_eq!(result.get("isError"), None, "{result}");
        let expected = format!(
            "Revision conflict for dynamic tool \"tool.0\": expected {revision}, current {}.",
            revision + 1
        );
        assert!(failure(&patch(loser, revision)).ends_with(&expected));
    }
    let taken = other.call("dynamic.tool.create", json!({ "tool": tool("tool_0") }));
    assert!(failure(&taken).contains("tool.0"), "{taken}");
    one.call("dynamic.tool.delete", json!({ "name": "tool.7" }));
    await_that("the deletion", || {
        !names(&other).contains(&"tool.7".to_owned())
    });
}

/// What clients were told that it is stored: the number in each tool's title.
#[derive(Default)]
struct Acknowledged(Mutex<HashMap<String, u64>>);

impl Acknowledged {
    fn total(&self) -> u64 {
        self.0.lock().unwrap().values().sum()
    }

    /// Writes numbers to a tool until the connection breaks.
    fn write(&self, server: &Server, name: &str, stop: &AtomicBool) {
        let mut number = self.0.lock().unwrap()[name];
        let mut connection = server.connect();
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            let arguments = json!({ "name": name, "patch": { "title": number.to_string() } });
            let body = call_body("dynamic.tool.update", &arguments);
            connection.request(
                "POST",
                "/mcp",
                &[crate::support::http::JSON],
                body.as_bytes(),
            );
            let Ok(reply) = connection.try_read(false) else {
                return;
            };
            let result = reply.json()["result"].clone();
            assert_eq!(result.get("isError"), None, "{result}");
            self.0.lock().unwrap().insert(name.to_owned(), number);
        }
    }
}

#[test]
fn no_crash_loses_or_tears_what_was_acknowledged() {
    const WRITES: u64 = 1000;
    const CRASHES: u64 = 6;
    let settings = [("MCP_TOOL_MAX_CALLS_PER_WINDOW", "1000000")];
    let folder = Folder::new();
    let mut server = Server::start_in(&folder, &settings);
    let names: Vec<String> = (0..4).map(|n| format!("tool.{n}")).collect();
    let acknowledged = Acknowledged::default();
    for name in &names {
        server.create(tool(name));
        acknowledged.0.lock().unwrap().insert(name.clone(), 0);
    }
    for crash in 1..=CRASHES {
        let goal = WRITES * crash / CRASHES;
        let (stop, pid) = (AtomicBool::new(false), server.pid());
        std::thread::scope(|scope| {
            for name in &names {
                let (server, stop, acknowledged) = (&server, &stop, &acknowledged);
                scope.spawn(move || acknowledged.write(server, name, stop));
            }
            await_that("some writes", || acknowledged.total() >= goal);
            crate::support::server::signal(pid, "KILL");
        });
        server.wait();
        // Whole JSON, whenever it is looked at.
        let text = std::fs::read_to_string(folder.store()).unwrap();
        serde_json::from_str::<Value>(&text).unwrap();
        server = Server::start_in(&folder, &settings);
        let list = server.call("dynamic.tool.list", json!({}));
        let mut told = acknowledged.0.lock().unwrap();
        for tool in list["structuredContent"]["tools"].as_array().unwrap() {
            let name = tool["name"].as_str().unwrap();
            let stored: u64 = tool["title"].as_str().unwrap_or("0").parse().unwrap();
            let least = told[name];
            // The one under way may have been stored without its answer being read.
            assert!(
                (least..=least + 1).contains(&stored),
                "{name}: {stored} of {least}"
            );
            assert_eq!(tool["revision"], stored + 1);
            told.insert(name.to_owned(), stored);
        }
        assert_eq!(told.len(), names.len());
    }
    assert!(acknowledged.total() >= WRITES);
    // What crashed writers left is cleared away or used again, however often they crash.
    await_that("the dead instances' lock files to go", || {
        folder.instances().len() == 1
    });
    let entries = std::fs::read_dir(folder.store().parent().unwrap()).unwrap();
    for entry in entries {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = [
            "instances",
            "session.key",
            "session.key.lock",
            "layers.key",
            "layers.key.lock",
            "tools.json",
            "tools.json.lock",
            "tools.json.tmp",
        ];
        assert!(known.contains(&&*name), "{name}");
    }
}

#[test]
fn a_store_that_cannot_be_read_is_left_alone() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path().join(".dynamic-mcp")).unwrap();
    for content in [
        "{\"version\":1,\"tools\":[",
        "",
        "{\"version\":9,\"tools\":[]}",
        "[]",
        "\0\0",
    ] {
        std::fs::write(folder.store(), content).unwrap();
        let output = run(&folder, &[], &[]);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{content:?}: {text}");
        assert!(text.contains("tools.json"), "{content:?}: {text}");
        assert_eq!(std::fs::read_to_string(folder.store()).unwrap(), content);
        assert_eq!(folder.instances(), Vec::<String>::new());
    }
}

#[test]
fn a_read_only_registry_takes_no_writes() {
    let folder = Folder::new();
    Server::start_in(&folder, &[]).create(tool("tool.0"));
    let before = std::fs::read(folder.store()).unwrap();
    let server = Server::start_in(&folder, &[("MCP_DYNAMIC_READ_ONLY", "true")]);
    for (act, arguments) in [
        ("create", json!({ "tool": tool("tool.1") })),
        (
            "update",
            json!({ "name": "tool.0", "patch": { "title": "x" } }),
        ),
        ("enable", json!({ "name": "tool.0", "enabled": false })),
        ("delete", json!({ "name": "tool.0" })),
        // Nothing is compiled for nobody.
        (
            "create",
            json!({ "tool": { "name": "tool.1", "description": "d", "code": "(" } }),
        ),
        (
            "update",
            json!({ "name": "tool.0", "patch": { "code": "(" } }),
        ),
    ] {
        let result = server.call(&format!("dynamic.tool.{act}"), arguments);
        let refused = "policy: the registry is read-only (MCP_DYNAMIC_READ_ONLY)";
        assert_eq!(failure(&result), refused);
    }
    assert_eq!(
        server.call("tool.0", json!({}))["structuredContent"]["result"],
        "tool.0"
    );
    assert_eq!(std::fs::read(folder.store()).unwrap(), before);
}

#[test]
fn a_store_that_breaks_under_a_running_server() {
    let server = Server::start(&[]);
    server.create(tool("tool.0"));
    let good = std::fs::read(server.folder.store()).unwrap();
    std::fs::write(server.folder.store(), "{\"vers").unwrap();
    await_that("readiness to fail", || server.readiness().0 == 503);
    assert_eq!(server.readiness().1["registry"]["status"], "failed");
    // What is known still works; nothing overwrites what somebody may want to mend.
    assert_eq!(
        server.call("tool.0", json!({}))["structuredContent"]["result"],
        "tool.0"
    );
    let result = server.call("dynamic.tool.create", json!({ "tool": tool("tool.1") }));
    assert!(failure(&result).contains("tools.json"), "{result}");
    assert_eq!(
        std::fs::read_to_string(server.folder.store()).unwrap(),
        "{\"vers"
    );
    std::fs::write(server.folder.store(), good).unwrap();
    await_that("readiness to come back", || server.readiness().0 == 200);
    server.create(tool("tool.1"));
    assert_eq!(names(&server), ["tool.0", "tool.1"]);
    assert_eq!(server.metric("dynamic_mcp_registry_tools "), 2.0);
}
