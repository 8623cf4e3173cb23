//! The `healthcheck` command: asks a running server for `/readyz`, for container health checks.

use std::process::ExitCode;
use std::time::Duration;

use super::client::{exchange, reachable};
use super::{fail, print};
use crate::config::Config;

const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn healthcheck(config: &Config) -> ExitCode {
    let ops = reachable(config.http.ops.unwrap_or(config.http.bind));
    match exchange(ops, "GET", "/readyz", &[], b"", TIMEOUT) {
        Ok((200, body)) => print(&String::from_utf8_lossy(&body)),
        Ok((_, body)) => fail(1, &String::from_utf8_lossy(&body)),
        Err(error) => fail(1, &error),
    }
}
