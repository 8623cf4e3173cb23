//! The real server with a real Docker daemon and real clients. `tests/run` starts what it needs.

#![allow(
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]

mod docker_suite;
mod engine_checker;
mod engine_hardening;
mod jail;
mod jail_suite;
mod stdio;
mod support;
