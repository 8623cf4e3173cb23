//! One HTTP exchange with a running server, for the commands that ask it something.

use std::io::{self, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::base::deadline::{Deadline, Deadlined};
use crate::base::http1::{Body, Error, read_head, write_request};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer that is read: a result of the largest size, escaped.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Where a server that listens on this address can be reached from here.
pub(super) fn reachable(listens: SocketAddr) -> SocketAddr {
    let ip = match listens.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listens.port())
}

/// Sends one request; the status and the body.
pub(super) fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    timeout: Duration,
) -> Result<(u16, Vec<u8>), String> {
    let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).map_err(|error| {
        if error.kind() == io::ErrorKind::ConnectionRefused {
            return format!("no server at {address}: start it with dynamic-mcp serve");
        }
        format!("cannot connect to {address}: {error}")
    })?;
    let failed = |error: Error| format!("no answer from {address}: {error}");
    let mut socket = Deadlined::new(stream, Deadline::after(timeout));
    let host = address.to_string();
    let mut all = vec![("Host", host.as_str()), ("Connection", "close")];
    all.extend_from_slice(headers);
    write_request(&mut socket, method, path, &all, body)
        .map_err(|error| failed(Error::Io(error)))?;
    let mut stream = BufReader::new(socket);
    let head = read_head(&mut stream).map_err(failed)?;
    let body = Body::new(stream, &head).and_then(|body| body.read_all(MAX_ANSWER_BYTES));
    Ok((head.status, body.map_err(failed)?))
}
