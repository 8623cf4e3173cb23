//! Engine API, section Containers: create, start, inspect, list, kill, remove.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Daemon, DockerError, encode_component};
use crate::base::deadline::Deadline;

/// A container in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// `sha256:…` of the image that it was made of.
    pub image_id: String,
    /// When the daemon made it, in seconds since the Unix epoch.
    pub created: u64,
    /// Whether it runs now, also where it is paused.
    pub is_running: bool,
    /// Whether it ran, and has ended.
    pub has_ended: bool,
}

/// Whether a container runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs, or is about to.
    Running,
    /// It has ended.
    Exited(Exit),
}

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit code of its first process; 128 + n for signal n.
    pub code: i64,
    /// The kernel killed a process of it for memory.
    pub oom_killed: bool,
}

impl Daemon {
    /// `POST /containers/create?name=…` with the whole specification; its id. The name, of the
    /// daemon's `[a-zA-Z0-9][a-zA-Z0-9_.-]+` and not in use, stands for the id wherever one is
    /// asked for, also where the answer never came.
    ///
    /// # Errors
    /// 404 when the image is missing; 400 when the daemon refuses a setting.
    pub fn create_container(
        &self,
        name: &str,
        spec: &Value,
        deadline: Deadline,
    ) -> Result<String, DockerError> {
        let path = format!("/containers/create?name={}", encode_component(name));
        let created = self.exchange("POST", &path, Some(spec), deadline)?.json()?;
        text_field(&created, "Id")
    }

    /// `POST /containers/{id}/start`.
    ///
    /// # Errors
    /// 400 when the command cannot be run.
    pub fn start_container(&self, id: &str, deadline: Deadline) -> Result<(), DockerError> {
        self.exchange("POST", &format!("/containers/{id}/start"), None, deadline)?
            .finish()
    }

    /// `GET /containers/{id}/json`, the state alone.
    ///
    /// # Errors
    /// 404 when there is no such container.
    pub fn container_state(&self, id: &str, deadline: Deadline) -> Result<State, DockerError> {
        let found = self
            .exchange("GET", &format!("/containers/{id}/json"), None, deadline)?
            .json()?;
        let state = found
            .get("State")
            .ok_or(DockerError::Protocol("a container has no state"))?;
        let flag = |name| state.get(name).and_then(Value::as_bool).unwrap_or(false);
        let status = state
            .get("Status")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if flag("Running") || matches!(status, "created" | "restarting") {
            return Ok(State::Running);
        }
        let code = state.get("ExitCode").and_then(Value::as_i64).unwrap_or(-1);
        Ok(State::Exited(Exit {
            code,
            oom_killed: flag("OOMKilled"),
        }))
    }

    /// `POST /containers/{id}/wait`: returns once it does not run.
    ///
    /// # Errors
    /// 404 when there is no such container; [`DockerError::TimedOut`] when it still runs.
    pub fn await_exit(&self, id: &str, deadline: Deadline) -> Result<(), DockerError> {
        let path = format!("/containers/{id}/wait?condition=not-running");
        self.exchange("POST", &path, None, deadline)?.finish()
    }

    /// `DELETE /containers/{id}?force=1&v=1`: kills it if it runs. `Ok` means that it is gone,
    /// also when it already was.
    ///
    /// # Errors
    /// When the daemon cannot be reached, or could not remove it.
    pub fn remove_container(&self, id: &str, deadline: Deadline) -> Result<(), DockerError> {
        let path = format!("/containers/{id}?force=1&v=1");
        match self.exchange("DELETE", &path, None, deadline)?.finish() {
            Err(error) if error.is_not_found() => Ok(()),
            // Somebody else's removal of it is under way; it is gone once that has ended.
            Err(DockerError::Api { status: 409, .. }) => self.await_absence(id, deadline),
            removed => removed,
        }
    }

    fn await_absence(&self, id: &str, deadline: Deadline) -> Result<(), DockerError> {
        while deadline.remaining().is_some() {
            match self.container_state(id, deadline) {
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) => return Err(error),
                Ok(_) => std::thread::sleep(std::time::Duration::from_millis(20)),
            }
        }
        Err(DockerError::TimedOut)
    }

    /// `POST /containers/{id}/update`: how many processes and threads it may have.
    ///
    /// # Errors
    /// 404 when there is no such container.
    pub fn limit_processes(
        &self,
        id: &str,
        limit: u32,
        deadline: Deadline,
    ) -> Result<(), DockerError> {
        let path = format!("/containers/{id}/update");
        let body = json!({ "PidsLimit": limit });
        self.exchange("POST", &path, Some(&body), deadline)?
            .finish()
    }

    /// `GET /containers/json?all=1` with a filter on the presence of a label.
    ///
    /// # Errors
    /// When the daemon cannot be reached.
    pub fn containers_with_label(
        &self,
        label: &str,
        deadline: Deadline,
    ) -> Result<Vec<Container>, DockerError> {
        self.containers_with_labels(&[label], deadline)
    }

    /// The same for those that have all of these labels, each as `name` or `name=value`.
    ///
    /// # Errors
    /// When the daemon cannot be reached.
    pub fn containers_with_labels(
        &self,
        labels: &[impl AsRef<str>],
        deadline: Deadline,
    ) -> Result<Vec<Container>, DockerError> {
        let labels: Vec<_> = labels.iter().map(AsRef::as_ref).collect();
        let filters = encode_component(&json!({ "label": labels }).to_string());
        let path = format!("/containers/json?all=1&filters={filters}");
        let found = self.exchange("GET", &path, None, deadline)?.json()?;
        let list = found
            .as_array()
            .ok_or(DockerError::Protocol("a list is no array"))?;
        list.iter().map(listed_container).collect()
    }
}

fn listed_container(entry: &Value) -> Result<Container, DockerError> {
    let labels = entry
        .get("Labels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    let labels = labels
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect();
    let state = entry.get("State").and_then(Value::as_str);
    Ok(Container {
        id: text_field(entry, "Id")?,
        labels,
        image_id: text_field(entry, "ImageID")?,
        created: entry
            .get("Created")
            .and_then(Value::as_u64)
            .unwrap_or_default(),
        is_running: matches!(state, Some("running" | "paused")),
        has_ended: matches!(state, Some("exited" | "dead")),
    })
}

pub(super) fn text_field(value: &Value, name: &str) -> Result<String, DockerError> {
    let text = value.get(name).and_then(Value::as_str);
    text.map(str::to_owned)
        .ok_or(DockerError::Protocol("an answer lacks a field"))
}
