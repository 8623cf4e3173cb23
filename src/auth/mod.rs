//! Who a caller is and what it may do. Authenticating ends in a [`Caller`], authorizing in a permit
//! or in what was missing; both can be made here alone. Knows no HTTP.
//!
//! One rule: whoever is let in may list and call; admin acts need the admin scope or the admin
//! token ([`rule`]). A token of the issuer is verified by the issuer's keys, which one
//! background thread keeps current.

mod authenticator;
mod authority;
mod bearer;
mod jwks;
mod jwt;
mod keys;
mod provider;
mod rule;
mod throttle;
mod token_cache;

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::base::secret::Secret;
use crate::domain::principal::Principal;

pub use authority::{Authority, Reach};
pub use jwks::{KeysError, TrustError};
pub use jwt::TokenFault;
pub use rule::{Action, Ground, Missing};

use jwt::{Identity, LEEWAY_SECONDS};
use rule::AdminToken;

/// What a request brought to prove itself with.
#[derive(Clone, Debug, Default)]
pub struct Presented {
    /// The header `Authorization`.
    pub authorization: Option<Secret>,
    /// The header `x-mcp-admin-token`.
    pub admin_token: Option<Secret>,
    /// Who is held responsible for it.
    pub peer: Option<IpAddr>,
}

/// A caller whose request was let in; only [`Authority::admit`] makes one.
#[derive(Debug)]
pub struct Caller {
    identity: Arc<Identity>,
    token: Option<[u8; 32]>,
    /// Where it calls from.
    peer: Option<IpAddr>,
    admin_header: AdminToken,
    /// What was wrong with an admin token of this request, until the audit log has it.
    untold: Mutex<Option<Missing>>,
}

impl Caller {
    /// Who it is.
    pub fn principal(&self) -> &Principal {
        &self.identity.principal
    }

    /// The program that acts for the principal: `client_id`, `azp` or `sub` of its token.
    pub fn client(&self) -> &str {
        &self.identity.client
    }

    /// The scopes of its token.
    pub fn scopes(&self) -> &[String] {
        &self.identity.scopes
    }

    /// From when on its token is not accepted, if it has one.
    pub fn expires(&self) -> Option<SystemTime> {
        // Verifying counts whole seconds, the last one included.
        let leeway = Duration::from_secs(LEEWAY_SECONDS + 1);
        let expires = self.identity.expires.checked_add(leeway);
        expires.filter(|_| self.token.is_some())
    }

    /// SHA-256 of its token, to tell tokens apart without keeping one.
    pub fn token_digest(&self) -> Option<&[u8; 32]> {
        self.token.as_ref()
    }

    /// What was wrong with an admin token that came with the request, for whoever writes it down:
    /// asked again, it is told already.
    pub fn take_wrong_admin_token(&self) -> Option<Missing> {
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        untold.take()
    }

    fn note(&self, compared: AdminToken) {
        let wrong = match compared {
            AdminToken::Absent | AdminToken::Right => return,
            AdminToken::Wrong => Missing::RightAdminToken,
            AdminToken::Throttled { retry_after_ms } => Missing::Patience { retry_after_ms },
        };
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        *untold = Some(wrong);
    }
}

/// Proof that a caller may do admin acts; only [`Authority::permit_admin`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct AdminPermit(Ground);

impl AdminPermit {
    /// Why it may.
    pub fn ground(self) -> Ground {
        self.0
    }
}

/// Why a request is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A token is needed, and none came.
    NoToken,
    /// What came cannot be a token; why.
    Malformed(&'static str),
    /// The token is not valid here.
    Invalid(TokenFault),
    /// The token is valid, and lacks a scope.
    Denied(Box<DeniedCaller>),
    /// No token can be verified now: the issuer's keys cannot be had.
    NoKeys,
}

/// Who is known and not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeniedCaller {
    /// What is missing.
    pub denied: Denied,
    /// Whose token it is.
    pub principal: Principal,
    /// The program that sent it.
    pub client: String,
}

impl Refused {
    /// For metrics and the audit log: a closed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoToken => "missing",
            Self::Malformed(_) => "malformed",
            Self::Invalid(fault) => fault.reason(),
            Self::Denied(_) => "scope",
            Self::NoKeys => "keys_unavailable",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoToken => formatter.write_str("this server needs a bearer token"),
            Self::Malformed(why) => formatter.write_str(why),
            Self::Invalid(fault) => write!(formatter, "{fault}"),
            Self::Denied(caller) => write!(formatter, "{}", caller.denied),
            Self::NoKeys => formatter
                .write_str("the issuer's keys cannot be had now, so that no token can be checked"),
        }
    }
}

impl From<TokenFault> for Refused {
    fn from(fault: TokenFault) -> Self {
        Self::Invalid(fault)
    }
}

/// Why a caller may not, in words for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// What is missing.
    pub missing: Missing,
    /// All scopes that the act needs, where a token with more scopes would do.
    pub scopes: Vec<String>,
    text: String,
}

impl fmt::Display for Denied {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}
