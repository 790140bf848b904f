//! Devices over a store that counts.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use subrosa::{
    Config, Device, Event, PreKeyBundle, UnixTime, UserId,
    store::{Action, Change, MemoryStore, Record, RecordId, Store, StoreError},
};

use crate::{
    Meter,
    common::{NOW, storage_key},
};

/// Counts the bytes of the records that are read and put.
#[derive(Clone, Default)]
pub(crate) struct Counted {
    records: MemoryStore,
    bytes: Arc<AtomicUsize>,
}

impl Counted {
    fn count<'a>(&self, values: impl IntoIterator<Item = &'a Vec<u8>>) {
        self.bytes.fetch_add(values.into_iter().map(Vec::len).sum(), Ordering::Relaxed);
    }

    /// What has been counted since the last time.
    pub(crate) fn take(&self) -> usize {
        self.bytes.swap(0, Ordering::Relaxed)
    }
}

impl Store for Counted {
    fn read(&self, id: &RecordId) -> Result<Option<Record>, StoreError> {
        let record = self.records.read(id)?;
        self.count(record.iter().map(|record| &record.value));
        Ok(record)
    }

    fn list(&self, table: u8, after: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let records = self.records.list(table, after, limit)?;
        self.count(records.iter().map(|record| &record.value));
        Ok(records)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        self.count(changes.iter().filter_map(|change| match &change.action {
            Action::Put { value, .. } => Some(value),
            Action::Keep | Action::Delete => None,
        }));
        self.records.commit(changes)
    }
}

pub(crate) struct Phone {
    pub(crate) device: Device<Counted>,
    pub(crate) store: Counted,
}

thread_local! {
    /// Seconds by which the clock of the devices is ahead.
    pub(crate) static LATER: Arc<AtomicU64> = Arc::default();
}

pub(crate) fn config() -> Config {
    let later = LATER.with(Arc::clone);
    Config::new(&storage_key(), move || UnixTime::from_secs(NOW.as_secs() + later.load(Ordering::Relaxed)))
}

impl Phone {
    pub(crate) fn new() -> Self {
        let store = Counted::default();
        Self { device: Device::create(store.clone(), config()).unwrap(), store }
    }

    pub(crate) fn user(&self) -> UserId {
        self.device.user()
    }

    /// What a server has of it, for the other one.
    pub(crate) fn meet(&mut self, other: &mut Self) {
        let public = other.device.publication(0).unwrap();
        other.device.published(&public).unwrap();
        self.device.provide(&public.list.to_bytes()).unwrap();
        let bundle = PreKeyBundle::new(
            public.identity_key,
            public.signed_prekey,
            public.one_time_prekeys.first().cloned(),
        );
        self.device.provide_bundle(&public.address, Some(&bundle.to_bytes())).unwrap();
    }

    /// Encrypts, and forgets that it has to be sent.
    pub(crate) fn write(&mut self, to: &UserId, content: &[u8]) -> Vec<u8> {
        let mut out = self.device.send(to, content).unwrap();
        self.sent();
        out.remove(0).bytes
    }

    pub(crate) fn sent(&mut self) {
        let waiting: Vec<_> = self.device.outbox().map(|out| out.unwrap().id).collect();
        self.device.sent(waiting).unwrap();
    }

    /// Counts what receiving takes.
    pub(crate) fn receive(&mut self, meter: &mut Meter, given: Given, message: &[u8]) -> Vec<Event> {
        self.store.take();
        let mut received = Vec::new();
        let Self { device, store } = self;
        meter.check_after(|| {
            received = device.receive(message, None).unwrap();
            match given {
                Given::Message => message.len(),
                Given::Records => message.len() + store.take(),
            }
        });
        self.device.acknowledge(received.iter().map(|received| received.id)).unwrap();
        received.into_iter().map(|received| received.event).collect()
    }
}

/// What counts as given.
pub(crate) enum Given {
    Message,
    /// The records that are read and put as well.
    Records,
}

/// Two that have each other's messages.
pub(crate) fn acquainted() -> (Phone, Phone) {
    let (mut alice, mut bob) = (Phone::new(), Phone::new());
    alice.meet(&mut bob);
    let (a, b) = (alice.user(), bob.user());
    for _ in 0..2 {
        bob.device.receive(&alice.write(&b, b"hello"), None).unwrap();
        alice.device.receive(&bob.write(&a, b"hi"), None).unwrap();
    }
    (alice, bob)
}
