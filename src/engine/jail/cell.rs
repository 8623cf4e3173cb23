//! One jail as the server holds it: its launcher, and three streams.

use std::io::{Read, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::disposal::Disposal;
use super::kernel::{self, Await};
use super::launcher::{ASKED, OUT_OF_MEMORY};
use super::plan::Plan;
use crate::base::deadline::{Deadline, Deadlined};
use crate::domain::failure::{Failure, FailureKind};
use crate::engine::cell::{Cell, Exit, Heard, Output};

/// Read at a time, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;
/// How long a launcher that was told to end its jail may take before it is killed itself; the
/// kernel then ends the jail.
const KILL_PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two looks at whether a launcher has ended.
const LOOK_PAUSE: Duration = Duration::from_millis(1);

/// A running jail. Dropping it has it destroyed soon.
pub(super) struct JailCell {
    remains: Option<Remains>,
    frames: Option<ChildStdout>,
    printed: Option<ChildStderr>,
    disposal: Arc<Disposal>,
}

/// What must be ended and waited for.
pub(super) struct Remains {
    launcher: Child,
    orders: Option<Deadlined<UnixStream>>,
}

impl JailCell {
    /// Starts a jail; its runner is not yet ready.
    pub(super) fn start(
        launcher: &Path,
        plan: &Plan,
        disposal: &Arc<Disposal>,
    ) -> std::io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut child = Command::new(launcher)
            .arg(ASKED)
            .arg(serde_json::to_string(plan)?)
            .env_clear()
            // Signals from the server's terminal are the server's alone.
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (frames, printed) = (child.stdout.take(), child.stderr.take());
        let orders = Deadlined::new(ours, Deadline::after(Duration::ZERO));
        Ok(Self {
            remains: Some(Remains {
                launcher: child,
                orders: Some(orders),
            }),
            frames,
            printed,
            disposal: Arc::clone(disposal),
        })
    }
}

impl Remains {
    /// Lets go of the jail and waits until nothing of it is left.
    pub(super) fn destroy(mut self) {
        self.orders = None;
        if self.await_end(Deadline::after(KILL_PATIENCE)).is_none() {
            log::warn!("a jail's launcher did not end in time: killing it");
            let _ = self.launcher.kill();
            let _ = self.launcher.wait();
        }
    }

    fn await_end(&mut self, deadline: Deadline) -> Option<ExitStatus> {
        loop {
            if let Ok(Some(status)) = self.launcher.try_wait() {
                return Some(status);
            }
            deadline.remaining()?;
            std::thread::sleep(LOOK_PAUSE);
        }
    }
}

impl Drop for JailCell {
    fn drop(&mut self) {
        if let Some(remains) = self.remains.take() {
            self.disposal.later(remains);
        }
    }
}

impl Cell for JailCell {
    fn send(&mut self, bytes: &[u8], deadline: Deadline) -> Result<(), Failure> {
        let orders = self
            .remains
            .as_mut()
            .and_then(|remains| remains.orders.as_mut());
        let Some(orders) = orders else {
            return Ok(());
        };
        orders.set_deadline(deadline);
        match orders.write_all(bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                let message = "the sandbox did not take its orders in time";
                Err(Failure::new(FailureKind::Timeout, message))
            }
            // A runner that has ended takes nothing; what it said before, `hear` still finds.
            _ => Ok(()),
        }
    }

    fn hear(
        &mut self,
        deadline: Deadline,
        take: &mut dyn FnMut(Output<'_>),
    ) -> Result<Heard, Failure> {
        let frames = self
            .frames
            .as_ref()
            .map(|stream| (stream.as_fd(), Await::Readable));
        let printed = self
            .printed
            .as_ref()
            .map(|stream| (stream.as_fd(), Await::Readable));
        let waits: Vec<_> = [frames, printed].into_iter().flatten().collect();
        if waits.is_empty() {
            return Ok(Heard::End);
        }
        let limit = deadline.remaining().unwrap_or_default();
        let events = kernel::wait_for(&waits, limit).map_err(|error| broken(&error))?;
        if !events.contains(&true) {
            return Ok(Heard::Silence);
        }
        let mut events = events.into_iter();
        let mut is_ready = |there: bool| there && events.next().unwrap_or(false);
        let (frames_ready, printed_ready) = (
            is_ready(self.frames.is_some()),
            is_ready(self.printed.is_some()),
        );
        let mut heard = false;
        if printed_ready {
            heard |= read_from(&mut self.printed, &mut |bytes| take(Output::Printed(bytes)));
        }
        if frames_ready {
            heard |= read_from(&mut self.frames, &mut |bytes| take(Output::Frames(bytes)));
        }
        let ended = self.frames.is_none() && self.printed.is_none();
        Ok(if ended && !heard {
            Heard::End
        } else {
            Heard::Output
        })
    }

    fn exit(&mut self, deadline: Deadline) -> Result<Exit, Failure> {
        let ended = self
            .remains
            .as_mut()
            .and_then(|remains| remains.await_end(deadline));
        let Some(status) = ended else {
            let message = "the sandbox closed its streams and did not end: try again";
            return Err(Failure::new(FailureKind::EngineUnavailable, message));
        };
        Ok(match (status.code(), status.signal()) {
            (Some(code), _) => Exit {
                code: i64::from(code),
                oom_killed: false,
            },
            (None, signal) => Exit {
                code: 128 + i64::from(signal.unwrap_or(libc::SIGKILL)),
                oom_killed: signal == Some(OUT_OF_MEMORY),
            },
        })
    }

    fn has_ended(&mut self) -> bool {
        let launcher = self.remains.as_mut().map(|remains| &mut remains.launcher);
        launcher.is_none_or(|launcher| !matches!(launcher.try_wait(), Ok(None)))
    }

    fn destroy(mut self: Box<Self>) {
        if let Some(remains) = self.remains.take() {
            remains.destroy();
        }
    }
}

/// Reads what is there; whether there was anything. At its end the stream is gone.
fn read_from<S: Read>(stream: &mut Option<S>, take: &mut dyn FnMut(&[u8])) -> bool {
    let Some(open) = stream else {
        return false;
    };
    let mut chunk = [0; CHUNK_BYTES];
    match open.read(&mut chunk).map(|length| chunk.get(..length)) {
        Ok(Some(bytes)) if !bytes.is_empty() => {
            take(bytes);
            true
        }
        _ => {
            *stream = None;
            false
        }
    }
}

fn broken(error: &std::io::Error) -> Failure {
    log::error!("waiting for a jail: {error}");
    Failure::new(FailureKind::Internal, "the sandbox could not be waited for")
}
