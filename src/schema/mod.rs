//! JSON Schema 2020-12, as far as tool schemas need it: compiling once, validating often, saying what to mend.
//! Pure: nothing here reads a file, opens a connection or fetches a `$ref`.
//!
//! Not supported keywords are refused when the schema is compiled; none is silently ignored. `format` and the
//! `content*` keywords are annotations, as the standard's default vocabulary has it.
//!
//! `compile` walks the document into an arena of [`node::Node`]s, `keywords` reads the single keywords,
//! `reference` ties `$ref`s, `validate` walks arena and instance together under a budget of steps.

mod canonical;
mod compile;
mod error;
mod finding;
mod keywords;
mod node;
mod number;
mod pattern;
mod reference;
mod tool;
mod validate;

use serde_json::Value;

pub use error::{SchemaError, SchemaFault, Violation, Violations};
pub use tool::{check_tool_input_schema, check_tool_output_schema};

/// A compiled schema, to be shared between threads.
#[derive(Debug)]
pub struct Schema {
    nodes: Vec<node::Node>,
}

impl Schema {
    /// Compiles a whole document. JSON Schema 2020-12 is the default dialect; draft-07 is understood as
    /// far as both mean the same.
    ///
    /// # Errors
    /// What is wrong, not supported or above a bound, and where.
    pub fn compile(schema: &Value) -> Result<Self, SchemaError> {
        compile::compile(schema).map(|nodes| Self { nodes })
    }

    /// Checks one value.
    ///
    /// # Errors
    /// At most [`Violations::MAX`] of what does not fit; one, when the check itself would cost too much.
    pub fn validate(&self, instance: &Value) -> Result<(), Violations> {
        validate::validate(&self.nodes, instance)
    }
}
