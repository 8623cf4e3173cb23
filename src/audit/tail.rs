//! The end of a file: its last whole line, from where the chain goes on, and what a crash tore.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::chain::{Chain, ChainBreak, Sealed, Torn, read_line};
use super::event::Action;

/// How much of a file's end is read for its last line: several of the longest lines.
const TAIL_BYTES: u64 = 4 << 20;

/// Of every line.
pub(super) const BEGINNING: &[u8] = br#"{"seq":"#;

/// What the log ends with.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) chain: Chain,
    pub(super) broken: Option<ChainBreak>,
}

/// What a file ends with.
pub(super) enum End {
    /// `length` is without a torn line.
    Line {
        length: u64,
        tail: Tail,
    },
    /// No whole line, or nothing at all.
    Empty {
        torn: Option<ChainBreak>,
    },
    Foreign,
}

pub(super) fn read_end(file: &File) -> io::Result<End> {
    let length = file.metadata()?.len();
    let mut bytes = vec![0; usize::try_from(length.min(TAIL_BYTES)).unwrap_or(0)];
    let from = length - bytes.len() as u64;
    file.read_exact_at(&mut bytes, from)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n');
    let (lines, torn) = bytes.split_at(whole.map_or(0, |at| at + 1));
    let torn = (!torn.is_empty()).then(|| Torn::new(torn));
    let kept = length - (bytes.len() - lines.len()) as u64;
    if lines.is_empty() {
        // Longer than any line of ours, or somebody else's text: not to be cut.
        let ours = bytes.len() as u64 == length && looks_begun(&bytes);
        let torn = torn.map(|torn| ChainBreak {
            torn: Some(torn),
            ..ChainBreak::new("torn_line")
        });
        return Ok(match ours {
            true => End::Empty { torn },
            false => End::Foreign,
        });
    }
    let backwards = lines.split(|byte| *byte == b'\n').rev().skip(1);
    for (damaged, line) in backwards.enumerate() {
        if let Ok(last) = read_line(line) {
            let mut tail = tail_after(&last);
            if damaged > 0 {
                tail.broken = Some(ChainBreak::new("damaged_lines"));
            }
            if torn.is_some() {
                tail.broken = Some(ChainBreak {
                    torn,
                    ..ChainBreak::new("torn_line")
                });
            }
            return Ok(End::Line { length: kept, tail });
        }
    }
    Ok(End::Foreign)
}

/// Whether this is the beginning of a line of ours, or what a crash leaves in its place.
fn looks_begun(bytes: &[u8]) -> bool {
    let zeros = bytes.iter().all(|byte| *byte == 0);
    zeros || bytes.starts_with(BEGINNING) || BEGINNING.starts_with(bytes)
}

/// A log that goes on after `last`.
pub(super) fn tail_after(last: &Sealed) -> Tail {
    let ended = last.action == Action::ServerStop.as_str();
    Tail {
        chain: Chain {
            seq: last.seq,
            hash: last.hash,
        },
        broken: (!ended).then(|| ChainBreak::new("not_stopped")),
    }
}
