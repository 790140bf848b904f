//! The file of a database, from outside: making it, and what SQLite does not notice.
//!
//! It is never opened here once it is there: to close a file is to lose all locks that the process has on it.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use super::{StoreError, other};

/// How far apart two looks at a length are: longer than it takes to write a page.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Makes the file if it is not there: before SQLite does, for its owner only. SQLite gives its other files the same mode.
///
/// A log without its database is refused: SQLite would silently throw it away.
pub(super) fn prepare(path: &Path) -> Result<(), StoreError> {
    /// Nobody may get further, and lock the file, while somebody else has not closed the one that he made.
    static CREATING: Mutex<()> = Mutex::new(());

    // The log first: a database that is being made just now has none before it has its first page.
    if !log_is_empty(path) && len(path) == 0 {
        return Err(StoreError::Damaged);
    }
    let _alone = CREATING.lock().unwrap_or_else(PoisonError::into_inner);
    match create_new(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists || path.exists() => Ok(()),
        Err(error) if forbids_writing(&error) => Err(StoreError::ReadOnly),
        Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            Err(StoreError::Full)
        }
        Err(error) => Err(other(error)),
    }
}

/// Whether the file was truncated within its last page, of which SQLite would read the rest as zeros. (That whole pages are
/// missing it notices by itself.)
///
/// A page that is just being written looks the same. But that is out of the log, which is not empty then; and at a second
/// look it has been written. After a crash amid it, too, there is a log.
pub(super) fn ends_within_a_page(path: &Path, page_size: u64) -> bool {
    let looks_so = || log_is_empty(path) && !len(path).is_multiple_of(page_size);
    looks_so() && {
        thread::sleep(LOOK_AGAIN_AFTER);
        looks_so()
    }
}

/// Why SQLite cannot open its files: it says the same of a directory that cannot be written and of much else.
pub(super) fn is_in_read_only_directory(path: &Path) -> bool {
    let probe = beside(path, "-probe");
    match create_new(&probe) {
        Ok(()) => {
            // One that stays behind does no harm.
            let _ = fs::remove_file(&probe);
            false
        }
        Err(error) => forbids_writing(&error),
    }
}

fn create_new(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn forbids_writing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

fn log_is_empty(path: &Path) -> bool {
    len(&beside(path, "-wal")) == 0
}

/// The length of a file, 0 if there is none.
fn len(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
