//! The suite that both engines pass, on the Docker engine.
#![allow(clippy::duplicate_mod)]

use crate::support::engine::Fixture;

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
