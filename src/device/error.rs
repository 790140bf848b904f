//! What can go wrong with a device.

use std::fmt;

use crate::{Address, Error, UserId, store::StoreError};

/// Why a call of a [`Device`](crate::Device) failed. Whatever it was, nothing has changed: not in the store, not in the
/// sessions, and nothing is to be sent. (But for a mark that a session may be broken, which
/// [`Device::receive`](crate::Device::receive) may leave, and for what an expired list still
/// [shows](crate::Device::provide).)
///
/// | error | |
/// |---|---|
/// | [`Missing`](Self::Missing) | fetch what it names from the server, provide it ([lists](crate::Device::provide), [bundles](crate::Device::provide_bundle)), call again; what was received: keep it until then |
/// | [`Message`](Self::Message) | what arrived cannot be read: drop it, unless [`keeps_message`](Self::keeps_message) (the table of [`Error`] is for who uses sessions without a device) |
/// | [`Message`](Self::Message) of [`Error::Duplicate`] | everyday after a crash: it has arrived, drop it |
/// | [`NeedsHint`](Self::NeedsHint) | keep the message; call again with who may have sent it |
/// | [`Refused`](Self::Refused) | drop the message or list; more at [`Refusal`] |
/// | [`TooManySessions`](Self::TooManySessions) | keep the message, and offer it again a day later |
/// | [`TooManyStrangers`](Self::TooManyStrangers) | keep the message until some were [forgotten](crate::Device::forget), or [blocked](crate::Device::set_trust) |
/// | [`Blocked`](Self::Blocked) | received (a first message; what else is a blocked user's is dropped without an error): drop it. Sent: [unblock](crate::Device::set_trust) the user first, if the person wants to |
/// | [`TooManyDevices`](Self::TooManyDevices) | received: drop it, its sender has too many. Linking: [unlink](crate::Device::unlink) one first |
/// | [`Unreachable`](Self::Unreachable) | try again in a day, or when the server has a bundle of one of the user's devices |
/// | [`CertificateExpired`](Self::CertificateExpired) | read what is waiting, call again; else ask the person to open the app on the device that holds the root key |
/// | [`Unlinked`](Self::Unlinked) | tell the person; to go on, [link](crate::Link) anew, in an empty store |
/// | [`NoRootKey`](Self::NoRootKey) | do it on the device that holds the root key |
/// | [`UnknownUser`](Self::UnknownUser), [`UnknownDevice`](Self::UnknownDevice) | fix the caller |
/// | [`ContentTooLong`](Self::ContentTooLong) | send less, or an attachment |
/// | [`BadLink`](Self::BadLink) | begin the linking anew |
/// | [`BadBackup`](Self::BadBackup) | another passphrase, key or copy may open it |
/// | [`NoDevice`](Self::NoDevice) | where there was one: its file is lost, [restore](crate::Device::restore) or [link](crate::Link). Else [create](crate::Device::create) |
/// | [`Occupied`](Self::Occupied) | fix the caller: [`open`](crate::Device::open) |
/// | [`LinkBegun`](Self::LinkBegun) | ask the person: [go on with the linking](crate::Link::begin), or make a device after all |
/// | [`WrongKey`](Self::WrongKey) | keep the store; another key opens it |
/// | [`Damaged`](Self::Damaged) | keep everything, and call [`maintain`](crate::Device::maintain), which deletes what does not open. If only a message is received with it still: what was known of its sender's device is lost, and sending to that user mends it. If it stays so, begin anew out of a [backup](crate::Device::restore) |
/// | [`UnsupportedVersion`](Self::UnsupportedVersion) | keep everything until the app is updated |
/// | [`OutOfMemory`](Self::OutOfMemory), [`NoRandomness`](Self::NoRandomness) | keep everything, try again later |
/// | [`Store`](Self::Store) | keep everything, try again when its cause is gone |
///
/// An error that is not in the table (a later release may add some): keep the message, and try again later.
///
/// For what was received [`keeps_message`](Self::keeps_message) is the table as a function. No error is a reason to leave the
/// messages behind that one unread.
#[derive(Debug)]
#[non_exhaustive]
pub enum DeviceError {
    /// Lists or bundles have to be fetched first.
    Missing(Missing),
    /// What arrived cannot be read, or is no message.
    Message(Error),
    /// There are too many sessions to try them all without being told who sent the message: more than 4,096.
    NeedsHint,
    /// What arrived is well-formed, and is not to be believed.
    Refused(Refusal),
    /// So many users who were never answered have written, 500, that no more are let in.
    TooManyStrangers,
    /// The user is [blocked](crate::Trust::Blocked).
    Blocked,
    /// Nothing is known of this user.
    UnknownUser,
    /// Not a device of this user's.
    UnknownDevice,
    /// None of the user's devices can be reached at the moment.
    Unreachable,
    /// Only the device that holds the root key can do this.
    NoRootKey,
    /// The proof that this device is its user's has expired (or was made under a clock that was ahead), and there is a session with none of the recipient's devices: the
    /// device that holds the root key has to renew the list of
    /// devices ([`Device::maintain`](crate::Device::maintain) there), and send something.
    CertificateExpired,
    /// This device was unlinked, and cannot send any more.
    Unlinked,
    /// A link code, an offer, a reply or a grant that does not fit this device or this linking.
    BadLink,
    /// Thirty-two devices are the limit.
    TooManyDevices,
    /// The sender has begun so many sessions in a day (8 of somebody who was never written to, 64 of others): one who keeps to the rules
    /// does only if a mailbox is read that has filled for weeks. A day later there are as many again.
    TooManySessions,
    /// A backup that this passphrase or key does not open, or that is damaged.
    BadBackup,
    /// The store has no device yet.
    NoDevice,
    /// The store has a device already.
    Occupied,
    /// In the store a linking was begun: [go on with it](crate::Link::begin), or give it up by
    /// [making](crate::Device::create) or [restoring](crate::Device::restore) a device.
    LinkBegun,
    /// The key is not the one that the store was made with.
    WrongKey,
    /// A record does not open under the right key: altered, or mixed up.
    Damaged,
    /// A record was made by a later release.
    UnsupportedVersion,
    /// Content above [`MAX_MESSAGE_LEN`](crate::MAX_MESSAGE_LEN) bytes.
    ContentTooLong,
    /// There is not as much memory as a passphrase takes.
    OutOfMemory,
    /// The system's random generator failed.
    NoRandomness,
    /// The store failed.
    Store(StoreError),
}

/// What has to be fetched from the server before a message can be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missing {
    /// Users whose device list is missing, has expired, or has been replaced.
    pub lists: Vec<UserId>,
    /// Devices of which a bundle is missing.
    pub bundles: Vec<Address>,
}

impl Missing {
    /// Whether there is nothing to fetch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty() && self.bundles.is_empty()
    }
}

/// Why something is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum Refusal {
    /// A signature does not verify: forged, or not of who it claims to be of.
    Forged,
    /// Past its expiry by this device's clock. A list of somebody's: keep what is for them; they can be written to again when
    /// the one of their devices that holds the root key has [maintained](crate::Device::maintain) and published.
    Expired,
    /// Older than what is known.
    Older,
    /// There are two device lists of one version, or two that do not follow from each other: the root key is used twice,
    /// or a server shows different lists to different people. A contact's: show it, as a warning. The own user's, on a device that was just
    /// [restored](crate::Device::restore): it was restored without the newest list, and nobody believes it; restore again, in
    /// an empty store, with the list from the server.
    Forked,
    /// From a device that is not in the user's list.
    NotInList,
    /// Meant for another user.
    OtherRecipient,
    /// A device that is known as another user's.
    OtherUsersDevice,
    /// Valid for longer from now on than it can have been made for: its maker's clock was ahead, or this device's is behind.
    /// Should it be the maker's, the next [`maintain`](crate::Device::maintain) there makes another.
    NotYetValid,
}

impl DeviceError {
    /// Whether the message that [`receive`](crate::Device::receive) failed with is to be kept, on the server, and received
    /// again later: what is missing may have come by then, or a release that knows its version. Else it is to be dropped:
    /// acknowledged to the server, and forgotten.
    #[must_use]
    pub fn keeps_message(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Blocked | Self::TooManyDevices => false,
            Self::Message(error) => match error {
                Error::Malformed
                | Error::InvalidKey
                | Error::Unauthentic
                | Error::InvalidSignature
                | Error::Duplicate
                | Error::TooOld
                | Error::UnknownSession
                | Error::UnknownPreKey
                | Error::Replayed
                | Error::ReplayRecordFull
                | Error::PeerRolledBack => false,
                Error::UnsupportedVersion
                | Error::TooFarAhead
                | Error::Expired
                | Error::NotYetValid
                | Error::ContentTooLong
                | Error::PayloadTooLong
                | Error::TooManyDevices
                | Error::WrongIdentity
                | Error::SameUser
                | Error::CounterExhausted
                | Error::NoRandomness
                | Error::SealBroken => true,
            },
            Self::Missing(_)
            | Self::NeedsHint
            | Self::TooManyStrangers
            | Self::TooManySessions
            | Self::UnknownUser
            | Self::UnknownDevice
            | Self::Unreachable
            | Self::NoRootKey
            | Self::CertificateExpired
            | Self::Unlinked
            | Self::BadLink
            | Self::BadBackup
            | Self::NoDevice
            | Self::Occupied
            | Self::LinkBegun
            | Self::WrongKey
            | Self::Damaged
            | Self::UnsupportedVersion
            | Self::ContentTooLong
            | Self::OutOfMemory
            | Self::NoRandomness
            | Self::Store(_) => true,
        }
    }

    /// An error of the session layer when reading a record.
    pub(super) fn from_record(error: Error) -> Self {
        match error {
            Error::UnsupportedVersion => Self::UnsupportedVersion,
            _ => Self::Damaged,
        }
    }
}

/// Errors of the session layer about what arrived, or what was to be made.
impl From<Error> for DeviceError {
    fn from(error: Error) -> Self {
        match error {
            Error::TooManyDevices => Self::TooManyDevices,
            Error::NoRandomness => Self::NoRandomness,
            Error::ContentTooLong => Self::ContentTooLong,
            error => Self::Message(error),
        }
    }
}

impl From<StoreError> for DeviceError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Refusal> for DeviceError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing(missing) => {
                return write!(
                    f,
                    "{} device lists and {} bundles have to be fetched and provided first",
                    missing.lists.len(),
                    missing.bundles.len()
                );
            }
            Self::Message(error) => return write!(f, "message cannot be read: {error}"),
            Self::Store(error) => return error.fmt(f),
            Self::Refused(refusal) => return refusal.fmt(f),
            Self::NeedsHint => "too many sessions to try without knowing the sender",
            Self::TooManyStrangers => "too many strangers have written",
            Self::Blocked => "user is blocked",
            Self::UnknownUser => "nothing is known of this user",
            Self::UnknownDevice => "not a device of this user's",
            Self::Unreachable => "none of the user's devices can be reached",
            Self::NoRootKey => "only the device that holds the root key can do this",
            Self::CertificateExpired => "proof of belonging to the user has expired",
            Self::Unlinked => "this device was unlinked",
            Self::BadLink => "link code, offer, reply or grant does not fit",
            Self::TooManyDevices => "too many devices",
            Self::TooManySessions => "too many sessions begun in a day",
            Self::BadBackup => "backup does not open",
            Self::NoDevice => "store has no device yet",
            Self::Occupied => "store has a device already",
            Self::LinkBegun => "a linking was begun in the store",
            Self::WrongKey => "wrong key for this store",
            Self::Damaged => "record does not open",
            Self::UnsupportedVersion => "record was made by a later release",
            Self::ContentTooLong => "content too long",
            Self::OutOfMemory => "not enough memory for a passphrase",
            Self::NoRandomness => "random generator failed",
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forged => "forged",
            Self::Expired => "expired",
            Self::Older => "older than what is known",
            Self::Forked => "contradicts what is known",
            Self::NotInList => "from a device that is not in the user's list",
            Self::OtherRecipient => "meant for another user",
            Self::OtherUsersDevice => "from a device that is another user's",
            Self::NotYetValid => "valid for too long from now on",
        })
    }
}

impl std::error::Error for DeviceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Message(error) => Some(error),
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        error::{self, Error as _},
    };

    use super::*;

    /// What the second cell of a row says of the message, in the table that documents an error.
    fn row(source: &'static str, name: &str) -> &'static str {
        let rows = source.lines().filter_map(|line| line.trim().strip_prefix("/// | "));
        let cells = rows.filter_map(|row| row.split_once(" | "));
        let link = format!("[`{name}`](Self::{name})");
        // Of two rows of one error the first one is of all of it.
        let mut found = cells.filter(|(errors, _)| errors.contains(&link)).map(|(_, what)| what);
        found.next().unwrap_or_default()
    }

    /// But for errors of messages.
    fn one_of_each() -> Vec<DeviceError> {
        use DeviceError as D;
        vec![
            D::Missing(Missing::default()),
            D::NeedsHint,
            D::Refused(Refusal::Forged),
            D::TooManyStrangers,
            D::Blocked,
            D::UnknownUser,
            D::UnknownDevice,
            D::Unreachable,
            D::NoRootKey,
            D::CertificateExpired,
            D::Unlinked,
            D::BadLink,
            D::TooManyDevices,
            D::TooManySessions,
            D::BadBackup,
            D::NoDevice,
            D::Occupied,
            D::LinkBegun,
            D::WrongKey,
            D::Damaged,
            D::UnsupportedVersion,
            D::ContentTooLong,
            D::OutOfMemory,
            D::NoRandomness,
            D::Store(StoreError::Full),
        ]
    }

    /// What is printed of an error is of that error alone, and what caused it comes next.
    #[test]
    fn errors_say_what_they_are_and_why() {
        use DeviceError as D;
        use Refusal as R;
        // The first refusal is one of those already.
        let refusals = [
            R::Expired,
            R::Older,
            R::Forked,
            R::NotInList,
            R::OtherRecipient,
            R::OtherUsersDevice,
            R::NotYetValid,
        ];
        let mut all = one_of_each();
        all.push(D::Message(Error::Malformed));
        all.extend(refusals.map(D::Refused));
        let texts: BTreeSet<String> = all.iter().map(D::to_string).collect();
        assert_eq!(texts.len(), all.len(), "{texts:?}");
        assert!(texts.iter().all(|text| text.len() > 4), "{texts:?}");

        let fire = D::Store(StoreError::Other("the disk is on fire".into()));
        let cause = fire.source().and_then(error::Error::source);
        assert!(cause.is_some_and(|cause| cause.to_string().contains("fire")));
        assert!(D::Message(Error::Malformed).source().is_some() && D::Blocked.source().is_none());
    }

    /// What is not the fault of the message is not said of it, nor of a record that it is damaged: it would be dropped.
    #[test]
    fn a_caller_or_a_system_that_fails_is_not_the_message() {
        use DeviceError as D;
        assert!(matches!(D::from(Error::NoRandomness), D::NoRandomness));
        assert!(matches!(D::from(Error::ContentTooLong), D::ContentTooLong));
        assert!(matches!(D::from(Error::TooManyDevices), D::TooManyDevices));
        assert!(matches!(D::from(Error::Malformed), D::Message(Error::Malformed)));
        assert!(matches!(D::from_record(Error::UnsupportedVersion), D::UnsupportedVersion));
        assert!(matches!(D::from_record(Error::SealBroken), D::Damaged));
    }

    /// Every error, and every error of a message: what the tables say is what the function says.
    #[test]
    fn the_table_says_which_messages_are_kept() {
        use DeviceError as D;
        let errors = [
            Error::Malformed,
            Error::UnsupportedVersion,
            Error::InvalidKey,
            Error::Unauthentic,
            Error::InvalidSignature,
            Error::Duplicate,
            Error::TooOld,
            Error::TooFarAhead,
            Error::UnknownSession,
            Error::UnknownPreKey,
            Error::Replayed,
            Error::ReplayRecordFull,
            Error::PeerRolledBack,
            Error::Expired,
            Error::NotYetValid,
            Error::ContentTooLong,
            Error::PayloadTooLong,
            Error::TooManyDevices,
            Error::WrongIdentity,
            Error::SameUser,
            Error::CounterExhausted,
            Error::NoRandomness,
            Error::SealBroken,
        ];
        let of_sessions = include_str!("../error.rs");
        let (mut kept, mut dropped) = (0, 0);
        for error in errors {
            let what = row(of_sessions, &format!("{error:?}"));
            let what = what.split_once(" | ").map_or(what, |(what, _)| what);
            // An empty cell: it is not about a message that was received; nor is one that was not made.
            let expected = !(what.starts_with("drop") || what.starts_with("try the next"));
            assert_eq!(D::Message(error).keeps_message(), expected, "{error:?}: {what}");
            *if expected { &mut kept } else { &mut dropped } += 1;
        }
        assert_eq!((kept, dropped), (12, 11));

        let of_devices = include_str!("error.rs");
        for error in one_of_each() {
            let name = format!("{error:?}");
            let name = name.split(['(', ' ']).next().unwrap_or_default();
            let what = row(of_devices, name);
            // What is not the message's fault says nothing of it, and it is kept.
            assert_eq!(error.keeps_message(), !what.contains("drop"), "{name}: {what}");
        }
    }
}
