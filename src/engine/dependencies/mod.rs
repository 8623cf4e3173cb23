//! The packages that tools depend on: resolved and installed once for an image and a set, into a
//! layer on the daemon's one volume of layers, which every container sees read-only and cannot
//! list. Calls that find their layer need no network.

mod installer;
mod layers;
mod name;
mod order;
mod policy;
mod source;
mod volume;

use std::time::Duration;

use crate::config::NpmConfig;

pub(super) use installer::{InstallerForge, Role, installer_spec};
pub use layers::InstallCounts;
pub(super) use layers::Layers;
pub use name::LayerKey;
pub use policy::PackagePolicy;

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
