//! Which step of building a jail failed, inside the launcher and as the server reads it.

use std::fmt;
use std::io;

/// A step that the kernel refused.
#[derive(Debug)]
pub(super) struct StepError {
    step: String,
    error: io::Error,
}

/// Names the step that an error came from.
pub(super) trait At<T> {
    fn at(self, step: impl Into<String>) -> Result<T, StepError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, step: impl Into<String>) -> Result<T, StepError> {
        self.map_err(|error| StepError {
            step: step.into(),
            error,
        })
    }
}

/// Starts the line that the launcher prints; the rest is the step and the error.
pub(super) const MARK: &str = "jail: ";
/// The launcher's exit code when no jail came to be.
pub(super) const NO_JAIL: i32 = 125;

impl fmt::Display for StepError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{MARK}{}: {}", self.step, self.error)
    }
}
