//! Users, known by their root key.

use core::{fmt, str::FromStr};

use bech32::Hrp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    Error,
    crypto::sign::{Signature, SigningPublic},
    wire::{
        codec::Reader,
        text::{self, serde_by_text},
    },
};

/// Who a user is, whatever the device: the public half of the user's root key (Ed25519), 32 bytes.
///
/// Its [`Display`](fmt::Display) form is bech32m text with the prefix `sruser`, 65 characters, whose checksum finds every
/// slip of up to four characters; [`FromStr`] reads it back, in lower or in upper case. A checksum is no protection
/// against a key that was made to look alike: compare the whole text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(SigningPublic);

/// Human-readable part of the text form.
const TEXT_PREFIX: Hrp = Hrp::parse_unchecked("sruser");

impl UserId {
    /// Length of [`Self::to_bytes`], in bytes.
    pub const LEN: usize = 32;

    /// Ed25519 public key (RFC 8032).
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        *self.as_bytes()
    }

    /// # Errors
    /// [`Error::Malformed`] if these are not 32 bytes; [`Error::InvalidKey`] if the key is not canonical or of small
    /// order.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let key = reader.array()?;
        reader.finish()?;
        SigningPublic::from_bytes(key).map(Self)
    }

    /// A user that was checked before it was sealed into our own state.
    pub(super) fn from_sealed_state(bytes: &[u8; Self::LEN]) -> Self {
        Self(SigningPublic::from_sealed_state(*bytes))
    }

    pub(super) fn of(root: SigningPublic) -> Self {
        Self(root)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; Self::LEN] {
        self.0.as_bytes()
    }

    pub(super) fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), Error> {
        self.0.verify(message, signature)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::write(f, TEXT_PREFIX, self.as_bytes())
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserId({self})")
    }
}

impl FromStr for UserId {
    type Err = Error;

    /// # Errors
    /// [`Error::Malformed`] for a wrong checksum, prefix, length, mixed case or padding; [`Error::InvalidKey`]
    /// as in [`UserId::from_bytes`].
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::from_bytes(&text::read::<{ Self::LEN }>(TEXT_PREFIX, text)?)
    }
}

serde_by_text!(UserId);

/// `serde` of a user in sealed state: 32 bytes, checked before they were sealed.
pub(crate) mod sealed_state {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(user: &UserId, serializer: S) -> Result<S::Ok, S::Error> {
        user.as_bytes().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UserId, D::Error> {
        Deserialize::deserialize(deserializer).map(|bytes| UserId::from_sealed_state(&bytes))
    }
}
