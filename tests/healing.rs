//! How fast the PQ ratchet renews a session, and what that costs: the figures of the README.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

use chacha20::ChaCha20Rng;
use rand::RngExt;
use subrosa::{Padding, Session};

mod common;
use common::{Pair, seeded, storage_key};

/// Who sends next: 0 for Alice.
type Pattern = fn(&mut ChaCha20Rng, usize) -> usize;

fn two(seed: u64, padding: Padding) -> [Session; 2] {
    let (mut alice, mut bob) = Pair::new(seed, 1).established();
    alice.set_padding(padding);
    bob.set_padding(padding);
    [alice, bob]
}

/// Messages per PQ epoch over 40 epochs, with texts of so many bytes.
fn messages_per_epoch(seed: u64, padding: Padding, len: usize, loss: f64, pattern: Pattern) -> f64 {
    let mut rng = seeded(seed);
    let mut sides = two(seed, padding);
    let mut sent = 0;
    let before = sides[0].pq_epoch();
    let mut cold = sides.each_ref().map(Session::cold_generation);
    let mut cold_writes = 0;
    while sides.iter().any(|side| side.pq_epoch() < before + 40) {
        let from = pattern(&mut rng, sent);
        let message = sides[from].encrypt_with_rng(&vec![b'x'; len], &mut rng).unwrap();
        sent += 1;
        if !rng.random_bool(loss) {
            sides[1 - from].decrypt(&message).unwrap();
        }
        for (side, generation) in sides.iter().zip(&mut cold) {
            cold_writes += u32::from(side.cold_generation() != *generation);
            *generation = side.cold_generation();
        }
        assert!(sent < 20_000, "no progress");
    }
    assert!(loss > 0.0 || cold_writes == 0, "the cold half changes only if a message is missing");
    sent as f64 / 40.0
}

#[test]
fn an_epoch_takes_so_many_messages() {
    let in_turn: Pattern = |_, sent| sent % 2;
    let bursts_of_five: Pattern = |_, sent| sent / 5 % 2;
    let at_random: Pattern = |rng, _| rng.random_range(0..2);
    let ten_to_one: Pattern = |_, sent| usize::from(sent % 11 == 10);
    // What a device's message has in it besides the text: claims, an acknowledgement, the head of the body, no attachments.
    let device = 42 + 12 + 29 + 1;
    // Of what is not drawn, exactly so many; of the rest an average of four runs.
    for (name, padding, len, loss, pattern, expected, off) in [
        ("in turn", Padding::Buckets, 40, 0.0, in_turn, 14.95, 0.01),
        ("in turn, 20 % lost", Padding::Buckets, 40, 0.2, in_turn, 20.5, 0.5),
        ("in turn, 50 % lost", Padding::Buckets, 40, 0.5, in_turn, 42.0, 3.0),
        ("bursts of five", Padding::Buckets, 40, 0.0, bursts_of_five, 34.65, 0.01),
        ("at random", Padding::Buckets, 40, 0.0, at_random, 21.0, 0.5),
        ("ten to one", Padding::Buckets, 40, 0.0, ten_to_one, 76.725, 0.01),
        ("in turn, not padded", Padding::None, 40, 0.0, in_turn, 86.85, 0.01),
        ("of devices, 31 bytes", Padding::Buckets, device + 31, 0.0, in_turn, 22.95, 0.01),
        ("of devices, 40 bytes", Padding::Buckets, device + 40, 0.0, in_turn, 28.95, 0.01),
        ("of devices, 99 bytes", Padding::Buckets, device + 99, 0.0, in_turn, 44.9, 0.01),
        ("of devices, 133 bytes", Padding::Buckets, device + 133, 0.0, in_turn, 86.85, 0.01),
        ("of devices, 134 bytes", Padding::Buckets, device + 134, 0.0, in_turn, 12.95, 0.01),
    ] {
        let is_drawn = loss > 0.0 || name == "at random";
        let runs = if is_drawn { 4 } else { 1 };
        let sum: f64 = (1..=runs).map(|seed| messages_per_epoch(seed, padding, len, loss, pattern)).sum();
        let messages = sum / runs as f64;
        assert!((messages - expected).abs() <= off, "{name}: {messages:.2} messages an epoch");
    }
}

/// As long as the peer keeps to the rules: with and without padding, in turns and in long chains, with everything arriving
/// and with a third lost, and with a restart before every message, which fills what is remembered of restarts.
#[test]
fn the_hot_half_stays_small() {
    let key = storage_key();
    let mut largest = 0;
    for padding in [Padding::None, Padding::Buckets] {
        for (burst, loss) in [(1, 0.0), (1, 0.3), (5, 0.3), (18, 0.3)] {
            let mut rng = seeded(3);
            let mut sides = two(3, padding);
            for sent in 0..1_000 {
                let from = sent / burst % 2;
                sides[from] = Session::open(&key, &sides[from].seal(&key)).unwrap();
                let message = sides[from].encrypt_with_rng(&[b'x'; 40], &mut rng).unwrap();
                if !rng.random_bool(loss) {
                    sides[1 - from].decrypt(&message).unwrap();
                }
                largest = sides.iter().fold(largest, |largest, side| largest.max(side.seal_hot(&key).len()));
            }
            assert!(sides[0].pq_epoch() > 1, "{padding:?}, {burst}, {loss}");
        }
    }
    assert!((2_000..=2_200).contains(&largest), "{largest} bytes");
}
