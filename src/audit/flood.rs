//! What keeps outsiders from filling the log: refusals beyond the first few are counted and told
//! in one line, and a caller that proves itself again and again is written once in a while. Pure;
//! the time is a parameter.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::event::{Action, Actor, Event};

/// How long refusals are counted before the count is written.
const WINDOW: Duration = Duration::from_secs(60);
/// Refusals of one kind and actor that are written whole within a window.
const WRITTEN_WHOLE: u64 = 5;
/// Actors told apart within a window; the others are one.
const MAX_KEYS: usize = 64;
/// How long a proven caller is not written again.
const PROVEN_FOR: Duration = Duration::from_secs(300);
/// Proven callers remembered.
const MAX_PROVEN: usize = 4096;

/// Counts refusals.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    counts: HashMap<Key, Count>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    action: Action,
    reason: &'static str,
    actor: Actor,
}

#[derive(Debug)]
struct Count {
    since: Instant,
    seen: u64,
    written: u64,
    target: String,
}

/// Refusals that nobody has written yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    /// The target is that of the last one.
    pub(super) event: Event,
    pub(super) reason: &'static str,
    pub(super) folded: u64,
    pub(super) seconds: u64,
}

impl Refusals {
    /// Whether this refusal is to be written whole; else it is counted.
    pub(super) fn note(&mut self, now: Instant, event: &Event, reason: &'static str) -> bool {
        let mut key = Key {
            action: event.action,
            reason,
            actor: event.actor.clone(),
        };
        let known = self.counts.contains_key(&key);
        let crowded = !known && self.counts.len() >= MAX_KEYS;
        if crowded {
            // Actions and reasons are few and ours, so that these keys have a bound too.
            key.actor = Actor::default();
        }
        let count = self.counts.entry(key).or_insert_with(|| Count {
            since: now,
            seen: 0,
            written: 0,
            target: String::new(),
        });
        count.seen += 1;
        let whole = !crowded && count.written < WRITTEN_WHOLE;
        if whole {
            count.written += 1;
        } else {
            count.target.clone_from(&event.target);
        }
        whole
    }

    /// The counts whose window is over.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Summary> {
        self.take(now, |count| {
            now.saturating_duration_since(count.since) >= WINDOW
        })
    }

    /// All counts.
    pub(super) fn all(&mut self, now: Instant) -> Vec<Summary> {
        self.take(now, |_| true)
    }

    fn take(&mut self, now: Instant, over: impl Fn(&Count) -> bool) -> Vec<Summary> {
        let taken: Vec<_> = self.counts.extract_if(|_, count| over(count)).collect();
        let folded = taken
            .into_iter()
            .filter(|(_, count)| count.seen > count.written);
        let mut summaries: Vec<_> = folded
            .map(|(key, count)| Summary {
                event: Event {
                    action: key.action,
                    actor: key.actor,
                    target: count.target,
                    request_id: String::new(),
                },
                reason: key.reason,
                folded: count.seen - count.written,
                seconds: now.saturating_duration_since(count.since).as_secs(),
            })
            .collect();
        summaries.sort_by(|one, other| {
            let order = |summary: &Summary| (summary.event.action, summary.reason);
            order(one)
                .cmp(&order(other))
                .then(one.event.actor.subject.cmp(&other.event.actor.subject))
        });
        summaries
    }
}

/// Who proved itself lately, and with which token.
#[derive(Debug, Default)]
pub(super) struct Proven {
    since: HashMap<[u8; 32], Instant>,
}

impl Proven {
    /// Whether this is to be written: not seen within the time.
    pub(super) fn note(&mut self, now: Instant, actor: &Actor, token: &[u8; 32]) -> bool {
        let key = proof_key(actor, token);
        let fresh = |since: &Instant| now.saturating_duration_since(*since) < PROVEN_FOR;
        if self.since.get(&key).is_some_and(fresh) {
            return false;
        }
        if self.since.len() >= MAX_PROVEN {
            self.since.retain(|_, since| fresh(since));
        }
        if self.since.len() >= MAX_PROVEN
            && let Some(oldest) = self.since.iter().min_by_key(|(_, since)| **since)
        {
            let oldest = *oldest.0;
            self.since.remove(&oldest);
        }
        self.since.insert(key, now);
        true
    }

    /// Takes back what could not be written.
    pub(super) fn forget(&mut self, actor: &Actor, token: &[u8; 32]) {
        self.since.remove(&proof_key(actor, token));
    }
}

fn proof_key(actor: &Actor, token: &[u8; 32]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in [&actor.issuer, &actor.subject, &actor.client] {
        let part = part.as_deref().unwrap_or_default();
        digest.update(part.len().to_le_bytes());
        digest.update(part.as_bytes());
    }
    digest.update(token);
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(subject: &str) -> Event {
        Event {
            action: Action::GuardReject,
            actor: Actor {
                subject: Some(subject.to_owned()),
                ..Actor::default()
            },
            target: "dynamic.exec.a".to_owned(),
            request_id: "r".to_owned(),
        }
    }

    #[test]
    fn a_flood_becomes_a_few_lines_and_a_count() {
        let (start, mut refusals) = (Instant::now(), Refusals::default());
        let whole = (0..100_000).filter(|_| refusals.note(start, &refusal("a"), "rate"));
        assert_eq!(whole.count(), 5);
        assert!(refusals.note(start, &refusal("a"), "concurrency"));
        assert!(refusals.note(start, &refusal("b"), "rate"));
        assert_eq!(refusals.due(start + Duration::from_secs(59)), []);
        let later = start + Duration::from_secs(61);
        let due = refusals.due(later);
        assert_eq!(due.len(), 1);
        assert_eq!((due[0].folded, due[0].seconds), (99_995, 61));
        assert_eq!(
            (due[0].reason, due[0].event.target.as_str()),
            ("rate", "dynamic.exec.a")
        );
        assert!(refusals.counts.is_empty());
        assert!(
            refusals.note(later, &refusal("a"), "rate"),
            "a new window writes again"
        );
    }

    #[test]
    fn a_flood_of_actors_is_bounded_too() {
        let (start, mut refusals) = (Instant::now(), Refusals::default());
        let whole = (0..100_000)
            .filter(|n| refusals.note(start, &refusal(&n.to_string()), "rate"))
            .count();
        assert_eq!(whole, MAX_KEYS);
        assert_eq!(refusals.counts.len(), MAX_KEYS + 1);
        let all = refusals.all(start);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].folded, 100_000 - MAX_KEYS as u64);
        assert_eq!(all[0].event.actor, Actor::default());
    }

    #[test]
    fn a_proven_caller_is_written_once_in_five_minutes() {
        let (start, mut proven) = (Instant::now(), Proven::default());
        let actor = refusal("a").actor;
        let (x, y) = ([1; 32], [2; 32]);
        let mut at =
            |seconds, token| proven.note(start + Duration::from_secs(seconds), &actor, token);
        assert!(at(0, &x));
        assert!(!at(299, &x));
        assert!(at(299, &y), "another token");
        assert!(at(300, &x));
        proven.forget(&actor, &x);
        assert!(proven.note(start + Duration::from_secs(301), &actor, &x));
        for n in 0..5000_u16 {
            let mut token = [0; 32];
            token[..2].copy_from_slice(&n.to_le_bytes());
            proven.note(start, &actor, &token);
        }
        assert_eq!(proven.since.len(), MAX_PROVEN);
    }
}
