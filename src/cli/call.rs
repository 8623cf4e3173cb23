//! The `call` command: calls one tool of a running server and prints what it gives.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::client::{exchange, reachable};
use super::{fail, print};
use crate::base::secret::Secret;
use crate::config::{Config, Disk, Files as _};
use crate::domain::json::JsonText;

/// What a call may take beyond its own limits.
const SLACK: Duration = Duration::from_secs(10);

pub(super) fn call(
    config: &Config,
    name: &str,
    arguments: Option<&str>,
    token_file: Option<&Path>,
) -> ExitCode {
    let arguments = arguments.unwrap_or("{}");
    let arguments = match JsonText::parse(arguments.to_owned()) {
        Ok(arguments) if arguments.text().starts_with('{') => arguments,
        Ok(_) => {
            return fail(
                2,
                "the arguments must be a JSON object, such as '{\"a\":1}'",
            );
        }
        Err(error) => return fail(2, &format!("the arguments are not JSON: {error}")),
    };
    let body = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\
         \"params\":{{\"name\":{},\"arguments\":{}}}}}",
        json!(name),
        arguments.text()
    );
    let bearer = match token_file.map(read_bearer).transpose() {
        Ok(bearer) => bearer,
        Err(why) => return fail(2, &format!("--token-file: {why}")),
    };
    let mut headers = vec![
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
    ];
    if let Some(bearer) = &bearer {
        headers.push(("Authorization", bearer.reveal()));
    }
    if let Some(token) = &config.auth.admin_token {
        headers.push(("x-mcp-admin-token", token.reveal()));
    }
    let timeout = config.engine.max_timeout + config.guard.queue + SLACK;
    let (http, path) = (&config.http, config.http.path.as_str());
    match exchange(
        reachable(http.bind),
        "POST",
        path,
        &headers,
        body.as_bytes(),
        timeout,
    ) {
        Ok((401, body)) if bearer.is_none() => {
            let why = answered_error(&body).unwrap_or_default();
            fail(1, &format!("{why}; give one with --token-file FILE"))
        }
        Ok((status, body)) => show(status, &body),
        Err(error) => fail(1, &error),
    }
}

/// The value of the `Authorization` header, of a token in a file.
fn read_bearer(path: &Path) -> Result<Secret, String> {
    let loaded = Disk.load(path);
    let loaded = loaded.map_err(|fault| format!("the file {fault}"))?;
    let token = loaded.text.reveal().trim();
    let is_token = |byte: u8| byte.is_ascii_graphic();
    if token.is_empty() || !token.bytes().all(is_token) {
        return Err("the file must hold one token, and nothing else".to_owned());
    }
    Ok(Secret::new(format!("Bearer {token}")))
}

fn answered_error(body: &[u8]) -> Option<String> {
    let answer: Answer = serde_json::from_slice(body).ok()?;
    Some(answer.error?.message)
}

/// The parts of an answer that are shown. What the tool gave is printed as it came: its own order
/// of names, its own digits.
#[derive(Deserialize)]
struct Answer {
    error: Option<AnswerError>,
    result: Option<AnswerResult>,
}

#[derive(Deserialize)]
struct AnswerError {
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerResult {
    #[serde(default)]
    content: Vec<JsonText>,
    structured_content: Option<JsonText>,
    #[serde(default)]
    is_error: bool,
}

fn show(status: u16, body: &[u8]) -> ExitCode {
    let answer: Answer = match serde_json::from_slice(body) {
        Ok(answer) => answer,
        Err(_) => return fail(1, &format!("the answer (HTTP {status}) is not MCP")),
    };
    let result = match (answer.error, answer.result) {
        (Some(error), _) => return fail(1, &error.message),
        (None, Some(result)) => result,
        (None, None) => return fail(1, "the answer has neither a result nor an error"),
    };
    let texts: Vec<String> = result.content.iter().map(shown_block).collect();
    if result.is_error {
        return fail(1, &texts.join("\n"));
    }
    match result.structured_content {
        Some(structured) => print(structured.text()),
        None => print(&texts.join("\n")),
    }
}

/// A text block's text; any other block as it is.
fn shown_block(block: &JsonText) -> String {
    #[derive(Deserialize)]
    struct Text {
        text: String,
    }
    match serde_json::from_str::<Text>(block.text()) {
        Ok(block) => block.text,
        Err(_) => block.text().to_owned(),
    }
}
