//! X25519 by AWS-LC, in half the time.

use std::sync::OnceLock;

use aws_lc_rs::agreement::{self, UnparsedPublicKey, X25519};

use crate::crypto::secret::Secret;

/// AWS-LC wipes its copy of the key when it frees it.
pub(super) struct PrivateKey {
    seed: Secret<32>,
    /// Imported when it is first used: that takes a third of the time of an agreement, and sessions are opened more often
    /// than their keys agree.
    imported: OnceLock<agreement::PrivateKey>,
}

impl PrivateKey {
    pub(super) fn from_seed(seed: &Secret<32>) -> Self {
        Self { seed: Secret::new(*seed.as_bytes()), imported: OnceLock::new() }
    }

    pub(super) fn seed(&self) -> Secret<32> {
        Secret::new(*self.seed.as_bytes())
    }

    pub(super) fn public(&self) -> [u8; 32] {
        #[allow(clippy::expect_used, reason = "copies the 32 bytes that came of the import")]
        let public = self.imported().compute_public_key().expect("a public half");
        let mut bytes = [0; 32];
        bytes.copy_from_slice(public.as_ref());
        bytes
    }

    /// Nothing for a shared secret of zeros.
    pub(super) fn agree(&self, peer: &[u8; 32]) -> Option<Secret<32>> {
        let peer = UnparsedPublicKey::new(&X25519, peer);
        let mut secret = Secret::zeroed();
        agreement::agree(self.imported(), peer, (), |shared| {
            secret.as_mut().copy_from_slice(shared);
            Ok(())
        })
        .ok()?;
        Some(secret)
    }

    fn imported(&self) -> &agreement::PrivateKey {
        #[allow(clippy::expect_used, reason = "any 32 bytes are a key; only memory may be lacking")]
        self.imported.get_or_init(|| {
            agreement::PrivateKey::from_private_key(&X25519, self.seed.as_bytes()).expect("32 bytes")
        })
    }
}
