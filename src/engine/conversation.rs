//! One job with one runner, from sending it to its end: limits on time and output, what the code
//! says meanwhile, and which failure it was. It never destroys the cell; its caller does, whatever
//! came.

use std::time::{Duration, Instant};

use super::cell::{Cell, Heard, Output, explain_exit};
use super::frames::{ClaimedKind, Done, FrameReader, FromRunner, ToRunner};
use crate::base::deadline::Deadline;
use crate::base::ids::random_hex;
use crate::base::text::{Tail, clip};
use crate::domain::asking::{Answer, Ask, MAX_WAIT};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::run::{Cancel, Ended, Job, Observer, Returned};

/// What a failure shows of the printed output, in bytes.
const STDERR_TAIL_BYTES: usize = 4096;
/// Everything a run may print, in bytes, before it is stopped.
const MAX_DRAINED_BYTES: usize = 64 * 1024 * 1024;
/// Longest message of an error that is passed on, in bytes.
const MAX_MESSAGE_BYTES: usize = 16 * 1024;
/// What a frame needs around the result it carries, in bytes.
const FRAME_OVERHEAD_BYTES: usize = 128 * 1024;
/// What the runner is written for.
const OLDEST_NODE: u32 = 20;
/// How often a silent run is asked whether it was cancelled.
const CANCEL_CHECK: Duration = Duration::from_millis(50);
/// What code gets to react to `ctx.signal` before its cell is destroyed.
const ABORT_GRACE: Duration = Duration::from_millis(500);
/// How long what was printed last may take after `done`.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long the news of an exit may take after the streams ended.
const EXIT_NEWS: Duration = Duration::from_secs(15);

/// No place to run in was ready before the caller's patience ended.
pub(super) fn none_in_time() -> Failure {
    let message = "no sandbox was ready in time: try again later";
    Failure::new(FailureKind::Busy, message).retry_after(1000)
}

/// Waits until the runner says that it is ready, on a Node.js that suits.
pub(super) fn await_ready(cell: &mut dyn Cell, deadline: Deadline) -> Result<(), Failure> {
    let mut frames = FrameReader::new(FRAME_OVERHEAD_BYTES);
    let mut stderr = Tail::new(STDERR_TAIL_BYTES);
    let mut node = None;
    loop {
        let heard = cell.hear(deadline, &mut |output| match output {
            Output::Frames(bytes) => frames.read(bytes, &mut |frame| {
                if let FromRunner::Ready { node: version } = frame {
                    node = Some(version);
                }
            }),
            Output::Printed(bytes) => stderr.push(bytes),
        })?;
        match (node.take(), heard) {
            (Some(version), _) => return suits(&version),
            (None, Heard::Output) => {}
            (None, Heard::Silence) => {
                return Err(none_in_time());
            }
            (None, Heard::End) => {
                let exit = cell.exit(Deadline::after(EXIT_NEWS))?;
                let mut failure = Failure::new(
                    FailureKind::Policy,
                    format!(
                        "the image cannot run tools: its start ended with {}; images need sh and \
                         Node.js 20 or newer",
                        exit.code
                    ),
                );
                failure.stderr = stderr.text();
                return Err(failure);
            }
        }
    }
}

fn suits(node: &str) -> Result<(), Failure> {
    let major = node.split('.').next().and_then(|major| major.parse().ok());
    if major.is_some_and(|major: u32| major >= OLDEST_NODE) {
        return Ok(());
    }
    let message = format!(
        "the image cannot run tools: its Node.js is {}; images need sh and Node.js {OLDEST_NODE} \
         or newer",
        clip(node, 40)
    );
    Err(Failure::new(FailureKind::Policy, message))
}

/// Sends the job to a ready runner and stays with it to its end.
pub(super) fn converse(
    cell: &mut dyn Cell,
    job: &Job,
    layer: Option<&str>,
    result_limit: usize,
    cancel: &Cancel,
    observer: &mut dyn Observer,
) -> Ended {
    let conversation = Conversation {
        cell,
        deadline: Deadline::after(job.timeout),
        timeout: job.timeout,
        extended: Duration::ZERO,
        result_limit,
        frames: FrameReader::new(result_limit.saturating_add(FRAME_OVERHEAD_BYTES)),
        stderr: Tail::new(STDERR_TAIL_BYTES),
        drained: 0,
        finished: false,
        aborted: false,
        owes_answers: false,
        layer_unseen: layer.is_some(),
    };
    conversation.run(job, layer, cancel, observer)
}

struct Conversation<'a> {
    cell: &'a mut dyn Cell,
    deadline: Deadline,
    timeout: Duration,
    /// By how much questions to the client have moved the deadline.
    extended: Duration,
    result_limit: usize,
    frames: FrameReader,
    stderr: Tail,
    drained: usize,
    /// Whether the runner has said `done`.
    finished: bool,
    /// Whether the runner was told of a cancellation.
    aborted: bool,
    /// Whether the code asked what is not answered in this run.
    owes_answers: bool,
    /// Whether the runner has still to say that the job's layer is there.
    layer_unseen: bool,
}

/// The job's layer was removed from the volume before the code began.
fn layer_gone() -> Failure {
    let message = "the installed packages have gone: try again";
    Failure::new(FailureKind::EngineUnavailable, message).retry_after(0)
}

/// Leaves what the code printed: V8's page on its heap says nothing about the code.
fn forget_heap_report(printed: &mut String) {
    if let Some(start) = printed.find("<--- Last few GCs --->") {
        printed.truncate(start);
        printed.truncate(printed.trim_end().len());
    }
}

/// Whether a run ended as [`layer_gone`]: none of its code has run.
pub(super) fn is_layer_gone(failure: &Failure) -> bool {
    *failure == layer_gone()
}

/// The caller, or the server's shutdown, stopped the call.
pub(super) fn cancelled() -> Failure {
    Failure::new(FailureKind::Cancelled, "the call was cancelled")
}

impl Conversation<'_> {
    fn run(
        mut self,
        job: &Job,
        layer: Option<&str>,
        cancel: &Cancel,
        observer: &mut dyn Observer,
    ) -> Ended {
        let began = Instant::now();
        let outcome = self.stay(job, layer, cancel, observer);
        let duration = began.elapsed();
        let outcome = outcome.map_err(|mut failure| {
            self.hear_out();
            // Code that heard of the cancellation and stopped did as it was told; where it listens no
            // more, the time that runs out is that of its grace.
            if self.aborted && matches!(failure.kind, FailureKind::Threw | FailureKind::Timeout) {
                failure = cancelled();
            }
            // Replacing broken UTF-8 makes text longer.
            let text = self.stderr.text();
            let start = text.ceil_char_boundary(text.len().saturating_sub(STDERR_TAIL_BYTES));
            failure.stderr = text.get(start..).unwrap_or_default().to_owned();
            if failure.kind == FailureKind::OutOfMemory {
                forget_heap_report(&mut failure.stderr);
            }
            failure
        });
        Ended {
            outcome,
            duration,
            image: self.cell.image().cloned(),
        }
    }

    fn stay(
        &mut self,
        job: &Job,
        layer: Option<&str>,
        cancel: &Cancel,
        observer: &mut dyn Observer,
    ) -> Result<Returned, Failure> {
        let nonce = random_hex();
        self.frames.expect_nonce(&nonce);
        let frame = ToRunner::Job {
            nonce: &nonce,
            code: &job.code,
            args: job.args.text(),
            layer,
            result_limit: self.result_limit,
            console: observer.wants_console(),
        };
        self.cell.send(&frame.encode(), self.deadline)?;
        loop {
            self.heed(cancel)?;
            let (heard, frames) = self.hear()?;
            for frame in frames {
                if let Some(outcome) = self.obey(frame, observer)? {
                    return outcome;
                }
                // One read may bring many, and each may take its time.
                self.heed(cancel)?;
            }
            if self.drained > MAX_DRAINED_BYTES {
                let message = format!("the code printed more than {MAX_DRAINED_BYTES} bytes");
                return Err(Failure::new(FailureKind::OutputTooLarge, message));
            }
            if heard == Heard::End {
                let exit = self.cell.exit(Deadline::after(EXIT_NEWS))?;
                return Err(explain_exit(exit, &self.stderr.text()));
            }
        }
    }

    /// Tells the runner of a cancellation, once; fails when the time is over.
    fn heed(&mut self, cancel: &Cancel) -> Result<(), Failure> {
        if cancel.is_cancelled() && !self.aborted {
            self.aborted = true;
            self.deadline = self.deadline.or_earlier(Deadline::after(ABORT_GRACE));
            self.cell
                .send(&ToRunner::Abort(true).encode(), self.deadline)?;
        }
        match self.deadline.remaining() {
            Some(_) => Ok(()),
            None => Err(self.overdue()),
        }
    }

    /// What was printed before a failure may still be on its way: its stream is another than the
    /// frames'. The runner ends after `done`, and then so do its streams.
    fn hear_out(&mut self) {
        let deadline = Deadline::after(LAST_WORDS);
        while self.finished && self.drained <= MAX_DRAINED_BYTES {
            let (stderr, drained) = (&mut self.stderr, &mut self.drained);
            let heard = self.cell.hear(deadline, &mut |output| match output {
                Output::Frames(bytes) => *drained += bytes.len(),
                Output::Printed(bytes) => {
                    *drained += bytes.len();
                    stderr.push(bytes);
                }
            });
            self.finished = matches!(heard, Ok(Heard::Output));
        }
    }

    fn hear(&mut self) -> Result<(Heard, Vec<FromRunner>), Failure> {
        let (frames, stderr, drained) = (&mut self.frames, &mut self.stderr, &mut self.drained);
        let mut complete = Vec::new();
        let wait = self.deadline.or_earlier(Deadline::after(CANCEL_CHECK));
        let heard = self.cell.hear(wait, &mut |output| match output {
            Output::Frames(bytes) => {
                *drained += bytes.len();
                frames.read(bytes, &mut |frame| complete.push(frame));
            }
            Output::Printed(bytes) => {
                *drained += bytes.len();
                stderr.push(bytes);
            }
        })?;
        Ok((heard, complete))
    }

    /// Acts on a frame; `Some` when it ends the job.
    fn obey(
        &mut self,
        frame: FromRunner,
        observer: &mut dyn Observer,
    ) -> Result<Option<Result<Returned, Failure>>, Failure> {
        // Its first frame; whatever comes later may be the author's code speaking.
        let layer_awaited = std::mem::take(&mut self.layer_unseen);
        match frame {
            FromRunner::Layer(false) if layer_awaited => return Err(layer_gone()),
            FromRunner::Done(done) => {
                self.finished = true;
                return Ok(Some(self.judge(done)));
            }
            FromRunner::Log { level, data } => observer.log(&level, &data),
            FromRunner::Progress {
                done,
                total,
                message,
            } => {
                observer.progress(done.unwrap_or(0.0), total, message.as_deref());
            }
            FromRunner::Ask {
                id,
                kind,
                key,
                params,
            } => {
                let asked = Instant::now();
                let answer = observer.ask(Ask { kind, key, params });
                self.extend(asked.elapsed());
                let (value, error) = match &answer {
                    Answer::Value(value) => (Some(value.text()), None),
                    Answer::Refused(why) => (None, Some(why.as_str())),
                    Answer::Later => {
                        self.owes_answers = true;
                        (None, None)
                    }
                };
                let frame = ToRunner::Answer { id, value, error };
                self.cell.send(&frame.encode(), self.deadline)?;
            }
            FromRunner::Ready { .. } | FromRunner::Checked { .. } | FromRunner::Layer(_) => {}
        }
        Ok(None)
    }

    /// The client's time is not the code's, as far as a client may take it.
    fn extend(&mut self, waited: Duration) {
        if !self.aborted {
            let more = waited.min(MAX_WAIT.saturating_sub(self.extended));
            self.extended += more;
            self.deadline = self.deadline.later_by(more);
        }
    }

    fn judge(&self, done: Done) -> Result<Returned, Failure> {
        if done.waiting && self.owes_answers {
            return Ok(Returned::Waiting);
        }
        if done.ok {
            let (text, returned) = match (done.content, done.value) {
                (Some(content), _) => (content.clone(), Returned::Content(content)),
                (None, Some(value)) => (value.clone(), Returned::Value(value)),
                (None, None) => {
                    let message = "the result frame carries no result";
                    return Err(Failure::new(FailureKind::InvalidResult, message));
                }
            };
            if text.text().len() > self.result_limit {
                let message = format!("the result is larger than {} bytes", self.result_limit);
                return Err(Failure::new(FailureKind::OutputTooLarge, message));
            }
            return Ok(returned);
        }
        let kind = match done.kind {
            Some(ClaimedKind::InvalidResult) => FailureKind::InvalidResult,
            Some(ClaimedKind::OutputTooLarge) => FailureKind::OutputTooLarge,
            Some(ClaimedKind::Threw) | None => FailureKind::Threw,
        };
        let message = done.message.unwrap_or_default();
        let mut failure = Failure::new(kind, clip(&message, MAX_MESSAGE_BYTES));
        failure.line = done.line;
        failure.column = done.column;
        Err(failure)
    }

    fn overdue(&self) -> Failure {
        let limit = self.timeout.as_millis();
        let message = format!("the code did not finish within timeoutMs ({limit} ms)");
        Failure::new(FailureKind::Timeout, message)
    }
}
