//! A dynamic prompt: its messages, or the code that makes them, and its arguments.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entry::{
    Authored, Dependency, Entry, InvalidField, Kind, bytes_of, bytes_of_dependencies,
};
use super::json::JsonText;
use super::limits::{
    self, MAX_BODY_BYTES, MAX_CHOICE_CHARS, MAX_CHOICES, check_body, check_chars, invalid,
};
use super::program::Program;
use super::tool::{DEFAULT_TIMEOUT_MS, MAX_DESCRIPTION_CHARS, MAX_TITLE_CHARS};

/// Most arguments of one prompt.
pub const MAX_ARGUMENTS: usize = 64;

/// An argument of a prompt (MCP 2026-07-28, `PromptArgument`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PromptArgument {
    /// 1 to 64 letters, digits, `_`, `.`, `-`; unique in its prompt.
    pub name: String,
    /// Shown to people; 1 to 120 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is for; 1 to 4000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether there is no prompt without it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// Values that clients may offer while it is typed; others are taken as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub complete: Vec<String>,
    /// Of a newer version, kept as they are; authors can give none.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

impl PromptArgument {
    fn bytes(&self) -> usize {
        let words = [
            Some(self.name.as_str()),
            self.title.as_deref(),
            self.description.as_deref(),
        ];
        let choices = self.complete.iter().map(|choice| Some(choice.as_str()));
        bytes_of(words.into_iter().chain(choices))
    }
}

/// Everything an author decides about a prompt. There are either messages or code.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromptDefinition {
    /// Shown to people; 1 to 120 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is for; 1 to 4000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// In the order in which they are listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<PromptArgument>,
    /// A JSON array of messages, in whose texts `{{name}}` stands for an argument.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<JsonText>,
    /// Body of `async function run(args, ctx)` that returns the messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Arc<str>>,
    /// Container image for the code; the server's default where `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Bound on one run of the code, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Packages the code imports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<Dependency>,
}

/// A prompt as it is stored.
pub type Prompt = Entry<PromptDefinition>;

impl Authored for PromptDefinition {
    const KIND: Kind = Kind::Prompt;

    fn is_listed_as(&self, other: &Self) -> bool {
        self.title == other.title
            && self.description == other.description
            && self.arguments == other.arguments
    }

    fn broken(&self, max_timeout_ms: u64, max_dependencies: usize) -> Vec<InvalidField> {
        let mut broken = Vec::new();
        check_words(
            &mut broken,
            "",
            self.title.as_deref(),
            self.description.as_deref(),
        );
        if self.arguments.len() > MAX_ARGUMENTS {
            let rule = format!("must not be more than {MAX_ARGUMENTS}");
            broken.push(invalid("arguments", rule));
        }
        let named = self.arguments.iter().take(MAX_ARGUMENTS);
        for (index, argument) in named.enumerate() {
            let path = format!("arguments[{index}].");
            let earlier = self.arguments.iter().take(index);
            check_argument(&mut broken, &path, argument);
            if earlier.into_iter().any(|other| other.name == argument.name) {
                broken.push(invalid(format!("{path}name"), "must not be there twice"));
            }
        }
        if let Some(messages) = &self.messages {
            let is_array = messages.value().is_ok_and(|value| value.is_array());
            if messages.text().len() > MAX_BODY_BYTES || !is_array {
                let rule = format!("must be a JSON array of at most {MAX_BODY_BYTES} bytes");
                broken.push(invalid("messages", rule));
            }
        }
        let given = [
            ("messages", self.messages.is_some()),
            ("code", self.code.is_some()),
        ];
        check_body(&mut broken, &given);
        if let Some(program) = self.program() {
            limits::check_program_sizes(&mut broken, &program, max_timeout_ms, max_dependencies);
        }
        broken
    }

    fn program(&self) -> Option<Program> {
        Some(Program {
            code: self.code.clone()?,
            image: self.image.clone(),
            timeout_ms: self.timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS),
            dependencies: self.dependencies.clone(),
        })
    }

    fn body(&self) -> &str {
        let messages = self.messages.as_ref().map(JsonText::text);
        self.code.as_deref().or(messages).unwrap_or_default()
    }

    fn bytes(&self) -> usize {
        let texts = [
            self.title.as_deref(),
            self.description.as_deref(),
            self.messages.as_ref().map(JsonText::text),
            self.code.as_deref(),
            self.image.as_deref(),
        ];
        let arguments = self.arguments.iter().map(PromptArgument::bytes);
        bytes_of(texts) + bytes_of_dependencies(&self.dependencies) + arguments.sum::<usize>()
    }
}

/// Checks what is shown of a thing below `path`.
pub(super) fn check_words(
    broken: &mut Vec<InvalidField>,
    path: &str,
    title: Option<&str>,
    description: Option<&str>,
) {
    if let Some(title) = title {
        check_chars(broken, &format!("{path}title"), title, MAX_TITLE_CHARS);
    }
    if let Some(description) = description {
        let path = format!("{path}description");
        check_chars(broken, &path, description, MAX_DESCRIPTION_CHARS);
    }
}

fn check_argument(broken: &mut Vec<InvalidField>, path: &str, argument: &PromptArgument) {
    let name = argument.name.as_str();
    let is_of_names = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if !(1..=64).contains(&name.len()) || !name.bytes().all(is_of_names) {
        let rule = "must be 1 to 64 characters: letters, digits, '_', '.' or '-'";
        broken.push(invalid(format!("{path}name"), rule));
    }
    let (title, description) = (argument.title.as_deref(), argument.description.as_deref());
    check_words(broken, path, title, description);
    check_choices(broken, &format!("{path}complete"), &argument.complete);
}

/// Checks the values that are offered for something.
pub(super) fn check_choices(broken: &mut Vec<InvalidField>, path: &str, choices: &[String]) {
    if choices.len() > MAX_CHOICES {
        broken.push(invalid(
            path,
            format!("must not be more than {MAX_CHOICES}"),
        ));
    }
    for (index, choice) in choices.iter().enumerate().take(MAX_CHOICES) {
        check_chars(
            broken,
            &format!("{path}[{index}]"),
            choice,
            MAX_CHOICE_CHARS,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_each_field() {
        let check = |change: fn(&mut PromptDefinition), expected: &[&str]| {
            let messages = JsonText::parse("[]".to_owned()).unwrap();
            let mut prompt = PromptDefinition {
                messages: Some(messages),
                ..PromptDefinition::default()
            };
            change(&mut prompt);
            let broken = prompt.broken(120_000, 32);
            let paths: Vec<_> = broken.iter().map(|field| field.path.as_str()).collect();
            assert_eq!(paths, expected, "{:.200}", format!("{prompt:?}"));
        };
        fn argument(name: &str) -> PromptArgument {
            PromptArgument {
                name: name.to_owned(),
                ..PromptArgument::default()
            }
        }
        check(|_| (), &[]);
        check(|it| it.title = Some(String::new()), &["title"]);
        check(
            |it| it.description = Some("é".repeat(4001)),
            &["description"],
        );
        check(|it| it.code = Some("1".into()), &["messages"]);
        check(|it| it.messages = None, &["messages"]);
        check(
            |it| it.messages = JsonText::parse("{}".to_owned()).ok(),
            &["messages"],
        );
        check(
            |it| {
                it.messages = None;
                it.code = Some("".into());
                it.timeout_ms = Some(1);
            },
            &["timeoutMs", "code"],
        );
        check(
            |it| it.arguments = vec![argument("a b")],
            &["arguments[0].name"],
        );
        check(
            |it| it.arguments = vec![argument("a"), argument("a")],
            &["arguments[1].name"],
        );
        check(
            |it| {
                it.arguments = (0..65).map(|one| argument(&format!("a{one}"))).collect();
            },
            &["arguments"],
        );
        check(
            |it| {
                it.arguments = vec![argument("a")];
                it.arguments[0].complete = vec![String::new()];
            },
            &["arguments[0].complete[0]"],
        );
    }
}
