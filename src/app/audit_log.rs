//! Opens the audit log as the operator wants it, and writes what the server does by itself.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::{CHECK_TIMEOUT, LAST_REMOVALS, StartError};
use crate::audit::{ActResult, Action, Audit, AuditOptions, Details, Event, is_sensitive};
use crate::base::deadline::Deadline;
use crate::base::secret::Secret;
use crate::config::{AuthMode, Backend, Config, JwksSource, Profile};
use crate::engine::Engine;
use crate::http::ReadyCheck;
use crate::metrics::Metrics;
use crate::registry::ToolStore;

const MAX_TOKEN_BYTES: u64 = 16 * 1024;

/// Opens the log with its first line, or none where the operator wants none; only a log needs the
/// id of the instance.
pub(super) fn open_audit(
    config: &Config,
    instance: impl FnOnce() -> String,
    metrics: &Arc<Metrics>,
) -> Result<Audit, StartError> {
    let Some(audit) = &config.audit else {
        return Ok(Audit::off());
    };
    let audit = Audit::open(AuditOptions {
        config: audit.clone(),
        instance: instance(),
        secrets: secrets(config),
        metrics: Arc::clone(metrics),
        clock: Arc::new(SystemTime::now),
    })
    .map_err(StartError::Audit)?;
    let details = Details::Server {
        version: env!("CARGO_PKG_VERSION"),
        profile: match config.profile {
            Profile::Mvp => "mvp",
            Profile::Enterprise => "enterprise",
        },
    };
    record(&audit, Action::ServerStart, "", details)?;
    Ok(audit)
}

/// Writes which engine runs the code; one that cannot be written is ended.
pub(super) fn record_engine(audit: &Audit, engine: &dyn Engine) -> Result<(), StartError> {
    if audit.status().is_none() {
        return Ok(());
    }
    let probe = engine.probe(Deadline::after(CHECK_TIMEOUT));
    let details = Details::Engine {
        ready: probe.ready,
        detail: probe.detail,
    };
    record(audit, Action::EngineSelect, engine.name(), details).inspect_err(|_| {
        engine.stop(Deadline::after(LAST_REMOVALS));
    })
}

fn record(audit: &Audit, action: Action, target: &str, details: Details) -> Result<(), StartError> {
    let event = Event::of_server(action, target);
    audit
        .record(&event, ActResult::Success, details)
        .map_err(|_| StartError::Unaudited)
}

/// Every secret of the settings, in each form in which it could turn up.
fn secrets(config: &Config) -> Vec<Secret> {
    let mut secrets: Vec<_> = config.auth.admin_token.iter().cloned().collect();
    if let Backend::Postgres(postgres) = &config.store.backend {
        secrets.extend(of_url(postgres.target.url.reveal()));
    }
    if let AuthMode::Jwt(jwt) = &config.auth.mode
        && let JwksSource::Url(url) = &jwt.jwks
    {
        secrets.extend(of_url(url));
    }
    let npm = &config.engine.npm;
    secrets.extend(npm.registry.iter().flat_map(|url| of_url(url)));
    secrets.extend(npm.token_file.as_deref().and_then(read_token));
    secrets
}

/// The token as its file has it now; what cannot be read, no installation can use either.
fn read_token(path: &Path) -> Option<Secret> {
    let mut token = String::new();
    let mut file = File::open(path).ok()?.take(MAX_TOKEN_BYTES);
    file.read_to_string(&mut token).ok()?;
    Some(Secret::new(token.trim()))
}

/// The secrets of a URL, before its host and in its query, as they are written and as they are
/// meant.
fn of_url(url: &str) -> Vec<Secret> {
    let after = url.split_once("://").map_or(url, |(_, after)| after);
    let authority = after.split(['/', '?', '#']).next().unwrap_or_default();
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    let before_host = user.and_then(|user| user.split_once(':'));
    let query = after.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or_default();
    let in_query = query.split('&').filter_map(|pair| pair.split_once('='));
    let in_query = in_query.filter(|(name, _)| is_sensitive(&unescape(name)));
    let passwords = before_host.into_iter().chain(in_query);
    passwords
        .flat_map(|(_, password)| [Secret::new(password), Secret::new(unescape(password))])
        .collect()
}

/// Percent escapes (RFC 3986, section 2.1); what is none stays.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        match (first, byte, after.get(2..)) {
            (b'%', Some(byte), Some(after)) => {
                bytes.push(byte);
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The check of `/readyz`; none without a log.
pub(super) fn check_audit(audit: &Audit) -> Option<ReadyCheck> {
    let status = audit.status()?;
    let detail = match (&status.trouble, status.free_bytes) {
        (Some(trouble), _) => trouble.clone(),
        (None, Some(free)) => format!("writable, {} MiB left", free >> 20),
        (None, None) => "writable".to_owned(),
    };
    Some(ReadyCheck {
        name: "audit",
        ready: status.trouble.is_none(),
        detail,
    })
}

/// Notices that the registry in memory is another one, whoever changed it.
pub(super) struct RegistryWatch {
    pub(super) audit: Audit,
    pub(super) store: Arc<dyn ToolStore>,
    seen: AtomicU64,
}

impl RegistryWatch {
    pub(super) fn new(audit: Audit, store: Arc<dyn ToolStore>) -> Self {
        let seen = store.snapshot().generation().into();
        Self { audit, store, seen }
    }

    pub(super) fn look(&self) {
        let snapshot = self.store.snapshot();
        let generation = snapshot.generation();
        if generation == self.seen.load(Ordering::Relaxed) {
            return;
        }
        let details = Details::Registry {
            generation,
            tools: snapshot.tools().len(),
            prompts: snapshot.prompts().len(),
            resources: snapshot.resources().len(),
        };
        // What cannot be written is tried again at the next look.
        if record(&self.audit, Action::RegistryRefresh, "", details).is_ok() {
            self.seen.store(generation, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_a_file() {
        let path = std::env::temp_dir().join(format!("token-{}", crate::base::ids::random_hex()));
        std::fs::write(&path, " npm_x\n").unwrap();
        let token = read_token(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(token.as_ref().map(Secret::reveal), Some("npm_x"));
        assert!(read_token(&path).is_none());
    }

    #[test]
    fn secrets_of_urls() {
        let check = |url: &str, expected: &[&str]| {
            let found: Vec<_> = of_url(url)
                .iter()
                .map(|secret| secret.reveal().to_owned())
                .collect();
            assert_eq!(found, expected, "{url}");
        };
        check("postgres://u:p%40ss@db/d?x=y", &["p%40ss", "p@ss"]);
        check("postgres://u:p@ss@db/d", &["p@ss", "p@ss"]);
        check(
            "postgres://db/d?user=u&password=p%40ss&sslpassword=q#f",
            &["p%40ss", "p@ss", "q", "q"],
        );
        check("https://u@a.example/", &[]);
        check("https://a.example/?p=q&api-key=k", &["k", "k"]);
        check("https://a.example/x:y@z", &[]);
        check("postgres://u:100%@db", &["100%", "100%"]);
    }
}
