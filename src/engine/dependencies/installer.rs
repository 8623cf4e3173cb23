//! One installer container: its specification, and the one order that it obeys.

use std::time::Duration;

use serde_json::{Value, json};

use super::order::{Answer, Order};
use crate::base::deadline::Deadline;
use crate::base::text::Tail;
use crate::docker::Image;
use crate::domain::failure::{Failure, FailureKind};
use crate::engine::cell::{Cell, Heard, Output};
use crate::engine::container_spec::{User, Variables, container_spec};
use crate::engine::forge::ReadyCell;

/// Who owns the layers. Never a tool's user: the owner of the volume's folder could list it.
pub(super) const INSTALLER: User = User {
    uid: 64_100,
    gid: 64_100,
};
const PROGRAM: &str = include_str!("installer.js");
/// Bytes of memory of an installer, its tmpfs included: npm resolves large trees in memory.
const MEMORY_BYTES: u64 = 1 << 30;
/// Longest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// How often a silent installer is asked whether the server stops.
const STOP_CHECK: Duration = Duration::from_millis(50);

/// What an installer container is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Role {
    /// Gives the new volume's folder away: root, with no right but that one.
    Prepare,
    /// Runs npm: with a network.
    Install,
    /// Removes old layers.
    Tidy,
}

/// Makes installer containers.
pub(in crate::engine) trait InstallerForge: Send + Sync {
    /// An installer that waits for its order.
    fn start(&self, image: &Image, role: Role, deadline: Deadline) -> Result<ReadyCell, Failure>;

    /// The image that upkeep runs in.
    fn default_image(&self, deadline: Deadline) -> Result<Image, Failure>;
}

/// The body of `POST /containers/create`: a tool's container, but for what an installer needs more.
pub(in crate::engine) fn installer_spec(role: Role, network: &str, variables: &Variables) -> Value {
    let mut spec = container_spec(&Variables {
        user: INSTALLER,
        memory_bytes: MEMORY_BYTES,
        ..variables.clone()
    });
    let User { uid, gid } = INSTALLER;
    let owner = if variables.is_podman {
        "mode=1777".to_owned()
    } else {
        format!("mode=0700,uid={uid},gid={gid}")
    };
    let mut set = |place: &str, name: &str, value: Value| {
        if let Some(Value::Object(object)) = spec.pointer_mut(place) {
            object.insert(name.to_owned(), value);
        }
    };
    set("", "Cmd", json!([PROGRAM]));
    set("", "Env", json!(["HOME=/tmp", "TMPDIR=/tmp", "TZ=UTC"]));
    set("", "WorkingDir", json!("/"));
    let tmpfs = format!("rw,noexec,nosuid,nodev,size=384m,{owner}");
    set("/HostConfig/Tmpfs", "/tmp", json!(tmpfs));
    set("/HostConfig/Mounts/0", "ReadOnly", json!(false));
    match role {
        Role::Prepare => {
            set("/HostConfig", "CapAdd", json!(["CHOWN"]));
            set("", "User", json!("0:0"));
        }
        Role::Install => set("/HostConfig", "NetworkMode", json!(network)),
        Role::Tidy => {}
    }
    spec
}

/// Has one order obeyed. `is_over` ends the wait early.
pub(super) fn ask(
    mut cell: ReadyCell,
    order: &Order<'_>,
    deadline: Deadline,
    is_over: &dyn Fn() -> bool,
) -> Result<Answer, Failure> {
    let answer = converse(cell.as_mut(), order, deadline, is_over);
    // Whatever it still does, it does not outlive this.
    cell.destroy();
    answer
}

fn converse(
    cell: &mut dyn Cell,
    order: &Order<'_>,
    deadline: Deadline,
    is_over: &dyn Fn() -> bool,
) -> Result<Answer, Failure> {
    cell.send(&order.encode(), deadline)?;
    let (mut line, mut printed) = (Vec::new(), Tail::new(2048));
    loop {
        let wait = deadline.or_earlier(Deadline::after(STOP_CHECK));
        let heard = cell.hear(wait, &mut |output| match output {
            Output::Frames(bytes) if line.len() <= MAX_ANSWER_BYTES => line.extend(bytes),
            Output::Frames(_) => {}
            Output::Printed(bytes) => printed.push(bytes),
        })?;
        if line.ends_with(b"\n") {
            return serde_json::from_slice(&line).map_err(|_| broken("it answered nonsense"));
        }
        if heard == Heard::End {
            let exit = cell.exit(deadline)?;
            log::warn!("an installer ended early: {exit:?} {}", printed.text());
            return Err(match exit.oom_killed || exit.code == 134 {
                true => broken("it needed more than 1 GiB of memory"),
                false => broken("its container ended early"),
            });
        }
        if is_over() {
            return Err(broken("the server is shutting down"));
        }
        if deadline.remaining().is_none() {
            return Err(broken("it took too long"));
        }
    }
}

fn broken(why: &str) -> Failure {
    let message = format!("packages could not be installed: {why}");
    Failure::new(FailureKind::EngineUnavailable, message).retry_after(5000)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_whole_specification_of_each_role_is_the_reviewed_one() {
        let variables = Variables {
            image_id: "sha256:0123".to_owned(),
            user: User::DEFAULT,
            volumes: Vec::new(),
            memory_bytes: 512 << 20,
            nano_cpus: 1_000_000_000,
            is_podman: false,
            labels: BTreeMap::from([("dynamic-mcp.owner".to_owned(), "me".to_owned())]),
            layers_volume: "dynamic-mcp-layers".to_owned(),
            runtime: None,
        };
        let roles = [Role::Prepare, Role::Install, Role::Tidy].map(|role| {
            let mut spec = installer_spec(role, "default", &variables);
            assert_eq!(spec["Cmd"][0], PROGRAM);
            spec["Cmd"][0] = json!("(installer.js)");
            spec
        });
        let [prepare, install, tidy] = roles;
        let found = json!({ "prepare": prepare, "install": install, "tidy": tidy });
        let golden = include_str!("../../../tests/golden/installer_spec.json");
        let golden: Value = serde_json::from_str(golden).unwrap();
        assert_eq!(found, golden, "{found:#}");
    }
}
