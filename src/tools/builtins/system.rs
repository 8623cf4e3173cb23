//! `system.*`: what the server tells of itself and of its caller.

use serde_json::{Value, json};

use super::{Access, BuiltIn, Draft, admin_token_property, closed_object};
use crate::auth::{Action, Caller};
use crate::domain::json::JsonText;
use crate::tools::Tools;
use crate::tools::answer::ToolAnswer;
use crate::tools::called::Called;

pub(super) fn all() -> [BuiltIn; 4] {
    [health(), whoami(), guard_metrics(), runtime_config()]
}

fn answer(report: &Value) -> Called {
    Called::value(ToolAnswer::value(JsonText::from_value(report)))
}

fn health() -> BuiltIn {
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
        access: Access::Everybody(|tools, _, _| answer(&tools.health())),
    })
}

fn whoami() -> BuiltIn {
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
            answer(&json!({
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
            }))
        }),
    })
}

fn verdict_on(tools: &Tools, caller: &Caller, action: Action<'_>) -> Value {
    match tools.authority.authorize(caller, action, None) {
        Ok(ground) => json!({ "allowed": true, "why": ground.to_string() }),
        Err(denied) => json!({ "allowed": false, "why": denied.to_string() }),
    }
}

fn guard_metrics() -> BuiltIn {
    let count = || json!({ "type": "integer", "minimum": 0 });
    let scope = json!({
        "scope": { "type": "string" }, "total": count(), "allowed": count(),
        "rejectedRate": count(), "rejectedConcurrency": count(), "failed": count(),
    });
    BuiltIn::new(Draft {
        name: "system.guard_metrics",
        title: "Guard metrics",
        description: "Runs of code now, the limits, and for each scope how often it was used, \
            refused and failed. A scope is a managing tool, run_js_ephemeral, or \
            dynamic.exec.NAME for a dynamic tool."
            .to_owned(),
        input: closed_object(&[], json!({})),
        output: Some(json!({
            "type": "object",
            "properties": {
                "activeExecutions": count(),
                "limits": {
                    "type": "object",
                    "properties": {
                        "maxConcurrency": count(),
                        "maxCallsPerWindow": count(),
                        "windowMs": count(),
                    },
                },
                "scopes": {
                    "type": "array", "items": { "type": "object", "properties": scope },
                },
            },
        })),
        annotations: json!({ "readOnlyHint": true, "openWorldHint": false }),
        access: Access::Everybody(|tools, _, _| answer(&tools.guard_metrics())),
    })
}

fn runtime_config() -> BuiltIn {
    let setting = json!({
        "name": { "type": "string" },
        "value": { "type": ["string", "null"] },
        "origin": { "type": "string" },
    });
    BuiltIn::new(Draft {
        name: "system.runtime_config",
        title: "Settings in force",
        description: "Every setting of the server with its value and where that comes from. \
            Secrets are masked."
            .to_owned(),
        input: closed_object(&[], json!({ "adminToken": admin_token_property() })),
        output: Some(json!({
            "type": "object",
            "properties": {
                "settings": {
                    "type": "array", "items": { "type": "object", "properties": setting },
                },
            },
        })),
        annotations: json!({ "readOnlyHint": true, "openWorldHint": false }),
        access: Access::Admin(|tools, _, _, _| answer(&tools.runtime_config())),
    })
}
