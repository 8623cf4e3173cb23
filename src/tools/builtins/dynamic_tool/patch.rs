//! What `dynamic.tool.update` changes of a definition.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};

use crate::domain::asking::ClientCapability;
use crate::domain::json::JsonText;
use crate::domain::tool::{Definition, Dependency};

/// A field that may be left out, be null, or have a value.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

/// The fields to change.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Patch {
    #[serde(default, deserialize_with = "given")]
    title: Option<Option<String>>,
    description: Option<String>,
    code: Option<Arc<str>>,
    #[serde(default, deserialize_with = "given")]
    input_schema: Option<Option<JsonText>>,
    #[serde(default, deserialize_with = "given")]
    output_schema: Option<Option<JsonText>>,
    #[serde(default, deserialize_with = "given")]
    annotations: Option<Option<JsonText>>,
    #[serde(default, deserialize_with = "given")]
    requires_client_capabilities: Option<Option<BTreeSet<ClientCapability>>>,
    #[serde(default, deserialize_with = "given")]
    image: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    timeout_ms: Option<Option<u64>>,
    #[serde(default, deserialize_with = "given")]
    dependencies: Option<Option<Vec<Dependency>>>,
    #[serde(default, deserialize_with = "given")]
    enabled: Option<Option<bool>>,
}

impl Patch {
    /// The patched definition; what null removes has its default again.
    pub(super) fn apply(&self, base: &Definition, default_timeout_ms: u64) -> Definition {
        fn or<T: Clone>(patched: &Option<T>, base: &T) -> T {
            patched.as_ref().unwrap_or(base).clone()
        }
        fn or_default<T: Clone>(patched: &Option<Option<T>>, base: &T, default: T) -> T {
            match patched {
                None => base.clone(),
                Some(given) => given.clone().unwrap_or(default),
            }
        }
        Definition {
            title: or(&self.title, &base.title),
            description: or(&self.description, &base.description),
            image: or(&self.image, &base.image),
            timeout_ms: or_default(&self.timeout_ms, &base.timeout_ms, default_timeout_ms),
            dependencies: or_default(&self.dependencies, &base.dependencies, Vec::new()),
            input_schema: or(&self.input_schema, &base.input_schema),
            output_schema: or(&self.output_schema, &base.output_schema),
            annotations: or(&self.annotations, &base.annotations),
            requires_client_capabilities: or_default(
                &self.requires_client_capabilities,
                &base.requires_client_capabilities,
                BTreeSet::new(),
            ),
            code: or(&self.code, &base.code),
            enabled: or_default(&self.enabled, &base.enabled, true),
        }
    }
}
