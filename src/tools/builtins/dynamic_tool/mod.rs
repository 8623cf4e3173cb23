//! `dynamic.tool.create|update|delete|list|get|enable|call`: what clients see of the tools that
//! make tools. What they do stands in `acts`.

mod acts;
mod patch;
mod view;

use serde_json::{Value, json};

use super::run_js::code_properties;
use super::{Access, BuiltIn, Draft, admin_token_property, closed_object, merged};
use crate::domain::asking::ClientCapability;
use crate::domain::tool::{MAX_DESCRIPTION_CHARS, MAX_TITLE_CHARS};
use crate::tools::ToolSettings;
use crate::tools::called::Called;
use crate::tools::description::CODE_CONTRACT;

const CREATE_EXAMPLE: &str = "{\"tool\":{\"name\":\"math.add\",\"description\":\"Adds two numbers.\",\
    \"inputSchema\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"number\"},\
    \"b\":{\"type\":\"number\"}},\"required\":[\"a\",\"b\"]},\"code\":\"return args.a + args.b;\"}}";

pub(super) fn all(settings: &ToolSettings) -> Vec<BuiltIn> {
    vec![
        create_tool(settings),
        update_tool(settings),
        delete_tool(),
        enable_tool(),
        list_tools(),
        get_tool(),
        call_tool(),
    ]
}

fn name_property() -> Value {
    json!({ "type": "string", "description": "Name of the dynamic tool." })
}

fn revision_property() -> Value {
    json!({
        "type": "integer", "minimum": 1,
        "description": "Refuse unless the tool still has this revision.",
    })
}

fn definition_properties(settings: &ToolSettings) -> Value {
    let own = json!({
        "title": {
            "type": "string", "minLength": 1, "maxLength": MAX_TITLE_CHARS,
            "description": "Shown to people.",
        },
        "description": {
            "type": "string", "minLength": 1, "maxLength": MAX_DESCRIPTION_CHARS,
            "description": "What the tool does and when to use it, for the model that chooses it.",
        },
        "inputSchema": {
            "type": "object",
            "description": "JSON Schema (2020-12) of the arguments, with \"type\": \"object\"; the code \
                receives them as args. Without it callers send {\"args\":{…}}.",
        },
        "outputSchema": {
            "type": "object",
            "description": "JSON Schema of the returned value, which is checked against it.",
        },
        "annotations": {
            "type": "object",
            "description": "MCP tool annotations: title, readOnlyHint, destructiveHint, idempotentHint, \
                openWorldHint.",
        },
        "requiresClientCapabilities": {
            "type": "array", "uniqueItems": true,
            "items": { "enum": ClientCapability::ALL },
            "description": "What a client must be able to do to call the tool, for code that cannot \
                do without ctx.elicit (elicitation), ctx.sample (sampling) or ctx.listRoots (roots).",
        },
        "enabled": {
            "type": "boolean", "description": "Whether it is listed and callable; true where left out.",
        },
    });
    merged(code_properties(settings), own)
}

/// The same properties, with null allowed where the field is optional in a tool.
fn nullable(properties: Value) -> Value {
    let Value::Object(mut fields) = properties else {
        return properties;
    };
    for optional in [
        "title",
        "image",
        "inputSchema",
        "outputSchema",
        "annotations",
        "requiresClientCapabilities",
        "timeoutMs",
        "dependencies",
        "enabled",
    ] {
        if let Some(kind) = fields
            .get_mut(optional)
            .and_then(|field| field.get_mut("type"))
        {
            *kind = json!([kind.take(), "null"]);
        }
    }
    Value::Object(fields)
}

/// Requires nothing: a failure, which has no tool, must fit too.
fn tool_output() -> Value {
    json!({ "type": "object", "properties": { "tool": { "type": "object" } } })
}

fn create_tool(settings: &ToolSettings) -> BuiltIn {
    let name = json!({
        "name": {
            "type": "string", "minLength": 3, "maxLength": 64,
            "pattern": "^[a-zA-Z][a-zA-Z0-9._:-]*$",
            "description": "Unique; letters, digits, '.', '_' and '-', starting with a letter.",
        },
    });
    let properties = merged(definition_properties(settings), name);
    BuiltIn::new(Draft {
        name: "dynamic.tool.create",
        title: "Create a tool",
        description: format!(
            "Creates a tool from JavaScript; it can be called at once. {CODE_CONTRACT} \
             Example: {CREATE_EXAMPLE}"
        ),
        input: closed_object(
            &["tool"],
            json!({
                "adminToken": admin_token_property(),
                "tool": closed_object(&["name", "description", "code"], properties),
            }),
        ),
        output: Some(tool_output()),
        annotations: json!({ "destructiveHint": false, "openWorldHint": false }),
        access: Access::Admin(|tools, context, arguments, permit| {
            Called::built_in(acts::create(tools, context, arguments, permit))
        }),
    })
}

fn update_tool(settings: &ToolSettings) -> BuiltIn {
    let properties = nullable(definition_properties(settings));
    let patch = merged(
        closed_object(&[], properties),
        json!({
            "minProperties": 1,
            "description": "The fields to change; null removes an optional one.",
        }),
    );
    BuiltIn::new(Draft {
        name: "dynamic.tool.update",
        title: "Change a tool",
        description: format!("Changes fields of a dynamic tool. {CODE_CONTRACT}"),
        input: closed_object(
            &["name", "patch"],
            json!({
                "adminToken": admin_token_property(),
                "name": name_property(),
                "patch": patch,
                "expectedRevision": revision_property(),
            }),
        ),
        output: Some(tool_output()),
        annotations: json!({ "openWorldHint": false }),
        access: Access::Admin(|tools, context, arguments, permit| {
            Called::built_in(acts::update(tools, context, arguments, permit))
        }),
    })
}

fn delete_tool() -> BuiltIn {
    BuiltIn::new(Draft {
        name: "dynamic.tool.delete",
        title: "Delete a tool",
        description: "Deletes a dynamic tool for good.".to_owned(),
        input: closed_object(
            &["name"],
            json!({
                "adminToken": admin_token_property(),
                "name": name_property(),
                "expectedRevision": revision_property(),
            }),
        ),
        output: None,
        annotations: json!({ "idempotentHint": true, "openWorldHint": false }),
        access: Access::Admin(|tools, context, arguments, permit| {
            Called::built_in(acts::delete(tools, context, arguments, permit))
        }),
    })
}

fn enable_tool() -> BuiltIn {
    BuiltIn::new(Draft {
        name: "dynamic.tool.enable",
        title: "Enable or disable a tool",
        description: "Shows or hides a dynamic tool without deleting it.".to_owned(),
        input: closed_object(
            &["name", "enabled"],
            json!({
                "adminToken": admin_token_property(),
                "name": name_property(),
                "enabled": { "type": "boolean" },
                "expectedRevision": revision_property(),
            }),
        ),
        output: Some(tool_output()),
        annotations: json!({ "idempotentHint": true, "openWorldHint": false }),
        access: Access::Admin(|tools, context, arguments, permit| {
            Called::built_in(acts::enable(tools, context, arguments, permit))
        }),
    })
}

fn list_tools() -> BuiltIn {
    BuiltIn::new(Draft {
        name: "dynamic.tool.list",
        title: "List dynamic tools",
        description: "Lists all dynamic tools, disabled ones too.".to_owned(),
        input: closed_object(
            &[],
            json!({
                "adminToken": admin_token_property(),
                "includeCode": { "type": "boolean", "description": "With their code." },
            }),
        ),
        output: Some(json!({
            "type": "object",
            "properties": { "tools": { "type": "array", "items": { "type": "object" } } },
        })),
        annotations: json!({ "readOnlyHint": true, "openWorldHint": false }),
        access: Access::Admin(|tools, _, arguments, _| {
            Called::built_in(acts::list(tools, arguments))
        }),
    })
}

fn get_tool() -> BuiltIn {
    BuiltIn::new(Draft {
        name: "dynamic.tool.get",
        title: "Show a dynamic tool",
        description: "Shows a dynamic tool with its code.".to_owned(),
        input: closed_object(
            &["name"],
            json!({ "adminToken": admin_token_property(), "name": name_property() }),
        ),
        output: Some(tool_output()),
        annotations: json!({ "readOnlyHint": true, "openWorldHint": false }),
        access: Access::Admin(|tools, _, arguments, _| {
            Called::built_in(acts::get(tools, arguments))
        }),
    })
}

fn call_tool() -> BuiltIn {
    BuiltIn::new(Draft {
        name: "dynamic.tool.call",
        title: "Call a dynamic tool",
        description: "Calls a dynamic tool by name, also one that was made after you listed the \
            tools. The result is that tool's own."
            .to_owned(),
        input: closed_object(
            &["name"],
            json!({
                "name": name_property(),
                "arguments": { "type": "object", "description": "The tool's own arguments." },
            }),
        ),
        output: None,
        annotations: json!({ "openWorldHint": false }),
        access: Access::Everybody(acts::call),
    })
}
