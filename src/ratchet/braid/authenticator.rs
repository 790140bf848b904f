//! The authenticator of the Braid: MACs over what the KEM exchanges, under keys that follow its secrets.
//!
//! ```text
//! (root, MAC key) = HKDF(salt root, ikm secret, "pq authenticator" | epoch u32), 64 bytes
//! ```
//! It starts from a zero root and the secret of the handshake, in epoch 1, and takes in each epoch's key. So who
//! has broken the message encryption of one moment cannot put a KEM key of its own into the Braid, unless it
//! has a copy of the state, or knows the secrets of all epochs before.

use alloc::boxed::Box;

use serde::{Deserialize, Serialize};

use crate::{
    crypto::{
        kdf::{self, Label},
        secret::{Secret, constant_time_eq},
        trace,
    },
    ratchet::PqSecret,
};

/// Length of a MAC, in bytes.
pub(crate) const MAC_LEN: usize = 32;

/// One epoch of the Braid: its number, from 1, and the keys that authenticate it. Boxed, so that transitions
/// move a pointer and leave no copies of keys behind.
#[derive(Serialize, Deserialize)]
pub(crate) struct Epoch {
    pub(crate) number: u32,
    keys: Box<Keys>,
}

#[derive(Serialize, Deserialize)]
struct Keys {
    root: Secret<32>,
    mac: Secret<32>,
}

impl Epoch {
    pub(crate) fn first(secret: &PqSecret) -> Self {
        Self { number: 1, keys: Box::new(Keys::next(&[0; 32], secret.as_bytes(), 1)) }
    }

    /// Update: takes in the key of this epoch.
    pub(crate) fn update(&mut self, key: &EpochKey) {
        *self.keys = Keys::next(self.keys.root.as_bytes(), key.0.as_bytes(), self.number);
    }

    /// The epoch after this one. None after the last, which ends the Braid.
    pub(crate) fn next(self) -> Option<Self> {
        let number = self.number.checked_add(1).filter(|number| *number < u32::MAX)?;
        Some(Self { number, keys: self.keys })
    }

    /// MacHdr.
    pub(crate) fn header_mac(&self, header: &[u8]) -> [u8; MAC_LEN] {
        self.mac(Label::KEM_HEADER, [header, &[]])
    }

    /// MacCt.
    pub(crate) fn ciphertext_mac(&self, ct1: &[u8], ct2: &[u8]) -> [u8; MAC_LEN] {
        self.mac(Label::KEM_CIPHERTEXT, [ct1, ct2])
    }

    /// HMAC(MAC key, label | epoch u32 | part | part).
    fn mac(&self, label: Label, [first, second]: [&[u8]; 2]) -> [u8; MAC_LEN] {
        let epoch = self.number.to_be_bytes();
        *kdf::mac(self.keys.mac.as_bytes(), &[label.as_bytes(), &epoch, first, second]).as_bytes()
    }

    /// KDF_OK: the epoch's key out of the KEM's shared secret.
    pub(crate) fn key(&self, shared: &Secret<32>) -> EpochKey {
        let epoch = self.number.to_be_bytes();
        let key = kdf::derive(&[0; 32], shared.as_bytes(), Label::PQ_EPOCH_KEY, [&epoch, &[]]);
        trace!("KEM shared secret", shared.as_bytes());
        trace!("PQ epoch key", key.as_bytes());
        EpochKey(key)
    }
}

impl Keys {
    /// KDF_AUTH.
    fn next(root: &[u8; 32], secret: &[u8; 32], epoch: u32) -> Self {
        let derived: Secret<64> =
            kdf::derive(root, secret, Label::AUTHENTICATOR, [&epoch.to_be_bytes(), &[]]);
        let [root, mac] = kdf::split(&derived);
        trace!("authenticator root", root.as_bytes());
        trace!("authenticator MAC key", mac.as_bytes());
        Self { root, mac }
    }
}

/// What the Braid puts out: the key of one epoch, for the root of the PQ ratchet.
pub(crate) struct EpochKey(Secret<32>);

impl EpochKey {
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

/// Splits a value from its MAC at the end, and checks it.
pub(crate) fn authenticated(value: &[u8], mac: impl FnOnce(&[u8]) -> [u8; MAC_LEN]) -> Option<&[u8]> {
    let (value, given) = value.split_last_chunk::<MAC_LEN>()?;
    constant_time_eq(given, &mac(value)).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_before_the_last_number_is_the_last() {
        let secret = PqSecret::new(Secret::new([7; 32]));
        let epoch = |number| Epoch { number, ..Epoch::first(&secret) };
        assert_eq!(epoch(1).next().map(|epoch| epoch.number), Some(2));
        assert_eq!(epoch(u32::MAX - 2).next().map(|epoch| epoch.number), Some(u32::MAX - 1));
        assert!(epoch(u32::MAX - 1).next().is_none());
        assert!(epoch(u32::MAX).next().is_none());
    }
}
