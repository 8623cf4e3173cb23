//! This instance and the others, for the engine: known by lock files beside the registry.

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::StartError;
use crate::base::ids::random_hex;
use crate::engine::Owners;
use crate::registry::file::FileStore;
use crate::registry::instance::{InstanceLock, Liveness, forget_dead, known, liveness};

/// Instances known by lock files beside the registry.
pub(super) struct FileOwners {
    lock: Mutex<Option<InstanceLock>>,
    own_id: OnceLock<String>,
    folder: PathBuf,
}

impl FileOwners {
    /// This instance is made known once there is something to its name: a start leaves no trace.
    pub(super) fn new(store: &FileStore) -> Result<Self, StartError> {
        Ok(Self {
            lock: Mutex::new(None),
            own_id: OnceLock::new(),
            folder: store.instances_folder().map_err(StartError::Registry)?,
        })
    }

    /// Makes this instance known at once.
    pub(super) fn register(&self) -> std::io::Result<()> {
        let id = self.acquire()?;
        self.own_id.get_or_init(|| id);
        Ok(())
    }

    fn acquire(&self) -> std::io::Result<String> {
        let lock = InstanceLock::acquire(&self.folder)?;
        let id = lock.id().to_owned();
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock);
        Ok(id)
    }

    /// Nothing of this instance is left, so nobody needs to remember it.
    pub(super) fn retire(&self) {
        let lock = self
            .lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(Err(error)) = lock.map(InstanceLock::retire) {
            log::warn!("this instance's lock file cannot be removed: {error}");
        }
    }
}

impl Owners for FileOwners {
    fn own_id(&self) -> &str {
        self.own_id.get_or_init(|| {
            self.acquire().unwrap_or_else(|error| {
                // Nobody will find it dead: its containers go by the end that they bear.
                log::warn!("this instance cannot be recorded beside the registry: {error}");
                random_hex()
            })
        })
    }

    fn is_dead(&self, id: &str) -> bool {
        liveness(&self.folder, id) == Liveness::Dead
    }

    fn forget(&self, id: &str) {
        if let Err(error) = forget_dead(&self.folder, id) {
            log::warn!("a dead instance's lock file cannot be removed: {error}");
        }
    }

    fn dead(&self) -> Vec<String> {
        let mut ids = known(&self.folder).unwrap_or_default();
        ids.retain(|id| self.own_id.get() != Some(id) && self.is_dead(id));
        ids
    }
}
