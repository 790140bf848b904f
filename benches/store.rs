//! What durability costs, beside what SQLite alone would cost, in one run: `cargo bench --bench store`.
//!
//! *device*: a `Device<SqliteStore>`, encryption and all. *floor*: SQLite alone, on a copy of the same file with the same
//! settings: a transaction that changes as many rows of the same tables, by the same number of bytes. It looks nothing
//! up, as if it knew all places, compares nothing, encrypts nothing.
//!
//! | case | |
//! |---|---|
//! | `send`, `receive` | one message of 256 bytes, one commit; each time another of 32 conversations |
//! | `send_100`, `receive_100` | one message of a hundred in one commit, of one conversation |
//! | `open` | opening store and device, and how much more memory is resident then, in a new process |
//!
//! All with so many stored sessions, 10^3 and 10^5 unless `SUBROSA_BENCH_SESSIONS` says otherwise (`1000000`: takes some 6 GB
//! of disk and some minutes for filling). Real ones are slow to make by handshakes: all but the 32 are copies of their
//! records under random names, which nothing but their number and size matters of.
//!
//! The files are in `SUBROSA_BENCH_DIRECTORY`, or else in the target directory; in memory (`/dev/shm`) there is no disk
//! to wait for, and what is left is the work. Device and floor take turns, and the median of each counts.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark stops at what it did not expect, and prints what it found"
)]

use std::{
    cell::RefCell,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    rc::Rc,
    time::{Duration, Instant},
};

use chacha20::ChaCha20Rng;
use rand::{Rng, SeedableRng};
use subrosa::{
    Device, DeviceError, Draft, Incoming, PreKeyBundle, StorageKey, UserId,
    store::{Action, Change, Expected, MemoryStore, Record, RecordId, SqliteStore, Store, StoreError},
};

#[path = "store/raw.rs"]
mod raw;

use raw::{Raw, Shape};

/// Conversations that are really there.
const REAL: usize = 32;
const CONTENT: [u8; 256] = [0x5a; 256];
const BATCH: usize = 100;
/// What a session has, in `src/device/records.rs`: user, peer, and the hot half. The cold half is there when messages are
/// missing.
const TABLES_OF_A_SESSION: [u8; 3] = [5, 6, 7];

fn key() -> StorageKey {
    StorageKey::from_bytes(&[7; 32])
}

fn main() {
    if let Some(path) = env::var_os("SUBROSA_BENCH_OPEN") {
        open_and_tell(Path::new(&path));
        return;
    }
    let arguments: Vec<String> = env::args().collect();
    let passed = |name: &str| arguments.iter().any(|argument| argument == name);
    // `cargo bench` passes `--bench`; without it, or with `--test`, this is a test that everything runs.
    let measure = passed("--bench") && !passed("--test");
    let sizes = match env::var("SUBROSA_BENCH_SESSIONS") {
        _ if !measure => vec![100],
        Ok(size) => vec![1_000, size.parse().unwrap()],
        Err(_) => vec![1_000, 100_000],
    };
    let parent = env::var_os("SUBROSA_BENCH_DIRECTORY")
        .map_or(PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let directory = parent.join(format!("subrosa-bench-{}", std::process::id()));
    println!("sessions\tcase\tdevice_us\tfloor_us\tdevice/floor\tdevice_per_s");
    for sessions in sizes {
        fs::create_dir_all(&directory).unwrap();
        measure_at(&directory, sessions, if measure { 400 } else { 2 });
        fs::remove_dir_all(&directory).unwrap();
    }
}

fn measure_at(directory: &Path, sessions: usize, count: usize) {
    let path = directory.join("device.db");
    let shapes = Rc::new(RefCell::new(None));
    let mut world = World::new(&path, &shapes);
    world.fill(&path, sessions);
    // All is in the file itself, which is copied.
    drop(world.alice.take());
    let copy = directory.join("floor.db");
    fs::copy(&path, &copy).unwrap();
    let mut raw = Raw::open(&copy);
    report_open(&path, sessions);
    world.open(&path);

    for (case, batch) in [("send", 1), ("receive", 1), ("send_100", BATCH), ("receive_100", BATCH)] {
        let mut times = (Vec::new(), Vec::new());
        for turn in 0..(count / batch).max(2) + 20 {
            // First which records it is that change, then how long it takes.
            if turn < 20 {
                *shapes.borrow_mut() = Some(Shape::default());
            }
            let receives = case.starts_with("receive");
            let time = if receives { world.receive(batch) } else { world.send(batch) };
            let shape = shapes.borrow_mut().take();
            if let Some(shape) = shape {
                raw.set(shape);
            }
            let floor = raw.commit();
            if turn >= 20 {
                times.0.push(time / u32::try_from(batch).unwrap());
                times.1.push(floor / u32::try_from(batch).unwrap());
            }
        }
        let (device, floor) = (median(times.0), median(times.1));
        println!(
            "{sessions}\t{case}\t{:.1}\t{:.1}\t{:.2}\t{:.0}",
            device * 1e6,
            floor * 1e6,
            device / floor,
            1.0 / device
        );
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

/// A device over a file, and its peers.
struct World {
    alice: Option<Device<Watched>>,
    user: UserId,
    peers: Vec<Device<MemoryStore>>,
    shape: Rc<RefCell<Option<Shape>>>,
    turn: usize,
}

impl World {
    fn new(path: &Path, shape: &Rc<RefCell<Option<Shape>>>) -> Self {
        let mut alice = Device::create(Watched::open(path, shape), &key()).unwrap();
        let publication = alice.publication(0).unwrap();
        let mut one_time = publication.one_time_prekeys.iter();
        let mut peers = Vec::new();
        let user = alice.user();
        for _ in 0..REAL {
            let mut peer = Device::create(MemoryStore::new(), &key()).unwrap();
            let signed = publication.signed_prekey.clone();
            let bundle = PreKeyBundle::new(publication.identity_key, signed, one_time.next().cloned());
            peer.provide(&publication.list.to_bytes()).unwrap();
            peer.provide_bundle(&publication.address, Some(&bundle.to_bytes())).unwrap();
            peers.push(peer);
        }
        let mut world = Self { alice: Some(alice), user, peers, shape: shape.clone(), turn: 0 };
        for _ in 0..2 * REAL {
            world.receive(1);
            world.send(1);
        }
        world
    }

    fn open(&mut self, path: &Path) {
        self.alice = Some(Device::open(Watched::open(path, &self.shape), &key()).unwrap());
    }

    /// Copies of the records of a real session, until there are enough.
    fn fill(&mut self, path: &Path, sessions: usize) {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let alice = self.alice.take().unwrap();
        drop(alice);
        let mut store = SqliteStore::open(path).unwrap();
        let of_a_session = TABLES_OF_A_SESSION.map(|table| store.list(table, 0, 10).unwrap().pop().unwrap());
        let sizes: Vec<_> = of_a_session.iter().map(|record| record.value.len()).collect();
        println!("# a session has records of {sizes:?} bytes");
        let mut left = sessions.saturating_sub(REAL);
        while left > 0 {
            let some = left.min(2_000);
            let mut changes = Vec::new();
            for _ in 0..some {
                for Record { id, version, value, .. } in &of_a_session {
                    let mut name = [0; 16];
                    rng.fill_bytes(&mut name);
                    let action = Action::Put { version: *version, value: value.clone() };
                    let id = RecordId { table: id.table, name };
                    changes.push(Change { id, expected: Expected::Anything, action });
                }
            }
            store.commit(&changes).unwrap();
            left -= some;
        }
        drop(store);
        self.open(path);
    }

    /// Time to send so many; the peer has them afterwards.
    fn send(&mut self, batch: usize) -> Duration {
        let peer = self.next(batch);
        let alice = self.alice.as_mut().unwrap();
        let to = self.peers[peer].user();
        let drafts: Vec<_> = (0..batch).map(|_| Draft::new(&to, &CONTENT)).collect();
        let began = Instant::now();
        let out = alice.send_many(&drafts).unwrap();
        let time = began.elapsed();
        alice.sent(out.iter().map(|out| out.id)).unwrap();
        for out in &out {
            self.peers[peer].receive(&out.bytes, Some(&self.user)).unwrap();
        }
        // It acknowledges, so that no more is kept than in a conversation.
        if batch > 1 {
            self.receive(1);
        }
        time
    }

    /// Time to receive so many.
    fn receive(&mut self, batch: usize) -> Duration {
        let peer = self.next(batch);
        let from = self.peers[peer].user();
        let sent: Vec<_> = (0..batch)
            .map(|_| match self.peers[peer].send(&self.user, &CONTENT) {
                Err(DeviceError::Missing(missing)) => panic!("{missing:?}"),
                sent => sent.unwrap().remove(0),
            })
            .collect();
        let alice = self.alice.as_mut().unwrap();
        let began = Instant::now();
        let received: Vec<_> = match &sent[..] {
            [one] => alice.receive(&one.bytes, Some(&from)).unwrap(),
            many => {
                let incoming: Vec<_> =
                    many.iter().map(|out| Incoming { bytes: &out.bytes, from: Some(&from) }).collect();
                alice.receive_many(&incoming).into_iter().flat_map(Result::unwrap).collect()
            }
        };
        let time = began.elapsed();
        alice.acknowledge(received.iter().map(|received| received.id)).unwrap();
        self.peers[peer].sent(sent.iter().map(|out| out.id)).unwrap();
        time
    }

    /// Whose turn it is. Batches are of one conversation.
    fn next(&mut self, batch: usize) -> usize {
        let turn = self.turn;
        self.turn += usize::from(batch == 1);
        turn / 2 % REAL
    }
}

/// A store that says what a commit changes, when it is asked to.
struct Watched {
    store: SqliteStore,
    shape: Rc<RefCell<Option<Shape>>>,
}

impl Watched {
    fn open(path: &Path, shape: &Rc<RefCell<Option<Shape>>>) -> Self {
        Self { store: SqliteStore::open(path).unwrap(), shape: shape.clone() }
    }
}

impl Store for Watched {
    fn read(&self, id: &RecordId) -> Result<Option<Record>, StoreError> {
        self.store.read(id)
    }

    fn list(&self, table: u8, after: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.store.list(table, after, limit)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        if let Some(shape) = self.shape.borrow_mut().as_mut()
            && shape.is_empty()
        {
            for Change { id, action, .. } in changes {
                let is_there = self.store.read(id)?.is_some();
                match action {
                    Action::Put { value, .. } if is_there => shape.updates.push((id.table, value.len())),
                    Action::Put { value, .. } => shape.inserts.push((id.table, value.len())),
                    Action::Delete if is_there => shape.deletes += 1,
                    Action::Delete | Action::Keep => {}
                }
            }
        }
        self.store.commit(changes)
    }
}

/// What opening costs, in a process that has done nothing else.
fn report_open(path: &Path, sessions: usize) {
    let mut best: Option<(f64, u64)> = None;
    for _ in 0..5 {
        let child =
            Command::new(env::current_exe().unwrap()).env("SUBROSA_BENCH_OPEN", path).output().unwrap();
        let text = String::from_utf8(child.stdout).unwrap();
        let (time, memory) = text.trim().split_once(' ').unwrap();
        let this = (time.parse().unwrap(), memory.parse().unwrap());
        best = Some(best.map_or(this, |best| if this.0 < best.0 { this } else { best }));
    }
    let (time, memory) = best.unwrap();
    println!("{sessions}\topen\t{time:.0}\t-\t-\t{memory} KiB more resident");
}

fn open_and_tell(path: &Path) {
    let before = resident();
    let began = Instant::now();
    let device = Device::open(SqliteStore::open(path).unwrap(), &key()).unwrap();
    let time = began.elapsed();
    println!("{:.1} {}", time.as_secs_f64() * 1e6, resident().saturating_sub(before));
    drop(device);
}

/// In KiB; 0 where nobody says.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
