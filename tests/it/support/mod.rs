//! What `tests/run` provides, and the small pieces that every test here needs.

pub(crate) mod daemons;
pub(crate) mod engine;
pub(crate) mod events;
pub(crate) mod http;
pub(crate) mod idp;
pub(crate) mod jail;
pub(crate) mod leaks;
pub(crate) mod manifests;
pub(crate) mod packages;
pub(crate) mod pipe;
pub(crate) mod postgres;
pub(crate) mod server;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use dynamic_mcp::config::DaemonAddress;
use dynamic_mcp::docker::Daemon;
use dynamic_mcp::engine::Owners;

/// A value that `tests/run` exports.
pub(crate) fn provided(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run tests/run, which starts what the tests need")
    })
}

/// The private daemon of this test run.
pub(crate) fn daemon() -> Arc<Daemon> {
    daemon_at(&provided("DYNAMIC_MCP_TEST_DOCKER"))
}

/// The daemon at a `unix://` address.
pub(crate) fn daemon_at(address: &str) -> Arc<Daemon> {
    let socket = address.strip_prefix("unix://").unwrap();
    Arc::new(Daemon::new(DaemonAddress::Unix(socket.into()), None))
}

/// Owners by hand: this instance, and which others are dead.
#[derive(Debug, Default)]
pub(crate) struct KnownOwners {
    pub(crate) own: String,
    pub(crate) dead: Mutex<Vec<String>>,
    pub(crate) may_err: AtomicBool,
}

impl Owners for KnownOwners {
    fn own_id(&self) -> &str {
        &self.own
    }
    fn is_dead(&self, id: &str) -> bool {
        self.dead().iter().any(|dead| dead == id)
    }
    fn forget(&self, id: &str) {
        self.dead.lock().unwrap().retain(|dead| dead != id);
    }
    fn dead(&self) -> Vec<String> {
        self.dead.lock().unwrap().clone()
    }
    fn may_err(&self) -> bool {
        self.may_err.load(Ordering::Relaxed)
    }
}
