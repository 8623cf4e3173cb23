//! Which resources there are, and what reading one gives: those made at run time, and the server's
//! own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Tools;
use super::call::{CallContext, Outcome};
use super::rendering::{NotRendered, Rendered, invalid_result};
use super::substitution::{MAX_BYTES, Values};
use crate::auth::{Action, Caller, Denied};
use crate::base::text::decode_base64;
use crate::config::has_built_in;
use crate::domain::entry::Authored as _;
use crate::domain::failure::Failure;
use crate::domain::json::JsonText;
use crate::domain::resource::{Resource, ResourceDefinition};
use crate::domain::run::Returned;
use crate::domain::uri_template::UriTemplate;
use crate::metrics::CallKind;
use crate::registry::snapshot::Snapshot;

/// Most parts that code may make of one resource.
const MAX_PARTS: usize = 64;

/// A resource as `resources/list` shows it, or a template as `resources/templates/list` does (MCP
/// 2026-07-28, `Resource`, `ResourceTemplate`).
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedResource {
    /// What it is read by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// What the resources of a template are read by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri_template: Option<String>,
    /// For programs.
    pub name: String,
    /// Shown to people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// For the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its media type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
}

impl ListedResource {
    /// The URI or the template.
    pub fn address(&self) -> &str {
        let address = self.uri.as_deref().or(self.uri_template.as_deref());
        address.unwrap_or_default()
    }

    fn of(resource: &Resource) -> Self {
        let definition = &resource.definition;
        Self {
            uri: definition.uri.clone(),
            uri_template: definition.uri_template.clone(),
            name: resource.name.to_string(),
            title: definition.title.clone(),
            description: definition.description.clone(),
            mime_type: definition.mime_type.clone(),
        }
    }
}

/// A part of a resource that is read (MCP 2026-07-28, `TextResourceContents`,
/// `BlobResourceContents`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourcePart {
    /// Of this part.
    pub uri: String,
    /// Its media type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// The part itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The part itself, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
}

/// A resource of ours: a JSON document made when it is read.
struct BuiltInResource {
    uri: &'static str,
    name: &'static str,
    title: &'static str,
    description: &'static str,
    /// The admin act that gives the same; `None` where everybody may read it.
    admin_act: Option<&'static str>,
    report: fn(&Tools) -> Value,
}

const JSON: &str = "application/json";

/// Sorted by URI.
const BUILT_IN: &[BuiltInResource] = &[
    BuiltInResource {
        uri: "dynamic://metrics/guard",
        name: "guard_metrics",
        title: "Guard metrics",
        description: "Runs now, the limits, and what each scope was used for and refused.",
        admin_act: None,
        report: Tools::guard_metrics,
    },
    BuiltInResource {
        uri: "dynamic://service/meta",
        name: "service_meta",
        title: "This service",
        description: "Name, version, profile, execution engine and registry of this server.",
        admin_act: None,
        report: Tools::service_meta,
    },
    BuiltInResource {
        uri: "dynamic://service/runtime-config",
        name: "runtime_config",
        title: "Settings in force",
        description: "Every setting with its origin; secrets are masked. For admins.",
        admin_act: Some("system.runtime_config"),
        report: Tools::runtime_config,
    },
];

impl Tools {
    /// Every resource that `caller` may read and that has a URI of its own, sorted by it.
    pub fn list_resources(&self, caller: &Caller) -> Vec<ListedResource> {
        let own = self
            .built_in_resources()
            .filter(|resource| self.may_read(caller, resource).is_ok())
            .map(|resource| ListedResource {
                uri: Some(resource.uri.to_owned()),
                uri_template: None,
                name: resource.name.to_owned(),
                title: Some(resource.title.to_owned()),
                description: Some(resource.description.to_owned()),
                mime_type: Some(JSON.to_owned()),
            });
        let snapshot = self.store.snapshot();
        let made = snapshot.resources().iter();
        let made = made.filter(|resource| resource.definition.uri.is_some());
        sorted(own.chain(made.map(|resource| ListedResource::of(resource))))
    }

    /// Every template of resources, sorted.
    pub fn list_resource_templates(&self) -> Vec<ListedResource> {
        let snapshot = self.store.snapshot();
        let made = snapshot.resources().iter();
        let made = made.filter(|resource| resource.definition.uri_template.is_some());
        sorted(made.map(|resource| ListedResource::of(resource)))
    }

    /// The state of the resources: lists of equal marks are equal, for all who may read the same
    /// of the server's own.
    pub fn resources_mark(&self) -> u64 {
        self.store.snapshot().shelf::<ResourceDefinition>().mark()
    }

    /// How many of the server's own resources `caller` may read, which is all that its lists depend
    /// on beside the registry.
    pub fn own_resources(&self, caller: &Caller) -> usize {
        let own = self.built_in_resources();
        own.filter(|resource| self.may_read(caller, resource).is_ok())
            .count()
    }

    /// Reads a resource, in parts.
    ///
    /// # Errors
    /// [`NotRendered`].
    pub fn read_resource(
        &self,
        context: &CallContext<'_>,
        uri: &str,
    ) -> Result<Rendered<Vec<ResourcePart>>, NotRendered> {
        if let Some(own) = self.built_in_resources().find(|own| own.uri == uri) {
            return self.read_own(context, own).map(Rendered::ready);
        }
        let snapshot = self.store.snapshot();
        let (resource, variables) = resolve(&snapshot, uri).ok_or(NotRendered::Unknown)?;
        let definition = &resource.definition;
        let Some(program) = definition.program() else {
            return stands_there(definition, uri, &variables).map(Rendered::ready);
        };
        let uri_itself = [("uri", uri.to_owned())];
        let args: BTreeMap<_, _> = variables.into_iter().chain(uri_itself).collect();
        let args = JsonText::from_value(&args);
        let shape = |returned, _| returned_parts(definition, uri, returned);
        let kind = CallKind::Resource;
        let rendered = self.render(context, kind, resource, program, args, &shape)?;
        let outcome = match rendered.outcome {
            Outcome::Done(None) => return Err(NotRendered::Unknown),
            Outcome::Done(Some(parts)) => Outcome::Done(parts),
            Outcome::Asked(asked) => Outcome::Asked(asked),
        };
        let image = rendered.image;
        Ok(Rendered { outcome, image })
    }

    /// Values that may be meant for a variable of a template, which is named by itself; none for a
    /// variable that is unknown, or for a resource that is no template.
    ///
    /// # Errors
    /// `Unknown`.
    pub fn resource_choices(
        &self,
        caller: &Caller,
        address: &str,
        variable: &str,
    ) -> Result<Vec<String>, NotRendered> {
        let snapshot = self.store.snapshot();
        let mut made = snapshot
            .resources()
            .iter()
            .map(|resource| &resource.definition);
        let template = made.find(|one| one.uri_template.as_deref() == Some(address));
        if let Some(template) = template {
            return Ok(template.complete.get(variable).cloned().unwrap_or_default());
        }
        let mut own = self.built_in_resources();
        let is_own = own.any(|own| own.uri == address && self.may_read(caller, own).is_ok());
        match is_own || resolve(&snapshot, address).is_some() {
            true => Ok(Vec::new()),
            false => Err(NotRendered::Unknown),
        }
    }

    fn read_own(
        &self,
        context: &CallContext<'_>,
        resource: &BuiltInResource,
    ) -> Result<Vec<ResourcePart>, NotRendered> {
        self.may_read(context.caller, resource).map_err(|denied| {
            self.write_denied(context, resource.uri, &denied);
            NotRendered::Unknown
        })?;
        // As often as the tool of the same content, and no more.
        if let Some(act) = resource.admin_act {
            self.guard
                .admit(act)
                .map_err(|refusal| self.rejected(context, act, refusal))?;
        }
        Ok(vec![ResourcePart {
            uri: resource.uri.to_owned(),
            mime_type: Some(JSON.to_owned()),
            text: Some((resource.report)(self).to_string()),
            blob: None,
        }])
    }

    fn built_in_resources(&self) -> impl Iterator<Item = &'static BuiltInResource> {
        let settings = &self.settings;
        BUILT_IN
            .iter()
            .filter(|resource| has_built_in(settings.profile, &settings.groups, resource.uri))
    }

    fn may_read(&self, caller: &Caller, resource: &BuiltInResource) -> Result<(), Denied> {
        let action = match resource.admin_act {
            Some(_) => Action::Admin(resource.uri),
            None => Action::Use,
        };
        self.authority.authorize(caller, action, None).map(|_| ())
    }
}

fn sorted(list: impl Iterator<Item = ListedResource>) -> Vec<ListedResource> {
    let mut list: Vec<_> = list.collect();
    list.sort_by(|one, other| one.address().cmp(other.address()));
    list
}

/// Values of a template's variables, by their names.
type Variables<'a> = Vec<(&'a str, String)>;

/// The resource that a URI is of, which is its own, or that of the template that says most of it.
fn resolve<'a>(snapshot: &'a Snapshot, uri: &str) -> Option<(&'a Resource, Variables<'a>)> {
    let resources = || snapshot.resources().iter();
    let mut own = resources();
    if let Some(own) = own.find(|one| one.definition.uri.as_deref() == Some(uri)) {
        return Some((own, Vec::new()));
    }
    let mut best: Option<(usize, &Resource, Variables<'_>)> = None;
    for resource in resources() {
        let Some(template) = resource.definition.uri_template.as_deref() else {
            continue;
        };
        // Most are of other URIs, and need not be taken apart to tell.
        let (start, _) = template.split_once('{').unwrap_or((template, ""));
        if !uri.starts_with(start) {
            continue;
        }
        if let Ok(template) = UriTemplate::parse(template)
            && best
                .as_ref()
                .is_none_or(|(most, ..)| template.text_bytes() > *most)
            && let Some(values) = template.values(uri)
        {
            best = Some((template.text_bytes(), resource, values));
        }
    }
    best.map(|(_, resource, values)| (resource, values))
}

/// The content that stands there; in that of a template, with the variables in it.
fn stands_there(
    definition: &ResourceDefinition,
    uri: &str,
    variables: &[(&str, String)],
) -> Result<Vec<ResourcePart>, NotRendered> {
    let mut text = definition.text.clone();
    if let Some(made) = text.as_mut().filter(|_| !variables.is_empty()) {
        let lookup = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| value.as_str())
        };
        *made = Values::new(&lookup).put_into(made).map_err(|_| {
            NotRendered::Invalid(format!(
                "the variables make the text larger than {MAX_BYTES} bytes"
            ))
        })?;
    }
    Ok(vec![ResourcePart {
        uri: uri.to_owned(),
        mime_type: definition.mime_type.clone(),
        text,
        blob: definition.blob.clone(),
    }])
}

/// What a resource's code returned, in parts; `None` for null.
fn returned_parts(
    definition: &ResourceDefinition,
    uri: &str,
    returned: Returned,
) -> Result<Option<Vec<ResourcePart>>, Failure> {
    const FORMS: &str = "a resource's code returns a string, { text, mimeType } or \
         { blob, mimeType } with blob in base64, an array of 1 to 64 of these, or null";
    let Returned::Value(value) = returned else {
        return Err(invalid_result(FORMS));
    };
    let value = value
        .value()
        .map_err(|error| invalid_result(format!("$ cannot be read: {error}")))?;
    let parts = match value {
        Value::Null => return Ok(None),
        Value::Array(list) => list,
        one => vec![one],
    };
    if !(1..=MAX_PARTS).contains(&parts.len()) {
        return Err(invalid_result(FORMS));
    }
    let parts = parts.into_iter().map(|part| {
        let part = match part {
            Value::String(text) => ReturnedPart {
                text: Some(text),
                ..ReturnedPart::default()
            },
            other => serde_json::from_value(other).map_err(|_| invalid_result(FORMS))?,
        };
        let is_blob = part
            .blob
            .as_deref()
            .is_none_or(|blob| decode_base64(blob).is_some());
        if part.text.is_some() == part.blob.is_some() || !is_blob {
            return Err(invalid_result(FORMS));
        }
        Ok(ResourcePart {
            uri: part.uri.unwrap_or_else(|| uri.to_owned()),
            mime_type: part.mime_type.or_else(|| definition.mime_type.clone()),
            text: part.text,
            blob: part.blob,
        })
    });
    parts.collect::<Result<_, _>>().map(Some)
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReturnedPart {
    uri: Option<String>,
    mime_type: Option<String>,
    text: Option<String>,
    blob: Option<String>,
}
