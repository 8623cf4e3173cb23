//! Streams of almost-requests: what the gate passes on, hyper reads the same way. The gate may
//! refuse more.

use dynamic_mcp::gate::framing::Request;
use peers::random::Random;
use peers::requests::{SENTINEL, stream};

use crate::oracle::{self, Seen};
use crate::ours::{self, End, relayed_field};

const STREAMS: usize = 100_000;

fn as_seen(request: &Request) -> Seen {
    Seen {
        method: request.method.clone(),
        target: request.target.clone(),
        host: relayed_field(request, "host").map(str::to_owned),
        number: None,
        body: request.body.clone(),
    }
}

/// Compares both readings of a stream; what the gate found.
pub fn compare(stream: &[u8]) -> (Vec<Request>, End) {
    let shown = String::from_utf8_lossy(stream);
    let (requests, end) = ours::read(stream, &[]);
    let (theirs, ended) = oracle::read(stream);
    let theirs: Vec<Seen> = theirs
        .into_iter()
        .map(|seen| Seen {
            number: None,
            ..seen
        })
        .collect();
    let ours: Vec<Seen> = requests.iter().map(as_seen).collect();
    assert!(
        theirs.starts_with(&ours),
        "{shown:?}\nours {ours:#?} {end:?}\ntheirs {theirs:#?} {ended}"
    );
    // Where the gate waits on, a boundary that it missed would show here.
    assert!(
        end != End::Open || theirs.len() == ours.len(),
        "{shown:?}\nours {ours:#?} {end:?}\ntheirs {theirs:#?} {ended}"
    );
    (requests, end)
}

#[test]
fn what_the_gate_passes_on_another_parser_reads_alike() {
    let mut random = Random::new(0x6A7E);
    let (mut passed, mut with_body, mut refused, mut found_all) = (0, 0, 0, 0);
    for _ in 0..STREAMS {
        let stream = stream(&mut random);
        let (requests, end) = compare(&stream);
        // Where the bytes are cut on the way changes nothing.
        let mut cuts = [random.below(stream.len()), random.below(stream.len())];
        cuts.sort_unstable();
        assert_eq!(ours::read(&stream, &cuts), (requests.clone(), end));
        passed += requests.len();
        with_body += requests.iter().filter(|r| !r.body.is_empty()).count();
        refused += usize::from(matches!(end, End::Refused(_)));
        let last = requests.last();
        found_all += usize::from(last.is_some_and(|last| last.target == "/sentinel"));
    }
    println!("{passed} requests passed, {with_body} of them with a body");
    println!("{refused} of {STREAMS} streams refused, {found_all} read to their end");
    assert!(passed > STREAMS / 2 && with_body > STREAMS / 8);
    assert!(refused > STREAMS / 4 && found_all > STREAMS / 8);
}

#[test]
fn what_is_relayed_reads_as_the_same_requests() {
    let mut random = Random::new(0x8E1A);
    for _ in 0..STREAMS / 4 {
        let stream = stream(&mut random);
        let (requests, _) = ours::read(&stream, &[]);
        let relayed: Vec<u8> = requests.iter().flat_map(|r| r.relayed.clone()).collect();
        let (mut theirs, ended) = oracle::read(&[&relayed, SENTINEL].concat());
        let shown = String::from_utf8_lossy(&relayed);
        assert!(!ended, "{shown:?}");
        let sentinel = theirs.pop().unwrap();
        assert_eq!((&*sentinel.target, sentinel.number), ("/sentinel", None));
        let expected: Vec<Seen> = requests
            .iter()
            .enumerate()
            .map(|(index, request)| Seen {
                number: Some((index + 1).to_string()),
                ..as_seen(request)
            })
            .collect();
        assert_eq!(theirs, expected, "{shown:?}");
    }
}
