//! Asking the client that called: what it can be asked, what it has answered, and the rounds that
//! this takes. A client of the stateless era is never sent a request: the call ends with the
//! questions as its result, the client calls again with its answers, and the code runs again from
//! its top, until no question is left (MCP 2026-07-28, "multi round-trip requests"). A client of a
//! handshake revision is sent each question beside its call, while the code waits.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::contact::Contact;
use super::questions::{Question, check_question, is_answer};
use crate::domain::asking::{Answer, Ask, AskKind, ClientCapability};
use crate::domain::json::JsonText;
use crate::domain::run::{Cancel, Observer};

/// Most questions of one round.
const MAX_QUESTIONS: usize = 16;
/// Most that the questions of one round may take, in bytes of JSON.
const MAX_QUESTIONS_BYTES: usize = 128 * 1024;
/// Longest key, in characters, which are visible ASCII.
const MAX_KEY_CHARS: usize = 64;
/// Most rounds of one call that end with questions.
const MAX_ROUNDS: u32 = 16;
/// Most that the answers of earlier rounds may take, in bytes of JSON.
const MAX_ANSWERS_BYTES: usize = 128 * 1024;

/// Most questions of one call whose client is asked beside it.
const MAX_QUESTIONS_AT_ONCE: usize = 64;

/// Answers by the key of their question, as the client wrote them.
pub type Answers = BTreeMap<String, JsonText>;

/// Why some clients of handshake revisions cannot be asked, for the code's author.
pub(super) const UNREACHABLE: &str = "it speaks a protocol revision before 2026-07-28, and sent its \
    call without Mcp-Session-Id or without accepting text/event-stream";

/// What a client declared that it can be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// `elicitation`.
    pub elicitation: bool,
    /// `elicitation.form`; an empty `elicitation` means it.
    pub elicits_forms: bool,
    /// `elicitation.url`.
    pub elicits_urls: bool,
    /// `sampling`.
    pub sampling: bool,
    /// `sampling.tools`.
    pub samples_tools: bool,
    /// `sampling.context`.
    pub samples_context: bool,
    /// `roots`.
    pub roots: bool,
}

impl Capabilities {
    /// Of a client that declared none.
    pub const NONE: Self = Self {
        elicitation: false,
        elicits_forms: false,
        elicits_urls: false,
        sampling: false,
        samples_tools: false,
        samples_context: false,
        roots: false,
    };

    /// Whether a capability was declared.
    pub fn has(&self, capability: ClientCapability) -> bool {
        match capability {
            ClientCapability::Elicitation => self.elicitation,
            ClientCapability::Sampling => self.sampling,
            ClientCapability::Roots => self.roots,
        }
    }
}

/// What earlier rounds of a call have left. Only what this server made may be put here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Earlier {
    /// How many there were.
    pub rounds: u32,
    /// Which state of which tool asked; answers to its questions are for no other.
    pub asker: String,
    /// Answers that its code has used.
    pub answers: Answers,
}

/// How a client is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asking {
    /// Not at all: it began no session, or takes no stream.
    #[default]
    Never,
    /// By the result of its call, which it repeats with its answers (2026-07-28).
    ByRounds,
    /// By a request of ours beside its call (handshake revisions).
    Beside,
}

/// The client behind a call, as far as its code may ask it.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// How it is asked.
    pub asking: Asking,
    /// What it declared.
    pub capabilities: Capabilities,
    /// Where it goes on with a call.
    pub earlier: Option<Earlier>,
    /// Its answers to the last round, or to whatever it knows will be asked.
    pub answers: Answers,
}

impl Client {
    /// One that cannot be asked.
    pub const MUTE: Self = Self {
        asking: Asking::Never,
        capabilities: Capabilities::NONE,
        earlier: None,
        answers: BTreeMap::new(),
    };

    /// Whether it lacks one of these.
    pub(super) fn lacks(&self, required: &BTreeSet<ClientCapability>) -> bool {
        !required.iter().all(|one| self.capabilities.has(*one))
    }
}

/// A call's questions, and what its next round has to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// In the order of their asking; no key twice.
    pub questions: Vec<Ask>,
    /// For the next round.
    pub so_far: Earlier,
}

/// One run as its client hears it.
pub(super) struct Round<'a> {
    client: &'a Client,
    contact: &'a dyn Contact,
    cancel: &'a Cancel,
    asker: &'a str,
    questions: Vec<Ask>,
    /// Questions that were asked beside the call, whatever came of them.
    asked: usize,
    /// Answers used by the code, and their kinds.
    used: BTreeMap<String, (AskKind, JsonText)>,
}

impl<'a> Round<'a> {
    /// A run of `asker`'s code.
    pub(super) fn new(
        client: &'a Client,
        contact: &'a dyn Contact,
        cancel: &'a Cancel,
        asker: &'a str,
    ) -> Self {
        Self {
            client,
            contact,
            cancel,
            asker,
            questions: Vec::new(),
            asked: 0,
            used: BTreeMap::new(),
        }
    }

    /// What the run came to when it ended with questions.
    pub(super) fn finish(self) -> Asked {
        let earlier = self.client.earlier.clone().unwrap_or_default();
        let mut answers = earlier.answers;
        answers.extend(self.used.into_iter().map(|(key, (_, value))| (key, value)));
        Asked {
            questions: self.questions,
            so_far: Earlier {
                rounds: earlier.rounds + 1,
                asker: self.asker.to_owned(),
                answers,
            },
        }
    }

    fn answer(&mut self, ask: Ask) -> Result<Answer, String> {
        if self.client.asking == Asking::Never {
            return Err(format!(
                "ctx.{} cannot reach this client: {}",
                ask.kind.as_str(),
                UNREACHABLE
            ));
        }
        let is_key = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        if !(1..=MAX_KEY_CHARS).contains(&ask.key.len()) || !ask.key.bytes().all(is_key) {
            return Err(format!(
                "the key must be 1 to {MAX_KEY_CHARS} characters of printable ASCII"
            ));
        }
        if let Some(known) = self.kind_of(&ask.key)
            && known != ask.kind
        {
            return Err(format!(
                "the key \"{}\" is that of a question by ctx.{} already",
                ask.key,
                known.as_str()
            ));
        }
        if let Some((_, value)) = self.used.get(&ask.key) {
            return Ok(Answer::Value(value.clone()));
        }
        if self.questions.iter().any(|other| other.key == ask.key) {
            return Ok(Answer::Later);
        }
        let question = check_question(&ask, &self.client.capabilities)?;
        if self.client.asking == Asking::Beside {
            return self.ask_beside(ask, &question);
        }
        let given = self.earlier_answer(&ask.key);
        let given = given.or_else(|| self.client.answers.get(&ask.key));
        if let Some(given) = given.filter(|given| is_answer(&question, given)) {
            let given = given.clone();
            self.used.insert(ask.key, (ask.kind, given.clone()));
            return Ok(Answer::Value(given));
        }
        self.check_bounds(&ask)?;
        self.questions.push(ask);
        Ok(Answer::Later)
    }

    /// Asks the client while the code waits.
    fn ask_beside(&mut self, ask: Ask, question: &Question) -> Result<Answer, String> {
        if self.asked >= MAX_QUESTIONS_AT_ONCE {
            return Err(format!(
                "one call asks at most {MAX_QUESTIONS_AT_ONCE} questions"
            ));
        }
        if ask.params.text().len() > MAX_QUESTIONS_BYTES {
            return Err(format!(
                "the question is larger than {MAX_QUESTIONS_BYTES} bytes"
            ));
        }
        self.asked += 1;
        let given = self.contact.ask(&ask, self.cancel)?;
        let used: usize = self
            .used
            .values()
            .map(|(_, value)| value.text().len())
            .sum();
        if used + given.text().len() > MAX_ANSWERS_BYTES {
            return Err(format!(
                "the client's answers are larger than {MAX_ANSWERS_BYTES} bytes"
            ));
        }
        if !is_answer(question, &given) {
            return Err("the client's answer does not fit what it was asked".to_owned());
        }
        self.used.insert(ask.key, (ask.kind, given.clone()));
        Ok(Answer::Value(given))
    }

    fn kind_of(&self, key: &str) -> Option<AskKind> {
        let asked = self.questions.iter().find(|other| other.key == key);
        let asked = asked.map(|other| other.kind);
        asked.or_else(|| self.used.get(key).map(|(kind, _)| *kind))
    }

    fn earlier_answer(&self, key: &str) -> Option<&JsonText> {
        self.client.earlier.as_ref()?.answers.get(key)
    }

    /// Whether one more question may be asked.
    fn check_bounds(&self, ask: &Ask) -> Result<(), String> {
        let earlier = self.client.earlier.as_ref();
        if earlier.is_some_and(|earlier| earlier.rounds >= MAX_ROUNDS) {
            return Err(format!(
                "this call has asked in {MAX_ROUNDS} rounds already"
            ));
        }
        if self.questions.len() >= MAX_QUESTIONS {
            return Err(format!("one round has at most {MAX_QUESTIONS} questions"));
        }
        let questions = self.questions.iter().chain([ask]);
        let bytes: usize = questions.map(|one| one.params.text().len()).sum();
        if bytes > MAX_QUESTIONS_BYTES {
            return Err(format!(
                "the questions of one round are larger than {MAX_QUESTIONS_BYTES} bytes"
            ));
        }
        let earlier = earlier.into_iter().flat_map(|earlier| &earlier.answers);
        let used = self.used.iter().map(|(key, (_, value))| (key, value));
        let kept: BTreeMap<_, _> = earlier.chain(used).collect();
        let bytes: usize = kept
            .iter()
            .map(|(key, value)| key.len() + value.text().len())
            .sum();
        if bytes > MAX_ANSWERS_BYTES {
            return Err(format!(
                "no more can be asked: the answers so far are larger than {MAX_ANSWERS_BYTES} bytes"
            ));
        }
        Ok(())
    }
}

impl Observer for Round<'_> {
    fn wants_console(&self) -> bool {
        self.contact.wants_console()
    }

    fn log(&mut self, level: &str, data: &JsonText) {
        self.contact.log(level, data);
    }

    fn progress(&mut self, done: f64, total: Option<f64>, message: Option<&str>) {
        self.contact.progress(done, total, message);
    }

    fn ask(&mut self, ask: Ask) -> Answer {
        self.answer(ask).unwrap_or_else(Answer::Refused)
    }
}

#[cfg(test)]
mod tests {
    use super::super::contact::NoContact;
    use super::*;
    use serde_json::json;

    fn client(answers: &[(&str, &str)], earlier: Option<Earlier>) -> Client {
        let json = |text: &str| JsonText::parse(text.to_owned()).unwrap();
        let answers = answers
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json(value)));
        Client {
            asking: Asking::ByRounds,
            capabilities: Capabilities {
                elicitation: true,
                elicits_urls: true,
                roots: true,
                ..Capabilities::NONE
            },
            earlier,
            answers: answers.collect(),
        }
    }

    fn link(key: &str, padding: usize) -> Ask {
        let message = "m".repeat(padding);
        let params = json!({"mode": "url", "url": "https://a.example", "message": message});
        Ask {
            kind: AskKind::Elicit,
            key: key.to_owned(),
            params: JsonText::from_value(&params),
        }
    }

    fn roots(key: &str) -> Ask {
        Ask {
            kind: AskKind::ListRoots,
            params: JsonText::from_value(&json!(null)),
            ..link(key, 0)
        }
    }

    const CANCEL: &str = r#"{"action":"cancel"}"#;
    const DECLINE: &str = r#"{"action":"decline"}"#;

    /// The answer as text; `later` where there is none yet.
    fn told(round: &mut Round<'_>, ask: Ask) -> String {
        match round.ask(ask) {
            Answer::Value(value) => value.text().to_owned(),
            Answer::Refused(why) => why,
            Answer::Later => "later".to_owned(),
        }
    }

    #[test]
    fn answers_come_by_their_key_and_are_carried_on() {
        let cancel = Cancel::default();
        let first = client(&[("a", CANCEL), ("stranger", "1"), ("bad", "1")], None);
        let mut round = Round::new(&first, &NoContact, &cancel, "asker");
        assert_eq!(told(&mut round, link("a", 0)), CANCEL);
        assert_eq!(told(&mut round, link("a", 9)), CANCEL);
        for (key, times) in [("bad", 1), ("b", 2)] {
            for _ in 0..times {
                assert_eq!(told(&mut round, link(key, 0)), "later");
            }
        }
        let another = "the key \"a\" is that of a question by ctx.elicit already";
        assert_eq!(told(&mut round, roots("a")), another);
        assert!(told(&mut round, roots("b")).contains("already"));
        let asked = round.finish();
        let keys: Vec<_> = asked.questions.iter().map(|ask| ask.key.as_str()).collect();
        assert_eq!(keys, ["bad", "b"]);
        assert_eq!(
            (asked.so_far.rounds, asked.so_far.asker.as_str()),
            (1, "asker")
        );
        let kept: Vec<_> = asked.so_far.answers.keys().collect();
        assert_eq!(kept, ["a"]);

        // What was said once stays said.
        let next = client(&[("a", DECLINE), ("b", DECLINE)], Some(asked.so_far));
        let mut round = Round::new(&next, &NoContact, &cancel, "asker");
        assert_eq!(told(&mut round, link("a", 0)), CANCEL);
        assert_eq!(told(&mut round, link("b", 0)), DECLINE);
        let asked = round.finish();
        assert_eq!((asked.so_far.rounds, asked.so_far.answers.len()), (2, 2));
    }

    /// Answers everything with its text; that is all it does.
    #[derive(Debug)]
    struct Always(&'static str);

    impl Contact for Always {
        fn wants_console(&self) -> bool {
            false
        }

        fn log(&self, _: &str, _: &JsonText) {}

        fn progress(&self, _: f64, _: Option<f64>, _: Option<&str>) {}

        fn ask(&self, _: &Ask, _: &Cancel) -> Result<JsonText, String> {
            JsonText::parse(self.0.to_owned()).map_err(|error| error.to_string())
        }
    }

    #[test]
    fn who_is_asked_beside_the_call_answers_at_once_or_not_at_all() {
        let client = Client {
            asking: Asking::Beside,
            ..client(&[], None)
        };
        let cancel = Cancel::default();
        let mut round = Round::new(&client, &Always(DECLINE), &cancel, "");
        for number in 0..MAX_QUESTIONS_AT_ONCE {
            assert_eq!(told(&mut round, link(&number.to_string(), 0)), DECLINE);
        }
        assert_eq!(told(&mut round, link("1", 0)), DECLINE);
        let full = told(&mut round, link("one more", 0));
        assert_eq!(full, "one call asks at most 64 questions");
        let mut round = Round::new(&client, &Always("1"), &cancel, "");
        let unfit = (0..MAX_QUESTIONS_AT_ONCE).map(|_| told(&mut round, link("a", 0)));
        assert!(unfit.into_iter().all(|why| why.contains("does not fit")));
        // Who answers nothing that fits is not asked for ever.
        assert_eq!(told(&mut round, link("a", 0)), full);
        let large = told(
            &mut Round::new(&client, &Always(DECLINE), &cancel, ""),
            link("a", MAX_QUESTIONS_BYTES),
        );
        assert_eq!(large, "the question is larger than 131072 bytes");
        let unfit = told(
            &mut Round::new(&client, &Always("1"), &cancel, ""),
            link("a", 0),
        );
        assert_eq!(unfit, "the client's answer does not fit what it was asked");
    }

    #[test]
    fn who_cannot_be_asked_is_not() {
        let (mute, cancel) = (Client::MUTE, Cancel::default());
        let mut round = Round::new(&mute, &NoContact, &cancel, "");
        let told = told(&mut round, roots("a"));
        assert!(
            told.starts_with("ctx.listRoots cannot reach this client"),
            "{told}"
        );
    }

    #[test]
    fn every_bound_holds() {
        let cancel = Cancel::default();
        let client = client(&[], None);
        let mut round = Round::new(&client, &NoContact, &cancel, "");
        for key in ["", "a\n", "é", &"k".repeat(MAX_KEY_CHARS + 1)] {
            assert!(
                told(&mut round, link(key, 0)).starts_with("the key must"),
                "{key:?}"
            );
        }
        assert_eq!(
            told(&mut round, link(&"k".repeat(MAX_KEY_CHARS), 0)),
            "later"
        );
        for number in 1..MAX_QUESTIONS {
            assert_eq!(told(&mut round, link(&number.to_string(), 0)), "later");
        }
        assert_eq!(told(&mut round, link("1", 0)), "later");
        let full = "one round has at most 16 questions";
        assert_eq!(told(&mut round, link("one more", 0)), full);
        assert_eq!(round.finish().questions.len(), MAX_QUESTIONS);

        let mut round = Round::new(&client, &NoContact, &cancel, "");
        assert_eq!(
            told(&mut round, link("a", MAX_QUESTIONS_BYTES / 2)),
            "later"
        );
        let large = told(&mut round, link("b", MAX_QUESTIONS_BYTES / 2));
        assert!(large.contains("are larger than 131072 bytes"), "{large}");
    }

    #[test]
    fn rounds_and_what_is_carried_have_an_end() {
        let with = |rounds: u32, bytes: usize| {
            let large = JsonText::from_value(&"x".repeat(bytes));
            let earlier = Earlier {
                rounds,
                asker: String::new(),
                answers: [("a".to_owned(), large)].into(),
            };
            let client = client(&[("b", CANCEL)], Some(earlier));
            let cancel = Cancel::default();
            let mut round = Round::new(&client, &NoContact, &cancel, "");
            assert_eq!(told(&mut round, link("b", 0)), CANCEL);
            told(&mut round, link("c", 0))
        };
        assert_eq!(with(MAX_ROUNDS - 1, 0), "later");
        assert_eq!(
            with(MAX_ROUNDS, 0),
            "this call has asked in 16 rounds already"
        );
        let rest = CANCEL.len() + "ab".len() + "\"\"".len();
        assert_eq!(with(0, MAX_ANSWERS_BYTES - rest), "later");
        let full = with(0, MAX_ANSWERS_BYTES - rest + 1);
        assert!(full.starts_with("no more can be asked"), "{full}");
    }
}
