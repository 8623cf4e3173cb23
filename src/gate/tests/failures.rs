//! What happens when something of ours fails: a private server, the supply of descriptors, the
//! start.

use super::*;
use std::io::{BufRead, BufReader};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// A private server that misbehaves on request.
fn misbehave(mut stream: UnixStream) {
    let reader = BufReader::new(stream.try_clone().unwrap());
    let mut target = String::new();
    for line in reader.lines().map_while(Result::ok) {
        if target.is_empty() {
            target = line.split(' ').nth(1).unwrap().to_owned();
        }
        if !line.is_empty() {
            continue;
        }
        let answer: &[u8] = match target.as_str() {
            "/closes" => b"",
            "/breaks-off" => b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
            "/breaks-off-in-head" => b"HTTP/1.1 200 OK\r\nContent-Le",
            "/nonsense" => b"\0\0\0\r\n\r\n",
            "/too-much" => b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
            "/switches" => b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            _ => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        };
        let _ = stream.write_all(answer);
        if target.starts_with("/closes") || target.starts_with("/breaks-off") {
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return;
        }
        target.clear();
    }
}

#[test]
fn lost_private_connections_are_reported_and_made_anew() {
    let socket = std::env::temp_dir().join(format!("gate-{}", crate::base::ids::random_hex()));
    let private = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = private.accept() {
            std::thread::spawn(move || misbehave(stream));
        }
    });
    let listen = Listen {
        listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
        route: Route::new(|_| 7),
        spare_connections: 0,
    };
    let lane = Lane {
        socket: socket.clone(),
        backends: 2,
        batch: None,
    };
    let gate = start(Limits::default(), vec![listen], &[lane], Box::new(|_| ())).unwrap();
    // Connections are made anew although the file is gone.
    std::fs::remove_file(&socket).unwrap();
    let counters = gate.counters();
    let ask = |target: &str| {
        let mut caller = Caller::new(TcpStream::connect(gate.local_addrs()[0]).unwrap());
        caller.send(format!(
            "GET {target} HTTP/1.1\r\nHost: h\r\nX-Request-Id: x\r\n\r\n"
        ));
        caller
    };
    for round in 1..=2 {
        for target in [
            "/closes",
            "/breaks-off-in-head",
            "/nonsense",
            "/too-much",
            "/switches",
        ] {
            let mut caller = ask(target);
            let answer = caller.answer();
            assert_eq!(
                (answer.status, answer.header("x-request-id")),
                (502, Some("x")),
                "{target}"
            );
            assert_eq!(answer.header("Connection"), None, "{target}");
            assert_eq!(caller.ask(GET).text(), "ok", "{target}");
        }
        let mut caller = ask("/breaks-off");
        while caller.read_more() > 0 {}
        assert!(
            !caller.unread.ends_with(b"}"),
            "an answer after half an answer"
        );
        await_that("all connections are made anew", || {
            let lane = &counters.lanes[0];
            lane.ready.load(Ordering::Relaxed) == 2 && lane.busy.load(Ordering::Relaxed) == 0
        });
        assert_eq!(
            counters.lanes[0].lost_total.load(Ordering::Relaxed),
            6 * round
        );
    }
    assert!(gate.is_running());
}

#[test]
fn a_gate_without_private_servers_does_not_start() {
    let check = |lanes: &[Lane], expected: &str| {
        let error = start(Limits::default(), Vec::new(), lanes, Box::new(|_| ())).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    check(&[], "at least one backend");
    let socket = std::env::temp_dir().join("gate-nobody-is-here");
    let lane = |backends| Lane {
        socket: socket.clone(),
        backends,
        batch: None,
    };
    check(&[lane(0)], "at least one backend");
    check(&[lane(1)], "gate-nobody-is-here");
}

/// This test once more, in a process of its own with few descriptors.
fn respawn_with_descriptors(count: usize) -> Child {
    let name = "gate::tests::failures::running_out_of_descriptors_is_survived";
    Command::new("sh")
        .arg("-c")
        .arg(format!(
            "ulimit -n {count}; exec \"$0\" --exact {name} --nocapture"
        ))
        .arg(std::env::current_exe().unwrap())
        .env("GATE_TEST_FEW_DESCRIPTORS", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn running_out_of_descriptors_is_survived() {
    if std::env::var_os("GATE_TEST_FEW_DESCRIPTORS").is_some() {
        let house = House::new(Limits::default(), 2);
        println!("\naddress={}", house.address);
        // Until the parent process has seen enough.
        let _ = std::io::stdin().read_line(&mut String::new());
        let errors = house.counters().accept_errors_total.load(Ordering::Relaxed);
        println!("\nerrors={errors}");
        return;
    }
    let mut child = respawn_with_descriptors(64);
    let stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut value = |key: &str| {
        let line = lines.find_map(|line| Some(line.unwrap().strip_prefix(key)?.to_owned()));
        line.unwrap_or_else(|| panic!("the child never said {key}"))
    };
    let address: SocketAddr = value("address=").parse().unwrap();
    for _ in 0..3 {
        let mut callers: Vec<Caller> = (0..100)
            .map(|_| Caller::new(TcpStream::connect(address).unwrap()))
            .collect();
        let (mut answered, mut closed) = (0, 0);
        for caller in &mut callers {
            caller.send(GET);
        }
        for caller in &mut callers {
            match caller.try_answer(true) {
                Some(answer) => answered += usize::from(answer.status == 200),
                None => closed += 1,
            }
        }
        assert!(
            answered > 10 && closed > 10,
            "{answered} answered, {closed} closed"
        );
        assert_eq!(answered + closed, 100);
        drop(callers);
        let alive = || {
            let mut caller = Caller::new(TcpStream::connect(address).unwrap());
            caller.send(GET);
            caller
                .try_answer(true)
                .is_some_and(|answer| answer.status == 200)
        };
        await_that("the service is back", alive);
    }
    drop(stdin);
    assert_ne!(value("errors="), "0");
    assert!(child.wait().unwrap().success());
}
