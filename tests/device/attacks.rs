//! The rows of the attack table that are the device layer's: what a server, a thief, a stranger or a restored backup do.

use std::collections::BTreeSet;

use subrosa::{
    BackupLock, Config, Device, DeviceError, Draft, Error, Event, Link, Received, RecoveryKey, Refusal,
    Settings, Trust,
};

use crate::common::world::{
    DAY, Phone, Server, TestClock, TestStore, World, acquainted, events, garbage, link, lose_and_ask,
    table::{COLD, INBOX, OUTBOX, PEERS, RESEND, SESSIONS, USERS},
    texts,
};

#[test]
fn a05_a_first_message_is_read_once_also_after_a_restart() {
    let (clock, mut server) = (TestClock::default(), Server::default());
    let mut alice = Phone::new(&clock, &mut server);
    let mut bob = Phone::new(&clock, &mut server);
    for drained in [false, true] {
        if drained {
            server.drain(&bob.address());
            alice.device.forget(&bob.user()).unwrap();
        }
        alice.say(&mut server, &bob.user(), "once");
        let message = server.take(&bob.address()).remove(0);
        assert_eq!(texts(&bob.device.receive(&message, None).unwrap()), ["once"]);
        for _ in 0..2 {
            let again = bob.device.receive(&message, None);
            assert!(matches!(again, Err(DeviceError::Message(Error::Duplicate))), "{again:?}");
            bob.restart();
        }
        // Even if nothing is known of its sender any more.
        bob.device.forget(&alice.user()).unwrap();
        let before = bob.store.records();
        let again = bob.device.receive(&message, None);
        let expected = if drained { Error::Replayed } else { Error::UnknownPreKey };
        assert!(matches!(again, Err(DeviceError::Message(error)) if error == expected), "{again:?}");
        assert!(bob.store.records() == before);
    }
}

/// Every byte of a message is altered: a typed error, nothing to send, and no change but a mark.
#[test]
fn a30_nothing_unauthentic_changes_or_answers_anything() {
    let (mut world, mut alice, mut bob) = acquainted();
    alice.say(&mut world.server, &bob.user(), "genuine");
    let message = world.server.take(&bob.address()).remove(0);
    let before = bob.store.records();
    let mut marked = before.clone();
    for position in 0..message.len() {
        for hint in [None, Some(alice.user())] {
            let mut altered = message.clone();
            altered[position] ^= 1;
            assert!(bob.device.receive(&altered, hint.as_ref()).is_err(), "{position}");
            assert!(bob.device.receive(&message[..position], hint.as_ref()).is_err(), "{position}");
            let after = bob.store.records();
            let changed = after.iter().filter(|(id, record)| before.get(id) != Some(record)).count();
            assert!(changed <= 1 && after.len() == before.len(), "more than a mark: {position}");
            assert!(marked == before || marked == after, "marked twice: {position}");
            marked = after;
        }
    }
    assert!(marked != before);
    assert_eq!(bob.device.outbox().count() + bob.device.inbox().count(), 0);
    assert_eq!(texts(&bob.device.receive(&message, None).unwrap()), ["genuine"]);
}

/// The server breaks every message for a week: no more than two new sessions a day, and none without a send.
#[test]
fn a31_a43_a_server_cannot_force_resets() {
    let (mut world, mut alice, mut bob) = acquainted();
    let mut begun = Vec::new();
    for hour in 0..7 * 24_usize {
        alice.say(&mut world.server, &bob.user(), "never arrives");
        for mut message in world.server.take(&bob.address()) {
            let last = message.len() - 1;
            message[last] ^= 1;
            bob.device.receive(&message, Some(&alice.user())).unwrap_err();
        }
        assert_eq!(bob.device.outbox().count(), 0, "nothing is sent in answer");
        // And Bob writes, too.
        let before = world.server.stock(&alice.address());
        bob.say(&mut world.server, &alice.user(), &format!("hour {hour}"));
        let bundles = before - world.server.stock(&alice.address());
        begun.extend(std::iter::repeat_n(hour, bundles));
        assert_eq!(alice.texts(&mut world.server), [format!("hour {hour}")]);
        alice.publish(&mut world.server);
        world.clock.advance(60 * 60);
    }
    assert!(begun.windows(3).all(|three| three[2] - three[0] >= 24), "three in a day: {begun:?}");
    assert!(begun.len() >= 7, "{begun:?}");
    // The server has enough of it.
    alice.say(&mut world.server, &bob.user(), "at last");
    assert!(bob.texts(&mut world.server).contains(&"at last".to_owned()));
}

/// A server damages a message whose sender it wants to know, behind the header: had that an effect on what is fetched
/// later, and from whom, it would be the answer.
#[test]
fn a43_a_message_damaged_behind_its_header_names_nobody() {
    let (mut world, mut alice, mut bob) = acquainted();
    for hint in [None, Some(alice.user())] {
        alice.say(&mut world.server, &bob.user(), "from whom?");
        let mut message = world.server.take(&bob.address()).remove(0);
        // Kind, header; the last 24 bytes are the header's nonce.
        message[1 + 68] ^= 1;
        let before = bob.store.records();
        let refused = bob.device.receive(&message, hint.as_ref());
        assert!(matches!(refused, Err(DeviceError::Message(Error::Unauthentic))), "{refused:?}");
        assert!(bob.store.records() == before, "no mark");
        bob.device.send(&alice.user(), b"no bundle is asked for").unwrap();
    }
}

/// First messages under prekeys that were never published, or damaged, from whoever the server says.
#[test]
fn a43_what_is_no_sign_of_a_broken_session_marks_none() {
    let (mut world, alice, mut bob) = acquainted();
    let mut stranger = Phone::new(&world.clock, &mut world.server);
    stranger.say(&mut world.server, &bob.user(), "hello");
    let first = world.server.take(&bob.address()).remove(0);
    let mut altered = first.clone();
    // In the ciphertext of the KEM.
    altered[200] ^= 1;
    let refused = bob.device.receive(&altered, Some(&alice.user()));
    assert!(matches!(refused, Err(DeviceError::Message(Error::Unauthentic))), "{refused:?}");
    bob.device.send(&alice.user(), b"no bundle is asked for").unwrap();
    // Of a stranger there is no session that could be broken, as far as anybody here has written.
    bob.device.receive(&first, None).unwrap();
    let refused = bob.device.receive(&garbage(), Some(&stranger.user()));
    assert!(matches!(refused, Err(DeviceError::Message(Error::UnknownSession))), "{refused:?}");
    bob.device.provide(&world.server.list(&stranger.user()).unwrap()).unwrap();
    bob.device.send(&stranger.user(), b"no bundle is asked for").unwrap();
}

/// Receiving makes nothing that is sent, whatever is asked for: who delivers to one mailbox and watches the others would
/// see who writes to whom.
#[test]
fn a30_what_is_asked_for_is_not_sent_by_receiving() {
    let (mut world, mut alice, mut bob) = acquainted();
    let ask = |world: &mut World, alice: &mut Phone, bob: &mut Phone| {
        lose_and_ask(world, alice, bob);
        assert_eq!(alice.device.outbox().count(), 0);
    };
    ask(&mut world, &mut alice, &mut bob);
    // With what is sent to that device next, and before it.
    let sent = alice.device.send(&bob.user(), b"next").unwrap();
    assert_eq!(sent.len(), 2);
    alice.push(&mut world.server);
    assert_eq!(bob.texts(&mut world.server), ["lost", "next"]);
    // Or by itself, not before an hour has passed.
    ask(&mut world, &mut alice, &mut bob);
    world.clock.advance(60 * 60 - 1);
    alice.device.maintain().unwrap();
    assert_eq!(alice.device.outbox().count(), 0);
    world.clock.advance(1);
    alice.device.maintain().unwrap();
    alice.push(&mut world.server);
    assert_eq!(bob.texts(&mut world.server), ["lost"]);
    alice.device.maintain().unwrap();
    assert_eq!(alice.device.outbox().count(), 0, "once");
}

/// Nothing is sent by a list that has expired, or to somebody who is blocked: not what was asked for before, either.
#[test]
fn a19_what_is_asked_for_waits_for_a_list_in_force() {
    let (mut world, mut alice, mut bob) = acquainted();
    world.clock.advance(89 * DAY);
    alice.device.maintain().unwrap();
    alice.publish(&mut world.server);
    alice.say(&mut world.server, &bob.user(), "lost");
    world.server.take(&bob.address());
    alice.say(&mut world.server, &bob.user(), "arrives");
    bob.poll(&mut world.server);
    world.clock.advance(61);
    bob.say(&mut world.server, &alice.user(), "what?");
    alice.poll(&mut world.server);
    let waits = |alice: &mut Phone, why| {
        alice.device.maintain().unwrap();
        assert_eq!(alice.device.outbox().count(), 0, "{why}");
    };
    world.clock.advance(2 * DAY);
    waits(&mut alice, "Bob's list has expired");
    bob.device.maintain().unwrap();
    bob.publish(&mut world.server);
    alice.device.provide(&world.server.list(&bob.user()).unwrap()).unwrap();
    alice.device.set_trust(&bob.user(), Trust::Blocked).unwrap();
    waits(&mut alice, "Bob is blocked");
    alice.device.set_trust(&bob.user(), Trust::Unverified).unwrap();
    alice.device.maintain().unwrap();
    alice.push(&mut world.server);
    assert_eq!(bob.texts(&mut world.server), ["lost"]);
}

/// What was asked for comes after a week: it is not lost by coming.
#[test]
fn what_comes_after_a_week_is_shown() {
    let (mut world, mut alice, mut bob) = acquainted();
    alice.say(&mut world.server, &bob.user(), "lost");
    world.server.take(&bob.address());
    alice.say(&mut world.server, &bob.user(), "arrives");
    bob.poll(&mut world.server);
    world.clock.advance(61);
    bob.say(&mut world.server, &alice.user(), "what?");
    alice.poll(&mut world.server);
    let sent = alice.device.send(&bob.user(), b"again").unwrap();
    let resent = alice.device.outbox().map(Result::unwrap).find(|out| out.message != sent[0].message);
    world.clock.advance(8 * DAY);
    let received = bob.device.receive(&resent.unwrap().bytes, None).unwrap();
    assert_eq!((texts(&received), events(&received)), (vec!["lost".to_owned()], vec![]));
}

/// It was given up already when it comes: late, and new.
#[test]
fn what_was_given_up_is_shown_when_it_comes_after_all() {
    let (mut world, mut alice, mut bob) = acquainted();
    alice.say(&mut world.server, &bob.user(), "late");
    let late = world.server.take(&bob.address()).remove(0);
    alice.say(&mut world.server, &bob.user(), "arrives");
    bob.poll(&mut world.server);
    world.clock.advance(8 * DAY);
    alice.say(&mut world.server, &bob.user(), "a week later");
    assert_eq!(events(&bob.poll(&mut world.server)), [&Event::Lost(1)]);
    let received = bob.device.receive(&late, None).unwrap();
    assert_eq!((texts(&received), events(&received)), (vec!["late".to_owned()], vec![]));
    // Once.
    assert!(matches!(bob.device.receive(&late, None), Err(DeviceError::Message(Error::Duplicate))));
}

#[test]
fn what_was_lost_is_asked_for_and_comes() {
    let (mut world, mut alice, mut bob) = acquainted();
    for text in ["lost 1", "lost 2"] {
        alice.say(&mut world.server, &bob.user(), text);
    }
    world.server.take(&bob.address());
    alice.say(&mut world.server, &bob.user(), "arrives");
    assert_eq!(bob.texts(&mut world.server), ["arrives"]);
    // It could just be late.
    bob.say(&mut world.server, &alice.user(), "at once");
    alice.poll(&mut world.server);
    alice.say(&mut world.server, &bob.user(), "nothing was asked for");
    assert_eq!(bob.texts(&mut world.server), ["nothing was asked for"]);
    world.clock.advance(61);
    bob.say(&mut world.server, &alice.user(), "what did you say?");
    assert_eq!(alice.texts(&mut world.server), ["what did you say?"]);
    alice.say(&mut world.server, &bob.user(), "two things");
    let received = bob.poll(&mut world.server);
    assert_eq!(texts(&received), ["lost 1", "lost 2", "two things"]);
    let resent = |r: &Received| matches!(r.event, Event::Message { resent: true, .. });
    assert_eq!(received.iter().map(resent).collect::<Vec<_>>(), [true, true, false]);
    // Acknowledged, it is not kept any longer.
    bob.say(&mut world.server, &alice.user(), "thanks");
    alice.poll(&mut world.server);
    alice.push(&mut world.server);
    assert_eq!(alice.store.count(RESEND), 0);
}

#[test]
fn what_cannot_be_sent_again_is_reported_lost() {
    let (mut world, mut alice, mut bob) = acquainted();
    let mut settings = Settings::default();
    settings.resend = false;
    alice.device.set_settings(settings).unwrap();
    alice.say(&mut world.server, &bob.user(), "lost");
    world.server.take(&bob.address());
    alice.say(&mut world.server, &bob.user(), "arrives");
    assert_eq!(alice.store.count(RESEND), 0, "nothing is kept");
    bob.poll(&mut world.server);
    world.clock.advance(61);
    bob.say(&mut world.server, &alice.user(), "what?");
    alice.poll(&mut world.server);
    assert_eq!(alice.device.outbox().count(), 0, "there is nothing to send by itself");
    alice.say(&mut world.server, &bob.user(), "gone");
    let received = bob.poll(&mut world.server);
    assert_eq!((texts(&received), events(&received)), (vec!["gone".to_owned()], vec![&Event::Lost(1)]));
}

/// A week-old disk is put back: nothing is used twice, and the conversation goes on within two messages.
#[test]
fn a16_a36_a_restored_snapshot_heals() {
    for (writes_first, hinted) in [(true, true), (false, true), (true, false)] {
        let (mut world, mut alice, mut bob) = acquainted();
        let snapshot = alice.store.snapshot();
        for day in 0..7 {
            alice.say(&mut world.server, &bob.user(), &format!("a{day}"));
            bob.poll(&mut world.server);
            bob.say(&mut world.server, &alice.user(), &format!("b{day}"));
            alice.poll(&mut world.server);
            world.clock.advance(DAY);
            alice.device.maintain().unwrap();
            alice.publish(&mut world.server);
        }
        alice.put_back(&snapshot);
        let (a, b) = (alice.user(), bob.user());
        let hint = |user| hinted.then_some(user);
        let poll = |phone: &mut Phone, server: &mut Server, from| {
            let mut all = Vec::new();
            for message in server.take(&phone.address()) {
                all.extend(phone.device.receive(&message, hint(from)).unwrap_or_default());
            }
            phone.push(server);
            texts(&all)
        };
        let mut read = Vec::new();
        for round in 0..4 {
            if writes_first || round > 0 {
                alice.say(&mut world.server, &b, &format!("from alice {round}"));
                read.extend(poll(&mut bob, &mut world.server, &a));
            }
            alice.publish(&mut world.server);
            bob.say(&mut world.server, &a, &format!("from bob {round}"));
            read.extend(poll(&mut alice, &mut world.server, &b));
            world.clock.advance(120);
        }
        if hinted {
            for text in ["from alice 2", "from bob 2", "from alice 3", "from bob 3"] {
                assert!(read.contains(&text.to_owned()), "{text} of {read:?}");
            }
        }
        let mut log = world.server.log.clone();
        log.sort();
        log.dedup();
        assert_eq!(log.len(), world.server.log.len(), "no ciphertext twice");
    }
}

/// The sequence of a restored store would pass for messages that arrived: it gets a new one.
#[test]
fn a16_a_number_used_twice_is_refused_and_heals() {
    let (mut world, mut alice, mut bob) = acquainted();
    let snapshot = alice.store.snapshot();
    alice.say(&mut world.server, &bob.user(), "only Bob knows");
    bob.poll(&mut world.server);
    alice.put_back(&snapshot);
    alice.say(&mut world.server, &bob.user(), "under the same number");
    let message = world.server.take(&bob.address()).remove(0);
    let rolled_back = bob.device.receive(&message, None);
    assert!(matches!(rolled_back, Err(DeviceError::Message(Error::PeerRolledBack))), "{rolled_back:?}");
    // Bob's next message begins anew, and tells Alice what it has of hers.
    bob.say(&mut world.server, &alice.user(), "you were put back");
    let received = alice.poll(&mut world.server);
    assert_eq!(texts(&received), ["you were put back"]);
    alice.say(&mut world.server, &bob.user(), "so I was");
    let received = bob.poll(&mut world.server);
    assert_eq!(texts(&received), ["so I was"]);
    // What was sent under the number does not come any more: Bob has one with it.
    world.clock.advance(120);
    bob.say(&mut world.server, &alice.user(), "anything else?");
    alice.poll(&mut world.server);
    assert_eq!(alice.device.outbox().count(), 0);
}

/// Who was put back learns it from the first acknowledgement of what it does not remember.
#[test]
fn a16_who_was_put_back_gets_to_know() {
    let (mut world, mut alice, mut bob) = acquainted();
    alice.say(&mut world.server, &bob.user(), "remembered");
    bob.poll(&mut world.server);
    let snapshot = alice.store.snapshot();
    for text in ["forgotten", "forgotten, too"] {
        alice.say(&mut world.server, &bob.user(), text);
        assert_eq!(bob.texts(&mut world.server), [text]);
    }
    alice.put_back(&snapshot);
    bob.say(&mut world.server, &alice.user(), "I have both");
    let received = alice.poll(&mut world.server);
    assert_eq!(texts(&received), ["I have both"]);
    assert_eq!(events(&received), [&Event::RolledBack]);
}

#[test]
fn a19_lists_forged_old_forked_or_expired_are_refused() {
    let (mut world, mut alice, mut bob) = acquainted();
    let old = world.server.list(&alice.user()).unwrap();
    let before = alice.store.snapshot();
    let second = link(&mut alice, &mut world.server);
    let new = world.server.list(&alice.user()).unwrap();
    let mut forged = new.clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let refusal = |bob: &mut Phone, list: &[u8]| match bob.device.provide(list) {
        Err(DeviceError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    };
    assert_eq!(refusal(&mut bob, &forged), Refusal::Forged);
    bob.device.provide(&new).unwrap();
    assert_eq!(refusal(&mut bob, &old), Refusal::Older);
    // The newest once more is no news; an older one of one's own is what the server has not got the newest in place of.
    let known = bob.store.records();
    assert_eq!(bob.device.provide(&new).unwrap(), []);
    assert!(bob.store.records() == known, "nothing is written for it");
    assert_eq!(alice.device.provide(&old).unwrap(), []);
    assert_eq!(alice.device.user_info(&alice.user()).unwrap().unwrap().devices.len(), 2);
    // Alice's store is put back, and links another device under the same number.
    let mut rolled_back = Phone {
        device: Device::open(before.clone(), world.clock.config()).unwrap(),
        store: before,
        clock: world.clock.clone(),
    };
    let mut other_server = Server::default();
    link(&mut rolled_back, &mut other_server);
    assert_eq!(refusal(&mut bob, &other_server.list(&alice.user()).unwrap()), Refusal::Forked);
    alice.device.unlink(&second.address().device).unwrap();
    alice.publish(&mut world.server);
    world.clock.advance(91 * DAY);
    let newest = world.server.list(&alice.user()).unwrap();
    assert_eq!(refusal(&mut bob, &newest), Refusal::Expired);
    // The owner renews it.
    alice.device.maintain().unwrap();
    alice.publish(&mut world.server);
    bob.device.provide(&world.server.list(&alice.user()).unwrap()).unwrap();
}

/// There are two lists of one version, since a root key was used twice. Bob was shown the one that Alice does not have:
/// each of the two finds out by the other's next message, whoever writes first; and by every further one.
#[test]
fn a19_two_lists_of_one_version_show_to_both() {
    for first in [0, 1] {
        let (mut world, mut alice, mut bob) = acquainted();
        let before = alice.store.snapshot();
        link(&mut alice, &mut world.server);
        let mut put_back = Phone {
            device: Device::open(before.clone(), world.clock.config()).unwrap(),
            store: before,
            clock: world.clock.clone(),
        };
        let mut other_server = Server::default();
        link(&mut put_back, &mut other_server);
        bob.device.provide(&other_server.list(&alice.user()).unwrap()).unwrap();
        let users = [alice.user(), bob.user()];
        let mut phones = [alice, bob];
        for side in [first, 1 - first, first, 1 - first] {
            let server = &mut world.server;
            // Of the devices of the other list there is no bundle here.
            while let Err(error) = phones[side].device.send(&users[1 - side], b"how are you?") {
                let DeviceError::Missing(missing) = error else { panic!("{error}") };
                for address in &missing.bundles {
                    let bundle = server.bundle(address);
                    phones[side].device.provide_bundle(address, bundle.as_deref()).unwrap();
                }
            }
            phones[side].push(server);
            let received = phones[1 - side].poll(server);
            assert_eq!(texts(&received), ["how are you?"], "it is still somebody known");
            let forked = Event::ListRefused(Refusal::Forked);
            assert!(events(&received).contains(&&forked), "to {}: {received:?}", 1 - side);
        }
    }
}

#[test]
fn an_expired_list_is_fetched_before_sending() {
    let (mut world, mut alice, mut bob) = acquainted();
    world.clock.advance(91 * DAY);
    let Err(DeviceError::Missing(missing)) = alice.device.send(&bob.user(), b"?") else { panic!() };
    assert_eq!(missing.lists, [bob.user()]);
    bob.device.maintain().unwrap();
    bob.publish(&mut world.server);
    alice.device.maintain().unwrap();
    alice.say(&mut world.server, &bob.user(), "renewed");
    assert_eq!(bob.texts(&mut world.server), ["renewed"]);
}

/// The server shows Bob an old list of Alice's; with her next message he knows.
#[test]
fn a19_a_withheld_list_shows_with_one_message() {
    let (mut world, mut alice, mut bob) = acquainted();
    let old = world.server.list(&alice.user()).unwrap();
    let mut second = link(&mut alice, &mut world.server);
    world.server.set_list(&alice.user(), old);
    second.say(&mut world.server, &bob.user(), "I am new");
    let received = bob.poll(&mut world.server);
    let added = vec![second.address().device];
    assert_eq!(
        events(&received),
        [&Event::DevicesChanged { of: alice.user(), added, removed: vec![], unacknowledged: vec![] }]
    );
    assert_eq!(bob.device.user_info(&alice.user()).unwrap().unwrap().devices.len(), 2);
}

/// Bob's list is withheld from Bob's own second device; Alice's message to it brings it.
#[test]
fn a19_a_list_withheld_from_its_own_user_shows() {
    let (mut world, mut alice, mut bob) = acquainted();
    let mut second = link(&mut bob, &mut world.server);
    let third = link(&mut bob, &mut world.server);
    bob.say(&mut world.server, &alice.user(), "two more");
    alice.poll(&mut world.server);
    world.server.take(&second.address());
    second.say(&mut world.server, &alice.user(), "I know of one less");
    alice.poll(&mut world.server);
    alice.say(&mut world.server, &bob.user(), "there is another");
    let received = second.poll(&mut world.server);
    let added = vec![third.address().device];
    assert_eq!(
        events(&received),
        [&Event::DevicesChanged { of: bob.user(), added, removed: vec![], unacknowledged: vec![] }]
    );
    assert_eq!(texts(&received), ["there is another"]);
}

/// Strangers fill what they may, and friends still get through.
#[test]
fn a46_strangers_are_capped_and_friends_get_through() {
    let (mut world, mut alice, mut bob) = acquainted();
    let mut refused = 0;
    let mut strangers = Vec::new();
    for number in 0..503 {
        let mut stranger = Phone::unpublished(&world.clock);
        stranger.say(&mut world.server, &bob.user(), "buy!");
        let message = world.server.take(&bob.address()).remove(0);
        match bob.device.receive(&message, None) {
            Ok(received) => assert_eq!(texts(&received), ["buy!"], "{number}"),
            Err(DeviceError::TooManyStrangers) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        if number < 2 {
            stranger.publish(&mut world.server);
            strangers.push(stranger);
        }
    }
    // Alice was answered.
    assert_eq!(refused, 3);
    alice.say(&mut world.server, &bob.user(), "it is me");
    assert_eq!(bob.texts(&mut world.server), ["it is me"]);
    // One of them is forgotten, one is answered: two more get in.
    bob.device.forget(&strangers[0].user()).unwrap();
    bob.say(&mut world.server, &strangers[1].user(), "no, thanks");
    for (number, admitted) in [(0, true), (1, true), (2, false)] {
        let mut stranger = Phone::unpublished(&world.clock);
        stranger.say(&mut world.server, &bob.user(), "buy!");
        let message = world.server.take(&bob.address()).remove(0);
        assert_eq!(bob.device.receive(&message, None).is_ok(), admitted, "{number}");
    }
}

/// A new device under a stolen root key asks for what was sent to the old one.
#[test]
fn a44_nothing_old_is_sent_to_a_new_device() {
    let (mut world, mut alice, mut bob) = acquainted();
    alice.say(&mut world.server, &bob.user(), "for the first device");
    world.server.take(&bob.address());
    let mut thief = link(&mut bob, &mut world.server);
    world.clock.advance(120);
    thief.say(&mut world.server, &alice.user(), "hello from bob");
    alice.poll(&mut world.server);
    alice.say(&mut world.server, &bob.user(), "to both");
    world.clock.advance(120);
    assert_eq!(texts(&thief.poll(&mut world.server)), ["to both"]);
    thief.say(&mut world.server, &alice.user(), "more?");
    alice.poll(&mut world.server);
    alice.say(&mut world.server, &bob.user(), "no");
    assert_eq!(thief.texts(&mut world.server), ["no"]);
}

#[test]
fn a26_nothing_printed_shows_content_or_keys() {
    let (mut world, mut alice, bob) = acquainted();
    let sent = alice.device.send(&bob.user(), b"secret content").unwrap();
    let shown = format!("{:?} {sent:?} {:?}", alice.device, alice.clock.config());
    assert!(!shown.contains("secret content"));
    for part in ["Device { address: ", "Outgoing { id: OutboxId(", ", bytes: ", "Config([secret])"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let key = RecoveryKey::generate().unwrap();
    let locks = [BackupLock::Passphrase("correct horse"), BackupLock::Key(&key)];
    assert_eq!(format!("{key:?} {locks:?}"), "RecoveryKey([secret]) [Passphrase([secret]), Key([secret])]");
    let user = bob.user();
    let draft = Draft::new(&user, b"secret content");
    assert!(format!("{draft:?}").starts_with("Draft { to: "), "{draft:?}");
    let link = Link::begin(TestStore::default(), alice.clock.config()).unwrap();
    assert!(format!("{link:?}").starts_with("Link { identity_key: "), "{link:?}");
    alice.push(&mut world.server);
    let mut bob = bob;
    let received = bob.poll(&mut world.server);
    let shown = format!("{received:?}");
    assert!(shown.contains("event: Message { id: ") && shown.contains(", 14 bytes, "), "{shown}");
    // As text, as list of bytes, as hexadecimal.
    for form in ["secret", "115, 101, 99", "736563726574"] {
        assert!(!shown.contains(form), "{shown}");
    }
}

/// The same things have other names under another key: who sees two stores does not see what they have in common.
#[test]
fn names_of_records_are_of_the_key() {
    let (world, alice, bob) = acquainted();
    let names = |store: &TestStore| {
        store.records().into_keys().map(|id| (id.table, id.name)).collect::<BTreeSet<_>>()
    };
    let store = TestStore::default();
    let other = subrosa::StorageKey::from_bytes(&[9; 32]);
    let clock = world.clock.clone();
    Device::create(store.clone(), Config::new(&other, move || clock.now())).unwrap();
    // What every device has.
    let common: BTreeSet<_> = names(&alice.store).intersection(&names(&bob.store)).copied().collect();
    assert!(common.len() > 2, "under one key: {common:?}");
    assert!(names(&store).len() > 2);
    // But for the check of the key, which has to be found without it.
    let known: Vec<_> = names(&store).intersection(&names(&alice.store)).copied().collect();
    assert_eq!(known.iter().map(|(table, _)| *table).collect::<Vec<_>>(), [0]);
}

#[test]
fn a_wrong_key_and_damaged_records_are_told_apart() {
    let (_, alice, _) = acquainted();
    let other = subrosa::StorageKey::from_bytes(&[9; 32]);
    let opened = Device::open(alice.store.clone(), &other);
    assert!(matches!(opened, Err(DeviceError::WrongKey)), "{opened:?}");
    let opened = Device::open(TestStore::default(), &other);
    assert!(matches!(opened, Err(DeviceError::NoDevice)), "{opened:?}");
    let made = Device::create(alice.store.clone(), &other);
    assert!(matches!(made, Err(DeviceError::Occupied)), "{made:?}");
    // What the store is known by, the device, its keys: of a later release.
    for table in [0, 1, 2] {
        let later = alice.store.snapshot();
        later.damage(table, |value| value[0] += 1);
        let opened = Device::open(later, alice.clock.config());
        assert!(matches!(opened, Err(DeviceError::UnsupportedVersion)), "{table}: {opened:?}");
    }
    alice.store.damage(2, |value| value[30] ^= 1);
    let opened = Device::open(alice.store.clone(), alice.clock.config());
    assert!(matches!(opened, Err(DeviceError::Damaged)), "{opened:?}");
}

/// Who can write the store, but does not have its key, puts one record in another's place.
#[test]
fn records_do_not_swap() {
    let (mut world, mut alice, mut bob) = acquainted();
    let mut carol = Phone::new(&world.clock, &mut world.server);
    carol.say(&mut world.server, &alice.user(), "me, too");
    alice.say(&mut world.server, &carol.user(), "and you");
    for message in world.server.take(&alice.address()) {
        alice.device.receive(&message, None).unwrap();
    }
    bob.say(&mut world.server, &alice.user(), "in the inbox");
    for message in world.server.take(&alice.address()) {
        alice.device.receive(&message, None).unwrap();
    }
    let (b, c) = (bob.user(), carol.user());
    alice.device.send(&b, b"for Bob").unwrap();
    alice.device.send(&c, b"for Carol").unwrap();
    for table in [USERS, PEERS, SESSIONS, OUTBOX, INBOX] {
        assert!(alice.store.count(table) >= 2, "table {table}");
        let works = |store: &TestStore| {
            let mut device = Device::open(store.clone(), world.clock.config())?;
            match table {
                USERS => device.users().try_for_each(|user| user.map(drop)),
                OUTBOX => device.outbox().try_for_each(|out| out.map(drop)),
                INBOX => device.inbox().try_for_each(|got| got.map(drop)),
                _ => device.send(&b, b"?").and_then(|_| device.send(&c, b"?")).map(drop),
            }
        };
        assert!(works(&alice.store.snapshot()).is_ok());
        // With their versions, and without.
        for whole in [true, false] {
            let store = alice.store.snapshot();
            store.swap(table, whole);
            let result = works(&store);
            // A session that does not open is begun anew.
            let refused = match table {
                SESSIONS => matches!(result, Err(DeviceError::Missing(_))),
                _ => matches!(result, Err(DeviceError::Damaged)),
            };
            assert!(refused, "table {table}: {result:?}");
        }
    }
}

/// Who can write the store puts back what it has of users, before a device was removed: that device is let in again, until
/// one of the others writes. Its message brings the list; or names it, if it is known to have been here.
#[test]
fn an_older_list_put_back_lets_a_removed_device_in_until_another_one_writes() {
    for was_confirmed in [false, true] {
        let (mut world, mut alice, mut bob) = acquainted();
        let (a, b, address) = (alice.user(), bob.user(), alice.address());
        let mut stolen = link(&mut bob, &mut world.server);
        stolen.say(&mut world.server, &a, "before");
        assert_eq!(alice.texts(&mut world.server), ["before"]);
        bob.poll(&mut world.server);
        let snapshot = alice.store.snapshot();
        bob.device.unlink(&stolen.address().device).unwrap();
        bob.publish(&mut world.server);
        bob.say(&mut world.server, &a, "it was stolen");
        assert_eq!(alice.texts(&mut world.server), ["it was stolen"]);
        if was_confirmed {
            alice.say(&mut world.server, &b, "so it is out");
            bob.poll(&mut world.server);
        }
        let begin_anew = |stolen: &mut Phone, server: &mut Server, text: &str| {
            stolen.device.forget(&a).unwrap();
            stolen.say(server, &a, text);
            server.take(&address).remove(0)
        };
        let refused = begin_anew(&mut stolen, &mut world.server, "refused");
        let result = alice.device.receive(&refused, None);
        assert!(matches!(result, Err(DeviceError::Refused(Refusal::NotInList))), "{result:?}");

        alice.store.put_back(USERS, &snapshot);
        alice.restart();
        let taken = begin_anew(&mut stolen, &mut world.server, "let in again");
        assert_eq!(texts(&alice.device.receive(&taken, None).unwrap()), ["let in again"]);
        bob.say(&mut world.server, &a, "is it out?");
        let mut received = alice.poll(&mut world.server);
        if was_confirmed {
            assert!(events(&received).contains(&&Event::NewerList { of: b }), "{received:?}");
            received = alice.device.provide(&world.server.list(&b).unwrap()).unwrap();
        }
        let removed = vec![stolen.address().device];
        let out = Event::DevicesChanged { of: b, added: vec![], removed, unacknowledged: vec![] };
        assert!(events(&received).contains(&&out), "{received:?}");
        let refused = begin_anew(&mut stolen, &mut world.server, "refused");
        assert!(alice.device.receive(&refused, None).is_err());
    }
}

/// Sessions alone are put back: as after a restored backup they heal.
#[test]
fn older_sessions_put_back_heal() {
    let (mut world, mut alice, mut bob) = acquainted();
    let snapshot = alice.store.snapshot();
    for round in 0..3 {
        alice.say(&mut world.server, &bob.user(), &format!("a{round}"));
        bob.poll(&mut world.server);
        bob.say(&mut world.server, &alice.user(), &format!("b{round}"));
        alice.poll(&mut world.server);
    }
    for table in [SESSIONS, COLD] {
        alice.store.put_back(table, &snapshot);
    }
    alice.restart();
    let (a, b) = (alice.user(), bob.user());
    let mut read = Vec::new();
    for round in 0..4 {
        world.clock.advance(120);
        alice.say(&mut world.server, &b, &format!("from alice {round}"));
        for message in world.server.take(&bob.address()) {
            read.extend(texts(&bob.device.receive(&message, Some(&a)).unwrap_or_default()));
        }
        bob.say(&mut world.server, &a, &format!("from bob {round}"));
        for message in world.server.take(&alice.address()) {
            read.extend(texts(&alice.device.receive(&message, Some(&b)).unwrap_or_default()));
        }
    }
    for text in ["from alice 2", "from bob 2", "from alice 3", "from bob 3"] {
        assert!(read.contains(&text.to_owned()), "{text} of {read:?}");
    }
}

/// The list that takes a device out is withheld until it has expired: it is out all the same.
#[test]
fn a19_an_expired_list_is_good_for_bad_news() {
    let (mut world, mut alice, mut bob) = acquainted();
    let mut stolen = link(&mut alice, &mut world.server);
    stolen.say(&mut world.server, &bob.user(), "before");
    assert_eq!(bob.texts(&mut world.server), ["before"]);
    alice.device.unlink(&stolen.address().device).unwrap();
    alice.publish(&mut world.server);
    let withheld = world.server.list(&alice.user()).unwrap();
    let message = stolen.device.send(&bob.user(), b"after").unwrap()[0].bytes.clone();
    world.clock.advance(91 * DAY);
    let refused = bob.device.provide(&withheld);
    assert!(matches!(refused, Err(DeviceError::Refused(Refusal::Expired))), "{refused:?}");
    assert!(bob.device.receive(&message, Some(&alice.user())).is_err());
    // Nothing is sent by it, nor by the one before it.
    let Err(DeviceError::Missing(missing)) = bob.device.send(&alice.user(), b"?") else { panic!() };
    assert_eq!(missing.lists, [alice.user()]);
}

/// The server holds back a message, which is sent again, and delivers it after more than are remembered.
#[test]
fn a31_what_was_sent_again_is_not_shown_once_more() {
    let (mut world, mut alice, mut bob) = acquainted();
    alice.say(&mut world.server, &bob.user(), "late");
    let late = world.server.take(&bob.address()).remove(0);
    alice.say(&mut world.server, &bob.user(), "arrives");
    bob.poll(&mut world.server);
    world.clock.advance(61);
    bob.say(&mut world.server, &alice.user(), "what?");
    alice.poll(&mut world.server);
    alice.say(&mut world.server, &bob.user(), "again");
    assert_eq!(bob.texts(&mut world.server), ["late", "again"]);
    for number in 0..33 {
        alice.say(&mut world.server, &bob.user(), &format!("{number}"));
        bob.poll(&mut world.server);
    }
    assert_eq!(bob.device.receive(&late, None).unwrap(), []);
}

/// A device was put back, once. Who keeps the message by which that shows cannot have a bundle fetched by it again, however many
/// others have come since.
#[test]
fn a30_a_message_that_marks_does_it_once() {
    let (mut world, mut alice, mut bob) = acquainted();
    let snapshot = alice.store.snapshot();
    alice.say(&mut world.server, &bob.user(), "read");
    bob.poll(&mut world.server);
    alice.put_back(&snapshot);
    alice.say(&mut world.server, &bob.user(), "under the same number");
    let kept = world.server.take(&bob.address()).remove(0);
    let mut bundles = Vec::new();
    for _ in 0..3 {
        let error = bob.device.receive(&kept, None).unwrap_err();
        assert!(matches!(error, DeviceError::Message(Error::PeerRolledBack)), "{error:?}");
        let before = world.server.stock(&alice.address());
        bob.say(&mut world.server, &alice.user(), "is a bundle fetched?");
        bundles.push(before - world.server.stock(&alice.address()));
        alice.poll(&mut world.server);
        for _ in 0..40 {
            alice.say(&mut world.server, &bob.user(), "many");
            bob.poll(&mut world.server);
        }
        world.clock.advance(DAY);
    }
    assert_eq!(bundles, [1, 0, 0]);
}

/// Alice was put back, once, to before 34 messages. The server keeps what shows it, and delivers it again and again.
#[test]
fn a30_messages_of_one_session_mark_twice_at_most() {
    let (mut world, mut alice, mut bob) = acquainted();
    alice.say(&mut world.server, &bob.user(), "a turn");
    bob.poll(&mut world.server);
    let snapshot = alice.store.snapshot();
    for _ in 0..34 {
        alice.say(&mut world.server, &bob.user(), "read");
        bob.poll(&mut world.server);
    }
    alice.put_back(&snapshot);
    for _ in 0..34 {
        alice.say(&mut world.server, &bob.user(), "under the same number");
    }
    let kept = world.server.take(&bob.address());
    let mut bundles = Vec::new();
    for _ in 0..4 {
        for message in &kept {
            bob.device.receive(message, None).unwrap_err();
        }
        let before = world.server.stock(&alice.address());
        bob.say(&mut world.server, &alice.user(), "is a bundle fetched?");
        bundles.push(before - world.server.stock(&alice.address()));
        alice.poll(&mut world.server);
        alice.say(&mut world.server, &bob.user(), "all is well");
        bob.poll(&mut world.server);
        world.clock.advance(DAY);
    }
    assert_eq!(bundles, [1, 1, 0, 0]);
}
