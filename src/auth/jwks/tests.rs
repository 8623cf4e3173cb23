//! The life of keys over a network that may fail, against a server of raw sockets; with a pace that
//! fits a test.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::base::ids::random_hex;

/// A fit key by this name: the curve's base point.
fn set(kid: &str) -> String {
    let x = "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY";
    let y = "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU";
    format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","kid":"{kid}","x":"{x}","y":"{y}"}}]}}"#)
}

fn ok(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// What the server does with its next connections.
type Answer = Arc<Mutex<Box<dyn Fn(&mut TcpStream) + Send>>>;

struct Server {
    url: String,
    answer: Answer,
    served: Arc<AtomicUsize>,
}

impl Server {
    fn start(answer: impl Fn(&mut TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        let answer: Answer = Arc::new(Mutex::new(Box::new(answer)));
        let served = Arc::new(AtomicUsize::new(0));
        let (current, count) = (Arc::clone(&answer), Arc::clone(&served));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).unwrap_or(0) == 0 {
                        break;
                    }
                    request.push(byte[0]);
                }
                count.fetch_add(1, Ordering::SeqCst);
                (current.lock().unwrap())(&mut stream);
            }
        });
        Self {
            url,
            answer,
            served,
        }
    }

    fn answers(bytes: Vec<u8>) -> Self {
        Self::start(move |stream| drop(stream.write_all(&bytes)))
    }

    fn answer_from_now(&self, bytes: Vec<u8>) {
        *self.answer.lock().unwrap() = Box::new(move |stream| drop(stream.write_all(&bytes)));
    }

    fn source(&self) -> Source {
        Source::open(&JwksSource::Url(self.url.clone()), None).unwrap()
    }

    fn fetch(&self) -> Result<usize, FetchError> {
        self.source().fetch().map(|text| text.len())
    }
}

/// Looks only when asked to.
const QUIET: Pace = Pace {
    refresh: Duration::from_secs(3600),
    retry: Duration::from_secs(3600),
    demand: Duration::ZERO,
    stale: Duration::from_secs(3600),
};

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn await_first_look(store: &KeyStore) {
    let mut state = store.shared.lock();
    while state.looks == 0 {
        state = store.shared.wait(state, Duration::from_secs(1));
    }
}

fn knows(store: &KeyStore, kid: &str) -> bool {
    store
        .current()
        .is_some_and(|current| current.keys.find(Some(kid)).next().is_some())
}

#[test]
fn what_can_go_wrong_has_a_name() {
    let check = |bytes: &[u8], expected| {
        assert_eq!(Server::answers(bytes.to_vec()).fetch(), expected);
    };
    check(&ok("{}"), Ok(2));
    check(
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        Err(FetchError::Status(404)),
    );
    check(
        b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
        Err(FetchError::Status(503)),
    );
    // Nobody is followed to another place.
    let away = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n";
    check(away.as_bytes(), Err(FetchError::Status(302)));
    check(b"", Err(FetchError::Broken));
    check(b"SSH-2.0-x\r\n\r\n", Err(FetchError::Broken));
    check(
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        Err(FetchError::Broken),
    );
    check(&ok(&"x".repeat(1 << 20)), Ok(1 << 20));
    check(&ok(&"x".repeat((1 << 20) + 1)), Err(FetchError::TooLarge));
    let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    check(head.as_bytes(), Err(FetchError::Broken));
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let endless = Server::start(|stream| {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut going = stream.write_all(head);
        while going.is_ok() {
            going = stream.write_all(format!("8000\r\n{}\r\n", "x".repeat(0x8000)).as_bytes());
        }
    });
    assert_eq!(endless.fetch(), Err(FetchError::TooLarge));
}

#[test]
fn an_answer_in_drops_gains_no_time() {
    let began = Instant::now();
    let slow = Server::start(|stream| {
        let mut going = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        while going.is_ok() {
            // As slow as the test is about: a byte now and then.
            std::thread::sleep(Duration::from_millis(100));
            going = stream.write_all(b"x");
        }
    });
    assert_eq!(slow.fetch(), Err(FetchError::Timeout));
    assert!(
        began.elapsed() < Duration::from_secs(25),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn nobody_there_is_unreachable() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = JwksSource::Url(format!("http://127.0.0.1:{port}/"));
    assert_eq!(
        Source::open(&url, None).unwrap().fetch(),
        Err(FetchError::Unreachable)
    );
}

#[test]
fn a_new_key_is_found_by_one_look_for_all_who_wait() {
    let server = Server::answers(ok(&set("old")));
    let store = Arc::new(KeyStore::start_at_pace(server.source(), QUIET).unwrap());
    await_first_look(&store);
    assert!(knows(&store, "old") && !knows(&store, "new"));
    // The next look stays in the server until told otherwise.
    let (go, gate) = std::sync::mpsc::channel::<()>();
    *server.answer.lock().unwrap() = Box::new(move |stream| {
        let _ = gate.recv();
        drop(stream.write_all(&ok(&set("new"))));
    });
    let waiters: Vec<_> = (0..MAX_WAITING)
        .map(|_| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || store.look_again(soon()))
        })
        .collect();
    while store.shared.lock().waiting < MAX_WAITING {
        std::thread::yield_now();
    }
    assert_eq!(store.look_again(soon()), Err(NoLook::Busy));
    go.send(()).unwrap();
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), Ok(()));
    }
    assert!(knows(&store, "new") && !knows(&store, "old"));
    assert_eq!(server.served.load(Ordering::SeqCst), 2);
    assert_eq!(store.current().unwrap().generation, 2);
}

#[test]
fn tokens_cannot_ask_too_often() {
    let server = Server::answers(ok(&set("old")));
    let pace = Pace {
        demand: Duration::from_secs(3600),
        ..QUIET
    };
    let store = KeyStore::start_at_pace(server.source(), pace).unwrap();
    await_first_look(&store);
    assert_eq!(store.look_again(soon()), Ok(()));
    for _ in 0..100 {
        assert_eq!(store.look_again(soon()), Err(NoLook::TooSoon));
    }
    assert_eq!(server.served.load(Ordering::SeqCst), 2);
}

#[test]
fn who_waits_waits_no_longer_than_said() {
    let server = Server::answers(ok(&set("old")));
    let store = KeyStore::start_at_pace(server.source(), QUIET).unwrap();
    await_first_look(&store);
    let (go, gate) = std::sync::mpsc::channel::<()>();
    *server.answer.lock().unwrap() = Box::new(move |_| {
        let _ = gate.recv();
    });
    let brief = Deadline::after(Duration::from_millis(20));
    assert_eq!(store.look_again(brief), Err(NoLook::Busy));
    assert_eq!(store.shared.lock().waiting, 0);
    drop(go);
}

#[test]
fn keys_outlive_an_outage_but_not_for_ever() {
    let server = Server::answers(ok(&set("old")));
    let store = KeyStore::start_at_pace(server.source(), QUIET).unwrap();
    await_first_look(&store);
    let health = store.health();
    assert!(health.is_fit() && health.trouble.is_none() && health.failures == 0);
    for (failures, (answer, trouble)) in [
        (
            b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n".to_vec(),
            FetchError::Status(500),
        ),
        (ok("not JSON"), FetchError::NotJwks),
        (ok(r#"{"keys":[]}"#), FetchError::NoFitKey),
        (
            ok(r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#),
            FetchError::NoFitKey,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        server.answer_from_now(answer);
        store.look_again(soon()).unwrap();
        let health = store.health();
        assert_eq!(health.trouble, Some(trouble));
        assert_eq!(health.failures, failures as u64 + 1);
        assert!(health.is_fit() && knows(&store, "old"), "{trouble}");
        assert!(!health.to_string().contains("127.0.0.1"), "{health}");
    }
    // The same keys again are no change, so that verified tokens stay so.
    server.answer_from_now(ok(&set("old")));
    store.look_again(soon()).unwrap();
    assert_eq!(store.health().trouble, None);
    assert_eq!(store.current().unwrap().generation, 1);
    // A day later.
    store.shared.lock().read_at = Instant::now().checked_sub(QUIET.stale + QUIET.retry / 3600);
    assert!(store.current().is_none());
    assert!(!store.health().is_fit());
}

#[test]
fn without_keys_it_looks_again_by_itself() {
    let server = Server::answers(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_vec());
    let pace = Pace {
        retry: Duration::from_millis(10),
        ..QUIET
    };
    let store = KeyStore::start_at_pace(server.source(), pace).unwrap();
    await_first_look(&store);
    assert!(store.current().is_none() && !store.health().is_fit());
    server.answer_from_now(ok(&set("late")));
    let deadline = soon();
    while !knows(&store, "late") {
        assert!(deadline.remaining().is_some(), "no look by itself");
        std::thread::yield_now();
    }
}

#[test]
fn a_file_is_read_again() {
    let path = std::env::temp_dir().join(format!("{}.json", random_hex()));
    std::fs::write(&path, set("old")).unwrap();
    let source = Source::open(&JwksSource::File(path.clone()), None).unwrap();
    let pace = Pace {
        refresh: Duration::from_millis(10),
        retry: Duration::from_millis(2),
        ..QUIET
    };
    let store = KeyStore::start_at_pace(source, pace).unwrap();
    let await_that = |what: &dyn Fn() -> bool| {
        let deadline = soon();
        while !what() {
            assert!(deadline.remaining().is_some());
            std::thread::yield_now();
        }
    };
    await_that(&|| knows(&store, "old"));
    std::fs::write(&path, set("new")).unwrap();
    await_that(&|| knows(&store, "new"));
    std::fs::remove_file(&path).unwrap();
    let gone = FetchError::File(io::ErrorKind::NotFound);
    await_that(&|| store.health().trouble == Some(gone));
    assert!(knows(&store, "new"));
}

#[test]
fn the_thread_ends_with_the_store() {
    let server = Server::answers(ok(&set("old")));
    let store = KeyStore::start_at_pace(server.source(), QUIET).unwrap();
    await_first_look(&store);
    let shared = Arc::downgrade(&store.shared);
    drop(store);
    let deadline = soon();
    while shared.strong_count() > 0 {
        assert!(deadline.remaining().is_some(), "it goes on");
        std::thread::yield_now();
    }
}
