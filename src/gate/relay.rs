//! The way of a request and its answer: client to private server and back. Every step does a bounded
//! piece of work and leaves the rest for the next round.

use super::answer::{Body, CONTINUE, Ends, Refusal};
use super::backend::Purpose;
use super::connection::{Arrival, Standing, State};
use super::event_loop::{EventLoop, Stage};
use super::head::{Head, Origin, Rejected};
use super::inbox::{Phase, Progress, Request};
use super::response::Asked;
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
        client.hung_up |= event.is_read_closed();
        let is_gone = event.is_error() || event.is_write_closed();
        let waits = matches!(client.state, State::Queued { .. });
        if waits && (is_gone || client.hung_up) {
            self.drop_queued(token);
        } else if is_gone {
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
            State::Queued { .. } | State::Busy | State::Flushing | State::Closing => {}
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
                let held = self.counters.buffered_bytes.load(Ordering::Relaxed);
                if held.saturating_add(bytes) > self.limits.buffer_bytes {
                    return self.refuse_open(token, Refusal::BuffersFull);
                }
                client
                    .inbox
                    .push(self.scratch.get(..bytes).unwrap_or_default());
                if !self.needs_bytes(token) {
                    return;
                }
            }
            Ok(Arrival::Nothing) => {}
            Ok(Arrival::End) | Err(_) => return self.remove_client(token),
        }
        if self
            .clients
            .get(&token)
            .is_some_and(|client| client.readable)
        {
            self.schedule_client(token);
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

    /// A complete request goes to a private server, into the queue, or back.
    fn admit_request(&mut self, token: Token, request: Request) {
        self.counters.requests_total.fetch_add(1, Ordering::Relaxed);
        let max_queue = self.limits.queue_length;
        let last_lane = self.lanes.len().saturating_sub(1);
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        let index = (client.route)(&request.head).min(last_lane);
        let Some(lane) = self.lanes.get_mut(index) else {
            return;
        };
        client.begin_request(&request.head);
        if let Some(place) = lane.take() {
            client.state = State::Busy;
            client.recount();
            self.hand_over(place, token, request);
        } else if client.hung_up {
            self.drop_queued(token);
        } else if lane.queued() >= max_queue {
            self.refuse(token, Refusal::QueueFull.into());
        } else {
            lane.enqueue(token);
            client.state = State::Queued {
                lane: index,
                request: Box::new(request),
            };
            client.recount();
        }
    }

    fn hand_over(&mut self, place: usize, token: Token, request: Request) {
        let Some(backend) = self.backends.get_mut(place) else {
            return;
        };
        let asked = Asked {
            head_only: request.head.method() == "HEAD",
            is_http_10: request.head.is_http_10,
        };
        let head = request.head.into_wire(request.body.len());
        let purpose = Purpose::Client(token);
        let registry = self.poll.registry();
        if backend
            .begin(purpose, asked, head, request.body, registry)
            .is_err()
        {
            self.lose_backend(place, true, "it does not take requests");
        }
    }

    /// Gives waiting requests to free connections.
    fn dispatch(&mut self, index: usize) {
        while let Some(lane) = self.lanes.get_mut(index)
            && lane.has_free()
            && let Some(token) = lane.dequeue()
        {
            let Some(client) = self.clients.get_mut(&token) else {
                continue;
            };
            match std::mem::replace(&mut client.state, State::Busy) {
                State::Queued { request, .. } => {
                    client.recount();
                    if let Some(place) = lane.take() {
                        self.hand_over(place, token, *request);
                    }
                }
                other => client.state = other,
            }
        }
    }

    pub(super) fn backend_event(&mut self, place: usize, event: &Event) {
        let Some(backend) = self.backends.get_mut(place) else {
            return;
        };
        if event.is_writable() {
            if backend.flush(self.poll.registry()).is_err() {
                let unanswered = backend.awaits_head();
                return self.lose_backend(place, unanswered, "it stopped reading a request");
            }
            self.settle(place);
        }
        self.read_backend(place);
        if event.is_read_closed() {
            self.schedule_backend(place);
        }
    }

    /// One turn of a connection to a private server: one read.
    pub(super) fn read_backend(&mut self, place: usize) {
        let Some(backend) = self.backends.get_mut(place) else {
            return;
        };
        let unanswered = backend.awaits_head();
        let (bytes, more) = match backend.read(&mut self.scratch) {
            Ok((0, _)) => return,
            Ok(read) => read,
            Err(_) => return self.lose_backend(place, unanswered, "it closed the connection"),
        };
        let is_draining = self.stage != Stage::Serving;
        let client = match backend.purpose() {
            Some(Purpose::Client(token)) => Some(token),
            _ => None,
        };
        let ends = client
            .and_then(|token| self.clients.get(&token))
            .is_some_and(|client| is_draining || client.ends == Ends::Connection);
        self.transit.clear();
        let input = self.scratch.get(..bytes).unwrap_or_default();
        let Some(relay) = backend.relay() else {
            return self.lose_backend(place, false, "it spoke unasked");
        };
        if relay.advance(input, ends, &mut self.transit).is_err() {
            return self.lose_backend(place, unanswered, "its answer is not well-formed");
        }
        let (is_done, more_is_near) = (relay.is_done(), relay.more_is_near());
        if let Some(token) = client {
            let last = unanswered && !relay.awaits_head() && ends;
            self.deliver(token, is_done, more_is_near, last);
        }
        if is_done {
            self.settle(place);
        }
        if more {
            self.schedule_backend(place);
        }
    }

    /// Sends the bytes in transit to a client, who may be gone.
    fn deliver(&mut self, token: Token, is_done: bool, more_is_near: bool, is_last: bool) {
        let deadline = self.write_deadline();
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        if is_last {
            client.ends = Ends::Connection;
        }
        if client.send(&self.transit, more_is_near, deadline).is_err() {
            return self.remove_client(token);
        }
        client.recount();
        if client.has_output() {
            let held = self.counters.buffered_bytes.load(Ordering::Relaxed);
            if held > self.limits.buffer_bytes {
                self.cut_slow_reader(token);
            } else if is_done {
                client.state = State::Flushing;
            }
        } else if is_done {
            self.answer_sent(token);
        }
    }

    /// Frees a connection whose exchange is over.
    fn settle(&mut self, place: usize) {
        let Some(backend) = self.backends.get_mut(place) else {
            return;
        };
        let purpose = backend.purpose();
        if !backend.finish() {
            return;
        }
        let index = backend.lane;
        if let Some(lane) = self.lanes.get_mut(index) {
            match purpose {
                Some(Purpose::Warming(_)) => lane.warmed(place),
                Some(Purpose::Client(_)) => lane.give_back(place),
                None => return,
            }
        }
        if matches!(purpose, Some(Purpose::Warming(_))) {
            self.warm_next(index);
        }
        self.dispatch(index);
    }

    /// Closes a connection to a private server; it is made anew by the clock. A client with nothing of
    /// an answer yet (`unanswered`) is told, any other sees the answer break off.
    pub(super) fn lose_backend(&mut self, place: usize, unanswered: bool, why: &str) {
        let Some(backend) = self.backends.get_mut(place) else {
            return;
        };
        if backend.is_down() {
            return;
        }
        log::warn!("a connection to a private server is lost: {why}");
        let purpose = backend.purpose();
        backend.disconnect();
        if let Some(lane) = self.lanes.get_mut(backend.lane) {
            lane.lose(place);
        }
        if let Some(Purpose::Client(token)) = purpose {
            if unanswered {
                self.refuse(token, Refusal::BackendLost.into());
            } else {
                self.remove_client(token);
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

    /// Answers a client in the gate's own words. The connection goes on only where the next request is
    /// sure to be found.
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
        if !client.has_output() && matches!(client.state, State::Flushing) {
            self.answer_sent(token);
        }
    }

    /// The answer is complete and sent: on to the next request, or to the end.
    fn answer_sent(&mut self, token: Token) {
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
    fn drop_queued(&mut self, token: Token) {
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
        if let State::Queued { lane, .. } = client.state
            && let Some(lane) = self.lanes.get_mut(lane)
        {
            lane.forget(token);
        }
        let open = &self.counters.connections_open;
        open.store(self.clients.len(), Ordering::Relaxed);
    }

    fn write_deadline(&self) -> Instant {
        self.now + self.limits.write_timeout
    }
}
