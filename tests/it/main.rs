//! The real server with a real Docker daemon and real clients. `tests/run` starts what it needs.

#![allow(
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]

mod engine_code;
mod engine_conversation;
mod engine_endings;
mod engine_limits;
mod engine_results;
mod server_calls;
mod server_commands;
mod server_life;
mod server_load;
mod server_protocol;
mod server_store;
mod support;
