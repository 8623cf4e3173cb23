//! What is wrong with the database, in our own words: the driver's and the server's may quote
//! addresses, names and values, and never leave this file.

use std::error::Error as _;
use std::fmt;
use std::io;

use postgres::error::SqlState;
use rustls::{AlertDescription, CertificateError};

/// Why the database did not do as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nobody answers at its address, or the address cannot be found.
    Unreachable,
    /// It does not answer in time.
    Silent,
    /// The connection ended.
    Lost,
    /// It starts, stops or recovers.
    Unready,
    /// It takes no more connections.
    Crowded,
    /// All our own connections are in use.
    PoolBusy,
    /// It refuses the user or the password.
    Login,
    /// Its rules (`pg_hba.conf`) let this user not in from here, or not without a certificate.
    NotAdmitted,
    /// It does not know the authority of our certificate.
    OurAuthority,
    /// The time of our certificate has not come, or is over.
    OurCertOutOfDate,
    /// It has no database of that name.
    NoDatabase,
    /// The server has no TLS, or what it says is none.
    NoTls,
    /// Its certificate is not signed by an authority we trust.
    UnknownAuthority,
    /// Its certificate is for other names.
    OtherName,
    /// Its certificate's time has not come, or is over.
    OutOfDate,
    /// TLS failed otherwise, or a certificate file of ours cannot be used.
    Tls(&'static str),
    /// It takes no writes: a standby.
    ReadOnlyServer,
    /// A standby that lacks changes which were seen already.
    Behind,
    /// Our role may not do this.
    Forbidden,
    /// Our tables are not there.
    NoTables,
    /// Its disk is full.
    DiskFull,
    /// Another transaction held a lock too long.
    Locked,
    /// A statement took too long.
    Slow,
    /// It undid our transaction for the sake of another.
    Undone,
    /// A row of that key is there already.
    Duplicate,
    /// It cannot hold a character of ours.
    Encoding,
    /// Its answer makes no sense to us.
    Unexpected,
    /// The parameters of MCP_DYNAMIC_PG_URL do not make a connection.
    BadUrl,
    /// A host that is a Unix socket's folder: its connections could not be given limits.
    UnixSocket,
    /// This process has no descriptor or thread left for a connection.
    Exhausted,
    /// The database's schema is of a later version than ours: its, ours.
    NewerSchema(i32, i32),
    /// The schema is of an earlier version, and our role may not change that: its, ours.
    OldSchema(i32, i32),
    /// A migration that was applied is not the one we know.
    ForeignSchema(i32),
    /// The database's encoding is not UTF8.
    NotUtf8,
    /// It holds more tools than any server takes.
    TooManyEntries,
    /// The connection ended during a commit, or it took too long: it may have happened.
    CommitUnknown,
    /// Anything else it reports.
    Reported(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Unreachable => {
                "the database cannot be reached; see the host and port in MCP_DYNAMIC_PG_URL"
            }
            Self::Silent => "the database does not answer",
            Self::Lost => "the connection to the database was lost",
            Self::Unready => "the database is starting, stopping or recovering",
            Self::Crowded => "the database takes no more connections (max_connections)",
            Self::PoolBusy => "all connections to the database are in use",
            // PostgreSQL says the same of a certificate for another user.
            Self::Login => {
                "the database refuses the user or its password (MCP_DYNAMIC_PG_URL), or sslcert is \
                 of another user"
            }
            Self::NotAdmitted => {
                "the database's pg_hba.conf does not admit this user from here: it may want TLS \
                 (sslmode) or a certificate of this user's name (sslcert and sslkey)"
            }
            Self::OurAuthority => {
                "the database server does not trust the authority of the certificate in sslcert: \
                 see its ssl_ca_file"
            }
            Self::OurCertOutOfDate => "the certificate in sslcert has expired: renew it",
            Self::NoDatabase => "the database named in MCP_DYNAMIC_PG_URL does not exist",
            Self::NoTls => {
                "the database server speaks no TLS: turn its ssl on, or set sslmode=disable where \
                 the network is trusted"
            }
            Self::UnknownAuthority => {
                "the database server's certificate is not of an authority that we trust: name \
                 its authority by sslrootcert"
            }
            Self::OtherName => {
                "the database server's certificate is for other names than the host in \
                 MCP_DYNAMIC_PG_URL"
            }
            Self::OutOfDate => "the database server's certificate has expired, or is not valid yet",
            Self::Tls(what) => what,
            Self::ReadOnlyServer => {
                "the database server takes no writes (a standby?): name the primary in \
                 MCP_DYNAMIC_PG_URL, or all servers and target_session_attrs=read-write"
            }
            Self::Behind => {
                "the database server is a standby that lacks changes which this server has seen: \
                 let it catch up, promote it, or name the primary in MCP_DYNAMIC_PG_URL"
            }
            Self::Forbidden => {
                "the database role lacks a privilege: see the grants in sql/0001_tools.sql and \
                 sql/0006_entries.sql"
            }
            Self::NoTables => {
                "the registry's tables are not in the database: restore them, or run dynamic-mcp \
                 migrate"
            }
            Self::DiskFull => "the database server's disk is full: make room there, then try again",
            Self::Locked => "another transaction holds the registry's tables",
            Self::Slow => "the database took too long",
            Self::Undone => "the database undid the change for the sake of another; try again",
            Self::Duplicate => "the database holds a row of that name that cannot be served",
            Self::Encoding => "the database cannot hold a character of it: it must be UTF8",
            Self::Unexpected => "the database's answer is not understood",
            Self::BadUrl => {
                "MCP_DYNAMIC_PG_URL: needs a host, the password asked for, and only parameters and values that the \
                 database driver knows"
            }
            Self::UnixSocket => {
                "MCP_DYNAMIC_PG_URL names a Unix socket, whose connections cannot be limited in \
                 time: use host=localhost"
            }
            Self::Exhausted => "this process may open no more connections; raise its limits",
            Self::NewerSchema(found, known) => {
                return write!(
                    formatter,
                    "the database's schema is at version {found}, and this server knows only \
                     version {known}: use a newer server"
                );
            }
            Self::OldSchema(found, known) => {
                return write!(
                    formatter,
                    "the database's schema is at version {found}, and this server needs version \
                     {known}: run dynamic-mcp migrate as the schema's owner"
                );
            }
            Self::ForeignSchema(version) => {
                return write!(
                    formatter,
                    "migration {version} of the database's schema is not the one this server \
                     knows: see dynamic_schema_migrations"
                );
            }
            Self::NotUtf8 => "the database's encoding must be UTF8",
            Self::CommitUnknown => {
                "the database did not confirm the change, and whether it was made is not known: \
                 look before trying again"
            }
            Self::TooManyEntries => "the database holds more than 10000 entries of one kind",
            Self::Reported(code) => {
                return write!(formatter, "the database reports SQLSTATE {code}");
            }
        };
        formatter.write_str(text)
    }
}

impl std::error::Error for Fault {}

impl Fault {
    /// Whether waiting may help, while nobody does anything about it.
    pub(super) fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Unreachable
                | Self::Silent
                | Self::Lost
                | Self::Unready
                | Self::Crowded
                | Self::PoolBusy
                | Self::Locked
                | Self::Slow
                | Self::Undone
                // A standby is made the primary soon after that one is gone.
                | Self::ReadOnlyServer
                // Another replica, or a job, may be migrating.
                | Self::OldSchema(..)
                | Self::NoTables
        )
    }
}

impl From<postgres::Error> for Fault {
    fn from(error: postgres::Error) -> Self {
        if let Some(code) = error.code() {
            return of_state(code);
        }
        if error.is_closed() {
            return Self::Lost;
        }
        let mut source = error.source();
        while let Some(cause) = source {
            if let Some(fault) = cause.downcast_ref::<Fault>() {
                return fault.clone();
            }
            if let Some(error) = cause.downcast_ref::<io::Error>() {
                return of_io(error);
            }
            source = cause.source();
        }
        // The driver's kinds of error are known by their texts alone.
        match error.to_string() {
            text if text.starts_with("authentication error") => Self::Login,
            text if text.starts_with("invalid configuration") => Self::BadUrl,
            _ => Self::Unexpected,
        }
    }
}

fn of_state(code: &SqlState) -> Fault {
    match code.code() {
        "57P01" | "57P02" | "57P03" | "57P05" => Fault::Unready,
        "53300" => Fault::Crowded,
        "53100" => Fault::DiskFull,
        "3D000" => Fault::NoDatabase,
        "42501" => Fault::Forbidden,
        "42P01" | "42703" | "42883" | "3F000" => Fault::NoTables,
        "25006" => Fault::ReadOnlyServer,
        "55P03" => Fault::Locked,
        "57014" => Fault::Slow,
        "40001" | "40P01" => Fault::Undone,
        "23505" => Fault::Duplicate,
        "22021" | "22P05" => Fault::Encoding,
        "28000" => Fault::NotAdmitted,
        code if code.starts_with("28") => Fault::Login,
        code if code.starts_with("08") => Fault::Lost,
        code => Fault::Reported(code.to_owned()),
    }
}

/// What a socket or a handshake of ours reports.
pub(super) fn of_io(error: &io::Error) -> Fault {
    if let Some(inner) = error.get_ref() {
        if let Some(fault) = inner.downcast_ref::<Fault>() {
            return fault.clone();
        }
        if let Some(error) = inner.downcast_ref::<rustls::Error>() {
            return of_tls(error);
        }
    }
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Fault::Silent,
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => Fault::Lost,
        // The driver's words for a server that target_session_attrs excludes.
        io::ErrorKind::PermissionDenied => Fault::ReadOnlyServer,
        io::ErrorKind::InvalidData => Fault::Unexpected,
        _ => Fault::Unreachable,
    }
}

fn of_tls(error: &rustls::Error) -> Fault {
    use CertificateError as Certificate;
    match error {
        rustls::Error::InvalidCertificate(reason) => match reason {
            Certificate::UnknownIssuer | Certificate::BadSignature => Fault::UnknownAuthority,
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                Fault::OtherName
            }
            Certificate::Expired
            | Certificate::ExpiredContext { .. }
            | Certificate::NotValidYet
            | Certificate::NotValidYetContext { .. } => Fault::OutOfDate,
            _ => Fault::Tls(
                "the database server's certificate cannot be used: it must be an end entity's, \
                 X.509 version 3, with its names as subjectAltName",
            ),
        },
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::UnknownCA | AlertDescription::BadCertificate => Fault::OurAuthority,
            AlertDescription::CertificateExpired => Fault::OurCertOutOfDate,
            _ => Fault::Tls("the database server ended the TLS handshake: does it want sslcert?"),
        },
        _ => Fault::Tls("the TLS handshake with the database server failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_by_state_and_by_socket() {
        let check = |code: &str, expected: Fault| {
            assert_eq!(of_state(&SqlState::from_code(code)), expected, "{code}");
        };
        check("57P03", Fault::Unready);
        check("28P01", Fault::Login);
        check("28000", Fault::NotAdmitted);
        check("42P01", Fault::NoTables);
        check("08006", Fault::Lost);
        check("XX000", Fault::Reported("XX000".to_owned()));
        let check = |kind: io::ErrorKind, expected| assert_eq!(of_io(&kind.into()), expected);
        check(io::ErrorKind::TimedOut, Fault::Silent);
        check(io::ErrorKind::ConnectionRefused, Fault::Unreachable);
        check(io::ErrorKind::BrokenPipe, Fault::Lost);
        assert_eq!(of_io(&io::Error::other(Fault::NoTls)), Fault::NoTls);
    }
}
