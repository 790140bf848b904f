//! Ed25519 by ed25519-dalek: everywhere, and the measure of the other one.

use ed25519_dalek::{Signature, Signer, VerifyingKey};

use super::SIGNATURE_LEN;
use crate::crypto::secret::Secret;

/// The key, if it is the canonical encoding of a point that is not of small order.
pub(super) fn parse(bytes: &[u8; 32]) -> Option<VerifyingKey> {
    let key = VerifyingKey::from_bytes(bytes).ok()?;
    // Re-encoding reduces y modulo p, so it tells a non-canonical encoding.
    (!key.is_weak() && key.to_edwards().compress().as_bytes() == bytes).then_some(key)
}

pub(super) fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
    let signature = Signature::from_bytes(signature);
    parse(key).is_some_and(|key| key.verify_strict(message, &signature).is_ok())
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
