//! The audit log: one line an act, each bound to the one before by SHA-256, written before the act
//! is answered. What cannot be written is refused. Which acts there are, and what may be said of
//! each, stands in [`event`]; who may act never stands here.
//!
//! An act is a value: [`Audit::begin`] makes it, [`Act::finish`] ends it, and dropping it writes
//! that it was aborted. Without MCP_AUDIT_ENABLED the same calls do nothing.

mod chain;
pub mod event;
mod flood;
mod log_file;
mod record;
mod redaction;
mod rotation;
mod tail;
#[cfg(test)]
mod tests;
pub mod verify;
mod writer;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::Sender;
use serde_json::{Map, Value, json};

use crate::base::secret::Secret;
use crate::config::{AuditConfig, AuditFailure};
use crate::metrics::Metrics;

pub use event::{ActResult, Action, Actor, Change, CodeDigest, Details, Event};
pub use log_file::OpenError;
pub use redaction::is_sensitive;

use flood::{Proven, Refusals};
use log_file::LogFile;
use record::Body;
use redaction::Redactor;
use writer::{Common, Limits, Request, Writer};

/// Acts that may wait for the writer; the next ones wait to be let in.
const QUEUE: usize = 1024;
/// How long an act waits for its line: a disk that hangs must not take every worker with it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lines of the longest size that must have space before an act begins.
const RESERVED_LINES: u64 = 2;

/// Tells the time of a line; its order is told by `seq`.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// What a log is made with.
pub struct AuditOptions {
    /// The operator's choices.
    pub config: AuditConfig,
    /// Who writes: the id of this instance.
    pub instance: String,
    /// Values that never appear in the log.
    pub secrets: Vec<Secret>,
    /// Counts of lines.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Clock,
}

impl fmt::Debug for AuditOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AuditOptions")
            .field("config", &self.config)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

/// The act has no line in the log, so it must not happen (or must not be said to have happened).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unaudited;

impl fmt::Display for Unaudited {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(
            "this act cannot be audited, so it is refused; the operator finds the cause at /readyz",
        )
    }
}

impl std::error::Error for Unaudited {}

/// How the log is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Why nothing can be written.
    pub trouble: Option<String>,
    /// Bytes left on its file system, where known.
    pub free_bytes: Option<u64>,
}

/// Where acts are written. Clones write to the same log.
#[derive(Clone)]
pub struct Audit(Option<Arc<Log>>);

struct Log {
    requests: Sender<Request>,
    common: Arc<Common>,
    proven: Mutex<Proven>,
    on_failure: AuditFailure,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Audit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match &self.0 {
            Some(_) => "Audit(on)",
            None => "Audit(off)",
        })
    }
}

impl Audit {
    /// Writes nothing and refuses nothing.
    pub fn off() -> Self {
        Self(None)
    }

    /// Opens the log, mends its end where a crash tore it, and starts its writer.
    ///
    /// # Errors
    /// [`OpenError`], naming what to change.
    pub fn open(options: AuditOptions) -> Result<Self, OpenError> {
        let config = options.config;
        let reserve = RESERVED_LINES * config.max_event_bytes as u64;
        let opened = LogFile::open(&config.file, config.max_files, reserve)?;
        let common = Arc::new(Common {
            redactor: Redactor::new(&options.secrets),
            max_event_bytes: config.max_event_bytes,
            refusals: Mutex::new(Refusals::default()),
            status: Mutex::default(),
            metrics: options.metrics,
        });
        let limits = Limits {
            max_file_bytes: config.max_file_bytes,
            sync: config.sync,
        };
        let (shared, instance, clock) = (Arc::clone(&common), options.instance, options.clock);
        let writer = Writer::new(shared, limits, instance, clock, opened);
        let (requests, asked) = crossbeam_channel::bounded(QUEUE);
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(&asked))
            .map_err(|error| OpenError::Io(config.file, error))?;
        Ok(Self(Some(Arc::new(Log {
            requests,
            common,
            proven: Mutex::default(),
            on_failure: config.on_failure,
            thread: Mutex::new(Some(thread)),
        }))))
    }

    /// Begins an act. Of an execution, the line before it is written, with `details`; of anything
    /// else, it is made sure that a line can be written.
    ///
    /// # Errors
    /// [`Unaudited`]: the act must not happen.
    pub fn begin(&self, event: Event, details: Details) -> Result<Act, Unaudited> {
        if event.action.is_execution() {
            return self.intend(event, details);
        }
        let Some(log) = &self.0 else {
            return Ok(Act(None));
        };
        log.ask(Request::Probe)?;
        Ok(Act(Some(Begun {
            log: Arc::clone(log),
            event,
            details: details.into_map(),
        })))
    }

    /// Begins an act of whatever kind with the line before it.
    ///
    /// # Errors
    /// [`Unaudited`]: the act must not happen.
    pub fn intend(&self, event: Event, details: Details) -> Result<Act, Unaudited> {
        let Some(log) = &self.0 else {
            return Ok(Act(None));
        };
        let mut details = details.into_map();
        let mut intent = details.clone();
        intent.insert("phase".to_owned(), json!("intent"));
        let seq = log.write(&event, ActResult::Success, intent)?;
        details.insert("phase".to_owned(), json!("outcome"));
        details.insert("intentSeq".to_owned(), json!(seq));
        Ok(Act(Some(Begun {
            log: Arc::clone(log),
            event,
            details,
        })))
    }

    /// Writes an act that is over in one line.
    ///
    /// # Errors
    /// [`Unaudited`]: it must not count as done.
    pub fn record(
        &self,
        event: &Event,
        result: ActResult,
        details: Details,
    ) -> Result<(), Unaudited> {
        match &self.0 {
            Some(log) => log.write(event, result, details.into_map()).map(drop),
            None => Ok(()),
        }
    }

    /// Writes that something was not allowed. Floods of it are counted and told in one line; it
    /// is refused anyway, so that a failure to write changes nothing for the caller.
    pub fn deny(&self, event: &Event, reason: &'static str, retry_after_ms: Option<u64>) {
        let Some(log) = &self.0 else { return };
        let whole = lock(&log.common.refusals).note(Instant::now(), event, reason);
        if whole {
            let details = Details::Refused {
                reason,
                retry_after_ms,
            };
            let _ = log.write(event, ActResult::Denied, details.into_map());
        }
    }

    /// Writes that a caller proved who it is: once in five minutes for each caller and `token`,
    /// the SHA-256 of what it proved itself with, however that was spelled in the request.
    ///
    /// # Errors
    /// [`Unaudited`]: the request must be refused.
    pub fn authenticated(
        &self,
        event: &Event,
        token: &[u8; 32],
        details: Details,
    ) -> Result<(), Unaudited> {
        let Some(log) = &self.0 else { return Ok(()) };
        let actor = &event.actor;
        if !lock(&log.proven).note(Instant::now(), actor, token) {
            return Ok(());
        }
        let written = log.write(event, ActResult::Success, details.into_map());
        if written.is_err() {
            lock(&log.proven).forget(actor, token);
        }
        written.map(drop)
    }

    /// How the log is; `None` where there is none.
    pub fn status(&self) -> Option<Status> {
        let log = self.0.as_ref()?;
        Some(lock(&log.common.status).clone())
    }

    /// Writes the last line, `server.stop`, and ends; acts after it are refused.
    pub fn stop(&self) {
        let Some(log) = &self.0 else { return };
        let event = Event::of_server(Action::ServerStop, "");
        let body = log.body(&event, ActResult::Success, Map::new());
        if log.ask(|reply| Request::Stop(body, reply)).is_err() {
            log::error!("the end of the server could not be audited");
        }
        // The writer answers before its last fsync.
        if let Some(thread) = lock(&log.thread).take()
            && thread.join().is_err()
        {
            log::error!("the audit writer had panicked");
        }
    }
}

impl Log {
    /// The line's sequence number, or 0 where there is none and that does not matter.
    fn write(
        &self,
        event: &Event,
        result: ActResult,
        details: Map<String, Value>,
    ) -> Result<u64, Unaudited> {
        let body = self.body(event, result, details);
        self.ask(|reply| Request::Write(body, reply))
    }

    fn body(&self, event: &Event, result: ActResult, details: Map<String, Value>) -> Body {
        let common = &self.common;
        Body::new(
            event,
            result,
            details,
            &common.redactor,
            common.max_event_bytes,
        )
    }

    fn ask(
        &self,
        request: impl FnOnce(Sender<writer::Reply>) -> Request,
    ) -> Result<u64, Unaudited> {
        let deadline = Instant::now() + PATIENCE;
        let (reply, answer) = crossbeam_channel::bounded(1);
        let answer = match self.requests.send_deadline(request(reply), deadline) {
            Ok(()) => answer.recv_deadline(deadline).ok().flatten(),
            Err(_) => None,
        };
        match (answer, self.on_failure) {
            (Some(seq), _) => Ok(seq),
            (None, AuditFailure::GoOn) => Ok(0),
            (None, AuditFailure::Refuse) => Err(Unaudited),
        }
    }
}

impl Drop for Log {
    /// Waits for the writer, so that the file and its lock are free afterwards.
    fn drop(&mut self) {
        let (nobody, _) = crossbeam_channel::bounded(0);
        drop(std::mem::replace(&mut self.requests, nobody));
        if let Some(thread) = lock(&self.thread).take() {
            let _ = thread.join();
        }
    }
}

/// An act that has begun. It must be finished: dropped, it counts as aborted.
#[derive(Debug)]
#[must_use = "an act that is dropped is written as aborted"]
pub struct Act(Option<Begun>);

struct Begun {
    log: Arc<Log>,
    event: Event,
    details: Map<String, Value>,
}

impl fmt::Debug for Begun {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.event.fmt(formatter)
    }
}

impl Act {
    /// Writes how the act ended.
    ///
    /// # Errors
    /// [`Unaudited`]: its result must not be given away.
    pub fn finish(mut self, result: ActResult, details: Details) -> Result<(), Unaudited> {
        match self.0.take() {
            Some(begun) => begun.end(result, details),
            None => Ok(()),
        }
    }
}

impl Drop for Act {
    fn drop(&mut self) {
        if let Some(begun) = self.0.take() {
            let aborted = Details::Failed { outcome: "aborted" };
            let _ = begun.end(ActResult::Error, aborted);
        }
    }
}

impl Begun {
    fn end(self, result: ActResult, details: Details) -> Result<(), Unaudited> {
        let mut all = self.details;
        all.extend(details.into_map());
        self.log.write(&self.event, result, all).map(drop)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
