//! `system.health`.

use serde_json::json;

use super::{Access, BuiltIn, Draft, closed_object};
use crate::domain::json::JsonText;
use crate::tools::answer::ToolAnswer;
use crate::tools::call::Called;

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
            Called::value(ToolAnswer::value(JsonText::from_value(&json!({
                "status": "ok",
                "service": "dynamic-mcp",
                "version": env!("CARGO_PKG_VERSION"),
                "uptimeSeconds": tools.metrics.uptime().as_secs(),
            }))))
        }),
    })
}
