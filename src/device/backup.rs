//! A backup: who the user is and whom they know. Never sessions, prekeys or the identity of a device, which would be used
//! twice when put back.
//!
//! ```text
//! backup  = kind+version u8 | lock u8 | [passphrase parameters 28] | commitment 32 | nonce 24 | sealed | tag 16
//! sealed  = root key seed 32 | device id 16 | length u16 | device list | padding u8 | resending u8 | contacts
//! ```
//! The commitment is compared before anything is opened: one backup does not open under two keys.
//!
//! Not its concern: where the backup is kept.

use std::{fmt, str::FromStr};

use bech32::Hrp;
use zeroize::Zeroizing;

use super::{
    Config, Device, DeviceError, Refusal, Settings, contacts,
    records::{Me, UserRecord},
    sealing::{self, Nonce},
    vault::{Vault, random_bytes},
};
use crate::{
    DeviceId, DeviceList, Error, IdentityKeyPair, Padding, UserId,
    crypto::{
        kdf::{self, Label},
        passphrase::PassphraseParameters,
        random,
        secret::{Secret, constant_time_eq, scrubbed},
    },
    roster::{self, Certificate, RootKey, Succession},
    store::Store,
    wire::{
        codec::{Kind, Reader},
        text,
    },
};

/// Human-readable part of a recovery key.
const KEY_PREFIX: Hrp = Hrp::parse_unchecked("srkey");
/// Prefix, separator, 32 bytes by fives of bits, checksum.
const KEY_TEXT_LEN: usize = 5 + 1 + 52 + 6;
const _: () = assert!(KEY_TEXT_LEN == 64);

const PASSPHRASE: u8 = 1;
const RECOVERY_KEY: u8 = 2;

/// A random key for backups, to be written down: 32 bytes, as text 64 characters with a checksum.
pub struct RecoveryKey(Box<Secret<32>>);

impl RecoveryKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// [`DeviceError::NoRandomness`].
    pub fn generate() -> Result<Self, DeviceError> {
        Ok(Self(random::fill_boxed(&mut rand::rngs::SysRng)?))
    }

    /// The text to be written down, which [`FromStr`] reads back. It is the caller's to wipe.
    #[must_use]
    pub fn to_text(&self) -> String {
        scrubbed(|| text::secret(KEY_PREFIX, self.0.as_bytes(), KEY_TEXT_LEN))
    }

    #[cfg(test)]
    pub(super) fn fixed(bytes: [u8; 32]) -> Self {
        Self(Box::new(Secret::new(bytes)))
    }

    fn derive(&self) -> (Secret<32>, Secret<32>) {
        let derived: Secret<64> = kdf::derive(&[0; 32], self.0.as_bytes(), Label::BACKUP, [&[], &[]]);
        let [key, commitment] = kdf::split(&derived);
        (key, commitment)
    }
}

impl FromStr for RecoveryKey {
    type Err = Error;

    /// # Errors
    /// [`Error::Malformed`] for a slip of the pen.
    fn from_str(text: &str) -> Result<Self, Error> {
        scrubbed(|| {
            let bytes = Zeroizing::new(text::read::<32>(KEY_PREFIX, text)?);
            Ok(Self(Secret::boxed(&bytes)))
        })
    }
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryKey([secret])")
    }
}

/// What a backup is sealed under.
#[derive(Clone, Copy)]
pub enum BackupLock<'a> {
    /// A passphrase, stretched by Argon2id with 64 MiB: as strong as the passphrase is. Its exact bytes count.
    Passphrase(&'a str),
    /// A random key.
    Key(&'a RecoveryKey),
}

impl fmt::Debug for BackupLock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passphrase(_) => "Passphrase([secret])",
            Self::Key(_) => "Key([secret])",
        })
    }
}

impl BackupLock<'_> {
    /// Lock byte, parameters and commitment, and the key.
    pub(super) fn lock(
        &self,
        parameters: &PassphraseParameters,
    ) -> Result<(Vec<u8>, Secret<32>), DeviceError> {
        Ok(match self {
            Self::Passphrase(passphrase) => {
                let derived = parameters.derive(passphrase, Label::BACKUP);
                let (key, commitment) = derived.map_err(|_| DeviceError::OutOfMemory)?;
                let head = [&[PASSPHRASE], &parameters.encode()[..], commitment.as_bytes()].concat();
                (head, key)
            }
            Self::Key(recovery) => {
                let (key, commitment) = recovery.derive();
                ([&[RECOVERY_KEY], &commitment.as_bytes()[..]].concat(), key)
            }
        })
    }

    /// The key, if this is the lock.
    fn unlock(&self, reader: &mut Reader<'_>) -> Result<Secret<32>, DeviceError> {
        let (key, commitment) = match (self, reader.u8().map_err(bad_backup)?) {
            (Self::Passphrase(passphrase), PASSPHRASE) => {
                let parameters = PassphraseParameters::decode(reader.array().map_err(bad_backup)?);
                let derived = parameters.map_err(bad_backup)?.derive(passphrase, Label::BACKUP);
                derived.map_err(|_| DeviceError::OutOfMemory)?
            }
            (Self::Key(recovery), RECOVERY_KEY) => recovery.derive(),
            _ => return Err(DeviceError::BadBackup),
        };
        let expected = reader.array::<32>().map_err(bad_backup)?;
        if constant_time_eq(expected, commitment.as_bytes()) { Ok(key) } else { Err(DeviceError::BadBackup) }
    }
}

/// What a backup has in it.
pub(super) struct Backup {
    root: Secret<32>,
    device: DeviceId,
    list: DeviceList,
    settings: Settings,
    contacts: Vec<UserRecord>,
}

impl Backup {
    /// The contents, the contacts being encoded already.
    pub(super) fn encode(
        root: &Secret<32>,
        device: &DeviceId,
        list: &DeviceList,
        settings: &Settings,
        contacts: &[u8],
    ) -> Zeroizing<Vec<u8>> {
        // A list is 4,246 bytes long at most.
        let len = u16::try_from(list.as_bytes().len()).unwrap_or(u16::MAX);
        Zeroizing::new(
            [
                &root.as_bytes()[..],
                &device.to_bytes(),
                &len.to_be_bytes(),
                list.as_bytes(),
                &[u8::from(settings.padding != Padding::None), u8::from(settings.resend)],
                contacts,
            ]
            .concat(),
        )
    }

    pub(super) fn seal(
        lock: &BackupLock<'_>,
        parameters: &PassphraseParameters,
        nonce: Nonce,
        plain: &[u8],
    ) -> Result<Vec<u8>, DeviceError> {
        let (lock, key) = lock.lock(parameters)?;
        let head = [&[Kind::Backup.tag()], &lock[..]].concat();
        Ok(sealing::seal(&key, nonce, &head, plain))
    }

    pub(super) fn open(bytes: &[u8], lock: &BackupLock<'_>) -> Result<Self, DeviceError> {
        let mut reader = Reader::new(bytes);
        reader.u8().and_then(|tag| Kind::Backup.expect(tag)).map_err(bad_backup)?;
        let key = lock.unlock(&mut reader)?;
        let head_len = bytes.len() - reader.rest().len();
        let head = bytes.get(..head_len).unwrap_or_default();
        let plain = sealing::open(&key, head, reader).map_err(bad_backup)?;
        Self::decode(&plain).map_err(bad_backup)
    }

    fn decode(plain: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(plain);
        let root = Secret::new(*reader.array()?);
        let device = DeviceId::from_bytes(*reader.array()?);
        let len = reader.u16()?.into();
        let list = DeviceList::from_bytes(reader.slice(len)?)?;
        let padding = if reader.flag()? { Padding::Buckets } else { Padding::None };
        let settings = Settings { padding, resend: reader.flag()? };
        let contacts = contacts::decode(&mut reader)?;
        reader.finish()?;
        if list.user_id() != RootKey::from_seed(&root).user_id() {
            return Err(Error::Malformed);
        }
        Ok(Self { root, device, list, settings, contacts })
    }
}

impl<S: Store> Device<S> {
    /// A backup of the user: the root key, who the contacts are and how much they are trusted, settings. No messages, and
    /// nothing of this device: who [restores](Self::restore) it has a new device. **Make one right after the user was made**, and whenever
    /// contacts or devices have changed. Without one, who loses the device with the root key loses the user: the list of devices expires
    /// within 90 days, and then nobody can write to those that are left.
    ///
    /// # Errors
    /// [`DeviceError::NoRootKey`], [`DeviceError::OutOfMemory`], [`DeviceError::NoRandomness`], [`DeviceError::Store`].
    pub fn backup(&mut self, lock: &BackupLock<'_>) -> Result<Vec<u8>, DeviceError> {
        scrubbed(|| self.backup_inner(lock))
    }

    fn backup_inner(&mut self, lock: &BackupLock<'_>) -> Result<Vec<u8>, DeviceError> {
        let contacts = Zeroizing::new(contacts::encode(&self.vault, &self.user())?);
        let device = self.address.device;
        let plain = self.run(|work, _, _| {
            let list = work.own_list()?;
            let me = work.me()?.get().ok_or(DeviceError::NoDevice)?;
            let root = me.root.as_ref().ok_or(DeviceError::NoRootKey)?;
            Ok(Backup::encode(root, &device, &list, &me.settings, &contacts))
        })?;
        Backup::seal(lock, &PassphraseParameters::default(random_bytes()?), Nonce::random()?, &plain)
    }

    /// Makes a new device of the user out of a backup, in a store that has none (a linking that was begun there is given
    /// up). It holds the root key, and the device that made
    /// the backup is unlinked. Publish next. Sessions begin anew. Others get the new list with the first message from here, or from the
    /// server when they fetch it, and go on writing to the lost device until then: write to everybody who should know soon. What they
    /// wrote to it and it has not acknowledged they get to know ([`Event::DevicesChanged`](crate::Event::DevicesChanged)). Make
    /// another backup soon: restoring from this one once more would not unlink the device that it makes now, and both would
    /// hold the root key.
    ///
    /// `newest_list` is the user's newest device list, from the server: it may be newer than the backup. Without it, if it is,
    /// others refuse the new list as a contradiction ([`Refusal::Forked`]) and all that this device sends: give `None` only where
    /// the server has none.
    ///
    /// # Errors
    /// [`DeviceError::BadBackup`]; [`DeviceError::Refused`] if the list is another user's, or forged;
    /// [`DeviceError::TooManyDevices`] if the newest list is full and does not have the device that made the backup;
    /// [`DeviceError::UnsupportedVersion`], [`DeviceError::OutOfMemory`], [`DeviceError::Occupied`],
    /// [`DeviceError::Store`].
    pub fn restore(
        store: S,
        config: impl Into<Config>,
        backup: &[u8],
        lock: &BackupLock<'_>,
        newest_list: Option<&[u8]>,
    ) -> Result<Self, DeviceError> {
        scrubbed(|| Self::restore_inner(store, config.into(), backup, lock, newest_list))
    }

    fn restore_inner(
        store: S,
        Config { key, clock }: Config,
        backup: &[u8],
        lock: &BackupLock<'_>,
        newest_list: Option<&[u8]>,
    ) -> Result<Self, DeviceError> {
        let backup = Backup::open(backup, lock)?;
        let root = RootKey::from_seed(&backup.root);
        let user = *root.user_id();
        let previous = match newest_list {
            Some(bytes) => newest(&user, backup.list, bytes)?,
            None => backup.list,
        };
        let identity = IdentityKeyPair::generate();
        let claim = roster::claim(&identity, &user);
        let kept = previous.entries().filter(|(key, _)| DeviceId::of(key) != backup.device);
        let mut entries: Vec<_> = kept.map(|(key, claim)| (*key, *claim)).collect();
        entries.push((*identity.identity_key(), claim));
        let list = DeviceList::sign(&root, Some(&previous), entries, clock())?;
        let me = Me {
            user,
            certificate: Certificate::issue(&root, identity.identity_key(), claim, &list),
            root: Some(Box::new(root.seed())),
            unlinked: false,
            settings: backup.settings,
        };
        let vault = Vault::new(store, key);
        Self::found(vault, clock, identity, &me, &list, &backup.contacts)
    }
}

fn bad_backup(error: Error) -> DeviceError {
    match error {
        Error::UnsupportedVersion => DeviceError::UnsupportedVersion,
        _ => DeviceError::BadBackup,
    }
}

/// The newer one of two lists of a user.
fn newest(user: &UserId, known: DeviceList, bytes: &[u8]) -> Result<DeviceList, DeviceError> {
    let list = DeviceList::from_bytes(bytes).map_err(|_| Refusal::Forged)?;
    if list.user_id() != user {
        return Err(Refusal::Forged.into());
    }
    match list.compare(&known.known()) {
        Succession::Same | Succession::Newer => Ok(list),
        Succession::Older => Ok(known),
        Succession::Forked => Err(Refusal::Forked.into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{
        StorageKey,
        crypto::aead::collision,
        roster::fixture::{device, entries, list, root},
        store::MemoryStore,
    };

    fn contents(settings: &Settings) -> Vec<u8> {
        let alice = root(1);
        let known = UserRecord::new(*root(2).user_id(), None, Some(&list(&root(2), None, 1)));
        let contacts = contacts::encode_all(vec![known]);
        let phone = DeviceId::of(device(1).identity_key());
        Backup::encode(&alice.seed(), &phone, &list(&alice, None, 2), settings, &contacts).to_vec()
    }

    fn encoded(backup: &mut Backup) -> Vec<u8> {
        let contacts = contacts::encode_all(std::mem::take(&mut backup.contacts));
        let Backup { root, device, list, settings, .. } = backup;
        Backup::encode(root, device, list, settings, &contacts).to_vec()
    }

    /// The least that is allowed: tests derive many keys.
    fn parameters() -> PassphraseParameters {
        let bytes = [&[0x5a; 16][..], &[0, 0, 0x4c, 0], &[0, 0, 0, 1], &[0, 0, 0, 1]].concat();
        PassphraseParameters::decode(bytes[..].try_into().unwrap()).unwrap()
    }

    fn sealed(lock: &BackupLock<'_>) -> Vec<u8> {
        let plain = contents(&Settings::default());
        Backup::seal(lock, &parameters(), Nonce::fixed([7; 24]), &plain).unwrap()
    }

    fn is_bad<T>(result: Result<T, DeviceError>) -> bool {
        matches!(result, Err(DeviceError::BadBackup))
    }

    #[test]
    fn contents_come_back_as_they_were() {
        for (padding, resend) in [(Padding::Buckets, true), (Padding::None, false)] {
            let plain = contents(&Settings { padding, resend });
            let mut backup = Backup::decode(&plain).unwrap();
            assert_eq!((backup.settings.padding, backup.settings.resend), (padding, resend));
            assert_eq!(encoded(&mut backup), plain);
            for len in 0..plain.len() {
                assert!(Backup::decode(&plain[..len]).is_err(), "{len}");
            }
            assert!(Backup::decode(&[&plain[..], &[0]].concat()).is_err());
        }
    }

    #[test]
    fn a25_contents_that_do_not_fit() {
        let plain = contents(&Settings::default());
        let altered = |position: usize, value: &[u8]| {
            let mut altered = plain.clone();
            altered[position..position + value.len()].copy_from_slice(value);
            Backup::decode(&altered)
        };
        // Another root; a list beyond the end, or of no length; flags; a contact too many.
        let list_len = usize::from(u16::from_be_bytes([plain[48], plain[49]]));
        assert!(altered(0, &[1; 32]).is_ok());
        assert!(altered(0, &[2; 32]).is_err());
        assert!(altered(48, &[0xff, 0xff]).is_err() && altered(48, &[0, 0]).is_err());
        for flag in 50 + list_len..52 + list_len {
            assert!(altered(flag, &[2]).is_err());
        }
        assert!(altered(52 + list_len, &[0xff; 4]).is_err());
    }

    /// The device that made the backup has been replaced since, and its place is taken.
    #[test]
    fn there_may_be_no_place_for_another_device() {
        let (alice, key) = (root(1), RecoveryKey::fixed([1; 32]));
        let lock = BackupLock::Key(&key);
        let bytes = sealed(&lock);
        let made_it = DeviceId::of(device(1).identity_key());
        let backed_up = Backup::open(&bytes, &lock).unwrap().list;
        let config = || Config::new(&StorageKey::from_bytes(&[7; 32]), || crate::roster::fixture::NOW);
        let restore = |entries| {
            let list =
                DeviceList::sign(&alice, Some(&backed_up), entries, config().clock.as_ref()()).unwrap();
            Device::restore(MemoryStore::new(), config(), &bytes, &lock, Some(list.as_bytes()))
        };
        let mut full = entries(&alice, 33);
        assert_eq!(DeviceId::of(&full[0].0), made_it);
        restore(full[..32].to_vec()).unwrap();
        full.remove(0);
        let refused = restore(full);
        assert!(matches!(refused, Err(DeviceError::TooManyDevices)), "{refused:?}");
    }

    #[test]
    fn a45_one_lock_one_key() {
        let (key, other) = (RecoveryKey::fixed([1; 32]), RecoveryKey::fixed([2; 32]));
        let (by_key, by_words) = (BackupLock::Key(&key), BackupLock::Passphrase("caf\u{e9}"));
        for (lock, others) in [
            (by_key, [BackupLock::Key(&other), by_words]),
            (by_words, [BackupLock::Passphrase("cafe\u{301}"), by_key]),
        ] {
            let bytes = sealed(&lock);
            assert_eq!(encoded(&mut Backup::open(&bytes, &lock).unwrap()), contents(&Settings::default()));
            for other in others {
                assert!(is_bad(Backup::open(&bytes, &other)));
            }
        }
    }

    /// A backup that the AEAD opens under the keys of two passphrases, or of two recovery keys: what would tell a server, by
    /// whether it opens, about many guesses at once. Only the lock whose commitment it has gets as far as the AEAD.
    #[test]
    fn a45_a_backup_under_two_keys() {
        let keys = [RecoveryKey::fixed([1; 32]), RecoveryKey::fixed([2; 32])];
        let by_words = ["correct horse", "battery staple"].map(BackupLock::Passphrase);
        for locks in [by_words, keys.each_ref().map(BackupLock::Key)] {
            let [(lock, key), (_, other)] = locks.map(|lock| lock.lock(&parameters()).unwrap());
            let head = [&[Kind::Backup.tag()], &lock[..]].concat();
            let start = head.len() + 24;
            // The device id, behind the seed of the root key, may be anything.
            let bytes = (0_u8..=255).find_map(|attempt| {
                let nonce = [attempt; 24];
                let plain = contents(&Settings::default());
                let mut bytes = sealing::seal(&key, Nonce::fixed(nonce), &head, &plain);
                let tag = collision::under_two_keys_extended(
                    [key.as_bytes(), other.as_bytes()],
                    &nonce,
                    &head,
                    &mut bytes[start..start + plain.len()],
                    32,
                )?;
                bytes[start + plain.len()..].copy_from_slice(&tag);
                Some(bytes)
            });
            let bytes = bytes.unwrap();
            let behind = |len| {
                let mut reader = Reader::new(&bytes);
                reader.slice(len).unwrap();
                reader
            };
            for key in [&key, &other] {
                assert!(sealing::open(key, &head, behind(head.len())).is_ok(), "it opens under both");
            }
            assert!(Backup::open(&bytes, &locks[0]).is_ok());
            assert!(is_bad(Backup::open(&bytes, &locks[1])));
            assert!(locks[0].unlock(&mut behind(1)).is_ok());
            assert!(is_bad(locks[1].unlock(&mut behind(1))), "before anything is opened");
        }
    }

    #[test]
    fn a25_a45_damaged() {
        let key = RecoveryKey::fixed([1; 32]);
        let lock = BackupLock::Key(&key);
        let bytes = sealed(&lock);
        for position in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[position] ^= 1;
            let result = Backup::open(&altered, &lock);
            if position == 0 {
                assert!(matches!(result, Err(DeviceError::UnsupportedVersion)));
            } else {
                assert!(is_bad(result), "{position}");
            }
            assert!(is_bad(Backup::open(&bytes[..position], &lock)), "{position}");
        }
        assert!(is_bad(Backup::open(&[&bytes[..], &[0]].concat(), &lock)));
        let mut kind = bytes;
        kind[0] = 0xb1;
        assert!(is_bad(Backup::open(&kind, &lock)));
    }

    #[test]
    fn a45_absurd_parameters_are_refused() {
        let lock = BackupLock::Passphrase("passphrase");
        let bytes = sealed(&lock);
        // Memory, passes, lanes: none, and as much as there is.
        for position in [18, 22, 26] {
            for value in [[0; 4], [0xff; 4]] {
                let mut altered = bytes.clone();
                altered[position..position + 4].copy_from_slice(&value);
                assert!(is_bad(Backup::open(&altered, &lock)), "{position}");
            }
        }
        for position in [2, 40, 70, 100] {
            let mut altered = bytes.clone();
            altered[position] ^= 1;
            assert!(is_bad(Backup::open(&altered, &lock)), "{position}");
        }
    }

    #[test]
    fn recovery_keys_are_read_in_either_case() {
        let text = RecoveryKey::fixed([0xab; 32]).to_text();
        assert_eq!(text.len(), 64);
        for text in [text.clone(), text.to_uppercase()] {
            assert_eq!(text.parse::<RecoveryKey>().unwrap().0.as_bytes(), &[0xab; 32]);
        }
        for bad in ["", &text[..63], &format!("{text}q"), &text.replacen('1', "l", 1)] {
            assert_eq!(bad.parse::<RecoveryKey>().err(), Some(Error::Malformed));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a25_arbitrary_bytes(bytes in vec(any::<u8>(), 0..600), position in 0..900usize, value in any::<u8>()) {
            let key = RecoveryKey::fixed([1; 32]);
            prop_assert!(Backup::open(&bytes, &BackupLock::Key(&key)).is_err());
            let mut plain = contents(&Settings::default());
            if let Some(place) = plain.get_mut(position) {
                *place = value;
            }
            for bytes in [&bytes, &plain] {
                if let Ok(mut backup) = Backup::decode(bytes) {
                    prop_assert_eq!(&encoded(&mut backup), bytes);
                }
            }
        }
    }
}
