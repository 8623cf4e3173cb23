//! Every hardening flag of a container, in one pure function: reviewed data, held by a golden test
//! (`tests/golden/container_spec.json`). Engine API 1.41, `ContainerCreate`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::labels;

/// Who the container's processes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// Never 0.
    pub uid: u32,
    /// Never 0.
    pub gid: u32,
}

impl User {
    /// Where the image names no usable user.
    pub const DEFAULT: Self = Self {
        uid: 1000,
        gid: 1000,
    };

    /// The image's user when it is numeric and not root; names are not resolved. A group of 0, or
    /// none, is replaced by the user's number: Docker would give the root group.
    pub fn of_image(configured: &str) -> Self {
        let (uid, gid) = configured.split_once(':').unwrap_or((configured, ""));
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number > 0);
        match number(uid) {
            Some(uid) => Self {
                uid,
                gid: number(gid).unwrap_or(uid),
            },
            None => Self::DEFAULT,
        }
    }
}

/// What differs from container to container.
#[derive(Clone, Debug)]
pub struct Variables {
    /// The image's id (`sha256:…`): what was inspected is what runs.
    pub image_id: String,
    /// From the image.
    pub user: User,
    /// The image's `VOLUME`s: disk of the host, without any limit, were they not covered.
    pub volumes: Vec<String>,
    /// Bytes of memory, swap included.
    pub memory_bytes: u64,
    /// Billionths of a processor.
    pub nano_cpus: u64,
    /// Podman's service refuses `uid=` for a tmpfs.
    pub is_podman: bool,
    /// See `labels`.
    pub labels: BTreeMap<String, String>,
    /// Name of the volume of installed packages; the daemon makes it where it is missing.
    pub layers_volume: String,
    /// The container runtime; the daemon's default where `None`.
    pub runtime: Option<String>,
}

/// Where installed packages are, in every container.
pub(super) const LAYERS: &str = "/layers";

/// Processes and threads in one container.
pub(super) const MAX_PROCESSES: u32 = 256;
/// Open files of one process.
const MAX_OPEN_FILES: u32 = 1024;
/// An eighth of the default, so that tool code never starves the server beside it.
const CPU_SHARES: u32 = 128;

/// Starts the runner with its frames on fd 3, its orders on fd 4, and nothing on stdin; whatever is
/// printed goes to stderr.
pub(super) const LAUNCH: &str = "exec node -e \"$0\" 3>&1 1>&2 4<&0 0</dev/null";
pub(super) const RUNNER: &str = include_str!("runner.js");

/// The body of `POST /containers/create`.
pub fn container_spec(variables: &Variables) -> Value {
    let User { uid, gid } = variables.user;
    let owner = if variables.is_podman {
        "mode=1777".to_owned()
    } else {
        format!("mode=0700,uid={uid},gid={gid}")
    };
    let tmpfs = |megabytes: u32| format!("rw,noexec,nosuid,nodev,size={megabytes}m,{owner}");
    let volumes = variables.volumes.iter().filter(|path| *path != LAYERS);
    let mut folders: BTreeMap<&str, String> =
        volumes.map(|path| (path.as_str(), tmpfs(64))).collect();
    folders.extend([("/tmp", tmpfs(64)), ("/workspace", tmpfs(256))]);
    let layers = json!({
        "Type": "volume",
        "Source": variables.layers_volume,
        "Target": LAYERS,
        "ReadOnly": true,
        "VolumeOptions": { "NoCopy": true, "Labels": { (labels::KIND): "layers" } },
    });
    let mut spec = json!({
        "Image": variables.image_id,
        "Entrypoint": ["sh", "-c", LAUNCH],
        "Cmd": [RUNNER],
        "User": format!("{uid}:{gid}"),
        "WorkingDir": "/workspace",
        "Env": ["HOME=/workspace", "TMPDIR=/tmp", "TZ=UTC"],
        "Hostname": "sandbox",
        "OpenStdin": true,
        "StdinOnce": true,
        "AttachStdin": true,
        "AttachStdout": true,
        "AttachStderr": true,
        "Tty": false,
        "StopTimeout": 1,
        "Healthcheck": { "Test": ["NONE"] },
        "Labels": variables.labels,
        "HostConfig": {
            "NetworkMode": "none",
            "ReadonlyRootfs": true,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges:true"],
            "Privileged": false,
            "PidsLimit": MAX_PROCESSES,
            "Memory": variables.memory_bytes,
            "MemorySwap": variables.memory_bytes,
            "NanoCpus": variables.nano_cpus,
            "CpuShares": CPU_SHARES,
            "OomScoreAdj": 500,
            "IpcMode": "none",
            "Init": true,
            "Tmpfs": folders,
            "Mounts": [layers],
            "Ulimits": [
                { "Name": "nofile", "Soft": MAX_OPEN_FILES, "Hard": MAX_OPEN_FILES },
                { "Name": "core", "Soft": 0, "Hard": 0 },
            ],
            "LogConfig": { "Type": "none", "Config": {} },
            "RestartPolicy": { "Name": "no" },
            "AutoRemove": false,
        },
    });
    if let (Some(runtime), Some(host)) = (&variables.runtime, spec.get_mut("HostConfig")) {
        host["Runtime"] = json!(runtime);
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(is_podman: bool) -> Variables {
        Variables {
            image_id: "sha256:0123".to_owned(),
            user: User::DEFAULT,
            volumes: Vec::new(),
            memory_bytes: 512 << 20,
            nano_cpus: 1_000_000_000,
            is_podman,
            labels: BTreeMap::from([("dynamic-mcp.owner".to_owned(), "me".to_owned())]),
            layers_volume: "dynamic-mcp-layers".to_owned(),
            runtime: None,
        }
    }

    #[test]
    fn the_whole_specification_is_the_reviewed_one() {
        let mut spec = container_spec(&variables(false));
        assert_eq!(spec["Cmd"][0], RUNNER);
        spec["Cmd"][0] = json!("(runner.js)");
        let golden = include_str!("../../tests/golden/container_spec.json");
        let golden: Value = serde_json::from_str(golden).unwrap();
        assert_eq!(spec, golden, "{spec:#}");
    }

    #[test]
    fn volumes_of_images_are_covered() {
        let mut with = variables(false);
        with.volumes = ["/data", "/tmp", "/layers"].map(str::to_owned).into();
        let mut spec = container_spec(&with);
        let folders = spec["HostConfig"]["Tmpfs"].as_object_mut().unwrap();
        let data = folders.remove("/data").unwrap();
        assert_eq!(data, folders["/tmp"]);
        assert_eq!(spec, container_spec(&variables(false)));
    }

    #[test]
    fn a_chosen_runtime_is_all_that_differs() {
        let mut chosen = variables(false);
        chosen.runtime = Some("runsc".to_owned());
        let mut spec = container_spec(&chosen);
        assert_eq!(spec["HostConfig"]["Runtime"], "runsc");
        let host = spec["HostConfig"].as_object_mut().unwrap();
        host.remove("Runtime");
        assert_eq!(spec, container_spec(&variables(false)));
    }

    #[test]
    fn podman_gets_no_owner_in_tmpfs_options() {
        let spec = container_spec(&variables(true));
        let tmpfs = spec["HostConfig"]["Tmpfs"]["/tmp"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(
            tmpfs.ends_with("mode=1777") && !tmpfs.contains("uid="),
            "{tmpfs}"
        );
    }

    #[test]
    fn users_of_images() {
        let check = |configured: &str, uid, gid| {
            assert_eq!(
                User::of_image(configured),
                User { uid, gid },
                "{configured}"
            );
        };
        check("", 1000, 1000);
        check("0", 1000, 1000);
        check("0:0", 1000, 1000);
        check("root", 1000, 1000);
        check("node", 1000, 1000);
        check("4242", 4242, 4242);
        check("4242:7", 4242, 7);
        check("4242:0", 4242, 4242);
        check("4242:staff", 4242, 4242);
        check("-1", 1000, 1000);
        check("99999999999", 1000, 1000);
    }
}
