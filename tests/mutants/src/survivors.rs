//! What nothing kills, against the list that says why it may live.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    process::ExitCode,
};

use crate::{Mutant, build::State, read, run::Outcomes};

/// What is known of a mutant, by its column in the table.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Killed,
    Accepted,
    Alive,
    NotRun,
    DoesNotCompile,
}
const COLUMNS: &str = "| module | killed | alive, with a reason | alive | not run here | do not compile |\n|---|---:|---:|---:|---:|---:|";

/// Who may live, by the lasting names.
pub fn accepted(root: &Path) -> HashSet<String> {
    let text = read(&root.join("tests/mutants/survivors.txt"));
    text.lines().filter(|line| line.starts_with("src/")).map(str::to_string).collect()
}

/// Prints who is alive without a reason, whose reason nobody needs, and the table.
pub fn report(mutants: &[Mutant], state: &State, outcomes: &Outcomes, root: &Path) -> ExitCode {
    let accepted = accepted(root);
    let mut needed = HashSet::new();
    let mut counts: BTreeMap<&str, [usize; 5]> = BTreeMap::new();
    for mutant in mutants {
        let name = lasting_name(mutant, root);
        let place = match outcomes.get(&mutant.name) {
            _ if state.uncompilable.contains(&mutant.id) => Place::DoesNotCompile,
            None => Place::NotRun,
            Some(outcome) if !outcome.is_alive() => Place::Killed,
            Some(_) if accepted.contains(&name) => Place::Accepted,
            Some(_) => Place::Alive,
        };
        if place == Place::Accepted {
            needed.insert(name.clone());
        }
        let module = mutant.file.trim_start_matches("src/").split(['/', '.']).next().unwrap_or_default();
        for row in [module, "together"] {
            counts.entry(row).or_default()[place as usize] += 1;
        }
        match place {
            Place::Alive => println!("alive: {name}"),
            Place::NotRun => println!("not run: {}", mutant.name),
            _ => {}
        }
    }
    accepted.iter().filter(|name| !needed.contains(*name)).for_each(|name| println!("not alive: {name}"));
    println!("{COLUMNS}");
    for (module, counts) in &counts {
        println!("| {module} | {} |", counts.map(|count| count.to_string()).join(" | "));
    }
    let unexplained: usize = counts.values().map(|counts| counts[Place::Alive as usize]).sum();
    if unexplained == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Without line and column, but with the line's text.
pub fn lasting_name(mutant: &Mutant, root: &Path) -> String {
    let source = read(&root.join(&mutant.file));
    let line = source.lines().nth(mutant.start.line - 1).unwrap_or_default().trim();
    let what = mutant.name.splitn(4, ':').nth(3).unwrap_or(&mutant.name).trim();
    format!("{}: {what}: {line}", mutant.file)
}
