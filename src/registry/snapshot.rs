//! All tools at one moment, and the place where the newest such view is published. No I/O.

use std::cmp::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::tool::{Tool, ToolName, underscored};

/// What is different in a later snapshot, as clients are told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The list of tools.
    pub tools: bool,
    /// The list of prompts.
    pub prompts: bool,
    /// The list of resources.
    pub resources: bool,
    /// URIs of resources whose content is another.
    pub updated: Vec<String>,
}

/// An immutable view of the registry, sorted by name.
#[derive(Debug, Default)]
pub struct Snapshot {
    generation: u64,
    tools: Vec<Arc<Tool>>,
    /// Places in `tools`, by the underscore spelling. Old stores may hold two tools of one
    /// spelling: the first by name comes first.
    by_spelling: Vec<usize>,
}

impl Snapshot {
    fn new(generation: u64, mut tools: Vec<Arc<Tool>>) -> Self {
        tools.sort_by(|one, other| one.name.cmp(&other.name));
        let mut keys: Vec<_> = tools
            .iter()
            .map(|tool| tool.name.underscored())
            .zip(0..)
            .collect();
        keys.sort();
        Self {
            generation,
            tools,
            by_spelling: keys.into_iter().map(|(_, place)| place).collect(),
        }
    }

    /// The next one, with these tools put in or in place of those of their names, and these gone.
    /// Nothing but the change is looked at again.
    fn after(&self, put: &[Arc<Tool>], removed: &[ToolName]) -> Self {
        let mut next = Self {
            generation: self.generation + 1,
            tools: self.tools.clone(),
            by_spelling: self.by_spelling.clone(),
        };
        for name in removed {
            next.remove(name.as_str());
        }
        for tool in put {
            next.put(tool);
        }
        next
    }

    fn put(&mut self, tool: &Arc<Tool>) {
        match self.place(tool.name.as_str()) {
            Ok(place) => {
                if let Some(old) = self.tools.get_mut(place) {
                    *old = Arc::clone(tool);
                }
            }
            Err(place) => {
                self.tools.insert(place, Arc::clone(tool));
                let behind = self.by_spelling.iter_mut().filter(|other| **other >= place);
                behind.for_each(|other| *other += 1);
                let spelling = tool.name.underscored();
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
            self.tools.remove(place);
            self.by_spelling.retain(|other| *other != place);
            let behind = self.by_spelling.iter_mut().filter(|other| **other > place);
            behind.for_each(|other| *other -= 1);
        }
    }

    /// Where the tool of that name is, or would be.
    fn place(&self, name: &str) -> Result<usize, usize> {
        self.tools
            .binary_search_by(|tool| tool.name.as_str().cmp(name))
    }

    /// How the underscore spelling of the tool in a place compares with another.
    fn spelled(&self, place: usize, spelling: &str) -> Ordering {
        let tool = self.tools.get(place);
        tool.map_or(Ordering::Less, |tool| {
            tool.name.underscored_bytes().cmp(spelling.bytes())
        })
    }

    /// What clients are to be told who know it as it was `before`.
    pub fn changes_since(&self, before: &Self) -> Changes {
        if self.generation == before.generation {
            return Changes::default();
        }
        let listed = |one: &Self, other: &Self| {
            let pairs = one.tools.iter().zip(&other.tools);
            one.tools.len() == other.tools.len()
                && pairs.into_iter().all(|(one, other)| {
                    Arc::ptr_eq(one, other)
                        || one.name == other.name && one.definition.is_listed_as(&other.definition)
                })
        };
        Changes {
            tools: !listed(self, before),
            ..Changes::default()
        }
    }

    /// Counts the changes that this process has seen; not kept across restarts.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Every tool, sorted by the bytes of its name.
    pub fn tools(&self) -> &[Arc<Tool>] {
        &self.tools
    }

    /// The tool of exactly that name.
    pub fn get(&self, name: &str) -> Option<&Arc<Tool>> {
        self.tools.get(self.place(name).ok()?)
    }

    /// The tool that answers to `spelling`: the one of exactly that name, else the one whose
    /// underscore spelling it is.
    pub fn find(&self, spelling: &str) -> Option<&Arc<Tool>> {
        self.get(spelling).or_else(|| self.spelled_as(spelling))
    }

    fn spelled_as(&self, spelling: &str) -> Option<&Arc<Tool>> {
        let before = |place: &usize| self.spelled(*place, spelling).is_lt();
        let place = *self
            .by_spelling
            .get(self.by_spelling.partition_point(before))?;
        let found = self.spelled(place, spelling).is_eq();
        self.tools.get(place).filter(|_| found)
    }

    /// The tool that has the underscore spelling of `name`, whatever its own.
    pub fn of_same_spelling(&self, name: &str) -> Option<&Arc<Tool>> {
        self.spelled_as(&underscored(name))
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

    /// Makes `tools` the newest snapshot and wakes all who wait for one.
    pub(super) fn publish(&self, tools: Vec<Arc<Tool>>) {
        self.show(Snapshot::new(self.current().generation + 1, tools));
    }

    /// The same for a change of a few tools, which costs little however many there are.
    pub(super) fn publish_change(&self, put: &[Arc<Tool>], removed: &[ToolName]) {
        self.show(self.current().after(put, removed));
    }

    /// Snapshots are made outside the lock: callers are serialised by the store's own.
    fn show(&self, next: Snapshot) {
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
    use crate::registry::tests::{name, tool};

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
        published.publish(["z.z", "a_b", "a.b", "c:d"].map(tool).to_vec());
        let snapshot = published.current();
        assert_eq!(names(&snapshot), ["a.b", "a_b", "c:d", "z.z"]);
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
        let names_of =
            |names: &[&str]| -> Vec<Arc<Tool>> { names.iter().map(|name| tool(name)).collect() };
        let all = [
            "b.b", "b_b", "b:b", "aaa", "c.c", "c_b", "ddd", "a.z", "b.a",
        ];
        let published = Published::default();
        let mut kept: Vec<&str> = Vec::new();
        let check = |put: &[&str], removed: &[&str], kept: &[&str]| {
            let gone: Vec<_> = removed.iter().map(|gone| name(gone)).collect();
            published.publish_change(&names_of(put), &gone);
            let (found, anew) = (published.current(), Snapshot::new(0, names_of(kept)));
            assert_eq!(names(&found), names(&anew), "{put:?} {removed:?}");
            assert_eq!(found.by_spelling, anew.by_spelling, "{put:?} {removed:?}");
        };
        for one in all {
            kept.push(one);
            check(&[one], &[], &kept);
            check(&[one], &["unknown"], &kept);
        }
        let before = published.current();
        check(&["ddd"], &["ddd"], &kept);
        assert!(!Arc::ptr_eq(
            before.get("ddd").unwrap(),
            published.current().get("ddd").unwrap()
        ));
        assert!(Arc::ptr_eq(
            before.get("aaa").unwrap(),
            published.current().get("aaa").unwrap()
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
        published.publish(vec![tool("one")]);
        assert_eq!(names(&waiter.join().unwrap()), ["one"]);
        assert_eq!(
            published
                .wait_newer(0, Duration::from_secs(60))
                .generation(),
            1
        );
        assert_eq!(published.wait_newer(1, Duration::ZERO).generation(), 1);
    }
}
