//! Two devices, a backup, a link, an attachment: what they are given and give is noted masked, and what follows from it another process
//! computes by the specification. Of a device that means: the user's root key, the keys of its store, of backups, of a link's code
//! and of a file.
//!
//! Not looked for: what only the device has ever known and gives nobody (the keys between two devices that link, the nonces of a
//! comparison), and its sessions' keys, which the transcripts have.

use std::{env, ffi::OsString, hint::black_box, io::Write};

use argon2::{Algorithm, Argon2, Params, Version};
use bech32::primitives::decode::CheckedHrpstring;
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305,
    aead::{Aead, Payload},
};
use hkdf::Hkdf;
use rand::Rng;
use sha2::Sha256;
use subrosa::{
    AttachmentReader, AttachmentWriter, BackupLock, Config, Device, Link, PreKeyBundle, RecoveryKey,
    StorageKey, UnixTime,
    store::{MemoryStore, Store},
};

use super::{
    MASK, STACK, at_depth,
    common::seeded,
    derived::{Named, answer, ask, signing_key},
    search, wipe,
};

const PASSPHRASE: &str = "correct horse battery staple";
/// How long the file is.
const SIZE: u64 = 70_000;

/// What a device was given and gave, as far as it got: secrets masked, and what is no secret as it is.
#[derive(Default)]
struct Noted {
    storage_key: Vec<u8>,
    /// As text.
    recovery_key: Vec<u8>,
    /// As text.
    link_code: Vec<u8>,
    descriptor: Vec<u8>,
    backup: Vec<u8>,
    backup_under_passphrase: Vec<u8>,
    /// What a store keeps of a passphrase.
    passphrase_record: Vec<u8>,
}

impl Noted {
    /// By names that the other process knows them by.
    fn parts(&mut self) -> [(&'static str, &mut Vec<u8>); 7] {
        [
            ("SUBROSA_TEST_STORAGE_KEY", &mut self.storage_key),
            ("SUBROSA_TEST_RECOVERY_KEY", &mut self.recovery_key),
            ("SUBROSA_TEST_LINK_CODE", &mut self.link_code),
            ("SUBROSA_TEST_DESCRIPTOR", &mut self.descriptor),
            ("SUBROSA_TEST_BACKUP", &mut self.backup),
            ("SUBROSA_TEST_BACKUP_UNDER_PASSPHRASE", &mut self.backup_under_passphrase),
            ("SUBROSA_TEST_PASSPHRASE_RECORD", &mut self.passphrase_record),
        ]
    }
}

fn mask(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ MASK).collect()
}

/// So many steps, and whoever took part if that is all of them.
#[inline(never)]
fn act(steps: usize, noted: &mut Noted) -> Option<[Device<MemoryStore>; 2]> {
    const NOW: fn() -> UnixTime = || UnixTime::from_secs(1_800_000_000);
    let mut depth = 0;
    // Each at a depth of its own.
    macro_rules! step {
        ($f:expr) => {
            if depth == steps {
                return None;
            }
            at_depth(depth, &mut || $f);
            depth += 1;
        };
    }
    let store = MemoryStore::new();
    let mut made = None;
    step!({
        // In place: `map` would leave a copy.
        let mut bytes = [0; 32];
        seeded(29).fill_bytes(&mut bytes);
        noted.storage_key = mask(&bytes);
        made = Some(StorageKey::from_bytes(&bytes));
        wipe(&mut bytes);
    });
    let key = made.unwrap();
    let (mut alice, mut bob, mut recovery) = (None, None, None);
    step!(alice = Some(Device::create(store.clone(), Config::new(&key, NOW)).unwrap()));
    step!({
        let made = RecoveryKey::generate().unwrap();
        let mut written = made.to_text().into_bytes();
        noted.recovery_key = mask(&written);
        drop(made);
        recovery = Some(std::str::from_utf8(&written).unwrap().parse::<RecoveryKey>().unwrap());
        wipe(&mut written);
    });
    let recovery = recovery.unwrap();
    step!(noted.backup = alice.as_mut().unwrap().backup(&BackupLock::Key(&recovery)).unwrap());
    step!(bob = Some(Device::create(MemoryStore::new(), Config::new(&key, NOW)).unwrap()));
    step!(alice = Some(Device::open(store.clone(), Config::new(&key, NOW)).unwrap()));
    let (mut alice, mut bob) = (alice.unwrap(), bob.unwrap());
    step!({
        let public = bob.publication(0).unwrap();
        let bundle = PreKeyBundle::new(public.identity_key, public.signed_prekey, None);
        alice.provide(&public.list.to_bytes()).unwrap();
        alice.provide_bundle(&public.address, Some(&bundle.to_bytes())).unwrap();
    });
    step!({
        let sent = alice.send(&bob.user(), b"hello").unwrap();
        bob.receive(&sent[0].bytes, None).unwrap();
    });
    step!({
        let config = Config::new(&key, NOW);
        let lock = BackupLock::Key(&recovery);
        drop(Device::restore(MemoryStore::new(), config, &noted.backup, &lock, None).unwrap());
    });
    step!(noted.backup_under_passphrase = alice.backup(&BackupLock::Passphrase(PASSPHRASE)).unwrap());
    step!({
        let (config, lock) = (Config::new(&key, NOW), BackupLock::Passphrase(PASSPHRASE));
        let backup = &noted.backup_under_passphrase;
        drop(Device::restore(MemoryStore::new(), config, backup, &lock, None).unwrap());
    });
    let mut locked = MemoryStore::new();
    // Made, and opened again.
    for _ in 0..2 {
        step!(drop(StorageKey::from_passphrase(&mut locked, PASSPHRASE).unwrap()));
        noted.passphrase_record = locked.list(0, 0, 1).unwrap().remove(0).value;
    }
    let (mut file, mut descriptor) = (Vec::new(), None);
    step!({
        let mut writer = AttachmentWriter::new(&mut file, SIZE).unwrap();
        writer.write_all(&[7; SIZE as usize]).unwrap();
        let made = writer.finish().unwrap();
        let mut bytes = made.to_bytes();
        noted.descriptor = mask(&bytes);
        wipe(&mut bytes);
        descriptor = Some(made);
    });
    let descriptor = descriptor.unwrap();
    step!({
        let mut reader = AttachmentReader::new(std::io::Cursor::new(&file), &descriptor).unwrap();
        let read = std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
        assert_eq!(read, SIZE);
    });
    drop(descriptor);
    // A device of Alice's own, which does not outlast this: its code, as text, is the app's to wipe.
    let (mut link, mut code) = (None, zeroize::Zeroizing::new(Vec::new()));
    step!({
        let begun = Link::begin(MemoryStore::new(), Config::new(&key, NOW)).unwrap();
        code = zeroize::Zeroizing::new(begun.code().into_bytes());
        noted.link_code = mask(&code);
        link = Some(begun);
    });
    let mut link = link.unwrap();
    let (mut offer, mut reply) = (Vec::new(), Vec::new());
    step!(offer = alice.offer_link(std::str::from_utf8(&code).unwrap()).unwrap());
    wipe(&mut code);
    step!(reply = link.confirm(&offer, &alice.user()).unwrap());
    let mut link = Some(link);
    step!({
        let grant = alice.approve_link(&reply).unwrap();
        drop(link.take().unwrap().complete(&grant).unwrap());
    });
    assert!(depth <= steps);
    Some([alice, bob])
}

/// The secrets of the specification that follow from what was noted.
fn secrets(noted: &mut Noted) -> Vec<Named> {
    let hexadecimal = noted.parts().map(|(name, bytes)| (name, OsString::from(hex::encode(bytes))));
    ask("devices::child_derives", &hexadecimal.each_ref().map(|(name, value)| (*name, value.as_os_str())))
}

/// In the other process.
#[test]
#[ignore = "what another process does"]
fn child_derives() {
    let mut noted = Noted::default();
    for (name, bytes) in noted.parts() {
        let Ok(value) = env::var(name) else { return };
        *bytes = hex::decode(value).unwrap();
    }
    let hkdf = |ikm: &[u8], label: &str, context: &[u8], len| {
        let mut out = vec![0; len];
        let info = [label.as_bytes(), &[0], context].concat();
        Hkdf::<Sha256>::new(None, ikm).expand(&info, &mut out).unwrap();
        out
    };
    // Version 0, but for its checksum, at five bits a letter.
    let raw = |text: &[u8]| -> Vec<u8> {
        let text = String::from_utf8(mask(text)).unwrap();
        CheckedHrpstring::new::<bech32::Bech32m>(&text).unwrap().byte_iter().collect()
    };
    let mut all = Vec::new();
    let mut note = |name: &str, bytes: &[u8]| all.push((name.to_owned(), bytes.to_vec()));
    let storage_key = mask(&noted.storage_key);
    if !storage_key.is_empty() {
        note("storage key", &storage_key);
        let keys = hkdf(&storage_key, "Subrosa/1 storage", &[], 64);
        note("sealing key", &keys[..32]);
        note("nonces key", &keys[32..]);
        note("record names key", &hkdf(&storage_key, "Subrosa/1 record names", &[], 32));
    }
    let mut root = None;
    if !noted.recovery_key.is_empty() {
        note("recovery key as text", &mask(&noted.recovery_key));
        let recovery = raw(&noted.recovery_key);
        note("recovery key", &recovery);
        let key = &hkdf(&recovery, "Subrosa/1 backup", &[], 64)[..32];
        note("backup key", key);
        if let Some((head, rest)) = noted.backup.split_at_checked(34) {
            let opened = XChaCha20Poly1305::new(key.try_into().unwrap())
                .decrypt(rest[..24].try_into().unwrap(), Payload { msg: &rest[24..], aad: head })
                .unwrap();
            note("root seed", &opened[..32]);
            root = Some(opened[..32].to_vec());
        }
    }
    let records =
        [(&noted.backup_under_passphrase, 2, "backup"), (&noted.passphrase_record, 1, "storage passphrase")];
    for (record, at, what) in records {
        let Some(parameters) = record.get(at..at + 28) else { continue };
        let number = |at: usize| u32::from_be_bytes(parameters[at..at + 4].try_into().unwrap());
        let params = Params::new(number(16), number(20), number(24), Some(64)).unwrap();
        let mut out = [0; 64];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(PASSPHRASE.as_bytes(), &parameters[..16], &mut out)
            .unwrap();
        note(&format!("{what}, stretched"), &out);
        let keys = hkdf(&out, &format!("Subrosa/1 {what}"), parameters, 64);
        assert_eq!(record[at + 28..][..32], keys[32..], "the commitment, which is no secret");
        note(&format!("{what}, key of the passphrase"), &keys[..32]);
    }
    if !noted.descriptor.is_empty() {
        let key = &mask(&noted.descriptor)[1..33];
        note("file's key", key);
        let context = [&SIZE.to_be_bytes()[..], &65_536_u32.to_be_bytes()].concat();
        note("chunks' key", &hkdf(key, "Subrosa/1 attachment", &context, 71)[..32]);
    }
    if !noted.link_code.is_empty() {
        // Behind version and identity key, which are no secrets.
        note("link's secret as text", &mask(&noted.link_code)[7 + 105..163]);
        note("link's secret", &raw(&noted.link_code)[65..]);
    }
    if let Some(root) = root {
        signing_key(&root, &mut all);
    }
    answer(&all);
}

#[test]
fn a27_no_key_of_a_device_is_left_in_memory() {
    let looks = || {
        let (mut known, mut left) = (0, Vec::new());
        for steps in 1.. {
            let mut noted = Noted::default();
            let devices = black_box(act(steps, &mut noted));
            let secrets = secrets(&mut noted);
            assert!(secrets.len() >= known);
            known = secrets.len();
            let Some(devices) = devices else {
                left.extend(search(&secrets).into_iter().map(|found| format!("{steps} steps: {found}")));
                continue;
            };
            for kind in ["storage key", "sealing key", "record names key"] {
                let alive: Vec<_> = secrets.iter().filter(|(name, _)| name == kind).cloned().collect();
                assert!(
                    !search(&alive).is_empty(),
                    "the devices are alive, and the search does not find their {kind}"
                );
            }
            drop(devices);
            left.extend(search(&secrets));
            assert!(left.is_empty(), "{} left:\n{}", left.len(), left.join("\n"));
            assert_eq!((steps, known), (19, 18));
            break;
        }
    };
    std::thread::Builder::new().stack_size(STACK).spawn(looks).unwrap().join().unwrap();
}
