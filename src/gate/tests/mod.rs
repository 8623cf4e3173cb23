//! Live tests: a real gate in front of real private servers, and what the codecs' tests share.

mod batches;
mod failures;
mod limits;
mod relay;
mod streams;
mod wire;

use super::{Counters, Gate, Lane, Limits, Listen, Route, start};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tiny_http::{Header, Request, Response, Server};

/// How long anything may take that has no deadline of its own.
const PATIENCE: Duration = Duration::from_secs(10);

/// Workers that wait on purpose until the test lets them go on.
#[derive(Default)]
struct Turnstile {
    arrived: AtomicUsize,
    last_number: AtomicU64,
    open: Mutex<bool>,
    opened: Condvar,
}

impl Turnstile {
    fn pass(&self, request: &Request) {
        let mut headers = request.headers().iter();
        let number = headers
            .find(|header| header.field.equiv("X-Gate-Request"))
            .unwrap();
        let number = number.value.as_str().parse().unwrap();
        self.last_number.store(number, Ordering::SeqCst);
        self.arrived.fetch_add(1, Ordering::SeqCst);
        let open = self.open.lock().unwrap();
        let (_open, wait) = self
            .opened
            .wait_timeout_while(open, PATIENCE, |open| !*open)
            .unwrap();
        assert!(!wait.timed_out(), "nobody opened the turnstile");
    }

    fn open(&self) {
        *self
            .open
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = true;
        self.opened.notify_all();
    }
}

/// A gate with its private servers.
struct House {
    gate: Option<Gate>,
    address: SocketAddr,
    /// Of a second listener, for the second lane alone.
    ops_address: SocketAddr,
    turnstile: Arc<Turnstile>,
    hang_ups: mpsc::Receiver<u64>,
    servers: Vec<(Arc<Server>, Vec<JoinHandle<()>>)>,
    leaving: Arc<AtomicBool>,
    dir: PathBuf,
}

impl House {
    /// One lane for `/ops…`, served by one worker, and one of `workers` for the rest.
    fn new(limits: Limits, workers: usize) -> Self {
        Self::listening(
            limits,
            workers,
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
        )
    }

    fn listening(limits: Limits, workers: usize, listener: TcpListener) -> Self {
        let dir = std::env::temp_dir().join(format!("gate-{}", crate::base::ids::random_hex()));
        std::fs::create_dir(&dir).unwrap();
        let turnstile = Arc::new(Turnstile::default());
        let leaving = Arc::new(AtomicBool::new(false));
        let (mut servers, mut lanes) = (Vec::new(), Vec::new());
        for (name, workers) in [("main", workers), ("ops", 1)] {
            let socket = dir.join(name);
            let server = Arc::new(Server::http_unix(&socket).unwrap());
            let threads = (0..workers)
                .map(|_| {
                    let (server, turnstile) = (Arc::clone(&server), Arc::clone(&turnstile));
                    let leaving = Arc::clone(&leaving);
                    std::thread::spawn(move || work(name, &server, &turnstile, &leaving))
                })
                .collect();
            servers.push((server, threads));
            let backends = workers;
            lanes.push(Lane {
                socket,
                backends,
                batch: None,
            });
        }
        let route = Route::new(|head| usize::from(head.path().starts_with("/ops")));
        let (told, hang_ups) = mpsc::channel();
        let on_hang_up = Box::new(move |number| told.send(number).unwrap_or_default());
        let ops = Listen {
            listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
            route: Route::new(|_| 1),
            spare_connections: 1,
        };
        let main = Listen {
            listener,
            route,
            spare_connections: 0,
        };
        let listeners = vec![main, ops];
        let gate = start(limits, listeners, &lanes, on_hang_up).unwrap();
        // The gate must not need the files any more.
        for lane in &lanes {
            std::fs::remove_file(&lane.socket).unwrap();
        }
        Self {
            address: gate.local_addrs()[0],
            ops_address: gate.local_addrs()[1],
            gate: Some(gate),
            turnstile,
            hang_ups,
            servers,
            leaving,
            dir,
        }
    }

    fn counters(&self) -> Arc<Counters> {
        self.gate.as_ref().unwrap().counters()
    }

    fn connect(&self) -> Caller {
        Caller::new(TcpStream::connect(self.address).unwrap())
    }

    /// How often the gate answered for `reason`.
    fn refused(&self, reason: &str) -> u64 {
        let counters = self.counters();
        let mut refusals = counters.refusals();
        refusals.find(|refusal| refusal.0 == reason).unwrap().2
    }

    /// The whole service still answers, and quickly enough.
    fn assert_alive(&self) {
        let answer = self.connect().ask("GET /alive HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(answer.status, 200);
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.turnstile.open();
        drop(self.gate.take());
        self.leaving.store(true, Ordering::SeqCst);
        for (server, threads) in self.servers.drain(..) {
            for _ in &threads {
                server.unblock();
            }
            for thread in threads {
                let _ = thread.join();
            }
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn work(lane: &str, server: &Server, turnstile: &Turnstile, leaving: &AtomicBool) {
    while !leaving.load(Ordering::SeqCst) {
        if let Ok(request) = server.recv() {
            respond(lane, request, turnstile);
        }
    }
}

/// What the private servers do, by path.
fn respond(lane: &str, mut request: Request, turnstile: &Turnstile) {
    let url = request.url().to_owned();
    let (path, query) = url.split_once('?').unwrap_or((&url, ""));
    let number = query.parse().unwrap_or(0);
    let respond = |request: Request, body: Vec<u8>| {
        let hop = Header::from_bytes("X-Gate-Secret", "internal").unwrap();
        let response = Response::from_data(body).with_header(hop);
        let _ = request.respond(response.with_chunked_threshold(usize::MAX));
    };
    match path {
        "/echo" => {
            let mut body = Vec::new();
            request.as_reader().read_to_end(&mut body).unwrap();
            respond(request, body);
        }
        "/seen" => {
            let mut seen = format!("{lane} {} {url}\n", request.method());
            for header in request.headers() {
                seen.push_str(&format!("{}: {}\n", header.field, header.value));
            }
            respond(request, seen.into_bytes());
        }
        "/big" => respond(request, vec![b'x'; number]),
        "/chunked" => {
            let body = std::io::Cursor::new(vec![b'x'; number]);
            let response = Response::new(200.into(), Vec::new(), body, None, None);
            let _ = request.respond(response);
        }
        "/unread" => respond(request, b"body ignored".to_vec()),
        "/empty" => drop(request.respond(Response::empty(204))),
        "/hold" => {
            turnstile.pass(&request);
            respond(request, b"held".to_vec());
        }
        "/dropped" => drop(request),
        _ => respond(request, format!("{lane} {url}").into_bytes()),
    }
}

/// A client that speaks bytes.
struct Caller {
    stream: TcpStream,
    unread: Vec<u8>,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Caller {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    /// Sends; a gate that has closed already is not a failure of the test.
    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Answer {
        self.send(bytes);
        self.answer()
    }

    /// The next answer, framed by its length, by chunks or by the end of the connection.
    fn answer(&mut self) -> Answer {
        self.try_answer(true)
            .expect("the connection ended without an answer")
    }

    fn answer_to_head(&mut self) -> Answer {
        self.try_answer(false)
            .expect("the connection ended without an answer")
    }

    fn try_answer(&mut self, has_body: bool) -> Option<Answer> {
        let head_end = loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                break at + 4;
            }
            if self.read_more() == 0 {
                return None;
            }
        };
        let head = String::from_utf8(self.unread.drain(..head_end).collect()).unwrap();
        let mut answer = Answer {
            status: head[9..12].parse().unwrap(),
            head,
            body: Vec::new(),
        };
        if !has_body || answer.status == 204 || answer.status == 100 {
            return Some(answer);
        }
        if let Some(length) = answer.header("Content-Length") {
            let length = length.parse().unwrap();
            while self.unread.len() < length {
                assert_ne!(self.read_more(), 0, "answer cut short: {}", answer.head);
            }
            answer.body = self.unread.drain(..length).collect();
        } else if answer.header("Transfer-Encoding").is_some() {
            answer.body = self.chunks();
        } else {
            while self.read_more() > 0 {}
            answer.body = std::mem::take(&mut self.unread);
        }
        Some(answer)
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                match find(&self.unread, b"\r\n") {
                    Some(at) => break at,
                    None => assert_ne!(self.read_more(), 0, "chunks cut short"),
                }
            };
            let text = String::from_utf8(self.unread[..line].to_vec()).unwrap();
            let size = usize::from_str_radix(&text, 16).unwrap();
            while self.unread.len() < line + size + 4 {
                assert_ne!(self.read_more(), 0, "chunk cut short");
            }
            body.extend_from_slice(&self.unread[line + 2..line + 2 + size]);
            self.unread.drain(..line + size + 4);
            if size == 0 {
                return body;
            }
        }
    }

    /// 0 at the end of the connection, however it came about.
    fn read_more(&mut self) -> usize {
        let mut buffer = vec![0; 64 * 1024];
        let bytes = match self.stream.read(&mut buffer) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("nothing came, and no end")
            }
            Err(_) => 0,
        };
        self.unread.extend_from_slice(&buffer[..bytes]);
        bytes
    }

    /// Ended by a close, not by a reset.
    fn assert_closed_gently(&mut self) {
        let ending = self.stream.read(&mut [0]);
        assert_eq!(ending.expect("the connection was reset"), 0);
    }

    fn assert_closed(&mut self) {
        assert_eq!(
            self.read_more(),
            0,
            "{}",
            String::from_utf8_lossy(&self.unread)
        );
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

/// Waits until `condition` holds.
fn await_that(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// `input` whole, and cut in two at every point.
pub(super) fn every_split(input: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    let halves = (1..input.len()).map(move |at| vec![&input[..at], &input[at..]]);
    std::iter::once(vec![input]).chain(halves)
}

/// `count` copies of `valid` with a few bytes changed, cut out or doubled; the same ones every
/// time.
pub(super) fn mutated(valid: &[u8], count: usize) -> impl Iterator<Item = Vec<u8>> {
    let valid = valid.to_vec();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    (0..count).map(move |_| {
        let mut bytes = valid.clone();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            match random(4) {
                0 => bytes[at] = u8::try_from(random(256)).unwrap(),
                1 => bytes[at] = b"\r\n:;, \t0/"[random(9)],
                2 => drop(bytes.remove(at)),
                _ => bytes.insert(at, bytes[at]),
            }
        }
        bytes
    })
}
