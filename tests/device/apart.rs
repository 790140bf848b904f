//! Devices that have lost each other: put back, forgotten, or each with a session of its own. They find together, without being
//! told who wrote what.

use subrosa::{DeviceError, Event};

use crate::common::world::{
    DAY, Phone, Server, World, acquainted, events, garbage, link, lose_and_ask,
    table::{RESEND, SESSIONS},
    texts, two,
};

const HOUR: u64 = 60 * 60;

/// Receives what can be read, without hints.
fn drain(phone: &mut Phone, server: &mut Server) -> (Vec<String>, Vec<Event>) {
    let (mut read, mut shown) = (Vec::new(), Vec::new());
    for message in server.take(&phone.address()) {
        match phone.device.receive(&message, None) {
            Ok(received) => {
                read.extend(texts(&received));
                shown.extend(events(&received).into_iter().cloned());
            }
            Err(error) => assert!(matches!(error, DeviceError::Message(_)), "{error:?}"),
        }
    }
    (read, shown)
}

/// A day of an app: what `maintain` wants done is done.
fn morning(phone: &mut Phone, server: &mut Server) {
    let tasks = phone.device.maintain().unwrap();
    phone.publish(server);
    for user in &tasks.fetch.lists {
        phone.device.provide(&server.list(user).unwrap()).unwrap();
    }
}

/// On how many days each of the two reads what the other writes: they write once a day, `first` first.
fn days(world: &mut World, [first, second]: [&mut Phone; 2], days: usize) -> [Vec<usize>; 2] {
    let mut read = [Vec::new(), Vec::new()];
    for day in 0..days {
        morning(first, &mut world.server);
        morning(second, &mut world.server);
        first.say(&mut world.server, &second.user(), &format!("{day}"));
        if drain(second, &mut world.server).0.contains(&format!("{day}")) {
            read[1].push(day);
        }
        second.say(&mut world.server, &first.user(), &format!("{day}"));
        if drain(first, &mut world.server).0.contains(&format!("{day}")) {
            read[0].push(day);
        }
        world.clock.advance(DAY);
    }
    read
}

/// Bob has begun a session, as his was marked or as nobody answered for a week; Alice is put back to before it. She writes on in
/// the older one, which he reads.
#[test]
fn a16_put_back_to_before_the_session_that_the_other_began() {
    for silent in [false, true] {
        let (mut world, mut alice, mut bob) = if silent { two() } else { acquainted() };
        if silent {
            bob.say(&mut world.server, &alice.user(), "hello");
            assert_eq!(alice.texts(&mut world.server), ["hello"]);
            world.clock.advance(8 * DAY);
        }
        let snapshot = alice.store.snapshot();
        if !silent {
            bob.device.receive(&garbage(), Some(&alice.user())).unwrap_err();
        }
        bob.say(&mut world.server, &alice.user(), "in a new session");
        assert_eq!(alice.texts(&mut world.server), ["in a new session"]);
        alice.say(&mut world.server, &bob.user(), "answered");
        bob.poll(&mut world.server);
        bob.say(&mut world.server, &alice.user(), "read");
        alice.poll(&mut world.server);
        alice.put_back(&snapshot);
        alice.publish(&mut world.server);
        alice.say(&mut world.server, &bob.user(), "under a number that was used");
        let (read, shown) = drain(&mut bob, &mut world.server);
        assert_eq!(read, ["under a number that was used"]);
        assert!(shown.contains(&Event::PeerRolledBack), "{shown:?}");
        world.clock.advance(2 * HOUR);
        let [by_alice, by_bob] = days(&mut world, [&mut alice, &mut bob], 3);
        assert_eq!((by_alice, by_bob), (vec![0, 1, 2], vec![0, 1, 2]), "silent: {silent}");
    }
}

/// Bob begins a session; before Alice answers in it, she begins one, too. It takes a message of both to agree on one.
#[test]
fn two_who_have_both_begun_come_to_one_session() {
    // Which of the two it is goes by random ids.
    for _ in 0..8 {
        let (mut world, mut alice, mut bob) = acquainted();
        let (a, b) = (alice.user(), bob.user());
        bob.device.receive(&garbage(), Some(&a)).unwrap_err();
        bob.say(&mut world.server, &a, "begun");
        assert_eq!(alice.texts(&mut world.server), ["begun"]);
        alice.device.receive(&garbage(), Some(&b)).unwrap_err();
        alice.say(&mut world.server, &b, "begun, too");
        assert_eq!(bob.texts(&mut world.server), ["begun, too"]);
        for _ in 0..2 {
            bob.say(&mut world.server, &a, "text");
            assert_eq!(alice.texts(&mut world.server), ["text"]);
            alice.say(&mut world.server, &b, "text");
            assert_eq!(bob.texts(&mut world.server), ["text"]);
        }
        for out in [bob.say(&mut world.server, &a, "last"), alice.say(&mut world.server, &b, "last")] {
            assert_eq!(out[0].bytes[0] >> 4, 2, "no first message any more");
        }
    }
}

/// A linked device is put back to before the last round trip with the other one: neither can read a word of the other's, nor
/// know whose it was. After a week without an answer both begin anew.
#[test]
fn a16_own_devices_find_together_after_a_week() {
    let (mut world, mut alice, mut bob) = acquainted();
    let mut second = link(&mut alice, &mut world.server);
    let talk = |world: &mut World, alice: &mut Phone, second: &mut Phone| {
        for _ in 0..3 {
            alice.say(&mut world.server, &second.user(), "one");
            drain(second, &mut world.server);
            second.say(&mut world.server, &alice.user(), "two");
            drain(alice, &mut world.server);
        }
    };
    talk(&mut world, &mut alice, &mut second);
    let snapshot = second.store.snapshot();
    talk(&mut world, &mut alice, &mut second);
    second.put_back(&snapshot);
    drain(&mut bob, &mut world.server);
    world.clock.advance(2 * HOUR);
    let [by_alice, by_second] = days(&mut world, [&mut alice, &mut second], 12);
    for read in [by_alice, by_second] {
        assert!(read.starts_with(&[7, 8, 9, 10, 11]) || read.starts_with(&[8, 9, 10, 11]), "{read:?}");
    }
}

/// Alice forgets Bob, who writes on in the session that they had.
#[test]
fn who_was_forgotten_is_read_again_after_a_week() {
    let (mut world, mut alice, mut bob) = acquainted();
    alice.device.forget(&bob.user()).unwrap();
    let mut read = Vec::new();
    for day in 0..10 {
        morning(&mut bob, &mut world.server);
        bob.say(&mut world.server, &alice.user(), &format!("{day}"));
        let (texts, events) = drain(&mut alice, &mut world.server);
        if !texts.is_empty() {
            read.push(day);
            assert_eq!(events.contains(&Event::NewUser), day == 7, "{events:?}");
        }
        world.clock.advance(DAY);
    }
    assert_eq!(read, [7, 8, 9]);
}

/// Bob, who has had no answer for a week, has begun a session; Alice has read that, and forgets him. When she writes to him he
/// answers in hers, whatever the ids of the two are.
#[test]
fn who_was_forgotten_answers_in_the_session_that_is_there() {
    for _ in 0..6 {
        let (mut world, mut alice, mut bob) = acquainted();
        bob.say(&mut world.server, &alice.user(), "one");
        world.clock.advance(8 * DAY);
        bob.say(&mut world.server, &alice.user(), "two");
        assert_eq!(alice.texts(&mut world.server), ["one", "two"]);
        alice.device.forget(&bob.user()).unwrap();
        world.clock.advance(2 * HOUR);
        alice.say(&mut world.server, &bob.user(), "who are you?");
        assert_eq!(bob.texts(&mut world.server), ["who are you?"]);
        bob.say(&mut world.server, &alice.user(), "Bob");
        assert_eq!(alice.texts(&mut world.server), ["Bob"]);
    }
}

/// The same snapshot is put back twice. Alice gets to know both times, and nothing is kept for good.
#[test]
fn a16_put_back_twice_to_the_same_state() {
    let (mut world, mut alice, mut bob) = acquainted();
    let snapshot = alice.store.snapshot();
    for round in 0..2 {
        for text in ["1", "2", "3", "4"] {
            alice.say(&mut world.server, &bob.user(), text);
            drain(&mut bob, &mut world.server);
        }
        alice.put_back(&snapshot);
        alice.publish(&mut world.server);
        world.clock.advance(2 * HOUR);
        let mut shown = Vec::new();
        for _ in 0..4 {
            alice.say(&mut world.server, &bob.user(), "so");
            drain(&mut bob, &mut world.server);
            bob.say(&mut world.server, &alice.user(), "I have more");
            shown.extend(drain(&mut alice, &mut world.server).1);
        }
        assert!(shown.contains(&Event::RolledBack), "round {round}: {shown:?}");
        assert_eq!(alice.store.count(RESEND), 0, "round {round}");
    }
}

/// A message got lost, and was sent again. Then its sender is put back to before it, and uses the number for another text.
#[test]
fn a16_a_text_under_a_number_that_came_resent_is_shown() {
    let (mut world, mut alice, mut bob) = acquainted();
    alice.say(&mut world.server, &bob.user(), "a turn");
    bob.poll(&mut world.server);
    let snapshot = alice.store.snapshot();
    lose_and_ask(&mut world, &mut alice, &mut bob);
    alice.say(&mut world.server, &bob.user(), "on");
    assert_eq!(bob.texts(&mut world.server), ["lost", "on"]);
    alice.put_back(&snapshot);
    alice.say(&mut world.server, &bob.user(), "another text");
    let (read, shown) = drain(&mut bob, &mut world.server);
    assert_eq!((read, shown), (vec!["another text".to_owned()], vec![Event::PeerRolledBack]));
    let [by_alice, by_bob] = days(&mut world, [&mut alice, &mut bob], 3);
    // What she writes first he cannot read.
    assert_eq!((by_alice, by_bob), (vec![0, 1, 2], vec![1, 2]));
}

/// Bob only reads, for a year: Alice begins a session each week, and of those that she has left few stay.
#[test]
fn who_only_reads_does_not_gather_sessions() {
    let (mut world, mut alice, mut bob) = acquainted();
    for _ in 0..45 {
        world.clock.advance(8 * DAY);
        for phone in [&mut alice, &mut bob] {
            morning(phone, &mut world.server);
        }
        alice.device.provide(&world.server.list(&bob.user()).unwrap()).unwrap();
        alice.say(&mut world.server, &bob.user(), "news");
        bob.poll(&mut world.server);
    }
    for phone in [&alice, &bob] {
        assert_eq!(phone.store.count(SESSIONS), 4);
    }
}

/// Alice has two devices, and writes once a week; nobody answers. Bob's tablet is off for five weeks, then reads its mailbox: what
/// are too many sessions for one day is for the next.
#[test]
fn a_tablet_in_a_drawer_reads_what_strangers_have_written() {
    let (mut world, mut alice, _) = acquainted();
    let mut second = link(&mut alice, &mut world.server);
    let mut bob = Phone::new(&world.clock, &mut world.server);
    let mut tablet = link(&mut bob, &mut world.server);
    for week in 0..5 {
        alice.say(&mut world.server, &bob.user(), &format!("first {week}"));
        second.say(&mut world.server, &bob.user(), &format!("second {week}"));
        world.clock.advance(7 * DAY);
    }
    let mut waiting = world.server.take(&tablet.address());
    let mut read = Vec::new();
    for expected in [8, 10] {
        waiting.retain(|message| match tablet.device.receive(message, None) {
            Ok(received) => {
                read.extend(texts(&received));
                false
            }
            Err(error) => error.keeps_message(),
        });
        assert_eq!(read.len(), expected, "{read:?}");
        world.clock.advance(DAY);
    }
}
