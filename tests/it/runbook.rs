//! The runbook is run: every block of commands marked `sh`, in its order, against a real database
//! and server. What needs a stack or a cluster is read for what the repository has.

use std::path::Path;
use std::process::Command;

use dynamic_mcp::cli::args::COMMANDS;
use serde_json::json;

use crate::support::daemons::succeeded;
use crate::support::manifests::{CHECKOUT, path, text};
use crate::support::postgres::Cluster;
use crate::support::server::{Folder, PROGRAM, Server, beside, stdout};

/// The fenced blocks of this language.
fn blocks(language: &str) -> Vec<String> {
    let page = text("deploy/production-runbook.md");
    let opening = format!("\n```{language}\n");
    let parts = page.split(&opening).skip(1);
    parts
        .map(|part| part.split("\n```\n").next().unwrap().to_owned())
        .collect()
}

/// A checkout with the program on PATH, as a person has it who follows the page.
fn checkout(folder: &Folder) -> String {
    let copy = format!(
        "mkdir bin audit && ln -s {PROGRAM} bin/dynamic-mcp && cp -r {CHECKOUT}/deploy deploy && \
         rm -rf deploy/secrets"
    );
    let copied = beside("sh", folder).args(["-c", &copy]).output().unwrap();
    succeeded(&copy, &copied);
    let own = folder.path().join("bin").display().to_string();
    format!("{own}:{}", std::env::var("PATH").unwrap())
}

/// What a schema may have that a backup knows nothing of, and that needs what the backup has.
const OF_A_LATER_VERSION: &str = "CREATE TABLE dynamic_mcp.later (); \
    CREATE TRIGGER later AFTER INSERT ON dynamic_mcp.later \
    EXECUTE FUNCTION dynamic_mcp.dynamic_tools_changed()";

fn run_sql(cluster: &Cluster, sql: &str) {
    let psql = Command::new("psql")
        .args([cluster.url().as_str(), "--quiet", "--command", sql])
        .output();
    succeeded(sql, &psql.unwrap());
}

#[test]
fn every_block_of_commands_works() {
    let (cluster, folder) = (Cluster::own(&[]), Folder::new());
    let search_path = checkout(&folder);
    let url = format!("{}?sslmode=disable", cluster.url());
    let audit = folder.path().join("audit");
    let log = audit.join("audit.log").display().to_string();
    let settings = [
        ("MCP_DYNAMIC_BACKEND", "postgres"),
        ("MCP_DYNAMIC_PG_URL", url.as_str()),
        ("MCP_AUDIT_ENABLED", "true"),
        ("MCP_AUDIT_FILE", &log),
    ];
    let mut server: Option<Server> = None;
    let blocks = blocks("sh");
    assert!(blocks.len() >= 12);
    for block in &blocks {
        let port = server.as_ref().map_or(0, |server| server.address.port());
        let mut command = beside("bash", &folder);
        command
            .args(["-euo", "pipefail", "-c", block])
            .envs(settings)
            .env("PATH", &search_path)
            .env("DATABASE_URL", cluster.url())
            .env("AUDIT_DIR", &audit)
            .env("MCP_PORT", port.to_string());
        if block.contains("DROP SCHEMA") {
            run_sql(&cluster, OF_A_LATER_VERSION);
        }
        let output = command.output().unwrap();
        succeeded(block, &output);
        if block.contains("DROP SCHEMA") {
            // It is not there any more.
            run_sql(&cluster, "CREATE TABLE dynamic_mcp.later ()");
            run_sql(&cluster, "DROP TABLE dynamic_mcp.later");
        }
        // The tables are there from then on.
        if block.contains("dynamic-mcp migrate") {
            let served = server.insert(Server::start_in(&folder, &settings));
            served
                .create(json!({ "name": "suspect.tool", "description": "d", "code": "return 1" }));
        }
        if block.contains("-checkend") {
            assert_eq!(
                stdout(&output).matches("ends soon").count(),
                0,
                "{}",
                stdout(&output)
            );
        }
    }
    let server = server.unwrap();
    let call = json!({ "name": "suspect.tool", "arguments": { "args": {} } });
    let refused = server.rpc("tools/call", &call);
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(
        read("suspect.json").contains("\"code\""),
        "{}",
        read("suspect.json")
    );
    for action in ["dynamic.tool.create", "dynamic.tool.disable"] {
        assert!(read("suspect.jsonl").contains(action), "{action}");
    }
    assert!(read("verified.txt").starts_with("whole: "));
}

#[test]
fn what_needs_a_cluster_names_what_there_is() {
    let blocks = blocks("console");
    assert!(blocks.len() >= 4);
    for block in blocks {
        let parsed = Command::new("sh").args(["-n", "-c", &block]).output();
        succeeded(&block, &parsed.unwrap());
        for word in block
            .split_whitespace()
            .filter(|word| word.starts_with("deploy/"))
        {
            let made = word.starts_with("deploy/secrets");
            assert!(made || path(word).exists(), "{word}");
        }
        for (_, rest) in block
            .match_indices("dynamic-mcp ")
            .map(|(at, _)| block.split_at(at))
        {
            let line = rest.lines().next().unwrap();
            let known = |words: &str| line.starts_with(&format!("dynamic-mcp {words}"));
            let ours = COMMANDS.iter().any(|row| known(row.words));
            let theirs = rest.len() < block.len() && !block.contains("\ndynamic-mcp ");
            assert!(ours || theirs, "{line}");
        }
    }
}

#[test]
fn links_of_the_runbook_lead_somewhere() {
    let page = text("deploy/production-runbook.md");
    let anchors: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .replace(' ', "-")
        })
        .collect();
    for (_, rest) in page
        .match_indices("](")
        .map(|(at, _)| page.split_at(at + 2))
    {
        let target = rest.split(')').next().unwrap();
        match target.strip_prefix('#') {
            Some(anchor) => assert!(anchors.iter().any(|one| one == anchor), "#{anchor}"),
            None => assert!(
                Path::new(CHECKOUT).join("deploy").join(target).exists(),
                "{target}"
            ),
        }
    }
}
