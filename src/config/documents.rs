//! Texts about settings, all made from the table: the settings part of `--help`, the README's
//! table, `.env.prod.example`.

use std::fmt::Write as _;

use super::kind::Kind;
use super::settings::{Availability, Fallback, Group, SETTINGS, Setting};

/// The settings part of `--help`.
pub fn settings_help() -> String {
    let mut text = String::new();
    for group in Group::ALL {
        let _ = writeln!(text, "\n{}:", group.title());
        for setting in rows_of(group) {
            let _ = writeln!(text, "  {}", help_head(setting));
            let later = if is_later(setting) {
                " (not available yet)"
            } else {
                ""
            };
            let _ = writeln!(text, "      {}{later}", setting.doc);
            let facts = format!("default {}", setting.default_in_words());
            let _ = writeln!(text, "      {facts}; {}", setting.kind.allowed());
        }
    }
    text
}

/// What most operators set first.
const USED_MOST: &[&str] = &[
    "MCP_PROFILE",
    "MCP_TRANSPORT",
    "MCP_HOST",
    "MCP_PORT",
    "MCP_LOG_LEVEL",
    "MCP_TOOL_NAME_STYLE",
    "MCP_DYNAMIC_BACKEND",
    "MCP_DYNAMIC_STORE",
    "MCP_EXECUTION_ENGINE",
    "MCP_SANDBOX_ALLOWED_IMAGES",
    "MCP_ADMIN_TOKEN",
    "MCP_AUTH_MODE",
    "MCP_AUDIT_ENABLED",
];

/// The settings part of `-h`.
pub fn brief_settings_help() -> String {
    let mut text = String::new();
    let rows = SETTINGS.iter().filter(|row| USED_MOST.contains(&row.key));
    for setting in rows {
        let file = if setting.kind.is_secret() {
            "-file"
        } else {
            ""
        };
        let flag = setting.flag().unwrap_or_default() + file;
        let _ = writeln!(text, "  {flag:<26}{}", setting.doc);
    }
    text
}

/// The README's table of settings.
pub fn settings_markdown() -> String {
    let mut text = String::new();
    for group in Group::ALL {
        let _ = writeln!(text, "### {}\n", group.title());
        text.push_str("| variable | flag | default | values | meaning |\n|---|---|---|---|---|\n");
        for setting in rows_of(group) {
            let variables = variables(setting).join("`, `");
            let flag = setting
                .flag()
                .map_or("–".to_owned(), |flag| format!("`{flag}`"));
            let default = match setting.fallback {
                Fallback::Is(value) => format!("`{value}`"),
                Fallback::Depends(_) | Fallback::Unset => setting.default_in_words().to_owned(),
            };
            let later = if is_later(setting) {
                " *(not available yet)*"
            } else {
                ""
            };
            let (values, doc) = (setting.kind.allowed(), setting.doc);
            let _ = writeln!(
                text,
                "| `{variables}` | {flag} | {default} | {values} | {doc}{later} |"
            );
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// What the production baseline sets: http, enterprise, postgres, jwt, audit on. Secrets are files.
const BASELINE: &[(&str, &str)] = &[
    ("MCP_PROFILE", "enterprise"),
    ("MCP_TRANSPORT", "http"),
    ("MCP_LOG_FORMAT", "json"),
    ("MCP_HOST", "0.0.0.0"),
    ("MCP_PORT", "8788"),
    ("MCP_PUBLIC_URL", "https://mcp.example/mcp"),
    ("MCP_DYNAMIC_BACKEND", "postgres"),
    ("MCP_DYNAMIC_PG_URL", "/run/secrets/dynamic_pg_url"),
    ("MCP_EXECUTION_ENGINE", "docker"),
    ("MCP_AUTH_MODE", "jwt"),
    ("MCP_REQUIRE_ADMIN_TOKEN", "true"),
    ("MCP_ADMIN_TOKEN", "/run/secrets/admin_token"),
    (
        "MCP_AUTH_JWKS_URL",
        "https://issuer.example/.well-known/jwks.json",
    ),
    ("MCP_AUTH_ISSUER", "https://issuer.example/"),
    ("MCP_AUTH_AUDIENCE", "https://mcp.example/mcp"),
    ("MCP_AUDIT_ENABLED", "true"),
    ("MCP_AUDIT_FILE", "/var/lib/dynamic-mcp/audit.log"),
];

const EXAMPLE_HEAD: &str = "\
# Settings of the production baseline: http, enterprise, postgres, jwt, audit log on.
# Made from the program's table of settings; a test compares the two.
#
# Lines in force differ from the default or state it on purpose: put your own hosts, issuer and
# files there. Commented lines show the defaults. The grammar is KEY=VALUE, nothing is expanded.
# Keep this file writable by its owner alone: others are refused. Secrets are read from files,
# never written here.
";

/// `.env.prod.example`.
pub fn prod_example() -> String {
    let mut text = EXAMPLE_HEAD.to_owned();
    for group in Group::ALL {
        let _ = writeln!(text, "\n# --- {} ---", group.title());
        for setting in rows_of(group) {
            let _ = writeln!(text, "\n# {}", setting.doc);
            let _ = writeln!(text, "# Values: {}", setting.kind.allowed());
            let _ = writeln!(text, "{}", example_line(setting));
        }
    }
    text
}

fn example_line(setting: &Setting) -> String {
    let key = setting.file_key().unwrap_or_else(|| setting.key.to_owned());
    let baseline = BASELINE.iter().find(|(key, _)| *key == setting.key);
    match (baseline, setting.fallback) {
        (Some((_, value)), _) => format!("{key}={value}"),
        (None, Fallback::Is(value)) => format!("#{key}={value}"),
        (None, Fallback::Depends(words)) => format!("# Default: {words}\n#{key}="),
        (None, Fallback::Unset) => format!("#{key}="),
    }
}

fn rows_of(group: Group) -> impl Iterator<Item = &'static Setting> {
    SETTINGS
        .iter()
        .filter(move |setting| setting.group == group)
}

fn variables(setting: &Setting) -> Vec<String> {
    let alias = setting.alias.map(str::to_owned);
    let all = [Some(setting.key.to_owned()), alias, setting.file_key()];
    all.into_iter().flatten().collect()
}

fn is_later(setting: &Setting) -> bool {
    matches!(setting.availability, Availability::Later(_))
}

/// `--port VALUE   MCP_PORT, PORT`
fn help_head(setting: &Setting) -> String {
    let variables = variables(setting).join(", ");
    let value = if setting.kind == Kind::Bool {
        "[=false]"
    } else {
        " VALUE"
    };
    match (setting.flag(), setting.file_flag()) {
        (Some(_), Some(file)) => format!("{file} PATH   {variables}"),
        (Some(flag), None) => format!("{flag}{value}   {variables}"),
        (None, _) => variables,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::setting;

    #[test]
    fn the_checked_in_example_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/.env.prod.example");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, prod_example()).unwrap();
        }
        let stands = std::fs::read_to_string(path).unwrap_or_default();
        let message = "differs from the table: run the tests with UPDATE_GOLDEN=1";
        assert!(stands == prod_example(), "{path} {message}");
    }

    #[test]
    fn every_document_names_every_setting() {
        let (help, table, example) = (settings_help(), settings_markdown(), prod_example());
        for setting in SETTINGS {
            let key = setting.key;
            assert!(
                help.contains(key) && table.contains(key) && example.contains(key),
                "{key}"
            );
            if let Some(flag) = setting.flag() {
                assert!(help.contains(&flag) && table.contains(&flag), "{flag}");
            }
        }
    }

    #[test]
    fn the_baseline_names_rows_once() {
        for (index, (key, _)) in BASELINE.iter().enumerate() {
            assert!(setting(key).is_some(), "{key}");
            assert!(
                BASELINE
                    .iter()
                    .skip(index + 1)
                    .all(|(other, _)| other != key),
                "{key}"
            );
        }
    }

    #[test]
    fn lines_fit_a_terminal() {
        for line in settings_help().lines().chain(prod_example().lines()) {
            assert!(line.chars().count() <= 125, "{line}");
        }
    }
}
