//! `dynamic.tool.*`, `dynamic.prompt.*`, `dynamic.resource.*`: what clients see of the tools that
//! make tools, prompts and resources. What is the same for all three stands here; what they do, in
//! `acts`.

mod acts;
mod made;
mod prompt;
mod resource;
mod tool;

use serde_json::{Value, json};

use self::made::Made;
use super::{Access, BuiltIn, Draft, admin_token_property, closed_object, merged};
use crate::config::BuiltinGroup;
use crate::domain::prompt::PromptDefinition;
use crate::domain::resource::ResourceDefinition;
use crate::domain::tool::{Definition, MAX_DESCRIPTION_CHARS, MAX_TITLE_CHARS};
use crate::tools::ToolSettings;
use crate::tools::called::Called;

/// The built-ins of a group that makes something; none for others.
pub(super) fn all(group: BuiltinGroup, settings: &ToolSettings) -> Vec<BuiltIn> {
    match group {
        BuiltinGroup::Tool => {
            let mut list = of_kind::<Definition>(settings);
            list.extend([tool::enable(), tool::call()]);
            list
        }
        BuiltinGroup::Prompt => of_kind::<PromptDefinition>(settings),
        BuiltinGroup::Resource => of_kind::<ResourceDefinition>(settings),
        _ => Vec::new(),
    }
}

fn of_kind<D: Made>(settings: &ToolSettings) -> Vec<BuiltIn> {
    vec![
        create::<D>(settings),
        update::<D>(settings),
        delete::<D>(),
        list::<D>(),
        get::<D>(),
    ]
}

fn name_property<D: Made>() -> Value {
    let description = format!("Name of the dynamic {}.", D::KIND);
    json!({ "type": "string", "description": description })
}

fn revision_property<D: Made>() -> Value {
    json!({
        "type": "integer", "minimum": 1,
        "description": format!("Refuse unless the {} still has this revision.", D::KIND),
    })
}

/// Title and description, which everything has.
fn words_properties(description: &str) -> Value {
    json!({
        "title": {
            "type": "string", "minLength": 1, "maxLength": MAX_TITLE_CHARS,
            "description": "Shown to people.",
        },
        "description": {
            "type": "string", "minLength": 1, "maxLength": MAX_DESCRIPTION_CHARS,
            "description": description,
        },
    })
}

/// The same properties, with null allowed for all but these.
fn nullable(properties: Value, required: &[&str]) -> Value {
    let Value::Object(mut fields) = properties else {
        return properties;
    };
    let optional = fields
        .iter_mut()
        .filter(|(name, _)| !required.contains(&name.as_str()));
    for (_, field) in optional {
        if let Some(kind) = field.get_mut("type") {
            *kind = json!([kind.take(), "null"]);
        }
    }
    Value::Object(fields)
}

/// Requires nothing: a failure, which has no entry, must fit too.
fn one_output<D: Made>() -> Value {
    json!({ "type": "object", "properties": { D::KIND.as_str(): { "type": "object" } } })
}

fn create<D: Made>(settings: &ToolSettings) -> BuiltIn {
    let kind = D::KIND.as_str();
    let name = json!({
        "name": {
            "type": "string", "minLength": 3, "maxLength": 64,
            "pattern": "^[a-zA-Z][a-zA-Z0-9._:-]*$",
            "description": "Unique; letters, digits, '.', '_' and '-', starting with a letter.",
        },
    });
    let properties = merged(D::properties(settings), name);
    let required: Vec<&str> = ["name"].iter().chain(D::REQUIRED).copied().collect();
    BuiltIn::new(Draft {
        name: D::WORDS.create,
        title: D::WORDS.titles[0],
        description: D::create_description(),
        input: closed_object(
            &[kind],
            json!({
                "adminToken": admin_token_property(),
                kind: closed_object(&required, properties),
            }),
        ),
        output: Some(one_output::<D>()),
        annotations: json!({ "destructiveHint": false, "openWorldHint": false }),
        access: Access::Admin(|tools, context, arguments, permit| {
            Called::built_in(acts::create::<D>(tools, context, arguments, permit))
        }),
    })
}

fn update<D: Made>(settings: &ToolSettings) -> BuiltIn {
    let properties = nullable(D::properties(settings), D::REQUIRED);
    let patch = merged(
        closed_object(&[], properties),
        json!({
            "minProperties": 1,
            "description": "The fields to change; null removes an optional one.",
        }),
    );
    BuiltIn::new(Draft {
        name: D::WORDS.update,
        title: D::WORDS.titles[1],
        description: D::update_description(),
        input: closed_object(
            &["name", "patch"],
            json!({
                "adminToken": admin_token_property(),
                "name": name_property::<D>(),
                "patch": patch,
                "expectedRevision": revision_property::<D>(),
            }),
        ),
        output: Some(one_output::<D>()),
        annotations: json!({ "openWorldHint": false }),
        access: Access::Admin(|tools, context, arguments, permit| {
            Called::built_in(acts::update::<D>(tools, context, arguments, permit))
        }),
    })
}

fn delete<D: Made>() -> BuiltIn {
    BuiltIn::new(Draft {
        name: D::WORDS.delete,
        title: D::WORDS.titles[2],
        description: format!("Deletes a dynamic {} for good.", D::KIND),
        input: closed_object(
            &["name"],
            json!({
                "adminToken": admin_token_property(),
                "name": name_property::<D>(),
                "expectedRevision": revision_property::<D>(),
            }),
        ),
        output: None,
        annotations: json!({ "idempotentHint": true, "openWorldHint": false }),
        access: Access::Admin(|tools, context, arguments, permit| {
            Called::built_in(acts::delete::<D>(tools, context, arguments, permit))
        }),
    })
}

fn list<D: Made>() -> BuiltIn {
    let many = D::KIND.plural();
    BuiltIn::new(Draft {
        name: D::WORDS.list,
        title: D::WORDS.titles[3],
        description: D::WORDS.listing.to_owned(),
        input: closed_object(
            &[],
            json!({
                "adminToken": admin_token_property(),
                "includeCode": { "type": "boolean", "description": D::WORDS.with_code },
            }),
        ),
        output: Some(json!({
            "type": "object",
            "properties": { many: { "type": "array", "items": { "type": "object" } } },
        })),
        annotations: json!({ "readOnlyHint": true, "openWorldHint": false }),
        access: Access::Admin(|tools, _, arguments, _| {
            Called::built_in(acts::list::<D>(tools, arguments))
        }),
    })
}

fn get<D: Made>() -> BuiltIn {
    BuiltIn::new(Draft {
        name: D::WORDS.get,
        title: D::WORDS.titles[4],
        description: D::WORDS.showing.to_owned(),
        input: closed_object(
            &["name"],
            json!({ "adminToken": admin_token_property(), "name": name_property::<D>() }),
        ),
        output: Some(one_output::<D>()),
        annotations: json!({ "readOnlyHint": true, "openWorldHint": false }),
        access: Access::Admin(|tools, _, arguments, _| {
            Called::built_in(acts::get::<D>(tools, arguments))
        }),
    })
}
