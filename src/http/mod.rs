//! HTTP: private tiny_http servers behind the gate, one a lane, and the fixed pools of workers that
//! pull requests from them. The ops lane has workers of its own, so that probes and metrics answer
//! however busy the tools are; the quick lane takes what waits for nothing, many at a time.

mod exposure;
mod hang_up;
mod mcp_endpoint;
mod ops;
mod origin;
mod protected;
mod readiness;
mod request;
mod response;
mod route;
mod runtime_dir;
mod stream;
mod worker;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::audit::Audit;
use crate::auth::Authority;
use crate::base::address::is_loopback;
use crate::config::HttpConfig;
use crate::engine::Engine;
use crate::gate::{self, Gate, GateError, Lane, Limits, Listen, Route};
use crate::guard::Guard;
use crate::mcp;
use crate::metrics::Metrics;
use crate::registry::ToolStore;

pub use readiness::{Readiness, ReadyCheck};

use origin::AccessRules;
use protected::Resource;
use route::{OpsPlace, Pool};
use runtime_dir::RuntimeDir;

/// Workers of the ops lane; its answers take microseconds.
const OPS_WORKERS: usize = 2;
/// Workers of the quick lane. One keeps up with the gate; the other is there when one is held up.
const QUICK_WORKERS: usize = 2;
/// Requests of the quick lane that a worker takes at once.
const MAX_BATCH: usize = 32;
/// Connections to the tool lane beyond its workers: the next request is there when one comes free.
const SPARE_BACKENDS: usize = 4;
/// Connections to the listener of the ops endpoints that find a place however many clients there
/// are: a server that is full is alive.
const SPARE_OPS_CONNECTIONS: usize = 16;
/// Requests that may wait for a worker, each with its body buffered.
const QUEUE_LENGTH: usize = 1024;

/// What requests are answered from.
pub struct Services {
    /// The protocol.
    pub mcp: mcp::Server,
    /// Who may do what.
    pub authority: Authority,
    /// Who came in, and who did not.
    pub audit: Audit,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// For its gauges.
    pub guard: Arc<Guard>,
    /// For its gauges.
    pub engine: Arc<dyn Engine>,
    /// For its gauges.
    pub store: Arc<dyn ToolStore>,
    /// What `/readyz` says.
    pub readiness: Arc<Readiness>,
}

impl fmt::Debug for Services {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Services").finish_non_exhaustive()
    }
}

/// Why the server cannot listen.
#[derive(Debug)]
pub enum HttpError {
    /// The address cannot be bound; the flag that sets its port.
    Bind(SocketAddr, &'static str, io::Error),
    /// The private folder for sockets cannot be made.
    RuntimeDir(std::path::PathBuf, io::Error),
    /// A private server cannot start.
    Private(String),
    /// The gate cannot start.
    Gate(GateError),
    /// The operating system gives no threads.
    Threads(io::Error),
}

impl fmt::Display for HttpError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(address, flag, error) if error.kind() == io::ErrorKind::AddrInUse => write!(
                formatter,
                "{address} is in use: stop the other program, or choose another {flag}"
            ),
            Self::Bind(address, _, error) => {
                write!(formatter, "cannot listen on {address}: {error}")
            }
            Self::RuntimeDir(path, error) => write!(
                formatter,
                "no private folder below {}: {error}; set MCP_RUNTIME_DIR",
                path.display()
            ),
            Self::Private(error) => write!(formatter, "a private server cannot start: {error}"),
            Self::Gate(error) => write!(formatter, "{error}"),
            Self::Threads(error) => write!(formatter, "no threads to be had: {error}"),
        }
    }
}

impl std::error::Error for HttpError {}

/// What every worker shares.
struct Shared {
    services: Services,
    routes: route::Routes,
    rules: AccessRules,
    resource: Resource,
    gate_counters: std::sync::OnceLock<Arc<gate::Counters>>,
    streams: std::sync::OnceLock<gate::Streams>,
    workers: worker::Gauge,
    under_way: hang_up::UnderWay,
    stopping: AtomicBool,
}

/// A listening server. Dropping it cuts every connection.
pub struct HttpServer {
    shared: Arc<Shared>,
    gate: Gate,
    servers: Vec<Arc<tiny_http::Server>>,
    _notifier: mcp::Notifier,
}

impl fmt::Debug for HttpServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HttpServer")
            .field("gate", &self.gate)
            .finish_non_exhaustive()
    }
}

/// The addresses taken, before anybody serves them.
#[derive(Debug)]
pub struct Listeners {
    main: TcpListener,
    /// For the ops endpoints, where they have one of their own.
    ops: Option<TcpListener>,
}

/// Takes the addresses; clients wait until somebody serves them.
///
/// # Errors
/// [`HttpError::Bind`].
pub fn listen(config: &HttpConfig) -> Result<Listeners, HttpError> {
    let bind = |address, flag| {
        TcpListener::bind(address).map_err(|error| HttpError::Bind(address, flag, error))
    };
    Ok(Listeners {
        main: bind(config.bind, "--port")?,
        ops: config
            .ops
            .map(|address| bind(address, "--ops-port"))
            .transpose()?,
    })
}

/// Which listener's requests take which lanes.
fn doors(listeners: Listeners, authority: &Authority) -> Vec<Listen> {
    let listen = |listener, route, spare_connections| Listen {
        listener,
        route,
        spare_connections,
    };
    let authority = authority.clone();
    let knows = move |authorization: Option<&str>| authority.knows(authorization);
    match listeners.ops {
        None => {
            let route = Route::new(move |head| route::lane(head, &knows));
            vec![listen(listeners.main, route, 0)]
        }
        Some(ops) => {
            let main = Route::new(move |head| route::tool_lane(head, &knows));
            let apart = Route::new(|_| route::OPS_LANE);
            vec![
                listen(listeners.main, main, 0),
                listen(ops, apart, SPARE_OPS_CONNECTIONS),
            ]
        }
    }
}

impl HttpServer {
    /// Starts all workers, and returns once requests are served.
    ///
    /// # Errors
    /// [`HttpError`], naming what to change.
    pub fn start(
        config: &HttpConfig,
        listeners: Listeners,
        services: Services,
    ) -> Result<Self, HttpError> {
        let bound = listeners.main.local_addr().unwrap_or(config.bind);
        let runtime_dir = RuntimeDir::make(&config.runtime_dir)
            .map_err(|error| HttpError::RuntimeDir(config.runtime_dir.clone(), error))?;
        let ops_place = match listeners.ops {
            Some(_) => OpsPlace::Apart,
            None => OpsPlace::Main,
        };
        let shared = Arc::new(Shared {
            services,
            routes: route::Routes::new(&config.path, ops_place),
            rules: AccessRules::new(config, is_loopback(config.bind.ip())),
            resource: Resource::new(config.public_url.as_deref(), &config.path, bound),
            gate_counters: std::sync::OnceLock::new(),
            streams: std::sync::OnceLock::new(),
            workers: worker::Gauge::new(config.workers),
            under_way: hang_up::UnderWay::default(),
            stopping: AtomicBool::new(false),
        });
        let (mut servers, mut lanes) = (Vec::new(), Vec::new());
        for pool in route::LANES {
            let workers = match pool {
                Pool::Ops => OPS_WORKERS,
                Pool::Quick => QUICK_WORKERS,
                Pool::Tools => config.workers,
            };
            let (spare, batch) = match pool {
                Pool::Quick => (0, Some(MAX_BATCH)),
                Pool::Ops | Pool::Tools => (SPARE_BACKENDS, None),
            };
            let socket = runtime_dir.socket(pool.name());
            let server = tiny_http::Server::http_unix(&socket)
                .map_err(|error| HttpError::Private(error.to_string()))?;
            let server = Arc::new(server);
            worker::start_pool(&shared, &server, pool, workers).map_err(HttpError::Threads)?;
            lanes.push(Lane {
                socket,
                backends: workers + spare,
                batch,
            });
            servers.push(server);
        }
        let under_way = shared.under_way.clone();
        let on_hang_up = Box::new(move |number| under_way.hang_up(number));
        let doors = doors(listeners, &shared.services.authority);
        let gate =
            gate::start(gate_limits(config), doors, &lanes, on_hang_up).map_err(HttpError::Gate)?;
        let _ = shared.gate_counters.set(gate.counters());
        let _ = shared.streams.set(gate.streams());
        let notifier = shared
            .services
            .mcp
            .watch(None)
            .map_err(HttpError::Threads)?;
        stream::start_breaking_silences(&shared).map_err(HttpError::Threads)?;
        // Who is connected stays so, the gate can connect again, and nobody else comes.
        drop(runtime_dir);
        Ok(Self {
            shared,
            gate,
            servers,
            _notifier: notifier,
        })
    }

    /// Where the server listens; the real port where 0 was asked for.
    pub fn address(&self) -> Option<SocketAddr> {
        self.gate.local_addrs().first().copied()
    }

    /// Where the ops endpoints are, if not there.
    pub fn ops_address(&self) -> Option<SocketAddr> {
        self.gate.local_addrs().get(1).copied()
    }

    /// Whether requests can still be served; false is a reason to end the program.
    pub fn is_running(&self) -> bool {
        self.gate.is_running()
    }

    /// Answers what has begun, for at most `grace`, and ends.
    pub fn stop(self, grace: Duration) {
        self.shared.services.mcp.end_streams();
        self.gate.stop(grace);
        self.shared
            .stopping
            .store(true, std::sync::atomic::Ordering::Release);
        for server in &self.servers {
            for _ in 0..self.shared.workers.total().max(OPS_WORKERS) {
                server.unblock();
            }
        }
    }
}

fn gate_limits(config: &HttpConfig) -> Limits {
    Limits {
        max_body_bytes: config.max_request_bytes,
        max_connections: config.max_connections,
        max_connections_per_ip: config.max_connections_per_ip,
        buffer_bytes: config.buffer_bytes,
        max_streams: config.max_streams,
        queue_length: QUEUE_LENGTH,
        head_timeout: config.head_timeout,
        body_timeout: config.body_timeout,
        idle_timeout: config.idle_timeout,
        write_timeout: config.write_timeout,
        trusted_proxies: config.trusted_proxies.clone(),
    }
}
