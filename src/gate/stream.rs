//! Answers that stay open: a request is answered by a head and by events (WHATWG HTML, "server-sent
//! events") that come over time. Whoever answers holds a [`StreamWriter`] and no thread; the gate's
//! thread writes what is queued there, as fast as the client reads.

use super::counters::{Counters, Held};
use super::event_loop::Command;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use mio::{Token, Waker};

/// Bytes of events that one slow client may have waiting; of those that can be left out, more are.
const MAX_WAITING_BYTES: usize = 256 * 1024;

/// Opens streams.
#[derive(Debug, Clone)]
pub struct Streams {
    commands: mpsc::Sender<Command>,
    waker: Arc<Waker>,
    counters: Arc<Counters>,
    max: usize,
    buffer_bytes: usize,
}

/// As many streams are open as may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyStreams;

impl fmt::Display for TooManyStreams {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(
            "too many event streams are open (MCP_HTTP_MAX_STREAMS, \
             MCP_HTTP_MAX_CONNECTIONS)",
        )
    }
}

impl std::error::Error for TooManyStreams {}

impl Streams {
    pub(super) fn new(
        commands: mpsc::Sender<Command>,
        waker: Arc<Waker>,
        counters: Arc<Counters>,
        max: usize,
        buffer_bytes: usize,
    ) -> Self {
        Self {
            commands,
            waker,
            counters,
            max,
            buffer_bytes,
        }
    }

    /// Answers the request of that number (its `X-Gate-Request`) with a stream. `head` is a status
    /// line and fields, each with its line end, and none about the length of the body. The private
    /// server's own answer to the request must carry `X-Gate-Stream`, and is thrown away.
    ///
    /// # Errors
    /// [`TooManyStreams`].
    pub fn open(&self, request: u64, head: Vec<u8>) -> Result<StreamWriter, TooManyStreams> {
        let below = |open: usize| (open < self.max).then_some(open + 1);
        let open = &self.counters.streams_open;
        if open
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, below)
            .is_err()
        {
            let refused = &self.counters.streams_refused_total;
            refused.fetch_add(1, Ordering::Relaxed);
            return Err(TooManyStreams);
        }
        let total = &self.counters.streams_total;
        total.fetch_add(1, Ordering::Relaxed);
        let writer = StreamWriter {
            stream: Arc::new(Stream {
                request,
                queue: Mutex::new(Queue {
                    head: Some(head),
                    events: VecDeque::new(),
                    bytes: 0,
                    held: Held::new(&self.counters),
                    token: None,
                    is_told: true,
                    is_over: false,
                }),
                is_gone: AtomicBool::new(false),
                counters: Arc::clone(&self.counters),
            }),
            streams: self.clone(),
        };
        writer.tell();
        Ok(writer)
    }
}

/// The writing end of a stream; dropping it ends the answer after all that waits.
pub struct StreamWriter {
    stream: Arc<Stream>,
    streams: Streams,
}

impl fmt::Debug for StreamWriter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("StreamWriter")
            .finish_non_exhaustive()
    }
}

impl StreamWriter {
    /// Queues an event with `data`, where line ends become blanks: in JSON they mean no more. It
    /// waits whatever it takes, and a client who does not read is cut off in the end. Whether the
    /// client may get it; never waits.
    pub fn send(&self, data: &str) -> bool {
        self.queue(data, None, |_| true)
    }

    /// The same for an event that is left out when too much waits already.
    pub fn send_spare(&self, data: &str) -> bool {
        let (counters, most) = (&self.streams.counters, self.streams.buffer_bytes);
        let fits = |queue: &Queue| {
            let held = counters.buffered_bytes.load(Ordering::Relaxed);
            queue.bytes.saturating_add(data.len()) <= MAX_WAITING_BYTES
                && held.saturating_add(data.len()) <= most
        };
        let is_taken = self.queue(data, None, fits);
        if !is_taken && self.is_open() {
            let dropped = &counters.stream_events_dropped_total;
            dropped.fetch_add(1, Ordering::Relaxed);
        }
        is_taken
    }

    /// The same for an event that is left out while one of the same name waits, which says the
    /// same.
    pub fn send_once(&self, name: &str, data: &str) -> bool {
        let is_news = |queue: &Queue| {
            let mut events = queue.events.iter();
            !events.any(|event| event.name.as_deref() == Some(name))
        };
        self.queue(data, Some(name), is_news) || self.is_open()
    }

    fn queue(&self, data: &str, name: Option<&str>, admit: impl FnOnce(&Queue) -> bool) -> bool {
        let mut queue = self.stream.lock();
        if !self.is_open() || !admit(&queue) {
            return false;
        }
        queue.push(Event {
            name: name.map(Into::into),
            bytes: encode(data),
        });
        let was_told = std::mem::replace(&mut queue.is_told, true);
        drop(queue);
        if !was_told {
            self.tell();
        }
        true
    }

    /// Whether the client is still there.
    pub fn is_open(&self) -> bool {
        !self.stream.is_gone.load(Ordering::Acquire)
    }

    fn tell(&self) {
        let command = Command::Feed(Arc::clone(&self.stream));
        // Both fail only when the gate is gone, and its clients with it.
        if self.streams.commands.send(command).is_err() || self.streams.waker.wake().is_err() {
            self.stream.client_gone();
        }
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        self.stream.lock().is_over = true;
        self.tell();
    }
}

/// One event in its wire format.
fn encode(data: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(data.len() + 8);
    bytes.extend_from_slice(b"data: ");
    let flat = |byte| match byte {
        b'\n' | b'\r' => b' ',
        other => other,
    };
    bytes.extend(data.bytes().map(flat));
    bytes.extend_from_slice(b"\n\n");
    bytes
}

#[derive(Debug)]
struct Event {
    name: Option<Box<str>>,
    bytes: Vec<u8>,
}

/// A stream, as its writer and the gate share it.
#[derive(Debug)]
pub(super) struct Stream {
    /// The number of the request that it answers.
    pub(super) request: u64,
    queue: Mutex<Queue>,
    is_gone: AtomicBool,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct Queue {
    /// Until the gate takes it.
    head: Option<Vec<u8>>,
    events: VecDeque<Event>,
    /// Of the events.
    bytes: usize,
    held: Held,
    /// The client, once the gate has found it.
    token: Option<Token>,
    /// The gate knows that there is something to take.
    is_told: bool,
    /// No more events come.
    is_over: bool,
}

impl Queue {
    fn push(&mut self, event: Event) {
        self.bytes += event.bytes.len();
        self.events.push_back(event);
        self.held.set(self.bytes);
    }
}

/// What the gate has to do for a stream.
#[derive(Debug)]
pub(super) enum Step {
    /// Find its client, and send this head.
    Begin(Vec<u8>),
    /// Send it more, if it has taken what came before.
    Go(Token),
    /// Nothing: the client has gone.
    None,
}

impl Stream {
    pub(super) fn next_step(&self) -> Step {
        let mut queue = self.lock();
        queue.is_told = false;
        match (queue.head.take(), queue.token) {
            _ if self.is_gone.load(Ordering::Acquire) => Step::None,
            (Some(head), _) => Step::Begin(head),
            (None, Some(token)) => Step::Go(token),
            (None, None) => Step::None,
        }
    }

    /// Its client was found.
    pub(super) fn begin(&self, token: Token) {
        self.lock().token = Some(token);
    }

    /// Appends all events that wait to `out`; whether they are the last.
    pub(super) fn take(&self, out: &mut Vec<u8>) -> bool {
        let mut queue = self.lock();
        for event in queue.events.drain(..) {
            out.extend_from_slice(&event.bytes);
        }
        queue.bytes = 0;
        queue.held.set(0);
        queue.is_over
    }

    /// Bytes that wait.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Nobody gets any more of it: frees what it holds.
    pub(super) fn client_gone(&self) {
        if self.is_gone.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut queue = self.lock();
        queue.head = None;
        queue.events = VecDeque::new();
        queue.bytes = 0;
        queue.held.set(0);
        let open = &self.counters.streams_open;
        open.fetch_sub(1, Ordering::AcqRel);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.client_gone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_of_data() {
        assert_eq!(encode("{\"a\":\n\r1}"), b"data: {\"a\":  1}\n\n");
    }
}
