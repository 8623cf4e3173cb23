//! What one jail is made of, as reviewed data: the file system inside, the limits, the program.
//! Held by a golden test (`tests/golden/jail_root.txt`). Pure.

use std::fmt;
use std::path::Path;

use libc::c_int;
use serde::{Deserialize, Serialize};

/// What differs from jail to jail; travels to the launcher as one argument. Holds no secret: `ps`
/// shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// `false` only under `MCP_NODE_UNSAFE`.
    pub(super) confined: bool,
    /// The node binary on the host.
    pub(super) node: String,
    /// Its interpreter, libraries and outsourced modules, by absolute paths, the same inside.
    pub(super) files: Vec<String>,
    /// The host user that the jail's user is, where the server is root; otherwise it is the
    /// server's own.
    pub(super) host_user: Option<u32>,
    /// Whether the kernel counts processes by namespace, and so can bound them.
    pub(super) limit_processes: bool,
    /// Memory of all processes together, in bytes.
    pub(super) memory_bytes: u64,
    /// Processors that it may run on, at least one; the first of them in `turn`.
    pub(super) processors: usize,
    /// Which jail of the server it is, so that neighbours run on different processors.
    pub(super) turn: usize,
}

/// Everyone's user and group inside.
pub(super) const USER: u32 = 1000;
/// Where node is inside; where it is outside is nobody's business there.
pub(super) const NODE: &str = "usr/local/bin/node";
/// `nice` levels behind the server, so that tool code never starves it.
pub(super) const NICE: c_int = 10;
/// Raised, so that the kernel looks here first when the host runs out of memory (0–1000).
pub(super) const OOM_SCORE_ADJUSTMENT: &str = "500";
/// Processes and threads.
pub(super) const MAX_PROCESSES: u16 = 256;
/// Open files of one process.
const MAX_OPEN_FILES: u64 = 1024;
/// Largest file in bytes: above both file systems, whose own limits come first.
const MAX_FILE_BYTES: u64 = 512 << 20;
/// Not 0: a host that pipes core dumps to a program ignores every limit but 1 (core(5)).
const CORE_BYTES: u64 = 1;
/// Room of one process for V8's reservations beyond the memory it may really use, in bytes. The
/// watcher bounds what is used; this bounds how far ahead of the watcher one process can get.
const DATA_SLACK_BYTES: u64 = 1 << 30;

/// One thing in the file system inside. Paths inside are relative to its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// An empty file system of its own, with its size in MiB and its most files.
    Scratch {
        at: &'static str,
        mebibytes: u32,
        files: u32,
    },
    /// A file of the host, read-only.
    HostFile {
        from: String,
        at: String,
    },
    /// A device of the host.
    Device {
        from: &'static str,
        at: &'static str,
    },
    /// The processes of this pid namespace and nothing else of /proc; absent where the kernel
    /// grants none.
    Processes {
        at: &'static str,
    },
    Link {
        at: &'static str,
        to: &'static str,
    },
    Text {
        at: &'static str,
        text: &'static str,
    },
}

/// The file system inside. Its root is read-only once all is there.
pub(super) fn items(plan: &Plan) -> Vec<Item> {
    // First, so that a library below one of these folders is not hidden by it.
    let scratch = SCRATCH.map(|(at, mebibytes, files)| Item::Scratch {
        at,
        mebibytes,
        files,
    });
    let mut items = Vec::from(scratch);
    items.push(Item::HostFile {
        from: plan.node.clone(),
        at: NODE.to_owned(),
    });
    items.extend(plan.files.iter().map(|path| Item::HostFile {
        from: path.clone(),
        at: path.trim_start_matches('/').to_owned(),
    }));
    items.extend([
        Item::Device {
            from: "/dev/null",
            at: "dev/null",
        },
        Item::Device {
            from: "/dev/zero",
            at: "dev/zero",
        },
        Item::Device {
            from: "/dev/full",
            at: "dev/full",
        },
        Item::Device {
            from: "/dev/random",
            at: "dev/random",
        },
        Item::Device {
            from: "/dev/urandom",
            at: "dev/urandom",
        },
        Item::Processes { at: "proc" },
        Item::Link {
            at: "dev/fd",
            to: "/proc/self/fd",
        },
        Item::Link {
            at: "dev/stdin",
            to: "/proc/self/fd/0",
        },
        Item::Link {
            at: "dev/stdout",
            to: "/proc/self/fd/1",
        },
        Item::Link {
            at: "dev/stderr",
            to: "/proc/self/fd/2",
        },
        Item::Text {
            at: "etc/passwd",
            text: "node:x:1000:1000::/workspace:/nonexistent\n",
        },
        Item::Text {
            at: "etc/group",
            text: "node:x:1000:\n",
        },
    ]);
    items
}

/// Where the scratch file systems are.
pub(super) fn scratch_folders() -> impl Iterator<Item = &'static str> {
    SCRATCH.iter().map(|(at, _, _)| *at)
}

/// Folder, size in MiB, most files.
const SCRATCH: [(&str, u32, u32); 2] = [("tmp", 64, 16_384), ("workspace", 256, 32_768)];

/// Limits of each process (`setrlimit`): resource, its name, value.
pub(super) fn limits(plan: &Plan) -> [(c_int, &'static str, u64); 8] {
    let data = plan.memory_bytes.saturating_mul(2);
    let data = data.saturating_add(DATA_SLACK_BYTES);
    // The kinds of these numbers differ between C libraries.
    #[allow(clippy::unnecessary_cast, clippy::cast_possible_truncation)]
    [
        (libc::RLIMIT_CORE as c_int, "core", CORE_BYTES),
        (libc::RLIMIT_DATA as c_int, "data", data),
        (libc::RLIMIT_FSIZE as c_int, "fsize", MAX_FILE_BYTES),
        (libc::RLIMIT_MEMLOCK as c_int, "memlock", 0),
        (libc::RLIMIT_MSGQUEUE as c_int, "msgqueue", 0),
        (libc::RLIMIT_NOFILE as c_int, "nofile", MAX_OPEN_FILES),
        (libc::RLIMIT_NPROC as c_int, "nproc", MAX_PROCESSES.into()),
        (
            libc::RLIMIT_SIGPENDING as c_int,
            "sigpending",
            MAX_PROCESSES.into(),
        ),
    ]
}

/// V8's heap, as node itself would choose it in a container of that size: half of the memory.
/// In the environment, as code sees no options of its node then; the runner takes it out.
fn heap_option(plan: &Plan) -> String {
    let mebibytes = plan.memory_bytes / 2 / (1 << 20);
    format!("NODE_OPTIONS=--max-old-space-size={mebibytes}")
}

/// Everything that node finds in its environment.
pub(super) fn environment(plan: &Plan) -> Vec<String> {
    let mut environment = vec![
        "PATH=/usr/local/bin".to_owned(),
        "HOME=/workspace".to_owned(),
        "TMPDIR=/tmp".to_owned(),
        "TZ=UTC".to_owned(),
        heap_option(plan),
    ];
    let mut unusual: Vec<&str> = Vec::new();
    for file in &plan.files {
        let folder = Path::new(file).parent().and_then(Path::to_str);
        let usual = ["/lib", "/usr/lib"].iter().any(|one| file.starts_with(one));
        if let Some(folder) = folder.filter(|folder| !usual && !unusual.contains(folder)) {
            unusual.push(folder);
        }
    }
    if !unusual.is_empty() {
        environment.push(format!("LD_LIBRARY_PATH={}", unusual.join(":")));
    }
    environment
}

impl fmt::Display for Item {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scratch {
                at,
                mebibytes,
                files,
            } => {
                let options = scratch_options(*mebibytes, *files, USER);
                write!(formatter, "/{at}: tmpfs, {options}, rw nosuid nodev noexec")
            }
            Self::HostFile { from, at } => write!(formatter, "/{at}: {from}, ro nosuid nodev"),
            Self::Device { from, at } => write!(formatter, "/{at}: {from}, ro nosuid noexec"),
            Self::Processes { at } => {
                write!(
                    formatter,
                    "/{at}: proc, {PROC_OPTIONS}, ro nosuid nodev noexec"
                )
            }
            Self::Link { at, to } => write!(formatter, "/{at}: link to {to}"),
            Self::Text { at, text } => write!(formatter, "/{at}: {text:?}"),
        }
    }
}

/// Only the processes, and only one's own: nothing of the machine, no /proc/sys.
pub(super) const PROC_OPTIONS: &str = "subset=pid,hidepid=2";

/// Mount options of a scratch file system. The number of files is bounded too: each costs the
/// kernel memory that no size counts.
pub(super) fn scratch_options(mebibytes: u32, files: u32, user: u32) -> String {
    format!("size={mebibytes}m,nr_inodes={files},mode=0700,uid={user},gid={user}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(files: &[&str]) -> Plan {
        Plan {
            confined: true,
            node: "/home/somebody/node/bin/node".to_owned(),
            files: files.iter().map(|&file| file.to_owned()).collect(),
            host_user: None,
            limit_processes: true,
            memory_bytes: 512 << 20,
            processors: 1,
            turn: 0,
        }
    }

    #[test]
    fn the_whole_root_is_the_reviewed_one() {
        let plan = plan(&[
            "/lib64/ld-linux-x86-64.so.2",
            "/lib/x86_64-linux-gnu/libc.so.6",
        ]);
        let items = items(&plan).into_iter().map(|item| format!("{item}\n"));
        let limits = limits(&plan).map(|(_, name, value)| format!("limit {name} {value}\n"));
        let variables = environment(&plan).into_iter().map(|it| format!("{it}\n"));
        let text: String = items.chain(limits).chain(variables).collect();
        assert_eq!(
            text,
            include_str!("../../../tests/golden/jail_root.txt"),
            "{text}"
        );
    }

    #[test]
    fn libraries_in_unusual_places_are_named_to_the_loader() {
        let check = |files: &[&str], expected: Option<&str>| {
            let found = environment(&plan(files));
            assert_eq!(found.get(5).map(String::as_str), expected, "{files:?}");
        };
        check(&["/lib/a.so", "/lib64/b.so", "/usr/lib/x/c.so"], None);
        check(
            &["/opt/n/a.so", "/opt/n/b.so", "/nix/c.so"],
            Some("LD_LIBRARY_PATH=/opt/n:/nix"),
        );
    }
}
