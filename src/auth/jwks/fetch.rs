//! One look at where the issuer's keys are: over HTTP, or in a file. Everything that ureq does
//! unasked and that could hurt is off: redirects, proxies of the environment, built-in roots,
//! endless waits and bodies.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Error};

use crate::base::tls::SYSTEM_BUNDLES;
use crate::config::JwksSource;

/// Longest fetch, from the look-up of the name to the last byte.
const TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest answer.
const MAX_BYTES: u64 = 1 << 20;
const MAX_CA_BYTES: u64 = 8 << 20;

/// Why there are no new keys. No URL, no text of the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FetchError {
    /// The name has no address, or nobody listens there.
    Unreachable,
    /// It took longer than five seconds.
    Timeout,
    /// No trusted, valid certificate.
    Tls,
    /// Another status than 200.
    Status(u16),
    /// More than 1 MiB.
    TooLarge,
    /// The connection broke, or what came is no HTTP.
    Broken,
    /// The file cannot be read.
    File(std::io::ErrorKind),
    /// What came is no JWK Set.
    NotJwks,
    /// No key in it verifies signatures by an accepted algorithm.
    NoFitKey,
}

impl fmt::Display for FetchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => formatter.write_str("the keys' server cannot be reached"),
            Self::Timeout => formatter.write_str("the keys' server took longer than 5 s"),
            Self::Tls => formatter.write_str(
                "the keys' server has no certificate that is trusted here; see MCP_AUTH_CA_FILE",
            ),
            Self::Status(status) => write!(formatter, "the keys' server answered {status}"),
            Self::TooLarge => formatter.write_str("the key set is larger than 1 MiB"),
            Self::Broken => formatter.write_str("the keys' server broke off or speaks no HTTP"),
            Self::File(kind) => write!(formatter, "the keys' file cannot be read: {kind}"),
            Self::NotJwks => formatter.write_str("what came from the keys' server is no JWK Set"),
            Self::NoFitKey => formatter.write_str("the key set has no key that verifies tokens"),
        }
    }
}

/// Why fetching cannot even be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustError {
    /// The file of roots cannot be read.
    Unreadable(PathBuf, std::io::ErrorKind),
    /// It has no certificate, or a broken one.
    NoCertificate(PathBuf),
    /// No file was named, and the system has none.
    NoBundle,
}

impl fmt::Display for TrustError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, kind) => write!(
                formatter,
                "MCP_AUTH_CA_FILE: {} cannot be read: {kind}",
                path.display()
            ),
            Self::NoCertificate(path) => write!(
                formatter,
                "MCP_AUTH_CA_FILE: {} has no certificate in PEM form, or a broken one",
                path.display()
            ),
            Self::NoBundle => formatter.write_str(
                "this system has no bundle of trusted roots: set MCP_AUTH_CA_FILE for the keys' \
                 server",
            ),
        }
    }
}

impl std::error::Error for TrustError {}

/// The way to the keys.
#[derive(Debug)]
pub(super) enum Source {
    Http(Box<Agent>, String),
    File(PathBuf),
}

impl Source {
    /// Reads the roots once; what they are is for the life of the process.
    pub(super) fn open(source: &JwksSource, ca_file: Option<&Path>) -> Result<Self, TrustError> {
        match source {
            JwksSource::File(path) => Ok(Self::File(path.clone())),
            JwksSource::Url(url) => {
                let secure = url.starts_with("https://");
                let roots = if secure {
                    read_roots(ca_file)?
                } else {
                    Vec::new()
                };
                Ok(Self::Http(Box::new(agent(secure, roots)), url.clone()))
            }
        }
    }

    /// What is there now; blocks for at most [`TIMEOUT`].
    pub(super) fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        match self {
            Self::File(path) => {
                let bytes = read_bounded(path, MAX_BYTES);
                bytes.map_err(FetchError::File)?.ok_or(FetchError::TooLarge)
            }
            Self::Http(agent, url) => fetch(agent, url),
        }
    }

    /// Whether a look costs next to nothing.
    pub(super) fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }
}

fn agent(secure: bool, roots: Vec<Certificate<'static>>) -> Agent {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::from(roots))
        .unversioned_rustls_crypto_provider(provider)
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .https_only(secure)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .max_idle_connections(0)
        .timeout_global(Some(TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .max_response_header_size(16 * 1024)
        .user_agent(concat!("dynamic-mcp/", env!("CARGO_PKG_VERSION")))
        .accept("application/jwk-set+json, application/json")
        .build()
        .new_agent()
}

fn fetch(agent: &Agent, url: &str) -> Result<Vec<u8>, FetchError> {
    let mut answer = agent.get(url).call().map_err(|error| classify(&error))?;
    let status = answer.status().as_u16();
    if status != 200 {
        return Err(FetchError::Status(status));
    }
    let body = answer.body_mut().with_config().limit(MAX_BYTES);
    body.read_to_vec().map_err(|error| classify(&error))
}

fn classify(error: &Error) -> FetchError {
    match error {
        Error::Timeout(_) => FetchError::Timeout,
        Error::Tls(_) | Error::Rustls(_) | Error::Pem(_) => FetchError::Tls,
        Error::BodyExceedsLimit(_) => FetchError::TooLarge,
        Error::HostNotFound | Error::ConnectionFailed => FetchError::Unreachable,
        Error::StatusCode(status) => FetchError::Status(*status),
        Error::Io(error) => match error.kind() {
            std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => FetchError::Timeout,
            // What rustls says while a connection is being secured.
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput => FetchError::Tls,
            std::io::ErrorKind::ConnectionRefused
            | std::io::ErrorKind::HostUnreachable
            | std::io::ErrorKind::NetworkUnreachable
            | std::io::ErrorKind::AddrNotAvailable => FetchError::Unreachable,
            _ => FetchError::Broken,
        },
        _ => FetchError::Broken,
    }
}

fn read_roots(ca_file: Option<&Path>) -> Result<Vec<Certificate<'static>>, TrustError> {
    let bundle = || {
        SYSTEM_BUNDLES
            .iter()
            .map(Path::new)
            .find(|path| path.exists())
    };
    let path = ca_file.or_else(bundle).ok_or(TrustError::NoBundle)?;
    let text = read_bounded(path, MAX_CA_BYTES)
        .map_err(|kind| TrustError::Unreadable(path.to_owned(), kind))?
        .unwrap_or_default();
    let mut roots = Vec::new();
    for item in parse_pem(&text) {
        match item {
            Ok(PemItem::Certificate(root)) => roots.push(root),
            Ok(_) => {}
            Err(_) => return Err(TrustError::NoCertificate(path.to_owned())),
        }
    }
    if roots.is_empty() {
        return Err(TrustError::NoCertificate(path.to_owned()));
    }
    Ok(roots)
}

/// The bytes of a file; `None` where there are more than `limit`.
fn read_bounded(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, std::io::ErrorKind> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|error| error.kind())?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_come_from_a_file_that_has_some() {
        let folder = std::env::temp_dir().join(crate::base::ids::random_hex());
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("ca.pem");
        let gone = std::io::ErrorKind::NotFound;
        let expected = TrustError::Unreadable(path.clone(), gone);
        assert_eq!(read_roots(Some(&path)).unwrap_err(), expected);
        for text in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAA"] {
            std::fs::write(&path, text).unwrap();
            let expected = TrustError::NoCertificate(path.clone());
            assert_eq!(read_roots(Some(&path)).unwrap_err(), expected, "{text}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let path = std::env::temp_dir().join(crate::base::ids::random_hex());
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_bounded(&path, 5), Ok(Some(b"12345".to_vec())));
        assert_eq!(read_bounded(&path, 4), Ok(None));
        std::fs::remove_file(&path).unwrap();
    }
}
