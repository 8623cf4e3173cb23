//! The way into a run, the same for all that run something: not while the server goes, with a slot,
//! and with its phases observed.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Tools;
use super::call::{CallContext, refused};
use crate::base::deadline::Deadline;
use crate::domain::failure::{Failure, FailureKind};
use crate::guard::{Refusal, Slot};
use crate::metrics::Phase;

/// When to try again while this server goes and another one comes, in milliseconds.
const DRAINING_HINT_MS: u64 = 5000;

impl Tools {
    /// Waits for a slot to run in.
    pub(super) fn enter(
        &self,
        context: &CallContext<'_>,
        scope: &str,
        acquire: Deadline,
    ) -> Result<Slot, Failure> {
        self.guard
            .enter(context.caller.principal(), acquire, context.cancel)
            .map_err(|refusal| match refusal {
                // Nothing was refused: nobody waits any more.
                Refusal::Cancelled => refused(refusal),
                refusal => self.rejected(context, scope, refusal),
            })
    }

    /// Refuses what would begin while the server goes.
    pub(super) fn refuse_when_draining(&self) -> Result<(), Failure> {
        if !self.draining.load(Ordering::Acquire) {
            return Ok(());
        }
        let message = "the server is shutting down";
        Err(Failure::new(FailureKind::Busy, message).retry_after(DRAINING_HINT_MS))
    }

    /// Observes the phases of a run for which a slot was looked for since `began`.
    pub(super) fn observe_run(&self, began: Instant, ran: Duration) {
        let acquired = began.elapsed().saturating_sub(ran);
        self.metrics.observe_phase(Phase::Acquire, acquired);
        if !ran.is_zero() {
            self.metrics.observe_phase(Phase::Run, ran);
        }
    }
}
