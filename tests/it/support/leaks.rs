//! What no log may contain: every token that a test sends, and what it has tools work on. Clients
//! note it here as they send it, and each server's logs are searched when it has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// Shorter texts may stand in a log by chance.
const SHORTEST: usize = 12;
/// What may be told of a call: what it is about.
const TOLD: [&str; 4] = ["name", "image", "uri", "sessionId"];

pub(crate) type Secrets = BTreeSet<String>;

/// What was sent to each running server.
static SENT: Mutex<BTreeMap<SocketAddr, Secrets>> = Mutex::new(BTreeMap::new());

/// Notes what one request carries.
pub(crate) fn note(address: SocketAddr, fields: &[(&str, &str)], body: &[u8]) {
    let mut found = Secrets::new();
    for (name, value) in fields {
        if name.eq_ignore_ascii_case("Authorization") {
            let token = value.split_once(' ').map_or(*value, |(_, token)| token);
            keep(&mut found, token);
        } else if name.eq_ignore_ascii_case("x-mcp-admin-token") {
            keep(&mut found, value);
        }
    }
    of_body(&mut found, body);
    let mut sent = SENT.lock().unwrap_or_else(PoisonError::into_inner);
    sent.entry(address).or_default().append(&mut found);
}

/// The strings among the arguments of tool calls.
pub(crate) fn of_body(found: &mut Secrets, body: &[u8]) {
    match serde_json::from_slice(body) {
        Ok(Value::Array(messages)) => messages.iter().for_each(|one| of_message(found, one)),
        Ok(message) => of_message(found, &message),
        Err(_) => {}
    }
}

fn of_message(found: &mut Secrets, message: &Value) {
    if message["method"] == "tools/call" {
        of_value(found, &message["params"]["arguments"]);
    }
}

fn of_value(found: &mut Secrets, value: &Value) {
    match value {
        Value::String(text) => keep(found, text),
        Value::Array(items) => items.iter().for_each(|item| of_value(found, item)),
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !TOLD.contains(&name.as_str()))
            .for_each(|(_, field)| of_value(found, field)),
        _ => {}
    }
}

/// The secrets among settings: tokens, and the credentials of the database.
pub(crate) fn of_settings(folder: &Path, settings: &[(&str, &str)]) -> Secrets {
    let mut found = Secrets::new();
    for (name, value) in settings {
        let file = name.strip_suffix("_FILE");
        let content = file.and_then(|_| std::fs::read_to_string(folder.join(value)).ok());
        let value = content.as_deref().unwrap_or(value).trim_end();
        match file.unwrap_or(name) {
            "MCP_ADMIN_TOKEN" | "MCP_SANDBOX_NPM_TOKEN" => keep(&mut found, value),
            "MCP_DYNAMIC_PG_URL" => {
                let (_, rest) = value.split_once("://").unwrap_or_default();
                keep(&mut found, rest.rsplit_once('@').unwrap_or_default().0);
            }
            _ => {}
        }
    }
    found
}

fn keep(found: &mut Secrets, text: &str) {
    if text.len() >= SHORTEST {
        found.insert(text.to_owned());
    }
}

/// What was sent to a server that has ended.
pub(crate) fn take(address: SocketAddr) -> Secrets {
    let mut sent = SENT.lock().unwrap_or_else(PoisonError::into_inner);
    sent.remove(&address).unwrap_or_default()
}

/// Searches what a server has written: its standard error, but for the example of the banner, and
/// the audit logs in these folders, old files too.
pub(crate) fn assert_none(secrets: &Secrets, stderr: &str, folders: &[&Path]) {
    let lines = stderr.lines().filter(|line| !line.starts_with("  try  "));
    let lines: Vec<_> = lines.collect();
    let mut texts = vec![("standard error".to_owned(), lines.join("\n"))];
    let entries = folders.iter().map(std::fs::read_dir);
    for entry in entries.flatten().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.contains("audit") {
            texts.push((name, read(&entry.path())));
        }
    }
    for secret in secrets {
        // As it is, and as JSON and a line of the log write it.
        let quoted = Value::from(secret.as_str()).to_string();
        let forms = [
            secret,
            quoted.trim_matches('"'),
            &secret.escape_debug().to_string(),
        ];
        for (place, text) in &texts {
            assert!(
                !forms.iter().any(|form| text.contains(form)),
                "{secret:?} is told in {place}:\n{text}"
            );
        }
    }
}

fn read(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let mut text = Vec::new();
    let is_packed = path.extension().is_some_and(|end| end == "gz");
    let unpacked = flate2::read::GzDecoder::new(&*bytes).read_to_end(&mut text);
    let text = if is_packed && unpacked.is_ok() {
        text
    } else {
        bytes
    };
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn what_is_sent_is_searched_for() {
    let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let fields = [
        ("authorization", "Bearer aaaaaaaaaaaa"),
        ("X-MCP-Admin-Token", "bbbbbbbbbbbb"),
    ];
    let body = br#"[{"method":"tools/call","params":{"name":"cccccccccccc","arguments":
        {"adminToken":"dddddddddddd","tool":{"name":"eeeeeeeeeeee","code":"\nffffffffffff"}}}}]"#;
    note(address, &fields, body);
    let found = take(address);
    let expected = [
        "\nffffffffffff",
        "aaaaaaaaaaaa",
        "bbbbbbbbbbbb",
        "dddddddddddd",
    ];
    assert_eq!(found.iter().collect::<Vec<_>>(), expected);
    let nowhere = Path::new("/nonexistent");
    assert_none(&found, "cccccccccccc eeeeeeeeeeee", &[nowhere]);
    for secret in ["xaaaaaaaaaaaa", r"\nffffffffffff"] {
        let searched = std::panic::catch_unwind(|| assert_none(&found, secret, &[nowhere]));
        assert!(searched.is_err(), "{secret}");
    }
    let url = ("MCP_DYNAMIC_PG_URL", "postgres://user:password@host/db");
    assert_eq!(
        of_settings(nowhere, &[url]),
        ["user:password".to_owned()].into()
    );
}
