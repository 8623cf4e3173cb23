//! What a schema's author and a caller read when something does not fit. No text of a caller's
//! strings gets in here but the names of properties.

use std::fmt;

use crate::base::text::clip;

/// Longest pointer that is shown, in bytes.
const MAX_POINTER_BYTES: usize = 500;

/// Why a schema is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaFault {
    /// Legal JSON Schema (or an unknown keyword) that this validator does not have.
    NotSupported {
        /// Its name.
        what: String,
        /// What to write instead, where there is something.
        mend: Option<&'static str>,
    },
    /// Against the standard, or against what MCP clients accept.
    Invalid(String),
    /// Above one of the bounds.
    TooLarge(String),
}

/// A schema that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaError {
    /// Where, as a JSON pointer (RFC 6901) into the schema; empty for its root.
    pub pointer: String,
    /// What is wrong there.
    pub fault: SchemaFault,
}

impl SchemaError {
    pub(super) fn new(pointer: &str, fault: SchemaFault) -> Self {
        let start = clip(pointer, MAX_POINTER_BYTES);
        let ellipsis = if start.len() < pointer.len() {
            "…"
        } else {
            ""
        };
        Self {
            pointer: format!("{start}{ellipsis}"),
            fault,
        }
    }
}

impl fmt::Display for SchemaError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "at #{}: ", self.pointer)?;
        match &self.fault {
            SchemaFault::NotSupported { what, mend } => {
                write!(formatter, "{what} is not supported yet")?;
                mend.map_or(Ok(()), |mend| write!(formatter, " ({mend})"))
            }
            SchemaFault::Invalid(reason) | SchemaFault::TooLarge(reason) => {
                formatter.write_str(reason)
            }
        }
    }
}

impl std::error::Error for SchemaError {}

/// One place where a value does not fit its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Such as `$.items[2].price`; `$` is the value as a whole.
    pub path: String,
    /// What must hold there, to be read behind the path: `must be a number, got string`.
    pub message: String,
}

/// Where a value does not fit its schema: at least one place, at most [`Violations::MAX`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Most places that are reported at once.
    pub const MAX: usize = 10;

    pub(super) fn new(mut list: Vec<Violation>) -> Self {
        list.truncate(Self::MAX);
        if list.is_empty() {
            return Self::whole("must fit its schema");
        }
        Self(list)
    }

    /// One violation of the value as a whole.
    pub(super) fn whole(message: &str) -> Self {
        Self(vec![Violation {
            path: "$".to_owned(),
            message: message.to_owned(),
        }])
    }

    /// The places.
    pub fn list(&self) -> &[Violation] {
        &self.0
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.path, self.message)
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(formatter, "{separator}{violation}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}
