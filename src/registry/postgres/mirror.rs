//! What is known of the database's entries: which state of it, and each row with its version.
//! Loading asks for the rows that changed and no others; publishing never goes back in time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postgres::GenericClient;

use super::entries::{self, kind_of};
use super::fault::Fault;
use super::rows::{self, Found, VERSION};
use super::tables::Tables;
use super::written::Written;
use crate::base::text::{counted, listing};
use crate::domain::entry::Kind;
use crate::registry::document::MAX_ENTRIES;
use crate::registry::record::Record;
use crate::registry::shared_file::warn_of_names;
use crate::registry::snapshot::{Published, Snapshot};

/// Most rows that are named in the log because they cannot be served.
const MAX_WARNED: usize = 10;

/// A state of the database: `generation` counts the writes to the registry that `epoch` names, and
/// the last was at `changed_at`, in microseconds. A database that went back in time may count the
/// same number again, but at another time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) epoch: String,
    pub(super) generation: i64,
    pub(super) changed_at: i64,
}

impl Marker {
    /// Whether `read`, the state that was read later, lacks changes of this one.
    pub(super) fn lost_in(&self, read: &Self) -> bool {
        self.epoch == read.epoch && self.generation > read.generation
    }
}

/// A row: which version of it, and the record, unless it breaks a rule.
#[derive(Clone, Debug)]
struct Mirrored {
    version: String,
    record: Option<Record>,
}

/// All entries at one state.
#[derive(Clone, Debug, Default)]
pub(super) struct Mirror {
    pub(super) marker: Marker,
    rows: BTreeMap<(Kind, String), Mirrored>,
}

impl Mirror {
    /// The tables as they are now, where `self` is what they were; `marker` was read before, in the
    /// same transaction.
    pub(super) fn load(
        &self,
        client: &mut impl GenericClient,
        tables: &Tables,
        marker: Marker,
    ) -> Result<Self, Fault> {
        let most = MAX_ENTRIES * Kind::ALL.len() + 1;
        let list = format!(
            "SELECT 'tool', name, {VERSION} FROM {} \
             UNION ALL SELECT kind, name, {VERSION} FROM {} LIMIT {most}",
            tables.tools, tables.entries
        );
        let listed = client.query_typed(&list, &[])?;
        if listed.len() >= most {
            return Err(Fault::TooManyEntries);
        }
        let (mut rows, mut tools, mut entries) = (BTreeMap::new(), Vec::new(), Vec::new());
        for row in &listed {
            let (kind, name): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
            // Another version's kind is none of ours.
            let Some(kind) = kind_of(kind) else { continue };
            let (key, version) = ((kind, name.to_owned()), row.try_get::<_, String>(2)?);
            let known = self.rows.get(&key).filter(|known| known.version == version);
            let record = known.and_then(|known| known.record.clone());
            if known.is_none() {
                match kind {
                    Kind::Tool => tools.push(name),
                    kind => entries.push((kind, name)),
                }
            }
            rows.insert(key, Mirrored { version, record });
        }
        for kind in Kind::ALL {
            if rows.keys().filter(|(of, _)| *of == kind).count() > MAX_ENTRIES {
                return Err(Fault::TooManyEntries);
            }
        }
        let mut found = rows::select(client, &tables.tools, &tools)?;
        found.extend(entries::select(client, &tables.entries, &entries)?);
        let (wanted, fetched) = (tools.len() + entries.len(), found.len());
        let mut broken = Vec::new();
        for found in found {
            let Found {
                kind,
                name,
                version,
                record,
            } = found;
            let record = record
                .inspect_err(|rule| broken.push(format!("{name:?} ({rule})")))
                .ok()
                .map(|record| self.same_or(record));
            rows.insert((kind, name), Mirrored { version, record });
        }
        warn_of_broken(&broken, wanted.saturating_sub(fetched));
        Ok(Self { marker, rows })
    }

    /// Entries that did not change stay the same value, so that what hangs on them stays too.
    fn same_or(&self, record: Record) -> Record {
        let known = self.rows.get(&(record.kind(), record.name().to_string()));
        let same = known.and_then(|known| known.record.as_ref());
        same.filter(|known| **known == record)
            .cloned()
            .unwrap_or(record)
    }

    /// Takes in a write of our own.
    fn take_in(&mut self, written: &Written, changed_at: i64) {
        let key = |record: &Record| (record.kind(), record.name().to_string());
        for record in &written.change.removed {
            self.rows.remove(&key(record));
        }
        let versions: BTreeMap<_, _> = written.versions.iter().map(|(of, it)| (of, it)).collect();
        for record in &written.change.put {
            let key = key(record);
            // A version that is not known is one that no row has: it is read again.
            let version = versions.get(&key).map(|it| it.to_string());
            let (version, record) = (version.unwrap_or_default(), Some(record.clone()));
            self.rows.insert(key, Mirrored { version, record });
        }
        self.marker.generation += written.statements;
        self.marker.changed_at = changed_at;
    }

    fn records(&self) -> Vec<Record> {
        let records = self.rows.values().filter_map(|row| row.record.clone());
        records.collect()
    }
}

fn warn_of_broken(broken: &[String], unread: usize) {
    if broken.is_empty() && unread == 0 {
        return;
    }
    let names: Vec<&str> = broken.iter().map(String::as_str).collect();
    let unread = match unread {
        0 => String::new(),
        rows => format!("; {} without a name", counted(rows, "row")),
    };
    log::warn!(
        "what is in the database and breaks a rule is not served: {}{unread}",
        listing(&names, MAX_WARNED)
    );
}

/// The newest mirror, and the snapshot that is made of it.
#[derive(Debug, Default)]
pub(super) struct Shown {
    newest: Mutex<Arc<Mirror>>,
    published: Published,
}

impl Shown {
    pub(super) fn newest(&self) -> Arc<Mirror> {
        Arc::clone(&self.locked())
    }

    pub(super) fn published(&self) -> &Published {
        &self.published
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.published.current()
    }

    /// Shows what is certainly the newest: it was read under the registry's lock.
    pub(super) fn show(&self, mirror: Mirror) {
        self.publish(&mut self.locked(), mirror);
    }

    /// Shows `mirror`, a state that came after `seen`, unless another was shown since: which of the
    /// two is newer would not be known. Whether it did.
    pub(super) fn show_after(&self, seen: &Arc<Mirror>, mirror: Mirror) -> bool {
        let mut newest = self.locked();
        let is_next = Arc::ptr_eq(&newest, seen);
        if is_next {
            self.publish(&mut newest, mirror);
        }
        is_next
    }

    fn publish(&self, newest: &mut Arc<Mirror>, mirror: Mirror) {
        let (known, given) = (&newest.marker, &mirror.marker);
        let lacks = known.epoch == given.epoch && known.generation >= given.generation;
        if lacks && known != given {
            log::warn!(
                "the database went back in time (a failover, or a backup that was restored?): \
                 changes are lost, and the registry is what it holds now"
            );
        }
        let records = mirror.records();
        let before = self.published.current();
        *newest = Arc::new(mirror);
        let mut pairs = before.records().zip(&records);
        let same = before.records().count() == records.len() && pairs.all(|(old, new)| old.is(new));
        if !same {
            self.published.publish(&records);
            warn_of_names(&records, &before, &self.published.current());
        }
    }

    /// Shows the committed write that was made upon the state `base`, unless that is not what is
    /// shown any more: then somebody has read what is committed, or will.
    pub(super) fn show_write(&self, base: &Marker, written: &Written, changed_at: i64) {
        let mut newest = self.locked();
        if newest.marker != *base {
            return;
        }
        Arc::make_mut(&mut newest).take_in(written, changed_at);
        if !written.change.is_empty() {
            let before = self.published.current();
            self.published.publish_change(&written.change);
            warn_of_names(&written.change.put, &before, &self.published.current());
        }
    }

    fn locked(&self) -> MutexGuard<'_, Arc<Mirror>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
