//! What a device puts into the handshake beside its identity.
//!
//! ```text
//! payload = version u8 | UserId 32 | list version u32 | list hash 32 | expires u64
//!         | claim 64 | root signature 64 | recipient UserId 32 | zeros 19                  256 bytes, always
//! ```

use super::{Certificate, KnownList, UserId};
use crate::{Error, UnixTime, crypto::sign::Signature, wire::codec::Reader};

/// Length of every payload: one that varied would tell senders apart.
pub(crate) const PAYLOAD_LEN: usize = 256;

const VERSION: u8 = 1;

/// Who writes, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) certificate: Certificate,
    /// Whom the sender takes the recipient for: else who lists somebody else's device as its own would be sent what
    /// is then read as written to that somebody.
    pub(crate) recipient: UserId,
}

impl Payload {
    pub(crate) fn to_bytes(&self) -> [u8; PAYLOAD_LEN] {
        let Certificate { user, list, expires, claim, root_signature } = &self.certificate;
        let fields = [
            &[VERSION],
            &user.as_bytes()[..],
            &list.version.to_be_bytes(),
            &list.hash,
            &expires.as_secs().to_be_bytes(),
            claim.as_bytes(),
            root_signature.as_bytes(),
            self.recipient.as_bytes(),
        ];
        let mut bytes = [0; PAYLOAD_LEN];
        bytes.iter_mut().zip(fields.into_iter().flatten()).for_each(|(to, from)| *to = *from);
        bytes
    }

    /// Checks everything but the signatures, which need the sender's identity key.
    ///
    /// # Errors
    /// [`Error::UnsupportedVersion`] by the first byte, then [`Error::Malformed`], [`Error::InvalidKey`].
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return Err(Error::UnsupportedVersion);
        }
        if bytes.len() != PAYLOAD_LEN {
            return Err(Error::Malformed);
        }
        let user = UserId::from_bytes(reader.array::<{ UserId::LEN }>()?)?;
        let list = KnownList { version: reader.u32()?, hash: *reader.array()? };
        if list.version == 0 {
            return Err(Error::Malformed);
        }
        let expires = UnixTime::from_secs(reader.u64()?);
        let claim = Signature::from_bytes(reader.array()?);
        let root_signature = Signature::from_bytes(reader.array()?);
        let recipient = UserId::from_bytes(reader.array::<{ UserId::LEN }>()?)?;
        if reader.rest().iter().any(|byte| *byte != 0) {
            return Err(Error::Malformed);
        }
        Ok(Self { certificate: Certificate { user, list, expires, claim, root_signature }, recipient })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        IdentityKeyPair, MAX_PAYLOAD_LEN,
        roster::{
            claim,
            fixture::{bad_keys, device, list, root},
        },
    };

    const LIST_VERSION: usize = 33;
    const RECIPIENT: usize = 205;
    const ZEROS: usize = 237;

    fn payload(device: &IdentityKeyPair) -> Payload {
        let alice = root(1);
        let claim = claim(device, alice.user_id());
        let certificate = Certificate::issue(&alice, device.identity_key(), claim, &list(&alice, None, 1));
        Payload { certificate, recipient: *root(2).user_id() }
    }

    #[test]
    fn goes_through_256_bytes() {
        const { assert!(PAYLOAD_LEN <= MAX_PAYLOAD_LEN) }
        let payload = payload(&device(1));
        let bytes = payload.to_bytes();
        assert_eq!(Payload::from_bytes(&bytes).as_ref(), Ok(&payload));
        assert_eq!(bytes[0], 1);
        assert_eq!(bytes[1..LIST_VERSION], payload.certificate.user().to_bytes());
        assert_eq!(bytes[RECIPIENT..ZEROS], payload.recipient.to_bytes());
        assert_eq!(bytes[ZEROS..], [0; 19]);
    }

    #[test]
    fn a25_other_lengths_are_refused() {
        let bytes = [&payload(&device(1)).to_bytes()[..], &[0; 256]].concat();
        for len in (0..=bytes.len()).filter(|len| *len != PAYLOAD_LEN) {
            assert_eq!(Payload::from_bytes(&bytes[..len]), Err(Error::Malformed), "{len}");
        }
    }

    /// What can be altered and still reads is another recipient, which is the reader's to refuse; or no signature
    /// holds.
    #[test]
    fn a19_a25_every_flipped_bit_is_noticed() {
        let phone = device(1);
        let good = payload(&phone);
        let bytes = good.to_bytes();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes;
                flipped[at] ^= 1 << bit;
                match Payload::from_bytes(&flipped) {
                    Err(Error::UnsupportedVersion) => assert_eq!(at, 0),
                    Err(Error::InvalidKey) => {
                        assert!((1..33).contains(&at) || (RECIPIENT..ZEROS).contains(&at))
                    }
                    Err(error) => {
                        let zero = at == LIST_VERSION + 3 && bit == 0;
                        assert_eq!((error, at >= ZEROS || zero), (Error::Malformed, true), "{at}");
                    }
                    Ok(read) if at >= RECIPIENT => {
                        assert_eq!(read.certificate, good.certificate);
                        assert_ne!(read.recipient, good.recipient);
                    }
                    Ok(read) => {
                        let verified = read.certificate.verify(phone.identity_key());
                        assert_eq!(verified, Err(Error::InvalidSignature), "{at}");
                    }
                }
            }
        }
    }

    #[test]
    fn a14_a_later_version_is_told_from_a_bad_one() {
        let bytes = payload(&device(1)).to_bytes();
        for version in [0, 2, 255] {
            let later: Vec<u8> = [&[version], &bytes[1..]].concat();
            assert_eq!(Payload::from_bytes(&later), Err(Error::UnsupportedVersion));
            assert_eq!(Payload::from_bytes(&later[..9]), Err(Error::UnsupportedVersion));
        }
        let mut zero = bytes;
        zero[LIST_VERSION..LIST_VERSION + 4].fill(0);
        assert_eq!(Payload::from_bytes(&zero), Err(Error::Malformed));
    }

    #[test]
    fn a29_weak_and_non_canonical_keys_are_refused() {
        for bad in bad_keys() {
            for at in [1, RECIPIENT] {
                let mut bytes = payload(&device(1)).to_bytes();
                bytes[at..at + 32].copy_from_slice(&bad);
                assert_eq!(Payload::from_bytes(&bytes), Err(Error::InvalidKey));
            }
        }
    }

    proptest! {
        #[test]
        fn a25_encodes_canonically(bytes in proptest::collection::vec(any::<u8>(), 256), keep in 0..=256usize) {
            let _ = Payload::from_bytes(&bytes);
            let good = payload(&device(1)).to_bytes();
            let mixed = [&good[..keep], &bytes[keep..]].concat();
            if let Ok(payload) = Payload::from_bytes(&mixed) {
                prop_assert_eq!(payload.to_bytes().to_vec(), mixed);
            }
        }
    }
}
