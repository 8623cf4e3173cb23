//! The real program as a process of its own: started in a folder of its own with nothing but the
//! given environment, watched through its standard error, and ended by pid. Whatever ends it by
//! SIGTERM also checks that it leaves nothing behind.

use std::io::{BufRead, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};

use dynamic_mcp::base::ids::random_hex;
use dynamic_mcp::docker::Container;
use serde_json::{Value, json};

use super::engine::{await_that, owned_by};
use super::http::{Connection, Reply};
use super::leaks::{self, Secrets};
use super::{daemon, provided};

/// The program that cargo built for this test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_dynamic-mcp");

/// A folder that goes with the last who has it.
#[derive(Clone)]
pub(crate) struct Folder(Arc<Owned>);

struct Owned(PathBuf);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    pub(crate) fn new() -> Self {
        let name = format!("dmcp-test-{}", &random_hex()[..12]);
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(Arc::new(Owned(path)))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0.0
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path().join(".dynamic-mcp/tools.json")
    }

    /// The ids of the instances that have a lock file beside the store.
    pub(crate) fn instances(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path().join(".dynamic-mcp/instances"));
        let names = entries.into_iter().flatten().flatten();
        names
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                Some(name.strip_suffix(".lock")?.to_owned())
            })
            .collect()
    }
}

/// The program with these settings, not started yet.
pub(crate) fn program(folder: &Folder, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .current_dir(folder.path())
        .env_clear()
        .env("DOCKER_HOST", provided("DYNAMIC_MCP_TEST_DOCKER"))
        .env("MCP_PORT", "0")
        .env("MCP_RUNTIME_DIR", folder.path())
        .env("MCP_SHUTDOWN_GRACE_SECONDS", "20")
        .env("MCP_SANDBOX_PULL_POLICY", "never")
        .env("MCP_EXECUTION_ENGINE", "docker")
        .envs(settings.iter().copied())
        .stdin(Stdio::null());
    command
}

/// Another program in the folder, which may start ours there.
pub(crate) fn beside(program: &str, folder: &Folder) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder.path()).env_clear();
    for kept in ["PATH", "LANG"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    for own in ["HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME"] {
        command.env(own, folder.path());
    }
    command.env("DOCKER_HOST", provided("DYNAMIC_MCP_TEST_DOCKER"));
    command
}

/// Runs the program to its end.
pub(crate) fn run(folder: &Folder, settings: &[(&str, &str)], line: &[&str]) -> Output {
    program(folder, settings).args(line).output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) folder: Folder,
    pub(crate) instance: String,
    child: Child,
    ended: Option<ExitStatus>,
    stderr: Arc<Mutex<String>>,
    /// The audit log, where the test has none of its own.
    logs: Folder,
    secrets: Secrets,
}

/// What every server here does unless a test says otherwise, so that all that it may log is
/// searched for secrets when it has ended.
const LOGS: [(&str, &str); 2] = [("MCP_LOG_LEVEL", "debug"), ("MCP_AUDIT_ENABLED", "true")];

/// The settings of a test, with the others of [`LOGS`]; no test finds the log among its own files.
fn with_logs<'a>(settings: &[(&'a str, &'a str)], file: &'a str) -> Vec<(&'a str, &'a str)> {
    let names = |start: &str| settings.iter().any(|(name, _)| name.starts_with(start));
    let mut all = settings.to_vec();
    all.extend(LOGS.iter().filter(|(name, _)| !names(name)));
    if !names("MCP_AUDIT_") && !settings.contains(&("MCP_PROFILE", "enterprise")) {
        all.push(("MCP_AUDIT_FILE", file));
    }
    all
}

impl Server {
    pub(crate) fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_in(&Folder::new(), settings)
    }

    /// Starts beside what lies in `folder` already.
    pub(crate) fn start_in(folder: &Folder, settings: &[(&str, &str)]) -> Self {
        let before = folder.instances();
        let logs = Folder::new();
        let file = logs.path().join("audit.log");
        let file = file.to_str().unwrap();
        let mut child = program(folder, &with_logs(settings, file))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = collect(&mut child);
        let mut address = None;
        await_that("the banner", || {
            let text = stderr.lock().unwrap().clone();
            address = text.split_once("listens on http://").and_then(|(_, rest)| {
                // The banner's last line is there, so the address is whole.
                rest.contains("  try ").then_some(())?;
                rest.split('/').next()?.parse().ok()
            });
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none() || address.is_some(), "it ended: {text}");
            address.is_some()
        });
        let mut own = folder.instances();
        own.retain(|id| !before.contains(id));
        // In a database the instance is a row there.
        let in_file = !settings.contains(&("MCP_DYNAMIC_BACKEND", "postgres"));
        let expected = usize::from(in_file);
        assert_eq!(
            own.len(),
            expected,
            "one lock file for one instance: {own:?}"
        );
        Self {
            address: address.unwrap(),
            folder: folder.clone(),
            instance: own.pop().unwrap_or_default(),
            child,
            ended: None,
            stderr,
            logs,
            secrets: leaks::of_settings(folder.path(), settings),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Of the MCP endpoint.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// What it has written to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// One GET on a connection of its own.
    pub(crate) fn get(&self, path: &str) -> Reply {
        self.connect().exchange("GET", path, &[], b"")
    }

    /// The answer to one legacy request, whole.
    pub(crate) fn rpc(&self, method: &str, params: &Value) -> Value {
        self.connect().rpc(method, params)
    }

    /// The result of one tool call, failed or not.
    pub(crate) fn call(&self, name: &str, arguments: Value) -> Value {
        self.connect().call(name, arguments)
    }

    /// The `result` of code that is run once.
    pub(crate) fn value(&self, code: &str) -> Value {
        let result = self.call("run_js_ephemeral", json!({ "code": code }));
        assert_eq!(result.get("isError"), None, "{code}: {result}");
        result["structuredContent"]["result"].clone()
    }

    /// Creates a tool; it must succeed.
    pub(crate) fn create(&self, tool: Value) -> Value {
        let result = self.call("dynamic.tool.create", json!({ "tool": tool }));
        assert_eq!(result.get("isError"), None, "{tool}: {result}");
        result["structuredContent"]["tool"].clone()
    }

    /// The value of a series of `/metrics`, by its whole name with labels; 0 where it is absent.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.get("/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.map_or(0.0, |rest| rest.trim().parse().unwrap())
    }

    /// `/readyz` and its `checks`.
    pub(crate) fn readiness(&self) -> (u16, Value) {
        let reply = self.get("/readyz");
        (reply.status, reply.json()["checks"].clone())
    }

    /// Containers of this instance on the shared daemon.
    pub(crate) fn containers(&self) -> Vec<Container> {
        owned_by(&daemon(), &self.instance)
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let (mut ended, child) = (self.ended, &mut self.child);
        await_that("the program's end", || {
            ended = ended.or(child.try_wait().unwrap());
            ended.is_some()
        });
        self.ended = ended;
        ended.unwrap()
    }

    /// As a crash would: nothing of it gets a chance.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.ended = Some(self.child.wait().unwrap());
    }

    /// SIGTERM, and it must end well, soon, and leave nothing, unless it says what it left.
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{}", self.stderr());
        await_that("its last word", || self.stderr().contains("ended"));
        if !self.stderr().contains("left to the next start") {
            assert!(!self.folder.instances().contains(&self.instance));
            assert_eq!(self.containers(), [], "containers are left behind");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("standard error of the server:\n{}", self.stderr());
        } else if self.ended.is_none() {
            self.stop();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.secrets.append(&mut leaks::take(self.address));
        if !std::thread::panicking() {
            let folder = self.folder.path();
            let folders = [folder, &folder.join(".dynamic-mcp"), self.logs.path()];
            leaks::assert_none(&self.secrets, &self.stderr(), &folders);
        }
    }
}

/// What Prometheus' own checker says of this text of metrics is nothing.
pub(crate) fn assert_promtool_is_content(text: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is missing: tests/run installs it");
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let verdict = promtool.wait_with_output().unwrap();
    assert_eq!(
        (verdict.status.code(), stdout(&verdict), stderr(&verdict)),
        (Some(0), String::new(), String::new())
    );
}

/// Sends a signal by name.
pub(crate) fn signal(pid: u32, name: &str) {
    let line = format!("kill -{name} {pid}");
    let status = Command::new("sh").args(["-c", &line]).status().unwrap();
    assert!(status.success(), "{line}");
}

fn collect(child: &mut Child) -> Arc<Mutex<String>> {
    let stderr = Arc::new(Mutex::new(String::new()));
    let (pipe, text) = (child.stderr.take().unwrap(), Arc::clone(&stderr));
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let mut text = text.lock().unwrap();
            text.push_str(&String::from_utf8_lossy(&line));
            text.push('\n');
        }
    });
    stderr
}
