//! Who gets in and who may do what, with the tokens of a real identity provider: its keys change,
//! it goes away and comes back, it is reached over TLS or its keys lie in a file.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::engine::await_that;
use crate::support::http::{ACCEPT, Connection, JSON, Reply, call_body, failure};
use crate::support::idp::{Idp, make_certificates};
use crate::support::server::{Folder, Server, run, stderr, stdout};

pub(crate) const AUDIENCE: &str = "https://mcp.example/mcp";
const ADMIN_TOKEN: &str = "correct-horse-battery";
const METADATA: &str = "/.well-known/oauth-protected-resource";

/// Settings of a server that takes the provider's tokens, and some more.
fn settings<'a>(idp: &'a Idp, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut all = vec![
        ("MCP_AUTH_MODE", "jwt"),
        ("MCP_AUTH_JWKS_URL", idp.jwks.as_str()),
        ("MCP_AUTH_ISSUER", idp.issuer.as_str()),
        ("MCP_AUTH_AUDIENCE", AUDIENCE),
    ];
    all.extend(more);
    all
}

/// A server that has the provider's keys.
pub(crate) fn start(idp: &Idp, more: &[(&str, &str)]) -> Server {
    let server = Server::start(&settings(idp, more));
    await_keys(&server);
    server
}

fn await_keys(server: &Server) {
    await_that("keys", || server.readiness().1["keys"]["status"] == "ok");
}

/// A port that is free now, for addresses on which none is given out.
pub(crate) fn free_port() -> String {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn post(server: &Server, token: &str, body: &str) -> Reply {
    let token = bearer(token);
    server.connect().post(&[("Authorization", &token)], body)
}

fn call(server: &Server, token: &str, name: &str, arguments: Value) -> Reply {
    post(server, token, &call_body(name, &arguments))
}

/// Whether a token lets a request in.
fn is_let_in(server: &Server, token: &str) -> bool {
    let reply = call(server, token, "system.health", json!({}));
    match reply.status {
        200 => true,
        401 => false,
        _ => panic!("{reply:?}"),
    }
}

fn challenge(reply: &Reply) -> &str {
    reply.header("WWW-Authenticate").unwrap_or_default()
}

fn listed(server: &Server, fields: &[(&str, &str)]) -> Vec<String> {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let reply = server.connect().post(fields, body);
    let tools = reply.json()["result"]["tools"].clone();
    let names = tools.as_array().unwrap().iter();
    names
        .map(|tool| tool["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn without_a_token_nothing_is_answered() {
    let idp = Idp::start();
    let server = start(&idp, &[("MCP_AUTH_REQUIRED_SCOPES", "mcp.use,mcp.more")]);
    let resource = format!("http://{}{METADATA}/mcp", server.address);
    let expected = format!("Bearer resource_metadata=\"{resource}\", scope=\"mcp.use mcp.more\"");
    let discover = r#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#;
    let notice = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    for (method, body) in [
        ("POST", "{}"),
        ("POST", ""),
        ("POST", "no JSON"),
        ("POST", discover),
        ("POST", notice),
        ("GET", ""),
        ("DELETE", ""),
        ("PUT", ""),
    ] {
        for fields in [
            &[JSON, ACCEPT][..],
            &[],
            &[JSON, ("Authorization", "Basic dTpw")],
            &[JSON, ("x-mcp-admin-token", ADMIN_TOKEN)],
            &[
                JSON,
                ("Mcp-Session-Id", "x"),
                ("MCP-Protocol-Version", "2026-07-28"),
            ],
        ] {
            let reply = server
                .connect()
                .exchange(method, "/mcp", fields, body.as_bytes());
            assert_eq!(reply.status, 401, "{method} {body} {fields:?}");
            assert_eq!(challenge(&reply), expected, "{method} {body}");
            assert_eq!(reply.json()["error"]["code"], 401);
        }
    }
    // A token in the URL is none.
    let reply = server
        .connect()
        .exchange("POST", "/mcp?access_token=a.b.c", &[JSON], b"{}");
    assert_eq!((reply.status, challenge(&reply)), (401, expected.as_str()));
    // A browser asks without one; a page of strangers gets nothing.
    let local = ("Origin", "http://localhost:3000");
    let reply = server.connect().exchange("OPTIONS", "/mcp", &[local], b"");
    assert_eq!(reply.status, 204);
    let reply = server
        .connect()
        .exchange("POST", "/mcp", &[local, JSON], b"{}");
    let exposed = reply.header("Access-Control-Expose-Headers").unwrap();
    assert!(
        reply.status == 401 && exposed.contains("www-authenticate"),
        "{reply:?}"
    );
    let foreign = ("Origin", "http://evil.example");
    let reply = server
        .connect()
        .exchange("POST", "/mcp", &[foreign, JSON], b"{}");
    assert_eq!(reply.status, 403);
    // Probes need none.
    assert_eq!(server.get("/livez").status, 200);
    assert!(server.metric("dynamic_mcp_http_auth_denied_total{reason=\"missing\"}") >= 40.0);
    assert!(server.metric("dynamic_mcp_jwks_keys") >= 4.0);
}

#[test]
fn on_a_public_address_a_token_is_needed_whatever_the_host() {
    let idp = Idp::start();
    let public = ("MCP_PUBLIC_URL", "https://mcp.example/mcp");
    let port = free_port();
    let server = start(
        &idp,
        &[("MCP_HOST", "0.0.0.0"), ("MCP_PORT", &port), public],
    );
    let expected = format!("Bearer resource_metadata=\"https://mcp.example{METADATA}/mcp\"");
    for host in ["localhost", "evil.example", "mcp.example:443"] {
        let fields = [JSON, ("Host", host)];
        let reply = server.connect().exchange("POST", "/mcp", &fields, b"{}");
        assert_eq!(
            (reply.status, challenge(&reply)),
            (401, expected.as_str()),
            "{host}"
        );
    }
}

#[test]
fn what_is_said_of_the_protected_resource() {
    let idp = Idp::start();
    let server = start(&idp, &[("MCP_AUTH_REQUIRED_SCOPES", "mcp.use")]);
    for path in [METADATA.to_owned(), format!("{METADATA}/mcp")] {
        let fields = [
            ("Origin", "https://anywhere.example"),
            ("Host", "evil.example"),
        ];
        let reply = server.connect().exchange("GET", &path, &fields, b"");
        assert_eq!(reply.status, 200, "{reply:?}");
        let expected = json!({
            "resource": format!("http://{}/mcp", server.address),
            "authorization_servers": [idp.issuer],
            "bearer_methods_supported": ["header"],
            "resource_name": "dynamic-mcp",
            "scopes_supported": ["mcp.use"],
        });
        assert_eq!(reply.json(), expected);
        assert_eq!(reply.header("Access-Control-Allow-Origin"), Some("*"));
        let asked = server.connect().exchange("OPTIONS", &path, &fields, b"");
        assert_eq!(asked.status, 204);
        assert_eq!(asked.header("Access-Control-Allow-Origin"), Some("*"));
        let posted = server.connect().exchange("POST", &path, &[JSON], b"{}");
        assert_eq!(posted.status, 405);
    }
    let open = Server::start(&[]);
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-protected-resource/other",
    ] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
    let registered = server
        .connect()
        .exchange("POST", "/register", &[JSON], b"{}");
    assert_eq!(registered.status, 404);
    // Without tokens there is nothing to say.
    assert_eq!(open.get(METADATA).status, 404);
    assert_eq!(open.get(&format!("{METADATA}/mcp")).status, 404);
}

#[test]
fn tokens_of_every_algorithm_let_in() {
    let mut idp = Idp::start();
    // No proxy that the environment names comes between us and the keys.
    let nobody = "http://127.0.0.1:9";
    let proxies = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"].map(|name| (name, nobody));
    let server = start(&idp, &proxies);
    for algorithm in ["RS256", "PS256", "ES256", "ES384", "EdDSA"] {
        let token = idp.token_by(algorithm, "alice", "mcp.use", AUDIENCE);
        for _ in 0..2 {
            // The runbook's check: neither 401 nor 403.
            let reply = post(&server, &token, "{}");
            assert_eq!(reply.status, 400, "{algorithm}: {reply:?}");
            assert!(is_let_in(&server, &token), "{algorithm}");
        }
        let get =
            server
                .connect()
                .exchange("GET", "/mcp", &[("Authorization", &bearer(&token))], b"");
        assert!(![401, 403].contains(&get.status), "{algorithm}: {get:?}");
    }
    assert_eq!(server.metric("dynamic_mcp_http_auth_success_total"), 25.0);
}

#[test]
fn tokens_that_are_not_for_us() {
    let (mut idp, mut other) = (Idp::start(), Idp::start());
    let server = start(&idp, &[]);
    let token = idp.token("alice", "mcp.use", AUDIENCE);
    let mut forged = token.clone();
    let at = token.rfind('.').unwrap() + 20;
    forged.replace_range(at..=at, if &token[at..=at] == "A" { "B" } else { "A" });
    let cut = token.rsplit_once('.').unwrap().0;
    for (token, reason) in [
        (
            idp.token("alice", "mcp.use", "https://other.example/mcp"),
            "audience",
        ),
        (forged, "signature"),
        (format!("{cut}."), "signature"),
        (other.token("alice", "mcp.use", AUDIENCE), "unknown_key"),
        ("opaque".to_owned(), "malformed"),
        ("a".repeat(9000), "malformed"),
    ] {
        let series = format!("dynamic_mcp_http_auth_denied_total{{reason=\"{reason}\"}}");
        let before = server.metric(&series);
        let reply = post(&server, &token, "{}");
        let found = challenge(&reply);
        assert_eq!(reply.status, 401, "{reason}: {reply:?}");
        assert!(
            found.contains("error=\"invalid_token\", error_description=\""),
            "{found}"
        );
        assert!(
            found.starts_with("Bearer resource_metadata=\"http"),
            "{found}"
        );
        assert_eq!(server.metric(&series), before + 1.0, "{reason}");
    }
    for fields in [
        &[JSON, ("Authorization", "Bearer")][..],
        &[JSON, ("Authorization", "Bearer a b")],
        &[
            JSON,
            ("Authorization", &bearer(&token)),
            ("Authorization", &bearer(&token)),
        ],
    ] {
        let reply = server.connect().exchange("POST", "/mcp", fields, b"{}");
        let found = challenge(&reply);
        assert!(
            reply.status == 400 && found.contains("error=\"invalid_request\""),
            "{reply:?}"
        );
    }
    let both = [JSON, ("Authorization", &bearer(&token))];
    let reply = server
        .connect()
        .exchange("POST", "/mcp?access_token=x", &both, b"{}");
    assert_eq!(reply.status, 400);
    // More than any head may hold never gets that far.
    let huge = bearer(&"a".repeat(1 << 20));
    let mut connection = server.connect();
    connection.request("GET", "/mcp", &[("Authorization", "x")], b"");
    connection.read(false);
    let head = format!("GET /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: {huge}");
    // It may hang up before all of it is there.
    let refused = std::thread::spawn(move || {
        use std::io::Write;
        let mut stream = std::net::TcpStream::connect(server.address).unwrap();
        let _ = stream.write_all(head.as_bytes());
        assert!(is_let_in(&server, &token));
        assert!(!server.stderr().contains(&token), "a token is in the log");
    });
    refused.join().unwrap();
}

/// Signed by the issuer itself, and wrong in one thing.
#[test]
fn tokens_that_say_something_wrong() {
    let mut idp = Idp::start();
    let server = start(&idp, &[]);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let claims = json!({ "iss": idp.issuer, "sub": "alice", "aud": AUDIENCE, "exp": now + 600 });
    let mut check = |header: Value, change: Value, reason: Option<&str>| {
        let mut claims = claims.clone();
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let order = json!({ "do": "sign", "header": header, "claims": claims });
        let token = idp.act(&order)["token"].as_str().unwrap().to_owned();
        let Some(reason) = reason else {
            return assert!(is_let_in(&server, &token), "{order}");
        };
        let series = format!("dynamic_mcp_http_auth_denied_total{{reason=\"{reason}\"}}");
        let before = server.metric(&series);
        let reply = post(&server, &token, "{}");
        assert_eq!(reply.status, 401, "{order}: {reply:?}");
        let found = challenge(&reply);
        assert!(found.contains("error=\"invalid_token\""), "{found}");
        assert_eq!(server.metric(&series), before + 1.0, "{order}");
    };
    let none = || json!({});
    check(none(), none(), None);
    check(none(), json!({ "exp": now - 30 }), None);
    check(none(), json!({ "exp": now - 120 }), Some("expired"));
    check(none(), json!({ "nbf": now + 120 }), Some("not_yet_valid"));
    check(
        none(),
        json!({ "iss": "https://issuer.example/" }),
        Some("issuer"),
    );
    check(none(), json!({ "aud": ["other"] }), Some("audience"));
    check(none(), json!({ "sub": null }), Some("claims"));
    check(none(), json!({ "exp": null }), Some("claims"));
    check(json!({ "alg": "HS256" }), none(), Some("algorithm"));
    check(json!({ "alg": "none" }), none(), Some("malformed"));
    check(json!({ "alg": "ES256" }), none(), Some("algorithm"));
    check(json!({ "alg": "PS256" }), none(), Some("signature"));
    check(json!({ "crit": ["exp"] }), none(), Some("malformed"));
    check(json!({ "typ": "id+jwt" }), none(), Some("malformed"));
    check(json!({ "kid": "../../keys" }), none(), Some("unknown_key"));
}

#[test]
fn scopes_and_what_they_allow() {
    let mut idp = Idp::start();
    let more = [("MCP_AUTH_REQUIRED_SCOPES", "mcp.use,mcp.more")];
    let server = start(&idp, &more);
    let few = idp.token("alice", "mcp.use mcp.admin", AUDIENCE);
    let reply = post(&server, &few, "{}");
    assert_eq!(reply.status, 403, "{reply:?}");
    assert_eq!(reply.json()["error"]["code"], 403);
    let found = challenge(&reply);
    assert!(
        found.contains("scope=\"mcp.use mcp.more\", error=\"insufficient_scope\""),
        "{found}"
    );

    let user = idp.token("alice", "mcp.use mcp.more", AUDIENCE);
    let admin = idp.token("bob", "mcp.use mcp.more mcp.admin", AUDIENCE);
    let (as_user, as_admin) = (bearer(&user), bearer(&admin));
    let seen = listed(&server, &[("Authorization", &as_user)]);
    assert!(seen.iter().any(|name| name == "system.whoami"), "{seen:?}");
    assert!(
        !seen.iter().any(|name| name == "dynamic.tool.create"),
        "{seen:?}"
    );
    let seen = listed(&server, &[("Authorization", &as_admin)]);
    assert!(
        seen.iter().any(|name| name == "dynamic.tool.create"),
        "{seen:?}"
    );

    // All that is needed, in one challenge.
    let reply = call(&server, &user, "dynamic.tool.list", json!({}));
    assert_eq!(reply.status, 403, "{reply:?}");
    assert_eq!(reply.json()["error"]["code"], 403);
    assert_eq!(reply.json()["id"], 1);
    let found = challenge(&reply);
    let all = "scope=\"mcp.use mcp.more mcp.admin\", error=\"insufficient_scope\", \
        error_description=\"dynamic.tool.list needs the scope mcp.admin\"";
    assert!(found.contains(all), "{found}");
    // No admin token is configured, so none helps.
    let guess = json!({ "adminToken": ADMIN_TOKEN });
    assert_eq!(call(&server, &user, "dynamic.tool.list", guess).status, 403);
    let batch = format!("[{}]", call_body("dynamic.tool.list", &json!({})));
    let old = [
        ("Authorization", as_user.as_str()),
        ("MCP-Protocol-Version", "2025-03-26"),
    ];
    let reply = server.connect().post(&old, &batch);
    assert_eq!(
        (reply.status, &reply.json()[0]["error"]["code"]),
        (200, &json!(403))
    );

    assert_eq!(call(&server, &user, "system.health", json!({})).status, 200);
    let reply = call(&server, &admin, "dynamic.tool.list", json!({}));
    assert_eq!(
        reply.json()["result"]["structuredContent"],
        json!({ "tools": [] })
    );
}

#[test]
fn the_admin_token_is_another_way_in() {
    let mut idp = Idp::start();
    let server = start(&idp, &[("MCP_ADMIN_TOKEN", ADMIN_TOKEN)]);
    let user = bearer(&idp.token("alice", "mcp.use", AUDIENCE));
    let list = |token: Option<&str>, arguments: Value| {
        let mut fields = vec![("Authorization", user.as_str())];
        fields.extend(token.map(|token| ("x-mcp-admin-token", token)));
        server
            .connect()
            .post(&fields, &call_body("dynamic.tool.list", &arguments))
    };
    let reply = list(None, json!({}));
    assert_eq!(reply.status, 403);
    let both = "needs the scope mcp.admin, or the admin token in the header x-mcp-admin-token";
    assert!(challenge(&reply).contains(both), "{reply:?}");
    for (token, argument) in [
        (Some(ADMIN_TOKEN), json!({})),
        (None, json!({ "adminToken": ADMIN_TOKEN })),
    ] {
        let reply = list(token, argument);
        assert_eq!(
            reply.json()["result"]["structuredContent"]["tools"],
            json!([])
        );
    }
    let with_token = [
        ("Authorization", user.as_str()),
        ("x-mcp-admin-token", ADMIN_TOKEN),
    ];
    let create = "dynamic.tool.create".to_owned();
    assert!(listed(&server, &with_token).contains(&create));
    assert!(!listed(&server, &with_token[..1]).contains(&create));
    // Who guesses is not even compared any more; others are.
    for guess in 0..10 {
        assert_eq!(list(Some(&guess.to_string()), json!({})).status, 403);
    }
    let result = list(Some(ADMIN_TOKEN), json!({})).json()["result"].clone();
    assert!(
        failure(&result).starts_with("rate_limited: too many wrong admin tokens"),
        "{result}"
    );
    assert!(
        result["structuredContent"]["error"]["retryAfterMs"]
            .as_u64()
            .unwrap()
            > 1000
    );
    let other = bearer(&idp.token("bob", "mcp.use", AUDIENCE));
    let fields = [
        ("Authorization", other.as_str()),
        ("x-mcp-admin-token", ADMIN_TOKEN),
    ];
    let reply = server
        .connect()
        .post(&fields, &call_body("dynamic.tool.list", &json!({})));
    assert_eq!(
        reply.json()["result"]["structuredContent"]["tools"],
        json!([])
    );
    assert!(!server.stderr().contains(ADMIN_TOKEN));
}

#[test]
fn a_wrong_admin_token_is_told_where_the_scope_is_enough() {
    let mut idp = Idp::start();
    let more = [
        ("MCP_ADMIN_TOKEN", ADMIN_TOKEN),
        ("MCP_AUTH_REQUIRED_SCOPES", "mcp.use"),
        ("MCP_AUDIT_ENABLED", "true"),
    ];
    let mut server = start(&idp, &more);
    let admin = bearer(&idp.token("alice", "mcp.use mcp.admin", AUDIENCE));
    let stranger = bearer(&idp.token("bob", "mcp.admin", AUDIENCE));
    let ask = |authorization: &str, header: Option<&str>, arguments: Value| {
        let mut fields = vec![("Authorization", authorization)];
        fields.extend(header.map(|token| ("x-mcp-admin-token", token)));
        let body = call_body("dynamic.tool.list", &arguments);
        server.connect().post(&fields, &body)
    };
    for (header, argument) in [
        (Some("guess-by-header-1"), json!({})),
        (None, json!({ "adminToken": "guess-by-argument-1" })),
        (Some(ADMIN_TOKEN), json!({})),
    ] {
        let reply = ask(&admin, header, argument);
        assert_eq!(
            reply.json()["result"]["structuredContent"]["tools"],
            json!([])
        );
    }
    // Who is not let in learns nothing of it, and is told of as such.
    let reply = ask(&stranger, Some("guess-by-header-2"), json!({}));
    assert_eq!(reply.status, 403, "{reply:?}");
    server.stop();
    let log = server.folder.path().join(".dynamic-mcp/audit.log");
    let log = std::fs::read_to_string(log).unwrap();
    let denied = log.lines().filter(|line| line.contains(r#""denied""#));
    let denied = denied.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let told = |line: Value| {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        text(&line["details"]["reason"]) + " " + line["actor"]["sub"].as_str().unwrap_or("-")
    };
    let told: Vec<_> = denied.map(told).collect();
    let guess = "admin_token_wrong alice";
    assert_eq!(told, [guess, guess, "scope bob"]);
}

#[test]
fn the_client_of_one_line_has_its_token_from_a_file() {
    let mut idp = Idp::start();
    let server = start(&idp, &[]);
    let port = server.address.port().to_string();
    let folder = Folder::new();
    let file = folder.path().join("token");
    let call = |more: &[&str]| {
        let line = [&["call", "system.whoami", "--port", &port], more].concat();
        let output = run(&folder, &[], &line);
        (output.status.code(), stdout(&output) + &stderr(&output))
    };
    let token = idp.token("alice", "mcp.use", AUDIENCE);
    let with_file = ["--token-file", "token"];
    let check = |content: &str, expected: (i32, &str)| {
        std::fs::write(&file, content).unwrap();
        let (code, told) = call(&with_file);
        assert_eq!(code, Some(expected.0), "{told}");
        assert!(told.contains(expected.1), "{told}");
        assert!(!told.contains(&token), "{told}");
    };
    check(&format!("{token}\n"), (0, r#""subject":"alice""#));
    check(&format!("{token}x"), (1, "dynamic-mcp: the token"));
    let rule = "dynamic-mcp: --token-file: the file must hold one token, and nothing else";
    check("two words", (2, rule));
    check("", (2, rule));
    std::fs::remove_file(&file).unwrap();
    let missing = "dynamic-mcp: --token-file: the file does not exist\n";
    assert_eq!(call(&with_file), (Some(2), missing.to_owned()));
    let (code, told) = call(&[]);
    assert_eq!(code, Some(1));
    assert!(
        told.ends_with("; give one with --token-file FILE\n"),
        "{told}"
    );
}

#[test]
fn everybody_can_ask_who_they_are() {
    let mut idp = Idp::start();
    let server = start(&idp, &[]);
    let check = |server: &Server, fields: &[(&str, &str)], expected: Value| {
        let reply = server
            .connect()
            .post(fields, &call_body("system.whoami", &json!({})));
        assert_eq!(
            reply.json()["result"]["structuredContent"],
            expected,
            "{reply:?}"
        );
    };
    let let_in = json!({ "allowed": true, "why": "every caller that is let in may" });
    let alice = bearer(&idp.token("alice", "mcp.use", AUDIENCE));
    let expected = json!({
        "principal": { "issuer": idp.issuer, "subject": "alice" },
        "client": "alice",
        "scopes": ["mcp.use"],
        "authority": {
            "use": let_in,
            "admin": { "allowed": false, "why": "an admin act needs the scope mcp.admin" },
        },
    });
    check(&server, &[("Authorization", &alice)], expected);
    let bob = bearer(&idp.token("bob", "mcp.use mcp.admin", AUDIENCE));
    let expected = json!({
        "principal": { "issuer": idp.issuer, "subject": "bob" },
        "client": "bob",
        "scopes": ["mcp.use", "mcp.admin"],
        "authority": {
            "use": let_in,
            "admin": { "allowed": true, "why": "the token has the admin scope" },
        },
    });
    check(&server, &[("Authorization", &bob)], expected);
    let open = Server::start(&[]);
    let why = "this server has neither authentication nor an admin token, and only this machine \
        reaches it: every caller is admin";
    let expected = json!({
        "principal": { "issuer": "local", "subject": "local" },
        "client": "local",
        "scopes": [],
        "authority": { "use": let_in, "admin": { "allowed": true, "why": why } },
    });
    check(&open, &[], expected);
}

#[test]
fn nobody_is_admin_of_an_open_public_server() {
    let port = free_port();
    let open = [
        ("MCP_HOST", "0.0.0.0"),
        ("MCP_PORT", port.as_str()),
        ("MCP_ALLOW_UNAUTHENTICATED", "true"),
    ];
    let server = Server::start(&open);
    assert!(!listed(&server, &[]).contains(&"dynamic.tool.list".to_owned()));
    let failed = failure(&server.call("dynamic.tool.list", json!({})));
    assert!(
        failed.starts_with("policy: dynamic.tool.list is for admins"),
        "{failed}"
    );
    drop(server);
    let guarded = Server::start(&[&open[..], &[("MCP_ADMIN_TOKEN", ADMIN_TOKEN)]].concat());
    let failed = failure(&guarded.call("dynamic.tool.list", json!({})));
    assert!(
        failed.starts_with("policy: dynamic.tool.list needs the admin token"),
        "{failed}"
    );
    let given = guarded.call("dynamic.tool.list", json!({ "adminToken": ADMIN_TOKEN }));
    assert_eq!(given["structuredContent"]["tools"], json!([]));
    // Clients that know the argument alone must see what they can use it with.
    assert!(listed(&guarded, &[]).contains(&"dynamic.tool.list".to_owned()));
}

#[test]
fn new_keys_are_found_and_old_ones_forgotten() {
    let mut idp = Idp::start();
    let server = start(&idp, &[]);
    let old = idp.token("alice", "mcp.use", AUDIENCE);
    assert!(is_let_in(&server, &old));
    idp.tell("rotate");
    // Nobody has looked yet.
    assert!(is_let_in(&server, &old));
    let new = idp.token("alice", "mcp.use", AUDIENCE);
    assert!(is_let_in(&server, &new), "a new key is looked for at once");
    assert!(
        !is_let_in(&server, &old),
        "a verified token outlived its key"
    );
    // Once in half a minute is often enough.
    idp.tell("rotate");
    let newer = idp.token("alice", "mcp.use", AUDIENCE);
    assert!(!is_let_in(&server, &newer));
    assert!(is_let_in(&server, &new));
}

#[test]
fn an_outage_of_the_issuer_hurts_nobody_who_has_its_keys() {
    let mut idp = Idp::start();
    let server = start(&idp, &[]);
    let [alice, bob] = ["alice", "bob"].map(|client| idp.token(client, "mcp.use", AUDIENCE));
    assert!(is_let_in(&server, &alice));
    idp.tell("down");
    assert!(
        is_let_in(&server, &bob),
        "verified for the first time during the outage"
    );
    let stranger = Idp::start().token("alice", "mcp.use", AUDIENCE);
    assert!(!is_let_in(&server, &stranger));
    await_that("a failed look", || {
        server.metric("dynamic_mcp_jwks_refresh_failures_total") >= 1.0
    });
    await_that("its trace in readiness", || {
        let (status, checks) = server.readiness();
        let detail = checks["keys"]["detail"].as_str().unwrap().to_owned();
        status == 200 && detail.ends_with("the keys' server cannot be reached")
    });
    assert!(is_let_in(&server, &alice) && is_let_in(&server, &bob));
}

#[test]
fn without_any_key_it_says_so_until_there_are_some() {
    let mut idp = Idp::start();
    let token = idp.token("alice", "mcp.use", AUDIENCE);
    idp.tell("down");
    let server = Server::start(&settings(&idp, &[]));
    let reply = post(&server, &token, "{}");
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_eq!(reply.header("Retry-After"), Some("5"));
    assert_eq!(server.connect().post(&[], "{}").status, 401);
    let (status, checks) = server.readiness();
    assert_eq!(
        (status, &checks["keys"]["status"]),
        (503, &json!("failed")),
        "{checks}"
    );
    idp.tell("up");
    await_keys(&server);
    assert!(is_let_in(&server, &token));
}

#[test]
fn a_silent_key_server_holds_nobody_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut idp = Idp::start();
    let token = idp.token("alice", "mcp.use", AUDIENCE);
    idp.jwks = format!("http://{}/jwks", silent.local_addr().unwrap());
    let server = Server::start(&settings(&idp, &[]));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                let status = post(&server, &token, "{}").status;
                assert_eq!(status, 503);
            });
        }
        assert_eq!(server.get("/livez").status, 200);
        assert_eq!(server.connect().post(&[], "{}").status, 401);
    });
    // Two seconds; five times that on a busy machine.
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    await_that("the end of the look", || {
        let detail = server.readiness().1["keys"]["detail"].clone();
        detail.as_str().unwrap().ends_with("took longer than 5 s")
    });
}

/// A key server that says once what the real one says; later requests wait for ever.
fn once(jwks: &str) -> String {
    let rest = jwks.strip_prefix("http://").unwrap();
    let (authority, path) = rest.split_once('/').unwrap();
    let head = format!("GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    let mut real = TcpStream::connect(authority).unwrap();
    real.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    real.read_to_end(&mut answer).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/{path}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut first, _) = listener.accept().unwrap();
        let _ = first.read(&mut [0; 4096]);
        first.write_all(&answer).unwrap();
        drop(first);
        let later: Vec<_> = listener.incoming().collect();
        drop(later);
    });
    url
}

#[test]
fn who_is_known_does_not_wait_beside_those_who_are_not() {
    let mut idp = Idp::start();
    let old = bearer(&idp.token("alice", "mcp.use", AUDIENCE));
    idp.tell("rotate");
    let alice = bearer(&idp.token("alice", "mcp.use", AUDIENCE));
    idp.jwks = once(&idp.jwks);
    let server = start(&idp, &[]);
    let ask = |token: &str| {
        let mut client = server.connect();
        client.send_health(&[("Authorization", token)]);
        client
    };
    assert_eq!(ask(&alice).read(false).status, 200);
    let mut strangers: Vec<_> = (0..4).map(|_| ask(&old)).collect();
    // They hold workers of the many, and none of the few, for two seconds.
    await_that("a stranger to wait", || {
        server.metric("dynamic_mcp_http_workers_busy ") >= 1.0
    });
    for _ in 0..20 {
        assert_eq!(ask(&alice).read(false).status, 200);
    }
    for stranger in &mut strangers {
        // Too late for the one look that is made, on a busy machine, is a key that nobody has.
        assert!(matches!(stranger.read(false).status, 401 | 503));
    }
}

#[test]
fn keys_over_tls_come_only_from_who_is_trusted() {
    let (folder, strangers) = (Folder::new(), Folder::new());
    make_certificates(folder.path());
    make_certificates(strangers.path());
    let path = |folder: &Folder, name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mut idp = Idp::start_secure(
        &folder.path().join("key.pem"),
        &folder.path().join("cert.pem"),
    );
    let token = idp.token("alice", "mcp.use", AUDIENCE);
    let server = start(&idp, &[("MCP_AUTH_CA_FILE", &path(&folder, "ca.pem"))]);
    assert!(is_let_in(&server, &token));
    drop(server);
    let ours = path(&folder, "ca.pem");
    let server = start(&idp, &[("SSL_CERT_FILE", &ours)]);
    assert!(is_let_in(&server, &token));
    drop(server);
    let theirs = path(&strangers, "ca.pem");
    let server = Server::start(&settings(&idp, &[("MCP_AUTH_CA_FILE", &theirs)]));
    await_that("the refusal of its certificate", || {
        let detail = server.readiness().1["keys"]["detail"].clone();
        detail
            .as_str()
            .unwrap()
            .contains("no certificate that is trusted here")
    });
    assert_eq!(post(&server, &token, "{}").status, 503);
    // Without roots nothing is started.
    for name in ["missing.pem", "key.pem"] {
        let roots = path(&folder, name);
        let ended = run(
            &Folder::new(),
            &settings(&idp, &[("MCP_AUTH_CA_FILE", &roots)]),
            &[],
        );
        assert_eq!(ended.status.code(), Some(1), "{}", stderr(&ended));
        assert!(
            stderr(&ended).contains("MCP_AUTH_CA_FILE"),
            "{}",
            stderr(&ended)
        );
    }
}

#[test]
fn keys_in_a_file_need_no_network() {
    let mut idp = Idp::start();
    let folder = Folder::new();
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, idp.act(&json!({ "do": "keys" })).to_string()).unwrap();
    let old = idp.token("alice", "mcp.use", AUDIENCE);
    idp.tell("rotate");
    let new = idp.token("alice", "mcp.use", AUDIENCE);
    let keys = idp.act(&json!({ "do": "keys" })).to_string();
    idp.tell("down");
    idp.jwks = format!("file://{}", file.display());
    let server = start(&idp, &[]);
    assert!(is_let_in(&server, &old) && !is_let_in(&server, &new));
    // As an editor or a copy would, half a file included.
    std::fs::write(&file, &keys[..keys.len() / 2]).unwrap();
    await_that("a failed look", || {
        server.metric("dynamic_mcp_jwks_refresh_failures_total") >= 1.0
    });
    assert!(is_let_in(&server, &old));
    std::fs::write(&file, &keys).unwrap();
    await_that("the new key", || is_let_in(&server, &new));
    assert!(!is_let_in(&server, &old));
}

#[test]
fn kept_connections_are_not_kept_identities() {
    let mut idp = Idp::start();
    let server = start(&idp, &[]);
    let [alice, bob] = ["alice", "bob"].map(|name| bearer(&idp.token(name, "mcp.use", AUDIENCE)));
    let mut connection: Connection = server.connect();
    let body = call_body("system.whoami", &json!({}));
    for (token, subject) in [(&alice, "alice"), (&bob, "bob"), (&alice, "alice")] {
        let reply = connection.post(&[("Authorization", token)], &body);
        let found = reply.json()["result"]["structuredContent"]["principal"]["subject"].clone();
        assert_eq!(found, subject);
    }
    assert_eq!(connection.post(&[], &body).status, 401);
}
