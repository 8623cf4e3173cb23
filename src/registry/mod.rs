//! The registry: where dynamic tools, prompts and resources are kept. [`ToolStore`] is what the
//! rest of the server sees, and [`Writes`] what may be done to it; behind it a file
//! ([`file::FileStore`]) or a database ([`postgres::PostgresStore`]). Who may change an entry, and
//! which names are built in, never stand here.

mod atomic_file;
mod decide;
pub mod document;
pub mod ended;
mod fields;
pub mod file;
pub mod instance;
mod key_file;
mod members;
mod news;
pub mod postgres;
mod record;
mod shared_file;
pub mod snapshot;
#[cfg(test)]
mod tests;
pub mod transfer;
mod writes;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::text::listing;
use crate::domain::entry::{EntryName, InvalidField, Kind};
use crate::domain::failure::FailureKind;
use snapshot::Snapshot;

pub use decide::{Change, Moment};
pub use news::{Changes, Touched};
pub use record::{Key, Record, Stored};
pub use writes::Writes;

/// How much a write may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// One entry.
    One,
    /// Any number of them.
    Many,
}

/// Says what a write does to the entries there are. It runs while writers wait, so it must be
/// quick, and may run more than once; its error ends the write.
pub type Decide<'a> = dyn FnMut(&Snapshot, &Moment) -> Result<Change, StoreError> + 'a;

/// A store of what is made at run time. Reads are from memory and never wait for disk or database;
/// a write has reached the disk or database before memory shows it and before it is answered.
pub trait ToolStore: Send + Sync {
    /// All entries as they are now.
    fn snapshot(&self) -> Arc<Snapshot>;

    /// The first snapshot newer than generation `seen`, or the current one once `timeout` is over.
    fn wait_newer(&self, seen: u64, timeout: Duration) -> Arc<Snapshot>;

    /// Writes what `decide` says of the newest entries; the acts that there are stand in
    /// [`Writes`].
    ///
    /// # Errors
    /// What `decide` returned, and what stops every write: `ReadOnly`, `Busy`, `Unwritable`,
    /// `Corrupt`.
    fn write(&self, extent: Extent, decide: &mut Decide<'_>) -> Result<(), StoreError>;

    /// Whether it takes no writes at all (MCP_DYNAMIC_READ_ONLY).
    fn is_read_only(&self) -> bool;

    /// What it keeps the entries in, as MCP_DYNAMIC_BACKEND names it.
    fn backend(&self) -> &'static str;

    /// Whether the store can be read, and written unless it is read-only: for /readyz.
    ///
    /// # Errors
    /// What stops the next write.
    fn health(&self) -> Result<(), StoreError>;

    /// When the snapshot was last known to be what the store holds.
    fn last_checked(&self) -> Instant;

    /// The connections to a database, where the entries are in one.
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

/// What an import does about an entry that is there with another definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCollision {
    /// Nothing is imported.
    Refuse,
    /// It gets the imported definition, at its next revision.
    Replace,
}

/// How many entries an import found new, different and equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// New names.
    pub added: usize,
    /// Entries that were there with another definition.
    pub replaced: usize,
    /// Entries that were there as they are.
    pub unchanged: usize,
}

/// Why the store did not do as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Caller: the name is in use.
    AlreadyExists {
        /// Of what.
        kind: Kind,
        /// The name asked for.
        name: EntryName,
    },
    /// Caller: no entry of that name.
    NotFound {
        /// Of what.
        kind: Kind,
        /// The name asked for.
        name: EntryName,
    },
    /// Caller: somebody else changed the entry first.
    Conflict {
        /// What it is.
        kind: Kind,
        /// Its name.
        name: EntryName,
        /// The revision that the caller knew.
        expected: u64,
        /// The revision that is stored.
        current: u64,
    },
    /// Operator: as many entries of a kind as the server may hold.
    Full {
        /// Of what.
        kind: Kind,
        /// The limit (MCP_DYNAMIC_MAX_TOOLS).
        limit: usize,
    },
    /// Operator: all entries together would be more than a registry may hold.
    TooLarge {
        /// The limit, in MiB.
        limit: usize,
    },
    /// Caller: another entry has the same spelling once `.` and `:` are `_`.
    NameTaken {
        /// Of what.
        kind: Kind,
        /// The name asked for.
        name: EntryName,
        /// The entry that has the spelling.
        by: EntryName,
    },
    /// Caller: another resource has the same URI, or a template of the same URIs.
    AddressTaken {
        /// The resource that has it.
        by: EntryName,
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
    /// Operator: an import would replace entries.
    Collisions {
        /// Entries that are there with another definition.
        names: Vec<Key>,
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
            Self::AlreadyExists { kind, name } => {
                write!(
                    formatter,
                    "dynamic {kind} \"{name}\" already exists; update it instead"
                )
            }
            Self::NotFound { kind, name } => {
                write!(formatter, "dynamic {kind} \"{name}\" does not exist")
            }
            // The contract's own text (section 6).
            Self::Conflict {
                kind,
                name,
                expected,
                current,
            } => write!(
                formatter,
                "Revision conflict for dynamic {kind} \"{name}\": \
                 expected {expected}, current {current}."
            ),
            Self::Full { kind, limit } => write!(
                formatter,
                "the registry holds its {limit} {} (MCP_DYNAMIC_MAX_TOOLS); delete one first",
                kind.plural()
            ),
            Self::TooLarge { limit } => write!(
                formatter,
                "the registry would hold more than {limit} MiB of tools, prompts and resources; \
                 delete or shorten some first"
            ),
            Self::NameTaken { kind, name, by } => write!(
                formatter,
                "dynamic {kind} \"{name}\" would be listed under the same name as \"{by}\" by \
                 clients that read dots and colons as underscores; choose another name"
            ),
            Self::AddressTaken { by } => write!(
                formatter,
                "dynamic resource \"{by}\" has this URI already, or a template of the same URIs; \
                 update it, or choose another"
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
                let names: Vec<String> = names
                    .iter()
                    .map(|(kind, name)| match kind {
                        Kind::Tool => name.to_string(),
                        kind => format!("{name} ({kind})"),
                    })
                    .collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                write!(
                    formatter,
                    "nothing was imported: the registry holds others named {}; add the word \
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
            | Self::AddressTaken { .. }
            | Self::Collisions { .. }
            | Self::Invalid(_) => FailureKind::InvalidArguments,
            Self::Full { .. } | Self::TooLarge { .. } | Self::ReadOnly => FailureKind::Policy,
            Self::Busy { .. } => FailureKind::Busy,
            Self::Unwritable { .. } | Self::Unusable { .. } | Self::Corrupt { .. } => {
                FailureKind::Internal
            }
        }
    }
}
