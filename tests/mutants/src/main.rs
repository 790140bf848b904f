//! Mutation testing without a build for each mutant.
//!
//! `cargo mutants --list` says what is to be wrong; all of it is compiled into one crate, each behind a question, and the
//! tests are run once for each mutant: only those that came by it, the fastest first, until one fails.
//!
//! ```text
//! cargo run --manifest-path tests/mutants/Cargo.toml -- [--alone] [--alive] [--seconds N] [parts of names...]
//! ```
//! What no question can be asked in, as the compiler evaluates it, is built alone, with `--alone`: ten seconds each until the
//! unit tests that are fast have run, minutes where the others are needed.
//! With `--alive` only those are run that nothing had killed before, and that have no reason; with `--seconds` no test is begun
//! for a mutant after so many. What nothing kills has to be in `survivors.txt`, beside this crate's manifest, with a reason.

mod build;
mod place;
mod run;
mod survivors;

use std::{env, fs, path::Path, process::ExitCode, time::Duration};

use proc_macro2::LineColumn;
use serde_json::Value;

/// What is mutated: modules of the crate.
const MODULES: [&str; 8] = ["crypto", "wire", "keys", "handshake", "ratchet", "session", "store", "device"];
/// Not compiled with default features.
const NOT_COMPILED: &str = "/aws.rs";

pub struct Mutant {
    pub id: u32,
    pub name: String,
    pub file: String,
    pub genre: String,
    pub replacement: String,
    pub start: LineColumn,
    pub end: LineColumn,
}

impl Mutant {
    fn new(id: u32, json: &Value) -> Self {
        let text = |value: &Value| value.as_str().expect("a string").to_string();
        let place = |end: &str| {
            let number = |key: &str| json["span"][end][key].as_u64().expect("a number") as usize;
            LineColumn { line: number("line"), column: number("column") - 1 }
        };
        Self {
            id,
            name: text(&json["name"]),
            file: text(&json["file"]),
            genre: text(&json["genre"]),
            replacement: text(&json["replacement"]),
            start: place("start"),
            end: place("end"),
        }
    }

    /// The source file with this mutant and no other.
    fn replaced(&self, source: &str) -> String {
        let [start, end] = [self.start, self.end].map(|at| place::offset(source, at));
        [&source[..start], &self.replacement, &source[end..]].concat()
    }
}

fn main() -> ExitCode {
    let (mut alone, mut only_alive, mut patience, mut parts) = (false, false, Duration::MAX, Vec::new());
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match &argument[..] {
            "--alone" => alone = true,
            "--alive" => only_alive = true,
            "--seconds" => {
                patience =
                    Duration::from_secs(arguments.next().and_then(|n| n.parse().ok()).expect("a number"))
            }
            _ => parts.push(argument),
        }
    }
    let work = build::Work::new();
    let mutants = list(&work.root);
    let state = work.place(&mutants);
    let mut outcomes = run::Outcomes::read(&work.directory.join("outcomes.tsv"));
    let accepted = survivors::accepted(&work.root);
    let chosen: Vec<&Mutant> = mutants
        .iter()
        .filter(|mutant| parts.is_empty() || parts.iter().any(|part| mutant.name.contains(part)))
        .filter(|mutant| !state.uncompilable.contains(&mutant.id))
        .filter(|mutant| {
            let alive = || outcomes.get(&mutant.name).is_none_or(|outcome| outcome.is_alive());
            !only_alive || alive() && !accepted.contains(&survivors::lasting_name(mutant, &work.root))
        })
        .filter(|mutant| alone == state.without_place.contains(&mutant.id))
        .collect();
    if alone {
        run::run_alone(&chosen, &work, &mut outcomes, patience);
    } else {
        run::run(&work.tests(), &chosen, &work, &mut outcomes, patience);
    }
    survivors::report(&mutants, &state, &outcomes, &work.root)
}

/// As cargo-mutants finds them, numbered.
fn list(root: &Path) -> Vec<Mutant> {
    let mut command = std::process::Command::new("cargo");
    command.args(["mutants", "--list", "--json"]).current_dir(root);
    for module in MODULES {
        command.args(["--file", &format!("src/{module}.rs"), "--file", &format!("src/{module}/**")]);
    }
    let output = command.output().expect("cargo runs");
    assert!(output.status.success(), "cargo mutants: {}", String::from_utf8_lossy(&output.stderr));
    let list: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let compiled =
        list.iter().filter(|json| json["file"].as_str().is_some_and(|file| !file.ends_with(NOT_COMPILED)));
    compiled.zip(0..).map(|(json, id)| Mutant::new(id, json)).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
