//! Rights of this process: taking namespaces, giving up everything else.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;

use libc::{c_int, c_ulong};

use super::{checked, done};

/// Effective user and group.
pub(in crate::engine::jail) fn own_ids() -> (u32, u32) {
    // SAFETY: no arguments, cannot fail.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// Leaves namespaces for new ones.
pub(in crate::engine::jail) fn unshare(namespaces: c_int) -> io::Result<()> {
    // SAFETY: one integer; no CLONE_FILES or CLONE_FS, whose sharing std relies on.
    done(unsafe { libc::unshare(namespaces) })
}

/// Gives up all supplementary groups.
pub(in crate::engine::jail) fn drop_groups() -> io::Result<()> {
    // SAFETY: a count of zero reads nothing.
    done(unsafe { libc::setgroups(0, std::ptr::null()) })
}

/// Becomes `id`, user and group, in every respect.
pub(in crate::engine::jail) fn become_user(id: u32) -> io::Result<()> {
    // SAFETY: integers; this process has a single thread, so that the C library has nobody to tell.
    done(unsafe { libc::setresgid(id, id, id) })?;
    // SAFETY: as above.
    done(unsafe { libc::setresuid(id, id, id) })
}

/// A `prctl` whose arguments are integers.
fn prctl(option: c_int, first: c_ulong, second: c_ulong) -> io::Result<()> {
    // SAFETY: every option used in this file takes integers.
    done(unsafe { libc::prctl(option, first, second, 0 as c_ulong, 0 as c_ulong) })
}

/// Gives up every capability, for good: bounding, ambient, inheritable, permitted, effective.
pub(in crate::engine::jail) fn drop_capabilities() -> io::Result<()> {
    for capability in 0..64 {
        match prctl(libc::PR_CAPBSET_DROP, capability, 0) {
            // Beyond the last capability of this kernel.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && capability > 0 => break,
            dropped => dropped?,
        }
    }
    let clear_all = libc::PR_CAP_AMBIENT_CLEAR_ALL as c_ulong;
    prctl(libc::PR_CAP_AMBIENT, clear_all, 0)?;
    // linux/capability.h: version 3, this process, then effective, permitted, inheritable, twice.
    let header: [u32; 2] = [0x2008_0522, 0];
    let none = [0_u32; 6];
    // SAFETY: both point to what the kernel's version 3 reads: 8 and 24 bytes.
    checked(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) }).map(drop)
}

/// Hides memory and descriptors of this process from others of the same user.
pub(in crate::engine::jail) fn hide_from_peers() -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, 0, 0)
}

/// No program started from here on gains anything by its set-user-id bit or capabilities.
pub(in crate::engine::jail) fn forbid_new_privileges() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0)
}

/// Installs a seccomp filter for this process and all that it starts.
pub(in crate::engine::jail) fn install_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let length =
        u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut(),
    };
    let mode = libc::SECCOMP_MODE_FILTER as c_ulong;
    // SAFETY: `program` describes the slice; the kernel copies it and writes nothing.
    done(unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program, 0, 0) })
}

/// A limit, soft and hard. `resource` is one of `RLIMIT_*`.
pub(in crate::engine::jail) fn limit(resource: c_int, value: u64) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: value,
        rlim_max: value,
    };
    let (none, old) = (0 as libc::pid_t, std::ptr::null_mut::<libc::rlimit>());
    // SAFETY: `limit` lives through the call; nothing is written back.
    let set = unsafe { libc::syscall(libc::SYS_prlimit64, none, resource, &raw const limit, old) };
    checked(set).map(drop)
}

/// Stands back behind other processes by `nice` levels.
pub(in crate::engine::jail) fn set_nice(nice: c_int) -> io::Result<()> {
    // SAFETY: integers; 0 is this process.
    done(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) })
}

/// Keeps to `count` of the processors that this process may use, from the one that `turn` falls on.
/// Whoever can set no affinity cannot undo it.
pub(in crate::engine::jail) fn keep_to_processors(count: usize, turn: usize) -> io::Result<()> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: `set` is as large as said, and all zeroes are a valid one; 0 is this process.
    let mut set = unsafe {
        done(libc::sched_getaffinity(0, size, set.as_mut_ptr()))?;
        set.assume_init()
    };
    let all = 0..8 * size;
    // SAFETY: every number is below the set's size in bits.
    let usable: Vec<usize> = all
        .filter(|&one| unsafe { libc::CPU_ISSET(one, &set) })
        .collect();
    if count >= usable.len() {
        return Ok(());
    }
    let kept = usable.iter().cycle().skip(turn % usable.len()).take(count);
    // SAFETY: as above; `set` lives through the call.
    unsafe {
        libc::CPU_ZERO(&mut set);
        kept.for_each(|&one| libc::CPU_SET(one, &mut set));
        done(libc::sched_setaffinity(0, size, &raw const set))
    }
}

/// Names the host, in this UTS namespace.
pub(in crate::engine::jail) fn set_host_name(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length describe `name`.
    done(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) })
}
