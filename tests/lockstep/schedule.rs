//! Random schedules: what people do, and what a network, a thief of a disk and a liar do to them.

use rand::RngExt;

use super::{hostile, world::World};
use crate::reference::{encoding::Padding, notes::note, primitives::Refusal};

/// How a schedule goes: what happens in so many of 1,000 cases.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Messages that one sends in a row, at most.
    pub burst: usize,
    pub lost: u32,
    pub duplicated: u32,
    /// Ticks under way, at most.
    pub delay: usize,
    /// Of which a hundred times the delay.
    pub late: u32,
    pub corrupted: u32,
    pub restarted: u32,
    /// A session is put back to what it was some time ago.
    pub rolled_back: u32,
    /// A peer that has the right keys and does what it likes.
    pub hostile: u32,
    /// Sessions are begun.
    pub begun: u32,
    /// Of the senders, the first person.
    pub balance: u32,
}

/// A message under way.
struct Flight {
    due: usize,
    to: usize,
    bytes: Vec<u8>,
}

/// What is drawn for a message's content.
fn content(world: &mut World) -> Vec<u8> {
    let len = match world.rng.random_range(0..20) {
        0 => 0,
        1..=12 => world.rng.random_range(1..=217),
        13 => world.rng.random_range(214..=222),
        14 => world.rng.random_range(470..=476),
        15..=17 => world.rng.random_range(218..=985),
        18 => world.rng.random_range(980..=990),
        _ => world.rng.random_range(1_000..6_000),
    };
    (0..len).map(|_| world.rng.random()).collect()
}

/// Something that is wrong with a message.
fn corrupt(world: &mut World, message: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = message.to_vec();
    let len = bytes.len();
    match world.rng.random_range(0..12) {
        0..=3 => bytes[world.rng.random_range(0..len)] ^= 1 << world.rng.random_range(0..8),
        4 => bytes[world.rng.random_range(0..len.min(90))] ^= 1 << world.rng.random_range(0..8),
        5 => bytes.truncate(world.rng.random_range(0..len)),
        6 => bytes.truncate(world.rng.random_range(0..len.min(110))),
        7 => bytes.push(world.rng.random()),
        8 => bytes[0] = world.rng.random(),
        9 => bytes[0] ^= world.rng.random_range(1..16),
        // The end of another message: body and nonce.
        10 => {
            let other = &others[world.rng.random_range(0..others.len())];
            let from = other.len().saturating_sub(world.rng.random_range(16..400));
            let end = other[from..].to_vec();
            bytes.truncate(len - end.len().min(len));
            bytes.extend(end);
        }
        // The kind of a ratchet message on the rest of an initial one, and the other way round.
        _ => bytes[0] ^= 0x30,
    }
    bytes
}

/// Two who talk, and a third one who sometimes does.
pub fn run(world: &mut World, weather: Weather, ticks: usize) {
    let mut flights = Vec::<Flight>::new();
    let mut sent = Vec::<Vec<u8>>::new();
    let mut tick = 0;
    while tick < ticks || !flights.is_empty() {
        tick += 1;
        let chance = |world: &mut World, of_thousand: u32| world.rng.random_range(0..1_000) < of_thousand;
        if tick < ticks {
            let from = match world.rng.random_range(0..1_000) {
                0..20 => 2,
                _ => usize::from(!chance(world, weather.balance)),
            };
            let to = if chance(world, 970) { [1, 0, 0][from] } else { (from + 1) % 3 };
            let begin = chance(world, weather.begun);
            if let Some(session) = session_to_send_on(world, from, to, begin) {
                // A long silence on the other end, now and then.
                let burst = match world.rng.random_range(0..400) {
                    0 => world.rng.random_range(100..1_500),
                    _ => world.rng.random_range(1..=weather.burst),
                };
                let lost = burst >= 100;
                for _ in 0..burst {
                    if chance(world, 100) {
                        let padding = if world.rng.random() { Padding::None } else { Padding::Buckets };
                        world.set_padding(from, session, padding);
                    }
                    let content = if lost { Vec::new() } else { content(world) };
                    let bytes = world.encrypt(from, session, &content).unwrap();
                    sent.push(bytes.clone());
                    let copies = match world.rng.random_range(0..1_000) {
                        roll if roll < weather.lost => 0,
                        roll if roll < weather.lost + weather.duplicated => 2,
                        _ => 1,
                    };
                    if chance(world, weather.corrupted) {
                        let bytes = corrupt(world, &bytes, &sent);
                        flights.push(Flight {
                            due: tick + world.rng.random_range(0..=weather.delay),
                            to,
                            bytes,
                        });
                    }
                    for _ in 0..if lost { 0 } else { copies } {
                        let late = if chance(world, weather.late) { 100 } else { 1 };
                        let due = tick + late * world.rng.random_range(0..=weather.delay);
                        flights.push(Flight { due, to, bytes: bytes.clone() });
                    }
                }
                if chance(world, weather.hostile) {
                    let bytes = hostile::message(world, from, session, to);
                    flights.push(Flight { due: tick + world.rng.random_range(0..=weather.delay), to, bytes });
                }
            }
            disk(world, weather);
            prekeys(world);
        }
        // The wrong person, or the sender, gets something.
        if chance(world, 10) && !sent.is_empty() {
            let bytes = sent[world.rng.random_range(0..sent.len())].clone();
            flights.push(Flight { due: tick, to: world.rng.random_range(0..3), bytes });
        }
        let (mut arriving, rest): (Vec<Flight>, Vec<Flight>) =
            flights.into_iter().partition(|flight| flight.due <= tick);
        flights = rest;
        while !arriving.is_empty() {
            let Flight { to, bytes, .. } = arriving.swap_remove(world.rng.random_range(0..arriving.len()));
            let result = world.deliver(to, &bytes);
            let name = result.as_ref().map(|(session, content)| (*session, content.len()));
            world.log(format!("tick {tick}: {} bytes to {to}: {name:?}", bytes.len()));
            if let Err(Refusal::PeerRolledBack | Refusal::TooFarAhead) = result {
                note("a session is given up");
            }
        }
    }
    // Everything once more, to everybody: duplicates, and what was lost.
    let from = sent.len().saturating_sub(600);
    for bytes in sent.drain(..).skip(from) {
        for to in 0..2 {
            world.deliver(to, &bytes).ok();
        }
    }
}

/// The session with somebody that is sent on, or one more, or any.
fn session_to_send_on(world: &mut World, from: usize, to: usize, begin: bool) -> Option<usize> {
    let peer = world.people[to].ik();
    let with_peer: Vec<usize> = world.people[from]
        .sessions
        .iter()
        .enumerate()
        .filter_map(|(index, both)| (both.model.peer == peer).then_some(index))
        .collect();
    if with_peer.is_empty() || begin {
        if with_peer.len() >= 4 {
            world.people[from].sessions.remove(with_peer[0]);
        }
        return initiate(world, from, to).ok();
    }
    match world.rng.random_range(0..20) {
        0 => Some(with_peer[world.rng.random_range(0..with_peer.len())]),
        _ => with_peer.last().copied(),
    }
}

fn initiate(world: &mut World, from: usize, to: usize) -> Result<usize, Refusal> {
    let one_time = world.rng.random_range(0..3) > 0;
    let mut bundle = world.bundle(to, one_time);
    let bundles = &world.people[to].bundles;
    match world.rng.random_range(0..12) {
        // One that was used, or is old.
        0..=1 => bundle = bundles[world.rng.random_range(0..bundles.len())].clone(),
        2..=3 => {
            let at = match world.rng.random_range(0..6) {
                0 => 0,
                1 => world.rng.random_range(1..65),
                2 => world.rng.random_range(65..106),
                3 => world.rng.random_range(1666..1739),
                4 => bundle.len() - world.rng.random_range(1..=65),
                _ => world.rng.random_range(0..bundle.len()),
            };
            let byte = if world.rng.random() { 0xff } else { world.rng.random_range(1..=255) };
            bundle[at] ^= byte;
        }
        4 if world.rng.random() => bundle.truncate(world.rng.random_range(0..bundle.len())),
        _ => {}
    }
    let payload = match world.rng.random_range(0..8) {
        0 => vec![7; world.rng.random_range(505..=520)],
        1..=3 => vec![5; 256],
        _ => Vec::new(),
    };
    let result = world.initiate(from, &bundle, &payload);
    world.log(format!("{from} begins with {to}: {result:?}"));
    result
}

/// Restarts, snapshots, and snapshots that are put back.
fn disk(world: &mut World, weather: Weather) {
    let who = world.rng.random_range(0..3);
    let sessions = world.people[who].sessions.len();
    if sessions == 0 {
        return;
    }
    let session = world.rng.random_range(0..sessions);
    let roll = world.rng.random_range(0..1_000);
    if roll < weather.restarted {
        world.log(format!("{who} opens {session} again"));
        world.reopen(who, session);
    } else if roll < weather.restarted + 20 {
        let stored = world.store(who, session);
        let all = &mut world.people[who].stored;
        all.push(stored);
        if all.len() > 6 {
            all.remove(0);
        }
    } else if roll < weather.restarted + 20 + weather.rolled_back && !world.people[who].stored.is_empty() {
        let stored = world.people[who].stored.swap_remove(0);
        world.log(format!("{who} puts back an old session"));
        note("rollback");
        world.restore(who, &stored);
    }
}

/// Time passes.
fn prekeys(world: &mut World) {
    if world.rng.random_range(0..50) > 0 {
        return;
    }
    world.now += match world.rng.random_range(0..4) {
        0 => 86_400 * world.rng.random_range(1..20),
        _ => world.rng.random_range(0..86_400),
    };
    // A clock that is behind for once.
    let now = world.now;
    if world.rng.random_range(0..6) == 0 {
        world.now -= 86_400 * world.rng.random_range(1..10);
    }
    let (who, rotate) = (world.rng.random_range(0..3), world.rng.random_range(0..6) == 0);
    let refill = world.rng.random_range(0..3);
    world.maintain(who, refill, rotate);
    world.now = now;
}
