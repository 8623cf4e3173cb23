//! What crosses the wire: good requests in every framing, and every bad one refused without harm.

use super::*;
use crate::base::address::AddressRange;
use crate::gate::MAX_HEAD_BYTES;

#[test]
fn a_request_reaches_its_lane_rewritten() {
    let house = House::new(Limits::default(), 2);
    let mut caller = house.connect();
    let answer = caller.ask(
        "GET /seen?x=1 HTTP/1.1\r\nHost: example\r\nConnection: keep-alive, upgrade\r\n\
         Upgrade: x\r\nX-Gate-Peer: 6.6.6.6\r\n\
         TE: chunked\r\nExpect: 100-continue\r\nAccept: y\r\n\r\n",
    );
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("X-Gate-Secret"), None);
    assert_eq!(answer.header("Connection"), None);
    let expected = "main GET /seen?x=1\nHost: example\nX-Gate-Peer: 127.0.0.1\nAccept: y\n\
        X-Gate-Request: 1\n";
    assert_eq!(answer.text(), expected);
    let answer = caller.ask("GET /ops HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(answer.text(), "ops /ops");
    let mut caller = Caller::new(TcpStream::connect(house.ops_address).unwrap());
    let answer = caller.ask("GET /main HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(answer.text(), "ops /main");
}

#[test]
fn bodies_in_every_framing() {
    let house = House::new(Limits::default(), 2);
    let mut caller = house.connect();
    for bytes in [0, 1, 1023, 1024, 1025, 70_000, 1024 * 1024] {
        let body: Vec<u8> = (0..bytes).map(|i| b"0123456789"[i % 10]).collect();
        let head = format!("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: {bytes}\r\n\r\n");
        let fixed = [head.as_bytes(), &body].concat();
        assert_eq!(caller.ask(fixed).body, body);
        let mut chunked =
            b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for part in body.chunks(60_000) {
            chunked.extend(format!("{:X};ext\r\n", part.len()).bytes());
            chunked.extend(part);
            chunked.extend(b"\r\n");
        }
        chunked.extend(b"0\r\nTrailer: dropped\r\n\r\n");
        assert_eq!(caller.ask(chunked).body, body);
        let unread = [head.replace("/echo", "/unread").as_bytes(), &body].concat();
        assert_eq!(caller.ask(unread).text(), "body ignored");
    }
}

#[test]
fn answers_in_every_framing() {
    let house = House::new(Limits::default(), 2);
    let mut caller = house.connect();
    for bytes in [0, 1, 1000, 5000, 70_000, 3_000_000] {
        for path in ["big", "chunked"] {
            let request = format!("GET /{path}?{bytes} HTTP/1.1\r\nHost: h\r\n\r\n");
            assert_eq!(caller.ask(&request).body.len(), bytes, "{path}");
            caller.send(request.replace("GET", "HEAD"));
            assert_eq!(caller.answer_to_head().status, 200);
            let old = format!("GET /{path}?{bytes} HTTP/1.0\r\n\r\n");
            let mut old_caller = house.connect();
            let answer = old_caller.ask(old);
            assert_eq!(answer.body.len(), bytes, "{path}");
            assert_eq!(answer.header("Connection"), Some("close"));
            assert_eq!(answer.header("Transfer-Encoding"), None);
            old_caller.assert_closed();
        }
    }
    let answer = caller.ask("GET /empty HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(
        (answer.status, answer.header("Content-Length")),
        (204, None)
    );
    let answer = caller.ask("GET /dropped HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(answer.status, 500);
    let mut last = house.connect();
    let answer = last.ask("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_eq!(answer.header("Connection"), Some("close"));
    last.assert_closed();
}

#[test]
fn continue_comes_from_the_gate() {
    let house = House::new(Limits::default(), 1);
    let head = "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n";
    let mut caller = house.connect();
    assert_eq!(
        caller
            .ask(format!("{head}Content-Length: 4\r\n\r\n"))
            .status,
        100
    );
    assert_eq!(caller.ask("body").text(), "body");
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    assert_eq!(caller.ask(chunked).status, 100);
    assert_eq!(caller.ask("4\r\nbody\r\n0\r\n\r\n").text(), "body");
    let answer = caller.ask(format!("{head}Content-Length: 9999999\r\n\r\n"));
    assert_eq!(answer.status, 413);
}

/// One request that must be refused with `status` and the connection closed, the service unharmed.
fn check_refused(house: &House, request: &[u8], status: u16) {
    let mut caller = house.connect();
    // Closing without reading on would break the sending off, and might reset the answer away.
    caller
        .stream
        .write_all(request)
        .expect("the gate stopped reading");
    let answer = caller.answer();
    let shown = String::from_utf8_lossy(&request[..request.len().min(200)]);
    assert_eq!(answer.status, status, "{shown:?}");
    assert_eq!(answer.header("Connection"), Some("close"), "{shown:?}");
    let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(json["error"]["code"], status);
    for (name, value) in [
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-store"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{shown:?}");
    }
    assert!(
        answer
            .header("x-request-id")
            .is_some_and(|id| id.len() == 32),
        "{shown:?}"
    );
    caller.assert_closed_gently();
}

#[test]
fn bad_requests_are_refused_without_harm() {
    let house = House::new(Limits::default(), 1);
    let check = |text: &str, status| check_refused(&house, text.as_bytes(), status);
    let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n");
    // What aborted, blocked or starved the private server when it was asked directly.
    check(&post("Content-Length: 4611686018427387904"), 413);
    check(&post("Content-Length: 10000000000000"), 413);
    check(&post("Content-Length: 68719476736"), 413);
    check(&post("Content-Length: 18446744073709551615"), 413);
    check(&post("Content-Length: 1048577"), 413);
    check("GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505);
    check("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
    check(&post("Transfer-Encoding: identity"), 501);
    check(
        &post("Transfer-Encoding: chunked\r\nContent-Length: 5"),
        400,
    );
    check(&post("Content-Length: 5\r\nContent-Length: 6"), 400);
    check(&post("Content-Length: +8"), 400);
    check(&post("Content-Length: abc"), 400);
    check(&post("A: b\r\n folded: c"), 400);
    check(&post("A: b\rc"), 400);
    check(&post("A: b\nc: d"), 400);
    check(&post("A: b\0c"), 400);
    check(&post("A: \u{e9}"), 400);
    check(&post("Expect: tea"), 417);
    check("GET / HTTP/1.1\r\n\r\n", 400);
    check("GET / HTTP/1.1\nHost: h\n\n", 400);
    check("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400);
    check("GET /a\u{7f} HTTP/1.1\r\nHost: h\r\n\r\n", 400);
    check("CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n", 400);
    check(&post("Transfer-Encoding: chunked\r\n\r\nzz"), 400);
    check(
        &post("Transfer-Encoding: chunked\r\n\r\nfffffffffffffff"),
        413,
    );
    check(&post(&format!("X: {}", "a".repeat(20_000))), 431);
    check(&post(&"X: y\r\n".repeat(65)), 431);
    // TLS spoken to a plain port.
    check_refused(&house, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400);
    assert_eq!(house.refused("malformed"), 16);
    house.assert_alive();
}

#[test]
fn a_huge_head_or_body_does_not_cost_its_answer() {
    let house = House::new(Limits::default(), 1);
    let endless_field = [
        b"GET / HTTP/1.1\r\nHost: h\r\nX: ".as_slice(),
        &[b'a'; 5_000_000],
    ]
    .concat();
    check_refused(&house, &endless_field, 431);
    let head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n500000\r\n";
    check_refused(&house, &[head.as_slice(), &[b'a'; 5_000_000]].concat(), 413);
    let head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5000000\r\n\r\n";
    check_refused(&house, &[head.as_slice(), &[b'a'; 5_000_000]].concat(), 413);
}

#[test]
fn a_post_that_asks_for_an_upgrade_is_a_post() {
    let house = House::new(Limits::default(), 1);
    let mut caller = house.connect();
    for body in ["", "hello", &"x".repeat(3000)] {
        let request = format!(
            "POST /echo HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(caller.ask(request).text(), body);
    }
}

#[test]
fn the_largest_head_and_body_pass_and_one_byte_more_does_not() {
    let house = House::new(Limits::default(), 1);
    let head = |bytes: usize| {
        let start = "GET / HTTP/1.1\r\nHost: h\r\nX: ";
        let padding = "x".repeat(bytes - start.len() - 4);
        format!("{start}{padding}\r\n\r\n")
    };
    assert_eq!(house.connect().ask(head(MAX_HEAD_BYTES)).status, 200);
    check_refused(&house, head(MAX_HEAD_BYTES + 1).as_bytes(), 431);
    let chunked = |bytes: usize| {
        let (first, last) = ("x".repeat(bytes / 2), "x".repeat(bytes - bytes / 2));
        format!(
            "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
             {:x}\r\n{first}\r\n{:x}\r\n{last}\r\n0\r\n\r\n",
            first.len(),
            last.len()
        )
    };
    let most = Limits::default().max_body_bytes;
    assert_eq!(house.connect().ask(chunked(most)).body.len(), most);
    check_refused(&house, chunked(most + 1).as_bytes(), 413);
}

#[test]
fn answers_of_several_writes_do_not_wait_for_an_acknowledgement() {
    let house = House::new(Limits::default(), 1);
    let mut caller = house.connect();
    let fastest = (0..30)
        .map(|_| {
            let began = Instant::now();
            let answer = caller.ask("GET /big?5000 HTTP/1.1\r\nHost: h\r\n\r\n");
            assert_eq!(answer.body.len(), 5000);
            began.elapsed()
        })
        .min();
    // The wait is 40 ms, and it meets every answer or none.
    assert!(fastest < Some(Duration::from_millis(40)), "{fastest:?}");
}

#[test]
fn a_good_request_id_is_repeated_in_refusals() {
    let house = House::new(Limits::default(), 1);
    let check = |id: &str, repeated: bool| {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: h\r\nX-Request-Id: {id}\r\nContent-Length: 9999999\r\n\r\n"
        );
        let answer = house.connect().ask(request);
        assert_eq!(answer.header("x-request-id") == Some(id), repeated, "{id}");
    };
    check("abc-1", true);
    check(&"x".repeat(128), true);
    check(&"x".repeat(129), false);
    check("two words", false);
}

#[test]
fn an_ipv6_listener_serves_both_families() {
    let house = House::listening(Limits::default(), 1, TcpListener::bind("[::]:0").unwrap());
    let port = house.address.port();
    for (to, peer) in [("[::1]", "::1"), ("127.0.0.1", "127.0.0.1")] {
        let stream = TcpStream::connect(format!("{to}:{port}")).unwrap();
        let answer = Caller::new(stream).ask("GET /seen HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(
            answer.text().contains(&format!("X-Gate-Peer: {peer}\n")),
            "{}",
            answer.text()
        );
    }
}

#[test]
fn a_trusted_proxy_names_the_client() {
    let limits = Limits {
        trusted_proxies: vec![AddressRange::parse("127.0.0.1").unwrap()],
        ..Limits::default()
    };
    let house = House::new(limits, 1);
    let request = "GET /seen HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.7\r\n\r\n";
    let answer = house.connect().ask(request);
    assert!(
        answer.text().contains("X-Gate-Peer: 192.0.2.7\n"),
        "{}",
        answer.text()
    );
}

#[test]
fn nothing_that_passes_the_gate_hurts_a_private_server() {
    let house = House::new(Limits::default(), 2);
    let valid = b"POST /echo?a=b HTTP/1.1\r\nHost: localhost:80\r\nX-Request-Id: 1\r\n\
        Accept: a/b, c;d=e\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n\
        HEAD /seen HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTE: trailers\r\n\r\nabc";
    for request in mutated(valid, 2000) {
        let mut caller = house.connect();
        caller.send(&request);
        let _ = caller.stream.shutdown(std::net::Shutdown::Write);
        while caller.read_more() > 0 {}
        let answer = String::from_utf8_lossy(&caller.unread);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 "),
            "{answer}"
        );
    }
    let counters = house.counters();
    assert!(counters.requests_total.load(Ordering::Relaxed) > 1000);
    assert!(house.refused("malformed") > 500);
    assert_eq!(counters.lanes[0].lost_total.load(Ordering::Relaxed), 0);
    assert_eq!(counters.lanes[0].ready.load(Ordering::Relaxed), 2);
    house.assert_alive();
}
