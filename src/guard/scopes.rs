//! What each scope was used for: how often within a sliding window, and how those uses ended.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Parts of a rate window: at most one part's worth of use is counted too long.
const PARTS: u32 = 20;
/// Scopes that are kept before those out of use are looked for.
const SCOPES_BEFORE_SWEEP: usize = 1024;

/// How an admitted use ended, where not well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// There was no slot for it: it does not count against the limit.
    Busy,
    /// It began and failed.
    Failed,
}

/// Uses of one scope since the start, or since it was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScopeCounts {
    /// All of them.
    pub total: u64,
    /// Refused for frequency.
    pub rejected_rate: u64,
    /// Refused for want of a slot.
    pub rejected_concurrency: u64,
    /// Allowed, and failed.
    pub failed: u64,
}

impl ScopeCounts {
    /// Not refused.
    pub fn allowed(&self) -> u64 {
        self.total
            .saturating_sub(self.rejected_rate + self.rejected_concurrency)
    }
}

/// Every scope in use.
#[derive(Debug, Default)]
pub(super) struct Scopes(HashMap<String, Scope>);

#[derive(Debug)]
struct Scope {
    window: Window,
    counts: ScopeCounts,
}

impl Scopes {
    /// Counts a use, unless the window is full: then how long until it is not.
    pub(super) fn admit(
        &mut self,
        scope: &str,
        now: Instant,
        length: Duration,
        limit: u64,
    ) -> Result<(), Duration> {
        if self.0.len() > SCOPES_BEFORE_SWEEP {
            self.0
                .retain(|_, scope| !scope.window.is_empty(now, length));
        }
        let scope = self.0.entry(scope.to_owned()).or_insert_with(|| Scope {
            window: Window::new(now),
            counts: ScopeCounts::default(),
        });
        scope.counts.total += 1;
        let admitted = scope.window.admit(now, length, limit);
        scope.counts.rejected_rate += u64::from(admitted.is_err());
        admitted
    }

    pub(super) fn note(&mut self, scope: &str, ending: Ending) {
        let Some(scope) = self.0.get_mut(scope) else {
            return;
        };
        match ending {
            Ending::Busy => {
                scope.counts.rejected_concurrency += 1;
                scope.window.take_back();
            }
            Ending::Failed => scope.counts.failed += 1,
        }
    }

    pub(super) fn counts(&self) -> Vec<(String, ScopeCounts)> {
        let counts = |(name, scope): (&String, &Scope)| (name.clone(), scope.counts);
        let mut all: Vec<_> = self.0.iter().map(counts).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }
}

/// A sliding window in [`PARTS`] parts: its count is never below the true one, so no span of the
/// window's length ever holds more than the limit.
#[derive(Debug)]
struct Window {
    start: Instant,
    parts: VecDeque<(u64, u64)>,
}

impl Window {
    fn new(now: Instant) -> Self {
        Self {
            start: now,
            parts: VecDeque::new(),
        }
    }

    fn admit(&mut self, now: Instant, length: Duration, limit: u64) -> Result<(), Duration> {
        let part_length = (length / PARTS).max(Duration::from_micros(1));
        let part = self.part(now, part_length);
        self.forget_before(part);
        let used: u64 = self.parts.iter().map(|(_, count)| count).sum();
        if used >= limit {
            let oldest = self.parts.front().map_or(part, |(part, _)| *part);
            let free_at = oldest + u64::from(PARTS) + 1;
            let ticks = u32::try_from(free_at.saturating_sub(part)).unwrap_or(PARTS);
            return Err(part_length * ticks);
        }
        match self.parts.back_mut() {
            Some((latest, count)) if *latest == part => *count += 1,
            _ => self.parts.push_back((part, 1)),
        }
        Ok(())
    }

    /// Uncounts one use. The oldest one: whichever it was, the count is not below the true one.
    fn take_back(&mut self) {
        if let Some((_, count)) = self.parts.front_mut() {
            *count -= 1;
            if *count == 0 {
                self.parts.pop_front();
            }
        }
    }

    fn is_empty(&mut self, now: Instant, length: Duration) -> bool {
        let part = self.part(now, (length / PARTS).max(Duration::from_micros(1)));
        self.forget_before(part);
        self.parts.is_empty()
    }

    fn part(&self, now: Instant, part_length: Duration) -> u64 {
        let since = now.saturating_duration_since(self.start).as_nanos();
        u64::try_from(since / part_length.as_nanos().max(1)).unwrap_or(u64::MAX)
    }

    fn forget_before(&mut self, part: u64) {
        while self
            .parts
            .front()
            .is_some_and(|(oldest, _)| oldest + u64::from(PARTS) < part)
        {
            self.parts.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_slides() {
        let (start, length) = (Instant::now(), Duration::from_secs(10));
        let mut window = Window::new(start);
        let mut at = |millis: u64| window.admit(start + Duration::from_millis(millis), length, 2);
        assert!(at(0).is_ok());
        assert!(at(5000).is_ok());
        let wait = at(9000).unwrap_err();
        assert!(
            wait > Duration::from_millis(1000) && wait < Duration::from_millis(2100),
            "{wait:?}"
        );
        assert!(at(9000 + u64::try_from(wait.as_millis()).unwrap()).is_ok());
        assert!(at(12_000).is_err());
    }

    #[test]
    fn what_found_no_slot_is_no_use() {
        let (start, length) = (Instant::now(), Duration::from_secs(10));
        let mut scopes = Scopes::default();
        let admit = |scopes: &mut Scopes| scopes.admit("x", start, length, 2);
        assert!(admit(&mut scopes).is_ok() && admit(&mut scopes).is_ok());
        assert!(admit(&mut scopes).is_err());
        scopes.note("x", Ending::Failed);
        assert!(admit(&mut scopes).is_err());
        scopes.note("x", Ending::Busy);
        assert!(admit(&mut scopes).is_ok());
        assert!(admit(&mut scopes).is_err());
        (0..9).for_each(|_| scopes.note("x", Ending::Busy));
        assert!(admit(&mut scopes).is_ok());
    }

    #[test]
    fn scopes_out_of_use_are_forgotten() {
        let (start, length) = (Instant::now(), Duration::from_secs(10));
        let mut scopes = Scopes::default();
        for number in 0..=SCOPES_BEFORE_SWEEP {
            scopes.admit(&number.to_string(), start, length, 1).unwrap();
        }
        assert_eq!(scopes.counts().len(), SCOPES_BEFORE_SWEEP + 1);
        scopes.admit("late", start + length * 2, length, 1).unwrap();
        assert_eq!(scopes.counts().len(), 1);
    }
}
