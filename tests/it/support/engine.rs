//! An engine of one test's own on the shared daemon, and tables of code with what must come of it.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dynamic_mcp::base::deadline::Deadline;
use dynamic_mcp::base::ids::{random_bytes, random_hex};
use dynamic_mcp::base::text::clip;
use dynamic_mcp::config::NpmConfig;
use dynamic_mcp::docker::{Container, Daemon};
use dynamic_mcp::domain::asking::{Answer, Ask};
use dynamic_mcp::domain::failure::{Failure, FailureKind};
use dynamic_mcp::domain::image::ImageRef;
use dynamic_mcp::domain::json::JsonText;
use dynamic_mcp::domain::run::{Cancel, Ended, Job, Observer, Returned};
use dynamic_mcp::engine::{
    DependencySettings, DockerEngine, Engine, EngineSettings, LayerKey, PackagePolicy, PullPolicy,
    SandboxKey, SandboxSettings,
};

use serde_json::Value;

use super::{KnownOwners, daemon};

/// Runs of one table at the same time.
const THREADS: usize = 4;

/// Long enough for anything that should happen at once, on a machine with other work.
pub(crate) fn patience() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

pub(crate) fn image(name: &str) -> ImageRef {
    ImageRef::parse(name).unwrap()
}

/// What most tests run with.
pub(crate) fn settings() -> EngineSettings {
    EngineSettings {
        allowed_images: vec![image("node:lts-slim")],
        pull_policy: PullPolicy::Never,
        memory_bytes: 256 << 20,
        nano_cpus: 1_000_000_000,
        max_output_bytes: 200_000,
        warm_pool: 0,
        runtime: None,
        dependencies: dependencies(NpmConfig::default()),
        sandboxes: SandboxSettings {
            idle: Duration::from_secs(120),
            max: 20,
            key: SandboxKey::derive(&random_bytes()),
        },
    }
}

/// Packages from a registry on this machine, which the daemon's containers reach by its network.
pub(crate) fn dependencies(npm: NpmConfig) -> DependencySettings {
    let policy = PackagePolicy {
        blocked: vec!["blocked".to_owned()],
        max_dependencies: 32,
    };
    DependencySettings {
        network: "host".to_owned(),
        ..DependencySettings::new(policy, npm, LayerKey::new([7; 32]))
    }
}

pub(crate) fn job(code: &str, args: &str) -> Job {
    Job {
        code: code.into(),
        args: JsonText::parse(args.to_owned()).unwrap(),
        image: None,
        dependencies: Vec::new(),
        timeout: Duration::from_secs(30),
        label: "test".to_owned(),
    }
}

/// Cases as text: the lines of a code, then `=> ` and what is expected, where `…` stands for any
/// text; an expectation of several such lines is their text in one. Empty lines between cases do
/// not count.
pub(crate) fn table(cases: &str) -> impl Iterator<Item = (String, String)> {
    let mut lines = cases.lines().peekable();
    std::iter::from_fn(move || {
        let (mut code, mut expected) = (Vec::new(), String::new());
        while let Some(line) = lines.next() {
            if let Some(part) = line.strip_prefix("=> ") {
                expected += part;
                if !lines.peek().is_some_and(|next| next.starts_with("=> ")) {
                    return Some((code.join("\n"), expected));
                }
            } else if !(code.is_empty() && line.is_empty()) {
                code.push(line);
            }
        }
        assert!(code.is_empty(), "a case without expectation: {code:?}");
        None
    })
}

/// Running jobs on one engine, whichever.
pub(crate) trait Runs: Sync {
    fn engine(&self) -> &dyn Engine;

    fn run(&self, job: &Job) -> Ended {
        self.run_observed(job, &mut Silent)
    }

    fn run_observed(&self, job: &Job, observer: &mut dyn Observer) -> Ended {
        self.engine()
            .run(job, patience(), &Cancel::default(), observer)
    }

    fn value(&self, code: &str) -> String {
        self.value_of(&job(code, "{}"))
    }

    fn value_of(&self, job: &Job) -> String {
        match self.run(job).outcome {
            Ok(Returned::Value(value)) => value.text().to_owned(),
            other => panic!("{}: {other:?}", job.code),
        }
    }

    fn failure(&self, code: &str) -> Failure {
        self.failure_of(&job(code, "{}"))
    }

    fn failure_of(&self, job: &Job) -> Failure {
        let Err(failure) = self.run(job).outcome else {
            panic!("it must fail: {}", job.code)
        };
        failure
    }

    /// Runs the codes of a [`table`] without arguments; each [`outcome_text`] must match.
    fn check(&self, cases: &str) {
        let jobs: Vec<_> = table(cases)
            .map(|(code, expected)| (job(&code, "{}"), expected))
            .collect();
        self.check_jobs(&jobs);
    }

    /// Runs jobs, some at the same time, and reports all differences at once.
    fn check_jobs(&self, cases: &[(Job, impl AsRef<str> + Sync)]) {
        let next = AtomicUsize::new(0);
        let differences = Mutex::new(String::new());
        let work = || {
            while let Some((job, expected)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                let expected = expected.as_ref();
                let got = outcome_text(&self.run(job).outcome);
                if !matches(expected, &got) {
                    let (code, got) = (clip(&job.code, 400), clip(&got, 400));
                    let mut differences = differences.lock().unwrap();
                    writeln!(differences, "{code}\n  want {expected}\n  got  {got}").unwrap();
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..THREADS.min(cases.len()) {
                scope.spawn(work);
            }
        });
        let differences = differences.into_inner().unwrap();
        assert!(differences.is_empty(), "\n{differences}");
    }
}

/// An engine on any daemon, even one that is not there.
pub(crate) fn start_engine(daemon: &Arc<Daemon>, settings: EngineSettings) -> DockerEngine {
    let owners = KnownOwners {
        own: format!("test-{}", random_hex()),
        ..KnownOwners::default()
    };
    DockerEngine::start(Arc::clone(daemon), settings, Arc::new(owners)).unwrap()
}

/// An engine that leaves nothing behind, or its test fails.
pub(crate) struct Fixture {
    pub(crate) engine: DockerEngine,
    pub(crate) owners: Arc<KnownOwners>,
    daemon: Arc<Daemon>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::start(settings())
    }

    pub(crate) fn start(settings: EngineSettings) -> Self {
        Self::on(daemon(), settings)
    }

    pub(crate) fn on(daemon: Arc<Daemon>, settings: EngineSettings) -> Self {
        let owners = Arc::new(KnownOwners {
            own: format!("test-{}", random_hex()),
            ..KnownOwners::default()
        });
        let engine = DockerEngine::start(Arc::clone(&daemon), settings, owners.clone()).unwrap();
        Self {
            engine,
            owners,
            daemon,
        }
    }
}

impl Runs for Fixture {
    fn engine(&self) -> &dyn Engine {
        &self.engine
    }
}

impl Fixture {
    /// Nothing of a run is left, now: it was killed and confirmed before its answer.
    pub(crate) fn assert_gone(&self, what: &str) {
        assert_eq!(self.containers(), [], "left of: {what}");
    }

    /// This engine's containers on the daemon, in any state.
    pub(crate) fn containers(&self) -> Vec<Container> {
        owned_by(&self.daemon, &self.owners.own)
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.engine.stop(patience());
        if !std::thread::panicking() {
            assert_eq!(self.containers(), [], "containers are left behind");
        }
    }
}

/// A container that no engine made; its id.
pub(crate) fn create(daemon: &Daemon, spec: &Value) -> String {
    let name = format!("test-{}", random_hex());
    daemon.create_container(&name, spec, patience()).unwrap()
}

/// An instance's containers on a daemon, in any state.
pub(crate) fn owned_by(daemon: &Daemon, owner: &str) -> Vec<Container> {
    let all = daemon.containers_with_label("dynamic-mcp.owner", patience());
    let mut all = all.unwrap();
    all.retain(|one| one.labels["dynamic-mcp.owner"] == owner);
    all
}

/// `value`, `content BLOCKS`, or `kind: message @line:column`.
pub(crate) fn outcome_text(outcome: &Result<Returned, Failure>) -> String {
    match outcome {
        Ok(Returned::Value(value)) => value.text().to_owned(),
        Ok(Returned::Content(blocks)) => format!("content {}", blocks.text()),
        Ok(Returned::Waiting) => "waiting".to_owned(),
        Err(failure) => failure_text(failure),
    }
}

pub(crate) fn failure_text(failure: &Failure) -> String {
    let mut text = format!("{}: {}", failure.kind.as_str(), failure.message);
    if let Some(line) = failure.line {
        write!(text, " @{line}").unwrap();
    }
    if let Some(column) = failure.column {
        write!(text, ":{column}").unwrap();
    }
    text
}

/// Whether a text is the pattern, in which `…` stands for anything.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('…') else {
        return pattern == text;
    };
    let Some(mut left) = text.strip_prefix(start) else {
        return false;
    };
    let mut parts: Vec<_> = rest.split('…').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, behind)) = left.split_once(part) else {
            return false;
        };
        left = behind;
    }
    left.ends_with(end)
}

/// Polls until something holds; a state of the daemon has no other news.
pub(crate) fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = patience();
    while !holds() {
        assert!(deadline.remaining().is_some(), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A kind, where only that matters.
pub(crate) fn kind_of(ended: &Ended) -> Option<FailureKind> {
    ended.outcome.as_ref().err().map(|failure| failure.kind)
}

/// Hears nothing; there is no client to ask.
pub(crate) struct Silent;

impl Observer for Silent {
    fn log(&mut self, _: &str, _: &JsonText) {}
    fn progress(&mut self, _: f64, _: Option<f64>, _: Option<&str>) {}
    fn ask(&mut self, _: Ask) -> Answer {
        Answer::Refused("no client".to_owned())
    }
}
