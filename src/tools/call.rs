//! One tool call, step by step: resolve, validate arguments, authorize, take a slot, run, validate
//! the result, count. Whatever a caller may be told of its end leaves here as a [`ToolAnswer`].

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Tools;
use super::answer::{INPUT_REQUIRED, OK, ToolAnswer};
use super::asking::{Asked, Asking, Client, Round, UNREACHABLE};
use super::audited::end_run;
use super::builtins::{Access, BuiltIn};
use super::called::{Called, NotCalled};
use super::catalog::Resolved;
use super::contact::Contact;
use super::schemas::{check_arguments, dynamic_arguments, shape_content, shape_value};
use crate::audit::Action;
use crate::auth::Caller;
use crate::base::deadline::Deadline;
use crate::domain::asking::ClientCapability;
use crate::domain::entry::{Authored as _, Entry};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::image::{ImageRef, UsedImage};
use crate::domain::json::JsonText;
use crate::domain::program::Program;
use crate::domain::run::{Cancel, Job, Returned};
use crate::domain::tool::Tool;
use crate::engine::Sandbox;
use crate::guard::{Ending, Place, Refusal};
use crate::metrics::{CallKind, Phase};

/// Who calls, and under which request.
#[derive(Clone, Copy, Debug)]
pub struct CallContext<'a> {
    /// The caller.
    pub caller: &'a Caller,
    /// For logs.
    pub request_id: &'a str,
    /// Ends what the call runs.
    pub cancel: &'a Cancel,
    /// Whom running code may ask.
    pub client: &'a Client,
    /// How it hears of the call before its end.
    pub contact: &'a dyn Contact,
}

/// Code to be run for a caller.
pub(super) struct Execution<'a> {
    pub(super) kind: CallKind,
    pub(super) action: Action,
    /// Of what is stored, where the code is.
    pub(super) revision: Option<u64>,
    /// Which code asks, as it stands now: nothing where it comes with the call itself.
    pub(super) asker: String,
    /// The guard's scope.
    pub(super) scope: String,
    /// For labels and logs.
    pub(super) label: &'a str,
    pub(super) program: Program,
    pub(super) args: JsonText,
    /// Where to run it; in a place of its own where `None`. The use of a sandbox is admitted
    /// already, as every admin act's.
    pub(super) sandbox: Option<&'a Sandbox>,
}

/// What is known of a run, however it ended.
#[derive(Default)]
pub(super) struct Ran {
    /// Zero where nothing ran.
    pub(super) duration: Duration,
    pub(super) image: Option<UsedImage>,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome<T> {
    /// What it was for.
    Done(T),
    /// Questions to the client first.
    Asked(Asked),
}

impl<T> Outcome<T> {
    /// How the run ended, in logs and metrics.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Done(_) => OK,
            Self::Asked(_) => INPUT_REQUIRED,
        }
    }
}

/// Makes something of what code returned, after some time.
pub(super) type Shape<'a, T> = dyn Fn(Returned, Duration) -> Result<T, Failure> + 'a;

/// Which state of an entry asks its client.
pub(super) fn asker<D>(entry: &Entry<D>) -> String {
    format!("{} {} {}", entry.name, entry.revision, entry.created_at)
}

impl Tools {
    /// Calls a tool by either spelling of its name.
    ///
    /// # Errors
    /// [`NotCalled`]; every other trouble is an answer that says so.
    pub fn call(
        &self,
        context: &CallContext<'_>,
        name: &str,
        arguments: &JsonText,
    ) -> Result<ToolAnswer, NotCalled> {
        let called = match self.resolve(name)? {
            Resolved::BuiltIn(tool) => self.call_built_in(context, tool, arguments),
            Resolved::Dynamic(tool) => {
                let mut called = self.call_dynamic(context, &tool, arguments);
                // Structured content fits the outputSchema, always: clients compare even failures
                // with it, and would show that they differ in place of what went wrong.
                if called.answer.is_error && tool.definition.output_schema.is_some() {
                    called.answer.structured_content = None;
                }
                called
            }
        };
        self.metrics.count_call(called.kind, called.outcome);
        match called.not_called {
            Some(reason) => Err(reason),
            None => Ok(called.answer),
        }
    }

    fn call_built_in(
        &self,
        context: &CallContext<'_>,
        tool: &BuiltIn,
        arguments: &JsonText,
    ) -> Called {
        let kind = CallKind::BuiltIn;
        if let Err(failure) = check_arguments(&tool.schema, arguments) {
            return Called::refused(kind, failure);
        }
        match tool.access {
            Access::Everybody(act) => act(self, context, arguments),
            Access::Admin(act) => {
                let token = admin_token_argument(arguments);
                match self
                    .authority
                    .permit_admin(context.caller, tool.name, token.as_deref())
                {
                    Err(denied) => {
                        self.write_denied(context, tool.name, &denied);
                        Called::denied(denied)
                    }
                    Ok(permit) => match self.guard.admit(tool.name) {
                        Err(refusal) => {
                            Called::refused(kind, self.rejected(context, tool.name, refusal))
                        }
                        Ok(()) => {
                            let called = act(self, context, arguments, permit);
                            self.note_ending(tool.name, called.outcome);
                            called
                        }
                    },
                }
            }
        }
    }

    /// Counts what became of an admitted use, by its outcome.
    fn note_ending(&self, scope: &str, outcome: &str) {
        if outcome == FailureKind::Busy.as_str() {
            self.guard.note(scope, Ending::Busy);
        } else if outcome != OK && outcome != INPUT_REQUIRED {
            self.guard.note(scope, Ending::Failed);
        }
    }

    /// A place for an act that may wait for a compiler.
    pub(super) fn place(&self) -> Result<Place, Failure> {
        self.guard.place().map_err(refused)
    }

    /// Calls a dynamic tool; `dynamic.tool.call` comes here too, so that both ways are one.
    pub(super) fn call_dynamic(
        &self,
        context: &CallContext<'_>,
        tool: &Tool,
        arguments: &JsonText,
    ) -> Called {
        let required = &tool.definition.requires_client_capabilities;
        if context.client.lacks(required) {
            return self.refuse_incapable(context, tool, required);
        }
        let args = match dynamic_arguments(&tool.definition, arguments) {
            Ok(args) => args,
            Err(failure) => return Called::refused(CallKind::Dynamic, failure),
        };
        let Some(program) = tool.definition.program() else {
            unreachable!("every tool has code");
        };
        let execution = Execution {
            kind: CallKind::Dynamic,
            action: Action::Exec,
            revision: Some(tool.revision),
            asker: asker(tool),
            scope: format!("dynamic.exec.{}", tool.name),
            label: tool.name.as_str(),
            program,
            args,
            sandbox: None,
        };
        self.execute(context, &execution, tool.definition.output_schema.as_ref())
    }

    /// The stateless era has an error of its own for this. Others are told so by a failure that
    /// people can read.
    fn refuse_incapable(
        &self,
        context: &CallContext<'_>,
        tool: &Tool,
        required: &BTreeSet<ClientCapability>,
    ) -> Called {
        let event = context.event(Action::Exec, tool.name.as_str());
        self.audit.deny(&event, "client_capability", None);
        let names: Vec<_> = required.iter().map(|one| one.as_str()).collect();
        let asking = context.client.asking;
        let why = match asking {
            Asking::Never => UNREACHABLE,
            Asking::Beside | Asking::ByRounds => "it did not declare that it can be",
        };
        let failure = Failure::new(
            FailureKind::Policy,
            format!(
                "this tool asks its caller ({}), and this client cannot be asked: {why}",
                names.join(", ")
            ),
        );
        if asking != Asking::ByRounds {
            return Called::refused(CallKind::Dynamic, failure);
        }
        let reason = NotCalled::Incapable(required.clone());
        Called::not_called(CallKind::Dynamic, failure, reason)
    }

    /// Runs code for a call of a tool, whose result fits `output_schema` where there is one.
    pub(super) fn execute(
        &self,
        context: &CallContext<'_>,
        execution: &Execution<'_>,
        output_schema: Option<&JsonText>,
    ) -> Called {
        if has_changed(context, execution) {
            let message = "the tool has changed since it asked: call it anew, without requestState";
            let failure = Failure::new(FailureKind::InvalidArguments, message);
            return Called::not_called(execution.kind, failure, NotCalled::ToolChanged);
        }
        let (outcome, ran) = self.run(context, execution, &|returned, duration| match returned {
            Returned::Content(blocks) => shape_content(output_schema, blocks),
            Returned::Value(value) => shape_value(output_schema, value, duration),
            Returned::Waiting => unreachable!("questions are no result"),
        });
        let mut called = match outcome {
            Ok(Outcome::Done(answer)) => Called::answered(execution.kind, answer),
            Ok(Outcome::Asked(asked)) => Called::answered(execution.kind, ToolAnswer::asked(asked)),
            Err(failure) => Called::failed(execution.kind, &failure, ran.duration),
        };
        called.answer.image = ran.image;
        called
    }

    /// Runs code: rate, slot, sandbox, result.
    pub(super) fn run<T>(
        &self,
        context: &CallContext<'_>,
        execution: &Execution<'_>,
        shape: &Shape<'_, T>,
    ) -> (Result<Outcome<T>, Failure>, Ran) {
        let began = Instant::now();
        let mut ran = Ran::default();
        let outcome = self
            .run_once(context, execution, shape, &mut ran)
            .inspect_err(|failure| {
                log::debug!(
                    "{}: {} of {} ended as {}",
                    context.request_id,
                    execution.scope,
                    context.caller.principal().subject,
                    failure.kind.as_str()
                );
            });
        self.metrics.observe_phase(Phase::Total, began.elapsed());
        (outcome, ran)
    }

    fn run_once<T>(
        &self,
        context: &CallContext<'_>,
        execution: &Execution<'_>,
        shape: &Shape<'_, T>,
        ran: &mut Ran,
    ) -> Result<Outcome<T>, Failure> {
        self.refuse_when_draining()?;
        let program = &execution.program;
        let job = Job {
            code: program.code.clone(),
            args: execution.args.clone(),
            image: parse_image(program)?,
            dependencies: program.dependencies.clone(),
            timeout: Duration::from_millis(program.timeout_ms.min(self.settings.max_timeout_ms)),
            label: execution.label.to_owned(),
        };
        self.engine
            .admit(job.image.as_ref(), &job.dependencies)
            .inspect_err(|failure| {
                let event = context.event(execution.action, execution.label);
                self.audit.deny(&event, failure.kind.as_str(), None);
            })?;
        if execution.sandbox.is_some() {
            return self.run_admitted(context, execution, shape, &job, ran);
        }
        let scope = &execution.scope;
        self.guard
            .admit(scope)
            .map_err(|refusal| self.rejected(context, scope, refusal))?;
        self.run_admitted(context, execution, shape, &job, ran)
            .inspect_err(|failure| self.note_ending(scope, failure.kind.as_str()))
    }

    fn run_admitted<T>(
        &self,
        context: &CallContext<'_>,
        execution: &Execution<'_>,
        shape: &Shape<'_, T>,
        job: &Job,
        ran: &mut Ran,
    ) -> Result<Outcome<T>, Failure> {
        let began = Instant::now();
        let acquire = Deadline::after(self.settings.queue);
        let slot = self.enter(context, &execution.scope, acquire)?;
        let act = self.begin_run(context, execution)?;
        let asker = &execution.asker;
        let mut round = Round::new(context.client, context.contact, context.cancel, asker);
        let ended = match execution.sandbox {
            None => self.engine.run(job, acquire, context.cancel, &mut round),
            Some(sandbox) => {
                self.engine
                    .sandboxes()?
                    .run(sandbox, job, acquire, context.cancel, &mut round)
            }
        };
        drop(slot);
        *ran = Ran {
            duration: ended.duration,
            image: ended.image,
        };
        self.observe_run(began, ended.duration);
        let returned = ended.outcome;
        let outcome = returned.and_then(|returned| match returned {
            Returned::Waiting => Ok(Outcome::Asked(round.finish())),
            returned => shape(returned, ended.duration).map(Outcome::Done),
        });
        end_run(act, outcome, Outcome::as_str, ran)
    }
}

/// Whether the client goes on with what has another state now.
pub(super) fn has_changed(context: &CallContext<'_>, execution: &Execution<'_>) -> bool {
    let earlier = context.client.earlier.as_ref();
    earlier.is_some_and(|earlier| earlier.asker != execution.asker)
}

pub(super) fn refused(refusal: Refusal) -> Failure {
    let (kind, retry) = match refusal {
        Refusal::Busy { retry_after_ms } => (FailureKind::Busy, retry_after_ms),
        Refusal::RateLimited { retry_after_ms } => (FailureKind::RateLimited, retry_after_ms),
        Refusal::Cancelled => return Failure::new(FailureKind::Cancelled, refusal.to_string()),
    };
    Failure::new(kind, refusal.to_string()).retry_after(retry)
}

/// The token that old clients send among the arguments of admin acts.
fn admin_token_argument(arguments: &JsonText) -> Option<String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Token {
        admin_token: Option<String>,
    }
    serde_json::from_str::<Token>(arguments.text())
        .ok()?
        .admin_token
}

pub(super) fn parse_image(program: &Program) -> Result<Option<ImageRef>, Failure> {
    let parsed = program.image.as_deref().map(ImageRef::parse).transpose();
    parsed.map_err(|error| Failure::new(FailureKind::Policy, format!("image is {error}")))
}
