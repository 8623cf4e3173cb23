//! Answers that stay open: who holds the writing end speaks to the client, whatever the private
//! server says meanwhile or later.

use super::*;
use crate::gate::{StreamWriter, TooManyStreams};

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
const HOLD: &str = "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n";

impl House {
    /// Sends a request that its private server holds, and answers it by a stream.
    fn stream(&self, caller: &mut Caller, request: &str) -> StreamWriter {
        let held = self.turnstile.arrived.load(Ordering::SeqCst);
        caller.send(request);
        await_that("a request that waits", || {
            self.turnstile.arrived.load(Ordering::SeqCst) > held
        });
        let number = self.turnstile.last_number.load(Ordering::SeqCst);
        self.open(number).unwrap()
    }

    fn open(&self, number: u64) -> Result<StreamWriter, TooManyStreams> {
        let streams = self.gate.as_ref().unwrap().streams();
        streams.open(number, HEAD.to_vec())
    }

    fn open_streams(&self) -> usize {
        self.counters().streams_open.load(Ordering::SeqCst)
    }
}

#[test]
fn events_come_in_chunks_and_the_connection_goes_on() {
    let house = House::new(Limits::default(), 2);
    let mut caller = house.connect();
    let writer = house.stream(&mut caller, HOLD);
    assert!(writer.send("{\"a\":\n1}") && writer.send_spare("2") && writer.send_once("n", "3"));
    drop(writer);
    let answer = caller.answer();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("Transfer-Encoding"), Some("chunked"));
    assert_eq!(answer.text(), "data: {\"a\": 1}\n\ndata: 2\n\ndata: 3\n\n");
    // The private server answers the first request only now; nobody hears it.
    let second = caller.ask("GET /second HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(second.text(), "main /second");
    house.turnstile.open();
    let third = caller.ask("GET /third HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(third.text(), "main /third");
    assert_eq!(house.open_streams(), 0);
}

#[test]
fn who_knows_no_chunks_gets_the_end_of_the_connection() {
    let house = House::new(Limits::default(), 1);
    let mut caller = house.connect();
    let writer = house.stream(&mut caller, "GET /hold HTTP/1.0\r\nHost: h\r\n\r\n");
    writer.send("1");
    drop(writer);
    let answer = caller.answer();
    assert_eq!(answer.header("Transfer-Encoding"), None);
    assert_eq!(answer.header("Connection"), Some("close"));
    assert_eq!(answer.text(), "data: 1\n\n");
    caller.assert_closed();
}

#[test]
fn what_comes_behind_a_stream_s_request_is_not_held() {
    let house = House::new(Limits::default(), 1);
    let mut caller = house.connect();
    let behind = format!(
        "{HOLD}POST /echo HTTP/1.1\r\nHost: h\r\n{}",
        "x".repeat(4000)
    );
    let writer = house.stream(&mut caller, &behind);
    let head = caller.answer_to_head();
    assert_eq!(head.header("Connection"), Some("close"));
    // Counted anew once the head is sent.
    let counters = house.counters();
    await_that("no bytes", || {
        counters.buffered_bytes.load(Ordering::SeqCst) == 0
    });
    writer.send("1");
    drop(writer);
    assert_eq!(caller.chunks(), b"data: 1\n\n");
    caller.assert_closed_gently();
}

#[test]
fn streams_leave_connections_to_others() {
    let limits = Limits {
        max_connections: 2,
        ..Limits::default()
    };
    let house = House::new(limits, 2);
    let mut caller = house.connect();
    let _writer = house.stream(&mut caller, HOLD);
    assert!(matches!(house.open(u64::MAX), Err(TooManyStreams)));
    house.assert_alive();
}

#[test]
fn a_client_that_goes_is_told_of_and_frees_its_place() {
    let limits = Limits {
        max_streams: 1,
        ..Limits::default()
    };
    let house = House::new(limits, 2);
    let mut caller = house.connect();
    let writer = house.stream(&mut caller, HOLD);
    assert!(matches!(house.open(u64::MAX), Err(TooManyStreams)));
    assert!(caller.answer_to_head().status == 200 && writer.is_open());
    let number = house.turnstile.last_number.load(Ordering::SeqCst);
    drop(caller);
    assert_eq!(house.hang_ups.recv_timeout(PATIENCE), Ok(number));
    await_that("its end", || !writer.is_open());
    assert!(!writer.send("1") && !writer.send_once("n", "1"));
    assert_eq!(house.open_streams(), 0);
    assert_eq!(house.counters().buffered_bytes.load(Ordering::SeqCst), 0);
    // What answers no request there is has nobody to speak to.
    let nobody = house.open(u64::MAX).unwrap();
    await_that("its end", || !nobody.is_open());
    assert_eq!(house.hang_ups.recv_timeout(PATIENCE), Ok(u64::MAX));
    house.turnstile.open();
    house.assert_alive();
}

#[test]
fn what_waits_for_a_slow_reader_is_bounded_until_it_is_cut_off() {
    let limits = Limits {
        write_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let house = House::new(limits, 1);
    let mut caller = house.connect();
    let writer = house.stream(&mut caller, HOLD);
    assert_eq!(caller.answer_to_head().status, 200);
    let large = "x".repeat(100_000);
    let counters = house.counters();
    let mut dropped = 0;
    while writer.is_open() {
        dropped += usize::from(!writer.send_spare(&large));
        let held = counters.buffered_bytes.load(Ordering::SeqCst);
        assert!(held < 2_000_000, "{held}");
        for _ in 0..3 {
            writer.send_once("n", "1");
        }
        std::thread::yield_now();
    }
    let counted = counters.stream_events_dropped_total.load(Ordering::SeqCst);
    assert!(dropped > 0 && counted > 0, "{dropped} {counted}");
    assert_eq!(counters.slow_readers_total.load(Ordering::SeqCst), 1);
    await_that("no bytes", || {
        counters.buffered_bytes.load(Ordering::SeqCst) == 0
    });
}

#[test]
fn streams_may_take_all_buffers_but_not_more() {
    let limits = Limits {
        buffer_bytes: 1_000_000,
        ..Limits::default()
    };
    let house = House::new(limits, 1);
    let mut caller = house.connect();
    let writer = house.stream(&mut caller, HOLD);
    let large = "x".repeat(500_000);
    // What must not be left out costs a reader that is too slow for it the connection.
    while writer.send(&large) {
        std::thread::yield_now();
    }
    assert_eq!(
        house.counters().slow_readers_total.load(Ordering::SeqCst),
        1
    );
    house.turnstile.open();
    house.assert_alive();
}

#[test]
fn the_end_of_the_gate_waits_for_open_streams_as_long_as_it_may() {
    let mut house = House::new(Limits::default(), 1);
    let mut caller = house.connect();
    let writer = house.stream(&mut caller, HOLD);
    assert_eq!(caller.answer_to_head().status, 200);
    house.turnstile.open();
    let gate = house.gate.take().unwrap();
    gate.drain();
    writer.send("last");
    drop(writer);
    assert_eq!(
        String::from_utf8(caller.chunks()).unwrap(),
        "data: last\n\n"
    );
    caller.assert_closed_gently();
    gate.stop(PATIENCE);
}

#[test]
fn a_mark_of_a_client_is_not_the_private_server_s() {
    let house = House::new(Limits::default(), 1);
    let answer = house
        .connect()
        .ask("GET /seen HTTP/1.1\r\nHost: h\r\nX-Gate-Stream: 1\r\nx-gate-request: 1\r\n\r\n");
    assert_eq!(answer.status, 200);
    assert!(
        !answer.text().contains("X-Gate-Stream"),
        "{}",
        answer.text()
    );
    assert_eq!(answer.text().matches("-Request: ").count(), 1);
}
