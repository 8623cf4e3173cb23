//! The real server with a real Docker daemon and real clients. `tests/run` starts what it needs.

mod engine;
mod jail;
mod support;
