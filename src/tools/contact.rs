//! The open line to the client of a call while its code runs.

use std::fmt;

use crate::domain::asking::Ask;
use crate::domain::json::JsonText;
use crate::domain::run::Cancel;

/// What running code says on its way, and how it reaches the client. Nothing here fails a call:
/// who cannot hear does not.
pub trait Contact: Sync + fmt::Debug {
    /// Whether what the code prints with `console` is to be told too.
    fn wants_console(&self) -> bool;

    /// A log message of that level.
    fn log(&self, level: &str, data: &JsonText);

    /// How far the code has come.
    fn progress(&self, done: f64, total: Option<f64>, message: Option<&str>);

    /// Sends a question and waits for the client's result, for minutes, or until `cancel`.
    ///
    /// # Errors
    /// Why there is none, in words for the code's author.
    fn ask(&self, ask: &Ask, cancel: &Cancel) -> Result<JsonText, String>;
}

/// No line at all.
#[derive(Clone, Copy, Debug)]
pub struct NoContact;

impl Contact for NoContact {
    fn wants_console(&self) -> bool {
        false
    }

    fn log(&self, _: &str, _: &JsonText) {}

    fn progress(&self, _: f64, _: Option<f64>, _: Option<&str>) {}

    fn ask(&self, _: &Ask, _: &Cancel) -> Result<JsonText, String> {
        Err("this client cannot be reached while the code runs".to_owned())
    }
}
