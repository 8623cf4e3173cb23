//! System calls that std does not offer, each behind a safe function. `unsafe` stands here and in
//! `engine/jail` only; every block is listed in `audit.md`.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// The signals that ask a server to end.
const TERMINATION: [libc::c_int; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

fn termination_set() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` initialises the whole set it is given; `sigaddset` then takes an
    // initialised set and valid signal numbers. Neither keeps the pointer.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in TERMINATION {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

/// Keeps the termination signals pending for [`wait_for_termination`]. To be called before any
/// thread is started: threads inherit it.
///
/// # Errors
/// As the kernel says.
pub fn block_termination() -> io::Result<()> {
    let set = termination_set();
    // SAFETY: `set` is initialised and outlives the call; the old mask is not asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Waits for a termination signal that [`block_termination`] keeps pending; its number, or `None`
/// after `timeout`.
pub fn wait_for_termination(timeout: Duration) -> Option<i32> {
    let set = termination_set();
    let limit = libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(timeout.subsec_nanos().cast_signed()),
    };
    // SAFETY: both structures are initialised and outlive the call; no details are asked for.
    let signal =
        unsafe { libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const limit) };
    (signal > 0).then_some(signal)
}

/// Raises the limit on open files to the most this process may have; that limit.
pub fn raise_open_file_limit() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid structure that outlives both calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            let wanted = libc::rlimit {
                rlim_cur: limit.rlim_max,
                ..limit
            };
            if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) == 0 {
                return wanted.rlim_cur;
            }
        }
    }
    limit.rlim_cur
}

/// Lets this thread, and all that it starts later, finish what they are at when they wake another
/// one of their kind (`SCHED_BATCH`, sched(7)). A request passes through several threads, and the
/// switches between them are most of what a cheap one costs. False where the kernel does not let
/// us; nothing but speed depends on it.
pub fn prefer_throughput() -> bool {
    let this_thread: libc::pid_t = 0;
    let priority: libc::c_int = 0;
    // SAFETY: the kernel's `sched_param` is one integer, which is initialised and outlives the
    // call. Asked directly, as some libraries have a function that only fails.
    unsafe {
        let (call, policy) = (libc::SYS_sched_setscheduler, libc::SCHED_BATCH);
        libc::syscall(call, this_thread, policy, &raw const priority) == 0
    }
}

/// Whether nobody is left to read what is written to this pipe or socket.
pub fn has_no_reader(pipe: BorrowedFd<'_>) -> bool {
    let mut polled = libc::pollfd {
        fd: pipe.as_raw_fd(),
        events: 0,
        revents: 0,
    };
    // SAFETY: one structure, valid and ours, that outlives the call.
    let found = unsafe { libc::poll(&raw mut polled, 1, 0) };
    found > 0 && polled.revents & (libc::POLLERR | libc::POLLHUP) != 0
}

/// Whether this process may write to `path`, a file or a folder, by its mode and where it lies.
///
/// # Errors
/// As the kernel says: not permitted, a read-only file system, nothing there.
pub fn may_write(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: `path` ends in NUL and outlives the call.
    match unsafe { libc::access(path.as_ptr(), libc::W_OK) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What a file system has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes that this process may still write.
    pub free_bytes: u64,
    /// Whether nothing may be written.
    pub read_only: bool,
}

/// What the file system that holds `path` has left.
///
/// # Errors
/// As the kernel says.
pub fn disk_space(path: &Path) -> io::Result<DiskSpace> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut stats = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` ends in NUL and outlives the call; `stats` is written whole on success, and
    // read only then.
    let stats = unsafe {
        if libc::statvfs(path.as_ptr(), stats.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        stats.assume_init()
    };
    Ok(DiskSpace {
        free_bytes: stats.f_bavail.saturating_mul(stats.f_frsize),
        read_only: stats.f_flag & libc::ST_RDONLY != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_started_later_prefer_throughput_too() {
        let policy = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let (_, numbers) = stat.rsplit_once(')').unwrap();
            // The 41st field of all, proc(5).
            numbers.split_whitespace().nth(38).unwrap().to_owned()
        };
        std::thread::spawn(move || {
            assert_eq!(policy(), libc::SCHED_OTHER.to_string());
            assert!(prefer_throughput());
            let later = std::thread::spawn(policy).join().unwrap();
            assert_eq!(later, libc::SCHED_BATCH.to_string());
        })
        .join()
        .unwrap();
    }

    #[test]
    fn what_may_be_written() {
        may_write(&std::env::temp_dir()).unwrap();
        let missing = may_write(Path::new("/no/such/folder")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert!(may_write(Path::new("/proc/self/status")).is_ok());
        assert!(may_write(Path::new("a\0b")).is_err());
    }

    #[test]
    fn space_of_a_folder_and_of_nothing() {
        assert!(!disk_space(&std::env::temp_dir()).unwrap().read_only);
        assert!(disk_space(Path::new("/proc")).unwrap().free_bytes == 0);
        let missing = disk_space(Path::new("/no/such/folder")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
