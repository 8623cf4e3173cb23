//! One file per command, and what they share: splitting the command line, help, exit codes (0 done,
//! 1 failed, 2 asked wrongly).

pub mod args;
mod audit;
mod call;
mod client;
pub mod config;
mod doctor;
mod healthcheck;
pub mod help;
mod migrate;
mod serve;
mod tools;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::app::Surroundings;
use crate::config::{Disk, Environment};
use args::{Command, Invocation};

/// Runs the command that these arguments (without the program's name) ask for.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let invocation = Invocation::parse(arguments);
    match invocation.command {
        Command::BriefHelp => return print(&help::brief_help_text()),
        Command::Help => return print(&help::help_text()),
        Command::Version => return print(&help::version_text()),
        _ => {}
    }
    let environment = Environment::of_this_process();
    let loaded = match invocation.load(&environment, &Disk) {
        Ok(loaded) => loaded,
        Err(problems) => return fail(2, &problems.to_string()),
    };
    let surroundings = || Surroundings {
        home: environment.home(),
        search_path: environment.search_path(),
    };
    let argument = |index: usize| invocation.arguments.get(index).map(String::as_str);
    match invocation.command {
        Command::Serve => serve::serve(loaded, surroundings()),
        Command::Doctor => doctor::doctor(&loaded, &surroundings()),
        Command::Config => print(&config::config_text(&loaded)),
        Command::AuditVerify => audit::verify(&invocation.arguments, invocation.head.as_deref()),
        Command::Healthcheck => healthcheck::healthcheck(&loaded.config),
        Command::Call => {
            let token_file = invocation.token_file.as_deref().map(Path::new);
            let name = argument(0).unwrap_or_default();
            call::call(&loaded.config, name, argument(1), token_file)
        }
        Command::Migrate => migrate::migrate(&loaded.config),
        Command::ToolsExport => tools::export(loaded.config, argument(0)),
        Command::ToolsImport => {
            tools::import(&loaded.config, argument(0).unwrap_or_default(), argument(1))
        }
        _ => fail(2, "this command is not available yet"),
    }
}

/// Prints to stdout; a closed pipe is the reader's choice.
fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout();
    let line_end = if text.ends_with('\n') { "" } else { "\n" };
    let written = out
        .write_all(text.as_bytes())
        .and_then(|()| out.write_all(line_end.as_bytes()));
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

/// Says on stderr why the program ends with `code`.
fn fail(code: u8, why: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "dynamic-mcp: {}", why.trim_end());
    ExitCode::from(code)
}
