//! The operator's rule with all that it takes to judge callers by it: who is let in, what a caller
//! may do, and in which words it is told otherwise.

use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use super::authenticator::Authenticator;
use super::jwks::{KeysError, KeysHealth};
use super::jwt::Identity;
use super::rule::{Action, AdminToken, Evidence, Ground, IdentityRule, Missing, Rule, decide};
use super::throttle::{Guesser, Throttle};
use super::{AdminPermit, Caller, Denied, DeniedCaller, Presented, Refused};
use crate::base::address::network;
use crate::base::secret::Secret;
use crate::config::{AuthConfig, AuthMode};
use crate::domain::principal::Principal;

/// Who can reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The user who started it, alone: admin, unless the operator requires the admin token.
    Pipe,
    /// Everybody on this machine.
    Loopback,
    /// Others, too.
    Public,
}

/// The operator's rule, and all that it takes to judge callers by it. A cheap handle.
#[derive(Clone, Debug)]
pub struct Authority(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    rule: Rule,
    admin_token: Option<Secret>,
    tokens: Option<Authenticator>,
    throttle: Throttle,
    /// Everybody, where there are no tokens.
    local: Arc<Identity>,
}

impl Authority {
    /// For callers of this machine, without tokens of an issuer. Without an admin token every one
    /// of them is admin.
    pub fn new(admin_token: Option<Secret>) -> Self {
        Self::build(IdentityRule::Local, admin_token, None)
    }

    /// As configured. The issuer's keys come in the background.
    ///
    /// # Errors
    /// [`KeysError`] where there is no way to the issuer's keys.
    pub fn open(config: &AuthConfig, reach: Reach) -> Result<Self, KeysError> {
        let (identity, tokens) = match &config.mode {
            AuthMode::None if reach == Reach::Public => (IdentityRule::Public, None),
            AuthMode::None => (IdentityRule::Local, None),
            AuthMode::Jwt(jwt) => {
                let rule = IdentityRule::Tokens {
                    required_scopes: jwt.required_scopes.clone(),
                    admin_scope: jwt.admin_scope.clone(),
                };
                (rule, Some(Authenticator::start(jwt)?))
            }
        };
        let token = config.admin_token.clone();
        let token = token.filter(|_| reach != Reach::Pipe || config.admin_token_required);
        Ok(Self::build(identity, token, tokens))
    }

    fn build(
        identity: IdentityRule,
        admin_token: Option<Secret>,
        tokens: Option<Authenticator>,
    ) -> Self {
        let local = Identity {
            principal: Principal::local(),
            client: "local".to_owned(),
            scopes: Vec::new(),
            expires: SystemTime::UNIX_EPOCH,
        };
        Self(Arc::new(Shared {
            rule: Rule {
                identity,
                has_admin_token: admin_token.is_some(),
            },
            admin_token,
            tokens,
            throttle: Throttle::default(),
            local: Arc::new(local),
        }))
    }

    /// Whether callers need tokens of an issuer.
    pub fn needs_tokens(&self) -> bool {
        self.0.tokens.is_some()
    }

    /// Whether it is known at once who sends this `Authorization`: where no tokens are needed, and
    /// where its token was verified a moment ago.
    pub fn knows(&self, authorization: Option<&str>) -> bool {
        let tokens = self.0.tokens.as_ref();
        tokens.is_none_or(|tokens| tokens.knows(authorization))
    }

    /// The scopes that every token must have.
    pub fn required_scopes(&self) -> &[String] {
        match &self.0.rule.identity {
            IdentityRule::Tokens {
                required_scopes, ..
            } => required_scopes,
            IdentityRule::Local | IdentityRule::Public => &[],
        }
    }

    /// The rule in one line, for whoever starts the server.
    pub fn summary(&self) -> String {
        let token = self.0.rule.has_admin_token;
        match &self.0.rule.identity {
            IdentityRule::Tokens { admin_scope, .. } => {
                let issuer = self.issuer().unwrap_or_default();
                let or = if token { " or the admin token" } else { "" };
                format!("tokens of {issuer}; admin acts need the scope {admin_scope}{or}")
            }
            _ if token => "no authentication; admin acts need the admin token".to_owned(),
            IdentityRule::Local => {
                "no authentication: every caller on this machine is admin".to_owned()
            }
            IdentityRule::Public => "no authentication; nobody is admin".to_owned(),
        }
    }

    /// Whose tokens are accepted; `None` where none are needed.
    pub fn issuer(&self) -> Option<&str> {
        self.0.tokens.as_ref().map(Authenticator::issuer)
    }

    /// How the issuer's keys are; `None` where none are needed.
    pub(crate) fn keys_health(&self) -> Option<KeysHealth> {
        self.0.tokens.as_ref().map(Authenticator::health)
    }

    /// The caller at the other end of a pipe, who needs no token.
    pub fn local_caller(&self) -> Caller {
        Caller {
            identity: Arc::clone(&self.0.local),
            token: None,
            peer: None,
            admin_header: AdminToken::Absent,
            untold: Mutex::default(),
        }
    }

    /// Lets a request in, or not.
    ///
    /// # Errors
    /// [`Refused`]; never where callers need no tokens.
    pub fn admit(&self, presented: &Presented) -> Result<Caller, Refused> {
        let (identity, token) = match &self.0.tokens {
            None => (Arc::clone(&self.0.local), None),
            Some(tokens) => {
                let field = presented.authorization.as_ref().map(Secret::reveal);
                let (identity, digest) = tokens.authenticate(field)?;
                (identity, Some(digest))
            }
        };
        let mut caller = Caller {
            identity,
            token,
            peer: presented.peer,
            admin_header: AdminToken::Absent,
            untold: Mutex::default(),
        };
        self.authorize(&caller, Action::Use, None)
            .map_err(|denied| {
                Refused::Denied(Box::new(DeniedCaller {
                    denied,
                    principal: caller.principal().clone(),
                    client: caller.client().to_owned(),
                }))
            })?;
        // Nobody guesses the admin token who is not let in.
        let header = presented.admin_token.as_ref().map(Secret::reveal);
        caller.admin_header = self.compare(&caller, header);
        caller.note(caller.admin_header);
        Ok(caller)
    }

    /// Whether `caller` may do `action`, and why; `argument` is the `adminToken` that old clients
    /// send among a tool's arguments.
    ///
    /// # Errors
    /// [`Denied`], saying what was missing.
    pub fn authorize(
        &self,
        caller: &Caller,
        action: Action<'_>,
        argument: Option<&str>,
    ) -> Result<Ground, Denied> {
        let admin_token = match caller.admin_header {
            AdminToken::Absent => {
                let compared = self.compare(caller, argument);
                caller.note(compared);
                compared
            }
            compared => compared,
        };
        let evidence = Evidence {
            scopes: caller.scopes(),
            admin_token,
        };
        decide(&self.0.rule, &evidence, action).map_err(|missing| self.explain(missing, action))
    }

    /// The same for an admin act.
    ///
    /// # Errors
    /// [`Denied`], saying what was missing.
    pub fn permit_admin(
        &self,
        caller: &Caller,
        act: &str,
        argument: Option<&str>,
    ) -> Result<AdminPermit, Denied> {
        let ground = self.authorize(caller, Action::Admin(act), argument)?;
        Ok(AdminPermit(ground))
    }

    /// Whether `caller` is shown the admin acts: where it may do them, and where an `adminToken`
    /// argument, which no listing carries, is the usual way in.
    pub fn shows_admin_acts(&self, caller: &Caller) -> bool {
        match self.authorize(caller, Action::Admin("listing"), None) {
            Ok(_) => true,
            Err(denied) => denied.missing == Missing::AdminToken,
        }
    }

    /// Compares an admin token, unless its sender guesses.
    fn compare(&self, caller: &Caller, guess: Option<&str>) -> AdminToken {
        let (Some(token), Some(guess)) = (&self.0.admin_token, guess) else {
            return AdminToken::Absent;
        };
        let now = Instant::now();
        let guesser = Guesser {
            principal: caller.principal().clone(),
            network: match caller.token {
                None => caller.peer.map(network),
                Some(_) => None,
            },
        };
        if let Some(wait) = self.0.throttle.wait(&guesser, now) {
            let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            return AdminToken::Throttled {
                retry_after_ms: millis.max(1),
            };
        }
        if token.matches(guess) {
            return AdminToken::Right;
        }
        self.0.throttle.count(&guesser, now);
        AdminToken::Wrong
    }

    fn explain(&self, missing: Missing, action: Action<'_>) -> Denied {
        let act = match action {
            Action::Use => "this",
            Action::Admin(name) => name,
        };
        let (required, admin) = match &self.0.rule.identity {
            IdentityRule::Tokens {
                required_scopes,
                admin_scope,
            } => (required_scopes.as_slice(), admin_scope.as_str()),
            IdentityRule::Local | IdentityRule::Public => (&[][..], ""),
        };
        let text = match missing {
            Missing::Scope => format!("the token lacks scopes: needed are {}", required.join(" ")),
            Missing::AdminScope => format!("{act} needs the scope {admin}"),
            Missing::AdminScopeOrToken => format!(
                "{act} needs the scope {admin}, or the admin token in the header x-mcp-admin-token"
            ),
            Missing::AdminToken => {
                format!("{act} needs the admin token: send it in the header x-mcp-admin-token")
            }
            Missing::RightAdminToken => "the admin token is wrong".to_owned(),
            Missing::Patience { retry_after_ms } => {
                format!("too many wrong admin tokens came; try again in {retry_after_ms} ms")
            }
            Missing::AnyWay => format!(
                "{act} is for admins, and this server has none: its operator must set \
                 MCP_ADMIN_TOKEN, or MCP_AUTH_MODE=jwt"
            ),
        };
        let mut scopes = Vec::new();
        if !admin.is_empty() && !matches!(missing, Missing::Patience { .. }) {
            scopes.extend_from_slice(required);
            if action != Action::Use && !required.iter().any(|scope| scope == admin) {
                scopes.push(admin.to_owned());
            }
        }
        Denied {
            missing,
            scopes,
            text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::TokenFault;

    #[test]
    fn admin_by_token_in_header_or_argument() {
        let authority = Authority::new(Some(Secret::new("open")));
        let check = |header: Option<&str>, argument: Option<&str>, expected: Option<Missing>| {
            let presented = Presented {
                admin_token: header.map(Secret::new),
                ..Presented::default()
            };
            let caller = authority.admit(&presented).unwrap();
            let denied = authority.permit_admin(&caller, "act", argument).err();
            let missing = denied.map(|denied| denied.missing);
            assert_eq!(missing, expected, "{header:?} {argument:?}");
        };
        check(None, None, Some(Missing::AdminToken));
        check(Some("open"), None, None);
        check(None, Some("open"), None);
        check(Some("shut"), Some("open"), Some(Missing::RightAdminToken));
        check(None, Some(""), Some(Missing::RightAdminToken));
    }

    #[test]
    fn metrics_know_every_reason() {
        use TokenFault as Fault;
        let faults = [
            Fault::TooLong,
            Fault::Malformed,
            Fault::Type,
            Fault::Critical,
            Fault::UnknownKey,
            Fault::Algorithm,
            Fault::Signature,
            Fault::Expired,
            Fault::NotYetValid,
            Fault::Issuer,
            Fault::Audience,
            Fault::Claims,
        ];
        let denied = Authority::new(None).explain(Missing::Scope, Action::Use);
        let others = [
            Refused::NoToken,
            Refused::Malformed(""),
            Refused::NoKeys,
            Refused::Denied(Box::new(DeniedCaller {
                denied,
                principal: Principal::local(),
                client: String::new(),
            })),
        ];
        let mut unseen = crate::metrics::AUTH_DENIALS.to_vec();
        for refused in faults.map(Refused::Invalid).into_iter().chain(others) {
            assert!(
                crate::metrics::AUTH_DENIALS.contains(&refused.reason()),
                "{refused:?}"
            );
            unseen.retain(|reason| *reason != refused.reason());
        }
        assert!(unseen.is_empty(), "{unseen:?}");
    }

    #[test]
    fn without_a_token_everybody_is_admin() {
        let authority = Authority::new(None);
        let caller = authority.admit(&Presented::default()).unwrap();
        let permit = authority.permit_admin(&caller, "act", None).unwrap();
        assert_eq!(permit.ground(), Ground::Everybody);
        assert!(authority.shows_admin_acts(&caller));
    }

    #[test]
    fn nobody_is_admin_of_a_public_server_without_any_rule() {
        let authority = Authority::open(&config(None, false), Reach::Public).unwrap();
        let caller = authority.admit(&Presented::default()).unwrap();
        let denied = authority
            .permit_admin(&caller, "act", Some("x"))
            .unwrap_err();
        assert_eq!(denied.missing, Missing::AnyWay);
        assert!(denied.scopes.is_empty());
        assert!(!authority.shows_admin_acts(&caller));
    }

    fn config(admin_token: Option<&str>, admin_token_required: bool) -> AuthConfig {
        AuthConfig {
            mode: AuthMode::None,
            admin_token: admin_token.map(Secret::new),
            admin_token_required,
        }
    }

    #[test]
    fn the_user_at_the_pipe_is_admin_unless_the_token_is_required() {
        let check = |reach, config: AuthConfig, expected: Result<Ground, Missing>| {
            let authority = Authority::open(&config, reach).unwrap();
            let caller = authority.local_caller();
            let decided = authority.authorize(&caller, Action::Admin("act"), None);
            let decided = decided.map_err(|denied| denied.missing);
            assert_eq!(decided, expected, "{reach:?} {config:?}");
        };
        check(Reach::Pipe, config(None, false), Ok(Ground::Everybody));
        check(Reach::Pipe, config(Some("t"), false), Ok(Ground::Everybody));
        check(
            Reach::Pipe,
            config(Some("t"), true),
            Err(Missing::AdminToken),
        );
        check(Reach::Loopback, config(None, false), Ok(Ground::Everybody));
        check(
            Reach::Loopback,
            config(Some("t"), false),
            Err(Missing::AdminToken),
        );
    }

    #[test]
    fn guesses_end_in_a_wait_even_for_the_right_token() {
        let authority = Authority::new(Some(Secret::new("open")));
        let admit = |guess: &str| {
            let presented = Presented {
                admin_token: Some(Secret::new(guess)),
                ..Presented::default()
            };
            let caller = authority.admit(&presented).unwrap();
            authority
                .permit_admin(&caller, "act", None)
                .map_err(|denied| denied.missing)
        };
        assert!(admit("open").is_ok());
        for guess in 0..10 {
            let missing = admit(&guess.to_string()).unwrap_err();
            assert_eq!(missing, Missing::RightAdminToken, "{guess}");
        }
        for guess in ["wrong", "open"] {
            let missing = admit(guess).unwrap_err();
            assert!(matches!(missing, Missing::Patience { .. }), "{missing:?}");
        }
    }
}
