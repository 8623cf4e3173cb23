//! URIs and templates of them (RFC 3986, RFC 6570), as far as a URI can be told to be of a template
//! in one pass over it: `{name}`, which has no character that means something in a URI, and
//! `{+name}`, which may have any. Between two expressions there is text, and an expression ends
//! where that text begins for the first time; the last one goes up to the end.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Longest URI or template, in bytes.
pub const MAX_URI_BYTES: usize = 2048;
/// Most expressions of one template.
const MAX_VARIABLES: usize = 16;
/// Longest name of a variable, in bytes.
const MAX_NAME_BYTES: usize = 64;

const URI_RULE: &str = "must be an absolute URI of 3 to 2048 visible ASCII characters, its scheme \
     in lower case, such as notes://today; others are percent-encoded";
const AUTHORITY_RULE: &str = "must have a host, and a port of 0 to 65535 or none, between // and \
     the next / where clients read it as a URL: write notes:///x:y for what is no host";
const TEMPLATE_RULE: &str = "must be an absolute URI of 3 to 2048 visible ASCII characters with \
     at least one {name} in it and none in its scheme, which is in lower case, such as \
     notes://{day}";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part<'a> {
    Text(&'a str),
    Variable {
        name: &'a str,
        /// `{+name}`: reserved characters too.
        takes_all: bool,
    },
}

/// A template, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UriTemplate<'a>(Vec<Part<'a>>);

/// Checks a URI.
///
/// # Errors
/// The rule it breaks.
pub fn check_uri(uri: &str) -> Result<(), String> {
    let is_good = is_sized(uri) && has_scheme(uri) && uri.bytes().all(is_of_uris);
    if !is_good {
        return Err(URI_RULE.to_owned());
    }
    let is_url = uri.split_once(':').is_some_and(is_url);
    is_url
        .then_some(())
        .ok_or_else(|| AUTHORITY_RULE.to_owned())
}

/// Whether readers of URLs (WHATWG, URL Standard, section 4.4) take it: clients drop a whole list
/// for one URI that theirs does not.
fn is_url((scheme, rest): (&str, &str)) -> bool {
    let needs_host = ["http", "https", "ws", "wss", "ftp"].contains(&scheme);
    let Some(rest) = rest.strip_prefix("//") else {
        return !needs_host;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (user, at) = match authority.rsplit_once('@') {
        Some((_, at)) => (true, at),
        None => (false, authority),
    };
    // The colons of an IPv6 address stand in brackets.
    let behind = at.rfind(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match at.get(behind..).and_then(|rest| rest.find(':')) {
        Some(colon) => at.split_at(behind + colon),
        None => (at, ""),
    };
    let digits = port.strip_prefix(':').unwrap_or_default();
    let is_port = digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits.is_empty() || digits.parse::<u16>().is_ok());
    if host.is_empty() {
        return !needs_host && !user && port.is_empty();
    }
    is_port
        && is_host(host, needs_host || scheme == "file")
        && (scheme != "file" || port.is_empty())
}

/// In URLs of the known schemes a host is a domain or an address; in others it is any text.
fn is_host(host: &str, is_domain: bool) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']').map(str::parse::<Ipv6Addr>);
        return matches!(address, Some(Ok(_)));
    }
    let last = host
        .trim_end_matches('.')
        .rsplit('.')
        .next()
        .unwrap_or_default();
    let is_number = last.starts_with("0x")
        || !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    !host.contains(['[', ']', '@'])
        && (!is_domain || !host.contains('%') && (!is_number || host.parse::<Ipv4Addr>().is_ok()))
}

fn is_sized(uri: &str) -> bool {
    (3..=MAX_URI_BYTES).contains(&uri.len())
}

/// RFC 3986 §3.1 in lower case, as readers of URLs make it, and something behind the colon.
fn has_scheme(uri: &str) -> bool {
    uri.split_once(':').is_some_and(|(scheme, rest)| {
        let mut bytes = scheme.bytes();
        bytes.next().is_some_and(|first| first.is_ascii_lowercase())
            && bytes.all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte)
            })
            && !rest.is_empty()
    })
}

/// RFC 3986 §2, and no more.
fn is_of_uris(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte)
}

/// RFC 3986 §2.3, the percent sign of what is encoded, and what `encodeURIComponent` leaves.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!'()*".contains(&byte)
}

impl<'a> UriTemplate<'a> {
    /// Takes a template apart.
    ///
    /// # Errors
    /// The rule it breaks, with the mend.
    pub fn parse(text: &'a str) -> Result<Self, String> {
        let scheme = text.split('{').next().unwrap_or_default();
        if !is_sized(text) || !scheme.contains(':') || scheme.len() == text.len() {
            return Err(TEMPLATE_RULE.to_owned());
        }
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, behind)) = rest.split_once('{') {
            let (expression, after) = behind
                .split_once('}')
                .ok_or_else(|| "has a { without its }".to_owned())?;
            if !before.is_empty() {
                parts.push(Part::Text(before));
            } else if !parts.is_empty() {
                return Err("must have text between two expressions".to_owned());
            }
            parts.push(variable(expression)?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest));
        }
        let template = Self(parts);
        template.check()?;
        Ok(template)
    }

    fn check(&self) -> Result<(), String> {
        let texts = self.0.iter().filter_map(|part| match part {
            Part::Text(text) => Some(*text),
            Part::Variable { .. } => None,
        });
        let whole: String = texts.collect();
        // A variable may stand right behind the scheme.
        if !has_scheme(&format!("{whole}x")) || !whole.bytes().all(is_of_uris) {
            return Err(TEMPLATE_RULE.to_owned());
        }
        let names: Vec<&str> = self.variables().collect();
        let is_repeated = |(at, name): (usize, &&str)| names.iter().take(at).any(|it| it == name);
        if names.len() > MAX_VARIABLES || names.iter().enumerate().any(is_repeated) {
            return Err(format!(
                "must have at most {MAX_VARIABLES} variables, none of them twice"
            ));
        }
        Ok(())
    }

    /// Names of its variables, in their order.
    pub fn variables(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Variable { name, .. } => Some(*name),
        })
    }

    /// How much of it is text, in bytes: of two templates that a URI is of, the one that says more.
    pub fn text_bytes(&self) -> usize {
        let texts = self.0.iter().map(|part| match part {
            Part::Text(text) => text.len(),
            Part::Variable { .. } => 0,
        });
        texts.sum()
    }

    /// Values of its variables, decoded, where `uri` is of this template; none of them is empty.
    pub fn values(&self, uri: &str) -> Option<Vec<(&'a str, String)>> {
        let (mut values, mut rest) = (Vec::new(), uri);
        let mut parts = self.0.iter().peekable();
        while let Some(part) = parts.next() {
            let (name, takes_all) = match part {
                Part::Text(text) => {
                    rest = rest.strip_prefix(text)?;
                    continue;
                }
                Part::Variable { name, takes_all } => (*name, *takes_all),
            };
            let value = match parts.next() {
                None => std::mem::take(&mut rest),
                Some(Part::Text(text)) if parts.peek().is_none() => {
                    std::mem::take(&mut rest).strip_suffix(text)?
                }
                Some(Part::Text(text)) => {
                    let (value, behind) = rest.split_once(text)?;
                    rest = behind;
                    value
                }
                Some(Part::Variable { .. }) => return None,
            };
            let fits = |byte| is_plain(byte) || takes_all && is_of_uris(byte);
            if value.is_empty() || !value.bytes().all(fits) {
                return None;
            }
            values.push((name, decoded(value)?));
        }
        rest.is_empty().then_some(values)
    }
}

/// The same for all templates that the same URIs are of, whatever their variables' names. The text
/// is one that parses: it is not taken apart again.
pub fn shape(template: &str) -> String {
    let mut shape = String::with_capacity(template.len());
    for (at, part) in template.split('{').enumerate() {
        if at == 0 {
            shape.push_str(part);
        } else if let Some((expression, text)) = part.split_once('}') {
            let takes_all = expression.starts_with('+');
            shape.push_str(if takes_all { "{+}" } else { "{}" });
            shape.push_str(text);
        }
    }
    shape
}

fn variable(expression: &str) -> Result<Part<'_>, String> {
    let plain = expression.strip_prefix('+');
    let name = plain.unwrap_or(expression);
    let is_of_names = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if !(1..=MAX_NAME_BYTES).contains(&name.len()) || !name.bytes().all(is_of_names) {
        return Err(format!(
            "has an expression that is not served; there are {{name}} and {{+name}}, with names \
             of 1 to {MAX_NAME_BYTES} letters, digits and underscores: write lists, prefixes and \
             queries out, such as ?page={{page}}"
        ));
    }
    let takes_all = plain.is_some();
    Ok(Part::Variable { name, takes_all })
}

/// Percent-decoded; nothing where that is no UTF-8.
fn decoded(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_of_a_template() {
        let check = |template: &str, uri: &str, expected: Option<&[(&str, &str)]>| {
            let parsed = UriTemplate::parse(template).unwrap();
            let found = parsed.values(uri);
            let expected = expected.map(|pairs| {
                let pairs = pairs
                    .iter()
                    .map(|(name, value)| (*name, (*value).to_owned()));
                pairs.collect::<Vec<_>>()
            });
            assert_eq!(found, expected, "{template} {uri}");
        };
        check("a://{x}", "a://b", Some(&[("x", "b")]));
        check("a://{x}", "a://", None);
        check("a://{x}", "a://b/c", None);
        check("a://{x}", "b://b", None);
        check("a://{+x}", "a://b/c?d#e", Some(&[("x", "b/c?d#e")]));
        check("t://{id}/data", "t://123/data", Some(&[("id", "123")]));
        check("t://{id}/data", "t://123/data/", None);
        check("t://{id}/data", "t:///data", None);
        let two = Some(&[("a", "1"), ("b", "2-3")][..]);
        check("t://{a}-{b}", "t://1-2-3", two);
        check("t://{a}.json", "t://x.json.json", Some(&[("a", "x.json")]));
        check("t://{a}", "t://%C3%A9%2f", Some(&[("a", "é/")]));
        for broken in ["t://%", "t://%4", "t://%zz", "t://%ff", "t://é", "t://a b"] {
            check("t://{a}", broken, None);
        }
        let path = Some(&[("a", "x"), ("rest", "y/z")][..]);
        check("t://{a}/{+rest}", "t://x/y/z", path);
        check("t:{a}?page={page}", "t:x?page=", None);
        let all = Some(&[("dir", "a/b"), ("name", "c")][..]);
        check("f://{+dir}//{name}", "f://a/b//c", all);
    }

    #[test]
    fn templates_that_are_none() {
        let check = |template: &str, rule: &str| {
            let error = UriTemplate::parse(template).unwrap_err();
            assert!(error.contains(rule), "{template}: {error}");
        };
        for none in [
            "",
            "a://b",
            "{x}",
            "{x}://a",
            "a{x}://b",
            "ä://{x}",
            "a b://{x}",
            "1:{x}",
        ] {
            check(none, "must be an absolute URI");
        }
        check("a://{x", "without its }");
        check("a://{x}}", "must be an absolute URI");
        check("a://{x}{y}", "text between");
        for operator in [
            "{?q}", "{/x}", "{#x}", "{;x}", "{x,y}", "{x:3}", "{x*}", "{}", "{a b}",
        ] {
            check(&format!("a://{operator}"), "not served");
        }
        check("a://{x}/{x}", "twice");
        check(&"a://{x}".repeat(400), "must be an absolute URI");
        let many: String = (0..17).map(|one| format!("/{{v{one}}}")).collect();
        check(&format!("a:/{many}"), "at most 16");
    }

    #[test]
    fn templates_of_the_same_uris_have_one_shape() {
        assert_eq!(shape("a://{x}/{+y}/z"), "a://{}/{+}/z");
        assert_eq!(shape("a://{x}/{+y}"), shape("a://{one}/{+two}"));
        assert_ne!(shape("a://{x}"), shape("a://{+x}"));
    }

    #[test]
    fn uris_by_their_shape() {
        for good in [
            "a:b",
            "notes://today",
            "urn:isbn:1",
            "test://x/%C3%A9?a=b#c",
            "a+b-c.d:x",
            "notes:///x:y",
            "db://table:8080/1",
            "db://table:/1",
            "db://me@table/1",
            "db://1.2.3/%41",
            "db://[::1]:80/",
            "file:///x",
            "https://example.com:65535?a:b@c",
            "http://[::1]",
            "http://127.0.0.1:80/",
            "http://2.example/",
        ] {
            assert!(check_uri(good).is_ok(), "{good}");
        }
        let long = format!("a:{}", "b".repeat(MAX_URI_BYTES));
        for bad in [
            "", "a:", ":b", "1a:b", "/a/b", "a b:c", "a:b c", "a:é", "a:{b}", "a:\n", "A:b",
            "aB:c", &long,
        ] {
            assert_eq!(check_uri(bad), Err(URI_RULE.to_owned()), "{bad}");
        }
        // The reader of URLs that clients of the Python SDK have refuses these, and with one the
        // whole list.
        for bad in [
            "db://table:users/1",
            "db://table:-1",
            "db://table:65536",
            "db://:80/",
            "db://me@/x",
            "db://a[b]/x",
            "db://[table]/x",
            "https://",
            "https:example.com",
            "http://a:99999/",
            "http:///x",
            "http://?a",
            "http://1.2.3.256/",
            "http://a%20b/",
            "ws://me@:80/",
            "file://host:80/x",
        ] {
            assert_eq!(check_uri(bad), Err(AUTHORITY_RULE.to_owned()), "{bad}");
        }
    }
}
