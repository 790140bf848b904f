//! Records in memory: for tests, and for state that need not outlast the process.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Action, Change, Expected, Record, RecordId, Store, StoreError};

/// A [`Store`] in memory. **Nothing of it outlasts the process.**
///
/// A clone is another handle on the same records, as a second connection is to a database.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Records>>);

#[derive(Default)]
struct Records {
    by_id: HashMap<RecordId, Record>,
    by_position: BTreeMap<(u8, u64), RecordId>,
    /// The highest that was ever given: one of a deleted record does not come again.
    last_position: u64,
}

impl MemoryStore {
    /// Makes an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The records, also after a panic of another thread: no change of theirs stops halfway.
    fn lock(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn read(&self, id: &RecordId) -> Result<Option<Record>, StoreError> {
        Ok(self.lock().by_id.get(id).cloned())
    }

    fn list(&self, table: u8, after: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let records = self.lock();
        let range = (Bound::Excluded((table, after)), Bound::Included((table, u64::MAX)));
        if after == u64::MAX {
            return Ok(Vec::new()); // a range that excludes and includes one and the same bound panics
        }
        let ids = records.by_position.range(range).take(limit);
        Ok(ids.filter_map(|(_, id)| records.by_id.get(id)).cloned().collect())
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let mut records = self.lock();
        if changes.iter().all(|change| records.meets(change)) {
            changes.iter().for_each(|change| records.apply(change));
            Ok(())
        } else {
            Err(StoreError::Conflict)
        }
    }
}

impl Records {
    fn meets(&self, change: &Change) -> bool {
        let version = self.by_id.get(&change.id).map(|record| record.version);
        match change.expected {
            Expected::Anything => true,
            Expected::Absent => version.is_none(),
            Expected::Version(expected) => version == Some(expected),
        }
    }

    fn apply(&mut self, Change { id, action, .. }: &Change) {
        match action {
            Action::Keep => {}
            Action::Put { version, value } => {
                if let Some(record) = self.by_id.get_mut(id) {
                    (record.version, record.value) = (*version, value.clone());
                } else {
                    self.last_position += 1;
                    let position = self.last_position;
                    self.by_position.insert((id.table, position), *id);
                    let record = Record { id: *id, position, version: *version, value: value.clone() };
                    self.by_id.insert(*id, record);
                }
            }
            Action::Delete => {
                if let Some(record) = self.by_id.remove(id) {
                    self.by_position.remove(&(id.table, record.position));
                }
            }
        }
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryStore({} records)", self.lock().by_id.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_record() {
        let mut store = MemoryStore::new();
        let id = RecordId { table: 7, name: [0xab; 16] };
        let action = Action::Put { version: 1, value: vec![0xcd; 9] };
        store.commit(&[Change { id, expected: Expected::Absent, action }]).unwrap();
        assert_eq!(format!("{store:?}"), "MemoryStore(1 records)");
    }
}
