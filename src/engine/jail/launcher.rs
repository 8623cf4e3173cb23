//! The process between the server and a jail: our own binary again, with one thread. It starts the
//! jail's first process, stays outside, bounds the jail's memory, and ends it when the server lets
//! go of the orders' socket, however the server ended. Its own end tells how the code ended.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use super::kernel::{self, Await, Death, Pid};
use super::plan::{Plan, USER};
use super::step::{At, NO_JAIL, StepError};
use super::{init, watch};

/// The hidden first argument.
pub(super) const ASKED: &str = "__jail";
/// The launcher dies of this when the jail was killed for memory; exit codes are all the code's own.
pub(super) const OUT_OF_MEMORY: libc::c_int = libc::SIGUSR1;

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
    let jail = Jail::new(first)?;
    if plan.confined && !let_in(plan, first, &mut ours)? {
        // It said itself what went wrong.
        return jail.wait();
    }
    watch::used_bytes(first).at("read /proc/PID/task/TID/children (CONFIG_PROC_CHILDREN)")?;
    // From here on only the jail holds the streams' ends: their closing is its end.
    kernel::close(1);
    kernel::close(2);
    jail.watch(plan.memory_bytes)
}

/// Maps the jail's user, when its first process asks for it; `false` when it ended instead.
fn let_in(plan: &Plan, first: Pid, socket: &mut UnixStream) -> Result<bool, StepError> {
    if socket.read_exact(&mut [0]).is_err() {
        return Ok(false);
    }
    let (own_user, own_group) = kernel::own_ids();
    let user = plan.host_user.unwrap_or(own_user);
    let group = plan.host_user.unwrap_or(own_group);
    let write = |file: &str, text: String| {
        fs::write(format!("/proc/{first}/{file}"), text).at(format!("write {file}"))
    };
    write("setgroups", "deny".to_owned())?;
    write("gid_map", format!("{USER} {group} 1"))?;
    write("uid_map", format!("{USER} {user} 1"))?;
    Ok(socket.write_all(&[0]).is_ok())
}

/// The running first process; killed and gone when dropped.
struct Jail {
    first: Pid,
    ended: std::os::fd::OwnedFd,
}

impl Jail {
    fn new(first: Pid) -> Result<Self, StepError> {
        // Without this the child is still ended by its closed socket.
        let ended = kernel::open_pidfd(first).at("watch the first process (pidfd_open)")?;
        Ok(Self { first, ended })
    }

    fn wait(self) -> Result<End, StepError> {
        let (_, death) = kernel::wait_child(Some(self.first)).at("wait for the jail")?;
        Ok(End::Ended(death))
    }

    /// Stays until the jail has ended, has used too much, or the server has let go.
    fn watch(self, memory_bytes: u64) -> Result<End, StepError> {
        let orders = kernel::standard_stream(0);
        loop {
            let used = watch::used_bytes(self.first).unwrap_or(0);
            if used > memory_bytes {
                self.kill();
                return self.wait().map(|_| End::OutOfMemory);
            }
            let waits = [
                (self.ended.as_fd(), Await::Readable),
                (orders, Await::HungUp),
            ];
            let events = kernel::wait_for(&waits, watch::pause(memory_bytes - used));
            match events.at("wait for events")?.as_slice() {
                [false, false] => {}
                [false, true] => {
                    self.kill();
                    return self.wait();
                }
                _ => return self.wait(),
            }
        }
    }

    /// The kernel ends everything in a pid namespace with its first process.
    fn kill(&self) {
        // It is our child and not yet waited for: the number is still its own.
        let _ = kernel::kill(self.first, libc::SIGKILL);
    }
}
