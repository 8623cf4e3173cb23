//! All tools at one moment, and the place where the newest such view is published. No I/O.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::tool::{Tool, underscored};

/// An immutable view of the registry, sorted by name.
#[derive(Debug, Default)]
pub struct Snapshot {
    generation: u64,
    tools: Vec<Arc<Tool>>,
    by_underscored: HashMap<String, usize>,
}

impl Snapshot {
    fn new(generation: u64, mut tools: Vec<Arc<Tool>>) -> Self {
        tools.sort_by(|one, other| one.name.cmp(&other.name));
        let mut by_underscored = HashMap::with_capacity(tools.len());
        for (index, tool) in tools.iter().enumerate() {
            // Old stores may hold two tools of one spelling: the first by name answers to it.
            by_underscored
                .entry(tool.name.underscored())
                .or_insert(index);
        }
        Self {
            generation,
            tools,
            by_underscored,
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
        let found = self
            .tools
            .binary_search_by(|tool| tool.name.as_str().cmp(name))
            .ok()?;
        self.tools.get(found)
    }

    /// The tool that answers to `spelling`: the one of exactly that name, else the one whose
    /// underscore spelling it is.
    pub fn find(&self, spelling: &str) -> Option<&Arc<Tool>> {
        let by_spelling = || self.tools.get(*self.by_underscored.get(spelling)?);
        self.get(spelling).or_else(by_spelling)
    }

    /// The tool that has the underscore spelling of `name`, whatever its own.
    pub fn of_same_spelling(&self, name: &str) -> Option<&Arc<Tool>> {
        self.tools
            .get(*self.by_underscored.get(&underscored(name))?)
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
        // Built outside the lock: callers are serialised by the store's own.
        let next = Arc::new(Snapshot::new(self.current().generation + 1, tools));
        *self.locked() = next;
        self.newer.notify_all();
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
    use crate::registry::tests::tool;

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
