//! How fast jails are, beside bubblewrap with the same node on the same machine in the same run.
//! Reports, asserts nothing.

// A bench may stop where a program may not.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    missing_docs
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dynamic_mcp::base::deadline::Deadline;
use dynamic_mcp::domain::asking::{Answer, Ask};
use dynamic_mcp::domain::image::ImageRef;
use dynamic_mcp::domain::json::JsonText;
use dynamic_mcp::domain::run::{Cancel, Job, Observer};
use dynamic_mcp::engine::Engine;
use dynamic_mcp::engine::jail::{JailEngine, JailSettings, find_node};

const ROUNDS: usize = 7;
/// Started in one round.
const FRESH: usize = 20;
const CALLS: usize = 25;

struct Silent;

impl Observer for Silent {
    fn log(&mut self, _: &str, _: &JsonText) {}
    fn progress(&mut self, _: f64, _: Option<f64>, _: Option<&str>) {}
    fn ask(&mut self, _: Ask) -> Answer {
        Answer::Refused(String::new())
    }
}

fn engine(node: &Path, warm_pool: usize, unsafe_without_jail: bool) -> JailEngine {
    JailEngine::start(JailSettings {
        launcher: PathBuf::from(env!("CARGO_BIN_EXE_dynamic-mcp")),
        node: Some(node.to_owned()),
        default_image: ImageRef::parse("node:lts-slim").unwrap(),
        memory_bytes: 512 << 20,
        processors: 1,
        max_output_bytes: 200_000,
        warm_pool,
        unsafe_without_jail,
    })
    .unwrap()
}

fn call(engine: &JailEngine) {
    let job = Job {
        code: "return args.a + 1".into(),
        args: JsonText::parse(r#"{"a":1}"#.to_owned()).unwrap(),
        image: None,
        dependencies: Vec::new(),
        timeout: Duration::from_secs(30),
        label: "bench".to_owned(),
    };
    let acquire = Deadline::after(Duration::from_secs(30));
    let ended = engine.run(&job, acquire, &Cancel::default(), &mut Silent);
    ended.outcome.unwrap();
}

fn bubblewrap(node: &Path) {
    // As far behind the rest of the machine as a jail.
    let status = Command::new("nice")
        .args(["-n", "10", "bwrap"])
        .args([
            "--unshare-all",
            "--die-with-parent",
            "--clearenv",
            "--ro-bind",
            "/",
            "/",
        ])
        .args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"])
        .arg(node)
        .args(["-e", "JSON.parse('{\"a\":1}').a + 1"])
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
}

/// Does `one` `count` times on as many threads as there are processors; how many a second.
fn rate(count: usize, one: &(dyn Fn() + Sync)) -> f64 {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let left = AtomicUsize::new(count);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let take = |left: usize| left.checked_sub(1);
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                    .is_ok()
                {
                    one();
                }
            });
        }
    });
    f64::from(u32::try_from(count).unwrap()) / began.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn milliseconds(one: &dyn Fn()) -> f64 {
    let began = Instant::now();
    one();
    began.elapsed().as_secs_f64() * 1000.0
}

/// Prints medians, and the median of each round's ratio to the first: what else the machine does
/// in a round slows all of it.
fn report(what: &str, unit: &str, names: &[&str], rounds: &[Vec<f64>]) {
    println!("{what}");
    for (index, name) in names.iter().enumerate() {
        let values = rounds.iter().map(|round| round[index]).collect();
        let ratios = rounds.iter().map(|round| round[index] / round[0]).collect();
        let (value, ratio) = (median(values), median(ratios));
        println!("  {name:34} {value:8.1} {unit}  × {ratio:.2}");
    }
}

fn main() {
    let node = find_node(&std::env::var_os("PATH").unwrap()).unwrap();
    let cold = engine(&node, 0, false);
    let bare = engine(&node, 0, true);
    let warm = engine(&node, 2, false);
    let parked = || {
        while warm.pool_counts().parked < 2 {
            std::thread::yield_now();
        }
    };
    let names = [
        "jail",
        "no jail (MCP_NODE_UNSAFE)",
        "bubblewrap + node -e",
        "parked jail",
    ];
    parked();
    let rates: Vec<_> = (0..ROUNDS)
        .map(|_| {
            vec![
                rate(FRESH, &|| call(&cold)),
                rate(FRESH, &|| call(&bare)),
                rate(FRESH, &|| bubblewrap(&node)),
            ]
        })
        .collect();
    report(
        "started and ended a second, all processors",
        "/s",
        &names[..3],
        &rates,
    );
    let calls: Vec<_> = (0..CALLS)
        .map(|_| {
            let mut times = vec![
                milliseconds(&|| call(&cold)),
                milliseconds(&|| call(&bare)),
                milliseconds(&|| bubblewrap(&node)),
            ];
            parked();
            times.push(milliseconds(&|| call(&warm)));
            times
        })
        .collect();
    report("one call, one at a time", "ms", &names, &calls);
    println!("{:?}", warm.pool_counts());
    for engine in [cold, bare, warm] {
        engine.stop(Deadline::after(Duration::from_secs(30)));
    }
}
