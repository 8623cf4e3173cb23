//! Servers as processes: ours and its peers.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use dynamic_mcp::base::ids::random_hex;
use serde_json::{Value, json};

use super::http::Connection;

/// A server on a port of its own, ended with this.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    folder: Option<PathBuf>,
}

impl Server {
    /// Ours, in an empty folder, with further settings.
    pub(crate) fn ours(settings: &[(&str, &str)]) -> Self {
        let folder = std::env::temp_dir().join(format!("bench-{}", random_hex()));
        std::fs::create_dir(&folder).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_dynamic-mcp"));
        command
            .current_dir(&folder)
            .env("MCP_PORT", "0")
            .env("MCP_RUNTIME_DIR", &folder)
            .env("MCP_TOOL_MAX_CALLS_PER_WINDOW", "1000000")
            .envs(settings.iter().copied())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, address) = line.split_once("listens on http://127.0.0.1:")?;
            address.split('/').next()?.parse().ok()
        });
        // Reads to the end, so that the server never waits for its reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            port: port.expect("the server starts"),
            folder: Some(folder),
        }
    }

    /// A peer, which prints its port first.
    pub(crate) fn peer(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap();
        Self {
            child,
            port,
            folder: None,
        }
    }

    pub(crate) fn connect(&self) -> Connection<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_nodelay(true).unwrap();
        Connection::new(stream)
    }

    /// Threads, and resident memory in MiB.
    pub(crate) fn threads_and_memory(&self) -> (u64, f64) {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let field = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.unwrap().split_whitespace().next().unwrap();
            number.parse().unwrap()
        };
        (field("Threads:"), field("VmRSS:") as f64 / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.child.wait();
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// The tool that every part calls.
pub(crate) fn create_sum(connection: &mut Connection<TcpStream>) {
    let tool = json!({
        "name": "bench.sum", "description": "Adds a and b.",
        "inputSchema": {
            "type": "object",
            "properties": { "a": { "type": "number" }, "b": { "type": "number" } },
            "required": ["a", "b"],
        },
        "code": "return args.a + args.b",
    });
    let result = call(connection, "dynamic.tool.create", &json!({ "tool": tool }));
    assert_eq!(result.get("isError"), None, "{result}");
}

pub(crate) fn call_sum(connection: &mut Connection<TcpStream>) {
    let result = call(connection, "bench.sum", &json!({ "a": 1, "b": 2 }));
    assert_eq!(result["structuredContent"]["result"], 3, "{result}");
}

/// The result of a tool call.
pub(crate) fn call(connection: &mut Connection<TcpStream>, name: &str, arguments: &Value) -> Value {
    let params = json!({ "name": name, "arguments": arguments });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let (status, text) = connection.request("POST", "/mcp", &body.to_string());
    assert_eq!(status, 200, "{text}");
    serde_json::from_str::<Value>(&text).unwrap()["result"].take()
}
