//! Requests under way: whose work ends when their client hangs up (those of MCP 2026-07-28, where
//! closing the answer's stream is the way to cancel; in handshake revisions it is not), and whose
//! answers become streams when they take long.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::stream::CallStream;
use crate::domain::run::Cancel;

/// The requests under way, by the gate's number for them.
#[derive(Clone, Debug, Default)]
pub(super) struct UnderWay(Arc<Mutex<HashMap<u64, Request>>>);

/// What there is to do for a request while it is answered.
#[derive(Debug)]
pub(super) struct Request {
    /// Where a hang-up cancels it.
    pub(super) cancel: Option<Cancel>,
    /// Where its client takes a stream.
    pub(super) stream: Option<Arc<CallStream>>,
}

/// A request under way; forgotten when dropped.
#[derive(Debug)]
pub(super) struct Entry {
    under_way: UnderWay,
    number: u64,
}

impl UnderWay {
    /// From now on a request is cared for.
    pub(super) fn enter(&self, number: u64, request: Request) -> Entry {
        self.lock().insert(number, request);
        Entry {
            under_way: self.clone(),
            number,
        }
    }

    /// The client of a request hung up.
    pub(super) fn hang_up(&self, number: u64) {
        if let Some(Request {
            cancel: Some(cancel),
            ..
        }) = self.lock().get(&number)
        {
            cancel.cancel();
        }
    }

    /// Opens the streams of those whose clients have heard nothing for long.
    pub(super) fn break_silences(&self, now: Instant) {
        let streams: Vec<_> = self
            .lock()
            .values()
            .filter_map(|request| request.stream.clone())
            .collect();
        for stream in streams {
            stream.break_silence(now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Request>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.under_way.lock().remove(&self.number);
    }
}
