//! The device in processes that are killed, and in two at once; and files as a crash, a power cut or a backup leaves them.
//!
//! | variable | |
//! |---|---|
//! | `SUBROSA_TEST_KILLS` | how often the app is killed: 500 unless set |
//! | `SUBROSA_TEST_MESSAGES` | how many messages each of two processes sends, and receives: 10,000 unless set |
//! | `SUBROSA_TEST_SEED` | what a run is drawn from; a test that fails prints its own. Where in an operation a kill falls no seed can say |
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that panics is a test that fails"
)]
#![cfg(all(feature = "sqlite", unix))]

#[path = "processes/app.rs"]
mod app;
mod common;
#[path = "processes/files.rs"]
mod files;
#[path = "processes/town.rs"]
mod town;

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{self, Child, ChildStdin, Command, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use chacha20::ChaCha20Rng;
use rand::{Rng, RngExt, SeedableRng};
use subrosa::UnixTime;

use app::History;
use town::{Manners, Town};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// A directory that is removed when the test is over.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        Self::within(&env::temp_dir())
    }

    /// In memory, if it can be: for what is about locks, and not about what is on a disk after a crash.
    fn in_memory() -> Self {
        let memory = PathBuf::from("/dev/shm");
        if memory.is_dir() { Self::within(&memory) } else { Self::new() }
    }

    fn within(parent: &Path) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("subrosa-processes-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = parent.join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn store(&self) -> PathBuf {
        self.0.join("store.db")
    }

    fn history(&self, number: usize) -> PathBuf {
        self.0.join(format!("history-{number}"))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A number out of the environment.
fn setting(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap())
}

fn seed() -> u64 {
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = setting("SUBROSA_TEST_SEED").unwrap_or_else(now);
    eprintln!("SUBROSA_TEST_SEED={seed}");
    seed
}

/// Says which process it comes from; nothing if that has ended.
type Line = (usize, Option<String>);

/// The app, running.
struct App {
    number: usize,
    child: Child,
    stdin: ChildStdin,
}

impl App {
    fn start(
        directory: &Directory,
        number: usize,
        seed: u64,
        now: u64,
        goal: Option<u64>,
        lines: &Sender<Line>,
    ) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "child_app", "--include-ignored", "--nocapture", "--test-threads=1"])
            .env(app::FILE, directory.store())
            .env(app::HISTORY, directory.history(number))
            .env(app::SEED, seed.to_string())
            .env(app::NOW, now.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(goal) = goal {
            command.env(app::GOAL, goal.to_string());
        }
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let lines = lines.clone();
        thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            let mut line = String::new();
            // One that was cut off was not written to its end: the server does not have it.
            while reader.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
                if let Some((_, line)) = line.trim_end().split_once('@') {
                    let _ = lines.send((number, Some(line.to_owned())));
                }
                line.clear();
            }
            let _ = lines.send((number, None));
        });
        Self { number, child, stdin }
    }

    /// Fails if it has been killed just now; then nobody is there to hear it.
    fn tell(&mut self, answer: &[String]) {
        if !answer.is_empty() {
            let _ = self.stdin.write_all((answer.join("\n") + "\n").as_bytes());
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "run by the other tests: the app, in a process of its own"]
fn child_app() {
    app::run();
}

/// Serves one app until it ends. Whether it was killed: so many lines after it began, and so much later.
fn serve(
    town: &mut Town,
    app: &mut App,
    lines: &Receiver<Line>,
    kill: Option<(u32, Duration)>,
) -> Option<String> {
    let mut heard = 0;
    let mut last = "spawned".to_owned();
    let due = |heard: u32| kill.filter(|(after, _)| *after <= heard).map(|(_, delay)| Instant::now() + delay);
    let mut deadline = due(0);
    let mut killed = None;
    loop {
        let line = match deadline {
            Some(deadline) if killed.is_none() => {
                lines.recv_timeout(deadline.saturating_duration_since(Instant::now()))
            }
            _ => lines.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match line {
            Ok((_, Some(line))) => {
                heard += 1;
                deadline = deadline.or_else(|| due(heard));
                let answer = town.hear(app.number, &line);
                app.tell(&answer);
                last = line;
            }
            Err(RecvTimeoutError::Timeout) => {
                assert_eq!(app.child.try_wait().unwrap(), None, "the app ended by itself");
                app.child.kill().unwrap();
                killed = Some(last.split(' ').next().unwrap().to_owned());
            }
            Ok((_, None)) | Err(RecvTimeoutError::Disconnected) => {
                let status = app.child.wait().unwrap();
                assert!(killed.is_some() || status.success(), "the app failed after {last}: {status}");
                return killed;
            }
        }
    }
}

/// A crash at any instant loses no message, hands none to the app twice unmarked, and uses no key for two messages.
#[test]
fn a17_killed_at_any_instant() {
    let kills = setting("SUBROSA_TEST_KILLS").unwrap_or(500);
    let seed = seed();
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let directory = Directory::new();
    let town_rng = ChaCha20Rng::seed_from_u64(rng.next_u64());
    let mut town = Town::new(town_rng, NOW, Manners { lively: true, each: None });
    let (sender, lines) = mpsc::channel();
    let began = Instant::now();
    let mut fell_after = std::collections::BTreeMap::<String, u32>::new();
    for _ in 0..kills {
        // Lives are short, so that many end while the app starts; some are long. Some end before it has said anything.
        let after = match rng.random_range(0..4) {
            0 => rng.random_range(0..3),
            1 => rng.random_range(2..10),
            _ => rng.random_range(5..45),
        };
        // Some end at once: between what is handed over and the note that it was.
        let longest = [0, 6_000, 6_000][rng.random_range(0..3)];
        let delay = Duration::from_micros(rng.random_range(0..=if after == 0 { 20_000 } else { longest }));
        let mut app = App::start(&directory, 0, rng.next_u64(), town.now(), None, &sender);
        let last = serve(&mut town, &mut app, &lines, Some((after, delay))).unwrap();
        *fell_after.entry(last).or_default() += 1;
        town.advance(3 * 60 * 60);
    }
    eprintln!("{kills} kills in {:?}, by what was said last: {fell_after:?}", began.elapsed());
    town.quiet = true;
    let mut app = App::start(&directory, 0, rng.next_u64(), town.now(), Some(0), &sender);
    assert_eq!(serve(&mut town, &mut app, &lines, None), None);
    eprintln!("{:?}", town.counts);
    town.check(&[History::open(&directory.history(0))]);
    assert_eq!(u64::from(fell_after.values().sum::<u32>()), kills);
    // Else the kills fell where nothing can go wrong.
    let counts = &town.counts;
    for count in [
        counts.redelivered,
        counts.drafts_sent_again,
        counts.duplicates_at_app,
        counts.first_messages_to_peers,
    ] {
        assert!(count > kills / 50, "{counts:?}");
    }
    assert!(
        counts.copies_pushed.min(counts.forgotten).min(counts.altered_refused) >= kills / 500,
        "{counts:?}"
    );
}

/// Two processes over one file: an app, and what fetches messages while it is not running.
#[test]
fn a18_two_processes_on_one_file() {
    let each = setting("SUBROSA_TEST_MESSAGES").unwrap_or(10_000);
    let mut rng = ChaCha20Rng::seed_from_u64(seed());
    let directory = Directory::in_memory();
    let town_rng = ChaCha20Rng::seed_from_u64(rng.next_u64());
    let mut town = Town::new(town_rng, NOW, Manners { lively: false, each: Some(each as usize) });
    let (sender, lines) = mpsc::channel();
    let began = Instant::now();
    let mut apps =
        [0, 1].map(|number| App::start(&directory, number, rng.next_u64(), town.now(), Some(each), &sender));
    let mut running = apps.len();
    while running > 0 {
        match lines.recv().unwrap() {
            (number, Some(line)) => {
                let answer = town.hear(number, &line);
                apps[number].tell(&answer);
            }
            (number, None) => {
                assert!(apps[number].child.wait().unwrap().success());
                running -= 1;
            }
        }
    }
    eprintln!("each sent and received {each} in {:?}", began.elapsed());
    town.quiet = true;
    town.manners.each = None;
    let mut app = App::start(&directory, 0, rng.next_u64(), town.now(), Some(0), &sender);
    assert_eq!(serve(&mut town, &mut app, &lines, None), None);
    eprintln!("{:?}", town.counts);
    let histories = [0, 1].map(|number| History::open(&directory.history(number)));
    for history in &histories {
        assert!(history.drafts.len() as u64 >= each && history.read.len() as u64 >= each);
    }
    town.check(&histories);
}
