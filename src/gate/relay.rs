//! The way of a complete request and its answer: client to private server and back. Every step does
//! a bounded piece of work and leaves the rest for the next round.

use super::answer::{Ends, Refusal};
use super::backend::Purpose;
use super::connection::State;
use super::event_loop::{EventLoop, Stage};
use super::inbox::Request;
use super::response::Asked;
use mio::Token;
use mio::event::Event;
use std::sync::atomic::Ordering;

impl EventLoop {
    /// A complete request goes to a private server, into the queue, or back.
    pub(super) fn admit_request(&mut self, token: Token, request: Request) {
        let requests = &self.counters.requests_total;
        let number = requests.fetch_add(1, Ordering::Relaxed) + 1;
        let max_queue = self.limits.queue_length;
        let last_lane = self.lanes.len().saturating_sub(1);
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        let index = (client.route)(&request.head).min(last_lane);
        let Some(lane) = self.lanes.get_mut(index) else {
            return;
        };
        client.begin_request(&request.head, number);
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
        let asking = self
            .clients
            .get(&token)
            .and_then(|client| client.asked.as_ref());
        let number = asking.map_or(0, |asked| asked.number);
        let head = request.head.into_wire(number, request.body.len());
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
        let has_output = client.has_output();
        if is_done && has_output {
            client.state = State::Flushing;
        }
        if has_output && !self.has_room_for(token, 0) {
            self.cut_slow_reader(token);
        } else if is_done && !has_output {
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

    /// Closes a connection to a private server; it is made anew by the clock. A client with nothing
    /// of an answer yet (`unanswered`) is told, any other sees the answer break off.
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
}
