//! What MCP clients demand of the schemas of a tool beyond their being schemas (MCP 2026-07-28,
//! tools).

use serde_json::Value;

use super::Schema;
use super::compile::push_token;
use super::error::{SchemaError, SchemaFault};
use super::param_headers;

/// Compiles an `inputSchema`: an object whose `type` is `"object"`.
///
/// # Errors
/// As [`Schema::compile`], and what would make a client drop the tool or the whole list.
pub fn check_tool_input_schema(schema: &Value) -> Result<Schema, SchemaError> {
    require_object(schema)?;
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err(invalid("/type", "the root must have \"type\": \"object\""));
    }
    refuse_boolean_properties(schema)?;
    let compiled = Schema::compile(schema)?;
    match param_headers::fault(schema) {
        Some((pointer, reason)) => Err(invalid(&pointer, &reason)),
        None => Ok(compiled),
    }
}

/// Compiles an `outputSchema`: an object schema of any type. Where its `type` is not `"object"`,
/// protocol revisions before 2026-07-28 cannot list it.
///
/// # Errors
/// As [`Schema::compile`], and what would make a client drop the tool or the whole list.
pub fn check_tool_output_schema(schema: &Value) -> Result<Schema, SchemaError> {
    require_object(schema)?;
    refuse_boolean_properties(schema)?;
    Schema::compile(schema)
}

fn require_object(schema: &Value) -> Result<(), SchemaError> {
    if schema.is_object() {
        return Ok(());
    }
    Err(invalid("", "a tool's schema must be an object"))
}

/// Clients of the TypeScript SDK drop the whole list for one property whose schema is a boolean.
fn refuse_boolean_properties(schema: &Value) -> Result<(), SchemaError> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return Ok(());
    };
    for (name, property) in properties {
        let mend = match property {
            Value::Bool(true) => "{}",
            Value::Bool(false) => "{\"not\": {}}",
            _ => continue,
        };
        let mut pointer = "/properties".to_owned();
        push_token(&mut pointer, name);
        let reason = format!("clients refuse a boolean as a property's schema: write {mend}");
        return Err(invalid(&pointer, &reason));
    }
    Ok(())
}

fn invalid(pointer: &str, reason: &str) -> SchemaError {
    SchemaError::new(pointer, SchemaFault::Invalid(reason.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn input_schemas() {
        for good in [
            json!({"type": "object"}),
            json!({"type": "object", "additionalProperties": false}),
            json!({"type": "object", "properties": {"x": {}, "y": {"properties": {"z": true}}}}),
        ] {
            assert!(check_tool_input_schema(&good).is_ok(), "{good}");
        }
        for (bad, expected) in [
            (json!(true), "at #: a tool's schema must be an object"),
            (json!(null), "at #: a tool's schema must be an object"),
            (
                json!({}),
                "at #/type: the root must have \"type\": \"object\"",
            ),
            (
                json!({"type": ["object"]}),
                "at #/type: the root must have \"type\": \"object\"",
            ),
            (
                json!({"type": "object", "properties": {"a/b": true}}),
                "at #/properties/a~1b: clients refuse a boolean as a property's schema: write {}",
            ),
            (
                json!({"type": "object", "properties": {"x": false}}),
                "at #/properties/x: clients refuse a boolean as a property's schema: write {\"not\": {}}",
            ),
            (
                json!({"type": "object", "properties": {"x": {"x-mcp-header": "X"}}}),
                "at #/properties/x/x-mcp-header: only a string, an integer or a boolean fits into a header",
            ),
            (
                json!({"type": "object", "required": "x"}),
                "at #/required: \"required\" must list different property names",
            ),
        ] {
            let error = check_tool_input_schema(&bad).unwrap_err();
            assert_eq!(error.to_string(), expected, "{bad}");
        }
    }

    #[test]
    fn output_schemas_may_be_of_any_type() {
        assert!(check_tool_output_schema(&json!({"type": "array"})).is_ok());
        assert!(check_tool_output_schema(&json!({})).is_ok());
        assert!(check_tool_output_schema(&json!(true)).is_err());
        assert!(check_tool_output_schema(&json!({"properties": {"x": true}})).is_err());
    }
}
