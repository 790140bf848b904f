//! a28: does the time that a refusal takes tell where the input is wrong?
//!
//! The method is dudect's (Reparaz, Balasch, Verbauwhede 2017), by the crate `dudect-bencher`: two classes of inputs in
//! random order, Welch's t-test of their times, also with the slowest cut off, at a hundred places; the largest |t|
//! counts. Below 4.5 there is no evidence of a difference. Above 10 there is one, if it is so in most of the rounds:
//! each is a process of its own, with other keys and other addresses. Three rows are controls: one compares a class with
//! itself, two must be found different, or the machine is too noisy for the others to say anything.
//!
//! ```text
//! cargo run --release --manifest-path benches/timing/Cargo.toml -- [--rounds 5] [--scale 1] [part of a row's name]
//! ```
//! The table is for docs/TIMING.md. Fails if a row is not as it has to be.

mod refusals;
mod verdict;

use std::{
    env, io,
    process::{Command, ExitCode},
};

use dudect_bencher::ctbench::{BenchMetadata, BenchName, BenchOpts, run_benches_console};

use refusals::ROWS;
use verdict::{Row, Table};

/// Set for the processes that measure; how many samples, in per cent of what a row has.
pub const SCALE: &str = "SUBROSA_TIMING_SCALE";

fn main() -> io::Result<ExitCode> {
    let (mut rounds, mut scale, mut filter) = (5, 100.0, None);
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse::<f64>().ok()).unwrap_or(1.0);
        match &argument[..] {
            "--rounds" => rounds = number() as usize,
            "--scale" => scale = 100.0 * number(),
            _ => filter = Some(argument),
        }
    }
    if env::var_os(SCALE).is_some() {
        measure(filter)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table =
        Table::new(ROWS.iter().filter(|row| filter.as_ref().is_none_or(|part| row.name.contains(part))));
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        let mut measuring = Command::new(env::current_exe()?);
        let output = measuring.args(&filter).env(SCALE, scale.to_string()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            eprintln!("{text}{}", String::from_utf8_lossy(&output.stderr));
            return Err(io::Error::other("a round failed"));
        }
        table.add(&text);
    }
    print!("{table}");
    Ok(if table.is_as_it_has_to_be() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// In a process of its own.
fn measure(filter: Option<String>) -> io::Result<()> {
    let bench = |row: &Row| BenchMetadata { name: BenchName(row.name), seed: None, benchfn: row.run };
    let options = BenchOpts { filter, ..BenchOpts::default() };
    run_benches_console(options, ROWS.iter().map(bench).collect())
}
