//! X25519 by x25519-dalek: everywhere, and the measure of the other one.

use x25519_dalek::{PublicKey, StaticSecret};

use crate::crypto::secret::Secret;

pub(super) struct PrivateKey(StaticSecret);

impl PrivateKey {
    pub(super) fn from_seed(seed: &Secret<32>) -> Self {
        Self(StaticSecret::from(*seed.as_bytes()))
    }

    pub(super) fn seed(&self) -> Secret<32> {
        Secret::new(self.0.to_bytes())
    }

    pub(super) fn public(&self) -> [u8; 32] {
        PublicKey::from(&self.0).to_bytes()
    }

    /// Nothing for a shared secret of zeros.
    pub(super) fn agree(&self, peer: &[u8; 32]) -> Option<Secret<32>> {
        let shared = self.0.diffie_hellman(&PublicKey::from(*peer));
        if !shared.was_contributory() {
            return None;
        }
        let mut secret = Secret::zeroed();
        secret.as_mut().copy_from_slice(shared.as_bytes());
        Some(secret)
    }
}
