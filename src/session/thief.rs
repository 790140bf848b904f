//! Who copies a side's state, and listens to everything, reads on for how long?
//!
//! ```text
//!             the thief has                            of the rest of the conversation he reads
//!   classical a copy of the state; the wire            what is under ratchet keys that the victim had then
//!   quantum   the same, and every X25519 secret        what is in PQ epochs for which the victim had drawn its
//!             of both sides                            KEM secret by then; and every header, for good
//! ```
//! For the classical thief that means: to the victim, until the peer answers under a ratchet key that the victim made
//! after the theft; from the victim, until that key. So after one completed round trip he reads nothing. Neither
//! thief reads what the victim had received before, or sent.
//!
//! Headers, not content, the classical thief reads of one more chain in each direction than that: the next header keys
//! are in the state, and come with what he derives.
//!
//! This is asserted of each message of conversations over bad networks, in both directions: what he must be able
//! to read (else the test shows nothing), he reads, and nothing else. What he must is computed from who sent and
//! received what when, and from the epoch in the header: from nothing else of the state.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "figures, and the seeds of what has failed")]

mod network;

use std::{collections::BTreeSet, eprintln, println, vec};

use chacha20::ChaCha20Rng;

use super::*;
use crate::{crypto::recorder::recorded, ratchet::EcKeys};
use network::{Pattern, Sent, World, seeded};

/// The wire is recorded; the state was copied.
struct Thief {
    victim: usize,
    /// When, on the clock of the world.
    at: usize,
    /// How many messages had been sent then.
    after: usize,
    /// The victim's generation of ratchet keys, the newest of the peer's that had arrived, and how many KEM secrets the
    /// victim had drawn.
    generation: u32,
    seen: u32,
    sampled: u32,
    /// All that were in the state, and that the classical thief has derived since.
    header_keys: BTreeSet<[u8; 32]>,
    rng: ChaCha20Rng,
    classical: Listener,
    quantum: Listener,
    /// A copy that does whatever the victim does, when it does it, with randomness of its own: if fresh
    /// randomness did not matter, its keys would be the victim's.
    mirror: Session,
    /// The same for the quantum thief: the EC half follows with the victim's own private keys.
    follower: Session,
    /// By message, once read.
    read: Vec<[bool; 2]>,
}

/// A copy of the state that takes in whatever it can open, and never sends.
struct Listener {
    session: Session,
    /// The copy as it was stolen, and at each PQ epoch that it learned: for the sending chains.
    past: Vec<Session>,
}

const CLASSICAL: usize = 0;
const QUANTUM: usize = 1;

fn key() -> StorageKey {
    StorageKey::from_bytes(&[1; 32])
}

fn copy(session: &Session) -> Session {
    Session::open(&key(), &session.seal(&key())).unwrap()
}

impl Listener {
    fn new(session: &Session) -> Self {
        Self { session: copy(session), past: vec![copy(session)] }
    }

    /// Keeps the sending chain of an epoch that has just been learned.
    fn keep(&mut self) {
        if self.past.last().is_none_or(|last| {
            last.hot.ratchet.newest_pq_epoch() < self.session.hot.ratchet.newest_pq_epoch()
        }) {
            self.past.push(copy(&self.session));
        }
    }

    fn classical(&mut self, to_victim: bool, bytes: &[u8]) -> Option<Vec<u8>> {
        if to_victim {
            return self.session.decrypt(bytes).ok();
        }
        let message = Message::parse(bytes).unwrap();
        let stolen = &self.past[0].hot;
        let mut epochs = self.past.iter();
        epochs.find_map(|epoch| {
            stolen.ratchet.open_own(&epoch.hot.ratchet, &stolen.associated_data, &message).ok()
        })
    }

    fn quantum(&mut self, to_victim: bool, bytes: &[u8], ec: &EcKeys) -> Option<Vec<u8>> {
        let message = Message::parse(bytes).unwrap();
        if to_victim {
            let Session { hot, cold, .. } = &mut self.session;
            return hot.ratchet.open_with(cold, ec, &hot.associated_data, &message).ok();
        }
        let mut epochs = self.past.iter();
        epochs
            .find_map(|epoch| epoch.hot.ratchet.open_own_with(ec, &epoch.hot.associated_data, &message).ok())
    }
}

impl Thief {
    /// Copies the state of `victim`, and tries it on everything that was recorded before.
    fn new(world: &World, victim: usize, seed: u64) -> Self {
        let side = &world.sides[victim];
        let session = side.session.as_ref().unwrap();
        // So he reads two epochs after the one of the theft at most: the next, and the one that is agreed on in it.
        assert!(side.sampled <= session.hot.ratchet.newest_pq_epoch() + 1);
        let mut thief = Self {
            victim,
            at: world.clock,
            after: world.wire.len(),
            generation: side.generation,
            seen: side.seen,
            sampled: side.sampled,
            header_keys: BTreeSet::new(),
            rng: seeded(seed),
            classical: Listener::new(session),
            quantum: Listener::new(session),
            mirror: copy(session),
            follower: copy(session),
            read: Vec::new(),
        };
        for (index, sent) in world.wire.iter().enumerate() {
            thief.hear(index, sent);
        }
        thief
    }

    fn got(&mut self, index: usize, who: usize, sent: &Sent, content: Option<Vec<u8>>) {
        if self.read.len() <= index {
            self.read.resize(index + 1, [false; 2]);
        }
        if let Some(content) = content {
            assert_eq!(content, sent.content);
            self.read[index][who] = true;
        }
    }

    /// A message goes over the wire.
    fn hear(&mut self, index: usize, sent: &Sent) {
        let to_victim = sent.from != self.victim;
        let Session { hot, cold, .. } = &self.classical.session;
        self.header_keys.extend(hot.ratchet.stolen_header_keys(cold));
        let read = self.classical.classical(to_victim, &sent.bytes);
        self.got(index, CLASSICAL, sent, read);
        let read = self.quantum.quantum(to_victim, &sent.bytes, &sent.ec);
        self.got(index, QUANTUM, sent, read);
        self.classical.keep();
        self.quantum.keep();
    }

    /// The victim sends.
    fn mirror_send(&mut self, index: usize, sent: &Sent) {
        let message = Message::parse(&sent.bytes).unwrap();
        let session = self.mirror.hot.associated_data;
        // The content does not matter, its length does: for the room that codewords have.
        let (_, trace) = recorded(|| self.mirror.encrypt_with_rng(&sent.content, &mut self.rng).unwrap());
        let (mut ec, pq) = network::keys(&trace);
        // Headers are not what content may depend on: he is given them.
        ec.header_key = sent.ec.header_key;
        self.got(index, CLASSICAL, sent, ec.open(pq, &session, &message).ok());

        let mut same = sent.draws();
        let room = self.follower.hot.padding.codeword_room(sent.content.len()).unwrap();
        let (ec, pq) = self.follower.hot.ratchet.send_halves(room, &mut same, &mut self.rng).unwrap();
        assert_eq!(ec.message_key, sent.ec.message_key, "the victim's private keys give its EC half");
        assert_eq!(ec.header_key, sent.ec.header_key, "and its headers");
        self.got(index, QUANTUM, sent, ec.open(pq, &session, &message).ok());
    }

    /// The victim has received.
    fn mirror_receive(&mut self, index: usize, sent: &Sent) {
        let read = self.mirror.decrypt(&sent.bytes).ok();
        self.got(index, CLASSICAL, sent, read);

        let message = Message::parse(&sent.bytes).unwrap();
        let Session { hot, cold, .. } = &mut self.follower;
        let followed = hot.ratchet.follow(cold, &message).expect("headers open for good");
        assert_eq!(followed, sent.ec.message_key, "the victim's private keys give its EC half");
        let read = hot.ratchet.open_with(cold, &sent.ec, &hot.associated_data, &message).ok();
        self.got(index, QUANTUM, sent, read);
    }

    /// Tries once more what has withstood, and checks who has read what. How many messages went over the wire
    /// until the last one that he read: of the classical and of the quantum thief, to and from the victim.
    fn finish(mut self, wire: &[Sent]) -> [[usize; 2]; 2] {
        for (index, sent) in wire.iter().enumerate() {
            self.hear(index, sent);
        }
        let mut last = [[0; 2]; 2];
        let mut locked_out = [[0; 2]; 2];
        let mut headers = 0;
        let answers_of = |generation| {
            let of = |sent: &&Sent| sent.from != self.victim && sent.generation == generation;
            wire.iter().find(of).map_or(0, |sent| sent.answers)
        };
        for (index, sent) in wire.iter().enumerate() {
            let from_victim = sent.from == self.victim;
            let known = sent.pq_epoch <= self.sampled;
            let (open, ratchet_key) = if from_victim {
                (sent.at > self.at, sent.generation)
            } else {
                (sent.received.is_none_or(|at| at > self.at), sent.answers)
            };
            let allowed = [open && known && ratchet_key <= self.generation, open && known];
            if index >= self.after {
                let chains = if from_victim { self.generation } else { self.seen } + 1;
                // The one before was open to him, so that he has derived what comes next.
                let follows = !from_victim && answers_of(sent.generation - 1) <= self.generation;
                let opens = self.header_keys.contains(&sent.ec.header_key);
                let expected = sent.generation <= chains || follows;
                assert_eq!(opens, expected, "header of message {index}, thief after {}", self.after);
                headers += usize::from(opens && !self.read[index][CLASSICAL]);
            }
            // Keys of what was lost before the theft may have been evicted.
            let certain = sent.at > self.at || sent.received.is_some();
            for who in [CLASSICAL, QUANTUM] {
                let (read, name) = (self.read[index][who], ["classical", "quantum"][who]);
                let direction = ["to", "from"][usize::from(from_victim)];
                let what =
                    std::format!("message {index} {direction} the victim, {name} thief after {}", self.after);
                assert!(allowed[who] || !read, "{what}: read");
                assert!(!allowed[who] || read || !certain, "{what}: not read");
                if index >= self.after {
                    if read {
                        last[who][usize::from(from_victim)] = index + 1 - self.after;
                        locked_out[who][usize::from(from_victim)] = 0;
                    } else {
                        locked_out[who][usize::from(from_victim)] += 1;
                    }
                }
            }
        }
        assert!(headers > 0, "he has opened headers of what he could not read");
        assert!(locked_out.as_flattened().iter().all(|count| *count > 0), "not locked out: {locked_out:?}");
        last
    }
}

/// Plays a pattern with one seed after the other, and thefts at random moments.
fn play(pattern: Pattern, seeds: core::ops::Range<u64>) {
    let mut all: [Vec<usize>; 4] = Default::default();
    for seed in seeds {
        let run = || {
            let world = network::play(&pattern, seed);
            let World { wire, thieves, .. } = world;
            thieves.into_iter().map(|thief| thief.finish(&wire)).collect::<Vec<_>>()
        };
        let outcome = std::panic::catch_unwind(core::panic::AssertUnwindSafe(run));
        let figures = outcome.unwrap_or_else(|panic| {
            eprintln!("{}, seed {seed}", pattern.name);
            std::panic::resume_unwind(panic)
        });
        for figure in figures {
            all.iter_mut().zip(figure.as_flattened()).for_each(|(all, figure)| all.push(*figure));
        }
    }
    let names = [
        "classical, to the victim",
        "classical, from the victim",
        "quantum, to the victim",
        "quantum, from the victim",
    ];
    for (name, mut figures) in names.into_iter().zip(all) {
        figures.sort_unstable();
        let zero = figures.iter().filter(|figure| **figure == 0).count();
        let (count, longest) = (figures.len(), figures[figures.len() - 1]);
        println!(
            "{} | {name}: {zero} of {count} nothing, median {}, longest {longest}",
            pattern.name,
            figures[count / 2]
        );
        // A side that has just received has no ratchet key that is worth stealing. In strict turns each message from
        // the victim is under a new one.
        let hopeless = pattern.burst == 1 && name == "classical, from the victim" && pattern.one_sided == 0;
        assert_eq!(
            zero == count,
            hopeless && !pattern.ten_to_one,
            "{}, {name}: {zero} read nothing",
            pattern.name
        );
    }
}

#[test]
fn ping_pong() {
    play(Pattern { name: "ping-pong", ..Pattern::default() }, 0..4);
}

#[test]
fn unpadded() {
    let pattern =
        Pattern { name: "unpadded", padding: Padding::None, burst: 3, count: 800, ..Pattern::default() };
    play(pattern, 90..94);
}

#[test]
fn bursts() {
    play(Pattern { name: "bursts", burst: 8, ..Pattern::default() }, 10..14);
}

#[test]
fn ten_to_one() {
    play(Pattern { name: "10:1", ten_to_one: true, count: 700, ..Pattern::default() }, 20..24);
}

#[test]
fn one_sided_then_answered() {
    play(Pattern { name: "one-sided", one_sided: 120, count: 420, ..Pattern::default() }, 30..34);
}

#[test]
fn long_silence() {
    play(Pattern { name: "silences", burst: 4, silence: 100, delay: 20, ..Pattern::default() }, 40..44);
}

#[test]
fn a_fifth_lost() {
    play(Pattern { name: "20 % lost", burst: 3, lost: 200, ..Pattern::default() }, 50..54);
}

#[test]
fn half_lost() {
    play(Pattern { name: "50 % lost", burst: 3, lost: 500, count: 700, ..Pattern::default() }, 60..64);
}

#[test]
fn reordered_and_duplicated() {
    let pattern = Pattern { name: "reordered", burst: 3, delay: 25, duplicated: 300, ..Pattern::default() };
    play(pattern, 70..74);
}

#[test]
fn everything_at_once() {
    let pattern = Pattern {
        name: "everything",
        burst: 6,
        delay: 15,
        duplicated: 100,
        lost: 200,
        restarted: 50,
        silence: 10,
        count: 600,
        ..Pattern::default()
    };
    play(pattern, 80..84);
}
