//! Sandboxes: containers that live on between calls, each its principal's alone. Everything known
//! of one stands in its container's labels, so that every server of the installation serves it,
//! also one that starts later; its keeper ends it when nobody uses it, whether a server lives or
//! not. Commands run one call at a time.

mod capture;
mod commands;
mod identity;
mod keeper;
mod opening;
mod process;
mod spec;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::container_spec::{LAUNCH, RUNNER};
use super::conversation::await_ready;
use super::dependencies::Layers;
use super::docker_engine::ContainerForge;
use super::images::unavailable;
use super::one_shot::{Place, run_once};
use crate::base::deadline::Deadline;
use crate::docker::{Container, DockerError};
use crate::domain::asking::MAX_WAIT;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::image::{ImageRef, UsedImage};
use crate::domain::principal::Principal;
use crate::domain::run::{Cancel, Ended, Job, Observer};

pub use capture::Printed;
pub use commands::{CommandEnded, Executed};
pub use identity::SandboxKey;

use commands::LEASE_SLACK;
use identity::{has_marks, new_id, read};
use keeper::Held;
use process::{FIRST_TO_GO, Inside, ProcessCell};

/// The operator's choices for sandboxes.
#[derive(Clone, Debug)]
pub struct SandboxSettings {
    /// Ends a sandbox that nobody used for longer.
    pub idle: Duration,
    /// Most of them at once, those being made included.
    pub max: usize,
    /// Tells them from those of other installations.
    pub key: SandboxKey,
}

/// A sandbox, as its labels tell.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// `mcp-sbx-` and 32 hexadecimal digits.
    pub id: String,
    /// What it really is made of.
    pub image: UsedImage,
    /// Time limit of a call that gives none.
    pub timeout: Duration,
    /// When it was made, in whole seconds.
    pub created: SystemTime,
    user: String,
    container: String,
}

/// What this instance knows of the installation's sandboxes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SandboxCounts {
    /// On the daemon when it was last asked.
    pub active: u64,
    /// Made by this instance.
    pub created: u64,
    /// Those of them that ended without being stopped here.
    pub expired: u64,
}

/// The sandboxes of one daemon.
pub struct Sandboxes {
    forge: Arc<ContainerForge>,
    layers: Arc<Layers>,
    settings: SandboxSettings,
    max_output_bytes: usize,
    /// Ids of those being made here. Held while the daemon is asked how many there are.
    opening: Mutex<BTreeSet<String>>,
    state: Mutex<State>,
}

impl std::fmt::Debug for Sandboxes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Sandboxes")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    /// Ids of those made here that were there when last looked at.
    made: BTreeSet<String>,
    counts: SandboxCounts,
}

/// There is none of that name for this caller: it never was, is somebody else's, or has ended.
fn gone() -> Failure {
    let message = "there is no such sandbox: it was stopped, has expired, or never was; \
        initialize another";
    Failure::new(FailureKind::InvalidArguments, message)
}

/// It ended under what ran in it.
fn ended_meanwhile() -> Failure {
    Failure::new(FailureKind::Cancelled, "the sandbox was ended meanwhile")
}

fn is_end(failure: &Failure) -> bool {
    *failure == ended_meanwhile()
}

/// What the daemon says of a container that was there a moment ago.
fn trouble(error: &DockerError) -> Failure {
    match error {
        DockerError::Api {
            status: 404 | 409, ..
        } => gone(),
        other => unavailable(other),
    }
}

impl Sandboxes {
    pub(super) fn new(
        forge: Arc<ContainerForge>,
        layers: Arc<Layers>,
        settings: SandboxSettings,
        max_output_bytes: usize,
    ) -> Self {
        Self {
            forge,
            layers,
            settings,
            max_output_bytes,
            opening: Mutex::default(),
            state: Mutex::default(),
        }
    }

    /// A name for [`Sandboxes::open`].
    pub fn new_id() -> String {
        new_id()
    }

    /// A principal's sandbox.
    ///
    /// # Errors
    /// The same for one that is somebody else's as for one that never was.
    pub fn find(
        &self,
        owner: &Principal,
        id: &str,
        deadline: Deadline,
    ) -> Result<Sandbox, Failure> {
        let marks = self.settings.key.marks_of_one(owner, id).ok_or_else(gone)?;
        let found = self.all(&marks, deadline)?.into_iter().next();
        found.and_then(read).ok_or_else(gone)
    }

    /// The same, to run things in.
    ///
    /// # Errors
    /// Kind `policy`, too, when its image is not allowed any more.
    pub fn find_to_run(
        &self,
        owner: &Principal,
        id: &str,
        deadline: Deadline,
    ) -> Result<Sandbox, Failure> {
        let sandbox = self.find(owner, id, deadline)?;
        let image = ImageRef::parse(&sandbox.image.name).map_err(|_| gone())?;
        self.forge.images.admit(Some(&image))?;
        Ok(sandbox)
    }

    /// A principal's sandboxes, the oldest first, each with when it was last used where its keeper
    /// answered.
    ///
    /// # Errors
    /// When the daemon cannot be asked.
    pub fn list(
        &self,
        owner: &Principal,
        deadline: Deadline,
    ) -> Result<Vec<(Sandbox, Option<SystemTime>)>, Failure> {
        let marks = self.settings.key.marks_of(owner);
        let mut all = self.all(&marks, deadline)?;
        all.retain(|container| container.is_running);
        let mut list: Vec<_> = all.into_iter().filter_map(read).collect();
        list.sort_by(|one, other| (one.created, &one.id).cmp(&(other.created, &other.id)));
        let now = SystemTime::now();
        let with_use = list.into_iter().filter_map(|sandbox| {
            match keeper::idle(&self.forge.daemon, &sandbox.container, deadline) {
                Ok(idle) => Some((sandbox, now.checked_sub(idle))),
                Err(failure) if failure == gone() => None,
                Err(_) => Some((sandbox, None)),
            }
        });
        Ok(with_use.collect())
    }

    /// Ends a sandbox, whatever runs in it; it is gone when this returns.
    ///
    /// # Errors
    /// When the daemon could not remove it.
    pub fn close(&self, sandbox: &Sandbox, deadline: Deadline) -> Result<(), Failure> {
        self.forge
            .daemon
            .remove_container(&sandbox.container, deadline)
            .map_err(|error| unavailable(&error))?;
        let mut state = self.lock();
        state.made.remove(&sandbox.id);
        state.counts.active = state.counts.active.saturating_sub(1);
        Ok(())
    }

    /// Runs code in a sandbox, by the runner of every other run. A run that is stopped takes every
    /// process in the sandbox with it.
    pub fn run(
        &self,
        sandbox: &Sandbox,
        job: &Job,
        acquire: Deadline,
        cancel: &Cancel,
        observer: &mut dyn Observer,
    ) -> Ended {
        let limit = self.max_output_bytes;
        self.layers.with_retry(|layer| {
            run_once(job, acquire, limit, cancel, observer, || {
                let place = self.place(sandbox, job, acquire, cancel)?;
                layer.clone_from(&place.layer);
                Ok(place)
            })
        })
    }

    fn place(
        &self,
        sandbox: &Sandbox,
        job: &Job,
        acquire: Deadline,
        cancel: &Cancel,
    ) -> Result<Place, Failure> {
        let mut layer = None;
        if !job.dependencies.is_empty() {
            self.layers.admit(&job.dependencies)?;
            let image = ImageRef::parse(&sandbox.image.name).ok();
            let name = self.forge.images.admit(image.as_ref())?;
            let found = self.forge.images.find(&name, acquire)?;
            let set = &job.dependencies;
            layer = Some(self.layers.ensure(&found, set, acquire, cancel)?);
        }
        let lease = job.timeout + MAX_WAIT + LEASE_SLACK;
        let daemon = &self.forge.daemon;
        let held = Held::acquire(daemon, &sandbox.container, lease, acquire, cancel)?;
        let inside = self.inside(sandbox);
        let launch = format!("{FIRST_TO_GO}{LAUNCH}");
        let process = inside.start(&["sh", "-c", &launch, RUNNER], true, acquire)?;
        let mut cell = ProcessCell {
            inside,
            image: sandbox.image.clone(),
            exec: process.exec,
            streams: Some(process.streams),
            held,
        };
        await_ready(&mut cell, acquire)?;
        let cell = Box::new(cell);
        Ok(Place { cell, layer })
    }

    /// Looks which sandboxes are left, for the counts.
    pub(super) fn look(&self, deadline: Deadline) {
        // Made before the list is taken, so that each of them was in one.
        let made = self.lock().made.clone();
        let Ok(all) = self.all(&self.settings.key.marks(), deadline) else {
            return;
        };
        let active = all.len() as u64;
        let there: BTreeSet<_> = all.into_iter().filter_map(read).map(|one| one.id).collect();
        let mut state = self.lock();
        for ended in made.difference(&there) {
            // Stopped here meanwhile, it is not in the set any more.
            state.counts.expired += u64::from(state.made.remove(ended));
        }
        state.counts.active = active;
    }

    /// What was seen and done so far.
    pub fn counts(&self) -> SandboxCounts {
        self.lock().counts
    }

    /// Containers that have all the marks.
    fn all(
        &self,
        marks: &[(&'static str, String)],
        deadline: Deadline,
    ) -> Result<Vec<Container>, Failure> {
        let filters: Vec<_> = marks
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let found = self.forge.daemon.containers_with_labels(&filters, deadline);
        let mut found = found.map_err(|error| unavailable(&error))?;
        found.retain(|container| has_marks(container, marks));
        Ok(found)
    }

    fn inside(&self, sandbox: &Sandbox) -> Inside {
        Inside {
            daemon: Arc::clone(&self.forge.daemon),
            disposal: Arc::clone(&self.forge.disposal),
            container: sandbox.container.clone(),
            user: sandbox.user.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
