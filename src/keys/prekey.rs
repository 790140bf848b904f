//! The public halves of prekeys: records, signatures, ids.
//!
//! ```text
//! signed prekey   = 0x41 | X25519 32 | ML-KEM-1024 1568 | not_after u64 | signature 64      1,673 bytes
//! one-time prekey = 0x51 | X25519 32 | ML-KEM-1024 1568 |               | signature 64      1,665 bytes
//! ```
//! The record is everything but the signature. The signature covers label, suite, record and the signer's
//! whole identity key, so that neither half of the identity can be swapped under it.

use alloc::{boxed::Box, vec::Vec};
use core::fmt;

use serde::{Deserialize, Serialize};

use super::{IdentityKey, IdentityKeyPair, UnixTime};
use crate::{
    Error,
    crypto::{
        SUITE,
        dh::AgreementPublic,
        kdf::{self, Label},
        kem::{self, KemPublic},
        sign::{SIGNATURE_LEN, Signature},
    },
    wire::codec::{Kind, Reader, serde_by_bytes},
};

/// The first 8 bytes of the hash of a prekey's record. So ids never repeat, also after a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct PreKeyId([u8; Self::LEN]);

impl PreKeyId {
    pub(crate) const LEN: usize = 8;

    pub(crate) fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    fn of(record: &[u8]) -> Self {
        let [id @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
            kdf::hash(Label::PREKEY_ID, &[record]);
        Self(id)
    }
}

/// What both kinds of prekey have: the two public keys, in a record, signed.
#[derive(Clone, PartialEq, Eq)]
struct Record {
    /// Kind, keys, and for a signed prekey the expiry: what is hashed and signed.
    bytes: Box<[u8]>,
    agreement: AgreementPublic,
    kem: KemPublic,
    signature: Signature,
}

impl Record {
    fn sign(
        identity: &IdentityKeyPair,
        (kind, label): (Kind, Label),
        agreement: &AgreementPublic,
        kem: &KemPublic,
        extra: &[u8],
    ) -> Self {
        Self::new(kind, agreement, kem, extra, |bytes| {
            identity.sign(&Self::message(bytes, label, identity.identity_key()))
        })
    }

    fn new(
        kind: Kind,
        agreement: &AgreementPublic,
        kem: &KemPublic,
        extra: &[u8],
        signature: impl FnOnce(&[u8]) -> Signature,
    ) -> Self {
        let bytes = [&[kind.tag()], &agreement.as_bytes()[..], kem.as_bytes(), extra].concat();
        let signature = signature(&bytes);
        Self { bytes: bytes.into(), agreement: *agreement, kem: kem.clone(), signature }
    }

    /// Reads kind, keys and `EXTRA` more bytes of the record, and the signature.
    fn read<const EXTRA: usize>(reader: &mut Reader<'_>, kind: Kind) -> Result<(Self, [u8; EXTRA]), Error> {
        let start = *reader;
        kind.expect(reader.u8()?)?;
        let agreement = AgreementPublic::from_bytes(reader.array()?)?;
        let kem = KemPublic::from_bytes(reader.array()?)?;
        let extra = *reader.array()?;
        let bytes = { start }.slice(1 + 32 + kem::PUBLIC_LEN + EXTRA)?.into();
        let signature = Signature::from_bytes(reader.array::<SIGNATURE_LEN>()?);
        Ok((Self { bytes, agreement, kem, signature }, extra))
    }

    fn to_bytes(&self) -> Vec<u8> {
        [&self.bytes, &self.signature.as_bytes()[..]].concat()
    }

    fn verify(&self, label: Label, signer: &IdentityKey) -> Result<(), Error> {
        signer.signing().verify(&Self::message(&self.bytes, label, signer), &self.signature)
    }

    fn message(bytes: &[u8], label: Label, signer: &IdentityKey) -> Vec<u8> {
        [label.as_bytes(), &[SUITE], bytes, &signer.to_bytes()].concat()
    }
}

/// A prekey that serves many handshakes until it is rotated: the last resort when one-time ones run out.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedPreKey {
    record: Record,
    not_after: UnixTime,
}

/// A prekey that serves one handshake.
#[derive(Clone, PartialEq, Eq)]
pub struct OneTimePreKey {
    record: Record,
}

const _: () = assert!(SignedPreKey::LEN == 1_673 && OneTimePreKey::LEN == 1_665);

impl SignedPreKey {
    const KIND: (Kind, Label) = (Kind::SignedPreKey, Label::SIGNED_PREKEY);

    /// Length of [`Self::to_bytes`], in bytes.
    pub const LEN: usize = 1 + 32 + kem::PUBLIC_LEN + 8 + SIGNATURE_LEN;

    pub(crate) fn sign(
        identity: &IdentityKeyPair,
        agreement: &AgreementPublic,
        kem: &KemPublic,
        not_after: UnixTime,
    ) -> Self {
        let extra = not_after.as_secs().to_be_bytes();
        Self { record: Record::sign(identity, Self::KIND, agreement, kem, &extra), not_after }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let (record, not_after) = Record::read(reader, Self::KIND.0)?;
        Ok(Self { record, not_after: UnixTime::from_secs(u64::from_be_bytes(not_after)) })
    }

    /// When initiators stop using it.
    #[must_use]
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }
}

impl OneTimePreKey {
    const KIND: (Kind, Label) = (Kind::OneTimePreKey, Label::ONE_TIME_PREKEY);

    /// Length of [`Self::to_bytes`], in bytes.
    pub const LEN: usize = 1 + 32 + kem::PUBLIC_LEN + SIGNATURE_LEN;

    pub(crate) fn sign(identity: &IdentityKeyPair, agreement: &AgreementPublic, kem: &KemPublic) -> Self {
        Self { record: Record::sign(identity, Self::KIND, agreement, kem, &[]) }
    }

    /// A prekey of ours again, from its keys and the signature made before.
    pub(crate) fn restore(agreement: &AgreementPublic, kem: &KemPublic, signature: Signature) -> Self {
        Self { record: Record::new(Self::KIND.0, agreement, kem, &[], |_| signature) }
    }

    pub(crate) fn signature(&self) -> &Signature {
        &self.record.signature
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let (record, []) = Record::read(reader, Self::KIND.0)?;
        Ok(Self { record })
    }
}

macro_rules! prekey {
    ($name:ident) => {
        impl $name {
            /// The canonical encoding (`docs/SPEC.md`, section "Prekeys").
            #[must_use]
            pub fn to_bytes(&self) -> Vec<u8> {
                self.record.to_bytes()
            }

            /// Checks everything but the signature, which is the bundle's to check.
            ///
            /// # Errors
            /// [`Error::Malformed`], [`Error::UnsupportedVersion`]; [`Error::InvalidKey`] if the X25519 key is
            /// not canonical, or of small order, or the ML-KEM key fails the modulus check (FIPS 203 section 7.2).
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
                let mut reader = Reader::new(bytes);
                let prekey = Self::read(&mut reader)?;
                reader.finish()?;
                Ok(prekey)
            }

            pub(crate) fn verify(&self, signer: &IdentityKey) -> Result<(), Error> {
                self.record.verify(Self::KIND.1, signer)
            }

            pub(crate) fn id(&self) -> PreKeyId {
                PreKeyId::of(&self.record.bytes)
            }

            /// What is hashed into the handshake: all but the signature.
            pub(crate) fn record(&self) -> &[u8] {
                &self.record.bytes
            }

            pub(crate) fn agreement(&self) -> &AgreementPublic {
                &self.record.agreement
            }

            pub(crate) fn kem(&self) -> &KemPublic {
                &self.record.kem
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.id())
            }
        }

        serde_by_bytes!($name);
    };
}

prekey!(SignedPreKey);
prekey!(OneTimePreKey);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{kem::KemSeed, secret::Secret};

    /// A record signed for another suite, another kind, or by another identity does not verify.
    #[test]
    fn a14_suite_kind_and_signer_are_signed() {
        let mut rng = <chacha20::ChaCha20Rng as rand::SeedableRng>::seed_from_u64(14);
        let bob = IdentityKeyPair::generate_with_rng(&mut rng);
        let other = IdentityKeyPair::generate_with_rng(&mut rng);
        let kem = KemSeed::new(Secret::new([1; 64])).expand();
        let agreement = *bob.agreement().public();
        let good = OneTimePreKey::sign(&bob, &agreement, kem.public());
        assert_eq!(good.verify(bob.identity_key()), Ok(()));
        assert_eq!(good.verify(other.identity_key()), Err(Error::InvalidSignature));
        let record = good.record();
        let owner = bob.identity_key().to_bytes();
        for message in [
            [Label::ONE_TIME_PREKEY.as_bytes(), &[SUITE + 1], record, &owner].concat(),
            [Label::ONE_TIME_PREKEY.as_bytes(), record, &owner].concat(),
            [Label::SIGNED_PREKEY.as_bytes(), &[SUITE], record, &owner].concat(),
            [Label::ONE_TIME_PREKEY.as_bytes(), &[SUITE], record].concat(),
            [Label::ONE_TIME_PREKEY.as_bytes(), &[SUITE], record, &owner[..32]].concat(),
        ] {
            let forged = OneTimePreKey::restore(&agreement, kem.public(), bob.sign(&message));
            assert_eq!(forged.verify(bob.identity_key()), Err(Error::InvalidSignature));
        }
    }
}
