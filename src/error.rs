//! What can go wrong, by who is to blame.

use core::fmt;

/// Why a call failed. Whatever it was, the objects it was called on are unchanged.
///
/// # What to do
///
/// To *drop* a message is to acknowledge it to the server and forget it.
///
/// | error | the message | and |
/// |---|---|---|
/// | [`Malformed`](Self::Malformed), [`InvalidKey`](Self::InvalidKey), [`Unauthentic`](Self::Unauthentic), [`InvalidSignature`](Self::InvalidSignature) | drop | a bundle: do not use it, fetch it again |
/// | [`UnsupportedVersion`](Self::UnsupportedVersion) | keep until the app is updated | the same for stored state |
/// | [`Duplicate`](Self::Duplicate) | drop: it was read | nothing is wrong |
/// | [`TooOld`](Self::TooOld) | drop: it was read long ago, or is lost | |
/// | [`TooFarAhead`](Self::TooFarAhead) | keep, and try again after the next one that this session reads | begin anew |
/// | [`UnknownSession`](Self::UnknownSession) | try the next session, then [`accept`](crate::Session::accept); drop what nothing takes | if state of ours was lost: begin anew with those whom we know |
/// | [`UnknownPreKey`](Self::UnknownPreKey) | drop | its sender begins anew when nobody answers |
/// | [`Replayed`](Self::Replayed) | drop, if the sessions have been tried first | |
/// | [`ReplayRecordFull`](Self::ReplayRecordFull) | drop: it stays unreadable | [rotate](crate::PreKeys::rotate), save, upload |
/// | [`PeerRolledBack`](Self::PeerRolledBack) | drop: it stays unreadable | begin anew |
/// | [`Expired`](Self::Expired), [`NotYetValid`](Self::NotYetValid) | | fetch a newer bundle; is the clock right? |
/// | [`ContentTooLong`](Self::ContentTooLong), [`PayloadTooLong`](Self::PayloadTooLong) | was not made | fix the caller |
/// | [`TooManyDevices`](Self::TooManyDevices) | | remove a device first |
/// | [`WrongIdentity`](Self::WrongIdentity), [`SameUser`](Self::SameUser) | keep | fix the caller |
/// | [`CounterExhausted`](Self::CounterExhausted) | was not made | begin anew |
/// | [`NoRandomness`](Self::NoRandomness) | keep, try again later | |
/// | [`SealBroken`](Self::SealBroken) | keep | the stored bytes, too: another key or copy may open. If none does, begin anew, with [new prekeys](crate::PreKeys::generate) if it was those |
///
/// An error that is not in the table (a later release may add some): drop the message.
///
/// **To begin anew**, [`initiate`](crate::Session::initiate) from a fresh bundle, after comparing its identity key
/// with the known one; the old session stays for receiving. One at a time: not while the last session that you began
/// with this peer is [unconfirmed](crate::Session::is_confirmed) and the time for an answer is not over. Else every
/// further message of the broken session begins another one, and takes a one-time prekey each time. When
/// [`accept`](crate::Session::accept) fails there is nobody to begin anew with: the sender is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Error {
    // ---- The bytes: altered on the way, or never a message. Drop them.
    /// Not an encoding of this kind of value: too short, too long, trailing bytes, a field out of range.
    Malformed,
    /// A kind of value that this release knows, in a version that it does not.
    UnsupportedVersion,
    /// A public key that is not canonical, of small order, or fails its validation.
    InvalidKey,
    /// Authentication failed: altered, forged, or sealed for somebody else. One answer for every failed tag. Also a
    /// [reveal](crate::SasResponder::receive) that is not what was committed to.
    Unauthentic,
    /// A signature of a prekey, or of a device list or an entry of one, does not verify.
    InvalidSignature,

    // ---- The conversation: genuine or not, it cannot be read here and now.
    /// A message with this number was received before. (Its body cannot be checked any more: the key is gone.)
    Duplicate,
    /// The key of this message was discarded: received long ago, or too many others were missing.
    TooOld,
    /// More messages are missing before this one than are skipped over at once (25,000). Should one of those between
    /// arrive, this one may become readable. Or this session's own state was put back to before an epoch of the PQ
    /// ratchet that the peer writes in.
    /// [Needs a new handshake](Error::needs_rehandshake).
    TooFarAhead,
    /// No key of this session opens the message's header: another session's, altered on the way, not a message
    /// at all, or so old that its header key is gone. That is a duplicate of a chain of which nothing is missing any more,
    /// or a message that was never received, of a chain that has ended and whose keys were all discarded. Also what comes
    /// of every message to a session whose state was lost here.
    UnknownSession,
    /// An initial message for a prekey that is not (or no longer) here: somebody else's, deleted, forgotten, lost, or
    /// a one-time prekey that was used. So this, not [`Replayed`](Self::Replayed), is what a replay gives if the
    /// handshake used a one-time prekey; and the second session from one bundle.
    UnknownPreKey,
    /// The handshake of this initial message, which used no one-time prekey, was accepted before. The message itself
    /// may be unread: it is for the [`decrypt`](crate::Session::decrypt) of the session made then.
    Replayed,
    /// The signed prekey has served its limit (16,384) of initial messages without a one-time prekey, and takes no more:
    /// [rotate](crate::PreKeys::rotate), so that bundles have another.
    ReplayRecordFull,
    /// Authenticated: the peer sends from an earlier state (a restored backup, a clone). A state from before the last
    /// round trip cannot be told from no state at all: [`Self::UnknownSession`], on both sides.
    /// [Needs a new handshake](Error::needs_rehandshake).
    PeerRolledBack,
    /// The signed prekey of a bundle is past its `not_after`: fetch a newer bundle.
    Expired,
    /// The signed prekey of a bundle is valid for longer from now on than prekeys are made for: its maker's clock was ahead, or
    /// this one is behind. Fetch a newer bundle.
    NotYetValid,

    // ---- The caller.
    /// Content above [`MAX_CONTENT_LEN`](crate::MAX_CONTENT_LEN) bytes.
    ContentTooLong,
    /// A handshake payload above [`MAX_PAYLOAD_LEN`](crate::MAX_PAYLOAD_LEN) bytes.
    PayloadTooLong,
    /// A [`DeviceList`](crate::DeviceList) of more than 32 devices.
    TooManyDevices,
    /// An [`IdentityKeyPair`](crate::IdentityKeyPair) and [`PreKeys`](crate::PreKeys) that do not belong
    /// together; or a bundle that is not of the device that it was fetched for.
    WrongIdentity,
    /// A verification of a user by the same user: it takes two.
    SameUser,

    // ---- This machine.
    /// 2^32 - 1 messages in one direction without an answer, or within one epoch of the PQ ratchet.
    /// [Needs a new handshake](Error::needs_rehandshake).
    CounterExhausted,
    /// The random generator failed.
    NoRandomness,
    /// Sealed state that does not open: wrong key, altered, truncated, or parts that do not belong together.
    SealBroken,
}

impl Error {
    /// Whether one side should start a new session ([`Session::initiate`](crate::Session::initiate)): this one may not
    /// go on in this direction by itself. `docs/SPEC.md` (section 13) says when it does.
    #[must_use]
    pub fn needs_rehandshake(self) -> bool {
        matches!(self, Self::TooFarAhead | Self::PeerRolledBack | Self::CounterExhausted)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed bytes",
            Self::UnsupportedVersion => "unsupported version",
            Self::InvalidKey => "invalid public key",
            Self::Unauthentic => "authentication failed: altered, forged, or not for us",
            Self::InvalidSignature => "invalid signature of a prekey or a device list",
            Self::Duplicate => "message received before",
            Self::TooOld => "message too old, its key is gone",
            Self::TooFarAhead => "too many messages missing before this one",
            Self::UnknownSession => {
                "no key of this session opens the message: another session's, altered, or too late"
            }
            Self::UnknownPreKey => "initial message for an unknown prekey",
            Self::Replayed => "initial message accepted before",
            Self::ReplayRecordFull => "replay record of the signed prekey is full",
            Self::PeerRolledBack => "peer sends from an earlier state",
            Self::Expired => "signed prekey has expired",
            Self::NotYetValid => "signed prekey is valid for too long from now on",
            Self::ContentTooLong => "content too long",
            Self::PayloadTooLong => "handshake payload too long",
            Self::TooManyDevices => "more devices than a user may have",
            Self::WrongIdentity => "identity and prekeys do not belong together",
            Self::SameUser => "a verification takes two users",
            Self::CounterExhausted => "message counter exhausted",
            Self::NoRandomness => "random generator failed",
            Self::SealBroken => "sealed state does not open",
        })
    }
}

impl core::error::Error for Error {}
