//! The labels on everything that is ours on a daemon.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::base::clock::unix_millis;

/// Id of the live instance that made it; of a sandbox, the installation that it belongs to.
pub(super) const OWNER: &str = "dynamic-mcp.owner";
/// What it is for: see [`Kind`].
pub(super) const KIND: &str = "dynamic-mcp.kind";
/// The tool it runs.
pub(super) const TOOL: &str = "dynamic-mcp.tool";
/// Seconds since the Unix epoch.
pub(super) const CREATED: &str = "dynamic-mcp.created";
/// Seconds since the Unix epoch, after which anybody may remove it.
pub(super) const EXPIRES: &str = "dynamic-mcp.expires";

/// What a container is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Runs one job and is destroyed.
    OneShot,
    /// Compiles code, never runs it.
    Checker,
    /// Installs packages, or looks after the installed ones.
    Installer,
    /// Belongs to a principal and outlives its instance.
    Sandbox,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::OneShot => "one-shot",
            Self::Checker => "checker",
            Self::Installer => "installer",
            Self::Sandbox => "sandbox",
        }
    }
}

/// The labels of one container.
pub(super) fn labels(
    owner: &str,
    kind: Kind,
    tool: &str,
    now: SystemTime,
    lifetime: Duration,
) -> BTreeMap<String, String> {
    let created = unix_millis(now) / 1000;
    BTreeMap::from([
        (OWNER.to_owned(), owner.to_owned()),
        (KIND.to_owned(), kind.as_str().to_owned()),
        (TOOL.to_owned(), tool.to_owned()),
        (CREATED.to_owned(), created.to_string()),
        (
            EXPIRES.to_owned(),
            created.saturating_add(lifetime.as_secs()).to_string(),
        ),
    ])
}
