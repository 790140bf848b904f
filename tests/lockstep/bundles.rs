//! Bundles that are wrong in every way that section 5 names, in its order; and prekeys that come and go.

use super::{
    pair::{GOOD, SMALL_ORDER, tape},
    world::World,
};
use crate::reference::{
    encoding::kind,
    kem,
    prekeys::{Bundle, Identity, PublicPrekey, signed_bytes},
    primitives::{Refusal, cat, label, sign},
};

/// Who signs whatever it likes.
pub fn mallory(world: &mut World) -> Identity {
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

        // Keys of small order are not valid.
        for (signed, one_time) in [(SMALL_ORDER, None), (GOOD, Some(SMALL_ORDER)), (SMALL_ORDER, Some(GOOD))]
        {
            let bytes = bundle(&who, now, signed, one_time).to_bytes();
            assert_eq!(world.initiate(0, &bytes, b""), Err(Refusal::InvalidKey));
            assert_eq!(world.initiate(0, &bytes, &[0; 513]), Err(Refusal::InvalidKey));
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
        for (day, second) in [(7, -1), (7, 0), (6, 0), (14, -1), (14, 0), (30, 0), (31, 0)] {
            world.now = start.saturating_add_signed(day * DAY as i64 + second);
            world.maintain(1, 0, false);
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
