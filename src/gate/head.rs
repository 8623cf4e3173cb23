//! Request heads: from raw bytes to a checked [`Head`] and the bytes a private server gets instead.
//! Pure. What two HTTP parties might read differently is refused here, so that nothing behind has
//! to wonder.

use super::answer::Refusal;
use super::limits::{MAX_HEAD_BYTES, MAX_HEADERS};
use super::peer::client_address;
use crate::base::address::AddressRange;
use std::io::Write as _;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Range;

/// How the body of a request is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// No body was announced.
    None,
    /// `Content-Length`.
    Length(usize),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// A request head that passed every check.
#[derive(Debug)]
pub struct Head {
    /// Request line and fields for the private server, but for what `into_wire` adds.
    bytes: Vec<u8>,
    method: Range<usize>,
    target: Range<usize>,
    pub(super) framing: Framing,
    pub(super) expects_continue: bool,
    /// The client wants, or by its version gets, no further answer on this connection.
    pub(super) closes: bool,
    /// The client speaks HTTP/1.0 and knows no chunked coding.
    pub(super) is_http_10: bool,
    pub(super) request_id: Option<String>,
}

/// A refused request, with its id when it had a good one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rejected {
    pub(super) refusal: Refusal,
    pub(super) request_id: Option<String>,
}

impl From<Refusal> for Rejected {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            request_id: None,
        }
    }
}

/// Where a request comes from, for `X-Gate-Peer`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) peer: IpAddr,
    pub(super) trusted_proxies: &'a [AddressRange],
}

impl Head {
    /// The request method, such as `POST`.
    pub fn method(&self) -> &str {
        self.text(&self.method)
    }

    /// The request target in origin form, such as `/mcp?x=1`.
    pub fn target(&self) -> &str {
        self.text(&self.target)
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        let target = self.target();
        target.split_once('?').map_or(target, |(path, _)| path)
    }

    /// Names and values of the fields that are passed on.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let text = self.text(&(self.target.end..self.bytes.len()));
        text.split("\r\n")
            .skip(1)
            .filter_map(|line| line.split_once(": "))
    }

    fn text(&self, range: &Range<usize>) -> &str {
        let bytes = self.bytes.get(range.clone()).unwrap_or_default();
        str::from_utf8(bytes).unwrap_or_default()
    }

    /// Bytes this head occupies.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// The head for the private server: of the request with this `number`, whose body turned out to
    /// have `body_bytes`.
    pub(super) fn into_wire(self, number: u64, body_bytes: usize) -> Vec<u8> {
        let mut bytes = self.bytes;
        let _ = write!(bytes, "X-Gate-Request: {number}\r\n");
        if self.framing != Framing::None {
            let _ = write!(bytes, "Content-Length: {body_bytes}\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }

    /// Reads a whole head, its empty line included (as [`head_end`] found it).
    pub(super) fn parse(raw: &[u8], origin: Origin<'_>) -> Result<Self, Rejected> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(raw) {
            // The parser skips empty lines at the start; the one allowed is not part of `raw`.
            Ok(_) if raw.starts_with(b"\r") => {
                return Err(Refusal::Malformed("request line is empty").into());
            }
            Ok(httparse::Status::Complete(length)) if length == raw.len() => {}
            Ok(_) => return Err(Refusal::Malformed("request head is not well-formed").into()),
            Err(error) => return Err(syntax_refusal(error, raw).into()),
        }
        let request_id = request
            .headers
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case("x-request-id"))
            .and_then(|field| request_id(field.value));
        match Self::check(&request, origin) {
            Ok(head) => Ok(Self { request_id, ..head }),
            Err(refusal) => Err(Rejected {
                refusal,
                request_id,
            }),
        }
    }

    fn check(request: &httparse::Request<'_, '_>, origin: Origin<'_>) -> Result<Self, Refusal> {
        let is_http_10 = request.version == Some(0);
        let facts = Facts::gather(request.headers)?;
        let framing = facts.framing(is_http_10)?;
        let method = request.method.unwrap_or_default();
        if method == "CONNECT" {
            return Err(Refusal::Malformed("CONNECT opens no tunnel here"));
        }
        let (authority, target) = split_target(request.path.unwrap_or_default())?;
        if facts.host.is_none() && !is_http_10 {
            return Err(Refusal::Malformed("host is missing"));
        }
        let host = authority.or(facts.host);
        if host.is_some_and(|host| !is_host(host)) {
            return Err(Refusal::Malformed("host is not well-formed"));
        }
        if facts.expects == Some(false) {
            return Err(Refusal::UnknownExpectation);
        }
        let peer = client_address(origin.peer, &facts.forwarded, origin.trusted_proxies);
        let mut bytes = Vec::with_capacity(512);
        let _ = write!(bytes, "{method} {target} HTTP/1.1\r\n");
        if let Some(host) = host {
            let _ = write!(bytes, "Host: {host}\r\n");
        }
        let _ = write!(bytes, "X-Gate-Peer: {peer}\r\n");
        for field in request.headers.iter().filter(|field| !is_ours(field.name)) {
            bytes.extend_from_slice(field.name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(field.value);
            bytes.extend_from_slice(b"\r\n");
        }
        let target_start = method.len() + 1;
        Ok(Self {
            bytes,
            method: 0..method.len(),
            target: target_start..target_start + target.len(),
            framing,
            expects_continue: facts.expects == Some(true) && !is_http_10,
            closes: is_http_10 || facts.closes,
            is_http_10,
            request_id: None,
        })
    }
}

/// Where the head in `buffer` ends, its empty line included, if it ends there. `scanned` bytes were
/// looked at before. Refuses at once what no later byte can mend.
pub(super) fn head_end(buffer: &[u8], scanned: usize) -> Result<Option<usize>, Refusal> {
    let mut previous = scanned.checked_sub(1).and_then(|i| buffer.get(i).copied());
    for (index, &byte) in buffer.iter().enumerate().skip(scanned) {
        if index >= MAX_HEAD_BYTES {
            return Err(Refusal::HeadTooLarge);
        }
        match (previous, byte) {
            (Some(b'\r'), b'\n') => {
                if buffer
                    .get(..=index)
                    .unwrap_or_default()
                    .ends_with(b"\r\n\r\n")
                {
                    return Ok(Some(index + 1));
                }
            }
            (Some(b'\r'), _) => return Err(Refusal::Malformed("bare CR in request head")),
            (_, b'\n') => return Err(Refusal::Malformed("bare LF in request head")),
            (_, b'\t' | b'\r' | b' '..=b'~') => {}
            _ => {
                return Err(Refusal::Malformed(
                    "control or non-ASCII byte in request head",
                ));
            }
        }
        previous = Some(byte);
    }
    Ok(None)
}

/// What the fields say about the message itself.
#[derive(Debug, Default)]
struct Facts<'a> {
    host: Option<&'a str>,
    content_length: Option<&'a str>,
    transfer_encoding: Option<&'a str>,
    /// `Expect` was given, and is the one that is understood.
    expects: Option<bool>,
    closes: bool,
    forwarded: Vec<&'a str>,
}

impl<'a> Facts<'a> {
    fn gather(fields: &[httparse::Header<'a>]) -> Result<Self, Refusal> {
        let mut facts = Self::default();
        for field in fields {
            // `head_end` let ASCII only pass.
            let value = str::from_utf8(field.value).unwrap_or_default();
            let named = |name| field.name.eq_ignore_ascii_case(name);
            if named("host") {
                set_once(&mut facts.host, value, "host is given twice")?;
            } else if named("content-length") {
                set_once(
                    &mut facts.content_length,
                    value,
                    "content-length is given twice",
                )?;
            } else if named("transfer-encoding") {
                let twice = "transfer-encoding is given twice";
                set_once(&mut facts.transfer_encoding, value, twice)?;
            } else if named("expect") {
                facts.expects = Some(value.eq_ignore_ascii_case("100-continue"));
            } else if named("connection") {
                let mut options = value.split(',').map(str::trim);
                facts.closes |= options.any(|option| option.eq_ignore_ascii_case("close"));
            } else if named("x-forwarded-for") {
                facts.forwarded.push(value);
            }
        }
        Ok(facts)
    }

    fn framing(&self, is_http_10: bool) -> Result<Framing, Refusal> {
        match (self.transfer_encoding, self.content_length) {
            (None, None) => Ok(Framing::None),
            (None, Some(length)) => body_length(length).map(Framing::Length),
            (Some(_), Some(_)) => Err(Refusal::Malformed(
                "content-length and transfer-encoding exclude each other",
            )),
            (Some(_), None) if is_http_10 => {
                Err(Refusal::Malformed("HTTP/1.0 has no transfer-encoding"))
            }
            (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
            (Some(_), None) => Err(Refusal::UnknownCoding),
        }
    }
}

fn set_once<'a>(
    slot: &mut Option<&'a str>,
    value: &'a str,
    twice: &'static str,
) -> Result<(), Refusal> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Refusal::Malformed(twice)),
    }
}

/// Digits only: no sign, no list. A number beyond the machine's is too large, not malformed.
fn body_length(text: &str) -> Result<usize, Refusal> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::Malformed("content-length is not a number"));
    }
    text.parse().map_err(|_| Refusal::BodyTooLarge)
}

/// The authority (absolute form only, RFC 9112 §3.2.2) and the origin form of a target. Authority
/// form and `*` belong to CONNECT and server-wide OPTIONS, which nothing here serves.
fn split_target(target: &str) -> Result<(Option<&str>, &str), Refusal> {
    const MALFORMED: Refusal = Refusal::Malformed("request target is not a path");
    if !target.bytes().all(is_target_byte) {
        return Err(MALFORMED);
    }
    if target.starts_with('/') {
        return Ok((None, target));
    }
    let (scheme, rest) = target.split_once("://").ok_or(MALFORMED)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(MALFORMED);
    }
    match rest.find(['/', '?']).map(|at| rest.split_at(at)) {
        None => Ok((Some(rest), "/")),
        Some((authority, path)) if path.starts_with('/') => Ok((Some(authority), path)),
        Some(_) => Err(MALFORMED),
    }
}

/// What may stand in a URI (RFC 3986 §2), but for `#`: a fragment is never sent.
fn is_target_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=%".contains(&byte)
}

/// A registered name or address with an optional port, without user information (RFC 3986 §3.2).
fn is_host(host: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte);
    let (name_fits, port) = match host.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(None) => return false,
        Some(Some((address, port))) => (address.parse::<Ipv6Addr>().is_ok(), port),
        None => {
            let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
            (!name.is_empty() && name.bytes().all(allowed), port)
        }
    };
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let port_fits = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|digits| is_port(digits) && digits.parse::<u16>().is_ok());
    name_fits && port_fits
}

/// 1–128 visible ASCII characters, as an answer may repeat them.
fn request_id(value: &[u8]) -> Option<String> {
    let good = (1..=128).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic);
    let text = str::from_utf8(value).ok().filter(|_| good)?;
    Some(text.to_owned())
}

/// Fields that are the gate's own business and not passed on as the client wrote them.
fn is_ours(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "host",
        "content-length",
        "connection",
        "keep-alive",
        "transfer-encoding",
        "te",
        "trailer",
        "expect",
        "upgrade",
    ];
    NAMES.iter().any(|ours| name.eq_ignore_ascii_case(ours))
        || has_prefix(name, "proxy-")
        || has_prefix(name, "x-gate-")
}

/// Whether a field name starts with `prefix` in any case.
pub(super) fn has_prefix(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn syntax_refusal(error: httparse::Error, raw: &[u8]) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::HeadTooLarge,
        httparse::Error::Version if names_a_version(raw) => Refusal::UnsupportedVersion,
        _ => Refusal::Malformed("request head is not well-formed"),
    }
}

/// Whether the request line is of three parts and ends in a version, even if not one of ours.
fn names_a_version(raw: &[u8]) -> bool {
    let line = raw.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut parts = line.split(|&byte| byte == b' ');
    matches!(
        (parts.nth(2), parts.next()),
        (Some([b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', rest @ ..]), None)
            if matches!(rest, [] | [b'.', b'0'..=b'9'])
    )
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
