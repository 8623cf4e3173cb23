//! What the tools that make tools do: read arguments that fit their schema, check what is new,
//! write to the store.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::patch::Patch;
use super::view::{View, answer, one_tool, view};
use crate::audit::Action;
use crate::auth::AdminPermit;
use crate::base::deadline::Deadline;
use crate::domain::asking::ClientCapability;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::json::JsonText;
use crate::domain::tool::{DEFAULT_TIMEOUT_MS, Definition, Dependency, Tool, ToolName};
use crate::metrics::CallKind;
use crate::registry::StoreError;
use crate::schema::{check_tool_input_schema, check_tool_output_schema};
use crate::tools::Tools;
use crate::tools::answer::ToolAnswer;
use crate::tools::builtins::{read, reserved};
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

fn parse_name(text: &str) -> Result<ToolName, Failure> {
    ToolName::parse(text).map_err(|broken| invalid(broken.to_string()))
}

#[derive(Deserialize)]
struct CreateInput {
    tool: NewTool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewTool {
    name: String,
    title: Option<String>,
    description: String,
    code: Arc<str>,
    input_schema: Option<JsonText>,
    output_schema: Option<JsonText>,
    annotations: Option<JsonText>,
    #[serde(default)]
    requires_client_capabilities: BTreeSet<ClientCapability>,
    image: Option<String>,
    timeout_ms: Option<u64>,
    #[serde(default)]
    dependencies: Vec<Dependency>,
    enabled: Option<bool>,
}

pub(super) fn create(
    tools: &Tools,
    context: &CallContext<'_>,
    arguments: &JsonText,
    _: AdminPermit,
) -> Result<ToolAnswer, Failure> {
    let _place = tools.place()?;
    let new = read::<CreateInput>(arguments)?.tool;
    let target = new.name.clone();
    let created = tools.audited(context, Action::ToolCreate, &target, || {
        create_tool(tools, new)
    });
    one_tool(&*created?, false)
}

fn create_tool(tools: &Tools, new: NewTool) -> Result<Arc<Tool>, Failure> {
    refuse_read_only(tools)?;
    let name = parse_name(&new.name)?;
    if let Some(reason) = reserved(name.as_str()) {
        return Err(invalid(format!(
            "the name \"{name}\" is reserved: {reason}"
        )));
    }
    let definition = Definition {
        title: new.title,
        description: new.description,
        image: new.image,
        timeout_ms: new.timeout_ms.unwrap_or(default_timeout_ms(tools)),
        dependencies: new.dependencies,
        input_schema: new.input_schema,
        output_schema: new.output_schema,
        annotations: new.annotations,
        requires_client_capabilities: new.requires_client_capabilities,
        code: new.code,
        enabled: new.enabled.unwrap_or(true),
    };
    // Told early, so that nobody waits for a compiler to hear it; the store decides for good.
    if tools.store.snapshot().get(name.as_str()).is_some() {
        return Err(store_failure(&StoreError::AlreadyExists { name }));
    }
    check(tools, &definition)?;
    compile(tools, &definition)?;
    let tool = tools
        .store
        .create(name, definition)
        .map_err(|error| store_failure(&error))?;
    log::info!("dynamic tool {} created", tool.name);
    Ok(tool)
}

fn default_timeout_ms(tools: &Tools) -> u64 {
    DEFAULT_TIMEOUT_MS.min(tools.settings.max_timeout_ms)
}

/// Everything about a definition that is wrong or forbidden, but for its code.
fn check(tools: &Tools, definition: &Definition) -> Result<(), Failure> {
    let limits = &tools.settings;
    definition
        .check(limits.max_timeout_ms, limits.max_dependencies)
        .map_err(|broken| {
            let rules: Vec<_> = broken.iter().map(ToString::to_string).collect();
            invalid(rules.join("; "))
        })?;
    if let Some(schema) = &definition.input_schema {
        check_schema("inputSchema", schema, |value| {
            check_tool_input_schema(value).err()
        })?;
    }
    if let Some(schema) = &definition.output_schema {
        check_schema("outputSchema", schema, |value| {
            check_tool_output_schema(value).err()
        })?;
    }
    tools
        .engine
        .admit(parse_image(definition)?.as_ref(), &definition.dependencies)
}

fn check_schema<E: std::fmt::Display>(
    which: &str,
    schema: &JsonText,
    fault: impl Fn(&Value) -> Option<E>,
) -> Result<(), Failure> {
    let value = schema
        .value()
        .map_err(|error| invalid(format!("{which}: {error}")))?;
    match fault(&value) {
        None => Ok(()),
        Some(fault) => Err(invalid(format!("{which} {fault}"))),
    }
}

fn compile(tools: &Tools, definition: &Definition) -> Result<(), Failure> {
    let image = parse_image(definition)?;
    let deadline = Deadline::after(tools.settings.queue);
    tools
        .engine
        .check(image.as_ref(), &definition.code, deadline)
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
    patch: Patch,
    expected_revision: Option<u64>,
}

pub(super) fn update(
    tools: &Tools,
    context: &CallContext<'_>,
    arguments: &JsonText,
    _: AdminPermit,
) -> Result<ToolAnswer, Failure> {
    let _place = tools.place()?;
    let input: UpdateInput = read(arguments)?;
    let target = audited_name(tools, &input.name);
    let updated = tools.audited(context, Action::ToolUpdate, &target, || {
        update_tool(tools, input)
    });
    one_tool(&*updated?, false)
}

fn update_tool(tools: &Tools, input: UpdateInput) -> Result<Arc<Tool>, Failure> {
    refuse_read_only(tools)?;
    let base = find(tools, &input.name)?;
    let patched = input
        .patch
        .apply(&base.definition, default_timeout_ms(tools));
    check(tools, &patched)?;
    if patched.code != base.definition.code || patched.image != base.definition.image {
        compile(tools, &patched)?;
    }
    let tool = tools
        .store
        .update(&base.name, input.expected_revision, &mut |stored| {
            // What was checked is what is stored: somebody else's change in between is a conflict.
            if stored.definition == base.definition {
                return Ok(patched.clone());
            }
            Err(StoreError::Conflict {
                name: base.name.clone(),
                expected: input.expected_revision.unwrap_or(base.revision),
                current: stored.revision,
            })
        })
        .map_err(|error| store_failure(&error))?;
    log::info!(
        "dynamic tool {} updated to revision {}",
        tool.name,
        tool.revision
    );
    Ok(tool)
}

/// The name that the audit log has: the tool's own, however the caller spelled it.
fn audited_name(tools: &Tools, given: &str) -> String {
    find(tools, given).map_or_else(|_| given.to_owned(), |tool| tool.name.to_string())
}

/// A tool by its name, disabled or not.
fn find(tools: &Tools, name: &str) -> Result<Arc<Tool>, Failure> {
    let found = tools.store.snapshot().find(name).cloned();
    match found {
        Some(tool) => Ok(tool),
        None => Err(store_failure(&StoreError::NotFound {
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

pub(super) fn delete(
    tools: &Tools,
    context: &CallContext<'_>,
    arguments: &JsonText,
    _: AdminPermit,
) -> Result<ToolAnswer, Failure> {
    let input: NameInput = read(arguments)?;
    let target = audited_name(tools, &input.name);
    let tool = tools.audited(context, Action::ToolDelete, &target, || {
        let name = find(tools, &input.name)?.name.clone();
        let deleted = tools.store.delete(&name, input.expected_revision);
        deleted.map_err(|error| store_failure(&error))
    })?;
    log::info!("dynamic tool {} deleted", tool.name);
    Ok(ToolAnswer::text(&format!(
        "Deleted dynamic tool \"{}\" (revision {}).",
        tool.name, tool.revision
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
    let target = audited_name(tools, &input.name);
    let tool = tools.audited(context, action, &target, || {
        let name = find(tools, &input.name)?.name.clone();
        tools
            .store
            .update(&name, input.expected_revision, &mut |stored| {
                Ok(Definition {
                    enabled,
                    ..stored.definition.clone()
                })
            })
            .map_err(|error| store_failure(&error))
    })?;
    one_tool(&tool, false)
}

pub(super) fn list(tools: &Tools, arguments: &JsonText) -> Result<ToolAnswer, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Input {
        #[serde(default)]
        include_code: bool,
    }
    #[derive(Serialize)]
    struct Many<'a> {
        tools: Vec<View<'a>>,
    }
    let input: Input = read(arguments)?;
    let snapshot = tools.store.snapshot();
    let tools = snapshot
        .tools()
        .iter()
        .map(|tool| view(tool, input.include_code))
        .collect();
    answer(&Many { tools })
}

pub(super) fn get(tools: &Tools, arguments: &JsonText) -> Result<ToolAnswer, Failure> {
    let input: NameInput = read(arguments)?;
    one_tool(&*find(tools, &input.name)?, true)
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
