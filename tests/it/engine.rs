//! Runs in real containers: every line of the code contract, every limit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dynamic_mcp::base::deadline::Deadline;
use dynamic_mcp::base::ids::random_hex;
use dynamic_mcp::config::PullPolicy;
use dynamic_mcp::domain::failure::{Failure, FailureKind};
use dynamic_mcp::domain::image::ImageRef;
use dynamic_mcp::domain::json::JsonText;
use dynamic_mcp::domain::run::{Cancel, Ended, Job, Observer, Returned};
use dynamic_mcp::engine::{DockerEngine, Engine, EngineSettings};

use crate::support::{KnownOwners, daemon};

struct Fixture {
    engine: DockerEngine,
    owner: String,
}

fn settings() -> EngineSettings {
    EngineSettings {
        allowed_images: vec![ImageRef::parse("node:lts-slim").unwrap()],
        pull_policy: PullPolicy::Never,
        memory_bytes: 256 << 20,
        nano_cpus: 1_000_000_000,
        max_output_bytes: 200_000,
    }
}

impl Fixture {
    fn start(settings: EngineSettings) -> Self {
        let owner = format!("test-{}", random_hex());
        let owners = KnownOwners {
            own: owner.clone(),
            ..KnownOwners::default()
        };
        let engine = DockerEngine::start(daemon(), settings, Arc::new(owners)).unwrap();
        Self { engine, owner }
    }

    fn run(&self, code: &str, args: &str) -> Ended {
        self.run_for(code, args, Duration::from_secs(20))
    }

    fn run_for(&self, code: &str, args: &str, timeout: Duration) -> Ended {
        let job = Job {
            code: code.into(),
            args: JsonText::parse(args.to_owned()).unwrap(),
            image: None,
            dependencies: Vec::new(),
            timeout,
            label: "test".to_owned(),
        };
        let acquire = Deadline::after(Duration::from_secs(60));
        self.engine
            .run(&job, acquire, &Cancel::default(), &mut Silent)
    }

    fn value(&self, code: &str, args: &str) -> String {
        match self.run(code, args).outcome {
            Ok(Returned::Value(value)) => value.text().to_owned(),
            other => panic!("{code}: {other:?}"),
        }
    }

    fn failure(&self, code: &str) -> Failure {
        self.run(code, "{}").outcome.expect_err(code)
    }

    fn containers(&self) -> usize {
        let deadline = Deadline::after(Duration::from_secs(30));
        let all = daemon()
            .containers_with_label("dynamic-mcp.owner", deadline)
            .unwrap();
        all.iter()
            .filter(|one| one.labels["dynamic-mcp.owner"] == self.owner)
            .count()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.engine.stop(Deadline::after(Duration::from_secs(60)));
        if !std::thread::panicking() {
            assert_eq!(self.containers(), 0, "containers are left behind");
        }
    }
}

struct Silent;

impl Observer for Silent {
    fn log(&mut self, _: &str, _: &JsonText) {}
    fn progress(&mut self, _: f64, _: Option<f64>, _: Option<&str>) {}
    fn ask(&mut self, _: &str, _: &str, _: &JsonText) -> Result<JsonText, String> {
        Err("no client".to_owned())
    }
}

#[test]
fn a_value_comes_back() {
    let fixture = Fixture::start(settings());
    assert_eq!(
        fixture.value("return {sum: args.a + args.b}", r#"{"a":1,"b":2}"#),
        r#"{"sum":3}"#
    );
}

#[test]
fn out_of_memory_on_the_heap_and_beside_it() {
    let fixture = Fixture::start(settings());
    for code in [
        "const a = []; while (true) a.push(new Array(1000).fill({x: a.length}));",
        "const a = []; while (true) a.push(Buffer.alloc(1 << 24, 1));",
    ] {
        let failure = fixture.failure(code);
        assert_eq!(failure.kind, FailureKind::OutOfMemory, "{failure:?}");
    }
}

#[test]
fn a_busy_loop_is_stopped_and_gone() {
    let fixture = Fixture::start(settings());
    let began = Instant::now();
    let ended = fixture.run_for("while (true) {}", "{}", Duration::from_millis(1000));
    let failure = ended.outcome.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Timeout, "{failure:?}");
    assert!(began.elapsed() < Duration::from_secs(15));
    assert_eq!(
        fixture.containers(),
        0,
        "killed and confirmed before the answer"
    );
}
