//! Reading a device list: everything but the signatures.

use alloc::vec::Vec;

use super::{DeviceList, Entry, LIFETIME_SECONDS, MAX_DEVICES};
use crate::{
    Error, IdentityKey, UnixTime,
    crypto::{
        kdf::{self, Label},
        sign::{SIGNATURE_LEN, Signature},
    },
    roster::{DeviceId, UserId},
    wire::codec::{Kind, Reader},
};

/// Where the bytes of a list come from.
#[derive(Clone, Copy)]
pub(super) enum Source {
    Peer,
    /// Every key was checked before it was sealed: no curve arithmetic.
    SealedState,
}

impl Source {
    fn user_id(self, bytes: &[u8; UserId::LEN]) -> Result<UserId, Error> {
        match self {
            Self::Peer => UserId::from_bytes(bytes),
            Self::SealedState => Ok(UserId::from_sealed_state(bytes)),
        }
    }

    fn identity_key(self, bytes: &[u8; IdentityKey::LEN]) -> Result<IdentityKey, Error> {
        match self {
            Self::Peer => IdentityKey::from_bytes(bytes),
            Self::SealedState => IdentityKey::from_sealed_state(bytes),
        }
    }
}

impl DeviceList {
    /// The list with no signature checked, the bytes that the root signature covers, and that signature.
    pub(super) fn read(bytes: &[u8], source: Source) -> Result<(Self, &[u8], Signature), Error> {
        let mut reader = Reader::new(bytes);
        Kind::DeviceList.expect(reader.u8()?)?;
        let user_id = source.user_id(reader.array()?)?;
        let version = reader.u32()?;
        let previous = *reader.array()?;
        // The first one, and no other, follows nothing.
        if version == 0 || (version == 1) != (previous == [0; 32]) {
            return Err(Error::Malformed);
        }
        let (issued, expires) = (reader.u64()?, reader.u64()?);
        if expires <= issued || expires - issued > LIFETIME_SECONDS {
            return Err(Error::Malformed);
        }
        let count = reader.u8()?;
        if count == 0 || count > MAX_DEVICES {
            return Err(Error::Malformed);
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(count.into());
        for _ in 0..count {
            let identity_key = source.identity_key(reader.array()?)?;
            // One order, and no device twice.
            if entries.last().is_some_and(|last| last.identity_key >= identity_key) {
                return Err(Error::Malformed);
            }
            let claim = Signature::from_bytes(reader.array()?);
            entries.push(Entry { device: DeviceId::of(&identity_key), identity_key, claim });
        }
        let signature = Signature::from_bytes(reader.array()?);
        reader.finish()?;
        let signed = { Reader::new(bytes) }.slice(bytes.len().saturating_sub(SIGNATURE_LEN))?;
        let list = Self {
            bytes: bytes.into(),
            user_id,
            version,
            previous,
            issued: UnixTime::from_secs(issued),
            expires: UnixTime::from_secs(expires),
            entries,
            hash: kdf::hash(Label::DEVICE_LIST_HASH, &[signed]),
        };
        Ok((list, signed, signature))
    }
}
