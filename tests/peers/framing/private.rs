//! The private server behind the gate, on one connection as the gate keeps it: it reads each
//! relayed request as the gate meant it, answers it once, and finds nothing between two of them. In
//! a batch the same bytes are the same request.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use dynamic_mcp::gate::batch::unpack;
use peers::random::Random;
use peers::requests::stream;
use tiny_http::{Header, Response, Server};

use crate::ours;

const REQUESTS: usize = 5_000;
const PATIENCE: Duration = Duration::from_secs(20);

/// Fields that must never come from a client.
const OURS: &[&str] = &[
    "Transfer-Encoding",
    "Connection",
    "Keep-Alive",
    "TE",
    "Trailer",
    "Expect",
    "Upgrade",
    "Proxy-Connection",
];

/// Reads one answer without a body; its `X-Number`.
fn number_of_answer(stream: &mut UnixStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    let number = head
        .lines()
        .find_map(|line| line.strip_prefix("X-Number: "));
    number.unwrap_or_default().to_owned()
}

#[test]
fn the_private_server_finds_no_request_but_those_relayed() {
    let folder = std::env::temp_dir().join(format!("framing-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let server = Server::http_unix(&folder.join("socket")).unwrap();
    let mut connection = UnixStream::connect(folder.join("socket")).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut random = Random::new(0x9A7E);
    let mut relayed = 0;
    while relayed < REQUESTS {
        let stream = stream(&mut random);
        for request in ours::read(&stream, &[]).0 {
            let shown = String::from_utf8_lossy(&request.relayed).into_owned();
            connection.write_all(&request.relayed).unwrap();
            let seen = server.recv_timeout(PATIENCE).unwrap();
            let mut seen = seen.unwrap_or_else(|| panic!("it waits for more: {shown:?}"));
            assert_eq!(seen.method().as_str(), request.method, "{shown:?}");
            assert_eq!(seen.url(), request.target, "{shown:?}");
            let values = |name: &'static str| -> Vec<&str> {
                let fields = seen
                    .headers()
                    .iter()
                    .filter(|field| field.field.equiv(name));
                fields.map(|field| field.value.as_str()).collect()
            };
            for name in OURS {
                assert_eq!(values(name), [""; 0], "{shown:?}");
            }
            let numbers = values("X-Gate-Request").join(",");
            assert_eq!(values("X-Gate-Peer"), ["127.0.0.1"], "{shown:?}");
            assert!(values("Host").len() <= 1 && values("Content-Length").len() <= 1);
            let mut body = Vec::new();
            seen.as_reader().read_to_end(&mut body).unwrap();
            assert_eq!(body, request.body, "{shown:?}");
            let mut rest = &request.relayed[..];
            let packed = unpack(&mut rest).unwrap_or_else(|_| panic!("no batch: {shown:?}"));
            assert!(rest.is_empty(), "{shown:?}");
            assert_eq!(
                (packed.method, packed.target),
                (seen.method().as_str(), seen.url())
            );
            assert_eq!(packed.body, body, "{shown:?}");
            let fields = seen.headers().iter();
            let fields = fields.map(|field| (field.field.as_str().as_str(), field.value.as_str()));
            assert_eq!(packed.fields, fields.collect::<Vec<_>>(), "{shown:?}");
            let number = Header::from_bytes("X-Number", numbers.clone()).unwrap();
            seen.respond(Response::empty(204).with_header(number))
                .unwrap();
            assert_eq!(number_of_answer(&mut connection), numbers);
            relayed += 1;
        }
    }
    assert!(server.try_recv().unwrap().is_none(), "one request too many");
}
