//! A lane whose requests are sent together: who gets which answer, what waits, what is lost.

use super::*;
use crate::gate::batch::unpack;
use std::os::unix::net::{UnixListener, UnixStream};

const MAX_BATCH: usize = 4;
const HOLD: &str = "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n";

/// A gate before one private server with one connection, which takes batches.
struct House {
    gate: Gate,
    /// How many requests each batch had; the connection waits at one for `/hold` until it is told
    /// to go on.
    batches: mpsc::Receiver<usize>,
    go_on: mpsc::Sender<()>,
    hang_ups: mpsc::Receiver<u64>,
}

impl House {
    fn new(limits: Limits) -> Self {
        let socket = std::env::temp_dir().join(format!("gate-{}", crate::base::ids::random_hex()));
        let private = UnixListener::bind(&socket).unwrap();
        let (counted, batches) = mpsc::channel();
        let (go_on, wait) = mpsc::channel();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = private.accept() {
                serve(stream, &counted, &wait);
            }
        });
        let listen = Listen {
            listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
            route: Route::new(|_| 0),
            spare_connections: 0,
        };
        let lane = Lane {
            socket: socket.clone(),
            backends: 1,
            batch: Some(MAX_BATCH),
        };
        let (told, hang_ups) = mpsc::channel();
        let on_hang_up = Box::new(move |number| told.send(number).unwrap_or_default());
        let gate = start(limits, vec![listen], &[lane], on_hang_up).unwrap();
        std::fs::remove_file(&socket).unwrap();
        Self {
            gate,
            batches,
            go_on,
            hang_ups,
        }
    }

    fn connect(&self) -> Caller {
        Caller::new(TcpStream::connect(self.gate.local_addrs()[0]).unwrap())
    }

    /// A client whose request is with the private server, which waits.
    fn hold(&self) -> Caller {
        let mut held = self.connect();
        held.send(HOLD);
        assert_eq!(self.batches.recv_timeout(PATIENCE), Ok(1));
        held
    }

    /// Clients that have sent these and wait.
    fn waiting(&self, requests: &[String]) -> Vec<Caller> {
        let counters = self.gate.counters();
        let send = |(index, request): (usize, &String)| {
            let mut caller = self.connect();
            caller.send(request);
            await_that("it waits", || {
                counters.lanes[0].queued.load(Ordering::Relaxed) == index + 1
            });
            caller
        };
        requests.iter().enumerate().map(send).collect()
    }
}

/// One connection to the private server, until the gate leaves or it misbehaves.
fn serve(mut stream: UnixStream, counted: &mpsc::Sender<usize>, wait: &mpsc::Receiver<()>) {
    let mut unread = Vec::new();
    while let Some(batch) = next_batch(&mut stream, &mut unread) {
        if batch.is_empty() {
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
            continue;
        }
        let (mut rest, mut requests) = (&batch[..], Vec::new());
        while !rest.is_empty() {
            requests.push(unpack(&mut rest).unwrap());
        }
        let _ = counted.send(requests.len());
        let mut answers = Vec::new();
        for request in requests {
            let mut answer = |body: &[u8]| {
                let length = body.len();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                answers.extend_from_slice(head.as_bytes());
                if request.method != "HEAD" {
                    answers.extend_from_slice(body);
                }
            };
            match request.target.split_once('?') {
                None if request.target == "/hold" => {
                    let _ = wait.recv_timeout(PATIENCE);
                    answer(b"held");
                }
                None if request.target == "/empty" => {
                    answers.extend_from_slice(b"HTTP/1.1 204 No Content\r\n\r\n");
                }
                None if request.target == "/breaks-off" => {
                    answers.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
                    let _ = stream.write_all(&answers);
                    return;
                }
                Some(("/big", size)) => answer(&vec![b'x'; size.parse().unwrap()]),
                _ if request.body.is_empty() => answer(request.target.as_bytes()),
                _ => answer(request.body),
            }
        }
        let _ = stream.write_all(&answers);
    }
}

/// The body of the next request; empty for the one that warms the connection.
fn next_batch(stream: &mut UnixStream, unread: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        let mut fields = [httparse::EMPTY_HEADER; 4];
        let mut request = httparse::Request::new(&mut fields);
        if let httparse::Status::Complete(head) = request.parse(unread).unwrap() {
            let length = request.headers.iter().find(|f| f.name == "Content-Length");
            let length = length.map_or(0, |f| str::from_utf8(f.value).unwrap().parse().unwrap());
            if let Some(body) = unread.get(head..head + length) {
                let body = body.to_vec();
                unread.drain(..head + length);
                return Some(body);
            }
        }
        let mut buffer = vec![0; 64 * 1024];
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(bytes) => unread.extend_from_slice(&buffer[..bytes]),
        }
    }
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\nX-Request-Id: x\r\n\r\n")
}

#[test]
fn what_waits_together_is_sent_together_and_answered_to_each() {
    let house = House::new(Limits::default());
    let mut held = house.hold();
    let requests: Vec<String> = (0..6).map(|i| get(&format!("/{i}"))).collect();
    let mut waiting = house.waiting(&requests);
    house.go_on.send(()).unwrap();
    assert_eq!(held.answer().text(), "held");
    for (i, caller) in waiting.iter_mut().enumerate() {
        assert_eq!(caller.answer().text(), format!("/{i}"));
    }
    let sizes: Vec<usize> = house.batches.try_iter().collect();
    assert_eq!(sizes, [4, 2]);
}

#[test]
fn answers_of_every_kind_and_size_find_their_client() {
    let house = House::new(Limits::default());
    let mut held = house.hold();
    let large = "y".repeat(300_000);
    let post = format!(
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{large}",
        large.len()
    );
    let requests = [
        get("/big?1000000"),
        "HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        get("/empty"),
        "GET /old HTTP/1.0\r\n\r\n".to_owned(),
        post.clone(),
        post,
        get("/last"),
    ];
    let mut waiting = house.waiting(&requests);
    house.go_on.send(()).unwrap();
    assert_eq!(held.answer().status, 200);
    assert_eq!(waiting[0].answer().body.len(), 1_000_000);
    let head = waiting[1].answer_to_head();
    assert_eq!(head.header("Content-Length"), Some("2"));
    assert_eq!(waiting[2].answer().status, 204);
    assert_eq!(waiting[3].answer().text(), "/old");
    waiting[3].assert_closed();
    assert_eq!(waiting[4].answer().text(), large);
    assert_eq!(waiting[5].answer().text(), large);
    assert_eq!(waiting[6].answer().text(), "/last");
    // A large body ends its batch: it is not copied to others.
    let sizes: Vec<usize> = house.batches.try_iter().collect();
    assert_eq!(sizes, [4, 1, 1, 1]);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let house = House::new(Limits::default());
    let mut callers: Vec<Caller> = (0..20).map(|_| house.connect()).collect();
    for caller in &mut callers {
        let pipeline: String = (0..50).map(|i| get(&format!("/{i}"))).collect();
        caller.send(pipeline);
    }
    for caller in &mut callers {
        for i in 0..50 {
            assert_eq!(caller.answer().text(), format!("/{i}"));
        }
    }
}

#[test]
fn whoever_hangs_up_takes_nothing_from_the_others() {
    let house = House::new(Limits::default());
    let counters = house.gate.counters();
    let held = house.hold();
    drop(held);
    assert_eq!(house.hang_ups.recv_timeout(PATIENCE), Ok(1));
    let mut waiting = house.waiting(&[get("/a"), get("/b"), get("/c")]);
    drop(waiting.remove(1));
    await_that("it is dropped", || {
        counters.hung_up_total.load(Ordering::Relaxed) == 1
    });
    house.go_on.send(()).unwrap();
    assert_eq!(waiting[0].answer().text(), "/a");
    assert_eq!(waiting[1].answer().text(), "/c");
    assert_eq!(house.batches.try_iter().collect::<Vec<_>>(), [2]);
    let mut half_closed = house.connect();
    half_closed.send(get("/d"));
    half_closed
        .stream
        .shutdown(std::net::Shutdown::Write)
        .unwrap();
    assert_eq!(half_closed.answer().text(), "/d");
}

#[test]
fn a_client_gone_within_a_batch_is_reported() {
    let house = House::new(Limits::default());
    let mut first = house.hold();
    let mut waiting = house.waiting(&[get("/hold"), get("/a"), get("/b")]);
    house.go_on.send(()).unwrap();
    assert_eq!(first.answer().text(), "held");
    assert_eq!(house.batches.recv_timeout(PATIENCE), Ok(3));
    drop(waiting.remove(1));
    assert_eq!(house.hang_ups.recv_timeout(PATIENCE), Ok(3));
    house.go_on.send(()).unwrap();
    assert_eq!(waiting[0].answer().text(), "held");
    assert_eq!(waiting[1].answer().text(), "/b");
}

#[test]
fn the_queue_is_bounded() {
    let limits = Limits {
        queue_length: 2,
        ..Limits::default()
    };
    let house = House::new(limits);
    let mut held = house.hold();
    let mut waiting = house.waiting(&[get("/a"), get("/b")]);
    let refused = house.connect().ask(get("/c"));
    assert_eq!(
        (refused.status, refused.header("Retry-After")),
        (503, Some("1"))
    );
    house.go_on.send(()).unwrap();
    assert_eq!(held.answer().status, 200);
    for caller in &mut waiting {
        assert_eq!(caller.answer().status, 200);
    }
}

#[test]
fn a_lost_connection_is_told_to_all_who_have_nothing_yet() {
    let house = House::new(Limits::default());
    for _ in 0..2 {
        let mut held = house.hold();
        let requests = [get("/a"), get("/breaks-off"), get("/b"), get("/c")];
        let mut waiting = house.waiting(&requests);
        house.go_on.send(()).unwrap();
        assert_eq!(held.answer().status, 200);
        assert_eq!(waiting[0].answer().text(), "/a");
        while waiting[1].read_more() > 0 {}
        assert!(!waiting[1].unread.ends_with(b"}"), "two answers to one");
        for caller in &mut waiting[2..] {
            let answer = caller.answer();
            let id = answer.header("x-request-id");
            assert_eq!((answer.status, id), (502, Some("x")));
        }
        // The same connection goes on, to a private server that was reached anew.
        assert_eq!(waiting[3].ask(get("/again")).text(), "/again");
        assert_eq!(house.batches.try_iter().sum::<usize>(), 5);
    }
    assert_eq!(
        house.gate.counters().lanes[0]
            .lost_total
            .load(Ordering::Relaxed),
        2
    );
}
