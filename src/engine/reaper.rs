//! Removes what dead instances and expired runs left behind, and nothing else: a container goes
//! only when its labels were given to it when it was made, and its owner is provably dead, or its
//! owner counts as dead and it has ended, or its own label says that its time is over, or it is our
//! own and was never started.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use super::labels::{CREATED, EXPIRES, KIND, Kind, OWNER};
use crate::base::clock::unix_millis;
use crate::base::deadline::Deadline;
use crate::docker::{Container, Daemon, DockerError};

/// No server needs longer to start what it made: a sandbox that does not run then never will
/// (again), and of another container it never heard.
const MAX_OPENING: Duration = Duration::from_secs(300);
/// How far apart our clock and the daemon's may be, in seconds. What says that it was made longer
/// before it was made has its labels from an image that one of ours was turned into.
const MAX_CLOCK_SKEW_S: u64 = 3600;

/// What is known of the instances whose containers may be on a daemon.
pub trait Owners: Send + Sync {
    /// This instance's id.
    fn own_id(&self) -> &str;
    /// Whether an instance counts as dead. One that nothing is known of does not.
    fn is_dead(&self, id: &str) -> bool;
    /// Nothing of a dead instance is left.
    fn forget(&self, id: &str);
    /// Dead instances that are still remembered.
    fn dead(&self) -> Vec<String>;
    /// Whether an instance that counts as dead may merely be out of reach. What it runs shows that
    /// it lives: containers end with their server.
    fn may_err(&self) -> bool {
        false
    }
}

/// Removes every container that is doomed; how many.
pub(super) fn reap(
    daemon: &Daemon,
    owners: &dyn Owners,
    deadline: Deadline,
) -> Result<usize, DockerError> {
    // Asked before the list is taken: an owner that was dead then makes no new containers after it.
    let dead: BTreeSet<String> = owners.dead().into_iter().collect();
    let mut left = BTreeSet::new();
    let mut reaped = 0;
    let mut failed = None;
    for container in daemon.containers_with_label(OWNER, deadline)? {
        let may_live = owners.may_err() && !container.has_ended;
        let is_dead = |id: &str| !may_live && (dead.contains(id) || owners.is_dead(id));
        if !is_doomed(&container, owners.own_id(), SystemTime::now(), &is_dead) {
            let owner = container.labels.get(OWNER).filter(|_| may_live);
            left.extend(owner.cloned());
            continue;
        }
        match daemon.remove_container(&container.id, deadline) {
            Ok(()) => reaped += 1,
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) => Err(error),
        None => {
            dead.difference(&left).for_each(|id| owners.forget(id));
            Ok(reaped)
        }
    }
}

fn is_doomed(
    container: &Container,
    own_id: &str,
    now: SystemTime,
    is_dead: &dyn Fn(&str) -> bool,
) -> bool {
    let labels = &container.labels;
    let Some(owner) = labels.get(OWNER) else {
        return false;
    };
    let now = unix_millis(now) / 1000;
    let seconds = |name| labels.get(name)?.parse::<u64>().ok();
    let is_of_its_making = |created: u64| created.abs_diff(container.created) <= MAX_CLOCK_SKEW_S;
    if !seconds(CREATED).is_some_and(is_of_its_making) {
        return false;
    }
    if seconds(EXPIRES).is_some_and(|expires| expires < now) {
        return true;
    }
    let is_past_opening = || {
        let opened = |created: u64| created.saturating_add(MAX_OPENING.as_secs()) < now;
        seconds(CREATED).is_some_and(opened)
    };
    // A sandbox is its principal's: every instance of the installation serves it while it runs.
    if labels.get(KIND).map(String::as_str) == Some(Kind::Sandbox.as_str()) {
        return !container.is_running && is_past_opening();
    }
    if owner == own_id {
        return !container.is_running && !container.has_ended && is_past_opening();
    }
    is_dead(owner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::time::UNIX_EPOCH;

    fn container(labels: BTreeMap<String, String>, is_running: bool) -> Container {
        Container {
            id: "c".to_owned(),
            labels,
            image_id: "sha256:01".to_owned(),
            created: 1000,
            is_running,
            has_ended: !is_running,
        }
    }

    #[test]
    fn only_the_dead_s_and_the_expired() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        let check = |owner: Option<&str>, expires: Option<&str>, doomed: bool| {
            let mut labels = BTreeMap::from([(CREATED.to_owned(), "990".to_owned())]);
            if let Some(owner) = owner {
                labels.insert(OWNER.to_owned(), owner.to_owned());
            }
            if let Some(expires) = expires {
                labels.insert(EXPIRES.to_owned(), expires.to_owned());
            }
            let container = container(labels, true);
            let verdict = is_doomed(&container, "me", now, &|id| id == "dead" || id == "me");
            assert_eq!(verdict, doomed, "{owner:?} {expires:?}");
        };
        check(Some("dead"), Some("2000"), true);
        check(Some("dead"), None, true);
        check(Some("sibling"), Some("2000"), false);
        check(Some("sibling"), Some("999"), true);
        check(Some("sibling"), Some("soon"), false);
        check(Some("me"), Some("2000"), false);
        check(Some("me"), Some("999"), true);
        check(None, Some("1"), false);
    }

    #[test]
    fn what_this_server_made_and_never_heard_of() {
        let doomed = |owner: &str, created: &str, is_running, has_ended| {
            let labels = [(OWNER, owner), (CREATED, created), (EXPIRES, "2000")];
            let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let mut container = container(BTreeMap::from(labels), is_running);
            container.has_ended = has_ended;
            let now = UNIX_EPOCH + Duration::from_secs(1000);
            is_doomed(&container, "me", now, &|_| false)
        };
        assert!(doomed("me", "699", false, false));
        assert!(!doomed("me", "700", false, false), "about to start");
        assert!(!doomed("me", "699", true, false), "it runs");
        assert!(!doomed("me", "699", false, true), "its cell removes it");
        assert!(!doomed("sibling", "699", false, false));
    }

    #[test]
    fn labels_that_came_with_an_image_doom_nothing() {
        let doomed = |created: Option<&str>| {
            let own = [(OWNER, "dead"), (EXPIRES, "1001")].into_iter();
            let labels = own.chain(created.map(|created| (CREATED, created)));
            let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let container = container(labels.collect(), true);
            let now = UNIX_EPOCH + Duration::from_secs(90_000);
            is_doomed(&container, "me", now, &|_| true)
        };
        assert!(doomed(Some("0")) && doomed(Some("4600")));
        assert!(!doomed(Some("4601")) && !doomed(Some("x")) && !doomed(None));
    }

    #[test]
    fn a_sandbox_goes_by_its_own_end_and_where_it_never_runs() {
        let doomed = |created: &str, expires: &str, is_running| {
            let labels = [(OWNER, "dead"), (KIND, "sandbox")];
            let times = [(CREATED, created), (EXPIRES, expires)];
            let labels = labels.into_iter().chain(times);
            let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let now = UNIX_EPOCH + Duration::from_secs(1000);
            let container = container(labels.collect(), is_running);
            is_doomed(&container, "me", now, &|_| true)
        };
        assert!(!doomed("10", "2000", true));
        assert!(doomed("10", "999", true));
        assert!(doomed("699", "2000", false));
        assert!(!doomed("700", "2000", false), "it may be about to start");
    }
}
