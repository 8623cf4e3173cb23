//! Requests whose work ends when their client hangs up: those of MCP 2026-07-28, where closing the
//! answer's stream is the way to cancel. In handshake revisions it is not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::run::Cancel;

/// The requests under way, by the gate's number for them.
#[derive(Clone, Debug, Default)]
pub(super) struct UnderWay(Arc<Mutex<HashMap<u64, Cancel>>>);

/// A request under way; forgotten when dropped.
#[derive(Debug)]
pub(super) struct Entry {
    under_way: UnderWay,
    number: u64,
}

impl UnderWay {
    /// From now on a hang-up of request `number` cancels its work.
    pub(super) fn enter(&self, number: u64, cancel: Cancel) -> Entry {
        self.lock().insert(number, cancel);
        Entry {
            under_way: self.clone(),
            number,
        }
    }

    /// The client of a request hung up.
    pub(super) fn hang_up(&self, number: u64) {
        if let Some(cancel) = self.lock().get(&number) {
            cancel.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Cancel>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.under_way.lock().remove(&self.number);
    }
}
