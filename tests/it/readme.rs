//! The README is run: every block of commands, every line of its tables, every client's
//! configuration. Port 8788 stands for the port of the test's server, 8789 for a free one,
//! `target/release` for the program under test, and `…` in what is shown for any text.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use dynamic_mcp::cli::args::COMMANDS;
use dynamic_mcp::config::documents::settings_markdown;
use dynamic_mcp::config::settings::Availability;
use dynamic_mcp::domain::failure::FailureKind;
use serde_json::{Value, json};

use crate::support::engine::matches;
use crate::support::server::{Folder, PROGRAM, Server, beside, run, stderr, stdout};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

fn readme() -> String {
    std::fs::read_to_string(PATH).unwrap()
}

/// A fenced block: its language, its text, the line of the page where it starts.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) language: String,
    pub(crate) text: String,
    line: usize,
}

pub(crate) fn blocks() -> Vec<Block> {
    let (mut found, mut open): (Vec<Block>, bool) = (Vec::new(), false);
    for (index, line) in readme().lines().enumerate() {
        match (line.strip_prefix("```"), open) {
            (Some(language), false) => {
                let language = language.to_owned();
                let (text, line) = (String::new(), index + 1);
                found.push(Block {
                    language,
                    text,
                    line,
                });
                open = true;
            }
            (Some(_), true) => open = false,
            (None, true) => found.last_mut().unwrap().text += &format!("{line}\n"),
            (None, false) => {}
        }
    }
    assert!(!open, "a block is not closed");
    found
}

/// The rows of the table under this header, each cell without its spaces and backticks.
fn table(header: &str) -> Vec<Vec<String>> {
    let text = readme();
    let (_, behind) = text.split_once(header).unwrap();
    behind
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells
                .map(|cell| cell.trim().trim_matches('`').to_owned())
                .collect()
        })
        .collect()
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn assert_shown(block: &Block, shown: &str, printed: &str) {
    let (shown, printed) = (squeezed(shown), squeezed(printed));
    let line = block.line;
    assert!(
        matches(&shown, &printed),
        "README.md:{line}: shown\n{shown}\nprinted\n{printed}"
    );
}

/// A folder in which the program lies where a build puts it.
fn checkout() -> Folder {
    let folder = Folder::new();
    let release = folder.path().join("target/release");
    std::fs::create_dir_all(&release).unwrap();
    std::os::unix::fs::symlink(PROGRAM, release.join("dynamic-mcp")).unwrap();
    folder
}

/// Nobody listens there now; ports that systems hand out come round late.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn run_script(script: &str, folder: &Folder, port: u16) -> String {
    let mut command = beside("sh", folder);
    command.args(["-eu", "-c", &format!("exec 2>&1\n{script}")]);
    let output = command.env("MCP_PORT", port.to_string()).output().unwrap();
    let printed = stdout(&output);
    assert!(output.status.success(), "{script}\n{printed}");
    printed
}

#[test]
fn every_block_of_commands_does_what_is_shown() {
    let (folder, blocks) = (checkout(), blocks());
    let mut server = None;
    let second = free_port();
    for (index, block) in blocks.iter().enumerate() {
        let with_port = |text: &str, port: u16| {
            let text = text.replace("8788", &port.to_string());
            text.replace("8789", &second.to_string())
        };
        let shown = blocks.get(index + 1).filter(|next| next.language == "text");
        let shown = shown.map(|next| next.text.as_str());
        match (block.language.as_str(), block.text.trim()) {
            ("sh", "cargo run --release") => {
                let plain = [("MCP_LOG_LEVEL", "info"), ("MCP_AUDIT_ENABLED", "false")];
                let served: &Server = server.insert(Server::start_in(&folder, &plain));
                let shown = with_port(shown.unwrap(), served.address.port());
                assert_shown(block, &shown, &served.stderr());
            }
            // We are in it.
            ("sh", "tests/run") => {
                let itself = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/run");
                assert!(Path::new(itself).is_file());
            }
            // Run by postgres_servers, which has one.
            ("sh", script) if script.contains("$DATABASE_URL") => {}
            ("sh", script) => {
                let port = server
                    .as_ref()
                    .expect("the server comes first")
                    .address
                    .port();
                let printed = run_script(&with_port(script, port), &folder, port);
                assert_shown(block, &with_port(shown.unwrap(), port), &printed);
            }
            ("text", _) => {
                let before = index.checked_sub(1).map(|before| &blocks[before]);
                assert_eq!(before.unwrap().language, "sh", "README.md:{}", block.line);
            }
            ("json", _) => {}
            // What is no function body is not stored.
            ("js", code) => {
                let tool = json!({ "name": "readme.js", "description": "d", "code": code });
                server.as_ref().unwrap().create(tool);
            }
            (other, _) => panic!("README.md:{}: what is {other:?}?", block.line),
        }
    }
}

#[test]
fn every_example_of_code_gives_what_is_shown() {
    let folder = checkout();
    let server = Server::start_in(&folder, &[]);
    let rows = table("| code | what the caller gets |");
    assert!(rows.len() >= 5);
    for row in rows {
        let [code, expected] = row.as_slice() else {
            panic!("two cells: {row:?}")
        };
        let (arguments, port) = (json!({ "code": code }), server.address.port());
        let line = ["call", "run_js_ephemeral", &arguments.to_string()];
        let output = run(&folder, &[("MCP_PORT", &port.to_string())], &line);
        let got = if output.status.success() {
            let text = stdout(&output);
            let value = text.split_once("\"result\":").map(|(_, value)| value);
            let value = value.and_then(|value| value.rsplit_once(",\"durationMs\""));
            value.map_or(text.trim(), |(value, _)| value).to_owned()
        } else {
            let text = stderr(&output);
            text.trim().trim_start_matches("dynamic-mcp: ").to_owned()
        };
        assert!(matches(expected, &got), "{code}: {expected}, but {got}");
    }
}

#[test]
fn the_kinds_of_failure_are_all_named() {
    let rows = table("| kind | meaning |");
    let named: Vec<_> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(named, FailureKind::ALL.map(FailureKind::as_str));
}

/// Each profile lists what the table says, to those whom it says.
#[test]
fn the_built_ins_are_all_named() {
    let rows = table("| tool | profile | for | what it does |");
    let named = |fits: &dyn Fn(&[String]) -> bool| -> BTreeSet<String> {
        let rows = rows.iter().filter(|row| fits(row));
        rows.flat_map(|row| row[0].split(", "))
            .map(|name| name.trim_matches('`').to_owned())
            .collect()
    };
    let listed = |settings: &[(&str, &str)], reply: &dyn Fn(&Server) -> Value| {
        let list = reply(&Server::start(settings));
        let tools = list["result"]["tools"].as_array().unwrap().clone();
        let names = tools
            .iter()
            .map(|tool| tool["name"].as_str().unwrap().to_owned());
        names.collect::<BTreeSet<_>>()
    };
    let to_admins = |server: &Server| server.rpc("tools/list", &json!({}));
    assert_eq!(listed(&[], &to_admins), named(&|row| row[1] == "both"));
    let enterprise = ("MCP_PROFILE", "enterprise");
    assert_eq!(listed(&[enterprise], &to_admins), named(&|_| true));
    // Who sent a wrong token is no admin, and cannot become one by an argument.
    let to_others = |server: &Server| {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        let fields = [("x-mcp-admin-token", "no-admin-at-all")];
        server.connect().post(&fields, body).json()
    };
    let token = ("MCP_ADMIN_TOKEN", "the-token-of-an-admin");
    let for_others = named(&|row| row[2] == "everybody");
    assert_eq!(listed(&[enterprise, token], &to_others), for_others);
}

#[test]
fn the_settings_are_those_of_the_program() {
    let text = readme();
    let (before, rest) = text.split_once("renews them -->\n").unwrap();
    let (between, after) = rest.split_once("<!-- end of settings -->").unwrap();
    let wanted = format!("\n{}\n", settings_markdown());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let text = format!("{before}renews them -->\n{wanted}<!-- end of settings -->{after}");
        std::fs::write(PATH, text).unwrap();
        return;
    }
    assert!(
        between == wanted,
        "README.md: the settings differ from the program's: run this test with UPDATE_GOLDEN=1"
    );
}

/// Commands that are built must not stand among those that are not, nor the other way round.
#[test]
fn missing_commands_are_named() {
    let text = readme();
    let (_, behind) = text.split_once("- The commands ").unwrap_or(("", ""));
    let sentence = behind.split('.').next().unwrap();
    let named: BTreeSet<_> = sentence
        .split(", ")
        .map(|word| word.trim_matches('`'))
        .collect();
    let missing = COMMANDS
        .iter()
        .filter(|row| row.availability != Availability::Built)
        .map(|row| row.words.split(' ').next().unwrap());
    let missing: BTreeSet<_> = missing.collect();
    assert_eq!(named, missing);
}

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"readme","version":"1"}}}"#;

#[test]
fn every_client_configuration_reaches_a_server() {
    let folder = checkout();
    let server = Server::start_in(&folder, &[]);
    let mut tried = Vec::new();
    for block in blocks().iter().filter(|block| block.language == "json") {
        let parsed: Value = serde_json::from_str(&block.text).unwrap();
        let (container, servers) = parsed.as_object().unwrap().iter().next().unwrap();
        let entry = &servers["dynamic-mcp"];
        let answer = match (entry["url"].as_str(), entry["command"].as_str()) {
            (Some(url), None) => {
                assert_eq!(entry["type"], "http");
                let url = url.replace("8788", &server.address.port().to_string());
                let script =
                    format!("curl -sf {url} -H 'Content-Type: application/json' -d '{INITIALIZE}'");
                run_script(&script, &folder, server.address.port())
            }
            (None, Some(program)) => over_stdio(program, &entry["args"], &folder),
            _ => panic!("README.md:{}: neither url nor command", block.line),
        };
        assert!(
            answer.contains(r#""protocolVersion":"2025-11-25""#),
            "README.md:{}: {answer}",
            block.line
        );
        tried.push(container.clone());
    }
    assert_eq!(tried, ["mcpServers", "servers", "mcpServers"]);
}

/// Starts what a client would start and shakes hands over its pipes.
fn over_stdio(path: &str, arguments: &Value, folder: &Folder) -> String {
    assert!(path.ends_with("/target/release/dynamic-mcp"), "{path}");
    let arguments: Vec<_> = arguments
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a.as_str().unwrap())
        .collect();
    let mut command = beside(PROGRAM, folder);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that ended already takes nothing.
    let _ = writeln!(child.stdin.take().unwrap(), "{INITIALIZE}");
    let output = child.wait_with_output().unwrap();
    stdout(&output)
}
