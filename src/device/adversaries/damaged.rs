//! Records of users and devices that do not open any more, and what is known of them then.

use super::*;
use crate::device::records::{Standing, Table, UserRecord};

/// Damages the record of a device or a user, and maintains.
fn damage(device: &mut D, id: RecordId) {
    let mut record = device.vault.store.inner.read(&id).unwrap().unwrap();
    record.value[30] ^= 1;
    put_back(device, &record);
    device.cache.clear();
    assert_eq!(device.maintain().unwrap().damaged, 1);
}

/// The record of a stranger's device is damaged; it begins anew, and the other device writes, too.
#[test]
fn a_device_whose_record_was_damaged_is_one_device() {
    let (mut bob, mallory) = (Clock::new().device(), Root::new());
    let devices = [(); 2].map(|()| IdentityKeyPair::generate());
    let list = mallory.list(None, &[&devices[0], &devices[1]]);
    let write = |bob: &mut D, device: &IdentityKeyPair| {
        let mut session = mallory.begin(device, &list, bob);
        bob.receive(&session.encrypt(&text(0).encode()).unwrap(), None)
    };
    write(&mut bob, &devices[0]).unwrap();
    let id = bob.vault.id(Table::Peers, &DeviceId::of(devices[0].identity_key()).to_bytes());
    damage(&mut bob, id);
    write(&mut bob, &devices[0]).unwrap();
    let known =
        bob.run(|work, _, _| Ok(work.user(mallory.0.user_id())?.get().unwrap().devices.len())).unwrap();
    let second = write(&mut bob, &devices[1]);
    assert!(second.is_ok(), "{known} devices of one that has written: {second:?}");
}

/// The same of a contact, as often as a list has places.
#[test]
fn a_device_whose_record_is_damaged_again_and_again_can_be_written_to() {
    let clock = Clock::new();
    let (mut alice, mut bob) = two(&clock);
    let b = bob.user();
    for _ in 0..33 {
        let id = alice.vault.id(Table::Peers, &bob.address().device.to_bytes());
        damage(&mut alice, id);
        clock.advance(1);
        let sent = try_send(&mut alice, &mut [&mut bob], &b, b"text");
        assert!(sent.is_ok(), "{sent:?}");
    }
}

/// There is one stranger, whose record is damaged again and again, and who is met again each time.
#[test]
fn a46_a_damaged_stranger_gives_its_place_back() {
    let (mut bob, mallory) = (Clock::new().device(), Root::new());
    let device = IdentityKeyPair::generate();
    let list = mallory.list(None, &[&device]);
    let mut session = mallory.begin(&device, &list, &mut bob);
    bob.receive(&session.encrypt(&text(0).encode()).unwrap(), None).unwrap();
    for round in 1..4 {
        let id = bob.vault.id(Table::Users, &mallory.0.user_id().to_bytes());
        damage(&mut bob, id);
        bob.receive(&session.encrypt(&text(round).encode()).unwrap(), None).unwrap();
    }
    assert_eq!(bob.maintain().unwrap().damaged, 0);
    let count = bob.run(|work, _, _| Ok(work.strangers()?.get().unwrap().count)).unwrap();
    let there = bob.users().filter(|user| user.as_ref().unwrap().stranger).count();
    assert_eq!((count, there), (1, 1), "places that are taken for good");
}

/// Of a user whose record was damaged another one is there again, without a list: by a word of another device of one's own. Their
/// device is met again, but not a third one of a stranger, nor one more than a list may have.
#[test]
fn who_is_met_again_is_among_so_many_devices() {
    let (mut alice, bob) = two(&Clock::new());
    let sender = bob.address();
    let mut meet = |standing, devices: u8, taken: u32| {
        alice
            .run(|work, _, _| {
                let record = UserRecord::new(sender.user, None, None);
                let devices = (0..devices).map(|number| DeviceId::from_bytes([number; 16])).collect();
                work.user(&sender.user)?.put(UserRecord { standing, devices, taken, ..record });
                let met = work.meet_again(&sender)?;
                let known = work.user(&sender.user)?.get().unwrap().devices.contains(&sender.device);
                assert_eq!(known, met.is_some());
                assert_eq!(met.unwrap_or_default(), []);
                Ok(known)
            })
            .unwrap()
    };
    for (standing, devices, expected) in [
        (Standing::Stranger, 0, true),
        (Standing::Stranger, 1, true),
        (Standing::Stranger, 2, false),
        (Standing::Contact, 2, true),
        (Standing::Contact, 31, true),
        (Standing::Contact, 32, false),
    ] {
        assert_eq!(meet(standing, devices, 0), expected, "{standing:?}, {devices}");
        // A list has come since, and does not have it.
        assert!(!meet(standing, devices, 1));
    }
}
