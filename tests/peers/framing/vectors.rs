//! Streams with which requests were smuggled past one server or another: each is refused, or read
//! as exactly the requests that stand in it.

use crate::differences::compare;
use crate::ours::End;
use peers::requests::SENTINEL;

/// A POST with these fields, and what follows its head; then the request to be smuggled.
fn post(fields: &str, rest: &str) -> Vec<u8> {
    let head = format!("POST /a HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n{rest}");
    [head.as_bytes(), SENTINEL].concat()
}

fn check_refused(stream: &[u8], status: u16) {
    let (requests, end) = compare(stream);
    let shown = String::from_utf8_lossy(stream);
    assert_eq!(end, End::Refused(status), "{shown:?}: {requests:#?}");
    assert!(requests.is_empty(), "{shown:?}: {requests:#?}");
}

/// Read as one POST with this body, then the sentinel.
fn check_read(stream: &[u8], body: &str) {
    let (requests, end) = compare(stream);
    let shown = String::from_utf8_lossy(stream);
    assert_eq!((requests.len(), end), (2, End::Open), "{shown:?}");
    assert_eq!(requests[0].body, body.as_bytes(), "{shown:?}");
    assert_eq!(requests[1].target, "/sentinel", "{shown:?}");
}

const CHUNKED: &str = "Transfer-Encoding: chunked";
const EMPTY: &str = "0\r\n\r\n";

#[test]
fn two_ways_to_say_the_length() {
    for (fields, rest) in [
        (format!("Content-Length: 5\r\n{CHUNKED}"), EMPTY),
        (format!("{CHUNKED}\r\nContent-Length: 5"), EMPTY),
        (
            format!("{CHUNKED}\r\nContent-Length: 0"),
            "1\r\nx\r\n0\r\n\r\n",
        ),
        (format!("Content-length: 4\r\n{CHUNKED}"), "5c\r\n"),
        (format!("{CHUNKED}\r\n{CHUNKED}"), EMPTY),
        (format!("{CHUNKED}\r\nTransfer-Encoding: identity"), EMPTY),
        (format!("Transfer-Encoding: x\r\n{CHUNKED}"), EMPTY),
        ("Content-Length: 0\r\nContent-Length: 5".to_owned(), "hello"),
        ("Content-Length: 5\r\nContent-Length: 5".to_owned(), "hello"),
        ("Content-Length: 5, 5".to_owned(), "hello"),
        ("Content-Length: 5,0".to_owned(), "hello"),
    ] {
        check_refused(&post(&fields, rest), 400);
    }
}

#[test]
fn codings_in_disguise() {
    for coding in [
        "identity",
        "identity, chunked",
        "chunked, identity",
        "chunked, chunked",
        "chunked,",
        ",chunked",
        "gzip, chunked",
        "x chunked",
        "xchunked",
        "chunkedx",
        "chunked;q=0.5",
        "\"chunked\"",
        "'chunked'",
        "chunked chunked",
        "cow",
    ] {
        check_refused(&post(&format!("Transfer-Encoding: {coding}"), EMPTY), 501);
    }
    for field in [
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "Transfer-Encoding\u{b}: chunked",
        "Transfer-Encoding\0: chunked",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer-Encoding: \u{c}chunked",
        "Transfer-Encoding: chunked\0",
        "Transfer-Encoding: chunked\u{a0}",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding:\n chunked",
        "Transfer-Encoding: chunked\r\n\t, identity",
        "Transfer-Encoding: x\n\nGET / HTTP/1.1",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\r\n\rTransfer-Encoding: chunked",
        "X: y\r\rTransfer-Encoding: chunked",
        "\"Transfer-Encoding: chunked",
        "Transfer Encoding: chunked",
        "Transfer-\r\nEncoding: chunked",
        "Transfer-Encoding chunked",
        "\u{feff}Transfer-Encoding: chunked",
    ] {
        check_refused(&post(field, EMPTY), 400);
    }
    // Names that only look like it are not it.
    check_read(&post("Transfer_Encoding: chunked", ""), "");
    check_read(
        &post("X-Transfer-Encoding: chunked\r\nContent-Length: 5", EMPTY),
        EMPTY,
    );
    for coding in ["Chunked", "  chunked", "chunked \t"] {
        check_read(
            &post(
                &format!("Transfer-Encoding: {coding}"),
                "1\r\nx\r\n0\r\n\r\n",
            ),
            "x",
        );
    }
}

#[test]
fn lengths_in_disguise() {
    for length in [
        "+5", "-5", "-0", "5 5", "5\t5", "0x5", "5e0", "5.0", "5;", "\"5\"", "'5'", "five", "",
        "_5", "5_0", "\u{b}5", "5\0", "\r\n 5", "5\r\n 0", "\u{665}", "5h",
    ] {
        check_refused(&post(&format!("Content-Length: {length}"), "hello"), 400);
    }
    for length in [
        "18446744073709551616",
        "18446744073709551621",
        "18446744073709551615",
        "9223372036854775808",
        "4611686018427387904",
        "4294967301",
    ] {
        check_refused(&post(&format!("Content-Length: {length}"), "hello"), 413);
    }
    for name in [
        "Content-Length ",
        " Content-Length",
        "Content-Length\0",
        "X\nContent-Length",
    ] {
        check_refused(&post(&format!("{name}: 5"), "hello"), 400);
    }
    check_read(&post("Content-Length: 0005", "hello"), "hello");
    check_read(&post("Content-Length: \t5 ", "hello"), "hello");
    check_read(&post("Content_Length: 5", ""), "");
    let smuggled = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";
    let length = format!("Content-Length: {}", smuggled.len());
    check_read(&post(&length, smuggled), smuggled);
}

#[test]
fn chunks_in_disguise() {
    for body in [
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5\t;a\r\nhello\r\n0\r\n\r\n",
        "5 x\r\nhello\r\n0\r\n\r\n",
        "5_\r\nhello\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        ";5\r\nhello\r\n0\r\n\r\n",
        // Line ends that some take and others do not.
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5;\nhello\r\n0\r\n\r\n",
        "5;a\nhello\r\n0\r\n\r\n",
        "5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n",
        "5;\r\r\nhello\r\n0\r\n\r\n",
        "5;\0\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello\rX0\r\n\r\n",
        "5\r\nhello\r\n\r\n0\r\n\r\n",
        "0\n\n",
        "0\r\n\n",
        "0\r\n\r\r\n",
        "0\r\n \r\n",
        // Sizes that wrap around.
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        // Trailers.
        "0\r\nbad\r\n\r\n",
        "0\r\n: bad\r\n\r\n",
        "0\r\n folded\r\n\r\n",
        "0\r\nA : b\r\n\r\n",
        "0\r\nA: b\n\r\n",
        "0\r\nA: \0\r\n\r\n",
        "0\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        check_refused(&post(CHUNKED, body), 400);
    }
    for body in [
        "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffff0\r\nhello\r\n0\r\n\r\n",
        "8000000000000000\r\nhello\r\n0\r\n\r\n",
    ] {
        check_refused(&post(CHUNKED, body), 413);
    }
    for body in [
        "5\r\nhello\r\n0\r\n\r\n",
        "05\r\nhello\r\n000\r\n\r\n",
        "5;a\r\nhello\r\n0;b=\"c\"\r\n\r\n",
        "2\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n",
        "5\r\nhello\r\n0\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\nHost: x\r\n\r\n",
    ] {
        check_read(&post(CHUNKED, body), "hello");
    }
    let inside = "7\r\n0\r\n\r\nGE\r\n0\r\n\r\n";
    check_read(&post(CHUNKED, inside), "0\r\n\r\nGE");
}

#[test]
fn heads_in_disguise() {
    let stream = |head: &str| [head.as_bytes(), SENTINEL].concat();
    for head in [
        "\n",
        "\r",
        "\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\nHost: h\n\n",
        "GET / HTTP/1.1\r\nHost: h\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n x: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: \0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: \u{e9}\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/1.1 HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / x HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET\t/\tHTTP/1.1\r\nHost: h\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nHost: h\r\n\r\n",
        "GET http://a@b/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET http://a/b HTTP/1.1\r\n\r\n",
        "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n",
        "CONNECT / HTTP/1.1\r\nHost: h\r\n\r\n",
        "CONNECT http://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nHost: h\r\n\r\n",
    ] {
        check_refused(&stream(head), 400);
    }
    for head in [
        "GET / HTTP/2.0\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: h\r\n\r\n",
        "GET / HTTP/0.9\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        check_refused(&stream(head), 505);
    }
    for expectation in ["x", "100-continue, x", "x 100-continue", "200-ok", ""] {
        let fields = format!("Expect: {expectation}\r\nContent-Length: 5");
        check_refused(&post(&fields, "hello"), 417);
    }
    // What is framed well passes, whatever its fields ask of the next hop.
    for fields in [
        "Connection: Content-Length\r\nContent-Length: 5",
        "Connection: keep-alive, Transfer-Encoding, Host\r\nContent-Length: 5",
        "Connection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\nContent-Length: 5",
        "Expect: 100-continue\r\nContent-Length: 5",
        "TE: chunked\r\nTrailer: Content-Length\r\nContent-Length: 5",
        "X-Gate-Request: 1\r\nX-Gate-Peer: 6.6.6.6\r\nContent-Length: 5",
    ] {
        check_read(&post(fields, "hello"), "hello");
    }
    // After the last request of a connection nothing is read.
    for head in [
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    ] {
        let (requests, end) = compare(&stream(head));
        assert_eq!((requests.len(), end), (1, End::Closed), "{head:?}");
    }
    // Bodies of methods that seldom have one are bodies.
    for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
        let head = format!("{method} / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
        check_read(&stream(&head), "hello");
    }
}
