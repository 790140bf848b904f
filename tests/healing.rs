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

/// Messages per PQ epoch over 40 epochs, with texts of 40 bytes; and the longest sealed hot state on the way.
fn messages_per_epoch(padding: Padding, loss: f64, pattern: Pattern) -> (f64, usize) {
    let mut rng = seeded(1);
    let (mut alice, mut bob) = Pair::new(1, 1).established();
    alice.set_padding(padding);
    bob.set_padding(padding);
    let mut sides = [alice, bob];
    let (mut sent, mut hot) = (0, 0);
    let before = sides[0].pq_epoch();
    let mut cold = sides.each_ref().map(Session::cold_generation);
    let mut cold_writes = 0;
    while sides.iter().any(|side| side.pq_epoch() < before + 40) {
        let from = pattern(&mut rng, sent);
        let message = sides[from].encrypt_with_rng(&[b'x'; 40], &mut rng).unwrap();
        sent += 1;
        if !rng.random_bool(loss) {
            sides[1 - from].decrypt(&message).unwrap();
        }
        hot = hot.max(sides.iter().map(|side| side.seal_hot(&storage_key()).len()).max().unwrap());
        for (side, generation) in sides.iter().zip(&mut cold) {
            cold_writes += u32::from(side.cold_generation() != *generation);
            *generation = side.cold_generation();
        }
        assert!(sent < 20_000, "no progress");
    }
    assert!(loss > 0.0 || cold_writes == 0, "the cold half changes only if a message is missing");
    (sent as f64 / 40.0, hot)
}

#[test]
fn an_epoch_takes_so_many_messages() {
    let in_turn: Pattern = |_, sent| sent % 2;
    let bursts_of_five: Pattern = |_, sent| sent / 5 % 2;
    let at_random: Pattern = |rng, _| rng.random_range(0..2);
    let ten_to_one: Pattern = |_, sent| usize::from(sent % 11 == 10);
    for (name, padding, loss, pattern, at_most) in [
        ("in turn", Padding::Buckets, 0.0, in_turn, 16.0),
        ("in turn, 20 % lost", Padding::Buckets, 0.2, in_turn, 22.0),
        ("in turn, 50 % lost", Padding::Buckets, 0.5, in_turn, 50.0),
        ("bursts of five", Padding::Buckets, 0.0, bursts_of_five, 36.0),
        ("at random", Padding::Buckets, 0.0, at_random, 22.0),
        ("ten to one", Padding::Buckets, 0.0, ten_to_one, 80.0),
        ("in turn, not padded", Padding::None, 0.0, in_turn, 92.0),
    ] {
        let (messages, hot) = messages_per_epoch(padding, loss, pattern);
        assert!(messages <= at_most, "{name}: {messages:.1} messages an epoch");
        assert!(hot <= 4096, "{name}: sealed hot state of {hot} bytes");
    }
}
