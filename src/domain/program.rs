//! Code of an author with all that running it needs, whatever it is the code of.

use std::sync::Arc;

use super::entry::{Dependency, InvalidField};
use super::limits;

/// Code that can be run.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// Body of `async function run(args, ctx)`; 1 to 200,000 characters.
    pub code: Arc<str>,
    /// Container image; the server's default where `None`.
    pub image: Option<String>,
    /// Bound on one run, in milliseconds.
    pub timeout_ms: u64,
    /// Packages the code imports.
    pub dependencies: Vec<Dependency>,
}

impl Program {
    /// Checks sizes, the grammar of the image and of package names, no package twice.
    ///
    /// # Errors
    /// Every field that breaks its rule, once.
    pub fn check(
        &self,
        max_timeout_ms: u64,
        max_dependencies: usize,
    ) -> Result<(), Vec<InvalidField>> {
        let mut broken = Vec::new();
        limits::check_program_sizes(&mut broken, self, max_timeout_ms, max_dependencies);
        limits::check_program_grammar(&mut broken, self);
        limits::none(broken)
    }
}
