//! Workers: each pulls one request at a time, answers it, and survives whatever went wrong on the
//! way.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tiny_http::{Request, Server};

use super::response::{Answer, header, request_id};
use super::route::{Pool, Route};
use super::{Shared, mcp_endpoint, ops, protected};

/// The workers of the tool lane, for metrics.
#[derive(Debug)]
pub(super) struct Gauge {
    busy: AtomicUsize,
    total: usize,
}

impl Gauge {
    pub(super) fn new(total: usize) -> Self {
        Self {
            busy: AtomicUsize::new(0),
            total,
        }
    }

    pub(super) fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }
}

/// Starts the workers of one lane.
pub(super) fn start_pool(
    shared: &Arc<Shared>,
    server: &Arc<Server>,
    pool: Pool,
    workers: usize,
) -> io::Result<()> {
    for _ in 0..workers {
        let (shared, server) = (Arc::clone(shared), Arc::clone(server));
        std::thread::Builder::new()
            .name(format!("http-{}", pool.name()))
            .spawn(move || work(&shared, &server, pool))?;
    }
    Ok(())
}

fn work(shared: &Shared, server: &Server, pool: Pool) {
    loop {
        match server.recv() {
            Ok(request) => answer(shared, request, pool),
            Err(_) if shared.stopping.load(Ordering::Acquire) => return,
            Err(error) => {
                // The private listener is gone: only a new process helps.
                log::error!("a private server stopped: {error}");
                std::process::exit(1);
            }
        }
    }
}

fn answer(shared: &Shared, mut request: Request, pool: Pool) {
    if header(&request, "X-Gate-Warming").is_some() {
        return Answer::empty(204).send(request, "warming");
    }
    let began = Instant::now();
    let request_id = request_id(&request);
    let route = shared.routes.find(request.url(), pool);
    if pool == Pool::Tools {
        shared.workers.busy.fetch_add(1, Ordering::Relaxed);
    }
    let made = catch_unwind(AssertUnwindSafe(|| {
        make(shared, &mut request, route, &request_id)
    }));
    let answer = made.unwrap_or_else(|_| {
        shared.services.metrics.count_panic();
        log::error!("{request_id}: a defect of the server; the panic stands above");
        Answer::error(
            500,
            "internal error; the server's log has more under this request's id",
        )
    });
    let status = answer.status;
    answer.send(request, &request_id);
    if pool == Pool::Tools {
        shared.workers.busy.fetch_sub(1, Ordering::Relaxed);
    }
    let duration = began.elapsed();
    shared
        .services
        .metrics
        .count_request(route.name(), status, duration);
    log::debug!(
        "{request_id}: {} {status} in {} us",
        route.name(),
        duration.as_micros()
    );
}

fn make(shared: &Shared, request: &mut Request, route: Route, request_id: &str) -> Answer {
    match route {
        Route::Mcp => mcp_endpoint::answer(shared, request, request_id),
        Route::Livez => ops::livez(request),
        Route::Readyz => ops::readyz(shared, request),
        Route::Metrics => ops::metrics(shared, request),
        Route::ResourceMetadata => protected::metadata(shared, request),
        Route::Unknown => Answer::error(404, "there is nothing at this path"),
    }
}
