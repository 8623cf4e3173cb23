//! PostgreSQL servers of `tests/env/postgres`, and stores in them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use dynamic_mcp::base::ids::random_hex;
use dynamic_mcp::base::secret::Secret;
use dynamic_mcp::config::{PgTarget, PgTls};
use dynamic_mcp::domain::entry::EntryName;
use dynamic_mcp::domain::tool::{DEFAULT_TIMEOUT_MS, Definition};
use dynamic_mcp::registry::postgres::{PostgresStore, PostgresStoreOptions};
use postgres::{Client, NoTls};

use super::provided;

/// A server.
#[derive(Debug)]
pub(crate) struct Cluster {
    folder: PathBuf,
    host: String,
    pub(crate) port: u16,
    is_own: bool,
}

impl Cluster {
    /// The server of this test run, which stays as it is but for schemas of the test's own.
    pub(crate) fn shared() -> Self {
        let folder = PathBuf::from(provided("DYNAMIC_MCP_TEST_PG"));
        let port = std::fs::read_to_string(folder.join("port")).unwrap();
        Self {
            folder,
            host: "127.0.0.1".to_owned(),
            port: port.trim().parse().unwrap(),
            is_own: false,
        }
    }

    fn unstarted() -> Self {
        Self {
            folder: PathBuf::from(format!("/tmp/dmpg.{}", random_hex())),
            host: "127.0.0.1".to_owned(),
            port: 0,
            is_own: true,
        }
    }

    /// A server for one test, with these lines in its configuration.
    pub(crate) fn own(lines: &[&str]) -> Self {
        Self::prepared(&[], lines)
    }

    /// The same, after these acts: a network or a disk of its own.
    pub(crate) fn prepared(acts: &[(&str, &[&str])], lines: &[&str]) -> Self {
        let mut cluster = Self::unstarted();
        for (act, arguments) in acts {
            let said = cluster.act(act, arguments);
            if *act == "network" {
                cluster.host = said;
            }
        }
        cluster.port = cluster.act("start", lines).parse().unwrap();
        cluster
    }

    /// A hot standby that follows `primary`.
    pub(crate) fn standby_of(primary: &Self) -> Self {
        let mut standby = Self::unstarted();
        let of = primary.folder.to_str().unwrap();
        standby.port = standby.act("standby", &[of]).parse().unwrap();
        standby
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs `tests/env/postgres ACT FOLDER …`; what it prints.
    pub(crate) fn act(&self, act: &str, arguments: &[&str]) -> String {
        let output = Command::new(provided("DYNAMIC_MCP_TEST_POSTGRES"))
            .arg(act)
            .arg(&self.folder)
            .args(arguments)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{act}: {errors}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn tls_file(&self, name: &str) -> PathBuf {
        self.folder.join("tls").join(name)
    }

    /// The superuser's URL, without TLS.
    pub(crate) fn url(&self) -> String {
        self.url_of("postgres", "postgres")
    }

    pub(crate) fn url_of(&self, user: &str, password: &str) -> String {
        format!(
            "postgres://{user}:{password}@{}:{}/postgres",
            self.host, self.port
        )
    }

    /// A connection of the superuser, outside the store.
    pub(crate) fn admin(&self) -> Client {
        Client::connect(&self.url(), NoTls).unwrap()
    }

    pub(crate) fn options(&self, schema: &str) -> PostgresStoreOptions {
        options(&self.url(), schema)
    }

    pub(crate) fn open(&self, schema: &str) -> PostgresStore {
        PostgresStore::open(self.options(schema)).unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.is_own {
            self.act("remove", &[]);
        }
    }
}

/// Adds a line to the server's configuration, by SQL.
pub(crate) fn reload(cluster: &Cluster, line: &str) {
    let mut admin = cluster.admin();
    admin
        .batch_execute(&format!("ALTER SYSTEM SET {line}"))
        .unwrap();
    admin.batch_execute("SELECT pg_reload_conf()").unwrap();
}

pub(crate) fn options(url: &str, schema: &str) -> PostgresStoreOptions {
    PostgresStoreOptions {
        target: target(url, PgTls::Disable, None),
        schema: schema.to_owned(),
        // A machine under load may take longer to greet than a server may.
        init_attempts: 3,
        init_backoff: Duration::from_millis(50),
        max_tools: 10_000,
        read_only: false,
    }
}

pub(crate) fn target(url: &str, tls: PgTls, root_cert: Option<&Path>) -> PgTarget {
    PgTarget {
        url: Secret::new(url),
        tls,
        root_cert: root_cert.map(Path::to_owned),
        client_cert: None,
    }
}

/// A schema that no other test has.
pub(crate) fn fresh_schema() -> String {
    format!("t_{}", random_hex())
}

pub(crate) fn name(text: &str) -> EntryName {
    EntryName::parse(text).unwrap()
}

/// A small valid definition.
pub(crate) fn definition(code: &str) -> Definition {
    Definition {
        title: None,
        description: "d".to_owned(),
        image: None,
        timeout_ms: DEFAULT_TIMEOUT_MS,
        dependencies: Vec::new(),
        input_schema: None,
        output_schema: None,
        annotations: None,
        requires_client_capabilities: BTreeSet::new(),
        code: code.into(),
        enabled: true,
    }
}

/// Waits until `is_so`, at most `limit`; how long it took.
pub(crate) fn wait_until(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < limit, "{what}: not after {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    began.elapsed()
}
