//! TLS with a daemon, both sides proving who they are (`dockerd --tlsverify`): the files of
//! `DOCKER_CERT_PATH`, and what can be wrong with them or with the daemon's own certificate.

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    AlertDescription as Alert, CertificateError as Bad, ClientConfig, Error, RootCertStore,
};

use super::DockerError;
use crate::base::deadline::Deadlined;
use crate::base::tls::{PemFault, TlsStream, load_certificates, load_private_key};

/// A file of `DOCKER_CERT_PATH` that is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadCredential {
    /// `ca.pem`, `cert.pem` or `key.pem`, with its folder.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: CredentialFault,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialFault {
    /// It cannot be read, or is not what its name says.
    Pem(PemFault),
    /// The key is not the certificate's.
    Mismatch,
    /// The certificate has expired.
    Expired,
}

/// Why a daemon and this program do not trust each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// The daemon's certificate is not by the authority of `ca.pem`.
    UnknownAuthority,
    /// The daemon's certificate has expired.
    DaemonExpired,
    /// The daemon's certificate is not valid yet.
    DaemonNotYetValid,
    /// The daemon's certificate is for another name.
    WrongName,
    /// The daemon's certificate is unfit for a server.
    DaemonUnfit,
    /// The daemon says that our certificate has expired.
    OwnExpired,
    /// The daemon does not accept our certificate.
    OwnRefused,
    /// The other side does not speak TLS.
    NotTls,
    /// Nothing that both sides can do.
    NothingInCommon,
}

impl TlsFault {
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(bad) => match bad {
                Bad::UnknownIssuer | Bad::BadSignature => Self::UnknownAuthority,
                Bad::Expired | Bad::ExpiredContext { .. } => Self::DaemonExpired,
                Bad::NotValidYet | Bad::NotValidYetContext { .. } => Self::DaemonNotYetValid,
                Bad::NotValidForName | Bad::NotValidForNameContext { .. } => Self::WrongName,
                _ => Self::DaemonUnfit,
            },
            Error::AlertReceived(alert) => match alert {
                Alert::CertificateExpired => Self::OwnExpired,
                Alert::UnknownCA
                | Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateUnknown
                | Alert::CertificateRequired
                | Alert::AccessDenied
                | Alert::DecryptError => Self::OwnRefused,
                _ => Self::NothingInCommon,
            },
            Error::InvalidMessage(_) => Self::NotTls,
            _ => Self::NothingInCommon,
        }
    }
}

impl fmt::Display for TlsFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::UnknownAuthority => {
                "the Docker daemon's certificate is not signed by the authority in ca.pem of \
                 DOCKER_CERT_PATH: put the daemon's own authority there"
            }
            Self::DaemonExpired => {
                "the Docker daemon's certificate has expired: renew it (dockerd --tlscert)"
            }
            Self::DaemonNotYetValid => {
                "the Docker daemon's certificate is not valid yet: set this machine's clock, or \
                 make it anew (dockerd --tlscert)"
            }
            Self::WrongName => {
                "the Docker daemon's certificate is for another host than DOCKER_HOST names: use \
                 a name of its subjectAltName, or make one that has this name"
            }
            Self::DaemonUnfit => {
                "the Docker daemon's certificate is unfit for a server: it must be X.509 version 3 \
                 with a subjectAltName and serverAuth"
            }
            Self::OwnExpired => {
                "the Docker daemon says that cert.pem of DOCKER_CERT_PATH has expired: renew it"
            }
            Self::OwnRefused => {
                "the Docker daemon does not accept cert.pem of DOCKER_CERT_PATH: it must be signed \
                 by the daemon's --tlscacert, for clientAuth"
            }
            Self::NotTls => {
                "the Docker daemon does not speak TLS there: start it with --tlsverify, or correct \
                 the port in DOCKER_HOST"
            }
            Self::NothingInCommon => {
                "the Docker daemon and this server find no TLS that both can: it needs TLS 1.2 or \
                 1.3 with modern ciphers"
            }
        })
    }
}

impl fmt::Display for BadCredential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.fault {
            CredentialFault::Pem(PemFault::Unreadable(io::ErrorKind::NotFound)) => write!(
                formatter,
                "{path} is missing: DOCKER_CERT_PATH must hold ca.pem, cert.pem and key.pem"
            ),
            CredentialFault::Pem(PemFault::Unreadable(io::ErrorKind::PermissionDenied)) => write!(
                formatter,
                "permission denied on {path}: let this user read DOCKER_CERT_PATH (chown, chmod)"
            ),
            CredentialFault::Pem(PemFault::Unreadable(kind)) => {
                write!(
                    formatter,
                    "{path} of DOCKER_CERT_PATH cannot be read: {kind}"
                )
            }
            CredentialFault::Pem(PemFault::Malformed) => write!(
                formatter,
                "{path} of DOCKER_CERT_PATH holds nothing of its kind in PEM: make it anew"
            ),
            CredentialFault::Expired => {
                write!(
                    formatter,
                    "{path} of DOCKER_CERT_PATH has expired: renew it"
                )
            }
            CredentialFault::Mismatch => write!(
                formatter,
                "{path} of DOCKER_CERT_PATH is not the key of cert.pem: put a pair there"
            ),
        }
    }
}

/// Reads `ca.pem`, `cert.pem` and `key.pem`.
pub(super) fn load_credentials(folder: &Path) -> Result<ClientConfig, DockerError> {
    let bad = |name: &str, fault| {
        let path = folder.join(name);
        DockerError::Credential(BadCredential { path, fault })
    };
    let malformed = CredentialFault::Pem(PemFault::Malformed);
    let authorities = load_certificates(&folder.join("ca.pem"))
        .map_err(|fault| bad("ca.pem", CredentialFault::Pem(fault)))?;
    let chain = load_certificates(&folder.join("cert.pem"))
        .map_err(|fault| bad("cert.pem", CredentialFault::Pem(fault)))?;
    let key = load_private_key(&folder.join("key.pem"))
        .map_err(|fault| bad("key.pem", CredentialFault::Pem(fault)))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = Arc::new(roots);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone())
        .build()
        .map_err(|_| bad("ca.pem", malformed))?;
    if has_expired(&chain, roots, provider.clone()) {
        return Err(bad("cert.pem", CredentialFault::Expired));
    }
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| DockerError::Tls(TlsFault::NothingInCommon))?
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(chain, key)
        .map_err(|error| match error {
            Error::InconsistentKeys(_) => bad("key.pem", CredentialFault::Mismatch),
            Error::General(_) => bad("key.pem", malformed),
            _ => bad("cert.pem", malformed),
        })
}

/// Looked at here, for many a daemon says no more of an expired certificate than that it is bad. By
/// whom it must be signed is the daemon's affair.
fn has_expired(
    chain: &[CertificateDer<'_>],
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
) -> bool {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
    let (Ok(verifier), Some((own, rest))) = (verifier, chain.split_first()) else {
        return false;
    };
    matches!(
        verifier.verify_client_cert(own, rest, UnixTime::now()),
        Err(Error::InvalidCertificate(
            Bad::Expired | Bad::ExpiredContext { .. }
        ))
    )
}

/// Speaks TLS on a fresh connection to `host`.
pub(super) fn secure(
    config: Arc<ClientConfig>,
    host: &str,
    socket: Deadlined<TcpStream>,
) -> Result<TlsStream, DockerError> {
    let name = ServerName::try_from(host.to_owned());
    let name = name.map_err(|_| DockerError::HostUnknown(host.to_owned()))?;
    TlsStream::connect(config, name, socket).map_err(DockerError::from_io)
}
