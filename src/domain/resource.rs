//! A dynamic resource, or a template of many: its content, or the code that makes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::entry::{
    Authored, Dependency, Entry, InvalidField, Kind, bytes_of, bytes_of_dependencies,
};
use super::limits::{self, MAX_BODY_BYTES, check_body, invalid};
use super::program::Program;
use super::prompt::{check_choices, check_words};
use super::tool::DEFAULT_TIMEOUT_MS;
use super::uri_template::{UriTemplate, check_uri, shape};
use crate::base::text::decode_base64;

/// The scheme of the server's own resources.
const OWN_SCHEME: &str = "dynamic:";
/// Longest media type, in bytes.
const MAX_MIME_TYPE_BYTES: usize = 255;

/// Everything an author decides about a resource. It has either a URI or a template of URIs, and
/// one of a text, a blob and code.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceDefinition {
    /// What it is read by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// What they are read by: RFC 6570, as far as [`UriTemplate`] goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri_template: Option<String>,
    /// Shown to people; 1 to 120 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is; 1 to 4000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// For the variables of a template: values that clients may offer while they are typed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub complete: BTreeMap<String, Vec<String>>,
    /// Its content; in that of a template, `{{name}}` stands for a variable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Its content, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
    /// Body of `async function run(args, ctx)` that returns the content.
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

/// A resource as it is stored.
pub type Resource = Entry<ResourceDefinition>;

impl ResourceDefinition {
    fn check_address(&self, broken: &mut Vec<InvalidField>) {
        let (path, text) = match (&self.uri, &self.uri_template) {
            (Some(uri), None) => ("uri", uri),
            (None, Some(template)) => ("uriTemplate", template),
            _ => return broken.push(invalid("uri", "or uriTemplate must be there, and not both")),
        };
        let variables = if path == "uri" {
            check_uri(text).map(|()| Vec::new())
        } else {
            UriTemplate::parse(text).map(|template| template.variables().collect())
        };
        let scheme = text.get(..OWN_SCHEME.len()).unwrap_or_default();
        match variables {
            Err(rule) => broken.push(invalid(path, rule)),
            Ok(_) if scheme.eq_ignore_ascii_case(OWN_SCHEME) => {
                let rule = format!("must not begin with {OWN_SCHEME}, the server's own scheme");
                broken.push(invalid(path, rule));
            }
            Ok(variables) => {
                if variables.contains(&"uri") {
                    let rule = "must have no variable \"uri\": code finds the URI itself there";
                    broken.push(invalid(path, rule));
                }
                for (name, choices) in &self.complete {
                    let path = format!("complete.{name:.64}");
                    if !variables.contains(&name.as_str()) {
                        broken.push(invalid(path, "must be a variable of uriTemplate"));
                        break;
                    }
                    check_choices(broken, &path, choices);
                }
            }
        }
    }
}

impl Authored for ResourceDefinition {
    const KIND: Kind = Kind::Resource;

    fn is_listed_as(&self, other: &Self) -> bool {
        self.uri == other.uri
            && self.uri_template == other.uri_template
            && self.title == other.title
            && self.description == other.description
            && self.mime_type == other.mime_type
    }

    fn broken(&self, max_timeout_ms: u64, max_dependencies: usize) -> Vec<InvalidField> {
        let mut broken = Vec::new();
        self.check_address(&mut broken);
        check_words(
            &mut broken,
            "",
            self.title.as_deref(),
            self.description.as_deref(),
        );
        if let Some(kind) = &self.mime_type {
            let is_visible = kind
                .bytes()
                .all(|byte| byte.is_ascii_graphic() || byte == b' ');
            if kind.len() > MAX_MIME_TYPE_BYTES || !is_visible || !kind.contains('/') {
                let rule = "must be a media type of at most 255 characters, such as text/plain";
                broken.push(invalid("mimeType", rule));
            }
        }
        for (path, content) in [("text", &self.text), ("blob", &self.blob)] {
            if content.as_ref().is_some_and(|it| it.len() > MAX_BODY_BYTES) {
                let rule = format!("must be at most {MAX_BODY_BYTES} bytes");
                broken.push(invalid(path, rule));
            }
        }
        if self
            .blob
            .as_ref()
            .is_some_and(|blob| decode_base64(blob).is_none())
        {
            let rule = "must be base64 (RFC 4648, section 4, with padding)";
            broken.push(invalid("blob", rule));
        }
        let given = [
            ("text", self.text.is_some()),
            ("blob", self.blob.is_some()),
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
        let content = self.text.as_deref().or(self.blob.as_deref());
        self.code.as_deref().or(content).unwrap_or_default()
    }

    fn bytes(&self) -> usize {
        let texts = [
            self.uri.as_deref(),
            self.uri_template.as_deref(),
            self.title.as_deref(),
            self.description.as_deref(),
            self.mime_type.as_deref(),
            self.text.as_deref(),
            self.blob.as_deref(),
            self.code.as_deref(),
            self.image.as_deref(),
        ];
        let choices = self.complete.iter().flat_map(|(name, choices)| {
            let choices = choices.iter().map(|choice| Some(choice.as_str()));
            choices.chain([Some(name.as_str())])
        });
        bytes_of(texts.into_iter().chain(choices)) + bytes_of_dependencies(&self.dependencies)
    }

    fn address(&self) -> Option<String> {
        let template = self.uri_template.as_deref().map(shape);
        template.or_else(|| self.uri.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_each_field() {
        let check = |change: fn(&mut ResourceDefinition), expected: &[&str]| {
            let mut resource = ResourceDefinition {
                uri: Some("notes://today".to_owned()),
                text: Some("t".to_owned()),
                ..ResourceDefinition::default()
            };
            change(&mut resource);
            let broken = resource.broken(120_000, 32);
            let paths: Vec<_> = broken.iter().map(|field| field.path.as_str()).collect();
            assert_eq!(paths, expected, "{resource:?}");
        };
        fn template(resource: &mut ResourceDefinition, text: &str) {
            resource.uri = None;
            resource.uri_template = Some(text.to_owned());
        }
        check(|_| (), &[]);
        check(|it| it.text = Some(String::new()), &[]);
        check(|it| it.uri = None, &["uri"]);
        check(|it| it.uri_template = Some("a:{b}".to_owned()), &["uri"]);
        check(|it| it.uri = Some("no uri".to_owned()), &["uri"]);
        for own in ["dynamic://x", "DYNAMIC:x"] {
            let mut resource = ResourceDefinition {
                uri: Some(own.to_owned()),
                text: Some(String::new()),
                ..ResourceDefinition::default()
            };
            assert_eq!(resource.broken(1, 1).len(), 1, "{own}");
            template(&mut resource, &format!("{own}/{{a}}"));
            assert_eq!(resource.broken(1, 1).len(), 1, "{own}");
        }
        check(|it| template(it, "notes://{day}"), &[]);
        check(|it| template(it, "notes://{?day}"), &["uriTemplate"]);
        check(|it| template(it, "notes://{uri}"), &["uriTemplate"]);
        check(|it| it.mime_type = Some("text".to_owned()), &["mimeType"]);
        check(|it| it.blob = Some("aGk=".to_owned()), &["text"]);
        check(|it| it.text = None, &["text"]);
        check(
            |it| {
                it.text = None;
                it.blob = Some("aGk".to_owned());
            },
            &["blob"],
        );
        check(
            |it| {
                it.complete
                    .insert("day".to_owned(), vec!["monday".to_owned()]);
            },
            &["complete.day"],
        );
        check(
            |it| {
                template(it, "notes://{day}");
                it.complete
                    .insert("day".to_owned(), vec!["monday".to_owned()]);
            },
            &[],
        );
    }
}
