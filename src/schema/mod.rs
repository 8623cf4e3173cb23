//! JSON Schema 2020-12, as far as tool schemas need it: compiling once, validating often, saying
//! what to mend. Pure: nothing here reads a file, opens a connection or fetches a `$ref`.
//!
//! Not supported keywords are refused when the schema is compiled; none is silently ignored.
//! `format` and the `content*` keywords are annotations, as the standard's default vocabulary has
//! it.
//!
//! `compile` walks the document into an arena of nodes, `keywords` reads the single
//! keywords, `reference` ties `$ref`s, `validate` and `containers` walk arena and instance together
//! under a budget of steps.

mod canonical;
mod compile;
mod containers;
mod ecma;
mod error;
mod finding;
mod keywords;
mod node;
mod number;
mod param_headers;
mod pattern;
mod reference;
mod tool;
mod validate;

use serde_json::Value;

pub use error::{SchemaError, SchemaFault, Violation, Violations};
pub use param_headers::{ParamHeader, param_headers};
pub use tool::{check_tool_input_schema, check_tool_output_schema};

/// A compiled schema, to be shared between threads.
#[derive(Debug)]
pub struct Schema {
    nodes: Vec<node::Node>,
}

impl Schema {
    /// Compiles a whole document. JSON Schema 2020-12 is the default dialect; draft-07 is
    /// understood as far as both mean the same.
    ///
    /// # Errors
    /// What is wrong, not supported or above a bound, and where.
    pub fn compile(schema: &Value) -> Result<Self, SchemaError> {
        compile::compile(schema).map(|nodes| Self { nodes })
    }

    /// Checks one value.
    ///
    /// # Errors
    /// At most [`Violations::MAX`] of what does not fit; one, when the check itself would cost too
    /// much.
    pub fn validate(&self, instance: &Value) -> Result<(), Violations> {
        validate::validate(&self.nodes, instance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn shared_between_threads() {
        fn assert_shareable<T: Send + Sync>() {}
        assert_shareable::<Schema>();
    }

    #[test]
    fn any_keyword_with_any_value_compiles_or_is_refused() {
        let keywords = [
            "$schema",
            "$id",
            "$ref",
            "$anchor",
            "$defs",
            "definitions",
            "type",
            "enum",
            "const",
            "minimum",
            "exclusiveMaximum",
            "multipleOf",
            "minLength",
            "maxItems",
            "pattern",
            "items",
            "prefixItems",
            "contains",
            "minContains",
            "uniqueItems",
            "properties",
            "patternProperties",
            "additionalProperties",
            "propertyNames",
            "required",
            "dependentRequired",
            "dependentSchemas",
            "allOf",
            "oneOf",
            "not",
            "if",
            "then",
            "x-a",
            "",
        ];
        let odd = [
            json!(null),
            json!(true),
            json!(false),
            json!(0),
            json!(-1),
            json!(1.5),
            json!(1e308),
            json!(5e-324),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(""),
            json!("#"),
            json!("(?:"),
            json!("#/not/~2"),
            json!("object"),
            json!([]),
            json!([[]]),
            json!([null]),
            json!(["a", "a"]),
            json!([{}]),
            json!({}),
            json!({"": {}}),
            json!({"(": true}),
            json!({"a": ["b"]}),
            json!({"\0": 1}),
        ];
        let mut compiled = 0;
        for keyword in keywords {
            for value in &odd {
                for schema in [
                    json!({keyword: value}),
                    json!({"items": {keyword: value}, "if": true}),
                ] {
                    if let Ok(schema) = Schema::compile(&schema) {
                        compiled += 1;
                        for instance in &odd {
                            drop(schema.validate(instance));
                        }
                    }
                }
            }
        }
        assert!(compiled > 250, "{compiled}");
    }
}
