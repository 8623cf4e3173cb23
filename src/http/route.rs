//! Which path means what, and which lane serves it. One match. The lane also tells the listener:
//! where ops endpoints have one of their own, all that comes to it takes their lane, and all else
//! the other.

use super::protected::WELL_KNOWN;
use crate::gate::Head;
use crate::mcp::is_answered_at_once;

/// The workers that a request reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pool {
    Ops,
    /// Requests that are answered at once, many at a time.
    Quick,
    Tools,
}

impl Pool {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ops => "ops",
            Self::Quick => "quick",
            Self::Tools => "tools",
        }
    }

    /// Whether requests come to it in batches.
    pub(super) fn takes_batches(self) -> bool {
        self == Self::Quick
    }
}

/// Where the ops endpoints are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpsPlace {
    /// Beside the protocol.
    Main,
    /// On a listener of their own, which has nothing else.
    Apart,
}

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
    ops: OpsPlace,
}

impl Routes {
    pub(super) fn new(mcp: &str, ops: OpsPlace) -> Self {
        Self {
            mcp: mcp.to_owned(),
            ops,
        }
    }

    /// The path of the protocol.
    pub(super) fn mcp(&self) -> &str {
        &self.mcp
    }

    /// The meaning of a request target where it came in; its query plays no part.
    pub(super) fn find(&self, target: &str, pool: Pool) -> Route {
        let route = self.by_path(path(target));
        let belongs = route.is_ops() == (pool == Pool::Ops);
        match self.ops {
            OpsPlace::Apart if !belongs => Route::Unknown,
            _ => route,
        }
    }

    fn by_path(&self, path: &str) -> Route {
        match path {
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
            _ if self.is_ops() => "ops",
            _ => "other",
        }
    }

    fn is_ops(self) -> bool {
        matches!(self, Self::Livez | Self::Readyz | Self::Metrics)
    }
}

/// Every lane, by the gate's number of it.
pub(super) const LANES: [Pool; 3] = [Pool::Ops, Pool::Quick, Pool::Tools];
pub(super) const OPS_LANE: usize = 0;
const QUICK_LANE: usize = 1;
const TOOL_LANE: usize = 2;

/// The lane of a request to the one listener for everything. `knows` says whether the caller with
/// this `Authorization` is known, so that nobody has to ask an issuer for keys.
pub(super) fn lane(head: &Head, knows: &dyn Fn(Option<&str>) -> bool) -> usize {
    match path(head.target()) {
        "/livez" | "/readyz" | "/metrics" => OPS_LANE,
        _ => tool_lane(head, knows),
    }
}

/// The lane of a request to the listener without ops endpoints.
pub(super) fn tool_lane(head: &Head, knows: &dyn Fn(Option<&str>) -> bool) -> usize {
    if is_quick(head.fields(), knows) {
        QUICK_LANE
    } else {
        TOOL_LANE
    }
}

/// Whether a request with these fields waits for nothing. They tell the truth of its message, or it
/// is refused; said twice they tell nothing.
fn is_quick<'a>(
    fields: impl Iterator<Item = (&'a str, &'a str)>,
    knows: &dyn Fn(Option<&str>) -> bool,
) -> bool {
    const NAMES: [&str; 4] = [
        "MCP-Protocol-Version",
        "Mcp-Method",
        "Mcp-Name",
        "Authorization",
    ];
    let mut values = [None; 4];
    for (field, value) in fields {
        let mut known = NAMES.iter().zip(&mut values);
        let slot = known.find(|(name, _)| field.eq_ignore_ascii_case(name));
        if slot.is_some_and(|(_, slot)| slot.replace(value).is_some()) {
            return false;
        }
    }
    let [version, method, name, authorization] = values;
    is_answered_at_once(version, method, name) && knows(authorization)
}

fn path(target: &str) -> &str {
    target.split('?').next().unwrap_or(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_their_meaning() {
        let routes = Routes::new("/mcp", OpsPlace::Main);
        let check = |target: &str, route| {
            assert_eq!(routes.find(target, Pool::Tools), route, "{target}");
        };
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

    #[test]
    fn what_is_answered_at_once_takes_the_quick_lane() {
        let check = |fields: &str, quick: bool| {
            let fields = fields
                .split("; ")
                .filter_map(|field| field.split_once(": "));
            let knows = |authorization: Option<&str>| authorization != Some("new");
            assert_eq!(
                is_quick(fields.clone(), &knows),
                quick,
                "{:?}",
                fields.collect::<Vec<_>>()
            );
        };
        let modern = "MCP-Protocol-Version: 2026-07-28";
        check(&format!("{modern}; Mcp-Method: tools/list"), true);
        check(
            &format!("{modern}; mcp-method: server/discover; X: y"),
            true,
        );
        check("Mcp-Method: tools/list", false);
        check(
            "MCP-Protocol-Version: 2025-11-25; Mcp-Method: tools/list",
            false,
        );
        check(&format!("{modern}; Mcp-Method: resources/read"), false);
        let call = format!("{modern}; Mcp-Method: tools/call");
        check(&call, false);
        for name in ["system.health", "system_health", "system.whoami"] {
            check(&format!("{call}; Mcp-Name: {name}"), true);
        }
        for name in ["a.b", "run_js_ephemeral", "dynamic.tool.create", "system"] {
            check(&format!("{call}; Mcp-Name: {name}"), false);
        }
        let health = format!("{call}; Mcp-Name: system.health");
        check(&format!("{health}; mcp-name: system.health"), false);
        check(&format!("{health}; Mcp-Method: tools/call"), false);
        check(
            &format!("{health}; MCP-protocol-version: 2026-07-28"),
            false,
        );
        check(&format!("{health}; Authorization: old"), true);
        check(&format!("{health}; Authorization: new"), false);
        check(
            &format!("{health}; Authorization: old; Authorization: old"),
            false,
        );
    }

    #[test]
    fn ops_endpoints_apart_are_nowhere_else() {
        let routes = Routes::new("/mcp", OpsPlace::Apart);
        let check = |target: &str, pool, route| {
            assert_eq!(routes.find(target, pool), route, "{target} {pool:?}");
        };
        for (target, route) in [
            ("/livez", Route::Livez),
            ("/readyz", Route::Readyz),
            ("/metrics", Route::Metrics),
        ] {
            check(target, Pool::Ops, route);
            check(target, Pool::Tools, Route::Unknown);
        }
        for (target, route) in [("/mcp", Route::Mcp), (WELL_KNOWN, Route::ResourceMetadata)] {
            check(target, Pool::Tools, route);
            check(target, Pool::Ops, Route::Unknown);
        }
    }
}
