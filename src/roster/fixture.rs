//! Users and devices of the tests.

use alloc::vec::Vec;

use chacha20::ChaCha20Rng;
use rand::SeedableRng;

use super::{DeviceList, RootKey, claim, list};
use crate::{
    IdentityKey, IdentityKeyPair, UnixTime,
    crypto::{
        secret::Secret,
        sign::{SIGNATURE_LEN, Signature},
    },
};

pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// Encodings that are no root key: points of small order, and y = 1 + p.
pub(crate) const BAD_KEYS: [&str; 4] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

pub(crate) fn bad_keys() -> impl Iterator<Item = [u8; 32]> {
    BAD_KEYS.into_iter().map(|text| hex::decode(text).unwrap().try_into().unwrap())
}

pub(crate) fn root(seed: u8) -> RootKey {
    RootKey::from_seed(&Secret::new([seed; 32]))
}

pub(crate) fn device(seed: u64) -> IdentityKeyPair {
    IdentityKeyPair::generate_with_rng(&mut ChaCha20Rng::seed_from_u64(seed))
}

/// That many devices that claim to be of this root's user.
pub(crate) fn entries(root: &RootKey, count: u64) -> Vec<(IdentityKey, Signature)> {
    (1..=count).map(|seed| entry(root, &device(seed))).collect()
}

pub(crate) fn entry(root: &RootKey, device: &IdentityKeyPair) -> (IdentityKey, Signature) {
    (*device.identity_key(), claim(device, root.user_id()))
}

pub(crate) fn list(root: &RootKey, previous: Option<&DeviceList>, count: u64) -> DeviceList {
    DeviceList::sign(root, previous, entries(root, count), NOW).unwrap()
}

/// Changes a list, and has the root sign it as it is then.
pub(crate) fn altered(root: &RootKey, list: &DeviceList, alter: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = list.to_bytes();
    bytes.truncate(bytes.len() - SIGNATURE_LEN);
    alter(&mut bytes);
    let signature = root.sign(&list::message(&bytes));
    [&bytes, &signature.as_bytes()[..]].concat()
}
