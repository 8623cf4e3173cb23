//! Mounts, and what is mounted from.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libc::c_ulong;

use super::{c_text, checked, done};

/// linux/statfs.h; not every C library's headers name it.
const ST_RELATIME: c_ulong = 0x1000;

/// mount(2); empty texts are null.
pub(in crate::engine::jail) fn mount(
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
pub(in crate::engine::jail) fn mount_flags(path: &str) -> io::Result<c_ulong> {
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
        (ST_RELATIME, libc::MS_RELATIME),
    ];
    let set = pairs.iter().filter(|(seen, _)| found.f_flag & seen != 0);
    Ok(set.fold(0, |all, (_, flag)| all | flag))
}

/// What is stored in the file system that `file` is of, in bytes.
pub(in crate::engine::jail) fn stored_bytes(file: &OwnedFd) -> io::Result<u64> {
    // SAFETY: statvfs is plain integers, for which zero is a value.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: an open descriptor and a struct that live through the call.
    done(unsafe { libc::fstatvfs(file.as_raw_fd(), &raw mut found) })?;
    let blocks = found.f_blocks.saturating_sub(found.f_bfree);
    Ok(blocks.saturating_mul(found.f_frsize))
}

/// Makes the current directory, a mount, the root, and lets go of the old one.
pub(in crate::engine::jail) fn pivot_to_current_directory() -> io::Result<()> {
    let here = c".".as_ptr();
    // SAFETY: C strings; the old root is stacked on the new one and then detached.
    checked(unsafe { libc::syscall(libc::SYS_pivot_root, here, here) })?;
    // SAFETY: as above.
    done(unsafe { libc::umount2(here, libc::MNT_DETACH) })
}

/// Opens a path without the right to read it: something to mount from.
pub(in crate::engine::jail) fn open_path(path: &str) -> io::Result<OwnedFd> {
    let path = c_text(path)?;
    // SAFETY: a C string; no mode is needed without O_CREAT.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) };
    done(fd)?;
    // SAFETY: just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
