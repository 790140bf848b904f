//! Ed25519 by ed25519-dalek: everywhere, and the measure of the other one.

use ed25519_dalek::{Signature, Signer, VerifyingKey};

use super::SIGNATURE_LEN;
use crate::crypto::secret::Secret;

/// The key, if it is the canonical encoding of a point that is not of small order.
pub(super) fn parse(bytes: &[u8; 32]) -> Option<VerifyingKey> {
    // y is below p. (Re-encoding the point would show it as well, for an inversion.) The sign of an x that is zero could be
    // written in two ways, too, but such points are of small order.
    let [low, middle @ .., high] = bytes;
    let exceeds = *high | 0x80 == 0xff && *low >= 0xed && middle.iter().all(|byte| *byte == 0xff);
    let key = VerifyingKey::from_bytes(bytes).ok()?;
    (!exceeds && !key.is_weak()).then_some(key)
}

/// Of a key that is known to be valid.
pub(super) fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
    let signature = Signature::from_bytes(signature);
    VerifyingKey::from_bytes(key).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
}

pub(super) struct PrivateKey(ed25519_dalek::SigningKey);

impl PrivateKey {
    pub(super) fn from_seed(seed: &Secret<32>) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed.as_bytes()))
    }

    pub(super) fn seed(&self) -> Secret<32> {
        Secret::new(self.0.to_bytes())
    }

    pub(super) fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.0.sign(message).to_bytes()
    }
}
