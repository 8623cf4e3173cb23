//! Tokens that were verified a moment ago, by the SHA-256 of their text, so that a busy client
//! costs one signature check a minute. An entry never outlives the token, nor the keys that it was
//! verified with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::jwt::Identity;

/// Longest life of an entry.
const MAX_AGE: Duration = Duration::from_secs(60);
/// Most entries, about 1 KiB each.
const CAPACITY: usize = 4096;

/// SHA-256 of a token's text.
pub(super) type Digest = [u8; 32];

#[derive(Debug, Default)]
pub(super) struct TokenCache(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    /// Which keys all entries were verified with.
    generation: u64,
    by_digest: HashMap<Digest, (SystemTime, Arc<Identity>)>,
}

impl TokenCache {
    /// What a token said, if it was verified with the keys of this generation.
    pub(super) fn find(
        &self,
        generation: u64,
        digest: &Digest,
        now: SystemTime,
    ) -> Option<Arc<Identity>> {
        let entries = self.lock();
        if entries.generation != generation {
            return None;
        }
        let (until, identity) = entries.by_digest.get(digest)?;
        (now < *until).then(|| Arc::clone(identity))
    }

    /// Remembers a token verified with the keys of this generation.
    pub(super) fn insert(
        &self,
        generation: u64,
        digest: Digest,
        identity: &Arc<Identity>,
        now: SystemTime,
    ) {
        let mut entries = self.lock();
        if entries.generation > generation {
            return;
        }
        if entries.generation < generation {
            entries.by_digest.clear();
            entries.generation = generation;
        }
        if entries.by_digest.len() >= CAPACITY {
            entries.by_digest.retain(|_, (until, _)| now < *until);
            if entries.by_digest.len() >= CAPACITY {
                entries.by_digest.clear();
            }
        }
        let until = identity.expires.min(now + MAX_AGE);
        entries
            .by_digest
            .insert(digest, (until, Arc::clone(identity)));
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::principal::Principal;

    fn identity(expires: SystemTime) -> Arc<Identity> {
        Arc::new(Identity {
            principal: Principal::local(),
            client: "c".to_owned(),
            scopes: Vec::new(),
            expires,
        })
    }

    #[test]
    fn entries_end_with_the_token_the_minute_and_the_keys() {
        let cache = TokenCache::default();
        let now = SystemTime::now();
        let second = Duration::from_secs(1);
        cache.insert(1, [1; 32], &identity(now + second * 10), now);
        cache.insert(1, [2; 32], &identity(now + second * 1000), now);
        cache.insert(1, [3; 32], &identity(now - second), now);
        let check = |generation, digest, at, expected: bool| {
            let found = cache.find(generation, &[digest; 32], at).is_some();
            assert_eq!(found, expected, "{generation} {digest}");
        };
        check(1, 1, now + second * 9, true);
        check(1, 1, now + second * 10, false);
        check(1, 2, now + second * 59, true);
        check(1, 2, now + second * 60, false);
        check(1, 3, now, false);
        check(1, 4, now, false);
        check(2, 1, now, false);
        cache.insert(2, [5; 32], &identity(now + second * 10), now);
        check(1, 1, now, false);
        check(2, 1, now, false);
        check(2, 5, now, true);
        // A slow verification with old keys comes too late.
        cache.insert(1, [6; 32], &identity(now + second * 10), now);
        check(1, 6, now, false);
        check(2, 5, now, true);
    }

    #[test]
    fn the_number_of_entries_is_bounded() {
        let cache = TokenCache::default();
        let now = SystemTime::now();
        let identity = identity(now + MAX_AGE);
        for number in 0..CAPACITY as u64 + 10 {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_le_bytes());
            cache.insert(1, digest, &identity, now);
        }
        let entries = cache.lock().by_digest.len();
        assert!(entries <= CAPACITY, "{entries}");
    }
}
