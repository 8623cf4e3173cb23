//! Handshake sessions: which ids are still good, and how many are in use. All that stands here may
//! be lost: what a session is, its id says itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::client_state::{ClientState, UriBytes};
use super::session_token::{self, Session, SessionKey};
use crate::base::clock::unix_millis;
use crate::domain::principal::Principal;
use crate::registry::ended::EndedSessions;
use crate::tools::Capabilities;

/// Sessions that are counted as in use; more are served, but those unseen longest not counted.
const MAX_SEEN: usize = 10_000;
/// Time between two searches of a full table for sessions that are out of use.
const SWEEP_PAUSE_MS: u64 = 1000;

/// The id names no session of this caller: it was forged, ended, or is too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownSession;

/// For metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// Seen here within the time that an idle session is given.
    pub active: usize,
    /// Begun here.
    pub created: u64,
    /// Not seen for that time any more.
    pub expired: u64,
}

/// The sessions of one server.
#[derive(Debug)]
pub struct Sessions {
    key: SessionKey,
    idle_ms: u64,
    ended: Arc<EndedSessions>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    seen: HashMap<String, Seen>,
    uri_bytes: UriBytes,
    swept_at: u64,
    created: u64,
    expired: u64,
}

/// A session in use.
#[derive(Debug)]
struct Seen {
    /// When last, in milliseconds since the Unix epoch.
    at: u64,
    state: ClientState,
}

impl Sessions {
    /// No session is in use yet. One not seen for `idle` is not counted any more; one of `ended` is
    /// not served.
    pub fn new(key: SessionKey, idle: Duration, ended: Arc<EndedSessions>) -> Self {
        Self {
            key,
            idle_ms: u64::try_from(idle.as_millis()).unwrap_or(u64::MAX),
            ended,
            table: Mutex::default(),
        }
    }

    /// Begins a session; the text of its id, visible ASCII.
    pub(super) fn begin(
        &self,
        principal: &Principal,
        revision: &'static str,
        declared: Capabilities,
        now: SystemTime,
    ) -> String {
        let now = unix_millis(now);
        let (session, text) =
            session_token::issue(&self.key, principal, revision, declared, now / 1000);
        let mut table = self.lock();
        table.created += 1;
        table.see(session.id, now, self.idle_ms);
        text
    }

    /// The session that an id names.
    pub(super) fn find(
        &self,
        id: &str,
        principal: &Principal,
        now: SystemTime,
    ) -> Result<Session, UnknownSession> {
        let now = unix_millis(now);
        let session =
            session_token::verify(&self.key, principal, id, now / 1000).ok_or(UnknownSession)?;
        if self.has_ended(&session.id) {
            return Err(UnknownSession);
        }
        self.lock().see(session.id.clone(), now, self.idle_ms);
        Ok(session)
    }

    /// Ends a session: here, and in other replicas as soon as they hear of it, if they do.
    pub(super) fn end(
        &self,
        id: &str,
        principal: &Principal,
        now: SystemTime,
    ) -> Result<Session, UnknownSession> {
        let session = self.find(id, principal, now)?;
        self.ended.end(&session.id);
        self.lock().seen.remove(&session.id);
        Ok(session)
    }

    /// Reads or sets what is kept for a session that was seen; `None` where nothing is kept.
    pub(super) fn with_state<T>(
        &self,
        id: &str,
        act: impl FnOnce(&mut ClientState) -> T,
    ) -> Option<T> {
        let mut table = self.lock();
        table.seen.get_mut(id).map(|seen| act(&mut seen.state))
    }

    /// Whether a session was ended, by its id.
    pub(super) fn has_ended(&self, id: &str) -> bool {
        self.ended.contains(id)
    }

    /// What the state of a session says; `None` where it is no longer kept.
    pub(super) fn peek<T>(&self, id: &str, ask: impl FnOnce(&ClientState) -> T) -> Option<T> {
        if self.has_ended(id) {
            return None;
        }
        self.with_state(id, |state| ask(state))
    }

    /// Frees what is kept for sessions that are out of use.
    pub(super) fn free_idle(&self, now: SystemTime) {
        self.lock().sweep(unix_millis(now), self.idle_ms);
    }

    pub(super) fn counts(&self, now: SystemTime) -> SessionCounts {
        let mut table = self.lock();
        table.sweep(unix_millis(now), self.idle_ms);
        SessionCounts {
            active: table.seen.len(),
            created: table.created,
            expired: table.expired,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn see(&mut self, id: String, now: u64, idle_ms: u64) {
        if self.seen.len() >= MAX_SEEN && now.abs_diff(self.swept_at) >= SWEEP_PAUSE_MS {
            self.sweep(now, idle_ms);
        }
        if self.seen.len() >= MAX_SEEN && !self.seen.contains_key(&id) {
            self.forget_oldest();
        }
        let seen = self.seen.entry(id).or_insert_with(|| Seen {
            at: now,
            state: ClientState::among(&self.uri_bytes),
        });
        seen.at = now;
    }

    /// Makes room for one who comes: who is unseen for the longest time goes, and of those that
    /// set something only when all did.
    fn forget_oldest(&mut self) {
        let worth = |(_, seen): &(&String, &Seen)| (!seen.state.is_blank(), seen.at);
        let oldest = self.seen.iter().min_by_key(worth);
        if let Some(id) = oldest.map(|(id, _)| id.clone()) {
            self.seen.remove(&id);
        }
    }

    fn sweep(&mut self, now: u64, idle_ms: u64) {
        self.swept_at = now;
        let before = self.seen.len();
        self.seen
            .retain(|_, seen| now.saturating_sub(seen.at) <= idle_ms);
        self.expired += (before - self.seen.len()) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn sessions() -> Sessions {
        Sessions::new(
            SessionKey::new([1; 32]),
            Duration::from_secs(60),
            Arc::default(),
        )
    }

    fn count(sessions: &Sessions, seconds: u64) -> (usize, u64, u64) {
        let counts = sessions.counts(at(seconds));
        (counts.active, counts.created, counts.expired)
    }

    #[test]
    fn idle_ones_are_not_counted_but_still_known() {
        let (sessions, who) = (sessions(), Principal::local());
        let one = sessions.begin(&who, "2025-06-18", Capabilities::NONE, at(0));
        sessions.begin(&who, "2025-06-18", Capabilities::NONE, at(0));
        assert_eq!(count(&sessions, 30), (2, 2, 0));
        assert!(sessions.find(&one, &who, at(50)).is_ok());
        assert_eq!(count(&sessions, 61), (1, 2, 1));
        assert_eq!(count(&sessions, 111), (0, 2, 2));
        assert!(sessions.find(&one, &who, at(3600)).is_ok());
        assert_eq!(count(&sessions, 3600), (1, 2, 2));
    }

    #[test]
    fn an_ended_one_is_gone() {
        let (sessions, who) = (sessions(), Principal::local());
        let id = sessions.begin(&who, "2025-06-18", Capabilities::NONE, at(0));
        assert!(sessions.end(&id, &who, at(1)).is_ok());
        assert_eq!(sessions.find(&id, &who, at(1)), Err(UnknownSession));
        assert_eq!(sessions.end(&id, &who, at(1)), Err(UnknownSession));
        assert_eq!(count(&sessions, 1), (0, 1, 0));
    }

    #[test]
    fn tables_stay_bounded() {
        let (sessions, who) = (sessions(), Principal::local());
        let begin = || {
            let text = sessions.begin(&who, "2025-06-18", Capabilities::NONE, at(0));
            sessions.find(&text, &who, at(0)).unwrap().id
        };
        let set = begin();
        sessions.with_state(&set, |state| state.subscribe("a:b").unwrap());
        for _ in 0..MAX_SEEN {
            begin();
        }
        assert_eq!(count(&sessions, 0), (MAX_SEEN, MAX_SEEN as u64 + 1, 0));
        // Whoever comes has a place; who set something keeps it.
        let late = begin();
        let keeps = |id: &str| sessions.with_state(id, |_| ()).is_some();
        assert!(keeps(&late) && keeps(&set));
        // A full table makes room for who comes later.
        sessions.begin(&who, "2025-06-18", Capabilities::NONE, at(100));
        assert_eq!(count(&sessions, 100).0, 1);
    }
}
