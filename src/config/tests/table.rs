//! Every row of the table, from the table: bounds, gating, masks, use.

use crate::config::kind::{Kind, Value};
use crate::config::settings::{Availability, Fallback, SETTINGS};
use crate::config::testing::{Start, load_env};
use crate::config::{Fault, Problems, documents};

/// Faults of `key` when it alone is `text`.
fn faults(key: &str, text: &str) -> Vec<Fault> {
    let problems = load_env(&[(key, text)]).err().unwrap_or_default();
    let own = problems.iter().filter(|problem| problem.subject == key);
    own.map(|problem| problem.fault.clone()).collect()
}

#[test]
fn every_bound_holds() {
    for setting in SETTINGS {
        let (Kind::Integer { min, max } | Kind::Bytes { min, max }) = setting.kind else {
            continue;
        };
        let key = setting.key;
        let is_range = |fault: &Fault| matches!(fault, Fault::OutOfRange { .. });
        let is_shape = |fault: &Fault| matches!(fault, Fault::Malformed { .. });
        for inside in [min, max] {
            let found = faults(key, &inside.to_string());
            assert!(
                !found.iter().any(|fault| is_range(fault) || is_shape(fault)),
                "{key} {inside}"
            );
            assert_eq!(
                setting.kind.parse(&inside.to_string()),
                Ok(Value::Integer(inside))
            );
        }
        let below = min.checked_sub(1);
        let huge = [max + 1, u64::MAX].map(|number| number.to_string());
        let beyond = ["99999999999999999999".to_owned(), "0".repeat(40) + &huge[0]];
        for outside in below
            .map(|below| below.to_string())
            .iter()
            .chain(&huge)
            .chain(&beyond)
        {
            let found = faults(key, outside);
            assert!(
                matches!(&found[..], [fault] if is_range(fault)),
                "{key}={outside}: {found:?}"
            );
        }
        for garbage in [
            "12abc", "-1", "+1", " 1", "1 ", "1.5", "0x1", "1e3", "１", "ten", "1_0",
        ] {
            let found = faults(key, garbage);
            assert!(
                matches!(&found[..], [fault] if is_shape(fault)),
                "{key}={garbage}: {found:?}"
            );
        }
    }
}

#[test]
fn every_choice_and_switch_is_closed() {
    for setting in SETTINGS {
        let words: &[&str] = match setting.kind {
            Kind::Bool => &["true", "false", "1", "0"],
            Kind::Choice(words) => words,
            _ => continue,
        };
        for word in words {
            assert!(setting.kind.parse(word).is_ok(), "{} {word}", setting.key);
        }
        for wrong in ["TRUE", "yes", "on", "x", " true", "http,stdio"] {
            let found = faults(setting.key, wrong);
            let malformed = matches!(&found[..], [Fault::Malformed { allowed, .. }]
                if *allowed == setting.kind.allowed());
            assert!(malformed, "{} {wrong} {found:?}", setting.key);
        }
    }
}

#[test]
fn empty_is_wrong_for_every_row() {
    for setting in SETTINGS {
        let found = faults(setting.key, "");
        assert!(
            matches!(&found[..], [Fault::Empty { .. }]),
            "{} {found:?}",
            setting.key
        );
    }
}

/// A value that fits the row and is not its default.
fn another_value(key: &str, kind: Kind, fallback: Fallback) -> String {
    let default = match fallback {
        Fallback::Is(text) => text,
        _ => "",
    };
    let candidates: Vec<String> = match kind {
        Kind::Integer { min, max } => vec![min.to_string(), max.to_string()],
        Kind::Bytes { min, max } => vec![min.to_string(), max.to_string()],
        Kind::Bool => vec!["true".to_owned(), "false".to_owned()],
        Kind::Choice(words) => words.iter().map(|word| (*word).to_owned()).collect(),
        Kind::Csv(_) => ["tool", "10.0.0.1", "https://b.example"]
            .map(str::to_owned)
            .to_vec(),
        Kind::Url(_) => vec!["https://a.example/x".to_owned()],
        Kind::PgUrl => vec!["postgres://localhost/db".to_owned()],
        Kind::DockerHost => vec!["tcp://127.0.0.1:2375".to_owned()],
        Kind::Cpus => vec!["2".to_owned()],
        Kind::Host => vec!["::1".to_owned()],
        _ => vec!["/another".to_owned(), "another".to_owned()],
    };
    let fits = |text: &&String| kind.parse(text).is_ok() && *text != default;
    let found = candidates.iter().rev().find(fits).cloned();
    found.unwrap_or_else(|| panic!("no candidate fits {key}"))
}

#[test]
fn parts_that_are_not_built_are_refused_by_name() {
    let gated = |key: &str, text: &str| {
        let start = Start {
            env: &[(key, text)],
            ..Start::default()
        };
        let problems = start.load_gated().err().unwrap_or_default();
        let late = |fault: &Fault| matches!(fault, Fault::NotAvailable { .. });
        problems
            .iter()
            .any(|problem| problem.subject == key && late(&problem.fault))
    };
    for setting in SETTINGS {
        let (key, another) = (
            setting.key,
            another_value(setting.key, setting.kind, setting.fallback),
        );
        if let Fallback::Is(default) = setting.fallback {
            assert!(!gated(key, default), "the default of {key} is refused");
        }
        match setting.availability {
            Availability::Built => assert!(!gated(key, &another), "{key}={another}"),
            Availability::LaterFor(_, starts) => {
                assert!(gated(key, starts[0]), "{key}={}", starts[0]);
            }
            Availability::Later(_) => assert!(gated(key, &another), "{key}={another}"),
        }
    }
}

#[test]
fn the_gate_says_what_is_missing_and_hides_what_follows_from_it() {
    let start = Start {
        env: &[("MCP_EXPERIMENTAL_UPSTREAM_MCP_ATTACH", "true")],
        ..Start::default()
    };
    let problems = start.load_gated().unwrap_err().to_string();
    let expected = "MCP_EXPERIMENTAL_UPSTREAM_MCP_ATTACH (environment): not available yet: ";
    assert!(
        problems.starts_with(expected) && problems.lines().count() == 1,
        "{problems}"
    );
    let open = start.load().unwrap_err().to_string();
    assert!(open.contains("needs MCP_PROFILE=enterprise"), "{open}");
}

#[test]
fn no_secret_is_ever_shown() {
    const NEEDLE: &str = "hunter2";
    // Right, wrong, and wrong in ways that each fault could quote.
    let values = [
        format!("{NEEDLE}-{NEEDLE}"),
        format!("{NEEDLE} {NEEDLE}"),
        format!("{NEEDLE}\u{1}"),
        format!("postgres://u:{NEEDLE}@localhost/db"),
        format!("postgres://u:{NEEDLE}@db.example/db"),
        format!("postgres://u:{NEEDLE}@db.example/db?sslmode={NEEDLE}"),
        format!("postgres://u:{NEEDLE}%@localhost/db?password={NEEDLE}"),
        format!("https://u:{NEEDLE}@a.example/"),
        format!("tcp://u:{NEEDLE}@a.example:1"),
        NEEDLE.repeat(20_000),
    ];
    let shown = |loaded: Result<crate::config::Loaded, Problems>| match loaded {
        Ok(loaded) => {
            let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
            format!(
                "{loaded:?} {warnings:?} {}",
                crate::cli::config::config_text(&loaded)
            )
        }
        Err(problems) => format!("{problems:?} {problems}"),
    };
    // Named here once more, so that the test does not believe what it tests.
    let confidential = |kind: Kind| {
        matches!(
            kind,
            Kind::Token | Kind::PgUrl | Kind::Url(_) | Kind::DockerHost
        )
    };
    for setting in SETTINGS.iter().filter(|setting| confidential(setting.kind)) {
        for value in &values {
            let mut starts = Vec::new();
            let env = [(setting.key, value.as_str())];
            starts.push(
                Start {
                    env: &env,
                    ..Start::default()
                }
                .load(),
            );
            let line = format!("{}='{value}'", setting.key);
            let files = [(".env", line.as_str()), ("/s", value.as_str())];
            starts.push(
                Start {
                    files: &files,
                    ..Start::default()
                }
                .load(),
            );
            let flag = setting.flag().unwrap_or_default();
            let flags = [(flag.as_str(), Some(value.as_str()))];
            starts.push(
                Start {
                    flags: &flags,
                    ..Start::default()
                }
                .load(),
            );
            let file_key = setting.file_key().unwrap_or_default();
            let env = [(file_key.as_str(), "/s")];
            starts.push(
                Start {
                    env: &env,
                    files: &files[1..],
                    ..Start::default()
                }
                .load(),
            );
            for loaded in starts {
                let text = shown(loaded);
                assert!(!text.contains(NEEDLE), "{}: {text}", setting.key);
            }
        }
    }
}

#[test]
fn every_row_is_used() {
    let code = [
        include_str!("../parse.rs"),
        include_str!("../http.rs"),
        include_str!("../store.rs"),
        include_str!("../engine.rs"),
        include_str!("../auth.rs"),
    ];
    for setting in SETTINGS {
        let quoted = format!("\"{}\"", setting.key);
        assert!(
            code.iter().any(|code| code.contains(&quoted)),
            "{} has no effect",
            setting.key
        );
    }
}

#[test]
fn the_production_example_is_a_production_baseline() {
    let start = Start {
        env_file: Some(".env.prod"),
        files: &[
            (".env.prod", &documents::prod_example()),
            (
                "/run/secrets/dynamic_pg_url",
                "postgres://u:p@db/d?sslmode=verify-full\n",
            ),
            (
                "/run/secrets/admin_token",
                "0123456789abcdef0123456789abcdef\n",
            ),
        ],
        ..Start::default()
    };
    let loaded = start
        .load()
        .map_err(|problems| problems.to_string())
        .unwrap();
    let config = loaded.config;
    assert_eq!(config.profile, crate::config::Profile::Enterprise);
    assert!(matches!(
        config.store.backend,
        crate::config::Backend::Postgres(_)
    ));
    assert!(matches!(config.auth.mode, crate::config::AuthMode::Jwt(_)));
    assert!(config.auth.admin_token_required && config.auth.admin_token.is_some());
    assert!(config.audit.is_some() && !config.is_local_only());
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn commented_lines_of_the_production_example_show_the_defaults() {
    let example = documents::prod_example();
    for setting in SETTINGS {
        if let Fallback::Is(default) = setting.fallback {
            let line = format!("\n#{}={default}\n", setting.key);
            let in_force = format!("\n{}=", setting.key);
            assert!(
                example.contains(&line) || example.contains(&in_force),
                "{}",
                setting.key
            );
        }
    }
}
