//! What is different between two snapshots, as clients are told of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::record::Stored;
use super::snapshot::{Shelf, Snapshot};
use crate::domain::resource::Resource;
use crate::domain::uri_template::UriTemplate;

/// Most changed templates that URIs are compared with; beyond, all URIs count as changed.
const MAX_TEMPLATES: usize = 16;

/// What a later snapshot has that an earlier one had not, or the other way round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The list of tools.
    pub tools: bool,
    /// The list of prompts.
    pub prompts: bool,
    /// The list of resources, or that of templates.
    pub resources: bool,
    /// URIs, and templates of URIs, whose resources are others now.
    pub updated: BTreeSet<String>,
}

impl Changes {
    /// What clients are to be told who know the registry as it was `before`.
    pub fn between(before: &Snapshot, after: &Snapshot) -> Self {
        Self {
            tools: lists_differ(before.tool_shelf(), after.tool_shelf()),
            prompts: lists_differ(before.prompt_shelf(), after.prompt_shelf()),
            resources: lists_differ(before.resource_shelf(), after.resource_shelf()),
            updated: updated(before, after),
        }
    }

    /// Whose resources are others, made ready for many questions.
    pub fn touched(&self) -> Touched<'_> {
        let templates = self.updated.iter();
        let templates = templates.filter_map(|address| UriTemplate::parse(address).ok());
        let templates: Vec<_> = templates.take(MAX_TEMPLATES + 1).collect();
        Touched {
            addresses: &self.updated,
            templates: (templates.len() <= MAX_TEMPLATES).then_some(templates),
        }
    }
}

/// The URIs whose resources are others.
#[derive(Debug)]
pub struct Touched<'a> {
    addresses: &'a BTreeSet<String>,
    /// `None` where there are too many to look at for each URI.
    templates: Option<Vec<UriTemplate<'a>>>,
}

impl Touched<'_> {
    /// Whether the resource of that URI is another, or may be one where very much has changed.
    pub fn has(&self, uri: &str) -> bool {
        let of_template = |templates: &Vec<UriTemplate<'_>>| {
            let mut templates = templates.iter();
            templates.any(|template| template.values(uri).is_some())
        };
        self.addresses.contains(uri) || self.templates.as_ref().is_none_or(of_template)
    }
}

fn lists_differ<D: Stored>(before: &Shelf<D>, after: &Shelf<D>) -> bool {
    if before.mark() == after.mark() {
        return false;
    }
    let (before, after) = (before.entries(), after.entries());
    let mut pairs = before.iter().zip(after);
    let are_alike = before.len() == after.len()
        && pairs.all(|(old, new)| {
            Arc::ptr_eq(old, new)
                || old.name == new.name && old.definition.is_listed_as(&new.definition)
        });
    !are_alike
}

fn updated(before: &Snapshot, after: &Snapshot) -> BTreeSet<String> {
    let (old, new) = (before.resource_shelf(), after.resource_shelf());
    if old.mark() == new.mark() {
        return BTreeSet::new();
    }
    let is_in = |resource: &Resource, shelf: &Shelf<_>| {
        let same = shelf.get(resource.name.as_str());
        same.is_some_and(|same: &Arc<Resource>| same.definition == resource.definition)
    };
    let gone = old.entries().iter().filter(|one| !is_in(one, new));
    let come = new.entries().iter().filter(|one| !is_in(one, old));
    let of = |resource: &Arc<Resource>| {
        let definition = &resource.definition;
        definition.uri.clone().or(definition.uri_template.clone())
    };
    gone.chain(come).filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::resource::ResourceDefinition;
    use crate::registry::record::Record;
    use crate::registry::tests::entry;

    fn resource(name: &str, address: &str, text: &str) -> Record {
        let is_template = address.contains('{');
        let address = Some(address.to_owned());
        let (uri, uri_template) = match is_template {
            true => (None, address),
            false => (address, None),
        };
        let definition = ResourceDefinition {
            uri,
            uri_template,
            text: Some(text.to_owned()),
            ..ResourceDefinition::default()
        };
        Record::Resource(entry(name, definition))
    }

    #[test]
    fn resources_that_are_others() {
        let check = |before: &[Record], after: &[Record], list, updated: &[&str]| {
            let changes = Changes::between(&Snapshot::of(before), &after_of(before, after));
            let found: Vec<_> = changes.updated.iter().map(String::as_str).collect();
            assert_eq!((changes.resources, found), (list, updated.to_vec()));
        };
        let day = |text| resource("notes.day", "notes://{day}", text);
        let one = |text| resource("notes.one", "notes://one", text);
        check(&[one("a")], &[one("a")], false, &[]);
        check(&[one("a")], &[one("b")], false, &["notes://one"]);
        check(&[one("a")], &[one("a"), day("a")], true, &["notes://{day}"]);
        let moved = resource("notes.one", "notes://two", "a");
        check(&[one("a")], &[moved], true, &["notes://one", "notes://two"]);
        check(
            &[one("a"), day("a")],
            &[day("b")],
            true,
            &["notes://one", "notes://{day}"],
        );
    }

    fn after_of(before: &[Record], after: &[Record]) -> Snapshot {
        Snapshot::of(before).anew(after)
    }

    #[test]
    fn a_template_touches_its_resources() {
        let changes = Changes {
            updated: BTreeSet::from(["notes://{day}".to_owned(), "a:b".to_owned()]),
            ..Changes::default()
        };
        let touched = changes.touched();
        assert!(touched.has("notes://monday") && touched.has("a:b"));
        assert!(!touched.has("notes://a/b") && !touched.has("a:c"));
    }

    #[test]
    fn many_changed_templates_touch_everything() {
        let of = |count: usize| Changes {
            updated: (0..count).map(|at| format!("n{at}://{{day}}")).collect(),
            ..Changes::default()
        };
        assert!(!of(MAX_TEMPLATES).touched().has("a:c"));
        assert!(of(MAX_TEMPLATES + 1).touched().has("a:c"));
    }
}
