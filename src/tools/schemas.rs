//! What goes into a tool and what comes out of it, held against its schemas.

use std::time::Duration;

use super::answer::ToolAnswer;
use super::content;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::json::JsonText;
use crate::domain::tool::Definition;
use crate::schema::Schema;

pub(super) fn check_arguments(schema: &Schema, arguments: &JsonText) -> Result<(), Failure> {
    let invalid = |message: String| Failure::new(FailureKind::InvalidArguments, message);
    let value = arguments
        .value()
        .map_err(|error| invalid(format!("the arguments cannot be read: {error}")))?;
    schema
        .validate(&value)
        .map_err(|violations| invalid(violations.to_string()))
}

/// What the code receives: the arguments themselves, or, for a tool without `inputSchema`, their
/// `args` member.
pub(super) fn dynamic_arguments(
    definition: &Definition,
    arguments: &JsonText,
) -> Result<JsonText, Failure> {
    if let Some(schema) = &definition.input_schema {
        check_arguments(&compile(schema, "inputSchema")?, arguments)?;
        return Ok(arguments.clone());
    }
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wrapped {
        args: Option<JsonText>,
    }
    let invalid = |message: &str| {
        let message = format!("{message}; this tool takes {{\"args\":{{…}}}}");
        Failure::new(FailureKind::InvalidArguments, message)
    };
    let wrapped: Wrapped = serde_json::from_str(arguments.text())
        .map_err(|_| invalid("$ must have no property but \"args\""))?;
    match wrapped.args {
        None => Ok(JsonText::empty_object()),
        Some(args) if args.text().starts_with('{') => Ok(args),
        Some(_) => Err(invalid("$.args must be an object")),
    }
}

/// A stored schema compiled again: it was checked when it was stored, by this version or another.
fn compile(schema: &JsonText, which: &str) -> Result<Schema, Failure> {
    let unusable = |error: String| {
        let message = format!("the tool's {which} cannot be used ({error}): update the tool");
        Failure::new(FailureKind::Policy, message)
    };
    let value = schema
        .value()
        .map_err(|error| unusable(error.to_string()))?;
    Schema::compile(&value).map_err(|error| unusable(error.to_string()))
}

fn invalid(message: String) -> Failure {
    Failure::new(FailureKind::InvalidResult, message)
}

fn unreadable(error: &serde_json::Error) -> Failure {
    invalid(format!("$ cannot be read: {error}"))
}

pub(super) fn shape_content(
    output_schema: Option<&JsonText>,
    blocks: JsonText,
) -> Result<ToolAnswer, Failure> {
    if output_schema.is_some() {
        let message = "the tool has an outputSchema: return a value, not ctx.content([...])";
        return Err(invalid(message.to_owned()));
    }
    let value = blocks.value().map_err(|error| unreadable(&error))?;
    content::check_blocks(&value)?;
    let taken = content::without_nulls(value.clone());
    // As the code wrote them, where nothing is left out.
    let blocks = match taken == value {
        true => blocks,
        false => JsonText::from_value(&taken),
    };
    Ok(ToolAnswer::blocks(blocks))
}

pub(super) fn shape_value(
    output_schema: Option<&JsonText>,
    value: JsonText,
    duration: Duration,
) -> Result<ToolAnswer, Failure> {
    let Some(schema) = output_schema else {
        return Ok(ToolAnswer::run_result(&value, duration));
    };
    let instance = value.value().map_err(|error| unreadable(&error))?;
    compile(schema, "outputSchema")?
        .validate(&instance)
        .map_err(|violations| invalid(format!("the result does not fit: {violations}")))?;
    Ok(ToolAnswer::value(value))
}
