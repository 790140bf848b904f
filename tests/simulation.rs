//! Long conversations over a network that loses, duplicates, delays, reorders and corrupts. Seeds are fixed and
//! printed when something fails.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that panics is a test that fails"
)]

use rand::{Rng, RngExt};
use subrosa::{Error, Session};

mod common;
use common::{Pair, exchange, seeded, state, storage_key};

/// How bad the network and the devices are, in parts of 1,000.
#[derive(Clone, Copy, Debug)]
struct Weather {
    lost: u32,
    duplicated: u32,
    corrupted: u32,
    /// The longest delay, in ticks. A tick is one message sent.
    delay: usize,
    /// How many messages in a row come from one side, at most.
    burst: usize,
    /// Of 1,000 messages sent by Alice or Bob, how many are Alice's.
    balance: u32,
    restarted: u32,
}

struct Flight {
    due: usize,
    to: usize,
    /// Index of the message, or none for a corrupted copy.
    genuine: Option<usize>,
    bytes: Vec<u8>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    delivered: usize,
    lost: usize,
    duplicates: usize,
    late: usize,
    corrupted: usize,
}

/// Sends `count` messages and delivers what the network lets through; checks every outcome.
fn simulate(seed: u64, count: usize, weather: Weather) -> Tally {
    let mut rng = seeded(seed);
    let (alice, bob) = Pair::new(seed, 1).established();
    let mut peers = [alice, bob];
    let mut flights: Vec<Flight> = Vec::new();
    let mut sent: Vec<Vec<u8>> = Vec::with_capacity(count);
    let mut seen = vec![false; count];
    let mut tally = Tally::default();
    let (mut from, mut burst) = (0, 0);
    for tick in 0..count + weather.delay + 1 {
        if sent.len() < count {
            if burst == 0 {
                from = usize::from(rng.random_range(0..1000) >= weather.balance);
                burst = rng.random_range(1..=weather.burst);
            }
            burst -= 1;
            let mut content = vec![0; rng.random_range(0..80)];
            rng.fill_bytes(&mut content);
            let bytes = peers[from].encrypt(&content).unwrap();
            let index = sent.len();
            sent.push(content);
            let copies = match rng.random_range(0..1000) {
                roll if roll < weather.lost => 0,
                roll if roll < weather.lost + weather.duplicated => 2,
                _ => 1,
            };
            tally.lost += usize::from(copies == 0);
            if rng.random_range(0..1000) < weather.corrupted {
                let mut bytes = bytes.clone();
                let position = rng.random_range(0..bytes.len());
                bytes[position] ^= 1 << rng.random_range(0..8);
                if rng.random_range(0..4) == 0 {
                    bytes.truncate(rng.random_range(0..bytes.len()));
                }
                flights.push(Flight {
                    due: tick + rng.random_range(0..=weather.delay),
                    to: 1 - from,
                    genuine: None,
                    bytes,
                });
            }
            for _ in 0..copies {
                let due = tick + rng.random_range(0..=weather.delay);
                flights.push(Flight { due, to: 1 - from, genuine: Some(index), bytes: bytes.clone() });
            }
        }
        if rng.random_range(0..1000) < weather.restarted {
            let side = rng.random_range(0..2);
            let key = storage_key();
            peers[side] = if rng.random_range(0..2) == 0 {
                Session::open(&key, &peers[side].seal(&key)).unwrap()
            } else {
                Session::open_halves(&key, &peers[side].seal_hot(&key), &peers[side].seal_cold(&key)).unwrap()
            };
        }
        let (arriving, rest) = flights.into_iter().partition(|flight| flight.due <= tick);
        flights = rest;
        for flight in arriving {
            let flight: Flight = flight;
            let peer = &mut peers[flight.to];
            let compare = rng.random_range(0..100) == 0;
            let before = compare.then(|| state(peer));
            let result = peer.decrypt(&flight.bytes);
            if let (Some(before), Err(_)) = (before, &result) {
                assert_eq!(state(peer), before, "a refused message changed the state");
            }
            match (flight.genuine, result) {
                (None, Err(error)) => {
                    assert!(
                        matches!(
                            error,
                            Error::Malformed | Error::UnsupportedVersion | Error::UnknownSession | Error::Unauthentic
                                // The header is whole, and its message has been received already.
                                | Error::Duplicate | Error::TooOld
                        ),
                        "{error:?}"
                    );
                    tally.corrupted += 1;
                }
                (None, Ok(_)) => panic!("a corrupted message was accepted"),
                (Some(index), Ok(content)) => {
                    assert!(!seen[index], "message {index} was delivered twice");
                    assert_eq!(content, sent[index]);
                    seen[index] = true;
                    tally.delivered += 1;
                }
                (Some(index), Err(error)) if seen[index] => {
                    assert!(
                        matches!(error, Error::Duplicate | Error::UnknownSession | Error::TooOld),
                        "duplicate {index}: {error:?}"
                    );
                    tally.duplicates += 1;
                }
                (Some(index), Err(error)) => {
                    // Genuine, for the first time, and refused: only when its key had to go.
                    assert!(
                        matches!(error, Error::TooOld | Error::UnknownSession),
                        "message {index}: {error:?}"
                    );
                    seen[index] = true;
                    tally.late += 1;
                }
            }
        }
    }
    assert!(flights.is_empty());
    let arrived = seen.iter().filter(|seen| **seen).count();
    assert_eq!(arrived + tally.lost, count, "every message was lost by the network or accounted for");
    let [alice, bob] = &mut peers;
    exchange(alice, bob, b"still talking");
    exchange(bob, alice, b"still talking");
    exchange(alice, bob, b"still talking");
    tally
}

fn run(seed: u64, count: usize, weather: Weather) -> Tally {
    let result = std::panic::catch_unwind(|| simulate(seed, count, weather));
    result.unwrap_or_else(|panic| {
        eprintln!("seed {seed}, {count} messages, {weather:?}");
        std::panic::resume_unwind(panic)
    })
}

const MIXED: Weather =
    Weather { lost: 50, duplicated: 50, corrupted: 50, delay: 30, burst: 12, balance: 500, restarted: 5 };

/// A hundred thousand messages: everything the network delivers is read, once.
#[test]
fn a_hundred_thousand_messages() {
    let tally = run(100_000, 100_000, MIXED);
    assert_eq!(tally.late, 0, "{tally:?}");
    assert!(tally.delivered > 94_000 && tally.duplicates > 4_000 && tally.corrupted > 4_000, "{tally:?}");
}

#[test]
fn strict_alternation() {
    let tally = run(1, 5_000, Weather { burst: 1, delay: 3, lost: 0, ..MIXED });
    assert_eq!((tally.late, tally.delivered), (0, 5_000), "{tally:?}");
}

#[test]
fn half_of_everything_is_lost() {
    let tally = run(2, 20_000, Weather { lost: 500, ..MIXED });
    assert_eq!(tally.late, 0, "{tally:?}");
}

#[test]
fn one_sided_for_long() {
    let tally = run(3, 20_000, Weather { balance: 990, burst: 100, delay: 500, ..MIXED });
    assert_eq!(tally.late, 0, "{tally:?}");
}

#[test]
fn never_answered() {
    let tally = run(4, 10_000, Weather { balance: 1_000, delay: 300, ..MIXED });
    assert_eq!(tally.late, 0, "{tally:?}");
}

/// Restarts every few messages: incarnations come and go, and none is taken for a rollback.
#[test]
fn constant_restarts() {
    let tally = run(5, 5_000, Weather { restarted: 500, ..MIXED });
    assert_eq!(tally.late, 0, "{tally:?}");
}

/// Delays beyond what keys are kept for: what comes too late is reported as that, and nothing else goes wrong.
#[test]
fn delays_beyond_all_limits() {
    let tally = run(6, 15_000, Weather { delay: 12_000, burst: 4, ..MIXED });
    assert!(tally.late > 500 && tally.delivered > 500, "{tally:?}");
}

#[test]
fn many_short_conversations() {
    for seed in 1_000..1_060 {
        let weather = Weather {
            burst: 1 + (seed as usize) % 7,
            delay: (seed as usize * 7) % 50,
            lost: (seed as u32 * 13) % 400,
            balance: 100 + (seed as u32 * 31) % 800,
            ..MIXED
        };
        let tally = run(seed, 300, weather);
        // Few turns in a delay: nothing can be too late.
        assert!(tally.delivered > 50, "{tally:?}");
    }
}
