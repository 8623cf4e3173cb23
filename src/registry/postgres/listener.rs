//! The thread that hears of changes: one connection of its own that listens, and that looks at the
//! registry's state every second all the same, since a pooler between us and the server lets no
//! notification through. It reconnects for as long as the store lives.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use postgres::Client;
use postgres::fallible_iterator::FallibleIterator as _;
use postgres::types::Type;

use super::fault::Fault;
use super::limit::{Limit, within};
use super::shared::Shared;
use crate::base::ids::random_bytes;

/// How often the state is looked at, however quiet it is.
const POLL: Duration = Duration::from_secs(1);
/// How often the thread looks whether it is to end.
const SLICE: Duration = Duration::from_millis(250);
/// What the server may take to answer.
const ANSWER: Duration = Duration::from_secs(2);
/// The pause before connecting again, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Where replicas tell each other of sessions that were ended.
const SESSIONS: &str = "dynamic_mcp_sessions";
const LISTEN: &str = "LISTEN dynamic_mcp_registry; LISTEN dynamic_mcp_sessions";
const TELL: &str = "SELECT pg_notify($1, id) FROM unnest($2) AS id";

/// Ends its thread when dropped.
#[derive(Debug)]
pub(super) struct Listener {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    pub(super) fn start(shared: Arc<Shared>) -> std::io::Result<Self> {
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let thread = std::thread::Builder::new()
            .name("registry-listen".to_owned())
            .spawn(move || listen_for_ever(&shared, &stopped))?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen_for_ever(shared: &Shared, stopped: &Receiver<()>) {
    let mut pause = FIRST_PAUSE;
    let mut last_fault = None;
    loop {
        let began = Instant::now();
        let listened = listen(shared, stopped);
        shared.listening.store(false, Ordering::Relaxed);
        let Err(fault) = listened else {
            return;
        };
        if last_fault.as_ref() != Some(&fault) {
            log::warn!("changes of other replicas are not heard: {fault}");
        }
        last_fault = Some(fault);
        if began.elapsed() > LONGEST_PAUSE {
            // It went well for a while.
            pause = FIRST_PAUSE;
        }
        if stopped.recv_timeout(jittered(pause)) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Half to all of `pause`, so that replicas do not come back all at once.
fn jittered(pause: Duration) -> Duration {
    let [random] = random_bytes::<1>();
    pause / 2 + pause / 2 * u32::from(random) / 255
}

/// One connection's life; `Ok` once the store ends.
fn listen(shared: &Shared, stopped: &Receiver<()>) -> Result<(), Fault> {
    let mut client = shared.database.connect()?;
    let mut listens = false;
    loop {
        // Listen first, then look: what changes in between is notified.
        listens = listens || begins_to_listen(&mut client)?;
        shared.catch_up(&mut client)?;
        shared.listening.store(listens, Ordering::Relaxed);
        let next_poll = Instant::now() + POLL;
        while Instant::now() < next_poll && !was_notified(shared, &mut client)? {
            if listens {
                tell_of_ended(shared, &mut client)?;
            }
            if stopped.try_recv() == Err(crossbeam_channel::TryRecvError::Disconnected) {
                return Ok(());
            }
        }
    }
}

/// A standby lets nobody listen, and may become a primary.
fn begins_to_listen(client: &mut Client) -> Result<bool, Fault> {
    within(Limit::Until(Instant::now() + ANSWER), || {
        match client.batch_execute(LISTEN).map_err(Fault::from) {
            Err(Fault::ReadOnlyServer) => Ok(false),
            listened => listened.map(|()| true),
        }
    })
}

/// Tells other replicas which sessions were ended here; what is lost with the connection is not
/// told again.
fn tell_of_ended(shared: &Shared, client: &mut Client) -> Result<(), Fault> {
    let ids = shared.ended.take_untold();
    if ids.is_empty() {
        return Ok(());
    }
    within(Limit::Until(Instant::now() + ANSWER), || {
        client.query_typed(TELL, &[(&SESSIONS, Type::TEXT), (&ids, Type::TEXT_ARRAY)])?;
        Ok(())
    })
}

/// Waits for a notification, for a short while; takes all there are. Whether one was of the
/// registry.
fn was_notified(shared: &Shared, client: &mut Client) -> Result<bool, Fault> {
    let limit = Limit::Until(Instant::now() + SLICE + ANSWER);
    within(limit, || {
        let mut next = client.notifications().timeout_iter(SLICE).next()?;
        if next.is_none() && client.is_closed() {
            return Err(Fault::Lost);
        }
        let mut of_registry = false;
        while let Some(notification) = next {
            match notification.channel() {
                SESSIONS => shared.ended.hear(notification.payload()),
                _ => of_registry = true,
            }
            next = client.notifications().iter().next()?;
        }
        Ok(of_registry)
    })
}
