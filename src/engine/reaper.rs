//! Removes what dead instances and expired runs left behind, and nothing else: a container goes
//! only when its owner is provably dead or its own label says that its time is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use super::labels::{EXPIRES, KIND, Kind, OWNER};
use crate::base::clock::unix_millis;
use crate::base::deadline::Deadline;
use crate::docker::{Daemon, DockerError};

/// What is known of the instances whose containers may be on a daemon.
pub trait Owners: Send + Sync {
    /// This instance's id.
    fn own_id(&self) -> &str;
    /// Whether an instance is certainly gone. An instance that nothing is known of is not.
    fn is_dead(&self, id: &str) -> bool;
    /// Nothing of a dead instance is left.
    fn forget(&self, id: &str);
    /// Dead instances that are still remembered.
    fn dead(&self) -> Vec<String>;
}

/// Removes every container that is doomed; how many.
pub(super) fn reap(
    daemon: &Daemon,
    owners: &dyn Owners,
    deadline: Deadline,
) -> Result<usize, DockerError> {
    // Asked before the list is taken: an owner that was dead then makes no new containers after it.
    let dead: BTreeSet<String> = owners.dead().into_iter().collect();
    let mut reaped = 0;
    let mut failed = None;
    for container in daemon.containers_with_label(OWNER, deadline)? {
        let is_dead = |id: &str| dead.contains(id) || owners.is_dead(id);
        if !is_doomed(
            &container.labels,
            owners.own_id(),
            SystemTime::now(),
            &is_dead,
        ) {
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
            dead.iter().for_each(|id| owners.forget(id));
            Ok(reaped)
        }
    }
}

fn is_doomed(
    labels: &BTreeMap<String, String>,
    own_id: &str,
    now: SystemTime,
    is_dead: &dyn Fn(&str) -> bool,
) -> bool {
    let Some(owner) = labels.get(OWNER) else {
        return false;
    };
    let expires = labels
        .get(EXPIRES)
        .and_then(|seconds| seconds.parse::<u64>().ok());
    let expired = expires.is_some_and(|seconds| seconds < unix_millis(now) / 1000);
    // A sandbox is its principal's: every instance of the installation serves it.
    let is_sandbox = labels.get(KIND).map(String::as_str) == Some(Kind::Sandbox.as_str());
    expired || (owner != own_id && !is_sandbox && is_dead(owner))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn only_the_dead_s_and_the_expired() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        let check = |owner: Option<&str>, expires: Option<&str>, doomed: bool| {
            let mut labels = BTreeMap::new();
            if let Some(owner) = owner {
                labels.insert(OWNER.to_owned(), owner.to_owned());
            }
            if let Some(expires) = expires {
                labels.insert(EXPIRES.to_owned(), expires.to_owned());
            }
            let verdict = is_doomed(&labels, "me", now, &|id| id == "dead" || id == "me");
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
    fn a_sandbox_goes_by_its_own_end_alone() {
        let doomed = |expires: &str| {
            let labels = [(OWNER, "dead"), (KIND, "sandbox"), (EXPIRES, expires)];
            let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let now = UNIX_EPOCH + Duration::from_secs(1000);
            is_doomed(&labels.into(), "me", now, &|_| true)
        };
        assert!(!doomed("2000"));
        assert!(doomed("999"));
    }
}
