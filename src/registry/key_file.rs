//! A key beside the registry, such as sessions are signed with: one for all processes that share
//! the registry, and for their next starts.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::atomic_file::{self, Version};
use crate::base::ids::{hex, random_bytes, unhex};
use crate::base::owner::is_foreign;

/// The key's size.
pub(super) const KEY_BYTES: usize = 32;
/// A key in hexadecimal digits, and a line's end.
const MAX_FILE_BYTES: u64 = 2 * KEY_BYTES as u64 + 2;
/// How long another process may take to make the key.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// The key in the file at `path`; a new one where there is no file. Never a key that another
/// process does not get, too: the file appears whole, once.
pub(super) fn load_or_create(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    if let Some(key) = load(path)? {
        return Ok(key);
    }
    let lock = atomic_file::sibling(path, ".lock");
    let held = atomic_file::lock(&lock, Instant::now() + LOCK_WAIT)?;
    let _held = held.ok_or_else(|| io::Error::other("another process holds it locked"))?;
    let key = match load(path)? {
        Some(key) => key,
        None => {
            let key = random_bytes();
            atomic_file::replace(path, |out| writeln!(out, "{}", hex(&key)))?;
            key
        }
    };
    // Needed once only. Who waits for it sees that it is gone, and takes another.
    atomic_file::remove_if_present(&lock)?;
    Ok(key)
}

/// The key in the file at `path`, if there is one.
pub(super) fn load(path: &Path) -> io::Result<Option<[u8; KEY_BYTES]>> {
    let Some(file) = Version::open(path)? else {
        return Ok(None);
    };
    let metadata = file.metadata()?;
    if is_foreign(&metadata) {
        return Err(io::Error::other(
            "it belongs to another user, who may have put it there: remove it, or chown it to the \
             user of this server",
        ));
    }
    if metadata.mode() & 0o077 != 0 {
        log::warn!(
            "{} can be read by others, who can then do what its holder can: chmod 600",
            path.display()
        );
    }
    let text = file.read_text(MAX_FILE_BYTES)?;
    let key = unhex(text.trim_end()).and_then(|bytes| bytes.try_into().ok());
    let unusable =
        || io::Error::other("it holds no key; remove it, and what it stands for begins anew");
    key.map(Some).ok_or_else(unusable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::tests::Scratch;
    use std::fs;

    #[test]
    fn made_once_for_all_and_private() {
        let scratch = Scratch::new();
        let path = scratch.path("session.key");
        let keys: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16)
                .map(|_| scope.spawn(|| load_or_create(&path).unwrap()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
        assert_eq!(load_or_create(&path).unwrap(), keys[0]);
        assert!(!scratch.path("session.key.lock").exists());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_ne!(load_or_create(&scratch.path("other.key")).unwrap(), keys[0]);
    }

    #[test]
    fn another_user_s_key_is_not_taken() {
        let scratch = Scratch::new();
        let path = scratch.path("session.key");
        load_or_create(&path).unwrap();
        let given = std::os::unix::fs::chown(&path, Some(4242), None);
        if let Err(error) = given {
            // Only root can give a file away.
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            assert_ne!(fs::metadata("/proc/self").unwrap().uid(), 0);
            return;
        }
        let error = load_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("belongs to another user"), "{error}");
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
        load_or_create(&path).unwrap();
    }

    #[test]
    fn a_file_without_a_key_is_left_as_it_is() {
        let scratch = Scratch::new();
        let path = scratch.path("session.key");
        for text in ["", "00", &"0g".repeat(32), &"00".repeat(33), "\n"] {
            fs::write(&path, text).unwrap();
            assert!(load_or_create(&path).is_err(), "{text:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
