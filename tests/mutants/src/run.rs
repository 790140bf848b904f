//! Which tests come by which mutant, and which mutants they kill.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{self, OpenOptions, Permissions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{Mutant, build::Binary, build::Work, read};

/// Tests that take about as long are run together, by one process for each binary.
const STAGES: [Duration; 5] = [
    Duration::from_millis(30),
    Duration::from_millis(300),
    Duration::from_secs(3),
    Duration::from_secs(15),
    Duration::MAX,
];
/// How much longer than without a mutant is too long.
const PATIENCE: u32 = 10;
const LEAST_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub enum Outcome {
    /// By a test of this binary.
    Killed(String),
    TimedOut(String),
    Alive,
    /// No test comes by.
    Unreached,
}

impl Outcome {
    pub fn is_alive(&self) -> bool {
        matches!(self, Self::Alive | Self::Unreached)
    }

    fn line(&self) -> String {
        match self {
            Self::Killed(by) => format!("killed\t{by}"),
            Self::TimedOut(by) => format!("timed out\t{by}"),
            Self::Alive => "alive\t".into(),
            Self::Unreached => "unreached\t".into(),
        }
    }

    fn parse(outcome: &str, by: &str) -> Self {
        match outcome {
            "killed" => Self::Killed(by.into()),
            "timed out" => Self::TimedOut(by.into()),
            "alive" => Self::Alive,
            _ => Self::Unreached,
        }
    }
}

/// By the mutants' names; the last line of the file about one counts.
pub struct Outcomes {
    path: PathBuf,
    known: HashMap<String, Outcome>,
}

impl Outcomes {
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        let known = text.lines().filter_map(|line| {
            let mut parts = line.split('\t');
            let (name, outcome, by) = (parts.next()?, parts.next()?, parts.next()?);
            Some((name.to_string(), Outcome::parse(outcome, by)))
        });
        Self { path: path.to_path_buf(), known: known.collect() }
    }

    pub fn get(&self, name: &str) -> Option<&Outcome> {
        self.known.get(name)
    }

    fn add(&mut self, name: &str, outcome: Outcome, took: Duration) {
        let mut file = OpenOptions::new().append(true).create(true).open(&self.path).expect("a file");
        writeln!(file, "{name}\t{}\t{}", outcome.line(), took.as_millis()).expect("a line");
        self.known.insert(name.into(), outcome);
    }
}

struct Test<'a> {
    binary: &'a Binary,
    name: String,
    took: Duration,
    came_by: HashSet<u32>,
}

/// `patience`: for each mutant. What takes longer is not run, and counts for nothing.
pub fn run(
    binaries: &[Binary],
    mutants: &[&Mutant],
    work: &Work,
    outcomes: &mut Outcomes,
    patience: Duration,
) {
    let mut tests: Vec<Test<'_>> = binaries.iter().flat_map(|binary| traced(binary, work)).collect();
    tests.sort_by_key(|test| test.took);
    println!("{} mutants, {} tests", mutants.len(), tests.len());
    let (outcomes, done) = (Mutex::new(outcomes), AtomicUsize::new(0));
    in_parallel(mutants, |mutant| {
        let began = Instant::now();
        let outcome = outcome_of(mutant, &tests, work, patience);
        let number = done.fetch_add(1, Ordering::Relaxed) + 1;
        let total = mutants.len();
        println!(
            "{number}/{total} {} {} ms: {}",
            outcome.line().replace('\t', " "),
            began.elapsed().as_millis(),
            mutant.name
        );
        outcomes.lock().expect("no panic").add(&mutant.name, outcome, began.elapsed());
    });
}

/// Those for which there is no question, one after the other. Tests that took long when they were traced last are not run.
pub fn run_alone(mutants: &[&Mutant], work: &Work, outcomes: &mut Outcomes, patience: Duration) {
    let mut took = Vec::new();
    for entry in fs::read_dir(&work.directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "json") {
            took.extend(kept(&path).into_iter().map(|(name, took, _)| (name, Duration::from_micros(took))));
        }
    }
    let [slowest, slow] = [STAGES[2], STAGES[0]].map(|limit| -> Vec<String> {
        took.iter().filter(|(_, took)| *took > limit).map(|(name, _)| name.clone()).collect()
    });
    for (number, mutant) in (1..).zip(mutants) {
        let began = Instant::now();
        let outcome = work.run_alone(mutant, [&slowest, &slow], patience);
        println!("{number}/{} alone {}: {}", mutants.len(), outcome.line().replace('\t', " "), mutant.name);
        outcomes.add(&mutant.name, outcome, began.elapsed());
    }
}

/// Of tests that were traced: names, microseconds, mutants that they came by.
fn kept(path: &Path) -> Vec<(String, u64, Vec<u32>)> {
    serde_json::from_str(&read(path)).expect("as it was written")
}

/// As it was traced before, if it is the same binary.
fn traced<'a>(binary: &'a Binary, work: &Work) -> Vec<Test<'a>> {
    let cache = work.directory.join(format!("came-by-{}.json", binary.name));
    let built = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    if let (Ok(cached), Ok(built)) = (built(&cache), built(&binary.path))
        && built < cached
    {
        let test = |(name, took, came_by): (String, u64, Vec<u32>)| Test {
            binary,
            name,
            took: Duration::from_micros(took),
            came_by: came_by.into_iter().collect(),
        };
        return kept(&cache).into_iter().map(test).collect();
    }
    let tests = trace(binary, work);
    let as_kept = |test: &Test<'_>| {
        (test.name.clone(), test.took.as_micros() as u64, test.came_by.iter().copied().collect::<Vec<_>>())
    };
    let json =
        serde_json::to_string(&tests.iter().map(as_kept).collect::<Vec<_>>()).expect("numbers and names");
    fs::write(cache, json).expect("a file");
    tests
}

/// One process for each test.
fn trace<'a>(binary: &'a Binary, work: &Work) -> Vec<Test<'a>> {
    let list = |more: &[&str]| {
        let mut command = Command::new(&binary.path);
        let output =
            command.args(["--list", "--format", "terse"]).args(more).current_dir(&work.copy).output();
        let text = String::from_utf8(output.expect("it runs").stdout).expect("UTF-8");
        text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_string).collect::<Vec<_>>()
    };
    let ignored = list(&["--ignored"]);
    let names: Vec<String> = list(&[]).into_iter().filter(|name| !ignored.contains(name)).collect();
    let tests = Mutex::new(Vec::new());
    in_parallel(&names, |name| {
        let log = work.directory.join(format!("came-by-{}-{}", binary.name, name.replace("::", "-")));
        // Some tests have others of their kind run as another user.
        fs::write(&log, [])
            .and_then(|()| fs::set_permissions(&log, Permissions::from_mode(0o666)))
            .expect("a file");
        let began = Instant::now();
        let status = Command::new(&binary.path)
            .args(["--exact", name, "--test-threads", "1"])
            .env("MUTANTS_CAME_BY", &log)
            .env("MUTANT", (u32::MAX - 1).to_string())
            .current_dir(&work.copy)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("it runs");
        let bytes = fs::read(&log).unwrap_or_default();
        let _ = fs::remove_file(&log);
        let (ids, _) = bytes.as_chunks::<4>();
        let came_by = ids.iter().map(|id| u32::from_le_bytes(*id)).collect();
        if status.success() {
            tests.lock().expect("no panic").push(Test {
                binary,
                name: name.clone(),
                took: began.elapsed(),
                came_by,
            });
        } else {
            println!("not used, as it fails without a mutant: {} {name}", binary.name);
        }
    });
    tests.into_inner().expect("no panic")
}

fn outcome_of(mutant: &Mutant, tests: &[Test<'_>], work: &Work, patience: Duration) -> Outcome {
    let began = Instant::now();
    let tests: Vec<&Test<'_>> = tests.iter().filter(|test| test.came_by.contains(&mutant.id)).collect();
    if tests.is_empty() {
        return Outcome::Unreached;
    }
    let mut from = Duration::ZERO;
    for to in STAGES {
        let mut groups: BTreeMap<&str, Vec<&Test<'_>>> = BTreeMap::new();
        for test in tests.iter().filter(|test| (from..to).contains(&test.took)) {
            groups.entry(&test.binary.name).or_default().push(test);
        }
        for (name, group) in groups {
            let Some(first) = group.first() else { continue };
            if began.elapsed() > patience {
                return Outcome::Alive;
            }
            let mut command = Command::new(&first.binary.path);
            command.arg("--exact").args(group.iter().map(|test| &test.name)).args(["--test-threads", "1"]);
            let child = command
                .env("MUTANT", mutant.id.to_string())
                .current_dir(&work.copy)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("it runs");
            let patience = LEAST_PATIENCE + PATIENCE * group.iter().map(|test| test.took).sum::<Duration>();
            match succeeds(child, patience) {
                Some(true) => {}
                Some(false) => return Outcome::Killed(name.into()),
                None => return Outcome::TimedOut(name.into()),
            }
        }
        from = to;
    }
    Outcome::Alive
}

/// Nothing if it takes too long.
fn succeeds(mut child: Child, patience: Duration) -> Option<bool> {
    let began = Instant::now();
    let mut pause = Duration::from_micros(500);
    while began.elapsed() < patience {
        if let Some(status) = child.try_wait().expect("it is a child") {
            return Some(status.success());
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

fn in_parallel<T: Sync>(items: &[T], each: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    each(item);
                }
            });
        }
    });
}
