//! What lines look like: the golden file, redaction, clipping, and how acts end.

use super::*;
use crate::audit::chain;
use crate::domain::image::UsedImage;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/audit.jsonl");

fn act_out(audit: &Audit) {
    let server = |action, target: &str| Event::of_server(action, target);
    let (begins, version) = (server(Action::ServerStart, ""), "1.2.3");
    let details = Details::Server {
        version,
        profile: "enterprise",
    };
    audit.record(&begins, ActResult::Success, details).unwrap();
    let create = audit
        .begin(event(Action::ToolCreate, "math.add"), Details::None {})
        .unwrap();
    let digest = CodeDigest::of("return args.a + args.b");
    let tool = Details::Stored {
        revision: 1,
        digest: digest.clone(),
    };
    create.finish(ActResult::Success, tool).unwrap();
    let run = || Details::Run {
        revision: Some(1),
        digest: digest.clone(),
        image: None,
        dependencies: String::new(),
    };
    let exec = |target| audit.begin(event(Action::Exec, target), run()).unwrap();
    let ran = Details::Ran {
        duration_ms: 12,
        outcome: "ok",
        image: Some(UsedImage {
            name: "node:lts-slim".to_owned(),
            id: format!("sha256:{}", "01".repeat(32)),
            digest: None,
        }),
    };
    exec("math.add").finish(ActResult::Success, ran).unwrap();
    drop(exec("math.add"));
    let rejected = event(Action::GuardReject, "dynamic.exec.math.add");
    audit.deny(&rejected, "rate_limited", Some(1500));
    let token = [7; 32];
    for _ in 0..3 {
        let details = Details::Authenticated {
            scopes: vec!["mcp.call".to_owned()],
        };
        audit
            .authenticated(&event(Action::HttpAuth, "/mcp"), &token, details)
            .unwrap();
    }
    let strange = event(Action::ToolDelete, "a\nb\u{1b}[31m\u{9b}\u{202e}\"\\é");
    let failed = Details::Failed {
        outcome: "invalid_arguments",
    };
    audit.record(&strange, ActResult::Error, failed).unwrap();
    audit.stop();
}

#[test]
fn the_lines_of_a_server_s_life() {
    let scratch = Scratch::new();
    act_out(&open(&scratch.log()));
    let written = std::fs::read_to_string(scratch.log()).unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &written).unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap();
    assert_eq!(written, golden, "run the tests with UPDATE_GOLDEN=1");
    let report = proven(&scratch.log());
    assert_eq!((report.first_seq, report.last_seq), (1, report.lines));
    assert_eq!(report.breaks, []);
    let last = lines(&scratch.log()).pop().unwrap();
    assert_eq!(last["action"], "server.stop");
    assert_eq!(last["hash"], report.head.as_str());
}

#[test]
fn a_log_that_is_off_refuses_and_writes_nothing() {
    let audit = Audit::off();
    act_out(&audit);
    assert_eq!(audit.status(), None);
    assert!(note(&audit, "x").is_ok());
}

#[test]
fn a_flood_of_refusals_is_told_in_a_few_lines() {
    let scratch = Scratch::new();
    let audit = open(&scratch.log());
    let rejected = event(Action::GuardReject, "dynamic.exec.math.add");
    for _ in 0..20_000 {
        audit.deny(&rejected, "rate_limited", Some(1500));
    }
    audit.stop();
    let lines = lines(&scratch.log());
    assert_eq!(lines.len(), 5 + 1 + 1);
    assert_eq!(
        lines[4]["details"],
        json!({"reason": "rate_limited", "retryAfterMs": 1500})
    );
    let counted = &lines[5];
    assert_eq!(counted["action"], "guard.reject");
    assert_eq!(counted["result"], "denied");
    assert_eq!(counted["actor"]["sub"], "ann");
    assert_eq!(counted["details"]["folded"], 19_995);
}

#[test]
fn an_act_that_is_dropped_is_aborted_even_by_a_panic() {
    let scratch = Scratch::new();
    let audit = open(&scratch.log());
    let details = Details::Run {
        revision: None,
        digest: CodeDigest::of(""),
        image: None,
        dependencies: String::new(),
    };
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _act = audit.begin(event(Action::RunJs, "run_js_ephemeral"), details);
        panic!("a defect in between");
    }));
    assert!(unwound.is_err());
    let lines = lines(&scratch.log());
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["details"]["phase"], "intent");
    let end = &lines[1]["details"];
    assert_eq!(
        (&end["phase"], &end["outcome"]),
        (&json!("outcome"), &json!("aborted"))
    );
    assert_eq!(end["intentSeq"], lines[0]["seq"]);
    assert_eq!(lines[1]["result"], "error");
}

#[test]
fn time_may_run_backwards() {
    let scratch = Scratch::new();
    let ticks = std::sync::atomic::AtomicU64::new(2_000_000_000);
    let backwards: Clock = Arc::new(move || {
        let now = ticks.fetch_sub(1000, std::sync::atomic::Ordering::Relaxed);
        UNIX_EPOCH + Duration::from_secs(now)
    });
    let audit = Audit::open(AuditOptions {
        clock: backwards,
        ..options(config(&scratch.log()))
    })
    .unwrap();
    for _ in 0..10 {
        note(&audit, "t").unwrap();
    }
    audit.stop();
    let lines = lines(&scratch.log());
    let times: Vec<_> = lines.iter().map(|line| line["ts"].as_str()).collect();
    assert!(times.is_sorted_by(|one, next| one > next), "{times:?}");
    assert_eq!(proven(&scratch.log()).lines, 11);
}

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % bound
    }

    fn text(&mut self, secrets: &[&str]) -> String {
        const PIECES: [&str; 12] = [
            "a",
            "é",
            "\"",
            "\\",
            "\n",
            "\u{0}",
            "\u{9b}",
            "\u{2028}",
            "𝄞",
            " ",
            "[REDACTED",
            "x=",
        ];
        let count = self.below(40);
        let mut text: String = (0..count)
            .map(|_| PIECES[self.below(PIECES.len())])
            .collect();
        for _ in 0..self.below(3) {
            text.push_str(secrets[self.below(secrets.len())]);
            text.push_str(PIECES[self.below(PIECES.len())]);
        }
        if self.below(10) == 0 {
            text = text.repeat(1 + self.below(600));
        }
        text
    }

    fn value(&mut self, secrets: &[&str], depth: usize) -> Value {
        const KEYS: [&str; 9] = [
            "name",
            "Api-Key",
            "accessToken",
            "x_secret",
            "PASSWORD",
            "cookies",
            "n",
            "a\u{85}",
            "b",
        ];
        match self.below(if depth == 0 { 3 } else { 5 }) {
            0 => json!(self.text(secrets)),
            1 => json!(self.below(1000)),
            2 => Value::Null,
            3 => (0..self.below(5))
                .map(|_| self.value(secrets, depth - 1))
                .collect(),
            _ => {
                let fields = (0..self.below(6)).map(|_| {
                    let mut key = KEYS[self.below(KEYS.len())].to_owned();
                    if self.below(8) == 0 {
                        key.push_str(secrets[0]);
                    }
                    (key, self.value(secrets, depth - 1))
                });
                Value::Object(fields.collect())
            }
        }
    }
}

fn sensitive_values_are_hidden(value: &Value) {
    match value {
        Value::Array(items) => items.iter().for_each(sensitive_values_are_hidden),
        Value::Object(fields) => {
            for (key, value) in fields {
                let sensitive = ["Api-Key", "accessToken", "x_secret", "PASSWORD", "cookies"];
                if sensitive.iter().any(|word| key.starts_with(word)) {
                    assert!(
                        value.as_str().unwrap().starts_with("[REDACTED]"),
                        "{key}: {value}"
                    );
                }
                sensitive_values_are_hidden(value);
            }
        }
        _ => {}
    }
}

#[test]
fn no_secret_no_control_character_and_no_byte_too_many() {
    let secrets = [
        "hunter2!",
        "hunter2!hunter3?",
        "quo\"ted\\secret",
        "passé-µ",
    ];
    let redactor = Redactor::new(&secrets.map(Secret::new));
    let mut random = Random(7);
    for round in 0..3000 {
        let max = [1000, 1200, 5000, 20_000][round % 4];
        let mut text = || Some(random.text(&secrets));
        let mut event = event(Action::ToolDisable, "");
        event.actor = Actor {
            issuer: text(),
            subject: text(),
            client: text(),
        };
        event.target = random.text(&secrets);
        event.request_id = random.text(&secrets);
        let details = Map::from_iter([("d".to_owned(), random.value(&secrets, 4))]);
        let body = Body::new(&event, ActResult::Denied, details, &redactor, max);
        let mut chain = chain::Chain {
            seq: u64::MAX - 1,
            hash: [255; 32],
        };
        let broken = chain::ChainBreak {
            unrecorded: u64::MAX,
            torn: Some(chain::Torn::new(random.text(&["x"]).as_bytes())),
            ..chain::ChainBreak::new("rotation_failed_and_more")
        };
        let broken = (round % 2 == 0).then_some(&broken);
        let time = "2026-07-28T09:30:00.123Z";
        let line = chain.seal(&body, time, &"i".repeat(64), broken, max);
        assert!(line.len() <= max, "{} of {max}: {line}", line.len());
        let (text, end) = line.split_at(line.len() - 1);
        assert_eq!(end, "\n");
        assert!(!text.chars().any(char::is_control), "{text}");
        chain::read_line(text.as_bytes()).unwrap();
        let value: Value = serde_json::from_str(text).unwrap();
        sensitive_values_are_hidden(&value["details"]["d"]);
        let shown = format!("{value:?}");
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} in {text}");
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
    }
}

#[test]
fn long_texts_are_clipped_and_say_so() {
    let redactor = Redactor::new(&[]);
    let long = event(Action::ToolCreate, &"é".repeat(10_000));
    let body = |max| {
        let body = Body::new(&long, ActResult::Success, Map::new(), &redactor, max);
        let mut chain = chain::Chain::START;
        let line = chain.seal(&body, "t", "i", None, max);
        serde_json::from_str::<Value>(&line).unwrap()
    };
    let check = |max, expected: &str| {
        let line = body(max);
        let target = line["target"].as_str().unwrap();
        assert!(target.ends_with(expected), "{target}");
        assert_eq!(line["requestId"], "req-1");
    };
    check(20_000, "é…[15904 bytes more]");
    check(1000, "éééééééé…[19936 bytes more]");
}
