//! `requestState`: what a client carries from one round of a call to the next (MCP 2026-07-28,
//! "multi round-trip requests"), so that nothing is stored between them and every process with the
//! same key can go on. Clients may write what they like there; only what was signed here, for the
//! same principal and the same call, is taken.
//!
//! `1.PAYLOAD.CODE`: base64 of JSON, and the HMAC over it, over the principal and over the call,
//! neither of which is named in it. It hides nothing: beside the tool's name and revision it holds
//! the answers that this same client gave.

use serde::{Deserialize, Serialize};

use super::session_token::SessionKey;
use crate::base::secret::Secret;
use crate::base::text::{decode_base64, encode_base64};
use crate::domain::json::JsonText;
use crate::domain::principal::Principal;
use crate::tools::Earlier;

/// How long a client may take for its answers, in seconds.
const LIFETIME_S: u64 = 3600;
/// More than any state of ours: longer ones are not looked at.
const MAX_BYTES: usize = 384 * 1024;
const VERSION: &str = "1";

/// The request that a state belongs to: no other one takes it.
#[derive(Clone, Copy)]
pub(super) struct Bound<'a> {
    pub(super) principal: &'a Principal,
    pub(super) method: &'a str,
    /// As the client spelt it.
    pub(super) name: &'a str,
    pub(super) arguments: &'a JsonText,
}

/// `at` is in seconds since the Unix epoch.
#[derive(Serialize, Deserialize)]
struct Payload<T> {
    at: u64,
    earlier: T,
}

/// The text of a state, `now` in seconds since the Unix epoch.
pub(super) fn seal(key: &SessionKey, bound: Bound<'_>, earlier: &Earlier, now: u64) -> String {
    let payload = JsonText::from_value(&Payload { at: now, earlier });
    let signed = format!("{VERSION}.{}", encode_base64(payload.text().as_bytes()));
    let code = code(key, bound, &signed);
    format!("{signed}.{code}")
}

/// What a text says; `None` for one that is forged, over age, or of another principal or request.
pub(super) fn open(key: &SessionKey, bound: Bound<'_>, text: &str, now: u64) -> Option<Earlier> {
    let (signed, given) = text
        .rsplit_once('.')
        .filter(|_| text.len() <= MAX_BYTES && text.is_ascii())?;
    if !Secret::new(code(key, bound, signed)).matches(given) {
        return None;
    }
    let payload = signed.strip_prefix(VERSION)?.strip_prefix('.')?;
    let payload: Payload<Earlier> = serde_json::from_slice(&decode_base64(payload)?).ok()?;
    (now.saturating_sub(payload.at) <= LIFETIME_S).then_some(payload.earlier)
}

fn code(key: &SessionKey, bound: Bound<'_>, signed: &str) -> String {
    // Clients may write the same arguments otherwise when they call again.
    let arguments = bound.arguments.value().map(|value| value.to_string());
    let arguments = arguments.unwrap_or_else(|_| bound.arguments.text().to_owned());
    let Principal { issuer, subject } = bound.principal;
    let (method, name) = (bound.method, bound.name);
    key.code(
        "requestState",
        &[issuer, subject, method, name, &arguments, signed],
    )
}

#[cfg(test)]
mod tests {
    use super::super::session_token;
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn principal(issuer: &str, subject: &str) -> Principal {
        Principal {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
        }
    }

    fn json(text: &str) -> JsonText {
        JsonText::parse(text.to_owned()).unwrap()
    }

    fn earlier() -> Earlier {
        let answers = [
            ("naïve \"key\"", r#"{"action" : "accept"}"#),
            ("b", "[1.0]"),
        ];
        let answers = answers.map(|(key, value)| (key.to_owned(), json(value)));
        Earlier {
            rounds: 2,
            asker: "math.add 3 2026-07-28T00:00:00.000Z".to_owned(),
            answers: answers.into(),
        }
    }

    const ARGUMENTS: &str = r#"{"a":1,"b":[2.0]}"#;

    #[test]
    fn taken_for_the_same_call_of_the_same_principal_for_an_hour() {
        let key = SessionKey::new([7; 32]);
        let (who, arguments) = (principal("iss", "one"), json(ARGUMENTS));
        let bound = Bound {
            principal: &who,
            method: "tools/call",
            name: "math.add",
            arguments: &arguments,
        };
        let text = seal(&key, bound, &earlier(), NOW);
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
        let check = |key: &SessionKey, bound: Bound<'_>, now: u64, known: bool| {
            let found = open(key, bound, &text, now);
            assert_eq!(
                found,
                known.then(earlier),
                "{} {now}",
                bound.arguments.text()
            );
        };
        check(&key, bound, NOW, true);
        check(&key, bound, NOW + LIFETIME_S, true);
        check(&key, bound, NOW + LIFETIME_S + 1, false);
        // Another process's clock may be behind.
        check(&key, bound, NOW - 60, true);
        check(&SessionKey::new([8; 32]), bound, NOW, false);
        for (issuer, subject) in [("iss", "other"), ("issone", ""), ("is", "sone")] {
            let principal = &principal(issuer, subject);
            check(&key, Bound { principal, ..bound }, NOW, false);
        }
        for method in ["prompts/get", "tools/cal"] {
            check(&key, Bound { method, ..bound }, NOW, false);
        }
        for name in ["math_add", "lmath.add", "math.sub"] {
            check(&key, Bound { name, ..bound }, NOW, false);
        }
        let same = [r#"{ "b" : [2.0], "a":1 }"#, r#"{"\u0061":1,"b":[2.0]}"#];
        for arguments in same {
            let arguments = &json(arguments);
            check(&key, Bound { arguments, ..bound }, NOW, true);
        }
        for arguments in [
            r#"{"a":1}"#,
            r#"{"a":1,"b":[2.5]}"#,
            "{}",
            r#"{"a":"\ud800"}"#,
        ] {
            let arguments = &json(arguments);
            check(&key, Bound { arguments, ..bound }, NOW, false);
        }
    }

    #[test]
    fn any_change_is_noticed_and_garbage_is_none() {
        let key = SessionKey::new([7; 32]);
        let (who, arguments) = (Principal::local(), JsonText::empty_object());
        let bound = Bound {
            principal: &who,
            method: "tools/call",
            name: "abc",
            arguments: &arguments,
        };
        let text = seal(&key, bound, &Earlier::default(), NOW);
        let open = |text: &str| open(&key, bound, text, NOW);
        assert_eq!(open(&text), Some(Earlier::default()));
        for at in 0..text.len() {
            for change in [1, 0x20] {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= change;
                let changed = String::from_utf8(bytes).unwrap();
                assert_eq!(open(&changed), None, "{changed}");
            }
            assert_eq!(open(&text[..at]), None, "{at}");
            assert_eq!(open(&text[at + 1..]), None, "{at}");
        }
        let (_, session) = session_token::issue(
            &key,
            &who,
            "2025-06-18",
            crate::tools::Capabilities::NONE,
            NOW,
        );
        for other in [
            "",
            ".",
            "1..",
            "🦀.🦀",
            &session,
            &format!("{text}-TAMPERED"),
        ] {
            assert_eq!(open(other), None, "{other}");
        }
        assert_eq!(open(&format!("{}{text}", "A".repeat(MAX_BYTES))), None);
        // What no client can sign is not taken either.
        for signed in ["", "1", "1.", "1.e30=", "2.e30=", "1.AAAA", "1.é", "1.W10="] {
            let text = format!("{signed}.{}", code(&key, bound, signed));
            assert_eq!(open(&text), None, "{signed}");
        }
        let mut noise = 7_u64;
        for length in 0..2000 {
            let bytes = std::iter::repeat_with(|| {
                noise = noise
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (noise >> 56) as u8
            });
            let bytes: Vec<u8> = bytes.take(length % 300).collect();
            assert_eq!(open(&String::from_utf8_lossy(&bytes)), None, "{bytes:?}");
        }
    }

    #[test]
    fn no_session_id_comes_of_a_state() {
        let key = SessionKey::new([7; 32]);
        let (who, arguments) = (Principal::local(), JsonText::empty_object());
        let bound = Bound {
            principal: &who,
            method: "",
            name: "",
            arguments: &arguments,
        };
        let signed = format!("1.2025-06-18.{NOW}.x");
        let forged = format!("{signed}.{}", code(&key, bound, &signed));
        assert_eq!(session_token::verify(&key, &who, &forged, NOW), None);
    }
}
