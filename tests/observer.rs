//! What the bytes show to who sees all of them: a server, a recorder. Nothing of the sender, nothing that two messages have
//! in common, no byte that is likelier than another.
#![cfg(feature = "std")]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

use std::collections::{BTreeSet, HashSet};

use rand::RngExt;
use subrosa::{DeviceId, IdentityKeyPair, PreKeyBundle, PreKeys, Session, UserId};

mod common;
use common::{
    NOW, Pair,
    world::{Phone, Server, TestClock, link},
};

/// So many bytes in a row are taken for something in common: of random ones, megabytes have none.
const RUN: usize = 8;

fn runs(bytes: &[u8]) -> impl Iterator<Item = [u8; RUN]> {
    bytes.windows(RUN).map(|run| run.try_into().unwrap())
}

/// Where in `message` there is a run that also is somewhere in `known`.
fn common_runs(message: &[u8], known: &[&[u8]]) -> Vec<usize> {
    let known: HashSet<_> = known.iter().flat_map(|bytes| runs(bytes)).collect();
    runs(message).enumerate().filter(|(_, run)| known.contains(run)).map(|(at, _)| at).collect()
}

/// Both halves of an identity, and what its owner publishes: prekeys, with their signatures.
fn public_of(identity: &IdentityKeyPair, prekeys: &mut PreKeys) -> [Vec<u8>; 2] {
    [identity.identity_key().to_bytes().to_vec(), prekeys.bundle().to_bytes()]
}

/// Of a handshake with a one-time prekey, without its payload.
const HANDSHAKE_LEN: usize = 8 + 1 + 8 + 32 + 1568 + 2 + 144;

#[test]
fn a_first_message_has_nothing_of_its_sender() {
    let mut pair = Pair::new(1, 4);
    let mut alices = PreKeys::generate_with_rng(&pair.alice, 1, NOW, &mut pair.rng);
    let public = public_of(&pair.alice, &mut alices);
    let payload: [u8; 256] = pair.rng.random();
    let text = b"a text that is longer than a run";
    let known = [&public[0][..], &public[1], &payload, text];
    let mut first = || {
        let bundle = pair.bundle();
        let mut session = Session::initiate_with_rng(&pair.alice, bundle, &payload, &mut pair.rng).unwrap();
        [(); 2].map(|()| session.encrypt_with_rng(text, &mut pair.rng).unwrap())
    };
    let (one, other) = (first(), first());
    for message in one.iter().chain(&other) {
        assert_eq!(common_runs(message, &known), [0; 0], "something of the sender's, or of the content");
        assert_eq!(message.len(), 1 + HANDSHAKE_LEN + payload.len() + 68 + 256 + 16);
    }
    // Two sessions of one sender have in common whom they are for, and nothing else.
    // Kind, id of the signed prekey, whether there is a one-time prekey: the first 10 bytes.
    assert_eq!(common_runs(&one[0], &[&other[0]]), [0, 1, 2]);
    // Two messages of one session, before it is answered: the handshake.
    let repeated = (0..=1 + HANDSHAKE_LEN + payload.len() - RUN).collect::<Vec<_>>();
    assert_eq!(common_runs(&one[0], &[&one[1]]), repeated);
    // And all that is in it: the recipient reads the sender's name.
    let (session, _) = Session::accept(&pair.bob, &mut pair.prekeys, &one[0]).unwrap();
    assert_eq!(session.peer_identity(), pair.alice.identity_key());
}

/// What a server stores of a device, and may therefore compare with what passes.
fn stored_of(phone: &mut Phone) -> Vec<Vec<u8>> {
    let publication = phone.device.publication(100).unwrap();
    let mut stored = vec![publication.list.to_bytes(), publication.signed_prekey.to_bytes()];
    stored.push(publication.identity_key.to_bytes().to_vec());
    stored.extend(names_of(phone.user(), phone.address().device));
    stored
}

fn names_of(user: UserId, device: DeviceId) -> [Vec<u8>; 4] {
    let text = |text: String| text.into_bytes();
    [user.to_bytes().to_vec(), device.to_bytes().to_vec(), text(user.to_string()), text(device.to_string())]
}

#[test]
fn messages_of_devices_have_nothing_of_users_and_devices() {
    let (clock, mut server) = (TestClock::default(), Server::default());
    let mut alice = Phone::new(&clock, &mut server);
    let mut bob = Phone::new(&clock, &mut server);
    let mut second = link(&mut bob, &mut server);
    let mut stored = Vec::new();
    for phone in [&mut alice, &mut bob, &mut second] {
        stored.append(&mut stored_of(phone));
    }
    let text = "a text that is longer than a run";
    stored.push(text.as_bytes().to_vec());
    let known: Vec<_> = stored.iter().map(Vec::as_slice).collect();
    let mut lengths = BTreeSet::new();
    for _ in 0..3 {
        // First messages to two devices, a message of a device to its twin, answers, lists in between.
        alice.say(&mut server, &bob.user(), text);
        bob.poll(&mut server);
        bob.say(&mut server, &alice.user(), text);
        second.poll(&mut server);
        second.say(&mut server, &alice.user(), text);
        alice.poll(&mut server);
    }
    for message in &server.log {
        assert_eq!(common_runs(message, &known), [0; 0]);
        lengths.insert(message.len());
    }
    let established = 1 + 68 + 256 + 16;
    assert_eq!(lengths.first(), Some(&established));
    assert!(lengths.last() > Some(&(established + HANDSHAKE_LEN + 256)), "a first message, with a list");
    // That the search finds what is there: a bundle, as it passes when somebody fetches it.
    let bundle = server.bundle(&bob.address()).unwrap();
    assert!(common_runs(&bundle, &known).len() > 1_000);
}

/// Two conversations at the same time, in both directions: no run of any message is anywhere in any other.
#[test]
fn established_messages_have_nothing_in_common() {
    let mut pair = Pair::new(2, 2);
    let mut sessions = [pair.established(), pair.established()];
    let public = public_of(&pair.alice, &mut PreKeys::generate(&pair.alice, 1, NOW));
    let mut seen: HashSet<_> = public.iter().flat_map(|bytes| runs(bytes)).collect();
    let mut count = seen.len();
    for round in 0..1_000 {
        for (alice, bob) in &mut sessions {
            let (from, to) = if round / 3 % 2 == 0 { (alice, bob) } else { (bob, alice) };
            let message = from.encrypt(b"the same text every time").unwrap();
            to.decrypt(&message).unwrap();
            count += message.len() - RUN + 1;
            seen.extend(runs(&message));
        }
    }
    assert_eq!(seen.len(), count);
}

/// Every byte of an established message but the first, which says that it is one, takes every value equally often; and so
/// does the difference to the message before. Content, padding and headers are nearly the same every time.
#[test]
fn no_byte_of_an_established_message_is_likelier_than_another() {
    const LEN: usize = 1 + 68 + 256 + 16;
    const COUNT: usize = 12_800;
    let mut pair = Pair::new(3, 1);
    let mut rng = common::seeded(3);
    let bundle: PreKeyBundle = pair.prekeys.bundle();
    let bundle = bundle.verify(NOW).unwrap();
    let mut alice = Session::initiate_with_rng(&pair.alice, bundle, &[], &mut rng).unwrap();
    let first = alice.encrypt_with_rng(b"first", &mut rng).unwrap();
    let accepted = Session::accept_with_rng(&pair.bob, &mut pair.prekeys, &first, &mut rng).unwrap();
    let mut sides = [accepted.session, alice];
    let mut counts = vec![[[0u32; 256]; 2]; LEN];
    let mut before = [0; LEN];
    for number in 0..=COUNT {
        let [one, other] = &mut sides;
        // Turns of ten: most headers differ from the one before by a number only.
        let (from, to) = if number / 10 % 2 == 0 { (one, other) } else { (other, one) };
        let message = from.encrypt_with_rng(b"the same text every time", &mut rng).unwrap();
        assert_eq!(to.decrypt(&message).unwrap(), b"the same text every time");
        let message: [u8; LEN] = message.try_into().unwrap();
        if number > 0 {
            for ((count, byte), before) in counts.iter_mut().zip(message).zip(before) {
                count[0][usize::from(byte)] += 1;
                count[1][usize::from(byte ^ before)] += 1;
            }
        }
        before = message;
    }
    assert_eq!((counts[0][0][0x21], counts[0][1][0]), (COUNT as u32, COUNT as u32), "one kind byte");
    let expected = COUNT as f64 / 256.0;
    for (position, counts) in counts.iter().enumerate().skip(1) {
        for (what, count) in ["value", "difference"].iter().zip(counts) {
            assert!(count.iter().all(|count| *count > 0), "{what} of byte {position}: one never occurs");
            let chi_square: f64 = count.iter().map(|n| (f64::from(*n) - expected).powi(2) / expected).sum();
            // 255 on average, with a standard deviation of 22.6: five of them to either side, over 680 figures.
            assert!((142.0..368.0).contains(&chi_square), "{what} of byte {position}: {chi_square:.0}");
        }
    }
}
