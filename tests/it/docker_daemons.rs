//! Daemons of other kinds than the one that all tests share: that no longer serve old versions of
//! the API, whose answers are lost, with a runtime by name, with a full disk.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dynamic_mcp::config::DaemonAddress;
use dynamic_mcp::docker::Daemon;
use dynamic_mcp::domain::failure::FailureKind;
use dynamic_mcp::domain::run::Cancel;
use dynamic_mcp::engine::{Engine as _, EngineSettings};

use crate::support::daemons::{OwnDaemon, request_shared, succeeded};
use crate::support::engine::{
    Fixture, Runs as _, Silent, await_that, image, job, kind_of, patience, settings, start_engine,
};
use crate::support::provided;

/// A way to the shared daemon, over plain TCP, that serves versions of the API as a newer daemon
/// does: it says so in `/version`, refuses others in that daemon's words, and passes the rest on
/// under the version that the real one has.
struct NewerDaemon {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    /// How many containers are made without anybody hearing of it.
    answers_to_lose: Arc<AtomicUsize>,
}

/// As `(major, minor)`.
type Version = (u16, u16);

impl NewerDaemon {
    fn start(oldest: Version, newest: Version) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answers_to_lose = Arc::new(AtomicUsize::new(0));
        let (seen, to_lose) = (Arc::clone(&asked), Arc::clone(&answers_to_lose));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (seen, to_lose) = (Arc::clone(&seen), Arc::clone(&to_lose));
                std::thread::spawn(move || serve(client, oldest, newest, &seen, &to_lose));
            }
        });
        Self {
            port,
            asked,
            answers_to_lose,
        }
    }

    fn client(&self) -> Arc<Daemon> {
        let address = DaemonAddress::Tcp {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            tls: None,
        };
        Arc::new(Daemon::new(address, None))
    }

    /// The first parts of all paths so far, each once.
    fn asked(&self) -> Vec<String> {
        let mut asked = self.asked.lock().unwrap().clone();
        asked.sort_unstable();
        asked.dedup();
        asked
    }
}

fn serve(
    client: TcpStream,
    oldest: Version,
    newest: Version,
    asked: &Mutex<Vec<String>>,
    answers_to_lose: &AtomicUsize,
) {
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let (mut head, mut line) = (String::new(), String::new());
    while line != "\r\n" {
        line.clear();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        head.push_str(&line);
    }
    let path = head.split(' ').nth(1).unwrap();
    let first = path.split('/').nth(1).unwrap().to_owned();
    asked.lock().unwrap().push(first.clone());
    let text = |(major, minor): Version| format!("{major}.{minor}");
    let version = first.strip_prefix('v').and_then(|version| {
        let (major, minor) = version.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    let (least, most) = (text(oldest), text(newest));
    let refusal = match version {
        None if path == "/version" => {
            let body = format!(
                "{{\"Version\":\"99.0\",\"ApiVersion\":\"{most}\",\"MinAPIVersion\":\"{least}\"}}"
            );
            return answer(client, 200, &body);
        }
        Some(version) if version < oldest => format!(
            "client version {} is too old. Minimum supported API version is {least}, please \
             upgrade your client to a newer version",
            text(version)
        ),
        Some(version) if version > newest => format!(
            "client version {} is too new. Maximum supported API version is {most}",
            text(version)
        ),
        _ => {
            let lose = |left: usize| left.checked_sub(1).filter(|_| head.contains("/create?"));
            let order = Ordering::Relaxed;
            let loses = answers_to_lose.fetch_update(order, order, lose).is_ok();
            let head = head.replace(&format!("/{first}/"), "/v1.41/");
            return pass_on(client, reader, &head, loses);
        }
    };
    answer(client, 400, &format!("{{\"message\":\"{refusal}\"}}"));
}

fn answer(mut client: TcpStream, status: u16, body: &str) {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\n\r\n");
    let _ = client.write_all((head + body).as_bytes());
}

/// Bytes both ways; the end of either is passed on, too. Or the connection ends when the answer
/// comes, and nobody hears it.
fn pass_on(
    mut client: TcpStream,
    mut from_client: BufReader<TcpStream>,
    head: &str,
    loses_the_answer: bool,
) {
    let socket = provided("DYNAMIC_MCP_TEST_DOCKER");
    let mut daemon = UnixStream::connect(socket.strip_prefix("unix://").unwrap()).unwrap();
    daemon.write_all(head.as_bytes()).unwrap();
    let mut from_daemon = daemon.try_clone().unwrap();
    std::thread::spawn(move || {
        if loses_the_answer {
            let _ = from_daemon.read(&mut [0; 1024]);
            let _ = client.shutdown(Shutdown::Both);
            return;
        }
        copy(&mut from_daemon, &mut client);
        let _ = client.shutdown(Shutdown::Write);
    });
    copy(&mut from_client, &mut daemon);
    let _ = daemon.shutdown(Shutdown::Write);
}

fn copy(from: &mut impl Read, to: &mut impl Write) {
    let mut buffer = [0; 65536];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}

#[test]
fn a_daemon_that_serves_only_newer_versions_of_its_api() {
    for (oldest, newest, agreed) in [
        ((1, 44), (1, 52), "v1.44"),
        ((1, 45), (1, 60), "v1.45"),
        ((1, 12), (1, 43), "v1.43"),
    ] {
        let proxy = NewerDaemon::start(oldest, newest);
        let fixture = Fixture::on(
            proxy.client(),
            EngineSettings {
                warm_pool: 1,
                ..settings()
            },
        );
        let large = format!("return '{}'.length", "x".repeat(100_000));
        assert_eq!(fixture.value(&large), "100000");
        await_that("one is parked", || fixture.engine.pool_counts().parked == 1);
        assert_eq!(fixture.value("return 1"), "1");
        let mut endless = job("while (true) {}", "{}");
        endless.timeout = Duration::from_secs(1);
        assert_eq!(kind_of(&fixture.run(&endless)), Some(FailureKind::Timeout));
        fixture.engine.check(None, "return 1", patience()).unwrap();
        fixture.engine.tidy(patience());
        assert!(fixture.engine.probe(patience()).ready);
        drop(fixture);
        assert_eq!(proxy.asked(), [agreed, "version"]);
    }
}

#[test]
fn a_daemon_whose_oldest_version_is_unknown_here_says_what_to_upgrade() {
    let proxy = NewerDaemon::start((1, 99), (1, 99));
    let engine = start_engine(&proxy.client(), settings());
    let cancel = Cancel::default();
    let ended = engine.run(&job("return 1", "{}"), patience(), &cancel, &mut Silent);
    let failure = ended.outcome.unwrap_err();
    assert_eq!(failure.kind, FailureKind::EngineUnavailable);
    for part in ["Engine API 1.99 and newer alone", "upgrade dynamic-mcp"] {
        assert!(failure.message.contains(part), "{failure:?}");
    }
    let probe = engine.probe(patience());
    assert!(!probe.ready && probe.detail.contains("1.99"), "{probe:?}");
    assert_eq!(proxy.asked(), ["version"]);
}

#[test]
fn a_container_that_was_made_without_an_answer_is_removed() {
    let proxy = NewerDaemon::start((1, 12), (1, 41));
    let fixture = Fixture::on(proxy.client(), settings());
    proxy.answers_to_lose.store(1, Ordering::Relaxed);
    let failure = fixture.failure("return 1");
    assert_eq!(failure.kind, FailureKind::EngineUnavailable, "{failure:?}");
    assert_eq!(proxy.answers_to_lose.load(Ordering::Relaxed), 0);
    await_that("nothing is left", || fixture.containers().is_empty());
    assert_eq!(fixture.value("return 2"), "2");
}

#[test]
fn a_runtime_by_its_name() {
    let with_runtime = |name: &str| EngineSettings {
        runtime: Some(name.to_owned()),
        warm_pool: 1,
        ..settings()
    };
    let fixture = Fixture::start(with_runtime("runc"));
    assert_eq!(fixture.value("return 1"), "1");
    await_that("one is parked", || fixture.engine.pool_counts().parked == 1);
    let parked = fixture.containers();
    let shown = request_shared("GET", &format!("/containers/{}/json", parked[0].id), b"");
    assert!(shown.contains("\"Runtime\":\"runc\""), "{shown}");
    drop(fixture);

    // Where the daemon did not answer when the server started, each container tells.
    let fixture = Fixture::start(with_runtime("no-such-runtime"));
    let failure = fixture.failure("return 1");
    assert_eq!(failure.kind, FailureKind::EngineUnavailable, "{failure:?}");
    assert!(failure.message.contains("no-such-runtime"), "{failure:?}");
}

/// A file system of its own, gone at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(place: PathBuf, megabytes: u32) -> Self {
        std::fs::create_dir_all(&place).unwrap();
        let size = format!("size={megabytes}m");
        let mut mount = Command::new("mount");
        let mount = mount
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(&place);
        succeeded("mount", &mount.output().unwrap());
        Self(place)
    }

    /// Takes all that is free.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        for size in [1 << 20, 4096] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The daemon's end has unmounted it, where there was one.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_is_named_and_space_mends_it() {
    let disk = SmallDisk::mount(OwnDaemon::data_root("full"), 900);
    let own = OwnDaemon::start("full");
    let daemon = own.client();
    let fixture = Fixture::on(Arc::clone(&daemon), settings());
    assert_eq!(fixture.value("return 1"), "1");
    let filler = disk.fill();
    let failure = fixture.failure("return 1");
    assert_eq!(failure.kind, FailureKind::EngineUnavailable, "{failure:?}");
    for part in ["no space left on device", "docker system prune"] {
        assert!(failure.message.contains(part), "{failure:?}");
    }
    assert!(failure.retry_after_ms.is_some());
    let image = daemon.image(&image("node:lts-slim"), patience());
    assert!(
        matches!(image, Ok(Some(_))),
        "it only has no space: {image:?}"
    );
    std::fs::remove_file(filler).unwrap();
    await_that("there is space again", || {
        kind_of(&fixture.run(&job("return 2", "{}"))).is_none()
    });
    await_that("nothing of it is left", || fixture.containers().is_empty());
    drop(fixture);
    drop(own);
}
