//! Shell commands in a sandbox, one after the other, as they are given: the container is the
//! boundary, and no text is looked through. What one leaves running in the background runs on; a
//! time limit and a cancelled call end every process there is.

use std::time::{Duration, Instant};

use super::capture::{Capture, Printed};
use super::keeper::Held;
use super::process::{FIRST_TO_GO, Inside, Process};
use super::{Sandbox, Sandboxes};
use crate::base::deadline::Deadline;
use crate::docker::{DockerError, EXCHANGE_TIMEOUT, Output};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::image::UsedImage;
use crate::domain::run::Cancel;
use crate::engine::conversation::cancelled;

/// Everything that one command may print, in bytes, before it is stopped.
const MAX_DRAINED_BYTES: usize = 64 * 1024 * 1024;
/// How often a silent command is asked whether it was cancelled.
const CANCEL_CHECK: Duration = Duration::from_millis(50);
/// First and longest pause between two looks at whether a command has ended while its streams are
/// open: what it left in the background may have them.
const FIRST_LOOK: Duration = Duration::from_millis(200);
const LONGEST_LOOK: Duration = Duration::from_millis(500);
/// How long what was printed last may take after a command's end.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// How soon the news of an exit may come after the streams ended.
const FIRST_NEWS: Duration = Duration::from_millis(10);
/// Bound on one look at whether a command has ended.
const EXIT_NEWS: Duration = Duration::from_secs(5);
/// What a call may need beyond its time limit, before its place in the sandbox is given away.
pub(super) const LEASE_SLACK: Duration = Duration::from_secs(60);

/// One command that was started.
#[derive(Clone, Debug)]
pub struct CommandEnded {
    /// What it wrote to its stdout.
    pub stdout: Printed,
    /// What it wrote to its stderr.
    pub stderr: Printed,
    /// 128 + n for signal n; `None` where it was stopped.
    pub exit_code: Option<i64>,
    /// From its start to its end.
    pub duration: Duration,
}

/// What became of a call's commands.
#[derive(Clone, Debug)]
pub struct Executed {
    /// Those that were started, in order.
    pub commands: Vec<CommandEnded>,
    /// Why the rest was not, or the last one was stopped.
    pub failure: Option<Failure>,
    /// From the first one's start; zero where none was.
    pub duration: Duration,
    /// What they ran in, where one was started.
    pub image: Option<UsedImage>,
}

impl Sandboxes {
    /// Runs commands, each by a shell of its own, whatever the exit codes. `timeout` is for all of
    /// them together, and so is the limit on what each of the two streams may show.
    pub fn exec(
        &self,
        sandbox: &Sandbox,
        commands: &[String],
        timeout: Duration,
        acquire: Deadline,
        cancel: &Cancel,
    ) -> Executed {
        let mut executed = Executed {
            commands: Vec::new(),
            failure: None,
            duration: Duration::ZERO,
            image: None,
        };
        let lease = timeout + LEASE_SLACK;
        let daemon = &self.forge.daemon;
        let held = match Held::acquire(daemon, &sandbox.container, lease, acquire, cancel) {
            Ok(held) => held,
            Err(failure) => {
                executed.failure = Some(failure);
                return executed;
            }
        };
        let began = Instant::now();
        let inside = self.inside(sandbox);
        let deadline = Deadline::after(timeout);
        let mut room = self.max_output_bytes;
        for (index, command) in commands.iter().enumerate() {
            // What earlier ones did not use is the later ones'.
            let share = room / (commands.len() - index).max(1);
            let mut running = Running::new(share);
            let ended = running.run(&inside, command, deadline, cancel);
            room -= running.stdout.kept().max(running.stderr.kept());
            executed.failure = ended.err();
            executed.commands.extend(running.ended());
            if executed.failure.is_some() {
                break;
            }
        }
        executed.duration = began.elapsed();
        let was_started = !executed.commands.is_empty();
        executed.image = was_started.then(|| sandbox.image.clone());
        if let Some(failure) = &mut executed.failure
            && failure.kind == FailureKind::Timeout
        {
            let limit = timeout.as_millis();
            failure.message = format!(
                "the commands did not finish within timeoutMs ({limit} ms); {}",
                failure.message
            );
        }
        drop(held);
        executed
    }
}

/// One command, from its start to its end.
struct Running {
    stdout: Capture,
    stderr: Capture,
    drained: usize,
    began: Option<Instant>,
    exit_code: Option<i64>,
}

impl Running {
    fn new(room: usize) -> Self {
        Self {
            stdout: Capture::new(room),
            stderr: Capture::new(room),
            drained: 0,
            began: None,
            exit_code: None,
        }
    }

    fn ended(&self) -> Option<CommandEnded> {
        Some(CommandEnded {
            stdout: self.stdout.printed(),
            stderr: self.stderr.printed(),
            exit_code: self.exit_code,
            duration: self.began?.elapsed(),
        })
    }

    fn run(
        &mut self,
        inside: &Inside,
        command: &str,
        deadline: Deadline,
        cancel: &Cancel,
    ) -> Result<(), Failure> {
        if deadline.remaining().is_none() {
            return Err(Failure::new(
                FailureKind::Timeout,
                "the rest was not started",
            ));
        }
        let script = format!("{FIRST_TO_GO}exec sh -c \"$0\"");
        // Bounded apart from the time limit: cut off half-way, it might run with nobody to end it.
        let start = Deadline::after(EXCHANGE_TIMEOUT);
        let mut process = inside.start(&["sh", "-c", &script, command], false, start)?;
        self.began = Some(Instant::now());
        match self.hear_out(inside, &mut process, deadline, cancel) {
            Ok(exit_code) => {
                self.exit_code = Some(exit_code);
                Ok(())
            }
            Err(failure) => Err(self.stop(inside, &mut process, failure)),
        }
    }

    /// Hears a command to its end: its exit code.
    fn hear_out(
        &mut self,
        inside: &Inside,
        process: &mut Process,
        deadline: Deadline,
        cancel: &Cancel,
    ) -> Result<i64, Failure> {
        let mut pause = FIRST_LOOK;
        let mut next_look = Deadline::after(pause);
        loop {
            if cancel.is_cancelled() {
                return Err(cancelled());
            }
            let wait = deadline.or_earlier(Deadline::after(CANCEL_CHECK));
            if !self.hear(process, wait)? {
                return await_end(inside, &process.exec, deadline, cancel);
            }
            if self.drained > MAX_DRAINED_BYTES {
                let message = format!("a command printed more than {MAX_DRAINED_BYTES} bytes");
                return Err(Failure::new(FailureKind::OutputTooLarge, message));
            }
            if next_look.remaining().is_none() {
                let looked = inside.exit_code(&process.exec, Deadline::after(EXIT_NEWS))?;
                if let Some(code) = looked {
                    let last = Deadline::after(LAST_WORDS);
                    while last.remaining().is_some() && self.hear(process, last)? {}
                    return Ok(code);
                }
                pause = LONGEST_LOOK.min(pause * 2);
                next_look = Deadline::after(pause);
            }
            if deadline.remaining().is_none() {
                return Err(Failure::new(FailureKind::Timeout, ""));
            }
        }
    }

    /// Takes output in; whether there may be more.
    fn hear(&mut self, process: &mut Process, deadline: Deadline) -> Result<bool, Failure> {
        let heard = process.streams.read(deadline, &mut |output| match output {
            Output::Stdout(bytes) => {
                self.drained += bytes.len();
                self.stdout.push(bytes);
            }
            Output::Stderr(bytes) => {
                self.drained += bytes.len();
                self.stderr.push(bytes);
            }
        });
        match heard {
            Ok(is_open) => Ok(is_open),
            Err(DockerError::TimedOut) => Ok(true),
            // The exit code tells a daemon that died from a command that ended.
            Err(DockerError::Unreachable(_)) => Ok(false),
            Err(error) => Err(super::trouble(&error)),
        }
    }

    /// Ends everything in the sandbox, and says so.
    fn stop(&mut self, inside: &Inside, process: &mut Process, failure: Failure) -> Failure {
        if super::is_end(&failure) {
            return failure;
        }
        let failure = inside.end_after(failure);
        let last = Deadline::after(LAST_WORDS);
        while last.remaining().is_some() && matches!(self.hear(process, last), Ok(true)) {}
        failure
    }
}

/// Waits for the end of a command whose streams have ended, which says nothing of itself: it may
/// have closed them, or their connection broke.
fn await_end(
    inside: &Inside,
    exec: &str,
    deadline: Deadline,
    cancel: &Cancel,
) -> Result<i64, Failure> {
    let mut pause = FIRST_NEWS;
    loop {
        if let Some(code) = inside.exit_code(exec, Deadline::after(EXIT_NEWS))? {
            return Ok(code);
        }
        if cancel.is_cancelled() {
            return Err(cancelled());
        }
        if deadline.remaining().is_none() {
            return Err(Failure::new(FailureKind::Timeout, ""));
        }
        std::thread::sleep(pause);
        pause = LONGEST_LOOK.min(pause * 2);
    }
}
