//! The store in one file, for any number of processes on one machine: [`ToolStore`] over
//! `shared_file`, and the thread that watches for other processes' changes.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender};

use super::atomic_file;
use super::decide::Moment;
use super::document;
use super::key_file;
use super::shared_file::{SharedFile, unwritable};
use super::snapshot::Snapshot;
use super::{Decide, Extent, StoreError, ToolStore};
use crate::base::clock;
use crate::base::ids::random_bytes;

/// How often the file is looked at for other processes' changes.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// How to open a [`FileStore`].
#[derive(Clone, Debug)]
pub struct FileStoreOptions {
    /// The file; its folder is made by the first write. May be a symbolic link.
    pub path: PathBuf,
    /// Most entries of one kind that may be created; a file that holds more is still served.
    pub max_tools: usize,
    /// Refuse writes, and make no file or folder.
    pub read_only: bool,
}

/// A store in one JSON file. Dropping it ends its thread.
#[derive(Debug)]
pub struct FileStore {
    shared: Arc<SharedFile>,
    max_tools: usize,
    stop: Option<Sender<()>>,
    watcher: Option<JoinHandle<()>>,
}

impl FileStore {
    /// Reads the file, if there is one, and starts to watch it.
    ///
    /// # Errors
    /// `Corrupt` for a file that cannot be used (it is left as it is).
    pub fn open(options: FileStoreOptions) -> Result<Self, StoreError> {
        let FileStoreOptions {
            path,
            max_tools,
            read_only,
        } = options;
        let path = std::path::absolute(&path).map_err(|error| unwritable(&error))?;
        let shared = Arc::new(SharedFile::new(path, read_only));
        shared.load()?;
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let watched = shared.clone();
        let watcher = std::thread::Builder::new()
            .name("registry-watch".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(WATCH_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    watched.watch();
                }
            })
            .map_err(|error| unwritable(&error))?;
        Ok(Self {
            shared,
            max_tools,
            stop: Some(stop),
            watcher: Some(watcher),
        })
    }

    /// The key of that name, from the file `{name}.key` beside the store. A read-only store without
    /// one has a key for this process alone.
    ///
    /// # Errors
    /// When the file cannot be made, or holds no key.
    pub fn key(&self, name: &str) -> std::io::Result<[u8; 32]> {
        let target = self.shared.target().map_err(std::io::Error::other)?;
        let folder = atomic_file::parent(&target);
        let path = folder.join(format!("{name}.key"));
        if self.shared.is_read_only() {
            return Ok(key_file::load(&path)?.unwrap_or_else(random_bytes));
        }
        atomic_file::create_private_folder(folder)?;
        key_file::load_or_create(&path)
    }

    /// The folder of the instance locks, beside the file.
    ///
    /// # Errors
    /// `Corrupt` when the path's links lead nowhere.
    pub fn instances_folder(&self) -> Result<PathBuf, StoreError> {
        Ok(atomic_file::parent(&self.shared.target()?).join("instances"))
    }
}

#[cfg(test)]
impl FileStore {
    pub(super) fn shared_for_tests(&self) -> std::sync::Weak<impl Sized + use<>> {
        Arc::downgrade(&self.shared)
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
    }
}

impl ToolStore for FileStore {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.published().current()
    }

    fn wait_newer(&self, seen: u64, timeout: Duration) -> Arc<Snapshot> {
        self.shared.published().wait_newer(seen, timeout)
    }

    fn write(&self, _: Extent, decide: &mut Decide<'_>) -> Result<(), StoreError> {
        let moment = Moment {
            now: clock::now_rfc3339(),
            max_entries: self.max_tools.min(document::MAX_ENTRIES),
        };
        self.shared.write(|snapshot| decide(snapshot, &moment))
    }

    fn is_read_only(&self) -> bool {
        self.shared.is_read_only()
    }

    fn backend(&self) -> &'static str {
        "file"
    }

    fn health(&self) -> Result<(), StoreError> {
        self.shared.health()
    }

    fn last_checked(&self) -> Instant {
        self.shared.last_checked()
    }
}
