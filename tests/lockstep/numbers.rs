//! Numbers that are left out, up to each limit of section 12 and beyond it.

use super::pair::{bob, draft, established, liar, number, run, skip, talk};
use crate::reference::{primitives::Refusal, session::Draft};

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

/// A peer that says of its last chain that it was shorter than it was: what is missing of it is read.
#[test]
fn a_chain_that_is_said_to_be_shorter() {
    for pn in 0..=3 {
        run("lower pn", established(12), |world| {
            let first = talk(world, 0);
            let missing = world.encrypt(0, 0, b"late").unwrap();
            let other = world.encrypt(0, 0, b"late").unwrap();
            let old = liar(world);
            let fourth = talk(world, 0);
            talk(world, 1);
            let mut turn = draft(world, &mut liar(world));
            turn.header.pn = pn;
            assert_eq!(bob(world, &turn), Ok(()));
            assert_eq!(world.give(1, &other), Ok(b"late".to_vec()));
            for message in [first, other, fourth] {
                assert_eq!(world.give(1, &message), Err(Refusal::Duplicate));
            }
            let beyond = number(world, &old, 4);
            assert_eq!(bob(world, &beyond), Err(Refusal::PeerRolledBack));
            assert_eq!(world.give(1, &missing), Ok(b"late".to_vec()));
        });
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

/// What a late message leaves in the PQ ratchet when it skips there: keys for the messages before it of which there are EC keys.
#[test]
fn pq_keys_of_a_late_message() {
    run("late and ahead", established(13), |world| {
        talk(world, 0);
        let old = liar(world);
        for _ in 0..3 {
            world.encrypt(0, 0, b"missing").unwrap();
        }
        talk(world, 0);
        let position = liar(world).pq.sending.position;
        // EC numbers 1 to 3 are missing. Number 3 leaves 50 PQ numbers out, of which the last two are for 1 and 2.
        for (n, ahead, result) in [
            (3, 50, Ok(())),
            (2, 47, Err(Refusal::TooOld)),
            (2, 49, Ok(())),
            (1, 49, Err(Refusal::TooOld)),
            (1, 48, Ok(())),
        ] {
            let mut late = old.clone();
            skip(&mut late.ec.sending.as_mut().unwrap().chain, n - 1);
            late.pq.sending.run(position + ahead, 0);
            let late = draft(world, &mut late);
            assert_eq!(bob(world, &late), result, "{n}, {ahead}");
        }
    });
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
