//! Who we are to the database, by certificates: each way it fails has an error of its own.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use dynamic_mcp::config::{PgTarget, PgTls};
use dynamic_mcp::registry::postgres::{PostgresStore, PostgresStoreOptions};
use dynamic_mcp::registry::{ToolStore, Writes};

use crate::support::postgres::{
    Cluster, definition, fresh_schema, name, options, reload, target, wait_until,
};

const BACK: std::time::Duration = std::time::Duration::from_secs(25);

/// Two roles that are let in with a certificate of their name: one with its password, too.
fn admit(cluster: &Cluster) {
    let roles = "CREATE ROLE careful SUPERUSER LOGIN PASSWORD 'opensesame'; \
                 CREATE ROLE trusting SUPERUSER LOGIN";
    cluster.admin().batch_execute(roles).unwrap();
    let rules = cluster.folder().join("data/pg_hba.conf");
    let usual = std::fs::read_to_string(&rules).unwrap();
    let ours = "hostssl all careful 127.0.0.1/32 scram-sha-256 clientcert=verify-full\n\
                hostssl all trusting 127.0.0.1/32 cert\n";
    std::fs::write(&rules, format!("{ours}{usual}")).unwrap();
    let authority = cluster.tls_file("ca.pem");
    reload(cluster, &format!("ssl_ca_file = '{}'", authority.display()));
    wait_until("the rules", BACK, || {
        let count = "SELECT count(*) FROM pg_hba_file_rules WHERE user_name[1] = 'careful'";
        let shown: String = cluster
            .admin()
            .query_one("SHOW ssl_ca_file", &[])
            .unwrap()
            .get(0);
        let count: i64 = cluster.admin().query_one(count, &[]).unwrap().get(0);
        count == 1 && !shown.is_empty()
    });
}

#[test]
fn a_client_s_certificate_lets_in_and_every_fault_of_it_is_named() {
    let (cluster, schema) = (Cluster::own(&[]), fresh_schema());
    admit(&cluster);
    for line in [
        ["careful", "ca", "careful", "20991231235959Z"],
        ["trusting", "ca", "trusting", "20991231235959Z"],
        ["careful", "other-ca", "stranger", "20991231235959Z"],
        ["careful", "ca", "over", "20200201000000Z"],
    ] {
        cluster.act("client", &line);
    }
    let file = |name: &str| cluster.tls_file(name);
    let key_of_all = file("shared.key");
    std::fs::copy(file("careful.key"), &key_of_all).unwrap();
    std::fs::set_permissions(&key_of_all, Permissions::from_mode(0o644)).unwrap();
    std::fs::write(file("password.key"), "opensesame").unwrap();
    std::fs::set_permissions(file("password.key"), Permissions::from_mode(0o640)).unwrap();
    let ca = file("ca.pem");
    let open = |login: &str, files: Option<(&str, &str)>| {
        let url = format!(
            "postgres://{login}@localhost:{}/postgres?hostaddr=127.0.0.1",
            cluster.port
        );
        let target = PgTarget {
            client_cert: files.map(|(cert, key)| (file(cert), file(key))),
            ..target(&url, PgTls::VerifyFull, Some(Path::new(&ca)))
        };
        PostgresStore::open(PostgresStoreOptions {
            target,
            ..options(&url, &schema)
        })
    };
    let known = open("careful:opensesame", Some(("careful.pem", "careful.key"))).unwrap();
    known.create(name("abc"), definition("return 1")).unwrap();
    known.health().unwrap();
    let store = open("trusting", Some(("trusting.pem", "trusting.key"))).unwrap();
    assert!(store.snapshot().tool("abc").is_some());

    let refused = |login: &str, files, expected: &str| {
        let error = open(login, files).unwrap_err().to_string();
        assert!(error.contains(expected), "{files:?}: {error}");
        assert!(
            !error.contains("/tmp") && !error.contains("opensesame"),
            "{error}"
        );
    };
    let careful = "careful:opensesame";
    let wants = "a certificate of this user's name (sslcert and sslkey)";
    refused(careful, None, wants);
    refused("trusting", Some(("careful.pem", "careful.key")), wants);
    refused(
        careful,
        Some(("trusting.pem", "trusting.key")),
        "or sslcert is of another user",
    );
    let own = Some(("careful.pem", "careful.key"));
    refused("careful:other", own, "refuses the user or its password");
    let stranger = Some(("stranger.pem", "stranger.key"));
    refused(
        careful,
        stranger,
        "does not trust the authority of the certificate in sslcert",
    );
    refused(
        careful,
        Some(("over.pem", "over.key")),
        "certificate in sslcert has expired",
    );
    refused(
        careful,
        Some(("careful.pem", "none.key")),
        "file of sslkey cannot be read",
    );
    refused(
        careful,
        Some(("none.pem", "careful.key")),
        "file of sslcert cannot be read",
    );
    refused(
        careful,
        Some(("careful.pem", "shared.key")),
        "read or written by others",
    );
    refused(
        careful,
        Some(("careful.pem", "over.key")),
        "do not belong together",
    );
    refused(
        careful,
        Some(("careful.pem", "password.key")),
        "sslkey is no file with a private key",
    );
    refused(
        careful,
        Some(("careful.key", "careful.key")),
        "sslcert is no file with a certificate",
    );
}
