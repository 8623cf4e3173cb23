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
mod readme;
mod support;
