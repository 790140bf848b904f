//! A script for a user who has root keys and devices, and lies with them: lists and certificates that contradict, content
//! that says what it likes, in messages that are sealed as they should be. Whatever it is, Bob shows it under the right
//! name, keeps to his bounds, and his honest friends go on hearing him.

mod content;

use std::collections::BTreeSet;

use arbitrary::Arbitrary;
use subrosa::{Address, BundleOutcome, Device, DeviceError, DeviceId, Event, Received, Refusal, Trust};

use super::super::{
    Edit, NOW,
    mallory::{DEVICES, MALLORY, user_key},
    reference::{
        notes,
        prekeys::{Identity, Prekeys},
        primitives::{Key, Tape, cat},
        session::Session,
        tape,
    },
    town::{
        Town,
        world::{DAY, Phone, TestStore},
    },
    users::{List, claim, device_id, entry, payload},
};

use content::Content;

#[derive(Arbitrary, Debug)]
pub enum Step {
    /// Signs a list that follows another one, or does not.
    Sign {
        root: bool,
        follows: u8,
        versions: u8,
        unknown_previous: bool,
        age_days: u8,
        life_days: u8,
        /// A bit for each of Mallory's devices; then one of Alice's with Alice's claim, and with Mallory's.
        devices: u8,
        edit: Option<Edit>,
    },
    /// The server shows it.
    Provide {
        list: u8,
    },
    /// A session from a device, with a certificate of a list.
    Begin {
        device: u8,
        root: bool,
        claims_by: u8,
        list: u8,
        to_somebody_else: bool,
        one_time: bool,
    },
    Send {
        session: u8,
        content: Content,
    },
    /// Bob writes to Mallory, and the devices of the list that he takes read it.
    Answered {
        root: bool,
        list: u8,
    },
    Advance {
        hours: u16,
    },
    Restart,
    Verify {
        root: bool,
        trust: bool,
    },
    /// Alice and Bob write to each other.
    Honest,
}

const MAX_STEPS: usize = 48;
/// The table of what is known of devices, where a message that is not readable may leave its mark.
const DEVICES_TABLE: u8 = 6;
const OUTBOX: u8 = 11;

struct World {
    town: Town,
    tape: Tape,
    prekeys: Vec<Prekeys>,
    lists: Vec<List>,
    /// A session of a device, and which.
    sessions: Vec<(usize, Session)>,
    /// Streams and numbers of Bob's bodies.
    seen: Vec<[u8; 12]>,
    texts: BTreeSet<Vec<u8>>,
    /// How many messages Bob owes: two for each body, for each device that it went to.
    owed: usize,
    hours: u64,
}

pub fn liar(script: Vec<Step>) {
    let mut world = World::new();
    for step in script.into_iter().take(MAX_STEPS) {
        world.step(step);
        world.check();
    }
    world.finish();
    notes::count(&mut Default::default());
}

impl World {
    fn new() -> Self {
        let mut town = Town::new();
        let store: TestStore = MALLORY.after.snapshot();
        let clock = town.clock.clone();
        let device = Device::open(store.clone(), clock.config()).expect("as it was made");
        town.phones[2] = Phone { device, store, clock };
        Self {
            town,
            tape: tape(800),
            prekeys: MALLORY.prekeys.clone(),
            lists: vec![MALLORY.list.clone()],
            sessions: vec![(0, MALLORY.session.clone())],
            seen: Vec::new(),
            texts: BTreeSet::new(),
            owed: 0,
            hours: 0,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Sign { root, follows, versions, unknown_previous, age_days, life_days, devices, edit } => {
                let before = self.list(follows).clone();
                let previous = if unknown_previous { [0xee; 32] } else { before.hash };
                let version = match versions {
                    255 => u32::MAX,
                    by => before.version.saturating_add(u32::from(by % 4)),
                };
                let issued = NOW.as_secs() + 3_600 * self.hours - DAY * u64::from(age_days % 100);
                let expires = issued + DAY * u64::from(life_days % 92);
                let previous = if version == 1 { [0; 32] } else { previous };
                let entries = self.entries(usize::from(root), devices);
                let times = [issued, expires];
                let mut list = MALLORY.roots[usize::from(root)].list(version, &previous, times, &entries);
                if let Some(edit) = edit {
                    edit.apply(&mut list.bytes, &[]);
                }
                self.lists.push(list);
            }
            Step::Provide { list } => {
                let bytes = self.list(list).bytes.clone();
                let received = self.bob(|bob| bob.provide(&bytes));
                self.judge(received.unwrap_or_default(), None);
            }
            Step::Begin { device, root, claims_by, list, to_somebody_else, one_time } => {
                let (device, root) = (usize::from(device) % DEVICES, usize::from(root));
                let identity = &MALLORY.devices[device];
                let claims = &MALLORY.devices[usize::from(claims_by) % DEVICES];
                let user = &MALLORY.roots[root].user;
                let list = self.list(list);
                let certificate = MALLORY.roots[root].certificate(&identity.ik, &claim(claims, user), list);
                let recipient = if to_somebody_else { *user } else { self.bobs_key() };
                let payload = payload(&certificate, &recipient);
                let bundle = &MALLORY.bundles[usize::from(one_time)];
                let session = Session::initiate(identity, bundle, &payload, &mut self.tape);
                self.sessions.push((device, session.expect("a good bundle")));
                self.sessions.truncate(8);
            }
            Step::Send { session, content } => self.send(session, &content),
            Step::Answered { root, list } => self.answered(usize::from(root), list),
            Step::Advance { hours } => {
                // Beyond that honest lists and prekeys have to be renewed.
                let hours = u64::from(hours % 100).min(20 * 24 - self.hours);
                self.hours += hours;
                self.town.clock.advance(3_600 * hours);
            }
            Step::Restart => self.town.phones[2].restart(),
            Step::Verify { root, trust } => {
                let user = MALLORY.user(usize::from(root));
                let trust = if trust { Trust::Verified } else { Trust::Blocked };
                let _ = self.bob(|bob| bob.set_trust(&user, trust));
            }
            Step::Honest => self.honest(),
        }
    }

    fn list(&self, index: u8) -> &List {
        &self.lists[usize::from(index) % self.lists.len()]
    }

    fn alice(&self) -> Address {
        self.town.phones[0].address()
    }

    fn bobs_key(&self) -> Key {
        user_key(&self.town.phones[2].user())
    }

    /// Alice's list, as the server has it.
    fn honest_list(&self, of: usize) -> Vec<u8> {
        self.town.server.list(&self.town.phones[of].user()).expect("published")
    }

    fn entries(&self, root: usize, devices: u8) -> Vec<Vec<u8>> {
        let user = &MALLORY.roots[root].user;
        let mut entries: Vec<_> = (0..DEVICES)
            .filter(|at| devices >> at & 1 != 0)
            .map(|at| entry(&MALLORY.devices[at], user))
            .collect();
        let alices = &self.honest_list(0)[86..86 + 128];
        if devices & 0x40 != 0 {
            entries.push(alices.to_vec());
        }
        if devices & 0x80 != 0 {
            entries.push(cat(&[&alices[..64], &claim(&MALLORY.devices[0], user)]));
        }
        entries.sort();
        entries
    }

    /// A call of Bob's device: an error changes nothing, but for a mark, and but for the news that an expired list brings.
    fn bob<T>(
        &mut self,
        act: impl FnOnce(&mut Device<TestStore>) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        let phone = &mut self.town.phones[2];
        let before = phone.store.records();
        let result = act(&mut phone.device);
        if let Err(error) = &result {
            let after = phone.store.records();
            let differs = |id: &&subrosa::store::RecordId| before.get(*id) != after.get(*id);
            let mut changed = before.keys().chain(after.keys()).filter(differs);
            let news = matches!(error, DeviceError::Refused(Refusal::Expired));
            assert!(news || changed.all(|id| id.table == DEVICES_TABLE), "{error:?} has changed something");
            let expected = matches!(
                error,
                DeviceError::Message(_)
                    | DeviceError::Refused(_)
                    | DeviceError::Missing(_)
                    | DeviceError::Blocked
                    | DeviceError::TooManyDevices
                    | DeviceError::Unreachable
                    | DeviceError::UnknownUser
                    | DeviceError::UnknownDevice
                    | DeviceError::CertificateExpired
            );
            assert!(expected, "{error:?}");
        }
        result
    }

    fn send(&mut self, session: u8, content: &Content) {
        let at = usize::from(session) % self.sessions.len();
        let mut bytes = self.content(content);
        if let Some(edit) = &content.edit {
            edit.apply(&mut bytes, &[]);
        }
        let (device, session) = &mut self.sessions[at];
        let device = *device;
        let mut sent = session.clone();
        let message = sent.encrypt(&bytes, &mut self.tape).expect("room for more");
        self.texts.insert(bytes.clone());
        let outbox = self.town.phones[2].store.count(OUTBOX);
        match self.bob(|bob| bob.receive(&message, None)) {
            Ok(received) => {
                self.sessions[at].1 = sent;
                self.judge(received, Some(device));
                let answers = self.town.phones[2].store.count(OUTBOX) - outbox;
                assert!(answers <= self.owed, "more answers than twice each");
                self.owed -= answers;
                self.deliver();
            }
            Err(_) => assert_eq!(self.town.phones[2].store.count(OUTBOX), outbox),
        }
    }

    /// Whatever Mallory sends is shown as hers, and does what hers may do.
    fn judge(&mut self, received: Vec<Received>, device: Option<usize>) {
        let mallory = [MALLORY.user(0), MALLORY.user(1)];
        for received in &received {
            if let Some(device) = device {
                assert!(mallory.contains(&received.from.user), "{received:?}");
                assert_eq!(received.from.device.to_bytes(), device_id(&MALLORY.devices[device].ik));
            }
            match &received.event {
                Event::Message { content, .. } => {
                    assert!(self.texts.iter().any(|sent| sent.ends_with(content)), "never sent");
                }
                Event::DevicesChanged { of, .. } => {
                    assert!(mallory.contains(of), "{received:?}");
                }
                Event::SentElsewhere { .. } | Event::TrustChanged { .. } | Event::Unlinked => {
                    panic!("{received:?} is of one's own devices")
                }
                _ => {}
            }
        }
        let ids: Vec<_> = received.iter().map(|received| received.id).collect();
        self.bob(|bob| bob.acknowledge(ids)).expect("it works");
    }

    fn answered(&mut self, root: usize, list: u8) {
        let user = MALLORY.user(root);
        let mut sent = 0;
        for _ in 0..4 {
            match self.bob(|bob| bob.send(&user, b"an answer")) {
                Err(DeviceError::Missing(missing)) => {
                    let bytes = self.list(list).bytes.clone();
                    let received = if missing.lists.is_empty() {
                        Ok(vec![])
                    } else {
                        self.bob(|bob| bob.provide(&bytes))
                    };
                    self.judge(received.unwrap_or_default(), None);
                    for address in missing.bundles {
                        let device = (0..DEVICES)
                            .find(|at| device_id(&MALLORY.devices[*at].ik) == address.device.to_bytes());
                        match device {
                            Some(device) => {
                                let bundle = self.prekeys[device].bundle_with(None).to_bytes();
                                let kept = self.bob(|bob| bob.provide_bundle(&address, Some(&bundle)));
                                assert!(matches!(kept, Ok(BundleOutcome::Kept { .. })), "a good bundle");
                            }
                            None => drop(self.bob(|bob| bob.provide_bundle(&address, None))),
                        }
                    }
                }
                Ok(out) => {
                    sent = out.iter().filter(|out| out.to.user == user).count();
                    break;
                }
                Err(_) => break,
            }
        }
        self.owed += 2 * sent;
        self.deliver();
    }

    /// What Bob has in his outbox: for Mallory's devices, and for no device of others under her name.
    fn deliver(&mut self) {
        let outbox: Vec<_> = self.town.phones[2].device.outbox().map(|out| out.expect("it works")).collect();
        for out in &outbox {
            let known = |identity: &Identity| device_id(&identity.ik) == out.to.device.to_bytes();
            let Some(device) = MALLORY.devices.iter().position(known) else {
                assert!(self.town.phones.iter().any(|phone| phone.address() == out.to), "{out:?} to nobody");
                self.town.server.push(out);
                continue;
            };
            let mut sessions = self.sessions.iter_mut().filter(|(of, _)| *of == device);
            let mut read = sessions.find_map(|(_, session)| session.decrypt(&out.bytes).ok());
            if read.is_none() {
                let identity = &MALLORY.devices[device];
                let accepted =
                    Session::accept(identity, &mut self.prekeys[device], &out.bytes, &mut self.tape);
                if let Ok(accepted) = accepted {
                    self.sessions.insert(0, (device, accepted.session));
                    self.sessions.truncate(8);
                    read = Some(accepted.content);
                }
            }
            let Some(content) = read else { continue };
            // At the end: place, id, kind, no attachments, text.
            if let Some(start) = content.len().checked_sub(12 + 16 + 2 + b"an answer".len())
                && content.ends_with(b"an answer")
                && let Some(place) = content[start..].first_chunk()
            {
                self.seen.push(*place);
                self.seen.truncate(16);
            }
        }
        self.bob(|bob| bob.sent(outbox.iter().map(|out| out.id))).expect("it works");
    }

    /// Nobody else is known, and nothing of Alice has changed.
    fn check(&mut self) {
        let alice = self.alice();
        let devices: BTreeSet<_> = self.town.phones[..2].iter().map(|phone| phone.address().device).collect();
        let bob = &self.town.phones[2];
        let users: Vec<_> = bob.device.users().map(|user| user.expect("it works")).collect();
        let known = [alice.user, bob.user(), MALLORY.user(0), MALLORY.user(1)];
        assert!(users.iter().all(|user| known.contains(&user.id)));
        for user in users {
            if user.id == alice.user {
                assert_eq!(user.devices.iter().copied().collect::<BTreeSet<DeviceId>>(), devices);
                assert_eq!((user.trust, user.stranger), (Trust::Unverified, false));
            } else if user.id == bob.user() {
                assert_eq!(user.devices, [bob.address().device]);
            } else {
                let hers = |device: &DeviceId| {
                    let ids = MALLORY.devices.iter().map(|identity| device_id(&identity.ik));
                    ids.into_iter().any(|id| id == device.to_bytes())
                };
                assert!(user.devices.iter().all(hers), "a device that never claimed to be hers");
            }
        }
        // 40 sessions with each of five devices, in halves, with what belongs to them, and what is kept for asks.
        let records = bob.store.records().len();
        assert!(records < 2_000, "{records} records");
    }

    fn honest(&mut self) {
        let (alice, bob) = (self.town.phones[0].user(), self.town.phones[2].user());
        for (from, to, user) in [(0, 2, bob), (2, 0, alice)] {
            let text = format!("honest {from}");
            let Town { server, phones, .. } = &mut self.town;
            let sender = phones[from].address();
            phones[from].try_say(server, &user, &text).expect("nothing stops honest messages");
            phones[from].push(server);
            let device = &mut phones[to].device;
            for message in server.take(&device.address()) {
                let received = device.receive(&message, None).expect("an honest message");
                let heard = received.iter().find_map(|got| match &got.event {
                    Event::Message { content, .. } => Some((got.from, &content[..])),
                    _ => None,
                });
                assert_eq!(heard, Some((sender, text.as_bytes())));
                device.acknowledge(received.iter().map(|got| got.id)).expect("it works");
            }
        }
    }

    fn finish(mut self) {
        self.honest();
        self.check();
        self.town.phones[2].restart();
        self.honest();
        self.check();
    }
}
