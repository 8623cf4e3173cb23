//! Ids of handshake sessions that carry all there is to know of them, signed: nothing is stored, so
//! every restart and every process with the same key honours them. An id is no authenticator: it
//! names a session to the principal it was made for, and to nobody else.
//!
//! `2.REVISION.CAPABILITIES.ISSUED.ID.CODE`: what the client declared, the issue time in seconds
//! since the Unix epoch, a random id, and the HMAC over these and over the principal, who is not
//! named in it.

use super::{capabilities, revision};
use crate::base::hmac::hmac_sha256;
use crate::base::ids::{hex, random_hex};
use crate::base::secret::Secret;
use crate::domain::principal::Principal;
use crate::tools::Capabilities;

/// How long a session may last, in seconds from its issue.
const LIFETIME_S: u64 = 7 * 24 * 3600;
/// Far more than any id of ours: longer ones are not looked at.
const MAX_BYTES: usize = 256;
const VERSION: &str = "2";

/// What sessions are signed with: secret, the same for all processes of a registry.
#[derive(Clone)]
pub struct SessionKey([u8; 32]);

impl SessionKey {
    /// A key from the random source or from where it is kept.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The HMAC of what is signed for a purpose. With its length before each part no two lists of
    /// parts make the same message, and with the purpose first none of another one.
    pub(super) fn code(&self, purpose: &str, parts: &[&str]) -> String {
        let lengths: Vec<_> = parts
            .iter()
            .map(|part| (part.len() as u64).to_be_bytes())
            .collect();
        let mut message: Vec<&[u8]> = vec![purpose.as_bytes(), b"\0"];
        for (part, length) in parts.iter().zip(&lengths) {
            message.push(length);
            message.push(part.as_bytes());
        }
        hex(&hmac_sha256(&self.0, &message))
    }
}

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SessionKey(****)")
    }
}

/// A session whose id was found to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// Random, of this session alone.
    pub(super) id: String,
    /// What its handshake settled on.
    pub(super) revision: &'static str,
    /// What its client declared that it can be asked.
    pub(super) capabilities: Capabilities,
}

/// A new session and the text of its id, `now` in seconds since the Unix epoch.
pub(super) fn issue(
    key: &SessionKey,
    principal: &Principal,
    revision: &'static str,
    declared: Capabilities,
    now: u64,
) -> (Session, String) {
    let id = random_hex();
    let word = capabilities::encode(&declared);
    let signed = format!("{VERSION}.{revision}.{word}.{now}.{id}");
    let code = code(key, principal, &signed);
    let session = Session {
        id,
        revision,
        capabilities: declared,
    };
    (session, format!("{signed}.{code}"))
}

/// The session that a text names; `None` for one that is forged, of another principal or over age.
pub(super) fn verify(
    key: &SessionKey,
    principal: &Principal,
    text: &str,
    now: u64,
) -> Option<Session> {
    let (signed, given) = text
        .rsplit_once('.')
        .filter(|_| text.len() <= MAX_BYTES && text.is_ascii())?;
    if !Secret::new(code(key, principal, signed)).matches(given) {
        return None;
    }
    // Signed by us; only the version could still be another.
    let mut fields = signed.split('.');
    let (version, revision, word) = (fields.next()?, fields.next()?, fields.next()?);
    let (issued, id) = (fields.next()?.parse::<u64>().ok()?, fields.next()?);
    let is_ours = version == VERSION && fields.next().is_none();
    (is_ours && now.saturating_sub(issued) <= LIFETIME_S).then_some(Session {
        id: id.to_owned(),
        revision: revision::known_legacy(revision)?,
        capabilities: capabilities::decode(word),
    })
}

fn code(key: &SessionKey, principal: &Principal, signed: &str) -> String {
    let Principal { issuer, subject } = principal;
    key.code("session", &[issuer, subject, signed])
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;
    const ALL: Capabilities = Capabilities {
        elicitation: true,
        roots: true,
        ..Capabilities::NONE
    };

    fn principal(issuer: &str, subject: &str) -> Principal {
        Principal {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
        }
    }

    #[test]
    fn known_to_its_key_and_its_principal_for_a_week() {
        let (key, one) = (SessionKey::new([7; 32]), principal("iss", "one"));
        let (session, text) = issue(&key, &one, "2025-06-18", ALL, NOW);
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
        let check = |key: &SessionKey, who: &Principal, now: u64, known: bool| {
            let found = verify(key, who, &text, now);
            assert_eq!(found, known.then(|| session.clone()), "{who:?} {now}");
        };
        check(&key, &one, NOW, true);
        check(&key, &one, NOW + LIFETIME_S, true);
        check(&key, &one, NOW + LIFETIME_S + 1, false);
        // Another process's clock may be behind.
        check(&key, &one, NOW - 60, true);
        check(&SessionKey::new([8; 32]), &one, NOW, false);
        check(&key, &principal("iss", "other"), NOW, false);
        check(&key, &principal("issone", ""), NOW, false);
        check(&key, &principal("is", "sone"), NOW, false);
    }

    #[test]
    fn any_change_of_an_id_is_noticed() {
        let (key, who) = (SessionKey::new([7; 32]), Principal::local());
        let (_, text) = issue(&key, &who, "2025-03-26", Capabilities::NONE, NOW);
        for at in 0..text.len() {
            for change in [1, 0x20] {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= change;
                let changed = String::from_utf8(bytes).unwrap();
                assert_eq!(verify(&key, &who, &changed, NOW), None, "{changed}");
            }
            assert_eq!(verify(&key, &who, &text[..at], NOW), None, "{at}");
        }
        for other in ["", ".", ".....", "2.2025-03-26.-.1.x.", &format!("{text}0")] {
            assert_eq!(verify(&key, &who, other, NOW), None, "{other}");
        }
        assert_eq!(verify(&key, &who, &".".repeat(100_000), NOW), None);
    }

    #[test]
    fn never_printed() {
        assert!(!format!("{:?}", SessionKey::new([7; 32])).contains('7'));
    }
}
