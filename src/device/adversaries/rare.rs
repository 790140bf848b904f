//! What hardly ever happens: numbers that run out, lists that take their bearer out, words of later releases.

use super::*;
use crate::device::{
    records::{Fetched, Stored},
    work::FETCHED,
};

fn events(received: Vec<Received>) -> Vec<Event> {
    received.into_iter().map(|received| received.event).collect()
}

/// A device that has introduced itself as Alice's is in Mallory's list, and then is not any more: that is none of Alice's
/// business.
#[test]
fn a34_another_users_list_takes_nothing_away() {
    let (mut bob, alice, mallory) = (Clock::new().device(), Root::new(), Root::new());
    let (other, both) = (IdentityKeyPair::generate(), IdentityKeyPair::generate());
    let mut session = alice.begin(&both, &alice.list(None, &[&both]), &mut bob);
    bob.receive(&session.encrypt(&text(0).encode()).unwrap(), None).unwrap();
    let named = mallory.list(None, &[&other, &both]);
    bob.provide(named.as_bytes()).unwrap();
    bob.provide(mallory.list(Some(&named), &[&other]).as_bytes()).unwrap();
    assert!(is_shown(&bob.receive(&session.encrypt(&text(1).encode()).unwrap(), None)));
}

/// A device was taken out of the list, and brings the one that says so.
#[test]
fn a19_who_brings_the_list_that_it_is_not_in_is_out() {
    let (mut bob, alice) = (Clock::new().device(), Root::new());
    let (kept, removed) = (IdentityKeyPair::generate(), IdentityKeyPair::generate());
    let before = alice.list(None, &[&kept, &removed]);
    bob.provide(before.as_bytes()).unwrap();
    let mut session = alice.begin(&removed, &before, &mut bob);
    bob.receive(&session.encrypt(&text(0).encode()).unwrap(), None).unwrap();
    let after = alice.list(Some(&before), &[&kept]);
    let content = Content { lists: vec![after.as_bytes()], ..text(1) };
    let received = bob.receive(&session.encrypt(&content.encode()).unwrap(), None).unwrap();
    let (of, removed) = (*alice.0.user_id(), vec![DeviceId::of(removed.identity_key())]);
    let changed = Event::DevicesChanged { of, added: vec![], removed, unacknowledged: vec![] };
    assert_eq!(events(received), [changed, Event::ListRefused(Refusal::NotInList)], "and no text");
    bob.receive(&session.encrypt(&text(2).encode()).unwrap(), None).unwrap_err();
}

/// A device of the user's own, of a later release, has a degree of trust that this one does not know.
#[test]
fn trust_of_a_later_release_is_not_understood() {
    let clock = Clock::new();
    let (mut alice, mut second, bob) = acquainted(&clock);
    let (user, since) = (bob.user(), clock.now());
    let meaning = Meaning::Trust { user, trust: 9, since };
    let sent = alice.run(|work, context, _| work.tell_own_devices(context, &meaning)).unwrap();
    let received = second.receive(&sent[0].bytes, None).unwrap();
    assert_eq!(events(received), [Event::NotUnderstood]);
    assert_eq!(second.user_info(&user).unwrap().unwrap().trust, Trust::Unverified);
}

/// After 2^32 messages.
#[test]
fn a_stream_without_numbers_is_followed_by_another() {
    let (mut alice, mut bob) = two(&Clock::new());
    let b = bob.user();
    let device = bob.address().device;
    let before = alice
        .run(|work, _, _| {
            let sending = &mut work.peer(&device)?.change().unwrap().sending;
            sending.next = u32::MAX;
            Ok(sending.stream)
        })
        .unwrap();
    let out = alice.send(&b, b"the first of another").unwrap();
    let received = bob.receive(&out[0].bytes, None).unwrap();
    assert!(matches!(events(received)[..], [Event::Message { .. }]), "and nothing is missing");
    let now = alice.run(|work, _, _| {
        let sending = &work.peer(&device)?.get().unwrap().sending;
        Ok((sending.stream, sending.next))
    });
    let (stream, next) = now.unwrap();
    assert!(stream != before && next == 1);
}

/// What was asked for waits for an hour, or for another message to that device.
#[test]
fn nothing_is_answered_before_its_time() {
    let clock = Clock::new();
    let (mut alice, bob) = two(&clock);
    let b = bob.user();
    let device = bob.address().device;
    // By the number of what is in the outbox, and was not sent to the server.
    alice.send(&b, b"lost").unwrap();
    let asks = alice.run(|work, context, _| {
        let sending = &work.peer(&device)?.get().unwrap().sending;
        let asks = [Place { stream: sending.stream, number: sending.next - 1 }];
        work.note_asks(context, &device, &asks)
    });
    asks.unwrap();
    let mut outbox = |seconds| {
        clock.advance(seconds);
        alice.run(|work, context, _| work.answer_late(context, &device)).unwrap();
        alice.outbox().count()
    };
    assert_eq!([outbox(0), outbox(HOUR - 1), outbox(1), outbox(DAY)], [1, 1, 2, 2]);
}

/// In one operation, whatever is stored: it is not committed yet.
#[test]
fn an_operation_reads_what_it_has_changed() {
    let clock = Clock::new();
    let mut device = clock.device();
    let put = |work: &mut Work<'_, FlakyStore>, own_list| work.put(FETCHED, &Fetched { own_list });
    device.run(|work, context, _| put(work, context.now)).unwrap();
    let before = clock.now();
    clock.advance(DAY);
    let read = device.run(|work, context, _| {
        let mut found = vec![work.read::<Fetched>(FETCHED)?];
        put(work, context.now)?;
        found.push(work.read(FETCHED)?);
        work.delete(Fetched::TABLE, FETCHED);
        found.push(work.read(FETCHED)?);
        Ok(found.into_iter().map(|fetched| fetched.map(|fetched| fetched.own_list)).collect::<Vec<_>>())
    });
    assert_eq!(read.unwrap(), [Some(before), Some(clock.now()), None]);
}

/// By a list that has expired a device is out, and that is told; the next list has it again, and so is that.
#[test]
fn a_device_that_comes_back_is_told() {
    let (mut bob, alice) = (Clock::new().device(), Root::new());
    let (kept, stolen) = (IdentityKeyPair::generate(), IdentityKeyPair::generate());
    let one = alice.list(None, &[&kept, &stolen]);
    bob.provide(one.as_bytes()).unwrap();
    let past = UnixTime::from_secs(NOW - 91 * DAY);
    let two = DeviceList::sign(&alice.0, Some(&one), vec![alice.entry(&kept)], past).unwrap();
    bob.provide(two.as_bytes()).unwrap_err();
    let first: Vec<_> = bob.inbox().map(|received| received.unwrap().event).collect();
    let id = DeviceId::of(stolen.identity_key());
    assert!(matches!(&first[..], [Event::DevicesChanged { removed, .. }] if *removed == [id]), "{first:?}");
    let three = alice.list(Some(&two), &[&kept, &stolen]);
    let shown =
        bob.provide(three.as_bytes()).unwrap().into_iter().map(|received| received.event).collect::<Vec<_>>();
    assert!(
        matches!(&shown[..], [Event::DevicesChanged { added, .. }] if *added == [id]),
        "it is sent to again, and nobody is told: {shown:?}"
    );
}
