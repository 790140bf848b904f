//! Every public decoder: what it takes, it writes again byte by byte, and its limits hold.

use std::{fmt, str::FromStr, sync::LazyLock};

use serde::{Serialize, de::DeserializeOwned};
use subrosa::{
    Address, AttachmentDescriptor, BackupLock, Config, Device, DeviceError, DeviceId, DeviceList,
    IdentityKey, MAX_ATTACHMENT_LEN, MAX_FILE_NAME_LEN, MAX_THUMBNAIL_LEN, MessageId, MessageKind,
    OneTimePreKey, PreKeyBundle, RecoveryKey, SafetyNumber, SasInitiator, SasResponder, SasStep, Scan,
    Session, SessionId, SignedPreKey, StorageKey, UnixTime, UserId,
    store::{Action, Change, Expected, MemoryStore, RecordId, Store, UnlockError},
};

use super::super::{FIXTURE, NOW, rng};

/// What Alice has open, and what Bob shows. Made once: it is slow by design.
static NUMBERS: LazyLock<[SafetyNumber; 2]> = LazyLock::new(|| {
    let [alice, bob] = FIXTURE.users();
    [(alice, bob), (bob, alice)].map(|(me, peer)| SafetyNumber::new(&me, &peer).expect("two users"))
});

pub fn decode(bytes: &[u8]) {
    keys(bytes);
    prekeys(bytes);
    lists(bytes);
    descriptors(bytes);
    comparisons(bytes);
    passphrases(bytes);
    backups(bytes);
    if let Ok(text) = str::from_utf8(bytes) {
        texts(text);
    }
    let first = bytes.get(..1).unwrap_or_default();
    assert_eq!(MessageKind::of(bytes), MessageKind::of(first), "the first byte tells");
}

fn keys(bytes: &[u8]) {
    if let Ok(key) = IdentityKey::from_bytes(bytes) {
        assert_eq!(key.to_bytes(), bytes);
        assert_eq!(key.to_string().parse(), Ok(key));
        serialised(&key);
    }
    if let Ok(user) = UserId::from_bytes(bytes) {
        assert_eq!(user.to_bytes(), bytes);
        assert_eq!(user.to_string().parse(), Ok(user));
        serialised(&user);
    }
    deserialised::<IdentityKey>(bytes);
    deserialised::<UserId>(bytes);
    deserialised::<DeviceId>(bytes);
    deserialised::<SessionId>(bytes);
    deserialised::<MessageId>(bytes);
    deserialised::<UnixTime>(bytes);
}

fn prekeys(bytes: &[u8]) {
    if let Ok(prekey) = SignedPreKey::from_bytes(bytes) {
        assert_eq!(prekey.to_bytes(), bytes);
        serialised(&prekey);
    }
    if let Ok(prekey) = OneTimePreKey::from_bytes(bytes) {
        assert_eq!(prekey.to_bytes(), bytes);
        serialised(&prekey);
    }
    if let Ok(bundle) = PreKeyBundle::from_bytes(bytes) {
        assert_eq!(bundle.to_bytes(), bytes);
        assert!(bytes.len() == 1_739 || bytes.len() == 3_404);
        serialised(&bundle);
        let genuine = FIXTURE.bundles.contains(&bundle);
        if let Ok(verified) = bundle.verify(NOW) {
            assert!(genuine, "nobody has signed this");
            let session = Session::initiate_with_rng(&FIXTURE.alice, verified, &[], &mut rng(5));
            assert!(session.is_ok());
        }
    }
    deserialised::<PreKeyBundle>(bytes);
    deserialised::<SignedPreKey>(bytes);
    deserialised::<OneTimePreKey>(bytes);
}

fn lists(bytes: &[u8]) {
    if let Ok(list) = DeviceList::from_bytes(bytes) {
        assert_eq!(list.to_bytes(), bytes);
        assert!((278..=4_246).contains(&bytes.len()));
        assert!(list.version() > 0);
        let count = list.devices().count();
        assert!((1..=32).contains(&count));
        assert!(list.devices().is_sorted_by(|one, next| one.to_bytes() < next.to_bytes()));
        assert!(list.devices().all(|key| list.contains(&DeviceId::of(key))));
        let life = list.expires().as_secs().checked_sub(list.issued().as_secs());
        assert!(life.is_some_and(|life| (1..=90 * 24 * 60 * 60).contains(&life)));
    }
}

fn descriptors(bytes: &[u8]) {
    if let Ok(descriptor) = AttachmentDescriptor::from_bytes(bytes) {
        assert_eq!(descriptor.to_bytes(), bytes);
        assert!(descriptor.size() <= MAX_ATTACHMENT_LEN);
        assert!(descriptor.thumbnail().len() <= MAX_THUMBNAIL_LEN);
        let name = descriptor.file_name().unwrap_or_default();
        assert!(name.len() <= MAX_FILE_NAME_LEN && !name.contains(['/', '\\', '\0']) && name != "..");
        let last = descriptor.chunks() - 1;
        assert_eq!(descriptor.file_range(last).end, descriptor.file_len());
        assert_eq!(descriptor.content_range(last).end, descriptor.size());
        for chunk in [0, last / 2, last] {
            let range = descriptor.content_range(chunk);
            assert!(range.is_empty() || descriptor.chunk_at(range.start) == chunk);
            assert!(range.is_empty() || descriptor.chunk_at(range.end - 1) == chunk);
        }
        // Beyond the end, too: a value, no panic.
        let _ = (
            descriptor.chunk_at(u64::MAX),
            descriptor.file_range(u64::MAX),
            descriptor.content_range(u64::MAX),
        );
        assert_eq!(descriptor.clone().with_media_type(descriptor.media_type()), Ok(descriptor));
    }
}

/// Codes that are scanned, and the three messages of a comparison.
fn comparisons(bytes: &[u8]) {
    let [alices, bobs] = &*NUMBERS;
    if let Ok(Scan::Match(_)) = alices.verify_scanned(bytes) {
        assert!(bytes == bobs.scannable() || bytes.eq_ignore_ascii_case(bobs.scannable_text().as_bytes()));
    }
    let [alice, bob] = FIXTURE.users();
    let is = |step| SasStep::of(bytes) == Ok(step) && bytes.len() == 34;
    let answered = SasResponder::answer_with_rng(&bob, &alice, bytes, &mut rng(6));
    assert_eq!(answered.is_ok(), is(SasStep::Commitment));
    let begin = || SasInitiator::begin_with_rng(&alice, &bob, &mut rng(7)).expect("two users");
    let (initiator, commitment) = begin();
    assert_eq!(initiator.receive(bytes).is_ok(), is(SasStep::Answer));
    // The reveal is one of 2^256.
    let (responder, answer) =
        SasResponder::answer_with_rng(&bob, &alice, &commitment, &mut rng(8)).expect("a commitment");
    let (code, reveal) = begin().0.receive(&answer).expect("an answer");
    match responder.receive(bytes) {
        Ok(read) => assert_eq!((bytes, read.numbers()), (&reveal[..], code.numbers())),
        Err(error) => assert_eq!(error == subrosa::Error::Unauthentic, is(SasStep::Reveal)),
    }
}

/// The record that a storage key out of a passphrase is made with. What is out of bounds is refused before it costs
/// anything; what is within is tried if it costs the least.
fn passphrases(bytes: &[u8]) {
    let Some((&[1], rest)) = bytes.split_first_chunk() else { return };
    let number = |at: usize| {
        rest.get(at..at + 4).map(|bytes| bytes.iter().fold(0, |n, byte| n << 8 | u32::from(*byte)))
    };
    let bounded = match (number(16), number(20), number(24)) {
        (Some(m), Some(t), Some(p)) if rest.len() == 28 + 32 => {
            let bounded = (19_456..=1_048_576).contains(&m) && (1..=16).contains(&t) && (1..=8).contains(&p);
            if bounded && (m > 19_456 || t > 1) {
                return;
            }
            bounded
        }
        _ => false,
    };
    let mut store = MemoryStore::new();
    let action = Action::Put { version: 1, value: bytes.to_vec() };
    let id = RecordId { table: 0, name: [0; 16] };
    store.commit(&[Change { id, expected: Expected::Absent, action }]).expect("an empty store");
    match StorageKey::from_passphrase(&mut store, "passphrase") {
        Err(UnlockError::WrongPassphrase) => assert!(bounded),
        Err(UnlockError::Damaged) => assert!(!bounded),
        other => panic!("{other:?}"),
    }
}

/// A backup that nobody has made.
fn backups(bytes: &[u8]) {
    // Under a passphrase it costs what it says: `passphrases` looks at the bounds.
    let key = super::inside::recovery_key();
    let config = Config::new(&FIXTURE.key, || NOW);
    let lock = BackupLock::Key(&key);
    let restored = Device::restore(MemoryStore::new(), config, bytes, &lock, None);
    assert!(matches!(restored, Err(DeviceError::BadBackup | DeviceError::UnsupportedVersion)));
}

fn texts(text: &str) {
    any_case::<IdentityKey>(text);
    any_case::<UserId>(text);
    any_case::<Address>(text);
    same::<DeviceId>(text);
    same::<MessageId>(text);
    if let Ok(key) = text.parse::<RecoveryKey>() {
        assert!(key.to_text().eq_ignore_ascii_case(text) && is_one_case(text));
    }
}

/// Bech32m: lower or upper case, never both.
fn any_case<T: FromStr + fmt::Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert!(value.to_string().eq_ignore_ascii_case(text));
        let key = text.split('/').next().unwrap_or_default();
        assert!(is_one_case(key));
    }
}

fn is_one_case(text: &str) -> bool {
    text == text.to_lowercase() || text == text.to_uppercase()
}

fn same<T: FromStr + fmt::Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string(), text);
    }
}

/// What `serde` writes of a value, it reads.
fn serialised<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(value: &T) {
    let binary = postcard::to_allocvec(value).expect("a value");
    assert_eq!(postcard::from_bytes::<T>(&binary).as_ref(), Ok(value));
}

/// What `serde` reads, it writes again, from there on always the same.
fn deserialised<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(bytes: &[u8]) {
    if let Ok(value) = postcard::from_bytes::<T>(bytes) {
        serialised(&value);
    }
}
