//! One persistent connection to a private server, and the exchange it carries. Which request goes
//! where is decided in `relay`.

use super::counters::{Counters, Held};
use super::response::{AnswerRelay, Asked};
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// The first request of every connection. Its answer proves that a thread of the private server is
/// bound to the connection; without waiting for it, connections made at once starve each other
/// there.
const WARMING_REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Gate-Warming: 1\r\n\r\n";

/// The socket of a private server, reachable after its file was unlinked.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    _inode: File,
}

impl SocketFile {
    /// Takes hold of the socket at `path`.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let inode = File::options()
            .read(true)
            .custom_flags(libc::O_PATH)
            .open(path)?;
        Ok(Self {
            path: PathBuf::from(format!("/proc/self/fd/{}", inode.as_raw_fd())),
            _inode: inode,
        })
    }
}

/// A connection to a private server, or its vacant place.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) lane: usize,
    pub(super) token: Token,
    /// In the list of connections to be looked at again.
    pub(super) scheduled: bool,
    link: Option<Link>,
    held: Held,
}

#[derive(Debug)]
struct Link {
    stream: UnixStream,
    /// Registered for writability too, which costs an event for every read of the other side.
    awaits_room: bool,
    exchange: Option<Exchange>,
}

/// What is on its way and the answers coming back.
#[derive(Debug)]
struct Exchange {
    /// For a connection that is being warmed: by when at the latest.
    warming: Option<Instant>,
    head: Vec<u8>,
    body: Vec<u8>,
    sent: usize,
    /// In the order in which they come.
    awaited: VecDeque<Awaited>,
}

/// An answer of a private server, as far as it has come.
#[derive(Debug)]
pub(super) struct Awaited {
    /// Whom it is for, who may be gone by now; nobody where the connection is being warmed.
    pub(super) client: Option<Token>,
    /// The number of the request.
    pub(super) number: u64,
    pub(super) relay: AnswerRelay,
    /// Something of it was delivered.
    pub(super) begun: bool,
}

impl Awaited {
    pub(super) fn new(client: Option<Token>, number: u64, asked: Asked) -> Self {
        Self {
            client,
            number,
            relay: AnswerRelay::new(asked),
            begun: false,
        }
    }
}

impl Exchange {
    fn is_over(&self) -> bool {
        self.awaited.is_empty() && self.sent == self.head.len() + self.body.len()
    }
}

impl Backend {
    pub(super) fn new(lane: usize, token: Token, counters: &Arc<Counters>) -> Self {
        Self {
            lane,
            token,
            scheduled: false,
            link: None,
            held: Held::new(counters),
        }
    }

    /// Connects and sends the warming request.
    pub(super) fn connect(
        &mut self,
        socket: &SocketFile,
        registry: &Registry,
        deadline: Instant,
    ) -> io::Result<()> {
        let mut stream = UnixStream::connect(&socket.path)?;
        registry.register(&mut stream, self.token, Interest::READABLE)?;
        self.link = Some(Link {
            stream,
            awaits_room: false,
            exchange: None,
        });
        let asked = Asked {
            head_only: false,
            is_http_10: false,
        };
        self.begin(
            [Awaited::new(None, 0, asked)].into(),
            (WARMING_REQUEST.to_vec(), Vec::new()),
            registry,
        )?;
        let exchange = self.link.as_mut().and_then(|link| link.exchange.as_mut());
        if let Some(exchange) = exchange {
            exchange.warming = Some(deadline);
        }
        Ok(())
    }

    /// Closes the connection; a private server notices when it next reads or writes.
    pub(super) fn disconnect(&mut self) {
        self.link = None;
        self.held.set(0);
    }

    /// Whether there is no connection.
    pub(super) fn is_down(&self) -> bool {
        self.link.is_none()
    }

    /// By when the connection must be warm, if it is being warmed.
    pub(super) fn warming(&self) -> Option<Instant> {
        self.link.as_ref()?.exchange.as_ref()?.warming
    }

    /// Starts an exchange on an idle connection and sends what the socket takes of `head` and
    /// `body`.
    pub(super) fn begin(
        &mut self,
        awaited: VecDeque<Awaited>,
        (head, body): (Vec<u8>, Vec<u8>),
        registry: &Registry,
    ) -> io::Result<()> {
        let Some(link) = &mut self.link else {
            return Err(ErrorKind::NotConnected.into());
        };
        link.exchange = Some(Exchange {
            warming: None,
            head,
            body,
            sent: 0,
            awaited,
        });
        self.flush(registry)
    }

    /// Sends more of the request, as far as the socket takes it.
    pub(super) fn flush(&mut self, registry: &Registry) -> io::Result<()> {
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        let Some(exchange) = &mut link.exchange else {
            return Ok(());
        };
        let blocked = send(&mut link.stream, exchange)?;
        let unsent = if blocked {
            exchange.head.capacity() + exchange.body.capacity()
        } else {
            exchange.head = Vec::new();
            exchange.body = Vec::new();
            exchange.sent = 0;
            0
        };
        self.held.set(unsent);
        if blocked != link.awaits_room {
            link.awaits_room = blocked;
            let interest = if blocked {
                Interest::READABLE | Interest::WRITABLE
            } else {
                Interest::READABLE
            };
            registry.reregister(&mut link.stream, self.token, interest)?;
        }
        Ok(())
    }

    /// One read of the answer into `scratch`; the number of bytes and whether more may be there.
    /// An error when the connection has ended.
    pub(super) fn read(&mut self, scratch: &mut [u8]) -> io::Result<(usize, bool)> {
        let Some(link) = &mut self.link else {
            return Ok((0, false));
        };
        match link.stream.read(scratch) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => Ok((bytes, bytes == scratch.len())),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok((0, false)),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok((0, true)),
            Err(error) => Err(error),
        }
    }

    /// The answers that are still to come.
    pub(super) fn awaited(&mut self) -> Option<&mut VecDeque<Awaited>> {
        let exchange = self.link.as_mut()?.exchange.as_mut()?;
        Some(&mut exchange.awaited)
    }

    /// Ends the exchange if requests and answers are through; true when that frees the connection.
    pub(super) fn finish(&mut self) -> bool {
        let exchange = self.link.as_mut().map(|link| &mut link.exchange);
        exchange.is_some_and(|exchange| exchange.take_if(|open| open.is_over()).is_some())
    }
}

/// Sends on; true when the socket is full before everything is sent.
fn send(stream: &mut UnixStream, exchange: &mut Exchange) -> io::Result<bool> {
    while exchange.sent < exchange.head.len() + exchange.body.len() {
        let head = exchange.head.get(exchange.sent..).unwrap_or_default();
        let body_sent = exchange.sent.saturating_sub(exchange.head.len());
        let body = exchange.body.get(body_sent..).unwrap_or_default();
        match stream.write_vectored(&[IoSlice::new(head), IoSlice::new(body)]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(bytes) => exchange.sent += bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}
