//! The real server with a real Docker daemon and real clients. `tests/run` starts what it needs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

mod docker_errors;
mod engine_checker;
mod engine_code;
mod engine_conversation;
mod engine_endings;
mod engine_hardening;
mod engine_images;
mod engine_lifecycle;
mod engine_limits;
mod engine_output;
mod engine_results;
mod support;
