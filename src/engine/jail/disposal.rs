//! Jails on their way out: ended by a thread of its own, off the path of answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use super::cell::Remains;
use crate::base::deadline::Deadline;

/// Jails that may wait for their end; beyond it the caller ends its own.
const MAX_WAITING: usize = 1024;

pub(super) struct Disposal {
    waiting: Sender<Remains>,
    pending: Arc<AtomicUsize>,
}

impl Disposal {
    pub(super) fn start() -> std::io::Result<Self> {
        let (waiting, doomed) = bounded::<Remains>(MAX_WAITING);
        let pending = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&pending);
        std::thread::Builder::new()
            .name("disposal".to_owned())
            .spawn(move || {
                for remains in doomed {
                    remains.destroy();
                    left.fetch_sub(1, Ordering::AcqRel);
                }
            })?;
        Ok(Self { waiting, pending })
    }

    /// Ends a jail soon.
    pub(super) fn later(&self, remains: Remains) {
        self.pending.fetch_add(1, Ordering::AcqRel);
        if let Err(refused) = self.waiting.try_send(remains) {
            self.pending.fetch_sub(1, Ordering::AcqRel);
            refused.into_inner().destroy();
        }
    }

    /// Waits until nothing is left to end; how many are at the deadline.
    pub(super) fn finish(&self, deadline: Deadline) -> usize {
        while self.pending.load(Ordering::Acquire) > 0 && deadline.remaining().is_some() {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.pending.load(Ordering::Acquire)
    }
}
