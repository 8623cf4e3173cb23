//! Tools whose code asks the client: the rounds of a call, what a client may be asked, and what
//! becomes of a state that is not the client's own.

use serde_json::{Map, Value, json};

use crate::readme;
use crate::support::engine::await_that;
use crate::support::http::{Reply, failure};
use crate::support::idp::Idp;
use crate::support::pipe::{Home, Pipe};
use crate::support::server::{Folder, Server};

const NAME: &str = "ctx.elicit('name', { message: 'Who are you?', requestedSchema: {
    type: 'object', properties: { name: { type: 'string' } }, required: ['name'] } })";

/// Capabilities of a client that can be asked everything.
fn everything() -> Value {
    json!({ "elicitation": {}, "sampling": {}, "roots": {} })
}

fn tool(name: &str, code: &str) -> Value {
    json!({ "name": name, "description": "d", "code": code })
}

/// The parameters of a call of 2026-07-28, with more of them.
fn params(capabilities: &Value, name: &str, arguments: &Value, more: Value) -> Value {
    let mut all = json!({
        "name": name,
        "arguments": arguments,
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": capabilities,
        },
    });
    let Value::Object(more) = more else {
        panic!("{more}")
    };
    all.as_object_mut().unwrap().extend(more);
    all
}

fn post(server: &Server, fields: &[(&str, &str)], params: &Value) -> Reply {
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
    let name = params["name"].as_str().unwrap();
    let usual = [
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", name),
    ];
    let fields: Vec<_> = usual.into_iter().chain(fields.iter().copied()).collect();
    server.connect().post(&fields, &body.to_string())
}

/// One round of a call without arguments by a client that can be asked everything.
fn round(server: &Server, name: &str, more: Value) -> Value {
    let reply = post(server, &[], &params(&everything(), name, &json!({}), more));
    assert_eq!(reply.status, 200, "{reply:?}");
    let answer = reply.json();
    assert_eq!(answer.get("error"), None, "{answer}");
    answer["result"].clone()
}

/// The questions of a result, and its state.
fn asked(result: &Value) -> (Map<String, Value>, String) {
    assert_eq!(result["resultType"], "input_required", "{result}");
    for absent in [
        "content",
        "isError",
        "structuredContent",
        "ttlMs",
        "cacheScope",
    ] {
        assert_eq!(result.get(absent), None, "{result}");
    }
    let info = &result["_meta"]["io.modelcontextprotocol/serverInfo"];
    assert_eq!(info["name"], "dynamic-mcp", "{result}");
    let questions = result["inputRequests"].as_object().unwrap().clone();
    (
        questions,
        result["requestState"].as_str().unwrap().to_owned(),
    )
}

/// The value that the code returned at last.
fn value(result: &Value) -> Value {
    assert_eq!(result["resultType"], "complete", "{result}");
    assert_eq!(result.get("isError"), None, "{result}");
    result["structuredContent"]["result"].clone()
}

fn accept(content: Value) -> Value {
    json!({ "action": "accept", "content": content })
}

fn answers(state: &str, responses: Value) -> Value {
    json!({ "requestState": state, "inputResponses": responses })
}

#[test]
fn a_call_asks_and_goes_on_with_the_answer() {
    let server = Server::start(&[]);
    server.create(tool("ask.name", &format!("return await {NAME}")));
    let first = round(&server, "ask.name", json!({}));
    let (questions, state) = asked(&first);
    let expected = json!({ "name": { "method": "elicitation/create", "params": {
        "message": "Who are you?", "requestedSchema": { "type": "object",
            "properties": { "name": { "type": "string" } }, "required": ["name"] } } } });
    assert_eq!(Value::Object(questions), expected);
    let answer = accept(json!({ "name": "Ada" }));
    let last = round(
        &server,
        "ask.name",
        answers(&state, json!({ "name": answer })),
    );
    assert_eq!(value(&last), answer);
    for action in ["decline", "cancel"] {
        let answer = json!({ "action": action });
        let last = round(
            &server,
            "ask.name",
            answers(&state, json!({ "name": answer })),
        );
        assert_eq!(value(&last), answer);
    }
    // Each round is a run, and counted.
    let asking = "dynamic_mcp_tool_calls_total{kind=\"dynamic\",outcome=\"input_required\"}";
    assert_eq!(server.metric(asking), 1.0);
}

const SAMPLE: &str = "ctx.sample('say', { maxTokens: 50,
    messages: [{ role: 'user', content: { type: 'text', text: 'Say something.' } }] })";

/// A model's message.
fn said(text: &str) -> Value {
    json!({ "role": "assistant", "content": { "type": "text", "text": text }, "model": "m" })
}

/// The code of the JSON-RPC error, and the HTTP status beside it.
fn error(reply: &Reply) -> (u16, i64, String) {
    let error = reply.json()["error"].clone();
    let message = error["message"].as_str().unwrap_or_default().to_owned();
    (reply.status, error["code"].as_i64().unwrap_or(0), message)
}

#[test]
fn what_is_asked_together_comes_in_one_round_and_the_rest_in_later_ones() {
    let server = Server::start(&[]);
    let code = format!(
        "const [name, say, roots] = await Promise.all([{NAME}, {SAMPLE}, ctx.listRoots('where')]);
         const more = await {};
         return [name.content.name, say.content.text, roots.roots, more.action]",
        NAME.replace("'name',", "'more',")
    );
    server.create(tool("ask.all", &code));
    let (questions, first) = asked(&round(&server, "ask.all", json!({})));
    let methods: Vec<_> = questions
        .iter()
        .map(|(key, ask)| (key.as_str(), ask["method"].as_str().unwrap()))
        .collect();
    let mut expected = [
        ("name", "elicitation/create"),
        ("say", "sampling/createMessage"),
        ("where", "roots/list"),
    ];
    expected.sort_unstable();
    assert_eq!(methods, expected);
    assert_eq!(questions["say"]["params"]["maxTokens"], 50);
    assert_eq!(questions["where"].get("params"), None);

    // One answer is missing, one has a wrong shape, and one nobody asked for.
    let name = accept(json!({ "name": "Ada" }));
    let some = json!({ "name": name, "say": { "text": "?" }, "extra": said("x"), "more": 12345 });
    let (questions, second) = asked(&round(&server, "ask.all", answers(&first, some)));
    assert_eq!(questions.keys().collect::<Vec<_>>(), ["say", "where"]);
    assert_ne!(first, second);
    let roots = json!({ "roots": [{ "uri": "file:///here" }] });
    let rest = json!({ "say": said("hm"), "where": roots, "name": { "action": "cancel" } });
    let (questions, third) = asked(&round(&server, "ask.all", answers(&second, rest)));
    assert_eq!(questions.keys().collect::<Vec<_>>(), ["more"]);
    let last = json!({ "more": { "action": "decline" } });
    let last = round(&server, "ask.all", answers(&third, last));
    let expected = json!(["Ada", "hm", [{ "uri": "file:///here" }], "decline"]);
    assert_eq!(value(&last), expected);

    // Whoever knows what will be asked may say it at once, and null is nothing.
    let all = json!({ "inputResponses": { "name": name, "say": said("hm"), "where": roots,
        "more": { "action": "cancel" } }, "requestState": null });
    let last = round(&server, "ask.all", all);
    assert_eq!(value(&last)[3], "cancel");
    asked(&round(
        &server,
        "ask.all",
        json!({ "inputResponses": null }),
    ));
}

#[test]
fn clients_are_asked_what_they_declared_and_code_may_go_on_without() {
    let server = Server::start(&[]);
    let code = format!(
        "const kinds = await Promise.allSettled([{NAME}, {SAMPLE}, ctx.listRoots('where')]);
         return kinds.map(one => one.reason?.message ?? one.value)"
    );
    server.create(tool("ask.any", &code));
    let call = |capabilities: &Value, more: Value| {
        let params = params(capabilities, "ask.any", &json!({}), more);
        post(&server, &[], &params).json()["result"].clone()
    };
    let refused = |capability: &str, kind: &str| {
        format!(
            "ctx.{kind} cannot reach this client: it did not declare the capability {capability}. \
             Do without, or create the tool with requiresClientCapabilities: [\"{capability}\"]"
        )
    };
    let nothing = call(&json!({}), json!({}));
    let expected = json!([
        refused("elicitation", "elicit"),
        refused("sampling", "sample"),
        refused("roots", "listRoots")
    ]);
    assert_eq!(value(&nothing), expected);
    let sampling = json!({ "sampling": {} });
    let (questions, state) = asked(&call(&sampling, json!({})));
    assert_eq!(questions.keys().collect::<Vec<_>>(), ["say"]);
    let told = call(&sampling, answers(&state, json!({ "say": said("hm") })));
    let expected = json!([expected[0], said("hm"), expected[2]]);
    assert_eq!(value(&told), expected);
    // Not what it declared before, but what it declares now.
    assert_eq!(
        value(&call(&json!({}), answers(&state, json!({}))))[1],
        refused("sampling", "sample")
    );

    // Mistakes of the author reject too, and what is not caught is a failure with its line.
    let bad =
        "try { await ctx.elicit('k', { message: 5 }) } catch (e) { ctx.log('info', e.message) }
        await ctx.elicit('k', { message: 'm' })";
    server.create(tool("ask.badly", bad));
    let failed = round(&server, "ask.badly", json!({}));
    let rule =
        "ctx.elicit: params.requestedSchema must be {\"type\":\"object\",\"properties\":{…}}";
    assert_eq!(failure(&failed), format!("threw: {rule}"));
    // Clients of handshake revisions: what they send of rounds means nothing.
    let params = json!({ "name": "ask.any", "inputResponses": 5, "requestState": 5 });
    let legacy = server.rpc("tools/call", &params)["result"].clone();
    let refusals = legacy["structuredContent"]["result"].clone();
    let refusal = refusals[0].as_str().unwrap();
    assert!(
        refusal.contains("a protocol revision before 2026-07-28"),
        "{legacy}"
    );
}

#[test]
fn a_tool_that_requires_capabilities_is_for_clients_that_have_them() {
    let mut server = Server::start(&[("MCP_AUDIT_ENABLED", "true")]);
    let folder = server.folder.clone();
    let mut definition = tool(
        "ask.model",
        &format!("return (await {SAMPLE}).content.text"),
    );
    let required = json!(["sampling", "roots"]);
    definition["requiresClientCapabilities"] = required.clone();
    definition["inputSchema"] = json!({ "type": "object", "properties": {
        "region": { "type": "string", "x-mcp-header": "Region" } } });
    let sorted = json!(["roots", "sampling"]);
    let created = server.create(definition);
    assert_eq!(
        without_order(&created["requiresClientCapabilities"]),
        sorted
    );
    let call = |capabilities: Value, name: &str, arguments: &Value| {
        post(
            &server,
            &[],
            &params(&capabilities, name, arguments, json!({})),
        )
    };
    // Row 7 of the table comes before row 9, the header that is missing for the argument.
    let region = json!({ "region": "eu" });
    for capabilities in [
        json!({}),
        json!({ "sampling": {} }),
        json!({ "roots": {}, "sampling": 1 }),
    ] {
        let reply = call(capabilities, "ask.model", &region);
        let (status, code, message) = error(&reply);
        assert_eq!((status, code), (400, -32021), "{reply:?}");
        assert!(message.contains("sampling"), "{message}");
        let data = reply.json()["error"]["data"].clone();
        assert_eq!(
            data,
            json!({ "requiredCapabilities": { "sampling": {}, "roots": {} } })
        );
        assert_eq!(reply.json()["id"], 7);
    }
    let able = json!({ "sampling": {}, "roots": {} });
    assert_eq!(error(&call(able.clone(), "ask.model", &region)).1, -32020);
    let (questions, _) = asked(&call(able.clone(), "ask.model", &json!({})).json()["result"]);
    assert_eq!(questions.keys().collect::<Vec<_>>(), ["say"]);
    // By another way, the same.
    let inner = json!({ "name": "ask.model", "arguments": {} });
    assert_eq!(
        error(&call(json!({}), "dynamic.tool.call", &inner)).1,
        -32021
    );
    asked(&call(able, "dynamic.tool.call", &inner).json()["result"]);
    // A failure in the handshake era, which has no such error.
    let refused = server.call("ask.model", json!({}));
    let why = failure(&refused);
    assert!(
        why.starts_with("policy: this tool asks its caller (sampling, roots)"),
        "{why}"
    );

    // It can be taken away again, and only what there is can be required.
    let patch = |value: Value| {
        let patch = json!({ "requiresClientCapabilities": value });
        server.call(
            "dynamic.tool.update",
            json!({ "name": "ask.model", "patch": patch }),
        )
    };
    for wrong in [
        json!(["tasks"]),
        json!("sampling"),
        json!(["roots", "roots"]),
    ] {
        assert!(failure(&patch(wrong)).starts_with("invalid_arguments"));
    }
    let kept = server.call("dynamic.tool.get", json!({ "name": "ask.model" }));
    let kept = &kept["structuredContent"]["tool"]["requiresClientCapabilities"];
    assert_eq!(without_order(kept), sorted);
    let listed = server.rpc("tools/list", &json!({})).to_string();
    assert!(
        !listed.contains("requiresClientCapabilities\":[\""),
        "{listed}"
    );
    assert_eq!(patch(Value::Null).get("isError"), None);
    assert_eq!(error(&call(json!({}), "ask.model", &json!({}))).1, 0);

    server.stop();
    let log = std::fs::read_to_string(folder.path().join(".dynamic-mcp/audit.log")).unwrap();
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of_tool: Vec<_> = lines
        .filter(|line| line["action"] == "dynamic.exec")
        .map(|line| {
            let details = &line["details"];
            let what = [&details["reason"], &details["outcome"], &details["phase"]];
            let what = what.iter().find_map(|one| one.as_str());
            format!(
                "{} {}",
                line["result"].as_str().unwrap(),
                what.unwrap_or_default()
            )
        })
        .collect();
    let denied = "denied client_capability";
    assert!(
        of_tool.iter().filter(|line| *line == denied).count() >= 1,
        "{of_tool:?}"
    );
    let ran = of_tool.iter().filter(|line| *line != denied);
    let mut expected = ["success intent", "success input_required"].repeat(2);
    expected.extend(["success intent", "error threw"]);
    assert_eq!(ran.collect::<Vec<_>>(), expected);
}

fn without_order(list: &Value) -> Value {
    let mut list = list.as_array().unwrap().clone();
    list.sort_by_key(Value::to_string);
    Value::Array(list)
}

#[test]
fn a_state_is_good_for_its_own_call_only() {
    let server = Server::start(&[]);
    let code = format!("return (await {NAME}).content.name");
    server.create(tool("ask.one", &code));
    server.create(tool("ask.two", &code));
    let arguments = json!({ "args": { "a": 1 } });
    let call = |name: &str, arguments: &Value, state: &Value| {
        let responses = json!({ "name": accept(json!({ "name": "Ada" })) });
        let more = json!({ "requestState": state, "inputResponses": responses });
        post(&server, &[], &params(&everything(), name, arguments, more))
    };
    let first = params(&everything(), "ask.one", &arguments, json!({}));
    let (_, state) = asked(&post(&server, &[], &first).json()["result"]);
    let good = |name: &str, arguments: &Value, state: &str| {
        let reply = call(name, arguments, &json!(state));
        assert_eq!(value(&reply.json()["result"]), "Ada");
    };
    good("ask.one", &arguments, &state);
    // The same state once more: nothing is stored that could forbid it.
    good("ask.one", &arguments, &state);
    let bad = |name: &str, arguments: &Value, state: Value| {
        let reply = call(name, arguments, &state);
        let (status, code, message) = error(&reply);
        assert_eq!(
            (status, code),
            (200, -32602),
            "{name} {arguments} {reply:?}"
        );
        message
    };
    let text = json!(state);
    let message = bad("ask.two", &arguments, text.clone());
    assert!(
        message.contains("requestState does not belong to this call"),
        "{message}"
    );
    bad("ask_one", &arguments, text.clone());
    bad("ask.one", &json!({ "args": { "a": 2 } }), text.clone());
    bad("ask.one", &json!({}), text.clone());
    for forged in [
        json!(format!("{state}-TAMPERED")),
        json!(&state[..state.len() - 1]),
        json!(&state[1..]),
        json!(state.replacen('.', ".A", 1)),
        json!(state.to_uppercase()),
        json!(""),
        json!("é🦀\u{0}"),
        json!("A".repeat(500_000)),
        json!(5),
        json!({}),
    ] {
        bad("ask.one", &arguments, forged);
    }
    bad(
        "dynamic.tool.call",
        &json!({ "name": "ask.one" }),
        text.clone(),
    );
    // Another server's key.
    let elsewhere = Server::start(&[]);
    elsewhere.create(tool("ask.one", &code));
    let (_, foreign) = asked(&post(&elsewhere, &[], &first).json()["result"]);
    bad("ask.one", &arguments, json!(foreign));
    // Whoever changes the tool changes what was asked.
    let patch = json!({ "name": "ask.one", "patch": { "code": format!("{code} + '!'") } });
    assert_eq!(
        server.call("dynamic.tool.update", patch).get("isError"),
        None
    );
    let message = bad("ask.one", &arguments, text);
    assert!(
        message.contains("the tool has changed since it asked"),
        "{message}"
    );
    // Code that comes with the call asks too, and is part of what the state is for.
    let once = json!({ "code": code });
    let first = params(&everything(), "run_js_ephemeral", &once, json!({}));
    let (_, state) = asked(&post(&server, &[], &first).json()["result"]);
    good("run_js_ephemeral", &once, &state);
    let other = json!({ "code": format!("{code} ") });
    bad("run_js_ephemeral", &other, json!(state));
}

#[test]
fn a_state_belongs_to_its_principal() {
    const AUDIENCE: &str = "https://mcp.example/mcp";
    let mut idp = Idp::start();
    let settings = [
        ("MCP_AUTH_MODE", "jwt"),
        ("MCP_AUTH_JWKS_URL", idp.jwks.as_str()),
        ("MCP_AUTH_ISSUER", idp.issuer.as_str()),
        ("MCP_AUTH_AUDIENCE", AUDIENCE),
    ];
    let server = Server::start(&settings);
    await_that("keys", || server.readiness().1["keys"]["status"] == "ok");
    let one = idp.token("alice", "mcp.use", AUDIENCE);
    let again = idp.token("alice", "mcp.use", AUDIENCE);
    let other = idp.token("bob", "mcp.use", AUDIENCE);
    let call = |token: &str, more: Value| {
        let code = json!({ "code": format!("return (await {NAME}).action") });
        let params = params(&everything(), "run_js_ephemeral", &code, more);
        let bearer = format!("Bearer {token}");
        post(&server, &[("Authorization", &bearer)], &params)
    };
    let (_, state) = asked(&call(&one, json!({})).json()["result"]);
    let cancel = answers(&state, json!({ "name": { "action": "cancel" } }));
    assert_eq!(error(&call(&other, cancel.clone())).1, -32602);
    // The caller's next token is the same caller's.
    let last = call(&again, cancel);
    assert_eq!(value(&last.json()["result"]), "cancel");
}

#[test]
fn every_server_of_the_registry_goes_on_with_a_call() {
    let folder = Folder::new();
    let first = Server::start_in(&folder, &[]);
    first.create(tool("ask.name", &format!("return await {NAME}")));
    let (_, state) = asked(&round(&first, "ask.name", json!({})));
    let second = Server::start_in(&folder, &[]);
    let cancel = json!({ "action": "cancel" });
    let more = answers(&state, json!({ "name": cancel }));
    assert_eq!(value(&round(&second, "ask.name", more.clone())), cancel);
    drop(first);
    drop(second);
    let third = Server::start_in(&folder, &[]);
    assert_eq!(value(&round(&third, "ask.name", more)), cancel);
}

#[test]
fn a_pipe_s_client_is_asked_in_the_same_way() {
    let home = Home::new();
    let mut pipe = Pipe::start(&home, &[]);
    let mut call = |capabilities: &Value, name: &str, arguments: Value, more: Value| {
        pipe.request(
            9,
            "tools/call",
            &params(capabilities, name, &arguments, more),
        );
        let answer = pipe.next();
        assert_eq!(answer["id"], 9, "{answer}");
        answer
    };
    let code = json!({ "code": format!("return (await {NAME}).action") });
    let first = call(&everything(), "run_js_ephemeral", code.clone(), json!({}));
    let (questions, state) = asked(&first["result"]);
    assert_eq!(questions.keys().collect::<Vec<_>>(), ["name"]);
    let cancel = answers(&state, json!({ "name": { "action": "cancel" } }));
    let last = call(&everything(), "run_js_ephemeral", code.clone(), cancel);
    assert_eq!(value(&last["result"]), "cancel");
    let forged = answers("x", json!({}));
    let refused = call(&everything(), "run_js_ephemeral", code, forged);
    assert_eq!(refused["error"]["code"], -32602);
    let mut definition = tool("ask.model", "return 1");
    definition["requiresClientCapabilities"] = json!(["sampling"]);
    let made = call(
        &json!({}),
        "dynamic_tool_create",
        json!({ "tool": definition }),
        json!({}),
    );
    assert_eq!(made["result"].get("isError"), None, "{made}");
    let refused = call(&json!({}), "ask_model", json!({}), json!({}));
    assert_eq!(refused["error"]["code"], -32021, "{refused}");
    let required = json!({ "requiredCapabilities": { "sampling": {} } });
    assert_eq!(refused["error"]["data"], required);
    pipe.finish();
}

#[test]
fn the_readme_s_example_asks_before_it_acts() {
    let blocks = readme::blocks();
    let example = blocks.iter().find(|block| block.language == "js").unwrap();
    let server = Server::start(&[]);
    let code = format!("{}\nreturn 'deleted'", example.text);
    server.create(tool("ask.sure", &code));
    let call = |more: Value| {
        let arguments = json!({ "args": { "path": "a.txt" } });
        let params = params(&everything(), "ask.sure", &arguments, more);
        post(&server, &[], &params).json()["result"].clone()
    };
    let (questions, state) = asked(&call(json!({})));
    assert_eq!(questions["sure"]["params"]["message"], "Delete a.txt?");
    for (answer, expected) in [
        (accept(json!({ "sure": true })), "deleted"),
        (accept(json!({ "sure": false })), "kept"),
        (json!({ "action": "decline" }), "kept"),
    ] {
        let last = call(answers(&state, json!({ "sure": answer })));
        assert_eq!(value(&last), expected);
    }
}
