//! What the `doctor` command finds out: whether everything is there that a server with these
//! settings needs, by the very code that a server starts with and watches itself by. Nothing is
//! changed, and nothing stays behind.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::engine_choice::{Surroundings, check_runtime, start_jail};
use super::store::database_options;
use super::{CHECK_TIMEOUT, LAST_REMOVALS, open_store, reach};
use crate::auth::{Authority, Reach};
use crate::base::deadline::Deadline;
use crate::base::owner::is_foreign;
use crate::base::sys;
use crate::base::text::counted;
use crate::config::{
    Access, AuditConfig, Backend, Config, EngineChoice, EngineConfig, Loaded, NodeJail, PgTls,
    Profile, PullPolicy, Transport,
};
use crate::docker::{Daemon, DaemonHost};
use crate::engine::Engine as _;
use crate::registry::postgres::examine as examine_database;

/// How it stands with one thing that a server needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as it should be.
    Ok,
    /// A server runs, and somebody should look at it.
    Warning,
    /// A server does not start, or is not ready.
    Fails,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What: one word.
    pub area: &'static str,
    /// How it stands.
    pub verdict: Verdict,
    /// One line, with the mend where one is needed; no secret.
    pub detail: String,
}

impl Finding {
    /// A finding of any kind.
    pub fn new(area: &'static str, verdict: Verdict, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            area,
            verdict,
            detail,
        }
    }
}

/// How long the issuer's keys may take: a look has 5 s.
const KEYS_TIMEOUT: Duration = Duration::from_secs(6);
/// Clocks further apart than this make tokens wrong; half of the leeway that tokens have.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(30);
/// Less room than this on a disk is worth a look.
const LITTLE_ROOM: u64 = 256 << 20;
/// Descriptors beside those of clients: workers' sockets, daemon, database, files.
const OWN_FILES: usize = 128;

use Verdict::{Fails, Ok as Fine, Warning};

/// Looks at everything but the listeners.
pub fn examine(loaded: &Loaded, surroundings: &Surroundings) -> Vec<Finding> {
    let config = &loaded.config;
    let mut found = Vec::new();
    examine_settings(loaded, &mut found);
    examine_engine(config, surroundings, &mut found);
    examine_registry(config, &mut found);
    examine_access(config, &mut found);
    examine_audit(config, &mut found);
    if config.transport == Transport::Http {
        let runtime = &config.http.runtime_dir;
        found.push(folder("runtime", runtime, "MCP_RUNTIME_DIR", 0));
        found.push(open_files(config));
    }
    found
}

fn examine_settings(loaded: &Loaded, found: &mut Vec<Finding>) {
    let warnings = loaded.warnings.iter();
    found.extend(warnings.map(|warning| Finding::new("settings", Warning, warning.to_string())));
    if loaded.warnings.is_empty() {
        let settings = counted(loaded.config.rows.len(), "setting");
        found.push(Finding::new("settings", Fine, format!("{settings} read")));
    }
}

fn examine_engine(config: &Config, surroundings: &Surroundings, found: &mut Vec<Finding>) {
    let engine = &config.engine;
    if engine.choice == EngineChoice::Node {
        return found.push(examine_jail(engine, surroundings));
    }
    let daemon = Daemon::new(engine.daemon.clone(), surroundings.home.clone());
    match daemon.info(Deadline::after(CHECK_TIMEOUT)) {
        Ok(info) => {
            let name = if info.is_podman { "podman" } else { "docker" };
            let detail = format!("{name} {}, API {}", info.version, info.api_version);
            found.push(Finding::new("engine", Fine, detail));
            examine_daemon(config, &daemon, found);
        }
        Err(error) => {
            let may_jail = engine.choice == EngineChoice::Auto
                && config.profile == Profile::Mvp
                && engine.runtime.is_none();
            let verdict = if may_jail { Warning } else { Fails };
            found.push(Finding::new("engine", verdict, error.to_string()));
            if may_jail {
                found.push(examine_jail(engine, surroundings));
            }
        }
    }
}

fn examine_jail(engine: &EngineConfig, surroundings: &Surroundings) -> Finding {
    let search_path = surroundings.search_path.clone().unwrap_or_default();
    let alone = EngineConfig {
        warm_pool: 0,
        ..engine.clone()
    };
    match start_jail(&alone, &search_path) {
        Ok(jail) => {
            let probe = jail.probe(Deadline::after(CHECK_TIMEOUT));
            jail.stop(Deadline::after(LAST_REMOVALS));
            let verdict = match (probe.ready, engine.node_jail) {
                (false, _) => Fails,
                (true, NodeJail::Waived) => Warning,
                (true, NodeJail::Required) => Fine,
            };
            Finding::new("jail", verdict, probe.detail)
        }
        Err(refusal) => Finding::new("jail", Fails, refusal.to_string()),
    }
}

fn examine_daemon(config: &Config, daemon: &Daemon, found: &mut Vec<Finding>) {
    let engine = &config.engine;
    match daemon.host(Deadline::after(CHECK_TIMEOUT)) {
        Ok(host) => examine_host(config, &host, found),
        Err(error) => found.push(Finding::new("limits", Fails, error.to_string())),
    }
    if let Some(runtime) = &engine.runtime {
        found.push(match check_runtime(daemon, runtime) {
            Ok(()) => Finding::new("runtime", Fine, format!("{runtime} is there")),
            Err(error) => Finding::new("runtime", Fails, error.to_string()),
        });
    }
    for (index, image) in engine.allowed_images.iter().enumerate() {
        let name = image.as_str();
        found.push(match daemon.image(image, Deadline::after(CHECK_TIMEOUT)) {
            Ok(Some(_)) => Finding::new("image", Fine, format!("{name} is there")),
            Ok(None) => {
                let (verdict, mend) = match (engine.pull_policy, index) {
                    (PullPolicy::Missing, _) => (Warning, "it is pulled when it is needed"),
                    (PullPolicy::Never, 0) => (Fails, "load it: docker load or docker pull"),
                    (PullPolicy::Never, _) => (Warning, "load it: docker load or docker pull"),
                };
                Finding::new("image", verdict, format!("{name} is missing: {mend}"))
            }
            Err(error) => Finding::new("image", Fails, format!("{name}: {error}")),
        });
    }
}

fn examine_host(config: &Config, host: &DaemonHost, found: &mut Vec<Finding>) {
    found.push(match host.ignored_limits.as_slice() {
        [] => Finding::new(
            "limits",
            Fine,
            "the daemon holds containers to their limits",
        ),
        ["swap"] => {
            let detail = "swap is not limited, so containers may use more than their memory: \
                          switch swap off, or swap accounting on";
            Finding::new("limits", Warning, detail)
        }
        ignored => {
            let detail = format!(
                "the daemon ignores limits of {}, so one tool can take the whole machine: give it \
                 those cgroup controllers (a rootless daemon needs cgroup v2 and delegation)",
                ignored.join(", ")
            );
            Finding::new("limits", Fails, detail)
        }
    });
    if !host.has_seccomp {
        let detail = "containers have no filter of system calls: give the daemon's kernel seccomp";
        found.push(Finding::new("seccomp", Warning, detail));
    }
    let runs = (config.guard.max_concurrency + config.engine.warm_pool) as u64;
    let needed = runs.saturating_mul(config.engine.memory_bytes);
    if let Some(memory) = host.memory_bytes {
        let (gib, all) = (needed >> 20, memory >> 20);
        found.push(match needed > memory {
            true => Finding::new(
                "memory",
                Warning,
                format!(
                    "all runs at once may take {gib} MiB of the daemon's {all} MiB: lower \
                     MCP_TOOL_MAX_CONCURRENCY or MCP_SANDBOX_MEMORY_LIMIT"
                ),
            ),
            false => {
                let detail = format!("{all} MiB, of which runs take {gib} MiB at most");
                Finding::new("memory", Fine, detail)
            }
        });
    }
    if let Some(theirs) = host.time {
        found.push(clock(SystemTime::now(), theirs));
    }
}

fn clock(ours: SystemTime, theirs: SystemTime) -> Finding {
    let apart = ours
        .duration_since(theirs)
        .unwrap_or_else(|error| error.duration());
    match apart > CLOCK_TOLERANCE {
        true => {
            let seconds = apart.as_secs();
            let detail = format!(
                "this machine's and the daemon's are {seconds} s apart: set both by NTP, as \
                 tokens have 60 s of leeway"
            );
            Finding::new("clock", Warning, detail)
        }
        false => Finding::new("clock", Fine, "as the daemon's"),
    }
}

fn examine_registry(config: &Config, found: &mut Vec<Finding>) {
    let mut store = config.store.clone();
    match &config.store.backend {
        Backend::File(path) => {
            // Looking changes nothing.
            store.access = Access::ReadOnly;
            found.push(match open_store(&store) {
                Ok(opened) => {
                    let tools = counted(opened.snapshot().tools().len(), "tool");
                    Finding::new("registry", Fine, format!("{}: {tools}", path.display()))
                }
                Err(error) => Finding::new("registry", Fails, error.to_string()),
            });
            let parent = path.parent().unwrap_or(Path::new("."));
            found.push(folder("registry", parent, "MCP_DYNAMIC_STORE", LITTLE_ROOM));
            found.extend(file("registry", path, 0o022));
        }
        Backend::Postgres(database) => {
            let options = database_options(&store, database);
            found.push(match examine_database(&options) {
                Ok(()) => {
                    let detail = format!("PostgreSQL, schema {}", database.schema);
                    Finding::new("registry", Fine, detail)
                }
                Err(error) => Finding::new("registry", Fails, error.to_string()),
            });
            let (verdict, detail) = match database.target.tls {
                PgTls::VerifyFull => (Fine, "the database's certificate and name are checked"),
                PgTls::VerifyCa => (Fine, "the database's certificate is checked"),
                PgTls::Require => (
                    Warning,
                    "nobody checks whose certificate the database shows: use sslmode=verify-full",
                ),
                PgTls::Disable => (
                    Warning,
                    "what goes to the database is not encrypted: use sslmode=verify-full",
                ),
            };
            found.push(Finding::new("tls", verdict, detail));
        }
    }
}

fn examine_access(config: &Config, found: &mut Vec<Finding>) {
    let authority = match Authority::open(&config.auth, reach(config)) {
        Ok(authority) => authority,
        Err(error) => return found.push(Finding::new("keys", Fails, error.to_string())),
    };
    let open = reach(config) == Reach::Public && !authority.needs_tokens();
    let verdict = if open { Warning } else { Fine };
    found.push(Finding::new("access", verdict, authority.summary()));
    let began = Instant::now();
    // One look by the thread that a server has for it.
    while let Some(keys) = authority.keys_health() {
        let (fit, failed) = (keys.is_fit(), keys.failures > 0);
        if fit || failed || began.elapsed() > KEYS_TIMEOUT {
            let issuer = authority.issuer().unwrap_or_default();
            let (verdict, detail) = match fit {
                true => (Fine, format!("{} of {issuer}", counted(keys.keys, "key"))),
                false => (Fails, format!("{keys}: see MCP_AUTH_JWKS_URL")),
            };
            return found.push(Finding::new("keys", verdict, detail));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn examine_audit(config: &Config, found: &mut Vec<Finding>) {
    let Some(AuditConfig {
        file: log,
        max_file_bytes,
        max_files,
        ..
    }) = &config.audit
    else {
        let verdict = match config.profile {
            Profile::Enterprise => Warning,
            Profile::Mvp => Fine,
        };
        return found.push(Finding::new("audit", verdict, "off: MCP_AUDIT_ENABLED"));
    };
    let parent = log.parent().unwrap_or(Path::new("."));
    let files = u64::try_from(*max_files).unwrap_or(u64::MAX);
    let room = max_file_bytes.saturating_mul(files.saturating_add(1));
    found.push(folder("audit", parent, "MCP_AUDIT_FILE", room));
    found.extend(file("audit", log, 0o077));
}

/// A folder that files of ours go to; what is missing of it a server makes.
fn folder(area: &'static str, path: &Path, setting: &str, room: u64) -> Finding {
    // A bare file name has an empty parent.
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = path.ancestors().find(|folder| folder.exists());
    let there = there.map_or_else(|| PathBuf::from("/"), Path::to_owned);
    let shown = path.display();
    if !there.is_dir() {
        let detail = format!("{} is no folder: see {setting}", there.display());
        return Finding::new(area, Fails, detail);
    }
    if let Err(error) = sys::may_write(&there) {
        let detail = format!(
            "{} cannot be written: {error}; give it to the user who runs this, or change {setting}",
            there.display()
        );
        return Finding::new(area, Fails, detail);
    }
    match sys::disk_space(&there) {
        Ok(space) if space.free_bytes < room => {
            let (left, room) = (space.free_bytes >> 20, room >> 20);
            let detail = format!("{shown} has {left} MiB left, {room} MiB may be needed");
            Finding::new(area, Warning, detail)
        }
        Ok(_) | Err(_) => Finding::new(area, Fine, format!("{shown} can be written")),
    }
}

/// What is wrong with who may read or write a file of ours, if it is there; `forbidden` are the
/// bits of its mode that nobody should have.
fn file(area: &'static str, path: &Path, forbidden: u32) -> Option<Finding> {
    let metadata: Metadata = fs::metadata(path).ok()?;
    let shown = path.display();
    if let Err(error) = sys::may_write(path) {
        let detail = format!("{shown} cannot be written: {error}");
        return Some(Finding::new(area, Fails, detail));
    }
    let mode = metadata.mode() & 0o777;
    let detail = if is_foreign(&metadata) {
        format!("{shown} belongs to another user: chown it")
    } else if mode & forbidden != 0 {
        let wanted = mode & !forbidden;
        format!("{shown} has mode {mode:04o}, which lets others in: chmod {wanted:04o}")
    } else {
        return None;
    };
    Some(Finding::new(area, Warning, detail))
}

fn open_files(config: &Config) -> Finding {
    let limit = sys::raise_open_file_limit();
    // A worker has a socket to the gate at either end.
    let needed = config.http.max_connections + 4 * config.http.workers + OWN_FILES;
    match (needed as u64) > limit {
        true => Finding::new(
            "files",
            Warning,
            format!(
                "{limit} may be open, {needed} may be needed: raise the limit (ulimit -Hn), or \
                 lower MCP_HTTP_MAX_CONNECTIONS"
            ),
        ),
        false => Finding::new("files", Fine, format!("{limit} may be open")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_are_ignored() {
        let loaded = crate::config::testing::Start::default().load().unwrap();
        let check = |ignored: &[&'static str], memory: u64, expected: &[(&str, Verdict)]| {
            let host = DaemonHost {
                runtimes: Vec::new(),
                ignored_limits: ignored.to_vec(),
                memory_bytes: Some(memory),
                has_seccomp: memory > 1,
                time: None,
            };
            let mut found = Vec::new();
            examine_host(&loaded.config, &host, &mut found);
            let found: Vec<_> = found.iter().map(|one| (one.area, one.verdict)).collect();
            assert_eq!(found, expected);
        };
        let plenty = 64 << 30;
        check(&[], plenty, &[("limits", Fine), ("memory", Fine)]);
        check(&["swap"], plenty, &[("limits", Warning), ("memory", Fine)]);
        let some = ["memory", "swap"];
        check(&some, plenty, &[("limits", Fails), ("memory", Fine)]);
        let poor = [("limits", Fine), ("seccomp", Warning), ("memory", Warning)];
        check(&[], 1, &poor);
    }

    #[test]
    fn clocks_apart_either_way() {
        let now = SystemTime::now();
        let check = |theirs, verdict| assert_eq!(clock(now, theirs).verdict, verdict);
        check(now + Duration::from_secs(29), Fine);
        check(now + Duration::from_secs(31), Warning);
        check(now - Duration::from_secs(31), Warning);
        assert!(
            clock(now, now - Duration::from_secs(90))
                .detail
                .contains("90 s")
        );
    }
}
