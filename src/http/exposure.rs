//! `/metrics`: the series of every part in one text.

use super::Shared;
use super::route::LANES;
use crate::engine::Sandboxes;
use crate::gate::Counters;
use crate::metrics::exposition::Exposition;
use crate::registry::DatabaseCounts;
use std::sync::atomic::Ordering;

/// Bytes of a memory page on Linux as `statm` counts them.
const PAGE_BYTES: f64 = 4096.0;

pub(super) fn metrics_text(shared: &Shared) -> String {
    let mut text = Exposition::default();
    shared.services.metrics.expose(&mut text);
    expose_readiness(shared, &mut text);
    expose_workers(shared, &mut text);
    if let Some(counters) = shared.gate_counters.get() {
        expose_gate(counters, &mut text);
    }
    expose_guard(shared, &mut text);
    expose_pool(shared, &mut text);
    expose_sandboxes(shared, &mut text);
    expose_registry(shared, &mut text);
    expose_keys(shared, &mut text);
    expose_sessions(shared, &mut text);
    text.gauge(
        "client_questions_waiting",
        "Questions of running code that wait for a client's answer.",
    )
    .sample(&[], shared.services.mcp.waiting_questions() as f64);
    expose_process(&mut text);
    text.finish()
}

/// As `/readyz` has it, for those who watch rather than route.
fn expose_readiness(shared: &Shared, text: &mut Exposition) {
    let checks = shared.services.readiness.checks();
    let truth = |is_so: bool| f64::from(u8::from(is_so));
    text.gauge("ready", "1 while /readyz says so.")
        .sample(&[], truth(checks.iter().all(|check| check.ready)));
    let mut family = text.gauge("readiness_check", "1 while this check of /readyz passes.");
    for check in checks {
        family.sample(&[("check", check.name)], truth(check.ready));
    }
}

fn expose_workers(shared: &Shared, text: &mut Exposition) {
    text.gauge("http_workers_busy", "Workers that answer a request now.")
        .sample(&[], shared.workers.busy() as f64);
    text.gauge("http_workers", "Workers of the tool lane.")
        .sample(&[], shared.workers.total() as f64);
}

fn expose_gate(counters: &Counters, text: &mut Exposition) {
    let load = |gauge: &std::sync::atomic::AtomicUsize| gauge.load(Ordering::Relaxed) as f64;
    let total = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed) as f64;
    text.gauge("http_connections_open", "Client connections open now.")
        .sample(&[], load(&counters.connections_open));
    text.counter("http_connections_total", "Client connections accepted.")
        .sample(&[], total(&counters.connections_total));
    text.counter(
        "http_accept_errors_total",
        "Connections that could not be accepted.",
    )
    .sample(&[], total(&counters.accept_errors_total));
    text.gauge(
        "http_buffered_bytes",
        "Bytes held for unfinished requests and slow readers.",
    )
    .sample(&[], load(&counters.buffered_bytes));
    text.counter(
        "http_slow_readers_total",
        "Connections cut off because nobody read.",
    )
    .sample(&[], total(&counters.slow_readers_total));
    text.counter(
        "http_hung_up_total",
        "Requests dropped because their client had gone.",
    )
    .sample(&[], total(&counters.hung_up_total));
    text.gauge("http_streams_open", "Event streams open now.")
        .sample(&[], load(&counters.streams_open));
    text.counter("http_streams_total", "Event streams opened.")
        .sample(&[], total(&counters.streams_total));
    text.counter(
        "http_streams_refused_total",
        "Event streams refused because too many were open.",
    )
    .sample(&[], total(&counters.streams_refused_total));
    text.counter(
        "http_stream_events_dropped_total",
        "Events left out because their client read too slowly.",
    )
    .sample(&[], total(&counters.stream_events_dropped_total));
    let mut family = text.counter("http_refused_total", "Requests refused before any worker.");
    for (reason, _, count) in counters.refusals() {
        family.sample(&[("reason", reason)], count as f64);
    }
    let mut family = text.gauge("http_queue_depth", "Requests that wait for a worker.");
    for (lane, pool) in counters.lanes.iter().zip(LANES) {
        family.sample(&[("lane", pool.name())], load(&lane.queued));
    }
}

fn expose_guard(shared: &Shared, text: &mut Exposition) {
    let counts = shared.services.guard.counts();
    text.gauge("guard_active", "Runs of tool code now.")
        .sample(&[], counts.active as f64);
    text.gauge("guard_waiting", "Runs that wait for a slot.")
        .sample(&[], counts.waiting as f64);
    text.counter("guard_rejected_total", "Calls refused by the guard.")
        .sample(
            &[("kind", "concurrency")],
            counts.rejected_concurrency as f64,
        )
        .sample(&[("kind", "rate")], counts.rejected_rate as f64);
}

fn expose_pool(shared: &Shared, text: &mut Exposition) {
    let counts = shared.services.engine.pool_counts();
    text.gauge("pool_parked", "Sandboxes parked ahead of calls.")
        .sample(&[], counts.parked as f64);
    text.counter(
        "pool_takes_total",
        "Calls by whether a parked sandbox was there.",
    )
    .sample(&[("result", "hit")], counts.hits as f64)
    .sample(&[("result", "miss")], counts.misses as f64);
    text.gauge(
        "pool_oldest_parked_seconds",
        "Age of the sandbox that has been parked longest.",
    )
    .sample(&[], counts.oldest.as_secs_f64());
    text.summary(
        "pool_refill_seconds",
        "Time to make a sandbox ahead of calls.",
    )
    .summary_sample(counts.refills, counts.refill_time.as_secs_f64());
    let installs = shared.services.engine.install_counts();
    let (succeeded, failed) = (installs.succeeded, installs.failed);
    text.counter("dependency_installs_total", "Installations of packages.")
        .sample(&[("result", "ok")], succeeded as f64)
        .sample(&[("result", "failed")], failed as f64);
    text.summary(
        "dependency_install_seconds",
        "Time to install a set of packages.",
    )
    .summary_sample(succeeded + failed, installs.time.as_secs_f64());
}

fn expose_sandboxes(shared: &Shared, text: &mut Exposition) {
    let sandboxes = shared.services.engine.sandboxes();
    let counts = sandboxes.map(Sandboxes::counts).unwrap_or_default();
    text.gauge(
        "sandboxes_active",
        "Sandboxes of this installation on the daemon, when last looked at.",
    )
    .sample(&[], counts.active as f64);
    text.counter("sandboxes_created_total", "Sandboxes made by this server.")
        .sample(&[], counts.created as f64);
    text.counter(
        "sandboxes_expired_total",
        "Sandboxes made by this server that ended without being stopped by it.",
    )
    .sample(&[], counts.expired as f64);
}

fn expose_registry(shared: &Shared, text: &mut Exposition) {
    let snapshot = shared.services.store.snapshot();
    let age = shared.services.store.last_checked().elapsed();
    text.gauge("registry_tools", "Dynamic tools, disabled ones too.")
        .sample(&[], snapshot.tools().len() as f64);
    text.gauge(
        "registry_generation",
        "Changes of the registry that this process has seen.",
    )
    .sample(&[], snapshot.generation() as f64);
    text.gauge(
        "registry_snapshot_age_seconds",
        "Since the registry was last compared with its store.",
    )
    .sample(&[], age.as_secs_f64());
    if let Some(database) = shared.services.store.database() {
        expose_database(database, text);
    }
}

fn expose_database(counts: DatabaseCounts, text: &mut Exposition) {
    text.gauge(
        "registry_listener_connected",
        "1 while other replicas' changes are heard.",
    )
    .sample(&[], f64::from(u8::from(counts.listening)));
    text.gauge(
        "postgres_pool_connections",
        "Open connections of the pool to PostgreSQL.",
    )
    .sample(&[("state", "in_use")], f64::from(counts.in_use))
    .sample(&[("state", "idle")], f64::from(counts.idle));
    text.gauge(
        "postgres_pool_waiting",
        "Threads that wait for one of these connections.",
    )
    .sample(&[], counts.waiting as f64);
}

/// The issuer's keys, where callers need tokens.
fn expose_keys(shared: &Shared, text: &mut Exposition) {
    let Some(health) = shared.services.authority.keys_health() else {
        return;
    };
    text.gauge("jwks_keys", "Keys of the issuer that verify tokens now.")
        .sample(&[], health.keys as f64);
    if let Some(age) = health.age {
        text.gauge(
            "jwks_age_seconds",
            "Since the issuer's keys were last read.",
        )
        .sample(&[], age.as_secs_f64());
    }
    text.counter(
        "jwks_refresh_failures_total",
        "Looks for the issuer's keys that failed.",
    )
    .sample(&[], health.failures as f64);
}

fn expose_sessions(shared: &Shared, text: &mut Exposition) {
    let counts = shared.services.mcp.session_counts();
    text.gauge("http_sessions_active", "Sessions seen here of late.")
        .sample(&[], counts.active as f64);
    text.counter("http_sessions_created_total", "Sessions begun here.")
        .sample(&[], counts.created as f64);
    text.counter(
        "http_sessions_expired_total",
        "Sessions not seen here any more for MCP_HTTP_SESSION_TTL_SECONDS.",
    )
    .sample(&[], counts.expired as f64);
}

/// Figures of the whole process, from `/proc/self`; left out where the system does not have it.
fn expose_process(text: &mut Exposition) {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    if let Some(pages) = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<f64>().ok())
    {
        text.gauge("process_resident_memory_bytes", "Resident memory.")
            .sample(&[], pages * PAGE_BYTES);
    }
    for (name, help, folder) in [
        ("process_threads", "Threads.", "/proc/self/task"),
        (
            "process_open_fds",
            "Open file descriptors.",
            "/proc/self/fd",
        ),
    ] {
        if let Ok(entries) = std::fs::read_dir(folder) {
            text.gauge(name, help).sample(&[], entries.count() as f64);
        }
    }
}
