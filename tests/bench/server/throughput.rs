//! Cheap calls a second under `wrk`, beside a server of the Rust SDK and a bare axum echo.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use dynamic_mcp::base::ids::random_hex;
use serde_json::{Value, json};

use super::process::Server;

const CLIENTS: [u32; 3] = [8, 64, 256];
const SECONDS: u64 = 4;
const ROUNDS: usize = 2;

/// What `wrk` and `/proc` say of one run.
struct Measured {
    per_second: f64,
    p99: String,
    /// Answers that were no success, as `wrk` words it.
    wrong: Option<String>,
    threads: u64,
    mebibytes: f64,
}

pub(crate) fn report() {
    println!("\n## Cheap calls a second\n");
    if !has_wrk() {
        return;
    }
    let ours = Server::ours(&[("MCP_HTTP_MAX_CONNECTIONS_PER_IP", "1000")]);
    let list = std::env::temp_dir().join(format!("bench-{}.json", random_hex()));
    std::fs::write(&list, listed_tools(&ours)).unwrap();
    let build = peers();
    let rmcp = Server::peer(Command::new(build.join("rmcp-server")).arg(&list));
    let axum = Server::peer(&mut Command::new(build.join("axum-echo")));
    println!(
        "wrk with one thread, {SECONDS} s, {ROUNDS} rounds in turns, the best of each; `x` is the \
         ratio to ours.\n"
    );
    println!("| call | clients | server | a second | x | p99 | threads | RSS MiB |");
    println!("|---|---|---|---|---|---|---|---|");
    let health = json!({ "name": "system.health", "arguments": {} });
    for (method, params) in [("tools/call", health), ("tools/list", json!({}))] {
        for clients in CLIENTS {
            let mut servers = vec![("dynamic-mcp", &ours), ("rmcp on axum", &rmcp)];
            if method == "tools/call" {
                servers.push(("axum, echo alone", &axum));
            }
            compare(method, &params, clients, &servers, &[]);
        }
    }
    let _ = std::fs::remove_file(list);
}

/// Whether `wrk` is here; says so if not.
pub(crate) fn has_wrk() -> bool {
    let found = Command::new("wrk").arg("-v").output().is_ok();
    if !found {
        println!("wrk is not installed: apt-get install wrk");
    }
    found
}

/// Prints the best round of each server, and its ratio to the first one's.
pub(crate) fn compare(
    method: &str,
    params: &Value,
    clients: u32,
    servers: &[(&str, &Server)],
    fields: &[(&str, &str)],
) {
    let script = Script::new(method, params, fields);
    let mut best: Vec<Option<Measured>> = servers.iter().map(|_| None).collect();
    for _ in 0..ROUNDS {
        for ((_, server), best) in servers.iter().zip(&mut best) {
            let measured = wrk(server, clients, &script.0);
            let better = |best: &Measured| measured.per_second > best.per_second;
            if best.as_ref().is_none_or(better) {
                *best = Some(measured);
            }
        }
    }
    let first = best[0].as_ref().unwrap().per_second;
    for ((name, _), best) in servers.iter().zip(&best) {
        let best = best.as_ref().unwrap();
        let ratio = best.per_second / first;
        println!(
            "| {method} | {clients} | {name} | {:.0} | {ratio:.2} | {} | {} | {:.1} |",
            best.per_second, best.p99, best.threads, best.mebibytes
        );
        if let Some(wrong) = &best.wrong {
            println!("| | | {wrong} | | | | | |");
        }
    }
}

/// A script that makes `wrk` send one stateless request; gone with this.
struct Script(std::path::PathBuf);

impl Script {
    fn new(method: &str, params: &Value, fields: &[(&str, &str)]) -> Self {
        let mut params = params.clone();
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let name = params["name"].as_str().unwrap_or_default();
        let mut script = format!(
            "wrk.method = 'POST'\nwrk.body = [==[{body}]==]\n\
             wrk.headers['Content-Type'] = 'application/json'\n\
             wrk.headers['Accept'] = 'application/json, text/event-stream'\n\
             wrk.headers['MCP-Protocol-Version'] = '2026-07-28'\n\
             wrk.headers['Mcp-Method'] = '{method}'\n\
             if '{name}' ~= '' then wrk.headers['Mcp-Name'] = '{name}' end\n"
        );
        for (field, value) in fields {
            script += &format!("wrk.headers['{field}'] = '{value}'\n");
        }
        let path = std::env::temp_dir().join(format!("bench-{}.lua", random_hex()));
        std::fs::write(&path, script).unwrap();
        Self(path)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn wrk(server: &Server, clients: u32, script: &Path) -> Measured {
    let child = Command::new("wrk")
        .args([
            "-t1",
            "-c",
            &clients.to_string(),
            "-d",
            &format!("{SECONDS}s"),
        ])
        .args(["--latency", "-s"])
        .arg(script)
        .arg(format!("http://127.0.0.1:{}/mcp", server.port))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(SECONDS) / 2);
    let (threads, mebibytes) = server.threads_and_memory();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let field = |label: &str| {
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_prefix(label));
        line.map(|rest| rest.trim().to_owned())
    };
    Measured {
        per_second: field("Requests/sec:").unwrap().parse().unwrap(),
        p99: field("99%").unwrap(),
        wrong: field("Non-2xx or 3xx responses:").map(|count| format!("{count} refused")),
        threads,
        mebibytes,
    }
}

/// The tools as our server lists them, for the peer to list the same.
fn listed_tools(server: &Server) -> String {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let (_, text) = server.connect().request("POST", "/mcp", body);
    let answer: Value = serde_json::from_str(&text).unwrap();
    answer["result"]["tools"].to_string()
}

/// Builds the peers; where their programs lie.
fn peers() -> std::path::PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers");
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "--release",
            "--locked",
            "--features",
            "servers",
            "--bins",
        ])
        .current_dir(&folder)
        .env_remove("CARGO_TARGET_DIR")
        .status()
        .unwrap();
    assert!(status.success(), "the peers do not build");
    folder.join("target/release")
}
