//! What the gate and the HTTP workers need to know.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::problem::Fault;
use super::settings::MAX_RUNTIME_DIR_BYTES;
use super::values::Values;
use crate::base::address::{AddressRange, is_loopback};

/// The HTTP listener and its limits.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Where to listen; port 0 takes any free one (loopback only).
    pub bind: SocketAddr,
    /// The MCP endpoint's path, `/mcp` by default.
    pub path: String,
    /// The endpoint's URL as clients see it; from the bound address where `None`.
    pub public_url: Option<String>,
    /// Which `Origin` values are accepted.
    pub allowed_origins: Vec<OriginRule>,
    /// `Host` values accepted on the MCP endpoint, lower case; empty: the loopback names on a
    /// loopback address, no check otherwise.
    pub allowed_hosts: Vec<String>,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<AddressRange>,
    /// Life of an idle legacy session.
    pub session_ttl: Duration,
    /// Threads of the tool lane.
    pub workers: usize,
    /// Largest request body.
    pub max_request_bytes: usize,
    /// Open connections.
    pub max_connections: usize,
    /// Open connections of one address.
    pub max_connections_per_ip: usize,
    /// Open event streams.
    pub max_streams: usize,
    /// All bytes held for unfinished requests and slow readers together.
    pub buffer_bytes: usize,
    /// For a whole request head.
    pub head_timeout: Duration,
    /// For a whole request body.
    pub body_timeout: Duration,
    /// Between requests.
    pub idle_timeout: Duration,
    /// For a client to take what is sent.
    pub write_timeout: Duration,
    /// Where the private socket's subfolder is made.
    pub runtime_dir: PathBuf,
    /// A listener of their own for the ops endpoints; on the main one where `None`.
    pub ops: Option<SocketAddr>,
}

/// An accepted `Origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginRule {
    /// Any origin whose host is this machine.
    Loopback,
    /// This one, lower case.
    Exact(String),
}

impl HttpConfig {
    /// Whether only this machine can connect.
    pub fn is_loopback(&self) -> bool {
        is_loopback(self.bind.ip())
    }

    pub(super) fn read(values: &mut Values) -> Self {
        let bind = listener(values, "MCP_HOST", "MCP_PORT", Ipv4Addr::LOCALHOST.into());
        let ops = read_ops(values, bind);
        check_sizes(values);
        check_runtime_dir(values);
        let lower = |items: &[String]| items.iter().map(|item| item.to_ascii_lowercase()).collect();
        let origin = |item: &String| match item.as_str() {
            "loopback" => OriginRule::Loopback,
            exact => OriginRule::Exact(exact.to_ascii_lowercase()),
        };
        let proxies = values.list("MCP_HTTP_TRUSTED_PROXIES").iter();
        Self {
            bind,
            ops,
            path: values.owned_text("MCP_PATH"),
            public_url: values.text("MCP_PUBLIC_URL").map(str::to_owned),
            allowed_origins: values
                .list("MCP_HTTP_ALLOWED_ORIGINS")
                .iter()
                .map(origin)
                .collect(),
            allowed_hosts: lower(values.list("MCP_HTTP_ALLOWED_HOSTS")),
            trusted_proxies: proxies
                .filter_map(|item| AddressRange::parse(item))
                .collect(),
            session_ttl: values.seconds("MCP_HTTP_SESSION_TTL_SECONDS"),
            workers: values.count("MCP_HTTP_WORKERS"),
            max_request_bytes: values.count("MCP_HTTP_MAX_REQUEST_BYTES"),
            max_connections: values.count("MCP_HTTP_MAX_CONNECTIONS"),
            max_connections_per_ip: values.count("MCP_HTTP_MAX_CONNECTIONS_PER_IP"),
            max_streams: values.count("MCP_HTTP_MAX_STREAMS"),
            buffer_bytes: values.count("MCP_HTTP_BUFFER_BYTES"),
            head_timeout: values.millis("MCP_HTTP_HEAD_TIMEOUT_MS"),
            body_timeout: values.millis("MCP_HTTP_BODY_TIMEOUT_MS"),
            idle_timeout: values.millis("MCP_HTTP_IDLE_TIMEOUT_MS"),
            write_timeout: values.millis("MCP_HTTP_WRITE_TIMEOUT_MS"),
            runtime_dir: values.path("MCP_RUNTIME_DIR").unwrap_or_default(),
        }
    }
}

fn listener(
    values: &mut Values,
    host: &'static str,
    port: &'static str,
    fallback: IpAddr,
) -> SocketAddr {
    let address = values.address(host).unwrap_or(fallback);
    let bind = SocketAddr::new(address, values.port(port));
    let public_any = bind.port() == 0 && !is_loopback(address);
    let rule = "0 (any free port) is for a loopback address; allowed here: 1 to 65535";
    values.conflict(&[port, host], public_any, rule);
    bind
}

fn read_ops(values: &mut Values, main: SocketAddr) -> Option<SocketAddr> {
    if values.is_given("MCP_OPS_HOST") {
        values.require("MCP_OPS_PORT", "MCP_OPS_HOST", "with MCP_OPS_HOST");
    }
    values.optional_integer("MCP_OPS_PORT")?;
    let ops = listener(values, "MCP_OPS_HOST", "MCP_OPS_PORT", main.ip());
    let overlap = ops.ip() == main.ip() || ops.ip().is_unspecified() || main.ip().is_unspecified();
    let same = ops.port() != 0 && ops.port() == main.port() && overlap;
    let rule = "is the main listener's port: take another one, or leave it out";
    values.conflict(&["MCP_OPS_PORT", "MCP_PORT"], same, rule);
    Some(ops)
}

fn check_sizes(values: &mut Values) {
    let body = values.integer("MCP_HTTP_MAX_REQUEST_BYTES");
    let too_small = values.integer("MCP_HTTP_BUFFER_BYTES") < body;
    let keys = ["MCP_HTTP_BUFFER_BYTES", "MCP_HTTP_MAX_REQUEST_BYTES"];
    let rule = format!("is less than one request of MCP_HTTP_MAX_REQUEST_BYTES ({body})");
    values.conflict(&keys, too_small, &rule);
}

/// The default counts too: `$XDG_RUNTIME_DIR` and `$TMPDIR` can be as long as they like.
fn check_runtime_dir(values: &mut Values) {
    let bytes = values.text("MCP_RUNTIME_DIR").map_or(0, str::len);
    if bytes > MAX_RUNTIME_DIR_BYTES {
        let rule = format!(
            "the path has {bytes} bytes; allowed: at most {MAX_RUNTIME_DIR_BYTES}, \
             as a socket's path is short"
        );
        values.fail("MCP_RUNTIME_DIR", Fault::Conflict(rule));
    }
}
