//! What the gate counts, readable from any thread while it runs. Gauges and totals, no history.

use super::answer::Refusal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Gauges (`…_open`, `…_bytes`, `queued`, `busy`, `ready`) and totals since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Client connections open now.
    pub connections_open: AtomicUsize,
    /// Client connections accepted, the refused ones included.
    pub connections_total: AtomicU64,
    /// Accepts that failed, mostly for want of file descriptors.
    pub accept_errors_total: AtomicU64,
    /// Complete, well-formed requests.
    pub requests_total: AtomicU64,
    /// Bytes held for unfinished requests and slow readers.
    pub buffered_bytes: AtomicUsize,
    /// Connections closed because no further request came.
    pub idle_closed_total: AtomicU64,
    /// Connections cut off because their client read too slowly.
    pub slow_readers_total: AtomicU64,
    /// Requests dropped because their client hung up while they waited for a private server.
    pub hung_up_total: AtomicU64,
    /// Event streams open now.
    pub streams_open: AtomicUsize,
    /// Event streams opened.
    pub streams_total: AtomicU64,
    /// Event streams refused because too many were open.
    pub streams_refused_total: AtomicU64,
    /// Events left out because their client read too slowly.
    pub stream_events_dropped_total: AtomicU64,
    /// One entry a lane, in the order of the lanes.
    pub lanes: Vec<LaneCounters>,
    refusals: [AtomicU64; Refusal::REASONS.len()],
}

/// The state of one lane.
#[derive(Debug, Default)]
pub struct LaneCounters {
    /// Requests that wait for a connection to the private server.
    pub queued: AtomicUsize,
    /// Connections to the private server that carry a request.
    pub busy: AtomicUsize,
    /// Connections to the private server that are up, the busy ones included.
    pub ready: AtomicUsize,
    /// Connections to the private server that broke.
    pub lost_total: AtomicU64,
}

impl Counters {
    pub(super) fn new(lanes: usize) -> Self {
        Self {
            lanes: (0..lanes).map(|_| LaneCounters::default()).collect(),
            ..Self::default()
        }
    }

    pub(super) fn count_refusal(&self, refusal: Refusal) {
        if let Some(counter) = self.refusals.get(refusal.index()) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Answers made by the gate itself, as (reason, HTTP status, total); every reason is listed.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u16, u64)> + '_ {
        let totals = self.refusals.iter().map(|n| n.load(Ordering::Relaxed));
        Refusal::REASONS
            .iter()
            .zip(totals)
            .map(|(&(reason, status), total)| (reason, status, total))
    }
}

/// A share of [`Counters::buffered_bytes`], given back when dropped, so that no path can leak it.
#[derive(Debug)]
pub(super) struct Held {
    counters: Arc<Counters>,
    bytes: usize,
}

impl Held {
    pub(super) fn new(counters: &Arc<Counters>) -> Self {
        Self {
            counters: Arc::clone(counters),
            bytes: 0,
        }
    }

    /// How many bytes the owner said it holds.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// States how many bytes the owner holds now.
    pub(super) fn set(&mut self, bytes: usize) {
        let gauge = &self.counters.buffered_bytes;
        if bytes > self.bytes {
            gauge.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else if bytes < self.bytes {
            gauge.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_bytes_are_given_back() {
        let counters = Arc::new(Counters::new(1));
        let gauge = || counters.buffered_bytes.load(Ordering::Relaxed);
        let mut one = Held::new(&counters);
        let mut two = Held::new(&counters);
        one.set(10);
        two.set(5);
        one.set(3);
        assert_eq!(gauge(), 8);
        drop(one);
        assert_eq!(gauge(), 5);
        drop(two);
        assert_eq!(gauge(), 0);
    }

    #[test]
    fn refusals_are_listed_by_reason() {
        let counters = Counters::new(0);
        counters.count_refusal(Refusal::BodyTooLarge);
        counters.count_refusal(Refusal::Malformed("x"));
        counters.count_refusal(Refusal::Malformed("y"));
        let counted: Vec<_> = counters.refusals().filter(|entry| entry.2 > 0).collect();
        assert_eq!(counted, [("malformed", 400, 2), ("body_too_large", 413, 1)]);
    }
}
