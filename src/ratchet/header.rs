//! Header encryption, with a nonce that is never sent.
//!
//! ```text
//! XChaCha20-Poly1305(HK, nonce = the last 24 bytes of the message, AD = suite | every byte before the header)
//! ```
//! The body is sealed first. Its last 24 bytes, ciphertext and tag, are pseudo-random and new for every
//! message, so they serve as the header's nonce (compare RFC 9001 section 5.4).

use alloc::borrow::Cow;

use super::{HeaderKey, NextHeaderKey};
#[cfg(feature = "std")]
use crate::crypto::secret::Secret;
use crate::{
    Error,
    crypto::{
        SUITE,
        aead::{self, TAG_LEN},
    },
    wire::{
        header::{HEADER_LEN, SEALED_HEADER_LEN},
        message::Message,
    },
};

/// suite | every byte before the header.
fn associated_data(prefix: &[u8]) -> Cow<'static, [u8]> {
    const RATCHET: &[u8] = &[SUITE, crate::wire::MessageKind::Ratchet.tag()];
    match RATCHET {
        [suite, tag] if prefix == [*tag] && *suite == SUITE => Cow::Borrowed(RATCHET),
        _ => Cow::Owned([&[SUITE], prefix].concat()),
    }
}

impl HeaderKey {
    /// Encrypts the header of a message that begins with `prefix` and ends with `nonce`.
    pub(crate) fn seal(
        &self,
        header: &[u8; HEADER_LEN],
        prefix: &[u8],
        nonce: &[u8; 24],
    ) -> [u8; SEALED_HEADER_LEN] {
        let mut sealed = [0; SEALED_HEADER_LEN];
        let (encrypted, tag) = sealed.split_at_mut(HEADER_LEN);
        encrypted.copy_from_slice(header);
        tag.copy_from_slice(&aead::seal_extended(
            self.as_bytes(),
            nonce,
            &associated_data(prefix),
            encrypted,
        ));
        sealed
    }

    /// Decrypts a message's header; [`Error::Unauthentic`] if it is under another key.
    pub(crate) fn open(&self, message: &SealedHeader<'_>) -> Result<[u8; HEADER_LEN], Error> {
        message.open(self.as_bytes())
    }
}

impl NextHeaderKey {
    /// As [`HeaderKey::open`].
    pub(crate) fn open(&self, message: &SealedHeader<'_>) -> Result<[u8; HEADER_LEN], Error> {
        message.open(self.as_bytes())
    }
}

/// The header of a message, ready to be tried with one key after the other.
pub(crate) struct SealedHeader<'a> {
    encrypted: &'a [u8; HEADER_LEN],
    tag: &'a [u8; TAG_LEN],
    nonce: &'a [u8; 24],
    associated_data: Cow<'static, [u8]>,
}

impl<'a> SealedHeader<'a> {
    pub(crate) fn of(message: &Message<'a>) -> Result<Self, Error> {
        let (encrypted, tag) = message.header.split_first_chunk().ok_or(Error::Malformed)?;
        Ok(Self {
            encrypted,
            tag: tag.try_into().map_err(|_| Error::Malformed)?,
            nonce: message.header_nonce()?,
            associated_data: associated_data(message.prefix),
        })
    }

    fn open(&self, key: &[u8; 32]) -> Result<[u8; HEADER_LEN], Error> {
        let mut header = *self.encrypted;
        aead::open_extended(key, self.nonce, &self.associated_data, &mut header, self.tag)?;
        Ok(header)
    }
}

/// Copies of the header keys of one session, for an index of many sessions.
#[cfg(feature = "std")]
pub(crate) struct HeaderKeys(alloc::boxed::Box<[Secret<32>]>);

#[cfg(feature = "std")]
impl HeaderKeys {
    pub(super) fn copy<'a>(keys: impl Iterator<Item = &'a [u8; 32]>) -> Self {
        // Counted first: a vector that grew would leave copies behind.
        let keys: alloc::vec::Vec<&[u8; 32]> = keys.collect();
        Self(keys.into_iter().map(|key| Secret::new(*key)).collect())
    }

    /// Whether one of them opens the header of this message.
    pub(crate) fn open(&self, message: &SealedHeader<'_>) -> bool {
        self.0.iter().any(|key| message.open(key.as_bytes()).is_ok())
    }
}
