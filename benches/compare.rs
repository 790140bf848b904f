//! The cost of every operation beside that of another library and that of its primitives, in one run:
//! `cargo bench --bench compare`. Prints a table of tab-separated values, nanoseconds for one operation.
//!
//! - *ours*: this crate, padding on as it is by default; bytes in, bytes out.
//! - *vodozemac*: its Olm sessions, version 2 of their format. Its own message types in and out: making bytes
//!   of them, and them of bytes, is not counted. `-` where it has no such case: it keeps the keys of 40
//!   skipped messages.
//! - *floor*: the primitives that the operation cannot do without, and nothing else (`floor/mod.rs`).
//!
//! | case | what is measured |
//! |---|---|
//! | `encrypt_N` | encrypting N bytes, one message after the other in one chain |
//! | `decrypt_N` | decrypting these, in order |
//! | `pingpong_256` | of a conversation of turns, one message: its encryption *and* its decryption |
//! | `handshake_initiate` | reading and verifying a bundle, starting a session, encrypting 256 bytes |
//! | `handshake_accept` | accepting the session with this first message, and decrypting it |
//! | `reverse_1000` | decrypting one of 1,000 messages of 256 bytes that arrive in reverse order |
//! | `encrypt_256_skipped_1000` | as `encrypt_256`, where 1,000 messages of the peer's have not arrived |
//! | `decrypt_256_skipped_1000` | as `decrypt_256`, where 1,000 earlier ones have not arrived |
//!
//! In `pingpong_256` both sides step the ratchet for every message. The handshakes use a one-time prekey, and
//! those of vodozemac have neither signatures to verify nor a KEM.
//!
//! How it is measured: `contest/mod.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark stops at what it did not expect, and prints what it found"
)]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use subrosa::{IdentityKeyPair, Session, UnixTime};
use vodozemac::olm::Account;

mod common;
mod contest;
mod floor;

use common::{MANY, Responder, SIZES, content, established, established_with_skipped, initiate, messages};
use contest::{
    BATCHES_PER_TURN, Case, Contender, OlmResponder, batch_of, decrypt, encrypt, floor_decrypt,
    floor_encrypt, in_order, message_len, olm_accept, olm_established, timed, timed_each,
};

/// How long the contenders take turns.
const TIME: Duration = Duration::from_secs(45);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let passed = |name: &str| arguments.iter().any(|argument| argument == name);
    // `cargo bench` passes `--bench`; without it, or with `--test`, this is a test that everything runs.
    let measure = passed("--bench") && !passed("--test");

    let mut cases = cases();
    if !measure {
        cases.iter_mut().for_each(|case| case.turn(1, 2));
        return;
    }
    let start = Instant::now();
    while start.elapsed() < TIME {
        cases.iter_mut().for_each(|case| case.turn(BATCHES_PER_TURN, case.batch));
    }
    println!("case\tours_ns\tvodozemac_ns\tfloor_ns\tours/vodozemac\tours/floor");
    cases.iter().for_each(|case| println!("{}", row(case)));
}

/// In the order of the table.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(SIZES.map(encrypt));
    cases.extend(SIZES.map(decrypt));
    cases.extend([
        pingpong(),
        handshake_initiate(),
        handshake_accept(),
        reverse(),
        encrypt_with_skipped(),
        decrypt_with_skipped(),
    ]);
    cases
}

fn pingpong() -> Case {
    let (mut alice, mut bob) = established();
    let (mut olm_alice, mut olm_bob) = olm_established();
    let mut floor = floor::PingPong::new(message_len(256));
    Case {
        name: "pingpong_256".into(),
        batch: 4,
        ours: Contender::new(move |count| {
            timed(count / 2, || {
                let message = bob.encrypt(content(256)).unwrap();
                black_box(alice.decrypt(&message).unwrap());
                let message = alice.encrypt(content(256)).unwrap();
                bob.decrypt(&message).unwrap()
            })
        }),
        vodozemac: Some(Contender::new(move |count| {
            timed(count / 2, || {
                let message = olm_bob.encrypt(content(256)).unwrap();
                black_box(olm_alice.decrypt(&message).unwrap());
                let message = olm_alice.encrypt(content(256)).unwrap();
                olm_bob.decrypt(&message).unwrap()
            })
        })),
        floor: Contender::new(move |count| timed(count, || floor.turn())),
    }
}

fn handshake_initiate() -> Case {
    let (identity, responder, now) = (IdentityKeyPair::generate(), Responder::new(), UnixTime::now());
    let (account, olm_responder) = (Account::new(), OlmResponder::new());
    let mut floor = floor::Handshake::new(message_len(256));
    Case {
        name: "handshake_initiate".into(),
        batch: 2,
        ours: Contender::new(move |count| timed(count, || initiate(&identity, &responder.bundle, now))),
        vodozemac: Some(Contender::new(move |count| timed(count, || olm_responder.initiate(&account)))),
        floor: Contender::new(move |count| timed(count, || floor.initiate())),
    }
}

fn handshake_accept() -> Case {
    let responder = Responder::new();
    let (_, message) = initiate(&IdentityKeyPair::generate(), &responder.bundle, UnixTime::now());
    let (account, olm_responder) = (Account::new(), OlmResponder::new());
    let (_, olm_message) = olm_responder.initiate(&account);
    let mut floor = floor::Handshake::new(message_len(256));
    Case {
        name: "handshake_accept".into(),
        batch: 2,
        ours: Contender::new(move |count| {
            let mut prekeys: Vec<_> = (0..count).map(|_| responder.prekeys()).collect();
            timed_each(&mut prekeys, |prekeys| {
                Session::accept(&responder.identity, prekeys, &message).unwrap()
            })
        }),
        vodozemac: Some(Contender::new(move |count| {
            let mut accounts: Vec<_> = (0..count).map(|_| olm_responder.account()).collect();
            timed_each(&mut accounts, |responder| {
                olm_accept(responder, account.curve25519_key(), &olm_message)
            })
        })),
        floor: Contender::new(move |count| timed(count, || floor.accept())),
    }
}

fn reverse() -> Case {
    let (mut alice, mut bob) = established();
    Case {
        name: format!("reverse_{MANY}"),
        batch: MANY,
        ours: Contender::new(move |count| {
            let messages = messages(&mut alice, content(256), count);
            timed_each(messages.iter().rev(), |message| bob.decrypt(message).unwrap())
        }),
        vodozemac: None,
        floor: floor_decrypt(256),
    }
}

fn encrypt_with_skipped() -> Case {
    let (_, mut bob) = established_with_skipped();
    Case {
        name: format!("encrypt_256_skipped_{MANY}"),
        batch: batch_of(256),
        ours: Contender::new(move |count| timed(count, || bob.encrypt(content(256)).unwrap())),
        vodozemac: None,
        floor: floor_encrypt(256),
    }
}

fn decrypt_with_skipped() -> Case {
    Case {
        name: format!("decrypt_256_skipped_{MANY}"),
        batch: batch_of(256),
        ours: in_order(established_with_skipped(), 256),
        vodozemac: None,
        floor: floor_decrypt(256),
    }
}

/// Of the table.
fn row(case: &Case) -> String {
    let (ours, floor) = (case.ours.nanoseconds, case.floor.nanoseconds);
    let (theirs, ratio) = match &case.vodozemac {
        Some(theirs) => (format!("{:.1}", theirs.nanoseconds), shown_ratio(ours / theirs.nanoseconds)),
        None => ("-".into(), "-".into()),
    };
    format!("{}\t{ours:.1}\t{theirs}\t{floor:.1}\t{ratio}\t{}", case.name, shown_ratio(ours / floor))
}

fn shown_ratio(ratio: f64) -> String {
    if ratio < 1.0 { format!("{ratio:.3}") } else { format!("{ratio:.2}") }
}
