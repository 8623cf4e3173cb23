//! What makes the server ready: one look at every part that it cannot serve without.

use std::time::Duration;

use crate::auth::Authority;
use crate::base::deadline::Deadline;
use crate::engine::Engine;
use crate::http::ReadyCheck;
use crate::registry::ToolStore;

/// How often readiness is looked at.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How long one look may take.
pub(super) const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Looks at every part.
pub(super) fn check_all(
    engine: &dyn Engine,
    store: &dyn ToolStore,
    authority: &Authority,
) -> Vec<ReadyCheck> {
    let deadline = Deadline::after(CHECK_TIMEOUT);
    let probe = engine.probe(deadline);
    let image = engine.probe_image(deadline);
    let registry = store.health();
    let mut checks = vec![
        ReadyCheck {
            name: "registry",
            ready: registry.is_ok(),
            detail: registry.map_or_else(|error| error.to_string(), |()| "file".to_owned()),
        },
        ReadyCheck {
            name: "engine",
            ready: probe.ready,
            detail: probe.detail,
        },
        ReadyCheck {
            name: "image",
            ready: image.ready,
            detail: image.detail,
        },
    ];
    checks.extend(authority.keys_health().map(|keys| ReadyCheck {
        name: "keys",
        ready: keys.is_fit(),
        detail: keys.to_string(),
    }));
    checks
}
