//! MCP over HTTP as strangers speak it: every row of the status table of 2026-07-28, the handshake
//! revisions beside it, batches, ids, and what HTTP itself may go wrong with.

use serde_json::{Value, json};

use crate::support::http::{ACCEPT, Connection, JSON, Reply};
use crate::support::server::Server;

const VERSION: &str = "MCP-Protocol-Version";
const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

/// A request of the stateless era with its headers, `{meta}` in the body being its envelope.
fn modern(connection: &mut Connection, method: &str, fields: &[(&str, &str)], body: &str) -> Reply {
    let mut all = vec![(VERSION, "2026-07-28"), ("Mcp-Method", method)];
    all.retain(|(name, _)| !fields.iter().any(|(given, _)| given == name));
    all.extend(fields.iter().filter(|(_, value)| *value != "-"));
    connection.post(&all, &body.replace("{meta}", META))
}

fn code(reply: &Reply) -> (u16, i64) {
    let code = reply.json()["error"]["code"].as_i64();
    (reply.status, code.unwrap_or(0))
}

#[test]
fn the_table_of_the_stateless_era() {
    let server = Server::start(&[]);
    let mut connection = server.connect();
    let list = r#"{"jsonrpc":"2.0","id":"a","method":"tools/list","params":{{meta}}}"#;
    let call = r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"system.health","arguments":{},{meta}}}"#;
    let old = list.replace("{meta}", &META.replace("2026-07-28", "2025-11-25"));
    let v999 = list.replace("{meta}", &META.replace("2026-07-28", "v999.0.0"));
    let short = list.replace(
        "{meta}",
        r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#,
    );
    let of = |method: &str| list.replace("tools/list", method);
    let mut check = |method: &str, fields: &[(&str, &str)], body: &str, expected: (u16, i64)| {
        let reply = modern(&mut connection, method, fields, body);
        assert_eq!(
            code(&reply),
            expected,
            "{method} {fields:?} {body}: {reply:?}"
        );
        let json = reply.json();
        let readable = !matches!(expected.1, -32700 | -32600);
        let id = readable.then(|| json!("a"));
        assert_eq!(json.get("id"), id.as_ref(), "{json}");
        json
    };
    // 1 and 2: no JSON, no message
    check("tools/list", &[], "{", (400, -32700));
    check("tools/list", &[], "", (400, -32700));
    check("tools/list", &[], "5", (400, -32600));
    check("tools/list", &[], &format!("[{list}]"), (400, -32600));
    check(
        "tools/list",
        &[(VERSION, "-")],
        &format!("[{list}]"),
        (400, -32600),
    );
    // 3: the header and the body name different versions
    check(
        "tools/list",
        &[(VERSION, "2025-11-25")],
        list,
        (400, -32020),
    );
    check("tools/list", &[], &v999, (400, -32020));
    // 4: no envelope, or a short or broken one
    check(
        "tools/list",
        &[],
        r#"{"jsonrpc":"2.0","id":"a","method":"tools/list"}"#,
        (400, -32602),
    );
    check(
        "tools/list",
        &[(VERSION, "2027-01-01")],
        r#"{"jsonrpc":"2.0","id":"a","method":"tools/list"}"#,
        (400, -32602),
    );
    check("tools/list", &[], &short, (400, -32602));
    check(
        "tools/list",
        &[],
        &list.replace("{meta}", r#""_meta":7"#),
        (400, -32602),
    );
    check(
        "tools/list",
        &[],
        &list.replace(
            "{meta}",
            r#""_meta":{"io.modelcontextprotocol/protocolVersion":5}"#,
        ),
        (400, -32602),
    );
    // 5: a version that is not served
    let told = check("tools/list", &[(VERSION, "v999.0.0")], &v999, (400, -32022));
    assert_eq!(
        told["error"]["data"],
        json!({ "supported": ["2026-07-28"], "requested": "v999.0.0" })
    );
    check(
        "tools/list",
        &[(VERSION, "2025-11-25")],
        &old,
        (400, -32022),
    );
    // 6: headers that are missing or differ
    check("tools/list", &[(VERSION, "-")], list, (400, -32020));
    check("tools/list", &[("Mcp-Method", "-")], list, (400, -32020));
    check(
        "tools/list",
        &[("Mcp-Method", "Tools/List")],
        list,
        (400, -32020),
    );
    check("tools/call", &[], call, (400, -32020));
    check(
        "tools/call",
        &[("Mcp-Name", "system.healtH")],
        call,
        (400, -32020),
    );
    check(
        "tools/call",
        &[("Mcp-Name", "=?base64?!!!?=")],
        call,
        (400, -32020),
    );
    check(
        "tools/call",
        &[("Mcp-Name", "system.health"), ("mcp-name", "system.health")],
        call,
        (400, -32020),
    );
    // 7: a tool that needs what the client did not declare
    server.create(
        json!({"name": "needs.model", "description": "d", "code": "return 1",
        "requiresClientCapabilities": ["sampling"]}),
    );
    let told = check(
        "tools/call",
        &[("Mcp-Name", "needs.model")],
        &call.replace("system.health", "needs.model"),
        (400, -32021),
    );
    assert_eq!(
        told["error"]["data"],
        json!({ "requiredCapabilities": { "sampling": {} } })
    );
    // 8: methods of the handshake era and of no era
    for method in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "unknown/method",
    ] {
        check(method, &[], &of(method), (404, -32601));
    }
    // 10: what a method says itself
    let unknown = call.replace("system.health", "no.such.tool");
    check(
        "tools/call",
        &[("Mcp-Name", "no.such.tool")],
        &unknown,
        (200, -32602),
    );
    check(
        "tools/list",
        &[],
        &list.replace("{meta}", r#""cursor":"zz",{meta}"#),
        (200, -32602),
    );
    check(
        "tools/list",
        &[],
        &list.replace("{meta}", r#""cursor":5,{meta}"#),
        (200, -32602),
    );
    check(
        "tools/call",
        &[("Mcp-Name", "system.health")],
        &call.replace("{},", "[],"),
        (200, -32602),
    );
    check(
        "tools/call",
        &[("Mcp-Name", "x")],
        &list.replace("tools/list", "tools/call"),
        (200, -32602),
    );

    // And what is right, in the spellings that HTTP allows.
    let mut answered = |method: &str, fields: &[(&str, &str)], body: &str| {
        let reply = modern(&mut connection, method, fields, body);
        assert_eq!(reply.status, 200, "{method} {fields:?}: {reply:?}");
        let json = reply.json();
        assert_eq!(json["result"]["resultType"], "complete", "{json}");
        let info = &json["result"]["_meta"]["io.modelcontextprotocol/serverInfo"];
        assert_eq!(info["name"], "dynamic-mcp", "{json}");
        assert_eq!(reply.header("Mcp-Session-Id"), None);
        json["result"].clone()
    };
    for name in [
        "system.health",
        "  system.health  ",
        "=?base64?c3lzdGVtLmhlYWx0aA==?=",
    ] {
        let result = answered("tools/call", &[("mcp-NAME", name)], call);
        assert_eq!(result["structuredContent"]["status"], "ok");
        assert_eq!(result.get("ttlMs"), None);
    }
    let result = answered(
        "tools/list",
        &[("Mcp-Session-Id", "no-such"), ("Last-Event-ID", "7")],
        list,
    );
    assert_eq!(
        (result["ttlMs"].is_u64(), &result["cacheScope"]),
        (true, &json!("private"))
    );
    let discovered = answered("server/discover", &[], &of("server/discover"));
    assert_eq!(discovered["supportedVersions"], json!(["2026-07-28"]));
    assert!(discovered["capabilities"]["tools"].is_object() && discovered["ttlMs"].is_u64());
    assert!(
        discovered["instructions"]
            .as_str()
            .unwrap()
            .contains("dynamic.tool.create")
    );
    // Streams and sessions belong to the handshake era.
    for method in ["GET", "DELETE"] {
        let fields = [(VERSION, "2026-07-28"), ("Accept", "text/event-stream")];
        let reply = connection.exchange(method, "/mcp", &fields, b"");
        assert_eq!(reply.status, 405, "{method}");
        assert!(reply.header("Allow").unwrap().contains("POST"));
    }
}

#[test]
fn handshake_revisions() {
    let server = Server::start(&[]);
    let mut connection = server.connect();
    for (asked, agreed) in [
        ("2025-11-25", "2025-11-25"),
        ("2025-06-18", "2025-06-18"),
        ("2025-03-26", "2025-03-26"),
        ("2024-11-05", "2024-11-05"),
        ("2026-07-28", "2025-11-25"),
        ("1.0", "2025-11-25"),
    ] {
        let params = json!({ "protocolVersion": asked, "capabilities": {}, "clientInfo": {} });
        let result = connection.rpc("initialize", &params)["result"].clone();
        assert_eq!(result["protocolVersion"], agreed, "{asked}");
        assert!(result["capabilities"]["tools"].is_object());
        let info = &result["serverInfo"];
        assert!(
            info["name"].is_string() && info["version"].is_string(),
            "{info}"
        );
    }
    // L2: the header of an `initialize` is not looked at.
    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
    let reply = connection.post(&[(VERSION, "1999-01-01")], hello);
    assert_eq!((reply.status, &reply.json()["id"]), (200, &json!(0)));
    // L3: later it must be one that is served, whatever is posted.
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    for body in [ping, initialized, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#] {
        let reply = connection.post(&[(VERSION, "1999-01-01")], body);
        assert_eq!(reply.status, 400, "{body}: {reply:?}");
    }
    for version in ["2025-11-25", "2025-06-18", "2025-03-26"] {
        let reply = connection.post(&[(VERSION, version)], ping);
        assert_eq!(
            (reply.status, &reply.json()["result"]),
            (200, &json!({})),
            "{version}"
        );
    }
    // L4, L6: notifications and answers get 202 and no body.
    for (fields, body) in [
        (&[][..], initialized),
        (&[(VERSION, "2025-11-25")], initialized),
        (
            &[(VERSION, "2026-07-28")],
            r#"{"jsonrpc":"2.0","method":"notifications/whatever","params":{"_meta":{}}}"#,
        ),
        (
            &[],
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
        ),
        (&[], r#"{"jsonrpc":"2.0","id":5,"result":{}}"#),
        (
            &[],
            r#"{"jsonrpc":"2.0","id":"x","error":{"code":1,"message":"m"}}"#,
        ),
    ] {
        let reply = connection.post(fields, body);
        assert_eq!((reply.status, reply.body.len()), (202, 0), "{body}");
    }
    // L14: errors of a method are answers.
    for (method, params, expected) in [
        ("no/such", json!({}), -32601),
        ("server/discover", json!({}), -32601),
        ("tools/call", json!({}), -32602),
        ("tools/call", json!({ "name": "no.such.tool" }), -32602),
        (
            "tools/call",
            json!({ "name": "system.health", "arguments": "x" }),
            -32602,
        ),
        ("tools/list", json!({ "cursor": "!" }), -32602),
        ("initialize", json!({}), -32602),
    ] {
        let answer = connection.rpc(method, &params);
        assert_eq!(
            (&answer["error"]["code"], &answer["id"]),
            (&json!(expected), &json!(1)),
            "{answer}"
        );
    }
    // L15, and what may be left out.
    assert_eq!(connection.rpc("ping", &json!({}))["result"], json!({}));
    let bare = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"system.health","_meta":{"progressToken":1,"x/y":2},"extra":1}}"#;
    assert_eq!(
        connection.post(&[], bare).json()["result"]["structuredContent"]["status"],
        "ok"
    );
    let listed = connection
        .post(&[], r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#)
        .json();
    let tools = listed["result"]["tools"].as_array().unwrap();
    assert!(!listed.to_string().contains("null,") && listed["result"].get("nextCursor").is_none());
    for tool in tools {
        assert_eq!(tool["inputSchema"]["type"], "object", "{tool}");
        assert!(tool["description"].is_string(), "{tool}");
    }
    assert_eq!(listed["result"].get("ttlMs"), None);
}

#[test]
fn ids_of_all_kinds() {
    let server = Server::start(&[]);
    let mut connection = server.connect();
    let body = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
    for id in [
        "0",
        "1",
        "-7",
        "9007199254740993",
        "123456789012345678901234567890",
        r#""""#,
        r#""a\u0062\n\"""#,
    ] {
        let reply = connection.post(&[], &body(id));
        let expected = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
        assert_eq!((reply.status, reply.text()), (200, expected));
    }
    for id in ["null", "1.5", "1e3", "{}", "[]", "true"] {
        let reply = connection.post(&[], &body(id));
        assert_eq!(code(&reply), (400, -32600), "{id}");
        assert_eq!(reply.json().get("id"), None, "{id}");
    }
    for bad in [
        r#"{"id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":5}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":null}"#,
    ] {
        let reply = connection.post(&[], bad);
        assert_eq!(code(&reply), (400, -32600), "{bad}: {reply:?}");
        assert_eq!(reply.json()["id"], 1, "{bad}");
    }
    for bad in ["", "x", "{\"jsonrpc\":\"2.0\"", "{}{}", "\u{feff}{}"] {
        assert_eq!(code(&connection.post(&[], bad)), (400, -32700), "{bad:?}");
    }
    let length = [("Content-Length", "3"), JSON, ACCEPT];
    let reply = connection.exchange("POST", "/mcp", &length, b"{\xff}");
    assert_eq!(code(&reply), (400, -32700));
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"run_js_ephemeral","arguments":{{"code":"return 1","args":{{"a":{}{}}}}}}}}}"#,
        "[".repeat(200_000),
        "]".repeat(200_000)
    );
    let reply = connection.post(&[], &deep);
    assert!(
        reply.status == 200 || reply.status == 400,
        "{}",
        reply.status
    );
    assert_eq!(connection.rpc("ping", &json!({}))["result"], json!({}));
}

#[test]
fn ids_of_all_kinds_without_a_session() {
    let server = Server::start(&[]);
    let mut connection = server.connect();
    let body = |id: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list","params":{{{META}}}}}"#)
    };
    for id in [
        "0",
        "-7",
        "123456789012345678901234567890",
        r#""""#,
        r#""\u0061""#,
    ] {
        let reply = modern(&mut connection, "tools/list", &[], &body(id));
        let start = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"#);
        assert!(
            reply.status == 200 && reply.text().starts_with(&start),
            "{reply:?}"
        );
    }
    for id in ["null", "1.5", "{}", "[]", "true"] {
        let reply = modern(&mut connection, "tools/list", &[], &body(id));
        assert_eq!(code(&reply), (400, -32600), "{id}");
    }
}

#[test]
fn keys_that_occur_twice_are_refused_where_they_decide() {
    let server = Server::start(&[]);
    let mut connection = server.connect();
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"system.health","arguments":{},{meta}}}"#;
    let health = [("Mcp-Name", "system.health")];
    // Of the message itself.
    for (once, twice) in [
        (r#""id":1"#, r#""id":1,"id":2"#),
        (r#""jsonrpc":"2.0""#, r#""jsonrpc":"2.0","jsonrpc":"2.0""#),
        (
            r#""method":"tools/call""#,
            r#""method":"ping","method":"tools/call""#,
        ),
        (r#""params":"#, r#""params":{},"params":"#),
        (r#""params":"#, r#""p\u0061rams":{},"params":"#),
    ] {
        let body = call.replace(once, twice);
        let reply = modern(&mut connection, "tools/call", &health, &body);
        assert_eq!(code(&reply), (400, -32600), "{body}");
        let body = body.replace(",{meta}", "");
        assert_eq!(code(&connection.post(&[], &body)), (400, -32600), "{body}");
    }
    // Of what says which tool is called, and with what.
    for (once, twice) in [
        (
            r#""name":"system.health""#,
            r#""name":"run_js_ephemeral","name":"system.health""#,
        ),
        (
            r#""name":"system.health""#,
            r#""name":"system.health","n\u0061me":"run_js_ephemeral""#,
        ),
        (r#""arguments":{}"#, r#""arguments":{},"arguments":{"a":1}"#),
    ] {
        let body = call.replace(once, twice);
        let reply = modern(&mut connection, "tools/call", &health, &body);
        assert_eq!(code(&reply), (200, -32602), "{body}: {reply:?}");
        let body = body.replace(",{meta}", "");
        assert_eq!(code(&connection.post(&[], &body)), (200, -32602), "{body}");
    }
    let twice = call.replace("{meta}", "{meta},{meta}");
    let reply = modern(&mut connection, "tools/call", &health, &twice);
    assert_eq!(code(&reply), (400, -32602));
    // What a tool is given is read as its code reads it: the last one counts.
    let tool = json!({ "name": "last", "description": "d", "code": "return args.a",
        "inputSchema": { "type": "object", "properties": { "a": { "type": "integer" } } } });
    server.create(tool);
    let arguments = |text: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"last","arguments":{text}}}}}"#
        )
    };
    let result = connection
        .post(&[], &arguments(r#"{"a":"x","a":7}"#))
        .json();
    assert_eq!(
        result["result"]["structuredContent"]["result"], 7,
        "{result}"
    );
    let result = connection
        .post(&[], &arguments(r#"{"a":7,"a":"x"}"#))
        .json();
    assert_eq!(result["result"]["isError"], true, "{result}");
}

#[test]
fn batches_belong_to_one_revision() {
    let server = Server::start(&[]);
    let mut connection = server.connect();
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/x"},{"jsonrpc":"2.0","id":"b","method":"no/such"},7]"#;
    for fields in [&[][..], &[(VERSION, "2025-03-26")]] {
        let reply = connection.post(fields, batch);
        assert_eq!(reply.status, 200, "{reply:?}");
        let answers = reply.json();
        let answers = answers.as_array().unwrap();
        let ids: Vec<_> = answers
            .iter()
            .map(|answer| answer.get("id").cloned())
            .collect();
        assert_eq!(ids, [Some(json!(1)), Some(json!("b")), None]);
        assert_eq!(answers[1]["error"]["code"], -32601);
        assert_eq!(answers[2]["error"]["code"], -32600);
    }
    for version in ["2025-06-18", "2025-11-25", "2026-07-28"] {
        assert_eq!(
            code(&connection.post(&[(VERSION, version)], batch)),
            (400, -32600),
            "{version}"
        );
    }
    let quiet =
        r#"[{"jsonrpc":"2.0","method":"notifications/x"},{"jsonrpc":"2.0","id":1,"result":{}}]"#;
    let reply = connection.post(&[], quiet);
    assert_eq!((reply.status, reply.body.len()), (202, 0));
    let hello = r#"[{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-03-26","capabilities":{},"clientInfo":{}}}]"#;
    assert_eq!(code(&connection.post(&[], hello)), (400, -32600));
    assert_eq!(code(&connection.post(&[], "[]")), (400, -32600));
    let many = format!(
        "[{}]",
        vec![r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#; 10_000].join(",")
    );
    assert_eq!(code(&connection.post(&[], &many)), (400, -32600));
}

#[test]
fn what_http_itself_may_go_wrong_with() {
    let server = Server::start(&[]);
    let mut connection = server.connect();
    let port = server.address.port();
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let status =
        |connection: &mut Connection, fields: &[(&str, &str)]| connection.post(fields, ping).status;
    // Origin: of this machine or nobody.
    for origin in [
        format!("http://localhost:{port}"),
        "http://127.0.0.1:3000".to_owned(),
        "https://[::1]".to_owned(),
    ] {
        let reply = connection.post(&[("Origin", &origin)], ping);
        assert_eq!(reply.status, 200, "{origin}");
        assert_eq!(reply.header("Access-Control-Allow-Origin"), Some(&*origin));
    }
    for origin in [
        "http://evil.example",
        "null",
        "http://localhost.evil.example",
        "file://",
        "",
    ] {
        for method in ["POST", "GET", "DELETE", "OPTIONS"] {
            let reply =
                connection.exchange(method, "/mcp", &[("Origin", origin), JSON], ping.as_bytes());
            assert_eq!(code(&reply), (403, 403), "{method} {origin}");
            assert_eq!(reply.header("Access-Control-Allow-Origin"), None);
        }
    }
    // Host: of this machine, on the endpoint; the probes do not look.
    for host in [
        format!("localhost:{port}"),
        "127.0.0.1".to_owned(),
        "[::1]:1".to_owned(),
        "LocalHost".to_owned(),
    ] {
        assert_eq!(status(&mut connection, &[("Host", &host)]), 200, "{host}");
    }
    for host in [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:80",
    ] {
        assert_eq!(status(&mut connection, &[("Host", host)]), 403, "{host}");
        for path in ["/livez", "/readyz", "/metrics"] {
            assert_eq!(
                connection
                    .exchange("GET", path, &[("Host", host)], b"")
                    .status,
                200,
                "{path}"
            );
        }
    }
    // Paths.
    for path in [
        "/",
        "/mcp/",
        "/MCP",
        "/mcp/x",
        "/livez/x",
        "/register",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
        "/%6dcp",
    ] {
        assert_eq!(
            code(&connection.exchange("GET", path, &[], b"")),
            (404, 404),
            "{path}"
        );
        assert_eq!(
            connection
                .exchange("POST", path, &[JSON], ping.as_bytes())
                .status,
            404,
            "{path}"
        );
    }
    assert_eq!(
        connection
            .exchange("POST", "/mcp?x=1", &[JSON], ping.as_bytes())
            .status,
        200
    );
    // Methods.
    for method in ["PUT", "PATCH", "HEAD", "TRACE", "BREW"] {
        let reply = connection.exchange(method, "/mcp", &[], b"");
        assert_eq!(
            (reply.status, reply.header("Allow").is_some()),
            (405, true),
            "{method}"
        );
    }
    for method in ["POST", "PUT", "DELETE"] {
        let reply = connection.exchange(method, "/metrics", &[], b"");
        assert_eq!(
            (reply.status, reply.header("Allow")),
            (405, Some("GET, HEAD")),
            "{method}"
        );
    }
    let preflight = [
        ("Origin", "http://localhost:1"),
        ("Access-Control-Request-Method", "POST"),
    ];
    let reply = connection.exchange("OPTIONS", "/mcp", &preflight, b"");
    assert_eq!(
        (reply.status, reply.header("Access-Control-Allow-Origin")),
        (204, Some("http://localhost:1"))
    );
    assert!(
        reply
            .header("Access-Control-Allow-Headers")
            .unwrap()
            .contains("mcp-protocol-version")
    );
    let head = connection.exchange("HEAD", "/livez", &[], b"");
    assert_eq!(
        (head.status, head.header("Content-Length")),
        (200, Some("15"))
    );
    // Media types.
    let post = |connection: &mut Connection, fields: &[(&str, &str)]| {
        connection
            .exchange("POST", "/mcp", fields, ping.as_bytes())
            .status
    };
    for (content_type, expected) in [
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("text/plain", 415),
        ("application/jsonx", 415),
        ("", 415),
    ] {
        assert_eq!(
            post(&mut connection, &[("Content-Type", content_type)]),
            expected,
            "{content_type}"
        );
    }
    assert_eq!(post(&mut connection, &[]), 415);
    for (accept, expected) in [
        ("application/json, text/event-stream", 200),
        ("text/html, */*;q=0.1", 200),
        ("text/event-stream", 200),
        ("text/html", 406),
        ("image/*", 406),
    ] {
        assert_eq!(
            post(&mut connection, &[JSON, ("Accept", accept)]),
            expected,
            "{accept}"
        );
    }
    // Several fields of one name are one list (RFC 9110, section 5.3).
    assert_eq!(
        post(
            &mut connection,
            &[
                JSON,
                ("Accept", "text/html"),
                ("Accept", "application/json")
            ]
        ),
        200
    );
    // Request ids: the caller's where it can be repeated, else a new one.
    let longest = "x".repeat(128);
    for id in ["a", "7f-~!", &longest] {
        let reply = connection.post(&[("X-Request-Id", id)], ping);
        assert_eq!(reply.header("x-request-id"), Some(id));
    }
    let longer = "x".repeat(129);
    let mut made = Vec::new();
    for id in ["", "a b", &longer] {
        let reply = connection.post(&[("X-Request-Id", id)], ping);
        made.push(reply.header("x-request-id").unwrap().to_owned());
        assert_ne!(made.last().unwrap(), id);
    }
    made.sort();
    made.dedup();
    assert_eq!(made.len(), 3);
    // What the gate refuses looks the same (the client checks the fields of every answer).
    for (bytes, expected) in [
        ("GET /livez HTTP/1.1\r\n\r\n", 400),
        ("GET /livez HTTP/1.1\nHost: x\n\n", 400),
        ("GET /livez HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            400,
        ),
        (
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
            501,
        ),
        (
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n",
            413,
        ),
    ] {
        let mut connection = server.connect();
        connection.send(bytes.as_bytes());
        assert_eq!(
            code(&connection.read(false)),
            (expected, i64::from(expected)),
            "{bytes}"
        );
    }
    // Requests in one packet are answered in order.
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        ping.len()
    );
    connection.send(
        format!("{request}{ping}GET /livez HTTP/1.1\r\nHost: x\r\n\r\n{request}{ping}").as_bytes(),
    );
    let bodies = [(); 3].map(|()| connection.read(false).json());
    assert_eq!(
        (&bodies[0]["result"], &bodies[1]["status"], &bodies[2]["id"]),
        (&json!({}), &json!("ok"), &json!(1))
    );
    let expecting = format!(
        "{}Expect: 100-continue\r\n\r\n",
        request.trim_end_matches("\r\n").to_owned() + "\r\n"
    );
    connection.send(expecting.as_bytes());
    assert_eq!(connection.read(false).status, 100);
    connection.send(ping.as_bytes());
    assert_eq!(connection.read(false).status, 200);
}

#[test]
fn hosts_and_origins_that_the_operator_names() {
    let server = Server::start(&[
        ("MCP_HTTP_ALLOWED_ORIGINS", "https://app.example"),
        ("MCP_HTTP_ALLOWED_HOSTS", "mcp.example"),
        ("MCP_PATH", "/tools"),
    ]);
    let ping = br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let mut connection = server.connect();
    let mut status = |fields: &[(&str, &str)]| {
        let fields: Vec<_> = [JSON].iter().chain(fields).copied().collect();
        connection.exchange("POST", "/tools", &fields, ping).status
    };
    assert_eq!(
        status(&[
            ("Host", "mcp.example:443"),
            ("Origin", "https://app.example")
        ]),
        200
    );
    assert_eq!(status(&[("Origin", "http://localhost:1")]), 403);
    assert_eq!(status(&[("Host", "other.example")]), 403);
    assert_eq!(status(&[]), 200);
    assert_eq!(server.get("/mcp").status, 404);
}

#[test]
fn long_lists_come_in_pages() {
    let folder = crate::support::server::Folder::new();
    std::fs::create_dir(folder.path().join(".dynamic-mcp")).unwrap();
    // As the original wrote it.
    let tools: Vec<Value> = (0..1500)
        .map(|n| {
            json!({ "name": format!("tool.{n:04}"), "description": "d", "image": "node:lts-slim",
                "timeoutMs": 30000, "dependencies": [], "code": "return 1", "enabled": true,
                "createdAt": "2025-01-01T00:00:00.000Z", "updatedAt": "2025-01-01T00:00:00.000Z", "revision": 1 })
        })
        .collect();
    let document = json!({ "version": 1, "tools": tools });
    std::fs::write(folder.store(), document.to_string()).unwrap();
    let server = Server::start_in(&folder, &[("MCP_DYNAMIC_MAX_TOOLS", "2000")]);
    let mut names: Vec<String> = Vec::new();
    let mut cursor = Some(String::new());
    let mut pages = 0;
    while let Some(at) = cursor {
        let list = server.rpc("tools/list", &json!({ "cursor": at }))["result"].clone();
        let page = list["tools"].as_array().unwrap().clone();
        names.extend(
            page.iter()
                .map(|tool| tool["name"].as_str().unwrap().to_owned()),
        );
        cursor = list
            .get("nextCursor")
            .map(|next| next.as_str().unwrap().to_owned());
        pages += 1;
    }
    assert!(names.is_sorted() && pages == 2, "{pages}");
    assert_eq!(
        names
            .iter()
            .filter(|name| name.starts_with("tool."))
            .count(),
        1500
    );
    let result = server.call("tool.1499", json!({}));
    assert_eq!(result["structuredContent"]["result"], 1, "{result}");
}
