//! The real server with a real Docker daemon and real clients. `tests/run` starts what it needs.

#![allow(
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]

mod asking;
mod audit;
mod auth;
mod baseline;
mod clients;
mod dependencies;
mod deployment;
mod docker_daemons;
mod docker_errors;
mod docker_podman;
mod docker_suite;
mod docker_tls;
mod doctor;
mod engine_checker;
mod engine_hardening;
mod engine_images;
mod engine_lifecycle;
mod enterprise;
mod image;
mod installer_network;
mod jail;
mod jail_escape;
mod jail_server;
mod jail_suite;
mod made;
mod monitoring;
mod ops;
mod panic_fence;
mod postgres;
mod postgres_faults;
mod postgres_identity;
mod postgres_outages;
mod postgres_servers;
mod readme;
mod resources;
mod runbook;
mod sandbox_faults;
mod sandboxes;
mod server_calls;
mod server_commands;
mod server_flood;
mod server_life;
mod server_load;
mod server_protocol;
mod server_store;
mod sessions;
mod stdio;
mod stream_asking;
mod stream_calls;
mod stream_changes;
mod stream_load;
mod support;
