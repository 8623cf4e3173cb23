//! Containers on their way out: removed by a thread of its own, off the path of answers, and tried
//! again while the daemon is away. What even this leaves behind, the reaper finds by its labels.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::deadline::Deadline;
use crate::docker::{Daemon, EXCHANGE_TIMEOUT};

/// Containers that may wait for their removal; beyond it the caller removes its own.
const MAX_WAITING: usize = 1024;
/// Threads that remove: a removal takes the daemon 50 to 100 ms, most of it waiting.
const THREADS: usize = 2;
/// How long the answer of a call has before its container is removed: both need the processors.
const ANSWER_FIRST: Duration = Duration::from_millis(5);
/// Pause before the next try while the daemon is away.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Tries before a container is left to the reaper.
const MAX_TRIES: u32 = 60;

#[derive(Debug)]
pub(super) struct Disposal {
    daemon: Arc<Daemon>,
    /// Ids or names, each with when it may be removed.
    waiting: Sender<(String, Instant)>,
    pending: Arc<AtomicUsize>,
}

impl Disposal {
    pub(super) fn start(daemon: Arc<Daemon>) -> std::io::Result<Self> {
        let (waiting, doomed) = bounded(MAX_WAITING);
        let pending = Arc::new(AtomicUsize::new(0));
        for _ in 0..THREADS {
            let remover = Remover {
                daemon: Arc::clone(&daemon),
                doomed: doomed.clone(),
                pending: Arc::clone(&pending),
            };
            std::thread::Builder::new()
                .name("disposal".to_owned())
                .spawn(move || remover.remove_all())?;
        }
        Ok(Self {
            daemon,
            waiting,
            pending,
        })
    }

    /// Removes a container soon.
    pub(super) fn later(&self, id: String) {
        self.pending.fetch_add(1, Ordering::AcqRel);
        let due = Instant::now() + ANSWER_FIRST;
        if let Err(refused) = self.waiting.try_send((id, due)) {
            self.pending.fetch_sub(1, Ordering::AcqRel);
            self.now(&refused.into_inner().0);
        }
    }

    /// Removes a container and waits until it is gone; if that fails it is tried again later.
    pub(super) fn now(&self, id: &str) {
        if let Err(error) = self
            .daemon
            .remove_container(id, Deadline::after(EXCHANGE_TIMEOUT))
        {
            log::warn!("container {id} could not be removed yet: {error}");
            self.pending.fetch_add(1, Ordering::AcqRel);
            let again = (id.to_owned(), Instant::now());
            if self.waiting.try_send(again).is_err() {
                self.pending.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }

    /// Waits until nothing is left to remove; how many are at the deadline.
    pub(super) fn finish(&self, deadline: Deadline) -> usize {
        while self.pending.load(Ordering::Acquire) > 0 && deadline.remaining().is_some() {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.pending.load(Ordering::Acquire)
    }
}

struct Remover {
    daemon: Arc<Daemon>,
    doomed: Receiver<(String, Instant)>,
    pending: Arc<AtomicUsize>,
}

impl Remover {
    fn remove_all(self) {
        while let Ok((id, due)) = self.doomed.recv() {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            self.remove(&id);
            self.pending.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn remove(&self, id: &str) {
        for attempt in 1..=MAX_TRIES {
            match self
                .daemon
                .remove_container(id, Deadline::after(EXCHANGE_TIMEOUT))
            {
                Ok(()) => return,
                Err(error) if attempt == MAX_TRIES => {
                    log::error!("container {id} is left to the reaper: {error}");
                }
                Err(_) => std::thread::sleep(RETRY_PAUSE),
            }
        }
    }
}
