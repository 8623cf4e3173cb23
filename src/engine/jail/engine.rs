//! The engine on jails: every run in a jail of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::cell::JailCell;
use super::disposal::Disposal;
use super::kernel;
use super::node::{Node, inspect};
use super::plan::Plan;
use super::refusal::{JailRefusal, explain};
use crate::base::deadline::Deadline;
use crate::domain::entry::Dependency;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::image::ImageRef;
use crate::domain::run::{Cancel, Ended, Job, Observer};
use crate::engine::checker::Checkers;
use crate::engine::conversation::await_ready;
use crate::engine::forge::{Forge, ReadyCell, Standing};
use crate::engine::labels::Kind;
use crate::engine::one_shot::{Place, run_once};
use crate::engine::pool::{Pool, PoolCounts};
use crate::engine::{Check, Engine, Sandboxes};

/// The operator's choices for runs in jails.
#[derive(Clone, Debug)]
pub struct JailSettings {
    /// The program that becomes the launcher when asked (see `launch_if_asked`): this product's own
    /// binary, `/proc/self/exe` when that is what runs.
    pub launcher: PathBuf,
    /// Node.js, as [`super::find_node`] finds it; `None` where it found none.
    pub node: Option<PathBuf>,
    /// The one image that a tool may name, and that is not used: the first of
    /// `MCP_SANDBOX_ALLOWED_IMAGES`, so that tools move between engines.
    pub default_image: ImageRef,
    /// Bytes of memory of one jail.
    pub memory_bytes: u64,
    /// Processors that one jail may run on, at least one.
    pub processors: usize,
    /// Longest result, in bytes of JSON text.
    pub max_output_bytes: usize,
    /// Jails parked ahead of calls.
    pub warm_pool: usize,
    /// `MCP_NODE_UNSAFE`: no jail at all.
    pub unsafe_without_jail: bool,
}

/// How long the first jail may take, which proves that there can be more.
const FIRST_START: Duration = Duration::from_secs(30);
/// A jail's life needs no bound of its own: it ends with its launcher, and that with the server.
const LIFETIME: Duration = Duration::MAX;
/// Host users of jails, where the server is root: one each in turn, so that no two jails share
/// limits or rights. Far from all that are given to people, services and containers.
const FIRST_USER: u32 = 0x6A00_0000;
const USERS: u32 = 0x1_0000;

/// Runs jobs in single-use jails.
pub struct JailEngine {
    forge: Arc<JailForge>,
    checkers: Checkers,
    pool: Pool,
}

struct JailForge {
    settings: JailSettings,
    node: Node,
    /// Root with all users of the machine at hand, not that of a container with a few.
    may_choose_user: bool,
    limit_processes: bool,
    next_user: AtomicU32,
    disposal: Arc<Disposal>,
}

impl std::fmt::Debug for JailEngine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("JailEngine")
            .field("settings", &self.forge.settings)
            .field("node", &self.forge.node)
            .finish()
    }
}

impl JailEngine {
    /// Finds out what Node.js consists of and starts a first jail: what cannot be is refused here.
    ///
    /// # Errors
    /// What is missing or switched off, with its mend.
    pub fn start(settings: JailSettings) -> Result<Self, JailRefusal> {
        let system = |error: std::io::Error| JailRefusal::System(error.to_string());
        let found = settings.node.as_deref();
        let found =
            found.ok_or_else(|| JailRefusal::Node("there is no node on PATH".to_owned()))?;
        let node = inspect(found)?;
        let size = settings.warm_pool;
        let forge = Arc::new(JailForge {
            settings,
            node,
            may_choose_user: kernel::own_ids().0 == 0 && read("/proc/self/uid_map", maps_all),
            limit_processes: read("/proc/sys/kernel/osrelease", counts_by_namespace),
            next_user: AtomicU32::new(std::process::id() % USERS),
            disposal: Arc::new(Disposal::start().map_err(system)?),
        });
        let first = forge.start_first()?;
        if forge.settings.unsafe_without_jail {
            log::warn!(
                "MCP_NODE_UNSAFE=true: tools run WITHOUT a jail, with the rights of this server, \
                 its files and its network; for a throw-away machine only"
            );
        }
        let shared = Arc::clone(&forge) as Arc<dyn Forge>;
        let pool = Pool::start(Arc::clone(&shared), size).map_err(system)?;
        pool.prepare(&forge.settings.default_image, Some(Box::new(first)));
        Ok(Self {
            checkers: Checkers::new(shared),
            forge,
            pool,
        })
    }

    fn acquire(&self, job: &Job, acquire: Deadline) -> Result<ReadyCell, Failure> {
        self.admit(job.image.as_ref(), &job.dependencies)?;
        let image = &self.forge.settings.default_image;
        match self.pool.take(image, None) {
            Some(parked) => Ok(parked),
            None => self
                .forge
                .make(None, Kind::OneShot, &job.label, LIFETIME, acquire),
        }
    }
}

impl Engine for JailEngine {
    fn name(&self) -> &'static str {
        "node"
    }

    fn admit(&self, image: Option<&ImageRef>, dependencies: &[Dependency]) -> Result<(), Failure> {
        self.forge.admit(image)?;
        if dependencies.is_empty() {
            return Ok(());
        }
        let message = "the node engine has no dependencies: its jails have no network and install \
                       nothing; use what Node.js brings, or the docker engine";
        Err(Failure::new(FailureKind::Policy, message))
    }

    fn run(
        &self,
        job: &Job,
        acquire: Deadline,
        cancel: &Cancel,
        observer: &mut dyn Observer,
    ) -> Ended {
        let limit = self.forge.settings.max_output_bytes;
        run_once(job, acquire, limit, cancel, observer, || {
            let cell = self.acquire(job, acquire)?;
            Ok(Place { cell, layer: None })
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

    fn probe(&self, _: Deadline) -> Check {
        let version = &self.forge.node.version;
        let confinement = match self.forge.settings.unsafe_without_jail {
            false => "in a jail",
            true => "WITHOUT a jail (MCP_NODE_UNSAFE)",
        };
        Check {
            ready: true,
            detail: format!("node {version} {confinement}"),
        }
    }

    fn sandboxes(&self) -> Result<&Sandboxes, Failure> {
        let message = "sandboxes need containers, and this server runs code with the node engine \
            (MCP_EXECUTION_ENGINE)";
        Err(Failure::new(FailureKind::Policy, message))
    }

    fn pool_counts(&self) -> PoolCounts {
        self.pool.counts()
    }

    fn probe_image(&self, _: Deadline) -> Check {
        Check {
            ready: true,
            detail: format!("node {} of this machine", self.forge.node.version),
        }
    }

    fn tidy(&self, _: Deadline) -> usize {
        self.checkers.retire();
        self.pool.retire();
        // Jails of dead instances have ended with them.
        0
    }

    fn stop(&self, deadline: Deadline) -> usize {
        self.pool.stop(deadline);
        self.checkers.clear();
        let left = self.forge.disposal.finish(deadline);
        if left > 0 {
            log::warn!("{left} jails had not ended in time; they end with this process");
        }
        left
    }
}

impl Forge for JailForge {
    fn admit(&self, asked: Option<&ImageRef>) -> Result<ImageRef, Failure> {
        let default = &self.settings.default_image;
        match asked {
            Some(image) if image != default => Err(Failure::new(
                FailureKind::Policy,
                format!(
                    "the node engine has no images: leave the image out, or name {default}, or use \
                     the docker engine"
                ),
            )),
            _ => Ok(default.clone()),
        }
    }

    fn look(&self, _: &ImageRef, _: Deadline) -> Standing {
        Standing::For(None)
    }

    fn make(
        &self,
        asked: Option<&ImageRef>,
        _: Kind,
        _: &str,
        _: Duration,
        deadline: Deadline,
    ) -> Result<ReadyCell, Failure> {
        self.admit(asked)?;
        let mut cell = self.start_cell().map_err(|error| {
            log::error!("starting a jail: {error}");
            let message = "no jail could be started now: try again later";
            Failure::new(FailureKind::EngineUnavailable, message).retry_after(1000)
        })?;
        await_ready(&mut cell, deadline).map_err(|failure| match failure.kind {
            FailureKind::Policy => {
                log::error!("a jail did not come up: {}", explain(&failure.stderr));
                let message = "a jail did not come up: the reason is in the server's log";
                Failure::new(FailureKind::EngineUnavailable, message).retry_after(1000)
            }
            _ => failure,
        })?;
        Ok(Box::new(cell))
    }
}

impl JailForge {
    fn start_first(&self) -> Result<JailCell, JailRefusal> {
        let mut cell = self.start_cell().map_err(|error| {
            let launcher = self.settings.launcher.display();
            JailRefusal::System(format!("{launcher}: {error}"))
        })?;
        match await_ready(&mut cell, Deadline::after(FIRST_START)) {
            Ok(_) => Ok(cell),
            Err(failure) if failure.kind == FailureKind::Policy => Err(explain(&failure.stderr)),
            Err(failure) => Err(JailRefusal::System(failure.message)),
        }
    }

    fn start_cell(&self) -> std::io::Result<JailCell> {
        let turn = self.next_user.fetch_add(1, Ordering::Relaxed) % USERS;
        let plan = Plan {
            confined: !self.settings.unsafe_without_jail,
            node: self.node.binary.clone(),
            files: self.node.files.clone(),
            host_user: self.may_choose_user.then_some(FIRST_USER + turn),
            limit_processes: self.limit_processes || self.may_choose_user,
            memory_bytes: self.settings.memory_bytes,
            processors: self.settings.processors,
            turn: turn as usize,
        };
        JailCell::start(&self.settings.launcher, &plan, &self.disposal)
    }
}

/// What a file of /proc says; no when it cannot be read.
fn read(path: &str, says: fn(&str) -> bool) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| says(&text))
}

/// Whether this user map has the users that jails get: lines of inside, outside, count.
fn maps_all(map: &str) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        match (numbers.next(), numbers.nth(1)) {
            (Some(Ok(first)), Some(Ok(count))) => {
                first <= FIRST_USER && count >= FIRST_USER + USERS - first
            }
            _ => false,
        }
    })
}

/// Whether a kernel of this release counts processes by user *and namespace* (Linux 5.14). An older
/// one would count all that its user runs on the machine: there only the launcher counts.
fn counts_by_namespace(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next().and_then(|text| text.parse::<u32>().ok());
    (number().unwrap_or(0), number().unwrap_or(0)) >= (5, 14)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_the_machine_and_of_containers() {
        let check = |map, expected| assert_eq!(maps_all(map), expected, "{map}");
        check("         0          0 4294967295\n", true);
        check("0 1000 1\n1 100000 65536\n", false);
        check("0 0 1778384896\n", false);
        check("1778384896 0 65536\n", true);
        check("", false);
        check("x y z\n", false);
    }

    #[test]
    fn releases_of_kernels() {
        let check = |release, expected| assert_eq!(counts_by_namespace(release), expected);
        check("6.18.44-fc\n", true);
        check("5.14.0-427.el9.x86_64", true);
        check("5.10.0-28-amd64", false);
        check("10.0", true);
        check("", false);
    }
}
