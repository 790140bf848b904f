//! What is kept of messages that have not arrived, and of those that have, and what has to go.

use super::{
    pair::{bob, draft, established, liar, number, run, talk},
    world::World,
};
use crate::reference::{encoding::Padding, primitives::Refusal};

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
        for number in 1..36 {
            world.reopen(0, 0);
            seen.push(talk(world, 0));
            let now = world.store(0, 0);
            // Number 1 once more, from a clone.
            world.restore(0, &before);
            let again = world.encrypt(0, 0, b"again").unwrap();
            let expected = if number < 33 { Refusal::PeerRolledBack } else { Refusal::Duplicate };
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
            (3, 1, Refusal::PeerRolledBack),
            (3, 3, Refusal::PeerRolledBack),
        ] {
            drafts[number].header.incarnation = incarnation;
            assert_eq!(bob(world, &drafts[number]), Err(expected), "{number}");
        }
    });
}

/// A number that is said again, of which the key was discarded: who says it tells which of two things it is.
#[test]
fn incarnations_of_what_was_discarded() {
    run("discarded", established(18), |world| {
        talk(world, 0);
        let mut alice = liar(world);
        alice.incarnation = 1;
        for n in [1, 2_200] {
            let message = number(world, &alice, n);
            assert_eq!(bob(world, &message), Ok(()));
        }
        // Of 2 to 2,199 the newest 2,000 have keys.
        for (n, incarnation, expected) in [
            (1, 1, Err(Refusal::TooOld)),
            (1, 2, Err(Refusal::PeerRolledBack)),
            (199, 1, Err(Refusal::TooOld)),
            (199, 2, Err(Refusal::PeerRolledBack)),
            (200, 2, Ok(())),
            (200, 1, Err(Refusal::PeerRolledBack)),
        ] {
            let mut message = number(world, &alice, n);
            message.header.incarnation = incarnation;
            assert_eq!(bob(world, &message), expected, "{n} of {incarnation}");
        }
    });
}

/// 263 epochs, in some of which Alice's last message is held back until the end.
#[test]
fn messages_of_epochs_past() {
    let tally = run("epochs", established(9), |world| {
        let mut held = Vec::new();
        let epoch = |world: &World| world.people[0].sessions[0].model.pq.sending_epoch;
        while epoch(world) < 263 {
            let before = epoch(world);
            let message = world.encrypt(0, 0, b"late").unwrap();
            talk(world, 1);
            if epoch(world) > before && (before < 12 || before % 5 == 0) && held.len() < 38 {
                held.push((before, message));
            } else {
                assert!(world.give(1, &message).is_ok());
            }
        }
        let newest = world.people[1].sessions[0].model.pq.newest;
        for (epoch, message) in held {
            let expected = if epoch + 256 > newest { Ok(b"late".to_vec()) } else { Err(Refusal::TooOld) };
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
    assert!(tally["PQ epoch"] > 500);
}

/// Keys do not wait for ever: not for more than 25,000 messages of one chain.
#[test]
fn too_late_by_messages() {
    run("late messages", established(16), |world| {
        let closed: Vec<Vec<u8>> = (0..2).map(|_| world.encrypt(0, 0, b"late").unwrap()).collect();
        talk(world, 0);
        talk(world, 1);
        let mut alice = liar(world);
        alice.padding = Padding::None;
        let mut missing = Vec::new();
        for n in 0..25_002 {
            let message = draft(world, &mut alice);
            if n == 1 || n == 2 {
                missing.push(message);
                continue;
            }
            assert_eq!(bob(world, &message), Ok(()));
            match n {
                24_999 => assert_eq!(world.give(1, &closed[0]), Ok(b"late".to_vec())),
                25_000 => assert_eq!(world.give(1, &closed[1]), Err(Refusal::UnknownSession)),
                _ => {}
            }
        }
        assert_eq!(bob(world, &missing[0]), Err(Refusal::TooOld));
        assert_eq!(bob(world, &missing[1]), Ok(()));
    });
}

/// ... and not for more than 2,000 chains.
#[test]
fn too_late_by_turns() {
    run("late turns", established(17), |world| {
        let closed: Vec<Vec<u8>> = (0..2).map(|_| world.encrypt(0, 0, b"late").unwrap()).collect();
        talk(world, 0);
        world.set_padding(0, 0, Padding::None);
        world.set_padding(1, 0, Padding::None);
        for _ in 0..2_000 {
            talk(world, 1);
            talk(world, 0);
        }
        assert_eq!(world.give(1, &closed[0]), Ok(b"late".to_vec()));
        talk(world, 1);
        talk(world, 0);
        assert_eq!(world.give(1, &closed[1]), Err(Refusal::UnknownSession));
    });
}
