//! A whole file as one value: bounded reading that notices a change, replacement by rename, a lock
//! between processes. What the file means never stands here.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Read as _, Write};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Most links followed from a path to its file.
const MAX_LINKS: usize = 8;
/// Time between two attempts to take a lock: short, so that a process that writes without pause
/// does not starve the others.
const LOCK_RETRY: Duration = Duration::from_millis(1);

/// One state of a file. Holding it keeps the file open, so that the system cannot give its inode
/// number to a later file: every replacement is told apart, however coarse the clock.
#[derive(Debug)]
pub(super) struct Version {
    file: File,
    stamp: Stamp,
}

/// What tells two states apart: which file (replacement by rename), and when and how long
/// (an editor that writes in place).
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Version {
    /// What is at `path` now, unread; `None` where nothing is.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        // Non-blocking: the opening of a pipe without a writer would never return.
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path);
        match opened {
            Ok(file) => Self::of(file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn of(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let stamp = Stamp::of(&metadata);
        Ok(Self { file, stamp })
    }

    /// Whether both are the same state of the same file.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.stamp == other.stamp
    }

    /// What the system says of the file.
    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// The whole text, of at most `max_bytes`.
    pub(super) fn read_text(&self, max_bytes: u64) -> io::Result<String> {
        let too_long = || io::Error::other(format!("it is longer than {max_bytes} bytes"));
        if self.stamp.length > max_bytes {
            return Err(too_long());
        }
        let mut bytes = Vec::new();
        (&self.file).take(max_bytes + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max_bytes {
            return Err(too_long());
        }
        if Stamp::of(&self.file.metadata()?) != self.stamp {
            return Err(io::Error::other("it changed while it was read"));
        }
        String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8"))
    }
}

/// The file that `path` leads to through symbolic links, whether it exists or not: replacing that
/// one, not the link, is what the owner of the link wants.
pub(super) fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::canonicalize(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            found => return found,
        }
        match fs::read_link(&path) {
            Ok(target) => path = parent(&path).join(target),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

/// The folder of a file.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// `path` with `suffix` added to its last component.
pub(super) fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes a folder and the missing ones above it, for this user alone; leaves those there are.
pub(super) fn create_private_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    create_private_folder(parent(folder))?;
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) => Err(error),
        // Without this a power cut could take the folder, and the acknowledged file in it.
        Ok(()) => sync_folder(parent(folder)),
    }
}

/// Tries until `deadline`; at least once.
pub(super) fn retry_until<T>(
    deadline: Instant,
    mut attempt: impl FnMut() -> Option<T>,
) -> Option<T> {
    loop {
        let outcome = attempt();
        if outcome.is_some() || Instant::now() >= deadline {
            return outcome;
        }
        std::thread::sleep(LOCK_RETRY);
    }
}

/// Locks the file at `path` against all processes, until the returned file is closed; `None` when
/// others hold it up to `deadline`.
pub(super) fn lock(path: &Path, deadline: Instant) -> io::Result<Option<File>> {
    retry_until(deadline, || try_lock(path).transpose()).transpose()
}

fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let mut options = private();
    let file = options.read(true).create(true).truncate(false).open(path)?;
    // Somebody may have removed the file before it was locked: a lock that nobody else can find.
    Ok(if take_lock(&file)? && names(path, &file)? {
        Some(file)
    } else {
        None
    })
}

/// Locks an open file; `false` when somebody else holds it.
pub(super) fn take_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether `path` is still the name of `file`.
pub(super) fn names(path: &Path, file: &File) -> io::Result<bool> {
    let held = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Replaces the file at `path` by what `write` writes, in one step that a crash cannot tear. The
/// caller holds the file's lock: so a temporary file that is there already is a crashed writer's.
pub(super) fn replace(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<Version> {
    let temporary = sibling(path, ".tmp");
    remove_if_present(&temporary)?;
    let file = private().read(true).create_new(true).open(&temporary)?;
    let replaced = write_durably(&file, write).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = replaced {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_folder(parent(path))?;
    // Only now: the rename changed the stamp.
    Version::of(file)
}

/// Whether a file can be written beside `path`.
pub(super) fn probe(path: &Path) -> io::Result<()> {
    let probe = sibling(path, ".probe");
    let mut file = private().create(true).truncate(true).open(&probe)?;
    // As much as makes a full disk refuse.
    let written = file.write_all(&[0; 4096]);
    remove_if_present(&probe)?;
    written
}

/// Removes a file that may be gone already.
pub(super) fn remove_if_present(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// To write, of this user alone, never through a link that somebody left there.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options
}

fn write_durably(
    file: &File,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffered = BufWriter::with_capacity(65_536, file);
    write(&mut buffered)?;
    buffered.flush()?;
    file.sync_all()
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some file systems have nothing to sync for a folder, and say so.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::registry::tests::Scratch;

    #[test]
    fn a_lock_excludes_even_where_holders_remove_its_file() {
        let scratch = Scratch::new();
        let path = scratch.path("x.lock");
        let inside = AtomicBool::new(false);
        let deadline = Instant::now() + Duration::from_secs(60);
        let hold = || {
            for _ in 0..500 {
                let held = retry_until(deadline, || try_lock(&path).unwrap()).unwrap();
                assert!(!inside.swap(true, Ordering::SeqCst), "two hold the lock");
                std::thread::yield_now();
                inside.store(false, Ordering::SeqCst);
                fs::remove_file(&path).unwrap();
                drop(held);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(hold);
            }
        });
    }

    #[test]
    fn a_version_is_told_from_every_later_one() {
        let scratch = Scratch::new();
        let path = scratch.path("file");
        // So many within one tick of a clock that times and lengths are equal.
        let mut versions: Vec<Version> = Vec::new();
        for _ in 0..50 {
            let version = replace(&path, |out| out.write_all(b"same")).unwrap();
            assert!(version.is(&Version::open(&path).unwrap().unwrap()));
            assert!(!versions.iter().any(|earlier| earlier.is(&version)));
            versions.push(version);
        }
    }

    #[test]
    fn reading_is_bounded_and_notices_a_change() {
        let scratch = Scratch::new();
        let path = scratch.path("file");
        fs::write(&path, "1234").unwrap();
        let version = Version::open(&path).unwrap().unwrap();
        assert_eq!(version.read_text(4).unwrap(), "1234");
        assert!(Version::open(&path).unwrap().unwrap().read_text(3).is_err());
        let version = Version::open(&path).unwrap().unwrap();
        fs::write(&path, "12345").unwrap();
        assert!(
            version
                .read_text(9)
                .unwrap_err()
                .to_string()
                .contains("changed")
        );
    }
}
