//! Users and devices over a store, as an app sees them.

use subrosa::{
    AttachmentDescriptor, BackupLock, BundleOutcome, Device, DeviceError, Draft, Error, Event, Incoming,
    Link, MAX_MESSAGE_LEN, MAX_THUMBNAIL_LEN, MessageId, Padding, RecoveryKey, Refusal, Settings, Trust,
};

use crate::common::world::{
    DAY, Phone, Server, TestClock, TestStore, acquainted, events, link, table::PEERS, texts, two,
};

#[test]
fn a_conversation_over_restarts() {
    let (mut world, mut alice, mut bob) = two();
    let missing = match alice.device.send(&bob.user(), b"hello") {
        Err(DeviceError::Missing(missing)) => missing,
        other => panic!("{other:?}"),
    };
    assert_eq!((missing.lists, missing.bundles), (vec![bob.user()], vec![]));
    alice.say(&mut world.server, &bob.user(), "hello");
    let received = bob.poll(&mut world.server);
    assert_eq!(texts(&received), ["hello"]);
    assert_eq!(events(&received), [&Event::NewUser]);
    assert_eq!(received[0].from, alice.address());
    for round in 0..5 {
        alice.restart();
        bob.say(&mut world.server, &alice.user(), &format!("b{round}"));
        assert_eq!(alice.texts(&mut world.server), [format!("b{round}")]);
        bob.restart();
        alice.say(&mut world.server, &bob.user(), &format!("a{round}"));
        assert_eq!(bob.texts(&mut world.server), [format!("a{round}")]);
    }
}

#[test]
fn nothing_changes_while_something_is_missing() {
    let (mut world, mut alice, mut bob) = two();
    let _second = link(&mut bob, &mut world.server);
    let list = world.server.list(&bob.user()).unwrap();
    alice.device.provide(&list).unwrap();
    let before = alice.store.records();
    let Err(DeviceError::Missing(missing)) = alice.device.send(&bob.user(), b"hello") else { panic!() };
    assert_eq!(missing.bundles.len(), 2);
    assert!(alice.store.records() == before);
    // One of two is not enough.
    let provide = |alice: &mut Phone, server: &mut Server, address| {
        alice.device.provide_bundle(address, server.bundle(address).as_deref()).unwrap()
    };
    let outcome = provide(&mut alice, &mut world.server, &missing.bundles[0]);
    assert_eq!(outcome, BundleOutcome::Kept { one_time_prekey: true });
    let before = alice.store.records();
    let Err(DeviceError::Missing(still)) = alice.device.send(&bob.user(), b"hello") else { panic!() };
    assert_eq!(still.bundles, missing.bundles[1..]);
    assert!(alice.store.records() == before);
    world.server.drain(&missing.bundles[1]);
    let outcome = provide(&mut alice, &mut world.server, &missing.bundles[1]);
    assert_eq!(outcome, BundleOutcome::Kept { one_time_prekey: false });
    assert_eq!(alice.device.send(&bob.user(), b"hello").unwrap().len(), 2);
}

#[test]
fn every_device_of_both_gets_it_once() {
    let (mut world, mut alice, mut bob) = acquainted();
    let mut alice2 = link(&mut alice, &mut world.server);
    let mut bob2 = link(&mut bob, &mut world.server);
    // Bob's message brings his new list.
    bob.say(&mut world.server, &alice.user(), "I have another one");
    assert_eq!(alice.texts(&mut world.server), ["I have another one"]);
    bob2.poll(&mut world.server);
    let out = alice.say(&mut world.server, &bob.user(), "to all");
    assert_eq!(out.len(), 3, "two of Bob's, one of Alice's own");
    assert_eq!(texts(&bob.poll(&mut world.server)), ["to all"]);
    assert_eq!(texts(&bob2.poll(&mut world.server)), ["to all"]);
    let received = alice2.poll(&mut world.server);
    assert_eq!(texts(&received), ["> to all"]);
    assert!(matches!(received.last().unwrap().event, Event::SentElsewhere { to, .. } if to == bob.user()));
    bob2.say(&mut world.server, &alice.user(), "from the second");
    assert_eq!(texts(&alice.poll(&mut world.server)), ["from the second"]);
    assert_eq!(texts(&alice2.poll(&mut world.server)), ["from the second"]);
    assert_eq!(texts(&bob.poll(&mut world.server)), ["> from the second"]);
    // To oneself: the other devices.
    assert_eq!(alice.say(&mut world.server, &alice.user(), "note").len(), 1);
    assert_eq!(texts(&alice2.poll(&mut world.server)), ["note"]);
    assert_eq!(bob.device.send(&bob.user(), b"alone?").unwrap().len(), 1);
}

#[test]
fn outbox_and_inbox_outlast_a_restart() {
    let (mut world, mut alice, mut bob) = acquainted();
    let sent = alice.device.send(&bob.user(), b"one").unwrap();
    alice.device.send(&bob.user(), b"two").unwrap();
    alice.restart();
    let waiting: Vec<_> = alice.device.outbox().map(Result::unwrap).collect();
    assert_eq!(waiting.len(), 2);
    assert_eq!(waiting[0], sent[0]);
    // It is handed over twice, as after a crash before `sent`.
    world.server.push(&waiting[0]);
    alice.push(&mut world.server);
    assert_eq!(alice.device.outbox().count(), 0);
    let messages = world.server.take(&bob.address());
    let one = bob.device.receive(&messages[0], None).unwrap();
    assert!(!one[0].redelivered);
    let again = bob.device.receive(&messages[1], Some(&alice.user()));
    assert!(matches!(again, Err(DeviceError::Message(Error::Duplicate))), "{again:?}");
    bob.restart();
    bob.device.receive(&messages[2], None).unwrap();
    let inbox: Vec<_> = bob.device.inbox().map(Result::unwrap).collect();
    assert_eq!(texts(&inbox), ["one", "two"]);
    assert!(inbox.iter().all(|received| received.redelivered));
    bob.device.acknowledge([inbox[0].id, inbox[0].id]).unwrap();
    assert_eq!(bob.device.inbox().count(), 1);
    // A copy that comes much later is no reason for suspicion.
    let copy = bob.device.receive(&messages[0], Some(&alice.user()));
    assert!(matches!(copy, Err(DeviceError::Message(Error::Duplicate))), "{copy:?}");
}

#[test]
fn two_beginnings_at_once_meet() {
    let (mut world, mut alice, mut bob) = two();
    alice.say(&mut world.server, &bob.user(), "a1");
    bob.say(&mut world.server, &alice.user(), "b1");
    assert_eq!(alice.texts(&mut world.server), ["b1"]);
    assert_eq!(bob.texts(&mut world.server), ["a1"]);
    for round in 0..4 {
        alice.say(&mut world.server, &bob.user(), &format!("a{round}"));
        bob.say(&mut world.server, &alice.user(), &format!("b{round}"));
        assert_eq!(alice.texts(&mut world.server), [format!("b{round}")]);
        assert_eq!(bob.texts(&mut world.server), [format!("a{round}")]);
    }
    let out = alice.device.send(&bob.user(), b"short").unwrap();
    assert!(out[0].bytes.len() < 1_000, "no handshake any more");
}

#[test]
fn a06_prekeys_run_out_and_the_app_is_told() {
    let (mut world, mut alice, mut bob) = two();
    world.server.drain(&bob.address());
    alice.say(&mut world.server, &bob.user(), "hello");
    let received = bob.poll(&mut world.server);
    assert_eq!(events(&received), [&Event::NewUser, &Event::NoOneTimePreKey]);
    // The server says what it has, and gets more.
    bob.publish(&mut world.server);
    assert_eq!(world.server.stock(&bob.address()), 100);
}

#[test]
fn a32_publications_are_durable_and_repeated_until_confirmed() {
    let (mut world, _, mut bob) = two();
    world.server.drain(&bob.address());
    let first = bob.device.publication(0).unwrap();
    bob.restart();
    let ids = |publication: &subrosa::Publication| {
        publication.one_time_prekeys.iter().map(subrosa::OneTimePreKey::to_bytes).collect::<Vec<_>>()
    };
    let again = bob.device.publication(0).unwrap();
    assert_eq!(ids(&first), ids(&again));
    assert_eq!(first.one_time_prekeys.len(), 100);
    assert!(bob.device.maintain().unwrap().publish);
    world.server.publish(&first);
    bob.device.published(&first).unwrap();
    assert!(!bob.device.maintain().unwrap().publish);
    assert_eq!(bob.device.publication(100).unwrap().one_time_prekeys, []);
    assert_eq!(bob.device.publication(20).unwrap().one_time_prekeys, []);
    let more = bob.device.publication(19).unwrap();
    assert_eq!(more.one_time_prekeys.len(), 81);
    assert!(ids(&more).iter().all(|id| !ids(&first).contains(id)), "none is handed out twice");
}

#[test]
fn signed_prekeys_rotate_and_late_first_messages_are_read() {
    let (mut world, mut alice, mut bob) = two();
    alice.say(&mut world.server, &bob.user(), "under way for long");
    world.clock.advance(7 * DAY);
    assert!(bob.device.maintain().unwrap().publish);
    bob.publish(&mut world.server);
    assert!(!bob.device.maintain().unwrap().publish);
    assert_eq!(bob.texts(&mut world.server), ["under way for long"]);
}

#[test]
fn a_blocked_user_is_not_heard_and_not_written_to() {
    let (mut world, mut alice, mut bob) = acquainted();
    bob.device.set_trust(&alice.user(), Trust::Blocked).unwrap();
    alice.say(&mut world.server, &bob.user(), "hear me");
    assert_eq!(bob.poll(&mut world.server), []);
    assert!(matches!(bob.device.send(&alice.user(), b"no"), Err(DeviceError::Blocked)));
    bob.device.set_trust(&alice.user(), Trust::Verified).unwrap();
    assert_eq!(bob.device.user_info(&alice.user()).unwrap().unwrap().trust, Trust::Verified);
    alice.say(&mut world.server, &bob.user(), "again");
    assert_eq!(bob.texts(&mut world.server), ["again"]);
}

#[test]
fn trust_is_told_to_the_other_devices() {
    let (mut world, mut alice, bob) = acquainted();
    let mut alice2 = link(&mut alice, &mut world.server);
    alice.say(&mut world.server, &bob.user(), "so that there is a session");
    alice2.poll(&mut world.server);
    alice.device.set_trust(&bob.user(), Trust::Verified).unwrap();
    alice.push(&mut world.server);
    let received = alice2.poll(&mut world.server);
    assert_eq!(events(&received), [&Event::TrustChanged { of: bob.user(), trust: Trust::Verified }]);
    assert_eq!(alice2.device.user_info(&bob.user()).unwrap().unwrap().trust, Trust::Verified);
}

#[test]
fn an_unlinked_device_is_out_for_everybody() {
    let (mut world, mut alice, mut bob) = acquainted();
    let mut stolen = link(&mut alice, &mut world.server);
    stolen.say(&mut world.server, &bob.user(), "from the second");
    assert_eq!(bob.texts(&mut world.server), ["from the second"]);
    alice.poll(&mut world.server);
    alice.device.unlink(&stolen.address().device).unwrap();
    // Bob has not heard of it: the server withholds the list. The next message of Alice's brings it.
    stolen.say(&mut world.server, &bob.user(), "before");
    assert_eq!(bob.texts(&mut world.server), ["before"]);
    alice.say(&mut world.server, &bob.user(), "I lost a device");
    let received = bob.poll(&mut world.server);
    let removed = vec![stolen.address().device];
    assert!(
        events(&received).contains(&&Event::DevicesChanged {
            of: alice.user(),
            added: vec![],
            removed,
            unacknowledged: vec![]
        }),
        "{received:?}"
    );
    stolen.try_say(&mut world.server, &bob.user(), "after").unwrap();
    stolen.push(&mut world.server);
    let refused = world.server.take(&bob.address());
    assert!(!refused.is_empty());
    for message in refused {
        let result = bob.device.receive(&message, Some(&alice.user()));
        assert!(matches!(result, Err(DeviceError::Message(Error::UnknownPreKey))), "{result:?}");
    }
    // Nor does it get in anew with its old certificate.
    let mut anew = stolen;
    anew.device.forget(&bob.user()).unwrap();
    anew.say(&mut world.server, &bob.user(), "anew");
    for message in world.server.take(&bob.address()) {
        let result = bob.device.receive(&message, None);
        assert!(matches!(result, Err(DeviceError::Refused(Refusal::NotInList))), "{result:?}");
    }
    // The other one is still Alice's: forgotten with her.
    assert_eq!(bob.store.count(PEERS), 1);
    bob.device.forget(&alice.user()).unwrap();
    assert_eq!(bob.store.count(PEERS), 0);
}

/// The first message is late, and the session of the second one was stored in between.
#[test]
fn first_messages_may_come_out_of_order() {
    let (mut world, mut alice, mut bob) = two();
    for text in ["first", "second", "third"] {
        alice.say(&mut world.server, &bob.user(), text);
    }
    let messages = world.server.take(&bob.address());
    for (position, text) in [(2, "third"), (0, "first"), (1, "second")] {
        bob.restart();
        assert_eq!(texts(&bob.device.receive(&messages[position], None).unwrap()), [text]);
    }
}

#[test]
fn batches_are_read_as_one_by_one() {
    let (mut world, mut alice, mut bob) = acquainted();
    let mut carol = Phone::new(&world.clock, &mut world.server);
    let b = bob.user();
    let drafts: Vec<_> = (0..20).map(|i| format!("a{i}")).collect();
    let drafts: Vec<_> = drafts.iter().map(|text| Draft::new(&b, text.as_bytes())).collect();
    let sent = alice.device.send_many(&drafts).unwrap();
    assert_eq!(sent.len(), 20);
    let listed: Vec<_> = alice.device.outbox().map(Result::unwrap).collect();
    assert_eq!(sent, listed, "in the order in which they were written");
    alice.push(&mut world.server);
    carol.say(&mut world.server, &bob.user(), "from a stranger");
    let mut messages = world.server.take(&bob.address());
    messages.insert(3, messages[0].clone());
    let mut forged = messages[9].clone();
    forged[2] ^= 1;
    messages.insert(10, forged);
    messages.insert(11, b"garbage".to_vec());
    messages.push(messages[22].clone());
    let alices = alice.user();
    let incoming: Vec<_> = messages
        .iter()
        .enumerate()
        .map(|(i, bytes)| Incoming { bytes, from: (i % 2 == 0).then_some(&alices) })
        .collect();
    let results = bob.device.receive_many(&incoming);
    let shown: Vec<_> = results
        .iter()
        .map(|result| match result {
            Ok(received) => texts(received).join(","),
            Err(DeviceError::Message(error)) => format!("{error:?}"),
            Err(error) => panic!("{error}"),
        })
        .collect();
    let mut expected: Vec<_> = (0..20).map(|i| format!("a{i}")).collect();
    expected.push("from a stranger".to_owned());
    expected.insert(3, "Duplicate".to_owned());
    expected.insert(10, "UnknownSession".to_owned());
    expected.insert(11, "Malformed".to_owned());
    expected.push("Duplicate".to_owned());
    assert_eq!(shown, expected);
    assert_eq!(bob.device.inbox().count(), 22, "with the stranger's appearance");
}

#[test]
fn a_draft_with_an_id_is_sent_once() {
    let (mut world, mut alice, mut bob) = acquainted();
    let (b, id) = (bob.user(), MessageId::from_bytes([7; 16]));
    let draft = Draft::new(&b, b"once").with_id(id);
    let first = alice.device.send_many(&[draft]).unwrap();
    assert_eq!(first[0].message, Some(id));
    // In the outbox: the very same.
    assert_eq!(alice.device.send_many(&[draft]).unwrap(), first);
    alice.push(&mut world.server);
    // Sent, and the app has forgotten that.
    assert_ne!(alice.device.send_many(&[draft]).unwrap(), first);
    alice.push(&mut world.server);
    assert_eq!(bob.texts(&mut world.server), ["once"]);
}

/// A descriptor that is told apart by its first byte.
fn attachment(first: u8) -> AttachmentDescriptor {
    let head = [&[0x71, first][..], &[7; 31], &70_000_u64.to_be_bytes(), &[8; 32], &[0, 1, 0, 0]].concat();
    AttachmentDescriptor::from_bytes(&[&head[..], b"\x09image/png\x08rose.png\0\0\0\0"].concat()).unwrap()
}

/// Content, attachments, and whether it was resent, of the one message that came in.
fn one_with_attachments(
    received: &[subrosa::Received],
) -> (Vec<u8>, Vec<AttachmentDescriptor>, Option<bool>) {
    let found = received.iter().filter_map(|received| match &received.event {
        Event::Message { content, attachments, resent, .. } => {
            Some((content.clone(), attachments.clone(), Some(*resent)))
        }
        Event::SentElsewhere { content, attachments, .. } => {
            Some((content.clone(), attachments.clone(), None))
        }
        _ => None,
    });
    let found: Vec<_> = found.collect();
    assert_eq!(found.len(), 1, "{received:?}");
    found.into_iter().next().unwrap()
}

#[test]
fn attachments_travel_with_messages() {
    let (mut world, mut alice, mut bob) = acquainted();
    let mut alice2 = link(&mut alice, &mut world.server);
    alice.say(&mut world.server, &alice.user(), "note");
    alice2.poll(&mut world.server);
    let (b, both) = (bob.user(), [attachment(1), attachment(2)]);

    // To every device of both; in the inbox over a restart.
    let sent = alice.device.send_many(&[Draft::new(&b, b"two roses").with_attachments(&both)]).unwrap();
    assert_eq!(sent.len(), 2);
    alice.push(&mut world.server);
    let (content, attachments, resent) = one_with_attachments(&alice2.poll(&mut world.server));
    assert_eq!((&content[..], &attachments[..], resent), (&b"two roses"[..], &both[..], None));
    for message in world.server.take(&bob.address()) {
        bob.device.receive(&message, None).unwrap();
    }
    bob.restart();
    let inbox: Vec<_> = bob.device.inbox().map(Result::unwrap).collect();
    let (content, attachments, resent) = one_with_attachments(&inbox);
    assert_eq!((&content[..], &attachments[..], resent), (&b"two roses"[..], &both[..], Some(false)));
    bob.device.acknowledge(inbox.iter().map(|received| received.id)).unwrap();

    // Lost, and sent again.
    alice.device.send_many(&[Draft::new(&b, b"").with_attachments(&both[1..])]).unwrap();
    alice.push(&mut world.server);
    world.server.take(&bob.address());
    alice.say(&mut world.server, &b, "arrives");
    bob.poll(&mut world.server);
    world.clock.advance(61);
    bob.say(&mut world.server, &alice.user(), "what did you say?");
    alice.poll(&mut world.server);
    world.clock.advance(60 * 60);
    alice.device.maintain().unwrap();
    alice.push(&mut world.server);
    let (content, attachments, resent) = one_with_attachments(&bob.poll(&mut world.server));
    assert_eq!((&content[..], &attachments[..], resent), (&b""[..], &both[1..], Some(true)));
}

/// No more than 32, and what they say counts.
#[test]
fn attachments_are_within_limits() {
    let (mut world, mut alice, mut bob) = acquainted();
    let b = bob.user();
    let many: Vec<_> = (0..33).map(attachment).collect();
    let before = alice.store.records();
    let refused = alice.device.send_many(&[Draft::new(&b, b"").with_attachments(&many)]);
    assert!(matches!(refused, Err(DeviceError::ContentTooLong)));
    let large = many.into_iter().take(32).map(|it| it.with_thumbnail(&[5; MAX_THUMBNAIL_LEN]).unwrap());
    let large: Vec<_> = large.collect();
    let taken = large.iter().map(|it| 4 + it.to_bytes().len()).sum::<usize>();
    let content = vec![b'x'; MAX_MESSAGE_LEN - taken + 1];
    let refused = alice.device.send_many(&[Draft::new(&b, &content).with_attachments(&large)]);
    assert!(matches!(refused, Err(DeviceError::ContentTooLong)));
    assert!(alice.store.records() == before);
    alice.device.send_many(&[Draft::new(&b, &content[1..]).with_attachments(&large)]).unwrap();
    alice.push(&mut world.server);
    let (read, attachments, _) = one_with_attachments(&bob.poll(&mut world.server));
    assert!(read == content[1..] && attachments == large);
}

/// Without a hint all sessions are tried, also those that another process has used since.
#[test]
fn messages_find_their_session_without_a_hint() {
    let (mut world, mut alice, mut bob) = acquainted();
    let mut others: Vec<_> = (0..5).map(|_| Phone::new(&world.clock, &mut world.server)).collect();
    for other in &mut others {
        other.say(&mut world.server, &bob.user(), "me, too");
    }
    bob.poll(&mut world.server);
    let mut extension = Phone {
        device: Device::open(bob.store.clone(), bob.clock.config()).unwrap(),
        store: bob.store.clone(),
        clock: bob.clock.clone(),
    };
    for round in 0..4 {
        for (index, other) in others.iter_mut().enumerate() {
            let reader = if (round + index) % 2 == 0 { &mut bob } else { &mut extension };
            reader.say(&mut world.server, &other.user(), "ping");
            assert_eq!(other.texts(&mut world.server), ["ping"]);
            other.say(&mut world.server, &reader.user(), "pong");
            let reader = if round % 2 == 0 { &mut bob } else { &mut extension };
            assert_eq!(reader.texts(&mut world.server), ["pong"]);
        }
        alice.say(&mut world.server, &bob.user(), "and I");
        assert_eq!(extension.texts(&mut world.server), ["and I"]);
    }
}

/// Two handles on one store, on two threads, write to the same peer: nothing is lost, nothing comes twice.
#[test]
fn a18_two_handles_race() {
    const MESSAGES: usize = 200;
    let (mut world, alice, mut bob) = acquainted();
    let b = bob.user();
    let threads: Vec<_> = (0..2)
        .map(|thread| {
            let mut device = Device::open(alice.store.clone(), alice.clock.config()).unwrap();
            std::thread::spawn(move || {
                for i in 0..MESSAGES {
                    device.send(&b, format!("{thread}-{i}").as_bytes()).unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let mut alice = alice;
    alice.push(&mut world.server);
    let mut read = bob.texts(&mut world.server);
    assert_eq!(read.len(), 2 * MESSAGES);
    read.sort();
    read.dedup();
    assert_eq!(read.len(), 2 * MESSAGES);
    bob.say(&mut world.server, &alice.user(), "all of them");
    assert_eq!(alice.texts(&mut world.server), ["all of them"]);
}

/// The list of devices is renewed by the device with the root key, and the others get to know it.
#[test]
fn other_devices_get_new_certificates() {
    let (mut world, mut alice, bob) = acquainted();
    let mut second = link(&mut alice, &mut world.server);
    alice.say(&mut world.server, &bob.user(), "a session between Alice's devices");
    second.poll(&mut world.server);
    second.say(&mut world.server, &alice.user(), "I have the list");
    alice.poll(&mut world.server);
    for _ in 0..4 {
        world.clock.advance(40 * DAY);
        alice.device.provide(&world.server.list(&alice.user()).unwrap()).unwrap();
        alice.device.maintain().unwrap();
        alice.publish(&mut world.server);
        assert_eq!(alice.device.outbox().count(), 1);
        alice.push(&mut world.server);
        let expires = |phone: &Phone| phone.device.user_info(&alice.user()).unwrap().unwrap().list_expires;
        assert!(expires(&second) < expires(&alice));
        assert_eq!(second.poll(&mut world.server), [], "the devices are the same");
        assert_eq!(expires(&second), expires(&alice));
        second.device.maintain().unwrap();
        second.publish(&mut world.server);
        second.say(&mut world.server, &alice.user(), "got it");
        alice.poll(&mut world.server);
        alice.device.maintain().unwrap();
        assert_eq!(alice.device.outbox().count(), 0);
        let mut carol = Phone::new(&world.clock, &mut world.server);
        second.say(&mut world.server, &carol.user(), "my certificate is good");
        assert_eq!(carol.texts(&mut world.server), ["my certificate is good"]);
        alice.poll(&mut world.server);
    }
    world.clock.advance(91 * DAY);
    let mut carol = Phone::new(&world.clock, &mut world.server);
    let expired = second.try_say(&mut world.server, &carol.user(), "mine is not");
    assert!(matches!(expired, Err(DeviceError::CertificateExpired)), "{expired:?}");
    carol.poll(&mut world.server);
}

#[test]
fn a_link_is_with_who_has_the_code_and_nobody_else() {
    let (world, mut alice, mut mallory) = acquainted();
    let mut link = Link::begin(TestStore::default(), alice.clock.config()).unwrap();
    let other = Link::begin(TestStore::default(), alice.clock.config()).unwrap();
    let code = link.code();
    assert_eq!((code.len(), &code[..7]), (169, "srlink1"));
    let bad = |result: Result<Vec<u8>, DeviceError>| {
        assert!(matches!(result, Err(DeviceError::BadLink)), "{result:?}")
    };
    for broken in ["", "srlink1", &code[1..], &code.replace('q', "p"), &alice.user().to_string()] {
        bad(alice.device.offer_link(broken));
    }
    let offer = alice.device.offer_link(&code.to_uppercase()).unwrap();
    // An offer for another code, an altered one, one of somebody else who has seen the code.
    assert!(matches!(other.user_of(&offer), Err(DeviceError::BadLink)));
    for position in 1..offer.len() {
        let mut altered = offer.clone();
        altered[position] ^= 1;
        assert!(matches!(link.user_of(&altered), Err(DeviceError::BadLink)), "{position}");
        assert!(matches!(link.user_of(&offer[..position]), Err(DeviceError::BadLink)));
    }
    let malicious = mallory.device.offer_link(&code).unwrap();
    assert_eq!(link.user_of(&malicious).unwrap(), mallory.user(), "the person sees whose it is");
    bad(link.confirm(&malicious, &alice.user()));
    let reply = link.confirm(&offer, &alice.user()).unwrap();
    bad(mallory.device.approve_link(&reply));
    for position in 1..reply.len() {
        let mut altered = reply.clone();
        altered[position] ^= 1;
        bad(alice.device.approve_link(&altered));
        bad(alice.device.approve_link(&reply[..position]));
    }
    assert_eq!(alice.device.user_info(&alice.user()).unwrap().unwrap().devices.len(), 1);
    let grant = alice.device.approve_link(&reply).unwrap();
    // Lost on the way: the same again.
    let again = alice.device.approve_link(&reply).unwrap();
    assert_ne!(grant, again);
    assert_eq!(alice.device.user_info(&alice.user()).unwrap().unwrap().devices.len(), 2);
    let mut altered = again.clone();
    altered[40] ^= 1;
    let refused = link.complete(&altered);
    assert!(matches!(refused, Err(DeviceError::BadLink)), "{refused:?}");
    // Too late.
    let mut slow = Link::begin(TestStore::default(), alice.clock.config()).unwrap();
    let offer = alice.device.offer_link(&slow.code()).unwrap();
    let reply = slow.confirm(&offer, &alice.user()).unwrap();
    world.clock.advance(60 * 60);
    bad(alice.device.approve_link(&reply));
}

#[test]
fn a_linked_device_knows_the_contacts_and_cannot_link_others() {
    let (mut world, mut alice, bob) = acquainted();
    alice.device.set_trust(&bob.user(), Trust::Verified).unwrap();
    let mut second = link(&mut alice, &mut world.server);
    let info = second.device.user_info(&bob.user()).unwrap().unwrap();
    assert_eq!((info.trust, info.devices), (Trust::Verified, vec![bob.address().device]));
    assert_eq!(second.device.users().count(), 2);
    for phone in [&alice, &second] {
        let own = phone.device.user_info(&alice.user()).unwrap().unwrap();
        assert_eq!((own.trust, own.stranger), (Trust::Verified, false));
    }
    assert_eq!(
        (alice.device.holds_root_key().unwrap(), second.device.holds_root_key().unwrap()),
        (true, false)
    );
    let link = Link::begin(TestStore::default(), alice.clock.config()).unwrap();
    let refused = second.device.offer_link(&link.code());
    assert!(matches!(refused, Err(DeviceError::NoRootKey)), "{refused:?}");
    assert!(matches!(second.device.unlink(&alice.address().device), Err(DeviceError::NoRootKey)));
    assert!(matches!(alice.device.unlink(&alice.address().device), Err(DeviceError::UnknownDevice)));
}

#[test]
fn a_backup_brings_back_who_one_is_and_whom_one_knows() {
    let (mut world, mut alice, mut bob) = acquainted();
    let mut tablet = link(&mut alice, &mut world.server);
    alice.device.set_trust(&bob.user(), Trust::Verified).unwrap();
    let mut settings = Settings::default();
    settings.padding = Padding::None;
    alice.device.set_settings(settings).unwrap();
    let key = RecoveryKey::generate().unwrap();
    let backup = alice.device.backup(&BackupLock::Key(&key)).unwrap();
    // Linked after the backup was made: the server's list has it.
    let laptop = link(&mut alice, &mut world.server);
    let written_down: RecoveryKey = key.to_text().parse().unwrap();
    let list = world.server.list(&alice.user()).unwrap();
    let store = TestStore::default();
    let restored = Device::restore(
        store.clone(),
        world.clock.config(),
        &backup,
        &BackupLock::Key(&written_down),
        Some(&list),
    );
    let mut restored = Phone { device: restored.unwrap(), store, clock: world.clock.clone() };
    restored.publish(&mut world.server);
    assert_eq!(restored.user(), alice.user());
    assert_ne!(restored.address(), alice.address());
    let mut devices = restored.device.user_info(&alice.user()).unwrap().unwrap().devices;
    devices.sort();
    let mut expected = vec![restored.address().device, tablet.address().device, laptop.address().device];
    expected.sort();
    assert_eq!(devices, expected, "the one of before is not among them");
    assert_eq!(restored.device.user_info(&bob.user()).unwrap().unwrap().trust, Trust::Verified);
    restored.say(&mut world.server, &bob.user(), "I am back");
    let received = bob.poll(&mut world.server);
    assert_eq!(texts(&received), ["I am back"]);
    assert!(events(&received).iter().any(
        |event| matches!(event, Event::DevicesChanged { removed, .. } if *removed == [alice.address().device])
    ));
    bob.say(&mut world.server, &alice.user(), "welcome");
    assert_eq!(restored.texts(&mut world.server), ["welcome"]);
    assert!(tablet.texts(&mut world.server).contains(&"welcome".to_owned()));
    // Its own list refuses the device of before.
    alice.device.provide(&world.server.list(&alice.user()).unwrap()).unwrap();
    assert!(matches!(alice.device.send(&bob.user(), b"?"), Err(DeviceError::Unlinked)));
}

#[test]
fn a45_a_backup_opens_under_its_own_lock_alone() {
    let (_, mut alice, _) = acquainted();
    let restore = |backup: &[u8], lock: &BackupLock<'_>| {
        Device::restore(TestStore::default(), TestClock::default().config(), backup, lock, None)
    };
    let lock = BackupLock::Passphrase("correct horse");
    let backup = alice.device.backup(&lock).unwrap();
    assert_eq!(restore(&backup, &lock).unwrap().user(), alice.user());
    let key = RecoveryKey::generate().unwrap();
    for wrong in [BackupLock::Passphrase("correct horsf"), BackupLock::Passphrase(""), BackupLock::Key(&key)]
    {
        let refused = restore(&backup, &wrong);
        assert!(matches!(refused, Err(DeviceError::BadBackup)), "{refused:?}");
    }
    let backup = alice.device.backup(&BackupLock::Key(&key)).unwrap();
    for position in 0..backup.len() {
        let mut altered = backup.clone();
        altered[position] ^= 1;
        assert!(restore(&altered, &BackupLock::Key(&key)).is_err(), "{position}");
        assert!(restore(&backup[..position], &BackupLock::Key(&key)).is_err());
    }
    assert!(!backup.windows(32).any(|window| window == alice.user().to_bytes()));
    let (_, mut other, _) = acquainted();
    let mut linked = link(&mut other, &mut Server::default());
    assert!(matches!(linked.device.backup(&lock), Err(DeviceError::NoRootKey)));
}

#[test]
fn random_ids_are_different() {
    let (mut world, mut alice, bob) = acquainted();
    let ids = [MessageId::random().unwrap(), MessageId::random().unwrap()];
    assert_ne!(ids[0], ids[1]);
    let to = bob.user();
    let drafts = ids.map(|id| Draft::new(&to, b"the same").with_id(id));
    assert_eq!(alice.device.send_many(&drafts).unwrap().len(), 2, "nor is the second a repetition");
    alice.push(&mut world.server);
}

/// What is refused before anything is done: the store is as it was.
#[test]
fn what_cannot_be_meant_changes_nothing() {
    let (mut world, mut alice, bob) = acquainted();
    let second = link(&mut alice, &mut world.server);
    let before = alice.store.records();
    let begun = Link::begin(alice.store.clone(), world.clock.config());
    assert!(matches!(begun, Err(DeviceError::Occupied)), "{begun:?}");
    let created = Device::create(alice.store.clone(), world.clock.config());
    assert!(matches!(created, Err(DeviceError::Occupied)), "{created:?}");
    for (device, known) in [(bob.address().device, false), (alice.address().device, true)] {
        let unlinked = alice.device.unlink(&device);
        assert!(matches!(unlinked, Err(DeviceError::UnknownDevice)), "{known}: {unlinked:?}");
    }
    let stranger = Phone::unpublished(&world.clock).user();
    for user in [alice.user(), stranger] {
        let forgotten = alice.device.forget(&user);
        assert!(matches!(forgotten, Err(DeviceError::UnknownUser)), "{forgotten:?}");
    }
    assert_eq!(alice.store.records(), before);
    alice.device.unlink(&second.address().device).unwrap();
    assert_ne!(alice.store.records(), before);
}

/// The server has not been published to yet: its list of the user is from before the linking.
#[test]
fn an_older_list_of_ones_own_is_no_news() {
    let (mut world, mut alice, _) = acquainted();
    let older = world.server.list(&alice.user()).unwrap();
    let second = link(&mut alice, &mut world.server);
    assert_eq!(alice.device.provide(&older).unwrap(), []);
    let devices = alice.device.user_info(&alice.user()).unwrap().unwrap().devices;
    assert!(devices.contains(&second.address().device), "the newer one stays");
}

/// The list that goes with a backup is the newest there is of that user, or nothing comes of it.
#[test]
fn a19_a_backup_goes_by_the_newest_list() {
    let (mut world, mut alice, bob) = acquainted();
    let key = RecoveryKey::generate().unwrap();
    let lock = BackupLock::Key(&key);
    let older = world.server.list(&alice.user()).unwrap();
    let first = alice.device.backup(&lock).unwrap();
    let tablet = link(&mut alice, &mut world.server);
    let second = alice.device.backup(&lock).unwrap();
    let restore = |backup: &[u8], list: &[u8]| {
        let store = TestStore::default();
        let restored = Device::restore(store.clone(), world.clock.config(), backup, &lock, Some(list));
        assert_eq!(restored.is_err(), store.records().is_empty());
        restored
    };
    let refusal = |result| match result {
        Err(DeviceError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    };
    // Another user's, and one that is altered.
    assert_eq!(refusal(restore(&second, &world.server.list(&bob.user()).unwrap())), Refusal::Forged);
    let mut altered = older.clone();
    *altered.last_mut().unwrap() ^= 1;
    assert_eq!(refusal(restore(&second, &altered)), Refusal::Forged);
    // An old one, from a server that knows better or does not: the backup's own is newer, and has the tablet.
    let restored = restore(&second, &older).unwrap();
    let devices = restored.user_info(&alice.user()).unwrap().unwrap().devices;
    assert!(devices.len() == 2 && devices.contains(&tablet.address().device));
    // Another second list: somebody has restored from the first backup meanwhile.
    let mut twin = restore(&first, &older).unwrap();
    let other = twin.publication(0).unwrap().list;
    assert_eq!(refusal(restore(&second, &other.to_bytes())), Refusal::Forked);
}

/// Thirty-two devices are the limit, of linkings that were begun at once as well.
#[test]
fn a46_there_are_no_more_than_32_devices() {
    let (mut world, mut alice, _) = acquainted();
    for _ in 2..32 {
        link(&mut alice, &mut world.server);
    }
    let begun = [(); 2].map(|()| {
        let store = TestStore::default();
        let mut link = Link::begin(store, world.clock.config()).unwrap();
        let offer = alice.device.offer_link(&link.code()).unwrap();
        let reply = link.confirm(&offer, &alice.user()).unwrap();
        (link, reply)
    });
    let [(first, reply), (_, of_second)] = begun;
    first.complete(&alice.device.approve_link(&reply).unwrap()).unwrap();
    let refused = alice.device.approve_link(&of_second);
    assert!(matches!(refused, Err(DeviceError::TooManyDevices)), "{refused:?}");
    alice.device.approve_link(&reply).unwrap();
    let late = Link::begin(TestStore::default(), world.clock.config()).unwrap();
    let refused = alice.device.offer_link(&late.code());
    assert!(matches!(refused, Err(DeviceError::TooManyDevices)), "{refused:?}");
    assert_eq!(alice.device.user_info(&alice.user()).unwrap().unwrap().devices.len(), 32);
}

/// A device that only reads is told of a new list once, and once more on the next day, not at every start.
#[test]
fn a_device_that_only_reads_is_told_of_a_list_once_a_day() {
    let (mut world, mut alice, _) = acquainted();
    let mut tablet = link(&mut alice, &mut world.server);
    alice.say(&mut world.server, &tablet.user(), "hello");
    tablet.poll(&mut world.server);
    let mut told = Vec::new();
    for advance in [0, 0, DAY - 1, 1, 0] {
        world.clock.advance(advance);
        alice.device.maintain().unwrap();
        told.push(alice.device.outbox().count());
        alice.push(&mut world.server);
        tablet.poll(&mut world.server);
    }
    assert_eq!(told, [1, 0, 0, 1, 0]);
    tablet.say(&mut world.server, &alice.user(), "I have it");
    alice.poll(&mut world.server);
    world.clock.advance(DAY);
    alice.device.maintain().unwrap();
    assert_eq!(alice.device.outbox().count(), 0);
}
