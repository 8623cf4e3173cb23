//! The front door against crowds: thousands of connections from many addresses, hundreds of slow
//! heads, bodies and readers, connections that come and go. None of them costs a thread, and what
//! they cost in memory and descriptors is bounded and given back.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use dynamic_mcp::base::sys::raise_open_file_limit;
use serde_json::json;

use crate::server_load::check_prompt;
use crate::support::engine::await_that;
use crate::support::server::{Folder, Server};

const GET: &[u8] = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(60);

/// Connections from this many addresses of this machine, one after the other.
const ADDRESSES: usize = 200;

/// A connection from the `n`th of many addresses.
fn connect_from(n: usize, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let last = u8::try_from(n % ADDRESSES + 1).unwrap();
    let from = SocketAddr::from((Ipv4Addr::new(127, 0, 7, last), 0));
    socket.bind(&from.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn crowd(server: &Server, count: usize) -> Vec<TcpStream> {
    (0..count)
        .map(|n| connect_from(n, server.address))
        .collect()
}

/// The status of the answer that comes first, and all that comes until the connection ends or
/// `whole` says that it is enough.
fn answer(stream: &mut TcpStream, whole: impl Fn(&[u8]) -> bool) -> (u16, Vec<u8>) {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    while !whole(&bytes) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&bytes)),
        }
    }
    let status = bytes.get(9..12).and_then(|code| str::from_utf8(code).ok());
    let status = status.and_then(|code| code.parse().ok()).unwrap_or(0);
    (status, bytes)
}

fn is_livez(bytes: &[u8]) -> bool {
    bytes.ends_with(br#"{"status":"ok"}"#)
}

/// Threads and resident KiB of the server.
fn figures(server: &Server) -> (usize, usize) {
    let path = format!("/proc/{}/status", server.pid());
    let status = std::fs::read_to_string(path).unwrap();
    let figure = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let number = line.unwrap().split_whitespace().next().unwrap();
        number.parse::<usize>().unwrap()
    };
    (figure("Threads:"), figure("VmRSS:"))
}

/// At rest: the pool is full, and nothing of an earlier crowd is held.
/// A thread of a private server that was not needed after all ends within seconds: later there may
/// be one less, never one more.
fn await_rest(server: &Server) {
    await_that("nobody to be connected and nothing to be held", || {
        // The one that asks is one itself.
        server.metric("dynamic_mcp_http_connections_open ") <= 1.0
            && server.metric("dynamic_mcp_http_buffered_bytes ") == 0.0
            && server.metric("dynamic_mcp_pool_parked ") == 2.0
    });
}

fn refused(server: &Server, reason: &str) -> f64 {
    let series = format!("dynamic_mcp_http_refused_total{{reason=\"{reason}\"}}");
    server.metric(&series)
}

#[test]
fn five_thousand_connections_from_many_addresses() {
    const CROWD: usize = 5000;
    let limit = raise_open_file_limit();
    assert!(limit > 6000, "needs `ulimit -Hn` above 6000: it is {limit}");
    let server = Server::start(&[
        ("MCP_HTTP_MAX_CONNECTIONS", "5100"),
        ("MCP_SHUTDOWN_GRACE_SECONDS", "1"),
    ]);
    check_prompt(&server, "before anybody came");
    await_rest(&server);
    let (threads, _) = figures(&server);
    let mut memory = Vec::new();
    for round in 0..2 {
        let mut streams = crowd(&server, CROWD);
        // As many at once as may wait for a worker.
        for some in streams.chunks_mut(1000) {
            for stream in some.iter_mut() {
                stream.write_all(GET).unwrap();
            }
            for stream in some {
                let (status, bytes) = answer(stream, is_livez);
                assert_eq!(status, 200, "{:?}", String::from_utf8_lossy(&bytes));
            }
        }
        let threads_now = figures(&server).0;
        assert!(threads_now <= threads, "threads in round {round}");
        check_prompt(&server, "beside five thousand connections");
        // And again on the same connections.
        for stream in streams.iter_mut().step_by(7) {
            stream.write_all(GET).unwrap();
            assert_eq!(answer(stream, is_livez).0, 200);
        }
        memory.push(figures(&server).1);
        drop(streams);
        await_rest(&server);
    }
    let (threads_after, _) = figures(&server);
    assert!(threads_after <= threads);
    // 5,000 connections are a few hundred bytes each, and the second crowd needs nothing new.
    assert!(memory[0] < 64 * 1024, "{memory:?} KiB");
    assert!(memory[1] < memory[0] + 4 * 1024, "{memory:?} KiB");
}

#[test]
fn a_crowd_beyond_the_limit_is_told_so() {
    let server = Server::start(&[("MCP_SHUTDOWN_GRACE_SECONDS", "1")]);
    await_rest(&server);
    let (threads, _) = figures(&server);
    raise_open_file_limit();
    let mut inside = crowd(&server, 1024);
    await_that("all inside to be counted", || {
        // The one that asks is refused; a refusal is counted, and says when to come again.
        let mut asking = TcpStream::connect(server.address).unwrap();
        asking.set_read_timeout(Some(PATIENCE)).unwrap();
        let (status, bytes) = answer(&mut asking, |_| false);
        assert!(status == 0 || String::from_utf8_lossy(&bytes).contains("Retry-After: 1\r\n"));
        status == 503
    });
    for n in 0..3000 {
        // Closed at once or with a word: nobody is left waiting.
        let mut stream = connect_from(n, server.address);
        let mut byte = [0];
        let _ = stream.read(&mut byte);
    }
    assert!(figures(&server).0 <= threads);
    for stream in &mut inside {
        stream.write_all(GET).unwrap();
        assert_eq!(answer(stream, is_livez).0, 200);
    }
    drop(inside);
    await_rest(&server);
    assert!(refused(&server, "too_many_connections") >= 3000.0);
    check_prompt(&server, "after the crowd");
}

#[test]
fn slow_heads_and_slow_bodies_cost_nobody_anything() {
    let server = Server::start(&[
        ("MCP_HTTP_MAX_CONNECTIONS", "2000"),
        ("MCP_HTTP_HEAD_TIMEOUT_MS", "8000"),
        ("MCP_HTTP_BODY_TIMEOUT_MS", "8000"),
        ("MCP_SHUTDOWN_GRACE_SECONDS", "1"),
    ]);
    await_rest(&server);
    raise_open_file_limit();
    let (threads, _) = figures(&server);
    let began = Instant::now();
    let mut slow = crowd(&server, 1000);
    for (n, stream) in slow.iter_mut().enumerate() {
        let head = match n % 4 {
            0 | 1 => "POST /mcp HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
            2 => "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000\r\n\r\n",
            _ => {
                "POST /mcp HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n"
            }
        };
        stream.write_all(head.as_bytes()).unwrap();
    }
    check_prompt(&server, "beside a thousand slow requests");
    assert!(figures(&server).0 <= threads);
    // A byte now and then extends nothing.
    while refused(&server, "head_timeout") < 500.0 || refused(&server, "body_timeout") < 500.0 {
        assert!(began.elapsed() < PATIENCE, "they are still let");
        for stream in &mut slow {
            let _ = stream.write_all(b"x");
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    assert!(began.elapsed() >= Duration::from_millis(8000));
    for stream in &mut slow {
        let mut bytes = Vec::new();
        // Those that wrote on after the end may find the connection reset.
        let _ = stream.read_to_end(&mut bytes);
        assert!(bytes.is_empty() || bytes.starts_with(b"HTTP/1.1 408 "));
    }
    drop(slow);
    await_rest(&server);
    assert!(figures(&server).0 <= threads);
}

#[test]
fn slow_readers_hold_no_worker_and_little_memory() {
    let server = Server::start(&[
        ("MCP_HTTP_BUFFER_BYTES", "4194304"),
        ("MCP_HTTP_WRITE_TIMEOUT_MS", "60000"),
        ("MCP_SHUTDOWN_GRACE_SECONDS", "1"),
    ]);
    await_rest(&server);
    let (threads, memory) = figures(&server);
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }).to_string();
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // Answers of some megabytes together for each, and nobody reads one.
    let pipeline = request.repeat(400);
    let mut stalled = crowd(&server, 40);
    for stream in &mut stalled {
        stream.set_nonblocking(true).unwrap();
        let _ = stream.write(pipeline.as_bytes());
    }
    await_that("the budget to be used up", || {
        server.metric("dynamic_mcp_http_slow_readers_total ") > 0.0
            || server.metric("dynamic_mcp_http_buffered_bytes ") > 2e6
    });
    check_prompt(&server, "beside slow readers");
    let (threads_now, memory_now) = figures(&server);
    assert!(threads_now <= threads);
    assert!(
        memory_now < memory + 32 * 1024,
        "{memory} KiB became {memory_now}"
    );
    drop(stalled);
    await_rest(&server);
}

#[test]
fn connections_that_come_and_go_leave_nothing() {
    let folder = Folder::new();
    let server = Server::start_in(&folder, &[("MCP_SHUTDOWN_GRACE_SECONDS", "1")]);
    let descriptors = || {
        let folder = std::fs::read_dir(format!("/proc/{}/fd", server.pid()));
        folder.unwrap().count()
    };
    let churn = |count: usize| {
        std::thread::scope(|scope| {
            for part in 0..4 {
                let server = &server;
                scope.spawn(move || (0..count).for_each(|n| come_and_go(server, part + 4 * n)));
            }
        });
        await_rest(&server);
    };
    churn(200);
    let before = (figures(&server).0, descriptors());
    churn(1500);
    await_that("descriptors to be closed", || descriptors() <= before.1);
    assert_eq!(figures(&server).0, before.0);
    check_prompt(&server, "after six thousand connections");
}

/// One short visit, each time in another way.
fn come_and_go(server: &Server, n: usize) {
    let mut stream = connect_from(n, server.address);
    match n % 8 {
        0 => {}
        1 => stream.write_all(&GET[..10]).unwrap(),
        2 => stream.write_all(GET).unwrap(),
        3 => {
            // A reset instead of an end.
            stream.write_all(GET).unwrap();
            socket2::SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        }
        4 => {
            stream.write_all(GET).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(answer(&mut stream, |_| false).0, 200);
        }
        5 => {
            stream.write_all(b"\x16\x03\x01 not HTTP").unwrap();
            assert_eq!(answer(&mut stream, |_| false).0, 400);
        }
        _ => {
            stream.write_all(GET).unwrap();
            assert_eq!(answer(&mut stream, is_livez).0, 200);
        }
    }
}
