//! Where a daemon listens, and how to reach it.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Type};

use super::DockerError;
use crate::base::deadline::{Deadline, Deadlined};

/// Address of a daemon, as in `DOCKER_HOST`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `unix:///absolute/path`.
    Unix(PathBuf),
}

/// A `DOCKER_HOST` that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidEndpoint;

impl fmt::Display for InvalidEndpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("must be unix:///absolute/path/of/the/socket")
    }
}

impl std::error::Error for InvalidEndpoint {}

impl Endpoint {
    /// Reads a `DOCKER_HOST` value.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] for any other scheme or a relative path.
    pub fn parse(text: &str) -> Result<Self, InvalidEndpoint> {
        match text.strip_prefix("unix://") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(PathBuf::from(path))),
            _ => Err(InvalidEndpoint),
        }
    }

    pub(super) fn connect(
        &self,
        home: Option<&Path>,
        deadline: Deadline,
    ) -> Result<Socket, DockerError> {
        match self {
            Self::Unix(path) => {
                let stream = connect_unix(path, deadline)
                    .map_err(|error| unreachable_socket(path, home, &error))?;
                Ok(Socket(Deadlined::new(stream, deadline)))
            }
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix://{}", path.display()),
        }
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
pub(super) struct Socket(Deadlined<UnixStream>);

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
    fn docker_host_values() {
        let unix = Endpoint::Unix(PathBuf::from("/a/b.sock"));
        assert_eq!(Endpoint::parse("unix:///a/b.sock"), Ok(unix));
        for wrong in [
            "",
            "unix://a",
            "/var/run/docker.sock",
            "npipe:////./pipe",
            "unix:/a",
        ] {
            assert_eq!(Endpoint::parse(wrong), Err(InvalidEndpoint), "{wrong}");
        }
    }

    #[test]
    fn a_missing_socket_names_the_mend() {
        let endpoint = Endpoint::Unix(PathBuf::from("/nonexistent/docker.sock"));
        let deadline = Deadline::after(super::super::EXCHANGE_TIMEOUT);
        let error = endpoint.connect(None, deadline).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/docker.sock"), "{error}");
        assert!(error.contains("DOCKER_HOST"), "{error}");
    }
}
