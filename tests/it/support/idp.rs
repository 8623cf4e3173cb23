//! A real OpenID provider as a process of its own (tests/idp), and certificates for it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::provided;

/// Installed once for all tests.
fn folder() -> &'static str {
    static FOLDER: OnceLock<String> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = format!("{}/idp", provided("DYNAMIC_MCP_TEST_CACHE"));
        let installer = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/env/idp");
        let status = Command::new(installer).arg(&folder).status().unwrap();
        assert!(status.success(), "{installer} {folder}");
        folder
    })
}

/// A provider on a free loopback port; ends with this value.
pub(crate) struct Idp {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub(crate) issuer: String,
    pub(crate) jwks: String,
}

impl Idp {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Over TLS, with a key and a certificate.
    pub(crate) fn start_secure(key: &Path, certificate: &Path) -> Self {
        Self::start_with(&[key, certificate])
    }

    fn start_with(arguments: &[&Path]) -> Self {
        let mut child = Command::new("node")
            .current_dir(folder())
            .arg("server.mjs")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let commands = child.stdin.take().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let hello = read(&mut answers);
        let text = |name: &str| hello[name].as_str().unwrap().to_owned();
        Self {
            child,
            commands,
            answers,
            issuer: text("issuer"),
            jwks: text("jwks"),
        }
    }

    pub(crate) fn act(&mut self, command: &Value) -> Value {
        writeln!(self.commands, "{command}").unwrap();
        let answer = read(&mut self.answers);
        assert_eq!(answer.get("error"), None, "{command}: {answer}");
        answer
    }

    /// `rotate`, `down` or `up`.
    pub(crate) fn tell(&mut self, what: &str) {
        self.act(&json!({ "do": what }));
    }

    /// A token for a client, from the token endpoint.
    pub(crate) fn token(&mut self, client: &str, scope: &str, audience: &str) -> String {
        self.token_by("RS256", client, scope, audience)
    }

    pub(crate) fn token_by(
        &mut self,
        algorithm: &str,
        client: &str,
        scope: &str,
        audience: &str,
    ) -> String {
        let command = json!({
            "do": "token", "alg": algorithm, "client": client, "scope": scope,
            "resource": audience,
        });
        self.act(&command)["token"].as_str().unwrap().to_owned()
    }
}

impl Drop for Idp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(answers: &mut BufReader<ChildStdout>) -> Value {
    let mut line = String::new();
    answers.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

/// Makes `ca.pem` and, signed by it, `key.pem` and `cert.pem` for 127.0.0.1.
pub(crate) fn make_certificates(folder: &Path) {
    let script = "
        set -e
        curve='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2'
        openssl req -x509 $curve -keyout ca.key -out ca.pem -subj /CN=test-ca \
            -addext basicConstraints=critical,CA:TRUE
        openssl req $curve -keyout key.pem -out cert.csr -subj /CN=127.0.0.1
        printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n' >ext
        openssl x509 -req -in cert.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
            -extfile ext -out cert.pem";
    let made = Command::new("sh")
        .args(["-c", script])
        .current_dir(folder)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "openssl: {stderr}");
}
