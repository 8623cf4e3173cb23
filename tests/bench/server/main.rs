//! How fast the server is, as ratios to what cannot be avoided and to its peers, in one run on one
//! machine. Reports, asserts nothing; `../README.md` says how to read it.
//!
//!     cargo bench --bench server [latency] [throughput] [auth] [cycles]
//!
//! Needs a Docker daemon with `node:lts-slim` (`DOCKER_HOST`), and `wrk` for the throughput.

// A bench may stop where a program may not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    missing_docs
)]

mod auth;
mod cycles;
mod floor;
mod http;
mod latency;
mod packages;
mod process;
mod statistics;
mod throughput;

fn main() {
    let named: Vec<_> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let wanted = |part: &str| named.is_empty() || named.iter().any(|name| name == part);
    if wanted("latency") {
        latency::report();
        packages::report();
    }
    if wanted("throughput") {
        throughput::report();
    }
    if wanted("auth") {
        auth::report();
    }
    if wanted("cycles") {
        cycles::report();
    }
}
