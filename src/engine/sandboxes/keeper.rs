//! Speaking with the keeper, the first program of a sandbox: who may run things in it now, and how
//! long nobody has.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::{gone, trouble};
use crate::base::deadline::Deadline;
use crate::base::ids::random_hex;
use crate::docker::{Daemon, Output};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::run::Cancel;
use crate::engine::conversation::cancelled;

/// Bound on one question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Bound on each of two tries to give the place back.
const FREE_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause before asking again for a place that somebody has.
const PAUSE: Duration = Duration::from_millis(50);
/// Most bytes that are read for one answer; others' answers come too.
const MAX_BYTES: usize = 1 << 20;

/// What a keeper says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    to: String,
    held: bool,
    /// Since it was last used; 0 while it is.
    pub(super) idle_ms: u64,
    /// Processes that the kernel has killed in it for memory, so far.
    pub(super) memory_kills: u64,
}

/// The one place to run things in, given back when dropped.
pub(super) struct Held {
    daemon: Arc<Daemon>,
    container: String,
    nonce: String,
    memory_kills: u64,
}

impl Held {
    /// Waits for the place until `acquire`; a server that dies with it loses it after `lease`.
    pub(super) fn acquire(
        daemon: &Arc<Daemon>,
        container: &str,
        lease: Duration,
        acquire: Deadline,
        cancel: &Cancel,
    ) -> Result<Self, Failure> {
        // Whatever ends this frees the place: the keeper may have heard an order whose answer is
        // lost.
        let mut held = Self {
            daemon: Arc::clone(daemon),
            container: container.to_owned(),
            nonce: random_hex(),
            memory_kills: 0,
        };
        let order = format!("hold {}", lease.as_millis());
        loop {
            let answer = held.ask(&order, acquire)?;
            if answer.held {
                held.memory_kills = answer.memory_kills;
                return Ok(held);
            }
            if cancel.is_cancelled() {
                return Err(cancelled());
            }
            if acquire.remaining().is_none_or(|left| left <= PAUSE) {
                let message = "the sandbox does something else, and does one thing at a time: \
                    try again later";
                return Err(Failure::new(FailureKind::Busy, message).retry_after(1000));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Whether the kernel has killed processes for memory since the place was taken.
    pub(super) fn ran_out_of_memory(&self, deadline: Deadline) -> bool {
        let answer = self.ask("tell", deadline);
        answer.is_ok_and(|answer| answer.memory_kills > self.memory_kills)
    }

    fn ask(&self, order: &str, deadline: Deadline) -> Result<Answer, Failure> {
        ask(&self.daemon, &self.container, &self.nonce, order, deadline)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The order counts, also where its answer is late; a dead sandbox gives none.
        let free = || self.ask("free", Deadline::after(FREE_TIMEOUT));
        let freed = free().or_else(|failure| match failure == gone() {
            true => Err(failure),
            false => free(),
        });
        if let Err(failure) = freed {
            log::debug!("a sandbox could not be given back: {}", failure.message);
        }
    }
}

/// How long nobody has used a sandbox.
pub(super) fn idle(
    daemon: &Daemon,
    container: &str,
    deadline: Deadline,
) -> Result<Duration, Failure> {
    let answer = ask(daemon, container, &random_hex(), "tell", deadline)?;
    Ok(Duration::from_millis(answer.idle_ms))
}

fn ask(
    daemon: &Daemon,
    container: &str,
    nonce: &str,
    order: &str,
    deadline: Deadline,
) -> Result<Answer, Failure> {
    let deadline = deadline.or_earlier(Deadline::after(ANSWER_TIMEOUT));
    let mut streams = daemon
        .attach(container, deadline)
        .map_err(|error| trouble(&error))?;
    let line = format!("{nonce} {order}\n");
    streams
        .write(line.as_bytes(), deadline)
        .map_err(|error| trouble(&error))?;
    let mut text = Vec::new();
    loop {
        let is_open = streams
            .read(deadline, &mut |output| {
                if let Output::Stdout(bytes) = output {
                    text.extend_from_slice(bytes);
                }
            })
            .map_err(|error| trouble(&error))?;
        if let Some(answer) = find(&text, nonce) {
            return Ok(answer);
        }
        if !is_open || text.len() > MAX_BYTES {
            return Err(gone());
        }
    }
}

/// The answer to a nonce among whole lines. The first may be cut: it was said before we came.
fn find(text: &[u8], nonce: &str) -> Option<Answer> {
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    lines
        .filter(|line| line.ends_with(b"\n"))
        .filter_map(|line| serde_json::from_slice::<Answer>(line).ok())
        .find(|answer| answer.to == nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_among_others() {
        let other = r#"{"to":"n1","held":false,"idleMs":1,"memoryKills":0}"#;
        let own = r#"{"to":"n0","held":true,"idleMs":0,"memoryKills":2}"#;
        let text = format!("ld\":true}}\n{{\"ready\":{{}}}}\n{other}\n{own}");
        assert!(find(text.as_bytes(), "n0").is_none(), "its end is missing");
        let answer = find(format!("{text}\n").as_bytes(), "n0").unwrap();
        assert!(answer.held && answer.memory_kills == 2);
    }
}
