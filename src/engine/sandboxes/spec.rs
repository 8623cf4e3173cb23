//! What a sandbox's container has that a one-shot's has not: a keeper for its first process, under
//! another user than the commands', and a folder of files that may be run. Held by a golden test
//! (`tests/golden/sandbox_spec.json`).

use std::time::Duration;

use serde_json::{Value, json};

use crate::engine::container_spec::{User, Variables, container_spec};

/// Who keeps a sandbox: nobody whom its commands could stop or kill.
const KEEPER: User = User {
    uid: 64_101,
    gid: 64_101,
};
/// The keeper where the image's own user has that number.
const OTHER_KEEPER: User = User {
    uid: 64_102,
    gid: 64_102,
};
const PROGRAM: &str = include_str!("keeper.js");

/// The body of `POST /containers/create`; `variables.user` is the commands'. The daemon removes the
/// container when its keeper ends: that takes no server.
pub(super) fn sandbox_spec(idle: Duration, variables: &Variables) -> Value {
    let User { uid, gid } = match variables.user.uid == KEEPER.uid {
        true => OTHER_KEEPER,
        false => KEEPER,
    };
    let mut spec = container_spec(variables);
    let mut set = |place: &str, name: &str, value: Value| {
        if let Some(Value::Object(object)) = spec.pointer_mut(place) {
            object.insert(name.to_owned(), value);
        }
    };
    set("", "Entrypoint", json!(["node", "-e", PROGRAM]));
    set("", "Cmd", json!([idle.as_secs().to_string()]));
    set("", "User", json!(format!("{uid}:{gid}")));
    set("", "WorkingDir", json!("/"));
    // Servers come and go, and each speaks to the keeper.
    set("", "StdinOnce", json!(false));
    set("/HostConfig", "AutoRemove", json!(true));
    if let Some(Value::String(options)) = spec.pointer_mut("/HostConfig/Tmpfs/~1workspace") {
        *options = options.replace("noexec", "exec");
    }
    spec
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn variables(uid: u32) -> Variables {
        Variables {
            image_id: "sha256:0123".to_owned(),
            user: User { uid, gid: uid },
            volumes: Vec::new(),
            memory_bytes: 512 << 20,
            nano_cpus: 1_000_000_000,
            is_podman: false,
            labels: BTreeMap::from([("dynamic-mcp.owner".to_owned(), "us".to_owned())]),
            layers_volume: "dynamic-mcp-layers".to_owned(),
            runtime: None,
        }
    }

    #[test]
    fn the_whole_specification_is_the_reviewed_one() {
        let mut spec = sandbox_spec(Duration::from_secs(1800), &variables(1000));
        assert_eq!(spec["Entrypoint"][2], PROGRAM);
        spec["Entrypoint"][2] = json!("(keeper.js)");
        let golden = include_str!("../../../tests/golden/sandbox_spec.json");
        let golden: Value = serde_json::from_str(golden).unwrap();
        assert_eq!(spec, golden, "{spec:#}");
    }

    #[test]
    fn commands_are_never_the_keeper_s_user() {
        for uid in [1000, 64_101, 64_102] {
            let spec = sandbox_spec(Duration::from_secs(1), &variables(uid));
            assert_ne!(spec["User"], format!("{uid}:{uid}"));
        }
    }
}
