//! The state of a session, as it is stored.

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    IdentityKey, Padding,
    crypto::{
        kdf::{self, Label},
        secret::constant_time_eq,
    },
    ratchet::TripleRatchet,
};

/// What every message changes.
#[derive(Serialize, Deserialize)]
pub(super) struct Hot {
    pub(super) id: SessionId,
    /// h2 of the handshake: authenticated with every message.
    pub(super) associated_data: [u8; 32],
    #[serde(with = "crate::keys::sealed_identity_key")]
    pub(super) peer: IdentityKey,
    pub(super) used_one_time_prekey: bool,
    pub(super) padding: Padding,
    pub(super) progress: Progress,
    pub(super) ratchet: TripleRatchet,
    /// Counts the changes of the cold half, to tell whether stored halves belong together.
    pub(super) cold_generation: u64,
    /// The incarnation that made the last of these changes, or the session: after a rollback two branches count alike.
    pub(super) cold_incarnation: u32,
}

/// How far the handshake has come.
#[derive(Serialize, Deserialize)]
pub(super) enum Progress {
    /// Initiated here, no reply yet: the handshake part to repeat.
    Unanswered(Vec<u8>),
    /// Initiated here, and the peer has replied.
    Answered,
    /// Accepted here: the hash of the handshake part, to know repeats by.
    Accepted([u8; 32]),
}

impl Hot {
    /// What ties a sealed cold half to this hot one: session id | generation | incarnation.
    pub(super) fn cold_context(&self) -> [u8; 44] {
        let mut context = [0; _];
        let (id, rest) = context.split_at_mut(32);
        let (generation, incarnation) = rest.split_at_mut(8);
        id.copy_from_slice(&self.id.0);
        generation.copy_from_slice(&self.cold_generation.to_be_bytes());
        incarnation.copy_from_slice(&self.cold_incarnation.to_be_bytes());
        context
    }

    /// Notes that an incarnation has changed the cold half.
    pub(super) fn cold_changed(&mut self, incarnation: u32) {
        self.cold_generation = self.cold_generation.wrapping_add(1);
        self.cold_incarnation = incarnation;
    }

    /// Whether this handshake part is the one that the session was accepted from.
    pub(super) fn is_repeat(&self, part: &[u8]) -> bool {
        match &self.progress {
            Progress::Accepted(digest) => {
                constant_time_eq(digest, &kdf::hash(Label::HANDSHAKE_PART, &[part]))
            }
            Progress::Unanswered(_) | Progress::Answered => false,
        }
    }
}

/// Names a session, on both sides alike: 32 bytes. Not secret, never on the wire.
///
/// Prints as 64 lower-case hexadecimal digits, so a file for a session may be named by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub(super) [u8; 32]);

impl SessionId {
    /// The bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 32] {
        self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}
