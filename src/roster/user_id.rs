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

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::roster::fixture::{bad_keys, root};

    #[test]
    fn a29_weak_and_non_canonical_root_keys_are_refused() {
        for bad in bad_keys() {
            assert_eq!(UserId::from_bytes(&bad), Err(Error::InvalidKey));
            let text = format!("{}", UserId::from_sealed_state(&bad));
            assert_eq!(text.parse::<UserId>(), Err(Error::InvalidKey));
            let sealed = postcard::to_allocvec(&bad[..]).unwrap();
            assert!(postcard::from_bytes::<UserId>(&sealed).is_err());
        }
    }

    #[test]
    fn has_one_text_form() {
        let user = *root(1).user_id();
        let text = format!("{user}");
        assert!(text.starts_with("sruser1") && text.len() == 65, "{text}");
        assert_eq!(format!("{user:?}"), format!("UserId({text})"));
        assert_eq!(text.parse(), Ok(user));
        assert_eq!(text.to_uppercase().parse(), Ok(user));
        let write = |prefix, bytes: &[u8]| bech32::encode::<bech32::Bech32m>(prefix, bytes).unwrap();
        let bytes = user.to_bytes();
        let identity = Hrp::parse_unchecked("srid");
        let without_m = bech32::encode::<bech32::Bech32>(TEXT_PREFIX, &bytes).unwrap();
        let mixed = format!("{}{}", text[..20].to_uppercase(), &text[20..]);
        for wrong in [
            write(identity, &bytes),
            write(TEXT_PREFIX, &bytes[..31]),
            write(TEXT_PREFIX, &[&bytes[..], &[0]].concat()),
            without_m,
            mixed,
            format!("{text} "),
            text[..64].into(),
        ] {
            assert_eq!(wrong.parse::<UserId>(), Err(Error::Malformed), "{wrong}");
        }
        for at in 0..text.len() {
            let mut slipped = text.clone().into_bytes();
            slipped[at] = if slipped[at] == b'q' { b'p' } else { b'q' };
            let slipped = alloc::string::String::from_utf8(slipped).unwrap();
            assert_eq!(slipped.parse::<UserId>(), Err(Error::Malformed), "{slipped}");
        }
    }

    #[test]
    fn a25_has_32_bytes() {
        let bytes = [root(1).user_id().to_bytes().as_slice(), &[0]].concat();
        for len in (0..=33).filter(|len| *len != 32) {
            assert_eq!(UserId::from_bytes(&bytes[..len]), Err(Error::Malformed));
        }
        assert_eq!(UserId::from_bytes(&bytes[..32]), Ok(*root(1).user_id()));
    }

    #[test]
    fn sealed_state_is_the_plain_bytes() {
        #[derive(Serialize, Deserialize)]
        struct State(#[serde(with = "sealed_state")] UserId);

        let user = *root(1).user_id();
        let sealed = postcard::to_allocvec(&State(user)).unwrap();
        assert_eq!(sealed, user.to_bytes());
        assert_eq!(postcard::from_bytes::<State>(&sealed).unwrap().0, user);
        assert!(postcard::from_bytes::<State>(&sealed[..31]).is_err());
    }
}
