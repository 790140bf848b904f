//! Every single call of the store fails in turn, before or after it was carried out, and the app is started again.

use std::{cell::Cell, collections::BTreeMap, rc::Rc};

use subrosa::{
    Device, DeviceError, Draft, Error, Event, Incoming, MessageId, Outgoing, Received, Settings,
    store::{Change, Record, RecordId, Store, StoreError},
};

use crate::common::world::{Fail, Phone, Server, TestClock, TestStore, garbage, link, table::RESEND, texts};

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
        mut act: impl FnMut(&mut Device<TestStore>) -> Result<T, DeviceError>,
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

/// Repeats something with every call of the store that it makes failing in turn, until none fails.
fn at_every_call(mut act: impl FnMut(u64, Fail) -> bool) {
    for call in 0.. {
        assert!(call < 1_000, "it never ends");
        // Both, whatever the first one gives.
        if [Fail::Before, Fail::After].map(|fail| act(call, fail)) == [false, false] {
            assert!(call > 1, "nothing was tried");
            return;
        }
    }
}

/// There is a device, or there is nothing; and it is said which failure of the store it was.
#[test]
fn a17_a_device_is_made_whole_or_not_at_all() {
    let clock = TestClock::default();
    at_every_call(|call, fail| {
        let store = TestStore::default();
        store.fail_at(call, fail);
        let made = Device::open_or_create(store.clone(), clock.config());
        store.recover();
        let failed = matches!(made, Err(DeviceError::Store(StoreError::Other(_))));
        assert!(failed || made.is_ok(), "{made:?}");
        let is_there = !store.records().is_empty();
        assert_eq!(Device::open(store.clone(), clock.config()).is_ok(), is_there, "call {call}, {fail:?}");
        assert_eq!(matches!(Device::create(store, clock.config()), Err(DeviceError::Occupied)), is_there);
        failed
    });
}

/// What is bad ends a commit, so that such a batch takes several. What comes after the failure has not been looked at.
#[test]
fn a17_a_batch_with_something_bad_in_it_is_taken_up_again() {
    let rubbish = garbage();
    at_every_call(|call, fail| {
        let mut world = World::new();
        let (alice, bob) = (world.alice.user(), world.bob.user());
        world.bob.say(&mut world.server, &alice, "hello");
        world.alice_receives();
        for number in 0..3 {
            world.bob.say(&mut world.server, &alice, &number.to_string());
        }
        let good = world.server.take(&world.alice.address());
        let messages = [&rubbish, &good[0], &good[1], &rubbish, &good[2]];
        let incoming = messages.map(|bytes| Incoming { bytes, from: Some(&bob) });
        world.alice.store.fail_at(world.alice.store.calls() + call, fail);
        let results = world.alice.device.receive_many(&incoming);
        let stopped =
            |result: &Result<Vec<Received>, DeviceError>| matches!(result, Err(DeviceError::Store(_)));
        let failed = results.iter().any(stopped);
        let mut looked_at = results.len();
        if failed {
            looked_at -= 1;
            assert_eq!(results.iter().position(stopped), Some(looked_at), "it goes on");
        }
        world.alice.restart();
        let again = world.alice.device.receive_many(&incoming[looked_at..]);
        assert_eq!(looked_at + again.len(), messages.len());
        for (result, message) in results[..looked_at].iter().chain(&again).zip(messages) {
            match result {
                Ok(_) => assert!(*message != rubbish),
                Err(DeviceError::Message(Error::Duplicate)) => assert!(failed && fail == Fail::After),
                Err(_) => assert!(*message == rubbish),
            }
        }
        let inbox: Vec<_> = world.alice.device.inbox().map(Result::unwrap).collect();
        assert_eq!(texts(&inbox), ["0", "1", "2"], "call {call}, {fail:?}");
        failed
    });
}

/// A store of which one read fails, and no other call.
struct Hiccup {
    store: TestStore,
    reads_left: Rc<Cell<Option<u32>>>,
}

impl Store for Hiccup {
    fn read(&self, id: &RecordId) -> Result<Option<Record>, StoreError> {
        let left = self.reads_left.get();
        self.reads_left.set(left.and_then(|left| left.checked_sub(1)));
        if left == Some(0) { Err(StoreError::Busy) } else { self.store.read(id) }
    }

    fn list(&self, table: u8, after: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.store.list(table, after, limit)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        self.store.commit(changes)
    }
}

/// A device of Bob's is unlinked, and Alice gets to know it by a message: all of it, or none, also if the store works again
/// right after it has failed.
#[test]
fn a17_a_list_in_a_message_is_taken_with_the_message() {
    for read in 0.. {
        let mut world = World::new();
        let (alice, bob) = (world.alice.user(), world.bob.user());
        let mut second = link(&mut world.bob, &mut world.server);
        second.say(&mut world.server, &alice, "from the second device");
        world.bob.say(&mut world.server, &alice, "from the first");
        world.alice_receives();
        world.bob.poll(&mut world.server);
        world.bob.device.unlink(&second.address().device).unwrap();
        world.bob.say(&mut world.server, &alice, "alone");
        let message = world.server.take(&world.alice.address()).remove(0);
        let store = world.alice.store.clone();
        let reads_left = Rc::new(Cell::new(None));
        let hiccup = Hiccup { store: store.clone(), reads_left: reads_left.clone() };
        let mut device = Device::open(hiccup, world.clock.config()).unwrap();
        let before = store.records();
        reads_left.set(Some(read));
        let result = device.receive(&message, Some(&bob));
        let failed = reads_left.take().is_none();
        if failed {
            assert!(matches!(result, Err(DeviceError::Store(StoreError::Busy))), "read {read}: {result:?}");
            assert_eq!(store.records(), before);
            device.receive(&message, Some(&bob)).unwrap();
        }
        let inbox: Vec<_> = device.inbox().map(Result::unwrap).collect();
        assert_eq!((texts(&inbox), inbox.len()), (vec!["alone".to_owned()], 2));
        assert_eq!(device.user_info(&bob).unwrap().unwrap().devices, [world.bob.address().device]);
        if !failed {
            assert!(read > 5, "{read}");
            break;
        }
    }
}
