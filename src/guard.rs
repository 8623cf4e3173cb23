//! The one guard of the process: how many runs at once, how often each scope may be used. What
//! reads or stops things never passes here for a slot.
//!
//! A run that finds no slot waits in a short queue. Whoever has the fewest runs comes first, and
//! among equals whoever came first. When the queue is full, the newest of whoever has most, there
//! and running, is sent away. So one busy principal cannot keep the others out.

mod scopes;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::base::deadline::Deadline;
use crate::domain::principal::Principal;
use crate::domain::run::Cancel;

pub use scopes::{Ending, ScopeCounts};

use scopes::Scopes;

/// Acts that find a place however many runs wait.
const LEAST_ACTS: usize = 4;
/// What a caller without a slot is told to wait, in milliseconds.
const BUSY_HINT_MS: u64 = 1000;
/// How often a call that waits asks whether it was cancelled.
const CANCEL_CHECK: Duration = Duration::from_millis(50);

/// The operator's limits.
#[derive(Clone, Debug)]
pub struct GuardLimits {
    /// Runs at once.
    pub max_concurrency: usize,
    /// Runs at once of one principal.
    pub max_concurrency_per_principal: usize,
    /// Runs that may wait for a slot, and acts beside them; beyond it a call is refused at once.
    pub max_waiting: usize,
    /// Uses of one scope within a window.
    pub max_calls_per_window: u64,
    /// Length of the window.
    pub window: Duration,
}

/// Why the guard refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No slot came free in time.
    Busy {
        /// When to try again, in milliseconds.
        retry_after_ms: u64,
    },
    /// The scope was used too often.
    RateLimited {
        /// When to try again, in milliseconds.
        retry_after_ms: u64,
    },
    /// The caller went while it waited.
    Cancelled,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy { retry_after_ms } => {
                write!(
                    formatter,
                    "all places are taken; try again in {retry_after_ms} ms"
                )
            }
            Self::RateLimited { retry_after_ms } => {
                write!(
                    formatter,
                    "called too often; try again in {retry_after_ms} ms"
                )
            }
            Self::Cancelled => formatter.write_str("the call was cancelled while it waited"),
        }
    }
}

/// What the guard has done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuardCounts {
    /// Runs now.
    pub active: usize,
    /// Runs that wait now.
    pub waiting: usize,
    /// Acts now.
    pub acts: usize,
    /// Refused for want of a slot.
    pub rejected_concurrency: u64,
    /// Refused for frequency.
    pub rejected_rate: u64,
}

/// Counts runs and uses.
#[derive(Debug)]
pub struct Guard {
    limits: GuardLimits,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    counts: GuardCounts,
    active_of: HashMap<Principal, usize>,
    queue: VecDeque<(u64, Principal)>,
    next_ticket: u64,
    scopes: Scopes,
}

/// A place among the runs; given back when dropped.
#[derive(Debug)]
pub struct Slot {
    guard: Arc<Guard>,
    principal: Principal,
}

/// A place among the acts; given back when dropped.
#[derive(Debug)]
pub struct Place {
    guard: Arc<Guard>,
}

impl Guard {
    /// A guard with nothing running.
    pub fn new(limits: GuardLimits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// The limits it was made with.
    pub fn limits(&self) -> &GuardLimits {
        &self.limits
    }

    /// Counts one use of a scope.
    ///
    /// # Errors
    /// [`Refusal::RateLimited`] when the window is full; the use is then not counted.
    pub fn admit(&self, scope: &str) -> Result<(), Refusal> {
        let (window, limit) = (self.limits.window, self.limits.max_calls_per_window);
        let mut state = self.lock();
        let Err(wait) = state.scopes.admit(scope, Instant::now(), window, limit) else {
            return Ok(());
        };
        state.counts.rejected_rate += 1;
        let retry_after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        Err(Refusal::RateLimited { retry_after_ms })
    }

    /// Notes that an admitted use of a scope did not end well.
    pub fn note(&self, scope: &str, ending: Ending) {
        self.lock().scopes.note(scope, ending);
    }

    /// What was done in each scope, sorted by scope. Scopes out of use may be forgotten.
    pub fn scopes(&self) -> Vec<(String, ScopeCounts)> {
        self.lock().scopes.counts()
    }

    /// Waits for a slot.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when none came free before the deadline, or too many wait already;
    /// [`Refusal::Cancelled`] when the caller went.
    pub fn enter(
        self: &Arc<Self>,
        principal: &Principal,
        deadline: Deadline,
        cancel: &Cancel,
    ) -> Result<Slot, Refusal> {
        let mut state = self.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let room = self.limits.max_waiting.saturating_sub(state.counts.acts);
        state.queue.push_back((ticket, principal.clone()));
        if self.next(&state) != Some(ticket) && state.queue.len() > room {
            state.send_one_away();
            self.changed.notify_all();
        }
        loop {
            if self.next(&state) == Some(ticket) {
                state.take(ticket, principal);
                // Another one may fit beside this one.
                self.changed.notify_all();
                return Ok(Slot {
                    guard: Arc::clone(self),
                    principal: principal.clone(),
                });
            }
            state.counts.waiting = state.queue.len();
            if cancel.is_cancelled() {
                state.leave(ticket);
                return Err(Refusal::Cancelled);
            }
            let waits = state.queue.iter().any(|(waiting, _)| *waiting == ticket);
            let (Some(left), true) = (deadline.remaining(), waits) else {
                state.leave(ticket);
                return Err(state.busy());
            };
            state = match self.changed.wait_timeout(state, left.min(CANCEL_CHECK)) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// A place for an act that runs no tool code but may take long: it takes a worker as a waiting
    /// run does.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when runs and acts have taken all places.
    pub fn place(self: &Arc<Self>) -> Result<Place, Refusal> {
        let mut state = self.lock();
        let room = self.limits.max_waiting.saturating_sub(state.queue.len());
        if state.counts.acts >= room.max(LEAST_ACTS) {
            return Err(state.busy());
        }
        state.counts.acts += 1;
        Ok(Place {
            guard: Arc::clone(self),
        })
    }

    /// What was done so far.
    pub fn counts(&self) -> GuardCounts {
        self.lock().counts
    }

    /// The ticket whose turn it is.
    fn next(&self, state: &State) -> Option<u64> {
        if state.counts.active >= self.limits.max_concurrency {
            return None;
        }
        let active = |principal| state.active_of.get(principal).copied().unwrap_or(0);
        state
            .queue
            .iter()
            .filter(|(_, who)| active(who) < self.limits.max_concurrency_per_principal)
            .min_by_key(|(ticket, who)| (active(who), *ticket))
            .map(|(ticket, _)| *ticket)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    fn take(&mut self, ticket: u64, principal: &Principal) {
        self.leave(ticket);
        self.counts.active += 1;
        *self.active_of.entry(principal.clone()).or_default() += 1;
    }

    fn busy(&mut self) -> Refusal {
        self.counts.rejected_concurrency += 1;
        Refusal::Busy {
            retry_after_ms: BUSY_HINT_MS,
        }
    }

    /// Takes the newest run from the queue of whoever has most runs, waiting and running.
    fn send_one_away(&mut self) {
        let mut of = self.active_of.clone();
        for (_, who) in &self.queue {
            *of.entry(who.clone()).or_default() += 1;
        }
        let load = |who| of.get(who).copied().unwrap_or(0);
        let last = self.queue.iter().max_by_key(|(at, who)| (load(who), *at));
        if let Some(ticket) = last.map(|(ticket, _)| *ticket) {
            self.leave(ticket);
        }
    }

    fn leave(&mut self, ticket: u64) {
        self.queue.retain(|(waiting, _)| *waiting != ticket);
        self.counts.waiting = self.queue.len();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.guard.lock();
        state.counts.active -= 1;
        if let Some(active) = state.active_of.get_mut(&self.principal) {
            *active -= 1;
            if *active == 0 {
                state.active_of.remove(&self.principal);
            }
        }
        drop(state);
        self.guard.changed.notify_all();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.guard.lock().counts.acts -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn guard(max_concurrency: usize, per_principal: usize, max_waiting: usize) -> Arc<Guard> {
        Arc::new(Guard::new(GuardLimits {
            max_concurrency,
            max_concurrency_per_principal: per_principal,
            max_waiting,
            max_calls_per_window: 3,
            window: Duration::from_secs(10),
        }))
    }

    fn who(name: &str) -> Principal {
        Principal {
            issuer: "test".to_owned(),
            subject: name.to_owned(),
        }
    }

    fn enter(guard: &Arc<Guard>, name: &str, deadline: Deadline) -> Result<Slot, Refusal> {
        guard.enter(&who(name), deadline, &Cancel::default())
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_millis(20))
    }

    #[test]
    fn slots_are_counted_and_given_back() {
        let guard = guard(1, 1, 8);
        let slot = enter(&guard, "a", soon()).unwrap();
        assert!(matches!(
            enter(&guard, "b", soon()),
            Err(Refusal::Busy { .. })
        ));
        drop(slot);
        drop(enter(&guard, "b", soon()).unwrap());
        let counts = guard.counts();
        assert_eq!(
            (counts.active, counts.waiting, counts.rejected_concurrency),
            (0, 0, 1)
        );
    }

    #[test]
    fn one_principal_cannot_take_all() {
        let guard = guard(4, 2, 8);
        let _slots = [
            enter(&guard, "a", soon()).unwrap(),
            enter(&guard, "a", soon()).unwrap(),
        ];
        assert!(enter(&guard, "a", soon()).is_err());
        assert!(enter(&guard, "b", soon()).is_ok());
    }

    #[test]
    fn beyond_the_queue_nobody_waits() {
        let guard = guard(1, 1, 0);
        let _slot = enter(&guard, "a", soon()).unwrap();
        let began = Instant::now();
        assert!(enter(&guard, "b", Deadline::after(Duration::from_secs(60))).is_err());
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn who_went_does_not_wait() {
        let guard = guard(1, 1, 8);
        let slot = enter(&guard, "a", soon()).unwrap();
        let (cancel, began) = (Cancel::default(), Instant::now());
        let late = Deadline::after(Duration::from_secs(60));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| guard.enter(&who("b"), late, &cancel).err());
            while guard.counts().waiting == 0 {
                std::thread::yield_now();
            }
            cancel.cancel();
            assert_eq!(waits.join().unwrap(), Some(Refusal::Cancelled));
        });
        assert!(began.elapsed() < Duration::from_secs(30));
        let counts = guard.counts();
        assert_eq!((counts.waiting, counts.rejected_concurrency), (0, 0));
        drop(slot);
        assert!(enter(&guard, "b", soon()).is_ok());
    }

    #[test]
    fn acts_and_waiting_runs_share_the_places() {
        let guard = guard(1, 1, 6);
        let mut places: Vec<_> = (0..6).map(|_| guard.place().unwrap()).collect();
        assert!(guard.place().is_err());
        assert_eq!(guard.counts().acts, 6);
        let slot = enter(&guard, "a", soon()).unwrap();
        let began = Instant::now();
        let late = Deadline::after(Duration::from_secs(60));
        assert!(enter(&guard, "b", late).is_err());
        assert!(began.elapsed() < Duration::from_secs(30));
        places.clear();
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| enter(&guard, "b", late).unwrap());
            }
            while guard.counts().waiting < 6 {
                std::thread::yield_now();
            }
            // The queue is full, but a few acts always may.
            places.extend((0..LEAST_ACTS).map(|_| guard.place().unwrap()));
            assert!(guard.place().is_err());
            drop(slot);
        });
    }

    #[test]
    fn a_full_queue_sends_away_who_has_most() {
        let guard = guard(1, 1, 3);
        let slot = enter(&guard, "a", soon()).unwrap();
        let late = Deadline::after(Duration::from_secs(60));
        let (ended, order) = mpsc::channel();
        let wait = |name: &'static str, waiting: usize| {
            let (guard, ended) = (Arc::clone(&guard), ended.clone());
            let behind = Arc::clone(&guard);
            std::thread::spawn(move || {
                let entered = enter(&guard, name, late);
                ended.send((name, entered.is_ok())).unwrap();
            });
            while behind.counts().waiting < waiting {
                std::thread::yield_now();
            }
        };
        (1..=3).for_each(|waiting| wait("a", waiting));
        let next = || order.recv_timeout(Duration::from_secs(30)).unwrap();
        // For "b" the newest of "a" goes; for "a", which has most, nobody but itself.
        wait("b", 3);
        assert_eq!(next(), ("a", false));
        assert!(enter(&guard, "a", late).is_err());
        assert_eq!(guard.counts().waiting, 3);
        assert_eq!(guard.counts().rejected_concurrency, 2);
        drop(slot);
        let mut entered = [next(), next(), next()];
        entered.sort_unstable();
        assert_eq!(entered, [("a", true), ("a", true), ("b", true)]);
    }

    #[test]
    fn who_has_least_comes_first() {
        let guard = guard(2, 2, 8);
        let first = enter(&guard, "a", soon()).unwrap();
        let second = enter(&guard, "b", soon()).unwrap();
        let (entered, order) = mpsc::channel();
        let wait = |name: &'static str, waiting: usize| {
            let (guard, entered) = (Arc::clone(&guard), entered.clone());
            let behind = Arc::clone(&guard);
            let thread = std::thread::spawn(move || {
                let slot = enter(&guard, name, Deadline::after(Duration::from_secs(30)));
                entered.send(name).unwrap();
                drop(slot.unwrap());
            });
            while behind.counts().waiting < waiting {
                std::thread::yield_now();
            }
            thread
        };
        let threads = [wait("a", 1), wait("b", 2)];
        // One of "b" ends: "a" came first, but "b" now has nothing running.
        drop(second);
        assert_eq!(order.recv_timeout(Duration::from_secs(30)), Ok("b"));
        drop(first);
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn scopes_are_apart_and_the_old_are_forgotten() {
        let guard = guard(1, 1, 0);
        for _ in 0..3 {
            guard.admit("x").unwrap();
        }
        assert!(matches!(
            guard.admit("x"),
            Err(Refusal::RateLimited {
                retry_after_ms: 1..
            })
        ));
        guard.admit("y").unwrap();
        assert_eq!(guard.counts().rejected_rate, 1);
        guard.note("x", Ending::Busy);
        guard.note("x", Ending::Failed);
        guard.note("never admitted", Ending::Failed);
        let x = ScopeCounts {
            total: 4,
            rejected_rate: 1,
            rejected_concurrency: 1,
            failed: 1,
        };
        let y = ScopeCounts {
            total: 1,
            ..ScopeCounts::default()
        };
        assert_eq!((x.allowed(), y.allowed()), (2, 1));
        let expected = [("x".to_owned(), x), ("y".to_owned(), y)];
        assert_eq!(guard.scopes(), expected);
    }
}
