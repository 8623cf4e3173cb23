//! The thread that watches the registry and tells clients what has changed, wherever the change was
//! made: here, by another process, in another replica.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use super::listeners::{Listeners, Whom};
use super::pipe::Pipe;
use super::sessions::Sessions;
use crate::registry::{Changes, ToolStore};

/// How long it waits for a change, and how often it looks who is gone.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two rounds of telling: who changes much is told of in few words.
const PAUSE: Duration = Duration::from_millis(50);

/// A running notifier; dropping it ends the thread, soon.
#[derive(Debug)]
pub struct Notifier(Arc<AtomicBool>);

impl Drop for Notifier {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// What it works with.
pub(super) struct Parts {
    pub(super) store: Arc<dyn ToolStore>,
    pub(super) listeners: Arc<Listeners>,
    pub(super) sessions: Option<Arc<Sessions>>,
    pub(super) pipe: Option<Arc<Pipe>>,
}

/// Starts it: what changes from now on is told.
pub(super) fn start(parts: Parts) -> io::Result<Notifier> {
    let is_over = Arc::new(AtomicBool::new(false));
    let (stop, mut seen) = (Arc::clone(&is_over), parts.store.snapshot());
    std::thread::Builder::new()
        .name("notifier".to_owned())
        .spawn(move || {
            while !stop.load(Ordering::Acquire) {
                let newest = parts.store.wait_newer(seen.generation(), PATIENCE);
                let changes = Changes::between(&seen, &newest);
                if let Some(sessions) = &parts.sessions {
                    sessions.free_idle(SystemTime::now());
                }
                parts.listeners.tell(&changes, &|whom, ask| match whom {
                    Whom::Session(id) => parts.sessions.as_ref()?.peek(id, ask),
                    Whom::Pipe => parts
                        .pipe
                        .as_ref()
                        .map(|pipe| pipe.with_state(|state| ask(state))),
                    Whom::Request { .. } => None,
                });
                if newest.generation() != seen.generation() {
                    std::thread::sleep(PAUSE);
                }
                seen = newest;
            }
        })?;
    Ok(Notifier(is_over))
}
