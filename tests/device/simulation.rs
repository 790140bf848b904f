//! Two users with two devices each, in a network that loses, repeats, reorders and corrupts; apps that are started again,
//! disks that are put back. When it calms down everybody hears everybody, nothing has come twice, and what is
//! lost was reported.
//!
//! The schedules are of fixed seeds; keys are not, and nothing may depend on them.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use subrosa::{Address, DeviceError, Event, Received, Trust};

use crate::common::{
    seeded,
    world::{Phone, Server, TestClock, TestStore, link},
};

const STEPS: usize = 120;
const SEEDS: u64 = 25;
/// Enough for new sessions, for two requests, an hour apart, and their answers; and for giving up what was asked for in
/// vain before.
const CALM: usize = 14;

struct Simulation {
    rng: chacha20::ChaCha20Rng,
    clock: TestClock,
    server: Server,
    phones: Vec<Phone>,
    snapshots: Vec<TestStore>,
    /// What each device was sent by each: (sender, recipient) to texts.
    sent: BTreeMap<(Address, Address), BTreeSet<String>>,
    received: BTreeMap<(Address, Address), Vec<String>>,
    reported: BTreeMap<(Address, Address), u32>,
    /// Devices whose store was put back: what they knew is gone.
    put_back: BTreeSet<Address>,
    texts: usize,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let (clock, mut server) = (TestClock::default(), Server::default());
        let mut phones = Vec::new();
        for _ in 0..2 {
            let mut first = Phone::new(&clock, &mut server);
            let second = link(&mut first, &mut server);
            phones.push(first);
            phones.push(second);
        }
        let snapshots = phones.iter().map(|phone| phone.store.snapshot()).collect();
        Self {
            rng: seeded(seed),
            clock,
            server,
            phones,
            snapshots,
            sent: BTreeMap::new(),
            received: BTreeMap::new(),
            reported: BTreeMap::new(),
            put_back: BTreeSet::new(),
            texts: 0,
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn say(&mut self, from: usize, to_user: usize) {
        let to = self.phones[to_user].user();
        let text = format!("text {}", self.texts);
        self.texts += 1;
        let phone = &mut self.phones[from];
        let sent = phone.try_say(&mut self.server, &to, &text).unwrap();
        for out in sent {
            self.sent.entry((phone.address(), out.to)).or_default().insert(text.clone());
        }
    }

    /// The outbox goes to the server, all of it or some, once or twice; the calm network takes all of it.
    fn push(&mut self, of: usize, wild: bool) {
        let outbox: Vec<_> = self.phones[of].device.outbox().map(Result::unwrap).collect();
        let mut sent = Vec::new();
        for out in outbox {
            if wild && self.chance(20) {
                continue; // the server does not have it yet
            }
            if !(wild && self.chance(15)) {
                self.server.push(&out); // else it says that it has, and loses it
            }
            if !(wild && self.chance(10)) {
                sent.push(out.id);
            }
        }
        self.phones[of].device.sent(sent).unwrap();
    }

    fn poll(&mut self, of: usize, wild: bool) {
        let to = self.phones[of].address();
        let mut messages = self.server.take(&to);
        if wild && self.chance(30) {
            for i in (1..messages.len()).rev() {
                messages.swap(i, self.rng.random_range(0..=i));
            }
        }
        let hinted = self.chance(50);
        for mut message in messages {
            if wild && self.chance(8) {
                let position = self.rng.random_range(0..message.len());
                message[position] ^= 1 << self.rng.random_range(0..8);
            }
            let twice = wild && self.chance(10);
            for _ in 0..=u32::from(twice) {
                // A hint may be wrong.
                let hint = hinted.then(|| self.phones[(of + 2) % 4].user());
                match self.phones[of].device.receive(&message, hint.as_ref()) {
                    Ok(received) => self.keep(of, &received),
                    Err(DeviceError::Message(_) | DeviceError::Refused(_) | DeviceError::Missing(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    fn keep(&mut self, of: usize, received: &[Received]) {
        let to = self.phones[of].address();
        for received in received {
            assert!(!received.redelivered);
            let pair = (received.from, to);
            match &received.event {
                Event::Message { content, .. } | Event::SentElsewhere { content, .. } => {
                    let text = String::from_utf8(content.clone()).unwrap();
                    assert!(self.sent[&pair].contains(&text), "{text} is shown under a wrong name");
                    let list = self.received.entry(pair).or_default();
                    assert!(!list.contains(&text) || self.put_back.contains(&to), "{text} came twice");
                    list.push(text);
                }
                Event::Lost(count) => *self.reported.entry(pair).or_default() += count,
                Event::NotUnderstood | Event::Unlinked => panic!("{received:?}"),
                _ => {}
            }
        }
        let ids: Vec<_> = received.iter().map(|received| received.id).collect();
        self.phones[of].device.acknowledge(ids).unwrap();
    }

    fn step(&mut self, with_snapshots: bool) {
        let of = self.rng.random_range(0..4);
        match self.rng.random_range(0..100) {
            0..35 => {
                let to = self.rng.random_range(0..4);
                self.say(of, to);
            }
            35..55 => self.push(of, true),
            55..80 => self.poll(of, true),
            80..86 => self.phones[of].restart(),
            86..92 => self.clock.advance(self.rng.random_range(1..7_200)),
            92..95 => {
                self.phones[of].device.maintain().unwrap();
                self.phones[of].publish(&mut self.server);
            }
            95..98 => {
                let who = self.phones[(of + 2) % 4].user();
                self.phones[of].device.set_trust(&who, Trust::Verified).unwrap();
            }
            98 if with_snapshots => self.snapshots[of] = self.phones[of].store.snapshot(),
            99 if with_snapshots => {
                let snapshot = self.snapshots[of].snapshot();
                self.phones[of].put_back(&snapshot);
                self.put_back.insert(self.phones[of].address());
            }
            _ => {}
        }
    }

    fn run(&mut self, with_snapshots: bool) {
        for _ in 0..STEPS {
            self.step(with_snapshots);
        }
        for of in 0..4 {
            self.push(of, false);
        }
        let mut last = Vec::new();
        for round in 0..CALM {
            self.clock.advance(match round {
                // Long enough for a new session where two a day were begun.
                0..3 => 25 * 60 * 60,
                // What was asked for twice, and lost each time, counts as lost after a week.
                8 => 8 * 24 * 60 * 60,
                _ => 2 * 60 * 60,
            });
            for of in 0..4 {
                self.phones[of].device.maintain().unwrap();
                self.phones[of].publish(&mut self.server);
                self.poll(of, false);
                last.push(format!("text {}", self.texts));
                self.say(of, (of + 2) % 4);
                self.push(of, false);
            }
        }
        for of in 0..4 {
            self.poll(of, false);
        }
        let addresses: Vec<_> = self.phones.iter().map(Phone::address).collect();
        for (from, to) in addresses.iter().flat_map(|from| addresses.iter().map(move |to| (*from, *to))) {
            if from == to {
                continue;
            }
            let sent = self.sent.get(&(from, to)).cloned().unwrap_or_default();
            let received = self.received.remove(&(from, to)).unwrap_or_default();
            let missed: Vec<_> = sent.iter().filter(|text| !received.contains(text)).collect();
            // The last two rounds of the calm are heard by all.
            for text in &last[last.len() - 8..] {
                assert!(!missed.contains(&text), "{text} is not heard: {from} to {to}");
            }
            if !self.put_back.contains(&from) && !self.put_back.contains(&to) {
                let reported = self.reported.get(&(from, to)).copied().unwrap_or(0) as usize;
                assert!(missed.len() <= reported, "{missed:?} are lost, and {reported} were reported");
            }
        }
    }
}

fn simulate(seeds: std::ops::Range<u64>, with_snapshots: bool) {
    for seed in seeds {
        eprintln!("seed {seed}, snapshots: {with_snapshots}");
        Simulation::new(seed).run(with_snapshots);
    }
}

#[test]
fn what_is_lost_is_reported_and_everybody_is_heard_in_the_end() {
    simulate(0..SEEDS, false);
}

#[test]
fn a16_disks_are_put_back_and_everybody_is_heard_in_the_end() {
    simulate(1_000..1_000 + SEEDS, true);
}
