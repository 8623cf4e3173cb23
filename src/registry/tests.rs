//! The file backend against real files, real processes and real mounts.

use super::*;
use crate::domain::tool::DEFAULT_TIMEOUT_MS;

/// A small valid definition.
pub(super) fn definition(code: &str) -> Definition {
    Definition {
        title: None,
        description: "d".to_owned(),
        image: None,
        timeout_ms: DEFAULT_TIMEOUT_MS,
        dependencies: Vec::new(),
        input_schema: None,
        output_schema: None,
        annotations: None,
        code: code.into(),
        enabled: true,
    }
}

/// A stored tool of that name.
pub(super) fn tool(text: &str) -> Arc<Tool> {
    Arc::new(Tool {
        name: name(text),
        definition: definition("return 1"),
        created_at: "2026-01-01T00:00:00.000Z".to_owned(),
        updated_at: "2026-01-01T00:00:00.000Z".to_owned(),
        revision: 1,
    })
}

pub(super) fn name(text: &str) -> ToolName {
    ToolName::parse(text).unwrap()
}
