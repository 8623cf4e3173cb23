//! JSON Web Tokens (RFC 7519, RFC 9068): from the text of a token and an issuer's keys to who it
//! speaks for. No key, no URL and no certificate inside a token is ever used.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde::Deserialize;

use super::keys::{Key, KeySet};
use crate::domain::principal::Principal;

/// How far clocks may differ, in seconds.
pub(super) const LEEWAY_SECONDS: u64 = 60;
/// Longest subject, in bytes; OpenID Connect allows 255.
const MAX_SUBJECT_BYTES: usize = 1024;

/// What tokens must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) issuer: String,
    pub(super) audience: String,
}

/// What a verified token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) principal: Principal,
    /// `client_id`, else `azp`, else the subject.
    pub(super) client: String,
    /// In the token's order.
    pub(super) scopes: Vec<String>,
    /// `exp`.
    pub(super) expires: SystemTime,
}

/// What is wrong with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// Longer than we look at.
    TooLong,
    /// No JWS of three parts, no header, or an algorithm that nobody may use.
    Malformed,
    /// `typ` is neither `JWT` nor `at+jwt`.
    Type,
    /// It has a critical extension.
    Critical,
    /// No key of the issuer has its `kid`.
    UnknownKey,
    /// That key does not verify its algorithm.
    Algorithm,
    /// The signature is not that key's.
    Signature,
    /// `exp` has passed.
    Expired,
    /// `nbf` is still to come.
    NotYetValid,
    /// `iss` is not the issuer.
    Issuer,
    /// `aud` does not name this server.
    Audience,
    /// A required claim is missing, or a claim has another type than it should.
    Claims,
}

impl TokenFault {
    /// For metrics and the audit log: a closed set.
    pub fn reason(self) -> &'static str {
        match self {
            Self::TooLong | Self::Malformed | Self::Type | Self::Critical => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::Algorithm => "algorithm",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Claims => "claims",
        }
    }
}

impl fmt::Display for TokenFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::TooLong => "the token is longer than 8192 bytes",
            Self::Malformed => "the token is no JWT of an accepted algorithm",
            Self::Type => "the token is of another type than JWT or at+jwt",
            Self::Critical => "the token has a critical extension, and none is understood",
            Self::UnknownKey => "the token's key is none of the issuer's",
            Self::Algorithm => "the token's algorithm is not its key's",
            Self::Signature => "the token's signature is wrong",
            Self::Expired => "the token has expired",
            Self::NotYetValid => "the token is not valid yet",
            Self::Issuer => "the token is of another issuer",
            Self::Audience => "the token is for another audience",
            Self::Claims => "the token lacks exp, iss, aud or sub, or a claim has a wrong type",
        })
    }
}

/// Which key a token wants, and by which algorithm: read, and not yet believed.
#[derive(Clone, Debug)]
pub(super) struct Head {
    algorithm: Algorithm,
    key_id: Option<String>,
}

impl Head {
    /// Reads a token's header.
    pub(super) fn parse(token: &str) -> Result<Self, TokenFault> {
        let header = decode_header(token).map_err(|_| TokenFault::Malformed)?;
        if header.crit.is_some() {
            return Err(TokenFault::Critical);
        }
        // RFC 7515, section 4.1.9: the prefix may be left out. Okta leaves out the whole field.
        let kind = header.typ.as_deref().unwrap_or("JWT");
        let kind = match kind.split_at_checked("application/".len()) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
            _ => kind,
        };
        if !["JWT", "at+jwt"]
            .iter()
            .any(|known| kind.eq_ignore_ascii_case(known))
        {
            return Err(TokenFault::Type);
        }
        Ok(Self {
            algorithm: header.alg,
            key_id: header.kid,
        })
    }

    /// The key to verify with.
    pub(super) fn choose<'a>(&'a self, keys: &'a KeySet) -> Result<&'a Key, TokenFault> {
        let mut fault = TokenFault::UnknownKey;
        for key in keys.find(self.key_id.as_deref()) {
            if key.algorithms().contains(&self.algorithm) {
                return Ok(key);
            }
            fault = TokenFault::Algorithm;
        }
        Err(fault)
    }
}

/// Verifies a token by a key and reads what it says.
pub(super) fn verify(token: &str, key: &Key, expected: &Expected) -> Result<Identity, TokenFault> {
    let mut rules = Validation::new_for_family(key.key().family());
    rules.algorithms = key.algorithms().to_vec();
    rules.leeway = LEEWAY_SECONDS;
    rules.validate_nbf = true;
    // Compared below, as URLs are.
    rules.validate_aud = false;
    rules.set_issuer(&[&expected.issuer]);
    rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let claims = decode::<Claims>(token, key.key(), &rules).map_err(|error| fault(error.kind()))?;
    claims.claims.into_identity(expected)
}

fn fault(kind: &ErrorKind) -> TokenFault {
    match kind {
        ErrorKind::InvalidSignature => TokenFault::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => TokenFault::Algorithm,
        ErrorKind::ExpiredSignature => TokenFault::Expired,
        ErrorKind::ImmatureSignature => TokenFault::NotYetValid,
        ErrorKind::InvalidIssuer => TokenFault::Issuer,
        ErrorKind::MissingRequiredClaim(_)
        | ErrorKind::InvalidClaimFormat(_)
        | ErrorKind::Json(_) => TokenFault::Claims,
        _ => TokenFault::Malformed,
    }
}

/// The claims that we read. A claim that stands twice is an error of the reader.
#[derive(Deserialize)]
struct Claims {
    exp: Option<f64>,
    iss: Option<String>,
    sub: Option<String>,
    aud: Option<Words>,
    client_id: Option<String>,
    azp: Option<String>,
    scope: Option<Words>,
    scp: Option<Words>,
}

/// A text or several: as issuers write `aud`, `scope` and `scp`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    One(String),
    Many(Vec<String>),
}

impl Words {
    fn list(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

impl Claims {
    fn into_identity(self, expected: &Expected) -> Result<Identity, TokenFault> {
        let (Some(exp), Some(issuer), Some(subject), Some(audiences)) =
            (self.exp, self.iss, self.sub, self.aud)
        else {
            return Err(TokenFault::Claims);
        };
        if !audiences
            .list()
            .iter()
            .any(|found| is_same_audience(found, &expected.audience))
        {
            return Err(TokenFault::Audience);
        }
        let printable = !subject.is_empty() && !subject.chars().any(char::is_control);
        if !printable || subject.len() > MAX_SUBJECT_BYTES {
            return Err(TokenFault::Claims);
        }
        let since_epoch = Duration::try_from_secs_f64(exp).map_err(|_| TokenFault::Claims)?;
        let expires = UNIX_EPOCH
            .checked_add(since_epoch)
            .ok_or(TokenFault::Claims)?;
        let mut scopes: Vec<String> = Vec::new();
        for word in [self.scope, self.scp]
            .iter()
            .flatten()
            .flat_map(Words::list)
        {
            for scope in word.split_ascii_whitespace() {
                if !scopes.iter().any(|known| known == scope) {
                    scopes.push(scope.to_owned());
                }
            }
        }
        let client = self
            .client_id
            .or(self.azp)
            .unwrap_or_else(|| subject.clone());
        Ok(Identity {
            principal: Principal { issuer, subject },
            client,
            scopes,
            expires,
        })
    }
}

/// Equal, or equal URLs but for the case of scheme and host (RFC 3986, section 6.2.2.1).
fn is_same_audience(found: &str, expected: &str) -> bool {
    let split = |text: &str| {
        let after = text.find("://")? + 3;
        let path = text
            .get(after..)?
            .find('/')
            .map_or(text.len(), |at| after + at);
        let (origin, rest) = text.split_at_checked(path)?;
        Some((origin.to_ascii_lowercase(), rest.to_owned()))
    };
    found == expected || split(found).is_some_and(|found| Some(found) == split(expected))
}

#[cfg(test)]
mod tests;
