//! The real server with a real Docker daemon and real clients. `tests/run` starts what it needs.

mod docker_suite;
mod engine_checker;
mod engine_hardening;
mod jail;
mod jail_escape;
mod jail_suite;
mod support;
