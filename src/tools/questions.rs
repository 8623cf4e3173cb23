//! The shapes of questions and answers (MCP 2026-07-28, `elicitation/create`,
//! `sampling/createMessage`, `roots/list`): nothing leaves that clients choke on, and what comes
//! back is what the code asked for, or counts as no answer.

use serde_json::{Map, Value};

use super::asking::Capabilities;
use crate::domain::asking::{Ask, AskKind};
use crate::domain::json::JsonText;
use crate::schema::Schema;

/// A question that may be asked, with what its answer is to be held against.
pub(super) enum Question {
    /// The user fills in a form of this schema.
    Form(Schema),
    /// The user follows a link.
    Link,
    /// The model writes a message.
    Message,
    /// The client's folders.
    Roots,
}

/// Reads a question's parameters for a client that declared these capabilities. The error is for
/// the code's author.
pub(super) fn check_question(ask: &Ask, client: &Capabilities) -> Result<Question, String> {
    let call = format!("ctx.{}", ask.kind.as_str());
    let needs = ask.kind.needs();
    if !client.has(needs) {
        let name = needs.as_str();
        return Err(format!(
            "{call} cannot reach this client: it did not declare the capability {name}. Do without, \
             or create the tool with requiresClientCapabilities: [\"{name}\"]"
        ));
    }
    let params = ask.params.value();
    let params = params.map_err(|error| format!("{call}: the params cannot be read: {error}"))?;
    let checked = match ask.kind {
        AskKind::Elicit => check_elicitation(&params, client),
        AskKind::Sample => check_sampling(&params, client).map(|()| Question::Message),
        AskKind::ListRoots => Ok(Question::Roots),
    };
    checked.map_err(|rule| format!("{call}: {rule}"))
}

fn check_elicitation(params: &Value, client: &Capabilities) -> Result<Question, String> {
    if !params.get("message").is_some_and(Value::is_string) {
        return Err("params.message must be a string".to_owned());
    }
    match params.get("mode").map(Value::as_str) {
        None | Some(Some("form")) => {
            if !client.elicits_forms {
                return Err("this client shows no forms; it takes mode \"url\" only".to_owned());
            }
            form_schema(params.get("requestedSchema").unwrap_or(&Value::Null)).map(Question::Form)
        }
        Some(Some("url")) => {
            if !client.elicits_urls {
                return Err("this client follows no links (elicitation.url)".to_owned());
            }
            let url = params
                .get("url")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let is_web = url.starts_with("https://") || url.starts_with("http://");
            if !is_web || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err("params.url must be an http or https URL".to_owned());
            }
            Ok(Question::Link)
        }
        Some(_) => Err("params.mode must be \"form\" or \"url\"".to_owned()),
    }
}

/// Forms are flat: an object of fields of simple types.
fn form_schema(schema: &Value) -> Result<Schema, String> {
    const RULE: &str = "params.requestedSchema must be {\"type\":\"object\",\"properties\":{…}}";
    let fields = schema.get("properties").and_then(Value::as_object);
    let is_object = schema.get("type").and_then(Value::as_str) == Some("object");
    let Some(fields) = fields.filter(|_| is_object) else {
        return Err(RULE.to_owned());
    };
    for (name, field) in fields {
        let is_field = match field.get("type").and_then(Value::as_str) {
            Some("string" | "number" | "integer" | "boolean") => true,
            Some("array") => field.get("items").is_some_and(Value::is_object),
            _ => false,
        };
        if !is_field {
            return Err(format!(
                "params.requestedSchema.properties.{name} must have the type string, number, \
                 integer or boolean, or be an array of choices"
            ));
        }
    }
    Schema::compile(schema).map_err(|error| format!("params.requestedSchema {error}"))
}

fn check_sampling(params: &Value, client: &Capabilities) -> Result<(), String> {
    let messages = params.get("messages").and_then(Value::as_array);
    let messages = messages.filter(|messages| messages.iter().all(is_message));
    if messages.is_none_or(Vec::is_empty) {
        let rule = "params.messages must be an array of {\"role\":\"user\",\"content\":{…}}";
        return Err(rule.to_owned());
    }
    if !params
        .get("maxTokens")
        .and_then(Value::as_u64)
        .is_some_and(|most| most > 0)
    {
        return Err("params.maxTokens must be a whole number above 0".to_owned());
    }
    let wants_tools = ["tools", "toolChoice"]
        .iter()
        .any(|name| params.get(name).is_some());
    if wants_tools && !client.samples_tools {
        return Err("this client gives its model no tools (sampling.tools)".to_owned());
    }
    let context = params.get("includeContext").unwrap_or(&Value::Null);
    if !context.is_null() && context != "none" && !client.samples_context {
        return Err("this client gives no context (sampling.context)".to_owned());
    }
    Ok(())
}

/// `SamplingMessage`.
fn is_message(message: &Value) -> bool {
    let role = message.get("role").and_then(Value::as_str);
    let is_block = |block: &Value| block.get("type").is_some_and(Value::is_string);
    let content = message.get("content").unwrap_or(&Value::Null);
    let is_content = match content {
        Value::Array(blocks) => blocks.iter().all(is_block),
        block => is_block(block),
    };
    matches!(role, Some("user" | "assistant")) && is_content
}

/// Whether a client's result answers a question; what does not is asked again.
pub(super) fn is_answer(question: &Question, result: &JsonText) -> bool {
    let Ok(result) = result.value() else {
        return false;
    };
    match question {
        Question::Form(_) | Question::Link => is_elicited(question, &result),
        Question::Message => {
            is_message(&result) && result.get("model").is_some_and(Value::is_string)
        }
        Question::Roots => {
            let is_root = |root: &Value| root.get("uri").is_some_and(Value::is_string);
            let roots = result.get("roots").and_then(Value::as_array);
            roots.is_some_and(|roots| roots.iter().all(is_root))
        }
    }
}

/// `ElicitResult`. A form that was accepted comes with what was filled in, if there was anything.
fn is_elicited(question: &Question, result: &Value) -> bool {
    match (result.get("action").and_then(Value::as_str), question) {
        (Some("decline" | "cancel"), _) | (Some("accept"), Question::Link) => true,
        (Some("accept"), Question::Form(schema)) => {
            let nothing = Value::Object(Map::new());
            schema
                .validate(result.get("content").unwrap_or(&nothing))
                .is_ok()
        }
        _ => false,
    }
}
