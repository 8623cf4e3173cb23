//! The way of a complete request and its answer: client to private server and back. Every step does
//! a bounded piece of work and leaves the rest for the next round.

use super::answer::{Ends, Refusal};
use super::backend::{Awaited, Backend};
use super::batch;
use super::connection::State;
use super::event_loop::{EventLoop, Stage};
use super::inbox::Request;
use super::lane::LaneTable;
use super::response::Asked;
use mio::Token;
use mio::event::Event;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::Ordering;

/// Bytes from which on a batch takes no further request: all but the last body are copied.
const BATCH_BYTES: usize = 64 * 1024;

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
        let index = client.route.choose(&request.head).min(last_lane);
        let Some(lane) = self.lanes.get_mut(index) else {
            return;
        };
        client.begin_request(&request.head, number);
        if lane.batch.is_none()
            && let Some(place) = lane.take()
        {
            client.state = State::Busy;
            client.recount();
            self.hand_over(place, vec![(token, request)]);
        } else if client.hung_up && !lane.has_free() {
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
            if lane.batch.is_some_and(|batch| lane.queued() >= batch) {
                self.dispatch(index);
            }
        }
    }

    /// Starts the exchange of these requests, of one where the lane takes no batches.
    fn hand_over(&mut self, place: usize, requests: Vec<(Token, Request)>) {
        let Some(backend) = self.backends.get_mut(place) else {
            return;
        };
        let lane = self.lanes.get(backend.lane);
        let mut awaited = VecDeque::with_capacity(requests.len());
        let mut messages = Vec::with_capacity(requests.len());
        for (token, Request { head, body }) in requests {
            let asked = Asked {
                head_only: head.method() == "HEAD",
                is_http_10: head.is_http_10,
            };
            let asking = self.clients.get(&token);
            let asking = asking.and_then(|client| client.asked.as_ref());
            let number = asking.map_or(0, |asked| asked.number);
            awaited.push_back(Awaited::new(Some(token), number, asked));
            messages.push((head.into_wire(number, body.len()), body));
        }
        let sent = match lane.and_then(|lane| lane.batch) {
            Some(_) => batch::pack(messages),
            None => messages.pop().unwrap_or_default(),
        };
        if backend.begin(awaited, sent, self.poll.registry()).is_err() {
            self.lose_backend(place, "it does not take requests");
        }
    }

    /// Gives the requests that came in this round to the lanes that take several at once.
    pub(super) fn dispatch_batches(&mut self) {
        for index in 0..self.lanes.len() {
            if self
                .lanes
                .get(index)
                .is_some_and(|lane| lane.batch.is_some())
            {
                self.dispatch(index);
            }
        }
    }

    /// Gives waiting requests to free connections.
    fn dispatch(&mut self, index: usize) {
        loop {
            let requests = self.next_requests(index);
            let lane = self.lanes.get_mut(index);
            if requests.is_empty() {
                return;
            }
            if let Some(place) = lane.and_then(LaneTable::take) {
                self.hand_over(place, requests);
            }
        }
    }

    /// The waiting requests that are next to be handed over, if a connection is free.
    fn next_requests(&mut self, index: usize) -> Vec<(Token, Request)> {
        let (mut requests, mut bytes) = (Vec::new(), 0);
        let Some(lane) = self.lanes.get_mut(index).filter(|lane| lane.has_free()) else {
            return requests;
        };
        while requests.len() < lane.batch.unwrap_or(1)
            && bytes < BATCH_BYTES
            && let Some(token) = lane.dequeue()
        {
            let Some(client) = self.clients.get_mut(&token) else {
                continue;
            };
            match std::mem::replace(&mut client.state, State::Busy) {
                State::Queued { request, .. } => {
                    client.recount();
                    bytes += request.held_bytes();
                    requests.push((token, *request));
                }
                other => client.state = other,
            }
        }
        requests
    }

    pub(super) fn backend_event(&mut self, place: usize, event: &Event) {
        let Some(backend) = self.backends.get_mut(place) else {
            return;
        };
        if event.is_writable() {
            if backend.flush(self.poll.registry()).is_err() {
                return self.lose_backend(place, "it stopped reading a request");
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
        let (bytes, more) = match backend.read(&mut self.scratch) {
            Ok((0, _)) => return,
            Ok(read) => read,
            Err(_) => return self.lose_backend(place, "it closed the connection"),
        };
        let mut used = 0;
        while used < bytes {
            match self.relay_answer(place, used..bytes) {
                Ok(more) => used += more,
                Err(why) => return self.lose_backend(place, why),
            }
        }
        self.settle(place);
        if more {
            self.schedule_backend(place);
        }
    }

    /// Relays what one answer has of these bytes of the scratch, and says how much that is; else
    /// why the connection is of no further use.
    fn relay_answer(&mut self, place: usize, unused: Range<usize>) -> Result<usize, &'static str> {
        let is_draining = self.stage != Stage::Serving;
        let awaited = self.backends.get_mut(place).and_then(Backend::awaited);
        let awaited = awaited.ok_or("it spoke unasked")?;
        let is_only = awaited.len() == 1;
        let answer = awaited.front_mut().ok_or("it spoke unasked")?;
        // One that was answered by a stream may have sent its next request by now.
        let waits = |token: &Token| {
            self.clients
                .get(token)
                .is_some_and(|it| it.is_awaiting(answer.number))
        };
        let token = answer.client.filter(waits);
        let client = token.and_then(|token| self.clients.get(&token));
        let ends = client.is_some_and(|client| is_draining || client.ends == Ends::Connection);
        let input = self.scratch.get(unused).unwrap_or_default();
        self.transit.clear();
        let used = answer.relay.advance(input, ends, &mut self.transit);
        let used = used.map_err(|_| "its answer is not well-formed")?;
        let (is_done, more_is_near) = (answer.relay.is_done(), answer.relay.more_is_near());
        if is_done && is_only && used < input.len() {
            return Err("it says more than it was asked");
        }
        let begins = !answer.begun && !answer.relay.awaits_head();
        answer.begun |= begins;
        let is_by_stream = answer.relay.is_by_stream();
        if is_done {
            awaited.pop_front();
        }
        if let Some(token) = token.filter(|_| !is_by_stream) {
            self.deliver(token, is_done, more_is_near, begins && ends);
        }
        Ok(used)
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
        let was_warming = backend.warming().is_some();
        if !backend.finish() {
            return;
        }
        let index = backend.lane;
        let Some(lane) = self.lanes.get_mut(index) else {
            return;
        };
        let is_batching = lane.batch.is_some();
        if was_warming {
            lane.warmed(place);
            self.warm_next(index);
        } else {
            lane.give_back(place);
        }
        if !is_batching {
            self.dispatch(index);
        }
    }

    /// Closes a connection to a private server; it is made anew by the clock. Clients with nothing
    /// of an answer yet are told, any other sees the answer break off.
    pub(super) fn lose_backend(&mut self, place: usize, why: &str) {
        let Some(backend) = self.backends.get_mut(place) else {
            return;
        };
        if backend.is_down() {
            return;
        }
        log::warn!("a connection to a private server is lost: {why}");
        let awaited = backend.awaited().map(std::mem::take).unwrap_or_default();
        backend.disconnect();
        if let Some(lane) = self.lanes.get_mut(backend.lane) {
            lane.lose(place);
        }
        for answer in awaited {
            let (number, begun) = (answer.number, answer.begun);
            let waits = |token: &Token| {
                let client = self.clients.get(token);
                client.is_some_and(|client| client.is_awaiting(number))
            };
            match answer.client.filter(waits) {
                Some(token) if begun => self.remove_client(token),
                Some(token) => self.refuse(token, Refusal::BackendLost.into()),
                None => {}
            }
        }
    }
}
