//! Prompts and resources that are made at run time: how they are made and changed, what clients of
//! both eras get of them, and what their code may do.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::auth::free_port;
use crate::postgres_servers::Settings;
use crate::support::http::{Reply, failure};
use crate::support::postgres::{Cluster, fresh_schema, wait_until};
use crate::support::server::{Folder, Server, run, stderr, stdout};

const ERAS: [&str; 2] = ["2025-11-25", "2026-07-28"];
const MODERN: &str = ERAS[1];
const TOKEN: &str = "made-token-5b1d";

/// One request of an era, by a client that can be asked everything.
fn ask(server: &Server, era: &str, method: &str, params: &Value) -> Reply {
    let mut params = params.clone();
    let mut fields = vec![("MCP-Protocol-Version", era)];
    let name = params.get("name").or(params.get("uri")).cloned();
    if era == MODERN {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": era,
            "io.modelcontextprotocol/clientCapabilities":
                { "elicitation": {}, "sampling": {}, "roots": {} },
        });
        fields.push(("Mcp-Method", method));
        if let Some(name) = &name {
            fields.push(("Mcp-Name", name.as_str().unwrap()));
        }
    }
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    server.connect().post(&fields, &body.to_string())
}

fn result(server: &Server, era: &str, method: &str, params: &Value) -> Value {
    let reply = ask(server, era, method, params);
    let answer = reply.json();
    assert_eq!(
        (reply.status, answer.get("error")),
        (200, None),
        "{params}: {answer}"
    );
    let result = answer["result"].clone();
    let complete = (era == MODERN).then(|| json!("complete"));
    assert_eq!(result.get("resultType").cloned(), complete, "{result}");
    result
}

fn error(server: &Server, era: &str, method: &str, params: &Value) -> (i64, String) {
    let answer = ask(server, era, method, params).json();
    let error = &answer["error"];
    let message = error["message"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"));
    (error["code"].as_i64().unwrap(), message.to_owned())
}

fn made(server: &Server, act: &str, arguments: Value) -> Value {
    let result = server.call(act, arguments.clone());
    assert_eq!(result.get("isError"), None, "{arguments}: {result}");
    result["structuredContent"].clone()
}

fn refused(server: &Server, act: &str, arguments: Value) -> String {
    failure(&server.call(act, arguments))
}

fn create_prompt(server: &Server, prompt: Value) -> Value {
    made(server, "dynamic.prompt.create", json!({ "prompt": prompt }))["prompt"].clone()
}

fn create_resource(server: &Server, resource: Value) -> Value {
    let arguments = json!({ "resource": resource });
    made(server, "dynamic.resource.create", arguments)["resource"].clone()
}

fn message(text: &str) -> Value {
    json!({ "role": "user", "content": { "type": "text", "text": text } })
}

fn review() -> Value {
    json!({
        "name": "code.review", "title": "Review", "description": "Asks for a review.",
        "arguments": [
            { "name": "language", "required": true, "complete": ["Rust", "ruby", "python"] },
            { "name": "tone", "description": "How to say it." },
        ],
        "messages": [
            { "role": "user", "content": "Review this {{language}} code{{ tone }}, {{other}}." },
            { "role": "assistant", "content": { "type": "resource",
                "resource": { "uri": "x://{{language}}", "text": "t" } } },
        ],
    })
}

fn listed(server: &Server, era: &str, what: &str, key: &str) -> Vec<String> {
    let (method, member) = match what {
        "resourceTemplates" => ("resources/templates/list".to_owned(), what),
        what => (format!("{what}/list"), what),
    };
    let list = result(server, era, &method, &json!({}));
    let caching = (
        list.get("ttlMs").is_some(),
        list.get("cacheScope").is_some(),
    );
    assert_eq!(caching, (era == MODERN, era == MODERN), "{list}");
    let names = list[member].as_array().unwrap().iter();
    names
        .map(|one| one[key].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_prompt_is_made_got_changed_and_deleted() {
    let server = Server::start(&[]);
    for era in ERAS {
        assert_eq!(listed(&server, era, "prompts", "name"), [""; 0]);
    }
    let view = create_prompt(&server, review());
    assert_eq!(
        (&view["revision"], view.get("messages")),
        (&json!(1), None),
        "{view}"
    );
    create_prompt(&server, json!({ "name": "another", "messages": [] }));
    for era in ERAS {
        assert_eq!(
            listed(&server, era, "prompts", "name"),
            ["another", "code.review"]
        );
        let list = result(&server, era, "prompts/list", &json!({}));
        let arguments = json!([
            { "name": "language", "required": true },
            { "name": "tone", "description": "How to say it." },
        ]);
        let expected = json!({ "name": "code.review", "title": "Review",
            "description": "Asks for a review.", "arguments": arguments });
        assert_eq!(list["prompts"][1], expected);
        let arguments = json!({ "language": "{{tone}}", "unknown": "u" });
        let params = json!({ "name": "code.review", "arguments": arguments });
        let got = result(&server, era, "prompts/get", &params);
        assert_eq!(got["description"], "Asks for a review.");
        let resource = json!({ "uri": "x://{{tone}}", "text": "t" });
        let block = json!({ "type": "resource", "resource": resource });
        let expected = json!([
            message("Review this {{tone}} code, {{other}}."),
            { "role": "assistant", "content": block },
        ]);
        assert_eq!(got["messages"], expected);
        // The other spelling of a name means the same, as with tools.
        let params = json!({ "name": "code_review", "arguments": { "language": "x" } });
        result(&server, era, "prompts/get", &params);

        let check = |params: Value, expected: &str| {
            let (code, message) = error(&server, era, "prompts/get", &params);
            assert_eq!(code, -32602, "{params}: {message}");
            assert!(message.contains(expected), "{params}: {message}");
        };
        check(json!({ "name": "nil" }), "there is no prompt named \"nil\"");
        check(
            json!({ "name": "code.review" }),
            "needs the argument \"language\"",
        );
        let number = json!({ "name": "code.review", "arguments": { "language": 1 } });
        check(number, "must be an object of strings");
    }
    let patch = json!({ "name": "code.review", "expectedRevision": 1, "patch": {
        "title": null, "messages": [{ "role": "user", "content": "now {{language}}" }] } });
    let changed = made(&server, "dynamic.prompt.update", patch.clone())["prompt"].clone();
    assert_eq!(
        (&changed["revision"], changed.get("title")),
        (&json!(2), None)
    );
    let lost = refused(&server, "dynamic.prompt.update", patch);
    let expected = "Revision conflict for dynamic prompt \"code.review\": expected 1, current 2.";
    assert!(lost.contains(expected), "{lost}");
    let params = json!({ "name": "code.review", "arguments": { "language": "x" } });
    let got = result(&server, MODERN, "prompts/get", &params);
    assert_eq!(got["messages"], json!([message("now x")]));
    let all = made(
        &server,
        "dynamic.prompt.list",
        json!({ "includeCode": true }),
    );
    let content = &all["prompts"][1]["messages"][0]["content"];
    assert_eq!(content, "now {{language}}", "{all}");
    let one = made(
        &server,
        "dynamic.prompt.get",
        json!({ "name": "code_review" }),
    );
    assert_eq!(one["prompt"], all["prompts"][1]);
    let gone = json!({ "name": "code.review", "expectedRevision": 2 });
    let text = server.call("dynamic.prompt.delete", gone.clone());
    let text = text["content"][0]["text"].as_str().unwrap();
    assert_eq!(text, "Deleted dynamic prompt \"code.review\" (revision 2).");
    let again = refused(&server, "dynamic.prompt.delete", gone);
    assert!(
        again.contains("dynamic prompt \"code.review\" does not exist"),
        "{again}"
    );
    assert_eq!(listed(&server, MODERN, "prompts", "name"), ["another"]);
}

#[test]
fn prompts_that_are_wrong_are_refused_with_the_mend() {
    let server = Server::start(&[
        ("MCP_DYNAMIC_MAX_TOOLS", "2"),
        ("MCP_PROFILE", "enterprise"),
    ]);
    let check = |prompt: Value, expected: &str| {
        let told = refused(
            &server,
            "dynamic.prompt.create",
            json!({ "prompt": prompt }),
        );
        assert!(told.contains(expected), "{prompt}: {told}");
    };
    let user = json!([{ "role": "user", "content": "hello" }]);
    check(
        json!({ "name": "abc" }),
        "messages needs a decision: give exactly one of messages, code",
    );
    check(
        json!({ "name": "abc", "messages": user, "code": "return 1" }),
        "messages needs a decision: give exactly one of messages, code",
    );
    check(json!({ "name": "ab", "messages": [] }), "$.prompt.name");
    check(
        json!({ "name": "abc", "messages": [{ "role": "system", "content": "" }] }),
        "role",
    );
    let image = json!([{ "role": "user", "content": { "type": "image", "data": "?" } }]);
    check(
        json!({ "name": "abc", "messages": image }),
        "messages[0].content.data must be base64",
    );
    let twice = json!([{ "name": "a" }, { "name": "a" }]);
    check(
        json!({ "name": "abc", "messages": [], "arguments": twice }),
        "arguments[1].name must not be there twice",
    );
    let unknown = json!([{ "name": "a", "kind": "person" }]);
    check(
        json!({ "name": "abc", "messages": [], "arguments": unknown }),
        "$.prompt.arguments[0]",
    );
    check(
        json!({ "name": "tool.call.checklist", "messages": [] }),
        "\"tool-call-checklist\" is a prompt of the server's own",
    );
    check(
        json!({ "name": "abc", "code": "return (" }),
        "the code does not compile",
    );
    create_prompt(&server, json!({ "name": "a.b", "messages": user }));
    check(
        json!({ "name": "a.b", "messages": user }),
        "dynamic prompt \"a.b\" already exists",
    );
    check(
        json!({ "name": "a_b", "messages": user }),
        "under the same name as \"a.b\"",
    );
    create_prompt(&server, json!({ "name": "abc", "messages": user }));
    check(
        json!({ "name": "abcd", "messages": user }),
        "the registry holds its 2 prompts",
    );
    // Each kind has its own names, and its own limit.
    server.create(json!({ "name": "abc", "description": "d", "code": "return 1" }));
    create_resource(&server, json!({ "name": "abc", "uri": "a:b", "text": "" }));
}

#[test]
fn resources_and_templates_are_read_in_both_eras() {
    let server = Server::start(&[]);
    let note = json!({ "name": "note", "uri": "notes://a", "title": "Note", "mimeType": "text/plain",
        "text": "as it {{day}} stands" });
    let view = create_resource(&server, note);
    assert_eq!(
        (&view["uri"], view.get("text")),
        (&json!("notes://a"), None)
    );
    create_resource(
        &server,
        json!({ "name": "blob", "uri": "notes://b", "blob": "aGk=" }),
    );
    create_resource(
        &server,
        json!({ "name": "days", "uriTemplate": "notes://{day}/text",
        "description": "d", "text": "of {{day}}", "complete": { "day": ["monday", "Mother's day"] } }),
    );
    create_resource(
        &server,
        json!({ "name": "all", "uriTemplate": "notes://{+rest}",
        "mimeType": "text/x", "text": "rest {{rest}}" }),
    );
    for era in ERAS {
        assert_eq!(
            listed(&server, era, "resources", "uri"),
            ["notes://a", "notes://b"]
        );
        let templates = listed(&server, era, "resourceTemplates", "uriTemplate");
        assert_eq!(templates, ["notes://{+rest}", "notes://{day}/text"]);
        let check = |uri: &str, expected: Value| {
            let read = result(&server, era, "resources/read", &json!({ "uri": uri }));
            assert_eq!(read["contents"], json!([expected]), "{uri}");
        };
        let (uri, text) = ("notes://a", "as it {{day}} stands");
        check(
            uri,
            json!({ "uri": uri, "mimeType": "text/plain", "text": text }),
        );
        check("notes://b", json!({ "uri": "notes://b", "blob": "aGk=" }));
        // Of two templates the one that says more.
        let uri = "notes://f%C3%AAte/text";
        check(uri, json!({ "uri": uri, "text": "of fête" }));
        let uri = "notes://x/y";
        check(
            uri,
            json!({ "uri": uri, "mimeType": "text/x", "text": "rest x/y" }),
        );
        let (code, _) = error(
            &server,
            era,
            "resources/read",
            &json!({ "uri": "notes:nil" }),
        );
        assert_eq!(code, if era == MODERN { -32602 } else { -32002 });
        let reply = ask(
            &server,
            era,
            "resources/read",
            &json!({ "uri": "notes:nil" }),
        );
        assert_eq!(reply.json()["error"]["data"]["uri"], "notes:nil");
    }
    let check = |resource: Value, expected: &str| {
        let arguments = json!({ "resource": resource });
        let told = refused(&server, "dynamic.resource.create", arguments);
        assert!(told.contains(expected), "{resource}: {told}");
    };
    check(
        json!({ "name": "abc", "uri": "notes://a", "text": "" }),
        "\"note\" has this URI already",
    );
    let same = json!({ "name": "abc", "uriTemplate": "notes://{tag}/text", "text": "" });
    check(same, "\"days\" has this URI already");
    check(
        json!({ "name": "abc", "uri": "dynamic://x", "text": "" }),
        "the server's own scheme",
    );
    check(
        json!({ "name": "abc", "uriTemplate": "a://{?x}", "text": "" }),
        "write lists, prefixes",
    );
    check(
        json!({ "name": "abc", "uri": "a:b" }),
        "text needs a decision: give exactly one of text, blob, code",
    );
    check(
        json!({ "name": "abc", "text": "" }),
        "uri or uriTemplate must be there, and not both",
    );
    // What excludes each other is exchanged by one patch.
    let patch = json!({ "name": "note", "patch": { "uriTemplate": "new:{x}", "blob": "aGk=" } });
    made(&server, "dynamic.resource.update", patch);
    let read = result(
        &server,
        MODERN,
        "resources/read",
        &json!({ "uri": "new:1" }),
    );
    assert_eq!(read["contents"][0]["blob"], "aGk=", "{read}");
}

#[test]
fn long_lists_come_in_pages_and_long_answers_have_an_end() {
    let folder = Folder::new();
    let entry = |name: String, more: Value| {
        let mut entry = json!({ "name": name, "revision": 1,
            "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z" });
        let Value::Object(more) = more else {
            panic!("{more}")
        };
        entry.as_object_mut().unwrap().extend(more);
        entry
    };
    let numbers = || (0..1001).map(|one| format!("n{one:04}"));
    let prompts: Vec<_> = numbers()
        .map(|name| entry(name, json!({ "messages": [] })))
        .chain([entry(
            "zzz".to_owned(),
            json!({ "arguments": [{ "name": "a" }], "messages": [{ "role": "user",
                "content": "{{a}}".repeat(1000) }] }),
        )])
        .collect();
    let resources: Vec<_> = numbers()
        .map(|name| {
            entry(
                name.clone(),
                json!({ "uri": format!("x:{name}"), "text": "" }),
            )
        })
        .collect();
    let document = json!({ "version": 1, "tools": [], "prompts": prompts, "resources": resources });
    fs::create_dir_all(folder.store().parent().unwrap()).unwrap();
    fs::write(folder.store(), document.to_string()).unwrap();
    let server = Server::start_in(&folder, &[]);
    for era in ERAS {
        for (what, count) in [("prompts", 1002), ("resources", 1001)] {
            let method = format!("{what}/list");
            let first = result(&server, era, &method, &json!({}));
            assert_eq!(first[what].as_array().unwrap().len(), 1000);
            let cursor = json!({ "cursor": first["nextCursor"] });
            let rest = result(&server, era, &method, &cursor);
            assert_eq!(rest[what].as_array().unwrap().len(), count - 1000);
            assert_eq!(rest.get("nextCursor"), None);
        }
        let get = |bytes: usize| json!({ "name": "zzz", "arguments": { "a": "x".repeat(bytes) } });
        let got = result(&server, era, "prompts/get", &get(4000));
        assert_eq!(
            got["messages"][0]["content"]["text"]
                .as_str()
                .unwrap()
                .len(),
            4_000_000
        );
        let (code, message) = error(&server, era, "prompts/get", &get(5000));
        assert_eq!(code, -32602);
        assert!(message.contains("larger than 4194304 bytes"), "{message}");
    }
}

#[test]
fn code_makes_prompts_and_resources() {
    let server = Server::start(&[("MCP_AUDIT_ENABLED", "true")]);
    let code = "const [a] = [args.a ?? 'none']; return { description: 'made', messages: [
        { role: 'user', content: `hello ${a}` } ] }";
    create_prompt(
        &server,
        json!({ "name": "greet", "arguments": [{ "name": "a" }], "code": code }),
    );
    let code = "return args.x === 'nil' ? null : [args.uri + ' ' + args.x,
        { blob: 'aGk=', mimeType: 'x/y', uri: 'other:uri' }]";
    create_resource(
        &server,
        json!({ "name": "made", "uriTemplate": "made:{x}", "code": code,
        "mimeType": "text/plain" }),
    );
    for era in ERAS {
        let params = json!({ "name": "greet", "arguments": { "a": "Ada" } });
        let got = result(&server, era, "prompts/get", &params);
        assert_eq!(got["messages"], json!([message("hello Ada")]));
        assert_eq!(got["description"], "made");
        let read = result(
            &server,
            era,
            "resources/read",
            &json!({ "uri": "made:a%20b" }),
        );
        let first =
            json!({ "uri": "made:a%20b", "mimeType": "text/plain", "text": "made:a%20b a b" });
        let second = json!({ "uri": "other:uri", "mimeType": "x/y", "blob": "aGk=" });
        assert_eq!(read["contents"], json!([first, second]));
        let (code, _) = error(
            &server,
            era,
            "resources/read",
            &json!({ "uri": "made:nil" }),
        );
        assert_eq!(code, if era == MODERN { -32602 } else { -32002 });
    }
    let patch = |code: &str| {
        let patch = json!({ "name": "greet", "patch": { "code": code, "timeoutMs": 1000 } });
        made(&server, "dynamic.prompt.update", patch);
        let answer = ask(&server, MODERN, "prompts/get", &json!({ "name": "greet" })).json();
        answer["error"].clone()
    };
    let check = |code: &str, kind: &str, expected: &str| {
        let error = patch(code);
        assert_eq!(
            (&error["code"], &error["data"]["kind"]),
            (&json!(-32603), &json!(kind))
        );
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(expected), "{error}");
    };
    check(
        "\nthrow new Error('boom')",
        "threw",
        "threw at line 2: boom",
    );
    check("while (true);", "timeout", "timeout");
    check(
        "return 7",
        "invalid_result",
        "a prompt's code returns a string",
    );
    check(
        "return ctx.content([])",
        "invalid_result",
        "a prompt's code returns a string",
    );
    check(
        "return [{ role: 'user' }]",
        "invalid_result",
        "$[0].content is missing",
    );
    assert_eq!(patch("return 'just text'"), Value::Null);
    let code = json!({ "name": "made", "patch": { "code": "return { text: 1 }" } });
    made(&server, "dynamic.resource.update", code);
    let (code, message) = error(
        &server,
        MODERN,
        "resources/read",
        &json!({ "uri": "made:x" }),
    );
    assert_eq!(code, -32603);
    assert!(
        message.contains("a resource's code returns a string"),
        "{message}"
    );

    let log = fs::read_to_string(server.folder.path().join(".dynamic-mcp/audit.log")).unwrap();
    let lines = |action: &str, target: &str| {
        let (action, target) = (format!("\"{action}\""), format!("\"{target}\""));
        let of = |line: &&str| line.contains(&action) && line.contains(&target);
        log.lines().filter(of).count()
    };
    assert_eq!(lines("dynamic.prompt.create", "greet"), 1, "{log}");
    assert_eq!(lines("dynamic.prompt.update", "greet"), 6);
    assert_eq!(lines("dynamic.resource.create", "made"), 1);
    // Each run has its intent before its outcome.
    assert_eq!(lines("dynamic.exec", "prompt/greet"), 2 * (2 + 6));
    assert_eq!(lines("dynamic.exec", "resource/made"), 2 * (4 + 1));
    let calls = "dynamic_mcp_tool_calls_total{kind=\"prompt\",outcome=\"threw\"}";
    assert_eq!(server.metric(calls), 1.0);
}

#[test]
fn code_of_prompts_and_resources_asks_its_client() {
    let server = Server::start(&[]);
    let name = "const answer = await ctx.elicit('name', { message: 'Who?', requestedSchema: {
        type: 'object', properties: { name: { type: 'string' } }, required: ['name'] } });";
    create_prompt(
        &server,
        json!({ "name": "greet", "code": format!(
        "{name} return 'hello ' + answer.content.name") }),
    );
    create_resource(
        &server,
        json!({ "name": "made", "uri": "made:it", "code": format!(
        "{name} return 'of ' + answer.content.name") }),
    );
    let answer = json!({ "name": { "action": "accept", "content": { "name": "Ada" } } });
    let rows = [
        ("prompts/get", json!({ "name": "greet" })),
        ("resources/read", json!({ "uri": "made:it" })),
    ];
    let mut states = Vec::new();
    for (method, params) in &rows {
        let asked = ask(&server, MODERN, method, params).json()["result"].clone();
        assert_eq!(asked["resultType"], "input_required", "{asked}");
        assert_eq!(
            asked["inputRequests"]["name"]["method"],
            "elicitation/create"
        );
        states.push(asked["requestState"].clone());
    }
    for (at, (method, params)) in rows.iter().enumerate() {
        let with = |state: &Value| {
            let mut params = params.clone();
            params["requestState"] = state.clone();
            params["inputResponses"] = answer.clone();
            params
        };
        let done = result(&server, MODERN, method, &with(&states[at]));
        assert!(done.to_string().contains(" Ada"), "{done}");
        // A state belongs to one method and one name.
        let (code, message) = error(&server, MODERN, method, &with(&states[1 - at]));
        assert_eq!(code, -32602);
        assert!(
            message.contains("does not belong to this call"),
            "{message}"
        );
        let (code, message) = error(&server, ERAS[0], method, params);
        assert_eq!(code, -32603);
        assert!(
            message.contains("ctx.elicit cannot reach this client"),
            "{message}"
        );
    }
    let patch = json!({ "name": "greet", "patch": { "title": "new" } });
    made(&server, "dynamic.prompt.update", patch);
    let params = json!({ "name": "greet", "requestState": states[0] });
    let (code, message) = error(&server, MODERN, "prompts/get", &params);
    assert_eq!(code, -32602);
    assert!(
        message.contains("the prompt has changed since it asked"),
        "{message}"
    );
}

#[test]
fn values_are_offered_by_their_beginning() {
    let server = Server::start(&[("MCP_PROFILE", "enterprise")]);
    create_prompt(&server, review());
    let many: Vec<_> = (0..150).map(|one| format!("v{one:03}")).collect();
    create_resource(
        &server,
        json!({ "name": "days", "uriTemplate": "notes://{day}", "text": "",
        "complete": { "day": many } }),
    );
    for era in ERAS {
        let complete = |reference: Value, argument: &str, value: &str| {
            let params =
                json!({ "ref": reference, "argument": { "name": argument, "value": value } });
            result(&server, era, "completion/complete", &params)["completion"].clone()
        };
        let prompt = || json!({ "type": "ref/prompt", "name": "code.review" });
        let found = complete(prompt(), "language", "ru");
        assert_eq!(
            found,
            json!({ "values": ["Rust", "ruby"], "total": 2, "hasMore": false })
        );
        assert_eq!(complete(prompt(), "language", "x")["values"], json!([]));
        assert_eq!(complete(prompt(), "nil", "")["values"], json!([]));
        let template = json!({ "type": "ref/resource", "uri": "notes://{day}" });
        let found = complete(template.clone(), "day", "");
        assert_eq!(found["values"].as_array().unwrap().len(), 100);
        assert_eq!(
            (&found["total"], &found["hasMore"]),
            (&json!(150), &json!(true))
        );
        assert_eq!(complete(template, "day", "v149")["values"], json!(["v149"]));
        let own = json!({ "type": "ref/prompt", "name": "tool-call-checklist" });
        let found = complete(own, "toolName", "dynamic.prompt.g");
        assert_eq!(found["values"], json!(["dynamic.prompt.get"]));
        let own = json!({ "type": "ref/resource", "uri": "dynamic://service/meta" });
        assert_eq!(complete(own, "x", "")["values"], json!([]));
        for unknown in [
            json!({ "type": "ref/prompt", "name": "nil" }),
            json!({ "type": "ref/resource", "uri": "nil:nil" }),
            json!({ "type": "ref/tool", "name": "abc" }),
            json!({}),
        ] {
            let argument = json!({ "name": "a", "value": "" });
            let params = json!({ "ref": unknown, "argument": argument });
            let (code, _) = error(&server, era, "completion/complete", &params);
            assert_eq!(code, -32602, "{params}");
        }
    }
    let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": { "name": "t", "version": "1" } });
    let declared = server.rpc("initialize", &hello)["result"]["capabilities"].clone();
    assert!(declared["prompts"].is_object() && declared["completions"].is_object());
}

#[test]
fn the_large_profile_has_a_checklist_for_calls() {
    let server = Server::start(&[("MCP_PROFILE", "enterprise")]);
    for era in ERAS {
        assert_eq!(
            listed(&server, era, "prompts", "name"),
            ["tool-call-checklist"]
        );
        let get = |tool: &str| json!({ "name": "tool-call-checklist", "arguments": { "toolName": tool } });
        let got = result(&server, era, "prompts/get", &get("dev.echo"));
        let text = got["messages"][0]["content"]["text"].as_str().unwrap();
        assert!(
            text.contains("the tool dev.echo") && text.contains("\"message\""),
            "{text}"
        );
        let (code, _) = error(&server, era, "prompts/get", &get("nil"));
        assert_eq!(code, -32602);
        let none = json!({ "name": "tool-call-checklist" });
        assert_eq!(error(&server, era, "prompts/get", &none).0, -32602);
    }
    // Who may not see a tool learns nothing of it here.
    let port = free_port();
    let open = [
        ("MCP_PROFILE", "enterprise"),
        ("MCP_HOST", "0.0.0.0"),
        ("MCP_PORT", port.as_str()),
        ("MCP_ALLOW_UNAUTHENTICATED", "true"),
    ];
    let server = Server::start(&open);
    let hidden = json!({ "name": "tool-call-checklist",
        "arguments": { "toolName": "dynamic.tool.create" } });
    assert_eq!(error(&server, MODERN, "prompts/get", &hidden).0, -32602);
    let argument = json!({ "name": "toolName", "value": "d" });
    let own = json!({ "type": "ref/prompt", "name": "tool-call-checklist" });
    let params = json!({ "ref": own, "argument": argument });
    let found = result(&server, MODERN, "completion/complete", &params);
    assert_eq!(
        found["completion"]["values"],
        json!(["dev.echo", "dynamic.tool.call"])
    );
    let settings = [
        ("MCP_PROFILE", "enterprise"),
        ("MCP_BUILTIN_GROUPS", "tool,system"),
    ];
    let server = Server::start(&settings);
    assert_eq!(listed(&server, MODERN, "prompts", "name"), [""; 0]);
    let get = json!({ "name": "tool-call-checklist", "arguments": { "toolName": "dev.echo" } });
    assert_eq!(error(&server, MODERN, "prompts/get", &get).0, -32602);
}

#[test]
fn making_is_for_admins_and_not_where_nothing_may_be_written() {
    let folder = Folder::new();
    let acts = ["create", "update", "delete", "list", "get"];
    let token = [("MCP_ADMIN_TOKEN", TOKEN), ("MCP_AUDIT_ENABLED", "true")];
    let mut server = Server::start_in(&folder, &token);
    for kind in ["prompt", "resource"] {
        for act in acts {
            let (name, new) = (format!("dynamic.{kind}.{act}"), json!({ "name": "abc" }));
            let arguments = match act {
                "create" => json!({ kind: new }),
                "update" => json!({ "name": "abc", "patch": { "title": "t" } }),
                "list" => json!({}),
                _ => new,
            };
            let told = refused(&server, &name, arguments);
            assert!(
                told.starts_with("policy") && told.contains("admin"),
                "{name}: {told}"
            );
        }
    }
    let prompt = json!({ "name": "abc", "messages": [{ "role": "user", "content": "hello" }] });
    made(
        &server,
        "dynamic.prompt.create",
        json!({ "prompt": prompt, "adminToken": TOKEN }),
    );
    server.stop();
    let log = fs::read_to_string(folder.path().join(".dynamic-mcp/audit.log")).unwrap();
    let denied = |action: &str| {
        let of = |line: &&str| line.contains(action) && line.contains("\"denied\"");
        log.lines().filter(of).count()
    };
    assert_eq!(
        (
            denied("dynamic.prompt.create"),
            denied("dynamic.resource.delete")
        ),
        (1, 1)
    );
    assert!(!log.contains(TOKEN));

    let server = Server::start_in(&folder, &[("MCP_DYNAMIC_READ_ONLY", "true")]);
    let told = refused(&server, "dynamic.prompt.delete", json!({ "name": "abc" }));
    assert!(told.contains("the registry is read-only"), "{told}");
    let got = result(&server, MODERN, "prompts/get", &json!({ "name": "abc" }));
    assert_eq!(got["messages"], json!([message("hello")]));
}

#[test]
fn a_registry_is_carried_over_with_its_prompts_and_resources() {
    let (from, to) = (Folder::new(), Folder::new());
    let mut server = Server::start_in(&from, &[]);
    create_prompt(&server, review());
    create_resource(
        &server,
        json!({ "name": "note", "uri": "notes://a", "text": "t" }),
    );
    server.create(json!({ "name": "abc", "description": "d", "code": "return 1" }));
    server.stop();
    let file = to.path().join("export.json");
    let file = file.to_str().unwrap();
    let output = run(&from, &[], &["tools", "export", file]);
    assert_eq!(
        stdout(&output),
        "1 tool, 1 prompt, 1 resource exported\n",
        "{}",
        stderr(&output)
    );
    let output = run(&to, &[], &["tools", "import", file]);
    assert_eq!(
        stdout(&output),
        "3 entries added, 0 replaced, 0 unchanged\n",
        "{}",
        stderr(&output)
    );
    let output = run(&to, &[], &["tools", "import", file]);
    assert_eq!(
        stdout(&output),
        "0 entries added, 0 replaced, 3 unchanged\n"
    );
    let server = Server::start_in(&to, &[]);
    assert_eq!(listed(&server, MODERN, "prompts", "name"), ["code.review"]);
    assert_eq!(listed(&server, MODERN, "resources", "uri"), ["notes://a"]);
    let patch = json!({ "name": "code.review", "patch": { "messages": [] } });
    made(&server, "dynamic.prompt.update", patch);
    let output = run(&to, &[], &["tools", "import", file]);
    assert!(
        stderr(&output).contains("others named code.review (prompt)"),
        "{}",
        stderr(&output)
    );
    let output = run(&to, &[], &["tools", "import", file, "replace"]);
    assert_eq!(
        stdout(&output),
        "0 entries added, 1 replaced, 2 unchanged\n"
    );
}

#[test]
fn every_replica_has_what_one_makes() {
    let (cluster, schema) = (Cluster::shared(), fresh_schema());
    let settings = Settings::of(&cluster, &schema);
    let start = || Server::start(&settings.pairs());
    let (one, mut other) = (start(), start());
    create_prompt(&one, review());
    create_resource(
        &one,
        json!({ "name": "note", "uriTemplate": "notes://{x}", "text": "{{x}}" }),
    );
    let heard = |what: &str, condition: &dyn Fn() -> bool| {
        wait_until(what, Duration::from_secs(5), condition);
    };
    heard("listed on the other", &|| {
        listed(&other, MODERN, "prompts", "name") == ["code.review"]
            && listed(&other, MODERN, "resourceTemplates", "name") == ["note"]
    });
    let read = result(
        &other,
        MODERN,
        "resources/read",
        &json!({ "uri": "notes://a" }),
    );
    assert_eq!(read["contents"][0]["text"], "a");
    // Somebody else's address is taken, whoever has heard of it.
    let same = json!({ "resource": { "name": "same", "uriTemplate": "notes://{y}", "text": "" } });
    let told = refused(&other, "dynamic.resource.create", same);
    assert!(told.contains("\"note\" has this URI already"), "{told}");
    let patch = json!({ "name": "code.review", "expectedRevision": 1, "patch": {
        "arguments": null, "messages": [{ "role": "user", "content": "\u{0}new" }] } });
    made(&other, "dynamic.prompt.update", patch.clone());
    let lost = refused(&one, "dynamic.prompt.update", patch);
    assert!(lost.contains("expected 1, current 2."), "{lost}");
    let get = json!({ "name": "code.review" });
    let expected = json!([message("\u{0}new")]);
    heard("changed on the first", &|| {
        let answer = ask(&one, MODERN, "prompts/get", &get).json();
        answer["result"]["messages"] == expected
    });
    made(
        &one,
        "dynamic.resource.update",
        json!({ "name": "note", "patch": {
        "code": "return 'made of ' + args.x" } }),
    );
    let read = result(
        &one,
        MODERN,
        "resources/read",
        &json!({ "uri": "notes://a" }),
    );
    assert_eq!(read["contents"][0]["text"], "made of a");
    other.stop();
    // Who comes later finds all of it in the database.
    let later = start();
    let got = result(&later, ERAS[0], "prompts/get", &get);
    assert_eq!(got["messages"], expected);
    assert_eq!(
        one.call("dynamic.prompt.delete", get.clone())
            .get("isError"),
        None
    );
    heard("gone", &|| {
        listed(&later, MODERN, "prompts", "name").is_empty()
    });
    let resources = made(&later, "dynamic.resource.list", json!({}));
    assert_eq!(resources["resources"][0]["revision"], 2);
}
