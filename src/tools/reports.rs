//! What the server tells of itself, for built-in tools and built-in resources alike.

use serde_json::{Value, json};

use super::Tools;
use crate::config::Profile;

impl Tools {
    /// Whether it is up.
    pub(super) fn health(&self) -> Value {
        json!({
            "status": "ok",
            "service": "dynamic-mcp",
            "version": env!("CARGO_PKG_VERSION"),
            "uptimeSeconds": self.metrics.uptime().as_secs(),
        })
    }

    /// What it is.
    pub(super) fn service_meta(&self) -> Value {
        json!({
            "service": "dynamic-mcp",
            "version": env!("CARGO_PKG_VERSION"),
            "profile": match self.settings.profile {
                Profile::Mvp => "mvp",
                Profile::Enterprise => "enterprise",
            },
            "engine": self.engine.name(),
            "registry": self.store.backend(),
            "uptimeSeconds": self.metrics.uptime().as_secs(),
        })
    }

    /// What the guard let through and what it refused.
    pub(super) fn guard_metrics(&self) -> Value {
        let limits = self.guard.limits();
        let scopes = self.guard.scopes().into_iter().map(|(scope, counts)| {
            json!({
                "scope": scope,
                "total": counts.total,
                "allowed": counts.allowed(),
                "rejectedRate": counts.rejected_rate,
                "rejectedConcurrency": counts.rejected_concurrency,
                "failed": counts.failed,
            })
        });
        json!({
            "activeExecutions": self.guard.counts().active,
            "limits": {
                "maxConcurrency": limits.max_concurrency,
                "maxCallsPerWindow": limits.max_calls_per_window,
                "windowMs": u64::try_from(limits.window.as_millis()).unwrap_or(u64::MAX),
            },
            "scopes": scopes.collect::<Vec<_>>(),
        })
    }

    /// Every setting in force and where it comes from; of secrets, only that there is one.
    pub(super) fn runtime_config(&self) -> Value {
        let settings = self.settings.shown.iter().map(|row| {
            json!({
                "name": row.setting.key,
                "value": row.masked(),
                "origin": row.origin.to_string(),
            })
        });
        json!({ "settings": settings.collect::<Vec<_>>() })
    }
}
