//! The inputs that fuzzing begins with, those that it found worth keeping, and those that once failed, through the very
//! targets that are fuzzed.
//! With `SUBROSA_FUZZ_SHOW` set, each input is shown before it runs.
#![cfg(all(feature = "std", feature = "attachments"))]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unreachable,
    clippy::print_stderr,
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    reason = "a test that panics is a test that fails; what is fuzzed has its own package"
)]

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::{collections::BTreeSet, fs, path::PathBuf};

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// At least as many inputs as there are of the target with the fewest.
const LEAST: usize = 20;

fn replay(target: &str) {
    let directory = corpus().join(target);
    let mut files: Vec<_> = fs::read_dir(&directory).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= LEAST, "{} inputs in {}", files.len(), directory.display());
    let seeds = fuzz::Seeds::new().0.into_iter().filter(|(of, ..)| *of == target);
    let seeds: Vec<_> = seeds.map(|(_, name, bytes)| (format!("seed {name}"), bytes)).collect();
    assert!(!seeds.is_empty());
    let kept = files.iter().map(|file| (file.display().to_string(), fs::read(file).unwrap()));
    for (name, input) in seeds.into_iter().chain(kept) {
        let result = std::panic::catch_unwind(|| fuzz::run(target, &input));
        assert!(result.is_ok(), "target {target} fails with {name}");
    }
}

macro_rules! targets {
    ($($name:ident)+) => {
        /// A test each, so that they run side by side.
        const REPLAYED: &[&str] = &[$(stringify!($name)),+];

        $(
            #[test]
            fn $name() {
                replay(stringify!($name));
            }
        )+
    };
}

targets!(accept conversation decode decrypt device hostile inside liar sealed);

/// Each target is fuzzed, has a corpus, and is replayed here.
#[test]
fn every_target_has_a_corpus() {
    let set = |names: Vec<String>| names.into_iter().collect::<BTreeSet<_>>();
    let replayed = set(REPLAYED.iter().map(|name| (*name).to_owned()).collect());
    let targets = set(fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect());
    let names = |directory: PathBuf| {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        set(entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect())
    };
    assert_eq!(replayed, targets);
    assert_eq!(names(corpus()), targets);
    assert_eq!(names(corpus().with_file_name("fuzz_targets")), targets);
    let manifest = fs::read_to_string(corpus().with_file_name("Cargo.toml")).unwrap();
    let bins = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\""));
    assert_eq!(set(bins.map(str::to_owned).collect()), targets);
}
