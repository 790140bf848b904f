//! Decapsulation by AWS-LC, in two thirds of the time. Neither seeds nor coins can be given to it: key generation and
//! encapsulation stay where they are.

use aws_lc_rs::kem::{DecapsulationKey, ML_KEM_1024};

use super::{CIPHERTEXT_LEN, PRIVATE_LEN};
use crate::crypto::secret::Secret;

/// AWS-LC wipes its copies of the key and of the shared secret when it frees them.
pub(super) fn decapsulate(private: &[u8; PRIVATE_LEN], ciphertext: &[u8; CIPHERTEXT_LEN]) -> Secret<32> {
    #[allow(
        clippy::expect_used,
        reason = "the key is one, the lengths are right; only memory may be lacking"
    )]
    let shared = DecapsulationKey::new(&ML_KEM_1024, private)
        .and_then(|key| Ok(key.decapsulate(ciphertext.as_slice().into())?))
        .expect("a key and a ciphertext");
    let mut secret = Secret::zeroed();
    secret.as_mut().copy_from_slice(shared.as_ref());
    secret
}
