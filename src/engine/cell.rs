//! A confined process that the runner speaks from, whatever confines it.

use crate::base::deadline::Deadline;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::image::UsedImage;

/// Bytes that left a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output<'a> {
    /// The channel of frames.
    Frames(&'a [u8]),
    /// Everything printed.
    Printed(&'a [u8]),
}

/// What waiting for a cell brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Output was handed over.
    Output,
    /// Nothing came before the deadline.
    Silence,
    /// The process has closed its streams: it has ended, or is about to.
    End,
}

/// How the process in a cell ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exit {
    /// Exit code; 128 + n for signal n.
    pub(super) code: i64,
    /// The kernel killed for memory.
    pub(super) oom_killed: bool,
}

/// One confined runner.
pub(super) trait Cell {
    /// Sends bytes to the runner.
    fn send(&mut self, bytes: &[u8], deadline: Deadline) -> Result<(), Failure>;

    /// Waits for output.
    fn hear(
        &mut self,
        deadline: Deadline,
        take: &mut dyn FnMut(Output<'_>),
    ) -> Result<Heard, Failure>;

    /// How the process ended, once its streams have; waits a little for the news.
    fn exit(&mut self, deadline: Deadline) -> Result<Exit, Failure>;

    /// Whether a cell that nobody has spoken to yet has ended by itself.
    fn has_ended(&mut self) -> bool;

    /// The image that it was made of, where there is one.
    fn image(&self) -> Option<&UsedImage> {
        None
    }

    /// Kills what is inside and waits until it is gone.
    fn destroy(self: Box<Self>);
}

/// The exit of a runner that never said `done`, as the caller reads it.
pub(super) fn explain_exit(exit: Exit, stderr: &str) -> Failure {
    let heap = exit.code == 134 && stderr.contains("heap out of memory");
    if heap || exit.oom_killed {
        let what = if heap {
            "the JavaScript heap"
        } else {
            "the sandbox's memory"
        };
        return Failure::new(
            FailureKind::OutOfMemory,
            format!("the code ran out of memory ({what}): keep less data at once"),
        );
    }
    let how = match exit.code - 128 {
        signal @ 1..=64 => signal_name(signal),
        _ => exit.code.to_string(),
    };
    Failure::new(
        FailureKind::Threw,
        format!("process ended with {how} before returning"),
    )
}

/// Names of the signals that programs die of (Linux numbers).
fn signal_name(signal: i64) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_without_a_result() {
        let check = |code, oom_killed, stderr: &str, kind, message: &str| {
            let failure = explain_exit(Exit { code, oom_killed }, stderr);
            assert_eq!(failure.kind, kind, "{code}");
            assert!(failure.message.contains(message), "{}", failure.message);
        };
        let heap =
            "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory";
        check(134, false, heap, FailureKind::OutOfMemory, "heap");
        check(134, false, "", FailureKind::Threw, "ended with SIGABRT");
        check(1, false, heap, FailureKind::Threw, "ended with 1");
        check(137, true, "", FailureKind::OutOfMemory, "sandbox's memory");
        check(137, false, "", FailureKind::Threw, "ended with SIGKILL");
        check(0, false, "", FailureKind::Threw, "ended with 0");
    }
}
