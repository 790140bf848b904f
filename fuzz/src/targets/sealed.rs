//! Forged storage: nothing opens but what was sealed, as what it was sealed. Sealed state of sessions, the records of a
//! device, and the file of an attachment.

use std::{
    io::{Cursor, Read, Seek, SeekFrom},
    sync::LazyLock,
};

use arbitrary::Arbitrary;
use subrosa::{
    AttachmentDescriptor, AttachmentReader, AttachmentSealer, Device, DeviceError, IdentityKeyPair, PreKeys,
    Session,
    store::{Action, Change, Expected, Record, Store},
};

use super::super::{
    FIXTURE, Forgery, rng,
    town::{
        Town,
        world::{TestClock, TestStore},
    },
};

#[derive(Arbitrary, Debug)]
pub struct Stored<'a> {
    kind: Kind,
    forgery: Forgery<'a>,
}

#[derive(Arbitrary, Debug)]
enum Kind {
    Identity,
    PreKeys,
    Session,
    HotHalf {
        cold: bool,
    },
    ColdHalf {
        hot: bool,
    },
    /// The value of a record of a device; or it is gone.
    Record {
        index: u8,
        gone: bool,
    },
    File {
        edits: Vec<FileEdit>,
        read: Vec<Reading>,
    },
}

#[derive(Arbitrary, Debug)]
enum FileEdit {
    Flip { at: u32, mask: u8 },
    Truncate { len: u32 },
    Extend { by: u16 },
    SwapChunks { one: u8, other: u8 },
}

#[derive(Arbitrary, Debug)]
struct Reading {
    seek: Option<u32>,
    len: u16,
}

pub fn sealed(Stored { kind, forgery }: Stored<'_>) {
    let key = &FIXTURE.key;
    let genuine = FIXTURE.sealed();
    let bytes = forgery.bytes(&genuine);
    let sealed_again = match kind {
        Kind::Identity => IdentityKeyPair::open(key, &bytes).map(|identity| identity.seal(key)),
        Kind::PreKeys => PreKeys::open(key, &bytes).map(|prekeys| prekeys.seal(key)),
        Kind::Session => Session::open_with_rng(key, &bytes, &mut rng(7)).map(|session| session.seal(key)),
        Kind::HotHalf { cold } => {
            let (hot, cold) = &FIXTURE.halves[usize::from(cold)];
            let opened = Session::open_halves_with_rng(key, &bytes, cold, &mut rng(7));
            assert_eq!(opened.is_ok(), bytes == *hot);
            opened.map(|session| session.seal_hot(key))
        }
        Kind::ColdHalf { hot } => {
            let (hot, cold) = &FIXTURE.halves[usize::from(hot)];
            let opened = Session::open_halves_with_rng(key, hot, &bytes, &mut rng(7));
            assert_eq!(opened.is_ok(), bytes == *cold);
            opened.map(|session| session.seal_cold(key))
        }
        Kind::Record { index, gone } => return record(index, gone, &forgery),
        Kind::File { edits, read } => return file(&edits, &read),
    };
    if let Ok(sealed_again) = sealed_again {
        assert!(genuine.contains(&&bytes[..]), "a forgery was opened");
        assert_eq!(sealed_again, bytes);
    }
}

/// All of Bob's, with something in the outbox and the inbox, and a message of Alice's that is to come.
static RECORDS: LazyLock<(TestStore, Vec<Record>, Vec<u8>)> = LazyLock::new(|| {
    let mut town = Town::new();
    let (alice, bob) = (town.phones[0].user(), town.phones[2].user());
    let mut say = |from: usize, to| {
        town.phones[from].say(&mut town.server, &to, "hello");
        town.server.take(&town.phones[2].address())
    };
    let mut to_come = say(0, bob);
    to_come.extend(say(0, bob));
    say(2, alice);
    let phone = &mut town.phones[2];
    phone.device.receive(&to_come.remove(0), None).expect("honest");
    phone.device.send(&alice, b"to be pushed").expect("nothing is missing");
    let records = phone.store.records().into_values().collect();
    (phone.store.snapshot(), records, to_come.remove(0))
});

/// An app starts, reads and writes, over a store in which one record is not what it was.
fn record(index: u8, gone: bool, forgery: &Forgery<'_>) {
    let (genuine, records, to_come) = &*RECORDS;
    let mut store = genuine.snapshot();
    let values: Vec<_> = records.iter().map(|record| &record.value[..]).collect();
    let Record { id, version, .. } = records[usize::from(index) % records.len()];
    let value = forgery.bytes(&values);
    let same = !gone && records.iter().any(|record| record.id == id && record.value == value);
    let action = if gone { Action::Delete } else { Action::Put { version, value } };
    store.commit(&[Change { id, expected: Expected::Anything, action }]).expect("it works");

    let mut errors = Vec::new();
    let mut check = |result: Result<(), DeviceError>| errors.extend(result.err());
    match Device::open(store, TestClock::default().config()) {
        Ok(mut device) => {
            let alice = Town::new().phones[0].user();
            check(device.inbox().try_for_each(|received| received.map(drop)));
            check(device.outbox().try_for_each(|out| out.map(drop)));
            check(device.users().try_for_each(|user| user.map(drop)));
            check(device.maintain().map(drop));
            check(device.publication(1).map(drop));
            check(device.receive(to_come, None).map(drop));
            check(device.send(&alice, b"?").map(drop));
            check(device.receive(&[0x21; 400], Some(&alice)).map(drop));
        }
        Err(error) => check(Err(error)),
    }
    // The last one is of a message that nobody has sent.
    assert!(!same || errors.len() == 1, "{errors:?} for what was stored");
    for error in errors {
        // A record that is gone was never there: an identity is no device's, a session is unknown.
        let expected = matches!(
            error,
            DeviceError::Damaged
                | DeviceError::UnsupportedVersion
                | DeviceError::WrongKey
                | DeviceError::NoDevice
                | DeviceError::Message(_)
                | DeviceError::Missing(_)
                | DeviceError::Refused(_)
                | DeviceError::UnknownUser
                | DeviceError::Unreachable
        );
        assert!(expected, "{error:?}");
    }
}

/// A file of three chunks, its content, and its descriptor.
static FILE: LazyLock<(Vec<u8>, Vec<u8>, AttachmentDescriptor)> = LazyLock::new(|| {
    let content: Vec<u8> = (0..140_000_u32).map(|at| (at / 7) as u8).collect();
    let mut sealer = AttachmentSealer::new_with_rng(&mut rng(9), content.len() as u64).expect("a small file");
    let (mut file, mut rest) = (sealer.commitment().to_vec(), &content[..]);
    while let Some(len) = sealer.next_len() {
        let (part, behind) = rest.split_at(len);
        rest = behind;
        let mut chunk = part.to_vec();
        sealer.seal(&mut chunk).expect("as long as it wants");
        file.extend(chunk);
    }
    let descriptor = sealer.finish().expect("all of it");
    (file, content, descriptor)
});

/// What is read of an altered file is what was written, or an error.
fn file(edits: &[FileEdit], read: &[Reading]) {
    let (genuine, content, descriptor) = &*FILE;
    let mut file = genuine.clone();
    for edit in edits.iter().take(8) {
        let place = |at: u32| at as usize % (file.len() + 1);
        match *edit {
            FileEdit::Flip { at, mask } => {
                let at = place(at);
                if let Some(byte) = file.get_mut(at) {
                    *byte ^= mask;
                }
            }
            FileEdit::Truncate { len } => file.truncate(place(len)),
            FileEdit::Extend { by } => file.resize(file.len() + usize::from(by), 0),
            FileEdit::SwapChunks { one, other } => {
                let start = |chunk: u8| usize::from(chunk % 3) * 65_536;
                let (one, other) = (start(one), start(other));
                for at in 0..65_536 {
                    if one.max(other) + at < file.len() {
                        file.swap(one + at, other + at);
                    }
                }
            }
        }
    }
    let same = file == *genuine;
    let mut reader = match AttachmentReader::new(Cursor::new(&file), descriptor) {
        Ok(reader) => reader,
        Err(_) => return assert!(!same),
    };
    let mut position = 0;
    for Reading { seek, len } in read.iter().take(8) {
        if let Some(to) = seek {
            position = *to as usize % (content.len() + 1);
            if reader.seek(SeekFrom::Start(position as u64)).is_err() {
                assert!(!same);
                return;
            }
        }
        let mut buffer = vec![0; usize::from(*len)];
        match reader.read(&mut buffer) {
            Ok(count) => {
                assert!(content[position..].starts_with(&buffer[..count]), "read otherwise than written");
                assert!(count > 0 || buffer.is_empty() || position == content.len());
                position += count;
            }
            Err(_) => {
                assert!(!same);
                return;
            }
        }
    }
    // In order, from the beginning: then the digest is compared, too.
    let mut all = Vec::new();
    let mut reader = AttachmentReader::new(Cursor::new(&file), descriptor).expect("as before");
    let whole = reader.read_to_end(&mut all);
    assert!(content.starts_with(&all));
    assert_eq!(whole.is_ok(), same, "{whole:?}");
}
