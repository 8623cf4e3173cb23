//! How a call can fail: the closed set of kinds that callers, metrics and the audit log see.

use serde::{Deserialize, Serialize};

/// Who or what stopped a call. The names are part of the product's contract (section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The arguments do not fit the tool's `inputSchema`.
    InvalidArguments,
    /// The author's code threw, or ended before returning.
    Threw,
    /// The code did not finish within `timeoutMs`.
    Timeout,
    /// The code needed more memory than the sandbox has.
    OutOfMemory,
    /// The caller, or the server's shutdown, stopped the call.
    Cancelled,
    /// The result or the printed output is above its limit.
    OutputTooLarge,
    /// The returned value is no JSON, or does not fit the tool's `outputSchema`.
    InvalidResult,
    /// An operator's rule forbids it: image, package, limit, authority.
    Policy,
    /// All slots are taken; try again after the hint.
    Busy,
    /// Too many calls in the window; try again after the hint.
    RateLimited,
    /// No daemon, no image, no jail: nothing can run now.
    EngineUnavailable,
    /// Our own fault; details are in the server's log under the request id.
    Internal,
}

impl FailureKind {
    /// Every kind, in the order of the contract: for metrics and their tests.
    pub const ALL: [Self; 12] = [
        Self::InvalidArguments,
        Self::Threw,
        Self::Timeout,
        Self::OutOfMemory,
        Self::Cancelled,
        Self::OutputTooLarge,
        Self::InvalidResult,
        Self::Policy,
        Self::Busy,
        Self::RateLimited,
        Self::EngineUnavailable,
        Self::Internal,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArguments => "invalid_arguments",
            Self::Threw => "threw",
            Self::Timeout => "timeout",
            Self::OutOfMemory => "out_of_memory",
            Self::Cancelled => "cancelled",
            Self::OutputTooLarge => "output_too_large",
            Self::InvalidResult => "invalid_result",
            Self::Policy => "policy",
            Self::Busy => "busy",
            Self::RateLimited => "rate_limited",
            Self::EngineUnavailable => "engine_unavailable",
            Self::Internal => "internal",
        }
    }
}

/// A call's failure, as the caller reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The closed kind.
    pub kind: FailureKind,
    /// One or two sentences that say what happened and, where there is one, the mend.
    pub message: String,
    /// Line of the author's code, from 1, where known.
    pub line: Option<u32>,
    /// Column of that line, from 1, where known.
    pub column: Option<u32>,
    /// The end of what the code printed, at most 4 kB; empty where nothing was.
    pub stderr: String,
    /// When trying again makes sense, in milliseconds from now.
    pub retry_after_ms: Option<u64>,
}

impl Failure {
    /// A failure that has nothing but a kind and a message.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            kind,
            message,
            line: None,
            column: None,
            stderr: String::new(),
            retry_after_ms: None,
        }
    }

    /// The same failure with a hint when to try again.
    #[must_use]
    pub fn retry_after(mut self, millis: u64) -> Self {
        self.retry_after_ms = Some(millis);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_the_wire_are_serde_s() {
        for kind in FailureKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
