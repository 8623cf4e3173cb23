//! Which layers there are, as this server knows: many calls that want the same set wait for one
//! installation, which goes on when they go. How a layer is made stands in `volume`.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::DependencySettings;
use super::installer::{INSTALLER, InstallerForge};
use super::order::set_text;
use super::volume::Volume;
use crate::base::deadline::Deadline;
use crate::docker::Image;
use crate::domain::entry::Dependency;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::run::{Cancel, Ended};
use crate::engine::container_spec::{LAYERS, User};
use crate::engine::conversation::{cancelled, is_layer_gone};

/// Installations at a time; others wait with their callers.
const MAX_INSTALLS: usize = 2;
/// How long a failed installation is reported before the next call tries again.
const FAILURE_KEPT: Duration = Duration::from_secs(10);
/// How often a waiting call asks whether it was cancelled.
const CANCEL_CHECK: Duration = Duration::from_millis(50);
/// When a caller may look again while packages are being installed, in milliseconds.
const INSTALLING_HINT_MS: u64 = 2000;
/// Most layers that are remembered; the volume may hold more.
const MAX_REMEMBERED: usize = 4096;

/// Installations of packages since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InstallCounts {
    /// That succeeded.
    pub succeeded: u64,
    /// That did not.
    pub failed: u64,
    /// The time that all took, together.
    pub time: Duration,
}

/// The layers of one daemon, as this server knows them.
pub(in crate::engine) struct Layers {
    shared: Arc<Shared>,
}

struct Shared {
    volume: Volume,
    states: Mutex<States>,
    changed: Condvar,
}

struct States {
    counts: InstallCounts,
    layers: HashMap<String, State>,
    /// Used since the last upkeep.
    used: BTreeSet<String>,
    installing: usize,
    tidied: Instant,
}

enum State {
    Ready,
    Installing,
    Failed { failure: Failure, at: Instant },
}

impl Layers {
    pub(in crate::engine) fn new(
        forge: Arc<dyn InstallerForge>,
        settings: DependencySettings,
    ) -> Self {
        let states = States {
            counts: InstallCounts::default(),
            layers: HashMap::new(),
            used: BTreeSet::new(),
            installing: 0,
            tidied: Instant::now(),
        };
        let volume = Volume {
            forge,
            settings,
            is_stopped: AtomicBool::new(false),
        };
        let shared = Arc::new(Shared {
            volume,
            states: Mutex::new(states),
            changed: Condvar::new(),
        });
        Self { shared }
    }

    /// What was installed so far.
    pub(in crate::engine) fn counts(&self) -> InstallCounts {
        self.shared.lock().counts
    }

    /// Whether a set may be asked for.
    pub(in crate::engine) fn admit(&self, set: &[Dependency]) -> Result<(), Failure> {
        self.shared.volume.settings.policy.admit(set)
    }

    /// Where the set is, inside containers of that image; installs it where it is nowhere yet. At
    /// the deadline the caller goes, and the installation goes on.
    pub(in crate::engine) fn ensure(
        &self,
        image: &Image,
        set: &[Dependency],
        wait: Deadline,
        cancel: &Cancel,
    ) -> Result<String, Failure> {
        if User::of_image(&image.user).uid == INSTALLER.uid {
            let message = format!(
                "the image runs as user {}, who owns the installed packages: choose another user",
                INSTALLER.uid
            );
            return Err(Failure::new(FailureKind::Policy, message));
        }
        let name = self.name(image, set);
        let mut states = self.shared.lock();
        loop {
            match states.layers.get(&name) {
                Some(State::Ready) => {
                    let path = format!("{LAYERS}/{name}");
                    states.note_use(name);
                    return Ok(path);
                }
                Some(State::Failed { failure, at }) if at.elapsed() < FAILURE_KEPT => {
                    return Err(failure.clone());
                }
                Some(State::Installing) => {}
                Some(State::Failed { .. }) | None => {
                    self.begin(&mut states, &name, image, set)?;
                }
            }
            if cancel.is_cancelled() {
                return Err(cancelled());
            }
            let Some(left) = wait.remaining() else {
                return Err(still_installing(set));
            };
            let waited = self
                .shared
                .changed
                .wait_timeout(states, left.min(CANCEL_CHECK));
            states = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }

    /// Does `run`, which leaves the layer that it uses behind, once more where the layer was
    /// removed before any of the code ran: installed again, it is back.
    pub(in crate::engine) fn with_retry(
        &self,
        mut run: impl FnMut(&mut Option<String>) -> Ended,
    ) -> Ended {
        let mut layer = None;
        let ended = run(&mut layer);
        match layer.take() {
            Some(gone) if ended.outcome.as_ref().is_err_and(is_layer_gone) => {
                self.forget(&gone);
                run(&mut layer)
            }
            _ => ended,
        }
    }

    /// A run did not find the layer: it was removed by somebody else.
    fn forget(&self, path: &str) {
        if let Some(name) = path
            .strip_prefix(LAYERS)
            .and_then(|rest| rest.strip_prefix('/'))
        {
            let mut states = self.shared.lock();
            if let Some(State::Ready) = states.layers.get(name) {
                states.layers.remove(name);
            }
        }
    }

    /// Notes on the volume which layers were used and has old ones removed, when that is due.
    pub(in crate::engine) fn tidy(&self) {
        let shared = &self.shared;
        let used: Vec<String> = {
            let mut states = shared.lock();
            if states.tidied.elapsed() < shared.volume.settings.upkeep {
                return;
            }
            states.tidied = Instant::now();
            std::mem::take(&mut states.used).into_iter().collect()
        };
        match shared.volume.tidy(&used) {
            Ok(removed) => {
                let mut states = shared.lock();
                for name in removed {
                    states.layers.remove(&name);
                }
            }
            Err(failure) => {
                log::warn!("old packages are not removed: {}", failure.message);
                shared.lock().used.extend(used);
            }
        }
    }

    /// Ends installations under way; those that still are at the deadline.
    pub(in crate::engine) fn stop(&self, deadline: Deadline) -> usize {
        self.shared.volume.is_stopped.store(true, Ordering::Release);
        let mut states = self.shared.lock();
        while states.installing > 0
            && let Some(left) = deadline.remaining()
        {
            let waited = self.shared.changed.wait_timeout(states, left);
            states = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
        states.installing
    }

    fn name(&self, image: &Image, set: &[Dependency]) -> String {
        let settings = &self.shared.volume.settings;
        let registry = settings.npm.registry.as_deref().unwrap_or_default();
        settings.key.name(&image.id, registry, set)
    }

    /// Starts an installation where there is room for one.
    fn begin(
        &self,
        states: &mut States,
        name: &str,
        image: &Image,
        set: &[Dependency],
    ) -> Result<(), Failure> {
        if self.shared.volume.is_stopped.load(Ordering::Acquire) {
            let message = "the server is shutting down";
            return Err(Failure::new(FailureKind::EngineUnavailable, message));
        }
        if states.installing >= MAX_INSTALLS {
            return Ok(());
        }
        if states.layers.len() >= MAX_REMEMBERED {
            states
                .layers
                .retain(|_, state| matches!(state, State::Installing));
        }
        let installation = Installation {
            shared: Arc::clone(&self.shared),
            name: name.to_owned(),
            image: image.clone(),
            set: set.to_vec(),
            began: Instant::now(),
            outcome: None,
        };
        states.layers.insert(name.to_owned(), State::Installing);
        states.installing += 1;
        let spawned = std::thread::Builder::new()
            .name("install".to_owned())
            .spawn(move || installation.run());
        if let Err(error) = spawned {
            states.layers.remove(name);
            states.installing -= 1;
            log::error!("no thread to install packages with: {error}");
            let message = "packages cannot be installed now: try again later";
            return Err(Failure::new(FailureKind::EngineUnavailable, message).retry_after(1000));
        }
        Ok(())
    }
}

impl Drop for Layers {
    fn drop(&mut self) {
        self.shared.volume.is_stopped.store(true, Ordering::Release);
    }
}

impl States {
    fn note_use(&mut self, name: String) {
        if self.used.len() < MAX_REMEMBERED {
            self.used.insert(name);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, States> {
        self.states
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// One installation under way. Dropping it publishes how it ended, also when its thread panicked.
struct Installation {
    shared: Arc<Shared>,
    name: String,
    image: Image,
    set: Vec<Dependency>,
    began: Instant,
    outcome: Option<Result<(), Failure>>,
}

impl Installation {
    fn run(mut self) {
        self.outcome = Some(
            self.shared
                .volume
                .install(&self.name, &self.image, &self.set),
        );
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        let state = match self.outcome.take() {
            Some(Ok(())) => State::Ready,
            Some(Err(failure)) => State::Failed {
                failure,
                at: Instant::now(),
            },
            None => State::Failed {
                failure: Failure::new(FailureKind::Internal, "an installation broke off"),
                at: Instant::now(),
            },
        };
        let mut states = self.shared.lock();
        states.counts.time += self.began.elapsed();
        match state {
            State::Ready => states.counts.succeeded += 1,
            _ => states.counts.failed += 1,
        }
        states.layers.insert(std::mem::take(&mut self.name), state);
        states.installing -= 1;
        self.shared.changed.notify_all();
    }
}

fn still_installing(set: &[Dependency]) -> Failure {
    let message = format!("{}: being installed; try again soon", set_text(set));
    Failure::new(FailureKind::EngineUnavailable, message).retry_after(INSTALLING_HINT_MS)
}
