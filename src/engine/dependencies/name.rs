//! A layer's name: a secret that follows from what is in the layer. Tools can open a layer whose
//! name they are told, and can neither list nor guess the others.

use crate::base::hmac::hmac_sha256;
use crate::base::ids::hex;
use crate::domain::entry::Dependency;

/// Changes when layers are made in another way, so that those of before are not met.
const FORMAT: &str = "dynamic-mcp layer 1";

/// What only the servers of one installation know; `Debug` does not show it.
#[derive(Clone)]
pub struct LayerKey([u8; 32]);

impl LayerKey {
    /// A key of 256 random bits.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// 64 hexadecimal digits for a set of packages in an image from a package registry.
    pub(super) fn name(&self, image_id: &str, registry: &str, set: &[Dependency]) -> String {
        let mut parts = vec![FORMAT, image_id, registry];
        let mut set: Vec<_> = set.iter().collect();
        set.sort();
        for Dependency { name, version } in set {
            parts.extend([name.as_str(), version.trim_matches(' ')]);
        }
        // No part contains a line feed: image ids, URLs, names and versions are checked text.
        hex(&hmac_sha256(&self.0, &[parts.join("\n").as_bytes()]))
    }
}

impl std::fmt::Debug for LayerKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("LayerKey(****)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_the_set_whatever_its_order() {
        let one = |name: &str, version: &str| Dependency {
            name: name.to_owned(),
            version: version.to_owned(),
        };
        let key = LayerKey::new([7; 32]);
        let name = key.name("sha256:1", "", &[one("a", "1"), one("b", "2")]);
        assert_eq!(name.len(), 64);
        let same = key.name("sha256:1", "", &[one("b", "2"), one("a", " 1 ")]);
        assert_eq!(name, same);
        let others = [
            LayerKey::new([8; 32]).name("sha256:1", "", &[one("a", "1"), one("b", "2")]),
            key.name("sha256:2", "", &[one("a", "1"), one("b", "2")]),
            key.name("sha256:1", "http://r", &[one("a", "1"), one("b", "2")]),
            key.name("sha256:1", "", &[one("a", "1"), one("b", "1")]),
            key.name("sha256:1", "", &[one("a", "1")]),
        ];
        assert!(!others.contains(&name));
        assert!(!format!("{key:?}").contains('7'));
    }
}
