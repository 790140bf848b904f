//! Two devices, by chance: messages lost, late, in another order and twice, garbage, days of silence, disks put back. In the end they
//! hear each other, and what was lost was said to be.

use std::{env, ops::Range};

use rand::{Rng, RngExt};
use subrosa::{Event, UserId};

use crate::common::{
    seeded,
    world::{DAY, Phone, World, acquainted, events, garbage, texts},
};

const HOUR: u64 = 60 * 60;

/// The two, and what each was sent, was shown and was told.
struct Pair {
    world: World,
    phones: [Phone; 2],
    sent: [Vec<String>; 2],
    shown: [Vec<String>; 2],
    told: [Vec<Event>; 2],
    /// Messages that the network holds back, and whom they are for.
    held: Vec<(usize, Vec<u8>)>,
}

impl Pair {
    fn new() -> Self {
        let (world, alice, bob) = acquainted();
        let [sent, shown] = [(); 2].map(|()| Default::default());
        Self { world, phones: [alice, bob], sent, shown, told: Default::default(), held: Vec::new() }
    }

    fn say(&mut self, from: usize, text: String) {
        let to = self.phones[1 - from].user();
        self.phones[from].say(&mut self.world.server, &to, &text);
        self.sent[1 - from].push(text);
    }

    fn receive(&mut self, who: usize, message: &[u8], hint: Option<&UserId>) {
        if let Ok(received) = self.phones[who].device.receive(message, hint) {
            self.shown[who].extend(texts(&received));
            self.told[who].extend(events(&received).into_iter().cloned());
        }
    }

    fn take(&mut self, who: usize) -> Vec<Vec<u8>> {
        self.world.server.take(&self.phones[who].address())
    }

    fn read_all(&mut self, who: usize) {
        for message in self.take(who) {
            self.receive(who, &message, None);
        }
    }

    /// Time passes, and both apps do what they do every day.
    fn wait(&mut self, seconds: u64) {
        self.world.clock.advance(seconds);
        for phone in &mut self.phones {
            phone.device.maintain().unwrap();
            phone.publish(&mut self.world.server);
            phone.device.provide(&self.world.server.list(&phone.user()).unwrap()).unwrap();
            phone.push(&mut self.world.server);
        }
    }

    /// Something of what networks and people do.
    fn step(&mut self, rng: &mut impl Rng) {
        let who = rng.random_range(0..2);
        let hint = rng.random_bool(0.25).then(|| self.phones[1 - who].user());
        match rng.random_range(0..12) {
            0..=3 => {
                for _ in 0..rng.random_range(1..=3) {
                    let text = format!("{}", rng.next_u64());
                    self.say(who, text);
                }
            }
            4..=6 => {
                let mut messages = self.take(who);
                if rng.random_bool(0.3) {
                    messages.reverse();
                }
                if rng.random_bool(0.25) {
                    messages.extend(messages.clone());
                }
                for message in messages {
                    self.receive(who, &message, hint.as_ref());
                }
            }
            7 => drop(self.take(who)),
            8 => {
                let late = self.take(who);
                self.held.extend(late.into_iter().map(|message| (who, message)));
            }
            9 => {
                for (to, message) in std::mem::take(&mut self.held) {
                    self.receive(to, &message, None);
                }
            }
            10 => self.receive(who, &garbage(), hint.as_ref()),
            _ => self.wait([60, 2 * HOUR, DAY, 8 * DAY][rng.random_range(0..4)]),
        }
    }
}

/// After two quiet weeks both read every day what the other writes, begin no sessions any more, and are told nothing.
#[test]
fn a16_two_find_together_whatever_was() {
    for seed in seeds() {
        eprintln!("seed {seed}");
        let mut rng = seeded(seed);
        let mut pair = Pair::new();
        let mut snapshots = [0, 1].map(|who: usize| pair.phones[who].store.snapshot());
        for _ in 0..40 {
            let who = rng.random_range(0..2);
            match rng.random_range(0..25) {
                0 => snapshots[who] = pair.phones[who].store.snapshot(),
                1 => pair.phones[who].put_back(&snapshots[who]),
                _ => pair.step(&mut rng),
            }
        }
        for day in 0..24 {
            let bundles =
                |pair: &Pair| [0, 1].map(|who| pair.world.server.stock(&pair.phones[who].address()));
            let before = bundles(&pair);
            for who in [0, 1] {
                let other = 1 - who;
                pair.shown[other].clear();
                pair.told[other].clear();
                pair.say(who, format!("day {day}"));
                pair.read_all(other);
                if day > 15 {
                    assert_eq!(pair.shown[other], [format!("day {day}")]);
                    assert_eq!(pair.told[other], []);
                }
            }
            assert!(day <= 15 || bundles(&pair) == before, "day {day}: a session is begun");
            pair.wait(DAY);
        }
    }
}

/// No disk is put back: nothing is said to be, nothing is shown twice, and what is never shown was said to be lost.
#[test]
fn a31_without_setbacks_nothing_comes_twice_or_is_lost_without_a_word() {
    for seed in seeds() {
        eprintln!("seed {seed}");
        let mut rng = seeded(seed);
        let mut pair = Pair::new();
        for _ in 0..80 {
            pair.step(&mut rng);
        }
        for _ in 0..12 {
            for who in [0, 1] {
                pair.say(who, "the end".into());
                pair.read_all(1 - who);
            }
            pair.wait(DAY);
        }
        for who in [0, 1] {
            let lost: u32 = pair.told[who]
                .iter()
                .map(|event| if let Event::Lost(count) = event { *count } else { 0 })
                .sum();
            let is_fine = |event: &Event| matches!(event, Event::Lost(_) | Event::NoOneTimePreKey);
            assert!(pair.told[who].iter().all(is_fine), "{:?}", pair.told[who]);
            let times = |text: &String| pair.shown[who].iter().filter(|shown| *shown == text).count();
            let texts: Vec<_> = pair.sent[who].iter().filter(|text| *text != "the end").collect();
            assert!(texts.iter().all(|text| times(text) <= 1), "shown twice");
            let missing = texts.iter().filter(|text| times(text) == 0).count();
            assert!(missing <= lost as usize, "{missing} are missing, {lost} said to be lost");
        }
    }
}

/// `SUBROSA_TEST_PAIRS` is how many.
fn seeds() -> Range<u64> {
    0..env::var("SUBROSA_TEST_PAIRS").map_or(40, |count| count.parse().unwrap())
}
