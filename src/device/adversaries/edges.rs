//! Counts, times and words at their edges, and what comes once more.

use super::*;
use crate::roster::PAYLOAD_LEN;

fn suspect(of: &mut D, device: DeviceId, suspicion: Suspicion) {
    of.run(|work, _, _| {
        work.peer(&device)?.change().unwrap().suspicion = suspicion;
        Ok(())
    })
    .unwrap();
}

/// What is in memory is what is stored: it is not read again.
#[test]
fn what_was_committed_stays_in_memory() {
    let (mut alice, bob) = two(&Clock::new());
    alice.send(&bob.user(), b"reads what it needs").unwrap();
    let before = alice.vault.store.reads.load(Relaxed);
    alice.send(&bob.user(), b"has it").unwrap();
    assert_eq!(alice.vault.store.reads.load(Relaxed), before);
}

/// Sessions that have not changed are not opened again for what nobody sent.
#[test]
fn a46_the_index_opens_what_has_changed() {
    let clock = Clock::new();
    let (mut alice, mut bob) = two(&clock);
    let (a, b) = (alice.user(), bob.user());
    let garbage = garbage();
    let reads = |bob: &mut D| {
        let before = bob.vault.store.reads.load(Relaxed);
        bob.receive(&garbage, None).unwrap_err();
        bob.vault.store.reads.load(Relaxed) - before
    };
    assert_eq!(reads(&mut bob), 1, "its cold half");
    assert_eq!(reads(&mut bob), 0);
    // That one was tried in, and has not changed, is no reason.
    bob.receive(&garbage, Some(&a)).unwrap_err();
    assert_eq!(reads(&mut bob), 0);
    let mut other = Device::open(bob.vault.store.clone(), clock.config()).unwrap();
    say(&mut alice, &mut [&mut other], &b, b"goes on elsewhere");
    say(&mut other, &mut [&mut alice], &a, b"so it does");
    assert_eq!(reads(&mut bob), 1);
}

/// A message that was read comes again when no key of it is left: it is known by the last that were read, and then not any
/// more.
#[test]
fn a05_what_was_read_is_known_when_its_keys_are_gone() {
    let clock = Clock::new();
    let (mut alice, mut bob) = (clock.device(), clock.device());
    let (a, b) = (alice.user(), bob.user());
    let first = try_send(&mut alice, &mut [&mut bob], &b, b"with a handshake").unwrap().remove(0).bytes;
    bob.receive(&first, None).unwrap();
    say(&mut bob, &mut [&mut alice], &a, b"answered");
    let second = alice.send(&b, b"without one").unwrap().remove(0).bytes;
    // Another process looks where it would belong, and does not see what comes of it.
    let mut stale = Device::open(bob.vault.store.clone(), clock.config()).unwrap();
    let garbage = garbage();
    stale.receive(&garbage, None).unwrap_err();
    bob.receive(&second, None).unwrap();
    let turns = |alice: &mut D, bob: &mut D, count| {
        for _ in 0..count {
            say(bob, &mut [alice], &a, b"turn");
            say(alice, &mut [bob], &b, b"turn");
        }
    };
    turns(&mut alice, &mut bob, 4);
    let error = |device: &mut D, message: &[u8], hint| match device.receive(message, hint) {
        Err(DeviceError::Message(error)) => error,
        other => panic!("{other:?}"),
    };
    // Without a hint, only who knows an old key of it finds the session of the second one.
    let expect = |bob: &mut D, stale: &mut D, expected| {
        for hint in [None, Some(&a)] {
            assert_eq!(error(bob, &first, hint), expected);
            assert_eq!(error(stale, &first, hint), expected);
        }
        assert_eq!(error(bob, &second, Some(&a)), expected);
        assert_eq!(error(stale, &second, None), expected);
    };
    expect(&mut bob, &mut stale, crate::Error::Duplicate);
    turns(&mut alice, &mut bob, 32);
    expect(&mut bob, &mut stale, crate::Error::UnknownSession);
}

/// What a device asks for, and what it is told to be gone, is so much, each of it once.
#[test]
fn a44_what_is_asked_for_is_bounded() {
    let (mut alice, bob) = two(&Clock::new());
    let device = bob.address().device;
    let places = |from: u32, count: u32| -> Vec<_> {
        (from..from + count).map(|number| Place { stream: StreamId([7; 8]), number }).collect()
    };
    let ask = |alice: &mut D, places: &[Place]| {
        alice.run(|work, context, _| {
            work.note_asks(context, &device, places)?;
            Ok(work.peer(&device)?.get().unwrap().asked.iter().map(|(place, _)| *place).collect::<Vec<_>>())
        })
    };
    let answer = |alice: &mut D| {
        alice.run(|work, context, _| {
            assert_eq!(work.answer(context, &device, |_| true)?, [], "there is nothing to be sent");
            Ok(work.peer(&device)?.get().unwrap().gone.clone())
        })
    };
    for _ in 0..2 {
        assert_eq!(ask(&mut alice, &places(0, 3)).unwrap(), places(0, 3));
    }
    assert_eq!(ask(&mut alice, &places(0, 300)).unwrap(), places(0, 256));
    for round in 1..=8 {
        assert_eq!(answer(&mut alice).unwrap(), places(0, 32 * round));
    }
    for again in [places(0, 32), places(256, 32)] {
        ask(&mut alice, &again).unwrap();
        assert_eq!(answer(&mut alice).unwrap(), places(0, 256));
    }
    // Asked for in vain once more while there is room.
    let told = |alice: &mut D| {
        alice.run(|work, _, _| {
            work.peer(&device)?.change().unwrap().gone.truncate(1);
            Ok(())
        })
    };
    told(&mut alice).unwrap();
    ask(&mut alice, &places(0, 2)).unwrap();
    assert_eq!(answer(&mut alice).unwrap(), places(0, 2));
}

/// What comes once more, as it was asked for or as the app has sent it again, is no sign of a store that was put back: however long
/// ago the first one was, or under whichever number.
#[test]
fn what_comes_once_more_for_a_reason_is_dropped_without_a_word() {
    let (mut bob, alice) = (Clock::new().device(), Root::new());
    let identity = IdentityKeyPair::generate();
    let list = alice.list(None, &[&identity]);
    let mut session = alice.begin(&identity, &list, &mut bob);
    let device = DeviceId::of(identity.identity_key());
    let mut events = |bob: &mut D, content: &Content<'_>| -> Vec<_> {
        let received = bob.receive(&session.encrypt(&content.encode()).unwrap(), None).unwrap();
        received
            .into_iter()
            .map(|received| received.event)
            .filter(|event| *event != Event::NoOneTimePreKey)
            .collect()
    };
    let resent = |number| {
        let content = text(number);
        Content { body: content.body.map(|body| Body { resent: true, ..body }), ..content }
    };
    assert!(events(&mut bob, &text(0)).iter().any(|event| matches!(event, Event::Message { .. })));
    assert_eq!(events(&mut bob, &text(0)), [], "the same name");
    assert_eq!(events(&mut bob, &resent(0)), []);
    bob.run(|work, _, _| {
        work.peer(&device)?.change().unwrap().ids.clear();
        Ok(())
    })
    .unwrap();
    assert_eq!(events(&mut bob, &resent(0)), [], "its name is not remembered any more");
    let [Event::PeerRolledBack, Event::Message { .. }] = &events(&mut bob, &text(0))[..] else { panic!() };
}

/// Another device of the same user asks for what was sent to the first: whoever was linked since gets nothing old.
#[test]
fn a44_another_device_does_not_get_what_one_was_sent() {
    let (alice, second, mut bob) = acquainted(&Clock::new());
    let out = bob.send(&alice.user(), b"a message for each").unwrap();
    bob.sent(out.iter().map(|out| out.id)).unwrap();
    let [first, second] = [&alice, &second].map(|device| device.address().device);
    let last = |bob: &mut D, device| {
        bob.run(|work, _, _| {
            let sending = &work.peer(&device)?.get().unwrap().sending;
            Ok(Place { stream: sending.stream, number: sending.next - 1 })
        })
        .unwrap()
    };
    let ask = |bob: &mut D, device, place| {
        bob.run(|work, context, _| {
            work.note_asks(context, &device, &[place])?;
            let sent = work.answer(context, &device, |_| true)?;
            Ok((sent.len(), work.peer(&device)?.get().unwrap().gone.clone()))
        })
        .unwrap()
    };
    for (of, other) in [(first, second), (second, first)] {
        let place = last(&mut bob, of);
        assert_eq!(ask(&mut bob, other, place), (0, vec![place]));
        assert_eq!(ask(&mut bob, of, place).0, 1);
        let told = bob.run(|work, _, _| {
            work.peer(&other)?.change().unwrap().gone.clear();
            Ok(())
        });
        told.unwrap();
    }
}

/// Nothing is sent again by itself while the session is marked, also when it may not be replaced today.
#[test]
fn nothing_is_answered_by_itself_on_a_marked_session() {
    let clock = Clock::new();
    let (mut alice, bob) = two(&clock);
    let b = bob.user();
    let device = bob.address().device;
    let lost = alice.send(&b, b"lost").unwrap();
    alice.sent([lost[0].id]).unwrap();
    let asks = alice.run(|work, context, _| {
        let sending = &work.peer(&device)?.get().unwrap().sending;
        let asks = [Place { stream: sending.stream, number: sending.next - 1 }];
        work.note_asks(context, &device, &asks)?;
        let peer = work.peer(&device)?.change().unwrap();
        peer.suspicion = Suspicion::Broken;
        peer.healings = vec![context.now; 2];
        Ok(())
    });
    asks.unwrap();
    clock.advance(2 * HOUR);
    alice.maintain().unwrap();
    assert_eq!(
        alice.outbox().count(),
        0,
        "sent into a session that is known to be broken, and counted as an answer"
    );
}

/// What is asked for just before something older is due is not answered with it, by itself: a second after it was asked for.
#[test]
fn each_ask_is_answered_by_itself_after_its_own_hour() {
    let clock = Clock::new();
    let (mut alice, bob) = two(&clock);
    let b = bob.user();
    let device = bob.address().device;
    for text in [b"one", b"two"] {
        let lost = alice.send(&b, text).unwrap();
        alice.sent([lost[0].id]).unwrap();
    }
    let ask = |alice: &mut D, back: u32| {
        alice
            .run(|work, context, _| {
                let sending = &work.peer(&device)?.get().unwrap().sending;
                let asks = [Place { stream: sending.stream, number: sending.next - back }];
                work.note_asks(context, &device, &asks)
            })
            .unwrap();
    };
    ask(&mut alice, 2);
    clock.advance(HOUR - 1);
    ask(&mut alice, 1);
    clock.advance(1);
    alice.maintain().unwrap();
    assert_eq!(alice.outbox().count(), 1, "what was asked for a second ago");
}

/// Two devices of one user trust somebody differently in the same second: the stricter word counts on both, whichever comes
/// first.
#[test]
fn of_two_words_of_one_second_the_stricter_counts() {
    use Trust::{Blocked, Unverified, Verified};
    let clock = Clock::new();
    let (mut alice, mut second, bob) = acquainted(&clock);
    let b = bob.user();
    for (words, expected) in [
        ([Verified, Unverified], Unverified),
        ([Unverified, Verified], Unverified),
        ([Unverified, Blocked], Blocked),
        ([Blocked, Verified], Blocked),
    ] {
        clock.advance(DAY);
        let one = alice.set_trust(&b, words[0]).unwrap().remove(0);
        let other = second.set_trust(&b, words[1]).unwrap().remove(0);
        second.receive(&one.bytes, None).unwrap();
        alice.receive(&other.bytes, None).unwrap();
        let trust = |device: &D| device.user_info(&b).unwrap().unwrap().trust;
        assert_eq!((trust(&alice), trust(&second)), (expected, expected), "{words:?}");
    }
}

/// A certificate comes from another device of the same user, which may have been stolen: it is this device's, of this user,
/// and of a newer list, or it changes nothing.
#[test]
fn a34_only_a_newer_certificate_of_ones_own_is_taken() {
    let clock = Clock::new();
    let (mut alice, mut second, _) = acquainted(&clock);
    let root = alice
        .run(|work, _, _| Ok(RootKey::from_seed(work.me()?.get().unwrap().root.as_ref().unwrap())))
        .unwrap();
    let other = Root::new();
    let root = Root(root);
    let devices = [&alice.identity, &second.identity];
    let lists = |root: &Root| {
        let first = root.list(None, &devices[..1]);
        let current = root.list(Some(&first), &devices[1..]);
        let next = root.list(Some(&current), &devices);
        [first, current, next]
    };
    let payload = |root: &Root, list: &DeviceList, identity: &IdentityKeyPair, recipient: UserId| {
        let (key, claim) = root.entry(identity);
        Payload { certificate: Certificate::issue(&root.0, &key, claim, list), recipient }.to_bytes()
    };
    let user = *root.0.user_id();
    let [older, twin, next] = lists(&root);
    let [.., others] = lists(&other);
    let good = payload(&root, &next, &second.identity, user);
    let refused = [
        ("of an older list", payload(&root, &older, &second.identity, user)),
        ("of another list of the same version", payload(&root, &twin, &second.identity, user)),
        ("another user's", payload(&other, &others, &second.identity, user)),
        ("for somebody else", payload(&root, &next, &second.identity, *other.0.user_id())),
        ("another device's", payload(&root, &next, &alice.identity, user)),
        ("none", [0; PAYLOAD_LEN]),
    ];
    let take = |second: &mut D, bytes: &[u8; PAYLOAD_LEN]| {
        second.run(|work, context, _| {
            work.take_certificate(context, bytes)?;
            Ok(work.me()?.get().unwrap().certificate.clone())
        })
    };
    let before = second.run(|work, _, _| Ok(work.me()?.get().unwrap().certificate.clone())).unwrap();
    assert_eq!(before.list().version, 2);
    for (what, bytes) in &refused {
        assert!(take(&mut second, bytes).unwrap() == before, "{what}");
    }
    assert!(take(&mut second, &good).unwrap() == Payload::from_bytes(&good).unwrap().certificate);
}

/// A session that somebody may have broken is not suspected any longer when something can be read in it; one that was
/// found broken is replaced, unless the peer has done so.
#[test]
fn what_clears_a_suspicion() {
    let clock = Clock::new();
    let (mut alice, mut bob) = two(&clock);
    let (a, b, device) = (alice.user(), bob.user(), alice.address().device);
    for (before, after) in [
        (Suspicion::None, Suspicion::None),
        (Suspicion::Unreadable, Suspicion::None),
        (Suspicion::Broken, Suspicion::Broken),
    ] {
        suspect(&mut bob, device, before);
        say(&mut alice, &mut [&mut bob], &b, b"in the session that is sent on");
        assert_eq!(suspicion(&mut bob, device), after);
    }
    suspect(&mut alice, bob.address().device, Suspicion::Broken);
    say(&mut alice, &mut [&mut bob], &b, b"in a new one");
    assert_eq!(suspicion(&mut bob, device), Suspicion::None);
    bob.send(&a, b"no bundle is asked for").unwrap();
}

/// A first message that nobody answers is followed by another one after a week; a session that was answered stays.
#[test]
fn a_session_that_nobody_answers_is_begun_anew() {
    let clock = Clock::new();
    let (mut alice, mut bob) = (clock.device(), clock.device());
    let (a, b) = (alice.user(), bob.user());
    try_send(&mut alice, &mut [&mut bob], &b, b"hello?").unwrap();
    clock.advance(7 * DAY - 1);
    alice.send(&b, b"anybody?").unwrap();
    clock.advance(1);
    let missing = alice.send(&b, b"I try again");
    assert!(matches!(missing, Err(DeviceError::Missing(_))), "{missing:?}");
    say(&mut alice, &mut [&mut bob], &b, b"I try again");
    say(&mut bob, &mut [&mut alice], &a, b"here I am");
    clock.advance(30 * DAY);
    alice.send(&b, b"no bundle is asked for").unwrap();
}

/// Both write first: they go on in the same of the two sessions.
#[test]
fn two_beginnings_at_once_leave_one_session_to_send_on() {
    let clock = Clock::new();
    let (mut alice, mut bob) = (clock.device(), clock.device());
    let (a, b) = (alice.user(), bob.user());
    let one = try_send(&mut alice, &mut [&mut bob], &b, b"hello").unwrap().remove(0).bytes;
    let other = try_send(&mut bob, &mut [&mut alice], &a, b"hello").unwrap().remove(0).bytes;
    bob.receive(&one, None).unwrap();
    alice.receive(&other, None).unwrap();
    let sent_on = |of: &mut D, device: DeviceId| {
        of.run(|work, _, _| {
            let sessions = &work.peer(&device)?.get().unwrap().sessions;
            assert_eq!(sessions.len(), 2);
            Ok(sessions[0].id)
        })
        .unwrap()
    };
    let (one, other) = (alice.address().device, bob.address().device);
    assert_eq!(sent_on(&mut alice, other), sent_on(&mut bob, one));
}

/// A stranger begins again and again: the last two sessions are kept.
#[test]
fn a46_a_stranger_has_two_sessions() {
    let (mut bob, mallory) = (Clock::new().device(), Root::new());
    let identity = IdentityKeyPair::generate();
    let list = mallory.list(None, &[&identity]);
    for kept in [1, 2, 2, 2] {
        let mut session = mallory.begin(&identity, &list, &mut bob);
        bob.receive(&session.encrypt(&Content::default().encode()).unwrap(), None).unwrap();
        assert_eq!(bob.vault.store.list(Table::Sessions as u8, 0, 9).unwrap().len(), kept);
    }
}

/// A user is known from the word on that is said about them, and a block outlasts older words also when all else about the user
/// is forgotten.
#[test]
fn a_block_outlasts_older_words() {
    let clock = Clock::new();
    let (mut alice, mut second, bob) = acquainted(&clock);
    let trust = |device: &D, of: &UserId| device.user_info(of).unwrap().unwrap().trust;
    let nobody = *Root::new().0.user_id();
    for (user, forget) in [(bob.user(), true), (nobody, false)] {
        let older = second.set_trust(&user, Trust::Verified).unwrap().remove(0);
        assert_eq!(trust(&second, &user), Trust::Verified);
        clock.advance(60);
        let blocked = alice.set_trust(&user, Trust::Blocked).unwrap().remove(0);
        if forget {
            alice.forget(&user).unwrap();
        }
        assert_eq!(alice.receive(&older.bytes, None).unwrap(), []);
        assert_eq!(trust(&alice, &user), Trust::Blocked);
        second.receive(&blocked.bytes, None).unwrap();
        assert_eq!(trust(&second, &user), Trust::Blocked);
    }
}

/// Only the device that holds the root key tells the others of a list, with certificates that it alone can make.
#[test]
fn a_linked_device_tells_nobody_of_a_list() {
    let clock = Clock::new();
    let (mut alice, mut second, _) = acquainted(&clock);
    let mut third = link(&mut alice, &clock);
    let a = alice.user();
    say(&mut alice, &mut [&mut second, &mut third], &a, b"sessions everywhere");
    say(&mut second, &mut [&mut alice, &mut third], &a, b"between these two");
    say(&mut third, &mut [&mut alice, &mut second], &a, b"and back");
    link(&mut alice, &clock);
    second.provide(&list_of(&mut alice)).unwrap();
    second.maintain().unwrap();
    assert_eq!(second.outbox().count(), 0);
    alice.maintain().unwrap();
    assert_eq!(alice.outbox().count(), 2);
}

/// A message that begins a session, or has lists in it, is as long as others of its kind with and without: else its length
/// would tell who has written first.
#[test]
fn a_first_message_and_one_with_lists_have_a_least_length() {
    let clock = Clock::new();
    let (mut alice, mut bob) = (clock.device(), clock.device());
    let (a, b) = (alice.user(), bob.user());
    let len = |alice: &mut D, bob: &mut D| {
        let sent = try_send(alice, &mut [&mut *bob], &b, b"hello").unwrap().remove(0).bytes;
        bob.receive(&sent, None).unwrap();
        sent.len()
    };
    let first_with_list = len(&mut alice, &mut bob);
    say(&mut bob, &mut [&mut alice], &a, b"I have your list");
    let without = len(&mut alice, &mut bob);
    assert!(without < 1024, "{without}");
    suspect(&mut alice, bob.address().device, Suspicion::Broken);
    assert_eq!(len(&mut alice, &mut bob), first_with_list);
    say(&mut bob, &mut [&mut alice], &a, b"answered");
    assert_eq!(len(&mut alice, &mut bob), without);
    alice.run(|work, context, _| work.change_own_list(context, |_| {}).map(drop)).unwrap();
    assert!(len(&mut alice, &mut bob) > 1024, "a new list");
}
