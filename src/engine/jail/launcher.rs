//! The process between the server and a jail: our own binary again, with one thread. It starts the
//! jail's first process, stays outside, bounds the jail's memory, and ends it when the server lets
//! go of the orders' socket, however the server ended. Its own end tells how the code ended.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::init;
use super::kernel::{self, Await, Death, Pid};
use super::plan::{MAX_PROCESSES, Plan, USER, scratch_folders};
use super::step::{At, NO_JAIL, StepError};
use super::watch::{self, Count, Usage};

/// The hidden first argument.
pub(super) const ASKED: &str = "__jail";
/// The launcher dies of this when the jail was killed for memory; exit codes are all the code's
/// own.
pub(super) const OUT_OF_MEMORY: libc::c_int = libc::SIGUSR1;

/// How long the news may take that a process is gone.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// Pause after an exact count that found all well: counting so often would cost a processor.
const EXACT_PAUSE: Duration = Duration::from_millis(20);

const NAMESPACES: libc::c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// Becomes a jail's launcher when this process was started as one, and then never returns. The
/// first thing that `main` does: nothing may have started a thread.
pub fn launch_if_asked() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(ASKED) {
        return;
    }
    let plan = arguments.next().unwrap_or_default();
    let end = match serde_json::from_str::<Plan>(&plan) {
        Ok(plan) => launch(&plan),
        Err(error) => Err(std::io::Error::from(error)).at("read the plan"),
    };
    match end {
        Ok(End::OutOfMemory) => kernel::die_of(OUT_OF_MEMORY),
        Ok(End::Ended(death)) => kernel::exit(death.code()),
        Err(error) => {
            eprintln!("{error}");
            kernel::exit(NO_JAIL)
        }
    }
}

enum End {
    Ended(Death),
    OutOfMemory,
}

fn launch(plan: &Plan) -> Result<End, StepError> {
    // Nothing that the server, or who started it, had open goes in.
    kernel::close_from(3).at("close inherited files (close_range)")?;
    watch::is_possible().at("read /proc/PID/task/TID/children (CONFIG_PROC_CHILDREN)")?;
    let (mut ours, theirs) = UnixStream::pair().at("make a socket pair")?;
    let namespaces = match (plan.confined, plan.host_user) {
        (false, _) => 0,
        (true, Some(_)) => NAMESPACES,
        (true, None) => NAMESPACES | libc::CLONE_NEWUSER,
    };
    let Some(first) = kernel::clone_process(namespaces).at("new namespaces")? else {
        drop(ours);
        init::run(plan, theirs)
    };
    drop(theirs);
    let mut jail = Jail {
        first,
        group: if plan.confined { first } else { -first },
        // Without this the child is still ended by its closed socket.
        ended: kernel::open_pidfd(first).at("watch the first process (pidfd_open)")?,
        scratch: Vec::new(),
    };
    if plan.confined {
        match let_in(plan, first, &mut ours)? {
            Some(scratch) => jail.scratch = scratch,
            // It said itself what went wrong.
            None => return jail.wait(),
        }
    }
    // From here on only the jail holds the streams' ends: their closing is its end.
    kernel::close(1);
    kernel::close(2);
    jail.watch(plan.memory_bytes)
}

/// Maps the jail's user when its first process asks for it, and opens its scratch file systems once
/// they are there; `None` when it ended instead.
fn let_in(
    plan: &Plan,
    first: Pid,
    socket: &mut UnixStream,
) -> Result<Option<Vec<OwnedFd>>, StepError> {
    let asks = |socket: &mut UnixStream| socket.read_exact(&mut [0]).is_ok();
    if !asks(socket) {
        return Ok(None);
    }
    map_user(plan, first)?;
    if socket.write_all(&[0]).is_err() || !asks(socket) {
        return Ok(None);
    }
    let opened = scratch_folders().map(|at| {
        let path = format!("/proc/{first}/root/{at}");
        kernel::open_path(&path).at(format!("open {path}"))
    });
    let opened = opened.collect::<Result<Vec<_>, _>>()?;
    Ok(socket.write_all(&[0]).is_ok().then_some(opened))
}

fn map_user(plan: &Plan, first: Pid) -> Result<(), StepError> {
    let (own_user, own_group) = kernel::own_ids();
    let user = plan.host_user.unwrap_or(own_user);
    let group = plan.host_user.unwrap_or(own_group);
    let write = |file: &str, text: String| {
        fs::write(format!("/proc/{first}/{file}"), text).at(format!("write {file}"))
    };
    write("setgroups", "deny".to_owned())?;
    write("gid_map", format!("{USER} {group} 1"))?;
    write("uid_map", format!("{USER} {user} 1"))
}

/// A running jail, from outside.
struct Jail {
    first: Pid,
    /// What a signal that ends everything goes to.
    group: Pid,
    ended: OwnedFd,
    scratch: Vec<OwnedFd>,
}

impl Jail {
    fn wait(self) -> Result<End, StepError> {
        let (_, death) = kernel::wait_child(Some(self.first)).at("wait for the jail")?;
        if self.group < 0 {
            // Without a jail, children may have stayed behind.
            self.kill();
        }
        Ok(End::Ended(death))
    }

    /// Stays until the jail has ended, has too many processes, or the server has let go. When it
    /// uses too much memory, the process that holds most is killed, as the kernel does in a
    /// container: code may survive a child that was too greedy.
    fn watch(self, memory_bytes: u64) -> Result<End, StepError> {
        let orders = kernel::standard_stream(0);
        let mut out_of_memory = false;
        loop {
            let Ok((used, pause)) = self.look(memory_bytes) else {
                // It has ended, or nobody can watch it any more.
                let ended = [(self.ended.as_fd(), Await::Readable)];
                if kernel::wait_for(&ended, END_PATIENCE).at("wait for the end")? != [true] {
                    self.kill();
                }
                break;
            };
            if used.bytes > memory_bytes {
                out_of_memory = true;
                if used.bytes / 4 > memory_bytes / 3 || !self.kill_largest(used.largest) {
                    self.kill();
                }
            }
            let waits = [
                (self.ended.as_fd(), Await::Readable),
                (orders, Await::HungUp),
            ];
            let events = kernel::wait_for(&waits, pause).at("wait for events")?;
            let too_many = used.processes > MAX_PROCESSES.into();
            match events.as_slice() {
                [false, false] if !too_many => continue,
                [true, _] => {}
                _ => self.kill(),
            }
            break;
        }
        let end = self.wait()?;
        Ok(if out_of_memory { End::OutOfMemory } else { end })
    }

    /// What the jail uses, and when to look again. The quick count may be too high, never too low:
    /// only where it is above the limit is the exact one worth its price.
    fn look(&self, memory_bytes: u64) -> std::io::Result<(Usage, Duration)> {
        let quick = watch::usage(self.first, &self.scratch, Count::Quick)?;
        if quick.bytes <= memory_bytes {
            return Ok((quick, watch::pause(memory_bytes - quick.bytes)));
        }
        let exact = watch::usage(self.first, &self.scratch, Count::Exact)?;
        let left = memory_bytes.saturating_sub(exact.bytes);
        let pause = match left {
            0 => watch::pause(0),
            _ => watch::pause(left).max(EXACT_PAUSE),
        };
        Ok((exact, pause))
    }

    /// Whether the process is, or has just been, ended. Its number may be another's by now, of the
    /// host even: only a process that still is of this jail after it was opened gets the signal.
    fn kill_largest(&self, largest: Pid) -> bool {
        let Ok(process) = kernel::open_pidfd(largest) else {
            return true;
        };
        match watch::usage(self.first, &[], Count::Exact) {
            Ok(used) if used.largest == largest => {
                kernel::kill_by_pidfd(&process, libc::SIGKILL).is_ok()
            }
            _ => true,
        }
    }

    /// The kernel ends everything in a pid namespace with its first process.
    fn kill(&self) {
        // Our child, not yet waited for, or a group that it led: the number is still its own.
        let _ = kernel::kill(self.group, libc::SIGKILL);
    }
}
