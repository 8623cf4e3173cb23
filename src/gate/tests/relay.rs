//! Many clients, waiting, hanging up, pipelining; lost private servers; the end.

use super::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const HOLD: &str = "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn bursts_of_connections_are_all_answered() {
    let house = House::new(Limits::default(), 4);
    for burst in [16, 64, 256] {
        let mut callers: Vec<Caller> = (0..burst).map(|_| house.connect()).collect();
        for _ in 0..3 {
            for caller in &mut callers {
                caller.send(GET);
            }
            for caller in &mut callers {
                assert_eq!(caller.answer().status, 200);
            }
        }
        drop(callers);
        let counters = house.counters();
        await_that("everybody left", || {
            counters.connections_open.load(Ordering::Relaxed) == 0
        });
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let house = House::new(Limits::default(), 4);
    let mut caller = house.connect();
    let mut pipeline = String::new();
    for i in 0..2000 {
        let body = format!("number {i}");
        pipeline += &format!(
            "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
    }
    let mut sending = caller.stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || sending.write_all(pipeline.as_bytes()));
    for i in 0..2000 {
        assert_eq!(caller.answer().text(), format!("number {i}"));
    }
    sender.join().unwrap().unwrap();
}

#[test]
fn a_fast_pipeliner_does_not_starve_others() {
    let house = House::new(Limits::default(), 1);
    let pipeliner = house.connect();
    let mut sending = pipeliner.stream.try_clone().unwrap();
    let mut reading = pipeliner.stream.try_clone().unwrap();
    let pipeline = GET.repeat(500);
    let sender =
        std::thread::spawn(move || while sending.write_all(pipeline.as_bytes()).is_ok() {});
    let reader = std::thread::spawn(move || {
        let mut sink = vec![0; 64 * 1024];
        while reading.read(&mut sink).is_ok_and(|bytes| bytes > 0) {}
    });
    for _ in 0..50 {
        house.assert_alive();
    }
    pipeliner.stream.shutdown(std::net::Shutdown::Both).unwrap();
    sender.join().unwrap();
    reader.join().unwrap();
}

#[test]
fn the_queue_is_bounded_and_the_other_lane_free() {
    let limits = Limits {
        queue_length: 3,
        ..Limits::default()
    };
    let house = House::new(limits, 1);
    let counters = house.counters();
    let mut held = house.connect();
    held.send(HOLD);
    await_that("the worker holds", || {
        house.turnstile.arrived.load(Ordering::SeqCst) == 1
    });
    let mut waiting: Vec<Caller> = (0..3).map(|_| house.connect()).collect();
    for caller in &mut waiting {
        caller.send(GET);
    }
    await_that("the queue is full", || {
        counters.lanes[0].queued.load(Ordering::Relaxed) == 3
    });
    let mut refused = house.connect();
    for _ in 0..2 {
        let answer = refused.ask("GET / HTTP/1.1\r\nHost: h\r\nX-Request-Id: q\r\n\r\n");
        assert_eq!(
            (answer.status, answer.header("Retry-After")),
            (503, Some("1"))
        );
        assert_eq!(
            (answer.header("Connection"), answer.header("x-request-id")),
            (None, Some("q"))
        );
    }
    refused.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(refused.answer_to_head().status, 503);
    let ops = refused.ask("GET /ops HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(ops.text(), "ops /ops");
    house.turnstile.open();
    assert_eq!(held.answer().text(), "held");
    for caller in &mut waiting {
        assert_eq!(caller.answer().status, 200);
    }
    assert_eq!(refused.ask(GET).status, 200);
    assert_eq!(house.refused("queue_full"), 3);
}

#[test]
fn requests_of_clients_that_hung_up_are_dropped() {
    let house = House::new(Limits::default(), 1);
    let counters = house.counters();
    let mut held = house.connect();
    held.send(HOLD);
    await_that("the worker holds", || {
        house.turnstile.arrived.load(Ordering::SeqCst) == 1
    });
    let mut impatient: Vec<Caller> = (0..20).map(|_| house.connect()).collect();
    for caller in &mut impatient {
        caller.send(HOLD);
    }
    await_that("they wait", || {
        counters.lanes[0].queued.load(Ordering::Relaxed) == 20
    });
    drop(impatient);
    await_that("they are dropped", || {
        counters.lanes[0].queued.load(Ordering::Relaxed) == 0
    });
    house.turnstile.open();
    assert_eq!(held.answer().text(), "held");
    house.assert_alive();
    assert_eq!(house.turnstile.arrived.load(Ordering::SeqCst), 1);
    assert_eq!(counters.hung_up_total.load(Ordering::Relaxed), 20);
}

#[test]
fn a_client_gone_during_its_call_is_reported_once() {
    let house = House::new(Limits::default(), 1);
    let counters = house.counters();
    let mut gone = house.connect();
    assert_eq!(gone.ask(GET).status, 200);
    gone.send(HOLD);
    await_that("the worker holds", || {
        house.turnstile.arrived.load(Ordering::SeqCst) == 1
    });
    drop(gone);
    let number = house.hang_ups.recv_timeout(PATIENCE).unwrap();
    assert_eq!(number, 2);
    assert_eq!(number, house.turnstile.last_number.load(Ordering::SeqCst));
    house.turnstile.open();
    house.assert_alive();
    await_that("nobody is left", || {
        counters.connections_open.load(Ordering::Relaxed) == 0
            && counters.lanes[0].busy.load(Ordering::Relaxed) == 0
    });
    assert!(house.hang_ups.try_recv().is_err());
}

#[test]
fn a_half_closed_client_still_gets_its_answer() {
    let house = House::new(Limits::default(), 1);
    let mut caller = house.connect();
    caller.send(format!("{GET}{GET}"));
    caller.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(caller.answer().status, 200);
    assert_eq!(caller.answer().status, 200);
    caller.assert_closed();
}

#[test]
fn draining_serves_what_has_begun_and_nothing_else() {
    let mut house = House::new(Limits::default(), 2);
    let mut idle = house.connect();
    assert_eq!(idle.ask(GET).status, 200);
    let mut busy = house.connect();
    busy.send(HOLD);
    await_that("the worker holds", || {
        house.turnstile.arrived.load(Ordering::SeqCst) == 1
    });
    let mut sending = house.connect();
    sending.send(
        "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
    );
    assert_eq!(sending.answer().status, 100);
    let gate = house.gate.take().unwrap();
    gate.drain();
    idle.assert_closed();
    assert!(TcpStream::connect(house.address).is_err());
    let answer = sending.ask("body");
    assert_eq!(
        (answer.text().as_str(), answer.header("Connection")),
        ("body", Some("close"))
    );
    house.turnstile.open();
    let answer = busy.answer();
    assert_eq!(
        (answer.text().as_str(), answer.header("Connection")),
        ("held", Some("close"))
    );
    busy.assert_closed();
    sending.assert_closed();
    drop((busy, sending));
    let before = Instant::now();
    gate.stop(PATIENCE);
    assert!(before.elapsed() < PATIENCE, "stop waits for nobody");
}

#[test]
fn stopping_cuts_what_does_not_end() {
    let mut house = House::new(Limits::default(), 1);
    let mut held = house.connect();
    held.send(HOLD);
    await_that("the worker holds", || {
        house.turnstile.arrived.load(Ordering::SeqCst) == 1
    });
    house.gate.take().unwrap().stop(Duration::from_millis(50));
    held.assert_closed();
}
