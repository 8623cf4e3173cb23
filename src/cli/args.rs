//! The command line → command, its arguments, flags. What flags mean is `config`'s matter; here
//! only their places are found. Nothing given is ever quoted in a problem: a secret may have
//! slipped in anywhere.

use std::ffi::OsString;

use crate::base::secret::Secret;
use crate::config::settings::{Availability, is_switch};
use crate::config::{Environment, Fault, Files, GivenFlag, Loaded, Problem, Problems, Sources};
use crate::config::{load, nearest};

/// What the program is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Run the server.
    Serve,
    /// Call one tool of a running server.
    Call,
    /// Show the effective settings.
    Config,
    /// Write the registry to a file.
    ToolsExport,
    /// Read the registry from a file.
    ToolsImport,
    /// Bring the database's schema up to date.
    Migrate,
    /// Check that everything the server needs is there.
    Doctor,
    /// Check a registry's tools.
    Verify,
    /// Record a client's session.
    Record,
    /// Prove that audit logs are unbroken.
    AuditVerify,
    /// Ask a running server whether it is ready.
    Healthcheck,
    /// Print what is used most.
    BriefHelp,
    /// Print the whole help text.
    Help,
    /// Print the version.
    Version,
}

/// A command as it is written.
#[derive(Clone, Copy, Debug)]
pub struct CommandRow {
    /// What it asks for.
    pub command: Command,
    /// Its one or two words.
    pub words: &'static str,
    /// What stands after them, for people.
    pub arguments: &'static str,
    /// How many that are, at least and at most.
    pub count: (usize, usize),
    /// One line.
    pub doc: &'static str,
    /// Whether this build has it.
    pub availability: Availability,
}

/// Most files of one `audit verify`.
const MAX_FILES: usize = 1000;

const fn row(
    command: Command,
    words: &'static str,
    arguments: &'static str,
    count: (usize, usize),
    doc: &'static str,
) -> CommandRow {
    CommandRow {
        command,
        words,
        arguments,
        count,
        doc,
        availability: Availability::Built,
    }
}

impl CommandRow {
    const fn later(mut self) -> Self {
        self.availability = Availability::Later("this command");
        self
    }

    /// `dynamic-mcp call NAME [JSON]`
    pub fn usage(&self) -> String {
        let text = format!("dynamic-mcp {} {}", self.words, self.arguments);
        text.trim_end().to_owned()
    }
}

/// All commands; the first is the default.
#[rustfmt::skip] // A table is read by columns.
pub static COMMANDS: &[CommandRow] = &[
    row(Command::Serve, "serve", "", (0, 0), "run the server (the default)"),
    row(Command::Call, "call", "NAME [JSON] [--token-file FILE]", (1, 2),
        "call one tool of a running server; FILE holds a bearer token for it"),
    row(Command::Config, "config", "", (0, 0), "show the effective settings, secrets masked"),
    row(Command::ToolsExport, "tools export", "[FILE]", (0, 1),
        "write the registry to a new file or to stdout"),
    row(Command::ToolsImport, "tools import", "FILE [replace]", (1, 2),
        "add a file's tools, all or none; replace: also where others have their names"),
    row(Command::Migrate, "migrate", "", (0, 0), "bring the database's schema up to date"),
    row(Command::Doctor, "doctor", "", (0, 0), "check what the server needs, change nothing"),
    row(Command::Verify, "verify", "", (0, MAX_FILES), "check a registry's tools").later(),
    row(Command::Record, "record", "", (0, MAX_FILES), "record a client's session").later(),
    row(Command::AuditVerify, "audit verify", "FILE… [--head HASH]", (1, MAX_FILES),
        "prove that an audit log is whole"),
    row(Command::Healthcheck, "healthcheck", "", (0, 0), "ask a running server for /readyz"),
];

/// A command line in its parts. `Debug` shows no value and no argument.
#[derive(Clone)]
pub struct Invocation {
    /// What to do; `Serve` after a problem.
    pub command: Command,
    /// What stands after the command's words.
    pub arguments: Vec<String>,
    /// Flags of settings, known or not.
    pub flags: Vec<GivenFlag>,
    /// `--env-file`.
    pub env_file: Option<String>,
    /// `--head` of `audit verify`.
    pub head: Option<String>,
    /// `--token-file` of `call`.
    pub token_file: Option<String>,
    /// What is wrong so far; [`Invocation::load`] reports it with the rest.
    pub problems: Problems,
}

impl std::fmt::Debug for Invocation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Invocation")
            .field("command", &self.command)
            .field("flags", &self.flags)
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}

impl Invocation {
    /// Splits what follows the program's name. `--help` and `--version` win over everything beside
    /// them.
    pub fn parse<I: IntoIterator<Item = OsString>>(arguments: I) -> Self {
        let mut splitter = Splitter::default();
        splitter.split(arguments);
        let (command, arguments) = splitter.command();
        for (flag, given, of) in [
            ("--head", &splitter.head, Command::AuditVerify),
            ("--token-file", &splitter.token_file, Command::Call),
        ] {
            if given.is_some() && command != of {
                let fault = Fault::Unknown { nearest: None };
                splitter.problems.push(Problem::new(flag, fault));
            }
        }
        Self {
            command,
            arguments,
            flags: splitter.flags,
            env_file: splitter.env_file,
            head: splitter.head,
            token_file: splitter.token_file,
            problems: splitter.problems,
        }
    }

    /// Reads all settings of this start.
    ///
    /// # Errors
    /// Every problem of command line and settings.
    pub fn load(&self, environment: &Environment, files: &dyn Files) -> Result<Loaded, Problems> {
        let sources = Sources {
            flags: &self.flags,
            env_file: self.env_file.as_deref(),
            environment,
            files,
        };
        load(&sources, self.problems.clone())
    }
}

#[derive(Default)]
struct Splitter {
    words: Vec<(usize, String)>,
    flags: Vec<GivenFlag>,
    env_file: Option<String>,
    head: Option<String>,
    token_file: Option<String>,
    asked: Option<Command>,
    problems: Problems,
}

impl Splitter {
    fn split<I: IntoIterator<Item = OsString>>(&mut self, arguments: I) {
        let texts = arguments.into_iter().map(|text| text.into_string().ok());
        let mut rest = (1..).zip(texts).peekable();
        let mut flags_end = false;
        while let Some((number, text)) = rest.next() {
            let Some(text) = text else {
                let subject = format!("argument {number}");
                self.problems.push(Problem::new(subject, Fault::NotUtf8));
                continue;
            };
            match text.as_str() {
                _ if flags_end || !text.starts_with('-') || text == "-" => {
                    self.words.push((number, text));
                }
                "--" => flags_end = true,
                "--help" => self.asked = Some(Command::Help),
                "-h" if self.asked != Some(Command::Help) => {
                    self.asked = Some(Command::BriefHelp);
                }
                "-h" => {}
                "--version" | "-V" => self.asked = self.asked.or(Some(Command::Version)),
                _ => {
                    let (name, mut value) = match text.split_once('=') {
                        Some((name, value)) => (name, Some(value.to_owned())),
                        None => (text.as_str(), None),
                    };
                    if value.is_none() {
                        let follows = |(_, next): &(usize, Option<String>)| {
                            next.as_deref().is_some_and(|next| is_value_of(name, next))
                        };
                        value = rest.next_if(follows).and_then(|(_, next)| next);
                    }
                    self.flag(name, value);
                }
            }
        }
    }

    fn flag(&mut self, name: &str, value: Option<String>) {
        let (place, allowed) = match name {
            "--env-file" => (&mut self.env_file, "the path of a file"),
            "--head" => (&mut self.head, "the hash of a line"),
            "--token-file" => (&mut self.token_file, "the path of a file"),
            _ => {
                let (name, value) = (name.to_owned(), value.map(Secret::new));
                return self.flags.push(GivenFlag { name, value });
            }
        };
        let fault = match value {
            None => Fault::FlagWithoutValue,
            Some(text) if text.is_empty() => Fault::Empty {
                allowed: allowed.to_owned(),
            },
            Some(_) if place.is_some() => Fault::GivenTwice,
            Some(text) => {
                *place = Some(text);
                return;
            }
        };
        self.problems.push(Problem::new(name, fault));
    }

    fn command(&mut self) -> (Command, Vec<String>) {
        if let Some(asked) = self.asked {
            return (asked, Vec::new());
        }
        let mut words = std::mem::take(&mut self.words).into_iter();
        let Some((number, first)) = words.next() else {
            return (Command::Serve, Vec::new());
        };
        let mut rest: Vec<String> = words.map(|(_, word)| word).collect();
        let two = rest.first().map(|second| format!("{first} {second}"));
        let named = |name: &str| COMMANDS.iter().find(|row| row.words == name);
        let row = match (named(&first), two.as_deref().and_then(named)) {
            (Some(row), _) => row,
            (None, Some(row)) => {
                rest.remove(0);
                row
            }
            (None, None) => {
                let known = || COMMANDS.iter().map(|row| row.words.to_owned());
                let near = two.and_then(|two| nearest(&two, known()));
                let begun = || known().find(|words| words.starts_with(&format!("{first} ")));
                let near = near.or_else(begun).or_else(|| nearest(&first, known()));
                let subject = format!("argument {number}, the command,");
                let fault = Fault::Unknown { nearest: near };
                self.problems.push(Problem::new(subject, fault));
                return (Command::Serve, Vec::new());
            }
        };
        if let Availability::Later(part) = row.availability {
            let fault = Fault::NotAvailable { part };
            self.problems.push(Problem::new(row.words, fault));
        } else if !(row.count.0..=row.count.1).contains(&rest.len()) {
            let usage = row.usage();
            self.problems
                .push(Problem::new(row.words, Fault::Arguments { usage }));
        }
        (row.command, rest)
    }
}

/// Whether `next` is the value of the flag before it. A switch takes only the words of a switch; an
/// unknown flag takes what follows, so that its value is not read as a command.
fn is_value_of(flag: &str, next: &str) -> bool {
    match is_switch(flag) {
        true => next == "true" || next == "false",
        false => !next.starts_with("--"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::Memory;

    fn parse(line: &[&str]) -> Invocation {
        Invocation::parse(line.iter().map(OsString::from))
    }

    fn flags(line: &[&str]) -> Vec<(String, Option<String>)> {
        let shown = |flag: GivenFlag| {
            let value = flag.value.map(|value| value.reveal().to_owned());
            (flag.name, value)
        };
        parse(line).flags.into_iter().map(shown).collect()
    }

    #[test]
    fn commands_and_their_arguments() {
        let check = |line: &[&str], command, arguments: &[&str]| {
            let found = parse(line);
            assert!(found.problems.is_empty(), "{line:?} {}", found.problems);
            assert_eq!(
                (found.command, found.arguments),
                (command, owned(arguments)),
                "{line:?}"
            );
        };
        fn owned(words: &[&str]) -> Vec<String> {
            words.iter().map(|word| (*word).to_owned()).collect()
        }
        check(&[], Command::Serve, &[]);
        check(&["--port", "1"], Command::Serve, &[]);
        check(&["serve"], Command::Serve, &[]);
        check(&["--port=1", "config"], Command::Config, &[]);
        check(&["healthcheck"], Command::Healthcheck, &[]);
        check(&["call", "a.b", "{}"], Command::Call, &["a.b", "{}"]);
        check(
            &["call", "--port", "1", "a.b", "{}"],
            Command::Call,
            &["a.b", "{}"],
        );
        check(&["call", "a", "--", "--1"], Command::Call, &["a", "--1"]);
        check(&["--nonsense", "x", "--help"], Command::Help, &[]);
        check(
            &["audit", "verify", "--head", "00", "a", "b"],
            Command::AuditVerify,
            &["a", "b"],
        );
        check(&["-V"], Command::Version, &[]);
        check(&["--version", "--help"], Command::Help, &[]);
        check(&["no-such", "-h"], Command::BriefHelp, &[]);
        check(&["-h", "--help"], Command::Help, &[]);
        check(&["--help", "-h", "-V"], Command::Help, &[]);
        check(
            &["call", "--token-file", "t", "a.b"],
            Command::Call,
            &["a.b"],
        );
    }

    #[test]
    fn values_of_flags() {
        let check = |line: &[&str], expected: &[(&str, Option<&str>)]| {
            let owned = |(name, value): &(&str, Option<&str>)| {
                ((*name).to_owned(), value.map(str::to_owned))
            };
            assert_eq!(
                flags(line),
                expected.iter().map(owned).collect::<Vec<_>>(),
                "{line:?}"
            );
        };
        check(&["--port", "1"], &[("--port", Some("1"))]);
        check(&["--port=1=2"], &[("--port", Some("1=2"))]);
        check(&["--port="], &[("--port", Some(""))]);
        check(&["--port", "-1"], &[("--port", Some("-1"))]);
        check(
            &["--port", "--host", "h"],
            &[("--port", None), ("--host", Some("h"))],
        );
        check(&["--port"], &[("--port", None)]);
        let switch = "--dynamic-read-only";
        check(&[switch], &[(switch, None)]);
        check(&[switch, "config"], &[(switch, None)]);
        check(&[switch, "false"], &[(switch, Some("false"))]);
        check(&["--dynamic-read-only=false"], &[(switch, Some("false"))]);
    }

    #[test]
    fn what_is_wrong_with_a_command_line() {
        let check = |line: &[&str], expected: &str| {
            assert_eq!(
                parse(line).problems.to_string().trim_end(),
                expected,
                "{line:?}"
            );
        };
        let command = "argument 1, the command,: is unknown";
        check(&["sevre"], &format!("{command}; did you mean serve?"));
        check(
            &["tools", "exprot"],
            &format!("{command}; did you mean tools export?"),
        );
        check(
            &["audit"],
            &format!("{command}; did you mean audit verify?"),
        );
        check(&["hunter2-secret"], &format!("{command}; see --help"));
        check(
            &["call"],
            "call: wrong arguments; usage: dynamic-mcp call NAME [JSON] [--token-file FILE]",
        );
        check(
            &["serve", "x"],
            "serve: wrong arguments; usage: dynamic-mcp serve",
        );
        check(&["verify"], "verify: not available yet: this command");
        check(
            &["audit", "verify"],
            "audit verify: wrong arguments; usage: dynamic-mcp audit verify FILE… [--head HASH]",
        );
        check(&["audit", "verify", "f", "--head"], "--head: needs a value");
        check(&["serve", "--head", "1"], "--head: is unknown; see --help");
        let token = "--token-file: is unknown; see --help";
        check(&["serve", "--token-file", "1"], token);
        check(&["--env-file"], "--env-file: needs a value");
        check(
            &["--env-file="],
            "--env-file: is empty; allowed: the path of a file",
        );
        check(
            &["--env-file", "a", "--env-file", "b"],
            "--env-file: is given twice",
        );
    }

    #[cfg(unix)]
    #[test]
    fn arguments_that_are_no_text() {
        use std::os::unix::ffi::OsStringExt;
        let found = Invocation::parse([OsString::from_vec(vec![b'-', 0xff])]);
        assert_eq!(
            found.problems.to_string(),
            "argument 1: is not UTF-8 text\n"
        );
    }

    #[test]
    fn problems_of_line_and_settings_come_together() {
        let line = ["sevre", "--prot", "1", "--host", "nowhere", "--port"];
        let environment = [("MCP_HTTP_WORKERS", "12abc")].into_iter().collect();
        let invocation = parse(&line);
        let problems = invocation
            .load(&environment, &Memory::default())
            .unwrap_err()
            .to_string();
        for subject in [
            "the command",
            "--prot",
            "MCP_HOST",
            "--port",
            "MCP_HTTP_WORKERS",
        ] {
            assert!(problems.contains(subject), "{subject} in {problems}");
        }
    }
}
