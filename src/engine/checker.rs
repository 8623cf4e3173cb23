//! One long-lived cell per image that compiles code and never runs it, so that an author hears
//! of a syntax error before the tool is stored. Replaced after 1,000 checks or 10 minutes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use super::cell::{Heard, Output};
use super::conversation::none_in_time;
use super::forge::{Forge, ReadyCell};
use super::frames::{CompileError, FrameReader, FromRunner, ToRunner};
use super::labels::Kind;
use crate::base::deadline::Deadline;
use crate::base::ids::random_hex;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::image::ImageRef;

const MAX_CHECKS: u32 = 1000;
const MAX_AGE: Duration = Duration::from_secs(600);
/// On the container's label: nothing else of ours may outlive its checker.
const LIFETIME: Duration = Duration::from_secs(720);
/// Longest line that a checker may answer, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Bound on one compilation.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

struct Checker {
    cell: ReadyCell,
    checks: u32,
    born: Instant,
}

type Slot = Arc<Mutex<Option<Checker>>>;

/// The checkers in use, one slot an image.
pub(super) struct Checkers {
    forge: Arc<dyn Forge>,
    slots: Mutex<HashMap<ImageRef, Slot>>,
}

impl Checkers {
    pub(super) fn new(forge: Arc<dyn Forge>) -> Self {
        Self {
            forge,
            slots: Mutex::new(HashMap::new()),
        }
    }

    pub(super) fn check(
        &self,
        image: Option<&ImageRef>,
        code: &str,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let image = self.forge.admit(image)?;
        let slot = self.slot(&image);
        let mut guard = lock_before(&slot, deadline)?;
        if deadline.remaining().is_none() {
            return Err(none_in_time());
        }
        let reused = guard.as_ref().is_some_and(Checker::is_fresh);
        if !reused {
            *guard = None;
        }
        match self.check_with(&mut guard, &image, code, deadline) {
            // A parked checker may have died unseen; a new one tells whether the code is to blame.
            Err(_) if reused => {
                *guard = None;
                self.check_with(&mut guard, &image, code, deadline)
            }
            answered => answered,
        }?
        .map_or(Ok(()), |error| {
            let mut failure = Failure::new(FailureKind::Threw, error.message);
            failure.line = error.line;
            failure.column = error.column;
            Err(failure)
        })
    }

    /// Ends checkers whose time is over and that nobody uses now.
    pub(super) fn retire(&self) {
        let slots: Vec<Slot> = self.slots().values().cloned().collect();
        for slot in slots {
            if let Ok(mut guard) = slot.try_lock()
                && guard.as_ref().is_some_and(|checker| !checker.is_fresh())
            {
                *guard = None;
            }
        }
    }

    /// Ends all checkers.
    pub(super) fn clear(&self) {
        self.slots().drain().for_each(|(_, slot)| {
            if let Ok(mut guard) = slot.try_lock() {
                *guard = None;
            }
        });
    }

    fn check_with(
        &self,
        checker: &mut Option<Checker>,
        image: &ImageRef,
        code: &str,
        deadline: Deadline,
    ) -> Result<Option<CompileError>, Failure> {
        if checker.is_none() {
            let cell =
                self.forge
                    .make(Some(image), Kind::Checker, "checker", LIFETIME, deadline)?;
            *checker = Some(Checker {
                cell,
                checks: 0,
                born: Instant::now(),
            });
        }
        let Some(living) = checker else {
            unreachable!("it was just made")
        };
        let answered = living.ask(code, deadline);
        if answered.is_err() {
            *checker = None;
        }
        answered
    }

    fn slot(&self, image: &ImageRef) -> Slot {
        Arc::clone(self.slots().entry(image.clone()).or_default())
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<ImageRef, Slot>> {
        self.slots
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Checker {
    fn is_fresh(&self) -> bool {
        self.checks < MAX_CHECKS && self.born.elapsed() < MAX_AGE
    }

    fn ask(&mut self, code: &str, patience: Deadline) -> Result<Option<CompileError>, Failure> {
        let deadline = patience.or_earlier(Deadline::after(CHECK_TIMEOUT));
        self.checks += 1;
        let nonce = random_hex();
        let mut frames = FrameReader::new(MAX_ANSWER_BYTES);
        frames.expect_nonce(&nonce);
        self.cell.send(
            &ToRunner::Check {
                nonce: &nonce,
                code,
            }
            .encode(),
            deadline,
        )?;
        let mut answer = None;
        loop {
            let heard = self.cell.hear(deadline, &mut |output| {
                if let Output::Frames(bytes) = output {
                    frames.read(bytes, &mut |frame| {
                        if let FromRunner::Checked { error } = frame {
                            answer = Some(error);
                        }
                    });
                }
            })?;
            match (answer.take(), heard) {
                (Some(error), _) => return Ok(error),
                (None, Heard::Output) => {}
                (None, Heard::Silence) if patience.remaining().is_none() => {
                    return Err(none_in_time());
                }
                (None, Heard::Silence | Heard::End) => {
                    let message =
                        "the code could not be compiled in time or memory: make it smaller";
                    return Err(Failure::new(FailureKind::Policy, message));
                }
            }
        }
    }
}

/// Takes the lock before the deadline; others may be waiting for the same checker to start.
fn lock_before(
    slot: &Slot,
    deadline: Deadline,
) -> Result<MutexGuard<'_, Option<Checker>>, Failure> {
    loop {
        match slot.try_lock() {
            Ok(guard) => return Ok(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if deadline.remaining().is_some() => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(TryLockError::WouldBlock) => {
                let message = "the code checker is busy: try again";
                return Err(Failure::new(FailureKind::Busy, message).retry_after(1000));
            }
        }
    }
}
