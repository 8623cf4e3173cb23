//! The container that compiles and never runs: one for all checks, replaced when it dies.

use std::time::{Duration, Instant};

use dynamic_mcp::base::deadline::Deadline;
use dynamic_mcp::domain::failure::FailureKind;
use dynamic_mcp::engine::Engine;

use crate::support::daemon;
use crate::support::engine::{Fixture, await_that, failure_text, image, patience};

fn checkers(fixture: &Fixture) -> Vec<String> {
    let ours = fixture.containers();
    ours.iter()
        .filter(|one| one.labels["dynamic-mcp.kind"] == "checker")
        .map(|one| one.id.clone())
        .collect()
}

#[test]
fn twelve_checks_at_once_share_one_container() {
    let fixture = Fixture::new();
    std::thread::scope(|scope| {
        for n in 0..12_u32 {
            let fixture = &fixture;
            scope.spawn(move || {
                let blank = "\n".repeat(n as usize);
                fixture.engine.check(None, "return 1", patience()).unwrap();
                let code = format!("{blank}let a; let a;");
                let failure = fixture.engine.check(None, &code, patience()).unwrap_err();
                assert_eq!((failure.line, failure.column), (Some(n + 1), Some(12)));
            });
        }
    });
    assert_eq!(checkers(&fixture).len(), 1);
    assert_eq!(fixture.containers().len(), 1);
}

#[test]
fn a_checker_killed_under_it_is_replaced_unseen() {
    let fixture = Fixture::new();
    fixture.engine.check(None, "return 1", patience()).unwrap();
    let [first] = checkers(&fixture).try_into().unwrap();
    daemon().remove_container(&first, patience()).unwrap();
    fixture.engine.check(None, "return 1", patience()).unwrap();
    let [second] = checkers(&fixture).try_into().unwrap();
    assert_ne!(first, second);
}

#[test]
fn a_checker_s_time_is_over_after_a_thousand_checks() {
    let fixture = Fixture::new();
    fixture.engine.check(None, "return 1", patience()).unwrap();
    let [first] = checkers(&fixture).try_into().unwrap();
    for _ in 0..999 {
        fixture.engine.check(None, "return 1", patience()).unwrap();
    }
    assert_eq!(checkers(&fixture), [first.as_str()]);
    fixture.engine.tidy(patience());
    await_that("the spent checker is removed", || {
        checkers(&fixture).is_empty()
    });
    fixture.engine.check(None, "return 1", patience()).unwrap();
    assert_ne!(checkers(&fixture), [first]);
}

#[test]
fn checked_code_never_runs() {
    let fixture = Fixture::new();
    let code = "process.exit(1); while (true) {}";
    fixture.engine.check(None, code, patience()).unwrap();
    let trick = "}); process.exit(1); (async function () {";
    assert!(fixture.engine.check(None, trick, patience()).is_err());
    let trick = "}, process.exit(1)); (function () {";
    assert!(fixture.engine.check(None, trick, patience()).is_err());
    assert_eq!(checkers(&fixture).len(), 1);
}

#[test]
fn code_that_is_hard_to_compile_is_refused_and_costs_only_itself() {
    let fixture = Fixture::new();
    let began = Instant::now();
    let nested = format!("{}1{}", "[".repeat(99_000), "]".repeat(99_000));
    let blocks = format!("{}{}", "{".repeat(99_000), "}".repeat(99_000));
    let calls = format!("x{}", "(x".repeat(60_000));
    for code in [
        nested,
        blocks,
        calls,
        "\u{0}".to_owned(),
        "\u{feff}return 1".to_owned(),
    ] {
        if let Err(failure) = fixture.engine.check(None, &code, patience()) {
            let kinds = [FailureKind::Threw, FailureKind::Policy];
            assert!(kinds.contains(&failure.kind), "{}", failure_text(&failure));
        }
        fixture.engine.check(None, "return 1", patience()).unwrap();
    }
    assert!(
        began.elapsed() < Duration::from_secs(45),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn checks_obey_the_image_rule_and_their_deadline() {
    let fixture = Fixture::new();
    let other = image("other:1");
    let refused = fixture.engine.check(Some(&other), "return 1", patience());
    let failure = refused.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Policy, "{failure:?}");
    assert!(
        failure.message.contains("MCP_SANDBOX_ALLOWED_IMAGES"),
        "{failure:?}"
    );

    let now = Deadline::after(Duration::from_millis(1));
    let failure = fixture.engine.check(None, "return 1", now).unwrap_err();
    let expected = [FailureKind::Busy, FailureKind::EngineUnavailable];
    assert!(expected.contains(&failure.kind), "{failure:?}");
    fixture.engine.check(None, "return 1", patience()).unwrap();
    // With a checker at hand, too: patience that ends is not the code's fault.
    let slow = format!(
        "return [{}]",
        "function () { return {a: [1, 2]}; }, ".repeat(5000)
    );
    for micros in [0, 50, 200, 500, 1000] {
        let late = Deadline::after(Duration::from_micros(micros));
        if let Err(failure) = fixture.engine.check(None, &slow, late) {
            assert!(expected.contains(&failure.kind), "{micros}: {failure:?}");
        }
    }
    fixture.engine.check(None, &slow, patience()).unwrap();
    let now = Deadline::after(Duration::ZERO);
    let before = checkers(&fixture);
    assert!(fixture.engine.check(None, "return 1", now).is_err());
    assert_eq!(
        checkers(&fixture),
        before,
        "an impatient caller costs the others nothing"
    );
}
