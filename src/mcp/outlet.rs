//! The way to a client beside the answers to its requests.

use std::fmt;

/// Takes messages for one client: those of one request, or of one stream that stays open. Each is
/// one JSON text. Nothing here fails what goes on: `false` says that the client will not get it.
/// Dropping it ends the stream.
pub trait Outlet: Send + Sync + fmt::Debug {
    /// Sends a message that must not be left out.
    fn send(&self, message: &str) -> bool;

    /// Sends a message that is left out when the client reads too slowly.
    fn send_spare(&self, message: &str) -> bool;

    /// Sends a message that is left out while one of the same name waits, which says the same.
    fn send_once(&self, name: &str, message: &str) -> bool;

    /// Whether the client is still there.
    fn is_open(&self) -> bool;
}
