//! One run of an author's code: what goes in and what comes out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::asking::{Answer, Ask};
use super::entry::Dependency;
use super::failure::Failure;
use super::image::{ImageRef, UsedImage};
use super::json::JsonText;

/// A request to run code once.
#[derive(Clone, Debug)]
pub struct Job {
    /// Body of `async function run(args, ctx)`.
    pub code: Arc<str>,
    /// The arguments, as the client sent them.
    pub args: JsonText,
    /// The image to run in; the default image where `None`.
    pub image: Option<ImageRef>,
    /// Packages that the code may import.
    pub dependencies: Vec<Dependency>,
    /// From the job's sending to its result.
    pub timeout: Duration,
    /// What is run, for labels and logs: a tool's name or `run_js_ephemeral`.
    pub label: String,
}

/// What the code gave back.
#[derive(Clone, Debug, PartialEq)]
pub enum Returned {
    /// A JSON value.
    Value(JsonText),
    /// MCP content blocks made by `ctx.content([...])`: a JSON array, not yet checked.
    Content(JsonText),
    /// Nothing yet: the code waits for what [`Observer::ask`] answered with [`Answer::Later`].
    Waiting,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The value, or why there is none.
    pub outcome: Result<Returned, Failure>,
    /// From the job's sending to its end; zero where it was never sent.
    pub duration: Duration,
    /// The image that the job was sent to, where there was one.
    pub image: Option<UsedImage>,
}

/// What running code says before it ends.
pub trait Observer {
    /// Whether what the code prints with `console` is to be told as logs too.
    fn wants_console(&self) -> bool {
        false
    }
    /// `ctx.log(level, data)`.
    fn log(&mut self, level: &str, data: &JsonText);
    /// `ctx.progress(done, total?, message?)`.
    fn progress(&mut self, done: f64, total: Option<f64>, message: Option<&str>);
    /// `ctx.elicit`, `ctx.sample`, `ctx.listRoots`.
    fn ask(&mut self, ask: Ask) -> Answer;
}

/// A shared flag that ends a run early: its own, or its parent's.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    own: Arc<AtomicBool>,
    parent: Option<Arc<AtomicBool>>,
}

impl Cancel {
    /// Ends the run, soon.
    pub fn cancel(&self) {
        self.own.store(true, Ordering::Release);
    }

    /// Whether [`Cancel::cancel`] was called on this one or on its parent.
    pub fn is_cancelled(&self) -> bool {
        let parent = self.parent.as_ref();
        self.own.load(Ordering::Acquire) || parent.is_some_and(|flag| flag.load(Ordering::Acquire))
    }

    /// A flag of its own that this one's cancelling reaches too.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            own: Arc::default(),
            parent: Some(Arc::clone(&self.own)),
        }
    }
}
