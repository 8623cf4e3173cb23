//! Absolute deadlines, passed down by value, and sockets that obey them.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A moment after which nobody waits any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// The moment `duration` from now.
    pub fn after(duration: Duration) -> Self {
        let now = Instant::now();
        // A duration beyond the clock's range is as good as a day.
        Self(
            now.checked_add(duration)
                .unwrap_or(now + Duration::from_secs(86_400)),
        )
    }

    /// The time left; `None` once it has passed.
    pub fn remaining(self) -> Option<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// The moment `duration` after it.
    #[must_use]
    pub fn later_by(self, duration: Duration) -> Self {
        Self(self.0.checked_add(duration).unwrap_or(self.0))
    }

    /// The earlier of two.
    #[must_use]
    pub fn or_earlier(self, other: Self) -> Self {
        self.min(other)
    }
}

/// A socket whose reads and writes can be bounded in time.
pub trait TimedSocket: Read + Write {
    /// Bounds the next reads; never zero.
    ///
    /// # Errors
    /// As the operating system says.
    fn bound_reads(&self, limit: Duration) -> io::Result<()>;
    /// Bounds the next writes; never zero.
    ///
    /// # Errors
    /// As the operating system says.
    fn bound_writes(&self, limit: Duration) -> io::Result<()>;
    /// Makes reads return at once, or wait again.
    ///
    /// # Errors
    /// As the operating system says.
    fn wait_for_reads(&self, wait: bool) -> io::Result<()>;
}

macro_rules! timed_socket {
    ($socket:ty) => {
        impl TimedSocket for $socket {
            fn bound_reads(&self, limit: Duration) -> io::Result<()> {
                self.set_read_timeout(Some(limit))
            }
            fn bound_writes(&self, limit: Duration) -> io::Result<()> {
                self.set_write_timeout(Some(limit))
            }
            fn wait_for_reads(&self, wait: bool) -> io::Result<()> {
                self.set_nonblocking(!wait)
            }
        }
    };
}
timed_socket!(UnixStream);
timed_socket!(TcpStream);

/// A socket under one deadline: a peer that trickles bytes gains no time by it.
#[derive(Debug)]
pub struct Deadlined<S> {
    socket: S,
    deadline: Deadline,
}

impl<S: TimedSocket> Deadlined<S> {
    /// Puts `socket` under `deadline`.
    pub fn new(socket: S, deadline: Deadline) -> Self {
        Self { socket, deadline }
    }

    /// Replaces the deadline.
    pub fn set_deadline(&mut self, deadline: Deadline) {
        self.deadline = deadline;
    }

    /// The socket.
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// Whether the peer is there and has sent nothing, without waiting.
    pub fn is_silent(&mut self) -> bool {
        let looked = self
            .socket
            .wait_for_reads(false)
            .and_then(|()| self.socket.read(&mut [0]));
        let silent = looked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        self.socket.wait_for_reads(true).is_ok() && silent
    }

    fn remaining(&self) -> io::Result<Duration> {
        self.deadline
            .remaining()
            .ok_or_else(|| io::ErrorKind::TimedOut.into())
    }
}

/// The kernel reports a timed-out socket as `WouldBlock`; callers want one word for it.
fn as_timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

impl<S: TimedSocket> Read for Deadlined<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.bound_reads(self.remaining()?)?;
        self.socket.read(buffer).map_err(as_timed_out)
    }
}

impl<S: TimedSocket> Write for Deadlined<S> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.socket.bound_writes(self.remaining()?)?;
        self.socket.write(buffer).map_err(as_timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_peer_is_a_timeout() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut socket = Deadlined::new(ours, Deadline::after(Duration::from_millis(20)));
        let error = socket.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let again = socket.read(&mut [0; 8]).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_look_at_a_peer_does_not_wait() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut socket = Deadlined::new(ours, Deadline::after(Duration::from_secs(60)));
        assert!(socket.is_silent());
        theirs.write_all(b"x").unwrap();
        assert!(!socket.is_silent());
        drop(theirs);
        assert!(!socket.is_silent());
    }

    #[test]
    fn a_huge_duration_is_no_overflow() {
        assert!(Deadline::after(Duration::MAX).remaining().is_some());
    }
}
