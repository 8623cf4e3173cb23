//! Clients that hear of changes: subscriptions of the stateless era, the one stream of a session,
//! the client of a pipe; wherever the change was made.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::auth::{self, AUDIENCE};
use crate::postgres_servers::Settings;
use crate::stream_calls::{ask, begin};
use crate::support::engine::await_that;
use crate::support::events::Events;
use crate::support::http::JSON;
use crate::support::idp::Idp;
use crate::support::pipe::{Home, MODERN_META, Pipe};
use crate::support::postgres::{Cluster, fresh_schema};
use crate::support::server::{Folder, Server};

const OPEN: &str = "dynamic_mcp_http_streams_open";
const CHANGED: &str = "notifications/tools/list_changed";
const ID: &str = "io.modelcontextprotocol/subscriptionId";
const BOTH: (&str, &str) = ("Accept", "application/json, text/event-stream");

/// Sends a `subscriptions/listen`.
pub(crate) fn try_listen(server: &Server, id: &Value, filter: &Value) -> Events {
    listen_with(server, &[], id, filter)
}

fn listen_with(server: &Server, more: &[(&str, &str)], id: &Value, filter: &Value) -> Events {
    let meta: Value = serde_json::from_str(&format!("{{{MODERN_META}}}")).unwrap();
    let params = json!({"notifications": filter, "_meta": meta["_meta"]});
    let body = json!({
        "jsonrpc": "2.0", "id": id, "method": "subscriptions/listen", "params": params,
    });
    let usual = [
        JSON,
        BOTH,
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "subscriptions/listen"),
    ];
    let fields: Vec<_> = usual.iter().chain(more).copied().collect();
    Events::open(server.address, "POST", &fields, &body.to_string())
}

/// A subscription to what `filter` says, acknowledged with what `honoured` says.
pub(crate) fn listen(server: &Server, id: &Value, filter: &Value, honoured: &Value) -> Events {
    let mut events = try_listen(server, id, filter);
    events.assert_is_stream();
    let params = events.expect("notifications/subscriptions/acknowledged");
    assert_eq!(
        params,
        json!({"notifications": honoured, "_meta": {ID: id}})
    );
    events
}

pub(crate) fn listen_to_tools(server: &Server) -> Events {
    let filter = json!({"toolsListChanged": true});
    listen(server, &json!(1), &filter, &filter)
}

/// The stream of a session, or what is answered instead.
fn get(server: &Server, session: &str) -> Events {
    let fields = [("Accept", "text/event-stream"), ("Mcp-Session-Id", session)];
    Events::open(server.address, "GET", &fields, "")
}

pub(crate) fn tool(name: &str) -> Value {
    json!({"name": name, "description": "d", "code": "return 1"})
}

#[test]
fn a_subscription_hears_what_it_asked_for_and_is_answered_at_the_end() {
    let mut server = Server::start(&[]);
    let filter = json!({"toolsListChanged": true, "resourceSubscriptions": ["a:b"]});
    let mut events = listen(&server, &json!("it"), &filter, &filter);
    let mut deaf = listen(&server, &json!(2), &json!({}), &json!({}));
    server.create(tool("a.tool"));
    assert_eq!(events.expect(CHANGED), json!({"_meta": {ID: "it"}}));
    server.call(
        "dynamic.tool.update",
        json!({"name": "a.tool", "patch": {"title": "T"}}),
    );
    events.expect(CHANGED);
    // What no list shows is no change of a list.
    let patch = json!({"name": "a.tool", "patch": {"timeoutMs": 2000}});
    server.call("dynamic.tool.update", patch);
    server.call(
        "dynamic.tool.enable",
        json!({"name": "a.tool", "enabled": false}),
    );
    events.expect(CHANGED);
    server.call("dynamic.tool.delete", json!({"name": "a.tool"}));
    events.expect(CHANGED);
    server.stop();
    for (events, id) in [(&mut events, json!("it")), (&mut deaf, json!(2))] {
        let last = events.next().unwrap();
        assert_eq!(last["id"], id);
        assert_eq!(last["result"]["resultType"], "complete");
        assert_eq!(last["result"]["_meta"][ID], id);
        assert_eq!(events.next(), None);
    }
}

#[test]
fn subscriptions_that_ask_too_much_are_refused() {
    let server = Server::start(&[]);
    let uris: Vec<_> = (0..129).map(|number| format!("a:{number}")).collect();
    for filter in [
        json!({"resourceSubscriptions": uris}),
        json!({"toolsListChanged": 1}),
        json!(1),
    ] {
        let mut refused = try_listen(&server, &json!(1), &filter);
        assert_eq!(refused.json()["error"]["code"], -32602, "{filter}");
    }
    let meta: Value = serde_json::from_str(&format!("{{{MODERN_META}}}")).unwrap();
    let params = json!({"notifications": {}, "_meta": meta["_meta"]});
    let body =
        json!({"jsonrpc": "2.0", "id": 7, "method": "subscriptions/listen", "params": params});
    let fields = [
        ("Accept", "application/json"),
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "subscriptions/listen"),
    ];
    let unheard = server.connect().post(&fields, &body.to_string());
    assert_eq!((unheard.status, &unheard.json()["id"]), (406, &json!(7)));
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": {}});
    let legacy = server.connect().post(&[], &body.to_string());
    assert_eq!(legacy.json()["error"]["code"], -32601);
    assert_eq!(server.metric("dynamic_mcp_http_streams_total"), 0.0);
}

#[test]
fn a_session_has_one_stream_until_it_ends() {
    let server = Server::start(&[]);
    let session = begin(&server, json!({}));
    let mut events = get(&server, &session);
    events.assert_is_stream();
    let second = get(&server, &session);
    assert_eq!(second.status, 409);
    server.create(tool("a.tool"));
    assert_eq!(
        events.next(),
        Some(json!({"jsonrpc": "2.0", "method": CHANGED}))
    );
    // One that is gone makes room.
    drop(events);
    await_that("no open streams", || server.metric(OPEN) == 0.0);
    let mut events = get(&server, &session);
    events.assert_is_stream();
    server.call("dynamic.tool.delete", json!({"name": "a.tool"}));
    events.expect(CHANGED);
    let fields = [("Mcp-Session-Id", session.as_str())];
    let ended = server.connect().exchange("DELETE", "/mcp", &fields, b"");
    assert_eq!(ended.status, 200);
    assert_eq!(events.next(), None);
    assert_eq!(get(&server, &session).status, 404);

    let get =
        |fields: &[(&str, &str)]| server.connect().exchange("GET", "/mcp", fields, b"").status;
    let session = begin(&server, json!({}));
    let id = ("Mcp-Session-Id", session.as_str());
    assert_eq!(get(&[("Accept", "text/event-stream")]), 405);
    assert_eq!(get(&[id]), 406);
    let modern = ("MCP-Protocol-Version", "2026-07-28");
    assert_eq!(get(&[id, modern, ("Accept", "text/event-stream")]), 405);
}

#[test]
fn a_subscription_ends_when_its_token_is_not_accepted_any_more() {
    let mut idp = Idp::start();
    let server = auth::start(&idp, &[]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    // Clocks may differ by 60 s: this one is accepted for some seconds.
    let claims = json!({
        "iss": idp.issuer, "sub": "alice", "aud": AUDIENCE, "exp": now.as_secs() - 54,
    });
    let order = json!({"do": "sign", "header": {}, "claims": claims});
    let token = idp.act(&order)["token"].as_str().unwrap().to_owned();
    let authorization = format!("Bearer {token}");
    let fields = [("Authorization", authorization.as_str())];
    let filter = json!({"toolsListChanged": true});
    let mut events = listen_with(&server, &fields, &json!(1), &filter);
    events.assert_is_stream();
    events.expect("notifications/subscriptions/acknowledged");
    assert_eq!(events.next().unwrap()["result"]["resultType"], "complete");
    assert_eq!(events.next(), None);
    assert_eq!(
        listen_with(&server, &fields, &json!(1), &filter).status,
        401
    );
    assert_eq!(try_listen(&server, &json!(1), &filter).status, 401);
}

#[test]
fn what_an_idle_session_holds_is_freed() {
    let server = Server::start(&[("MCP_HTTP_SESSION_TTL_SECONDS", "1")]);
    let session = begin(&server, json!({}));
    let level = json!({"level": "debug"});
    ask(&server, &session, "logging/setLevel", level);
    let mut events = get(&server, &session);
    events.assert_is_stream();
    assert_eq!(events.next(), None);
    assert_eq!(
        server.metric("dynamic_mcp_http_sessions_expired_total"),
        1.0
    );
    assert_eq!(server.metric(OPEN), 0.0);
    // The session itself goes on.
    get(&server, &session).assert_is_stream();
}

#[test]
fn resources_are_subscribed_to_by_any_uri() {
    let server = Server::start(&[]);
    let session = begin(&server, json!({}));
    for method in ["resources/subscribe", "resources/unsubscribe"] {
        let answer = ask(&server, &session, method, json!({"uri": "any:thing"}));
        assert_eq!(answer["result"], json!({}), "{answer}");
        assert_eq!(
            ask(&server, &session, method, json!({}))["error"]["code"],
            -32602
        );
        // Without a session there is nobody to tell, and nothing to keep.
        assert_eq!(
            server.rpc(method, &json!({"uri": "any:thing"}))["result"],
            json!({})
        );
    }
}

#[test]
fn changes_by_another_process_of_the_store_are_heard() {
    let folder = Folder::new();
    let (one, other) = (
        Server::start_in(&folder, &[]),
        Server::start_in(&folder, &[]),
    );
    let session = begin(&one, json!({}));
    let (mut subscription, mut stream) = (listen_to_tools(&one), get(&one, &session));
    other.create(tool("from.elsewhere"));
    subscription.expect(CHANGED);
    stream.expect(CHANGED);
    let listed = one.rpc("tools/list", &json!({})).to_string();
    assert!(listed.contains("from.elsewhere"), "{listed}");
}

#[test]
fn changes_in_another_replica_are_heard() {
    let settings = Settings::of(&Cluster::shared(), &fresh_schema());
    let (one, other) = (
        Server::start(&settings.pairs()),
        Server::start(&settings.pairs()),
    );
    let session = begin(&one, json!({}));
    let (mut subscription, mut stream) = (listen_to_tools(&one), get(&one, &session));
    let mut own = listen_to_tools(&other);
    other.create(tool("from.elsewhere"));
    for events in [&mut subscription, &mut stream, &mut own] {
        events.expect(CHANGED);
    }
    let ended = other
        .connect()
        .exchange("DELETE", "/mcp", &[("Mcp-Session-Id", &session)], b"");
    assert_eq!(ended.status, 200);
    assert_eq!(
        stream.next(),
        None,
        "a session that ended elsewhere has no stream"
    );
}

#[test]
fn the_client_of_a_pipe_hears_of_changes_in_either_era() {
    let home = Home::new();
    let mut pipe = Pipe::start(&home, &[]);
    let create = |pipe: &mut Pipe, name: &str| {
        let arguments = json!({"tool": tool(name)});
        pipe.request(
            9,
            "tools/call",
            &json!({"name": "dynamic.tool.create", "arguments": arguments}),
        );
        let mut lines = [pipe.next_line(), pipe.next_line()];
        lines.sort_by_key(|line| line.get("id").is_none());
        assert_eq!(lines[0]["id"], 9, "{lines:?}");
        lines[1].clone()
    };
    let listen = |id: &str, filter: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"subscriptions/listen","params":{{"notifications":{filter},{MODERN_META}}}}}"#
        )
    };
    let acknowledged = pipe.ask(&listen("5", r#"{"toolsListChanged":true}"#));
    assert_eq!(acknowledged["params"]["_meta"][ID], 5, "{acknowledged}");
    let told = create(&mut pipe, "one.tool");
    assert_eq!(
        (&told["method"], &told["params"]["_meta"][ID]),
        (&json!(CHANGED), &json!(5))
    );
    pipe.cancel(5);
    pipe.initialize("2025-11-25");
    let told = create(&mut pipe, "two.tool");
    assert_eq!(told, json!({"jsonrpc": "2.0", "method": CHANGED}));
    let last = pipe.ask(&listen("\"last\"", "{}"));
    assert_eq!(last["method"], "notifications/subscriptions/acknowledged");
    pipe.signal("TERM");
    let (status, rest) = pipe.wait();
    assert_eq!(status.code(), Some(0));
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert_eq!(
        (&rest[0]["id"], &rest[0]["result"]["_meta"][ID]),
        (&json!("last"), &json!("last"))
    );
}

#[test]
fn changes_of_prompts_and_resources_are_told_too() {
    let server = Server::start(&[]);
    let session = begin(&server, json!({}));
    let uri = "notes://one";
    ask(
        &server,
        &session,
        "resources/subscribe",
        json!({"uri": uri}),
    );
    let filter = json!({
        "promptsListChanged": true, "resourcesListChanged": true,
        "resourceSubscriptions": [uri],
    });
    let mut heard = [
        listen(&server, &json!(1), &filter, &filter),
        get(&server, &session),
    ];
    let prompt = json!({
        "name": "say.hello", "description": "d",
        "messages": [{"role": "user", "content": {"type": "text", "text": "hello"}}],
    });
    let resource = json!({"name": "notes.one", "uri": uri, "text": "a"});
    let patch = json!({"name": "notes.one", "patch": {"text": "b"}});
    let acts = [
        ("dynamic.prompt.create", json!({"prompt": prompt})),
        ("dynamic.resource.create", json!({"resource": resource})),
        ("dynamic.resource.update", patch),
    ];
    let told = [
        vec!["notifications/prompts/list_changed"],
        vec![
            "notifications/resources/list_changed",
            "notifications/resources/updated",
        ],
        vec!["notifications/resources/updated"],
    ];
    for ((act, arguments), told) in acts.into_iter().zip(told) {
        let result = server.call(act, arguments);
        assert_eq!(result.get("isError"), None, "{result}");
        for events in &mut heard {
            for method in &told {
                let params = events.expect(method);
                let about = params.get("uri");
                assert_eq!(about.is_some(), method.ends_with("/updated"), "{params}");
            }
        }
    }
}

#[test]
fn what_is_declared_is_so() {
    let server = Server::start(&[]);
    let declared = json!({
        "tools": {"listChanged": true},
        "prompts": {"listChanged": true},
        "resources": {"subscribe": true, "listChanged": true},
        "completions": {},
        "logging": {},
    });
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}});
    let answer = server.rpc("initialize", &hello);
    assert_eq!(answer["result"]["capabilities"], declared);
}
