//! What the tool registry needs to know.

use std::path::PathBuf;
use std::time::Duration;

use super::derived::NO_DATA_FOLDER;
use super::pg_url::{self, PgTarget};
use super::problem::Fault;
use super::values::Values;

/// Where tools are kept.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// In what.
    pub backend: Backend,
    /// Most tools kept.
    pub max_tools: usize,
    /// Whether changes are refused.
    pub access: Access,
}

/// What tools are kept in.
#[derive(Clone, Debug)]
pub enum Backend {
    /// One file.
    File(PathBuf),
    /// A database.
    Postgres(PgConfig),
}

/// Whether tools may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// They may.
    ReadWrite,
    /// Every change is refused: `MCP_DYNAMIC_READ_ONLY`.
    ReadOnly,
}

/// A database and how to wait for it.
#[derive(Clone, Debug)]
pub struct PgConfig {
    /// Where it is and how it is reached.
    pub target: PgTarget,
    /// The schema of our tables.
    pub schema: String,
    /// Attempts to reach it at start.
    pub init_attempts: u64,
    /// Pause between those attempts.
    pub init_backoff: Duration,
}

impl StoreConfig {
    pub(super) fn read(values: &mut Values) -> Self {
        let postgres = values.chosen("MCP_DYNAMIC_BACKEND", "postgres");
        let target = read_target(values);
        if postgres {
            let because = "with MCP_DYNAMIC_BACKEND=postgres";
            values.require("MCP_DYNAMIC_PG_URL", "MCP_DYNAMIC_BACKEND", because);
        } else {
            values.require("MCP_DYNAMIC_STORE", "MCP_TRANSPORT", NO_DATA_FOLDER);
        }
        let file = values.path("MCP_DYNAMIC_STORE").unwrap_or_default();
        let backend = match target.filter(|_| postgres) {
            None => Backend::File(file),
            Some(target) => Backend::Postgres(PgConfig {
                target,
                schema: values.owned_text("MCP_DYNAMIC_PG_SCHEMA"),
                init_attempts: values.integer("MCP_DYNAMIC_PG_INIT_MAX_ATTEMPTS"),
                init_backoff: values.millis("MCP_DYNAMIC_PG_INIT_BACKOFF_MS"),
            }),
        };
        Self {
            backend,
            max_tools: values.count("MCP_DYNAMIC_MAX_TOOLS"),
            access: match values.bool("MCP_DYNAMIC_READ_ONLY") {
                true => Access::ReadOnly,
                false => Access::ReadWrite,
            },
        }
    }
}

/// The URL is checked wherever it is given, also beside the file backend: a wrong one is wrong
/// already.
fn read_target(values: &mut Values) -> Option<PgTarget> {
    let url = values.secret("MCP_DYNAMIC_PG_URL")?;
    match pg_url::parse(url) {
        Ok(target) => Some(target),
        Err(fault) => {
            values.fail("MCP_DYNAMIC_PG_URL", Fault::Conflict(fault.to_string()));
            None
        }
    }
}
