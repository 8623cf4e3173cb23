//! `system.health` and `system.whoami`.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Access, BuiltIn, Draft, closed_object};
use crate::auth::{Action, Caller};
use crate::domain::json::JsonText;
use crate::tools::Tools;
use crate::tools::answer::ToolAnswer;
use crate::tools::call::Called;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Health {
    status: &'static str,
    service: &'static str,
    version: &'static str,
    uptime_seconds: u64,
}

pub(super) fn health() -> BuiltIn {
    BuiltIn::new(Draft {
        name: "system.health",
        title: "Health",
        description: "Whether the server is up: status, version and uptime.".to_owned(),
        input: closed_object(&[], json!({})),
        output: Some(json!({
            "type": "object",
            "properties": {
                "status": { "type": "string" },
                "service": { "type": "string" },
                "version": { "type": "string" },
                "uptimeSeconds": { "type": "integer", "minimum": 0 },
            },
        })),
        annotations: json!({ "readOnlyHint": true, "openWorldHint": false }),
        access: Access::Everybody(|tools, _, _| {
            Called::value(ToolAnswer::value(JsonText::from_value(&Health {
                status: "ok",
                service: "dynamic-mcp",
                version: env!("CARGO_PKG_VERSION"),
                uptime_seconds: tools.metrics.uptime().as_secs(),
            })))
        }),
    })
}

pub(super) fn whoami() -> BuiltIn {
    let text = || json!({ "type": "string" });
    let verdict = || {
        let properties = json!({ "allowed": { "type": "boolean" }, "why": text() });
        closed_object(&["allowed", "why"], properties)
    };
    BuiltIn::new(Draft {
        name: "system.whoami",
        title: "Who am I",
        description: "Who you are to this server, the scopes of your token, and what you may do \
            and why."
            .to_owned(),
        input: closed_object(&[], json!({})),
        output: Some(json!({
            "type": "object",
            "properties": {
                "principal": closed_object(
                    &["issuer", "subject"],
                    json!({ "issuer": text(), "subject": text() }),
                ),
                "client": text(),
                "scopes": { "type": "array", "items": text() },
                "authority": closed_object(
                    &["use", "admin"],
                    json!({ "use": verdict(), "admin": verdict() }),
                ),
            },
        })),
        annotations: json!({ "readOnlyHint": true, "openWorldHint": false }),
        access: Access::Everybody(|tools, context, _| {
            let caller = context.caller;
            Called::value(ToolAnswer::value(JsonText::from_value(&json!({
                "principal": {
                    "issuer": caller.principal().issuer,
                    "subject": caller.principal().subject,
                },
                "client": caller.client(),
                "scopes": caller.scopes(),
                "authority": {
                    "use": verdict_on(tools, caller, Action::Use),
                    "admin": verdict_on(tools, caller, Action::Admin("an admin act")),
                },
            }))))
        }),
    })
}

fn verdict_on(tools: &Tools, caller: &Caller, action: Action<'_>) -> Value {
    match tools.authority.authorize(caller, action, None) {
        Ok(ground) => json!({ "allowed": true, "why": ground.to_string() }),
        Err(denied) => json!({ "allowed": false, "why": denied.to_string() }),
    }
}
