//! Which resources there are, and what reading one gives. There are only built-in ones; those made
//! at run time will stand beside them in the same list.

use serde::Serialize;
use serde_json::Value;

use super::Tools;
use super::call::CallContext;
use crate::auth::{Action, Caller, Denied};
use crate::config::has_built_in;
use crate::domain::failure::Failure;

/// A resource as `resources/list` shows it (MCP 2026-07-28, `Resource`).
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedResource {
    /// What it is read by.
    pub uri: String,
    /// For programs.
    pub name: String,
    /// Shown to people.
    pub title: String,
    /// For the model.
    pub description: String,
    /// Its media type.
    pub mime_type: &'static str,
}

/// A part of a resource that is read (MCP 2026-07-28, `TextResourceContents`).
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceText {
    /// Of this part.
    pub uri: String,
    /// Its media type.
    pub mime_type: &'static str,
    /// The part itself.
    pub text: String,
}

/// Why a resource is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotRead {
    /// There is no such resource, or none for this caller.
    Unknown,
    /// It was read too often.
    Refused(Failure),
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
    /// Every resource that `caller` may read, sorted by URI.
    pub fn list_resources(&self, caller: &Caller) -> Vec<ListedResource> {
        self.built_in_resources()
            .filter(|resource| self.may_read(caller, resource).is_ok())
            .map(|resource| ListedResource {
                uri: resource.uri.to_owned(),
                name: resource.name.to_owned(),
                title: resource.title.to_owned(),
                description: resource.description.to_owned(),
                mime_type: JSON,
            })
            .collect()
    }

    /// Reads a resource, in parts.
    ///
    /// # Errors
    /// [`NotRead`].
    pub fn read_resource(
        &self,
        context: &CallContext<'_>,
        uri: &str,
    ) -> Result<Vec<ResourceText>, NotRead> {
        let found = self.built_in_resources().find(|own| own.uri == uri);
        let resource = found.ok_or(NotRead::Unknown)?;
        self.may_read(context.caller, resource).map_err(|denied| {
            self.write_denied(context, resource.uri, &denied);
            NotRead::Unknown
        })?;
        // As often as the tool of the same content, and no more.
        if let Some(act) = resource.admin_act {
            self.guard
                .admit(act)
                .map_err(|refusal| NotRead::Refused(self.rejected(context, act, refusal)))?;
        }
        Ok(vec![ResourceText {
            uri: resource.uri.to_owned(),
            mime_type: JSON,
            text: (resource.report)(self).to_string(),
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
