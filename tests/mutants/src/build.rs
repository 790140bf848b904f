//! The copy of the crate that has all mutants, and its tests.

use std::{
    collections::{HashMap, HashSet},
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{Mutant, place, read, run::Outcome};

/// The module that answers which mutant is alive.
const QUESTION: &str = include_str!("question.rs.txt");
/// Among lints.
const ALLOWED: &str =
    "warnings = \"allow\"\narithmetic_overflow = \"allow\"\nunconditional_panic = \"allow\"";
/// The binary of the unit tests.
const LIBRARY: &str = "subrosa";
/// They look at the crate's text, or at its documents, or take another process down: no mutant changes what they see.
const NOT_RUN: [&str; 6] = ["claims", "compile_fail", "miri", "processes", "public_api", "readme"];

pub struct Work {
    pub root: PathBuf,
    /// Everything that this tool writes.
    pub directory: PathBuf,
    /// The copy.
    pub copy: PathBuf,
}

/// Which mutants there are to run.
pub struct State {
    /// The compiler refuses them.
    pub uncompilable: HashSet<u32>,
    /// No question can be asked there.
    pub without_place: HashSet<u32>,
}

impl State {
    pub fn runs(&self, id: u32) -> bool {
        !self.uncompilable.contains(&id) && !self.without_place.contains(&id)
    }
}

pub struct Binary {
    pub name: String,
    pub path: PathBuf,
}

impl Work {
    pub fn new() -> Self {
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two levels down").to_path_buf();
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let directory = root.join(target).join("mutants");
        let copy = directory.join("crate");
        fs::create_dir_all(&copy).expect("a directory");
        Self { root, directory, copy }
    }

    /// Copies the crate and puts the mutants in, without those that do not compile, or that no question can be asked for: by
    /// asking the compiler until it is content. What it said is kept, so that the next time writes the same at once.
    pub fn place(&self, mutants: &[Mutant]) -> State {
        self.copy_all(&self.copy);
        let [uncompilable, without_place] =
            ["uncompilable.txt", "without_place.txt"].map(|name| self.directory.join(name));
        let known = |path: &Path| -> HashSet<u32> {
            let names = fs::read_to_string(path).unwrap_or_default();
            let names: HashSet<&str> = names.lines().collect();
            mutants.iter().filter(|mutant| names.contains(&mutant.name[..])).map(|mutant| mutant.id).collect()
        };
        let mut state = State { uncompilable: known(&uncompilable), without_place: known(&without_place) };
        loop {
            let placed = self.write(mutants, &mut state);
            let refused = self.refused(&placed, &mut state);
            println!("{refused} more do not compile, or cannot be placed");
            if refused == 0 {
                break;
            }
        }
        for (path, ids) in [(uncompilable, &state.uncompilable), (without_place, &state.without_place)] {
            let names =
                mutants.iter().filter(|mutant| ids.contains(&mutant.id)).map(|mutant| &mutant.name[..]);
            fs::write(path, names.collect::<Vec<_>>().join("\n")).expect("a file");
        }
        state
    }

    /// But for what is Rust in `src`.
    fn copy_all(&self, to: &Path) {
        for path in self.files() {
            let Ok(content) = fs::read(self.root.join(&path)) else { continue };
            let content = match &path[..] {
                // The lints would stop at what is unusual in a mutant.
                "Cargo.toml" => String::from_utf8_lossy(&content)
                    .replace(" = \"deny\"", " = \"allow\"")
                    .replace("[lints.rust]", &format!("[lints.rust]\n{ALLOWED}"))
                    .into_bytes(),
                _ if path.starts_with("src/") && path.ends_with(".rs") => continue,
                _ => content,
            };
            write_if_other(&to.join(&path), &content);
        }
    }

    fn files(&self) -> Vec<String> {
        let output = Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .current_dir(&self.root)
            .output()
            .expect("git runs");
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_string).collect()
    }

    fn sources(&self) -> Vec<String> {
        self.files().into_iter().filter(|path| path.starts_with("src/") && path.ends_with(".rs")).collect()
    }

    /// One of those without a place, in a copy of its own: whether the compiler refuses it, or a test does, the unit tests
    /// first. Compile-time assertions count as tests. `slow`: which tests are not run, and of the unit tests which are run
    /// in a second turn only.
    pub fn run_alone(&self, mutant: &Mutant, [slowest, slow]: [&[String]; 2], patience: Duration) -> Outcome {
        let began = Instant::now();
        let copy = self.directory.join("alone");
        self.copy_all(&copy);
        for path in self.sources() {
            let source = read(&self.root.join(&path));
            let text = if path == mutant.file { mutant.replaced(&source) } else { source };
            write_if_other(&copy.join(path), text.as_bytes());
        }
        let succeeds = |arguments: &[&str]| {
            let mut command = Command::new("timeout");
            command.args(["900", "cargo"]).args(arguments).current_dir(&copy);
            let output = command
                .env("CARGO_TARGET_DIR", self.directory.join("alone-build"))
                // What compiles faster counts for more here than what runs faster.
                .env("CARGO_PROFILE_DEV_OPT_LEVEL", "0")
                .output()
                .expect("cargo runs");
            output.status.success()
        };
        let without = |skipped: &[String], arguments: &[&str]| {
            let skipped: Vec<&str> = skipped.iter().flat_map(|name| ["--skip", name]).collect();
            succeeds(&[&["test", "--quiet"], arguments, &["--"], &skipped].concat())
        };
        if !succeeds(&["check", "--quiet", "--lib", "--profile", "test"]) {
            return Outcome::Killed("compiler".into());
        }
        let files = self.files();
        let names = files.iter().filter_map(|path| path.strip_prefix("tests/")?.strip_suffix(".rs"));
        let others = names.filter(|name| !name.contains('/') && !NOT_RUN.contains(name));
        let others: Vec<&str> = others.flat_map(|name| ["--test", name]).collect();
        for (by, skipped, arguments) in
            [(LIBRARY, slow, &["--lib"][..]), (LIBRARY, slowest, &["--lib"]), ("tests", slowest, &others)]
        {
            if began.elapsed() > patience {
                break;
            }
            if !without(skipped, arguments) {
                return Outcome::Killed(by.into());
            }
        }
        Outcome::Alive
    }

    /// All source files, by their names.
    fn write(&self, mutants: &[Mutant], state: &mut State) -> HashMap<String, place::Placed> {
        let mut placed = HashMap::new();
        for path in self.sources() {
            let source = read(&self.root.join(&path));
            let of_file: Vec<&Mutant> =
                mutants.iter().filter(|mutant| mutant.file == path && state.runs(mutant.id)).collect();
            let mut file = place::place(&source, &of_file);
            state.without_place.extend(&file.without_place);
            state.uncompilable.extend(&file.uncompilable);
            if path == "src/lib.rs" {
                file.text.push_str(&QUESTION.replace("COUNT", &mutants.len().to_string()));
            }
            write_if_other(&self.copy.join(&path), file.text.as_bytes());
            placed.insert(path, file);
        }
        placed
    }

    /// What the compiler says of them: how many it does not like.
    fn refused(&self, placed: &HashMap<String, place::Placed>, state: &mut State) -> usize {
        let mut refused = 0;
        for message in self.cargo(&["check", "--lib"]) {
            let message = &message["message"];
            if message["level"] != "error" {
                continue;
            }
            let mut found =
                message["code"].is_null() && message["spans"].as_array().is_none_or(Vec::is_empty);
            for span in message["spans"].as_array().into_iter().flatten() {
                if !found && let Some(file) = span["file_name"].as_str().and_then(|name| placed.get(name)) {
                    let at = span["byte_start"].as_u64().unwrap_or_default() as usize;
                    let branch = file.branches.iter().find(|(range, _)| range.contains(&at));
                    let around = file
                        .around
                        .iter()
                        .filter(|(range, _)| range.contains(&at))
                        .min_by_key(|(range, _)| range.len());
                    if let Some((_, id)) = branch {
                        refused += usize::from(state.uncompilable.insert(*id));
                        found = true;
                    } else if let Some((_, ids)) = around {
                        refused += ids.iter().filter(|id| state.without_place.insert(**id)).count();
                        found = true;
                    }
                }
            }
            assert!(found, "not by a mutant: {}", message["rendered"].as_str().unwrap_or_default());
        }
        refused
    }

    pub fn tests(&self) -> Vec<Binary> {
        let messages = self.cargo(&["test", "--no-run", "--lib", "--tests"]);
        let artifacts = messages.iter().filter(|message| message["profile"]["test"] == true);
        let binaries = artifacts.filter_map(|message| {
            let name = message["target"]["name"].as_str()?.to_string();
            let path = PathBuf::from(message["executable"].as_str()?);
            (!NOT_RUN.contains(&&name[..])).then_some(Binary { name, path })
        });
        let binaries: Vec<Binary> = binaries.collect();
        assert!(!binaries.is_empty(), "the tests do not compile");
        binaries
    }

    fn cargo(&self, arguments: &[&str]) -> Vec<Value> {
        let output = Command::new("cargo")
            .args(arguments)
            .arg("--message-format=json")
            .current_dir(&self.copy)
            .env("CARGO_TARGET_DIR", self.directory.join("build"))
            .output()
            .expect("cargo runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let messages: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        assert!(
            output.status.success() || messages.iter().any(|message| message["message"]["level"] == "error"),
            "cargo: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        messages
    }
}

/// Else cargo would build it again.
fn write_if_other(path: &Path, content: &[u8]) {
    if fs::read(path).is_ok_and(|old| old == content) {
        return;
    }
    fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
    fs::write(path, content).expect("a file");
}
