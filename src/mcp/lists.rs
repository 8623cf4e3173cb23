//! Texts of `tools/list`: made once for all callers who see the same, until a tool changes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::classify::Era;

/// What a list depends on beside the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) shows_admin: bool,
    pub(super) era: Era,
}

/// The first pages of one generation of the registry.
#[derive(Debug, Default)]
struct Kept {
    generation: u64,
    texts: Vec<(View, String)>,
}

impl Kept {
    fn find(&self, generation: u64, view: View) -> Option<&String> {
        let is_wanted = |(kept, _): &&(View, String)| *kept == view;
        let found = self.texts.iter().find(is_wanted).map(|(_, text)| text);
        found.filter(|_| self.generation == generation)
    }
}

/// The texts that are kept: at most one for each view.
#[derive(Debug, Default)]
pub(super) struct Lists(Mutex<Kept>);

impl Lists {
    /// The first page as `view` shows it, made by `make` where it is not known. `generation` was
    /// read before, so that what is kept is never older than it says.
    ///
    /// # Errors
    /// Those of `make`.
    pub(super) fn text<E>(
        &self,
        generation: u64,
        view: View,
        make: impl FnOnce() -> Result<String, E>,
    ) -> Result<String, E> {
        if let Some(text) = self.lock().find(generation, view) {
            return Ok(text.clone());
        }
        let text = make()?;
        let mut kept = self.lock();
        if kept.generation < generation {
            *kept = Kept {
                generation,
                texts: Vec::new(),
            };
        }
        if kept.generation == generation && kept.find(generation, view).is_none() {
            kept.texts.push((view, text.clone()));
        }
        Ok(text)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_made_once_for_each_view_and_generation() {
        let lists = Lists::default();
        let check = |generation, shows_admin, era, made: &str, expected: &str| {
            let view = View { shows_admin, era };
            let text = lists.text(generation, view, || Ok::<_, ()>(made.to_owned()));
            assert_eq!(text.as_deref(), Ok(expected), "{generation} {view:?}");
        };
        check(0, true, Era::Modern, "a", "a");
        check(0, true, Era::Modern, "b", "a");
        check(0, false, Era::Modern, "c", "c");
        check(0, true, Era::Legacy, "d", "d");
        check(0, false, Era::Modern, "e", "c");
        check(2, true, Era::Modern, "f", "f");
        check(2, false, Era::Modern, "g", "g");
        check(2, true, Era::Modern, "h", "f");
        let view = View {
            shows_admin: false,
            era: Era::Legacy,
        };
        assert_eq!(lists.text(2, view, || Err("no")), Err("no"));
        // One who was slow is answered, and takes nothing away from the others.
        check(1, true, Era::Modern, "i", "i");
        check(2, true, Era::Modern, "j", "f");
        assert_eq!(lists.lock().texts.len(), 2);
    }
}
