//! Linking a new device to a user.
//!
//! ```text
//! new device                                             device with the root key
//!   begin: identity key, secret ── code, shown or scanned ──> offer_link
//!   user_of <─────────────────────── offer ──────────────────
//!   the person confirms who that is
//!   confirm: claims to be that user's ── reply ─────────────> approve_link: signs a list with both
//!   complete <────────────────────── grant: list, certificate, contacts
//! ```
//! The code goes from screen to camera (or is typed), so both sides know that it is the other's; the rest may travel over
//! the server. It binds the new device's whole identity key, and a secret that is used once: neither a server, which
//! does not know the secret, nor who photographs the code, who does not have the private key, can read the contacts. That
//! one could make an offer of their own; so the person confirms the user before the device adopts it.
//!
//! Not its concern: how the bytes travel.

use std::fmt;

use bech32::Hrp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    Config, Context, Device, DeviceError, Settings, contacts,
    opening::{Clock, KEY_CHECK, occupied, put_new},
    records::{Me, Plain, Table, UserRecord},
    sealing::{self, Nonce},
    vault::{Vault, new_version},
    work::Work,
};
use crate::{
    DeviceId, DeviceList, Error, IdentityKey, IdentityKeyPair, UnixTime, UserId,
    crypto::{
        dh::{AgreementKey, AgreementPublic},
        kdf::{self, Label},
        random,
        secret::{Secret, scrubbed},
        sign::{SIGNATURE_LEN, Signature},
    },
    keys::HOUR,
    roster::{self, MAX_DEVICES, PAYLOAD_LEN, Payload},
    store::{Action, Change, Expected, Store},
    wire::{codec::Reader, text},
};

const VERSION: u8 = 1;
/// Human-readable part of the code.
const CODE_PREFIX: Hrp = Hrp::parse_unchecked("srlink");
/// version u8 | identity key 64 | secret 32
const CODE_LEN: usize = 1 + IdentityKey::LEN + 32;
/// Prefix, separator, the bytes by fives of bits, checksum.
const CODE_TEXT_LEN: usize = 6 + 1 + 156 + 6;
const _: () = assert!(CODE_LEN == 97 && CODE_TEXT_LEN == 169);
/// Seconds for which an offer may be answered.
pub(super) const LINK_PERIOD: u64 = HOUR;

/// A new device that is being linked to a user.
///
/// ```no_run
/// use subrosa::{DeviceError, Link, StorageKey, store::MemoryStore};
/// # fn show(_: &str) {} fn fetch() -> Vec<u8> { vec![] } fn person_confirms(_: &subrosa::UserId) -> bool { true }
/// # fn send(_: &[u8]) {}
/// # let key = StorageKey::generate();
/// let mut link = Link::begin(MemoryStore::new(), &key)?;
/// show(&link.code());                                 // as text or QR code, for the user's other device
/// let offer = fetch();                                // what `Device::offer_link` gave there
/// let user = link.user_of(&offer)?;
/// if person_confirms(&user) {                         // who that device shows as itself
///     send(&link.confirm(&offer, &user)?);            // to `Device::approve_link` there
///     let device = link.complete(&fetch())?;          // what that gave
/// }
/// # Ok::<(), DeviceError>(())
/// ```
pub struct Link<S> {
    vault: Vault<S>,
    clock: Clock,
    identity: IdentityKeyPair,
    // Boxed: moving a link leaves no copies of its keys behind.
    state: Box<Begun>,
}

/// On the new device: how far it has come.
#[derive(Serialize, Deserialize)]
struct Begun {
    secret: Secret<32>,
    confirmed: Option<Confirmed>,
}

#[derive(Serialize, Deserialize)]
struct Confirmed {
    #[serde(with = "crate::roster::sealed_user_id")]
    user: UserId,
    keys: LinkKeys,
}

impl Plain for Begun {
    const TABLE: Table = Table::Begun;
}

/// Names the records of a device that is being linked: its own, in these tables. With a device in the store they are gone.
pub(super) const BEGUN: &[u8] = b"begun";
pub(super) const BEGUN_TABLES: [Table; 2] = [Table::Identity, Table::Begun];

/// Nobody has made a device in the store meanwhile.
const NO_DEVICE: Change = Change { id: KEY_CHECK, expected: Expected::Absent, action: Action::Keep };

/// What both sides derive from code and offer.
#[derive(Serialize, Deserialize)]
pub(super) struct LinkKeys {
    pub(super) offer: Secret<32>,
    pub(super) reply: Secret<32>,
    pub(super) grant: Secret<32>,
}

/// On the device with the root key: an offer that was made.
#[derive(Serialize, Deserialize)]
pub(super) struct LinkRecord {
    #[serde(with = "crate::keys::sealed_identity_key")]
    identity: IdentityKey,
    keys: LinkKeys,
    pub(super) began: UnixTime,
}

impl Plain for LinkRecord {
    const TABLE: Table = Table::Links;
}

impl LinkKeys {
    pub(super) fn derive(
        secret: &Secret<32>,
        shared: &Secret<32>,
        device: &IdentityKey,
        ephemeral: &AgreementPublic,
    ) -> Self {
        let info = [&device.to_bytes()[..], ephemeral.as_bytes()];
        let derived: Secret<96> = kdf::derive(secret.as_bytes(), shared.as_bytes(), Label::LINK, info);
        let [offer, reply, grant] = kdf::split(&derived);
        Self { offer, reply, grant }
    }

    pub(super) fn write_offer(&self, nonce: Nonce, ephemeral: &AgreementPublic, user: &UserId) -> Vec<u8> {
        let head = [&[VERSION], &ephemeral.as_bytes()[..]].concat();
        sealing::seal(&self.offer, nonce, &head, &user.to_bytes())
    }

    pub(super) fn write_reply(&self, nonce: Nonce, device: &DeviceId, claim: &Signature) -> Vec<u8> {
        let head = [&[VERSION], &device.to_bytes()[..]].concat();
        sealing::seal(&self.reply, nonce, &head, claim.as_bytes())
    }

    pub(super) fn open_reply(&self, head: &[u8], sealed: Reader<'_>) -> Result<Signature, DeviceError> {
        let claim = sealing::open(&self.reply, head, sealed).map_err(bad_link)?;
        let claim: &[u8; SIGNATURE_LEN] = claim[..].try_into().map_err(|_| DeviceError::BadLink)?;
        Ok(Signature::from_bytes(claim))
    }

    pub(super) fn write_grant(&self, nonce: Nonce, plain: &[u8]) -> Vec<u8> {
        sealing::seal(&self.grant, nonce, &[VERSION], plain)
    }

    pub(super) fn open_grant(&self, grant: &[u8]) -> Result<Grant, DeviceError> {
        let mut reader = Reader::new(grant);
        check_version(&mut reader)?;
        let plain = sealing::open(&self.grant, &[VERSION], reader).map_err(bad_link)?;
        Grant::decode(&plain).map_err(bad_link)
    }
}

impl<S: Store> Link<S> {
    /// Makes the keys of a new device, in an empty store; or goes on with a linking that was begun there, when the app
    /// was closed in between.
    ///
    /// # Errors
    /// [`DeviceError::Occupied`] if the store has a device, [`DeviceError::NoRandomness`], [`DeviceError::Store`].
    pub fn begin(store: S, config: impl Into<Config>) -> Result<Self, DeviceError> {
        scrubbed(|| Self::begin_inner(store, config.into()))
    }

    fn begin_inner(store: S, Config { key, clock }: Config) -> Result<Self, DeviceError> {
        let mut vault = Vault::new(store, key);
        if vault.store.read(&KEY_CHECK)?.is_some() {
            return Err(DeviceError::Occupied);
        }
        let names = BEGUN_TABLES.map(|table| vault.id(table, BEGUN));
        let [identity, state] = &names;
        if let (Some((_, identity)), Some((_, state))) = (vault.read(identity)?, vault.read(state)?) {
            return Ok(Self { vault, clock, identity, state: Box::new(state) });
        }
        let identity = IdentityKeyPair::generate();
        let state = Box::new(Begun { secret: random::fill(&mut rand::rngs::SysRng)?, confirmed: None });
        let mut changes = vec![NO_DEVICE];
        put_new(&vault, BEGUN, &identity, &mut changes)?;
        put_new(&vault, BEGUN, &*state, &mut changes)?;
        vault.commit(&changes)?;
        Ok(Self { vault, clock, identity, state })
    }

    /// What the other device scans: 169 characters that fit a QR code, upper-cased if that is denser. A secret until the
    /// link is complete: for that device's camera only, and not for the server, also not as the name of a mailbox by which the two devices
    /// find each other: for that put a random name beside it into the QR code. It is the caller's to wipe.
    #[must_use]
    pub fn code(&self) -> String {
        scrubbed(|| write_code(self.identity.identity_key(), &self.state.secret))
    }

    /// Which user an offer is from. The person has to confirm that it is theirs: by comparing it with what the other
    /// device shows, on both screens the same way (the text of the id in full, or its QR code scanned by the new device).
    ///
    /// # Errors
    /// [`DeviceError::BadLink`] if the offer is not an answer to this code.
    pub fn user_of(&self, offer: &[u8]) -> Result<UserId, DeviceError> {
        scrubbed(|| self.open_offer(offer).map(|(user, _)| user))
    }

    /// Accepts the offer of a user: the reply to it. For the device that made the offer.
    ///
    /// # Errors
    /// [`DeviceError::BadLink`] if the offer is not an answer to this code, or another user's;
    /// [`DeviceError::Occupied`] if the store has got a device since, [`DeviceError::Store`].
    pub fn confirm(&mut self, offer: &[u8], user: &UserId) -> Result<Vec<u8>, DeviceError> {
        scrubbed(|| self.confirm_inner(offer, user))
    }

    fn confirm_inner(&mut self, offer: &[u8], user: &UserId) -> Result<Vec<u8>, DeviceError> {
        let (offered, keys) = self.open_offer(offer)?;
        if offered != *user {
            return Err(DeviceError::BadLink);
        }
        let claim = roster::claim(&self.identity, user);
        let device = DeviceId::of(self.identity.identity_key());
        let reply = keys.write_reply(Nonce::random()?, &device, &claim);
        self.state.confirmed = Some(Confirmed { user: offered, keys });
        // Durable before it is shown: the reply puts this device into the user's list.
        let (id, version) = (self.vault.id(Table::Begun, BEGUN), new_version()?);
        let value = self.vault.seal(&id, version, &*self.state);
        let action = Action::Put { version, value };
        let put = Change { id, expected: Expected::Anything, action };
        self.vault.commit(&[NO_DEVICE, put]).map_err(occupied)?;
        Ok(reply)
    }

    /// Finishes: the device is in the user's list, and knows its contacts. Publish next. If it fails, [`begin`](Self::begin)
    /// goes on with the same linking.
    ///
    /// # Errors
    /// [`DeviceError::BadLink`] if nothing was confirmed, or the grant does not fit what was;
    /// [`DeviceError::Occupied`], [`DeviceError::Store`].
    pub fn complete(self, grant: &[u8]) -> Result<Device<S>, DeviceError> {
        scrubbed(|| self.complete_inner(grant))
    }

    fn complete_inner(self, grant: &[u8]) -> Result<Device<S>, DeviceError> {
        let Confirmed { user, keys } = self.state.confirmed.ok_or(DeviceError::BadLink)?;
        let granted = keys.open_grant(grant)?;
        let (key, certificate) = (self.identity.identity_key(), granted.payload.certificate);
        let fits = granted.list.contains(&DeviceId::of(key))
            && *granted.list.user_id() == user
            && *certificate.user() == user
            && *certificate.list() == granted.list.known()
            && certificate.verify(key).is_ok()
            && granted.payload.recipient == user;
        if !fits {
            return Err(DeviceError::BadLink);
        }
        let me = Me { user, certificate, root: None, unlinked: false, settings: Settings::default() };
        let Self { vault, clock, identity, .. } = self;
        Device::found(vault, clock, identity, &me, &granted.list, &granted.contacts)
    }

    fn open_offer(&self, offer: &[u8]) -> Result<(UserId, LinkKeys), DeviceError> {
        open_offer(&self.identity, &self.state.secret, offer)
    }
}

impl<S> fmt::Debug for Link<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("identity_key", self.identity.identity_key()).finish_non_exhaustive()
    }
}

/// What a new device gets: certificate as a handshake payload 256 | length u16 | device list | contacts.
pub(super) struct Grant {
    payload: Payload,
    list: DeviceList,
    contacts: Vec<UserRecord>,
}

impl Grant {
    /// From the encoded parts, the contacts' being last.
    pub(super) fn encode(
        payload: &[u8; PAYLOAD_LEN],
        list: &DeviceList,
        contacts: &[u8],
    ) -> Zeroizing<Vec<u8>> {
        // A list is 4,246 bytes long at most.
        let len = u16::try_from(list.as_bytes().len()).unwrap_or(u16::MAX);
        Zeroizing::new([&payload[..], &len.to_be_bytes(), list.as_bytes(), contacts].concat())
    }

    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let payload = Payload::from_bytes(reader.array::<PAYLOAD_LEN>()?)?;
        let len = reader.u16()?.into();
        let list = DeviceList::from_bytes(reader.slice(len)?)?;
        let contacts = contacts::decode(&mut reader)?;
        reader.finish()?;
        Ok(Self { payload, list, contacts })
    }
}

pub(super) fn write_code(identity: &IdentityKey, secret: &Secret<32>) -> String {
    let mut code = Zeroizing::new([0; CODE_LEN]);
    let (version, rest) = code.split_at_mut(1);
    let (key, place) = rest.split_at_mut(IdentityKey::LEN);
    version.copy_from_slice(&[VERSION]);
    key.copy_from_slice(&identity.to_bytes());
    place.copy_from_slice(secret.as_bytes());
    text::secret(CODE_PREFIX, &*code, CODE_TEXT_LEN)
}

pub(super) fn read_code(code: &str) -> Result<(IdentityKey, Secret<32>), DeviceError> {
    let code = Zeroizing::new(text::read::<CODE_LEN>(CODE_PREFIX, code).map_err(bad_link)?);
    let mut reader = Reader::new(&code[..]);
    check_version(&mut reader)?;
    let identity = reader.array::<{ IdentityKey::LEN }>().and_then(|key| IdentityKey::from_bytes(key));
    let identity = identity.map_err(bad_link)?;
    let secret = Secret::new(*reader.array().map_err(bad_link)?);
    Ok((identity, secret))
}

/// Who offers, and the keys of this link.
pub(super) fn open_offer(
    identity: &IdentityKeyPair,
    secret: &Secret<32>,
    offer: &[u8],
) -> Result<(UserId, LinkKeys), DeviceError> {
    let (ephemeral, head, sealed) = read_head::<32, 33>(offer)?;
    let ephemeral = AgreementPublic::from_bytes(ephemeral).map_err(bad_link)?;
    let shared = identity.agreement().agree(&ephemeral).map_err(bad_link)?;
    let keys = LinkKeys::derive(secret, &shared, identity.identity_key(), &ephemeral);
    let plain = sealing::open(&keys.offer, head, sealed).map_err(bad_link)?;
    Ok((UserId::from_bytes(&plain).map_err(bad_link)?, keys))
}

/// Whose reply it is; its head, and what is sealed behind it.
pub(super) fn read_reply(reply: &[u8]) -> Result<(DeviceId, &[u8], Reader<'_>), DeviceError> {
    let (device, head, sealed) = read_head::<16, 17>(reply)?;
    Ok((DeviceId::from_bytes(*device), head, sealed))
}

/// Version and name; what is behind them stays to be read.
fn read_head<const NAME: usize, const HEAD: usize>(
    bytes: &[u8],
) -> Result<(&[u8; NAME], &[u8], Reader<'_>), DeviceError> {
    const { assert!(HEAD == NAME + 1) }
    let mut reader = Reader::new(bytes);
    check_version(&mut reader)?;
    let name = reader.array().map_err(bad_link)?;
    let head = Reader::new(bytes).slice(HEAD).map_err(bad_link)?;
    Ok((name, head, reader))
}

fn bad_link(_: Error) -> DeviceError {
    DeviceError::BadLink
}

fn check_version(reader: &mut Reader<'_>) -> Result<(), DeviceError> {
    if reader.u8().map_err(bad_link)? == VERSION { Ok(()) } else { Err(DeviceError::UnsupportedVersion) }
}

/// Linking, on the device that holds the root key.
impl<S: Store> Device<S> {
    /// Offers a new device, whose code was scanned, to become this user's. The offer is for that device, over any
    /// transport, and good for an hour.
    ///
    /// # Errors
    /// [`DeviceError::BadLink`] for a code that is none, [`DeviceError::NoRootKey`], [`DeviceError::Unlinked`],
    /// [`DeviceError::TooManyDevices`], [`DeviceError::Store`].
    pub fn offer_link(&mut self, code: &str) -> Result<Vec<u8>, DeviceError> {
        scrubbed(|| self.offer_link_inner(code))
    }

    fn offer_link_inner(&mut self, code: &str) -> Result<Vec<u8>, DeviceError> {
        let (identity, secret) = read_code(code)?;
        let ephemeral = AgreementKey::from_seed(&random::fill(&mut rand::rngs::SysRng)?);
        let shared = ephemeral.agree(identity.agreement()).map_err(bad_link)?;
        let user = self.user();
        self.run(|work, context, _| {
            work.check_root()?;
            work.check_place()?;
            let keys = LinkKeys::derive(&secret, &shared, &identity, ephemeral.public());
            let offer = keys.write_offer(Nonce::random()?, ephemeral.public(), &user);
            let record = LinkRecord { identity, keys, began: context.now };
            work.put(&DeviceId::of(&identity).to_bytes(), &record)?;
            Ok(offer)
        })
    }

    /// Puts the new device into the user's list: the grant is for it. The list is to be
    /// [published](Self::publication); everybody else gets it with the next message. The same reply again, within the
    /// hour, gives another grant for the same device. (The list that this device knows should be the newest one: fetch and
    /// [provide](Self::provide) it first, or a list of a backup that was restored is contradicted.)
    ///
    /// # Errors
    /// [`DeviceError::BadLink`] if the reply is to no offer of the last hour, or altered; [`DeviceError::NoRootKey`],
    /// [`DeviceError::Unlinked`], [`DeviceError::TooManyDevices`], [`DeviceError::Store`].
    pub fn approve_link(&mut self, reply: &[u8]) -> Result<Vec<u8>, DeviceError> {
        let contacts = Zeroizing::new(contacts::encode(&self.vault, &self.user())?);
        self.run(|work, context, _| work.approve_link(context, reply, &contacts))
    }

    /// Takes a device out of the user's list. Its sessions end here at once, with what waits for it in the outbox, and
    /// everywhere else with the next message from here; the list is to be [published](Self::publication). (Better on top of
    /// the newest one: see [`approve_link`](Self::approve_link).)
    ///
    /// # Errors
    /// [`DeviceError::NoRootKey`]; [`DeviceError::Unlinked`]; [`DeviceError::UnknownDevice`], also for this device;
    /// [`DeviceError::Store`].
    pub fn unlink(&mut self, device: &DeviceId) -> Result<(), DeviceError> {
        if *device == self.address.device {
            return Err(DeviceError::UnknownDevice);
        }
        self.run(|work, context, _| {
            work.check_root()?;
            let before = work.own_list()?;
            if !before.contains(device) {
                return Err(DeviceError::UnknownDevice);
            }
            work.delete(Table::Links, &device.to_bytes());
            work.change_own_list(context, |entries| entries.retain(|(key, _)| DeviceId::of(key) != *device))?;
            Ok(())
        })
    }
}

impl<S: Store> Work<'_, S> {
    /// That this device may change the list.
    fn check_root(&mut self) -> Result<(), DeviceError> {
        let me = self.me()?.get().ok_or(DeviceError::NoDevice)?;
        if me.unlinked {
            return Err(DeviceError::Unlinked);
        }
        if me.root.is_some() { Ok(()) } else { Err(DeviceError::NoRootKey) }
    }

    /// That the list has a place.
    fn check_place(&mut self) -> Result<(), DeviceError> {
        let count = self.own_list()?.devices().count();
        if count >= usize::from(MAX_DEVICES) { Err(DeviceError::TooManyDevices) } else { Ok(()) }
    }

    pub(super) fn own_list(&mut self) -> Result<DeviceList, DeviceError> {
        let user = self.me()?.get().ok_or(DeviceError::NoDevice)?.user;
        let record = self.user(&user)?.get().ok_or(DeviceError::Damaged)?;
        record.newest_list()?.ok_or(DeviceError::Damaged)
    }

    fn approve_link(
        &mut self,
        context: &Context<'_>,
        reply: &[u8],
        contacts: &[u8],
    ) -> Result<Vec<u8>, DeviceError> {
        let (device, head, sealed) = read_reply(reply)?;
        let link: LinkRecord = self.read(&device.to_bytes())?.ok_or(DeviceError::BadLink)?;
        if link.began.is_over(LINK_PERIOD, context.now) {
            return Err(DeviceError::BadLink);
        }
        let claim = link.keys.open_reply(head, sealed)?;
        let user = self.me()?.get().ok_or(DeviceError::NoDevice)?.user;
        roster::verify_claim(&link.identity, &user, &claim).map_err(bad_link)?;
        self.check_root()?;
        let before = self.own_list()?;
        let list = if before.contains(&device) {
            before
        } else {
            self.check_place()?;
            self.change_own_list(context, |entries| entries.push((link.identity, claim)))?
        };
        let root = self.me()?.get().and_then(|me| me.root.as_ref()).ok_or(DeviceError::NoRootKey)?;
        let root = roster::RootKey::from_seed(root);
        let certificate = super::lists::certificate_for(&root, &link.identity, list.as_bytes())?
            .ok_or(DeviceError::BadLink)?;
        let plain = Grant::encode(&certificate, &list, contacts);
        Ok(link.keys.write_grant(Nonce::random()?, &plain))
    }
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha20Rng;
    use proptest::{collection::vec, prelude::*};
    use rand::SeedableRng;

    use super::*;
    use crate::{
        StorageKey,
        roster::{
            Certificate,
            fixture::{BAD_KEYS, NOW, device, entry, list, root},
        },
        store::MemoryStore,
    };

    const SECRET: [u8; 32] = [0x5e; 32];

    fn nonce() -> Nonce {
        Nonce::fixed([9; 24])
    }

    fn secret() -> Secret<32> {
        Secret::new(SECRET)
    }

    /// The keys of both sides for a device, and the offer.
    fn offered(identity: &IdentityKeyPair) -> (LinkKeys, Vec<u8>) {
        let ephemeral = AgreementKey::from_seed(&random::fill(&mut ChaCha20Rng::seed_from_u64(3)).unwrap());
        let shared = ephemeral.agree(identity.identity_key().agreement()).unwrap();
        let keys = LinkKeys::derive(&secret(), &shared, identity.identity_key(), ephemeral.public());
        let offer = keys.write_offer(nonce(), ephemeral.public(), root(1).user_id());
        (keys, offer)
    }

    fn is_bad<T>(result: Result<T, DeviceError>) -> bool {
        matches!(result, Err(DeviceError::BadLink))
    }

    fn is_other_version<T>(result: Result<T, DeviceError>) -> bool {
        matches!(result, Err(DeviceError::UnsupportedVersion))
    }

    #[test]
    fn codes_are_read_in_either_case() {
        let phone = device(1);
        let code = write_code(phone.identity_key(), &secret());
        assert_eq!(code.len(), 169);
        assert!(code.starts_with("srlink1"));
        for text in [code.clone(), code.to_uppercase()] {
            let (identity, secret) = read_code(&text).unwrap();
            assert_eq!((&identity, secret.as_bytes()), (phone.identity_key(), &SECRET));
            assert_eq!(write_code(&identity, &secret), code);
        }
    }

    #[test]
    fn a25_no_other_text_is_a_code() {
        let phone = device(1);
        let code = write_code(phone.identity_key(), &secret());
        for len in 0..code.len() {
            assert!(is_bad(read_code(&code[..len])), "{len}");
        }
        for position in 7..code.len() {
            let mut slip = code.clone().into_bytes();
            slip[position] = if slip[position] == b'q' { b'p' } else { b'q' };
            assert!(is_bad(read_code(std::str::from_utf8(&slip).unwrap())), "{position}");
        }
        assert!(is_bad(read_code(&format!("{code}q"))));
        assert!(is_bad(read_code(&code.replacen("srl", "SRL", 1))));
        let text = |prefix: &str, bytes: &[u8]| {
            bech32::encode::<bech32::Bech32m>(Hrp::parse_unchecked(prefix), bytes).unwrap()
        };
        let bytes = [&[1], &phone.identity_key().to_bytes()[..], &SECRET].concat();
        assert_eq!(text("srlink", &bytes), code);
        assert!(is_bad(read_code(&text("srid", &bytes))));
        assert!(is_bad(read_code(&text("srlink", &bytes[..96]))));
        assert!(is_bad(read_code(&text("srlink", &[&bytes[..], &[0]].concat()))));
        assert!(is_other_version(read_code(&text("srlink", &[&[2], &bytes[1..]].concat()))));
        for key in BAD_KEYS {
            let key = hex::decode(key).unwrap();
            assert!(is_bad(read_code(&text("srlink", &[&[1], &key[..], &bytes[33..]].concat()))));
        }
    }

    #[test]
    fn offers_are_for_one_device_and_secret() {
        let (phone, other) = (device(1), device(2));
        let (keys, offer) = offered(&phone);
        assert_eq!(offer.len(), 105);
        let (user, same) = open_offer(&phone, &secret(), &offer).unwrap();
        assert_eq!(&user, root(1).user_id());
        assert_eq!(same.grant.as_bytes(), keys.grant.as_bytes());
        assert!(is_bad(open_offer(&other, &secret(), &offer)));
        assert!(is_bad(open_offer(&phone, &Secret::new([1; 32]), &offer)));
    }

    /// Who has photographed the code and sees all that passes has everything but a private key: not that of the new device,
    /// nor that of the offer. He can do no better than to guess what they agree on.
    #[test]
    fn who_has_the_code_alone_reads_nothing() {
        let (phone, his) = (device(1), AgreementKey::from_seed(&Secret::new([7; 32])));
        let (keys, offer) = offered(&phone);
        let claim = roster::claim(&phone, root(1).user_id());
        let reply = keys.write_reply(nonce(), &DeviceId::of(phone.identity_key()), &claim);
        let grant = keys.write_grant(nonce(), &granted());
        let code = write_code(phone.identity_key(), &secret());

        let (identity, secret) = read_code(&code).unwrap();
        let (ephemeral, head, sealed) = read_head::<32, 33>(&offer).unwrap();
        let ephemeral = AgreementPublic::from_bytes(ephemeral).unwrap();
        let (_, reply_head, sealed_reply) = read_reply(&reply).unwrap();
        let opened = |agreed: &Secret<32>| {
            let keys = LinkKeys::derive(&secret, agreed, &identity, &ephemeral);
            [
                sealing::open(&keys.offer, head, sealed).is_ok(),
                keys.open_reply(reply_head, sealed_reply).is_ok(),
                keys.open_grant(&grant).is_ok(),
            ]
        };
        let guesses = [
            Secret::new([0; 32]),
            his.agree(&ephemeral).unwrap(),
            his.agree(identity.agreement()).unwrap(),
            Secret::new(*ephemeral.as_bytes()),
            Secret::new(*identity.agreement().as_bytes()),
        ];
        for guess in &guesses {
            assert_eq!(opened(guess), [false; 3]);
        }
        // Whose the code is reads it all.
        assert_eq!(opened(&phone.agreement().agree(&ephemeral).unwrap()), [true; 3]);
    }

    /// Of every message: each byte, each length, one byte more.
    fn damaged(good: &[u8], opens: impl Fn(&[u8]) -> Result<(), DeviceError>) {
        opens(good).unwrap();
        for position in 0..good.len() {
            let mut altered = good.to_vec();
            altered[position] ^= 1;
            let result = opens(&altered);
            let expected = if position == 0 { is_other_version(result) } else { is_bad(result) };
            assert!(expected, "{position}");
            assert!(is_bad(opens(&good[..position])), "{position}");
        }
        assert!(is_bad(opens(&[good, &[0]].concat())));
        assert!(is_other_version(opens(&[2])));
    }

    #[test]
    fn a25_offers_and_replies_damaged() {
        let phone = device(1);
        let (keys, offer) = offered(&phone);
        damaged(&offer, |bytes| open_offer(&phone, &secret(), bytes).map(|_| ()));
        // All points of small order, and a user that is none.
        let mut zero = offer;
        zero[1..33].fill(0);
        assert!(is_bad(open_offer(&phone, &secret(), &zero)));
        let id = DeviceId::of(phone.identity_key());
        let claim = roster::claim(&phone, root(1).user_id());
        let reply = keys.write_reply(nonce(), &id, &claim);
        assert_eq!(reply.len(), 121);
        damaged(&reply, |bytes| {
            let (device, head, sealed) = read_reply(bytes)?;
            let read = keys.open_reply(head, sealed)?;
            assert!(device == id && read == claim);
            Ok(())
        });
        // A claim of another length, well sealed.
        for len in [0, 63, 65] {
            let head = [&[VERSION], &id.to_bytes()[..]].concat();
            let bad = sealing::seal(&keys.reply, nonce(), &head, &[0; 65][..len]);
            let (_, head, sealed) = read_reply(&bad).unwrap();
            assert!(is_bad(keys.open_reply(head, sealed)), "{len}");
        }
    }

    /// Contents of a grant for device 1 of root 1, with a contact.
    fn granted() -> Vec<u8> {
        let (alice, phone) = (root(1), device(1));
        let list = list(&alice, None, 1);
        let claim = roster::claim(&phone, alice.user_id());
        let certificate = Certificate::issue(&alice, phone.identity_key(), claim, &list);
        let payload = Payload { certificate, recipient: *alice.user_id() }.to_bytes();
        let contact = UserRecord::new(*root(2).user_id(), None, None);
        Grant::encode(&payload, &list, &contacts::encode_all(vec![contact])).to_vec()
    }

    fn encoded(grant: Grant) -> Vec<u8> {
        let contacts = contacts::encode_all(grant.contacts);
        Grant::encode(&grant.payload.to_bytes(), &grant.list, &contacts).to_vec()
    }

    #[test]
    fn a25_grants_damaged() {
        let (keys, _) = offered(&device(1));
        let plain = granted();
        let grant = keys.write_grant(nonce(), &plain);
        assert_eq!(encoded(keys.open_grant(&grant).unwrap()), plain);
        damaged(&grant, |bytes| keys.open_grant(bytes).map(|_| ()));
        for len in 0..plain.len() {
            assert!(Grant::decode(&plain[..len]).is_err(), "{len}");
        }
        assert!(Grant::decode(&[&plain[..], &[0]].concat()).is_err());
        let mut bomb = plain.clone();
        bomb[256..258].fill(0xff);
        assert!(Grant::decode(&bomb).is_err());
    }

    /// The device with the root key is another one than it says, or is wrong: each part of what it grants has to fit the others
    /// and what the person has confirmed.
    #[test]
    fn a34_a_grant_fits_in_every_part() {
        let (alice, mallory, phone) = (root(1), root(2), device(1));
        let (good, longer) = (list(&alice, None, 1), list(&alice, None, 2));
        let others = DeviceList::sign(&alice, None, vec![entry(&alice, &device(2))], NOW).unwrap();
        let mallorys = list(&mallory, None, 1);
        let certificate = |root, device, list| {
            let (key, claim) = entry(root, device);
            Certificate::issue(root, &key, claim, list)
        };
        let complete = |certificate, recipient: &roster::RootKey, list: &DeviceList| {
            let (keys, _) = offered(&phone);
            let payload = Payload { certificate, recipient: *recipient.user_id() }.to_bytes();
            let plain = Grant::encode(&payload, list, &contacts::encode_all(vec![]));
            let grant = keys.write_grant(nonce(), &plain);
            let confirmed = Some(Confirmed { user: *alice.user_id(), keys });
            let link = Link {
                vault: Vault::new(MemoryStore::new(), StorageKey::from_bytes(&[7; 32])),
                clock: Box::new(|| NOW),
                identity: device(1),
                state: Box::new(Begun { secret: secret(), confirmed }),
            };
            link.complete(&grant)
        };
        assert_eq!(
            complete(certificate(&alice, &phone, &good), &alice, &good).unwrap().user(),
            *alice.user_id()
        );
        for (what, certificate, recipient, list) in [
            ("a list without the device", certificate(&alice, &phone, &others), &alice, &others),
            ("another user's list", certificate(&alice, &phone, &mallorys), &alice, &mallorys),
            ("another user's certificate", certificate(&mallory, &phone, &good), &alice, &good),
            ("a certificate of another list", certificate(&alice, &phone, &longer), &alice, &good),
            ("another device's certificate", certificate(&alice, &device(2), &good), &alice, &good),
            ("for another user", certificate(&alice, &phone, &good), &mallory, &good),
        ] {
            assert!(is_bad(complete(certificate, recipient, list)), "{what}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a25_arbitrary_bytes(bytes in vec(any::<u8>(), 0..600), position in 0..700usize, value in any::<u8>()) {
            let phone = device(1);
            prop_assert!(open_offer(&phone, &secret(), &bytes).is_err());
            let _never_panics = read_reply(&bytes).is_ok();
            let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
            prop_assert!(read_code(&text).is_err());
            let mut plain = granted();
            if let Some(place) = plain.get_mut(position) {
                *place = value;
            }
            for bytes in [&bytes, &plain] {
                if let Ok(grant) = Grant::decode(bytes) {
                    prop_assert_eq!(&encoded(grant), bytes);
                }
            }
        }
    }
}
