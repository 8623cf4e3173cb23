//! Node's HTTP server, a parser of other descent than ours and hyper's: as far as both take a
//! stream, both find the same requests in it. Node refuses some of what passes here, and the gate
//! some of what Node takes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use dynamic_mcp::gate::framing::Request;
use peers::random::Random;
use peers::requests::stream;
use serde_json::Value;

use crate::ours::{self, End, relayed_field};

const STREAMS: usize = 30_000;

/// Whether Node's `[method, url, host, body]` is this request.
fn is_same(theirs: &Value, ours: &Request) -> bool {
    let text = |index: usize| theirs[index].as_str();
    // Bytes as the characters of the same numbers.
    let body: Vec<u8> = text(3).unwrap().chars().map(|byte| byte as u8).collect();
    let (url, host) = (text(1).unwrap(), relayed_field(ours, "host"));
    let target_fits = match url.split_once("://") {
        // As it came, in absolute form.
        Some((_, rest)) => {
            let from_path = rest.find('/').map_or("/", |at| &rest[at..]);
            let authority = rest.split('/').next();
            from_path == ours.target && authority == host
        }
        None => url == ours.target && text(2) == host,
    };
    target_fits && text(0) == Some(&ours.method) && body == ours.body
}

#[test]
fn what_both_take_both_read_alike() {
    let mut random = Random::new(0x10DE);
    let streams: Vec<_> = (0..STREAMS).map(|_| stream(&mut random)).collect();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/framing/reader.mjs");
    let mut node = Command::new("node")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node is on PATH");
    let mut input = node.stdin.take().unwrap();
    let lines = BufReader::new(node.stdout.take().unwrap()).lines();
    let (mut both, mut ended) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for stream in &streams {
                writeln!(input, "{}", stream.len()).unwrap();
                input.write_all(stream).unwrap();
            }
            drop(input);
        });
        for (stream, line) in streams.iter().zip(lines) {
            let answer: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let theirs = answer["seen"].as_array().unwrap();
            let (ours, end) = ours::read(stream, &[]);
            let shown = String::from_utf8_lossy(stream);
            let pairs = theirs.iter().zip(&ours);
            both += pairs.clone().count();
            let alike = pairs.clone().all(|(theirs, ours)| is_same(theirs, ours));
            let they_ended = answer["ended"] == true;
            let same_end = match theirs.len().cmp(&ours.len()) {
                std::cmp::Ordering::Equal => true,
                std::cmp::Ordering::Less => they_ended,
                std::cmp::Ordering::Greater => end != End::Open,
            };
            assert!(
                alike && same_end,
                "{shown:?}\nours {ours:?} {end:?}\ntheirs {answer}"
            );
            ended += usize::from(they_ended);
        }
    });
    assert!(node.wait().unwrap().success());
    println!("{both} requests read by both, {ended} streams ended by Node");
    assert!(both > STREAMS / 4 && ended > STREAMS / 4);
}
