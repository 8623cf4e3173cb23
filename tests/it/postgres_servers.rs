//! Servers and commands on a registry in PostgreSQL. Code runs in the jail, so that only the
//! database is in question.

use std::time::{Duration, Instant};

use dynamic_mcp::registry::ToolStore as _;
use serde_json::{Value, json};

use crate::readme;
use crate::support::daemon;
use crate::support::engine::{await_that, owned_by};
use crate::support::http::{JSON, call_body, failure};
use crate::support::postgres::{Cluster, fresh_schema, wait_until};
use crate::support::server::{Folder, Server, beside, run, stderr, stdout};

/// As the original writes it.
const ORIGINAL: &str = r#"{"version":1,"tools":[{"name":"math.add","title":"Add",
    "description":"Adds","image":"node:lts-slim","timeoutMs":30000,"dependencies":[],
    "code":"return args.a + args.b","enabled":true,"createdAt":"2026-02-13T09:30:00.123Z",
    "updatedAt":"2026-02-14T10:00:00.000Z","revision":3}]}"#;

/// The settings of a server on that schema.
pub(crate) struct Settings(pub(crate) Vec<(&'static str, String)>);

impl Settings {
    pub(crate) fn of(cluster: &Cluster, schema: &str) -> Self {
        Self(vec![
            ("MCP_DYNAMIC_BACKEND", "postgres".to_owned()),
            (
                "MCP_DYNAMIC_PG_URL",
                format!("{}?sslmode=disable", cluster.url()),
            ),
            ("MCP_DYNAMIC_PG_SCHEMA", schema.to_owned()),
            ("MCP_DYNAMIC_PG_INIT_BACKOFF_MS", "50".to_owned()),
            ("MCP_EXECUTION_ENGINE", "node".to_owned()),
            ("PATH", std::env::var("PATH").unwrap()),
        ])
    }

    pub(crate) fn pairs(&self) -> Vec<(&str, &str)> {
        let pairs = self.0.iter();
        pairs.map(|(key, value)| (*key, value.as_str())).collect()
    }
}

pub(crate) fn tool(name: &str) -> Value {
    json!({ "tool": { "name": name, "description": "d", "code": "return 42" } })
}

pub(crate) fn registry_check(server: &Server) -> (u16, String) {
    let (status, checks) = server.readiness();
    let detail = checks["registry"]["detail"].as_str().unwrap().to_owned();
    (status, detail)
}

pub(crate) fn answers_42(server: &Server, name: &str) -> bool {
    let answer = server.rpc("tools/call", &json!({ "name": name, "arguments": {} }));
    answer["result"]["structuredContent"]["result"] == 42
}

#[test]
fn any_replica_serves_any_request_and_an_outage_stops_only_changes() {
    let (cluster, schema) = (Cluster::own(&[]), fresh_schema());
    let settings = Settings::of(&cluster, &schema);
    let (one, other) = (
        Server::start(&settings.pairs()),
        Server::start(&settings.pairs()),
    );
    let mut admin = cluster.admin();
    let instances = format!("SELECT count(*) FROM \"{schema}\".dynamic_instances");
    let mut instances = || -> i64 { admin.query_one(&instances, &[]).unwrap().get(0) };
    assert_eq!(instances(), 2);

    let made = one.call("dynamic.tool.create", tool("made.on.one"));
    assert_eq!(made.get("isError"), None, "{made}");
    // Five times what it may take.
    wait_until("callable on the other", Duration::from_secs(5), || {
        answers_42(&other, "made.on.one")
    });

    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}});
    let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    let reply = one.connect().post(&[], &body.to_string());
    let session = reply.header("Mcp-Session-Id").unwrap().to_owned();
    let ping = r#"{"jsonrpc":"2.0","id":5,"method":"ping"}"#;
    let fields = [("Mcp-Session-Id", session.as_str())];
    assert_eq!(other.connect().post(&fields, ping).status, 200);
    let deleted = one.connect().exchange("DELETE", "/mcp", &fields, b"");
    assert!(deleted.status < 300, "{deleted:?}");
    await_that("its end on the other", || {
        other.connect().post(&fields, ping).status == 404
    });

    cluster.act("pause", &[]);
    await_that("the check", || registry_check(&other).0 == 503);
    let (_, detail) = registry_check(&other);
    assert_eq!(
        detail,
        "the registry cannot be used: the database does not answer"
    );
    let began = Instant::now();
    let refused = failure(&other.call("dynamic.tool.create", tool("made.on.other")));
    assert!(refused.contains("database does not answer"), "{refused}");
    assert!(began.elapsed() < Duration::from_secs(35));
    let called = other.call("made.on.one", json!({}));
    assert_eq!(called["structuredContent"]["result"], 42, "{called}");
    cluster.act("resume", &[]);
    await_that("ready again", || {
        registry_check(&other) == (200, "postgres".to_owned())
    });
    await_that("writes again", || {
        let made = other.call("dynamic.tool.create", tool("made.on.other"));
        made.get("isError").is_none()
    });
    await_that("heard", || answers_42(&one, "made.on.other"));
    drop((one, other));
    assert_eq!(instances(), 0, "who ended well is not remembered");
}

#[test]
fn a_registry_is_migrated_imported_and_exported_by_commands() {
    let (cluster, schema, folder) = (Cluster::shared(), fresh_schema(), Folder::new());
    let settings = Settings::of(&cluster, &schema);
    let command = |line: &[&str]| {
        let output = run(&folder, &settings.pairs(), line);
        let code = output.status.code().unwrap();
        (code, stdout(&output) + &stderr(&output))
    };
    let (code, text) = command(&["tools", "export"]);
    assert!(
        code == 1 && text.contains("run dynamic-mcp migrate"),
        "{text}"
    );
    let migrated = (0, "the schema went from version 0 to 6\n".to_owned());
    assert_eq!(command(&["migrate"]), migrated);
    let again = (0, "the schema is at version 6 already\n".to_owned());
    assert_eq!(command(&["migrate"]), again);

    std::fs::write(folder.path().join("old.json"), ORIGINAL).unwrap();
    let import = |line: &[&str]| command(&[&["tools", "import", "old.json"], line].concat());
    let counted = |text: &str| (0, format!("{text}\n"));
    assert_eq!(
        import(&[]),
        counted("1 tool added, 0 replaced, 0 unchanged")
    );
    assert_eq!(
        import(&[]),
        counted("0 tools added, 0 replaced, 1 unchanged")
    );
    assert_eq!(
        command(&["tools", "export", "new.json"]),
        counted("1 tool exported")
    );
    let (code, text) = command(&["tools", "export", "new.json"]);
    assert!(code == 1 && text.contains("exists"), "{text}");
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let exported = std::fs::read_to_string(folder.path().join("new.json")).unwrap();
    assert_eq!(read(&exported), read(ORIGINAL));
    assert_eq!(command(&["tools", "export"]), (0, exported));

    let changed = ORIGINAL.replace("args.a +", "args.a -");
    std::fs::write(folder.path().join("old.json"), changed).unwrap();
    let (code, text) = import(&[]);
    assert!(
        code == 1 && text.contains("others named math.add"),
        "{text}"
    );
    let (code, _) = import(&["over"]);
    assert_eq!(code, 2);
    assert_eq!(
        import(&["replace"]),
        counted("0 tools added, 1 replaced, 0 unchanged")
    );
    // And into a file, which is the default.
    let output = run(&folder, &[], &["tools", "import", "new.json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let output = run(&folder, &[], &["tools", "export"]);
    assert_eq!(read(&stdout(&output)), read(ORIGINAL));
    let output = run(&folder, &[], &["migrate"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_killed_replica_s_containers_are_cleared_away_and_a_lost_one_s_run_on() {
    let (cluster, schema) = (Cluster::shared(), fresh_schema());
    let mut settings = Settings::of(&cluster, &schema);
    settings
        .0
        .retain(|(name, _)| *name != "MCP_EXECUTION_ENGINE");
    settings.0.push(("MCP_SANDBOX_WARM_POOL", "1".to_owned()));
    let survivor = Server::start(&settings.pairs());
    let mut admin = cluster.admin();
    let instances = format!("SELECT id FROM \"{schema}\".dynamic_instances ORDER BY started_at");
    let mut instances = || -> Vec<String> {
        let rows = admin.query(&instances, &[]).unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };
    let mut killed = Server::start(&settings.pairs());
    let role = fresh_schema();
    let as_superuser = |sql: &str| cluster.admin().batch_execute(sql).unwrap();
    as_superuser(&format!("CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'x'"));
    let url = format!("{}?sslmode=disable", cluster.url_of(&role, "x"));
    let own_url = settings.pairs().into_iter();
    let own_url = own_url.filter(|(name, _)| *name != "MCP_DYNAMIC_PG_URL");
    let own_url: Vec<_> = own_url.chain([("MCP_DYNAMIC_PG_URL", &*url)]).collect();
    let lost = Server::start(&own_url);
    let [of_survivor, of_killed, of_lost] = instances().try_into().unwrap();
    let never = json!({ "code": "await new Promise(r => setTimeout(r, 6e5))" });
    let body = call_body("run_js_ephemeral", &never);
    let mut running = [killed.connect(), lost.connect()];
    for connection in &mut running {
        connection.request("POST", "/mcp", &[JSON], body.as_bytes());
    }
    let owned = |id: &str| owned_by(&daemon(), id).len();
    await_that("the runs and the pools", || {
        owned(&of_killed) >= 2 && owned(&of_lost) >= 2 && owned(&of_survivor) >= 1
    });
    killed.kill();
    // The other only loses the database.
    as_superuser(&format!(
        "ALTER ROLE {role} NOLOGIN;
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
    ));
    // As if half a minute were over for both.
    let age = format!(
        "UPDATE \"{schema}\".dynamic_instances \
         SET renewed_at = renewed_at - interval '1 minute' WHERE id IN ($1, $2)"
    );
    let aged = cluster.admin().execute(&age, &[&of_killed, &of_lost]);
    assert_eq!(aged.unwrap(), 2);
    assert!(owned(&of_killed) >= 2, "nobody clears away at once");
    // The survivor must have lived as long itself, and looks every half minute.
    let mut expected = [of_survivor.clone(), of_lost.clone()];
    expected.sort();
    wait_until("cleared away", Duration::from_secs(200), || {
        let mut known = instances();
        known.sort();
        owned(&of_killed) == 0 && known == expected
    });
    assert!(owned(&of_survivor) >= 1 && owned(&of_lost) >= 2);
    let reaped = survivor.metric("dynamic_mcp_containers_reaped_total ");
    assert!(reaped >= 2.0, "{reaped}");
    assert_eq!(survivor.value("return 1"), 1);
    assert_eq!(lost.value("return 1"), 1);
    as_superuser(&format!("ALTER ROLE {role} LOGIN"));
    await_that("found again", || registry_check(&lost).0 == 200);
}

#[test]
fn the_readme_s_backup_is_restored_under_a_running_server() {
    let (cluster, folder) = (Cluster::own(&[]), Folder::new());
    let scripts = readme::blocks().into_iter().map(|block| block.text);
    let scripts: Vec<_> = scripts
        .filter(|text| text.contains("$DATABASE_URL"))
        .collect();
    let [backup, restore] = scripts.try_into().unwrap();
    let act = |script: &str| {
        let mut command = beside("sh", &folder);
        command.args(["-eu", "-c", &format!("exec 2>&1\n{script}")]);
        let output = command.env("DATABASE_URL", cluster.url()).output().unwrap();
        let code = output.status.code();
        assert_eq!((code, stdout(&output)), (Some(0), String::new()));
    };
    let server = Server::start(&Settings::of(&cluster, "dynamic_mcp").pairs());
    server.create(tool("kept.one")["tool"].clone());
    server.create(tool("kept.two")["tool"].clone());
    act(&backup);
    let deleted = server.call("dynamic.tool.delete", json!({ "name": "kept.one" }));
    assert_eq!(deleted.get("isError"), None, "{deleted}");
    server.create(tool("too.late")["tool"].clone());
    act(&restore);
    await_that("the state of the backup", || {
        answers_42(&server, "kept.one") && !answers_42(&server, "too.late")
    });
    assert!(answers_42(&server, "kept.two"));
    server.create(tool("after.it")["tool"].clone());
    await_that("ready", || registry_check(&server).0 == 200);
    let fresh = cluster.open("dynamic_mcp");
    let names = fresh.snapshot();
    let names: Vec<_> = names
        .tools()
        .iter()
        .map(|tool| tool.name.as_str())
        .collect();
    assert_eq!(names, ["after.it", "kept.one", "kept.two"]);
}
