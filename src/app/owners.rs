//! This instance and the others, for the engine: known by lock files beside a registry in a file,
//! by leases in a database.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::StartError;
use crate::base::ids::random_hex;
use crate::engine::Owners;
use crate::registry::StoreError;
use crate::registry::file::FileStore;
use crate::registry::instance::{InstanceLock, Liveness, forget_dead, known, liveness};
use crate::registry::postgres::PostgresStore;
use crate::registry::postgres::leases::{Lease, LeaseTimes};

/// This instance among the others. It is made known once there is something to its name, so that a
/// start leaves no trace, or at once by [`Instance::register`].
pub(super) trait Instance: Owners {
    /// Makes this instance known.
    fn register(&self) -> Result<(), StartError>;

    /// Nothing of this instance is left, so nobody needs to remember it.
    fn retire(&self);
}

/// Instances known by lock files beside the registry.
pub(super) struct FileOwners {
    lock: Mutex<Option<InstanceLock>>,
    own_id: OnceLock<String>,
    folder: PathBuf,
}

impl FileOwners {
    pub(super) fn new(store: &FileStore) -> Result<Self, StartError> {
        Ok(Self {
            lock: Mutex::new(None),
            own_id: OnceLock::new(),
            folder: store.instances_folder().map_err(StartError::Registry)?,
        })
    }

    fn acquire(&self) -> std::io::Result<String> {
        let lock = InstanceLock::acquire(&self.folder)?;
        let id = lock.id().to_owned();
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock);
        Ok(id)
    }
}

impl Instance for FileOwners {
    fn register(&self) -> Result<(), StartError> {
        let id = self.acquire().map_err(StartError::Instance)?;
        self.own_id.get_or_init(|| id);
        Ok(())
    }

    fn retire(&self) {
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

/// Instances known by their leases.
pub(super) struct LeaseOwners {
    store: Arc<PostgresStore>,
    lease: Mutex<Option<Lease>>,
    own_id: OnceLock<String>,
}

impl LeaseOwners {
    pub(super) fn new(store: Arc<PostgresStore>) -> Self {
        Self {
            store,
            lease: Mutex::new(None),
            own_id: OnceLock::new(),
        }
    }

    fn acquire(&self) -> Result<String, StoreError> {
        let lease = Lease::acquire(&self.store, LeaseTimes::USUAL)?;
        let id = lease.id().to_owned();
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = Some(lease);
        Ok(id)
    }

    fn with_lease<T>(&self, act: impl FnOnce(&Lease) -> T) -> Option<T> {
        let lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        lease.as_ref().map(act)
    }
}

impl Instance for LeaseOwners {
    fn register(&self) -> Result<(), StartError> {
        let id = self.acquire().map_err(StartError::Registry)?;
        self.own_id.get_or_init(|| id);
        Ok(())
    }

    fn retire(&self) {
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Err(error)) = lease.take().map(Lease::retire) {
            log::warn!("this instance's lease cannot be removed: {error}");
        }
    }
}

impl Owners for LeaseOwners {
    fn own_id(&self) -> &str {
        self.own_id.get_or_init(|| {
            self.acquire().unwrap_or_else(|error| {
                // Nobody will find it dead: its containers go by the end that they bear.
                log::warn!("this instance has no lease: {error}");
                random_hex()
            })
        })
    }

    fn is_dead(&self, id: &str) -> bool {
        self.dead().iter().any(|dead| dead == id)
    }

    fn forget(&self, id: &str) {
        if let Some(Err(error)) = self.with_lease(|lease| lease.forget(id)) {
            log::warn!("a dead instance's lease cannot be removed: {error}");
        }
    }

    fn dead(&self) -> Vec<String> {
        self.with_lease(Lease::dead).unwrap_or_default()
    }

    /// It may have lost the database alone, and serve on.
    fn may_err(&self) -> bool {
        true
    }
}
