//! Proves offline that the files of a log are whole: every line is what its hash says and follows
//! the one before, across rotated and compressed files. Nothing is written.
//!
//! A chain alone cannot show that its end was cut off: for that one needs a hash that was noted
//! elsewhere (`head`), such as what an earlier check printed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::chain::{Chain, read_hash, read_line};
use super::rotation::{Lines, open_lines};
use crate::base::ids::hex;

/// Breaks that are told one by one.
const MAX_BREAKS: usize = 100;

/// What was proven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Files with lines.
    pub files: usize,
    /// Lines.
    pub lines: u64,
    /// The first one's sequence number; above 1 where older files are not there.
    pub first_seq: u64,
    /// The last one's.
    pub last_seq: u64,
    /// The last one's hash: to be noted elsewhere, for the next check.
    pub head: String,
    /// Lines that say that the writer was interrupted before them, by sequence number: the first
    /// hundred. They are part of the chain.
    pub breaks: Vec<(u64, String)>,
    /// Lines after the noted head, where one was given.
    pub after_head: Option<u64>,
}

/// Why nothing is proven.
#[derive(Debug)]
pub enum VerifyError {
    /// A file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// The first line that is not as it was written.
    Broken {
        /// Its file.
        file: PathBuf,
        /// Its number there, from 1.
        line: u64,
        /// What is wrong.
        fault: String,
    },
    /// `--head` is no hash.
    BadHead,
    /// No line has the hash that was noted.
    HeadMissing {
        /// The last line there is.
        last_seq: u64,
    },
    /// No lines at all.
    Empty,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => {
                write!(formatter, "{} cannot be read: {error}", path.display())
            }
            Self::Broken { file, line, fault } => {
                write!(formatter, "{} line {line} {fault}", file.display())
            }
            Self::BadHead => formatter.write_str("--head takes 64 hexadecimal digits"),
            Self::HeadMissing { last_seq } => write!(
                formatter,
                "no line has the hash of --head: lines after seq {last_seq} were cut off, or \
                 files are missing"
            ),
            Self::Empty => formatter.write_str("there is no line to prove anything by"),
        }
    }
}

impl std::error::Error for VerifyError {}

/// Checks files in the order of their first lines.
///
/// # Errors
/// [`VerifyError`]: the first thing that is wrong.
pub fn verify(files: &[PathBuf], head: Option<&str>) -> Result<Report, VerifyError> {
    let head = match head {
        Some(digits) => Some(read_hash(digits).ok_or(VerifyError::BadHead)?),
        None => None,
    };
    let mut ordered = Vec::with_capacity(files.len());
    for path in files {
        if let Some(seq) = first_seq(path)? {
            ordered.push((seq, path));
        }
    }
    ordered.sort_by_key(|(seq, _)| *seq);
    let mut walk = Walk {
        chain: None,
        head,
        report: Report::default(),
    };
    for (_, path) in &ordered {
        walk.file(path)?;
    }
    let Some(chain) = walk.chain else {
        return Err(VerifyError::Empty);
    };
    let mut report = walk.report;
    if head.is_some() && report.after_head.is_none() {
        return Err(VerifyError::HeadMissing {
            last_seq: chain.seq,
        });
    }
    report.files = ordered.len();
    report.last_seq = chain.seq;
    report.head = hex(&chain.hash);
    Ok(report)
}

fn open(path: &Path) -> Result<Lines, VerifyError> {
    open_lines(path).map_err(|error| VerifyError::Unreadable(path.to_owned(), error))
}

/// The sequence number that a file's first line claims; `None` for an empty file.
fn first_seq(path: &Path) -> Result<Option<u64>, VerifyError> {
    #[derive(serde::Deserialize)]
    struct Numbered {
        seq: u64,
    }
    let mut line = Vec::new();
    let broken = |fault: String| VerifyError::Broken {
        file: path.to_owned(),
        line: 1,
        fault,
    };
    match open(path)?.next(&mut line) {
        Ok(false) => Ok(None),
        Ok(true) => match serde_json::from_slice::<Numbered>(&line) {
            Ok(numbered) => Ok(Some(numbered.seq)),
            Err(_) => Err(broken("is no line of an audit log".to_owned())),
        },
        Err(error) => Err(broken(error.to_string())),
    }
}

struct Walk {
    chain: Option<Chain>,
    head: Option<[u8; 32]>,
    report: Report,
}

impl Walk {
    fn file(&mut self, path: &Path) -> Result<(), VerifyError> {
        let mut lines = open(path)?;
        let (mut line, mut number) = (Vec::new(), 0);
        loop {
            number += 1;
            let next = match lines.next(&mut line) {
                Ok(false) => return Ok(()),
                Ok(true) => self.line(&line),
                Err(error) => Err(error.to_string()),
            };
            next.map_err(|fault| VerifyError::Broken {
                file: path.to_owned(),
                line: number,
                fault,
            })?;
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), String> {
        let found = read_line(line).map_err(|fault| fault.as_str().to_owned())?;
        let before = match self.chain {
            Some(before) => before,
            None if found.seq == 1 => Chain::START,
            // Older files may be gone: the chain begins with what this line says.
            None => Chain {
                seq: found.seq.saturating_sub(1),
                hash: found.prev,
            },
        };
        if found.seq.checked_sub(1) != Some(before.seq) {
            return Err(format!(
                "has seq {} after {}: lines are missing, repeated or out of order",
                found.seq, before.seq
            ));
        }
        if found.prev != before.hash {
            return Err(format!(
                "(seq {}) does not follow the line before it",
                found.seq
            ));
        }
        self.chain = Some(Chain {
            seq: found.seq,
            hash: found.hash,
        });
        let report = &mut self.report;
        if report.lines == 0 {
            report.first_seq = found.seq;
        }
        report.lines += 1;
        if let Some(after) = &mut report.after_head {
            *after += 1;
        } else if self.head == Some(found.hash) {
            report.after_head = Some(0);
        }
        if let Some(reason) = found.broken
            && report.breaks.len() < MAX_BREAKS
        {
            report.breaks.push((found.seq, reason));
        }
        Ok(())
    }
}
