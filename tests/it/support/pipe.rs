//! The real program on stdio as a process of its own, in a home of its own, and a client at the
//! other end of its pipes. Every line it writes must be one JSON object or array.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dynamic_mcp::base::ids::random_hex;
use dynamic_mcp::docker::Container;
use serde_json::{Value, json};

use super::engine::{await_that, owned_by};
use super::leaks::{self, Secrets};
use super::{daemon, provided};

/// Long enough for any answer, on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(60);
/// What makes a request one of 2026-07-28.
pub(crate) const MODERN_META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

/// A user's home; goes when dropped.
pub(crate) struct Home(PathBuf);

impl Home {
    pub(crate) fn new() -> Self {
        let name = format!("dmcp-home-{}", &random_hex()[..12]);
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.0.join(".local/share/dynamic-mcp")
    }

    /// Ids of the instances with a lock file.
    pub(crate) fn instances(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.data().join("instances"));
        let names = entries.into_iter().flatten().flatten();
        let names = names.map(|entry| entry.file_name().into_string().unwrap());
        names
            .filter_map(|name| Some(name.strip_suffix(".lock")?.to_owned()))
            .collect()
    }

    /// Containers of those instances.
    pub(crate) fn containers(&self) -> Vec<Container> {
        let daemon = daemon();
        let ids = self.instances();
        ids.iter().flat_map(|id| owned_by(&daemon, id)).collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The running program and its client.
pub(crate) struct Pipe {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: Arc<Mutex<String>>,
    logs: PathBuf,
    secrets: Secrets,
}

impl Pipe {
    pub(crate) fn start(home: &Home, settings: &[(&str, &str)]) -> Self {
        Self::start_reading(home, settings, true)
    }

    /// Nobody reads its answers.
    pub(crate) fn start_deaf(home: &Home, settings: &[(&str, &str)]) -> Self {
        Self::start_reading(home, settings, false)
    }

    fn start_reading(home: &Home, settings: &[(&str, &str)], reads: bool) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dynamic-mcp"))
            .current_dir(home.path())
            .env_clear()
            .env("HOME", home.path())
            .env("DOCKER_HOST", provided("DYNAMIC_MCP_TEST_DOCKER"))
            .env("MCP_TRANSPORT", "stdio")
            .env("MCP_EXECUTION_ENGINE", "docker")
            .env("MCP_SANDBOX_PULL_POLICY", "never")
            .env("MCP_SANDBOX_WARM_POOL", "0")
            .envs(settings.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            let lines = reads.then(|| BufReader::new(stdout).lines());
            for line in lines.into_iter().flatten().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let stderr = Arc::new(Mutex::new(String::new()));
        let (pipe, text) = (child.stderr.take().unwrap(), Arc::clone(&stderr));
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                *text.lock().unwrap() += &format!("{line}\n");
            }
        });
        Self {
            stdin: child.stdin.take(),
            child,
            lines,
            stderr,
            logs: home.data(),
            secrets: leaks::of_settings(home.path(), settings),
        }
    }

    pub(crate) fn send(&mut self, line: &str) {
        leaks::of_body(&mut self.secrets, line.as_bytes());
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub(crate) fn request(&mut self, id: u64, method: &str, params: &Value) {
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.send(&request.to_string());
    }

    /// Code that runs once, under an id.
    pub(crate) fn run(&mut self, id: u64, code: &str) {
        let arguments = json!({ "code": code });
        let params = json!({ "name": "run_js_ephemeral", "arguments": arguments });
        self.request(id, "tools/call", &params);
    }

    pub(crate) fn cancel(&mut self, id: u64) {
        self.send(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
        ));
    }

    /// The next line that tells no change of a list; there must be one.
    pub(crate) fn next(&mut self) -> Value {
        loop {
            let line = self.next_line();
            let method = line["method"].as_str().unwrap_or_default();
            if !method.ends_with("/list_changed") {
                return line;
            }
        }
    }

    /// The next line; there must be one.
    pub(crate) fn next_line(&mut self) -> Value {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => parse(&line),
            Err(error) => panic!("no line ({error}); stderr:\n{}", self.stderr()),
        }
    }

    /// The answer to a line, which must be the next one.
    pub(crate) fn ask(&mut self, line: &str) -> Value {
        self.send(line);
        self.next()
    }

    /// The result of a tool called by name, without its being an error of the protocol.
    pub(crate) fn call(&mut self, name: &str, arguments: &Value) -> Value {
        let params = json!({ "name": name, "arguments": arguments });
        self.request(77, "tools/call", &params);
        let answer = self.next();
        assert_eq!(answer["id"], 77, "{answer}");
        answer["result"].clone()
    }

    /// Settles on a revision.
    pub(crate) fn initialize(&mut self, revision: &str) {
        self.request(0, "initialize", &json!({ "protocolVersion": revision }));
        let answer = self.next();
        assert_eq!(answer["result"]["protocolVersion"], revision, "{answer}");
        self.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    }

    /// No more comes from this client.
    pub(crate) fn close(&mut self) {
        self.stdin = None;
    }

    /// Nobody reads any more.
    pub(crate) fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &line]).status().unwrap();
        assert!(status.success(), "{line}");
    }

    /// The end, and what came before it.
    pub(crate) fn wait(&mut self) -> (ExitStatus, Vec<Value>) {
        let mut ended = None;
        await_that("the program's end", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        let mut rest = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => rest.push(parse(&line)),
                Err(RecvTimeoutError::Disconnected) => return (ended.unwrap(), rest),
                Err(RecvTimeoutError::Timeout) => panic!("stdout stays open"),
            }
        }
    }

    /// Closes, and the end must be a good one; what came before it.
    pub(crate) fn finish(&mut self) -> Vec<Value> {
        self.close();
        let (status, rest) = self.wait();
        assert_eq!(status.code(), Some(0), "{}", self.stderr());
        rest
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("standard error of the server:\n{}", self.stderr());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            leaks::assert_none(&self.secrets, &self.stderr(), &[&self.logs]);
        }
    }
}

fn parse(line: &str) -> Value {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let messages = value
        .as_array()
        .map_or(vec![&value], |all| all.iter().collect());
    for message in messages {
        assert_eq!(message["jsonrpc"], "2.0", "{line}");
    }
    value
}
