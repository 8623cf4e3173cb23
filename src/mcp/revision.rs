//! The protocol revisions served.

/// The revision whose requests carry everything themselves.
pub(super) const MODERN: &str = "2026-07-28";
/// What `initialize` answers to a revision it does not know.
const NEWEST_LEGACY: &str = "2025-11-25";
/// What a request without a revision is taken for (2025-06-18, transports, Protocol Version
/// Header).
pub(super) const ASSUMED: &str = "2025-03-26";
/// The only revision with batches.
pub(super) const BATCHING: &str = "2025-03-26";
const LEGACY: [&str; 4] = [NEWEST_LEGACY, "2025-06-18", "2025-03-26", "2024-11-05"];

/// The revision that `initialize` agrees on.
pub(super) fn negotiate(asked: &str) -> &'static str {
    known_legacy(asked).unwrap_or(NEWEST_LEGACY)
}

/// The revision, where a handshake can settle on it.
pub(super) fn known_legacy(revision: &str) -> Option<&'static str> {
    LEGACY.into_iter().find(|known| *known == revision)
}

/// Whether a text is a date of the stateless era, served or not.
pub(super) fn is_modern_date(revision: &str) -> bool {
    let shape = revision
        .bytes()
        .map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
    shape.eq(*b"0000-00-00") && revision >= MODERN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_settle_on_a_legacy_revision() {
        assert_eq!(negotiate("2025-06-18"), "2025-06-18");
        for unknown in ["2026-07-28", "1999-01-01", ""] {
            assert_eq!(negotiate(unknown), "2025-11-25", "{unknown}");
        }
    }

    #[test]
    fn dates_of_the_stateless_era() {
        assert!(is_modern_date("2026-07-28") && is_modern_date("2027-01-01"));
        for other in ["2025-11-25", "v999.0.0", "2026-07-28x", ""] {
            assert!(!is_modern_date(other), "{other}");
        }
    }
}
