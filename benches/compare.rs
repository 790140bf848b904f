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
//! The machine is taken to be noisy. All contenders take turns with short batches until the time is up, and
//! the cheapest batch of each counts: what disturbs a measurement makes it longer, never shorter.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark stops at what it did not expect, and prints what it found"
)]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use subrosa::{IdentityKeyPair, Session, UnixTime};
use vodozemac::{
    Curve25519PublicKey,
    olm::{
        Account, AccountPickle, InboundCreationResult, OlmMessage, PreKeyMessage, Session as OlmSession,
        SessionConfig,
    },
};

mod common;
mod floor;

use common::{MANY, Responder, SIZES, content, established, established_with_skipped, initiate, messages};

/// How long the contenders take turns.
const TIME: Duration = Duration::from_secs(45);

/// How many batches each runs when it is its turn. The first has to warm up the caches.
const BATCHES_PER_TURN: usize = 4;

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
    cases.iter().for_each(|case| println!("{}", case.row()));
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

fn encrypt(size: usize) -> Case {
    let content = content(size);
    let (mut alice, _) = established();
    let (mut olm_alice, _) = olm_established();
    Case {
        name: format!("encrypt_{size}"),
        batch: batch_of(size),
        ours: Contender::new(move |count| timed(count, || alice.encrypt(content).unwrap())),
        vodozemac: Some(Contender::new(move |count| timed(count, || olm_alice.encrypt(content).unwrap()))),
        floor: floor_encrypt(size),
    }
}

fn decrypt(size: usize) -> Case {
    let (mut olm_alice, mut olm_bob) = olm_established();
    Case {
        name: format!("decrypt_{size}"),
        batch: batch_of(size),
        ours: in_order(established(), size),
        vodozemac: Some(Contender::new(move |count| {
            let messages: Vec<_> = (0..count).map(|_| olm_alice.encrypt(content(size)).unwrap()).collect();
            timed_each(&messages, |message| olm_bob.decrypt(message).unwrap())
        })),
        floor: floor_decrypt(size),
    }
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

/// Decrypts what the first session encrypts.
fn in_order((mut alice, mut bob): (Session, Session), size: usize) -> Contender {
    Contender::new(move |count| {
        let messages = messages(&mut alice, content(size), count);
        timed_each(&messages, |message| bob.decrypt(message).unwrap())
    })
}

fn floor_encrypt(size: usize) -> Contender {
    let (mut chains, mut message) = (floor::Chains::default(), floor::Message::of_len(message_len(size)));
    Contender::new(move |count| timed(count, || chains.seal(&mut message)))
}

fn floor_decrypt(size: usize) -> Contender {
    let message_len = message_len(size);
    let (mut sender, mut receiver) = (floor::Chains::default(), floor::Chains::default());
    Contender::new(move |count| {
        let mut messages: Vec<_> = (0..count).map(|_| floor::Message::of_len(message_len)).collect();
        messages.iter_mut().for_each(|message| sender.seal(message));
        timed_each(&mut messages, |message| receiver.open(message))
    })
}

/// Length of an established session's message with content of this size.
fn message_len(size: usize) -> usize {
    let (mut alice, _) = established();
    alice.encrypt(content(size)).unwrap().len()
}

/// How many messages of this size make a batch: about a millisecond of ours, so that some go undisturbed.
fn batch_of(size: usize) -> usize {
    160 * 1024 / (size + 1024)
}

/// A responder with one one-time key, whose account can be restored after every handshake.
struct OlmResponder {
    identity_key: Curve25519PublicKey,
    one_time_key: Curve25519PublicKey,
    account: String,
}

/// The key that the account is stored under.
const OLM_STORAGE_KEY: [u8; 32] = [0; 32];

impl OlmResponder {
    fn new() -> Self {
        let mut account = Account::new();
        account.generate_one_time_keys(1);
        Self {
            identity_key: account.curve25519_key(),
            one_time_key: account.one_time_keys().into_values().next().unwrap(),
            account: account.pickle().encrypt(&OLM_STORAGE_KEY),
        }
    }

    /// The account as it was before any handshake.
    fn account(&self) -> Account {
        Account::from_pickle(AccountPickle::from_encrypted(&self.account, &OLM_STORAGE_KEY).unwrap())
    }

    /// What an initiator does: starts a session, encrypts the first message.
    fn initiate(&self, initiator: &Account) -> (OlmSession, PreKeyMessage) {
        let mut session = initiator
            .create_outbound_session(SessionConfig::version_2(), self.identity_key, self.one_time_key)
            .unwrap();
        match session.encrypt(content(256)).unwrap() {
            OlmMessage::PreKey(message) => (session, message),
            OlmMessage::Normal(_) => panic!("the first message starts the session"),
        }
    }
}

fn olm_accept(
    responder: &mut Account,
    initiator: Curve25519PublicKey,
    message: &PreKeyMessage,
) -> InboundCreationResult {
    responder.create_inbound_session(SessionConfig::version_2(), initiator, message).unwrap()
}

/// The same as [`established`].
fn olm_established() -> (OlmSession, OlmSession) {
    let (account, responder) = (Account::new(), OlmResponder::new());
    let (mut alice, initial) = responder.initiate(&account);
    let mut bob = olm_accept(&mut responder.account(), account.curve25519_key(), &initial).session;
    let answer = bob.encrypt(content(256)).unwrap();
    alice.decrypt(&answer).unwrap();
    let message = alice.encrypt(content(256)).unwrap();
    bob.decrypt(&message).unwrap();
    (alice, bob)
}

/// A row of the table.
struct Case {
    name: String,
    /// How many operations make a batch.
    batch: usize,
    ours: Contender,
    vodozemac: Option<Contender>,
    floor: Contender,
}

impl Case {
    /// Lets every contender run that many batches.
    fn turn(&mut self, batches: usize, batch: usize) {
        for contender in [Some(&mut self.ours), self.vodozemac.as_mut(), Some(&mut self.floor)] {
            contender.into_iter().for_each(|contender| contender.turn(batches, batch));
        }
    }

    fn row(&self) -> String {
        let (ours, floor) = (self.ours.nanoseconds, self.floor.nanoseconds);
        let (theirs, ratio) = match &self.vodozemac {
            Some(theirs) => (format!("{:.1}", theirs.nanoseconds), shown_ratio(ours / theirs.nanoseconds)),
            None => ("-".into(), "-".into()),
        };
        format!("{}\t{ours:.1}\t{theirs}\t{floor:.1}\t{ratio}\t{}", self.name, shown_ratio(ours / floor))
    }
}

fn shown_ratio(ratio: f64) -> String {
    if ratio < 1.0 { format!("{ratio:.3}") } else { format!("{ratio:.2}") }
}

/// One way to do the operation of a case, and the least that it has taken.
struct Contender {
    /// Runs that many operations; how long they took, without what had to be made ready for them.
    run: Box<dyn FnMut(usize) -> Duration>,
    /// For one operation: the mean of the fastest batch so far.
    nanoseconds: f64,
}

impl Contender {
    fn new(run: impl FnMut(usize) -> Duration + 'static) -> Self {
        Self { run: Box::new(run), nanoseconds: f64::INFINITY }
    }

    fn turn(&mut self, batches: usize, batch: usize) {
        for _ in 0..batches {
            let mean = (self.run)(batch).as_secs_f64() * 1e9 / batch as f64;
            self.nanoseconds = self.nanoseconds.min(mean);
        }
    }
}

/// Time for that many operations.
fn timed<T>(count: usize, mut operation: impl FnMut() -> T) -> Duration {
    timed_each(0..count, |_| operation())
}

/// Time for an operation on each input.
fn timed_each<I: IntoIterator, T>(inputs: I, mut operation: impl FnMut(I::Item) -> T) -> Duration {
    let start = Instant::now();
    for input in inputs {
        black_box(operation(input));
    }
    start.elapsed()
}
