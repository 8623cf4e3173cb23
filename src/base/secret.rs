//! Text that must never be printed.

/// A secret: neither `Debug` nor `Display` shows it; [`Secret::reveal`] is the only way in.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that must send or compare it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares in time that depends on the lengths only, so that answers tell nothing
    /// about a guess.
    pub fn matches(&self, guess: &str) -> bool {
        let (secret, guess) = (self.0.as_bytes(), guess.as_bytes());
        let mut differing = u8::from(secret.len() != guess.len());
        for (index, byte) in guess.iter().enumerate() {
            let expected = secret
                .get(index % secret.len().max(1))
                .copied()
                .unwrap_or(0);
            differing |= std::hint::black_box(byte ^ expected);
        }
        differing == 0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(****)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_printed_and_compared_whole() {
        let secret = Secret::new("open sesame");
        assert!(!format!("{secret:?}").contains("sesame"));
        assert!(secret.matches("open sesame"));
        for wrong in [
            "",
            "open",
            "open sesam3",
            "open sesame!",
            "open sesameopen sesame",
        ] {
            assert!(!secret.matches(wrong), "{wrong}");
        }
        assert!(!Secret::new("").matches("x"));
    }
}
