//! The plain header of a message: 52 bytes, always.

use super::codec::Reader;
use crate::{
    Error,
    crypto::{aead::TAG_LEN, dh::AgreementPublic},
};

/// Length of a header before encryption, in bytes.
pub(crate) const HEADER_LEN: usize = 52;
/// Length of a header as it travels: encrypted, with its tag.
pub(crate) const SEALED_HEADER_LEN: usize = HEADER_LEN + TAG_LEN;

/// What a receiver must know to derive a message's key.
///
/// ```text
/// ratchet key 32 | pn u32 | n u32 | pq epoch u32 | pq n u32 | incarnation u32
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The sender's current ratchet key.
    pub(crate) ratchet_key: AgreementPublic,
    /// pn: how many messages the sender's previous chain had.
    pub(crate) previous_chain_length: u32,
    /// n: the message's number in the sender's current chain, from 0.
    pub(crate) message_number: u32,
    /// Which epoch of the PQ ratchet the PQ message key is of.
    pub(crate) pq_epoch: u32,
    /// The message's number in the sender's chain of that epoch, from 0.
    pub(crate) pq_message_number: u32,
    /// Drawn anew whenever the sender's session is created or opened; tells clones and rollbacks.
    pub(crate) incarnation: u32,
}

impl Header {
    pub(crate) fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let (ratchet_key, counters) = bytes.split_at_mut(32);
        ratchet_key.copy_from_slice(self.ratchet_key.as_bytes());
        let fields = [
            self.previous_chain_length,
            self.message_number,
            self.pq_epoch,
            self.pq_message_number,
            self.incarnation,
        ];
        for (to, field) in counters.chunks_exact_mut(4).zip(fields) {
            to.copy_from_slice(&field.to_be_bytes());
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; HEADER_LEN]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let header = Self {
            ratchet_key: AgreementPublic::from_bytes(reader.array()?)?,
            previous_chain_length: reader.u32()?,
            message_number: reader.u32()?,
            pq_epoch: reader.u32()?,
            pq_message_number: reader.u32()?,
            incarnation: reader.u32()?,
        };
        reader.finish()?;
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn encodes_canonically(bytes in proptest::array::uniform32(any::<u8>()), tail in any::<[u8; 20]>()) {
            let mut encoded = [0; HEADER_LEN];
            encoded[..32].copy_from_slice(&bytes);
            encoded[32..].copy_from_slice(&tail);
            match Header::from_bytes(&encoded) {
                Ok(header) => prop_assert_eq!(header.to_bytes(), encoded),
                Err(error) => {
                    prop_assert_eq!(error, Error::InvalidKey);
                    prop_assert!(bytes[31] >= 0x7f);
                }
            }
        }
    }
}
