//! First messages that are wrong in every way that section 7 names, in its order.

use super::{
    bundles::mallory,
    pair::{GOOD, SMALL_ORDER, bob, draft, liar, tape},
    world::World,
};
use crate::reference::{
    encoding::{HandshakePart, Reader, kind},
    prekeys::{Bundle, Prekeys},
    primitives::{Refusal, cat, label, sign},
    session::Session,
};

/// Alice, who has a bundle of Bob's and has begun.
fn begun(seed: u64, one_time: u16) -> World {
    let mut world = World::new(seed, 2, one_time);
    let bundle = world.bundle(1, one_time > 0);
    world.initiate(0, &bundle, b"payload").unwrap();
    world
}

#[test]
fn first_messages() {
    for one_time in [0, 1] {
        begun(2, one_time).run("first messages", 2, |world| {
            let alice = liar(world);
            // What is judged when: an error by the header before one by the numbers, before one of the body.
            let mut far = alice.clone();
            draft(world, &mut far);
            far.ec.sending.as_mut().unwrap().chain.run(25_001, 0);
            let far = draft(world, &mut far);
            assert_eq!(bob(world, &far), Err(Refusal::TooFarAhead));
            let mut ahead = alice.clone();
            ahead.pq.sending.run(1, 0);
            let ahead = draft(world, &mut ahead);
            assert_eq!(bob(world, &ahead), Err(Refusal::Malformed));
            for case in 0..9 {
                let mut draft = draft(world, &mut alice.clone());
                let expected = match case {
                    0 => (draft.header.pq_epoch = 1, Refusal::Malformed).1,
                    1 => (draft.header.pq_n = 1, Refusal::Malformed).1,
                    2 => (draft.header.pq_epoch = u32::MAX, Refusal::Malformed).1,
                    3 => (draft.header.n = u32::MAX, Refusal::TooFarAhead).1,
                    4 => (draft.header.ratchet_key = [0xff; 32], Refusal::InvalidKey).1,
                    5 => (draft.header.ratchet_key = SMALL_ORDER, Refusal::InvalidKey).1,
                    6 => (draft.header_key = [1; 32], Refusal::Unauthentic).1,
                    7 => (draft.mk_pq = [1; 32], Refusal::Unauthentic).1,
                    _ => (draft.body[0] = 1, Refusal::Malformed).1,
                };
                assert_eq!(bob(world, &draft), Err(expected), "{case}");
            }
            // pn is ignored. The farthest that may be.
            let mut farthest = alice.clone();
            let mut first = draft(world, &mut farthest);
            farthest.ec.sending.as_mut().unwrap().chain.run(25_000, 0);
            farthest.pq.sending.run(25_000, 0);
            let farthest = draft(world, &mut farthest);
            assert_eq!(bob(world, &farthest), Ok(()));
            first.header.pn = u32::MAX;
            assert_eq!(bob(world, &first), Err(Refusal::TooOld));
            // The same handshake part again, for a session that is there, and that was lost.
            let again = draft(world, &mut alice.clone());
            assert_eq!(bob(world, &again), Err(Refusal::PeerRolledBack));
            world.people[1].sessions.clear();
            let expected = if one_time == 0 { Refusal::Replayed } else { Refusal::UnknownPreKey };
            assert_eq!(bob(world, &again), Err(expected));
        });
    }
}

/// Of a handshake part that was altered, without a message that would open.
#[test]
fn handshake_parts() {
    for one_time in [0, 1] {
        begun(3, one_time).run("handshake parts", 3, |world| {
            let first = world.encrypt(0, 0, b"first").unwrap();
            let read =
                |bytes: &[u8]| HandshakePart::read(&mut Reader::new(&bytes[1..])).map(|part| part.to_bytes());
            let part = read(&first).unwrap();
            let rest = first[1 + part.len()..].to_vec();
            let ek_a = if one_time == 0 { 9 } else { 17 };
            let altered = |at: usize, with: &[u8]| {
                let mut part = part.clone();
                part[at..at + with.len()].copy_from_slice(with);
                cat(&[&[kind::INITIAL_MESSAGE], &part, &rest])
            };
            for (message, expected) in [
                (altered(0, &[1, 2, 3]), Refusal::UnknownPreKey),
                (altered(ek_a, &[0xff; 32]), Refusal::InvalidKey),
                (altered(ek_a, &SMALL_ORDER), Refusal::InvalidKey),
                (altered(ek_a, &GOOD), Refusal::Unauthentic),
                (altered(ek_a + 40, &[1, 2, 3]), Refusal::Unauthentic),
                (altered(part.len() - 3, &[1, 2, 3]), Refusal::Unauthentic),
                (altered(8, &[2]), Refusal::Malformed),
                (altered(ek_a + 1_600, &[2, 1]), Refusal::Malformed),
                (cat(&[&[0x12], &part, &rest]), Refusal::UnsupportedVersion),
                (cat(&[&[0x31], &part, &rest]), Refusal::Malformed),
                (cat(&[&[kind::RATCHET_MESSAGE], &rest]), Refusal::UnknownSession),
                (cat(&[&[kind::RATCHET_MESSAGE], &rest[..99]]), Refusal::Malformed),
            ] {
                assert_eq!(world.accept(1, &message).unwrap_err(), expected);
            }
            // EK_A is judged before the prekeys.
            let mut both = altered(ek_a, &[0xff; 32]);
            both[1] ^= 1;
            assert_eq!(world.accept(1, &both), Err(Refusal::InvalidKey));
            if one_time > 0 {
                assert_eq!(world.accept(1, &altered(9, &[1, 2, 3])), Err(Refusal::UnknownPreKey));
                // Both sides have used it.
                assert!(world.accept(1, &first).is_ok());
                assert_eq!(world.accept(1, &first), Err(Refusal::UnknownPreKey));
            } else {
                assert!(world.accept(1, &first).is_ok());
                assert_eq!(world.accept(1, &first), Err(Refusal::Replayed));
                // The record is looked at before the ciphertext is opened.
                assert_eq!(world.accept(1, &altered(part.len() - 3, &[1, 2, 3])), Err(Refusal::Replayed));
            }
        });
    }
}

#[test]
fn identities_that_are_not() {
    World::new(4, 2, 20).run("identities", 4, |world| {
        let honest = mallory(world);
        for case in 0..7 {
            let mut who = honest.clone();
            match case {
                0 => who.binding[40] ^= 1,
                1 => who.ik[40] ^= 1,
                2 => who.ik[..32].copy_from_slice(&cat(&[&[1], &[0; 31]])), // of small order
                3 => who.ik[..32].fill(0xff),
                4 => who.ik[63] |= 0x80,
                // A key of small order that is bound: valid, but there is no ck2.
                5 => {
                    who.ik[32..].copy_from_slice(&SMALL_ORDER);
                    who.binding = sign(&who.ed25519_seed, &cat(&[label::BINDING, &[1], &who.ik]));
                }
                // Somebody else's X25519 half, bound by this one: a ck2 that only its owner has.
                _ => {
                    who.ik[32..].copy_from_slice(&world.people[0].ik()[32..]);
                    who.binding = sign(&who.ed25519_seed, &cat(&[label::BINDING, &[1], &who.ik]));
                }
            }
            for one_time in [false, true] {
                let bundle = Bundle::read(&world.bundle(1, one_time)).unwrap();
                let mut tape = tape(world);
                let mut session = Session::initiate(&who, &bundle, b"", &mut tape).unwrap();
                let message = draft(world, &mut session);
                assert_eq!(world.accept(1, &message.seal()), Err(Refusal::Unauthentic), "{case}");
            }
        }
        let bundle = Bundle::read(&world.bundle(1, true)).unwrap();
        let mut tape = tape(world);
        let mut session = Session::initiate(&honest, &bundle, b"", &mut tape).unwrap();
        let message = draft(world, &mut session);
        assert!(world.accept(1, &message.seal()).is_ok());
    });
}

/// A session of one's own: both ends are here, with one id.
#[test]
fn talking_to_oneself() {
    World::new(8, 1, 2).run("oneself", 8, |world| {
        for _ in 0..2 {
            let bundle = world.bundle(0, true);
            let session = world.initiate(0, &bundle, b"").unwrap();
            for _ in 0..2 {
                let message = world.encrypt(0, session, b"note").unwrap();
                world.log(format!("{:?}", world.people[0].sessions.len()));
                let session = world.deliver(0, &message).unwrap().0;
                let reply = world.encrypt(0, session, b"reply").unwrap();
                assert!(world.give(0, &reply).is_ok());
            }
        }
    });
}

/// 16,384 first messages without a one-time prekey.
#[test]
#[ignore = "minutes: run it with `--ignored`"]
fn a_full_replay_record() {
    World::new(6, 2, 1).run("replay record", 6, |world| {
        let bytes = world.bundle(1, false);
        let bundle = Bundle::read(&bytes).unwrap();
        let identity = world.people[0].model_identity().clone();
        let mut last = Vec::new();
        for count in 0..=Prekeys::REPLAY_RECORD {
            let mut tape = tape(world);
            let mut session = Session::initiate(&identity, &bundle, b"", &mut tape).unwrap();
            let message = draft(world, &mut session).seal();
            let expected =
                if count < Prekeys::REPLAY_RECORD { Ok(Vec::new()) } else { Err(Refusal::ReplayRecordFull) };
            assert_eq!(world.accept(1, &message), expected, "{count}");
            world.people[1].sessions.clear();
            if count + 1 == Prekeys::REPLAY_RECORD {
                last = message;
            }
        }
        assert_eq!(world.accept(1, &last), Err(Refusal::Replayed));
        // With a one-time prekey it goes on; and with the next signed prekey.
        for one_time in [true, false] {
            let bundle = world.bundle(1, one_time);
            let session = world.initiate(0, &bundle, b"").unwrap();
            let message = world.encrypt(0, session, b"").unwrap();
            assert!(world.accept(1, &message).is_ok());
            world.maintain(1, 0, false);
        }
    });
}
