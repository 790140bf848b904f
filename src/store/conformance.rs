//! Whether a [`Store`] does what its contract says: run this as a test of one of yours.
//!
//! ```
//! use subrosa::store::{Change, MemoryStore, Record, RecordId, Store, StoreError, conformance};
//!
//! /// A store of your own; here it counts its commits.
//! struct Counting(MemoryStore, u64);
//!
//! impl Store for Counting {
//!     fn read(&self, id: &RecordId) -> Result<Option<Record>, StoreError> {
//!         self.0.read(id)
//!     }
//!
//!     fn list(&self, table: u8, after: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
//!         self.0.list(table, after, limit)
//!     }
//!
//!     fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
//!         self.1 += 1;
//!         self.0.commit(changes)
//!     }
//! }
//!
//! # fn main() {
//! // In a test:
//! let records = MemoryStore::new();
//! conformance::check(|| Counting(records.clone(), 0));
//! let records = MemoryStore::new();
//! conformance::check_race(|| Counting(records.clone(), 0));
//! # }
//! ```
//!
//! Not its concern: whether what was committed outlasts a power cut. Only the store's author can see to that.

#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "support for tests: a store that fails a check fails the test"
)]

use std::thread;

use super::{Action, Change, Expected, Record, RecordId, Store, StoreError};

/// The tables that the checks use, and the highest and lowest there are.
const TABLES: [u8; 3] = [1, 0, 255];

/// How often each of two racing handles adds one: enough that they meet.
const RACE_STEPS: u64 = 200;

/// Checks everything that can be seen from one thread.
///
/// `open` gives another handle on one and the same store, which is empty at first; it is called several times, and
/// handles that it gave are dropped in between. Leaves records behind.
///
/// # Panics
/// If the store does not do what [`Store`] says.
pub fn check<S: Store>(mut open: impl FnMut() -> S) {
    let mut store = open();
    reads_what_was_put(&mut store);
    expects_what_it_says(&mut store);
    refuses_sets_whole(&mut store);
    keeps_any_length(&mut store);
    lists_in_order(&mut store);
    never_hides_from_a_lister(&mut store);
    carries_out_large_sets(&mut store);
    two_handles(store, &mut open());
    reopens(&mut open);
}

/// Checks that two handles on two threads lose no change of each other's.
///
/// `open` is as in [`check`]; the store is empty at first.
///
/// # Panics
/// If the store does not do what [`Store`] says.
pub fn check_race<S: Store + Send>(mut open: impl FnMut() -> S) {
    let counter = id(0, 0);
    let mut handles = [open(), open()];
    handles[0].commit(&[put(counter, Expected::Absent, 0, b"")]).expect("first commit");
    thread::scope(|scope| {
        for (side, store) in (1..).zip(&mut handles) {
            scope.spawn(move || {
                for step in 0..RACE_STEPS {
                    // A record of its own in the same set: it is there as often as the counter counts.
                    while !add_one(store, &counter, id(side, step)) {}
                }
            });
        }
    });
    for store in &handles {
        assert_eq!(version(store, &counter), Some(2 * RACE_STEPS), "changes of the counter were lost");
        for side in [1, 2] {
            let own = store.list(side, 0, usize::MAX).expect("list").len();
            assert_eq!(own as u64, RACE_STEPS, "records put along with the counter were lost");
        }
    }
}

/// Adds one to the counter, which is its version, and puts a record. False if somebody else came first.
fn add_one(store: &mut impl Store, counter: &RecordId, own: RecordId) -> bool {
    let count = version(store, counter).expect("counter is gone");
    let changes =
        [put(*counter, Expected::Version(count), count + 1, b""), put(own, Expected::Absent, 1, b"own")];
    match store.commit(&changes) {
        Ok(()) => true,
        Err(StoreError::Conflict | StoreError::Busy) => false,
        Err(error) => panic!("commit in a race failed: {error}"),
    }
}

fn reads_what_was_put(store: &mut impl Store) {
    for table in TABLES {
        let record = id(table, 0);
        assert_eq!(store.read(&record).expect("read"), None, "a record that was never put is there");
        assert_eq!(store.list(table, 0, 10).expect("list"), [], "an empty table lists records");
        store.commit(&[put(record, Expected::Absent, 7, b"value")]).expect("put of an absent record");
        let read = store.read(&record).expect("read").expect("a record that was put is absent");
        assert_eq!((read.id, read.version, &read.value[..]), (record, 7, &b"value"[..]), "not what was put");
        assert!(read.position > 0, "position 0 is before the first record");
        store.commit(&[put(record, Expected::Version(7), MAX_VERSION, b"other")]).expect("put again");
        let again = store.read(&record).expect("read").expect("a record that was put again is absent");
        assert_eq!((again.version, &again.value[..]), (MAX_VERSION, &b"other"[..]), "not what was put again");
        assert_eq!(again.position, read.position, "a record that is put again keeps its position");
        let neighbour = RecordId { table: table ^ 2, ..record };
        assert_eq!(store.read(&neighbour).expect("read"), None, "tables are not apart");
        store.commit(&[delete(record, Expected::Version(MAX_VERSION))]).expect("delete");
        assert_eq!(store.read(&record).expect("read"), None, "a deleted record is there");
    }
}

/// The highest version that there is.
const MAX_VERSION: u64 = i64::MAX.unsigned_abs();

/// Every expectation with every action, on a record that is there and one that is not.
fn expects_what_it_says(store: &mut impl Store) {
    let (there, absent) = (id(2, 0), id(2, 1));
    let expectations = [
        (Expected::Anything, true, true),
        (Expected::Absent, false, true),
        (Expected::Version(5), true, false),
        (Expected::Version(6), false, false),
    ];
    for (expected, if_there, if_absent) in expectations {
        for action in [Action::Keep, Action::Put { version: 9, value: b"new".to_vec() }, Action::Delete] {
            for (record, holds) in [(there, if_there), (absent, if_absent)] {
                store
                    .commit(&[put(there, Expected::Anything, 5, b"old"), delete(absent, Expected::Anything)])
                    .expect("to put one and delete another, whatever they are");
                let before = store.read(&record).expect("read");
                let change = Change { id: record, expected, action: action.clone() };
                let result = store.commit(&[change]);
                let after = store.read(&record).expect("read").map(|record| (record.version, record.value));
                let unchanged = before.map(|record| (record.version, record.value));
                let wanted = match (&action, holds) {
                    (Action::Put { version, value }, true) => Some((*version, value.clone())),
                    (Action::Delete, true) => None,
                    _ => unchanged,
                };
                let case = format!("{expected:?} with {action:?}");
                match result {
                    Ok(()) => assert!(holds, "carried out: {case}"),
                    Err(StoreError::Conflict) => assert!(!holds, "refused: {case}"),
                    Err(error) => panic!("{case}: {error}"),
                }
                assert!(after == wanted, "not as it should be after {case}");
            }
        }
    }
    store.commit(&[]).expect("a set of no changes");
}

/// One mismatch, at every place of a set, and of every kind.
fn refuses_sets_whole(store: &mut impl Store) {
    let (kept, deleted, fresh, odd) = (id(3, 0), id(3, 1), id(3, 2), id(3, 3));
    let records = [kept, deleted, odd].map(|id| put(id, Expected::Absent, 1, b"before"));
    store.commit(&records).expect("put three records");
    let before = everything(store, 3);
    let good = [
        put(kept, Expected::Version(1), 2, b"after"),
        delete(deleted, Expected::Version(1)),
        put(fresh, Expected::Absent, 2, b"after"),
    ];
    for expected in [Expected::Version(2), Expected::Absent] {
        for action in [Action::Keep, Action::Delete, Action::Put { version: 3, value: Vec::new() }] {
            for place in 0..=good.len() {
                let mut changes = good.to_vec();
                changes.insert(place, Change { id: odd, expected, action: action.clone() });
                match store.commit(&changes) {
                    Err(StoreError::Conflict) => {}
                    other => panic!("a set with a mismatch at {place} gives {other:?}, not a conflict"),
                }
                assert!(everything(store, 3) == before, "a set that was refused has changed something");
            }
        }
    }
    store.commit(&good).expect("the same set without a mismatch");
    assert_eq!(names(store, 3), [kept, odd, fresh], "not what the set puts and deletes");
}

fn keeps_any_length(store: &mut impl Store) {
    let record = id(4, 0);
    for len in [0, 1, 2048, 1 << 20, 0] {
        let value: Vec<u8> = (0..len).map(|i: usize| (i % 251) as u8).collect();
        store.commit(&[put(record, Expected::Anything, 1, &value)]).expect("put");
        let read = store.read(&record).expect("read").expect("a record that was put is absent");
        assert!(read.value == value, "a value of {len} bytes is read otherwise");
    }
}

fn lists_in_order(store: &mut impl Store) {
    // Names descend while positions ascend, so an order by name shows.
    let records: Vec<RecordId> = (0..25).rev().map(|number| id(5, number)).collect();
    for record in &records {
        let elsewhere = RecordId { table: 6, ..*record };
        store
            .commit(&[put(*record, Expected::Absent, 1, b"5"), put(elsewhere, Expected::Absent, 1, b"6")])
            .expect("put");
    }
    store.commit(&[put(records[3], Expected::Version(1), 2, b"again")]).expect("put again");
    assert_eq!(names(store, 5), records, "not in the order in which they were put");
    assert_eq!(names(store, 6).len(), records.len(), "tables are not apart");
    for limit in [1, 7, 25, 1000] {
        let (mut after, mut listed) = (0, Vec::new());
        loop {
            let page = store.list(5, after, limit).expect("list");
            assert!(page.len() <= limit, "a page is longer than its limit");
            let Some(last) = page.last() else { break };
            assert!(page.is_sorted_by(|a, b| a.position < b.position), "a page is not in order");
            assert!(page[0].position > after, "a page begins at a position that was listed");
            after = last.position;
            listed.extend(page);
        }
        assert!(listed == everything(store, 5), "pages of {limit} do not give the table");
    }
    for record in everything(store, 5) {
        assert!(store.read(&record.id).expect("read") == Some(record), "listed and read records differ");
    }
    assert_eq!(store.list(5, 0, 0).expect("list"), [], "a page of no records has one");
    assert_eq!(store.list(5, u64::MAX, 10).expect("list"), [], "something stands after the last position");
}

/// A lister goes on after the position of the last record that it saw, and sees all that is put later: also if that
/// record, the highest, was deleted since.
fn never_hides_from_a_lister(store: &mut impl Store) {
    let (first, second) = (id(7, 0), id(7, 1));
    store.commit(&[put(first, Expected::Absent, 1, b"")]).expect("put");
    let seen = everything(store, 7)[0].position;
    store.commit(&[delete(first, Expected::Version(1))]).expect("delete");
    store.commit(&[put(second, Expected::Absent, 1, b"")]).expect("put");
    let later = store.list(7, seen, 10).expect("list");
    assert_eq!(later.len(), 1, "a position was given again, after its record was deleted");
    store
        .commit(&[delete(second, Expected::Version(1)), put(first, Expected::Absent, 2, b"")])
        .expect("both");
    let seen = later[0].position;
    assert_eq!(store.list(7, seen, 10).expect("list").len(), 1, "a position was given again within a set");
}

fn carries_out_large_sets(store: &mut impl Store) {
    let records: Vec<RecordId> = (0..300).map(|number| id(8, number)).collect();
    let all = |expected, version: u64, value: &[u8]| -> Vec<Change> {
        records.iter().map(|record| put(*record, expected, version, value)).collect()
    };
    for half in all(Expected::Absent, 1, &[1; 100]).chunks(150) {
        store.commit(half).expect("150 new records");
    }
    assert_eq!(names(store, 8), records, "records do not stand in the order of their sets");
    store.commit(&all(Expected::Version(1), 2, &[2; 100])).expect("300 changed records");
    assert!(everything(store, 8).iter().all(|record| record.version == 2 && record.value == [2; 100]));
    let deletes: Vec<Change> = records.iter().map(|record| delete(*record, Expected::Version(2))).collect();
    store.commit(&deletes).expect("300 deleted records");
    assert_eq!(names(store, 8), [], "deleted records are there");
}

fn two_handles<S: Store>(mut first: S, second: &mut S) {
    let record = id(9, 0);
    first.commit(&[put(record, Expected::Absent, 1, b"first")]).expect("put");
    assert_eq!(version(second, &record), Some(1), "another handle does not see what was put");
    second.commit(&[put(record, Expected::Version(1), 2, b"second")]).expect("put");
    let stale = first.commit(&[put(record, Expected::Version(1), 3, b"first")]);
    assert!(matches!(stale, Err(StoreError::Conflict)), "a change of another handle was overwritten");
    drop(first);
    second.commit(&[put(record, Expected::Version(2), 3, b"alone")]).expect("put after a handle was dropped");
}

fn reopens<S: Store>(open: &mut impl FnMut() -> S) {
    let tables = 0..=u8::MAX;
    let all = |store: &S| tables.clone().flat_map(|table| everything(store, table)).collect::<Vec<_>>();
    let before = all(&open());
    assert!(!before.is_empty() && all(&open()) == before, "not all is there after all handles were dropped");
}

fn everything(store: &impl Store, table: u8) -> Vec<Record> {
    store.list(table, 0, usize::MAX).expect("list")
}

fn names(store: &impl Store, table: u8) -> Vec<RecordId> {
    everything(store, table).into_iter().map(|record| record.id).collect()
}

fn version(store: &impl Store, id: &RecordId) -> Option<u64> {
    store.read(id).expect("read").map(|record| record.version)
}

fn id(table: u8, number: u64) -> RecordId {
    let mut name = [0x5a; 16];
    name[..8].copy_from_slice(&number.to_be_bytes());
    RecordId { table, name }
}

fn put(id: RecordId, expected: Expected, version: u64, value: &[u8]) -> Change {
    Change { id, expected, action: Action::Put { version, value: value.to_vec() } }
}

fn delete(id: RecordId, expected: Expected) -> Change {
    Change { id, expected, action: Action::Delete }
}
