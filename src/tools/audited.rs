//! How calls stand in the audit log: what a call's acts are called, what becomes of one that cannot
//! be written, and changes of entries between their beginning and their end.

use std::sync::Arc;

use super::Tools;
use super::call::{CallContext, Execution, Ran, refused};
use crate::audit::{Act, ActResult, Action, Actor, CodeDigest, Details, Event, Unaudited};
use crate::auth::Denied;
use crate::domain::entry::{Authored, Entry};
use crate::domain::failure::{Failure, FailureKind};
use crate::guard::Refusal;

/// How long a caller waits before it tries again what could not be audited, in milliseconds.
const UNAUDITED_HINT_MS: u64 = 5000;

impl CallContext<'_> {
    /// Something that this call does, for the audit log.
    pub(super) fn event(&self, action: Action, target: &str) -> Event {
        Event {
            action,
            actor: Actor::of_client(self.caller.principal(), self.caller.client()),
            target: target.to_owned(),
            request_id: self.request_id.to_owned(),
        }
    }
}

impl Tools {
    /// Writes that code is about to run; without that line it must not.
    pub(super) fn begin_run(
        &self,
        context: &CallContext<'_>,
        execution: &Execution<'_>,
    ) -> Result<Act, Failure> {
        let dependencies = execution.program.dependencies.iter();
        let dependencies: Vec<_> = dependencies
            .map(|one| format!("{}@{}", one.name, one.version))
            .collect();
        let intent = Details::Run {
            revision: execution.revision,
            digest: CodeDigest::of(&execution.program.code),
            image: execution.program.image.clone(),
            dependencies: dependencies.join(", "),
        };
        let event = context.event(execution.action, execution.label);
        self.audit.begin(event, intent).map_err(unaudited)
    }

    /// The same of commands, which their digest stands for too.
    pub(super) fn begin_commands(
        &self,
        context: &CallContext<'_>,
        sandbox: &str,
        commands: &str,
    ) -> Result<Act, Failure> {
        let intent = Details::Run {
            revision: None,
            digest: CodeDigest::of(commands),
            image: None,
            dependencies: String::new(),
        };
        let event = context.event(Action::SandboxExec, sandbox);
        self.audit.begin(event, intent).map_err(unaudited)
    }

    /// Does what changes an entry: nothing where it cannot be audited, and its end is written.
    pub(super) fn audited<D: Authored>(
        &self,
        context: &CallContext<'_>,
        action: Action,
        target: &str,
        change: impl FnOnce() -> Result<Arc<Entry<D>>, Failure>,
    ) -> Result<Arc<Entry<D>>, Failure> {
        let describe = |entry: &Arc<Entry<D>>| Details::Stored {
            revision: entry.revision,
            digest: CodeDigest::of(entry.definition.body()),
        };
        self.audited_as(context, action, target, describe, change)
    }

    /// The same for whatever an act brings about, which `describe` puts into words.
    pub(super) fn audited_as<T>(
        &self,
        context: &CallContext<'_>,
        action: Action,
        target: &str,
        describe: impl FnOnce(&T) -> Details,
        change: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let act = self
            .audit
            .begin(context.event(action, target), Details::None {})
            .map_err(unaudited)?;
        let changed = change();
        let (result, details) = match &changed {
            Ok(changed) => (ActResult::Success, describe(changed)),
            Err(failure) => {
                let outcome = failure.kind.as_str();
                (act_result(failure), Details::Failed { outcome })
            }
        };
        let written = act.finish(result, details);
        match (&changed, written) {
            (Ok(_), Err(error)) => {
                let mut failure = unaudited(error);
                failure.message = "the change was made, but it could not be audited".to_owned();
                Err(failure)
            }
            _ => changed,
        }
    }

    /// Writes what the caller's authority did not allow.
    pub(super) fn write_denied(&self, context: &CallContext<'_>, tool: &str, denied: &Denied) {
        let action = Action::of_tool(tool).unwrap_or(Action::HttpAuth);
        let reason = denied.missing.reason();
        context.caller.take_wrong_admin_token();
        self.audit.deny(&context.event(action, tool), reason, None);
    }

    /// What the guard refused, written down.
    pub(super) fn rejected(
        &self,
        context: &CallContext<'_>,
        scope: &str,
        refusal: Refusal,
    ) -> Failure {
        let failure = refused(refusal);
        let event = context.event(Action::GuardReject, scope);
        let reason = failure.kind.as_str();
        self.audit.deny(&event, reason, failure.retry_after_ms);
        failure
    }
}

/// Writes how a run ended; without that line its result is kept back.
pub(super) fn end_run<T>(
    act: Act,
    answer: Result<T, Failure>,
    outcome_of: impl FnOnce(&T) -> &'static str,
    ran: &Ran,
) -> Result<T, Failure> {
    let (result, outcome) = match &answer {
        Ok(answer) => (ActResult::Success, outcome_of(answer)),
        Err(failure) => (act_result(failure), failure.kind.as_str()),
    };
    let details = Details::Ran {
        duration_ms: u64::try_from(ran.duration.as_millis()).unwrap_or(u64::MAX),
        outcome,
        image: ran.image.clone(),
    };
    match act.finish(result, details) {
        Ok(()) => answer,
        Err(error) => Err(unaudited(error)),
    }
}

/// An act without a line in the audit log, as the caller reads it.
fn unaudited(error: Unaudited) -> Failure {
    Failure::new(FailureKind::Internal, error.to_string()).retry_after(UNAUDITED_HINT_MS)
}

/// How an act that failed stands in the audit log.
fn act_result(failure: &Failure) -> ActResult {
    match failure.kind {
        FailureKind::Policy => ActResult::Denied,
        _ => ActResult::Error,
    }
}
