//! Sandboxes on a daemon whose answers get lost: what was begun there is ended all the same, and
//! nobody waits long.

use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dynamic_mcp::base::deadline::Deadline;
use dynamic_mcp::config::DaemonAddress;
use dynamic_mcp::docker::Daemon;
use dynamic_mcp::domain::failure::FailureKind;
use dynamic_mcp::domain::principal::Principal;
use dynamic_mcp::domain::run::Cancel;
use dynamic_mcp::engine::{Engine as _, Executed, Sandbox, Sandboxes};
use serde_json::json;

use crate::support::daemons::request_shared;
use crate::support::engine::{Fixture, patience, settings};
use crate::support::http::failure;
use crate::support::provided;
use crate::support::server::Server;

const LIMIT: Duration = Duration::from_secs(60);

/// Which answers are lost: those to requests whose path has the text, so many of them.
struct Loss {
    path: &'static str,
    times: usize,
    how: How,
}

#[derive(Clone, Copy, PartialEq)]
enum How {
    /// Nothing comes.
    Silent,
    /// The daemon hears of it only once something else is lost.
    Late,
    /// The connection breaks when the daemon answers.
    Broken,
    /// Nothing comes after the answer's head.
    HeadOnly,
    /// The connection breaks after the first bytes behind the head.
    CutOff,
}

/// A way to the shared daemon.
struct LossyDaemon {
    port: u16,
    loss: Arc<Mutex<Option<Loss>>>,
}

impl LossyDaemon {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let loss = Arc::new(Mutex::new(None));
        let lost = Arc::clone(&loss);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let lost = Arc::clone(&lost);
                std::thread::spawn(move || serve(client, &lost));
            }
        });
        Self { port, loss }
    }

    fn client(&self) -> Arc<Daemon> {
        let address = DaemonAddress::Tcp {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            tls: None,
        };
        Arc::new(Daemon::new(address, None))
    }

    fn lose(&self, path: &'static str, times: usize, how: How) {
        *self.loss.lock().unwrap() = Some(Loss { path, times, how });
    }

    fn has_lost_all(&self) -> bool {
        let loss = self.loss.lock().unwrap();
        loss.as_ref().is_some_and(|loss| loss.times == 0)
    }
}

fn head_of(reader: &mut impl std::io::BufRead) -> Option<String> {
    let (mut head, mut line) = (String::new(), String::new());
    while line != "\r\n" {
        line.clear();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return None;
        }
        head.push_str(&line);
    }
    Some(head)
}

fn serve(client: TcpStream, loss: &Mutex<Option<Loss>>) {
    let mut from_client = BufReader::new(client.try_clone().unwrap());
    let Some(head) = head_of(&mut from_client) else {
        return;
    };
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let socket = provided("DYNAMIC_MCP_TEST_DOCKER");
    let mut daemon = UnixStream::connect(socket.strip_prefix("unix://").unwrap()).unwrap();
    let mut how = None;
    if let Some(loss) = loss.lock().unwrap().as_mut()
        && path.contains(loss.path)
        && loss.times > 0
    {
        loss.times -= 1;
        how = Some(loss.how);
    }
    let is_held = || {
        let loss = loss.lock().unwrap();
        loss.as_ref().is_some_and(|loss| loss.how == How::Late)
    };
    while how == Some(How::Late) && is_held() {
        std::thread::sleep(Duration::from_millis(10));
    }
    daemon.write_all(head.as_bytes()).unwrap();
    let from_daemon = BufReader::new(daemon.try_clone().unwrap());
    std::thread::spawn(move || answer(from_daemon, client, how));
    copy(&mut from_client, &mut daemon);
    let _ = daemon.shutdown(Shutdown::Write);
}

fn answer(mut from_daemon: BufReader<UnixStream>, mut client: TcpStream, how: Option<How>) {
    let head = head_of(&mut from_daemon).unwrap_or_default();
    if !matches!(how, Some(How::Silent | How::Broken | How::Late)) {
        let _ = client.write_all(head.as_bytes());
    }
    match how {
        None => copy(&mut from_daemon, &mut client),
        Some(How::Broken) => drop(client.shutdown(Shutdown::Both)),
        Some(How::CutOff) => {
            let mut first = [0; 64];
            let count = from_daemon.read(&mut first).unwrap_or(0);
            let _ = client.write_all(&first[..count]);
            let _ = client.shutdown(Shutdown::Both);
        }
        Some(How::Silent | How::HeadOnly | How::Late) => {
            // Until the client goes.
            while matches!(client.peek(&mut [0]), Ok(1..)) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
    let _ = client.shutdown(Shutdown::Write);
}

fn copy(from: &mut impl Read, to: &mut impl Write) {
    let mut buffer = [0; 65536];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}

fn open(sandboxes: &Sandboxes) -> Sandbox {
    let (owner, id) = (Principal::local(), Sandboxes::new_id());
    let none = Cancel::default();
    let made = sandboxes.open(&owner, &id, None, LIMIT, patience(), &none);
    made.unwrap()
}

fn exec(sandboxes: &Sandboxes, sandbox: &Sandbox, command: &str, acquire: Deadline) -> Executed {
    let commands = [command.to_owned()];
    sandboxes.exec(sandbox, &commands, LIMIT, acquire, &Cancel::default())
}

/// What runs in a sandbox.
fn top(sandbox: &Sandbox) -> String {
    let label = format!("dynamic-mcp.session={}", sandbox.id);
    let found = crate::support::daemon().containers_with_labels(&[label], patience());
    let path = format!("/v1.41/containers/{}/top", found.unwrap()[0].id);
    request_shared("GET", &path, b"")
}

#[test]
fn what_was_begun_is_ended_though_its_answer_is_lost() {
    let daemon = LossyDaemon::start();
    let fixture = Fixture::on(daemon.client(), settings());
    let sandboxes = fixture.engine.sandboxes().unwrap();
    let sandbox = open(sandboxes);

    // The keeper gave the place away, and the news of it is lost.
    daemon.lose("/attach", 1, How::HeadOnly);
    let late = Deadline::after(Duration::from_secs(1));
    let held = exec(sandboxes, &sandbox, "true", late);
    assert_eq!(held.failure.unwrap().kind, FailureKind::EngineUnavailable);
    assert!(daemon.has_lost_all() && held.commands.is_empty());
    let next = exec(sandboxes, &sandbox, "echo next", patience());
    assert_eq!(next.failure, None);

    // A command may run whose start or whose state nobody hears of.
    for (path, how) in [("/start", How::Broken), ("/json", How::Broken)] {
        daemon.lose(path, 1, how);
        let lost = exec(sandboxes, &sandbox, "echo a > f; sleep 600", patience());
        let failure = lost.failure.unwrap();
        assert_eq!(failure.kind, FailureKind::EngineUnavailable, "{path}");
        let what = "; every process in the sandbox was ended; its files are as they were";
        assert!(failure.message.ends_with(what), "{path}: {failure:?}");
        assert!(daemon.has_lost_all(), "{path}");
        assert!(!top(&sandbox).contains("sleep 600"), "{path}");
    }

    // A command whose streams broke runs on until it ends, or its time limit is over.
    daemon.lose("/start", 1, How::CutOff);
    let command = "cat f; sleep 7; exit 3";
    let slept = exec(sandboxes, &sandbox, command, patience());
    assert!(
        slept.failure.is_none() && daemon.has_lost_all(),
        "{slept:?}"
    );
    assert_eq!(slept.commands[0].stdout.text, "a\n");
    assert_eq!(slept.commands[0].exit_code, Some(3));
    daemon.lose("/start", 1, How::CutOff);
    let commands = ["echo a; sleep 600".to_owned()];
    let (limit, none) = (Duration::from_secs(1), Cancel::default());
    let slept = sandboxes.exec(&sandbox, &commands, limit, patience(), &none);
    assert_eq!(slept.failure.unwrap().kind, FailureKind::Timeout);
    assert!(daemon.has_lost_all() && !top(&sandbox).contains("sleep 600"));
    sandboxes.close(&sandbox, patience()).unwrap();
}

#[test]
fn what_a_late_daemon_starts_after_the_end_of_all_finds_no_sandbox() {
    let daemon = LossyDaemon::start();
    let fixture = Fixture::on(daemon.client(), settings());
    let sandboxes = fixture.engine.sandboxes().unwrap();
    let sandbox = open(sandboxes);
    daemon.lose("/start", 1, How::Late);
    let commands = ["sleep 600".to_owned()];
    let (limit, none) = (Duration::from_secs(1), Cancel::default());
    let late = sandboxes.exec(&sandbox, &commands, limit, patience(), &none);
    let message = late.failure.unwrap().message;
    let what = "; the sandbox had to be ended: make a new one";
    assert!(message.ends_with(what), "{message}");
    // Now the daemon does what it was asked for first.
    daemon.lose("", 0, How::Silent);
    std::thread::sleep(Duration::from_millis(500));
    let found = sandboxes.find(&Principal::local(), &sandbox.id, patience());
    assert_eq!(found.unwrap_err().kind, FailureKind::InvalidArguments);
}

#[test]
fn nobody_waits_long_for_a_daemon_that_says_nothing() {
    let daemon = LossyDaemon::start();
    let host = format!("tcp://127.0.0.1:{}", daemon.port);
    let server = Server::start(&[
        ("MCP_PROFILE", "enterprise"),
        ("MCP_SANDBOX_WARM_POOL", "0"),
        ("DOCKER_HOST", &host),
    ]);
    daemon.lose("/containers/json", usize::MAX, How::Silent);
    let id = Sandboxes::new_id();
    for (name, arguments) in [
        ("sandbox.session.list", json!({})),
        (
            "sandbox.exec",
            json!({ "sessionId": id, "commands": ["true"] }),
        ),
        ("sandbox.stop", json!({ "sessionId": id })),
    ] {
        let began = Instant::now();
        let message = failure(&server.call(name, arguments));
        assert!(
            message.starts_with("engine_unavailable: "),
            "{name}: {message}"
        );
        assert!(began.elapsed() < Duration::from_secs(20), "{name}");
    }
    daemon.lose("", 0, How::Silent);
}
