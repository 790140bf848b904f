//! Published attacks and failures, one by one, through the public API. The id of each is in the test's name; what
//! takes a malicious peer that alters its own headers is in `src/session/hostile.rs`.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that panics is a test that fails"
)]

use std::collections::{HashSet, VecDeque};

use subrosa::{
    Error, IdentityKey, IdentityKeyPair, OneTimePreKey, Padding, PreKeyBundle, PreKeys, Session,
    SignedPreKey, StorageKey,
};

mod common;
use common::{NOW, Pair, exchange, seeded, state, storage_key};

/// Calls `decrypt` with bytes that must be refused, and checks that nothing has changed.
#[track_caller]
fn refused(session: &mut Session, bytes: &[u8]) -> Error {
    let before = state(session);
    let error = session.decrypt(bytes).expect_err("must be refused");
    assert_eq!(state(session), before, "state changed by a refused message");
    error
}

/// EK_A in a handshake replaced by points of small order and by non-canonical encodings.
#[test]
fn a01_small_order_ephemeral_key() {
    let mut pair = Pair::new(1, 1);
    let message = pair.initiate().encrypt(b"").unwrap();
    let mut bad = vec![[0; 32], [0xff; 32]];
    bad[1][31] = 0x7f;
    let mut one = [0; 32];
    one[0] = 1;
    bad.push(one);
    one[31] = 0x80;
    bad.push(one);
    let before = pair.prekeys.seal(&storage_key());
    for key in bad {
        let mut forged = message.clone();
        forged[18..50].copy_from_slice(&key);
        let result = Session::accept(&pair.bob, &mut pair.prekeys, &forged);
        assert_eq!(result.err(), Some(Error::InvalidKey));
        // The key is judged before the prekeys are looked for.
        forged[1] ^= 1;
        let result = Session::accept(&pair.bob, &mut pair.prekeys, &forged);
        assert_eq!(result.err(), Some(Error::InvalidKey));
    }
    assert_eq!(pair.prekeys.seal(&storage_key()), before);
    assert!(Session::accept(&pair.bob, &mut pair.prekeys, &message).is_ok());
}

/// One kind of public value read as another, and records moved between slots and owners.
#[test]
fn a03_prekeys_of_one_kind_do_not_pass_for_another() {
    let mut pair = Pair::new(3, 2);
    let signed = pair.prekeys.signed_prekey().to_bytes();
    let one_time = pair.prekeys.hand_out(1).pop().unwrap().to_bytes();
    assert_eq!(OneTimePreKey::from_bytes(&signed).err(), Some(Error::Malformed));
    assert_eq!(SignedPreKey::from_bytes(&one_time).err(), Some(Error::Malformed));
    assert_eq!(IdentityKey::from_bytes(&one_time).err(), Some(Error::Malformed));
    assert_eq!(PreKeyBundle::from_bytes(&one_time).err(), Some(Error::Malformed));
    // The keys of a one-time prekey under the head of a signed one, with its signature.
    let mut disguised = signed.clone();
    disguised[1..1601].copy_from_slice(&one_time[1..1601]);
    disguised[1609..].copy_from_slice(&one_time[1601..]);
    let disguised = SignedPreKey::from_bytes(&disguised).unwrap();
    let bundle = PreKeyBundle::new(*pair.bob.identity_key(), disguised, None);
    assert_eq!(bundle.verify(NOW).err(), Some(Error::InvalidSignature));
    // The X25519 key of one prekey with the ML-KEM key of another.
    let other = pair.prekeys.hand_out(1).pop().unwrap().to_bytes();
    let mut mixed = one_time.clone();
    mixed[33..1601].copy_from_slice(&other[33..1601]);
    let mixed = OneTimePreKey::from_bytes(&mixed).unwrap();
    let bundle = PreKeyBundle::new(*pair.bob.identity_key(), pair.prekeys.signed_prekey(), Some(mixed));
    assert_eq!(bundle.verify(NOW).err(), Some(Error::InvalidSignature));
}

#[test]
fn a04_messages_do_not_open_in_another_session() {
    let mut pair = Pair::new(4, 2);
    let (mut alice1, mut bob1) = pair.established();
    let (mut alice2, mut bob2) = pair.established();
    let message = alice1.encrypt(b"for the first").unwrap();
    assert_eq!(refused(&mut bob2, &message), Error::UnknownSession);
    assert_eq!(refused(&mut alice2, &message), Error::UnknownSession);
    // Back to its sender.
    assert_eq!(refused(&mut alice1, &message), Error::UnknownSession);
    // The header of one message with the body of another: the nonce is the other's, the header is no more.
    let second = alice1.encrypt(b"for the first").unwrap();
    let spliced = [&message[..69], &second[69..]].concat();
    assert_eq!(refused(&mut bob1, &spliced), Error::UnknownSession);
    // With the nonce of its own: the header opens, the body is another's.
    let end = message.len() - 24;
    let spliced = [&message[..69], &second[69..end], &message[end..]].concat();
    assert_eq!(refused(&mut bob1, &spliced), Error::Unauthentic);
    assert_eq!(bob1.decrypt(&message).unwrap(), b"for the first");
}

#[test]
fn a05_initial_message_is_accepted_once() {
    for one_time in [0, 1] {
        let mut pair = Pair::new(5, one_time);
        let mut alice = pair.initiate();
        let (first, second) = (alice.encrypt(b"1").unwrap(), alice.encrypt(b"2").unwrap());
        let (mut bob, _) = Session::accept(&pair.bob, &mut pair.prekeys, &first).unwrap();
        let expected = if one_time == 0 { Error::Replayed } else { Error::UnknownPreKey };
        let key = storage_key();
        for _ in 0..2 {
            for message in [&first, &second] {
                let before = pair.prekeys.seal(&key);
                let replayed = Session::accept(&pair.bob, &mut pair.prekeys, message);
                assert_eq!(replayed.err(), Some(expected));
                assert_eq!(pair.prekeys.seal(&key), before);
            }
            // ... nor after a restart, nor after a rotation.
            pair.prekeys = PreKeys::open(&key, &pair.prekeys.seal(&key)).unwrap();
            pair.prekeys.rotate(&pair.bob, NOW).unwrap();
        }
        assert_eq!(bob.decrypt(&second).unwrap(), b"2");
    }
}

#[test]
fn a06_the_app_sees_that_no_one_time_prekey_was_used() {
    let mut pair = Pair::new(6, 1);
    for expected in [true, false, false] {
        let bundle = pair.bundle();
        assert_eq!(bundle.has_one_time_prekey(), expected);
        let mut alice = Session::initiate(&pair.alice, bundle).unwrap();
        let message = alice.encrypt(b"").unwrap();
        let (bob, _) = Session::accept(&pair.bob, &mut pair.prekeys, &message).unwrap();
        assert_eq!((alice.used_one_time_prekey(), bob.used_one_time_prekey()), (expected, expected));
    }
}

/// Every byte of an established message, flipped: nothing opens, nothing changes. Then every shorter and some
/// longer message (a12: a shorter tag is a shorter message).
#[test]
fn a07_a12_altered_messages_change_nothing() {
    for padding in [Padding::None, Padding::Buckets] {
        let (mut alice, mut bob) = Pair::new(7, 1).established();
        exchange(&mut bob, &mut alice, b"turn");
        alice.set_padding(padding);
        let skipped = alice.encrypt(b"skipped").unwrap();
        exchange(&mut alice, &mut bob, b"later");
        let current = alice.encrypt(b"current").unwrap();
        exchange(&mut bob, &mut alice, b"turn");
        let next = alice.encrypt(b"next").unwrap();
        // A key that was skipped, the current chain, and a header that asks for a turn.
        for message in [&skipped, &current, &next] {
            for position in 0..message.len() {
                let mut forged = message.clone();
                forged[position] ^= 1 << (position % 8);
                let error = refused(&mut bob, &forged);
                let expected: &[_] = match position {
                    0 => &[Error::Malformed, Error::UnsupportedVersion],
                    1..69 => &[Error::UnknownSession],
                    // In front of the nonce: the header opens, the body does not.
                    _ if position < message.len() - 24 => &[Error::Unauthentic],
                    _ => &[Error::UnknownSession],
                };
                assert!(expected.contains(&error), "{error:?} at {position}");
            }
            for len in 0..message.len() {
                assert!(matches!(
                    refused(&mut bob, &message[..len]),
                    Error::Malformed | Error::UnknownSession
                ));
            }
            for extra in [&[0][..], &[0; 16], &[0xff; 300]] {
                assert_eq!(refused(&mut bob, &[message, extra].concat()), Error::UnknownSession);
            }
        }
        assert_eq!(bob.decrypt(&next).unwrap(), b"next");
        assert_eq!(bob.decrypt(&skipped).unwrap(), b"skipped");
        assert_eq!(bob.decrypt(&current).unwrap(), b"current");
    }
}

/// The same for an initial message, which is refused as a whole: no prekey used, no replay recorded.
#[test]
fn a07_altered_initial_messages_change_nothing() {
    for one_time in [0, 1] {
        let mut pair = Pair::new(70, one_time);
        let mut alice = pair.initiate();
        let message = alice.encrypt(b"first").unwrap();
        let before = pair.prekeys.seal(&storage_key());
        let mut refused = |bytes: &[u8]| {
            let result = Session::accept(&pair.bob, &mut pair.prekeys, bytes);
            let error = result.expect_err("must be refused");
            assert_eq!(pair.prekeys.seal(&storage_key()), before, "changed by a refused message");
            error
        };
        for position in 0..message.len() {
            let mut forged = message.clone();
            forged[position] ^= 1 << (position % 8);
            refused(&forged);
        }
        for len in 0..message.len() {
            assert!(matches!(refused(&message[..len]), Error::Malformed | Error::Unauthentic));
        }
        assert_eq!(refused(&[&message[..], &[0]].concat()), Error::Unauthentic);
        let (_, content) = Session::accept(&pair.bob, &mut pair.prekeys, &message).unwrap();
        assert_eq!(content, b"first");
    }
}

/// The same for an initial message that repeats the handshake of a session that exists.
#[test]
fn a07_altered_repetitions_change_nothing() {
    let mut pair = Pair::new(72, 1);
    let mut alice = pair.initiate();
    let (first, repeated) = (alice.encrypt(b"1").unwrap(), alice.encrypt(b"2").unwrap());
    let (mut bob, _) = Session::accept(&pair.bob, &mut pair.prekeys, &first).unwrap();
    for position in 0..repeated.len() {
        let mut forged = repeated.clone();
        forged[position] ^= 1 << (position % 8);
        refused(&mut bob, &forged);
    }
    for len in 0..repeated.len() {
        refused(&mut bob, &repeated[..len]);
    }
    for extra in 1..40 {
        refused(&mut bob, &[&repeated[..], &vec![extra; usize::from(extra)]].concat());
    }
    assert_eq!(bob.decrypt(&repeated).unwrap(), b"2");
}

/// Every byte of a bundle: it is refused, by the parser or by verification, or is not what was signed.
#[test]
fn a07_altered_bundles_are_refused() {
    let mut pair = Pair::new(71, 2);
    for bytes in [pair.prekeys.bundle().to_bytes(), {
        PreKeyBundle::new(*pair.bob.identity_key(), pair.prekeys.signed_prekey(), None).to_bytes()
    }] {
        for position in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[position] ^= 1 << (position % 8);
            let result = PreKeyBundle::from_bytes(&forged).and_then(|bundle| bundle.verify(NOW));
            assert!(result.is_err(), "byte {position}");
        }
        for len in 0..bytes.len() {
            assert!(PreKeyBundle::from_bytes(&bytes[..len]).is_err());
        }
        assert!(PreKeyBundle::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    }
}

#[test]
fn a08_a_corrupted_copy_does_not_burn_a_skipped_key() {
    let (mut alice, mut bob) = Pair::new(8, 1).established();
    let skipped = alice.encrypt(b"skipped").unwrap();
    exchange(&mut alice, &mut bob, b"later");
    let mut corrupted = skipped.clone();
    corrupted[100] ^= 1;
    assert_eq!(refused(&mut bob, &corrupted), Error::Unauthentic);
    assert_eq!(bob.decrypt(&skipped).unwrap(), b"skipped");
    assert_eq!(refused(&mut bob, &skipped), Error::Duplicate);
}

#[test]
fn a09_a_full_store_of_skipped_keys_gives_way() {
    let (mut alice, mut bob) = Pair::new(9, 1).established();
    let messages: Vec<_> = (0..4_500u32).map(|i| alice.encrypt(&i.to_be_bytes()).unwrap()).collect();
    // Jumps of 1,500: the store of 2,000 overflows at the second; then one of more than the store holds.
    for i in [1_500usize, 3_001, 3_002] {
        assert_eq!(bob.decrypt(&messages[i]), Ok((i as u32).to_be_bytes().to_vec()));
    }
    assert_eq!(refused(&mut bob, &messages[0]), Error::TooOld, "the oldest went");
    assert_eq!(refused(&mut bob, &messages[999]), Error::TooOld);
    for i in [3_000usize, 1_001, 1_499, 2_000] {
        assert_eq!(bob.decrypt(&messages[i]), Ok((i as u32).to_be_bytes().to_vec()));
    }
    assert_eq!(refused(&mut bob, &messages[1_500]), Error::Duplicate);
    assert_eq!(refused(&mut bob, &messages[1_499]), Error::Duplicate);

    let more: Vec<_> = (0..2_500u32).map(|i| alice.encrypt(&i.to_be_bytes()).unwrap()).collect();
    assert!(bob.decrypt(&more[2_499]).is_ok());
    assert_eq!(refused(&mut bob, &more[0]), Error::TooOld);
    assert!(bob.decrypt(&more[2_000]).is_ok());
    exchange(&mut bob, &mut alice, b"and on");
    exchange(&mut alice, &mut bob, b"and on");
}

/// A turn that skips in both chains: together they have no more room than one, and the newer chain comes first.
#[test]
fn a09_both_chains_of_a_turn_share_the_store() {
    for (ended, begun) in [(1_500, 1_000), (2_500, 2_500), (2_500, 10)] {
        let (mut alice, mut bob) = Pair::new(90, 1).established();
        let before = alice.encrypt(b"before").unwrap();
        exchange(&mut alice, &mut bob, b"in time");
        let lost = |alice: &mut Session, count: usize| -> Vec<_> {
            (0..count).map(|_| alice.encrypt(b"late").unwrap()).collect()
        };
        let ended = lost(&mut alice, ended);
        exchange(&mut bob, &mut alice, b"turn");
        let begun = lost(&mut alice, begun);
        exchange(&mut alice, &mut bob, b"in time");
        let kept = begun.len().min(2_000);
        for (messages, kept) in [(&begun, kept), (&ended, 2_000 - kept)] {
            let (gone, kept) = messages.split_at(messages.len() - kept.min(messages.len()));
            for message in kept.iter().step_by(97).chain(kept.last()) {
                assert_eq!(bob.decrypt(message).as_deref(), Ok(&b"late"[..]));
            }
            for message in gone.first().into_iter().chain(gone.last()) {
                assert!(matches!(refused(&mut bob, message), Error::TooOld | Error::UnknownSession));
            }
        }
        assert!(matches!(refused(&mut bob, &before), Error::TooOld | Error::UnknownSession));
        exchange(&mut bob, &mut alice, b"and on");
        exchange(&mut alice, &mut bob, b"and on");
    }
}

/// A rollback whose first number is still missing takes the key that waits for it; the numbers after it give it away, though
/// the incarnation has been seen below them.
#[test]
fn a16_a_missing_message_does_not_hide_a_rollback() {
    let key = storage_key();
    let (mut alice, mut bob) = Pair::new(161, 1).established();
    exchange(&mut alice, &mut bob, b"0");
    let snapshot = alice.seal(&key);
    let late = alice.encrypt(b"1").unwrap();
    let received: Vec<_> = (2..=4u8).map(|n| alice.encrypt(&[n]).unwrap()).collect();
    received.iter().for_each(|message| drop(bob.decrypt(message).unwrap()));
    let mut restored = Session::open(&key, &snapshot).unwrap();
    let again: Vec<_> = (1..=4u8).map(|n| restored.encrypt(&[n]).unwrap()).collect();
    assert_eq!(bob.decrypt(&again[0]).unwrap(), [1]);
    for message in again[1..].iter().chain([&late, &again[0]]) {
        assert_eq!(refused(&mut bob, message), Error::PeerRolledBack);
    }
    for message in &received {
        assert_eq!(refused(&mut bob, message), Error::Duplicate);
    }
}

/// Who opens a session anew for every message, and is heard in any order and twice, is not accused of anything.
#[test]
fn a16_restarts_are_no_rollback() {
    use rand::seq::SliceRandom;
    let key = storage_key();
    let (mut alice, mut bob) = Pair::new(162, 1).established();
    let mut messages: Vec<_> = (0..100u8)
        .map(|n| {
            if n % 3 != 0 {
                alice = Session::open(&key, &alice.seal(&key)).unwrap();
            }
            alice.encrypt(&[n]).unwrap()
        })
        .collect();
    let last = messages.pop().unwrap();
    bob.decrypt(&last).unwrap();
    messages.shuffle(&mut seeded(162));
    for (i, message) in messages.iter().enumerate() {
        assert!(bob.decrypt(message).is_ok());
        for read in &messages[..=i] {
            assert_eq!(bob.decrypt(read), Err(Error::Duplicate));
        }
    }
}

/// A peer that loses a message in every chain, for thousands of chains.
#[test]
fn a10_many_short_chains_take_bounded_memory() {
    let (mut alice, mut bob) = Pair::new(10, 1).established();
    let mut largest = 0;
    for _ in 0..300 {
        for _ in 0..60 {
            alice.encrypt(b"lost").unwrap();
        }
        exchange(&mut alice, &mut bob, b"arrives");
        exchange(&mut bob, &mut alice, b"turn");
        largest = largest.max(bob.seal_cold(&storage_key()).len());
    }
    // 2,000 keys of each kind at 32 bytes and their places, and 40 header keys.
    assert!(largest < 170_000, "{largest} bytes");
    assert!(largest > 140_000, "the test reaches the bound: {largest} bytes");
}

/// The nonce of a header is the end of the message: it never repeats, in any chain.
#[test]
fn a13_no_header_nonce_repeats() {
    let count = 1_000_000;
    let (mut alice, mut bob) = Pair::new(13, 1).established();
    alice.set_padding(Padding::None);
    let mut nonces = HashSet::with_capacity(count);
    let mut headers = HashSet::with_capacity(count);
    for i in 0..count {
        let message = alice.encrypt(b"").unwrap();
        // 16 bytes of the 24 are enough to tell.
        assert!(nonces.insert(u128::from_be_bytes(*message.last_chunk().unwrap())));
        assert!(headers.insert(u128::from_be_bytes(*message[1..].first_chunk().unwrap())));
        if i % 10_000 == 0 {
            assert!(bob.decrypt(&message).is_ok());
            exchange(&mut bob, &mut alice, b"turn");
        }
    }
}

/// Fields that a downgrade would strip or alter: suite and version bytes, the KEM ciphertext, the PQ key.
#[test]
fn a14_nothing_can_be_stripped() {
    let mut pair = Pair::new(14, 1);
    let bundle = pair.prekeys.bundle().to_bytes();
    // Without its one-time prekey a bundle is still genuine: the server's to choose, and visible.
    let mut stripped = bundle[..1739].to_vec();
    stripped[1738] = 0;
    let stripped = PreKeyBundle::from_bytes(&stripped).unwrap().verify(NOW).unwrap();
    assert!(!stripped.has_one_time_prekey());
    // Without the ML-KEM key it is nothing.
    let classical = [&bundle[..98], &bundle[98 + 1568..]].concat();
    assert!(PreKeyBundle::from_bytes(&classical).is_err());

    let mut alice = Session::initiate(&pair.alice, stripped).unwrap();
    let message = alice.encrypt(b"").unwrap();
    let mut refused =
        |bytes: &[u8]| Session::accept(&pair.bob, &mut pair.prekeys, bytes).expect_err("refused");
    assert_eq!(refused(&[&message[..42], &message[42 + 1568..]].concat()), Error::Malformed);
    for version in [0x10, 0x12, 0x1f] {
        assert_eq!(refused(&[&[version], &message[1..]].concat()), Error::UnsupportedVersion);
    }
    // The kind of an established message over an initial one.
    assert_eq!(refused(&[&[0x21], &message[1..]].concat()), Error::UnknownSession);
}

#[test]
fn a16_a36_a_rolled_back_sender_repeats_no_key_and_is_reported() {
    let key = storage_key();
    let (mut alice, mut bob) = Pair::new(36, 1).established();
    exchange(&mut alice, &mut bob, b"before");
    let snapshot = alice.seal(&key);
    let first = alice.encrypt(b"the same text").unwrap();
    assert!(bob.decrypt(&first).is_ok());

    let mut restored = Session::open(&key, &snapshot).unwrap();
    let second = restored.encrypt(b"the same text").unwrap();
    // The same chain position, the same text, the same length: nothing of the ciphertext is the same.
    assert_eq!(first.len(), second.len());
    let equal = first[69..].iter().zip(&second[69..]).filter(|(a, b)| a == b).count();
    assert!(equal < 16, "{equal} of 272 bytes agree");
    let error = refused(&mut bob, &second);
    assert_eq!(error, Error::PeerRolledBack);
    assert!(error.needs_rehandshake());
    // A duplicate on the network is not taken for a rollback, also not after restarts in good order.
    assert_eq!(refused(&mut bob, &first), Error::Duplicate);
    let mut alice = Session::open(&key, &alice.seal(&key)).unwrap();
    let third = alice.encrypt(b"third").unwrap();
    assert!(bob.decrypt(&third).is_ok());
    assert_eq!(refused(&mut bob, &first), Error::Duplicate);
    assert_eq!(refused(&mut bob, &third), Error::Duplicate);
}

/// The network cannot hide a rollback by delivering a new number first: that the restored peer is then known does not
/// make its lower numbers duplicates.
#[test]
fn a16_reordering_does_not_hide_a_rollback() {
    let key = storage_key();
    let (mut alice, mut bob) = Pair::new(162, 1).established();
    exchange(&mut alice, &mut bob, b"before");
    let snapshot = alice.seal(&key);
    for _ in 0..3 {
        exchange(&mut alice, &mut bob, b"forgotten by the backup");
    }
    let mut restored = Session::open(&key, &snapshot).unwrap();
    let messages: Vec<_> = (0..6u8).map(|i| restored.encrypt(&[i]).unwrap()).collect();
    assert_eq!(bob.decrypt(&messages[5]).unwrap(), [5]);
    for used_twice in &messages[..3] {
        assert_eq!(refused(&mut bob, used_twice), Error::PeerRolledBack);
    }
    // Numbers that were not used before open, late as they are, and are duplicates afterwards.
    for new in [4, 3] {
        assert_eq!(bob.decrypt(&messages[new]).unwrap(), [new as u8]);
    }
    for new in [3, 4, 5] {
        assert_eq!(refused(&mut bob, &messages[new]), Error::Duplicate);
    }
    assert_eq!(refused(&mut bob, &messages[2]), Error::PeerRolledBack);
}

/// How far `PeerRolledBack` reaches: not to a state from before the last round trip. Neither side has a key of the
/// other's, so that neither can know more than that.
#[test]
fn a16_an_older_state_is_unknown_to_both_sides() {
    let key = storage_key();
    for missing in [false, true] {
        let (mut alice, mut bob) = Pair::new(163, 1).established();
        exchange(&mut alice, &mut bob, b"before");
        let lost = alice.encrypt(b"late").unwrap();
        exchange(&mut alice, &mut bob, b"before");
        let snapshot = alice.seal(&key);
        if !missing {
            assert!(bob.decrypt(&lost).is_ok());
        }
        exchange(&mut bob, &mut alice, b"round");
        exchange(&mut alice, &mut bob, b"trip");
        let mut restored = Session::open(&key, &snapshot).unwrap();
        let message = restored.encrypt(b"from the backup").unwrap();
        // With a message of its chain missing there is a key left to know it by.
        let expected = if missing { Error::PeerRolledBack } else { Error::UnknownSession };
        assert_eq!(refused(&mut bob, &message), expected);
        let message = bob.encrypt(b"to the backup").unwrap();
        assert_eq!(refused(&mut restored, &message), Error::UnknownSession);
    }
}

/// A clone that makes the same turn again: another ratchet key under the same header key.
#[test]
fn a16_a_repeated_turn_is_reported() {
    let key = storage_key();
    let (mut alice, mut bob) = Pair::new(16, 1).established();
    let snapshot = alice.seal(&key);
    exchange(&mut alice, &mut bob, b"turn");
    let mut clone = Session::open(&key, &snapshot).unwrap();
    let message = clone.encrypt(b"the same turn").unwrap();
    assert_eq!(refused(&mut bob, &message), Error::PeerRolledBack);
    // Also with a number that has not been used: it is the ratchet key that tells.
    let message = clone.encrypt(b"another number").unwrap();
    assert_eq!(refused(&mut bob, &message), Error::PeerRolledBack);
}

/// A device that was restored first reads what is waiting for it, then answers: a new turn, which no number of the EC
/// ratchet gives away. Its PQ numbers do, as soon as it uses one that was received.
#[test]
fn a16_a_rolled_back_peer_that_answers_first_is_reported() {
    let key = storage_key();
    let (mut alice, mut bob) = Pair::new(161, 1).established();
    exchange(&mut alice, &mut bob, b"before");
    let snapshot = alice.seal(&key);
    let late = alice.encrypt(b"late").unwrap();
    for _ in 0..5 {
        exchange(&mut alice, &mut bob, b"forgotten by the backup");
    }
    let waiting = bob.encrypt(b"waiting").unwrap();
    let mut restored = Session::open(&key, &snapshot).unwrap();
    assert_eq!(restored.decrypt(&waiting).unwrap(), b"waiting");
    // Its first number is that of the late message, which Bob has a key for.
    restored.encrypt(b"lost").unwrap();
    for _ in 0..5 {
        let message = restored.encrypt(b"an answer").unwrap();
        let error = refused(&mut bob, &message);
        assert_eq!(error, Error::PeerRolledBack);
        assert!(error.needs_rehandshake());
    }
    // The state that was not restored goes on as ever.
    assert_eq!(bob.decrypt(&late).unwrap(), b"late");
    assert_eq!(alice.decrypt(&waiting).unwrap(), b"waiting");
    exchange(&mut alice, &mut bob, b"and on");
}

#[test]
fn a24_equal_lengths_stay_equal() {
    let (mut alice, _) = Pair::new(24, 1).established();
    for padding in [Padding::Buckets, Padding::None] {
        alice.set_padding(padding);
        for len in [0, 10, 300, 5_000, 100_000] {
            let noise: Vec<u8> =
                (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            let sizes =
                [vec![0; len], vec![b'a'; len], noise].map(|text| alice.encrypt(&text).unwrap().len());
            assert!(sizes.iter().all(|size| *size == sizes[0]));
        }
    }
}

/// Garbage of every length, and length fields that claim gigabytes.
#[test]
fn a25_garbage_is_refused_cheaply() {
    use rand::Rng;
    let mut rng = seeded(25);
    let mut pair = Pair::new(25, 1);
    let (mut alice, _) = pair.established();
    for round in 0..3_000usize {
        let mut bytes = vec![0; round];
        rng.fill_bytes(&mut bytes);
        if let Some(kind) = bytes.first_mut() {
            *kind = [0x11, 0x21, 0x31, 0x41, 0x51, *kind][round % 6];
        }
        refused(&mut alice, &bytes);
        assert!(Session::accept(&pair.bob, &mut pair.prekeys, &bytes).is_err());
        assert!(PreKeyBundle::from_bytes(&bytes).is_err());
        assert!(Session::open(&storage_key(), &bytes).is_err());
        assert!(PreKeys::open(&storage_key(), &bytes).is_err());
    }
    refused(&mut alice, &[0x21; 1 << 20]);
    refused(&mut alice, &[0x11; 1 << 20]);
}

/// The answer to a bad message does not tell which byte was bad: of the header, of the body, of the header's nonce.
#[test]
fn a28_one_error_for_every_failed_tag() {
    let (mut alice, mut bob) = Pair::new(28, 1).established();
    let message = alice.encrypt(b"text").unwrap();
    for positions in [1..69, 69..message.len() - 24, message.len() - 24..message.len()] {
        let errors: HashSet<_> = positions
            .map(|position| {
                let mut forged = message.clone();
                forged[position] ^= 0x80;
                refused(&mut bob, &forged)
            })
            .collect();
        assert_eq!(errors.len(), 1, "{errors:?}");
    }
    // Implicit rejection of the KEM looks like every other failure.
    let mut pair = Pair::new(29, 1);
    let message = pair.initiate().encrypt(b"").unwrap();
    for position in [60, 700, 1600, 1640, 1700, 1760, 1790] {
        let mut forged = message.clone();
        forged[position] ^= 1;
        let result = Session::accept(&pair.bob, &mut pair.prekeys, &forged);
        assert_eq!(result.err(), Some(Error::Unauthentic), "{position}");
    }
}

#[test]
fn a32_prekey_ids_do_not_repeat_after_a_restore() {
    let key = storage_key();
    let mut pair = Pair::new(32, 1);
    let backup = pair.prekeys.seal(&key);
    pair.prekeys.refill(&pair.bob, 1).unwrap();
    let ours = pair.prekeys.hand_out(2);
    let mut restored = PreKeys::open(&key, &backup).unwrap();
    restored.refill(&pair.bob, 1).unwrap();
    let bundles: Vec<_> = ours
        .into_iter()
        .map(|prekey| PreKeyBundle::new(*pair.bob.identity_key(), pair.prekeys.signed_prekey(), Some(prekey)))
        .collect();
    // The one made after the backup is unknown to the restored device, and is not taken for another.
    for (bundle, expected) in bundles.into_iter().zip([None, Some(Error::UnknownPreKey)]) {
        let mut session = Session::initiate(&pair.alice, bundle.verify(NOW).unwrap()).unwrap();
        let message = session.encrypt(b"").unwrap();
        assert_eq!(Session::accept(&pair.bob, &mut restored, &message).err(), expected);
    }
}

/// Either half of an identity replaced, by the server on first contact or by the sender.
#[test]
fn a35_halves_of_identities_do_not_mix() {
    let mut pair = Pair::new(35, 1);
    let mallory = IdentityKeyPair::generate();
    let (bob, mallory) = (pair.bob.identity_key().to_bytes(), mallory.identity_key().to_bytes());
    let bundle = pair.prekeys.bundle().to_bytes();
    for mixed in [[&mallory[..32], &bob[32..]].concat(), [&bob[..32], &mallory[32..]].concat()] {
        let forged = [&bundle[..1], &mixed, &bundle[65..]].concat();
        let result = PreKeyBundle::from_bytes(&forged).unwrap().verify(NOW);
        assert_eq!(result.err(), Some(Error::InvalidSignature));
    }
}

/// Late messages: every one up to 1,500 behind, over a chain and over many chains.
#[test]
fn a37_late_messages_survive() {
    let (mut alice, mut bob) = Pair::new(37, 1).established();
    // 39 turns with 38 messages missing in each: 1,482 late ones in 39 chains.
    let mut late = Vec::new();
    for turn in 0..39u8 {
        for number in 0..38u8 {
            late.push((alice.encrypt(&[turn, number]).unwrap(), [turn, number]));
        }
        exchange(&mut alice, &mut bob, b"in time");
        exchange(&mut bob, &mut alice, b"turn");
    }
    bob = Session::open(&storage_key(), &bob.seal(&storage_key())).unwrap();
    for (message, content) in late.iter().rev() {
        assert_eq!(bob.decrypt(message).as_deref(), Ok(&content[..]));
    }
    assert_eq!(refused(&mut bob, &late[5].0), Error::UnknownSession, "its header key is gone");
    exchange(&mut alice, &mut bob, b"and on");
}

/// More chains with missing messages than header keys are kept for: the oldest give way, nothing is refused.
#[test]
fn a37_the_oldest_chains_give_way() {
    let (mut alice, mut bob) = Pair::new(370, 1).established();
    let late: Vec<_> = (0..50u8)
        .map(|turn| {
            let late = alice.encrypt(&[turn]).unwrap();
            exchange(&mut alice, &mut bob, b"in time");
            exchange(&mut bob, &mut alice, b"turn");
            late
        })
        .collect();
    let opened = late.iter().filter(|message| bob.decrypt(message).is_ok()).count();
    // 40 closed chains, and the current one.
    assert_eq!(opened, 41);
    assert!(late[..9].iter().all(|message| bob.decrypt(message) == Err(Error::UnknownSession)));
    exchange(&mut alice, &mut bob, b"and on");
}

#[test]
fn a38_thirty_thousand_lost_messages_do_not_wedge() {
    let (mut alice, mut bob) = Pair::new(38, 1).established();
    alice.set_padding(Padding::None);
    let early = alice.encrypt(b"early").unwrap();
    exchange(&mut alice, &mut bob, b"arrives");
    let mut lost = Vec::new();
    for _ in 0..30_000 {
        lost = alice.encrypt(b"lost").unwrap();
    }
    let error = refused(&mut bob, &lost);
    assert_eq!(error, Error::TooFarAhead);
    assert!(error.needs_rehandshake());
    exchange(&mut bob, &mut alice, b"turn");
    exchange(&mut alice, &mut bob, b"after the turn");
    exchange(&mut bob, &mut alice, b"and on");
    // What was missing before stays readable, the abandoned rest is too old.
    assert_eq!(bob.decrypt(&early).unwrap(), b"early");
    assert!(matches!(refused(&mut bob, &lost), Error::TooOld | Error::UnknownSession));
}

/// The key of a message that never comes is kept for 2,000 turns, and what was kept beside it goes with it.
#[test]
fn a37_keys_of_lost_messages_do_not_wait_for_ever() {
    let key = storage_key();
    let (mut alice, mut bob) = Pair::new(371, 1).established();
    let least = bob.seal_cold(&key).len();
    let late = alice.encrypt(b"late").unwrap();
    exchange(&mut alice, &mut bob, b"in time");
    for turn in 1..=2_001 {
        let copy = (turn == 2_001).then(|| Session::open(&key, &bob.seal(&key)).unwrap());
        exchange(&mut bob, &mut alice, b"turn");
        exchange(&mut alice, &mut bob, b"and on");
        if let Some(mut copy) = copy {
            assert!(copy.seal_cold(&key).len() > least);
            assert_eq!(copy.decrypt(&late).as_deref(), Ok(&b"late"[..]), "2,000 turns late");
        }
    }
    assert_eq!(bob.seal_cold(&key).len(), least, "nothing is kept any more");
    assert_eq!(refused(&mut bob, &late), Error::UnknownSession);
}

/// ... and for 25,000 messages of the chain that is current, where nobody takes a turn.
#[test]
fn a37_keys_of_lost_messages_do_not_outlast_a_long_chain() {
    let key = storage_key();
    let (mut alice, mut bob) = Pair::new(372, 1).established();
    alice.set_padding(Padding::None);
    let least = bob.seal_cold(&key).len();
    let of_a_chain_before = alice.encrypt(b"late").unwrap();
    exchange(&mut alice, &mut bob, b"in time");
    exchange(&mut bob, &mut alice, b"turn");
    let late = alice.encrypt(b"late").unwrap();
    for _ in 1..25_000 {
        exchange(&mut alice, &mut bob, b"");
    }
    let mut copy = Session::open(&key, &bob.seal(&key)).unwrap();
    for late in [&of_a_chain_before, &late] {
        assert_eq!(copy.decrypt(late).as_deref(), Ok(&b"late"[..]), "24,999 messages late");
    }
    exchange(&mut alice, &mut bob, b"one more");
    assert_eq!(bob.seal_cold(&key).len(), least, "nothing is kept any more");
    assert_eq!(refused(&mut bob, &late), Error::TooOld);
    assert_eq!(refused(&mut bob, &of_a_chain_before), Error::UnknownSession);
}

/// At six codewords a message epochs are fast, with room for more they are faster; what was held back opens all the same, up to
/// 1,500 messages later.
#[test]
fn a37_late_messages_survive_fast_epochs() {
    for (in_turn, len, epochs) in [(true, 40, 150), (false, 40, 120), (true, 480, 250), (true, 40_000, 300)] {
        late_messages_survive(in_turn, len, epochs);
    }
}

fn late_messages_survive(in_turn: bool, len: usize, epochs: u32) {
    use rand::RngExt;
    const LATE: usize = 1_500;
    let content = vec![b'x'; len];
    let mut rng = seeded(37);
    let (alice, bob) = Pair::new(37, 1).established();
    let mut sides = [alice, bob];
    let mut held: VecDeque<(usize, usize, Vec<u8>)> = VecDeque::new();
    let (mut delivered, epoch) = (0, sides[0].pq_epoch());
    for sent in 0..2 * LATE + 100 {
        let from = if in_turn { sent % 2 } else { rng.random_range(0..2) };
        let message = sides[from].encrypt(&content).unwrap();
        assert!(sides[1 - from].decrypt(&message).unwrap() == content);
        // No more are on the way at once than chains keep their header key. This one is often the last of its epoch, of which
        // then nothing comes before it is late.
        if sent % 53 == 17 && sent < LATE {
            held.push_back((sent, from, sides[from].encrypt(&content).unwrap()));
        }
        while let Some((_, from, message)) = held.pop_front_if(|(at, ..)| sent >= *at + LATE) {
            let read = sides[1 - from].decrypt(&message);
            let error = read.as_ref().err();
            assert!(read.as_ref() == Ok(&content), "{error:?} of {len} bytes, in turn: {in_turn}, at {sent}");
            delivered += 1;
        }
    }
    assert_eq!(delivered, (LATE - 18) / 53 + 1);
    let began = sides[0].pq_epoch() - epoch;
    assert!(began > epochs, "{began} epochs with {len} bytes, in turn: {in_turn}");
}

/// So many messages are late. Of another chain `lost` messages are lost for good; beyond 25,000 the next chain abandons them. A
/// message is held back from before an epoch, and skips over the PQ keys of the lost ones when it arrives after the epoch.
/// How many of the late ones can still be read; none if after so many rounds no epoch begins at the right moment.
fn late_ones_beside_lost_ones(count: usize, rounds: usize, lost: usize) -> Option<usize> {
    let (mut alice, mut bob) = Pair::new(38, 1).established();
    bob.set_padding(Padding::None);
    exchange(&mut bob, &mut alice, b"turn");
    let late: Vec<_> = (0..count).map(|_| alice.encrypt(b"late").unwrap()).collect();
    let mut round = || {
        exchange(&mut alice, &mut bob, b"on");
        exchange(&mut bob, &mut alice, b"and on");
        alice.pq_epoch()
    };
    let epoch = round();
    while round() == epoch {}
    for _ in 0..rounds {
        round();
    }
    exchange(&mut alice, &mut bob, b"arrives");
    (0..lost).for_each(|_| drop(alice.encrypt(b"").unwrap()));
    exchange(&mut bob, &mut alice, b"turn");
    let epoch = alice.pq_epoch();
    let held = alice.encrypt(b"held").unwrap();
    // Bob's messages bring the epoch. Of Alice's only the first that is in it arrives.
    let newest = (0..10).find_map(|_| {
        exchange(&mut bob, &mut alice, b"on");
        let message = alice.encrypt(b"newest").unwrap();
        (alice.pq_epoch() > epoch).then_some(message)
    })?;
    assert_eq!(bob.decrypt(&newest).unwrap(), b"newest");
    assert_eq!(bob.decrypt(&held).unwrap(), b"held");
    Some(late.iter().filter(|message| bob.decrypt(message).is_ok()).count())
}

/// The PQ keys of abandoned messages can read nothing, and do not push out those of messages that are late.
#[test]
fn a38_abandoned_messages_leave_the_keys_of_late_ones_alone() {
    for count in [10, 1_500] {
        let rounds = (0..140).find(|rounds| late_ones_beside_lost_ones(count, *rounds, 100) == Some(count));
        assert_eq!(late_ones_beside_lost_ones(count, rounds.unwrap(), 25_100), Some(count));
    }
}

/// The shortest message there is: the header's nonce is all of the body's.
#[test]
fn a41_empty_content_without_padding() {
    let (mut alice, mut bob) = Pair::new(41, 1).established();
    for session in [&mut alice, &mut bob] {
        session.set_padding(Padding::None);
    }
    let mut seen = HashSet::new();
    let mut lengths = HashSet::new();
    for _ in 0..100 {
        let message = alice.encrypt(b"").unwrap();
        lengths.insert(message.len());
        assert!(seen.insert(message[69..].to_vec()));
        assert_eq!(bob.decrypt(&message).unwrap(), b"");
        exchange(&mut bob, &mut alice, b"");
    }
    // The shortest body, without a codeword; and with one, which makes it longer than the shortest.
    assert_eq!(lengths, HashSet::from([1 + 68 + 16 + 16, 1 + 68 + 5 + 34 + 16]));
}

#[test]
fn a42_every_byte_before_the_header_is_authenticated() {
    let mut pair = Pair::new(42, 0);
    let mut alice = pair.initiate();
    let (first, repeated) = (alice.encrypt(b"1").unwrap(), alice.encrypt(b"2").unwrap());
    let (mut bob, _) = Session::accept(&pair.bob, &mut pair.prekeys, &first).unwrap();
    let prefix = repeated.len() - (68 + 256 + 16);
    for position in 0..prefix {
        let mut forged = repeated.clone();
        forged[position] ^= 4;
        let error = refused(&mut bob, &forged);
        assert!(
            matches!(error, Error::UnknownSession | Error::Malformed | Error::UnsupportedVersion),
            "{error:?} at {position}"
        );
    }
    // The handshake part taken off, the kind changed to match.
    let bare = [&[0x21], &repeated[prefix..]].concat();
    assert_eq!(refused(&mut bob, &bare), Error::UnknownSession);
    assert_eq!(bob.decrypt(&repeated).unwrap(), b"2");
    // A handshake part put on.
    exchange(&mut bob, &mut alice, b"reply");
    let established = alice.encrypt(b"3").unwrap();
    let dressed = [&repeated[..prefix], &established[1..]].concat();
    assert_eq!(refused(&mut bob, &dressed), Error::UnknownSession);
    assert_eq!(bob.decrypt(&established).unwrap(), b"3");
}

/// Strangers write without one-time prekeys: friends with one get through beside them, under the same signed prekey.
#[test]
fn a46_one_time_prekeys_are_not_affected_by_last_resort_ones() {
    let mut pair = Pair::new(46, 1);
    let with_one_time = pair.bundle();
    for _ in 0..20 {
        let message = pair.initiate().encrypt(b"stranger").unwrap();
        assert!(Session::accept(&pair.bob, &mut pair.prekeys, &message).is_ok());
    }
    let mut friend = Session::initiate(&pair.alice, with_one_time).unwrap();
    let message = friend.encrypt(b"friend").unwrap();
    assert!(Session::accept(&pair.bob, &mut pair.prekeys, &message).is_ok());
}

/// Every public type, formatted: none of the secrets that went into it shows.
#[test]
fn a26_nothing_secret_is_printed() {
    use rand::Rng;
    let mut rng = seeded(26);
    let (mut seeds, mut replay) = (vec![0; 4096], seeded(26));
    rng.fill_bytes(&mut seeds);
    let identity = IdentityKeyPair::generate_with_rng(&mut replay);
    let mut prekeys = PreKeys::generate_with_rng(&identity, 3, NOW, &mut replay);
    let key = StorageKey::generate_with_rng(&mut replay);
    let bundle = prekeys.bundle();
    let verified = bundle.clone().verify(NOW).unwrap();
    let used = bundle.clone().verify(NOW).unwrap();
    let mut session = Session::initiate_with_payload(&identity, used, b"a secret payload").unwrap();
    let message = session.encrypt(b"a secret text").unwrap();
    let accepted = Session::accept_with_payload(&identity, &mut prekeys, &message).unwrap();
    let text = format!(
        "{identity:?} {identity:#?} {prekeys:?} {key:?} {bundle:?} {verified:?} {session:?} {session:#?} \
         {accepted:?} {accepted:#?} {:?} {:?}",
        prekeys.signed_prekey(),
        session.id(),
    );
    for name in [
        "IdentityKeyPair(",
        "IdentityKey(",
        "PreKeys {",
        "StorageKey(",
        "PreKeyBundle {",
        "VerifiedBundle(",
        "Session { id: SessionId(",
        "Accepted { session: ",
        "SignedPreKey(",
    ] {
        assert!(text.contains(name), "{name} in {text}");
    }
    for plain in [&accepted.content, &accepted.payload] {
        assert!(plain.len() > 10);
        let lines: String = plain.iter().map(|byte| format!("{byte},")).collect();
        let squeezed: String = text.split_whitespace().collect();
        assert!(!squeezed.contains(&lines[..lines.len() - 1]), "plaintext in {text}");
        assert!(!text.contains(&hex::encode(plain)), "plaintext in {text}");
        assert!(!text.contains(&*String::from_utf8_lossy(plain)), "plaintext in {text}");
    }
    for window in seeds.chunks(8) {
        assert!(!text.contains(&hex::encode(window)), "a secret in {text}");
        assert!(!text.contains(&format!("{window:?}")[1..20]), "a secret in {text}");
    }
    assert!(text.contains("[secret]"));
}
