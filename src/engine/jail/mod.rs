//! The `node` engine: Node.js in a kernel jail, for machines without Docker.
//!
//! Three processes stand around the author's code. The *launcher* is our own binary again, outside,
//! with one thread: it makes the namespaces, bounds the memory, and ends the jail when the server
//! lets go of the orders' socket, be it by a crash. The *first process* builds the file system
//! inside, gives up every right and waits. *Node* runs the same runner as in containers, under
//! limits and a filter.
//!
//! `unsafe` is in `kernel` alone; `plan` and `filter` are the reviewed data.

mod cell;
mod disposal;
mod engine;
mod filter;
mod init;
mod kernel;
mod launcher;
mod node;
mod plan;
mod refusal;
mod root;
mod step;
mod watch;

pub use engine::{JailEngine, JailSettings};
pub use launcher::launch_if_asked;
pub use node::find_node;
pub use refusal::JailRefusal;

/// The same program as in containers.
const RUNNER: &str = include_str!("../runner.js");
