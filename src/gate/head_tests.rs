//! Which heads pass, what becomes of them, and which are refused for what reason.

use super::*;
use std::net::Ipv4Addr;

const ORIGIN: Origin<'static> = Origin {
    peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
    trusted_proxies: &[],
};

fn parse(text: &str) -> Result<Head, Refusal> {
    match head_end(text.as_bytes(), 0)? {
        Some(end) if end == text.len() => {
            Head::parse(text.as_bytes(), ORIGIN).map_err(|rejected| rejected.refusal)
        }
        other => panic!("{text:?} ends at {other:?}"),
    }
}

#[test]
fn heads_are_rewritten() {
    let check = |text: &str, wire: &str| {
        let head = parse(text).unwrap_or_else(|refusal| panic!("{text:?}: {refusal:?}"));
        let written = String::from_utf8(head.into_wire(3, 7)).unwrap();
        assert_eq!(written, wire, "{text:?}");
    };
    check(
        "GET /a?b HTTP/1.1\r\nAccept: x\r\nhost: h:80\r\nX-Empty:\r\n\r\n",
        "GET /a?b HTTP/1.1\r\nHost: h:80\r\nX-Gate-Peer: 127.0.0.1\r\n\
         Accept: x\r\nX-Empty: \r\nX-Gate-Request: 3\r\n\r\n",
    );
    check(
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 007\r\n\
         Connection: close, TE\r\nTE: chunked\r\nKeep-Alive: 5\r\n\
         Upgrade: h2c\r\nExpect: 100-continue\r\nTrailer: a\r\nProxy-Foo: a\r\n\
         x-gate-peer: 6.6.6.6\r\nX-GATE-Stream: 1\r\nX-Gat: kept\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nX-Gate-Peer: 127.0.0.1\r\nX-Gat: kept\r\n\
         X-Gate-Request: 3\r\nContent-Length: 7\r\n\r\n",
    );
    check(
        "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: h\r\nX-Gate-Peer: 127.0.0.1\r\nX-Gate-Request: 3\r\nContent-Length: 7\r\n\r\n",
    );
    check(
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nX-Gate-Peer: 127.0.0.1\r\nX-Gate-Request: 3\r\n\r\n",
    );
    for target in ["http://real:1/a?b", "HTTPS://real:1/a?b"] {
        check(
            &format!("GET {target} HTTP/1.1\r\nHost: other\r\n\r\n"),
            "GET /a?b HTTP/1.1\r\nHost: real:1\r\nX-Gate-Peer: 127.0.0.1\r\nX-Gate-Request: 3\r\n\r\n",
        );
    }
    check(
        "GET http://[::1]:80 HTTP/1.1\r\nHost: other\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1]:80\r\nX-Gate-Peer: 127.0.0.1\r\nX-Gate-Request: 3\r\n\r\n",
    );
}

#[test]
fn what_the_gate_needs_to_know_is_read() {
    let head = parse(
        "POST /a/b?c=d HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nX-Request-ID: r~1\r\n\
         Connection: keep-alive, Close\r\nContent-Length: 5\r\n\r\n",
    )
    .unwrap();
    assert_eq!(head.method(), "POST");
    assert_eq!(head.target(), "/a/b?c=d");
    assert_eq!(head.path(), "/a/b");
    assert_eq!(head.framing, Framing::Length(5));
    assert_eq!(head.request_id.as_deref(), Some("r~1"));
    assert!(head.expects_continue && head.closes && !head.is_http_10);
    let old = parse("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap();
    assert!(old.closes && old.is_http_10);
}

#[test]
fn request_ids_that_may_be_repeated() {
    let check = |id: &str, good: bool| {
        let text = format!("GET / HTTP/1.1\r\nHost: h\r\nX-Request-Id: {id}\r\n\r\n");
        let found = parse(&text).unwrap().request_id;
        assert_eq!(found.as_deref(), good.then_some(id), "{id:?}");
        let bad = text.replace("Host: h", "Host: a/b");
        let rejected = Head::parse(bad.as_bytes(), ORIGIN).unwrap_err();
        assert_eq!(rejected.request_id.as_deref(), good.then_some(id), "{id:?}");
    };
    check("a", true);
    check(&"x".repeat(128), true);
    check(&"x".repeat(129), false);
    check("", false);
    check("a b", false);
}

#[test]
fn what_parties_could_read_differently_is_refused() {
    let malformed = [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:+1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: :80\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [a]\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1]80\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\tb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX(: b\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\r\nHost: a\r\n\r\n",
        "GET / http/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1a\r\nHost: a\r\n\r\n",
        "GET /#f HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /<a> HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\\a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET ftp://h/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://u@h/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://h?q HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://h/ HTTP/1.1\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT h:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +8\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -8\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8, 8\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x8\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: abc\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\nContent-Length: 8\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    ];
    for text in malformed {
        let refusal = parse(text).err();
        assert!(
            matches!(refusal, Some(Refusal::Malformed(_))),
            "{text:?}: {refusal:?}"
        );
    }
    let check = |text: &str, expected: Refusal| {
        assert_eq!(parse(text).err(), Some(expected), "{text:?}");
    };
    for coding in [
        "identity",
        "gzip",
        "gzip, chunked",
        "chunked, chunked",
        "chunked;a",
        "x",
    ] {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n");
        check(&text, Refusal::UnknownCoding);
    }
    for version in ["2.0", "2", "1.2", "3.0", "0.9"] {
        let text = format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n");
        check(&text, Refusal::UnsupportedVersion);
    }
    check("PRI * HTTP/2.0\r\n\r\n", Refusal::UnsupportedVersion);
    check(
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n",
        Refusal::UnknownExpectation,
    );
    check(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        Refusal::BodyTooLarge,
    );
}

#[test]
fn the_number_of_fields_is_limited() {
    let fields = |count: usize| {
        let more: String = (1..count).map(|i| format!("X-{i}: y\r\n")).collect();
        parse(&format!("GET / HTTP/1.1\r\nHost: h\r\n{more}\r\n"))
    };
    assert!(fields(MAX_HEADERS).is_ok());
    assert_eq!(fields(MAX_HEADERS + 1).err(), Some(Refusal::HeadTooLarge));
}

#[test]
fn bytes_that_never_belong_in_a_head_are_refused_as_they_come() {
    let check = |bytes: &[u8]| {
        for scanned in 0..bytes.len() {
            let found = head_end(bytes, scanned);
            assert!(
                matches!(found, Err(Refusal::Malformed(_))),
                "{bytes:?} from {scanned}"
            );
        }
    };
    check(b"GET / HTTP/1.1\n");
    check(b"GET / HTTP/1.1\rX");
    check(b"GET / HTTP/1.1\r\r");
    check(b"\n");
    for byte in (0..=8).chain(11..=12).chain(14..=31).chain(127..=255) {
        check(&[b'G', b'E', b'T', b' ', b'/', byte]);
    }
}
