//! Bounded text.

/// The longest prefix of `text` of at most `max_bytes` bytes that ends on a character boundary.
pub fn clip(text: &str, max_bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(max_bytes))
        .unwrap_or(text)
}

/// The last bytes of a stream: keeps `capacity` of them, as text with broken UTF-8 replaced.
#[derive(Debug, Default)]
pub struct Tail {
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
        let surplus = (self.bytes.len() + fresh.len()).saturating_sub(self.capacity);
        self.bytes.drain(..surplus.min(self.bytes.len()));
        self.bytes.extend_from_slice(fresh);
    }

    /// What is kept, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_on_character_boundaries() {
        assert_eq!(clip("añb", 2), "a");
        assert_eq!(clip("añb", 3), "añ");
        assert_eq!(clip("añb", 99), "añb");
    }

    #[test]
    fn tail_keeps_the_last_bytes() {
        let mut tail = Tail::new(4);
        tail.push(b"ab");
        tail.push(b"cde");
        assert_eq!(tail.text(), "bcde");
        tail.push(b"0123456789");
        assert_eq!(tail.text(), "6789");
    }
}
