//! TLS for clients on blocking sockets: certificates and keys in files, and a stream under a
//! deadline. Whom to trust is decided by whoever builds the configuration.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection};

use super::deadline::{Deadline, Deadlined, TimedSocket as _};

/// Where systems keep the authorities that everybody trusts: Debian, Red Hat, SUSE, Alpine and BSD.
pub const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Bound on a look that does not wait.
const LOOK: Duration = Duration::from_secs(1);

/// Why a file is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PemFault {
    /// It cannot be read.
    Unreadable(io::ErrorKind),
    /// It does not hold what is looked for in PEM (RFC 7468), or holds it broken.
    Malformed,
}

impl From<PemError> for PemFault {
    fn from(error: PemError) -> Self {
        match error {
            PemError::Io(error) => Self::Unreadable(error.kind()),
            _ => Self::Malformed,
        }
    }
}

/// The certificates in a file; at least one.
///
/// # Errors
/// [`PemFault`].
pub fn load_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemFault> {
    let found: Vec<_> = CertificateDer::pem_file_iter(path)?.collect::<Result<_, _>>()?;
    match found.is_empty() {
        true => Err(PemFault::Malformed),
        false => Ok(found),
    }
}

/// The private key in a file: PKCS #1, PKCS #8 or SEC 1.
///
/// # Errors
/// [`PemFault`].
pub fn load_private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemFault> {
    Ok(PrivateKeyDer::from_pem_file(path)?)
}

/// What TLS itself has against a connection, where that is why reading or writing failed.
pub fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// A connection secured by TLS. Dropping it tells the peer that nothing more comes.
#[derive(Debug)]
pub struct TlsStream {
    connection: ClientConnection,
    socket: Deadlined<TcpStream>,
}

impl TlsStream {
    /// Secures a connection to the peer called `name`. A peer that does not accept *our*
    /// certificate may say so only later, in answer to the first read (RFC 8446 §4.4.2.4).
    ///
    /// # Errors
    /// As the socket says; [`tls_error`] tells what TLS has against it.
    pub fn connect(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        mut socket: Deadlined<TcpStream>,
    ) -> io::Result<Self> {
        let mut connection = ClientConnection::new(config, name).map_err(invalid)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(Self { connection, socket })
    }

    /// Replaces the deadline.
    pub fn set_deadline(&mut self, deadline: Deadline) {
        self.socket.set_deadline(deadline);
    }

    /// Whether the peer is there and has sent nothing, without waiting. What TLS says for itself,
    /// such as new session tickets, does not count.
    pub fn is_silent(&mut self) -> bool {
        self.socket.set_deadline(Deadline::after(LOOK));
        let made = self.socket.socket().wait_for_reads(false);
        let looked = made.and_then(|()| self.read(&mut [0]));
        let silent = looked.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut);
        self.socket.socket().wait_for_reads(true).is_ok() && silent
    }

    /// Takes in what has come; the reader then knows, also of the stream's end.
    fn receive(&mut self) -> io::Result<()> {
        self.connection.read_tls(&mut self.socket)?;
        let received = self.connection.process_new_packets();
        if self.connection.wants_write() {
            // An alert or a key update: what was received counts, not whether this arrives.
            let _ = self.connection.write_tls(&mut self.socket);
        }
        received.map(drop).map_err(invalid)
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Read for TlsStream {
    /// A stream that ends without the peer's word for it is an error (`UnexpectedEof`): it may have
    /// been cut off.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.receive()?,
                read => return read,
            }
        }
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        self.connection.writer().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.socket)?;
        }
        self.socket.flush()
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        self.connection.send_close_notify();
        self.socket.set_deadline(Deadline::after(LOOK));
        // A peer that takes nothing any more is not waited for.
        if self.socket.socket().wait_for_reads(false).is_ok() {
            let _ = self.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_of_no_use() {
        let path = std::env::temp_dir().join(crate::base::ids::random_hex());
        let gone = PemFault::Unreadable(io::ErrorKind::NotFound);
        assert_eq!(load_certificates(&path), Err(gone));
        assert_eq!(load_private_key(&path).err(), Some(gone));
        for text in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAA"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(load_certificates(&path), Err(PemFault::Malformed), "{text}");
            let key = load_private_key(&path).err();
            assert_eq!(key, Some(PemFault::Malformed), "{text}");
        }
        std::fs::remove_file(&path).unwrap();
    }
}
