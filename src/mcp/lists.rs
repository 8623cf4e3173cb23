//! Texts of lists: made once for all callers who see the same, until something in them changes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::classify::Era;

/// What there are lists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    Tools,
    Prompts,
    Resources,
    Templates,
}

/// What a list depends on beside the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// How much of the server's own its caller sees.
    pub(super) own: usize,
    pub(super) era: Era,
}

/// The first pages of one state of what is listed.
#[derive(Debug, Default)]
struct Kept {
    mark: u64,
    texts: Vec<(View, String)>,
}

impl Kept {
    fn find(&self, mark: u64, view: View) -> Option<&String> {
        let is_wanted = |(kept, _): &&(View, String)| *kept == view;
        let found = self.texts.iter().find(is_wanted).map(|(_, text)| text);
        found.filter(|_| self.mark == mark)
    }
}

/// The texts that are kept: of each list at most one for each view.
#[derive(Debug, Default)]
pub(super) struct Lists {
    tools: Mutex<Kept>,
    prompts: Mutex<Kept>,
    resources: Mutex<Kept>,
    templates: Mutex<Kept>,
}

impl Lists {
    /// The first page as `view` shows it, made by `make` where it is not known. `mark` names the
    /// state of what is listed and was read before, so that what is kept is never older than it
    /// says.
    ///
    /// # Errors
    /// Those of `make`.
    pub(super) fn text<E>(
        &self,
        listed: Listed,
        mark: u64,
        view: View,
        make: impl FnOnce() -> Result<String, E>,
    ) -> Result<String, E> {
        if let Some(text) = self.lock(listed).find(mark, view) {
            return Ok(text.clone());
        }
        let text = make()?;
        let mut kept = self.lock(listed);
        if kept.mark < mark {
            *kept = Kept {
                mark,
                texts: Vec::new(),
            };
        }
        if kept.mark == mark && kept.find(mark, view).is_none() {
            kept.texts.push((view, text.clone()));
        }
        Ok(text)
    }

    fn lock(&self, listed: Listed) -> MutexGuard<'_, Kept> {
        let kept = match listed {
            Listed::Tools => &self.tools,
            Listed::Prompts => &self.prompts,
            Listed::Resources => &self.resources,
            Listed::Templates => &self.templates,
        };
        kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_made_once_for_each_view_and_state() {
        let lists = Lists::default();
        let check = |mark, own, era, made: &str, expected: &str| {
            let view = View { own, era };
            let text = lists.text(Listed::Tools, mark, view, || Ok::<_, ()>(made.to_owned()));
            assert_eq!(text.as_deref(), Ok(expected), "{mark} {view:?}");
        };
        check(0, 1, Era::Modern, "a", "a");
        check(0, 1, Era::Modern, "b", "a");
        check(0, 0, Era::Modern, "c", "c");
        check(0, 1, Era::Legacy, "d", "d");
        check(0, 0, Era::Modern, "e", "c");
        check(2, 1, Era::Modern, "f", "f");
        check(2, 0, Era::Modern, "g", "g");
        check(2, 1, Era::Modern, "h", "f");
        let view = View {
            own: 0,
            era: Era::Legacy,
        };
        assert_eq!(lists.text(Listed::Tools, 2, view, || Err("no")), Err("no"));
        // One who was slow is answered, and takes nothing away from the others.
        check(1, 1, Era::Modern, "i", "i");
        check(2, 1, Era::Modern, "j", "f");
        assert_eq!(lists.lock(Listed::Tools).texts.len(), 2);
        assert_eq!(
            lists.text(Listed::Prompts, 2, view, || Err("no")),
            Err("no")
        );
    }
}
