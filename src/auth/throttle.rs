//! Wrong admin tokens, counted for each principal: whoever sends too many is not compared any more
//! for a while, so that guessing stays hopeless.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::principal::Principal;

/// Wrong tokens that a principal may send within [`WINDOW`].
const MAX_FAILURES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Principals that are remembered.
const CAPACITY: usize = 1024;

/// The failures of every principal.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<HashMap<Principal, Failures>>);

#[derive(Clone, Copy, Debug)]
struct Failures {
    since: Instant,
    count: u32,
}

impl Throttle {
    /// How long a principal has to wait before its next token is compared, if at all.
    pub(super) fn wait(&self, principal: &Principal, now: Instant) -> Option<Duration> {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = failures
            .get(principal)
            .filter(|found| found.count >= MAX_FAILURES)?;
        (found.since + WINDOW)
            .checked_duration_since(now)
            .filter(|left| !left.is_zero())
    }

    /// Counts a wrong token.
    pub(super) fn count(&self, principal: &Principal, now: Instant) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |failures: &Failures| now.duration_since(failures.since) >= WINDOW;
        if failures.len() >= CAPACITY && !failures.contains_key(principal) {
            failures.retain(|_, failures| !is_over(failures));
            let oldest = failures.iter().min_by_key(|(_, failures)| failures.since);
            let oldest = oldest.map(|(principal, _)| principal.clone());
            if let Some(oldest) = oldest.filter(|_| failures.len() >= CAPACITY) {
                failures.remove(&oldest);
            }
        }
        let fresh = Failures {
            since: now,
            count: 0,
        };
        let entry = failures.entry(principal.clone()).or_insert(fresh);
        if is_over(entry) {
            *entry = fresh;
        }
        entry.count = entry.count.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(number: usize) -> Principal {
        Principal {
            issuer: "i".to_owned(),
            subject: number.to_string(),
        }
    }

    #[test]
    fn ten_failures_close_the_door_for_the_rest_of_a_minute() {
        let (throttle, start, second) = (Throttle::default(), Instant::now(), WINDOW / 60);
        for failure in 0..MAX_FAILURES {
            assert_eq!(throttle.wait(&principal(1), start), None, "{failure}");
            throttle.count(&principal(1), start + second * failure);
        }
        let wait = |at| throttle.wait(&principal(1), start + at);
        assert_eq!(wait(second * 10), Some(second * 50));
        assert_eq!(wait(second * 59), Some(second));
        assert_eq!(wait(second * 60), None);
        assert_eq!(throttle.wait(&principal(2), start), None);
        throttle.count(&principal(1), start + second * 61);
        assert_eq!(wait(second * 61), None);
    }

    #[test]
    fn the_number_of_principals_is_bounded() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        for number in 0..CAPACITY + 10 {
            let at = start + Duration::from_millis(number as u64);
            throttle.count(&principal(number), at);
        }
        let remembered = throttle.0.lock().unwrap();
        assert_eq!(remembered.len(), CAPACITY);
        assert!(!remembered.contains_key(&principal(0)));
        assert!(remembered.contains_key(&principal(CAPACITY + 9)));
    }
}
