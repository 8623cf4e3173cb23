//! The `config` command: effective settings with their origin, secrets masked.

use std::fmt::Write as _;

use crate::config::{Effective, Loaded};

/// One line a setting: `KEY = value  (origin)`, in the table's order, values padded so that origins
/// stand in a column.
pub fn config_text(loaded: &Loaded) -> String {
    let lines: Vec<(String, &Effective)> = loaded
        .config
        .rows
        .iter()
        .map(|row| (format!("{} = {}", row.setting.key, shown(row)), row))
        .collect();
    // Long values must not push every origin off the screen.
    let width = lines.iter().map(|(text, _)| text.chars().count());
    let width = width
        .filter(|width| *width <= MAX_COLUMN)
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for (line, row) in lines {
        let _ = writeln!(text, "{line:<width$}  ({})", row.origin);
    }
    text
}

const MAX_COLUMN: usize = 72;

fn shown(row: &Effective) -> String {
    let unset = || format!("[{}]", row.setting.default_in_words());
    row.masked().map_or_else(unset, str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::Start;

    #[test]
    fn values_origins_and_masks() {
        let loaded = Start {
            flags: &[("--port", Some("9000")), ("--dynamic-read-only", None)],
            env: &[
                ("MCP_HTTP_WORKERS", "32"),
                ("MCP_ADMIN_TOKEN_FILE", "/s"),
                (
                    "MCP_SANDBOX_NPM_REGISTRY",
                    "https://npm.example/x?key=battery-horse",
                ),
            ],
            files: &[("/s", "correct-horse-battery"), (".env", "\nMCP_PATH=/x\n")],
            ..Start::default()
        };
        let text = config_text(&loaded.load().unwrap());
        let check = |line: &str| {
            let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(
                text.lines().any(|found| squeezed(found) == line),
                "{line} in {text}"
            );
        };
        check("MCP_PORT = 9000 (flag --port)");
        check("MCP_DYNAMIC_READ_ONLY = true (flag --dynamic-read-only)");
        check("MCP_HTTP_WORKERS = 32 (environment)");
        check("MCP_PATH = /x (.env line 2)");
        check("MCP_ADMIN_TOKEN = **** (environment, MCP_ADMIN_TOKEN_FILE)");
        check("MCP_SANDBOX_NPM_REGISTRY = https://npm.example/x?**** (environment)");
        check("MCP_TOOL_MAX_CONCURRENCY = 8 (default)");
        check("MCP_PUBLIC_URL = [from bind] (default)");
        check("MCP_DYNAMIC_PG_URL = [–] (default)");
        assert!(!text.contains("horse"));
        assert_eq!(
            text.lines().count(),
            crate::config::settings::SETTINGS.len()
        );
    }
}
