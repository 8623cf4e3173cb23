//! One file that this and other processes read and write. The format stands in `document`, the care
//! for the disk in `atomic_file`, what a write may do in `decide`.
//!
//! A write takes this process's turn and then the lock file beside the store, reads the file again
//! if another process replaced it, replaces it whole, and only then shows the change in memory. So
//! memory is never ahead of the disk, and a failed write leaves nothing behind. A file that became
//! unusable leaves the last good entries in place and stops writes until it is mended.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::StoreError;
use super::atomic_file::{self, Version};
use super::decide::Change;
use super::document::{self, Extras, MAX_FILE_BYTES};
use super::record::{Record, Stored};
use super::snapshot::{Published, Snapshot};
use crate::base::text::listing;
use crate::domain::entry::{EntryName, Kind};
use crate::domain::prompt::PromptDefinition;
use crate::domain::resource::ResourceDefinition;
use crate::domain::tool::Definition;

/// How long a write waits for other writers.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Most names in one warning.
const MAX_WARNED: usize = 10;

#[derive(Debug)]
pub(super) struct SharedFile {
    path: PathBuf,
    read_only: bool,
    published: Published,
    /// Held while this process reads or writes the file.
    turn: Mutex<Loaded>,
    check: Mutex<Check>,
}

/// What is known of the file besides the entries, which are the newest snapshot.
#[derive(Debug)]
struct Loaded {
    seen: Seen,
    extras: Extras,
}

#[derive(Debug)]
enum Seen {
    /// There has been no file yet: an empty registry.
    Nothing,
    /// This state was read, with the verdict in [`Check`].
    File(Version),
    /// There was a file, and now there is none, or none that can be opened.
    Gone,
}

/// The last look at the file.
#[derive(Debug)]
struct Check {
    verdict: Result<(), StoreError>,
    passed_at: Instant,
}

impl SharedFile {
    /// Nothing is read yet.
    pub(super) fn new(path: PathBuf, read_only: bool) -> Self {
        let (seen, extras) = (Seen::Nothing, Extras::default());
        let (verdict, passed_at) = (Ok(()), Instant::now());
        Self {
            path,
            read_only,
            published: Published::default(),
            turn: Mutex::new(Loaded { seen, extras }),
            check: Mutex::new(Check { verdict, passed_at }),
        }
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.read_only
    }

    pub(super) fn published(&self) -> &Published {
        &self.published
    }

    /// When the newest snapshot was last found to be what the file holds.
    pub(super) fn last_checked(&self) -> Instant {
        lock(&self.check).passed_at
    }

    /// What would stop the next write.
    pub(super) fn health(&self) -> Result<(), StoreError> {
        lock(&self.check).verdict.clone()?;
        if self.read_only {
            return Ok(());
        }
        atomic_file::probe(&self.writable_target()?).map_err(|error| unwritable(&error))
    }

    /// The first reading; waits for no other process.
    pub(super) fn load(&self) -> Result<(), StoreError> {
        self.refresh(&mut lock(&self.turn))
    }

    /// One write: `decide` sees the newest entries and says what changes.
    pub(super) fn write(
        &self,
        decide: impl FnOnce(&Snapshot) -> Result<Change, StoreError>,
    ) -> Result<(), StoreError> {
        if self.read_only {
            return Err(StoreError::ReadOnly);
        }
        let deadline = Instant::now() + LOCK_WAIT;
        let busy = StoreError::Busy { waited: LOCK_WAIT };
        let mut loaded =
            atomic_file::retry_until(deadline, || try_lock(&self.turn)).ok_or(busy.clone())?;
        let target = self.writable_target()?;
        let _lock = atomic_file::lock(&atomic_file::sibling(&target, ".lock"), deadline)
            .map_err(|error| unwritable(&error))?
            .ok_or(busy)?;
        self.refresh(&mut loaded)?;
        let before = self.published.current();
        let change = decide(&before)?;
        if change.is_empty() {
            return Ok(());
        }
        let next = before.after(&change);
        let mut extras = loaded.extras.clone();
        extras.retain(&next);
        let version = atomic_file::replace(&target, |out| document::encode(&next, &extras, out))
            .inspect_err(|error| log::error!("{} was not written: {error}", target.display()))
            .map_err(|error| unwritable(&error))?;
        *loaded = Loaded {
            seen: Seen::File(version),
            extras,
        };
        self.published.show(next);
        Ok(())
    }

    /// One look of the watching thread; a write under way looks for itself.
    pub(super) fn watch(&self) {
        if let Some(mut loaded) = try_lock(&self.turn) {
            // The verdict is kept and logged where it is made.
            let _ = self.refresh(&mut loaded);
        }
    }

    /// Reads the file again if it is another than the one last seen.
    fn refresh(&self, loaded: &mut Loaded) -> Result<(), StoreError> {
        let found = self.target().and_then(|target| {
            Version::open(&target).map_err(|error| self.corrupt(format!("cannot be read: {error}")))
        });
        let verdict = match (found, &loaded.seen) {
            (Err(error), _) => {
                // Whatever comes next is to be read anew.
                loaded.seen = Seen::Gone;
                Err(error)
            }
            (Ok(None), Seen::Nothing) => Ok(()),
            (Ok(None), _) => {
                loaded.seen = Seen::Gone;
                let mend = "put it back, or restart to begin with an empty registry";
                Err(self.corrupt(format!("it is gone; {mend}")))
            }
            (Ok(Some(found)), Seen::File(seen)) if found.is(seen) => {
                lock(&self.check).verdict.clone()
            }
            (Ok(Some(found)), _) => {
                let read = self.read(&found);
                loaded.seen = Seen::File(found);
                read.map(|extras| loaded.extras = extras)
            }
        };
        self.keep(verdict.clone());
        verdict
    }

    /// Publishes what a file holds and returns the rest of it.
    fn read(&self, version: &Version) -> Result<Extras, StoreError> {
        let text = version
            .read_text(MAX_FILE_BYTES)
            .map_err(|error| self.corrupt(error.to_string()))?;
        let read = document::decode(&text).map_err(|reason| self.corrupt(reason))?;
        let before = self.published.current();
        let mut records = read.records;
        for record in &mut records {
            // What did not change stays the same value, so that what hangs on it stays too.
            if let Some(same) = before.record(&record.key()).filter(|old| old == record) {
                *record = same;
            }
        }
        if !before.records().eq(records.iter().cloned()) {
            self.published.publish(&records);
            warn_of_names(&records, &before, &self.published.current());
        }
        Ok(read.extras)
    }

    fn keep(&self, verdict: Result<(), StoreError>) {
        let mut check = lock(&self.check);
        match &verdict {
            Ok(()) => check.passed_at = Instant::now(),
            Err(error) if check.verdict != verdict => log::error!("{error}"),
            Err(_) => (),
        }
        check.verdict = verdict;
    }

    /// The file itself, behind all links, which may be turned elsewhere while we run.
    pub(super) fn target(&self) -> Result<PathBuf, StoreError> {
        atomic_file::resolve(&self.path)
            .map_err(|error| self.corrupt(format!("cannot be found: {error}")))
    }

    /// The same, with its folder made where missing.
    fn writable_target(&self) -> Result<PathBuf, StoreError> {
        let target = self.target()?;
        atomic_file::create_private_folder(atomic_file::parent(&target))
            .map_err(|error| unwritable(&error))?;
        Ok(target)
    }

    fn corrupt(&self, reason: String) -> StoreError {
        StoreError::Corrupt {
            path: self.path.clone(),
            reason,
        }
    }
}

/// Warns of those of `records` that are new and have names of old stores: they are served, though
/// nothing can be created by such a name.
pub(super) fn warn_of_names(records: &[Record], before: &Snapshot, after: &Snapshot) {
    fn is_second<D: Stored>(snapshot: &Snapshot, name: &EntryName) -> bool {
        let first = snapshot.shelf::<D>().of_same_spelling(name.as_str());
        first.is_some_and(|first| first.name != *name)
    }
    let fresh: Vec<&Record> = records
        .iter()
        .filter(|record| before.record(&record.key()).is_none())
        .collect();
    let fresh = || fresh.iter().copied();
    let colons = fresh()
        .filter(|record| record.kind() == Kind::Tool && record.name().as_str().contains(':'));
    warn("MCP's naming rule has no ':'", colons);
    let seconds = fresh().filter(|record| match record {
        Record::Tool(tool) => is_second::<Definition>(after, &tool.name),
        Record::Prompt(prompt) => is_second::<PromptDefinition>(after, &prompt.name),
        Record::Resource(resource) => is_second::<ResourceDefinition>(after, &resource.name),
    });
    warn(
        "another one has the same name once dots and colons are underscores",
        seconds,
    );
}

fn warn<'a>(what: &str, records: impl Iterator<Item = &'a Record>) {
    let (mut tools, mut others) = (Vec::new(), Vec::new());
    for record in records {
        match record {
            Record::Tool(tool) => tools.push(tool.name.as_str()),
            other => others.push(other.name().as_str()),
        }
    }
    for (kind, names) in [("tools", tools), ("prompts or resources", others)] {
        if !names.is_empty() {
            log::warn!("dynamic {kind} {}: {what}", listing(&names, MAX_WARNED));
        }
    }
}

/// The system's words by the kind of error: no path, no number.
pub(super) fn unwritable(error: &io::Error) -> StoreError {
    let reason = match error.kind() {
        io::ErrorKind::StorageFull => "the disk is full".to_owned(),
        io::ErrorKind::FileTooLarge => "its file would be too large".to_owned(),
        kind => kind.to_string(),
    };
    StoreError::Unwritable { reason }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}
