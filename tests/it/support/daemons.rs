//! Daemons of one test's own, requests that the client has no method for, and this test binary as
//! another process.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use dynamic_mcp::docker::Daemon;

use super::{daemon_at, provided};

/// One request to a daemon; its whole answer as text.
pub(crate) fn request(socket: &Path, method: &str, path: &str, body: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Like [`request`], to the daemon that all tests share; it must succeed.
pub(crate) fn request_shared(method: &str, path: &str, body: &[u8]) -> String {
    let socket = provided("DYNAMIC_MCP_TEST_DOCKER");
    let socket = socket.strip_prefix("unix://").unwrap();
    let answer = request(Path::new(socket), method, path, body);
    assert!(
        answer.starts_with("HTTP/1.1 2"),
        "{method} {path}: {answer}"
    );
    answer
}

/// A daemon that only one test uses; it may be stopped, crash and start again.
pub(crate) struct OwnDaemon {
    dir: PathBuf,
}

impl OwnDaemon {
    pub(crate) fn start(name: &str) -> Self {
        let own = Self {
            dir: Path::new(&provided("DYNAMIC_MCP_TEST_RUN")).join(name),
        };
        own.act("start");
        own.load_images();
        own
    }

    /// Where one of this name keeps its images and containers.
    pub(crate) fn data_root(name: &str) -> PathBuf {
        Path::new(&provided("DYNAMIC_MCP_TEST_RUN"))
            .join(name)
            .join("data")
    }

    /// One with further arguments, without images.
    pub(crate) fn start_with(name: &str, arguments: &[String]) -> Self {
        let own = Self {
            dir: Path::new(&provided("DYNAMIC_MCP_TEST_RUN")).join(name),
        };
        std::fs::create_dir_all(&own.dir).unwrap();
        own.set_arguments(arguments);
        own.act("start");
        own
    }

    /// For its next start.
    pub(crate) fn set_arguments(&self, arguments: &[String]) {
        let lines = arguments.join("\n") + "\n";
        std::fs::write(self.dir.join("arguments"), lines).unwrap();
    }

    pub(crate) fn load_images(&self) {
        let images = Command::new(provided("DYNAMIC_MCP_TEST_IMAGE"))
            .arg(self.address())
            .output();
        succeeded("its images", &images.unwrap());
    }

    /// `start`, `stop` or `kill`, as tests/env/dockerd has them.
    pub(crate) fn act(&self, action: &str) {
        let script = provided("DYNAMIC_MCP_TEST_DOCKERD");
        let done = Command::new(script).arg(action).arg(&self.dir).output();
        succeeded(action, &done.unwrap());
    }

    /// One request that the client has no method for; its whole answer.
    pub(crate) fn request(&self, method: &str, path: &str) -> String {
        request(&self.dir.join("docker.sock"), method, path, b"")
    }

    pub(crate) fn address(&self) -> String {
        format!("unix://{}/docker.sock", self.dir.display())
    }

    pub(crate) fn client(&self) -> Arc<Daemon> {
        daemon_at(&self.address())
    }
}

impl Drop for OwnDaemon {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.act("sweep");
        }
    }
}

pub(crate) fn succeeded(what: &str, output: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{what}: {stdout}\n{stderr}");
}

/// Set in a process that plays a part for a test.
const PART: &str = "DYNAMIC_MCP_TEST_PART";

/// Whether this process was started by [`another_process`].
pub(crate) fn plays_a_part() -> bool {
    std::env::var_os(PART).is_some()
}

/// This test binary once more, to run the one test `name`, in which [`plays_a_part`] then holds.
pub(crate) fn another_process(binary: &Path, name: &str) -> Command {
    let mut command = Command::new(binary);
    command
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(PART, "1");
    command
}
