//! The built program as a person starts it: a process with a folder, a port and a store of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use dynamic_mcp::base::ids::random_hex;

use super::provided;

/// Long enough for a start or an end on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program that cargo built for this test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_dynamic-mcp");

/// A folder of one test's own, removed with it.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let parent = PathBuf::from(provided("DYNAMIC_MCP_TEST_RUN"));
        let path = parent.join(format!("{name}-{}", random_hex()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A command of the program, in a folder, with nothing of this process's settings.
pub(crate) fn command(folder: &Path) -> Command {
    with_clean_environment(Command::new(PROGRAM), folder)
}

/// Any command that may start the program, likewise.
pub(crate) fn with_clean_environment(mut command: Command, folder: &Path) -> Command {
    command.current_dir(folder).env_clear();
    for kept in ["PATH", "LANG"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command
        .env("HOME", folder)
        .env("XDG_RUNTIME_DIR", folder)
        .env("XDG_DATA_HOME", folder)
        .env("DOCKER_HOST", provided("DYNAMIC_MCP_TEST_DOCKER"));
    command
}

/// A running HTTP server on a free port of loopback.
#[derive(Debug)]
pub(crate) struct Served {
    child: Child,
    /// What it printed at its start.
    pub(crate) banner: String,
    /// Of the MCP endpoint.
    pub(crate) port: u16,
}

impl Served {
    /// Starts the program in a folder with further variables, and waits for its banner.
    pub(crate) fn start(folder: &Path, variables: &[(&str, &str)]) -> Self {
        let mut command = command(folder);
        command
            .env("MCP_PORT", "0")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (lines, heard) = mpsc::channel();
        // Reads to the end, so that a talkative server never waits for its reader.
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        let (mut banner, deadline) = (String::new(), Instant::now() + PATIENCE);
        while !banner.contains("\n  try ") {
            let left = deadline.saturating_duration_since(Instant::now());
            match heard.recv_timeout(left) {
                Ok(line) => banner.push_str(&(line + "\n")),
                Err(_) => {
                    let _ = child.kill();
                    panic!("no banner; printed: {banner}");
                }
            }
        }
        let address = banner.split_once("http://127.0.0.1:").unwrap().1;
        let port = address.split_once('/').unwrap().0.parse().unwrap();
        Self {
            child,
            banner,
            port,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
