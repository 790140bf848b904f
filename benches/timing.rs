//! a28: does the time that a refused message takes tell where it is wrong?
//!
//! `cargo bench --bench timing`. Two classes of forged messages are refused in random order; Welch's t-test compares
//! their times after the slowest tenth has been cut off (the method of dudect, Reparaz, Balasch, Verbauwhede 2017).
//! |t| below 4.5 is no evidence of a difference; far above 10 is a leak, or a machine that was not quiet. The first row
//! compares a class with itself, as a measure of the machine; the last compares what may differ (header and body).
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench that panics or prints is what is wanted"
)]

use std::{hint::black_box, time::Instant};

use chacha20::ChaCha20Rng;
use rand::{RngExt, SeedableRng};
use subrosa::{IdentityKeyPair, PreKeys, Session, UnixTime};

/// Refusals per class and row.
const SAMPLES: usize = 100_000;

fn main() {
    let samples = if std::env::args().any(|argument| argument == "--test") { 100 } else { SAMPLES };
    let now = UnixTime::now();
    let (alice, bob) = (IdentityKeyPair::generate(), IdentityKeyPair::generate());
    let mut prekeys = PreKeys::generate(&bob, 1, now);
    let bundle = prekeys.bundle().verify(now).unwrap();
    let mut to_bob = Session::initiate(&alice, &bundle).unwrap();
    let first = to_bob.encrypt(b"first").unwrap();
    let (mut to_alice, _) = Session::accept(&bob, &mut prekeys, &first).unwrap();
    to_bob.decrypt(&to_alice.encrypt(b"reply").unwrap()).unwrap();

    let message = to_bob.encrypt(&[7; 200]).unwrap();
    let flipped = |position: usize| {
        let mut forged = message.clone();
        forged[position] ^= 0x10;
        forged
    };
    let end = message.len() - 24;
    println!("row\tt");
    for (row, a, b) in [
        ("header, the same byte", 20, 20),
        ("header, first and last byte of the ciphertext", 1, 52),
        ("header, first and last byte of the tag", 53, 68),
        ("body, first and last byte in front of the nonce", 69, end - 1),
        ("nonce, first and last byte", end, message.len() - 1),
        ("(header and body: may differ)", 1, 69),
    ] {
        let t = welch(&mut to_alice, [&flipped(a), &flipped(b)], samples);
        println!("{row}\t{t:.1}");
    }
}

/// t of the times that two forged messages take to be refused.
fn welch(session: &mut Session, forged: [&[u8]; 2], samples: usize) -> f64 {
    let mut rng = ChaCha20Rng::seed_from_u64(28);
    let mut times = [Vec::with_capacity(samples), Vec::with_capacity(samples)];
    let mut buffer = forged[0].to_vec();
    while times.iter().any(|times| times.len() < samples) {
        let class = rng.random_range(0..2usize);
        // One buffer, and both sources read, so that neither address nor cache tells the classes apart.
        let mask = black_box((class as u8).wrapping_neg());
        for ((to, a), b) in buffer.iter_mut().zip(forged[0]).zip(forged[1]) {
            *to = (a & !mask) | (b & mask);
        }
        let start = Instant::now();
        let refused = session.decrypt(black_box(&buffer));
        let time = start.elapsed().as_nanos();
        assert!(black_box(refused).is_err());
        times[class].push(time as f64);
    }
    let mut all = times.concat();
    all.sort_by(f64::total_cmp);
    let cut = all[all.len() * 9 / 10];
    let [a, b] = times.map(|times| {
        let kept: Vec<f64> = times.into_iter().filter(|time| *time <= cut).collect();
        let count = kept.len() as f64;
        let mean = kept.iter().sum::<f64>() / count;
        let variance = kept.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    });
    (a.0 - b.0) / (a.1 + b.1).sqrt()
}
