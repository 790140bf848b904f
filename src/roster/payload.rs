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
