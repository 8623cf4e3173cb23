//! The text of `--help` and `--version`, made from the tables of commands and settings.

use std::fmt::Write as _;

use crate::config::documents::settings_help;
use crate::config::settings::Availability;

use super::args::COMMANDS;

/// One line, without a newline.
pub fn version_text() -> String {
    format!("dynamic-mcp {}", env!("CARGO_PKG_VERSION"))
}

/// The whole of `--help`.
pub fn help_text() -> String {
    let mut text = String::from(
        "An MCP server whose tools are made while it runs, each call in a hardened container.\n\n\
         Usage: dynamic-mcp [COMMAND] [--flag value | --flag=value …]\n\nCommands:\n",
    );
    let built = COMMANDS
        .iter()
        .filter(|row| row.availability == Availability::Built);
    for row in built {
        let call = format!("{} {}", row.words, row.arguments);
        let _ = writeln!(text, "  {call:<22}{}", row.doc);
    }
    text.push_str(
        "\nOther flags:\n\
         \x20 --env-file PATH       read settings from this file instead of .env\n\
         \x20 --help, -h            print this\n\
         \x20 --version, -V         print the version\n\n\
         A flag wins over the environment, the environment over the env file. The env file is\n\
         .env in the working directory; on stdio there is none unless --env-file names one.\n\
         Every secret can be given as the path of a file that holds it:\n\
         MCP_ADMIN_TOKEN_FILE, --admin-token-file.\n",
    );
    text + &settings_help()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_the_commands_of_this_build_only() {
        let help = help_text();
        for row in COMMANDS {
            let listed = help.contains(&format!("\n  {} ", row.words));
            let built = row.availability == Availability::Built;
            assert_eq!(listed, built, "{}", row.words);
        }
        for text in [
            "--port VALUE   MCP_PORT, PORT",
            "--admin-token-file PATH",
            "--env-file",
        ] {
            assert!(help.contains(text), "{text}");
        }
    }
}
