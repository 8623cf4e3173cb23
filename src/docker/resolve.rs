//! Addresses of a host by its name. The system's resolver knows no deadline, and waits half a
//! minute for a silent name server: it is asked on a thread of its own, one at a time.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::base::deadline::Deadline;

/// Most addresses of one host.
const MAX_ADDRESSES: usize = 8;

type Found = Result<Vec<SocketAddr>, io::ErrorKind>;

/// Asks for the addresses of one host, the same each time, for all who want them now.
#[derive(Debug)]
pub(super) struct Resolver {
    shared: Arc<Shared>,
    lookup: fn(&str, u16) -> Found,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug)]
struct State {
    is_asking: bool,
    answers: u64,
    last: Found,
}

impl Default for State {
    fn default() -> Self {
        Self {
            is_asking: false,
            answers: 0,
            last: Err(io::ErrorKind::NotFound),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, found: Found) {
        let mut state = self.lock();
        state.is_asking = false;
        state.answers += 1;
        state.last = found;
        self.news.notify_all();
    }
}

fn ask_system(host: &str, port: u16) -> Found {
    let found = (host, port).to_socket_addrs();
    // Which error it is differs from system to system: the name has no address now.
    found
        .map(|all| all.take(MAX_ADDRESSES).collect())
        .map_err(|_| io::ErrorKind::NotFound)
}

impl Default for Resolver {
    fn default() -> Self {
        Self {
            shared: Arc::default(),
            lookup: ask_system,
        }
    }
}

impl Resolver {
    /// The host's addresses. An answer that is on its way already is taken.
    ///
    /// # Errors
    /// `TimedOut` when there is no answer in time, `NotFound` when the host is unknown; else as the
    /// system says that it has no threads.
    pub(super) fn resolve(&self, host: &str, port: u16, deadline: Deadline) -> Found {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let mut state = self.shared.lock();
        if !state.is_asking {
            self.ask(host.to_owned(), port)
                .map_err(|error| error.kind())?;
            state.is_asking = true;
        }
        let seen = state.answers;
        while state.answers == seen {
            let left = deadline.remaining().ok_or(io::ErrorKind::TimedOut)?;
            let waited = self.shared.news.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.last.clone()
    }

    fn ask(&self, host: String, port: u16) -> io::Result<()> {
        let (shared, lookup) = (Arc::clone(&self.shared), self.lookup);
        let thread = std::thread::Builder::new().name("resolver".to_owned());
        let asked = thread.spawn(move || shared.tell(lookup(&host, port)));
        asked.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use super::*;

    fn after(millis: u64) -> Deadline {
        Deadline::after(Duration::from_millis(millis))
    }

    #[test]
    fn addresses_and_known_and_unknown_names() {
        let resolve = |host| Resolver::default().resolve(host, 7, after(60_000));
        let six: SocketAddr = "[::1]:7".parse().unwrap();
        assert_eq!(resolve("::1"), Ok(vec![six]));
        assert!(
            resolve("localhost")
                .unwrap()
                .iter()
                .all(|one| one.ip().is_loopback())
        );
        assert_eq!(resolve("no such host"), Err(io::ErrorKind::NotFound));
    }

    #[test]
    fn a_silent_name_server_is_asked_once_and_waited_for_no_longer_than_allowed() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        static SPEAKS: Mutex<()> = Mutex::new(());
        let silence = SPEAKS.lock().unwrap();
        let resolver = Resolver {
            lookup: |_, port| {
                ASKED.fetch_add(1, Ordering::Relaxed);
                drop(SPEAKS.lock());
                Ok(vec![SocketAddr::new([127, 0, 0, 1].into(), port)])
            },
            ..Resolver::default()
        };
        let resolve = |millis| resolver.resolve("host", 7, after(millis));
        let began = Instant::now();
        for _ in 0..3 {
            assert_eq!(resolve(20), Err(io::ErrorKind::TimedOut));
        }
        assert!(began.elapsed() < Duration::from_secs(20));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| resolve(60_000));
            drop(silence);
            assert!(waiting.join().unwrap().is_ok());
        });
        assert!(resolve(60_000).is_ok());
        assert!(ASKED.load(Ordering::Relaxed) <= 3);
    }
}
