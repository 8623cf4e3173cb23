//! The engine on a Docker daemon: every run in a container of its own.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::cell::{Cell, Exit, Heard, Output};
use super::checker::Checkers;
use super::container_spec::{User, Variables, container_spec};
use super::conversation::{await_ready, none_in_time};
use super::disposal::Disposal;
use super::forge::{Forge, ReadyCell};
use super::images::{Images, unavailable};
use super::labels::{Kind, labels};
use super::one_shot::run_once;
use super::pool::{Pool, PoolCounts};
use super::reaper::{Owners, reap};
use super::{Check, Engine};
use crate::base::deadline::Deadline;
use crate::config::PullPolicy;
use crate::docker::{self, Attached, Daemon, DockerError, EXCHANGE_TIMEOUT, State};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::image::ImageRef;
use crate::domain::run::{Cancel, Ended, Job, Observer};
use crate::domain::tool::Dependency;

/// What a container may live beyond the time of its job, before anybody may remove it.
const LIFETIME_SLACK: Duration = Duration::from_secs(90);

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
}

/// Runs jobs in single-use containers of one daemon.
pub struct DockerEngine {
    forge: Arc<ContainerForge>,
    checkers: Checkers,
    pool: Pool,
}

impl std::fmt::Debug for DockerEngine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("DockerEngine")
            .field("settings", &self.forge.settings)
            .finish()
    }
}

/// Makes containers whose runner is ready, and sees to their end.
struct ContainerForge {
    daemon: Arc<Daemon>,
    settings: EngineSettings,
    owners: Arc<dyn Owners>,
    images: Arc<Images>,
    disposal: Arc<Disposal>,
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
        Ok(Self {
            checkers: Checkers::new(shared),
            forge,
            pool,
        })
    }
}

impl Engine for DockerEngine {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn admit(&self, image: Option<&ImageRef>, dependencies: &[Dependency]) -> Result<(), Failure> {
        self.forge.images.admit(image)?;
        if dependencies.is_empty() {
            return Ok(());
        }
        let message = "dependencies are not available yet: use what Node.js brings";
        Err(Failure::new(FailureKind::Policy, message))
    }

    fn run(
        &self,
        job: &Job,
        acquire: Deadline,
        cancel: &Cancel,
        observer: &mut dyn Observer,
    ) -> Ended {
        let lifetime = acquire.remaining().unwrap_or_default() + job.timeout + LIFETIME_SLACK;
        let limit = self.forge.settings.max_output_bytes;
        run_once(job, acquire, limit, cancel, observer, || {
            self.admit(job.image.as_ref(), &job.dependencies)?;
            let image = self.forge.images.admit(job.image.as_ref())?;
            if let Some(parked) = self.pool.take(&image) {
                return Ok(parked);
            }
            self.forge
                .make(Some(&image), Kind::OneShot, &job.label, lifetime, acquire)
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

    fn pool_counts(&self) -> PoolCounts {
        self.pool.counts()
    }

    fn probe_image(&self, deadline: Deadline) -> Check {
        let (ready, detail) = self.forge.images.describe_default(deadline);
        Check { ready, detail }
    }

    fn tidy(&self, deadline: Deadline) -> usize {
        self.checkers.retire();
        self.pool.retire();
        match reap(&self.forge.daemon, self.forge.owners.as_ref(), deadline) {
            Ok(reaped) => {
                if reaped > 0 {
                    log::info!("removed {reaped} containers that dead instances left behind");
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
        self.pool.stop(deadline);
        self.checkers.clear();
        let left = self.forge.disposal.finish(deadline);
        if left > 0 {
            log::warn!("{left} containers are left to the next start");
        }
        left
    }
}

impl Forge for ContainerForge {
    fn admit(&self, asked: Option<&ImageRef>) -> Result<ImageRef, Failure> {
        self.images.admit(asked)
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
        let is_podman = self.daemon.is_podman();
        let labels = labels(
            self.owners.own_id(),
            kind,
            tool,
            SystemTime::now(),
            lifetime,
        );
        let spec = container_spec(&Variables {
            image_id: image.id,
            user: User::of_image(&image.user),
            memory_bytes: self.settings.memory_bytes,
            nano_cpus: self.settings.nano_cpus,
            is_podman,
            labels,
        });
        // Bounded apart from the caller's patience: a create cut off half-way would leave a
        // container whose id nobody knows.
        let created = self
            .daemon
            .create_container(&spec, Deadline::after(EXCHANGE_TIMEOUT));
        let id = created.map_err(|error| {
            if error.is_not_found() {
                self.images.forget(&name);
            }
            unavailable(&error)
        })?;
        let mut cell = DockerCell {
            forge_disposal: Arc::clone(&self.disposal),
            daemon: Arc::clone(&self.daemon),
            id,
            streams: None,
        };
        cell.start(deadline)?;
        await_ready(&mut cell, deadline)?;
        Ok(Box::new(cell))
    }
}

/// One container with its streams. Dropping it has it removed soon.
struct DockerCell {
    forge_disposal: Arc<Disposal>,
    daemon: Arc<Daemon>,
    id: String,
    streams: Option<Attached>,
}

impl DockerCell {
    fn start(&mut self, deadline: Deadline) -> Result<(), Failure> {
        // The daemon has made the container: from here on it is slow, not away.
        let late_or_away = |error| match error {
            DockerError::TimedOut => none_in_time(),
            other => unavailable(&other),
        };
        let attached = self.daemon.attach(&self.id, deadline);
        self.streams = Some(attached.map_err(late_or_away)?);
        self.daemon.start_container(&self.id, deadline).map_err(|error| match error {
            // The runtime could not execute the command at all.
            DockerError::Api { status: 400 | 404 | 500, message } => Failure::new(
                FailureKind::Policy,
                format!("the image cannot run tools: {message}; images need sh and Node.js 20 or newer"),
            ),
            other => late_or_away(other),
        })
    }
}

impl Drop for DockerCell {
    fn drop(&mut self) {
        self.streams = None;
        if !self.id.is_empty() {
            self.forge_disposal.later(std::mem::take(&mut self.id));
        }
    }
}

impl Cell for DockerCell {
    fn send(&mut self, bytes: &[u8], deadline: Deadline) -> Result<(), Failure> {
        let Some(streams) = &mut self.streams else {
            return Ok(());
        };
        // A runner that has ended takes nothing; what it said before, `hear` still finds.
        match streams.write(bytes, deadline) {
            Err(DockerError::TimedOut) => {
                let message = "the sandbox did not take its orders in time";
                Err(Failure::new(FailureKind::Timeout, message))
            }
            _ => Ok(()),
        }
    }

    fn hear(
        &mut self,
        deadline: Deadline,
        take: &mut dyn FnMut(Output<'_>),
    ) -> Result<Heard, Failure> {
        let Some(streams) = &mut self.streams else {
            return Ok(Heard::End);
        };
        let read = streams.read(deadline, &mut |output| match output {
            docker::Output::Stdout(bytes) => take(Output::Frames(bytes)),
            docker::Output::Stderr(bytes) => take(Output::Printed(bytes)),
        });
        match read {
            Ok(true) => Ok(Heard::Output),
            Ok(false) => Ok(Heard::End),
            Err(DockerError::TimedOut) => Ok(Heard::Silence),
            // A daemon that dies resets its streams; `exit` then tells the two apart.
            Err(DockerError::Unreachable(_)) => Ok(Heard::End),
            Err(error) => Err(unavailable(&error)),
        }
    }

    fn exit(&mut self, deadline: Deadline) -> Result<Exit, Failure> {
        let asked = self.daemon.await_exit(&self.id, deadline);
        let state = asked.and_then(|()| self.daemon.container_state(&self.id, deadline));
        match state {
            Ok(State::Exited(exit)) => Ok(Exit {
                code: exit.code,
                oom_killed: exit.oom_killed,
            }),
            Ok(State::Running) => {
                let message = "the sandbox lost its connection: try again";
                Err(Failure::new(FailureKind::EngineUnavailable, message))
            }
            Err(error) => Err(unavailable(&error)),
        }
    }
    fn has_ended(&mut self) -> bool {
        // A parked runner says nothing; one that did is not to be trusted.
        !self.streams.as_mut().is_some_and(Attached::is_silent)
    }

    fn destroy(mut self: Box<Self>) {
        // A daemon with output that nobody takes would wait with the kill.
        self.streams = None;
        let id = std::mem::take(&mut self.id);
        self.forge_disposal.now(&id);
    }
}
