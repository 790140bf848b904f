//! Two people verify each other, and what becomes of it in their devices: through the public API, as an app does it.
#![cfg(feature = "std")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

mod common;

use common::world::{Phone, Server, TestClock, acquainted, events, link, texts};
use subrosa::{Error, Event, SafetyNumber, SasInitiator, SasResponder, SasStep, Scan, Trust, UserId};

fn trust(of: &UserId, on: &Phone) -> Trust {
    on.device.user_info(of).unwrap().unwrap().trust
}

/// What is on a screen, in the chat of `by` with `with`.
fn screen(by: &UserId, with: &UserId) -> SafetyNumber {
    SafetyNumber::new(by, with).unwrap()
}

#[test]
fn a_scanned_number_verifies_on_all_devices() {
    let (mut world, mut alice, mut bob) = acquainted();
    let mut laptop = link(&mut alice, &mut world.server);
    alice.say(&mut world.server, &bob.user(), "so that there is a session with the laptop");
    laptop.poll(&mut world.server);
    let number = screen(&alice.user(), &bob.user());
    let bobs = screen(&bob.user(), &alice.user());
    assert_eq!(number.to_string(), bobs.to_string());
    assert_eq!(trust(&bob.user(), &alice), Trust::Unverified, "nothing happens by itself");
    let Ok(Scan::Match(user)) = number.verify_scanned(bobs.scannable_text()) else { panic!() };
    alice.device.set_trust(&user, Trust::Verified).unwrap();
    alice.push(&mut world.server);
    assert_eq!((user, trust(&bob.user(), &alice)), (bob.user(), Trust::Verified));
    let told = laptop.poll(&mut world.server);
    assert_eq!(events(&told), [&Event::TrustChanged { of: bob.user(), trust: Trust::Verified }]);
    // Devices come and go, and the number stays.
    bob.poll(&mut world.server);
    let mut tablet = link(&mut bob, &mut world.server);
    tablet.say(&mut world.server, &alice.user(), "from my tablet");
    let received = alice.poll(&mut world.server);
    assert_eq!((texts(&received), received.last().unwrap().from.user), (vec!["from my tablet".into()], user));
    assert_eq!(trust(&user, &alice), Trust::Verified);
}

/// Bob sets up anew, or somebody says so: that is another user, and nothing carries over.
#[test]
fn who_has_a_new_root_key_is_a_stranger() {
    let (mut world, mut alice, old_bob) = acquainted();
    let number = screen(&alice.user(), &old_bob.user());
    let shown = screen(&old_bob.user(), &alice.user()).scannable();
    let Ok(Scan::Match(user)) = number.verify_scanned(shown) else { panic!() };
    alice.device.set_trust(&user, Trust::Verified).unwrap();

    let mut new_bob = Phone::new(&world.clock, &mut world.server);
    new_bob.say(&mut world.server, &alice.user(), "It's me, Bob. New phone.");
    let received = alice.poll(&mut world.server);
    assert_eq!(events(&received), [&Event::NewUser]);
    assert!(received.iter().all(|received| received.from.user == new_bob.user()));
    let info = alice.device.user_info(&new_bob.user()).unwrap().unwrap();
    assert!(info.stranger);
    assert_eq!(info.trust, Trust::Unverified);
    assert_eq!(trust(&old_bob.user(), &alice), Trust::Verified, "whoever that is now");

    // In the chat with the old Bob his new phone does not pass; the number is another one.
    let new_screen = screen(&new_bob.user(), &alice.user());
    assert_eq!(number.verify_scanned(new_screen.scannable()), Ok(Scan::Mismatch));
    assert_eq!(number.verify_scanned(new_screen.scannable_text()), Ok(Scan::Mismatch));
    let new_number = screen(&alice.user(), &new_bob.user());
    assert_ne!(number.to_string(), new_number.to_string());
    // And a picture of the old screen does not verify the new one.
    assert_eq!(new_number.verify_scanned(shown), Ok(Scan::Mismatch));
    // They meet, and she verifies him anew.
    assert_eq!(new_number.verify_scanned(new_screen.scannable()), Ok(Scan::Match(new_bob.user())));
    alice.device.set_trust(new_number.peer(), Trust::Verified).unwrap();
    assert_eq!(trust(&new_bob.user(), &alice), Trust::Verified);
}

/// A server that has given both a key of its own is found out by either of the two ways.
#[test]
fn somebody_in_between_is_found_out() {
    let (clock, mut server) = (TestClock::default(), Server::default());
    let [alice, bob, to_alice, to_bob] = [(); 4].map(|()| Phone::new(&clock, &mut server).user());
    // Alice takes `to_alice` for Bob, Bob `to_bob` for Alice.
    let (alices, bobs) = (screen(&alice, &to_alice), screen(&bob, &to_bob));
    assert_ne!(alices.to_string(), bobs.to_string());
    assert_eq!(alices.verify_scanned(bobs.scannable()), Ok(Scan::Mismatch));
    assert_eq!(bobs.verify_scanned(alices.scannable()), Ok(Scan::Mismatch));
    // Only Bob was deceived: Alice's key for him is right, and is not verified either.
    let alices = screen(&alice, &bob);
    assert_eq!(alices.verify_scanned(bobs.scannable()), Ok(Scan::WrongPair));
    assert_eq!(bobs.verify_scanned(alices.scannable()), Ok(Scan::Mismatch));

    let (waiting, _) = SasInitiator::begin(&alice, &to_alice).unwrap();
    let (_, commitment) = SasInitiator::begin(&to_bob, &bob).unwrap();
    let (_, answer) = SasResponder::answer(&bob, &to_bob, &commitment).unwrap();
    let (code, reveal) = waiting.receive(&answer).unwrap();
    // What Alice reveals is not what was committed to before Bob.
    let (answered, _) = SasResponder::answer(&bob, &to_bob, &commitment).unwrap();
    assert_eq!(answered.receive(&reveal).unwrap_err(), Error::Unauthentic);
    assert_eq!(code.confirm(false), None);
}

/// The three messages travel as content of messages, and each names its step.
#[test]
fn pictures_on_a_call_over_messages() {
    let (mut world, mut alice, mut bob) = acquainted();
    let mut carry = |from: &mut Phone, to: &mut Phone, message: &[u8]| {
        from.device.send(&to.user(), message).unwrap();
        from.push(&mut world.server);
        let received = to.poll(&mut world.server);
        let content = received.into_iter().find_map(|received| match received.event {
            Event::Message { content, .. } => Some(content),
            _ => None,
        });
        content.unwrap()
    };
    let (waiting, commitment) = SasInitiator::begin(&alice.user(), &bob.user()).unwrap();
    let commitment = carry(&mut alice, &mut bob, &commitment);
    assert_eq!(SasStep::of(&commitment), Ok(SasStep::Commitment));
    let (answered, answer) = SasResponder::answer(&bob.user(), &alice.user(), &commitment).unwrap();
    let (code, reveal) = waiting.receive(&carry(&mut bob, &mut alice, &answer)).unwrap();
    let bobs = answered.receive(&carry(&mut alice, &mut bob, &reveal)).unwrap();
    assert_eq!((code.emoji(), code.numbers()), (bobs.emoji(), bobs.numbers()));
    // Alice says yes; Bob's dialog is closed.
    alice.device.set_trust(&code.confirm(true).unwrap(), Trust::Verified).unwrap();
    assert_eq!(bobs.confirm(false), None);
    assert_eq!(trust(&bob.user(), &alice), Trust::Verified);
    assert_eq!(trust(&alice.user(), &bob), Trust::Unverified);
}
