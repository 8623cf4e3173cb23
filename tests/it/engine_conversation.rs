//! What running code and its caller say to each other: progress, logs, questions, cancellation.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dynamic_mcp::base::deadline::Deadline;
use dynamic_mcp::domain::asking::{Answer, Ask};
use dynamic_mcp::domain::failure::FailureKind;
use dynamic_mcp::domain::json::JsonText;
use dynamic_mcp::domain::run::{Cancel, Observer};
use dynamic_mcp::engine::Engine;

use super::Fixture;
use crate::support::engine::{Runs as _, job, kind_of, outcome_text, patience};

/// Writes down what it hears; answers questions by their key; may cancel on the first word.
#[derive(Default)]
struct Scribe {
    heard: Vec<String>,
    cancel: Option<Cancel>,
}

impl Scribe {
    fn note(&mut self, what: String) {
        self.heard.push(what);
        if let Some(cancel) = self.cancel.take() {
            // From another thread, as a client's cancellation arrives.
            std::thread::spawn(move || cancel.cancel()).join().unwrap();
        }
    }
}

impl Observer for Scribe {
    fn log(&mut self, level: &str, data: &JsonText) {
        self.note(format!("log {level} {}", data.text()));
    }
    fn progress(&mut self, done: f64, total: Option<f64>, message: Option<&str>) {
        self.note(format!("progress {done} {total:?} {message:?}"));
    }
    fn ask(&mut self, ask: Ask) -> Answer {
        let (kind, key) = (ask.kind.as_str(), ask.key.as_str());
        self.note(format!("ask {kind} {key} {}", ask.params.text()));
        let text = match key {
            "no" => return Answer::Refused("declined é\n\"".to_owned()),
            "null" => "null".to_owned(),
            "big" => format!("\"{}\"", "b".repeat(1_000_000)),
            later if later.starts_with("later") => return Answer::Later,
            // Clients write JSON as they like.
            other => format!("{{\r\n\t\"for\":\n\"{other}\"}}"),
        };
        Answer::Value(JsonText::parse(text).unwrap())
    }
}

fn hear(fixture: &Fixture, code: &str) -> (String, Vec<String>) {
    let mut scribe = Scribe::default();
    let ended = fixture.run_observed(&job(code, "{}"), &mut scribe);
    (outcome_text(&ended.outcome), scribe.heard)
}

#[test]
fn progress_and_logs_arrive_in_order() {
    let (outcome, heard) = hear(
        &Fixture::new(),
        "ctx.progress(1); ctx.progress(2, 10, 'two\\n'); ctx.progress(NaN, null, undefined);
         ctx.progress('3', 4.5, {toString: () => 'm\\ud800'});
         ctx.log('info', {a: [1, undefined]}); ctx.log('emergency'); ctx.log('debug', 'text');
         const refused = [];
         for (const act of [() => ctx.log('loud', 1), () => ctx.log('info', 1n),
             () => ctx.progress(Symbol()),
             () => ctx.log('info', 'x'.repeat(70000)), () => { 'use strict'; ctx.progress = 1; }])
           try { act(); refused.push('accepted'); } catch (error) { refused.push(error.message); }
         return refused",
    );
    let expected = [
        "progress 1 None None",
        "progress 2 Some(10.0) Some(\"two\\n\")",
        "progress 0 None None",
        "progress 3 Some(4.5) Some(\"m\u{fffd}\")",
        "log info {\"a\":[1,null]}",
        "log emergency null",
        "log debug \"text\"",
    ];
    assert_eq!(heard, expected);
    let refused: Vec<String> = serde_json::from_str(&outcome).unwrap();
    let [level, bigint, symbol, large, frozen] = refused.as_slice() else {
        panic!("{outcome}")
    };
    assert!(
        level.starts_with("the level must be one of debug, info"),
        "{level}"
    );
    assert_eq!(bigint, "$ is a BigInt: use Number(…) or String(…)");
    assert_eq!(symbol, "Cannot convert a Symbol value to a number");
    assert!(large.contains("65536"), "{large}");
    assert!(frozen.contains("read only"), "{frozen}");
}

#[test]
fn questions_are_answered_or_refused() {
    let (outcome, heard) = hear(
        &Fixture::new(),
        "const answers = await Promise.all([ctx.elicit('name', {message: 'Who?'}),
           ctx.sample('think', [1]), ctx.listRoots('roots'), ctx.elicit('null')]);
         const big = await ctx.sample('big');
         const errors = [];
         for (const ask of [() => ctx.elicit('no'), () => ctx.elicit(''), () => ctx.sample(5),
             () => ctx.elicit('k', 1n)])
           await ask().then(() => errors.push('answered'), error => errors.push(error.message));
         return [answers, big.length, errors]",
    );
    let expected = [
        "ask elicit name {\"message\":\"Who?\"}",
        "ask sample think [1]",
        "ask listRoots roots null",
        "ask elicit null null",
        "ask sample big null",
        "ask elicit no null",
    ];
    assert_eq!(heard, expected);
    assert_eq!(
        outcome,
        "[[{\"for\":\"name\"},{\"for\":\"think\"},{\"for\":\"roots\"},null],1000000,\
         [\"declined é\\n\\\"\",\"the key must be 1 to 64 characters of printable ASCII\",\
         \"the key must be 1 to 64 characters of printable ASCII\",\"$ is a BigInt: use Number(…) or String(…)\"]]"
    );
}

#[test]
fn a_run_asks_all_that_it_can_before_it_waits() {
    let fixture = Fixture::new();
    let check = |code: &str, outcome: &str, keys: &[&str]| {
        let (found, heard) = hear(&fixture, code);
        let asked: Vec<_> = heard
            .iter()
            .filter_map(|line| line.split(' ').nth(2))
            .collect();
        assert_eq!(
            (found.as_str(), asked.as_slice()),
            (outcome, keys),
            "{code}"
        );
    };
    check("return await ctx.elicit('later')", "waiting", &["later"]);
    check(
        "await Promise.all(['later1', 'a', 'later2'].map(async key => {
           await ctx.elicit(key); await ctx.sample(key + '+'); }))",
        "waiting",
        &["later1", "a", "later2", "a+"],
    );
    check(
        "await ctx.elicit('a'); const late = ctx.listRoots('later');
         await ctx.elicit('b'); await ctx.elicit('c'); await late",
        "waiting",
        &["a", "later", "b", "c"],
    );
    // It does not wait for timers, nor does code that nobody can answer.
    check(
        "const slow = new Promise(resolve => setTimeout(resolve, 60000));
         await Promise.race([slow, ctx.elicit('later')])",
        "waiting",
        &["later"],
    );
    check(
        "await Promise.all([ctx.elicit('later'), ctx.elicit('no')])",
        "threw: declined é\n\"",
        &["later", "no"],
    );
    check(
        "globalThis.setImmediate = () => {}; await ctx.elicit('later')",
        "waiting",
        &["later"],
    );
}

#[test]
fn the_end_does_not_wait_for_answers_nor_miss_that_there_are_none() {
    let fixture = Fixture::new();
    let code = "ctx.elicit('later'); return 1";
    assert_eq!(hear(&fixture, code).0, "1");
    let code = "await ctx.elicit('a'); await new Promise(() => {})";
    assert_eq!(hear(&fixture, code).0, "threw: promise never settles");
    let code = "ctx.elicit('no'); await new Promise(resolve => setTimeout(resolve, 5000))";
    assert_eq!(hear(&fixture, code).0, "threw: declined é\n\"");
}

#[test]
fn cancellation_reaches_the_code_and_ends_it() {
    let fixture = Fixture::new();
    let cancel_at_first_word = |code: &str| {
        let cancel = Cancel::default();
        let mut scribe = Scribe {
            cancel: Some(cancel.clone()),
            ..Scribe::default()
        };
        let began = Instant::now();
        let ended = fixture
            .engine
            .run(&job(code, "{}"), patience(), &cancel, &mut scribe);
        assert!(began.elapsed() < Duration::from_secs(60), "{code}");
        (ended, scribe.heard)
    };
    let cancelled = "cancelled: the call was cancelled";
    for code in [
        "ctx.progress(0); while (true) {}",
        "ctx.progress(0); await new Promise(resolve => setTimeout(resolve, 1e6))",
        "process.on('SIGTERM', () => {}); ctx.progress(0);
         await new Promise(() => setInterval(() => {}, 9))",
        "ctx.progress(0);
         await require('timers/promises').setTimeout(1e6, 0, {signal: ctx.signal})",
        "ctx.signal.addEventListener('abort', () => process.exit(3)); ctx.progress(0);
         await new Promise(resolve => setTimeout(resolve, 1e6))",
    ] {
        let (ended, _) = cancel_at_first_word(code);
        assert_eq!(
            outcome_text(&ended.outcome).split(" @").next(),
            Some(cancelled),
            "{code}"
        );
        fixture.assert_gone(code);
    }
    // Code that listens may tidy up, and a result that it still has is one.
    let (ended, heard) = cancel_at_first_word(
        "ctx.progress(0); await new Promise(resolve => {
           ctx.signal.addEventListener('abort', () => { ctx.progress(9); resolve(); });
           setTimeout(resolve, 1e6); });
         return [ctx.signal.aborted, ctx.signal.reason.message]",
    );
    assert_eq!(heard, ["progress 0 None None", "progress 9 None None"]);
    assert_eq!(
        outcome_text(&ended.outcome),
        "[true,\"the call was cancelled\"]"
    );
}

#[test]
fn a_call_cancelled_before_it_starts_runs_nothing() {
    let fixture = Fixture::new();
    let cancel = Cancel::default();
    cancel.cancel();
    let mut scribe = Scribe::default();
    let ended = fixture.engine.run(
        &job("ctx.progress(1); return 1", "{}"),
        patience(),
        &cancel,
        &mut scribe,
    );
    assert_eq!(kind_of(&ended), Some(FailureKind::Cancelled), "{ended:?}");
    assert!(scribe.heard.is_empty(), "it ran");
    fixture.assert_gone("cancelled before its start");
}

#[test]
fn a_call_that_finds_no_place_in_time_is_refused_and_leaves_nothing() {
    let fixture = Fixture::new();
    let refused = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for millis in [0, 1, 20, 60, 90] {
            let (fixture, refused) = (&fixture, &refused);
            scope.spawn(move || {
                let acquire = Deadline::after(Duration::from_millis(millis));
                let job = job("return 1", "{}");
                let ended =
                    fixture
                        .engine
                        .run(&job, acquire, &Cancel::default(), &mut Scribe::default());
                let Err(failure) = ended.outcome else { return };
                // A daemon that says nothing at all in that time counts as away.
                let silent = failure.message == "the Docker daemon did not answer in time";
                let busy = failure.kind == FailureKind::Busy;
                assert!(busy || (silent && millis > 0), "{millis} ms: {failure:?}");
                assert!(failure.retry_after_ms.is_some(), "{failure:?}");
                refused.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    assert!(refused.into_inner() >= 2, "0 and 1 ms cannot be enough");
}
