//! What the tools that make things do: read arguments that fit their schema, check what is new,
//! write to the store. It is the same for tools, prompts and resources.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::made::{Fields, Made};
use crate::audit::{Action, Change};
use crate::auth::AdminPermit;
use crate::base::deadline::Deadline;
use crate::domain::entry::{Entry, EntryName};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::json::JsonText;
use crate::domain::program::Program;
use crate::domain::tool::{DEFAULT_TIMEOUT_MS, Definition};
use crate::metrics::CallKind;
use crate::registry::{StoreError, Writes as _};
use crate::tools::Tools;
use crate::tools::answer::ToolAnswer;
use crate::tools::builtins::read;
use crate::tools::call::{CallContext, parse_image};
use crate::tools::called::Called;

/// A store's refusal as the caller reads it.
fn store_failure(error: &StoreError) -> Failure {
    Failure::new(error.kind(), error.to_string())
}

/// Told early, so that nothing is looked at in vain; the store decides for good.
fn refuse_read_only(tools: &Tools) -> Result<(), Failure> {
    match tools.store.is_read_only() {
        true => Err(store_failure(&StoreError::ReadOnly)),
        false => Ok(()),
    }
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::InvalidArguments, message)
}

fn parse_name(text: &str) -> Result<EntryName, Failure> {
    EntryName::parse(text).map_err(|broken| invalid(broken.to_string()))
}

fn parse<T: for<'de> Deserialize<'de>>(text: &JsonText) -> Result<T, Failure> {
    serde_json::from_str(text.text()).map_err(|error| invalid(error.to_string()))
}

pub(super) fn create<D: Made>(
    tools: &Tools,
    context: &CallContext<'_>,
    arguments: &JsonText,
    _: AdminPermit,
) -> Result<ToolAnswer, Failure> {
    let _place = tools.place()?;
    let mut given: Fields = read(arguments)?;
    let new = given.remove(D::KIND.as_str());
    let mut fields: Fields = parse(&new.unwrap_or_else(JsonText::empty_object))?;
    let name = fields.remove("name").map(|name| parse::<String>(&name));
    let name = name.transpose()?.unwrap_or_default();
    let action = Action::of_change(D::KIND, Change::Create);
    let created = tools.audited(context, action, &name, || {
        create_entry::<D>(tools, &name, fields)
    });
    one(&*created?, false)
}

fn create_entry<D: Made>(
    tools: &Tools,
    name: &str,
    fields: Fields,
) -> Result<Arc<Entry<D>>, Failure> {
    refuse_read_only(tools)?;
    let (kind, name) = (D::KIND, parse_name(name)?);
    if let Some(reason) = D::reserved(name.as_str()) {
        return Err(invalid(format!(
            "the name \"{name}\" is reserved: {reason}"
        )));
    }
    let definition: D = define(tools, fields)?;
    // Told early, so that nobody waits for a compiler to hear it; the store decides for good.
    if tools
        .store
        .snapshot()
        .shelf::<D>()
        .get(name.as_str())
        .is_some()
    {
        return Err(store_failure(&StoreError::AlreadyExists { kind, name }));
    }
    check(tools, &definition)?;
    if let Some(program) = definition.program() {
        compile(tools, &program)?;
    }
    let entry = tools
        .store
        .create(name, definition)
        .map_err(|error| store_failure(&error))?;
    log::info!("dynamic {kind} {} created", entry.name);
    Ok(entry)
}

/// A definition of these fields.
fn define<D: Made>(tools: &Tools, mut fields: Fields) -> Result<D, Failure> {
    D::complete(
        &mut fields,
        DEFAULT_TIMEOUT_MS.min(tools.settings.max_timeout_ms),
    );
    parse(&JsonText::from_value(&fields))
}

/// Everything about a definition that is wrong or forbidden, but for its code.
fn check<D: Made>(tools: &Tools, definition: &D) -> Result<(), Failure> {
    let limits = &tools.settings;
    definition
        .check(limits.max_timeout_ms, limits.max_dependencies)
        .map_err(|broken| {
            let rules: Vec<_> = broken.iter().map(ToString::to_string).collect();
            invalid(rules.join("; "))
        })?;
    definition.vet(tools)?;
    let Some(program) = definition.program() else {
        return Ok(());
    };
    let image = parse_image(&program)?;
    tools.engine.admit(image.as_ref(), &program.dependencies)
}

fn compile(tools: &Tools, program: &Program) -> Result<(), Failure> {
    let image = parse_image(program)?;
    let deadline = Deadline::after(tools.settings.queue);
    tools
        .engine
        .check(image.as_ref(), &program.code, deadline)
        .map_err(|mut failure| {
            if failure.kind == FailureKind::Threw {
                failure.kind = FailureKind::InvalidArguments;
                failure.message = format!("the code does not compile: {}", failure.message);
            }
            failure
        })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateInput {
    name: String,
    patch: Fields,
    expected_revision: Option<u64>,
}

pub(super) fn update<D: Made>(
    tools: &Tools,
    context: &CallContext<'_>,
    arguments: &JsonText,
    _: AdminPermit,
) -> Result<ToolAnswer, Failure> {
    let _place = tools.place()?;
    let input: UpdateInput = read(arguments)?;
    let target = audited_name::<D>(tools, &input.name);
    let action = Action::of_change(D::KIND, Change::Update);
    let updated = tools.audited(context, action, &target, || update_entry::<D>(tools, input));
    one(&*updated?, false)
}

fn update_entry<D: Made>(tools: &Tools, input: UpdateInput) -> Result<Arc<Entry<D>>, Failure> {
    refuse_read_only(tools)?;
    let base = find::<D>(tools, &input.name)?;
    let patched: D = define(tools, patched::<D>(fields(&base.definition)?, input.patch))?;
    check(tools, &patched)?;
    if let Some(program) = patched.program()
        && base.definition.program().is_none_or(|old| {
            // Nothing else of it is the compiler's matter.
            old.code != program.code || old.image != program.image
        })
    {
        compile(tools, &program)?;
    }
    let entry = tools
        .store
        .update(
            &base.name,
            input.expected_revision,
            &mut |stored: &Entry<D>| {
                // What was checked is what is stored: a change in between is a conflict.
                if stored.definition == base.definition {
                    return Ok(patched.clone());
                }
                Err(StoreError::Conflict {
                    kind: D::KIND,
                    name: base.name.clone(),
                    expected: input.expected_revision.unwrap_or(base.revision),
                    current: stored.revision,
                })
            },
        )
        .map_err(|error| store_failure(&error))?;
    let (kind, name, revision) = (D::KIND, &entry.name, entry.revision);
    log::info!("dynamic {kind} {name} updated to revision {revision}");
    Ok(entry)
}

fn fields<D: Made>(definition: &D) -> Result<Fields, Failure> {
    parse(&JsonText::from_value(definition))
}

/// The fields after a patch: null removes one, and of those that exclude each other the patch's
/// stays.
fn patched<D: Made>(mut fields: Fields, patch: Fields) -> Fields {
    for group in [D::BODY, D::EXCLUSIVE] {
        let is_given = |field: &&str| patch.get(*field).is_some_and(|value| !is_null(value));
        if group.iter().any(is_given) {
            group.iter().for_each(|field| drop(fields.remove(*field)));
        }
    }
    for (field, value) in patch {
        match is_null(&value) {
            true => fields.remove(&field),
            false => fields.insert(field, value),
        };
    }
    fields
}

fn is_null(value: &JsonText) -> bool {
    value.text() == "null"
}

/// The name that the audit log has: the entry's own, however the caller spelled it.
fn audited_name<D: Made>(tools: &Tools, given: &str) -> String {
    find::<D>(tools, given).map_or_else(|_| given.to_owned(), |entry| entry.name.to_string())
}

/// An entry by its name, a tool disabled or not.
fn find<D: Made>(tools: &Tools, name: &str) -> Result<Arc<Entry<D>>, Failure> {
    let found = tools.store.snapshot().shelf::<D>().find(name).cloned();
    match found {
        Some(entry) => Ok(entry),
        None => Err(store_failure(&StoreError::NotFound {
            kind: D::KIND,
            name: parse_name(name)?,
        })),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NameInput {
    name: String,
    expected_revision: Option<u64>,
    enabled: Option<bool>,
}

pub(super) fn delete<D: Made>(
    tools: &Tools,
    context: &CallContext<'_>,
    arguments: &JsonText,
    _: AdminPermit,
) -> Result<ToolAnswer, Failure> {
    let input: NameInput = read(arguments)?;
    let target = audited_name::<D>(tools, &input.name);
    let action = Action::of_change(D::KIND, Change::Delete);
    let entry = tools.audited(context, action, &target, || {
        let name = find::<D>(tools, &input.name)?.name.clone();
        let deleted = tools.store.delete::<D>(&name, input.expected_revision);
        deleted.map_err(|error| store_failure(&error))
    })?;
    let (kind, name, revision) = (D::KIND, &entry.name, entry.revision);
    log::info!("dynamic {kind} {name} deleted");
    Ok(ToolAnswer::text(&format!(
        "Deleted dynamic {kind} \"{name}\" (revision {revision})."
    )))
}

pub(super) fn enable(
    tools: &Tools,
    context: &CallContext<'_>,
    arguments: &JsonText,
    _: AdminPermit,
) -> Result<ToolAnswer, Failure> {
    let input: NameInput = read(arguments)?;
    let enabled = input.enabled.unwrap_or(true);
    let action = match enabled {
        true => Action::ToolEnable,
        false => Action::ToolDisable,
    };
    let target = audited_name::<Definition>(tools, &input.name);
    let tool = tools.audited(context, action, &target, || {
        let name = find::<Definition>(tools, &input.name)?.name.clone();
        tools
            .store
            .update(&name, input.expected_revision, &mut |stored: &Entry<
                Definition,
            >| {
                Ok(Definition {
                    enabled,
                    ..stored.definition.clone()
                })
            })
            .map_err(|error| store_failure(&error))
    })?;
    one(&*tool, false)
}

/// An entry as its author sees it again.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    name: &'a str,
    #[serde(flatten)]
    fields: Fields,
    revision: u64,
    created_at: &'a str,
    updated_at: &'a str,
}

/// Its fields, its code, or what stands there in its place, only where asked for.
fn view<D: Made>(entry: &Entry<D>, with_body: bool) -> Result<View<'_>, Failure> {
    let mut fields = fields(&entry.definition)?;
    D::show(entry, &mut fields);
    if !with_body {
        D::BODY.iter().for_each(|field| drop(fields.remove(*field)));
    }
    Ok(View {
        name: entry.name.as_str(),
        fields,
        revision: entry.revision,
        created_at: &entry.created_at,
        updated_at: &entry.updated_at,
    })
}

fn one<D: Made>(entry: &Entry<D>, with_body: bool) -> Result<ToolAnswer, Failure> {
    let one = Fields::from([(
        D::KIND.as_str().to_owned(),
        JsonText::from_value(&view(entry, with_body)?),
    )]);
    Ok(ToolAnswer::value(JsonText::from_value(&one)))
}

pub(super) fn list<D: Made>(tools: &Tools, arguments: &JsonText) -> Result<ToolAnswer, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Input {
        #[serde(default)]
        include_code: bool,
    }
    let input: Input = read(arguments)?;
    let snapshot = tools.store.snapshot();
    let entries = snapshot.shelf::<D>().entries().iter();
    let views = entries.map(|entry| view(entry, input.include_code));
    let views: Vec<View<'_>> = views.collect::<Result<_, _>>()?;
    let many = Fields::from([(D::KIND.plural().to_owned(), JsonText::from_value(&views))]);
    Ok(ToolAnswer::value(JsonText::from_value(&many)))
}

pub(super) fn get<D: Made>(tools: &Tools, arguments: &JsonText) -> Result<ToolAnswer, Failure> {
    let input: NameInput = read(arguments)?;
    one(&*find::<D>(tools, &input.name)?, true)
}

pub(super) fn call(tools: &Tools, context: &CallContext<'_>, arguments: &JsonText) -> Called {
    #[derive(Deserialize)]
    struct Input {
        name: String,
        arguments: Option<JsonText>,
    }
    let refused = |failure| Called::refused(CallKind::Dynamic, failure);
    let input: Input = match read(arguments) {
        Ok(input) => input,
        Err(failure) => return refused(failure),
    };
    match tools.dynamic(&input.name) {
        Ok(tool) => {
            let arguments = input.arguments.unwrap_or_else(JsonText::empty_object);
            tools.call_dynamic(context, &tool, &arguments)
        }
        Err(_) => refused(invalid("there is no enabled dynamic tool of that name")),
    }
}
