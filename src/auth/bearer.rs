//! The `Authorization` field: what of it is a bearer token (RFC 6750, section 2.1). Nothing here
//! looks into the token.

/// Longest token that is looked at, in bytes. Real ones have 1 to 4 KiB.
pub(super) const MAX_TOKEN_BYTES: usize = 8192;

/// Why a field is no bearer token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoBearer {
    /// There is no field, or it is of another scheme.
    Absent,
    /// It says `Bearer`, and what follows cannot be a token.
    Malformed,
    /// It is longer than [`MAX_TOKEN_BYTES`].
    TooLong,
}

/// The token in a field's value.
///
/// # Errors
/// [`NoBearer`].
pub(super) fn parse_bearer(field: Option<&str>) -> Result<&str, NoBearer> {
    let field = field.map(str::trim).unwrap_or_default();
    let (scheme, rest) = field.split_once(' ').unwrap_or((field, ""));
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(NoBearer::Absent);
    }
    let token = rest.trim_start_matches(' ');
    if token.len() > MAX_TOKEN_BYTES {
        return Err(NoBearer::TooLong);
    }
    let digits = token.trim_end_matches('=');
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    if digits.is_empty() || !digits.bytes().all(sound) {
        return Err(NoBearer::Malformed);
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_their_tokens() {
        let check = |field: Option<&str>, expected| {
            assert_eq!(parse_bearer(field), expected, "{field:?}");
        };
        check(None, Err(NoBearer::Absent));
        check(Some(""), Err(NoBearer::Absent));
        check(Some("Basic dTpw"), Err(NoBearer::Absent));
        check(Some("Bearerabc"), Err(NoBearer::Absent));
        check(Some("Bearer a.b.c"), Ok("a.b.c"));
        check(Some("bearer   a.b-_~+/="), Ok("a.b-_~+/="));
        check(Some("BEARER x "), Ok("x"));
        for wrong in ["Bearer", "Bearer ", "Bearer =", "Bearer a b", "Bearer a,b"] {
            check(Some(wrong), Err(NoBearer::Malformed));
        }
        check(Some("Bearer a=b"), Err(NoBearer::Malformed));
        check(Some("Bearer é"), Err(NoBearer::Malformed));
        check(Some("Bearer\ta.b.c"), Err(NoBearer::Absent));
    }

    #[test]
    fn length_is_bounded() {
        let longest = "a".repeat(MAX_TOKEN_BYTES);
        assert!(parse_bearer(Some(&format!("Bearer {longest}"))).is_ok());
        let longer = format!("Bearer {longest}a");
        assert_eq!(parse_bearer(Some(&longer)), Err(NoBearer::TooLong));
        let huge = format!("Bearer {}", "a".repeat(1 << 20));
        assert_eq!(parse_bearer(Some(&huge)), Err(NoBearer::TooLong));
    }
}
