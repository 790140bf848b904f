//! Model against implementation: a slow reference of the session layer in `reference/`, written from `docs/SPEC.md` alone,
//! and the crate, side by side with the same randomness. Bytes are equal, contents are equal, errors are equal.
//!
//! To read the protocol in code, read `reference/` in this order. It shares nothing with `src/`, keeps everything in plain
//! vectors and maps, wipes nothing, and copies a whole session before each message, to throw the copy away if it fails.
//!
//! | file | `docs/SPEC.md` |
//! |---|---|
//! | `primitives.rs` | 1 to 3: notation, primitives, labels |
//! | `prekeys.rs` | 4, 5: identities, prekeys, bundles |
//! | `encoding.rs` | 6: messages on the wire, padding |
//! | `handshake.rs` | 7 |
//! | `chain.rs`, `ec.rs`, `pq.rs`, `braid.rs`, `kem.rs`, `erasure.rs` | 8.1 to 8.6, and 10 where a ratchet receives |
//! | `session.rs` | 9 to 11: sending, receiving, which session is sent on |
//! | `notes.rs` | what happened, for the tests |
//!
//! `lockstep/` drives both: `world.rs` and `keys.rs` run every operation twice and compare, `schedule.rs` draws what people and
//! network do, `hostile.rs` is a peer that breaks the rules. Where chance does not go: `bundles.rs`, `beginnings.rs`, `numbers.rs`,
//! `stores.rs`, `bodies.rs`. In `vectors.rs` the reference alone replays the frozen transcripts.
//!
//! Not driven: the ends of the u32 counters, which no test reaches by sending.
//!
//! | variable | |
//! |---|---|
//! | `SUBROSA_TEST_SCHEDULES` | how many random schedules: 14 unless set |
//! | `SUBROSA_TEST_SEED` | the seed of the first one, 0 unless set; a schedule that fails prints its own |
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    reason = "a test that panics is a test that fails"
)]

#[path = "reference"]
mod reference {
    pub mod braid;
    pub mod chain;
    pub mod ec;
    pub mod encoding;
    pub mod erasure;
    pub mod handshake;
    pub mod kem;
    pub mod notes;
    pub mod pq;
    pub mod prekeys;
    pub mod primitives;
    pub mod session;
}

#[path = "lockstep"]
mod lockstep {
    mod beginnings;
    mod bodies;
    mod bundles;
    mod hostile;
    mod keys;
    mod numbers;
    mod pair;
    pub mod schedule;
    mod stores;
    mod vectors;
    pub mod world;
}

use lockstep::{
    schedule::{self, Weather},
    world::World,
};
use reference::notes::Tally;

const CALM: Weather = Weather {
    burst: 3,
    lost: 20,
    duplicated: 20,
    delay: 2,
    late: 0,
    corrupted: 20,
    restarted: 10,
    rolled_back: 0,
    hostile: 0,
    begun: 10,
    balance: 500,
};

const WEATHERS: [(&str, Weather); 7] = [
    ("calm", CALM),
    ("in turn", Weather { burst: 1, delay: 0, lost: 0, begun: 0, ..CALM }),
    ("storm", Weather { lost: 200, duplicated: 100, delay: 20, late: 20, corrupted: 200, burst: 8, ..CALM }),
    ("one-sided", Weather { balance: 950, burst: 30, delay: 60, restarted: 100, begun: 2, ..CALM }),
    ("rolled back", Weather { rolled_back: 150, restarted: 30, begun: 20, ..CALM }),
    ("hostile", Weather { hostile: 300, late: 10, begun: 20, ..CALM }),
    ("beginnings", Weather { begun: 200, corrupted: 60, delay: 6, hostile: 50, ..CALM }),
];

/// What random schedules come to, each at least once.
const HAPPENS: &[&str] = &[
    "EC turn",
    "PQ epoch",
    "a message of an epoch before the newest two is read",
    "a run is longer than what is kept of it",
    "a session does not yield",
    "a session yields",
    "a signed prekey is replaced",
    "a skipped EC key is used",
    "a skipped PQ key is used",
    "a stream begins anew",
    "a value is recovered from other codewords than its chunks",
    "an EC key is evicted",
    "the rest of a chain is abandoned",
    "accept",
    "accept: Malformed",
    "accept: Replayed",
    "accept: Unauthentic",
    "accept: UnknownPreKey",
    "accept: UnknownSession",
    "bundle: InvalidKey",
    "bundle: InvalidSignature",
    "bundle: Malformed",
    "decrypt",
    "decrypt: Duplicate",
    "decrypt: InvalidKey",
    "decrypt: Malformed",
    "decrypt: PeerRolledBack",
    "decrypt: TooFarAhead",
    "decrypt: TooOld",
    "decrypt: Unauthentic",
    "decrypt: UnknownSession",
    "decrypt: UnsupportedVersion",
    "initiate",
    "initiate: PayloadTooLong",
    "hostile",
    "reopen",
    "rollback",
    "transition 1",
    "transition 2",
    "transition 3",
    "transition 4",
    "transition 5",
    "transition 6",
    "transition 7",
    "transition 8",
    "transition 9",
    "transition 10",
    "transition 11",
    "transition 12",
    "transition 13",
];

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn random_schedules() {
    let first = variable("SUBROSA_TEST_SEED").unwrap_or(14);
    let schedules = variable("SUBROSA_TEST_SCHEDULES").unwrap_or(14);
    let mut all = Tally::new();
    for seed in first..first + schedules {
        let (name, weather) = WEATHERS[seed as usize % WEATHERS.len()];
        let tally = World::new(seed, 3, 4).run(name, seed, |world| schedule::run(world, weather, 300));
        for (what, count) in tally {
            *all.entry(what).or_default() += count;
        }
    }
    for (what, count) in &all {
        eprintln!("{count:9} {what}");
    }
    let missing: Vec<_> = HAPPENS.iter().filter(|what| !all.contains_key(**what)).collect();
    assert!(missing.is_empty() || schedules < 14, "does not happen any more: {missing:?}");
}
