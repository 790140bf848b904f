//! The exchange step by step, and with somebody in between.

use alloc::{format, vec::Vec};

use chacha20::ChaCha20Rng;
use rand::{SeedableRng, TryRng};

use super::*;
use crate::roster::fixture::root;

type Message = [u8; MESSAGE_LEN];

fn user(seed: u8) -> UserId {
    *root(seed).user_id()
}

fn seeded(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// Both sides' codes, and the three messages.
fn exchange(rng: &mut ChaCha20Rng) -> (SasCode, SasCode, [Message; 3]) {
    let (waiting, commitment) = SasInitiator::begin_with_rng(&user(1), &user(2), rng).unwrap();
    let (answered, answer) = SasResponder::answer_with_rng(&user(2), &user(1), &commitment, rng).unwrap();
    let (alices, reveal) = waiting.receive(&answer).unwrap();
    let bobs = answered.receive(&reveal).unwrap();
    (alices, bobs, [commitment, answer, reveal])
}

fn shown(code: &SasCode) -> ([Emoji; 7], [u16; 4]) {
    (code.emoji(), code.numbers())
}

#[test]
fn both_sides_see_the_same_and_each_exchange_another() {
    let mut rng = seeded(1);
    let mut seen = Vec::new();
    for _ in 0..50 {
        let (alices, bobs, _) = exchange(&mut rng);
        assert_eq!(shown(&alices), shown(&bobs));
        assert!(!seen.contains(&shown(&alices)));
        seen.push(shown(&alices));
        assert_eq!((alices.confirm(true), bobs.confirm(true)), (Some(user(2)), Some(user(1))));
    }
    let (alices, ..) = exchange(&mut rng);
    assert_eq!(alices.confirm(false), None);
}

#[test]
fn codes_take_their_bits_in_order() {
    let code = |code| SasCode { peer: user(1), code: Secret::new(code) };
    assert!(code([0; 13]).emoji().iter().all(|emoji| *emoji == Emoji::of(0)));
    assert!(code([0xff; 13]).emoji().iter().all(|emoji| *emoji == Emoji::of(63)));
    assert_eq!((code([0; 13]).numbers(), code([0xff; 13]).numbers()), ([1000; 4], [9191; 4]));
    // 42 bits 1, 2, 3 ... of six each, and 52 bits 1, 2, 3, 4 of thirteen each.
    let emoji = (1..8u64).fold(0, |bits, n| bits << 6 | n) << 6;
    let numbers = (1..5u64).fold(0, |bits, n| bits << 13 | n) << 4;
    let mut bytes = [0; 13];
    bytes[..6].copy_from_slice(&emoji.to_be_bytes()[2..]);
    bytes[6..].copy_from_slice(&numbers.to_be_bytes()[1..]);
    let code = code(bytes);
    assert_eq!(code.emoji(), [1, 2, 3, 4, 5, 6, 7].map(Emoji::of));
    assert_eq!(code.numbers(), [1001, 1002, 1003, 1004]);
}

/// Who begins knows the code as soon as there is an answer, before the other side's screen can show it: so an answer without
/// a reveal is a failed attempt, of which an attacker has seen that it fails.
#[test]
fn an_answer_is_an_attempt() {
    let mut rng = seeded(7);
    let mut codes = Vec::new();
    for _ in 0..3 {
        let (waiting, commitment) = SasInitiator::begin_with_rng(&user(9), &user(2), &mut rng).unwrap();
        let (answered, answer) =
            SasResponder::answer_with_rng(&user(2), &user(9), &commitment, &mut rng).unwrap();
        let (in_between, reveal) = waiting.receive(&answer).unwrap();
        codes.push(shown(&in_between));
        // Had it not been to his liking, he would have kept the reveal, and committed again.
        assert_eq!(shown(&answered.receive(&reveal).unwrap()), shown(&in_between));
    }
    assert!(codes[0] != codes[1] && codes[1] != codes[2], "each answer is another chance");
}

#[test]
fn every_bit_of_a_message_counts() {
    let mut rng = seeded(2);
    for bit in 16..MESSAGE_LEN * 8 {
        let altered = |message: Message| {
            let mut altered = message;
            altered[bit / 8] ^= 1 << (bit % 8);
            altered
        };
        for step in 1..4 {
            let alter = |at, message| if at == step { altered(message) } else { message };
            let (waiting, commitment) = SasInitiator::begin_with_rng(&user(1), &user(2), &mut rng).unwrap();
            let (answered, answer) =
                SasResponder::answer_with_rng(&user(2), &user(1), &alter(1, commitment), &mut rng).unwrap();
            let (alices, reveal) = waiting.receive(&alter(2, answer)).unwrap();
            match (step, answered.receive(&alter(3, reveal))) {
                // The codes differ, in the emoji with a chance of 2^-42, and Bob has no way to know before.
                (2, Ok(bobs)) => {
                    assert_ne!(alices.emoji(), bobs.emoji());
                    assert_ne!(alices.numbers(), bobs.numbers());
                }
                (1 | 3, Err(error)) => assert_eq!(error, Error::Unauthentic),
                (step, bobs) => panic!("bit {bit} of message {step}: {bobs:?}"),
            }
        }
    }
}

#[test]
fn what_is_no_message_of_this_step_is_refused() {
    let mut rng = seeded(3);
    let (_, _, messages) = exchange(&mut rng);
    let mut read = |step: usize, message: &[u8]| -> Option<Error> {
        let (waiting, commitment) = SasInitiator::begin_with_rng(&user(1), &user(2), &mut rng).unwrap();
        let answer =
            |message: &[u8], rng: &mut _| SasResponder::answer_with_rng(&user(2), &user(1), message, rng);
        match step {
            0 => answer(message, &mut rng).err(),
            1 => waiting.receive(message).err(),
            _ => answer(&commitment, &mut rng).unwrap().0.receive(message).err(),
        }
    };
    for step in 0..3 {
        for (other, message) in messages.iter().enumerate() {
            // A reveal of another exchange is not what was committed to. The others are as good as new ones.
            let expected = match (step, other) {
                (2, 2) => Some(Error::Unauthentic),
                (step, other) if step == other => None,
                _ => Some(Error::Malformed),
            };
            assert_eq!(read(step, message), expected, "step {step}, message {other}");
        }
        let good = messages[step];
        for len in 0..MESSAGE_LEN {
            assert_eq!(read(step, &good[..len]), Some(Error::Malformed));
        }
        assert_eq!(read(step, &[&good[..], &[0]].concat()), Some(Error::Malformed));
        assert_eq!(read(step, &[&good[..], &[0; 100_000]].concat()), Some(Error::Malformed));
        for (at, value, expected) in [
            (0, 0x82, Error::UnsupportedVersion),
            (0, 0x91, Error::Malformed),
            (0, 0x21, Error::Malformed),
            (1, 0, Error::Malformed),
            (1, 4, Error::Malformed),
        ] {
            let mut altered = good;
            altered[at] = value;
            assert_eq!(read(step, &altered), Some(expected));
        }
    }
}

#[test]
fn steps_tell_themselves() {
    let (_, _, messages) = exchange(&mut seeded(4));
    let steps = messages.map(|message| SasStep::of(&message).unwrap());
    assert_eq!(steps, [SasStep::Commitment, SasStep::Answer, SasStep::Reveal]);
    assert_eq!(messages.map(|message| [message[0], message[1]]), [[0x81, 1], [0x81, 2], [0x81, 3]]);
    for (bytes, error) in [
        (&[][..], Error::Malformed),
        (&[0x81], Error::Malformed),
        (&[0x81, 0], Error::Malformed),
        (&[0x81, 4], Error::Malformed),
        (&[0x11, 1], Error::Malformed),
        (&[0x80, 1], Error::UnsupportedVersion),
    ] {
        assert_eq!(SasStep::of(bytes), Err(error));
    }
}

/// What one's own device has sent, sent back.
#[test]
fn reflections_lead_nowhere() {
    let mut rng = seeded(5);
    let (waiting, commitment) = SasInitiator::begin_with_rng(&user(1), &user(2), &mut rng).unwrap();
    // Alice takes her own commitment for Bob's, and Mallory plays her answer and her reveal back as well.
    let (answered, answer) =
        SasResponder::answer_with_rng(&user(1), &user(2), &commitment, &mut rng).unwrap();
    let (_, reveal) = waiting.receive(&answer).unwrap();
    assert_eq!(answered.receive(&reveal).err(), Some(Error::Unauthentic), "it names her as the initiator");

    let (waiting, commitment) = SasInitiator::begin_with_rng(&user(1), &user(2), &mut rng).unwrap();
    assert_eq!(waiting.receive(&commitment).err(), Some(Error::Malformed));
}

/// A commitment is for one initiator and one responder, and so is a code.
#[test]
fn other_pairs_and_swapped_roles_are_refused() {
    let mut rng = seeded(6);
    for (me, peer) in [(1, 2), (2, 3), (3, 1), (1, 3)] {
        let (waiting, commitment) = SasInitiator::begin_with_rng(&user(1), &user(2), &mut rng).unwrap();
        let (answered, answer) =
            SasResponder::answer_with_rng(&user(me), &user(peer), &commitment, &mut rng).unwrap();
        let (_, reveal) = waiting.receive(&answer).unwrap();
        assert_eq!(answered.receive(&reveal).err(), Some(Error::Unauthentic), "{me} {peer}");
    }
    let nonces = ([1; 32], [2; 32], [3; 32]);
    let codes = [(1, 2), (2, 1), (1, 3), (3, 2)].map(|(initiator, responder)| {
        let roles = Roles::new(&user(initiator), &user(responder)).unwrap();
        *roles.code(&nonces.0, &nonces.1, &nonces.2).as_bytes()
    });
    for (i, code) in codes.iter().enumerate() {
        assert!(!codes[..i].contains(code));
    }
    let own = SasInitiator::begin_with_rng(&user(1), &user(1), &mut rng);
    assert_eq!(own.err(), Some(Error::SameUser));
    let (_, commitment) = SasInitiator::begin_with_rng(&user(1), &user(2), &mut rng).unwrap();
    let own = SasResponder::answer_with_rng(&user(1), &user(1), &commitment, &mut rng);
    assert_eq!(own.err(), Some(Error::SameUser));
}

#[test]
fn of_an_earlier_exchange_nothing_can_be_repeated() {
    let mut rng = seeded(7);
    let (old, _, [commitment, answer, reveal]) = exchange(&mut rng);
    // To Bob the whole of Alice's part: his nonce is new, and so is the code.
    let (answered, _) = SasResponder::answer_with_rng(&user(2), &user(1), &commitment, &mut rng).unwrap();
    assert_ne!(answered.receive(&reveal).unwrap().emoji(), old.emoji());
    // To Alice the whole of Bob's.
    let (waiting, _) = SasInitiator::begin_with_rng(&user(1), &user(2), &mut rng).unwrap();
    assert_ne!(waiting.receive(&answer).unwrap().0.emoji(), old.emoji());
}

/// Both have pressed the button at once: one of the two exchanges is carried out, the same for both.
#[test]
fn of_two_beginnings_one_stays() {
    let mut rng = seeded(8);
    for (one, other) in [(1, 2), (2, 1), (3, 9)] {
        let (a, b) = (user(one), user(other));
        let (of_a, commitment_a) = SasInitiator::begin_with_rng(&a, &b, &mut rng).unwrap();
        let (of_b, commitment_b) = SasInitiator::begin_with_rng(&b, &a, &mut rng).unwrap();
        assert_ne!(of_a.yields(), of_b.yields());
        assert_eq!(of_a.yields(), b.to_bytes() < a.to_bytes());
        let (stays, commitment, me, peer) =
            if of_a.yields() { (of_b, commitment_b, a, b) } else { (of_a, commitment_a, b, a) };
        let (answered, answer) = SasResponder::answer_with_rng(&me, &peer, &commitment, &mut rng).unwrap();
        let (code, reveal) = stays.receive(&answer).unwrap();
        assert_eq!(shown(&code), shown(&answered.receive(&reveal).unwrap()));
    }
}

/// What an attacker in between does who has given Alice the key `user(8)` for Bob's, and Bob `user(9)` for Alice's. He
/// plays by the rules to both: they are strangers to each other, and he has two exchanges.
struct InBetween {
    alices: SasCode,
    /// Bob, who waits for the reveal of what the attacker has committed to.
    bob: SasResponder,
    nonce: Secret<32>,
}

impl InBetween {
    fn roles() -> Roles {
        Roles::new(&user(9), &user(2)).unwrap()
    }

    fn begin(rng: &mut ChaCha20Rng) -> Self {
        let (alice, _commitment) = SasInitiator::begin_with_rng(&user(1), &user(8), rng).unwrap();
        // Alice reveals nothing before she has an answer, Bob nothing before he has a commitment.
        let nonce = random::fill(rng).unwrap();
        let commitment = SasStep::Commitment.message(&Self::roles().commit(nonce.as_bytes()));
        let (bob, answer) = SasResponder::answer_with_rng(&user(2), &user(9), &commitment, rng).unwrap();
        // Bob's nonce passed on is as good as any other: he does not know hers.
        let (alices, _reveal) = alice.receive(&answer).unwrap();
        Self { alices, bob, nonce }
    }

    /// Now the attacker knows both nonces and Alice's code. Looks for a reveal that would make Bob's code begin alike.
    fn grind(&self) -> Option<Secret<32>> {
        (0..2_000u64).map(|guess| *random::fill::<32>(&mut seeded(guess)).unwrap().as_bytes()).find_map(
            |guess| {
                let code = Self::roles().code(&self.bob.commitment, &guess, &self.bob.nonce);
                let code = SasCode { peer: user(9), code };
                (code.emoji()[0] == self.alices.emoji()[0]).then(|| Secret::new(guess))
            },
        )
    }
}

/// People compare one picture of the seven here, so that the chance is to be seen: it stays at 1 in 64, and so it is
/// 1 in 2^42 for seven.
#[test]
fn in_between_there_is_but_luck() {
    const TRIES: u32 = 6_400;
    let mut rng = seeded(9);
    let (mut one, mut all) = (0, 0);
    for _ in 0..TRIES {
        let attack = InBetween::begin(&mut rng);
        let bobs = attack.bob.receive(&SasStep::Reveal.message(attack.nonce.as_bytes())).unwrap();
        one += u32::from(bobs.emoji()[0] == attack.alices.emoji()[0]);
        all += u32::from(bobs.emoji() == attack.alices.emoji() || bobs.numbers() == attack.alices.numbers());
    }
    // 100 are expected; five standard deviations are 50.
    assert!((50..150).contains(&one), "{one}");
    assert_eq!(all, 0);
}

/// The commitment is all that keeps him from choosing: without it he would always find a reveal that fits.
#[test]
fn a_reveal_that_was_looked_for_is_refused() {
    let mut rng = seeded(10);
    for _ in 0..20 {
        let attack = InBetween::begin(&mut rng);
        let fitting = attack.grind().expect("one in 64 fits");
        let refused = attack.bob.receive(&SasStep::Reveal.message(fitting.as_bytes()));
        assert_eq!(refused.err(), Some(Error::Unauthentic));
    }
}

#[test]
fn a26_debug_shows_whom_and_no_secret() {
    let mut rng = seeded(11);
    let (waiting, commitment) = SasInitiator::begin_with_rng(&user(1), &user(2), &mut rng).unwrap();
    let (answered, _) = SasResponder::answer_with_rng(&user(2), &user(1), &commitment, &mut rng).unwrap();
    let (code, ..) = exchange(&mut rng);
    assert_eq!(format!("{waiting:?}"), format!("SasInitiator {{ peer: {:?}, .. }}", user(2)));
    assert_eq!(format!("{answered:?}"), format!("SasResponder {{ peer: {:?}, .. }}", user(1)));
    assert_eq!(format!("{code:?}"), format!("SasCode {{ peer: {:?}, .. }}", user(2)));
}

#[test]
fn a_generator_that_fails_is_reported() {
    struct Broken;

    impl TryRng for Broken {
        type Error = fmt::Error;

        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            Err(fmt::Error)
        }

        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            Err(fmt::Error)
        }

        fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Self::Error> {
            Err(fmt::Error)
        }
    }

    impl TryCryptoRng for Broken {}

    assert_eq!(SasInitiator::try_begin(&user(1), &user(2), &mut Broken).err(), Some(Error::NoRandomness));
    let (_, commitment) = SasInitiator::begin_with_rng(&user(1), &user(2), &mut seeded(12)).unwrap();
    let answer = SasResponder::try_answer(&user(2), &user(1), &commitment, &mut Broken);
    assert_eq!(answer.err(), Some(Error::NoRandomness));
}
