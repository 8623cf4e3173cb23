//! Connections: the driver's settings, the handshake that it leaves to us, the pool.
//!
//! The driver is told that TLS begins at once, whatever `sslmode` says, so that every byte of every
//! connection passes through a [`Timed`] socket of ours: we ask for TLS ourselves, or go on plain.
//! No session state is set on pooled connections: they may be PgBouncer's, in transaction mode.

use std::fmt;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use postgres::config::{Host, SslMode, SslNegotiation};
use postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use postgres::{Client, Config, Socket};
use r2d2::{HandleError, ManageConnection, Pool, PooledConnection, State};
use r2d2_postgres::PostgresConnectionManager;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_rustls::TlsConnector;

use super::fault::Fault;
use super::limit::{Limit, Timed, within};
use super::tls;
use crate::config::{PgTarget, PgTls};

/// Connections for writes, checks and leases. Writes of one process come one after the other.
const POOL_SIZE: u32 = 4;
/// How long anybody waits for one of them.
const CHECKOUT: Duration = Duration::from_secs(2);
/// What reaching a host's address, and then its greeting, may take.
const CONNECT: Duration = Duration::from_secs(2);
const GREETING: Duration = Duration::from_secs(5);
/// When the kernel gives up on a peer that does not acknowledge.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);

/// PostgreSQL's SSLRequest: its length, then 80877103 (protocol, "Message Formats").
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// A way to the database; all its connections are made alike.
#[derive(Clone)]
pub(super) struct Database {
    config: Config,
    connector: Connector,
    pool: Pool<Manager>,
    last_fault: Arc<Mutex<Option<Fault>>>,
    waiting: Arc<AtomicUsize>,
}

impl fmt::Debug for Database {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Database")
    }
}

impl Database {
    /// Reads the target's certificates and starts the pool; connects to nothing yet.
    pub(super) fn new(target: &PgTarget) -> Result<Self, Fault> {
        let mut config = build_config(target)?;
        let direct = config.get_ssl_negotiation() == SslNegotiation::Direct;
        let tls = match target.tls {
            PgTls::Disable => None,
            _ => Some(Arc::new(tls::build_client(target, direct)?)),
        };
        let connector = Connector { tls, direct };
        config
            .ssl_mode(SslMode::Require)
            .ssl_negotiation(SslNegotiation::Direct);
        let last_fault = Arc::new(Mutex::new(None));
        let manager = Manager {
            driver: PostgresConnectionManager::new(config.clone(), connector.clone()),
            last_fault: Arc::clone(&last_fault),
        };
        let pool = Pool::builder()
            .max_size(POOL_SIZE)
            .min_idle(Some(1))
            .connection_timeout(CHECKOUT)
            .error_handler(Box::new(Quiet))
            .build_unchecked(manager);
        Ok(Self {
            config,
            connector,
            pool,
            last_fault,
            waiting: Arc::default(),
        })
    }

    /// A connection of its own, outside the pool.
    pub(super) fn connect(&self) -> Result<Client, Fault> {
        guarded(|| Ok(self.config.connect(self.connector.clone())?))
    }

    /// Runs `act` on a connection of the pool, all of it up to `end`.
    pub(super) fn run<T, E: From<Fault>>(
        &self,
        end: Instant,
        act: impl FnOnce(&mut Client) -> Result<T, E>,
    ) -> Result<T, E> {
        within(Limit::Until(end), || act(&mut *self.checkout(end)?))
    }

    /// Of the pool now: connections in use, idle ones, and who waits for one.
    pub(super) fn counts(&self) -> (u32, u32, usize) {
        let State {
            connections,
            idle_connections: idle,
            ..
        } = self.pool.state();
        let in_use = connections.saturating_sub(idle);
        (in_use, idle, self.waiting.load(Ordering::Relaxed))
    }

    fn checkout(&self, end: Instant) -> Result<PooledConnection<Manager>, Fault> {
        let left = end.saturating_duration_since(Instant::now()).min(CHECKOUT);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let connection = self.pool.get_timeout(left);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        connection.map_err(|_| {
            let state = self.pool.state();
            match lock(&self.last_fault).clone() {
                Some(fault) => fault,
                None if state.connections - state.idle_connections == POOL_SIZE => Fault::PoolBusy,
                // Connections are being made and did not fail yet.
                None => Fault::Silent,
            }
        })
    }
}

/// The driver's settings; what the URL says wins where it is no looser.
fn build_config(target: &PgTarget) -> Result<Config, Fault> {
    let mut config: Config = target.url.reveal().parse().map_err(|_| Fault::BadUrl)?;
    let sockets = |host: &Host| matches!(host, Host::Unix(_));
    if config.get_hosts().iter().any(sockets) {
        return Err(Fault::UnixSocket);
    }
    if config.get_hosts().is_empty() {
        let addresses = config.get_hostaddrs().to_vec();
        if addresses.is_empty() {
            return Err(Fault::BadUrl);
        }
        // The driver wants a name wherever the handshake is ours.
        for address in addresses {
            config.host(&address.to_string());
        }
    }
    if config.get_application_name().is_none() {
        config.application_name("dynamic-mcp");
    }
    if config
        .get_connect_timeout()
        .is_none_or(|given| *given > CONNECT)
    {
        config.connect_timeout(CONNECT);
    }
    config
        .tcp_user_timeout(UNACKNOWLEDGED)
        .keepalives_idle(KEEPALIVE_IDLE)
        // Notices quote what they are about.
        .notice_callback(|_| ());
    Ok(config)
}

/// Connects under the limit of connecting. The driver panics where the system has no descriptor or
/// thread left for it.
fn guarded(connect: impl FnOnce() -> Result<Client, Fault>) -> Result<Client, Fault> {
    let limit = Limit::EachSocket(GREETING);
    let caught = catch_unwind(AssertUnwindSafe(|| within(limit, connect)));
    caught.unwrap_or(Err(Fault::Exhausted))
}

/// The driver's own manager, under our limits, with faults in our words.
struct Manager {
    driver: PostgresConnectionManager<Connector>,
    last_fault: Arc<Mutex<Option<Fault>>>,
}

impl ManageConnection for Manager {
    type Connection = Client;
    type Error = Fault;

    fn connect(&self) -> Result<Client, Fault> {
        let connected = guarded(|| Ok(self.driver.connect()?));
        *lock(&self.last_fault) = connected.as_ref().err().cloned();
        connected
    }

    fn is_valid(&self, client: &mut Client) -> Result<(), Fault> {
        let valid = self.driver.is_valid(client).map_err(Fault::from);
        *lock(&self.last_fault) = valid.as_ref().err().cloned();
        valid
    }

    fn has_broken(&self, client: &mut Client) -> bool {
        self.driver.has_broken(client)
    }
}

fn lock(last_fault: &Mutex<Option<Fault>>) -> MutexGuard<'_, Option<Fault>> {
    last_fault.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whoever waits for a connection says why there is none; the pool's own log would say it again and
/// again.
#[derive(Debug)]
struct Quiet;

impl HandleError<Fault> for Quiet {
    fn handle_error(&self, fault: Fault) {
        log::debug!("a database connection failed: {fault}");
    }
}

/// Makes the driver's sockets ours.
#[derive(Clone, Debug)]
struct Connector {
    /// `None`: plain.
    tls: Option<Arc<rustls::ClientConfig>>,
    /// TLS from the first byte (`sslnegotiation=direct`), without asking for it.
    direct: bool,
}

struct Handshake {
    connector: Connector,
    host: String,
}

impl MakeTlsConnect<Socket> for Connector {
    type Stream = Wire;
    type TlsConnect = Handshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> Result<Handshake, io::Error> {
        let (connector, host) = (self.clone(), host.to_owned());
        Ok(Handshake { connector, host })
    }
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Wire;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Wire>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(shake_hands(self, Timed::new(socket)))
    }
}

async fn shake_hands(handshake: Handshake, mut socket: Timed<Socket>) -> io::Result<Wire> {
    let Handshake { connector, host } = handshake;
    let Some(client) = connector.tls else {
        return Ok(Wire::Plain(socket));
    };
    if !connector.direct {
        socket.write_all(&SSL_REQUEST).await?;
        // One byte and no more: what follows an honest one is encrypted.
        if socket.read_u8().await? != b'S' {
            return Err(io::Error::other(Fault::NoTls));
        }
    }
    let name = ServerName::try_from(host).map_err(|_| io::Error::other(Fault::BadUrl))?;
    let stream = TlsConnector::from(client).connect(name, socket).await?;
    Ok(Wire::Encrypted(Box::new(stream)))
}

/// A connection to the server.
enum Wire {
    Plain(Timed<Socket>),
    Encrypted(Box<tokio_rustls::client::TlsStream<Timed<Socket>>>),
}

impl Wire {
    fn plaintext(self: Pin<&mut Self>) -> Pin<&mut dyn Duplex> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket),
            Self::Encrypted(stream) => Pin::new(&mut **stream),
        }
    }
}

trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Duplex for S {}

impl TlsStream for Wire {
    fn channel_binding(&self) -> ChannelBinding {
        let Self::Encrypted(stream) = self else {
            return ChannelBinding::none();
        };
        let certificates = stream.get_ref().1.peer_certificates();
        certificates
            .and_then(|chain| tls::end_point(chain.first()?))
            .map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.plaintext().poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.plaintext().poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.plaintext().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.plaintext().poll_shutdown(context)
    }
}
