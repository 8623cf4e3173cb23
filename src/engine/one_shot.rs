//! One job in one cell that is then destroyed, whatever confines it.

use std::time::Duration;

use super::conversation::{cancelled, converse, none_in_time};
use super::forge::ReadyCell;
use crate::base::deadline::Deadline;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::run::{Cancel, Ended, Job, Observer};

/// Where a job runs.
pub(super) struct Place {
    pub(super) cell: ReadyCell,
    /// Folder in the cell with the packages that the job may load.
    pub(super) layer: Option<String>,
}

/// Finds a place by `find` before `acquire`, runs the job in it, and destroys it: before this
/// returns when the code may still be running, soon when it has ended.
pub(super) fn run_once(
    job: &Job,
    acquire: Deadline,
    result_limit: usize,
    cancel: &Cancel,
    observer: &mut dyn Observer,
    find: impl FnOnce() -> Result<Place, Failure>,
) -> Ended {
    let never_ran = |failure| Ended {
        outcome: Err(failure),
        duration: Duration::ZERO,
        image: None,
    };
    if cancel.is_cancelled() {
        return never_ran(cancelled());
    }
    if acquire.remaining().is_none() {
        return never_ran(none_in_time());
    }
    let Place { mut cell, layer } = match find() {
        Ok(place) => place,
        Err(failure) => return never_ran(failure),
    };
    if cancel.is_cancelled() {
        cell.destroy();
        return never_ran(cancelled());
    }
    let ended = converse(
        cell.as_mut(),
        job,
        layer.as_deref(),
        result_limit,
        cancel,
        observer,
    );
    let still_running = ended.outcome.as_ref().is_err_and(|failure| {
        !matches!(
            failure.kind,
            FailureKind::Threw | FailureKind::InvalidResult
        )
    });
    if still_running {
        cell.destroy();
    }
    ended
}
