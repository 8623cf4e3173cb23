//! What a registry in PostgreSQL costs as it grows, and how soon a change can be called elsewhere,
//! beside the least that the same driver needs on the same server in the same run. Reports,
//! asserts nothing.
//!
//!     cargo bench --bench registry [TOOLS…]      100, 1000 and 10000 unless told otherwise
//!
//! Needs a server of `tests/env/postgres` (`DYNAMIC_MCP_TEST_PG`), Node.js, and `pgbench`.

// A bench may stop where a program may not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs
)]

#[path = "server/http.rs"]
#[allow(dead_code)]
mod http;
#[path = "server/process.rs"]
#[allow(dead_code)]
mod process;
#[path = "server/statistics.rs"]
mod statistics;

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dynamic_mcp::base::ids::random_hex;
use dynamic_mcp::base::secret::Secret;
use dynamic_mcp::config::{PgTarget, PgTls};
use dynamic_mcp::domain::entry::EntryName;
use dynamic_mcp::domain::tool::Definition;
use dynamic_mcp::registry::postgres::{PostgresStore, PostgresStoreOptions};
use dynamic_mcp::registry::{ToolStore as _, Writes as _};
use postgres::fallible_iterator::FallibleIterator as _;
use postgres::{Client, NoTls};
use process::{Server, call};
use serde_json::json;
use statistics::{millis, quantile};

const ROUNDS: usize = 40;

fn main() {
    let given = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse().ok());
    let mut sizes: Vec<usize> = given.collect();
    if sizes.is_empty() {
        sizes = vec![100, 1000, 10_000];
    }
    let folder = std::env::var("DYNAMIC_MCP_TEST_PG").expect("tests/run --env-only names one");
    let port = std::fs::read_to_string(format!("{folder}/port")).unwrap();
    let url = format!(
        "postgres://postgres:postgres@127.0.0.1:{}/postgres",
        port.trim()
    );
    let schema = format!("bench_{}", random_hex());
    println!("p50 / p99 in ms, {ROUNDS} of each");
    for size in sizes {
        measure(&url, &schema, size);
    }
    let mut admin = Client::connect(&url, NoTls).unwrap();
    let drop = format!("DROP SCHEMA IF EXISTS \"{schema}\" CASCADE");
    admin.batch_execute(&drop).unwrap();
}

fn list(connection: &mut http::Connection<TcpStream>) {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#;
    let (status, text) = connection.request("POST", "/mcp", body);
    assert!(status == 200 && text.contains("bench.t0"), "{text}");
}

fn show(what: &str, times: &[Duration]) {
    let (half, most) = (quantile(times, 0.5), quantile(times, 0.99));
    println!("  {what:<58} {:8.2} / {:8.2}", millis(half), millis(most));
}

fn timed<T>(act: impl FnOnce() -> T) -> Duration {
    let began = Instant::now();
    act();
    began.elapsed()
}

fn measure(url: &str, schema: &str, size: usize) {
    println!("{size} tools");
    let start = || {
        Server::ours(&[
            ("MCP_DYNAMIC_BACKEND", "postgres"),
            ("MCP_DYNAMIC_PG_URL", url),
            ("MCP_DYNAMIC_PG_SCHEMA", schema),
            ("MCP_DYNAMIC_MAX_TOOLS", "10000"),
            ("MCP_EXECUTION_ENGINE", "node"),
        ])
    };
    drop(start());
    fill(url, schema, size);
    let starts: Vec<_> = (0..5).map(|_| timed(|| drop(start()))).collect();
    show("a start, and its end", &starts);
    let server = start();
    let mut connection = server.connect();
    let pages = (0..ROUNDS).map(|_| timed(|| list(&mut connection)));
    show("tools/list, the first page", &pages.collect::<Vec<_>>());
    let get = json!({ "name": "bench.t0" });
    let gets = (0..ROUNDS).map(|_| timed(|| call(&mut connection, "dynamic.tool.get", &get)));
    show("dynamic.tool.get", &gets.collect::<Vec<_>>());
    drop(connection);
    drop(server);
    let stores = [open(url, schema), open(url, schema)];
    for (beside, load) in [("", None), (" beside pgbench", Some(Load::start(url)))] {
        let floor = floor(url);
        show(
            &format!("floor: INSERT and NOTIFY, committed{beside}"),
            &floor.0,
        );
        show(&format!("floor: until it is heard{beside}"), &floor.1);
        let ours = creates(&stores);
        show(&format!("create, answered{beside}"), &ours.0);
        show(
            &format!("create: until callable on the other replica{beside}"),
            &ours.1,
        );
        let ratio = |ours: &[Duration], floor: &[Duration]| {
            millis(quantile(ours, 0.5)) / millis(quantile(floor, 0.5))
        };
        println!(
            "  × floor: written {:.2}, heard {:.2}",
            ratio(&ours.0, &floor.0),
            ratio(&ours.1, &floor.1)
        );
        drop(load);
    }
}

/// Brings the table to `size` tools, past the server.
fn fill(url: &str, schema: &str, size: usize) {
    let mut admin = Client::connect(url, NoTls).unwrap();
    let insert = format!(
        "INSERT INTO \"{schema}\".dynamic_tools (name, description, timeout_ms, code) \
         SELECT 'bench.t' || n, repeat('d', 200), 30000, repeat('//', 500) || 'return 1' \
         FROM generate_series(0, $1::bigint - 1) AS n ON CONFLICT DO NOTHING"
    );
    // One place is left for the tool that is made and deleted.
    let size = i64::try_from(size - 1).unwrap();
    admin.execute(&insert, &[&size]).unwrap();
}

/// How long a bare INSERT with its NOTIFY takes, and when another connection has heard it.
fn floor(url: &str) -> (Vec<Duration>, Vec<Duration>) {
    let (mut writer, mut listener) = (
        Client::connect(url, NoTls).unwrap(),
        Client::connect(url, NoTls).unwrap(),
    );
    writer
        .batch_execute("CREATE TEMP TABLE floor (n bigint)")
        .unwrap();
    listener.batch_execute("LISTEN bench_floor").unwrap();
    let (mut written, mut heard) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        std::thread::scope(|scope| {
            let began = Instant::now();
            let hears = scope.spawn(|| {
                let wait = Duration::from_secs(10);
                listener.notifications().timeout_iter(wait).next().unwrap();
                Instant::now()
            });
            let mut transaction = writer.transaction().unwrap();
            transaction
                .execute("INSERT INTO floor VALUES (1)", &[])
                .unwrap();
            transaction.batch_execute("NOTIFY bench_floor").unwrap();
            transaction.commit().unwrap();
            written.push(began.elapsed());
            heard.push(hears.join().unwrap() - began);
        });
    }
    (written, heard)
}

/// How long a new tool takes to be stored, and when the other replica can call it.
fn creates(stores: &[PostgresStore; 2]) -> (Vec<Duration>, Vec<Duration>) {
    let [one, other] = stores;
    let (mut written, mut heard) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let name = EntryName::parse(&format!("bench.new{round}")).unwrap();
        let seen = other.snapshot().generation();
        let (began, stored) = (Instant::now(), definition());
        std::thread::scope(|scope| {
            let hears = scope.spawn(|| {
                other.wait_newer(seen, Duration::from_secs(10));
                Instant::now()
            });
            one.create(name.clone(), stored).unwrap();
            written.push(began.elapsed());
            heard.push(hears.join().unwrap() - began);
        });
        one.delete::<Definition>(&name, None).unwrap();
        while other.snapshot().tool(name.as_str()).is_some() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    (written, heard)
}

fn open(url: &str, schema: &str) -> PostgresStore {
    PostgresStore::open(PostgresStoreOptions {
        target: PgTarget {
            url: Secret::new(url),
            tls: PgTls::Disable,
            root_cert: None,
            client_cert: None,
        },
        schema: schema.to_owned(),
        init_attempts: 1,
        init_backoff: Duration::ZERO,
        max_tools: 10_000,
        read_only: false,
    })
    .unwrap()
}

fn definition() -> Definition {
    Definition {
        title: None,
        description: "d".repeat(200),
        image: None,
        timeout_ms: 30_000,
        dependencies: Vec::new(),
        input_schema: None,
        output_schema: None,
        annotations: None,
        requires_client_capabilities: BTreeSet::new(),
        code: "return 1".into(),
        enabled: true,
    }
}

/// `pgbench` on the same server, in a schema-less table set of its own.
struct Load(Child);

impl Load {
    fn start(url: &str) -> Self {
        let quiet = |command: &mut Command| {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        };
        let mut make = Command::new("/usr/lib/postgresql/15/bin/pgbench");
        quiet(make.args(["--initialize", "--quiet", url]));
        assert!(make.status().unwrap().success(), "pgbench");
        let mut run = Command::new("/usr/lib/postgresql/15/bin/pgbench");
        quiet(run.args(["--client=4", "--time=600", "--no-vacuum", url]));
        Self(run.spawn().unwrap())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
