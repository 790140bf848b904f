//! Records in memory, during an operation and for the next ones.
//!
//! Not its concern: when they are read and committed (`work`).

use std::collections::BTreeMap;

use super::{
    DeviceError,
    records::{Me, PeerRecord, Published, Stored, Strangers, UserRecord},
    vault::{Vault, new_version},
};
use crate::{
    DeviceId, PreKeys, Session, SessionId, UserId,
    store::{Action, Change, Expected, RecordId, Store},
};

/// How many records of a kind stay in memory between operations.
const MAX_CACHED: usize = 256;

/// Records in memory.
pub(super) struct Shelf<K, T>(BTreeMap<K, Slot<T>>);

impl<K, T> Default for Shelf<K, T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

/// A record in memory; without a value it is not there.
pub(super) struct Slot<T> {
    pub(super) id: RecordId,
    pub(super) version: Option<u64>,
    pub(super) value: Option<T>,
    pub(super) used: bool,
    pub(super) changed: bool,
}

impl<T> Slot<T> {
    pub(super) fn new(id: RecordId, stored: Option<(u64, T)>) -> Self {
        let (version, value) = stored.unzip();
        Self { id, version, value, used: false, changed: false }
    }

    pub(super) fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// For changing it.
    pub(super) fn change(&mut self) -> Option<&mut T> {
        self.changed |= self.value.is_some();
        self.value.as_mut()
    }

    pub(super) fn put(&mut self, value: T) -> &mut T {
        self.changed = true;
        self.value.insert(value)
    }

    pub(super) fn delete(&mut self) {
        self.changed = true;
        self.value = None;
    }

    pub(super) fn expected(&self) -> Expected {
        self.version.map_or(Expected::Absent, Expected::Version)
    }
}

impl<K: Ord, T: Stored> Shelf<K, T> {
    pub(super) fn slot<S: Store>(
        &mut self,
        vault: &Vault<S>,
        key: K,
        name: &[u8],
    ) -> Result<&mut Slot<T>, DeviceError> {
        use std::collections::btree_map::Entry;
        let slot = match self.0.entry(key) {
            Entry::Occupied(slot) => slot.into_mut(),
            Entry::Vacant(place) => {
                let id = vault.id(T::TABLE, name);
                place.insert(Slot::new(id, vault.read(&id)?))
            }
        };
        slot.used = true;
        Ok(slot)
    }

    pub(super) fn changes<S: Store>(
        &self,
        vault: &Vault<S>,
        out: &mut Vec<Change>,
    ) -> Result<(), DeviceError> {
        for slot in self.0.values().filter(|slot| slot.used) {
            let action = match (&slot.value, slot.changed) {
                (_, false) => Action::Keep,
                (None, true) => Action::Delete,
                (Some(value), true) => {
                    let version = new_version()?;
                    Action::Put { version, value: vault.seal(&slot.id, version, value) }
                }
            };
            out.push(Change { id: slot.id, expected: slot.expected(), action });
        }
        Ok(())
    }

    pub(super) fn committed(&mut self, changes: &BTreeMap<RecordId, Option<u64>>) {
        for slot in self.0.values_mut().filter(|slot| slot.used) {
            if slot.changed {
                slot.version = changes.get(&slot.id).copied().flatten();
            }
            (slot.used, slot.changed) = (false, false);
        }
    }

    pub(super) fn expectations(&self, out: &mut Vec<Change>) {
        let used = self.0.values().filter(|slot| slot.used);
        out.extend(used.map(|slot| keep(slot.id, slot.expected())));
    }
}

/// A session in memory, of two records.
pub(super) struct SessionSlot {
    pub(super) hot: RecordId,
    pub(super) cold: RecordId,
    pub(super) hot_version: Option<u64>,
    /// Version and generation of the stored cold half.
    pub(super) cold_version: Option<(u64, u64)>,
    pub(super) session: Option<Session>,
    pub(super) used: bool,
    pub(super) changed: bool,
    /// It is there, and is read again when it is needed; that nobody has changed it is still compared.
    pub(super) unloaded: bool,
}

/// What is in memory between operations.
#[derive(Default)]
pub(super) struct Cache {
    pub(super) me: Shelf<(), Me>,
    pub(super) strangers: Shelf<(), Strangers>,
    pub(super) prekeys: Shelf<(), PreKeys>,
    pub(super) published: Shelf<(), Published>,
    pub(super) users: Shelf<UserId, UserRecord>,
    pub(super) peers: Shelf<DeviceId, PeerRecord>,
    pub(super) sessions: BTreeMap<SessionId, SessionSlot>,
}

impl SessionSlot {
    pub(super) fn expected(&self) -> Expected {
        self.hot_version.map_or(Expected::Absent, Expected::Version)
    }

    pub(super) fn changes<S: Store>(
        &self,
        vault: &Vault<S>,
        out: &mut Vec<Change>,
    ) -> Result<(), DeviceError> {
        let mut push = |id, expected, action| out.push(Change { id, expected, action });
        match (&self.session, self.changed) {
            (_, false) => push(self.hot, self.expected(), Action::Keep),
            (None, true) => {
                push(self.hot, self.expected(), Action::Delete);
                push(self.cold, Expected::Anything, Action::Delete);
            }
            (Some(session), true) => {
                let version = new_version()?;
                let value = vault.seal_hot(&self.hot, version, session);
                push(self.hot, self.expected(), Action::Put { version, value });
                let stored = self.cold_version.map_or(0, |(_, generation)| generation);
                if session.cold_generation() != stored {
                    let version = new_version()?;
                    let value = vault.seal_cold(&self.cold, version, session);
                    push(self.cold, Expected::Anything, Action::Put { version, value });
                }
            }
        }
        Ok(())
    }

    pub(super) fn committed(&mut self, changes: &BTreeMap<RecordId, Option<u64>>) {
        if self.changed {
            self.hot_version = changes.get(&self.hot).copied().flatten();
            if let Some(version) = changes.get(&self.cold) {
                let generation = self.session.as_ref().map(Session::cold_generation);
                self.cold_version = version.zip(generation);
            }
        }
        (self.used, self.changed) = (false, false);
    }
}

impl Cache {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn committed(&mut self, changes: &BTreeMap<RecordId, Option<u64>>) {
        self.me.committed(changes);
        self.strangers.committed(changes);
        self.prekeys.committed(changes);
        self.published.committed(changes);
        self.users.committed(changes);
        self.peers.committed(changes);
        self.sessions.values_mut().filter(|slot| slot.used).for_each(|slot| slot.committed(changes));
        if self.sessions.len().max(self.peers.0.len()).max(self.users.0.len()) > MAX_CACHED {
            self.clear();
        }
    }
}

pub(super) fn keep(id: RecordId, expected: Expected) -> Change {
    Change { id, expected, action: Action::Keep }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stays in memory is bounded, whatever kind of records it is.
    #[test]
    fn a46_so_many_records_stay_in_memory() {
        let id = RecordId { table: 1, name: [0; 16] };
        for (count, kept) in [(MAX_CACHED, MAX_CACHED), (MAX_CACHED + 1, 0), (MAX_CACHED + 2, 0)] {
            let mut cache = Cache::default();
            for number in 0..count {
                let mut name = [0; 16];
                name[..8].copy_from_slice(&number.to_be_bytes());
                cache.peers.0.insert(DeviceId::from_bytes(name), Slot::new(id, None));
            }
            cache.committed(&BTreeMap::new());
            assert_eq!(cache.peers.0.len(), kept);
        }
    }
}
