//! The store in PostgreSQL, for any number of replicas: [`ToolStore`] over two tables, whose every
//! change reaches every replica. The only room that names the driver and its pool. What a write may
//! do is decided in `registry::decide`; SQL stands in `rows`, `entries`, `tables`, `leases` and
//! `sql/`.
//!
//! A write takes this process's turn, then the lock of the registry's one state row, reads what
//! changed since the snapshot, decides, writes, commits, and only then shows the change in memory.
//! A trigger counts the write and notifies the other replicas in the same transaction; the
//! `listener` of each reads what changed. Reads are from memory alone.

mod connect;
mod entries;
mod fault;
pub mod leases;
mod limit;
mod listener;
mod migrations;
mod mirror;
mod rows;
mod shared;
mod tables;
mod tls;
mod written;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::postgres::Client;
use ::postgres::types::Type;

use self::connect::Database;
use self::fault::Fault;
use self::limit::{Limit, within};
use self::listener::Listener;
use self::mirror::Shown;
use self::shared::Shared;
use self::tables::Tables;
use super::document;
use super::ended::EndedSessions;
use super::snapshot::Snapshot;
use super::{DatabaseCounts, Decide, Extent, StoreError, ToolStore};
use crate::base::ids::random_bytes;
use crate::config::PgTarget;

pub use migrations::Migrated;

/// What a write, or a check, may take from the moment it is its turn.
const WRITE: Duration = Duration::from_secs(4);
const CHECK: Duration = Duration::from_secs(2);
const HEALTH: Duration = Duration::from_millis(1500);
/// What reading all tables, or an import, may take.
const WHOLE: Duration = Duration::from_secs(60);
/// A snapshot that was not compared with the database for longer is not vouched for.
const STALE: Duration = Duration::from_secs(10);

/// How to open a [`PostgresStore`].
#[derive(Clone, Debug)]
pub struct PostgresStoreOptions {
    /// The database.
    pub target: PgTarget,
    /// The schema of our tables, an SQL identifier.
    pub schema: String,
    /// How often the database is tried before giving up.
    pub init_attempts: u64,
    /// The pause between these attempts.
    pub init_backoff: Duration,
    /// Most entries of one kind that may be created; a table that holds more is still served.
    pub max_tools: usize,
    /// Refuse writes, and change nothing about the schema.
    pub read_only: bool,
}

/// A tool store in a database. Dropping it ends its thread.
#[derive(Debug)]
pub struct PostgresStore {
    shared: Arc<Shared>,
    _listener: Listener,
}

/// Brings the schema up to date and does nothing else: the `migrate` command.
///
/// # Errors
/// `Unusable`, saying what is in the way.
pub fn migrate(options: &PostgresStoreOptions) -> Result<Migrated, StoreError> {
    let database = Database::new(&options.target).map_err(unusable)?;
    let mut client = connect_patiently(&database, options)?;
    within(Limit::Until(Instant::now() + migrations::MIGRATION), || {
        migrations::migrate(&mut client, &options.schema)
    })
    .map_err(unusable)
}

/// Looks whether a server with these options could start and work, once, and changes nothing.
///
/// # Errors
/// `Unusable`, saying what is in the way.
pub fn examine(options: &PostgresStoreOptions) -> Result<(), StoreError> {
    let looking = PostgresStoreOptions {
        read_only: true,
        init_attempts: 1,
        ..options.clone()
    };
    PostgresStore::open(looking)?.check(options.read_only)
}

/// Tries to connect as often as the options say.
fn connect_patiently(
    database: &Database,
    options: &PostgresStoreOptions,
) -> Result<Client, StoreError> {
    patiently(options, || database.connect())
}

/// Tries as often as the options say, as long as waiting may help.
fn patiently<T>(
    options: &PostgresStoreOptions,
    mut attempt: impl FnMut() -> Result<T, Fault>,
) -> Result<T, StoreError> {
    let mut tried = 1;
    loop {
        match attempt() {
            Ok(done) => return Ok(done),
            Err(fault) if fault.may_pass() && tried < options.init_attempts => {
                let attempts = options.init_attempts;
                log::warn!("{fault} (attempt {tried} of {attempts})");
            }
            Err(fault) => return Err(unusable(fault)),
        }
        tried += 1;
        std::thread::sleep(options.init_backoff);
    }
}

impl PostgresStore {
    /// Connects, brings the schema up to date where the role may, reads all tools, and listens for
    /// changes from then on.
    ///
    /// # Errors
    /// `Unusable`, saying what is in the way.
    pub fn open(options: PostgresStoreOptions) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared {
            database: Database::new(&options.target).map_err(unusable)?,
            tables: Tables::of(&options.schema),
            shown: Shown::default(),
            turn: Mutex::new(()),
            checked_at: Mutex::new(Instant::now()),
            listening: AtomicBool::new(false),
            ended: Arc::default(),
            max_tools: options.max_tools.min(document::MAX_ENTRIES),
            read_only: options.read_only,
        });
        patiently(&options, || shared.begin())?;
        let listener = Listener::start(Arc::clone(&shared)).map_err(|error| {
            log::error!("no thread for the registry's listener: {error}");
            unusable(Fault::Exhausted)
        })?;
        Ok(Self {
            shared,
            _listener: listener,
        })
    }

    /// Whether the database serves, for reads alone or for writes, too.
    fn check(&self, read_only: bool) -> Result<(), StoreError> {
        let shared = &self.shared;
        let query = format!(
            "SELECT generation, current_setting('transaction_read_only') = 'on', \
             (SELECT bool_and(has_table_privilege(written, needed)) \
             FROM unnest(ARRAY[$1, $2]) AS written, \
             unnest(ARRAY['INSERT', 'UPDATE', 'DELETE']) AS needed) FROM {}",
            shared.tables.state
        );
        let (standby, may_write) = shared
            .bounded(HEALTH, |transaction| {
                let tables = [&shared.tables.tools, &shared.tables.entries];
                let tables = tables.map(|table| (table as _, Type::TEXT));
                let row = transaction.query_typed_opt(&query, &tables)?;
                let row = row.ok_or(Fault::NoTables)?;
                Ok::<(bool, bool), Fault>((row.try_get(1)?, row.try_get(2)?))
            })
            .map_err(unusable)?;
        if !read_only && standby {
            return Err(unusable(Fault::ReadOnlyServer));
        }
        if !read_only && !may_write {
            return Err(unusable(Fault::Forbidden));
        }
        let age = self.last_checked().elapsed();
        if age > STALE {
            let seconds = age.as_secs();
            let reason = format!("changes of other replicas were not heard for {seconds} s");
            return Err(StoreError::Unusable { reason });
        }
        Ok(())
    }

    /// Sessions that were ended in any replica, as far as it is heard.
    pub fn ended_sessions(&self) -> Arc<EndedSessions> {
        Arc::clone(&self.shared.ended)
    }

    /// The key of that name: 32 random bytes, made by whoever asks first, the same for all
    /// replicas.
    ///
    /// # Errors
    /// `Unusable` when the database does not answer.
    pub fn signing_key(&self, name: &str) -> Result<[u8; 32], StoreError> {
        let keys = &self.shared.tables.keys;
        let insert =
            format!("INSERT INTO {keys} (name, key) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING");
        let select = format!("SELECT key FROM {keys} WHERE name = $1");
        let fresh: &[u8] = &random_bytes::<32>();
        let key: Result<Vec<u8>, Fault> = self.shared.bounded(WRITE, |transaction| {
            let named = (&name as &(dyn ::postgres::types::ToSql + Sync), Type::TEXT);
            // A replica that may only read finds the key that another made.
            if let Some(row) = transaction.query_typed_opt(&select, std::slice::from_ref(&named))? {
                return Ok(row.try_get(0)?);
            }
            transaction.execute_typed(&insert, &[named.clone(), (&fresh, Type::BYTEA)])?;
            let row = transaction.query_typed_one(&select, &[named])?;
            Ok(row.try_get(0)?)
        });
        let key = key.map_err(unusable)?;
        key.try_into().map_err(|_| unusable(Fault::Unexpected))
    }
}

fn unusable(fault: Fault) -> StoreError {
    let reason = fault.to_string();
    StoreError::Unusable { reason }
}

impl ToolStore for PostgresStore {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.shown.snapshot()
    }

    fn wait_newer(&self, seen: u64, timeout: Duration) -> Arc<Snapshot> {
        self.shared.shown.published().wait_newer(seen, timeout)
    }

    fn write(&self, extent: Extent, decide: &mut Decide<'_>) -> Result<(), StoreError> {
        let limit = match extent {
            Extent::One => WRITE,
            Extent::Many => WHOLE,
        };
        self.shared.write(limit, decide)
    }

    fn is_read_only(&self) -> bool {
        self.shared.read_only
    }

    fn backend(&self) -> &'static str {
        "postgres"
    }

    fn health(&self) -> Result<(), StoreError> {
        self.check(self.shared.read_only)
    }

    fn database(&self) -> Option<DatabaseCounts> {
        let (in_use, idle, waiting) = self.shared.database.counts();
        Some(DatabaseCounts {
            in_use,
            idle,
            waiting,
            listening: self.shared.listening.load(Ordering::Relaxed),
        })
    }

    fn last_checked(&self) -> Instant {
        *self
            .shared
            .checked_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
