//! The registry while its PostgreSQL server fails in every way that servers do: nothing that was
//! acknowledged is lost, nobody waits for ever, every error says what is wrong.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dynamic_mcp::config::PgTls;
use dynamic_mcp::registry::postgres::{PostgresStore, PostgresStoreOptions};
use dynamic_mcp::registry::{StoreError, ToolStore, Writes};
use postgres::{Client, NoTls};

use crate::support::postgres::{
    Cluster, definition, fresh_schema, name, options, reload, target, wait_until,
};

/// Five times what coming back may take.
pub(crate) const BACK: Duration = Duration::from_secs(25);
/// Five times what any call may take while the server is away: its turn, then its limit.
pub(crate) const PATIENCE: Duration = Duration::from_secs(35);

/// Writes through two stores while `trouble` happens to the server, and checks afterwards that
/// what was acknowledged is there, on a third.
pub(crate) fn endure(cluster: &Cluster, trouble: impl FnOnce(&Cluster)) {
    endure_at(&cluster.url(), || trouble(cluster));
}

/// The same at a URL, which may name several servers.
pub(crate) fn endure_at(url: &str, trouble: impl FnOnce()) {
    let schema = fresh_schema();
    let open = || PostgresStore::open(options(url, &schema)).unwrap();
    let stores = [open(), open()];
    let over = AtomicBool::new(false);
    let (acknowledged, errors) = std::thread::scope(|scope| {
        let write = |index: usize| {
            let (store, over) = (&stores[index], &over);
            scope.spawn(move || {
                let (mut acknowledged, mut errors) = (Vec::new(), Vec::new());
                for round in 0.. {
                    if over.load(Ordering::Acquire) {
                        break;
                    }
                    let text = format!("tool-{index}-{round}");
                    let began = Instant::now();
                    match store.create(name(&text), definition("return 1")) {
                        Ok(_) => acknowledged.push(text),
                        Err(error) => errors.push(error),
                    }
                    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
                    std::thread::sleep(Duration::from_millis(5));
                }
                (acknowledged, errors)
            })
        };
        let writers = [write(0), write(1)];
        let enough = |store: &PostgresStore| store.snapshot().tools().len() > 4;
        wait_until("first writes", BACK, || stores.iter().all(enough));
        trouble();
        let before = stores[0].snapshot().tools().len();
        let back = wait_until("writes again", BACK, || {
            stores
                .iter()
                .all(|store| store.snapshot().tools().len() > before + 4)
        });
        eprintln!("both replicas wrote and heard again after {back:?}");
        over.store(true, Ordering::Release);
        let mut all = (Vec::new(), Vec::new());
        for writer in writers {
            let (acknowledged, errors) = writer.join().unwrap();
            all.0.extend(acknowledged);
            all.1.extend(errors);
        }
        all
    });
    for error in &errors {
        let text = error.to_string();
        assert!(
            matches!(
                error,
                StoreError::Unwritable { .. } | StoreError::Busy { .. }
            ),
            "{text}"
        );
        assert!(
            !text.contains("127.0.0.1") && !text.contains("not understood"),
            "{text}"
        );
    }
    let fresh = open();
    for text in &acknowledged {
        assert!(
            fresh.snapshot().tool(text).is_some(),
            "{text} was acknowledged and is lost"
        );
    }
    for store in &stores {
        wait_until("all the same", BACK, || {
            store.snapshot().tools() == fresh.snapshot().tools()
        });
        wait_until("healthy", BACK, || store.health().is_ok());
    }
}

#[test]
fn a_restart_a_kill_and_the_end_of_every_connection_are_endured() {
    let cluster = Cluster::own(&[]);
    endure(&cluster, |cluster| {
        let mut admin = cluster.admin();
        let all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
        for _ in 0..5 {
            admin.execute(all, &[]).unwrap();
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    endure(&cluster, |cluster| {
        cluster.act("stop", &["fast"]);
        cluster.act("start", &[]);
    });
    endure(&cluster, |cluster| {
        cluster.act("stop", &["kill"]);
        cluster.act("start", &[]);
    });
}

#[test]
fn a_server_that_hangs_holds_nobody_and_is_named() {
    let cluster = Cluster::own(&[]);
    let schema = fresh_schema();
    let store = cluster.open(&schema);
    store.create(name("abc"), definition("return 1")).unwrap();
    cluster.act("pause", &[]);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for index in 0..16 {
            let store = &store;
            scope.spawn(move || {
                let text = format!("tool-{index}");
                let error = store
                    .create(name(&text), definition("return 1"))
                    .unwrap_err();
                let text = error.to_string();
                let is_said = text.contains("does not answer") || text.contains("other writers");
                assert!(is_said, "{text}");
            });
        }
    });
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    let began = Instant::now();
    let error = store.health().unwrap_err().to_string();
    assert!(error.contains("the database does not answer"), "{error}");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert!(store.snapshot().tool("abc").is_some());
    let began = Instant::now();
    let error = PostgresStore::open(cluster.options(&schema))
        .unwrap_err()
        .to_string();
    assert!(error.contains("the database does not answer"), "{error}");
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    cluster.act("resume", &[]);
    wait_until("healthy", BACK, || store.health().is_ok());
    wait_until("writable", BACK, || {
        store.create(name("def"), definition("1")).is_ok()
    });
}

#[test]
fn a_server_that_is_away_is_waited_for_as_often_as_asked() {
    let cluster = Cluster::own(&[]);
    cluster.act("stop", &[]);
    let schema = fresh_schema();
    let error = PostgresStore::open(cluster.options(&schema))
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot be reached"), "{error}");
    let patient = PostgresStoreOptions {
        init_attempts: 100,
        ..cluster.options(&schema)
    };
    std::thread::scope(|scope| {
        let opened = scope.spawn(|| PostgresStore::open(patient).unwrap());
        cluster.act("start", &[]);
        assert!(opened.join().unwrap().snapshot().tools().is_empty());
    });
}

#[test]
fn a_server_without_a_connection_left_is_said_and_come_back_to() {
    let cluster = Cluster::own(&["max_connections = 12"]);
    let schema = fresh_schema();
    let store = cluster.open(&schema);
    let mut admin = cluster.admin();
    let others: Vec<Client> =
        std::iter::from_fn(|| Client::connect(&cluster.url(), NoTls).ok()).collect();
    assert!(!others.is_empty());
    admin
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE application_name = 'dynamic-mcp'",
            &[],
        )
        .unwrap();
    // Whoever is quick takes the free places.
    let more: Vec<Client> =
        std::iter::from_fn(|| Client::connect(&cluster.url(), NoTls).ok()).collect();
    if !more.is_empty() {
        wait_until("the reason", BACK, || {
            let error = store.create(name("abc"), definition("return 1"));
            error.is_err_and(|error| error.to_string().contains("takes no more connections"))
        });
    }
    drop((others, more));
    wait_until("writable", BACK, || {
        store.create(name("def"), definition("1")).is_ok()
    });
    wait_until("healthy", BACK, || store.health().is_ok());
}

#[test]
fn the_first_server_of_several_that_takes_writes_is_used() {
    let (cluster, schema) = (Cluster::own(&[]), fresh_schema());
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = gone.local_addr().unwrap().port();
    let url = format!(
        "postgres://postgres:postgres@127.0.0.1:{gone},127.0.0.1:{}/postgres?\
         target_session_attrs=read-write",
        cluster.port
    );
    let store = PostgresStore::open(options(&url, &schema)).unwrap();
    store.create(name("abc"), definition("return 1")).unwrap();
    // What a standby says.
    reload(&cluster, "default_transaction_read_only = on");
    wait_until("said", BACK, || {
        let error = store.create(name("def"), definition("return 1"));
        error.is_err_and(|error| error.to_string().contains("takes no writes"))
    });
    let error = store.health().unwrap_err().to_string();
    assert!(error.contains("takes no writes"), "{error}");
}

#[test]
fn tls_checks_what_sslmode_says_and_never_falls_back() {
    let (cluster, schema) = (Cluster::own(&[]), fresh_schema());
    let port = cluster.port;
    let by_name =
        format!("postgres://postgres:postgres@localhost:{port}/postgres?hostaddr=127.0.0.1");
    let by_address = cluster.url();
    let (ca, other) = (cluster.tls_file("ca.pem"), cluster.tls_file("other-ca.pem"));
    let check = |url: &str, tls, root: Option<&std::path::Path>, expected: Result<(), &str>| {
        let mark = fresh_schema();
        let sign = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{sign}application_name={mark}");
        let options = PostgresStoreOptions {
            target: target(&url, tls, root),
            ..options(&url, &schema)
        };
        let opened = PostgresStore::open(options);
        match (opened, expected) {
            (Ok(_store), Ok(())) => {
                let mut admin = cluster.admin();
                let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl \
                                 JOIN pg_stat_activity USING (pid) WHERE application_name = $1";
                // Between two of its connections there is none.
                let mut found: Option<bool> = None;
                wait_until("it is connected", BACK, || {
                    found = admin.query_one(encrypted, &[&mark]).unwrap().get(0);
                    found.is_some()
                });
                assert_eq!(found, Some(tls != PgTls::Disable), "{tls:?}");
            }
            (Err(error), Err(expected)) => {
                assert!(error.to_string().contains(expected), "{tls:?}: {error}");
            }
            (opened, _) => panic!("{url} {tls:?} {root:?}: {:?}", opened.map(|_| ())),
        }
    };
    check(&by_name, PgTls::VerifyFull, Some(&ca), Ok(()));
    check(
        &by_address,
        PgTls::VerifyFull,
        Some(&ca),
        Err("for other names"),
    );
    check(&by_address, PgTls::VerifyCa, Some(&ca), Ok(()));
    check(
        &by_name,
        PgTls::VerifyFull,
        Some(&other),
        Err("not of an authority"),
    );
    check(
        &by_name,
        PgTls::VerifyCa,
        Some(&other),
        Err("not of an authority"),
    );
    check(
        &by_name,
        PgTls::VerifyFull,
        None,
        Err("not of an authority"),
    );
    check(&by_address, PgTls::Require, None, Ok(()));
    check(
        &by_address,
        PgTls::Require,
        Some(&other),
        Err("not of an authority"),
    );
    check(&by_address, PgTls::Disable, None, Ok(()));
    let bound = |url: &str| {
        format!(
            "{url}{}channel_binding=require",
            if url.contains('?') { '&' } else { '?' }
        )
    };
    check(&bound(&by_name), PgTls::VerifyFull, Some(&ca), Ok(()));
    check(&bound(&by_address), PgTls::Disable, None, Err("refuses"));
    let wrong = by_name.replace(":postgres@", ":wrong@");
    check(
        &wrong,
        PgTls::VerifyFull,
        Some(&ca),
        Err("refuses the user or its password"),
    );
    reload(&cluster, "ssl = off");
    wait_until("TLS is off", BACK, || {
        let shown: String = cluster.admin().query_one("SHOW ssl", &[]).unwrap().get(0);
        shown == "off"
    });
    check(&by_name, PgTls::Require, None, Err("speaks no TLS"));
}

#[test]
fn a_pooler_in_transaction_mode_between_us_and_the_server_serves() {
    let (cluster, schema) = (Cluster::own(&[]), fresh_schema());
    let port = cluster.act("pgbouncer", &[]);
    let url = format!("postgres://postgres:postgres@127.0.0.1:{port}/postgres");
    let stores: Vec<_> = (0..3)
        .map(|_| PostgresStore::open(options(&url, &schema)).unwrap())
        .collect();
    std::thread::scope(|scope| {
        for (index, store) in stores.iter().enumerate() {
            scope.spawn(move || {
                for round in 0..20 {
                    let text = format!("tool-{index}-{round}");
                    store.create(name(&text), definition("return 1")).unwrap();
                }
            });
        }
    });
    let key = stores[0].signing_key("sessions").unwrap();
    assert_eq!(stores[1].signing_key("sessions").unwrap(), key);
    for store in &stores {
        // No notification comes through: the poll brings it.
        wait_until("all of it", BACK, || store.snapshot().tools().len() == 60);
        store.health().unwrap();
    }
}
