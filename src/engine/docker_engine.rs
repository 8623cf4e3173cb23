//! The engine on a Docker daemon: every run in a container of its own.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::checker::Checkers;
use super::container_spec::{User, Variables, container_spec};
use super::conversation::await_ready;
use super::dependencies::{
    DependencySettings, InstallCounts, InstallerForge, Layers, Role, installer_spec,
};
use super::disposal::Disposal;
use super::docker_cell::DockerCell;
use super::forge::{Forge, ReadyCell, Standing};
use super::images::{Images, unavailable};
use super::labels::{Kind, labels};
use super::one_shot::{Place, run_once};
use super::pool::{Pool, PoolCounts};
use super::reaper::{Owners, reap};
use super::sandboxes::{SandboxSettings, Sandboxes};
use super::{Check, Engine};
use crate::base::deadline::Deadline;
use crate::base::text::counted;
use crate::config::PullPolicy;
use crate::docker::{Daemon, DockerError, Image};
use crate::domain::asking::MAX_WAIT;
use crate::domain::entry::Dependency;
use crate::domain::failure::Failure;
use crate::domain::image::{ImageRef, UsedImage};
use crate::domain::run::{Cancel, Ended, Job, Observer};

/// What a container may live beyond the time of its job, before anybody may remove it: what its
/// code waits for its client, and some more.
const LIFETIME_SLACK: Duration = MAX_WAIT.saturating_add(Duration::from_secs(90));

/// The operator's choices for runs in containers.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Allowed images; the first is the default.
    pub allowed_images: Vec<ImageRef>,
    /// What to do about a missing image.
    pub pull_policy: PullPolicy,
    /// Bytes of memory of one container, swap included.
    pub memory_bytes: u64,
    /// Billionths of a processor of one container.
    pub nano_cpus: u64,
    /// Longest result, in bytes of JSON text.
    pub max_output_bytes: usize,
    /// Containers parked ahead of calls, an image.
    pub warm_pool: usize,
    /// The container runtime; the daemon's default where `None`.
    pub runtime: Option<String>,
    /// Packages that tools may load.
    pub dependencies: DependencySettings,
    /// Containers that live on between calls.
    pub sandboxes: SandboxSettings,
}

/// Runs jobs in single-use containers of one daemon.
pub struct DockerEngine {
    forge: Arc<ContainerForge>,
    checkers: Checkers,
    pool: Pool,
    layers: Arc<Layers>,
    sandboxes: Sandboxes,
}

impl std::fmt::Debug for DockerEngine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("DockerEngine")
            .field("settings", &self.forge.settings)
            .finish()
    }
}

/// Makes containers whose runner is ready, and installers, and sees to their end.
pub(super) struct ContainerForge {
    pub(super) daemon: Arc<Daemon>,
    settings: EngineSettings,
    owners: Arc<dyn Owners>,
    pub(super) images: Arc<Images>,
    pub(super) disposal: Arc<Disposal>,
}

impl DockerEngine {
    /// An engine on `daemon`, which need not answer yet.
    ///
    /// # Errors
    /// When the operating system gives no threads.
    pub fn start(
        daemon: Arc<Daemon>,
        settings: EngineSettings,
        owners: Arc<dyn Owners>,
    ) -> std::io::Result<Self> {
        let allowed = settings.allowed_images.clone();
        let images = Arc::new(Images::new(
            Arc::clone(&daemon),
            allowed,
            settings.pull_policy,
        ));
        let disposal = Arc::new(Disposal::start(Arc::clone(&daemon))?);
        let forge = Arc::new(ContainerForge {
            daemon,
            settings,
            owners,
            images,
            disposal,
        });
        let shared = Arc::clone(&forge) as Arc<dyn Forge>;
        let pool = Pool::start(Arc::clone(&shared), forge.settings.warm_pool)?;
        if let Ok(image) = forge.images.admit(None) {
            pool.prepare(&image, None);
        }
        let installers = Arc::clone(&forge) as Arc<dyn InstallerForge>;
        let layers = Layers::new(installers, forge.settings.dependencies.clone());
        let layers = Arc::new(layers);
        let sandboxes = Sandboxes::new(
            Arc::clone(&forge),
            Arc::clone(&layers),
            forge.settings.sandboxes.clone(),
            forge.settings.max_output_bytes,
        );
        Ok(Self {
            checkers: Checkers::new(shared),
            layers,
            sandboxes,
            forge,
            pool,
        })
    }

    /// A container for the job, with what it depends on.
    fn place(&self, job: &Job, acquire: Deadline, cancel: &Cancel) -> Result<Place, Failure> {
        self.admit(job.image.as_ref(), &job.dependencies)?;
        let image = self.forge.images.admit(job.image.as_ref())?;
        let set = &job.dependencies;
        let layer = match set.is_empty() {
            true => None,
            false => {
                let found = self.forge.images.find(&image, acquire)?;
                Some(self.layers.ensure(&found, set, acquire, cancel)?)
            }
        };
        let lifetime = acquire.remaining().unwrap_or_default() + job.timeout + LIFETIME_SLACK;
        let seen = self.forge.images.last_seen(&image);
        let cell = match self.pool.take(&image, seen.map(|seen| seen.id)) {
            Some(parked) => parked,
            None => self
                .forge
                .make(Some(&image), Kind::OneShot, &job.label, lifetime, acquire)?,
        };
        Ok(Place { cell, layer })
    }
}

impl Engine for DockerEngine {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn admit(&self, image: Option<&ImageRef>, dependencies: &[Dependency]) -> Result<(), Failure> {
        self.forge.images.admit(image)?;
        self.layers.admit(dependencies)
    }

    fn run(
        &self,
        job: &Job,
        acquire: Deadline,
        cancel: &Cancel,
        observer: &mut dyn Observer,
    ) -> Ended {
        let limit = self.forge.settings.max_output_bytes;
        self.layers.with_retry(|layer| {
            run_once(job, acquire, limit, cancel, observer, || {
                let place = self.place(job, acquire, cancel)?;
                layer.clone_from(&place.layer);
                Ok(place)
            })
        })
    }

    fn check(
        &self,
        image: Option<&ImageRef>,
        code: &str,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        self.checkers.check(image, code, deadline)
    }

    fn probe(&self, deadline: Deadline) -> Check {
        match self.forge.daemon.info(deadline) {
            Ok(info) => {
                let (version, api) = (info.version, info.api_version);
                Check {
                    ready: true,
                    detail: format!("docker {version}, API {api}"),
                }
            }
            Err(error) => Check {
                ready: false,
                detail: error.to_string(),
            },
        }
    }

    fn sandboxes(&self) -> Result<&Sandboxes, Failure> {
        Ok(&self.sandboxes)
    }

    fn pool_counts(&self) -> PoolCounts {
        self.pool.counts()
    }

    fn install_counts(&self) -> InstallCounts {
        self.layers.counts()
    }

    fn probe_image(&self, deadline: Deadline) -> Check {
        let (ready, detail) = self.forge.images.describe_default(deadline);
        Check { ready, detail }
    }

    fn tidy(&self, deadline: Deadline) -> usize {
        self.checkers.retire();
        self.pool.retire();
        self.layers.tidy();
        self.sandboxes.look(deadline);
        match reap(&self.forge.daemon, self.forge.owners.as_ref(), deadline) {
            Ok(reaped) => {
                if reaped > 0 {
                    let reaped = counted(reaped, "container");
                    log::info!("removed {reaped} that dead instances left behind");
                }
                reaped
            }
            Err(error) => {
                log::debug!("looking for left containers: {error}");
                0
            }
        }
    }

    fn stop(&self, deadline: Deadline) -> usize {
        let making = self.pool.stop(deadline);
        self.checkers.clear();
        let left = making + self.layers.stop(deadline) + self.forge.disposal.finish(deadline);
        if left > 0 {
            let left = counted(left, "container");
            log::warn!("left to the next start: {left}");
        }
        left
    }
}

impl ContainerForge {
    pub(super) fn variables(
        &self,
        image: &Image,
        kind: Kind,
        tool: &str,
        lifetime: Duration,
    ) -> Variables {
        let own_id = self.owners.own_id();
        Variables {
            image_id: image.id.clone(),
            user: User::of_image(&image.user),
            volumes: image.volumes.clone(),
            memory_bytes: self.settings.memory_bytes,
            nano_cpus: self.settings.nano_cpus,
            is_podman: self.daemon.is_podman(),
            labels: labels(own_id, kind, tool, SystemTime::now(), lifetime),
            layers_volume: self.settings.dependencies.volume.clone(),
            runtime: self.settings.runtime.clone(),
        }
    }

    fn create(
        &self,
        name: &ImageRef,
        image: &Image,
        kind: Kind,
        tool: &str,
        lifetime: Duration,
    ) -> Result<DockerCell, DockerError> {
        let spec = container_spec(&self.variables(image, kind, tool, lifetime));
        let used = used_image(name.as_str(), image);
        DockerCell::create(&self.daemon, &self.disposal, used, &spec)
    }
}

impl InstallerForge for ContainerForge {
    fn start(&self, image: &Image, role: Role, deadline: Deadline) -> Result<ReadyCell, Failure> {
        let lifetime = deadline.remaining().unwrap_or_default() + LIFETIME_SLACK;
        let variables = self.variables(image, Kind::Installer, "installer", lifetime);
        let network = &self.settings.dependencies.network;
        let spec = installer_spec(role, network, &variables);
        let used = used_image("", image);
        let created = DockerCell::create(&self.daemon, &self.disposal, used, &spec);
        let mut cell = created.map_err(|error| unavailable(&error))?;
        cell.start(deadline)?;
        Ok(Box::new(cell))
    }

    fn default_image(&self, deadline: Deadline) -> Result<Image, Failure> {
        self.images.find(&self.images.admit(None)?, deadline)
    }
}

impl Forge for ContainerForge {
    fn admit(&self, asked: Option<&ImageRef>) -> Result<ImageRef, Failure> {
        self.images.admit(asked)
    }

    fn look(&self, image: &ImageRef, deadline: Deadline) -> Standing {
        match self.images.look(image, deadline) {
            Ok(Some(found)) => Standing::For(Some(found.id)),
            Ok(None) => Standing::Gone,
            Err(_) => Standing::Unknown,
        }
    }

    fn make(
        &self,
        asked: Option<&ImageRef>,
        kind: Kind,
        tool: &str,
        lifetime: Duration,
        deadline: Deadline,
    ) -> Result<ReadyCell, Failure> {
        let name = self.images.admit(asked)?;
        let image = self.images.find(&name, deadline)?;
        let mut created = self.create(&name, &image, kind, tool, lifetime);
        if created.as_ref().is_err_and(DockerError::is_not_found) {
            // It was removed since it was last seen, or its tag has moved.
            self.images.forget(&name);
            let image = self.images.find(&name, deadline)?;
            created = self.create(&name, &image, kind, tool, lifetime);
        }
        let mut cell = created.map_err(|error| unavailable(&error))?;
        cell.start(deadline)?;
        await_ready(&mut cell, deadline)?;
        Ok(Box::new(cell))
    }
}

pub(super) fn used_image(name: &str, image: &Image) -> UsedImage {
    UsedImage {
        name: name.to_owned(),
        id: image.id.clone(),
        digest: image.digest.clone(),
    }
}
