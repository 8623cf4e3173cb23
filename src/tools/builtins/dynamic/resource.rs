//! `dynamic.resource.*`: what authors decide about resources.

use serde_json::{Value, json};

use super::made::{Fields, Made, Words, complete_timeout};
use super::words_properties;
use crate::domain::failure::Failure;
use crate::domain::limits::{MAX_CHOICE_CHARS, MAX_CHOICES};
use crate::domain::resource::ResourceDefinition;
use crate::domain::uri_template::MAX_URI_BYTES;
use crate::tools::builtins::merged;
use crate::tools::builtins::run_js::code_properties;
use crate::tools::{ToolSettings, Tools};

const FORMS: &str = "It has a uri, or a uriTemplate (RFC 6570) with {name} for a part without \
    slashes and {+name} for one with any. Its content stands there (text, or blob in base64), or \
    code makes it (code): the body of `async function run(args, ctx)` as for dynamic.tool.create, \
    where args has the uri that is read and the template's variables as strings; it returns a string, \
    { text, mimeType } or { blob, mimeType }, an array of these, or null where there is nothing. In \
    the text of a template, {{name}} stands for a variable.";

const CREATE_EXAMPLE: &str = "{\"resource\":{\"name\":\"notes.day\",\"uriTemplate\":\"notes://{day}\",\
    \"description\":\"Notes of a day.\",\"mimeType\":\"text/plain\",\"complete\":{\"day\":[\"monday\"]},\
    \"code\":\"return 'Notes of ' + args.day;\"}}";

impl Made for ResourceDefinition {
    const WORDS: Words = Words {
        create: "dynamic.resource.create",
        update: "dynamic.resource.update",
        delete: "dynamic.resource.delete",
        list: "dynamic.resource.list",
        get: "dynamic.resource.get",
        titles: [
            "Create a resource",
            "Change a resource",
            "Delete a resource",
            "List dynamic resources",
            "Show a dynamic resource",
        ],
        listing: "Lists all dynamic resources and templates.",
        with_code: "With their text, blob or code.",
        showing: "Shows a dynamic resource with its text, blob or code, as its author wrote it.",
    };
    const REQUIRED: &'static [&'static str] = &[];
    const BODY: &'static [&'static str] = &["text", "blob", "code"];
    const EXCLUSIVE: &'static [&'static str] = &["uri", "uriTemplate"];

    fn properties(settings: &ToolSettings) -> Value {
        let own = json!({
            "uri": {
                "type": "string", "maxLength": MAX_URI_BYTES,
                "description": "What it is read by, such as notes://today; any scheme but dynamic:.",
            },
            "uriTemplate": {
                "type": "string", "maxLength": MAX_URI_BYTES,
                "description": "In place of uri, for many resources: such as notes://{day}.",
            },
            "mimeType": {
                "type": "string", "description": "Media type, such as text/markdown.",
            },
            "complete": {
                "type": "object",
                "additionalProperties": {
                    "type": "array", "maxItems": MAX_CHOICES,
                    "items": { "type": "string", "minLength": 1, "maxLength": MAX_CHOICE_CHARS },
                },
                "description": "For variables of uriTemplate: values that clients offer while they \
                    are typed; others are taken too.",
            },
            "text": { "type": "string", "description": "The content." },
            "blob": { "type": "string", "description": "The content, in base64." },
        });
        let words = "What the resource is.";
        merged(
            merged(code_properties(settings), words_properties(words)),
            own,
        )
    }

    fn create_description() -> String {
        format!(
            "Creates a resource; clients list and read it at once. {FORMS} Example: \
             {CREATE_EXAMPLE}"
        )
    }

    fn update_description() -> String {
        format!("Changes fields of a dynamic resource. {FORMS}")
    }

    fn complete(fields: &mut Fields, default_timeout_ms: u64) {
        complete_timeout(fields, default_timeout_ms);
    }

    fn vet(&self, _: &Tools) -> Result<(), Failure> {
        Ok(())
    }
}
