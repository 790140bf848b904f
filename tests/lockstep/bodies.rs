//! Contents and bodies of every length; and codewords that end the Braid.

use rand::RngExt;

use super::pair::{bob, draft, established, liar, run};
use crate::reference::{
    encoding::{MAX_CONTENT, Padding, Value, kind, write_body},
    primitives::Refusal,
};

#[test]
fn contents_and_bodies_of_every_length() {
    let tally = run("lengths", established(11), |world| {
        for padding in [Padding::None, Padding::Buckets] {
            for whole in [0, 11, 16, 256, 512, 1024, 1088, 1152, 4096, 65_536] {
                for framing in [5, 39] {
                    for len in [whole, whole + 1, whole + 2] {
                        let content = vec![0xa5; usize::saturating_sub(len, framing + 1)];
                        let from = world.rng.random_range(0..2);
                        world.set_padding(from, 0, padding);
                        let message = world.encrypt(from, 0, &content).unwrap();
                        assert_eq!(world.give(1 - from, &message), Ok(content));
                    }
                }
            }
            let content = vec![0x5a; MAX_CONTENT + 1];
            assert_eq!(world.encrypt(0, 0, &content), Err(Refusal::ContentTooLong));
            let message = world.encrypt(0, 0, &content[1..]).unwrap();
            assert!(world.give(1, &message).unwrap() == content[1..]);
            // The largest body, and one that is too long.
            for len in [(1 << 24) + 16, (1 << 24) + 17] {
                let mut message = message.clone();
                message[1] ^= 1;
                message.resize(69 + len, 0);
                let expected = if len > 1 << 24 | 16 { Refusal::Malformed } else { Refusal::UnknownSession };
                assert_eq!(world.give(1, &message), Err(expected));
            }
        }
        for first in [kind::RATCHET_MESSAGE, kind::INITIAL_MESSAGE] {
            for len in (0..120).chain(1_840..1_900) {
                let mut message = vec![0; len];
                if let Some(byte) = message.first_mut() {
                    *byte = first;
                }
                world.give(1, &message).unwrap_err();
            }
        }
    });
    assert!(tally["decrypt: Malformed"] > 200 && tally["decrypt: UnknownSession"] > 10, "{tally:?}");
}

/// A Braid that ends, in each of the three ways, on a message that is delivered; and goes on being silent.
#[test]
fn the_end_of_the_braid() {
    for (name, value) in [("MacHdr", Value::Header), ("vector", Value::Vector), ("MacCt", Value::Ct2)] {
        let tally = run(name, established(5), |world| {
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

/// Every tag of codewords, with as many bytes behind it as it says, one too few, or some more.
#[test]
fn every_tag_of_codewords() {
    let tally = run("tags", established(14), |world| {
        let mut alice = liar(world);
        for tag in 0..=u8::MAX {
            let (value, count) = (tag >> 5, usize::from(tag & 0x1f));
            for more in [-1, 0, 1, 40] {
                let len = (5 + 34 * count as isize + more).max(16) as usize;
                let mut draft = draft(world, &mut alice);
                draft.body = vec![0; len];
                draft.body[4] = tag;
                let good = match value {
                    0 => count == 0,
                    1..=5 => count > 0 && len >= 5 + 34 * count,
                    _ => false,
                };
                let expected = if good { Ok(()) } else { Err(Refusal::Malformed) };
                assert_eq!(bob(world, &draft), expected, "{tag}, {len}");
            }
        }
    });
    assert!(tally["decrypt: Malformed"] > 300, "{tally:?}");
}

/// Each byte of a body, altered by who can: behind the codewords none may be other than zero.
#[test]
fn every_byte_of_a_body() {
    run("bytes", established(15), |world| {
        let mut alice = liar(world);
        for codewords in [None, Some((Value::Ct2, vec![(7, [7; 32]), (300, [3; 32])]))] {
            let body = write_body(b"content", &codewords, Padding::Buckets);
            let end = 12 + codewords.iter().map(|(_, words)| 34 * words.len()).sum::<usize>();
            for at in 0..body.len() {
                for with in [0x01, 0x80] {
                    let mut draft = draft(world, &mut alice);
                    draft.body = body.clone();
                    draft.body[at] ^= with;
                    let result = bob(world, &draft);
                    if at >= end {
                        assert_eq!(result, Err(Refusal::Malformed), "{at}");
                    }
                }
            }
        }
    });
}
