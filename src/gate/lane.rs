//! A private server's connections and the requests that wait for one. Which client a token means is
//! not known here.

use super::backend::SocketFile;
use super::counters::{Counters, LaneCounters};
use mio::Token;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The state of one lane.
#[derive(Debug)]
pub(super) struct LaneTable {
    pub(super) socket: SocketFile,
    /// Most requests in one exchange, if they are sent in batches.
    pub(super) batch: Option<usize>,
    index: usize,
    /// Warm connections without a request, by index. The last used is taken first: its thread is
    /// awake.
    free: Vec<usize>,
    /// Connections that are down.
    vacant: VecDeque<usize>,
    /// The connection being warmed: one at a time, as connections made at once starve each other.
    warming: Option<usize>,
    queue: VecDeque<Token>,
    counters: Arc<Counters>,
}

impl LaneTable {
    pub(super) fn new(
        socket: SocketFile,
        batch: Option<usize>,
        index: usize,
        backends: impl Iterator<Item = usize>,
        counters: &Arc<Counters>,
    ) -> Self {
        Self {
            socket,
            batch,
            index,
            free: Vec::new(),
            vacant: backends.collect(),
            warming: None,
            queue: VecDeque::new(),
            counters: Arc::clone(counters),
        }
    }

    /// Takes the next connection to be warmed, unless one is at it.
    pub(super) fn start_warming(&mut self) -> Option<usize> {
        if self.warming.is_none() {
            self.warming = self.vacant.pop_front();
            return self.warming;
        }
        None
    }

    /// The connection being warmed is ready for requests.
    pub(super) fn warmed(&mut self, backend: usize) {
        self.warming = None;
        self.free.push(backend);
        self.count(|lane| lane.ready.fetch_add(1, Ordering::Relaxed));
    }

    /// Whether every connection is up.
    pub(super) fn is_warm(&self) -> bool {
        self.vacant.is_empty() && self.warming.is_none()
    }

    /// Takes a free connection.
    pub(super) fn take(&mut self) -> Option<usize> {
        let backend = self.free.pop()?;
        self.count(|lane| lane.busy.fetch_add(1, Ordering::Relaxed));
        Some(backend)
    }

    /// Gives a connection back after its exchange.
    pub(super) fn give_back(&mut self, backend: usize) {
        self.free.push(backend);
        self.count(|lane| lane.busy.fetch_sub(1, Ordering::Relaxed));
    }

    /// A connection broke; its place waits to be warmed again.
    pub(super) fn lose(&mut self, backend: usize) {
        self.vacant.push_back(backend);
        self.count(|lane| lane.lost_total.fetch_add(1, Ordering::Relaxed));
        if self.warming == Some(backend) {
            self.warming = None;
            return;
        }
        self.count(|lane| lane.ready.fetch_sub(1, Ordering::Relaxed));
        let was_free = self.free.len();
        self.free.retain(|&free| free != backend);
        if self.free.len() == was_free {
            self.count(|lane| lane.busy.fetch_sub(1, Ordering::Relaxed));
        }
    }

    pub(super) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// Requests waiting.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn enqueue(&mut self, client: Token) {
        self.queue.push_back(client);
        self.count_queue();
    }

    pub(super) fn dequeue(&mut self) -> Option<Token> {
        let client = self.queue.pop_front()?;
        self.count_queue();
        Some(client)
    }

    /// Forgets a client that is gone.
    pub(super) fn forget(&mut self, client: Token) {
        self.queue.retain(|&queued| queued != client);
        self.count_queue();
    }

    fn count_queue(&self) {
        self.count(|lane| lane.queued.store(self.queue.len(), Ordering::Relaxed));
    }

    fn count<T>(&self, update: impl FnOnce(&LaneCounters) -> T) {
        if let Some(counters) = self.counters.lanes.get(self.index) {
            update(counters);
        }
    }
}
