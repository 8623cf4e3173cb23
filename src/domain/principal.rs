//! Who is asking.

/// A caller: issuer and subject of its token. Without authentication everybody on the loopback is
/// one principal, the local caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal {
    /// Who vouches for the subject: the token's `iss`, or `local`.
    pub issuer: String,
    /// The caller's name with that issuer: the token's `sub`, or `local`.
    pub subject: String,
}

impl Principal {
    /// Everybody who reaches a server that runs without authentication.
    pub fn local() -> Self {
        Self {
            issuer: "local".to_owned(),
            subject: "local".to_owned(),
        }
    }
}
