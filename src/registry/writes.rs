//! What may be done to a store, whichever it is and whatever kind of entries it is done to.

use std::sync::Arc;

use super::decide::{Change, Moment, decide_create, decide_delete, decide_import, decide_update};
use super::record::{Record, Stored};
use super::snapshot::Snapshot;
use super::{Extent, Imported, OnCollision, StoreError, ToolStore};
use crate::domain::entry::{Entry, EntryName};

/// The acts of every store.
pub trait Writes: ToolStore {
    /// Adds an entry, at revision 1.
    ///
    /// # Errors
    /// `AlreadyExists`, `NameTaken`, `AddressTaken`, `Full`, `TooLarge`, `Invalid`, and what stops
    /// every write.
    fn create<D: Stored>(
        &self,
        name: EntryName,
        definition: D,
    ) -> Result<Arc<Entry<D>>, StoreError> {
        written(self, |snapshot, moment| {
            let entry = decide_create(snapshot, name.clone(), definition.clone(), moment)?;
            Ok((Change::of(D::record(Arc::clone(&entry))), entry))
        })
    }

    /// Replaces an entry's definition by what `change` makes of the stored one, at the next
    /// revision. `change` runs while writers wait, so it must be quick, and may run more than once;
    /// its error ends the update. A caller that checked a definition beforehand (by compiling it,
    /// say) returns `Conflict` from `change` when the base is no longer the one it checked.
    ///
    /// # Errors
    /// `NotFound`, `Conflict`, `AddressTaken`, `TooLarge`, `Invalid`, what `change` returned, and
    /// what stops every write.
    fn update<D: Stored>(
        &self,
        name: &EntryName,
        expected_revision: Option<u64>,
        change: &mut dyn FnMut(&Entry<D>) -> Result<D, StoreError>,
    ) -> Result<Arc<Entry<D>>, StoreError> {
        written(self, |snapshot, moment| {
            let entry = decide_update(snapshot, name, expected_revision, change, moment)?;
            Ok((Change::of(D::record(Arc::clone(&entry))), entry))
        })
    }

    /// Removes an entry and returns what it was.
    ///
    /// # Errors
    /// `NotFound`, `Conflict`, and what stops every write.
    fn delete<D: Stored>(
        &self,
        name: &EntryName,
        expected_revision: Option<u64>,
    ) -> Result<Arc<Entry<D>>, StoreError> {
        written(self, |snapshot, _| {
            let entry = decide_delete::<D>(snapshot, name, expected_revision)?;
            let change = Change {
                put: Vec::new(),
                removed: vec![D::record(Arc::clone(&entry))],
            };
            Ok((change, entry))
        })
    }

    /// Takes in exported entries, all or none; new ones with their revision and times as they are.
    /// An entry that is there with the same definition stays as it is.
    ///
    /// # Errors
    /// `Collisions`, `AddressTaken`, `Full`, `TooLarge`, `Invalid`, and what stops every write.
    fn import(
        &self,
        records: &[Record],
        on_collision: OnCollision,
    ) -> Result<Imported, StoreError> {
        let mut imported = Imported::default();
        self.write(Extent::Many, &mut |snapshot, moment| {
            let (change, counts) = decide_import(snapshot, records, on_collision, moment)?;
            imported = counts;
            Ok(change)
        })?;
        Ok(imported)
    }
}

impl<S: ToolStore + ?Sized> Writes for S {}

/// Writes the one entry that `decide` says, and returns it.
fn written<D: Stored>(
    store: &(impl ToolStore + ?Sized),
    mut decide: impl FnMut(&Snapshot, &Moment) -> Result<(Change, Arc<Entry<D>>), StoreError>,
) -> Result<Arc<Entry<D>>, StoreError> {
    let mut last = None;
    store.write(Extent::One, &mut |snapshot, moment| {
        let (change, entry) = decide(snapshot, moment)?;
        last = Some(entry);
        Ok(change)
    })?;
    match last {
        Some(entry) => Ok(entry),
        None => unreachable!("nothing is written that was not decided"),
    }
}
