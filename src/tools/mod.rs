//! The tools that clients see and what calling one means: built-in ones, and those made at run
//! time. The prompts and resources beside them, likewise.

mod answer;
mod asking;
mod audited;
mod builtins;
mod call;
mod called;
mod catalog;
mod contact;
mod content;
mod description;
mod entry;
mod messages;
mod prompts;
mod questions;
mod rendering;
mod reports;
mod resources;
mod schemas;
mod substitution;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::audit::Audit;
use crate::auth::Authority;
use crate::config::{BuiltinGroup, Effective, NameStyle, Profile};
use crate::domain::run::Cancel;
use crate::engine::Engine;
use crate::guard::Guard;
use crate::metrics::Metrics;
use crate::registry::ToolStore;

pub use answer::ToolAnswer;
pub use asking::{Answers, Asked, Asking, Capabilities, Client, Earlier};
pub use builtins::is_answered_at_once;
pub use call::{CallContext, Outcome};
pub use called::{NotCalled, UnknownTool};
pub use catalog::ListedTool;
pub use contact::{Contact, NoContact};
pub use prompts::{ListedPrompt, PromptArguments, PromptMessages};
pub use rendering::{NotRendered, Rendered};
pub use resources::{ListedResource, ResourcePart};

/// Limits and choices of the operator that tools obey.
#[derive(Clone, Debug)]
pub struct ToolSettings {
    /// How names are listed.
    pub name_style: NameStyle,
    /// Which built-ins there are at most.
    pub profile: Profile,
    /// Groups of built-ins that are listed and callable.
    pub groups: Vec<BuiltinGroup>,
    /// Longest time limit an author may ask for, in milliseconds.
    pub max_timeout_ms: u64,
    /// Most dependencies a tool may have.
    pub max_dependencies: usize,
    /// How long a call may wait for a slot and a sandbox.
    pub queue: Duration,
    /// Every setting, as admins may see it.
    pub shown: Vec<Effective>,
}

/// Everything that tools work with.
pub struct Tools {
    pub(crate) store: Arc<dyn ToolStore>,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) guard: Arc<Guard>,
    pub(crate) authority: Authority,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) audit: Audit,
    pub(crate) settings: ToolSettings,
    builtins: Vec<builtins::BuiltIn>,
    /// Ends all runs when the server's grace is over.
    stop: Cancel,
    draining: AtomicBool,
}

impl std::fmt::Debug for Tools {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Tools")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Tools {
    /// The tools of one server.
    pub fn new(
        store: Arc<dyn ToolStore>,
        engine: Arc<dyn Engine>,
        guard: Arc<Guard>,
        authority: Authority,
        metrics: Arc<Metrics>,
        audit: Audit,
        settings: ToolSettings,
    ) -> Self {
        let builtins = builtins::all(&settings);
        let stop = Cancel::default();
        Self {
            store,
            engine,
            guard,
            authority,
            metrics,
            audit,
            settings,
            builtins,
            stop,
            draining: AtomicBool::new(false),
        }
    }

    /// What clients' models are told of this server at first.
    pub fn instructions(&self) -> Cow<'static, str> {
        description::in_style(self.settings.name_style, description::INSTRUCTIONS)
    }

    /// Refuses new runs from now on; running ones go on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Runs now, those that wait for a slot, and acts that may take long.
    pub fn unfinished_runs(&self) -> usize {
        let counts = self.guard.counts();
        counts.active + counts.waiting + counts.acts
    }

    /// A flag for one call, that [`Tools::cancel_runs`] reaches too.
    pub fn new_cancel(&self) -> Cancel {
        self.stop.child()
    }

    /// Ends every run, now and from now on.
    pub fn cancel_runs(&self) {
        self.stop.cancel();
    }
}
