//! What an operator deploys: the Compose stack and the manifests are valid, run the same production
//! baseline as `.env.prod.example`, and name what the program really has.

use std::collections::{BTreeMap, BTreeSet};

use dynamic_mcp::config::settings::setting;
use serde_json::{Value, json};

use crate::support::daemons::succeeded;
use crate::support::manifests::{
    GIVEN, compose, compose_with, objects, path, text, texts, validate,
};
use crate::support::server::{Folder, run, stderr, stdout};

/// The object of this kind and name.
fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    let found = objects.iter().find(is_it);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// The lines in force of `.env.prod.example`.
fn example() -> BTreeMap<String, String> {
    let text = text(".env.prod.example");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn the_stack_needs_what_only_the_operator_knows() {
    succeeded("docker-compose config", &compose_with(&GIVEN));
    for missing in GIVEN {
        let given: Vec<_> = GIVEN.into_iter().filter(|one| *one != missing).collect();
        let output = compose_with(&given);
        assert!(!output.status.success(), "{missing:?}");
        assert!(stderr(&output).contains(missing.0), "{}", stderr(&output));
    }
}

#[test]
fn the_manifests_fit_the_schemas_of_kubernetes() {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(path("deploy/k8s")).unwrap() {
        let file = entry.unwrap().path();
        succeeded(&file.display().to_string(), &validate(&file));
        names.insert(file.file_name().unwrap().to_str().unwrap().to_owned());
    }
    let expected = ["networkpolicy", "postgres", "scalability"];
    let expected = expected.map(|part| format!("dynamic-mcp-{part}.yaml"));
    assert_eq!(names, BTreeSet::from(expected));

    let folder = Folder::new();
    let wrong = folder.path().join("wrong.yaml");
    let yaml = text("deploy/k8s/dynamic-mcp-scalability.yaml");
    std::fs::write(&wrong, yaml.replace("maxReplicas", "mostReplicas")).unwrap();
    assert!(!validate(&wrong).status.success());
}

#[test]
fn compose_kubernetes_and_the_example_run_the_same_baseline() {
    let (stack, objects) = (compose(), objects());
    let in_stack = texts(&stack["services"]["server"]["environment"]);
    let in_cluster = texts(&object(&objects, "ConfigMap", "dynamic-mcp")["data"]);
    for (name, value) in &in_stack {
        match name.as_str() {
            // Where the daemon is, is the one difference.
            "DOCKER_HOST" => assert_ne!(in_cluster.get(name), Some(value)),
            _ => assert_eq!(in_cluster.get(name), Some(value), "{name}"),
        }
    }
    assert!(in_stack.keys().eq(in_cluster.keys()));
    let example = example();
    for (name, value) in &example {
        assert_eq!(in_stack.get(name), Some(value), "{name}");
    }
    let beyond: Vec<_> = in_stack
        .keys()
        .filter(|name| !example.contains_key(*name))
        .collect();
    let expected = [
        "DOCKER_CERT_PATH",
        "DOCKER_HOST",
        "DOCKER_TLS_VERIFY",
        "MCP_AUTH_CA_FILE",
    ];
    assert_eq!(beyond, expected);
    let migrate = &stack["services"]["migrate"];
    assert_eq!(texts(&migrate["environment"]), in_stack);
    for (settings, host) in [
        (&in_stack, "docker"),
        (&in_cluster, "docker.dynamic-mcp-engine.svc"),
    ] {
        assert_eq!(settings["DOCKER_HOST"], format!("tcp://{host}:2376"));
        // The daemon's certificate is made for that name.
        assert!(
            text("deploy/make-secrets").contains(&format!("DNS:{host}")),
            "{host}"
        );
        the_program_takes(settings);
    }
}

/// The commands of the runbook make what the pods mount.
#[test]
fn the_secrets_of_the_cluster_are_those_that_the_runbook_makes() {
    let (objects, runbook) = (objects(), text("deploy/production-runbook.md"));
    let made = |secret: &str| -> String {
        let mark = format!("create secret generic {secret} ");
        let line = runbook.lines().find(|line| line.contains(&mark));
        line.unwrap_or_else(|| panic!("no {secret}")).to_owned()
    };
    let settings = texts(&object(&objects, "ConfigMap", "dynamic-mcp")["data"]);
    let files = settings
        .values()
        .filter_map(|value| value.strip_prefix("/run/secrets/"));
    for file in files
        .chain(["database_ca.pem"])
        .filter(|file| *file != "docker")
    {
        let line = made("dynamic-mcp");
        let named = [
            format!("--from-file={file}"),
            format!("--from-file={file}="),
        ];
        assert!(
            named.iter().any(|given| line.contains(given)),
            "{file}: {line}"
        );
    }
    assert!(made("dynamic-mcp-owner").contains("--from-file=dynamic_pg_url=owner_pg_url"));
    assert!(made("dynamic-mcp-docker").ends_with("--from-file=docker-client"));
    assert!(made("docker-server").ends_with("--from-file=docker-server"));
    let mounted = |set: &str| {
        let volumes = &object(&objects, "StatefulSet", set)["spec"]["template"]["spec"]["volumes"];
        volumes.to_string()
    };
    for secret in ["dynamic-mcp", "dynamic-mcp-owner", "dynamic-mcp-docker"] {
        assert!(
            mounted("dynamic-mcp").contains(&format!("\"name\":\"{secret}\"")),
            "{secret}"
        );
    }
    assert!(mounted("docker").contains("\"secretName\":\"docker-server\""));
}

/// No unknown name, no malformed value, no warning; secrets come from files alone.
fn the_program_takes(settings: &BTreeMap<String, String>) {
    for name in settings.keys() {
        let secret = name.strip_suffix("_FILE").and_then(setting);
        let row = setting(name).or(secret);
        assert!(row.is_some(), "{name} is no setting");
        let bare = setting(name).is_some_and(|row| row.file_key().is_some());
        assert!(!bare, "{name} is a secret, and stands in the file");
    }
    let folder = Folder::new();
    let secrets = folder.path().join("secrets");
    std::fs::create_dir(&secrets).unwrap();
    let url = "postgres://u:p@database.example/d?sslmode=verify-full&sslrootcert=/ca.pem";
    for (name, text) in [
        ("dynamic_pg_url", url),
        ("admin_token", "correct-horse-battery"),
    ] {
        std::fs::write(secrets.join(name), text).unwrap();
    }
    let here = |value: &String| value.replace("/run/secrets", secrets.to_str().unwrap());
    let here: Vec<_> = settings
        .iter()
        .map(|(name, value)| (name.as_str(), here(value)))
        .collect();
    let given: Vec<_> = here
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let shown = run(&folder, &given, &["config"]);
    succeeded("dynamic-mcp config", &shown);
    assert_eq!(stderr(&shown), "");
    for line in [
        "MCP_PROFILE = enterprise",
        "MCP_AUTH_MODE = jwt",
        "MCP_AUDIT_ENABLED = true",
    ] {
        assert!(stdout(&shown).contains(line), "{line}: {}", stdout(&shown));
    }
}

#[test]
fn ports_paths_probes_and_times_are_the_programs_own() {
    let (stack, objects) = (compose(), objects());
    let default = |key: &str| setting(key).unwrap().default_in_words();
    assert_eq!(default("MCP_PORT"), "8788");
    assert!(text("Dockerfile").contains("\nEXPOSE 8788\n"));
    let server = &stack["services"]["server"];
    assert_eq!(server["ports"], json!(["127.0.0.1:8788:8788/tcp"]));
    assert_eq!(server["stop_grace_period"], "30s");
    let check = json!(["CMD", "/usr/local/bin/dynamic-mcp", "healthcheck"]);
    assert_eq!(server["healthcheck"]["test"], check);

    let set = &object(&objects, "StatefulSet", "dynamic-mcp")["spec"];
    let pod = &set["template"]["spec"];
    assert_eq!(pod["terminationGracePeriodSeconds"], 30);
    let container = &pod["containers"][0];
    assert_eq!(
        container["ports"],
        json!([{ "name": "http", "containerPort": 8788 }])
    );
    for (probe, path) in [
        ("startup", "/livez"),
        ("liveness", "/livez"),
        ("readiness", "/readyz"),
    ] {
        let expected = json!({ "path": path, "port": "http" });
        assert_eq!(container[format!("{probe}Probe")]["httpGet"], expected);
    }
    // The server's own grace, its last answers and its containers' end fit in.
    assert_eq!(default("MCP_SHUTDOWN_GRACE_SECONDS"), "20");
    let image = format!("dynamic-mcp:{}", env!("CARGO_PKG_VERSION"));
    for found in [
        &container["image"],
        &pod["initContainers"][0]["image"],
        &server["image"],
    ] {
        assert_eq!(*found, image);
    }
    for service in ["dynamic-mcp", "dynamic-mcp-each"] {
        let spec = &object(&objects, "Service", service)["spec"];
        assert_eq!(spec["ports"][0]["port"], 8788);
        assert_eq!(spec["selector"], set["selector"]["matchLabels"]);
    }
    assert_eq!(
        set["template"]["metadata"]["annotations"]["prometheus.io/path"],
        "/metrics"
    );
}

#[test]
fn the_server_is_confined_and_reads_its_secrets_from_files_that_are_there() {
    let (stack, objects) = (compose(), objects());
    let pod = &object(&objects, "StatefulSet", "dynamic-mcp")["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["runAsUser"], 10001);
    assert!(text("Dockerfile").contains("\nUSER 10001:10001\n"));
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    let confined = json!({
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
        "capabilities": { "drop": ["ALL"] },
    });
    for container in [&pod["containers"][0], &pod["initContainers"][0]] {
        assert_eq!(container["securityContext"], confined);
        assert!(container["resources"]["limits"]["memory"].is_string());
    }
    let needed = BTreeSet::from([
        "admin_token",
        "database_ca.pem",
        "docker",
        "dynamic_pg_url",
        "issuer_ca.pem",
    ]);
    for name in ["server", "migrate"] {
        let service = &stack["services"][name];
        assert_eq!(service["read_only"], true);
        assert_eq!(service["cap_drop"], json!(["ALL"]));
        assert_eq!(service["security_opt"], json!(["no-new-privileges:true"]));
    }
    let mounts = stack["services"]["server"]["volumes"]
        .as_array()
        .unwrap()
        .clone();
    let mounted: BTreeSet<_> = mounts
        .iter()
        .filter_map(|mount| {
            mount
                .as_str()?
                .split_once(":/run/secrets/")?
                .1
                .strip_suffix(":ro")
        })
        .collect();
    assert_eq!(mounted, needed);
    // What make-secrets makes is what the stack mounts.
    let folder = Folder::new();
    let made = std::process::Command::new(path("deploy/make-secrets"))
        .arg(folder.path())
        .output();
    succeeded("make-secrets", &made.unwrap());
    for service in stack["services"].as_object().unwrap().values() {
        let mounts = service["volumes"].as_array().unwrap().iter();
        let secrets = mounts.filter_map(|mount| mount.as_str()?.split_once("/deploy/secrets/"));
        for (_, rest) in secrets {
            let name = rest.split(':').next().unwrap();
            assert!(folder.path().join(name).exists(), "{name} is not made");
        }
    }
}

#[test]
fn the_bill_of_materials_is_that_of_the_lock() {
    let make = || {
        let made = std::process::Command::new(path("deploy/make-sbom"))
            .output()
            .unwrap();
        succeeded("make-sbom", &made);
        stdout(&made)
    };
    let bill = make();
    assert_eq!(bill, make(), "the same text each time");
    let bill: Value = serde_json::from_str(&bill).unwrap();
    assert_eq!(bill["bomFormat"], "CycloneDX");
    assert_eq!(
        bill["metadata"]["component"]["version"],
        env!("CARGO_PKG_VERSION")
    );
    let lock = text("Cargo.lock");
    let components = bill["components"].as_array().unwrap();
    let named = |name: &str| components.iter().any(|one| one["name"] == name);
    assert!(named("ring") && named("cc") && named("tiny_http"));
    // Of other platforms, and of features that are off.
    assert!(!named("windows-sys") && !named("regex"));
    for component in components {
        let text = |field: &str| component[field].as_str().unwrap().to_owned();
        let checksum = component["hashes"][0]["content"].as_str().unwrap();
        let (name, version) = (text("name"), text("version"));
        let row = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        let (_, row) = lock
            .split_once(&row)
            .unwrap_or_else(|| panic!("{name} {version}"));
        let row = row.split("\n\n").next().unwrap();
        assert!(
            row.contains(&format!("checksum = \"{checksum}\"")),
            "{name}"
        );
        assert!(component["licenses"][0]["expression"].is_string(), "{name}");
        assert_eq!(text("purl"), format!("pkg:cargo/{name}@{version}"));
    }
}

#[test]
fn replicas_scale_within_bounds_and_never_all_go() {
    let objects = objects();
    let set = &object(&objects, "StatefulSet", "dynamic-mcp")["spec"];
    let scaler = &object(&objects, "HorizontalPodAutoscaler", "dynamic-mcp")["spec"];
    let target = json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "dynamic-mcp" });
    assert_eq!(scaler["scaleTargetRef"], target);
    assert_eq!(
        (&scaler["minReplicas"], &scaler["maxReplicas"]),
        (&json!(2), &json!(10))
    );
    // Applying the manifests again must not end what the scaler has started.
    assert_eq!(set.get("replicas"), None);
    let budget = &object(&objects, "PodDisruptionBudget", "dynamic-mcp")["spec"];
    assert_eq!(budget["maxUnavailable"], 1);
    assert_eq!(budget["selector"], set["selector"]);
    // An audit log goes with its server's own volume, which stays.
    assert_eq!(
        set["persistentVolumeClaimRetentionPolicy"]["whenScaled"],
        "Retain"
    );
    assert_eq!(set["volumeClaimTemplates"][0]["metadata"]["name"], "state");
}

#[test]
fn only_what_is_needed_may_talk() {
    let objects = objects();
    let policies: Vec<_> = objects
        .iter()
        .filter(|one| one["kind"] == "NetworkPolicy")
        .collect();
    for space in objects.iter().filter(|one| one["kind"] == "Namespace") {
        let denies = |policy: &&&Value| {
            policy["metadata"]["namespace"] == space["metadata"]["name"]
                && policy["spec"]["podSelector"] == json!({})
                && policy["spec"]["policyTypes"] == json!(["Ingress", "Egress"])
                && policy["spec"].get("ingress").is_none()
                && policy["spec"].get("egress").is_none()
        };
        assert_eq!(policies.iter().filter(denies).count(), 1, "{space}");
    }
    let ports = |rules: &Value| -> BTreeSet<u64> {
        let rules = rules.as_array().unwrap().iter();
        let ports = rules.flat_map(|rule| rule["ports"].as_array().unwrap().clone());
        ports.map(|port| port["port"].as_u64().unwrap()).collect()
    };
    for (name, opened, reached) in [
        ("dynamic-mcp", vec![8788], vec![53, 443, 2376, 5432]),
        ("docker", vec![2376], vec![53, 443]),
    ] {
        let policy = &object(&objects, "NetworkPolicy", name)["spec"];
        let set = object(&objects, "StatefulSet", name);
        assert_eq!(policy["podSelector"], set["spec"]["selector"]);
        assert_eq!(
            ports(&policy["ingress"]),
            BTreeSet::from_iter(opened),
            "{name}"
        );
        assert_eq!(
            ports(&policy["egress"]),
            BTreeSet::from_iter(reached),
            "{name}"
        );
    }
    // The daemon is for the servers alone.
    let from = json!([{
        "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "dynamic-mcp" } },
        "podSelector": object(&objects, "StatefulSet", "dynamic-mcp")["spec"]["selector"],
    }]);
    assert_eq!(
        object(&objects, "NetworkPolicy", "docker")["spec"]["ingress"][0]["from"],
        from
    );
}
