//! What the tools of sandboxes do. Looking for one comes first: whoever is not its owner learns
//! nothing but that there is none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::audit::{Action, Details};
use crate::auth::AdminPermit;
use crate::base::clock::rfc3339;
use crate::base::deadline::Deadline;
use crate::docker::EXCHANGE_TIMEOUT;
use crate::domain::entry::Dependency;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::image::ImageRef;
use crate::domain::json::JsonText;
use crate::domain::program::Program;
use crate::domain::tool::DEFAULT_TIMEOUT_MS;
use crate::engine::{CommandEnded, Executed, Sandbox, Sandboxes};
use crate::metrics::{CallKind, Phase};
use crate::tools::Tools;
use crate::tools::answer::ToolAnswer;
use crate::tools::audited::end_run;
use crate::tools::builtins::read;
use crate::tools::call::{CallContext, Execution, Ran};
use crate::tools::called::Called;

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::InvalidArguments, message)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn value(value: &Value) -> ToolAnswer {
    ToolAnswer::value(JsonText::from_value(value))
}

/// How long the daemon may take to say what is there.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

fn look() -> Deadline {
    Deadline::after(LOOK_TIMEOUT)
}

/// How long the daemon may take to end a sandbox.
fn soon() -> Deadline {
    Deadline::after(EXCHANGE_TIMEOUT)
}

/// A sandbox of the caller's to run things in. Who asks for it in vain is written down.
fn find(
    tools: &Tools,
    context: &CallContext<'_>,
    action: Action,
    id: &str,
) -> Result<Sandbox, Failure> {
    let sandboxes = tools.engine.sandboxes()?;
    let _place = tools.place()?;
    let found = sandboxes.find_to_run(context.caller.principal(), id, look());
    found.inspect_err(|failure| {
        let event = context.event(action, id);
        tools.audit.deny(&event, failure.kind.as_str(), None);
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InitializeInput {
    image: Option<String>,
    timeout_ms: Option<u64>,
}

pub(super) fn initialize(
    tools: &Tools,
    context: &CallContext<'_>,
    arguments: &JsonText,
    _: AdminPermit,
) -> Result<ToolAnswer, Failure> {
    tools.refuse_when_draining()?;
    let _place = tools.place()?;
    let input: InitializeInput = read(arguments)?;
    let sandboxes = tools.engine.sandboxes()?;
    let image = input.image.as_deref().map(ImageRef::parse).transpose();
    let image = image.map_err(|error| invalid(format!("image is {error}")))?;
    let most = tools.settings.max_timeout_ms;
    let timeout = Duration::from_millis(input.timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS).min(most));
    let id = Sandboxes::new_id();
    let action = Action::SandboxInitialize;
    let describe = |sandbox: &Sandbox| Details::Sandbox {
        image: sandbox.image.clone(),
    };
    let mut made = None;
    let opened = tools.audited_as(context, action, &id, describe, || {
        let owner = context.caller.principal();
        let deadline = Deadline::after(tools.settings.queue);
        let opened = sandboxes.open(
            owner,
            &id,
            image.as_ref(),
            timeout,
            deadline,
            context.cancel,
        );
        opened.inspect(|sandbox| made = Some(sandbox.clone()))
    });
    let sandbox = opened.map_err(|failure| match &made {
        Some(sandbox) => end_unaudited(sandboxes, sandbox, failure),
        None => failure,
    })?;
    let mut answer = value(&json!({
        "sessionId": sandbox.id,
        "image": sandbox.image.name,
        "timeoutMs": millis(sandbox.timeout),
    }));
    answer.image = Some(sandbox.image);
    Ok(answer)
}

/// Nobody learns the name of a sandbox whose making could not be audited: it is ended.
fn end_unaudited(sandboxes: &Sandboxes, sandbox: &Sandbox, mut failure: Failure) -> Failure {
    match sandboxes.close(sandbox, soon()) {
        Ok(()) => failure.message = "a sandbox that could not be audited was ended".to_owned(),
        Err(error) => log::warn!("an unaudited sandbox could not be ended: {}", error.message),
    }
    failure
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecInput {
    session_id: String,
    commands: Vec<String>,
    timeout_ms: Option<u64>,
}

pub(super) fn exec(
    tools: &Tools,
    context: &CallContext<'_>,
    arguments: &JsonText,
    _: AdminPermit,
) -> Called {
    let mut executed = None;
    let began = Instant::now();
    let answer = exec_once(tools, context, arguments, &mut executed);
    tools.metrics.observe_phase(Phase::Total, began.elapsed());
    let kind = CallKind::Sandbox;
    let image = executed.as_ref().and_then(|ended| ended.image.clone());
    let mut called = match (answer, executed) {
        (Ok(answer), _) => Called::answered(kind, answer),
        // What the commands printed until then is told too, unless it must be kept back.
        (Err(failure), Some(executed)) if executed.failure.as_ref() == Some(&failure) => {
            let answer = ToolAnswer::failure(&failure, executed.duration);
            let answer = answer.showing("results", &results(&executed));
            Called::failed_with(kind, &failure, answer)
        }
        (Err(failure), _) => Called::refused(kind, failure),
    };
    called.answer.image = image;
    called
}

fn exec_once(
    tools: &Tools,
    context: &CallContext<'_>,
    arguments: &JsonText,
    executed: &mut Option<Executed>,
) -> Result<ToolAnswer, Failure> {
    tools.refuse_when_draining()?;
    let input: ExecInput = read(arguments)?;
    if input.commands.iter().any(|command| command.contains('\0')) {
        return Err(invalid(
            "commands: no command may contain the character NUL",
        ));
    }
    let sandboxes = tools.engine.sandboxes()?;
    let sandbox = find(tools, context, Action::SandboxExec, &input.session_id)?;
    let timeout = Duration::from_millis(timeout_ms(tools, &sandbox, input.timeout_ms));
    let began = Instant::now();
    let acquire = Deadline::after(tools.settings.queue);
    let slot = tools.enter(context, "sandbox.exec", acquire)?;
    let text = JsonText::from_value(&json!(input.commands));
    let act = tools.begin_commands(context, &sandbox.id, text.text())?;
    let ended = sandboxes.exec(&sandbox, &input.commands, timeout, acquire, context.cancel);
    drop(slot);
    tools.observe_run(began, ended.duration);
    let duration = ended.duration;
    let answer = match &ended.failure {
        Some(failure) => Err(failure.clone()),
        None => Ok(value(&json!({
            "ok": true,
            "results": results(&ended),
            "durationMs": millis(duration),
        }))),
    };
    let ran = Ran {
        duration,
        image: ended.image.clone(),
    };
    *executed = Some(ended);
    end_run(act, answer, ToolAnswer::outcome, &ran)
}

fn timeout_ms(tools: &Tools, sandbox: &Sandbox, given: Option<u64>) -> u64 {
    let own = millis(sandbox.timeout);
    given.unwrap_or(own).min(tools.settings.max_timeout_ms)
}

fn results(executed: &Executed) -> Value {
    executed.commands.iter().map(result).collect()
}

fn result(command: &CommandEnded) -> Value {
    let mut result = json!({
        "stdout": command.stdout.text,
        "stderr": command.stderr.text,
        "exitCode": command.exit_code,
        "durationMs": millis(command.duration),
    });
    if command.stdout.left_out + command.stderr.left_out > 0
        && let Some(fields) = result.as_object_mut()
    {
        fields.insert("truncated".to_owned(), Value::Bool(true));
    }
    result
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RunInput {
    session_id: String,
    code: Arc<str>,
    #[serde(default)]
    dependencies: Vec<Dependency>,
    timeout_ms: Option<u64>,
}

pub(super) fn run_js(
    tools: &Tools,
    context: &CallContext<'_>,
    arguments: &JsonText,
    _: AdminPermit,
) -> Called {
    run_js_once(tools, context, arguments)
        .unwrap_or_else(|failure| Called::refused(CallKind::Sandbox, failure))
}

fn run_js_once(
    tools: &Tools,
    context: &CallContext<'_>,
    arguments: &JsonText,
) -> Result<Called, Failure> {
    let input: RunInput = read(arguments)?;
    let sandbox = find(tools, context, Action::SandboxRunJs, &input.session_id)?;
    let program = Program {
        code: input.code,
        image: None,
        timeout_ms: timeout_ms(tools, &sandbox, input.timeout_ms),
        dependencies: input.dependencies,
    };
    let limits = &tools.settings;
    program
        .check(limits.max_timeout_ms, limits.max_dependencies)
        .map_err(|broken| {
            let rules: Vec<_> = broken.iter().map(ToString::to_string).collect();
            invalid(rules.join("; "))
        })?;
    let execution = Execution {
        kind: CallKind::Sandbox,
        action: Action::SandboxRunJs,
        revision: None,
        asker: String::new(),
        scope: "sandbox.run_js".to_owned(),
        label: &sandbox.id,
        program,
        args: JsonText::empty_object(),
        sandbox: Some(&sandbox),
    };
    Ok(tools.execute(context, &execution, None))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SessionInput {
    session_id: String,
}

pub(super) fn stop(
    tools: &Tools,
    context: &CallContext<'_>,
    arguments: &JsonText,
    _: AdminPermit,
) -> Result<ToolAnswer, Failure> {
    let input: SessionInput = read(arguments)?;
    let sandboxes = tools.engine.sandboxes()?;
    let _place = tools.place()?;
    let action = Action::SandboxStop;
    let describe = |(): &()| Details::None {};
    tools.audited_as(context, action, &input.session_id, describe, || {
        let owner = context.caller.principal();
        let sandbox = sandboxes.find(owner, &input.session_id, look())?;
        sandboxes.close(&sandbox, soon())
    })?;
    Ok(ToolAnswer::text(&format!(
        "Stopped sandbox {}.",
        input.session_id
    )))
}

pub(super) fn list(
    tools: &Tools,
    context: &CallContext<'_>,
    _: AdminPermit,
) -> Result<ToolAnswer, Failure> {
    let sandboxes = tools.engine.sandboxes()?;
    let _place = tools.place()?;
    let list = sandboxes.list(context.caller.principal(), look())?;
    let sessions: Vec<_> = list
        .into_iter()
        .map(|(sandbox, last_used)| {
            let mut session = json!({
                "id": sandbox.id,
                "image": sandbox.image.name,
                "createdAt": rfc3339(sandbox.created),
            });
            if let (Some(fields), Some(time)) = (session.as_object_mut(), last_used) {
                fields.insert("lastUsedAt".to_owned(), rfc3339(time).into());
            }
            session
        })
        .collect();
    Ok(value(&json!({ "sessions": sessions })))
}
