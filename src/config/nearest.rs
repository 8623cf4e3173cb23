//! "Did you mean": the known name closest to a mistyped one.

/// The closest of `known` by at most three single-character edits; `None` where nothing is that
/// close.
pub(crate) fn nearest<I: IntoIterator<Item = String>>(typed: &str, known: I) -> Option<String> {
    const MAX_EDITS: usize = 3;
    if typed.len() > 80 {
        return None;
    }
    let scored = known.into_iter().map(|name| (edits(typed, &name), name));
    let best = scored.min_by_key(|(distance, _)| *distance)?;
    // Three edits turn any three letters into any others.
    (best.0 <= MAX_EDITS && best.0 * 2 <= typed.len()).then_some(best.1)
}

/// Levenshtein's distance over bytes, one row at a time.
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, byte) in from.bytes().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        let mut next = Vec::with_capacity(row.len());
        next.push(left);
        for (above, other) in row.iter().skip(1).zip(to.bytes()) {
            let changed = diagonal + usize::from(byte != other);
            left = changed.min(above + 1).min(left + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let check = |from: &str, to: &str, expected| assert_eq!(edits(from, to), expected);
        check("", "", 0);
        check("", "abc", 3);
        check("abc", "", 3);
        check("kitten", "sitting", 3);
        check("flaw", "lawn", 2);
        check("--prot", "--port", 2);
    }

    #[test]
    fn only_close_names_are_suggested() {
        let known = || ["--port", "--path", "--host"].map(str::to_owned);
        let check = |typed: &str, expected: Option<&str>| {
            assert_eq!(nearest(typed, known()).as_deref(), expected, "{typed}");
        };
        check("--prt", Some("--port"));
        check("--hots", Some("--host"));
        check("--something-else", None);
        check("-x", None);
        check("", None);
        check(&"-".repeat(100), None);
    }
}
