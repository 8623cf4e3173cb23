//! Runs in real jails.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use dynamic_mcp::base::deadline::Deadline;
use dynamic_mcp::domain::failure::{Failure, FailureKind};
use dynamic_mcp::domain::image::ImageRef;
use dynamic_mcp::domain::json::JsonText;
use dynamic_mcp::domain::run::{Cancel, Ended, Job, Observer, Returned};
use dynamic_mcp::engine::Engine;
use dynamic_mcp::engine::jail::{JailEngine, JailSettings, find_node};

pub(crate) fn settings() -> JailSettings {
    JailSettings {
        launcher: PathBuf::from(env!("CARGO_BIN_EXE_dynamic-mcp")),
        node: find_node(&std::env::var_os("PATH").unwrap()),
        default_image: ImageRef::parse("node:lts-slim").unwrap(),
        memory_bytes: 256 << 20,
        max_output_bytes: 200_000,
        warm_pool: 1,
        unsafe_without_jail: false,
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

pub(crate) struct Silent;

impl Observer for Silent {
    fn log(&mut self, _: &str, _: &JsonText) {}
    fn progress(&mut self, _: f64, _: Option<f64>, _: Option<&str>) {}
    fn ask(&mut self, _: &str, _: &str, _: &JsonText) -> Result<JsonText, String> {
        Err("no client".to_owned())
    }
}

pub(crate) fn run(engine: &JailEngine, job: &Job) -> Ended {
    let acquire = Deadline::after(Duration::from_secs(60));
    engine.run(job, acquire, &Cancel::default(), &mut Silent)
}

pub(crate) fn value(engine: &JailEngine, code: &str) -> serde_json::Value {
    match run(engine, &job(code, "{}")).outcome {
        Ok(Returned::Value(value)) => value.value().unwrap(),
        other => panic!("{code}: {other:?}"),
    }
}

pub(crate) fn failure(engine: &JailEngine, code: &str) -> Failure {
    run(engine, &job(code, "{}")).outcome.expect_err(code)
}

#[test]
fn a_value_comes_back() {
    let engine = JailEngine::start(settings()).unwrap();
    let sum = job("return {sum: args.a + args.b}", r#"{"a":1,"b":2}"#);
    let ended = run(&engine, &sum);
    let Ok(Returned::Value(text)) = ended.outcome else {
        panic!("{ended:?}")
    };
    assert_eq!(text.text(), r#"{"sum":3}"#);
    engine.stop(Deadline::after(Duration::from_secs(20)));
}

#[test]
fn out_of_memory_on_the_heap_and_beside_it() {
    let engine = JailEngine::start(settings()).unwrap();
    for code in [
        "const a = []; while (true) a.push(new Array(1000).fill({x: a.length}));",
        "const a = []; while (true) a.push(Buffer.alloc(1 << 24, 1));",
    ] {
        let failure = failure(&engine, code);
        assert_eq!(failure.kind, FailureKind::OutOfMemory, "{failure:?}");
    }
}

#[test]
fn a_busy_loop_is_stopped_and_gone() {
    let engine = JailEngine::start(settings()).unwrap();
    let began = Instant::now();
    let mut busy = job("while (true) {}", "{}");
    busy.timeout = Duration::from_millis(1000);
    let failure = run(&engine, &busy).outcome.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Timeout, "{failure:?}");
    assert!(began.elapsed() < Duration::from_secs(15));
}
