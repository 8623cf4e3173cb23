//! Origin and Host: what keeps web pages of strangers away from a server on the loopback
//! (MCP 2026-07-28, basic/transports, security warning).

use crate::base::address::is_loopback_host;
use crate::config::{HttpConfig, OriginRule};

/// The operator's rules.
#[derive(Clone, Debug)]
pub(super) struct AccessRules {
    origins: Vec<OriginRule>,
    hosts: Vec<String>,
    loopback: bool,
}

impl AccessRules {
    pub(super) fn new(config: &HttpConfig, loopback: bool) -> Self {
        Self {
            origins: config.allowed_origins.clone(),
            hosts: config.allowed_hosts.clone(),
            loopback,
        }
    }

    /// Whether a request of this `Origin` may be answered. Without one it comes from no web page.
    pub(super) fn allows_origin(&self, origin: Option<&str>) -> bool {
        let Some(origin) = origin else { return true };
        let origin = origin.to_ascii_lowercase();
        self.origins.iter().any(|rule| match rule {
            OriginRule::Exact(allowed) => *allowed == origin,
            OriginRule::Loopback => {
                let host = origin
                    .strip_prefix("http://")
                    .or(origin.strip_prefix("https://"));
                host.is_some_and(|host| is_loopback_host(host_name(host)))
            }
        })
    }

    /// Whether a request may name this `Host`: checked on a loopback bind, where a stranger's name
    /// means DNS rebinding, and where the operator listed names.
    pub(super) fn allows_host(&self, host: Option<&str>) -> bool {
        if !self.loopback && self.hosts.is_empty() {
            return true;
        }
        let Some(host) = host else { return false };
        let host = host.to_ascii_lowercase();
        let name = host_name(&host);
        self.hosts
            .iter()
            .any(|allowed| *allowed == host || allowed == name)
            || (self.loopback && is_loopback_host(name))
    }
}

/// A host without its port; an IPv6 address without its brackets.
fn host_name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(hosts: &[&str], loopback: bool) -> AccessRules {
        let origins = vec![
            OriginRule::Loopback,
            OriginRule::Exact("https://app.example".to_owned()),
        ];
        AccessRules {
            origins,
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            loopback,
        }
    }

    #[test]
    fn origins() {
        let check = |origin: Option<&str>, allowed: bool| {
            assert_eq!(
                rules(&[], true).allows_origin(origin),
                allowed,
                "{origin:?}"
            );
        };
        check(None, true);
        check(Some("http://localhost:3000"), true);
        check(Some("https://127.0.0.1"), true);
        check(Some("http://[::1]:80"), true);
        check(Some("https://app.example"), true);
        check(Some("HTTPS://App.Example"), true);
        check(Some("https://app.example:8443"), false);
        check(Some("null"), false);
        check(Some("http://evil.example"), false);
        check(Some("http://localhost.evil.example"), false);
        check(Some("file://localhost"), false);
        check(Some(""), false);
    }

    #[test]
    fn hosts() {
        let check = |rules: &AccessRules, host: Option<&str>, allowed: bool| {
            assert_eq!(rules.allows_host(host), allowed, "{host:?}");
        };
        let local = rules(&[], true);
        check(&local, Some("localhost:8788"), true);
        check(&local, Some("127.0.0.1"), true);
        check(&local, Some("[::1]:8788"), true);
        check(&local, Some("evil.example"), false);
        check(&local, None, false);
        let public = rules(&[], false);
        check(&public, Some("anything.example"), true);
        let listed = rules(&["mcp.example", "other.example:8443"], false);
        check(&listed, Some("MCP.example:443"), true);
        check(&listed, Some("other.example:8443"), true);
        check(&listed, Some("other.example"), false);
        check(&listed, Some("localhost"), false);
    }
}
