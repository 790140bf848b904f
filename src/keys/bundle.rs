//! What a server hands out for somebody, before and after it has been checked.

use alloc::vec::Vec;

use super::{IdentityKey, OneTimePreKey, SignedPreKey, UnixTime, prekeys::VALID_DAYS};
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
///     Session::initiate(me, PreKeyBundle::from_bytes(fetched)?)
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
    /// passed at `now`, nor lies more than 37 days ahead: prekeys are made for 30, and who has stolen one shall not use it for
    /// years because a clock was wrong when it was made. So a clock that is far ahead, or behind, refuses every bundle, and
    /// one that is a little behind takes expired ones.
    ///
    /// **This is not "verified as Bob".** It shows that the prekeys belong to the
    /// [`identity_key`](VerifiedBundle::identity_key) in the bundle; a server can make up a whole bundle with a key of
    /// its own. That the key is Bob's is for the app to compare: the first time with what Bob shows over another
    /// channel, every time after with the [`peer_identity`](crate::Session::peer_identity) that is known for him, also
    /// when a session is begun anew.
    ///
    /// # Errors
    /// [`Error::InvalidSignature`], [`Error::Expired`], [`Error::NotYetValid`].
    pub fn verify(self, now: UnixTime) -> Result<VerifiedBundle, Error> {
        self.signed_prekey.verify(&self.identity_key)?;
        if let Some(prekey) = &self.one_time_prekey {
            prekey.verify(&self.identity_key)?;
        }
        self.check_time(now)?;
        Ok(VerifiedBundle(self))
    }

    /// Whether it may be used now.
    pub(crate) fn check_time(&self, now: UnixTime) -> Result<(), Error> {
        if now > self.not_after() {
            Err(Error::Expired)
        } else if self.not_after().is_beyond(VALID_DAYS, now) {
            Err(Error::NotYetValid)
        } else {
            Ok(())
        }
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
/// It belongs to its [`identity_key`](Self::identity_key). Whose key that is, [`verify`](PreKeyBundle::verify) cannot
/// know: compare it.
///
/// It is good for one session, as its one-time prekey is: [`Session::initiate`](crate::Session::initiate) takes it, and
/// there are no copies of it.
#[derive(Debug)]
pub struct VerifiedBundle(PreKeyBundle);

impl VerifiedBundle {
    /// Whose bundle it is: to be compared with the key that is known, or that its owner shows.
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
