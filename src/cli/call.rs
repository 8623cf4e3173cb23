//! The `call` command: calls one tool of a running server and prints what it gives.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{address, exchange};
use super::{fail, print};
use crate::config::Config;
use crate::domain::json::JsonText;

/// What a call may take beyond its own limits.
const SLACK: Duration = Duration::from_secs(10);

pub(super) fn call(config: &Config, name: &str, arguments: Option<&str>) -> ExitCode {
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
    let mut headers = vec![
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
    ];
    if let Some(token) = &config.auth.admin_token {
        headers.push(("x-mcp-admin-token", token.reveal()));
    }
    let timeout = config.engine.max_timeout + config.guard.queue + SLACK;
    let (http, path) = (&config.http, config.http.path.as_str());
    match exchange(
        address(http),
        "POST",
        path,
        &headers,
        body.as_bytes(),
        timeout,
    ) {
        Ok((status, body)) => show(status, &body),
        Err(error) => fail(1, &error),
    }
}

fn show(status: u16, body: &[u8]) -> ExitCode {
    let Ok(answer) = serde_json::from_slice::<Value>(body) else {
        return fail(1, &format!("the answer (HTTP {status}) is not JSON"));
    };
    if let Some(error) = answer.get("error") {
        let message = error
            .get("message")
            .and_then(Value::as_str)
            .unwrap_or("no message");
        return fail(1, message);
    }
    let result = answer.get("result").unwrap_or(&Value::Null);
    let blocks = result
        .get("content")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let texts: Vec<String> = blocks
        .iter()
        .map(|block| match block.get("text").and_then(Value::as_str) {
            Some(text) => text.to_owned(),
            None => block.to_string(),
        })
        .collect();
    if result.get("isError").and_then(Value::as_bool) == Some(true) {
        return fail(1, &texts.join("\n"));
    }
    match result.get("structuredContent") {
        Some(structured) => print(&structured.to_string()),
        None => print(&texts.join("\n")),
    }
}
