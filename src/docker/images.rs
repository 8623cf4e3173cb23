//! Engine API, section Images: inspect and pull.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};

use serde_json::Value;

use super::containers::text_field;
use super::{Daemon, DockerError, encode_component};
use crate::base::deadline::Deadline;
use crate::base::text::clip;
use crate::domain::image::ImageRef;

/// Longest line of a pull's progress, in bytes.
const MAX_PROGRESS_LINE_BYTES: u64 = 64 * 1024;

/// An image on the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// `sha256:…` of its configuration: what really runs.
    pub id: String,
    /// The user its author chose, as written; empty for root.
    pub user: String,
    /// Folders for which the daemon makes volumes of its own (`VOLUME`).
    pub volumes: Vec<String>,
    /// `sha256:…` of its manifest, where an image registry gave it one.
    pub digest: Option<String>,
}

/// How far a pull has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PullProgress {
    /// Bytes that have arrived.
    pub done: u64,
    /// Bytes known to be needed so far; grows while layers are announced.
    pub total: u64,
}

impl PullProgress {
    /// Whole percent, 0 while nothing is known.
    pub fn percent(self) -> u64 {
        self.done
            .saturating_mul(100)
            .checked_div(self.total)
            .unwrap_or(0)
            .min(100)
    }
}

impl Daemon {
    /// `GET /images/{name}/json`; `None` when the daemon does not have it.
    ///
    /// # Errors
    /// When the daemon cannot be reached.
    pub fn image(
        &self,
        image: &ImageRef,
        deadline: Deadline,
    ) -> Result<Option<Image>, DockerError> {
        let path = format!("/images/{}/json", encode_component(image.as_str()));
        let found = match self.exchange("GET", &path, None, deadline)?.json() {
            Ok(found) => found,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let user = found
            .pointer("/Config/User")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let volumes = found.pointer("/Config/Volumes").and_then(Value::as_object);
        let volumes = volumes.into_iter().flat_map(|volumes| volumes.keys());
        Ok(Some(Image {
            id: text_field(&found, "Id")?,
            user: user.to_owned(),
            volumes: volumes.cloned().collect(),
            digest: manifest_digest(&found, image),
        }))
    }

    /// `POST /images/create?fromImage=…&tag=…`, to its end; `report` hears of every step.
    ///
    /// # Errors
    /// [`DockerError::Pull`] with the daemon's words when the image registry refuses or is away.
    pub fn pull_image(
        &self,
        image: &ImageRef,
        deadline: Deadline,
        report: &mut dyn FnMut(PullProgress),
    ) -> Result<(), DockerError> {
        let (name, version) = image.name_and_version();
        let path = format!(
            "/images/create?fromImage={}&tag={}",
            encode_component(name),
            encode_component(version)
        );
        let answer = self.exchange("POST", &path, None, deadline)?;
        let answer = answer.accepted().map_err(|error| match error {
            DockerError::Api { message, .. } => DockerError::Pull(message),
            other => other,
        })?;
        let mut lines = BufReader::new(answer.body()?);
        let mut layers = HashMap::new();
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = lines
                .by_ref()
                .take(MAX_PROGRESS_LINE_BYTES)
                .read_until(b'\n', &mut line);
            if read.map_err(DockerError::from_io)? == 0 {
                return Ok(());
            }
            report(read_progress(&line, &mut layers)?);
        }
    }
}

/// The digest that the image has under this very name, else under any: `RepoDigests` are texts such
/// as `name@sha256:…`.
fn manifest_digest(found: &Value, image: &ImageRef) -> Option<String> {
    let (name, version) = image.name_and_version();
    let digests = found.get("RepoDigests").and_then(Value::as_array);
    let digests = digests.into_iter().flatten().filter_map(Value::as_str);
    let mut digests = digests.filter_map(|text| text.split_once('@'));
    let own = |(repository, digest): &(&str, &str)| *repository == name || *digest == version;
    let digest = digests.clone().find(own).or_else(|| digests.next());
    digest.map(|(_, digest)| clip(digest, 100).to_owned())
}

/// Folds one line of a pull into what is known of its layers. A failed pull says so in a line of an
/// answer that began as a success.
fn read_progress(
    line: &[u8],
    layers: &mut HashMap<String, PullProgress>,
) -> Result<PullProgress, DockerError> {
    let step: Value = serde_json::from_slice(line).unwrap_or(Value::Null);
    if let Some(message) = step.get("error").and_then(Value::as_str) {
        return Err(DockerError::Pull(clip(message, 500).to_owned()));
    }
    let number = |pointer| step.pointer(pointer).and_then(Value::as_u64);
    if let Some(layer) = step.get("id").and_then(Value::as_str)
        && layers.len() < 1000
    {
        let entry = layers.entry(layer.to_owned()).or_default();
        let downloading = step.get("status").and_then(Value::as_str) == Some("Downloading");
        if let (Some(done), Some(total), true) = (
            number("/progressDetail/current"),
            number("/progressDetail/total"),
            downloading,
        ) {
            *entry = PullProgress { done, total };
        } else if step.get("status").and_then(Value::as_str) == Some("Download complete") {
            entry.done = entry.total;
        }
    }
    Ok(layers
        .values()
        .fold(PullProgress::default(), |sum, layer| PullProgress {
            done: sum.done.saturating_add(layer.done),
            total: sum.total.saturating_add(layer.total),
        }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_under_the_name_that_was_asked_for() {
        let check = |name: &str, digests: &[&str], expected: Option<&str>| {
            let found = serde_json::json!({ "RepoDigests": digests });
            let image = ImageRef::parse(name).unwrap();
            let digest = manifest_digest(&found, &image);
            assert_eq!(digest.as_deref(), expected, "{name} {digests:?}");
        };
        let two = ["a.b/node@sha256:01", "node@sha256:02"];
        check("node:22", &two, Some("sha256:02"));
        check("a.b/node:22", &two, Some("sha256:01"));
        check("docker.io/library/node:22", &two, Some("sha256:01"));
        check("node:22", &[], None);
        check("node:22", &["odd"], None);
        let null = serde_json::json!({ "RepoDigests": null });
        assert_eq!(manifest_digest(&null, &ImageRef::parse("a").unwrap()), None);
    }

    #[test]
    fn progress_adds_up_over_layers() {
        let mut layers = HashMap::new();
        let mut step = |line: &str| read_progress(line.as_bytes(), &mut layers);
        let none = step(r#"{"status":"Pulling from x","id":"1"}"#).unwrap();
        assert_eq!(none.percent(), 0);
        let line =
            r#"{"status":"Downloading","id":"a","progressDetail":{"current":10,"total":40}}"#;
        assert_eq!(step(line).unwrap().percent(), 25);
        let line =
            r#"{"status":"Downloading","id":"b","progressDetail":{"current":60,"total":60}}"#;
        assert_eq!(step(line).unwrap().percent(), 70);
        assert_eq!(
            step(r#"{"status":"Download complete","id":"a"}"#)
                .unwrap()
                .percent(),
            100
        );
        assert_eq!(step("not json").unwrap().percent(), 100);
        let refused = step(r#"{"errorDetail":{"message":"no"},"error":"manifest unknown"}"#);
        assert_eq!(
            refused,
            Err(DockerError::Pull("manifest unknown".to_owned()))
        );
    }
}
