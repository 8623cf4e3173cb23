//! Podman's service in the place of a Docker daemon: what parts of the API the engine needs of it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dynamic_mcp::base::clock::unix_millis;
use dynamic_mcp::docker::Daemon;
use dynamic_mcp::domain::asking::{Answer, Ask};
use dynamic_mcp::domain::failure::FailureKind;
use dynamic_mcp::domain::json::JsonText;
use dynamic_mcp::domain::run::Observer;
use dynamic_mcp::engine::{Engine as _, EngineSettings};
use serde_json::json;

use crate::support::daemons::succeeded;
use crate::support::engine::{
    Fixture, Runs as _, await_that, create, failure_text, job, kind_of, outcome_text, owned_by,
    patience, settings,
};
use crate::support::{daemon_at, provided};

/// A service with storage of its own, gone at the end with all that it ran.
struct Podman {
    dir: PathBuf,
    service: Child,
}

impl Podman {
    fn start() -> Self {
        let dir = Path::new(&provided("DYNAMIC_MCP_TEST_RUN")).join("podman");
        std::fs::create_dir_all(&dir).unwrap();
        let runtime = dir.join("runc");
        std::fs::write(&runtime, RUNTIME).unwrap();
        std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o755)).unwrap();
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let service = podman(&dir)
            .args(["system", "service", "-t", "0"])
            .arg(format!("unix://{}/docker.sock", dir.display()))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("podman is missing: tests/run installs it");
        let own = Self { dir, service };
        await_that("Podman answers", || own.client().ping(patience()).is_ok());
        let images = Command::new(provided("DYNAMIC_MCP_TEST_IMAGE"))
            .arg(own.address())
            .output();
        succeeded("its images", &images.unwrap());
        own
    }

    fn address(&self) -> String {
        format!("unix://{}/docker.sock", self.dir.display())
    }

    fn client(&self) -> Arc<Daemon> {
        daemon_at(&self.address())
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = podman(&self.dir).args(["rm", "-af", "-t", "0"]).output();
        let _ = self.service.kill();
        let _ = self.service.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Podman has containers' limit of processes raised beyond its own, which takes CAP_SYS_RESOURCE:
/// where that is missing, as in many sandboxes, no container would start. Here it stays as it is.
const RUNTIME: &str = r#"#!/bin/bash
bundle=
for argument; do
    [ "$bundle" != next ] || bundle=$argument
    [ "$argument" != --bundle ] || bundle=next
done
if [ -n "$bundle" ]; then
    limit=$(ulimit -H -u)
    sed -i 's/\("RLIMIT_NPROC","hard":\)[0-9]*\(,"soft":\)[0-9]*/\1'"$limit"'\2'"$limit"/ \
        "$bundle/config.json"
fi
exec runc "$@"
"#;

/// The command line of one storage.
fn podman(dir: &Path) -> Command {
    let mut command = Command::new("podman");
    for (option, place) in [
        ("--root", "root"),
        ("--runroot", "run"),
        ("--tmpdir", "tmp"),
    ] {
        command.arg(option).arg(dir.join(place));
    }
    command
        .args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"])
        .args(["--events-backend", "file", "--runtime"])
        .arg(dir.join("runc"))
        .env("XDG_RUNTIME_DIR", dir)
        // What watches a container leaves a file `oom` where it was started.
        .current_dir(dir);
    command
}

/// A client that answers.
struct Client;

impl Observer for Client {
    fn log(&mut self, _: &str, _: &JsonText) {}
    fn progress(&mut self, _: f64, _: Option<f64>, _: Option<&str>) {}
    fn ask(&mut self, ask: Ask) -> Answer {
        Answer::Value(JsonText::from_value(&json!(ask.key)))
    }
}

#[test]
fn podman_s_service_runs_limits_and_reaps() {
    let podman = Podman::start();
    let daemon = podman.client();
    let info = daemon.info(patience()).unwrap();
    assert!(info.is_podman, "{info:?}");
    let fixture = Fixture::on(
        Arc::clone(&daemon),
        EngineSettings {
            warm_pool: 1,
            // Then V8's own limit is below the container's.
            memory_bytes: 512 << 20,
            ..settings()
        },
    );
    let probe = fixture.engine.probe(patience());
    assert!(probe.ready, "{probe:?}");

    let ended = fixture.run_observed(
        &job("return [process.getuid(), await ctx.elicit('k', {})]", "{}"),
        &mut Client,
    );
    assert_eq!(outcome_text(&ended.outcome), "[1000,\"k\"]");
    assert!(ended.image.unwrap().id.starts_with("sha256:"));
    let threw = fixture.failure("throw new Error('x')");
    assert_eq!(failure_text(&threw), "threw: x @1:7");
    await_that("one is parked", || fixture.engine.pool_counts().parked == 1);
    assert_eq!(fixture.value("return 1"), "1");

    let mut endless = job("while (true) {}", "{}");
    endless.timeout = Duration::from_secs(1);
    assert_eq!(kind_of(&fixture.run(&endless)), Some(FailureKind::Timeout));
    let heap = fixture.failure("const a = []; while (true) a.push(new Array(1000).fill({}))");
    assert_eq!(heap.kind, FailureKind::OutOfMemory, "{heap:?}");
    // Podman 4.3 does not always tell that the kernel killed for memory: then a signal is all that
    // is known.
    let killed = fixture.failure("const a = []; while (true) a.push(Buffer.alloc(1 << 24, 1))");
    let text = failure_text(&killed);
    assert!(
        text.starts_with("out_of_memory: ")
            || text.starts_with("threw: process ended with SIGKILL"),
        "{text}"
    );
    fixture.engine.check(None, "return 1", patience()).unwrap();

    // What a dead instance left.
    let files = json!({"Name": "nofile", "Soft": 1024, "Hard": 1024});
    let now = unix_millis(SystemTime::now()) / 1000;
    let spec = json!({"Image": "node:lts-slim", "Cmd": ["node", "-e", "setInterval(() => {}, 9)"],
        "Labels": {"dynamic-mcp.owner": "dead", "dynamic-mcp.created": now.to_string()},
        "HostConfig": {"NetworkMode": "none", "Ulimits": [files]}});
    let left = create(&daemon, &spec);
    daemon.start_container(&left, patience()).unwrap();
    assert_eq!(owned_by(&daemon, "dead").len(), 1);
    fixture.owners.dead.lock().unwrap().push("dead".to_owned());
    assert_eq!(fixture.engine.tidy(patience()), 1);
    assert_eq!(owned_by(&daemon, "dead"), []);
    drop(fixture);
}
