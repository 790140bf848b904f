//! What a device stores, record by record.
//!
//! | table | a record is | named by |
//! |---|---|---|
//! | `Me` | the user, the certificate, settings; with the root key on the device that holds it | |
//! | | how many strangers there are | `strangers` |
//! | | when this user's own list was fetched | `fetched` |
//! | `Identity` | the identity key pair of this device | |
//! | `PreKeys`, `Published` | prekeys; what of them has to be uploaded | |
//! | `Users` | what is known of a user, and how much they are trusted | user id |
//! | `Peers` | what is known of another device: its sessions, what is missing | device id |
//! | `Sessions`, `Cold` | the halves of a session | session id |
//! | `Handshakes` | which session a handshake was accepted into | hash of the handshake part |
//! | `Bundles` | a fetched bundle that has not been used | device id |
//! | `Outbox` | a message that the server does not have yet | random |
//! | `Inbox` | what the app has not acknowledged | random |
//! | `Resend` | what a device may ask to be sent again | device id, place |
//! | `Links` | a device that is being linked | its device id |
//! | `Begun` | this device is being linked; its identity key pair is in `Identity` | `begun` |

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Event, MessageId, Settings, Trust,
    content::Place,
    streams::{Receiving, Sending},
};
use crate::{
    DeviceId, Error, IdentityKey, IdentityKeyPair, PreKeys, SessionId, StorageKey, UnixTime, UserId,
    crypto::secret::Secret,
    keys::PreKeyId,
    roster::{Certificate, KnownList},
    sealed,
    wire::codec::Kind,
};

/// The tables. Table 0 is not sealed: see [`crate::store`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Table {
    Me = 1,
    Identity = 2,
    PreKeys = 3,
    Published = 4,
    Users = 5,
    Peers = 6,
    Sessions = 7,
    Cold = 8,
    Handshakes = 9,
    Bundles = 10,
    Outbox = 11,
    Inbox = 12,
    Resend = 13,
    Links = 14,
    Begun = 15,
}

/// Something with a record of its own.
pub(super) trait Stored: Sized {
    const TABLE: Table;

    fn seal(&self, key: &StorageKey, context: &[u8]) -> Vec<u8>;
    fn open(key: &StorageKey, context: &[u8], bytes: &[u8]) -> Result<Self, Error>;
}

/// Stored as the `serde` encoding of its fields.
pub(super) trait Plain: Serialize + DeserializeOwned {
    const TABLE: Table;
}

impl<T: Plain> Stored for T {
    const TABLE: Table = <T as Plain>::TABLE;

    fn seal(&self, key: &StorageKey, context: &[u8]) -> Vec<u8> {
        sealed::seal(key, Kind::SealedRecord, context, self)
    }

    fn open(key: &StorageKey, context: &[u8], bytes: &[u8]) -> Result<Self, Error> {
        sealed::open(key, Kind::SealedRecord, context, bytes)
    }
}

/// This device.
#[derive(Serialize, Deserialize)]
pub(super) struct Me {
    #[serde(with = "crate::roster::sealed_user_id")]
    pub(super) user: UserId,
    /// Proves to others that this device is the user's: of the newest list that is known here.
    pub(super) certificate: Certificate,
    /// Seed of the root key, on the one device that holds it.
    pub(super) root: Option<Box<Secret<32>>>,
    /// The newest list does not have this device any more.
    pub(super) unlinked: bool,
    pub(super) settings: Settings,
}

/// What has been made for the server, and not been confirmed.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Published {
    /// One-time prekeys that were handed out, and may not have arrived.
    pub(super) pending: Vec<PreKeyId>,
    /// The newest signed prekey that has arrived.
    pub(super) signed: Option<PreKeyId>,
    /// The newest version of the user's list that has arrived.
    pub(super) list: u32,
}

/// A user, this one included.
#[derive(Serialize, Deserialize)]
pub(super) struct UserRecord {
    #[serde(with = "crate::roster::sealed_user_id")]
    pub(super) id: UserId,
    pub(super) trust: Trust,
    /// When that was said, on whichever device: older words do not count.
    pub(super) trust_since: UnixTime,
    pub(super) standing: Standing,
    /// The newest list that is known to exist, by itself or by a certificate.
    pub(super) known: Option<KnownList>,
    /// A version that a message has named, and that was not seen.
    pub(super) rumoured: u32,
    /// The version of the newest list that was here, also of one that had expired.
    pub(super) taken: u32,
    /// The devices of that one.
    pub(super) listed: Vec<DeviceId>,
    /// The newest list that is here.
    pub(super) list: Option<Vec<u8>>,
    /// Devices of which there is a record.
    pub(super) devices: Vec<DeviceId>,
    /// How many sessions they have begun in the day that began then.
    pub(super) begun: u32,
    pub(super) begun_since: UnixTime,
}

/// What there has been with a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Standing {
    /// Nothing: their list is here, or a word about them.
    Listed,
    /// They have written.
    Stranger,
    /// They were written to, or verified, here or on another device.
    Contact,
}

/// How many strangers are kept.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Strangers {
    pub(super) count: u32,
}

/// When this user's own list was last fetched from the server.
#[derive(Serialize, Deserialize)]
pub(super) struct Fetched {
    pub(super) own_list: UnixTime,
}

/// Another device.
#[derive(Serialize, Deserialize)]
pub(super) struct PeerRecord {
    #[serde(with = "crate::roster::sealed_user_id")]
    pub(super) user: UserId,
    #[serde(with = "crate::keys::sealed_identity_key")]
    pub(super) identity: IdentityKey,
    /// The one to send on first, then by last use.
    pub(super) sessions: Vec<SessionEntry>,
    pub(super) sending: Sending,
    pub(super) receiving: Receiving,
    pub(super) suspicion: Suspicion,
    /// When sessions were begun anew, in the last day.
    pub(super) healings: Vec<UnixTime>,
    /// When the server had no bundle of it: it is asked again a day later.
    pub(super) unreachable_since: UnixTime,
    /// The version of our list that it has.
    pub(super) has_our_list: u32,
    /// The version of its own user's list that it has.
    pub(super) has_own_list: u32,
    /// What it asked for in vain.
    pub(super) gone: Vec<Place>,
    /// What it asks for, and has not been sent yet; and since when.
    pub(super) asked: Vec<(Place, UnixTime)>,
    /// Hashes of the last messages received: what comes a second time is known by them, when its key is gone.
    pub(super) seen: Vec<[u8; 8]>,
    /// Hashes of the ids of the last messages received: what was sent a second time is known by them.
    pub(super) ids: Vec<[u8; 8]>,
    /// Hashes of the last messages that have shown a session to be broken: each does it once.
    pub(super) marks: Vec<[u8; 8]>,
    /// The version of our list that it was told by itself, and when.
    pub(super) told: Option<(u32, UnixTime)>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct SessionEntry {
    pub(super) id: SessionId,
    pub(super) began: UnixTime,
    pub(super) last_used: UnixTime,
    /// When it was first sent on since something was read in it.
    pub(super) waiting_since: Option<UnixTime>,
    /// It was replaced as it seemed broken, or was found broken: what comes in it is read, and does not make it the one to send on.
    pub(super) given_up: bool,
    /// It was found so.
    pub(super) broken: bool,
    /// How often a message of it has shown that the session sent on is broken.
    pub(super) marks: u8,
}

impl SessionEntry {
    /// Of a session that begins now.
    pub(super) fn new(id: SessionId, now: UnixTime) -> Self {
        Self { id, began: now, last_used: now, waiting_since: None, given_up: false, broken: false, marks: 0 }
    }
}

/// Whether the session to send on is in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Suspicion {
    None,
    /// Something arrived that could not be read. A message that can be read clears it.
    Unreadable,
    /// It has been found broken, and only a new one will do.
    Broken,
}

/// A session that an initial message belongs to.
#[derive(Serialize, Deserialize)]
pub(super) struct HandshakeRecord {
    pub(super) device: DeviceId,
    pub(super) session: SessionId,
}

/// A fetched bundle.
#[derive(Serialize, Deserialize)]
pub(super) struct BundleRecord {
    pub(super) bytes: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct OutboxRecord {
    #[serde(with = "crate::roster::sealed_user_id")]
    pub(super) user: UserId,
    pub(super) device: DeviceId,
    pub(super) message: Option<MessageId>,
    /// Of its body; 0 if there is none.
    pub(super) kind: u8,
    pub(super) bytes: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct InboxRecord {
    #[serde(with = "crate::roster::sealed_user_id")]
    pub(super) user: UserId,
    pub(super) device: DeviceId,
    pub(super) event: Event,
}

/// What may be sent again.
#[derive(Serialize, Deserialize)]
pub(super) struct ResendRecord {
    pub(super) id: MessageId,
    pub(super) kind: u8,
    pub(super) bytes: Vec<u8>,
    pub(super) sent: UnixTime,
    pub(super) answers: u8,
}

macro_rules! plain {
    ($($name:ident: $table:ident,)+) => {$(
        impl Plain for $name {
            const TABLE: Table = Table::$table;
        }
    )+};
}

plain! {
    Me: Me,
    Strangers: Me,
    Fetched: Me,
    Published: Published,
    UserRecord: Users,
    PeerRecord: Peers,
    HandshakeRecord: Handshakes,
    BundleRecord: Bundles,
    OutboxRecord: Outbox,
    InboxRecord: Inbox,
    ResendRecord: Resend,
}

impl Stored for IdentityKeyPair {
    const TABLE: Table = Table::Identity;

    fn seal(&self, key: &StorageKey, context: &[u8]) -> Vec<u8> {
        self.seal_in(key, context)
    }

    fn open(key: &StorageKey, context: &[u8], bytes: &[u8]) -> Result<Self, Error> {
        Self::open_in(key, context, bytes)
    }
}

impl Stored for PreKeys {
    const TABLE: Table = Table::PreKeys;

    fn seal(&self, key: &StorageKey, context: &[u8]) -> Vec<u8> {
        self.seal_in(key, context)
    }

    fn open(key: &StorageKey, context: &[u8], bytes: &[u8]) -> Result<Self, Error> {
        Self::open_in(key, context, bytes)
    }
}
