//! The store with its key: names are keyed hashes, values are sealed under name and version.
//!
//! Not its concern: which records change together.

use std::collections::HashMap;

use super::{
    DeviceError,
    records::{Stored, Table},
};
use crate::{
    Session, SessionId, StorageKey,
    crypto::{
        kdf::{self, Label},
        random,
        secret::Secret,
    },
    store::{Change, Record, RecordId, Store},
};

/// How often a session whose halves do not fit is read again. Somebody else commits both of them, seldom, and once for
/// each message: that it happens between the reads this many times in a row means damage.
const MAX_LISTED: usize = 4;

/// Of how many sessions is known what this process has stored last: of so many it can go through all in turn without using up
/// incarnations, which their peers remember. 48 bytes each.
const MAX_COMMITTED: usize = 4_096;

pub(super) struct Vault<S> {
    pub(super) store: S,
    pub(super) key: StorageKey,
    names: Box<Secret<32>>,
    /// By the name of a session's hot half: the version that this process has stored last, and under which incarnation. Any
    /// other version is somebody else's, or an older one, perhaps of a branch in which numbers were used.
    committed: HashMap<[u8; 16], (u64, u32)>,
}

/// A session as it is stored.
pub(super) struct StoredSession {
    /// None if it does not open, or its halves do not fit.
    pub(super) session: Option<Session>,
    pub(super) hot_version: u64,
    /// Version and generation of the cold half; none if it was never written.
    pub(super) cold: Option<(u64, u64)>,
}

impl<S: Store> Vault<S> {
    pub(super) fn new(store: S, key: StorageKey) -> Self {
        let names = key.derive_other(Label::RECORD_NAMES);
        Self { store, key, names, committed: HashMap::new() }
    }

    /// Notes what was stored of a session.
    pub(super) fn note_committed(&mut self, hot: &RecordId, version: u64, session: &Session) {
        if self.committed.len() >= MAX_COMMITTED {
            self.committed.clear();
        }
        self.committed.insert(hot.name, (version, session.incarnation()));
    }

    /// After a commit of which it is not certain that it was not carried out: what is stored may be what was stored before
    /// it, while the numbers after that are used.
    pub(super) fn forget_committed(&mut self) {
        self.committed.clear();
    }

    /// The incarnation to go on under, from a stored hot half: a new one, unless it is what this process has stored last.
    fn incarnation(&self, hot: &Record) -> Result<u32, DeviceError> {
        match self.committed.get(&hot.id.name) {
            Some((version, incarnation)) if *version == hot.version => Ok(*incarnation),
            _ => Ok(u32::from_be_bytes(random_bytes()?)),
        }
    }

    /// The name of a record: HMAC(names key, table | key), the first 16 bytes.
    pub(super) fn id(&self, table: Table, key: &[u8]) -> RecordId {
        let mac = kdf::mac(self.names.as_bytes(), &[&[table as u8], key]);
        let [name @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *mac.as_bytes();
        RecordId { table: table as u8, name }
    }

    pub(super) fn read<T: Stored>(&self, id: &RecordId) -> Result<Option<(u64, T)>, DeviceError> {
        self.store.read(id)?.map(|record| Ok((record.version, self.open(&record)?))).transpose()
    }

    pub(super) fn open<T: Stored>(&self, record: &Record) -> Result<T, DeviceError> {
        let context = context(&record.id, record.version);
        T::open(&self.key, &context, &record.value).map_err(DeviceError::from_record)
    }

    pub(super) fn seal<T: Stored>(&self, id: &RecordId, version: u64, value: &T) -> Vec<u8> {
        value.seal(&self.key, &context(id, version))
    }

    pub(super) fn read_session(&self, id: &SessionId) -> Result<Option<StoredSession>, DeviceError> {
        let hot_id = self.id(Table::Sessions, &id.to_bytes());
        let Some(hot) = self.store.read(&hot_id)? else { return Ok(None) };
        let cold = self.store.read(&cold_id(&hot_id))?;
        let session = match self.open_session(&hot, cold.as_ref()) {
            // Or both were changed between the two reads: then the version that was read is not the stored one any more,
            // and nothing comes of it.
            Err(DeviceError::Damaged) => None,
            session => Some(session?),
        };
        let cold =
            cold.zip(session.as_ref()).map(|(cold, session)| (cold.version, session.cold_generation()));
        Ok(Some(StoredSession { session, hot_version: hot.version, cold }))
    }

    /// A session out of a list of hot halves, and the version that it is of; none if it has been deleted since. If it has
    /// changed since it was listed, so that the halves do not fit, it is read again: to leave it out would be to say of
    /// its messages that they belong to nobody.
    pub(super) fn open_listed_session(&self, hot: &Record) -> Result<Option<(u64, Session)>, DeviceError> {
        let mut hot = hot.clone();
        for _ in 0..MAX_LISTED {
            let cold = self.store.read(&cold_id(&hot.id))?;
            match self.open_session(&hot, cold.as_ref()) {
                Ok(session) => return Ok(Some((hot.version, session))),
                Err(DeviceError::Damaged) => {}
                Err(error) => return Err(error),
            }
            let Some(now) = self.store.read(&hot.id)? else { return Ok(None) };
            hot = now;
        }
        // Damaged, and none of the other sessions has to suffer for it.
        Ok(None)
    }

    fn open_session(&self, hot: &Record, cold: Option<&Record>) -> Result<Session, DeviceError> {
        let hot_context = context(&hot.id, hot.version);
        let cold_context = cold.map(|cold| context(&cold.id, cold.version));
        let cold = cold.zip(cold_context.as_ref());
        Session::open_halves_in(
            &self.key,
            (&hot_context, &hot.value),
            cold.map(|(cold, context)| (&context[..], &cold.value[..])),
            self.incarnation(hot)?,
        )
        .map_err(DeviceError::from_record)
    }

    pub(super) fn seal_hot(&self, id: &RecordId, version: u64, session: &Session) -> Vec<u8> {
        session.seal_hot_in(&self.key, &context(id, version))
    }

    pub(super) fn seal_cold(&self, id: &RecordId, version: u64, session: &Session) -> Vec<u8> {
        session.seal_cold_in(&self.key, &context(id, version))
    }

    pub(super) fn commit(&mut self, changes: &[Change]) -> Result<(), DeviceError> {
        if changes.is_empty() { Ok(()) } else { Ok(self.store.commit(changes)?) }
    }
}

/// The record of a session's cold half, given that of the hot one.
pub(super) fn cold_id(hot: &RecordId) -> RecordId {
    RecordId { table: Table::Cold as u8, ..*hot }
}

/// Versions are random: they count nothing, and two branches of a store that was put back never agree on one.
pub(super) fn new_version() -> Result<u64, DeviceError> {
    Ok(u64::from_be_bytes(random_bytes()?) >> 1)
}

pub(super) fn random_bytes<const N: usize>() -> Result<[u8; N], DeviceError> {
    Ok(*random::fill(&mut rand::rngs::SysRng)?.as_bytes())
}

/// table u8 | name 16 | version u64
fn context(id: &RecordId, version: u64) -> [u8; 25] {
    let mut context = [0; _];
    let (table, rest) = context.split_at_mut(1);
    let (name, number) = rest.split_at_mut(16);
    table.copy_from_slice(&[id.table]);
    name.copy_from_slice(&id.name);
    number.copy_from_slice(&version.to_be_bytes());
    context
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{IdentityKeyPair, PreKeys, roster::fixture::NOW, store::MemoryStore};

    /// A device goes through so many sessions in turn, and none gets a new incarnation.
    #[test]
    fn a36_incarnations_of_many_sessions_are_known() {
        let (alice, bob) = (IdentityKeyPair::generate(), IdentityKeyPair::generate());
        let bundle = PreKeys::generate(&bob, 0, NOW).bundle().verify(NOW).unwrap();
        let session = Session::initiate(&alice, bundle).unwrap();
        let mut vault = Vault::new(MemoryStore::new(), StorageKey::from_bytes(&[7; 32]));
        let id = |number: usize| {
            let mut name = [0; 16];
            name[..8].copy_from_slice(&number.to_be_bytes());
            RecordId { table: Table::Sessions as u8, name }
        };
        (0..MAX_COMMITTED).for_each(|number| vault.note_committed(&id(number), 7, &session));
        for number in 0..MAX_COMMITTED {
            let record = Record { id: id(number), position: 0, version: 7, value: vec![] };
            assert_eq!(vault.incarnation(&record).unwrap(), session.incarnation());
            let other = Record { version: 8, ..record };
            assert_ne!(vault.incarnation(&other).unwrap(), session.incarnation());
        }
        vault.note_committed(&id(MAX_COMMITTED), 7, &session);
        assert_eq!(vault.committed.len(), 1);
    }
}
