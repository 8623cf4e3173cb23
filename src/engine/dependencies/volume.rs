//! The volume of layers, as installers change it: a layer is installed, old layers go. What is
//! known of layers in memory never stands here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::DependencySettings;
use super::installer::{INSTALLER, InstallerForge, Role, ask};
use super::order::{Answer, Bounds, Order, refusal, set_text};
use super::source::Source;
use crate::base::deadline::Deadline;
use crate::docker::Image;
use crate::domain::entry::Dependency;
use crate::domain::failure::{Failure, FailureKind};

/// Bound on one installation, from its container's creation to its layer.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Bound on tidying the volume.
const UPKEEP_TIMEOUT: Duration = Duration::from_secs(60);
/// Most bytes and files of one layer.
const MAX_LAYER_BYTES: u64 = 512 << 20;
const MAX_LAYER_FILES: u64 = 100_000;

/// The volume on one daemon.
pub(super) struct Volume {
    pub(super) forge: Arc<dyn InstallerForge>,
    pub(super) settings: DependencySettings,
    /// Ends what is under way.
    pub(super) is_stopped: AtomicBool,
}

impl Volume {
    fn ask(
        &self,
        image: &Image,
        role: Role,
        order: &Order<'_>,
        deadline: Deadline,
    ) -> Result<Answer, Failure> {
        let cell = self.forge.start(image, role, deadline)?;
        ask(cell, order, deadline, &|| {
            self.is_stopped.load(Ordering::Acquire)
        })
    }

    fn bounds(&self) -> Bounds {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Bounds {
            max_bytes: MAX_LAYER_BYTES,
            max_total_bytes: self.settings.max_total_bytes,
            // Other servers note their use as often as this one, give or take one time.
            keep_ms: millis(self.settings.upkeep.saturating_mul(2)),
            max_unused_ms: millis(self.settings.max_unused),
        }
    }

    /// Installs the set under the name, unless it is there already.
    pub(super) fn install(
        &self,
        name: &str,
        image: &Image,
        set: &[Dependency],
    ) -> Result<(), Failure> {
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
            max_files: MAX_LAYER_FILES,
            bounds: self.bounds(),
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

    /// Notes which layers were used, and removes old ones: their names.
    pub(super) fn tidy(&self, used: &[String]) -> Result<Vec<String>, Failure> {
        let deadline = Deadline::after(UPKEEP_TIMEOUT);
        let image = self.forge.default_image(deadline)?;
        let order = Order::Tidy {
            used,
            bounds: self.bounds(),
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
