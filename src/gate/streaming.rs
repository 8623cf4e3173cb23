//! The gate's side of open streams: taking clients over, writing events, keeping connections alive.

use super::answer::Ends;
use super::connection::State;
use super::event_loop::{EventLoop, Stage};
use super::inbox::Inbox;
use super::stream::{Step, Stream};
use mio::Token;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a stream may be silent: proxies close what is, and a client that is gone unnoticed
/// shows when it is written to.
const COMMENT_INTERVAL: Duration = Duration::from_secs(15);

/// An event stream's way to say nothing.
const COMMENT: &[u8] = b":\n\n";

/// A stream with its client.
#[derive(Debug)]
pub(super) struct Streaming {
    stream: Arc<Stream>,
    /// The client knows chunked coding; else the end of the connection is the end of the stream.
    is_chunked: bool,
    comment_at: Instant,
}

impl Streaming {
    pub(super) fn is_silent_since(&self, now: Instant) -> bool {
        self.comment_at <= now
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// A part of the body in its wire format.
    fn frame(&self, part: &[u8], out: &mut Vec<u8>) {
        if self.is_chunked && !part.is_empty() {
            let _ = write!(out, "{:x}\r\n", part.len());
            out.extend_from_slice(part);
            out.extend_from_slice(b"\r\n");
        } else {
            out.extend_from_slice(part);
        }
    }
}

impl EventLoop {
    /// A stream has something for its client.
    pub(super) fn feed(&mut self, stream: &Arc<Stream>) {
        match stream.next_step() {
            Step::Begin(head) => self.begin_stream(stream, &head),
            Step::Go(token) => self.feed_client(token),
            Step::None => {}
        }
    }

    /// Takes the client over whose request is answered by a stream.
    fn begin_stream(&mut self, stream: &Arc<Stream>, head: &[u8]) {
        let is_draining = self.stage != Stage::Serving;
        let comment_at = self.now + COMMENT_INTERVAL;
        let mut clients = self.clients.iter_mut();
        let found = clients.find(|(_, client)| client.is_awaiting(stream.request));
        let Some((&token, client)) = found else {
            stream.client_gone();
            return (self.on_hang_up)(stream.request);
        };
        let is_chunked = client.asked.as_ref().is_none_or(|asked| !asked.is_http_10);
        // A request that came behind this one would be held as long as the stream is open.
        let is_followed = client.inbox.held_bytes() > 0;
        client.inbox = Inbox::default();
        if is_draining || !is_chunked || is_followed {
            client.ends = Ends::Connection;
        }
        stream.begin(token);
        let has_gone = client.hung_up;
        let mut bytes = head.to_vec();
        if is_chunked {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        if client.ends == Ends::Connection {
            bytes.extend_from_slice(b"Connection: close\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        client.state = State::Streaming(Streaming {
            stream: Arc::clone(stream),
            is_chunked,
            comment_at,
        });
        if has_gone {
            return self.remove_client(token);
        }
        if self.send_of_stream(token, &bytes) {
            self.feed_client(token);
        }
    }

    /// Sends a client all that waits for it, once it has taken what came before.
    pub(super) fn feed_client(&mut self, token: Token) {
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        let State::Streaming(streaming) = &client.state else {
            return;
        };
        if client.has_output() {
            if !self.has_room_for(token, 0) {
                self.cut_slow_reader(token);
            }
            return;
        }
        let (mut events, mut bytes) = (Vec::new(), Vec::new());
        let is_over = streaming.stream.take(&mut events);
        streaming.frame(&events, &mut bytes);
        if !is_over {
            if !bytes.is_empty() {
                self.send_of_stream(token, &bytes);
            }
            return;
        }
        if streaming.is_chunked {
            bytes.extend_from_slice(b"0\r\n\r\n");
        }
        streaming.stream.client_gone();
        client.state = State::Flushing;
        if self.send_of_stream(token, &bytes)
            && let Some(client) = self.clients.get(&token)
            && !client.has_output()
        {
            self.answer_sent(token);
        }
    }

    /// Says nothing to a client who has heard nothing for long.
    pub(super) fn comment(&mut self, token: Token) {
        let client = self.clients.get(&token);
        let Some((State::Streaming(streaming), false)) =
            client.map(|client| (&client.state, client.has_output()))
        else {
            return;
        };
        let mut bytes = Vec::new();
        streaming.frame(COMMENT, &mut bytes);
        self.send_of_stream(token, &bytes);
    }

    /// Whether the client is still there after it.
    fn send_of_stream(&mut self, token: Token, bytes: &[u8]) -> bool {
        let deadline = self.write_deadline();
        let comment_at = self.now + COMMENT_INTERVAL;
        let Some(client) = self.clients.get_mut(&token) else {
            return false;
        };
        if client.send(bytes, false, deadline).is_err() {
            self.remove_client(token);
            return false;
        }
        if let State::Streaming(streaming) = &mut client.state {
            streaming.comment_at = comment_at;
        }
        client.recount();
        if client.has_output() && !self.has_room_for(token, 0) {
            self.cut_slow_reader(token);
            return false;
        }
        true
    }
}
