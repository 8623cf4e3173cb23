//! The issuer's keys, kept current by one background thread: it looks at intervals, and once more
//! when a token names a key that nobody knows. Keys outlive an outage of their server by a day.

mod fetch;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::keys::{KeySet, NoKeys};
use crate::base::deadline::Deadline;
use crate::base::text::counted;
use crate::config::JwksSource;

pub(crate) use fetch::FetchError;
pub use fetch::TrustError;

use fetch::Source;

/// When to look for keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// From one look to the next.
    refresh: Duration,
    /// The same while there are no keys at all; five times that after a failure.
    retry: Duration,
    /// Least time between looks that tokens ask for.
    demand: Duration,
    /// For how long keys serve that could not be refreshed.
    stale: Duration,
}

impl Pace {
    /// Every five minutes over a network, every two seconds in a file.
    fn of(source: &Source) -> Self {
        let refresh = if source.is_file() { 2 } else { 300 };
        Self {
            refresh: Duration::from_secs(refresh),
            retry: Duration::from_secs(2),
            demand: Duration::from_secs(30),
            stale: Duration::from_secs(24 * 3600),
        }
    }
}

/// Requests that may wait for one look, so that tokens nobody can check hold few workers.
const MAX_WAITING: usize = 4;

/// Keys, and which change of them this is.
#[derive(Clone, Debug)]
pub(super) struct Current {
    pub(super) keys: Arc<KeySet>,
    pub(super) generation: u64,
}

/// Why a token asked for another look in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoLook {
    /// The last one that a token asked for is too recent: the answer would be the same.
    TooSoon,
    /// Too many wait, or it took too long.
    Busy,
}

/// How the keys are, for readiness and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeysHealth {
    /// Keys that verify tokens now.
    pub(crate) keys: usize,
    /// Since they were last read; `None` before the first time.
    pub(crate) age: Option<Duration>,
    /// Looks that failed, since the start.
    pub(crate) failures: u64,
    /// Why the last look failed, if so.
    pub(crate) trouble: Option<FetchError>,
}

impl KeysHealth {
    /// Whether tokens can be checked.
    pub(crate) fn is_fit(&self) -> bool {
        self.keys > 0
    }
}

impl fmt::Display for KeysHealth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.age {
            None => formatter.write_str("no keys of the issuer yet")?,
            Some(age) if self.is_fit() => {
                write!(
                    formatter,
                    "{}, read {} s ago",
                    counted(self.keys, "key"),
                    age.as_secs()
                )?;
            }
            Some(age) => write!(
                formatter,
                "the keys are too old: read {} s ago",
                age.as_secs()
            )?,
        }
        match self.trouble {
            Some(trouble) => write!(formatter, "; {trouble}"),
            None => Ok(()),
        }
    }
}

/// The keys of one issuer. Its thread ends after this value, within one look.
#[derive(Debug)]
pub(super) struct KeyStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pace: Pace,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    current: Option<Current>,
    /// SHA-256 of the text that they came from.
    text: Option<[u8; 32]>,
    read_at: Option<Instant>,
    looks: u64,
    looking: bool,
    failures: u64,
    trouble: Option<FetchError>,
    wanted: bool,
    last_demand: Option<Instant>,
    waiting: usize,
    stopping: bool,
}

impl KeyStore {
    /// Starts looking; returns before the first keys are there.
    pub(super) fn start(source: &JwksSource, ca_file: Option<&Path>) -> Result<Self, KeysError> {
        let source = Source::open(source, ca_file).map_err(KeysError::Trust)?;
        let pace = Pace::of(&source);
        Self::start_at_pace(source, pace).map_err(KeysError::Thread)
    }

    fn start_at_pace(source: Source, pace: Pace) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            pace,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let looker = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("jwks".to_owned())
            .spawn(move || looker.look_until_stopped(&source))?;
        Ok(Self { shared })
    }

    /// The keys, unless there are none or they are too old.
    pub(super) fn current(&self) -> Option<Current> {
        let state = self.shared.lock();
        let fresh = state.read_at?.elapsed() <= self.shared.pace.stale;
        state.current.clone().filter(|_| fresh)
    }

    /// Waits for a look that begins or ends after this call, for a token that the current keys do
    /// not know.
    pub(super) fn look_again(&self, deadline: Deadline) -> Result<(), NoLook> {
        let shared = &*self.shared;
        let mut state = shared.lock();
        if state.waiting >= MAX_WAITING {
            return Err(NoLook::Busy);
        }
        if !state.looking && !state.wanted {
            let rested = |at: Instant| at.elapsed() >= shared.pace.demand;
            if !state.last_demand.is_none_or(rested) {
                return Err(NoLook::TooSoon);
            }
            state.last_demand = Some(Instant::now());
            state.wanted = true;
            shared.changed.notify_all();
        }
        let seen = state.looks;
        state.waiting += 1;
        while state.looks == seen
            && let Some(left) = deadline.remaining()
        {
            state = shared.wait(state, left);
        }
        state.waiting -= 1;
        if state.looks == seen {
            return Err(NoLook::Busy);
        }
        Ok(())
    }

    pub(super) fn health(&self) -> KeysHealth {
        let keys = self.current().map_or(0, |current| current.keys.len());
        let state = self.shared.lock();
        KeysHealth {
            keys,
            age: state.read_at.map(|at| at.elapsed()),
            failures: state.failures,
            trouble: state.trouble,
        }
    }
}

impl Drop for KeyStore {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn look_until_stopped(&self, source: &Source) {
        while self.wait_for_turn() {
            let text = source.fetch();
            self.take_in(text);
        }
    }

    /// Returns when it is time for a look; `false` when there is none any more.
    fn wait_for_turn(&self) -> bool {
        let mut state = self.lock();
        let pause = match (&state.current, state.trouble) {
            _ if state.looks == 0 => Duration::ZERO,
            (None, _) => self.pace.retry,
            (Some(_), Some(_)) => self.pace.retry * 5,
            (Some(_), None) => self.pace.refresh,
        };
        let due = Deadline::after(pause);
        while !state.stopping
            && !state.wanted
            && let Some(left) = due.remaining()
        {
            state = self.wait(state, left);
        }
        state.wanted = false;
        state.looking = true;
        !state.stopping
    }

    fn take_in(&self, text: Result<Vec<u8>, FetchError>) {
        let read = text.and_then(|text| {
            let keys = KeySet::parse(&text).map_err(|error| match error {
                NoKeys::Malformed => FetchError::NotJwks,
                NoKeys::NoneFit => FetchError::NoFitKey,
            })?;
            Ok((<[u8; 32]>::from(Sha256::digest(&text)), keys))
        });
        let mut state = self.lock();
        match read {
            Ok((digest, keys)) => {
                state.read_at = Some(Instant::now());
                if state.trouble.take().is_some() {
                    log::info!("the issuer's keys can be read again");
                }
                if state.text.replace(digest) != Some(digest) {
                    let generation = state.current.as_ref().map_or(0, |last| last.generation) + 1;
                    log::info!(
                        "the issuer has {} to verify tokens with",
                        counted(keys.len(), "key")
                    );
                    state.current = Some(Current {
                        keys: Arc::new(keys),
                        generation,
                    });
                }
            }
            Err(error) => {
                state.failures += 1;
                if state.trouble.replace(error) != Some(error) {
                    log::warn!("no new keys of the issuer: {error}");
                }
            }
        }
        state.looks += 1;
        state.looking = false;
        drop(state);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, most: Duration) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, most);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Why there is no way to the keys.
#[derive(Debug)]
pub enum KeysError {
    /// Nobody would be trusted to hand them out.
    Trust(TrustError),
    /// There is no thread to be had.
    Thread(io::Error),
}

impl fmt::Display for KeysError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trust(error) => write!(formatter, "{error}"),
            Self::Thread(error) => write!(formatter, "no thread for the issuer's keys: {error}"),
        }
    }
}

impl std::error::Error for KeysError {}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
