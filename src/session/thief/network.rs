//! Two sides and a network between them, and thieves that hear everything.

use std::vec;

use chacha20::ChaCha20Rng;
use rand::{Rng as _, RngExt, SeedableRng};

use super::{super::*, Thief, copy};
use crate::{UnixTime, crypto::recorder::recorded, ratchet::EcKeys, wire::header::Header};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
/// Of each conversation.
const THEFTS: usize = 5;

pub(super) fn seeded(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// Who writes when, and what the network does, in parts of 1,000.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pattern {
    pub(super) name: &'static str,
    /// Messages sent in all.
    pub(super) count: usize,
    /// At most so many in a row by one side.
    pub(super) burst: usize,
    pub(super) ten_to_one: bool,
    /// To begin with, so many by the initiator, without an answer.
    pub(super) one_sided: usize,
    pub(super) lost: u32,
    pub(super) duplicated: u32,
    /// The longest delay, in messages sent.
    pub(super) delay: usize,
    pub(super) restarted: u32,
    /// Both fall silent until everything has arrived, and are restarted.
    pub(super) silence: u32,
    pub(super) padding: Padding,
}

impl Default for Pattern {
    fn default() -> Self {
        Self {
            name: "",
            count: 300,
            burst: 1,
            ten_to_one: false,
            one_sided: 0,
            lost: 0,
            duplicated: 0,
            delay: 0,
            restarted: 5,
            silence: 0,
            padding: Padding::default(),
        }
    }
}

/// One side, and what follows for its keys from what it has sent and received: a new ratchet key when it sends
/// after a new one of the peer's has arrived.
#[derive(Default)]
pub(super) struct Side {
    pub(super) session: Option<Session>,
    /// Ratchet keys made so far.
    pub(super) generation: u32,
    /// The newest of the peer's that has arrived, and whether it has been answered.
    pub(super) seen: u32,
    to_answer: bool,
    /// KEM secrets drawn so far: one per PQ epoch.
    pub(super) sampled: u32,
}

pub(super) struct Sent {
    pub(super) from: usize,
    pub(super) bytes: Vec<u8>,
    pub(super) content: Vec<u8>,
    /// The sender's ratchet key, and the peer's that it was agreed with.
    pub(super) generation: u32,
    pub(super) answers: u32,
    pub(super) pq_epoch: u32,
    pub(super) ec: EcKeys,
    /// When, on the clock of the world.
    pub(super) at: usize,
    pub(super) received: Option<usize>,
    seed: u64,
    sampled: bool,
}

impl Sent {
    /// The generator of the sender, from where the EC half draws.
    pub(super) fn draws(&self) -> ChaCha20Rng {
        let mut rng = seeded(self.seed);
        if self.sampled {
            rng.fill_bytes(&mut [0; 32]);
        }
        rng
    }
}

struct Flight {
    due: usize,
    index: usize,
}

pub(super) struct World {
    pub(super) sides: [Side; 2],
    pub(super) wire: Vec<Sent>,
    /// Counts what happens: a message sent, one received.
    pub(super) clock: usize,
    pub(super) thieves: Vec<Thief>,
    bob: IdentityKeyPair,
    prekeys: PreKeys,
}

fn value<const N: usize>(trace: &[(std::string::String, std::string::String)], name: &str) -> [u8; N] {
    let (_, value) = trace.iter().find(|(key, _)| key == name).unwrap();
    hex::decode(value).unwrap().try_into().unwrap()
}

/// The keys that a message was sealed with.
pub(super) fn keys(trace: &[(std::string::String, std::string::String)]) -> (EcKeys, [u8; 32]) {
    let ec = EcKeys { header_key: value(trace, "header key"), message_key: value(trace, "EC message key") };
    (ec, value(trace, "PQ message key"))
}

impl World {
    fn new(padding: Padding, rng: &mut ChaCha20Rng) -> Self {
        let alice = IdentityKeyPair::generate_with_rng(rng);
        let bob = IdentityKeyPair::generate_with_rng(rng);
        let mut prekeys = PreKeys::generate_with_rng(&bob, 1, NOW, rng);
        let bundle = prekeys.bundle().verify(NOW).unwrap();
        let mut sides: [Side; 2] = Default::default();
        let mut session = Session::initiate_with_rng(&alice, bundle, &[], rng).unwrap();
        session.set_padding(padding);
        sides[0].session = Some(session);
        sides[0].to_answer = true;
        Self { sides, wire: Vec::new(), clock: 0, thieves: Vec::new(), bob, prekeys }
    }

    fn send(&mut self, from: usize, rng: &mut ChaCha20Rng) -> usize {
        self.clock += 1;
        let side = &mut self.sides[from];
        let mut content = vec![0; rng.random_range(0..80)];
        rng.fill_bytes(&mut content);
        let seed = rng.random();
        let session = side.session.as_mut().unwrap();
        let (bytes, trace) = recorded(|| session.encrypt_with_rng(&content, &mut seeded(seed)).unwrap());
        let sampled = trace.iter().any(|(name, _)| name == "KEM seed" || name == "KEM coins");
        side.sampled += u32::from(sampled);
        if side.to_answer {
            side.generation += 1;
            side.to_answer = false;
        }
        let sent = Sent {
            from,
            bytes,
            content,
            generation: side.generation,
            answers: side.seen,
            pq_epoch: Header::from_bytes(&value(&trace, "header")).unwrap().pq_epoch,
            ec: keys(&trace).0,
            at: self.clock,
            received: None,
            seed,
            sampled,
        };
        let index = self.wire.len();
        for thief in &mut self.thieves {
            thief.hear(index, &sent);
            if thief.victim == from {
                thief.mirror_send(index, &sent);
            }
        }
        self.wire.push(sent);
        index
    }

    fn deliver(&mut self, index: usize, rng: &mut ChaCha20Rng) {
        let sent = &mut self.wire[index];
        let side = &mut self.sides[1 - sent.from];
        let result = match &mut side.session {
            Some(session) => session.decrypt(&sent.bytes),
            none => {
                Session::accept_with_rng(&self.bob, &mut self.prekeys, &sent.bytes, rng).map(|accepted| {
                    *none = Some(accepted.session);
                    accepted.content
                })
            }
        };
        if sent.received.is_some() {
            let error = result.expect_err("delivered twice");
            assert!(matches!(error, Error::Duplicate | Error::UnknownSession | Error::TooOld), "{error:?}");
            return;
        }
        assert_eq!(result.as_ref(), Ok(&sent.content), "message {index}");
        self.clock += 1;
        sent.received = Some(self.clock);
        if sent.generation > side.seen {
            side.seen = sent.generation;
            side.to_answer = true;
        }
        for thief in self.thieves.iter_mut().filter(|thief| thief.victim != sent.from) {
            thief.mirror_receive(index, sent);
        }
    }

    fn restart(&mut self, side: usize) {
        let session = &mut self.sides[side].session;
        *session = session.as_ref().map(copy);
    }
}

/// Plays a conversation.
pub(super) fn play(pattern: &Pattern, seed: u64) -> World {
    let mut rng = seeded(seed);
    let mut world = World::new(pattern.padding, &mut rng);
    let first = world.send(0, &mut rng);
    world.deliver(first, &mut rng);
    world.sides[1].session.as_mut().unwrap().set_padding(pattern.padding);
    let mut thefts: Vec<usize> = (0..THEFTS).map(|_| rng.random_range(2..pattern.count / 3)).collect();
    let mut flights: Vec<Flight> = Vec::new();
    let (mut from, mut left) = (0, 0);
    for now in 1..pattern.count {
        if left == 0 {
            from = 1 - from;
            left = if pattern.ten_to_one { [10, 1][from] } else { rng.random_range(1..=pattern.burst) };
        }
        left -= 1;
        let from = if now < pattern.one_sided { 0 } else { from };
        let index = world.send(from, &mut rng);
        let copies = match rng.random_range(0..1000) {
            roll if roll < pattern.lost => 0,
            roll if roll < pattern.lost + pattern.duplicated => 2,
            _ => 1,
        };
        for _ in 0..copies {
            flights.push(Flight { due: now + rng.random_range(0..=pattern.delay), index });
        }
        // A theft is before the messages of the moment arrive, or after.
        let theft_first: bool = rng.random();
        let victim = rng.random_range(0..2);
        if thefts.contains(&now) && theft_first {
            steal(&mut world, &mut thefts, now, victim, &mut rng);
        }
        let silence = rng.random_range(0..1000) < pattern.silence;
        let (mut due, rest): (Vec<_>, Vec<_>) =
            flights.into_iter().partition(|flight| silence || flight.due <= now);
        flights = rest;
        due.sort_by_key(|flight| flight.due);
        for flight in due {
            world.deliver(flight.index, &mut rng);
        }
        if silence {
            [0, 1].into_iter().for_each(|side| world.restart(side));
        }
        if thefts.contains(&now) {
            steal(&mut world, &mut thefts, now, victim, &mut rng);
        }
        if rng.random_range(0..1000) < pattern.restarted {
            let side = rng.random_range(0..2);
            world.restart(side);
        }
    }
    for flight in flights {
        world.deliver(flight.index, &mut rng);
    }
    world
}

fn steal(world: &mut World, thefts: &mut Vec<usize>, now: usize, victim: usize, rng: &mut ChaCha20Rng) {
    thefts.retain(|at| *at != now);
    let thief = Thief::new(world, victim, rng.random());
    world.thieves.push(thief);
}
