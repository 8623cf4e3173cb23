//! The text of `--help` and `--version`, made from the tables of commands and settings.

use std::fmt::Write as _;

use crate::config::documents::{brief_settings_help, settings_help};
use crate::config::settings::Availability;

use super::args::COMMANDS;

/// One line, without a newline.
pub fn version_text() -> String {
    format!("dynamic-mcp {}", env!("CARGO_PKG_VERSION"))
}

/// What `-h` prints: the commands, and the settings that are used most.
pub fn brief_help_text() -> String {
    let mut text = head();
    text.push_str("\nUsed most:\n");
    text + &brief_settings_help()
        + "\n--help has all settings with their defaults and values; \
           dynamic-mcp config shows what is in force.\n"
}

/// The whole of `--help`.
pub fn help_text() -> String {
    let text = head()
        + "\nOther flags:\n\
           \x20 --env-file PATH       read settings from this file instead of .env\n\
           \x20 -h                    print the commands and what is used most\n\
           \x20 --help                print this\n\
           \x20 --version, -V         print the version\n\n\
           A flag wins over the environment, the environment over the env file. The env file is\n\
           .env in the working directory; on stdio there is none unless --env-file names one.\n\
           Every secret can be given as the path of a file that holds it:\n\
           MCP_ADMIN_TOKEN_FILE, --admin-token-file.\n";
    text + &settings_help()
}

fn head() -> String {
    let mut text = String::from(
        "An MCP server whose tools are made while it runs, each call in a hardened container.\n\n\
         Usage: dynamic-mcp [COMMAND] [--flag value | --flag=value …]\n\nCommands:\n",
    );
    let built = COMMANDS
        .iter()
        .filter(|row| row.availability == Availability::Built);
    for row in built {
        let call = format!("{} {}", row.words, row.arguments);
        match call.len() < COMMAND_WIDTH {
            true => writeln!(text, "  {call:<COMMAND_WIDTH$}{}", row.doc),
            false => writeln!(text, "  {call}\n  {:COMMAND_WIDTH$}{}", "", row.doc),
        }
        .unwrap_or_default();
    }
    text
}

/// Columns of the commands.
const COMMAND_WIDTH: usize = 22;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_the_commands_of_this_build_only() {
        let help = help_text();
        for row in COMMANDS {
            let built = row.availability == Availability::Built;
            for text in [&help, &brief_help_text()] {
                let listed = text.contains(&format!("\n  {} ", row.words));
                assert_eq!(listed, built, "{}", row.words);
            }
        }
        for text in [
            "--port VALUE   MCP_PORT, PORT",
            "--admin-token-file PATH",
            "--env-file",
        ] {
            assert!(help.contains(text), "{text}");
        }
    }

    #[test]
    fn the_brief_one_fits_on_a_screen() {
        let brief = brief_help_text();
        assert!(brief.lines().count() <= 48, "{brief}");
        assert!(
            brief.lines().all(|line| line.chars().count() <= 110),
            "{brief}"
        );
        for text in [
            "--port",
            "--admin-token-file",
            "--auth-mode",
            "--help has all",
        ] {
            assert!(brief.contains(text), "{text}");
        }
        assert!(!brief.contains("MCP_AUDIT_MAX_FILES"));
    }
}
