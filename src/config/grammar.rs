//! The grammars of single values: text → number or address, and yes or no. Bounds and words for
//! people are `kind.rs`'s matter.

use std::net::{IpAddr, Ipv4Addr};

use super::kind::{Misfit, NANO};

/// Longest path, in bytes (PATH_MAX of limits.h).
const MAX_PATH_BYTES: usize = 4096;

pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// Digits alone: no sign, no space, no `12abc`. More than a u64 holds is out of any range.
pub(super) fn parse_digits(text: &str) -> Result<u64, Misfit> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Misfit::Malformed);
    }
    text.parse().map_err(|_| Misfit::OutOfRange)
}

/// Suffixes as Docker's `--memory` reads them.
const SUFFIXES: [(&str, u64); 4] = [("b", 1), ("k", 1 << 10), ("m", 1 << 20), ("g", 1 << 30)];

pub(super) fn parse_bytes(text: &str) -> Result<u64, Misfit> {
    let lower = text.to_ascii_lowercase();
    let suffixed = SUFFIXES
        .iter()
        .find_map(|(suffix, unit)| Some((lower.strip_suffix(suffix)?, *unit)));
    let (digits, unit) = suffixed.unwrap_or((&lower, 1));
    let number = parse_digits(digits)?;
    number.checked_mul(unit).ok_or(Misfit::OutOfRange)
}

/// The shortest exact spelling that [`Kind::Bytes`] reads back.
pub(super) fn bytes_in_words(bytes: u64) -> String {
    let unit = SUFFIXES
        .iter()
        .rev()
        .find(|(_, unit)| bytes.is_multiple_of(*unit));
    match unit {
        Some((suffix, unit)) if *unit > 1 && bytes > 0 => format!("{}{suffix}", bytes / unit),
        _ => bytes.to_string(),
    }
}

/// A decimal number as billionths, exactly: at most nine digits after the point.
pub(super) fn parse_nano(text: &str) -> Result<u64, Misfit> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.len() > 9 {
        return Err(Misfit::Malformed);
    }
    let whole = parse_digits(whole)?.checked_mul(NANO);
    let fraction = parse_digits(&format!("{fraction:0<9}"))?;
    whole
        .and_then(|whole| whole.checked_add(fraction))
        .ok_or(Misfit::OutOfRange)
}

pub(super) fn parse_host(text: &str) -> Option<IpAddr> {
    if text == "localhost" {
        return Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match bare {
        Some(six) => six.parse().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

/// A path that is one fixed route: no query, no dots to resolve, no route of the ops endpoints.
pub(super) fn is_http_path(text: &str) -> bool {
    let taken = ["/livez", "/readyz", "/metrics"].contains(&text) || text.starts_with("/.");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    text.starts_with('/')
        && text.len() <= 256
        && !taken
        && (text == "/" || !text.ends_with('/'))
        && !text.contains("//")
        && text.bytes().all(plain)
        && text.split('/').all(|part| part != "." && part != "..")
}

pub(super) fn is_printable(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

pub(super) fn is_visible_ascii(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

pub(super) fn is_scope(text: &str) -> bool {
    is_visible_ascii(text) && text.len() <= 256 && !text.contains(['"', '\\'])
}

pub(super) fn is_runtime(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(allowed)
}

pub(super) fn is_path(text: &str) -> bool {
    is_printable(text) && text.len() <= MAX_PATH_BYTES
}

pub(super) fn is_package(text: &str) -> bool {
    is_visible_ascii(text) && text.len() <= 214
}

pub(super) fn is_sql_identifier(text: &str) -> bool {
    let starts = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    text.bytes().next().is_some_and(starts)
        && text.len() <= 63
        && !text.to_ascii_lowercase().starts_with("pg_")
        && text
            .bytes()
            .all(|byte| starts(byte) || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_addresses() {
        let check = |text: &str, expected: Option<&str>| {
            let address = expected.map(|text| text.parse().unwrap());
            assert_eq!(parse_host(text), address, "{text}");
        };
        check("127.0.0.1", Some("127.0.0.1"));
        check("localhost", Some("127.0.0.1"));
        check("::", Some("::"));
        check("[::1]", Some("::1"));
        for text in [
            "",
            "example.com",
            "127.0.0.1:80",
            "[127.0.0.1]",
            "127.1",
            "[::1",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn paths_that_cannot_be_another_route() {
        for good in ["/", "/mcp", "/a/b-c_d.e~f"] {
            assert!(is_http_path(good), "{good}");
        }
        let bad = [
            "",
            "mcp",
            "/mcp/",
            "//mcp",
            "/a/../b",
            "/a/./b",
            "/mcp?x",
            "/mcp#x",
            "/m cp",
            "/livez",
            "/readyz",
            "/metrics",
            "/.well-known/x",
            "/ä",
            "/%6dcp",
        ];
        for bad in bad {
            assert!(!is_http_path(bad), "{bad}");
        }
    }

    #[test]
    fn schema_names() {
        for good in ["dynamic_mcp", "_a", "A1", &"a".repeat(63)] {
            assert!(is_sql_identifier(good), "{good}");
        }
        for bad in [
            "",
            "1a",
            "a-b",
            "a;b",
            "a\"b",
            "pg_x",
            "PG_x",
            "ä",
            &"a".repeat(64),
        ] {
            assert!(!is_sql_identifier(bad), "{bad}");
        }
    }
}
