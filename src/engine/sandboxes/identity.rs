//! Whose a container is, as its labels say: sandboxes of this installation are told from others'
//! by a code that only its servers can make, and a principal's by one more. No name of a principal
//! reaches the daemon.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Sandbox;
use crate::base::hmac::hmac_sha256;
use crate::base::ids::{hex, random_hex};
use crate::docker::Container;
use crate::domain::image::UsedImage;
use crate::domain::principal::Principal;
use crate::engine::container_spec::User;
use crate::engine::labels::{CREATED, KIND, Kind, OWNER, labels};

/// The sandbox's own name.
const SESSION: &str = "dynamic-mcp.session";
/// Whose it is.
const PRINCIPAL: &str = "dynamic-mcp.principal";
/// The image's name.
const IMAGE: &str = "dynamic-mcp.image";
/// `sha256:…` of the image's manifest, where it has one.
const DIGEST: &str = "dynamic-mcp.image-digest";
/// `uid:gid` of its commands.
const USER: &str = "dynamic-mcp.user";
/// Time limit of a call that gives none, in milliseconds.
const TIMEOUT: &str = "dynamic-mcp.timeout-ms";

const ID_PREFIX: &str = "mcp-sbx-";
/// After which anybody may remove a sandbox, however much it is used.
const MAX_LIFETIME: Duration = Duration::from_secs(7 * 86_400);

/// A name for a new sandbox, not to be guessed.
pub(super) fn new_id() -> String {
    format!("{ID_PREFIX}{}", random_hex())
}

fn is_id(text: &str) -> bool {
    let digits = text.strip_prefix(ID_PREFIX).unwrap_or_default().as_bytes();
    digits.len() == 32 && digits.iter().all(u8::is_ascii_hexdigit)
}

/// What only the servers of one installation know; `Debug` does not show it.
#[derive(Clone)]
pub struct SandboxKey([u8; 32]);

impl SandboxKey {
    /// From 256 random bits that may serve other ends too.
    pub fn derive(secret: &[u8; 32]) -> Self {
        Self(hmac_sha256(secret, &[b"dynamic-mcp sandboxes 1"]))
    }

    fn code(&self, parts: &[&[u8]]) -> String {
        hex(&hmac_sha256(&self.0, parts))
    }

    /// The installation, as the label for owners has it.
    fn installation(&self) -> String {
        self.code(&[b"installation"])
    }

    fn principal(&self, who: &Principal) -> String {
        // The length keeps `a` of `bc` and `ab` of `c` apart.
        let length = (who.issuer.len() as u64).to_be_bytes();
        let (issuer, subject) = (who.issuer.as_bytes(), who.subject.as_bytes());
        self.code(&[b"principal", &length, issuer, subject])
    }

    /// What marks all sandboxes of the installation.
    pub(super) fn marks(&self) -> Vec<(&'static str, String)> {
        vec![
            (KIND, Kind::Sandbox.as_str().to_owned()),
            (OWNER, self.installation()),
        ]
    }

    /// What marks those of a principal.
    pub(super) fn marks_of(&self, who: &Principal) -> Vec<(&'static str, String)> {
        let mut marks = self.marks();
        marks.push((PRINCIPAL, self.principal(who)));
        marks
    }

    /// What marks one sandbox of a principal; nothing does where the text is no name of one.
    pub(super) fn marks_of_one(
        &self,
        who: &Principal,
        id: &str,
    ) -> Option<Vec<(&'static str, String)>> {
        is_id(id).then(|| {
            let mut marks = self.marks_of(who);
            marks.push((SESSION, id.to_owned()));
            marks
        })
    }

    /// The labels of a new sandbox.
    pub(super) fn labels(
        &self,
        who: &Principal,
        id: &str,
        image: &UsedImage,
        user: User,
        timeout: Duration,
    ) -> BTreeMap<String, String> {
        let (own, now) = (self.installation(), SystemTime::now());
        let mut all = labels(&own, Kind::Sandbox, "sandbox", now, MAX_LIFETIME);
        let User { uid, gid } = user;
        let more = [
            (SESSION, id.to_owned()),
            (PRINCIPAL, self.principal(who)),
            (IMAGE, image.name.clone()),
            (USER, format!("{uid}:{gid}")),
            (TIMEOUT, timeout.as_millis().to_string()),
        ];
        let digest = image.digest.clone().map(|digest| (DIGEST, digest));
        let more = more.into_iter().chain(digest);
        all.extend(more.map(|(name, value)| (name.to_owned(), value)));
        all
    }
}

impl std::fmt::Debug for SandboxKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SandboxKey(****)")
    }
}

/// Whether a container has all the marks, whatever the daemon's filter thinks.
pub(super) fn has_marks(container: &Container, marks: &[(&'static str, String)]) -> bool {
    let has = |(name, value): &(&str, String)| container.labels.get(*name) == Some(value);
    marks.iter().all(has)
}

/// A container of ours as the sandbox that it is.
pub(super) fn read(container: Container) -> Option<Sandbox> {
    let label = |name| container.labels.get(name).cloned();
    let number = |name| label(name)?.parse::<u64>().ok();
    Some(Sandbox {
        id: label(SESSION)?,
        image: UsedImage {
            name: label(IMAGE)?,
            id: container.image_id,
            digest: label(DIGEST),
        },
        timeout: Duration::from_millis(number(TIMEOUT)?),
        created: UNIX_EPOCH.checked_add(Duration::from_secs(number(CREATED)?))?,
        user: label(USER)?,
        container: container.id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(issuer: &str, subject: &str) -> Principal {
        Principal {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
        }
    }

    #[test]
    fn every_principal_of_every_installation_has_marks_of_its_own() {
        let key = SandboxKey::derive(&[7; 32]);
        let marks = key.marks_of(&principal("a", "bc"));
        assert_eq!(marks, key.marks_of(&principal("a", "bc")));
        let other = SandboxKey::derive(&[8; 32]);
        assert_ne!(key.marks(), other.marks());
        for others in [
            key.marks_of(&principal("ab", "c")),
            key.marks_of(&principal("", "abc")),
            other.marks_of(&principal("a", "bc")),
        ] {
            assert_ne!(marks.last(), others.last());
        }
    }

    #[test]
    fn a_sandbox_is_read_from_its_labels() {
        let (key, who) = (SandboxKey::derive(&[7; 32]), principal("iss", "sub"));
        let id = new_id();
        let timeout = Duration::from_millis(1234);
        let image = UsedImage {
            name: "node:lts-slim".to_owned(),
            id: "sha256:01".to_owned(),
            digest: Some("sha256:02".to_owned()),
        };
        let labels = key.labels(&who, &id, &image, User::DEFAULT, timeout);
        assert!(!labels.values().any(|value| value.contains("sub")));
        let container = Container {
            id: "c".to_owned(),
            labels,
            created: 0,
            image_id: image.id.clone(),
            is_running: true,
            has_ended: false,
        };
        let marks = key.marks_of_one(&who, &id).unwrap();
        assert!(has_marks(&container, &marks));
        let stranger = key.marks_of_one(&principal("iss", "other"), &id).unwrap();
        assert!(!has_marks(&container, &stranger));
        let sandbox = read(container).unwrap();
        assert_eq!((sandbox.id, sandbox.timeout), (id, timeout));
        assert_eq!((sandbox.user.as_str(), sandbox.image), ("1000:1000", image));
    }

    #[test]
    fn only_names_of_sandboxes_are_looked_for() {
        let (key, who) = (SandboxKey::derive(&[7; 32]), Principal::local());
        let long = format!("{}0", new_id());
        for odd in [
            "",
            "mcp-sbx-",
            "postgres",
            "mcp-sbx-../../../containers/x",
            &long,
        ] {
            assert_eq!(key.marks_of_one(&who, odd), None, "{odd}");
        }
    }
}
