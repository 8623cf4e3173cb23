//! The gate's thread: waits for events, keeps the time, owns every table. What an event means is
//! decided in `accept` and `relay`.

use super::accept::{Door, Reserve};
use super::answer::Refusal;
use super::backend::{Backend, SocketFile};
use super::connection::{Client, State};
use super::counters::Counters;
use super::inbox::Phase;
use super::lane::LaneTable;
use super::peer::PeerTable;
use super::stream::Stream;
use super::{GateError, Lane, Limits, Listen, OnHangUp};
use mio::event::Event;
use mio::{Events, Poll, Token, Waker};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

/// How late a deadline may be noticed.
const SWEEP_INTERVAL: Duration = Duration::from_millis(250);

/// How long a warming request may take before its connection is tried anew.
const WARMING_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of one read: what one connection may take of a round.
const SCRATCH_BYTES: usize = 64 * 1024;

const WAKER: Token = Token(0);
const FIRST_DOOR: usize = 1;
const FIRST_BACKEND: usize = 1 << 10;
const FIRST_CLIENT: usize = 1 << 20;

/// Orders from the owner of the gate, and from who answers by streams.
#[derive(Debug)]
pub(super) enum Command {
    Drain,
    Stop(Instant),
    Feed(Arc<Stream>),
}

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Serving,
    Draining,
    Stopping(Instant),
}

/// Everything the gate's thread owns. Tokens of clients are never used twice, so that a stale one
/// means nobody.
pub(super) struct EventLoop {
    pub(super) poll: Poll,
    commands: Receiver<Command>,
    pub(super) limits: Limits,
    pub(super) counters: Arc<Counters>,
    pub(super) on_hang_up: OnHangUp,
    pub(super) doors: Vec<Door>,
    pub(super) reserve: Reserve,
    pub(super) lanes: Vec<LaneTable>,
    pub(super) backends: Vec<Backend>,
    pub(super) clients: HashMap<Token, Client>,
    pub(super) peers: PeerTable,
    /// Clients in `clients` that were refused at the door.
    pub(super) turned_away: usize,
    next_client: usize,
    /// Whom to look at again in the next round: they may have more than a fair share to do.
    again: Vec<Token>,
    pub(super) scratch: Box<[u8]>,
    /// Answer bytes on their way from one socket to the other.
    pub(super) transit: Vec<u8>,
    pub(super) now: Instant,
    next_sweep: Instant,
    pub(super) stage: Stage,
}

impl EventLoop {
    pub(super) fn new(
        limits: Limits,
        listeners: Vec<Listen>,
        lanes: &[Lane],
        counters: Arc<Counters>,
        commands: Receiver<Command>,
        on_hang_up: OnHangUp,
    ) -> Result<(Self, Arc<Waker>), GateError> {
        let poll = Poll::new().map_err(GateError::System)?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(GateError::System)?;
        let mut doors = Vec::new();
        for listen in listeners {
            let token = Token(FIRST_DOOR + doors.len());
            let door = Door::open(listen, limits.unacknowledged(), token, poll.registry());
            doors.push(door.map_err(GateError::System)?);
        }
        let (mut tables, mut backends) = (Vec::new(), Vec::new());
        for (index, lane) in lanes.iter().enumerate() {
            let socket = SocketFile::open(&lane.socket)
                .map_err(|error| GateError::Lane(lane.socket.clone(), error))?;
            let places = backends.len()..backends.len() + lane.backends;
            backends.extend(
                places
                    .clone()
                    .map(|place| Backend::new(index, Token(FIRST_BACKEND + place), &counters)),
            );
            tables.push(LaneTable::new(socket, lane.batch, index, places, &counters));
        }
        let now = Instant::now();
        let event_loop = Self {
            poll,
            commands,
            limits,
            counters,
            on_hang_up,
            doors,
            reserve: Reserve::new(),
            lanes: tables,
            backends,
            clients: HashMap::new(),
            peers: PeerTable::default(),
            turned_away: 0,
            next_client: FIRST_CLIENT,
            again: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            transit: Vec::new(),
            now,
            next_sweep: now,
            stage: Stage::Serving,
        };
        Ok((event_loop, Arc::new(waker)))
    }

    /// Runs until stopped. `ready` hears when every connection to the private servers is warm.
    pub(super) fn run(mut self, ready: Sender<()>) {
        let mut ready = Some(ready);
        let mut events = Events::with_capacity(1024);
        while !self.is_over() {
            if let Err(error) = self.poll.poll(&mut events, Some(self.patience())) {
                if error.kind() == ErrorKind::Interrupted {
                    continue;
                }
                log::error!("the gate cannot wait for events: {error}");
                return;
            }
            self.now = Instant::now();
            for event in &events {
                self.notice(event);
            }
            for token in std::mem::take(&mut self.again) {
                self.look_again(token);
            }
            self.dispatch_batches();
            if self.now >= self.next_sweep {
                self.sweep();
            }
            if ready.is_some() && self.lanes.iter().all(LaneTable::is_warm) {
                ready.take().map(|ready| ready.send(()));
            }
        }
    }

    fn is_over(&self) -> bool {
        match self.stage {
            Stage::Stopping(deadline) => self.clients.is_empty() || self.now >= deadline,
            Stage::Serving | Stage::Draining => false,
        }
    }

    fn patience(&self) -> Duration {
        if !self.again.is_empty() {
            return Duration::ZERO;
        }
        let until = match self.stage {
            Stage::Stopping(deadline) => self.next_sweep.min(deadline),
            Stage::Serving | Stage::Draining => self.next_sweep,
        };
        until.saturating_duration_since(self.now)
    }

    fn notice(&mut self, event: &Event) {
        match event.token() {
            WAKER => self.obey(),
            Token(token @ FIRST_CLIENT..) => self.client_event(Token(token), event),
            Token(token @ FIRST_BACKEND..) => self.backend_event(token - FIRST_BACKEND, event),
            Token(token) => self.accept(token - FIRST_DOOR),
        }
    }

    fn look_again(&mut self, token: Token) {
        match token {
            Token(FIRST_CLIENT..) => {
                if let Some(client) = self.clients.get_mut(&token) {
                    client.scheduled = false;
                    self.read_client(token);
                }
            }
            Token(token @ FIRST_BACKEND..) => {
                let place = token - FIRST_BACKEND;
                if let Some(backend) = self.backends.get_mut(place) {
                    backend.scheduled = false;
                    self.read_backend(place);
                }
            }
            Token(token) => {
                let index = token - FIRST_DOOR;
                if let Some(door) = self.doors.get_mut(index) {
                    door.scheduled = false;
                    self.accept(index);
                }
            }
        }
    }

    /// A client's next turn comes in the next round.
    pub(super) fn schedule_client(&mut self, token: Token) {
        if let Some(client) = self.clients.get_mut(&token)
            && !std::mem::replace(&mut client.scheduled, true)
        {
            self.again.push(token);
        }
    }

    /// A backend's next turn comes in the next round.
    pub(super) fn schedule_backend(&mut self, place: usize) {
        if let Some(backend) = self.backends.get_mut(place)
            && !std::mem::replace(&mut backend.scheduled, true)
        {
            self.again.push(backend.token);
        }
    }

    /// A listener's next turn comes in the next round.
    pub(super) fn schedule_door(&mut self, index: usize) {
        if let Some(door) = self.doors.get_mut(index)
            && !std::mem::replace(&mut door.scheduled, true)
        {
            self.again.push(Token(FIRST_DOOR + index));
        }
    }

    pub(super) fn new_client_token(&mut self) -> Token {
        let token = Token(self.next_client);
        self.next_client += 1;
        token
    }

    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Feed(stream) => self.feed(&stream),
                Command::Drain if self.stage == Stage::Serving => self.end(Stage::Draining),
                Command::Drain => {}
                Command::Stop(deadline) => self.end(Stage::Stopping(deadline)),
            }
        }
    }

    fn end(&mut self, stage: Stage) {
        if self.stage == Stage::Serving {
            self.close_doors();
        }
        self.stage = stage;
        self.next_sweep = self.now;
    }

    /// Everything that is due by the clock.
    fn sweep(&mut self) {
        self.next_sweep = self.now + SWEEP_INTERVAL;
        let now = self.now;
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let draining = self.stage != Stage::Serving;
        let late: Vec<Token> = self
            .clients
            .iter()
            .filter(|(_, client)| {
                let idle = matches!(client.state, State::Reading(Phase::Idle)) && !client.readable;
                let silent =
                    matches!(&client.state, State::Streaming(it) if it.is_silent_since(now));
                due(client.deadline) || due(client.write_deadline) || (draining && idle) || silent
            })
            .map(|(&token, _)| token)
            .collect();
        for token in late {
            self.expire(token);
        }
        for place in 0..self.backends.len() {
            let backend = self.backends.get(place);
            if due(backend.and_then(Backend::warming)) {
                self.lose_backend(place, "it did not answer the first request");
            }
        }
        for lane in 0..self.lanes.len() {
            self.warm_next(lane);
        }
        self.resume_doors();
    }

    /// Ends what a client has taken too long for.
    fn expire(&mut self, token: Token) {
        let Some(client) = self.clients.get(&token) else {
            return;
        };
        let stalled = client
            .write_deadline
            .is_some_and(|deadline| deadline <= self.now);
        match client.state {
            _ if stalled => self.cut_slow_reader(token),
            State::Reading(Phase::Head) => self.refuse(token, Refusal::HeadTimeout.into()),
            State::Reading(Phase::Body) => self.refuse_open(token, Refusal::BodyTimeout),
            State::Reading(Phase::Idle) => {
                self.counters
                    .idle_closed_total
                    .fetch_add(1, Ordering::Relaxed);
                self.remove_client(token);
            }
            State::Streaming(_) => self.comment(token),
            State::Queued { .. } | State::Busy | State::Flushing | State::Closing => {
                self.remove_client(token);
            }
        }
    }

    /// Connects the lane's next vacant place, if none is being warmed.
    pub(super) fn warm_next(&mut self, lane: usize) {
        let Some(table) = self.lanes.get_mut(lane) else {
            return;
        };
        let Some(place) = table.start_warming() else {
            return;
        };
        let deadline = self.now + WARMING_TIMEOUT;
        let registry = self.poll.registry();
        let Some(backend) = self.backends.get_mut(place) else {
            return;
        };
        if let Err(error) = backend.connect(&table.socket, registry, deadline) {
            log::warn!("the gate cannot connect to its private server: {error}");
            backend.disconnect();
            table.lose(place);
        }
    }
}
