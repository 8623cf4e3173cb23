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
use crate::base::hmac::hmac_sha256;
use crate::base::ids::hex;
use crate::base::secret::Secret;
use crate::base::text::{decode_base64, encode_base64};
use crate::domain::json::JsonText;
use crate::domain::principal::Principal;
use crate::tools::Earlier;

/// How long a client may take for its answers, in seconds.
const LIFETIME_S: u64 = 3600;
/// More than any state of ours: longer ones are not looked at.
const MAX_BYTES: usize = 256 * 1024;
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
    let parts = [
        issuer,
        subject,
        bound.method,
        bound.name,
        &arguments,
        signed,
    ];
    // With its length before each part no two requests make the same message, and no session id's.
    let lengths = parts.map(|part| (part.len() as u64).to_be_bytes());
    let mut message: Vec<&[u8]> = vec![b"requestState\0"];
    for (part, length) in parts.iter().zip(&lengths) {
        message.push(length);
        message.push(part.as_bytes());
    }
    hex(&hmac_sha256(key.bytes(), &message))
}
