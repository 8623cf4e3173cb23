//! What running code may ask the client that called it, and what it gets for an answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::json::JsonText;

/// The longest that one call waits for its client's answers, all together. It is not counted as
/// the code's time.
pub const MAX_WAIT: Duration = Duration::from_secs(300);

/// Something that a client may declare it can do for a server (MCP, `ClientCapabilities`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCapability {
    /// Asks its user.
    Elicitation,
    /// Asks its model.
    Sampling,
    /// Names the folders it works in.
    Roots,
}

impl ClientCapability {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Elicitation, Self::Sampling, Self::Roots];

    /// Its name in capabilities and definitions.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Elicitation => "elicitation",
            Self::Sampling => "sampling",
            Self::Roots => "roots",
        }
    }
}

/// Which of the three ways to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AskKind {
    /// `ctx.elicit(key, params)`: the user.
    Elicit,
    /// `ctx.sample(key, params)`: the model.
    Sample,
    /// `ctx.listRoots(key)`.
    ListRoots,
}

impl AskKind {
    /// The name of its function in `ctx`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Elicit => "elicit",
            Self::Sample => "sample",
            Self::ListRoots => "listRoots",
        }
    }

    /// The method of the request that the client gets.
    pub fn method(self) -> &'static str {
        match self {
            Self::Elicit => "elicitation/create",
            Self::Sample => "sampling/createMessage",
            Self::ListRoots => "roots/list",
        }
    }

    /// What the client must have declared for it.
    pub fn needs(self) -> ClientCapability {
        match self {
            Self::Elicit => ClientCapability::Elicitation,
            Self::Sample => ClientCapability::Sampling,
            Self::ListRoots => ClientCapability::Roots,
        }
    }
}

/// One thing that code asks.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// Whom.
    pub kind: AskKind,
    /// The code's own name for it, by which its answer is found when the code runs again.
    pub key: String,
    /// Parameters of the request, as the code gave them; not yet checked. `null` where it gave
    /// none.
    pub params: JsonText,
}

/// What code gets for it.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The client's result.
    Value(JsonText),
    /// It cannot be asked; the text becomes the message of the error that the code sees.
    Refused(String),
    /// Not in this run: the run ends when the code has asked all that it can ask without it.
    Later,
}
