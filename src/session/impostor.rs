//! Who can write in somebody else's name, and what follows: key compromise impersonation, and deniability.
//!
//! A first message is by who can compute DH(IK_A, SPK_B): the initiator, and whoever has the private half of the signed
//! prekey. That is its owner, who can therefore make up a conversation with anybody; and a thief of it.

use std::vec;

use chacha20::ChaCha20Rng;
use rand::SeedableRng;

use super::*;
use crate::{
    UnixTime,
    crypto::{secret::Secret, sign::Signature},
    handshake::outsider::initiate_as,
    keys::{DAY, PreKeyId},
};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

fn key() -> StorageKey {
    StorageKey::from_bytes(&[1; 32])
}

fn at_day(day: u64) -> UnixTime {
    UnixTime::from_secs(NOW.as_secs() + day * DAY)
}

/// A copy of everything of a device but its sessions.
struct Stolen {
    identity: IdentityKeyPair,
    prekeys: PreKeys,
}

impl Stolen {
    fn from(identity: &IdentityKeyPair, prekeys: &PreKeys) -> Self {
        Self {
            identity: IdentityKeyPair::open(&key(), &identity.seal(&key())).unwrap(),
            prekeys: PreKeys::open(&key(), &prekeys.seal(&key())).unwrap(),
        }
    }

    /// DH(IK of `name`, SPK), if the private half of this signed prekey is among what was stolen.
    fn stage2(&self, name: &IdentityKey, signed: &PreKeyId) -> Option<Secret<32>> {
        let keys = self.prekeys.find(&self.identity, signed, None).ok()?;
        Some(keys.signed_agreement().agree(name.agreement()).unwrap())
    }
}

/// Bob, who has prekeys, and Alice, who has written to the impostor once: so he has her binding.
struct World {
    alice: IdentityKeyPair,
    bob: IdentityKeyPair,
    prekeys: PreKeys,
    binding: Signature,
}

impl World {
    fn new() -> Self {
        let (alice, bob) = (IdentityKeyPair::generate(), IdentityKeyPair::generate());
        let prekeys = PreKeys::generate(&bob, 3, NOW);
        let binding = *alice.binding();
        Self { alice, bob, prekeys, binding }
    }

    fn bundle(&mut self, now: UnixTime) -> VerifiedBundle {
        self.prekeys.bundle().verify(now).unwrap()
    }

    /// What Bob takes a first message in Alice's name for.
    fn accept(&mut self, message: &[u8]) -> Result<Session, Error> {
        let before = self.prekeys.seal(&key());
        let accepted = Session::accept(&self.bob, &mut self.prekeys, message);
        if accepted.is_err() {
            assert_eq!(self.prekeys.seal(&key()), before);
        }
        accepted.map(|(session, _)| session)
    }
}

/// A session that says it is `name`'s.
fn forged(name: &IdentityKey, binding: &Signature, stage2: &Secret<32>, bundle: &VerifiedBundle) -> Session {
    forged_with_payload(name, binding, stage2, bundle, &[])
}

pub(crate) fn forged_with_payload(
    name: &IdentityKey,
    binding: &Signature,
    stage2: &Secret<32>,
    bundle: &VerifiedBundle,
    payload: &[u8],
) -> Session {
    forged_from(name, binding, stage2, bundle, payload, &mut rand::rngs::SysRng)
}

pub(crate) fn forged_from(
    name: &IdentityKey,
    binding: &Signature,
    stage2: &Secret<32>,
    bundle: &VerifiedBundle,
    payload: &[u8],
    rng: &mut impl TryCryptoRng,
) -> Session {
    let (part, secrets) = initiate_as(name, binding, stage2, bundle, payload, rng);
    Session::begin(part, secrets, bundle, rng).unwrap()
}

/// Key compromise impersonation, and how long it lasts.
#[test]
fn who_steals_a_signed_prekey_is_anybody_to_its_owner() {
    let mut world = World::new();
    let name = *world.alice.identity_key();
    // The signed prekey is all that he needs: with a one-time prekey and without.
    let thief = Stolen::from(&world.bob, &world.prekeys);
    let write = |world: &World, bundle: &VerifiedBundle| {
        let stage2 = thief.stage2(&name, &bundle.signed_prekey().id())?;
        Some(forged(&name, &world.binding, &stage2, bundle))
    };
    for _ in 0..5 {
        let bundle = world.bundle(NOW);
        let mut fake = write(&world, &bundle).unwrap();
        let mut session = world.accept(&fake.encrypt(b"it is me").unwrap()).unwrap();
        assert_eq!(session.peer_identity(), &name);
        // He reads the answers, too.
        let answer = session.encrypt(b"hello, Alice").unwrap();
        assert_eq!(fake.decrypt(&answer).unwrap(), b"hello, Alice");
    }
    // Rotation ends it for who writes to the new one, and not for the old one, as long as that is kept.
    let old = world.bundle(NOW);
    world.prekeys.rotate(&world.bob, at_day(7)).unwrap();
    let new = world.bundle(at_day(7));
    assert!(write(&world, &new).is_none());
    let mut fake = write(&world, &old).unwrap();
    assert!(world.accept(&fake.encrypt(b"it is still me").unwrap()).is_ok());
    let mut fake = write(&world, &old).unwrap();
    world.prekeys.rotate(&world.bob, at_day(37)).unwrap();
    assert_eq!(world.accept(&fake.encrypt(b"?").unwrap()).err(), Some(Error::UnknownPreKey));
    // New prekeys end it at once.
    let mut world = World::new();
    let name = *world.alice.identity_key();
    let thief = Stolen::from(&world.bob, &world.prekeys);
    let bundle = world.bundle(NOW);
    let stage2 = thief.stage2(&name, &bundle.signed_prekey().id()).unwrap();
    let mut fake = forged(&name, &world.binding, &stage2, &bundle);
    world.prekeys = PreKeys::generate(&world.bob, 3, NOW);
    assert_eq!(world.accept(&fake.encrypt(b"?").unwrap()).err(), Some(Error::UnknownPreKey));
}

/// Nobody else is Alice to Bob: not without her binding, and not with all of Bob's other keys.
#[test]
fn nothing_less_than_the_signed_prekey_and_the_binding_will_do() {
    let mut world = World::new();
    let name = *world.alice.identity_key();
    let stolen = Stolen::from(&world.bob, &world.prekeys);
    let bundle = world.bundle(NOW);
    let right = stolen.stage2(&name, &bundle.signed_prekey().id()).unwrap();
    let mallory = IdentityKeyPair::generate();
    // No binding of Alice's: one of his own, one that he made for her halves, one that is a byte off.
    let own = *mallory.binding();
    let hers = *IdentityKeyPair::generate().claiming(&name, name.agreement()).binding();
    let mut bytes = *world.binding.as_bytes();
    bytes[9] ^= 1;
    for binding in [own, hers, Signature::from_bytes(&bytes)] {
        let mut fake = forged(&name, &binding, &right, &bundle);
        assert_eq!(world.accept(&fake.encrypt(b"?").unwrap()).err(), Some(Error::Unauthentic));
    }
    // Not the signed prekey, but every other private key of Bob's, and his own.
    let one_time = bundle.one_time_prekey().unwrap().id();
    let keys = stolen.prekeys.find(&stolen.identity, &bundle.signed_prekey().id(), Some(&one_time)).unwrap();
    let with_one_time = keys.one_time_agreement().unwrap().agree(name.agreement()).unwrap();
    let with_identity = stolen.identity.agreement().agree(name.agreement()).unwrap();
    let his = mallory.agreement().agree(bundle.signed_prekey().agreement()).unwrap();
    for wrong in [with_one_time, with_identity, his, Secret::new([0; 32])] {
        let mut fake = forged(&name, &world.binding, &wrong, &bundle);
        let refused = world.accept(&fake.encrypt(b"?").unwrap()).err();
        assert_eq!(refused, Some(Error::Unauthentic));
    }
    // It is for nothing else that they were refused.
    let mut fake = forged(&name, &world.binding, &right, &bundle);
    assert_eq!(world.accept(&fake.encrypt(b"!").unwrap()).unwrap().peer_identity(), &name);
}

/// What Bob shows as a conversation with Alice: his keys, the randomness of his session, and every message in order.
struct Transcript {
    bob: Stolen,
    /// Whether it is Alice's, and the bytes.
    messages: Vec<(bool, Vec<u8>)>,
}

const ANSWER: &[u8] = b"?";

fn bobs_randomness() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(5)
}

impl Transcript {
    /// What a judge finds who does over again all that Bob did: who wrote, and what.
    fn judged(mut self) -> (IdentityKey, Vec<Vec<u8>>) {
        let (first, rest) = self.messages.split_first().unwrap();
        let rng = &mut bobs_randomness();
        let Stolen { identity, prekeys } = &mut self.bob;
        let Accepted { mut session, content, .. } =
            Session::accept_with_rng(identity, prekeys, &first.1, rng).unwrap();
        let mut texts = vec![content];
        for (is_alices, message) in rest {
            if *is_alices {
                texts.push(session.decrypt(message).unwrap());
            } else {
                assert_eq!(&session.encrypt_with_rng(ANSWER, rng).unwrap(), message);
            }
        }
        (*session.peer_identity(), texts)
    }
}

/// Nobody can tell whether Alice wrote, or Bob made it all up with his own keys: what she writes verifies, and so does what
/// he writes to himself. Of hers he has the binding, as every peer of hers has.
#[test]
fn a_recipient_can_make_up_a_conversation() {
    const TEXTS: &[&[u8]] = &[b"Meet me under the rose.", b"At noon.", b"", b"Burn this."];
    let mut judged = Vec::new();
    for made_up in [false, true] {
        let mut world = World::new();
        let name = *world.alice.identity_key();
        let bundle = world.bundle(NOW);
        let bob = Stolen::from(&world.bob, &world.prekeys);
        let mut alice = if made_up {
            // Nothing private of Alice's goes in here.
            let stage2 = bob.stage2(&name, &bundle.signed_prekey().id()).unwrap();
            forged(&name, &world.binding, &stage2, &bundle)
        } else {
            Session::initiate(&world.alice, bundle).unwrap()
        };
        let rng = &mut bobs_randomness();
        let first = alice.encrypt(TEXTS[0]).unwrap();
        let accepted = Session::accept_with_rng(&world.bob, &mut world.prekeys, &first, rng);
        let mut session = accepted.unwrap().session;
        let mut messages = vec![(true, first)];
        for round in 0..60 {
            let answer = session.encrypt_with_rng(ANSWER, rng).unwrap();
            alice.decrypt(&answer).unwrap();
            let next = alice.encrypt(TEXTS[round % TEXTS.len()]).unwrap();
            session.decrypt(&next).unwrap();
            messages.extend([(false, answer), (true, next)]);
        }
        assert!(alice.pq_epoch() > 2, "the PQ ratchet, too");
        let lengths: Vec<_> = messages.iter().map(|(is_alices, bytes)| (*is_alices, bytes.len())).collect();
        let (author, texts) = Transcript { bob, messages }.judged();
        assert_eq!(author, name);
        assert_eq!(texts[1..], *TEXTS.repeat(15));
        judged.push((texts, lengths));
    }
    assert_eq!(judged[0], judged[1]);
}
