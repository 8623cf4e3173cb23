//! What a write makes of the tools there are: pure decisions, the same for every backend. No I/O.

use std::sync::Arc;

use super::snapshot::Snapshot;
use super::{Imported, OnCollision, StoreError};
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

/// What an import makes of the tools there are.
#[derive(Debug)]
pub(super) struct Import {
    /// Tools of new names, as they were exported.
    pub(super) added: Vec<Arc<Tool>>,
    /// The next records of tools that are there.
    pub(super) replaced: Vec<Arc<Tool>>,
    pub(super) unchanged: usize,
}

impl Import {
    pub(super) fn counts(&self) -> Imported {
        Imported {
            added: self.added.len(),
            replaced: self.replaced.len(),
            unchanged: self.unchanged,
        }
    }
}

/// Takes in exported tools, all or none. Names that share a spelling are taken as they are: old
/// registries may hold such.
pub(super) fn decide_import(
    snapshot: &Snapshot,
    incoming: &[Arc<Tool>],
    on_collision: OnCollision,
    max_tools: usize,
    now: &str,
) -> Result<Import, StoreError> {
    let mut import = Import {
        added: Vec::new(),
        replaced: Vec::new(),
        unchanged: 0,
    };
    let mut collisions = Vec::new();
    for tool in incoming {
        match snapshot.get(tool.name.as_str()) {
            None => import.added.push(Arc::clone(tool)),
            Some(stored) if stored.definition == tool.definition => import.unchanged += 1,
            Some(_) if on_collision == OnCollision::Refuse => collisions.push(tool.name.clone()),
            Some(stored) => {
                let replace = &mut |_: &Tool| Ok(tool.definition.clone());
                let name = &stored.name;
                let next = decide_update(snapshot, name, None, replace, now.to_owned())?;
                import.replaced.push(next);
            }
        }
    }
    if !collisions.is_empty() {
        return Err(StoreError::Collisions { names: collisions });
    }
    if snapshot.tools().len() + import.added.len() > max_tools {
        return Err(StoreError::Full { limit: max_tools });
    }
    Ok(import)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::snapshot::Published;
    use crate::registry::tests::{name, tool};

    #[test]
    fn an_import_is_all_or_nothing() {
        let published = Published::default();
        published.publish(vec![tool("abc"), tool("def")]);
        let other = |text: &str, revision| {
            let mut other = (*tool(text)).clone();
            other.definition.code = "return 2".into();
            other.revision = revision;
            Arc::new(other)
        };
        let incoming = [tool("abc"), other("def", 7), other("new", 9)];
        let import = |on_collision, max_tools| {
            let now = "2026-01-02T00:00:00Z";
            decide_import(
                &published.current(),
                &incoming,
                on_collision,
                max_tools,
                now,
            )
        };
        let refused = import(OnCollision::Refuse, 3).unwrap_err();
        assert_eq!(
            refused,
            StoreError::Collisions {
                names: vec![name("def")]
            }
        );
        let full = import(OnCollision::Replace, 2).unwrap_err();
        assert_eq!(full, StoreError::Full { limit: 2 });
        let done = import(OnCollision::Replace, 3).unwrap();
        let counts = Imported {
            added: 1,
            replaced: 1,
            unchanged: 1,
        };
        assert_eq!(done.counts(), counts);
        let revisions = (done.added[0].revision, done.replaced[0].revision);
        assert_eq!(revisions, (9, 2));
        assert_eq!(done.replaced[0].updated_at, "2026-01-02T00:00:00Z");
    }

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
