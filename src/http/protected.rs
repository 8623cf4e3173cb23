//! The boundary: who a request comes from, the challenges of those not let in (RFC 6750, section 3)
//! and the metadata of a protected resource (RFC 9728). What is said of us comes from settings, not
//! from requests.

use serde_json::{Value, json};
use std::net::SocketAddr;

use super::Shared;
use super::request::Request;
use super::response::Answer;
use crate::audit::{Action, Actor, Details, Event};
use crate::auth::{Authority, Caller, Denied, Presented, Refused};
use crate::base::secret::Secret;

/// Where the metadata are; the endpoint's own path may follow.
pub(super) const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
/// When a client may try again whose token could not be checked, in seconds.
const KEYS_HINT_SECONDS: &str = "5";

/// How this server names itself as a protected resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resource {
    /// The endpoint's URL, without a trailing slash.
    url: String,
    /// The URL of its metadata.
    metadata_url: String,
}

impl Resource {
    /// As the operator says, else as the server is bound.
    pub(super) fn new(public_url: Option<&str>, path: &str, bound: SocketAddr) -> Self {
        let url = public_url.map_or_else(|| format!("http://{bound}{path}"), str::to_owned);
        let url = url.trim_end_matches('/').to_owned();
        let start = url.find("://").map_or(0, |at| at + 3);
        let path = url.get(start..).and_then(|rest| rest.find('/'));
        let path = path.map_or(url.len(), |at| start + at);
        let (origin, path) = url.split_at_checked(path).unwrap_or((&url, ""));
        Self {
            metadata_url: format!("{origin}{WELL_KNOWN}{path}"),
            url,
        }
    }

    fn metadata(&self, authority: &Authority) -> Option<Value> {
        let mut body = json!({
            "resource": self.url,
            "authorization_servers": [authority.issuer()?],
            "bearer_methods_supported": ["header"],
            "resource_name": "dynamic-mcp",
        });
        // The admin scope is not among them: clients ask for all that they see here.
        let scopes = authority.required_scopes();
        if let Some(fields) = body.as_object_mut().filter(|_| !scopes.is_empty()) {
            fields.insert("scopes_supported".to_owned(), json!(scopes));
        }
        Some(body)
    }

    /// A challenge: where the metadata are, which scopes are needed, what was wrong.
    fn challenge(&self, scopes: &[String], error: Option<(&str, &str)>) -> String {
        let mut text = format!("Bearer resource_metadata=\"{}\"", self.metadata_url);
        if !scopes.is_empty() {
            text.push_str(&format!(", scope=\"{}\"", quotable(&scopes.join(" "))));
        }
        if let Some((code, description)) = error {
            let description = quotable(description);
            text.push_str(&format!(
                ", error=\"{code}\", error_description=\"{description}\""
            ));
        }
        text
    }
}

/// The same without what would end a quoted string.
fn quotable(text: &str) -> String {
    text.chars()
        .map(|c| if c == '"' || c == '\\' { '\'' } else { c })
        .filter(|c| (' '..='~').contains(c))
        .collect()
}

/// Answers a request for the metadata; anybody may read them, web pages too.
pub(super) fn metadata(shared: &Shared, request: &Request<'_>) -> Answer {
    let body = shared.resource.metadata(&shared.services.authority);
    let Some(body) = body else {
        return Answer::error(404, "there is nothing at this path");
    };
    let answer = match request.method {
        "GET" | "HEAD" => Answer::json(200, body.to_string()),
        "OPTIONS" => Answer::empty(204)
            .with("Access-Control-Allow-Methods", "GET, OPTIONS")
            .with("Access-Control-Allow-Headers", "mcp-protocol-version")
            .with("Access-Control-Max-Age", "600"),
        _ => Answer::error(405, "this path takes GET").with("Allow", "GET, HEAD, OPTIONS"),
    };
    answer.with("Access-Control-Allow-Origin", "*")
}

/// Who sends a request, before anything else of it is looked at; else the answer to it.
pub(super) fn admit(
    shared: &Shared,
    request: &Request<'_>,
    request_id: &str,
) -> Result<Caller, Answer> {
    let caller =
        present(shared, request).and_then(|presented| shared.services.authority.admit(&presented));
    if shared.services.authority.needs_tokens() {
        record(shared, request_id, &caller)?;
    }
    caller.map_err(|refused| refusal(shared, &refused))
}

/// Counts and audits who was let in and who was not; what cannot be audited is not let in.
fn record(
    shared: &Shared,
    request_id: &str,
    caller: &Result<Caller, Refused>,
) -> Result<(), Answer> {
    let (metrics, audit) = (&shared.services.metrics, &shared.services.audit);
    let event = |actor| event(shared, request_id, actor);
    match caller {
        Ok(caller) => {
            metrics.count_authenticated();
            let actor = actor(caller);
            let scopes = caller.scopes().to_vec();
            let token = caller.token_digest().copied().unwrap_or_default();
            audit
                .authenticated(&event(actor), &token, Details::Authenticated { scopes })
                .map_err(|_| Answer::error(503, "the request cannot be audited; try again later"))
        }
        Err(refused) => {
            metrics.count_auth_denied(refused.reason());
            let actor = match refused {
                Refused::Denied(caller) => Actor::of_client(&caller.principal, &caller.client),
                _ => Actor::default(),
            };
            audit.deny(&event(actor), refused.reason(), None);
            Ok(())
        }
    }
}

/// Audits a wrong admin token that no act was refused for: a guess is one, whatever it came with.
pub(super) fn record_wrong_admin_token(shared: &Shared, request_id: &str, caller: &Caller) {
    if let Some(wrong) = caller.take_wrong_admin_token() {
        let event = event(shared, request_id, actor(caller));
        shared.services.audit.deny(&event, wrong.reason(), None);
    }
}

fn event(shared: &Shared, request_id: &str, actor: Actor) -> Event {
    Event {
        action: Action::HttpAuth,
        actor,
        target: shared.routes.mcp().to_owned(),
        request_id: request_id.to_owned(),
    }
}

fn actor(caller: &Caller) -> Actor {
    Actor::of_client(caller.principal(), caller.client())
}

fn present(shared: &Shared, request: &Request<'_>) -> Result<Presented, Refused> {
    let authorization = request.header("Authorization");
    if shared.services.authority.needs_tokens() && authorization.is_some() {
        if request.is_repeated("Authorization") {
            return Err(Refused::Malformed("the header Authorization occurs twice"));
        }
        let query = request
            .target
            .split_once('?')
            .map_or("", |(_, query)| query);
        if query
            .split('&')
            .any(|pair| pair.starts_with("access_token="))
        {
            let why = "a token belongs into the Authorization header alone, never into the URL";
            return Err(Refused::Malformed(why));
        }
    }
    Ok(Presented {
        authorization: authorization.map(Secret::new),
        admin_token: request.header("x-mcp-admin-token").map(Secret::new),
        peer: request
            .header("X-Gate-Peer")
            .and_then(|peer| peer.parse().ok()),
    })
}

/// The answer to a request that is not let in.
fn refusal(shared: &Shared, refused: &Refused) -> Answer {
    let text = refused.to_string();
    let required = shared.services.authority.required_scopes();
    let (status, error) = match refused {
        Refused::Denied(caller) => {
            return denial(shared, &caller.denied, Answer::error(403, &text));
        }
        Refused::NoKeys => {
            return Answer::error(503, &text).with("Retry-After", KEYS_HINT_SECONDS);
        }
        Refused::NoToken => (401, None),
        Refused::Malformed(_) => (400, Some(("invalid_request", text.as_str()))),
        Refused::Invalid(_) => (401, Some(("invalid_token", text.as_str()))),
    };
    let challenge = shared.resource.challenge(required, error);
    Answer::error(status, &text).with("WWW-Authenticate", challenge)
}

/// Adds to the answer of a denied act which scopes it needs.
pub(super) fn denial(shared: &Shared, denied: &Denied, answer: Answer) -> Answer {
    let text = denied.to_string();
    let error = Some(("insufficient_scope", text.as_str()));
    let challenge = shared.resource.challenge(&denied.scopes, error);
    answer.with("WWW-Authenticate", challenge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resource_and_its_metadata_have_urls() {
        let check = |public: Option<&str>, url: &str, metadata: &str| {
            let resource = Resource::new(public, "/mcp", "127.0.0.1:8788".parse().unwrap());
            assert_eq!(
                (resource.url.as_str(), resource.metadata_url.as_str()),
                (url, metadata)
            );
        };
        let own = "http://127.0.0.1:8788/.well-known/oauth-protected-resource/mcp";
        check(None, "http://127.0.0.1:8788/mcp", own);
        let far = "https://a.example/.well-known/oauth-protected-resource";
        check(
            Some("https://a.example/mcp"),
            "https://a.example/mcp",
            &format!("{far}/mcp"),
        );
        check(
            Some("https://a.example/x/mcp/"),
            "https://a.example/x/mcp",
            &format!("{far}/x/mcp"),
        );
        check(Some("https://a.example"), "https://a.example", far);
    }

    #[test]
    fn challenges_quote_nothing_that_ends_a_quote() {
        let resource = Resource {
            url: String::new(),
            metadata_url: "https://a/m".to_owned(),
        };
        let check = |scopes: &[&str], error, expected: &str| {
            let scopes: Vec<String> = scopes.iter().map(|&scope| scope.to_owned()).collect();
            assert_eq!(resource.challenge(&scopes, error), expected);
        };
        check(&[], None, r#"Bearer resource_metadata="https://a/m""#);
        check(
            &["a", "b"],
            Some(("invalid_token", "say \"\\é\r\nx")),
            r#"Bearer resource_metadata="https://a/m", scope="a b", error="invalid_token", error_description="say ''x""#,
        );
    }
}
