//! The bounds of the gate, as the operator sets them or as the wire format fixes them. Numbers
//! only.

use super::inbox::Phase;
use crate::base::address::AddressRange;
use std::time::Duration;

/// Most bytes of a request head, its closing empty line included; beyond: 431.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Most header fields of a request or of a private server's answer; a request with more: 431.
pub const MAX_HEADERS: usize = 64;

/// After this, a peer that acknowledges nothing has vanished.
const VANISHED: Duration = Duration::from_secs(30);

/// What clients may take. The timeouts are absolute: a byte now and then does not extend them.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest request body in bytes, counted after dechunking; beyond: 413.
    pub max_body_bytes: usize,
    /// Open client connections; beyond: 503 and close.
    pub max_connections: usize,
    /// Open connections of one IPv4 address or one IPv6 /64 network; beyond: 503 and close.
    pub max_connections_per_ip: usize,
    /// All bytes held for unfinished requests and slow readers together. When they are used up,
    /// whoever holds most has to go: an unfinished request is answered 503, a slow reader is cut
    /// off.
    pub buffer_bytes: usize,
    /// Open event streams; beyond these, or three quarters of `max_connections`: none is opened.
    pub max_streams: usize,
    /// Requests of one lane that may wait for a private server; beyond: 503 with `Retry-After`.
    pub queue_length: usize,
    /// From the first byte of a head to its last; beyond: 408.
    pub head_timeout: Duration,
    /// From the end of the head to the end of the body; beyond: 408.
    pub body_timeout: Duration,
    /// From one answer to the first byte of the next request; beyond: closed without a word.
    pub idle_timeout: Duration,
    /// How long answer bytes may stay unsent because the client does not read; beyond: cut off.
    pub write_timeout: Duration,
    /// Proxies whose `X-Forwarded-For` is believed and whose connections are not counted per
    /// address.
    pub trusted_proxies: Vec<AddressRange>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: 1024 * 1024,
            max_connections: 1024,
            max_connections_per_ip: 256,
            buffer_bytes: 64 * 1024 * 1024,
            max_streams: 2000,
            queue_length: 1024,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(10),
            trusted_proxies: Vec::new(),
        }
    }
}

impl Limits {
    /// How long what was sent may be unacknowledged: longer than a slow reader is given, whose
    /// full window counts too.
    pub(super) fn unacknowledged(&self) -> Duration {
        self.write_timeout.max(VANISHED)
    }

    /// Open event streams: they leave connections to those who want none.
    pub(super) fn open_streams(&self) -> usize {
        let share = self.max_connections.saturating_mul(3) / 4;
        self.max_streams.min(share.max(1))
    }

    /// How long a connection may be in `phase`.
    pub(super) fn timeout(&self, phase: Phase) -> Duration {
        match phase {
            Phase::Idle => self.idle_timeout,
            Phase::Head => self.head_timeout,
            Phase::Body => self.body_timeout,
        }
    }
}
