//! All entries at one moment, and the place where the newest such view is published. No I/O.

use std::cmp::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::decide::Change;
use super::record::{Key, Record, Stored};
use crate::domain::entry::{Entry, Kind, underscored};
use crate::domain::prompt::{Prompt, PromptDefinition};
use crate::domain::resource::{Resource, ResourceDefinition};
use crate::domain::tool::{Definition, Tool};

/// An immutable view of the entries of one kind, sorted by name.
#[derive(Debug)]
pub struct Shelf<D> {
    mark: u64,
    entries: Vec<Arc<Entry<D>>>,
    /// Places in `entries`, by the underscore spelling. Old stores may hold two tools of one
    /// spelling: the first by name comes first.
    by_spelling: Vec<usize>,
}

impl<D> Default for Shelf<D> {
    fn default() -> Self {
        Self {
            mark: 0,
            entries: Vec::new(),
            by_spelling: Vec::new(),
        }
    }
}

impl<D: Stored> Shelf<D> {
    fn new(mark: u64, mut entries: Vec<Arc<Entry<D>>>) -> Self {
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        let mut keys: Vec<_> = entries
            .iter()
            .map(|entry| entry.name.underscored())
            .zip(0..)
            .collect();
        keys.sort();
        Self {
            mark,
            entries,
            by_spelling: keys.into_iter().map(|(_, place)| place).collect(),
        }
    }

    /// A shelf of just these of `records` that are of its kind; `self` where that is what it holds.
    fn anew(self: &Arc<Self>, mark: u64, records: &[Record]) -> Arc<Self> {
        let next = Self::new(mark, records.iter().filter_map(D::of).cloned().collect());
        let mut pairs = self.entries.iter().zip(&next.entries);
        let is_same = self.entries.len() == next.entries.len()
            && pairs.all(|(old, new)| Arc::ptr_eq(old, new));
        match is_same {
            true => Arc::clone(self),
            false => Arc::new(next),
        }
    }

    /// The next one, after a change. Nothing but the change is looked at again.
    fn after(self: &Arc<Self>, mark: u64, change: &Change) -> Arc<Self> {
        let touched = change
            .put
            .iter()
            .chain(&change.removed)
            .any(|it| D::of(it).is_some());
        if !touched {
            return Arc::clone(self);
        }
        let mut next = Self {
            mark,
            entries: self.entries.clone(),
            by_spelling: self.by_spelling.clone(),
        };
        for gone in change.removed.iter().filter_map(D::of) {
            next.remove(gone.name.as_str());
        }
        for entry in change.put.iter().filter_map(D::of) {
            next.put(entry);
        }
        Arc::new(next)
    }

    fn put(&mut self, entry: &Arc<Entry<D>>) {
        match self.place(entry.name.as_str()) {
            Ok(place) => {
                if let Some(old) = self.entries.get_mut(place) {
                    *old = Arc::clone(entry);
                }
            }
            Err(place) => {
                self.entries.insert(place, Arc::clone(entry));
                let behind = self.by_spelling.iter_mut().filter(|other| **other >= place);
                behind.for_each(|other| *other += 1);
                let spelling = entry.name.underscored();
                let order = |other: &usize| self.spelled(*other, &spelling).then(other.cmp(&place));
                let at = self
                    .by_spelling
                    .partition_point(|other| order(other).is_lt());
                self.by_spelling.insert(at, place);
            }
        }
    }

    fn remove(&mut self, name: &str) {
        if let Ok(place) = self.place(name) {
            self.entries.remove(place);
            self.by_spelling.retain(|other| *other != place);
            let behind = self.by_spelling.iter_mut().filter(|other| **other > place);
            behind.for_each(|other| *other -= 1);
        }
    }

    /// Where the entry of that name is, or would be.
    fn place(&self, name: &str) -> Result<usize, usize> {
        self.entries
            .binary_search_by(|entry| entry.name.as_str().cmp(name))
    }

    /// How the underscore spelling of the entry in a place compares with another.
    fn spelled(&self, place: usize, spelling: &str) -> Ordering {
        let entry = self.entries.get(place);
        entry.map_or(Ordering::Less, |entry| {
            entry.name.underscored_bytes().cmp(spelling.bytes())
        })
    }

    /// The generation of the registry that these entries last changed with: shelves of one process
    /// and of equal marks are equal.
    pub fn mark(&self) -> u64 {
        self.mark
    }

    /// Every entry, sorted by the bytes of its name.
    pub fn entries(&self) -> &[Arc<Entry<D>>] {
        &self.entries
    }

    /// The entry of exactly that name.
    pub fn get(&self, name: &str) -> Option<&Arc<Entry<D>>> {
        self.entries.get(self.place(name).ok()?)
    }

    /// The entry that answers to `spelling`: the one of exactly that name, else the one whose
    /// underscore spelling it is.
    pub fn find(&self, spelling: &str) -> Option<&Arc<Entry<D>>> {
        self.get(spelling).or_else(|| self.spelled_as(spelling))
    }

    fn spelled_as(&self, spelling: &str) -> Option<&Arc<Entry<D>>> {
        let before = |place: &usize| self.spelled(*place, spelling).is_lt();
        let place = *self
            .by_spelling
            .get(self.by_spelling.partition_point(before))?;
        let found = self.spelled(place, spelling).is_eq();
        self.entries.get(place).filter(|_| found)
    }

    /// The entry that has the underscore spelling of `name`, whatever its own.
    pub fn of_same_spelling(&self, name: &str) -> Option<&Arc<Entry<D>>> {
        self.spelled_as(&underscored(name))
    }
}

/// An immutable view of the registry.
#[derive(Debug, Default)]
pub struct Snapshot {
    generation: u64,
    tools: Arc<Shelf<Definition>>,
    prompts: Arc<Shelf<PromptDefinition>>,
    resources: Arc<Shelf<ResourceDefinition>>,
}

impl Snapshot {
    /// A view of just these.
    pub fn of(records: &[Record]) -> Self {
        Self::default().anew(records)
    }

    /// The next one, which holds just these.
    pub(super) fn anew(&self, records: &[Record]) -> Self {
        let generation = self.generation + 1;
        Self {
            generation,
            tools: self.tools.anew(generation, records),
            prompts: self.prompts.anew(generation, records),
            resources: self.resources.anew(generation, records),
        }
    }

    /// The next one, after a change.
    pub(super) fn after(&self, change: &Change) -> Self {
        let generation = self.generation + 1;
        Self {
            generation,
            tools: self.tools.after(generation, change),
            prompts: self.prompts.after(generation, change),
            resources: self.resources.after(generation, change),
        }
    }

    /// Counts the changes that this process has seen; not kept across restarts.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The entries of one kind.
    pub fn shelf<D: Stored>(&self) -> &Shelf<D> {
        D::shelf(self)
    }

    pub(super) fn tool_shelf(&self) -> &Shelf<Definition> {
        &self.tools
    }

    pub(super) fn prompt_shelf(&self) -> &Shelf<PromptDefinition> {
        &self.prompts
    }

    pub(super) fn resource_shelf(&self) -> &Shelf<ResourceDefinition> {
        &self.resources
    }

    /// Every tool, sorted by the bytes of its name.
    pub fn tools(&self) -> &[Arc<Tool>] {
        self.tools.entries()
    }

    /// The tool of exactly that name.
    pub fn tool(&self, name: &str) -> Option<&Arc<Tool>> {
        self.tools.get(name)
    }

    /// Every prompt, likewise.
    pub fn prompts(&self) -> &[Arc<Prompt>] {
        self.prompts.entries()
    }

    /// Every resource and template, likewise.
    pub fn resources(&self) -> &[Arc<Resource>] {
        self.resources.entries()
    }

    /// Every entry, kind by kind.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        let tools = self.tools().iter().cloned().map(Record::Tool);
        let prompts = self.prompts().iter().cloned().map(Record::Prompt);
        let resources = self.resources().iter().cloned().map(Record::Resource);
        tools.chain(prompts).chain(resources)
    }

    /// What all definitions come to, in bytes ([`Authored::bytes`]).
    ///
    /// [`Authored::bytes`]: crate::domain::entry::Authored::bytes
    pub(super) fn bytes(&self) -> usize {
        fn of<D: Stored>(shelf: &Shelf<D>) -> usize {
            let entries = shelf.entries.iter();
            entries.map(|entry| entry.definition.bytes()).sum()
        }
        of(&self.tools) + of(&self.prompts) + of(&self.resources)
    }

    /// The entry of that kind and name.
    pub fn record(&self, (kind, name): &Key) -> Option<Record> {
        let name = name.as_str();
        match kind {
            Kind::Tool => self.tools.get(name).cloned().map(Record::Tool),
            Kind::Prompt => self.prompts.get(name).cloned().map(Record::Prompt),
            Kind::Resource => self.resources.get(name).cloned().map(Record::Resource),
        }
    }
}

/// Where the newest snapshot hangs. Readers hold its lock for one pointer copy.
#[derive(Debug, Default)]
pub(super) struct Published {
    current: Mutex<Arc<Snapshot>>,
    newer: Condvar,
}

impl Published {
    pub(super) fn current(&self) -> Arc<Snapshot> {
        self.locked().clone()
    }

    /// Makes just these the newest snapshot and wakes all who wait for one.
    pub(super) fn publish(&self, records: &[Record]) {
        self.show(self.current().anew(records));
    }

    /// The same for a change of a few entries, which costs little however many there are.
    pub(super) fn publish_change(&self, change: &Change) {
        self.show(self.current().after(change));
    }

    /// Snapshots are made outside the lock: callers are serialised by the store's own.
    pub(super) fn show(&self, next: Snapshot) {
        let before = std::mem::replace(&mut *self.locked(), Arc::new(next));
        self.newer.notify_all();
        drop(before);
    }

    pub(super) fn wait_newer(&self, seen: u64, timeout: Duration) -> Arc<Snapshot> {
        let waited = self
            .newer
            .wait_timeout_while(self.locked(), timeout, |now| now.generation <= seen);
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    fn locked(&self) -> MutexGuard<'_, Arc<Snapshot>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::tests::{prompt, tool};

    fn names(snapshot: &Snapshot) -> Vec<&str> {
        snapshot
            .tools()
            .iter()
            .map(|tool| tool.name.as_str())
            .collect()
    }

    #[test]
    fn both_spellings_find_a_tool_and_exact_names_win() {
        let published = Published::default();
        published.publish(&["z.z", "a_b", "a.b", "c:d"].map(|name| Record::Tool(tool(name))));
        let current = published.current();
        let snapshot = current.shelf::<Definition>();
        assert_eq!(names(&current), ["a.b", "a_b", "c:d", "z.z"]);
        let check = |spelling: &str, expected: Option<&str>| {
            let found = snapshot.find(spelling).map(|tool| tool.name.as_str());
            assert_eq!(found, expected, "{spelling}");
        };
        check("a.b", Some("a.b"));
        check("a_b", Some("a_b"));
        check("c_d", Some("c:d"));
        check("z_z", Some("z.z"));
        check("c.d", None);
        check("", None);
        assert_eq!(
            snapshot.of_same_spelling("c.d").unwrap().name.as_str(),
            "c:d"
        );
    }

    #[test]
    fn a_change_makes_what_all_tools_anew_would_make() {
        let names_of = |names: &[&str]| -> Vec<Record> {
            let tools = names.iter().map(|name| Record::Tool(tool(name)));
            tools.collect()
        };
        let all = [
            "b.b", "b_b", "b:b", "aaa", "c.c", "c_b", "ddd", "a.z", "b.a",
        ];
        let published = Published::default();
        let mut kept: Vec<&str> = Vec::new();
        let check = |put: &[&str], removed: &[&str], kept: &[&str]| {
            let change = Change {
                put: names_of(put),
                removed: names_of(removed),
            };
            published.publish_change(&change);
            let (found, anew) = (published.current(), Snapshot::of(&names_of(kept)));
            assert_eq!(names(&found), names(&anew), "{put:?} {removed:?}");
            let spellings = (&found.tools.by_spelling, &anew.tools.by_spelling);
            assert_eq!(spellings.0, spellings.1, "{put:?} {removed:?}");
        };
        for one in all {
            kept.push(one);
            check(&[one], &[], &kept);
            check(&[one], &["unknown"], &kept);
        }
        let before = published.current();
        check(&["ddd"], &["ddd"], &kept);
        assert!(!Arc::ptr_eq(
            before.tool("ddd").unwrap(),
            published.current().tool("ddd").unwrap()
        ));
        assert!(Arc::ptr_eq(
            before.tool("aaa").unwrap(),
            published.current().tool("aaa").unwrap()
        ));
        for one in [
            "b_b", "aaa", "ddd", "b.b", "c.c", "b:b", "c_b", "b.a", "a.z",
        ] {
            kept.retain(|other| *other != one);
            check(&[], &[one], &kept);
        }
        assert_eq!(published.current().tools().len(), 0);
        assert_eq!(before.tools().len(), all.len());
    }

    #[test]
    fn waiting_ends_with_the_next_change_or_with_the_time() {
        let published = Arc::new(Published::default());
        assert_eq!(published.wait_newer(0, Duration::ZERO).generation(), 0);
        let waiter = {
            let published = published.clone();
            std::thread::spawn(move || published.wait_newer(0, Duration::from_secs(60)))
        };
        published.publish(&[Record::Tool(tool("one"))]);
        assert_eq!(names(&waiter.join().unwrap()), ["one"]);
        assert_eq!(
            published
                .wait_newer(0, Duration::from_secs(60))
                .generation(),
            1
        );
        assert_eq!(published.wait_newer(1, Duration::ZERO).generation(), 1);
    }

    #[test]
    fn a_change_of_one_kind_leaves_the_marks_of_the_others() {
        let published = Published::default();
        let marks = || {
            let now = published.current();
            (now.tools.mark(), now.prompts.mark(), now.resources.mark())
        };
        let (tool, prompt) = (Record::Tool(tool("abc")), Record::Prompt(prompt("abc")));
        published.publish(&[tool.clone(), prompt.clone()]);
        assert_eq!(marks(), (1, 1, 0));
        published.publish_change(&Change::of(tool.clone()));
        assert_eq!(marks(), (2, 1, 0));
        // Reading all anew finds the same values, and so nothing that changed.
        published.publish(&[prompt.clone(), tool]);
        assert_eq!(marks(), (2, 1, 0));
        published.publish(std::slice::from_ref(&prompt));
        assert_eq!(marks(), (4, 1, 0));
        let removed = vec![prompt];
        let put = Vec::new();
        published.publish_change(&Change { put, removed });
        assert_eq!(marks(), (4, 5, 0));
    }
}
