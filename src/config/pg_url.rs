//! PostgreSQL URLs: what concerns TLS is taken out before the driver, which rejects some of it,
//! sees the rest. Faults name parameters and never a value.

use std::fmt;
use std::path::PathBuf;

use crate::base::secret::Secret;

use crate::base::address::is_loopback_host;

/// A database and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PgTarget {
    /// The URL without its TLS parameters, for the driver.
    pub url: Secret,
    /// Whether the connection is encrypted, and what is checked.
    pub tls: PgTls,
    /// `sslrootcert`: roots to trust; the system's where `None`.
    pub root_cert: Option<PathBuf>,
    /// `sslcert` and `sslkey`: the certificate that proves who we are, and its key.
    pub client_cert: Option<(PathBuf, PathBuf)>,
}

/// libpq's `sslmode`, without the modes that give up silently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PgTls {
    /// Plain.
    Disable,
    /// Encrypted, the server unchecked.
    Require,
    /// The server's certificate is checked.
    VerifyCa,
    /// Its name too.
    VerifyFull,
}

/// Why a URL does not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PgUrlFault {
    /// Not `postgres://…`.
    NotPostgres,
    /// A `%` without two hexadecimal digits after it.
    BadEscape,
    /// A TLS parameter twice.
    Repeated(&'static str),
    /// A TLS parameter without a value.
    Empty(&'static str),
    /// An `sslmode` that is none of ours.
    UnknownMode,
    /// A host of the network and no `sslmode`.
    Undecided,
    /// Only one of `sslcert` and `sslkey`.
    HalfClientCert,
    /// Certificates beside a mode that uses none.
    UnusedCert,
}

impl fmt::Display for PgUrlFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPostgres => formatter
                .write_str("expected postgres://user:password@host:port/database?sslmode=…"),
            Self::BadEscape => {
                formatter.write_str("a % is not followed by two hexadecimal digits: write it %25")
            }
            Self::Repeated(name) => write!(formatter, "has {name} twice"),
            Self::Empty(name) => write!(formatter, "has an empty {name}"),
            Self::UnknownMode => {
                formatter.write_str("sslmode is none of: disable, require, verify-ca, verify-full")
            }
            Self::Undecided => formatter.write_str(
                "names a host that is not this machine and no sslmode: add sslmode=verify-full \
                 (with sslrootcert=/path/ca.pem where the system does not know the authority), \
                 sslmode=require, or sslmode=disable where the network is trusted",
            ),
            Self::HalfClientCert => formatter.write_str("sslcert and sslkey belong together"),
            Self::UnusedCert => {
                formatter.write_str("has certificates that sslmode=disable does not use")
            }
        }
    }
}

impl std::error::Error for PgUrlFault {}

/// The parameters that are ours; the others stay in the URL.
const OURS: [&str; 4] = ["sslmode", "sslrootcert", "sslcert", "sslkey"];

/// Splits a URL into the driver's part and ours.
///
/// # Errors
/// [`PgUrlFault`], naming the mend.
pub(super) fn parse(url: &Secret) -> Result<PgTarget, PgUrlFault> {
    let text = url.reveal();
    let after = text
        .strip_prefix("postgres://")
        .or_else(|| text.strip_prefix("postgresql://"))
        .ok_or(PgUrlFault::NotPostgres)?;
    let (place, query) = match after.split_once('?') {
        Some((place, query)) => (place, query),
        None => (after, ""),
    };
    let authority = place.split('/').next().unwrap_or_default();
    let hosts = authority
        .rsplit_once('@')
        .map_or(authority, |(_, hosts)| hosts);

    let mut ours: [Option<String>; 4] = Default::default();
    let mut kept = Vec::new();
    let mut local = hosts_are_local(hosts)?;
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let slot = OURS.iter().zip(&mut ours).find(|(own, _)| **own == name);
        if let Some((own, slot)) = slot {
            match slot.replace(decode(value)?) {
                _ if value.is_empty() => return Err(PgUrlFault::Empty(own)),
                Some(_) => return Err(PgUrlFault::Repeated(own)),
                None => continue,
            }
        }
        if name == "host" || name == "hostaddr" {
            local &= hosts_are_local(value)?;
        }
        kept.push(parameter);
    }
    let [mode, root_cert, cert, key] = ours;
    let tls = read_mode(mode.as_deref(), local)?;
    let client_cert = match (cert, key) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some((PathBuf::from(cert), PathBuf::from(key))),
        _ => return Err(PgUrlFault::HalfClientCert),
    };
    if tls == PgTls::Disable && (root_cert.is_some() || client_cert.is_some()) {
        return Err(PgUrlFault::UnusedCert);
    }
    let query = if kept.is_empty() {
        String::new()
    } else {
        format!("?{}", kept.join("&"))
    };
    Ok(PgTarget {
        url: Secret::new(format!("postgres://{place}{query}")),
        tls,
        root_cert: root_cert.map(PathBuf::from),
        client_cert,
    })
}

/// Without a mode a local connection is plain, as nobody can listen to it; any other must be
/// decided.
fn read_mode(mode: Option<&str>, local: bool) -> Result<PgTls, PgUrlFault> {
    match mode {
        None if local => Ok(PgTls::Disable),
        None => Err(PgUrlFault::Undecided),
        Some("disable") => Ok(PgTls::Disable),
        Some("require") => Ok(PgTls::Require),
        Some("verify-ca") => Ok(PgTls::VerifyCa),
        Some("verify-full") => Ok(PgTls::VerifyFull),
        Some(_) => Err(PgUrlFault::UnknownMode),
    }
}

/// Hosts between commas, each perhaps with a port: loopback, a Unix socket's folder, or nothing at
/// all (libpq's default is a socket).
fn hosts_are_local(hosts: &str) -> Result<bool, PgUrlFault> {
    for host in hosts.split(',') {
        let host = decode(host)?;
        let name = match host.strip_prefix('[') {
            Some(six) => six.split(']').next().unwrap_or_default(),
            // More than one colon is an address by itself.
            None if host.matches(':').count() == 1 => host.split(':').next().unwrap_or_default(),
            None => &host,
        };
        if !(name.is_empty() || name.starts_with('/') || is_loopback_host(name)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Percent-decoding (RFC 3986 §2.1).
fn decode(text: &str) -> Result<String, PgUrlFault> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let decoded = match byte {
            b'%' => hex_digit(rest.next())? << 4 | hex_digit(rest.next())?,
            plain => plain,
        };
        bytes.push(decoded);
    }
    String::from_utf8(bytes).map_err(|_| PgUrlFault::BadEscape)
}

fn hex_digit(byte: Option<u8>) -> Result<u8, PgUrlFault> {
    let digit = byte.and_then(|byte| char::from(byte).to_digit(16));
    digit
        .and_then(|digit| u8::try_from(digit).ok())
        .ok_or(PgUrlFault::BadEscape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Result<PgTarget, PgUrlFault> {
        parse(&Secret::new(text))
    }

    #[test]
    fn tls_parameters_are_taken_out() {
        let check = |text: &str, url: &str, tls: PgTls| {
            let found = target(text).unwrap();
            assert_eq!((found.url.reveal(), found.tls), (url, tls), "{text}");
        };
        check(
            "postgresql://u:p@localhost/db",
            "postgres://u:p@localhost/db",
            PgTls::Disable,
        );
        check(
            "postgres://u:p@h:5432/db?sslmode=verify-full&application_name=x",
            "postgres://u:p@h:5432/db?application_name=x",
            PgTls::VerifyFull,
        );
        check(
            "postgres://h/db?a=1&sslmode=require",
            "postgres://h/db?a=1",
            PgTls::Require,
        );
        check(
            "postgres://h/db?sslmode=verify-ca",
            "postgres://h/db",
            PgTls::VerifyCa,
        );
        check(
            "postgres://h/db?sslmode=disable",
            "postgres://h/db",
            PgTls::Disable,
        );
        check(
            "postgres://u:p%40%2F@[::1]:1/db",
            "postgres://u:p%40%2F@[::1]:1/db",
            PgTls::Disable,
        );
        check(
            "postgres:///db?host=/run/pg",
            "postgres:///db?host=/run/pg",
            PgTls::Disable,
        );
        check(
            "postgres://%2Frun%2Fpg/db",
            "postgres://%2Frun%2Fpg/db",
            PgTls::Disable,
        );
    }

    #[test]
    fn certificates_are_paths() {
        let found = target(
            "postgres://h/db?sslmode=verify-full&sslrootcert=%2Fa%20b%2Fca.pem&sslcert=c&sslkey=k",
        );
        let found = found.unwrap();
        assert_eq!(found.url.reveal(), "postgres://h/db");
        assert_eq!(found.root_cert, Some("/a b/ca.pem".into()));
        assert_eq!(found.client_cert, Some(("c".into(), "k".into())));
    }

    #[test]
    fn faults_name_the_mend() {
        let check = |text: &str, fault| assert_eq!(target(text), Err(fault), "{text}");
        check("mysql://h/db", PgUrlFault::NotPostgres);
        check("host=localhost password=x", PgUrlFault::NotPostgres);
        check("postgres://h/db", PgUrlFault::Undecided);
        check("postgres://localhost,h/db", PgUrlFault::Undecided);
        check(
            "postgres://localhost/db?host=10.0.0.1",
            PgUrlFault::Undecided,
        );
        check("postgres:///db?hostaddr=10.0.0.1", PgUrlFault::Undecided);
        check("postgres://localhost@h/db", PgUrlFault::Undecided);
        check("postgres://h/db?sslmode=prefer", PgUrlFault::UnknownMode);
        check("postgres://h/db?sslmode=", PgUrlFault::Empty("sslmode"));
        check(
            "postgres://h/db?sslmode=require&sslmode=disable",
            PgUrlFault::Repeated("sslmode"),
        );
        check(
            "postgres://h/db?sslmode=require&sslcert=c",
            PgUrlFault::HalfClientCert,
        );
        check(
            "postgres://localhost/db?sslrootcert=c",
            PgUrlFault::UnusedCert,
        );
        check("postgres://h%/db?sslmode=require", PgUrlFault::BadEscape);
        check("postgres://h/db?sslmode=%zz", PgUrlFault::BadEscape);
        check("postgres://h/db?sslrootcert=%ff", PgUrlFault::BadEscape);
    }
}
