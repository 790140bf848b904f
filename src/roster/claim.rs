//! A device's own word on whose it is.
//!
//! ```text
//! claim = Ed25519-Sign(L_DEVICE_CLAIM | SUITE | UserId 32 | IdentityKey 64)     by the device's Ed25519 half
//! ```
//! It covers both halves of the identity, so that neither passes with a half of another's. It says nothing about a
//! list, so a device makes one and keeps it, whatever lists it comes to be in.

use alloc::vec::Vec;

use super::UserId;
use crate::{
    Error, IdentityKey, IdentityKeyPair,
    crypto::{SUITE, kdf::Label, sign::Signature},
};

/// "I am a device of this user."
pub(crate) fn claim(identity: &IdentityKeyPair, user: &UserId) -> Signature {
    identity.sign(&message(identity.identity_key(), user))
}

/// # Errors
/// [`Error::InvalidSignature`] if the device does not say that it is this user's.
pub(crate) fn verify_claim(
    identity_key: &IdentityKey,
    user: &UserId,
    claim: &Signature,
) -> Result<(), Error> {
    identity_key.signing().verify(&message(identity_key, user), claim)
}

fn message(identity_key: &IdentityKey, user: &UserId) -> Vec<u8> {
    [Label::DEVICE_CLAIM.as_bytes(), &[SUITE], user.as_bytes(), &identity_key.to_bytes()].concat()
}
