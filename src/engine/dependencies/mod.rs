//! The packages that tools depend on: resolved and installed once for an image and a set, into a
//! layer on the daemon's one volume of layers, which every container sees read-only and cannot
//! list. Calls that find their layer need no network.

mod installer;
mod name;
mod order;
mod policy;
mod source;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::base::deadline::Deadline;
use crate::config::NpmConfig;
use crate::docker::Image;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::run::Cancel;
use crate::domain::tool::Dependency;
use crate::engine::container_spec::{LAYERS, User};
use crate::engine::conversation::cancelled;

pub(super) use installer::{InstallerForge, Role, installer_spec};
pub use name::LayerKey;
pub use policy::PackagePolicy;

use installer::{INSTALLER, ask};
use order::{Answer, Order, refusal, set_text};
use source::Source;

/// Installations at a time; others wait with their callers.
const MAX_INSTALLS: usize = 2;
/// Bound on one installation, from its container's creation to its layer.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Bound on preparing or tidying the volume.
const UPKEEP_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a failed installation is reported before the next call tries again.
const FAILURE_KEPT: Duration = Duration::from_secs(10);
/// How often a waiting call asks whether it was cancelled.
const CANCEL_CHECK: Duration = Duration::from_millis(50);
/// When a caller may look again while packages are being installed, in milliseconds.
const INSTALLING_HINT_MS: u64 = 2000;
/// Most layers that are remembered; the volume may hold more.
const MAX_REMEMBERED: usize = 4096;
/// Most bytes and files of one layer.
const MAX_LAYER_BYTES: u64 = 512 << 20;
const MAX_LAYER_FILES: u64 = 100_000;

/// The operator's choices for dependencies.
#[derive(Clone, Debug)]
pub struct DependencySettings {
    /// What may be asked for.
    pub policy: PackagePolicy,
    /// Where packages come from.
    pub npm: NpmConfig,
    /// Makes the layers' names.
    pub key: LayerKey,
    /// Name of the volume.
    pub volume: String,
    /// Network of installers, as the Engine API's `NetworkMode` has it.
    pub network: String,
    /// How often upkeep is due.
    pub upkeep: Duration,
    /// A layer that no call used for longer is removed.
    pub max_unused: Duration,
    /// Bytes of all layers, beyond which those unused longest are removed.
    pub max_total_bytes: u64,
}

impl DependencySettings {
    /// The usual volume, network and bounds.
    pub fn new(policy: PackagePolicy, npm: NpmConfig, key: LayerKey) -> Self {
        Self {
            policy,
            npm,
            key,
            volume: "dynamic-mcp-layers".to_owned(),
            network: "default".to_owned(),
            upkeep: Duration::from_secs(30 * 60),
            max_unused: Duration::from_secs(30 * 86_400),
            max_total_bytes: 8 << 30,
        }
    }
}

/// The layers of one daemon, as this server knows them.
pub(super) struct Layers {
    shared: Arc<Shared>,
}

struct Shared {
    forge: Arc<dyn InstallerForge>,
    settings: DependencySettings,
    states: Mutex<States>,
    changed: Condvar,
}

struct States {
    layers: HashMap<String, State>,
    /// Used since the last upkeep.
    used: BTreeSet<String>,
    installing: usize,
    tidied: Instant,
    is_stopped: bool,
}

enum State {
    Ready,
    Installing,
    Failed { failure: Failure, at: Instant },
}

impl Layers {
    pub(super) fn new(forge: Arc<dyn InstallerForge>, settings: DependencySettings) -> Self {
        let states = States {
            layers: HashMap::new(),
            used: BTreeSet::new(),
            installing: 0,
            tidied: Instant::now(),
            is_stopped: false,
        };
        let shared = Arc::new(Shared {
            forge,
            settings,
            states: Mutex::new(states),
            changed: Condvar::new(),
        });
        Self { shared }
    }

    /// Whether a set may be asked for.
    pub(super) fn admit(&self, set: &[Dependency]) -> Result<(), Failure> {
        self.shared.settings.policy.admit(set)
    }

    /// Where the set is, inside containers of that image; installs it where it is nowhere yet. At
    /// the deadline the caller goes, and the installation goes on.
    pub(super) fn ensure(
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
            let waited = self.shared.changed.wait_timeout(states, left.min(CANCEL_CHECK));
            states = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }

    /// A run did not find the layer: it was removed by somebody else.
    pub(super) fn forget(&self, path: &str) {
        if let Some(name) = path.strip_prefix(LAYERS).and_then(|rest| rest.strip_prefix('/')) {
            let mut states = self.shared.lock();
            if let Some(State::Ready) = states.layers.get(name) {
                states.layers.remove(name);
            }
        }
    }

    /// Notes on the volume which layers were used and has old ones removed, when that is due.
    pub(super) fn tidy(&self) {
        let shared = &self.shared;
        let used: Vec<String> = {
            let mut states = shared.lock();
            if states.is_stopped || states.tidied.elapsed() < shared.settings.upkeep {
                return;
            }
            states.tidied = Instant::now();
            std::mem::take(&mut states.used).into_iter().collect()
        };
        match shared.tidy(&used) {
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
    pub(super) fn stop(&self, deadline: Deadline) -> usize {
        let mut states = self.shared.lock();
        states.is_stopped = true;
        while states.installing > 0
            && let Some(left) = deadline.remaining()
        {
            let waited = self.shared.changed.wait_timeout(states, left);
            states = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
        states.installing
    }

    fn name(&self, image: &Image, set: &[Dependency]) -> String {
        let settings = &self.shared.settings;
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
        if states.is_stopped {
            let message = "the server is shutting down";
            return Err(Failure::new(FailureKind::EngineUnavailable, message));
        }
        if states.installing >= MAX_INSTALLS {
            return Ok(());
        }
        if states.layers.len() >= MAX_REMEMBERED {
            states.layers.retain(|_, state| matches!(state, State::Installing));
        }
        let installation = Installation {
            shared: Arc::clone(&self.shared),
            name: name.to_owned(),
            image: image.clone(),
            set: set.to_vec(),
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
        self.shared.lock().is_stopped = true;
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

    fn ask(
        &self,
        image: &Image,
        role: Role,
        order: &Order<'_>,
        deadline: Deadline,
    ) -> Result<Answer, Failure> {
        let cell = self.forge.start(image, role, deadline)?;
        ask(cell, order, deadline, &|| self.lock().is_stopped)
    }

    fn install(&self, name: &str, image: &Image, set: &[Dependency]) -> Result<(), Failure> {
        let deadline = Deadline::after(INSTALL_TIMEOUT);
        let began = Instant::now();
        let source = Source::load(&self.settings.npm)?;
        let files = source.files.iter();
        let order = Order::Install {
            layer: name,
            packages: set,
            blocked: &self.settings.policy.blocked,
            options: &source.options,
            files: files.map(|(name, text)| (*name, text.reveal())).collect(),
            max_bytes: MAX_LAYER_BYTES,
            max_files: MAX_LAYER_FILES,
        };
        let mut answer = self.ask(image, Role::Install, &order, deadline)?;
        if let Answer::Unprepared(_) = answer {
            let prepare = Order::Prepare { uid: INSTALLER.uid };
            self.ask(image, Role::Prepare, &prepare, deadline)?;
            answer = self.ask(image, Role::Install, &order, deadline)?;
        }
        let text = set_text(set);
        match answer {
            Answer::Installed(layer) => {
                log::debug!(
                    "layer {:.8}… has {text}: {} packages, {} files, {} bytes, after {} ms",
                    name,
                    layer.packages,
                    layer.files,
                    layer.bytes,
                    began.elapsed().as_millis()
                );
                Ok(())
            }
            Answer::Refused { reason, detail } => {
                let failure = refusal(reason, &source.without_token(&detail), &text);
                log::info!("packages were not installed: {}", failure.message);
                Err(failure)
            }
            other => {
                log::error!("an installer answered {other:?}");
                let message = format!("{text}: the volume of packages cannot be used");
                Err(Failure::new(FailureKind::EngineUnavailable, message))
            }
        }
    }

    /// The names of the layers that were removed.
    fn tidy(&self, used: &[String]) -> Result<Vec<String>, Failure> {
        let deadline = Deadline::after(UPKEEP_TIMEOUT);
        let image = self.forge.default_image(deadline)?;
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let order = Order::Tidy {
            used,
            // Other servers note their use as often as this one, give or take one time.
            keep_ms: millis(self.settings.upkeep.saturating_mul(2)),
            max_unused_ms: millis(self.settings.max_unused),
            max_total_bytes: self.settings.max_total_bytes,
        };
        match self.ask(&image, Role::Tidy, &order, deadline)? {
            Answer::Tidied(tidied) => {
                let removed = tidied.removed.len();
                log::debug!(
                    "{} layers of packages have {} bytes; {removed} old ones were removed",
                    tidied.layers,
                    tidied.bytes
                );
                Ok(tidied.removed)
            }
            Answer::Refused { detail, .. } => {
                Err(Failure::new(FailureKind::EngineUnavailable, detail))
            }
            _ => Err(Failure::new(FailureKind::Internal, "an unknown answer")),
        }
    }
}

/// One installation under way. Dropping it publishes how it ended, also when its thread panicked.
struct Installation {
    shared: Arc<Shared>,
    name: String,
    image: Image,
    set: Vec<Dependency>,
    outcome: Option<Result<(), Failure>>,
}

impl Installation {
    fn run(mut self) {
        self.outcome = Some(self.shared.install(&self.name, &self.image, &self.set));
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
        states.layers.insert(std::mem::take(&mut self.name), state);
        states.installing -= 1;
        self.shared.changed.notify_all();
    }
}

fn still_installing(set: &[Dependency]) -> Failure {
    let message = format!("{}: being installed; try again soon", set_text(set));
    Failure::new(FailureKind::EngineUnavailable, message).retry_after(INSTALLING_HINT_MS)
}
