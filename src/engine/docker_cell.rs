//! One container of the daemon as a cell: what is sent, what is heard, how it ends.

use std::sync::Arc;

use serde_json::Value;

use super::cell::{Cell, Exit, Heard, Output};
use super::conversation::none_in_time;
use super::disposal::Disposal;
use super::images::unavailable;
use crate::base::deadline::Deadline;
use crate::base::ids::random_hex;
use crate::docker::{self, Attached, Daemon, DockerError, EXCHANGE_TIMEOUT, State};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::image::UsedImage;

/// One container with its streams. Dropping it has it removed soon.
pub(super) struct DockerCell {
    disposal: Arc<Disposal>,
    daemon: Arc<Daemon>,
    id: String,
    image: UsedImage,
    streams: Option<Attached>,
}

impl DockerCell {
    /// Makes a container; it does not run yet.
    pub(super) fn create(
        daemon: &Arc<Daemon>,
        disposal: &Arc<Disposal>,
        image: UsedImage,
        spec: &Value,
    ) -> Result<Self, DockerError> {
        let name = format!("dynamic-mcp-{}", random_hex());
        // Bounded apart from the caller's patience, for a create is better not cut off half-way.
        let created = daemon.create_container(&name, spec, Deadline::after(EXCHANGE_TIMEOUT));
        if created.as_ref().is_err_and(DockerError::is_in_doubt) {
            disposal.later(name);
        }
        let id = created?;
        Ok(Self {
            disposal: Arc::clone(disposal),
            daemon: Arc::clone(daemon),
            id,
            image,
            streams: None,
        })
    }

    /// Starts it, with its streams at hand.
    pub(super) fn start(&mut self, deadline: Deadline) -> Result<(), Failure> {
        // The daemon has made the container: from here on it is slow, not away.
        let late_or_away = |error| match error {
            DockerError::TimedOut => none_in_time(),
            other => unavailable(&other),
        };
        let attached = self.daemon.attach(&self.id, deadline);
        self.streams = Some(attached.map_err(late_or_away)?);
        self.daemon.start_container(&self.id, deadline).map_err(|error| match error {
            full if full.is_out_of_space() => unavailable(&full),
            // The runtime could not execute the command at all.
            DockerError::Api { status: 400 | 404 | 500, message } => Failure::new(
                FailureKind::Policy,
                format!("the image cannot run tools: {message}; images need sh and Node.js 20 or newer"),
            ),
            other => late_or_away(other),
        })
    }

    /// Lets it live on: the container's id.
    pub(super) fn keep(mut self) -> String {
        std::mem::take(&mut self.id)
    }
}

/// Sends bytes to a process's stdin; nothing where it has no streams any more.
pub(super) fn send_to(
    streams: Option<&mut Attached>,
    bytes: &[u8],
    deadline: Deadline,
) -> Result<(), Failure> {
    // A runner that has ended takes nothing; what it said before, `hear_from` still finds.
    match streams.map(|streams| streams.write(bytes, deadline)) {
        Some(Err(DockerError::TimedOut)) => {
            let message = "the sandbox did not take its orders in time";
            Err(Failure::new(FailureKind::Timeout, message))
        }
        _ => Ok(()),
    }
}

/// Waits for what a process writes.
pub(super) fn hear_from(
    streams: Option<&mut Attached>,
    deadline: Deadline,
    take: &mut dyn FnMut(Output<'_>),
) -> Result<Heard, Failure> {
    let Some(streams) = streams else {
        return Ok(Heard::End);
    };
    let read = streams.read(deadline, &mut |output| match output {
        docker::Output::Stdout(bytes) => take(Output::Frames(bytes)),
        docker::Output::Stderr(bytes) => take(Output::Printed(bytes)),
    });
    match read {
        Ok(true) => Ok(Heard::Output),
        Ok(false) => Ok(Heard::End),
        Err(DockerError::TimedOut) => Ok(Heard::Silence),
        // A daemon that dies resets its streams; `exit` then tells the two apart.
        Err(DockerError::Unreachable(_)) => Ok(Heard::End),
        Err(error) => Err(unavailable(&error)),
    }
}

impl Drop for DockerCell {
    fn drop(&mut self) {
        self.streams = None;
        if !self.id.is_empty() {
            self.disposal.later(std::mem::take(&mut self.id));
        }
    }
}

impl Cell for DockerCell {
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
        let asked = self.daemon.await_exit(&self.id, deadline);
        let state = asked.and_then(|()| self.daemon.container_state(&self.id, deadline));
        match state {
            Ok(State::Exited(exit)) => Ok(Exit {
                code: exit.code,
                oom_killed: exit.oom_killed,
            }),
            Ok(State::Running) => {
                let message = "the sandbox lost its connection: try again";
                Err(Failure::new(FailureKind::EngineUnavailable, message))
            }
            Err(error) => Err(unavailable(&error)),
        }
    }

    fn has_ended(&mut self) -> bool {
        // A parked runner says nothing; one that did is not to be trusted.
        !self.streams.as_mut().is_some_and(Attached::is_silent)
    }

    fn image(&self) -> Option<&UsedImage> {
        Some(&self.image)
    }

    fn destroy(mut self: Box<Self>) {
        // A daemon with output that nobody takes would wait with the kill.
        self.streams = None;
        let id = std::mem::take(&mut self.id);
        self.disposal.now(&id);
    }
}
