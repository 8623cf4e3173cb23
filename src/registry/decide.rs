//! What a write makes of the tools there are: pure decisions, the same for every backend. No I/O.

use std::sync::Arc;

use super::StoreError;
use super::snapshot::Snapshot;
use crate::domain::tool::{Definition, InvalidField, Tool, ToolName};

/// The highest revision: the last whole number that every JSON reader keeps exact (2^53 − 1).
pub(super) const MAX_REVISION: u64 = (1 << 53) - 1;

/// The record of a new tool.
pub(super) fn decide_create(
    snapshot: &Snapshot,
    name: ToolName,
    definition: Definition,
    max_tools: usize,
    now: String,
) -> Result<Arc<Tool>, StoreError> {
    if snapshot.get(name.as_str()).is_some() {
        return Err(StoreError::AlreadyExists { name });
    }
    if let Some(other) = snapshot.of_same_spelling(name.as_str()) {
        return Err(StoreError::NameTaken {
            name,
            by: other.name.clone(),
        });
    }
    if snapshot.tools().len() >= max_tools {
        return Err(StoreError::Full { limit: max_tools });
    }
    definition.check_sizes().map_err(StoreError::Invalid)?;
    let (created_at, updated_at) = (now.clone(), now);
    Ok(Arc::new(Tool {
        name,
        definition,
        created_at,
        updated_at,
        revision: 1,
    }))
}

/// The next record of a tool.
pub(super) fn decide_update(
    snapshot: &Snapshot,
    name: &ToolName,
    expected_revision: Option<u64>,
    change: &mut dyn FnMut(&Tool) -> Result<Definition, StoreError>,
    now: String,
) -> Result<Arc<Tool>, StoreError> {
    let stored = decide_delete(snapshot, name, expected_revision)?;
    if stored.revision >= MAX_REVISION {
        return Err(StoreError::Invalid(vec![InvalidField {
            path: "revision".to_owned(),
            rule: format!("must not go beyond {MAX_REVISION}: delete the tool and create it anew"),
        }]));
    }
    let definition = change(&stored)?;
    definition.check_sizes().map_err(StoreError::Invalid)?;
    Ok(Arc::new(Tool {
        name: stored.name.clone(),
        definition,
        created_at: stored.created_at.clone(),
        updated_at: now,
        revision: stored.revision + 1,
    }))
}

/// The stored record, if it may be removed or replaced.
pub(super) fn decide_delete(
    snapshot: &Snapshot,
    name: &ToolName,
    expected_revision: Option<u64>,
) -> Result<Arc<Tool>, StoreError> {
    let Some(stored) = snapshot.get(name.as_str()) else {
        return Err(StoreError::NotFound { name: name.clone() });
    };
    match expected_revision {
        Some(expected) if expected != stored.revision => Err(StoreError::Conflict {
            name: name.clone(),
            expected,
            current: stored.revision,
        }),
        _ => Ok(stored.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::snapshot::Published;
    use crate::registry::tests::{name, tool};

    #[test]
    fn revisions_end_where_json_readers_lose_count() {
        let check = |revision: u64, expected: Result<u64, &str>| {
            let stored = Tool {
                revision,
                ..(*tool("abc")).clone()
            };
            let published = Published::default();
            published.publish(vec![Arc::new(stored)]);
            let mut same = |tool: &Tool| Ok(tool.definition.clone());
            let now = "2026-01-02T00:00:00Z".to_owned();
            let updated = decide_update(&published.current(), &name("abc"), None, &mut same, now);
            let updated = updated
                .map(|tool| tool.revision)
                .map_err(|error| error.to_string());
            assert_eq!(updated, expected.map_err(str::to_owned));
        };
        check(1, Ok(2));
        check(MAX_REVISION - 1, Ok(MAX_REVISION));
        let end =
            "revision must not go beyond 9007199254740991: delete the tool and create it anew";
        check(MAX_REVISION, Err(end));
    }
}
