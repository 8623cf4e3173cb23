//! The only wiring: builds every service from the settings, in order, and ends them in order.

mod engine_choice;
mod layer_key;
mod owners;
mod upkeep;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::Authority;
use crate::base::deadline::Deadline;
use crate::base::sys;
use crate::config::{Access, Backend, Config, GuardConfig, StoreConfig};
use crate::engine::jail::JailRefusal;
use crate::engine::{Engine, Owners};
use crate::guard::{Guard, GuardLimits};
use crate::http::{HttpError, HttpServer, Readiness, Services};
use crate::mcp;
use crate::metrics::Metrics;
use crate::registry::file::{FileStore, FileStoreOptions};
use crate::registry::{StoreError, ToolStore};
use crate::tools::{ToolSettings, Tools};

pub use engine_choice::Surroundings;

use engine_choice::start_engine;
use owners::FileOwners;
use upkeep::{Upkeep, check_all};

/// How long one look at readiness may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// What is left for the answers of cancelled runs, and for their containers to go.
const LAST_ANSWERS: Duration = Duration::from_secs(3);
const LAST_REMOVALS: Duration = Duration::from_secs(20);

/// Why the server does not start.
#[derive(Debug)]
pub enum StartError {
    /// The registry cannot be opened.
    Registry(StoreError),
    /// This instance cannot be made known.
    Instance(std::io::Error),
    /// The key that names installed packages cannot be read or made.
    LayerKey(std::io::Error),
    /// The operating system refused something basic.
    System(std::io::Error),
    /// The server cannot listen.
    Http(HttpError),
    /// The node engine was asked for, and its jail cannot be.
    Jail(JailRefusal),
    /// A setting that this build cannot serve.
    NotAvailable(&'static str),
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(error) => write!(formatter, "{error}"),
            Self::Instance(error) => {
                write!(
                    formatter,
                    "this instance cannot be recorded beside the registry: {error}"
                )
            }
            Self::LayerKey(error) => {
                write!(formatter, "layers.key beside the registry: {error}")
            }
            Self::System(error) => write!(formatter, "the system refuses: {error}"),
            Self::Http(error) => write!(formatter, "{error}"),
            Self::Jail(refusal) => write!(formatter, "the node engine cannot run: {refusal}"),
            Self::NotAvailable(what) => write!(formatter, "{what} is not available yet"),
        }
    }
}

impl std::error::Error for StartError {}

/// A running server.
pub struct App {
    config: Config,
    tools: Arc<Tools>,
    engine: Arc<dyn Engine>,
    engine_reason: Option<String>,
    readiness: Arc<Readiness>,
    store_path: PathBuf,
    store: Arc<dyn ToolStore>,
    http: HttpServer,
    upkeep: Upkeep,
    owners: Arc<FileOwners>,
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
        sys::raise_open_file_limit();
        let (store, store_path) = open_store(&config.store)?;
        let owners = Arc::new(FileOwners::register(&store)?);
        let store: Arc<dyn ToolStore> = Arc::new(store);
        let metrics = Arc::new(Metrics::default());
        let guard = Arc::new(Guard::new(guard_limits(&config.guard, config.http.workers)));
        let (engine, engine_reason) = start_engine(
            &config,
            surroundings,
            Arc::clone(&owners) as Arc<dyn Owners>,
        )?;
        let authority = Authority::new(config.auth.admin_token.clone());
        let tools = Arc::new(Tools::new(
            Arc::clone(&store),
            Arc::clone(&engine),
            Arc::clone(&guard),
            authority.clone(),
            Arc::clone(&metrics),
            tool_settings(&config),
        ));
        let readiness = Arc::new(Readiness::default());
        readiness.publish(check_all(&*engine, &*store));
        let services = Services {
            mcp: mcp::Server::new(Arc::clone(&tools)),
            authority,
            metrics: Arc::clone(&metrics),
            guard,
            engine: Arc::clone(&engine),
            store: Arc::clone(&store),
            readiness: Arc::clone(&readiness),
        };
        let upkeep = Upkeep::start(&engine, &store, &readiness, &metrics)?;
        let http = HttpServer::start(&config.http, services).map_err(StartError::Http)?;
        Ok(Self {
            config,
            tools,
            engine,
            engine_reason,
            readiness,
            store_path,
            store,
            http,
            upkeep,
            owners,
        })
    }

    /// What a person wants to know after the start.
    pub fn banner(&self) -> String {
        let address = self.http.address().unwrap_or(self.config.http.bind);
        let url = format!("http://{address}{}", self.config.http.path);
        let deadline = Deadline::after(CHECK_TIMEOUT);
        let engine = self.engine.probe(deadline);
        let image = self.engine.probe_image(deadline);
        let tools = self.store.snapshot().tools().len();
        let access = if self.config.auth.admin_token.is_some() {
            "no authentication; admin acts need the admin token"
        } else {
            "no authentication: every caller on this machine is admin"
        };
        let reason = self.engine_reason.as_ref().map(|why| format!(" ({why})"));
        let state = if engine.ready { "" } else { "NOT READY: " };
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"run_js_ephemeral","arguments":{"code":"return 6 * 7"}}}"#;
        format!(
            "dynamic-mcp {} listens on {url}\n\
             \x20 engine    {}: {state}{}{}\n\
             \x20 image     {}\n\
             \x20 registry  {} ({tools} tools)\n\
             \x20 access    {access}\n\
             \x20 try       curl -s {url} -H 'Content-Type: application/json' -d '{body}'\n",
            env!("CARGO_PKG_VERSION"),
            self.engine.name(),
            engine.detail,
            reason.unwrap_or_default(),
            image.detail,
            self.store_path.display(),
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

    /// Takes no new runs, lets running ones end within the grace, then kills them; leaves nothing.
    pub fn stop(self) {
        self.readiness.drain();
        self.tools.drain();
        let grace = Deadline::after(self.config.shutdown_grace);
        while self.tools.active_runs() > 0 && grace.remaining().is_some() {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.tools.cancel_runs();
        self.upkeep.stop();
        self.http.stop(LAST_ANSWERS);
        if self.engine.stop(Deadline::after(LAST_REMOVALS)) == 0 {
            self.owners.retire();
        }
    }
}

fn open_store(config: &StoreConfig) -> Result<(FileStore, PathBuf), StartError> {
    let Backend::File(path) = &config.backend else {
        return Err(StartError::NotAvailable("MCP_DYNAMIC_BACKEND=postgres"));
    };
    let options = FileStoreOptions {
        path: path.clone(),
        max_tools: config.max_tools,
        read_only: config.access == Access::ReadOnly,
    };
    let store = FileStore::open(options).map_err(StartError::Registry)?;
    Ok((
        store,
        std::path::absolute(path).unwrap_or_else(|_| path.clone()),
    ))
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
        groups: config.catalog.builtin_groups.clone(),
        max_timeout_ms: u64::try_from(config.engine.max_timeout.as_millis()).unwrap_or(u64::MAX),
        max_dependencies: config.engine.max_dependencies,
        queue: config.guard.queue,
    }
}
