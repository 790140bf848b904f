//! A session from the outside: what a user of the crate may rely on.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that panics is a test that fails"
)]

use chacha20::ChaCha20Rng;
use subrosa::{
    Error, IdentityKey, IdentityKeyPair, MAX_PAYLOAD_LEN, MessageKind, Padding, PreKeyBundle, PreKeys,
    Session, UnixTime,
};

mod common;
use common::{NOW, Pair, exchange, seeded, state, storage_key};

#[test]
fn a_conversation_in_both_directions() {
    let (mut alice, mut bob) = Pair::new(1, 1).established();
    for round in 0..50u8 {
        exchange(&mut alice, &mut bob, &[round; 40]);
        exchange(&mut alice, &mut bob, &[]);
        exchange(&mut bob, &mut alice, &[round; 300]);
    }
    assert_eq!(alice.id(), bob.id());
}

#[test]
fn both_learn_who_the_other_is_and_get_the_payload() {
    let mut pair = Pair::new(2, 1);
    let bundle = pair.bundle();
    let payload = [0xc5; MAX_PAYLOAD_LEN];
    let mut alice = Session::initiate_with_payload(&pair.alice, bundle, &payload).unwrap();
    assert_eq!(alice.peer_identity(), pair.bob.identity_key());
    let message = alice.encrypt(b"hello").unwrap();
    let accepted = Session::accept_with_payload(&pair.bob, &mut pair.prekeys, &message).unwrap();
    assert_eq!(accepted.session.peer_identity(), pair.alice.identity_key());
    assert_eq!(accepted.payload, payload);
    assert_eq!(accepted.content, b"hello");

    let long = [0; MAX_PAYLOAD_LEN + 1];
    let bundle = pair.bundle();
    let refused = Session::initiate_with_payload(&pair.alice, bundle, &long);
    assert_eq!(refused.err(), Some(Error::PayloadTooLong));
}

#[test]
fn the_handshake_part_is_repeated_until_answered() {
    let mut pair = Pair::new(3, 1);
    let mut alice = pair.initiate();
    let messages: Vec<_> = (0..5u8).map(|i| alice.encrypt(&[i]).unwrap()).collect();
    assert!(!alice.is_confirmed());
    let part_len = messages[0].len() - (1 + 68 + 256 + 16);
    assert!(messages.iter().all(|message| message[..=part_len] == messages[0][..=part_len]));

    // The third arrives first: it makes the session, and the others are for that session.
    let (mut bob, content) = Session::accept(&pair.bob, &mut pair.prekeys, &messages[2]).unwrap();
    assert_eq!(content, [2]);
    assert!(bob.is_confirmed());
    for i in [4u8, 0, 1] {
        assert_eq!(bob.decrypt(&messages[usize::from(i)]), Ok(vec![i]));
    }
    assert_eq!(bob.decrypt(&messages[0]), Err(Error::Duplicate));
    assert_eq!(bob.decrypt(&messages[2]), Err(Error::Duplicate));
    let again = Session::accept(&pair.bob, &mut pair.prekeys, &messages[3]);
    assert_eq!(again.err(), Some(Error::UnknownPreKey), "the one-time prekey is gone");

    exchange(&mut bob, &mut alice, b"reply");
    assert!(alice.is_confirmed());
    let plain = alice.encrypt(b"established").unwrap();
    assert_eq!(MessageKind::of(&plain), Ok(MessageKind::Ratchet));
    assert_eq!(bob.decrypt(&plain).unwrap(), b"established");
    // A repetition that was under way for long.
    assert_eq!(bob.decrypt(&messages[3]), Ok(vec![3]));
}

#[test]
fn an_initial_message_is_not_for_another_session() {
    let mut pair = Pair::new(4, 2);
    let (mut alice, mut bob) = pair.established();
    let other = pair.initiate().encrypt(b"another session").unwrap();
    for session in [&mut alice, &mut bob] {
        let before = state(session);
        assert_eq!(session.decrypt(&other), Err(Error::UnknownSession));
        assert_eq!(state(session), before);
    }
    let established = alice.encrypt(b"no handshake").unwrap();
    let refused = Session::accept(&pair.bob, &mut pair.prekeys, &established);
    assert_eq!(refused.err(), Some(Error::UnknownSession));
}

/// Both write at once: both keep both sessions, and agree on which one to send.
#[test]
fn simultaneous_initiation_converges() {
    let mut lower_won = [0, 0];
    for seed in 0..8 {
        let mut rng = seeded(seed);
        let people: [IdentityKeyPair; 2] =
            std::array::from_fn(|_| IdentityKeyPair::generate_with_rng(&mut rng));
        let mut prekeys = people.each_ref().map(|who| PreKeys::generate_with_rng(who, 1, NOW, &mut rng));
        let [of_first, of_second] = prekeys.each_mut().map(|keys| keys.bundle().verify(NOW).unwrap());
        let mut own = [
            Session::initiate_with_rng(&people[0], of_second, &[], &mut rng).unwrap(),
            Session::initiate_with_rng(&people[1], of_first, &[], &mut rng).unwrap(),
        ];
        let first = own.each_mut().map(|session| session.encrypt(b"at once").unwrap());
        let mut other = [
            Session::accept(&people[0], &mut prekeys[0], &first[1]).unwrap().0,
            Session::accept(&people[1], &mut prekeys[1], &first[0]).unwrap().0,
        ];
        let yields = [
            own[0].yields_to(&other[0], MessageKind::Initial),
            own[1].yields_to(&other[1], MessageKind::Initial),
        ];
        assert_ne!(yields[0], yields[1], "one of the two sessions is sent on by both");
        lower_won[usize::from(yields[0])] += 1;
        for side in [0, 1] {
            if yields[side] {
                std::mem::swap(&mut own[side], &mut other[side]);
            }
        }
        assert_eq!(own[0].id(), own[1].id());
        assert!(own[0].id() < other[0].id());
        let [mut a, mut b] = own;
        exchange(&mut a, &mut b, b"on the same session");
        exchange(&mut b, &mut a, b"on the same session");
        // The loser still receives.
        let [mut a, mut b] = other;
        exchange(&mut a, &mut b, b"under way");
    }
    assert!(lower_won.iter().all(|count| *count > 0), "{lower_won:?}");
}

/// Somebody's sessions with everybody, by the rules of the specification (section 11). As in the crate's
/// documentation.
struct Side {
    identity: IdentityKeyPair,
    prekeys: PreKeys,
    /// The last one with a peer is sent on with it.
    sessions: Vec<Session>,
}

impl Side {
    fn new(one_time: u16, rng: &mut ChaCha20Rng) -> Self {
        let identity = IdentityKeyPair::generate_with_rng(rng);
        let prekeys = PreKeys::generate_with_rng(&identity, one_time, NOW, rng);
        Self { identity, prekeys, sessions: Vec::new() }
    }

    fn initiate(&mut self, peer: &mut Self, rng: &mut ChaCha20Rng) {
        let bundle = peer.prekeys.bundle().verify(NOW).unwrap();
        self.sessions.push(Session::initiate_with_rng(&self.identity, bundle, &[], rng).unwrap());
    }

    fn receive(&mut self, message: &[u8], rng: &mut ChaCha20Rng) -> (IdentityKey, Vec<u8>) {
        let kind = MessageKind::of(message).unwrap();
        for i in (0..self.sessions.len()).rev() {
            match self.sessions[i].decrypt(message) {
                Err(Error::UnknownSession) => continue,
                result => return (self.follow(i, kind), result.unwrap()),
            }
        }
        let accepted = Session::accept_with_rng(&self.identity, &mut self.prekeys, message, rng).unwrap();
        self.sessions.insert(0, accepted.session);
        (self.follow(0, kind), accepted.content)
    }

    fn follow(&mut self, i: usize, kind: MessageKind) -> IdentityKey {
        let peer = *self.sessions[i].peer_identity();
        let last = self.sent_on(&peer).unwrap();
        if last != i && self.sessions[last].yields_to(&self.sessions[i], kind) {
            self.sessions[i..=last].rotate_left(1);
        }
        peer
    }

    fn sent_on(&self, peer: &IdentityKey) -> Option<usize> {
        self.sessions.iter().rposition(|session| session.peer_identity() == peer)
    }

    fn send(&mut self, to: &IdentityKey, rng: &mut ChaCha20Rng) -> Vec<u8> {
        let last = self.sent_on(to).unwrap();
        self.sessions[last].encrypt_with_rng(b"text", rng).unwrap()
    }
}

/// Whoever writes for the first time begins a conversation of his own: what is meant for Alice goes to Alice.
#[test]
fn a_stranger_does_not_take_over_a_conversation() {
    let mut rng = seeded(20);
    let [mut alice, mut bob, mut mallory] = std::array::from_fn(|_| Side::new(9, &mut rng));
    let [a, b, m] = [&alice, &bob, &mallory].map(|side| *side.identity.identity_key());
    alice.initiate(&mut bob, &mut rng);
    let message = alice.send(&b, &mut rng);
    assert_eq!(bob.receive(&message, &mut rng), (a, b"text".to_vec()));
    // With a higher id than Alice's session and with a lower one, answered or not.
    for _ in 0..4 {
        mallory.initiate(&mut bob, &mut rng);
        for _ in 0..2 {
            let message = mallory.send(&b, &mut rng);
            assert_eq!(bob.receive(&message, &mut rng), (m, b"text".to_vec()));
            let to_alice = bob.send(&a, &mut rng);
            assert_eq!(alice.receive(&to_alice, &mut rng), (b, b"text".to_vec()));
            let to_mallory = bob.send(&m, &mut rng);
            assert_eq!(mallory.receive(&to_mallory, &mut rng), (b, b"text".to_vec()));
        }
        // The same when Bob's own session with Alice is not answered.
        bob.initiate(&mut alice, &mut rng);
    }
    let with = |peer, other| {
        let session = |side: &IdentityKey| &bob.sessions[bob.sent_on(side).unwrap()];
        [MessageKind::Initial, MessageKind::Ratchet].map(|kind| session(peer).yields_to(session(other), kind))
    };
    assert_eq!([with(&a, &m), with(&m, &a)], [[false; 2]; 2]);
}

/// Both begin at once, and anew, and the network holds the messages of each side back for as long as it likes:
/// whatever the schedule, both sides end up sending on one session.
#[test]
fn crossing_sessions_meet_on_every_schedule() {
    use rand::RngExt;
    for seed in 0..1_000 {
        let mut rng = seeded(seed);
        let mut sides: [Side; 2] = std::array::from_fn(|_| Side::new(0, &mut rng));
        let names = sides.each_ref().map(|side| *side.identity.identity_key());
        let mut queues = [Vec::new(), Vec::new()];
        // The adversary: lets a side begin or send, and delivers any queued message, in any order.
        for step in 0..rng.random_range(4..25) {
            let side = rng.random_range(0..2usize);
            if sides[side].sessions.is_empty() || (step < 12 && rng.random_range(0..6) == 0) {
                let [left, right] = &mut sides;
                let (own, peer) = if side == 0 { (left, right) } else { (right, left) };
                own.initiate(peer, &mut rng);
            }
            if rng.random_range(0..2) == 0 || queues[side].is_empty() {
                let message = sides[side].send(&names[1 - side], &mut rng);
                queues[side].push(message);
            } else {
                let pick = rng.random_range(0..queues[side].len());
                let message = queues[side].swap_remove(pick);
                assert_eq!(sides[1 - side].receive(&message, &mut rng), (names[side], b"text".to_vec()));
            }
        }
        for (side, queue) in queues.into_iter().enumerate() {
            for message in queue {
                assert_eq!(sides[1 - side].receive(&message, &mut rng), (names[side], b"text".to_vec()));
            }
        }
        for side in [0, 1, 0, 1] {
            if !sides[side].sessions.is_empty() {
                let message = sides[side].send(&names[1 - side], &mut rng);
                assert_eq!(sides[1 - side].receive(&message, &mut rng), (names[side], b"text".to_vec()));
            }
        }
        let sent_on = sides.each_ref().map(|side| side.sessions.last().unwrap().id());
        assert_eq!(sent_on[0], sent_on[1], "seed {seed}");
    }
}

#[test]
fn a_confirmed_session_yields_to_a_newer_one() {
    let mut pair = Pair::new(5, 2);
    let (alice, bob) = pair.established();
    let first = pair.initiate().encrypt(b"anew").unwrap();
    let (newer, _) = Session::accept(&pair.bob, &mut pair.prekeys, &first).unwrap();
    assert!(bob.yields_to(&newer, MessageKind::Initial));
    // A session that has just been begun here does not yield to what was under way on an older one.
    let anew = pair.initiate();
    assert!(!anew.yields_to(&alice, MessageKind::Ratchet));
    assert!(alice.yields_to(&anew, MessageKind::Ratchet));
    // Not to one with another peer: Bob's peer is Alice, Alice's is Bob.
    assert!(!bob.yields_to(&alice, MessageKind::Initial));
}

#[test]
fn survives_being_sealed_and_opened_at_every_step() {
    let mut pair = Pair::new(6, 1);
    let key = storage_key();
    let mut alice = pair.initiate();
    let bob_identity = pair.bob.seal(&key);
    let prekeys = pair.prekeys.seal(&key);
    let messages: Vec<_> = (0..3u8)
        .map(|i| {
            alice = Session::open(&key, &alice.seal(&key)).unwrap();
            alice.encrypt(&[i]).unwrap()
        })
        .collect();
    let bob_identity = IdentityKeyPair::open(&key, &bob_identity).unwrap();
    let mut prekeys = PreKeys::open(&key, &prekeys).unwrap();
    let (mut bob, _) = Session::accept(&bob_identity, &mut prekeys, &messages[1]).unwrap();
    for i in [2u8, 0] {
        bob = Session::open(&key, &bob.seal(&key)).unwrap();
        assert_eq!(bob.decrypt(&messages[usize::from(i)]), Ok(vec![i]));
    }
    for round in 0..20u8 {
        alice = Session::open(&key, &alice.seal(&key)).unwrap();
        exchange(&mut bob, &mut alice, &[round]);
        bob = Session::open(&key, &bob.seal(&key)).unwrap();
        exchange(&mut alice, &mut bob, &[round]);
    }
    assert_eq!(state(&alice), state(&Session::open(&key, &alice.seal(&key)).unwrap()));
    assert_eq!(
        Session::open(&common::storage_key(), &bob_identity.seal(&key)).err(),
        Some(Error::SealBroken)
    );
}

#[test]
fn halves_are_stored_apart_and_belong_together() {
    let mut pair = Pair::new(7, 2);
    let key = storage_key();
    let (mut alice, mut bob) = pair.established();
    let generation = bob.cold_generation();
    exchange(&mut alice, &mut bob, b"in order");
    assert_eq!(bob.cold_generation(), generation, "in-order messages leave the cold half alone");
    let old_cold = bob.seal_cold(&key);

    let missing = alice.encrypt(b"missing").unwrap();
    exchange(&mut alice, &mut bob, b"later");
    assert_ne!(bob.cold_generation(), generation);
    let (hot, cold) = (bob.seal_hot(&key), bob.seal_cold(&key));
    assert_eq!(Session::open_halves(&key, &hot, &old_cold).err(), Some(Error::SealBroken));
    let (other, _) = {
        let first = pair.initiate().encrypt(b"").unwrap();
        Session::accept(&pair.bob, &mut pair.prekeys, &first).unwrap()
    };
    assert_eq!(Session::open_halves(&key, &other.seal_hot(&key), &cold).err(), Some(Error::SealBroken));
    assert_eq!(Session::open_halves(&key, &cold, &hot).err(), Some(Error::SealBroken));
    assert_eq!(Session::open(&key, &hot).err(), Some(Error::SealBroken));
    let mut bob = Session::open_halves(&key, &hot, &cold).unwrap();
    assert_eq!(bob.decrypt(&missing).unwrap(), b"missing");
}

/// After a rollback two branches of a session count the changes of their cold halves alike. Mixed, a message that was
/// received would open once more, and one that was not would be a duplicate.
#[test]
fn halves_of_two_branches_do_not_mix() {
    let mut pair = Pair::new(71, 1);
    let key = storage_key();
    let (mut alice, mut bob) = pair.established();
    let snapshot = bob.seal(&key);
    let messages: Vec<_> = (0..3u8).map(|i| alice.encrypt(&[i]).unwrap()).collect();
    assert_eq!(bob.decrypt(&messages[1]).unwrap(), [1]);
    let mut other = Session::open(&key, &snapshot).unwrap();
    for i in [0, 2] {
        assert_eq!(other.decrypt(&messages[i]).unwrap(), [i as u8]);
    }
    assert_eq!(bob.cold_generation(), other.cold_generation());
    for (hot, cold) in [(&bob, &other), (&other, &bob)] {
        let opened = Session::open_halves(&key, &hot.seal_hot(&key), &cold.seal_cold(&key));
        assert_eq!(opened.err(), Some(Error::SealBroken));
    }
    // The halves of one branch go together, also when it was opened again in between.
    other = Session::open(&key, &other.seal(&key)).unwrap();
    let cold = other.seal_cold(&key);
    other = Session::open(&key, &other.seal(&key)).unwrap();
    other = Session::open_halves(&key, &other.seal_hot(&key), &cold).unwrap();
    assert_eq!(other.decrypt(&messages[1]).unwrap(), [1]);
}

/// The same with a session accepted twice, from different messages: its prekeys were rolled back.
#[test]
fn halves_of_two_acceptances_do_not_mix() {
    let mut pair = Pair::new(72, 1);
    let key = storage_key();
    let prekeys = pair.prekeys.seal(&key);
    let mut alice = pair.initiate();
    alice.encrypt(b"lost").unwrap();
    let messages = [0, 1].map(|i| alice.encrypt(&[i]).unwrap());
    let [first, second] = messages.map(|message| {
        let mut prekeys = PreKeys::open(&key, &prekeys).unwrap();
        Session::accept(&pair.bob, &mut prekeys, &message).unwrap().0
    });
    assert_eq!((first.id(), first.cold_generation()), (second.id(), second.cold_generation()));
    let opened = Session::open_halves(&key, &second.seal_hot(&key), &first.seal_cold(&key));
    assert_eq!(opened.err(), Some(Error::SealBroken));
    assert!(Session::open_halves(&key, &second.seal_hot(&key), &second.seal_cold(&key)).is_ok());
}

/// What the README's table says about sizes.
#[test]
fn sizes() {
    let mut pair = Pair::new(8, 3);
    let mut unanswered = pair.initiate();
    unanswered.set_padding(Padding::None);
    let first = unanswered.encrypt(&[0; 256]).unwrap();
    assert_eq!(first.len() - 256, 1_853 + 34, "added to a first message of 256 bytes, with a codeword");

    // The hot state at its largest: with the handshake part, a payload of full length in it.
    let bundle = pair.prekeys.bundle().verify(NOW).unwrap();
    let mut largest = Session::initiate_with_payload(&pair.alice, bundle, &[0; 512]).unwrap();
    largest.encrypt(b"first").unwrap();
    let hot = largest.seal_hot(&storage_key()).len();
    assert!(hot <= 4_096, "sealed hot state of {hot} bytes");

    let (mut alice, mut bob) = pair.established();
    assert_eq!(alice.encrypt(&[0; 40]).unwrap().len(), 1 + 68 + 256 + 16, "padded");
    alice.set_padding(Padding::None);
    let message = alice.encrypt(&[0; 256]).unwrap();
    assert_eq!(message.len() - 256, 90 + 34, "added to an established message of 256 bytes, with a codeword");
    // The most that a hot state holds: both chains, every incarnation remembered.
    let key = storage_key();
    for _ in 0..40 {
        alice = Session::open(&key, &alice.seal(&key)).unwrap();
        exchange(&mut alice, &mut bob, b"again");
    }
    exchange(&mut bob, &mut alice, b"turn");
    bob.encrypt(b"both chains").unwrap();
    for session in [&alice, &bob] {
        let hot = session.seal_hot(&key).len();
        assert!(hot <= 2_200, "sealed hot state of {hot} bytes");
    }
    // And what messages that are missing add to the whole.
    let before = bob.seal(&key).len();
    for _ in 0..100 {
        alice.encrypt(b"lost").unwrap();
    }
    exchange(&mut alice, &mut bob, b"not lost");
    let added = bob.seal(&key).len() - before;
    assert!((6_500..=7_500).contains(&added), "{added} bytes for a hundred messages");
}

#[test]
fn a_bundle_expires() {
    let mut pair = Pair::new(9, 1);
    let bytes = pair.prekeys.bundle().to_bytes();
    let at = |time: UnixTime| PreKeyBundle::from_bytes(&bytes).unwrap().verify(time).map(|_| ());
    let day = 24 * 60 * 60;
    let not_after = pair.prekeys.signed_prekey().not_after();
    assert_eq!(not_after, UnixTime::from_secs(NOW.as_secs() + 30 * day));
    assert_eq!(at(not_after), Ok(()));
    assert_eq!(at(UnixTime::from_secs(not_after.as_secs() + 1)), Err(Error::Expired));
    // A clock may be a week behind the one that it was made by, or the other one ahead.
    assert_eq!(at(UnixTime::from_secs(not_after.as_secs() - 37 * day)), Ok(()));
    assert_eq!(at(UnixTime::from_secs(not_after.as_secs() - 37 * day - 1)), Err(Error::NotYetValid));
    assert_eq!(at(UnixTime::from_secs(0)), Err(Error::NotYetValid));
}

#[test]
fn prekeys_rotate_and_old_ones_go_on_for_a_while() {
    let mut pair = Pair::new(10, 0);
    let day = 24 * 60 * 60;
    let after = |days: u64| UnixTime::from_secs(NOW.as_secs() + days * day);
    let under_way = [pair.initiate().encrypt(b"1").unwrap(), pair.initiate().encrypt(b"2").unwrap()];
    assert!(!pair.prekeys.rotation_due(after(6)));
    assert!(pair.prekeys.rotation_due(after(7)));
    let old = pair.prekeys.signed_prekey();
    for days in [7, 14, 21, 28, 36] {
        pair.prekeys.rotate(&pair.bob, after(days)).unwrap();
        assert!(!pair.prekeys.rotation_due(after(days)));
    }
    assert_ne!(pair.prekeys.signed_prekey(), old);
    assert!(Session::accept(&pair.bob, &mut pair.prekeys, &under_way[0]).is_ok());
    pair.prekeys.rotate(&pair.bob, after(37)).unwrap();
    let late = Session::accept(&pair.bob, &mut pair.prekeys, &under_way[1]);
    assert_eq!(late.err(), Some(Error::UnknownPreKey));
}

/// Nothing but a rotation deletes a signed prekey; so it is due when one is to be deleted.
#[test]
fn a_rotation_is_due_when_an_old_prekey_is_to_go() {
    let mut pair = Pair::new(21, 0);
    let day = 24 * 60 * 60;
    let after = |days: u64| UnixTime::from_secs(NOW.as_secs() + days * day);
    let under_way = pair.initiate().encrypt(b"").unwrap();
    pair.prekeys.rotate(&pair.bob, after(35)).unwrap();
    assert!(!pair.prekeys.rotation_due(after(36)));
    assert!(pair.prekeys.rotation_due(after(37)));
    // What is waiting is read first.
    assert!(Session::accept(&pair.bob, &mut pair.prekeys, &under_way).is_ok());
    pair.prekeys.rotate(&pair.bob, after(37)).unwrap();
    assert!(!pair.prekeys.rotation_due(after(37)));
    let replayed = Session::accept(&pair.bob, &mut pair.prekeys, &under_way);
    assert_eq!(replayed.err(), Some(Error::UnknownPreKey));
}

/// A clock that was years ahead when a signed prekey was made: rotation goes on, and the prekey goes 37 days later.
#[test]
fn a_clock_once_ahead_does_not_stop_rotation() {
    let mut pair = Pair::new(22, 0);
    let day = 24 * 60 * 60;
    let after = |days: u64| UnixTime::from_secs(NOW.as_secs() + days * day);
    pair.prekeys.rotate(&pair.bob, after(4_000)).unwrap();
    // Whoever took it did so under such a clock.
    let bundle = pair.prekeys.bundle();
    assert_eq!(bundle.clone().verify(NOW).err(), Some(Error::NotYetValid));
    let under_way = [bundle.clone(), bundle].map(|bundle| {
        let bundle = bundle.verify(after(4_000)).unwrap();
        Session::initiate(&pair.alice, bundle).unwrap().encrypt(b"").unwrap()
    });
    assert!(pair.prekeys.rotation_due(NOW));
    pair.prekeys.rotate(&pair.bob, NOW).unwrap();
    assert!(!pair.prekeys.rotation_due(after(6)));
    pair.prekeys.rotate(&pair.bob, after(36)).unwrap();
    assert!(Session::accept(&pair.bob, &mut pair.prekeys, &under_way[0]).is_ok());
    assert!(pair.prekeys.rotation_due(after(37)));
    pair.prekeys.rotate(&pair.bob, after(37)).unwrap();
    let late = Session::accept(&pair.bob, &mut pair.prekeys, &under_way[1]);
    assert_eq!(late.err(), Some(Error::UnknownPreKey));
}

#[test]
fn sixteen_signed_prekeys_are_kept() {
    let mut pair = Pair::new(23, 0);
    let under_way = [pair.bundle(), pair.bundle()]
        .map(|bundle| Session::initiate(&pair.alice, bundle).unwrap().encrypt(b"").unwrap());
    for _ in 0..15 {
        pair.prekeys.rotate(&pair.bob, NOW).unwrap();
    }
    assert!(Session::accept(&pair.bob, &mut pair.prekeys, &under_way[0]).is_ok());
    pair.prekeys.rotate(&pair.bob, NOW).unwrap();
    let late = Session::accept(&pair.bob, &mut pair.prekeys, &under_way[1]);
    assert_eq!(late.err(), Some(Error::UnknownPreKey));
    let current = pair.initiate().encrypt(b"").unwrap();
    assert!(Session::accept(&pair.bob, &mut pair.prekeys, &current).is_ok());
}

#[test]
fn one_time_prekeys_are_handed_out_once_and_refilled() {
    let mut pair = Pair::new(11, 3);
    assert_eq!(pair.prekeys.not_handed_out(), 3);
    assert!(pair.bundle().has_one_time_prekey());
    let uploaded = pair.prekeys.hand_out(10);
    assert_eq!((uploaded.len(), pair.prekeys.not_handed_out()), (2, 0));
    assert_ne!(uploaded[0], uploaded[1]);
    assert!(!pair.bundle().has_one_time_prekey());
    pair.prekeys.refill(&pair.bob, 2).unwrap();
    assert_eq!(pair.prekeys.not_handed_out(), 2);
    // What a server assembles from an upload works, also after a restart of the owner.
    let key = storage_key();
    let mut prekeys = PreKeys::open(&key, &pair.prekeys.seal(&key)).unwrap();
    assert_eq!(prekeys.not_handed_out(), 2);
    let bundle =
        PreKeyBundle::new(*pair.bob.identity_key(), prekeys.signed_prekey(), uploaded.into_iter().next());
    let mut alice = Session::initiate(&pair.alice, bundle.verify(NOW).unwrap()).unwrap();
    let message = alice.encrypt(b"hello").unwrap();
    assert!(Session::accept(&pair.bob, &mut prekeys, &message).is_ok());
    assert_eq!(pair.prekeys.refill(&pair.alice, 1), Err(Error::WrongIdentity));
    assert_eq!(pair.prekeys.rotate(&pair.alice, NOW), Err(Error::WrongIdentity));
    let swapped = Session::accept(&pair.alice, &mut prekeys, &message);
    assert_eq!(swapped.err(), Some(Error::WrongIdentity));
}

/// A generator that gives zeros forever.
struct Zeros;

impl rand::TryRng for Zeros {
    type Error = std::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(0)
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(0)
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        bytes.fill(0);
        Ok(())
    }
}

impl rand::TryCryptoRng for Zeros {}

/// The secrets of ours make up for a generator that everybody knows: no two identities have a prekey in common, and one
/// identity has no key in two of different kind or expiry.
#[test]
fn prekeys_are_hedged() {
    use std::collections::HashSet;
    let people = [IdentityKeyPair::generate(), IdentityKeyPair::generate()];
    let mut keys = HashSet::new();
    for who in &people {
        let mut prekeys = PreKeys::generate_with_rng(who, 1, NOW, &mut Zeros);
        let mut records = vec![prekeys.signed_prekey().to_bytes(), prekeys.hand_out(1)[0].to_bytes()];
        prekeys.rotate_with_rng(who, UnixTime::from_secs(NOW.as_secs() + 1), &mut Zeros).unwrap();
        records.push(prekeys.signed_prekey().to_bytes());
        for record in records {
            keys.insert(record[1..33].to_vec());
            keys.insert(record[33..1601].to_vec());
        }
    }
    assert_eq!(keys.len(), 2 * 3 * 2);
}

/// The secrets of ours make up for it in handshakes, too: two peers, two prekeys, two payloads.
#[test]
fn a_broken_generator_alone_does_not_repeat_keys() {
    use std::collections::HashSet;
    let mut pair = Pair::new(12, 3);
    let carol = IdentityKeyPair::generate();
    let bundles = [pair.prekeys.bundle(), pair.prekeys.bundle()];
    let ephemeral = |who: &IdentityKeyPair, bundle: &PreKeyBundle, payload: &[u8]| {
        let bundle = bundle.clone().verify(NOW).unwrap();
        let mut session = Session::initiate_with_rng(who, bundle, payload, &mut Zeros).unwrap();
        session.encrypt_with_rng(b"", &mut Zeros).unwrap()[18..50].to_vec()
    };
    let keys = [
        ephemeral(&pair.alice, &bundles[0], b""),
        ephemeral(&pair.alice, &bundles[1], b""),
        ephemeral(&carol, &bundles[0], b""),
        ephemeral(&pair.alice, &bundles[0], b"payload"),
    ];
    assert_eq!(keys.iter().collect::<HashSet<_>>().len(), 4);
}

/// Buffers of the caller's: what was in them is replaced; on an error nothing is in them and nothing has changed.
#[test]
fn buffers_are_used_again() {
    let (mut alice, mut bob) = Pair::new(40, 1).established();
    let (mut message, mut content) = (b"old message".to_vec(), b"old content".to_vec());
    for size in [0, 300, 5, 70_000, 1_000] {
        alice.encrypt_into(&vec![size as u8; size], &mut message).unwrap();
        bob.decrypt_into(&message, &mut content).unwrap();
        assert!(content == vec![size as u8; size]);
    }
    let (before, twice) = (state(&bob), message.clone());
    assert_eq!(bob.decrypt_into(&twice, &mut content), Err(Error::Duplicate));
    assert!(content.is_empty() && state(&bob) == before);

    alice.encrypt_into(b"another", &mut message).unwrap();
    for position in 0..message.len() {
        let mut altered = message.clone();
        altered[position] ^= 4;
        content.extend(b"old");
        bob.decrypt_into(&altered, &mut content).unwrap_err();
        assert!(content.is_empty(), "{position}");
    }
    content.extend(b"old");
    bob.decrypt_into(&[], &mut content).unwrap_err();
    assert!(content.is_empty() && state(&bob) == before);
    bob.decrypt_into(&message, &mut content).unwrap();
    assert_eq!(content, b"another");

    let before = state(&alice);
    let long = vec![0; subrosa::MAX_CONTENT_LEN + 1];
    assert_eq!(alice.encrypt_into(&long, &mut message), Err(Error::ContentTooLong));
    assert!(message.is_empty() && state(&alice) == before);
}
