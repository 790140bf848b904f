//! What goes wrong in ordinary lives: clocks that are wrong, devices in drawers, linkings given up, backups put back. None
//! of it lasts.

use subrosa::{
    BackupLock, BundleOutcome, Device, DeviceError, Draft, Error, Event, Link, MessageId, RecoveryKey,
    Refusal, Trust,
};

use crate::common::world::{
    DAY, Phone, Server, TestClock, TestStore, World, events, link, table::BUNDLES, texts, two,
};

const YEAR: u64 = 365 * DAY;
/// Each with a clock of their own: Alice and Bob have exchanged messages.
fn acquainted() -> (Server, Phone, Phone) {
    let mut server = Server::default();
    let mut alice = Phone::new(&TestClock::default(), &mut server);
    let mut bob = Phone::new(&TestClock::default(), &mut server);
    alice.say(&mut server, &bob.user(), "hello");
    assert_eq!(bob.texts(&mut server), ["hello"]);
    bob.say(&mut server, &alice.user(), "hi");
    assert_eq!(alice.texts(&mut server), ["hi"]);
    (server, alice, bob)
}

fn tables(store: &TestStore) -> Vec<usize> {
    (0..=20).map(|table| store.count(table)).collect()
}

/// How a device comes into a store.
type Way<'a> = &'a dyn Fn(&TestStore) -> Device<TestStore>;

/// A person begins to link a device, and then makes a new user on it, or restores one.
#[test]
fn a_linking_given_up_leaves_nothing() {
    let clock = TestClock::default();
    let create = |store: &TestStore| Device::create(store.clone(), clock.config()).unwrap();
    let key = RecoveryKey::generate().unwrap();
    let backup = create(&TestStore::default()).backup(&BackupLock::Key(&key)).unwrap();
    let restore = |store: &TestStore| {
        Device::restore(store.clone(), clock.config(), &backup, &BackupLock::Key(&key), None).unwrap()
    };
    let ways: [Way<'_>; 2] = [&create, &restore];
    for way in ways {
        let (store, fresh) = (TestStore::default(), TestStore::default());
        let mut link = Link::begin(store.clone(), clock.config()).unwrap();
        way(&store).maintain().unwrap();
        way(&fresh).maintain().unwrap();
        assert_eq!(tables(&store), tables(&fresh));
        // Nor does what is left of it in memory come back.
        let mut phone = Phone::unpublished(&clock);
        let offer = phone.device.offer_link(&link.code()).unwrap();
        let late = link.confirm(&offer, &phone.user());
        assert!(matches!(late, Err(DeviceError::Occupied)), "{late:?}");
        assert_eq!(tables(&store), tables(&fresh));
    }
}

/// The app was closed while a device was being linked, and starts as it always does.
#[test]
fn a_linking_is_not_given_up_by_accident() {
    let (clock, store) = (TestClock::default(), TestStore::default());
    let code = Link::begin(store.clone(), clock.config()).unwrap().code();
    let opened = Device::open_or_create(store.clone(), clock.config());
    assert!(matches!(opened, Err(DeviceError::LinkBegun)), "{opened:?}");
    let opened = Device::open(store.clone(), clock.config());
    assert!(matches!(opened, Err(DeviceError::LinkBegun)), "{opened:?}");
    assert_eq!(Link::begin(store, clock.config()).unwrap().code(), code);
}

/// Alice's clock is 200 days ahead when Bob's new list comes: it has expired for her. Then it is put right.
#[test]
fn a_clock_once_ahead_does_not_stop_messages() {
    let (mut server, mut alice, mut bob) = acquainted();
    let mut tablet = link(&mut bob, &mut server);
    let list = server.list(&bob.user()).unwrap();
    alice.clock.advance(200 * DAY);
    for _ in 0..2 {
        let refused = alice.device.provide(&list);
        assert!(matches!(refused, Err(DeviceError::Refused(Refusal::Expired))), "{refused:?}");
    }
    alice.clock.set_back(200 * DAY);
    alice.say(&mut server, &bob.user(), "to both");
    assert_eq!(bob.texts(&mut server), ["to both"]);
    assert_eq!(tablet.texts(&mut server), ["to both"]);
    // That there is another device was told once.
    assert_eq!(alice.device.inbox().count(), 1);
}

/// A list is signed anew at once that was made more than a day from now: nobody goes by one that ends too late.
#[test]
fn a_list_from_ahead_is_signed_anew() {
    let (clock, mut server) = (TestClock::default(), Server::default());
    clock.advance(DAY);
    let mut alice = Phone::new(&clock, &mut server);
    let version = |alice: &mut Phone| {
        alice.device.maintain().unwrap();
        alice.device.publication(0).unwrap().list.version()
    };
    clock.set_back(DAY);
    assert_eq!(version(&mut alice), 1);
    clock.set_back(1);
    assert_eq!(version(&mut alice), 2);
    assert_eq!(version(&mut alice), 2);
}

/// A word that was given under a clock that was ahead does not stand for as long as that was.
#[test]
fn a_clock_once_ahead_does_not_stop_a_block() {
    for ahead in [DAY / 2, YEAR] {
        let (mut server, mut alice, bob) = acquainted();
        let mut second = link(&mut alice, &mut server);
        let b = bob.user();
        alice.say(&mut server, &alice.user(), "a session between Alice's devices");
        second.poll(&mut server);
        let trust = |phone: &Phone| phone.device.user_info(&b).unwrap().unwrap().trust;
        // The two share a clock: only what the first one says is ahead.
        alice.clock.advance(ahead);
        let verified = alice.device.set_trust(&b, Trust::Verified).unwrap();
        alice.clock.set_back(ahead);
        for (index, word) in [Trust::Blocked, Trust::Unverified, Trust::Blocked].into_iter().enumerate() {
            let told = alice.device.set_trust(&b, word).unwrap();
            assert_eq!(trust(&alice), word, "{ahead} {index}");
            if index == 0 {
                second.device.receive(&verified[0].bytes, None).unwrap();
            }
            second.device.receive(&told[0].bytes, None).unwrap();
            assert_eq!(trust(&second), word, "{ahead} {index}");
            alice.clock.advance(1);
        }
        assert!(matches!(alice.device.send(&b, b"?"), Err(DeviceError::Blocked)));
        // The other one has a say, too.
        let told = second.device.set_trust(&b, Trust::Verified).unwrap();
        alice.device.receive(&told[0].bytes, None).unwrap();
        assert_eq!(trust(&alice), Trust::Verified, "{ahead}");
    }
}

/// Alice's tablet has been in a drawer for so long that its prekeys have expired, and nobody has a session with it.
#[test]
fn a_device_in_a_drawer_does_not_stop_messages() {
    let (clock, mut server) = (TestClock::default(), Server::default());
    let mut alice = Phone::new(&clock, &mut server);
    let mut bob = Phone::new(&clock, &mut server);
    let mut tablet = link(&mut alice, &mut server);
    clock.advance(31 * DAY);
    bob.device.maintain().unwrap();
    bob.publish(&mut server);
    alice.device.maintain().unwrap();
    alice.publish(&mut server);
    for text in ["the tablet sleeps", "it still does"] {
        alice.say(&mut server, &bob.user(), text);
        assert_eq!(bob.texts(&mut server), [text]);
    }
    // It wakes, and is told what it has missed.
    tablet.device.maintain().unwrap();
    tablet.publish(&mut server);
    clock.advance(DAY);
    alice.say(&mut server, &bob.user(), "good morning");
    assert_eq!(tablet.texts(&mut server), ["> good morning"]);
    clock.advance(61);
    tablet.say(&mut server, &alice.user(), "what was it?");
    alice.poll(&mut server);
    clock.advance(60 * 60);
    alice.device.maintain().unwrap();
    alice.push(&mut server);
    assert_eq!(tablet.texts(&mut server), ["> the tablet sleeps", "> it still does"]);
}

/// A server answers every question for a bundle with the same one, which is of another device.
#[test]
fn a43_a_server_with_one_bundle_does_not_make_a_device_ask_for_ever() {
    let (mut server, mut alice, bob) = acquainted();
    let carol = Phone::new(&TestClock::default(), &mut server);
    let mut tablet = link(&mut alice, &mut server);
    let mut asked = 0;
    let sent = loop {
        match tablet.device.send(&bob.user(), b"?") {
            Err(DeviceError::Missing(missing)) => {
                for user in &missing.lists {
                    tablet.device.provide(&server.list(user).unwrap()).unwrap();
                }
                for address in &missing.bundles {
                    let bundle = server.bundle(&carol.address()).unwrap();
                    let outcome = tablet.device.provide_bundle(address, Some(&bundle)).unwrap();
                    assert_eq!(outcome, BundleOutcome::Unusable(Error::WrongIdentity));
                    asked += 1;
                }
            }
            sent => break sent,
        }
        assert!(asked < 10, "it asks for ever");
    };
    assert!(matches!(sent, Err(DeviceError::Unreachable)), "{sent:?}");
}

/// Alice's certificate has expired, and Bob has one device more than she has a session with.
#[test]
fn an_expired_certificate_does_not_keep_from_writing_where_a_session_is() {
    let (clock, mut server) = (TestClock::default(), Server::default());
    let mut alice = Phone::new(&clock, &mut server);
    let mut bob = Phone::new(&clock, &mut server);
    let mut second = link(&mut alice, &mut server);
    let (a, b) = (alice.user(), bob.user());
    second.say(&mut server, &b, "from the second");
    alice.poll(&mut server);
    bob.poll(&mut server);
    bob.say(&mut server, &a, "hi");
    second.poll(&mut server);
    // The device with the root key is off.
    clock.advance(91 * DAY);
    bob.device.maintain().unwrap();
    bob.publish(&mut server);
    let mut tablet = link(&mut bob, &mut server);
    second.say(&mut server, &b, "as far as it goes");
    assert_eq!(bob.texts(&mut server), ["as far as it goes"]);
    assert_eq!(tablet.texts(&mut server), [""; 0]);
    // Where there is none with anybody, the reason is the certificate.
    let mut carol = Phone::new(&clock, &mut server);
    let refused = second.try_say(&mut server, &carol.user(), "?");
    assert!(matches!(refused, Err(DeviceError::CertificateExpired)), "{refused:?}");
    assert_eq!(carol.texts(&mut server), [""; 0]);
}

/// The device of before comes out of its drawer when its user has been restored on another one: it hears of that before
/// it signs a list of its own.
#[test]
fn a19_a_restored_user_is_not_forked_by_the_device_of_before() {
    let (mut server, mut alice, _) = acquainted();
    let key = RecoveryKey::generate().unwrap();
    let backup = alice.device.backup(&BackupLock::Key(&key)).unwrap();
    let clock = alice.clock.clone();
    let store = TestStore::default();
    let device =
        Device::restore(store.clone(), clock.config(), &backup, &BackupLock::Key(&key), None).unwrap();
    let mut restored = Phone { device, store, clock: clock.clone() };
    restored.publish(&mut server);
    clock.advance(35 * DAY);
    let before = alice.device.user_info(&alice.user()).unwrap().unwrap().list_expires;
    let tasks = alice.device.maintain().unwrap();
    assert_eq!(tasks.fetch.lists, [alice.user()]);
    assert_eq!(alice.device.user_info(&alice.user()).unwrap().unwrap().list_expires, before, "signed anew");
    let shown = alice.device.provide(&server.list(&alice.user()).unwrap()).unwrap();
    assert!(events(&shown).contains(&&Event::Unlinked), "{shown:?}");
    alice.device.maintain().unwrap();
    assert!(matches!(alice.device.publication(0), Err(DeviceError::Unlinked)));
    // It does not change the list any more. What it knows, a backup still saves: it may be the last to have the root key.
    let link = Link::begin(TestStore::default(), clock.config()).unwrap();
    let offer = alice.device.offer_link(&link.code());
    assert!(matches!(offer, Err(DeviceError::Unlinked)), "{offer:?}");
    let unlinked = alice.device.unlink(&restored.address().device);
    assert!(matches!(unlinked, Err(DeviceError::Unlinked)), "{unlinked:?}");
    alice.device.backup(&BackupLock::Key(&key)).unwrap();
}

/// Alice loses her phone with what Bob wrote last, and restores a backup. Bob gets to know what she may not have seen, and
/// sends it again.
#[test]
fn what_a_lost_phone_did_not_acknowledge_is_named() {
    for resend in [true, false] {
        let (World { clock, mut server }, mut alice, mut bob) = crate::common::world::acquainted();
        let mut settings = bob.device.settings().unwrap();
        settings.resend = resend;
        bob.device.set_settings(settings).unwrap();
        assert_eq!(bob.device.settings().unwrap().resend, resend);
        let key = RecoveryKey::generate().unwrap();
        let backup = alice.device.backup(&BackupLock::Key(&key)).unwrap();
        bob.say(&mut server, &alice.user(), "read");
        alice.poll(&mut server);
        alice.say(&mut server, &bob.user(), "yes");
        bob.poll(&mut server);
        let ids = [0, 1, 2].map(|id| MessageId::from_bytes([id; 16]));
        let to = alice.user();
        let send = |bob: &mut Phone, id: u8| {
            let draft = Draft::new(&to, b"unread").with_id(ids[usize::from(id)]);
            bob.device.send_many(&[draft]).unwrap();
        };
        for id in [1, 0] {
            send(&mut bob, id);
            bob.push(&mut server);
        }
        send(&mut bob, 2);
        server.take(&alice.address());
        let list = server.list(&alice.user());
        let (store, lock) = (TestStore::default(), BackupLock::Key(&key));
        let device = Device::restore(store.clone(), clock.config(), &backup, &lock, list.as_deref()).unwrap();
        let mut restored = Phone { device, store, clock };
        restored.publish(&mut server);
        let shown = bob.device.provide(&server.list(&alice.user()).unwrap()).unwrap();
        let changed = Event::DevicesChanged {
            of: alice.user(),
            added: vec![restored.address().device],
            removed: vec![alice.address().device],
            unacknowledged: if resend { vec![ids[1], ids[0], ids[2]] } else { vec![ids[2]] },
        };
        assert_eq!(events(&shown), [&changed]);
        assert_eq!(bob.device.outbox().count(), 0);
        let address = restored.address();
        bob.device.provide_bundle(&address, server.bundle(&address).as_deref()).unwrap();
        for id in [1, 0, 2] {
            send(&mut bob, id);
        }
        bob.push(&mut server);
        assert_eq!(texts(&restored.poll(&mut server)), ["unread"; 3]);
    }
}

/// Nobody doubts who they are themselves, nor shuts their own devices out.
#[test]
fn a_user_is_not_asked_to_trust_themselves() {
    let (_, mut alice, _) = acquainted();
    for trust in [Trust::Verified, Trust::Unverified, Trust::Blocked] {
        let own = alice.device.set_trust(&alice.user(), trust);
        assert!(matches!(own, Err(DeviceError::UnknownUser)), "{own:?}");
    }
    assert_eq!(alice.device.user_info(&alice.user()).unwrap().unwrap().trust, Trust::Verified);
}

/// The list is renewed once it is known to be the newest; and if that cannot be known, before it expires.
#[test]
fn a_list_is_renewed_when_it_has_been_fetched_or_must_be() {
    let clock = TestClock::default();
    let expires = |phone: &Phone| {
        let info = phone.device.user_info(&phone.user()).unwrap().unwrap();
        info.list_expires.unwrap().as_secs() - clock.now().as_secs()
    };
    let mut server = Server::default();
    let mut fetching = Phone::new(&clock, &mut server);
    let mut alone = Phone::unpublished(&clock);
    for day in 0..90 {
        for phone in [&mut fetching, &mut alone] {
            let tasks = phone.device.maintain().unwrap();
            assert_eq!(tasks.fetch.lists, [phone.user()]);
        }
        fetching.publish(&mut server);
        fetching.device.provide(&server.list(&fetching.user()).unwrap()).unwrap();
        assert!(expires(&fetching) >= 59 * DAY, "{day}");
        assert!(expires(&alone) >= 14 * DAY, "{day}");
        clock.advance(DAY);
    }
    assert!(expires(&alone) > 60 * DAY, "renewed, and not every day");
}

/// Its own list is known to be the newest for two days after it was fetched.
#[test]
fn a_list_that_was_fetched_long_ago_is_not_renewed() {
    for (seconds, renewed) in [(2 * DAY - 1, true), (2 * DAY, false)] {
        let clock = TestClock::default();
        let mut server = Server::default();
        let mut phone = Phone::new(&clock, &mut server);
        let expires = |phone: &Phone| phone.device.user_info(&phone.user()).unwrap().unwrap().list_expires;
        let mut other = Phone::unpublished(&clock);
        other.device.provide(&server.list(&phone.user()).unwrap()).unwrap();
        let before = expires(&phone);
        clock.advance(29 * DAY);
        phone.device.provide(&server.list(&phone.user()).unwrap()).unwrap();
        clock.advance(seconds);
        phone.device.maintain().unwrap();
        assert_eq!(expires(&phone) > before, renewed, "{seconds} seconds after it was fetched");
        // Others take it in, and there is nothing to tell about it.
        phone.publish(&mut server);
        assert_eq!(other.device.provide(&server.list(&phone.user()).unwrap()).unwrap(), []);
    }
}

/// A session that nobody has answered for a week is taken for lost: what is sent next begins another.
#[test]
fn a_session_is_given_a_week_to_be_answered() {
    for (seconds, answered, another) in
        [(7 * DAY - 1, false, false), (7 * DAY, false, true), (7 * DAY, true, false)]
    {
        let (World { clock, mut server }, mut alice, mut bob) = two();
        alice.say(&mut server, &bob.user(), "hello?");
        if answered {
            bob.poll(&mut server);
            bob.say(&mut server, &alice.user(), "hello");
            alice.poll(&mut server);
        }
        clock.advance(seconds);
        match alice.device.send(&bob.user(), b"still there?") {
            Err(DeviceError::Missing(missing)) => {
                assert!(another, "after {seconds} seconds, answered: {answered}");
                assert_eq!((missing.lists, missing.bundles), (vec![], vec![bob.address()]));
            }
            sent => assert!(sent.is_ok() && !another, "after {seconds} seconds, answered: {answered}"),
        }
    }
}

/// Alice's clock is 20 years ahead when she signs her list and a prekey. Nobody goes by them, and they do not last.
#[test]
fn a_clock_once_years_ahead_makes_nothing_that_lasts() {
    let (mut server, mut alice, mut bob) = acquainted();
    alice.clock.advance(20 * YEAR);
    alice.device.maintain().unwrap();
    alice.publish(&mut server);
    alice.clock.set_back(20 * YEAR);
    for _ in 0..2 {
        let refused = bob.device.provide(&server.list(&alice.user()).unwrap());
        assert!(matches!(refused, Err(DeviceError::Refused(Refusal::NotYetValid))), "{refused:?}");
        let Err(DeviceError::Missing(missing)) = bob.device.send(&alice.user(), b"?") else { panic!() };
        assert_eq!(missing.lists, [alice.user()]);
    }
    let bundle = server.bundle(&alice.address());
    let outcome = bob.device.provide_bundle(&alice.address(), bundle.as_deref()).unwrap();
    assert_eq!(outcome, BundleOutcome::Unusable(Error::NotYetValid));
    // Nor does she write first by them: it would be refused.
    let mut carol = Phone::new(&TestClock::default(), &mut server);
    let early = alice.try_say(&mut server, &carol.user(), "?");
    assert!(matches!(early, Err(DeviceError::CertificateExpired)), "{early:?}");
    // She hears of her clock, and all is as it was.
    assert!(alice.device.maintain().unwrap().publish);
    alice.publish(&mut server);
    let expires = alice.device.user_info(&alice.user()).unwrap().unwrap().list_expires.unwrap();
    assert_eq!(expires.as_secs(), alice.clock.now().as_secs() + 90 * DAY);
    bob.say(&mut server, &alice.user(), "to you");
    assert_eq!(alice.texts(&mut server), ["to you"]);
    alice.say(&mut server, &carol.user(), "hello");
    assert_eq!(carol.texts(&mut server), ["hello"]);
    let bundle = server.bundle(&alice.address());
    let outcome = bob.device.provide_bundle(&alice.address(), bundle.as_deref()).unwrap();
    assert!(matches!(outcome, BundleOutcome::Kept { .. }), "{outcome:?}");
    let before = alice.device.maintain().unwrap();
    assert!(!before.publish, "once is enough");
}

/// A list of a later version.
#[test]
fn a_later_list_is_told_from_rubbish() {
    let mut phone = Phone::unpublished(&TestClock::default());
    let later = phone.device.provide(&[0x62, 1, 2, 3]);
    assert!(matches!(later, Err(DeviceError::Message(Error::UnsupportedVersion))), "{later:?}");
    let rubbish = phone.device.provide(&[0x72, 1, 2, 3]);
    assert!(matches!(rubbish, Err(DeviceError::Message(Error::Malformed))), "{rubbish:?}");
}

/// What waits for a device that is not the user's any more is not handed out.
#[test]
fn nothing_leaves_for_a_removed_device() {
    let (mut server, mut alice, mut bob) = acquainted();
    let mut tablet = link(&mut alice, &mut server);
    alice.say(&mut server, &bob.user(), "sessions everywhere");
    tablet.poll(&mut server);
    bob.poll(&mut server);
    tablet.try_say(&mut server, &bob.user(), "never pushed").unwrap();
    assert!(tablet.device.outbox().count() > 0);
    alice.device.send(&bob.user(), b"to both").unwrap();
    alice.device.unlink(&tablet.address().device).unwrap();
    let outbox: Vec<_> = alice.device.outbox().map(|out| out.unwrap().to).collect();
    assert_eq!(outbox, [bob.address()]);
    alice.publish(&mut server);
    alice.push(&mut server);
    assert_eq!(bob.texts(&mut server), ["to both"]);
    // Nor from it.
    tablet.device.provide(&server.list(&alice.user()).unwrap()).unwrap();
    assert_eq!(tablet.device.outbox().count(), 0);
}

/// A bundle was fetched, nothing was sent, and the device is gone.
#[test]
fn no_bundle_of_a_removed_device_stays() {
    let (mut server, mut alice, mut bob) = acquainted();
    let tablet = link(&mut bob, &mut server);
    alice.device.provide(&server.list(&bob.user()).unwrap()).unwrap();
    let bundle = server.bundle(&tablet.address());
    alice.device.provide_bundle(&tablet.address(), bundle.as_deref()).unwrap();
    assert_eq!(alice.store.count(BUNDLES), 1);
    bob.device.unlink(&tablet.address().device).unwrap();
    bob.publish(&mut server);
    alice.device.provide(&server.list(&bob.user()).unwrap()).unwrap();
    assert_eq!(alice.store.count(BUNDLES), 0);
}

/// How many devices a user has does not show in the length of a first message.
#[test]
fn first_messages_of_few_and_of_more_devices_have_one_length() {
    let (clock, mut server) = (TestClock::default(), Server::default());
    let mut bob = Phone::new(&clock, &mut server);
    let mut lengths = Vec::new();
    for devices in 1..=5 {
        let mut alice = Phone::new(&clock, &mut server);
        for _ in 1..devices {
            link(&mut alice, &mut server);
        }
        // Before there is an answer, two.
        for text in ["hello, it is me", "me again"] {
            let sent = alice.say(&mut server, &bob.user(), text);
            let to_bob = sent.iter().find(|out| out.to == bob.address()).unwrap();
            lengths.push(to_bob.bytes.len());
            bob.poll(&mut server);
        }
    }
    lengths.dedup();
    assert_eq!(lengths.len(), 1, "{lengths:?}");
}
