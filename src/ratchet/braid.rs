//! The ML-KEM Braid (revision 1): a new key from a KEM for epoch after epoch, while key and ciphertext travel in
//! pieces, in both directions at once, through messages that may be lost.
//!
//! ```text
//!        one side makes a key pair                        the other side encapsulates to it
//!
//!   ┌───────────────────────────────┐                ┌───────────────────────────────────┐
//!   │         KeysUnsampled         │                │          NoHeaderReceived         │
//!   └───────────────┬───────────────┘                └─────────────────┬─────────────────┘
//!         (1) send: │ key pair              Header           (6) all   │
//!   ┌───────────────┴───────────────┐  ─────────────>  ┌───────────────┴─────────────────┐
//!   │          KeysSampled          │                  │          HeaderReceived         │
//!   └───────────────┬───────────────┘                  └───────────────┬─────────────────┘
//!       (2) Ct1:    │                                      (7) send:   │ encapsulate, KEY OUT
//!   ┌───────────────┴───────────────┐       Ct1        ┌───────────────┴─────────────────┐
//!   │           HeaderSent          │  <─────────────  │            Ct1Sampled           │
//!   └───────────────┬───────────────┘      Vector      └──┬─────────────┬─────────────┬──┘
//!    (3) all of Ct1 │                  ─────────────>  (10) all of   (9) both   (8) VectorAck
//!                   │                                     Vector        │             │
//!                   │                                     │             │   ┌─────────┴────────┐
//!                   │                                     │             │   │ Ct1Acknowledged  │
//!                   │                         ┌───────────┴──────────┐  │   └─────────┬────────┘
//!                   │                         │ EkReceivedCt1Sampled │  │   (11) all  │ of Vector
//!                   │                         └───────────┬──────────┘  │             │
//!                   │                      (12) VectorAck │             │             │
//!   ┌───────────────┴───────────────┐     VectorAck    ┌──┴─────────────┴─────────────┴──┐
//!   │          Ct1Received          │  ─────────────>  │            Ct2Sampled           │
//!   └───────────────┬───────────────┘       Ct2        └───────────────┬─────────────────┘
//!       (4) Ct2:    │                  <─────────────                  │
//!   ┌───────────────┴───────────────┐                                  │
//!   │       EkSentCt1Received       │                                  │
//!   └───────────────┬───────────────┘                                  │
//!       (5) all:    │ decapsulate, KEY OUT     next epoch   (13) any   │
//!                   v                        ─────────────>            v
//!           NoHeaderReceived                                     KeysUnsampled
//! ```
//! Then the roles are swapped. Each state is a type of its own, a transition consumes one and returns the next,
//! and what a state has no use for it ignores: codewords of another epoch, of another kind, too many, too late.
//!
//! A header whose MAC is wrong, a vector that is not the header's or not a key, a ciphertext whose MAC is wrong:
//! these come from the peer itself, since every message has authenticated, or from older state that one side has put
//! back; and end the Braid for good. The session goes on with the epochs that it has, and says that it should be
//! replaced.
//!
//! Not its concern: chains and messages ([`pq`](super::pq)), how codewords travel ([`body`](crate::wire::body)).

mod authenticator;
mod erasure;
#[cfg(test)]
mod explore;
mod material;
mod send_ct;
mod send_ek;

use alloc::boxed::Box;
use core::mem;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use authenticator::Epoch;
pub(crate) use authenticator::EpochKey;
use erasure::{Code, Encoder, code};
use send_ct::{
    Ct1Acknowledged, Ct1Sampled, Ct2Sampled, EkReceivedCt1Sampled, HeaderReceived, NoHeaderReceived,
};
use send_ek::{Ct1Received, EkSentCt1Received, HeaderSent, KeysSampled, KeysUnsampled};

use super::PqSecret;
use crate::{
    crypto::{
        incremental::{IncrementalKem, MlKem768},
        kdf,
        secret::Secret,
    },
    wire::body::{CodewordKind, Codewords},
};

/// A KEM, and the codes that its values travel in.
pub(crate) trait BraidKem: IncrementalKem {
    /// Header and its MAC.
    const HEADER: Code;
    const VECTOR: Code;
    const CT1: Code;
    /// Second half of the ciphertext, and the MAC of both.
    const CT2: Code;
}

/// 96, 1,152, 960 and 160 bytes.
impl BraidKem for MlKem768 {
    const HEADER: Code = code!(3);
    const VECTOR: Code = code!(36);
    const CT1: Code = code!(30);
    const CT2: Code = code!(5);
}

/// One side of the Braid.
///
/// Boxed, all: the smaller of two variants would have whatever was on the stack where it has no fields.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) enum Braid<K: BraidKem = MlKem768> {
    KeysUnsampled(Box<KeysUnsampled>),
    KeysSampled(Box<KeysSampled<K>>),
    HeaderSent(Box<HeaderSent<K>>),
    Ct1Received(Box<Ct1Received<K>>),
    EkSentCt1Received(Box<EkSentCt1Received<K>>),
    NoHeaderReceived(Box<NoHeaderReceived>),
    HeaderReceived(Box<HeaderReceived>),
    Ct1Sampled(Box<Ct1Sampled<K>>),
    EkReceivedCt1Sampled(Box<EkReceivedCt1Sampled>),
    Ct1Acknowledged(Box<Ct1Acknowledged<K>>),
    Ct2Sampled(Box<Ct2Sampled>),
    /// The end, after a failure or the last epoch.
    Failed,
}

/// An epoch's key, once on each side.
pub(crate) struct Output {
    pub(crate) epoch: u32,
    pub(crate) key: EpochKey,
}

/// What is drawn at random: a key pair or the coins of an encapsulation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sample {
    KeyPair = 1,
    Encapsulation = 2,
}

/// Secret randomness for a send that needs it.
pub(crate) type Randomness = Secret<64>;

impl<K: BraidKem> Braid<K> {
    /// The side that makes the first key pair.
    pub(crate) fn initiate(secret: &PqSecret) -> Self {
        Self::KeysUnsampled(Box::new(KeysUnsampled { epoch: Epoch::first(secret) }))
    }

    /// The side that encapsulates first.
    pub(crate) fn respond(secret: &PqSecret) -> Self {
        NoHeaderReceived::begin(Some(Epoch::first(secret)))
    }

    /// The epoch that is being agreed on. None once the Braid has ended.
    ///
    /// The peer has the key of the epoch before, or will have it by any message sent from now on.
    pub(crate) fn epoch(&self) -> Option<u32> {
        let epoch = match self {
            Self::KeysUnsampled(state) => &state.epoch,
            Self::KeysSampled(state) => &state.epoch,
            Self::HeaderSent(state) => &state.epoch,
            Self::Ct1Received(state) => &state.epoch,
            Self::EkSentCt1Received(state) => &state.epoch,
            Self::NoHeaderReceived(state) => &state.epoch,
            Self::HeaderReceived(state) => &state.epoch,
            Self::Ct1Sampled(state) => &state.epoch,
            Self::EkReceivedCt1Sampled(state) => &state.epoch,
            Self::Ct1Acknowledged(state) => &state.epoch,
            Self::Ct2Sampled(state) => &state.epoch,
            Self::Failed => return None,
        };
        Some(epoch.number)
    }

    pub(crate) fn has_failed(&self) -> bool {
        matches!(self, Self::Failed)
    }

    /// What the next [`Self::send`] samples, if anything.
    pub(crate) fn samples(&self) -> Option<Sample> {
        match self {
            Self::KeysUnsampled(_) => Some(Sample::KeyPair),
            Self::HeaderReceived(_) => Some(Sample::Encapsulation),
            _ => None,
        }
    }

    /// Whether [`Self::receive`] would change anything.
    pub(crate) fn wants(&self, epoch: u32, codewords: Option<&Codewords>) -> bool {
        use CodewordKind::{Ct1, Ct2, Header, Vector, VectorAck};

        let Some(own) = self.epoch() else { return false };
        if let Self::Ct2Sampled(_) = self
            && own.checked_add(1) == Some(epoch)
        {
            return true;
        }
        let Some(Codewords { kind, .. }) = codewords.filter(|_| epoch == own) else { return false };
        match self {
            Self::NoHeaderReceived(_) => *kind == Header,
            Self::KeysSampled(_) | Self::HeaderSent(_) => *kind == Ct1,
            Self::Ct1Received(_) | Self::EkSentCt1Received(_) => *kind == Ct2,
            Self::Ct1Sampled(_) | Self::Ct1Acknowledged(_) => matches!(kind, Vector | VectorAck),
            Self::EkReceivedCt1Sampled(_) => *kind == VectorAck,
            Self::KeysUnsampled(_) | Self::HeaderReceived(_) | Self::Ct2Sampled(_) | Self::Failed => false,
        }
    }

    /// What the next message carries; and an epoch's key if this one settles it. Without randomness where it is needed
    /// nothing is sent and nothing changes.
    pub(crate) fn send(&mut self, randomness: Option<Randomness>, mut room: Room<'_>) -> Option<Output> {
        let mut output = None;
        if let Some(randomness) = randomness {
            *self = match mem::replace(self, Self::Failed) {
                Self::KeysUnsampled(state) => Self::KeysSampled(state.send(randomness)),
                Self::HeaderReceived(state) => {
                    let [coins, _] = kdf::split(&randomness);
                    state.send(coins).map_or(Self::Failed, |(next, key)| {
                        output = Some(key);
                        Self::Ct1Sampled(next)
                    })
                }
                other => other,
            };
        }
        match self {
            Self::KeysSampled(state) => state.send(&mut room),
            Self::HeaderSent(state) => state.send(&mut room),
            Self::Ct1Received(state) => state.send(&mut room),
            Self::Ct1Sampled(state) => state.send(&mut room),
            Self::EkReceivedCt1Sampled(state) => state.send::<K>(&mut room),
            Self::Ct2Sampled(state) => state.send::<K>(&mut room),
            Self::KeysUnsampled(_)
            | Self::EkSentCt1Received(_)
            | Self::NoHeaderReceived(_)
            | Self::HeaderReceived(_)
            | Self::Ct1Acknowledged(_)
            | Self::Failed => {}
        }
        output
    }

    /// Takes in what an authenticated message brings, sent when the peer was agreeing on `epoch`; and an epoch's
    /// key if this settles it.
    pub(crate) fn receive(&mut self, epoch: u32, codewords: Option<&Codewords>) -> Option<Output> {
        let own = self.epoch()?;
        let received = codewords.filter(|_| epoch == own);
        let (next, output) = match (mem::replace(self, Self::Failed), received) {
            (Self::Ct2Sampled(state), _) if own.checked_add(1) == Some(epoch) => (state.finish(), None),
            (Self::KeysSampled(state), Some(received)) => (state.receive(received), None),
            (Self::HeaderSent(state), Some(received)) => (state.receive(received), None),
            (Self::Ct1Received(state), Some(received)) => state.receive(received),
            (Self::EkSentCt1Received(state), Some(received)) => state.receive(received),
            (Self::NoHeaderReceived(state), Some(received)) => (state.receive(received), None),
            (Self::Ct1Sampled(state), Some(received)) => (state.receive(received), None),
            (Self::EkReceivedCt1Sampled(state), Some(received)) => (state.receive(received), None),
            (Self::Ct1Acknowledged(state), Some(received)) => (state.receive(received), None),
            (other, _) => (other, None),
        };
        *self = next;
        output
    }
}

/// Where the codewords of the next message go. (Returned, a kilobyte would be copied from one caller to the next.)
pub(crate) struct Room<'a> {
    /// How many it takes, at least one.
    pub(crate) count: usize,
    pub(crate) place: &'a mut Option<Codewords>,
}

impl Room<'_> {
    /// Takes the next codewords of a value.
    fn fill(&mut self, code: &Code, kind: CodewordKind, value: &[u8], encoder: &mut Encoder) {
        let codewords = self.place.insert(Codewords { kind, words: ArrayVec::new() });
        encoder.take(code, value, self.count, &mut codewords.words);
    }
}
