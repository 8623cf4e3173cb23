//! The package registry as an installation is told of it: what stands on npm's command line, and
//! the files that go into the container over its stdin. The token stands in one of those files and
//! nowhere else.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::base::secret::Secret;
use crate::config::NpmConfig;
use crate::domain::failure::{Failure, FailureKind};

const MAX_TOKEN_BYTES: u64 = 16 * 1024;
const MAX_CA_BYTES: u64 = 1024 * 1024;

/// Where packages come from, read afresh for each installation: tokens and roots change.
#[derive(Debug)]
pub(super) struct Source {
    /// Options for npm's command line.
    pub(super) options: Vec<String>,
    /// Private files in the container's `/tmp`, by name.
    pub(super) files: BTreeMap<&'static str, Secret>,
    token: Option<Secret>,
}

impl Source {
    /// Reads what the settings name.
    pub(super) fn load(npm: &NpmConfig) -> Result<Self, Failure> {
        let mut source = Self {
            options: Vec::new(),
            files: BTreeMap::from([("npmrc", Secret::new(""))]),
            token: None,
        };
        if let Some(registry) = &npm.registry {
            source.options.push(format!("--registry={registry}"));
        }
        if let Some(path) = &npm.ca_file {
            let roots = read("MCP_SANDBOX_NPM_CA_FILE", path, MAX_CA_BYTES)?;
            source.files.insert("ca.pem", Secret::new(roots));
            source.options.push("--cafile=/tmp/ca.pem".to_owned());
        }
        if let Some(path) = &npm.token_file {
            let text = read("MCP_SANDBOX_NPM_TOKEN_FILE", path, MAX_TOKEN_BYTES)?;
            let token = text.trim();
            if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(unreadable(
                    "MCP_SANDBOX_NPM_TOKEN_FILE",
                    "it holds no token",
                ));
            }
            let Some(registry) = &npm.registry else {
                let why = "MCP_SANDBOX_NPM_REGISTRY does not say for which registry";
                return Err(unreadable("MCP_SANDBOX_NPM_TOKEN_FILE", why));
            };
            let line = token_line(registry, token);
            source.files.insert("npmrc", Secret::new(line));
            source.token = Some(Secret::new(token));
        }
        Ok(source)
    }

    /// A text from the installer without the token, should it ever stand there.
    pub(super) fn without_token(&self, text: &str) -> String {
        match &self.token {
            Some(token) => text.replace(token.reveal(), "[REDACTED]"),
            None => text.to_owned(),
        }
    }
}

/// npm's configuration of a token: by the registry's place, without scheme, query or fragment.
/// Quoted as JSON, which npm's ini format reads: no character of the token means anything else.
fn token_line(registry: &str, token: &str) -> String {
    let place = registry
        .split_once("://")
        .map_or(registry, |(_, place)| place);
    let end = place.find(['?', '#']).unwrap_or(place.len());
    let place = place.get(..end).unwrap_or(place).trim_end_matches('/');
    let token = serde_json::Value::from(token.replace("${", "\\${"));
    format!("//{place}/:_authToken={token}\n")
}

fn read(setting: &str, path: &Path, max_bytes: u64) -> Result<String, Failure> {
    let read = || -> io::Result<String> {
        let mut text = String::new();
        let mut file = File::open(path)?.take(max_bytes + 1);
        file.read_to_string(&mut text)?;
        if text.len() as u64 > max_bytes {
            return Err(io::Error::other(format!(
                "it is longer than {max_bytes} bytes"
            )));
        }
        Ok(text)
    };
    read().map_err(|error| unreadable(setting, &error.to_string()))
}

fn unreadable(setting: &str, why: &str) -> Failure {
    let message =
        format!("packages cannot be installed: the file of {setting} cannot be used: {why}");
    Failure::new(FailureKind::EngineUnavailable, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_for_the_registry_s_place() {
        let check = |registry: &str, expected: &str| {
            let line = token_line(registry, "t=1;#\"x");
            assert_eq!(line, format!("{expected}:_authToken=\"t=1;#\\\"x\"\n"));
        };
        check("https://npm.example", "//npm.example/");
        check("https://npm.example/", "//npm.example/");
        check(
            "http://npm.example:8080/a/b/?q#f",
            "//npm.example:8080/a/b/",
        );
    }

    #[test]
    fn nothing_is_set_where_nothing_is_given() {
        let source = Source::load(&NpmConfig::default()).unwrap();
        assert_eq!(source.options, [""; 0]);
        assert_eq!(source.files["npmrc"].reveal(), "");
        let missing = NpmConfig {
            token_file: Some("/nonexistent/token".into()),
            ..NpmConfig::default()
        };
        let failure = Source::load(&missing).unwrap_err();
        assert!(failure.message.contains("MCP_SANDBOX_NPM_TOKEN_FILE"));
    }
}
