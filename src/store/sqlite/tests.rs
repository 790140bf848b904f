//! What takes a look inside: a full disk, a lock that is not given back, a database that is almost a store.

use std::{env, fs, path::PathBuf, process, thread, time::Instant};

use super::*;

/// A file that is removed with what is beside it.
struct File(PathBuf);

impl File {
    fn new(test: &str) -> Self {
        let directory = env::temp_dir().join(format!("subrosa-unit-{}-{test}", process::id()));
        fs::create_dir(&directory).unwrap();
        Self(directory.join("store.db"))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0.parent().unwrap());
    }
}

/// How long to wait where the lock is not given back.
const TIMEOUT: Duration = Duration::from_millis(100);

fn put(number: u8, expected: Expected, version: u64, value: &[u8]) -> Change {
    let id = RecordId { table: 1, name: [number; 16] };
    Change { id, expected, action: Action::Put { version, value: value.to_vec() } }
}

fn keep(number: u8, expected: Expected) -> Change {
    Change { action: Action::Keep, ..put(number, expected, 0, b"") }
}

/// A store of one record, in version 1.
fn store(file: &File) -> SqliteStore {
    let mut store = SqliteStore::open_within(&file.0, TIMEOUT).unwrap();
    store.commit(&[put(0, Expected::Absent, 1, b"before")]).unwrap();
    store
}

fn all(store: &SqliteStore) -> Vec<Record> {
    store.list(1, 0, usize::MAX).unwrap()
}

#[test]
fn debug_shows_where_it_is_and_no_record() {
    let file = File::new("debug");
    let text = format!("{:?}", store(&file));
    assert!(text.starts_with("SqliteStore { path: ") && !text.contains("before"), "{text}");
}

/// A table ends where the next one begins, at whichever position a lister is.
#[test]
fn tables_do_not_overlap() {
    for table in [0, 1, 254] {
        for after in [0, 1, 1 << POSITION_BITS, u64::MAX] {
            let places = places_after(table, after);
            assert_eq!(*places.end(), first_place(table + 1) - 1);
            assert!(after > 1 || *places.start() == first_place(table) + 1 + i64::try_from(after).unwrap());
        }
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    let file = File::new("full");
    let mut store = store(&file);
    let before = all(&store);
    let limit = |store: &SqliteStore, pages: i64| {
        let pragma = format!("PRAGMA max_page_count = {pages}");
        store.connection.query_row(&pragma, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    limit(&store, 20);
    let changes = [put(0, Expected::Version(1), 2, b"after"), put(1, Expected::Absent, 1, &[7; 1 << 20])];
    for _ in 0..3 {
        let result = store.commit(&changes);
        assert!(matches!(result, Err(StoreError::Full)), "{result:?}");
        assert_eq!(all(&store), before);
        assert_eq!(all(&SqliteStore::open(&file.0).unwrap()), before);
    }
    store.commit(&[put(0, Expected::Version(1), 3, b"small")]).unwrap();
    limit(&store, 100_000);
    store.commit(&[changes[1].clone(), keep(0, Expected::Version(3))]).unwrap();
    drop(store);
    assert_eq!(all(&SqliteStore::open(&file.0).unwrap()).len(), 2);
}

#[test]
fn a_locked_store_is_busy_and_loses_nothing() {
    let file = File::new("locked");
    let mut store = store(&file);
    let before = all(&store);
    let other = Connection::open(&file.0).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; UPDATE records SET version = 9").unwrap();
    let began = Instant::now();
    let result = store.commit(&[put(0, Expected::Version(1), 2, b"after")]);
    assert!(matches!(result, Err(StoreError::Busy)), "{result:?}");
    assert!(began.elapsed() >= TIMEOUT, "did not wait");
    assert_eq!(all(&store), before, "who reads does not wait");
    store.commit(&[keep(0, Expected::Version(1))]).expect("nor does who compares");
    other.execute_batch("ROLLBACK").unwrap();
    store.commit(&[put(0, Expected::Version(1), 2, b"after")]).unwrap();
    assert_eq!(all(&store)[0].version, 2);
}

#[test]
fn a_store_that_somebody_has_to_himself_is_busy() {
    let file = File::new("exclusive");
    drop(store(&file));
    let other = Connection::open(&file.0).unwrap();
    let lock = "PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; UPDATE records SET version = 9; COMMIT";
    other.execute_batch(lock).unwrap();
    let result = SqliteStore::open_within(&file.0, TIMEOUT);
    assert!(matches!(result, Err(StoreError::Busy)), "{result:?}");
    drop(other);
    assert_eq!(all(&SqliteStore::open(&file.0).unwrap())[0].version, 9);
}

/// To switch the log on SQLite does not wait for others by itself.
#[test]
fn who_makes_a_store_waits_for_others() {
    let file = File::new("new");
    let other = Connection::open(&file.0).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let result = SqliteStore::open_within(&file.0, TIMEOUT);
    assert!(matches!(result, Err(StoreError::Busy)), "{result:?}");
    thread::scope(|scope| {
        scope.spawn(|| {
            let other = other;
            thread::sleep(TIMEOUT);
            other.execute_batch("ROLLBACK").unwrap();
        });
        assert_eq!(all(&SqliteStore::open(&file.0).unwrap()), []);
    });
}

#[test]
fn versions_are_below_2_to_the_63() {
    let file = File::new("versions");
    let mut store = store(&file);
    let before = all(&store);
    for change in [put(0, Expected::Version(1), 1 << 63, b""), put(1, Expected::Absent, u64::MAX, b"")] {
        let result = store.commit(&[put(2, Expected::Absent, 1, b""), change]);
        assert!(matches!(result, Err(StoreError::Other(_))), "{result:?}");
        assert_eq!(all(&store), before);
    }
    let result = store.commit(&[keep(0, Expected::Version(u64::MAX))]);
    assert!(matches!(result, Err(StoreError::Conflict)), "{result:?}");
}

/// What a file can be that is a database, but not a store of this release. None is changed.
#[test]
fn other_databases_are_refused() {
    let file = File::new("foreign");
    drop(store(&file));
    let ours = fs::read(&file.0).unwrap();
    for (sql, later) in [
        ("PRAGMA user_version = 2", true),
        ("PRAGMA user_version = 2147483647", true),
        ("PRAGMA user_version = 0", false),
        ("PRAGMA user_version = -1", false),
        ("PRAGMA application_id = 7", false),
        ("PRAGMA application_id = 0; PRAGMA user_version = 0", false),
        ("DROP TABLE sequence", false),
        ("DROP TABLE sequence; DROP TABLE records", false),
        ("ALTER TABLE records RENAME COLUMN version TO revision", false),
    ] {
        fs::write(&file.0, &ours).unwrap();
        Connection::open(&file.0).unwrap().execute_batch(sql).unwrap();
        let before = fs::read(&file.0).unwrap();
        match SqliteStore::open(&file.0) {
            Err(StoreError::UnsupportedVersion) => assert!(later, "{sql}"),
            Err(StoreError::Damaged) => assert!(!later, "{sql}"),
            other => panic!("{sql}: {other:?}"),
        }
        assert_eq!(fs::read(&file.0).unwrap(), before, "{sql}");
    }
    fs::remove_file(&file.0).unwrap();
    Connection::open(&file.0).unwrap().execute_batch("CREATE TABLE others (a)").unwrap();
    let before = fs::read(&file.0).unwrap();
    assert!(matches!(SqliteStore::open(&file.0), Err(StoreError::Damaged)));
    assert_eq!(fs::read(&file.0).unwrap(), before);
}

/// Who can write the file cannot make us run what he likes.
#[test]
fn triggers_of_the_file_do_not_run() {
    let file = File::new("trigger");
    drop(store(&file));
    let trigger = "CREATE TRIGGER t AFTER UPDATE ON records BEGIN DELETE FROM records; END";
    Connection::open(&file.0).unwrap().execute_batch(trigger).unwrap();
    let mut store = SqliteStore::open(&file.0).unwrap();
    store.commit(&[put(0, Expected::Version(1), 2, b"after")]).unwrap();
    assert_eq!(all(&store)[0].version, 2);
}

/// Rows that no release writes.
#[test]
fn strange_rows_are_damage() {
    let file = File::new("rows");
    for sql in [
        "UPDATE records SET version = -1",
        "UPDATE records SET key = x'01'",
        "UPDATE records SET key = CAST(x'02' || substr(key, 2) AS BLOB)",
        "UPDATE records SET place = place + (1 << 48)",
        "UPDATE sequence SET last = (1 << 48) - 1",
        "UPDATE sequence SET last = -5",
        "DELETE FROM sequence",
    ] {
        let mut store = store(&file);
        store.connection.execute_batch(sql).unwrap();
        let new = RecordId { table: 2, name: [1; 16] };
        let results = [
            store.read(&put(0, Expected::Anything, 0, b"").id).map(drop),
            store.list(1, 0, 10).map(drop),
            store.list(2, 0, 10).map(drop),
            store.commit(&[Change { id: new, ..put(0, Expected::Absent, 1, b"") }]),
        ];
        let errors: Vec<&StoreError> = results.iter().filter_map(|result| result.as_ref().err()).collect();
        assert!(!errors.is_empty(), "{sql}");
        assert!(errors.iter().all(|error| matches!(error, StoreError::Damaged)), "{sql}: {errors:?}");
        drop(store);
        fs::remove_file(&file.0).unwrap();
    }
}

#[test]
fn a_commit_is_on_the_disk_before_it_returns() {
    let file = File::new("settings");
    let store = store(&file);
    let setting = |name| store.connection.pragma_query_one::<i64>(None, name).unwrap();
    let mode: String = store.connection.pragma_query_one(None, "journal_mode").unwrap();
    assert_eq!((mode.as_str(), setting("synchronous"), setting("fullfsync")), ("wal", 2, 1));
    assert_eq!((setting("secure_delete"), setting("page_size")), (1, 8192));
}

/// By what a caller can do about it, whatever SQLite calls it.
#[test]
fn what_sqlite_says_is_told_apart() {
    use StoreError as S;
    use rusqlite::{Error, ffi};
    let error = |code| store_error(Error::SqliteFailure(ffi::Error::new(code), None));
    for code in [ffi::SQLITE_BUSY, ffi::SQLITE_BUSY_SNAPSHOT, ffi::SQLITE_LOCKED] {
        assert!(matches!(error(code), S::Busy), "{code}");
    }
    for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_SHMSIZE] {
        assert!(matches!(error(code), S::Full), "{code}");
    }
    for code in [ffi::SQLITE_READONLY, ffi::SQLITE_READONLY_DBMOVED] {
        assert!(matches!(error(code), S::ReadOnly), "{code}");
    }
    for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB, ffi::SQLITE_IOERR_CORRUPTFS] {
        assert!(matches!(error(code), S::Damaged), "{code}");
    }
    for code in [ffi::SQLITE_IOERR, ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_NOMEM, ffi::SQLITE_CANTOPEN] {
        assert!(matches!(error(code), S::Other(_)), "{code}");
    }
    assert!(matches!(store_error(problem::damaged_row()), S::Damaged));
    assert!(matches!(store_error(Error::InvalidQuery), S::Other(_)), "not of the file");
}
