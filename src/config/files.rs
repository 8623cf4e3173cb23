//! How settings reach files: through a trait, so that loading is a function of what it is given.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::base::owner::is_foreign;
use crate::base::secret::Secret;

use super::problem::FileFault;

/// Most bytes of an env file and of a file that holds a secret.
pub const MAX_FILE_BYTES: usize = 65_536;

/// A file's text, with what says who could have written it.
#[derive(Clone, Debug)]
pub struct LoadedFile {
    /// The whole text; it may hold secrets.
    pub text: Secret,
    /// Whether every user may read it.
    pub readable_by_all: bool,
    /// Whether group or others may write it.
    pub writable_by_others: bool,
    /// Whether its owner is neither this process's user nor root.
    pub foreign_owner: bool,
}

/// Where the files that settings name are read.
pub trait Files {
    /// Reads a regular file of at most [`MAX_FILE_BYTES`].
    ///
    /// # Errors
    /// [`FileFault`], never with any of the content.
    fn load(&self, path: &Path) -> Result<LoadedFile, FileFault>;
}

/// The file system.
#[derive(Clone, Copy, Debug)]
pub struct Disk;

impl Files for Disk {
    fn load(&self, path: &Path) -> Result<LoadedFile, FileFault> {
        // Opening must not wait for a pipe's other end; what was opened is what is judged.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)
            .map_err(fault)?;
        let metadata = file.metadata().map_err(fault)?;
        if !metadata.is_file() {
            return Err(FileFault::NotRegular);
        }
        Ok(LoadedFile {
            text: Secret::new(read_bounded(file)?),
            readable_by_all: metadata.mode() & 0o004 != 0,
            writable_by_others: metadata.mode() & 0o022 != 0,
            foreign_owner: is_foreign(&metadata),
        })
    }
}

fn read_bounded(file: File) -> Result<String, FileFault> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX) + 1;
    file.take(limit).read_to_end(&mut bytes).map_err(fault)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(FileFault::TooLarge(MAX_FILE_BYTES));
    }
    String::from_utf8(bytes).map_err(|_| FileFault::NotUtf8)
}

fn fault(error: std::io::Error) -> FileFault {
    match error.kind() {
        ErrorKind::NotFound => FileFault::Missing,
        kind => FileFault::Unreadable(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::Folder;

    #[test]
    fn loads_only_bounded_regular_text() {
        let folder = Folder::new();
        let check = |name: &str, content: &[u8], expected: Result<usize, FileFault>| {
            let path = folder.write(name, content, 0o600);
            let loaded = Disk.load(&path).map(|file| file.text.reveal().len());
            assert_eq!(loaded, expected, "{name}");
        };
        check("empty", b"", Ok(0));
        check("largest", &[b'a'; MAX_FILE_BYTES], Ok(MAX_FILE_BYTES));
        check(
            "above",
            &[b'a'; MAX_FILE_BYTES + 1],
            Err(FileFault::TooLarge(MAX_FILE_BYTES)),
        );
        check("binary", b"a\xff", Err(FileFault::NotUtf8));
        let of = |path: &Path| Disk.load(path).map(|_| ()).unwrap_err();
        assert_eq!(of(folder.path()), FileFault::NotRegular);
        assert_eq!(of(Path::new("/dev/zero")), FileFault::NotRegular);
        assert_eq!(of(&folder.path().join("absent")), FileFault::Missing);
    }

    #[test]
    fn says_who_can_read_and_could_have_written_it() {
        let folder = Folder::new();
        for (mode, readable, writable) in [
            (0o600, false, false),
            (0o640, false, false),
            (0o644, true, false),
            (0o664, true, true),
            (0o602, false, true),
        ] {
            let path = folder.write("env", b"", mode);
            let loaded = Disk.load(&path).unwrap();
            let found = (loaded.readable_by_all, loaded.writable_by_others);
            assert_eq!(found, (readable, writable), "{mode:o}");
            assert!(!loaded.foreign_owner);
        }
    }
}
