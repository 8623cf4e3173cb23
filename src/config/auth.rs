//! What authentication and authority need to know.

use std::path::PathBuf;

use crate::base::secret::Secret;

use super::problem::Fault;
use super::url::Url;
use super::values::Values;
use super::warning::Warning;
use crate::base::address::is_loopback;

/// Who may call, and who may change tools.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// How callers prove who they are.
    pub mode: AuthMode,
    /// The secret that allows changing tools.
    pub admin_token: Option<Secret>,
    /// `MCP_REQUIRE_ADMIN_TOKEN`: on stdio the spawning user then needs the token, too.
    pub admin_token_required: bool,
}

/// How callers prove who they are.
#[derive(Clone, Debug)]
pub enum AuthMode {
    /// They do not.
    None,
    /// By a JSON Web Token.
    Jwt(JwtConfig),
}

/// Which tokens are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtConfig {
    /// Where the issuer's keys are.
    pub jwks: JwksSource,
    /// The `iss` a token must have.
    pub issuer: String,
    /// The `aud` a token must have.
    pub audience: String,
    /// Roots to trust for the keys' URL; the system's where `None`.
    pub ca_file: Option<PathBuf>,
    /// Scopes every token must have.
    pub required_scopes: Vec<String>,
    /// Scope that stands in for the admin token.
    pub admin_scope: String,
}

/// Where the issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksSource {
    /// An `https://` URL, or an `http://` one on loopback.
    Url(String),
    /// A file, for a site without network.
    File(PathBuf),
}

/// Tokens shorter than this can be guessed.
const SHORT_TOKEN_BYTES: usize = 16;

impl AuthConfig {
    pub(super) fn read(values: &mut Values) -> Self {
        let jwt = values.chosen("MCP_AUTH_MODE", "jwt");
        let jwks = read_jwks(values);
        check_exposure(values, jwt);
        check_admin_token(values);
        if jwt {
            let because = "with MCP_AUTH_MODE=jwt";
            for key in ["MCP_AUTH_JWKS_URL", "MCP_AUTH_ISSUER", "MCP_AUTH_AUDIENCE"] {
                values.require(key, "MCP_AUTH_MODE", because);
            }
            let stdio = values.chosen("MCP_TRANSPORT", "stdio");
            let rule = "jwt needs MCP_TRANSPORT=http: stdio has one caller, the spawning user";
            values.conflict(&["MCP_AUTH_MODE", "MCP_TRANSPORT"], stdio, rule);
        }
        let mode = match jwks.filter(|_| jwt) {
            None => AuthMode::None,
            Some(jwks) => AuthMode::Jwt(JwtConfig {
                jwks,
                issuer: values.owned_text("MCP_AUTH_ISSUER"),
                audience: values.owned_text("MCP_AUTH_AUDIENCE"),
                ca_file: values.path("MCP_AUTH_CA_FILE"),
                required_scopes: values.list("MCP_AUTH_REQUIRED_SCOPES").to_vec(),
                admin_scope: values.owned_text("MCP_AUTH_ADMIN_SCOPE"),
            }),
        };
        Self {
            mode,
            admin_token: values.secret("MCP_ADMIN_TOKEN").cloned(),
            admin_token_required: values.bool("MCP_REQUIRE_ADMIN_TOKEN"),
        }
    }
}

fn read_jwks(values: &mut Values) -> Option<JwksSource> {
    let text = values.text("MCP_AUTH_JWKS_URL")?.to_owned();
    let url = Url::parse(&text)?;
    if url.scheme == "file" {
        let local = url.host.is_empty() || url.host == "localhost";
        let plain = local && url.rest.len() > 1 && !url.rest.contains(['?', '#', '%']);
        let rule = "a file:// URL is file:///absolute/path, without escapes";
        values.conflict(&["MCP_AUTH_JWKS_URL"], !plain, rule);
        return Some(JwksSource::File(PathBuf::from(url.rest)));
    }
    let open = url.scheme == "http" && !url.is_loopback();
    let rule = "http:// is for loopback: over a network anybody could put keys of their own; \
                use https:// or file://";
    values.conflict(&["MCP_AUTH_JWKS_URL"], open, rule);
    Some(JwksSource::Url(text))
}

/// Without authentication only this machine may connect, unless the operator insists.
fn check_exposure(values: &mut Values, jwt: bool) {
    let public = values
        .address("MCP_HOST")
        .is_some_and(|host| !is_loopback(host));
    if jwt || !public || !values.chosen("MCP_TRANSPORT", "http") {
        return;
    }
    if !values.bool("MCP_ALLOW_UNAUTHENTICATED") {
        let rule = "others can reach this address, and MCP_AUTH_MODE=none lets every one of them \
                    run code: listen on 127.0.0.1, set MCP_AUTH_MODE=jwt, or \
                    MCP_ALLOW_UNAUTHENTICATED=true";
        let keys = ["MCP_HOST", "MCP_AUTH_MODE", "MCP_ALLOW_UNAUTHENTICATED"];
        values.conflict(&keys, true, rule);
    } else if values.secret("MCP_ADMIN_TOKEN").is_none() {
        values.warnings.push(Warning::NobodyIsAdmin);
    }
}

fn check_admin_token(values: &mut Values) {
    if values.bool("MCP_REQUIRE_ADMIN_TOKEN") {
        let because = "with MCP_REQUIRE_ADMIN_TOKEN=true, the default of enterprise+http+jwt";
        values.require("MCP_ADMIN_TOKEN", "MCP_REQUIRE_ADMIN_TOKEN", because);
    }
    let Some(token) = values
        .secret("MCP_ADMIN_TOKEN")
        .map(|token| token.reveal().len())
    else {
        return;
    };
    if token > MAX_TOKEN_BYTES {
        let rule =
            format!("is longer than {MAX_TOKEN_BYTES} bytes, so no HTTP header can carry it");
        values.fail("MCP_ADMIN_TOKEN", Fault::Conflict(rule));
    } else if token < SHORT_TOKEN_BYTES {
        values.warnings.push(Warning::ShortAdminToken);
    }
}

/// Far below any limit on a request's head.
const MAX_TOKEN_BYTES: usize = 1024;
