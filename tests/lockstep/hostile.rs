//! A peer that has the keys of a session and breaks the rules: messages that authenticate, and that no honest sender makes.
//! They are made by the reference, on a copy of the sender's session.

use rand::RngExt;

use super::world::World;
use crate::reference::{
    encoding::{Padding, Value, write_body},
    notes::note,
    primitives::Tape,
    session::{Draft, Session},
};

/// Something that has the header's and the body's keys.
pub fn message(world: &mut World, from: usize, session: usize, to: usize) -> Vec<u8> {
    note("hostile");
    let honest = world.people[from].sessions[session].model.clone();
    let mut liar = honest.clone();
    let mut tape = Tape::new((0..64).map(|_| world.rng.random()).collect());
    // Another implementation: its streams have another last index.
    if let Some((_, stream)) = liar.pq.braid.stream() {
        stream.last = 65_535;
        stream.next = if world.rng.random() { world.rng.random() } else { 65_530 };
    }
    let reader = world.people[to].sessions.iter().find(|both| both.model.id == liar.id);
    let reader = reader.map(|both| both.model.clone());
    match world.rng.random_range(0..6) {
        0 => jump(world, &mut liar, reader.as_ref()),
        1..=2 => go_back(world, &mut liar, from),
        _ => {}
    }
    if world.kept.len() == 200 {
        world.kept.pop_front();
    }
    world.kept.push_back((from, honest));
    let mut draft = liar.draft(b"so far honest", &mut tape).unwrap();
    match world.rng.random_range(0..3) {
        0 => lie_in_header(world, &mut draft, reader.as_ref()),
        1 => lie_in_body(world, &mut draft),
        _ => {}
    }
    draft.seal()
}

/// Numbers are left out, with their keys: a few, many, or as many as may be and one more.
fn jump(world: &mut World, liar: &mut Session, reader: Option<&Session>) {
    let by = match world.rng.random_range(0..8) {
        0 => world.rng.random_range(1_990..2_600),
        _ => world.rng.random_range(1..40),
    };
    let Some(sending) = &mut liar.ec.sending else { return };
    let current = reader.and_then(|reader| reader.ec.receiving.as_ref());
    let current = current.filter(|receiving| receiving.header_key == sending.header_key);
    match world.rng.random_range(0..16) {
        0 => {
            let position = current.map_or(0, |receiving| receiving.chain.position);
            sending.chain.run(position + 25_000 + world.rng.random_range(0..2), 0);
        }
        1..=8 => drop(sending.chain.run(sending.chain.position + by, 0)),
        _ => drop(liar.pq.sending.run(liar.pq.sending.position + by, 0)),
    }
}

/// One of the two ratchets as it was some time ago: an EC number that is late with a PQ number that is not, or a new one with a
/// PQ chain of an earlier epoch; the PQ chain where it was or somewhat further.
fn go_back(world: &mut World, liar: &mut Session, from: usize) {
    let of_session = world.kept.iter().filter(|(sender, kept)| (*sender, kept.id) == (from, liar.id));
    let mut kept: Vec<Session> = of_session.map(|(_, kept)| kept.clone()).collect();
    if kept.is_empty() {
        return;
    }
    let kept = kept.swap_remove(world.rng.random_range(0..kept.len()));
    if world.rng.random() {
        liar.pq = kept.pq;
    } else {
        liar.ec = kept.ec;
    }
    let position = liar.pq.sending.position;
    liar.pq.sending.run(position + world.rng.random_range(0..30), 0);
}

fn lie_in_header(world: &mut World, draft: &mut Draft, reader: Option<&Session>) {
    let header = &mut draft.header;
    let position =
        reader.and_then(|reader| reader.ec.receiving.as_ref()).map_or(0, |chain| chain.chain.position);
    let wild = match world.rng.random_range(0..4) {
        0 => u32::MAX,
        1 => position + 25_000 + world.rng.random_range(0..2),
        2 => world.rng.random(),
        _ => world.rng.random_range(0..60),
    };
    match world.rng.random_range(0..9) {
        0..=2 => header.pn = wild,
        3 => header.n = wild,
        4 => header.pq_epoch = wild,
        5 => header.pq_n = wild,
        6 => header.incarnation = wild,
        7 => header.ratchet_key = [0xff; 32],
        _ => header.ratchet_key = [world.rng.random_range(0..3); 32],
    }
}

fn lie_in_body(world: &mut World, draft: &mut Draft) {
    let value = [Value::Header, Value::Vector, Value::VectorAck, Value::Ct1, Value::Ct2]
        [world.rng.random_range(0..5)];
    let count = world.rng.random_range(1..=31);
    let words = (0..count).map(|_| (world.rng.random_range(0..70), [world.rng.random(); 32])).collect();
    draft.body = write_body(b"lies", &Some((value, words)), Padding::None);
    let (tag, end) = (8, draft.body.len() - 1);
    match world.rng.random_range(0..8) {
        0 => draft.body[tag] = world.rng.random(),
        1 => draft.body[tag] &= 0x1f,
        2 => draft.body[tag] |= 0xc0,
        3 => draft.body[tag] &= 0xe0,
        4 => draft.body[world.rng.random_range(0..4)] ^= 1 << world.rng.random_range(0..8),
        5 => draft.body.extend([0, 0, 0, 0, world.rng.random_range(0..2)]),
        6 => draft.body.truncate(world.rng.random_range(16..=end)),
        _ => {}
    }
}
