//! Another process, or the disk, comes in at the worst moment: what is in memory is stale, or nobody can say whether it is.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{Arc, Mutex},
};

use subrosa::{
    Device, DeviceError, Error, Event, Incoming, Trust,
    store::{Action, Change, Expected, Record, RecordId, Store, StoreError},
};

use crate::common::world::{
    Phone, Server, TestClock, TestStore, World, acquainted,
    table::{HANDSHAKES, RESEND},
    texts,
};

/// A store whose commits fail while it says so, and of which somebody else may change something between two reads.
#[derive(Clone)]
struct Shared {
    store: TestStore,
    busy: Rc<Cell<bool>>,
    after_list: After,
    /// After a read in this table.
    after_read: (u8, After),
}

/// What somebody else does right after a table was listed or a record read, once.
type After = Arc<Mutex<Option<Box<dyn FnMut()>>>>;

impl Shared {
    fn of(store: &TestStore) -> Self {
        let after_read = (HANDSHAKES, After::default());
        Self { store: store.clone(), busy: Rc::default(), after_list: After::default(), after_read }
    }
}

fn act(after: &After) {
    let act = after.lock().unwrap().take();
    if let Some(mut act) = act {
        act();
    }
}

impl Store for Shared {
    fn read(&self, id: &RecordId) -> Result<Option<Record>, StoreError> {
        let record = self.store.read(id);
        if id.table == self.after_read.0 {
            act(&self.after_read.1);
        }
        record
    }

    fn list(&self, table: u8, after: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let records = self.store.list(table, after, limit);
        act(&self.after_list);
        records
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        if self.busy.get() { Err(StoreError::Busy) } else { self.store.commit(changes) }
    }
}

/// Alice's second process knows no newer session than one that has moved on, and is asked about a message while the store
/// is locked. To say that nobody's session fits would make the app drop the message.
#[test]
fn a18_stale_memory_and_a_busy_store_lose_nothing() {
    let (World { clock, mut server }, mut alice, mut bob) = acquainted();
    let shared = Shared::of(&alice.store);
    let mut second = Device::open(shared.clone(), clock.config()).unwrap();
    // It has everything in memory.
    bob.say(&mut server, &alice.user(), "for the second");
    let message = server.take(&alice.address()).remove(0);
    assert_eq!(texts(&second.receive(&message, Some(&bob.user())).unwrap()), ["for the second"]);
    for round in 0..3 {
        alice.say(&mut server, &bob.user(), &format!("on {round}"));
        bob.poll(&mut server);
        bob.say(&mut server, &alice.user(), &format!("and on {round}"));
        let message = server.take(&alice.address()).remove(0);
        if round < 2 {
            alice.device.receive(&message, Some(&bob.user())).unwrap();
            continue;
        }
        shared.busy.set(true);
        for hint in [None, Some(&bob.user())] {
            let result = second.receive(&message, hint);
            assert!(matches!(result, Err(DeviceError::Store(StoreError::Busy))), "{hint:?}: {result:?}");
            let results = second.receive_many(&[Incoming { bytes: &message, from: hint }]);
            assert!(
                matches!(results[..], [Err(DeviceError::Store(StoreError::Busy))]),
                "{hint:?}: {results:?}"
            );
        }
        shared.busy.set(false);
        assert_eq!(texts(&second.receive(&message, Some(&bob.user())).unwrap()), ["and on 2"]);
    }
}

/// A batch that cannot be committed fails; nothing else does, and it does not try for ever.
#[test]
fn a_batch_that_cannot_be_stored_is_kept() {
    let (World { clock, mut server }, alice, mut bob) = acquainted();
    let shared = Shared::of(&alice.store);
    let mut device = Device::open(shared.clone(), clock.config()).unwrap();
    for text in ["1", "2", "3"] {
        bob.say(&mut server, &alice.user(), text);
    }
    let messages = server.take(&alice.address());
    let from = bob.user();
    let incoming: Vec<_> = messages.iter().map(|bytes| Incoming { bytes, from: Some(&from) }).collect();
    shared.busy.set(true);
    let results = device.receive_many(&incoming);
    assert!(matches!(results[..], [Err(DeviceError::Store(StoreError::Busy))]), "{results:?}");
    shared.busy.set(false);
    let results = device.receive_many(&incoming);
    let read: Vec<_> = results.into_iter().flat_map(|result| texts(&result.unwrap())).collect();
    assert_eq!(read, ["1", "2", "3"]);
}

/// The device goes on, without being opened again, from what is stored: not from what it would have stored.
#[test]
fn a17_a_failed_commit_leaves_nothing_in_memory() {
    let (World { clock, mut server }, mut alice, mut bob) = acquainted();
    let shared = Shared::of(&alice.store);
    let mut device = Device::open(shared.clone(), clock.config()).unwrap();
    bob.say(&mut server, &alice.user(), "kept by the server");
    let message = server.take(&alice.address()).remove(0);
    let (from, to) = (bob.user(), bob.user());
    for hint in [Some(&from), None] {
        shared.busy.set(true);
        assert!(matches!(device.receive(&message, hint), Err(DeviceError::Store(StoreError::Busy))));
        assert!(matches!(device.send(&to, b"never sent"), Err(DeviceError::Store(StoreError::Busy))));
        shared.busy.set(false);
    }
    assert_eq!(texts(&device.receive(&message, Some(&from)).unwrap()), ["kept by the server"]);
    shared.busy.set(true);
    assert!(device.send(&to, b"never sent").is_err());
    shared.busy.set(false);
    device.send(&to, b"sent").unwrap();
    alice.push(&mut server);
    assert_eq!(bob.texts(&mut server), ["sent"]);
    // No number was left out.
    clock.advance(120);
    bob.say(&mut server, &alice.user(), "is there more?");
    alice.poll(&mut server);
    alice.say(&mut server, &to, "no");
    let received = bob.poll(&mut server);
    // Had Bob asked for what was never sent, it would be gone now.
    assert_eq!((texts(&received), received.len()), (vec!["no".to_owned()], 1), "{received:?}");
}

/// Nobody says who sent a message, and while the sessions are listed another process goes on with the one it belongs to.
#[test]
fn a18_a_session_that_changes_while_it_is_listed_is_found() {
    let (World { clock, mut server }, alice, mut bob) = acquainted();
    let shared = Shared::of(&alice.store);
    let mut second = Device::open(shared.clone(), clock.config()).unwrap();
    for text in ["skipped", "taken by the other process", "for the second"] {
        bob.say(&mut server, &alice.user(), text);
    }
    let mut messages = server.take(&alice.address());
    let last = messages.pop().unwrap();
    let other = messages.pop().unwrap();
    let mut first = Some(alice.device);
    *shared.after_list.lock().unwrap() = Some(Box::new(move || {
        // A message is skipped: both halves of the session change.
        first.take().unwrap().receive(&other, None).unwrap();
    }));
    assert_eq!(texts(&second.receive(&last, None).unwrap()), ["for the second"]);
    assert!(shared.after_list.lock().unwrap().is_none(), "nothing was listed");
}

/// A message is late, is asked for, and comes after what was sent in its place: it is no sign of an old state.
#[test]
fn a_message_later_than_its_replacement_is_no_rollback() {
    let (World { clock, mut server }, mut alice, mut bob) = acquainted();
    bob.say(&mut server, &alice.user(), "late");
    let late = server.take(&alice.address());
    bob.say(&mut server, &alice.user(), "in time");
    assert_eq!(alice.texts(&mut server), ["in time"]);
    clock.advance(120);
    alice.say(&mut server, &bob.user(), "what was that?");
    bob.poll(&mut server);
    clock.advance(60 * 60);
    bob.device.maintain().unwrap();
    bob.push(&mut server);
    assert_eq!(alice.texts(&mut server), ["late"]);
    let received = alice.device.receive(&late[0], Some(&bob.user())).unwrap();
    assert_eq!(received, [], "{received:?}");
    let again = alice.device.receive(&late[0], Some(&bob.user()));
    assert!(matches!(again, Err(DeviceError::Message(Error::Duplicate))), "{again:?}");
    bob.say(&mut server, &alice.user(), "next");
    let received = alice.poll(&mut server);
    assert!(received.iter().all(|received| received.event != Event::PeerRolledBack));
}

/// The other process has lifted a block: to go by what is in memory would be to say of it what is not true any more.
#[test]
fn an_error_is_of_what_is_stored_now() {
    let (World { clock, .. }, mut alice, bob) = acquainted();
    let b = bob.user();
    alice.device.set_trust(&b, Trust::Blocked).unwrap();
    let mut second = Device::open(alice.store.clone(), clock.config()).unwrap();
    second.set_trust(&b, Trust::Unverified).unwrap();
    alice.device.send(&b, b"not blocked any more").unwrap();
}

/// Two processes get one first message, and the other one is through with it while this one looks whether it has been there.
/// It looks like a replay then, of a message that is in no session.
#[test]
fn a18_a_first_message_for_two_processes_is_a_duplicate() {
    let (clock, mut server) = (TestClock::default(), Server::default());
    let mut alice = Phone::new(&clock, &mut server);
    let bob = Phone::new(&clock, &mut server);
    server.drain(&bob.address());
    alice.say(&mut server, &bob.user(), "hello");
    let message = server.take(&bob.address()).remove(0);
    let shared = Shared::of(&bob.store);
    let mut second = Device::open(shared.clone(), clock.config()).unwrap();
    let (mut first, copy) = (Some(bob.device), message.clone());
    *shared.after_read.1.lock().unwrap() = Some(Box::new(move || {
        assert_eq!(texts(&first.take().unwrap().receive(&copy, None).unwrap()), ["hello"]);
    }));
    let again = second.receive(&message, None);
    assert!(matches!(again, Err(DeviceError::Message(Error::Duplicate))), "{again:?}");
}

/// What is old is deleted in pages. Another process deletes one of a page that this one has listed.
#[test]
fn what_another_process_has_deleted_is_left_for_the_next_time() {
    let (World { clock, mut server }, mut alice, bob) = acquainted();
    for text in ["1", "2", "3"] {
        alice.say(&mut server, &bob.user(), text);
    }
    clock.advance(15 * 24 * 60 * 60);
    let shared = Shared::of(&alice.store);
    let mut device = Device::open(shared.clone(), clock.config()).unwrap();
    let mut other = alice.store.clone();
    *shared.after_list.lock().unwrap() = Some(Box::new(move || {
        let id = *other.records().keys().find(|id| id.table == RESEND).unwrap();
        other.commit(&[Change { id, expected: Expected::Anything, action: Action::Delete }]).unwrap();
    }));
    assert_eq!(device.maintain().unwrap().damaged, 0);
    assert_eq!(alice.store.count(RESEND), 2, "none of the page");
    assert_eq!(device.maintain().unwrap().damaged, 0);
    assert_eq!(alice.store.count(RESEND), 0);
}

/// Somebody else is always faster: that ends, and is not for ever.
#[test]
fn a18_who_never_gets_a_turn_is_told_so() {
    struct Faster(TestStore, u32);
    impl Store for Faster {
        fn read(&self, id: &RecordId) -> Result<Option<Record>, StoreError> {
            self.0.read(id)
        }
        fn list(&self, table: u8, after: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
            self.0.list(table, after, limit)
        }
        fn commit(&mut self, _: &[Change]) -> Result<(), StoreError> {
            self.1 += 1;
            assert!(self.1 < 100_000, "it tries for ever");
            Err(StoreError::Conflict)
        }
    }
    let (World { clock, .. }, alice, bob) = acquainted();
    let before = alice.store.records();
    let mut device = Device::open(Faster(alice.store.clone(), 0), clock.config()).unwrap();
    let result = device.set_trust(&bob.user(), Trust::Verified);
    assert!(matches!(result, Err(DeviceError::Store(StoreError::Busy))), "{result:?}");
    assert_eq!(alice.store.records(), before);
}
