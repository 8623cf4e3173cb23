//! The production baseline as the Compose stack has it, for real: its settings, what make-secrets
//! makes, a daemon started as the stack starts it, a database with the two roles, an identity
//! provider over TLS. Only addresses and folders are this machine's.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::daemons::{OwnDaemon, succeeded};
use crate::support::engine::await_that;
use crate::support::http::call_body;
use crate::support::idp::{Idp, make_certificates};
use crate::support::manifests::{compose, path, texts};
use crate::support::postgres::{Cluster, reload};
use crate::support::server::{Folder, Server, run, stderr};

const AUDIENCE: &str = "https://mcp.example/mcp";

fn free_port(address: &str) -> u16 {
    let listener = std::net::TcpListener::bind((address, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// What the stack keeps secret, for addresses of this machine.
fn make_secrets(folder: &Path, database: &str) {
    let made = Command::new(path("deploy/make-secrets"))
        .arg(folder)
        .env("DOCKER_NAMES", "DNS:localhost")
        .env("DATABASE_NAMES", "DNS:localhost")
        .env("DATABASE", database)
        .output();
    succeeded("make-secrets", &made.unwrap());
}

fn in_folder(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

/// The stack's daemon, where `/certs/server` is `certificates` and the port is another.
fn start_daemon(stack: &Value, certificates: &Path, port: u16) -> OwnDaemon {
    let command = stack["services"]["docker"]["command"]
        .as_array()
        .unwrap()
        .iter();
    let arguments: Vec<_> = command
        .map(|argument| argument.as_str().unwrap())
        // The test's own daemon has a socket already.
        .filter(|argument| *argument != "dockerd" && !argument.starts_with("--host=unix"))
        .map(|argument| argument.replace("0.0.0.0:2376", &format!("127.0.0.1:{port}")))
        .map(|argument| argument.replace("/certs/server", certificates.to_str().unwrap()))
        .collect();
    assert_eq!(arguments.len(), 5, "{arguments:?}");
    OwnDaemon::start_with("baseline", &arguments)
}

/// The database shows the stack's certificate, and has the stack's roles.
fn prepare_database(cluster: &Cluster, secrets: &Path) {
    let own = cluster.folder().join("stack");
    let script = format!(
        "cp -r {}/database {own} && chown -R postgres:postgres {own} && chmod 0711 {own}",
        secrets.display(),
        own = own.display()
    );
    let copied = Command::new("sh").args(["-c", &script]).output();
    succeeded(&script, &copied.unwrap());
    for (setting, file) in [("ssl_cert_file", "cert.pem"), ("ssl_key_file", "key.pem")] {
        reload(
            cluster,
            &format!("{setting} = '{}'", own.join(file).display()),
        );
    }
    let roles = std::fs::read_to_string(secrets.join("roles.sql")).unwrap();
    cluster.admin().batch_execute(&roles).unwrap();
}

#[test]
fn the_baseline_of_the_stack_serves() {
    let (folder, stack) = (Folder::new(), compose());
    let (secrets, cluster) = (folder.path().join("secrets"), Cluster::own(&[]));
    make_secrets(&secrets, &format!("localhost:{}/postgres", cluster.port));
    prepare_database(&cluster, &secrets);
    let docker_port = free_port("127.0.0.1");
    let daemon = start_daemon(&stack, &secrets.join("docker-server"), docker_port);
    daemon.load_images();
    make_certificates(folder.path());
    let file = |name: &str| folder.path().join(name);
    let mut idp = Idp::start_secure(&file("key.pem"), &file("cert.pem"));
    std::fs::copy(file("ca.pem"), secrets.join("issuer_ca.pem")).unwrap();
    // The stack mounts them under these names.
    for (made, mounted) in [
        ("server_pg_url", "dynamic_pg_url"),
        ("docker-client", "docker"),
    ] {
        std::os::unix::fs::symlink(secrets.join(made), secrets.join(mounted)).unwrap();
    }
    for url in ["owner_pg_url", "server_pg_url"] {
        let text = std::fs::read_to_string(secrets.join(url)).unwrap();
        let text = text.replace("/run/secrets", secrets.to_str().unwrap());
        std::fs::write(secrets.join(url), text).unwrap();
        let mode = std::fs::metadata(secrets.join(url))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{url}");
    }

    let mut settings = texts(&stack["services"]["server"]["environment"]);
    for value in settings.values_mut() {
        *value = value.replace("/run/secrets", secrets.to_str().unwrap());
        *value = value.replace("/var/lib/dynamic-mcp", folder.path().to_str().unwrap());
    }
    let here = [
        ("DOCKER_HOST", format!("tcp://localhost:{docker_port}")),
        ("MCP_AUTH_JWKS_URL", idp.jwks.clone()),
        ("MCP_AUTH_ISSUER", idp.issuer.clone()),
        ("MCP_PORT", free_port("0.0.0.0").to_string()),
        // Its banner is read by this test.
        ("MCP_LOG_LEVEL", "debug".to_owned()),
    ];
    settings.extend(here.map(|(name, value)| (name.to_owned(), value)));
    let given: Vec<_> = settings
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();

    // Before the owner migrated, the server's role can make nothing, and says what is to be done.
    let mut impatient = given.clone();
    impatient.push(("MCP_DYNAMIC_PG_INIT_MAX_ATTEMPTS", "1"));
    let early = run(&folder, &impatient, &["serve"]);
    assert_eq!(early.status.code(), Some(1), "{}", stderr(&early));
    assert!(
        stderr(&early).contains("dynamic-mcp migrate"),
        "{}",
        stderr(&early)
    );
    let mut as_owner = given.clone();
    let owner_url = in_folder(&secrets, "owner_pg_url");
    as_owner.retain(|(name, _)| *name != "MCP_DYNAMIC_PG_URL_FILE");
    as_owner.push(("MCP_DYNAMIC_PG_URL_FILE", &owner_url));
    succeeded("migrate", &run(&folder, &as_owner, &["migrate"]));

    let mut server = Server::start_in(&folder, &given);
    await_that("readiness", || server.readiness().0 == 200);
    let checks = server.readiness().1;
    for name in ["registry", "engine", "image", "keys", "audit"] {
        assert_eq!(checks[name]["status"], "ok", "{checks}");
    }
    let token = idp.token("alice", "mcp.use mcp.admin", AUDIENCE);
    let bearer = format!("Bearer {token}");
    let call = |name: &str, arguments: Value| {
        let body = call_body(name, &arguments);
        let reply = server.connect().post(&[("Authorization", &bearer)], &body);
        assert_eq!(reply.status, 200, "{name}: {reply:?}");
        reply.json()["result"]["structuredContent"].clone()
    };
    assert_eq!(
        server
            .connect()
            .post(&[], &call_body("system.health", &json!({})))
            .status,
        401
    );
    let tool = json!({ "name": "base.line", "description": "d", "code": "return args.n + 1" });
    call("dynamic.tool.create", json!({ "tool": tool }));
    let called = call("base.line", json!({ "args": { "n": 41 } }));
    assert_eq!(called["result"], 42, "{called}");
    server.stop();
    let log = in_folder(folder.path(), "audit.log");
    succeeded(
        "audit verify",
        &run(&folder, &[], &["audit", "verify", &log]),
    );
}
