//! The closed set of shapes a setting can have: text → value, and the bounds in words. Rules
//! between settings are not here.

use std::net::IpAddr;

use crate::base::secret::Secret;
use crate::domain::image::ImageRef;

use super::grammar::{
    bytes_in_words, is_http_path, is_package, is_path, is_printable, is_runtime, is_scope,
    is_sql_identifier, is_visible_ascii, parse_bool, parse_bytes, parse_digits, parse_host,
    parse_nano,
};
use super::url::Url;

/// The shape of a setting's value, with its bounds (inclusive).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true`, `false`, `1`, `0`.
    Bool,
    /// A whole number in decimal digits.
    Integer {
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// One or more items between commas, at most `MAX_ITEMS`.
    Csv(Item),
    /// An IP address to listen on, or `localhost` (127.0.0.1).
    Host,
    /// The path of the MCP endpoint.
    HttpPath,
    /// Printable text of at most this many bytes.
    Text(usize),
    /// An OAuth scope (RFC 6749 §3.3).
    Scope,
    /// The name of a container runtime.
    Runtime,
    /// A path of the file system.
    Path,
    /// An absolute URL of one of these schemes, without credentials.
    Url(&'static [&'static str]),
    /// Where the Docker daemon listens.
    DockerHost,
    /// A size in bytes, with the suffixes `k`, `m`, `g`.
    Bytes {
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
    /// A number of processors, as billionths.
    Cpus,
    /// A name PostgreSQL takes for a schema.
    SqlIdentifier,
    /// A secret of visible ASCII, fit for an HTTP header.
    Token,
    /// A PostgreSQL URL: a secret, because it holds the password.
    PgUrl,
}

/// What stands between the commas of a [`Kind::Csv`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `scheme://host[:port]`, or the word `loopback`.
    Origin,
    /// `host[:port]`.
    Host,
    /// An IP address or an address range `address/bits`.
    Address,
    /// A container image reference.
    Image,
    /// A package name.
    Package,
    /// An OAuth scope.
    Scope,
}

/// Most items of a list.
const MAX_ITEMS: usize = 256;
/// Longest value, in bytes, whatever its kind.
const MAX_VALUE_BYTES: usize = 65_536;
/// The smallest share of a processor: a hundredth.
const MIN_NANO_CPUS: u64 = 10_000_000;
/// The largest number of processors, in billionths.
const MAX_NANO_CPUS: u64 = 1024 * NANO;
pub(super) const NANO: u64 = 1_000_000_000;

/// A value that fits its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Of [`Kind::Bool`].
    Bool(bool),
    /// Of the kinds that count something.
    Integer(u64),
    /// Of [`Kind::Choice`].
    Choice(&'static str),
    /// Of [`Kind::Csv`], items trimmed.
    List(Vec<String>),
    /// Of [`Kind::Host`].
    Address(IpAddr),
    /// Of the kinds that are text.
    Text(String),
    /// Of the kinds that are secret.
    Secret(Secret),
}

/// Why a text does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// Not of the shape.
    Malformed,
    /// Of the shape, beyond the bounds.
    OutOfRange,
}

impl Kind {
    /// Reads `text`.
    ///
    /// # Errors
    /// `Misfit` where it is not of this kind.
    pub(super) fn parse(self, text: &str) -> Result<Value, Misfit> {
        if text.len() > MAX_VALUE_BYTES {
            return Err(Misfit::OutOfRange);
        }
        let matching = |fits: bool| match fits {
            true => Ok(Value::Text(text.to_owned())),
            false => Err(Misfit::Malformed),
        };
        match self {
            Self::Bool => parse_bool(text).map(Value::Bool).ok_or(Misfit::Malformed),
            Self::Integer { min, max } => bounded(parse_digits(text)?, min, max),
            Self::Choice(words) => choose(words, text).map(Value::Choice),
            Self::Csv(item) => item.parse_list(text).map(Value::List),
            Self::Host => parse_host(text)
                .map(Value::Address)
                .ok_or(Misfit::Malformed),
            Self::HttpPath => matching(is_http_path(text)),
            Self::Text(max_bytes) => matching(is_printable(text) && text.len() <= max_bytes),
            Self::Scope => matching(is_scope(text)),
            Self::Runtime => matching(is_runtime(text)),
            Self::Path => matching(is_path(text)),
            Self::Url(schemes) => matching(
                Url::parse(text).is_some_and(|url| !url.has_user && schemes.contains(&url.scheme)),
            ),
            Self::DockerHost => matching(is_printable(text)),
            Self::Bytes { min, max } => bounded(parse_bytes(text)?, min, max),
            Self::Cpus => bounded(parse_nano(text)?, MIN_NANO_CPUS, MAX_NANO_CPUS),
            Self::SqlIdentifier => matching(is_sql_identifier(text)),
            Self::Token if is_visible_ascii(text) => Ok(Value::Secret(Secret::new(text))),
            Self::PgUrl if is_printable(text) => Ok(Value::Secret(Secret::new(text))),
            Self::Token | Self::PgUrl => Err(Misfit::Malformed),
        }
    }

    /// Whether the value must never be shown.
    pub fn is_secret(self) -> bool {
        matches!(self, Self::Token | Self::PgUrl)
    }

    /// A value of this kind as anybody may see it; nothing of a secret, and of a URL no query, for
    /// some peers take keys there.
    pub(super) fn shown(self, text: &str) -> Option<String> {
        match self {
            Self::Url(_) => Some(
                text.split_once('?')
                    .map_or_else(|| text.to_owned(), |(before, _)| format!("{before}?****")),
            ),
            _ => (!self.is_secret()).then(|| text.to_owned()),
        }
    }

    /// Whether a value that does not fit may be quoted: a broken URL may hold a password.
    pub fn may_be_quoted(self) -> bool {
        !self.is_secret() && !matches!(self, Self::Url(_) | Self::DockerHost)
    }

    /// The allowed values in words, for problems, help and documents.
    pub fn allowed(self) -> String {
        match self {
            Self::Bool => "true, false".to_owned(),
            Self::Integer { min, max } => format!("{min} to {max}"),
            Self::Choice(words) => words.join(", "),
            Self::Csv(item) => item.allowed(),
            Self::Host => "an IP address or localhost".to_owned(),
            Self::HttpPath => "a path such as /mcp".to_owned(),
            Self::Text(max_bytes) => format!("text of at most {max_bytes} bytes"),
            Self::Scope => "one scope".to_owned(),
            Self::Runtime => "a runtime's name, such as runsc".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::Url(schemes) => {
                let starts: Vec<_> = schemes.iter().map(|name| format!("{name}://…")).collect();
                format!("{} without credentials", starts.join(", "))
            }
            Self::DockerHost => "unix:///path, tcp://host:port".to_owned(),
            Self::Bytes { min, max } => {
                format!("{} to {}", bytes_in_words(min), bytes_in_words(max))
            }
            Self::Cpus => "0.01 to 1024".to_owned(),
            Self::SqlIdentifier => {
                "a letter or _, then letters, digits or _, at most 63, not starting with pg_"
                    .to_owned()
            }
            Self::Token => "visible ASCII without spaces".to_owned(),
            Self::PgUrl => "postgres://user:password@host/database?sslmode=…".to_owned(),
        }
    }
}

impl Item {
    fn parse_list(self, text: &str) -> Result<Vec<String>, Misfit> {
        let items: Vec<String> = text.split(',').map(|item| item.trim().to_owned()).collect();
        if items.len() > MAX_ITEMS {
            return Err(Misfit::OutOfRange);
        }
        match items.iter().all(|item| self.fits(item)) {
            true => Ok(items),
            false => Err(Misfit::Malformed),
        }
    }

    fn fits(self, item: &str) -> bool {
        match self {
            Self::Choice(words) => words.contains(&item),
            Self::Origin => {
                item == "loopback" || Url::parse(item).is_some_and(|url| url.is_origin())
            }
            Self::Host => Url::parse(&format!("http://{item}")).is_some_and(|url| url.is_origin()),
            Self::Address => crate::base::address::AddressRange::parse(item).is_some(),
            Self::Image => ImageRef::parse(item).is_ok(),
            Self::Package => is_package(item),
            Self::Scope => is_scope(item),
        }
    }

    fn allowed(self) -> String {
        let items = match self {
            Self::Choice(words) => return format!("comma-separated: {}", words.join(", ")),
            Self::Origin => "origins such as https://app.example, or loopback",
            Self::Host => "hosts, with a port where it matters",
            Self::Address => "IP addresses or ranges such as 10.0.0.0/8",
            Self::Image => "image references: name[:tag] or name@sha256:digest",
            Self::Package => "package names",
            Self::Scope => "scopes",
        };
        format!("comma-separated {items}")
    }
}

fn choose(words: &[&'static str], text: &str) -> Result<&'static str, Misfit> {
    let found = words.iter().find(|word| **word == text);
    found.copied().ok_or(Misfit::Malformed)
}

fn bounded(number: u64, min: u64, max: u64) -> Result<Value, Misfit> {
    match (min..=max).contains(&number) {
        true => Ok(Value::Integer(number)),
        false => Err(Misfit::OutOfRange),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_docker_writes_them() {
        let kind = Kind::Bytes {
            min: 1 << 20,
            max: 1 << 40,
        };
        let check = |text: &str, expected| assert_eq!(kind.parse(text), expected, "{text}");
        check("512m", Ok(Value::Integer(512 << 20)));
        check("1g", Ok(Value::Integer(1 << 30)));
        check("2G", Ok(Value::Integer(2 << 30)));
        check("2048k", Ok(Value::Integer(2 << 20)));
        check("1048576", Ok(Value::Integer(1 << 20)));
        check("1048576b", Ok(Value::Integer(1 << 20)));
        check("1048575", Err(Misfit::OutOfRange));
        check("1025g", Err(Misfit::OutOfRange));
        check("99999999999999999g", Err(Misfit::OutOfRange));
        for text in ["", "m", "1.5g", "-1m", "512mb", "512 m", "0x10", "1t"] {
            check(text, Err(Misfit::Malformed));
        }
    }

    #[test]
    fn processors_as_exact_billionths() {
        let check = |text: &str, expected| assert_eq!(Kind::Cpus.parse(text), expected, "{text}");
        check("1", Ok(Value::Integer(NANO)));
        check("0.5", Ok(Value::Integer(NANO / 2)));
        check("2.25", Ok(Value::Integer(2_250_000_000)));
        check("0.01", Ok(Value::Integer(MIN_NANO_CPUS)));
        check("0.009999999", Err(Misfit::OutOfRange));
        check("1024", Ok(Value::Integer(MAX_NANO_CPUS)));
        check("1024.000000001", Err(Misfit::OutOfRange));
        check("99999999999999999999", Err(Misfit::OutOfRange));
        check("99999999999", Err(Misfit::OutOfRange));
        for text in ["", ".5", "1e3", "1,5", "-1", "NaN", "1.2.3", "0.0000000001"] {
            check(text, Err(Misfit::Malformed));
        }
    }

    #[test]
    fn lists_trim_items_and_refuse_empty_ones() {
        let kind = Kind::Csv(Item::Choice(&["a", "b"]));
        let check = |text: &str, expected: Result<&[&str], Misfit>| {
            let list =
                |items: &[&str]| Value::List(items.iter().map(|item| (*item).to_owned()).collect());
            assert_eq!(kind.parse(text), expected.map(list), "{text}");
        };
        check("a", Ok(&["a"]));
        check(" a , b", Ok(&["a", "b"]));
        check("a,", Err(Misfit::Malformed));
        check(",", Err(Misfit::Malformed));
        check("a b", Err(Misfit::Malformed));
        check(&["a"; MAX_ITEMS + 1].join(","), Err(Misfit::OutOfRange));
        assert!(kind.parse(&["a"; MAX_ITEMS].join(",")).is_ok());
    }

    #[test]
    fn items_of_each_list() {
        let check = |item: Item, good: &[&str], bad: &[&str]| {
            for text in good {
                assert!(item.fits(text), "{item:?} {text}");
            }
            for text in bad {
                assert!(!item.fits(text), "{item:?} {text}");
            }
        };
        check(
            Item::Origin,
            &[
                "loopback",
                "https://a.example",
                "http://[::1]:80",
                "app://obsidian.md",
            ],
            &[
                "*",
                "a.example",
                "https://a.example/",
                "https://u@a.example",
                "null",
                "",
            ],
        );
        check(
            Item::Host,
            &["a.example", "a.example:8080", "[::1]:1", "10.0.0.1"],
            &["", "a/b", "a b", "a:99999", "https://a", "u@a"],
        );
        check(
            Item::Address,
            &["10.0.0.1", "10.0.0.0/8", "::1", "fd00::/8"],
            &[
                "",
                "10.0.0.1/33",
                "host",
                "10.0.0.1:80",
                "::/129",
                "1.2.3.4/",
            ],
        );
        check(
            Item::Image,
            &["node:lts-slim"],
            &["", "Node", "node@sha256:12"],
        );
        check(
            Item::Scope,
            &["a:b", "mcp.admin"],
            &["", "a b", "a\"b", "a\\b", "ä"],
        );
        check(Item::Package, &["pm2", "@a/b"], &["", "a b"]);
    }
}
