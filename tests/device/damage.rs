//! Records that do not open any more, or halves of a session that do not fit: what they were is lost, and nothing else
//! stands still.

use subrosa::{BackupLock, Device, DeviceError, Event, Link, RecoveryKey, Refusal, Trust};

use crate::common::world::{
    DAY, Fail, Phone, TestStore, acquainted, events, link,
    table::{
        BUNDLES, COLD, IDENTITY, INBOX, LINKS, ME, OUTBOX, PEERS, PREKEYS, PUBLISHED, RESEND, SESSIONS, USERS,
    },
    texts,
};

fn damage(phone: &mut Phone, table: u8) {
    assert!(phone.store.count(table) > 0, "nothing is there to be damaged");
    phone.store.damage(table, |value| value[30] ^= 1);
    phone.restart();
}

#[test]
fn a_damaged_session_is_replaced_by_the_next_message() {
    let (mut world, mut alice, mut bob) = acquainted();
    damage(&mut alice, SESSIONS);
    alice.say(&mut world.server, &bob.user(), "in a new session");
    assert_eq!(bob.texts(&mut world.server), ["in a new session"]);
    bob.say(&mut world.server, &alice.user(), "read");
    assert_eq!(alice.texts(&mut world.server), ["read"]);
    assert_eq!(alice.store.count(SESSIONS), 1, "nothing of it is left");
    assert_eq!(alice.store.count(COLD), 0);
}

/// One half of it is that of an earlier state.
#[test]
fn halves_that_do_not_fit_are_a_damaged_session() {
    let (mut world, mut alice, mut bob) = acquainted();
    // Something is missing: there is a cold half.
    for text in ["lost", "arrives"] {
        bob.say(&mut world.server, &alice.user(), text);
    }
    let messages = world.server.take(&alice.address());
    alice.device.receive(&messages[1], None).unwrap();
    let cold: Vec<_> = alice.store.records().into_values().filter(|record| record.id.table == COLD).collect();
    assert_eq!(cold.len(), 1);
    alice.device.receive(&messages[0], None).unwrap();
    alice.store.damage(COLD, |value| value.clone_from(&cold[0].value));
    alice.restart();
    let refused = alice.device.receive(&messages[1], Some(&bob.user()));
    assert!(matches!(refused, Err(DeviceError::Message(_))), "{refused:?}");
    alice.say(&mut world.server, &bob.user(), "in a new session");
    assert_eq!(bob.texts(&mut world.server), ["in a new session"]);
}

/// The peer begins anew, since it is not answered.
#[test]
fn a_new_first_message_is_read_beside_a_damaged_session() {
    let (mut world, mut alice, mut bob) = acquainted();
    damage(&mut alice, SESSIONS);
    bob.store.damage(SESSIONS, |value| value[30] ^= 1);
    bob.restart();
    bob.say(&mut world.server, &alice.user(), "a new one");
    assert_eq!(alice.texts(&mut world.server), ["a new one"]);
    alice.say(&mut world.server, &bob.user(), "and its answer");
    assert_eq!(bob.texts(&mut world.server), ["and its answer"]);
}

#[test]
fn a_damaged_session_with_ones_own_device_stops_nothing() {
    let (mut world, mut alice, mut bob) = acquainted();
    let mut second = link(&mut alice, &mut world.server);
    alice.say(&mut world.server, &bob.user(), "sessions everywhere");
    assert_eq!(second.texts(&mut world.server), ["> sessions everywhere"]);
    second.say(&mut world.server, &bob.user(), "answered");
    assert_eq!(alice.texts(&mut world.server), ["> answered"]);
    damage(&mut alice, SESSIONS);
    alice.device.set_trust(&bob.user(), Trust::Verified).unwrap();
    alice.device.maintain().unwrap();
    alice.say(&mut world.server, &bob.user(), "to both");
    assert!(second.texts(&mut world.server).contains(&"> to both".to_owned()));
    assert!(bob.texts(&mut world.server).contains(&"to both".to_owned()));
    // Out it goes, whatever is damaged.
    damage(&mut alice, SESSIONS);
    alice.device.unlink(&second.address().device).unwrap();
    assert_eq!(alice.device.user_info(&alice.user()).unwrap().unwrap().devices.len(), 1);
}

#[test]
fn who_has_a_damaged_record_can_be_forgotten() {
    for table in [SESSIONS, PEERS, USERS] {
        let (mut world, mut alice, mut bob) = acquainted();
        if table == USERS {
            // The first is of the user itself.
            alice.store.damage_one(USERS, 1);
            alice.restart();
        } else {
            damage(&mut alice, table);
        }
        alice.device.forget(&bob.user()).unwrap();
        assert_eq!(alice.device.user_info(&bob.user()).unwrap(), None);
        if table == USERS {
            // Which devices were Bob's, nobody knows any more.
            assert_eq!(alice.store.count(PEERS), 1);
        } else {
            assert_eq!(alice.store.count(PEERS), 0);
            bob.publish(&mut world.server);
            alice.say(&mut world.server, &bob.user(), "as new");
            assert_eq!(bob.texts(&mut world.server), ["as new"]);
        }
    }
}

#[test]
fn listings_go_on_behind_a_damaged_record_and_maintaining_clears_it() {
    let (mut world, mut alice, mut bob) = acquainted();
    for text in ["one", "two", "three"] {
        alice.say(&mut world.server, &bob.user(), text);
        for message in world.server.take(&bob.address()) {
            bob.device.receive(&message, None).unwrap();
        }
    }
    for text in ["one", "two", "three"] {
        alice.device.send(&bob.user(), text.as_bytes()).unwrap();
    }
    bob.store.damage_one(INBOX, 1);
    alice.store.damage_one(OUTBOX, 1);
    let inbox: Vec<_> = bob.device.inbox().collect();
    assert!(matches!(inbox[1], Err(DeviceError::Damaged)), "{inbox:?}");
    let good: Vec<_> = inbox.into_iter().flatten().collect();
    assert_eq!(texts(&good), ["one", "three"]);
    assert_eq!(alice.device.outbox().filter(Result::is_ok).count(), 2);
    // It is gone, and that is told.
    assert_eq!(bob.device.maintain().unwrap().damaged, 1);
    assert_eq!(bob.device.inbox().map(Result::unwrap).count(), 2);
    assert_eq!(alice.device.maintain().unwrap().damaged, 1);
    assert_eq!(alice.device.outbox().map(Result::unwrap).count(), 2);
    assert_eq!((bob.device.maintain().unwrap().damaged, alice.device.maintain().unwrap().damaged), (0, 0));
}

#[test]
fn maintaining_clears_what_does_not_open() {
    let (mut world, mut alice, mut bob) = acquainted();
    let mut carol = Phone::new(&world.clock, &mut world.server);
    let contacts = alice.store.count(USERS);
    alice.say(&mut world.server, &bob.user(), "not acknowledged");
    alice.device.provide(&world.server.list(&carol.user()).unwrap()).unwrap();
    let bundle = world.server.bundle(&carol.address());
    alice.device.provide_bundle(&carol.address(), bundle.as_deref()).unwrap();
    let new = Link::begin(TestStore::default(), world.clock.config()).unwrap();
    alice.device.offer_link(&new.code()).unwrap();
    for (table, count) in [(BUNDLES, 1), (RESEND, 1), (LINKS, 1), (PEERS, 1)] {
        damage(&mut alice, table);
        let tasks = alice.device.maintain().unwrap();
        assert_eq!((tasks.damaged, alice.store.count(table)), (count, 0), "table {table}");
    }
    // Of users, too; that of its own user is all there is of the list.
    alice.store.damage_one(USERS, contacts);
    alice.restart();
    let backup = alice.device.backup(&BackupLock::Key(&RecoveryKey::generate().unwrap()));
    assert!(backup.is_ok(), "{backup:?}");
    assert_eq!(alice.device.maintain().unwrap().damaged, 1);
    assert_eq!(alice.store.count(USERS), contacts);
    alice.say(&mut world.server, &carol.user(), "as new");
    assert_eq!(carol.texts(&mut world.server), ["as new"]);
    world.clock.advance(DAY);
    alice.say(&mut world.server, &bob.user(), "as new");
    assert_eq!(bob.texts(&mut world.server), ["not acknowledged", "as new"]);
}

/// A fetched bundle that does not open is fetched once more.
#[test]
fn a_damaged_bundle_is_none() {
    let (mut world, mut alice, _) = acquainted();
    let mut carol = Phone::new(&world.clock, &mut world.server);
    alice.device.provide(&world.server.list(&carol.user()).unwrap()).unwrap();
    let bundle = world.server.bundle(&carol.address());
    alice.device.provide_bundle(&carol.address(), bundle.as_deref()).unwrap();
    damage(&mut alice, BUNDLES);
    alice.say(&mut world.server, &carol.user(), "hello");
    assert_eq!(carol.texts(&mut world.server), ["hello"]);
}

/// Somebody has made a new device in a store that is still open: nothing of that opens under the key of before.
#[test]
fn nothing_is_deleted_under_a_wrong_key() {
    let (mut world, mut alice, mut bob) = acquainted();
    alice.say(&mut world.server, &bob.user(), "one");
    let message = world.server.take(&bob.address()).remove(0);
    bob.device.receive(&message, None).unwrap();
    bob.store.damage_one(INBOX, 0);
    bob.store.damage(0, |value| value[30] ^= 1);
    let before = bob.store.records();
    assert!(matches!(bob.device.maintain(), Err(DeviceError::WrongKey)));
    assert!(bob.store.records() == before);
}

/// A store that fails is no damage.
#[test]
fn nothing_is_deleted_because_the_store_fails() {
    let (_, mut alice, bob) = acquainted();
    let before = alice.store.records();
    for call in 0..12 {
        alice.store.fail_at(alice.store.calls() + call, Fail::Before);
        assert!(alice.device.maintain().is_err() || alice.device.forget(&bob.user()).is_err());
        assert!(alice.store.records() == before);
        alice.restart();
    }
}

/// A device is taken out whose record does not open: the other ones of its user stay that user's.
#[test]
fn a_damaged_device_takes_no_other_one_along() {
    let (mut world, mut alice, mut bob) = acquainted();
    let second = link(&mut bob, &mut world.server);
    bob.say(&mut world.server, &alice.user(), "I have another one");
    alice.poll(&mut world.server);
    alice.say(&mut world.server, &bob.user(), "to both");
    bob.device.unlink(&second.address().device).unwrap();
    bob.publish(&mut world.server);
    assert_eq!(alice.store.count(PEERS), 2);
    alice.device.send(&bob.user(), b"waits").unwrap();
    alice.store.damage_one(PEERS, 1);
    alice.restart();
    alice.device.provide(&world.server.list(&bob.user()).unwrap()).unwrap();
    assert_eq!(alice.store.count(PEERS), 1);
    let waiting: Vec<_> = alice.device.outbox().map(|out| out.unwrap().to).collect();
    assert_eq!(waiting, [bob.address()], "what is for the other one");
    alice.device.forget(&bob.user()).unwrap();
    assert_eq!(alice.store.count(PEERS), 0);
}

/// What does not open is passed over; a store that fails is the end.
#[test]
fn a_listing_ends_where_the_store_fails() {
    let (_, mut alice, bob) = acquainted();
    alice.device.send(&bob.user(), b"waits").unwrap();
    alice.store.fail_at(alice.store.calls(), Fail::Before);
    let listed: Vec<_> = alice.device.outbox().take(3).collect();
    assert!(matches!(listed[..], [Err(DeviceError::Store(_))]), "{listed:?}");
    alice.restart();
    assert_eq!(alice.device.outbox().map(Result::unwrap).count(), 1);
}

/// What Alice has of one of Bob's devices is damaged, and the other one begins anew.
#[test]
fn a_damaged_device_does_not_keep_the_others_out() {
    let (mut world, mut alice, mut bob) = acquainted();
    let mut second = link(&mut bob, &mut world.server);
    second.say(&mut world.server, &alice.user(), "from the second");
    assert_eq!(alice.texts(&mut world.server), ["from the second"]);
    assert_eq!(alice.store.count(PEERS), 2);
    alice.store.damage_one(PEERS, 1);
    alice.restart();
    bob.store.damage(SESSIONS, |value| value[30] ^= 1);
    bob.restart();
    bob.say(&mut world.server, &alice.user(), "anew");
    assert_eq!(alice.texts(&mut world.server), ["anew"]);
}

/// What was kept for being asked for is damaged when it is.
#[test]
fn what_is_asked_for_and_damaged_is_gone() {
    let (mut world, mut alice, mut bob) = acquainted();
    alice.say(&mut world.server, &bob.user(), "lost");
    world.server.take(&bob.address());
    alice.say(&mut world.server, &bob.user(), "arrives");
    assert_eq!(bob.texts(&mut world.server), ["arrives"]);
    world.clock.advance(61);
    damage(&mut alice, RESEND);
    bob.say(&mut world.server, &alice.user(), "what did you say?");
    alice.poll(&mut world.server);
    alice.say(&mut world.server, &bob.user(), "on");
    let received = bob.poll(&mut world.server);
    assert_eq!((texts(&received), events(&received)), (vec!["on".to_owned()], vec![&Event::Lost(1)]));
}

/// A session was stored by a later release: whether a message is of it nobody can say, so it is kept.
#[test]
fn a_session_of_a_later_release_is_not_passed_over() {
    let (mut world, mut alice, mut bob) = acquainted();
    bob.say(&mut world.server, &alice.user(), "for later");
    let message = world.server.take(&alice.address()).remove(0);
    let version = alice.store.records();
    alice.store.damage(SESSIONS, |value| value[0] += 1);
    alice.restart();
    for hint in [None, Some(&bob.user())] {
        let error = alice.device.receive(&message, hint).unwrap_err();
        assert!(
            matches!(error, DeviceError::UnsupportedVersion) && error.keeps_message(),
            "{hint:?}: {error:?}"
        );
    }
    version.values().for_each(|record| alice.store.repair(record));
    alice.restart();
    assert_eq!(texts(&alice.device.receive(&message, None).unwrap()), ["for later"]);
}

/// Of what has to be uploaded nothing is known any more: it is shown again.
#[test]
fn a_damaged_note_of_what_is_published_is_cleared() {
    let (mut world, mut alice, _) = acquainted();
    assert!(!alice.device.maintain().unwrap().publish);
    damage(&mut alice, PUBLISHED);
    assert!(matches!(alice.device.publication(0), Err(DeviceError::Damaged)));
    let tasks = alice.device.maintain().unwrap();
    assert_eq!((tasks.damaged, tasks.publish), (1, true));
    alice.publish(&mut world.server);
    let tasks = alice.device.maintain().unwrap();
    assert_eq!((tasks.damaged, tasks.publish), (0, false));
    let mut carol = Phone::new(&world.clock, &mut world.server);
    carol.say(&mut world.server, &alice.user(), "hello");
    assert_eq!(alice.texts(&mut world.server), ["hello"]);
}

/// New prekeys would not be those that the server has: who writes to these would write to nobody. It is said instead, and
/// conversations go on.
#[test]
fn damaged_prekeys_are_not_made_anew() {
    let (mut world, mut alice, mut bob) = acquainted();
    let mut carol = Phone::new(&world.clock, &mut world.server);
    let first = carol.try_say(&mut world.server, &alice.user(), "hello").unwrap().remove(0);
    damage(&mut alice, PREKEYS);
    let before = alice.store.records();
    assert!(matches!(alice.device.receive(&first.bytes, None), Err(DeviceError::Damaged)));
    assert!(matches!(alice.device.publication(0), Err(DeviceError::Damaged)));
    assert!(matches!(alice.device.maintain(), Err(DeviceError::Damaged)));
    assert!(alice.store.records() == before);
    alice.say(&mut world.server, &bob.user(), "one");
    bob.say(&mut world.server, &alice.user(), "two");
    assert_eq!(
        (bob.texts(&mut world.server), alice.texts(&mut world.server)),
        (vec!["one".into()], vec!["two".into()])
    );
}

/// Not even for another user's.
#[test]
fn a_device_that_does_not_know_who_it_is_does_not_open() {
    for table in [ME, IDENTITY] {
        let (world, alice, _) = acquainted();
        alice.store.damage(table, |value| value[30] ^= 1);
        let before = alice.store.records();
        let opened = Device::open(alice.store.clone(), world.clock.config());
        assert!(matches!(opened, Err(DeviceError::Damaged)), "{opened:?}");
        let created = Device::create(alice.store.clone(), world.clock.config());
        assert!(matches!(created, Err(DeviceError::Occupied)), "{created:?}");
        assert!(alice.store.records() == before);
    }
}

/// What is known of Bob does not open, and is deleted: he is met as somebody new, and nothing that he writes is swallowed.
#[test]
fn a_user_whose_record_was_damaged_is_met_again() {
    let (mut world, mut alice, mut bob) = acquainted();
    alice.store.damage_one(USERS, 1);
    alice.restart();
    assert_eq!(alice.device.maintain().unwrap().damaged, 1);
    assert!(alice.device.user_info(&bob.user()).unwrap().is_none());
    bob.say(&mut world.server, &alice.user(), "hello?");
    bob.say(&mut world.server, &alice.user(), "are you there?");
    let received = alice.poll(&mut world.server);
    assert_eq!(texts(&received), ["hello?", "are you there?"]);
    assert_eq!(events(&received), [&Event::NewUser, &Event::NewerList { of: bob.user() }]);
    alice.say(&mut world.server, &bob.user(), "who are you?");
    assert_eq!(bob.texts(&mut world.server), ["who are you?"]);
    // What there is of his device belongs to him again.
    alice.device.forget(&bob.user()).unwrap();
    assert_eq!([PEERS, SESSIONS].map(|table| alice.store.count(table)), [0, 0]);
}

/// What is known of Bob was damaged, and his newest list is fetched: his stolen tablet is not in it. What it writes is not shown, and
/// nothing leaves for it.
#[test]
fn a_removed_device_is_out_whatever_was_damaged() {
    let (mut world, mut alice, mut bob) = acquainted();
    let mut tablet = link(&mut bob, &mut world.server);
    tablet.say(&mut world.server, &alice.user(), "from the tablet");
    alice.poll(&mut world.server);
    alice.say(&mut world.server, &bob.user(), "to both");
    tablet.poll(&mut world.server);
    // One waits.
    alice.device.send(&bob.user(), b"waits").unwrap();
    alice.store.damage_one(USERS, 1);
    alice.restart();
    assert_eq!(alice.device.maintain().unwrap().damaged, 1);
    bob.device.unlink(&tablet.address().device).unwrap();
    bob.publish(&mut world.server);
    alice.device.provide(&world.server.list(&bob.user()).unwrap()).unwrap();
    assert!(alice.device.outbox().all(|out| out.unwrap().to != tablet.address()));
    tablet.device.send(&alice.user(), b"I am Bob").unwrap();
    let out: Vec<_> = tablet.device.outbox().map(Result::unwrap).collect();
    let to = alice.address();
    let received: Vec<_> =
        out.iter().filter(|out| out.to == to).map(|out| alice.device.receive(&out.bytes, None)).collect();
    let [Ok(received)] = &received[..] else { panic!("{received:?}") };
    assert_eq!(events(received), [&Event::ListRefused(Refusal::NotInList)]);
    // Nor is it a device of Bob's any more; his phone is.
    assert_eq!(alice.store.count(PEERS), 1);
    bob.say(&mut world.server, &alice.user(), "it was stolen");
    assert_eq!(alice.texts(&mut world.server), ["it was stolen"]);
}

/// Met again after the damage, then a list that takes a device out: that is told, with what it had not acknowledged.
#[test]
fn a_device_that_goes_is_told_also_after_damage() {
    let (mut world, mut alice, mut bob) = acquainted();
    let mut tablet = link(&mut bob, &mut world.server);
    tablet.say(&mut world.server, &alice.user(), "from the tablet");
    alice.poll(&mut world.server);
    alice.say(&mut world.server, &bob.user(), "to both");
    tablet.poll(&mut world.server);
    let id = alice.say(&mut world.server, &bob.user(), "not read by the tablet")[0].message.unwrap();
    alice.store.damage_one(USERS, 1);
    alice.restart();
    alice.device.maintain().unwrap();
    tablet.say(&mut world.server, &alice.user(), "met again");
    assert_eq!(alice.texts(&mut world.server), ["met again"]);
    bob.device.unlink(&tablet.address().device).unwrap();
    bob.publish(&mut world.server);
    let shown = alice.device.provide(&world.server.list(&bob.user()).unwrap()).unwrap();
    let removed = vec![tablet.address().device];
    let [Event::DevicesChanged { removed: gone, unacknowledged, .. }] = events(&shown)[..] else {
        panic!("{shown:?}")
    };
    assert_eq!((gone, unacknowledged), (&removed, &vec![id]));
}
