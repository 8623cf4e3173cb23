//! Wrong admin tokens, counted for each caller: whoever sends too many is not compared any more for
//! a while, so that guessing stays hopeless.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::principal::Principal;

/// Wrong tokens that a caller may send within [`WINDOW`].
const MAX_FAILURES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Callers that are remembered.
const CAPACITY: usize = 1024;

/// The failures of every caller.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<HashMap<Guesser, Failures>>);

/// Whose failures are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Guesser {
    pub(super) principal: Principal,
    /// Its network, where all callers are one principal: nobody shuts out the others.
    pub(super) network: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    since: Instant,
    count: u32,
}

impl Throttle {
    /// How long a caller has to wait before its next token is compared, if at all.
    pub(super) fn wait(&self, guesser: &Guesser, now: Instant) -> Option<Duration> {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = failures
            .get(guesser)
            .filter(|found| found.count >= MAX_FAILURES)?;
        (found.since + WINDOW)
            .checked_duration_since(now)
            .filter(|left| !left.is_zero())
    }

    /// Counts a wrong token.
    pub(super) fn count(&self, guesser: &Guesser, now: Instant) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |failures: &Failures| now.duration_since(failures.since) >= WINDOW;
        if failures.len() >= CAPACITY && !failures.contains_key(guesser) {
            failures.retain(|_, failures| !is_over(failures));
            let oldest = failures.iter().min_by_key(|(_, failures)| failures.since);
            let oldest = oldest.map(|(guesser, _)| guesser.clone());
            if let Some(oldest) = oldest.filter(|_| failures.len() >= CAPACITY) {
                failures.remove(&oldest);
            }
        }
        let fresh = Failures {
            since: now,
            count: 0,
        };
        let entry = failures.entry(guesser.clone()).or_insert(fresh);
        if is_over(entry) {
            *entry = fresh;
        }
        entry.count = entry.count.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guesser(number: usize) -> Guesser {
        let principal = Principal {
            issuer: "i".to_owned(),
            subject: number.to_string(),
        };
        Guesser {
            principal,
            network: None,
        }
    }

    #[test]
    fn callers_that_are_one_principal_are_told_apart_by_their_networks() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let local = |network: &str| Guesser {
            principal: Principal::local(),
            network: Some(network.parse().unwrap()),
        };
        (0..MAX_FAILURES).for_each(|_| throttle.count(&local("10.0.0.1"), now));
        assert!(throttle.wait(&local("10.0.0.1"), now).is_some());
        assert_eq!(throttle.wait(&local("10.0.0.2"), now), None);
    }

    #[test]
    fn ten_failures_close_the_door_for_the_rest_of_a_minute() {
        let (throttle, start, second) = (Throttle::default(), Instant::now(), WINDOW / 60);
        for failure in 0..MAX_FAILURES {
            assert_eq!(throttle.wait(&guesser(1), start), None, "{failure}");
            throttle.count(&guesser(1), start + second * failure);
        }
        let wait = |at| throttle.wait(&guesser(1), start + at);
        assert_eq!(wait(second * 10), Some(second * 50));
        assert_eq!(wait(second * 59), Some(second));
        assert_eq!(wait(second * 60), None);
        assert_eq!(throttle.wait(&guesser(2), start), None);
        throttle.count(&guesser(1), start + second * 61);
        assert_eq!(wait(second * 61), None);
    }

    #[test]
    fn the_number_of_callers_is_bounded() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        for number in 0..CAPACITY + 10 {
            let at = start + Duration::from_millis(number as u64);
            throttle.count(&guesser(number), at);
        }
        let remembered = throttle.0.lock().unwrap();
        assert_eq!(remembered.len(), CAPACITY);
        assert!(!remembered.contains_key(&guesser(0)));
        assert!(remembered.contains_key(&guesser(CAPACITY + 9)));
    }
}
