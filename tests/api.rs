//! Properties of the public types: what they can and cannot do, and their encodings.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that panics is a test that fails"
)]

use std::{
    fmt::{Debug, Display},
    hash::Hash,
};

use proptest::prelude::*;
use rand::Rng;
use serde::{Serialize, de::DeserializeOwned};
use static_assertions::{assert_impl_all, assert_not_impl_any};
use subrosa::{
    Accepted, Address, Config, Device, DeviceError, DeviceId, DeviceList, Emoji, Error, IdentityKey,
    IdentityKeyPair, Link, MessageKind, OneTimePreKey, Padding, PreKeyBundle, PreKeys, RecoveryKey,
    SafetyNumber, SasCode, SasInitiator, SasResponder, Scan, Session, SessionId, SignedPreKey, StorageKey,
    UnixTime, UserId, VerifiedBundle,
    store::{MemoryStore, StoreError},
};

mod common;
use common::{NOW, Pair, seeded};

// Secrets are not copied, not printed, not serialised but sealed; and go to other threads.
assert_not_impl_any!(IdentityKeyPair: Clone, Copy, Display, Serialize, PartialEq, AsRef<[u8]>);
assert_not_impl_any!(PreKeys: Clone, Copy, Display, Serialize, PartialEq);
assert_not_impl_any!(Session: Clone, Copy, Display, Serialize, PartialEq);
assert_not_impl_any!(StorageKey: Clone, Copy, Display, Serialize, PartialEq, AsRef<[u8]>);
assert_not_impl_any!(Accepted: Clone);
assert_not_impl_any!(Device<MemoryStore>: Clone, Copy, Display, Serialize, PartialEq);
assert_not_impl_any!(Link<MemoryStore>: Clone, Copy, Display, Serialize, PartialEq);
assert_not_impl_any!(RecoveryKey: Clone, Copy, Display, Serialize, PartialEq, AsRef<[u8]>);
assert_not_impl_any!(Config: Clone, Copy, Display, Serialize, PartialEq);
assert_impl_all!(Device<MemoryStore>: Send, Debug);
assert_impl_all!(DeviceError: std::error::Error, Send, Sync);
assert_impl_all!(StoreError: std::error::Error, Send, Sync);
// What was verified stays verified: it cannot be read in from outside. And it is good for one session.
assert_not_impl_any!(VerifiedBundle: DeserializeOwned, Clone);
assert_impl_all!(IdentityKeyPair: Send, Sync, Debug);
assert_impl_all!(PreKeys: Send, Sync, Debug);
assert_impl_all!(Session: Send, Sync, Debug);
assert_impl_all!(Error: std::error::Error, Send, Sync, Copy);
assert_impl_all!(VerifiedBundle: Send, Sync, Debug);
assert_impl_all!(UnixTime: Serialize, DeserializeOwned, Ord);
assert_impl_all!(Padding: Serialize, DeserializeOwned, Default);
assert_impl_all!(SessionId: Serialize, DeserializeOwned, Ord, Display);
assert_impl_all!(MessageKind: Copy, Eq);
assert_impl_all!(UserId: Serialize, DeserializeOwned, Copy, Ord, Hash, Display, Debug);
assert_impl_all!(DeviceId: Serialize, DeserializeOwned, Copy, Ord, Hash, Display, Debug);
assert_impl_all!(Address: Copy, Ord, Hash, Display, Debug);
assert_impl_all!(DeviceList: Clone, Eq, Debug, Send, Sync);
// A step of a verification is taken once, and not kept for later.
assert_not_impl_any!(SasInitiator: Clone, Copy, Display, Serialize, PartialEq);
assert_not_impl_any!(SasResponder: Clone, Copy, Display, Serialize, PartialEq);
assert_not_impl_any!(SasCode: Clone, Copy, Display, Serialize, PartialEq);
assert_impl_all!(SasInitiator: Send, Sync, Debug);
assert_impl_all!(SasResponder: Send, Sync, Debug);
assert_impl_all!(SasCode: Send, Sync, Debug);
// Both sides' numbers are alike as text, and not the same thing.
assert_not_impl_any!(SafetyNumber: PartialEq);
assert_impl_all!(SafetyNumber: Clone, Display, Debug, Send, Sync);
assert_impl_all!(Scan: Copy, Eq, Debug);
assert_impl_all!(Emoji: Copy, Eq, Hash, Display, Debug);

/// Through JSON (text) and postcard (binary), and bytes that are cut short.
fn through_serde<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) -> String {
    let text = serde_json::to_string(value).unwrap();
    assert_eq!(&serde_json::from_str::<T>(&text).unwrap(), value);
    let binary = postcard::to_allocvec(value).unwrap();
    assert_eq!(&postcard::from_bytes::<T>(&binary).unwrap(), value);
    assert!(postcard::from_bytes::<T>(&binary[..binary.len() - 1]).is_err());
    text
}

#[test]
fn public_values_go_through_bytes_and_serde() {
    let mut pair = Pair::new(1, 2);
    let key = *pair.bob.identity_key();
    assert_eq!(IdentityKey::from_bytes(&key.to_bytes()), Ok(key));
    assert_eq!(through_serde(&key), format!("\"{key}\""));

    // Every Ed25519 key is somebody's.
    let user = UserId::from_bytes(&key.to_bytes()[..UserId::LEN]).unwrap();
    assert_eq!(UserId::from_bytes(&user.to_bytes()), Ok(user));
    assert_eq!(through_serde(&user), format!("\"{user}\""));
    let device = DeviceId::of(&key);
    assert_eq!(DeviceId::from_bytes(device.to_bytes()), device);
    through_serde(&device);
    let address = Address { user, device };
    assert_eq!(address.to_string().parse(), Ok(address));

    let signed = pair.prekeys.signed_prekey();
    let bytes = signed.to_bytes();
    assert_eq!((bytes.len(), SignedPreKey::LEN), (1673, 1673));
    assert_eq!(SignedPreKey::from_bytes(&bytes).as_ref(), Ok(&signed));
    assert_eq!(through_serde(&signed), format!("\"{}\"", hex::encode(&bytes)));

    let one_time = pair.prekeys.hand_out(1).pop().unwrap();
    let bytes = one_time.to_bytes();
    assert_eq!((bytes.len(), OneTimePreKey::LEN), (1665, 1665));
    assert_eq!(OneTimePreKey::from_bytes(&bytes).as_ref(), Ok(&one_time));
    let text = through_serde(&one_time);
    assert!(serde_json::from_str::<OneTimePreKey>(&text.replacen("00", "0", 1)).is_err());
    assert!(serde_json::from_str::<OneTimePreKey>(&text.replacen("51", "52", 1)).is_err());

    for (bundle, len) in [(pair.prekeys.bundle(), 3404), (PreKeyBundle::new(key, signed, None), 1739)] {
        let bytes = bundle.to_bytes();
        assert_eq!(bytes.len(), len);
        assert_eq!(PreKeyBundle::from_bytes(&bytes).as_ref(), Ok(&bundle));
        through_serde(&bundle);
    }
    through_serde(&NOW);
    through_serde(&Padding::Buckets);
    let (alice, _) = pair.established();
    through_serde(&alice.id());
    let id = hex::encode(alice.id().to_bytes());
    assert_eq!(
        (alice.id().to_string(), format!("{:?}", alice.id())),
        (id.clone(), format!("SessionId({id})"))
    );
}

#[test]
fn identity_text_is_canonical_and_checksummed() {
    let key = *Pair::new(2, 0).alice.identity_key();
    let text = key.to_string();
    assert_eq!(text.len(), 114);
    assert!(text.starts_with("srid1"));
    assert_eq!(text.parse(), Ok(key));
    assert_eq!(text.to_uppercase().parse(), Ok(key));
    // Mixed case, spaces, another prefix.
    let parse = |text: &str| text.parse::<IdentityKey>();
    assert_eq!(parse(&format!("S{}", &text[1..])), Err(Error::Malformed));
    assert_eq!(parse(&format!(" {text}")), Err(Error::Malformed));
    assert_eq!(parse(""), Err(Error::Malformed));
    use bech32::{Bech32, Bech32m, ByteIterExt, Fe32IterExt, Hrp};
    let (ours, other) = (Hrp::parse("srid").unwrap(), Hrp::parse("srxd").unwrap());
    let encode = |hrp, bytes: &[u8]| bech32::encode::<Bech32m>(hrp, bytes).unwrap();
    assert_eq!(encode(ours, &key.to_bytes()), text);
    assert_eq!(parse(&encode(other, &key.to_bytes())), Err(Error::Malformed));
    assert_eq!(parse(&encode(ours, &key.to_bytes()[1..])), Err(Error::Malformed));
    // The text before the keys.
    assert_eq!(parse(&encode(ours, &[0xff; 64])), Err(Error::InvalidKey));
    assert_eq!(parse(&encode(other, &[0xff; 64])), Err(Error::Malformed));
    assert_eq!(parse(&bech32::encode::<Bech32>(ours, &key.to_bytes()).unwrap()), Err(Error::Malformed));
    // Non-zero padding bits behind the 64 bytes (512 bits in 103 characters: 3 bits of padding).
    let mut symbols: Vec<_> = key.to_bytes().into_iter().bytes_to_fes().collect();
    let last = symbols.pop().unwrap();
    symbols.push(bech32::Fe32::try_from(last.to_u8() | 1).unwrap());
    let padded: String = symbols.into_iter().with_checksum::<Bech32m>(&ours).chars().collect();
    assert_eq!(padded.len(), text.len());
    assert_eq!(parse(&padded), Err(Error::Malformed));
    // Every single slip.
    for position in 0..text.len() {
        let mut slip = text.clone().into_bytes();
        slip[position] = if slip[position] == b'q' { b'p' } else { b'q' };
        assert!(parse(&String::from_utf8(slip).unwrap()).is_err(), "{position}");
    }
}

#[test]
fn sealed_values_open_with_their_key_only() {
    let mut rng = seeded(3);
    let pair = Pair::new(3, 2);
    let (key, other) = (StorageKey::generate_with_rng(&mut rng), StorageKey::generate_with_rng(&mut rng));
    assert_ne!(key.to_bytes(), other.to_bytes());
    let again = StorageKey::from_bytes(&key.to_bytes());
    let identity = pair.alice.seal(&key);
    assert_eq!(IdentityKeyPair::open(&again, &identity).unwrap().identity_key(), pair.alice.identity_key());
    assert_eq!(IdentityKeyPair::open(&other, &identity).err(), Some(Error::SealBroken));
    let prekeys = pair.prekeys.seal(&key);
    assert_eq!(PreKeys::open(&again, &prekeys).unwrap().seal(&key), prekeys);
    assert_eq!(PreKeys::open(&other, &prekeys).err(), Some(Error::SealBroken));
    assert_eq!(PreKeys::open(&key, &identity).err(), Some(Error::SealBroken));
    assert_eq!(IdentityKeyPair::open(&key, &[]).err(), Some(Error::SealBroken));
    assert_eq!(IdentityKeyPair::open(&key, &[0xb2; 99]).err(), Some(Error::UnsupportedVersion));
}

#[test]
fn errors_speak() {
    for error in [Error::Malformed, Error::Unauthentic, Error::PeerRolledBack, Error::SealBroken] {
        let text = error.to_string();
        assert!(text.len() > 8 && text.chars().next().unwrap().is_lowercase(), "{text}");
    }
    assert!(Error::TooFarAhead.needs_rehandshake());
    assert!(!Error::UnknownSession.needs_rehandshake());
}

#[test]
fn clock_says_something_later_than_this_test_was_written() {
    assert!(UnixTime::now() > UnixTime::from_secs(1_700_000_000));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// What decodes encodes to the same bytes.
    #[test]
    fn decoders_are_canonical(seed: u64, flips in proptest::collection::vec((any::<u16>(), 1u8..), 0..4), cut in 0usize..40) {
        let mut pair = Pair::new(seed % 4, 1);
        let mut bytes = pair.prekeys.bundle().to_bytes();
        bytes.truncate(bytes.len() - cut % bytes.len());
        for (position, flip) in flips {
            let position = usize::from(position) % bytes.len();
            bytes[position] ^= flip;
        }
        if let Ok(bundle) = PreKeyBundle::from_bytes(&bytes) {
            prop_assert_eq!(bundle.to_bytes(), bytes);
        }
    }

    #[test]
    fn identity_keys_decode_canonically(seed: u64) {
        let mut bytes = [0; 64];
        seeded(seed).fill_bytes(&mut bytes);
        if let Ok(key) = IdentityKey::from_bytes(&bytes) {
            prop_assert_eq!(key.to_bytes(), bytes);
            prop_assert_eq!(key.to_string().parse::<IdentityKey>(), Ok(key));
        }
    }

    /// Any content of any length, delivered in any order, arrives.
    #[test]
    fn any_order_arrives(seed: u64, lengths in proptest::collection::vec(0usize..1500, 1..12), unpadded: bool) {
        let (mut alice, mut bob) = Pair::new(seed, 1).established();
        if unpadded {
            alice.set_padding(Padding::None);
        }
        let mut rng = seeded(seed);
        let mut messages: Vec<_> = lengths
            .iter()
            .map(|len| {
                let mut content = vec![0; *len];
                rng.fill_bytes(&mut content);
                (alice.encrypt(&content).unwrap(), content)
            })
            .collect();
        messages.sort_by_key(|(message, _)| message[5]);
        for (message, content) in messages {
            prop_assert_eq!(bob.decrypt(&message), Ok(content));
        }
    }
}

#[test]
fn generated_storage_keys_are_different() {
    let (one, other) = (StorageKey::generate(), StorageKey::generate());
    assert_ne!(one.to_bytes(), other.to_bytes());
    let sealed = IdentityKeyPair::generate().seal(&one);
    IdentityKeyPair::open(&StorageKey::from_bytes(&one.to_bytes()), &sealed).unwrap();
    assert_eq!(IdentityKeyPair::open(&other, &sealed).err(), Some(Error::SealBroken));
}
