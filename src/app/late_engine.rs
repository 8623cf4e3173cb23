//! An engine that starts with its first use: choosing one asks the daemon, and a started one parks
//! sandboxes, which a server that is only asked what it speaks must not do.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::audit_log::record_engine;
use super::engine_choice::{Surroundings, start_engine};
use super::store::Registry;
use crate::audit::Audit;
use crate::base::deadline::Deadline;
use crate::config::Config;
use crate::domain::entry::Dependency;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::image::ImageRef;
use crate::domain::run::{Cancel, Ended, Job, Observer};
use crate::engine::{Check, Engine, InstallCounts, Owners, PoolCounts, Sandboxes};

/// The engine that the settings ask for, once it is needed.
pub(super) struct LateEngine {
    config: Config,
    surroundings: Surroundings,
    owners: Arc<dyn Owners>,
    audit: Audit,
    registry: Registry,
    /// Held while it starts.
    starting: Mutex<()>,
    started: OnceLock<Arc<dyn Engine>>,
}

impl LateEngine {
    pub(super) fn new(
        config: Config,
        surroundings: Surroundings,
        owners: Arc<dyn Owners>,
        audit: Audit,
        registry: Registry,
    ) -> Self {
        Self {
            config,
            surroundings,
            owners,
            audit,
            registry,
            starting: Mutex::new(()),
            started: OnceLock::new(),
        }
    }

    /// The engine itself. One that could not start is tried again with the next use.
    fn engine(&self) -> Result<&Arc<dyn Engine>, Failure> {
        if let Some(engine) = self.started.get() {
            return Ok(engine);
        }
        let _starting = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = self.started.get() {
            return Ok(engine);
        }
        let owners = Arc::clone(&self.owners);
        let surroundings = self.surroundings.clone();
        let started = start_engine(&self.config, surroundings, owners, &self.registry);
        let (engine, reason) = started
            .and_then(|(engine, reason)| {
                record_engine(&self.audit, &*engine).map(|()| (engine, reason))
            })
            .map_err(|error| Failure::new(FailureKind::EngineUnavailable, error.to_string()))?;
        log::info!(
            "engine {}{}",
            engine.name(),
            reason.map(|why| format!(" ({why})")).unwrap_or_default()
        );
        Ok(self.started.get_or_init(|| engine))
    }

    fn check_with(&self, look: impl FnOnce(&dyn Engine) -> Check) -> Check {
        match self.engine() {
            Ok(engine) => look(&**engine),
            Err(failure) => Check {
                ready: false,
                detail: failure.message,
            },
        }
    }
}

impl Engine for LateEngine {
    fn name(&self) -> &'static str {
        self.started.get().map_or("none", |engine| engine.name())
    }

    fn admit(&self, image: Option<&ImageRef>, dependencies: &[Dependency]) -> Result<(), Failure> {
        self.engine()?.admit(image, dependencies)
    }

    fn run(
        &self,
        job: &Job,
        acquire: Deadline,
        cancel: &Cancel,
        observer: &mut dyn Observer,
    ) -> Ended {
        match self.engine() {
            Ok(engine) => engine.run(job, acquire, cancel, observer),
            Err(failure) => Ended {
                outcome: Err(failure),
                duration: std::time::Duration::ZERO,
                image: None,
            },
        }
    }

    fn check(
        &self,
        image: Option<&ImageRef>,
        code: &str,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        self.engine()?.check(image, code, deadline)
    }

    fn probe(&self, deadline: Deadline) -> Check {
        self.check_with(|engine| engine.probe(deadline))
    }

    fn probe_image(&self, deadline: Deadline) -> Check {
        self.check_with(|engine| engine.probe_image(deadline))
    }

    fn sandboxes(&self) -> Result<&Sandboxes, Failure> {
        self.engine()?.sandboxes()
    }

    fn pool_counts(&self) -> PoolCounts {
        let started = self.started.get();
        started.map_or_else(PoolCounts::default, |engine| engine.pool_counts())
    }

    fn install_counts(&self) -> InstallCounts {
        let started = self.started.get();
        started.map_or_else(InstallCounts::default, |engine| engine.install_counts())
    }

    fn tidy(&self, deadline: Deadline) -> usize {
        self.started.get().map_or(0, |engine| engine.tidy(deadline))
    }

    fn stop(&self, deadline: Deadline) -> usize {
        let _starting = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        self.started.get().map_or(0, |engine| engine.stop(deadline))
    }
}
