//! The devices of a user, signed.
//!
//! ```text
//! list  = 0x61 | UserId 32 | version u32 | previous hash 32 | issued u64 | expires u64
//!       | count u8 | count x entry | root signature 64                                     278 to 4,246 bytes
//! entry = IdentityKey 64 | claim 64                                                        ascending
//! hash  = H(L_DEVICE_LIST_HASH, all bytes before the root signature)
//! ```
//! The hash leaves the root signature out: the owner of an Ed25519 key can make any number of signatures of one
//! message, and lists that say the same are the same list, not a fork.

use alloc::{boxed::Box, vec::Vec};
use core::fmt;

use super::{DeviceId, KnownList, RootKey, Succession, UserId, verify_claim};
use crate::{
    Error, IdentityKey, UnixTime,
    crypto::{SUITE, kdf::Label, sign::Signature},
    keys::DAY,
    wire::codec::Kind,
};

#[cfg(test)]
mod hostile;
mod read;

use read::Source;

/// How many devices a user may have. Every message goes to each of them; and it bounds what a stranger's list costs.
pub(crate) const MAX_DEVICES: u8 = 32;

/// How long a list is valid: so long can a server withhold that a device was removed from who hears of it by no other way.
pub(crate) const LIFETIME_DAYS: u64 = 90;

const LIFETIME_SECONDS: u64 = LIFETIME_DAYS * DAY;

/// The devices of a user, as of one version: signed by the user, and each entry by the device itself.
///
/// Whoever has one needs nothing else to know that it is genuine, [`from_bytes`](Self::from_bytes) has checked it. It is
/// a list of its [`user_id`](Self::user_id)'s: whether that is the user you mean is yours to compare. That it is the
/// newest one nobody can know; after [`expires`](Self::expires) it is too old to go by.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceList {
    bytes: Box<[u8]>,
    user_id: UserId,
    version: u32,
    previous: [u8; 32],
    issued: UnixTime,
    expires: UnixTime,
    entries: Vec<Entry>,
    hash: [u8; 32],
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// Hashed once, not at every look.
    device: DeviceId,
    identity_key: IdentityKey,
    claim: Signature,
}

impl DeviceList {
    /// Whose devices they are.
    #[must_use]
    pub fn user_id(&self) -> &UserId {
        &self.user_id
    }

    /// Counts the lists of this user from 1.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// What identifies this list: the hash of everything in it but the root signature.
    #[must_use]
    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// When it was made, by its maker's clock.
    #[must_use]
    pub fn issued(&self) -> UnixTime {
        self.issued
    }

    /// Until when to go by it: at most 90 days after [`issued`](Self::issued).
    #[must_use]
    pub fn expires(&self) -> UnixTime {
        self.expires
    }

    /// The keys of the devices, at least one and at most 32, in the order of their bytes.
    pub fn devices(&self) -> impl Iterator<Item = &IdentityKey> {
        self.entries.iter().map(|entry| &entry.identity_key)
    }

    /// Whether a device is in the list.
    #[must_use]
    pub fn contains(&self, device: &DeviceId) -> bool {
        self.identity_key(device).is_some()
    }

    pub(crate) fn identity_key(&self, device: &DeviceId) -> Option<&IdentityKey> {
        self.entries.iter().find(|entry| entry.device == *device).map(|entry| &entry.identity_key)
    }

    /// The devices with their claims: what the next list is made of.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&IdentityKey, &Signature)> {
        self.entries.iter().map(|entry| (&entry.identity_key, &entry.claim))
    }

    /// What to remember of it.
    pub(crate) fn known(&self) -> KnownList {
        KnownList { version: self.version, hash: self.hash }
    }

    /// How it relates to the list that is known of this user.
    pub(crate) fn compare(&self, known: &KnownList) -> Succession {
        if self.version < known.version {
            Succession::Older
        } else if self.version == known.version {
            if self.hash == known.hash { Succession::Same } else { Succession::Forked }
        } else if self.version - known.version == 1 && self.previous != known.hash {
            Succession::Forked
        } else {
            Succession::Newer
        }
    }

    /// Makes the list that follows `previous`, or the first one: valid for 90 days from `issued`, whatever the order of
    /// the devices.
    ///
    /// # Errors
    /// [`Error::WrongIdentity`] if `previous` is another user's; [`Error::CounterExhausted`]; [`Error::TooManyDevices`];
    /// [`Error::InvalidSignature`] if a device does not claim to be this user's; [`Error::Malformed`] if there is no
    /// device, one is there twice, or time ends before the list does.
    pub(crate) fn sign(
        root: &RootKey,
        previous: Option<&Self>,
        mut devices: Vec<(IdentityKey, Signature)>,
        issued: UnixTime,
    ) -> Result<Self, Error> {
        let (version, previous_hash) = match previous {
            Some(list) if list.user_id != *root.user_id() => return Err(Error::WrongIdentity),
            Some(list) => (list.version.checked_add(1).ok_or(Error::CounterExhausted)?, list.hash),
            None => (1, [0; 32]),
        };
        let count = u8::try_from(devices.len()).ok().filter(|count| *count <= MAX_DEVICES);
        let count = count.ok_or(Error::TooManyDevices)?;
        devices.sort_unstable_by_key(|(identity_key, _)| *identity_key);
        let mut bytes = [
            &[Kind::DeviceList.tag()],
            &root.user_id().as_bytes()[..],
            &version.to_be_bytes(),
            &previous_hash,
            &issued.as_secs().to_be_bytes(),
            &issued.plus_days(LIFETIME_DAYS).as_secs().to_be_bytes(),
            &[count],
        ]
        .concat();
        for (identity_key, claim) in &devices {
            bytes.extend_from_slice(&identity_key.to_bytes());
            bytes.extend_from_slice(claim.as_bytes());
        }
        let signature = root.sign(&message(&bytes));
        bytes.extend_from_slice(signature.as_bytes());
        // What others would refuse we refuse first.
        Self::from_bytes(&bytes)
    }

    /// The canonical encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.bytes.to_vec()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads a list and checks it: first the encoding, from front to back, each key where it stands; then the root
    /// signature; then the signature of each device, in order. The first thing that is wrong decides.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::UnsupportedVersion`], [`Error::InvalidKey`]; [`Error::InvalidSignature`] if the user
    /// has not signed the list, or a device in it does not say that it is this user's.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let (list, signed, signature) = Self::read(bytes, Source::Peer)?;
        list.user_id.verify(&message(signed), &signature)?;
        list.entries
            .iter()
            .try_for_each(|entry| verify_claim(&entry.identity_key, &list.user_id, &entry.claim))?;
        Ok(list)
    }

    /// A list that was checked before it was sealed into our own state: no signature and no key is checked again.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::UnsupportedVersion`].
    pub(crate) fn from_sealed_state(bytes: &[u8]) -> Result<Self, Error> {
        Self::read(bytes, Source::SealedState).map(|(list, ..)| list)
    }
}

/// What the root key signs.
pub(super) fn message(signed: &[u8]) -> Vec<u8> {
    [Label::DEVICE_LIST.as_bytes(), &[SUITE], signed].concat()
}

impl fmt::Debug for DeviceList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceList({}, version {}, devices: {})", self.user_id, self.version, self.entries.len())
    }
}
