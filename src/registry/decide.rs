//! What a write makes of the entries there are: pure decisions, the same for every backend and
//! every kind. No I/O.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::record::{Record, Stored};
use super::snapshot::Snapshot;
use super::{Imported, OnCollision, StoreError};
use crate::domain::entry::{Authored as _, Entry, EntryName, InvalidField, Kind};
use crate::domain::resource::{Resource, ResourceDefinition};

/// The highest revision: the last whole number that every JSON reader keeps exact (2^53 − 1).
pub(super) const MAX_REVISION: u64 = (1 << 53) - 1;
/// Most that all entries together may come to, in bytes ([`Authored::bytes`]): every server of a
/// registry holds it in memory.
///
/// [`Authored::bytes`]: crate::domain::entry::Authored::bytes
const MAX_BYTES: usize = 64 << 20;

/// What a write does.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Entries to be put in, or in place of those of their kind and name.
    pub(super) put: Vec<Record>,
    /// Entries to be taken out.
    pub(super) removed: Vec<Record>,
}

impl Change {
    /// One entry put in.
    pub(super) fn of(record: Record) -> Self {
        Self {
            put: vec![record],
            removed: Vec::new(),
        }
    }

    /// Whether nothing changes.
    pub(super) fn is_empty(&self) -> bool {
        self.put.is_empty() && self.removed.is_empty()
    }
}

/// What a decision has to know beside the entries there are.
#[derive(Clone, Debug)]
pub struct Moment {
    /// The store's time, RFC 3339.
    pub now: String,
    /// Most entries of one kind.
    pub max_entries: usize,
}

/// The record of a new entry.
pub(super) fn decide_create<D: Stored>(
    snapshot: &Snapshot,
    name: EntryName,
    definition: D,
    moment: &Moment,
) -> Result<Arc<Entry<D>>, StoreError> {
    let (kind, shelf) = (D::KIND, snapshot.shelf::<D>());
    if shelf.get(name.as_str()).is_some() {
        return Err(StoreError::AlreadyExists { kind, name });
    }
    if let Some(other) = shelf.of_same_spelling(name.as_str()) {
        return Err(StoreError::NameTaken {
            kind,
            name,
            by: other.name.clone(),
        });
    }
    if shelf.entries().len() >= moment.max_entries {
        let limit = moment.max_entries;
        return Err(StoreError::Full { kind, limit });
    }
    check(snapshot, &name, &definition)?;
    check_room(snapshot, 0, definition.bytes())?;
    Ok(Arc::new(Entry {
        name,
        definition,
        created_at: moment.now.clone(),
        updated_at: moment.now.clone(),
        revision: 1,
    }))
}

/// Whether a definition can be stored under a name.
fn check<D: Stored>(
    snapshot: &Snapshot,
    name: &EntryName,
    definition: &D,
) -> Result<(), StoreError> {
    definition.check_sizes().map_err(StoreError::Invalid)?;
    let Some(address) = definition.address() else {
        return Ok(());
    };
    let mut entries = snapshot.shelf::<D>().entries().iter();
    let has_it = |entry: &&Arc<Entry<D>>| {
        entry.name != *name && entry.definition.address().as_ref() == Some(&address)
    };
    match entries.find(has_it) {
        None => Ok(()),
        Some(other) => Err(StoreError::AddressTaken {
            by: other.name.clone(),
        }),
    }
}

/// The next record of an entry.
pub(super) fn decide_update<D: Stored>(
    snapshot: &Snapshot,
    name: &EntryName,
    expected_revision: Option<u64>,
    change: &mut dyn FnMut(&Entry<D>) -> Result<D, StoreError>,
    moment: &Moment,
) -> Result<Arc<Entry<D>>, StoreError> {
    let stored = decide_delete::<D>(snapshot, name, expected_revision)?;
    check_revision(&stored)?;
    let definition = change(&stored)?;
    check(snapshot, name, &definition)?;
    check_room(snapshot, stored.definition.bytes(), definition.bytes())?;
    Ok(next(&stored, definition, moment))
}

fn next<D: Stored>(stored: &Entry<D>, definition: D, moment: &Moment) -> Arc<Entry<D>> {
    Arc::new(Entry {
        name: stored.name.clone(),
        definition,
        created_at: stored.created_at.clone(),
        updated_at: moment.now.clone(),
        revision: stored.revision + 1,
    })
}

fn check_revision<D: Stored>(stored: &Entry<D>) -> Result<(), StoreError> {
    if stored.revision < MAX_REVISION {
        return Ok(());
    }
    let kind = D::KIND;
    Err(StoreError::Invalid(vec![InvalidField {
        path: "revision".to_owned(),
        rule: format!("must not go beyond {MAX_REVISION}: delete the {kind} and create it anew"),
    }]))
}

/// Whether there is room for `more` bytes in the place of `less`. What takes no more than before
/// always has it: a registry may be of a version that knew no limit.
fn check_room(snapshot: &Snapshot, less: usize, more: usize) -> Result<(), StoreError> {
    if more > less && snapshot.bytes() - less + more > MAX_BYTES {
        let limit = MAX_BYTES >> 20;
        return Err(StoreError::TooLarge { limit });
    }
    Ok(())
}

/// The stored record, if it may be removed or replaced.
pub(super) fn decide_delete<D: Stored>(
    snapshot: &Snapshot,
    name: &EntryName,
    expected_revision: Option<u64>,
) -> Result<Arc<Entry<D>>, StoreError> {
    let (kind, name) = (D::KIND, name.clone());
    let Some(stored) = snapshot.shelf::<D>().get(name.as_str()) else {
        return Err(StoreError::NotFound { kind, name });
    };
    match expected_revision {
        Some(expected) if expected != stored.revision => Err(StoreError::Conflict {
            kind,
            name,
            expected,
            current: stored.revision,
        }),
        _ => Ok(stored.clone()),
    }
}

/// Takes in exported entries, all or none. Names that share a spelling are taken as they are: old
/// registries may hold such.
pub(super) fn decide_import(
    snapshot: &Snapshot,
    incoming: &[Record],
    on_collision: OnCollision,
    moment: &Moment,
) -> Result<(Change, Imported), StoreError> {
    let mut change = Change::default();
    let mut imported = Imported::default();
    let mut collisions = Vec::new();
    for record in incoming {
        match snapshot.record(&record.key()) {
            None => {
                imported.added += 1;
                change.put.push(taken_in(snapshot, record, moment)?);
            }
            Some(stored) if stored.defines_the_same(record) => imported.unchanged += 1,
            Some(_) if on_collision == OnCollision::Refuse => collisions.push(record.key()),
            Some(_) => {
                imported.replaced += 1;
                change.put.push(taken_in(snapshot, record, moment)?);
            }
        }
    }
    if !collisions.is_empty() {
        return Err(StoreError::Collisions { names: collisions });
    }
    let after = snapshot.after(&change);
    for (kind, count) in [
        (Kind::Tool, after.tools().len()),
        (Kind::Prompt, after.prompts().len()),
        (Kind::Resource, after.resources().len()),
    ] {
        let limit = moment.max_entries;
        if count > limit && change.put.iter().any(|record| record.kind() == kind) {
            return Err(StoreError::Full { kind, limit });
        }
    }
    check_addresses(&after, &change)?;
    check_room(snapshot, snapshot.bytes(), after.bytes())?;
    Ok((change, imported))
}

/// Whether no resource of `after` has the address of one that `change` put there.
fn check_addresses(after: &Snapshot, change: &Change) -> Result<(), StoreError> {
    let put = change.put.iter().filter_map(ResourceDefinition::of);
    let put: BTreeMap<_, _> = put.map(|entry| (&entry.name, entry)).collect();
    let kept = after.resources().iter();
    let kept = kept.filter(|entry| !put.contains_key(&entry.name));
    let address = |entry: &Arc<Resource>| entry.definition.address();
    let mut taken: BTreeMap<_, _> = kept.map(|entry| (address(entry), &entry.name)).collect();
    for (name, entry) in &put {
        if let Some(by) = taken.insert(address(entry), name) {
            return Err(StoreError::AddressTaken { by: by.clone() });
        }
    }
    Ok(())
}

/// An imported record as it is, or the next one of the entry that is there. Its address is not
/// looked at: what else comes with it may have it now.
fn taken_in(snapshot: &Snapshot, record: &Record, moment: &Moment) -> Result<Record, StoreError> {
    fn of<D: Stored>(
        snapshot: &Snapshot,
        entry: &Arc<Entry<D>>,
        moment: &Moment,
    ) -> Result<Record, StoreError> {
        let definition = &entry.definition;
        definition.check_sizes().map_err(StoreError::Invalid)?;
        let Some(stored) = snapshot.shelf::<D>().get(entry.name.as_str()) else {
            return Ok(D::record(Arc::clone(entry)));
        };
        check_revision(stored)?;
        Ok(D::record(next(stored, definition.clone(), moment)))
    }
    match record {
        Record::Tool(entry) => of(snapshot, entry, moment),
        Record::Prompt(entry) => of(snapshot, entry, moment),
        Record::Resource(entry) => of(snapshot, entry, moment),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::tool::{Definition, Tool};
    use crate::registry::snapshot::Published;
    use crate::registry::tests::{name, resource, tool};

    #[test]
    fn an_import_is_all_or_nothing() {
        let published = Published::default();
        published.publish(&[tool("abc"), tool("def")].map(Record::Tool));
        let other = |text: &str, revision| {
            let mut other = (*tool(text)).clone();
            other.definition.code = "return 2".into();
            other.revision = revision;
            Arc::new(other)
        };
        let incoming = [tool("abc"), other("def", 7), other("new", 9)].map(Record::Tool);
        let import = |on_collision, max_entries| {
            let now = "2026-01-02T00:00:00Z".to_owned();
            let moment = Moment { now, max_entries };
            decide_import(&published.current(), &incoming, on_collision, &moment)
        };
        let refused = import(OnCollision::Refuse, 3).unwrap_err();
        let names = vec![(Kind::Tool, name("def"))];
        assert_eq!(refused, StoreError::Collisions { names });
        let full = import(OnCollision::Replace, 2).unwrap_err();
        let kind = Kind::Tool;
        assert_eq!(full, StoreError::Full { kind, limit: 2 });
        let (change, counts) = import(OnCollision::Replace, 3).unwrap();
        let expected = Imported {
            added: 1,
            replaced: 1,
            unchanged: 1,
        };
        assert_eq!(counts, expected);
        let revisions: Vec<_> = change.put.iter().map(Record::revision).collect();
        assert_eq!(revisions, [2, 9]);
        let replaced = Definition::of(&change.put[0]).unwrap();
        assert_eq!(replaced.updated_at, "2026-01-02T00:00:00Z");
    }

    #[test]
    fn no_two_resources_have_one_address() {
        let snapshot = Snapshot::of(&[
            Record::Resource(resource("one", "a://x")),
            Record::Resource(resource("two", "a://{x}/y")),
        ]);
        let moment = Moment {
            now: String::new(),
            max_entries: 9,
        };
        let check = |address: &str, taken_by: Option<&str>| {
            let definition = resource("new", address).definition.clone();
            let created = decide_create(&snapshot, name("new"), definition, &moment);
            let expected = taken_by.map(|by| StoreError::AddressTaken { by: name(by) });
            assert_eq!(created.err(), expected, "{address}");
            let record = Record::Resource(resource("new", address));
            let imported = decide_import(&snapshot, &[record], OnCollision::Replace, &moment);
            assert_eq!(imported.is_ok(), taken_by.is_none(), "{address}");
        };
        check("a://x", Some("one"));
        check("a://other/{name}", None);
        check("a://{name}/y", Some("two"));
        check("a://{+name}/y", None);
        let mut same = |entry: &Entry<ResourceDefinition>| Ok(entry.definition.clone());
        let updated = decide_update(&snapshot, &name("one"), None, &mut same, &moment);
        assert_eq!(updated.unwrap().revision, 2);
        let mut other =
            |_: &Entry<ResourceDefinition>| Ok(resource("any", "a://x").definition.clone());
        let taken = decide_update(&snapshot, &name("two"), None, &mut other, &moment);
        assert_eq!(
            taken.err(),
            Some(StoreError::AddressTaken { by: name("one") })
        );
    }

    #[test]
    fn an_import_may_swap_addresses() {
        let records = |pairs: [(&str, &str); 2]| {
            pairs.map(|(name, address)| Record::Resource(resource(name, address)))
        };
        let snapshot = Snapshot::of(&records([("one", "a://x"), ("two", "a://{x}/y")]));
        let moment = Moment {
            now: String::new(),
            max_entries: 9,
        };
        let import = |pairs| {
            let incoming = records(pairs);
            decide_import(&snapshot, &incoming, OnCollision::Replace, &moment)
        };
        let (change, counts) = import([("one", "a://{z}/y"), ("two", "a://x")]).unwrap();
        assert_eq!((change.put.len(), counts.replaced), (2, 2));
        // In one file twice, and of one that stays.
        let taken = |pairs| import(pairs).unwrap_err();
        let by = |by: &str| StoreError::AddressTaken { by: name(by) };
        assert_eq!(taken([("one", "a://z"), ("new", "a://z")]), by("new"));
        assert_eq!(taken([("new", "a://{z}/y"), ("third", "a://z")]), by("two"));
    }

    #[test]
    fn all_entries_together_have_a_limit() {
        let sized = |name: &str, bytes: usize| {
            let mut resource = Resource::clone(&resource(name, &format!("a://{name}")));
            resource.definition.text = Some("x".repeat(bytes));
            Record::Resource(Arc::new(resource))
        };
        let large: Vec<_> = (0..64)
            .map(|at| sized(&format!("large-{at}"), (1 << 20) - 1024))
            .collect();
        let snapshot = Snapshot::of(&large);
        let moment = Moment {
            now: String::new(),
            max_entries: 99,
        };
        let too_large = StoreError::TooLarge { limit: 64 };
        let create = |bytes: usize| {
            let Record::Resource(new) = sized("new", bytes) else {
                unreachable!("it is a resource");
            };
            decide_create(&snapshot, name("new"), new.definition.clone(), &moment).map(drop)
        };
        assert_eq!(create(1024), Ok(()));
        assert_eq!(create(1 << 16), Err(too_large.clone()));
        let update = |bytes: usize| {
            let mut change = |stored: &Resource| {
                let text = Some("x".repeat(bytes));
                let stored = stored.definition.clone();
                Ok(ResourceDefinition { text, ..stored })
            };
            decide_update(&snapshot, &name("large-1"), None, &mut change, &moment).map(drop)
        };
        assert_eq!(update(1 << 20), Ok(()));
        let import = |records: &[Record]| {
            decide_import(&snapshot, records, OnCollision::Replace, &moment).map(drop)
        };
        assert_eq!(import(&[sized("new", 1024)]), Ok(()));
        let (more, less) = (sized("new", 1 << 20), sized("large-1", 0));
        assert_eq!(import(std::slice::from_ref(&more)), Err(too_large));
        assert_eq!(import(&[more, less]), Ok(()));
        // What is over the limit already may become smaller.
        let over: Vec<_> = (0..65)
            .map(|at| sized(&format!("large-{at}"), 1 << 20))
            .collect();
        let over = Snapshot::of(&over);
        let mut shorter = |stored: &Resource| {
            let text = Some("x".to_owned());
            let stored = stored.definition.clone();
            Ok(ResourceDefinition { text, ..stored })
        };
        assert!(decide_update(&over, &name("large-1"), None, &mut shorter, &moment).is_ok());
    }

    #[test]
    fn revisions_end_where_json_readers_lose_count() {
        let check = |revision: u64, expected: Result<u64, &str>| {
            let stored = Tool {
                revision,
                ..(*tool("abc")).clone()
            };
            let published = Published::default();
            published.publish(&[Record::Tool(Arc::new(stored))]);
            let mut same = |tool: &Tool| Ok(tool.definition.clone());
            let moment = Moment {
                now: "2026-01-02T00:00:00Z".to_owned(),
                max_entries: 9,
            };
            let snapshot = published.current();
            let updated = decide_update(&snapshot, &name("abc"), None, &mut same, &moment);
            let updated = updated
                .map(|tool| tool.revision)
                .map_err(|error| error.to_string());
            assert_eq!(updated, expected.map_err(str::to_owned));
        };
        check(1, Ok(2));
        check(MAX_REVISION - 1, Ok(MAX_REVISION));
        let end =
            "revision must not go beyond 9007199254740991: delete the tool and create it anew";
        check(MAX_REVISION, Err(end));
    }
}
