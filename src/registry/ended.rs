//! Ids of sessions that were ended, here or, as far as we are told, in other replicas. Bounded; all
//! of it may be lost.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Ids that are remembered; the oldest are forgotten first.
const MAX_KNOWN: usize = 10_000;
/// Ids that wait to be told to others; more are not told.
const MAX_UNTOLD: usize = 1000;
/// Longest id that is taken from others, in bytes.
const MAX_LENGTH: usize = 64;

/// The ended sessions of one registry.
#[derive(Debug, Default)]
pub struct EndedSessions {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    known: HashSet<String>,
    in_order: VecDeque<String>,
    untold: Vec<String>,
}

impl EndedSessions {
    /// Whether this session was ended.
    pub fn contains(&self, id: &str) -> bool {
        self.lock().known.contains(id)
    }

    /// Remembers a session that ends here.
    pub fn end(&self, id: &str) {
        let mut table = self.lock();
        if table.remember(id) && table.untold.len() < MAX_UNTOLD {
            table.untold.push(id.to_owned());
        }
    }

    /// Remembers what another replica says.
    pub(super) fn hear(&self, id: &str) {
        if id.len() <= MAX_LENGTH {
            self.lock().remember(id);
        }
    }

    /// What others are to be told; each is given once.
    pub(super) fn take_untold(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().untold)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn remember(&mut self, id: &str) -> bool {
        if !self.known.insert(id.to_owned()) {
            return false;
        }
        self.in_order.push_back(id.to_owned());
        if self.in_order.len() > MAX_KNOWN
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ended_here_is_told_once_and_what_is_heard_is_not() {
        let ended = EndedSessions::default();
        ended.end("a");
        ended.end("a");
        ended.hear("b");
        ended.hear("a");
        ended.hear(&"c".repeat(MAX_LENGTH + 1));
        assert_eq!(ended.take_untold(), ["a"]);
        assert!(ended.take_untold().is_empty());
        assert!(ended.contains("a") && ended.contains("b"));
        assert_eq!(ended.lock().known.len(), 2);
    }

    #[test]
    fn tables_stay_bounded() {
        let ended = EndedSessions::default();
        for index in 0..MAX_KNOWN + 5 {
            ended.end(&index.to_string());
        }
        let table = ended.lock();
        assert_eq!(
            (table.known.len(), table.in_order.len(), table.untold.len()),
            (MAX_KNOWN, MAX_KNOWN, MAX_UNTOLD)
        );
        assert!(!table.known.contains("4") && table.known.contains("5"));
    }
}
