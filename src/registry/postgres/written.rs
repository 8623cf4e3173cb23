//! A decided change, written to the tables.

use std::sync::Arc;

use postgres::GenericClient;

use super::entries::Versioned;
use super::fault::Fault;
use super::tables::Tables;
use super::{entries, rows};
use crate::domain::entry::Kind;
use crate::domain::tool::{Definition, Tool};
use crate::registry::StoreError;
use crate::registry::decide::Change;
use crate::registry::record::{Record, Stored as _};
use crate::registry::snapshot::Snapshot;

/// What a write did to the tables.
#[derive(Default)]
pub(super) struct Written {
    pub(super) change: Change,
    /// Of the rows that were put in.
    pub(super) versions: Vec<Versioned>,
    /// As the trigger counts them.
    pub(super) statements: i64,
}

/// What a change does to one table.
#[derive(Default)]
struct Part<'a> {
    added: Vec<&'a Record>,
    /// Rows that are there, with the record that each is to be.
    replaced: Vec<&'a Record>,
    removed: Vec<&'a Record>,
}

impl<'a> Part<'a> {
    fn of(change: &'a Change, before: &Snapshot, is_here: impl Fn(&Record) -> bool) -> Self {
        let put = change.put.iter().filter(|record| is_here(record));
        let (replaced, added) = put.partition(|record| before.record(&record.key()).is_some());
        Self {
            added,
            replaced,
            removed: change.removed.iter().filter(|it| is_here(it)).collect(),
        }
    }

    /// Several rows are replaced by removing and adding them: in two statements, however many.
    fn flatten(mut self) -> Self {
        if self.replaced.len() > 1 {
            self.removed.extend(&self.replaced);
            self.added.append(&mut self.replaced);
        }
        self
    }
}

fn names<'a>(records: &[&'a Record]) -> Vec<(Kind, &'a str)> {
    let names = records.iter().map(|it| (it.kind(), it.name().as_str()));
    names.collect()
}

/// Writes `change`, which was decided upon `before`, what the tables hold.
pub(super) fn write(
    client: &mut impl GenericClient,
    tables: &Tables,
    before: &Snapshot,
    change: Change,
) -> Result<Written, StoreError> {
    let mut written = Written::default();
    let part = Part::of(&change, before, |it| it.kind() == Kind::Tool).flatten();
    written.write_tools(client, &tables.tools, &part)?;
    let part = Part::of(&change, before, |it| it.kind() != Kind::Tool);
    let unknown = entries::unknown_fields(client, &tables.entries, &names(&part.replaced))?;
    written.write_entries(client, &tables.entries, &part.flatten(), &unknown)?;
    written.change = change;
    Ok(written)
}

impl Written {
    fn write_tools(
        &mut self,
        client: &mut impl GenericClient,
        table: &str,
        part: &Part<'_>,
    ) -> Result<(), StoreError> {
        let tools = |records: &[&Record]| -> Vec<Arc<Tool>> {
            let tools = records.iter().filter_map(|it| Definition::of(it));
            tools.cloned().collect()
        };
        let (added, replaced) = (tools(&part.added), tools(&part.replaced));
        for tool in added.iter().chain(&replaced) {
            rows::check_storable(tool)?;
        }
        let removed: Vec<&str> = part.removed.iter().map(|it| it.name().as_str()).collect();
        if !removed.is_empty() {
            let found = rows::delete(client, table, &removed)?;
            self.count_removed(found, removed.len())?;
        }
        for tool in &replaced {
            let version = rows::update(client, table, tool, tool.revision - 1)?;
            self.statements += 1;
            let key = (Kind::Tool, tool.name.to_string());
            self.versions.push((key, version.ok_or(Fault::Undone)?));
        }
        let versions = rows::insert(client, table, &added)?.into_iter();
        self.versions
            .extend(versions.map(|(name, version)| ((Kind::Tool, name), version)));
        self.count_added(added.len());
        Ok(())
    }

    fn write_entries(
        &mut self,
        client: &mut impl GenericClient,
        table: &str,
        part: &Part<'_>,
        unknown: &entries::Unknown,
    ) -> Result<(), StoreError> {
        let removed = names(&part.removed);
        if !removed.is_empty() {
            let found = entries::delete(client, table, &removed)?;
            self.count_removed(found, removed.len())?;
        }
        for record in &part.replaced {
            let version = entries::update(client, table, record, unknown)?;
            self.statements += 1;
            let key = (record.kind(), record.name().to_string());
            self.versions.push((key, version.ok_or(Fault::Undone)?));
        }
        self.versions
            .extend(entries::insert(client, table, &part.added, unknown)?);
        self.count_added(part.added.len());
        Ok(())
    }

    fn count_removed(&mut self, found: u64, wanted: usize) -> Result<(), Fault> {
        self.statements += 1;
        match usize::try_from(found) == Ok(wanted) {
            true => Ok(()),
            false => Err(Fault::Undone),
        }
    }

    fn count_added(&mut self, added: usize) {
        self.statements += i64::try_from(added.div_ceil(rows::CHUNK)).unwrap_or(0);
    }
}
