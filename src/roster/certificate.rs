//! What a device shows to those who do not have its user's list.
//!
//! ```text
//! root signature = Ed25519-Sign(L_CERTIFICATE | SUITE | UserId 32 | IdentityKey 64
//!                               | list version u32 | list hash 32 | expires u64)
//! ```
//! With the claim it is what the list would tell of this one device, in a size that does not depend on how many there are.

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::{DeviceList, KnownList, RootKey, UserId, sealed_user_id, verify_claim};
use crate::{
    Error, IdentityKey, UnixTime,
    crypto::{SUITE, kdf::Label, sign::Signature},
};

/// The user's word that a device is the user's, and the device's that it is.
///
/// It does not name the device: it goes with an [`IdentityKey`] that is known otherwise, out of the handshake.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Certificate {
    #[serde(with = "sealed_user_id")]
    pub(super) user: UserId,
    pub(super) list: KnownList,
    pub(super) expires: UnixTime,
    pub(super) claim: Signature,
    pub(super) root_signature: Signature,
}

impl Certificate {
    /// For a device that is in `list`, which is of this root's user; it is valid for as long as the list.
    pub(crate) fn issue(
        root: &RootKey,
        identity_key: &IdentityKey,
        claim: Signature,
        list: &DeviceList,
    ) -> Self {
        let (user, list, expires) = (*root.user_id(), list.known(), list.expires());
        let root_signature = root.sign(&message(&user, identity_key, &list, expires));
        Self { user, list, expires, claim, root_signature }
    }

    /// Checks that the user and the device agree. Not that it has not [expired](Self::expires), nor what is known of the
    /// user's list.
    ///
    /// # Errors
    /// [`Error::InvalidSignature`].
    pub(crate) fn verify(&self, identity_key: &IdentityKey) -> Result<(), Error> {
        let message = message(&self.user, identity_key, &self.list, self.expires);
        self.user.verify(&message, &self.root_signature)?;
        verify_claim(identity_key, &self.user, &self.claim)
    }

    pub(crate) fn user(&self) -> &UserId {
        &self.user
    }

    /// The list that the device was in when this was made.
    pub(crate) fn list(&self) -> &KnownList {
        &self.list
    }

    pub(crate) fn expires(&self) -> UnixTime {
        self.expires
    }
}

fn message(user: &UserId, identity_key: &IdentityKey, list: &KnownList, expires: UnixTime) -> Vec<u8> {
    [
        Label::CERTIFICATE.as_bytes(),
        &[SUITE],
        user.as_bytes(),
        &identity_key.to_bytes(),
        &list.version.to_be_bytes(),
        &list.hash,
        &expires.as_secs().to_be_bytes(),
    ]
    .concat()
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({}, list version {})", self.user, self.list.version)
    }
}
