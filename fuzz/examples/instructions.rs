//! The operations whose instructions `.ci/instructions` counts: `instructions <operation>` sets one up, runs it a number of
//! times, and prints how often it was; `instructions <operation> <repeats>` does all of this several times, for samples.
//! Without an operation, it prints their names.
//!
//! Seeded, so that every run does the same. Callgrind is told to count while [`measured`] is on the stack: neither what is
//! made ready nor what is dropped afterwards. Operations run a few times before, so that what is done once is done.
//!
//! An example of this package and not a bench of the crate, because of what has to be compiled for it: here the crate with
//! what it depends on, there SQLite, Criterion, vodozemac and everything else that tests, benches and examples need.

use std::hint::black_box;

use chacha20::ChaCha20Rng;
use subrosa::{
    AttachmentError, AttachmentSealer, Error, IdentityKeyPair, PreKeyBundle, PreKeys, Session, StorageKey,
};
use subrosa_fuzz::{NOW, rng};

/// Runs an operation; how often.
type Run = fn() -> Result<u64, Error>;

const OPERATIONS: [(&str, Run); 10] = [
    ("accept", accept),
    ("attachment_chunk", attachment),
    ("decrypt_256", || decrypt(256, 128)),
    ("decrypt_65536", || decrypt(64 * 1024, 16)),
    ("decrypt_reverse_100", decrypt_reverse),
    ("encrypt_256", || encrypt(256, 128)),
    ("encrypt_65536", || encrypt(64 * 1024, 16)),
    ("initiate", initiate),
    ("pingpong_256", pingpong),
    ("seal_open", seal_open),
];

/// How many messages go before those that are counted. By then the PQ ratchet has sent what it can without an answer, and
/// goes on with codewords that the receiver has no use for.
const BEFORE: usize = 64;

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let Some(chosen) = arguments.next() else {
        OPERATIONS.iter().for_each(|(name, _)| println!("{name}"));
        return Ok(());
    };
    let repeats = arguments.next().map_or(1, |repeats| repeats.parse().expect("a number"));
    let (_, run) = OPERATIONS.iter().find(|(name, _)| *name == chosen).expect("no such operation");
    let mut total = 0;
    for _ in 0..repeats {
        total += run()?;
    }
    println!("{total}");
    Ok(())
}

/// What is counted. The script knows it by its name.
#[inline(never)]
fn measured<T>(operation: impl FnOnce() -> T) -> T {
    black_box(operation())
}

/// One way, one message after the other in one chain.
fn encrypt(size: usize, count: usize) -> Result<u64, Error> {
    let (mut alice, _, mut rng) = established()?;
    let content = vec![0x5a; size];
    for _ in 0..BEFORE {
        alice.encrypt_with_rng(&content, &mut rng)?;
    }
    for _ in 0..count {
        measured(|| alice.encrypt_with_rng(&content, &mut rng))?;
    }
    Ok(count as u64)
}

/// The same messages, in order.
fn decrypt(size: usize, count: usize) -> Result<u64, Error> {
    let (mut alice, mut bob, mut rng) = established()?;
    let content = vec![0x5a; size];
    for _ in 0..BEFORE {
        bob.decrypt(&alice.encrypt_with_rng(&content, &mut rng)?)?;
    }
    for _ in 0..count {
        let message = alice.encrypt_with_rng(&content, &mut rng)?;
        measured(|| bob.decrypt(&message))?;
    }
    Ok(count as u64)
}

/// One of a hundred messages that arrive in reverse order: the first takes ninety-nine keys more.
fn decrypt_reverse() -> Result<u64, Error> {
    const ROUNDS: usize = 2;
    let (mut alice, mut bob, mut rng) = established()?;
    for round in 0..=ROUNDS {
        let messages: Vec<_> =
            (0..100).map(|_| alice.encrypt_with_rng(&[0x5a; 256], &mut rng)).collect::<Result<_, _>>()?;
        for message in messages.iter().rev() {
            if round == 0 { bob.decrypt(message) } else { measured(|| bob.decrypt(message)) }?;
        }
    }
    Ok(100 * ROUNDS as u64)
}

/// A conversation of turns, a message of it: encrypted *and* decrypted. Whole epochs of the PQ ratchet, so that what they
/// cost is neither left out nor counted twice.
fn pingpong() -> Result<u64, Error> {
    const EPOCHS: u32 = 20;
    let (mut from, mut to, mut rng) = established()?;
    let mut turns = 0;
    let mut first = None;
    loop {
        let message = measured(|| from.encrypt_with_rng(&[0x5a; 256], &mut rng))?;
        measured(|| to.decrypt(&message))?;
        (from, to) = (to, from);
        turns += 1;
        match first {
            None => first = Some(from.pq_epoch()),
            Some(first) if from.pq_epoch() >= first + EPOCHS => return Ok(turns),
            Some(_) => {}
        }
    }
}

/// A bundle as it comes from a server, read and verified; a session with its owner; the first message.
fn initiate() -> Result<u64, Error> {
    const COUNT: u64 = 8;
    let (alice, mut responder) = peers()?;
    for at in 0..=COUNT {
        let mut initiated = || responder.initiated(&alice);
        if at == 0 { initiated() } else { measured(initiated) }?;
    }
    Ok(COUNT)
}

/// The first message accepted and decrypted, each time with the prekeys as they were before.
fn accept() -> Result<u64, Error> {
    const COUNT: u64 = 8;
    let (alice, mut responder) = peers()?;
    let (_, message) = responder.initiated(&alice)?;
    for at in 0..=COUNT {
        let mut prekeys = responder.prekeys()?;
        let mut accepted =
            || Session::accept_with_rng(&responder.identity, &mut prekeys, &message, &mut responder.rng);
        if at == 0 { accepted() } else { measured(accepted) }?;
    }
    Ok(COUNT)
}

/// Sealed for storage and opened again, the whole session.
fn seal_open() -> Result<u64, Error> {
    const COUNT: u64 = 64;
    let (_, session, mut rng) = established()?;
    let key = StorageKey::from_bytes(&[7; 32]);
    for at in 0..=COUNT {
        let mut again = || Session::open_with_rng(&key, &session.seal(&key), &mut rng);
        if at == 0 { again() } else { measured(again) }?;
    }
    Ok(COUNT)
}

/// A chunk of an attachment of 1 MiB. Its keys and its digest are counted, a seventeenth each time.
fn attachment() -> Result<u64, Error> {
    let mut rng = rng(1);
    let sealed = (|| {
        let mut chunks = 0;
        let mut sealer = measured(|| AttachmentSealer::new_with_rng(&mut rng, 1 << 20))?;
        while let Some(len) = sealer.next_len() {
            // As much room as it takes, or it is moved.
            let mut chunk = Vec::with_capacity(64 * 1024);
            chunk.resize(len, 0x5a);
            measured(|| sealer.seal(&mut chunk))?;
            chunks += 1;
        }
        measured(|| sealer.finish())?;
        Ok::<_, AttachmentError>(chunks)
    })();
    Ok(sealed.expect("as many chunks as it wants"))
}

/// Bob, who can be written to again and again.
struct Responder {
    identity: IdentityKeyPair,
    bundle: Vec<u8>,
    prekeys: Vec<u8>,
    storage_key: StorageKey,
    rng: ChaCha20Rng,
}

/// Alice, and Bob with a one-time prekey.
fn peers() -> Result<(IdentityKeyPair, Responder), Error> {
    let mut rng = rng(1);
    let (alice, identity) =
        (IdentityKeyPair::generate_with_rng(&mut rng), IdentityKeyPair::generate_with_rng(&mut rng));
    let mut prekeys = PreKeys::generate_with_rng(&identity, 1, NOW, &mut rng);
    let bundle = prekeys.bundle().to_bytes();
    let storage_key = StorageKey::from_bytes(&[7; 32]);
    let prekeys = prekeys.seal(&storage_key);
    Ok((alice, Responder { identity, bundle, prekeys, storage_key, rng }))
}

impl Responder {
    /// As they were before any handshake.
    fn prekeys(&self) -> Result<PreKeys, Error> {
        PreKeys::open(&self.storage_key, &self.prekeys)
    }

    /// What an initiator does.
    fn initiated(&mut self, initiator: &IdentityKeyPair) -> Result<(Session, Vec<u8>), Error> {
        let bundle = PreKeyBundle::from_bytes(&self.bundle)?.verify(NOW)?;
        let mut session = Session::initiate_with_rng(initiator, bundle, &[], &mut self.rng)?;
        let message = session.encrypt_with_rng(&[0x5a; 256], &mut self.rng)?;
        Ok((session, message))
    }
}

/// Both ends of a session, the first of which has a chain to go on sending in.
fn established() -> Result<(Session, Session, ChaCha20Rng), Error> {
    let (alice, mut responder) = peers()?;
    let (mut alice, initial) = responder.initiated(&alice)?;
    let (mut prekeys, mut rng) = (responder.prekeys()?, responder.rng);
    let mut bob = Session::accept_with_rng(&responder.identity, &mut prekeys, &initial, &mut rng)?.session;
    alice.decrypt(&bob.encrypt_with_rng(&[0x5a; 256], &mut rng)?)?;
    bob.decrypt(&alice.encrypt_with_rng(&[0x5a; 256], &mut rng)?)?;
    Ok((alice, bob, rng))
}
