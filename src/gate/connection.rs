//! One client connection: its socket, what it sent, what it has yet to get, its deadlines. What
//! happens to its requests is decided in `relay`.

use super::Route;
use super::answer::{Body, Ends};
use super::counters::{Counters, Held};
use super::head::Head;
use super::inbox::{Inbox, Phase, Request};
use super::streaming::Streaming;
use mio::net::TcpStream;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Answer bytes up to this are kept back while the rest of the answer is about to follow.
const COALESCED_BYTES: usize = 64 * 1024;

/// What a client connection is doing; drawn in the folder's doc.
#[derive(Debug)]
pub(super) enum State {
    /// A request is awaited or arriving.
    Reading(Phase),
    /// A request waits for a connection to the private server of `lane`.
    Queued { lane: usize, request: Box<Request> },
    /// The private server has the request.
    Busy,
    /// The answer is an open stream.
    Streaming(Streaming),
    /// The answer is complete but not all of it is sent.
    Flushing,
    /// The last answer is sent and our side is shut; what still comes is thrown away until the
    /// client closes too. Closing at once would reset the connection and might take the answer with
    /// it.
    Closing,
}

/// What one read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    Bytes(usize),
    Nothing,
    End,
}

/// How a connection counts against the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Within the connection limit, and counted for its address.
    Counted,
    /// Within the connection limit; from a trusted proxy.
    Trusted,
    /// Refused at the door, lingers only to read why.
    TurnedAway,
}

/// What the gate needs to know of a request while it is answered.
#[derive(Debug)]
pub(super) struct Remembered {
    pub(super) number: u64,
    pub(super) request_id: Option<String>,
    pub(super) body: Body,
    /// The client speaks HTTP/1.0 and knows no chunked coding.
    pub(super) is_http_10: bool,
}

/// A client connection.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    pub(super) address: IpAddr,
    pub(super) standing: Standing,
    /// The lane of a request, by the listener it came to.
    pub(super) route: Route,
    pub(super) inbox: Inbox,
    pub(super) state: State,
    /// When the current state has lasted too long.
    pub(super) deadline: Option<Instant>,
    /// When the unsent bytes must be gone.
    pub(super) write_deadline: Option<Instant>,
    /// The socket may have bytes that were not read (its events fire once only).
    pub(super) readable: bool,
    /// The client has closed its side; seen in an event, so bytes may be left before the end.
    pub(super) hung_up: bool,
    /// The end of what the client sends was read.
    pub(super) read_closed: bool,
    /// The current answer is the last one.
    pub(super) ends: Ends,
    /// In the list of connections to be looked at again.
    pub(super) scheduled: bool,
    /// What is to be remembered of the request that is being answered.
    pub(super) asked: Option<Remembered>,
    output: Vec<u8>,
    sent: usize,
    held: Held,
}

impl Client {
    pub(super) fn new(
        stream: TcpStream,
        address: IpAddr,
        standing: Standing,
        route: Route,
        counters: &Arc<Counters>,
    ) -> Self {
        Self {
            stream,
            address,
            standing,
            route,
            inbox: Inbox::default(),
            state: State::Reading(Phase::Idle),
            deadline: None,
            write_deadline: None,
            readable: false,
            hung_up: false,
            read_closed: false,
            ends: Ends::Request,
            scheduled: false,
            asked: None,
            output: Vec::new(),
            sent: 0,
            held: Held::new(counters),
        }
    }

    /// A complete request takes its way: no deadline of ours until its answer comes.
    pub(super) fn begin_request(&mut self, head: &Head, number: u64) {
        self.deadline = None;
        self.ends = if head.closes {
            Ends::Connection
        } else {
            Ends::Request
        };
        self.asked = Some(Remembered {
            number,
            request_id: head.request_id.clone(),
            body: if head.method() == "HEAD" {
                Body::Withheld
            } else {
                Body::Sent
            },
            is_http_10: head.is_http_10,
        });
    }

    /// Whether its request of that number is with a private server, and not answered yet.
    pub(super) fn is_awaiting(&self, number: u64) -> bool {
        let asked = self.asked.as_ref();
        matches!(self.state, State::Busy) && asked.is_some_and(|asked| asked.number == number)
    }

    /// One read into `scratch`.
    pub(super) fn read(&mut self, scratch: &mut [u8]) -> io::Result<Arrival> {
        match self.stream.read(scratch) {
            Ok(0) => {
                self.read_closed = true;
                self.readable = false;
                Ok(Arrival::End)
            }
            Ok(bytes) => {
                // A short read has emptied the socket, and more bytes make a new event; only the
                // end of the stream may hide behind it when its event is here already.
                self.readable = bytes == scratch.len() || self.hung_up;
                Ok(Arrival::Bytes(bytes))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(Arrival::Nothing)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(Arrival::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Whether bytes wait to be sent.
    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Sends `bytes` after what is waiting already; what the socket does not take waits. With
    /// `more_is_near` small pieces wait too, so that an answer leaves in one write.
    pub(super) fn send(
        &mut self,
        bytes: &[u8],
        more_is_near: bool,
        deadline: Instant,
    ) -> io::Result<()> {
        if more_is_near && self.output.len() + bytes.len() < COALESCED_BYTES {
            self.output.extend_from_slice(bytes);
            return Ok(());
        }
        let mut rest = bytes;
        if self.output.is_empty() {
            let written = write(&mut self.stream, bytes)?;
            rest = bytes.get(written..).unwrap_or_default();
        }
        self.output.extend_from_slice(rest);
        self.flush(deadline)
    }

    /// Sends what is waiting, as far as the socket takes it.
    pub(super) fn flush(&mut self, deadline: Instant) -> io::Result<()> {
        while self.has_output() {
            let unsent = self.output.get(self.sent..).unwrap_or_default();
            self.sent += match write(&mut self.stream, unsent)? {
                0 => {
                    self.write_deadline.get_or_insert(deadline);
                    return Ok(());
                }
                written => written,
            };
            if self.sent == self.output.len() {
                self.output = Vec::new();
                self.sent = 0;
            } else if self.sent > self.output.len() / 2 {
                self.output.drain(..self.sent);
                self.sent = 0;
            }
        }
        self.write_deadline = None;
        Ok(())
    }

    /// Tells the budget what this connection occupies now.
    pub(super) fn recount(&mut self) {
        let queued = match &self.state {
            State::Queued { request, .. } => request.held_bytes(),
            _ => 0,
        };
        let bytes = self.inbox.held_bytes() + self.output.capacity() + queued;
        self.held.set(bytes);
    }

    /// Bytes counted by the last [`Client::recount`], and those that wait in its stream.
    pub(super) fn held_bytes(&self) -> usize {
        let waiting = match &self.state {
            State::Streaming(streaming) => streaming.stream().waiting_bytes(),
            _ => 0,
        };
        self.held.bytes() + waiting
    }

    /// Ends our side; the client's is awaited until `deadline`.
    pub(super) fn begin_closing(&mut self, deadline: Instant) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)?;
        self.inbox = Inbox::default();
        self.state = State::Closing;
        self.deadline = Some(deadline);
        self.recount();
        Ok(())
    }
}

/// Bytes the socket took, 0 when it is full.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match stream.write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
