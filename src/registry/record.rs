//! An entry of any kind as one value, and what stores have to know of each kind.

use std::sync::Arc;

use super::members::Members;
use super::snapshot::{Shelf, Snapshot};
use crate::domain::entry::{Authored, Entry, EntryName, Kind};
use crate::domain::prompt::{Prompt, PromptDefinition};
use crate::domain::resource::{Resource, ResourceDefinition};
use crate::domain::tool::{Definition, Tool};

/// An entry, whatever it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A tool.
    Tool(Arc<Tool>),
    /// A prompt.
    Prompt(Arc<Prompt>),
    /// A resource or a template of them.
    Resource(Arc<Resource>),
}

/// What names an entry in its registry.
pub type Key = (Kind, EntryName);

/// A kind of entries that stores keep.
pub trait Stored: Authored {
    /// An entry among those of other kinds.
    fn record(entry: Arc<Entry<Self>>) -> Record;

    /// The same entry, where it is of this kind.
    fn of(record: &Record) -> Option<&Arc<Entry<Self>>>;

    /// Where a snapshot has them.
    fn shelf(snapshot: &Snapshot) -> &Shelf<Self>;

    /// Takes a definition's fields out of a stored record.
    ///
    /// # Errors
    /// The field and its rule; quotes no value.
    fn decode(members: &mut Members<'_>) -> Result<Self, String>;
}

impl Record {
    /// What it is and how it is called.
    pub fn key(&self) -> Key {
        (self.kind(), self.name().clone())
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Tool(_) => Kind::Tool,
            Self::Prompt(_) => Kind::Prompt,
            Self::Resource(_) => Kind::Resource,
        }
    }

    /// How it is called.
    pub fn name(&self) -> &EntryName {
        match self {
            Self::Tool(entry) => &entry.name,
            Self::Prompt(entry) => &entry.name,
            Self::Resource(entry) => &entry.name,
        }
    }

    /// Its revision.
    pub fn revision(&self) -> u64 {
        match self {
            Self::Tool(entry) => entry.revision,
            Self::Prompt(entry) => entry.revision,
            Self::Resource(entry) => entry.revision,
        }
    }

    /// What its definition comes to ([`Authored::body`]).
    pub fn body(&self) -> &str {
        match self {
            Self::Tool(entry) => entry.definition.body(),
            Self::Prompt(entry) => entry.definition.body(),
            Self::Resource(entry) => entry.definition.body(),
        }
    }

    /// Whether its author decided the same as that of `other`.
    pub fn defines_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tool(one), Self::Tool(two)) => one.definition == two.definition,
            (Self::Prompt(one), Self::Prompt(two)) => one.definition == two.definition,
            (Self::Resource(one), Self::Resource(two)) => one.definition == two.definition,
            _ => false,
        }
    }

    /// Whether both are one value in memory.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tool(one), Self::Tool(two)) => Arc::ptr_eq(one, two),
            (Self::Prompt(one), Self::Prompt(two)) => Arc::ptr_eq(one, two),
            (Self::Resource(one), Self::Resource(two)) => Arc::ptr_eq(one, two),
            _ => false,
        }
    }
}

/// The same for every kind but for what differs between them.
macro_rules! stored {
    ($definition:ty, $kind:ident, $shelf:ident, $decode:path) => {
        impl Stored for $definition {
            fn record(entry: Arc<Entry<Self>>) -> Record {
                Record::$kind(entry)
            }

            fn of(record: &Record) -> Option<&Arc<Entry<Self>>> {
                match record {
                    Record::$kind(entry) => Some(entry),
                    _ => None,
                }
            }

            fn shelf(snapshot: &Snapshot) -> &Shelf<Self> {
                snapshot.$shelf()
            }

            fn decode(members: &mut Members<'_>) -> Result<Self, String> {
                $decode(members)
            }
        }
    };
}

stored!(Definition, Tool, tool_shelf, super::fields::decode_tool);
stored!(
    PromptDefinition,
    Prompt,
    prompt_shelf,
    super::fields::decode_prompt
);
stored!(
    ResourceDefinition,
    Resource,
    resource_shelf,
    super::fields::decode_resource
);
