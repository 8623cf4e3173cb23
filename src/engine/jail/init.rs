//! The first process of a jail: builds it, gives up every right, starts node and ends when node
//! ends, which ends everything else inside. Runs single-threaded, between clone and exit.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::kernel::{self, Await};
use super::plan::{NICE, NODE, OOM_SCORE_ADJUSTMENT, Plan, USER, environment, limits};
use super::root::build_and_enter;
use super::step::{At, NO_JAIL, StepError};
use super::{RUNNER, filter};

/// Never returns. `launcher` is the other end of the launcher's socket.
pub(super) fn run(plan: &Plan, launcher: UnixStream) -> ! {
    match start(plan, launcher) {
        Ok(node) => {
            let code = outlive(node);
            kernel::exit(code)
        }
        Err(error) => {
            eprintln!("{error}");
            kernel::exit(NO_JAIL)
        }
    }
}

fn start(plan: &Plan, mut launcher: UnixStream) -> Result<kernel::Pid, StepError> {
    // Best effort: a comfort for the host, no protection from the code inside.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJUSTMENT);
    let _ = kernel::set_nice(NICE);
    kernel::keep_to_processors(plan.processors, plan.turn).at("keep to its processors")?;
    if plan.confined {
        confine(plan, &mut launcher)?;
    } else {
        kernel::lead_group().at("lead a process group")?;
        std::env::set_current_dir(std::env::temp_dir()).at("enter the temporary folder")?;
    }
    kernel::die_with_parent().at("ask to die with the launcher")?;
    // It may have died before that.
    let hung_up = kernel::wait_for(&[(launcher.as_fd(), Await::HungUp)], Duration::ZERO);
    if hung_up.at("look after the launcher")?.contains(&true) {
        kernel::exit(NO_JAIL);
    }
    drop(launcher);
    match kernel::clone_process(0).at("fork")? {
        Some(node) => Ok(node),
        None => {
            let Err(error) = become_node(plan);
            eprintln!("{error}");
            kernel::exit(NO_JAIL)
        }
    }
}

/// Root builds with its rights and then enters a user namespace that owns nothing of what was
/// built; others need the user namespace first, to have rights at all.
fn confine(plan: &Plan, launcher: &mut UnixStream) -> Result<(), StepError> {
    if plan.host_user.is_some() {
        kernel::drop_groups().at("give up supplementary groups")?;
        furnish(plan)?;
        kernel::unshare(libc::CLONE_NEWUSER).at("new user namespace")?;
    }
    // The launcher maps our user.
    meet(launcher)?;
    if plan.host_user.is_none() {
        furnish(plan)?;
    }
    // The launcher opens the scratch file systems, to see how full they are.
    meet(launcher)?;
    kernel::become_user(USER).at("become the jail's user")?;
    kernel::drop_capabilities().at("drop capabilities")?;
    kernel::hide_from_peers().at("hide from peers")?;
    kernel::forbid_new_privileges().at("forbid new privileges")
}

fn meet(launcher: &mut UnixStream) -> Result<(), StepError> {
    launcher.write_all(&[0]).at("speak to the launcher")?;
    launcher.read_exact(&mut [0]).at("hear from the launcher")
}

fn furnish(plan: &Plan) -> Result<(), StepError> {
    build_and_enter(plan)?;
    kernel::set_host_name("sandbox").at("name the host")
}

/// The limits, the filter, the five streams, and node.
fn become_node(plan: &Plan) -> Result<std::convert::Infallible, StepError> {
    if !plan.confined {
        kernel::die_with_parent().at("ask to die with the first process")?;
    }
    for (resource, name, value) in limits(plan) {
        let bounds_processes = resource == limit_of_processes();
        if !bounds_processes || (plan.confined && plan.limit_processes) {
            kernel::limit(resource, value).at(format!("limit {name}"))?;
        }
    }
    kernel::restore_signal(libc::SIGPIPE).at("restore SIGPIPE")?;
    // Frames on 3, orders on 4, whatever is printed on 1 and 2, nothing to read on 0.
    for (from, to) in [(1, 3), (0, 4), (2, 1)] {
        kernel::duplicate(from, to).at("arrange the streams")?;
    }
    let nothing = fs::File::open("/dev/null").at("open /dev/null")?;
    kernel::duplicate(nothing.as_raw_fd(), 0).at("arrange the streams")?;
    let program = if plan.confined {
        kernel::install_filter(&filter::program()).at("install the seccomp filter")?;
        format!("/{NODE}")
    } else {
        plan.node.clone()
    };
    // Its own name, in full, is what node knows itself by where there is no /proc.
    let arguments = [&program, "-e", RUNNER];
    Err(kernel::execute(&program, &arguments, &environment(plan))).at("execute node")
}

fn limit_of_processes() -> libc::c_int {
    #[allow(clippy::unnecessary_cast, clippy::cast_possible_truncation)]
    let resource = libc::RLIMIT_NPROC as libc::c_int;
    resource
}

/// Waits for node, and for orphans meanwhile; node's exit code.
fn outlive(node: kernel::Pid) -> i32 {
    let _ = kernel::close_from(0);
    loop {
        match kernel::wait_child(None) {
            Ok((pid, death)) if pid == node => return death.code(),
            Ok(_) => {}
            Err(_) => return NO_JAIL,
        }
    }
}
