//! `docs/CLAIMS.md` names tests that are there, and a test for every id of an attack that has one.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const CLAIMS: &str = include_str!("../docs/CLAIMS.md");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What stands between backticks, line by line.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// `path.rs::name`, or `path.rs::tests::name`, in the parts of the document that name a function.
fn named(text: &str) -> impl Iterator<Item = (&str, &str)> {
    quoted(text).filter_map(|quoted| {
        let (path, name) = (quoted.split("::").next()?, quoted.rsplit_once("::")?.1);
        path.ends_with(".rs").then_some((path, name))
    })
}

/// Whether it is a test of the source, not only the beginning of another one's name, and is not ignored.
fn defines(source: &str, name: &str) -> bool {
    let mut rest = source;
    while let Some((before, behind)) = rest.split_once("fn ") {
        if behind.strip_prefix(name).is_some_and(|behind| behind.starts_with('(')) {
            let attributes = before.rsplit("\n\n").next().unwrap_or(before);
            return ["#[test]", "#[cfg_attr(test, test)]"].iter().any(|test| attributes.contains(test))
                && !attributes.contains("#[ignore");
        }
        rest = behind;
    }
    false
}

/// The ids that a test's name begins with: `a07_a12_altered...` has two.
fn ids(name: &str) -> impl Iterator<Item = &str> {
    let is_id = |part: &&str| {
        part.len() == 3 && part.starts_with('a') && part[1..].bytes().all(|b| b.is_ascii_digit())
    };
    name.split('_').take_while(is_id)
}

fn sources(directory: PathBuf, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_test_that_is_named_is_there() {
    let mut count = 0;
    for (path, name) in named(CLAIMS) {
        let source = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(defines(&source, name), "there is no {name} in {path}");
        count += 1;
    }
    assert!(count > 200, "only {count} names were found: is the document written in another way?");
}

/// Commands, too: `cargo test --test NAME` and the like.
#[test]
fn every_target_that_is_named_is_there() {
    for command in quoted(CLAIMS) {
        let words: Vec<_> = command.split_whitespace().collect();
        for pair in words.windows(2) {
            let directory = match pair {
                ["--test", _] => "tests",
                ["--bench", _] => "benches",
                ["--example", _] => "examples",
                _ => continue,
            };
            let path = root().join(directory).join(format!("{}.rs", pair.last().unwrap()));
            assert!(path.exists() || pair.last() == Some(&"FILE"), "{command}: no {}", path.display());
        }
    }
}

/// The table of attacks has a row for every id that a test is named by, and the row names such a test.
#[test]
fn every_attack_with_a_test_has_a_row_that_names_one() {
    let mut files = Vec::new();
    for directory in ["src", "tests"] {
        sources(root().join(directory), &mut files);
    }
    let mut tests = BTreeMap::<String, Vec<String>>::new();
    for file in files {
        for rest in fs::read_to_string(file).unwrap().split("fn ").skip(1) {
            let Some((name, _)) = rest.split_once('(') else { continue };
            for id in ids(name) {
                tests.entry(id.to_owned()).or_default().push(name.to_owned());
            }
        }
    }
    assert!(tests.len() > 40, "only {} ids were found", tests.len());
    for (id, names) in tests {
        let row = CLAIMS.lines().find(|line| line.starts_with(&format!("| {id} |")));
        let row = row.unwrap_or_else(|| panic!("no row of {id}, which has {names:?}"));
        let named = named(row).any(|(_, name)| ids(name).any(|other| other == id));
        assert!(named, "the row of {id} names none of {names:?}");
    }
}
