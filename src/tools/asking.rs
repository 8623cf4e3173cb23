//! Asking the client that called: what it can be asked, what it has answered, and the rounds that
//! this takes. A client of the stateless era is never sent a request: the call ends with the
//! questions as its result, the client calls again with its answers, and the code runs again from
//! its top, until no question is left (MCP 2026-07-28, "multi round-trip requests").

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::questions::{check_question, is_answer};
use crate::domain::asking::{Answer, Ask, AskKind, ClientCapability};
use crate::domain::json::JsonText;
use crate::domain::run::Observer;

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

/// Answers by the key of their question, as the client wrote them.
pub type Answers = BTreeMap<String, JsonText>;

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

/// The client behind a call, as far as its code may ask it.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// What it declared; `None` for clients of handshake revisions, to whom there is no way yet.
    pub capabilities: Option<Capabilities>,
    /// Where it goes on with a call.
    pub earlier: Option<Earlier>,
    /// Its answers to the last round, or to whatever it knows will be asked.
    pub answers: Answers,
}

impl Client {
    /// One that cannot be asked.
    pub const MUTE: Self = Self {
        capabilities: None,
        earlier: None,
        answers: BTreeMap::new(),
    };

    /// Whether it lacks one of these.
    pub(super) fn lacks(&self, required: &BTreeSet<ClientCapability>) -> bool {
        let declared = self.capabilities.unwrap_or_default();
        !required.iter().all(|one| declared.has(*one))
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

/// One run as its client hears it. Logs and progress reach nobody yet: answers are JSON, without a
/// stream beside them.
pub(super) struct Round<'a> {
    client: &'a Client,
    asker: &'a str,
    questions: Vec<Ask>,
    /// Answers used by the code, and their kinds.
    used: BTreeMap<String, (AskKind, JsonText)>,
}

impl<'a> Round<'a> {
    /// A run of `asker`'s code.
    pub(super) fn new(client: &'a Client, asker: &'a str) -> Self {
        Self {
            client,
            asker,
            questions: Vec::new(),
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
        let Some(capabilities) = &self.client.capabilities else {
            return Err(format!(
                "ctx.{} cannot reach this client: it speaks a protocol revision before 2026-07-28, \
                 whose clients this server cannot ask yet",
                ask.kind.as_str()
            ));
        };
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
        let question = check_question(&ask, capabilities)?;
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
    fn log(&mut self, _level: &str, _data: &JsonText) {}

    fn progress(&mut self, _done: f64, _total: Option<f64>, _message: Option<&str>) {}

    fn ask(&mut self, ask: Ask) -> Answer {
        self.answer(ask).unwrap_or_else(Answer::Refused)
    }
}
