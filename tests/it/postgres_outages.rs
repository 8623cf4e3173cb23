//! The registry while what its PostgreSQL server stands on fails: its disk, its network, the
//! machine that was the primary. Nothing acknowledged is lost, nothing half-written is seen, and
//! every error says what to do.

use std::time::{Duration, Instant};

use dynamic_mcp::base::ids::random_hex;
use dynamic_mcp::domain::tool::Tool;
use dynamic_mcp::registry::postgres::{PostgresStore, PostgresStoreOptions};
use dynamic_mcp::registry::{ToolStore, Writes};
use serde_json::json;

use crate::postgres_faults::{BACK, PATIENCE, endure, endure_at};
use crate::postgres_servers::{Settings, answers_42, registry_check, tool};
use crate::support::engine::await_that;
use crate::support::http::failure;
use crate::support::postgres::{
    Cluster, definition, fresh_schema, name, options, reload, wait_until,
};
use crate::support::server::{Server, assert_promtool_is_content};

#[test]
fn a_full_disk_of_tables_is_said_and_loses_nothing() {
    let cluster = Cluster::prepared(&[("disk", &["tables", "4m"])], &[]);
    let schema = fresh_schema();
    let stores = [cluster.open(&schema), cluster.open(&schema)];
    let (disk, mut admin) = (cluster.folder().join("tables"), cluster.admin());
    let place = disk.display();
    for statement in [
        format!("CREATE TABLESPACE small LOCATION '{place}'"),
        format!("ALTER TABLE \"{schema}\".dynamic_tools SET TABLESPACE small"),
    ] {
        admin.batch_execute(&statement).unwrap();
    }
    let ballast = disk.join("ballast");
    std::fs::write(&ballast, vec![0; 2 << 20]).unwrap();
    // What no compression makes smaller.
    let long = || format!("// {}", (0..4000).map(|_| random_hex()).collect::<String>());
    let mut acknowledged = Vec::new();
    let error = (0..100)
        .find_map(|round| {
            let code = long();
            let tool = name(&format!("tool-{round}"));
            let made = stores[0].create(tool.clone(), definition(&code));
            made.map(|_| acknowledged.push((tool, code))).err()
        })
        .expect("the disk is never full");
    assert!(
        error.to_string().contains("make room there"),
        "{error} after {}",
        acknowledged.len()
    );
    assert!(acknowledged.len() > 4);
    stores[0].health().unwrap();
    let fresh = cluster.open(&schema);
    for store in stores.iter().chain([&fresh]) {
        let there = |store: &PostgresStore| store.snapshot().tools().len();
        wait_until("heard", BACK, || there(store) == acknowledged.len());
        for (tool, code) in &acknowledged {
            let stored = store.snapshot().tool(tool.as_str()).unwrap().clone();
            assert_eq!(*stored.definition.code, **code);
        }
    }
    std::fs::remove_file(ballast).unwrap();
    stores[1]
        .create(name("after"), definition(&long()))
        .unwrap();
    wait_until("heard", BACK, || {
        stores[0].snapshot().tool("after").is_some()
    });
}

#[test]
fn a_full_disk_of_the_log_ends_the_server_and_loses_nothing() {
    let cluster = Cluster::prepared(&[("disk", &["wal", "16m"])], &[]);
    endure(&cluster, |cluster| {
        let ballast = cluster.folder().join("wal/ballast");
        // Takes what there is, and fails at the end.
        let _ = std::fs::write(&ballast, vec![0; 16 << 20]);
        let mut admin = cluster.admin();
        let step = "CREATE TABLE IF NOT EXISTS filling (x int); INSERT INTO filling VALUES (1); \
                    SELECT pg_switch_wal()";
        let panicked = (0..100).any(|_| admin.batch_execute(step).is_err());
        assert!(panicked, "the log's disk is never full");
        std::thread::sleep(Duration::from_millis(500));
        std::fs::remove_file(ballast).unwrap();
        cluster.act("stop", &["immediate"]);
        cluster.act("start", &[]);
    });
}

#[test]
fn a_cut_network_holds_no_worker_and_heals() {
    let cluster = Cluster::prepared(&[("network", &[])], &[]);
    let settings = Settings::of(&cluster, &fresh_schema());
    let server = Server::start(&settings.pairs());
    server.create(tool("before.it")["tool"].clone());
    await_that("ready", || registry_check(&server).0 == 200);

    cluster.act("unplug", &[]);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for index in 0..16 {
            let server = &server;
            scope.spawn(move || {
                let name = format!("during.it{index}");
                let refused = failure(&server.call("dynamic.tool.create", tool(&name)));
                let reasons = ["does not answer", "cannot be reached", "other writers"];
                let told = reasons.iter().any(|reason| refused.contains(reason));
                assert!(told, "{refused}");
            });
        }
        // Meanwhile everything that needs no database goes on.
        await_that("the check", || {
            let slow = Instant::now();
            assert!(answers_42(&server, "before.it"));
            let listed = server.rpc("tools/list", &json!({}));
            assert!(listed["result"]["tools"].is_array(), "{listed}");
            assert!(slow.elapsed() < PATIENCE);
            registry_check(&server).0 == 503
        });
    });
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    let (_, detail) = registry_check(&server);
    assert!(
        detail.starts_with("the registry cannot be used: "),
        "{detail}"
    );
    assert!(!detail.contains("10."), "{detail}");
    let dead = server.metric("dynamic_mcp_registry_listener_connected ");
    assert_eq!(dead, 0.0, "nobody hears through a cut");

    cluster.act("plug", &[]);
    await_that("ready again", || registry_check(&server).0 == 200);
    await_that("writes again", || {
        let made = server.call("dynamic.tool.create", tool("after.it"));
        made.get("isError").is_none()
    });
    let metric = |series: &str| server.metric(&format!("dynamic_mcp_{series} "));
    assert_promtool_is_content(&server.get("/metrics").text());
    await_that("heard again", || {
        metric("registry_listener_connected") == 1.0
    });
    assert_eq!(metric("postgres_pool_waiting"), 0.0);
    assert!(metric("postgres_pool_connections{state=\"idle\"}") >= 1.0);
}

#[test]
fn after_a_failover_what_was_acknowledged_is_there_and_writes_go_on() {
    let primary = Cluster::own(&[]);
    let standby = Cluster::standby_of(&primary);
    reload(&primary, "synchronous_standby_names = '*'");
    let mut admin = primary.admin();
    wait_until("synchronous", BACK, || {
        let synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        let count: i64 = admin.query_one(synchronous, &[]).unwrap().get(0);
        count == 1
    });
    drop(admin);
    let url = format!(
        "postgres://postgres:postgres@127.0.0.1:{},127.0.0.1:{}/postgres?\
         target_session_attrs=read-write",
        primary.port, standby.port
    );

    // What no standby has is not acknowledged.
    let store = PostgresStore::open(options(&url, &fresh_schema())).unwrap();
    standby.act("pause", &[]);
    let error = store
        .create(name("alone"), definition("return 1"))
        .unwrap_err();
    assert!(error.to_string().contains("did not confirm"), "{error}");
    assert!(store.snapshot().tool("alone").is_none());
    standby.act("resume", &[]);
    wait_until("confirmed", BACK, || {
        store.snapshot().tool("alone").is_some()
    });

    endure_at(&url, || {
        primary.act("stop", &["kill"]);
        standby.act("promote", &[]);
    });
    store.create(name("later"), definition("return 1")).unwrap();
}

/// A standby that follows no longer, in the state that `tools` of that schema say.
fn cut_standby_of(primary: &Cluster, schema: &str, tools: i64) -> Cluster {
    let standby = Cluster::standby_of(primary);
    let mut admin = standby.admin();
    let count = format!("SELECT count(*) FROM \"{schema}\".dynamic_tools");
    wait_until("followed", BACK, || {
        admin.query_one(&count, &[]).unwrap().get::<_, i64>(0) == tools
    });
    reload(&standby, "primary_conninfo = ''");
    wait_until("cut", BACK, || {
        let receivers = "SELECT count(*) FROM pg_stat_wal_receiver";
        admin.query_one(receivers, &[]).unwrap().get::<_, i64>(0) == 0
    });
    standby
}

/// `standby` is found where `primary` was, which is lost with what only it had.
fn takes_over(standby: &Cluster, primary: &Cluster) {
    primary.act("stop", &["kill"]);
    standby.act("stop", &[]);
    std::fs::write(standby.folder().join("port"), primary.port.to_string()).unwrap();
    standby.act("start", &[]);
}

#[test]
fn after_a_failover_that_lost_changes_the_tools_are_what_the_database_holds() {
    let (primary, schema) = (Cluster::own(&[]), fresh_schema());
    let store = primary.open(&schema);
    let to = |code: &'static str| move |_: &Tool| Ok(definition(code));
    store.create(name("kept"), definition("return 1")).unwrap();
    let standby = cut_standby_of(&primary, &schema, 1);
    let kept = name("kept");
    store.update(&kept, None, &mut to("lost")).unwrap();
    store.create(name("gone"), definition("lost")).unwrap();

    // As many changes, in transactions of the same numbers, before the store comes back.
    standby.act("promote", &[]);
    let other = standby.open(&schema);
    other.update(&kept, None, &mut to("return 2")).unwrap();
    other.create(name("new"), definition("return 3")).unwrap();
    takes_over(&standby, &primary);
    let held = || primary.open(&schema).snapshot().tools().to_vec();
    let held = held();
    wait_until("the truth", BACK, || store.snapshot().tools() == held);
    wait_until("healthy", BACK, || store.health().is_ok());
    store.create(name("gone"), definition("return 4")).unwrap();
    store.update(&kept, Some(2), &mut to("return 5")).unwrap();
    assert_eq!(
        store.snapshot().tools(),
        primary.open(&schema).snapshot().tools()
    );
}

#[test]
fn a_standby_that_lags_takes_no_change_back_until_it_is_the_primary() {
    let (primary, schema) = (Cluster::own(&[]), fresh_schema());
    let writer = primary.open(&schema);
    let standby = cut_standby_of(&primary, &schema, 0);
    writer.create(name("seen"), definition("return 1")).unwrap();
    let reader = PostgresStoreOptions {
        read_only: true,
        ..primary.options(&schema)
    };
    let reader = PostgresStore::open(reader).unwrap();
    drop(writer);
    takes_over(&standby, &primary);
    wait_until("not vouched for", BACK, || {
        let error = reader.health().err().map(|error| error.to_string());
        error.is_some_and(|error| error.contains("were not heard"))
    });
    assert!(reader.snapshot().tool("seen").is_some());
    standby.act("promote", &[]);
    wait_until("healthy", BACK, || reader.health().is_ok());
    assert_eq!(reader.snapshot().tools(), []);
}

#[test]
fn on_a_standby_alone_reads_go_on_and_writes_say_what_to_do() {
    let (primary, schema) = (Cluster::own(&[]), fresh_schema());
    let writer = Server::start(&Settings::of(&primary, &schema).pairs());
    writer.create(tool("before.it")["tool"].clone());
    let standby = Cluster::standby_of(&primary);
    let mut settings = Settings::of(&standby, &schema);
    let reader = Server::start(&settings.pairs());
    assert!(answers_42(&reader, "before.it"));
    let refused = failure(&reader.call("dynamic.tool.create", tool("during.it")));
    assert!(
        refused.contains("takes no writes") && refused.contains("target_session_attrs=read-write"),
        "{refused}"
    );
    await_that("the check", || {
        let (status, detail) = registry_check(&reader);
        status == 503 && detail.contains("takes no writes")
    });
    settings
        .0
        .push(("MCP_DYNAMIC_READ_ONLY", "true".to_owned()));
    let content = Server::start(&settings.pairs());
    await_that("ready", || registry_check(&content).0 == 200);
    writer.create(tool("later.on")["tool"].clone());
    for server in [&reader, &content] {
        wait_until("heard", BACK, || answers_42(server, "later.on"));
    }
    // It becomes the primary, and nobody has to be started again.
    drop(writer);
    primary.act("stop", &["kill"]);
    standby.act("promote", &[]);
    await_that("writes", || {
        let made = reader.call("dynamic.tool.create", tool("made.here"));
        made.get("isError").is_none()
    });
    wait_until("heard", BACK, || answers_42(&content, "made.here"));
    await_that("ready", || registry_check(&reader).0 == 200);
}
