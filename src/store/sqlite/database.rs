//! Opening the database in a file: setting it up, knowing it, refusing it.

use std::{
    path::{Path, absolute},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, config::DbConfig};

use super::{STATEMENTS, StoreError, file, other, problem::store_error};

/// Tells a store from other databases: "Sroa".
const APPLICATION_ID: i64 = 0x5372_6f61;

/// The layout of the tables. A later release that changes it counts on.
const LAYOUT_VERSION: i64 = 1;

/// Three values of 2 KB and their rows. In pages of half the size there would be one, and the file half as large again.
const PAGE_SIZE: i64 = 8192;

/// How long to sleep before asking again for a lock: a few commits of somebody else's.
const RETRY_AFTER: Duration = Duration::from_millis(1);

/// Of the connection, nothing of it kept in the file. In this order:
/// - a commit is on the disk before it returns; on Apple's systems, where `fsync` is not enough for that, as well;
/// - what is deleted is overwritten with zeros;
/// - about 8 MiB of pages are cached;
/// - the log does not stay large after a large set;
/// - damaged pages are recognised when they are read;
/// - no code out of the file is run.
const SETTINGS: &str = "
    PRAGMA synchronous = FULL;
    PRAGMA fullfsync = ON;
    PRAGMA checkpoint_fullfsync = ON;
    PRAGMA secure_delete = ON;
    PRAGMA cache_size = -8192;
    PRAGMA journal_size_limit = 8388608;
    PRAGMA cell_size_check = ON;
    PRAGMA trusted_schema = OFF;
";

const TABLES: &str = "
    CREATE TABLE records (
        place INTEGER PRIMARY KEY,
        key BLOB NOT NULL UNIQUE,
        version INTEGER NOT NULL,
        value BLOB NOT NULL
    ) STRICT;
    CREATE TABLE sequence (last INTEGER NOT NULL) STRICT;
    INSERT INTO sequence VALUES (0);
";

/// What SQLite says, or why we refuse what it has opened.
enum Problem {
    Sqlite(rusqlite::Error),
    Refused(StoreError),
}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Opens a database, makes it if there is none, and checks that it is one of ours.
pub(super) fn open(path: &Path, timeout: Duration) -> Result<Connection, StoreError> {
    // Absolute: else SQLite takes ":memory:", "" and "file:..." for something else than names of files.
    let path = absolute(path).map_err(other)?;
    file::prepare(&path)?;
    connect(&path, timeout).map_err(|problem| match problem {
        Problem::Refused(refused) => refused,
        Problem::Sqlite(error) => match error.sqlite_error_code() {
            Some(ErrorCode::CannotOpen) if file::is_in_read_only_directory(&path) => StoreError::ReadOnly,
            // "SQL error": our statements have none, so it is the tables, or the format of the file.
            Some(ErrorCode::Unknown) => StoreError::Damaged,
            None if matches!(error, rusqlite::Error::SqlInputError { .. }) => StoreError::Damaged,
            _ => store_error(error),
        },
    })
}

fn connect(path: &Path, timeout: Duration) -> Result<Connection, Problem> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    // SQLite opens for reading what it cannot write, and says so at the first commit: too late for us.
    if connection.is_readonly("main")? {
        return Err(Problem::Refused(StoreError::ReadOnly));
    }
    wait_for_others(&mut connection, timeout)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.execute_batch(SETTINGS)?;
    set_up(&mut connection, timeout)?;
    let page_size: i64 = connection.pragma_query_one(None, "page_size")?;
    if file::ends_within_a_page(path, page_size.unsigned_abs()) {
        return Err(Problem::Refused(StoreError::Damaged));
    }
    // Prepared now, so that a database without our tables shows when it is opened.
    for statement in STATEMENTS {
        connection.prepare_cached(statement)?;
    }
    Ok(connection)
}

/// Makes calls wait for the locks of others. SQLite's own way of it sleeps up to 100 ms at a time: a process that commits
/// without a pause would keep all others out for as long as it goes on.
fn wait_for_others(connection: &mut Connection, timeout: Duration) -> rusqlite::Result<()> {
    let mut began = Instant::now();
    connection.busy_handler(Some(move |attempts| {
        if attempts == 0 {
            began = Instant::now();
        }
        let waits = began.elapsed() < timeout;
        if waits {
            thread::sleep(RETRY_AFTER);
        }
        waits
    }))
}

/// Makes the tables in an empty database, and switches the log on, which the file remembers. Nothing of a foreign one
/// is changed.
fn set_up(connection: &mut Connection, timeout: Duration) -> Result<(), Problem> {
    is_ours(connection)?;
    // Of no effect unless the database is empty.
    connection.pragma_update(None, "page_size", PAGE_SIZE)?;
    switch_log_on(connection, timeout)?;
    if is_ours(connection)? {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Once more, as somebody else may have come first.
    if !is_ours(&transaction)? {
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", LAYOUT_VERSION)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Whether the database has our tables. False if it is empty; anything else is refused.
fn is_ours(connection: &Connection) -> Result<bool, Problem> {
    // In one statement, as somebody else may be making the tables.
    let contents: (i64, i64, bool) = connection.query_row(
        "SELECT application_id, user_version, EXISTS (SELECT 1 FROM sqlite_schema)
            FROM pragma_application_id, pragma_user_version",
        [],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    match contents {
        // Of a format that this SQLite would only read; ours are of one that it writes.
        _ if connection.is_readonly("main")? => Err(Problem::Refused(StoreError::Damaged)),
        (APPLICATION_ID, LAYOUT_VERSION, true) => Ok(true),
        (0, 0, false) => Ok(false),
        (APPLICATION_ID, later, _) if later > LAYOUT_VERSION => {
            Err(Problem::Refused(StoreError::UnsupportedVersion))
        }
        _ => Err(Problem::Refused(StoreError::Damaged)),
    }
}

/// Switches the write-ahead log on. SQLite does not wait for others here, so we do.
fn switch_log_on(connection: &Connection, timeout: Duration) -> Result<(), Problem> {
    let began = Instant::now();
    loop {
        let mode = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0));
        match mode {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && began.elapsed() < timeout =>
            {
                thread::sleep(RETRY_AFTER);
            }
            Err(error) => return Err(error.into()),
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(_) => {
                let error = "SQLite's write-ahead log does not work on this file system";
                return Err(Problem::Refused(StoreError::Other(error.into())));
            }
        }
    }
}
