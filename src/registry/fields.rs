//! The fields of stored definitions: which there are, and the rule that each one's type is.

use super::members::Members;
use crate::domain::prompt::PromptDefinition;
use crate::domain::resource::ResourceDefinition;
use crate::domain::tool::{DEFAULT_TIMEOUT_MS, Definition};

const TEXT: &str = "must be a string of valid Unicode";
const JSON: &str = "must be a JSON object";
const MILLIS: &str = "must be a whole number";
const DEPENDENCIES: &str = "must be an array of objects of a name and a version";

pub(super) fn decode_tool(members: &mut Members<'_>) -> Result<Definition, String> {
    Ok(Definition {
        title: members.take("title", TEXT)?,
        description: members.required("description", TEXT)?,
        image: members.take("image", TEXT)?,
        timeout_ms: members
            .take("timeoutMs", MILLIS)?
            .unwrap_or(DEFAULT_TIMEOUT_MS),
        dependencies: members
            .take("dependencies", DEPENDENCIES)?
            .unwrap_or_default(),
        input_schema: members.take("inputSchema", JSON)?,
        output_schema: members.take("outputSchema", JSON)?,
        annotations: members.take("annotations", JSON)?,
        requires_client_capabilities: members
            .take(
                "requiresClientCapabilities",
                "must be an array of \"elicitation\", \"sampling\" and \"roots\"",
            )?
            .unwrap_or_default(),
        code: members.required("code", TEXT)?,
        enabled: members
            .take("enabled", "must be true or false")?
            .unwrap_or(true),
    })
}

pub(super) fn decode_prompt(members: &mut Members<'_>) -> Result<PromptDefinition, String> {
    Ok(PromptDefinition {
        title: members.take("title", TEXT)?,
        description: members.take("description", TEXT)?,
        arguments: members
            .take("arguments", "must be an array of objects with a name")?
            .unwrap_or_default(),
        messages: members.take("messages", "must be a JSON array")?,
        code: members.take("code", TEXT)?,
        image: members.take("image", TEXT)?,
        timeout_ms: members.take("timeoutMs", MILLIS)?,
        dependencies: members
            .take("dependencies", DEPENDENCIES)?
            .unwrap_or_default(),
    })
}

pub(super) fn decode_resource(members: &mut Members<'_>) -> Result<ResourceDefinition, String> {
    Ok(ResourceDefinition {
        uri: members.take("uri", TEXT)?,
        uri_template: members.take("uriTemplate", TEXT)?,
        title: members.take("title", TEXT)?,
        description: members.take("description", TEXT)?,
        mime_type: members.take("mimeType", TEXT)?,
        complete: members
            .take("complete", "must be an object of arrays of strings")?
            .unwrap_or_default(),
        text: members.take("text", TEXT)?,
        blob: members.take("blob", TEXT)?,
        code: members.take("code", TEXT)?,
        image: members.take("image", TEXT)?,
        timeout_ms: members.take("timeoutMs", MILLIS)?,
        dependencies: members
            .take("dependencies", DEPENDENCIES)?
            .unwrap_or_default(),
    })
}
