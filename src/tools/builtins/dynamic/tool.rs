//! `dynamic.tool.*`: what authors decide about tools.

use serde_json::{Value, json};

use super::made::{Fields, Made, Words, complete_timeout};
use super::{acts, name_property, one_output, revision_property, words_properties};
use crate::domain::asking::ClientCapability;
use crate::domain::entry::Entry;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::json::JsonText;
use crate::domain::tool::{Definition, Tool};
use crate::schema::{check_tool_input_schema, check_tool_output_schema};
use crate::tools::builtins::run_js::code_properties;
use crate::tools::builtins::{
    Access, BuiltIn, Draft, admin_token_property, closed_object, merged, reserved,
};
use crate::tools::called::Called;
use crate::tools::catalog::listed_input_schema;
use crate::tools::description::CODE_CONTRACT;
use crate::tools::{ToolSettings, Tools};

const CREATE_EXAMPLE: &str = "{\"tool\":{\"name\":\"math.add\",\"description\":\"Adds two numbers.\",\
    \"inputSchema\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"number\"},\
    \"b\":{\"type\":\"number\"}},\"required\":[\"a\",\"b\"]},\"code\":\"return args.a + args.b;\"}}";

impl Made for Definition {
    const WORDS: Words = Words {
        create: "dynamic.tool.create",
        update: "dynamic.tool.update",
        delete: "dynamic.tool.delete",
        list: "dynamic.tool.list",
        get: "dynamic.tool.get",
        titles: [
            "Create a tool",
            "Change a tool",
            "Delete a tool",
            "List dynamic tools",
            "Show a dynamic tool",
        ],
        listing: "Lists all dynamic tools, disabled ones too.",
        with_code: "With their code.",
        showing: "Shows a dynamic tool with its code.",
    };
    const REQUIRED: &'static [&'static str] = &["description", "code"];
    const BODY: &'static [&'static str] = &["code"];

    fn properties(settings: &ToolSettings) -> Value {
        let own = json!({
            "inputSchema": {
                "type": "object",
                "description": "JSON Schema (2020-12) of the arguments, with \"type\": \"object\"; the \
                    code receives them as args. Without it callers send {\"args\":{…}}.",
            },
            "outputSchema": {
                "type": "object",
                "description": "JSON Schema of the returned value, which is checked against it.",
            },
            "annotations": {
                "type": "object",
                "description": "MCP tool annotations: title, readOnlyHint, destructiveHint, \
                    idempotentHint, openWorldHint.",
            },
            "requiresClientCapabilities": {
                "type": "array", "uniqueItems": true,
                "items": { "enum": ClientCapability::ALL },
                "description": "What a client must be able to do to call the tool, for code that \
                    cannot do without ctx.elicit (elicitation), ctx.sample (sampling) or \
                    ctx.listRoots (roots).",
            },
            "enabled": {
                "type": "boolean",
                "description": "Whether it is listed and callable; true where left out.",
            },
        });
        let words = "What the tool does and when to use it, for the model that chooses it.";
        merged(
            merged(code_properties(settings), words_properties(words)),
            own,
        )
    }

    fn create_description() -> String {
        format!(
            "Creates a tool from JavaScript; it can be called at once. {CODE_CONTRACT} \
             Example: {CREATE_EXAMPLE}"
        )
    }

    fn update_description() -> String {
        format!("Changes fields of a dynamic tool. {CODE_CONTRACT}")
    }

    fn complete(fields: &mut Fields, default_timeout_ms: u64) {
        complete_timeout(fields, default_timeout_ms);
        let enabled = || JsonText::from_value(&true);
        fields.entry("enabled".to_owned()).or_insert_with(enabled);
    }

    fn reserved(name: &str) -> Option<String> {
        reserved(name)
    }

    fn vet(&self, _: &Tools) -> Result<(), Failure> {
        if let Some(schema) = &self.input_schema {
            check_schema("inputSchema", schema, |value| {
                check_tool_input_schema(value).err()
            })?;
        }
        if let Some(schema) = &self.output_schema {
            check_schema("outputSchema", schema, |value| {
                check_tool_output_schema(value).err()
            })?;
        }
        Ok(())
    }

    fn show(tool: &Entry<Self>, fields: &mut Fields) {
        let tool: &Tool = tool;
        fields.insert("inputSchema".to_owned(), listed_input_schema(tool));
    }
}

fn check_schema<E: std::fmt::Display>(
    which: &str,
    schema: &JsonText,
    fault: impl Fn(&Value) -> Option<E>,
) -> Result<(), Failure> {
    let invalid = |message: String| Failure::new(FailureKind::InvalidArguments, message);
    let value = schema
        .value()
        .map_err(|error| invalid(format!("{which}: {error}")))?;
    match fault(&value) {
        None => Ok(()),
        Some(fault) => Err(invalid(format!("{which} {fault}"))),
    }
}

pub(super) fn enable() -> BuiltIn {
    BuiltIn::new(Draft {
        name: "dynamic.tool.enable",
        title: "Enable or disable a tool",
        description: "Shows or hides a dynamic tool without deleting it.".to_owned(),
        input: closed_object(
            &["name", "enabled"],
            json!({
                "adminToken": admin_token_property(),
                "name": name_property::<Definition>(),
                "enabled": { "type": "boolean" },
                "expectedRevision": revision_property::<Definition>(),
            }),
        ),
        output: Some(one_output::<Definition>()),
        annotations: json!({ "idempotentHint": true, "openWorldHint": false }),
        access: Access::Admin(|tools, context, arguments, permit| {
            Called::built_in(acts::enable(tools, context, arguments, permit))
        }),
    })
}

pub(super) fn call() -> BuiltIn {
    BuiltIn::new(Draft {
        name: "dynamic.tool.call",
        title: "Call a dynamic tool",
        description: "Calls a dynamic tool by name, also one that was made after you listed the \
            tools. The result is that tool's own."
            .to_owned(),
        input: closed_object(
            &["name"],
            json!({
                "name": name_property::<Definition>(),
                "arguments": { "type": "object", "description": "The tool's own arguments." },
            }),
        ),
        output: None,
        annotations: json!({ "openWorldHint": false }),
        access: Access::Everybody(acts::call),
    })
}
