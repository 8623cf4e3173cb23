//! Sudden deaths under load: whatever was acknowledged is in the log, and the log is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const CHILD: &str = "AUDIT_TEST_KILLED";
const THREADS: usize = 4;

/// Files small enough that kills fall into rotations too.
fn under_load(file: &Path) -> AuditConfig {
    AuditConfig {
        max_file_bytes: 1_000_000,
        max_files: 100,
        ..config(file)
    }
}

/// Acts without end; each is told once it is in the log.
fn load(file: &Path) {
    let audit = Audit::open(options(under_load(file))).unwrap();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let name = format!("p{}.{number}", std::process::id());
                    note(&audit, &name).unwrap();
                    // One write, so that a kill cannot tear it.
                    let line = format!("\nack {name}\n");
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                }
            });
        }
    });
}

#[test]
fn no_kill_takes_an_acknowledged_act_or_breaks_the_chain() {
    if let Some(file) = std::env::var_os(CHILD) {
        return load(Path::new(&file));
    }
    let long = std::env::var_os("DYNAMIC_MCP_TEST_LONG").is_some();
    let wanted = if long { 100_000 } else { 10_000 };
    let scratch = Scratch::new();
    let mut acknowledged = BTreeSet::new();
    let mut rounds = 0;
    while acknowledged.len() < wanted {
        rounds += 1;
        let here = "audit::tests::kills::no_kill_takes_an_acknowledged_act_or_breaks_the_chain";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", here, "--nocapture", "--test-threads=1"])
            .env(CHILD, scratch.log())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acks = lines
            .map_while(Result::ok)
            .filter_map(|line| Some(line.strip_prefix("ack ")?.to_owned()));
        let random = u16::from_le_bytes(ids::random_bytes());
        let survives = usize::from(random) % (wanted / 10) + 1;
        acknowledged.extend(acks.by_ref().take(survives));
        child.kill().unwrap();
        acknowledged.extend(acks);
        assert!(!child.wait().unwrap().success());
    }
    drop(Audit::open(options(under_load(&scratch.log()))).unwrap());
    let report = proven(&scratch.log());
    assert_eq!(report.first_seq, 1, "{report:?}");
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for line in lines(&scratch.log()) {
        let target = line["target"].as_str().unwrap();
        *found.entry(target.to_owned()).or_default() += 1;
    }
    assert!(found.values().all(|count| *count == 1));
    let missing: Vec<_> = acknowledged
        .iter()
        .filter(|name| !found.contains_key(*name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    // Each start but the first follows a kill, and says so.
    assert!(rounds > 5, "{rounds} kills are too few to mean anything");
    let marks = report.breaks.iter().map(|(_, reason)| reason.as_str());
    assert!(
        marks
            .clone()
            .all(|reason| ["not_stopped", "torn_line"].contains(&reason))
    );
    assert!(marks.count() < rounds + 1);
    let unanswered = found.len() - acknowledged.len();
    assert!(
        unanswered <= rounds * THREADS,
        "{unanswered} lines nobody was told of in {rounds} rounds"
    );
}
