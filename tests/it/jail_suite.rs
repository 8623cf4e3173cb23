//! The suite that both engines pass, on the jail engine.
#![allow(clippy::duplicate_mod)]

use crate::support::jail::Fixture;

#[path = "engine_code.rs"]
mod code;
#[path = "engine_conversation.rs"]
mod conversation;
#[path = "engine_endings.rs"]
mod endings;
#[path = "engine_limits.rs"]
mod limits;
#[path = "engine_results.rs"]
mod results;
