//! The listeners: who is let in, who is told why not, and how accepting goes on when it fails.

use super::answer::{Body, Ends, Refusal};
use super::connection::{Client, Standing, State};
use super::event_loop::EventLoop;
use super::inbox::Phase;
use super::{Listen, Route};
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Connections that the kernel may hold until they are accepted; std asks for fewer.
const BACKLOG: i32 = 1024;

/// Connections accepted from one listener before others get their turn.
const ACCEPTS_PER_ROUND: usize = 64;

/// Refused connections that linger until their client has read why; those beyond are closed at
/// once.
const MAX_TURNED_AWAY: usize = 64;

/// A public listener.
#[derive(Debug)]
pub(super) struct Door {
    listener: TcpListener,
    route: Route,
    spare_connections: usize,
    /// In the list of what is to be looked at again.
    pub(super) scheduled: bool,
    /// Accepting failed and is tried again by the clock.
    paused: bool,
}

impl Door {
    /// Makes the listener fit for the event loop: its connections inherit `TCP_NODELAY`, and end
    /// when what they sent is not acknowledged for `patience` (tcp(7), `TCP_USER_TIMEOUT`).
    pub(super) fn open(
        listen: Listen,
        patience: Duration,
        token: Token,
        registry: &Registry,
    ) -> io::Result<Self> {
        let socket = socket2::SockRef::from(&listen.listener);
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_user_timeout(Some(patience))?;
        socket.set_nonblocking(true)?;
        socket.listen(BACKLOG)?;
        let mut listener = TcpListener::from_std(listen.listener);
        registry.register(&mut listener, token, Interest::READABLE)?;
        Ok(Self {
            listener,
            route: listen.route,
            spare_connections: listen.spare_connections,
            scheduled: false,
            paused: false,
        })
    }
}

/// A descriptor kept for the moment when there are no more: given up, it lets waiting connections
/// be accepted and closed, so that their clients are not left hanging.
#[derive(Debug)]
pub(super) struct Reserve(Option<File>);

impl Reserve {
    pub(super) fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }
}

impl EventLoop {
    /// Accepts what waits at a listener, a fair share at a time.
    pub(super) fn accept(&mut self, index: usize) {
        for _ in 0..ACCEPTS_PER_ROUND {
            let Some(door) = self.doors.get_mut(index) else {
                return;
            };
            match door.listener.accept() {
                Ok((stream, address)) => {
                    door.paused = false;
                    let (route, spare) = (door.route.clone(), door.spare_connections);
                    self.admit_client(stream, address.ip().to_canonical(), route, spare);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if concerns_one_connection(&error) => self.count_accept_error(),
                Err(error) => {
                    self.count_accept_error();
                    self.pause_door(index, &error);
                    return;
                }
            }
        }
        self.schedule_door(index);
    }

    /// Tries the listeners again whose accepting failed.
    pub(super) fn resume_doors(&mut self) {
        for index in 0..self.doors.len() {
            if self.doors.get(index).is_some_and(|door| door.paused) {
                self.accept(index);
            }
        }
    }

    /// Takes in who was connected already and stops listening.
    pub(super) fn close_doors(&mut self) {
        for index in 0..self.doors.len() {
            self.accept(index);
        }
        self.doors.clear();
    }

    fn count_accept_error(&self) {
        let errors = &self.counters.accept_errors_total;
        errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Descriptors or memory have run out: sheds who waits and pauses until the next sweep.
    fn pause_door(&mut self, index: usize, error: &io::Error) {
        let Some(door) = self.doors.get_mut(index) else {
            return;
        };
        if !door.paused {
            log::warn!("accepting connections pauses: {error}");
        }
        door.paused = true;
        self.reserve.0 = None;
        let mut waiting = ACCEPTS_PER_ROUND;
        while waiting > 0 && door.listener.accept().is_ok() {
            waiting -= 1;
        }
        self.reserve = Reserve::new();
    }

    fn admit_client(
        &mut self,
        mut stream: TcpStream,
        address: std::net::IpAddr,
        route: Route,
        spare: usize,
    ) {
        self.counters
            .connections_total
            .fetch_add(1, Ordering::Relaxed);
        let standing = self.judge(address, spare);
        if let Err(refusal) = standing
            && self.turned_away >= MAX_TURNED_AWAY
        {
            self.counters.count_refusal(refusal);
            // The answer fits a fresh socket; whether it is read is up to the client.
            let _ = stream.write(&refusal.answer(None, Ends::Connection, Body::Sent));
            return;
        }
        let token = self.new_client_token();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self.poll.registry().register(&mut stream, token, interest);
        let counted = standing.unwrap_or(Standing::TurnedAway);
        let mut client = Client::new(stream, address, counted, route, &self.counters);
        client.state = State::Reading(Phase::Idle);
        client.deadline = Some(self.now + self.limits.idle_timeout);
        self.clients.insert(token, client);
        self.turned_away += usize::from(counted == Standing::TurnedAway);
        self.counters
            .connections_open
            .store(self.clients.len(), Ordering::Relaxed);
        match (registered, standing) {
            (Err(_), _) => self.remove_client(token),
            (Ok(()), Err(refusal)) => self.refuse(token, refusal.into()),
            (Ok(()), Ok(_)) => {}
        }
    }

    /// Whether one more connection of `address` is within the limits; counts it if so.
    fn judge(&mut self, address: std::net::IpAddr, spare: usize) -> Result<Standing, Refusal> {
        let within = self.clients.len() - self.turned_away;
        if within >= self.limits.max_connections.saturating_add(spare) {
            return Err(Refusal::TooManyConnections);
        }
        if self
            .limits
            .trusted_proxies
            .iter()
            .any(|range| range.contains(address))
        {
            return Ok(Standing::Trusted);
        }
        let of_one = self.limits.max_connections_per_ip.saturating_add(spare);
        if !self.peers.admit(address, of_one) {
            return Err(Refusal::TooManyFromAddress);
        }
        Ok(Standing::Counted)
    }
}

/// Errors of a connection that ended before it was accepted (accept(2)); the next one may be fine.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Interrupted
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
    ) || matches!(error.raw_os_error(), Some(libc::EPROTO | libc::ENOPROTOOPT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener as Listener, TcpStream as Stream};

    #[test]
    fn who_vanishes_is_noticed_soon() {
        let poll = mio::Poll::new().unwrap();
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let listen = Listen {
            listener,
            route: Route::new(|_| 0),
            spare_connections: 0,
        };
        let patience = Duration::from_secs(31);
        let door = Door::open(listen, patience, Token(0), poll.registry()).unwrap();
        let _caller = Stream::connect(address).unwrap();
        let (accepted, _) = door.listener.accept().unwrap();
        let socket = socket2::SockRef::from(&accepted);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(patience));
        assert!(socket.tcp_nodelay().unwrap());
    }
}
