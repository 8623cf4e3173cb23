//! How long anybody waits for the database. The driver has no limit of its own on a server that is
//! silent, so each of its sockets looks at the limit of the act it serves: the driver is
//! synchronous and runs its sockets in the thread that called it, which is where the limit is
//! kept.

use std::cell::Cell;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What a socket may take where nobody set a limit: closing a connection, for one.
const DEFAULT: Duration = Duration::from_secs(2);

/// Up to when this thread waits for the database.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    /// Up to this moment, whatever happens.
    Until(Instant),
    /// This long for each socket, counted from its opening: while connecting, which may try one
    /// host after the other.
    EachSocket(Duration),
}

thread_local! {
    static CURRENT: Cell<Option<Limit>> = const { Cell::new(None) };
}

/// Runs `act` under `limit`.
pub(super) fn within<T>(limit: Limit, act: impl FnOnce() -> T) -> T {
    struct Restore(Option<Limit>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let _restore = Restore(CURRENT.replace(Some(limit)));
    act()
}

/// A socket whose every wait ends with the limit. Once one did, the socket is of no more use: an
/// answer may still come that belongs to nobody.
#[derive(Debug)]
pub(super) struct Timed<S> {
    socket: S,
    opened: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    given_up: bool,
}

impl<S> Timed<S> {
    pub(super) fn new(socket: S) -> Self {
        Self {
            socket,
            opened: Instant::now(),
            timer: None,
            given_up: false,
        }
    }

    /// What to do about a socket that is not ready.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let end = match CURRENT.get() {
            Some(Limit::Until(moment)) => Some(moment),
            Some(Limit::EachSocket(duration)) => self.opened.checked_add(duration),
            None => None,
        };
        let timer = match (&mut self.timer, end) {
            (Some(timer), Some(end)) => {
                timer.as_mut().reset(end.into());
                timer
            }
            (Some(timer), None) => {
                if timer.is_elapsed() {
                    timer.as_mut().reset((Instant::now() + DEFAULT).into());
                }
                timer
            }
            (empty, end) => {
                let end = end.unwrap_or_else(|| Instant::now() + DEFAULT);
                empty.insert(Box::pin(tokio::time::sleep_until(end.into())))
            }
        };
        ready!(timer.as_mut().poll(context));
        self.given_up = true;
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    fn poll_socket<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>>
    where
        S: Unpin,
    {
        if self.given_up {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        // The timer stays when the socket is ready: it may be ready to write while a read waits.
        match poll(Pin::new(&mut self.socket), context) {
            Poll::Ready(outcome) => Poll::Ready(outcome),
            Poll::Pending => self.wait(context).map(Err),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_socket(context, |socket, context| socket.poll_read(context, buffer))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_socket(context, |socket, context| socket.poll_write(context, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_socket(context, |socket, context| socket.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_socket(context, |socket, context| socket.poll_shutdown(context))
    }
}
