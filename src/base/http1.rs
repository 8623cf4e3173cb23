//! The client side of HTTP/1.1 (RFC 9112) over any byte stream: writes one request, reads one
//! answer. It opens no sockets and keeps no connections: whoever calls it brings a stream with its
//! deadline.

use std::fmt;
use std::io::{self, BufRead, Read, Write};

/// Longest response head that is read, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Most header fields in a response.
const MAX_HEADERS: usize = 100;
/// Longest line that announces a chunk, in bytes.
const MAX_CHUNK_LINE_BYTES: u64 = 1024;

/// Why an exchange failed.
#[derive(Debug)]
pub enum Error {
    /// The stream failed or its deadline passed.
    Io(io::Error),
    /// The peer does not speak HTTP/1.1; the text says what was wrong.
    Protocol(&'static str),
    /// The body is longer than the caller allows.
    TooLarge,
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(formatter, "{error}"),
            Self::Protocol(what) => write!(formatter, "the answer is not HTTP/1.1: {what}"),
            Self::TooLarge => formatter.write_str("the answer is larger than allowed"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Head of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Status code.
    pub status: u16,
    /// Field names in lower case, values as text without surrounding blanks.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first value of a field, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Writes one request with a body of known length.
///
/// # Errors
/// As the stream says.
pub fn write_request(
    stream: &mut impl Write,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<()> {
    let mut request = format!("{method} {target} HTTP/1.1\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let mut bytes = request.into_bytes();
    bytes.extend_from_slice(body);
    stream.write_all(&bytes)?;
    stream.flush()
}

/// Reads the head of the final answer; interim 1xx answers other than 101 are passed over.
///
/// # Errors
/// When the stream fails, ends early, or what it carries is no HTTP/1.1 head of bearable size.
pub fn read_head(stream: &mut impl BufRead) -> Result<Head, Error> {
    loop {
        let head = read_one_head(stream)?;
        if !(100..200).contains(&head.status) || head.status == 101 {
            return Ok(head);
        }
    }
}

fn read_one_head(stream: &mut impl BufRead) -> Result<Head, Error> {
    let mut bytes = Vec::new();
    loop {
        let room = MAX_HEAD_BYTES - bytes.len();
        let limit = u64::try_from(room).unwrap_or(u64::MAX);
        if stream.by_ref().take(limit).read_until(b'\n', &mut bytes)? == 0 {
            return Err(Error::Protocol(
                "it ends within its head, or the head is too long",
            ));
        }
        if bytes.ends_with(b"\r\n\r\n") || bytes.ends_with(b"\n\n") {
            return parse_head(&bytes);
        }
    }
}

fn parse_head(bytes: &[u8]) -> Result<Head, Error> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        _ => return Err(Error::Protocol("its head cannot be read")),
    }
    let status = response.code.ok_or(Error::Protocol("it has no status"))?;
    let headers = response
        .headers
        .iter()
        .map(|field| {
            let value = String::from_utf8_lossy(field.value).trim().to_owned();
            (field.name.to_ascii_lowercase(), value)
        })
        .collect();
    Ok(Head { status, headers })
}

/// How far an answer's body goes (RFC 9112, section 6.3).
#[derive(Debug)]
enum Extent {
    Left(u64),
    /// Bytes left of the current chunk; `None` before the first and after the last.
    Chunked {
        left: u64,
        finished: bool,
    },
    UntilClose,
}

/// The body of an answer as a reader that ends where the body ends.
#[derive(Debug)]
pub struct Body<R> {
    stream: R,
    extent: Extent,
}

impl<R: BufRead> Body<R> {
    /// The body that follows `head` on `stream`.
    ///
    /// # Errors
    /// When the head announces a length that is no number.
    pub fn new(stream: R, head: &Head) -> Result<Self, Error> {
        let chunked = head
            .header("transfer-encoding")
            .is_some_and(|coding| coding.to_ascii_lowercase().contains("chunked"));
        let extent = if matches!(head.status, 101 | 204 | 304) {
            Extent::Left(0)
        } else if chunked {
            Extent::Chunked {
                left: 0,
                finished: false,
            }
        } else if let Some(length) = head.header("content-length") {
            let length = length
                .parse()
                .map_err(|_| Error::Protocol("its length is no number"))?;
            Extent::Left(length)
        } else {
            Extent::UntilClose
        };
        Ok(Self { stream, extent })
    }

    /// The whole body, of at most `limit` bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond the limit, and whatever the stream says.
    pub fn read_all(mut self, limit: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let one_more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        self.by_ref().take(one_more).read_to_end(&mut bytes)?;
        if bytes.len() > limit {
            Err(Error::TooLarge)
        } else {
            Ok(bytes)
        }
    }

    fn start_chunk(&mut self) -> io::Result<u64> {
        let size = self.chunk_line()?;
        let digits = size.split(';').next().unwrap_or_default().trim();
        u64::from_str_radix(digits, 16).map_err(|_| invalid("a chunk's size is no number"))
    }

    fn chunk_line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.stream
            .by_ref()
            .take(MAX_CHUNK_LINE_BYTES)
            .read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Err(invalid("a chunk's line does not end"));
        }
        Ok(String::from_utf8_lossy(&line).trim().to_owned())
    }

    fn read_bounded(&mut self, buffer: &mut [u8], left: u64) -> io::Result<usize> {
        let room = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let target = buffer.get_mut(..room).unwrap_or_default();
        let count = self.stream.read(target)?;
        if count == 0 && room > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(count)
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl<R: BufRead> Read for Body<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        match self.extent {
            Extent::UntilClose => self.stream.read(buffer),
            Extent::Left(0) | Extent::Chunked { finished: true, .. } => Ok(0),
            Extent::Left(left) => {
                let count = self.read_bounded(buffer, left)?;
                self.extent = Extent::Left(left - count as u64);
                Ok(count)
            }
            Extent::Chunked { left: 0, .. } => {
                let left = self.start_chunk()?;
                if left == 0 {
                    while !self.chunk_line()?.is_empty() {}
                    self.extent = Extent::Chunked {
                        left,
                        finished: true,
                    };
                    return Ok(0);
                }
                self.extent = Extent::Chunked {
                    left,
                    finished: false,
                };
                self.read(buffer)
            }
            Extent::Chunked { left, .. } => {
                let count = self.read_bounded(buffer, left)?;
                let left = left - count as u64;
                if left == 0 && !self.chunk_line()?.is_empty() {
                    return Err(invalid("a chunk is longer than its size"));
                }
                self.extent = Extent::Chunked {
                    left,
                    finished: false,
                };
                Ok(count)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    /// Hands out `step` bytes a read, so that every boundary falls somewhere.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(buffer.len()).min(self.0.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn exchange(bytes: &[u8], step: usize) -> Result<(u16, Vec<u8>), Error> {
        let mut stream = BufReader::with_capacity(step.max(1), Slow(bytes, step));
        let head = read_head(&mut stream)?;
        let status = head.status;
        Ok((status, Body::new(stream, &head)?.read_all(64)?))
    }

    #[test]
    fn each_framing_at_every_read_size() {
        let check = |bytes: &[u8], status: u16, body: &[u8]| {
            for step in 1..=bytes.len() {
                assert_eq!(
                    exchange(bytes, step).unwrap(),
                    (status, body.to_vec()),
                    "{step}"
                );
            }
        };
        check(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokrest",
            200,
            b"ok",
        );
        check(b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"");
        check(b"HTTP/1.0 200 OK\r\n\r\nuntil close", 200, b"until close");
        check(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nT: x\r\n\r\n",
            200,
            b"abcd",
        );
        check(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 C\r\nContent-Length: 0\r\n\r\n",
            201,
            b"",
        );
    }

    #[test]
    fn every_truncation_is_an_error() {
        let whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        for length in 0..whole.len() {
            assert!(exchange(&whole[..length], 7).is_err(), "{length}");
        }
    }

    #[test]
    fn bounds_hold() {
        let long = format!(
            "HTTP/1.1 200 OK\r\nX: {}\r\n\r\n",
            "y".repeat(MAX_HEAD_BYTES)
        );
        assert!(matches!(
            exchange(long.as_bytes(), 4096),
            Err(Error::Protocol(_))
        ));
        let body = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 65\r\n\r\n{}",
            "z".repeat(65)
        );
        assert!(matches!(
            exchange(body.as_bytes(), 4096),
            Err(Error::TooLarge)
        ));
        let lies = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n";
        assert!(exchange(lies, 4096).is_err());
    }
}
