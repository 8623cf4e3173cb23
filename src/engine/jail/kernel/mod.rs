//! The system calls that a jail is made of, as safe functions: every `unsafe` block of the product
//! but those in `base/sys.rs`. No decision is taken here.

mod mounts;
mod process;
mod rights;

use std::ffi::CString;
use std::io;

use libc::{c_int, c_long};

pub(super) use mounts::*;
pub(super) use process::*;
pub(super) use rights::*;

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

fn c_text(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::ErrorKind::InvalidInput.into())
}
