//! What can be wrong with settings, as values and as the lines an operator reads. A secret's value
//! never enters a type of this file.

use std::fmt;

use crate::base::text::clip;

/// Where a value comes from. `by` is the variable that carried it, where that is not the setting's
/// own name (`PORT`, `MCP_ADMIN_TOKEN_FILE`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A command line flag, such as `--port`.
    Flag(String),
    /// A variable of the environment.
    Environment {
        /// See the type.
        by: Option<String>,
    },
    /// A line of the env file.
    EnvFile {
        /// The file, as named.
        path: String,
        /// Counted from 1.
        line: usize,
        /// See the type.
        by: Option<String>,
    },
    /// Nobody gave one.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self {
            Self::Flag(flag) => return write!(formatter, "flag {flag}"),
            Self::Default => return formatter.write_str("default"),
            Self::Environment { by } => {
                formatter.write_str("environment")?;
                by
            }
            Self::EnvFile { path, line, by } => {
                write!(formatter, "{} line {line}", visible(path))?;
                by
            }
        };
        match by {
            Some(by) => write!(formatter, ", {by}"),
            None => Ok(()),
        }
    }
}

/// Why a file could not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFault {
    /// There is none.
    Missing,
    /// The system refuses to open or read it.
    Unreadable(std::io::ErrorKind),
    /// A folder, pipe or device.
    NotRegular,
    /// More than this many bytes.
    TooLarge(usize),
    /// Its bytes are no text.
    NotUtf8,
    /// Somebody else could change it: its mode lets group or others write.
    WritableByOthers,
    /// It belongs to another user, who could change it.
    ForeignOwner,
}

impl fmt::Display for FileFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => formatter.write_str("does not exist"),
            Self::Unreadable(kind) => write!(formatter, "cannot be read: {kind}"),
            Self::NotRegular => formatter.write_str("is not a regular file"),
            Self::TooLarge(bytes) => write!(formatter, "is larger than {bytes} bytes"),
            Self::NotUtf8 => formatter.write_str("is not UTF-8 text"),
            Self::WritableByOthers => {
                formatter.write_str("is writable by group or others: chmod go-w it")
            }
            Self::ForeignOwner => formatter
                .write_str("belongs to another user: make it yours, or name it with --env-file"),
        }
    }
}

/// What is wrong with one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The empty text.
    Empty {
        /// What would be right.
        allowed: String,
    },
    /// Bytes that are no UTF-8.
    NotUtf8,
    /// Not of the setting's shape.
    Malformed {
        /// The value; `None` where it may hold something confidential.
        shown: Option<String>,
        /// What would be right.
        allowed: String,
    },
    /// Of the right shape, beyond a bound.
    OutOfRange {
        /// The value.
        shown: Option<String>,
        /// What would be right.
        allowed: String,
    },
    /// Needed, and not given.
    Missing {
        /// What makes it needed.
        because: &'static str,
    },
    /// The value fits its own row and contradicts another one; the text names the mend.
    Conflict(String),
    /// This build does not have the part yet.
    NotAvailable {
        /// The part.
        part: &'static str,
    },
    /// A flag, key or command that is none of ours.
    Unknown {
        /// The closest one that is.
        nearest: Option<String>,
    },
    /// A key of an env file that is about another program.
    ForeignKey,
    /// A flag at the end, or before another flag, that needs a value.
    FlagWithoutValue,
    /// The same flag or key more than once.
    GivenTwice,
    /// A secret both as text and as a file.
    BothForms,
    /// The file that should hold the value, or the env file itself.
    File(FileFault),
    /// A line of the env file that is no `KEY=VALUE`.
    BadLine(&'static str),
    /// Too few or too many arguments after a command.
    Arguments {
        /// How the command is written.
        usage: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |shown: &Option<String>| match shown {
            Some(text) => format!("\"{}\"", visible(text)),
            None => "the value".to_owned(),
        };
        match self {
            Self::Empty { allowed } => write!(formatter, "is empty; allowed: {allowed}"),
            Self::NotUtf8 => formatter.write_str("is not UTF-8 text"),
            Self::Malformed { shown, allowed } => {
                write!(
                    formatter,
                    "{} is malformed; allowed: {allowed}",
                    quoted(shown)
                )
            }
            Self::OutOfRange { shown, allowed } => {
                write!(
                    formatter,
                    "{} is out of range; allowed: {allowed}",
                    quoted(shown)
                )
            }
            Self::Missing { because } => write!(formatter, "is missing: required {because}"),
            Self::Conflict(rule) => formatter.write_str(rule),
            Self::NotAvailable { part } => write!(formatter, "not available yet: {part}"),
            Self::Unknown { nearest: None } => formatter.write_str("is unknown; see --help"),
            Self::Unknown {
                nearest: Some(name),
            } => write!(formatter, "is unknown; did you mean {name}?"),
            Self::ForeignKey => formatter.write_str(
                "is no setting of dynamic-mcp, and this file may hold nothing else: keep it in \
                 another one, or name a file of settings with --env-file",
            ),
            Self::FlagWithoutValue => formatter.write_str("needs a value"),
            Self::GivenTwice => formatter.write_str("is given twice"),
            Self::BothForms => formatter
                .write_str("is given both as a value and as a _FILE: keep one, best the file"),
            Self::File(fault) => write!(formatter, "the file {fault}"),
            Self::BadLine(rule) => formatter.write_str(rule),
            Self::Arguments { usage } => write!(formatter, "wrong arguments; usage: {usage}"),
        }
    }
}

/// One thing that keeps the program from starting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The variable, flag or argument it is about.
    pub subject: String,
    /// Where its value comes from; `None` where there is no value.
    pub origin: Option<Origin>,
    /// What is wrong.
    pub fault: Fault,
}

impl Problem {
    /// A problem of `subject`, which has no value to blame.
    pub fn new(subject: impl Into<String>, fault: Fault) -> Self {
        Self {
            subject: subject.into(),
            origin: None,
            fault,
        }
    }

    /// The same problem with the place its value comes from.
    #[must_use]
    pub fn at(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&visible(&self.subject))?;
        if let Some(origin) = &self.origin {
            write!(formatter, " ({origin})")?;
        }
        write!(formatter, ": {}", self.fault)
    }
}

/// Every problem of one start, in the order found; at most [`Problems::KEPT`] are kept, the rest
/// counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    kept: Vec<Problem>,
    dropped: usize,
}

impl Problems {
    /// More than the table has rows, so that only garbage runs into it.
    pub const KEPT: usize = 200;

    /// Adds one.
    pub fn push(&mut self, problem: Problem) {
        if self.kept.len() < Self::KEPT {
            self.kept.push(problem);
        } else {
            self.dropped += 1;
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Those kept.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.kept.iter()
    }
}

impl fmt::Display for Problems {
    /// One line each.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.kept {
            writeln!(formatter, "{problem}")?;
        }
        if self.dropped > 0 {
            writeln!(formatter, "and {} more", self.dropped)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Text from outside as one line of at most 100 bytes that cannot steer a terminal.
pub(super) fn visible(text: &str) -> String {
    let clipped = clip(text, 100);
    let mark = if clipped.len() < text.len() {
        "…"
    } else {
        ""
    };
    let escape = |character: char| match character {
        '"' | '\'' => character.to_string(),
        other => other.escape_debug().to_string(),
    };
    clipped.chars().map(escape).collect::<String>() + mark
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_an_operator_reads() {
        let check = |problem: Problem, line: &str| assert_eq!(problem.to_string(), line);
        let malformed = Fault::Malformed {
            shown: Some("12abc".into()),
            allowed: "1 to 65535".into(),
        };
        check(
            Problem::new("MCP_PORT", malformed.clone()).at(Origin::Environment {
                by: Some("PORT".into()),
            }),
            "MCP_PORT (environment, PORT): \"12abc\" is malformed; allowed: 1 to 65535",
        );
        check(
            Problem::new("MCP_PORT", malformed).at(Origin::EnvFile {
                path: ".env".into(),
                line: 3,
                by: None,
            }),
            "MCP_PORT (.env line 3): \"12abc\" is malformed; allowed: 1 to 65535",
        );
        check(
            Problem::new("--\u{1b}[31mx\n", Fault::FlagWithoutValue),
            "--\\u{1b}[31mx\\n: needs a value",
        );
    }

    #[test]
    fn a_flood_of_problems_is_counted_not_kept() {
        let mut problems = Problems::default();
        for number in 0..Problems::KEPT + 7 {
            problems.push(Problem::new(format!("--x{number}"), Fault::GivenTwice));
        }
        assert_eq!(problems.iter().count(), Problems::KEPT);
        assert!(problems.to_string().ends_with("and 7 more\n"));
    }
}
