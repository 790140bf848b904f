//! What a server hands out for somebody, before and after it has been checked.

use alloc::vec::Vec;

use super::{IdentityKey, OneTimePreKey, SignedPreKey, UnixTime};
use crate::{
    Error,
    wire::codec::{Kind, Reader, serde_by_bytes},
};

/// An identity key, its signed prekey and, if any is left, one one-time prekey: all that is needed to write to
/// somebody who is offline. **Unverified**: it comes from a server.
///
/// ```text
/// 0x31 | identity key 64 | signed prekey 1673 | flag u8 | [one-time prekey 1665]     1,739 or 3,404 bytes
/// ```
///
/// A server assembles one from what was uploaded to it with [`PreKeyBundle::new`]; a one-time prekey goes into
/// one bundle and is then deleted there.
///
/// Only what [`PreKeyBundle::verify`] returns can start a session:
/// ```compile_fail,E0308
/// # use subrosa::{Error, IdentityKeyPair, PreKeyBundle, Session};
/// fn careless(me: &IdentityKeyPair, fetched: &[u8]) -> Result<Session, Error> {
///     Session::initiate(me, &PreKeyBundle::from_bytes(fetched)?)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreKeyBundle {
    identity_key: IdentityKey,
    signed_prekey: SignedPreKey,
    one_time_prekey: Option<OneTimePreKey>,
}

impl PreKeyBundle {
    /// Puts a bundle together from its parts.
    #[must_use]
    pub fn new(
        identity_key: IdentityKey,
        signed_prekey: SignedPreKey,
        one_time_prekey: Option<OneTimePreKey>,
    ) -> Self {
        Self { identity_key, signed_prekey, one_time_prekey }
    }

    /// Whose bundle it claims to be.
    #[must_use]
    pub fn identity_key(&self) -> &IdentityKey {
        &self.identity_key
    }

    /// Until when it may be used: after that, fetch a newer one.
    #[must_use]
    pub fn not_after(&self) -> UnixTime {
        self.signed_prekey.not_after()
    }

    /// Checks the signatures of the prekeys by the identity key, and that [`not_after`](Self::not_after) has not
    /// passed at `now`. So a clock that is far ahead refuses every bundle, and one that is far behind takes expired
    /// ones.
    ///
    /// This says that the owner of [`identity_key`](VerifiedBundle::identity_key) made these keys, not that
    /// this is the person you mean: compare the identity key with the one that you know.
    ///
    /// # Errors
    /// [`Error::InvalidSignature`], [`Error::Expired`].
    pub fn verify(self, now: UnixTime) -> Result<VerifiedBundle, Error> {
        self.signed_prekey.verify(&self.identity_key)?;
        if let Some(prekey) = &self.one_time_prekey {
            prekey.verify(&self.identity_key)?;
        }
        if now > self.signed_prekey.not_after() {
            return Err(Error::Expired);
        }
        Ok(VerifiedBundle(self))
    }

    /// The canonical encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let one_time_prekey = self.one_time_prekey.as_ref().map(OneTimePreKey::to_bytes);
        [
            &[Kind::PreKeyBundle.tag()],
            &self.identity_key.to_bytes()[..],
            &self.signed_prekey.to_bytes(),
            &[u8::from(one_time_prekey.is_some())],
            &one_time_prekey.unwrap_or_default(),
        ]
        .concat()
    }

    /// # Errors
    /// [`Error::Malformed`], [`Error::UnsupportedVersion`], [`Error::InvalidKey`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        Kind::PreKeyBundle.expect(reader.u8()?)?;
        let identity_key = IdentityKey::from_bytes(reader.array::<{ IdentityKey::LEN }>()?)?;
        let signed_prekey = SignedPreKey::read(&mut reader)?;
        let one_time_prekey = match reader.flag()? {
            true => Some(OneTimePreKey::read(&mut reader)?),
            false => None,
        };
        reader.finish()?;
        Ok(Self { identity_key, signed_prekey, one_time_prekey })
    }
}

serde_by_bytes!(PreKeyBundle);

/// A [`PreKeyBundle`] whose signatures and expiry have been checked. Nothing checks the expiry again: use it at once.
///
/// With a one-time prekey it is good for one session.
#[derive(Clone, Debug)]
pub struct VerifiedBundle(PreKeyBundle);

impl VerifiedBundle {
    /// Whose bundle it is.
    #[must_use]
    pub fn identity_key(&self) -> &IdentityKey {
        &self.0.identity_key
    }

    /// Whether it came with a one-time prekey. Without one, the first messages of a session have forward
    /// secrecy only once the recipient has deleted the signed prekey, by the first rotation 37 days or more after it was
    /// made; a server that hands out none to anybody may be draining them on purpose.
    #[must_use]
    pub fn has_one_time_prekey(&self) -> bool {
        self.0.one_time_prekey.is_some()
    }

    pub(crate) fn signed_prekey(&self) -> &SignedPreKey {
        &self.0.signed_prekey
    }

    pub(crate) fn one_time_prekey(&self) -> Option<&OneTimePreKey> {
        self.0.one_time_prekey.as_ref()
    }
}
