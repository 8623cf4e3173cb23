//! Live instances of the server by rows that each renews (contract, section 5). An instance counts
//! as dead once its row was not renewed for long by the database's clock, while we could reach the
//! database all that time ourselves: after an outage, nobody is dead before everybody had the
//! time to come back. It may still live, out of the database's reach.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender};
use postgres::types::{ToSql, Type};

use super::fault::Fault;
use super::shared::Shared;
use super::{PostgresStore, StoreError, WRITE, unusable};
use crate::base::ids;

/// How often a lease is renewed, and when it is over.
#[derive(Clone, Copy, Debug)]
pub struct LeaseTimes {
    /// The pause between renewals.
    pub renew: Duration,
    /// An instance that did not renew for this long is dead.
    pub dead_after: Duration,
}

impl LeaseTimes {
    /// The contract's.
    pub const USUAL: Self = Self {
        renew: Duration::from_secs(5),
        dead_after: Duration::from_secs(30),
    };
}

/// Most instances that are looked at.
const MAX_INSTANCES: i64 = 10_000;

/// This instance's lease, and what it knows of the others. Dropping it ends its thread and leaves
/// the row for others to find dead.
#[derive(Debug)]
pub struct Lease {
    shared: Arc<Shared>,
    id: String,
    times: LeaseTimes,
    known: Arc<Mutex<Known>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the last renewals found.
#[derive(Debug, Default)]
struct Known {
    /// Since when every renewal of ours was answered.
    since: Option<Instant>,
    /// Rows that are over by the database's clock.
    expired: Vec<String>,
}

impl Lease {
    /// A new id, 32 hexadecimal digits, and its row, renewed from now on.
    ///
    /// # Errors
    /// `Unusable` when the row cannot be written.
    pub fn acquire(store: &PostgresStore, times: LeaseTimes) -> Result<Self, StoreError> {
        let (shared, id) = (Arc::clone(&store.shared), ids::random_hex());
        let known = Arc::new(Mutex::new(Known::default()));
        match renew(&shared, &id, times, &known) {
            // The row is made once the standby is the primary; until then nobody takes us for dead.
            Err(Fault::ReadOnlyServer) => log::warn!("no lease: {}", Fault::ReadOnlyServer),
            renewed => renewed.map_err(unusable)?,
        }
        let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
        let renewed = (Arc::clone(&shared), id.clone(), Arc::clone(&known));
        let thread = std::thread::Builder::new()
            .name("lease".to_owned())
            .spawn(move || {
                let (shared, id, known) = renewed;
                let mut last_fault = None;
                while stopped.recv_timeout(times.renew) == Err(RecvTimeoutError::Timeout) {
                    let fault = renew(&shared, &id, times, &known).err();
                    if let Some(fault) = fault.as_ref().filter(|_| fault != last_fault) {
                        log::warn!("this instance's lease was not renewed: {fault}");
                    }
                    last_fault = fault;
                }
            })
            .map_err(|_| unusable(Fault::Exhausted))?;
        Ok(Self {
            shared,
            id,
            times,
            known,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The id, for labels.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Instances that count as dead and are still remembered.
    pub fn dead(&self) -> Vec<String> {
        let known = lock(&self.known);
        match known.since {
            Some(since) if since.elapsed() >= self.times.dead_after => known.expired.clone(),
            _ => Vec::new(),
        }
    }

    /// Forgets a dead instance, once nothing bears its id any more.
    ///
    /// # Errors
    /// `Unusable` when the database does not answer.
    pub fn forget(&self, id: &str) -> Result<(), StoreError> {
        let over = format!("renewed_at < clock_timestamp() - {}", self.times.interval());
        self.remove(id, &over)
    }

    /// Ends the instance without a trace: only once nothing that bears its id is left.
    ///
    /// # Errors
    /// When the row cannot be removed; the instance is then found dead.
    pub fn retire(mut self) -> Result<(), StoreError> {
        self.end();
        self.remove(&self.id, "true")
    }

    fn remove(&self, id: &str, only_if: &str) -> Result<(), StoreError> {
        let instances = &self.shared.tables.instances;
        let query = format!("DELETE FROM {instances} WHERE id = $1 AND {only_if}");
        let removed = self.shared.bounded(WRITE, |transaction| {
            transaction.execute_typed(&query, &[(&id, Type::TEXT)])?;
            Ok::<(), Fault>(())
        });
        removed.map_err(unusable)
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.end();
    }
}

impl LeaseTimes {
    fn interval(&self) -> String {
        format!("interval '{} milliseconds'", self.dead_after.as_millis())
    }
}

/// Renews our own row and looks at the others'.
fn renew(shared: &Shared, id: &str, times: LeaseTimes, known: &Mutex<Known>) -> Result<(), Fault> {
    let (instances, interval) = (&shared.tables.instances, times.interval());
    // Also after a sibling took us for dead: it is better to live twice than not at all.
    let renew = format!(
        "INSERT INTO {instances} (id, started_at, renewed_at) \
         VALUES ($1, clock_timestamp(), clock_timestamp()) \
         ON CONFLICT (id) DO UPDATE SET renewed_at = clock_timestamp()"
    );
    let list = format!(
        "SELECT id FROM {instances} WHERE id <> $1 \
         AND renewed_at < clock_timestamp() - {interval} LIMIT {MAX_INSTANCES}"
    );
    let own: (&(dyn ToSql + Sync), Type) = (&id, Type::TEXT);
    let listed = shared.bounded(WRITE, |transaction| {
        transaction.execute_typed(&renew, std::slice::from_ref(&own))?;
        let rows = transaction.query_typed(&list, &[own])?;
        let ids = rows.iter().map(|row| row.try_get(0));
        Ok::<Vec<String>, Fault>(ids.collect::<Result<_, _>>()?)
    });
    let mut known = lock(known);
    match listed {
        Ok(expired) => {
            known.since.get_or_insert_with(Instant::now);
            known.expired = expired;
            Ok(())
        }
        Err(fault) => {
            *known = Known::default();
            Err(fault)
        }
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}
