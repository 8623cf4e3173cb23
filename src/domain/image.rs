//! Container image references: `name[:tag][@sha256:…]`.

use std::fmt;

use serde::Serialize;

/// A well-formed image reference of at most 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageRef(String);

/// An image as the daemon had it when something ran in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UsedImage {
    /// As it was asked for.
    pub name: String,
    /// `sha256:…` of its configuration: what really ran.
    pub id: String,
    /// `sha256:…` of its manifest, where it came from an image registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// Why a text is not an image reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidImage;

impl fmt::Display for InvalidImage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .write_str("not an image reference: expected name[:tag] or name@sha256:<64 hex digits>")
    }
}

impl std::error::Error for InvalidImage {}

impl ImageRef {
    /// Checks `text` against the grammar of distribution references (lower-case name components,
    /// an optional registry host, tag, digest).
    ///
    /// # Errors
    /// [`InvalidImage`] for anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidImage> {
        if text.len() > 255 {
            return Err(InvalidImage);
        }
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => (named, Some(digest)),
            None => (text, None),
        };
        let (name, tag) = split_tag(named);
        let well_formed = is_name(name) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest);
        if well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidImage)
        }
    }

    /// The reference as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without tag and digest, and the tag or digest to pull (`latest` where none
    /// is given).
    pub fn name_and_version(&self) -> (&str, &str) {
        if let Some((named, digest)) = self.0.split_once('@') {
            return (split_tag(named).0, digest);
        }
        let (name, tag) = split_tag(&self.0);
        (name, tag.unwrap_or("latest"))
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A colon after the last slash starts a tag; one before it belongs to a registry's port.
fn split_tag(named: &str) -> (&str, Option<&str>) {
    match named.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (named, None),
    }
}

fn is_name(name: &str) -> bool {
    let (host, path) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
            (Some(first), rest)
        }
        _ => (None, name),
    };
    host.is_none_or(is_host) && !path.is_empty() && path.split('/').all(is_component)
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
        && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn is_component(component: &str) -> bool {
    let edge = |byte: Option<u8>| {
        byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    edge(component.bytes().next())
        && edge(component.bytes().last())
        && component.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)
        })
}

fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn is_digest(digest: &str) -> bool {
    digest.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_as_the_docker_cli_reads_them() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let parsed = ImageRef::parse(text);
            let parts = parsed.as_ref().ok().map(ImageRef::name_and_version);
            assert_eq!(parts, expected, "{text}");
        };
        check("node:lts-slim", Some(("node", "lts-slim")));
        check("node", Some(("node", "latest")));
        check("127.0.0.1:5000/a/b:1", Some(("127.0.0.1:5000/a/b", "1")));
        check(
            "localhost:5000/node",
            Some(("localhost:5000/node", "latest")),
        );
        check(&format!("node@{digest}"), Some(("node", &digest)));
        check(&format!("node:20@{digest}"), Some(("node", &digest)));
        let refused = [
            "",
            "Node",
            "node:",
            "node:a b",
            "-node",
            "node@sha256:12",
            "a//b",
            "../x",
            "node\n",
            "http://x/y",
            "x:99999/y",
        ];
        for text in refused {
            check(text, None);
        }
        check(&"a".repeat(256), None);
    }
}
