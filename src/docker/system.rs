//! Engine API, section System: ping, version, info.

use serde_json::Value;

use super::{ApiVersion, Daemon, DockerError, Negotiated};
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
        let info = self.exchange("GET", "/info", None, deadline)?.json()?;
        let runtimes = info.get("Runtimes").and_then(Value::as_object);
        let runtimes = runtimes.ok_or(DockerError::Protocol("it names no runtimes"))?;
        let mut names: Vec<_> = runtimes.keys().cloned().collect();
        names.sort_unstable();
        Ok(names)
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
