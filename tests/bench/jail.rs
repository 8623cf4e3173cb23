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
use dynamic_mcp::domain::image::ImageRef;
use dynamic_mcp::domain::json::JsonText;
use dynamic_mcp::domain::run::{Cancel, Job, Observer};
use dynamic_mcp::engine::Engine;
use dynamic_mcp::engine::jail::{JailEngine, JailSettings, find_node};

const FRESH: usize = 100;
const WARM: usize = 50;

struct Silent;

impl Observer for Silent {
    fn log(&mut self, _: &str, _: &JsonText) {}
    fn progress(&mut self, _: f64, _: Option<f64>, _: Option<&str>) {}
    fn ask(&mut self, _: &str, _: &str, _: &JsonText) -> Result<JsonText, String> {
        Err(String::new())
    }
}

fn engine(node: &Path, warm_pool: usize, unsafe_without_jail: bool) -> JailEngine {
    JailEngine::start(JailSettings {
        launcher: PathBuf::from(env!("CARGO_BIN_EXE_dynamic-mcp")),
        node: Some(node.to_owned()),
        default_image: ImageRef::parse("node:lts-slim").unwrap(),
        memory_bytes: 512 << 20,
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
    let status = Command::new("bwrap")
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

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn times(count: usize, prepare: &dyn Fn(), one: &dyn Fn()) -> Duration {
    median(
        (0..count)
            .map(|_| {
                prepare();
                let began = Instant::now();
                one();
                began.elapsed()
            })
            .collect(),
    )
}

fn main() {
    let node = find_node(&std::env::var_os("PATH").unwrap()).unwrap();
    let has_bubblewrap = Command::new("bwrap").arg("--version").output().is_ok();

    let cold = engine(&node, 0, false);
    call(&cold);
    let jails = rate(FRESH, &|| call(&cold));
    println!("fresh jails, a second          {jails:8.1}");
    let fresh = times(WARM, &|| (), &|| call(&cold));
    println!("call in a fresh jail, median   {fresh:8.1?}");
    cold.stop(Deadline::after(Duration::from_secs(30)));

    let warm = engine(&node, 2, false);
    let parked = || {
        while warm.pool_counts().parked < 2 {
            std::thread::yield_now();
        }
    };
    let hit = times(WARM, &parked, &|| call(&warm));
    println!("call in a parked jail, median  {hit:8.1?}");
    println!("{:?}", warm.pool_counts());
    warm.stop(Deadline::after(Duration::from_secs(30)));

    let bare = engine(&node, 0, true);
    let unjailed = rate(FRESH, &|| call(&bare));
    println!("the same without jails, a s    {unjailed:8.1}");
    bare.stop(Deadline::after(Duration::from_secs(30)));
    println!("fresh jails / without          {:8.2}", jails / unjailed);

    if has_bubblewrap {
        let wrapped = rate(FRESH, &|| bubblewrap(&node));
        println!("bubblewrap + node, a second    {wrapped:8.1}");
        let once = times(WARM, &|| (), &|| bubblewrap(&node));
        println!("bubblewrap + node, median      {once:8.1?}");
        println!("fresh jails / bubblewrap       {:8.2}", jails / wrapped);
        let ratio = hit.as_secs_f64() / once.as_secs_f64();
        println!("parked call / bubblewrap       {ratio:8.3}");
    }
}
