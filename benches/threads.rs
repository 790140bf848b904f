//! Many sessions, spread over threads: `cargo bench --bench threads`. Prints how much faster each count of threads is than
//! one, for decrypting in order and for turns. A session is a value that one thread works on at a time: there is nothing
//! shared, no lock and no pool of the library's, so any executor will do.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark stops at what it did not expect, and prints what it found"
)]

use std::{
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use subrosa::Session;

mod common;

use common::{content, established, messages};

/// How many sessions there are: enough that none stays in a processor's first cache.
const SESSIONS: usize = 512;
/// How many messages each gets at once.
const MESSAGES: usize = 8;
/// Of how many rounds the fastest counts.
const ROUNDS: usize = 20;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let measure = arguments.iter().any(|argument| argument == "--bench");
    let (sessions, rounds) = if measure { (SESSIONS, ROUNDS) } else { (8, 1) };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut pairs: Vec<_> = (0..sessions).map(|_| established()).collect();
    println!("threads\tin order, messages/s\tfaster\tturns, messages/s\tfaster");
    let mut one = None;
    for threads in (1..=cores).filter(|threads| threads.is_power_of_two() || *threads == cores) {
        let rates = [in_order, turns].map(|work| {
            let count = sessions * MESSAGES;
            (0..rounds).map(|_| count as f64 / work(&mut pairs, threads).as_secs_f64()).fold(0.0, f64::max)
        });
        let [a, b] = *one.get_or_insert(rates);
        println!("{threads}\t{:.0}\t{:.2}\t{:.0}\t{:.2}", rates[0], rates[0] / a, rates[1], rates[1] / b);
    }
}

/// Decrypting what came for every session, in order.
fn in_order(pairs: &mut [(Session, Session)], threads: usize) -> Duration {
    let inbox: Vec<_> = pairs.iter_mut().map(|(alice, _)| messages(alice, content(256), MESSAGES)).collect();
    let mut work: Vec<_> = pairs.iter_mut().zip(&inbox).collect();
    spread(&mut work, threads, |((_, bob), inbox)| {
        inbox.iter().for_each(|message| drop(black_box(bob.decrypt(message).unwrap())));
    })
}

/// Encryption and decryption with a ratchet step for every message.
fn turns(pairs: &mut [(Session, Session)], threads: usize) -> Duration {
    spread(pairs, threads, |(alice, bob)| {
        for _ in 0..MESSAGES / 2 {
            let message = bob.encrypt(content(256)).unwrap();
            black_box(alice.decrypt(&message).unwrap());
            let message = alice.encrypt(content(256)).unwrap();
            black_box(bob.decrypt(&message).unwrap());
        }
    })
}

fn spread<T: Send>(items: &mut [T], threads: usize, work: impl Fn(&mut T) + Sync) -> Duration {
    let start = Instant::now();
    thread::scope(|scope| {
        for part in items.chunks_mut(items.len().div_ceil(threads)) {
            scope.spawn(|| part.iter_mut().for_each(&work));
        }
    });
    start.elapsed()
}
