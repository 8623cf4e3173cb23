//! Bounded text, and texts of numbers.

/// The longest prefix of `text` of at most `max_bytes` bytes that ends on a character boundary.
pub fn clip(text: &str, max_bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(max_bytes))
        .unwrap_or(text)
}

/// `1 tool`, `2 tools`: a number with the word for what it counts, which takes an s.
pub fn counted(count: impl TryInto<u64>, word: &str) -> String {
    match count.try_into() {
        Ok(1) => format!("1 {word}"),
        Ok(count) => format!("{count} {word}s"),
        Err(_) => format!("many {word}s"),
    }
}

/// The first `most` names, and how many there are beside them.
pub fn listing(names: &[&str], most: usize) -> String {
    let shown = names.get(..most).unwrap_or(names);
    let text = shown.join(", ");
    match names.len() - shown.len() {
        0 => text,
        more => format!("{text} (and {more} more)"),
    }
}

/// The last bytes of a stream: keeps `capacity` of them, as text with broken UTF-8 replaced.
#[derive(Debug, Default)]
pub struct Tail {
    /// At most twice the capacity.
    bytes: Vec<u8>,
    capacity: usize,
}

impl Tail {
    /// A tail of at most `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        Self {
            bytes: Vec::new(),
            capacity,
        }
    }

    /// Adds bytes; the oldest beyond the capacity fall out.
    pub fn push(&mut self, more: &[u8]) {
        let fresh = more
            .get(more.len().saturating_sub(self.capacity)..)
            .unwrap_or(more);
        let length = self.bytes.len() + fresh.len();
        // Seldom, so that not every small piece moves all that is kept.
        if length > self.capacity.saturating_mul(2) {
            let surplus = length - self.capacity;
            self.bytes.drain(..surplus.min(self.bytes.len()));
        }
        self.bytes.extend_from_slice(fresh);
    }

    /// What is kept.
    pub fn bytes(&self) -> &[u8] {
        let surplus = self.bytes.len().saturating_sub(self.capacity);
        self.bytes.get(surplus..).unwrap_or(&self.bytes)
    }

    /// What is kept, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }
}

/// Writes base64 text (RFC 4648, section 4): standard alphabet, padded.
pub fn encode_base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS.get((bits >> (18 - 6 * place) & 63) as usize);
            let is_used = place <= chunk.len();
            text.push(
                digit
                    .filter(|_| is_used)
                    .map_or('=', |digit| char::from(*digit)),
            );
        }
    }
    text
}

/// Reads base64 text (RFC 4648, section 4): standard alphabet, padded, no surplus bits.
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    if !text.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    let (mut bits, mut held, mut bytes) = (0u32, 0u32, Vec::with_capacity(text.len() / 4 * 3));
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).ok()?);
        }
    }
    (bits & ((1 << held) - 1) == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_in_words() {
        let counts = [0usize, 1, 2].map(|count| counted(count, "tool"));
        assert_eq!(counts, ["0 tools", "1 tool", "2 tools"]);
        let names = ["a", "b", "c"];
        let check = |most, expected| assert_eq!(listing(&names, most), expected);
        check(4, "a, b, c");
        check(3, "a, b, c");
        check(1, "a (and 2 more)");
    }

    #[test]
    fn clips_on_character_boundaries() {
        assert_eq!(clip("añb", 2), "a");
        assert_eq!(clip("añb", 3), "añ");
        assert_eq!(clip("añb", 99), "añb");
    }

    #[test]
    fn base64_is_strict() {
        let check = |text: &str, expected: Option<&[u8]>| {
            assert_eq!(decode_base64(text).as_deref(), expected, "{text}");
        };
        check("", Some(b""));
        check("aGk=", Some(b"hi"));
        check("aGkh", Some(b"hi!"));
        check("/+8=", Some(&[0xff, 0xef]));
        for wrong in ["aGk", "aGk==", "a===", "aGl=x", "aG k", "aGl=", "-_8="] {
            check(wrong, None);
        }
    }

    #[test]
    fn base64_comes_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        for length in 0..=bytes.len() {
            let (bytes, _) = bytes.split_at(length);
            let text = encode_base64(bytes);
            assert_eq!(decode_base64(&text).as_deref(), Some(bytes), "{text}");
        }
        assert_eq!(encode_base64(b"hi"), "aGk=");
    }

    #[test]
    fn tail_keeps_the_last_bytes() {
        let mut tail = Tail::new(4);
        tail.push(b"ab");
        tail.push(b"cde");
        assert_eq!(tail.text(), "bcde");
        tail.push(b"0123456789");
        assert_eq!(tail.text(), "6789");
        for digit in b"abcdefghijk" {
            tail.push(&[*digit]);
            assert!(tail.bytes().len() == 4 && tail.bytes.len() <= 8);
        }
        assert_eq!(tail.text(), "hijk");
    }
}
