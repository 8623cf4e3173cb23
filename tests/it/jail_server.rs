//! The first try on a machine without Docker: tools run in a jail, and the server says so.

use serde_json::json;

use crate::support::server::Server;

#[test]
fn without_docker_the_first_try_works_in_a_jail() {
    let search_path = std::env::var("PATH").unwrap();
    let nowhere = [
        ("DOCKER_HOST", "unix:///nonexistent/docker.sock"),
        ("MCP_EXECUTION_ENGINE", "auto"),
        ("PATH", search_path.as_str()),
    ];
    let mut server = Server::start(&nowhere);
    let banner = server.stderr();
    for part in ["engine    node: node ", " in a jail (no Docker: "] {
        assert!(banner.contains(part), "{banner}");
    }
    assert_eq!(server.value("return 6 * 7"), json!(42));
    server.create(json!({
        "name": "math.add",
        "description": "Adds two numbers.",
        "inputSchema": {
            "type": "object",
            "properties": { "a": { "type": "number" }, "b": { "type": "number" } },
            "required": ["a", "b"],
        },
        "code": "return args.a + args.b",
    }));
    let sum = server.call("math.add", json!({ "a": 1, "b": 2 }));
    assert_eq!(sum["structuredContent"]["result"], 3, "{sum}");
    let broken = json!({ "name": "math.bad", "description": "d", "code": "return (" });
    let refused = server.call("dynamic.tool.create", json!({ "tool": broken }));
    assert_eq!(refused["isError"], true, "{refused}");
    let ready = server.get("/readyz");
    assert_eq!(ready.status, 200, "{}", ready.text());
    server.stop();
}

#[test]
fn docker_that_was_asked_for_is_never_replaced() {
    let nowhere = [
        ("DOCKER_HOST", "unix:///nonexistent/docker.sock"),
        ("MCP_EXECUTION_ENGINE", "docker"),
    ];
    let mut server = Server::start(&nowhere);
    let result = server.call("run_js_ephemeral", json!({ "code": "return 1" }));
    let error = &result["structuredContent"]["error"];
    assert_eq!(error["kind"], "engine_unavailable", "{result}");
    assert_eq!(server.get("/readyz").status, 503);
    server.stop();
}

#[test]
fn enterprise_never_takes_a_jail_in_docker_s_place() {
    let search_path = std::env::var("PATH").unwrap();
    let nowhere = [
        ("DOCKER_HOST", "unix:///nonexistent/docker.sock"),
        ("MCP_EXECUTION_ENGINE", "auto"),
        ("MCP_PROFILE", "enterprise"),
        ("PATH", search_path.as_str()),
    ];
    let mut server = Server::start(&nowhere);
    let banner = server.stderr();
    assert!(banner.contains("engine    docker: NOT READY: "), "{banner}");
    assert!(!banner.contains("jail"), "{banner}");
    let result = server.call("run_js_ephemeral", json!({ "code": "return 1" }));
    let error = &result["structuredContent"]["error"];
    assert_eq!(error["kind"], "engine_unavailable", "{result}");
    let (status, checks) = server.readiness();
    assert_eq!(status, 503, "{checks}");
    assert_eq!(checks["engine"]["status"], "failed", "{checks}");
    let detail = checks["engine"]["detail"].as_str().unwrap();
    assert!(detail.contains("/nonexistent/docker.sock"), "{checks}");
    server.stop();
}
