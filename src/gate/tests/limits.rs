//! Limits and deadlines against clients that take too much of anything.

use super::*;
use crate::base::address::AddressRange;

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(60);

/// Sends `piece` again and again, a little apart, until an answer or the end comes.
fn trickle(caller: &mut Caller, piece: &[u8]) -> Option<Answer> {
    let pause = Some(Duration::from_millis(20));
    caller.stream.set_read_timeout(pause).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut probe = [0];
    loop {
        assert!(Instant::now() < deadline, "neither an answer nor the end");
        match caller.stream.peek(&mut probe) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => caller.send(piece),
            _ => break,
        }
    }
    caller.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    caller.try_answer(true)
}

fn timeouts(head: Duration, body: Duration, idle: Duration, write: Duration) -> Limits {
    Limits {
        head_timeout: head,
        body_timeout: body,
        idle_timeout: idle,
        write_timeout: write,
        ..Limits::default()
    }
}

#[test]
fn a_head_that_trickles_is_ended() {
    let house = House::new(timeouts(SHORT, LONG, LONG, LONG), 1);
    let mut caller = house.connect();
    let answer = caller.ask("GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nX: ");
    assert_eq!(answer.status, 200);
    let answer = trickle(&mut caller, b"x").expect("no answer");
    assert_eq!(
        (answer.status, answer.header("Connection")),
        (408, Some("close"))
    );
    caller.assert_closed();
    assert_eq!(house.refused("head_timeout"), 1);
}

#[test]
fn a_body_that_trickles_is_ended() {
    let house = House::new(timeouts(LONG, SHORT, LONG, LONG), 1);
    for (framing, piece) in [
        ("Content-Length: 2000", "x"),
        ("Transfer-Encoding: chunked", "1\r\nx\r\n"),
    ] {
        let mut caller = house.connect();
        caller.send(format!(
            "POST /echo HTTP/1.1\r\nHost: h\r\nX-Request-Id: slow\r\n{framing}\r\n\r\n"
        ));
        let answer = trickle(&mut caller, piece.as_bytes()).expect("no answer");
        assert_eq!(
            (answer.status, answer.header("x-request-id")),
            (408, Some("slow"))
        );
        caller.assert_closed();
    }
    assert_eq!(house.refused("body_timeout"), 2);
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let house = House::new(timeouts(LONG, LONG, SHORT, LONG), 1);
    let mut fresh = house.connect();
    let mut used = house.connect();
    assert_eq!(used.ask("GET / HTTP/1.1\r\nHost: h\r\n\r\n").status, 200);
    fresh.assert_closed();
    used.assert_closed();
    assert_eq!(
        house.counters().idle_closed_total.load(Ordering::Relaxed),
        2
    );
    // An empty line now and then keeps nobody in.
    assert!(trickle(&mut house.connect(), b"\r\n").is_none_or(|answer| answer.status == 400));
}

#[test]
fn many_slow_clients_hold_no_worker() {
    let house = House::new(Limits::default(), 2);
    let pieces = [
        "GET / HTTP/1.1\r\nX: ",
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2000\r\n\r\nx",
        "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nx",
        "",
    ];
    let callers: Vec<Caller> = (0..200)
        .map(|i| {
            let mut caller = house.connect();
            caller.send(pieces[i % pieces.len()]);
            caller
        })
        .collect();
    for _ in 0..20 {
        house.assert_alive();
    }
    drop(callers);
    let counters = house.counters();
    await_that("connections and buffers are given back", || {
        counters.connections_open.load(Ordering::Relaxed) == 0
            && counters.buffered_bytes.load(Ordering::Relaxed) == 0
    });
}

#[test]
fn connections_beyond_the_limit_are_told_so() {
    let limits = Limits {
        max_connections: 8,
        ..Limits::default()
    };
    let house = House::new(limits, 1);
    let mut inside: Vec<Caller> = (0..8).map(|_| house.connect()).collect();
    for caller in &mut inside {
        assert_eq!(caller.ask("GET / HTTP/1.1\r\nHost: h\r\n\r\n").status, 200);
    }
    let mut outside: Vec<Caller> = (0..100).map(|_| house.connect()).collect();
    for caller in &mut outside {
        let answer = caller.answer();
        assert_eq!(
            (answer.status, answer.header("Connection")),
            (503, Some("close"))
        );
        assert!(answer.header("Retry-After").is_some());
        caller.assert_closed();
    }
    assert_eq!(house.refused("too_many_connections"), 100);
    drop(outside);
    let counters = house.counters();
    let open = || counters.connections_open.load(Ordering::Relaxed);
    await_that("they left", || open() == 8);
    // One who was quick with a request is not reset before the answer is read.
    let mut quick = house.connect();
    await_that("the gate has answered", || open() == 9);
    quick.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(quick.answer().status, 503);
    quick.assert_closed_gently();
    for caller in &mut inside {
        assert_eq!(caller.ask("GET / HTTP/1.1\r\nHost: h\r\n\r\n").status, 200);
    }
    drop((inside, quick));
    await_that("everybody left", || {
        counters.connections_open.load(Ordering::Relaxed) == 0
    });
    house.assert_alive();
}

fn connect_from(last: u8, to: SocketAddr) -> Caller {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let from = SocketAddr::from(([127, 0, 0, last], 0));
    socket.bind(&from.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    Caller::new(socket.into())
}

#[test]
fn connections_are_limited_by_address() {
    let limits = Limits {
        max_connections_per_ip: 3,
        trusted_proxies: vec![AddressRange::parse("127.0.0.9").unwrap()],
        ..Limits::default()
    };
    let house = House::new(limits, 1);
    let mut kept = Vec::new();
    let mut check = |last: u8, expected: u16| {
        let mut caller = connect_from(last, house.address);
        let answer = caller.ask("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(answer.status, expected, "127.0.0.{last}");
        kept.push(caller);
    };
    for last in 1..=5 {
        for expected in [200, 200, 200, 503] {
            check(last, expected);
        }
    }
    for _ in 0..6 {
        check(9, 200);
    }
    assert_eq!(house.refused("too_many_from_address"), 5);
    drop(kept);
    let counters = house.counters();
    await_that("everybody left", || {
        counters.connections_open.load(Ordering::Relaxed) == 0
    });
    let answer = connect_from(1, house.address).ask("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(answer.status, 200);
}

#[test]
fn unfinished_requests_share_one_budget_and_the_largest_goes_first() {
    let limits = Limits {
        buffer_bytes: 400_000,
        ..Limits::default()
    };
    let house = House::new(limits, 1);
    let counters = house.counters();
    let head = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n";
    let part = format!("{head}{}", "x".repeat(90_000));
    let mut callers: Vec<Caller> = (0..12).map(|_| house.connect()).collect();
    for caller in &mut callers {
        caller.send(&part);
    }
    await_that("the budget is used up", || {
        house.refused("buffers_full") >= 6
    });
    let held = counters.buffered_bytes.load(Ordering::Relaxed);
    assert!((200_000..600_000).contains(&held), "{held}");
    // Smaller requests get through all the same.
    for _ in 0..5 {
        let body = "y".repeat(50_000);
        let head = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\n";
        assert_eq!(house.connect().ask(format!("{head}{body}")).text(), body);
    }
    let rest = "x".repeat(10_000);
    let mut refused = 0;
    for caller in &mut callers {
        let answer = caller.ask(&rest);
        if answer.status == 503 {
            assert_eq!(answer.header("Retry-After"), Some("1"));
            refused += 1;
        }
    }
    assert_eq!(refused, house.refused("buffers_full"));
    drop(callers);
    await_that("the budget is given back", || {
        counters.buffered_bytes.load(Ordering::Relaxed) == 0
    });
    house.assert_alive();
}

#[test]
fn a_slow_reader_is_cut_off_by_the_clock() {
    let house = House::new(timeouts(LONG, LONG, LONG, SHORT), 1);
    let mut stalled = house.connect();
    stalled.send("GET /big?20000000 HTTP/1.1\r\nHost: h\r\n\r\n");
    // Its answer does not hold the only worker.
    await_that("the request is taken", || {
        house.counters().requests_total.load(Ordering::Relaxed) == 1
    });
    house.assert_alive();
    let counters = house.counters();
    await_that("the reader is cut off", || {
        counters.slow_readers_total.load(Ordering::Relaxed) == 1
            && counters.buffered_bytes.load(Ordering::Relaxed) == 0
    });
}

#[test]
fn slow_readers_are_cut_off_by_the_budget() {
    let limits = Limits {
        buffer_bytes: 1_000_000,
        ..timeouts(LONG, LONG, LONG, LONG)
    };
    let house = House::new(limits, 2);
    let mut stalled = house.connect();
    stalled.send("GET /big?30000000 HTTP/1.1\r\nHost: h\r\n\r\n");
    let counters = house.counters();
    await_that("the reader is cut off", || {
        counters.slow_readers_total.load(Ordering::Relaxed) == 1
    });
    house.assert_alive();
    // An answer within the budget arrives whole.
    let answer = house
        .connect()
        .ask("GET /big?400000 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(answer.body.len(), 400_000);
}
