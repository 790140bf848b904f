//! What must not keep a device from sending.

use super::*;
use crate::{SignedPreKey, crypto::dh::AgreementPublic, device::records::Suspicion};

/// A bundle with a signed prekey of small order: who holds a device's identity can sign it.
fn weak_bundle(device: &mut D) -> PreKeyBundle {
    let publication = device.publication(0).unwrap();
    let zero = AgreementPublic::unchecked([0; 32]);
    let weak = SignedPreKey::sign(
        &device.identity,
        &zero,
        publication.signed_prekey.kem(),
        publication.signed_prekey.not_after(),
    );
    PreKeyBundle::new(publication.identity_key, weak, None)
}

/// Alice's linked device was stolen. It breaks its session, so that it takes a bundle to write to it, and that is of no use.
#[test]
fn a43_a_weak_prekey_of_a_linked_device_does_not_stop_messages() {
    let clock = Clock::new();
    let (mut alice, mut stolen, mut bob) = acquainted(&clock);
    let (b, address) = (bob.user(), stolen.address());
    alice
        .run(|work, _, _| {
            work.peer(&address.device)?.change().unwrap().suspicion = Suspicion::Broken;
            Ok(())
        })
        .unwrap();
    let bundle = weak_bundle(&mut stolen);
    let outcome = alice.provide_bundle(&address, Some(&bundle.to_bytes())).unwrap();
    assert_eq!(outcome, BundleOutcome::Unusable(crate::Error::InvalidKey));
    say(&mut alice, &mut [&mut stolen, &mut bob], &b, b"all the same");

    // Nor does one that was taken in: on the session there is, or later.
    let bundle = || bundle.clone().verify(clock.now()).unwrap();
    for has_session in [true, false] {
        clock.advance(DAY);
        let key = *stolen.identity.identity_key();
        alice
            .run(|work, _, _| work.put(&address.device.to_bytes(), &records::BundleRecord { bytes: vec![] }))
            .unwrap();
        let reached = alice.run(|work, context, _| {
            if !has_session {
                work.forget_device(&address)?;
            }
            work.begin_if_possible(context, &address, &key, bundle())
        });
        assert_eq!(reached.unwrap(), has_session);
        assert!(alice.vault.store.list(Table::Bundles as u8, 0, 1).unwrap().is_empty(), "it is used again");
        let sent = alice.send(&b, b"all the same").unwrap();
        assert_eq!(sent.len(), if has_session { 2 } else { 1 });
    }
}

/// As many strangers as there may be, less some.
fn nearly_full(device: &mut D, less: u32) {
    device
        .run(|work, _, _| {
            work.strangers()?.put(records::Strangers { count: admission::MAX_STRANGERS - less });
            Ok(())
        })
        .unwrap();
}

/// Whoever is blocked takes no place of a stranger's, and stays blocked.
#[test]
fn a46_a_blocked_stranger_makes_room_and_stays_blocked() {
    let (mut bob, mallory) = (Clock::new().device(), Root::new());
    let devices = [(); 3].map(|()| IdentityKeyPair::generate());
    let list = mallory.list(None, &[&devices[0], &devices[1], &devices[2]]);
    let write = |bob: &mut D, root: &Root, device: &IdentityKeyPair, list: &DeviceList| {
        let mut session = root.begin(device, list, bob);
        bob.receive(&session.encrypt(&text(0).encode()).unwrap(), None)
    };
    nearly_full(&mut bob, 1);
    for device in &devices[..2] {
        write(&mut bob, &mallory, device, &list).unwrap();
    }
    let (next, device) = (Root::new(), IdentityKeyPair::generate());
    let next_list = next.list(None, &[&device]);
    let full = write(&mut bob, &next, &device, &next_list);
    assert!(matches!(full, Err(DeviceError::TooManyStrangers)), "{full:?}");
    let m = *mallory.0.user_id();
    bob.set_trust(&m, Trust::Blocked).unwrap();
    write(&mut bob, &next, &device, &next_list).unwrap();
    for forgotten in [false, true] {
        if forgotten {
            bob.forget(&m).unwrap();
            assert_eq!(bob.user_info(&m).unwrap().map(|info| info.trust), Some(Trust::Blocked));
        }
        for device in &devices {
            let blocked = write(&mut bob, &mallory, device, &list);
            assert!(matches!(blocked, Err(DeviceError::Blocked)), "{blocked:?}");
        }
    }
    // Exactly one place was freed.
    let (third, device) = (Root::new(), IdentityKeyPair::generate());
    let full = write(&mut bob, &third, &device, &third.list(None, &[&device]));
    assert!(matches!(full, Err(DeviceError::TooManyStrangers)), "{full:?}");
}

/// The phone has written to somebody who then answers the laptop, too.
#[test]
fn whom_another_own_device_has_written_to_is_no_stranger() {
    let clock = Clock::new();
    let (mut alice, mut bob) = (clock.device(), clock.device());
    let mut second = link(&mut alice, &clock);
    nearly_full(&mut second, 0);
    let (a, b) = (alice.user(), bob.user());
    say(&mut alice, &mut [&mut second, &mut bob], &b, b"hello");
    say(&mut bob, &mut [&mut alice, &mut second], &a, b"to both");
    let shown: Vec<_> = second.inbox().map(|received| received.unwrap().event).collect();
    assert!(!shown.contains(&Event::NewUser), "{shown:?}");
    assert_eq!(shown.iter().filter(|event| matches!(event, Event::Message { .. })).count(), 1);
    assert!(!second.user_info(&b).unwrap().unwrap().stranger);
}

/// Resending is switched off, and the device dies before what was kept is deleted.
#[test]
fn what_is_not_to_be_kept_is_not_sent_again() {
    let clock = Clock::new();
    let (mut alice, mut bob) = two(&clock);
    let (a, b) = (alice.user(), bob.user());
    let lost = alice.send(&b, b"lost").unwrap();
    alice.sent([lost[0].id]).unwrap();
    say(&mut alice, &mut [&mut bob], &b, b"arrives");
    clock.advance(61);
    alice
        .run(|work, _, _| {
            work.me()?.change().unwrap().settings.resend = false;
            Ok(())
        })
        .unwrap();
    say(&mut bob, &mut [&mut alice], &a, b"what?");
    assert_eq!(alice.outbox().count(), 0);
    alice.maintain().unwrap();
    assert!(alice.vault.store.list(Table::Resend as u8, 0, 1).unwrap().is_empty());
}
