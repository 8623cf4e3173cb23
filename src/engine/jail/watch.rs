//! What the processes of a jail use of the host's memory, read from the host's /proc. Address space
//! bounds no V8, which reserves much and uses little; so what is used is counted.

use std::fs;
use std::io;
use std::time::Duration;

use super::kernel::Pid;

/// More processes than a jail may have; a tree that seems larger is one that changed while read.
const MAX_COUNTED: usize = 1024;
/// As fast as a machine can be expected to fill memory, in bytes a millisecond.
const FILL_BYTES_PER_MS: u64 = 4 << 20;
/// Bounds on the pause between two looks, in milliseconds.
const PAUSE_MS: std::ops::RangeInclusive<u64> = 5..=100;

/// Memory that only these processes hold, in bytes: the process, its descendants, their swapped
/// pages. Files of the host, such as node itself, are not theirs.
pub(super) fn used_bytes(first: Pid) -> io::Result<u64> {
    let mut waiting = vec![first];
    let mut used = 0_u64;
    let mut counted = 0;
    while let Some(pid) = waiting.pop() {
        counted += 1;
        if counted > MAX_COUNTED {
            break;
        }
        match children(pid) {
            Ok(children) => waiting.extend(children),
            Err(error) if pid == first => return Err(error),
            // Ended meanwhile; so did what it used.
            Err(_) => continue,
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        used = used.saturating_add(own_bytes(&status));
    }
    Ok(used)
}

/// How long the next look may wait, when `left` bytes are free.
pub(super) fn pause(left: u64) -> Duration {
    let millis = left / FILL_BYTES_PER_MS;
    Duration::from_millis(millis.clamp(*PAUSE_MS.start(), *PAUSE_MS.end()))
}

/// The children of every thread of a process.
fn children(pid: Pid) -> io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let list = fs::read_to_string(thread?.path().join("children"));
        let list = match list {
            Ok(list) => list,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !found.is_empty() => continue,
            Err(error) => return Err(error),
        };
        found.extend(
            list.split_ascii_whitespace()
                .filter_map(|pid| pid.parse::<Pid>().ok()),
        );
    }
    Ok(found)
}

/// From the text of /proc/PID/status.
fn own_bytes(status: &str) -> u64 {
    let field = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let kibibytes = rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?;
        ["RssAnon", "RssShmem", "VmSwap"]
            .contains(&name)
            .then_some(kibibytes * 1024)
    };
    status.lines().filter_map(field).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_of_a_status() {
        let status = "Name:\tRssAnon\nVmRSS:\t  999 kB\nRssAnon:\t   10 kB\nRssFile:\t 7 kB\n\
                      RssShmem:\t 2 kB\nVmSwap:\t 1 kB\nThreads:\t3\n";
        assert_eq!(own_bytes(status), 13 * 1024);
        assert_eq!(own_bytes("RssAnon: kB\nRssAnon: x kB\nRssAnon"), 0);
    }

    #[test]
    fn looks_come_faster_as_memory_runs_out() {
        let check = |left, millis| assert_eq!(pause(left), Duration::from_millis(millis));
        check(u64::MAX, 100);
        check(100 << 20, 25);
        check(0, 5);
    }

    #[test]
    fn a_child_counts_and_a_stranger_is_an_error() {
        let own = Pid::try_from(std::process::id()).unwrap();
        let alone = used_bytes(own).unwrap();
        assert!(alone > 0);
        assert!(used_bytes(Pid::MAX).is_err());
    }
}
