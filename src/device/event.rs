//! What a device tells the app: what goes out, what came in, what happened.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{DeviceError, Refusal, vault::random_bytes};
use crate::{Address, AttachmentDescriptor, DeviceId, Error, UserId};

/// Names a message, on all devices that it reaches alike: 16 random bytes, chosen by its sender. So it tells apart the messages of one
/// user, and a history is by user and id: another user may choose the same. Who sends one text to several users under one id has it
/// twice as [`Event::SentElsewhere`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageId([u8; 16]);

/// Names what waits in the outbox.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboxId(pub(super) [u8; 16]);

/// Names what waits in the inbox.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboxId(pub(super) [u8; 16]);

impl MessageId {
    /// A new id, for a [`Draft`](crate::Draft) and the app's own history.
    ///
    /// # Errors
    /// [`DeviceError::NoRandomness`].
    pub fn random() -> Result<Self, DeviceError> {
        random_bytes().map(Self)
    }
}

macro_rules! hexadecimal {
    ($($name:ident)+) => {$(
        impl $name {
            /// The bytes, to be kept with the app's own history.
            #[must_use]
            pub fn to_bytes(self) -> [u8; 16] {
                self.0
            }

            /// The id of bytes that were kept.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    )+};
}

hexadecimal!(MessageId OutboxId InboxId);

/// A message for the server: it stays in the outbox until the app says that the server [has it](crate::Device::sent).
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outgoing {
    /// Its name in the outbox.
    pub id: OutboxId,
    /// The device that it is for.
    pub to: Address,
    /// The message of the app's that it carries, if it carries one.
    pub message: Option<MessageId>,
    /// What to hand to the server.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("id", &self.id)
            .field("to", &self.to)
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// What has come in: it stays in the inbox until the app [acknowledges](crate::Device::acknowledge) it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// Its name in the inbox.
    pub id: InboxId,
    /// The device that it is from, authenticated; or that it is about.
    pub from: Address,
    /// What it is.
    pub event: Event,
    /// It may have been handed out before, and not been acknowledged: drop it if this `id`, that of the inbox, is in the app's
    /// history, and acknowledge it.
    pub redelivered: bool,
}

/// What a message brought, or showed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Event {
    /// A message for the app. Foreign input: it may be anything. Messages are shown in the order in which they arrive, and carry no
    /// time: an app that wants to sort them puts a time and a number into their content.
    Message {
        /// Its name, the same on all devices.
        id: MessageId,
        /// What was sent.
        content: Vec<u8>,
        /// The attachments: what it takes to read their files.
        attachments: Vec<AttachmentDescriptor>,
        /// It had been lost, and was sent again: it may be older than what came before it.
        resent: bool,
    },
    /// Another device of this user has sent this.
    SentElsewhere {
        /// Its name, the same on all devices.
        id: MessageId,
        /// To whom.
        #[serde(with = "crate::roster::sealed_user_id")]
        to: UserId,
        /// What was sent.
        content: Vec<u8>,
        /// Its attachments.
        attachments: Vec<AttachmentDescriptor>,
    },
    /// A user has written for the first time, whom this one has neither written to nor verified: whoever it is, show them
    /// as unknown.
    NewUser,
    /// A user has other devices than before.
    DevicesChanged {
        /// Whose.
        #[serde(with = "crate::roster::sealed_user_id")]
        of: UserId,
        /// What is new.
        added: Vec<DeviceId>,
        /// What is gone. Nothing reaches it any more, and what waited for it in the outbox is not there any more.
        removed: Vec<DeviceId>,
        /// Messages of this device's that those had not acknowledged, oldest first: the user may never have seen them, most
        /// of all if they have lost a phone and restored a backup. For the person to send again, or not: under the same
        /// name ([`Draft::with_id`](crate::Draft::with_id)), since a device that has one among the last 384 drops the second. Those
        /// that were kept ([`Settings::resend`](crate::Settings::resend)), at most 256 of each device, and those in the outbox.
        unacknowledged: Vec<MessageId>,
    },
    /// A device list came with a message, and is not to be believed.
    ListRefused(Refusal),
    /// A message names a newer list of its sender's user, or of this one, than is here: fetch it, and
    /// [provide](crate::Device::provide) it.
    NewerList {
        /// Of whom.
        #[serde(with = "crate::roster::sealed_user_id")]
        of: UserId,
    },
    /// A session was begun without a one-time prekey, because the server had none left, or withheld them. Its first
    /// messages can be read by who steals the signed prekey; the next messages in both directions heal that.
    NoOneTimePreKey,
    /// The sender's device was put back to an earlier state, or copied. What it wrote before that showed may not be read here.
    PeerRolledBack,
    /// This device (not the sender's) was put back to an earlier state: the sender knows of more than it remembers having sent. What was
    /// received since is gone; what this device has sent since then and before now may not have been read.
    RolledBack,
    /// So many messages of the sender's device to this one count as lost. One that comes after all is shown.
    Lost(u32),
    /// How much a user is trusted was changed on another device of this user.
    TrustChanged {
        /// Whose trust.
        #[serde(with = "crate::roster::sealed_user_id")]
        of: UserId,
        /// What it is now.
        trust: Trust,
    },
    /// This device was unlinked by the one that holds the root key. What was in its outbox was not sent.
    Unlinked,
    /// The sender has broken the rules, or uses a release that this one does not understand.
    NotUnderstood,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No plaintext: an app logs this.
        match self {
            Self::Message { id, content, attachments, resent } => {
                let (bytes, files) = (content.len(), attachments.len());
                write!(f, "Message {{ id: {id}, {bytes} bytes, {files} attachments, resent: {resent} }}")
            }
            Self::SentElsewhere { id, to, content, attachments } => {
                let (bytes, files) = (content.len(), attachments.len());
                write!(f, "SentElsewhere {{ id: {id}, to: {to}, {bytes} bytes, {files} attachments }}")
            }
            Self::DevicesChanged { of, added, removed, unacknowledged } => f
                .debug_struct("DevicesChanged")
                .field("of", of)
                .field("added", added)
                .field("removed", removed)
                .field("unacknowledged", unacknowledged)
                .finish(),
            Self::ListRefused(refusal) => f.debug_tuple("ListRefused").field(refusal).finish(),
            Self::NewerList { of } => f.debug_struct("NewerList").field("of", of).finish(),
            Self::TrustChanged { of, trust } => {
                f.debug_struct("TrustChanged").field("of", of).field("trust", trust).finish()
            }
            Self::Lost(count) => f.debug_tuple("Lost").field(count).finish(),
            Self::NewUser => f.write_str("NewUser"),
            Self::NoOneTimePreKey => f.write_str("NoOneTimePreKey"),
            Self::PeerRolledBack => f.write_str("PeerRolledBack"),
            Self::RolledBack => f.write_str("RolledBack"),
            Self::Unlinked => f.write_str("Unlinked"),
            Self::NotUnderstood => f.write_str("NotUnderstood"),
        }
    }
}

/// How much a user is trusted to be who the app's user takes them for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Trust {
    /// Messages come from this user and nobody else; but nobody has compared who it is.
    #[default]
    Unverified = 0,
    /// The app's user has compared who it is, in person or on a call: by a [`SafetyNumber`](crate::SafetyNumber), a
    /// [`SasCode`](crate::SasCode), or the whole [`UserId`].
    Verified = 1,
    /// Nothing is sent to this user, and what comes is dropped. Whether they were verified before is forgotten.
    Blocked = 2,
}

impl Trust {
    /// Which of two words of the same time counts: the one that lets the other user do less.
    pub(super) fn strictness(self) -> u8 {
        match self {
            Self::Verified => 0,
            Self::Unverified => 1,
            Self::Blocked => 2,
        }
    }

    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Unverified, Self::Verified, Self::Blocked].into_iter().find(|trust| *trust as u8 == byte)
    }
}

impl FromStr for MessageId {
    type Err = Error;

    /// # Errors
    /// [`Error::Malformed`] if it is not 32 lower-case hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, Error> {
        // Ids of devices look the same.
        text.parse::<DeviceId>().map(|id| Self(id.to_bytes()))
    }
}
