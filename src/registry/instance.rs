//! Live instances of the server by locked files: whose containers may be removed (contract,
//! section 5). An id is only ever judged here; containers never stand here.
//!
//! A lock file gets its name only once it is locked. So a file of that name which can be locked
//! belongs to an instance that has ended, however it ended; unless it is a copy, which nobody ever
//! locked: the text of a lock file says which file it is.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::atomic_file;
use crate::base::ids;

/// Most lock files that one look at the folder considers.
const MAX_INSTANCES: usize = 10_000;
/// Most tries at a lock file of our own.
const MAX_ATTEMPTS: usize = 16;
/// Longest text of a lock file that is read, in bytes; more than any of ours.
const MAX_IDENTITY: u64 = 64;
const LOCKED: &str = ".lock";
const UNBORN: &str = ".new";

/// This process's proof of life: as long as it is held, others find its id alive. Dropping it, as
/// every crash does, leaves the file for others to find dead.
#[derive(Debug)]
pub struct InstanceLock {
    id: String,
    path: PathBuf,
    _locked: File,
}

/// What is known of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Its process holds the lock.
    Alive,
    /// Its process has ended.
    Dead,
    /// No file, a copy, no id of ours, or no way to tell: nothing may be done on its strength.
    Unknown,
}

impl InstanceLock {
    /// A new id, 32 hexadecimal digits, and its lock. Makes the folder where it is missing.
    ///
    /// # Errors
    /// When the folder cannot be written or its file system has no locks.
    pub fn acquire(folder: &Path) -> io::Result<Self> {
        atomic_file::create_private_folder(folder)?;
        remove_unborn(folder)?;
        for _ in 0..MAX_ATTEMPTS {
            if let Some(lock) = Self::try_acquire(folder)? {
                return Ok(lock);
            }
        }
        Err(io::Error::other(
            "instance locks are taken away as soon as they are made",
        ))
    }

    /// `None` when a sibling took the file for one that a crash left behind.
    fn try_acquire(folder: &Path) -> io::Result<Option<Self>> {
        let id = ids::random_hex();
        let unborn = folder.join(format!("{id}{UNBORN}"));
        let path = lock_path(folder, &id);
        let locked = atomic_file::private()
            .read(true)
            .create_new(true)
            .open(&unborn)?;
        if !atomic_file::take_lock(&locked)? {
            atomic_file::remove_if_present(&unborn)?;
            return Ok(None);
        }
        // On a full disk in vain: then nobody finds it dead, and its containers go by the end that
        // they bear.
        let _ = (&locked).write_all(identity(&locked)?.as_bytes());
        match fs::rename(&unborn, &path) {
            Ok(()) => Ok(Some(Self {
                id,
                path,
                _locked: locked,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The id, for labels.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Ends the instance without a trace: only once nothing that bears its id is left.
    ///
    /// # Errors
    /// When the file cannot be removed; the instance is then found dead.
    pub fn retire(self) -> io::Result<()> {
        atomic_file::remove_if_present(&self.path)
    }
}

/// Whether the instance of that id lives. To judge containers, list them first and ask then.
pub fn liveness(folder: &Path, id: &str) -> Liveness {
    match take_over(folder, id) {
        Ok(TakeOver::Refused) => Liveness::Alive,
        Ok(TakeOver::Done(_)) => Liveness::Dead,
        Ok(TakeOver::Nothing) | Err(_) => Liveness::Unknown,
    }
}

/// Removes the file of a dead instance, once nothing bears its id any more; says whether it did.
///
/// # Errors
/// When the file cannot be removed.
pub fn forget_dead(folder: &Path, id: &str) -> io::Result<bool> {
    match take_over(folder, id)? {
        // The lock is held up to here, so that no two forget at once.
        TakeOver::Done(_held) => fs::remove_file(lock_path(folder, id)).map(|()| true),
        TakeOver::Refused | TakeOver::Nothing => Ok(false),
    }
}

/// The ids that have a file, dead or alive, in no order; at most 10,000. No folder, no ids.
///
/// # Errors
/// When the folder cannot be read.
pub fn known(folder: &Path) -> io::Result<Vec<String>> {
    ids_with(folder, LOCKED)
}

enum TakeOver {
    Done(File),
    Refused,
    Nothing,
}

fn take_over(folder: &Path, id: &str) -> io::Result<TakeOver> {
    // Ids come from labels that anybody may have set.
    if !is_id(id) {
        return Ok(TakeOver::Nothing);
    }
    let path = lock_path(folder, id);
    let file = match atomic_file::private().read(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(TakeOver::Nothing),
        Err(error) => return Err(error),
    };
    if !atomic_file::take_lock(&file)? {
        return Ok(TakeOver::Refused);
    }
    let mut text = String::new();
    (&file).take(MAX_IDENTITY).read_to_string(&mut text)?;
    let original = text == identity(&file)?;
    Ok(if original && atomic_file::names(&path, &file)? {
        TakeOver::Done(file)
    } else {
        TakeOver::Nothing
    })
}

/// What no copy of the file has: its device and inode.
fn identity(file: &File) -> io::Result<String> {
    let metadata = file.metadata()?;
    Ok(format!("{} {}\n", metadata.dev(), metadata.ino()))
}

/// Files of instances that crashed between making and locking them.
fn remove_unborn(folder: &Path) -> io::Result<()> {
    for id in ids_with(folder, UNBORN)? {
        let path = folder.join(format!("{id}{UNBORN}"));
        let Ok(file) = atomic_file::private().read(true).open(&path) else {
            continue;
        };
        if atomic_file::take_lock(&file)? && atomic_file::names(&path, &file)? {
            atomic_file::remove_if_present(&path)?;
        }
    }
    Ok(())
}

fn ids_with(folder: &Path, suffix: &str) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut ids = Vec::new();
    for entry in entries.take(MAX_INSTANCES) {
        let name = entry?.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(suffix));
        ids.extend(id.filter(|id| is_id(id)).map(str::to_owned));
    }
    Ok(ids)
}

fn lock_path(folder: &Path, id: &str) -> PathBuf {
    folder.join(format!("{id}{LOCKED}"))
}

fn is_id(id: &str) -> bool {
    id.len() == 32
        && id
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::tests::Scratch;

    #[test]
    fn many_at_once_get_ids_of_their_own_and_all_are_alive() {
        let scratch = Scratch::new();
        let folder = scratch.path("instances");
        let locks: Vec<InstanceLock> = std::thread::scope(|scope| {
            let acquire = || InstanceLock::acquire(&folder).unwrap();
            let threads: Vec<_> = (0..32).map(|_| scope.spawn(acquire)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert_eq!(known(&folder).unwrap().len(), 32);
        for lock in &locks {
            assert_eq!(liveness(&folder, lock.id()), Liveness::Alive);
        }
    }

    #[test]
    fn a_copy_says_nothing_of_the_original_s_instance() {
        let scratch = Scratch::new();
        let (folder, copy) = (scratch.path("instances"), scratch.path("copy"));
        let lock = InstanceLock::acquire(&folder).unwrap();
        let id = lock.id().to_owned();
        fs::create_dir(&copy).unwrap();
        fs::copy(lock_path(&folder, &id), lock_path(&copy, &id)).unwrap();
        assert_eq!(liveness(&copy, &id), Liveness::Unknown);
        assert!(!forget_dead(&copy, &id).unwrap());
        assert_eq!(liveness(&folder, &id), Liveness::Alive);
        drop(lock);
        assert_eq!(liveness(&folder, &id), Liveness::Dead);
        assert!(forget_dead(&folder, &id).unwrap());
        assert_eq!(liveness(&copy, &id), Liveness::Unknown);
    }

    #[test]
    fn what_crashed_before_its_lock_is_cleared_up() {
        let scratch = Scratch::new();
        let unborn = scratch.path(&format!("{}{UNBORN}", ids::random_hex()));
        fs::write(&unborn, "").unwrap();
        fs::write(scratch.path("notes.new"), "not ours").unwrap();
        InstanceLock::acquire(&scratch.path("")).unwrap();
        assert!(!unborn.exists());
        assert!(scratch.path("notes.new").exists());
    }

    #[test]
    fn ids_that_are_none_are_never_looked_up() {
        let scratch = Scratch::new();
        fs::write(scratch.path("x.lock"), "").unwrap();
        fs::create_dir(scratch.path("instances")).unwrap();
        let hex = ids::random_hex();
        std::os::unix::fs::symlink("../x.lock", scratch.path(&format!("instances/{hex}.lock")))
            .unwrap();
        for id in [
            "../x",
            "",
            "x",
            &hex,
            &hex.to_uppercase(),
            &format!("{hex}0"),
        ] {
            assert_eq!(
                liveness(&scratch.path("instances"), id),
                Liveness::Unknown,
                "{id}"
            );
            assert!(
                !forget_dead(&scratch.path("instances"), id).unwrap_or(false),
                "{id}"
            );
        }
        assert!(scratch.path("x.lock").exists());
    }
}
