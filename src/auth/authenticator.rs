//! Who sent a request, by the bearer token of an issuer: the field is read, the token looked up
//! among those verified a moment ago, else verified by the issuer's keys.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use super::Refused;
use super::bearer::{NoBearer, parse_bearer};
use super::jwks::{Current, KeyStore, KeysError, KeysHealth, NoLook};
use super::jwt::{self, Expected, Head, Identity, TokenFault};
use super::provider;
use super::token_cache::{Digest, TokenCache};
use crate::base::deadline::Deadline;
use crate::config::JwtConfig;

/// How long a request may wait for a key that nobody knows yet.
const NEW_KEY_TIMEOUT: Duration = Duration::from_secs(2);

/// Verifies the tokens of one issuer.
#[derive(Debug)]
pub(super) struct Authenticator {
    expected: Expected,
    keys: KeyStore,
    cache: TokenCache,
}

impl Authenticator {
    pub(super) fn start(config: &JwtConfig) -> Result<Self, KeysError> {
        provider::install();
        Ok(Self {
            expected: Expected {
                issuer: config.issuer.clone(),
                audience: config.audience.clone(),
            },
            keys: KeyStore::start(&config.jwks, config.ca_file.as_deref())?,
            cache: TokenCache::default(),
        })
    }

    pub(super) fn issuer(&self) -> &str {
        &self.expected.issuer
    }

    pub(super) fn health(&self) -> KeysHealth {
        self.keys.health()
    }

    /// Whether the token in an `Authorization` field was verified a moment ago.
    pub(super) fn knows(&self, field: Option<&str>) -> bool {
        parse_bearer(field).is_ok_and(|token| self.find(&Sha256::digest(token).into()).is_some())
    }

    fn find(&self, digest: &Digest) -> Option<Arc<Identity>> {
        let current = self.keys.current()?;
        self.cache
            .find(current.generation, digest, SystemTime::now())
    }

    /// Who the token in an `Authorization` field speaks for, and the token's SHA-256.
    pub(super) fn authenticate(
        &self,
        field: Option<&str>,
    ) -> Result<(Arc<Identity>, Digest), Refused> {
        let token = parse_bearer(field).map_err(|reason| match reason {
            NoBearer::Absent => Refused::NoToken,
            NoBearer::Malformed => Refused::Malformed("the Authorization field has no token"),
            NoBearer::TooLong => Refused::Invalid(TokenFault::TooLong),
        })?;
        let digest: Digest = Sha256::digest(token).into();
        if let Some(identity) = self.find(&digest) {
            return Ok((identity, digest));
        }
        let now = SystemTime::now();
        let head = Head::parse(token)?;
        let current = self.keys_for(&head)?;
        let key = head.choose(&current.keys)?;
        let identity = Arc::new(jwt::verify(token, key, &self.expected)?);
        self.cache
            .insert(current.generation, digest, &identity, now);
        Ok((identity, digest))
    }

    /// The current keys, looked for once more where none of them is the token's.
    fn keys_for(&self, head: &Head) -> Result<Current, Refused> {
        let current = self.keys.current();
        let knows =
            |current: &Current| !matches!(head.choose(&current.keys), Err(TokenFault::UnknownKey));
        if let Some(current) = current.filter(knows) {
            return Ok(current);
        }
        match self.keys.look_again(Deadline::after(NEW_KEY_TIMEOUT)) {
            Ok(()) | Err(NoLook::TooSoon) => self.keys.current().ok_or(Refused::NoKeys),
            Err(NoLook::Busy) => Err(Refused::NoKeys),
        }
    }
}
