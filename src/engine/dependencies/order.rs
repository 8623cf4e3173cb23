//! What an installer is told and what it answers: one JSON line each way. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::policy::blocked;
use crate::base::text::clip;
use crate::domain::entry::Dependency;
use crate::domain::failure::{Failure, FailureKind};

/// What a failure shows of npm's own words, in bytes.
const MAX_DETAIL_BYTES: usize = 500;
/// What a failure shows of the set, in bytes.
const MAX_SET_BYTES: usize = 300;
/// When a failed installation may be asked for again, in milliseconds.
const RETRY_HINT_MS: u64 = 10_000;

/// One order; an installer obeys one and ends.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Order<'a> {
    /// Give the volume's folder to the installer's user, as root.
    Prepare { uid: u32 },
    /// Make one layer.
    #[serde(rename_all = "camelCase")]
    Install {
        layer: &'a str,
        packages: &'a [Dependency],
        blocked: &'a [String],
        options: &'a [String],
        files: BTreeMap<&'a str, &'a str>,
        max_files: u64,
        #[serde(flatten)]
        bounds: Bounds,
    },
    /// Note which layers are in use and remove what is old.
    #[serde(rename_all = "camelCase")]
    Tidy {
        used: &'a [String],
        #[serde(flatten)]
        bounds: Bounds,
    },
}

/// How much the volume may hold.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bounds {
    /// Of one layer.
    pub(super) max_bytes: u64,
    /// Of all; beyond it layers go that were not used for `keep_ms`.
    pub(super) max_total_bytes: u64,
    pub(super) keep_ms: u64,
    /// Layers that were not used for so long go in any case.
    pub(super) max_unused_ms: u64,
}

impl Order<'_> {
    /// The order as a line.
    pub(super) fn encode(&self) -> Vec<u8> {
        // Serialising text and numbers cannot fail.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// What became of an order.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) enum Answer {
    Prepared(bool),
    /// The volume is new: it must be prepared first.
    Unprepared(bool),
    Installed(Installed),
    Tidied(Tidied),
    Refused {
        reason: Reason,
        detail: String,
    },
}

/// One layer, made now or before.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Installed {
    pub(super) packages: u64,
    pub(super) bytes: u64,
    pub(super) files: u64,
}

/// What upkeep left.
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Tidied {
    /// Names.
    pub(super) removed: Vec<String>,
    pub(super) layers: u64,
    pub(super) bytes: u64,
}

/// Why an installation did not come to be.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reason {
    Unreachable,
    Certificate,
    Unauthorized,
    Absent,
    Conflict,
    Integrity,
    TooLarge,
    Full,
    Blocked,
    Foreign,
    NoNpm,
    #[serde(other)]
    Failed,
}

/// `a@1, b@^2`, clipped.
pub(super) fn set_text(set: &[Dependency]) -> String {
    let texts: Vec<_> = set
        .iter()
        .map(|Dependency { name, version }| format!("{name}@{version}"))
        .collect();
    clip(&texts.join(", "), MAX_SET_BYTES).to_owned()
}

/// A refusal as the caller reads it; `detail` is npm's own words, or a name.
pub(super) fn refusal(reason: Reason, detail: &str, set: &str) -> Failure {
    let plain: String = detail
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let detail = clip(plain.trim(), MAX_DETAIL_BYTES);
    let of_the_set = |text: String| Failure::new(FailureKind::Policy, text);
    let of_the_site = |text: String| {
        Failure::new(FailureKind::EngineUnavailable, text).retry_after(RETRY_HINT_MS)
    };
    match reason {
        Reason::Unreachable => of_the_site(format!(
            "{set}: not in the cache and the package registry cannot be reached: {detail} \
             (MCP_SANDBOX_NPM_REGISTRY)"
        )),
        Reason::Certificate => of_the_site(format!(
            "{set}: not in the cache and the package registry's certificate is not trusted: \
             {detail} (MCP_SANDBOX_NPM_CA_FILE)"
        )),
        Reason::Unauthorized => of_the_site(format!(
            "{set}: not in the cache and the package registry does not let us in: {detail} \
             (MCP_SANDBOX_NPM_TOKEN_FILE)"
        )),
        Reason::Integrity => of_the_site(format!(
            "{set}: what the package registry sent is not what it vouches for, so nothing was \
             installed: {detail}"
        )),
        Reason::Full => of_the_site(format!(
            "{set}: not in the cache, and the volume of packages is full: {detail}; what was not \
             used for an hour makes room"
        )),
        Reason::Failed => of_the_site(format!("{set}: npm could not install it: {detail}")),
        Reason::Absent => of_the_set(format!("{set}: not in the package registry: {detail}")),
        Reason::Conflict => of_the_set(format!("{set}: these do not go together: {detail}")),
        Reason::TooLarge => of_the_set(format!("{set}: too large to install: {detail}")),
        Reason::Blocked => of_the_set(format!("{set}: it brings along a {}", blocked(detail))),
        Reason::Foreign => of_the_set(format!(
            "{set}: it brings along {detail}, which comes from elsewhere than a package registry"
        )),
        Reason::NoNpm => of_the_set(format!(
            "{set}: the image has no npm to install it with: choose one that has"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_the_installer() {
        let check = |text: &str, expected: Answer| {
            let answer: Answer = serde_json::from_str(text).unwrap();
            assert_eq!(answer, expected);
        };
        check(r#"{"unprepared":true}"#, Answer::Unprepared(true));
        let installed = Installed {
            packages: 1,
            bytes: 2,
            files: 3,
        };
        check(
            r#"{"installed":{"packages":1,"bytes":2,"files":3}}"#,
            Answer::Installed(installed),
        );
        let refused = |reason| Answer::Refused {
            reason,
            detail: "d".to_owned(),
        };
        check(
            r#"{"refused":{"reason":"too_large","detail":"d"}}"#,
            refused(Reason::TooLarge),
        );
        check(
            r#"{"refused":{"reason":"new","detail":"d"}}"#,
            refused(Reason::Failed),
        );
    }

    #[test]
    fn refusals_name_the_set_and_the_setting() {
        let offline = refusal(Reason::Unreachable, "ENOTFOUND \n x", "a@1");
        assert_eq!(offline.kind, FailureKind::EngineUnavailable);
        assert!(offline.retry_after_ms.is_some());
        let start = "a@1: not in the cache and the package registry cannot be reached: ENOTFOUND";
        assert!(offline.message.starts_with(start), "{}", offline.message);
        let long = refusal(Reason::Failed, &"é".repeat(5000), "a@1");
        assert!(long.message.len() < 600);
        let blocked = refusal(Reason::Blocked, "pm2", "a@1");
        assert_eq!(blocked.kind, FailureKind::Policy);
        assert!(blocked.message.contains("MCP_SANDBOX_BLOCKED_PACKAGES"));
    }
}
