//! What the app talks to: a server, and peers, who look at everything that reaches them.
//!
//! The server may lose nothing, yet it delivers late, in another order, twice, and altered.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use chacha20::ChaCha20Rng;
use rand::RngExt;
use subrosa::{
    Address, Config, Device, DeviceError, DeviceId, Error, Event, IdentityKey, MessageId, MessageKind,
    OneTimePreKey, PreKeyBundle, SignedPreKey, UnixTime, UserId, store::MemoryStore,
};

use crate::app::{History, store_key};

/// Bundles and lists.
#[derive(Default)]
struct Server {
    lists: BTreeMap<UserId, Vec<u8>>,
    stocks: BTreeMap<DeviceId, Stock>,
}

struct Stock {
    identity_key: IdentityKey,
    signed_prekey: SignedPreKey,
    one_time_prekeys: VecDeque<OneTimePreKey>,
    /// So that what is uploaded again is not handed out again.
    known: BTreeSet<Vec<u8>>,
}

impl Server {
    fn publish(
        &mut self,
        address: &Address,
        list: Vec<u8>,
        identity_key: IdentityKey,
        signed_prekey: SignedPreKey,
        one_time_prekeys: impl IntoIterator<Item = OneTimePreKey>,
    ) {
        self.lists.insert(address.user, list);
        let stock = self.stocks.entry(address.device).or_insert_with(|| Stock {
            identity_key,
            signed_prekey: signed_prekey.clone(),
            one_time_prekeys: VecDeque::new(),
            known: BTreeSet::new(),
        });
        stock.signed_prekey = signed_prekey;
        for prekey in one_time_prekeys {
            if stock.known.insert(prekey.to_bytes()) {
                stock.one_time_prekeys.push_back(prekey);
            }
        }
    }

    fn stock(&self, device: &DeviceId) -> usize {
        self.stocks.get(device).map_or(0, |stock| stock.one_time_prekeys.len())
    }

    fn bundle(&mut self, device: &DeviceId) -> Vec<u8> {
        let stock = self.stocks.get_mut(device).unwrap();
        let one_time = stock.one_time_prekeys.pop_front();
        PreKeyBundle::new(stock.identity_key, stock.signed_prekey.clone(), one_time).to_bytes()
    }
}

/// Somebody whom the app writes to, and who writes to it.
struct Peer {
    device: Device<MemoryStore>,
    /// Ciphertexts that opened.
    opened: BTreeSet<Vec<u8>>,
    read: BTreeMap<MessageId, String>,
    sent: BTreeMap<MessageId, String>,
    /// Messages sent since the last first message of the app's.
    answers: u32,
    /// The app is forgetting it: what it writes on the old session would be lost, and rightly so.
    mute: bool,
    was_forgotten: bool,
    /// It has begun a session that it has had no answer in: it may stay on that for an hour, whatever the app begins.
    is_unanswered: bool,
}

/// What waits for the app.
struct Mail {
    number: u64,
    from: UserId,
    hint: bool,
    altered: bool,
    bytes: Vec<u8>,
}

/// How often what the tests are about has happened.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) messages_read_by_peers: u64,
    pub(crate) messages_sent_by_peers: u64,
    pub(crate) copies_pushed: u64,
    pub(crate) first_messages_to_peers: u64,
    pub(crate) duplicates_at_app: u64,
    pub(crate) altered_refused: u64,
    pub(crate) redelivered: u64,
    pub(crate) redelivered_and_known: u64,
    pub(crate) drafts_sent_again: u64,
    pub(crate) forgotten: u64,
    pub(crate) published_again: u64,
}

/// How the town behaves.
#[derive(Clone, Copy)]
pub(crate) struct Manners {
    /// Strangers come, are written to, and forgotten; sessions are disturbed.
    pub(crate) lively: bool,
    /// How many messages each process is given; no limit if there is none.
    pub(crate) each: Option<usize>,
}

pub(crate) struct Town {
    pub(crate) counts: Counts,
    pub(crate) manners: Manners,
    clock: Arc<AtomicU64>,
    rng: ChaCha20Rng,
    app: Option<Address>,
    server: Server,
    peers: Vec<Peer>,
    mail: VecDeque<Mail>,
    /// How often each ciphertext was handed to the app.
    deliveries: BTreeMap<Vec<u8>, u32>,
    mails: u64,
    given: BTreeMap<usize, usize>,
    published: BTreeSet<String>,
    /// Nobody writes any more.
    pub(crate) quiet: bool,
}

impl Town {
    pub(crate) fn new(rng: ChaCha20Rng, now: UnixTime, manners: Manners) -> Self {
        let mut town = Self {
            counts: Counts::default(),
            manners,
            clock: Arc::new(AtomicU64::new(now.as_secs())),
            rng,
            app: None,
            server: Server::default(),
            peers: Vec::new(),
            mail: VecDeque::new(),
            deliveries: BTreeMap::new(),
            mails: 0,
            given: BTreeMap::new(),
            published: BTreeSet::new(),
            quiet: false,
        };
        town.settle();
        town
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    /// Time goes by, and the peers do what is due.
    pub(crate) fn advance(&mut self, seconds: u64) {
        self.clock.fetch_add(seconds, Ordering::Relaxed);
        for index in 0..self.peers.len() {
            if self.rng.random_range(0..8) == 0 {
                let peer = &mut self.peers[index];
                peer.device.maintain().unwrap();
                if peer.mute {
                    // What was asked for before the app forgot this peer cannot be read there any more.
                    let outbox: Vec<_> = peer.device.outbox().map(|out| out.unwrap().id).collect();
                    peer.device.sent(outbox).unwrap();
                }
                self.post(index);
                self.publish(index);
            }
        }
    }

    /// Somebody new.
    fn settle(&mut self) {
        let clock = self.clock.clone();
        let config = Config::new(&store_key(), move || UnixTime::from_secs(clock.load(Ordering::Relaxed)));
        self.peers.push(Peer {
            device: Device::create(MemoryStore::new(), config).unwrap(),
            opened: BTreeSet::new(),
            read: BTreeMap::new(),
            sent: BTreeMap::new(),
            answers: 0,
            mute: false,
            was_forgotten: false,
            is_unanswered: false,
        });
        self.publish(self.peers.len() - 1);
    }

    fn publish(&mut self, index: usize) {
        let device = &mut self.peers[index].device;
        let stock = self.server.stock(&device.address().device);
        let publication = device.publication(stock).unwrap();
        let list = publication.list.to_bytes();
        let signed = publication.signed_prekey.clone();
        let one_time = publication.one_time_prekeys.iter().cloned();
        self.server.publish(&publication.address, list, publication.identity_key, signed, one_time);
        device.published(&publication).unwrap();
    }

    fn peer(&mut self, user: &UserId) -> &mut Peer {
        self.peers.iter_mut().find(|peer| peer.device.user() == *user).unwrap()
    }

    /// What the app with this number said, and what it is answered.
    pub(crate) fn hear(&mut self, process: usize, line: &str) -> Vec<String> {
        let words: Vec<_> = line.split(' ').collect();
        let mut answer = Vec::new();
        match *words.as_slice() {
            ["start" | "finished"] => {}
            ["opened", address] => {
                let address = address.parse().unwrap();
                assert_eq!(*self.app.get_or_insert(address), address, "another device");
            }
            ["redelivered", count] => self.counts.redelivered += count.parse::<u64>().unwrap(),
            ["again", count] => self.counts.drafts_sent_again += count.parse::<u64>().unwrap(),
            ["push", to, bytes] => self.pushed(to.parse().unwrap(), hex::decode(bytes).unwrap()),
            ["list", user] => answer.push(hex::encode(&self.server.lists[&user.parse().unwrap()])),
            ["bundle", to] => {
                let to: Address = to.parse().unwrap();
                answer.push(hex::encode(self.server.bundle(&to.device)));
            }
            ["stock"] => answer.push(self.server.stock(&self.app.unwrap().device).to_string()),
            ["publish", list, identity_key, signed_prekey, one_time] => {
                let bytes = |text| hex::decode(text).unwrap();
                let one_time = one_time[1..].split(',').filter(|text| !text.is_empty());
                let again =
                    one_time.clone().filter(|text| !self.published.insert((*text).to_owned())).count();
                self.counts.published_again += again as u64;
                self.server.publish(
                    &self.app.unwrap(),
                    bytes(list),
                    IdentityKey::from_bytes(&bytes(identity_key)).unwrap(),
                    SignedPreKey::from_bytes(&bytes(signed_prekey)).unwrap(),
                    one_time.map(|text| OneTimePreKey::from_bytes(&bytes(text)).unwrap()),
                );
            }
            ["peer"] => {
                // Mostly the oldest friend: conversations that go on are disturbed most.
                let last = self.peers.len() - 1;
                let index =
                    if self.rng.random_range(0..3) == 0 { self.rng.random_range(0..=last) } else { 0 };
                answer.push(self.peers[index].device.user().to_string());
            }
            ["forget"] => answer
                .push(self.whom_to_forget().map_or_else(|| "nobody".to_owned(), |user| user.to_string())),
            ["forgotten", _] => self.counts.forgotten += 1,
            ["poll"] => {
                self.write_to_app();
                answer = self.deliver(process);
            }
            ["got", number, ref result @ ..] => self.got(number.parse().unwrap(), &result.join(" ")),
            ["event", user, ref event @ ..] => {
                let event = event.join(" ");
                let name = event.split(|c: char| !c.is_alphanumeric()).next().unwrap();
                let known = ["NewUser", "NoOneTimePreKey", "DevicesChanged"].contains(&name);
                // Who was forgotten goes on counting where they were.
                let counts = name == "Lost" && self.peer(&user.parse().unwrap()).was_forgotten;
                assert!(known || counts, "at the app: {event}");
            }
            ["twice", user, redelivered, resent, id] => {
                let forgotten = self.peer(&user.parse().unwrap()).was_forgotten;
                assert!(
                    redelivered == "true" || (resent == "true" && forgotten),
                    "the app was given {id} twice, and it was not marked"
                );
                self.counts.redelivered_and_known += 1;
            }
            _ => panic!("{line}"),
        }
        answer
    }

    /// A ciphertext reached the server, and goes on at once.
    fn pushed(&mut self, to: Address, bytes: Vec<u8>) {
        let app = self.app.unwrap().user;
        let initial = MessageKind::of(&bytes).unwrap() == MessageKind::Initial;
        let peer = self.peers.iter_mut().find(|peer| peer.device.address() == to).unwrap();
        let received = peer.device.receive(&bytes, Some(&app));
        if peer.opened.contains(&bytes) {
            let duplicate = matches!(received, Err(DeviceError::Message(Error::Duplicate)));
            assert!(duplicate, "a copy of what opened before: {received:?}");
            self.counts.copies_pushed += 1;
            return;
        }
        let received = received.unwrap_or_else(|error| panic!("lost, or its key was used before: {error:?}"));
        peer.opened.insert(bytes);
        for received in &received {
            match &received.event {
                Event::Message { id, content, .. } => {
                    let text = String::from_utf8(content.clone()).unwrap();
                    assert_eq!(peer.read.insert(*id, text), None, "{id} reached its peer twice");
                    self.counts.messages_read_by_peers += 1;
                }
                Event::NewUser | Event::NoOneTimePreKey | Event::DevicesChanged { .. } => {}
                event => panic!("at a peer: {event:?}"),
            }
        }
        peer.device.acknowledge(received.iter().map(|received| received.id)).unwrap();
        if initial {
            (peer.mute, peer.answers) = (false, 0);
            self.counts.first_messages_to_peers += 1;
        }
        let index = self.peers.iter().position(|peer| peer.device.address() == to).unwrap();
        self.post(index);
    }

    /// Puts a peer's outbox into the app's mail.
    fn post(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        let outbox: Vec<_> = peer.device.outbox().map(Result::unwrap).collect();
        if let Some(last) = outbox.last() {
            peer.is_unanswered = MessageKind::of(&last.bytes) == Ok(MessageKind::Initial);
        }
        peer.device.sent(outbox.iter().map(|out| out.id)).unwrap();
        let from = peer.device.user();
        for out in outbox {
            self.mails += 1;
            let (number, hint) = (self.mails, self.rng.random_range(0..4) > 0);
            let late =
                if self.manners.lively { self.rng.random_range(0..=self.mail.len().min(3)) } else { 0 };
            let bytes = out.bytes;
            if self.manners.lively && self.rng.random_range(0..10) == 0 {
                let (number, altered) = (self.mails + 1, self.rng.random());
                self.mails += 1;
                let mut bytes = bytes.clone();
                if altered {
                    let last = bytes.len() - 1;
                    bytes[last] ^= 1;
                }
                self.mail.push_back(Mail { number, from, hint: true, altered, bytes });
            }
            let mail = Mail { number, from, hint, altered: false, bytes };
            self.mail.insert(self.mail.len() - late.min(self.mail.len()), mail);
        }
    }

    /// Some of the peers write.
    fn write_to_app(&mut self) {
        if self.quiet || self.app.is_none() {
            return;
        }
        if self.manners.lively && self.peers.len() < 40 && self.rng.random_range(0..60) == 0 {
            self.settle();
            self.write(self.peers.len() - 1);
        }
        let index = if self.rng.random() { 0 } else { self.rng.random_range(0..self.peers.len()) };
        for _ in 0..self.rng.random_range(0..=3) {
            if !self.peers[index].mute {
                self.write(index);
            }
        }
    }

    fn write(&mut self, index: usize) {
        let app = self.app.unwrap();
        let text = format!("text-{}", self.rng.random_range(0..u64::MAX));
        let peer = &mut self.peers[index];
        let out = loop {
            match peer.device.send(&app.user, text.as_bytes()) {
                Err(DeviceError::Missing(missing)) => {
                    for user in &missing.lists {
                        peer.device.provide(&self.server.lists[user]).unwrap();
                    }
                    for address in &missing.bundles {
                        let bundle = self.server.bundle(&address.device);
                        peer.device.provide_bundle(address, Some(&bundle)).unwrap();
                    }
                }
                out => break out.unwrap(),
            }
        };
        peer.sent.insert(out[0].message.unwrap(), text);
        peer.answers += 1;
        self.counts.messages_sent_by_peers += 1;
        self.post(index);
    }

    fn deliver(&mut self, process: usize) -> Vec<String> {
        let given = self.given.entry(process).or_default();
        let count =
            self.rng.random_range(1..=6).min(self.manners.each.map_or(usize::MAX, |each| each - *given));
        let mut answer = Vec::new();
        // With many processes each is handed its own; with one, what it has not confirmed comes again.
        let several = self.manners.each.is_some();
        let all: Vec<_> =
            if several { self.mail.drain(..count.min(self.mail.len())).collect() } else { Vec::new() };
        *given += all.len();
        for mail in all.iter().chain(self.mail.iter().take(if several { 0 } else { count })) {
            *self.deliveries.entry(mail.bytes.clone()).or_default() += 1;
            let hint = if mail.hint { mail.from.to_string() } else { "-".to_owned() };
            answer.push(format!("mail {} {hint} {}", mail.number, hex::encode(&mail.bytes)));
        }
        answer.push("end".to_owned());
        answer
    }

    /// The app says what became of a message.
    fn got(&mut self, number: u64, result: &str) {
        if self.manners.each.is_some() {
            // Each is handed out once, as it is.
            assert_eq!(result, "ok", "message {number} is lost");
            return;
        }
        let index = self.mail.iter().position(|mail| mail.number == number).unwrap();
        let mail = self.mail.remove(index).unwrap();
        let again = self.deliveries[&mail.bytes] > 1;
        match result {
            _ if mail.altered => {
                assert!(result.starts_with("Message("), "altered: {result}");
                self.counts.altered_refused += 1;
            }
            "ok" => {}
            "Message(Duplicate)" if again => self.counts.duplicates_at_app += 1,
            // Nobody says whose it is, and its chain has ended.
            "Message(UnknownSession)" if again && !mail.hint => self.counts.duplicates_at_app += 1,
            _ => {
                let Mail { from, hint, .. } = mail;
                let peer = self.peer(&from);
                let (forgotten, answers) = (peer.was_forgotten, peer.answers);
                panic!(
                    "{result}, which is to be lost: message {number} of {from}, again: {again}, hint: {hint}, \
                    was forgotten: {forgotten}, answers: {answers}"
                );
            }
        }
    }

    /// Somebody who has answered, and has nothing under way.
    fn whom_to_forget(&mut self) -> Option<UserId> {
        let mail = &self.mail;
        let may = |peer: &&mut Peer| {
            let user = peer.device.user();
            let answered = peer.mute || (peer.answers > 0 && !peer.read.is_empty());
            answered && !peer.is_unanswered && mail.iter().all(|mail| mail.from != user)
        };
        let peer = self.peers.iter_mut().skip(1).find(may)?;
        (peer.mute, peer.was_forgotten) = (true, true);
        Some(peer.device.user())
    }

    /// Everything has arrived, once.
    pub(crate) fn check(&self, histories: &[History]) {
        assert!(self.mail.is_empty());
        let read: BTreeMap<_, _> = histories.iter().flat_map(|history| &history.read).collect();
        assert_eq!(read.len(), histories.iter().map(|history| history.read.len()).sum(), "read by two");
        let drafts: BTreeMap<_, _> = histories.iter().flat_map(|history| &history.drafts).collect();
        for peer in &self.peers {
            let user = peer.device.user();
            let of_peer = read.iter().filter(|(_, (from, _))| *from == user);
            let of_peer: BTreeMap<_, _> = of_peer.map(|(id, (_, text))| (**id, text.clone())).collect();
            assert_eq!(of_peer, peer.sent, "what a peer sent, and the app read");
            let to_peer = drafts.iter().filter(|(_, (to, _))| *to == user);
            let to_peer: BTreeMap<_, _> = to_peer.map(|(id, (_, text))| (**id, text.clone())).collect();
            assert_eq!(to_peer, peer.read, "what the app sent, and a peer read");
        }
    }
}
