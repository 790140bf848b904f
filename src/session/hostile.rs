//! A peer that holds its own side's keys and keeps to none of the rules.

use super::*;
use crate::{
    PreKeyBundle, SignedPreKey, UnixTime,
    crypto::{
        dh::{AgreementKey, AgreementPublic, tests::small_order_encodings},
        kem::KemSeed,
        secret::Secret,
    },
    wire::{
        body::{Codeword, CodewordKind, Codewords},
        header::{HEADER_LEN, Header},
    },
};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

struct Pair {
    alice: IdentityKeyPair,
    bob: IdentityKeyPair,
    prekeys: PreKeys,
}

impl Pair {
    fn new() -> Self {
        let (alice, bob) = (IdentityKeyPair::generate(), IdentityKeyPair::generate());
        let prekeys = PreKeys::generate(&bob, 1, NOW);
        Self { alice, bob, prekeys }
    }

    fn bundle(&mut self) -> VerifiedBundle {
        self.prekeys.bundle().verify(NOW).unwrap()
    }

    fn initiate(&mut self) -> Session {
        let bundle = self.bundle();
        Session::initiate(&self.alice, bundle).unwrap()
    }

    fn established(&mut self) -> (Session, Session) {
        let mut alice = self.initiate();
        let first = alice.encrypt(b"first").unwrap();
        let (mut bob, _) = Session::accept(&self.bob, &mut self.prekeys, &first).unwrap();
        exchange(&mut bob, &mut alice);
        (alice, bob)
    }
}

#[track_caller]
fn exchange(from: &mut Session, to: &mut Session) {
    let message = from.encrypt(b"text").unwrap();
    assert_eq!(to.decrypt(&message).unwrap(), b"text");
}

/// A message with an altered header, sealed as it should be.
fn hostile(session: &mut Session, alter: impl FnOnce(&mut [u8; HEADER_LEN])) -> Vec<u8> {
    hostile_with_codewords(session, |header, _| alter(header))
}

/// The same, and with altered codewords.
fn hostile_with_codewords(
    session: &mut Session,
    alter: impl FnOnce(&mut [u8; HEADER_LEN], &mut Option<Codewords>),
) -> Vec<u8> {
    forge(session, &mut rand::rngs::SysRng, alter, |_| {})
}

/// A copy of a session, with its incarnation.
pub(crate) fn twin(session: &Session) -> Session {
    let key = StorageKey::from_bytes(&[1; 32]);
    let mut twin = Session::open(&key, &session.seal(&key)).unwrap();
    twin.incarnation = session.incarnation;
    twin
}

/// The same, also with an altered body.
pub(crate) fn forge(
    session: &mut Session,
    rng: &mut impl TryCryptoRng,
    alter: impl FnOnce(&mut [u8; HEADER_LEN], &mut Option<Codewords>),
    alter_body: impl FnOnce(&mut [u8]),
) -> Vec<u8> {
    let hot = &mut *session.hot;
    let (kind, handshake) = match &hot.progress {
        Progress::Unanswered(part) => (MessageKind::Initial, &part[..]),
        Progress::Answered | Progress::Accepted(_) => (MessageKind::Ratchet, &[][..]),
    };
    let envelope = Envelope {
        prefix: &[&[kind.tag()], handshake],
        associated_data: &hot.associated_data,
        incarnation: session.incarnation,
        padding: hot.padding,
        least: 0,
    };
    hot.ratchet.seal_hostile(&envelope, b"hostile", rng, alter, alter_body)
}

#[track_caller]
fn refused(session: &mut Session, message: &[u8]) -> Error {
    let key = StorageKey::from_bytes(&[1; 32]);
    let before = session.seal(&key);
    let error = session.decrypt(message).expect_err("must be refused");
    assert_eq!(session.seal(&key), before, "state changed by a refused message");
    error
}

/// A ratchet step with a key of small order, or one that is not canonical.
#[test]
fn a01_a02_bad_ratchet_keys_are_refused() {
    let (mut alice, mut bob) = Pair::new().established();
    exchange(&mut alice, &mut bob);
    let mut torsioned = small_order_encodings();
    // The high bit, and u + p.
    let honest = *AgreementKey::from_seed(&Secret::new([3; 32])).public().as_bytes();
    let mut high = honest;
    high[31] |= 0x80;
    torsioned.push(high);
    let mut above = [0xff; 32];
    (above[0], above[31]) = (0xf6, 0x7f);
    torsioned.push(above);
    for bytes in torsioned {
        let forged = hostile(&mut bob, |header| header[..32].copy_from_slice(&bytes));
        assert_eq!(refused(&mut alice, &forged), Error::InvalidKey);
    }
}

/// A public key with a point of small order added, for each of the seven.
fn with_torsion(key: &[u8; 32]) -> Vec<[u8; 32]> {
    use curve25519_dalek::{constants::EIGHT_TORSION, montgomery::MontgomeryPoint};
    let point = MontgomeryPoint(*key).to_edwards(0).unwrap();
    EIGHT_TORSION[1..].iter().map(|torsion| (point + torsion).to_montgomery().to_bytes()).collect()
}

/// What is added agrees on the same secret, as private keys are multiples of eight. So somebody in between would gain by it
/// if keys were told apart by what they agree on: they are by their bytes, all of which are authenticated.
#[test]
fn a02_torsion_is_noticed_or_harmless() {
    let mut pair = Pair::new();
    let message = pair.initiate().encrypt(b"first").unwrap();
    let ephemeral: [u8; 32] = message[18..50].try_into().unwrap();
    let before = pair.prekeys.seal(&StorageKey::from_bytes(&[1; 32]));
    for torsioned in with_torsion(&ephemeral) {
        let bob = pair.bob.agreement();
        let agreed = [ephemeral, torsioned]
            .map(|key| *bob.agree(&AgreementPublic::from_bytes(&key).unwrap()).unwrap().as_bytes());
        assert!(ephemeral != torsioned && agreed[0] == agreed[1]);
        let forged = [&message[..18], &torsioned, &message[50..]].concat();
        let refused = Session::accept(&pair.bob, &mut pair.prekeys, &forged);
        assert_eq!(refused.err(), Some(Error::Unauthentic));
    }
    assert_eq!(pair.prekeys.seal(&StorageKey::from_bytes(&[1; 32])), before);
    // From the peer itself it is as good a ratchet key as any.
    let (mut alice, mut bob) = pair.established();
    for index in 0..7 {
        exchange(&mut alice, &mut bob);
        let torsioned = hostile(&mut bob, |header| {
            let key = header[..32].try_into().unwrap();
            header[..32].copy_from_slice(&with_torsion(&key)[index]);
        });
        assert_eq!(alice.decrypt(&torsioned).unwrap(), b"hostile");
        exchange(&mut alice, &mut bob);
        exchange(&mut bob, &mut alice);
    }
}

/// Strangers have filled the replay record of the signed prekey: who has a one-time prekey is not concerned, nor is who
/// has a session, nor who writes to the next signed prekey.
#[test]
fn a46_a_full_replay_record_stops_last_resort_initiations_alone() {
    use crate::keys::Fingerprint;
    let mut pair = Pair::new();
    let key = StorageKey::from_bytes(&[1; 32]);
    let (mut friend, mut with_friend) = pair.established();
    pair.prekeys.refill(&pair.bob, 1).unwrap();
    let [with_one_time, last_resort] = [pair.prekeys.bundle(), pair.prekeys.bundle()];
    // As strangers would do, but for the handshakes.
    let signed = pair.prekeys.signed_prekey().id();
    for number in 1..16_384_u32 {
        let mut transcript = [0; 32];
        transcript[..4].copy_from_slice(&number.to_be_bytes());
        pair.prekeys.used(&signed, None, Fingerprint::of(&transcript));
    }
    pair.prekeys = PreKeys::open(&key, &pair.prekeys.seal(&key)).unwrap();
    assert!(!pair.prekeys.rotation_due(NOW));
    let first_of = |bundle: &PreKeyBundle, one_time| {
        let bundle = bundle.clone().verify(NOW).unwrap();
        assert_eq!(bundle.has_one_time_prekey(), one_time);
        Session::initiate(&pair.alice, bundle).unwrap().encrypt(b"first").unwrap()
    };
    let (last, refused) = (first_of(&last_resort, false), first_of(&last_resort, false));
    let good = first_of(&with_one_time, true);
    assert!(Session::accept(&pair.bob, &mut pair.prekeys, &last).is_ok());
    assert!(pair.prekeys.rotation_due(NOW));
    for again in [false, true] {
        let before = pair.prekeys.seal(&key);
        for (message, error) in [(&refused, Error::ReplayRecordFull), (&last, Error::Replayed)] {
            assert_eq!(Session::accept(&pair.bob, &mut pair.prekeys, message).err(), Some(error));
        }
        assert_eq!(pair.prekeys.seal(&key), before);
        exchange(&mut friend, &mut with_friend);
        if !again {
            assert!(Session::accept(&pair.bob, &mut pair.prekeys, &good).is_ok());
            pair.prekeys.rotate(&pair.bob, NOW).unwrap();
            let anew = pair.prekeys.bundle().verify(NOW).unwrap();
            let message = Session::initiate(&pair.alice, anew).unwrap().encrypt(b"first").unwrap();
            assert!(Session::accept(&pair.bob, &mut pair.prekeys, &message).is_ok());
        }
    }
}

#[test]
fn a01_bundle_keys_of_small_order_are_refused() {
    let pair = Pair::new();
    let kem = KemSeed::new(Secret::new([1; 64])).expand();
    for bytes in small_order_encodings() {
        let weak = AgreementPublic::unchecked(bytes);
        let signed = SignedPreKey::sign(&pair.bob, &weak, kem.public(), NOW);
        let bundle = PreKeyBundle::new(*pair.bob.identity_key(), signed, None);
        // Reading refuses it, and if it did not, beginning a session would.
        assert_eq!(PreKeyBundle::from_bytes(&bundle.to_bytes()).err(), Some(Error::InvalidKey));
        let bundle = bundle.verify(NOW).unwrap();
        assert_eq!(Session::initiate(&pair.alice, bundle).err(), Some(Error::InvalidKey));

        let bob = IdentityKeyPair::generate();
        let claimed = *bob.identity_key();
        let bob = bob.claiming(&claimed, &weak);
        let bundle = PreKeys::generate(&bob, 1, NOW).bundle();
        assert_eq!(PreKeyBundle::from_bytes(&bundle.to_bytes()).err(), Some(Error::InvalidKey));
        let bundle = bundle.verify(NOW).unwrap();
        assert_eq!(Session::initiate(&pair.alice, bundle).err(), Some(Error::InvalidKey));
    }
}

/// The initiator's sealed identity: an X25519 half of small order, a victim's half with one's own, a binding made
/// for other halves.
#[test]
fn a01_a35_false_identities_are_refused() {
    let mut pair = Pair::new();
    let victim = IdentityKeyPair::generate();
    let key = StorageKey::from_bytes(&[1; 32]);
    let mut attempts = Vec::new();
    for bytes in small_order_encodings() {
        let weak = AgreementPublic::unchecked(bytes);
        let mallory = IdentityKeyPair::generate();
        let own = *mallory.identity_key();
        attempts.push(mallory.claiming(&own, &weak));
    }
    let mallory = IdentityKeyPair::generate();
    let own = *mallory.identity_key().agreement();
    attempts.push(mallory.claiming(victim.identity_key(), &own));
    let mallory = IdentityKeyPair::generate();
    let own = *mallory.identity_key().agreement();
    attempts.push(mallory.claiming(victim.identity_key(), &own).with_binding_of(&victim));
    attempts.push(IdentityKeyPair::generate().with_binding_of(&victim));
    // Both halves of the victim, and its binding, which every past peer of the victim holds: without the victim's
    // private key the second stage does not come out.
    let mallory = IdentityKeyPair::generate();
    attempts.push(
        mallory.claiming(victim.identity_key(), victim.identity_key().agreement()).with_binding_of(&victim),
    );
    assert_eq!(attempts.len(), 18);
    let bundle = pair.prekeys.bundle();
    let before = pair.prekeys.seal(&key);
    for mallory in attempts {
        let message = Session::initiate(&mallory, bundle.clone().verify(NOW).unwrap())
            .unwrap()
            .encrypt(b"believe me")
            .unwrap();
        let result = Session::accept(&pair.bob, &mut pair.prekeys, &message);
        assert_eq!(result.err(), Some(Error::Unauthentic));
        assert_eq!(pair.prekeys.seal(&key), before);
    }
}

#[test]
fn absurd_counters_are_refused_or_harmless() {
    let (mut alice, mut bob) = Pair::new().established();
    exchange(&mut alice, &mut bob);
    let at = |range: core::ops::Range<usize>, value: u32| {
        move |header: &mut [u8; HEADER_LEN]| header[range].copy_from_slice(&value.to_be_bytes())
    };
    for (range, value, expected) in [
        (36..40, u32::MAX, Error::TooFarAhead),
        (36..40, 25_001, Error::TooFarAhead),
        (36..40, 24_000, Error::Unauthentic),
        (40..44, 1, Error::TooFarAhead),
        (40..44, u32::MAX, Error::TooFarAhead),
        (44..48, u32::MAX, Error::TooFarAhead),
        (44..48, 300_000, Error::TooFarAhead),
        (44..48, 200_000, Error::Unauthentic),
        (44..48, 0, Error::PeerRolledBack),
    ] {
        let forged = hostile(&mut bob, at(range.clone(), value));
        assert_eq!(refused(&mut alice, &forged), expected, "{value} at {range:?}");
    }
    // An absurd pn costs what is missing of the chain, not the session.
    for value in [u32::MAX, 1_000_000, 0] {
        exchange(&mut bob, &mut alice);
        let late = bob.encrypt(b"late").unwrap();
        exchange(&mut alice, &mut bob);
        let forged = hostile(&mut bob, at(32..36, value));
        assert_eq!(alice.decrypt(&forged).unwrap(), b"hostile");
        assert!(matches!(
            refused(&mut alice, &late),
            Error::TooOld | Error::UnknownSession | Error::PeerRolledBack
        ));
        exchange(&mut alice, &mut bob);
    }
}

/// A stranger's first message is derived for free only so far as an honest initiator's may be: both counters the same.
#[test]
fn a_first_message_has_equal_counters() {
    let mut pair = Pair::new();
    let key = StorageKey::from_bytes(&[1; 32]);
    let mut alice = pair.initiate();
    let before = pair.prekeys.seal(&key);
    let header = |n: u32, epoch: u32, pq_n: u32| {
        move |header: &mut [u8; HEADER_LEN]| {
            for (range, value) in [(36..40, n), (40..44, epoch), (44..48, pq_n)] {
                header[range].copy_from_slice(&value.to_be_bytes());
            }
        }
    };
    for (n, epoch, pq_n, expected) in [
        (0, 0, 1, Error::Malformed),
        (1, 0, 0, Error::Malformed),
        (0, 0, 200_000, Error::Malformed),
        (25_000, 0, 200_000, Error::Malformed),
        (0, 0, u32::MAX, Error::Malformed),
        (7, 1, 7, Error::Malformed),
        // What is wrong with the EC ratchet is said first.
        (25_001, 0, 0, Error::TooFarAhead),
        (25_001, 1, 25_001, Error::TooFarAhead),
        (u32::MAX, 0, u32::MAX, Error::TooFarAhead),
        // Equal, and not the keys that it was sealed with.
        (25_000, 0, 25_000, Error::Unauthentic),
    ] {
        let forged = hostile(&mut alice, header(n, epoch, pq_n));
        let refused = Session::accept(&pair.bob, &mut pair.prekeys, &forged);
        assert_eq!(refused.err(), Some(expected), "{n}, {epoch}, {pq_n}");
    }
    let forged = hostile(&mut alice, |header| {
        header[..32].fill(0);
        header[44..48].fill(9);
    });
    assert_eq!(Session::accept(&pair.bob, &mut pair.prekeys, &forged).err(), Some(Error::InvalidKey));
    assert_eq!(pair.prekeys.seal(&key), before);
    // The eleven lost, this one is good.
    let good = alice.encrypt(b"good").unwrap();
    let (mut bob, content) = Session::accept(&pair.bob, &mut pair.prekeys, &good).unwrap();
    assert_eq!(content, b"good");
    exchange(&mut bob, &mut alice);
    exchange(&mut alice, &mut bob);
}

/// A peer can seal whatever it likes under the keys of a session, also beside a handshake that is not the session's.
#[test]
fn a07_another_handshake_is_not_of_this_session() {
    let mut pair = Pair::new();
    let mut alice = pair.initiate();
    let first = alice.encrypt(b"first").unwrap();
    let (mut bob, _) = Session::accept(&pair.bob, &mut pair.prekeys, &first).unwrap();
    let alter = |alice: &mut Session| {
        let Progress::Unanswered(part) = &mut alice.hot.progress else { panic!("nobody has answered") };
        *part.last_mut().unwrap() ^= 1;
    };
    alter(&mut alice);
    let message = alice.encrypt(b"another").unwrap();
    assert_eq!(refused(&mut bob, &message), Error::UnknownSession);
    alter(&mut alice);
    exchange(&mut alice, &mut bob);
}

#[test]
fn a11_the_last_number_is_not_used() {
    let (mut alice, mut bob) = Pair::new().established();
    let key = StorageKey::from_bytes(&[1; 32]);
    exchange(&mut alice, &mut bob);
    alice.hot.ratchet.ec().set_sending_number(u32::MAX - 1);
    assert!(alice.encrypt(b"last").is_ok());
    let before = alice.seal(&key);
    assert_eq!(alice.encrypt(b"one more"), Err(Error::CounterExhausted));
    assert_eq!(alice.seal(&key), before);
    // A reply begins a new chain.
    exchange(&mut bob, &mut alice);
    assert!(alice.encrypt(b"a new chain").is_ok());
    alice.hot.ratchet.pq().set_sending_number(u32::MAX);
    let before = alice.seal(&key);
    assert_eq!(alice.encrypt(b"one more"), Err(Error::CounterExhausted));
    assert_eq!(alice.seal(&key), before);
    assert!(Error::CounterExhausted.needs_rehandshake());
}

/// Receiving chains are numbered, too. After the last number a turn is refused, before anything has changed.
#[test]
fn a11_the_last_receiving_chain_is_not_left() {
    let (mut alice, mut bob) = Pair::new().established();
    bob.hot.ratchet.ec().set_receiving_sequence(u32::MAX - 1);
    let late = alice.encrypt(b"late").unwrap();
    for text in [b"to the last", b"in the last"] {
        let message = alice.encrypt(text).unwrap();
        assert_eq!(bob.decrypt(&message).unwrap(), text);
    }
    exchange(&mut bob, &mut alice);
    let turn = alice.encrypt(b"beyond the last").unwrap();
    assert_eq!(refused(&mut bob, &turn), Error::TooFarAhead);
    assert!(Error::TooFarAhead.needs_rehandshake());
    assert_eq!(bob.decrypt(&late).unwrap(), b"late");
    exchange(&mut bob, &mut alice);
}

/// A session that begins with a gap has keys in its cold half: one that is gone is not an empty one.
#[test]
fn a_cold_half_that_was_deleted_is_missed() {
    let key = StorageKey::from_bytes(&[1; 32]);
    for (lost, broken) in [(0, false), (1, true)] {
        let mut pair = Pair::new();
        let mut alice = pair.initiate();
        (0..lost).for_each(|_| drop(alice.encrypt(b"late").unwrap()));
        let message = alice.encrypt(b"first").unwrap();
        let (bob, _) = Session::accept(&pair.bob, &mut pair.prekeys, &message).unwrap();
        let (hot, cold) = (bob.seal_hot_in(&key, b"hot"), bob.seal_cold_in(&key, b"cold"));
        let open = |cold| Session::open_halves_in(&key, (b"hot", &hot), cold, 1).err();
        assert_eq!(open(Some((b"cold", &cold))), None);
        assert_eq!(open(None), broken.then_some(Error::SealBroken));
        assert_eq!(bob.cold_generation() > 0, broken, "the first cold half counts, if it is not empty");
    }
}

/// What the documentation of `seal_cold` says.
#[test]
fn a10_the_largest_cold_half() {
    let (_, mut bob) = Pair::new().established();
    *bob.cold = Cold::largest();
    let len = bob.seal_cold(&StorageKey::from_bytes(&[1; 32])).len();
    assert!((196 * 1024..=197 * 1024).contains(&len), "{len} bytes");
}

/// What the documentation of `seal_hot` says, of a peer that sends as many different codewords as fit, and restarts all the
/// time. Its numbers are of one byte here; of five they take 8 bytes more for each of 32 incarnations.
#[test]
fn a10_the_largest_hot_half() {
    let key = StorageKey::from_bytes(&[1; 32]);
    let (mut alice, mut bob) = Pair::new().established();
    while bob.hot.ratchet.newest_pq_epoch() == bob.pq_epoch() || bob.pq_epoch() < 2 {
        exchange(&mut alice, &mut bob);
        exchange(&mut bob, &mut alice);
    }
    let mut largest = 0;
    for index in 60_000..60_035 {
        alice = Session::open(&key, &alice.seal(&key)).unwrap();
        let words = [Codeword { index, chunk: [0xff; 32] }].into_iter().collect();
        let message = hostile_with_codewords(&mut alice, |_, codewords| {
            *codewords = Some(Codewords { kind: CodewordKind::Vector, words });
        });
        bob.decrypt(&message).unwrap();
        largest = largest.max(bob.seal_hot(&key).len());
        if index == 60_020 {
            // A sending chain as well.
            bob.encrypt(b"").unwrap();
        }
    }
    assert!(!bob.needs_rehandshake());
    assert!((2_000..=2_400).contains(&largest), "{largest} bytes");
}

/// Formal analyses of the Double Ratchet found a responder that derives keys from a chain that does not exist.
#[test]
fn a33_an_empty_receiving_chain_is_an_error() {
    let mut pair = Pair::new();
    let mut alice = pair.initiate();
    alice.encrypt(b"first").unwrap();
    let header = Header {
        ratchet_key: *pair.bob.agreement().public(),
        previous_chain_length: 0,
        message_number: 0,
        pq_epoch: 0,
        pq_message_number: 0,
        incarnation: 0,
    };
    // Next is tried (a key is out), and gives an unrelated key; without one there is nothing at all.
    let mut other = pair.initiate();
    assert_eq!(other.hot.ratchet.ec().receive_without_chain(&header), Error::UnknownSession);
    for session in [&mut alice, &mut other] {
        assert_eq!(refused(session, &[&[0x21][..], &[0; 400]].concat()), Error::UnknownSession);
    }
}

/// Answering before there is anything to answer: the next header key is not tried, and the private key that such
/// an answer would be computed with is gone.
#[test]
fn a40_an_answer_before_its_turn_is_not_tried() {
    let (mut alice, mut bob) = Pair::new().established();
    exchange(&mut alice, &mut bob);
    assert!(alice.hot.ratchet.ec().holds_private_key());
    exchange(&mut bob, &mut alice);
    assert!(!alice.hot.ratchet.ec().holds_private_key(), "the old private key is erased at once");
    bob.hot.ratchet.ec().turn_again();
    let early = bob.encrypt(b"before its turn").unwrap();
    assert_eq!(refused(&mut alice, &early), Error::UnknownSession);
    // With a new key out, the header key is tried: the header opens, the key does not fit.
    alice.encrypt(b"a new key").unwrap();
    assert_eq!(refused(&mut alice, &early), Error::Unauthentic);
}

/// Lets both sides write in turn until `done` says so of the first.
fn in_turn_until(a: &mut Session, b: &mut Session, done: impl Fn(&Session) -> bool) {
    for _ in 0..100 {
        if done(a) {
            return;
        }
        exchange(a, b);
        exchange(b, a);
    }
    panic!("it takes too long");
}

#[test]
fn a_message_from_a_skipped_key_brings_its_codewords() {
    let (mut alice, mut bob) = Pair::new().established();
    in_turn_until(&mut alice, &mut bob, |alice| alice.pq_epoch() == 1);
    exchange(&mut alice, &mut bob);
    // The header of Bob's key goes out in the first of two messages, and arrives after the second, which has none.
    let first = bob.encrypt(b"first").unwrap();
    let second = hostile_with_codewords(&mut bob, |_, codewords| *codewords = None);
    assert_eq!(alice.decrypt(&second).unwrap(), b"hostile");
    alice.encrypt(b"nothing to encapsulate to").unwrap();
    assert_eq!(alice.hot.ratchet.newest_pq_epoch(), 1);
    assert_eq!(alice.decrypt(&first).unwrap(), b"first");
    alice.encrypt(b"encapsulates").unwrap();
    assert_eq!(alice.hot.ratchet.newest_pq_epoch(), 2);
}

/// Every value that the Braid authenticates, falsified by the peer itself: the message arrives, the Braid ends, the
/// session says so and goes on, in the epoch that it is in.
#[test]
fn a39_falsified_codewords_end_the_braid_and_nothing_else() {
    use CodewordKind::{Ct1, Ct2, Header, Vector, VectorAck};
    for kinds in [&[Header][..], &[Vector, VectorAck], &[Ct1], &[Ct2]] {
        let (mut alice, mut bob) = Pair::new().established();
        in_turn_until(&mut alice, &mut bob, |alice| alice.pq_epoch() == 2);
        let falsify = |codewords: &mut Option<Codewords>| {
            if let Some(Codewords { kind, words }) = codewords
                && kinds.contains(kind)
            {
                words.iter_mut().for_each(|word| word.chunk[0] ^= 1);
            }
        };
        let (mut epochs, mut rounds) = ([0, 0], 0);
        while !alice.needs_rehandshake() && !bob.needs_rehandshake() {
            epochs = [alice.pq_epoch(), bob.pq_epoch()];
            // Both sides falsify, since either may have the role.
            let message = hostile_with_codewords(&mut alice, |_, codewords| falsify(codewords));
            assert_eq!(bob.decrypt(&message).unwrap(), b"hostile");
            let message = hostile_with_codewords(&mut bob, |_, codewords| falsify(codewords));
            assert_eq!(alice.decrypt(&message).unwrap(), b"hostile");
            rounds += 1;
            assert!(rounds < 60, "falsified {kinds:?} were not noticed");
        }
        // Nobody falls back behind an epoch; both go on, also after a restart.
        assert!(alice.pq_epoch() >= epochs[0] && bob.pq_epoch() >= epochs[1]);
        let key = StorageKey::from_bytes(&[1; 32]);
        alice = Session::open(&key, &alice.seal(&key)).unwrap();
        bob = Session::open(&key, &bob.seal(&key)).unwrap();
        assert!(alice.needs_rehandshake() || bob.needs_rehandshake());
        let before = [alice.pq_epoch(), bob.pq_epoch()];
        for _ in 0..40 {
            exchange(&mut alice, &mut bob);
            exchange(&mut bob, &mut alice);
        }
        assert!(alice.pq_epoch() <= before[0] + 1 && bob.pq_epoch() <= before[1] + 1, "it has ended");
    }
}

/// Whatever codewords an authenticated peer makes up, its message arrives, and ours reach it.
#[test]
fn a39_any_codewords_are_survived() {
    use rand::{Rng, RngExt};
    for seed in 0..200 {
        let rng = &mut <chacha20::ChaCha20Rng as rand::SeedableRng>::seed_from_u64(seed);
        let (mut alice, mut bob) = Pair::new().established();
        for _ in 0..rng.random_range(0..30) {
            exchange(&mut alice, &mut bob);
            exchange(&mut bob, &mut alice);
        }
        for _ in 0..20 {
            let kinds = [
                CodewordKind::Header,
                CodewordKind::Vector,
                CodewordKind::VectorAck,
                CodewordKind::Ct1,
                CodewordKind::Ct2,
            ];
            let kind = kinds[rng.random_range(0..kinds.len())];
            let words = (0..rng.random_range(1..=6)).map(|_| {
                let mut chunk = [0; 32];
                rng.fill_bytes(&mut chunk);
                Codeword { index: rng.random_range(0..40), chunk }
            });
            let words = words.collect();
            let message = hostile_with_codewords(&mut bob, |_, codewords| {
                *codewords = Some(Codewords { kind, words });
            });
            assert_eq!(alice.decrypt(&message).unwrap(), b"hostile", "seed {seed}");
            exchange(&mut alice, &mut bob);
        }
    }
}
