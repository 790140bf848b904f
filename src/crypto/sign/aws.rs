//! Ed25519 by AWS-LC: signs in half the time, verifies in three quarters.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::SIGNATURE_LEN;
use crate::crypto::secret::Secret;

/// The y-coordinates of the points of small order, low half first: of order 4, 1 and 2, and the two of order 8.
#[rustfmt::skip]
const SMALL_ORDER: [[u128; 2]; 5] = [
    [0, 0],
    [1, 0],
    [0xffffffff_ffffffff_ffffffff_ffffffec, 0x7fffffff_ffffffff_ffffffff_ffffffff],
    [0xf098eff2_89f4c345_b027b2c2_8f95e826, 0x05fc536d_880238b1_3933c6d3_05acdfd5],
    [0x0f67100d_760b3cba_4fd84d3d_706a17c7, 0x7a03ac92_77fdc74e_c6cc392c_fa53202a],
];

/// Of a key that is known to be valid. AWS-LC requires s < L, and compares R as bytes with the canonical encoding of what
/// it should be; so an R of small order that passes is one of the canonical encodings.
pub(super) fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
    let (quarters, _) = signature.as_chunks::<16>();
    let [low, high, ..] = *quarters else { return false };
    // The topmost bit is the sign of x.
    let y = [u128::from_le_bytes(low), u128::from_le_bytes(high) << 1 >> 1];
    !SMALL_ORDER.contains(&y) && UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
}

/// AWS-LC wipes its copy of the key when it frees it.
pub(super) struct PrivateKey {
    seed: Secret<32>,
    pair: Ed25519KeyPair,
}

impl PrivateKey {
    pub(super) fn from_seed(seed: &Secret<32>) -> Self {
        #[allow(clippy::expect_used, reason = "any 32 bytes are a seed; only memory may be lacking")]
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_bytes()).expect("32 bytes");
        Self { seed: Secret::new(*seed.as_bytes()), pair }
    }

    pub(super) fn seed(&self) -> Secret<32> {
        Secret::new(*self.seed.as_bytes())
    }

    pub(super) fn public(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        bytes
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        let mut bytes = [0; SIGNATURE_LEN];
        bytes.copy_from_slice(self.pair.sign(message).as_ref());
        bytes
    }
}
