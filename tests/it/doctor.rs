//! The `doctor` command against real parts, whole and broken: each thing that is wrong has a line
//! that names the mend, nothing is changed, and no secret is shown.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Output;

use crate::support::idp::Idp;
use crate::support::postgres::{Cluster, fresh_schema};
use crate::support::provided;
use crate::support::server::{Folder, Server, beside, run, stderr, stdout};

/// Runs it, and asserts how it ends and that lines say so: verdict, area, part of the detail.
fn examine(folder: &Folder, settings: &[(&str, &str)], lines: &[(&str, &str, &str)]) -> Output {
    let output = run(folder, settings, &["doctor"]);
    assert_says(&output, lines);
    output
}

fn assert_says(output: &Output, lines: &[(&str, &str, &str)]) {
    let text = stdout(output);
    for (verdict, area, detail) in lines {
        let says = |line: &str| {
            line.starts_with(&format!("{verdict:<8} {area:<9} ")) && line.contains(detail)
        };
        let found = text.lines().any(says);
        assert!(found, "{verdict} {area} {detail}: {text}{}", stderr(output));
    }
    let failed = text
        .lines()
        .filter(|line| line.starts_with("FAILS"))
        .count();
    assert_eq!(output.status.code(), Some(i32::from(failed > 0)), "{text}");
    let expected = format!("{failed} thing");
    assert!(
        failed == 0 || stderr(output).contains(&expected),
        "{}",
        stderr(output)
    );
}

fn entries(folder: &Folder) -> Vec<std::ffi::OsString> {
    let entries = std::fs::read_dir(folder.path()).unwrap();
    entries.map(|entry| entry.unwrap().file_name()).collect()
}

#[test]
fn a_machine_that_has_all_is_well_and_stays_as_it_is() {
    let folder = Folder::new();
    let well = [
        ("ok", "settings", ""),
        ("ok", "engine", "docker 20"),
        ("ok", "limits", ""),
        ("ok", "clock", ""),
        ("ok", "image", "node:lts-slim is there"),
        ("ok", "registry", "0 tools"),
        ("ok", "audit", "can be written"),
        ("ok", "runtime", ""),
        ("ok", "files", ""),
        ("ok", "port", "is free"),
    ];
    let audit = ("MCP_AUDIT_ENABLED", "true");
    let output = examine(&folder, &[audit], &well);
    assert!(!stdout(&output).contains("FAILS"), "{}", stdout(&output));
    assert_eq!(entries(&folder), Vec::<std::ffi::OsString>::new());

    // Beside a running server, too.
    let server = Server::start_in(&folder, &[]);
    server
        .create(serde_json::json!({ "name": "one.tool", "description": "d", "code": "return 1" }));
    let port = server.address.port().to_string();
    let beside = [
        ("ok", "port", "a server answers"),
        ("ok", "registry", "1 tool"),
    ];
    examine(&folder, &[("MCP_PORT", &port)], &beside);
}

#[test]
fn what_is_wrong_with_the_daemon_is_named() {
    let folder = Folder::new();
    let check = |settings: &[(&str, &str)], lines: &[(&str, &str, &str)]| {
        examine(&folder, settings, lines);
    };
    check(
        &[("DOCKER_HOST", "unix:///no/such/docker.sock")],
        &[("FAILS", "engine", "start Docker, or set DOCKER_HOST")],
    );
    let missing = ("MCP_SANDBOX_ALLOWED_IMAGES", "node:lts-slim,no/such:image");
    check(
        &[missing],
        &[("warning", "image", "no/such:image is missing: load it")],
    );
    let missing = ("MCP_SANDBOX_ALLOWED_IMAGES", "no/such:image");
    check(&[missing], &[("FAILS", "image", "docker load")]);
    check(
        &[missing, ("MCP_SANDBOX_PULL_POLICY", "missing")],
        &[("warning", "image", "it is pulled")],
    );
    check(
        &[("MCP_SANDBOX_RUNTIME", "no-such-runtime")],
        &[("FAILS", "runtime", "MCP_SANDBOX_RUNTIME")],
    );
    check(
        &[("MCP_SANDBOX_RUNTIME", "runc")],
        &[("ok", "runtime", "runc is there")],
    );
    check(
        &[("MCP_SANDBOX_MEMORY_LIMIT", "1024g")],
        &[("warning", "memory", "MCP_TOOL_MAX_CONCURRENCY")],
    );
    // One that ended and left its socket; one that takes connections and says nothing.
    let socket = folder.path().join("left.sock");
    drop(UnixListener::bind(&socket).unwrap());
    let left = format!("unix://{}", socket.display());
    check(
        &[("DOCKER_HOST", &left)],
        &[("FAILS", "engine", "no daemon listens")],
    );
    let socket = folder.path().join("silent.sock");
    let _silent = UnixListener::bind(&socket).unwrap();
    let silent = format!("unix://{}", socket.display());
    check(
        &[("DOCKER_HOST", &silent)],
        &[("FAILS", "engine", "in time")],
    );
}

#[test]
fn without_docker_the_jail_is_looked_at() {
    let folder = Folder::new();
    let path = std::env::var("PATH").unwrap();
    let here = [("MCP_EXECUTION_ENGINE", "node"), ("PATH", &*path)];
    let output = examine(&folder, &here, &[("ok", "jail", "")]);
    assert!(!stdout(&output).contains("engine"), "{}", stdout(&output));
    let waived = [here[0], here[1], ("MCP_NODE_UNSAFE", "true")];
    examine(&folder, &waived, &[("warning", "jail", "WITHOUT a jail")]);
    let auto = [
        ("MCP_EXECUTION_ENGINE", "auto"),
        ("DOCKER_HOST", "unix:///no/such/docker.sock"),
        ("PATH", "/nowhere"),
    ];
    let lines = [
        ("warning", "engine", "start Docker"),
        ("FAILS", "jail", "no node on PATH"),
    ];
    examine(&folder, &auto, &lines);
    let enterprise = [auto[0], auto[1], ("MCP_PROFILE", "enterprise")];
    examine(&folder, &enterprise, &[("FAILS", "engine", "start Docker")]);
}

#[test]
fn what_is_wrong_with_files_and_ports_is_named() {
    let folder = Folder::new();
    let store = folder.store();
    std::fs::create_dir_all(store.parent().unwrap()).unwrap();
    std::fs::write(&store, "no JSON").unwrap();
    examine(&folder, &[], &[("FAILS", "registry", "tools.json")]);
    std::fs::write(&store, r#"{"version":1,"tools":[]}"#).unwrap();
    let chmod = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    chmod(&store, 0o666);
    examine(&folder, &[], &[("warning", "registry", "chmod 0644")]);
    chmod(&store, 0o600);
    let log = folder.path().join("audit.log");
    std::fs::write(&log, "").unwrap();
    chmod(&log, 0o644);
    let audit = [
        ("MCP_AUDIT_ENABLED", "true"),
        ("MCP_AUDIT_FILE", log.to_str().unwrap()),
    ];
    examine(&folder, &audit, &[("warning", "audit", "chmod 0600")]);
    let here = [audit[0], ("MCP_AUDIT_FILE", "bare.log")];
    let named = format!("{} can be written", folder.path().display());
    examine(&folder, &here, &[("ok", "audit", &named)]);
    let inside = log.join("audit.log");
    let audit = [audit[0], ("MCP_AUDIT_FILE", inside.to_str().unwrap())];
    examine(
        &folder,
        &audit,
        &[("FAILS", "audit", "is no folder: see MCP_AUDIT_FILE")],
    );
    let audit = [
        ("MCP_AUDIT_ENABLED", "true"),
        ("MCP_AUDIT_MAX_FILES", "100"),
        ("MCP_AUDIT_MAX_FILE_BYTES", "1000000000"),
    ];
    examine(
        &folder,
        &audit,
        &[("warning", "audit", "MiB may be needed")],
    );

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    // Nobody answers there.
    examine(
        &folder,
        &[("MCP_PORT", &port)],
        &[("FAILS", "port", "is in use")],
    );
    // A setting that is wrong is told as by every command.
    let output = run(&folder, &[("MCP_PORT", "12abc")], &["doctor"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("MCP_PORT"), "{}", stderr(&output));
    examine(
        &folder,
        &[("MCP_PROT", "1")],
        &[("warning", "settings", "MCP_PORT")],
    );
    let few = "ulimit -n 300; exec \"$PROGRAM\" doctor";
    let few = beside("sh", &folder)
        .args(["-c", few])
        .env("PROGRAM", crate::support::server::PROGRAM)
        .env("MCP_PORT", "0")
        .output();
    assert_says(&few.unwrap(), &[("warning", "files", "ulimit -Hn")]);
}

#[test]
fn another_user_is_told_what_it_may_not() {
    let folder = Folder::new();
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), mode).unwrap();
    let program = folder.path().join("program");
    std::fs::copy(crate::support::server::PROGRAM, &program).unwrap();
    let output = beside("setpriv", &folder)
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&program)
        .arg("doctor")
        .env("DOCKER_HOST", provided("DYNAMIC_MCP_TEST_DOCKER"))
        .env("MCP_EXECUTION_ENGINE", "docker")
        .env("MCP_AUDIT_ENABLED", "true")
        .env("MCP_PORT", "0")
        .output();
    let lines = [
        ("FAILS", "engine", "group"),
        ("FAILS", "registry", "cannot be written"),
        ("FAILS", "audit", "MCP_AUDIT_FILE"),
        ("FAILS", "runtime", "MCP_RUNTIME_DIR"),
    ];
    assert_says(&output.unwrap(), &lines);
}

#[test]
fn the_database_is_looked_at_and_left_as_it_is() {
    let (folder, cluster, schema) = (Folder::new(), Cluster::shared(), fresh_schema());
    let plain =
        |user: &str, password: &str| format!("{}?sslmode=disable", cluster.url_of(user, password));
    let examine = |url: &str, lines: &[(&str, &str, &str)]| {
        let settings = [
            ("MCP_DYNAMIC_BACKEND", "postgres"),
            ("MCP_DYNAMIC_PG_URL", url),
            ("MCP_DYNAMIC_PG_SCHEMA", &schema),
        ];
        let output = examine(&folder, &settings, lines);
        assert!(
            !stdout(&output).contains("hidden-word"),
            "{}",
            stdout(&output)
        );
        settings.map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let url = plain("postgres", "postgres");
    examine(&url, &[("FAILS", "registry", "dynamic-mcp migrate")]);
    let is_there = format!("SELECT to_regnamespace('{schema}') IS NOT NULL");
    let row = cluster.admin().query_one(&is_there, &[]).unwrap();
    assert!(!row.get::<_, bool>(0), "it migrated");
    examine(
        &plain("postgres", "hidden-word"),
        &[("FAILS", "registry", "password")],
    );
    let nobody = "postgres://u:hidden-word@127.0.0.1:1/d?sslmode=disable";
    examine(nobody, &[("FAILS", "registry", "cannot be reached")]);

    drop(cluster.open(&schema));
    examine(
        &url,
        &[
            ("ok", "registry", &schema),
            ("warning", "tls", "sslmode=verify-full"),
        ],
    );
    let ca = cluster.tls_file("ca.pem");
    let checked = format!(
        "postgres://postgres:postgres@localhost:{}/postgres?sslmode=verify-full&sslrootcert={}",
        cluster.port,
        ca.display()
    );
    examine(
        &checked,
        &[
            ("ok", "registry", &schema),
            ("ok", "tls", "name are checked"),
        ],
    );
    // A role that may look and not change.
    let role = format!("reader_{schema}");
    let grants = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'hidden-word'; GRANT USAGE ON SCHEMA {schema} TO {role};
         GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}"
    );
    cluster.admin().batch_execute(&grants).unwrap();
    examine(&plain(&role, "hidden-word"), &[("FAILS", "registry", "")]);
    let gone = format!("DROP OWNED BY {role}; DROP ROLE {role}; DROP SCHEMA {schema} CASCADE");
    cluster.admin().batch_execute(&gone).unwrap();
}

#[test]
fn the_issuer_s_keys_are_looked_at() {
    let (folder, mut idp) = (Folder::new(), Idp::start());
    let (jwks, issuer) = (idp.jwks.clone(), idp.issuer.clone());
    let settings = [
        ("MCP_AUTH_MODE", "jwt"),
        ("MCP_AUTH_JWKS_URL", jwks.as_str()),
        ("MCP_AUTH_ISSUER", &issuer),
        ("MCP_AUTH_AUDIENCE", "https://mcp.example/mcp"),
    ];
    examine(&folder, &settings, &[("ok", "keys", &issuer)]);
    idp.tell("down");
    examine(
        &folder,
        &settings,
        &[("FAILS", "keys", "see MCP_AUTH_JWKS_URL")],
    );
    idp.tell("up");
    let ca = folder.path().join("no-ca.pem");
    let mut distrustful = settings.to_vec();
    distrustful.push(("MCP_AUTH_CA_FILE", ca.to_str().unwrap()));
    distrustful[1].1 = "https://127.0.0.1:1/jwks";
    examine(
        &folder,
        &distrustful,
        &[("FAILS", "keys", "MCP_AUTH_CA_FILE")],
    );
}
