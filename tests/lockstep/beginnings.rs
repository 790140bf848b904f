//! Bundles and first messages that are wrong in every way that section 7 names, in its order.

use rand::RngExt;

use super::{
    limits::{bob, draft, liar},
    world::World,
};
use crate::reference::{
    encoding::{HandshakePart, Padding, Reader, Value, kind, write_body},
    kem,
    prekeys::{Bundle, Identity, Prekeys, PublicPrekey, signed_bytes},
    primitives::{Refusal, Tape, cat, label, sign},
    session::Session,
};

fn tape(world: &mut World) -> Tape {
    Tape::new((0..96).map(|_| world.rng.random()).collect())
}

/// Who signs whatever it likes.
fn mallory(world: &mut World) -> Identity {
    let mut tape = tape(world);
    Identity::generate(&mut tape)
}

/// A bundle of these X25519 keys, with everything else in order.
fn bundle(who: &Identity, not_after: u64, signed: [u8; 32], one_time: Option<[u8; 32]>) -> Bundle {
    let ek = kem::public_1024(&[7; 64]);
    let prekey = |kind: u8, label: &[u8], x25519: [u8; 32], end: &[u8]| {
        let record = cat(&[&[kind], &x25519, &ek, end]);
        let signature = sign(&who.ed25519_seed, &signed_bytes(label, &record, &who.ik));
        PublicPrekey { record, signature }
    };
    let signed = prekey(kind::SIGNED_PREKEY, label::SIGNED_PREKEY, signed, &not_after.to_be_bytes());
    let one_time = one_time.map(|key| prekey(kind::ONE_TIME_PREKEY, label::ONE_TIME_PREKEY, key, b""));
    Bundle { ik: who.ik, signed, one_time }
}

const GOOD: [u8; 32] = [9; 32];
const SMALL_ORDER: [u8; 32] = [0; 32];

#[test]
fn bundles() {
    let tally = World::new(1, 2, 2).run("bundles", 1, |world| {
        let mut who = mallory(world);
        let (now, later) = (world.now, world.now + 1);
        // The clock may say `not_after`.
        let good = bundle(&who, now, GOOD, Some(GOOD));
        assert!(world.initiate(0, &good.to_bytes(), &[0; 512]).is_ok());
        assert_eq!(world.initiate(0, &good.to_bytes(), &[0; 513]), Err(Refusal::PayloadTooLong));
        world.now = later;
        assert_eq!(world.initiate(0, &good.to_bytes(), b""), Err(Refusal::Expired));
        let mut forged = good.clone();
        forged.one_time.as_mut().unwrap().signature[63] ^= 1;
        assert_eq!(world.initiate(0, &forged.to_bytes(), b""), Err(Refusal::InvalidSignature));
        world.now = now;

        // Keys of small order are valid, and give no result.
        for (signed, one_time) in [(SMALL_ORDER, None), (GOOD, Some(SMALL_ORDER)), (SMALL_ORDER, Some(GOOD))]
        {
            let bytes = bundle(&who, now, signed, one_time).to_bytes();
            assert_eq!(world.initiate(0, &bytes, b""), Err(Refusal::InvalidKey));
            assert_eq!(world.initiate(0, &bytes, &[0; 513]), Err(Refusal::PayloadTooLong));
        }
        who.ik[32..].copy_from_slice(&SMALL_ORDER);
        assert_eq!(
            world.initiate(0, &bundle(&who, now, GOOD, None).to_bytes(), b""),
            Err(Refusal::InvalidKey)
        );

        // Every byte that is judged before the end: each one altered in two ways, also where the rest is missing.
        let good = good.to_bytes();
        for at in
            (0..110).chain((110..1_640).step_by(101)).chain(1_640..1_780).chain((1_780..3_404).step_by(101))
        {
            for with in [0xff, 0x01] {
                let mut bytes = good.clone();
                bytes[at] ^= with;
                let _ = world.initiate(0, &bytes, b"");
                bytes.truncate(at + 1 + 40 * usize::from(with == 1));
                world.initiate(0, &bytes, b"").unwrap_err();
            }
            world.people[0].sessions.clear();
        }
        // Each key by what is wrong with a key: not canonical, not on the curve, of small order.
        for (at, len) in [(1, 32), (33, 32), (66, 32), (1_740, 32), (98, 1_568), (1_772, 1_568)] {
            for byte in [0x00, 0x01, 0x02, 0xff] {
                let mut bytes = good.clone();
                bytes[at..at + len].fill(byte);
                let _ = world.initiate(0, &bytes, b"");
            }
        }
        for bytes in [cat(&[&good, &[0]]), Vec::new(), good[..1_739].to_vec()] {
            assert_eq!(world.initiate(0, &bytes, b""), Err(Refusal::Malformed));
        }
    });
    for what in ["Malformed", "UnsupportedVersion", "InvalidKey", "InvalidSignature", "Expired"] {
        assert!(tally.contains_key(&format!("bundle: {what}")), "{what}: {tally:?}");
    }
}

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

/// A Braid that ends, in each of the three ways, on a message that is delivered; and goes on being silent.
#[test]
fn the_end_of_the_braid() {
    for (name, value) in [("MacHdr", Value::Header), ("vector", Value::Vector), ("MacCt", Value::Ct2)] {
        let tally = super::limits::established(5).run(name, 5, |world| {
            world.set_padding(0, 0, Padding::None);
            world.set_padding(1, 0, Padding::None);
            // Codewords come one by one. Whoever waits for the value gets all the others wrong.
            for round in 0..400 {
                let from = round % 2;
                let message = world.encrypt(from, 0, b"talk").unwrap();
                assert!(world.give(1 - from, &message).is_ok());
                let mut liar = world.people[from].sessions[0].model.clone();
                let mut draft = draft(world, &mut liar);
                if liar.pq.braid.stream().is_some_and(|(sent, _)| sent == value) {
                    let words = (0..31)
                        .map(|index| (100 + index + 31 * (round as u16 / 2 % 2), [0x77; 32]))
                        .collect();
                    draft.body = write_body(b"wrong", &Some((value, words)), Padding::None);
                    world.encrypt(from, 0, b"lost").unwrap();
                    assert_eq!(world.give(1 - from, &draft.seal()), Ok(b"wrong".to_vec()));
                }
                if world.people[1 - from].sessions[0].model.needs_rehandshake() {
                    break;
                }
            }
            for round in 0..40 {
                let message = world.encrypt(round % 2, 0, b"talk").unwrap();
                assert!(world.give(1 - round % 2, &message).is_ok());
            }
        });
        assert_eq!(tally[&format!("the Braid ends: {name}")], 1, "{tally:?}");
    }
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

#[test]
fn signed_prekeys_come_and_go() {
    const DAY: u64 = 86_400;
    World::new(9, 2, 0).run("signed prekeys", 9, |world| {
        let start = world.now;
        let first = world.bundle(1, false);
        let works = |world: &mut World, bundle: &[u8]| {
            let session = world.initiate(0, bundle, b"").unwrap();
            let message = world.encrypt(0, session, b"").unwrap();
            world.accept(1, &message)
        };
        // When one is due: `maintain` compares, and replaces it.
        for (day, second, bundles) in
            [(7, -1, 1), (7, 0, 2), (6, 0, 2), (14, -1, 3), (14, 0, 3), (30, 0, 4), (31, 0, 4)]
        {
            world.now = start.saturating_add_signed(day * DAY as i64 + second);
            world.maintain(1, 0, false);
            let _ = bundles;
        }
        // It goes at the first replacement 37 days after it was made.
        for (seconds, result) in [(37 * DAY - 1, Ok(Vec::new())), (37 * DAY, Err(Refusal::UnknownPreKey))] {
            world.now = start + seconds;
            world.maintain(1, 0, true);
            // The initiator's clock is behind.
            world.now = start;
            assert_eq!(works(world, &first), result);
        }
        // Of 20 on one day the newest 16 are kept.
        let bundles: Vec<Vec<u8>> = (0..20)
            .map(|_| {
                world.maintain(1, 0, true);
                world.bundle(1, false)
            })
            .collect();
        for (index, bundle) in bundles.iter().enumerate() {
            assert_eq!(works(world, bundle).is_ok(), index >= 4, "{index}");
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

/// More one-time prekeys than are kept.
#[test]
#[ignore = "8,192 key pairs of ML-KEM: run it with `--ignored`"]
fn too_many_one_time_prekeys() {
    let tally = World::new(7, 2, 3).run("one-time prekeys", 7, |world| {
        let first = world.bundle(1, true);
        let second = world.bundle(1, true);
        world.maintain(1, 4_094, false);
        for (bundle, good) in [(first, false), (second, true)] {
            let session = world.initiate(0, &bundle, b"").unwrap();
            let message = world.encrypt(0, session, b"").unwrap();
            assert_eq!(world.accept(1, &message).is_ok(), good);
        }
        let third = world.bundle(1, true);
        world.initiate(0, &third, b"").unwrap();
    });
    assert_eq!(tally["a one-time prekey is one too many"], 1);
}
