//! A script over a town of devices, an untrusted server and stores that fail: nothing is shown that was not sent, nothing
//! twice unawares; an error changes nothing; and when it calms down everybody hears everybody, and what is lost was reported.

mod calm;

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::Arbitrary;
use subrosa::{
    Address, BundleOutcome, Device, DeviceError, Draft, Error, Event, InboxId, MessageId, Outgoing, Received,
    Trust, UserId, store::RecordId,
};

use super::super::{
    Edit, Forgery,
    town::{
        Town,
        world::{Fail, TestStore},
    },
};

#[derive(Arbitrary, Debug)]
pub enum Step<'a> {
    /// A text of so many bytes more, to one of the users.
    Say {
        from: u8,
        to: bool,
        len: u8,
    },
    /// The same to both, in one commit.
    SayToBoth {
        from: u8,
        len: u16,
    },
    /// The outbox goes to the server. By the bits for the first eight messages: the server loses it; it is not pushed
    /// now; the device does not hear that it was.
    Push {
        of: u8,
        lost: u8,
        late: u8,
        unheard: u8,
    },
    /// What the server has arrives. By the bits: twice; not at all.
    Poll {
        of: u8,
        rotated: u8,
        twice: u8,
        lost: u8,
        hint: Hint,
    },
    /// In one commit.
    PollAtOnce {
        of: u8,
    },
    /// One message of the mailbox is altered.
    Alter {
        of: u8,
        index: u8,
        edit: Edit,
    },
    /// Somebody else's bytes.
    Forge {
        to: u8,
        call: Call,
        forgery: Forgery<'a>,
    },
    Restart {
        of: u8,
    },
    Advance {
        minutes: u16,
    },
    Maintain {
        of: u8,
    },
    Verify {
        of: u8,
        whom: bool,
    },
    /// Puts the disk aside.
    Snapshot {
        of: u8,
    },
    /// Puts it back.
    PutBack {
        of: u8,
    },
    /// The store fails at a call to come.
    Fail {
        of: u8,
        call: u8,
        after: bool,
    },
    /// The server loses the one-time prekeys of a device.
    Drain {
        of: u8,
    },
    /// The server shows the list of a user that was there at the beginning.
    Withhold {
        of: bool,
    },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Hint {
    None,
    Right,
    Wrong,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Call {
    Receive,
    ReceiveMany,
    Provide,
    ApproveLink,
    OfferLink,
}

const PHONES: usize = 3;
/// Steps of a script beyond these do nothing new, and cost time.
const MAX_STEPS: usize = 64;
/// So long lists, certificates and prekeys are good without `maintain`.
const UNATTENDED_MINUTES: u64 = 20 * 24 * 60;
/// The table of what is known of devices, where a message that is not readable may leave its mark.
const DEVICES: u8 = 6;
const OUTBOX: u8 = 11;

/// From, to.
type Pair = (Address, Address);

struct World {
    town: Town,
    addresses: Vec<Address>,
    lists: [Vec<u8>; 2],
    snapshots: Vec<TestStore>,
    sent: BTreeMap<Pair, BTreeSet<Vec<u8>>>,
    /// What a device may have sent when its store failed, to whomever.
    maybe_sent: BTreeSet<Vec<u8>>,
    received: BTreeMap<Pair, Vec<Vec<u8>>>,
    reported: BTreeMap<Pair, u32>,
    seen: BTreeSet<InboxId>,
    /// Genuine messages that have arrived.
    arrived: BTreeSet<Vec<u8>>,
    /// Those that may have, when the store failed.
    uncertain: BTreeSet<Vec<u8>>,
    /// What was pushed: to a device, by its last bytes, which make the nonce of the header.
    nonces: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Devices whose store was put back: what they knew is gone.
    put_back: BTreeSet<Address>,
    minutes: u64,
    texts: u32,
}

pub fn device(script: Vec<Step<'_>>) {
    let mut world = World::new();
    for step in script.into_iter().take(MAX_STEPS) {
        world.step(step);
    }
    world.calm();
}

impl World {
    fn new() -> Self {
        let mut town = Town::new();
        let addresses: Vec<_> = town.phones.iter().map(|phone| phone.address()).collect();
        let list = |of: usize| town.server.list(&addresses[of].user).expect("published");
        let lists = [list(0), list(2)];
        let snapshots = (0..PHONES).map(Town::store).collect();
        town.server.log.clear();
        Self {
            town,
            addresses,
            lists,
            snapshots,
            sent: BTreeMap::new(),
            maybe_sent: BTreeSet::new(),
            received: BTreeMap::new(),
            reported: BTreeMap::new(),
            seen: BTreeSet::new(),
            arrived: BTreeSet::new(),
            uncertain: BTreeSet::new(),
            nonces: BTreeMap::new(),
            put_back: BTreeSet::new(),
            minutes: 0,
            texts: 0,
        }
    }

    fn step(&mut self, step: Step<'_>) {
        match step {
            Step::Say { from, to, len } => drop(self.say(phone(from), &[self.user(to)], len.into())),
            Step::SayToBoth { from, len } => {
                let users = [self.user(false), self.user(true)];
                drop(self.say(phone(from), &users, len.into()));
            }
            Step::Push { of, lost, late, unheard } => self.push(phone(of), lost, late, unheard),
            Step::Poll { of, rotated, twice, lost, hint } => self.poll(phone(of), rotated, twice, lost, hint),
            Step::PollAtOnce { of } => self.poll_at_once(phone(of)),
            Step::Alter { of, index, edit } => self.alter(phone(of), index, &edit),
            Step::Forge { to, call, forgery } => self.forge(phone(to), call, &forgery),
            Step::Restart { of } => self.restart(phone(of)),
            Step::Advance { minutes } => {
                let minutes = u64::from(minutes % (3 * 24 * 60));
                self.minutes += minutes;
                self.town.clock.advance(60 * minutes);
            }
            Step::Maintain { of } => self.maintain(phone(of)),
            Step::Verify { of, whom } => {
                let whom = self.user(whom);
                // Of oneself there is no trust.
                let _ = self.act(phone(of), |device| device.set_trust(&whom, Trust::Verified));
            }
            Step::Snapshot { of } => {
                let of = phone(of);
                self.town.phones[of].store.recover();
                self.snapshots[of] = self.town.phones[of].store.snapshot();
            }
            Step::PutBack { of } => {
                let of = phone(of);
                self.town.phones[of].put_back(&self.snapshots[of]);
                self.put_back.insert(self.addresses[of]);
            }
            Step::Fail { of, call, after } => {
                let store = &self.town.phones[phone(of)].store;
                let fail = if after { Fail::After } else { Fail::Before };
                store.fail_at(store.calls() + u64::from(call), fail);
            }
            Step::Drain { of } => self.town.server.drain(&self.addresses[phone(of)]),
            Step::Withhold { of } => {
                let list = self.lists[usize::from(of)].clone();
                self.town.server.set_list(&self.user(of), list);
            }
        }
    }

    fn user(&self, bob: bool) -> UserId {
        self.addresses[if bob { 2 } else { 0 }].user
    }

    /// A call of a device. If its store fails the app is started again, and looks what was left.
    fn act<T>(
        &mut self,
        of: usize,
        act: impl FnOnce(&mut Device<TestStore>) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        let phone = &mut self.town.phones[of];
        let calls = phone.store.calls();
        let before = phone.store.records();
        let result = act(&mut phone.device);
        if let Err(error) = &result {
            if matches!(error, DeviceError::Store(_)) {
                self.restart(of);
            } else {
                let changed = changes(&before, &phone.store.records());
                assert!(changed.iter().all(|id| id.table == DEVICES), "{error:?} has changed {changed:?}");
            }
        }
        assert!(self.town.phones[of].store.calls() >= calls);
        result
    }

    fn restart(&mut self, of: usize) {
        self.town.phones[of].restart();
        let inbox: Vec<_> = self.town.phones[of].device.inbox().map(|got| got.expect("it works")).collect();
        self.keep(of, &inbox);
    }

    /// A text for each of these users, in one commit. What the last one was, if all were sent.
    fn say(&mut self, from: usize, to: &[UserId], len: usize) -> Result<Vec<u8>, DeviceError> {
        let texts: Vec<_> = to
            .iter()
            .map(|_| {
                let mut text = self.texts.to_be_bytes().to_vec();
                self.texts += 1;
                text.resize(4 + len, 0x5a);
                text
            })
            .collect();
        let drafts: Vec<_> =
            to.iter().zip(&texts).map(|(user, text)| Draft::new(user, text).with_id(id_of(text))).collect();
        let mut result = Err(DeviceError::Unreachable);
        for _ in 0..4 {
            self.maybe_sent.extend(texts.iter().cloned());
            result = self.act(from, |device| device.send_many(&drafts));
            match &result {
                Err(DeviceError::Missing(missing)) => {
                    assert!(!missing.is_empty());
                    self.fetch(from, missing);
                }
                _ => break,
            }
        }
        if !matches!(result, Err(DeviceError::Store(_))) {
            self.maybe_sent.retain(|text| !texts.contains(text));
        }
        for out in result? {
            assert!(self.addresses.contains(&out.to) && out.to != self.addresses[from]);
            // A list may go along, in a message of its own.
            let text = texts.iter().find(|text| out.message == Some(id_of(text)));
            self.sent.entry((self.addresses[from], out.to)).or_default().extend(text.cloned());
        }
        Ok(texts.last().cloned().unwrap_or_default())
    }

    fn fetch(&mut self, of: usize, missing: &subrosa::Missing) {
        match self.town.fetch(of, missing) {
            Ok(received) => self.keep(of, &received),
            Err(_) => self.restart(of),
        }
    }

    fn push(&mut self, of: usize, lost: u8, late: u8, unheard: u8) {
        let outbox: Result<Vec<Outgoing>, _> = self.act(of, |device| device.outbox().collect());
        let mut sent = Vec::new();
        for (out, bit) in outbox.unwrap_or_default().into_iter().zip(bits()) {
            self.check_nonce(&out);
            if late & bit != 0 {
                continue;
            }
            if lost & bit == 0 {
                self.town.server.push(&out);
            }
            if unheard & bit == 0 {
                sent.push(out.id);
            }
        }
        let _ = self.act(of, |device| device.sent(&sent));
    }

    /// No two messages end alike, or a key or the nonce of a header was used twice.
    fn check_nonce(&mut self, out: &Outgoing) {
        let nonce = out.bytes[out.bytes.len() - 24..].to_vec();
        let first = self.nonces.entry(nonce).or_insert_with(|| out.bytes.clone());
        assert!(*first == out.bytes, "the nonce of a header repeats");
    }

    fn poll(&mut self, of: usize, rotated: u8, twice: u8, lost: u8, hint: Hint) {
        let mut mail = self.town.server.take(&self.addresses[of]);
        let by = usize::from(rotated).checked_rem(mail.len()).unwrap_or_default();
        mail.rotate_left(by);
        for (bytes, bit) in mail.into_iter().zip(bits()) {
            for _ in 0..if lost & bit != 0 {
                0
            } else if twice & bit != 0 {
                2
            } else {
                1
            } {
                self.deliver(of, &bytes, hint);
            }
        }
    }

    fn poll_at_once(&mut self, of: usize) {
        let mail = self.town.server.take(&self.addresses[of]);
        let incoming: Vec<_> = mail.iter().map(|bytes| subrosa::Incoming { bytes, from: None }).collect();
        let results = self.town.phones[of].device.receive_many(&incoming);
        assert!(results.len() <= mail.len());
        let mut failed = results.len() < mail.len();
        for (bytes, result) in mail.iter().zip(results) {
            match result {
                Ok(received) => {
                    self.arrived.insert(bytes.clone());
                    self.keep(of, &received);
                }
                Err(DeviceError::Store(_)) => failed = true,
                Err(_) => {}
            }
        }
        if failed {
            self.restart(of);
            self.uncertain.extend(mail.iter().filter(|bytes| !self.arrived.contains(*bytes)).cloned());
        }
        self.acknowledge(of);
        if failed {
            mail.iter().for_each(|bytes| self.deliver(of, bytes, Hint::None));
        }
    }

    fn deliver(&mut self, of: usize, bytes: &[u8], hint: Hint) {
        let genuine = self.town.server.log.iter().any(|pushed| pushed == bytes);
        let hint = match hint {
            Hint::None => None,
            // Bob's are Alice's; of Alice's devices either may be.
            Hint::Right => (of == 2).then(|| self.user(false)),
            Hint::Wrong => Some(self.addresses[of].user),
        };
        for _ in 0..4 {
            match self.act(of, |device| device.receive(bytes, hint.as_ref())) {
                Ok(received) => {
                    assert!(genuine, "nobody has sent this");
                    let new = self.arrived.insert(bytes.to_vec());
                    let excused = self.uncertain.contains(bytes) || !self.put_back.is_empty();
                    assert!(new || excused, "read twice");
                    self.keep(of, &received);
                    self.acknowledge(of);
                }
                Err(DeviceError::Store(_)) => {
                    // It is kept, and tried again.
                    self.uncertain.insert(bytes.to_vec());
                    self.acknowledge(of);
                    continue;
                }
                Err(DeviceError::Missing(missing)) => {
                    self.fetch(of, &missing);
                    continue;
                }
                Err(error) => self.judge(bytes, genuine, &error),
            }
            return;
        }
    }

    fn judge(&self, bytes: &[u8], genuine: bool, error: &DeviceError) {
        assert!(matches!(error, DeviceError::Message(_) | DeviceError::Refused(_)), "{error:?}");
        let well = self.put_back.is_empty() && self.minutes < UNATTENDED_MINUTES;
        if genuine && well {
            let arrived = self.arrived.contains(bytes) || self.uncertain.contains(bytes);
            assert!(arrived, "{error:?} for a genuine message");
            let repeated = Error::Duplicate;
            assert!(matches!(error, DeviceError::Message(error) if *error == repeated), "{error:?}");
        }
    }

    fn keep(&mut self, of: usize, received: &[Received]) {
        let to = self.addresses[of];
        for received in received {
            let pair = (received.from, to);
            let known = !self.seen.insert(received.id);
            assert!(!known || received.redelivered);
            if known {
                continue;
            }
            match &received.event {
                Event::Message { content, .. } | Event::SentElsewhere { content, .. } => {
                    let sent = self.sent.get(&pair).is_some_and(|sent| sent.contains(content));
                    assert!(sent || self.maybe_sent.contains(content), "never sent: {pair:?}");
                    let all = self.received.entry(pair).or_default();
                    let twice = all.contains(content);
                    assert!(!twice || self.put_back.contains(&to), "shown twice");
                    all.push(content.clone());
                }
                Event::Lost(count) => *self.reported.entry(pair).or_default() += count,
                Event::NotUnderstood | Event::Unlinked | Event::NewUser => panic!("{received:?}"),
                Event::PeerRolledBack | Event::RolledBack => {
                    assert!(!self.put_back.is_empty(), "{received:?}");
                }
                _ => {}
            }
        }
    }

    fn acknowledge(&mut self, of: usize) {
        let inbox: Result<Vec<Received>, _> = self.act(of, |device| device.inbox().collect());
        let Ok(inbox) = inbox else { return };
        let _ = self.act(of, |device| device.acknowledge(inbox.iter().map(|got| got.id)));
    }

    fn alter(&mut self, of: usize, index: u8, edit: &Edit) {
        let mut mail = self.town.server.take(&self.addresses[of]);
        let Some(place) = usize::from(index).checked_rem(mail.len()) else { return };
        let mut bytes = mail.remove(place);
        let others: Vec<_> = mail.iter().map(|bytes| &bytes[..]).collect();
        edit.apply(&mut bytes, &others);
        self.deliver(of, &bytes, Hint::None);
        for bytes in mail {
            self.deliver(of, &bytes, Hint::None);
        }
    }

    fn forge(&mut self, to: usize, call: Call, forgery: &Forgery<'_>) {
        let genuine: Vec<_> =
            self.town.server.log.iter().chain(&self.lists).map(|bytes| &bytes[..]).collect();
        let bytes = forgery.bytes(&genuine);
        if genuine.contains(&&bytes[..]) {
            return;
        }
        let outbox = self.town.phones[to].store.count(OUTBOX);
        match call {
            Call::Receive => {
                let result = self.act(to, |device| device.receive(&bytes, None));
                assert!(result.is_err(), "nobody has sent this");
            }
            Call::ReceiveMany => {
                let incoming = subrosa::Incoming { bytes: &bytes, from: Some(&self.user(true)) };
                let results = self.town.phones[to].device.receive_many(&[incoming, incoming]);
                assert!(results.iter().all(Result::is_err));
                if results.iter().any(|result| matches!(result, Err(DeviceError::Store(_)))) {
                    self.restart(to);
                }
            }
            Call::Provide => {
                let result = self.act(to, |device| device.provide(&bytes));
                assert!(result.is_err(), "nobody has signed this");
                let of = self.addresses[usize::from(to == 0)];
                let kept = self.act(to, |device| device.provide_bundle(&of, Some(&bytes)));
                assert!(!matches!(kept, Ok(BundleOutcome::Kept { .. })), "nobody has signed this");
            }
            Call::ApproveLink => assert!(self.act(to, |device| device.approve_link(&bytes)).is_err()),
            Call::OfferLink => {
                if let Ok(text) = str::from_utf8(&bytes) {
                    let _ = self.act(to, |device| device.offer_link(text));
                }
            }
        }
        assert_eq!(self.town.phones[to].store.count(OUTBOX), outbox, "nothing is sent in answer");
    }

    fn maintain(&mut self, of: usize) {
        let Ok(tasks) = self.act(of, Device::maintain) else { return };
        self.fetch(of, &tasks.fetch);
        let stock = self.town.server.stock(&self.addresses[of]);
        let Ok(publication) = self.act(of, |device| device.publication(stock)) else { return };
        self.town.server.publish(&publication);
        let _ = self.act(of, |device| device.published(&publication));
    }
}

/// The name of a text is its number.
fn id_of(text: &[u8]) -> MessageId {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&text[..4]);
    MessageId::from_bytes(id)
}

fn phone(index: u8) -> usize {
    usize::from(index) % PHONES
}

/// One bit each for the first eight, none for the rest.
fn bits() -> impl Iterator<Item = u8> {
    (0..8).map(|shift| 1 << shift).chain(std::iter::repeat(0))
}

fn changes(
    before: &BTreeMap<RecordId, subrosa::store::Record>,
    after: &BTreeMap<RecordId, subrosa::store::Record>,
) -> BTreeSet<RecordId> {
    let differs = |id: &&RecordId| before.get(*id) != after.get(*id);
    before.keys().chain(after.keys()).filter(differs).copied().collect()
}
