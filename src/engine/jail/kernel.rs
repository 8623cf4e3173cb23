//! The system calls that a jail is made of, as safe functions: every `unsafe` block of the
//! product's own code but those in `base/sys.rs`. No decision is taken here.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use libc::{c_int, c_long, c_uint, c_ulong};

/// A process id as the caller's pid namespace numbers it.
pub(super) type Pid = libc::pid_t;

/// What to wait for on a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Await {
    /// Bytes, or the end of them.
    Readable,
    /// The peer closed its end.
    HungUp,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    Exited(c_int),
    Killed(c_int),
}

impl Death {
    /// The shell's convention: 128 + n for signal n.
    pub(super) fn code(self) -> c_int {
        match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => 128 + signal,
        }
    }
}

fn checked(result: c_long) -> io::Result<c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn done(result: c_int) -> io::Result<()> {
    checked(c_long::from(result)).map(drop)
}

/// Forks with new namespaces; `None` in the child. Only for a process with one thread: the child
/// then owns all there is, locks included.
pub(super) fn clone_process(namespaces: c_int) -> io::Result<Option<Pid>> {
    let flags = c_long::from(namespaces | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and with no stack of its own, clone is fork: the child goes on with
    // a copy of this memory. All pointer arguments are null. The caller has a single thread.
    let pid = checked(unsafe {
        libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize)
    })?;
    // A pid_t came through a long.
    #[allow(clippy::cast_possible_truncation)]
    Ok((pid != 0).then_some(pid as Pid))
}

/// A descriptor that becomes readable when the process ends.
pub(super) fn open_pidfd(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers, returns a new descriptor.
    let fd = checked(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    #[allow(clippy::cast_possible_truncation)]
    let fd = fd as RawFd;
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Waits for the first of several events; `true` where it happened, all `false` after `limit`.
pub(super) fn wait_for(
    waits: &[(BorrowedFd<'_>, Await)],
    limit: Duration,
) -> io::Result<Vec<bool>> {
    let mut polled: Vec<libc::pollfd> = waits
        .iter()
        .map(|(fd, what)| libc::pollfd {
            fd: fd.as_raw_fd(),
            events: match what {
                Await::Readable => libc::POLLIN,
                Await::HungUp => libc::POLLRDHUP,
            },
            revents: 0,
        })
        .collect();
    // Rounded up, so that a caller with a deadline does not spin through its last millisecond.
    let millis = c_int::try_from(limit.as_micros().div_ceil(1000)).unwrap_or(c_int::MAX);
    let count = libc::nfds_t::try_from(polled.len()).unwrap_or(0);
    // SAFETY: the pointer and the count describe `polled`, which lives through the call.
    match done(unsafe { libc::poll(polled.as_mut_ptr(), count, millis) }) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(polled.iter().map(|one| one.revents != 0).collect()),
    }
}

/// Waits for the end of one child, or of any where `None`; which one, and how it ended.
pub(super) fn wait_child(pid: Option<Pid>) -> io::Result<(Pid, Death)> {
    let mut status = 0;
    loop {
        // SAFETY: `status` lives through the call.
        let ended = unsafe { libc::waitpid(pid.unwrap_or(-1), &raw mut status, 0) };
        match checked(c_long::from(ended)) {
            Ok(_) if libc::WIFEXITED(status) => {
                return Ok((ended, Death::Exited(libc::WEXITSTATUS(status))));
            }
            Ok(_) if libc::WIFSIGNALED(status) => {
                return Ok((ended, Death::Killed(libc::WTERMSIG(status))));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sends a signal.
pub(super) fn kill(pid: Pid, signal: c_int) -> io::Result<()> {
    // SAFETY: two integers.
    done(unsafe { libc::kill(pid, signal) })
}

/// Sends a signal to the process behind a descriptor of [`open_pidfd`], and to no other.
pub(super) fn kill_by_pidfd(process: &OwnedFd, signal: c_int) -> io::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: an open descriptor, integers, and a null pointer, which asks for the usual details.
    checked(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            signal,
            none,
            0,
        )
    })
    .map(drop)
}

/// Ends this process by `signal`, by its default action.
pub(super) fn die_of(signal: c_int) -> ! {
    let _ = restore_signal(signal);
    // SAFETY: no arguments but integers.
    let _ = kill(unsafe { libc::getpid() }, signal);
    exit(128 + signal)
}

/// Ends this process at once: no destructors, no buffers.
pub(super) fn exit(code: c_int) -> ! {
    // SAFETY: never returns and touches no memory.
    unsafe { libc::_exit(code) }
}

/// The default action for a signal that we, or who started us, ignored.
pub(super) fn restore_signal(signal: c_int) -> io::Result<()> {
    // SAFETY: SIG_DFL installs no handler of ours.
    if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Whether the effective user is root (of its user namespace).
pub(super) fn is_root() -> bool {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Effective user and group.
pub(super) fn own_ids() -> (u32, u32) {
    // SAFETY: no arguments, cannot fail.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// Leads a process group of its own.
pub(super) fn lead_group() -> io::Result<()> {
    // SAFETY: two integers.
    done(unsafe { libc::setpgid(0, 0) })
}

/// Leaves namespaces for new ones.
pub(super) fn unshare(namespaces: c_int) -> io::Result<()> {
    // SAFETY: one integer; no CLONE_FILES or CLONE_FS, whose sharing std relies on.
    done(unsafe { libc::unshare(namespaces) })
}

/// Gives up all supplementary groups.
pub(super) fn drop_groups() -> io::Result<()> {
    // SAFETY: a count of zero reads nothing.
    done(unsafe { libc::setgroups(0, std::ptr::null()) })
}

/// Becomes `id`, user and group, in every respect.
pub(super) fn become_user(id: u32) -> io::Result<()> {
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
pub(super) fn drop_capabilities() -> io::Result<()> {
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

/// Has the kernel kill this process when its parent dies.
pub(super) fn die_with_parent() -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as c_ulong, 0)
}

/// Hides memory and descriptors of this process from others of the same user.
pub(super) fn hide_from_peers() -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, 0, 0)
}

/// No program started from here on gains anything by its set-user-id bit or capabilities.
pub(super) fn forbid_new_privileges() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0)
}

/// Installs a seccomp filter for this process and all that it starts.
pub(super) fn install_filter(program: &[libc::sock_filter]) -> io::Result<()> {
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
pub(super) fn limit(resource: c_int, value: u64) -> io::Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: value,
        rlim_max: value,
    };
    let (none, old) = (0 as Pid, std::ptr::null_mut::<libc::rlimit64>());
    // SAFETY: `limit` lives through the call; nothing is written back.
    let set = unsafe { libc::syscall(libc::SYS_prlimit64, none, resource, &raw const limit, old) };
    checked(set).map(drop)
}

/// Stands back behind other processes by `nice` levels.
pub(super) fn set_nice(nice: c_int) -> io::Result<()> {
    // SAFETY: integers; 0 is this process.
    done(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) })
}

/// Names the host, in this UTS namespace.
pub(super) fn set_host_name(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length describe `name`.
    done(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) })
}

fn c_text(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// mount(2); empty texts are null.
pub(super) fn mount(
    source: &str,
    target: &str,
    kind: &str,
    flags: c_ulong,
    options: &str,
) -> io::Result<()> {
    let (source, target) = (c_text(source)?, c_text(target)?);
    let (kind, options) = (c_text(kind)?, c_text(options)?);
    let or_null = |text: &CStr| match text.is_empty() {
        true => std::ptr::null(),
        false => text.as_ptr(),
    };
    // SAFETY: each pointer is null or a C string that lives through the call.
    done(unsafe {
        libc::mount(
            or_null(&source),
            target.as_ptr(),
            or_null(&kind),
            flags,
            or_null(&options).cast(),
        )
    })
}

/// The flags that the mount under `path` has, as mount(2) takes them.
pub(super) fn mount_flags(path: &str) -> io::Result<c_ulong> {
    let path = c_text(path)?;
    // SAFETY: statvfs is plain integers, for which zero is a value.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: a C string and a struct that live through the call.
    done(unsafe { libc::statvfs(path.as_ptr(), &raw mut found) })?;
    let pairs = [
        (libc::ST_RDONLY, libc::MS_RDONLY),
        (libc::ST_NOSUID, libc::MS_NOSUID),
        (libc::ST_NODEV, libc::MS_NODEV),
        (libc::ST_NOEXEC, libc::MS_NOEXEC),
        (libc::ST_NOATIME, libc::MS_NOATIME),
        (libc::ST_NODIRATIME, libc::MS_NODIRATIME),
        (libc::ST_RELATIME, libc::MS_RELATIME),
    ];
    let set = pairs.iter().filter(|(seen, _)| found.f_flag & seen != 0);
    Ok(set.fold(0, |all, (_, flag)| all | flag))
}

/// What is stored in the file system that `file` is of, in bytes.
pub(super) fn stored_bytes(file: &OwnedFd) -> io::Result<u64> {
    // SAFETY: statvfs is plain integers, for which zero is a value.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: an open descriptor and a struct that live through the call.
    done(unsafe { libc::fstatvfs(file.as_raw_fd(), &raw mut found) })?;
    let blocks = found.f_blocks.saturating_sub(found.f_bfree);
    Ok(blocks.saturating_mul(found.f_frsize))
}

/// Makes the current directory, a mount, the root, and lets go of the old one.
pub(super) fn pivot_to_current_directory() -> io::Result<()> {
    let here = c".".as_ptr();
    // SAFETY: C strings; the old root is stacked on the new one and then detached.
    checked(unsafe { libc::syscall(libc::SYS_pivot_root, here, here) })?;
    // SAFETY: as above.
    done(unsafe { libc::umount2(here, libc::MNT_DETACH) })
}

/// Opens a path without the right to read it: something to mount from.
pub(super) fn open_path(path: &str) -> io::Result<OwnedFd> {
    let path = c_text(path)?;
    // SAFETY: a C string; no mode is needed without O_CREAT.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) };
    done(fd)?;
    // SAFETY: just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Closes every descriptor from `first` on, whoever thinks it is theirs: only for a process about
/// to execute another program or to wait for its end.
pub(super) fn close_from(first: c_uint) -> io::Result<()> {
    // SAFETY: integers. Owners of these descriptors are never used again, as the callers see to.
    checked(unsafe { libc::syscall(libc::SYS_close_range, first, c_uint::MAX, 0) }).map(drop)
}

/// Makes `to` another name for the open file `from`, without close-on-exec.
pub(super) fn duplicate(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: integers; `to` is a standard stream or free, as the callers see to.
    done(unsafe { libc::dup2(from, to) })
}

/// Closes one descriptor that no Rust value owns.
pub(super) fn close(fd: RawFd) {
    // SAFETY: an integer; the callers name only standard streams that they stop using.
    unsafe { libc::close(fd) };
}

/// A standard stream, for as long as this process keeps it.
pub(super) fn standard_stream(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: 0, 1 or 2, open from the start; its user closes it only when it ends.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Becomes another program; returns only what stopped it.
pub(super) fn execute(program: &str, arguments: &[&str], environment: &[String]) -> io::Error {
    let c_texts = |texts: &mut dyn Iterator<Item = &str>| -> io::Result<Vec<CString>> {
        texts.map(c_text).collect()
    };
    let made = c_text(program).and_then(|program| {
        let arguments = c_texts(&mut arguments.iter().copied())?;
        let environment = c_texts(&mut environment.iter().map(String::as_str))?;
        Ok((program, arguments, environment))
    });
    let (program, arguments, environment) = match made {
        Ok(made) => made,
        Err(error) => return error,
    };
    let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
        let ends = std::iter::once(std::ptr::null());
        texts.iter().map(|text| text.as_ptr()).chain(ends).collect()
    };
    let (argv, envp) = (pointers(&arguments), pointers(&environment));
    // SAFETY: a C string and two null-terminated arrays of C strings, all alive.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}
