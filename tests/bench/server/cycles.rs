//! Calls with several clients at once, each with a container of its own: whole lives a second.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::floor::Floor;
use super::process::{Server, call_sum, create_sum};

const CLIENTS: usize = 4;
const CALLS: usize = 40;
const ROUNDS: usize = 2;

pub(crate) fn report() {
    println!("\n## Container lives a second\n");
    println!("{CLIENTS} clients, {CALLS} calls, {ROUNDS} rounds in turns; the best of each.\n");
    let floor = Floor::new();
    let server = Server::ours(&[("MCP_TOOL_MAX_CONCURRENCY", "4")]);
    create_sum(&mut server.connect());
    let (mut bare, mut ours) = (0.0_f64, 0.0_f64);
    for _ in 0..ROUNDS {
        bare = bare.max(per_second(|| {
            floor.cycle();
        }));
        // What the pool had ready is gone after the first calls.
        ours = ours.max(per_second(|| call_sum(&mut server.connect())));
    }
    println!("| what | a second | x |\n|---|---|---|");
    println!("| floor: create to remove | {bare:.1} | 1.00 |");
    println!(
        "| calls of a dynamic tool | {ours:.1} | {:.2} |",
        ours / bare
    );
}

fn per_second(act: impl Fn() + Sync) -> f64 {
    let next = AtomicUsize::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while next.fetch_add(1, Ordering::Relaxed) < CALLS {
                    act();
                }
            });
        }
    });
    CALLS as f64 / began.elapsed().as_secs_f64()
}
