//! What is made anew whenever somebody asks for it: a prompt's messages, a resource's content.
//! Where code makes it, it runs as a tool does: the same engine, guard, audit and rounds of
//! questions.

use super::Tools;
use super::call::{CallContext, Execution, Outcome, Shape, asker, has_changed};
use crate::audit::Action;
use crate::domain::entry::Entry;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::image::UsedImage;
use crate::domain::json::JsonText;
use crate::domain::program::Program;
use crate::metrics::CallKind;
use crate::registry::Stored;

/// What was made, or what has to be answered first.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered<T> {
    /// Either of them.
    pub outcome: Outcome<T>,
    /// The image that code ran in, where it did.
    pub image: Option<UsedImage>,
}

impl<T> Rendered<T> {
    /// Something for which nothing ran.
    pub(super) fn ready(made: T) -> Self {
        Self {
            outcome: Outcome::Done(made),
            image: None,
        }
    }
}

/// Why there is nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotRendered {
    /// There is no such prompt or resource, or none for this caller.
    Unknown,
    /// It has changed since it asked what the client now answers.
    Changed,
    /// What was asked for it is wrong, or more than there may be.
    Invalid(String),
    /// Its code failed, or might not run.
    Failed(Box<Failure>),
}

impl From<Failure> for NotRendered {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

pub(super) fn invalid_result(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::InvalidResult, message)
}

impl Tools {
    /// Runs the code of `entry`, and makes of what it returns what it is for.
    pub(super) fn render<D: Stored, T>(
        &self,
        context: &CallContext<'_>,
        kind: CallKind,
        entry: &Entry<D>,
        program: Program,
        args: JsonText,
        shape: &Shape<'_, T>,
    ) -> Result<Rendered<T>, NotRendered> {
        // No tool can have a name with a slash: scopes and lines of the log are its own.
        let label = format!("{}/{}", D::KIND, entry.name);
        let execution = Execution {
            kind,
            action: Action::Exec,
            revision: Some(entry.revision),
            asker: asker(entry),
            scope: format!("dynamic.exec.{label}"),
            label: &label,
            program,
            args,
            sandbox: None,
        };
        if has_changed(context, &execution) {
            return Err(NotRendered::Changed);
        }
        let (outcome, ran) = self.run(context, &execution, shape);
        let name = outcome
            .as_ref()
            .map_or_else(|failure| failure.kind.as_str(), Outcome::as_str);
        self.metrics.count_call(kind, name);
        Ok(Rendered {
            outcome: outcome?,
            image: ran.image,
        })
    }
}
