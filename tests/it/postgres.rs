//! The registry in PostgreSQL as its users see it: any number of stores on one real server.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use dynamic_mcp::domain::asking::ClientCapability;
use dynamic_mcp::domain::entry::Dependency;
use dynamic_mcp::domain::entry::Kind;
use dynamic_mcp::domain::json::JsonText;
use dynamic_mcp::domain::tool::{Definition, Tool};
use dynamic_mcp::registry::document::{self, Extras};
use dynamic_mcp::registry::postgres::{self, PostgresStore, PostgresStoreOptions};
use dynamic_mcp::registry::{Imported, OnCollision, StoreError, ToolStore, Writes};

use crate::support::postgres::{Cluster, definition, fresh_schema, name, options, wait_until};

/// Five times what hearing of a change may take.
const HEARD: Duration = Duration::from_secs(5);

fn names(store: &PostgresStore) -> Vec<String> {
    let snapshot = store.snapshot();
    let tools = snapshot.tools().iter();
    tools.map(|tool| tool.name.to_string()).collect()
}

/// Runs `act` with each of `0..count`, all at the same moment.
fn at_once<T: Send>(count: usize, act: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(count);
    std::thread::scope(|scope| {
        let start = |index| {
            let (barrier, act) = (&barrier, &act);
            scope.spawn(move || {
                barrier.wait();
                act(index)
            })
        };
        let threads: Vec<_> = (0..count).map(start).collect();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap());
        joined.collect()
    })
}

#[test]
fn ten_replicas_migrate_an_empty_database_at_once() {
    let (cluster, schema) = (Cluster::shared(), fresh_schema());
    let stores = at_once(10, |_| cluster.open(&schema));
    let mut admin = cluster.admin();
    let query = format!("SELECT version FROM \"{schema}\".dynamic_schema_migrations ORDER BY 1");
    let versions: Vec<i32> = admin
        .query(&query, &[])
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(versions, [1, 2, 3, 4, 5, 6]);
    stores[0]
        .create(name("abc"), definition("return 1"))
        .unwrap();
    for store in &stores {
        wait_until("heard", HEARD, || names(store) == ["abc"]);
    }
}

#[test]
fn the_original_s_table_is_adopted_as_it_stands() {
    let (cluster, schema) = (Cluster::shared(), fresh_schema());
    let mut admin = cluster.admin();
    let created = "2026-02-13T09:30:00.123456+00";
    admin
        .batch_execute(&format!(
            "CREATE SCHEMA \"{schema}\"; SET search_path TO \"{schema}\";
             CREATE TABLE dynamic_tools (
                 name TEXT PRIMARY KEY, title TEXT, description TEXT NOT NULL,
                 image TEXT NOT NULL, timeout_ms INTEGER NOT NULL,
                 dependencies JSONB NOT NULL DEFAULT '[]'::jsonb, code TEXT NOT NULL,
                 enabled BOOLEAN NOT NULL DEFAULT TRUE,
                 created_at TIMESTAMPTZ NOT NULL, updated_at TIMESTAMPTZ NOT NULL,
                 revision INTEGER NOT NULL DEFAULT 1);
             INSERT INTO dynamic_tools VALUES
                 ('math.add', 'Add', 'Adds', 'node:lts-slim', 30000,
                  '[{{\"name\": \"lodash\", \"version\": \"^4\"}}]', 'return 1', true,
                  '{created}', '{created}', 7),
                 ('x', NULL, 'too short a name', 'i', 30000, '[]', 'return 2', true,
                  '{created}', '{created}', 1)"
        ))
        .unwrap();
    let store = cluster.open(&schema);
    assert_eq!(
        names(&store),
        ["math.add"],
        "what breaks a rule stays and is not served"
    );
    let tool = store.snapshot().tool("math.add").unwrap().clone();
    assert_eq!(
        (tool.revision, tool.created_at.as_str()),
        (7, "2026-02-13T09:30:00.123456Z")
    );
    let lodash = Dependency {
        name: "lodash".to_owned(),
        version: "^4".to_owned(),
    };
    assert_eq!(tool.definition.dependencies, [lodash]);
    let same = &mut |tool: &_| Ok(Definition::clone(&Tool::clone(tool).definition));
    assert_eq!(store.update(&tool.name, Some(7), same).unwrap().revision, 8);
    // The original, still running, goes on writing its own columns.
    admin
        .batch_execute(
            "INSERT INTO dynamic_tools VALUES ('old.one', NULL, 'd', 'i', 30000, '[]', 'return 3',
             true, now(), now(), 1)",
        )
        .unwrap();
    wait_until("heard", HEARD, || names(&store) == ["math.add", "old.one"]);
    let taken = store.create(name("old_one"), definition("1")).unwrap_err();
    assert!(matches!(taken, StoreError::NameTaken { .. }), "{taken}");
    let count: i64 = admin
        .query_one("SELECT count(*) FROM dynamic_tools", &[])
        .unwrap()
        .get(0);
    assert_eq!(count, 3);
}

#[test]
fn a_schema_of_another_version_is_refused_with_both_versions() {
    let (cluster, schema) = (Cluster::shared(), fresh_schema());
    drop(cluster.open(&schema));
    let mut admin = cluster.admin();
    let mut refused = |sql: &str, expected: &str| {
        let table = format!("\"{schema}\".dynamic_schema_migrations");
        admin.batch_execute(&sql.replace("TABLE", &table)).unwrap();
        let error = PostgresStore::open(cluster.options(&schema)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    refused(
        "INSERT INTO TABLE VALUES (12, '0012_later', 'x')",
        "schema is at version 12, and this server knows only version 6",
    );
    refused(
        "DELETE FROM TABLE WHERE version = 12; UPDATE TABLE SET checksum = 'x' WHERE version = 2",
        "migration 2 of the database's schema is not the one",
    );
}

#[test]
fn a_hundred_creates_at_once_at_a_limit_of_fifty_make_fifty() {
    let (cluster, schema) = (Cluster::shared(), fresh_schema());
    let limited = PostgresStoreOptions {
        max_tools: 50,
        ..cluster.options(&schema)
    };
    let stores: Vec<_> = (0..4)
        .map(|_| PostgresStore::open(limited.clone()).unwrap())
        .collect();
    let outcomes = at_once(100, |index| {
        let store = &stores[index % 4];
        loop {
            // A machine under load may make some wait too long: they say so, and try again. Whoever
            // heard nothing of its success finds its own tool there.
            match store.create(name(&format!("tool-{index}")), definition("return 1")) {
                Err(StoreError::Busy { .. } | StoreError::Unusable { .. }) => {}
                Ok(_) | Err(StoreError::AlreadyExists { .. }) => return None,
                Err(error) => return Some(error),
            }
        }
    });
    let refused: Vec<_> = outcomes.into_iter().flatten().collect();
    assert_eq!(
        refused,
        vec![
            StoreError::Full {
                kind: Kind::Tool,
                limit: 50
            };
            50
        ]
    );
    for store in &stores {
        wait_until("all fifty", HEARD, || names(store).len() == 50);
    }
}

#[test]
fn of_two_names_of_one_spelling_made_at_once_one_is_refused() {
    let (cluster, schema) = (Cluster::shared(), fresh_schema());
    let stores = [cluster.open(&schema), cluster.open(&schema)];
    for round in 0..10 {
        let outcomes = at_once(2, |index| {
            let text = format!("a{}{round}", [".", "_"][index]);
            stores[index].create(name(&text), definition("return 1"))
        });
        let refused: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
        assert!(
            matches!(refused[..], [StoreError::NameTaken { .. }]),
            "round {round}: {refused:?}"
        );
    }
}

#[test]
fn writes_are_kept_byte_for_byte_and_conditional_on_the_revision() {
    let (cluster, schema) = (Cluster::shared(), fresh_schema());
    let (one, other) = (cluster.open(&schema), cluster.open(&schema));
    let text = r#"{"type" : "object", "b":{"maximum":1.0}, "a":"\u0000"}"#;
    let json = |text: &str| Some(JsonText::parse(text.to_owned()).unwrap());
    let whole = Definition {
        title: Some("Ünïcode 🦀".to_owned()),
        image: Some("node:lts-slim".to_owned()),
        dependencies: vec![Dependency {
            name: "lodash".to_owned(),
            version: "^4".to_owned(),
        }],
        input_schema: json(text),
        output_schema: json("{ }"),
        annotations: json("{\"x\":1.50}"),
        requires_client_capabilities: ClientCapability::ALL.into(),
        enabled: false,
        ..definition("return `\\u{0}\n\t'\"$1`")
    };
    let made = one.create(name("a.b"), whole.clone()).unwrap();
    assert_eq!((made.revision, &made.definition), (1, &whole));
    wait_until("heard", HEARD, || names(&other) == ["a.b"]);
    assert_eq!(other.snapshot().tool("a.b").unwrap(), &made);
    let again = one.create(name("a.b"), whole.clone()).unwrap_err();
    assert_eq!(
        again,
        StoreError::AlreadyExists {
            kind: Kind::Tool,
            name: name("a.b")
        }
    );

    let mut change = |_: &_| Ok(definition("return 2"));
    let changed = other.update(&name("a.b"), Some(1), &mut change).unwrap();
    assert_eq!(
        (changed.revision, &changed.created_at),
        (2, &made.created_at)
    );
    // `one` may not have heard of it yet: the database decides.
    let lost = one.update(&name("a.b"), Some(1), &mut change).unwrap_err();
    let expected = "Revision conflict for dynamic tool \"a.b\": expected 1, current 2.";
    assert_eq!(lost.to_string(), expected);
    assert_eq!(one.snapshot().tool("a.b").unwrap(), &changed);

    let nul = one.create(name("nul"), definition("a\0b")).unwrap_err();
    assert!(
        nul.to_string().starts_with("code must not contain U+0000"),
        "{nul}"
    );
    let missing = one.delete::<Definition>(&name("nil"), None).unwrap_err();
    assert_eq!(
        missing,
        StoreError::NotFound {
            kind: Kind::Tool,
            name: name("nil")
        }
    );
    assert_eq!(one.delete(&name("a.b"), Some(2)).unwrap(), changed);
    wait_until("heard", HEARD, || names(&other).is_empty());
}

#[test]
fn a_change_reaches_the_other_replica_in_time() {
    let (cluster, schema) = (Cluster::shared(), fresh_schema());
    let (one, other) = (cluster.open(&schema), cluster.open(&schema));
    let mut slowest = Duration::ZERO;
    for round in 0..20 {
        let seen = other.snapshot().generation();
        let began = Instant::now();
        one.create(name(&format!("tool-{round}")), definition("return 1"))
            .unwrap();
        let newer = other.wait_newer(seen, HEARD);
        assert_eq!(newer.tools().len(), round + 1);
        slowest = slowest.max(began.elapsed());
    }
    eprintln!("slowest of 20: {slowest:?} from the call to the other replica");
    assert!(slowest < HEARD, "{slowest:?}");
}

#[test]
fn a_lock_held_by_others_is_busy_and_reads_go_on() {
    let (cluster, schema) = (Cluster::shared(), fresh_schema());
    let store = cluster.open(&schema);
    store.create(name("abc"), definition("return 1")).unwrap();
    let mut admin = cluster.admin();
    let mut transaction = admin.transaction().unwrap();
    transaction
        .batch_execute(&format!(
            "LOCK TABLE \"{schema}\".dynamic_tools, \
             \"{schema}\".dynamic_registry_state IN ACCESS EXCLUSIVE MODE"
        ))
        .unwrap();
    let began = Instant::now();
    let error = store
        .create(name("def"), definition("return 1"))
        .unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(names(&store), ["abc"]);
    let error = store.health().unwrap_err().to_string();
    assert!(error.contains("holds the registry's tables"), "{error}");
    transaction.rollback().unwrap();
    store.create(name("def"), definition("return 1")).unwrap();
    wait_until("healthy", HEARD, || store.health().is_ok());
}

/// A role without any privilege.
fn make_role(cluster: &Cluster) -> String {
    let role = format!("r_{}", dynamic_mcp::base::ids::random_hex());
    let sql = format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'");
    cluster.admin().batch_execute(&sql).unwrap();
    role
}

#[test]
fn a_role_without_ddl_serves_a_schema_that_its_owner_migrated() {
    let (cluster, schema, role) = (
        Cluster::shared(),
        fresh_schema(),
        make_role(&Cluster::shared()),
    );
    let url = cluster.url_of(&role, "secret");
    let error = PostgresStore::open(options(&url, &schema))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("run dynamic-mcp migrate as the schema's owner"),
        "{error}"
    );
    let migrated = postgres::migrate(&cluster.options(&schema)).unwrap();
    assert_eq!((migrated.from, migrated.to), (0, 6));
    let again = postgres::migrate(&cluster.options(&schema)).unwrap();
    assert_eq!((again.from, again.to), (6, 6));

    let mut admin = cluster.admin();
    // The grants that the first migration documents, as they stand there.
    let documented = include_str!("../../sql/0001_tools.sql");
    let grants: String = documented
        .lines()
        .skip_while(|line| !line.contains("GRANT USAGE"))
        .take_while(|line| line.starts_with("--   "))
        .map(|line| line.trim_start_matches("--   "))
        .chain([
            "GRANT SELECT, INSERT, UPDATE, DELETE ON dynamic_mcp.dynamic_entries \
                 TO dynamic_mcp_server;",
        ])
        .collect::<Vec<_>>()
        .join("\n");
    let (_, entries) = grants.rsplit_once('\n').unwrap();
    assert!(include_str!("../../sql/0006_entries.sql").contains(&format!("--   {entries}\n")));
    assert_eq!(grants.matches("GRANT").count(), 6);
    let grants = grants.replace("dynamic_mcp_server", &role);
    let grants = grants.replace("dynamic_mcp.", &format!("{schema}."));
    let grants = grants.replace("SCHEMA dynamic_mcp ", &format!("SCHEMA {schema} "));
    admin.batch_execute(&grants).unwrap();

    let store = PostgresStore::open(options(&url, &schema)).unwrap();
    store.create(name("abc"), definition("return 1")).unwrap();
    store
        .update(&name("abc"), None, &mut |_: &Tool| {
            Ok(definition("return 2"))
        })
        .unwrap();
    store.delete::<Definition>(&name("abc"), None).unwrap();
    store.health().unwrap();
    store.signing_key("sessions").unwrap();
    let times = postgres::leases::LeaseTimes::USUAL;
    postgres::leases::Lease::acquire(&store, times)
        .unwrap()
        .retire()
        .unwrap();

    // A privilege that is taken away is named; memory goes on serving.
    let revoke = format!("REVOKE INSERT, UPDATE, DELETE ON {schema}.dynamic_tools FROM {role}");
    store.create(name("kept"), definition("return 1")).unwrap();
    admin.batch_execute(&revoke).unwrap();
    let error = store
        .create(name("def"), definition("return 1"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("lacks a privilege"), "{error}");
    let error = store.health().unwrap_err().to_string();
    assert!(error.contains("lacks a privilege"), "{error}");
    assert_eq!(names(&store), ["kept"]);
    let reader = PostgresStoreOptions {
        read_only: true,
        ..options(&url, &schema)
    };
    let reader = PostgresStore::open(reader).unwrap();
    reader.health().unwrap();
    assert_eq!(names(&reader), ["kept"]);
    assert_eq!(
        reader.delete::<Definition>(&name("kept"), None),
        Err(StoreError::ReadOnly)
    );
}

#[test]
fn a_dropped_schema_is_said_and_mended_by_migrating() {
    let (cluster, schema) = (Cluster::shared(), fresh_schema());
    let store = cluster.open(&schema);
    store.create(name("abc"), definition("return 1")).unwrap();
    let mut admin = cluster.admin();
    admin
        .batch_execute(&format!("DROP SCHEMA \"{schema}\" CASCADE"))
        .unwrap();
    let error = store
        .create(name("def"), definition("return 1"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("tables are not in the database"), "{error}");
    let error = store.health().unwrap_err().to_string();
    assert!(error.contains("tables are not in the database"), "{error}");
    assert_eq!(names(&store), ["abc"], "reads need no database");
    postgres::migrate(&cluster.options(&schema)).unwrap();
    wait_until("the truth", HEARD * 2, || names(&store).is_empty());
    store.create(name("def"), definition("return 1")).unwrap();
    wait_until("healthy", HEARD, || store.health().is_ok());
}

#[test]
fn registries_are_carried_over_whole_or_not_at_all() {
    let (cluster, schema) = (Cluster::shared(), fresh_schema());
    let store = cluster.open(&schema);
    let records: Vec<String> = (0..1000)
        .map(|index| {
            format!(
                r#"{{"name":"tool-{index:03}","description":"d","code":"return {index}",
                "inputSchema":{{"a" :1.0}},"revision":{},"createdAt":"2026-02-13T09:30:00.123Z",
                "updatedAt":"2026-02-14T09:30:00.000Z"}}"#,
                index + 1
            )
        })
        .collect();
    let text = format!(r#"{{"version":1,"tools":[{}]}}"#, records.join(","));
    let incoming = document::decode(&text).unwrap().records;
    let imported = store.import(&incoming, OnCollision::Refuse).unwrap();
    let (added, replaced, unchanged) = (1000, 0, 0);
    assert_eq!(
        imported,
        Imported {
            added,
            replaced,
            unchanged
        }
    );
    let held = |store: &PostgresStore| store.snapshot().records().collect::<Vec<_>>();
    assert_eq!(held(&store), incoming, "revisions and times as they were");
    let other = cluster.open(&schema);
    assert_eq!(held(&other), incoming);

    let mut written = Vec::new();
    document::encode(&other.snapshot(), &Extras::default(), &mut written).unwrap();
    let back = document::decode(&String::from_utf8(written).unwrap()).unwrap();
    assert_eq!(back.records, incoming);

    let again = store.import(&incoming, OnCollision::Refuse).unwrap();
    assert_eq!((again.added, again.unchanged), (0, 1000));
    let change = &mut |_: &Tool| Ok(definition("other"));
    store.update(&name("tool-007"), None, change).unwrap();
    let fresh = document::decode(&text.replace("tool-999", "tool-new"))
        .unwrap()
        .records;
    let refused = store.import(&fresh, OnCollision::Refuse).unwrap_err();
    assert_eq!(
        refused,
        StoreError::Collisions {
            names: vec![(Kind::Tool, name("tool-007"))]
        }
    );
    assert!(store.snapshot().tool("tool-new").is_none());
    let done = store.import(&fresh, OnCollision::Replace).unwrap();
    assert_eq!((done.added, done.replaced, done.unchanged), (1, 1, 998));
    let replaced = store.snapshot().tool("tool-007").unwrap().clone();
    assert_eq!(
        (replaced.revision, &*replaced.definition.code),
        (10, "return 7")
    );
    wait_until("heard", HEARD, || {
        other.snapshot().tool("tool-007") == Some(&replaced) && names(&other).len() == 1001
    });
}

#[test]
fn whoever_asks_first_makes_the_signing_key() {
    let (cluster, schema) = (Cluster::shared(), fresh_schema());
    let stores: Vec<_> = (0..4).map(|_| cluster.open(&schema)).collect();
    let keys = at_once(4, |index| stores[index].signing_key("sessions").unwrap());
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 1);
    assert_ne!(stores[0].signing_key("other").unwrap(), keys[0]);
}

#[test]
fn an_instance_that_no_longer_renews_is_dead_and_forgotten_once() {
    use postgres::leases::{Lease, LeaseTimes};
    let (cluster, schema) = (Cluster::shared(), fresh_schema());
    let store = cluster.open(&schema);
    let times = LeaseTimes {
        renew: Duration::from_millis(100),
        dead_after: Duration::from_secs(1),
    };
    let (one, other) = (
        Lease::acquire(&store, times).unwrap(),
        Lease::acquire(&store, times).unwrap(),
    );
    let gone = Lease::acquire(&store, times).unwrap();
    let id = gone.id().to_owned();
    drop(gone);
    assert_eq!(one.dead(), [""; 0], "nobody is dead at once");
    wait_until("dead", HEARD * 2, || one.dead() == [id.as_str()]);
    assert_eq!(
        other
            .dead()
            .iter()
            .filter(|dead| **dead == one.id())
            .count(),
        0
    );
    one.forget(other.id()).unwrap();
    one.forget(&id).unwrap();
    wait_until("forgotten", HEARD, || one.dead().is_empty());
    let ids = format!("SELECT id FROM \"{schema}\".dynamic_instances ORDER BY id");
    let mut admin = cluster.admin();
    let mut rows = || -> Vec<String> {
        let rows = admin.query(&ids, &[]).unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };
    assert_eq!(rows().len(), 2);
    one.retire().unwrap();
    assert_eq!(rows(), [other.id()]);
}
