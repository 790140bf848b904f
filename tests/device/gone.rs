//! Devices that are taken out of their user's list: what is told of it, and what is to be sent again.

use subrosa::{Draft, Event, MessageId, Trust, UserId};

use crate::common::world::{DAY, Phone, Server, acquainted, link};

/// How many devices have gone, and what they had not acknowledged.
fn changed(received: &[Event]) -> Option<(usize, Vec<MessageId>)> {
    received.iter().find_map(|event| match event {
        Event::DevicesChanged { removed, unacknowledged, .. } => {
            Some((removed.len(), unacknowledged.clone()))
        }
        _ => None,
    })
}

/// Fetches a user's newest list: what is shown of it.
fn fetch(phone: &mut Phone, server: &Server, user: &UserId) -> Vec<Event> {
    let shown = phone.device.provide(&server.list(user).unwrap()).unwrap();
    shown.into_iter().map(|received| received.event).collect()
}

/// A device of one's own goes that had not been told yet what was sent to others, and whom one trusts: no message to send again.
#[test]
fn what_a_lost_device_of_ones_own_had_not_been_told_is_not_to_be_sent_again() {
    for pushed in [true, false] {
        let (mut world, mut alice, mut bob) = acquainted();
        let mut second = link(&mut alice, &mut world.server);
        let third = link(&mut alice, &mut world.server);
        second.device.provide(&world.server.list(&alice.user()).unwrap()).unwrap();
        second.say(&mut world.server, &bob.user(), "sessions everywhere");
        bob.poll(&mut world.server);
        let told = second.device.set_trust(&bob.user(), Trust::Verified).unwrap();
        let sent = second.device.send(&bob.user(), b"for Bob").unwrap();
        let ids: Vec<_> = told.iter().chain(&sent).map(|out| out.message).collect();
        if pushed {
            second.push(&mut world.server);
        }
        alice.device.unlink(&third.address().device).unwrap();
        alice.publish(&mut world.server);
        let shown = fetch(&mut second, &world.server, &alice.user());
        let (_, unacknowledged) = changed(&shown).unwrap();
        assert_eq!(unacknowledged, [], "pushed: {pushed}; trust, Bob, copies: {ids:?}");
    }
}

/// Two devices go, and lack more or less: what they had not acknowledged is named once, in the order in which it was sent.
#[test]
fn what_two_lost_devices_did_not_acknowledge_is_named_oldest_first() {
    let (mut world, mut alice, mut bob) = acquainted();
    let mut tablets = [link(&mut bob, &mut world.server), link(&mut bob, &mut world.server)];
    alice.device.provide(&world.server.list(&bob.user()).unwrap()).unwrap();
    let order = alice.device.user_info(&bob.user()).unwrap().unwrap().devices;
    tablets.sort_by_key(|tablet| order.iter().position(|id| *id == tablet.address().device));
    let [first, second] = &mut tablets;
    let one = alice.say(&mut world.server, &bob.user(), "one")[0].message.unwrap();
    first.poll(&mut world.server);
    first.say(&mut world.server, &alice.user(), "I have it");
    alice.poll(&mut world.server);
    world.clock.advance(1);
    let two = alice.say(&mut world.server, &bob.user(), "two")[0].message.unwrap();
    for tablet in [first, second] {
        bob.device.unlink(&tablet.address().device).unwrap();
    }
    bob.publish(&mut world.server);
    let shown = fetch(&mut alice, &world.server, &bob.user());
    assert_eq!(changed(&shown).unwrap(), (2, vec![one, two]));
}

/// Alice's clock is ahead when the list comes that Bob's tablet is not in; then it is put right, and Bob signs the next.
#[test]
fn who_has_gone_by_a_list_out_of_force_goes_once() {
    for another in [false, true] {
        let (mut world, mut alice, mut bob) = acquainted();
        let mut tablet = link(&mut bob, &mut world.server);
        alice.device.provide(&world.server.list(&bob.user()).unwrap()).unwrap();
        alice.say(&mut world.server, &bob.user(), "to both");
        tablet.poll(&mut world.server);
        tablet.say(&mut world.server, &alice.user(), "read");
        alice.poll(&mut world.server);
        let ids: Vec<_> = alice.device.inbox().map(|received| received.unwrap().id).collect();
        alice.device.acknowledge(ids).unwrap();
        bob.device.unlink(&tablet.address().device).unwrap();
        bob.publish(&mut world.server);
        let without = world.server.list(&bob.user()).unwrap();
        world.clock.advance(100 * DAY);
        alice.device.provide(&without).unwrap_err();
        world.clock.set_back(100 * DAY);
        let all: Vec<_> = alice.device.inbox().map(|received| received.unwrap().event).collect();
        assert_eq!(changed(&all), Some((1, vec![])), "told once: {all:?}");
        let ids: Vec<_> = alice.device.inbox().map(|received| received.unwrap().id).collect();
        alice.device.acknowledge(ids).unwrap();
        if another {
            link(&mut bob, &mut world.server);
        } else {
            world.clock.advance(31 * DAY);
            let list = world.server.list(&bob.user()).unwrap();
            bob.device.provide(&list).unwrap();
            bob.device.maintain().unwrap();
            bob.publish(&mut world.server);
        }
        let shown = fetch(&mut alice, &world.server, &bob.user());
        assert_eq!(changed(&shown).map_or(0, |(removed, _)| removed), 0, "gone twice: {another} {shown:?}");
    }
}

/// Bob's tablet is lost and unlinked; Alice's app sends again what it had not acknowledged, under the same names. Bob's phone has
/// all of it.
#[test]
fn what_is_sent_again_for_a_lost_phone_is_not_shown_twice() {
    for count in [33, 256] {
        let (mut world, mut alice, mut bob) = acquainted();
        let tablet = link(&mut bob, &mut world.server);
        alice.device.provide(&world.server.list(&bob.user()).unwrap()).unwrap();
        for number in 0..count {
            alice.say(&mut world.server, &bob.user(), &format!("{number}"));
        }
        assert_eq!(bob.texts(&mut world.server).len(), count);
        bob.say(&mut world.server, &alice.user(), "I have them all");
        alice.poll(&mut world.server);
        bob.device.unlink(&tablet.address().device).unwrap();
        bob.publish(&mut world.server);
        let shown = fetch(&mut alice, &world.server, &bob.user());
        let (_, ids) = changed(&shown).unwrap();
        assert_eq!(ids.len(), count);
        for (number, id) in ids.iter().enumerate() {
            let text = format!("{number}");
            alice.device.send_many(&[Draft::new(&bob.user(), text.as_bytes()).with_id(*id)]).unwrap();
        }
        alice.push(&mut world.server);
        let again = bob.texts(&mut world.server);
        assert_eq!(again.len(), 0, "{count} messages: {} are shown a second time", again.len());
    }
}
