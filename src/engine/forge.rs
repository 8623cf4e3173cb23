//! What makes cells, whatever they are: the pool and the checkers know nothing else of an engine.

use std::time::Duration;

use super::cell::Cell;
use super::labels::Kind;
use crate::base::deadline::Deadline;
use crate::domain::failure::Failure;
use crate::domain::image::ImageRef;

/// A cell whose runner is ready. Dropping it has it destroyed soon.
pub(super) type ReadyCell = Box<dyn Cell + Send>;

/// What a name stands for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// This image, by its id; `None` where cells are made without one.
    For(Option<String>),
    /// None any more.
    Gone,
    /// It cannot be found out now.
    Unknown,
}

/// Makes cells, and knows which may be asked for.
pub(super) trait Forge: Send + Sync {
    /// The image asked for, or the default; a policy failure when it is not allowed.
    fn admit(&self, asked: Option<&ImageRef>) -> Result<ImageRef, Failure>;

    /// Looks what an admitted name stands for now, of which cells are then made.
    fn look(&self, image: &ImageRef, deadline: Deadline) -> Standing;

    /// A cell of the image, its runner ready. `lifetime` is after how long anybody may remove it.
    fn make(
        &self,
        asked: Option<&ImageRef>,
        kind: Kind,
        tool: &str,
        lifetime: Duration,
        deadline: Deadline,
    ) -> Result<ReadyCell, Failure>;
}
