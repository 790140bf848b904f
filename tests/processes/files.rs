//! Files as a backup or a power cut leaves them, under a device that goes on from there.
//!
//! A killed process shows nothing of what a power cut does to pages that were not yet on the disk. What SQLite relies on
//! is that `fsync` is honoured: everything up to the last commit that returned is there then, and what follows in the
//! log is any mixture of written and unwritten sectors. That mixture is made here by hand.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use chacha20::ChaCha20Rng;
use rand::{Rng, RngExt, SeedableRng};
use subrosa::{
    Device, DeviceError, Event, UserId,
    store::{Change, Record, RecordId, SqliteStore, Store, StoreError},
};

use crate::{
    Directory,
    common::world::{DAY, Phone, Server, TestClock, texts},
    seed,
};

/// An app over a file.
struct App<S> {
    device: Device<S>,
    user: UserId,
}

fn open(path: &Path, clock: &TestClock) -> App<SqliteStore> {
    App::of(Device::open(SqliteStore::open(path).unwrap(), clock.config()).unwrap())
}

impl<S: Store> App<S> {
    fn of(device: Device<S>) -> Self {
        Self { user: device.user(), device }
    }

    fn publish(&mut self, server: &mut Server) {
        let publication = self.device.publication(server.stock(&self.device.address())).unwrap();
        server.publish(&publication);
        self.device.published(&publication).unwrap();
    }

    fn say(&mut self, server: &mut Server, to: &UserId, text: &str) {
        loop {
            match self.device.send(to, text.as_bytes()) {
                Err(DeviceError::Missing(missing)) => {
                    for user in &missing.lists {
                        self.device.provide(&server.list(user).unwrap()).unwrap();
                    }
                    for address in &missing.bundles {
                        self.device.provide_bundle(address, server.bundle(address).as_deref()).unwrap();
                    }
                }
                sent => break drop(sent.unwrap()),
            }
        }
        self.push(server);
    }

    fn push(&mut self, server: &mut Server) {
        let outbox: Vec<_> = self.device.outbox().map(Result::unwrap).collect();
        outbox.iter().for_each(|out| server.push(out));
        self.device.sent(outbox.iter().map(|out| out.id)).unwrap();
    }

    /// What can be read of what came in.
    fn poll(&mut self, server: &mut Server, from: &UserId) -> Vec<String> {
        let mut all = Vec::new();
        for message in server.take(&self.device.address()) {
            all.extend(self.device.receive(&message, Some(from)).unwrap_or_default());
        }
        self.device.acknowledge(all.iter().map(|received| received.id)).unwrap();
        self.push(server);
        texts(&all)
    }
}

fn poll(phone: &mut Phone, server: &mut Server, from: &UserId) -> Vec<String> {
    let mut all = Vec::new();
    for message in server.take(&phone.address()) {
        all.extend(phone.device.receive(&message, Some(from)).unwrap_or_default());
    }
    // Whoever reads with another's key reads garbage, or somebody else's text.
    assert!(all.iter().all(|received| !matches!(received.event, Event::NotUnderstood)));
    phone.push(server);
    texts(&all)
}

/// Both write until both read what the other writes; fails unless the second message after the first try arrives.
fn talk(
    app: &mut App<SqliteStore>,
    bob: &mut Phone,
    server: &mut Server,
    clock: &TestClock,
    app_first: bool,
) {
    let (a, b) = (app.user, bob.user());
    for round in 0..4 {
        let arrives = round >= 2;
        if app_first || round > 0 {
            let text = format!("from the app {round}");
            app.say(server, &b, &text);
            let read = poll(bob, server, &a);
            assert!(!arrives || read.contains(&text), "{text}: {read:?}");
        }
        app.publish(server);
        let text = format!("from bob {round}");
        bob.say(server, &a, &text);
        let read = app.poll(server, &b);
        assert!(!arrives || read.contains(&text), "{text}: {read:?}");
        clock.advance(120);
    }
}

fn acquainted(path: &Path) -> (TestClock, Server, App<SqliteStore>, Phone) {
    let (clock, mut server) = (TestClock::default(), Server::default());
    let mut app = App::of(Device::create(SqliteStore::open(path).unwrap(), clock.config()).unwrap());
    app.publish(&mut server);
    let mut bob = Phone::new(&clock, &mut server);
    app.say(&mut server, &bob.user(), "hello");
    assert_eq!(bob.texts(&mut server), ["hello"]);
    bob.say(&mut server, &app.user, "hi");
    assert_eq!(app.poll(&mut server, &bob.user()), ["hi"]);
    (clock, server, app, bob)
}

const LOG: &str = "store.db-wal";

/// The files of a database as they are now, and back again. The index of the log is made anew from the log.
fn files(directory: &Directory) -> [Option<Vec<u8>>; 2] {
    ["store.db", LOG].map(|name| fs::read(directory.0.join(name)).ok())
}

fn put_back(directory: &Directory, files: &[Option<Vec<u8>>; 2]) {
    let _ = fs::remove_file(directory.0.join("store.db-shm"));
    for (name, content) in ["store.db", LOG].iter().zip(files) {
        let path = directory.0.join(name);
        match content {
            Some(content) => fs::write(path, content).unwrap(),
            None => drop(fs::remove_file(path)),
        }
    }
}

#[test]
fn a16_a36_restored_files_heal() {
    for (with_log, app_first) in [(false, true), (false, false), (true, true), (true, false)] {
        let directory = Directory::new();
        let path = directory.store();
        let (clock, mut server, mut app, mut bob) = acquainted(&path);
        if !with_log {
            drop(app);
        }
        let backup = files(&directory);
        assert_eq!(backup[1].as_ref().is_some_and(|log| !log.is_empty()), with_log);
        app = open(&path, &clock);
        for day in 0..7 {
            app.say(&mut server, &bob.user(), &format!("a{day}"));
            assert_eq!(poll(&mut bob, &mut server, &app.user), [format!("a{day}")]);
            bob.say(&mut server, &app.user, &format!("b{day}"));
            assert_eq!(app.poll(&mut server, &bob.user()), [format!("b{day}")]);
            clock.advance(DAY);
            app.device.maintain().unwrap();
            app.publish(&mut server);
        }
        drop(app);
        put_back(&directory, &backup);
        let mut app = open(&path, &clock);
        talk(&mut app, &mut bob, &mut server, &clock, app_first);
        // The outbox was empty: what is pushed now is new.
        let mut log = server.log.clone();
        log.sort();
        log.dedup();
        assert_eq!(log.len(), server.log.len(), "a ciphertext was made twice");
    }
}

type State = BTreeMap<RecordId, Record>;

/// Everything that is in a store.
fn state(store: &impl Store) -> Result<State, StoreError> {
    let mut state = State::new();
    for table in 0..=20 {
        state.extend(store.list(table, 0, usize::MAX)?.into_iter().map(|record| (record.id, record)));
    }
    for (id, record) in &state {
        assert_eq!(store.read(id)?.as_ref(), Some(record), "found by its place, not by its name");
    }
    Ok(state)
}

/// The headers of SQLite's log, and of each page in it.
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// Keeps everything that was in the store after each commit, and how long the log was.
struct Recorder {
    store: SqliteStore,
    log: PathBuf,
    states: Arc<Mutex<Vec<(usize, State)>>>,
}

impl Store for Recorder {
    fn read(&self, id: &RecordId) -> Result<Option<Record>, StoreError> {
        self.store.read(id)
    }

    fn list(&self, table: u8, after: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.store.list(table, after, limit)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        self.store.commit(changes)?;
        let log = usize::try_from(fs::metadata(&self.log).unwrap().len()).unwrap();
        self.states.lock().unwrap().push((log, state(&self.store)?));
        Ok(())
    }
}

#[test]
fn a17_a_log_torn_anywhere_is_an_earlier_state() {
    let mut rng = ChaCha20Rng::seed_from_u64(seed());
    let directory = Directory::new();
    let path = directory.store();
    let (clock, mut server, app, mut bob) = acquainted(&path);
    drop(app);
    // A database without a log; all that comes now is in the log.
    let base = files(&directory);
    assert_eq!(base[1], None);
    let store = SqliteStore::open(&path).unwrap();
    let states = Arc::new(Mutex::new(vec![(LOG_HEADER, state(&store).unwrap())]));
    let recorder = Recorder { store, log: directory.0.join(LOG), states: states.clone() };
    let mut app = App::of(Device::open(recorder, clock.config()).unwrap());
    for round in 0..8 {
        app.say(&mut server, &bob.user(), &format!("a{round}"));
        poll(&mut bob, &mut server, &app.user);
        bob.say(&mut server, &app.user, &format!("b{round}"));
        app.poll(&mut server, &bob.user());
        clock.advance(60);
    }
    let states = states.lock().unwrap().clone();
    let [Some(database), Some(log)] = files(&directory) else { panic!("no log") };
    assert_eq!(base[0].as_ref(), Some(&database), "pages went to the database: the log is not all");
    let frame_len = FRAME_HEADER + u32::from_be_bytes(log[8..12].try_into().unwrap()) as usize;
    assert_eq!((log.len() - LOG_HEADER) % frame_len, 0);
    // What the log is after that many bytes of it.
    let expected = |len: usize| states.iter().rev().find(|(end, _)| *end <= len.max(LOG_HEADER)).unwrap();
    let torn = Directory::new();
    let check = |log: Vec<u8>, whole: usize, what: &str| {
        put_back(&torn, &[Some(database.clone()), Some(log)]);
        let found = SqliteStore::open(torn.store()).and_then(|store| state(&store));
        match found {
            Ok(found) => {
                assert!(found == expected(whole).1, "{what}, {whole} bytes whole: not a state that there was")
            }
            Err(error) => panic!("{what}, {whole} bytes whole: {error}"),
        }
    };
    let frames = (log.len() - LOG_HEADER) / frame_len;
    assert!(frames > 60, "{frames}");
    for frame in 0..=frames {
        let end = LOG_HEADER + frame * frame_len;
        check(log[..end].to_vec(), end, "cut between pages");
    }
    for _ in 0..150 {
        let end = rng.random_range(0..log.len());
        check(log[..end].to_vec(), end, "cut");
        // Sectors are written in any order: some of what comes after is there, some is not.
        let mut mixed = log.clone();
        let first = rng.random_range(0..log.len() / 512) * 512;
        for sector in (first..log.len()).step_by(512) {
            let end = (sector + 512).min(log.len());
            match rng.random_range(0..3) {
                _ if sector == first => rng.fill_bytes(&mut mixed[sector..end]),
                0 => mixed[sector..end].fill(0),
                1 => rng.fill_bytes(&mut mixed[sector..end]),
                _ => {}
            }
        }
        check(mixed, first, "sectors lost");
    }
    // And the device goes on from any of them, as from a backup.
    drop(app);
    for _ in 0..6 {
        let end = rng.random_range(0..log.len());
        put_back(&directory, &[Some(database.clone()), Some(log[..end].to_vec())]);
        let mut app = open(&path, &clock);
        clock.advance(DAY);
        talk(&mut app, &mut bob, &mut server, &clock, rng.random());
    }
}
