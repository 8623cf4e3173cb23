//! Builds the file system inside a jail and moves there. Runs in the jail's first process, while it
//! still has its capabilities.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use libc::{MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_REC, MS_REMOUNT};

use super::kernel;
use super::plan::{Item, PROC_OPTIONS, Plan, USER, items, scratch_options};
use super::step::{At, StepError};

/// Folders that are mounted over, in our own mount namespace, to hold the new root; the first that
/// is there.
const HOLDERS: [&str; 4] = ["/tmp", "/run", "/var", "/mnt"];

/// Builds what the plan lists and makes it the root; nothing of the old one stays in reach.
pub(super) fn build_and_enter(plan: &Plan) -> Result<(), StepError> {
    kernel::mount("", "/", "", MS_REC | MS_PRIVATE, "").at("mount / private")?;
    let items = items(plan);
    // Opened first: what is mounted next may hide them.
    let sources = items
        .iter()
        .map(open_source)
        .collect::<Result<Vec<_>, _>>()?;
    let holder = HOLDERS.iter().find(|path| Path::new(path).is_dir());
    let holder = holder.copied().unwrap_or("/");
    kernel::mount(
        "tmpfs",
        holder,
        "tmpfs",
        MS_NOSUID | MS_NODEV,
        "size=1m,mode=0755",
    )
    .at("mount the root")?;
    std::env::set_current_dir(holder).at("enter the root")?;
    let owner = plan.host_user.unwrap_or(USER);
    for (item, source) in items.iter().zip(&sources) {
        place(item, source.as_ref(), owner).at(item.to_string())?;
    }
    drop(sources);
    kernel::pivot_to_current_directory().at("pivot_root")?;
    std::env::set_current_dir("/").at("enter the root")?;
    let flags = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV;
    kernel::mount("", "/", "", flags, "").at("make the root read-only")?;
    std::env::set_current_dir("/workspace").at("enter /workspace")
}

fn open_source(item: &Item) -> Result<Option<OwnedFd>, StepError> {
    let from = match item {
        Item::HostFile { from, .. } => from.as_str(),
        Item::Device { from, .. } => from,
        _ => return Ok(None),
    };
    kernel::open_path(from).map(Some).at(format!("open {from}"))
}

fn place(item: &Item, source: Option<&OwnedFd>, owner: u32) -> io::Result<()> {
    match item {
        Item::Scratch {
            at,
            mebibytes,
            files,
        } => {
            fs::create_dir_all(at)?;
            let options = scratch_options(*mebibytes, *files, owner);
            kernel::mount(
                "tmpfs",
                at,
                "tmpfs",
                MS_NOSUID | MS_NODEV | MS_NOEXEC,
                &options,
            )
        }
        Item::HostFile { at, .. } => bind(source, at, MS_NOSUID | MS_NODEV),
        Item::Device { at, .. } => bind(source, at, MS_NOSUID | MS_NOEXEC),
        Item::Processes { at } => {
            fs::create_dir_all(at)?;
            let flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
            // Some kernels and containers grant none: node does without.
            let _ = kernel::mount("proc", at, "proc", flags, PROC_OPTIONS);
            Ok(())
        }
        Item::Link { at, to } => {
            create_parent(at)?;
            std::os::unix::fs::symlink(to, at)
        }
        Item::Text { at, text } => {
            create_parent(at)?;
            fs::write(at, text)
        }
    }
}

fn create_parent(at: &str) -> io::Result<()> {
    Path::new(at).parent().map_or(Ok(()), fs::create_dir_all)
}

/// Mounts an open file of the host, read-only. Flags that the host's mount has stay: a user
/// namespace may not take them off.
fn bind(source: Option<&OwnedFd>, at: &str, flags: libc::c_ulong) -> io::Result<()> {
    let source = source.ok_or(io::ErrorKind::InvalidInput)?;
    create_parent(at)?;
    fs::File::create(at)?;
    let from = format!("/proc/self/fd/{}", source.as_raw_fd());
    kernel::mount(&from, at, "", MS_BIND, "")?;
    let flags = kernel::mount_flags(at)? | flags | MS_RDONLY | MS_REMOUNT | MS_BIND;
    kernel::mount("", at, "", flags, "")
}
