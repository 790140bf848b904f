//! A device is made, or opened.
//!
//! Not its concern: linking (`link`), backups (`backup`), which make one, too.

use std::fmt;

use super::{
    Device, DeviceError, Settings, Trust,
    cache::Cache,
    index::HeaderIndex,
    link::{BEGUN, BEGUN_TABLES},
    records::{Me, Standing, Stored, Table, UserRecord},
    vault::{Vault, new_version},
    work::ONLY,
};
use crate::{
    Address, DeviceId, DeviceList, IdentityKeyPair, PreKeys, StorageKey, UnixTime, UserId,
    crypto::{
        kdf::Label,
        secret::{Secret, constant_time_eq, scrubbed},
    },
    roster::{self, Certificate, RootKey},
    store::{Action, Change, Expected, RecordId, Store, StoreError},
    wire::codec::{Kind, Reader},
};

pub(super) type Clock = Box<dyn Fn() -> UnixTime + Send>;

/// What a device is opened with: the key of its store, and a clock.
///
/// `&key` alone is a configuration, with the system's clock.
pub struct Config {
    pub(super) key: StorageKey,
    pub(super) clock: Clock,
}

impl Config {
    /// A configuration with a clock of the app's.
    #[must_use]
    pub fn new(key: &StorageKey, clock: impl Fn() -> UnixTime + Send + 'static) -> Self {
        Self { key: key.duplicate(), clock: Box::new(clock) }
    }
}

#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
impl From<&StorageKey> for Config {
    fn from(key: &StorageKey) -> Self {
        Self::new(key, UnixTime::now)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Config([secret])")
    }
}

/// Where the record stands that tells whether the key is the right one.
pub(super) const KEY_CHECK: RecordId = RecordId { table: 0, name: [0xff; 16] };

/// Making, opening.
impl<S: Store> Device<S> {
    /// Makes a new user, whose first device this is. It holds the user's root key. A [linking](crate::Link) that was begun
    /// in the store is given up.
    ///
    /// # Errors
    /// [`DeviceError::Occupied`], [`DeviceError::Store`].
    pub fn create(store: S, config: impl Into<Config>) -> Result<Self, DeviceError> {
        scrubbed(|| Self::create_inner(store, config.into()))
    }

    fn create_inner(store: S, Config { key, clock }: Config) -> Result<Self, DeviceError> {
        let root = RootKey::generate(&mut rand::rngs::SysRng)?;
        let identity = IdentityKeyPair::generate();
        let now = clock();
        let claim = roster::claim(&identity, root.user_id());
        let list = DeviceList::sign(&root, None, vec![(*identity.identity_key(), claim)], now)?;
        let certificate = Certificate::issue(&root, identity.identity_key(), claim, &list);
        let (user, root, settings) = (*root.user_id(), Some(Box::new(root.seed())), Settings::default());
        let me = Me { user, certificate, root, unlinked: false, settings };
        Self::found(Vault::new(store, key), clock, identity, &me, &list, &[])
    }

    /// Opens the device that a store has, or makes a new user: also where the file of a store was lost, and then it is a user
    /// whom nobody knows. An app that knows that there was one calls [`open`](Self::open), and offers to
    /// [restore](Self::restore) or to [link](crate::Link) if it fails. Not where a linking was begun: to make a user there would
    /// be to give it up, and it may have been approved on the other device.
    ///
    /// # Errors
    /// [`DeviceError::LinkBegun`]; those of [`open`](Self::open) and [`create`](Self::create).
    pub fn open_or_create(store: S, config: impl Into<Config>) -> Result<Self, DeviceError> {
        if store.read(&KEY_CHECK)?.is_none() && !is_linking(&store)? {
            Self::create(store, config)
        } else {
            Self::open(store, config)
        }
    }

    /// Opens the device that a store has.
    ///
    /// # Errors
    /// [`DeviceError::NoDevice`], [`DeviceError::LinkBegun`], [`DeviceError::WrongKey`], [`DeviceError::Damaged`],
    /// [`DeviceError::UnsupportedVersion`], [`DeviceError::Store`].
    pub fn open(store: S, config: impl Into<Config>) -> Result<Self, DeviceError> {
        scrubbed(|| Self::open_inner(store, config.into()))
    }

    fn open_inner(store: S, Config { key, clock }: Config) -> Result<Self, DeviceError> {
        let vault = Vault::new(store, key);
        match check_key(&vault) {
            Err(DeviceError::NoDevice) if is_linking(&vault.store)? => return Err(DeviceError::LinkBegun),
            checked => checked?,
        };
        let id = vault.id(IdentityKeyPair::TABLE, ONLY);
        let (_, identity) = vault.read::<IdentityKeyPair>(&id)?.ok_or(DeviceError::Damaged)?;
        let (_, me) = vault.read::<Me>(&vault.id(Me::TABLE, ONLY))?.ok_or(DeviceError::Damaged)?;
        Ok(Self::with(vault, clock, identity, me.user))
    }

    fn with(vault: Vault<S>, clock: Clock, identity: IdentityKeyPair, user: UserId) -> Self {
        let address = Address { user, device: DeviceId::of(identity.identity_key()) };
        Self { vault, cache: Cache::default(), index: HeaderIndex::default(), identity, address, clock }
    }

    /// Puts a new device into a store that has none. If a linking was begun there, it is done, or given up.
    pub(super) fn found(
        mut vault: Vault<S>,
        clock: Clock,
        identity: IdentityKeyPair,
        me: &Me,
        list: &DeviceList,
        contacts: &[UserRecord],
    ) -> Result<Self, DeviceError> {
        let prekeys = PreKeys::generate(&identity, 0, clock());
        let own = UserRecord::new(me.user, None, Some(list));
        let own = UserRecord { trust: Trust::Verified, standing: Standing::Contact, ..own };
        let mut changes = vec![Change {
            id: KEY_CHECK,
            expected: Expected::Absent,
            action: Action::Put {
                version: new_version()?,
                value: [&[Kind::SealedRecord.tag()], &key_check(&vault.key).as_bytes()[..]].concat(),
            },
        }];
        changes.extend(BEGUN_TABLES.map(|table| Change {
            id: vault.id(table, BEGUN),
            expected: Expected::Anything,
            action: Action::Delete,
        }));
        put_new(&vault, ONLY, me, &mut changes)?;
        put_new(&vault, ONLY, &identity, &mut changes)?;
        put_new(&vault, ONLY, &prekeys, &mut changes)?;
        for user in contacts.iter().filter(|user| user.id != me.user).chain([&own]) {
            put_new(&vault, &user.id.to_bytes(), user, &mut changes)?;
        }
        vault.commit(&changes).map_err(occupied)?;
        Ok(Self::with(vault, clock, identity, me.user))
    }
}

/// Whether this store has no device because it is being linked.
fn is_linking(store: &impl Store) -> Result<bool, DeviceError> {
    Ok(!store.list(Table::Begun as u8, 0, 1)?.is_empty())
}

/// The conflict of who expects that a store has no device.
pub(super) fn occupied(error: DeviceError) -> DeviceError {
    match error {
        DeviceError::Store(StoreError::Conflict) => DeviceError::Occupied,
        error => error,
    }
}

pub(super) fn put_new<S: Store, T: Stored>(
    vault: &Vault<S>,
    name: &[u8],
    value: &T,
    changes: &mut Vec<Change>,
) -> Result<(), DeviceError> {
    let (id, version) = (vault.id(T::TABLE, name), new_version()?);
    let value = vault.seal(&id, version, value);
    changes.push(Change { id, expected: Expected::Absent, action: Action::Put { version, value } });
    Ok(())
}

/// Whether this is the key that the store was made with; the version of the record that says so.
pub(super) fn check_key<S: Store>(vault: &Vault<S>) -> Result<u64, DeviceError> {
    let Some(check) = vault.store.read(&KEY_CHECK)? else { return Err(DeviceError::NoDevice) };
    let mut reader = Reader::new(&check.value);
    let version = reader.u8().map_err(|_| DeviceError::Damaged)?;
    Kind::SealedRecord.expect(version).map_err(DeviceError::from_record)?;
    if !constant_time_eq(reader.rest(), key_check(&vault.key).as_bytes()) {
        return Err(DeviceError::WrongKey);
    }
    Ok(check.version)
}

/// Tells the right key from a wrong one.
fn key_check(key: &StorageKey) -> Box<Secret<32>> {
    key.derive_other(Label::KEY_CHECK)
}
