//! What contacts with keys of their own, stolen devices, servers and failing stores must not bring about.

mod damaged;
mod edges;
mod put_back;
mod rare;
mod silence;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use super::{
    content::{Body, Claim, Content, Meaning, Place, StreamId, Text},
    records::Suspicion,
    *,
};
use crate::{
    DeviceList, PreKeyBundle, Session, StorageKey,
    keys::{DAY, HOUR},
    roster::{Certificate, Payload, RootKey, claim},
    store::{MemoryStore, Record, StoreError},
};

const NOW: u64 = 1_800_000_000;

/// A store that fails on demand, and does not let anybody try for ever.
#[derive(Clone, Default)]
struct FlakyStore {
    inner: MemoryStore,
    full: Arc<AtomicBool>,
    busy: Arc<AtomicBool>,
    commits: Arc<AtomicU64>,
    reads: Arc<AtomicU64>,
}

impl FlakyStore {
    /// Another store with the same records.
    fn copy(&self) -> Self {
        let mut copy = Self::default();
        let records = (0..=14).flat_map(|table| self.inner.list(table, 0, usize::MAX).unwrap());
        let put = |Record { id, version, value, .. }| {
            let action = Action::Put { version, value };
            Change { id, expected: Expected::Absent, action }
        };
        copy.inner.commit(&records.map(put).collect::<Vec<_>>()).unwrap();
        copy
    }
}

impl Store for FlakyStore {
    fn read(&self, id: &RecordId) -> Result<Option<Record>, StoreError> {
        self.reads.fetch_add(1, Relaxed);
        self.inner.read(id)
    }

    fn list(&self, table: u8, after: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.inner.list(table, after, limit)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let writes = changes.iter().any(|change| change.action != Action::Keep);
        if self.full.load(Relaxed) && writes {
            assert!(self.commits.fetch_add(1, Relaxed) < 1_000, "the device tries for ever");
            return Err(StoreError::Full);
        }
        if self.busy.load(Relaxed) {
            return Err(StoreError::Busy);
        }
        self.inner.commit(changes)
    }
}

type D = Device<FlakyStore>;

#[derive(Clone)]
struct Clock(Arc<AtomicU64>);

impl Clock {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(NOW)))
    }

    fn config(&self) -> Config {
        let clock = self.0.clone();
        Config::new(&StorageKey::from_bytes(&[7; 32]), move || UnixTime::from_secs(clock.load(Relaxed)))
    }

    fn now(&self) -> UnixTime {
        UnixTime::from_secs(self.0.load(Relaxed))
    }

    fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Relaxed);
    }

    fn device(&self) -> D {
        Device::create(FlakyStore::default(), self.config()).unwrap()
    }
}

fn list_of(device: &mut D) -> Vec<u8> {
    device.publication(0).unwrap().list.to_bytes()
}

fn bundle_of(device: &mut D) -> PreKeyBundle {
    let publication = device.publication(0).unwrap();
    let one_time = publication.one_time_prekeys.into_iter().next();
    PreKeyBundle::new(publication.identity_key, publication.signed_prekey, one_time)
}

fn try_send(
    from: &mut D,
    others: &mut [&mut D],
    to: &UserId,
    text: &[u8],
) -> Result<Vec<Outgoing>, DeviceError> {
    for _ in 0..4 {
        match from.send(to, text) {
            Err(DeviceError::Missing(missing)) => {
                for user in missing.lists {
                    let other = others.iter_mut().find(|other| other.user() == user).unwrap();
                    let _ = from.provide(&list_of(other));
                }
                for address in missing.bundles {
                    let other = others.iter_mut().find(|other| other.address() == address).unwrap();
                    from.provide_bundle(&address, Some(&bundle_of(other).to_bytes())).unwrap();
                }
            }
            result => return result,
        }
    }
    from.send(to, text)
}

/// Sends, and lets the others receive what is for them.
fn say(from: &mut D, others: &mut [&mut D], to: &UserId, text: &[u8]) {
    for out in try_send(from, others, to, text).unwrap() {
        let other = others.iter_mut().find(|other| other.address() == out.to).unwrap();
        other.receive(&out.bytes, None).unwrap();
        from.sent([out.id]).unwrap();
    }
}

/// Writes a row into a device's store, as who has the file may.
fn put_back(device: &mut D, row: &Record) {
    let action = Action::Put { version: row.version, value: row.value.clone() };
    device.vault.store.inner.commit(&[Change { id: row.id, expected: Expected::Anything, action }]).unwrap();
}

/// Two who have answered each other.
fn two(clock: &Clock) -> (D, D) {
    let (mut alice, mut bob) = (clock.device(), clock.device());
    let (a, b) = (alice.user(), bob.user());
    say(&mut alice, &mut [&mut bob], &b, b"hello");
    say(&mut bob, &mut [&mut alice], &a, b"hi");
    (alice, bob)
}

fn suspicion(of: &mut D, device: DeviceId) -> Suspicion {
    of.run(|work, _, _| Ok(work.peer(&device)?.get().unwrap().suspicion)).unwrap()
}

/// What looks like a message of a session, and is of none.
fn garbage() -> Vec<u8> {
    [&[0x21][..], &[7; 340]].concat()
}

fn link(device: &mut D, clock: &Clock) -> D {
    let mut link = Link::begin(FlakyStore::default(), clock.config()).unwrap();
    let offer = device.offer_link(&link.code()).unwrap();
    let user = device.user();
    let reply = link.confirm(&offer, &user).unwrap();
    let grant = device.approve_link(&reply).unwrap();
    link.complete(&grant).unwrap()
}

/// Two devices of Alice's and one of Bob's, with sessions everywhere that are all answered.
fn acquainted(clock: &Clock) -> (D, D, D) {
    let (mut alice, mut bob) = (clock.device(), clock.device());
    let mut second = link(&mut alice, clock);
    let (a, b) = (alice.user(), bob.user());
    say(&mut second, &mut [&mut alice, &mut bob], &b, b"from the second device");
    say(&mut bob, &mut [&mut alice, &mut second], &a, b"to both");
    say(&mut alice, &mut [&mut second, &mut bob], &b, b"from the first");
    say(&mut bob, &mut [&mut alice, &mut second], &a, b"to both, again");
    (alice, second, bob)
}

/// A user whose messages are made by hand.
struct Root(RootKey);

type Entry = (crate::IdentityKey, crate::crypto::sign::Signature);

impl Root {
    fn new() -> Self {
        Self(RootKey::generate(&mut rand::rngs::SysRng).unwrap())
    }

    fn entry(&self, identity: &IdentityKeyPair) -> Entry {
        (*identity.identity_key(), claim(identity, self.0.user_id()))
    }

    fn list(&self, previous: Option<&DeviceList>, identities: &[&IdentityKeyPair]) -> DeviceList {
        let entries = identities.iter().map(|identity| self.entry(identity)).collect();
        DeviceList::sign(&self.0, previous, entries, UnixTime::from_secs(NOW)).unwrap()
    }

    fn begin(&self, identity: &IdentityKeyPair, list: &DeviceList, victim: &mut D) -> Session {
        let (key, claim) = self.entry(identity);
        let certificate = Certificate::issue(&self.0, &key, claim, list);
        let payload = Payload { certificate, recipient: victim.user() }.to_bytes();
        let bundle = bundle_of(victim).verify(UnixTime::from_secs(NOW)).unwrap();
        Session::initiate_with_payload(identity, bundle, &payload).unwrap()
    }
}

fn text(number: u32) -> Content<'static> {
    let place = Place { stream: StreamId([1; 8]), number };
    let id = MessageId::from_bytes([u8::try_from(number).unwrap(); 16]);
    let (kind, _) = Meaning::Message(Text { attachments: (&[][..]).into(), content: b"" }).encode();
    Content { body: Some(Body { place, id, resent: false, kind, bytes: b"\0text" }), ..Content::default() }
}

fn is_shown(received: &Result<Vec<Received>, DeviceError>) -> bool {
    received.iter().flatten().any(|received| matches!(received.event, Event::Message { .. }))
}

/// A device writes first with a certificate of a list that the victim does not have, and keeps the list to itself. It
/// is unlinked, and the victim gets the newest list.
#[test]
fn a19_a_removed_device_that_hid_its_list_is_out() {
    let (mut bob, alice) = (Clock::new().device(), Root::new());
    let (first, stolen) = (IdentityKeyPair::generate(), IdentityKeyPair::generate());
    let one = alice.list(None, &[&first]);
    let two = alice.list(Some(&one), &[&first, &stolen]);
    let three = alice.list(Some(&two), &[&first]);
    bob.provide(one.as_bytes()).unwrap();
    let mut session = alice.begin(&stolen, &two, &mut bob);
    assert!(is_shown(&bob.receive(&session.encrypt(&text(0).encode()).unwrap(), None)));
    bob.provide(three.as_bytes()).unwrap();
    let after = bob.receive(&session.encrypt(&text(1).encode()).unwrap(), None);
    assert!(!is_shown(&after), "shown as Alice's: {after:?}");
}

/// Somebody sends lists of users that nobody has heard of.
#[test]
fn a46_messages_do_not_make_users() {
    let (mut bob, mallory) = (Clock::new().device(), Root::new());
    let identity = IdentityKeyPair::generate();
    let list = mallory.list(None, &[&identity]);
    let mut session = mallory.begin(&identity, &list, &mut bob);
    let sybil = (Root::new(), IdentityKeyPair::generate());
    let sybils = sybil.0.list(None, &[&sybil.1]);
    let content = Content { lists: vec![sybils.as_bytes()], ..Content::default() };
    bob.receive(&session.encrypt(&content.encode()).unwrap(), None).unwrap();
    let count = bob.users().count();
    // And now it does not look like a new user, nor count as a stranger.
    let mut session = sybil.0.begin(&sybil.1, &sybils, &mut bob);
    let received = bob.receive(&session.encrypt(&text(0).encode()).unwrap(), None).unwrap();
    let new = received.iter().any(|received| received.event == Event::NewUser);
    assert_eq!((count, new), (2, true), "Bob and Mallory; and the other one is announced");
}

/// Batches ask for one message many times.
#[test]
fn a44_a_batch_is_answered_no_more_than_twice() {
    let (mut bob, mallory) = (Clock::new().device(), Root::new());
    let identity = IdentityKeyPair::generate();
    let list = mallory.list(None, &[&identity]);
    let mut session = mallory.begin(&identity, &list, &mut bob);
    bob.receive(&session.encrypt(&text(0).encode()).unwrap(), None).unwrap();
    bob.provide(list.as_bytes()).unwrap();
    let out = bob.send(mallory.0.user_id(), &[7; 60_000]).unwrap();
    bob.sent([out[0].id]).unwrap();
    let plain = session.decrypt(&out[0].bytes).unwrap();
    let place = Content::decode(&plain).unwrap().body.unwrap().place;
    let content = Content { asks: vec![place], ..Content::default() }.encode();
    let messages: Vec<_> = (0..50).map(|_| session.encrypt(&content).unwrap()).collect();
    let incoming: Vec<_> = messages.iter().map(|bytes| Incoming { bytes, from: None }).collect();
    // Fifty times, ten of them between two messages to her.
    for batch in incoming.chunks(10) {
        assert!(bob.receive_many(batch).iter().all(Result::is_ok));
        bob.send(mallory.0.user_id(), b"").unwrap();
    }
    let answers = bob.outbox().filter(|out| out.as_ref().unwrap().bytes.len() > 60_000).count();
    assert_eq!(answers, 2);
}

/// A device without the root key names a list that there is not.
#[test]
fn a43_a_rumour_does_not_stop_messages_for_good() {
    let (mut bob, alice) = (Clock::new().device(), Root::new());
    let (first, stolen) = (IdentityKeyPair::generate(), IdentityKeyPair::generate());
    let list = alice.list(None, &[&first, &stolen]);
    bob.provide(list.as_bytes()).unwrap();
    let mut session = alice.begin(&stolen, &list, &mut bob);
    let own_list = Claim { version: u32::MAX, hash: [1; 16] };
    let content = Content { own_list, ..Content::default() };
    let received = bob.receive(&session.encrypt(&content.encode()).unwrap(), None).unwrap();
    let rumour = Event::NewerList { of: *alice.0.user_id() };
    assert_eq!(received.iter().filter(|received| received.event == rumour).count(), 1);
    let Err(DeviceError::Missing(missing)) = bob.send(alice.0.user_id(), b"?") else { panic!() };
    assert_eq!(missing.lists, [*alice.0.user_id()]);
    // The server has no other list.
    bob.provide(list.as_bytes()).unwrap();
    let Err(DeviceError::Missing(missing)) = bob.send(alice.0.user_id(), b"?") else { panic!() };
    assert!(missing.lists.is_empty(), "always missing");
}

/// A linked device says that its own user is blocked.
#[test]
fn a43_a_linked_device_cannot_silence_its_user() {
    let clock = Clock::new();
    let (mut alice, mut bob) = (clock.device(), clock.device());
    let mut second = link(&mut alice, &clock);
    let (a, b) = (alice.user(), bob.user());
    say(&mut alice, &mut [&mut second, &mut bob], &b, b"sessions everywhere");
    let blocked = Meaning::Trust { user: a, trust: Trust::Blocked as u8, since: clock.now() };
    let out = second.run(|work, context, _| work.tell_own_devices(context, &blocked)).unwrap();
    alice.receive(&out[0].bytes, None).unwrap();
    let sent = alice.send(&b, b"?");
    assert!(sent.is_ok(), "{sent:?}");
}

/// The server delivers two messages between a user's devices in another order.
#[test]
fn a43_a_server_does_not_choose_whom_one_trusts() {
    let clock = Clock::new();
    let (mut alice, mut bob) = (clock.device(), clock.device());
    let mut second = link(&mut alice, &clock);
    let b = bob.user();
    say(&mut alice, &mut [&mut second, &mut bob], &b, b"sessions everywhere");
    let verified = alice.set_trust(&b, Trust::Verified).unwrap();
    clock.advance(DAY);
    let blocked = alice.set_trust(&b, Trust::Blocked).unwrap();
    second.receive(&blocked[0].bytes, None).unwrap();
    second.receive(&verified[0].bytes, None).unwrap();
    assert_eq!(second.user_info(&b).unwrap().unwrap().trust, Trust::Blocked);
}

/// The disk is full.
#[test]
fn a_batch_ends_when_the_store_is_full() {
    let clock = Clock::new();
    let (mut alice, mut bob) = (clock.device(), clock.device());
    let b = bob.user();
    say(&mut alice, &mut [&mut bob], &b, b"hello");
    let out = alice.send_many(&[Draft::new(&b, b"1"), Draft::new(&b, b"2")]).unwrap();
    let incoming: Vec<_> = out.iter().skip(1).map(|out| Incoming { bytes: &out.bytes, from: None }).collect();
    // As ratchet messages, once Bob has answered; here the repeated handshake does.
    bob.vault.store.full.store(true, Relaxed);
    let results = bob.receive_many(&incoming);
    assert!(matches!(results[..], [Err(DeviceError::Store(StoreError::Full))]), "{results:?}");
}

/// What is in memory is stale, and the store cannot be asked.
#[test]
fn an_error_is_not_believed_when_the_store_cannot_confirm_it() {
    let clock = Clock::new();
    let (mut alice, mut bob) = two(&clock);
    let (a, b) = (alice.user(), bob.user());
    say(&mut alice, &mut [&mut bob], &b, b"how are you?");
    let mut extension = Device::open(bob.vault.store.clone(), clock.config()).unwrap();
    for _ in 0..3 {
        say(&mut extension, &mut [&mut alice], &a, b"ping");
        say(&mut alice, &mut [&mut extension], &b, b"pong");
    }
    let good = alice.send(&b, b"do not lose me").unwrap();
    bob.vault.store.busy.store(true, Relaxed);
    let busy = bob.receive(&good[0].bytes, None);
    bob.vault.store.busy.store(false, Relaxed);
    assert!(is_shown(&bob.receive(&good[0].bytes, None)), "it is good");
    assert!(matches!(busy, Err(DeviceError::Store(_))), "the app would drop it: {busy:?}");
}

/// A linked device fetches its own user's newest list, which has expired, too.
#[test]
fn a19_an_expired_list_of_ones_own_does_not_silence() {
    let clock = Clock::new();
    let (mut alice, mut second, mut bob) = acquainted(&clock);
    let (a, b) = (alice.user(), bob.user());
    clock.advance(40 * DAY);
    let own = list_of(&mut alice);
    alice.provide(&own).unwrap();
    alice.maintain().unwrap();
    let newest = list_of(&mut alice);
    // The device with the root key is lost, and this one was off for long.
    clock.advance(95 * DAY);
    bob.maintain().unwrap();
    second.provide(&list_of(&mut bob)).unwrap();
    second.send(&b, b"works").unwrap();
    assert_eq!(second.maintain().unwrap().fetch.lists, [a]);
    let _ = second.provide(&newest);
    let sent = second.send(&b, b"and now?");
    assert!(sent.is_ok(), "{sent:?}");
}

/// A device in Alice's list has introduced itself as another user's.
#[test]
fn a34_a_device_with_two_masters_does_not_stop_messages() {
    let (mut bob, alice, mallory) = (Clock::new().device(), Root::new(), Root::new());
    let (first, both) = (IdentityKeyPair::generate(), IdentityKeyPair::generate());
    let mut session = mallory.begin(&both, &mallory.list(None, &[&both]), &mut bob);
    bob.receive(&session.encrypt(&text(0).encode()).unwrap(), None).unwrap();
    let list = alice.list(None, &[&first, &both]);
    bob.provide(list.as_bytes()).unwrap();
    let sent = bob.send(alice.0.user_id(), b"?");
    assert!(matches!(sent, Err(DeviceError::Missing(_))), "only the first device's bundle: {sent:?}");
}

/// One message of the app's, to two people.
#[test]
fn one_id_for_two_recipients() {
    let clock = Clock::new();
    let (mut alice, mut bob, mut carol) = (clock.device(), clock.device(), clock.device());
    let mut second = link(&mut alice, &clock);
    let (b, c) = (bob.user(), carol.user());
    say(&mut alice, &mut [&mut second, &mut bob], &b, b"hi");
    say(&mut alice, &mut [&mut second, &mut carol], &c, b"hi");
    let id = MessageId::from_bytes([9; 16]);
    let drafts = [Draft::new(&b, b"to both").with_id(id), Draft::new(&c, b"to both").with_id(id)];
    alice.send_many(&drafts).unwrap();
    let copies = alice.outbox().filter(|out| out.as_ref().unwrap().to == second.address()).count();
    assert_eq!(copies, 2, "the other device of Alice's does not learn of one");
}

/// A server makes a session suspicious of a device whose certificate has expired.
#[test]
fn a43_a_healing_that_cannot_be_does_not_stop_messages() {
    let clock = Clock::new();
    let (mut alice, mut second, mut bob) = acquainted(&clock);
    let b = bob.user();
    clock.advance(91 * DAY);
    bob.maintain().unwrap();
    second.provide(&list_of(&mut bob)).unwrap();
    let mut garbage = second.send(&b, b"works").unwrap()[0].bytes.clone();
    garbage[9] ^= 1;
    second.receive(&garbage, Some(&b)).unwrap_err();
    let sent = try_send(&mut second, &mut [&mut alice, &mut bob], &b, b"and now?");
    assert!(sent.is_ok(), "{sent:?}");
}

/// What was dropped because its sender was blocked comes later all the same.
#[test]
fn what_a_blocked_user_sent_stays_dropped() {
    let clock = Clock::new();
    let (mut alice, mut bob) = two(&clock);
    let (a, b) = (alice.user(), bob.user());
    bob.set_trust(&a, Trust::Blocked).unwrap();
    say(&mut alice, &mut [&mut bob], &b, b"unheard");
    bob.set_trust(&a, Trust::Unverified).unwrap();
    say(&mut alice, &mut [&mut bob], &b, b"heard");
    clock.advance(120);
    say(&mut bob, &mut [&mut alice], &a, b"what?");
    let waiting: Vec<_> = alice.outbox().map(Result::unwrap).collect();
    for out in waiting {
        let received = bob.receive(&out.bytes, None);
        assert!(!is_shown(&received), "{received:?}");
    }
    assert_eq!(clock.now().as_secs(), NOW + 120);
}

/// A stranger who was blocked stays so on a device that is linked later.
#[test]
fn blocked_strangers_are_blocked_on_new_devices() {
    let clock = Clock::new();
    let (mut alice, mut bob) = (clock.device(), clock.device());
    let (a, b) = (alice.user(), bob.user());
    say(&mut bob, &mut [&mut alice], &a, b"buy!");
    alice.set_trust(&b, Trust::Blocked).unwrap();
    let second = link(&mut alice, &clock);
    assert_eq!(second.user_info(&b).unwrap().map(|info| info.trust), Some(Trust::Blocked));
}

/// More sessions than are tried: who says who wrote is served all the same, and nobody else is told that there is no session.
#[test]
fn without_a_hint_a_limited_number_of_sessions_is_tried() {
    let clock = Clock::new();
    let (mut alice, mut bob) = (clock.device(), clock.device());
    let (a, b) = (alice.user(), bob.user());
    let bundle = bundle_of(&mut clock.device()).verify(clock.now()).unwrap();
    let session = Session::initiate(&bob.identity, bundle).unwrap();
    let changes: Vec<_> = (0..4_096u64)
        .map(|number| {
            let id = bob.vault.id(Table::Sessions, &number.to_be_bytes());
            let action = Action::Put { version: number, value: bob.vault.seal_hot(&id, number, &session) };
            Change { id, expected: Expected::Absent, action }
        })
        .collect();
    say(&mut alice, &mut [&mut bob], &b, b"hello");
    say(&mut bob, &mut [&mut alice], &a, b"hi");
    let found = alice.send(&b, b"found").unwrap();
    assert!(is_shown(&bob.receive(&found[0].bytes, None)));
    // Now they come first.
    let own: Vec<_> = bob.vault.store.list(Table::Sessions as u8, 0, 9).unwrap();
    let delete =
        |record: &Record| Change { id: record.id, expected: Expected::Anything, action: Action::Delete };
    bob.vault.store.commit(&own.iter().map(delete).collect::<Vec<_>>()).unwrap();
    bob.vault.store.commit(&changes).unwrap();
    let put = |record: Record| Change {
        id: record.id,
        expected: Expected::Absent,
        action: Action::Put { version: record.version, value: record.value },
    };
    bob.vault.store.commit(&own.into_iter().map(put).collect::<Vec<_>>()).unwrap();
    // In memory there is still where the session stands.
    let mut bob = Device::open(bob.vault.store.clone(), clock.config()).unwrap();
    let hidden = alice.send(&b, b"hidden").unwrap();
    let result = bob.receive(&hidden[0].bytes, None);
    assert!(matches!(result, Err(DeviceError::NeedsHint)), "{result:?}");
    assert!(is_shown(&bob.receive(&hidden[0].bytes, Some(&a))));
}

/// A contact with many devices begins sessions as often as it may.
#[test]
fn a46_a_contact_has_no_more_than_so_many_sessions() {
    let clock = Clock::new();
    let (mut bob, mut alice, mallory) = (clock.device(), clock.device(), Root::new());
    let identities = [(); 4].map(|()| IdentityKeyPair::generate());
    let list = mallory.list(None, &identities.each_ref());
    bob.provide(list.as_bytes()).unwrap();
    bob.set_trust(mallory.0.user_id(), Trust::Verified).unwrap();
    let mut newest = Vec::new();
    for _ in 0..30 {
        newest.clear();
        for identity in &identities {
            let mut session = mallory.begin(identity, &list, &mut bob);
            bob.receive(&session.encrypt(&Content::default().encode()).unwrap(), None).unwrap();
            newest.push(session);
        }
        clock.advance(DAY / 10);
    }
    let kept = bob.vault.store.list(Table::Sessions as u8, 0, usize::MAX).unwrap().len();
    assert_eq!(kept, 64);
    assert_eq!(bob.vault.store.list(Table::Handshakes as u8, 0, usize::MAX).unwrap().len(), kept);
    // Those that are sent on are among them.
    for session in &mut newest {
        bob.receive(&session.encrypt(&Content::default().encode()).unwrap(), None).unwrap();
    }
    // What is said to be of hers, and is garbage, takes no more than reading those.
    let mut bob = Device::open(bob.vault.store.clone(), clock.config()).unwrap();
    let before = bob.vault.store.reads.load(Relaxed);
    assert!(bob.receive(&garbage(), Some(mallory.0.user_id())).is_err());
    let reads = bob.vault.store.reads.load(Relaxed) - before;
    // Two halves, once to try it and once for the index, where only the cold one is read; devices, users.
    assert!(reads <= 64 * 3 + 20, "{reads}");
    let in_memory = bob.cache.sessions.values().filter(|slot| slot.session.is_some()).count();
    assert!(in_memory <= 8 + 1, "{in_memory}");
    let (a, b) = (alice.user(), bob.user());
    say(&mut alice, &mut [&mut bob], &b, b"a friend");
    say(&mut bob, &mut [&mut alice], &a, b"is found");
    say(&mut alice, &mut [&mut bob], &b, b"without a hint");
}

/// Copies of header keys are for finding sessions, and go when the session has them no more.
#[test]
fn the_index_keeps_no_keys_that_sessions_do_not_have() {
    let clock = Clock::new();
    let (mut alice, mut bob) = two(&clock);
    let (a, b) = (alice.user(), bob.user());
    let early = alice.send(&b, b"in the first chain").unwrap().remove(0).bytes;
    bob.receive(&early, None).unwrap();
    assert_eq!(bob.index.opens(&early), (true, 1));
    for _ in 0..2 {
        let answer = bob.send(&a, b"a turn").unwrap().remove(0);
        alice.receive(&answer.bytes, Some(&b)).unwrap();
        let next = alice.send(&b, b"and another").unwrap().remove(0);
        bob.receive(&next.bytes, Some(&a)).unwrap();
        // What is in the index is up to date.
        assert_eq!(bob.index.opens(&next.bytes), (true, 1));
    }
    assert_eq!(bob.index.opens(&early), (false, 1));
    bob.forget(&a).unwrap();
    assert_eq!(bob.index.opens(&early), (false, 0));
}

/// What a session says of itself that is not sent on.
#[test]
fn a_session_that_is_found_broken_is_given_up() {
    let clock = Clock::new();
    let (mut alice, mut bob) = two(&clock);
    let (a, b) = (alice.user(), bob.user());
    say(&mut alice, &mut [&mut bob], &b, b"in a new chain");
    // Alice's disk is put back later: two messages under one number, three times, and one under the next, which can be read.
    let before = alice.vault.store.copy();
    for text in [b"1", b"2", b"3"] {
        say(&mut alice, &mut [&mut bob], &b, text);
    }
    let mut restored = Device::open(before, clock.config()).unwrap();
    let [twice, early, again] = [b"a", b"b", b"c"].map(|text| restored.send(&b, text).unwrap().remove(0));
    let third = restored.send(&b, b"a late one").unwrap().remove(0);
    // Bob sends on another session by then.
    let bundle = bundle_of(&mut alice).to_bytes();
    bob.provide_bundle(&alice.address(), Some(&bundle)).unwrap();
    let device = alice.address().device;
    bob.run(|work, context, _| {
        let bundle = PreKeyBundle::from_bytes(&bundle)?.verify(context.now)?;
        let address = Address { user: a, device };
        let key = *bundle.identity_key();
        work.begin(context, &address, &key, bundle)?;
        // As if it were that the other one may take over again.
        let peer = work.peer(&device)?.change().unwrap();
        peer.sessions.iter_mut().for_each(|entry| entry.given_up = false);
        Ok(())
    })
    .unwrap();
    say(&mut bob, &mut [&mut alice], &a, b"in the new one");
    say(&mut alice, &mut [&mut bob], &b, b"answered");
    let active = |bob: &mut D| bob.run(|work, _, _| Ok(work.peer(&device)?.get().unwrap().sessions[0].id));
    let sent_on = active(&mut bob).unwrap();
    let rolled_back = bob.receive(&twice.bytes, None);
    assert!(
        matches!(rolled_back, Err(DeviceError::Message(crate::Error::PeerRolledBack))),
        "{rolled_back:?}"
    );
    assert!(is_shown(&bob.receive(&third.bytes, None)));
    assert_eq!(active(&mut bob).unwrap(), sent_on);
    assert_eq!(suspicion(&mut bob, device), Suspicion::None, "it says nothing about the one that is sent on");
    // Or was Alice's disk put back to before that one was begun? An hour later she would send on it if she had it. But the
    // same message may have been kept by somebody.
    let mut rolled_back_after = |seconds, message: &Outgoing| {
        clock.advance(seconds);
        let rolled_back = bob.receive(&message.bytes, None);
        assert!(matches!(rolled_back, Err(DeviceError::Message(crate::Error::PeerRolledBack))));
        suspicion(&mut bob, device)
    };
    assert_eq!(rolled_back_after(HOUR - 1, &early), Suspicion::None);
    assert_eq!(rolled_back_after(1, &twice), Suspicion::None);
    assert_eq!(rolled_back_after(0, &again), Suspicion::Broken);
    assert_eq!(active(&mut bob).unwrap(), sent_on, "until there is another");
}

/// A server gives out a first message once more when its session is gone, and says whose it is.
#[test]
fn a43_a_first_message_that_comes_again_marks_nothing() {
    let clock = Clock::new();
    let (mut alice, mut bob) = (clock.device(), clock.device());
    let (a, b) = (alice.user(), bob.user());
    let first = try_send(&mut alice, &mut [&mut bob], &b, b"hello").unwrap().remove(0).bytes;
    bob.receive(&first, None).unwrap();
    let device = alice.address().device;
    try_send(&mut bob, &mut [&mut alice], &a, b"hi").unwrap();
    bob.run(|work, _, _| {
        let sessions = std::mem::take(&mut work.peer(&device)?.change().unwrap().sessions);
        sessions.iter().try_for_each(|entry| work.forget_session(&entry.id))
    })
    .unwrap();
    let again = bob.receive(&first, Some(&a));
    assert!(matches!(again, Err(DeviceError::Message(crate::Error::Duplicate))), "{again:?}");
    assert_eq!(suspicion(&mut bob, device), Suspicion::None);
}

/// A server keeps a message of a session back until that has been replaced.
#[test]
fn a43_a_hoarded_message_does_not_bring_back_what_was_given_up() {
    let clock = Clock::new();
    let (mut alice, mut bob) = two(&clock);
    let (a, b) = (alice.user(), bob.user());
    let hoarded = bob.send(&a, b"late").unwrap().remove(0);
    let mut garbage = bob.send(&a, b"altered on the way").unwrap().remove(0).bytes;
    garbage[9] ^= 1;
    alice.receive(&garbage, Some(&b)).unwrap_err();
    say(&mut alice, &mut [&mut bob], &b, b"in a new session");
    say(&mut bob, &mut [&mut alice], &a, b"answered there");
    let device = bob.address().device;
    let sent_on = |alice: &mut D| {
        alice.run(|work, _, _| Ok(work.peer(&device)?.get().unwrap().sessions[0].id)).unwrap()
    };
    let before = sent_on(&mut alice);
    assert!(is_shown(&alice.receive(&hoarded.bytes, None)));
    assert_eq!(sent_on(&mut alice), before);
}
