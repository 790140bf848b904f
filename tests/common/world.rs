//! Devices, a server that is not trusted, and a store that fails on demand.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use subrosa::{
    Address, Config, Device, DeviceError, DeviceId, Event, IdentityKey, Missing, OneTimePreKey, Outgoing,
    PreKeyBundle, Publication, Received, SignedPreKey, StorageKey, UnixTime, UserId,
    store::{Action, Change, Expected, Record, RecordId, Store, StoreError},
};

/// Numbers of the tables of a device's store (section 21 of `docs/SPEC.md`).
pub mod table {
    pub const ME: u8 = 1;
    pub const IDENTITY: u8 = 2;
    pub const PREKEYS: u8 = 3;
    pub const PUBLISHED: u8 = 4;
    pub const USERS: u8 = 5;
    pub const PEERS: u8 = 6;
    pub const SESSIONS: u8 = 7;
    pub const COLD: u8 = 8;
    pub const HANDSHAKES: u8 = 9;
    pub const BUNDLES: u8 = 10;
    pub const OUTBOX: u8 = 11;
    pub const INBOX: u8 = 12;
    pub const RESEND: u8 = 13;
    pub const LINKS: u8 = 14;
}

/// What all devices have around them.
pub struct World {
    pub clock: TestClock,
    pub server: Server,
}

/// Alice and Bob, of whom neither knows the other.
pub fn two() -> (World, Phone, Phone) {
    let (clock, mut server) = (TestClock::default(), Server::default());
    let alice = Phone::new(&clock, &mut server);
    let bob = Phone::new(&clock, &mut server);
    (World { clock, server }, alice, bob)
}

/// Alice and Bob, who have exchanged messages.
pub fn acquainted() -> (World, Phone, Phone) {
    let (mut world, mut alice, mut bob) = two();
    alice.say(&mut world.server, &bob.user(), "hello");
    assert_eq!(bob.texts(&mut world.server), ["hello"]);
    bob.say(&mut world.server, &alice.user(), "hi");
    assert_eq!(alice.texts(&mut world.server), ["hi"]);
    (world, alice, bob)
}

/// A clock that stands still until it is moved.
#[derive(Clone)]
pub struct TestClock(Arc<AtomicU64>);

impl Default for TestClock {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(super::NOW.as_secs())))
    }
}

impl TestClock {
    pub fn now(&self) -> UnixTime {
        UnixTime::from_secs(self.0.load(Ordering::Relaxed))
    }

    pub fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }

    pub fn set_back(&self, seconds: u64) {
        self.0.fetch_sub(seconds, Ordering::Relaxed);
    }

    pub fn config(&self) -> Config {
        let clock = self.clone();
        Config::new(&store_key(), move || clock.now())
    }
}

pub const DAY: u64 = 24 * 60 * 60;

pub fn store_key() -> StorageKey {
    StorageKey::from_bytes(&[0x5e; 32])
}

/// When a commit fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fail {
    /// Nothing is carried out.
    Before,
    /// All is carried out, and the caller does not get to know it: a crash right after.
    After,
}

/// Records in memory. A clone is another handle on them, as another process has it.
#[derive(Clone, Default)]
pub struct TestStore(Arc<Mutex<Inner>>);

#[derive(Clone, Default)]
struct Inner {
    records: BTreeMap<RecordId, Record>,
    position: u64,
    calls: u64,
    writes: u64,
    fail: Option<(u64, Fail)>,
}

impl TestStore {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// A copy of everything, as a backup of the disk has it.
    pub fn snapshot(&self) -> Self {
        Self(Arc::new(Mutex::new(self.inner().clone())))
    }

    /// Everything that is stored, to compare it.
    pub fn records(&self) -> BTreeMap<RecordId, Record> {
        self.inner().records.clone()
    }

    pub fn count(&self, table: u8) -> usize {
        self.inner().records.keys().filter(|id| id.table == table).count()
    }

    /// How often the store was called.
    pub fn calls(&self) -> u64 {
        self.inner().calls
    }

    /// How many commits changed something.
    pub fn writes(&self) -> u64 {
        self.inner().writes
    }

    /// The call with this number fails.
    pub fn fail_at(&self, call: u64, fail: Fail) {
        self.inner().fail = Some((call, fail));
    }

    pub fn recover(&self) {
        self.inner().fail = None;
    }

    /// Puts back a table, as a snapshot has it.
    pub fn put_back(&self, table: u8, snapshot: &Self) {
        let old = snapshot.records();
        let mut inner = self.inner();
        inner.records.retain(|id, _| id.table != table);
        inner.records.extend(old.into_iter().filter(|(id, _)| id.table == table));
    }

    /// Puts the first two records of a table in each other's place, with their versions or without.
    pub fn swap(&self, table: u8, whole: bool) {
        let mut inner = self.inner();
        let mut records = inner.records.values_mut().filter(|record| record.id.table == table);
        let (one, other) = (records.next().unwrap(), records.next().unwrap());
        std::mem::swap(&mut one.value, &mut other.value);
        if whole {
            std::mem::swap(&mut one.version, &mut other.version);
        }
    }

    /// Replaces the value of every record of a table.
    pub fn damage(&self, table: u8, damage: impl Fn(&mut Vec<u8>)) {
        let mut inner = self.inner();
        inner
            .records
            .values_mut()
            .filter(|record| record.id.table == table)
            .for_each(|r| damage(&mut r.value));
    }

    /// Alters one byte of one record of a table, counted in the order in which they were first put.
    pub fn damage_one(&self, table: u8, number: usize) {
        let mut inner = self.inner();
        let mut records: Vec<_> =
            inner.records.values_mut().filter(|record| record.id.table == table).collect();
        records.sort_by_key(|record| record.position);
        let record = records.get_mut(number).expect("so many records");
        *record.value.get_mut(30).expect("a sealed record") ^= 1;
    }

    /// Puts a record back as it was.
    pub fn repair(&self, record: &Record) {
        self.inner().records.insert(record.id, record.clone());
    }
}

impl Inner {
    fn called(&mut self) -> Result<Option<Fail>, StoreError> {
        let call = self.calls;
        self.calls += 1;
        match self.fail {
            Some((at, fail)) if at == call => Ok(Some(fail)),
            // After the first failure nothing works any more, until the store is opened again.
            Some((at, _)) if at < call => Err(StoreError::Other("crashed before".into())),
            _ => Ok(None),
        }
    }
}

impl Store for TestStore {
    fn read(&self, id: &RecordId) -> Result<Option<Record>, StoreError> {
        let mut inner = self.inner();
        match inner.called()? {
            Some(_) => Err(StoreError::Other("read fails".into())),
            None => Ok(inner.records.get(id).cloned()),
        }
    }

    fn list(&self, table: u8, after: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let mut inner = self.inner();
        if inner.called()?.is_some() {
            return Err(StoreError::Other("list fails".into()));
        }
        let mut found: Vec<_> = inner
            .records
            .values()
            .filter(|record| record.id.table == table && record.position > after)
            .cloned()
            .collect();
        found.sort_by_key(|record| record.position);
        found.truncate(limit);
        Ok(found)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let mut inner = self.inner();
        let fail = inner.called()?;
        if fail == Some(Fail::Before) {
            return Err(StoreError::Other("commit fails".into()));
        }
        let mut ids: Vec<_> = changes.iter().map(|change| change.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), changes.len(), "a record twice in a set");
        for change in changes {
            let version = inner.records.get(&change.id).map(|record| record.version);
            let fits = match change.expected {
                Expected::Anything => true,
                Expected::Absent => version.is_none(),
                Expected::Version(expected) => version == Some(expected),
            };
            if !fits {
                return Err(StoreError::Conflict);
            }
        }
        inner.writes += u64::from(changes.iter().any(|change| change.action != Action::Keep));
        for change in changes {
            match &change.action {
                Action::Keep => {}
                Action::Delete => {
                    inner.records.remove(&change.id);
                }
                Action::Put { version, value } => {
                    assert!(*version < 1 << 63);
                    let before = inner.records.get(&change.id).map(|record| record.position);
                    let position = before.unwrap_or(inner.position + 1);
                    inner.position = inner.position.max(position);
                    let record = Record { id: change.id, position, version: *version, value: value.clone() };
                    inner.records.insert(change.id, record);
                }
            }
        }
        match fail {
            Some(_) => Err(StoreError::Other("commit was carried out, and nobody knows".into())),
            None => Ok(()),
        }
    }
}

/// What a server has of one device.
#[derive(Clone)]
struct Stock {
    identity_key: IdentityKey,
    signed_prekey: SignedPreKey,
    one_time_prekeys: VecDeque<OneTimePreKey>,
    /// So that an upload that is repeated does not put back what was handed out.
    known: Vec<Vec<u8>>,
}

/// Lists, bundles and mailboxes. It believes nobody, and nobody believes it.
#[derive(Clone, Default)]
pub struct Server {
    lists: BTreeMap<UserId, (u32, Vec<u8>)>,
    stocks: BTreeMap<DeviceId, Stock>,
    mail: BTreeMap<Address, VecDeque<Vec<u8>>>,
    /// Everything that was ever pushed.
    pub log: Vec<Vec<u8>>,
}

impl Server {
    pub fn publish(&mut self, publication: &Publication) {
        let list = (publication.list.version(), publication.list.to_bytes());
        let entry = self.lists.entry(publication.address.user).or_insert_with(|| list.clone());
        if list.0 > entry.0 {
            *entry = list;
        }
        let stock = self.stocks.entry(publication.address.device).or_insert_with(|| Stock {
            identity_key: publication.identity_key,
            signed_prekey: publication.signed_prekey.clone(),
            one_time_prekeys: VecDeque::new(),
            known: Vec::new(),
        });
        stock.signed_prekey = publication.signed_prekey.clone();
        for prekey in &publication.one_time_prekeys {
            if !stock.known.contains(&prekey.to_bytes()) {
                stock.known.push(prekey.to_bytes());
                stock.one_time_prekeys.push_back(prekey.clone());
            }
        }
    }

    pub fn stock(&self, device: &Address) -> usize {
        self.stocks.get(&device.device).map_or(0, |stock| stock.one_time_prekeys.len())
    }

    /// Throws one-time prekeys away.
    pub fn drain(&mut self, device: &Address) {
        self.stocks.get_mut(&device.device).unwrap().one_time_prekeys.clear();
    }

    pub fn list(&self, user: &UserId) -> Option<Vec<u8>> {
        self.lists.get(user).map(|(_, list)| list.clone())
    }

    /// Shows an older list to everybody.
    pub fn set_list(&mut self, user: &UserId, list: Vec<u8>) {
        self.lists.insert(*user, (0, list));
    }

    pub fn bundle(&mut self, device: &Address) -> Option<Vec<u8>> {
        let stock = self.stocks.get_mut(&device.device)?;
        let one_time = stock.one_time_prekeys.pop_front();
        Some(PreKeyBundle::new(stock.identity_key, stock.signed_prekey.clone(), one_time).to_bytes())
    }

    pub fn push(&mut self, out: &Outgoing) {
        self.log.push(out.bytes.clone());
        self.mail.entry(out.to).or_default().push_back(out.bytes.clone());
    }

    pub fn take(&mut self, device: &Address) -> Vec<Vec<u8>> {
        self.mail.remove(device).unwrap_or_default().into()
    }
}

/// A device with what its tests need.
pub struct Phone {
    pub device: Device<TestStore>,
    pub store: TestStore,
    pub clock: TestClock,
}

impl Phone {
    /// A new user.
    pub fn new(clock: &TestClock, server: &mut Server) -> Self {
        let mut phone = Self::unpublished(clock);
        phone.publish(server);
        phone
    }

    /// A new user that nobody can write to first.
    pub fn unpublished(clock: &TestClock) -> Self {
        let store = TestStore::default();
        let device = Device::create(store.clone(), clock.config()).unwrap();
        Self { device, store, clock: clock.clone() }
    }

    /// The app is started again.
    pub fn restart(&mut self) {
        self.store.recover();
        self.device = Device::open(self.store.clone(), self.clock.config()).unwrap();
    }

    /// The disk is put back.
    pub fn put_back(&mut self, snapshot: &TestStore) {
        self.store = snapshot.snapshot();
        self.restart();
    }

    pub fn user(&self) -> UserId {
        self.device.user()
    }

    pub fn address(&self) -> Address {
        self.device.address()
    }

    pub fn publish(&mut self, server: &mut Server) {
        let publication = self.device.publication(server.stock(&self.address())).unwrap();
        server.publish(&publication);
        self.device.published(&publication).unwrap();
    }

    /// Sends, fetching what is missing; pushes the whole outbox.
    pub fn say(&mut self, server: &mut Server, to: &UserId, text: &str) -> Vec<Outgoing> {
        let sent = self.try_say(server, to, text).unwrap();
        self.push(server);
        sent
    }

    pub fn try_say(
        &mut self,
        server: &mut Server,
        to: &UserId,
        text: &str,
    ) -> Result<Vec<Outgoing>, DeviceError> {
        for _ in 0..4 {
            match self.device.send(to, text.as_bytes()) {
                Err(DeviceError::Missing(missing)) => self.fetch(server, &missing),
                result => return result,
            }
        }
        panic!("there is always something missing");
    }

    pub fn fetch(&mut self, server: &mut Server, missing: &Missing) {
        for user in &missing.lists {
            self.device.provide(&server.list(user).unwrap()).unwrap();
        }
        for address in &missing.bundles {
            self.device.provide_bundle(address, server.bundle(address).as_deref()).unwrap();
        }
    }

    /// Hands the outbox to the server.
    pub fn push(&mut self, server: &mut Server) {
        let outbox: Vec<_> = self.device.outbox().map(Result::unwrap).collect();
        outbox.iter().for_each(|out| server.push(out));
        self.device.sent(outbox.iter().map(|out| out.id)).unwrap();
    }

    /// Receives everything, without a hint, and acknowledges it.
    pub fn poll(&mut self, server: &mut Server) -> Vec<Received> {
        self.poll_from(server, None)
    }

    pub fn poll_from(&mut self, server: &mut Server, from: Option<&UserId>) -> Vec<Received> {
        let mut all = Vec::new();
        for message in server.take(&self.address()) {
            all.extend(self.device.receive(&message, from).unwrap());
        }
        self.device.acknowledge(all.iter().map(|received| received.id)).unwrap();
        all
    }

    /// What the texts are that came in.
    pub fn texts(&mut self, server: &mut Server) -> Vec<String> {
        texts(&self.poll(server))
    }
}

pub fn texts(received: &[Received]) -> Vec<String> {
    let text = |received: &Received| match &received.event {
        Event::Message { content, .. } => Some(String::from_utf8(content.clone()).unwrap()),
        Event::SentElsewhere { content, .. } => {
            Some(format!("> {}", String::from_utf8(content.clone()).unwrap()))
        }
        _ => None,
    };
    received.iter().filter_map(text).collect()
}

/// What happened besides.
pub fn events(received: &[Received]) -> Vec<&Event> {
    let other = |event: &&Event| !matches!(event, Event::Message { .. } | Event::SentElsewhere { .. });
    received.iter().map(|received| &received.event).filter(other).collect()
}

/// A message gets lost, and is asked for.
pub fn lose_and_ask(world: &mut World, from: &mut Phone, to: &mut Phone) {
    from.say(&mut world.server, &to.user(), "lost");
    world.server.take(&to.address());
    ask(world, from, to);
}

/// The next message arrives, and what is missing is asked for.
pub fn ask(World { clock, server }: &mut World, from: &mut Phone, to: &mut Phone) {
    from.say(server, &to.user(), "arrives");
    assert_eq!(to.texts(server), ["arrives"]);
    clock.advance(61);
    to.say(server, &from.user(), "what?");
    from.poll(server);
}

/// A message that nobody can read.
pub fn garbage() -> Vec<u8> {
    [&[0x21][..], &[7; 340]].concat()
}

/// Links a new device of this user.
pub fn link(phone: &mut Phone, server: &mut Server) -> Phone {
    let store = TestStore::default();
    let mut link = subrosa::Link::begin(store.clone(), phone.clock.config()).unwrap();
    let offer = phone.device.offer_link(&link.code()).unwrap();
    let user = link.user_of(&offer).unwrap();
    assert_eq!(user, phone.user());
    let reply = link.confirm(&offer, &user).unwrap();
    let grant = phone.device.approve_link(&reply).unwrap();
    let device = link.complete(&grant).unwrap();
    phone.publish(server);
    let mut new = Phone { device, store, clock: phone.clock.clone() };
    new.publish(server);
    new
}
