//! Sandboxes: containers of a principal's own that live on between calls, served by every server of
//! the installation, ended by their keeper, and by nobody else's leave.

use std::fs;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dynamic_mcp::domain::failure::FailureKind;
use dynamic_mcp::domain::image::ImageRef;
use dynamic_mcp::domain::principal::Principal;
use dynamic_mcp::domain::run::{Cancel, Ended, Returned};
use dynamic_mcp::engine::{Engine, Sandbox, Sandboxes};
use serde_json::{Value, json};

use crate::support::daemon;
use crate::support::daemons::request_shared;
use crate::support::engine::{
    Fixture, Silent, await_that, job, kind_of, patience, settings as settings_of_engine,
};
use crate::support::http::{ACCEPT, JSON, call_body, failure};
use crate::support::idp::Idp;
use crate::support::packages::{Package, PackageRegistry, Volume, job_with};
use crate::support::server::{Folder, Server};

const PLAIN: Package = Package {
    manifest: r#"{"name":"plain","version":"1.0.0","main":"index.js"}"#,
    files: &[("index.js", "module.exports = 'plain'")],
};
/// So that what a failed test leaves soon ends by itself.
const IDLE: (&str, &str) = ("MCP_SANDBOX_SESSION_TIMEOUT_SECONDS", "120");
const QUIET: (&str, &str) = ("MCP_AUDIT_ENABLED", "false");
const NONE: &str = "invalid_arguments: there is no such sandbox: it was stopped, has expired, or \
    never was; initialize another";

fn settings<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut all = vec![
        ("MCP_PROFILE", "enterprise"),
        ("MCP_SANDBOX_WARM_POOL", "0"),
        IDLE,
    ];
    all.extend(more);
    all
}

fn start(more: &[(&str, &str)]) -> Server {
    Server::start(&settings(more))
}

/// The structured content of a call that must succeed.
fn ok(result: &Value) -> Value {
    assert_eq!(result.get("isError"), None, "{result}");
    result["structuredContent"].clone()
}

fn open(server: &Server) -> String {
    let made = ok(&server.call("sandbox.initialize", json!({})));
    let id = made["sessionId"].as_str().unwrap().to_owned();
    assert!(id.starts_with("mcp-sbx-"), "{id}");
    id
}

fn stop(server: &Server, id: &str) {
    let stopped = server.call("sandbox.stop", json!({ "sessionId": id }));
    assert_eq!(stopped.get("isError"), None, "{stopped}");
    assert_eq!(containers(id), Vec::<String>::new());
}

fn exec(server: &Server, id: &str, commands: &[&str]) -> Value {
    server.call(
        "sandbox.exec",
        json!({ "sessionId": id, "commands": commands }),
    )
}

/// What one command wrote to its stdout; it must succeed.
fn sh(server: &Server, id: &str, command: &str) -> String {
    let result = ok(&exec(server, id, &[command]))["results"][0].clone();
    assert_eq!(result["exitCode"], 0, "{command}: {result}");
    result["stdout"].as_str().unwrap().to_owned()
}

fn run_js(server: &Server, id: &str, code: &str) -> Value {
    server.call("sandbox.run_js", json!({ "sessionId": id, "code": code }))
}

/// Ids of the containers of a sandbox, in any state.
fn containers(id: &str) -> Vec<String> {
    let label = format!("dynamic-mcp.session={id}");
    let found = daemon().containers_with_labels(&[label], patience());
    found.unwrap().into_iter().map(|one| one.id).collect()
}

fn container(id: &str) -> String {
    let found = containers(id);
    assert_eq!(found.len(), 1, "{id}");
    found[0].clone()
}

fn listed(server: &Server) -> Vec<String> {
    let list = ok(&server.call("sandbox.session.list", json!({})));
    let sessions = list["sessions"].as_array().unwrap().iter();
    sessions
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn from_its_start_to_its_end() {
    let server = start(&[("MCP_SANDBOX_MAX_OUTPUT_BYTES", "1000")]);
    let made = server.call("sandbox.initialize", json!({ "timeoutMs": 20_000 }));
    let made = ok(&made);
    assert_eq!(
        (&made["image"], &made["timeoutMs"]),
        (&json!("node:lts-slim"), &json!(20_000))
    );
    let id = made["sessionId"].as_str().unwrap();

    let done = ok(&exec(
        &server,
        id,
        &[
            "echo out; echo err >&2; exit 3",
            "pwd; id -u; echo \"$HOME $0\"; cat",
            "printf '#!/bin/sh\\necho ran \"$1\"\\n' > tool; chmod +x tool; ./tool '`x` $(y)'",
            "kill -9 $$",
        ],
    ));
    let results = done["results"].as_array().unwrap();
    let ends: Vec<_> = results.iter().map(|one| &one["exitCode"]).collect();
    assert_eq!(ends, [3, 0, 0, 137], "{done}");
    assert_eq!(
        (&results[0]["stdout"], &results[0]["stderr"]),
        (&json!("out\n"), &json!("err\n"))
    );
    assert_eq!(results[1]["stdout"], "/workspace\n1000\n/workspace sh\n");
    assert_eq!(results[2]["stdout"], "ran `x` $(y)\n");
    assert!(results[0]["durationMs"].is_u64() && done["durationMs"].is_u64());
    assert_eq!(results[0].get("truncated"), None);

    // Files stay, for code as for commands.
    let code = "const fs = require('fs'), before = fs.readdirSync('.');
        fs.writeFileSync('b.txt', 'from code'); return [before, args, process.env.HOME]";
    let ran = ok(&run_js(&server, id, code));
    let expected = json!([["tool"], {}, "/workspace"]);
    assert_eq!((&ran["ok"], &ran["result"]), (&json!(true), &expected));
    assert_eq!(sh(&server, id, "cat b.txt"), "from code");
    let threw = run_js(&server, id, "let a = 1;\nthrow new Error('no')");
    assert_eq!(failure(&threw), "threw: no");
    assert_eq!(threw["structuredContent"]["error"]["line"], 2);

    // Long and binary output.
    let long = ok(&exec(
        &server,
        id,
        &["echo first; seq 100000; echo last", "printf 'a\\377\\000b'"],
    ));
    let (first, second) = (&long["results"][0], &long["results"][1]);
    let text = first["stdout"].as_str().unwrap();
    assert!(text.starts_with("first\n1\n") && text.ends_with("100000\nlast\n"));
    assert!(text.contains(" bytes left out …]\n"), "{text}");
    assert!(
        text.len() < 600,
        "it is bounded by its share: {}",
        text.len()
    );
    assert_eq!(first["truncated"], true);
    assert_eq!(second["stdout"], "a\u{fffd}\0b");

    let list = ok(&server.call("sandbox.session.list", json!({})));
    let session = &list["sessions"][0];
    assert_eq!(session["id"], id);
    assert_eq!(session["image"], "node:lts-slim");
    assert!(session["createdAt"].as_str() <= session["lastUsedAt"].as_str());
    assert_eq!(server.metric("dynamic_mcp_sandboxes_created_total"), 1.0);
    assert_eq!(server.metric("dynamic_mcp_sandboxes_active"), 1.0);
    stop(&server, id);
    assert_eq!(server.metric("dynamic_mcp_sandboxes_active"), 0.0);
    assert_eq!(listed(&server), [""; 0]);
    for gone in [
        exec(&server, id, &["true"]),
        run_js(&server, id, "return 1"),
        server.call("sandbox.stop", json!({ "sessionId": id })),
    ] {
        assert_eq!(failure(&gone), NONE);
    }
}

#[test]
fn a_time_limit_ends_the_whole_tree_and_the_sandbox_lives_on() {
    let server = start(&[]);
    let id = open(&server);
    let limited = |commands: &[&str]| {
        let arguments = json!({ "sessionId": id, "commands": commands, "timeoutMs": 1500 });
        server.call("sandbox.exec", arguments)
    };
    let others = "ps -o pid,user,args | grep -c '[s]leep 600'; true";
    let daemonised = "(setsid sh -c 'trap \"\" TERM HUP; sleep 600 & sleep 600' >/dev/null 2>&1 &)";

    // What runs in the background goes on between calls, and nobody waits for it.
    assert_eq!(sh(&server, &id, "sleep 600 & echo started"), "started\n");
    assert_eq!(sh(&server, &id, daemonised), "");
    await_that("what was daemonised", || sh(&server, &id, others) == "3\n");

    let over = limited(&[
        "echo kept > file; echo before",
        "echo said; sleep 600",
        "echo never",
    ]);
    let message = failure(&over);
    assert!(
        message.starts_with(
            "timeout: the commands did not finish within timeoutMs (1500 ms); every process in the \
             sandbox was ended"
        ),
        "{message}"
    );
    let results = over["structuredContent"]["results"].as_array().unwrap();
    assert_eq!(results.len(), 2, "{over}");
    assert_eq!(
        (&results[0]["stdout"], &results[0]["exitCode"]),
        (&json!("before\n"), &json!(0))
    );
    assert_eq!(
        (&results[1]["stdout"], &results[1]["exitCode"]),
        (&json!("said\n"), &Value::Null)
    );
    assert!(
        over["content"][1]["text"]
            .as_str()
            .unwrap()
            .contains("said")
    );
    assert_eq!(sh(&server, &id, others), "0\n");

    // No process is left to end the others with; the limit itself holds again afterwards.
    let many = "node -e \"for (let i = 0; i < 300; i++) \
        require('child_process').spawn('sleep', ['600']).on('error', () => {})\"";
    assert!(failure(&limited(&[many])).starts_with("timeout: "));
    assert_eq!(sh(&server, &id, others), "0\n");
    assert!(failure(&limited(&[many])).starts_with("timeout: "));
    let limit = request_shared(
        "GET",
        &format!("/v1.41/containers/{}/json", container(&id)),
        b"",
    );
    assert!(limit.contains("\"PidsLimit\":256"), "{limit}");

    // Code is ended likewise.
    let spawns = "require('child_process').spawn('sleep', ['600'], { detached: true });
        for (;;);";
    let arguments = json!({ "sessionId": id, "code": spawns, "timeoutMs": 1500 });
    let over = server.call("sandbox.run_js", arguments);
    let message = "timeout: the code did not finish within timeoutMs (1500 ms)";
    assert_eq!(failure(&over), message);
    assert_eq!(sh(&server, &id, others), "0\n");

    assert_eq!(sh(&server, &id, "cat file; ls"), "kept\nfile\n");
    stop(&server, &id);
}

#[test]
fn its_commands_have_no_power_over_its_keeper() {
    let server = start(&[("MCP_SANDBOX_MEMORY_LIMIT", "192m")]);
    let id = open(&server);
    let keeper = "$(ps -o pid,args | grep '[n]ode -e' | head -n 1 | awk '{print $1}')";
    for act in ["-9", "-STOP", "-TERM"] {
        let command = format!("kill {act} {keeper} 2>&1; kill {act} 1 2>&1; true");
        let said = sh(&server, &id, &command);
        assert_eq!(said.matches("permitted").count(), 2, "{act}: {said}");
    }
    let said = sh(
        &server,
        &id,
        &format!("cat /proc/{keeper}/environ 2>&1; true"),
    );
    assert!(said.contains("ermission denied"), "{said}");
    // The outside is out of reach as from every run; what it writes is its own folder alone.
    let said = sh(
        &server,
        &id,
        "touch /x 2>&1; ls /sys/class/net; grep CapEff /proc/self/status; \
         grep NoNewPrivs /proc/self/status",
    );
    assert!(said.contains("Read-only file system"), "{said}");
    assert!(
        said.contains("\nlo\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n"),
        "{said}"
    );
    // Memory: the command that takes it goes, and is told why; the sandbox stays.
    let greedy = "const all = []; for (;;) all.push(Buffer.alloc(8 << 20, 1))";
    let message = failure(&run_js(&server, &id, greedy));
    assert!(message.starts_with("out_of_memory: "), "{message}");
    let killed = run_js(&server, &id, "process.kill(process.pid, 'SIGKILL')");
    let message = "threw: process ended with SIGKILL before returning";
    assert_eq!(failure(&killed), message);
    assert_eq!(sh(&server, &id, "echo alive"), "alive\n");
    stop(&server, &id);
}

#[test]
fn nobody_else_learns_that_it_is_there() {
    const AUDIENCE: &str = "https://mcp.example/mcp";
    let mut idp = Idp::start();
    let (jwks, issuer) = (idp.jwks.clone(), idp.issuer.clone());
    let server = start(&[
        ("MCP_AUTH_MODE", "jwt"),
        ("MCP_AUTH_JWKS_URL", &jwks),
        ("MCP_AUTH_ISSUER", &issuer),
        ("MCP_AUTH_AUDIENCE", AUDIENCE),
        ("MCP_REQUIRE_ADMIN_TOKEN", "false"),
    ]);
    await_that("keys", || server.readiness().1["keys"]["status"] == "ok");
    let alice = idp.token("alice", "mcp.admin", AUDIENCE);
    let again = idp.token("alice", "mcp.admin", AUDIENCE);
    let bob = idp.token("bob", "mcp.admin", AUDIENCE);
    let poor = idp.token("bob", "mcp.use", AUDIENCE);
    let reply = |token: &str, name: &str, arguments: Value| {
        let token = format!("Bearer {token}");
        let fields = [("Authorization", token.as_str())];
        server.connect().post(&fields, &call_body(name, &arguments))
    };
    let call = |token: &str, name: &str, arguments: Value| {
        reply(token, name, arguments).json()["result"].clone()
    };
    let id = ok(&call(&alice, "sandbox.initialize", json!({})))["sessionId"].clone();
    let acts = [
        (
            "sandbox.exec",
            json!({ "sessionId": id, "commands": ["echo mine"] }),
        ),
        (
            "sandbox.run_js",
            json!({ "sessionId": id, "code": "return 1" }),
        ),
        ("sandbox.stop", json!({ "sessionId": id })),
    ];
    for (name, arguments) in &acts {
        assert_eq!(
            failure(&call(&bob, name, arguments.clone())),
            NONE,
            "{name}"
        );
        assert_eq!(reply(&poor, name, arguments.clone()).status, 403, "{name}");
    }
    let list =
        |token: &str| ok(&call(token, "sandbox.session.list", json!({})))["sessions"].clone();
    assert_eq!(list(&bob), json!([]));
    assert_eq!(list(&again)[0]["id"], id);
    for (name, arguments) in &acts {
        let result = call(&again, name, arguments.clone());
        assert_eq!(result.get("isError"), None, "{name}: {result}");
    }
    assert_eq!(list(&alice), json!([]));
}

#[test]
fn every_server_of_the_installation_serves_it_and_no_other_does() {
    let one = start(&[QUIET, ("MCP_SANDBOX_MAX_SESSIONS", "2")]);
    let other = Server::start_in(
        &one.folder,
        &settings(&[QUIET, ("MCP_SANDBOX_MAX_SESSIONS", "2")]),
    );
    let stranger = start(&[QUIET, ("MCP_SANDBOX_MAX_SESSIONS", "1")]);
    let id = open(&one);
    assert_eq!(sh(&other, &id, "echo shared > f; cat f"), "shared\n");
    assert_eq!(
        ok(&run_js(
            &one,
            &id,
            "return require('fs').readFileSync('f', 'utf8')"
        ))["result"],
        "shared\n"
    );
    assert_eq!(listed(&other), std::slice::from_ref(&id));

    // Two servers do one thing at a time in it, and a call ends only what is its own.
    let sleeper = call_body(
        "sandbox.exec",
        &json!({ "sessionId": id, "commands": ["touch began; sleep 2; echo slept"] }),
    );
    let mut caller = one.connect();
    caller.request("POST", "/mcp", &[JSON, ACCEPT], sleeper.as_bytes());
    let labels = containers(&id);
    await_that("the sleeper", || {
        let path = format!("/v1.41/containers/{}/top", labels[0]);
        request_shared("GET", &path, b"").contains("sleep 2")
    });
    let arguments =
        json!({ "sessionId": id, "commands": ["echo next; sleep 60"], "timeoutMs": 1000 });
    assert!(failure(&other.call("sandbox.exec", arguments)).starts_with("timeout: "));
    let slept = caller.read(false).json()["result"].clone();
    assert_eq!(ok(&slept)["results"][0]["stdout"], "slept\n", "{slept}");

    // Another installation neither sees nor counts it.
    assert_eq!(failure(&exec(&stranger, &id, &["true"])), NONE);
    assert_eq!(
        failure(&stranger.call("sandbox.stop", json!({ "sessionId": id }))),
        NONE
    );
    assert_eq!(listed(&stranger), [""; 0]);
    let own = open(&stranger);
    stop(&stranger, &own);

    // The bound holds for both servers together.
    let second = open(&other);
    let full = one.call("sandbox.initialize", json!({}));
    assert!(
        failure(&full).starts_with("busy: there are 2 sandboxes, "),
        "{full}"
    );
    stop(&one, &second);
    stop(&other, &id);
}

#[test]
fn what_is_no_sandbox_of_ours_cannot_be_stopped() {
    let mut server = start(&[("MCP_SANDBOX_WARM_POOL", "1")]);
    await_that("a parked container", || !server.containers().is_empty());
    let parked = server.containers();
    let (container_id, owner) = (&parked[0].id, &server.instance);
    let id = open(&server);
    let sandbox = container(&id);
    for text in [
        container_id,
        &container_id[..12],
        owner,
        &sandbox,
        "postgres",
        "",
        "mcp-sbx-",
        "mcp-sbx-*",
        "../containers/x",
        &format!("{id}/"),
        &format!("{id}\",\"dynamic-mcp.kind=one-shot"),
        &id.to_uppercase(),
        &id[..id.len() - 1],
    ] {
        for (name, mut arguments) in [
            ("sandbox.stop", json!({})),
            ("sandbox.exec", json!({ "commands": ["true"] })),
            ("sandbox.run_js", json!({ "code": "return 1" })),
        ] {
            arguments["sessionId"] = json!(text);
            let message = failure(&server.call(name, arguments));
            assert!(
                message.starts_with("invalid_arguments: "),
                "{name} {text}: {message}"
            );
        }
    }
    let unknown = format!("mcp-sbx-{}", &container_id[..32]);
    stop_again(&server, &unknown);
    assert!(
        server
            .containers()
            .iter()
            .any(|one| one.id == *container_id)
    );
    stop(&server, &id);
    server.stop();
    let log = fs::read_to_string(server.folder.path().join(".dynamic-mcp/audit.log")).unwrap();
    for odd in [&container_id[33..], "containers/x", "kind=one-shot"] {
        assert!(!log.contains(odd), "{odd}: {log}");
    }
}

#[test]
fn nobody_s_use_ends_it() {
    let server = start(&[("MCP_SANDBOX_SESSION_TIMEOUT_SECONDS", "4")]);
    let id = open(&server);
    // Time in which it is used does not count.
    assert_eq!(sh(&server, &id, "echo a > f; sleep 5; cat f"), "a\n");
    assert_eq!(sh(&server, &id, "cat f"), "a\n");
    // Looking at it is no use of it.
    await_that("its end", || listed(&server).is_empty());
    await_that("its container's end", || containers(&id).is_empty());
    assert_eq!(failure(&exec(&server, &id, &["true"])), NONE);
}

#[test]
fn a_rush_makes_exactly_as_many_as_there_may_be() {
    let server = start(&[("MCP_SANDBOX_MAX_SESSIONS", "3")]);
    let made: Vec<_> = thread::scope(|scope| {
        let calls: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| server.call("sandbox.initialize", json!({}))))
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    let (made, refused): (Vec<_>, Vec<_>) = made
        .iter()
        .partition(|result| result.get("isError").is_none());
    assert_eq!(made.len(), 3, "{refused:?}");
    for result in refused {
        let message = failure(result);
        assert!(
            message.starts_with("busy: there are 3 sandboxes, "),
            "{message}"
        );
    }
    let list = listed(&server);
    assert_eq!(list.len(), 3);
    stop(&server, &list[0]);
    let next = open(&server);
    for id in [&list[1], &list[2], &next] {
        stop(&server, id);
    }
}

#[test]
fn it_outlives_its_server_and_ends_without_one() {
    let idle = ("MCP_SANDBOX_SESSION_TIMEOUT_SECONDS", "12");
    let mut server = start(&[idle]);
    let id = open(&server);
    assert_eq!(sh(&server, &id, "echo still > f"), "");
    let folder: Folder = server.folder.clone();
    server.kill();
    // The next one removes what the dead one left, but not this.
    let mut server = Server::start_in(&folder, &settings(&[idle]));
    await_that("a look around", || {
        server.metric("dynamic_mcp_sandboxes_active") == 1.0
    });
    assert_eq!(sh(&server, &id, "cat f"), "still\n");
    assert_eq!(listed(&server), std::slice::from_ref(&id));
    server.stop();
    assert_eq!(containers(&id).len(), 1);
    await_that("its end without a server", || containers(&id).is_empty());
}

#[test]
fn a_container_that_somebody_removes_is_a_clear_error() {
    let server = start(&[]);
    let id = open(&server);
    let path = format!("/v1.41/containers/{}", container(&id));
    let result = thread::scope(|scope| {
        let call = scope.spawn(|| exec(&server, &id, &["echo a; sleep 600", "echo b"]));
        await_that("the command", || {
            request_shared("GET", &format!("{path}/top"), b"").contains("sleep 600")
        });
        request_shared("DELETE", &format!("{path}?force=1"), b"");
        call.join().unwrap()
    });
    assert_eq!(
        failure(&result),
        "cancelled: the sandbox was ended meanwhile"
    );
    assert_eq!(result["structuredContent"]["results"][0]["stdout"], "a\n");
    assert_eq!(failure(&exec(&server, &id, &["true"])), NONE);

    let id = open(&server);
    let result = thread::scope(|scope| {
        let call =
            scope.spawn(|| run_js(&server, &id, "await new Promise(r => setTimeout(r, 6e5))"));
        let path = format!("/v1.41/containers/{}/top", container(&id));
        await_that("the code", || {
            request_shared("GET", &path, b"").matches("node").count() > 1
        });
        // A stop does not wait for what runs.
        stop(&server, &id);
        call.join().unwrap()
    });
    assert_eq!(
        failure(&result),
        "cancelled: the sandbox was ended meanwhile"
    );
}

#[test]
fn its_acts_are_audited_by_digest_and_tell_the_image() {
    let mut server = start(&[]);
    let image = ImageRef::parse("node:lts-slim").unwrap();
    let image = daemon().image(&image, patience()).unwrap().unwrap().id;
    let image = json!({ "name": "node:lts-slim", "id": image });
    let made = server.call("sandbox.initialize", json!({}));
    let id = made["structuredContent"]["sessionId"].as_str().unwrap();
    let ran = [
        made.clone(),
        exec(&server, id, &["echo needle-in-command"]),
        run_js(&server, id, "return 'needle-in-code'"),
        run_js(&server, id, "throw 'needle-in-code'"),
    ];
    for result in ran {
        assert_eq!(result["_meta"]["dynamic-mcp/image"], image, "{result}");
    }
    stop(&server, id);
    for result in [
        exec(&server, id, &["true"]),
        run_js(&server, id, "return 1"),
    ] {
        assert_eq!(result.get("_meta"), None, "{result}");
    }
    stop_again(&server, id);
    server.stop();
    let log = fs::read_to_string(server.folder.path().join(".dynamic-mcp/audit.log")).unwrap();
    assert!(!log.contains("needle"), "{log}");
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["action"].as_str().unwrap().starts_with("sandbox."))
        .collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            assert_eq!(line["target"], id, "{line}");
            let phase = line["details"]["phase"].as_str().unwrap_or("-");
            let (action, result) = (line["action"].as_str(), line["result"].as_str());
            format!("{} {phase} {}", action.unwrap(), result.unwrap())
        })
        .collect();
    assert_eq!(
        told,
        [
            "sandbox.initialize - success",
            "sandbox.exec intent success",
            "sandbox.exec outcome success",
            "sandbox.run_js intent success",
            "sandbox.run_js outcome success",
            "sandbox.run_js intent success",
            "sandbox.run_js outcome error",
            "sandbox.stop - success",
            "sandbox.exec - denied",
            "sandbox.run_js - denied",
            "sandbox.stop - error",
        ]
    );
    let digest = lines[1]["details"]["digest"].as_str().unwrap();
    let text = r#"["echo needle-in-command"]"#;
    assert_eq!(digest, format!("sha256:{}", sha256(text)));
    for index in [0, 2, 4, 6] {
        assert_eq!(lines[index]["details"]["image"], image, "{lines:?}");
    }
}

/// Opens a sandbox, and does something once its container is there; the time limit is only its.
fn open_while(server: &Server, timeout_ms: u64, act: impl FnOnce()) -> Value {
    let label = format!("dynamic-mcp.timeout-ms={timeout_ms}");
    let is_there = || {
        let found = daemon().containers_with_labels(&[&label], patience());
        !found.unwrap().is_empty()
    };
    thread::scope(|scope| {
        let arguments = json!({ "timeoutMs": timeout_ms });
        let call = scope.spawn(|| server.call("sandbox.initialize", arguments));
        await_that("a container", || is_there() || call.is_finished());
        act();
        call.join().unwrap()
    })
}

#[test]
fn one_that_cannot_be_audited_is_ended() {
    let server = start(&[]);
    let log = server.folder.path().join(".dynamic-mcp/audit.log");
    let aside = server.folder.path().join("aside");
    // The log goes while the sandbox is being made; it may be made sooner.
    let ended = (0..10).any(|_| {
        let made = open_while(&server, 23_456, || {
            fs::rename(&log, &aside).unwrap();
            fs::write(&log, "another's").unwrap();
        });
        fs::rename(&aside, &log).unwrap();
        await_that("the log", || server.readiness().0 == 200);
        match made.get("isError") {
            None => {
                stop(
                    &server,
                    made["structuredContent"]["sessionId"].as_str().unwrap(),
                );
                false
            }
            Some(_) => failure(&made) == "internal: a sandbox that could not be audited was ended",
        }
    });
    assert!(ended, "the log never went in time");
    assert_eq!(listed(&server), [""; 0]);
}

#[test]
fn a_server_that_ends_waits_for_one_that_is_being_made() {
    let mut server = start(&[QUIET]);
    let made = open_while(&server, 23_457, || server.signal("TERM"));
    let id = ok(&made)["sessionId"].as_str().unwrap().to_owned();
    assert!(server.wait().success());
    let next = Server::start_in(&server.folder, &settings(&[QUIET]));
    assert_eq!(sh(&next, &id, "echo there"), "there\n");
    stop(&next, &id);
}

#[test]
fn an_image_that_is_allowed_no_more_serves_no_more() {
    let one = start(&[QUIET]);
    let id = open(&one);
    let other = [
        QUIET,
        ("MCP_SANDBOX_ALLOWED_IMAGES", "node:0"),
        ("MCP_SANDBOX_PULL_POLICY", "never"),
    ];
    let other = Server::start_in(&one.folder, &settings(&other));
    for refused in [
        exec(&other, &id, &["true"]),
        run_js(&other, &id, "return 1"),
    ] {
        let message = failure(&refused);
        assert!(
            message.starts_with("policy: image node:lts-slim is not allowed here"),
            "{message}"
        );
    }
    assert_eq!(listed(&other), std::slice::from_ref(&id));
    stop(&other, &id);
}

#[test]
fn what_never_started_does_not_take_a_place_for_long() {
    let create = |age: u64| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let label = |seconds: u64| seconds.to_string();
        let spec = json!({
            "Image": "node:lts-slim",
            "Labels": {
                "dynamic-mcp.owner": "nobody's",
                "dynamic-mcp.kind": "sandbox",
                "dynamic-mcp.created": label(now.as_secs() - age),
                "dynamic-mcp.expires": label(now.as_secs() + 3600),
            },
        });
        let path = "/v1.41/containers/create";
        let answer = request_shared("POST", path, spec.to_string().as_bytes());
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let made: Value = serde_json::from_str(body).unwrap();
        made["Id"].as_str().unwrap().to_owned()
    };
    let (old, young) = (create(600), create(0));
    Fixture::new().engine.tidy(patience());
    let state = |id: &str| daemon().container_state(id, patience());
    assert!(state(&old).unwrap_err().is_not_found());
    assert!(state(&young).is_ok());
    daemon().remove_container(&young, patience()).unwrap();
}

fn stop_again(server: &Server, id: &str) {
    let gone = server.call("sandbox.stop", json!({ "sessionId": id }));
    assert_eq!(failure(&gone), NONE);
}

fn sha256(text: &str) -> String {
    use sha2::Digest as _;
    dynamic_mcp::base::ids::hex(&sha2::Sha256::digest(text.as_bytes()))
}

#[test]
fn only_enterprise_with_containers_has_them() {
    let mut server = Server::start(&[("MCP_SANDBOX_WARM_POOL", "0")]);
    let tools = server.rpc("tools/list", &json!({}))["result"]["tools"].clone();
    assert!(!tools.to_string().contains("sandbox."), "{tools}");
    server.stop();
    let search_path = std::env::var("PATH").unwrap();
    let node = [
        ("MCP_EXECUTION_ENGINE", "node"),
        ("PATH", search_path.as_str()),
    ];
    let mut server = start(&node);
    for (name, arguments) in [
        ("sandbox.initialize", json!({})),
        ("sandbox.session.list", json!({})),
        (
            "sandbox.stop",
            json!({ "sessionId": format!("mcp-sbx-{:032}", 0) }),
        ),
    ] {
        let message = failure(&server.call(name, arguments));
        let expected = "policy: sandboxes need containers, and this server runs code with the node \
            engine (MCP_EXECUTION_ENGINE)";
        assert_eq!(message, expected, "{name}");
    }
    server.stop();
}

#[test]
fn code_loads_packages_and_they_stay_at_hand() {
    let registry = PackageRegistry::start(&[PLAIN]);
    let volume = Volume::new();
    let fixture = Fixture::start(volume.settings(registry.npm()));
    let sandboxes = fixture.engine.sandboxes().unwrap();
    let (owner, id) = (Principal::local(), Sandboxes::new_id());
    let limit = Duration::from_secs(60);
    let none = Cancel::default();
    let sandbox = sandboxes.open(&owner, &id, None, limit, patience(), &none);
    let sandbox = sandbox.unwrap();
    let run = |sandbox: &Sandbox, code: &str, packages: &[&str]| -> Ended {
        let job = job_with(code, packages);
        sandboxes.run(sandbox, &job, patience(), &none, &mut Silent)
    };
    let code = "return require('plain')";
    for _ in 0..2 {
        let ended = run(&sandbox, code, &["plain@1.0.0"]);
        assert!(matches!(ended.outcome, Ok(Returned::Value(_))), "{ended:?}");
    }
    let commands = ["node -e \"require('plain')\"".to_owned()];
    let executed = sandboxes.exec(&sandbox, &commands, limit, patience(), &none);
    assert_eq!(executed.commands[0].exit_code, Some(0), "{executed:?}");
    sandboxes.close(&sandbox, patience()).unwrap();
}

#[test]
fn a_cancelled_call_ends_what_it_began_and_leaves_the_sandbox() {
    let fixture = Fixture::new();
    let sandboxes = fixture.engine.sandboxes().unwrap();
    let (owner, id) = (Principal::local(), Sandboxes::new_id());
    let limit = Duration::from_secs(60);
    let none = Cancel::default();
    let sandbox = sandboxes.open(&owner, &id, None, limit, patience(), &none);
    let sandbox = sandbox.unwrap();
    let top = format!("/v1.41/containers/{}/top", container(&id));
    let cancel = Cancel::default();
    let cancelled = thread::scope(|scope| {
        let commands = ["echo said; sleep 600".to_owned()];
        let (sandbox, cancel) = (&sandbox, &cancel);
        let call =
            scope.spawn(move || sandboxes.exec(sandbox, &commands, limit, patience(), cancel));
        await_that("the command", || {
            request_shared("GET", &top, b"").contains("sleep 600")
        });
        cancel.cancel();
        call.join().unwrap()
    });
    assert!(cancelled.duration < limit, "{cancelled:?}");
    assert_eq!(cancelled.failure.unwrap().kind, FailureKind::Cancelled);
    assert_eq!(cancelled.commands[0].stdout.text, "said\n");
    assert!(!request_shared("GET", &top, b"").contains("sleep 600"));
    let job = job("return 7", "{}");
    let ended = sandboxes.run(&sandbox, &job, patience(), &none, &mut Silent);
    assert!(ended.outcome.is_ok(), "{ended:?}");
    let ended = sandboxes.run(&sandbox, &job, patience(), &cancel, &mut Silent);
    assert_eq!(kind_of(&ended), Some(FailureKind::Cancelled));
    sandboxes.close(&sandbox, patience()).unwrap();
}

#[test]
fn what_ends_unasked_is_counted_as_expired() {
    let mut settings = settings_of_engine();
    settings.sandboxes.idle = Duration::from_secs(4);
    let fixture = Fixture::start(settings);
    let sandboxes = fixture.engine.sandboxes().unwrap();
    let (owner, none) = (Principal::local(), Cancel::default());
    let limit = Duration::from_secs(60);
    let ids = [Sandboxes::new_id(), Sandboxes::new_id()];
    let [stopped, _] = ids.each_ref().map(|id| {
        let made = sandboxes.open(&owner, id, None, limit, patience(), &none);
        made.unwrap()
    });
    assert_eq!(sandboxes.counts().created, 2);
    sandboxes.close(&stopped, patience()).unwrap();
    await_that("the other's end", || containers(&ids[1]).is_empty());
    fixture.engine.tidy(patience());
    let counts = sandboxes.counts();
    assert_eq!((counts.active, counts.created, counts.expired), (0, 2, 1));
}
