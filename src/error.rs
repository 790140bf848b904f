//! What can go wrong, by who is to blame.

use core::fmt;

/// Why a call failed. Whatever it was, the objects it was called on are unchanged.
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
    /// Authentication failed: altered, forged, or sealed for somebody else. One answer for every failed tag.
    Unauthentic,
    /// A signature of a prekey does not verify.
    InvalidSignature,

    // ---- The conversation: genuine or not, it cannot be read here and now.
    /// A message with this number was received before. (Its body cannot be checked any more: the key is gone.)
    Duplicate,
    /// The key of this message was discarded: received long ago, or too many others were missing.
    TooOld,
    /// More messages are missing before this one than are skipped over at once.
    /// [Needs a new handshake](Error::needs_rehandshake).
    TooFarAhead,
    /// No key of this session opens the message's header: another session's, altered on the way, not a message
    /// at all, or so old that its header key is gone. That is a duplicate of a chain of which nothing is missing any more,
    /// or a message that was never received, of a chain that has ended and whose keys were all discarded.
    UnknownSession,
    /// An initial message for a prekey that is not (or no longer) here.
    UnknownPreKey,
    /// This initial message was accepted before.
    Replayed,
    /// The signed prekey has served its limit of initial messages without a one-time prekey, and takes no more:
    /// [rotate](crate::PreKeys::rotate), so that bundles have another.
    ReplayRecordFull,
    /// Authenticated: the peer sends from an earlier state (a restored backup, a clone). A state from before the last
    /// round trip cannot be told from no state at all: [`Self::UnknownSession`], on both sides.
    /// [Needs a new handshake](Error::needs_rehandshake).
    PeerRolledBack,
    /// The signed prekey of a bundle is past its `not_after`: fetch a newer bundle.
    Expired,

    // ---- The caller.
    /// Content above [`MAX_CONTENT_LEN`](crate::MAX_CONTENT_LEN) bytes.
    ContentTooLong,
    /// A handshake payload above [`MAX_PAYLOAD_LEN`](crate::MAX_PAYLOAD_LEN) bytes.
    PayloadTooLong,
    /// An [`IdentityKeyPair`](crate::IdentityKeyPair) and [`PreKeys`](crate::PreKeys) that do not belong
    /// together.
    WrongIdentity,

    // ---- This machine.
    /// 2^32 - 1 messages in one direction without an answer.
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
            Self::InvalidSignature => "invalid signature of a prekey",
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
            Self::ContentTooLong => "content too long",
            Self::PayloadTooLong => "handshake payload too long",
            Self::WrongIdentity => "identity and prekeys do not belong together",
            Self::CounterExhausted => "message counter exhausted",
            Self::NoRandomness => "random generator failed",
            Self::SealBroken => "sealed state does not open",
        })
    }
}

impl core::error::Error for Error {}
