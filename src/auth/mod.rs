//! Who a caller is and what it may do. One rule: everybody who is let in may list and call; admin
//! acts need the admin token where one is configured. Tokens of identity providers come later.

use crate::base::secret::Secret;
use crate::domain::principal::Principal;

/// What a request brought to prove itself with.
#[derive(Clone, Debug, Default)]
pub struct Presented {
    /// The header `x-mcp-admin-token`.
    pub admin_token: Option<Secret>,
}

/// A caller whose request was let in; only [`Authority::let_in`] makes one.
#[derive(Clone, Debug)]
pub struct Caller {
    principal: Principal,
    presented: Presented,
}

impl Caller {
    /// Who it is.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }
}

/// Proof that a caller may do admin acts; only [`Authority::permit_admin`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct AdminPermit(());

/// Why a caller may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// An admin token is needed, and none came.
    AdminTokenMissing,
    /// The admin token that came is not the configured one.
    AdminTokenWrong,
}

impl std::fmt::Display for Denied {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::AdminTokenMissing => {
                "this needs the admin token: send it in the header x-mcp-admin-token"
            }
            Self::AdminTokenWrong => "the admin token is wrong",
        })
    }
}

/// The operator's rule.
#[derive(Clone, Debug)]
pub struct Authority {
    admin_token: Option<Secret>,
}

impl Authority {
    /// Without an admin token every caller is admin.
    pub fn new(admin_token: Option<Secret>) -> Self {
        Self { admin_token }
    }

    /// Whether every caller is admin.
    pub fn everybody_is_admin(&self) -> bool {
        self.admin_token.is_none()
    }

    /// Lets a request in.
    pub fn let_in(&self, presented: Presented) -> Caller {
        Caller {
            principal: Principal::local(),
            presented,
        }
    }

    /// Whether `caller` may do admin acts; `argument` is the `adminToken` that old clients send
    /// among a tool's arguments.
    ///
    /// # Errors
    /// What was missing.
    pub fn permit_admin(
        &self,
        caller: &Caller,
        argument: Option<&str>,
    ) -> Result<AdminPermit, Denied> {
        let Some(token) = &self.admin_token else {
            return Ok(AdminPermit(()));
        };
        let header = caller.presented.admin_token.as_ref().map(Secret::reveal);
        match header.or(argument) {
            None => Err(Denied::AdminTokenMissing),
            Some(guess) if token.matches(guess) => Ok(AdminPermit(())),
            Some(_) => Err(Denied::AdminTokenWrong),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_by_token_in_header_or_argument() {
        let authority = Authority::new(Some(Secret::new("open")));
        let check = |header: Option<&str>, argument: Option<&str>, expected: Option<Denied>| {
            let presented = Presented {
                admin_token: header.map(Secret::new),
            };
            let caller = authority.let_in(presented);
            let denied = authority.permit_admin(&caller, argument).err();
            assert_eq!(denied, expected, "{header:?} {argument:?}");
        };
        check(None, None, Some(Denied::AdminTokenMissing));
        check(Some("open"), None, None);
        check(None, Some("open"), None);
        check(Some("shut"), Some("open"), Some(Denied::AdminTokenWrong));
        check(None, Some(""), Some(Denied::AdminTokenWrong));
    }

    #[test]
    fn without_a_token_everybody_is_admin() {
        let authority = Authority::new(None);
        let caller = authority.let_in(Presented::default());
        assert!(authority.permit_admin(&caller, None).is_ok());
        assert!(authority.everybody_is_admin());
    }
}
