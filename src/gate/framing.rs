//! Requests cut out of a stream of bytes exactly as every connection of the gate does it, for
//! whoever compares this reading with another parser's. Knows no socket.

use super::head::Origin;
use super::inbox::{Inbox, Progress};
use std::net::{IpAddr, Ipv4Addr};

/// A whole request, as the gate understood it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Such as `POST`.
    pub method: String,
    /// In origin form, such as `/mcp?x=1`.
    pub target: String,
    /// Without its framing.
    pub body: Vec<u8>,
    /// No further request is read after this one.
    pub is_last: bool,
    /// All the bytes that a private server gets for it.
    pub relayed: Vec<u8>,
}

/// What the bytes so far amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// More bytes are needed.
    Incomplete,
    /// The next request.
    Request(Request),
    /// A refusal: the connection ends with this status.
    Refused(u16),
}

/// The bytes of one connection from 127.0.0.1.
#[derive(Debug)]
pub struct Reader {
    inbox: Inbox,
    max_body_bytes: usize,
    requests: u64,
}

impl Reader {
    /// Bodies of more than `max_body_bytes` are refused.
    pub fn new(max_body_bytes: usize) -> Self {
        Self {
            inbox: Inbox::default(),
            max_body_bytes,
            requests: 0,
        }
    }

    /// Adds bytes as they come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.inbox.push(bytes);
    }

    /// Goes on to the end of a request or of the bytes. After a refusal or a last request the
    /// connection would be closed.
    pub fn read(&mut self) -> Reading {
        let origin = Origin {
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            trusted_proxies: &[],
        };
        match self.inbox.advance(self.max_body_bytes, origin) {
            Progress::Incomplete | Progress::Continue => Reading::Incomplete,
            Progress::Refused(rejected) => Reading::Refused(rejected.refusal.status()),
            Progress::Complete(request) => {
                self.requests += 1;
                let head = request.head;
                let (method, target) = (head.method().to_owned(), head.target().to_owned());
                let is_last = head.closes;
                let mut relayed = head.into_wire(self.requests, request.body.len());
                relayed.extend_from_slice(&request.body);
                Reading::Request(Request {
                    method,
                    target,
                    body: request.body,
                    is_last,
                    relayed,
                })
            }
        }
    }
}
