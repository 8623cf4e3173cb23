//! What happens in the background at intervals: looking at readiness, tidying up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{CHECK_TIMEOUT, StartError};
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

pub(super) fn check_all(engine: &dyn Engine, store: &dyn ToolStore) -> Vec<ReadyCheck> {
    let deadline = Deadline::after(CHECK_TIMEOUT);
    let probe = engine.probe(deadline);
    let image = engine.probe_image(deadline);
    let registry = store.health();
    vec![
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
    ]
}

/// The background threads: one looks at readiness, one tidies up.
pub(super) struct Upkeep {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Upkeep {
    pub(super) fn start(
        engine: &Arc<dyn Engine>,
        store: &Arc<dyn ToolStore>,
        readiness: &Arc<Readiness>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let stop = Arc::new(AtomicBool::new(false));
        let checks = {
            let (engine, store) = (Arc::clone(engine), Arc::clone(store));
            let readiness = Arc::clone(readiness);
            every(CHECK_INTERVAL, "checks", &stop, move || {
                readiness.publish(check_all(&*engine, &*store));
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
