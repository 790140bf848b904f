//! The store in memory against the contract, and keys of passphrases. `sqlite.rs` is about the store on a disk.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]
#![cfg(feature = "std")]

#[path = "store/faulty.rs"]
mod faulty;

use std::time::{Duration, Instant};

use subrosa::{
    StorageKey,
    store::{
        Action, Change, Expected, MemoryStore, Record, RecordId, Store, StoreError, UnlockError, conformance,
    },
};

#[test]
fn memory_store_conforms() {
    let store = MemoryStore::new();
    conformance::check(|| store.clone());
    let store = MemoryStore::new();
    conformance::check_race(|| store.clone());
}

/// Where the parameters of a passphrase are, and how they are laid out: version | salt 16 | memory | passes | lanes | commitment.
const PARAMETERS: RecordId = RecordId { table: 0, name: [0; 16] };

fn parameters(store: &MemoryStore) -> Record {
    let record = store.read(&PARAMETERS).unwrap().unwrap();
    assert!(record.version >> 63 == 0, "no store need take it");
    record
}

fn overwrite(store: &mut MemoryStore, value: Vec<u8>) {
    let action = Action::Put { version: 9, value };
    store.commit(&[Change { id: PARAMETERS, expected: Expected::Anything, action }]).unwrap();
}

#[test]
fn a_passphrase_gives_one_key_in_one_store() {
    let mut store = MemoryStore::new();
    let key = StorageKey::from_passphrase(&mut store, "correct horse").unwrap().to_bytes();
    let record = parameters(&store);
    for passphrase in ["correct horsf", "correct horse ", "Correct horse", ""] {
        let result = StorageKey::from_passphrase(&mut store, passphrase);
        assert!(matches!(result, Err(UnlockError::WrongPassphrase)), "{passphrase}: {result:?}");
    }
    assert_eq!(StorageKey::from_passphrase(&mut store, "correct horse").unwrap().to_bytes(), key);
    assert_eq!(parameters(&store), record);
    assert!(!record.value.windows(32).any(|window| window == key), "the key is stored in the clear");
    let mut other = MemoryStore::new();
    assert_ne!(StorageKey::from_passphrase(&mut other, "correct horse").unwrap().to_bytes(), key);
    parameters(&other);
}

/// Both make the record; the one who comes second takes the first one's.
#[test]
fn a_passphrase_set_twice_at_once_gives_one_key() {
    let store = MemoryStore::new();
    let keys = std::thread::scope(|scope| {
        let unlock = || StorageKey::from_passphrase(&mut store.clone(), "at once").unwrap().to_bytes();
        [(); 2].map(|()| scope.spawn(unlock)).map(|thread| thread.join().unwrap())
    });
    assert_eq!(keys[0], keys[1]);
    parameters(&store);
}

/// A store that cannot be read, and one that cannot be written.
struct Failing {
    reads: bool,
}

impl Store for Failing {
    fn read(&self, _: &RecordId) -> Result<Option<Record>, StoreError> {
        if self.reads { Ok(None) } else { Err(StoreError::Busy) }
    }

    fn list(&self, _: u8, _: u64, _: usize) -> Result<Vec<Record>, StoreError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, _: &[Change]) -> Result<(), StoreError> {
        Err(StoreError::Full)
    }
}

#[test]
fn a_passphrase_is_set_when_the_store_has_it() {
    let unlock = |reads| StorageKey::from_passphrase(&mut Failing { reads }, "passphrase");
    let unread = unlock(false);
    assert!(matches!(unread, Err(UnlockError::Store(StoreError::Busy))), "{unread:?}");
    let unwritten = unlock(true);
    assert!(matches!(unwritten, Err(UnlockError::Store(StoreError::Full))), "{unwritten:?}");
}

/// One stored text opens under one passphrase: what the key is made with is bound by the commitment, every bit of it.
#[test]
fn a45_altered_parameters_give_no_key() {
    let mut store = MemoryStore::new();
    StorageKey::from_passphrase(&mut store, "passphrase").unwrap();
    let value = parameters(&store).value;
    assert_eq!(value.len(), 1 + 28 + 32);
    // Where, and with what: the salt, less memory, fewer passes, another lane, the commitment.
    for (position, mask) in
        [(1, 1), (16, 0x80), (18, 0x01), (19, 0x40), (24, 1), (24, 2), (28, 3), (29, 1), (60, 0x80)]
    {
        let mut altered = value.clone();
        altered[position] ^= mask;
        overwrite(&mut store, altered);
        let result = StorageKey::from_passphrase(&mut store, "passphrase");
        assert!(
            matches!(result, Err(UnlockError::WrongPassphrase | UnlockError::Damaged)),
            "byte {position}: {result:?}"
        );
    }
    for len in 0..value.len() {
        overwrite(&mut store, value[..len].to_vec());
        assert!(matches!(StorageKey::from_passphrase(&mut store, "passphrase"), Err(UnlockError::Damaged)));
    }
    overwrite(&mut store, [&value[..], &[0]].concat());
    assert!(matches!(StorageKey::from_passphrase(&mut store, "passphrase"), Err(UnlockError::Damaged)));
    let mut later = value.clone();
    later[0] = 2;
    overwrite(&mut store, later);
    let result = StorageKey::from_passphrase(&mut store, "passphrase");
    assert!(matches!(result, Err(UnlockError::UnsupportedVersion)));
    overwrite(&mut store, value);
    StorageKey::from_passphrase(&mut store, "passphrase").unwrap();
}

/// Four TiB, four billion passes: refused at once, as nobody has either.
#[test]
fn a45_absurd_parameters_cost_nothing() {
    let mut store = MemoryStore::new();
    StorageKey::from_passphrase(&mut store, "passphrase").unwrap();
    let value = parameters(&store).value;
    let began = Instant::now();
    for (position, number) in
        [(17, u32::MAX), (17, 1 << 21), (17, 8), (21, u32::MAX), (21, 0), (25, u32::MAX), (25, 0)]
    {
        let mut absurd = value.clone();
        absurd[position..position + 4].copy_from_slice(&number.to_be_bytes());
        overwrite(&mut store, absurd);
        let result = StorageKey::from_passphrase(&mut store, "passphrase");
        assert!(matches!(result, Err(UnlockError::Damaged)), "{number} at {position}: {result:?}");
    }
    assert!(began.elapsed() < Duration::from_millis(100), "something was computed");
}
