//! `sandbox.initialize|exec|run_js|stop` and `sandbox.session.list`: what clients see of them.
//! What they do stands in `acts`.

mod acts;

use serde_json::{Value, json};

use super::run_js::code_properties;
use super::{Access, BuiltIn, Draft, admin_token_property, closed_object, merged};
use crate::domain::tool::MIN_TIMEOUT_MS;
use crate::tools::ToolSettings;
use crate::tools::called::Called;
use crate::tools::description::CODE_CONTRACT;

/// Commands of one call.
const MAX_COMMANDS: usize = 20;
/// Characters of one command: four bytes each fit into one argument of a program (execve(2)).
const MAX_COMMAND_CHARS: usize = 30_000;

pub(super) fn all(settings: &ToolSettings) -> [BuiltIn; 5] {
    [
        initialize(settings),
        exec(settings),
        run_js(settings),
        stop(),
        list(),
    ]
}

/// An input schema with the token of old clients.
fn input(required: &[&str], properties: Value) -> Value {
    let token = json!({ "adminToken": admin_token_property() });
    closed_object(required, merged(token, properties))
}

fn session_property() -> Value {
    // It is told in the audit log: nothing else may stand there.
    json!({
        "type": "string", "pattern": "^mcp-sbx-[0-9a-f]{32}$",
        "description": "sessionId of a sandbox of yours.",
    })
}

fn timeout_property(settings: &ToolSettings, description: &str) -> Value {
    json!({
        "type": "integer", "minimum": MIN_TIMEOUT_MS, "maximum": settings.max_timeout_ms,
        "description": description,
    })
}

/// A property that every place taking code has.
fn code_property(settings: &ToolSettings, name: &str) -> Option<Value> {
    code_properties(settings).get(name).cloned()
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn initialize(settings: &ToolSettings) -> BuiltIn {
    let timeout = "Time limit in milliseconds of every later call that gives none; 30000 where \
        left out.";
    let properties = json!({
        "image": code_property(settings, "image"),
        "timeoutMs": timeout_property(settings, timeout),
    });
    BuiltIn::new(Draft {
        name: "sandbox.initialize",
        title: "Start a sandbox",
        description: "Starts a sandbox of your own, which lives on between calls: shell commands \
            (sandbox.exec) and JavaScript (sandbox.run_js) run in it, and files below /workspace \
            stay. It has no network and ends by itself when it is not used for long; stop it with \
            sandbox.stop when you are done."
            .to_owned(),
        input: input(&[], properties),
        output: Some(json!({
            "type": "object",
            "properties": {
                "sessionId": text(),
                "image": text(),
                "timeoutMs": { "type": "integer" },
            },
        })),
        annotations: json!({ "openWorldHint": false, "destructiveHint": false }),
        access: Access::Admin(|tools, context, arguments, permit| {
            Called::built_in(acts::initialize(tools, context, arguments, permit))
        }),
    })
}

fn exec(settings: &ToolSettings) -> BuiltIn {
    let timeout = "Time limit in milliseconds for all commands together; the sandbox's own where \
        left out.";
    let properties = json!({
        "sessionId": session_property(),
        "commands": {
            "type": "array", "minItems": 1, "maxItems": MAX_COMMANDS,
            "items": { "type": "string", "minLength": 1, "maxLength": MAX_COMMAND_CHARS },
            "description": "Shell commands, run one after the other, each by sh -c of its own.",
        },
        "timeoutMs": timeout_property(settings, timeout),
    });
    let result = json!({
        "type": "object",
        "properties": {
            "stdout": text(),
            "stderr": text(),
            "exitCode": { "type": ["integer", "null"] },
            "durationMs": { "type": "integer" },
            "truncated": { "type": "boolean" },
        },
    });
    BuiltIn::new(Draft {
        name: "sandbox.exec",
        title: "Run commands in a sandbox",
        description:
            "Runs shell commands in a sandbox, as they are given, in /workspace. Every one \
            runs, whatever the exit codes of those before; for each you get stdout, stderr and \
            exitCode (128 + n: ended by signal n). Long output keeps its beginning and its end \
            (truncated: true); print binary data as base64. What runs in the background (with its \
            output redirected) goes on between calls. At the time limit every process in the \
            sandbox is ended; files stay. Example: {\"sessionId\":\"mcp-sbx-…\",\"commands\":\
            [\"printf 'console.log(6*7)' > a.js\",\"node a.js\"]}"
                .to_owned(),
        input: input(&["sessionId", "commands"], properties),
        output: Some(json!({
            "type": "object",
            "properties": { "results": { "type": "array", "items": result } },
        })),
        annotations: json!({ "openWorldHint": false, "destructiveHint": true }),
        access: Access::Admin(acts::exec),
    })
}

fn run_js(settings: &ToolSettings) -> BuiltIn {
    let timeout = "Time limit in milliseconds; the sandbox's own where left out.";
    let properties = json!({
        "sessionId": session_property(),
        "code": code_property(settings, "code"),
        "dependencies": code_property(settings, "dependencies"),
        "timeoutMs": timeout_property(settings, timeout),
    });
    BuiltIn::new(Draft {
        name: "sandbox.run_js",
        title: "Run JavaScript in a sandbox",
        description: format!(
            "Runs JavaScript in a sandbox and returns its value, as run_js_ephemeral does in a \
             fresh one; args is {{}}. {CODE_CONTRACT} Files below /workspace stay for later calls."
        ),
        input: input(&["sessionId", "code"], properties),
        output: None,
        annotations: json!({ "openWorldHint": false, "destructiveHint": true }),
        access: Access::Admin(acts::run_js),
    })
}

fn stop() -> BuiltIn {
    BuiltIn::new(Draft {
        name: "sandbox.stop",
        title: "Stop a sandbox",
        description: "Ends a sandbox of yours with all that runs in it, and removes its files."
            .to_owned(),
        input: input(&["sessionId"], json!({ "sessionId": session_property() })),
        output: None,
        annotations: json!({ "openWorldHint": false, "destructiveHint": true }),
        access: Access::Admin(|tools, context, arguments, permit| {
            Called::built_in(acts::stop(tools, context, arguments, permit))
        }),
    })
}

fn list() -> BuiltIn {
    let session = json!({
        "type": "object",
        "properties": {
            "id": {
                "type": "string",
                "description": "What the other tools of sandboxes take as sessionId.",
            },
            "image": text(), "createdAt": text(), "lastUsedAt": text(),
        },
    });
    BuiltIn::new(Draft {
        name: "sandbox.session.list",
        title: "List sandboxes",
        description: "Your sandboxes that live now, the oldest first.".to_owned(),
        input: input(&[], json!({})),
        output: Some(json!({
            "type": "object",
            "properties": { "sessions": { "type": "array", "items": session } },
        })),
        annotations: json!({ "readOnlyHint": true, "openWorldHint": false }),
        access: Access::Admin(|tools, context, _, permit| {
            Called::built_in(acts::list(tools, context, permit))
        }),
    })
}
