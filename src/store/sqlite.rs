//! Records in an SQLite database.
//!
//! ```text
//! records   place INTEGER PRIMARY KEY = table << 48 | position     key BLOB UNIQUE = table | name
//!           version INTEGER                                        value BLOB
//! sequence  last INTEGER: the highest position that was ever given, in any table
//! ```
//!
//! The place is SQLite's row id. So the records of a table lie side by side in the order of their positions, and to list
//! them is to read on; a point read goes through the index of keys, whose entries are 28 bytes. An update touches one page
//! and no index, as neither place nor key changes.
//!
//! Positions come from one counter for all tables and are never given again: a lister that saw the highest record,
//! which was then deleted, does not miss the next. Sets that put no new record do not touch the counter.
//!
//! That a commit outlasts a power cut is what SQLite's write-ahead log promises with `synchronous = FULL`: the log is synced
//! before `COMMIT` returns, and every page in it is covered by a running checksum, so that what a cut leaves behind the
//! last synced commit is ignored. It relies on a disk and a file system that honour `fsync` (on Apple's systems
//! `F_FULLFSYNC`) and keep what was synced. One that acknowledges it and forgets puts the store back to an earlier commit,
//! as a backup does.
//!
//! Not its concern: what is in a record. Values are sealed; the file shows how many there are, and how long.

mod database;
mod file;
mod problem;

use std::{fmt, ops::RangeInclusive, path::Path, time::Duration};

use rusqlite::{
    CachedStatement, Connection, OptionalExtension, Row, Transaction, TransactionBehavior, named_params,
};

use self::problem::{damaged_row, store_error};
use super::{Action, Change, Expected, Record, RecordId, Store, StoreError};

/// How long a call waits for other processes. A commit takes a millisecond, or on a slow disk some hundred; who waits longer
/// than this waits for a process that hangs.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// What is below the table in a place: 2^48 positions, a thousand new records a second for 8,900 years.
const POSITION_BITS: u32 = 48;

const READ: &str = "SELECT place, key, version, value FROM records WHERE key = :key";
const LIST: &str = "SELECT place, key, version, value FROM records \
    WHERE place BETWEEN :first AND :last ORDER BY place LIMIT :limit";
const FIND: &str = "SELECT place, version FROM records WHERE key = :key";
const INSERT: &str =
    "INSERT INTO records (place, key, version, value) VALUES (:place, :key, :version, :value)";
const UPDATE: &str = "UPDATE records SET version = :version, value = :value WHERE place = :place";
const DELETE: &str = "DELETE FROM records WHERE place = :place";
const RESERVE: &str = "UPDATE sequence SET last = last + :count RETURNING last";

/// All of them.
const STATEMENTS: [&str; 7] = [READ, LIST, FIND, INSERT, UPDATE, DELETE, RESERVE];

/// A [`Store`] in a file: an SQLite database, of which this crate brings the code along.
///
/// Beside `path` there are `path-wal` and `path-shm` while it is open, and after a crash: they **belong to it**. Never copy, move
/// or delete one without the others, or the newest commits are lost. A database cannot be on a network file system.
///
/// Any number of stores, in one process or in many, may be open on one file. A call waits up to 10 seconds for others, and
/// gives [`StoreError::Busy`] then. In one process open it through this crate only: another copy of SQLite breaks the
/// locks of this one.
///
/// A commit is synced to the disk before it returns: it outlasts a killed process, and a power cut as far as the disk keeps what
/// it says it has written. If it does not, the store is an earlier state of itself; a device heals then as after a backup
/// that was put back, and what it did in between is lost.
///
/// Deleted and replaced values are overwritten in the file. Flash memory and file systems may keep older copies all the same,
/// and `path-wal` keeps some until it is written anew, at the latest when the last store on the file is dropped.
pub struct SqliteStore {
    connection: Connection,
}

impl SqliteStore {
    /// Opens the store in a file, which is made if it is not there or empty: on Unix for its owner only. Its directory
    /// must be there.
    ///
    /// # Errors
    /// - [`StoreError::Damaged`]: not a store of this crate, truncated, or with broken structures. Damage is also found
    ///   later, where it is come upon.
    /// - [`StoreError::UnsupportedVersion`]: made by a later release.
    /// - [`StoreError::ReadOnly`]: file or directory cannot be written.
    /// - [`StoreError::Busy`], [`StoreError::Full`], [`StoreError::Other`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_within(path.as_ref(), BUSY_TIMEOUT)
    }

    fn open_within(path: &Path, timeout: Duration) -> Result<Self, StoreError> {
        Ok(Self { connection: database::open(path, timeout)? })
    }

    fn prepare(&self, statement: &str) -> Result<CachedStatement<'_>, StoreError> {
        self.connection.prepare_cached(statement).map_err(store_error)
    }

    /// Where the record of each change is, in their order; an error unless all are as expected.
    fn compare(&self, changes: &[Change]) -> Result<Vec<Option<i64>>, StoreError> {
        let mut find = self.prepare(FIND)?;
        let place = |change: &Change| {
            let found: Option<(i64, i64)> = find
                .query_row(named_params! { ":key": key(&change.id) }, |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
                .map_err(store_error)?;
            let as_expected = match (change.expected, found) {
                (Expected::Anything, _) | (Expected::Absent, None) => true,
                (Expected::Version(expected), Some((_, version))) => i64::try_from(expected) == Ok(version),
                (Expected::Absent, Some(_)) | (Expected::Version(_), None) => false,
            };
            as_expected.then_some(found.map(|(place, _)| place)).ok_or(StoreError::Conflict)
        };
        changes.iter().map(place).collect()
    }

    /// Carries out changes of records at these places.
    fn apply(&self, changes: &[Change], places: &[Option<i64>]) -> Result<(), StoreError> {
        let is_new = |(change, place): &(&Change, &Option<i64>)| {
            place.is_none() && matches!(change.action, Action::Put { .. })
        };
        let count = changes.iter().zip(places).filter(is_new).count();
        let mut position = if count == 0 { 0 } else { self.reserve(count)? };
        for (Change { id, action, .. }, place) in changes.iter().zip(places) {
            let done = match (action, place) {
                (Action::Keep, _) | (Action::Delete, None) => Ok(0),
                (Action::Delete, Some(place)) => {
                    self.prepare(DELETE)?.execute(named_params! { ":place": place })
                }
                (Action::Put { version, value }, Some(place)) => {
                    let version = to_i64(*version)?;
                    let row = named_params! { ":place": place, ":version": version, ":value": value };
                    self.prepare(UPDATE)?.execute(row)
                }
                (Action::Put { version, value }, None) => {
                    position += 1;
                    let (place, version) = (first_place(id.table) | to_i64(position)?, to_i64(*version)?);
                    let key = key(id);
                    let row =
                        named_params! { ":place": place, ":key": key, ":version": version, ":value": value };
                    self.prepare(INSERT)?.execute(row)
                }
            };
            done.map_err(store_error)?;
        }
        Ok(())
    }

    /// Takes that many positions off the counter, and returns the one before the first of them.
    fn reserve(&self, count: usize) -> Result<u64, StoreError> {
        let count = i64::try_from(count).map_err(other)?;
        let last: i64 = self
            .prepare(RESERVE)?
            .query_row(named_params! { ":count": count }, |row| row.get(0))
            .map_err(store_error)?;
        if !(count..1 << POSITION_BITS).contains(&last) {
            return Err(StoreError::Damaged); // nobody has put as many records
        }
        u64::try_from(last - count).map_err(other)
    }
}

impl Store for SqliteStore {
    fn read(&self, id: &RecordId) -> Result<Option<Record>, StoreError> {
        self.prepare(READ)?
            .query_row(named_params! { ":key": key(id) }, record)
            .optional()
            .map_err(store_error)
    }

    fn list(&self, table: u8, after: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let places = places_after(table, after);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let range = named_params! { ":first": places.start(), ":last": places.end(), ":limit": limit };
        let mut list = self.prepare(LIST)?;
        let rows = list.query_map(range, record).map_err(store_error)?;
        rows.map(|row| row.map_err(store_error)).collect()
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        // Who writes locks before comparing: to become a writer later fails if somebody else has written since.
        let writes = changes.iter().any(|change| change.action != Action::Keep);
        let behavior = if writes { TransactionBehavior::Immediate } else { TransactionBehavior::Deferred };
        let store = &*self;
        // Rolled back if it is dropped. `new_unchecked` as nothing checks that it is not nested: there is no other.
        let transaction = Transaction::new_unchecked(&store.connection, behavior).map_err(store_error)?;
        let places = store.compare(changes)?;
        store.apply(changes, &places)?;
        transaction.commit().map_err(store_error)
    }
}

/// The table and the name, as they are indexed.
fn key(id: &RecordId) -> [u8; 17] {
    let mut key = [id.table; 17];
    let [_, name @ ..] = &mut key;
    *name = id.name;
    key
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let (place, key, version): (i64, [u8; 17], i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let [table, name @ ..] = key;
    let position = place.checked_sub(first_place(table)).and_then(|position| u64::try_from(position).ok());
    match (position, u64::try_from(version)) {
        (Some(position), Ok(version)) if position >> POSITION_BITS == 0 => {
            Ok(Record { id: RecordId { table, name }, position, version, value: row.get(3)? })
        }
        _ => Err(damaged_row()),
    }
}

/// Where a table begins.
fn first_place(table: u8) -> i64 {
    i64::from(table) << POSITION_BITS
}

/// The places of a table that stand higher than a position: an empty range if none can.
fn places_after(table: u8, after: u64) -> RangeInclusive<i64> {
    const HIGHEST: i64 = (1 << POSITION_BITS) - 1;
    let after = i64::try_from(after).unwrap_or(HIGHEST).min(HIGHEST);
    first_place(table) + after + 1..=first_place(table) + HIGHEST
}

fn to_i64(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(other)
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Other(Box::new(error))
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.connection.path()).finish()
    }
}

#[cfg(test)]
mod tests;
