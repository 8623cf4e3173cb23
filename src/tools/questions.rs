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
    let mut schema = schema.clone();
    let is_object = schema.get("type").and_then(Value::as_str) == Some("object");
    let fields = schema.get_mut("properties").and_then(Value::as_object_mut);
    let Some(fields) = fields.filter(|_| is_object) else {
        return Err(RULE.to_owned());
    };
    for (name, field) in fields {
        // For display only, and a keyword of MCP's own.
        if let Some(field) = field.as_object_mut() {
            field.remove("enumNames");
        }
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
    Schema::compile(&schema).map_err(|error| format!("params.requestedSchema {error}"))
}

fn check_sampling(params: &Value, client: &Capabilities) -> Result<(), String> {
    let messages = params.get("messages").and_then(Value::as_array);
    let messages = messages.filter(|messages| messages.iter().all(is_message));
    if messages.is_none_or(Vec::is_empty) {
        let rule = "params.messages must be an array of {\"role\":\"user\",\"content\":{…}}";
        return Err(rule.to_owned());
    }
    let budget = params.get("maxTokens").and_then(Value::as_u64);
    if budget.is_none_or(|most| most == 0) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ALL: Capabilities = Capabilities {
        elicitation: true,
        elicits_forms: true,
        elicits_urls: true,
        sampling: true,
        samples_tools: true,
        samples_context: true,
        roots: true,
    };

    fn ask(kind: AskKind, params: &Value) -> Ask {
        Ask {
            kind,
            key: "k".to_owned(),
            params: JsonText::from_value(params),
        }
    }

    fn check(kind: AskKind, params: Value, client: &Capabilities, expected: Option<&str>) {
        let refused = check_question(&ask(kind, &params), client).err();
        assert_eq!(
            refused.is_some(),
            expected.is_some(),
            "{params}: {refused:?}"
        );
        if let (Some(refused), Some(expected)) = (refused, expected) {
            assert!(refused.contains(expected), "{params}: {refused}");
        }
    }

    fn form(field: Value) -> Value {
        json!({"message": "m", "requestedSchema": {"type": "object", "properties": {"f": field}}})
    }

    #[test]
    fn elicitations() {
        let check = |params, expected| check(AskKind::Elicit, params, &ALL, expected);
        check(form(json!({"type": "string", "format": "email"})), None);
        check(form(json!({"type": "integer", "default": 3})), None);
        check(
            form(json!({"type": "string", "enum": ["a"], "enumNames": ["A"]})),
            None,
        );
        check(
            form(json!({"type": "string", "oneOf": [{"const": "a", "title": "A"}]})),
            None,
        );
        let choices = json!({"type": "array", "items": {"type": "string", "enum": ["a"]}});
        check(form(choices), None);
        check(
            json!({"mode": "url", "message": "m", "url": "https://a.example/?q"}),
            None,
        );
        check(Value::Null, Some("params.message must be a string"));
        check(json!({"message": 5}), Some("params.message"));
        check(
            json!({"message": "m"}),
            Some("params.requestedSchema must be"),
        );
        let no_object = json!({"message": "m", "requestedSchema": {"type": "string"}});
        check(no_object, Some("params.requestedSchema must be"));
        check(
            form(json!({"type": "object"})),
            Some("properties.f must have the type"),
        );
        check(form(json!(true)), Some("properties.f must have the type"));
        check(form(json!({"type": "array"})), Some("properties.f"));
        check(
            form(json!({"type": "string", "pattern": "("})),
            Some("requestedSchema "),
        );
        check(
            json!({"mode": "fax", "message": "m"}),
            Some("params.mode must be"),
        );
        check(
            json!({"mode": null, "message": "m"}),
            Some("params.mode must be"),
        );
        for url in [
            "",
            "file:///etc",
            "javascript:1",
            "https://a b",
            "https://a\n",
        ] {
            let params = json!({"mode": "url", "message": "m", "url": url});
            check(params, Some("params.url must be an http or https URL"));
        }
    }

    #[test]
    fn samplings() {
        let check = |params, expected| check(AskKind::Sample, params, &ALL, expected);
        let text = json!({"type": "text", "text": "t"});
        let with = |message: Value| json!({"messages": [message], "maxTokens": 5});
        check(with(json!({"role": "user", "content": text})), None);
        check(with(json!({"role": "assistant", "content": [text]})), None);
        for wrong in [
            json!({"role": "system", "content": text}),
            json!({"role": "user", "content": "t"}),
            json!({"role": "user"}),
            json!("t"),
        ] {
            check(with(wrong), Some("params.messages must be"));
        }
        check(
            json!({"messages": [], "maxTokens": 5}),
            Some("params.messages"),
        );
        for most in [json!(0), json!(1.5), json!("5"), Value::Null] {
            let mut params = with(json!({"role": "user", "content": text}));
            params["maxTokens"] = most;
            check(params, Some("params.maxTokens must be"));
        }
    }

    #[test]
    fn clients_are_asked_for_what_they_declared_only() {
        let link = json!({"mode": "url", "message": "m", "url": "https://a.example"});
        let fields = form(json!({"type": "string"}));
        let message = json!({"role": "user", "content": {"type": "text", "text": "t"}});
        let plain = json!({"messages": [message], "maxTokens": 5});
        let with = |name: &str, value: Value| {
            let mut params = plain.clone();
            params[name] = value;
            params
        };
        let nothing = Capabilities::default();
        check(
            AskKind::Elicit,
            fields.clone(),
            &nothing,
            Some("the capability elicitation"),
        );
        check(
            AskKind::Sample,
            plain.clone(),
            &nothing,
            Some("the capability sampling"),
        );
        check(
            AskKind::ListRoots,
            Value::Null,
            &nothing,
            Some("the capability roots"),
        );
        check(AskKind::ListRoots, Value::Null, &ALL, None);
        let only = Capabilities {
            elicits_urls: false,
            samples_tools: false,
            samples_context: false,
            ..ALL
        };
        check(AskKind::Elicit, fields.clone(), &only, None);
        check(AskKind::Elicit, link, &only, Some("elicitation.url"));
        let formless = Capabilities {
            elicits_forms: false,
            ..ALL
        };
        check(AskKind::Elicit, fields, &formless, Some("shows no forms"));
        check(
            AskKind::Sample,
            with("tools", json!([])),
            &only,
            Some("sampling.tools"),
        );
        check(
            AskKind::Sample,
            with("toolChoice", json!({})),
            &only,
            Some("sampling.tools"),
        );
        check(
            AskKind::Sample,
            with("includeContext", json!("none")),
            &only,
            None,
        );
        let context = with("includeContext", json!("allServers"));
        check(AskKind::Sample, context, &only, Some("sampling.context"));
    }

    #[test]
    fn answers_have_the_shape_of_their_question() {
        let check = |kind, params: &Value, good: &[Value], bad: &[Value]| {
            let question = check_question(&ask(kind, params), &ALL).unwrap();
            let is_good = |result: &&Value| is_answer(&question, &JsonText::from_value(result));
            assert!(good.iter().all(|one| is_good(&one)), "{params} {good:?}");
            let taken: Vec<_> = bad.iter().filter(is_good).collect();
            assert!(taken.is_empty(), "{params}: {taken:?}");
        };
        let mut named = form(json!({"type": "string"}));
        named["requestedSchema"]["required"] = json!(["f"]);
        let refusals = [
            json!({"action": "decline"}),
            json!({"action": "cancel", "content": {}}),
        ];
        check(
            AskKind::Elicit,
            &named,
            &refusals,
            &[json!({"action": "maybe"}), json!(12345)],
        );
        check(
            AskKind::Elicit,
            &named,
            &[json!({"action": "accept", "content": {"f": "x"}, "_meta": {}})],
            &[
                json!({"action": "accept"}),
                json!({"action": "accept", "content": {"f": 1}}),
                json!({"action": "accept", "content": null}),
                json!({"method": "elicitation/create", "result": {"action": "accept"}}),
                json!(null),
            ],
        );
        let optional = form(json!({"type": "string"}));
        check(
            AskKind::Elicit,
            &optional,
            &[json!({"action": "accept"})],
            &[json!({})],
        );
        let link = json!({"mode": "url", "message": "m", "url": "https://a.example"});
        check(
            AskKind::Elicit,
            &link,
            &[json!({"action": "accept"})],
            &[json!([])],
        );
        let text = json!({"type": "text", "text": "t"});
        let asked = json!({"messages": [{"role": "user", "content": text}], "maxTokens": 5});
        check(
            AskKind::Sample,
            &asked,
            &[json!({"role": "assistant", "content": text, "model": "m"})],
            &[
                json!({"role": "assistant", "content": text}),
                json!({"role": "assistant", "content": "t", "model": "m"}),
                json!({"content": text, "model": "m"}),
            ],
        );
        check(
            AskKind::ListRoots,
            &Value::Null,
            &[
                json!({"roots": []}),
                json!({"roots": [{"uri": "file:///a"}]}),
            ],
            &[json!({"roots": [{}]}), json!({"roots": {}}), json!([])],
        );
    }
}
