//! The server over stdio. An editor may start several at once, some only to ask what they speak:
//! so a start reads the registry and nothing more. It makes no file or folder and does not speak to
//! the daemon; that waits for the first use, or until the client has stayed for a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::upkeep::{TIDY_INTERVAL, TIDY_TIMEOUT};
use super::{
    CHECK_TIMEOUT, Core, Ended, Instance, LAST_ANSWERS, LAST_REMOVALS, StartError, Surroundings,
};
use crate::audit::Audit;
use crate::base::deadline::Deadline;
use crate::config::Config;
use crate::engine::Engine;
use crate::stdio::{StdioLimits, StdioServer};
use crate::tools::Tools;

/// How long a client stays that came for more than to ask.
const SETTLED: Duration = Duration::from_secs(2);
/// How long cancelled runs may take to be gone: a busy daemon needs seconds to start a container
/// and to remove it, and before that nothing else can be known to be gone.
const LAST_RUNS: Duration = Duration::from_secs(20);
/// How often the end of the last runs is looked for.
const LAST_RUNS_CHECK: Duration = Duration::from_millis(5);

/// A running server with one client.
pub struct StdioApp {
    audit: Audit,
    tools: Arc<Tools>,
    engine: Arc<dyn Engine>,
    owners: Arc<dyn Instance>,
    server: StdioServer,
    gone: Receiver<()>,
    grace: Duration,
    _upkeep: Sender<()>,
}

impl std::fmt::Debug for StdioApp {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("StdioApp")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl StdioApp {
    /// Starts everything.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(config: Config, surroundings: Surroundings) -> Result<Self, StartError> {
        let core = Core::build(config, surroundings)?;
        let caller = core.authority.local_caller();
        let limits = StdioLimits {
            max_line_bytes: core.config.http.max_request_bytes,
            workers: core.config.http.workers,
            buffer_bytes: core.config.http.buffer_bytes,
        };
        let upkeep = start_upkeep(&core.engine).map_err(StartError::System)?;
        log::info!(
            "dynamic-mcp {} serves on stdin and stdout; registry {}",
            env!("CARGO_PKG_VERSION"),
            core.place
        );
        let (server, gone) =
            StdioServer::start(core.mcp, caller, limits).map_err(StartError::Stdio)?;
        Ok(Self {
            audit: core.audit,
            tools: core.tools,
            engine: core.engine,
            owners: core.owners,
            server,
            gone,
            grace: core.config.shutdown_grace,
            _upkeep: upkeep,
        })
    }

    /// Speaks, or is closed, when the client has gone.
    pub fn gone(&self) -> &Receiver<()> {
        &self.gone
    }

    /// Once no more is asked: lets calls under way end, within the grace and while somebody reads
    /// their answers, until `hurried`.
    pub fn let_calls_end(&self, hurried: impl Fn() -> bool) {
        let grace = Deadline::after(self.grace);
        while self.server.owes_answers() && grace.remaining().is_some() && !hurried() {
            std::thread::sleep(LAST_RUNS_CHECK);
        }
    }

    /// Cancels what runs and leaves nothing. Without the grace that HTTP has: whoever sends a
    /// signal to a program on a pipe waits for no answers, and kills who stays.
    pub fn stop(self) -> Ended {
        let began = Instant::now();
        let cancelled = self.tools.unfinished_runs();
        self.tools.drain();
        self.tools.cancel_runs();
        self.server.end_streams();
        let runs = Deadline::after(LAST_RUNS);
        while self.tools.unfinished_runs() > 0 && runs.remaining().is_some() {
            std::thread::sleep(LAST_RUNS_CHECK);
        }
        if !self.server.finish(Deadline::after(LAST_ANSWERS)) {
            log::warn!("the last answers were not taken");
        }
        let left = self.engine.stop(Deadline::after(LAST_REMOVALS));
        if left == 0 {
            self.owners.retire();
        }
        self.audit.stop();
        Ended {
            took: began.elapsed(),
            cancelled,
            left,
        }
    }
}

/// Says what is missing to run code, has a missing image pulled, and tidies up from time to time;
/// ends when what is returned is dropped.
fn start_upkeep(engine: &Arc<dyn Engine>) -> std::io::Result<Sender<()>> {
    let (stop, stopped) = bounded(0);
    let engine = Arc::clone(engine);
    let still_on =
        move |pause| stopped.recv_timeout(pause) == Err::<(), _>(RecvTimeoutError::Timeout);
    std::thread::Builder::new()
        .name("upkeep".to_owned())
        .spawn(move || {
            if !still_on(SETTLED) {
                return;
            }
            let deadline = Deadline::after(CHECK_TIMEOUT);
            for check in [engine.probe(deadline), engine.probe_image(deadline)] {
                if !check.ready {
                    log::warn!("no code can run yet: {}", check.detail);
                }
            }
            loop {
                engine.tidy(Deadline::after(TIDY_TIMEOUT));
                if !still_on(TIDY_INTERVAL) {
                    return;
                }
            }
        })?;
    Ok(stop)
}
