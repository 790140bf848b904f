//! What goes wrong in ordinary lives: clocks that are wrong, devices in drawers, linkings given up, backups put back. None
//! of it lasts.
#![cfg(feature = "std")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

mod common;

use common::world::{Phone, TestClock, TestStore};
use subrosa::{BackupLock, Device, DeviceError, Link, RecoveryKey};

fn tables(store: &TestStore) -> Vec<usize> {
    (0..=20).map(|table| store.count(table)).collect()
}

/// A person begins to link a device, and then makes a new user on it, or restores one.
#[test]
fn a_linking_given_up_leaves_nothing() {
    let clock = TestClock::default();
    let create = |store: &TestStore| Device::create(store.clone(), clock.config()).unwrap();
    let key = RecoveryKey::generate().unwrap();
    let backup = create(&TestStore::default()).backup(&BackupLock::Key(&key)).unwrap();
    let restore = |store: &TestStore| {
        Device::restore(store.clone(), clock.config(), &backup, &BackupLock::Key(&key), None).unwrap()
    };
    let ways: [&dyn Fn(&TestStore) -> Device<TestStore>; 2] = [&create, &restore];
    for way in ways {
        let (store, fresh) = (TestStore::default(), TestStore::default());
        let mut link = Link::begin(store.clone(), clock.config()).unwrap();
        way(&store).maintain().unwrap();
        way(&fresh).maintain().unwrap();
        assert_eq!(tables(&store), tables(&fresh));
        // Nor does what is left of it in memory come back.
        let mut phone = Phone::unpublished(&clock);
        let offer = phone.device.offer_link(&link.code()).unwrap();
        let late = link.confirm(&offer, &phone.user());
        assert!(matches!(late, Err(DeviceError::Occupied)), "{late:?}");
        assert_eq!(tables(&store), tables(&fresh));
    }
}

/// The app was closed while a device was being linked, and starts as it always does.
#[test]
fn a_linking_is_not_given_up_by_accident() {
    let (clock, store) = (TestClock::default(), TestStore::default());
    let code = Link::begin(store.clone(), clock.config()).unwrap().code();
    let opened = Device::open_or_create(store.clone(), clock.config());
    assert!(matches!(opened, Err(DeviceError::LinkBegun)), "{opened:?}");
    assert_eq!(Link::begin(store, clock.config()).unwrap().code(), code);
}
