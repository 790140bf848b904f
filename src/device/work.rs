//! One operation of a device: records are read when they are needed, changed in memory, and committed as one set, in
//! which every record that was looked at is expected to be as it was.
//!
//! ```text
//! attempt ── Ok ──> commit what changed, compare the rest ── Ok ──> result
//!    ^  └─── Err ─> compare everything ── Ok ──> the error is true; forget all
//!    └──────────────── conflict: forget all, again ────┘
//! ```
//! What was read and written stays in memory for the next operation; the comparison finds out if another process was
//! faster. So an error, too, is only believed when it does not come from stale records.
//!
//! Not its concern: what operations do.

use std::collections::BTreeMap;

use super::{
    Context, DeviceError,
    cache::{Cache, SessionSlot, Slot, keep},
    index::HeaderIndex,
    records::{Me, PeerRecord, Published, Stored, Strangers, Table, UserRecord},
    vault::{Vault, cold_id, new_version},
};
use crate::{
    Accepted, DeviceId, Error, MessageKind, PreKeys, Session, SessionId, UserId,
    store::{Action, Change, Expected, Record, RecordId, Store, StoreError},
};

/// How often an operation is begun anew because somebody else was faster. Each time somebody else gets on, so this is only
/// reached when something is wrong.
const MAX_ATTEMPTS: usize = 10_000;

/// Keys of the records of which there is one.
pub(super) const ONLY: &[u8] = b"";
const STRANGERS: &[u8] = b"strangers";
pub(super) const FETCHED: &[u8] = b"fetched";

/// One operation.
pub(super) struct Work<'a, S> {
    pub(super) vault: &'a mut Vault<S>,
    cache: &'a mut Cache,
    others: Others,
}

/// Changes of records that are not kept in memory, in the order in which they were made: in it they are listed later.
#[derive(Default)]
struct Others {
    changes: Vec<Change>,
    places: BTreeMap<RecordId, usize>,
}

impl Others {
    fn get(&self, id: &RecordId) -> Option<&Change> {
        self.changes.get(*self.places.get(id)?)
    }

    /// The change of a record; an expectation to begin with.
    fn of(&mut self, id: RecordId, expected: Expected) -> Option<&mut Change> {
        let place = *self.places.entry(id).or_insert_with(|| {
            self.changes.push(keep(id, expected));
            self.changes.len() - 1
        });
        self.changes.get_mut(place)
    }
}

impl<'a, S: Store> Work<'a, S> {
    /// Carries out an operation.
    pub(super) fn run<T>(
        vault: &'a mut Vault<S>,
        cache: &'a mut Cache,
        index: &mut HeaderIndex,
        mut operation: impl FnMut(&mut Work<'_, S>, &mut HeaderIndex) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        for _ in 0..MAX_ATTEMPTS {
            let mut work = Work { vault: &mut *vault, cache: &mut *cache, others: Others::default() };
            let result = operation(&mut work, index);
            let committed = if result.is_ok() {
                work.commit(index)
            } else {
                let expectations = work.expectations();
                work.vault.commit(&expectations)
            };
            match (result, committed) {
                (Ok(result), Ok(())) => return Ok(result),
                (_, Err(DeviceError::Store(StoreError::Conflict))) => cache.clear(),
                (Err(error), Ok(())) => {
                    cache.clear();
                    return Err(error);
                }
                // Nobody knows whether the error is true: to drop a message because of it would be to lose it.
                (Err(_), Err(error)) => {
                    cache.clear();
                    return Err(error);
                }
                (Ok(_), Err(error)) => {
                    cache.clear();
                    vault.forget_committed();
                    return Err(error);
                }
            }
        }
        Err(DeviceError::Store(StoreError::Busy))
    }

    pub(super) fn me(&mut self) -> Result<&mut Slot<Me>, DeviceError> {
        self.cache.me.slot(self.vault, (), ONLY)
    }

    pub(super) fn strangers(&mut self) -> Result<&mut Slot<Strangers>, DeviceError> {
        self.cache.strangers.slot(self.vault, (), STRANGERS)
    }

    pub(super) fn prekeys(&mut self) -> Result<&mut Slot<PreKeys>, DeviceError> {
        self.cache.prekeys.slot(self.vault, (), ONLY)
    }

    pub(super) fn published(&mut self) -> Result<&mut Slot<Published>, DeviceError> {
        self.cache.published.slot(self.vault, (), ONLY)
    }

    pub(super) fn user(&mut self, id: &UserId) -> Result<&mut Slot<UserRecord>, DeviceError> {
        self.cache.users.slot(self.vault, *id, &id.to_bytes())
    }

    pub(super) fn peer(&mut self, id: &DeviceId) -> Result<&mut Slot<PeerRecord>, DeviceError> {
        self.cache.peers.slot(self.vault, *id, &id.to_bytes())
    }

    /// A session, as it was when it was last stored.
    pub(super) fn session(&mut self, id: &SessionId) -> Result<Option<&Session>, DeviceError> {
        Ok(self.session_slot(id)?.session.as_ref())
    }

    /// A session, for using it. If the call on it fails it must not have changed.
    pub(super) fn use_session(&mut self, id: &SessionId) -> Result<Option<&mut Session>, DeviceError> {
        let slot = self.session_slot(id)?;
        slot.changed |= slot.session.is_some();
        Ok(slot.session.as_mut())
    }

    /// Decrypts in a session; only then does it count as changed.
    pub(super) fn decrypt(
        &mut self,
        id: &SessionId,
        message: &[u8],
    ) -> Result<Result<Vec<u8>, Error>, DeviceError> {
        let slot = self.session_slot(id)?;
        let Some(session) = &mut slot.session else { return Ok(Err(Error::UnknownSession)) };
        let content = session.decrypt(message);
        slot.changed |= content.is_ok();
        Ok(content)
    }

    /// Takes a session out of memory that was not changed.
    pub(super) fn unload(&mut self, id: &SessionId) {
        if let Some(slot) = self.cache.sessions.get_mut(id).filter(|slot| !slot.changed) {
            slot.unloaded = slot.session.take().is_some();
        }
    }

    /// Accepts a first message; only then do the prekeys count as changed.
    pub(super) fn accept(
        &mut self,
        context: &Context<'_>,
        message: &[u8],
    ) -> Result<Result<Accepted, Error>, DeviceError> {
        let slot = self.prekeys()?;
        let prekeys = slot.value.as_mut().ok_or(DeviceError::Damaged)?;
        let accepted = Session::accept_with_payload(context.identity, prekeys, message);
        slot.changed |= accepted.is_ok();
        Ok(accepted)
    }

    /// Whether a session yields to another one with the same peer.
    pub(super) fn yields(
        &mut self,
        active: &SessionId,
        other: &SessionId,
        kind: MessageKind,
    ) -> Result<bool, DeviceError> {
        self.session_slot(other)?;
        self.session_slot(active)?;
        let session = |id| self.cache.sessions.get(id).and_then(|slot| slot.session.as_ref());
        Ok(match (session(active), session(other)) {
            (Some(active), Some(other)) => active.yields_to(other, kind),
            _ => true,
        })
    }

    pub(super) fn add_session(&mut self, session: Session) -> Result<SessionId, DeviceError> {
        let id = session.id();
        let slot = self.session_slot(&id)?;
        slot.session = Some(session);
        slot.changed = true;
        Ok(id)
    }

    /// Deletes a session, also one that does not open.
    pub(super) fn delete_session(&mut self, id: &SessionId) -> Result<Option<Session>, DeviceError> {
        let slot = self.session_slot(id)?;
        slot.changed = true;
        Ok(slot.session.take())
    }

    /// Reads a record that is not kept in memory, as this operation has put it, if it has.
    pub(super) fn read<T: Stored>(&mut self, name: &[u8]) -> Result<Option<T>, DeviceError> {
        let id = self.vault.id(T::TABLE, name);
        match self.others.get(&id).map(|change| &change.action) {
            Some(Action::Put { version, value }) => {
                let record = Record { id, position: 0, version: *version, value: value.clone() };
                return self.vault.open(&record).map(Some);
            }
            Some(Action::Delete) => return Ok(None),
            Some(Action::Keep) | None => {}
        }
        let stored = self.vault.read(&id)?;
        let expected = stored.as_ref().map_or(Expected::Absent, |(version, _)| Expected::Version(*version));
        self.others.of(id, expected);
        Ok(stored.map(|(_, value)| value))
    }

    /// Puts a record: one that was read in this operation, or any that there may be.
    pub(super) fn put<T: Stored>(&mut self, name: &[u8], value: &T) -> Result<(), DeviceError> {
        let id = self.vault.id(T::TABLE, name);
        self.put_at(id, value)
    }

    /// Puts a new record under a random name.
    pub(super) fn add<T: Stored>(&mut self, name: [u8; 16], value: &T) -> Result<(), DeviceError> {
        self.put_at(RecordId { table: T::TABLE as u8, name }, value)
    }

    fn put_at<T: Stored>(&mut self, id: RecordId, value: &T) -> Result<(), DeviceError> {
        let version = new_version()?;
        let value = self.vault.seal(&id, version, value);
        self.change(id, Action::Put { version, value });
        Ok(())
    }

    /// Deletes a record, if there is one.
    pub(super) fn delete(&mut self, table: Table, name: &[u8]) {
        let id = self.vault.id(table, name);
        self.change(id, Action::Delete);
    }

    /// [`Self::delete`] of a record that was listed.
    pub(super) fn delete_at(&mut self, id: RecordId) {
        self.change(id, Action::Delete);
    }

    fn change(&mut self, id: RecordId, action: Action) {
        if let Some(change) = self.others.of(id, Expected::Anything) {
            change.action = action;
        }
    }

    fn session_slot(&mut self, id: &SessionId) -> Result<&mut SessionSlot, DeviceError> {
        use std::collections::btree_map::Entry;
        if self.cache.sessions.get(id).is_some_and(|slot| slot.unloaded) {
            self.cache.sessions.remove(id);
        }
        let slot = match self.cache.sessions.entry(*id) {
            Entry::Occupied(slot) => slot.into_mut(),
            Entry::Vacant(place) => {
                let stored = self.vault.read_session(id)?;
                let (hot_version, cold_version, session) = match stored {
                    None => (None, None, None),
                    Some(stored) => (Some(stored.hot_version), stored.cold, stored.session),
                };
                let hot = self.vault.id(Table::Sessions, &id.to_bytes());
                place.insert(SessionSlot {
                    hot,
                    cold: cold_id(&hot),
                    hot_version,
                    cold_version,
                    // What does not open is as if it were not there, and is deleted with the next commit.
                    changed: hot_version.is_some() && session.is_none(),
                    session,
                    used: false,
                    unloaded: false,
                })
            }
        };
        slot.used = true;
        Ok(slot)
    }

    fn commit(&mut self, index: &mut HeaderIndex) -> Result<(), DeviceError> {
        let mut changes = Vec::new();
        let (vault, cache) = (&*self.vault, &*self.cache);
        cache.me.changes(vault, &mut changes)?;
        cache.strangers.changes(vault, &mut changes)?;
        cache.prekeys.changes(vault, &mut changes)?;
        cache.published.changes(vault, &mut changes)?;
        cache.users.changes(vault, &mut changes)?;
        cache.peers.changes(vault, &mut changes)?;
        for slot in cache.sessions.values().filter(|slot| slot.used) {
            slot.changes(vault, &mut changes)?;
        }
        changes.append(&mut self.others.changes);
        self.vault.commit(&changes)?;
        let versions = changes.into_iter().filter_map(|change| match change.action {
            Action::Keep => None,
            Action::Put { version, .. } => Some((change.id, Some(version))),
            Action::Delete => Some((change.id, None)),
        });
        let versions = versions.collect::<BTreeMap<_, _>>();
        for slot in self.cache.sessions.values().filter(|slot| slot.used && slot.changed) {
            let version = versions.get(&slot.hot).copied().flatten();
            index.renew(&slot.hot.name, version.zip(slot.session.as_ref()));
            if let (Some(version), Some(session)) = (version, &slot.session) {
                self.vault.note_committed(&slot.hot, version, session);
            }
        }
        self.cache.committed(&versions);
        Ok(())
    }

    fn expectations(&self) -> Vec<Change> {
        let mut out = Vec::new();
        self.cache.me.expectations(&mut out);
        self.cache.strangers.expectations(&mut out);
        self.cache.prekeys.expectations(&mut out);
        self.cache.published.expectations(&mut out);
        self.cache.users.expectations(&mut out);
        self.cache.peers.expectations(&mut out);
        let used = self.cache.sessions.values().filter(|slot| slot.used);
        out.extend(used.map(|slot| keep(slot.hot, slot.expected())));
        let read = self.others.changes.iter().filter(|change| change.expected != Expected::Anything);
        out.extend(read.map(|change| keep(change.id, change.expected)));
        out
    }
}
