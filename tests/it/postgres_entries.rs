//! Prompts and resources in PostgreSQL: the table that they stand in, and writes to it at once.

use std::sync::Barrier;
use std::time::Duration;

use dynamic_mcp::domain::entry::Kind;
use dynamic_mcp::domain::json::JsonText;
use dynamic_mcp::domain::prompt::{Prompt, PromptDefinition};
use dynamic_mcp::domain::resource::{Resource, ResourceDefinition};
use dynamic_mcp::registry::postgres::{self, PostgresStoreOptions};
use dynamic_mcp::registry::{OnCollision, Record, StoreError, ToolStore, Writes};

use crate::postgres::make_role;
use crate::support::postgres::{Cluster, definition, fresh_schema, name, options, wait_until};

const HEARD: Duration = Duration::from_secs(5);

fn prompt(text: &str) -> PromptDefinition {
    let messages = format!(r#"[ {{"role":"user", "content":"{text}"}} ]"#);
    PromptDefinition {
        messages: Some(JsonText::parse(messages).unwrap()),
        ..PromptDefinition::default()
    }
}

fn resource(uri: &str) -> ResourceDefinition {
    ResourceDefinition {
        uri: Some(uri.to_owned()),
        text: Some("t".to_owned()),
        ..ResourceDefinition::default()
    }
}

#[test]
fn whoever_may_write_tools_may_write_what_stands_beside_them() {
    let (cluster, schema) = (Cluster::shared(), fresh_schema());
    let (writer, other) = (make_role(&cluster), make_role(&cluster));
    drop(cluster.open(&schema));
    let mut admin = cluster.admin();
    // As a server of the version before left it.
    admin
        .batch_execute(&format!(
            "SET search_path TO \"{schema}\"; DROP TABLE dynamic_entries;
             DELETE FROM dynamic_schema_migrations WHERE version = 6;
             GRANT SELECT, INSERT, TRIGGER ON dynamic_tools TO {writer};
             GRANT SELECT ON dynamic_tools TO PUBLIC"
        ))
        .unwrap();
    let migrated = postgres::migrate(&cluster.options(&schema)).unwrap();
    assert_eq!((migrated.from, migrated.to), (5, 6));
    let mut may = |role: &str, act: &str| -> bool {
        let table = format!("\"{schema}\".dynamic_entries");
        let query = "SELECT has_table_privilege($1, $2, $3)";
        admin
            .query_one(query, &[&role, &table, &act])
            .unwrap()
            .get(0)
    };
    let found = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRIGGER"].map(|act| may(&writer, act));
    assert_eq!(found, [true, true, false, false, false]);
    assert_eq!(
        [may(&other, "SELECT"), may(&other, "INSERT")],
        [true, false]
    );
}

#[test]
fn the_owner_of_the_tools_serves_what_another_role_migrated() {
    let (cluster, schema) = (Cluster::shared(), fresh_schema());
    let owner = make_role(&cluster);
    drop(cluster.open(&schema));
    let mut admin = cluster.admin();
    // The table is the server's own, as one that was there before this program; the rest is not.
    admin
        .batch_execute(&format!(
            "SET search_path TO \"{schema}\"; DROP TABLE dynamic_entries;
             DELETE FROM dynamic_schema_migrations WHERE version = 6;
             GRANT USAGE ON SCHEMA \"{schema}\" TO {owner};
             GRANT SELECT, INSERT, UPDATE, DELETE ON dynamic_instances TO {owner};
             GRANT SELECT, UPDATE ON dynamic_registry_state TO {owner};
             GRANT SELECT, INSERT ON dynamic_signing_keys TO {owner};
             GRANT SELECT ON dynamic_schema_migrations TO {owner};
             ALTER TABLE dynamic_tools OWNER TO {owner}"
        ))
        .unwrap();
    let migrated = postgres::migrate(&cluster.options(&schema)).unwrap();
    assert_eq!((migrated.from, migrated.to), (5, 6));
    let url = cluster.url_of(&owner, "secret");
    let store = postgres::PostgresStore::open(options(&url, &schema)).unwrap();
    store.create(name("made"), prompt("hello")).unwrap();
    store.health().unwrap();
    // Without the grants it says where they stand.
    let revoke = format!("REVOKE ALL ON \"{schema}\".dynamic_entries FROM {owner}");
    admin.batch_execute(&revoke).unwrap();
    let error = store.create(name("more"), prompt("hello")).unwrap_err();
    assert!(
        error.to_string().contains("sql/0006_entries.sql"),
        "{error}"
    );
}

#[test]
fn rows_that_break_a_rule_stay_and_are_not_served() {
    let (cluster, schema) = (Cluster::shared(), fresh_schema());
    let store = cluster.open(&schema);
    let kept = store.create(name("kept"), prompt("hello")).unwrap();
    let mut admin = cluster.admin();
    let insert = |kind: &str, name: &str, definition: &str| {
        format!(
            "INSERT INTO \"{schema}\".dynamic_entries (kind, name, definition)
             VALUES ('{kind}', '{name}', '{definition}');"
        )
    };
    let broken = [
        insert("prompt", "both", r#"{"messages":[],"code":"return 1"}"#),
        insert("prompt", "ab", r#"{"messages":[]}"#),
        insert("prompt", "text", "no JSON"),
        insert("resource", "own", r#"{"uri":"dynamic://x","text":""}"#),
        insert("skill", "later", "{}"),
        insert("resource", "good", r#"{"uri":"a:b","text":"","later":1}"#),
    ];
    admin.batch_execute(&broken.concat()).unwrap();
    wait_until("heard", HEARD, || store.snapshot().resources().len() == 1);
    assert_eq!(store.snapshot().prompts(), std::slice::from_ref(&kept));
    let good = store.snapshot().resources()[0].clone();
    assert_eq!((good.name.as_str(), good.revision), ("good", 1));
    // What a newer version wrote into a definition stays through a change, and through an import.
    let later = format!(
        "SELECT definition::json ->> 'later' FROM \"{schema}\".dynamic_entries WHERE name = 'good'"
    );
    let renamed = |title: &str| ResourceDefinition {
        title: Some(title.to_owned()),
        ..good.definition.clone()
    };
    let change = &mut |_: &Resource| Ok(renamed("changed"));
    store.update(&name("good"), None, change).unwrap();
    let found: Option<String> = admin.query_one(&later, &[]).unwrap().get(0);
    assert_eq!(found.as_deref(), Some("1"));
    let mut imported = Prompt::clone(&kept);
    imported.definition = prompt("imported");
    let mut resource = Resource::clone(&good);
    resource.definition = renamed("imported");
    let records = [
        Record::Prompt(imported.into()),
        Record::Resource(resource.into()),
    ];
    let done = store.import(&records, OnCollision::Replace).unwrap();
    assert_eq!(done.replaced, 2);
    let found: Option<String> = admin.query_one(&later, &[]).unwrap().get(0);
    assert_eq!(found.as_deref(), Some("1"));
    // They do not stand in the way of writes, but their names are taken.
    store.create(name("another"), prompt("hello")).unwrap();
    assert!(store.create(name("both"), prompt("hello")).is_err());
    let count = format!("SELECT count(*) FROM \"{schema}\".dynamic_entries");
    let count: i64 = admin.query_one(&count, &[]).unwrap().get(0);
    assert_eq!(count, 8);
}

#[test]
fn prompts_made_at_once_on_two_replicas_keep_the_limit_and_the_marks() {
    let (cluster, schema) = (Cluster::shared(), fresh_schema());
    let limited = || PostgresStoreOptions {
        max_tools: 20,
        ..cluster.options(&schema)
    };
    let open = || postgres::PostgresStore::open(limited()).unwrap();
    let stores = [open(), open()];
    stores[0]
        .create(name("tool"), definition("return 1"))
        .unwrap();
    wait_until("heard", HEARD, || {
        stores[1].snapshot().tool("tool").is_some()
    });
    let tools_mark = |at: usize| {
        stores[at]
            .snapshot()
            .shelf::<dynamic_mcp::domain::tool::Definition>()
            .mark()
    };
    let before = [tools_mark(0), tools_mark(1)];
    let start = Barrier::new(2);
    let refused: Vec<StoreError> = std::thread::scope(|scope| {
        let writers = stores.iter().enumerate().map(|(at, store)| {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                let made = (0..20)
                    .map(|one| store.create(name(&format!("prompt-{at}-{one}")), prompt("hello")));
                made.filter_map(Result::err).collect::<Vec<_>>()
            })
        });
        let writers: Vec<_> = writers.collect();
        let refused = writers.into_iter().map(|writer| writer.join().unwrap());
        refused.flatten().collect()
    });
    let full = StoreError::Full {
        kind: Kind::Prompt,
        limit: 20,
    };
    assert_eq!(refused, vec![full; 20]);
    for store in &stores {
        wait_until("all heard", HEARD, || {
            store.snapshot().prompts().len() == 20
        });
    }
    // What clients have seen of the tools is still right.
    assert_eq!([tools_mark(0), tools_mark(1)], before);
}

#[test]
fn an_import_of_all_kinds_is_one_write() {
    let (cluster, schema) = (Cluster::shared(), fresh_schema());
    let (store, other) = (cluster.open(&schema), cluster.open(&schema));
    store.create(name("first"), prompt("old")).unwrap();
    store.create(name("second"), prompt("old")).unwrap();
    store.create(name("note"), resource("a:old")).unwrap();
    store.create(name("tool"), definition("return 1")).unwrap();
    let incoming: Vec<Record> = {
        let folder = cluster.open(&fresh_schema());
        folder.create(name("first"), prompt("new")).unwrap();
        folder.create(name("second"), prompt("new")).unwrap();
        folder.create(name("third"), prompt("new")).unwrap();
        folder.create(name("note"), resource("a:new")).unwrap();
        folder.create(name("tool"), definition("return 2")).unwrap();
        folder.snapshot().records().collect()
    };
    let refused = store.import(&incoming, OnCollision::Refuse).unwrap_err();
    let names = ["tool", "first", "second", "note"];
    let kinds = [Kind::Tool, Kind::Prompt, Kind::Prompt, Kind::Resource];
    let names = kinds.into_iter().zip(names.map(name)).collect();
    assert_eq!(refused, StoreError::Collisions { names });
    let done = store.import(&incoming, OnCollision::Replace).unwrap();
    assert_eq!((done.added, done.replaced, done.unchanged), (1, 4, 0));
    let generation = store.snapshot().generation();
    wait_until("heard", HEARD, || {
        let mine = store.snapshot();
        other.snapshot().records().eq(mine.records())
    });
    let revisions: Vec<u64> = store.snapshot().records().map(|it| it.revision()).collect();
    assert_eq!(revisions, [2, 2, 2, 1, 2]);
    // What the database counts is what was expected of the write: nothing was read again.
    assert_eq!(store.snapshot().generation(), generation);
    let gone = store
        .delete::<PromptDefinition>(&name("first"), Some(2))
        .unwrap();
    assert_eq!(Prompt::clone(&gone).definition, prompt("new"));
    wait_until("gone", HEARD, || other.snapshot().prompts().len() == 2);
}
