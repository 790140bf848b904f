//! Stores that break the contract, each in one way that one of the checks is for.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use subrosa::store::{Action, Change, Expected, Record, RecordId, Store, StoreError, conformance};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Keeps 32 bits of a version.
    ShortVersions,
    /// Takes the deletion of what is not there for a conflict.
    DeletesOnlyWhatIsThere,
    /// Carries out what stands before a mismatch.
    OneByOne,
    /// Keeps 64 KiB of a value.
    ShortValues,
    /// Lists all there is.
    NoLimit,
    /// Gives the position of a deleted record again.
    PositionsAgain,
    /// Takes up to 256 changes.
    SmallSets,
    /// Takes one change.
    NoSets,
    /// Says of a mismatch that the store is full.
    OtherError,
    /// The same of a mismatch in a set.
    OtherErrorOfSets,
    /// Each handle reads what it has written itself, or found when it was opened.
    OwnCopies,
    /// Forgets everything with its last handle.
    Forgets,
    /// Compares, lets go, and then changes.
    Gap,
}

#[derive(Clone, Default)]
struct Records {
    in_order: Vec<Record>,
    last_position: u64,
    handles: usize,
}

struct Faulty {
    shared: Arc<Mutex<Records>>,
    own: Vec<Record>,
    fault: Fault,
}

impl Faulty {
    fn open(shared: &Arc<Mutex<Records>>, fault: Fault) -> Self {
        let mut records = shared.lock().unwrap();
        records.handles += 1;
        Self { shared: shared.clone(), own: records.in_order.clone(), fault }
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.shared.lock().unwrap()
    }

    fn records(&self) -> Vec<Record> {
        if self.fault == Fault::OwnCopies { self.own.clone() } else { self.lock().in_order.clone() }
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        let mut records = self.lock();
        records.handles -= 1;
        if self.fault == Fault::Forgets && records.handles == 0 {
            records.in_order.clear();
        }
    }
}

impl Store for Faulty {
    fn read(&self, id: &RecordId) -> Result<Option<Record>, StoreError> {
        Ok(self.records().into_iter().find(|record| record.id == *id))
    }

    fn list(&self, table: u8, after: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let limit = if self.fault == Fault::NoLimit { usize::MAX } else { limit };
        let records = self.records().into_iter();
        Ok(records.filter(|record| record.id.table == table && record.position > after).take(limit).collect())
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        if self.fault == Fault::SmallSets && changes.len() > 256 {
            return Err(StoreError::Full);
        }
        if self.fault == Fault::NoSets && changes.len() > 1 {
            return Err(StoreError::Full);
        }
        let mut records = self.lock();
        let before = records.clone();
        for change in changes {
            if !meets(&records.in_order, change, self.fault) {
                if self.fault != Fault::OneByOne {
                    *records = before;
                }
                let is_set = changes.len() > 1;
                let full =
                    self.fault == Fault::OtherError || (self.fault == Fault::OtherErrorOfSets && is_set);
                return Err(if full { StoreError::Full } else { StoreError::Conflict });
            }
            apply(&mut records, change, self.fault);
        }
        if self.fault == Fault::Gap {
            let after = std::mem::replace(&mut *records, before);
            drop(records);
            thread::sleep(Duration::from_micros(200));
            let mut records = self.lock();
            (records.in_order, records.last_position) = (after.in_order, after.last_position);
            return Ok(());
        }
        let after = records.in_order.clone();
        drop(records);
        self.own = after;
        Ok(())
    }
}

fn meets(records: &[Record], change: &Change, fault: Fault) -> bool {
    let record = records.iter().find(|record| record.id == change.id);
    if fault == Fault::DeletesOnlyWhatIsThere && change.action == Action::Delete && record.is_none() {
        return false;
    }
    match change.expected {
        Expected::Anything => true,
        Expected::Absent => record.is_none(),
        Expected::Version(version) => record.is_some_and(|record| record.version == version),
    }
}

fn apply(records: &mut Records, change: &Change, fault: Fault) {
    let place = records.in_order.iter().position(|record| record.id == change.id);
    match (&change.action, place) {
        (Action::Put { version, value }, place) => {
            let version = if fault == Fault::ShortVersions { version & 0xffff_ffff } else { *version };
            let value = if fault == Fault::ShortValues { &value[..value.len().min(65_536)] } else { value };
            let place = place.unwrap_or_else(|| {
                let highest = records.in_order.iter().map(|record| record.position).max().unwrap_or_default();
                let last = if fault == Fault::PositionsAgain { highest } else { records.last_position };
                records.last_position = last + 1;
                let position = records.last_position;
                records.in_order.push(Record { id: change.id, position, version, value: Vec::new() });
                records.in_order.len() - 1
            });
            (records.in_order[place].version, records.in_order[place].value) = (version, value.to_vec());
        }
        (Action::Delete, Some(place)) => drop(records.in_order.remove(place)),
        _ => {}
    }
}

/// Whether a check finds it, on a thread whose panic is no failure of the test.
fn finds(check: fn(&Arc<Mutex<Records>>, Fault), fault: Fault) -> bool {
    let run = move || check(&Arc::default(), fault);
    thread::Builder::new().name("is to fail".into()).spawn(run).unwrap().join().is_err()
}

fn check(shared: &Arc<Mutex<Records>>, fault: Fault) {
    conformance::check(|| Faulty::open(shared, fault));
}

fn check_race(shared: &Arc<Mutex<Records>>, fault: Fault) {
    conformance::check_race(|| Faulty::open(shared, fault));
}

#[test]
fn every_fault_is_found() {
    for fault in [
        Fault::ShortVersions,
        Fault::DeletesOnlyWhatIsThere,
        Fault::OneByOne,
        Fault::ShortValues,
        Fault::NoLimit,
        Fault::PositionsAgain,
        Fault::SmallSets,
        Fault::NoSets,
        Fault::OtherError,
        Fault::OtherErrorOfSets,
        Fault::OwnCopies,
        Fault::Forgets,
    ] {
        assert!(finds(check, fault), "{fault:?}");
    }
    assert!(finds(check_race, Fault::NoSets), "nor does a race go on for ever");
    assert!(!finds(check, Fault::Gap) && finds(check_race, Fault::Gap), "only a race shows it");
    assert!(!finds(check, Fault::None) && !finds(check_race, Fault::None), "there is none");
}
