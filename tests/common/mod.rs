//! What the integration tests share: seeded peers.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics is a test that fails")]

#[cfg(feature = "std")]
pub mod world;

use std::convert::Infallible;

use chacha20::ChaCha20Rng;
use rand::{SeedableRng, TryCryptoRng, TryRng};
use subrosa::{IdentityKeyPair, PreKeyBundle, PreKeys, Session, StorageKey, UnixTime, VerifiedBundle};

/// The time of every test.
pub const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// A generator of a fixed seed.
pub fn seeded(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// The key that states are sealed under to compare them: the same state gives the same bytes.
pub fn storage_key() -> StorageKey {
    StorageKey::from_bytes(&[0x5e; 32])
}

/// The whole state of a session.
pub fn state(session: &Session) -> Vec<u8> {
    session.seal(&storage_key())
}

/// Gives the randomness that a transcript says, and no other.
pub struct Replay {
    bytes: std::vec::IntoIter<u8>,
    mask: u8,
}

impl Replay {
    /// Bytes that are held under a mask, which is taken off where they are written to.
    pub fn new(bytes: Vec<u8>, mask: u8) -> Self {
        Self { bytes: bytes.into_iter(), mask }
    }

    /// Whether all of it was drawn.
    pub fn is_used_up(&self) -> bool {
        self.bytes.as_slice().is_empty()
    }
}

impl TryRng for Replay {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unimplemented!("only bytes are drawn")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unimplemented!("only bytes are drawn")
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for to in bytes {
            *to = self.bytes.next().expect("more randomness drawn than in the transcript") ^ self.mask;
        }
        Ok(())
    }
}

impl TryCryptoRng for Replay {}

/// Two people, of whom Bob has prekeys.
pub struct Pair {
    /// The initiator.
    pub alice: IdentityKeyPair,
    /// The responder.
    pub bob: IdentityKeyPair,
    /// Bob's.
    pub prekeys: PreKeys,
    /// For whatever needs one.
    pub rng: ChaCha20Rng,
}

impl Pair {
    /// Two people, and `one_time` one-time prekeys of Bob's.
    pub fn new(seed: u64, one_time: u16) -> Self {
        let mut rng = seeded(seed);
        let alice = IdentityKeyPair::generate_with_rng(&mut rng);
        let bob = IdentityKeyPair::generate_with_rng(&mut rng);
        let prekeys = PreKeys::generate_with_rng(&bob, one_time, NOW, &mut rng);
        Self { alice, bob, prekeys, rng }
    }

    /// Bob's next bundle, as it comes from a server.
    pub fn bundle(&mut self) -> VerifiedBundle {
        let bytes = self.prekeys.bundle().to_bytes();
        PreKeyBundle::from_bytes(&bytes).unwrap().verify(NOW).unwrap()
    }

    /// A session of Alice's that Bob does not know of yet.
    pub fn initiate(&mut self) -> Session {
        let bundle = self.bundle();
        Session::initiate_with_rng(&self.alice, bundle, &[], &mut self.rng).unwrap()
    }

    /// Both sides after Alice's first message.
    pub fn accepted(&mut self) -> (Session, Session) {
        let mut alice = self.initiate();
        let first = alice.encrypt(b"first").unwrap();
        let (bob, content) = Session::accept(&self.bob, &mut self.prekeys, &first).unwrap();
        assert_eq!(content, b"first");
        (alice, bob)
    }

    /// Both sides after Bob's first reply.
    pub fn established(&mut self) -> (Session, Session) {
        let (mut alice, mut bob) = self.accepted();
        let reply = bob.encrypt(b"reply").unwrap();
        assert_eq!(alice.decrypt(&reply).unwrap(), b"reply");
        (alice, bob)
    }
}

/// Sends one message and checks that it arrives.
pub fn exchange(from: &mut Session, to: &mut Session, content: &[u8]) {
    let message = from.encrypt(content).unwrap();
    assert_eq!(to.decrypt(&message).unwrap(), content);
}
