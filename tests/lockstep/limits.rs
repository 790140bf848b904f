//! What random schedules do not come to, or not to the last one: each limit of section 12 from both sides.

use rand::RngExt;

use super::world::World;
use crate::reference::{
    chain::Chain,
    encoding::{MAX_CONTENT, Padding, kind},
    notes::Tally,
    primitives::{Refusal, Tape},
    session::{Draft, Session},
};

/// Alice and Bob, who have heard of each other; each has one session, and Alice has the turn.
pub fn established(seed: u64) -> World {
    let mut world = World::new(seed, 2, 1);
    let bundle = world.bundle(1, true);
    world.initiate(0, &bundle, b"").unwrap();
    talk(&mut world, 0);
    talk(&mut world, 1);
    world
}

/// One message, which is read.
fn talk(world: &mut World, from: usize) -> Vec<u8> {
    let message = world.encrypt(from, 0, b"talk").unwrap();
    assert_eq!(world.give(1 - from, &message), Ok(b"talk".to_vec()));
    message
}

/// A sender that is not held to anything: a copy of Alice's session.
pub fn liar(world: &World) -> Session {
    world.people[0].sessions[0].model.clone()
}

pub fn draft(world: &mut World, liar: &mut Session) -> Draft {
    liar.draft(b"", &mut Tape::new((0..64).map(|_| world.rng.random()).collect())).unwrap()
}

/// What Bob says of it.
pub fn bob(world: &mut World, draft: &Draft) -> Result<(), Refusal> {
    world.give(1, &draft.seal()).map(|_| ())
}

/// Leaves numbers out.
fn skip(chain: &mut Chain, by: u32) {
    chain.run(chain.position + by, 0);
}

/// Message n of a chain, as an honest Alice would send it after n that are on their way.
fn number(world: &mut World, before: &Session, n: u32) -> Draft {
    let mut alice = before.clone();
    let first = if alice.ec.sending.is_none() { Some(draft(world, &mut alice)) } else { None };
    let chain = &mut alice.ec.sending.as_mut().unwrap().chain;
    match first {
        Some(first) if n == 0 => return first,
        _ => {}
    }
    let by = n - chain.position;
    skip(chain, by);
    skip(&mut alice.pq.sending, by);
    draft(world, &mut alice)
}

fn run(name: &str, world: World, run: impl FnOnce(&mut World)) -> Tally {
    world.run(name, 0, run)
}

#[test]
fn numbers_left_out_in_an_ec_chain() {
    run("EC skip", established(1), |world| {
        talk(world, 0);
        let alice = liar(world);
        let farthest = number(world, &alice, 25_001);
        let too_far = number(world, &alice, 25_002);
        assert_eq!(bob(world, &too_far), Err(Refusal::TooFarAhead));
        assert_eq!(bob(world, &farthest), Ok(()));
        assert_eq!(bob(world, &farthest), Err(Refusal::Duplicate));
        assert_eq!(bob(world, &too_far), Ok(()));
        // The newest 2,000 keys of 1 to 25,000 are there.
        for (n, result) in [
            (1, Err(Refusal::TooOld)),
            (23_000, Err(Refusal::TooOld)),
            (23_001, Ok(())),
            (23_001, Err(Refusal::Duplicate)),
            (25_000, Ok(())),
        ] {
            let late = number(world, &alice, n);
            assert_eq!(bob(world, &late), result, "{n}");
        }
    });
}

#[test]
fn numbers_left_out_at_a_turn() {
    for (n, result) in [(25_001, Err(Refusal::TooFarAhead)), (25_000, Ok(()))] {
        run("n of a turn", established(2), |world| {
            let alice = liar(world);
            let turn = number(world, &alice, n);
            assert_eq!(bob(world, &turn), result);
        });
    }
    for rest in [0, 1, 1_999, 2_000, 2_001, 25_000, 25_001, u32::MAX - 3] {
        let tally = run("pn of a turn", established(3), |world| {
            // Number 1 is missing.
            let first = talk(world, 0);
            let missing = world.encrypt(0, 0, b"late").unwrap();
            let old = liar(world);
            let third = talk(world, 0);
            talk(world, 1);
            let mut alice = liar(world);
            skip(&mut alice.pq.sending, rest.min(25_001));
            let mut turn = draft(world, &mut alice);
            turn.header.pn = 3 + rest;
            assert_eq!(bob(world, &turn), Ok(()));

            let abandoned = rest > 25_000;
            let end = 3 + rest.min(25_001);
            let mut numbers =
                vec![3, end.saturating_sub(2_001), end.saturating_sub(2_000), end - 1, end, end + 7];
            numbers.retain(|n| *n >= 3);
            for n in numbers {
                let late = number(world, &old, n);
                let expected = match n {
                    _ if n < end && (abandoned || n + 2_000 < end) => Err(Refusal::TooOld),
                    _ if n < end => Ok(()),
                    _ if rest > 30_000 => Err(Refusal::TooOld),
                    _ => Err(Refusal::PeerRolledBack),
                };
                // What was read here before is a duplicate.
                let result = bob(world, &late);
                assert!(result == expected || result == Err(Refusal::Duplicate), "{rest}, {n}: {result:?}");
            }
            let late = world.give(1, &missing);
            assert_eq!(late.is_ok(), rest < 2_000 || abandoned, "{late:?}");
            for duplicate in [first, third, missing] {
                world.give(1, &duplicate).unwrap_err();
            }
        });
        assert_eq!(tally.contains_key("the rest of a chain is abandoned"), rest > 25_000);
    }
}

/// What a chain that is abandoned leaves in the PQ ratchet: as many keys as the new chain has left out.
#[test]
fn pq_keys_of_an_abandoned_chain() {
    for n in [0, 3, 2_500] {
        let tally = run("abandoned", established(4), |world| {
            talk(world, 0);
            let missing = world.encrypt(0, 0, b"late").unwrap();
            talk(world, 0);
            talk(world, 1);
            let mut alice = liar(world);
            skip(&mut alice.pq.sending, 30_000);
            let first = draft(world, &mut alice);
            let mut give = |number_of: u32| {
                let mut draft = match number_of {
                    0 => Draft {
                        header: first.header.clone(),
                        before: first.before.clone(),
                        body: first.body.clone(),
                        ..first
                    },
                    _ => number(world, &alice, number_of),
                };
                draft.header.pn = 40_000;
                bob(world, &draft)
            };
            assert_eq!(give(n), Ok(()));
            for late in [0, 1, 2, 499, 500, 501, 2_498, 2_499] {
                if late < n {
                    let expected = if late + 2_000 < n { Err(Refusal::TooOld) } else { Ok(()) };
                    assert_eq!(give(late), expected, "{late} of {n}");
                }
            }
            assert_eq!(world.give(1, &missing).is_ok(), n < 2_000);
        });
        assert_eq!(tally["the rest of a chain is abandoned"], 1);
    }
}

#[test]
fn forty_chains_two_thousand_keys() {
    // One missing message each: the oldest chains go with theirs.
    let tally = run("chains", established(5), |world| {
        let mut missing = Vec::new();
        for _ in 0..45 {
            missing.push(world.encrypt(0, 0, b"late").unwrap());
            talk(world, 0);
            talk(world, 1);
        }
        talk(world, 0);
        for (chain, message) in missing.iter().enumerate() {
            let expected = if chain < 5 { Err(Refusal::UnknownSession) } else { Ok(b"late".to_vec()) };
            assert_eq!(world.give(1, message), expected, "{chain}");
        }
    });
    assert_eq!(tally["a closed chain goes with its keys"], 5);

    let tally = run("keys", established(6), |world| {
        let mut missing = Vec::new();
        for turn in 0..30 {
            for _ in 0..if turn % 10 == 0 { 150 } else { 70 } {
                missing.push(world.encrypt(0, 0, b"late").unwrap());
            }
            talk(world, 0);
            talk(world, 1);
        }
        let refused = missing.len() - 2_000;
        let mut unknown = 0;
        for (index, message) in missing.iter().enumerate() {
            // The other keys keep their places.
            if index < refused + 200 || index > 2_100 {
                let result = world.give(1, message);
                unknown += usize::from(result == Err(Refusal::UnknownSession));
                assert_eq!(result.is_ok(), index >= refused, "{index}: {result:?}");
            }
        }
        assert!(unknown > 200 && unknown < refused, "{unknown}: a chain was cut in two");
        talk(world, 0);
        talk(world, 1);

        // One chain with more than the stores take.
        let first = world.encrypt(0, 0, b"late").unwrap();
        let mut long: Vec<Vec<u8>> = (0..2_100).map(|_| world.encrypt(0, 0, b"late").unwrap()).collect();
        talk(world, 0);
        long.push(first);
        for message in long.iter().rev().step_by(9).chain(&missing[1_000..1_020]) {
            let _ = world.give(1, message);
        }
    });
    for what in ["an EC key is evicted", "a PQ key is evicted", "a run is longer than what is kept of it"] {
        assert!(tally.contains_key(what), "{what}: {tally:?}");
    }
}

#[test]
fn incarnations_of_a_chain() {
    let tally = run("incarnations", established(7), |world| {
        talk(world, 0);
        let before = world.store(0, 0);
        let mut seen = Vec::new();
        for number in 1..20 {
            world.reopen(0, 0);
            seen.push(talk(world, 0));
            let now = world.store(0, 0);
            // Number 1 once more, from a clone.
            world.restore(0, &before);
            let again = world.encrypt(0, 0, b"again").unwrap();
            let expected = if number < 16 { Refusal::PeerRolledBack } else { Refusal::Duplicate };
            assert_eq!(world.give(1, &again), Err(expected), "{number}");
            world.restore(0, &now);
            for message in &seen {
                assert_eq!(world.give(1, message), Err(Refusal::Duplicate));
            }
        }
    });
    assert_eq!(tally["an incarnation is forgotten"], 4);

    // An incarnation that is known says a number again that it has not sent, or that it has.
    run("two incarnations", established(8), |world| {
        let mut drafts = Vec::new();
        let mut alice = liar(world);
        for incarnation in [1, 1, 2, 2] {
            alice.incarnation = incarnation;
            drafts.push(draft(world, &mut alice));
        }
        for number in [0, 3, 1, 2] {
            assert_eq!(bob(world, &drafts[number]), Ok(()));
        }
        for (number, incarnation, expected) in [
            (0, 1, Refusal::Duplicate),
            (0, 2, Refusal::PeerRolledBack),
            (1, 2, Refusal::PeerRolledBack),
            (2, 2, Refusal::Duplicate),
            (3, 1, Refusal::Duplicate),
            (3, 3, Refusal::PeerRolledBack),
        ] {
            drafts[number].header.incarnation = incarnation;
            assert_eq!(bob(world, &drafts[number]), Err(expected), "{number}");
        }
    });
}

/// 135 epochs, in some of which Alice's last message is held back until the end.
#[test]
fn messages_of_epochs_past() {
    let tally = run("epochs", established(9), |world| {
        let mut held = Vec::new();
        let epoch = |world: &World| world.people[0].sessions[0].model.pq.sending_epoch;
        while epoch(world) < 135 {
            let before = epoch(world);
            let message = world.encrypt(0, 0, b"late").unwrap();
            talk(world, 1);
            if epoch(world) > before && (before < 8 || before % 5 == 0) && held.len() < 38 {
                held.push((before, message));
            } else {
                assert!(world.give(1, &message).is_ok());
            }
        }
        let newest = world.people[1].sessions[0].model.pq.newest;
        for (epoch, message) in held {
            let expected = if epoch + 128 > newest { Ok(b"late".to_vec()) } else { Err(Refusal::TooOld) };
            assert_eq!(world.give(1, &message), expected, "{epoch} of {newest}");
        }
    });
    for what in [
        "a receiving chain of an epoch is one too many",
        "a message of an epoch before the newest two is read",
        "decrypt: TooOld",
    ] {
        assert!(tally.contains_key(what), "{what}: {tally:?}");
    }
    assert!(tally["PQ epoch"] > 250);
}

#[test]
fn numbers_left_out_in_a_pq_chain() {
    run("PQ skip", established(10), |world| {
        talk(world, 0);
        let alice = liar(world);
        for (by, result) in [(262_145, Err(Refusal::TooFarAhead)), (262_144, Ok(()))] {
            let mut alice = alice.clone();
            skip(&mut alice.pq.sending, by);
            let message = draft(world, &mut alice);
            assert_eq!(bob(world, &message), result);
        }
        // Number 2 of the EC chain, with a PQ number that is used, and one whose key was not kept.
        let mut alice = alice;
        draft(world, &mut alice);
        for by in [0, 100] {
            let mut alice = alice.clone();
            skip(&mut alice.pq.sending, by);
            let message = draft(world, &mut alice);
            assert_eq!(bob(world, &message), Err(Refusal::PeerRolledBack));
        }
    });
}

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
