//! What a call came to, before it is anybody's answer.

use std::collections::BTreeSet;
use std::time::Duration;

use super::answer::ToolAnswer;
use crate::auth::{Denied, Missing};
use crate::domain::asking::ClientCapability;
use crate::domain::failure::{Failure, FailureKind};
use crate::metrics::CallKind;

/// There is no such tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownTool;

/// Why a call is no call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotCalled {
    /// There is no such tool.
    Unknown,
    /// The caller's token lacks scopes; with more of them it could.
    Denied(Denied),
    /// The client did not declare all of what the tool requires of it, which is this.
    Incapable(BTreeSet<ClientCapability>),
    /// The tool has changed since it asked what the client now answers.
    ToolChanged,
}

impl From<UnknownTool> for NotCalled {
    fn from(_: UnknownTool) -> Self {
        Self::Unknown
    }
}

/// What a call came to, with what metrics want to know of it.
pub(super) struct Called {
    pub(super) answer: ToolAnswer,
    pub(super) kind: CallKind,
    /// `ok`, `input_required` or a failure kind's name.
    pub(super) outcome: &'static str,
    /// Where the protocol has an answer of its own.
    pub(super) not_called: Option<NotCalled>,
}

impl Called {
    /// A built-in's answer.
    pub(super) fn value(answer: ToolAnswer) -> Self {
        Self::answered(CallKind::BuiltIn, answer)
    }

    /// A call that did what it should.
    pub(super) fn answered(kind: CallKind, answer: ToolAnswer) -> Self {
        Self {
            outcome: answer.outcome(),
            answer,
            kind,
            not_called: None,
        }
    }

    /// A call that its caller may not make.
    pub(super) fn denied(denied: Denied) -> Self {
        let mut failure = Failure::new(FailureKind::Policy, denied.to_string());
        if let Missing::Patience { retry_after_ms } = denied.missing {
            failure = Failure::new(FailureKind::RateLimited, denied.to_string())
                .retry_after(retry_after_ms);
        }
        Self {
            not_called: (!denied.scopes.is_empty()).then_some(NotCalled::Denied(denied)),
            ..Self::refused(CallKind::BuiltIn, failure)
        }
    }

    /// A call that is none, for a reason that a failure can only tell in words.
    pub(super) fn not_called(kind: CallKind, failure: Failure, reason: NotCalled) -> Self {
        Self {
            not_called: Some(reason),
            ..Self::refused(kind, failure)
        }
    }

    /// A call that ended before anything ran.
    pub(super) fn refused(kind: CallKind, failure: Failure) -> Self {
        Self::failed(kind, &failure, Duration::ZERO)
    }

    pub(super) fn failed(kind: CallKind, failure: &Failure, duration: Duration) -> Self {
        Self::failed_with(kind, failure, ToolAnswer::failure(failure, duration))
    }

    /// A call that failed, with what there is to tell all the same.
    pub(super) fn failed_with(kind: CallKind, failure: &Failure, answer: ToolAnswer) -> Self {
        Self {
            answer,
            kind,
            outcome: failure.kind.as_str(),
            not_called: None,
        }
    }

    /// A built-in's result, or why there is none.
    pub(super) fn built_in(result: Result<ToolAnswer, Failure>) -> Self {
        match result {
            Ok(answer) => Self::value(answer),
            Err(failure) => Self::refused(CallKind::BuiltIn, failure),
        }
    }
}
