//! What watches a server in production: the alert rules fire when they should and not otherwise,
//! and rules and dashboard ask for what a real server shows.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use dynamic_mcp::domain::failure::FailureKind;
use serde_json::Value;

use crate::support::daemons::succeeded;
use crate::support::engine::await_that;
use crate::support::http::call_body;
use crate::support::idp::Idp;
use crate::support::manifests::text;
use crate::support::postgres::{Cluster, fresh_schema};
use crate::support::server::{Folder, Server, stderr, stdout};

const RULES: &str = "deploy/alerts.yml";
const TESTS: &str = "tests/alerts/alerts_test.yml";

/// The values of the lines `- name: …` and the like.
fn named(text: &str, mark: &str) -> Vec<String> {
    let lines = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix(mark));
    lines.map(str::to_owned).collect()
}

fn promtool(arguments: &[&str], folder: &Folder) -> Output {
    let mut command = Command::new("promtool");
    command
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .unwrap()
}

/// Prometheus' own verdict on these rules by our tests of them.
fn test_rules(rules: &str) -> Output {
    let folder = Folder::new();
    std::fs::write(folder.path().join("alerts.yml"), rules).unwrap();
    std::fs::write(folder.path().join("test.yml"), text(TESTS)).unwrap();
    succeeded(
        "check rules",
        &promtool(&["check", "rules", "alerts.yml"], &folder),
    );
    promtool(&["test", "rules", "test.yml"], &folder)
}

#[test]
fn alerts_fire_at_trouble_and_at_nothing_else() {
    let rules = text(RULES);
    succeeded("test rules", &test_rules(&rules));
    let alerts = named(&rules, "- alert: ");
    assert!(alerts.len() >= 20);
    let expected: BTreeSet<_> = alerts
        .iter()
        .flat_map(|alert| [format!("{alert}, trouble"), format!("{alert}, none")])
        .collect();
    assert_eq!(
        BTreeSet::from_iter(named(&text(TESTS), "- name: ")),
        expected
    );
}

#[test]
fn tests_of_alerts_can_fail() {
    let rules = text(RULES);
    for (from, to) in [
        ("for: 2m", "for: 2h"),
        ("jwks_age_seconds > 3600", "jwks_age_seconds > 3"),
        ("{reason!=\"missing\"}", ""),
        ("severity: critical", "severity: info"),
    ] {
        let changed = rules.replace(from, to);
        assert_ne!(changed, rules, "{from}");
        let verdict = test_rules(&changed);
        assert!(
            !verdict.status.success(),
            "{from} as {to}: {}",
            stdout(&verdict)
        );
        assert!(stderr(&verdict).contains("FAILED") || stdout(&verdict).contains("FAILED"));
    }
}

#[test]
fn the_runbook_has_a_section_for_each_alert() {
    let rules = text(RULES);
    let runbook = text("deploy/production-runbook.md");
    let sections = BTreeSet::from_iter(named(&runbook, "### "));
    let alerts = named(&rules, "- alert: ");
    let links = named(&rules, "runbook: deploy/production-runbook.md#");
    assert_eq!(alerts.len(), links.len());
    for (alert, link) in alerts.iter().zip(links) {
        assert!(
            sections.contains(alert),
            "no section {alert} in the runbook"
        );
        assert_eq!(alert.to_lowercase(), link);
    }
    // Nor a section for one that is gone.
    let gone = sections
        .iter()
        .filter(|section| section.starts_with("DynamicMcp"));
    assert_eq!(gone.count(), alerts.len());
}

/// Every query of the dashboard, as Grafana sends it for all servers in ranges of five minutes.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&text("deploy/grafana-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().clone();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let queries = targets
        .flatten()
        .map(|target| target["expr"].as_str().unwrap().to_owned());
    let filled = |query: String| {
        query
            .replace("$instance", ".*")
            .replace("$__rate_interval", "5m")
    };
    queries.map(filled).collect()
}

#[test]
fn panels_of_the_dashboard_have_their_own_places_and_names() {
    let dashboard: Value = serde_json::from_str(&text("deploy/grafana-dashboard.json")).unwrap();
    let (mut taken, mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let place = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        let (left, top) = (place("x"), place("y"));
        assert!(left + place("w") <= 24, "{panel}");
        for x in left..left + place("w") {
            for y in top..top + place("h") {
                assert!(taken.insert((x, y)), "two panels at {x}, {y}: {panel}");
            }
        }
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        assert!(titles.insert(panel["title"].as_str().unwrap()), "{panel}");
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert_eq!(target["datasource"]["uid"], "${datasource}");
        }
    }
}

/// The pieces of `text` that begin with `start` and consist of letters of names.
fn names<'a>(text: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(start).map(|(at, _)| {
        let rest = &text[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        &rest[..end.unwrap_or(rest.len())]
    })
}

/// The label values that queries in this text ask for.
fn wanted_labels(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('{') {
        // What follows a name is a selector; templates and YAML stand alone.
        if !text[..at].ends_with(|c: char| c.is_ascii_alphanumeric()) {
            continue;
        }
        let selector = text[at + 1..].split('}').next().unwrap();
        for matcher in selector.split(',') {
            let (name, values) = matcher.trim().split_once(['=', '!']).unwrap();
            let values = values.trim_matches(['=', '~', '"']);
            found.extend(
                values
                    .split('|')
                    .map(|value| (name.to_owned(), value.to_owned())),
            );
        }
    }
    found
}

#[test]
fn rules_and_dashboard_ask_for_what_a_server_shows() {
    let (mut idp, schema) = (Idp::start(), fresh_schema());
    let url = format!("{}?sslmode=disable", Cluster::shared().url());
    let server = Server::start(&[
        ("MCP_PROFILE", "enterprise"),
        ("MCP_REQUIRE_ADMIN_TOKEN", "false"),
        ("MCP_DYNAMIC_BACKEND", "postgres"),
        ("MCP_DYNAMIC_PG_URL", &url),
        ("MCP_DYNAMIC_PG_SCHEMA", &schema),
        ("MCP_AUTH_MODE", "jwt"),
        ("MCP_AUTH_JWKS_URL", &idp.jwks),
        ("MCP_AUTH_ISSUER", &idp.issuer),
        ("MCP_AUTH_AUDIENCE", "https://mcp.example/mcp"),
    ]);
    await_that("readiness", || server.readiness().0 == 200);
    let bearer = format!(
        "Bearer {}",
        idp.token("alice", "mcp.use", "https://mcp.example/mcp")
    );
    let body = call_body(
        "run_js_ephemeral",
        &serde_json::json!({ "code": "return 1" }),
    );
    assert_eq!(
        server
            .connect()
            .post(&[("Authorization", &bearer)], &body)
            .status,
        200
    );
    let metrics = server.get("/metrics").text();

    let rules = text(RULES);
    let queries = queries();
    assert!(queries.len() > 30);
    for text in queries.iter().chain([&rules]) {
        for name in names(text, "dynamic_mcp_") {
            let shown = [' ', '{']
                .iter()
                .any(|next| metrics.contains(&format!("\n{name}{next}")));
            assert!(shown, "{name} is not in /metrics: {text}");
        }
    }
    let kinds = FailureKind::ALL.map(FailureKind::as_str);
    for query in queries.iter().chain([&rules]) {
        for (label, value) in wanted_labels(query) {
            let given_by_prometheus = ["instance", "job"].contains(&label.as_str());
            let outcome = label == "outcome" && kinds.contains(&value.as_str());
            let shown = metrics.contains(&format!("{label}=\"{value}\""));
            let status = label == "status" && value == "5..";
            assert!(
                given_by_prometheus || outcome || shown || status,
                "{label}={value}: {query}"
            );
        }
    }
    for check in ["registry", "engine", "image", "keys", "audit"] {
        let series = format!("\ndynamic_mcp_readiness_check{{check=\"{check}\"}} 1\n");
        assert!(metrics.contains(&series), "{series}");
    }
    assert!(metrics.contains("\ndynamic_mcp_ready 1\n"));

    // The queries are queries.
    let mut all = String::from("groups:\n  - name: dashboard\n    rules:\n");
    for (index, query) in queries.iter().enumerate() {
        let query = serde_json::to_string(query).unwrap();
        all += &format!("      - {{record: \"panel:{index}\", expr: {query}}}\n");
    }
    let folder = Folder::new();
    std::fs::write(folder.path().join("queries.yml"), all).unwrap();
    succeeded(
        "check rules",
        &promtool(&["check", "rules", "queries.yml"], &folder),
    );
}
