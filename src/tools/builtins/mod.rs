//! The built-in tools: what clients see of each, and what it does. One table, [`all`].

mod dev;
mod dynamic;
mod run_js;
mod sandbox;
mod system;

use serde_json::{Value, json};

use super::call::CallContext;
use super::called::Called;
use super::description::in_style;
use super::prompts::CHECKLIST;
use super::{ToolSettings, Tools};
use crate::auth::AdminPermit;
use crate::config::{BUILT_INS, BuiltinGroup, NameStyle, has_built_in};
use crate::domain::entry::is_spelling;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::json::JsonText;
use crate::schema::Schema;

/// What a built-in does with arguments that fit its schema.
pub(super) type Act = fn(&Tools, &CallContext<'_>, &JsonText) -> Called;

/// The same for admin acts: the permit proves that authority was checked.
pub(super) type AdminAct = fn(&Tools, &CallContext<'_>, &JsonText, AdminPermit) -> Called;

/// Who may call a built-in.
#[derive(Clone, Copy)]
pub(super) enum Access {
    Everybody(Act),
    Admin(AdminAct),
}

/// A tool of ours.
pub(super) struct BuiltIn {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) description: String,
    pub(super) input_schema: JsonText,
    pub(super) output_schema: Option<JsonText>,
    pub(super) annotations: JsonText,
    pub(super) access: Access,
    pub(super) schema: Schema,
}

/// Name spaces that no dynamic tool may enter.
const RESERVED_PREFIXES: &[&str] = &[
    "dynamic.",
    "system.",
    "sandbox.",
    "upstream.",
    "dev.",
    "time.",
];

/// Tools that tell what is known already.
const AT_ONCE: &[&str] = &["system.health", "system.whoami"];

/// Whether the tool of that name, in either spelling, runs nothing and waits for nothing.
pub fn is_answered_at_once(name: &str) -> bool {
    AT_ONCE.iter().any(|own| is_spelling(name, own))
}

/// Why a dynamic tool may not have a name, if so.
pub(super) fn reserved(name: &str) -> Option<String> {
    let spelling = name.replace(':', ".");
    let prefix = RESERVED_PREFIXES
        .iter()
        .find(|prefix| spelling.starts_with(*prefix));
    if let Some(prefix) = prefix {
        return Some(format!(
            "names that start with \"{prefix}\" are the server's own"
        ));
    }
    let underscored = |text: &str| text.replace(['.', ':'], "_");
    let taken = BUILT_INS
        .iter()
        .filter(|(own, ..)| *own != CHECKLIST)
        .find(|(own, ..)| underscored(own) == underscored(name));
    taken.map(|(own, ..)| format!("\"{own}\" is a built-in tool, and both would be listed as one"))
}

/// The built-ins of the profile and the enabled groups, sorted by name.
pub(super) fn all(settings: &ToolSettings) -> Vec<BuiltIn> {
    let mut list = Vec::new();
    for group in &settings.groups {
        match group {
            BuiltinGroup::RunJs => list.push(run_js::run_js_ephemeral(settings)),
            BuiltinGroup::System => list.extend(system::all()),
            BuiltinGroup::Dev => list.extend([dev::echo(), dev::now()]),
            BuiltinGroup::Sandbox => list.extend(sandbox::all(settings)),
            making => list.extend(dynamic::all(*making, settings)),
        }
    }
    list.retain(|tool| has_built_in(settings.profile, &settings.groups, tool.name));
    list.sort_by_key(|tool| tool.name);
    list.dedup_by_key(|tool| tool.name);
    for tool in &mut list {
        tool.name_as_listed(settings.name_style);
    }
    list
}

/// What differs between built-ins, to be completed by [`BuiltIn::new`].
struct Draft {
    name: &'static str,
    title: &'static str,
    description: String,
    input: Value,
    output: Option<Value>,
    annotations: Value,
    access: Access,
}

impl BuiltIn {
    fn new(draft: Draft) -> Self {
        let schema = match Schema::compile(&draft.input) {
            Ok(schema) => schema,
            Err(error) => unreachable!("the schema of {} is ours: {error}", draft.name),
        };
        Self {
            name: draft.name,
            title: draft.title,
            description: draft.description,
            input_schema: JsonText::from_value(&draft.input),
            output_schema: draft.output.as_ref().map(JsonText::from_value),
            annotations: JsonText::from_value(&draft.annotations),
            access: draft.access,
            schema,
        }
    }

    /// Names tools in what models read as models see them listed.
    fn name_as_listed(&mut self, style: NameStyle) {
        self.description = in_style(style, &self.description).into_owned();
        for schema in std::iter::once(&mut self.input_schema).chain(&mut self.output_schema) {
            if let Ok(styled) = JsonText::parse(in_style(style, schema.text()).into_owned()) {
                *schema = styled;
            }
        }
    }
}

/// An object schema that takes nothing but `properties`.
fn closed_object(required: &[&str], properties: Value) -> Value {
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// The token of old clients, a property of every admin act.
fn admin_token_property() -> Value {
    json!({
        "type": "string",
        "description": "Only for clients that cannot send the header x-mcp-admin-token.",
    })
}

/// The fields of two objects.
fn merged(base: Value, more: Value) -> Value {
    match (base, more) {
        (Value::Object(mut base), Value::Object(more)) => {
            base.extend(more);
            Value::Object(base)
        }
        (base, _) => base,
    }
}

/// Reads arguments that already fit the built-in's schema.
fn read<T: serde::de::DeserializeOwned>(arguments: &JsonText) -> Result<T, Failure> {
    serde_json::from_str(arguments.text())
        .map_err(|error| Failure::new(FailureKind::InvalidArguments, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Profile;
    use std::time::Duration;

    fn settings(profile: Profile) -> ToolSettings {
        ToolSettings {
            name_style: crate::config::NameStyle::Dotted,
            profile,
            groups: BuiltinGroup::ALL.to_vec(),
            max_timeout_ms: 120_000,
            max_dependencies: 32,
            queue: Duration::from_secs(10),
            shown: Vec::new(),
        }
    }

    #[test]
    fn every_built_in_is_reserved_and_fit_to_list() {
        for tool in all(&settings(Profile::Enterprise)) {
            assert!(reserved(tool.name).is_some(), "{}", tool.name);
            let input = tool.input_schema.value().unwrap();
            assert!(
                crate::schema::check_tool_input_schema(&input).is_ok(),
                "{}",
                tool.name
            );
            if let Some(output) = &tool.output_schema {
                let output = output.value().unwrap();
                assert!(
                    crate::schema::check_tool_output_schema(&output).is_ok(),
                    "{}",
                    tool.name
                );
                assert_eq!(output["type"], "object", "{}", tool.name);
                // Clients compare failures with it as well.
                let failure = json!({ "ok": false, "error": {}, "durationMs": 0 });
                let fits = Schema::compile(&output).unwrap().validate(&failure);
                assert!(fits.is_ok(), "{}: {fits:?}", tool.name);
            }
            assert!(tool.description.chars().count() <= 4000, "{}", tool.name);
        }
    }

    #[test]
    fn texts_name_tools_as_they_are_listed() {
        let all_of = |name_style| {
            let settings = ToolSettings {
                name_style,
                ..settings(Profile::Enterprise)
            };
            all(&settings).into_iter().map(|tool| {
                let output = tool
                    .output_schema
                    .as_ref()
                    .map_or("", |schema| schema.text());
                [&tool.description, tool.input_schema.text(), output].concat()
            })
        };
        let dotted = |text: &str| {
            let mut dotted = BUILT_INS.iter().filter(|(name, ..)| name.contains('.'));
            dotted.any(|(name, ..)| text.contains(name))
        };
        assert!(all_of(NameStyle::Dotted).any(|text| dotted(&text)));
        for text in all_of(NameStyle::Underscore) {
            assert!(!dotted(&text), "{text}");
        }
        let listed = in_style(
            NameStyle::Underscore,
            super::super::description::INSTRUCTIONS,
        );
        assert!(!dotted(&listed), "{listed}");
        assert!(
            listed.contains("dynamic_tool_create stores") && listed.contains("text.word_count")
        );
    }

    #[test]
    fn each_profile_has_its_own_and_no_more() {
        let names = |profile| {
            all(&settings(profile))
                .iter()
                .map(|tool| tool.name)
                .collect()
        };
        let (mvp, enterprise): (Vec<_>, Vec<_>) = (names(Profile::Mvp), names(Profile::Enterprise));
        for name in &mvp {
            assert!(enterprise.contains(name), "{name}");
        }
        let beyond = enterprise.iter().filter(|name| !mvp.contains(name));
        for name in beyond {
            let enterprise_only = ["sandbox.", "dev.", "time.", "system."];
            assert!(
                enterprise_only.iter().any(|start| name.starts_with(start)),
                "{name}"
            );
        }
        assert!(mvp.contains(&"system.whoami") && mvp.contains(&"dynamic.tool.create"));
    }

    #[test]
    fn names_that_are_taken() {
        for taken in [
            "dynamic.x",
            "system.health",
            "system_health",
            "system:health",
            "time.zone",
            "time_now",
            "run_js_ephemeral",
            "run.js.ephemeral",
            "sandbox:exec",
            "dev.x",
            "dynamic_tool_create",
        ] {
            assert!(reserved(taken).is_some(), "{taken}");
        }
        for free in [
            "dynamics.x",
            "my.system.health",
            "run_js",
            "timer",
            "math.add",
        ] {
            assert_eq!(reserved(free), None, "{free}");
        }
    }
}
