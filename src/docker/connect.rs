//! Where a daemon listens, and how to reach it.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use socket2::{Domain, SockAddr, SockRef, TcpKeepalive, Type};

use super::DockerError;
use super::credentials::{load_credentials, secure};
use super::resolve::Resolver;
use crate::base::deadline::{Deadline, Deadlined, TimedSocket};
use crate::base::tls::TlsStream;
use crate::config::DaemonAddress;

/// When the kernel first asks a silent peer whether it is still there: parked containers' streams
/// are silent for minutes, and what stands between forgets such connections.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// The way to a daemon, and what it takes to be let in.
#[derive(Debug)]
pub(super) struct Road {
    address: DaemonAddress,
    resolver: Resolver,
    /// Below it other daemons' sockets are looked for, to name them when this one is missing.
    home: Option<PathBuf>,
    /// Read when it is first needed.
    credentials: Mutex<Option<Arc<ClientConfig>>>,
}

impl Road {
    pub(super) fn new(address: DaemonAddress, home: Option<PathBuf>) -> Self {
        Self {
            address,
            resolver: Resolver::default(),
            home,
            credentials: Mutex::new(None),
        }
    }

    pub(super) fn connect(&self, deadline: Deadline) -> Result<Socket, DockerError> {
        match &self.address {
            DaemonAddress::Unix(path) => {
                let stream = connect_unix(path, deadline)
                    .map_err(|error| unreachable_socket(path, self.home.as_deref(), &error))?;
                Ok(Socket(Box::new(Deadlined::new(stream, deadline))))
            }
            DaemonAddress::Tcp { host, port, tls } => {
                // Before anybody is asked: what is missing here is missing however the daemon is.
                let credentials = tls.as_deref().map(|folder| self.credentials(folder));
                let credentials = credentials.transpose()?;
                let stream = connect_tcp(&self.resolver, host, *port, deadline)?;
                let socket = Deadlined::new(stream, deadline);
                Ok(Socket(match credentials {
                    None => Box::new(socket),
                    Some(config) => Box::new(secure(config, host, socket)?),
                }))
            }
        }
    }

    /// Reads the certificates again with the next connection: they may have been renewed.
    pub(super) fn forget_credentials(&self) {
        *self.lock() = None;
    }

    fn credentials(&self, folder: &Path) -> Result<Arc<ClientConfig>, DockerError> {
        let mut known = self.lock();
        if let Some(config) = &*known {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(load_credentials(folder)?);
        *known = Some(Arc::clone(&config));
        Ok(config)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<ClientConfig>>> {
        self.credentials
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connecting waits while the listener's queue is full, as long as the send timeout says (unix(7)).
fn connect_unix(path: &Path, deadline: Deadline) -> io::Result<UnixStream> {
    let timeout = deadline.remaining().ok_or(io::ErrorKind::TimedOut)?;
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(timeout))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(UnixStream::from(OwnedFd::from(socket)))
}

/// Tries every address of the host, each with an equal share of the time that is left.
fn connect_tcp(
    resolver: &Resolver,
    host: &str,
    port: u16,
    deadline: Deadline,
) -> Result<TcpStream, DockerError> {
    let unknown = || DockerError::HostUnknown(host.to_owned());
    let addresses = match resolver.resolve(host, port, deadline) {
        Ok(addresses) => addresses,
        Err(io::ErrorKind::NotFound) => return Err(unknown()),
        Err(kind) => return Err(DockerError::from_io(kind.into())),
    };
    let mut refused = unknown();
    for (untried, address) in (1..=addresses.len()).rev().zip(&addresses) {
        let left = deadline.remaining().ok_or(DockerError::TimedOut)?;
        let share = left / u32::try_from(untried).unwrap_or(u32::MAX);
        match TcpStream::connect_timeout(address, share.max(Duration::from_millis(1))) {
            Ok(stream) => return prepare(stream).map_err(DockerError::from_io),
            Err(error) => refused = unreachable_host(host, port, &error),
        }
    }
    Err(refused)
}

fn prepare(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

fn unreachable_host(host: &str, port: u16, error: &io::Error) -> DockerError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => DockerError::TimedOut,
        kind => DockerError::HostUnreachable {
            host: host.to_owned(),
            port,
            kind,
        },
    }
}

fn unreachable_socket(path: &Path, home: Option<&Path>, error: &io::Error) -> DockerError {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => DockerError::SocketMissing {
            others: other_sockets(&path, home),
            path,
        },
        io::ErrorKind::PermissionDenied => DockerError::PermissionDenied { path },
        io::ErrorKind::ConnectionRefused => DockerError::NotListening { path },
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => DockerError::TimedOut,
        kind => DockerError::Unreachable(kind),
    }
}

/// Usual places of other daemons' sockets that exist on this machine.
fn other_sockets(missing: &Path, home: Option<&Path>) -> Vec<PathBuf> {
    let mut places = vec![
        PathBuf::from("/var/run/docker.sock"),
        PathBuf::from("/run/podman/podman.sock"),
    ];
    let below_home = [
        ".docker/run/docker.sock",
        ".docker/desktop/docker.sock",
        ".colima/default/docker.sock",
        ".colima/docker.sock",
        ".rd/docker.sock",
        ".orbstack/run/docker.sock",
    ];
    places.extend(
        home.iter()
            .flat_map(|home| below_home.map(|place| home.join(place))),
    );
    if let Ok(users) = std::fs::read_dir("/run/user") {
        for user in users.flatten().take(64) {
            places.push(user.path().join("docker.sock"));
            places.push(user.path().join("podman/podman.sock"));
        }
    }
    places.retain(|place| place != missing && place.exists());
    places
}

/// A connection to the daemon under a deadline.
#[derive(Debug)]
pub(super) struct Socket(Box<dyn Wire + Send>);

/// What carries the bytes.
trait Wire: Read + Write + fmt::Debug {
    fn set_deadline(&mut self, deadline: Deadline);
    fn is_silent(&mut self) -> bool;
}

impl<S: TimedSocket + fmt::Debug> Wire for Deadlined<S> {
    fn set_deadline(&mut self, deadline: Deadline) {
        Deadlined::set_deadline(self, deadline);
    }

    fn is_silent(&mut self) -> bool {
        Deadlined::is_silent(self)
    }
}

impl Wire for TlsStream {
    fn set_deadline(&mut self, deadline: Deadline) {
        TlsStream::set_deadline(self, deadline);
    }

    fn is_silent(&mut self) -> bool {
        TlsStream::is_silent(self)
    }
}

impl Socket {
    pub(super) fn is_silent(&mut self) -> bool {
        self.0.is_silent()
    }

    pub(super) fn set_deadline(&mut self, deadline: Deadline) {
        self.0.set_deadline(deadline);
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_socket_names_the_mend() {
        let address = DaemonAddress::Unix(PathBuf::from("/nonexistent/docker.sock"));
        let deadline = Deadline::after(super::super::EXCHANGE_TIMEOUT);
        let error = Road::new(address, None).connect(deadline).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("/nonexistent/docker.sock"), "{error}");
        assert!(error.contains("DOCKER_HOST"), "{error}");
    }
}
