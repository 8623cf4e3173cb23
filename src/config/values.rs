//! Every setting's value after texts were read by their kinds: given or default, with its origin.
//! Rules between settings stand with the consumers' types; here they only find their values and
//! report.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::secret::Secret;

use super::kind::{Misfit, Value};
use super::problem::{Fault, Origin, Problem, Problems};
use super::raw::Given;
use super::settings::{Fallback, SETTINGS, Setting};
use super::warning::Warning;

/// One setting as it takes effect.
#[derive(Clone, Debug)]
pub struct Effective {
    /// Its row.
    pub setting: &'static Setting,
    /// Where its value comes from.
    pub origin: Origin,
    /// The value as text, of a URL without its query; `None` where nothing applies, or where it is
    /// a secret.
    pub shown: Option<String>,
    value: Option<Value>,
    default: Option<Value>,
    /// False after a problem: rules that would build on the value are silent then.
    sound: bool,
}

impl Effective {
    /// The value as anybody may see it: of a secret, only that there is one. `None` where there is
    /// none.
    pub fn masked(&self) -> Option<&str> {
        match self.setting.kind.is_secret() && self.value.is_some() {
            true => Some("****"),
            false => self.shown.as_deref(),
        }
    }
}

/// The values of all settings, and what was found wrong with them.
#[derive(Debug)]
pub(super) struct Values {
    rows: BTreeMap<&'static str, Effective>,
    pub(super) problems: Problems,
    pub(super) warnings: Vec<Warning>,
}

impl Values {
    /// Reads each given text by its kind; the others get their fixed default.
    pub(super) fn read(
        given: &BTreeMap<&'static str, Option<Given>>,
        problems: Problems,
        warnings: Vec<Warning>,
    ) -> Self {
        let mut values = Self {
            rows: BTreeMap::new(),
            problems,
            warnings,
        };
        for setting in SETTINGS {
            let row = values.row_of(setting, given.get(setting.key));
            values.rows.insert(setting.key, row);
        }
        values
    }

    fn row_of(&mut self, setting: &'static Setting, given: Option<&Option<Given>>) -> Effective {
        let (default, default_text) = match setting.fallback {
            Fallback::Is(text) => (setting.kind.parse(text).ok(), Some(text.to_owned())),
            Fallback::Depends(_) | Fallback::Unset => (None, None),
        };
        let mut row = Effective {
            setting,
            origin: Origin::Default,
            shown: default_text,
            value: default.clone(),
            default,
            sound: true,
        };
        let Some(given) = given else {
            return row;
        };
        row.sound = false;
        let Some(given) = given else {
            return row;
        };
        row.origin = given.origin.clone();
        let text = given.text.reveal();
        match read_value(setting, text) {
            Ok(value) => {
                row.value = Some(value);
                row.shown = setting.kind.shown(text);
                row.sound = true;
            }
            Err(fault) => {
                let problem = Problem::new(setting.key, fault);
                self.problems.push(problem.at(given.origin.clone()));
            }
        }
        row
    }

    /// Gives `key` a default that depends on other settings.
    pub(super) fn set_default(&mut self, key: &'static str, text: &str) {
        let row = self.row_mut(key);
        let value = row.setting.kind.parse(text);
        if row.origin == Origin::Default && row.sound && value.is_err() {
            let allowed = row.setting.kind.allowed();
            let shown = Some(text.to_owned());
            return self.fail(key, Fault::Malformed { shown, allowed });
        }
        row.default = value.ok();
        if row.origin == Origin::Default || row.value.is_none() {
            row.value.clone_from(&row.default);
            row.shown = Some(text.to_owned());
        }
    }

    /// Refuses what was explicitly given, differs from its default, and is not built.
    pub(super) fn refuse_missing_parts(&mut self) {
        for row in self.rows.values_mut() {
            if row.origin == Origin::Default || row.value == row.default {
                continue;
            }
            if let Some(part) = row.setting.missing_part() {
                let problem = Problem::new(row.setting.key, Fault::NotAvailable { part });
                self.problems.push(problem.at(row.origin.clone()));
                row.sound = false;
            }
        }
    }

    /// Reports `fault` of `key`'s value; further rules about it are silent.
    pub(super) fn fail(&mut self, key: &'static str, fault: Fault) {
        let row = self.row_mut(key);
        row.sound = false;
        let origin = row.origin.clone();
        let problem = Problem::new(key, fault);
        self.problems.push(match origin {
            Origin::Default => problem,
            given => problem.at(given),
        });
    }

    /// Reports that `broken` rule, unless one of `keys` already is a problem; the first one is
    /// blamed.
    pub(super) fn conflict(&mut self, keys: &[&'static str], broken: bool, rule: &str) {
        let sound = keys.iter().all(|key| self.row(key).sound);
        if let Some(first) = keys.first().filter(|_| broken && sound) {
            self.fail(first, Fault::Conflict(rule.to_owned()));
        }
    }

    /// Reports that `key` has no value and needs one, unless what makes it needed is itself a
    /// problem.
    pub(super) fn require(&mut self, key: &'static str, cause: &str, because: &'static str) {
        let row = self.row(key);
        if row.value.is_none() && row.sound && self.row(cause).sound {
            self.fail(key, Fault::Missing { because });
        }
    }

    /// Whether somebody gave a value.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.row(key).origin != Origin::Default
    }

    pub(super) fn bool(&self, key: &str) -> bool {
        match self.row(key).value {
            Some(Value::Bool(value)) => value,
            _ => false,
        }
    }

    pub(super) fn optional_integer(&self, key: &str) -> Option<u64> {
        match self.row(key).value {
            Some(Value::Integer(value)) => Some(value),
            _ => None,
        }
    }

    pub(super) fn integer(&self, key: &str) -> u64 {
        self.optional_integer(key).unwrap_or_default()
    }

    pub(super) fn count(&self, key: &str) -> usize {
        usize::try_from(self.integer(key)).unwrap_or(usize::MAX)
    }

    pub(super) fn port(&self, key: &str) -> u16 {
        u16::try_from(self.integer(key)).unwrap_or_default()
    }

    pub(super) fn millis(&self, key: &str) -> Duration {
        Duration::from_millis(self.integer(key))
    }

    pub(super) fn seconds(&self, key: &str) -> Duration {
        Duration::from_secs(self.integer(key))
    }

    /// Whether the setting's choice is `word`.
    pub(super) fn chosen(&self, key: &str, word: &str) -> bool {
        matches!(self.row(key).value, Some(Value::Choice(choice)) if choice == word)
    }

    pub(super) fn address(&self, key: &str) -> Option<IpAddr> {
        match self.row(key).value {
            Some(Value::Address(address)) => Some(address),
            _ => None,
        }
    }

    pub(super) fn list(&self, key: &str) -> &[String] {
        match &self.row(key).value {
            Some(Value::List(items)) => items,
            _ => &[],
        }
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match &self.row(key).value {
            Some(Value::Text(text)) => Some(text),
            Some(Value::Choice(text)) => Some(text),
            _ => None,
        }
    }

    pub(super) fn owned_text(&self, key: &str) -> String {
        self.text(key).unwrap_or_default().to_owned()
    }

    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    pub(super) fn secret(&self, key: &str) -> Option<&Secret> {
        match &self.row(key).value {
            Some(Value::Secret(secret)) => Some(secret),
            _ => None,
        }
    }

    /// All rows in the table's order, and the warnings; or the problems, if there are any.
    pub(super) fn finish(mut self) -> Result<(Vec<Effective>, Vec<Warning>), Problems> {
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        let rows = SETTINGS
            .iter()
            .filter_map(|setting| self.rows.remove(setting.key));
        Ok((rows.collect(), self.warnings))
    }

    fn row(&self, key: &str) -> &Effective {
        match self.rows.get(key) {
            Some(row) => row,
            None => unreachable!("{key} is no row of the table"),
        }
    }

    fn row_mut(&mut self, key: &str) -> &mut Effective {
        match self.rows.get_mut(key) {
            Some(row) => row,
            None => unreachable!("{key} is no row of the table"),
        }
    }
}

fn read_value(setting: &Setting, text: &str) -> Result<Value, Fault> {
    let allowed = || setting.kind.allowed();
    if text.is_empty() {
        return Err(Fault::Empty { allowed: allowed() });
    }
    setting.kind.parse(text).map_err(|misfit| {
        let shown = setting.kind.may_be_quoted().then(|| text.to_owned());
        match misfit {
            Misfit::Malformed => Fault::Malformed {
                shown,
                allowed: allowed(),
            },
            Misfit::OutOfRange => Fault::OutOfRange {
                shown,
                allowed: allowed(),
            },
        }
    })
}
