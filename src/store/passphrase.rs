//! A storage key out of a passphrase, and the record that it is made with.

use std::{error, fmt};

use super::{Action, Change, Expected, RecordId, Store, StoreError};
use crate::{
    StorageKey,
    crypto::{
        kdf::Label,
        passphrase::{PARAMETERS_LEN, PassphraseParameters},
        random,
        secret::{constant_time_eq, scrubbed},
    },
};

/// Where the record is, in the clear: nobody's keyed hash is all zero.
const RECORD: RecordId = RecordId { table: 0, name: [0; 16] };

/// The first byte of the record.
const VERSION: u8 = 1;

impl StorageKey {
    /// The key that a passphrase gives in a store. The first call makes it, with a salt of its own, and **any passphrase is
    /// right then**; all later ones check theirs.
    ///
    /// It takes an eighth of a second, and 64 MiB: Argon2id with 3 passes. That slows an attacker who has the store down to
    /// some thousand attempts a second for each machine, so it protects a passphrase that is hard to guess, and no other.
    /// Prefer a key in the platform's keychain.
    ///
    /// The bytes of the passphrase are taken as they are. If it may be typed on different keyboards, bring it into one Unicode
    /// form first (NFKC), and wipe it afterwards. A key is of one store and one passphrase: to change that would be to seal
    /// all records anew, and is not offered.
    ///
    /// # Errors
    /// [`UnlockError::WrongPassphrase`], if the store was made with another one; and whatever [`UnlockError`] says.
    pub fn from_passphrase(store: &mut impl Store, passphrase: &str) -> Result<Self, UnlockError> {
        scrubbed(|| Self::from_passphrase_inner(store, passphrase))
    }

    fn from_passphrase_inner(store: &mut impl Store, passphrase: &str) -> Result<Self, UnlockError> {
        loop {
            if let Some(record) = store.read(&RECORD)? {
                return unlock(&record.value, passphrase);
            }
            let salt = random::fill(&mut rand::rngs::SysRng).map_err(|_| UnlockError::NoRandomness)?;
            let version = random::fill(&mut rand::rngs::SysRng).map_err(|_| UnlockError::NoRandomness)?;
            let (key, value) = create(*salt.as_bytes(), passphrase)?;
            let version = u64::from_be_bytes(*version.as_bytes()) >> 1;
            let action = Action::Put { version, value };
            match store.commit(&[Change { id: RECORD, expected: Expected::Absent, action }]) {
                Ok(()) => return Ok(key),
                // Somebody else has just made it: theirs counts.
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A new key, and the record of it: version u8 | parameters 28 | commitment 32.
fn create(salt: [u8; 16], passphrase: &str) -> Result<(StorageKey, Vec<u8>), UnlockError> {
    let parameters = PassphraseParameters::default(salt);
    let (key, commitment) =
        parameters.derive(passphrase, Label::STORAGE_PASSPHRASE).map_err(|_| UnlockError::OutOfMemory)?;
    let record = [&[VERSION], &parameters.encode()[..], commitment.as_bytes()].concat();
    Ok((StorageKey::from_bytes(key.as_bytes()), record))
}

/// The key that a record was made with, if this is its passphrase.
fn unlock(record: &[u8], passphrase: &str) -> Result<StorageKey, UnlockError> {
    let (&version, rest) = record.split_first().ok_or(UnlockError::Damaged)?;
    if version != VERSION {
        return Err(UnlockError::UnsupportedVersion);
    }
    let (parameters, stored) = rest.split_first_chunk::<PARAMETERS_LEN>().ok_or(UnlockError::Damaged)?;
    if stored.len() != 32 {
        return Err(UnlockError::Damaged);
    }
    let parameters = PassphraseParameters::decode(parameters).map_err(|_| UnlockError::Damaged)?;
    let (key, commitment) =
        parameters.derive(passphrase, Label::STORAGE_PASSPHRASE).map_err(|_| UnlockError::OutOfMemory)?;
    if constant_time_eq(commitment.as_bytes(), stored) {
        Ok(StorageKey::from_bytes(key.as_bytes()))
    } else {
        Err(UnlockError::WrongPassphrase)
    }
}

/// Why a passphrase gives no key.
#[derive(Debug)]
#[non_exhaustive]
pub enum UnlockError {
    /// The store was made with another passphrase. Or what the key is made with was altered: that looks the same.
    WrongPassphrase,
    /// What the key is made with is not of any release: truncated, or altered to cost too little or too much.
    Damaged,
    /// What the key is made with is a later release's.
    UnsupportedVersion,
    /// Less memory is free than the key was made with: 64 MiB by this release.
    OutOfMemory,
    /// The system's random generator failed.
    NoRandomness,
    /// The store failed.
    Store(StoreError),
}

impl From<StoreError> for UnlockError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for UnlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongPassphrase => "wrong passphrase",
            Self::Damaged => "parameters of the passphrase are damaged",
            Self::UnsupportedVersion => "parameters of the passphrase are of a later release",
            Self::OutOfMemory => "not enough memory for the passphrase",
            Self::NoRandomness => "random generator failed",
            Self::Store(error) => return error.fmt(f),
        })
    }
}

impl error::Error for UnlockError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            // Its message is ours, so what comes next is its source.
            Self::Store(error) => error.source(),
            _ => None,
        }
    }
}
