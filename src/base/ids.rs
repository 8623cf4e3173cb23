//! Unguessable identifiers.

/// `N` bytes from the kernel's random source.
///
/// # Panics
/// When the kernel has no random source: nothing of ours may go on without one.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if let Err(error) = getrandom::fill(&mut bytes) {
        panic!("the kernel's random source failed: {error}");
    }
    bytes
}

/// 32 lower-case hexadecimal digits, 128 random bits.
pub fn random_hex() -> String {
    hex(&random_bytes::<16>())
}

/// Lower-case hexadecimal text of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hex_and_differ() {
        let (one, two) = (random_hex(), random_hex());
        assert_eq!(one.len(), 32);
        assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one, two);
        assert_eq!(hex(&[0, 255, 16]), "00ff10");
    }
}
