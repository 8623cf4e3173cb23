//! Old files of the log: `audit.log.1.gz` is the newest of them. A crash at any step leaves every
//! line in one file at least, and the next start finishes the step.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::chain::{Chain, read_line};
use super::log_file::{OpenError, sync_folder};
use super::tail::{Tail, tail_after};

/// The longest line that any setting allows, and room to spare.
const MAX_LINE_BYTES: u64 = 2 << 20;

/// Names and compresses old files.
#[derive(Debug)]
pub(super) struct Rotation {
    path: PathBuf,
    max_files: usize,
    /// Compressing takes long for a large file, and nobody should wait for it.
    compressing: Option<JoinHandle<()>>,
}

impl Rotation {
    pub(super) fn new(path: &Path, max_files: usize) -> Self {
        Self {
            path: path.to_owned(),
            max_files,
            compressing: None,
        }
    }

    /// Compresses what a crash or a full disk left as it was.
    pub(super) fn finish_interrupted(&self) -> io::Result<()> {
        match plain(&self.path).try_exists()? {
            true => compress(&self.path),
            false => Ok(()),
        }
    }

    /// Makes `audit.log` an old file and `create` an empty one in its place, which is returned.
    pub(super) fn rotate(
        &mut self,
        create: impl FnOnce(&Path) -> io::Result<File>,
        path: &Path,
    ) -> io::Result<File> {
        if let Some(thread) = self.compressing.take()
            && thread.join().is_err()
        {
            log::error!("the thread that compresses audit logs had panicked");
        }
        self.finish_interrupted()?;
        let fresh = sibling(path, ".new");
        remove_if_present(&fresh)?;
        let file = create(&fresh)?;
        self.make_room()?;
        fs::rename(path, plain(path))?;
        fs::rename(&fresh, path)?;
        sync_folder(path.parent().unwrap_or(Path::new("/")))?;
        let log = path.to_owned();
        let compressing = std::thread::Builder::new().name("audit-gzip".to_owned());
        let started = compressing.spawn(move || {
            if let Err(error) = compress(&log) {
                log::warn!("an old audit log stays uncompressed for now: {error}");
            }
        });
        // Without a thread the file waits for the next rotation.
        self.compressing = started.ok();
        Ok(file)
    }

    /// Frees the first place; what is on the last one goes, unless an earlier one is free.
    fn make_room(&self) -> io::Result<()> {
        let place = |number| numbered(&self.path, number);
        let taken = (1..=self.max_files).take_while(|number| place(*number).exists());
        let taken = taken.count();
        let first_free = (taken + 1).min(self.max_files);
        for number in (1..first_free).rev() {
            fs::rename(place(number), place(number + 1))?;
        }
        Ok(())
    }
}

impl Drop for Rotation {
    fn drop(&mut self) {
        if let Some(thread) = self.compressing.take() {
            let _ = thread.join();
        }
    }
}

/// `audit.log.1` → `audit.log.1.gz`, never half of it under that name.
fn compress(path: &Path) -> io::Result<()> {
    let (from, to) = (plain(path), numbered(path, 1));
    let mut hidden = path.file_name().unwrap_or_default().to_owned();
    hidden.push(".gz.tmp");
    let mut name = std::ffi::OsString::from(".");
    name.push(hidden);
    let temporary = path.with_file_name(name);
    remove_if_present(&temporary)?;
    let target = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    let mut encoder = GzEncoder::new(target, Compression::fast());
    let packed = io::copy(&mut File::open(&from)?, &mut encoder)
        .and_then(|_| encoder.finish())
        .and_then(|target| target.sync_all())
        .and_then(|()| fs::rename(&temporary, &to));
    if let Err(error) = packed {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    fs::remove_file(&from)?;
    sync_folder(path.parent().unwrap_or(Path::new("/")))
}

/// Where the chain is when the newest file is empty: behind the last line of the one before it.
pub(super) fn older_tail(path: &Path, max_files: usize) -> Result<Tail, OpenError> {
    let candidates = (1..=max_files).map(|number| numbered(path, number));
    let Some(newest) = candidates.into_iter().find(|path| path.exists()) else {
        return Ok(Tail {
            chain: Chain::START,
            broken: None,
        });
    };
    let last = last_line(&newest).map_err(|error| OpenError::Io(newest.clone(), error))?;
    match read_line(&last) {
        Ok(last) => Ok(tail_after(&last)),
        Err(_) => Err(OpenError::Foreign(newest)),
    }
}

fn last_line(path: &Path) -> io::Result<Vec<u8>> {
    let mut lines = open_lines(path)?;
    let (mut last, mut next) = (Vec::new(), Vec::new());
    while lines.next(&mut next)? {
        std::mem::swap(&mut last, &mut next);
    }
    Ok(last)
}

/// Lines of a file, compressed or not, each of bounded length.
pub(super) struct Lines(Box<dyn io::BufRead>);

pub(super) fn open_lines(path: &Path) -> io::Result<Lines> {
    let mut plain = BufReader::new(File::open(path)?);
    let packed = plain.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(Lines(match packed {
        true => Box::new(BufReader::new(MultiGzDecoder::new(plain))),
        false => Box::new(plain),
    }))
}

impl Lines {
    /// The next line without its line end; `false` at the end.
    ///
    /// # Errors
    /// A line that is too long or has no end, and as the system says.
    pub(super) fn next(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        line.clear();
        let limited = &mut self.0;
        if limited.take(MAX_LINE_BYTES).read_until(b'\n', line)? == 0 {
            return Ok(false);
        }
        match line.pop() {
            Some(b'\n') => Ok(true),
            _ if line.len() as u64 + 1 == MAX_LINE_BYTES => {
                Err(io::Error::other("is longer than any line"))
            }
            _ => Err(io::Error::other("was never finished")),
        }
    }
}

/// `audit.log.N.gz`
pub(super) fn numbered(path: &Path, number: usize) -> PathBuf {
    sibling(path, &format!(".{number}.gz"))
}

/// `audit.log.1`, until it is compressed.
fn plain(path: &Path) -> PathBuf {
    sibling(path, ".1")
}

/// `path` with `suffix` added to its last component.
pub(super) fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn remove_if_present(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
