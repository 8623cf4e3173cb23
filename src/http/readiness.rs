//! What `/readyz` says: the last result of the checks that run in the background, and its age.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

/// Checks older than this say nothing any more.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyCheck {
    /// Such as `registry` or `engine`.
    pub name: &'static str,
    /// Whether it passed.
    pub ready: bool,
    /// One line; no secret, no driver's raw text.
    pub detail: String,
}

/// The state of readiness.
#[derive(Debug, Default)]
pub struct Readiness {
    last: Mutex<Option<(Instant, Vec<ReadyCheck>)>>,
    draining: AtomicBool,
}

impl Readiness {
    /// Publishes the results of one round of checks.
    pub fn publish(&self, checks: Vec<ReadyCheck>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), checks));
    }

    /// From now on not ready: the server is going.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// What holds now: the last checks, and what is wrong beside them.
    pub(super) fn checks(&self) -> Vec<ReadyCheck> {
        let last = self
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let draining = self.draining.load(Ordering::Acquire);
        let (age, mut checks) = match last {
            Some((at, checks)) => (Some(at.elapsed()), checks),
            None => (None, Vec::new()),
        };
        let fresh = age.is_some_and(|age| age < STALE_AFTER);
        if !fresh {
            let detail = match age {
                Some(age) => format!("the last checks are {} s old", age.as_secs()),
                None => "no check has run yet".to_owned(),
            };
            checks.push(ReadyCheck {
                name: "checks",
                ready: false,
                detail,
            });
        }
        if draining {
            let detail = "the server is shutting down".to_owned();
            checks.push(ReadyCheck {
                name: "draining",
                ready: false,
                detail,
            });
        }
        checks
    }

    /// Whether all is well, and the body of the answer.
    pub(super) fn report(&self) -> (bool, Value) {
        let checks = self.checks();
        let ready = checks.iter().all(|check| check.ready);
        let shown: Map<String, Value> = checks
            .into_iter()
            .map(|check| {
                let status = if check.ready { "ok" } else { "failed" };
                let shown = json!({ "status": status, "detail": check.detail });
                (check.name.to_owned(), shown)
            })
            .collect();
        let status = if ready { "ready" } else { "not_ready" };
        (ready, json!({ "status": status, "checks": shown }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_with_fresh_good_checks_and_no_drain() {
        let readiness = Readiness::default();
        assert!(!readiness.report().0);
        let check = |ready| ReadyCheck {
            name: "engine",
            ready,
            detail: "d".to_owned(),
        };
        readiness.publish(vec![check(true)]);
        let (ready, body) = readiness.report();
        assert!(ready);
        let expected =
            json!({"status": "ready", "checks": {"engine": {"status": "ok", "detail": "d"}}});
        assert_eq!(body, expected);
        readiness.publish(vec![check(false)]);
        assert!(!readiness.report().0);
        readiness.publish(vec![check(true)]);
        readiness.drain();
        let (ready, body) = readiness.report();
        assert!(!ready);
        assert_eq!(body["checks"]["draining"]["status"], "failed");
    }
}
