//! How a server begins, ends and is ended: crashes, drains, second signals, a daemon that comes and
//! goes. Whatever happens, nothing of ours stays.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use dynamic_mcp::base::ids::random_hex;
use dynamic_mcp::docker::Container;
use serde_json::{Value, json};

use crate::support::engine::{await_that, owned_by};
use crate::support::http::{Connection, JSON, Reply, call_body, failure};
use crate::support::server::{Folder, Server};
use crate::support::{daemon, provided};

const BUSY_LOOP: &str = "while (true) {}";
const NEVER: &str = "await new Promise(resolve => setTimeout(resolve, 1e6))";

/// Sends a run without waiting for its answer.
fn send_run(server: &Server, code: &str) -> Connection {
    let mut connection = server.connect();
    let body = call_body(
        "run_js_ephemeral",
        &json!({ "code": code, "timeoutMs": 60_000 }),
    );
    connection.request("POST", "/mcp", &[JSON], body.as_bytes());
    connection
}

fn result(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["result"].clone()
}

/// Waits until that many runs have a container each.
fn await_running(server: &Server, runs: usize) {
    await_that("the runs to begin", || {
        let active = server.metric("dynamic_mcp_guard_active ");
        active == runs as f64 && server.containers().len() >= runs
    });
}

#[test]
fn a_killed_server_s_runs_are_cleared_away_and_nobody_else_s() {
    let folder = Folder::new();
    let mut killed = Server::start_in(&folder, &[]);
    let bystander = Server::start(&[]);
    killed.create(json!({ "name": "kept", "description": "d", "code": "return 'kept'" }));
    let connections = [BUSY_LOOP, NEVER, NEVER, NEVER, NEVER].map(|code| send_run(&killed, code));
    let mut other = send_run(
        &bystander,
        "await new Promise(r => setTimeout(r, 6000)); return 'done'",
    );
    await_running(&killed, 5);
    await_running(&bystander, 1);
    let at_work = bystander.containers();
    killed.kill();
    drop(connections);
    let began = Instant::now();
    let server = Server::start_in(&folder, &[]);
    await_that("the dead instance's containers to go", || {
        owned_by(&daemon(), &killed.instance).is_empty()
    });
    assert!(
        began.elapsed() < Duration::from_secs(25),
        "{:?}",
        began.elapsed()
    );
    await_that("its lock file to go", || {
        folder.instances() == [server.instance.clone()]
    });
    assert_eq!(
        server.call("kept", json!({}))["structuredContent"]["result"],
        "kept"
    );
    // The bystander has lost no container, but that of its run if that is over.
    let there = bystander.containers();
    let is_gone = |one: &&Container| !there.iter().any(|other| other.id == one.id);
    let lost = at_work.iter().filter(is_gone).count();
    let over = bystander.metric("dynamic_mcp_guard_active ") == 0.0;
    assert!(lost <= usize::from(over), "{at_work:?} became {there:?}");
    assert_eq!(
        result(&other.read(false))["structuredContent"]["result"],
        "done"
    );
    // Nothing but the registry lies in the folder, and the logs that every server of the tests
    // keeps: no socket, no half-written file.
    let mut names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name: &String| !name.starts_with("audit-"))
        .collect();
    names.sort();
    assert_eq!(names, [".dynamic-mcp"]);
}

#[test]
fn a_server_that_ends_lets_its_runs_end() {
    let mut server = Server::start(&[
        ("MCP_SHUTDOWN_GRACE_SECONDS", "60"),
        ("MCP_TOOL_MAX_CONCURRENCY", "1"),
    ]);
    let mut running = send_run(
        &server,
        "await new Promise(r => setTimeout(r, 4000)); return 'done'",
    );
    await_running(&server, 1);
    let mut waiting = send_run(&server, "return 'too'");
    await_that("one to wait", || {
        server.metric("dynamic_mcp_guard_waiting ") == 1.0
    });
    let mut idle = server.connect();
    assert_eq!(idle.exchange("GET", "/readyz", &[], b"").status, 200);
    server.signal("TERM");
    await_that("readiness to fail", || server.readiness().0 == 503);
    let told = server.stderr();
    let begins = "SIGTERM: ending; 2 calls under way, for which there are 60 s\n";
    assert!(told.contains(begins), "{told}");
    assert_eq!(server.readiness().1["draining"]["status"], "failed");
    let refused = server.call("run_js_ephemeral", json!({ "code": "return 1" }));
    assert!(failure(&refused).starts_with("busy: "), "{refused}");
    assert!(refused["structuredContent"]["error"]["retryAfterMs"].is_u64());
    assert_eq!(server.get("/livez").status, 200);
    assert!(server.rpc("tools/list", &json!({}))["result"]["tools"].is_array());
    assert_eq!(idle.exchange("GET", "/readyz", &[], b"").status, 503);
    assert_eq!(
        result(&running.read(false))["structuredContent"]["result"],
        "done"
    );
    assert_eq!(
        result(&waiting.read(false))["structuredContent"]["result"],
        "too"
    );
    let status = server.wait();
    assert_eq!(status.code(), Some(0), "{}", server.stderr());
    assert_ended(&server, "0 calls cancelled");
    assert_eq!(server.containers(), []);
    assert!(server.folder.instances().is_empty());
}

/// The last line says how long the end took, and then this.
fn assert_ended(server: &Server, how: &str) {
    await_that("its last line", || {
        let told = server.stderr();
        let last = told.lines().last().unwrap_or_default();
        let (_, last) = last.split_once(" ended after ").unwrap_or_default();
        let took = last.strip_suffix(&format!(" s, {how}"));
        took.is_some_and(|took| took.parse::<f64>().is_ok())
    });
}

#[test]
fn a_server_whose_grace_is_over_ends_its_runs() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start(&[
            ("MCP_SHUTDOWN_GRACE_SECONDS", "1"),
            ("MCP_TOOL_MAX_CONCURRENCY", "2"),
        ]);
        let mut running = [send_run(&server, BUSY_LOOP), send_run(&server, NEVER)];
        await_running(&server, 2);
        let mut waiting = send_run(&server, "return 1");
        await_that("one to wait", || {
            server.metric("dynamic_mcp_guard_waiting ") == 1.0
        });
        server.signal(signal);
        for connection in &mut running {
            let ended = result(&connection.read(false));
            assert!(failure(&ended).starts_with("cancelled: "), "{ended}");
        }
        let ended = failure(&result(&waiting.read(false)));
        assert!(
            ended.starts_with("cancelled: ") || ended.starts_with("busy: "),
            "{ended}"
        );
        let status = server.wait();
        assert_eq!(status.code(), Some(0), "{signal}: {}", server.stderr());
        assert_ended(&server, "3 calls cancelled");
        assert_eq!(server.containers(), [], "{signal}");
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut server = Server::start(&[("MCP_SHUTDOWN_GRACE_SECONDS", "300")]);
    let _running = send_run(&server, BUSY_LOOP);
    await_running(&server, 1);
    server.signal("TERM");
    await_that("the drain", || server.readiness().0 == 503);
    let began = Instant::now();
    server.signal("INT");
    let status = server.wait();
    assert!(
        !status.success() && began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    // Its run ends by itself; whatever is left goes with the next start.
    let _next = Server::start_in(&server.folder, &[]);
    await_that("its container to go", || {
        owned_by(&daemon(), &server.instance).is_empty()
    });
}

/// A daemon of one test's own, without an image.
struct OwnDaemon(PathBuf);

impl OwnDaemon {
    fn start() -> (Self, String) {
        let name = format!("d{}", &random_hex()[..8]);
        let own = Self(PathBuf::from(provided("DYNAMIC_MCP_TEST_RUN")).join(name));
        let socket = own.tell("start");
        (own, socket)
    }

    fn tell(&self, command: &str) -> String {
        let output = Command::new(provided("DYNAMIC_MCP_TEST_DOCKERD"))
            .arg(command)
            .arg(&self.0)
            .output()
            .unwrap();
        let (out, error) = (output.stdout, output.stderr);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&error)
        );
        String::from_utf8(out).unwrap().trim().to_owned()
    }
}

impl Drop for OwnDaemon {
    fn drop(&mut self) {
        let _ = Command::new(provided("DYNAMIC_MCP_TEST_DOCKERD"))
            .arg("sweep")
            .arg(&self.0)
            .status();
    }
}

#[test]
fn a_daemon_without_the_image_that_goes_and_comes_back() {
    let (daemon, socket) = OwnDaemon::start();
    let image = format!("{}/big:1", provided("DYNAMIC_MCP_TEST_REGISTRY"));
    let mut server = Server::start(&[
        ("DOCKER_HOST", &socket),
        ("MCP_SANDBOX_ALLOWED_IMAGES", &image),
        ("MCP_SANDBOX_PULL_POLICY", "missing"),
    ]);
    // While the image comes, /readyz says how far it is and calls say when to try again.
    let mut seen = Vec::new();
    let early = server.call("run_js_ephemeral", json!({ "code": "return 1" }));
    if early.get("isError").is_some() {
        assert!(
            failure(&early).starts_with("engine_unavailable: "),
            "{early}"
        );
        assert!(
            early["structuredContent"]["error"]["retryAfterMs"].is_u64(),
            "{early}"
        );
    }
    await_that("the image", || {
        let (status, checks) = server.readiness();
        let detail = checks["image"]["detail"].as_str().unwrap().to_owned();
        if seen.last() != Some(&detail) {
            seen.push(detail);
        }
        status == 200
    });
    let is_progress = |detail: &String| detail.starts_with("pulling ") && detail.ends_with('%');
    assert!(seen.iter().any(is_progress), "{seen:?}");
    server.create(json!({ "name": "kept", "description": "d", "code": "return 'kept'" }));
    let kept = |server: &Server| server.call("kept", json!({}));
    assert_eq!(kept(&server)["structuredContent"]["result"], "kept");

    let mut running = send_run(&server, NEVER);
    await_that("the run to begin", || {
        server.metric("dynamic_mcp_guard_active ") == 1.0
    });
    daemon.tell("stop");
    let cut = result(&running.read(false));
    assert_eq!(cut["isError"], true, "{cut}");
    await_that("readiness to fail", || server.readiness().0 == 503);
    let (_, checks) = server.readiness();
    assert_eq!(
        (&checks["engine"]["status"], &checks["registry"]["status"]),
        (&json!("failed"), &json!("ok"))
    );
    for result in [
        kept(&server),
        server.call(
            "dynamic.tool.create",
            json!({ "tool": { "name": "new", "description": "d", "code": "return 1" } }),
        ),
        server.call(
            "dynamic.tool.update",
            json!({ "name": "kept", "patch": { "code": "return 2" } }),
        ),
    ] {
        assert!(
            failure(&result).starts_with("engine_unavailable: "),
            "{result}"
        );
    }
    let patch = json!({ "name": "kept", "patch": { "description": "Still." } });
    let patched = server.call("dynamic.tool.update", patch);
    assert_eq!(
        patched["structuredContent"]["tool"]["description"], "Still.",
        "{patched}"
    );
    let list = server.rpc("tools/list", &json!({}));
    assert!(list.to_string().contains("Still."));

    assert_eq!(daemon.tell("start"), socket);
    await_that("readiness to come back", || server.readiness().0 == 200);
    let result = kept(&server);
    assert_eq!(result["structuredContent"]["result"], "kept", "{result}");
    server.create(json!({ "name": "new", "description": "d", "code": "return 1" }));
    server.stop();
}

#[test]
fn a_daemon_that_never_answers() {
    let folder = Folder::new();
    let socket = folder.path().join("docker.sock");
    // Connections are made, and that is all.
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let address = format!("unix://{}", socket.display());
    let settings = [
        ("DOCKER_HOST", &*address),
        ("MCP_TOOL_QUEUE_MS", "1000"),
        ("MCP_SHUTDOWN_GRACE_SECONDS", "1"),
    ];
    let mut server = Server::start_in(&folder, &settings);
    let (status, checks) = server.readiness();
    assert_eq!(
        (status, &checks["engine"]["status"]),
        (503, &json!("failed"))
    );
    let refused = server.call("run_js_ephemeral", json!({ "code": "return 1" }));
    let text = failure(&refused);
    assert!(
        text.starts_with("engine_unavailable: ") || text.starts_with("busy: "),
        "{text}"
    );
    assert!(server.rpc("tools/list", &json!({}))["result"]["tools"].is_array());
    let began = Instant::now();
    server.stop();
    assert!(
        began.elapsed() < Duration::from_secs(12),
        "{:?}",
        began.elapsed()
    );
}
