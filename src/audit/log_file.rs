//! The log's newest file: one writer by a lock, appending that leaves no half line, and every way
//! in which a file can fail under its writer. What lines mean stands in `record`.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::rotation::{self, Rotation};
use super::tail::{BEGINNING, End, Tail, read_end};
use crate::base::sys;

/// Why the log cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another process writes it.
    Held(PathBuf),
    /// Its end is no line of an audit log, so nothing may be added to it.
    Foreign(PathBuf),
    /// The system refuses.
    Io(PathBuf, io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(path) => write!(
                formatter,
                "the audit log {} has a writer already: stop it, or choose another MCP_AUDIT_FILE",
                path.display()
            ),
            Self::Foreign(path) => write!(
                formatter,
                "{} does not end in a line of an audit log: check it with \"dynamic-mcp audit \
                 verify\" and move it away, or choose another MCP_AUDIT_FILE",
                path.display()
            ),
            Self::Io(path, error) => write!(
                formatter,
                "the audit log {} cannot be opened: {error}; see MCP_AUDIT_FILE",
                path.display()
            ),
        }
    }
}

impl std::error::Error for OpenError {}

/// Why nothing can be written now.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The file's name is gone.
    Gone,
    /// The name is another file's.
    Replaced,
    /// Somebody else wrote to it or cut it.
    Altered,
    /// The disk is as good as full.
    Full,
    /// The file system takes no writes.
    ReadOnly,
    /// A write failed.
    Write(io::Error),
    /// What was written may not be on the disk.
    Sync(io::Error),
    /// A new file could not be started.
    Rotate(io::Error),
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => formatter.write_str("the file was removed"),
            Self::Replaced => formatter.write_str("another file is in its place: move it away"),
            Self::Altered => formatter.write_str("the file was changed by another program"),
            Self::Full => formatter.write_str("the disk is full"),
            Self::ReadOnly => formatter.write_str("the file system is read-only"),
            Self::Write(error) => write!(formatter, "a write failed: {}", error.kind()),
            Self::Sync(error) => write!(formatter, "fsync failed: {}", error.kind()),
            Self::Rotate(error) => write!(formatter, "no new file: {}", error.kind()),
        }
    }
}

/// The file that lines go to.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines; what lies beyond is a write of ours that failed.
    length: u64,
    /// Whether a failed write may have left bytes.
    unclean: bool,
    /// Whether the next line would continue somebody's half line.
    needs_line_end: bool,
    rotation: Rotation,
    /// Bytes that must be free before an act may begin.
    reserve: u64,
    _lock: File,
}

impl LogFile {
    /// Takes the lock, mends the end, and finds where the chain is.
    pub(super) fn open(
        path: &Path,
        max_files: usize,
        reserve: u64,
    ) -> Result<(Self, Tail), OpenError> {
        let failed = |error| OpenError::Io(path.to_owned(), error);
        let path = std::path::absolute(path).map_err(failed)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed)?;
        let lock = take_lock(&path)?;
        let rotation = Rotation::new(&path, max_files);
        rotation.finish_interrupted().map_err(failed)?;
        let file = appending().create(true).open(&path).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            let error = io::Error::other("it is not a regular file");
            return Err(failed(error));
        }
        let (length, tail) = match read_end(&file).map_err(failed)? {
            End::Line { length, tail } => (length, tail),
            End::Foreign => return Err(OpenError::Foreign(path)),
            End::Empty { torn } => {
                let mut tail = rotation::older_tail(&path, max_files)?;
                if let Some(torn) = torn {
                    tail.broken = Some(torn);
                }
                (0, tail)
            }
        };
        file.set_len(length).map_err(failed)?;
        sync_folder(folder).map_err(failed)?;
        let log = Self {
            path: path.clone(),
            file,
            length,
            unclean: false,
            needs_line_end: false,
            rotation,
            reserve,
            _lock: lock,
        };
        Ok((log, tail))
    }

    /// Bytes in the newest file.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Adds whole lines: all of them, or none.
    pub(super) fn append(&mut self, lines: &[u8]) -> Result<(), Trouble> {
        self.check()?;
        let written = match self.needs_line_end {
            true => self.file.write_all(b"\n"),
            false => Ok(()),
        };
        if let Err(error) = written.and_then(|()| self.file.write_all(lines)) {
            self.unclean = true;
            self.clean();
            return Err(failed_write(error));
        }
        self.length += u64::from(self.needs_line_end) + lines.len() as u64;
        self.needs_line_end = false;
        Ok(())
    }

    /// Brings what was written to the disk.
    pub(super) fn sync(&self) -> Result<(), Trouble> {
        self.file.sync_data().map_err(Trouble::Sync)
    }

    /// Whether the file is still ours alone.
    pub(super) fn check(&self) -> Result<(), Trouble> {
        let named = match fs::symlink_metadata(&self.path) {
            Ok(named) => named,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Trouble::Gone),
            Err(error) => return Err(Trouble::Write(error)),
        };
        let held = self.file.metadata().map_err(Trouble::Write)?;
        if (named.dev(), named.ino()) != (held.dev(), held.ino()) {
            return Err(Trouble::Replaced);
        }
        if held.len() != self.length {
            return Err(Trouble::Altered);
        }
        Ok(())
    }

    /// Whether more lines have a place; how many bytes are left.
    pub(super) fn check_space(&self) -> Result<u64, Trouble> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let space = sys::disk_space(folder).map_err(Trouble::Write)?;
        match space {
            space if space.read_only => Err(Trouble::ReadOnly),
            space if space.free_bytes < self.reserve => Err(Trouble::Full),
            space => Ok(space.free_bytes),
        }
    }

    /// Tries to come back from `trouble`; what the next line has to say of it.
    pub(super) fn mend(&mut self, trouble: &Trouble) -> Result<&'static str, Trouble> {
        self.clean();
        let reason = match trouble {
            Trouble::Sync(_) => {
                self.sync()?;
                "sync_failed"
            }
            Trouble::Full => "disk_full",
            Trouble::ReadOnly => "read_only",
            Trouble::Rotate(_) => "rotation_failed",
            Trouble::Replaced => "file_replaced",
            Trouble::Gone | Trouble::Altered | Trouble::Write(_) => "write_failed",
        };
        self.check_space()?;
        let reason = match self.check() {
            Ok(()) => reason,
            Err(Trouble::Gone) => self.start_again()?,
            Err(Trouble::Altered) if !self.unclean => self.accept_alteration()?,
            Err(other) => return Err(other),
        };
        self.try_write()?;
        Ok(reason)
    }

    /// Starts a new file once this one has `max_bytes`.
    pub(super) fn rotate(&mut self) -> Result<(), Trouble> {
        self.check()?;
        self.sync()?;
        let (path, rotation) = (&self.path, &mut self.rotation);
        self.file = rotation
            .rotate(|fresh| appending().create_new(true).open(fresh), path)
            .map_err(Trouble::Rotate)?;
        self.length = 0;
        Ok(())
    }

    /// Writes a block and takes it away again: what a crash in between leaves is a torn line.
    fn try_write(&mut self) -> Result<(), Trouble> {
        let mut block = [b' '; 4096];
        for (to, from) in block.iter_mut().zip(BEGINNING) {
            *to = *from;
        }
        self.unclean = true;
        let written = self.file.write_all(&block);
        self.clean();
        match (written, self.unclean) {
            (Err(error), _) => Err(failed_write(error)),
            (Ok(()), true) => Err(Trouble::Altered),
            (Ok(()), false) => Ok(()),
        }
    }

    /// Takes away what a failed write left.
    fn clean(&mut self) {
        if self.unclean && self.file.set_len(self.length).is_ok() {
            self.unclean = false;
        }
    }

    /// The file has no name any more. A removed one is written back from the handle that is still
    /// open on it; one that was moved lives on elsewhere, and a new one goes on.
    fn start_again(&mut self) -> Result<&'static str, Trouble> {
        let removed = self.file.metadata().map_err(Trouble::Write)?.nlink() == 0;
        let fresh = appending()
            .create_new(true)
            .open(&self.path)
            .map_err(Trouble::Write)?;
        if removed && let Err(error) = self.copy_to(&fresh) {
            let _ = fs::remove_file(&self.path);
            return Err(Trouble::Write(error));
        }
        self.file = fresh;
        match removed {
            true => Ok("file_removed"),
            false => {
                self.length = 0;
                Ok("file_moved")
            }
        }
    }

    fn copy_to(&self, mut fresh: &File) -> io::Result<()> {
        let mut old = &self.file;
        old.seek(SeekFrom::Start(0))?;
        if io::copy(&mut old.take(self.length), &mut fresh)? != self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        fresh.sync_all()
    }

    /// Goes on behind what others did: `audit verify` will find it.
    fn accept_alteration(&mut self) -> Result<&'static str, Trouble> {
        let found = self.file.metadata().map_err(Trouble::Write)?.len();
        let reason = match found < self.length {
            true => "file_shortened",
            false => "foreign_bytes",
        };
        let mut last = [b'\n'];
        if let Some(at) = found.checked_sub(1) {
            self.file
                .read_exact_at(&mut last, at)
                .map_err(Trouble::Write)?;
        }
        self.needs_line_end = last != *b"\n";
        self.length = found;
        Ok(reason)
    }
}

fn failed_write(error: io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Trouble::Full,
        io::ErrorKind::ReadOnlyFilesystem => Trouble::ReadOnly,
        _ => Trouble::Write(error),
    }
}

/// To read and to add to, for this user alone, never through a link that somebody left there.
fn appending() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .append(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options
}

/// The lock is a file of its own, because the log's files change their names.
fn take_lock(path: &Path) -> Result<File, OpenError> {
    let failed = |error| OpenError::Io(path.to_owned(), error);
    let name = rotation::sibling(path, ".lock");
    let file = appending().create(true).open(name).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Held(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Brings the names in a folder to the disk.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
