//! Who can write to the store, and has no key, puts rows back while the device goes on.

use super::*;
use crate::{
    Error,
    crypto::recorder::recorded,
    device::{records::Table, vault::cold_id},
    store::{Change, Expected},
};

/// The only row of a table.
fn row(device: &D, table: Table) -> Record {
    let [row] = device.vault.store.list(table as u8, 0, 2).unwrap().try_into().expect("one row");
    row
}

/// Sends, and says under which body key, too.
fn send(from: &mut D, to: &UserId, text: &[u8]) -> (Vec<u8>, String) {
    let (sent, trace) = recorded(|| from.send(to, text).unwrap().remove(0));
    let keys: Vec<_> = trace.into_iter().filter(|(name, _)| name == "body key").collect();
    // Of an attempt that met a conflict, which has left nothing, there is one before.
    (sent.bytes, keys.last().unwrap().1.clone())
}

/// The device loads the row, and loads it once more: each time what it sends is under another key, and the peer says so.
#[test]
fn a36_a_row_put_back_under_a_live_device_repeats_no_key() {
    let (mut alice, mut bob) = two(&Clock::new());
    let (a, b) = (alice.user(), bob.user());
    let (turn, _) = send(&mut alice, &b, b"makes a ratchet key");
    bob.receive(&turn, Some(&a)).unwrap();
    let before = row(&alice, Table::Sessions);
    let (first, key) = send(&mut alice, &b, b"all is well");
    let mut keys = vec![key];
    bob.receive(&first, Some(&a)).unwrap();
    for text in [&b"attack at dawn"[..], b"retreat"] {
        put_back(&mut alice, &before);
        let (message, key) = send(&mut alice, &b, text);
        assert!(!keys.contains(&key), "one key for two texts");
        keys.push(key);
        let refused = bob.receive(&message, Some(&a));
        assert!(matches!(refused, Err(DeviceError::Message(Error::PeerRolledBack))), "{refused:?}");
    }
}

/// The whole store is put back, and opened: whichever side sends first, on both the next message is under another key than any
/// before, although it is of the same number.
#[test]
fn a36_a_store_that_was_put_back_repeats_no_key() {
    let clock = Clock::new();
    let (mut alice, mut bob) = two(&clock);
    let (a, b) = (alice.user(), bob.user());
    let before = alice.vault.store.copy();
    let mut keys = vec![send(&mut alice, &b, b"one").1, send(&mut alice, &b, b"two").1];
    let first = send(&mut bob, &a, b"for her").0;
    for store in [before.copy(), before] {
        let mut alice = Device::open(store, clock.config()).unwrap();
        for text in [&b"one"[..], b"two", b"three"] {
            let (_, key) = send(&mut alice, &b, text);
            assert!(!keys.contains(&key), "one key for two messages");
            keys.push(key);
        }
        alice.receive(&first, Some(&b)).unwrap();
        let (_, key) = send(&mut alice, &b, b"after a turn");
        assert!(!keys.contains(&key), "one key for two messages");
        keys.push(key);
    }
}

/// What the device has stored itself, and finds as it was, is no other state: a full cache does not use up incarnations.
#[test]
fn a_session_that_is_as_it_was_stored_keeps_its_incarnation() {
    let (mut alice, bob) = two(&Clock::new());
    let b = bob.user();
    let incarnation = |device: &mut D| {
        let (_, trace) = recorded(|| device.send(&b, b"text").unwrap());
        let header = trace.into_iter().rfind(|(name, _)| name == "header").unwrap().1;
        header[header.len() - 8..].to_owned()
    };
    let first = incarnation(&mut alice);
    alice.cache.clear();
    assert_eq!(incarnation(&mut alice), first);
    // After a commit of which nobody knows whether it was carried out, the next number may have been used.
    alice.vault.store.full.store(true, Relaxed);
    assert!(alice.send(&b, b"never sent").is_err());
    alice.vault.store.full.store(false, Relaxed);
    assert_ne!(incarnation(&mut alice), first);
}

/// Two branches of one session, both live in one process after the other: their halves do not open together.
#[test]
fn halves_of_two_live_branches_do_not_mix() {
    let (mut alice, mut bob) = two(&Clock::new());
    let (a, b) = (alice.user(), bob.user());
    let messages: Vec<_> = (0..4u8).map(|i| send(&mut alice, &b, &[b'0' + i]).0).collect();
    bob.receive(&messages[0], Some(&a)).unwrap();
    let before = row(&bob, Table::Sessions);
    bob.receive(&messages[2], Some(&a)).unwrap();
    let [hot, cold] = [Table::Sessions, Table::Cold].map(|table| row(&bob, table));
    assert_eq!(cold.id, cold_id(&hot.id));
    // There was no cold half before.
    bob.vault
        .store
        .inner
        .commit(&[Change { id: cold.id, expected: Expected::Anything, action: Action::Delete }])
        .unwrap();
    put_back(&mut bob, &before);
    bob.receive(&messages[3], Some(&a)).unwrap();
    let other = [Table::Sessions, Table::Cold].map(|table| row(&bob, table));
    let id = bob.cache.sessions.keys().next().copied().unwrap();
    for (hot, cold) in [(&hot, &other[1]), (&other[0], &cold)] {
        put_back(&mut bob, hot);
        // Under the version that the other half has, as who writes to the store may.
        put_back(&mut bob, cold);
        assert!(bob.vault.read_session(&id).unwrap().unwrap().session.is_none());
    }
    put_back(&mut bob, &hot);
    put_back(&mut bob, &cold);
    assert!(bob.vault.read_session(&id).unwrap().unwrap().session.is_some());
}

/// A device is put back to before it began a session, and begins another one: with a number that was used. That says nothing about the new one,
/// in which the two go on.
#[test]
fn a_session_that_begins_with_a_number_that_was_used_is_in_order() {
    let clock = Clock::new();
    let (mut alice, mut bob) = two(&clock);
    let (a, b) = (alice.user(), bob.user());
    alice.receive(&garbage(), Some(&b)).unwrap_err();
    let before = alice.vault.store.copy();
    say(&mut alice, &mut [&mut bob], &b, b"in a new session");
    let mut alice = Device::open(before, clock.config()).unwrap();
    clock.advance(DAY);
    let out = try_send(&mut alice, &mut [&mut bob], &b, b"in another one").unwrap().remove(0);
    let received = bob.receive(&out.bytes, None).unwrap();
    assert_eq!(received[0].event, Event::PeerRolledBack);
    assert!(is_shown(&Ok(received)));
    assert_eq!(suspicion(&mut bob, alice.address().device), Suspicion::None);
    bob.send(&a, b"no bundle is asked for").unwrap();
}

/// What is late of a session that was replaced, and was not found broken, says nothing about the one that is sent on, however long that
/// has been.
#[test]
fn what_is_late_of_a_session_that_was_replaced_marks_nothing() {
    let clock = Clock::new();
    let (mut alice, mut bob) = two(&clock);
    let (a, b) = (alice.user(), bob.user());
    let device = alice.address().device;
    let late = alice.send(&b, b"late").unwrap().remove(0);
    bob.receive(&garbage(), Some(&a)).unwrap_err();
    say(&mut bob, &mut [&mut alice], &a, b"in a new session");
    say(&mut alice, &mut [&mut bob], &b, b"answered");
    clock.advance(DAY);
    assert!(is_shown(&bob.receive(&late.bytes, None)));
    assert_eq!(suspicion(&mut bob, device), Suspicion::None);
}
