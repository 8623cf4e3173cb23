//! What a jail uses of the host: memory and processes, read from the host's /proc, and its scratch
//! file systems. Address space bounds no V8, which reserves much and uses little; so what is used
//! is counted.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::kernel::{self, Pid};

/// More processes than a jail may have; a tree that seems larger is one that changed while read.
const MAX_COUNTED: usize = 1024;
/// As fast as a machine can be expected to fill memory, in bytes a millisecond.
const FILL_BYTES_PER_MS: u64 = 4 << 20;
/// Bounds on the pause between two looks, in milliseconds.
const PAUSE_MS: std::ops::RangeInclusive<u64> = 5..=100;

/// What a jail uses now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Memory that only its processes hold, swapped pages too, and files in memory. Files of the
    /// host, such as node itself, are not theirs.
    pub(super) bytes: u64,
    pub(super) processes: usize,
    /// The process that holds most, but for the first, which cannot grow; 0 where there is none.
    pub(super) largest: Pid,
}

/// How a process's memory is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    /// All that it maps: pages that a process has in common with the one it was forked from count
    /// for both. Cheap, and never too little.
    Quick,
    /// A share of pages in common, and nothing for a child that still runs in its parent's memory,
    /// as between clone and exec.
    Exact,
}

/// What `first`, its descendants and the scratch file systems use.
pub(super) fn usage(first: Pid, scratch: &[OwnedFd], count: Count) -> io::Result<Usage> {
    let mut waiting = vec![(first, first)];
    let mut used = Usage::default();
    let mut most = 0;
    while let Some((pid, parent)) = waiting.pop().filter(|_| used.processes < MAX_COUNTED) {
        used.processes += 1;
        match children(pid) {
            Ok(children) => waiting.extend(children.into_iter().map(|child| (child, pid))),
            Err(error) if pid == first => return Err(error),
            // Ended meanwhile; so did what it used.
            Err(_) => continue,
        }
        let own = match count {
            Count::Quick => None,
            Count::Exact if pid != parent && kernel::share_memory(pid, parent) => Some(0),
            Count::Exact => shared_bytes(&read(pid, "smaps_rollup")),
        };
        let own = own.unwrap_or_else(|| own_bytes(&read(pid, "status")));
        used.bytes = used.bytes.saturating_add(own);
        if pid != first && own >= most {
            (most, used.largest) = (own, pid);
        }
    }
    let files = scratch.iter().map(kernel::stored_bytes);
    let files: u64 = files.collect::<io::Result<Vec<_>>>()?.iter().sum();
    used.bytes = used.bytes.saturating_add(files);
    Ok(used)
}

fn read(pid: Pid, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

/// How long the next look may wait, when `left` bytes are free.
pub(super) fn pause(left: u64) -> Duration {
    let millis = left / FILL_BYTES_PER_MS;
    Duration::from_millis(millis.clamp(*PAUSE_MS.start(), *PAUSE_MS.end()))
}

/// Whether this kernel tells the children of a thread (CONFIG_PROC_CHILDREN).
pub(super) fn is_possible() -> io::Result<()> {
    fs::read_to_string("/proc/thread-self/children").map(drop)
}

/// The children of every thread of a process. A thread that ends meanwhile hides nothing: its
/// children become another's.
fn children(pid: Pid) -> io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let list = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        let pids = list.split_ascii_whitespace();
        found.extend(pids.filter_map(|pid| pid.parse::<Pid>().ok()));
    }
    Ok(found)
}

/// From the text of /proc/PID/status.
fn own_bytes(status: &str) -> u64 {
    let fields = ["RssAnon", "RssShmem", "VmSwap"];
    fields
        .iter()
        .filter_map(|name| field_bytes(status, name))
        .sum()
}

/// From the text of /proc/PID/smaps_rollup; `None` where it says nothing, as on old kernels.
fn shared_bytes(rollup: &str) -> Option<u64> {
    let anonymous = field_bytes(rollup, "Pss_Anon")?;
    let others = ["Pss_Shmem", "SwapPss"];
    let others = others.iter().filter_map(|name| field_bytes(rollup, name));
    Some(anonymous.saturating_add(others.sum()))
}

fn field_bytes(text: &str, name: &str) -> Option<u64> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(found, _)| *found == name)?;
    let kibibytes = value.trim().strip_suffix("kB")?.trim().parse::<u64>();
    kibibytes.ok()?.checked_mul(1024)
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
        let rollup = "Pss: 9 kB\nPss_Anon: 4 kB\nPss_File: 5 kB\nPss_Shmem: 1 kB\nSwapPss: 2 kB\n";
        assert_eq!(shared_bytes(rollup), Some(7 * 1024));
        assert_eq!(shared_bytes(""), None);
    }

    #[test]
    fn looks_come_faster_as_memory_runs_out() {
        let check = |left, millis| assert_eq!(pause(left), Duration::from_millis(millis));
        check(u64::MAX, 100);
        check(100 << 20, 25);
        check(0, 5);
    }

    #[test]
    fn a_process_counts_and_none_is_an_error() {
        let own = Pid::try_from(std::process::id()).unwrap();
        for count in [Count::Quick, Count::Exact] {
            let alone = usage(own, &[], count).unwrap();
            assert!(alone.bytes > 0 && alone.processes >= 1, "{alone:?}");
            assert!(usage(Pid::MAX, &[], count).is_err());
        }
    }
}
