//! The registry: where dynamic tools are kept. [`ToolStore`] is what the rest of the server sees;
//! behind it a file ([`file::FileStore`]) or a database ([`postgres::PostgresStore`]). Who may
//! change a tool, and which names are built in, never stand here.

mod atomic_file;
mod decide;
pub mod document;
pub mod ended;
pub mod file;
pub mod instance;
mod key_file;
mod members;
pub mod postgres;
mod shared_file;
pub mod snapshot;
#[cfg(test)]
mod tests;
pub mod transfer;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::text::listing;
use crate::domain::failure::FailureKind;
use crate::domain::tool::{Definition, InvalidField, Tool, ToolName};
use snapshot::Snapshot;

/// A store of dynamic tools. Reads are from memory and never wait for disk or database; a write
/// has reached the disk or database before memory shows it and before it is answered.
pub trait ToolStore: Send + Sync {
    /// All tools as they are now.
    fn snapshot(&self) -> Arc<Snapshot>;

    /// The first snapshot newer than generation `seen`, or the current one once `timeout` is over.
    fn wait_newer(&self, seen: u64, timeout: Duration) -> Arc<Snapshot>;

    /// Adds a tool, at revision 1.
    ///
    /// # Errors
    /// `AlreadyExists`, `NameTaken`, `Full`, `Invalid`, and what stops every write: `ReadOnly`,
    /// `Busy`, `Unwritable`, `Corrupt`.
    fn create(&self, name: ToolName, definition: Definition) -> Result<Arc<Tool>, StoreError>;

    /// Replaces a tool's definition by what `change` makes of the stored one, at the next revision.
    /// `change` runs while writers wait, so it must be quick, and may run more than once; its error
    /// ends the update. A caller that checked a definition beforehand (by compiling it, say)
    /// returns `Conflict` from `change` when the base is no longer the one it checked.
    ///
    /// # Errors
    /// `NotFound`, `Conflict`, `Invalid`, what `change` returned, and what stops every write.
    fn update(
        &self,
        name: &ToolName,
        expected_revision: Option<u64>,
        change: &mut dyn FnMut(&Tool) -> Result<Definition, StoreError>,
    ) -> Result<Arc<Tool>, StoreError>;

    /// Removes a tool and returns what it was.
    ///
    /// # Errors
    /// `NotFound`, `Conflict`, and what stops every write.
    fn delete(
        &self,
        name: &ToolName,
        expected_revision: Option<u64>,
    ) -> Result<Arc<Tool>, StoreError>;

    /// Takes in exported tools, all or none; new ones with their revision and times as they are. A
    /// tool that is there with the same definition stays as it is.
    ///
    /// # Errors
    /// `Collisions`, `Full`, `Invalid`, and what stops every write.
    fn import(
        &self,
        tools: &[Arc<Tool>],
        on_collision: OnCollision,
    ) -> Result<Imported, StoreError>;

    /// Whether it takes no writes at all (MCP_DYNAMIC_READ_ONLY).
    fn is_read_only(&self) -> bool;

    /// What it keeps the tools in, as MCP_DYNAMIC_BACKEND names it.
    fn backend(&self) -> &'static str;

    /// Whether the store can be read, and written unless it is read-only: for /readyz.
    ///
    /// # Errors
    /// What stops the next write.
    fn health(&self) -> Result<(), StoreError>;

    /// When the snapshot was last known to be what the store holds.
    fn last_checked(&self) -> Instant;

    /// The connections to a database, where the tools are in one.
    fn database(&self) -> Option<DatabaseCounts> {
        None
    }
}

/// Connections to the database now, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseCounts {
    /// Of the pool, at work.
    pub in_use: u32,
    /// Of the pool, open and free.
    pub idle: u32,
    /// Threads that wait for one.
    pub waiting: usize,
    /// Whether other replicas' changes are heard.
    pub listening: bool,
}

/// What an import does about a tool that is there with another definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCollision {
    /// Nothing is imported.
    Refuse,
    /// It gets the imported definition, at its next revision.
    Replace,
}

/// How many tools an import found new, different and equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// New names.
    pub added: usize,
    /// Tools that were there with another definition.
    pub replaced: usize,
    /// Tools that were there as they are.
    pub unchanged: usize,
}

/// Why the store did not do as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Caller: the name is in use.
    AlreadyExists {
        /// The name asked for.
        name: ToolName,
    },
    /// Caller: no tool of that name.
    NotFound {
        /// The name asked for.
        name: ToolName,
    },
    /// Caller: somebody else changed the tool first.
    Conflict {
        /// The tool.
        name: ToolName,
        /// The revision that the caller knew.
        expected: u64,
        /// The revision that is stored.
        current: u64,
    },
    /// Operator: as many tools as the server may hold.
    Full {
        /// The limit (MCP_DYNAMIC_MAX_TOOLS).
        limit: usize,
    },
    /// Caller: another tool has the same spelling once `.` and `:` are `_`.
    NameTaken {
        /// The name asked for.
        name: ToolName,
        /// The tool that has the spelling.
        by: ToolName,
    },
    /// Caller: fields that no stored record may hold.
    Invalid(Vec<InvalidField>),
    /// Operator: the registry takes no writes (MCP_DYNAMIC_READ_ONLY).
    ReadOnly,
    /// Nobody: other writers held the store too long; try again.
    Busy {
        /// How long this write waited.
        waited: Duration,
    },
    /// Operator: the store cannot be written.
    Unwritable {
        /// What the system said, without paths.
        reason: String,
    },
    /// Operator: the store does not serve at all, or not as it is.
    Unusable {
        /// Why, without addresses or any other driver's text.
        reason: String,
    },
    /// Operator: an import would replace tools.
    Collisions {
        /// Tools that are there with another definition.
        names: Vec<ToolName>,
    },
    /// Operator: what is stored cannot be used, and was left as it is.
    Corrupt {
        /// The store's file.
        path: PathBuf,
        /// What is wrong with it; quotes nothing but names of tools.
        reason: String,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyExists { name } => {
                write!(
                    formatter,
                    "dynamic tool \"{name}\" already exists; update it instead"
                )
            }
            Self::NotFound { name } => write!(formatter, "dynamic tool \"{name}\" does not exist"),
            // The contract's own text (section 6).
            Self::Conflict {
                name,
                expected,
                current,
            } => write!(
                formatter,
                "Revision conflict for dynamic tool \"{name}\": \
                 expected {expected}, current {current}."
            ),
            Self::Full { limit } => write!(
                formatter,
                "the registry holds its {limit} tools (MCP_DYNAMIC_MAX_TOOLS); delete one first"
            ),
            Self::NameTaken { name, by } => write!(
                formatter,
                "dynamic tool \"{name}\" would be listed under the same name as \"{by}\" by \
                 clients that read dots and colons as underscores; choose another name"
            ),
            Self::Invalid(fields) => {
                for (index, field) in fields.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "; " };
                    write!(formatter, "{separator}{field}")?;
                }
                Ok(())
            }
            Self::ReadOnly => {
                formatter.write_str("the registry is read-only (MCP_DYNAMIC_READ_ONLY)")
            }
            Self::Busy { waited } => write!(
                formatter,
                "other writers held the registry for {} ms; try again",
                waited.as_millis()
            ),
            Self::Unwritable { reason } => {
                write!(formatter, "the registry cannot be written: {reason}")
            }
            Self::Unusable { reason } => {
                write!(formatter, "the registry cannot be used: {reason}")
            }
            Self::Collisions { names } => {
                let names: Vec<&str> = names.iter().map(ToolName::as_str).collect();
                write!(
                    formatter,
                    "nothing was imported: the registry holds other tools named {}; add the word \
                     replace to replace them",
                    listing(&names, 10)
                )
            }
            Self::Corrupt { path, reason } => {
                write!(
                    formatter,
                    "the registry file {} cannot be used: {reason}",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for StoreError {}

impl StoreError {
    /// The kind of the failure that a caller is told.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::AlreadyExists { .. }
            | Self::NotFound { .. }
            | Self::Conflict { .. }
            | Self::NameTaken { .. }
            | Self::Collisions { .. }
            | Self::Invalid(_) => FailureKind::InvalidArguments,
            Self::Full { .. } | Self::ReadOnly => FailureKind::Policy,
            Self::Busy { .. } => FailureKind::Busy,
            Self::Unwritable { .. } | Self::Unusable { .. } | Self::Corrupt { .. } => {
                FailureKind::Internal
            }
        }
    }
}
