//! As much of an absolute URL (RFC 3986 §3) as settings need: its scheme, whether it has
//! credentials, host, port, the rest. Nothing is resolved or decoded.

use std::net::Ipv6Addr;

/// The parts of a URL, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Url<'a> {
    /// Lower case.
    pub(super) scheme: &'a str,
    /// Whether there is anything before an `@`.
    pub(super) has_user: bool,
    /// A name, an IPv4 address or an IPv6 address without its brackets; empty for `file:///x`.
    pub(super) host: &'a str,
    /// As given.
    pub(super) port: Option<u16>,
    /// Path, query and fragment.
    pub(super) rest: &'a str,
}

impl<'a> Url<'a> {
    /// Splits `text`; `None` for anything that is no `scheme://host…` of visible ASCII.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        if text.len() > 2048 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let (scheme, after) = text.split_once("://")?;
        let end = after.find(['/', '?', '#']).unwrap_or(after.len());
        let (authority, rest) = after.split_at_checked(end)?;
        let (has_user, place) = match authority.rsplit_once('@') {
            Some((_, place)) => (true, place),
            None => (false, authority),
        };
        let (host, port) = split_port(place)?;
        let empty_host_allowed = scheme == "file" && port.is_none() && !has_user;
        let sound = is_scheme(scheme) && (is_host(host) || host.is_empty() && empty_host_allowed);
        sound.then_some(Self {
            scheme,
            has_user,
            host,
            port,
            rest,
        })
    }

    /// Whether it is a bare origin (RFC 6454 §6.1): no credentials, no path.
    pub(super) fn is_origin(&self) -> bool {
        !self.has_user && self.rest.is_empty() && !self.host.is_empty()
    }

    /// Whether the host is this machine by its address or the name `localhost`.
    pub(super) fn is_loopback(&self) -> bool {
        crate::base::address::is_loopback_host(self.host)
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`.
fn split_port(place: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = if let Some(six) = place.strip_prefix('[') {
        let (host, after) = six.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        match after {
            "" => return Some((host, None)),
            _ => (host, after.strip_prefix(':')?),
        }
    } else {
        match place.split_once(':') {
            None => return Some((place, None)),
            Some(parts) => parts,
        }
    };
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = digits.then(|| port.parse().ok())??;
    Some((host, Some(port)))
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte)
        })
}

/// A name or an address; underscores are no DNS, yet common in container networks.
fn is_host(host: &str) -> bool {
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let name = !host.is_empty() && host.len() <= 253 && host.bytes().all(of_name);
    name || host.parse::<Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_in_parts() {
        let check = |text: &str, expected: Option<(&str, bool, &str, Option<u16>, &str)>| {
            let parts = Url::parse(text)
                .map(|url| (url.scheme, url.has_user, url.host, url.port, url.rest));
            assert_eq!(parts, expected, "{text}");
        };
        check(
            "https://a.example/x?y#z",
            Some(("https", false, "a.example", None, "/x?y#z")),
        );
        check("http://u:p@h:80", Some(("http", true, "h", Some(80), "")));
        check(
            "tcp://[::1]:2376",
            Some(("tcp", false, "::1", Some(2376), "")),
        );
        check("tcp://[::1]", Some(("tcp", false, "::1", None, "")));
        check("http://@h", Some(("http", true, "h", None, "")));
        check("http://a?b@c", Some(("http", false, "a", None, "?b@c")));
        check(
            "file:///etc/jwks.json",
            Some(("file", false, "", None, "/etc/jwks.json")),
        );
        let refused = [
            "",
            "a",
            "://h",
            "http://",
            "http:///x",
            "http://h:",
            "http://h:x",
            "http://h:99999",
            "http://h:+1",
            "http://[::1",
            "http://[x]",
            "http://::1",
            "http://a b",
            "1http://h",
            "HTTP://h",
            "http://h\n",
            "http://ä",
            "file://u@/x",
            "http://h%00",
        ];
        for text in refused {
            check(text, None);
        }
        check(&format!("http://h/{}", "a".repeat(2048)), None);
    }
}
