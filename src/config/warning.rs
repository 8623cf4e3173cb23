//! What an operator should read though the program starts.

use std::fmt;

use super::problem::visible;

/// What does not keep the program from starting, and should be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A variable that looks like ours and is not.
    UnknownVariable {
        /// Its name.
        name: String,
        /// The closest one that is ours.
        nearest: Option<String>,
    },
    /// A secret on the command line.
    SecretInFlag(String),
    /// An admin token that can be guessed.
    ShortAdminToken,
    /// Callers from outside, no authentication, no admin token.
    NobodyIsAdmin,
    /// A file that holds a secret and that every user may read.
    ReadableSecret {
        /// The setting that names it.
        key: String,
        /// Where it is.
        path: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownVariable { name, nearest } => {
                write!(formatter, "{}: unknown variable, ignored", visible(name))?;
                match nearest {
                    Some(nearest) => write!(formatter, "; did you mean {nearest}?"),
                    None => Ok(()),
                }
            }
            Self::SecretInFlag(flag) => write!(
                formatter,
                "{flag}: other users can read it in the list of processes; use {flag}-file"
            ),
            Self::ShortAdminToken => formatter
                .write_str("MCP_ADMIN_TOKEN: shorter than 16 characters, so it can be guessed"),
            Self::NobodyIsAdmin => formatter.write_str(
                "MCP_ADMIN_TOKEN: not given, and without authentication callers from outside \
                 are never admins: nobody can change tools",
            ),
            Self::ReadableSecret { key, path } => write!(
                formatter,
                "{key}: every user can read {path}; chmod 600 it, or 640 for a group that needs it"
            ),
        }
    }
}
