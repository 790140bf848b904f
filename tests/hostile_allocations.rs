//! a25: no input makes a call take more of the heap at once than four times its own length and 256 KiB. In a process of its
//! own: the allocator counts.
//!
//! Each call that takes bytes from outside is given what a stranger may make out of genuine ones (`forgeries`), and
//! what a malicious peer may have authenticated. What is counted is what its thread takes above what there was when it
//! began, with what it returns; not what C takes (SQLite, AWS-LC). What each function took at most is printed:
//! `cargo test --test hostile_allocations -- --nocapture`.
//!
//! Two kinds of calls take more, by design, and have bounds of their own: a device that has to do with many records at
//! once (`devices`), and keys out of passphrases (`passphrases`).
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that panics is a test that fails"
)]

#[path = "hostile_allocations/attachments.rs"]
#[cfg(feature = "attachments")]
mod attachments;
mod common;
#[path = "hostile_allocations/devices.rs"]
mod devices;
#[path = "hostile_allocations/forgeries.rs"]
mod forgeries;
#[path = "hostile_allocations/passphrases.rs"]
mod passphrases;
#[path = "hostile_allocations/phone.rs"]
mod phone;
#[path = "hostile_allocations/values.rs"]
mod values;

use allocation_counter::measure;
use subrosa::{IdentityKeyPair, PreKeys, Session};

use common::{Pair, exchange, seeded, storage_key};
use forgeries::forgeries;

/// What a call may take besides, in bytes. (With `rayon` a reader of attachments has 14 chunks in memory.)
const FIXED: u64 = if cfg!(feature = "rayon") { 1024 * 1024 } else { 256 * 1024 };
/// What it may take for each byte that it is given.
const FACTOR: u64 = 4;
/// And how often as much it may take in all, one piece after the other.
const CHURN: u64 = 4;

/// Counts what the calls of one function take.
struct Meter {
    name: &'static str,
    calls: u32,
    /// The largest that has been seen: bytes taken at once, for how many given.
    most: (u64, usize),
}

impl Meter {
    fn new(name: &'static str) -> Self {
        Self { name, calls: 0, most: (0, 0) }
    }

    /// Makes a call that is given so many bytes.
    fn check<T>(&mut self, given: usize, call: impl FnOnce() -> T) {
        self.check_after(|| {
            drop(call());
            given
        });
    }

    /// Makes a call that tells afterwards how many bytes it was given.
    fn check_after(&mut self, call: impl FnOnce() -> usize) {
        let mut given = 0;
        let used = measure(|| given = call());
        let bound = FACTOR * given as u64 + FIXED;
        let (peak, total) = (used.bytes_max, used.bytes_total);
        assert!(peak <= bound, "{}: {peak} bytes at once for {given}", self.name);
        assert!(total <= CHURN * bound, "{}: {total} bytes one after the other for {given}", self.name);
        self.calls += 1;
        self.most = self.most.max((peak, given));
    }

    /// Makes it with everything that a stranger may send in place of genuine bytes.
    fn strangers<T>(&mut self, genuine: &[u8], mut call: impl FnMut(&[u8]) -> T) {
        forgeries(genuine, &mut |bytes| self.check(bytes.len(), || call(bytes)));
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let (peak, given) = self.most;
        println!("{:32} {:6} calls, at most {peak:8} bytes for {given:8}", self.name, self.calls);
    }
}

/// It is counted: what is refused at once, what is allocated, and what a call gives back.
#[test]
fn the_meter_counts() {
    let vec = |len: u64| move || vec![1_u8; len as usize];
    Meter::new("just enough").check(10, vec(FIXED + 40));
    let too_much = std::panic::catch_unwind(|| Meter::new("too much").check(10, vec(FIXED + 41)));
    assert!(too_much.is_err());
    let too_often = std::panic::catch_unwind(|| {
        Meter::new("too often").check(10, || (0..5).for_each(|_| drop(std::hint::black_box(vec(FIXED)()))));
    });
    assert!(too_often.is_err());
}

/// An initial and an established message, of strangers, for sessions at different points.
#[test]
fn a25_messages_of_strangers() {
    let mut pair = Pair::new(2, 2);
    let mut initiator = pair.initiate();
    let first = initiator.encrypt(b"first").unwrap();
    let (mut responder, _) = Session::accept(&pair.bob, &mut pair.prekeys, &first).unwrap();
    let initial = pair.initiate().encrypt(&[7; 2_000]).unwrap();
    let reply = responder.encrypt(b"reply").unwrap();
    for (name, message) in [("decrypt, initial", &initial), ("decrypt", &reply)] {
        let mut meter = Meter::new(name);
        let mut content = Vec::new();
        meter.strangers(message, |bytes| initiator.decrypt(bytes));
        meter.strangers(message, |bytes| responder.decrypt(bytes));
        meter.strangers(message, |bytes| initiator.decrypt_into(bytes, &mut content));
    }
    Meter::new("accept").strangers(&initial, |bytes| {
        let refused = Session::accept(&pair.bob, &mut pair.prekeys, bytes).is_err();
        assert!(refused || bytes == initial);
    });
}

/// The peer runs ahead: as far as is gone along with, in a chain, at its end, and at the beginning of the session.
#[test]
fn a25_a10_messages_of_a_peer_that_runs_ahead() {
    let mut meter = Meter::new("decrypt, far ahead");
    let mut rng = seeded(3);
    let mut lost = Vec::new();
    let mut lose = |session: &mut Session, count: usize| {
        for _ in 0..count {
            session.encrypt_into_with_rng(b"", &mut lost, &mut rng).unwrap();
        }
        lost.clone()
    };
    for (ended, begun) in [(0, 2_001), (2_001, 2_001), (1_000, 1_001), (25_000, 2_001)] {
        let (mut alice, mut bob) = Pair::new(4, 1).established();
        exchange(&mut alice, &mut bob, b"in time");
        lose(&mut alice, ended);
        exchange(&mut bob, &mut alice, b"turn");
        let message = lose(&mut alice, begun);
        meter.check(message.len(), || bob.decrypt(&message).unwrap());
        // The store is full now.
        let message = lose(&mut alice, 2_001);
        meter.check(message.len(), || bob.decrypt(&message).unwrap());
    }
    assert!(meter.most.0 > 4_000 * 32, "keys are kept");
    let mut meter = Meter::new("accept, far ahead");
    for count in [2_001, 25_001] {
        let mut pair = Pair::new(5, 1);
        let message = lose(&mut pair.initiate(), count);
        meter.check(message.len(), || Session::accept(&pair.bob, &mut pair.prekeys, &message).unwrap());
    }
}

/// Content of every size up to the largest.
#[test]
fn a25_messages_of_a_peer_that_has_much_to_say() {
    let (mut alice, mut bob) = Pair::new(6, 1).established();
    let mut meter = Meter::new("decrypt, long");
    for len in [0, 1, 1_000, 100_000, 1_000_000, subrosa::MAX_CONTENT_LEN] {
        let message = alice.encrypt(&vec![7; len]).unwrap();
        meter.check(message.len(), || bob.decrypt(&message).unwrap());
    }
}

/// Every message of many epochs of the PQ ratchet, some late.
#[test]
fn a25_messages_of_a_conversation() {
    let (alice, bob) = Pair::new(7, 1).established();
    let (mut sides, mut late) = ([alice, bob], Vec::new());
    let mut meter = Meter::new("decrypt, in turn");
    for turn in 0..120 {
        let [from, to] = if turn % 2 == 0 { [0, 1] } else { [1, 0] };
        for number in 0..3 {
            let message = sides[from].encrypt(b"content").unwrap();
            if number == 0 && turn % 5 == 0 {
                late.push((to, message));
            } else {
                meter.check(message.len(), || sides[to].decrypt(&message).unwrap());
            }
        }
    }
    for (to, message) in late {
        meter.check(message.len(), || sides[to].decrypt(&message).unwrap());
    }
    assert!(sides[0].pq_epoch() > 5);
}

/// Sealed state: what somebody else writes, what was sealed as something else, and the largest that there is.
#[test]
fn a25_sealed_state() {
    let key = storage_key();
    let mut pair = Pair::new(8, 100);
    let (mut alice, mut bob) = pair.established();
    exchange(&mut alice, &mut bob, b"turn");
    (0..2_500).for_each(|_| drop(alice.encrypt(b"lost").unwrap()));
    exchange(&mut alice, &mut bob, b"arrives");
    let (identity, prekeys) = (pair.bob.seal(&key), pair.prekeys.seal(&key));
    let (session, hot, cold) = (bob.seal(&key), bob.seal_hot(&key), bob.seal_cold(&key));
    let all = [&identity, &prekeys, &session, &hot, &cold];
    type Open<'a> = (&'static str, &'a [u8], Box<dyn Fn(&[u8]) -> bool + 'a>);
    let opened: [Open<'_>; 5] = [
        ("IdentityKeyPair::open", &identity, Box::new(|bytes| IdentityKeyPair::open(&key, bytes).is_ok())),
        ("PreKeys::open", &prekeys, Box::new(|bytes| PreKeys::open(&key, bytes).is_ok())),
        ("Session::open", &session, Box::new(|bytes| Session::open(&key, bytes).is_ok())),
        ("open_halves, hot", &hot, Box::new(|bytes| Session::open_halves(&key, bytes, &cold).is_ok())),
        ("open_halves, cold", &cold, Box::new(|bytes| Session::open_halves(&key, &hot, bytes).is_ok())),
    ];
    for (name, genuine, open) in opened {
        let mut meter = Meter::new(name);
        // The other half is given, too.
        let other = if name.starts_with("open_halves") { hot.len() + cold.len() - genuine.len() } else { 0 };
        forgeries(genuine, &mut |bytes| meter.check(bytes.len() + other, || open(bytes)));
        for bytes in all {
            meter.check(bytes.len() + other, || assert_eq!(open(bytes), **bytes == *genuine));
        }
    }
}
