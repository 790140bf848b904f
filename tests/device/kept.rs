//! What a device keeps so that it can be sent again: for how long, and how much.

use subrosa::{Event, Received};

use crate::common::world::{DAY, Phone, World, acquainted, ask, events, table::RESEND, texts};

/// Whether housekeeping is done or not, nothing is sent again after 14 days; with it nothing is kept, either.
#[test]
fn for_fourteen_days() {
    for (seconds, maintained, kept) in [
        (14 * DAY - 62, true, true),
        (14 * DAY - 62, false, true),
        (14 * DAY, true, false),
        (14 * DAY, false, false),
    ] {
        let (mut world, mut alice, mut bob) = acquainted();
        assert_eq!(alice.store.count(RESEND), 0, "acknowledged");
        alice.say(&mut world.server, &bob.user(), "lost");
        world.server.take(&bob.address());
        world.clock.advance(seconds);
        if maintained {
            alice.device.maintain().unwrap();
        }
        assert_eq!(alice.store.count(RESEND), usize::from(kept || !maintained), "after {seconds} seconds");
        let received = asked_for(&mut world, &mut alice, &mut bob);
        if kept {
            assert_eq!(
                texts(&received),
                ["lost", "this"],
                "after {seconds} seconds, maintained: {maintained}"
            );
        } else {
            assert_eq!(texts(&received), ["this"], "after {seconds} seconds, maintained: {maintained}");
            assert_eq!(events(&received), [&Event::Lost(1)], "and its recipient gets to know");
        }
    }
}

/// What Bob has when he has asked for what he misses, once he knows of it by another message.
fn asked_for(world: &mut World, alice: &mut Phone, bob: &mut Phone) -> Vec<Received> {
    ask(world, alice, bob);
    alice.say(&mut world.server, &bob.user(), "this");
    bob.poll(&mut world.server)
}

/// What is 64 KiB or longer (one byte says that nothing is attached) is not kept, and its recipient gets to know that it is
/// lost.
#[test]
fn of_64_kibibytes_at_most() {
    for (len, kept) in [(64 * 1024 - 1, true), (64 * 1024, false)] {
        let (mut world, mut alice, mut bob) = acquainted();
        let long = "x".repeat(len);
        alice.say(&mut world.server, &bob.user(), &long);
        world.server.take(&bob.address());
        assert_eq!(alice.store.count(RESEND), usize::from(kept), "{len} bytes");
        let received = asked_for(&mut world, &mut alice, &mut bob);
        let expected = if kept { vec![long, "this".to_owned()] } else { vec!["this".to_owned()] };
        assert!(texts(&received) == expected, "{len} bytes");
        assert_eq!(events(&received), if kept { vec![] } else { vec![&Event::Lost(1)] }, "{len} bytes");
    }
}

/// Of each device the newest 256, whatever becomes of them; of another device as many again.
#[test]
fn at_most_256_messages_a_device() {
    let (World { clock, mut server }, mut alice, mut bob) = acquainted();
    assert_eq!(alice.store.count(RESEND), 0, "acknowledged");
    let mut carol = Phone::new(&clock, &mut server);
    carol.say(&mut server, &alice.user(), "me, too");
    alice.poll(&mut server);
    for number in 0..300 {
        alice.say(&mut server, &bob.user(), &format!("{number}"));
        if number % 100 == 0 {
            alice.say(&mut server, &carol.user(), "to you");
        }
        let kept = (number + 1).min(256) + number / 100 + 1;
        assert_eq!(alice.store.count(RESEND), kept, "after {number}");
    }
    // All but the last are lost. What can be asked for is asked for, 32 at a time, and comes; the rest is gone.
    let last = server.take(&bob.address()).pop().unwrap();
    let received = bob.device.receive(&last, None).unwrap();
    assert_eq!(
        (texts(&received), events(&received)),
        (vec!["299".to_owned()], vec![&Event::Lost(299 - 256)])
    );
    bob.device.acknowledge(received.iter().map(|received| received.id)).unwrap();
    clock.advance(61);
    let (mut resent, mut lost) = (Vec::new(), 0);
    for round in 0..10 {
        bob.say(&mut server, &alice.user(), &format!("what? {round}"));
        alice.poll(&mut server);
        alice.say(&mut server, &bob.user(), "that was all");
        let received = bob.poll(&mut server);
        lost += received.iter().filter(|received| received.event == Event::Lost(1)).count();
        resent.append(&mut texts(&received));
    }
    resent.retain(|text| text != "that was all");
    // With the 256 kept is the one that arrived; so of the 256 that Bob asks for one is not to be had any more.
    let expected: Vec<_> = (44..299).map(|number| number.to_string()).collect();
    resent.sort_by_key(|text| text.parse::<u32>().unwrap());
    assert_eq!((resent, lost), (expected, 1));
}
