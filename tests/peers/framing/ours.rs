//! The gate's reading of a whole stream, in comparable form.

use dynamic_mcp::gate::framing::{Reader, Reading, Request};

pub const MAX_BODY_BYTES: usize = 1 << 20;

/// How a reading of a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// More bytes were awaited.
    Open,
    /// The last request said that it is the last.
    Closed,
    /// Something was refused, with this status.
    Refused(u16),
}

/// Reads `stream`, handed over in pieces that end at `cuts`.
pub fn read(stream: &[u8], cuts: &[usize]) -> (Vec<Request>, End) {
    let mut reader = Reader::new(MAX_BODY_BYTES);
    let mut requests = Vec::new();
    let mut from = 0;
    for &to in cuts.iter().chain([&stream.len()]) {
        reader.push(&stream[from..to]);
        from = to;
        loop {
            match reader.read() {
                Reading::Incomplete => break,
                Reading::Refused(status) => return (requests, End::Refused(status)),
                Reading::Request(request) => {
                    let is_last = request.is_last;
                    requests.push(request);
                    if is_last {
                        return (requests, End::Closed);
                    }
                }
            }
        }
    }
    (requests, End::Open)
}

/// The first value of a field in the relayed head.
pub fn relayed_field<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let end = request.relayed.len() - request.body.len();
    let head = str::from_utf8(&request.relayed[..end]).expect("a head is ASCII");
    head.lines().find_map(|line| {
        let (field, value) = line.split_once(": ")?;
        field.eq_ignore_ascii_case(name).then_some(value)
    })
}
