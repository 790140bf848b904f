//! What passphrases unlock takes as much memory as its parameters say: at least 19 MiB, which is what makes an attempt
//! expensive, and at most 1 GiB, whatever an input says.

use allocation_counter::measure;
use subrosa::{
    BackupLock, Config, Device, StorageKey,
    store::{Action, Change, Expected, MemoryStore, RecordId, Store},
};

use crate::{
    FACTOR, FIXED,
    common::{NOW, storage_key},
};

const KIB: u64 = 1024;
/// The least and the most that parameters may say.
const MEMORY_KIB: [u32; 2] = [19_456, 1_048_576];

/// salt | memory | passes | lanes, and a commitment that no passphrase has.
fn parameters(memory_kib: u32, passes: u32, lanes: u32) -> Vec<u8> {
    let numbers = [memory_kib, passes, lanes].map(u32::to_be_bytes);
    [&[7; 16][..], numbers.as_flattened(), &[8; 32]].concat()
}

/// What opening a backup takes, and what unlocking a store; and what each may take besides.
fn taken(parameters: &[u8]) -> ([u64; 2], u64) {
    // Kind and version, and that the lock is a passphrase.
    let backup = [&[0x91, 1], parameters, &[9; 200]].concat();
    let mut store = MemoryStore::new();
    let action = Action::Put { version: 1, value: [&[1], parameters].concat() };
    let id = RecordId { table: 0, name: [0; 16] };
    store.commit(&[Change { id, expected: Expected::Absent, action }]).unwrap();
    let lock = BackupLock::Passphrase("passphrase");
    let config = Config::new(&storage_key(), || NOW);
    let restored = measure(|| {
        Device::restore(MemoryStore::new(), config, &backup, &lock, None).unwrap_err();
    });
    let unlocked = measure(|| {
        StorageKey::from_passphrase(&mut store, "passphrase").unwrap_err();
    });
    ([restored, unlocked].map(|used| used.bytes_max), FACTOR * backup.len() as u64 + FIXED)
}

#[test]
fn a25_a45_parameters_say_how_much_and_no_more_than_a_gibibyte() {
    let [least, most] = MEMORY_KIB;
    for (memory_kib, lanes) in [(least, 1), (least + 1_000, 2), (2 * least, 8)] {
        let (taken, besides) = taken(&parameters(memory_kib, 1, lanes));
        let memory = u64::from(memory_kib) * KIB;
        assert!(
            taken.iter().all(|taken| (memory..memory + besides).contains(taken)),
            "{taken:?} for {memory}"
        );
    }
    for (memory_kib, passes, lanes) in [
        (most + 1, 1, 1),
        (most + 1, 16, 8),
        (u32::MAX, 1, 1),
        (least - 1, 1, 1),
        (0, 1, 1),
        (least, 0, 1),
        (least, 17, 1),
        (least, u32::MAX, 1),
        (least, 1, 0),
        (least, 1, 9),
        (most, 1, u32::MAX),
    ] {
        let (taken, besides) = taken(&parameters(memory_kib, passes, lanes));
        assert!(taken.iter().all(|taken| *taken < besides), "{memory_kib}, {passes}, {lanes}: {taken:?}");
    }
}
