//! Devices. What is sent counts alone, by strangers as by contacts. Where a call has to do with many of the device's own
//! records, those that it reads and puts count, too: a message that is far ahead has some 140 KiB of keys stored, a
//! first message has the prekeys changed, and one that asks for what was lost has up to 32 messages sent again.

use std::sync::atomic::Ordering;

use subrosa::{
    AttachmentDescriptor, BackupLock, Device, Draft, Event, Incoming, Link, PreKeyBundle, RecoveryKey,
    store::{Action, Change, Expected, MemoryStore, Store},
};

use crate::{
    Meter,
    forgeries::{forgeries, text_forgeries},
    phone::{Counted, Given, LATER, Phone, acquainted, config},
};

#[test]
fn a25_what_strangers_send_to_devices() {
    let (mut alice, mut bob) = acquainted();
    let (a, b) = (alice.user(), bob.user());
    let established = alice.write(&b, b"for the forger");
    let mut carol = Phone::new();
    carol.meet(&mut bob);
    let initial = carol.write(&b, b"from a stranger");
    for genuine in [established, initial] {
        let (mut receive, mut many) = (Meter::new("Device::receive"), Meter::new("Device::receive_many"));
        let mut from = [None, Some(&a)].into_iter().cycle();
        forgeries(&genuine, &mut |bytes| {
            if bytes != genuine {
                let from = from.next().flatten();
                receive.check(bytes.len(), || bob.device.receive(bytes, from).unwrap_err());
                if receive.calls.is_multiple_of(5) {
                    let incoming = Incoming { bytes, from: Some(&a) };
                    many.check(2 * bytes.len(), || bob.device.receive_many(&[incoming; 2]));
                }
            }
        });
    }
    let public = carol.device.publication(0).unwrap();
    let bundle = PreKeyBundle::new(public.identity_key, public.signed_prekey, None);
    for fetched in [public.list.to_bytes(), bundle.to_bytes()] {
        Meter::new("Device::provide").strangers(&fetched, |bytes| alice.device.provide(bytes));
    }
}

#[test]
fn a25_what_strangers_send_while_linking() {
    let (mut alice, _) = acquainted();
    let a = alice.user();
    let begin = |store: &MemoryStore| Link::begin(store.clone(), config()).unwrap();
    let store = MemoryStore::new();
    let mut link = begin(&store);
    let code = link.code();
    let mut meter = Meter::new("Device::offer_link");
    text_forgeries(&code, &mut |text| meter.check(text.len(), || alice.device.offer_link(text)));
    let offer = alice.device.offer_link(&code).unwrap();
    Meter::new("Link::user_of").strangers(&offer, |bytes| link.user_of(bytes));
    Meter::new("Link::confirm").strangers(&offer, |bytes| link.confirm(bytes, &a));
    let reply = link.confirm(&offer, &a).unwrap();
    let mut meter = Meter::new("Device::approve_link");
    forgeries(&reply, &mut |bytes| {
        if bytes != reply {
            meter.check(bytes.len(), || alice.device.approve_link(bytes).unwrap_err());
        }
    });
    let grant = alice.device.approve_link(&reply).unwrap();
    let mut meter = Meter::new("Link::complete");
    forgeries(&grant, &mut |bytes| {
        if bytes != grant {
            let link = begin(&store);
            meter.check(bytes.len(), || link.complete(bytes).err().unwrap());
        }
    });
    let link = begin(&store);
    meter.check(grant.len(), || link.complete(&grant).unwrap());
}

#[test]
fn a25_backups() {
    let (mut alice, _) = acquainted();
    let recovery = RecoveryKey::generate().unwrap();
    let text = recovery.to_text();
    let mut meter = Meter::new("RecoveryKey, text");
    text_forgeries(&text, &mut |text| meter.check(text.len(), || text.parse::<RecoveryKey>()));
    let lock = BackupLock::Key(&recovery);
    let backup = alice.device.backup(&lock).unwrap();
    let restore =
        |bytes: &[u8], list: Option<&[u8]>| Device::restore(MemoryStore::new(), config(), bytes, &lock, list);
    Meter::new("Device::restore").strangers(&backup, |bytes| restore(bytes, None));
    let list = alice.device.publication(0).unwrap().list.to_bytes();
    let mut meter = Meter::new("Device::restore, list");
    forgeries(&list, &mut |list| meter.check(backup.len() + list.len(), || restore(&backup, Some(list))));
}

/// Who writes the store: every record altered, in every way that a record of that kind may be read.
#[test]
fn a25_records_that_somebody_else_wrote() {
    let (mut alice, mut bob) = acquainted();
    let genuine = alice.write(&bob.user(), b"genuine");
    drop(bob.device);
    let records: Vec<_> = (0..=255).flat_map(|table| bob.store.list(table, 0, 1_000).unwrap()).collect();
    assert!(records.len() > 8);
    let mut meter = Meter::new("Device::open, altered records");
    for record in records {
        let put = |store: &mut Counted, value: &[u8]| {
            let action = Action::Put { version: record.version, value: value.to_vec() };
            store.commit(&[Change { id: record.id, expected: Expected::Anything, action }]).unwrap();
        };
        for value in [
            &b""[..],
            &[0xff; 100],
            &record.value[..record.value.len() / 2],
            &[&record.value[..], &[0]].concat(),
            &[&record.value[..1], &[0xff; 100_000]].concat(),
        ] {
            put(&mut bob.store, value);
            bob.store.take();
            meter.check_after(|| {
                if let Ok(mut device) = Device::open(bob.store.clone(), config()) {
                    drop(device.receive(&genuine, None));
                    drop(device.maintain());
                    device.inbox().for_each(drop);
                    device.outbox().for_each(drop);
                }
                genuine.len() + bob.store.take()
            });
        }
        put(&mut bob.store, &record.value);
    }
}

#[test]
fn a25_a_contact_that_has_much_to_say() {
    let (mut alice, mut bob) = acquainted();
    let b = bob.user();
    let mut meter = Meter::new("Device::receive, long");
    for len in [0, 1_000, 1_000_000, subrosa::MAX_MESSAGE_LEN] {
        let message = alice.write(&b, &vec![7; len]);
        let events = bob.receive(&mut meter, Given::Message, &message);
        assert!(matches!(&events[..], [Event::Message { content, .. }] if content.len() == len));
    }
    // As many attachments as a message may have, each with the largest thumbnail.
    let head =
        [&[0x71][..], &[7; 32], &70_000_u64.to_be_bytes(), &[8; 32], &65_536_u32.to_be_bytes()].concat();
    let tail = [&b"\x09image/png\x08rose.png"[..], &65_536_u32.to_be_bytes(), &vec![9; 65_536]].concat();
    let descriptor = AttachmentDescriptor::from_bytes(&[head, tail].concat()).unwrap();
    let attachments = vec![descriptor; 32];
    let drafts = [Draft::new(&b, b"").with_attachments(&attachments)];
    let message = alice.device.send_many(&drafts).unwrap().remove(0).bytes;
    let events = bob.receive(&mut Meter::new("Device::receive, attachments"), Given::Message, &message);
    assert!(matches!(&events[..], [Event::Message { attachments, .. }] if attachments.len() == 32));
}

/// A first message has the prekeys read and put, however many there are.
#[test]
fn a25_a_stranger_to_whom_prekeys_were_given() {
    let (mut alice, mut bob) = (Phone::new(), Phone::new());
    for _ in 0..12 {
        let publication = bob.device.publication(0).unwrap();
        bob.device.published(&publication).unwrap();
    }
    alice.meet(&mut bob);
    let message = alice.write(&bob.user(), b"hello");
    let mut meter = Meter::new("Device::receive, many prekeys");
    bob.receive(&mut meter, Given::Records, &message);
    assert!(meter.most.0 > 256 * 1024, "prekeys and their record");
}

/// A contact runs ahead: the keys of all those before are kept, and stored.
#[test]
fn a25_a10_a_contact_that_runs_ahead() {
    let (mut alice, mut bob) = acquainted();
    let b = bob.user();
    for _ in 0..21 {
        alice.device.send_many(&[Draft::new(&b, b""); 100]).unwrap();
        alice.sent();
    }
    let message = alice.write(&b, b"arrives");
    let mut meter = Meter::new("Device::receive, far ahead");
    bob.receive(&mut meter, Given::Records, &message);
    assert!(meter.most.0 > 256 * 1024, "keys and their record");
}

/// A contact asks for all that is kept for it, 32 messages at once, each the longest that is kept.
#[test]
fn a25_a_contact_that_asks_for_much() {
    let (mut alice, mut bob) = acquainted();
    let (a, b) = (alice.user(), bob.user());
    for _ in 0..40 {
        alice.write(&b, &[7; 64_000]);
    }
    let message = alice.write(&b, b"arrives");
    bob.receive(&mut Meter::new("Device::receive"), Given::Message, &message);
    LATER.with(|later| later.store(3_600, Ordering::Relaxed));
    let message = bob.write(&a, b"and the others?");
    alice.receive(&mut Meter::new("Device::receive, asks"), Given::Message, &message);
    assert_eq!(alice.device.outbox().count(), 0);
    // It goes with the next message.
    let mut meter = Meter::new("Device::send, asked for");
    let Phone { device, store } = &mut alice;
    store.take();
    meter.check_after(|| {
        assert_eq!(device.send(&b, b"these").unwrap().len(), 1 + 32);
        store.take()
    });
    assert!(meter.most.0 > 32 * 64_000);
}
