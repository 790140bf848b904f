//! Whatever a device is given, by whoever: a typed error, and nothing to send.
#![no_main]

use std::{cell::RefCell, thread_local};

use libfuzzer_sys::fuzz_target;
use subrosa::{
    BackupLock, BundleOutcome, Config, Device, Incoming, Link, PreKeyBundle, RecoveryKey, StorageKey, store::MemoryStore,
};
use subrosa_fuzz::NOW;

/// Two devices that have met, and one that is being linked.
struct Scene {
    alice: Device<MemoryStore>,
    bob: Device<MemoryStore>,
    link: Link<MemoryStore>,
    recovery: RecoveryKey,
}

fn config() -> Config {
    Config::new(&StorageKey::from_bytes(&[7; 32]), || NOW)
}

impl Scene {
    fn new() -> Option<Self> {
        let mut alice = Device::create(MemoryStore::new(), config()).ok()?;
        let mut bob = Device::create(MemoryStore::new(), config()).ok()?;
        let public = bob.publication(100).ok()?;
        alice.provide(&public.list.to_bytes()).ok()?;
        let bundle = PreKeyBundle::new(public.identity_key, public.signed_prekey, None);
        alice.provide_bundle(&public.address, Some(&bundle.to_bytes())).ok()?;
        for _ in 0..2 {
            for out in alice.send(&bob.user(), b"hello").ok()? {
                bob.receive(&out.bytes, None).ok()?;
            }
            for out in bob.send(&alice.user(), b"hi").ok()? {
                alice.receive(&out.bytes, None).ok()?;
            }
        }
        let mut link = Link::begin(MemoryStore::new(), config()).ok()?;
        let offer = alice.offer_link(&link.code()).ok()?;
        link.confirm(&offer, &alice.user()).ok()?;
        for device in [&mut alice, &mut bob] {
            let waiting: Result<Vec<_>, _> = device.outbox().map(|out| out.map(|out| out.id)).collect();
            device.sent(&waiting.ok()?).ok()?;
        }
        Some(Self { alice, bob, link, recovery: RecoveryKey::generate().ok()? })
    }
}

thread_local! {
    static SCENE: RefCell<Option<Scene>> = RefCell::new(Scene::new());
}

fuzz_target!(|input: (u8, &[u8])| {
    let (call, bytes) = input;
    SCENE.with_borrow_mut(|scene| {
        let Scene { alice, bob, link, recovery } = scene.as_mut().expect("a scene");
        let hint = (call & 0x80 != 0).then(|| bob.user());
        match call & 0x7f {
            0 => assert!(alice.receive(bytes, hint.as_ref()).is_err(), "nobody has sent this"),
            1 => {
                let incoming = Incoming { bytes, from: hint.as_ref() };
                assert!(alice.receive_many(&[incoming, incoming]).iter().all(Result::is_err));
            }
            2 => {
                drop(alice.provide(bytes));
                let kept = alice.provide_bundle(&bob.address(), Some(bytes));
                assert!(matches!(kept, Ok(BundleOutcome::Unusable(_))), "nobody has signed this");
            }
            3 => assert!(alice.approve_link(bytes).is_err()),
            4 => assert!(link.user_of(bytes).is_err()),
            5 => {
                if let Ok(text) = str::from_utf8(bytes) {
                    drop(alice.offer_link(text));
                }
            }
            _ => {
                let lock = BackupLock::Key(recovery);
                assert!(Device::restore(MemoryStore::new(), config(), bytes, &lock, None).is_err());
            }
        }
        assert_eq!(alice.outbox().count(), 0, "nothing is sent in answer");
    });
});
