//! Workers: each pulls one request at a time, answers it, and survives whatever went wrong on the
//! way.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tiny_http::Server;

use super::request::Request;
use super::response::Answer;
use super::route::{Pool, Route};
use super::{Shared, mcp_endpoint, ops, protected};
use crate::gate::batch;

/// Bytes of answers from which on they are sent before all requests of a batch are answered.
const WRITE_BYTES: usize = 64 * 1024;

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
            Ok(request) => serve(shared, request, pool),
            Err(_) if shared.stopping.load(Ordering::Acquire) => return,
            Err(error) => {
                // The private listener is gone: only a new process helps.
                log::error!("a private server stopped: {error}");
                std::process::exit(1);
            }
        }
    }
}

/// Answers what came over a private connection.
fn serve(shared: &Shared, mut request: tiny_http::Request, pool: Pool) {
    let mut body = Vec::with_capacity(request.body_length().unwrap_or(0));
    // The gate has bounded and buffered the body: this reads what is there.
    if request.as_reader().read_to_end(&mut body).is_err() {
        return;
    }
    let mut answers = Vec::new();
    let is_warming = |field: &tiny_http::Header| field.field.equiv("X-Gate-Warming");
    if request.headers().iter().any(is_warming) {
        Answer::empty(204).write("warming", false, &mut answers);
    } else if pool.takes_batches() {
        return serve_batch(shared, request, &body, pool);
    } else {
        let request = Request::alone(&request, &body);
        answer(shared, &request, pool, &mut answers);
    }
    send(&mut *request.into_writer(), &answers);
}

/// Answers all that came in one, in as few writes as there is room for.
fn serve_batch(shared: &Shared, request: tiny_http::Request, mut batch: &[u8], pool: Pool) {
    let (mut writer, mut answers) = (request.into_writer(), Vec::new());
    while !batch.is_empty() {
        match batch::unpack(&mut batch) {
            Ok(packed) => answer(shared, &Request::packed(packed), pool, &mut answers),
            Err(batch::Malformed) => {
                // What cannot be an answer makes the gate tell all who wait for one.
                log::error!("the gate sent what is no batch");
                answers.extend_from_slice(b"\r\n\r\n!");
                break;
            }
        }
        if answers.len() >= WRITE_BYTES {
            send(&mut *writer, &answers);
            answers.clear();
        }
    }
    send(&mut *writer, &answers);
}

/// Writes answers to the gate; it may be gone.
fn send(writer: &mut dyn io::Write, answers: &[u8]) {
    if let Err(error) = writer.write_all(answers).and_then(|()| writer.flush()) {
        log::debug!("answers were not taken: {error}");
    }
}

/// Appends the answer to one request.
fn answer(shared: &Shared, request: &Request<'_>, pool: Pool, answers: &mut Vec<u8>) {
    let began = Instant::now();
    let request_id = request.id();
    let route = shared.routes.find(request.target, pool);
    if pool == Pool::Tools {
        shared.workers.busy.fetch_add(1, Ordering::Relaxed);
    }
    let made = catch_unwind(AssertUnwindSafe(|| {
        make(shared, request, route, &request_id)
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
    answer.write(&request_id, request.method == "HEAD", answers);
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

fn make(shared: &Shared, request: &Request<'_>, route: Route, request_id: &str) -> Answer {
    match route {
        Route::Mcp => mcp_endpoint::answer(shared, request, request_id),
        Route::Livez => ops::livez(request),
        Route::Readyz => ops::readyz(shared, request),
        Route::Metrics => ops::metrics(shared, request),
        Route::ResourceMetadata => protected::metadata(shared, request),
        Route::Unknown => Answer::error(404, "there is nothing at this path"),
    }
}
