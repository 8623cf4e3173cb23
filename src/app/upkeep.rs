//! What happens in the background at intervals: looking at readiness, tidying up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::audit_log::{RegistryWatch, check_audit};
use super::{CHECK_TIMEOUT, StartError};
use crate::audit::Audit;
use crate::auth::Authority;
use crate::base::deadline::Deadline;
use crate::engine::Engine;
use crate::http::{Readiness, ReadyCheck};
use crate::metrics::Metrics;
use crate::registry::ToolStore;

/// How often readiness is looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How often left containers are looked for.
pub(super) const TIDY_INTERVAL: Duration = Duration::from_secs(30);
pub(super) const TIDY_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn check_all(
    engine: &dyn Engine,
    store: &dyn ToolStore,
    authority: &Authority,
    audit: &Audit,
) -> Vec<ReadyCheck> {
    let deadline = Deadline::after(CHECK_TIMEOUT);
    let probe = engine.probe(deadline);
    let image = engine.probe_image(deadline);
    let registry = store.health();
    let mut checks = vec![
        ReadyCheck {
            name: "registry",
            ready: registry.is_ok(),
            detail: registry
                .map_or_else(|error| error.to_string(), |()| store.backend().to_owned()),
        },
        ReadyCheck {
            name: "engine",
            ready: probe.ready,
            detail: probe.detail,
        },
        ReadyCheck {
            name: "image",
            ready: image.ready,
            detail: image.detail,
        },
    ];
    checks.extend(authority.keys_health().map(|keys| ReadyCheck {
        name: "keys",
        ready: keys.is_fit(),
        detail: keys.to_string(),
    }));
    checks.extend(check_audit(audit));
    checks
}

/// The background threads: one looks at readiness, one tidies up.
pub(super) struct Upkeep {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Upkeep {
    pub(super) fn start(
        engine: &Arc<dyn Engine>,
        authority: &Authority,
        readiness: &Arc<Readiness>,
        metrics: &Arc<Metrics>,
        watch: RegistryWatch,
    ) -> Result<Self, StartError> {
        let stop = Arc::new(AtomicBool::new(false));
        let checks = {
            let (engine, readiness) = (Arc::clone(engine), Arc::clone(readiness));
            let authority = authority.clone();
            every(CHECK_INTERVAL, "checks", &stop, move || {
                let checks = check_all(&*engine, &*watch.store, &authority, &watch.audit);
                readiness.publish(checks);
                watch.look();
            })
        };
        let tidy = {
            let (engine, metrics) = (Arc::clone(engine), Arc::clone(metrics));
            every(TIDY_INTERVAL, "tidy", &stop, move || {
                metrics.count_reaped(engine.tidy(Deadline::after(TIDY_TIMEOUT)));
            })
        };
        let threads = vec![
            checks.map_err(StartError::System)?,
            tidy.map_err(StartError::System)?,
        ];
        Ok(Self { stop, threads })
    }

    /// Ends the threads, but awaits none: one may be waiting for a daemon that never answers.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads {
            thread.thread().unpark();
        }
    }
}

/// Runs `act` now and at every interval, until told to stop.
fn every(
    interval: Duration,
    name: &str,
    stop: &Arc<AtomicBool>,
    act: impl Fn() + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let stop = Arc::clone(stop);
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            while !stop.load(Ordering::Acquire) {
                act();
                let next = Instant::now() + interval;
                while !stop.load(Ordering::Acquire)
                    && let Some(left) = next.checked_duration_since(Instant::now())
                {
                    std::thread::park_timeout(left);
                }
            }
        })
}
