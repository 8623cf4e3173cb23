//! The public TCP sockets. One thread accepts, checks and wholly buffers every HTTP/1.1 request
//! under limits and deadlines, hands it to a private HTTP server over a persistent Unix socket and
//! relays the answer. The private servers never see a slow, broken or hostile peer, and their
//! threads are as many as their lanes have connections, however many clients there are.
//!
//! Only bytes and HTTP heads are known here: no routes, no JSON-RPC, no HTTP library but the head
//! parser. The codecs (`head`, `chunked`, `inbox`, `batch`, `response`, `answer`) are pure; sockets
//! live in `connection`, `backend` and `accept`; `event_loop` waits and keeps the time, `clients`
//! reads and refuses, `relay` moves complete requests and their answers.
//!
//! ```text
//!           accept              request complete          connection free
//! (listener) ────▶ Reading ────────────────────▶ Queued ──────────────────▶ Busy
//!                  │  ▲ Idle, Head, Body         │  hung up: dropped         │
//!   bad, too large,│  │                          │  full: 503                │ answer is
//!   late: 4xx, 5xx │  │ all sent                 ▼       stream over         ▼ complete
//!                  └──┼──────────────────────▶ Flushing ◀── Streaming ◀─────┘
//!                     └─────────────────────────┤
//!                                               │ all sent, and it was the last answer
//!                                               ▼
//!                                            Closing ──▶ gone: the client closed, or 2 s passed
//! ```
//!
//! A request is passed on as origin-form HTTP/1.1 with an exact `Content-Length`; `Host` first,
//! with `X-Gate-Peer`, the responsible client's address, and `X-Gate-Request`, a number that no
//! other request has. Fields that concern the connection and every `X-Gate-*` a client sends are
//! left out, as they are from answers. An absolute-form target is taken apart into path and `Host`
//! (RFC 9112 §3.2.2). The first request on each private connection carries `X-Gate-Warming: 1` and
//! may be answered with anything.
//!
//! A lane may take several requests at once ([`batch`]): fewer writes, reads and switches between
//! threads for each. They are answered in their order, so none of them may have to wait.
//!
//! A client may shut its side after a request and still gets the answer, unless the request would
//! have to wait: then nobody can tell it from one that has given up. An answer is read from its
//! private server as fast as it comes and waits here for a slow client, never there.
//!
//! A private server may answer a request by a stream instead ([`Streams`]): it opens one by the
//! request's number, and its own answer, marked `X-Gate-Stream`, is thrown away. From then on the
//! connection is `Streaming` until the stream is over or the client is gone: no connection to a
//! private server and no thread is held for it.

mod accept;
mod answer;
mod backend;
pub mod batch;
mod chunked;
mod clients;
mod connection;
mod counters;
mod event_loop;
pub mod framing;
mod head;
mod inbox;
mod lane;
mod limits;
mod peer;
mod relay;
mod response;
mod stream;
mod streaming;
#[cfg(test)]
mod tests;

pub use counters::{Counters, LaneCounters};
pub use head::Head;
pub use limits::{Limits, MAX_HEAD_BYTES, MAX_HEADERS};
pub use stream::{StreamWriter, Streams, TooManyStreams};

use event_loop::{Command, EventLoop};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long [`start`] waits for the private servers to answer.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A private HTTP server, already listening and answering.
#[derive(Debug, Clone)]
pub struct Lane {
    /// Its Unix socket. The file may be unlinked once [`start`] has returned; lost connections are
    /// then made anew by way of `/proc/self/fd`.
    pub socket: PathBuf,
    /// Connections to keep: as many exchanges as the server shall have at once.
    pub backends: usize,
    /// The most requests of one exchange, where those that wait at the same time are sent together
    /// ([`batch`]): for requests that take no time. Elsewhere each is an exchange of its own.
    pub batch: Option<usize>,
}

/// A public listener, and which lane its requests take.
#[derive(Debug)]
pub struct Listen {
    /// Any bound listener; the gate sets its backlog and socket options.
    pub listener: TcpListener,
    /// The lane of its requests.
    pub route: Route,
    /// Connections that it still takes when as many are open as the limits allow.
    pub spare_connections: usize,
}

/// Chooses the lane of a request by its head; asked on the gate's thread, so it must not wait.
#[derive(Clone)]
pub struct Route(Arc<dyn Fn(&Head) -> usize + Send + Sync>);

impl Route {
    /// `choose` says the index of a lane; one that does not exist means the last.
    pub fn new(choose: impl Fn(&Head) -> usize + Send + Sync + 'static) -> Self {
        Self(Arc::new(choose))
    }

    fn choose(&self, head: &Head) -> usize {
        (self.0)(head)
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Route").finish_non_exhaustive()
    }
}

/// Told the number of a request (its `X-Gate-Request`) whose client closed its side while a private
/// server had it. Called on the gate's thread, so it must not wait. Whether that cancels the work
/// is the listener's decision; a later answer is thrown away if the client is really gone.
pub type OnHangUp = Box<dyn Fn(u64) + Send>;

/// Why the gate cannot start.
#[derive(Debug)]
pub enum GateError {
    /// No lane, or a lane without backends.
    NoBackends,
    /// Threads, event queues or listeners are not to be had.
    System(io::Error),
    /// A private server cannot be reached.
    Lane(PathBuf, io::Error),
    /// The private servers did not answer in time.
    Unanswered,
}

impl fmt::Display for GateError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBackends => formatter.write_str("the gate needs at least one backend a lane"),
            Self::System(error) => write!(formatter, "the gate cannot start: {error}"),
            Self::Lane(socket, error) => {
                write!(
                    formatter,
                    "no private server at {}: {error}",
                    socket.display()
                )
            }
            Self::Unanswered => write!(
                formatter,
                "the private servers did not answer within {} s",
                START_TIMEOUT.as_secs()
            ),
        }
    }
}

impl std::error::Error for GateError {}

/// A running gate; dropping it cuts every connection.
#[derive(Debug)]
pub struct Gate {
    addresses: Vec<SocketAddr>,
    counters: Arc<Counters>,
    commands: mpsc::Sender<Command>,
    waker: Arc<mio::Waker>,
    streams: Streams,
    thread: Option<JoinHandle<()>>,
}

/// Starts the gate. Returns when every connection to the private servers is warm and the listeners
/// are served.
pub fn start(
    limits: Limits,
    listeners: Vec<Listen>,
    lanes: &[Lane],
    on_hang_up: OnHangUp,
) -> Result<Gate, GateError> {
    if lanes.is_empty() || lanes.iter().any(|lane| lane.backends == 0) {
        return Err(GateError::NoBackends);
    }
    let addresses = listeners
        .iter()
        .map(|listen| listen.listener.local_addr())
        .collect::<io::Result<_>>()
        .map_err(GateError::System)?;
    let counters = Arc::new(Counters::new(lanes.len()));
    let (commands, received) = mpsc::channel();
    let (ready, warmed) = mpsc::channel();
    let (max_streams, buffer_bytes) = (limits.open_streams(), limits.buffer_bytes);
    let (event_loop, waker) = EventLoop::new(
        limits,
        listeners,
        lanes,
        Arc::clone(&counters),
        received,
        on_hang_up,
    )?;
    let thread = std::thread::Builder::new()
        .name("gate".to_owned())
        .spawn(move || event_loop.run(ready))
        .map_err(GateError::System)?;
    let streams = Streams::new(
        commands.clone(),
        Arc::clone(&waker),
        Arc::clone(&counters),
        max_streams,
        buffer_bytes,
    );
    let gate = Gate {
        addresses,
        counters,
        commands,
        waker,
        streams,
        thread: Some(thread),
    };
    match warmed.recv_timeout(START_TIMEOUT) {
        Ok(()) => Ok(gate),
        Err(_) => Err(GateError::Unanswered),
    }
}

impl Gate {
    /// The bound addresses, in the order of the listeners.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What the gate counts.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Opens streams.
    pub fn streams(&self) -> Streams {
        self.streams.clone()
    }

    /// Whether the gate's thread lives; false is a reason to end the program.
    pub fn is_running(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }

    /// Stops listening and closes idle connections. Requests that have begun are served, and their
    /// answers say `Connection: close`.
    pub fn drain(&self) {
        self.command(Command::Drain);
    }

    /// Drains, and returns when the last connection is gone or `grace` is over.
    pub fn stop(mut self, grace: Duration) {
        self.end(grace);
    }

    fn command(&self, command: Command) {
        // Both fail only when the thread is gone, and then there is nothing to command.
        let _ = self.commands.send(command);
        let _ = self.waker.wake();
    }

    fn end(&mut self, grace: Duration) {
        if let Some(thread) = self.thread.take() {
            self.command(Command::Stop(Instant::now() + grace));
            if thread.join().is_err() {
                log::error!("the gate's thread had panicked");
            }
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}
