//! Incremental decoder of the chunked transfer coding (RFC 9112 §7.1). Pure; strict about line
//! ends, so that no two parties can disagree where a body stops. Extensions and trailers are
//! bounded and dropped.

/// Most bytes of extensions and trailers in one body: they are read for nothing.
const MAX_OVERHEAD_BYTES: usize = 4096;

/// Why a body cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChunkError {
    /// Not the chunked coding, or too much overhead.
    Malformed,
    /// More data than allowed.
    TooLarge,
}

/// Where in the coding the next byte belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Size { digits: u8 },
    Extension,
    SizeEnd,
    Data,
    DataReturn,
    DataEnd,
    TrailerStart,
    TrailerName,
    Trailer,
    TrailerEnd,
    LastEnd,
    Done,
}

/// Decoder of one body.
#[derive(Debug)]
pub(super) struct Decoder {
    place: Place,
    /// The size being read, then what is left of the chunk.
    remaining: usize,
    decoded: usize,
    overhead: usize,
    max_bytes: usize,
}

impl Decoder {
    /// A decoder that refuses bodies of more than `max_bytes`.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            place: Place::Size { digits: 0 },
            remaining: 0,
            decoded: 0,
            overhead: 0,
            max_bytes,
        }
    }

    /// Whether the body is complete.
    pub(super) fn is_done(&self) -> bool {
        self.place == Place::Done
    }

    /// Decodes from the front of `input` into `sink`, up to the end of the body; returns how many
    /// bytes of `input` were used.
    pub(super) fn decode(
        &mut self,
        input: &[u8],
        sink: &mut impl FnMut(&[u8]),
    ) -> Result<usize, ChunkError> {
        let mut used = 0;
        while let (Some(&byte), false) = (input.get(used), self.is_done()) {
            if self.place == Place::Data {
                let rest = input.get(used..).unwrap_or_default();
                let data = rest.get(..self.remaining).unwrap_or(rest);
                sink(data);
                used += data.len();
                self.remaining -= data.len();
                if self.remaining == 0 {
                    self.place = Place::DataReturn;
                }
            } else {
                self.place = self.step(byte)?;
                used += 1;
            }
        }
        Ok(used)
    }

    /// The place after one byte outside chunk data.
    fn step(&mut self, byte: u8) -> Result<Place, ChunkError> {
        match (self.place, byte) {
            (Place::Size { digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.size_digit(digits, byte)
            }
            (Place::Size { digits: 1.. } | Place::Extension, b'\r') => Ok(Place::SizeEnd),
            // Parsers disagree about blanks here: none are taken.
            (Place::Size { digits: 1.. }, b';') => self.dropped(Place::Extension),
            (Place::Extension, b'\t' | b' '..=b'~') => self.dropped(Place::Extension),
            (Place::SizeEnd, b'\n') if self.remaining == 0 => Ok(Place::TrailerStart),
            (Place::SizeEnd, b'\n') => self.data_start(),
            (Place::DataReturn, b'\r') => Ok(Place::DataEnd),
            (Place::DataEnd, b'\n') => Ok(Place::Size { digits: 0 }),
            (Place::TrailerStart, b'\r') => Ok(Place::LastEnd),
            (Place::Trailer, b'\r') => Ok(Place::TrailerEnd),
            (Place::TrailerStart | Place::TrailerName, byte) if is_token(byte) => {
                self.dropped(Place::TrailerName)
            }
            (Place::TrailerName, b':') => self.dropped(Place::Trailer),
            (Place::Trailer, b'\t' | b' '..=b'~') => self.dropped(Place::Trailer),
            (Place::TrailerEnd, b'\n') => Ok(Place::TrailerStart),
            (Place::LastEnd, b'\n') => Ok(Place::Done),
            _ => Err(ChunkError::Malformed),
        }
    }

    fn size_digit(&mut self, digits: u8, byte: u8) -> Result<Place, ChunkError> {
        if digits == 16 {
            return Err(ChunkError::Malformed);
        }
        let digit = char::from(byte).to_digit(16).unwrap_or(0);
        self.remaining = self
            .remaining
            .checked_mul(16)
            .and_then(|size| size.checked_add(usize::try_from(digit).ok()?))
            .ok_or(ChunkError::TooLarge)?;
        Ok(Place::Size { digits: digits + 1 })
    }

    fn data_start(&mut self) -> Result<Place, ChunkError> {
        self.decoded = self.decoded.saturating_add(self.remaining);
        if self.decoded > self.max_bytes {
            return Err(ChunkError::TooLarge);
        }
        Ok(Place::Data)
    }

    fn dropped(&mut self, next: Place) -> Result<Place, ChunkError> {
        self.overhead += 1;
        if self.overhead > MAX_OVERHEAD_BYTES {
            return Err(ChunkError::Malformed);
        }
        Ok(next)
    }
}

/// A byte of a field name (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::tests::{every_split, mutated};

    /// Body, unused bytes and whether the body is complete.
    type Outcome = Result<(Vec<u8>, usize, bool), ChunkError>;

    fn decode_parts(parts: &[&[u8]], max_bytes: usize) -> Outcome {
        let mut decoder = Decoder::new(max_bytes);
        let (mut body, mut unused) = (Vec::new(), 0);
        for part in parts {
            let used = decoder.decode(part, &mut |data| body.extend_from_slice(data))?;
            unused += part.len() - used;
        }
        Ok((body, unused, decoder.is_done()))
    }

    #[test]
    fn bodies_at_every_split_point() {
        let check = |input: &str, body: &str, unused: usize| {
            for parts in every_split(input.as_bytes()) {
                let expected = Ok((body.as_bytes().to_vec(), unused, true));
                assert_eq!(decode_parts(&parts, 64), expected, "{parts:?}");
            }
            for end in 0..input.len() - unused {
                let outcome = decode_parts(&[&input.as_bytes()[..end]], 64).unwrap();
                assert!(!outcome.2, "complete after {end} bytes of {input}");
            }
        };
        check("0\r\n\r\n", "", 0);
        check("5\r\nhello\r\n0\r\n\r\nGET", "hello", 3);
        check(
            "5;a=b\r\nhello\r\n00A;\r\n0123456789\r\n000\r\n\r\n",
            "hello0123456789",
            0,
        );
        check(
            "1\r\n\r\r\n1\r\n\n\r\n0;x\r\nTrailer: x\r\nY: z\r\n\r\n",
            "\r\n",
            0,
        );
    }

    #[test]
    fn what_is_not_chunked_is_refused() {
        let malformed = [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            " 1\r\n",
            "1 \r\n",
            "1\t;a\r\n",
            "1\n",
            "1\r\r",
            "1;\u{1}\r\n",
            "1\r\nab\r\n",
            "1\r\na\n",
            "1\r\na\r0",
            "0\r\n\n",
            "0\r\n\r\r",
            "0\r\nA: b\n",
            "0\r\nno colon\r\n",
            "0\r\n: no name\r\n",
            "0\r\n folded: x\r\n",
            "0\r\nA : b\r\n",
            "0\r\nA\r\n",
            ";\r\n",
            "00000000000000001\r\n",
        ];
        for text in malformed {
            let outcome = decode_parts(&[text.as_bytes()], 64);
            assert_eq!(outcome, Err(ChunkError::Malformed), "{text:?}");
        }
        for text in ["41\r\n", "40\r\n0123456789", "FFFFFFFFFFFFFFFF\r\n"] {
            let limit = if text.starts_with("40") { 63 } else { 64 };
            let outcome = decode_parts(&[text.as_bytes()], limit);
            assert_eq!(outcome, Err(ChunkError::TooLarge), "{text:?}");
        }
        let padded = |bytes: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(bytes - 1));
        let within = decode_parts(&[padded(MAX_OVERHEAD_BYTES).as_bytes()], 64);
        assert_eq!(within, Ok((b"a".to_vec(), 0, true)));
        let beyond = decode_parts(&[padded(MAX_OVERHEAD_BYTES + 1).as_bytes()], 64);
        assert_eq!(beyond, Err(ChunkError::Malformed));
    }

    #[test]
    fn mutated_bodies_never_pass_the_limit() {
        let valid = b"5;a=b\r\nhello\r\nA\r\n0123456789\r\n0\r\nT: x\r\n\r\n";
        for input in mutated(valid, 20_000) {
            if let Ok((body, _, _)) = decode_parts(&[&input], 20) {
                assert!(body.len() <= 20, "{input:?}");
            }
        }
    }
}
