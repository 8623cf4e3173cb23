//! Processes and their descriptors: starting, waiting, ending.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use libc::{c_int, c_long, c_uint, c_ulong};

use super::{c_text, checked, done};

/// A process id as the caller's pid namespace numbers it.
pub(in crate::engine::jail) type Pid = libc::pid_t;

/// What to wait for on a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine::jail) enum Await {
    /// Bytes, or the end of them.
    Readable,
    /// The peer closed its end.
    HungUp,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine::jail) enum Death {
    Exited(c_int),
    Killed(c_int),
}

impl Death {
    /// The shell's convention: 128 + n for signal n.
    pub(in crate::engine::jail) fn code(self) -> c_int {
        match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => 128 + signal,
        }
    }
}

/// Forks with new namespaces; `None` in the child. Only for a process with one thread: the child
/// then owns all there is, locks included.
pub(in crate::engine::jail) fn clone_process(namespaces: c_int) -> io::Result<Option<Pid>> {
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
pub(in crate::engine::jail) fn open_pidfd(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers, returns a new descriptor.
    let fd = checked(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    #[allow(clippy::cast_possible_truncation)]
    let fd = fd as RawFd;
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Waits for the first of several events; `true` where it happened, all `false` after `limit`.
pub(in crate::engine::jail) fn wait_for(
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
pub(in crate::engine::jail) fn wait_child(pid: Option<Pid>) -> io::Result<(Pid, Death)> {
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
pub(in crate::engine::jail) fn kill(pid: Pid, signal: c_int) -> io::Result<()> {
    // SAFETY: two integers.
    done(unsafe { libc::kill(pid, signal) })
}

/// Whether two processes run in one and the same memory; no where the kernel does not tell.
pub(in crate::engine::jail) fn share_memory(one: Pid, other: Pid) -> bool {
    /// linux/kcmp.h
    const KCMP_VM: c_int = 1;
    // SAFETY: integers.
    unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_VM, 0, 0) == 0 }
}

/// Sends a signal to the process behind a descriptor of [`open_pidfd`], and to no other.
pub(in crate::engine::jail) fn kill_by_pidfd(process: &OwnedFd, signal: c_int) -> io::Result<()> {
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
pub(in crate::engine::jail) fn die_of(signal: c_int) -> ! {
    let _ = restore_signal(signal);
    // SAFETY: no arguments but integers.
    let _ = kill(unsafe { libc::getpid() }, signal);
    exit(128 + signal)
}

/// Ends this process at once: no destructors, no buffers.
pub(in crate::engine::jail) fn exit(code: c_int) -> ! {
    // SAFETY: never returns and touches no memory.
    unsafe { libc::_exit(code) }
}

/// The default action for a signal that we, or who started us, ignored.
pub(in crate::engine::jail) fn restore_signal(signal: c_int) -> io::Result<()> {
    // SAFETY: SIG_DFL installs no handler of ours.
    if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Leads a process group of its own.
pub(in crate::engine::jail) fn lead_group() -> io::Result<()> {
    // SAFETY: two integers.
    done(unsafe { libc::setpgid(0, 0) })
}

/// Has the kernel kill this process when its parent dies.
pub(in crate::engine::jail) fn die_with_parent() -> io::Result<()> {
    // SAFETY: integers only.
    done(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as c_ulong) })
}

/// Closes every descriptor from `first` on, whoever thinks it is theirs: only for a process about
/// to execute another program or to wait for its end.
pub(in crate::engine::jail) fn close_from(first: c_uint) -> io::Result<()> {
    // SAFETY: integers. Owners of these descriptors are never used again, as the callers see to.
    checked(unsafe { libc::syscall(libc::SYS_close_range, first, c_uint::MAX, 0) }).map(drop)
}

/// Makes `to` another name for the open file `from`, without close-on-exec.
pub(in crate::engine::jail) fn duplicate(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: integers; `to` is a standard stream or free, as the callers see to.
    done(unsafe { libc::dup2(from, to) })
}

/// Closes one descriptor that no Rust value owns.
pub(in crate::engine::jail) fn close(fd: RawFd) {
    // SAFETY: an integer; the callers name only standard streams that they stop using.
    unsafe { libc::close(fd) };
}

/// A standard stream, for as long as this process keeps it.
pub(in crate::engine::jail) fn standard_stream(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: 0, 1 or 2, open from the start; its user closes it only when it ends.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Becomes another program; returns only what stopped it.
pub(in crate::engine::jail) fn execute(
    program: &str,
    arguments: &[&str],
    environment: &[String],
) -> io::Error {
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
