//! The life of a client connection: reading its requests, refusing them, sending and closing. What
//! happens to a complete request is decided in `relay`.

use super::answer::{Body, CONTINUE, Ends, Refusal};
use super::connection::{Arrival, Client, Standing, State};
use super::event_loop::{EventLoop, Stage};
use super::head::{Head, Origin, Rejected};
use super::inbox::{Inbox, Phase, Progress};
use mio::Token;
use mio::event::Event;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a client may take to close its side after the last answer.
const LINGER: Duration = Duration::from_secs(2);

impl EventLoop {
    pub(super) fn client_event(&mut self, token: Token, event: &Event) {
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        client.readable |= event.is_readable() || event.is_read_closed();
        let is_gone = event.is_error() || event.is_write_closed();
        let knew = client.hung_up;
        client.hung_up |= is_gone || event.is_read_closed();
        if let (State::Busy, Some(asked)) = (&client.state, &client.asked)
            && client.hung_up
            && !knew
        {
            (self.on_hang_up)(asked.number);
        }
        let is_streaming = matches!(client.state, State::Streaming(_));
        if matches!(client.state, State::Queued { .. }) && client.hung_up {
            self.drop_queued(token);
        } else if is_gone || is_streaming && client.hung_up {
            self.remove_client(token);
        } else {
            if event.is_writable() && client.has_output() {
                self.flush_client(token);
            }
            self.read_client(token);
        }
    }

    /// One turn of a client: at most one read.
    pub(super) fn read_client(&mut self, token: Token) {
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        match client.state {
            State::Reading(_) => self.read_request(token),
            State::Closing if client.readable => match client.read(&mut self.scratch) {
                Ok(Arrival::Bytes(_) | Arrival::Nothing) if client.readable => {
                    self.schedule_client(token);
                }
                Ok(Arrival::Bytes(_) | Arrival::Nothing) => {}
                Ok(Arrival::End) | Err(_) => self.remove_client(token),
            },
            // What comes now belongs to a later request and stays in the socket until then.
            State::Queued { .. }
            | State::Busy
            | State::Streaming(_)
            | State::Flushing
            | State::Closing => {}
        }
    }

    fn read_request(&mut self, token: Token) {
        if !self.needs_bytes(token) {
            return;
        }
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        if client.read_closed {
            return self.remove_client(token);
        }
        if !client.readable {
            return;
        }
        match client.read(&mut self.scratch) {
            Ok(Arrival::Bytes(bytes)) => {
                if !self.has_room_for(token, bytes) {
                    return self.refuse_open(token, Refusal::BuffersFull);
                }
                let input = self.scratch.get(..bytes).unwrap_or_default();
                if let Some(client) = self.clients.get_mut(&token) {
                    client.inbox.push(input);
                }
                if !self.needs_bytes(token) {
                    return;
                }
            }
            Ok(Arrival::Nothing) => {}
            Ok(Arrival::End) | Err(_) => return self.remove_client(token),
        }
        let client = self.clients.get(&token);
        if client.is_some_and(|client| client.readable) {
            self.schedule_client(token);
        }
    }

    /// Whether a client may hold `bytes` more. When the budget is used up, whoever holds most of it
    /// has to go, so that a few large unfinished requests cannot keep out the many small ones.
    pub(super) fn has_room_for(&mut self, token: Token, bytes: usize) -> bool {
        let held = self.counters.buffered_bytes.load(Ordering::Relaxed);
        if held.saturating_add(bytes) <= self.limits.buffer_bytes {
            return true;
        }
        let wanted = bytes + self.clients.get(&token).map_or(0, Client::held_bytes);
        let largest = self
            .clients
            .iter()
            .filter(|(_, client)| client.has_output() || matches!(client.state, State::Reading(_)))
            .max_by_key(|(_, client)| client.held_bytes());
        match largest.map(|(&token, client)| (token, client.held_bytes(), client.has_output())) {
            Some((_, held, _)) if held <= wanted => false,
            Some((largest, _, true)) => {
                self.cut_slow_reader(largest);
                true
            }
            Some((largest, _, false)) => {
                self.refuse_open(largest, Refusal::BuffersFull);
                true
            }
            None => false,
        }
    }

    /// Makes what it can of the bytes that are here; true when a request is still incomplete.
    fn needs_bytes(&mut self, token: Token) -> bool {
        let Some(client) = self.clients.get_mut(&token) else {
            return false;
        };
        let origin = Origin {
            peer: client.address,
            trusted_proxies: &self.limits.trusted_proxies,
        };
        let mut progress = client.inbox.advance(self.limits.max_body_bytes, origin);
        if matches!(progress, Progress::Continue) {
            let deadline = self.now + self.limits.write_timeout;
            if client.send(CONTINUE, false, deadline).is_err() {
                self.remove_client(token);
                return false;
            }
            progress = Progress::Incomplete;
        }
        match progress {
            Progress::Incomplete | Progress::Continue => {
                let phase = client.inbox.phase();
                if !matches!(client.state, State::Reading(current) if current == phase) {
                    client.state = State::Reading(phase);
                    client.deadline = Some(self.now + self.limits.timeout(phase));
                }
                client.recount();
                true
            }
            Progress::Complete(request) => {
                self.admit_request(token, request);
                false
            }
            Progress::Refused(rejected) => {
                self.refuse(token, rejected);
                false
            }
        }
    }

    /// Refuses the request whose body is arriving.
    pub(super) fn refuse_open(&mut self, token: Token, refusal: Refusal) {
        let open = self
            .clients
            .get(&token)
            .and_then(|client| client.inbox.open_head());
        let request_id = open.and_then(|head: &Head| head.request_id.clone());
        self.refuse(
            token,
            Rejected {
                refusal,
                request_id,
            },
        );
    }

    /// Answers a client in the gate's own words. The connection goes on only where the next request
    /// is sure to be found.
    pub(super) fn refuse(&mut self, token: Token, rejected: Rejected) {
        let deadline = self.write_deadline();
        let is_draining = self.stage != Stage::Serving;
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        let refusal = rejected.refusal;
        self.counters.count_refusal(refusal);
        let was_whole = matches!(refusal, Refusal::QueueFull | Refusal::BackendLost);
        if is_draining || !was_whole {
            client.ends = Ends::Connection;
            client.inbox = Inbox::default();
        }
        let (known_id, body) = match &client.asked {
            Some(asked) if was_whole => (asked.request_id.as_deref(), asked.body),
            _ => (rejected.request_id.as_deref(), Body::Sent),
        };
        let answer = refusal.answer(known_id, client.ends, body);
        client.state = State::Flushing;
        client.deadline = None;
        if client.send(&answer, false, deadline).is_err() {
            return self.remove_client(token);
        }
        client.recount();
        if !client.has_output() {
            self.answer_sent(token);
        }
    }

    fn flush_client(&mut self, token: Token) {
        let deadline = self.write_deadline();
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        if client.flush(deadline).is_err() {
            return self.remove_client(token);
        }
        client.recount();
        if client.has_output() {
            return;
        }
        match client.state {
            State::Flushing => self.answer_sent(token),
            State::Streaming(_) => self.feed_client(token),
            _ => {}
        }
    }

    /// The answer is complete and sent: on to the next request, or to the end.
    pub(super) fn answer_sent(&mut self, token: Token) {
        let is_draining = self.stage != Stage::Serving;
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        if is_draining || client.ends == Ends::Connection {
            return self.begin_closing(token);
        }
        client.state = State::Reading(Phase::Idle);
        client.deadline = Some(self.now + self.limits.idle_timeout);
        if client.readable || client.read_closed || client.inbox.phase() != Phase::Idle {
            self.schedule_client(token);
        }
    }

    fn begin_closing(&mut self, token: Token) {
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        if client.read_closed || client.begin_closing(self.now + LINGER).is_err() {
            self.remove_client(token);
        } else if client.readable {
            self.schedule_client(token);
        }
    }

    /// Forgets a request whose client did not wait for its turn.
    pub(super) fn drop_queued(&mut self, token: Token) {
        self.counters.hung_up_total.fetch_add(1, Ordering::Relaxed);
        self.remove_client(token);
    }

    pub(super) fn cut_slow_reader(&mut self, token: Token) {
        self.counters
            .slow_readers_total
            .fetch_add(1, Ordering::Relaxed);
        self.remove_client(token);
    }

    /// Closes a client connection and forgets all about it.
    pub(super) fn remove_client(&mut self, token: Token) {
        let Some(client) = self.clients.remove(&token) else {
            return;
        };
        match client.standing {
            Standing::Counted => self.peers.release(client.address),
            Standing::Trusted => {}
            Standing::TurnedAway => self.turned_away -= 1,
        }
        match &client.state {
            State::Queued { lane, .. } => {
                if let Some(lane) = self.lanes.get_mut(*lane) {
                    lane.forget(token);
                }
            }
            State::Streaming(streaming) => {
                let stream = streaming.stream();
                stream.client_gone();
                (self.on_hang_up)(stream.request);
            }
            _ => {}
        }
        let open = &self.counters.connections_open;
        open.store(self.clients.len(), Ordering::Relaxed);
    }

    pub(super) fn write_deadline(&self) -> Instant {
        self.now + self.limits.write_timeout
    }
}
