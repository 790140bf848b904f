//! What SQLite says, in terms of [`StoreError`].

use rusqlite::{
    Error, ErrorCode,
    ffi::{SQLITE_IOERR_CORRUPTFS, SQLITE_IOERR_SHMSIZE},
    types::Type,
};

use super::StoreError;

/// The error of SQLite by what a caller can do about it.
pub(super) fn store_error(error: Error) -> StoreError {
    let Some(problem) = error.sqlite_error() else {
        return match error {
            // Values of another type, length or range than any release has put.
            Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::InvalidColumnType(..)
            | Error::QueryReturnedNoRows => StoreError::Damaged,
            error => StoreError::Other(Box::new(error)),
        };
    };
    match (problem.code, problem.extended_code) {
        (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => StoreError::Busy,
        // The second: the index of the log is a file of its own, and could not grow.
        (ErrorCode::DiskFull, _) | (_, SQLITE_IOERR_SHMSIZE) => StoreError::Full,
        (ErrorCode::ReadOnly, _) => StoreError::ReadOnly,
        (ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _) | (_, SQLITE_IOERR_CORRUPTFS) => {
            StoreError::Damaged
        }
        _ => StoreError::Other(Box::new(error)),
    }
}

/// A row that no release has written, as an error of the statement that has read it.
pub(super) fn damaged_row() -> Error {
    Error::FromSqlConversionFailure(0, Type::Integer, "not a row of a store".into())
}
