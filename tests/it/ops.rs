//! A listener of their own for the ops endpoints: they are there and nowhere else, and nothing else
//! is there.

use std::net::{SocketAddr, TcpListener};

use crate::support::http::{Connection, JSON, call_body};
use crate::support::server::{Folder, Server, run, stderr, stdout};

const PROBES: [&str; 3] = ["/livez", "/readyz", "/metrics"];

fn ops_address(server: &Server) -> SocketAddr {
    let banner = server.stderr();
    let (_, rest) = banner.split_once(" ops       http://").unwrap();
    rest.split_once(": ").unwrap().0.parse().unwrap()
}

fn status(address: SocketAddr, method: &str, path: &str, body: &str) -> u16 {
    let mut connection = Connection::open(address);
    connection
        .exchange(method, path, &[JSON], body.as_bytes())
        .status
}

#[test]
fn apart_each_listener_has_its_own_paths_alone() {
    let mut server = Server::start(&[("MCP_OPS_PORT", "0")]);
    let (main, ops) = (server.address, ops_address(&server));
    assert_eq!(ops.ip(), main.ip());
    let health = call_body("system.health", &serde_json::json!({}));
    assert_eq!(status(main, "POST", "/mcp", &health), 200);
    assert_eq!(status(ops, "POST", "/mcp", &health), 404);
    for path in PROBES {
        assert_eq!(status(ops, "GET", path, ""), 200, "{path}");
        assert_eq!(status(main, "GET", path, ""), 404, "{path}");
    }
    for path in ["/", "/mcp", "/.well-known/oauth-protected-resource"] {
        assert_eq!(status(ops, "GET", path, ""), 404, "{path}");
    }
    assert_eq!(status(ops, "POST", "/livez", "{}"), 405);
    let metrics = Connection::open(ops)
        .exchange("GET", "/metrics", &[], b"")
        .text();
    for series in [
        r#"dynamic_mcp_http_requests_total{route="mcp",status="200"} 1"#,
        r#"dynamic_mcp_http_queue_depth{lane="ops"} 0"#,
    ] {
        assert!(metrics.contains(series), "{series} in {metrics}");
    }
    let port = ops.port().to_string();
    let output = run(&server.folder, &[], &["healthcheck", "--ops-port", &port]);
    assert!(stdout(&output).contains("\"ready\""), "{output:?}");
    server.stop();
}

#[test]
fn probes_on_a_public_address_leave_the_protocol_on_loopback() {
    let free = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let settings = [("MCP_OPS_HOST", "0.0.0.0"), ("MCP_OPS_PORT", &*port)];
    let mut server = Server::start(&settings);
    assert!(server.address.ip().is_loopback());
    assert_eq!(
        ops_address(&server),
        format!("0.0.0.0:{port}").parse().unwrap()
    );
    let output = run(&server.folder, &settings, &["healthcheck"]);
    assert!(stdout(&output).contains("\"ready\""), "{output:?}");
    server.stop();
}

#[test]
fn a_taken_ops_port_is_a_start_that_fails() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = run(&Folder::new(), &[("MCP_OPS_PORT", &port)], &["serve"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    let expected = format!("127.0.0.1:{port} is in use: stop the other program");
    assert!(
        text.contains(&expected) && text.contains("--ops-port"),
        "{text}"
    );
}

#[test]
fn a_full_server_still_answers_probes_apart() {
    let settings = [("MCP_OPS_PORT", "0"), ("MCP_HTTP_MAX_CONNECTIONS", "3")];
    let server = Server::start(&settings);
    let (main, ops) = (server.address, ops_address(&server));
    let health = call_body("system.health", &serde_json::json!({}));
    let mut full: Vec<_> = (0..3).map(|_| Connection::open(main)).collect();
    for connection in &mut full {
        assert_eq!(connection.post(&[], &health).status, 200);
    }
    assert_eq!(status(main, "POST", "/mcp", &health), 503);
    let mut probes: Vec<_> = (0..16).map(|_| Connection::open(ops)).collect();
    for probe in &mut probes {
        assert_eq!(probe.exchange("GET", "/livez", &[], b"").status, 200);
    }
    assert_eq!(status(ops, "GET", "/livez", ""), 503);
}
