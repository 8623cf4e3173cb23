//! What a confined run is: hardened containers, the frames spoken with the runner inside, and the
//! proof that nothing of ours is left behind. It knows no MCP and no HTTP.

mod cell;
mod checker;
pub mod container_spec;
mod conversation;
mod dependencies;
mod disposal;
mod docker_cell;
mod docker_engine;
mod forge;
mod frames;
mod images;
pub mod jail;
mod labels;
mod one_shot;
mod pool;
mod reaper;
mod sandboxes;

use crate::base::deadline::Deadline;
use crate::domain::entry::Dependency;
use crate::domain::failure::Failure;
use crate::domain::image::ImageRef;
use crate::domain::run::{Cancel, Ended, Job, Observer};

pub use crate::config::PullPolicy;
pub use dependencies::{DependencySettings, InstallCounts, LayerKey, PackagePolicy};
pub use docker_engine::{DockerEngine, EngineSettings};
pub use pool::PoolCounts;
pub use reaper::Owners;
pub use sandboxes::{
    CommandEnded, Executed, Printed, Sandbox, SandboxCounts, SandboxKey, SandboxSettings, Sandboxes,
};

/// What `/readyz` and the banner say of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Whether it can do its work.
    pub ready: bool,
    /// One line for operators; no secrets.
    pub detail: String,
}

/// Something that runs authors' code, confined.
pub trait Engine: Send + Sync {
    /// `docker` or `node`.
    fn name(&self) -> &'static str;

    /// Whether an image and dependencies are allowed, by the operator's rules alone.
    ///
    /// # Errors
    /// Kind `policy`, naming the rule and the setting behind it.
    fn admit(&self, image: Option<&ImageRef>, dependencies: &[Dependency]) -> Result<(), Failure>;

    /// Runs a job once. `acquire` bounds the wait for a place to run in; the job's own limit starts
    /// when the job is sent. Returns after the confinement was destroyed, or its destruction was
    /// handed over after a result.
    fn run(
        &self,
        job: &Job,
        acquire: Deadline,
        cancel: &Cancel,
        observer: &mut dyn Observer,
    ) -> Ended;

    /// Compiles code without running it.
    ///
    /// # Errors
    /// Kind `threw` with line and column when it does not compile; otherwise why it could not be
    /// checked now.
    fn check(
        &self,
        image: Option<&ImageRef>,
        code: &str,
        deadline: Deadline,
    ) -> Result<(), Failure>;

    /// Whether the daemon answers, by a round trip within `deadline`.
    fn probe(&self, deadline: Deadline) -> Check;

    /// Whether the default image is there, from what is known without waiting long.
    fn probe_image(&self, deadline: Deadline) -> Check;

    /// Containers that live on between calls.
    ///
    /// # Errors
    /// Kind `policy` where this engine has none.
    fn sandboxes(&self) -> Result<&Sandboxes, Failure>;

    /// Sandboxes parked ahead of calls, and how many calls found one.
    fn pool_counts(&self) -> PoolCounts;

    /// Installations of packages since the start.
    fn install_counts(&self) -> InstallCounts {
        InstallCounts::default()
    }

    /// Periodic upkeep: removes what dead instances and expired runs left behind; how many.
    fn tidy(&self, deadline: Deadline) -> usize;

    /// Ends what the engine keeps for itself and waits for destructions under way; how many are
    /// left at the deadline.
    fn stop(&self, deadline: Deadline) -> usize;
}
