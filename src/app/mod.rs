//! The only wiring: builds every service from the settings, in order, and ends them in order.

mod audit_log;
mod doctor;
mod engine_choice;
mod import;
mod late_engine;
mod over_stdio;
mod owners;
mod start_error;
mod store;
mod upkeep;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audit::Audit;
use crate::auth::{Authority, Reach};
use crate::base::address::is_loopback;
use crate::base::deadline::Deadline;
use crate::base::ids::random_bytes;
use crate::base::sys;
use crate::base::text::counted;
use crate::config::{AuthMode, Config, GuardConfig, Transport};
use crate::engine::{Engine, Owners};
use crate::guard::{Guard, GuardLimits};
use crate::http::{HttpServer, Readiness, Services, listen};
use crate::mcp::{self, SessionKey, Sessions};
use crate::metrics::Metrics;
use crate::registry::ToolStore;
use crate::tools::{ToolSettings, Tools};

pub use doctor::{Finding, Verdict, examine};
pub use engine_choice::Surroundings;
pub use import::import_records;
pub use over_stdio::StdioApp;
pub use start_error::StartError;
pub use store::{database_options, open_store};

use audit_log::{RegistryWatch, open_audit, record_engine};
use engine_choice::start_engine;
use late_engine::LateEngine;
use owners::Instance;
use store::Opened;
use upkeep::{Upkeep, check_all};

/// How long one look at readiness may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// What is left after the grace: for the answers of cancelled runs, and for all containers to go.
/// With the default grace that makes 28 s, within the 30 s that Compose and Kubernetes give.
const LAST_ANSWERS: Duration = Duration::from_secs(3);
const LAST_REMOVALS: Duration = Duration::from_secs(8);

/// What both transports stand on.
struct Core {
    config: Config,
    audit: Audit,
    mcp: mcp::Server,
    tools: Arc<Tools>,
    engine: Arc<dyn Engine>,
    engine_reason: Option<String>,
    authority: Authority,
    metrics: Arc<Metrics>,
    guard: Arc<Guard>,
    place: String,
    store: Arc<dyn ToolStore>,
    owners: Arc<dyn Instance>,
}

impl Core {
    fn build(config: Config, surroundings: Surroundings) -> Result<Self, StartError> {
        sys::raise_open_file_limit();
        sys::prefer_throughput();
        let opened = store::open(&config.store)?;
        let owners = Arc::clone(&opened.instance);
        Self::build_on(config, surroundings, opened).inspect_err(|_| owners.retire())
    }

    fn build_on(
        config: Config,
        surroundings: Surroundings,
        opened: Opened,
    ) -> Result<Self, StartError> {
        if config.transport == Transport::Http {
            opened.instance.register()?;
        }
        let metrics = Arc::new(Metrics::default());
        let audit = open_audit(&config, || opened.instance.own_id().to_owned(), &metrics)?;
        Self::build_audited(config, surroundings, opened, metrics, audit.clone())
            .inspect_err(|_| audit.stop())
    }

    fn build_audited(
        config: Config,
        surroundings: Surroundings,
        opened: Opened,
        metrics: Arc<Metrics>,
        audit: Audit,
    ) -> Result<Self, StartError> {
        let (registry, owners) = (opened.registry, opened.instance);
        let as_owners = Arc::clone(&owners) as Arc<dyn Owners>;
        let (sessions, key, engine, engine_reason) = match config.transport {
            Transport::Http => {
                let key = SessionKey::new(registry.session_key()?);
                let sessions = Sessions::new(
                    key.clone(),
                    config.http.session_ttl,
                    registry.ended_sessions(),
                );
                let (engine, reason) = start_engine(&config, surroundings, as_owners, &registry)?;
                record_engine(&audit, &*engine)?;
                (Some(sessions), key, engine, reason)
            }
            Transport::Stdio => {
                let (registry, audit) = (registry.clone(), audit.clone());
                let late =
                    LateEngine::new(config.clone(), surroundings, as_owners, audit, registry);
                // Nobody but this process's one client brings back what it signs.
                let key = SessionKey::new(random_bytes());
                (None, key, Arc::new(late) as Arc<dyn Engine>, None)
            }
        };
        let store = registry.store();
        let guard = Arc::new(Guard::new(guard_limits(&config.guard, config.http.workers)));
        let authority = Authority::open(&config.auth, reach(&config)).map_err(StartError::Keys)?;
        let tools = Arc::new(Tools::new(
            Arc::clone(&store),
            Arc::clone(&engine),
            Arc::clone(&guard),
            authority.clone(),
            Arc::clone(&metrics),
            audit.clone(),
            tool_settings(&config),
        ));
        Ok(Self {
            config,
            audit,
            mcp: mcp::Server::new(Arc::clone(&tools), sessions, key),
            tools,
            engine,
            engine_reason,
            authority,
            metrics,
            guard,
            place: opened.place,
            store,
            owners,
        })
    }
}

/// A running server.
pub struct App {
    config: Config,
    audit: Audit,
    tools: Arc<Tools>,
    engine: Arc<dyn Engine>,
    engine_reason: Option<String>,
    authority: Authority,
    readiness: Arc<Readiness>,
    place: String,
    store: Arc<dyn ToolStore>,
    http: HttpServer,
    upkeep: Upkeep,
    owners: Arc<dyn Instance>,
}

impl fmt::Debug for App {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("App")
            .field("http", &self.http)
            .finish_non_exhaustive()
    }
}

impl App {
    /// Starts everything.
    ///
    /// # Errors
    /// [`StartError`]; what was started until then is ended again.
    pub fn start(config: Config, surroundings: Surroundings) -> Result<Self, StartError> {
        // First what fails most often, so that nothing else was begun.
        let listeners = listen(&config.http).map_err(StartError::Http)?;
        let core = Core::build(config, surroundings)?;
        let readiness = Arc::new(Readiness::default());
        let checks = check_all(&*core.engine, &*core.store, &core.authority, &core.audit);
        readiness.publish(checks);
        let services = Services {
            mcp: core.mcp,
            authority: core.authority.clone(),
            audit: core.audit.clone(),
            metrics: Arc::clone(&core.metrics),
            guard: core.guard,
            engine: Arc::clone(&core.engine),
            store: Arc::clone(&core.store),
            readiness: Arc::clone(&readiness),
        };
        let watch = RegistryWatch::new(core.audit.clone(), Arc::clone(&core.store));
        let upkeep = Upkeep::start(
            &core.engine,
            &core.authority,
            &readiness,
            &core.metrics,
            watch,
        )?;
        let http = HttpServer::start(&core.config.http, listeners, services).map_err(|error| {
            if core.engine.stop(Deadline::after(LAST_REMOVALS)) == 0 {
                core.owners.retire();
            }
            core.audit.stop();
            StartError::Http(error)
        })?;
        Ok(Self {
            config: core.config,
            audit: core.audit,
            tools: core.tools,
            engine: core.engine,
            engine_reason: core.engine_reason,
            authority: core.authority,
            readiness,
            place: core.place,
            store: core.store,
            http,
            upkeep,
            owners: core.owners,
        })
    }

    /// What a person wants to know after the start.
    pub fn banner(&self) -> String {
        let address = self.http.address().unwrap_or(self.config.http.bind);
        let url = format!("http://{address}{}", self.config.http.path);
        let deadline = Deadline::after(CHECK_TIMEOUT);
        let engine = self.engine.probe(deadline);
        let image = self.engine.probe_image(deadline);
        let tools = counted(self.store.snapshot().tools().len(), "tool");
        let reason = self.engine_reason.as_ref().map(|why| format!(" ({why})"));
        let state = if engine.ready { "" } else { "NOT READY: " };
        let ops = self
            .http
            .ops_address()
            .map(|ops| format!(" ops       http://{ops}: /livez, /readyz, /metrics\n"));
        let token = match self.config.auth.mode {
            AuthMode::None => "",
            AuthMode::Jwt(_) => " -H \"Authorization: Bearer $TOKEN\"",
        };
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"run_js_ephemeral","arguments":{"code":"return 6 * 7"}}}"#;
        format!(
            "dynamic-mcp {} listens on {url}\n\
             \x20 engine    {}: {state}{}{}\n\
             \x20 image     {}\n\
             \x20 registry  {} ({tools})\n\
             \x20 access    {}\n\
             {}\
             \x20 try       curl -s {url} -H 'Content-Type: application/json'{token} -d '{body}'\n",
            env!("CARGO_PKG_VERSION"),
            self.engine.name(),
            engine.detail,
            reason.unwrap_or_default(),
            image.detail,
            self.place,
            self.authority.summary(),
            ops.unwrap_or_default(),
        )
    }

    /// Where the server listens.
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        self.http.address()
    }

    /// Whether the server still serves.
    pub fn is_running(&self) -> bool {
        self.http.is_running()
    }

    /// What an end has to wait for, in words.
    pub fn under_way(&self) -> String {
        let calls = counted(self.tools.unfinished_runs(), "call");
        let grace = self.config.shutdown_grace.as_secs();
        format!("{calls} under way, for which there are {grace} s")
    }

    /// Takes no new runs, lets running ones end within the grace, then kills them; leaves nothing,
    /// or says what.
    pub fn stop(self) -> Ended {
        let began = Instant::now();
        self.readiness.drain();
        self.tools.drain();
        let grace = Deadline::after(self.config.shutdown_grace);
        let end = Deadline::after(self.config.shutdown_grace + LAST_REMOVALS);
        while self.tools.unfinished_runs() > 0 && grace.remaining().is_some() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let cancelled = self.tools.unfinished_runs();
        self.tools.cancel_runs();
        self.upkeep.stop();
        self.http.stop(LAST_ANSWERS);
        let left = self.engine.stop(end);
        if left == 0 {
            self.owners.retire();
        }
        self.audit.stop();
        Ended {
            took: began.elapsed(),
            cancelled,
            left,
        }
    }
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    took: Duration,
    /// Calls that the grace was too short for.
    cancelled: usize,
    /// Containers that are still there.
    left: usize,
}

impl fmt::Display for Ended {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, cancelled) = (self.took.as_secs_f64(), counted(self.cancelled, "call"));
        write!(
            formatter,
            "ended after {seconds:.1} s, {cancelled} cancelled"
        )?;
        match self.left {
            0 => Ok(()),
            left => write!(formatter, ", {} left", counted(left, "container")),
        }
    }
}

fn reach(config: &Config) -> Reach {
    match config.transport {
        Transport::Stdio => Reach::Pipe,
        Transport::Http if is_loopback(config.http.bind.ip()) => Reach::Loopback,
        Transport::Http => Reach::Public,
    }
}

fn guard_limits(config: &GuardConfig, workers: usize) -> GuardLimits {
    GuardLimits {
        max_concurrency: config.max_concurrency,
        max_concurrency_per_principal: config.max_concurrency_per_principal,
        max_waiting: workers.saturating_sub(SPARE_WORKERS + config.max_concurrency),
        max_calls_per_window: config.max_calls_per_window as u64,
        window: config.window,
    }
}

/// Workers that neither run nor wait, so that lists, stops and probes always find one.
const SPARE_WORKERS: usize = 8;

fn tool_settings(config: &Config) -> ToolSettings {
    ToolSettings {
        name_style: config.catalog.name_style,
        profile: config.profile,
        groups: config.catalog.builtin_groups.clone(),
        max_timeout_ms: u64::try_from(config.engine.max_timeout.as_millis()).unwrap_or(u64::MAX),
        max_dependencies: config.engine.max_dependencies,
        queue: config.guard.queue,
        shown: config.rows.clone(),
    }
}
