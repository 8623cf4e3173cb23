//! What packages that are installed already add to a call: the same engine with and without, in
//! turns. The engine alone, as a server's installers have the daemon's bridge, which a daemon for
//! tests lacks.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dynamic_mcp::base::deadline::Deadline;
use dynamic_mcp::base::ids::random_hex;
use dynamic_mcp::config::{DaemonAddress, NpmConfig};
use dynamic_mcp::docker::Daemon;
use dynamic_mcp::domain::asking::{Answer, Ask};
use dynamic_mcp::domain::entry::Dependency;
use dynamic_mcp::domain::image::ImageRef;
use dynamic_mcp::domain::json::JsonText;
use dynamic_mcp::domain::run::{Cancel, Job, Observer, Returned};
use dynamic_mcp::engine::{
    DependencySettings, DockerEngine, Engine as _, EngineSettings, LayerKey, Owners, PackagePolicy,
    PullPolicy, SandboxKey, SandboxSettings,
};

use super::floor::Floor;
use super::statistics::{millis, quantile};

const ROUNDS: usize = 40;
const PARKED: usize = 2;
const PATIENCE: Duration = Duration::from_secs(120);
const SERVE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/env/packages/serve.js");

pub(crate) fn report() {
    println!("\n## Installed packages\n");
    let Some(program) = std::env::var_os("DYNAMIC_MCP_TEST_VERDACCIO") else {
        println!("No package registry: DYNAMIC_MCP_TEST_VERDACCIO names none.");
        return;
    };
    let floor = Floor::new();
    let registry = Registry::start(&program);
    let volume = format!("bench-{}", random_hex());
    let engine = engine(&floor, &volume, &registry.url);
    let none = job("return 3", &[]);
    let cached = job("return 3", &["plain"]);
    let loaded = job("return require('plain')", &["plain"]);
    let kinds = [
        ("no packages", &none),
        ("packages, none loaded", &cached),
        ("packages, one loaded", &loaded),
    ];
    run(&engine, &loaded);
    let mut times = kinds.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((_, job), times) in kinds.iter().zip(&mut times) {
            settle(&engine);
            times.push(run(&engine, job));
        }
    }
    println!("{ROUNDS} of each, in turns; milliseconds.\n");
    println!(
        "| call of the engine, parked container | p50 | p99 | adds (p50) |\n|---|---|---|---|"
    );
    let first = quantile(&times[0], 0.5);
    for ((what, _), times) in kinds.iter().zip(&times) {
        let (p50, p99) = (quantile(times, 0.5), quantile(times, 0.99));
        let adds = millis(p50) - millis(first);
        println!(
            "| {what} | {:.1} | {:.1} | {adds:.1} |",
            millis(p50),
            millis(p99)
        );
    }
    engine.stop(Deadline::after(PATIENCE));
    drop(engine);
    floor.remove_volume(&volume);
}

fn job(code: &str, packages: &[&str]) -> Job {
    let dependency = |name: &&str| Dependency {
        name: (*name).to_owned(),
        version: "1.0.0".to_owned(),
    };
    Job {
        code: code.into(),
        args: JsonText::empty_object(),
        image: None,
        dependencies: packages.iter().map(dependency).collect(),
        timeout: Duration::from_secs(30),
        label: "bench".to_owned(),
    }
}

fn run(engine: &DockerEngine, job: &Job) -> Duration {
    let began = Instant::now();
    let acquire = Deadline::after(PATIENCE);
    let ended = engine.run(job, acquire, &Cancel::default(), &mut Nobody);
    let took = began.elapsed();
    match ended.outcome {
        Ok(Returned::Value(value)) if value.text() == "3" => took,
        other => panic!("{other:?}"),
    }
}

/// Until the pool is full again, and what the last call left is gone.
fn settle(engine: &DockerEngine) {
    while engine.pool_counts().parked < PARKED as u64 {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(100));
}

fn engine(floor: &Floor, volume: &str, registry: &str) -> DockerEngine {
    let npm = NpmConfig {
        registry: Some(registry.to_owned()),
        ..NpmConfig::default()
    };
    let policy = PackagePolicy {
        blocked: Vec::new(),
        max_dependencies: 32,
    };
    let dependencies = DependencySettings {
        volume: volume.to_owned(),
        network: "host".to_owned(),
        ..DependencySettings::new(policy, npm, LayerKey::new([7; 32]))
    };
    let settings = EngineSettings {
        allowed_images: vec![ImageRef::parse("node:lts-slim").unwrap()],
        pull_policy: PullPolicy::Never,
        memory_bytes: 512 << 20,
        nano_cpus: 1_000_000_000,
        max_output_bytes: 200_000,
        warm_pool: PARKED,
        runtime: None,
        dependencies,
        sandboxes: SandboxSettings {
            idle: Duration::from_secs(60),
            max: 1,
            key: SandboxKey::derive(&[7; 32]),
        },
    };
    let address = DaemonAddress::Unix(PathBuf::from(floor.socket()));
    let daemon = Arc::new(Daemon::new(address, None));
    let owner = Arc::new(Owner(format!("bench-{}", random_hex())));
    DockerEngine::start(daemon, settings, owner).unwrap()
}

/// Nobody else's containers are looked at.
struct Owner(String);

impl Owners for Owner {
    fn own_id(&self) -> &str {
        &self.0
    }
    fn is_dead(&self, _: &str) -> bool {
        false
    }
    fn forget(&self, _: &str) {}
    fn dead(&self) -> Vec<String> {
        Vec::new()
    }
}

struct Nobody;

impl Observer for Nobody {
    fn log(&mut self, _: &str, _: &JsonText) {}
    fn progress(&mut self, _: f64, _: Option<f64>, _: Option<&str>) {}
    fn ask(&mut self, _: Ask) -> Answer {
        Answer::Refused("nobody is asked".to_owned())
    }
}

/// A package registry with one package, ended with this.
struct Registry {
    child: Child,
    folder: PathBuf,
    url: String,
}

impl Registry {
    fn start(program: &std::ffi::OsStr) -> Self {
        let folder = std::env::temp_dir().join(format!("bench-{}", random_hex()));
        let source = folder.join("sources/plain");
        std::fs::create_dir_all(&source).unwrap();
        let manifest = r#"{"name":"plain","version":"1.0.0","main":"index.js"}"#;
        std::fs::write(source.join("package.json"), manifest).unwrap();
        std::fs::write(source.join("index.js"), "module.exports = 3").unwrap();
        let mut command = Command::new("node");
        command
            .arg(SERVE)
            .arg(program)
            .arg(&folder)
            .arg("127.0.0.1");
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| line.ok()?.trim().parse::<u16>().ok());
        Self {
            child,
            folder,
            url: format!("http://127.0.0.1:{}/", port.expect("it starts")),
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
