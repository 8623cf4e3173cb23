//! Values → [`Config`]: the whole, and the consumers too small for a file of their own.

use std::path::PathBuf;
use std::time::Duration;

use super::auth::AuthConfig;
use super::builtins::{BuiltinGroup, Profile};
use super::derived::{self, NO_DATA_FOLDER, SPARE_WORKERS};
use super::engine::EngineConfig;
use super::http::HttpConfig;
use super::store::StoreConfig;
use super::values::{Effective, Values};

/// All settings, typed, by consumer.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which built-ins and defaults.
    pub profile: Profile,
    /// How clients connect.
    pub transport: Transport,
    /// How long running calls may go on after SIGTERM.
    pub shutdown_grace: Duration,
    /// The server's own log.
    pub log: LogConfig,
    /// What is listed, and how it is spelled.
    pub catalog: CatalogConfig,
    /// The HTTP listener; unused on stdio.
    pub http: HttpConfig,
    /// Where tools are kept.
    pub store: StoreConfig,
    /// How code is confined.
    pub engine: EngineConfig,
    /// How much may run.
    pub guard: GuardConfig,
    /// Who may call.
    pub auth: AuthConfig,
    /// The audit log; none where `None`.
    pub audit: Option<AuditConfig>,
    /// How many upstream MCP servers may be attached; the part is off where `None`.
    pub upstream_max: Option<usize>,
    /// The same as people are shown it: row by row, in the table's order.
    pub rows: Vec<Effective>,
}

/// How clients connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Streamable HTTP.
    Http,
    /// Standard input and output.
    Stdio,
}

/// The server's own log, on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Least severe messages that are written.
    pub level: log::LevelFilter,
    /// Form of a line.
    pub format: LogFormat,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is listed, and how it is spelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogConfig {
    /// How names are listed.
    pub name_style: NameStyle,
    /// Groups of built-ins that are listed, without repetition.
    pub builtin_groups: Vec<BuiltinGroup>,
}

/// How tool names are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameStyle {
    /// `dynamic.tool.create`
    Dotted,
    /// `dynamic_tool_create`
    Underscore,
}

/// How much may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardConfig {
    /// Runs at a time.
    pub max_concurrency: usize,
    /// Runs at a time of one principal.
    pub max_concurrency_per_principal: usize,
    /// How long a call may wait for a slot and a container.
    pub queue: Duration,
    /// Calls of one scope in a window.
    pub max_calls_per_window: usize,
    /// Length of that window.
    pub window: Duration,
}

/// The audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditConfig {
    /// The newest file.
    pub file: PathBuf,
    /// Longest line.
    pub max_event_bytes: usize,
    /// Size at which a new file starts.
    pub max_file_bytes: u64,
    /// Old files kept.
    pub max_files: usize,
    /// What becomes of an act that cannot be audited.
    pub on_failure: AuditFailure,
    /// What an act waits for.
    pub sync: AuditSync,
}

/// What becomes of an act that cannot be audited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditFailure {
    /// It is refused.
    Refuse,
    /// It goes on.
    GoOn,
}

/// What an act waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditSync {
    /// The write; fsync follows within 50 ms.
    Group,
    /// fsync.
    Each,
}

impl Config {
    /// Everything, with every rule between settings checked on the way.
    pub(super) fn read(values: &mut Values) -> Self {
        let http = HttpConfig::read(values);
        let store = StoreConfig::read(values);
        let engine = EngineConfig::read(values);
        let auth = AuthConfig::read(values);
        Self {
            profile: Profile::read(values),
            transport: match values.chosen("MCP_TRANSPORT", "stdio") {
                true => Transport::Stdio,
                false => Transport::Http,
            },
            shutdown_grace: values.seconds("MCP_SHUTDOWN_GRACE_SECONDS"),
            log: read_log(values),
            catalog: read_catalog(values),
            guard: read_guard(values),
            audit: read_audit(values),
            upstream_max: read_upstream(values),
            rows: Vec::new(),
            http,
            store,
            engine,
            auth,
        }
    }

    /// Whether every caller is on this machine: the spawning user on stdio, a loopback address on
    /// HTTP.
    pub fn is_local_only(&self) -> bool {
        self.transport == Transport::Stdio || self.http.is_loopback()
    }
}

fn read_log(values: &Values) -> LogConfig {
    let level = values
        .text("MCP_LOG_LEVEL")
        .and_then(|name| name.parse().ok());
    LogConfig {
        level: level.unwrap_or(log::LevelFilter::Info),
        format: match values.chosen("MCP_LOG_FORMAT", "json") {
            true => LogFormat::Json,
            false => LogFormat::Text,
        },
    }
}

fn read_catalog(values: &mut Values) -> CatalogConfig {
    let profile = Profile::read(values);
    let named: Vec<String> = values.list("MCP_BUILTIN_GROUPS").to_vec();
    let named = |group: &BuiltinGroup| named.iter().any(|name| name == group.as_str());
    let groups: Vec<_> = BuiltinGroup::ALL.into_iter().filter(named).collect();
    let beyond: Vec<_> = groups
        .iter()
        .filter(|group| !profile.has_group(**group))
        .map(|group| group.as_str())
        .collect();
    let rule = format!("only MCP_PROFILE=enterprise has {}", beyond.join(" and "));
    let keys = ["MCP_BUILTIN_GROUPS", "MCP_PROFILE"];
    values.conflict(&keys, !beyond.is_empty(), &rule);
    CatalogConfig {
        name_style: match values.chosen("MCP_TOOL_NAME_STYLE", "underscore") {
            true => NameStyle::Underscore,
            false => NameStyle::Dotted,
        },
        builtin_groups: groups,
    }
}

fn read_guard(values: &mut Values) -> GuardConfig {
    let limit = derived::concurrency_limit(values);
    let above = values.integer("MCP_TOOL_MAX_CONCURRENCY") > limit;
    let rule = format!(
        "is more than MCP_HTTP_WORKERS − {SPARE_WORKERS}: lower it to {limit}, or raise the workers"
    );
    values.conflict(
        &["MCP_TOOL_MAX_CONCURRENCY", "MCP_HTTP_WORKERS"],
        above,
        &rule,
    );
    GuardConfig {
        max_concurrency: values.count("MCP_TOOL_MAX_CONCURRENCY"),
        max_concurrency_per_principal: values.count("MCP_TOOL_MAX_CONCURRENCY_PER_PRINCIPAL"),
        queue: values.millis("MCP_TOOL_QUEUE_MS"),
        max_calls_per_window: values.count("MCP_TOOL_MAX_CALLS_PER_WINDOW"),
        window: values.millis("MCP_TOOL_RATE_WINDOW_MS"),
    }
}

fn read_audit(values: &mut Values) -> Option<AuditConfig> {
    if !values.bool("MCP_AUDIT_ENABLED") {
        return None;
    }
    values.require("MCP_AUDIT_FILE", "MCP_TRANSPORT", NO_DATA_FOLDER);
    Some(AuditConfig {
        file: values.path("MCP_AUDIT_FILE").unwrap_or_default(),
        max_event_bytes: values.count("MCP_AUDIT_MAX_EVENT_BYTES"),
        max_file_bytes: values.integer("MCP_AUDIT_MAX_FILE_BYTES"),
        max_files: values.count("MCP_AUDIT_MAX_FILES"),
        on_failure: match values.bool("MCP_AUDIT_FAIL_CLOSED") {
            true => AuditFailure::Refuse,
            false => AuditFailure::GoOn,
        },
        sync: match values.chosen("MCP_AUDIT_SYNC", "each") {
            true => AuditSync::Each,
            false => AuditSync::Group,
        },
    })
}

/// Attaching a server extends what every tool can reach: for the profile with authority only.
fn read_upstream(values: &mut Values) -> Option<usize> {
    const SWITCH: &str = "MCP_EXPERIMENTAL_UPSTREAM_MCP_ATTACH";
    if !values.bool(SWITCH) {
        return None;
    }
    let mvp = values.chosen("MCP_PROFILE", "mvp");
    values.conflict(
        &[SWITCH, "MCP_PROFILE"],
        mvp,
        "needs MCP_PROFILE=enterprise",
    );
    values.require(
        "MCP_ADMIN_TOKEN",
        SWITCH,
        "with MCP_EXPERIMENTAL_UPSTREAM_MCP_ATTACH=true",
    );
    Some(values.count("MCP_EXPERIMENTAL_UPSTREAM_MCP_ATTACH_MAX"))
}
