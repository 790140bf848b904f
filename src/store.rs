//! Where a device keeps its state: records, read one by one, and changed in sets, each all or nothing.
//!
//! ```text
//! Device ── sealed records ──> Store: read, list, commit(change set) ──> memory, SQLite, yours
//! ```
//!
//! A store sees table numbers, keyed hashes, random versions, and sealed values: how many records there are and
//! how long they are, nothing else. It needs no key.
//!
//! Not its concern: what is in a record; encryption; retrying.

pub mod conformance;
mod memory;
mod passphrase;
#[cfg(all(feature = "sqlite", not(all(target_family = "wasm", target_os = "unknown"))))]
mod sqlite;

use std::{error, fmt};

pub use memory::MemoryStore;
pub use passphrase::UnlockError;
#[cfg(all(feature = "sqlite", not(all(target_family = "wasm", target_os = "unknown"))))]
pub use sqlite::SqliteStore;

/// Names a record: a table, and 16 bytes that look random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// Which table: records of one are listed together.
    pub table: u8,
    /// The record's name in its table.
    pub name: [u8; 16],
}

/// A stored record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub id: RecordId,
    /// Where it stands in its table: records put later, or later in one set, stand higher. Given by the store when the
    /// record is first put, kept when it is put again.
    pub position: u64,
    /// A number below 2^63, chosen at random by who put the record: another one after every change.
    pub version: u64,
    /// The sealed value.
    pub value: Vec<u8>,
}

/// One change of a set, and what it takes for granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The record.
    pub id: RecordId,
    /// How the record must be for the set to be carried out.
    pub expected: Expected,
    /// What becomes of it.
    pub action: Action,
}

/// How a record must be before a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// As it likes.
    Anything,
    /// Not there.
    Absent,
    /// There, in this version.
    Version(u64),
}

/// What becomes of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It stays: the change is an expectation, nothing else.
    Keep,
    /// It is put, in this version, with this value.
    Put {
        /// Its new version.
        version: u64,
        /// Its new value.
        value: Vec<u8>,
    },
    /// It is deleted; if it is not there, that is no error.
    Delete,
}

/// Records on a disk, or wherever. Implement it for a database of yours, and run
/// [`conformance`] on it.
///
/// Several devices, in one process or in many, may use one store at once: [`Self::commit`] decides who comes first.
pub trait Store {
    /// Reads a record.
    ///
    /// # Errors
    /// Any but [`StoreError::Conflict`].
    fn read(&self, id: &RecordId) -> Result<Option<Record>, StoreError>;

    /// Up to `limit` records of a table that stand higher than `after`, lowest first. 0 is before the first.
    ///
    /// # Errors
    /// Any but [`StoreError::Conflict`].
    fn list(&self, table: u8, after: u64, limit: usize) -> Result<Vec<Record>, StoreError>;

    /// Carries out all changes of a set, or none: none if any record is not as expected, or anything goes wrong.
    ///
    /// When it returns, the changes **outlast a crash and a power cut**. No other commit happens between the
    /// comparison and the changes. A set names each record once. One without changes (all [`Action::Keep`]) compares, and
    /// need not write.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if a record is not as expected.
    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError>;
}

/// Why a store did not do what it was asked. Nothing has changed, then; only when the disk itself fails in the middle of
/// a commit nobody knows, and a device reads again.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// A record is not as a change set expected: somebody else came first. Read again, and try again.
    Conflict,
    /// Locked by somebody else for longer than a store waits. Try again later.
    Busy,
    /// No space is left.
    Full,
    /// It cannot be written.
    ReadOnly,
    /// Not a store of this kind, truncated or damaged.
    Damaged,
    /// Made by a later release.
    UnsupportedVersion,
    /// Something else.
    Other(Box<dyn error::Error + Send + Sync>),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict => f.write_str("a record was changed by somebody else"),
            Self::Busy => f.write_str("store is locked by somebody else"),
            Self::Full => f.write_str("no space left for the store"),
            Self::ReadOnly => f.write_str("store cannot be written"),
            Self::Damaged => f.write_str("not a store, or a damaged one"),
            Self::UnsupportedVersion => f.write_str("store was made by a later release"),
            Self::Other(error) => write!(f, "store failed: {error}"),
        }
    }
}

impl error::Error for StoreError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Other(error) => Some(error.as_ref()),
            _ => None,
        }
    }
}
