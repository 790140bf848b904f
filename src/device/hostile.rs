//! First messages of devices that hold their own keys, and lie about whose they are.

use super::*;
use crate::{
    DeviceList, IdentityKey, PreKeyBundle, Session, StorageKey,
    keys::DAY,
    roster::{self, Certificate, Payload, RootKey, claim},
    store::MemoryStore,
};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

fn device() -> Device<MemoryStore> {
    Device::create(MemoryStore::new(), Config::new(&StorageKey::from_bytes(&[7; 32]), || NOW)).unwrap()
}

/// Who makes a first message by hand.
struct Liar {
    root: RootKey,
    identity: IdentityKeyPair,
}

impl Liar {
    fn new() -> Self {
        let root = RootKey::generate(&mut rand::rngs::SysRng).unwrap();
        Self { root, identity: IdentityKeyPair::generate() }
    }

    fn list(&self, issued: UnixTime) -> DeviceList {
        self.list_of(&self.identity, issued)
    }

    fn list_of(&self, identity: &IdentityKeyPair, issued: UnixTime) -> DeviceList {
        let claim = claim(identity, self.root.user_id());
        DeviceList::sign(&self.root, None, vec![(*identity.identity_key(), claim)], issued).unwrap()
    }

    fn sign(&self, previous: Option<&DeviceList>, devices: &[&IdentityKeyPair]) -> DeviceList {
        let user = self.root.user_id();
        let entries = devices.iter().map(|device| (*device.identity_key(), claim(device, user))).collect();
        DeviceList::sign(&self.root, previous, entries, NOW).unwrap()
    }

    fn certificate(&self, list: &DeviceList) -> Certificate {
        let claim = claim(&self.identity, self.root.user_id());
        Certificate::issue(&self.root, self.identity.identity_key(), claim, list)
    }

    fn begin(&self, victim: &mut Device<MemoryStore>, payload: &[u8]) -> Session {
        let publication = victim.publication(0).unwrap();
        let one_time = publication.one_time_prekeys.into_iter().next();
        let bundle = PreKeyBundle::new(publication.identity_key, publication.signed_prekey, one_time);
        let bundle = bundle.verify(NOW).unwrap();
        Session::initiate_with_payload(&self.identity, bundle, payload).unwrap()
    }

    /// What the victim makes of a first message with this payload.
    fn send(&self, victim: &mut Device<MemoryStore>, payload: &[u8]) -> Result<Vec<Received>, DeviceError> {
        let mut session = self.begin(victim, payload);
        let content = content::Content::default().encode();
        let before = records(victim);
        let result = victim.receive(&session.encrypt(&content).unwrap(), None);
        if result.is_err() {
            assert!(records(victim) == before, "a refusal changes nothing");
        }
        result
    }
}

fn records(device: &Device<MemoryStore>) -> Vec<crate::store::Record> {
    (0..=15).flat_map(|table| device.vault.store.list(table, 0, usize::MAX).unwrap()).collect()
}

fn refusal(result: Result<Vec<Received>, DeviceError>) -> Refusal {
    match result {
        Err(DeviceError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_honest_first_message_is_taken() {
    let (liar, mut victim) = (Liar::new(), device());
    let certificate = liar.certificate(&liar.list(NOW));
    let recipient = victim.user();
    let received = liar.send(&mut victim, &Payload { certificate, recipient }.to_bytes()).unwrap();
    assert_eq!(received.iter().map(|received| &received.event).collect::<Vec<_>>(), [&Event::NewUser]);
    assert_eq!(received[0].from.user, *liar.root.user_id());
}

#[test]
fn a34_a_first_message_for_somebody_else_is_refused() {
    let (liar, mut victim, other) = (Liar::new(), device(), device());
    let certificate = liar.certificate(&liar.list(NOW));
    let payload = Payload { certificate, recipient: other.user() };
    assert_eq!(refusal(liar.send(&mut victim, &payload.to_bytes())), Refusal::OtherRecipient);
}

/// Mallory has a list and a certificate of her own, and shows Alice's device, or Alice's certificate as hers.
#[test]
fn a34_nobody_speaks_for_another_user() {
    let (mallory, alice, mut victim) = (Liar::new(), Liar::new(), device());
    let recipient = victim.user();
    let alices = alice.certificate(&alice.list(NOW));
    // Alice's certificate does not fit Mallory's key.
    let payload = Payload { certificate: alices, recipient };
    assert_eq!(refusal(mallory.send(&mut victim, &payload.to_bytes())), Refusal::Forged);
    // Nor does one by Mallory's root for Alice's device, with a claim that Alice made for her own user, or Mallory.
    let alices_key: &IdentityKey = alice.identity.identity_key();
    for claim in
        [claim(&alice.identity, alice.root.user_id()), claim(&mallory.identity, mallory.root.user_id())]
    {
        let list = mallory.list(NOW);
        let certificate = Certificate::issue(&mallory.root, alices_key, claim, &list);
        let payload = Payload { certificate, recipient };
        assert_eq!(refusal(alice.send(&mut victim, &payload.to_bytes())), Refusal::Forged);
    }
}

/// A device that has two masters: whose it is first, it stays.
#[test]
fn a34_a_device_is_one_users_only() {
    let (one, mut victim) = (Liar::new(), device());
    let recipient = victim.user();
    let payload = Payload { certificate: one.certificate(&one.list(NOW)), recipient };
    one.send(&mut victim, &payload.to_bytes()).unwrap();
    let other = Liar { root: RootKey::generate(&mut rand::rngs::SysRng).unwrap(), identity: one.identity };
    let payload = Payload { certificate: other.certificate(&other.list(NOW)), recipient };
    assert_eq!(refusal(other.send(&mut victim, &payload.to_bytes())), Refusal::OtherUsersDevice);
}

#[test]
fn old_forked_and_garbled_certificates_are_refused() {
    let (liar, mut victim) = (Liar::new(), device());
    let recipient = victim.user();
    let payload = |certificate| Payload { certificate, recipient }.to_bytes();
    for (seconds, refused) in [(0, None), (1, Some(Refusal::Expired)), (DAY, Some(Refusal::Expired))] {
        let (liar, ago) = (Liar::new(), 90 * DAY + seconds);
        let list = liar.list(UnixTime::from_secs(NOW.as_secs() - ago));
        let sent = liar.send(&mut victim, &payload(liar.certificate(&list)));
        assert_eq!(sent.err().map(|error| refusal(Err(error))), refused, "{seconds}");
    }
    // Its maker's clock may be a week ahead.
    for (days, refused) in
        [(7, None), (8, Some(Refusal::NotYetValid)), (20 * 365, Some(Refusal::NotYetValid))]
    {
        let (liar, ahead) = (Liar::new(), UnixTime::from_secs(NOW.as_secs() + days * DAY));
        let sent = liar.send(&mut victim, &payload(liar.certificate(&liar.list(ahead))));
        assert_eq!(sent.err().map(|error| refusal(Err(error))), refused, "{days}");
    }
    let good = payload(liar.certificate(&liar.list(NOW)));
    for garbled in [&[][..], &good[..255], &[0; 256]] {
        assert_eq!(refusal(liar.send(&mut victim, garbled)), Refusal::Forged);
    }
    for position in 1..roster::PAYLOAD_LEN {
        let mut altered = good;
        altered[position] ^= 1;
        // The recipient stands before the zeros; altered, it is another user, or none.
        let may_be_another = (205..237).contains(&position);
        let refusal = refusal(liar.send(&mut victim, &altered));
        assert!(
            refusal == Refusal::Forged || (may_be_another && refusal == Refusal::OtherRecipient),
            "{position}"
        );
    }
    liar.send(&mut victim, &good).unwrap();
    // The same version once more, with another device.
    let second = IdentityKeyPair::generate();
    let other = liar.list_of(&second, NOW);
    let twin = Liar { root: RootKey::from_seed(&liar.root.seed()), identity: second };
    assert_eq!(refusal(twin.send(&mut victim, &payload(twin.certificate(&other)))), Refusal::Forked);
}

/// The replay record of the signed prekey is full. Strangers without a one-time prekey are refused, nobody else; the app is
/// told to publish another prekey.
#[test]
fn a46_friends_get_through_beside_a_full_replay_record() {
    use crate::keys::Fingerprint;
    let (mut victim, mut friend, mut other) = (device(), device(), device());
    let user = victim.user();
    let public = victim.publication(0).unwrap();
    victim.published(&public).unwrap();
    assert!(!victim.maintain().unwrap().publish);
    let bundle = |one_time: Option<usize>| {
        let one_time = one_time.map(|index| public.one_time_prekeys[index].clone());
        PreKeyBundle::new(public.identity_key, public.signed_prekey.clone(), one_time).to_bytes()
    };
    friend.provide(&public.list.to_bytes()).unwrap();
    friend.provide_bundle(&public.address, Some(&bundle(Some(0)))).unwrap();
    let hello = friend.send(&user, b"hello").unwrap();
    victim.receive(&hello[0].bytes, None).unwrap();
    victim
        .run(|work, _, _| {
            let prekeys = work.prekeys()?.change().ok_or(DeviceError::Damaged)?;
            for number in 0..16_384_u32 {
                let mut transcript = [0; 32];
                transcript[..4].copy_from_slice(&number.to_be_bytes());
                prekeys.used(&public.signed_prekey.id(), None, Fingerprint::of(&transcript));
            }
            Ok(())
        })
        .unwrap();
    // A stranger without a one-time prekey, a friend of before, and somebody new with a one-time prekey.
    other.provide(&public.list.to_bytes()).unwrap();
    other.provide_bundle(&public.address, Some(&bundle(None))).unwrap();
    let refused = other.send(&user, b"buy!").unwrap();
    let result = victim.receive(&refused[0].bytes, None);
    assert!(matches!(result, Err(DeviceError::Message(crate::Error::ReplayRecordFull))), "{result:?}");
    let on = friend.send(&user, b"and on").unwrap();
    assert_eq!(victim.receive(&on[0].bytes, None).unwrap().len(), 1);
    let mut new = device();
    new.provide(&public.list.to_bytes()).unwrap();
    new.provide_bundle(&public.address, Some(&bundle(Some(1)))).unwrap();
    let first = new.send(&user, b"who I am").unwrap();
    assert_eq!(victim.receive(&first[0].bytes, None).unwrap().len(), 2);
    // Another prekey: the next stranger gets in again.
    assert!(victim.maintain().unwrap().publish);
    let anew = victim.publication(100).unwrap();
    assert_ne!(anew.signed_prekey.id(), public.signed_prekey.id());
    let mut late = device();
    late.provide(&anew.list.to_bytes()).unwrap();
    let bundle = PreKeyBundle::new(anew.identity_key, anew.signed_prekey, None);
    late.provide_bundle(&anew.address, Some(&bundle.to_bytes())).unwrap();
    let message = late.send(&user, b"me, too").unwrap();
    assert!(victim.receive(&message[0].bytes, None).is_ok());
}

/// What Alice's device has shown to Bob's once (its key, binding and certificate) names nobody but herself. With it, and his
/// own prekeys, Bob makes up what his device takes for a message of hers.
#[test]
fn who_was_written_to_can_make_it_up() {
    use content::{Body, Content, Meaning, Place, StreamId, Text};
    let (mut alice, mut bob) = (device(), device());
    let public = bob.publication(0).unwrap();
    let bundle = |index: usize| {
        let one_time = public.one_time_prekeys[index].clone();
        PreKeyBundle::new(public.identity_key, public.signed_prekey.clone(), Some(one_time))
    };
    alice.provide(&public.list.to_bytes()).unwrap();
    alice.provide_bundle(&public.address, Some(&bundle(0).to_bytes())).unwrap();
    let sent = alice.send(&bob.user(), b"hello").unwrap();
    bob.receive(&sent[0].bytes, None).unwrap();

    let (name, binding) = (*alice.identity.identity_key(), *alice.identity.binding());
    let certificate = alice.run(|work, _, _| Ok(work.me()?.get().unwrap().certificate.clone())).unwrap();
    let stage2 = bob
        .run(|work, context, _| {
            let prekeys = work.prekeys()?.get().unwrap();
            let keys = prekeys.find(context.identity, &public.signed_prekey.id(), None).unwrap();
            Ok(keys.signed_agreement().agree(name.agreement()).unwrap())
        })
        .unwrap();
    let payload = Payload { certificate, recipient: bob.user() }.to_bytes();
    let bundle = bundle(1).verify(NOW).unwrap();
    let mut session =
        crate::session::impostor::forged_with_payload(&name, &binding, &stage2, &bundle, &payload);
    let text = Text { attachments: [].as_slice().into(), content: b"I never wrote this" };
    let (kind, bytes) = Meaning::Message(text).encode();
    let place = Place { stream: StreamId([9; 8]), number: 0 };
    let body = Body { place, id: MessageId::from_bytes([9; 16]), resent: false, kind, bytes: &bytes };
    let content = Content { body: Some(body), ..Content::default() };
    let received = bob.receive(&session.encrypt(&content.encode()).unwrap(), None).unwrap();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].from, alice.address());
    let Event::Message { content, .. } = &received[0].event else { panic!("{received:?}") };
    assert_eq!(content, b"I never wrote this");
}

/// A user with ever new devices, whose list never comes.
#[test]
fn a46_one_user_has_no_more_devices_than_a_list() {
    for (is_contact, max) in [(false, 2), (true, roster::MAX_DEVICES)] {
        devices_without_a_list(is_contact, max);
    }
}

/// One identity, or one user with ever new devices, begins sessions until the last-resort prekey is used up.
#[test]
fn a46_one_user_begins_few_sessions_in_a_day() {
    let time = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(NOW.as_secs()));
    let clock = time.clone();
    let clock = move || UnixTime::from_secs(clock.load(std::sync::atomic::Ordering::Relaxed));
    let config = Config::new(&StorageKey::from_bytes(&[7; 32]), clock);
    let (mut liar, mut victim) = (Liar::new(), Device::create(MemoryStore::new(), config).unwrap());
    let recipient = victim.user();
    let list = liar.list(NOW);
    let payload = Payload { certificate: liar.certificate(&list), recipient }.to_bytes();
    for _ in 0..7 {
        liar.send(&mut victim, &payload).unwrap();
    }
    // Another device, which takes the first one out.
    liar.identity = IdentityKeyPair::generate();
    let entry = (*liar.identity.identity_key(), claim(&liar.identity, liar.root.user_id()));
    let next = DeviceList::sign(&liar.root, Some(&list), vec![entry], NOW).unwrap();
    let payload = Payload { certificate: liar.certificate(&next), recipient }.to_bytes();
    liar.send(&mut victim, &payload).unwrap();
    victim.provide(&next.to_bytes()).unwrap();
    let refused = liar.send(&mut victim, &payload);
    assert!(matches!(refused, Err(DeviceError::TooManySessions)), "{refused:?}");
    // Somebody else is let in, and so is this user a day later, or as a contact.
    let other = Liar::new();
    let certificate = other.certificate(&other.list(NOW));
    other.send(&mut victim, &Payload { certificate, recipient }.to_bytes()).unwrap();
    time.fetch_add(DAY, std::sync::atomic::Ordering::Relaxed);
    liar.send(&mut victim, &payload).unwrap();
    victim.set_trust(liar.root.user_id(), Trust::Verified).unwrap();
    for _ in 1..64 {
        liar.send(&mut victim, &payload).unwrap();
    }
    let refused = liar.send(&mut victim, &payload);
    assert!(matches!(refused, Err(DeviceError::TooManySessions)), "{refused:?}");
}

fn devices_without_a_list(is_contact: bool, max: u8) {
    let (mut liar, mut victim) = (Liar::new(), device());
    if is_contact {
        victim.set_trust(liar.root.user_id(), Trust::Verified).unwrap();
    }
    let recipient = victim.user();
    let mut list: Option<DeviceList> = None;
    for number in 0..=max {
        liar.identity = IdentityKeyPair::generate();
        let entry = (*liar.identity.identity_key(), claim(&liar.identity, liar.root.user_id()));
        let next = DeviceList::sign(&liar.root, list.as_ref(), vec![entry], NOW).unwrap();
        let payload = Payload { certificate: liar.certificate(&next), recipient };
        let result = liar.send(&mut victim, &payload.to_bytes());
        if number < max {
            result.unwrap();
        } else {
            assert!(matches!(result, Err(DeviceError::TooManyDevices)), "{result:?}");
        }
        list = Some(next);
    }
}

/// A bundle that a server made up, or swapped for another device's, is not used.
#[test]
fn a35_bundles_are_used_for_the_device_that_the_list_names() {
    let (mut alice, mut bob, mut mallory) = (device(), device(), device());
    let (user, list) = (bob.user(), bob.publication(0).unwrap().list.to_bytes());
    alice.provide(&list).unwrap();
    let publication = mallory.publication(0).unwrap();
    let bundle = PreKeyBundle::new(publication.identity_key, publication.signed_prekey, None);
    let mut altered = bundle.to_bytes();
    let last = altered.len() - 2;
    altered[last] ^= 1;
    let before = alice.vault.store.list(Table::Bundles as u8, 0, 9).unwrap();
    for (fetched, error) in [
        (&bundle.to_bytes()[..], crate::Error::WrongIdentity),
        (&altered, crate::Error::InvalidSignature),
        (b"", crate::Error::Malformed),
        (&[0x31; 50], crate::Error::Malformed),
        (&[0x32; 50], crate::Error::UnsupportedVersion),
    ] {
        let outcome = alice.provide_bundle(&bob.address(), Some(fetched)).unwrap();
        assert_eq!(outcome, BundleOutcome::Unusable(error));
        // Nor is it asked for again at once: a server could go on for ever.
        assert!(matches!(alice.send(&user, b"?"), Err(DeviceError::Unreachable)));
    }
    assert!(alice.vault.store.list(Table::Bundles as u8, 0, 9).unwrap() == before);
}

/// A removed device has withheld the list that had it, so that no list here ever named it.
#[test]
fn a19_who_never_showed_a_list_is_removed_all_the_same() {
    let (liar, mut victim) = (Liar::new(), device());
    let first = IdentityKeyPair::generate();
    let v1 = liar.sign(None, &[&first]);
    let v2 = liar.sign(Some(&v1), &[&first, &liar.identity]);
    let v3 = liar.sign(Some(&v2), &[&first]);
    victim.provide(&v1.to_bytes()).unwrap();
    let payload = Payload { certificate: liar.certificate(&v2), recipient: victim.user() };
    let mut session = liar.begin(&mut victim, &payload.to_bytes());
    let content = content::Content::default().encode();
    victim.receive(&session.encrypt(&content).unwrap(), None).unwrap();
    victim.provide(&v3.to_bytes()).unwrap();
    let removed = vec![DeviceId::of(liar.identity.identity_key())];
    let events: Vec<_> = victim.inbox().map(|received| received.unwrap().event).collect();
    let of = *liar.root.user_id();
    assert_eq!(
        events,
        [Event::NewUser, Event::DevicesChanged { of, added: vec![], removed, unacknowledged: vec![] }]
    );
    assert!(victim.receive(&session.encrypt(&content).unwrap(), None).is_err());
}

/// A stranger brings lists of users that it makes up.
#[test]
fn a46_lists_of_others_leave_nothing() {
    let (liar, mut victim) = (Liar::new(), device());
    let payload = Payload { certificate: liar.certificate(&liar.list(NOW)), recipient: victim.user() };
    let mut session = liar.begin(&mut victim, &payload.to_bytes());
    let foreign = [(); 2].map(|()| Liar::new().list(NOW).to_bytes());
    let lists = foreign.iter().map(Vec::as_slice).collect();
    let content = content::Content { lists, ..Default::default() }.encode();
    let received = victim.receive(&session.encrypt(&content).unwrap(), None).unwrap();
    let events: Vec<_> = received.iter().map(|received| &received.event).collect();
    assert_eq!(events, [&Event::NewUser, &Event::NotUnderstood, &Event::NotUnderstood]);
    assert_eq!(victim.users().count(), 2);
    // Nor is anybody blamed for a signature on one, since nobody has verified it.
    let mut forged = foreign[0].clone();
    *forged.last_mut().unwrap() ^= 1;
    let content = content::Content { lists: vec![&forged], ..Default::default() }.encode();
    let received = victim.receive(&session.encrypt(&content).unwrap(), None).unwrap();
    assert_eq!(received.iter().map(|it| &it.event).collect::<Vec<_>>(), [&Event::NotUnderstood]);
}

/// A list is verified once. That it is not verified again shows by one that was put there without.
#[test]
fn a46_a_list_that_is_known_costs_no_signatures() {
    let (liar, mut victim) = (Liar::new(), device());
    let list = liar.list(NOW);
    let payload = Payload { certificate: liar.certificate(&list), recipient: victim.user() };
    let mut session = liar.begin(&mut victim, &payload.to_bytes());
    victim.provide(&list.to_bytes()).unwrap();
    let mut forged = list.to_bytes();
    *forged.last_mut().unwrap() ^= 1;
    let mut events = |victim: &mut Device<MemoryStore>| {
        let content = content::Content { lists: vec![&forged], ..Default::default() }.encode();
        let received = victim.receive(&session.encrypt(&content).unwrap(), None).unwrap();
        received.into_iter().map(|received| received.event).collect::<Vec<_>>()
    };
    assert_eq!(events(&mut victim), [Event::NewUser, Event::ListRefused(Refusal::Forged)]);
    let put = |work: &mut Work<'_, _>| -> Result<(), DeviceError> {
        work.user(liar.root.user_id())?.change().unwrap().list = Some(forged.clone());
        Ok(())
    };
    victim.run(|work, _, _| put(work)).unwrap();
    assert_eq!(events(&mut victim), []);
}

/// Of a user who is known by name only, the first certificate counts as any other: what contradicts it is a fork.
#[test]
fn a19_the_first_certificate_of_a_contact_is_remembered() {
    let (liar, mut victim) = (Liar::new(), device());
    victim.set_trust(liar.root.user_id(), Trust::Verified).unwrap();
    let recipient = victim.user();
    let payload = |certificate| Payload { certificate, recipient }.to_bytes();
    liar.send(&mut victim, &payload(liar.certificate(&liar.list(NOW)))).unwrap();
    let second = IdentityKeyPair::generate();
    let other = liar.list_of(&second, NOW);
    let twin = Liar { root: RootKey::from_seed(&liar.root.seed()), identity: second };
    assert_eq!(refusal(twin.send(&mut victim, &payload(twin.certificate(&other)))), Refusal::Forked);
}

/// A root key that signs a certificate for a device that is not in the list that it names, or of a list that is not the newest.
#[test]
fn a19_the_newest_list_says_who_is_in() {
    let (liar, mut victim) = (Liar::new(), device());
    let recipient = victim.user();
    let first = IdentityKeyPair::generate();
    let v1 = liar.sign(None, &[&first]);
    let v2 = liar.sign(Some(&v1), &[&first, &liar.identity]);
    let v3 = liar.sign(Some(&v2), &[&first]);
    let payload = |list: &DeviceList| Payload { certificate: liar.certificate(list), recipient }.to_bytes();
    victim.provide(&v1.to_bytes()).unwrap();
    assert_eq!(refusal(liar.send(&mut victim, &payload(&v1))), Refusal::NotInList);
    // Its certificate is of a newer one, which is not here; and of that one again.
    liar.send(&mut victim, &payload(&v2)).unwrap();
    liar.send(&mut victim, &payload(&v2)).unwrap();
    // Now that one is known, the list of before does not say whether a device of it is still in.
    let friend = Liar { root: RootKey::from_seed(&liar.root.seed()), identity: first };
    let older = Payload { certificate: friend.certificate(&v1), recipient }.to_bytes();
    let missing = friend.send(&mut victim, &older);
    let Err(DeviceError::Missing(missing)) = missing else { panic!("{missing:?}") };
    assert_eq!((missing.lists, missing.bundles), (vec![*liar.root.user_id()], vec![]));
    victim.provide(&v3.to_bytes()).unwrap();
    friend.send(&mut victim, &older).unwrap();
    assert_eq!(refusal(liar.send(&mut victim, &payload(&v2))), Refusal::NotInList);
}

/// A device writes before its list is here. When that comes, and has it, it stays.
#[test]
fn who_has_written_before_the_list_came_stays() {
    let (liar, mut victim) = (Liar::new(), device());
    let of = *liar.root.user_id();
    let first = IdentityKeyPair::generate();
    let v1 = liar.sign(None, &[&first]);
    let v2 = liar.sign(Some(&v1), &[&first, &liar.identity]);
    victim.provide(&v1.to_bytes()).unwrap();
    let payload = Payload { certificate: liar.certificate(&v2), recipient: victim.user() };
    let mut session = liar.begin(&mut victim, &payload.to_bytes());
    let content = content::Content::default().encode();
    victim.receive(&session.encrypt(&content).unwrap(), None).unwrap();
    let shown = victim.provide(&v2.to_bytes()).unwrap();
    let added = vec![DeviceId::of(liar.identity.identity_key())];
    let events: Vec<_> = shown.into_iter().map(|received| received.event).collect();
    assert_eq!(events, [Event::DevicesChanged { of, added, removed: vec![], unacknowledged: vec![] }]);
    victim.receive(&session.encrypt(&content).unwrap(), None).unwrap();
}

/// Whom this user trusts is for the user's own devices to say, as is what they have sent.
#[test]
fn a43_nobody_else_says_whom_one_trusts() {
    use content::{Body, Content, Meaning, Place, StreamId, Text};
    let (liar, mut victim) = (Liar::new(), device());
    let payload = Payload { certificate: liar.certificate(&liar.list(NOW)), recipient: victim.user() };
    let mut session = liar.begin(&mut victim, &payload.to_bytes());
    let (user, friend) = (*liar.root.user_id(), *Liar::new().root.user_id());
    let text = Text { attachments: [].as_slice().into(), content: b"not sent" };
    let lies = [
        Meaning::Trust { user, trust: Trust::Verified as u8, since: NOW },
        Meaning::Trust { user: friend, trust: Trust::Blocked as u8, since: NOW },
        Meaning::Sent { to: friend, text },
    ];
    for (number, lie) in (0..).zip(lies) {
        let (kind, bytes) = lie.encode();
        let place = Place { stream: StreamId([9; 8]), number };
        let id = MessageId::from_bytes([u8::try_from(number).unwrap(); 16]);
        let body = Body { place, id, resent: false, kind, bytes: &bytes };
        let content = Content { body: Some(body), ..Content::default() }.encode();
        let received = victim.receive(&session.encrypt(&content).unwrap(), None).unwrap();
        assert_eq!(received.last().unwrap().event, Event::NotUnderstood, "{lie:?}");
    }
    let info = victim.user_info(&user).unwrap().unwrap();
    assert_eq!((info.trust, info.stranger), (Trust::Unverified, true));
    assert_eq!(victim.user_info(&friend).unwrap(), None);
}
