//! The main job over HTTP: tools are made, listed, called, changed and removed, and code runs where
//! it can reach nothing.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::engine::{await_that, matches};
use crate::support::http::{call_body, failure};
use crate::support::server::Server;

fn adder() -> Value {
    json!({
        "name": "math.add", "title": "Add", "description": "Adds two numbers.",
        "inputSchema": {
            "type": "object",
            "properties": { "a": { "type": "number" }, "b": { "type": "number" } },
            "required": ["a", "b"], "additionalProperties": false,
        },
        "code": "return args.a + args.b;",
    })
}

fn listed(server: &Server) -> Vec<Value> {
    let list = server.rpc("tools/list", &json!({}));
    list["result"]["tools"].as_array().unwrap().clone()
}

fn listed_tool(server: &Server, name: &str) -> Option<Value> {
    listed(server).into_iter().find(|tool| tool["name"] == name)
}

/// The same failure, written as a pattern.
fn check_failure(result: &Value, expected: &str) {
    let found = failure(result);
    assert!(
        matches(expected, &found),
        "want {expected}\ngot  {found}\nin {result}"
    );
}

/// A failure of a tool that promises something else as structured content: clients compare.
fn check_text_alone(result: &Value, expected: &str) {
    let text = result["content"][0]["text"].as_str().unwrap();
    assert!(matches(expected, text), "{result}");
    let structured = result.get("structuredContent");
    assert_eq!((&result["isError"], structured), (&json!(true), None));
}

#[test]
fn a_tool_from_its_creation_to_its_deletion() {
    let server = Server::start(&[]);
    let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": { "name": "t", "version": "1" } });
    let hello = server.rpc("initialize", &hello);
    let instructions = hello["result"]["instructions"].as_str().unwrap();
    assert!(
        instructions.contains("dynamic.tool.create"),
        "{instructions}"
    );

    let made = server.create(adder());
    assert_eq!(
        (&made["revision"], &made["enabled"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(made["inputSchema"], adder()["inputSchema"]);
    assert_eq!(made.get("code"), None);
    let again = server.call("dynamic.tool.create", json!({ "tool": adder() }));
    check_failure(&again, "invalid_arguments: …\"math.add\"…exists…");

    let shown = listed_tool(&server, "math.add").unwrap();
    let expected = json!({ "name": "math.add", "title": "Add", "description": "Adds two numbers.",
        "inputSchema": adder()["inputSchema"] });
    assert_eq!(shown, expected);

    // Called by either spelling, and through dynamic.tool.call.
    let arguments = json!({ "a": 2, "b": 40.5 });
    for name in ["math.add", "math_add"] {
        let result = server.call(name, arguments.clone());
        assert_eq!(result["structuredContent"]["ok"], true, "{name}: {result}");
        assert_eq!(
            result["structuredContent"]["result"], 42.5,
            "{name}: {result}"
        );
        let text: Value =
            serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(text, result["structuredContent"], "{name}");
        let through = json!({ "name": name, "arguments": arguments });
        let through = server.call("dynamic.tool.call", through);
        assert_eq!(through["structuredContent"]["result"], 42.5, "{through}");
    }

    let wrong = server.call("math.add", json!({ "a": 2, "b": "x", "c": 1 }));
    let text = failure(&wrong);
    assert!(
        text.starts_with("invalid_arguments: ") && text.contains("b"),
        "{text}"
    );

    // A patch changes what it names; null takes optional fields away.
    let update = |arguments: Value| server.call("dynamic.tool.update", arguments);
    let patched = update(json!({ "name": "math.add", "expectedRevision": 1,
        "patch": { "title": null, "description": "Sums.", "inputSchema": null, "timeoutMs": 5000 } }));
    let patched = &patched["structuredContent"]["tool"];
    assert_eq!(
        (
            &patched["revision"],
            patched.get("title"),
            &patched["timeoutMs"]
        ),
        (&json!(2), None, &json!(5000))
    );
    let conflict = update(json!({ "name": "math_add", "expectedRevision": 1,
        "patch": { "description": "Lost." } }));
    check_failure(
        &conflict,
        "…Revision conflict for dynamic tool \"math.add\": expected 1, current 2.",
    );
    // Without inputSchema it takes the original's shape.
    let wrapped = server.call("math.add", json!({ "args": { "a": 1, "b": 2 } }));
    assert_eq!(wrapped["structuredContent"]["result"], 3, "{wrapped}");
    let bare = server.call("math.add", json!({ "a": 1 }));
    check_failure(&bare, "invalid_arguments: …{\"args\":{…}}");
    let shown = listed_tool(&server, "math.add").unwrap();
    assert_eq!(
        (shown.get("title"), &shown["description"]),
        (None, &json!("Sums."))
    );

    let reset = json!({ "timeoutMs": null, "dependencies": null, "enabled": null });
    let reset = update(json!({ "name": "math.add", "patch": reset }));
    let reset = &reset["structuredContent"]["tool"];
    assert_eq!(
        (&reset["revision"], &reset["timeoutMs"]),
        (&json!(3), &json!(30_000))
    );
    assert_eq!(
        (&reset["dependencies"], &reset["enabled"]),
        (&json!([]), &json!(true))
    );

    // Disabled: neither listed nor callable, but there.
    let enable = |enabled: bool| {
        let arguments = json!({ "name": "math.add", "enabled": enabled });
        let tool = server.call("dynamic.tool.enable", arguments);
        tool["structuredContent"]["tool"]["enabled"].clone()
    };
    assert_eq!(enable(false), false);
    assert_eq!(listed_tool(&server, "math.add"), None);
    let gone = server.rpc("tools/call", &json!({ "name": "math.add" }));
    assert_eq!(gone["error"]["code"], -32602, "{gone}");
    let through = server.call("dynamic.tool.call", json!({ "name": "math.add" }));
    check_failure(&through, "invalid_arguments: …no enabled dynamic tool…");
    let get = |name: &str| server.call("dynamic.tool.get", json!({ "name": name }));
    let got = get("math_add");
    let got = &got["structuredContent"]["tool"];
    assert_eq!(
        (&got["enabled"], &got["code"]),
        (&json!(false), &adder()["code"])
    );
    assert_eq!(enable(true), true);
    assert!(listed_tool(&server, "math.add").is_some());

    for (include, expected) in [(true, Some(&adder()["code"])), (false, None)] {
        let list = server.call("dynamic.tool.list", json!({ "includeCode": include }));
        let tools = list["structuredContent"]["tools"].as_array().unwrap();
        assert_eq!((tools.len(), tools[0].get("code")), (1, expected));
    }

    let delete = |arguments: Value| server.call("dynamic.tool.delete", arguments);
    let stale = delete(json!({ "name": "math.add", "expectedRevision": 2 }));
    check_failure(&stale, "…expected 2, current 5.");
    let deleted = delete(json!({ "name": "math.add", "expectedRevision": 5 }));
    let text = "Deleted dynamic tool \"math.add\" (revision 5).";
    assert_eq!(deleted["content"][0]["text"], text, "{deleted}");
    check_failure(&get("math.add"), "invalid_arguments: …\"math.add\"…");
    assert_eq!(listed_tool(&server, "math.add"), None);
    server.create(adder());
}

#[test]
fn arguments_that_do_not_fit_cost_no_container() {
    // Without a pool no container comes or goes by itself.
    let server = Server::start(&[("MCP_SANDBOX_WARM_POOL", "0")]);
    server.create(adder());
    let containers = server.containers();
    let started = server.metric("dynamic_mcp_execution_duration_seconds_count{phase=\"run\"}");
    for arguments in [json!({}), json!({ "a": 1 }), json!({ "a": 1, "b": null })] {
        let result = server.call("math.add", arguments);
        assert!(failure(&result).starts_with("invalid_arguments: "));
        assert_eq!(result["structuredContent"]["durationMs"], 0);
    }
    assert_eq!(server.containers(), containers);
    let series = "dynamic_mcp_execution_duration_seconds_count{phase=\"run\"}";
    assert_eq!(server.metric(series), started);

    // Nor does it need a daemon at all.
    let folder = server.folder.clone();
    drop(server);
    let nowhere = [("DOCKER_HOST", "unix:///nowhere/docker.sock")];
    let server = Server::start_in(&folder, &nowhere);
    let result = server.call("math.add", json!({ "a": 1 }));
    assert!(
        failure(&result).starts_with("invalid_arguments: "),
        "{result}"
    );
    let result = server.call("math.add", json!({ "a": 1, "b": 2 }));
    assert!(
        failure(&result).starts_with("engine_unavailable: "),
        "{result}"
    );
    let pool = "no sandbox could be parked for node:lts-slim: ";
    await_that("word of the pool", || server.stderr().contains(pool));
    // By then it has tried four times.
    std::thread::sleep(Duration::from_millis(4200));
    assert_eq!(server.stderr().matches(pool).count(), 1);
    // Whatever needs no compiler still works.
    let patch = json!({ "name": "math.add", "patch": { "description": "Still." } });
    let result = server.call("dynamic.tool.update", patch);
    assert_eq!(
        result["structuredContent"]["tool"]["revision"], 2,
        "{result}"
    );
    for patch in [
        json!({ "code": "return 1" }),
        json!({ "image": "node:lts-slim" }),
    ] {
        let patch = json!({ "name": "math.add", "patch": patch });
        let result = server.call("dynamic.tool.update", patch);
        assert!(
            failure(&result).starts_with("engine_unavailable: "),
            "{result}"
        );
    }
    let result = server.call(
        "dynamic.tool.create",
        json!({ "tool": {
        "name": "other", "description": "d", "code": "return 1" } }),
    );
    assert!(
        failure(&result).starts_with("engine_unavailable: "),
        "{result}"
    );
    let result = server.call("dynamic.tool.delete", json!({ "name": "math.add" }));
    assert_eq!(result.get("isError"), None, "{result}");
    assert_eq!(server.get("/livez").status, 200);
    let (status, checks) = server.readiness();
    assert_eq!(
        (status, &checks["engine"]["status"]),
        (503, &json!("failed"))
    );
    assert_eq!(checks["registry"]["status"], "ok", "{checks}");
}

#[test]
fn results_are_checked_against_the_output_schema() {
    let server = Server::start(&[]);
    let output = json!({ "type": "object", "properties": { "n": { "type": "integer" } },
        "required": ["n"] });
    let code = "return args.bad ? {n: 'x'} : args.content ? ctx.content([]) : {n: 7}";
    server.create(json!({ "name": "typed", "description": "d", "code": code,
        "outputSchema": output, "annotations": { "readOnlyHint": true } }));
    let shown = listed_tool(&server, "typed").unwrap();
    assert_eq!(shown["outputSchema"], output);
    assert_eq!(shown["annotations"], json!({ "readOnlyHint": true }));
    let good = server.call("typed", json!({}));
    assert_eq!(good["structuredContent"], json!({ "n": 7 }), "{good}");
    assert_eq!(
        good["content"],
        json!([{ "type": "text", "text": "{\"n\":7}" }])
    );
    let bad = server.call("typed", json!({ "args": { "bad": true } }));
    check_text_alone(&bad, "invalid_result: …n…");
    let content = server.call("typed", json!({ "args": { "content": true } }));
    check_text_alone(&content, "invalid_result: …outputSchema…");

    // Blocks pass as they are where nothing else was promised, if clients can read them.
    let blocks = json!([{ "type": "text", "text": "a" },
        { "type": "image", "data": "aGk=", "mimeType": "image/png" }]);
    let code = format!("return ctx.content({blocks})");
    let result = server.call("run_js_ephemeral", json!({ "code": code }));
    assert_eq!(
        (&result["content"], result.get("structuredContent")),
        (&blocks, None)
    );
    // One null makes a client drop them all.
    let code = "return ctx.content([{type: 'text', text: 'a', annotations: null, _meta: null}])";
    let result = server.call("run_js_ephemeral", json!({ "code": code }));
    assert_eq!(result["content"], json!([{ "type": "text", "text": "a" }]));
    let code = "return ctx.content([{type: 'image', data: '!', mimeType: 'x'}])";
    let result = server.call("run_js_ephemeral", json!({ "code": code }));
    check_failure(&result, "invalid_result: content block $[0].data …");
}

#[test]
fn numbers_keep_their_text_both_ways() {
    let server = Server::start(&[]);
    let schema = r#"{"type":"object","properties":{"n":{"type":"number","maximum":1.0e3}}}"#;
    let create = format!(
        r#"{{"tool":{{"name":"num","description":"d","code":"return args","inputSchema":{schema}}}}}"#
    );
    let body = |name: &str, arguments: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{name}","arguments":{arguments}}}}}"#
        )
    };
    let post = |name: &str, arguments: &str| {
        let reply = server.connect().post(&[], &body(name, arguments));
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.text()
    };
    let made = post("dynamic.tool.create", &create);
    assert!(made.contains("1.0e3"), "the schema is not verbatim: {made}");
    let list = server
        .connect()
        .post(&[], r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    assert!(list.text().contains(schema), "not listed verbatim");
    // JSON.parse reads what the client wrote; what it makes of it comes back as it wrote it.
    for (sent, returned) in [
        ("1.0", "1"),
        ("-0.0", "0"),
        ("1e2", "100"),
        ("0.1", "0.1"),
        ("1e-7", "1e-7"),
        ("-1e21", "-1e+21"),
        ("-9007199254740993", "-9007199254740992"),
        ("-1e400", "null"),
    ] {
        let answer = post("num", &format!(r#"{{"n":{sent}}}"#));
        let expected = format!(r#""structuredContent":{{"ok":true,"result":{{"n":{returned}}},"#);
        assert!(answer.contains(&expected), "{sent}: {answer}");
    }
    for sent in ["1001", "1e400", "12345678901234567890123"] {
        let answer = post("num", &format!(r#"{{"n":{sent}}}"#));
        assert!(answer.contains("invalid_arguments"), "{sent}: {answer}");
    }
    let answer = post(
        "run_js_ephemeral",
        r#"{"code":"return [args.a === Infinity, args.b, args.c]","args":{"a":1e400,"b":123456789012345678901234567890,"c":1.50}}"#,
    );
    let expected = r#""result":[true,1.2345678901234568e+29,1.5]"#;
    assert!(answer.contains(expected), "{answer}");
}

#[test]
fn names_that_cannot_be() {
    let server = Server::start(&[]);
    server.create(json!({ "name": "a.b", "description": "d", "code": "return 1" }));
    let refused = |name: &str, expected: &str| {
        let tool = json!({ "name": name, "description": "d", "code": "return 1" });
        let result = server.call("dynamic.tool.create", json!({ "tool": tool }));
        check_failure(&result, expected);
    };
    for name in [
        "dynamic.x",
        "system.mine",
        "sandbox.x",
        "upstream.x",
        "dev.x",
        "time.x",
    ] {
        let prefix = name.split('.').next().unwrap();
        let expected = format!("invalid_arguments: …\"{name}\" is reserved: …\"{prefix}.\"…");
        refused(name, &expected);
    }
    for name in [
        "run_js_ephemeral",
        "run.js.ephemeral",
        "system_health",
        "dynamic_tool_create",
    ] {
        refused(name, "invalid_arguments: …is reserved: …built-in tool…");
    }
    let long = "a".repeat(65);
    for name in ["", "ab", "1ab", "a b", "ä.b.c", "a/b/c", "_ab", &long] {
        refused(name, "invalid_arguments: …name…");
    }
    refused("a_b", "invalid_arguments: …\"a.b\"…");
    refused("a:b", "invalid_arguments: …\"a.b\"…");
    server.create(json!({ "name": "a:c", "description": "d", "code": "return 1" }));
    server.create(json!({ "name": "a".repeat(64), "description": "d", "code": "return 1" }));
}

#[test]
fn underscore_style_lists_names_that_every_client_takes() {
    let server = Server::start(&[("MCP_TOOL_NAME_STYLE", "underscore")]);
    server.create(json!({ "name": "my.tool:x-1", "description": "d", "code": "return 5" }));
    for tool in listed(&server) {
        let name = tool["name"].as_str().unwrap();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        assert!(
            name.bytes().all(fits) && (1..=64).contains(&name.len()),
            "{name}"
        );
    }
    for name in ["my.tool:x-1", "my_tool_x-1"] {
        let result = server.call(name, json!({}));
        assert_eq!(result["structuredContent"]["result"], 5, "{name}: {result}");
    }
    for name in ["system.health", "system_health"] {
        let result = server.call(name, json!({}));
        assert_eq!(
            result["structuredContent"]["status"], "ok",
            "{name}: {result}"
        );
    }
    let names: Vec<_> = listed(&server)
        .iter()
        .map(|tool| tool["name"].clone())
        .collect();
    assert!(names.contains(&json!("my_tool_x-1")) && names.contains(&json!("dynamic_tool_create")));
}

#[test]
fn groups_that_the_operator_leaves_out() {
    let server = Server::start(&[("MCP_BUILTIN_GROUPS", "run_js,tool")]);
    let names: Vec<_> = listed(&server)
        .iter()
        .map(|tool| tool["name"].clone())
        .collect();
    assert!(
        names.contains(&json!("run_js_ephemeral")) && names.contains(&json!("dynamic.tool.get"))
    );
    assert!(!names.contains(&json!("system.health")));
    let absent = server.rpc("tools/call", &json!({ "name": "system.health" }));
    assert_eq!(absent["error"]["code"], -32602, "{absent}");
    let tool = json!({ "name": "system_health", "description": "d", "code": "return 1" });
    let taken = server.call("dynamic.tool.create", json!({ "tool": tool }));
    check_failure(&taken, "invalid_arguments: …reserved…");
}

#[test]
fn definitions_that_are_refused_say_what_is_wrong() {
    let server = Server::start(&[]);
    let refused = |tool: Value, expected: &str| {
        let mut whole = json!({ "name": "one", "description": "d", "code": "return 1" });
        for (name, value) in tool.as_object().unwrap() {
            whole[name] = value.clone();
        }
        let result = server.call("dynamic.tool.create", json!({ "tool": whole }));
        check_failure(&result, expected);
    };
    refused(
        json!({ "code": "return {\n  a: \n};" }),
        "invalid_arguments: the code does not compile: …",
    );
    refused(
        json!({ "code": "}); evil(); (" }),
        "invalid_arguments: the code does not compile: …",
    );
    refused(
        json!({ "code": "import x from 'y'" }),
        "invalid_arguments: …\"await import(…)\"…",
    );
    refused(json!({ "code": "" }), "invalid_arguments: …code…");
    refused(
        json!({ "code": "x".repeat(200_001) }),
        "invalid_arguments: …code…",
    );
    refused(
        json!({ "description": "" }),
        "invalid_arguments: …description…",
    );
    refused(
        json!({ "title": "t".repeat(121) }),
        "invalid_arguments: …title…",
    );
    refused(
        json!({ "timeoutMs": 999 }),
        "invalid_arguments: …timeoutMs…",
    );
    refused(
        json!({ "timeoutMs": 120_001 }),
        "invalid_arguments: …timeoutMs…",
    );
    refused(json!({ "image": "evil:latest" }), "policy: …evil:latest…");
    refused(json!({ "image": "--privileged" }), "…image…");
    refused(json!({ "surprise": 1 }), "invalid_arguments: …surprise…");
    refused(
        json!({ "inputSchema": { "type": "string" } }),
        "invalid_arguments: inputSchema …",
    );
    refused(
        json!({ "inputSchema": { "type": "object", "$ref": "http://evil.example/s" } }),
        "invalid_arguments: inputSchema …",
    );
    refused(
        json!({ "outputSchema": { "type": "nothing" } }),
        "invalid_arguments: outputSchema …",
    );
    let at = server.call(
        "dynamic.tool.create",
        json!({ "tool": {
        "name": "one", "description": "d", "code": "const a = 1;\nreturn a +* 2" } }),
    );
    let error = &at["structuredContent"]["error"];
    assert_eq!(
        (&error["line"], &error["column"]),
        (&json!(2), &json!(11)),
        "{at}"
    );
    let unknown = server.call(
        "dynamic.tool.update",
        json!({ "name": "one", "patch": { "title": "x" } }),
    );
    check_failure(&unknown, "invalid_arguments: …\"one\"…");
    assert_eq!(listed_tool(&server, "one"), None);
    // The longest code fits, also where each character takes more bytes.
    let code = format!("return 7 // {}", "é".repeat(200_000 - 12));
    server.create(json!({ "name": "long", "description": "d", "code": code }));
    assert_eq!(
        server.call("long", json!({}))["structuredContent"]["result"],
        7
    );
}

#[test]
fn results_up_to_the_output_limit() {
    let server = Server::start(&[("MCP_SANDBOX_MAX_OUTPUT_BYTES", "5000")]);
    // The quotes count.
    let text = server.value("return 'x'.repeat(4998)");
    assert_eq!(text.as_str().map(str::len), Some(4998));
    let over = server.call(
        "run_js_ephemeral",
        json!({ "code": "return 'x'.repeat(4999)" }),
    );
    check_failure(&over, "output_too_large: …");
    let noise =
        "process.stdout.write('n'.repeat(1e7)); console.error('m'.repeat(1e6)); return 'kept'";
    assert_eq!(server.value(noise), "kept");
    let thrown = server.call(
        "run_js_ephemeral",
        json!({ "code": "console.log('b'.repeat(1e5))\nthrow new Error('e')" }),
    );
    let error = &thrown["structuredContent"]["error"];
    assert_eq!(
        (&error["kind"], &error["line"]),
        (&json!("threw"), &json!(2))
    );
    let printed = error["stderr"].as_str().unwrap().len();
    assert!((1000..=4096).contains(&printed), "{printed}");
    assert!(
        thrown["content"][0]["text"]
            .as_str()
            .unwrap()
            .starts_with("threw at line 2")
    );

    let folder = server.folder.clone();
    drop(server);
    let server = Server::start_in(&folder, &[("MCP_SANDBOX_MAX_OUTPUT_BYTES", "10000000")]);
    let text = server.value("return 'é'.repeat(4999999)");
    assert_eq!(text.as_str().map(str::len), Some(9_999_998));
}

#[test]
fn bodies_up_to_the_limit() {
    let server = Server::start(&[]);
    let padded = |length: usize| {
        let mut body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#.to_owned();
        body.push_str(&" ".repeat(length - body.len()));
        body
    };
    let limit = 1_048_576;
    let fits = server.connect().post(&[], &padded(limit));
    assert_eq!((fits.status, &fits.json()["result"]), (200, &json!({})));
    let mut connection = server.connect();
    let over = connection.post(&[("x-request-id", "too-big")], &padded(limit + 1));
    assert_eq!(
        (over.status, &over.json()["error"]["code"]),
        (413, &json!(413))
    );
    assert_eq!(over.header("x-request-id"), Some("too-big"));
    assert!(connection.is_closed());
    // The same without a length in advance.
    let chunked = |length: usize| {
        let mut connection = server.connect();
        let body = padded(length);
        let mut bytes = format!(
            "POST /mcp HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
            server.address
        );
        for part in body.as_bytes().chunks(60_000) {
            bytes += &format!(
                "{:x}\r\n{}\r\n",
                part.len(),
                std::str::from_utf8(part).unwrap()
            );
        }
        connection.send((bytes + "0\r\n\r\n").as_bytes());
        connection.read(false).status
    };
    assert_eq!(chunked(limit), 200);
    assert_eq!(chunked(limit + 1), 413);
}

#[test]
fn tool_code_reaches_nothing_of_the_host() {
    let server = Server::start(&[("MCP_ADMIN_TOKEN", "correct-horse-battery-staple")]);
    let secret = server.folder.path().join("secret.txt");
    std::fs::write(&secret, "host secret").unwrap();
    let environment = server.value("return Object.keys(process.env).sort()");
    assert_eq!(environment, json!(["HOME", "PATH", "TMPDIR", "TZ"]));
    let code = format!(
        "const fs = require('fs'); const os = require('os'); const tried = {{}};
         const attempt = (name, act) => {{ try {{ tried[name] = String(act()) }} catch (e) {{ tried[name] = e.code || e.message }} }};
         attempt('secret', () => fs.readFileSync('{}'));
         attempt('socket', () => fs.statSync('/var/run/docker.sock').size);
         for (const path of ['/etc/x', '/x', '/usr/bin/x', '/proc/sys/kernel/hostname'])
           attempt(path, () => fs.writeFileSync(path, 'x'));
         attempt('interfaces', () => Object.keys(os.networkInterfaces()).join());
         attempt('uid', () => process.getuid());
         attempt('processes', () => fs.readdirSync('/proc').filter(name => /^\\d+$/.test(name)).length < 10);
         attempt('server', () => fs.readdirSync('/proc').filter(name => /^\\d+$/.test(name))
           .map(pid => fs.readFileSync(`/proc/${{pid}}/cmdline`, 'latin1')).filter(line => /dynamic-mcp/.test(line)).length);
         attempt('environ', () => fs.readdirSync('/proc').filter(name => /^\\d+$/.test(name))
           .map(pid => {{ try {{ return fs.readFileSync(`/proc/${{pid}}/environ`, 'latin1') }} catch {{ return '' }} }}).filter(text => /horse/.test(text)).length);
         attempt('kill', () => process.kill({}));
         attempt('privileges', () => /NoNewPrivs:\\t1/.test(fs.readFileSync('/proc/self/status', 'latin1')));
         attempt('capabilities', () => /CapEff:\\t0+\\n/.test(fs.readFileSync('/proc/self/status', 'latin1')));
         attempt('workspace', () => {{ fs.writeFileSync('/workspace/x', 'x'); return fs.readFileSync('/workspace/x') }});
         return tried",
        secret.display(),
        server.pid(),
    );
    let expected = json!({
        "secret": "ENOENT", "socket": "ENOENT", "/etc/x": "EROFS", "/x": "EROFS",
        "/usr/bin/x": "EROFS", "/proc/sys/kernel/hostname": "EROFS", "interfaces": "lo", "uid": "1000",
        "processes": "true", "server": "0", "environ": "0", "kill": "ESRCH", "privileges": "true",
        "capabilities": "true", "workspace": "x",
    });
    assert_eq!(server.value(&code), expected);
    let port = server.address.port();
    let code = format!(
        "const net = require('net'); const reach = (port, host) => new Promise(done => {{
           const socket = net.connect(port, host, () => done('connected'));
           socket.on('error', error => done(error.code)) }});
         return [await reach({port}, '127.0.0.1'), await reach(80, '10.0.0.1'), await reach(53, '1.1.1.1')]"
    );
    let expected = json!(["ECONNREFUSED", "ENETUNREACH", "ENETUNREACH"]);
    assert_eq!(server.value(&code), expected);
    // The next run starts from nothing.
    assert_eq!(
        server.value("return require('fs').readdirSync('/workspace')"),
        json!([])
    );
    let body = call_body(
        "run_js_ephemeral",
        &json!({ "code": "return require('fs').readdirSync('/tmp')" }),
    );
    assert_eq!(
        server.connect().post(&[], &body).json()["result"]["structuredContent"]["result"],
        json!([])
    );
}
