//! `dynamic.prompt.*`: what authors decide about prompts.

use serde_json::{Value, json};

use super::made::{Fields, Made, Words, complete_timeout};
use super::words_properties;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::limits::{MAX_CHOICE_CHARS, MAX_CHOICES};
use crate::domain::prompt::{MAX_ARGUMENTS, PromptDefinition};
use crate::tools::builtins::run_js::code_properties;
use crate::tools::builtins::{closed_object, merged};
use crate::tools::messages::{MAX_MESSAGES, check_messages};
use crate::tools::prompts::CHECKLIST;
use crate::tools::{ToolSettings, Tools};

const FORMS: &str = "Its messages stand there (messages), with {{name}} in their texts for each \
    argument, or code makes them (code): the body of `async function run(args, ctx)` as for \
    dynamic.tool.create, where args has the arguments as strings; it returns a string (one message \
    of the user), an array of messages, or { description, messages }. A message is { role, content }, \
    where role is user or assistant and content a string or one MCP content block.";

const CREATE_EXAMPLE: &str = "{\"prompt\":{\"name\":\"code.review\",\"description\":\"Asks for a \
    review.\",\"arguments\":[{\"name\":\"language\",\"required\":true,\"complete\":[\"rust\",\"python\"]}],\
    \"messages\":[{\"role\":\"user\",\"content\":\"Review this {{language}} code.\"}]}}";

impl Made for PromptDefinition {
    const WORDS: Words = Words {
        create: "dynamic.prompt.create",
        update: "dynamic.prompt.update",
        delete: "dynamic.prompt.delete",
        list: "dynamic.prompt.list",
        get: "dynamic.prompt.get",
        titles: [
            "Create a prompt",
            "Change a prompt",
            "Delete a prompt",
            "List dynamic prompts",
            "Show a dynamic prompt",
        ],
        listing: "Lists all dynamic prompts.",
        with_code: "With their messages or code.",
        showing: "Shows a dynamic prompt with its messages or code, as its author wrote them.",
    };
    const REQUIRED: &'static [&'static str] = &[];
    const BODY: &'static [&'static str] = &["messages", "code"];

    fn properties(settings: &ToolSettings) -> Value {
        let text = |description: &str| json!({ "type": "string", "description": description });
        let argument = closed_object(
            &["name"],
            json!({
                "name": { "type": "string", "pattern": "^[a-zA-Z0-9_.-]{1,64}$" },
                "title": text("Shown to people."),
                "description": text("What it is for."),
                "required": { "type": "boolean", "description": "false where left out." },
                "complete": {
                    "type": "array", "maxItems": MAX_CHOICES,
                    "items": { "type": "string", "minLength": 1, "maxLength": MAX_CHOICE_CHARS },
                    "description": "Values that clients offer while it is typed; others are taken too.",
                },
            }),
        );
        let message = closed_object(
            &["role", "content"],
            json!({
                "role": { "enum": ["user", "assistant"] },
                "content": {
                    "type": ["string", "object"],
                    "description": "A text, or one MCP content block: text, image, audio, resource, \
                        resource_link.",
                },
            }),
        );
        let own = json!({
            "arguments": {
                "type": "array", "maxItems": MAX_ARGUMENTS, "items": argument,
                "description": "What whoever gets the prompt fills in.",
            },
            "messages": {
                "type": "array", "maxItems": MAX_MESSAGES, "items": message,
                "description": "The messages; {{name}} in a text stands for the argument of that name.",
            },
        });
        let words = "What the prompt is for.";
        merged(
            merged(code_properties(settings), words_properties(words)),
            own,
        )
    }

    fn create_description() -> String {
        format!(
            "Creates a prompt; clients list and get it at once. {FORMS} Example: {CREATE_EXAMPLE}"
        )
    }

    fn update_description() -> String {
        format!("Changes fields of a dynamic prompt. {FORMS}")
    }

    fn complete(fields: &mut Fields, default_timeout_ms: u64) {
        complete_timeout(fields, default_timeout_ms);
    }

    fn reserved(name: &str) -> Option<String> {
        let own = CHECKLIST.replace(['.', ':', '-'], "_");
        let is_own = name.replace(['.', ':', '-'], "_") == own;
        is_own.then(|| format!("\"{CHECKLIST}\" is a prompt of the server's own"))
    }

    fn vet(&self, _: &Tools) -> Result<(), Failure> {
        let invalid = |message: String| Failure::new(FailureKind::InvalidArguments, message);
        let Some(messages) = &self.messages else {
            return Ok(());
        };
        let value = messages
            .value()
            .map_err(|error| invalid(format!("messages: {error}")))?;
        check_messages(&value).map_err(|rule| invalid(format!("messages{rule}")))
    }
}
