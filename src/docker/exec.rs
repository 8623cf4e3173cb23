//! Engine API, section Exec: processes beside a running container's own
//! (`/containers/{id}/exec`, `/exec/{id}/start`, `/exec/{id}/json`; API 1.41 and newer).

use serde_json::{Value, json};

use super::containers::text_field;
use super::{Attached, Daemon, DockerError};
use crate::base::deadline::Deadline;

/// A process to be started in a running container.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// Program and arguments, none with a NUL.
    pub line: &'a [&'a str],
    /// `uid:gid`.
    pub user: &'a str,
    /// Its working directory.
    pub folder: &'a str,
    /// Whether stdin is ours to write; it is at its end otherwise.
    pub has_stdin: bool,
}

impl Daemon {
    /// `POST /containers/{id}/exec`: the id of a process that does not run yet.
    ///
    /// # Errors
    /// 404 when there is no such container, 409 when it does not run.
    pub fn create_exec(
        &self,
        container: &str,
        command: &Command<'_>,
        deadline: Deadline,
    ) -> Result<String, DockerError> {
        let body = json!({
            "AttachStdin": command.has_stdin,
            "AttachStdout": true,
            "AttachStderr": true,
            "Tty": false,
            "Cmd": command.line,
            "User": command.user,
            "WorkingDir": command.folder,
        });
        let path = format!("/containers/{container}/exec");
        let created = self
            .exchange("POST", &path, Some(&body), deadline)?
            .json()?;
        text_field(&created, "Id")
    }

    /// `POST /exec/{id}/start`: starts it, with its streams at hand.
    ///
    /// # Errors
    /// 404 and 409 as above; 400 or 500 when the runtime cannot start it.
    pub fn start_exec(&self, exec: &str, deadline: Deadline) -> Result<Attached, DockerError> {
        let body = json!({ "Detach": false, "Tty": false });
        self.hijack(&format!("/exec/{exec}/start"), Some(&body), deadline)
    }

    /// `GET /exec/{id}/json`: its exit code, 128 + n for signal n; `None` while it runs.
    ///
    /// # Errors
    /// 404 when the container has gone.
    pub fn exec_exit(&self, exec: &str, deadline: Deadline) -> Result<Option<i64>, DockerError> {
        let path = format!("/exec/{exec}/json");
        let found = self.exchange("GET", &path, None, deadline)?.json()?;
        if found.get("Running").and_then(Value::as_bool) == Some(true) {
            return Ok(None);
        }
        Ok(found.get("ExitCode").and_then(Value::as_i64))
    }
}
