//! Processes inside a sandbox: how they are started, how each ends, and how all are ended.

use std::sync::Arc;
use std::time::Duration;

use super::keeper::{Held, idle};
use super::{ended_meanwhile, gone, trouble};
use crate::base::deadline::Deadline;
use crate::docker::{Attached, Command, Daemon, DockerError, State};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::image::UsedImage;
use crate::engine::cell::{Cell, Exit, Heard, Output};
use crate::engine::container_spec::MAX_PROCESSES;
use crate::engine::disposal::Disposal;
use crate::engine::docker_cell::{hear_from, send_to};

/// Makes the kernel end commands before the keeper when memory is short.
pub(super) const FIRST_TO_GO: &str = "{ echo 1000 >/proc/self/oom_score_adj; } 2>/dev/null; ";
/// Every process that the commands' user may signal, but the one that does it: neither the keeper,
/// nor what another user runs. The kernel does it in one go, so that no fork gets away.
const END_ALL: &[&str] = &["sh", "-c", "kill -9 -1"];
/// 128 + SIGKILL.
const KILLED: i64 = 137;
/// What the daemon gives a process that the runtime could not start.
const NOT_STARTED: i64 = 126;
/// A keeper that lives answers sooner; a slow one is not taken for dead.
const KEEPER_PATIENCE: Duration = Duration::from_secs(1);
/// Bound on the news that a process has run, after all were ended.
const LATE_TIMEOUT: Duration = Duration::from_secs(3);
/// Bound on ending all.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two looks at whether a process has ended.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Where processes of a sandbox are started and ended.
pub(super) struct Inside {
    pub(super) daemon: Arc<Daemon>,
    pub(super) disposal: Arc<Disposal>,
    pub(super) container: String,
    pub(super) user: String,
}

/// A process that was started, by the daemon's id of it.
pub(super) struct Process {
    pub(super) exec: String,
    pub(super) streams: Attached,
}

/// What the daemon says of a process that was started.
fn meanwhile(error: &DockerError) -> Failure {
    let failure = trouble(error);
    if failure == gone() {
        return ended_meanwhile();
    }
    failure
}

/// Why a process does certainly not run.
fn not_started(error: DockerError) -> Failure {
    match error {
        // The runtime could not: no such program, or no more processes.
        DockerError::Api {
            status: 400 | 500,
            message,
        } => {
            let message = format!("the sandbox cannot start a process now: {message}");
            Failure::new(FailureKind::EngineUnavailable, message)
        }
        other => trouble(&other),
    }
}

/// The failure with what became of the sandbox, which lives on or not.
fn told(mut failure: Failure, lives: bool) -> Failure {
    let what = match lives {
        true => "every process in the sandbox was ended; its files are as they were",
        false => "the sandbox had to be ended: make a new one",
    };
    failure.message = match failure.message.as_str() {
        "" => what.to_owned(),
        message => format!("{message}; {what}"),
    };
    failure
}

impl Inside {
    /// Starts a process. Where nobody knows whether it runs, everything there is ended.
    pub(super) fn start(
        &self,
        line: &[&str],
        has_stdin: bool,
        deadline: Deadline,
    ) -> Result<Process, Failure> {
        let exec = self
            .prepare(line, has_stdin, deadline)
            .map_err(not_started)?;
        match self.daemon.start_exec(&exec, deadline) {
            Ok(streams) => Ok(Process { exec, streams }),
            Err(error @ DockerError::Api { .. }) => Err(not_started(error)),
            Err(error) => Err(told(trouble(&error), self.end_unknown(&exec))),
        }
    }

    /// A process that does not run yet, by the daemon's id of it.
    fn prepare(
        &self,
        line: &[&str],
        has_stdin: bool,
        deadline: Deadline,
    ) -> Result<String, DockerError> {
        let command = Command {
            line,
            user: &self.user,
            folder: "/workspace",
            has_stdin,
        };
        self.daemon.create_exec(&self.container, &command, deadline)
    }

    /// How a process ended, if it has.
    pub(super) fn exit_code(&self, exec: &str, deadline: Deadline) -> Result<Option<i64>, Failure> {
        let exit = match self.daemon.exec_exit(exec, deadline) {
            Ok(exit) => exit,
            Err(error) => return Err(meanwhile(&error)),
        };
        match matches!(exit, Some(KILLED | NOT_STARTED)) && self.has_ended(deadline) {
            true => Err(ended_meanwhile()),
            false => Ok(exit),
        }
    }

    /// Whether the whole sandbox has ended, which the daemon itself may not know yet.
    fn has_ended(&self, deadline: Deadline) -> bool {
        let runs = || {
            let state = self.daemon.container_state(&self.container, deadline);
            matches!(state, Ok(State::Running))
        };
        let patience = deadline.or_earlier(Deadline::after(KEEPER_PATIENCE));
        !runs() || (idle(&self.daemon, &self.container, patience).is_err() && !runs())
    }

    /// Waits for a process's end.
    pub(super) fn await_exit(&self, exec: &str, deadline: Deadline) -> Result<i64, Failure> {
        let mut pause = PAUSE;
        loop {
            if let Some(code) = self.exit_code(exec, deadline)? {
                return Ok(code);
            }
            if deadline.remaining().is_none() {
                return Err(trouble(&DockerError::TimedOut));
            }
            std::thread::sleep(pause);
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// Ends everything because of a failure, which then says so.
    pub(super) fn end_after(&self, failure: Failure) -> Failure {
        told(failure, self.end_all())
    }

    /// Ends everything with a process of which nobody knows whether it runs. A daemon that is late
    /// may start one after this: one that has never run takes the sandbox with it.
    fn end_unknown(&self, exec: &str) -> bool {
        let has_run = || self.await_exit(exec, Deadline::after(LATE_TIMEOUT)).is_ok();
        self.end_all() && (has_run() || self.end_sandbox("a process may start late in a sandbox"))
    }

    /// Ends every process but the keeper: whatever it is a child of, and however many there are.
    /// Where that does not work the sandbox is ended as a whole; whether it lives on.
    pub(super) fn end_all(&self) -> bool {
        if self.try_end_all() || self.end_all_of_many() {
            return true;
        }
        self.end_sandbox("the processes of a sandbox could not be ended")
    }

    /// It does not live on.
    fn end_sandbox(&self, why: &str) -> bool {
        log::warn!("{why}: it is ended");
        self.disposal.now(&self.container);
        false
    }

    fn try_end_all(&self) -> bool {
        let deadline = Deadline::after(END_TIMEOUT);
        let Ok(exec) = self.prepare(END_ALL, false, deadline) else {
            return false;
        };
        let Ok(mut streams) = self.daemon.start_exec(&exec, deadline) else {
            return false;
        };
        // It prints nothing; its streams end with it.
        while let Ok(true) = streams.read(deadline, &mut |_| {}) {}
        matches!(self.await_exit(&exec, deadline), Ok(0))
    }

    /// Processes up to the limit leave none for the one that ends them: the limit gives way.
    fn end_all_of_many(&self) -> bool {
        let limit = |most| {
            let deadline = Deadline::after(END_TIMEOUT);
            self.daemon.limit_processes(&self.container, most, deadline)
        };
        let ended = limit(2 * MAX_PROCESSES).is_ok() && self.try_end_all();
        ended && limit(MAX_PROCESSES).is_ok()
    }
}

/// A runner inside a sandbox, as a cell.
pub(super) struct ProcessCell {
    pub(super) inside: Inside,
    pub(super) image: UsedImage,
    pub(super) exec: String,
    pub(super) streams: Option<Attached>,
    pub(super) held: Held,
}

impl Cell for ProcessCell {
    fn send(&mut self, bytes: &[u8], deadline: Deadline) -> Result<(), Failure> {
        send_to(self.streams.as_mut(), bytes, deadline)
    }

    fn hear(
        &mut self,
        deadline: Deadline,
        take: &mut dyn FnMut(Output<'_>),
    ) -> Result<Heard, Failure> {
        hear_from(self.streams.as_mut(), deadline, take)
    }

    fn exit(&mut self, deadline: Deadline) -> Result<Exit, Failure> {
        let code = self.inside.await_exit(&self.exec, deadline)?;
        Ok(Exit {
            code,
            oom_killed: code == KILLED && self.held.ran_out_of_memory(deadline),
        })
    }

    fn has_ended(&mut self) -> bool {
        false
    }

    fn image(&self) -> Option<&UsedImage> {
        Some(&self.image)
    }

    fn destroy(mut self: Box<Self>) {
        // A daemon with output that nobody takes would wait with the kill.
        self.streams = None;
        self.inside.end_all();
    }
}
