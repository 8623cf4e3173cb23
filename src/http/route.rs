//! Which path means what, and which lane serves it. One match.

use super::protected::WELL_KNOWN;
use crate::gate::Head;

/// What a path means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Mcp,
    Livez,
    Readyz,
    Metrics,
    /// What a protected resource says of itself.
    ResourceMetadata,
    Unknown,
}

/// The configured paths.
#[derive(Clone, Debug)]
pub(super) struct Routes {
    mcp: String,
}

impl Routes {
    pub(super) fn new(mcp: &str) -> Self {
        Self {
            mcp: mcp.to_owned(),
        }
    }

    /// The path of the protocol.
    pub(super) fn mcp(&self) -> &str {
        &self.mcp
    }

    /// The meaning of a request target; its query plays no part.
    pub(super) fn find(&self, target: &str) -> Route {
        match path(target) {
            "/livez" => Route::Livez,
            "/readyz" => Route::Readyz,
            "/metrics" => Route::Metrics,
            path if path == self.mcp => Route::Mcp,
            path => match path.strip_prefix(WELL_KNOWN) {
                Some(rest) if rest.is_empty() || rest == self.mcp => Route::ResourceMetadata,
                _ => Route::Unknown,
            },
        }
    }
}

impl Route {
    /// For metrics: a closed set.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mcp => "mcp",
            Self::Livez | Self::Readyz | Self::Metrics => "ops",
            Self::ResourceMetadata | Self::Unknown => "other",
        }
    }
}

/// The lane of a request: 0 for ops, 1 for everything else.
pub(super) fn lane(head: &Head) -> usize {
    match path(head.target()) {
        "/livez" | "/readyz" | "/metrics" => 0,
        _ => 1,
    }
}

fn path(target: &str) -> &str {
    target.split('?').next().unwrap_or(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_their_meaning() {
        let routes = Routes::new("/mcp");
        let check = |target: &str, route| assert_eq!(routes.find(target), route, "{target}");
        check("/mcp", Route::Mcp);
        check("/mcp?x=1", Route::Mcp);
        check("/livez", Route::Livez);
        check("/readyz?verbose", Route::Readyz);
        check("/metrics", Route::Metrics);
        check("/mcp/", Route::Unknown);
        check("/MCP", Route::Unknown);
        check("/", Route::Unknown);
        check("/livez/x", Route::Unknown);
        let well_known = "/.well-known/oauth-protected-resource";
        check(well_known, Route::ResourceMetadata);
        check(&format!("{well_known}/mcp?x"), Route::ResourceMetadata);
        check(&format!("{well_known}/"), Route::Unknown);
        check(&format!("{well_known}/mcp/"), Route::Unknown);
        check(&format!("{well_known}/other"), Route::Unknown);
        check("/.well-known/oauth-authorization-server", Route::Unknown);
        check("/.well-known/openid-configuration", Route::Unknown);
        check("/register", Route::Unknown);
    }
}
