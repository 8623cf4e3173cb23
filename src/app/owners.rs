//! Live instances of a file registry, as the engine's reaper asks for them.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::StartError;
use crate::engine::Owners;
use crate::registry::file::FileStore;
use crate::registry::instance::{InstanceLock, Liveness, forget_dead, known, liveness};

/// Instances known by lock files beside the registry.
pub(super) struct FileOwners {
    lock: Mutex<Option<InstanceLock>>,
    own_id: String,
    folder: PathBuf,
}

impl FileOwners {
    pub(super) fn register(store: &FileStore) -> Result<Self, StartError> {
        let folder = store.instances_folder().map_err(StartError::Registry)?;
        let lock = InstanceLock::acquire(&folder).map_err(StartError::Instance)?;
        let own_id = lock.id().to_owned();
        Ok(Self {
            lock: Mutex::new(Some(lock)),
            own_id,
            folder,
        })
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
        &self.own_id
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
        ids.retain(|id| *id != self.own_id && self.is_dead(id));
        ids
    }
}
