//! What a command printed, of which the beginning and the end are kept.

use crate::base::text::Tail;

/// Output as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printed {
    /// Broken UTF-8 is replaced, and a line stands for what was left out.
    pub text: String,
    /// Bytes that were left out.
    pub left_out: u64,
}

/// Keeps the first and the last bytes of a stream.
#[derive(Debug)]
pub(super) struct Capture {
    head: Vec<u8>,
    head_room: usize,
    tail: Tail,
    total: u64,
}

impl Capture {
    /// Keeps at most `room` bytes.
    pub(super) fn new(room: usize) -> Self {
        let head_room = room.div_ceil(2);
        Self {
            head: Vec::new(),
            head_room,
            tail: Tail::new(room - head_room),
            total: 0,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = self.head_room.saturating_sub(self.head.len());
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(first);
        self.tail.push(rest);
    }

    /// Bytes that are kept.
    pub(super) fn kept(&self) -> usize {
        self.head.len() + self.tail.bytes().len()
    }

    pub(super) fn printed(&self) -> Printed {
        let left_out = self.total - self.kept() as u64;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let text = match left_out {
            0 => text(&[&self.head, self.tail.bytes()].concat()),
            _ => format!(
                "{}\n[… {left_out} bytes left out …]\n{}",
                text(&self.head),
                text(self.tail.bytes())
            ),
        };
        Printed { text, left_out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_bytes_stay() {
        let check = |room, pieces: &[&[u8]], text: &str, left_out| {
            let mut capture = Capture::new(room);
            pieces.iter().for_each(|piece| capture.push(piece));
            assert!(capture.kept() <= room);
            let expected = Printed {
                text: text.to_owned(),
                left_out,
            };
            assert_eq!(capture.printed(), expected, "{room} {pieces:?}");
        };
        check(4, &[], "", 0);
        check(4, &[b"a", b"bcd"], "abcd", 0);
        check(4, &[b"abcde"], "ab\n[… 1 bytes left out …]\nde", 1);
        check(
            3,
            &[b"ab", b"cdef", b"g"],
            "ab\n[… 4 bytes left out …]\ng",
            4,
        );
        check(0, &[b"abc"], "\n[… 3 bytes left out …]\n", 3);
        check(
            4,
            &["ñ€".as_bytes()],
            "ñ\n[… 1 bytes left out …]\n\u{fffd}\u{fffd}",
            1,
        );
        check(6, &["ñ".as_bytes(), "€".as_bytes()], "ñ€", 0);
    }
}
