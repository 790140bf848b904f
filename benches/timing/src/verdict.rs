//! What the rounds say.

use std::fmt;

use dudect_bencher::{BenchRng, CtRunner};

/// No evidence of a difference below this.
const SUSPICIOUS: f64 = 4.5;
/// A difference above this.
const DIFFERENT: f64 = 10.0;

/// Two classes of inputs.
pub struct Row {
    pub name: &'static str,
    /// What the classes are.
    pub classes: [&'static str; 2],
    pub must: Must,
    pub run: fn(&mut CtRunner, &mut BenchRng),
}

#[derive(Clone, Copy, PartialEq)]
pub enum Must {
    /// Take the same time.
    BeAlike,
    /// Be found different: a control.
    Differ,
}

/// The t of every round.
pub struct Table<'a>(Vec<(&'a Row, Vec<Measured>)>);

#[derive(Clone, Copy)]
struct Measured {
    t: f64,
    samples: f64,
}

impl<'a> Table<'a> {
    pub fn new(rows: impl Iterator<Item = &'a Row>) -> Self {
        Self(rows.map(|row| (row, Vec::new())).collect())
    }

    /// Reads what dudect-bencher prints, as it gives its result in no other way:
    /// `bench NAME ... : n == +0.200M, max t = -1.23456, max tau = ...`.
    pub fn add(&mut self, output: &str) {
        for line in output.lines() {
            let Some((bench, result)) = line.split_once(" ... : ") else { continue };
            let name = bench.trim_start_matches("bench ").trim();
            let number = |label: &str, end: &str| {
                let rest = result.split_once(label)?.1;
                rest.split_once(end)?.0.trim().parse::<f64>().ok()
            };
            let (Some(t), Some(millions)) = (number("max t =", ","), number("n ==", "M,")) else { continue };
            let row = self.0.iter_mut().find(|(row, _)| row.name == name);
            row.into_iter().for_each(|(_, rounds)| rounds.push(Measured { t, samples: millions * 1e6 }));
        }
    }

    pub fn is_as_it_has_to_be(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|(row, rounds)| verdict(row, rounds).is_ok())
    }
}

/// What is said of a row, and whether it may be so.
fn verdict(row: &Row, rounds: &[Measured]) -> Result<&'static str, &'static str> {
    let mut all: Vec<_> = rounds.iter().map(|measured| measured.t.abs()).collect();
    all.sort_by(f64::total_cmp);
    match (all.get(all.len() / 2), row.must) {
        (None, _) => Err("**not measured**"),
        (Some(t), Must::Differ) if *t > DIFFERENT => Ok("found different, as it must be"),
        (Some(_), Must::Differ) => Err("**not found different**: too noisy"),
        (Some(t), Must::BeAlike) if *t <= SUSPICIOUS => Ok("no difference found"),
        (Some(t), Must::BeAlike) if *t <= DIFFERENT => Ok("no clear difference"),
        (Some(_), Must::BeAlike) => Err("**different**"),
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| row | classes | samples a round | t of each round | |")?;
        writeln!(f, "|---|---|---|---|---|")?;
        for (row, rounds) in &self.0 {
            let samples = rounds.iter().map(|measured| measured.samples).fold(0.0, f64::max);
            let t: Vec<_> = rounds.iter().map(|measured| format!("{:.1}", measured.t)).collect();
            let (Ok(verdict) | Err(verdict)) = verdict(row, rounds);
            let [a, b] = row.classes;
            writeln!(f, "| `{}` | {a}; {b} | {samples:.0} | {} | {verdict} |", row.name, t.join(", "))?;
        }
        Ok(())
    }
}
