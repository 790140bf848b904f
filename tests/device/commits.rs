//! One call, one commit: what a call changes is there as a whole, or not at all, because it is written at once. Counted for
//! every method of a device.

use std::{collections::BTreeSet, fs, path::Path};

use subrosa::{BackupLock, Device, DeviceError, Draft, Incoming, Link, RecoveryKey, Settings, Trust};

use crate::common::world::{DAY, Phone, Server, TestClock, TestStore, texts};

/// What was called, by name.
#[derive(Default)]
struct Counted(BTreeSet<String>);

impl Counted {
    /// Calls something, and checks how many commits of this store it took that changed anything.
    #[track_caller]
    fn count<T>(&mut self, writes: u64, name: &str, store: &TestStore, call: impl FnOnce() -> T) -> T {
        let before = store.writes();
        let result = call();
        assert_eq!(store.writes() - before, writes, "commits of {name}");
        self.0.insert(name.to_owned());
        result
    }

    #[track_caller]
    fn of<T>(
        &mut self,
        writes: u64,
        name: &str,
        phone: &mut Phone,
        call: impl FnOnce(&mut Device<TestStore>) -> T,
    ) -> T {
        let Phone { device, store, .. } = phone;
        self.count(writes, name, store, || call(device))
    }
}

/// The public methods of devices that have a store.
fn methods() -> BTreeSet<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![source.join("device.rs")];
    files.extend(fs::read_dir(source.join("device")).unwrap().map(|entry| entry.unwrap().path()));
    files.retain(|file| file.is_file());
    let mut methods = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        for block in text.split("\nimpl<S: Store> Device<S> {\n").skip(1) {
            let block = block.split("\n}\n").next().unwrap();
            let names = block.split("\n    pub fn ").skip(1);
            methods.extend(names.map(|name| name.split('(').next().unwrap().to_owned()));
        }
    }
    assert!(methods.len() > 20, "only {methods:?} were found");
    methods
}

#[test]
fn every_call_is_one_commit() {
    let (clock, mut server) = (TestClock::default(), Server::default());
    let mut counted = Counted::default();
    let n = &mut counted;
    let store = TestStore::default();
    let config = || clock.config();
    let device = n.count(1, "create", &store, || Device::create(store.clone(), config()).unwrap());
    drop(device);
    n.count(0, "open", &store, || Device::open(store.clone(), config()).unwrap());
    let device =
        n.count(0, "open_or_create", &store, || Device::open_or_create(store.clone(), config()).unwrap());
    let mut alice = Phone { device, store, clock: clock.clone() };
    let store = TestStore::default();
    let device =
        n.count(1, "open_or_create", &store, || Device::open_or_create(store.clone(), config()).unwrap());
    let mut bob = Phone { device, store, clock: clock.clone() };
    let (a, b) = (alice.user(), bob.user());

    // Publishing.
    for phone in [&mut alice, &mut bob] {
        let publication = n.of(1, "publication", phone, |device| device.publication(0).unwrap());
        n.of(0, "publication", phone, |device| device.publication(0).unwrap());
        server.publish(&publication);
        n.of(1, "published", phone, |device| device.published(&publication).unwrap());
    }

    // Sending: nothing while something is missing.
    let list = server.list(&b).unwrap();
    let send = |device: &mut Device<TestStore>, to| device.send(to, b"hello");
    assert!(matches!(n.of(0, "send", &mut alice, |it| send(it, &b)), Err(DeviceError::Missing(_))));
    n.of(1, "provide", &mut alice, |device| device.provide(&list).unwrap());
    n.of(0, "provide", &mut alice, |device| device.provide(&list[1..]).unwrap_err());
    n.of(1, "provide_bundle", &mut alice, |it| it.provide_bundle(&bob.address(), None).unwrap());
    assert!(matches!(n.of(0, "send", &mut alice, |it| send(it, &b)), Err(DeviceError::Unreachable)));
    let bundle = server.bundle(&bob.address());
    n.of(1, "provide_bundle", &mut alice, |it| it.provide_bundle(&bob.address(), bundle.as_deref()).unwrap());
    n.of(1, "send", &mut alice, |it| send(it, &b).unwrap());
    let drafts = [Draft::new(&b, b"one"), Draft::new(&b, b"two"), Draft::new(&b, b"three")];
    n.of(1, "send_many", &mut alice, |device| device.send_many(&drafts).unwrap());
    let outbox: Vec<_> = n.of(0, "outbox", &mut alice, |it| it.outbox().map(Result::unwrap).collect());
    assert_eq!(outbox.len(), 4);
    outbox.iter().for_each(|out| server.push(out));
    n.of(1, "sent", &mut alice, |device| device.sent(outbox.iter().map(|out| out.id)).unwrap());

    // Receiving: a first message, one that has come, one that is altered, and many at once.
    let messages = server.take(&bob.address());
    n.of(1, "receive", &mut bob, |device| device.receive(&messages[0], None).unwrap());
    n.of(0, "receive", &mut bob, |device| device.receive(&messages[0], None).unwrap_err());
    let incoming: Vec<_> = messages[1..].iter().map(|bytes| Incoming { bytes, from: Some(&a) }).collect();
    let results = n.of(1, "receive_many", &mut bob, |device| device.receive_many(&incoming));
    assert!(results.len() == 3 && results.iter().all(Result::is_ok));
    let inbox: Vec<_> = n.of(0, "inbox", &mut bob, |it| it.inbox().map(Result::unwrap).collect());
    assert_eq!(texts(&inbox), ["hello", "one", "two", "three"]);
    n.of(1, "acknowledge", &mut bob, |it| it.acknowledge(inbox.iter().map(|got| got.id)).unwrap());
    n.of(1, "send", &mut bob, |it| it.send(&a, b"hi").unwrap());
    bob.push(&mut server);
    // With the hint that it is Bob's, garbage leaves a mark: once.
    let mut message = server.take(&alice.address()).remove(0);
    message[9] ^= 1;
    n.of(1, "receive", &mut alice, |device| device.receive(&message, Some(&b)).unwrap_err());
    n.of(0, "receive", &mut alice, |device| device.receive(&message, Some(&b)).unwrap_err());
    message[9] ^= 1;
    n.of(1, "receive", &mut alice, |device| device.receive(&message, Some(&b)).unwrap());

    // Housekeeping.
    n.of(1, "set_trust", &mut alice, |device| device.set_trust(&b, Trust::Verified).unwrap());
    n.of(0, "user", &mut alice, |device| device.user());
    n.of(0, "address", &mut alice, |device| device.address());
    n.of(0, "user_info", &mut alice, |device| device.user_info(&b).unwrap());
    n.of(0, "users", &mut alice, |device| device.users().count());
    n.of(0, "holds_root_key", &mut alice, |device| device.holds_root_key().unwrap());
    n.of(0, "maintain", &mut alice, |device| device.maintain().unwrap());
    n.of(1, "set_settings", &mut alice, |device| device.set_settings(Settings::default()).unwrap());

    // Linking, backing up.
    let store = TestStore::default();
    let mut link = n.count(1, "begin", &store, || Link::begin(store.clone(), config()).unwrap());
    n.count(0, "begin", &store, || Link::begin(store.clone(), config()).unwrap());
    let offer = n.of(1, "offer_link", &mut alice, |device| device.offer_link(&link.code()).unwrap());
    let reply = n.count(1, "confirm", &store, || link.confirm(&offer, &a).unwrap());
    let grant = n.of(1, "approve_link", &mut alice, |device| device.approve_link(&reply).unwrap());
    let second = n.count(1, "complete", &store, || link.complete(&grant).unwrap());
    n.of(1, "unlink", &mut alice, |device| device.unlink(&second.address().device).unwrap());
    let key = RecoveryKey::generate().unwrap();
    let lock = BackupLock::Key(&key);
    let backup = n.of(0, "backup", &mut alice, |device| device.backup(&lock).unwrap());
    let store = TestStore::default();
    n.count(1, "restore", &store, || Device::restore(store.clone(), config(), &backup, &lock, None).unwrap());
    n.of(0, "settings", &mut alice, |device| device.settings().unwrap());
    n.of(1, "forget", &mut alice, |device| device.forget(&b).unwrap());
    n.of(0, "forget", &mut alice, |device| device.forget(&b).unwrap_err());

    for name in methods() {
        assert!(counted.0.contains(&name), "{name} is not counted");
    }
}

/// The three that may take more, each whole by itself: a batch with something bad in it, what is deleted when it is no longer
/// to be kept, and housekeeping.
#[test]
fn three_calls_may_be_several_commits() {
    let (clock, mut server) = (TestClock::default(), Server::default());
    let mut alice = Phone::new(&clock, &mut server);
    let mut bob = Phone::new(&clock, &mut server);
    let mut n = Counted::default();
    for text in ["1", "2", "3", "4"] {
        alice.say(&mut server, &bob.user(), text);
    }
    let mut messages = server.take(&bob.address());
    messages[2][40] ^= 1;
    let incoming: Vec<_> = messages.iter().map(|bytes| Incoming { bytes, from: None }).collect();
    // Before the bad one, and after it.
    let results = n.of(2, "receive_many", &mut bob, |device| device.receive_many(&incoming));
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false, true]);
    // A hundred records at a time, and the setting.
    (0..116).for_each(|_| drop(alice.device.send(&bob.user(), b"kept").unwrap()));
    let mut settings = Settings::default();
    settings.resend = false;
    n.of(1 + 2, "set_settings", &mut alice, |device| device.set_settings(settings).unwrap());
    // A bundle that has expired is deleted; then the prekey is rotated.
    let bundle = server.bundle(&alice.address()).unwrap();
    bob.device.provide_bundle(&alice.address(), Some(&bundle)).unwrap();
    clock.advance(31 * DAY);
    n.of(1 + 1, "maintain", &mut bob, |device| device.maintain().unwrap());
    n.of(0, "maintain", &mut bob, |device| device.maintain().unwrap());
}
