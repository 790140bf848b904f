//! The store on a disk: against the contract, among processes, and with files that are not what they should be.
//!
//! A full disk and a database that stays locked are in `src/store/sqlite.rs`, which can bring them about.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that panics is a test that fails"
)]
#![cfg(feature = "sqlite")]

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
};

use subrosa::store::{Action, Change, Expected, RecordId, SqliteStore, Store, StoreError, conformance};

/// A directory that is removed when the test is over.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("subrosa-test-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// The database in it.
    fn store(&self) -> PathBuf {
        self.0.join("store.db")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn id(table: u8, number: u64) -> RecordId {
    let mut name = [0x77; 16];
    name[..8].copy_from_slice(&number.to_be_bytes());
    RecordId { table, name }
}

fn put(id: RecordId, expected: Expected, version: u64, value: &[u8]) -> Change {
    Change { id, expected, action: Action::Put { version, value: value.to_vec() } }
}

/// A value that cannot be mistaken for another record's.
fn value(number: u64) -> Vec<u8> {
    number.to_be_bytes().repeat(250)
}

/// A store with that many records, closed, so that all is in the one file.
fn fill(path: &Path, records: u64) {
    let mut store = SqliteStore::open(path).unwrap();
    let changes: Vec<_> =
        (0..records).map(|number| put(id(1, number), Expected::Absent, number, &value(number))).collect();
    store.commit(&changes).unwrap();
}

/// What comes of opening a file and reading everything that [`fill`] put, with values as they were put, or an error.
fn read_all(path: &Path, records: u64) -> Result<(), StoreError> {
    let store = SqliteStore::open(path)?;
    for number in 0..records {
        let record = store.read(&id(1, number))?.expect("a record is gone, and nobody says so");
        assert_eq!((record.version, record.value), (number, value(number)));
    }
    assert_eq!(store.list(1, 0, usize::MAX)?.len() as u64, records, "records are gone, and nobody says so");
    Ok(())
}

/// Runs one test of this file in another process.
fn again(executable: &Path, test: &str, variables: &[(&str, &OsStr)]) -> Command {
    let mut command = Command::new(executable);
    command.args(["--exact", test, "--include-ignored", "--nocapture"]).envs(variables.iter().copied());
    command
}

#[test]
fn conforms() {
    let directory = Directory::new();
    conformance::check(|| SqliteStore::open(directory.store()).unwrap());
    let directory = Directory::new();
    conformance::check_race(|| SqliteStore::open(directory.store()).unwrap());
}

/// How often each process adds one.
const STEPS: u64 = 5_000;

#[test]
fn two_processes_lose_nothing() {
    let directory = Directory::new();
    let path = directory.store();
    // The file is not made before: they race for that, too.
    let executable = env::current_exe().unwrap();
    let children: Vec<_> = ["1", "2"]
        .map(|side| {
            let variables =
                [("SUBROSA_TEST_STORE", path.as_os_str()), ("SUBROSA_TEST_SIDE", OsStr::new(side))];
            again(&executable, "child_that_counts", &variables).spawn().unwrap()
        })
        .into();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.read(&id(0, 0)).unwrap().unwrap().version, 2 * STEPS);
    for side in [1, 2] {
        let records = store.list(side, 0, usize::MAX).unwrap();
        assert!(records.iter().map(|record| record.id).eq((0..STEPS).map(|step| id(side, step))));
    }
}

/// Adds one to the version of a record that both processes change, and puts one of its own in the same set.
#[test]
#[ignore = "run by `two_processes_lose_nothing`"]
fn child_that_counts() {
    let Some(path) = env::var_os("SUBROSA_TEST_STORE") else { return };
    let side = env::var("SUBROSA_TEST_SIDE").unwrap().parse().unwrap();
    let mut store = SqliteStore::open(path).unwrap();
    let mut conflicts = 0;
    for step in 0..STEPS {
        loop {
            let counter = store.read(&id(0, 0)).unwrap().map(|record| record.version);
            let expected = counter.map_or(Expected::Absent, Expected::Version);
            let counted = put(id(0, 0), expected, counter.unwrap_or(0) + 1, b"");
            match store.commit(&[counted, put(id(side, step), Expected::Absent, 1, &[0; 100])]) {
                Ok(()) => break,
                Err(StoreError::Conflict) => conflicts += 1,
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    eprintln!("process {side}: {conflicts} conflicts in {STEPS} commits");
}

#[test]
fn threads_open_a_new_file_at_once() {
    for _ in 0..20 {
        let directory = Directory::new();
        std::thread::scope(|scope| {
            for side in 0..4 {
                let path = directory.store();
                scope.spawn(move || {
                    let mut store = SqliteStore::open(path).unwrap();
                    store.commit(&[put(id(1, side), Expected::Absent, side, &value(side))]).unwrap();
                });
            }
        });
        assert_eq!(SqliteStore::open(directory.store()).unwrap().list(1, 0, 10).unwrap().len(), 4);
    }
}

#[test]
fn refuses_what_is_not_a_store() {
    let directory = Directory::new();
    let text = directory.0.join("text");
    for len in [2, 15, 16, 100, 4096, 100_000] {
        let content = b"Not a database, but a text. ".repeat(len / 28 + 1);
        fs::write(&text, &content[..len]).unwrap();
        let result = SqliteStore::open(&text);
        assert!(matches!(result, Err(StoreError::Damaged)), "{len} bytes of text: {result:?}");
        assert_eq!(fs::read(&text).unwrap(), content[..len], "not ours, and changed");
    }
    let result = SqliteStore::open(&directory.0);
    assert!(matches!(result, Err(StoreError::Other(_))), "a directory: {result:?}");
    let result = SqliteStore::open(directory.0.join("no").join("such"));
    assert!(matches!(result, Err(StoreError::Other(_))), "in no directory: {result:?}");
    assert!(SqliteStore::open("").is_err());
}

/// What a crash leaves that comes between making the file and making the tables.
#[test]
fn an_empty_file_becomes_a_store() {
    let directory = Directory::new();
    fs::write(directory.store(), b"").unwrap();
    fill(&directory.store(), 3);
    read_all(&directory.store(), 3).unwrap();
}

/// Names that mean something else to SQLite.
#[test]
fn a_name_is_a_name() {
    let directory = Directory::new();
    for name in [":memory:", "file:other.db?mode=memory", "a b%20c?d#e"] {
        let path = directory.0.join(name);
        fill(&path, 3);
        read_all(&path, 3).unwrap();
        assert!(path.metadata().unwrap().len() > 0, "{name}");
    }
    // Relative, where a directory does not help.
    let variables = [("SUBROSA_TEST_DIRECTORY", directory.0.as_os_str())];
    let mut child = again(&env::current_exe().unwrap(), "child_with_relative_names", &variables);
    assert!(child.status().unwrap().success());
}

#[test]
#[ignore = "run by `a_name_is_a_name`: it changes the directory of the process"]
fn child_with_relative_names() {
    let Some(directory) = env::var_os("SUBROSA_TEST_DIRECTORY") else { return };
    env::set_current_dir(directory).unwrap();
    for name in [":memory:", "file:other.db?mode=memory"] {
        read_all(Path::new(name), 3).unwrap();
    }
}

#[test]
fn truncated_files_are_damaged() {
    // SQLite takes a file of one byte for an empty one.
    const RECORDS: u64 = 200;
    let directory = Directory::new();
    fill(&directory.store(), RECORDS);
    read_all(&directory.store(), RECORDS).unwrap();
    let whole = fs::read(directory.store()).unwrap();
    assert!(whole.len() > 400_000);
    let path = directory.0.join("truncated.db");
    for len in
        (2..whole.len()).step_by(whole.len() / 97).chain([50, 99, 100, 4095, 4096, 8192, whole.len() - 1])
    {
        fs::write(&path, &whole[..len]).unwrap();
        let result = read_all(&path, RECORDS);
        assert!(matches!(result, Err(StoreError::Damaged)), "{len} of {} bytes: {result:?}", whole.len());
    }
    fs::write(&path, &whole).unwrap();
    read_all(&path, RECORDS).unwrap();
}

/// A bit of every page is turned over. What is read then is right, or refused: values are not (the sealing is what
/// protects them), so only errors other than damage and panics fail here.
#[test]
fn altered_files_do_no_more_than_fail() {
    const RECORDS: u64 = 20;
    let directory = Directory::new();
    fill(&directory.store(), RECORDS);
    let whole = fs::read(directory.store()).unwrap();
    let path = directory.0.join("altered.db");
    let mut refused = 0;
    for position in (0..200).chain((200..whole.len()).step_by(61)) {
        let mut altered = whole.clone();
        altered[position] ^= 1 << (position % 8);
        fs::write(&path, &altered).unwrap();
        let result = SqliteStore::open(&path).and_then(|mut store| {
            for number in 0..RECORDS {
                store.read(&id(1, number))?;
            }
            store.list(1, 0, usize::MAX)?;
            store.commit(&[
                put(id(1, 0), Expected::Anything, 9, b"new"),
                put(id(2, 1), Expected::Anything, 9, b""),
            ])
        });
        match result {
            Ok(()) => {}
            Err(StoreError::Damaged | StoreError::UnsupportedVersion) => refused += 1,
            Err(error) => panic!("byte {position}: {error:?}"),
        }
        for suffix in ["altered.db-wal", "altered.db-shm", "altered.db-journal"] {
            let _ = fs::remove_file(directory.0.join(suffix));
        }
    }
    assert!(refused > 50, "only {refused} alterations were noticed");
}

/// The database was deleted or emptied, its log was not. SQLite by itself would begin anew.
#[test]
fn a_log_without_its_database_is_damage() {
    let directory = Directory::new();
    let path = directory.store();
    let mut store = SqliteStore::open(&path).unwrap();
    store.commit(&[put(id(1, 0), Expected::Absent, 1, b"in the log")]).unwrap();
    let log = fs::read(directory.0.join("store.db-wal")).unwrap();
    assert!(!log.is_empty());
    drop(store);
    for other in ["deleted.db", "emptied.db"] {
        let path = directory.0.join(other);
        fs::write(directory.0.join(format!("{other}-wal")), &log).unwrap();
        if other == "emptied.db" {
            fs::write(&path, b"").unwrap();
        }
        for _ in 0..2 {
            assert!(matches!(SqliteStore::open(&path), Err(StoreError::Damaged)));
        }
        assert_eq!(fs::read(directory.0.join(format!("{other}-wal"))).unwrap(), log, "thrown away");
    }
}

#[cfg(unix)]
mod unix {
    use std::{
        io::ErrorKind,
        os::unix::{
            fs::{MetadataExt, PermissionsExt},
            process::CommandExt,
        },
        process::ExitStatus,
    };

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn only_the_owner_reads_it() {
        let directory = Directory::new();
        let mut store = SqliteStore::open(directory.store()).unwrap();
        store.commit(&[put(id(1, 0), Expected::Absent, 1, b"")]).unwrap();
        for file in ["store.db", "store.db-wal", "store.db-shm"] {
            let mode = directory.0.join(file).metadata().unwrap().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    }

    /// Root may write everything, so another process tries it, as nobody if we are root. None if that cannot be.
    fn in_another_process(directory: &Directory, executable: &Path, path: &Path) -> Option<ExitStatus> {
        let variables = [("SUBROSA_TEST_STORE", path.as_os_str())];
        let mut child = again(executable, "unix::child_that_cannot_write", &variables);
        if directory.0.metadata().unwrap().uid() == 0 {
            child.uid(65534).gid(65534);
        }
        match child.status() {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                eprintln!("skipped: this process may not start others as another user");
                None
            }
            status => Some(status.unwrap()),
        }
    }

    /// Copied after a crash to where it may be written, but not the index of the log that has to be made.
    #[test]
    fn a_log_where_no_index_can_be_made_is_read_only() {
        let directory = Directory::new();
        let executable = directory.0.join("test");
        fs::copy(env::current_exe().unwrap(), &executable).unwrap();
        let inner = directory.0.join("inner");
        fs::create_dir(&inner).unwrap();
        let (path, log) = (inner.join("store.db"), inner.join("store.db-wal"));
        let mut store = SqliteStore::open(directory.store()).unwrap();
        store.commit(&[put(id(1, 0), Expected::Absent, 0, &value(0))]).unwrap();
        fs::copy(directory.store(), &path).unwrap();
        fs::copy(directory.0.join("store.db-wal"), &log).unwrap();
        drop(store);
        set_mode(&path, 0o666);
        set_mode(&log, 0o666);
        set_mode(&inner, 0o555);
        let status = in_another_process(&directory, &executable, &path);
        set_mode(&inner, 0o755);
        let Some(status) = status else { return };
        assert!(status.success());
        read_all(&path, 1).unwrap();
    }

    #[test]
    fn what_cannot_be_written_is_read_only() {
        let directory = Directory::new();
        let executable = directory.0.join("test");
        fs::copy(env::current_exe().unwrap(), &executable).unwrap();
        for (file, of_directory) in
            [(Some(0o444), 0o777), (Some(0o666), 0o555), (Some(0o444), 0o555), (None, 0o555)]
        {
            let inner = directory.0.join("inner");
            fs::create_dir(&inner).unwrap();
            let path = inner.join("store.db");
            if let Some(mode) = file {
                fill(&path, 3);
                set_mode(&path, mode);
            }
            set_mode(&inner, of_directory);
            let status = in_another_process(&directory, &executable, &path);
            set_mode(&inner, 0o755);
            let Some(status) = status else { return };
            assert!(status.success(), "file {file:?} in a directory {of_directory}");
            if file.is_some() {
                set_mode(&path, 0o600);
                read_all(&path, 3).unwrap();
            }
            fs::remove_dir_all(&inner).unwrap();
        }
    }

    #[test]
    #[ignore = "run by `what_cannot_be_written_is_read_only`"]
    fn child_that_cannot_write() {
        let Some(path) = env::var_os("SUBROSA_TEST_STORE") else { return };
        let result = SqliteStore::open(&path);
        assert!(matches!(result, Err(StoreError::ReadOnly)), "{result:?}");
    }
}
