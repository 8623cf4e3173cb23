//! A dynamic tool as its author sees it again.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::domain::asking::ClientCapability;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::json::JsonText;
use crate::domain::tool::{Dependency, Tool};
use crate::tools::answer::ToolAnswer;
use crate::tools::catalog::listed_input_schema;

/// The fields, code only where asked for.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct View<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
    timeout_ms: u64,
    dependencies: &'a [Dependency],
    input_schema: JsonText,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_schema: Option<&'a JsonText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<&'a JsonText>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    requires_client_capabilities: &'a BTreeSet<ClientCapability>,
    enabled: bool,
    revision: u64,
    created_at: &'a str,
    updated_at: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
}

pub(super) fn view(tool: &Tool, with_code: bool) -> View<'_> {
    let definition = &tool.definition;
    View {
        name: tool.name.as_str(),
        title: definition.title.as_deref(),
        description: &definition.description,
        image: definition.image.as_deref(),
        timeout_ms: definition.timeout_ms,
        dependencies: &definition.dependencies,
        input_schema: listed_input_schema(tool),
        output_schema: definition.output_schema.as_ref(),
        annotations: definition.annotations.as_ref(),
        requires_client_capabilities: &definition.requires_client_capabilities,
        enabled: definition.enabled,
        revision: tool.revision,
        created_at: &tool.created_at,
        updated_at: &tool.updated_at,
        code: with_code.then_some(&*definition.code),
    }
}

pub(super) fn answer(value: &impl Serialize) -> Result<ToolAnswer, Failure> {
    let text = serde_json::to_string(value).and_then(JsonText::parse);
    let text = text.map_err(|error| Failure::new(FailureKind::Internal, error.to_string()))?;
    Ok(ToolAnswer::value(text))
}

pub(super) fn one_tool(tool: &Tool, with_code: bool) -> Result<ToolAnswer, Failure> {
    #[derive(Serialize)]
    struct One<'a> {
        tool: View<'a>,
    }
    answer(&One {
        tool: view(tool, with_code),
    })
}
