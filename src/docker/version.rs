//! Agreement on an Engine API version.

use std::fmt;

use serde_json::Value;

use super::DockerError;

/// Such as 1.41.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    major: u16,
    minor: u16,
}

/// The oldest version whose behaviour this client relies on (Docker 20.10).
pub(super) const OLDEST: ApiVersion = ApiVersion {
    major: 1,
    minor: 41,
};
/// The version this client is written against; newer daemons still serve it, or say what they need.
const PREFERRED: ApiVersion = ApiVersion {
    major: 1,
    minor: 44,
};

/// The newest version whose changes were looked at; a daemon that serves newer ones alone may mean
/// something else by what is asked.
pub(super) const NEWEST: ApiVersion = ApiVersion {
    major: 1,
    minor: 52,
};

impl ApiVersion {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

/// Chooses a version from a `/version` answer: ours where the daemon serves it, else its nearest.
pub(super) fn negotiate(offered: &Value) -> Result<ApiVersion, DockerError> {
    let field = |name| {
        offered
            .get(name)
            .and_then(Value::as_str)
            .and_then(ApiVersion::parse)
    };
    let newest = field("ApiVersion").ok_or(DockerError::Protocol("it names no API version"))?;
    let oldest = field("MinAPIVersion").unwrap_or(OLDEST).max(OLDEST);
    if newest < OLDEST {
        return Err(DockerError::TooOld(newest));
    }
    if oldest > NEWEST {
        return Err(DockerError::TooNew(oldest));
    }
    Ok(PREFERRED.min(newest).max(oldest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_newest_that_both_serve() {
        let check = |newest: &str, oldest: &str, expected: Option<&str>| {
            let offered = json!({"ApiVersion": newest, "MinAPIVersion": oldest});
            let agreed = negotiate(&offered).ok().map(|version| version.to_string());
            assert_eq!(agreed.as_deref(), expected, "{newest} {oldest}");
        };
        check("1.41", "1.12", Some("1.41"));
        check("1.43", "1.24", Some("1.43"));
        check("1.52", "1.24", Some("1.44"));
        check("1.52", "1.44", Some("1.44"));
        check("1.60", "1.48", Some("1.48"));
        check("1.99", "1.52", Some("1.52"));
        check("1.99", "1.53", None);
        check("1.99", "1.99", None);
        check("1.40", "1.12", None);
        check("2.0", "2.0", None);
        check("new", "1.12", None);
    }

    #[test]
    fn a_daemon_that_names_no_minimum() {
        let agreed = negotiate(&json!({"ApiVersion": "1.41"})).unwrap();
        assert_eq!(agreed.to_string(), "1.41");
    }
}
