//! How long one call of a dynamic tool takes over HTTP, beside the floor in the same minutes.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::floor::Floor;
use super::process::{Server, call_sum, create_sum};
use super::statistics::{millis, quantile};

const ROUNDS: usize = 40;
/// The default of MCP_SANDBOX_WARM_POOL.
const PARKED: usize = 2;
/// What created the tool on each server stays a while.
const CHECKERS: usize = 2;
/// How long a parked container is waited for between calls.
const REFILL: Duration = Duration::from_secs(20);

pub(crate) fn report() {
    println!("\n## Latency of a call\n");
    let floor = Floor::new();
    let (pooled, bare) = (
        Server::ours(&[]),
        Server::ours(&[("MCP_SANDBOX_WARM_POOL", "0")]),
    );
    let (mut to_pooled, mut to_bare) = (pooled.connect(), bare.connect());
    create_sum(&mut to_pooled);
    create_sum(&mut to_bare);
    let (mut floors, mut parked, mut fresh) = (Vec::new(), Vec::new(), Vec::new());
    let mut burst = Vec::new();
    // Taken in turns: whatever else the machine does, it does to all three. What one leaves to be
    // cleared away or made ready is done before the next begins.
    let settle = || {
        await_parked(&pooled);
        floor.await_containers(PARKED + CHECKERS);
    };
    for _ in 0..ROUNDS {
        settle();
        floors.push(floor.cycle());
        settle();
        parked.push(timed(|| call_sum(&mut to_pooled)));
        settle();
        burst.extend(burst_of_calls(&pooled));
        settle();
        fresh.push(timed(|| call_sum(&mut to_bare)));
    }
    let of = |part: fn(&super::floor::Phases) -> Duration| -> Vec<_> {
        floors.iter().map(part).collect()
    };
    let call = of(|phases| phases.call);
    let whole = of(|phases| phases.prepare + phases.call);
    println!("{ROUNDS} of each, in turns; milliseconds; `x` is the ratio to the floor's p50.\n");
    println!("| what | p50 | p99 | x |\n|---|---|---|---|");
    row(
        "floor: job in, result out, container ready before",
        &call,
        &call,
    );
    row("call with a parked container", &parked, &call);
    row("calls at once, as many as are parked", &burst, &call);
    row(
        "floor: create, attach, start, ready, job, result",
        &whole,
        &whole,
    );
    row("call with MCP_SANDBOX_WARM_POOL=0", &fresh, &whole);
    row(
        "floor: remove (after the answer)",
        &of(|phases| phases.remove),
        &whole,
    );
    run_other_floor();
}

fn row(what: &str, times: &[Duration], floor: &[Duration]) {
    let (p50, p99) = (quantile(times, 0.5), quantile(times, 0.99));
    let ratio = p50.as_secs_f64() / quantile(floor, 0.5).as_secs_f64();
    println!(
        "| {what} | {:.1} | {:.1} | {ratio:.2} |",
        millis(p50),
        millis(p99)
    );
}

fn timed(act: impl FnOnce()) -> Duration {
    let began = Instant::now();
    act();
    began.elapsed()
}

/// As many calls at the same time as there are parked containers; the time of each.
fn burst_of_calls(server: &Server) -> Vec<Duration> {
    let start = Barrier::new(PARKED);
    std::thread::scope(|scope| {
        let call = || {
            let mut connection = server.connect();
            start.wait();
            timed(|| call_sum(&mut connection))
        };
        let calls: Vec<_> = (0..PARKED).map(|_| scope.spawn(call)).collect();
        let calls = calls.into_iter().map(|call| call.join().unwrap());
        calls.collect()
    })
}

/// Until the pool is full again, by its own count.
fn await_parked(server: &Server) {
    let mut connection = server.connect();
    let deadline = Instant::now() + REFILL;
    while Instant::now() < deadline {
        let (_, text) = connection.request("GET", "/metrics", "");
        let parked = text
            .lines()
            .find_map(|line| line.strip_prefix("dynamic_mcp_pool_parked "));
        if parked.is_none_or(|count| count == PARKED.to_string()) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("(the pool did not fill within {REFILL:?})");
}

/// Another measure of the floor, where the operator has one.
fn run_other_floor() {
    let Some(program) = std::env::var_os("DYNAMIC_MCP_BENCH_FLOOR") else {
        return;
    };
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    let socket = host
        .strip_prefix("unix://")
        .unwrap_or("/var/run/docker.sock");
    let output = std::process::Command::new(program)
        .args(["node:lts-slim", "--socket", socket])
        .output()
        .unwrap();
    println!("\nDYNAMIC_MCP_BENCH_FLOOR says:\n");
    println!(
        "    {}",
        String::from_utf8_lossy(&output.stdout)
            .trim()
            .replace('\n', "\n    ")
    );
}
