//! Daemons that are not there, not ours to use, or not Docker: an error that names the mend, in
//! time.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dynamic_mcp::base::deadline::Deadline;
use dynamic_mcp::base::ids::random_hex;
use dynamic_mcp::config::DaemonAddress;
use dynamic_mcp::docker::{Daemon, DockerError};
use dynamic_mcp::domain::failure::FailureKind;
use dynamic_mcp::domain::run::Cancel;
use dynamic_mcp::engine::Engine;

use crate::support::daemons::{another_process, plays_a_part, succeeded};
use crate::support::engine::{Silent, image, job, settings, start_engine};

/// What a test lets a daemon take; an answer may take five times as long.
const SHORT: Duration = Duration::from_millis(400);

fn in_time<T>(what: &str, act: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = act();
    let took = began.elapsed();
    assert!(
        took < SHORT * 5 + Duration::from_secs(1),
        "{what}: {took:?}"
    );
    done
}

/// A directory for sockets, readable by all, removed at the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("dmcp-{}", random_hex()));
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("docker.sock")
    }

    fn daemon(&self) -> Arc<Daemon> {
        daemon_at(&self.socket(), None)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn daemon_at(socket: &Path, home: Option<PathBuf>) -> Arc<Daemon> {
    let address = DaemonAddress::Unix(socket.to_owned());
    Arc::new(Daemon::new(address, home))
}

/// Everything that an engine does says the same of a daemon that is not there.
fn check_engine(daemon: &Arc<Daemon>, expected: &[&str]) {
    let engine = start_engine(daemon, settings());
    let run = engine.run(
        &job("return 1", "{}"),
        Deadline::after(SHORT),
        &Cancel::default(),
        &mut Silent,
    );
    let checked = engine.check(None, "return 1", Deadline::after(SHORT));
    for failure in [run.outcome.unwrap_err(), checked.unwrap_err()] {
        assert_eq!(failure.kind, FailureKind::EngineUnavailable, "{failure:?}");
        assert!(failure.retry_after_ms.is_some(), "{failure:?}");
        for part in expected {
            assert!(failure.message.contains(part), "{part}: {failure:?}");
        }
    }
    let probes = [
        engine.probe(Deadline::after(SHORT)),
        engine.probe_image(Deadline::after(SHORT)),
    ];
    for probe in probes {
        assert!(!probe.ready, "{probe:?}");
        for part in expected {
            assert!(probe.detail.contains(part), "{part}: {probe:?}");
        }
    }
    assert_eq!(engine.tidy(Deadline::after(SHORT)), 0);
    engine.stop(Deadline::after(SHORT));
}

#[test]
fn a_missing_socket_names_docker_host_and_what_else_is_there() {
    let place = Place::new();
    let path = place.socket().display().to_string();
    check_engine(&place.daemon(), &["no Docker socket", &path, "DOCKER_HOST"]);

    let home = place.0.join("home");
    let desktop = home.join(".docker/desktop/docker.sock");
    let colima = home.join(".colima/default/docker.sock");
    for other in [&desktop, &colima] {
        std::fs::create_dir_all(other.parent().unwrap()).unwrap();
        std::fs::write(other, "").unwrap();
    }
    let others = [&desktop, &colima].map(|other| format!("unix://{}", other.display()));
    let daemon = daemon_at(&place.socket(), Some(home));
    check_engine(&daemon, &["found here: ", &others[0], &others[1]]);
}

#[test]
fn a_socket_nobody_listens_on() {
    let place = Place::new();
    drop(UnixListener::bind(place.socket()).unwrap());
    check_engine(
        &place.daemon(),
        &["no daemon listens on", "systemctl start docker"],
    );
    // A file in the place of a socket.
    std::fs::remove_file(place.socket()).unwrap();
    std::fs::write(place.socket(), "").unwrap();
    check_engine(&place.daemon(), &["no daemon listens on"]);
}

/// Root may open every socket: this test plays its part once more as nobody.
#[test]
fn a_socket_of_others_names_the_docker_group() {
    const NOBODY: u32 = 65534;
    const PLACE: &str = "DYNAMIC_MCP_TEST_PLACE";
    if plays_a_part() {
        let socket = PathBuf::from(std::env::var_os(PLACE).unwrap());
        let path = socket.display().to_string();
        check_engine(
            &daemon_at(&socket, None),
            &["permission denied on", &path, "usermod -aG docker"],
        );
        return;
    }
    let place = Place::new();
    let _listener = UnixListener::bind(place.socket()).unwrap();
    std::fs::set_permissions(place.socket(), PermissionsExt::from_mode(0o660)).unwrap();
    // Where nobody can reach it, too.
    let binary = place.0.join("it");
    std::fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    let name = "docker_errors::a_socket_of_others_names_the_docker_group";
    let output = another_process(&binary, name)
        .env(PLACE, place.socket())
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    succeeded("as nobody", &output);
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

/// Serves every connection with `answer`, given what was asked, until the listener's file is gone.
fn serve(place: &Place, answer: impl Fn(&str, &mut dyn Write) + Send + 'static) {
    let listener = UnixListener::bind(place.socket()).unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut asked = [0; 4096];
            let count = stream.read(&mut asked).unwrap_or(0);
            answer(&String::from_utf8_lossy(&asked[..count]), &mut stream);
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
}

#[test]
fn peers_that_are_not_docker() {
    let html = "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n<html>hi</html>";
    let body = |json: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{json}",
            json.len()
        )
    };
    let protocol = "this is no Docker daemon, or a proxy spoils its answers";
    for (answer, expected) in [
        ("SSH-2.0-OpenSSH_9.2\r\n".to_owned(), protocol),
        ("\u{0}\u{1}\u{2}\u{ff}".to_owned(), protocol),
        ("HTTP/1.1 200\r\n\r\n".to_owned(), protocol),
        (String::new(), protocol),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{".to_owned(),
            "the Docker daemon went away",
        ),
        (html.to_owned(), protocol),
        (body("[]"), protocol),
        (body("{\"ApiVersion\":\"x\"}"), protocol),
        (
            body("{\"ApiVersion\":\"1.24\",\"MinAPIVersion\":\"1.12\"}"),
            "Engine API 1.24; 1.41 or newer is needed",
        ),
        (
            body("{\"ApiVersion\":\"2.1\",\"MinAPIVersion\":\"2.0\"}"),
            "Engine API 2.0 and newer alone",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned(),
            protocol,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n\r\n{}".to_owned(),
            protocol,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{}".to_owned(),
            "the Docker daemon went away",
        ),
        (
            "HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\nlater".to_owned(),
            "the Docker daemon refused (503): later",
        ),
        (
            format!(
                "HTTP/1.1 500 No\r\n\r\n{{\"message\":\"{}\"}}",
                "é".repeat(9000)
            ),
            "the Docker daemon refused (500): éé",
        ),
        (
            format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(5000)),
            protocol,
        ),
        (
            format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(200_000)),
            protocol,
        ),
    ] {
        let place = Place::new();
        let shown: String = answer.chars().take(60).collect();
        serve(&place, move |_, stream| {
            drop(stream.write_all(answer.as_bytes()))
        });
        let error = in_time(&shown, || place.daemon().info(Deadline::after(SHORT * 4)));
        let text = error.expect_err(&shown).to_string();
        assert!(
            text.starts_with(expected) || text.contains(expected),
            "{shown}: {text}"
        );
        assert!(text.len() < 700, "{shown}: {}", text.len());
    }
    let place = Place::new();
    serve(&place, |_, stream| drop(stream.write_all(b"+PONG\r\n")));
    check_engine(&place.daemon(), &[protocol]);
}

#[test]
fn peers_that_take_their_time_or_never_stop() {
    // Accepts and says nothing.
    let place = Place::new();
    let _silent = UnixListener::bind(place.socket()).unwrap();
    let late = |daemon: &Daemon, what: &str| {
        let result = in_time(what, || daemon.info(Deadline::after(SHORT)));
        assert_eq!(result, Err(DockerError::TimedOut), "{what}");
    };
    late(&place.daemon(), "silent");
    in_time("silent", || {
        check_engine(&place.daemon(), &["did not answer in time"])
    });

    // Does not even accept, and its queue is full.
    let place = Place::new();
    let full = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    full.bind(&socket2::SockAddr::unix(place.socket()).unwrap())
        .unwrap();
    full.listen(0).unwrap();
    let waiting = std::os::unix::net::UnixStream::connect(place.socket()).unwrap();
    late(&place.daemon(), "a full queue");
    drop(waiting);

    // A byte now and then extends nothing.
    let place = Place::new();
    serve(&place, |_, stream| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n".iter();
        for byte in head.chain(std::iter::repeat(&b' ')) {
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(3));
        }
    });
    late(&place.daemon(), "trickling");

    // More than anybody wants to hold.
    let place = Place::new();
    serve(&place, |_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b' '; 65536]).is_ok() {}
    });
    let endless = place
        .daemon()
        .info(Deadline::after(Duration::from_secs(30)));
    assert_eq!(
        endless,
        Err(DockerError::Protocol("the answer is too large"))
    );
}

#[test]
fn pulls_from_a_daemon_that_lies() {
    let place = Place::new();
    let version = "{\"ApiVersion\":\"1.41\",\"MinAPIVersion\":\"1.12\"}";
    let huge = u64::MAX;
    let steps = format!(
        "{{\"status\":\"Downloading\",\"id\":\"a\",\
         \"progressDetail\":{{\"current\":{huge},\"total\":{huge}}}}}\n\
         {{\"status\":\"Downloading\",\"id\":\"b\",\
         \"progressDetail\":{{\"current\":{huge},\"total\":1}}}}\n\
         not json\n\n[]\n{}\n{{\"error\":\"{}\"}}\n",
        "x".repeat(200_000),
        "e".repeat(5000),
    );
    serve(&place, move |asked, stream| {
        let body = if asked.starts_with("GET /version") {
            version
        } else {
            &steps
        };
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
    });
    let mut percents = Vec::new();
    let pulled =
        place
            .daemon()
            .pull_image(&image("a:1"), Deadline::after(SHORT * 4), &mut |progress| {
                percents.push(progress.percent());
            });
    assert!(
        percents.iter().all(|percent| *percent <= 100),
        "{percents:?}"
    );
    let Err(DockerError::Pull(message)) = pulled else {
        panic!("{pulled:?}")
    };
    assert!(
        message.starts_with("eee") && message.len() <= 500,
        "{message}"
    );
}
