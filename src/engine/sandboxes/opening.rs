//! How a sandbox comes to be, and that there are never more than there may be: not here, however
//! many are being made at once, and not with other servers of the installation on the daemon.

use std::collections::BTreeSet;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use super::identity::read;
use super::spec::sandbox_spec;
use super::{Sandbox, Sandboxes, gone};
use crate::base::deadline::Deadline;
use crate::docker::EXCHANGE_TIMEOUT;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::image::ImageRef;
use crate::domain::principal::Principal;
use crate::domain::run::Cancel;
use crate::engine::container_spec::User;
use crate::engine::conversation::{await_ready, cancelled};
use crate::engine::docker_cell::DockerCell;
use crate::engine::docker_engine::used_image;
use crate::engine::images::unavailable;
use crate::engine::labels::Kind;

/// When trying again for a new sandbox makes sense, in milliseconds.
const FULL_HINT_MS: u64 = 5000;

impl Sandboxes {
    /// Makes a sandbox.
    ///
    /// # Errors
    /// Kind `busy` when there are as many as there may be; `policy` for an image that is not
    /// allowed or not fit.
    pub fn open(
        &self,
        owner: &Principal,
        id: &str,
        image: Option<&ImageRef>,
        timeout: Duration,
        deadline: Deadline,
        cancel: &Cancel,
    ) -> Result<Sandbox, Failure> {
        let name = self.forge.images.admit(image)?;
        let found = self.forge.images.find(&name, deadline)?;
        let _opening = self.reserve(id, deadline)?;
        let kind = Kind::Sandbox;
        let mut variables = self
            .forge
            .variables(&found, kind, "sandbox", Duration::ZERO);
        let user = User::of_image(&found.user);
        let key = &self.settings.key;
        let used = used_image(name.as_str(), &found);
        variables.labels = key.labels(owner, id, &used, user, timeout);
        let spec = sandbox_spec(self.settings.idle, &variables);
        let created = DockerCell::create(&self.forge.daemon, &self.forge.disposal, used, &spec);
        let mut cell = created.map_err(|error| {
            if error.is_not_found() {
                self.forge.images.forget(&name);
            }
            unavailable(&error)
        })?;
        cell.start(deadline)?;
        await_ready(&mut cell, deadline)?;
        if cancel.is_cancelled() {
            return Err(cancelled());
        }
        // Another server may have made one at the same time: the last to look sees both.
        let all = self.all(&key.marks(), deadline)?;
        if all.len() > self.settings.max {
            return Err(self.full());
        }
        let container = cell.keep();
        let mut state = self.lock();
        state.made.insert(id.to_owned());
        state.counts.created += 1;
        state.counts.active = all.len() as u64;
        drop(state);
        let made = all.into_iter().find(|one| one.id == container);
        made.and_then(read).ok_or_else(gone)
    }

    /// Takes a place for a new sandbox, if there is one. Those being made here count once, whether
    /// the daemon knows them yet or not.
    fn reserve(&self, id: &str, deadline: Deadline) -> Result<Opening<'_>, Failure> {
        let mut opening = self.lock_opening();
        let deadline = deadline.or_earlier(Deadline::after(EXCHANGE_TIMEOUT));
        let there = self.all(&self.settings.key.marks(), deadline)?;
        let there = there.into_iter().filter_map(read).map(|one| one.id);
        let all: BTreeSet<String> = there.chain(opening.iter().cloned()).collect();
        if all.len() >= self.settings.max {
            return Err(self.full());
        }
        opening.insert(id.to_owned());
        Ok(Opening {
            sandboxes: self,
            id: id.to_owned(),
        })
    }

    fn full(&self) -> Failure {
        let message = format!(
            "there are {} sandboxes, as many as there may be (MCP_SANDBOX_MAX_SESSIONS): stop one, \
             or wait until one expires",
            self.settings.max
        );
        Failure::new(FailureKind::Busy, message).retry_after(FULL_HINT_MS)
    }

    fn lock_opening(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sandbox that is being made.
struct Opening<'a> {
    sandboxes: &'a Sandboxes,
    id: String,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.sandboxes.lock_opening().remove(&self.id);
    }
}
