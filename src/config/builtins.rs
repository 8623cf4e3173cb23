//! Which built-in tools, prompts and resources there are, in which group and from which profile on:
//! decided in this one table, and nowhere else.

use super::values::Values;

/// Which built-ins and defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// The small set.
    Mvp,
    /// All of them, safe defaults for many callers.
    Enterprise,
}

/// A group of built-in tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuiltinGroup {
    /// `dynamic.tool.*`
    Tool,
    /// `dynamic.prompt.*`, and the prompts of the server's own
    Prompt,
    /// `dynamic.resource.*`
    Resource,
    /// `run_js_ephemeral`
    RunJs,
    /// `sandbox.*`
    Sandbox,
    /// `system.*`, and the resources that tell the same
    System,
    /// `dev.*`, `time.*`
    Dev,
}

impl BuiltinGroup {
    /// Every group, in the order of the documents.
    pub const ALL: [Self; 7] = [
        Self::Tool,
        Self::Prompt,
        Self::Resource,
        Self::RunJs,
        Self::Sandbox,
        Self::System,
        Self::Dev,
    ];

    /// Its name in `MCP_BUILTIN_GROUPS`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Resource => "resource",
            Self::RunJs => "run_js",
            Self::Sandbox => "sandbox",
            Self::System => "system",
            Self::Dev => "dev",
        }
    }
}

use BuiltinGroup::{Dev, Prompt, Resource, RunJs, Sandbox, System, Tool};
use Profile::{Enterprise, Mvp};

/// Every built-in of the contract (section 4), built already or not: the name of a tool or prompt
/// or the URI of a resource, its group, and the first profile that has it. What has no group has a
/// switch of its own.
pub const BUILT_INS: &[(&str, Option<BuiltinGroup>, Profile)] = &[
    ("dynamic.tool.create", Some(Tool), Mvp),
    ("dynamic.tool.update", Some(Tool), Mvp),
    ("dynamic.tool.delete", Some(Tool), Mvp),
    ("dynamic.tool.list", Some(Tool), Mvp),
    ("dynamic.tool.get", Some(Tool), Mvp),
    ("dynamic.tool.enable", Some(Tool), Mvp),
    ("dynamic.tool.call", Some(Tool), Mvp),
    ("dynamic.prompt.create", Some(Prompt), Mvp),
    ("dynamic.prompt.update", Some(Prompt), Mvp),
    ("dynamic.prompt.delete", Some(Prompt), Mvp),
    ("dynamic.prompt.list", Some(Prompt), Mvp),
    ("dynamic.prompt.get", Some(Prompt), Mvp),
    ("dynamic.resource.create", Some(Resource), Mvp),
    ("dynamic.resource.update", Some(Resource), Mvp),
    ("dynamic.resource.delete", Some(Resource), Mvp),
    ("dynamic.resource.list", Some(Resource), Mvp),
    ("dynamic.resource.get", Some(Resource), Mvp),
    ("tool-call-checklist", Some(Prompt), Enterprise),
    ("run_js_ephemeral", Some(RunJs), Mvp),
    ("sandbox.initialize", Some(Sandbox), Enterprise),
    ("sandbox.exec", Some(Sandbox), Enterprise),
    ("sandbox.run_js", Some(Sandbox), Enterprise),
    ("sandbox.stop", Some(Sandbox), Enterprise),
    ("sandbox.session.list", Some(Sandbox), Enterprise),
    ("system.health", Some(System), Mvp),
    ("system.whoami", Some(System), Mvp),
    ("system.guard_metrics", Some(System), Enterprise),
    ("system.runtime_config", Some(System), Enterprise),
    ("dynamic://metrics/guard", Some(System), Enterprise),
    ("dynamic://service/runtime-config", Some(System), Enterprise),
    ("dynamic://service/meta", Some(System), Enterprise),
    ("dev.echo", Some(Dev), Enterprise),
    ("time.now", Some(Dev), Enterprise),
    ("upstream.mcp.attach", None, Enterprise),
    ("upstream.mcp.detach", None, Enterprise),
];

impl Profile {
    pub(super) fn read(values: &Values) -> Self {
        match values.chosen("MCP_PROFILE", "enterprise") {
            true => Enterprise,
            false => Mvp,
        }
    }

    /// Whether it has built-ins of a group.
    pub fn has_group(self, group: BuiltinGroup) -> bool {
        BUILT_INS
            .iter()
            .any(|(_, of, first)| *of == Some(group) && self >= *first)
    }
}

/// Whether there is the built-in of that name or URI in a profile with these groups.
pub fn has_built_in(profile: Profile, groups: &[BuiltinGroup], name: &str) -> bool {
    BUILT_INS.iter().any(|(own, group, first)| {
        *own == name && profile >= *first && group.is_none_or(|group| groups.contains(&group))
    })
}
