//! The one table of settings: parsing, help, documents and tests all read it, and nothing else
//! names a default or a bound. Types and look-ups stand first, the rows last.

use super::kind::{Item, Kind};

/// One row: a setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The variable, and the setting's name everywhere.
    pub key: &'static str,
    /// Another variable that is read where `key` is not given.
    pub alias: Option<&'static str>,
    /// How the flag is named.
    pub flag: FlagName,
    /// What applies where nobody gives a value.
    pub fallback: Fallback,
    /// Shape and bounds.
    pub kind: Kind,
    /// Where help and documents list it.
    pub group: Group,
    /// One line.
    pub doc: &'static str,
    /// Whether this build has the part.
    pub availability: Availability,
}

/// How a setting's flag is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagName {
    /// The variable without `MCP_`, in kebab case.
    Derived,
    /// This one, without the dashes.
    Named(&'static str),
    /// There is none: the variable belongs to another program.
    None,
}

/// What applies where nobody gives a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// This text, read as if it had been given.
    Is(&'static str),
    /// Something that depends on other settings, in words; `derived.rs` computes it.
    Depends(&'static str),
    /// Nothing.
    Unset,
}

/// Whether this build has what a setting is about. To make a part available, change its one row
/// here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It has.
    Built,
    /// Not yet: any value but the default is refused, naming this part.
    Later(&'static str),
}

/// Where help and documents list a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// What the process is.
    Server,
    /// The HTTP listener and its limits.
    Http,
    /// Where tools are kept.
    Registry,
    /// How code is confined.
    Engine,
    /// How much may run.
    Guard,
    /// Who may call.
    Auth,
    /// The audit log.
    Audit,
    /// What may change or go.
    Experimental,
}

impl Group {
    /// Every group, in the order of the documents.
    pub const ALL: [Self; 8] = [
        Self::Server,
        Self::Http,
        Self::Registry,
        Self::Engine,
        Self::Guard,
        Self::Auth,
        Self::Audit,
        Self::Experimental,
    ];

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Server => "Server",
            Self::Http => "HTTP",
            Self::Registry => "Tool registry",
            Self::Engine => "Execution",
            Self::Guard => "Load limits",
            Self::Auth => "Authentication",
            Self::Audit => "Audit log",
            Self::Experimental => "Experimental",
        }
    }
}

/// Which way a variable or flag carries its setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The value itself.
    Value,
    /// The path of a file that holds the value.
    File,
}

impl Setting {
    /// The flag with its dashes.
    pub fn flag(&self) -> Option<String> {
        match self.flag {
            FlagName::Derived => {
                let name = self.key.strip_prefix("MCP_").unwrap_or(self.key);
                Some(format!("--{}", name.to_ascii_lowercase().replace('_', "-")))
            }
            FlagName::Named(name) => Some(format!("--{name}")),
            FlagName::None => None,
        }
    }

    /// The variable that names a file with the value: secrets have one.
    pub fn file_key(&self) -> Option<String> {
        self.kind.is_secret().then(|| format!("{}_FILE", self.key))
    }

    /// The flag of [`Setting::file_key`].
    pub fn file_flag(&self) -> Option<String> {
        let flag = self.flag().filter(|_| self.kind.is_secret())?;
        Some(format!("{flag}-file"))
    }

    /// The default in words, for help and documents.
    pub fn default_in_words(&self) -> &'static str {
        match self.fallback {
            Fallback::Is(text) | Fallback::Depends(text) => text,
            Fallback::Unset => "–",
        }
    }

    /// What this build lacks to have another value than the default, if it does.
    pub(super) fn missing_part(&self) -> Option<&'static str> {
        match self.availability {
            Availability::Built => None,
            Availability::Later(part) => Some(part),
        }
    }
}

/// The row named `key`.
pub fn setting(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// The row, and the form, of a variable's name.
pub(super) fn by_variable(name: &str) -> Option<(&'static Setting, Form)> {
    SETTINGS.iter().find_map(|setting| {
        if setting.key == name || setting.alias == Some(name) {
            return Some((setting, Form::Value));
        }
        (setting.file_key().as_deref() == Some(name)).then_some((setting, Form::File))
    })
}

/// The row, and the form, of a flag with its dashes.
pub(super) fn by_flag(flag: &str) -> Option<(&'static Setting, Form)> {
    SETTINGS.iter().find_map(|setting| {
        if setting.flag().as_deref() == Some(flag) {
            return Some((setting, Form::Value));
        }
        (setting.file_flag().as_deref() == Some(flag)).then_some((setting, Form::File))
    })
}

/// Whether a flag stands alone: `--flag` is `--flag=true`.
pub fn is_switch(flag: &str) -> bool {
    by_flag(flag).is_some_and(|(setting, _)| setting.kind == Kind::Bool)
}

/// Every variable's name, aliases and file forms included.
pub(super) fn variables() -> impl Iterator<Item = String> {
    SETTINGS.iter().flat_map(|setting| {
        let key = setting.key.to_owned();
        let alias = setting.alias.map(str::to_owned);
        [Some(key), alias, setting.file_key()].into_iter().flatten()
    })
}

/// Every flag, file forms included.
pub(super) fn flags() -> impl Iterator<Item = String> {
    let of = |setting: &'static Setting| [setting.flag(), setting.file_flag()];
    SETTINGS.iter().flat_map(of).flatten()
}

/// A row with the usual flag, of a part that is built.
const fn row(
    group: Group,
    key: &'static str,
    kind: Kind,
    fallback: Fallback,
    doc: &'static str,
) -> Setting {
    Setting {
        key,
        alias: None,
        flag: FlagName::Derived,
        fallback,
        kind,
        group,
        doc,
        availability: Availability::Built,
    }
}

impl Setting {
    const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }

    const fn flag_name(mut self, flag: FlagName) -> Self {
        self.flag = flag;
        self
    }

    const fn later(mut self, part: &'static str) -> Self {
        self.availability = Availability::Later(part);
        self
    }
}

const fn int(min: u64, max: u64) -> Kind {
    Kind::Integer { min, max }
}

/// The groups of built-in tools, as MCP_BUILTIN_GROUPS names them.
pub(super) const BUILTIN_GROUPS: &[&str] = &[
    "tool", "prompt", "resource", "run_js", "sandbox", "system", "dev",
];

/// Longest path of MCP_RUNTIME_DIR: a Unix socket's whole name has 107 bytes (unix(7)).
pub(super) const MAX_RUNTIME_DIR_BYTES: usize = 100;

// Upper bounds that the product fixes nowhere: far above any use, so that arithmetic stays in
// range.
const AN_HOUR_MS: u64 = 3_600_000;
const MANY: u64 = 100_000;
const GIB: u64 = 1 << 30;

const REUSE: &str = "container reuse";
const UPSTREAM: &str = "attaching upstream MCP servers";

use Fallback::{Depends, Is, Unset};
use Group::{Audit, Auth, Engine, Experimental, Guard, Http, Registry, Server};
use Kind::{Bool, Bytes, Choice, Cpus, Csv, Path, Text, Url};

/// All settings, grouped, in the order of the documents.
#[rustfmt::skip] // A table is read by columns.
pub static SETTINGS: &[Setting] = &[
    row(Server, "MCP_PROFILE", Choice(&["mvp", "enterprise"]), Is("mvp"),
        "set of built-in tools and defaults"),
    row(Server, "MCP_TRANSPORT", Choice(&["http", "stdio"]), Is("http"),
        "how clients connect"),
    row(Server, "MCP_LOG_LEVEL", Choice(&["error", "warn", "info", "debug", "trace"]), Is("info"),
        "least severe messages logged to stderr"),
    row(Server, "MCP_LOG_FORMAT", Choice(&["text", "json"]), Is("text"), "form of a log line"),
    row(Server, "MCP_TOOL_NAME_STYLE", Choice(&["dotted", "underscore"]),
        Depends("dotted on http, underscore on stdio"),
        "how tool names are listed; calls accept both spellings"),
    row(Server, "MCP_BUILTIN_GROUPS", Csv(Item::Choice(BUILTIN_GROUPS)),
        Depends("all of the profile"), "groups of built-in tools to list"),
    row(Server, "MCP_SHUTDOWN_GRACE_SECONDS", int(0, 300), Is("20"),
        "how long running calls may go on after SIGTERM"),

    row(Http, "MCP_HOST", Kind::Host, Is("127.0.0.1"), "address to listen on"),
    row(Http, "MCP_PORT", int(0, 65_535), Is("8788"),
        "port to listen on; 0 takes any free one, on a loopback address only").alias("PORT"),
    row(Http, "MCP_PATH", Kind::HttpPath, Is("/mcp"), "path of the MCP endpoint"),
    row(Http, "MCP_PUBLIC_URL", Url(&["https", "http"]), Depends("from bind"),
        "the endpoint's URL as clients see it, behind a proxy"),
    row(Http, "MCP_HTTP_ALLOWED_ORIGINS", Csv(Item::Origin), Is("loopback"),
        "Origin values accepted; a foreign one is always 403"),
    row(Http, "MCP_HTTP_ALLOWED_HOSTS", Csv(Item::Host), Unset,
        "Host values accepted on the MCP endpoint; on a loopback address its names by default"),
    row(Http, "MCP_HTTP_TRUSTED_PROXIES", Csv(Item::Address), Unset,
        "peers whose X-Forwarded-For is believed and that have no cap per address"),
    row(Http, "MCP_HTTP_SESSION_TTL_SECONDS", int(1, 604_800), Is("1800"),
        "how long an idle session counts as active"),
    row(Http, "MCP_HTTP_WORKERS", int(2, 1024), Is("64"), "threads that answer requests"),
    row(Http, "MCP_HTTP_MAX_REQUEST_BYTES", int(1, 16_777_216), Is("1048576"),
        "largest request body"),
    row(Http, "MCP_HTTP_MAX_CONNECTIONS", int(1, MANY), Is("1024"),
        "open connections; one more is answered 503 and closed"),
    row(Http, "MCP_HTTP_MAX_CONNECTIONS_PER_IP", int(1, MANY), Is("256"),
        "open connections of one address"),
    row(Http, "MCP_HTTP_MAX_STREAMS", int(1, MANY), Is("2000"),
        "open event streams, at most 3/4 of MCP_HTTP_MAX_CONNECTIONS"),
    row(Http, "MCP_HTTP_BUFFER_BYTES", int(65_536, 64 * GIB), Is("67108864"),
        "all bytes held for unfinished requests and slow readers together"),
    row(Http, "MCP_HTTP_HEAD_TIMEOUT_MS", int(1, AN_HOUR_MS), Is("10000"),
        "time for a whole request head"),
    row(Http, "MCP_HTTP_BODY_TIMEOUT_MS", int(1, AN_HOUR_MS), Is("30000"),
        "time for a whole request body"),
    row(Http, "MCP_HTTP_IDLE_TIMEOUT_MS", int(1, AN_HOUR_MS), Is("60000"),
        "life of a connection between requests"),
    row(Http, "MCP_HTTP_WRITE_TIMEOUT_MS", int(1, AN_HOUR_MS), Is("10000"),
        "time for a client to take what is sent"),
    row(Http, "MCP_RUNTIME_DIR", Path, Depends("$XDG_RUNTIME_DIR, else the temp dir"),
        "folder for the private socket; a path of at most 100 bytes"),
    row(Http, "MCP_OPS_HOST", Kind::Host, Depends("as MCP_HOST"),
        "address of the ops listener; needs MCP_OPS_PORT"),
    row(Http, "MCP_OPS_PORT", int(0, 65_535), Depends("on the main listener"),
        "moves /livez, /readyz and /metrics to a listener of their own"),

    row(Registry, "MCP_DYNAMIC_BACKEND", Choice(&["file", "postgres"]), Is("file"),
        "where tools are kept"),
    row(Registry, "MCP_DYNAMIC_STORE", Path,
        Depends(".dynamic-mcp/tools.json; on stdio under $XDG_DATA_HOME/dynamic-mcp"),
        "the tools' file"),
    row(Registry, "MCP_DYNAMIC_MAX_TOOLS", int(1, 10_000), Is("256"), "most tools kept, and most prompts, and most resources"),
    row(Registry, "MCP_DYNAMIC_READ_ONLY", Bool, Is("false"), "refuse every change of the registry"),
    row(Registry, "MCP_DYNAMIC_PG_URL", Kind::PgUrl, Unset,
        "database; required with postgres; away from loopback with sslmode"),
    row(Registry, "MCP_DYNAMIC_PG_SCHEMA", Kind::SqlIdentifier, Is("dynamic_mcp"),
        "schema of our tables"),
    row(Registry, "MCP_DYNAMIC_PG_INIT_MAX_ATTEMPTS", int(1, 100), Is("10"),
        "attempts to reach the database at start"),
    row(Registry, "MCP_DYNAMIC_PG_INIT_BACKOFF_MS", int(1, 60_000), Is("1000"),
        "pause between those attempts"),

    row(Engine, "MCP_EXECUTION_ENGINE", Choice(&["auto", "docker", "node"]), Is("auto"),
        "what confines code"),
    row(Engine, "DOCKER_HOST", Kind::DockerHost, Is("unix:///var/run/docker.sock"),
        "the Docker daemon").flag_name(FlagName::None),
    row(Engine, "DOCKER_TLS_VERIFY", Bool, Is("false"),
        "speak TLS to a tcp:// daemon").flag_name(FlagName::None),
    row(Engine, "DOCKER_CERT_PATH", Path, Unset,
        "folder with ca.pem, cert.pem, key.pem").flag_name(FlagName::None),
    row(Engine, "MCP_DOCKER_ALLOW_PLAIN_TCP", Bool, Is("false"),
        "allow tcp:// without TLS away from loopback"),
    row(Engine, "MCP_SANDBOX_MEMORY_LIMIT", Bytes { min: 32 << 20, max: 1024 * GIB }, Is("512m"),
        "memory of one run, its tmpfs included").flag_name(FlagName::Named("sandbox-memory")),
    row(Engine, "MCP_SANDBOX_CPU_LIMIT", Cpus, Is("1"),
        "processors of one run").flag_name(FlagName::Named("sandbox-cpu")),
    row(Engine, "MCP_SANDBOX_MAX_DEPENDENCIES", int(0, 256), Is("32"),
        "most packages of one tool"),
    row(Engine, "MCP_SANDBOX_MAX_OUTPUT_BYTES", int(1, 10_000_000), Is("200000"),
        "largest result"),
    row(Engine, "MCP_SANDBOX_MAX_TIMEOUT_MS", int(1000, 300_000), Is("120000"),
        "longest time limit a tool may ask for"),
    row(Engine, "MCP_SANDBOX_ALLOWED_IMAGES", Csv(Item::Image), Is("node:lts-slim"),
        "images tools may use; the first is the default"),
    row(Engine, "MCP_SANDBOX_BLOCKED_PACKAGES", Csv(Item::Package),
        Is("child_process,node-pty,npm,pm2"), "packages tools may not use"),
    row(Engine, "MCP_SANDBOX_PULL_POLICY", Choice(&["missing", "never"]), Is("missing"),
        "whether absent images are pulled; never where there is no network"),
    row(Engine, "MCP_SANDBOX_WARM_POOL", int(0, 64), Is("2"),
        "sandboxes parked ahead of calls, an image"),
    row(Engine, "MCP_SANDBOX_REUSE", Choice(&["never", "tool"]), Is("never"),
        "whether a container serves later calls of the same tool and principal").later(REUSE),
    row(Engine, "MCP_SANDBOX_RUNTIME", Kind::Runtime, Depends("the daemon's default"),
        "container runtime, such as runsc or kata"),
    row(Engine, "MCP_SANDBOX_NPM_REGISTRY", Url(&["https", "http"]), Depends("npm's default"),
        "package registry for dependencies"),
    row(Engine, "MCP_SANDBOX_NPM_CA_FILE", Path, Unset,
        "roots to trust for that registry"),
    row(Engine, "MCP_SANDBOX_NPM_TOKEN_FILE", Path, Unset,
        "file with a token for that registry"),
    row(Engine, "MCP_SANDBOX_SESSION_TIMEOUT_SECONDS", int(1, 172_800), Is("1800"),
        "seconds after which an unused sandbox ends"),
    row(Engine, "MCP_SANDBOX_MAX_SESSIONS", int(1, 1000), Is("20"),
        "most sandboxes at once, of all callers together"),
    row(Engine, "MCP_NODE_UNSAFE", Bool, Is("false"),
        "run the node engine without its jail: for a throw-away machine only"),

    row(Guard, "MCP_TOOL_MAX_CONCURRENCY", int(1, 10_000), Depends("8, or MCP_HTTP_WORKERS − 8"),
        "runs at a time; at most MCP_HTTP_WORKERS − 8"),
    row(Guard, "MCP_TOOL_MAX_CONCURRENCY_PER_PRINCIPAL", int(1, 10_000),
        Depends("as MCP_TOOL_MAX_CONCURRENCY"), "runs at a time of one principal"),
    row(Guard, "MCP_TOOL_QUEUE_MS", int(0, AN_HOUR_MS), Is("10000"),
        "how long a call may wait for a slot and a container before it is told busy"),
    row(Guard, "MCP_TOOL_MAX_CALLS_PER_WINDOW", int(1, 1_000_000), Is("300"),
        "calls of one scope in a window"),
    row(Guard, "MCP_TOOL_RATE_WINDOW_MS", int(1, 86_400_000), Is("60000"),
        "length of that window"),

    row(Auth, "MCP_AUTH_MODE", Choice(&["none", "jwt"]), Is("none"),
        "how callers prove who they are; none on loopback only"),
    row(Auth, "MCP_ALLOW_UNAUTHENTICATED", Bool, Is("false"),
        "allow MCP_AUTH_MODE=none on an address others can reach"),
    row(Auth, "MCP_REQUIRE_ADMIN_TOKEN", Bool, Depends("true when enterprise+http+jwt, else false"),
        "refuse to start without MCP_ADMIN_TOKEN"),
    row(Auth, "MCP_ADMIN_TOKEN", Kind::Token, Unset,
        "secret that allows changing tools; as a flag it shows in ps: use the file form"),
    row(Auth, "MCP_AUTH_JWKS_URL", Url(&["https", "http", "file"]), Unset,
        "the issuer's keys; required with jwt; http:// on loopback only"),
    row(Auth, "MCP_AUTH_ISSUER", Text(2048), Unset,
        "the iss a token must have; required with jwt"),
    row(Auth, "MCP_AUTH_AUDIENCE", Text(2048), Unset,
        "the aud a token must have; required with jwt"),
    row(Auth, "MCP_AUTH_CA_FILE", Path, Depends("$SSL_CERT_FILE, else the system bundle"),
        "roots to trust for the keys' URL"),
    row(Auth, "MCP_AUTH_REQUIRED_SCOPES", Csv(Item::Scope), Unset,
        "scopes every token must have"),
    row(Auth, "MCP_AUTH_ADMIN_SCOPE", Kind::Scope, Is("mcp.admin"),
        "scope that stands in for the admin token"),

    row(Audit, "MCP_AUDIT_ENABLED", Bool, Depends("true in enterprise, else false"),
        "write the audit log"),
    row(Audit, "MCP_AUDIT_FILE", Path,
        Depends(".dynamic-mcp/audit.log; on stdio under $XDG_DATA_HOME/dynamic-mcp"),
        "the log's file"),
    row(Audit, "MCP_AUDIT_MAX_EVENT_BYTES", int(1000, 1_000_000), Is("20000"),
        "longest line"),
    row(Audit, "MCP_AUDIT_MAX_FILE_BYTES", int(1000, 1_000_000_000), Is("10000000"),
        "size at which a new file starts"),
    row(Audit, "MCP_AUDIT_MAX_FILES", int(1, 100), Is("5"), "old files kept"),
    row(Audit, "MCP_AUDIT_FAIL_CLOSED", Bool, Is("true"),
        "refuse an act that cannot be audited"),
    row(Audit, "MCP_AUDIT_SYNC", Choice(&["group", "each"]), Is("group"),
        "group: an act waits for the write, fsync follows within 50 ms; each: it waits for fsync"),

    row(Experimental, "MCP_EXPERIMENTAL_UPSTREAM_MCP_ATTACH", Bool, Is("false"),
        "attach other MCP servers; enterprise only, needs an admin token").later(UPSTREAM),
    row(Experimental, "MCP_EXPERIMENTAL_UPSTREAM_MCP_ATTACH_MAX", int(1, 256), Is("8"),
        "most servers attached").later(UPSTREAM),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_flags_are_kebab_case() {
        let variables: Vec<_> = variables().collect();
        let flags: Vec<_> = flags().collect();
        assert_eq!(
            variables.iter().collect::<BTreeSet<_>>().len(),
            variables.len()
        );
        assert_eq!(flags.iter().collect::<BTreeSet<_>>().len(), flags.len());
        for flag in flags {
            let name = flag.strip_prefix("--").unwrap();
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
                "{flag}"
            );
        }
    }

    #[test]
    fn flags_of_the_contract() {
        let check = |key: &str, flag: Option<&str>| {
            assert_eq!(setting(key).unwrap().flag().as_deref(), flag, "{key}");
        };
        check("MCP_PORT", Some("--port"));
        check("MCP_SANDBOX_MEMORY_LIMIT", Some("--sandbox-memory"));
        check("MCP_SANDBOX_CPU_LIMIT", Some("--sandbox-cpu"));
        check(
            "MCP_HTTP_MAX_CONNECTIONS_PER_IP",
            Some("--http-max-connections-per-ip"),
        );
        check("MCP_ADMIN_TOKEN", Some("--admin-token"));
        for key in ["DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"] {
            check(key, None);
        }
    }

    #[test]
    fn every_fixed_default_fits_its_own_kind() {
        for setting in SETTINGS {
            if let Fallback::Is(text) = setting.fallback {
                assert!(setting.kind.parse(text).is_ok(), "{}", setting.key);
            }
        }
    }

    #[test]
    fn rows_stand_in_the_order_of_their_groups() {
        let position = |group| Group::ALL.iter().position(|other| *other == group);
        let order: Vec<_> = SETTINGS
            .iter()
            .map(|setting| position(setting.group))
            .collect();
        assert!(order.is_sorted());
    }

    #[test]
    fn documents_are_one_short_line() {
        for setting in SETTINGS {
            assert!(
                !setting.doc.is_empty() && setting.doc.len() <= 90,
                "{}",
                setting.key
            );
            assert!(!setting.doc.contains(['\n', '|']) && !setting.doc.ends_with('.'));
        }
    }
}
