//! One call's line to its client: what its code says becomes notifications, what it asks becomes
//! requests. A tool that never stops talking is cut short here.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::asks::{Asks, CANCELLED};
use super::level::Level;
use super::outlet::Outlet;
use crate::base::text::clip;
use crate::domain::asking::{Ask, MAX_WAIT};
use crate::domain::json::JsonText;
use crate::domain::run::Cancel;
use crate::metrics::Metrics;
use crate::tools::Contact;

/// Notifications that one call may send at once, and each second after that.
const MAX_BURST: f64 = 200.0;
const MAX_PER_SECOND: f64 = 50.0;
/// Largest data of a log message, in bytes of JSON.
const MAX_DATA_BYTES: usize = 64 * 1024;

/// Longest message of a progress, in bytes.
const MAX_MESSAGE_BYTES: usize = 8 * 1024;

/// Who may be asked beside the call, and where its answers come in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside<'a> {
    pub(super) asks: &'a Asks,
    /// Session or pipe.
    pub(super) client: &'a str,
}

/// The line of one call.
#[derive(Debug)]
pub(super) struct CallContact<'a> {
    outlet: Option<&'a dyn Outlet>,
    metrics: &'a Metrics,
    /// The tool, as the client called it.
    name: &'a str,
    /// JSON text.
    progress_token: Option<&'a str>,
    level: Option<Level>,
    beside: Option<Beside<'a>>,
    /// Ends the call.
    cancel: &'a Cancel,
    said: Mutex<Said>,
}

#[derive(Debug)]
struct Said {
    progress: Option<f64>,
    allowance: f64,
    counted_at: Instant,
    /// Spent on waiting for the client's answers.
    waited: Duration,
}

impl Said {
    /// Whether one more may be said now.
    fn may_go_on(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.counted_at).as_secs_f64();
        self.counted_at = now;
        self.allowance = (self.allowance + passed * MAX_PER_SECOND).min(MAX_BURST);
        let goes_on = self.allowance >= 1.0;
        if goes_on {
            self.allowance -= 1.0;
        }
        goes_on
    }
}

impl<'a> CallContact<'a> {
    /// Progress is told where there is a token for it, and logs from `level` on.
    pub(super) fn new(
        outlet: Option<&'a dyn Outlet>,
        metrics: &'a Metrics,
        name: &'a str,
        progress_token: Option<&'a str>,
        level: Option<Level>,
        beside: Option<Beside<'a>>,
        cancel: &'a Cancel,
    ) -> Self {
        Self {
            outlet,
            metrics,
            name,
            progress_token,
            level,
            beside,
            cancel,
            said: Mutex::new(Said {
                progress: None,
                allowance: MAX_BURST,
                counted_at: Instant::now(),
                waited: Duration::ZERO,
            }),
        }
    }

    /// Where what the code says goes: nowhere once the call is cancelled.
    fn listening(&self) -> Option<&'a dyn Outlet> {
        self.outlet.filter(|_| !self.cancel.is_cancelled())
    }

    fn tell(&self, outlet: &dyn Outlet, method: &str, params: &str) {
        outlet.send_spare(&format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\",\"params\":{params}}}"
        ));
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contact for CallContact<'_> {
    fn wants_console(&self) -> bool {
        self.outlet.is_some() && self.level.is_some()
    }

    fn log(&self, level: &str, data: &JsonText) {
        let (Some(outlet), Some(least)) = (self.listening(), self.level) else {
            return;
        };
        // Frames are the runner's, and the runner's process is the author's.
        let Some(level) = Level::parse(level).filter(|level| *level >= least) else {
            return;
        };
        if data.text().len() > MAX_DATA_BYTES || !self.lock().may_go_on(Instant::now()) {
            return self.metrics.count_notification_dropped();
        }
        let logger = json!(self.name);
        let (level, data) = (level.as_str(), data.text());
        let params = format!("{{\"level\":\"{level}\",\"logger\":{logger},\"data\":{data}}}");
        self.tell(outlet, "notifications/message", &params);
    }

    fn progress(&self, done: f64, total: Option<f64>, message: Option<&str>) {
        let (Some(outlet), Some(token)) = (self.listening(), self.progress_token) else {
            return;
        };
        {
            let mut said = self.lock();
            if !done.is_finite() || said.progress.is_some_and(|before| done <= before) {
                return;
            }
            if !said.may_go_on(Instant::now()) {
                return self.metrics.count_notification_dropped();
            }
            said.progress = Some(done);
        }
        let mut params = format!("{{\"progressToken\":{token},\"progress\":{}", number(done));
        if let Some(total) = total.filter(|total| total.is_finite()) {
            params += &format!(",\"total\":{}", number(total));
        }
        if let Some(message) = message {
            let message = clip(message, MAX_MESSAGE_BYTES);
            params += &format!(",\"message\":{}", json!(message));
        }
        params.push('}');
        self.tell(outlet, "notifications/progress", &params);
    }

    fn ask(&self, ask: &Ask, cancel: &Cancel) -> Result<JsonText, String> {
        let (Some(outlet), Some(beside)) = (self.outlet, self.beside) else {
            return Err("this client cannot be asked while the code runs".to_owned());
        };
        let patience = MAX_WAIT.saturating_sub(self.lock().waited);
        if cancel.is_cancelled() {
            return Err(CANCELLED.to_owned());
        }
        if patience.is_zero() {
            return Err("no time is left to wait for the client's answers".to_owned());
        }
        let began = Instant::now();
        let (ending, answer) = beside
            .asks
            .ask(beside.client, outlet, ask, patience, cancel);
        self.lock().waited += began.elapsed();
        self.metrics.count_question(ending.as_str());
        answer
    }
}

/// A number as JSON: whole ones without a fraction.
fn number(value: f64) -> Value {
    const MAX_SAFE: f64 = 9_007_199_254_740_992.0;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is whole and within bounds"
    )]
    match value.fract() == 0.0 && value.abs() <= MAX_SAFE {
        true => json!(value as i64),
        false => json!(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::asking::AskKind;

    #[derive(Debug, Default)]
    struct Heard(Mutex<Vec<Value>>);

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

    fn text(text: &str) -> JsonText {
        JsonText::parse(text.to_owned()).unwrap()
    }

    #[test]
    fn progress_only_grows_and_logs_begin_at_their_level() {
        let (heard, metrics, cancel) = (Heard::default(), Metrics::default(), Cancel::default());
        let contact = CallContact::new(
            Some(&heard),
            &metrics,
            "a\"b",
            Some("\"token\""),
            Level::parse("warning"),
            None,
            &cancel,
        );
        for done in [0.0, 0.0, 1.5, 1.0, f64::NAN, f64::INFINITY, 2.0] {
            contact.progress(done, Some(3.0), (done == 2.0).then_some("m"));
        }
        for level in ["info", "error", "ERROR", "forged\",\"x"] {
            contact.log(level, &text("{\"x\":1.0}"));
        }
        contact.log(
            "error",
            &JsonText::from_value(&json!("x".repeat(MAX_DATA_BYTES))),
        );
        let heard = heard.0.into_inner().unwrap();
        let progress =
            |done: Value| json!({"progressToken": "token", "progress": done, "total": 3});
        let mut last = progress(json!(2));
        last["message"] = json!("m");
        let params: Vec<_> = heard
            .iter()
            .map(|message| message["params"].clone())
            .collect();
        let log = json!({"level": "error", "logger": "a\"b", "data": {"x": 1.0}});
        let expected = [progress(json!(0)), progress(json!(1.5)), last, log];
        assert_eq!(params, expected);
    }

    #[test]
    fn a_cancelled_call_says_and_asks_nothing_more() {
        let (heard, metrics, cancel) = (Heard::default(), Metrics::default(), Cancel::default());
        let (asks, level) = (Asks::new(1), Level::parse("debug"));
        let beside = Beside {
            asks: &asks,
            client: "one",
        };
        let contact = CallContact::new(
            Some(&heard),
            &metrics,
            "t",
            Some("1"),
            level,
            Some(beside),
            &cancel,
        );
        contact.log("debug", &text("0"));
        cancel.cancel();
        contact.log("debug", &text("0"));
        contact.progress(1.0, None, None);
        let ask = Ask {
            kind: AskKind::ListRoots,
            key: "k".to_owned(),
            params: text("null"),
        };
        assert_eq!(contact.ask(&ask, &cancel), Err(CANCELLED.to_owned()));
        let live = Cancel::default();
        contact.lock().waited = MAX_WAIT;
        let late = contact.ask(&ask, &live).unwrap_err();
        assert!(late.starts_with("no time is left"), "{late}");
        assert_eq!(heard.0.into_inner().unwrap().len(), 1);
    }

    #[test]
    fn nobody_is_flooded() {
        let (heard, metrics) = (Heard::default(), Metrics::default());
        let level = Level::parse("debug");
        let cancel = Cancel::default();
        let contact = CallContact::new(Some(&heard), &metrics, "t", None, level, None, &cancel);
        for _ in 0..10_000 {
            contact.log("debug", &text("0"));
        }
        let told = heard.0.into_inner().unwrap().len();
        assert!((200..1000).contains(&told), "{told}");
    }

    #[test]
    fn allowances_come_back_with_time() {
        let began = Instant::now();
        let mut said = Said {
            progress: None,
            allowance: 1.0,
            counted_at: began,
            waited: Duration::ZERO,
        };
        assert!(said.may_go_on(began) && !said.may_go_on(began));
        let later = began + Duration::from_secs(3600);
        let all = (0..10_000).filter(|_| said.may_go_on(later)).count();
        assert_eq!(all, 200);
    }
}
