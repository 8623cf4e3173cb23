//! What is known of the database's tools: which state of it, and each row with its version. Loading
//! asks for the rows that changed and no others; publishing never goes back in time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postgres::GenericClient;

use super::fault::Fault;
use super::rows::{self, Found, VERSION};
use super::shared::Written;
use super::tables::Tables;
use crate::base::text::{counted, listing};
use crate::domain::tool::Tool;
use crate::registry::document::MAX_TOOLS;
use crate::registry::shared_file::warn_of_names;
use crate::registry::snapshot::{Published, Snapshot};

/// Most rows that are named in the log because they cannot be served.
const MAX_WARNED: usize = 10;

/// A state of the database: `generation` counts the writes to the registry that `epoch` names, and
/// the last was at `changed_at`, in microseconds. A database that went back in time may count the
/// same number again, but at another time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) epoch: String,
    pub(super) generation: i64,
    pub(super) changed_at: i64,
}

impl Marker {
    /// Whether `read`, the state that was read later, lacks changes of this one.
    pub(super) fn lost_in(&self, read: &Self) -> bool {
        self.epoch == read.epoch && self.generation > read.generation
    }
}

/// A row: which version of it, and the tool, unless it breaks a rule.
#[derive(Clone, Debug)]
struct Mirrored {
    version: String,
    tool: Option<Arc<Tool>>,
}

/// The whole table at one state.
#[derive(Clone, Debug, Default)]
pub(super) struct Mirror {
    pub(super) marker: Marker,
    rows: BTreeMap<String, Mirrored>,
}

impl Mirror {
    /// The table as it is now, where `self` is what it was; `marker` was read before, in the same
    /// transaction.
    pub(super) fn load(
        &self,
        client: &mut impl GenericClient,
        tables: &Tables,
        marker: Marker,
    ) -> Result<Self, Fault> {
        let most = MAX_TOOLS + 1;
        let list = format!("SELECT name, {VERSION} FROM {} LIMIT {most}", tables.tools);
        let listed = client.query_typed(&list, &[])?;
        if listed.len() > MAX_TOOLS {
            return Err(Fault::TooManyTools);
        }
        let (mut rows, mut wanted) = (BTreeMap::new(), Vec::new());
        for row in &listed {
            let (name, version): (&str, String) = (row.try_get(0)?, row.try_get(1)?);
            match self.rows.get(name).filter(|known| known.version == version) {
                Some(known) => {
                    rows.insert(name.to_owned(), known.clone());
                }
                None => {
                    wanted.push(name);
                    let tool = None;
                    rows.insert(name.to_owned(), Mirrored { version, tool });
                }
            }
        }
        let (mut broken, mut fetched) = (Vec::new(), 0);
        for found in rows::select(client, &tables.tools, &wanted)? {
            let Found {
                name,
                version,
                tool,
            } = found;
            fetched += 1;
            let tool = tool
                .inspect_err(|rule| broken.push(format!("{name:?} ({rule})")))
                .ok()
                .map(|tool| self.same_or(tool));
            rows.insert(name, Mirrored { version, tool });
        }
        warn_of_broken(&broken, wanted.len().saturating_sub(fetched));
        Ok(Self { marker, rows })
    }

    /// Tools that did not change stay the same value, so that what hangs on them stays too.
    fn same_or(&self, tool: Arc<Tool>) -> Arc<Tool> {
        let known = self.rows.get(tool.name.as_str());
        let same = known.and_then(|known| known.tool.as_ref());
        same.filter(|known| **known == tool)
            .cloned()
            .unwrap_or(tool)
    }

    /// Takes in a write of our own.
    fn take_in(&mut self, written: &Written, changed_at: i64) {
        for name in &written.removed {
            self.rows.remove(name.as_str());
        }
        let versions = written.versions.iter();
        let versions: BTreeMap<&str, &str> = versions
            .map(|(name, version)| (name.as_str(), version.as_str()))
            .collect();
        for tool in &written.put {
            let name = tool.name.as_str();
            // A version that is not known is one that no row has: it is read again.
            let version = versions.get(name).copied().unwrap_or_default().to_owned();
            let tool = Some(Arc::clone(tool));
            self.rows
                .insert(name.to_owned(), Mirrored { version, tool });
        }
        self.marker.generation += written.statements;
        self.marker.changed_at = changed_at;
    }

    fn tools(&self) -> Vec<Arc<Tool>> {
        let tools = self.rows.values().filter_map(|row| row.tool.clone());
        tools.collect()
    }
}

fn warn_of_broken(broken: &[String], unread: usize) {
    if broken.is_empty() && unread == 0 {
        return;
    }
    let names: Vec<&str> = broken.iter().map(String::as_str).collect();
    let unread = match unread {
        0 => String::new(),
        rows => format!("; {} without a name", counted(rows, "row")),
    };
    log::warn!(
        "tools in the database that break a rule are not served: {}{unread}",
        listing(&names, MAX_WARNED)
    );
}

/// The newest mirror, and the snapshot that is made of it.
#[derive(Debug, Default)]
pub(super) struct Shown {
    newest: Mutex<Arc<Mirror>>,
    published: Published,
}

impl Shown {
    pub(super) fn newest(&self) -> Arc<Mirror> {
        Arc::clone(&self.locked())
    }

    pub(super) fn published(&self) -> &Published {
        &self.published
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.published.current()
    }

    /// Shows what is certainly the newest: it was read under the registry's lock.
    pub(super) fn show(&self, mirror: Mirror) {
        self.publish(&mut self.locked(), mirror);
    }

    /// Shows `mirror`, a state that came after `seen`, unless another was shown since: which of the
    /// two is newer would not be known. Whether it did.
    pub(super) fn show_after(&self, seen: &Arc<Mirror>, mirror: Mirror) -> bool {
        let mut newest = self.locked();
        let is_next = Arc::ptr_eq(&newest, seen);
        if is_next {
            self.publish(&mut newest, mirror);
        }
        is_next
    }

    fn publish(&self, newest: &mut Arc<Mirror>, mirror: Mirror) {
        let (known, given) = (&newest.marker, &mirror.marker);
        let lacks = known.epoch == given.epoch && known.generation >= given.generation;
        if lacks && known != given {
            log::warn!(
                "the database went back in time (a failover, or a backup that was restored?): \
                 changes are lost, and the tools are what it holds now"
            );
        }
        let tools = mirror.tools();
        let before = self.published.current();
        *newest = Arc::new(mirror);
        let same = before.tools().len() == tools.len()
            && before
                .tools()
                .iter()
                .zip(&tools)
                .all(|(old, new)| Arc::ptr_eq(old, new));
        if !same {
            self.published.publish(tools);
            let after = self.published.current();
            warn_of_names(after.tools(), &before, &after);
        }
    }

    /// Shows the committed write that was made upon the state `base`, unless that is not what is
    /// shown any more: then somebody has read what is committed, or will.
    pub(super) fn show_write(&self, base: &Marker, written: &Written, changed_at: i64) {
        let mut newest = self.locked();
        if newest.marker != *base {
            return;
        }
        Arc::make_mut(&mut newest).take_in(written, changed_at);
        if !written.put.is_empty() || !written.removed.is_empty() {
            let before = self.published.current();
            self.published
                .publish_change(&written.put, &written.removed);
            warn_of_names(&written.put, &before, &self.published.current());
        }
    }

    fn locked(&self) -> MutexGuard<'_, Arc<Mirror>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
