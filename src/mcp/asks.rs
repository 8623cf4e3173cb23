//! Questions to clients of handshake revisions: requests of ours that run beside a call, and the
//! answers to them. Their ids cannot be guessed, and only the client that was asked can answer.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde_json::{Value, json};

use super::outlet::Outlet;
use crate::base::deadline::Deadline;
use crate::base::ids::random_hex;
use crate::base::text::clip;
use crate::domain::asking::Ask;
use crate::domain::json::JsonText;
use crate::domain::run::Cancel;

/// How often one who waits looks whether it is still worth it.
const CHECK: Duration = Duration::from_millis(50);
/// Longest message of a client's error that is passed on, in bytes.
const MAX_ERROR_BYTES: usize = 1024;

/// Why there is no answer for a call that was cancelled.
pub(super) const CANCELLED: &str = "the call was cancelled";

/// How a question ended, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Answered,
    Refused,
    TimedOut,
    Abandoned,
}

impl Ending {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::TimedOut => "timeout",
            Self::Abandoned => "abandoned",
        }
    }
}

/// What came back: the client's result, or the message of its error.
pub(super) type Answered = Result<JsonText, String>;

/// Questions that wait. Each holds the place of its call, so some places are kept from them.
#[derive(Debug)]
pub(super) struct Asks {
    waiting: Mutex<HashMap<String, Waiting>>,
    most: usize,
}

#[derive(Debug)]
struct Waiting {
    /// Session or pipe.
    client: String,
    answer: Sender<Answered>,
}

/// A question under way; forgotten when dropped.
struct Question<'a> {
    asks: &'a Asks,
    id: String,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.asks.lock().remove(&self.id);
    }
}

impl Asks {
    /// No question waits yet; of calls that wait for their clients there are `most`, or one.
    pub(super) fn new(most: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            most: most.max(1),
        }
    }

    /// Asks and waits.
    ///
    /// # Errors
    /// Why there is no result, for the author of the code that asks.
    pub(super) fn ask(
        &self,
        client: &str,
        outlet: &dyn Outlet,
        ask: &Ask,
        patience: Duration,
        cancel: &Cancel,
    ) -> (Ending, Answered) {
        let (answer, answered) = bounded(1);
        let id = random_hex();
        let waiting = Waiting {
            client: client.to_owned(),
            answer,
        };
        {
            let mut all = self.lock();
            if all.len() >= self.most {
                let why = "too many calls wait for their clients: try again later";
                return (Ending::Refused, Err(why.to_owned()));
            }
            all.insert(id.clone(), waiting);
        }
        let question = Question { asks: self, id };
        let gone = || Err("the client has gone, or takes no questions now".to_owned());
        if !outlet.send(&request(&question.id, ask)) {
            return (Ending::Abandoned, gone());
        }
        let (ending, why) = match wait(&answered, outlet, Deadline::after(patience), cancel) {
            Ok(Ok(result)) => return (Ending::Answered, Ok(result)),
            Ok(Err(message)) => {
                let message = clip(&message, MAX_ERROR_BYTES);
                let why = format!("the client refused: {message}");
                return (Ending::Refused, Err(why));
            }
            Err(ending) => match ending {
                Ending::TimedOut => (ending, "the client did not answer in time"),
                _ if cancel.is_cancelled() => (ending, CANCELLED),
                _ => return (ending, gone()),
            },
        };
        let note = json!({
            "jsonrpc": "2.0",
            "method": "notifications/cancelled",
            "params": { "requestId": question.id, "reason": why },
        });
        outlet.send_spare(&note.to_string());
        (ending, Err(why.to_owned()))
    }

    /// Takes an answer, if it is this client's to give.
    pub(super) fn answer(&self, client: &str, id: &str, answered: Answered) {
        let Ok(id) = serde_json::from_str::<String>(id) else {
            return;
        };
        let waiting = self.lock();
        let asked = waiting.get(&id).filter(|asked| asked.client == client);
        if let Some(asked) = asked {
            // Full means that it was answered before.
            let _ = asked.answer.try_send(answered);
        }
    }

    /// Questions that wait for their answers.
    pub(super) fn waiting(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait(
    answered: &Receiver<Answered>,
    outlet: &dyn Outlet,
    deadline: Deadline,
    cancel: &Cancel,
) -> Result<Answered, Ending> {
    loop {
        match answered.recv_timeout(CHECK) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Ending::Abandoned),
        }
        if cancel.is_cancelled() || !outlet.is_open() {
            return Err(Ending::Abandoned);
        }
        if deadline.remaining().is_none() {
            return Err(Ending::TimedOut);
        }
    }
}

/// The request as the client gets it.
fn request(id: &str, ask: &Ask) -> String {
    let mut message = json!({"jsonrpc": "2.0", "id": id, "method": ask.kind.method()});
    let params = ask.params.value().unwrap_or_default();
    if let (Value::Object(mut params), Some(message)) = (params, message.as_object_mut()) {
        if params.get("mode").is_some_and(|mode| mode == "url") {
            // Of 2025-11-25, where a link is known by it.
            params.insert("elicitationId".to_owned(), random_hex().into());
        }
        message.insert("params".to_owned(), params.into());
    }
    message.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::asking::AskKind;

    /// A client that answers what it is sent, each as `answer` says.
    struct Client<'a> {
        asks: &'a Asks,
        answer: fn(&Asks, &str),
    }

    impl std::fmt::Debug for Client<'_> {
        fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("Client")
        }
    }

    impl Outlet for Client<'_> {
        fn send(&self, message: &str) -> bool {
            let message: Value = serde_json::from_str(message).unwrap();
            assert_eq!(
                message["params"]["elicitationId"].as_str().unwrap().len(),
                32
            );
            (self.answer)(self.asks, &message["id"].to_string());
            true
        }

        fn send_spare(&self, _: &str) -> bool {
            true
        }

        fn send_once(&self, _: &str, _: &str) -> bool {
            true
        }

        fn is_open(&self) -> bool {
            true
        }
    }

    fn ask_of(asks: &Asks, answer: fn(&Asks, &str), cancel: &Cancel) -> (Ending, Answered) {
        let client = Client { asks, answer };
        let ask = Ask {
            kind: AskKind::Elicit,
            key: "k".to_owned(),
            params: JsonText::from_value(&json!({"mode": "url", "url": "https://a.example"})),
        };
        asks.ask("one", &client, &ask, Duration::from_millis(100), cancel)
    }

    fn ask(answer: fn(&Asks, &str), cancel: &Cancel) -> (Ending, Answered) {
        let asks = Asks::new(1);
        let ended = ask_of(&asks, answer, cancel);
        assert_eq!(asks.waiting(), 0);
        ended
    }

    #[test]
    fn those_who_wait_leave_places_to_others() {
        let (ending, answer) = ask(
            |asks, id| {
                let (_, other) = ask_of(asks, |_, _| {}, &Cancel::default());
                assert!(other.unwrap_err().starts_with("too many calls wait"));
                asks.answer("one", id, Ok(value()));
            },
            &Cancel::default(),
        );
        assert_eq!((ending, answer), (Ending::Answered, Ok(value())));
    }

    fn value() -> JsonText {
        JsonText::from_value(&json!({"action": "accept"}))
    }

    #[test]
    fn only_who_was_asked_answers_and_only_once() {
        let (ending, answer) = ask(
            |asks, id| {
                asks.answer("other", id, Err("not yours".to_owned()));
                asks.answer("one", "\"guessed\"", Err("unknown".to_owned()));
                asks.answer("one", "7", Err("unknown".to_owned()));
                asks.answer("one", id, Ok(value()));
                asks.answer("one", id, Err("again".to_owned()));
            },
            &Cancel::default(),
        );
        assert_eq!((ending, answer), (Ending::Answered, Ok(value())));
    }

    #[test]
    fn waiting_has_an_end() {
        let (ending, answer) = ask(|_, _| {}, &Cancel::default());
        let why = Err("the client did not answer in time".to_owned());
        assert_eq!((ending, answer), (Ending::TimedOut, why));
        let cancel = Cancel::default();
        cancel.cancel();
        let (ending, answer) = ask(|_, _| {}, &cancel);
        let why = Err("the call was cancelled".to_owned());
        assert_eq!((ending, answer), (Ending::Abandoned, why));
    }
}
