//! Which tools there are: the built-ins of the enabled groups and the registry's enabled tools, in
//! one fixed order, and which of them a name means.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;
use serde_json::json;

use super::builtins::{Access, BuiltIn, reserved};
use super::{Client, Tools, UnknownTool};
use crate::auth::Caller;
use crate::config::NameStyle;
use crate::domain::entry::{is_spelling, underscored};
use crate::domain::json::JsonText;
use crate::domain::tool::{Definition, Tool};
use crate::registry::snapshot::Snapshot;

/// A tool as `tools/list` shows it (MCP 2026-07-28, `Tool`).
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedTool {
    /// In the listed spelling.
    pub name: String,
    /// Shown to people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// For the model.
    pub description: String,
    /// JSON Schema of the arguments.
    pub input_schema: JsonText,
    /// JSON Schema of the structured content; `None` where nothing is promised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<JsonText>,
    /// Hints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<JsonText>,
}

impl ListedTool {
    /// Whether the output schema is one that revisions before 2026-07-28 can list: of an object.
    pub fn has_object_output(&self) -> bool {
        #[derive(serde::Deserialize)]
        struct Root {
            r#type: Option<String>,
        }
        self.output_schema.as_ref().is_some_and(|schema| {
            let root: Option<Root> = serde_json::from_str(schema.text()).ok();
            root.and_then(|root| root.r#type)
                .is_some_and(|root| root == "object")
        })
    }
}

pub(super) enum Resolved<'a> {
    BuiltIn(&'a BuiltIn),
    Dynamic(Arc<Tool>),
}

impl Tools {
    /// Every tool that `caller` may call, sorted by name.
    pub fn list(&self, caller: &Caller) -> Vec<ListedTool> {
        let snapshot = self.store.snapshot();
        let built_in = self.visible(caller).map(|tool| self.show_built_in(tool));
        let dynamic = callable(&snapshot).map(|tool| self.show_dynamic(tool));
        let mut list: Vec<_> = built_in.chain(dynamic).collect();
        list.sort_by(|one, other| one.name.cmp(&other.name));
        list
    }

    /// Their names alone, likewise.
    pub(super) fn listed_names(&self, caller: &Caller) -> Vec<String> {
        let snapshot = self.store.snapshot();
        let built_in = self.visible(caller).map(|tool| self.listed_name(tool.name));
        let dynamic = callable(&snapshot).map(|tool| self.listed_name(tool.name.as_str()));
        let mut names: Vec<_> = built_in.chain(dynamic).collect();
        names.sort();
        names
    }

    /// The one of them that a name means, in either spelling.
    pub(super) fn listed(&self, caller: &Caller, name: &str) -> Option<ListedTool> {
        match self.resolve(name).ok()? {
            Resolved::BuiltIn(tool) => {
                let mut visible = self.visible(caller);
                let is_visible = visible.any(|other| other.name == tool.name);
                is_visible.then(|| self.show_built_in(tool))
            }
            Resolved::Dynamic(tool) => Some(self.show_dynamic(&tool)),
        }
    }

    fn visible(&self, caller: &Caller) -> impl Iterator<Item = &BuiltIn> {
        let shows_admin = self.shows_admin_acts(caller);
        let tools = self.builtins.iter();
        tools.filter(move |tool| shows_admin || !matches!(tool.access, Access::Admin(_)))
    }

    fn show_built_in(&self, tool: &BuiltIn) -> ListedTool {
        ListedTool {
            name: self.listed_name(tool.name),
            title: Some(tool.title.to_owned()),
            description: tool.description.clone(),
            input_schema: tool.input_schema.clone(),
            output_schema: tool.output_schema.clone(),
            annotations: Some(tool.annotations.clone()),
        }
    }

    fn show_dynamic(&self, tool: &Tool) -> ListedTool {
        let definition = &tool.definition;
        ListedTool {
            name: self.listed_name(tool.name.as_str()),
            title: definition.title.clone(),
            description: definition.description.clone(),
            input_schema: listed_input_schema(tool),
            output_schema: definition.output_schema.clone(),
            annotations: definition.annotations.clone(),
        }
    }

    /// Whether [`Tools::list`] shows `caller` the acts of admins: all that it depends on beside the
    /// registry.
    pub fn shows_admin_acts(&self, caller: &Caller) -> bool {
        self.authority.shows_admin_acts(caller)
    }

    /// The input schema that the author of a dynamic tool gave it, where this client can call it.
    pub fn author_schema(&self, client: &Client, name: &str) -> Option<JsonText> {
        match self.resolve(name).ok()? {
            Resolved::BuiltIn(_) => None,
            Resolved::Dynamic(tool) => {
                let definition = &tool.definition;
                let lacks = client.lacks(&definition.requires_client_capabilities);
                definition.input_schema.clone().filter(|_| !lacks)
            }
        }
    }

    /// The state of the tools: lists of equal marks are equal.
    pub fn tools_mark(&self) -> u64 {
        self.store.snapshot().shelf::<Definition>().mark()
    }

    pub(super) fn listed_name(&self, name: &str) -> String {
        match self.settings.name_style {
            NameStyle::Dotted => name.to_owned(),
            NameStyle::Underscore => underscored(name),
        }
    }

    /// The tool that a name means, in either spelling. Built-ins come first.
    pub(super) fn resolve(&self, name: &str) -> Result<Resolved<'_>, UnknownTool> {
        let mut built_ins = self.builtins.iter();
        let built_in = built_ins.find(|tool| is_spelling(name, tool.name));
        if let Some(tool) = built_in {
            return Ok(Resolved::BuiltIn(tool));
        }
        self.dynamic(name).map(Resolved::Dynamic)
    }

    /// The dynamic tool that may be called by a name.
    pub(super) fn dynamic(&self, name: &str) -> Result<Arc<Tool>, UnknownTool> {
        let snapshot = self.store.snapshot();
        let tools = snapshot.shelf::<Definition>();
        let found = tools.find(name).filter(|tool| is_callable(tool));
        found.cloned().ok_or(UnknownTool)
    }
}

fn callable(snapshot: &Snapshot) -> impl Iterator<Item = &Arc<Tool>> {
    snapshot.tools().iter().filter(|tool| is_callable(tool))
}

/// Enabled, and not standing in a built-in's place (as tools of an old store may).
fn is_callable(tool: &Tool) -> bool {
    tool.definition.enabled && reserved(tool.name.as_str()).is_none()
}

/// The schema that clients see: the author's, or the original's shape.
pub(super) fn listed_input_schema(tool: &Tool) -> JsonText {
    let given = tool.definition.input_schema.as_ref();
    let listed = given.map_or_else(
        || {
            Cow::Owned(JsonText::from_value(&json!({
                "type": "object",
                "properties": { "args": { "type": "object" } },
                "additionalProperties": false,
            })))
        },
        Cow::Borrowed,
    );
    listed.into_owned()
}
