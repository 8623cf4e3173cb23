//! The image: built as the Dockerfile says, without a network, and run as an operator runs it. Only
//! the image that the build runs in is missing here: its one command runs on this machine, in a
//! namespace without network.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dynamic_mcp::base::ids::random_hex;
use serde_json::{Value, json};

use crate::support::daemons::succeeded;
use crate::support::engine::await_that;
use crate::support::http::Connection;
use crate::support::postgres::{Cluster, fresh_schema};
use crate::support::provided;
use crate::support::server::{Folder, beside, stdout};

const CHECKOUT: &str = env!("CARGO_MANIFEST_DIR");
/// Marks what the build leaves on the daemon.
const STAGE: &str = "dynamic-mcp-test-stage";
const GIT_SHA: &str = "0123456789abcdef0123456789abcdef01234567";

/// `docker` with the daemon of this test run.
fn docker(arguments: &[&str]) -> Output {
    let output = Command::new("docker")
        .args(["-H", &provided("DYNAMIC_MCP_TEST_DOCKER")])
        .args(arguments)
        .env("DOCKER_BUILDKIT", "0")
        .output();
    output.expect("docker is missing: tests/run installs it")
}

/// What it prints, if it succeeds.
fn docker_says(arguments: &[&str]) -> String {
    let output = docker(arguments);
    succeeded(&arguments.join(" "), &output);
    stdout(&output).trim().to_owned()
}

fn sh(script: &str, folder: &Folder, variables: &[(&str, &Path)]) {
    let mut shell = beside("sh", folder);
    shell.args(["-euc", script]).env("CHECKOUT", CHECKOUT);
    for kept in ["HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
        shell.envs(std::env::var_os(kept).map(|value| (kept, value)));
    }
    shell.envs(variables.iter().copied());
    succeeded(script, &shell.output().unwrap());
}

/// What the build stage leaves below `/image`, made from what .dockerignore lets in and `vendor/`.
/// The program is unoptimised; all the rest is as it is shipped.
fn build_without_network(folder: &Folder) -> PathBuf {
    let cache = PathBuf::from(provided("DYNAMIC_MCP_TEST_CACHE")).join("image");
    let root = folder.path().join("image");
    let script = r#"
        mkdir -p "$CACHE" "$ROOT"
        if ! cmp -s "$CHECKOUT/Cargo.lock" "$CACHE/Cargo.lock"; then
            rm -rf "$CACHE/vendor"
            cargo vendor --quiet --locked --manifest-path "$CHECKOUT/Cargo.toml" \
                "$CACHE/vendor" >/dev/null
            cp "$CHECKOUT/Cargo.lock" "$CACHE/Cargo.lock"
        fi
        context=$CACHE/context
        rm -rf "$context"
        mkdir "$context"
        cd "$CHECKOUT"
        sed -n 's/^!//p' .dockerignore | grep -v '^vendor$' | xargs cp -a --parents -t "$context"
        ln -s "$CACHE/vendor" "$context/vendor"
        cd "$context"
        export CARGO_TARGET_DIR="$CACHE/target" PROFILE=dev
        export CARGO_PROFILE_DEV_STRIP=symbols CARGO_PROFILE_DEV_DEBUG=0
        unshare --net deploy/build-image-root "$ROOT"
    "#;
    let variables = [
        ("CACHE", cache.as_path()),
        ("ROOT", &root),
        ("DYNAMIC_MCP_GIT_SHA", Path::new(GIT_SHA)),
    ];
    sh(script, folder, &variables);
    root
}

/// The Dockerfile whose build stage holds what was built outside.
fn with_build_stage(dockerfile: &str) -> String {
    let (globals, rest) = dockerfile
        .split_once("\nFROM ${BUILD_IMAGE} AS build\n")
        .unwrap();
    let (build, last) = rest.split_once("\nFROM ${FINAL_IMAGE}\n").unwrap();
    // The one command of that stage, and it is given the commit.
    assert_eq!(build.matches("RUN ").count(), 1, "{build}");
    let command =
        r#"RUN DYNAMIC_MCP_GIT_SHA="${DYNAMIC_MCP_GIT_SHA}" deploy/build-image-root /image"#;
    assert!(build.contains(command), "{build}");
    format!(
        "{globals}\nFROM scratch AS build\nLABEL {STAGE}=1\nCOPY image /image\nFROM ${{FINAL_IMAGE}}\n{last}"
    )
}

/// An image of this test's own; goes with this value.
struct Image(String);

impl Image {
    fn build() -> Self {
        let folder = Folder::new();
        build_without_network(&folder);
        let text = std::fs::read_to_string(Path::new(CHECKOUT).join("Dockerfile")).unwrap();
        std::fs::write(folder.path().join("Dockerfile"), with_build_stage(&text)).unwrap();
        let image = Self(format!("dynamic-mcp-test:{}", random_hex()));
        let sha = format!("DYNAMIC_MCP_GIT_SHA={GIT_SHA}");
        let context = folder.path().display().to_string();
        docker_says(&[
            "build",
            "--network",
            "none",
            "--build-arg",
            &sha,
            "-t",
            &image.0,
            &context,
        ]);
        image
    }

    fn inspect(&self) -> Value {
        let text = docker_says(&["image", "inspect", &self.0]);
        serde_json::from_str::<Value>(&text).unwrap()[0].take()
    }

    /// Every file and folder of the image, as `tar` lists them.
    fn files(&self) -> Vec<String> {
        let id = docker_says(&["create", &self.0]);
        let line = format!(
            "docker -H {} export {id} | tar -tv --numeric-owner",
            provided("DYNAMIC_MCP_TEST_DOCKER")
        );
        let listed = Command::new("sh").args(["-c", &line]).output().unwrap();
        docker_says(&["rm", "-v", &id]);
        let listed = stdout(&listed);
        // Docker adds a mount point or two of its own.
        let own = [
            "dev/",
            "proc/",
            "sys/",
            ".dockerenv",
            "etc/hostname",
            "etc/hosts",
            "etc/resolv.conf",
            "etc/mtab",
            "dev/console",
            "dev/pts/",
            "dev/shm/",
        ];
        let entries = listed.lines().map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            format!("{} {} {}", fields[0], fields[1], fields[5])
        });
        let ours = |entry: &String| !own.iter().any(|name| entry.ends_with(&format!(" {name}")));
        entries.filter(ours).collect()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        docker(&["image", "rm", "--force", &self.0]);
        // The build stage has no name to remove it by.
        let stage = format!("label={STAGE}");
        docker(&["image", "prune", "--force", "--filter", &stage]);
    }
}

/// A container; goes with this value.
struct Running(String);

impl Running {
    fn inspect(&self) -> Value {
        let text = docker_says(&["inspect", &self.0]);
        serde_json::from_str::<Value>(&text).unwrap()[0].take()
    }

    fn logs(&self) -> String {
        let output = docker(&["logs", &self.0]);
        format!(
            "{}{}",
            stdout(&output),
            String::from_utf8_lossy(&output.stderr)
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("its logs:\n{}", self.logs());
        }
        docker(&["rm", "--force", "--volumes", &self.0]);
    }
}

fn socket() -> PathBuf {
    let address = provided("DYNAMIC_MCP_TEST_DOCKER");
    PathBuf::from(address.strip_prefix("unix://").unwrap())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn the_image_is_one_static_program_that_serves_read_only_as_nobody() {
    let image = Image::build();
    it_holds_one_program(&image);
    it_says_what_it_is(&image.inspect());
    what_is_reachable_needs_authentication(&image);
    it_serves(&image);
    it_finds_hosts_by_name_and_speaks_tls(&image);
}

/// What the daemon's builder really gets of a checkout.
#[test]
fn a_build_sees_sources_and_nothing_else() {
    let folder = Folder::new();
    let dockerfile = folder.path().join("Dockerfile");
    std::fs::write(
        &dockerfile,
        "FROM scratch\nCOPY . /context/\nCMD [\"none\"]\n",
    )
    .unwrap();
    let image = Image(format!("dynamic-mcp-test:{}", random_hex()));
    let dockerfile = dockerfile.display().to_string();
    docker_says(&["build", "-f", &dockerfile, "-t", &image.0, CHECKOUT]);
    let files = image.files();
    let names: Vec<_> = files
        .iter()
        .filter_map(|entry| entry.split_once(" context/").map(|(_, name)| name))
        .filter(|name| !name.is_empty())
        .collect();
    for needed in [
        "Cargo.toml",
        "Cargo.lock",
        "src/main.rs",
        "deploy/build-image-root",
    ] {
        assert!(names.contains(&needed), "{needed}: {names:?}");
    }
    let sources = [
        "src/",
        "sql/",
        "vendor/",
        "deploy/",
        "Cargo.toml",
        "Cargo.lock",
    ];
    for name in names {
        let source = sources.iter().any(|source| name.starts_with(source));
        let deployed = name.starts_with("deploy/") && !name.contains("build-image-root");
        assert!(source && (!deployed || name == "deploy/"), "{name}");
    }
}

fn it_holds_one_program(image: &Image) {
    let expected = [
        "drwxr-xr-x 0/0 etc/",
        "-rw-r--r-- 0/0 etc/group",
        "-rw-r--r-- 0/0 etc/passwd",
        "drwxrwxrwt 0/0 tmp/",
        "drwxr-xr-x 0/0 usr/",
        "drwxr-xr-x 0/0 usr/local/",
        "drwxr-xr-x 0/0 usr/local/bin/",
        "-rwxr-xr-x 0/0 usr/local/bin/dynamic-mcp",
        "drwxr-xr-x 0/0 var/",
        "drwxr-xr-x 0/0 var/lib/",
        "drwx------ 10001/10001 var/lib/dynamic-mcp/",
    ];
    assert_eq!(image.files(), expected);
}

fn it_says_what_it_is(image: &Value) {
    let config = &image["Config"];
    let label = |name: &str| config["Labels"][format!("org.opencontainers.image.{name}")].clone();
    assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(label("revision"), GIT_SHA);
    assert_eq!(label("licenses"), "MIT");
    assert_eq!(config["User"], "10001:10001");
    assert_eq!(config["StopSignal"], "SIGTERM");
    assert_eq!(config["ExposedPorts"], json!({ "8788/tcp": {} }));
    let check = json!(["CMD", "/usr/local/bin/dynamic-mcp", "healthcheck"]);
    assert_eq!(config["Healthcheck"]["Test"], check);
}

fn what_is_reachable_needs_authentication(image: &Image) {
    let output = docker(&["run", "--rm", "--network", "none", &image.0]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("MCP_AUTH_MODE"), "{said}");
}

fn it_serves(image: &Image) {
    let port = free_port();
    let group = std::fs::metadata(socket()).unwrap().gid().to_string();
    let mount = format!("{}:/var/run/docker.sock", socket().display());
    let port_setting = format!("MCP_PORT={port}");
    let container = Running(docker_says(&[
        "run",
        "--detach",
        "--network",
        "host",
        "--read-only",
        "--tmpfs",
        "/tmp:mode=1777",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
        "--memory",
        "256m",
        "--group-add",
        &group,
        "--volume",
        &mount,
        "--env",
        "MCP_HOST=127.0.0.1",
        "--env",
        &port_setting,
        "--env",
        "MCP_SANDBOX_PULL_POLICY=never",
        "--env",
        "MCP_AUDIT_ENABLED=true",
        "--env",
        "MCP_EXECUTION_ENGINE=docker",
        "--health-interval",
        "1s",
        &image.0,
    ]));
    // The daemon runs the image's own check.
    await_that("its health", || {
        let state = container.inspect()["State"].clone();
        assert_eq!(state["Running"], true, "{}", container.logs());
        state["Health"]["Status"] == "healthy"
    });
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut connection = Connection::open(address);
    let ready = connection.exchange("GET", "/readyz", &[], b"");
    assert_eq!(
        (ready.status, &ready.json()["status"]),
        (200, &json!("ready"))
    );
    let tool = json!({ "name": "image.double", "description": "d", "code": "return args.n * 2" });
    let made = connection.call("dynamic.tool.create", json!({ "tool": tool }));
    assert_eq!(made.get("isError"), None, "{made}");
    let called = connection.call("image.double", json!({ "args": { "n": 21 } }));
    assert_eq!(called["structuredContent"]["result"], 42, "{called}");
    let metrics = connection.exchange("GET", "/metrics", &[], b"").text();
    assert!(
        metrics.contains(&format!("git_sha=\"{GIT_SHA}\"")),
        "{metrics}"
    );

    // Within the 30 s that Compose and Kubernetes give, and orderly.
    docker_says(&["stop", "--time", "30", &container.0]);
    let state = container.inspect()["State"].clone();
    assert_eq!(state["ExitCode"], 0, "{}", container.logs());
    let said = container.logs();
    assert!(said.contains("0 calls cancelled\n"), "{said}");
}

/// A static program brings its own resolver.
fn it_finds_hosts_by_name_and_speaks_tls(image: &Image) {
    let (cluster, schema) = (Cluster::shared(), fresh_schema());
    let roots = format!("{}:/ca.pem:ro", cluster.tls_file("ca.pem").display());
    let url = format!(
        "MCP_DYNAMIC_PG_URL=postgres://postgres:postgres@localhost:{}/postgres?\
         sslmode=verify-full&sslrootcert=/ca.pem",
        cluster.port
    );
    let named = format!("MCP_DYNAMIC_PG_SCHEMA={schema}");
    let said = docker_says(&[
        "run",
        "--rm",
        "--network",
        "host",
        "--read-only",
        "--volume",
        &roots,
        "--env",
        "MCP_HOST=127.0.0.1",
        "--env",
        "MCP_DYNAMIC_BACKEND=postgres",
        "--env",
        &url,
        "--env",
        &named,
        &image.0,
        "migrate",
    ]);
    assert!(said.contains("the schema went from version 0"), "{said}");
    let gone = format!("DROP SCHEMA {schema} CASCADE");
    cluster.admin().batch_execute(&gone).unwrap();
}
