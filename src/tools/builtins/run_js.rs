//! `run_js_ephemeral`: runs code once, without storing it.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Access, BuiltIn, Draft, closed_object, merged, read};
use crate::audit::Action;
use crate::domain::entry::Dependency;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::json::JsonText;
use crate::domain::program::Program;
use crate::domain::tool::{DEFAULT_TIMEOUT_MS, MAX_CODE_CHARS, MIN_TIMEOUT_MS};
use crate::metrics::CallKind;
use crate::tools::call::{CallContext, Execution};
use crate::tools::called::Called;
use crate::tools::description::CODE_CONTRACT;
use crate::tools::{ToolSettings, Tools};

const NAME: &str = "run_js_ephemeral";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    code: Arc<str>,
    args: Option<JsonText>,
    image: Option<String>,
    #[serde(default)]
    dependencies: Vec<Dependency>,
    timeout_ms: Option<u64>,
}

/// The properties that every place taking code shares.
pub(super) fn code_properties(settings: &ToolSettings) -> Value {
    json!({
        "code": {
            "type": "string", "minLength": 1, "maxLength": MAX_CODE_CHARS,
            "description": "Body of async function run(args, ctx).",
        },
        "image": {
            "type": "string",
            "description": "Container image, one of those the operator allows; leave it out.",
        },
        "dependencies": {
            "type": "array", "maxItems": settings.max_dependencies,
            "items": {
                "type": "object",
                "properties": {
                    "name": { "type": "string" },
                    "version": { "type": "string", "minLength": 1, "maxLength": 128 },
                },
                "required": ["name", "version"],
                "additionalProperties": false,
            },
            "description": "npm packages that the code loads.",
        },
        "timeoutMs": {
            "type": "integer", "minimum": MIN_TIMEOUT_MS, "maximum": settings.max_timeout_ms,
            "description": "Time limit of one run in milliseconds; 30000 where left out.",
        },
    })
}

pub(super) fn run_js_ephemeral(settings: &ToolSettings) -> BuiltIn {
    let args = json!({ "args": {
        "type": "object",
        "description": "What the code receives as args; {} where left out.",
    } });
    let properties = merged(code_properties(settings), args);
    BuiltIn::new(Draft {
        name: NAME,
        title: "Run JavaScript once",
        description: format!(
            "Runs JavaScript once in a fresh sandbox and returns its value. {CODE_CONTRACT} \
             Example: {{\"code\":\"return args.a + args.b\",\"args\":{{\"a\":1,\"b\":2}}}}"
        ),
        input: closed_object(&["code"], properties),
        output: None,
        annotations: json!({ "openWorldHint": false, "destructiveHint": false }),
        access: Access::Everybody(run),
    })
}

fn run(tools: &Tools, context: &CallContext<'_>, arguments: &JsonText) -> Called {
    let input: Input = match read(arguments) {
        Ok(input) => input,
        Err(failure) => return Called::refused(CallKind::RunJs, failure),
    };
    let program = Program {
        code: input.code,
        image: input.image,
        timeout_ms: input
            .timeout_ms
            .unwrap_or(DEFAULT_TIMEOUT_MS.min(tools.settings.max_timeout_ms)),
        dependencies: input.dependencies,
    };
    let checked = program.check(
        tools.settings.max_timeout_ms,
        tools.settings.max_dependencies,
    );
    if let Err(broken) = checked {
        let rules: Vec<_> = broken.iter().map(ToString::to_string).collect();
        let failure = Failure::new(FailureKind::InvalidArguments, rules.join("; "));
        return Called::refused(CallKind::RunJs, failure);
    }
    let execution = Execution {
        kind: CallKind::RunJs,
        action: Action::RunJs,
        revision: None,
        asker: String::new(),
        scope: NAME.to_owned(),
        label: NAME,
        program,
        args: input.args.unwrap_or_else(JsonText::empty_object),
        sandbox: None,
    };
    tools.execute(context, &execution, None)
}
