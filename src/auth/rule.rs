//! The rule of who may do what: one pure function, [`decide`], from what a caller has shown and the
//! act it asks for to the ground on which it may, or what is missing. Nothing here looks at a token
//! or a clock.

use std::fmt;

/// What a caller asks to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// To list what there is, and to call what is no admin act.
    Use,
    /// An admin act, by its name, such as `dynamic.tool.create`.
    Admin(&'a str),
}

/// The operator's rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) identity: IdentityRule,
    /// Whether an admin token is configured.
    pub(super) has_admin_token: bool,
}

/// How callers are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IdentityRule {
    /// They are not, and only this machine reaches us.
    Local,
    /// They are not, and others reach us.
    Public,
    /// By tokens of an issuer.
    Tokens {
        required_scopes: Vec<String>,
        admin_scope: String,
    },
}

/// What a caller has shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence<'a> {
    /// Its token's scopes; none where there are no tokens.
    pub(super) scopes: &'a [String],
    pub(super) admin_token: AdminToken,
}

/// What came of comparing the admin token that a caller sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdminToken {
    Absent,
    Right,
    Wrong,
    /// Not compared: too many wrong ones came before.
    Throttled {
        retry_after_ms: u64,
    },
}

/// Why a caller may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// It was let in, and needs no more.
    LetIn,
    /// Its token has the admin scope.
    AdminScope,
    /// It has the admin token.
    AdminToken,
    /// Without authentication and admin token, every caller on this machine is admin.
    Everybody,
}

impl fmt::Display for Ground {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::LetIn => "every caller that is let in may",
            Self::AdminScope => "the token has the admin scope",
            Self::AdminToken => "the admin token is right",
            Self::Everybody => {
                "this server has neither authentication nor an admin token, and only this machine \
                 reaches it: every caller is admin"
            }
        })
    }
}

/// What a caller lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// A required scope.
    Scope,
    /// The admin scope.
    AdminScope,
    /// The admin scope, or else the admin token.
    AdminScopeOrToken,
    /// The admin token.
    AdminToken,
    /// A right admin token: this one is wrong.
    RightAdminToken,
    /// Patience: too many wrong admin tokens came.
    Patience {
        /// When one is compared again, in milliseconds.
        retry_after_ms: u64,
    },
    /// A way: nobody is admin here.
    AnyWay,
}

impl Missing {
    /// For the audit log: a closed set.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Scope => "scope",
            Self::AdminScope => "admin_scope_missing",
            Self::AdminScopeOrToken => "admin_scope_or_token_missing",
            Self::AdminToken => "admin_token_missing",
            Self::RightAdminToken => "admin_token_wrong",
            Self::Patience { .. } => "admin_token_throttled",
            Self::AnyWay => "nobody_is_admin",
        }
    }
}

/// Whether what was shown suffices for an act.
///
/// # Errors
/// What is missing.
pub(super) fn decide(
    rule: &Rule,
    evidence: &Evidence<'_>,
    action: Action<'_>,
) -> Result<Ground, Missing> {
    let has = |scope: &String| evidence.scopes.contains(scope);
    if let IdentityRule::Tokens {
        required_scopes, ..
    } = &rule.identity
        && !required_scopes.iter().all(has)
    {
        return Err(Missing::Scope);
    }
    if action == Action::Use {
        return Ok(Ground::LetIn);
    }
    match &rule.identity {
        IdentityRule::Tokens { admin_scope, .. } if has(admin_scope) => {
            return Ok(Ground::AdminScope);
        }
        IdentityRule::Local if !rule.has_admin_token => return Ok(Ground::Everybody),
        _ => {}
    }
    match (evidence.admin_token, &rule.identity) {
        (AdminToken::Right, _) => Ok(Ground::AdminToken),
        (AdminToken::Throttled { retry_after_ms }, _) => Err(Missing::Patience { retry_after_ms }),
        (AdminToken::Wrong, _) => Err(Missing::RightAdminToken),
        (AdminToken::Absent, IdentityRule::Tokens { .. }) if rule.has_admin_token => {
            Err(Missing::AdminScopeOrToken)
        }
        (AdminToken::Absent, IdentityRule::Tokens { .. }) => Err(Missing::AdminScope),
        (AdminToken::Absent, _) if rule.has_admin_token => Err(Missing::AdminToken),
        (AdminToken::Absent, _) => Err(Missing::AnyWay),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADMIN: Action<'static> = Action::Admin("dynamic.tool.create");

    fn tokens(required: &[&str]) -> IdentityRule {
        IdentityRule::Tokens {
            required_scopes: required.iter().map(|&scope| scope.to_owned()).collect(),
            admin_scope: "mcp.admin".to_owned(),
        }
    }

    #[test]
    fn every_way_in_and_what_is_missing() {
        use AdminToken::{Absent, Right, Throttled, Wrong};
        let check = |identity: &IdentityRule, has_admin_token, scopes: &str, token, expected| {
            let rule = Rule {
                identity: identity.clone(),
                has_admin_token,
            };
            let scopes: Vec<String> = scopes.split_whitespace().map(str::to_owned).collect();
            let evidence = Evidence {
                scopes: &scopes,
                admin_token: token,
            };
            let decided = decide(&rule, &evidence, ADMIN);
            assert_eq!(decided, expected, "{rule:?} {evidence:?}");
        };
        let patience = Missing::Patience { retry_after_ms: 7 };
        let throttled = Throttled { retry_after_ms: 7 };
        let (local, public) = (IdentityRule::Local, IdentityRule::Public);

        check(&local, false, "", Absent, Ok(Ground::Everybody));
        check(&local, true, "", Absent, Err(Missing::AdminToken));
        check(&local, true, "", Wrong, Err(Missing::RightAdminToken));
        check(&local, true, "", Right, Ok(Ground::AdminToken));
        check(&local, true, "", throttled, Err(patience));

        check(&public, false, "", Absent, Err(Missing::AnyWay));
        check(&public, true, "", Absent, Err(Missing::AdminToken));
        check(&public, true, "", Right, Ok(Ground::AdminToken));
        // A scope proves nothing where nobody checks tokens.
        check(&public, false, "mcp.admin", Absent, Err(Missing::AnyWay));

        let jwt = tokens(&["mcp.use"]);
        check(&jwt, false, "mcp.use", Absent, Err(Missing::AdminScope));
        check(
            &jwt,
            true,
            "mcp.use",
            Absent,
            Err(Missing::AdminScopeOrToken),
        );
        check(&jwt, true, "mcp.use", Right, Ok(Ground::AdminToken));
        check(&jwt, true, "mcp.use", Wrong, Err(Missing::RightAdminToken));
        check(&jwt, true, "mcp.use", throttled, Err(patience));
        check(
            &jwt,
            false,
            "mcp.use mcp.admin",
            Absent,
            Ok(Ground::AdminScope),
        );
        // The scope is enough by itself, and the token does not stand in for a required scope.
        check(
            &jwt,
            true,
            "mcp.use mcp.admin",
            Wrong,
            Ok(Ground::AdminScope),
        );
        check(&jwt, true, "mcp.admin", Right, Err(Missing::Scope));
        check(&jwt, true, "MCP.USE mcp.admin", Right, Err(Missing::Scope));
        check(
            &tokens(&[]),
            false,
            "mcp.administrator",
            Absent,
            Err(Missing::AdminScope),
        );
    }

    #[test]
    fn using_needs_the_required_scopes_and_no_more() {
        let check = |identity: IdentityRule, scopes: &[&str], expected| {
            let rule = Rule {
                identity,
                has_admin_token: true,
            };
            let scopes: Vec<String> = scopes.iter().map(|&scope| scope.to_owned()).collect();
            let evidence = Evidence {
                scopes: &scopes,
                admin_token: AdminToken::Absent,
            };
            assert_eq!(
                decide(&rule, &evidence, Action::Use),
                expected,
                "{scopes:?}"
            );
        };
        check(IdentityRule::Local, &[], Ok(Ground::LetIn));
        check(IdentityRule::Public, &[], Ok(Ground::LetIn));
        check(tokens(&[]), &[], Ok(Ground::LetIn));
        check(tokens(&["a", "b"]), &["b", "c", "a"], Ok(Ground::LetIn));
        check(tokens(&["a", "b"]), &["a"], Err(Missing::Scope));
        check(tokens(&["a", "b"]), &["a b"], Err(Missing::Scope));
    }
}
