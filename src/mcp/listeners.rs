//! Who hears of changes: streams of handshake sessions, subscriptions of the stateless era, and the
//! client of a pipe. What has changed comes from `notifier`, and is told to each who asked for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client_state::{
    ClientState, MAX_ALL_URIS_BYTES, MAX_URIS, busy, check_uri, held_bytes, too_many,
};
use super::jsonrpc::{RequestId, RpcError, code, error_text, result_text};
use super::outlet::Outlet;
use super::wire;
use crate::registry::{Changes, Touched};

/// Most subscriptions of one pipe.
const MAX_PIPED: usize = 128;

/// What a subscription asks for (MCP 2026-07-28, `SubscriptionFilter`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Filter {
    tools_list_changed: bool,
    prompts_list_changed: bool,
    resources_list_changed: bool,
    resource_subscriptions: BTreeSet<String>,
}

impl Filter {
    /// Everything that handshake revisions are told unasked.
    const LISTS: Self = Self {
        tools_list_changed: true,
        prompts_list_changed: true,
        resources_list_changed: true,
        resource_subscriptions: BTreeSet::new(),
    };

    /// All of it is promised.
    ///
    /// # Errors
    /// Beyond the bounds.
    pub(super) fn honoured(self) -> Result<Self, RpcError> {
        if self.resource_subscriptions.len() > MAX_URIS {
            return Err(too_many());
        }
        self.resource_subscriptions
            .iter()
            .try_for_each(|uri| check_uri(uri))?;
        Ok(self)
    }

    fn to_value(&self) -> Value {
        let mut value = Map::new();
        for (name, is_on) in [
            ("toolsListChanged", self.tools_list_changed),
            ("promptsListChanged", self.prompts_list_changed),
            ("resourcesListChanged", self.resources_list_changed),
        ] {
            if is_on {
                value.insert(name.to_owned(), true.into());
            }
        }
        if !self.resource_subscriptions.is_empty() {
            let uris = json!(self.resource_subscriptions);
            value.insert("resourceSubscriptions".to_owned(), uris);
        }
        value.into()
    }
}

/// A stream that is to be opened for one who hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub(super) whom: Whom,
    /// When the token expires that let it in.
    pub(super) until: Option<SystemTime>,
}

impl Subscription {
    /// The answer where no stream is opened.
    pub fn refusal(&self, code: i32, message: &str) -> String {
        let id = match &self.whom {
            Whom::Request { id, .. } => Some(id.text()),
            Whom::Session(_) | Whom::Pipe => None,
        };
        error_text(id, &RpcError::new(code, message))
    }
}

/// Who hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    /// The one stream of a session, by the session's id.
    Session(String),
    /// A subscription, by the id of its request, and the pipe it came by, if by one.
    Request {
        id: RequestId,
        filter: Filter,
        is_piped: bool,
    },
    /// The client of a pipe, after its handshake.
    Pipe,
}

#[derive(Debug)]
struct Listener {
    whom: Whom,
    /// Held by its filter.
    bytes: usize,
    until: Option<SystemTime>,
    outlet: Arc<dyn Outlet>,
}

/// All who hear.
#[derive(Debug, Default)]
pub(super) struct Listeners(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    all: Vec<Listener>,
    /// The server ends: nobody joins any more.
    is_closed: bool,
}

/// What the state of a session or pipe says; `None` where it is no longer kept.
pub(super) type Ask<'a> =
    &'a dyn Fn(&Whom, &dyn Fn(&ClientState) -> Vec<String>) -> Option<Vec<String>>;

impl Listeners {
    /// Whether a session has its stream.
    pub(super) fn has_session(&self, id: &str) -> bool {
        let mut table = self.lock();
        table.forget_gone();
        table.has_session(id)
    }

    /// Whether one more may hear.
    ///
    /// # Errors
    /// Beyond the bounds, or where its pipe has a subscription of the same id.
    pub(super) fn admit(&self, whom: &Whom) -> Result<(), RpcError> {
        let Whom::Request {
            id,
            filter,
            is_piped,
        } = whom
        else {
            return Ok(());
        };
        let mut table = self.lock();
        table.forget_gone();
        let held: usize = table.all.iter().map(|listener| listener.bytes).sum();
        if held.saturating_add(held_bytes(&filter.resource_subscriptions)) > MAX_ALL_URIS_BYTES {
            return Err(busy());
        }
        if *is_piped && table.piped().count() >= MAX_PIPED {
            let message = format!("at most {MAX_PIPED} subscriptions can be open");
            return Err(RpcError::invalid_params(message));
        }
        if *is_piped && table.piped().any(|other| other == id) {
            let message = "a subscription with this id is open already";
            return Err(RpcError::new(code::INVALID_REQUEST, message));
        }
        Ok(())
    }

    /// Lets one hear from now on: a subscription is told first what it will hear.
    pub(super) fn join(&self, subscription: Subscription, outlet: Arc<dyn Outlet>) {
        let Subscription { whom, until } = subscription;
        let mut table = self.lock();
        table.forget_gone();
        let is_second = match &whom {
            Whom::Session(id) => table.has_session(id),
            Whom::Pipe => table.all.iter().any(|other| other.whom == Whom::Pipe),
            Whom::Request { .. } => false,
        };
        let mut bytes = 0;
        if let Whom::Request { filter, .. } = &whom {
            bytes = held_bytes(&filter.resource_subscriptions);
            let mut params = json!({ "notifications": filter.to_value() });
            tag(&whom, &mut params);
            outlet.send(&note("notifications/subscriptions/acknowledged", &params));
        }
        let listener = Listener {
            whom,
            bytes,
            until,
            outlet,
        };
        if table.is_closed {
            listener.say_last_word();
        } else if !is_second {
            table.all.push(listener);
        }
    }

    /// The client of the pipe ended its subscription.
    pub(super) fn cancel_piped(&self, request: &RequestId) {
        self.lock().all.retain(|listener| {
            !matches!(&listener.whom, Whom::Request { id, is_piped: true, .. } if id == request)
        });
    }

    /// Ends the stream of a session.
    pub(super) fn end_session(&self, id: &str) {
        self.lock()
            .all
            .retain(|listener| !listener.whom.is_session(id));
    }

    /// Tells what has changed to all whom it concerns; forgets who is gone, and ends who may not
    /// hear any longer.
    pub(super) fn tell(&self, changes: &Changes, now: SystemTime, ask: Ask<'_>) {
        let touched = changes.touched();
        let mut table = self.lock();
        table.all.retain(|listener| {
            let may_hear = listener.until.is_none_or(|until| now < until);
            if !may_hear {
                listener.say_last_word();
            }
            may_hear && listener.tell(changes, &touched, ask)
        });
    }

    /// Ends all streams, each with its last word.
    pub(super) fn end(&self) {
        let mut table = self.lock();
        table.is_closed = true;
        for listener in table.all.drain(..) {
            listener.say_last_word();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn forget_gone(&mut self) {
        self.all.retain(|listener| listener.outlet.is_open());
    }

    /// The subscriptions of the pipe.
    fn piped(&self) -> impl Iterator<Item = &RequestId> {
        self.all.iter().filter_map(|listener| match &listener.whom {
            Whom::Request {
                id, is_piped: true, ..
            } => Some(id),
            _ => None,
        })
    }

    fn has_session(&self, id: &str) -> bool {
        self.all.iter().any(|listener| listener.whom.is_session(id))
    }
}

impl Whom {
    fn is_session(&self, of: &str) -> bool {
        matches!(self, Self::Session(id) if id == of)
    }
}

impl Listener {
    /// Whether it is to be kept.
    fn tell(&self, changes: &Changes, touched: &Touched<'_>, ask: Ask<'_>) -> bool {
        let unasked = Filter::LISTS;
        let filter = match &self.whom {
            Whom::Request { filter, .. } => filter,
            Whom::Session(_) | Whom::Pipe => &unasked,
        };
        for (is_news, method) in [
            (
                changes.tools && filter.tools_list_changed,
                "notifications/tools/list_changed",
            ),
            (
                changes.prompts && filter.prompts_list_changed,
                "notifications/prompts/list_changed",
            ),
            (
                changes.resources && filter.resources_list_changed,
                "notifications/resources/list_changed",
            ),
        ] {
            if is_news {
                self.send(method, method, json!({}));
            }
        }
        let touched = |uris: &BTreeSet<String>| -> Vec<String> {
            let uris = uris.iter().filter(|uri| touched.has(uri));
            uris.cloned().collect()
        };
        let (updated, is_kept) = match &self.whom {
            Whom::Request { filter, .. } => (touched(&filter.resource_subscriptions), true),
            whom => {
                let wanted = ask(whom, &|state| touched(&state.uris));
                let is_kept = wanted.is_some() || *whom == Whom::Pipe;
                (wanted.unwrap_or_default(), is_kept)
            }
        };
        for uri in updated {
            let method = "notifications/resources/updated";
            self.send(&uri, method, json!({ "uri": uri }));
        }
        is_kept && self.outlet.is_open()
    }

    fn send(&self, name: &str, method: &str, mut params: Value) {
        tag(&self.whom, &mut params);
        self.outlet.send_once(name, &note(method, &params));
    }

    /// The last word: a subscription's request is answered now.
    fn say_last_word(&self) {
        if let Whom::Request { id, .. } = &self.whom {
            let result = wire::subscription_ended(&subscription_id(id));
            self.outlet.send(&result_text(id.text(), &result));
        }
    }
}

/// The id of a subscription's request, of the same type as there.
fn subscription_id(id: &RequestId) -> Value {
    serde_json::from_str(id.text()).unwrap_or_default()
}

/// Marks a subscription's message with its id.
fn tag(whom: &Whom, params: &mut Value) {
    if let Whom::Request { id, .. } = whom {
        params["_meta"] = json!({ wire::META_SUBSCRIPTION: subscription_id(id) });
    }
}

fn note(method: &str, params: &Value) -> String {
    let mut note = BTreeMap::from([("jsonrpc", json!("2.0")), ("method", json!(method))]);
    if params.as_object().is_some_and(|params| !params.is_empty()) {
        note.insert("params", params.clone());
    }
    json!(note).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::client_state::tests::long_uris;
    use super::*;
    use std::time::Duration;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    #[derive(Debug, Default, Clone)]
    struct Heard(Arc<Mutex<Vec<Value>>>);

    impl Outlet for Heard {
        fn send(&self, message: &str) -> bool {
            self.0
                .lock()
                .unwrap()
                .push(serde_json::from_str(message).unwrap());
            true
        }

        fn send_spare(&self, message: &str) -> bool {
            self.send(message)
        }

        fn send_once(&self, _: &str, message: &str) -> bool {
            self.send(message)
        }

        fn is_open(&self) -> bool {
            true
        }
    }

    impl Heard {
        fn take(&self) -> Vec<Value> {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    fn all() -> Changes {
        Changes {
            tools: true,
            prompts: true,
            resources: true,
            updated: ["a:b", "c:d"].map(str::to_owned).into(),
        }
    }

    fn listen(id: &str, filter: Value) -> Subscription {
        let filter: Filter = serde_json::from_value(filter).unwrap();
        let whom = Whom::Request {
            id: RequestId::parse(id).unwrap(),
            filter: filter.honoured().unwrap(),
            is_piped: true,
        };
        Subscription { whom, until: None }
    }

    #[test]
    fn subscriptions_hear_what_they_asked_for_and_are_answered_in_the_end() {
        let (listeners, heard) = (Listeners::default(), Heard::default());
        let filter = json!({"toolsListChanged": true, "resourceSubscriptions": ["c:d"]});
        listeners.join(listen("\"7\"", filter.clone()), Arc::new(heard.clone()));
        let meta = json!({"io.modelcontextprotocol/subscriptionId": "7"});
        let message = |method: &str, mut params: Value| {
            params["_meta"] = meta.clone();
            json!({"jsonrpc": "2.0", "method": format!("notifications/{method}"), "params": params})
        };
        let first = message(
            "subscriptions/acknowledged",
            json!({"notifications": filter}),
        );
        assert_eq!(heard.take(), [first]);
        listeners.tell(&all(), NOW, &|_, _| None);
        let expected = [
            message("tools/list_changed", json!({})),
            message("resources/updated", json!({"uri": "c:d"})),
        ];
        assert_eq!(heard.take(), expected);
        listeners.end();
        let last = &heard.take()[0];
        assert_eq!(
            (&last["id"], &last["result"]["resultType"]),
            (&json!("7"), &json!("complete"))
        );
        assert_eq!(
            last["result"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
            "7"
        );
        listeners.join(listen("8", json!({})), Arc::new(heard.clone()));
        assert_eq!(
            heard.take().len(),
            2,
            "who comes late hears the end at once"
        );
    }

    #[test]
    fn a_subscription_is_ended_by_its_own_id() {
        let (listeners, heard) = (Listeners::default(), Heard::default());
        for id in ["7", "\"7\""] {
            let filter = json!({"toolsListChanged": true});
            listeners.join(listen(id, filter), Arc::new(heard.clone()));
        }
        heard.take();
        listeners.cancel_piped(&RequestId::parse("7").unwrap());
        listeners.tell(&all(), NOW, &|_, _| None);
        assert_eq!(heard.take().len(), 1);
    }

    #[test]
    fn a_session_has_one_stream_for_as_long_as_it_is_known() {
        let (listeners, heard) = (Listeners::default(), Heard::default());
        let session = || Subscription {
            whom: Whom::Session("s".to_owned()),
            until: None,
        };
        listeners.join(session(), Arc::new(heard.clone()));
        listeners.join(session(), Arc::new(heard.clone()));
        assert!(listeners.has_session("s") && !listeners.has_session("t"));
        let mut state = ClientState::default();
        state.subscribe("c:d").unwrap();
        listeners.tell(&all(), NOW, &|_, ask| Some(ask(&state)));
        let methods: Vec<_> = heard.take().iter().map(|it| it["method"].clone()).collect();
        let lists = ["tools", "prompts", "resources"];
        let mut expected: Vec<_> = lists
            .map(|list| json!(format!("notifications/{list}/list_changed")))
            .into();
        expected.push(json!("notifications/resources/updated"));
        assert_eq!(methods, expected);
        listeners.tell(&Changes::default(), NOW, &|_, _| None);
        assert!(!listeners.has_session("s"));
    }

    #[test]
    fn a_subscription_ends_with_the_token_that_let_it_in() {
        let (listeners, heard) = (Listeners::default(), Heard::default());
        let subscription = Subscription {
            until: Some(NOW + Duration::from_secs(1)),
            ..listen("7", json!({"toolsListChanged": true}))
        };
        listeners.join(subscription, Arc::new(heard.clone()));
        heard.take();
        listeners.tell(&all(), NOW, &|_, _| None);
        assert_eq!(heard.take().len(), 1);
        listeners.tell(&all(), NOW + Duration::from_secs(1), &|_, _| None);
        let last = heard.take();
        assert_eq!((last.len(), &last[0]["id"]), (1, &json!(7)));
        listeners.tell(&all(), NOW, &|_, _| None);
        assert_eq!(heard.take(), [json!(null); 0]);
    }

    #[test]
    fn filters_are_bounded() {
        let many: BTreeSet<String> = (0..=MAX_URIS).map(|number| number.to_string()).collect();
        let filter = Filter {
            resource_subscriptions: many,
            ..Filter::default()
        };
        assert!(filter.honoured().is_err());
    }

    #[test]
    fn subscriptions_are_bounded_together() {
        let listeners = Listeners::default();
        let whom = |id: usize, is_piped: bool, uris: BTreeSet<String>| Whom::Request {
            id: RequestId::parse(&id.to_string()).unwrap(),
            filter: Filter {
                resource_subscriptions: uris,
                ..Filter::default()
            },
            is_piped,
        };
        let join = |whom: Whom| {
            let admitted = listeners.admit(&whom);
            let subscription = Subscription { whom, until: None };
            admitted.map(|()| listeners.join(subscription, Arc::new(Heard::default())))
        };
        let large = (0..64).map(|id| join(whom(id, false, long_uris().collect())));
        let first = large.take_while(Result::is_ok).count();
        assert!((60..64).contains(&first), "{first}");
        for id in 0..MAX_PIPED {
            join(whom(id, true, BTreeSet::new())).unwrap();
            assert!(join(whom(id, true, BTreeSet::new())).is_err());
        }
        let one_more = join(whom(MAX_PIPED, true, BTreeSet::new())).unwrap_err();
        assert_eq!(one_more.message, "at most 128 subscriptions can be open");
        listeners.cancel_piped(&RequestId::parse("0").unwrap());
        join(whom(MAX_PIPED, true, BTreeSet::new())).unwrap();
    }

    #[test]
    fn a_pipe_that_says_again_that_it_is_ready_hears_once() {
        let (listeners, heard) = (Listeners::default(), Heard::default());
        for _ in 0..3 {
            let subscription = Subscription {
                whom: Whom::Pipe,
                until: None,
            };
            listeners.join(subscription, Arc::new(heard.clone()));
        }
        listeners.tell(&all(), NOW, &|_, _| None);
        assert_eq!(heard.take().len(), 3);
    }
}
