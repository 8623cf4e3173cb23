//! The log against real files, full disks and sudden deaths.

mod kills;
mod lines;
mod proof;
mod trouble;

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::verify::{Report, verify};
use super::*;
use crate::base::ids;
use crate::config::AuditSync;

/// A folder of its own for one test, gone with it.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("audit-{}", ids::random_hex()));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.0
    }

    pub(super) fn log(&self) -> PathBuf {
        self.0.join("audit.log")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) fn config(file: &Path) -> AuditConfig {
    AuditConfig {
        file: file.to_owned(),
        max_event_bytes: 20_000,
        max_file_bytes: 10_000_000,
        max_files: 5,
        on_failure: AuditFailure::Refuse,
        sync: AuditSync::Group,
    }
}

/// A clock that moves a second with every look, from a fixed day on.
pub(super) fn steps() -> Clock {
    let seconds = std::sync::atomic::AtomicU64::new(1_785_231_000);
    Arc::new(move || {
        let now = seconds.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        UNIX_EPOCH + Duration::from_secs(now)
    })
}

pub(super) fn options(config: AuditConfig) -> AuditOptions {
    AuditOptions {
        config,
        instance: "instance-1".to_owned(),
        secrets: vec![Secret::new("open sesame")],
        metrics: Arc::default(),
        clock: steps(),
    }
}

pub(super) fn open(file: &Path) -> Audit {
    Audit::open(options(config(file))).unwrap()
}

pub(super) fn event(action: Action, target: &str) -> Event {
    Event {
        action,
        actor: Actor {
            issuer: Some("https://id.example".to_owned()),
            subject: Some("ann".to_owned()),
            client: None,
        },
        target: target.to_owned(),
        request_id: "req-1".to_owned(),
    }
}

/// One line.
pub(super) fn note(audit: &Audit, target: &str) -> Result<(), Unaudited> {
    let event = event(Action::ToolCreate, target);
    audit.record(&event, ActResult::Success, Details::None {})
}

/// The whole set of a log, as `audit.log*` would find it.
pub(super) fn set(file: &Path) -> Vec<PathBuf> {
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    let entries = std::fs::read_dir(file.parent().unwrap()).unwrap();
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(&name)
        })
        .collect();
    files.sort();
    files
}

pub(super) fn proven(file: &Path) -> Report {
    verify(&set(file), None).unwrap()
}

/// Every line of the set, in order, as JSON.
pub(super) fn lines(file: &Path) -> Vec<Value> {
    let mut all = Vec::new();
    for path in set(file) {
        let (mut lines, mut line) = (rotation::open_lines(&path).unwrap(), Vec::new());
        while lines.next(&mut line).unwrap() {
            all.push(serde_json::from_slice::<Value>(&line).unwrap());
        }
    }
    all.sort_by_key(|line| line["seq"].as_u64());
    all
}
