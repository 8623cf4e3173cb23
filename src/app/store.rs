//! Which registry there is, and this instance's place among its others.

use std::path::PathBuf;
use std::sync::Arc;

use super::StartError;
use super::owners::{FileOwners, Instance, LeaseOwners};
use crate::config::{Access, Backend, PgConfig, StoreConfig};
use crate::registry::ToolStore;
use crate::registry::ended::EndedSessions;
use crate::registry::file::{FileStore, FileStoreOptions};
use crate::registry::postgres::{PostgresStore, PostgresStoreOptions};

/// The registry, this instance in it, and where it is, in words.
pub(super) struct Opened {
    pub(super) registry: Registry,
    pub(super) instance: Arc<dyn Instance>,
    pub(super) place: String,
}

/// A registry of either kind.
#[derive(Clone)]
pub(super) enum Registry {
    File(Arc<FileStore>),
    Database(Arc<PostgresStore>),
}

impl Registry {
    pub(super) fn store(&self) -> Arc<dyn ToolStore> {
        match self {
            Self::File(store) => Arc::clone(store) as Arc<dyn ToolStore>,
            Self::Database(store) => Arc::clone(store) as Arc<dyn ToolStore>,
        }
    }

    /// What sessions are signed with, the same for all that share the registry.
    pub(super) fn session_key(&self) -> Result<[u8; 32], StartError> {
        match self {
            Self::File(store) => store.key("session").map_err(StartError::SessionKey),
            Self::Database(store) => store.signing_key("sessions").map_err(StartError::Registry),
        }
    }

    /// Sessions that were ended, in any process that tells.
    pub(super) fn ended_sessions(&self) -> Arc<EndedSessions> {
        match self {
            Self::File(_) => Arc::default(),
            Self::Database(store) => store.ended_sessions(),
        }
    }

    /// What layers of packages are named with, likewise.
    pub(super) fn layer_key(&self) -> Result<[u8; 32], StartError> {
        match self {
            Self::File(store) => store.key("layers").map_err(StartError::LayerKey),
            Self::Database(store) => store.signing_key("layers").map_err(StartError::Registry),
        }
    }
}

/// Opens the registry.
pub(super) fn open(config: &StoreConfig) -> Result<Opened, StartError> {
    match &config.backend {
        Backend::File(path) => {
            let store = Arc::new(open_file(config, path.clone())?);
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            Ok(Opened {
                instance: Arc::new(FileOwners::new(&store)?),
                registry: Registry::File(store),
                place: path.display().to_string(),
            })
        }
        Backend::Postgres(database) => {
            let store = Arc::new(open_database(config, database)?);
            Ok(Opened {
                instance: Arc::new(LeaseOwners::new(Arc::clone(&store))),
                registry: Registry::Database(store),
                place: format!("PostgreSQL, schema {}", database.schema),
            })
        }
    }
}

/// The registry alone, for commands that serve nobody.
///
/// # Errors
/// When it cannot be opened.
pub fn open_store(config: &StoreConfig) -> Result<Arc<dyn ToolStore>, StartError> {
    Ok(match &config.backend {
        Backend::File(path) => Arc::new(open_file(config, path.clone())?),
        Backend::Postgres(database) => Arc::new(open_database(config, database)?),
    })
}

fn open_file(config: &StoreConfig, path: PathBuf) -> Result<FileStore, StartError> {
    let options = FileStoreOptions {
        path,
        max_tools: config.max_tools,
        read_only: config.access == Access::ReadOnly,
    };
    FileStore::open(options).map_err(StartError::Registry)
}

fn open_database(config: &StoreConfig, database: &PgConfig) -> Result<PostgresStore, StartError> {
    PostgresStore::open(database_options(config, database)).map_err(StartError::Registry)
}

/// How the settings reach a database.
pub fn database_options(config: &StoreConfig, database: &PgConfig) -> PostgresStoreOptions {
    PostgresStoreOptions {
        target: database.target.clone(),
        schema: database.schema.clone(),
        init_attempts: database.init_attempts,
        init_backoff: database.init_backoff,
        max_tools: config.max_tools,
        read_only: config.access == Access::ReadOnly,
    }
}
