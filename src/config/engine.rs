//! What the execution engine and its Docker client need to know.

use std::path::PathBuf;
use std::time::Duration;

use crate::domain::image::ImageRef;

use super::problem::Fault;
use super::url::Url;
use super::values::Values;

/// How code is confined.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Which engine.
    pub choice: EngineChoice,
    /// Where the Docker daemon listens.
    pub daemon: DaemonAddress,
    /// Memory of one run, its tmpfs included.
    pub memory_bytes: u64,
    /// Processors of one run, in billionths.
    pub nano_cpus: u64,
    /// Most packages of one tool.
    pub max_dependencies: usize,
    /// Largest result.
    pub max_output_bytes: usize,
    /// Longest time limit a tool may ask for.
    pub max_timeout: Duration,
    /// Never empty; the first is the default image.
    pub allowed_images: Vec<ImageRef>,
    /// Packages tools may not use.
    pub blocked_packages: Vec<String>,
    /// Whether absent images are pulled.
    pub pull_policy: PullPolicy,
    /// Containers parked per image.
    pub warm_pool: usize,
    /// Whether a container serves more than one call.
    pub reuse: Reuse,
    /// The container runtime; the daemon's default where `None`.
    pub runtime: Option<String>,
    /// The package registry for dependencies.
    pub npm: NpmConfig,
    /// Life of an idle sandbox.
    pub sandbox_idle: Duration,
    /// Most sandboxes.
    pub max_sandboxes: usize,
    /// Whether the node engine needs its jail.
    pub node_jail: NodeJail,
}

/// Which engine runs code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineChoice {
    /// Docker when the daemon answers; else node, in the mvp profile only.
    Auto,
    /// Containers.
    Docker,
    /// A jail of our own on a host without Docker.
    Node,
}

/// Where the Docker daemon listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DaemonAddress {
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP.
    Tcp {
        /// A name or an address, IPv6 without brackets.
        host: String,
        /// 2375, or 2376 with TLS, where none is given.
        port: u16,
        /// The folder with `ca.pem`, `cert.pem` and `key.pem`; plain TCP where `None`.
        tls: Option<PathBuf>,
    },
}

/// What to do about an absent image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// Pull it.
    Missing,
    /// Refuse: the site has no network.
    Never,
}

/// Whether a container serves more than one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// One call, one container.
    Never,
    /// Later calls of the same tool revision by the same principal.
    Tool,
}

/// Whether the node engine needs its jail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeJail {
    /// Without one it refuses to run.
    Required,
    /// It runs without one: `MCP_NODE_UNSAFE`.
    Waived,
}

/// A package registry of the operator's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NpmConfig {
    /// Its URL; npm's default where `None`.
    pub registry: Option<String>,
    /// Roots to trust for it.
    pub ca_file: Option<PathBuf>,
    /// The file with its token, read when it is needed.
    pub token_file: Option<PathBuf>,
}

impl EngineConfig {
    pub(super) fn read(values: &mut Values) -> Self {
        let daemon = read_daemon(values);
        if values.path("MCP_SANDBOX_NPM_TOKEN_FILE").is_some() {
            let because = "with MCP_SANDBOX_NPM_TOKEN_FILE";
            values.require(
                "MCP_SANDBOX_NPM_REGISTRY",
                "MCP_SANDBOX_NPM_TOKEN_FILE",
                because,
            );
        }
        let images = values.list("MCP_SANDBOX_ALLOWED_IMAGES").iter();
        Self {
            choice: match values.text("MCP_EXECUTION_ENGINE") {
                Some("docker") => EngineChoice::Docker,
                Some("node") => EngineChoice::Node,
                _ => EngineChoice::Auto,
            },
            daemon,
            memory_bytes: values.integer("MCP_SANDBOX_MEMORY_LIMIT"),
            nano_cpus: values.integer("MCP_SANDBOX_CPU_LIMIT"),
            max_dependencies: values.count("MCP_SANDBOX_MAX_DEPENDENCIES"),
            max_output_bytes: values.count("MCP_SANDBOX_MAX_OUTPUT_BYTES"),
            max_timeout: values.millis("MCP_SANDBOX_MAX_TIMEOUT_MS"),
            allowed_images: images
                .filter_map(|text| ImageRef::parse(text).ok())
                .collect(),
            blocked_packages: values.list("MCP_SANDBOX_BLOCKED_PACKAGES").to_vec(),
            pull_policy: match values.chosen("MCP_SANDBOX_PULL_POLICY", "never") {
                true => PullPolicy::Never,
                false => PullPolicy::Missing,
            },
            warm_pool: values.count("MCP_SANDBOX_WARM_POOL"),
            reuse: match values.chosen("MCP_SANDBOX_REUSE", "tool") {
                true => Reuse::Tool,
                false => Reuse::Never,
            },
            runtime: values.text("MCP_SANDBOX_RUNTIME").map(str::to_owned),
            npm: NpmConfig {
                registry: values.text("MCP_SANDBOX_NPM_REGISTRY").map(str::to_owned),
                ca_file: values.path("MCP_SANDBOX_NPM_CA_FILE"),
                token_file: values.path("MCP_SANDBOX_NPM_TOKEN_FILE"),
            },
            sandbox_idle: values.seconds("MCP_SANDBOX_SESSION_TIMEOUT_SECONDS"),
            max_sandboxes: values.count("MCP_SANDBOX_MAX_SESSIONS"),
            node_jail: match values.bool("MCP_NODE_UNSAFE") {
                true => NodeJail::Waived,
                false => NodeJail::Required,
            },
        }
    }
}

/// The plain and the TLS port that Docker registered.
const PLAIN_PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;
/// A Unix socket's longest path (unix(7)).
const MAX_SOCKET_BYTES: usize = 107;

fn read_daemon(values: &mut Values) -> DaemonAddress {
    let tls = values.bool("DOCKER_TLS_VERIFY");
    let text = values.owned_text("DOCKER_HOST");
    let certificates = values.path("DOCKER_CERT_PATH").filter(|_| tls);
    let Some(address) = parse_daemon(&text, tls, certificates) else {
        let kind = super::kind::Kind::DockerHost;
        let fault = Fault::Malformed {
            shown: None,
            allowed: kind.allowed(),
        };
        values.fail("DOCKER_HOST", fault);
        return DaemonAddress::Unix(PathBuf::new());
    };
    if let DaemonAddress::Tcp { host, .. } = &address {
        if tls {
            let because = "with DOCKER_TLS_VERIFY and a tcp:// DOCKER_HOST";
            values.require("DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", because);
        }
        let loopback = crate::base::address::is_loopback_host(host);
        let open = !tls && !loopback && !values.bool("MCP_DOCKER_ALLOW_PLAIN_TCP");
        let keys = [
            "DOCKER_HOST",
            "DOCKER_TLS_VERIFY",
            "MCP_DOCKER_ALLOW_PLAIN_TCP",
        ];
        let rule = "tcp:// without TLS gives this daemon to everybody on the way: set \
                    DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH, or MCP_DOCKER_ALLOW_PLAIN_TCP=true";
        values.conflict(&keys, open, rule);
    }
    address
}

fn parse_daemon(text: &str, tls: bool, certificates: Option<PathBuf>) -> Option<DaemonAddress> {
    if let Some(path) = text.strip_prefix("unix://") {
        let fits = path.starts_with('/') && path.len() <= MAX_SOCKET_BYTES;
        return fits.then(|| DaemonAddress::Unix(PathBuf::from(path)));
    }
    let url = Url::parse(text)?;
    let plain = url.scheme == "tcp" && !url.has_user && (url.rest.is_empty() || url.rest == "/");
    plain.then(|| DaemonAddress::Tcp {
        host: url.host.to_owned(),
        port: url.port.unwrap_or(if tls { TLS_PORT } else { PLAIN_PORT }),
        tls: certificates,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn daemon_addresses() {
        let folder = || Some(PathBuf::from("/certs"));
        let tcp = |host: &str, port, tls| {
            let host = host.to_owned();
            Some(DaemonAddress::Tcp { host, port, tls })
        };
        let plain = |text: &str, expected| assert_eq!(parse_daemon(text, false, None), expected);
        plain(
            "unix:///run/d.sock",
            Some(DaemonAddress::Unix("/run/d.sock".into())),
        );
        plain("tcp://127.0.0.1:2375", tcp("127.0.0.1", 2375, None));
        plain("tcp://[::1]/", tcp("::1", 2375, None));
        let with_tls = parse_daemon("tcp://docker", true, folder());
        assert_eq!(with_tls, tcp("docker", 2376, folder()));
        let long = format!("unix:///{}", "a".repeat(MAX_SOCKET_BYTES));
        for text in [
            "",
            "unix://",
            "unix://run/d.sock",
            "ssh://h",
            "tcp://",
            "tcp://h/x",
            "tcp://u:p@h",
            "http://h",
            "/var/run/docker.sock",
            &long,
        ] {
            plain(text, None);
        }
    }
}
