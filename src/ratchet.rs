//! The ratchet: from the secrets of a handshake to one fresh key for every message.
//!
//! ```text
//!            ┌── EC double ratchet, headers encrypted ──> EC message key ──┐
//! secrets ───┤        (ec.rs: Diffie-Hellman turns, heals)               ├──> body key
//!            └── sparse PQ ratchet (pq.rs) ─────────────> PQ message key ──┘      (triple.rs)
//!                  └ ML-KEM Braid (braid.rs: heals)
//! ```
//!
//! Decryption has two phases. The first works on `&self` and only derives; when header and body have
//! authenticated, the second puts into force what was derived, and cannot fail. So a forged message changes
//! nothing, by type.
//!
//! State is of two kinds: *hot*, up to 2.7 KB that every message changes, and *cold*, the keys kept for
//! messages that have not arrived, which most messages leave alone.
//!
//! Not its concern: handshake, padding, storage.

pub(crate) mod braid;
pub(crate) mod chain;
mod ec;
mod header;
mod pq;
mod skipped;
mod triple;

#[cfg(feature = "std")]
pub(crate) use header::{HeaderKeys, SealedHeader};
#[cfg(test)]
pub(crate) use triple::thief::EcKeys;
pub(crate) use triple::{Cold, Envelope, TripleRatchet};

use crate::crypto::secret::secret_roles;

secret_roles! {
    /// RK: root of the EC ratchet, replaced at every turn.
    RootKey;
    /// PQ secret: of the handshake, what PQ ratchet and Braid start from.
    PqSecret;
    /// Root of the PQ ratchet, replaced at every epoch.
    PqRootKey;
    /// HK: encrypts the headers of one chain.
    HeaderKey;
    /// NHK: will encrypt the headers of the next chain.
    NextHeaderKey;
}

impl NextHeaderKey {
    /// The turn has come.
    pub(crate) fn into_header_key(self) -> HeaderKey {
        HeaderKey(self.0)
    }
}

/// How many messages are skipped over at once in an EC chain. An excessive number is refused: at 0.3 us a step
/// this bounds what one message can cost to a few milliseconds.
pub(crate) const MAX_SKIP: u32 = 25_000;

/// The same for a PQ chain, which runs on across turns of the EC ratchet and so across chains that were
/// abandoned: with the EC bound, 25,000 lost messages would wedge a session at its next turn.
pub(crate) const MAX_PQ_SKIP: u32 = 1 << 18;

/// How many PQ epochs, the newest included, keep their receiving chain while messages are missing. An epoch takes 15 messages in
/// turn with short texts, 9 with 480 bytes, and 7 at the least: enough for what is 1,700 messages late.
pub(crate) const MAX_PQ_EPOCHS: usize = 256;

/// How many skipped message keys of each kind a session keeps; beyond, the oldest go.
pub(crate) const MAX_SKIPPED_KEYS: usize = 2_000;

/// How many later turns of the peer the keys of missing messages outlast. What a network delivers at all it delivers before, and a
/// key that waits can be stolen: its message is read by the thief, or forged.
pub(crate) const MAX_LATE_TURNS: u32 = 2_000;

/// How many later messages of the current receiving chain they outlast, in it or in a closed one: what may be skipped over at
/// once stays readable.
pub(crate) const MAX_LATE: u32 = MAX_SKIP;

/// How many closed receiving chains with messages still missing keep their header key.
pub(crate) const MAX_CLOSED_CHAINS: usize = 40;
