//! What Miri goes through, in minutes: one handshake, messages out of order, altered and repeated, sealed state, the values of
//! one epoch of the PQ ratchet, an attachment. The command is in CONTRIBUTING.md; `fuzz/examples/miri.rs` calls these
//! functions, as there are fewer dependencies to build there. Under `cargo test` they are tests like others.
#![cfg_attr(not(test), allow(dead_code, unreachable_pub, reason = "the example calls them"))]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

use chacha20::ChaCha20Rng;
use rand::SeedableRng;
use subrosa::{Error, IdentityKeyPair, PreKeyBundle, PreKeys, Session, StorageKey, UnixTime};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// Sent in order, and decrypted in this one.
const ORDER: [usize; 4] = [2, 0, 3, 1];

struct Side {
    session: Session,
    rng: ChaCha20Rng,
}

impl Side {
    fn new(session: Session, seed: u64) -> Self {
        Self { session, rng: ChaCha20Rng::seed_from_u64(seed) }
    }

    fn send(&mut self, content: &[u8]) -> Vec<u8> {
        self.session.encrypt_with_rng(content, &mut self.rng).unwrap()
    }

    /// An altered copy is refused, the message is read, and not again.
    fn receive(&mut self, message: &[u8], content: &[u8]) {
        let mut forged = message.to_vec();
        forged[message.len() / 2] ^= 1;
        assert!(self.session.decrypt(&forged).is_err());
        assert_eq!(self.session.decrypt(message).as_deref(), Ok(content));
        assert!(matches!(self.session.decrypt(message), Err(Error::Duplicate | Error::UnknownSession)));
    }

    /// Stored and opened again: whole, and in halves.
    fn reopen(&mut self, key: &StorageKey) {
        let sealed = self.session.seal(key);
        self.session = Session::open_with_rng(key, &sealed, &mut self.rng).unwrap();
        let (hot, cold) = (self.session.seal_hot(key), self.session.seal_cold(key));
        self.session = Session::open_halves_with_rng(key, &hot, &cold, &mut self.rng).unwrap();
        assert_eq!(self.session.seal(key), sealed);
        assert!(Session::open_with_rng(key, &sealed[..sealed.len() - 1], &mut self.rng).is_err());
    }
}

/// A handshake, four messages out of order in both directions, and turns until a PQ epoch is complete.
#[cfg_attr(test, test)]
pub fn a_conversation() {
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let key = StorageKey::generate_with_rng(rng);
    let [alice, bob] = [(); 2].map(|()| IdentityKeyPair::generate_with_rng(rng));
    let mut prekeys = PreKeys::generate_with_rng(&bob, 1, NOW, rng);
    let bundle = PreKeyBundle::from_bytes(&prekeys.bundle().to_bytes()).unwrap().verify(NOW).unwrap();
    let bob = IdentityKeyPair::open(&key, &bob.seal(&key)).unwrap();
    prekeys = PreKeys::open(&key, &prekeys.seal(&key)).unwrap();

    let session = Session::initiate_with_rng(&alice, bundle, b"payload", rng).unwrap();
    let mut a = Side::new(session, 2);
    let sent = [(); 4].map(|()| a.send(b"from Alice"));
    let cut = &sent[0][..sent[0].len() - 300];
    assert!(Session::accept_with_rng(&bob, &mut prekeys, cut, rng).is_err());
    let accepted = Session::accept_with_rng(&bob, &mut prekeys, &sent[ORDER[0]], rng).unwrap();
    assert_eq!((&accepted.payload[..], &accepted.content[..]), (&b"payload"[..], &b"from Alice"[..]));
    assert_eq!(accepted.session.peer_identity(), alice.identity_key());
    let mut b = Side::new(accepted.session, 3);
    b.reopen(&key);
    ORDER[1..].iter().for_each(|number| b.receive(&sent[*number], b"from Alice"));
    let sent = [(); 4].map(|()| b.send(b"from Bob"));
    ORDER.iter().for_each(|number| a.receive(&sent[*number], b"from Bob"));
    a.reopen(&key);

    let mut turns = 0;
    while a.session.pq_epoch() == 0 || b.session.pq_epoch() == 0 {
        let (to_bob, to_alice) = (a.send(b"in turn"), b.send(b"crossing"));
        b.receive(&to_bob, b"in turn");
        a.receive(&to_alice, b"crossing");
        turns += 1;
        assert!(turns < 20, "no epoch");
    }
    b.reopen(&key);
    let last = a.send(b"in the new epoch");
    b.receive(&last, b"in the new epoch");
    assert!(!a.session.needs_rehandshake() && !b.session.needs_rehandshake());
}

/// Short, and so padded to 4 KiB.
#[cfg_attr(test, test)]
pub fn an_attachment() {
    use subrosa::{AttachmentOpener, AttachmentSealer};
    let content = b"a short file";
    let mut sealer = AttachmentSealer::new_with_rng(&mut ChaCha20Rng::seed_from_u64(4), 12).unwrap();
    let commitment = *sealer.commitment();
    let mut chunk = content.to_vec();
    sealer.seal(&mut chunk).unwrap();
    let descriptor = sealer.finish().unwrap();
    let mut altered = chunk.clone();
    altered[20] ^= 1;
    let mut opener = AttachmentOpener::new(&descriptor, &commitment).unwrap();
    assert!(opener.open(&mut altered).is_err());
    opener.open(&mut chunk).unwrap();
    assert_eq!(chunk, content);
}
