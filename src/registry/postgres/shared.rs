//! What the store's threads share: one way to the database and one picture of it. How a transaction
//! is bounded, how the picture is brought up to date, what every write does around its decision.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use postgres::{Client, GenericClient, IsolationLevel, Transaction};

use super::connect::Database;
use super::fault::Fault;
use super::limit::{Limit, within};
use super::mirror::Shown;
use super::tables::Tables;
use super::{CHECK, WHOLE, migrations, written};
use crate::registry::atomic_file::retry_until;
use crate::registry::ended::EndedSessions;
use crate::registry::shared_file::try_lock;
use crate::registry::{Decide, Moment, StoreError};

/// How long a write waits for other writers of this process, then for other replicas'.
const TURN: Duration = Duration::from_secs(3);
const LOCK: Duration = Duration::from_millis(1500);
/// What one statement of an ordinary write may take on the server: longer than a lock, or its error
/// would not say that it is the lock.
const STATEMENT: Duration = Duration::from_secs(2);

/// The store without its listener.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) database: Database,
    pub(super) tables: Tables,
    pub(super) shown: Shown,
    /// Held while this process writes.
    pub(super) turn: Mutex<()>,
    pub(super) checked_at: Mutex<Instant>,
    /// Whether the listener has its connection.
    pub(super) listening: AtomicBool,
    pub(super) ended: Arc<EndedSessions>,
    pub(super) max_tools: usize,
    pub(super) read_only: bool,
}

impl Shared {
    /// The first connection: schema, then tools.
    pub(super) fn begin(&self) -> Result<(), Fault> {
        let mut client = self.database.connect()?;
        within(Limit::Until(Instant::now() + migrations::MIGRATION), || {
            let schema = &self.tables.schema;
            if !self.read_only {
                let migrated = migrations::migrate(&mut client, schema)?;
                if migrated.from != migrated.to {
                    log::info!(
                        "the database's schema went from version {} to {}",
                        migrated.from,
                        migrated.to
                    );
                }
                return Ok(());
            }
            let (found, known) = (
                migrations::read_version(&mut client, schema)?,
                migrations::known_version(),
            );
            match found == known {
                true => Ok(()),
                false => Err(Fault::OldSchema(found, known)),
            }
        })?;
        self.catch_up(&mut client)
    }

    /// Compares the snapshot with the database and reads what changed.
    pub(super) fn catch_up(&self, client: &mut Client) -> Result<(), Fault> {
        // Again only when a write of ours was shown meanwhile.
        while !self.try_to_catch_up(client)? {}
        *self
            .checked_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Ok(())
    }

    /// Whether the snapshot is now what the database held.
    fn try_to_catch_up(&self, client: &mut Client) -> Result<bool, Fault> {
        // Before the database is asked: if it knows less, then not because it was asked too early.
        let newest = self.shown.newest();
        let marker = within(Limit::Until(Instant::now() + CHECK), || {
            self.tables.marker(client)
        })?;
        if newest.marker == marker {
            return Ok(true);
        }
        let mirror = within(Limit::Until(Instant::now() + WHOLE), || {
            let mut transaction = client
                .build_transaction()
                .isolation_level(IsolationLevel::RepeatableRead)
                .read_only(true)
                .start()?;
            transaction.batch_execute(&timeouts(WHOLE))?;
            let marker = self.tables.marker(&mut transaction)?;
            if newest.marker.lost_in(&marker) && is_standby(&mut transaction)? {
                return Err(Fault::Behind);
            }
            let mirror = newest.load(&mut transaction, &self.tables, marker)?;
            transaction.commit()?;
            Ok(mirror)
        })?;
        Ok(self.shown.show_after(&newest, mirror))
    }

    /// One transaction on a connection of the pool, all of it within `limit`.
    pub(super) fn bounded<T, E: From<Fault>>(
        &self,
        limit: Duration,
        act: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.database.run(Instant::now() + limit, |client| {
            let mut transaction = client.transaction().map_err(Fault::from)?;
            // Within the transaction: a pooler gives the connection to others after it.
            transaction
                .batch_execute(&timeouts(limit.min(STATEMENT).max(limit / 2)))
                .map_err(Fault::from)?;
            let done = act(&mut transaction)?;
            transaction.commit().map_err(commit_fault)?;
            Ok(done)
        })
    }

    /// One write: `decide` sees the newest entries and the database's time, and says what changes.
    pub(super) fn write(&self, limit: Duration, decide: &mut Decide<'_>) -> Result<(), StoreError> {
        if self.read_only {
            return Err(StoreError::ReadOnly);
        }
        let turn = retry_until(Instant::now() + TURN, || try_lock(&self.turn));
        let _turn = turn.ok_or(StoreError::Busy { waited: TURN })?;
        let (written, locked) = self.bounded(limit, |transaction| {
            let locked = self.tables.lock(transaction)?;
            let newest = self.shown.newest();
            if newest.marker != locked.marker {
                // Nobody can commit before us, so this is what is committed.
                let marker = locked.marker.clone();
                self.shown
                    .show(newest.load(transaction, &self.tables, marker)?);
            }
            let before = self.shown.snapshot();
            let moment = Moment {
                now: locked.now.clone(),
                max_entries: self.max_tools,
            };
            let change = decide(&before, &moment)?;
            let written = written::write(transaction, &self.tables, &before, change)?;
            Ok::<_, StoreError>((written, locked))
        })?;
        self.shown
            .show_write(&locked.marker, &written, locked.began_at);
        Ok(())
    }
}

/// Whether the server follows another, and so may still lack what that one has.
fn is_standby(client: &mut impl GenericClient) -> Result<bool, Fault> {
    let row = client.query_typed_one("SELECT pg_is_in_recovery()", &[])?;
    Ok(row.try_get(0)?)
}

/// Of the transaction that this is sent in.
fn timeouts(statement: Duration) -> String {
    let lock = LOCK.min(statement * 3 / 4);
    format!(
        "SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}; \
         SET LOCAL idle_in_transaction_session_timeout = {}",
        statement.as_millis(),
        lock.as_millis(),
        statement.as_millis() * 2
    )
}

/// A commit that was not answered may have happened.
fn commit_fault(error: postgres::Error) -> Fault {
    if error.code().is_some() {
        return Fault::from(error);
    }
    log::warn!("a commit was not answered: {}", Fault::from(error));
    Fault::CommitUnknown
}

impl From<Fault> for StoreError {
    /// What a write says.
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Locked => Self::Busy { waited: LOCK },
            fault => {
                let reason = fault.to_string();
                Self::Unwritable { reason }
            }
        }
    }
}
