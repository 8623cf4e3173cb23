//! Which prompts there are, and what getting one gives: those made at run time, and the server's
//! own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Tools;
use super::call::CallContext;
use super::messages::{check_messages, normalized, substitute};
use super::rendering::{NotRendered, Rendered, invalid_result};
use super::substitution::{MAX_BYTES, Values};
use crate::auth::Caller;
use crate::config::has_built_in;
use crate::domain::entry::Authored as _;
use crate::domain::failure::Failure;
use crate::domain::json::JsonText;
use crate::domain::prompt::{Prompt, PromptArgument, PromptDefinition};
use crate::domain::run::Returned;
use crate::metrics::CallKind;

/// The server's own prompt.
pub(super) const CHECKLIST: &str = "tool-call-checklist";
const TOOL_NAME: &str = "toolName";
const CHECKLIST_DESCRIPTION: &str = "What to look at before a tool is called.";

/// A prompt as `prompts/list` shows it (MCP 2026-07-28, `Prompt`).
#[derive(Clone, Debug, Serialize)]
pub struct ListedPrompt {
    /// What it is got by.
    pub name: String,
    /// Shown to people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What is to be filled in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<ListedArgument>,
}

/// One of its arguments.
#[derive(Clone, Debug, Serialize)]
pub struct ListedArgument {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    required: bool,
}

/// The messages of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptMessages {
    /// What they are for.
    pub description: Option<String>,
    /// A JSON array of `PromptMessage`.
    pub messages: JsonText,
}

/// Arguments by their name.
pub type PromptArguments = BTreeMap<String, String>;

impl From<&PromptArgument> for ListedArgument {
    fn from(argument: &PromptArgument) -> Self {
        Self {
            name: argument.name.clone(),
            title: argument.title.clone(),
            description: argument.description.clone(),
            required: argument.required,
        }
    }
}

impl Tools {
    /// Every prompt, sorted by name.
    pub fn list_prompts(&self) -> Vec<ListedPrompt> {
        let snapshot = self.store.snapshot();
        let made = snapshot
            .prompts()
            .iter()
            .filter(|prompt| !is_own(&prompt.name.to_string()));
        let made = made.map(|prompt| ListedPrompt {
            name: prompt.name.to_string(),
            title: prompt.definition.title.clone(),
            description: prompt.definition.description.clone(),
            arguments: prompt.definition.arguments.iter().map(Into::into).collect(),
        });
        let own = self.has_checklist().then(|| ListedPrompt {
            name: CHECKLIST.to_owned(),
            title: Some("Before a tool is called".to_owned()),
            description: Some(CHECKLIST_DESCRIPTION.to_owned()),
            arguments: vec![ListedArgument {
                name: TOOL_NAME.to_owned(),
                title: None,
                description: Some("Name of the tool.".to_owned()),
                required: true,
            }],
        });
        let mut list: Vec<_> = own.into_iter().chain(made).collect();
        list.sort_by(|one, other| one.name.cmp(&other.name));
        list
    }

    /// The state of the prompts: lists of equal marks are equal.
    pub fn prompts_mark(&self) -> u64 {
        self.store.snapshot().shelf::<PromptDefinition>().mark()
    }

    /// Gets a prompt, by either spelling of its name.
    ///
    /// # Errors
    /// [`NotRendered`].
    pub fn get_prompt(
        &self,
        context: &CallContext<'_>,
        name: &str,
        arguments: &PromptArguments,
    ) -> Result<Rendered<PromptMessages>, NotRendered> {
        if is_own(name) {
            let made = self.checklist(context.caller, arguments)?;
            return Ok(Rendered::ready(made));
        }
        let snapshot = self.store.snapshot();
        let found = snapshot.shelf::<PromptDefinition>().find(name);
        let prompt = found.ok_or(NotRendered::Unknown)?;
        let definition = &prompt.definition;
        let missing = |one: &&PromptArgument| one.required && !arguments.contains_key(&one.name);
        if let Some(missing) = definition.arguments.iter().find(missing) {
            return Err(NotRendered::Invalid(format!(
                "the prompt needs the argument \"{}\"",
                missing.name
            )));
        }
        match definition.program() {
            None => stand_there(prompt, arguments).map(Rendered::ready),
            Some(program) => {
                let args = JsonText::from_value(arguments);
                let shape = |returned, _| returned_messages(definition, returned);
                self.render(context, CallKind::Prompt, prompt, program, args, &shape)
            }
        }
    }

    /// Values that may be meant for an argument of a prompt; none for one that is unknown.
    ///
    /// # Errors
    /// `Unknown`.
    pub fn prompt_choices(
        &self,
        caller: &Caller,
        name: &str,
        argument: &str,
    ) -> Result<Vec<String>, NotRendered> {
        if is_own(name) && self.has_checklist() {
            return Ok(match argument {
                TOOL_NAME => self.listed_names(caller),
                _ => Vec::new(),
            });
        }
        let snapshot = self.store.snapshot();
        let found = snapshot.shelf::<PromptDefinition>().find(name);
        let mut arguments = found
            .ok_or(NotRendered::Unknown)?
            .definition
            .arguments
            .iter();
        let argument = arguments.find(|one| one.name == argument);
        Ok(argument.map(|one| one.complete.clone()).unwrap_or_default())
    }

    fn has_checklist(&self) -> bool {
        has_built_in(self.settings.profile, &self.settings.groups, CHECKLIST)
    }

    fn checklist(
        &self,
        caller: &Caller,
        arguments: &PromptArguments,
    ) -> Result<PromptMessages, NotRendered> {
        if !self.has_checklist() {
            return Err(NotRendered::Unknown);
        }
        let needs = format!("the prompt needs the argument \"{TOOL_NAME}\"");
        let name = arguments
            .get(TOOL_NAME)
            .ok_or(NotRendered::Invalid(needs))?;
        let unknown = "there is no tool of that name; tools/list has those there are".to_owned();
        let tool = self
            .listed(caller, name)
            .ok_or(NotRendered::Invalid(unknown))?;
        let text = format!(
            "Before you call the tool {}, check:\n\
             1. It does what is needed. It says of itself: {}\n\
             2. The arguments fit its schema: {}\n\
             3. Every value comes from the user, from an earlier result or from what you know; \
             none is made up. Ask the user for what is missing.\n\
             4. Nothing in the arguments is secret that the tool does not need.\n\
             5. You know what to do where it fails: read the error's kind and message, change what \
             they name, and do not repeat the same call.",
            tool.name,
            tool.description,
            tool.input_schema.text()
        );
        let content = json!({ "type": "text", "text": text });
        Ok(PromptMessages {
            description: Some(CHECKLIST_DESCRIPTION.to_owned()),
            messages: JsonText::from_value(&json!([{ "role": "user", "content": content }])),
        })
    }
}

fn is_own(name: &str) -> bool {
    name == CHECKLIST
}

/// The messages that stand there, with the arguments in their texts.
fn stand_there(
    prompt: &Prompt,
    arguments: &PromptArguments,
) -> Result<PromptMessages, NotRendered> {
    let definition = &prompt.definition;
    let messages = definition.messages.as_ref().map(JsonText::value);
    let Some(Ok(messages)) = messages else {
        return Err(
            invalid_result("the prompt's messages cannot be read: update the prompt").into(),
        );
    };
    // It was checked when it was stored, by this version or another.
    check_messages(&messages)
        .map_err(|rule| invalid_result(format!("messages{rule}: update the prompt")))?;
    let mut messages = normalized(messages);
    let lookup = |name: &str| {
        let is_declared = definition.arguments.iter().any(|one| one.name == name);
        let given = arguments.get(name).map(String::as_str);
        is_declared.then(|| given.unwrap_or_default())
    };
    substitute(&mut messages, &mut Values::new(&lookup)).map_err(|_| {
        NotRendered::Invalid(format!(
            "the arguments make the prompt larger than {MAX_BYTES} bytes"
        ))
    })?;
    Ok(PromptMessages {
        description: definition.description.clone(),
        messages: JsonText::from_value(&messages),
    })
}

/// What a prompt's code returned, as messages.
fn returned_messages(
    definition: &PromptDefinition,
    returned: Returned,
) -> Result<PromptMessages, Failure> {
    const FORMS: &str =
        "a prompt's code returns a string, an array of messages, or { description, messages }";
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Whole {
        description: Option<String>,
        messages: Value,
    }
    let Returned::Value(value) = returned else {
        return Err(invalid_result(FORMS));
    };
    let value = value
        .value()
        .map_err(|error| invalid_result(format!("$ cannot be read: {error}")))?;
    let (path, whole) = match value {
        Value::String(text) => {
            let messages = json!([{ "role": "user", "content": text }]);
            let description = None;
            (
                "$",
                Whole {
                    description,
                    messages,
                },
            )
        }
        Value::Array(_) => {
            let (description, messages) = (None, value);
            (
                "$",
                Whole {
                    description,
                    messages,
                },
            )
        }
        other => {
            let whole = serde_json::from_value(other).map_err(|_| invalid_result(FORMS))?;
            ("$.messages", whole)
        }
    };
    check_messages(&whole.messages).map_err(|rule| invalid_result(format!("{path}{rule}")))?;
    Ok(PromptMessages {
        description: whole.description.or_else(|| definition.description.clone()),
        messages: JsonText::from_value(&normalized(whole.messages)),
    })
}
