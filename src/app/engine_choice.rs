//! Which engine runs the code: what was asked for, or what this machine can do.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;

use super::store::Registry;
use super::{CHECK_TIMEOUT, StartError};
use crate::base::deadline::Deadline;
use crate::config::{Config, EngineChoice, EngineConfig, NodeJail, Profile};
use crate::docker::Daemon;
use crate::engine::jail::{JailEngine, JailRefusal, JailSettings, find_node};
use crate::engine::{
    DependencySettings, DockerEngine, Engine, EngineSettings, LayerKey, Owners, PackagePolicy,
    SandboxKey, SandboxSettings,
};

/// What the process finds around it, read once at the start.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The user's own folder: other Docker sockets are looked for there.
    pub home: Option<PathBuf>,
    /// `PATH`: Node.js is looked for there.
    pub search_path: Option<OsString>,
}

/// Chooses the engine; the text says why it is this one, where that needs saying.
pub(super) fn start_engine(
    config: &Config,
    surroundings: Surroundings,
    owners: Arc<dyn Owners>,
    registry: &Registry,
) -> Result<(Arc<dyn Engine>, Option<String>), StartError> {
    let search_path = surroundings.search_path.unwrap_or_default();
    if config.engine.choice == EngineChoice::Node {
        let engine = start_jail(&config.engine, &search_path).map_err(StartError::Jail)?;
        return Ok((Arc::new(engine), None));
    }
    let address = config.engine.daemon.clone();
    let daemon = Arc::new(Daemon::new(address, surroundings.home));
    let mut reason = None;
    if config.engine.choice == EngineChoice::Auto
        && let Err(error) = daemon.info(Deadline::after(CHECK_TIMEOUT))
    {
        let no_jail = match (config.profile, &config.engine.runtime) {
            (Profile::Enterprise, _) => Some("the enterprise profile runs code in containers only"),
            (Profile::Mvp, Some(_)) => Some("MCP_SANDBOX_RUNTIME asks for containers"),
            (Profile::Mvp, None) => None,
        };
        reason = no_jail.map(str::to_owned);
        if no_jail.is_none() {
            match start_jail(&config.engine, &search_path) {
                Ok(engine) => return Ok((Arc::new(engine), Some(format!("no Docker: {error}")))),
                Err(refusal) => reason = Some(format!("no jail either: {refusal}")),
            }
        }
    }
    if let Some(runtime) = &config.engine.runtime {
        check_runtime(&daemon, runtime)?;
    }
    let settings = EngineSettings {
        allowed_images: config.engine.allowed_images.clone(),
        pull_policy: config.engine.pull_policy,
        memory_bytes: config.engine.memory_bytes,
        nano_cpus: config.engine.nano_cpus,
        max_output_bytes: config.engine.max_output_bytes,
        warm_pool: config.engine.warm_pool,
        runtime: config.engine.runtime.clone(),
        dependencies: dependency_settings(&config.engine, registry)?,
        sandboxes: SandboxSettings {
            idle: config.engine.sandbox_idle,
            max: config.engine.max_sandboxes,
            key: SandboxKey::derive(&registry.layer_key()?),
        },
    };
    let engine = DockerEngine::start(daemon, settings, owners).map_err(StartError::System)?;
    Ok((Arc::new(engine), reason))
}

/// A daemon that does not answer yet is not asked again: it refuses each container by name.
pub(super) fn check_runtime(daemon: &Daemon, runtime: &str) -> Result<(), StartError> {
    match daemon.runtimes(Deadline::after(CHECK_TIMEOUT)) {
        Ok(known) if !known.iter().any(|name| name == runtime) => Err(StartError::Runtime {
            asked: runtime.to_owned(),
            known,
        }),
        Ok(_) => Ok(()),
        Err(error) => {
            log::warn!("whether the daemon has the runtime {runtime} is not known yet: {error}");
            Ok(())
        }
    }
}

fn dependency_settings(
    config: &EngineConfig,
    registry: &Registry,
) -> Result<DependencySettings, StartError> {
    let policy = PackagePolicy {
        blocked: config.blocked_packages.clone(),
        max_dependencies: config.max_dependencies,
    };
    let key = LayerKey::new(registry.layer_key()?);
    Ok(DependencySettings::new(policy, config.npm.clone(), key))
}

/// A jail is kept to whole processors: parts of one round up.
const NANO_CPUS: u64 = 1_000_000_000;

pub(super) fn start_jail(
    config: &EngineConfig,
    search_path: &OsStr,
) -> Result<JailEngine, JailRefusal> {
    let default_image = config.allowed_images.first().cloned();
    JailEngine::start(JailSettings {
        launcher: PathBuf::from("/proc/self/exe"),
        node: find_node(search_path),
        default_image: default_image.ok_or_else(|| {
            JailRefusal::System("MCP_SANDBOX_ALLOWED_IMAGES names no image".to_owned())
        })?,
        memory_bytes: config.memory_bytes,
        processors: usize::try_from(config.nano_cpus.div_ceil(NANO_CPUS)).unwrap_or(usize::MAX),
        max_output_bytes: config.max_output_bytes,
        warm_pool: config.warm_pool,
        unsafe_without_jail: config.node_jail == NodeJail::Waived,
    })
}
