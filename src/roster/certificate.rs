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

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::{
        IdentityKeyPair,
        roster::{
            claim,
            fixture::{NOW, device, list, root},
        },
    };

    fn issued(root: &RootKey, device: &IdentityKeyPair, list: &DeviceList) -> Certificate {
        Certificate::issue(root, device.identity_key(), claim(device, root.user_id()), list)
    }

    #[test]
    fn says_what_the_list_says_of_the_device() {
        let (alice, phone) = (root(1), device(1));
        let list = list(&alice, None, 2);
        let certificate = issued(&alice, &phone, &list);
        assert_eq!(certificate.verify(phone.identity_key()), Ok(()));
        assert_eq!(certificate.user(), alice.user_id());
        assert_eq!(certificate.list(), &list.known());
        assert_eq!(certificate.expires(), NOW.plus_days(90));
        let sealed = postcard::to_allocvec(&certificate).unwrap();
        assert_eq!(postcard::from_bytes::<Certificate>(&sealed).as_ref(), Ok(&certificate));
        let debug = format!("{certificate:?}");
        assert_eq!(debug, format!("Certificate({}, list version 1)", alice.user_id()));
    }

    #[test]
    fn a19_every_field_is_signed() {
        let (alice, mallory, phone) = (root(1), root(2), device(1));
        let good = issued(&alice, &phone, &list(&alice, None, 1));
        let altered = |alter: fn(&mut Certificate)| {
            let mut certificate = good.clone();
            alter(&mut certificate);
            certificate
        };
        let other = Certificate { user: *mallory.user_id(), ..good.clone() };
        for bad in [
            other,
            altered(|certificate| certificate.list.version += 1),
            altered(|certificate| certificate.list.hash[31] ^= 1),
            altered(|certificate| certificate.expires = certificate.expires.plus_days(1)),
            altered(|certificate| certificate.claim = certificate.root_signature),
            altered(|certificate| certificate.root_signature = certificate.claim),
            altered(|certificate| certificate.claim = Signature::from_bytes(&[0; 64])),
            altered(|certificate| certificate.root_signature = Signature::from_bytes(&[0; 64])),
        ] {
            assert_eq!(bad.verify(phone.identity_key()), Err(Error::InvalidSignature));
        }
        assert_eq!(good.verify(device(2).identity_key()), Err(Error::InvalidSignature));
    }

    /// Mallory's root certifies Alice's device, with each claim that Mallory can have; Mallory's device shows Alice's
    /// certificate.
    #[test]
    fn a34_user_and_device_have_to_agree() {
        let (alice, mallory) = (root(1), root(2));
        let (phone, own) = (device(1), device(2));
        let of_mallory = list(&mallory, None, 1);
        for (signer, user) in [(&phone, &alice), (&own, &mallory), (&own, &alice)] {
            let claim = claim(signer, user.user_id());
            let bad = Certificate::issue(&mallory, phone.identity_key(), claim, &of_mallory);
            assert_eq!(bad.verify(phone.identity_key()), Err(Error::InvalidSignature));
        }
        let alices = issued(&alice, &phone, &list(&alice, None, 1));
        assert_eq!(alices.verify(own.identity_key()), Err(Error::InvalidSignature));
        let claim = claim(&own, alice.user_id());
        let bad = Certificate { claim, ..alices };
        assert_eq!(bad.verify(own.identity_key()), Err(Error::InvalidSignature));
    }

    /// Half of the device's identity is another's.
    #[test]
    fn a35_a_certificate_covers_both_halves() {
        let (alice, phone, other) = (root(1), device(1), device(2));
        let good = issued(&alice, &phone, &list(&alice, None, 1));
        let (ours, theirs) = (phone.identity_key().to_bytes(), other.identity_key().to_bytes());
        for halves in [[&ours[..32], &theirs[32..]], [&theirs[..32], &ours[32..]]] {
            let swapped = IdentityKey::from_bytes(&halves.concat()).unwrap();
            assert_eq!(good.verify(&swapped), Err(Error::InvalidSignature));
            // The root alone would be content; the device is not.
            let list = list(&alice, None, 1);
            let bad = Certificate::issue(&alice, &swapped, good.claim, &list);
            assert_eq!(bad.verify(&swapped), Err(Error::InvalidSignature));
        }
    }

    #[test]
    fn a14_suite_and_purpose_are_signed() {
        let (alice, phone) = (root(1), device(1));
        let good = issued(&alice, &phone, &list(&alice, None, 1));
        let whole = message(&good.user, phone.identity_key(), &good.list, good.expires);
        let label = Label::CERTIFICATE.as_bytes();
        let fields = &whole[label.len() + 1..];
        assert_eq!(whole[label.len()], SUITE);
        for message in [
            [label, &[SUITE + 1], fields].concat(),
            [label, fields].concat(),
            [Label::DEVICE_LIST.as_bytes(), &[SUITE], fields].concat(),
            [label, &[SUITE], &fields[..fields.len() - 8]].concat(),
        ] {
            let bad = Certificate { root_signature: alice.sign(&message), ..good.clone() };
            assert_eq!(bad.verify(phone.identity_key()), Err(Error::InvalidSignature));
        }
    }
}
