//! Every single call of the store fails in turn, before or after it was carried out, and the app is started again.
#![cfg(feature = "std")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

mod common;

use std::collections::BTreeMap;

use common::world::{Fail, Phone, Server, TestClock, texts};
use subrosa::{Device, DeviceError, Draft, Error, Event, MessageId, Outgoing, Received, Settings};

/// An app that keeps a history, as an app does: what came in, by id, and whether it was marked as redelivered.
#[derive(Default)]
struct History {
    texts: BTreeMap<String, u32>,
}

impl History {
    /// Takes in what is received. What was not marked must be new.
    fn keep(&mut self, received: &[Received]) {
        for received in received {
            if let Event::Message { .. } = received.event {
                let text = texts(std::slice::from_ref(received)).remove(0);
                let known = self.texts.contains_key(&text);
                assert!(!known || received.redelivered, "{text} came twice, and was not marked");
                *self.texts.entry(text).or_default() += 1;
            }
        }
    }
}

struct World {
    clock: TestClock,
    server: Server,
    alice: Phone,
    bob: Phone,
    /// What Alice has read.
    alices: History,
    bobs: History,
    /// How often the store failed.
    failures: u32,
}

impl World {
    fn new() -> Self {
        let (clock, mut server) = (TestClock::default(), Server::default());
        let alice = Phone::new(&clock, &mut server);
        let bob = Phone::new(&clock, &mut server);
        let (alices, bobs) = <(History, History)>::default();
        Self { clock, server, alice, bob, alices, bobs, failures: 0 }
    }

    /// Alice's app does something until it works, and is started again whenever the store fails.
    fn alice<T>(
        &mut self,
        mut act: impl FnMut(&mut Device<common::world::TestStore>) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        loop {
            match act(&mut self.alice.device) {
                Err(DeviceError::Store(_)) => {
                    self.failures += 1;
                    assert!(self.failures < 4);
                    self.alice.restart();
                    // What an app does first: it looks what was left.
                    let inbox: Vec<_> = self.alice.device.inbox().map(Result::unwrap).collect();
                    self.alices.keep(&inbox);
                }
                result => return result,
            }
        }
    }

    fn alice_sends(&mut self, text: &str, id: u8) {
        let (to, id) = (self.bob.user(), MessageId::from_bytes([id; 16]));
        loop {
            match self.alice(|device| device.send_many(&[Draft::new(&to, text.as_bytes()).with_id(id)])) {
                Err(DeviceError::Missing(missing)) => {
                    for user in &missing.lists {
                        let list = self.server.list(user).unwrap();
                        self.alice(|device| device.provide(&list)).unwrap();
                    }
                    for address in &missing.bundles {
                        let bundle = self.server.bundle(address).unwrap();
                        self.alice(|device| device.provide_bundle(address, Some(&bundle))).unwrap();
                    }
                }
                sent => return drop(sent.unwrap()),
            }
        }
    }

    fn alice_pushes(&mut self) {
        let outbox: Vec<Outgoing> = self.alice(|device| device.outbox().collect()).unwrap();
        outbox.iter().for_each(|out| self.server.push(out));
        let ids: Vec<_> = outbox.iter().map(|out| out.id).collect();
        self.alice(|device| device.sent(&ids)).unwrap();
    }

    fn alice_receives(&mut self) {
        for message in self.server.take(&self.alice.address()) {
            match self.alice(|device| device.receive(&message, None)) {
                Ok(received) => self.alices.keep(&received),
                // It was received, and the app was stopped before it got to know.
                Err(DeviceError::Message(Error::Duplicate)) => assert!(self.failures > 0),
                Err(error) => panic!("{error}"),
            }
        }
        let inbox: Vec<Received> = self.alice(|device| device.inbox().collect()).unwrap();
        self.alices.keep(&inbox);
        let ids: Vec<_> = inbox.iter().map(|received| received.id).collect();
        self.alice(|device| device.acknowledge(&ids)).unwrap();
    }

    /// Bob's store works. Every ciphertext opens once; only a copy of one that opened is a duplicate.
    fn bob_receives(&mut self, opened: &mut Vec<Vec<u8>>) {
        for message in self.server.take(&self.bob.address()) {
            match self.bob.device.receive(&message, None) {
                Ok(received) => {
                    self.bobs.keep(&received);
                    assert!(!opened.contains(&message));
                    opened.push(message);
                }
                Err(error) => {
                    assert!(matches!(error, DeviceError::Message(Error::Duplicate)), "{error}");
                    assert!(opened.contains(&message), "a key was used for two messages");
                }
            }
        }
    }

    /// A day in the life of two apps; every step that Alice's takes may fail.
    /// How often the store was called.
    fn day(&mut self) -> u64 {
        let mut opened = Vec::new();
        for round in 0..3 {
            self.alice_sends(&format!("a{round}"), round);
            self.alice_pushes();
            self.bob_receives(&mut opened);
            let alice = self.alice.user();
            self.bob.say(&mut self.server, &alice, &format!("b{round}"));
            self.alice_receives();
            self.alice_sends(&format!("c{round}"), 10 + round);
            self.alice_pushes();
            self.bob_receives(&mut opened);
            self.clock.advance(8 * 24 * 60 * 60);
            self.alice(Device::maintain).unwrap();
            let stock = self.server.stock(&self.alice.address()).min(19);
            let publication = self.alice(|device| device.publication(stock)).unwrap();
            self.server.publish(&publication);
            self.alice(|device| device.published(&publication)).unwrap();
        }
        let calls = self.alice.store.calls();
        let expected: Vec<_> = (0..3).flat_map(|i| [format!("a{i}"), format!("c{i}")]).collect();
        let mut read: Vec<_> = self.bobs.texts.keys().cloned().collect();
        read.sort_by_key(|text| expected.iter().position(|other| other == text));
        assert_eq!(read, expected, "nothing is lost");
        assert!(
            self.bobs.texts.values().all(|count| *count == 1),
            "nothing comes twice: {:?}",
            self.bobs.texts
        );
        assert_eq!(self.alices.texts.keys().collect::<Vec<_>>(), ["b0", "b1", "b2"]);
        assert_eq!(self.alice.device.outbox().count() + self.alice.device.inbox().count(), 0);
        calls
    }
}

#[test]
fn a17_every_call_of_the_store_fails_once() {
    let mut world = World::new();
    let before = world.alice.store.calls();
    let calls = world.day() - before;
    assert!(calls > 60, "{calls}");
    for call in 0..calls {
        for fail in [Fail::Before, Fail::After] {
            let mut world = World::new();
            world.alice.store.fail_at(world.alice.store.calls() + call, fail);
            world.day();
            assert_eq!(world.failures, 1, "call {call}, {fail:?}");
        }
    }
}

/// Number of the table of what may be asked for.
const RESEND: u8 = 13;

/// What is kept is many records, and goes in more commits than the setting: it goes, wherever the app is stopped.
#[test]
fn a17_what_is_kept_goes_with_the_setting() {
    let mut settings = Settings::default();
    settings.resend = false;
    let (mut stopped, mut done) = (0, false);
    for call in 0.. {
        for fail in [Fail::Before, Fail::After] {
            let (clock, mut server) = (TestClock::default(), Server::default());
            let mut alice = Phone::new(&clock, &mut server);
            let bob = Phone::new(&clock, &mut server);
            alice.say(&mut server, &bob.user(), "hello");
            (0..120).for_each(|_| drop(alice.device.send(&bob.user(), b"kept").unwrap()));
            assert_eq!(alice.store.count(RESEND), 121);
            alice.store.fail_at(alice.store.calls() + call, fail);
            let result = alice.device.set_settings(settings);
            done = result.is_ok();
            assert!(done || matches!(result, Err(DeviceError::Store(_))), "{result:?}");
            alice.restart();
            alice.device.maintain().unwrap();
            let kept = alice.store.count(RESEND);
            // Either it was not set, and nothing is gone; or it was, and nothing is left.
            alice.device.send(&bob.user(), b"kept, or not").unwrap();
            let expected = if alice.store.count(RESEND) > kept { 121 } else { 0 };
            assert_eq!(kept, expected, "stopped at call {call}, {fail:?}");
            stopped += u32::from(kept == 0 && !done);
        }
        if done {
            break;
        }
    }
    assert!(stopped > 2, "between the setting and the end");
}
