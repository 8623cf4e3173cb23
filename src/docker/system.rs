//! Engine API, section System: ping, version, info.

use std::time::SystemTime;

use serde_json::Value;

use super::{ApiVersion, Daemon, DockerError, Negotiated};
use crate::base::clock::parse_rfc3339;
use crate::base::deadline::Deadline;

/// What the server wants to know of a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonInfo {
    /// The daemon's release, such as `20.10.24`.
    pub version: String,
    /// The API version agreed on.
    pub api_version: ApiVersion,
    /// Whether it is Podman's service, which differs in small things.
    pub is_podman: bool,
}

/// What the machine of a daemon can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonHost {
    /// The names of its container runtimes, in order.
    pub runtimes: Vec<String>,
    /// Limits that it takes and does not hold containers to.
    pub ignored_limits: Vec<&'static str>,
    /// All memory of the machine.
    pub memory_bytes: Option<u64>,
    /// Whether containers have a filter of system calls.
    pub has_seccomp: bool,
    /// Its clock.
    pub time: Option<SystemTime>,
}

impl Daemon {
    /// `GET /_ping`.
    ///
    /// # Errors
    /// When the daemon cannot be reached or does not answer 200.
    pub fn ping(&self, deadline: Deadline) -> Result<(), DockerError> {
        self.send("GET", "/_ping", &[], b"", deadline)?.finish()
    }

    /// `GET /info`: the names of the container runtimes that the daemon has, in order.
    ///
    /// # Errors
    /// When the daemon cannot be reached.
    pub fn runtimes(&self, deadline: Deadline) -> Result<Vec<String>, DockerError> {
        Ok(self.host(deadline)?.runtimes)
    }

    /// `GET /info`: what the daemon's machine can do.
    ///
    /// # Errors
    /// When the daemon cannot be reached.
    pub fn host(&self, deadline: Deadline) -> Result<DaemonHost, DockerError> {
        let info = self.exchange("GET", "/info", None, deadline)?.json()?;
        let runtimes = info.get("Runtimes").and_then(Value::as_object);
        let runtimes = runtimes.ok_or(DockerError::Protocol("it names no runtimes"))?;
        let mut runtimes: Vec<_> = runtimes.keys().cloned().collect();
        runtimes.sort_unstable();
        let ignores = |name: &str| info.get(name).and_then(Value::as_bool) == Some(false);
        let limits = [
            ("MemoryLimit", "memory"),
            ("SwapLimit", "swap"),
            ("CpuCfsQuota", "processors"),
            ("PidsLimit", "processes"),
        ];
        let ignored = limits.into_iter().filter(|(name, _)| ignores(name));
        let options = info.get("SecurityOptions").and_then(Value::as_array);
        let options = options.into_iter().flatten().filter_map(Value::as_str);
        let time = info.get("SystemTime").and_then(Value::as_str);
        Ok(DaemonHost {
            runtimes,
            ignored_limits: ignored.map(|(_, word)| word).collect(),
            memory_bytes: info.get("MemTotal").and_then(Value::as_u64),
            has_seccomp: options.into_iter().any(|option| option.contains("seccomp")),
            time: time.and_then(parse_rfc3339),
        })
    }

    /// `GET /version`.
    ///
    /// # Errors
    /// When the daemon cannot be reached or its API does not suit.
    pub fn info(&self, deadline: Deadline) -> Result<DaemonInfo, DockerError> {
        let offered = self.unversioned("GET", "/version", deadline)?;
        let api_version = super::version::negotiate(&offered)?;
        let components = offered.get("Components").and_then(Value::as_array);
        let is_podman = components.into_iter().flatten().any(|component| {
            component.get("Name").and_then(Value::as_str) == Some("Podman Engine")
        });
        self.remember(Some(Negotiated {
            version: api_version,
            is_podman,
        }));
        let version = offered
            .get("Version")
            .and_then(Value::as_str)
            .unwrap_or("unknown")
            .to_owned();
        Ok(DaemonInfo {
            version,
            api_version,
            is_podman,
        })
    }
}
