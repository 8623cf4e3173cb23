//! The one thread that writes the log: it gathers what waits, writes it in one go, and answers
//! those who wait once it is written (or on the disk). When it cannot write it says so, and tries
//! again with every act and every second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::chain::{Chain, ChainBreak};
use super::event::{ActResult, Details};
use super::flood::{Refusals, Summary};
use super::log_file::{LogFile, Trouble};
use super::record::Body;
use super::redaction::Redactor;
use super::tail::Tail;
use super::{Clock, Status};
use crate::base::clock::rfc3339;
use crate::config::AuditSync;
use crate::metrics::Metrics;

/// How long a written line may wait for the disk.
const SYNC_WITHIN: Duration = Duration::from_millis(50);
/// Of that, what is kept for the fsync itself to begin in time.
const SYNC_AFTER: Duration = Duration::from_millis(25);
/// How often the file and the space are looked at while nothing happens.
const TICK: Duration = Duration::from_secs(1);
/// Most acts written in one go.
const MAX_BATCH: usize = 256;
const _: () = assert!(SYNC_AFTER.as_millis() < SYNC_WITHIN.as_millis());

/// The answer to one who waits: the line's sequence number, or `None` where there is no line.
pub(super) type Reply = Option<u64>;

/// What the thread is asked to do.
#[derive(Debug)]
pub(super) enum Request {
    /// Write a line.
    Write(Body, Sender<Reply>),
    /// Say whether a line could be written; the number in the answer means nothing.
    Probe(Sender<Reply>),
    /// Write the counts and this last line, bring all to the disk, end.
    Stop(Body, Sender<Reply>),
}

/// What the thread shares with those who ask it.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) redactor: Redactor,
    pub(super) max_event_bytes: usize,
    pub(super) refusals: Mutex<Refusals>,
    pub(super) status: Mutex<Status>,
    pub(super) metrics: Arc<Metrics>,
}

impl Common {
    pub(super) fn summary_body(&self, summary: Summary) -> Body {
        let details = Details::Folded {
            reason: summary.reason,
            folded: summary.folded,
            seconds: summary.seconds,
        };
        Body::new(
            &summary.event,
            ActResult::Denied,
            details.into_map(),
            &self.redactor,
            self.max_event_bytes,
        )
    }
}

/// How the thread writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_file_bytes: u64,
    pub(super) sync: AuditSync,
}

/// The thread's own state.
pub(super) struct Writer {
    common: Arc<Common>,
    limits: Limits,
    instance: String,
    clock: Clock,
    log: LogFile,
    chain: Chain,
    /// What the next line has to say.
    broken: Option<ChainBreak>,
    trouble: Option<Trouble>,
    /// Acts without a line since the trouble began.
    unrecorded: u64,
    unsynced_since: Option<Instant>,
}

/// Lines on their way into the file.
struct Pending {
    lines: Vec<u8>,
    waiting: Vec<(u64, Option<Sender<Reply>>)>,
    /// The chain before them.
    before: Chain,
}

impl Writer {
    pub(super) fn new(
        common: Arc<Common>,
        limits: Limits,
        instance: String,
        clock: Clock,
        (log, tail): (LogFile, Tail),
    ) -> Self {
        Self {
            common,
            limits,
            instance,
            clock,
            log,
            chain: tail.chain,
            broken: tail.broken,
            trouble: None,
            unrecorded: 0,
            unsynced_since: None,
        }
    }

    /// Until told to stop, or nobody is left to ask.
    pub(super) fn run(mut self, requests: &Receiver<Request>) {
        let mut tick = Instant::now();
        loop {
            let now = Instant::now();
            if now >= tick {
                self.look();
                let due = self.lock_refusals().due(now);
                self.write_summaries(due);
                tick = now + TICK;
            }
            // In trouble the disk waits for the mend, and nobody spins for it.
            let unsynced = self.unsynced_since.filter(|_| self.trouble.is_none());
            let sync_at = unsynced.map(|since| since + SYNC_AFTER);
            if sync_at.is_some_and(|at| now >= at) {
                self.sync();
            }
            let wake = sync_at.map_or(tick, |at| at.min(tick));
            let first = match requests.recv_deadline(wake) {
                Ok(request) => request,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let others = requests.try_iter().take(MAX_BATCH - 1);
            let batch: Vec<_> = std::iter::once(first).chain(others).collect();
            if let Some(last) = self.serve(batch) {
                self.write_counts();
                self.write(vec![last]);
                return self.sync();
            }
        }
        self.write_counts();
        self.sync();
    }

    /// Serves what was asked, in that order; the last line, where there shall be no other one.
    fn serve(&mut self, batch: Vec<Request>) -> Option<(Body, Option<Sender<Reply>>)> {
        let mut bodies = Vec::with_capacity(batch.len());
        let mut probes = Vec::new();
        let mut last = None;
        for request in batch {
            match request {
                Request::Write(body, reply) => bodies.push((body, Some(reply))),
                Request::Probe(reply) => probes.push(reply),
                Request::Stop(body, reply) => last = Some((body, Some(reply))),
            }
        }
        self.write(bodies);
        if !probes.is_empty() {
            let able = self.is_able();
            for reply in probes {
                match able {
                    true => drop(reply.try_send(Some(self.chain.seq))),
                    false => self.refuse(Some(reply)),
                }
            }
        }
        last
    }

    fn write_counts(&mut self) {
        let counts = self.lock_refusals().all(Instant::now());
        self.write_summaries(counts);
    }

    fn write_summaries(&mut self, summaries: Vec<Summary>) {
        let bodies = summaries.into_iter();
        let bodies = bodies.map(|summary| (self.common.summary_body(summary), None));
        let bodies: Vec<_> = bodies.collect();
        self.write(bodies);
    }

    /// Writes all bodies, in files of at most the largest size.
    fn write(&mut self, bodies: Vec<(Body, Option<Sender<Reply>>)>) {
        let mut pending = self.nothing_pending();
        for (body, reply) in bodies {
            if self.trouble.is_some() && !self.mend() {
                self.refuse(reply);
                continue;
            }
            let (before, time) = (self.chain, rfc3339((self.clock)()));
            let broken = self.broken.as_ref().filter(|_| pending.lines.is_empty());
            let max = self.common.max_event_bytes;
            let mut line = self.chain.seal(&body, &time, &self.instance, broken, max);
            let length = self.log.length() + pending.lines.len() as u64;
            if length > 0 && length + line.len() as u64 > self.limits.max_file_bytes {
                self.chain = before;
                self.flush(&mut pending);
                if !self.rotate() {
                    self.refuse(reply);
                    continue;
                }
                let broken = self.broken.as_ref();
                line = self.chain.seal(&body, &time, &self.instance, broken, max);
            }
            pending.lines.extend_from_slice(line.as_bytes());
            pending.waiting.push((self.chain.seq, reply));
        }
        self.flush(&mut pending);
    }

    fn nothing_pending(&self) -> Pending {
        Pending {
            lines: Vec::new(),
            waiting: Vec::new(),
            before: self.chain,
        }
    }

    /// Writes what is pending and answers; after it nothing is.
    fn flush(&mut self, pending: &mut Pending) {
        let done = std::mem::replace(pending, self.nothing_pending());
        if done.lines.is_empty() {
            return;
        }
        let written = self.log.append(&done.lines);
        if written.is_ok() {
            if let Some(broken) = self.broken.take() {
                log::warn!("the audit log goes on after a break: {}", broken.reason);
            }
            self.unrecorded = 0;
            self.unsynced_since.get_or_insert_with(Instant::now);
            if self.limits.sync == AuditSync::Each {
                self.sync();
            }
        }
        // A failed fsync counts as failed to those who were promised one.
        let promised = self.limits.sync == AuditSync::Each;
        let safe = written.is_ok() && !(promised && self.trouble.is_some());
        if let Err(trouble) = written {
            self.chain = done.before;
            pending.before = self.chain;
            self.enter(trouble);
        }
        if safe {
            let (count, bytes) = (done.waiting.len(), done.lines.len());
            self.common.metrics.count_audit_written(count, bytes);
        }
        for (seq, reply) in done.waiting {
            match (safe, reply) {
                (true, Some(reply)) => drop(reply.try_send(Some(seq))),
                (true, None) => {}
                (false, reply) => self.refuse(reply),
            }
        }
    }

    fn refuse(&mut self, reply: Option<Sender<Reply>>) {
        self.unrecorded += 1;
        self.common.metrics.count_audit_failed();
        if let Some(reply) = reply {
            let _ = reply.try_send(None);
        }
    }

    /// Whether a line could be written now.
    fn is_able(&mut self) -> bool {
        if self.trouble.is_none()
            && let Err(trouble) = self.log.check().and_then(|()| self.log.check_space())
        {
            self.enter(trouble);
            return false;
        }
        self.trouble.is_none() || self.mend()
    }

    fn rotate(&mut self) -> bool {
        if self.trouble.is_some() {
            return false;
        }
        match self.log.rotate() {
            Ok(()) => {
                self.unsynced_since = None;
                true
            }
            Err(trouble) => {
                self.enter(trouble);
                false
            }
        }
    }

    fn sync(&mut self) {
        if self.unsynced_since.is_none() || self.trouble.is_some() {
            return;
        }
        match self.log.sync() {
            Ok(()) => {
                self.unsynced_since = None;
                self.common.metrics.count_audit_sync();
            }
            Err(trouble) => self.enter(trouble),
        }
    }

    /// Looks whether the file is well and how much space is left.
    fn look(&mut self) {
        let was_able = self.trouble.is_none();
        if self.is_able() || !was_able {
            self.publish();
        }
    }

    fn enter(&mut self, trouble: Trouble) {
        if self.broken.is_none() {
            log::error!("acts cannot be audited: {trouble}");
        }
        self.trouble = Some(trouble);
        self.publish();
    }

    fn mend(&mut self) -> bool {
        let Some(trouble) = self.trouble.take() else {
            return true;
        };
        match self.log.mend(&trouble) {
            Ok(reason) => {
                // What an earlier trouble had to say and could not is not forgotten.
                let mut broken = self
                    .broken
                    .take()
                    .unwrap_or_else(|| ChainBreak::new(reason));
                broken.unrecorded = self.unrecorded;
                self.broken = Some(broken);
                self.unsynced_since.get_or_insert_with(Instant::now);
                self.publish();
                true
            }
            Err(now) => {
                self.trouble = Some(now);
                false
            }
        }
    }

    fn publish(&self) {
        let free_bytes = self.log.check_space().ok();
        let trouble = self.trouble.as_ref().map(ToString::to_string);
        *self
            .common
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Status {
            trouble,
            free_bytes,
        };
    }

    fn lock_refusals(&self) -> std::sync::MutexGuard<'_, Refusals> {
        let refusals = &self.common.refusals;
        refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
