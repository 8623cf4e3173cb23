//! Answers by streams of events: of calls that have something to say before their end or last long,
//! and of clients who want to hear of changes.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Shared;
use super::response::Answer;
use crate::gate::{StreamWriter, Streams};
use crate::mcp::Outlet;

/// How long a call may be silent before its answer becomes a stream, which is never silent longer.
const SILENCE: Duration = Duration::from_secs(15);
/// How often silent calls are looked for.
const LOOK: Duration = Duration::from_millis(500);

impl Outlet for StreamWriter {
    fn send(&self, message: &str) -> bool {
        Self::send(self, message)
    }

    fn send_spare(&self, message: &str) -> bool {
        Self::send_spare(self, message)
    }

    fn send_once(&self, name: &str, message: &str) -> bool {
        Self::send_once(self, name, message)
    }

    fn is_open(&self) -> bool {
        Self::is_open(self)
    }
}

/// The answer to one request, which becomes a stream with the first thing that is to be said before
/// its end.
#[derive(Debug)]
pub(super) struct CallStream {
    streams: Streams,
    /// The gate's number for the request.
    number: u64,
    request_id: String,
    origin: Option<String>,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// It will be JSON unless something comes.
    Undecided,
    Open(StreamWriter),
    /// Too many streams are open, or the answer was given: it is not to be a stream.
    Closed,
}

impl CallStream {
    /// Nothing is decided.
    pub(super) fn new(
        streams: &Streams,
        number: u64,
        request_id: &str,
        origin: Option<&str>,
    ) -> Self {
        Self {
            streams: streams.clone(),
            number,
            request_id: request_id.to_owned(),
            origin: origin.map(str::to_owned),
            began: Instant::now(),
            state: Mutex::new(State::Undecided),
        }
    }

    /// Opens it if nothing was said for long.
    pub(super) fn break_silence(&self, now: Instant) {
        if now.saturating_duration_since(self.began) >= SILENCE {
            self.with_writer(|_| true);
        }
    }

    /// Gives the answer as the last event, where there is a stream; whether there is.
    pub(super) fn finish(&self, body: &str) -> bool {
        match std::mem::replace(&mut *self.lock(), State::Closed) {
            State::Open(writer) => {
                writer.send(body);
                true
            }
            State::Undecided | State::Closed => false,
        }
    }

    fn with_writer(&self, act: impl FnOnce(&StreamWriter) -> bool) -> bool {
        let mut state = self.lock();
        if matches!(*state, State::Undecided) {
            let head = Answer::stream()
                .with_origin(self.origin.as_deref())
                .into_stream_head(&self.request_id);
            *state = match self.streams.open(self.number, head) {
                Ok(writer) => State::Open(writer),
                Err(_) => State::Closed,
            };
        }
        match &*state {
            State::Open(writer) => act(writer),
            State::Undecided | State::Closed => false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outlet for CallStream {
    fn send(&self, message: &str) -> bool {
        self.with_writer(|writer| writer.send(message))
    }

    fn send_spare(&self, message: &str) -> bool {
        self.with_writer(|writer| writer.send_spare(message))
    }

    fn send_once(&self, name: &str, message: &str) -> bool {
        self.with_writer(|writer| writer.send_once(name, message))
    }

    fn is_open(&self) -> bool {
        match &*self.lock() {
            State::Open(writer) => writer.is_open(),
            State::Undecided | State::Closed => true,
        }
    }
}

/// Starts the thread that opens the streams of calls which were silent for long.
pub(super) fn start_breaking_silences(shared: &Arc<Shared>) -> std::io::Result<()> {
    let shared = Arc::clone(shared);
    std::thread::Builder::new()
        .name("http-silence".to_owned())
        .spawn(move || {
            while !shared.stopping.load(Ordering::Acquire) {
                shared.under_way.break_silences(Instant::now());
                std::thread::sleep(LOOK);
            }
        })?;
    Ok(())
}
