//! Messages as they travel, and the handshake part of initial ones.
//!
//! ```text
//! message        = kind+version u8 | [handshake part] | sealed header 68 | sealed body
//! handshake part = signed prekey id 8 | flag u8 | [one-time prekey id 8] | EK_A 32 | CT 1568
//!                | payload length u16 | sealed identity (144 + payload length)
//! ```

use alloc::vec::Vec;

use super::{
    body,
    codec::{Kind, Reader},
    header::SEALED_HEADER_LEN,
};
use crate::{
    Error,
    crypto::{aead::TAG_LEN, dh::AgreementPublic, kem},
    keys::PreKeyId,
};

/// The longest payload of a handshake, in bytes.
pub const MAX_PAYLOAD_LEN: usize = 512;

/// The initiator's identity key, its binding signature and a tag: what is sealed beside the payload.
const SEALED_IDENTITY_LEN: usize = 64 + 64 + TAG_LEN;

/// The shortest sealed body.
const MIN_BODY_LEN: usize = 16 + TAG_LEN;
/// The longest sealed body.
const MAX_BODY_LEN: usize = body::MAX_LEN + TAG_LEN;

/// Which call a message is for.
///
/// A later release may add kinds, which are [`Error::Malformed`] to this one. Treat one that your code does not know
/// like [`Ratchet`](Self::Ratchet): for [`Session::decrypt`](crate::Session::decrypt), not for
/// [`accept`](crate::Session::accept).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageKind {
    /// Carries a handshake: for [`Session::accept`](crate::Session::accept), unless a session that was already
    /// made from this handshake takes it in [`Session::decrypt`](crate::Session::decrypt).
    Initial,
    /// Belongs to an established session: for [`Session::decrypt`](crate::Session::decrypt).
    Ratchet,
}

impl MessageKind {
    /// Tells the kind of a message from its first byte. Nothing else is looked at.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is neither kind, [`Error::UnsupportedVersion`] for another version.
    pub fn of(message: &[u8]) -> Result<Self, Error> {
        let tag = Reader::new(message).u8()?;
        match Kind::InitialMessage.expect(tag) {
            Ok(()) => Ok(Self::Initial),
            Err(Error::Malformed) => Kind::RatchetMessage.expect(tag).map(|()| Self::Ratchet),
            Err(error) => Err(error),
        }
    }

    pub(crate) const fn tag(self) -> u8 {
        match self {
            Self::Initial => Kind::InitialMessage.tag(),
            Self::Ratchet => Kind::RatchetMessage.tag(),
        }
    }
}

/// A message cut into its parts; nothing of it is authenticated.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    /// The handshake part, of an initial message.
    pub(crate) handshake: Option<&'a [u8]>,
    /// Every byte before the header.
    pub(crate) prefix: &'a [u8],
    pub(crate) header: &'a [u8; SEALED_HEADER_LEN],
    /// Ciphertext and tag.
    pub(crate) body: &'a [u8],
}

impl<'a> Message<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let handshake = match MessageKind::of(reader.slice(1)?)? {
            MessageKind::Ratchet => None,
            MessageKind::Initial => Some(HandshakePart::skip(&mut reader)?),
        };
        let prefix_len = 1 + handshake.map_or(0, <[u8]>::len);
        let (prefix, _) = bytes.split_at_checked(prefix_len).ok_or(Error::Malformed)?;
        let header = reader.array()?;
        let body = reader.rest();
        if !(MIN_BODY_LEN..=MAX_BODY_LEN).contains(&body.len()) {
            return Err(Error::Malformed);
        }
        Ok(Self { handshake, prefix, header, body })
    }

    /// The nonce of the header: the last 24 bytes of the message, all ciphertext and tag of the body.
    pub(crate) fn header_nonce(&self) -> Result<&'a [u8; 24], Error> {
        self.body.last_chunk().ok_or(Error::Malformed)
    }
}

/// The handshake part of an initial message, cut into its fields.
pub(crate) struct HandshakePart<'a> {
    pub(crate) signed_prekey: PreKeyId,
    pub(crate) one_time_prekey: Option<PreKeyId>,
    /// EK_A, canonical.
    pub(crate) ephemeral_key: AgreementPublic,
    /// CT.
    pub(crate) ciphertext: &'a [u8; kem::CIPHERTEXT_LEN],
    /// c: identity key, binding and payload under an AEAD.
    pub(crate) sealed_identity: &'a [u8],
}

impl<'a> HandshakePart<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let signed_prekey = PreKeyId::from_bytes(*reader.array()?);
        let one_time_prekey = match reader.flag()? {
            true => Some(PreKeyId::from_bytes(*reader.array()?)),
            false => None,
        };
        let ephemeral_key = AgreementPublic::from_bytes(reader.array()?)?;
        let ciphertext = reader.array()?;
        let sealed_identity = Self::sealed_identity(&mut reader)?;
        reader.finish()?;
        Ok(Self { signed_prekey, one_time_prekey, ephemeral_key, ciphertext, sealed_identity })
    }

    /// Advances over a handshake part without looking into its keys, and returns its bytes.
    fn skip(reader: &mut Reader<'a>) -> Result<&'a [u8], Error> {
        let start = *reader;
        reader.slice(PreKeyId::LEN)?;
        if reader.flag()? {
            reader.slice(PreKeyId::LEN)?;
        }
        reader.slice(32 + kem::CIPHERTEXT_LEN)?;
        Self::sealed_identity(reader)?;
        let len = start.rest().len() - reader.rest().len();
        { start }.slice(len)
    }

    fn sealed_identity(reader: &mut Reader<'a>) -> Result<&'a [u8], Error> {
        let payload_len = usize::from(reader.u16()?);
        if payload_len > MAX_PAYLOAD_LEN {
            return Err(Error::Malformed);
        }
        reader.slice(SEALED_IDENTITY_LEN + payload_len)
    }

    /// The encoding; [`Error::PayloadTooLong`] if the payload is.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let payload_len = self.sealed_identity.len().checked_sub(SEALED_IDENTITY_LEN);
        let payload_len = payload_len.filter(|len| *len <= MAX_PAYLOAD_LEN).map(u16::try_from);
        let Some(Ok(payload_len)) = payload_len else { return Err(Error::PayloadTooLong) };
        let one_time = self.one_time_prekey.as_ref().map(PreKeyId::as_bytes);
        Ok([
            &self.signed_prekey.as_bytes()[..],
            &[u8::from(one_time.is_some())],
            one_time.map_or(&[], |id| &id[..]),
            self.ephemeral_key.as_bytes(),
            self.ciphertext,
            &payload_len.to_be_bytes(),
            self.sealed_identity,
        ]
        .concat())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn part(one_time: bool, payload_len: usize) -> Vec<u8> {
        HandshakePart {
            signed_prekey: PreKeyId::from_bytes([1; 8]),
            one_time_prekey: one_time.then(|| PreKeyId::from_bytes([2; 8])),
            ephemeral_key: AgreementPublic::from_bytes(&[3; 32]).unwrap(),
            ciphertext: &[4; kem::CIPHERTEXT_LEN],
            sealed_identity: &vec![5; SEALED_IDENTITY_LEN + payload_len],
        }
        .to_bytes()
        .unwrap()
    }

    fn initial(part: &[u8], rest: usize) -> Vec<u8> {
        [&[0x11], part, &vec![6; rest][..]].concat()
    }

    #[test]
    fn cuts_a_message_where_the_specification_says() {
        for one_time in [false, true] {
            for payload in [0, 1, 512] {
                let part = part(one_time, payload);
                assert_eq!(part.len(), 1755 + 8 * usize::from(one_time) + payload);
                assert_eq!(HandshakePart::parse(&part).unwrap().to_bytes().unwrap(), part);
                let bytes = initial(&part, 68 + 32);
                let message = Message::parse(&bytes).unwrap();
                assert_eq!(message.handshake, Some(&part[..]));
                assert_eq!(message.prefix, &bytes[..1 + part.len()]);
                assert_eq!(message.body.len(), 32);
            }
        }
        let bytes = [vec![0x21], vec![7; 68 + 40]].concat();
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.handshake, message.prefix, message.body.len()), (None, &[0x21][..], 40));
    }

    #[test]
    fn a25_refuses_every_other_shape() {
        let full = part(true, 3);
        let good = initial(&full, 100);
        for len in 0..good.len() {
            assert_eq!(Message::parse(&good[..len]).err(), Some(Error::Malformed), "{len}");
        }
        for len in 0..full.len() {
            assert!(HandshakePart::parse(&full[..len]).is_err());
        }
        assert!(HandshakePart::parse(&[&full[..], &[0]].concat()).is_err());
        let mut flag = full.clone();
        flag[8] = 2;
        assert_eq!(HandshakePart::parse(&flag).err(), Some(Error::Malformed));
        assert_eq!(Message::parse(&initial(&flag, 100)).err(), Some(Error::Malformed));
        let mut long = part(false, 512);
        long[1609..1611].copy_from_slice(&513u16.to_be_bytes());
        long.push(5);
        assert_eq!(HandshakePart::parse(&long).err(), Some(Error::Malformed));
        let long = [vec![0x21], vec![0; 68 + MAX_BODY_LEN + 1]].concat();
        assert_eq!(Message::parse(&long).err(), Some(Error::Malformed));
        assert!(Message::parse(&long[1..]).is_err());
        assert!(Message::parse(&long[..long.len() - 1]).is_ok());
        assert_eq!(Message::parse(&[0x22; 200]).err(), Some(Error::UnsupportedVersion));
        assert_eq!(Message::parse(&[0x31; 200]).err(), Some(Error::Malformed));
    }
}
