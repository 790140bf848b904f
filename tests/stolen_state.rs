//! What a thief reads with stolen prekeys, and what follows when he writes with a stolen session. How long he reads on in
//! a session is in `src/session/thief.rs`; whom he can pretend to be, in `src/session/impostor.rs`.
#![cfg(feature = "std")]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

use chacha20::ChaCha20Rng;
use rand::RngExt;
use subrosa::{Error, IdentityKeyPair, PreKeys, Session, UnixTime, VerifiedBundle};

mod common;
use common::{NOW, Pair, exchange, seeded, storage_key};

/// A copy of identity and prekeys.
struct Stolen {
    identity: IdentityKeyPair,
    prekeys: Vec<u8>,
}

impl Stolen {
    fn from(pair: &Pair) -> Self {
        let key = storage_key();
        let identity = IdentityKeyPair::open(&key, &pair.bob.seal(&key)).unwrap();
        Self { identity, prekeys: pair.prekeys.seal(&key) }
    }

    /// A first message, with whatever was stolen: as often as he likes.
    fn reads(&self, message: &[u8]) -> Result<Session, Error> {
        let mut prekeys = PreKeys::open(&storage_key(), &self.prekeys).unwrap();
        Session::accept(&self.identity, &mut prekeys, message).map(|(session, _)| session)
    }
}

/// A first message to a bundle, and its session.
fn first(pair: &mut Pair, bundle: VerifiedBundle) -> (Session, Vec<u8>) {
    let mut session = Session::initiate_with_rng(&pair.alice, bundle, &[], &mut pair.rng).unwrap();
    let message = session.encrypt(b"first").unwrap();
    (session, message)
}

#[test]
fn stolen_prekeys_read_first_messages() {
    let mut pair = Pair::new(1, 3);
    // Received before the theft, with a one-time prekey; and one that is under way.
    let bundle = pair.bundle();
    let (_, received) = first(&mut pair, bundle);
    Session::accept(&pair.bob, &mut pair.prekeys, &received).unwrap();
    let bundle = pair.bundle();
    let (mut alice, under_way) = first(&mut pair, bundle);
    let to_be_handed_out = pair.bundle();
    let last_resort = pair.bundle();
    assert!(!last_resort.has_one_time_prekey());
    let stolen = Stolen::from(&pair);
    assert_eq!(stolen.reads(&received).err(), Some(Error::UnknownPreKey), "its one-time prekey is gone");
    let mut his = stolen.reads(&under_way).unwrap();

    // He reads on until an answer that he did not make has been answered.
    let (mut bob, _) = Session::accept(&pair.bob, &mut pair.prekeys, &under_way).unwrap();
    let more = alice.encrypt(b"more").unwrap();
    assert_eq!(his.decrypt(&more).unwrap(), b"more");
    assert_eq!(bob.decrypt(&more).unwrap(), b"more");
    exchange(&mut bob, &mut alice, b"an answer");
    let message = alice.encrypt(b"not for him").unwrap();
    assert_eq!(his.decrypt(&message), Err(Error::UnknownSession));
    assert_eq!(bob.decrypt(&message).unwrap(), b"not for him");

    // To come: with a stolen one-time prekey, and with none; not with one that was made since.
    for bundle in [to_be_handed_out, last_resort] {
        let (_, message) = first(&mut pair, bundle);
        assert!(stolen.reads(&message).is_ok());
        assert!(Session::accept(&pair.bob, &mut pair.prekeys, &message).is_ok());
    }
    pair.prekeys.refill(&pair.bob, 1).unwrap();
    let bundle = pair.bundle();
    let (_, message) = first(&mut pair, bundle);
    assert_eq!(stolen.reads(&message).err(), Some(Error::UnknownPreKey));
    assert!(Session::accept(&pair.bob, &mut pair.prekeys, &message).is_ok());
    // Nor with a signed prekey that was made since, of a rotation or of new prekeys.
    let later = UnixTime::from_secs(NOW.as_secs() + 8 * 24 * 60 * 60);
    pair.prekeys.rotate(&pair.bob, later).unwrap();
    for _ in 0..2 {
        let bundle = pair.prekeys.bundle().verify(later).unwrap();
        let (_, message) = first(&mut pair, bundle);
        assert_eq!(stolen.reads(&message).err(), Some(Error::UnknownPreKey));
        assert!(Session::accept(&pair.bob, &mut pair.prekeys, &message).is_ok());
        pair.prekeys = PreKeys::generate(&pair.bob, 0, later);
    }
}

/// Alice and Bob, after a while.
fn conversation(seed: u64, rng: &mut ChaCha20Rng) -> [Session; 2] {
    let (alice, bob) = Pair::new(seed, 1).established();
    let mut sides = [alice, bob];
    for _ in 0..rng.random_range(0..20) {
        let from = rng.random_range(0..2);
        let message = sides[from].encrypt(b"before").unwrap();
        sides[1 - from].decrypt(&message).unwrap();
    }
    sides
}

/// A thief writes to Bob with a copy of Alice's session, and reads what Bob answers. What Alice writes next, under numbers
/// or a turn that he has taken, is an error to Bob, who knows why unless it is too late for that. Only if she has read an
/// answer to what the thief wrote may all go on as if she had written it; then it is the thief who is out.
#[test]
fn a_thief_who_writes_is_found_out_or_locked_out() {
    let (mut reported, mut unknown, mut locked_out) = (0, 0, 0);
    for seed in 0..200 {
        let mut rng = seeded(seed);
        let [mut alice, mut bob] = conversation(seed, &mut rng);
        let mut thief = Session::open(&storage_key(), &alice.seal(&storage_key())).unwrap();
        let mut has_read = false;
        for _ in 0..rng.random_range(1..=3) {
            for _ in 0..rng.random_range(1..=4) {
                exchange(&mut thief, &mut bob, b"in her name");
            }
            if rng.random() {
                let answer = bob.encrypt(b"an answer").unwrap();
                assert_eq!(thief.decrypt(&answer).unwrap(), b"an answer", "seed {seed}");
                // She can if it is to a key that she has, too.
                has_read |= alice.decrypt(&answer).is_ok();
            }
        }
        let message = alice.encrypt(b"from her").unwrap();
        match bob.decrypt(&message) {
            Err(Error::PeerRolledBack) => reported += 1,
            Err(Error::UnknownSession) => unknown += 1,
            Ok(_) if has_read => {
                exchange(&mut bob, &mut alice, b"for her");
                let message = bob.encrypt(b"not for him").unwrap();
                assert_eq!(thief.decrypt(&message), Err(Error::UnknownSession), "seed {seed}");
                assert!(bob.decrypt(&thief.encrypt(b"in her name").unwrap()).is_err(), "seed {seed}");
                locked_out += 1;
                continue;
            }
            other => panic!("seed {seed}: {other:?}"),
        }
        exchange(&mut thief, &mut bob, b"he is not locked out");
    }
    let counts = [reported, unknown, locked_out];
    assert!(counts.iter().all(|count| *count > 10), "{counts:?}");
}
