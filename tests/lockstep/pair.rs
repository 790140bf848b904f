//! What the tests of single cases share: Alice and Bob, who have one session, and an Alice that is not held to anything.

use rand::RngExt;

use super::world::World;
use crate::reference::{
    chain::Chain,
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
pub fn talk(world: &mut World, from: usize) -> Vec<u8> {
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
pub fn skip(chain: &mut Chain, by: u32) {
    chain.run(chain.position + by, 0);
}

/// Message n of a chain, as an honest Alice would send it after n that are on their way.
pub fn number(world: &mut World, before: &Session, n: u32) -> Draft {
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

pub fn run(name: &str, world: World, run: impl FnOnce(&mut World)) -> Tally {
    world.run(name, 0, run)
}

pub fn tape(world: &mut World) -> Tape {
    Tape::new((0..96).map(|_| world.rng.random()).collect())
}

/// A public key of small order.
pub const SMALL_ORDER: [u8; 32] = [0; 32];

/// The base point: a public key like others.
pub const GOOD: [u8; 32] = [9; 32];
