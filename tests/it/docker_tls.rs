//! A daemon over TLS, both sides with certificates: everything works as over its socket, and each
//! thing that can be wrong with certificates is an error of its own that names the mend, in time.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dynamic_mcp::base::deadline::Deadline;
use dynamic_mcp::config::DaemonAddress;
use dynamic_mcp::docker::{CredentialFault, Daemon, DockerError, TlsFault};
use dynamic_mcp::domain::asking::{Answer, Ask};
use dynamic_mcp::domain::failure::FailureKind;
use dynamic_mcp::domain::json::JsonText;
use dynamic_mcp::domain::run::{Cancel, Observer};
use dynamic_mcp::engine::Engine;

use crate::support::daemons::{OwnDaemon, another_process, plays_a_part, succeeded};
use crate::support::engine::{
    Fixture, Runs as _, await_that, job, kind_of, owned_by, patience, settings,
};
use crate::support::server::{Folder, Server};

/// What a refusal may take at most.
const IN_TIME: Duration = Duration::from_secs(10);
const FAR: &str = "20990101000000Z";
const PAST: &str = "20200102000000Z";

/// Certificates made by openssl, in a folder of their own.
struct Certificates(Folder);

impl Certificates {
    /// Two authorities, and what each side shows: good, expired, of the wrong authority.
    fn make() -> Self {
        let made = Self(Folder::new());
        for authority in ["ca", "other"] {
            made.sh(&format!(
                "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
                 -keyout {authority}.key -out {authority}.pem -subj /CN={authority} \
                 -addext basicConstraints=critical,CA:TRUE"
            ));
        }
        let config = "[ca]\ndefault_ca=d\n[d]\ndatabase=index\nserial=serial\n\
                      new_certs_dir=.\ndefault_md=sha256\npolicy=p\nunique_subject=no\n\
                      [p]\ncommonName=supplied\n";
        std::fs::write(made.path("ca.cnf"), config).unwrap();
        made.sh("touch index; echo 01 >serial");
        let (server, client) = ("serverAuth", "clientAuth");
        made.issue("server", "ca", server, FAR);
        made.issue("server-old", "ca", server, PAST);
        made.issue("cert", "ca", client, FAR);
        made.issue("cert-old", "ca", client, PAST);
        made.issue("cert-other", "other", client, FAR);
        made
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn sh(&self, script: &str) {
        let mut shell = Command::new("sh");
        let shell = shell.args(["-ec", script]).current_dir(self.0.path());
        succeeded(script, &shell.output().unwrap());
    }

    /// NAME.pem and NAME.key, for the address 127.0.0.1 and nothing else.
    fn issue(&self, name: &str, authority: &str, usage: &str, ends: &str) {
        self.sh(&format!(
            "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key \
                 -out request -subj /CN={name}
             printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage={usage}\n' >ext
             openssl ca -batch -notext -config ca.cnf -cert {authority}.pem \
                 -keyfile {authority}.key -in request -extfile ext -out {name}.pem \
                 -startdate 20200101000000Z -enddate {ends}"
        ));
    }

    /// Arguments of a daemon that shows this certificate at `port`.
    fn daemon_arguments(&self, certificate: &str, port: u16) -> Vec<String> {
        let file = |name: String| self.path(&name).display().to_string();
        vec![
            format!("--host=tcp://127.0.0.1:{port}"),
            "--tlsverify".to_owned(),
            format!("--tlscacert={}", file("ca.pem".to_owned())),
            format!("--tlscert={}", file(format!("{certificate}.pem"))),
            format!("--tlskey={}", file(format!("{certificate}.key"))),
        ]
    }

    /// A folder for `DOCKER_CERT_PATH`.
    fn client(&self, name: &str, authority: &str, certificate: &str) -> PathBuf {
        let folder = self.path(name);
        std::fs::create_dir(&folder).unwrap();
        for (from, to) in [
            (format!("{authority}.pem"), "ca.pem"),
            (format!("{certificate}.pem"), "cert.pem"),
            (format!("{certificate}.key"), "key.pem"),
        ] {
            std::fs::copy(self.path(&from), folder.join(to)).unwrap();
        }
        folder
    }
}

/// A port that nobody listens at now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn over_tls(host: &str, port: u16, folder: &Path) -> Arc<Daemon> {
    let address = DaemonAddress::Tcp {
        host: host.to_owned(),
        port,
        tls: Some(folder.to_owned()),
    };
    Arc::new(Daemon::new(address, None))
}

/// A client that answers.
struct Client(Vec<f64>);

impl Observer for Client {
    fn log(&mut self, _: &str, _: &JsonText) {}
    fn progress(&mut self, done: f64, _: Option<f64>, _: Option<&str>) {
        self.0.push(done);
    }
    fn ask(&mut self, ask: Ask) -> Answer {
        Answer::Value(JsonText::from_value(
            &serde_json::json!({ "answer": ask.key }),
        ))
    }
}

#[test]
fn a_daemon_over_tls_does_all_that_one_behind_a_socket_does() {
    let certificates = Certificates::make();
    let port = free_port();
    let arguments = certificates.daemon_arguments("server", port);
    let own = OwnDaemon::start_with("tls", &arguments);
    own.load_images();
    let folder = certificates.client("client", "ca", "cert");
    let daemon = over_tls("127.0.0.1", port, &folder);
    let mut chosen = settings();
    chosen.warm_pool = 1;
    chosen.max_output_bytes = 4_000_000;
    let fixture = Fixture::on(Arc::clone(&daemon), chosen);

    // Frames of every kind, both ways, and more than fits any buffer on the way.
    let mut talk = job(
        "ctx.progress(1);
         const heard = await ctx.elicit('k', { message: 'm' });
         ctx.progress(2);
         return [heard, args.text.length, 'y'.repeat(2e6)]",
        "{}",
    );
    let text = "x".repeat(3_000_000);
    talk.args = JsonText::parse(format!("{{\"text\":\"{text}\"}}")).unwrap();
    let mut client = Client(Vec::new());
    let ended = fixture.run_observed(&talk, &mut client);
    let value = crate::support::engine::outcome_text(&ended.outcome);
    assert!(
        value.starts_with("[{\"answer\":\"k\"},3000000,\"yyy"),
        "{}",
        &value[..80]
    );
    assert_eq!(client.0, [1.0, 2.0]);

    // A parked container's silent stream is not taken for a broken one.
    await_that("one is parked", || fixture.engine.pool_counts().parked == 1);
    fixture.engine.tidy(patience());
    assert_eq!(fixture.engine.pool_counts().parked, 1);
    let hits = fixture.engine.pool_counts().hits;
    assert_eq!(fixture.value("return 1"), "1");
    assert_eq!(fixture.engine.pool_counts().hits, hits + 1);

    // What never ends is killed, and that is confirmed over TLS, too.
    let mut endless = job("while (true) {}", "{}");
    endless.timeout = Duration::from_secs(1);
    assert_eq!(kind_of(&fixture.run(&endless)), Some(FailureKind::Timeout));
    let cancel = Cancel::default();
    let (ended, took) = std::thread::scope(|scope| {
        let mut job = job("await new Promise(() => setInterval(() => {}, 9))", "{}");
        job.timeout = Duration::from_secs(120);
        let engine = &fixture.engine;
        let mine = &cancel;
        let run = scope.spawn(move || engine.run(&job, patience(), mine, &mut Client(Vec::new())));
        std::thread::sleep(Duration::from_millis(500));
        cancel.cancel();
        let began = Instant::now();
        (run.join().unwrap(), began.elapsed())
    });
    assert_eq!(kind_of(&ended), Some(FailureKind::Cancelled));
    assert!(took < IN_TIME, "{took:?}");
    assert_eq!(
        kind_of(&fixture.run(&job("process.exit(3)", "{}"))),
        Some(FailureKind::Threw)
    );

    // A stream that is let go ends the runner's stdin, and the runner.
    fixture.engine.check(None, "return 1", patience()).unwrap();
    drop(fixture);

    the_program_over_tls(&own, port, &folder);
    a_renewed_certificate_needs_no_restart(&certificates, port);
}

/// The settings are enough.
fn the_program_over_tls(own: &OwnDaemon, port: u16, folder: &Path) {
    let (host, folder) = (
        format!("tcp://127.0.0.1:{port}"),
        folder.display().to_string(),
    );
    let mut server = Server::start(&[
        ("DOCKER_HOST", &host),
        ("DOCKER_TLS_VERIFY", "1"),
        ("DOCKER_CERT_PATH", &folder),
    ]);
    assert_eq!(server.value("return 6 * 7"), 42);
    let (status, checks) = server.readiness();
    assert_eq!(status, 200, "{checks}");
    server.stop();
    assert_eq!(owned_by(&own.client(), &server.instance), []);
}

fn a_renewed_certificate_needs_no_restart(certificates: &Certificates, port: u16) {
    let folder = certificates.client("renewed", "ca", "cert-old");
    let daemon = over_tls("127.0.0.1", port, &folder);
    let expired = refusal(&daemon).to_string();
    let mend = "cert.pem of DOCKER_CERT_PATH has expired: renew it";
    assert!(expired.ends_with(mend), "{expired}");
    for (from, to) in [("cert.pem", "cert.pem"), ("cert.key", "key.pem")] {
        std::fs::copy(certificates.path(from), folder.join(to)).unwrap();
    }
    daemon.info(patience()).unwrap();
}

/// Why a daemon cannot be used, said in time.
fn refusal(daemon: &Daemon) -> DockerError {
    let began = Instant::now();
    let error = daemon.info(Deadline::after(IN_TIME * 2)).unwrap_err();
    assert!(began.elapsed() < IN_TIME, "{:?}: {error}", began.elapsed());
    error
}

#[test]
fn certificates_that_are_not_accepted_name_the_mend() {
    let certificates = Certificates::make();
    let port = free_port();
    let arguments = certificates.daemon_arguments("server", port);
    let own = OwnDaemon::start_with("tls-refused", &arguments);
    let good = certificates.client("good", "ca", "cert");
    over_tls("127.0.0.1", port, &good).info(patience()).unwrap();

    let check = |host: &str, folder: &Path, fault: TlsFault, mend: &str| {
        let error = refusal(&over_tls(host, port, folder));
        assert_eq!(error, DockerError::Tls(fault));
        assert!(error.to_string().contains(mend), "{error}");
    };
    let client = |name: &str, ca: &str, cert: &str| certificates.client(name, ca, cert);
    check(
        "127.0.0.1",
        &client("stranger", "other", "cert"),
        TlsFault::UnknownAuthority,
        "ca.pem of DOCKER_CERT_PATH",
    );
    check("localhost", &good, TlsFault::WrongName, "subjectAltName");
    check(
        "127.0.0.1",
        &client("unknown", "ca", "cert-other"),
        TlsFault::OwnRefused,
        "--tlscacert",
    );
    check(
        "127.0.0.1",
        &client("server-s", "ca", "server"),
        TlsFault::OwnRefused,
        "clientAuth",
    );
    plain_and_tls_do_not_mix(port, &good);

    own.act("stop");
    let gone = refusal(&over_tls("127.0.0.1", port, &good)).to_string();
    let mend = format!("no daemon listens at 127.0.0.1 port {port}: start Docker there");
    assert!(gone.starts_with(&mend), "{gone}");
    let old = certificates.daemon_arguments("server-old", port);
    own.set_arguments(&old);
    own.act("start");
    check("127.0.0.1", &good, TlsFault::DaemonExpired, "--tlscert");
}

fn plain_and_tls_do_not_mix(tls_port: u16, folder: &Path) {
    let address = DaemonAddress::Tcp {
        host: "127.0.0.1".to_owned(),
        port: tls_port,
        tls: None,
    };
    let error = refusal(&Daemon::new(address, None)).to_string();
    assert!(error.contains("HTTPS server"), "{error}");

    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = plain.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = plain.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    });
    let error = refusal(&over_tls("127.0.0.1", port, folder));
    assert_eq!(error, DockerError::Tls(TlsFault::NotTls));

    // Accepts, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let daemon = over_tls("127.0.0.1", port, folder);
    let began = Instant::now();
    let error = daemon.info(Deadline::after(Duration::from_millis(300)));
    assert_eq!(error, Err(DockerError::TimedOut));
    assert!(began.elapsed() < IN_TIME);
    let unknown = over_tls("no-such-host.invalid", 1, folder);
    let error = unknown.info(Deadline::after(IN_TIME)).unwrap_err();
    assert_eq!(
        error,
        DockerError::HostUnknown("no-such-host.invalid".to_owned())
    );
}

/// What is wrong with our own files needs no daemon to be found.
#[test]
fn files_that_cannot_be_used_name_themselves() {
    let certificates = Certificates::make();
    let check = |name: &str, file: &str, change: &dyn Fn(&Path), mend: &str| {
        let folder = certificates.client(name, "ca", "cert");
        change(&folder.join(file));
        let error = refusal(&over_tls("127.0.0.1", 1, &folder));
        let DockerError::Credential(bad) = &error else {
            panic!("{name}: {error:?}")
        };
        assert_eq!(bad.path, folder.join(file));
        assert!(error.to_string().contains(mend), "{name}: {error}");
        bad.fault
    };
    let remove = |path: &Path| std::fs::remove_file(path).unwrap();
    let empty = |path: &Path| std::fs::write(path, "").unwrap();
    let three = "ca.pem, cert.pem and key.pem";
    for file in ["ca.pem", "cert.pem", "key.pem"] {
        check(&format!("no-{file}"), file, &remove, three);
        check(&format!("empty-{file}"), file, &empty, "make it anew");
    }
    let another = |path: &Path| {
        std::fs::copy(certificates.path("server.key"), path).unwrap();
    };
    let fault = check("mixed", "key.pem", &another, "not the key of cert.pem");
    assert_eq!(fault, CredentialFault::Mismatch);
    let folder = |path: &Path| {
        remove(path);
        std::fs::create_dir(path).unwrap();
    };
    check("folder", "cert.pem", &folder, "cannot be read");
}

/// Root may read every folder: this test plays its part once more as nobody.
#[test]
fn a_folder_of_others_names_itself() {
    const NOBODY: u32 = 65534;
    const PLACE: &str = "DYNAMIC_MCP_TEST_PLACE";
    if plays_a_part() {
        let folder = PathBuf::from(std::env::var_os(PLACE).unwrap());
        let error = refusal(&over_tls("127.0.0.1", 1, &folder)).to_string();
        let place = format!("permission denied on {}/ca.pem", folder.display());
        assert!(
            error.starts_with(&place) && error.contains("chmod"),
            "{error}"
        );
        return;
    }
    let certificates = Certificates::make();
    let client = certificates.client("client", "ca", "cert");
    std::fs::set_permissions(&client, PermissionsExt::from_mode(0o700)).unwrap();
    let open = PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(certificates.0.path(), open).unwrap();
    // Where nobody can reach it, too.
    let binary = certificates.path("it");
    std::fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    let output = another_process(&binary, "docker_tls::a_folder_of_others_names_itself")
        .env(PLACE, &client)
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    succeeded("as nobody", &output);
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}
